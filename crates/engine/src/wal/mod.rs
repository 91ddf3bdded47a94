//! The archive of databases' logs: one object a segment, put if absent, read by its name.
//!
//! It needs no session, no root and no index, so that storing a segment is one call and fetching one
//! is one call. On purpose not here: what is in a log, and who gives or wants it.

mod coverage;
mod file;
mod pieces;
mod timeline;

pub use coverage::{Coverage, Gap};
pub use file::{SegmentName, WalFile, is_segment_length};
pub use pieces::{Pieces, ReadAt};
pub use timeline::Timeline;

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, get_optional, list_all, object_key, put_or_mine};
use crate::rights::Right;
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::compress::Compressor;
use holdfast_core::crypto::Secret;
use holdfast_core::entry::Time;
use holdfast_core::id::MemberId;
use holdfast_core::name::{self, Place};
use holdfast_core::object::ObjectType;
use holdfast_core::record::WalSegment;
use holdfast_store::{ObjectMeta, ObjectStore, Put};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Segments compress well or not at all; a stream has to keep up with its server.
const LEVEL: i32 = 3;
/// Longest content of one object in bytes; what is longer is stored in pieces.
pub const PIECE_BYTES_MAX: usize = 256 << 20;

/// The chain of members is looked at so often, in seconds.
const LOOK_SECONDS: u64 = 60;

/// The archive of one repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WalArchive {
    ctx: Ctx,
    repository: Repository,
    /// When the chain of members was last looked at, in seconds.
    looked: Arc<AtomicI64>,
}

/// One object of an archive, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalName {
    /// Which timeline of which database.
    pub timeline: Timeline,
    /// The name that the database gives it: 24 hexadecimal digits for a segment, or
    /// `00000002.history`, `….backup`, `….partial`.
    pub file: String,
    /// Which piece of a segment it is, from 0; none if it is all of it.
    pub piece: Option<u32>,
}

/// An object of an archive as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalListed {
    /// What it is.
    pub name: WalName,
    /// Length of the object in bytes, as it is stored.
    pub stored_bytes: u64,
}

/// What everybody may see of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalGlance {
    /// Keyed hash of the content.
    pub content: [u8; 32],
    /// Length of the content in bytes.
    pub plain_bytes: u64,
    /// When it was stored by its writer's clock, for people.
    pub written: Option<Time>,
    /// Who stored it.
    pub member: MemberId,
}

/// What became of something that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is there now.
    New,
    /// The same was there.
    Same,
    /// Something else is there under this name, and stays.
    Other,
}

impl WalName {
    /// A whole file of a log.
    #[must_use]
    pub fn whole(timeline: Timeline, file: impl Into<String>) -> Self {
        Self { timeline, file: file.into(), piece: None }
    }

    /// A piece of a segment.
    #[must_use]
    pub fn piece(timeline: Timeline, file: impl Into<String>, number: u32) -> Self {
        Self { timeline, file: file.into(), piece: Some(number) }
    }

    /// What the file is, by its name; `None` if it is none that is known.
    #[must_use]
    pub fn kind(&self) -> Option<WalFile> {
        WalFile::parse(&self.file)
    }

    /// The name of its object.
    pub(crate) fn object(&self) -> String {
        let Timeline { system, number, history } = &self.timeline;
        name::wal(*system, *number, history, &self.file, self.piece)
    }

    /// Reads the name of an object; `None` if it is not one of an archive.
    pub(crate) fn parse(object: &str) -> Option<Self> {
        let Place::Wal(_) = name::parse(object)? else { return None };
        let mut words = object.split('/').skip(1);
        let (system, timeline, file) = (words.next()?, words.next()?, words.next()?);
        let timeline = Timeline::parse(u64::from_str_radix(system, 16).ok()?, timeline)?;
        let piece = file.rsplit_once('.').and_then(|(file, number)| Some((file, piece_number(number)?)));
        Some(match piece {
            Some((file, number)) => Self::piece(timeline, file, number),
            None => Self::whole(timeline, file),
        })
    }
}

/// Numbers of pieces have one spelling. A longer run of digits is part of a database's own name.
fn piece_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl WalArchive {
    /// The archive of a repository.
    #[must_use]
    pub fn new(ctx: &Ctx, repository: &Repository) -> Self {
        let looked = Arc::new(AtomicI64::new(ctx.clock.now().seconds));
        Self { ctx: ctx.clone(), repository: repository.clone(), looked }
    }

    /// Whoever streams for months learns of its removal within a minute, and does not go on as if
    /// all were well.
    async fn look_at_members(&self) -> Result<()> {
        let now = self.ctx.clock.now().seconds;
        if now.abs_diff(self.looked.load(Ordering::Relaxed)) >= LOOK_SECONDS {
            self.repository.require_belonging().await?;
            self.looked.store(now, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Stores a file of a log, or a piece of one, and returns once it is durable.
    ///
    /// # Errors
    /// The store failed, the key may not write, or what lies there is damaged. It is not known then
    /// whether anything was stored; the same call will tell.
    pub async fn put(&self, name: &WalName, content: impl Into<Bytes>) -> Result<Stored> {
        let content = content.into();
        let object = checked(name, &content)?;
        self.look_at_members().await?;
        let sealer = self.repository.sealer()?;
        let id = name::named_object(&object);
        // It looks at no root.
        let header = self.repository.header(&self.ctx, ObjectType::Wal, id, 0);
        let secret = Secret::new(self.ctx.random());
        let wrapped = sealer
            .wrap_alone(id, &secret, &self.ctx.random(), &self.ctx.kem)
            .map_err(|error| Error::format("the repository's keys", error))?;
        let (repository, now) = (self.repository.clone(), self.ctx.clock.now());
        let sealing = move || {
            let own = sealer.identifier.wal(&content);
            let mut compressor = Compressor::new(LEVEL);
            let mut segment = WalSegment::seal(&header, &content, own, &secret, wrapped, &mut compressor);
            segment.written = Some(now);
            (own, segment.encode(&header, repository.signer()))
        };
        let (own, bytes) = self.ctx.workers.run(sealing).await;
        if put_or_mine(&**self.repository.store(), &object, bytes).await? == Put::Created {
            return Ok(Stored::New);
        }
        match self.glance(name).await? {
            Some(found) if found.content == own => Ok(Stored::Same),
            Some(_) => Ok(Stored::Other),
            None => Err(Error::new(
                ErrorKind::Conflict,
                format!("{object} was there and is gone: it was deleted meanwhile"),
            )),
        }
    }

    /// What tells a content from others, as [`WalGlance::content`] has it.
    ///
    /// # Errors
    /// The key may not write.
    pub fn identify(&self, content: &[u8]) -> Result<[u8; 32]> {
        Ok(self.repository.identifier()?.wal(content))
    }

    /// What the repository says of an object without opening it; `None` if there is none.
    ///
    /// # Errors
    /// The store failed, or the object is damaged.
    pub async fn glance(&self, name: &WalName) -> Result<Option<WalGlance>> {
        let object = name.object();
        let Some(bytes) = get_optional(&**self.repository.store(), &object).await? else { return Ok(None) };
        self.repository.know_author(&bytes).await?;
        let parsed = self.repository.parse(&bytes, ObjectType::Wal, name::named_object(&object));
        let glance = parsed.and_then(|parsed| {
            let WalSegment { content, plain_bytes, written, .. } = WalSegment::decode(parsed.body)?;
            Ok(WalGlance { content, plain_bytes, written, member: parsed.header.member })
        });
        glance.map(Some).map_err(|error| Error::format(&object, error))
    }

    /// Reads a file of a log, or a piece of one; `None` if the store has proved that there is none.
    ///
    /// # Errors
    /// The store failed, the key may not read, or the object is damaged.
    pub async fn get(&self, name: &WalName) -> Result<Option<Vec<u8>>> {
        self.repository.require(Right::FetchLog)?;
        let object = name.object();
        let Some(bytes) = get_optional(&**self.repository.store(), &object).await? else { return Ok(None) };
        self.repository.know_author(&bytes).await?;
        let (archive, place) = (self.clone(), object.clone());
        let opened = self.ctx.workers.run(move || archive.open(&place, &bytes)).await;
        opened.map(Some).map_err(|error| Error::format(&object, error))
    }

    pub(crate) fn open(&self, object: &str, bytes: &[u8]) -> std::result::Result<Vec<u8>, FormatError> {
        let id = name::named_object(object);
        let parsed = self.repository.parse(bytes, ObjectType::Wal, id)?;
        let segment = WalSegment::decode(parsed.body)?;
        let secret = self.repository.opener().unwrap_alone(
            parsed.header.key_epoch,
            parsed.header.member,
            id,
            &segment.wrapped,
        )?;
        let content = segment.open(&parsed.header, &secret)?;
        // Whoever may read and not write has no key for it; the cipher vouches for the content then.
        match self.repository.identifier() {
            Ok(identifier) if identifier.wal(&content) != segment.content => Err(FormatError::Identity),
            _ => Ok(content),
        }
    }

    /// Every object of a database's log, or of all databases', by name: systems, timelines and files
    /// ascend, and pieces by their numbers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self, system: Option<u64>) -> Result<Vec<WalListed>> {
        let prefix = system.map_or_else(|| "wal/".to_owned(), |system| format!("wal/{system:016x}/"));
        self.listed(&prefix).await
    }

    /// Every object of a timeline, by name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list_timeline(&self, timeline: &Timeline) -> Result<Vec<WalListed>> {
        self.listed(&format!("{}/", folder(timeline))).await
    }

    /// Every object of the timelines of a database that have this number, by name: there may be
    /// several, if two copies of it were promoted.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list_number(&self, system: u64, number: u32) -> Result<Vec<WalListed>> {
        self.listed(&format!("wal/{system:016x}/{number:08x}-")).await
    }

    /// The objects of one file: itself, and its pieces by their numbers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list_file(&self, timeline: &Timeline, file: &str) -> Result<Vec<WalListed>> {
        let mut listed = self.listed(&format!("{}/{file}", folder(timeline))).await?;
        listed.retain(|listed| listed.name.file == file);
        Ok(listed)
    }

    /// The first object of a timeline whose file comes after that of a segment; notes and pieces of
    /// the segment itself do not.
    ///
    /// # Errors
    /// The store failed.
    pub async fn after(&self, timeline: &Timeline, segment: SegmentName) -> Result<Option<WalListed>> {
        let prefix = format!("{}/", folder(timeline));
        let mut last = format!("{prefix}{segment}.{LAST}");
        loop {
            let Some(meta) = self.first_after(&prefix, &last).await? else { return Ok(None) };
            let name = WalName::parse(meta.key.as_str());
            // History files sort among segments.
            let later = |name: &WalName| name.kind().and_then(|kind| kind.segment()).is_some();
            match name.filter(later) {
                Some(name) => return Ok(Some(WalListed { name, stored_bytes: meta.size })),
                None => last = meta.key.as_str().to_owned(),
            }
        }
    }

    /// All timelines that something lies of, of one database or of all, ascending. Takes one call of
    /// the store for each.
    ///
    /// # Errors
    /// The store failed.
    pub async fn timelines(&self, system: Option<u64>) -> Result<Vec<Timeline>> {
        let prefix = system.map_or_else(|| "wal/".to_owned(), |system| format!("wal/{system:016x}/"));
        let (mut found, mut last): (Vec<Timeline>, Option<String>) = (Vec::new(), None);
        loop {
            let first = match &last {
                None => self.repository.store().list(&prefix, None, 1).await?.pop(),
                Some(last) => self.first_after(&prefix, last).await?,
            };
            let Some(meta) = first else { return Ok(found) };
            last = Some(match WalName::parse(meta.key.as_str()) {
                Some(name) => {
                    found.push(name.timeline);
                    format!("{}/{LAST}", folder(&name.timeline))
                }
                None => meta.key.as_str().to_owned(),
            });
        }
    }

    async fn first_after(&self, prefix: &str, after: &str) -> Result<Option<ObjectMeta>> {
        Ok(self.repository.store().list(prefix, Some(&object_key(after)), 1).await?.pop())
    }

    async fn listed(&self, prefix: &str) -> Result<Vec<WalListed>> {
        let all = list_all(&**self.repository.store(), prefix).await?;
        let listed = all.into_iter().filter_map(|meta| {
            let name = WalName::parse(meta.key.as_str())?;
            Some(WalListed { name, stored_bytes: meta.size })
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }
}

/// Whether an object of an archive lies in a store. It needs no key: whoever knows the name may ask.
///
/// # Errors
/// The store failed.
pub async fn is_there(store: &dyn ObjectStore, name: &WalName) -> Result<bool> {
    Ok(store.head(&object_key(name.object())).await?.is_some())
}

/// Sorts after all names of files.
const LAST: &str = "zzzz";

/// Where the objects of a timeline lie.
fn folder(timeline: &Timeline) -> String {
    format!("wal/{:016x}/{timeline}", timeline.system)
}

/// The name of the object, if an archive can hold it.
fn checked(name: &WalName, content: &[u8]) -> Result<String> {
    let object = name.object();
    if WalName::parse(&object).as_ref() != Some(name) {
        let what = format!("{:?} is no name of a file of a log", name.file);
        return Err(Error::new(ErrorKind::Usage, what));
    }
    if content.len() > PIECE_BYTES_MAX {
        let what = format!("{} is too long for one object: {} bytes", name.file, content.len());
        return Err(Error::new(ErrorKind::Usage, what));
    }
    Ok(object)
}
