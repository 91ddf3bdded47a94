//! Reads chunks and pages: where the index says, opened, verified.
//!
//! On purpose not here: what is done with them.

use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index, KnownPack, Place};
use crate::repository::{Repository, object_key};
use crate::rights::Right;
use crate::view::View;
use crate::workers::lock;
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::chunk::{
    PackCipher, PageCiphers, PageText, StoredLength, open_data, open_page, open_page_refs,
};
use holdfast_core::compress::Decompressor;
use holdfast_core::crypto::Secret;
use holdfast_core::entry_code::Refs;
use holdfast_core::id::{ChunkId, MemberId};
use holdfast_core::keys::{Identifier, Opener};
use holdfast_core::name::PackClass;
use holdfast_core::page::Page;
use holdfast_store::ByteRange;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Ranges of one pack that are at most this far apart are read in one call, in bytes.
const GAP_BYTES_MAX: u64 = 256 << 10;
/// Text of pages that are opened together, in bytes; one page more may be.
const PAGES_BYTES_MAX: usize = 8 << 20;
/// Longest range that is read in one call, in bytes.
pub(crate) const RANGE_BYTES_MAX: u64 = 4 << 20;

/// Reads chunks and pages of one view of a repository. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    pub repository: Repository,
    pub index: Arc<Index>,
    /// None where the key names no chunks.
    identifier: Option<Identifier>,
    opener: Opener,
    secrets: Arc<Mutex<HashMap<(u32, PackClass), Secret>>>,
    /// Generations of keys of sessions.
    epochs: Arc<Mutex<HashMap<u32, u32>>>,
    data_ciphers: Arc<Mutex<HashMap<u32, Arc<PackCipher>>>>,
    page_ciphers: Arc<Mutex<HashMap<u32, Arc<PageCiphers>>>>,
    /// Number of the root that the index follows from, where chunks may be looked for anew.
    root: Option<u64>,
    /// A reader of a newer root, once something had moved.
    moved: Arc<Mutex<Option<Self>>>,
    /// Pages that were fetched before they were asked for.
    pub(crate) ahead: Arc<Mutex<HashMap<ChunkId, Page>>>,
}

/// Whose word counts; everybody's, if none is stated.
pub(crate) type Believed<'a> = Option<&'a (dyn Fn(MemberId) -> bool + Sync)>;

/// A chunk that is wanted, and where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub id: ChunkId,
    pub place: Place,
}

/// Wanted chunks that lie close together in one pack.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub pack: u32,
    pub offset: u64,
    pub length: u64,
    pub chunks: Vec<Wanted>,
}

/// Joins wanted chunks into ranges; each chunk is in one range, ordered by pack and offset.
pub(crate) fn coalesce(mut wanted: Vec<Wanted>) -> Vec<Range> {
    wanted.sort_unstable_by_key(|chunk| (chunk.place.pack, chunk.place.offset));
    let mut ranges: Vec<Range> = Vec::new();
    for chunk in wanted {
        let (start, length) = (u64::from(chunk.place.offset), u64::from(chunk.place.length.bytes()));
        match ranges.last_mut() {
            Some(last)
                if last.pack == chunk.place.pack
                    && start <= last.offset + last.length + GAP_BYTES_MAX
                    && start + length - last.offset <= RANGE_BYTES_MAX =>
            {
                last.length = last.length.max(start + length - last.offset);
                last.chunks.push(chunk);
            }
            _ => ranges.push(Range { pack: chunk.place.pack, offset: start, length, chunks: vec![chunk] }),
        }
    }
    ranges
}

impl Reader {
    /// A reader of names and contents.
    ///
    /// # Errors
    /// The key does not allow reading.
    pub(crate) fn new(repository: &Repository, view: View) -> Result<Self> {
        repository.require(Right::Read)?;
        Self::of_refs(repository, view)
    }

    /// A reader of whatever the key opens: of what pages refer to at least.
    pub(crate) fn of_refs(repository: &Repository, view: View) -> Result<Self> {
        let reader = Self::with_index(repository, Arc::new(view.index))?;
        Ok(Self { root: Some(view.root.number), ..reader })
    }

    /// A reader of what there is now, if the repository was maintained since: a pack that is gone
    /// is damage only if the newest root still counts on it.
    pub(crate) async fn newer(&self) -> Result<Option<Self>> {
        let known = lock(&self.moved).clone();
        let (Some(root), newest) = (self.root, self.repository.newest_root().await?.number) else {
            return Ok(None);
        };
        if let Some(known) = known.filter(|known| known.root == Some(newest)) {
            return Ok(Some(known));
        }
        if newest <= root {
            return Ok(None);
        }
        let newer = Self::of_refs(&self.repository, self.repository.view().await?)?;
        *lock(&self.moved) = Some(newer.clone());
        Ok(Some(newer))
    }

    pub(crate) fn with_index(repository: &Repository, index: Arc<Index>) -> Result<Self> {
        Ok(Self {
            repository: repository.clone(),
            index,
            identifier: repository.identifier().ok().cloned(),
            opener: repository.opener(),
            secrets: Arc::default(),
            epochs: Arc::default(),
            data_ciphers: Arc::default(),
            page_ciphers: Arc::default(),
            root: None,
            moved: Arc::default(),
            ahead: Arc::default(),
        })
    }

    /// Names chunks, and so tells whether one is what it should be.
    ///
    /// # Errors
    /// The key does not hold what that takes.
    pub(crate) fn identifier(&self) -> Result<&Identifier> {
        match &self.identifier {
            Some(identifier) => Ok(identifier),
            None => self.repository.identifier(),
        }
    }

    /// Whether the key opens pages and contents.
    pub(crate) fn opens(&self) -> bool {
        self.repository.may(Right::Read)
    }

    /// The secret that a pack was sealed under.
    fn secret(&self, origin: &KnownPack, class: PackClass) -> Result<Secret> {
        if let Some(secret) = lock(&self.secrets).get(&(origin.session, class)) {
            return Ok(secret.clone());
        }
        let session = self.index.session(origin.session)?;
        let secret = self.opener.session_secret(&session, class);
        let secret = secret.map_err(|error| Error::format(&origin.row.id.name(), error))?;
        lock(&self.secrets).insert((origin.session, class), secret.clone());
        Ok(secret)
    }

    fn data_cipher(&self, origin: u32) -> Result<Arc<PackCipher>> {
        if let Some(cipher) = lock(&self.data_ciphers).get(&origin) {
            return Ok(Arc::clone(cipher));
        }
        let pack = self.index.pack(origin)?;
        let secret = self.secret(&pack, PackClass::Data)?;
        let cipher = Arc::new(PackCipher::new(&secret, self.repository.id(), &pack.row.id));
        lock(&self.data_ciphers).insert(origin, Arc::clone(&cipher));
        Ok(cipher)
    }

    fn key_epoch(&self, session: u32) -> Result<u32> {
        if let Some(epoch) = lock(&self.epochs).get(&session) {
            return Ok(*epoch);
        }
        let epoch = self.index.session(session)?.key_epoch;
        lock(&self.epochs).insert(session, epoch);
        Ok(epoch)
    }

    /// Opens references of pages that were sealed for a pack; its session says under which keys.
    fn refs_cipher(&self, origin: &KnownPack) -> Result<PackCipher> {
        let key = self.repository.k_ref_of(self.key_epoch(origin.session)?);
        let key = key.map_err(|error| Error::format(&origin.row.id.name(), error))?;
        Ok(PackCipher::for_refs(&key, self.repository.id(), &origin.row.id))
    }

    fn page_ciphers(&self, origin: u32) -> Result<Arc<PageCiphers>> {
        if let Some(ciphers) = lock(&self.page_ciphers).get(&origin) {
            return Ok(Arc::clone(ciphers));
        }
        let known = self.index.pack(origin)?;
        let (secret, pack) = (self.secret(&known, PackClass::Tree)?, known.row.id);
        let ciphers = Arc::new(PageCiphers {
            refs: self.refs_cipher(&known)?,
            body: Some(PackCipher::new(&secret, self.repository.id(), &pack)),
        });
        lock(&self.page_ciphers).insert(origin, Arc::clone(&ciphers));
        Ok(ciphers)
    }

    /// Opens a data chunk whose sealed bytes are at hand.
    pub(crate) fn open_data(
        &self,
        wanted: &Wanted,
        sealed: &mut [u8],
        decompressor: &mut Decompressor,
        plaintext: &mut Vec<u8>,
    ) -> Result<()> {
        let cipher = self.data_cipher(wanted.place.origin)?;
        let length = wanted.place.length;
        open_data(&cipher, self.identifier()?, &wanted.id, length, sealed, decompressor, plaintext)
            .map_err(|error| self.broken(wanted, error))
    }

    /// The error of a chunk whose bytes are not what they should be.
    fn broken(&self, wanted: &Wanted, error: FormatError) -> Error {
        match self.index.pack(wanted.place.pack) {
            Ok(pack) => Error::format(&pack.row.id.name(), error),
            Err(other) => other,
        }
    }

    /// Opens a page whose sealed bytes are at hand.
    pub(crate) fn open_page(&self, wanted: &Wanted, sealed: &mut [u8]) -> Result<Page> {
        Page::decode(&self.open_page_text(wanted, sealed)?).map_err(|error| self.broken(wanted, error))
    }

    fn open_page_text(&self, wanted: &Wanted, sealed: &mut [u8]) -> Result<PageText> {
        let ciphers = self.page_ciphers(wanted.place.origin)?;
        let (place, mut decompressor) = (wanted.place, Decompressor::new());
        open_page(&ciphers, self.identifier()?, &wanted.id, place.length, sealed, &mut decompressor)
            .map_err(|error| self.broken(wanted, error))
    }

    /// Reads a range of a pack; fewer bytes than asked for are an error.
    pub(crate) async fn fetch(&self, pack: u32, offset: u64, length: u64) -> Result<Bytes> {
        let name = self.index.pack(pack)?.row.id.name();
        let bytes =
            self.repository.store().get(&object_key(&*name), ByteRange::From { offset, length }).await?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(Error::new(ErrorKind::Damaged, format!("{name} is cut off")))
        }
    }

    /// Reads one data chunk, from any pack that has it.
    pub(crate) async fn data(&self, id: &ChunkId) -> Result<Vec<u8>> {
        let mut plaintext = Vec::new();
        self.try_places(id, |reader, wanted, sealed| {
            reader.open_data(wanted, sealed, &mut Decompressor::new(), &mut plaintext)
        })
        .await?;
        Ok(plaintext)
    }

    /// Reads one page, from any pack that has it.
    pub(crate) async fn page(&self, id: &ChunkId) -> Result<Page> {
        let mut page = None;
        self.try_places(id, |reader, wanted, sealed| {
            page = Some(reader.open_page(wanted, sealed)?);
            Ok(())
        })
        .await?;
        page.ok_or_else(|| missing(id))
    }

    /// Tries one place after the other, and once more by a newer root if there is one.
    async fn try_places(
        &self,
        id: &ChunkId,
        mut open: impl FnMut(&Self, &Wanted, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        self.try_places_by(id, None, &mut open).await
    }

    async fn try_places_by(
        &self,
        id: &ChunkId,
        believed: Believed<'_>,
        open: &mut impl FnMut(&Self, &Wanted, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let Err(error) = self.try_known_places(id, believed, open).await else { return Ok(()) };
        match self.newer().await {
            Ok(Some(newer)) => newer.try_known_places(id, believed, open).await,
            Ok(None) | Err(_) => Err(error),
        }
    }

    async fn try_known_places(
        &self,
        id: &ChunkId,
        believed: Believed<'_>,
        open: &mut impl FnMut(&Self, &Wanted, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut last = missing(id);
        for place in self.places_by(id, believed)? {
            let fetched = self.fetch(place.pack, place.offset.into(), place.length.bytes().into()).await;
            match fetched.and_then(|bytes| open(self, &Wanted { id: *id, place }, &mut Vec::from(bytes))) {
                Ok(()) => return Ok(()),
                // What could not be had now may be whole: that it is damaged is not known.
                Err(_) if last.kind == ErrorKind::Store => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Reads the references of pages, those close together in one call; in the order asked for.
    /// The key for bodies is not needed.
    pub(crate) async fn refs(&self, ids: &[ChunkId]) -> Vec<Result<Refs>> {
        self.refs_by(ids, None).await
    }

    /// The same, by the word of some members: every member has the key for references, so that only
    /// who sealed a page tells whether they are its own. Of a page that none of them has sealed any
    /// copy is taken.
    pub(crate) async fn refs_by(&self, ids: &[ChunkId], believed: Believed<'_>) -> Vec<Result<Refs>> {
        let mut found: HashMap<ChunkId, Refs> = HashMap::new();
        let wanted = ids
            .iter()
            .filter_map(|id| Some(Wanted { id: *id, place: self.believed_place(id, believed).ok()?? }))
            .collect();
        // What fails here is tried again alone below.
        for range in coalesce(wanted) {
            let Ok(bytes) = self.fetch(range.pack, range.offset, range.length).await else { continue };
            for chunk in &range.chunks {
                let mut sealed = slice(&bytes, &range, chunk.place.offset, chunk.place.length).to_vec();
                if let Ok(refs) = self.open_refs(chunk, &mut sealed) {
                    found.insert(chunk.id, refs);
                }
            }
        }
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            all.push(match found.remove(id) {
                Some(refs) => Ok(refs),
                None => self.refs_of(id, believed).await,
            });
        }
        all
    }

    async fn refs_of(&self, id: &ChunkId, believed: Believed<'_>) -> Result<Refs> {
        let mut refs = None;
        let mut open = |reader: &Self, wanted: &Wanted, sealed: &mut [u8]| {
            refs = Some(reader.open_refs(wanted, sealed)?);
            Ok(())
        };
        self.try_places_by(id, believed, &mut open).await?;
        refs.ok_or_else(|| missing(id))
    }

    /// The place of a page by members that are believed.
    fn believed_place(&self, id: &ChunkId, believed: Believed<'_>) -> Result<Option<Place>> {
        let first = self.index.place(id)?;
        if first.is_none_or(|place| self.is_by(&place, believed)) {
            return Ok(first);
        }
        Ok(self.places_by(id, believed)?.into_iter().next())
    }

    fn is_by(&self, place: &Place, believed: Believed<'_>) -> bool {
        let by = |believed: &(dyn Fn(MemberId) -> bool + Sync)| {
            self.index.pack(place.origin).is_ok_and(|origin| believed(origin.row.id.member))
        };
        believed.is_none_or(by)
    }

    /// The places of a chunk by members that are believed; all, if there is none.
    fn places_by(&self, id: &ChunkId, believed: Believed<'_>) -> Result<Vec<Place>> {
        let all = self.index.places(id)?;
        let by: Vec<_> = all.iter().filter(|place| self.is_by(place, believed)).copied().collect();
        Ok(if by.is_empty() { all } else { by })
    }

    fn open_refs(&self, wanted: &Wanted, sealed: &mut [u8]) -> Result<Refs> {
        let refs = self.refs_cipher(&self.index.pack(wanted.place.origin)?)?;
        let ciphers = PageCiphers { refs, body: None };
        open_page_refs(&ciphers, &wanted.id, wanted.place.length, sealed)
            .and_then(|refs| Refs::decode(&refs))
            .map_err(|error| self.broken(wanted, error))
    }

    /// Reads pages, those close together in one call; in the order asked for. Fewer than asked for
    /// are given, one at least, where they would fill memory.
    pub(crate) async fn pages(&self, ids: &[ChunkId]) -> Vec<Result<Page>> {
        let texts = self.texts(ids).await;
        let mut pages = Vec::with_capacity(texts.len());
        for (id, text) in ids.iter().zip(texts) {
            pages.push(match text.map(|text| Page::decode(&text)) {
                Ok(Ok(page)) => Ok(page),
                // It says where the page lies.
                Ok(Err(_)) => self.page(id).await,
                Err(error) => Err(error),
            });
        }
        pages
    }

    /// Reads pages as they were written, each compared with its id; otherwise as [`Reader::pages`].
    pub(crate) async fn texts(&self, ids: &[ChunkId]) -> Vec<Result<PageText>> {
        let mut found: HashMap<ChunkId, PageText> = HashMap::new();
        let mut bytes_left = PAGES_BYTES_MAX;
        let wanted = ids
            .iter()
            .filter_map(|id| Some(Wanted { id: *id, place: self.index.place(id).ok()?? }))
            .collect();
        for range in coalesce(wanted) {
            if bytes_left == 0 {
                break;
            }
            // What fails here is tried again alone below.
            let Ok(bytes) = self.fetch(range.pack, range.offset, range.length).await else { continue };
            for chunk in &range.chunks {
                if bytes_left == 0 {
                    break;
                }
                let mut sealed = slice(&bytes, &range, chunk.place.offset, chunk.place.length).to_vec();
                if let Ok(text) = self.open_page_text(chunk, &mut sealed) {
                    bytes_left = bytes_left.saturating_sub(text.refs.len() + text.body.len());
                    found.insert(chunk.id, text);
                }
            }
        }
        let mut texts = Vec::with_capacity(ids.len());
        for id in ids {
            texts.push(match found.remove(id) {
                Some(text) => Ok(text),
                None if bytes_left == 0 && !texts.is_empty() => break,
                None => self.text(id).await,
            });
        }
        texts
    }

    async fn text(&self, id: &ChunkId) -> Result<PageText> {
        let mut text = None;
        self.try_places(id, |reader, wanted, sealed| {
            text = Some(reader.open_page_text(wanted, sealed)?);
            Ok(())
        })
        .await?;
        text.ok_or_else(|| missing(id))
    }
}

/// The bytes of one chunk in those of its range.
pub(crate) fn slice<'a>(bytes: &'a [u8], range: &Range, offset: u32, length: StoredLength) -> &'a [u8] {
    let start = (u64::from(offset) - range.offset) as usize;
    &bytes[start..start + length.bytes() as usize]
}

pub(crate) fn missing(id: &ChunkId) -> Error {
    Error::new(
        ErrorKind::Damaged,
        format!("chunk {} is in no pack that the index knows", &id.to_string()[..16]),
    )
}
