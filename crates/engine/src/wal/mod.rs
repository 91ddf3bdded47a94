//! The archive of databases' logs: one object a segment, put if absent, read by its name.
//!
//! It needs no session, no root and no index, so that storing a segment is one call and fetching one
//! is one call. On purpose not here: what is in a log, and who gives or wants it.

mod coverage;
mod file;
mod known;
mod pieces;
mod timeline;

pub use coverage::{Coverage, Gap};
pub use file::{SegmentName, WalFile, is_segment_length};
pub(crate) use known::{LogCut, follows};
pub use pieces::{Pieces, ReadAt};
pub use timeline::Timeline;

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::repository::{Repository, get_optional, list_all, object_key, put_or_mine};
use crate::rights::Right;
use crate::workers::lock;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::compress::Compressor;
use holdfast_core::crypto::Secret;
use holdfast_core::entry::Time;
use holdfast_core::id::MemberId;
use holdfast_core::name::{self, Place};
use holdfast_core::object::{HEADER_BYTES, Header, ObjectType};
use holdfast_core::record::WalSegment;
use holdfast_core::wire::Reader;
use holdfast_store::{ByteRange, ObjectMeta, ObjectStore, Put};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// Segments compress well or not at all; a stream has to keep up with its server.
const LEVEL: i32 = 3;
/// Longest content of one object in bytes; what is longer is stored in pieces.
pub const PIECE_BYTES_MAX: usize = 256 << 20;

/// The chain of members is looked at so often, in seconds.
const LOOK_SECONDS: u64 = 60;
/// Headers that are read at the same time.
const HEADERS_AT_ONCE: usize = 16;

/// What counts of removed members, and when that was looked at, in seconds since 1970.
type Looked = (i64, Arc<LogCut>);

/// The archive of one repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WalArchive {
    ctx: Ctx,
    repository: Repository,
    /// When the chain of members was last looked at, in seconds.
    looked: Arc<AtomicI64>,
    /// What counts of removed members, and when that was looked up.
    cut: Arc<Mutex<Option<Looked>>>,
    /// Whether anything was told that does not count.
    told: Arc<AtomicBool>,
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
    /// When it was stored by its writer's clock; before that when it was last written to, where the writer knew.
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
        Self {
            ctx: ctx.clone(),
            repository: repository.clone(),
            looked,
            cut: Arc::default(),
            told: Arc::default(),
        }
    }

    /// What counts of removed members, as of a minute ago at most. Asks for nothing where nobody was removed. Who
    /// fetches logs and opens no root cannot know: to them all counts that verifies.
    async fn cut(&self) -> Result<Arc<LogCut>> {
        let opens_roots = self.repository.require(Right::See).is_ok();
        if !opens_roots || self.repository.standing().members.all_removed().is_empty() {
            return Ok(Arc::default());
        }
        let now = self.ctx.clock.now().seconds;
        if let Some((at, cut)) = &*lock(&self.cut)
            && now.abs_diff(*at) < LOOK_SECONDS
        {
            return Ok(Arc::clone(cut));
        }
        let cut = Arc::new(LogCut::of(&self.repository, &self.repository.newest_root().await?));
        *lock(&self.cut) = Some((now, Arc::clone(&cut)));
        Ok(cut)
    }

    /// Whether an object was put by a member after it had been shut out; it is as if it were not there.
    async fn is_late(&self, name: &WalName, bytes: &[u8]) -> Result<bool> {
        let Some(author) = author_of(bytes).filter(|author| self.repository.is_removed(*author)) else {
            return Ok(false);
        };
        let is_late = self.cut().await?.is_late(author, name);
        if is_late {
            self.tell(name, author, 1);
        }
        Ok(is_late)
    }

    /// Tells once of what does not count.
    fn tell(&self, name: &WalName, author: MemberId, number: usize) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let more = if number > 1 { format!(", and {} more,", number - 1) } else { String::new() };
            let what = format!(
                "{}{more} was put there by {} after it had been removed: it does not count. Take its right to write \
                 to the repository's place away, then run `holdfast repair log`",
                name.object(),
                self.repository.name_of(author)
            );
            self.ctx.monitor.on(&Event::Warning(&what));
        }
    }

    /// Sorts what counts from what was put by members after they had been shut out. Of what is not known it
    /// reads who wrote it.
    pub(crate) async fn sort_out(
        &self,
        cut: &LogCut,
        listed: Vec<WalListed>,
    ) -> Result<(Vec<WalListed>, Vec<WalListed>)> {
        if cut.is_open() {
            return Ok((listed, Vec::new()));
        }
        let mut authors = stream::iter(listed)
            .map(|listed| async move {
                if cut.knows(&listed.name) {
                    return Ok((listed, None));
                }
                let header = self.header_of(&listed.name).await?;
                Ok::<_, Error>((listed, header.as_deref().and_then(author_of)))
            })
            .buffered(HEADERS_AT_ONCE);
        let (mut counting, mut late) = (Vec::new(), Vec::new());
        while let Some(found) = authors.next().await {
            let (listed, author) = found?;
            match author.filter(|author| cut.is_late(*author, &listed.name)) {
                Some(author) => late.push((listed, author)),
                None => counting.push(listed),
            }
        }
        drop(authors);
        if let Some((first, author)) = late.first() {
            self.tell(&first.name, *author, late.len());
        }
        Ok((counting, late.into_iter().map(|(listed, _)| listed).collect()))
    }

    /// The header of an object; `None` if it is gone.
    pub(crate) async fn header_of(&self, name: &WalName) -> Result<Option<Bytes>> {
        let range = ByteRange::From { offset: 0, length: HEADER_BYTES as u64 };
        match self.repository.store().get(&object_key(name.object()), range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == holdfast_store::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
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
        self.put_of(name, content, None).await
    }

    /// Stores it as [`WalArchive::put`] does. `at`: when it was last written to where it comes from, if that is known:
    /// what was stored late is as old as it is.
    ///
    /// # Errors
    /// As for [`WalArchive::put`].
    pub async fn put_of(
        &self,
        name: &WalName,
        content: impl Into<Bytes>,
        at: Option<Time>,
    ) -> Result<Stored> {
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
            segment.written = Some(at.map_or(now, |at| at.min(now)));
            (own, segment.encode(&header, repository.signer()))
        };
        let (own, bytes) = self.ctx.workers.run(sealing).await;
        if put_or_mine(&**self.repository.store(), &object, bytes).await? == Put::Created {
            return Ok(Stored::New);
        }
        match self.found(name).await.map_err(|error| squatted(&object, error))? {
            Some((_, true)) => {
                let what = format!(
                    "{object} was put there by a member that was removed, and does not count: nothing is stored \
                     under that name until `holdfast repair log` has removed it"
                );
                Err(Error::new(ErrorKind::Store, what))
            }
            Some((found, _)) if found.content == own => Ok(Stored::Same),
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
        Ok(self.found(name).await?.filter(|(_, is_late)| !is_late).map(|(found, _)| found))
    }

    /// What people call whoever stored an object.
    #[must_use]
    pub fn author_of(&self, glance: &WalGlance) -> String {
        self.repository.name_of(glance.member)
    }

    /// What lies there, and whether it was put by a member that had been shut out.
    async fn found(&self, name: &WalName) -> Result<Option<(WalGlance, bool)>> {
        let object = name.object();
        let Some(bytes) = get_optional(&**self.repository.store(), &object).await? else { return Ok(None) };
        self.repository.know_author(&bytes).await?;
        let parsed = self.repository.parse(&bytes, ObjectType::Wal, name::named_object(&object));
        let glance = parsed.and_then(|parsed| {
            let WalSegment { content, plain_bytes, written, .. } = WalSegment::decode(parsed.body)?;
            Ok(WalGlance { content, plain_bytes, written, member: parsed.header.member })
        });
        let glance = glance.map_err(|error| Error::format(&object, error))?;
        Ok(Some((glance, self.is_late(name, &bytes).await?)))
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
        if self.is_late(name, &bytes).await? {
            return Ok(None);
        }
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
        // History files sort among segments.
        let is_later = |name: &WalName| name.kind().and_then(|kind| kind.segment()).is_some();
        let cut = self.cut().await?;
        loop {
            let Some(meta) = self.first_after(&prefix, &last).await? else { return Ok(None) };
            last = meta.key.as_str().to_owned();
            let Some(name) = WalName::parse(&last).filter(is_later) else { continue };
            let found = vec![WalListed { name, stored_bytes: meta.size }];
            if let Some(first) = self.sort_out(&cut, found).await?.0.pop() {
                return Ok(Some(first));
            }
            // One that does not count has others beside it: they are looked at together.
            let rest = self.listed(&prefix).await?.into_iter();
            let mut later =
                rest.filter(|listed| is_later(&listed.name) && listed.name.object().as_str() > last.as_str());
            return Ok(later.next());
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
                    if self.has_counting(WalListed { name: name.clone(), stored_bytes: meta.size }).await? {
                        found.push(name.timeline);
                    }
                    format!("{}/{LAST}", folder(&name.timeline))
                }
                None => meta.key.as_str().to_owned(),
            });
        }
    }

    /// Whether anything of the timeline counts whose first object this is.
    async fn has_counting(&self, first: WalListed) -> Result<bool> {
        let timeline = first.name.timeline;
        let cut = self.cut().await?;
        let (counting, _) = self.sort_out(&cut, vec![first]).await?;
        Ok(!counting.is_empty() || !self.list_timeline(&timeline).await?.is_empty())
    }

    async fn first_after(&self, prefix: &str, after: &str) -> Result<Option<ObjectMeta>> {
        Ok(self.repository.store().list(prefix, Some(&object_key(after)), 1).await?.pop())
    }

    async fn listed(&self, prefix: &str) -> Result<Vec<WalListed>> {
        let listed = self.all(prefix).await?;
        let cut = self.cut().await?;
        Ok(self.sort_out(&cut, listed).await?.0)
    }

    /// Every object below a prefix, whether or not it counts.
    pub(crate) async fn all(&self, prefix: &str) -> Result<Vec<WalListed>> {
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

/// Who says in an object's header that it wrote it.
pub(crate) fn author_of(bytes: &[u8]) -> Option<MemberId> {
    Some(Header::decode(&mut Reader::new(bytes.get(..HEADER_BYTES)?)).ok()?.member)
}

/// What lies under a name that is to be written is nothing that could be there.
fn squatted(object: &str, error: Error) -> Error {
    if error.kind != ErrorKind::Damaged {
        return error;
    }
    let what = format!(
        "the name {object} is taken by something that is no such object; see what `holdfast check` says of it, and \
         remove it: holdfast repair log --delete {object}"
    );
    Error { kind: ErrorKind::Damaged, what, source: Some(Box::new(error)) }
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
