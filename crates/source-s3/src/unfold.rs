//! Restoring objects into a folder: each key becomes a path, with the folders that it needs.
//!
//! Keys come in the order of their bytes, and a folder is filled in the order of a tree: `a.txt`
//! comes before `a/b` in one and after it in the other. So each batch is a restore of its own, sorted,
//! into the same folder. What only an object has, as metadata and tags, has no place in a file and is
//! left out. On purpose not here: how paths are written ([`crate::encoding`]), and how files are.

use crate::attributes::{DELETE_MARKER, lacking};
use crate::encoding::{Above, encode};
use holdfast_core::entry::{Attributes, Content, Entry, Kind, Owner, Time, Xattrs};
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::target::{Finished, Present, Tally, Target, TargetBatch, TargetError, Want};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// Permissions of files, and of folders that are made.
const FILE_MODE: u16 = 0o644;
const FOLDER_MODE: u16 = 0o755;

/// What is known of a folder that is there.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Its permissions.
    pub mode: u16,
    /// Whose it is.
    pub owner: Owner,
    /// When something in it changed.
    pub mtime: Time,
}

/// Opens the folder that is restored into, once more for each batch.
pub type OpenFolder = Box<dyn FnMut() -> Result<Box<dyn Target>, TargetError> + Send>;
/// Looks at a folder by its components; none if it is not there.
pub type LookAtFolder = Box<dyn Fn(&[Vec<u8>]) -> Option<Folder> + Send>;

/// Restores objects into a folder.
pub struct Unfolded {
    open: OpenFolder,
    look: LookAtFolder,
    /// Whose files are.
    owner: Arc<Owner>,
    made: Time,
    above: Above,
    pending: VecDeque<Pending>,
    finished: Finished,
    left_out: bool,
}

/// A batch that is not complete.
struct Pending {
    target: Box<dyn Target>,
    inner: Arc<dyn TargetBatch>,
    /// Its folders, which do not have their attributes yet.
    folders: BTreeMap<Vec<u8>, Entry>,
}

impl Unfolded {
    /// Gets ready. Files are owned by `owner`; folders that are made have the time `made`.
    #[must_use]
    pub fn new(open: OpenFolder, look: LookAtFolder, owner: Owner, made: Time) -> Self {
        Self {
            open,
            look,
            owner: Arc::new(owner),
            made,
            above: Above::default(),
            pending: VecDeque::new(),
            finished: Finished::default(),
            left_out: false,
        }
    }

    /// The entry of a file, and those of the folders that it lies in.
    fn unfold(&mut self, entry: &Entry, folders: &mut BTreeMap<Vec<u8>, Entry>) -> Option<Entry> {
        if entry.kind != Kind::File {
            return None;
        }
        self.above.note(&entry.key);
        if let Xattrs::Inline(pairs) = &entry.attributes.xattrs {
            self.left_out |= !pairs.is_empty();
            let find = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted.as_bytes());
            if let Some(what) = lacking(pairs) {
                let problem = Problem { path: entry.key.clone(), kind: ProblemKind::Refused, what };
                self.finished.problems.problem(problem);
                return None;
            }
            if find(DELETE_MARKER).is_some() {
                return None;
            }
        }
        let components = encode(&entry.key, |beginning| self.above.is_object(beginning));
        for end in 1..components.len() {
            let key = components[..end].join(&0);
            folders.entry(key.clone()).or_insert_with(|| self.folder(key, &components[..end]));
        }
        let attributes = Attributes { torn: entry.attributes.torn, ..Attributes::default() };
        let (key, owner) = (components.join(&0), Arc::clone(&self.owner));
        Some(Entry { key, mode: FILE_MODE, owner, attributes, ..entry.clone() })
    }

    /// A folder: one that is there stays what it is.
    fn folder(&self, key: Vec<u8>, components: &[Vec<u8>]) -> Entry {
        if let Some(made) = self.pending.iter().find_map(|pending| pending.folders.get(&key)) {
            return made.clone();
        }
        let there = (self.look)(components);
        let (mode, owner, mtime) = match there {
            Some(there) => (there.mode, Arc::new(there.owner), there.mtime),
            None => (FOLDER_MODE, Arc::clone(&self.owner), self.made),
        };
        Entry {
            key,
            kind: Kind::Directory,
            mode,
            owner,
            mtime,
            size: 0,
            content: Content::None,
            digest: None,
            attributes: Attributes::default(),
        }
    }

    fn absorb(&mut self, finished: Finished) {
        let (sum, more) = (&mut self.finished.tally, finished.tally);
        *sum = Tally {
            created: sum.created + more.created,
            rewritten: sum.rewritten + more.rewritten,
            attributes_only: sum.attributes_only + more.attributes_only,
            unchanged: sum.unchanged + more.unchanged,
            left: sum.left + more.left,
            deleted: sum.deleted + more.deleted,
            existing: sum.existing + more.existing,
            bytes_written: sum.bytes_written + more.bytes_written,
        };
        self.finished.problems.absorb(finished.problems);
        self.finished.deleted.extend(finished.deleted);
        self.finished.deleted.truncate(Problems::KEPT_MAX);
    }
}

impl Target for Unfolded {
    fn prepare(&mut self, entries: Vec<Entry>) -> Result<Arc<dyn TargetBatch>, TargetError> {
        let mut folders = BTreeMap::new();
        let files: Vec<_> = entries.iter().map(|entry| self.unfold(entry, &mut folders)).collect();
        let keys: Vec<_> = files.iter().map(|file| file.as_ref().map(|file| file.key.clone())).collect();
        let mut inside: Vec<_> = files.into_iter().flatten().chain(folders.values().cloned()).collect();
        inside.sort_by(|one, other| one.key.cmp(&other.key));
        let place = |key: &Vec<u8>| inside.binary_search_by(|entry| entry.key.cmp(key)).ok();
        let places = keys.iter().map(|key| key.as_ref().and_then(place)).collect();
        let mut target = (self.open)()?;
        let inner = target.prepare(inside)?;
        self.pending.push_back(Pending { target, inner: Arc::clone(&inner), folders });
        Ok(Arc::new(UnfoldedBatch { entries, places, inner }))
    }

    fn complete(&mut self, _batch: Arc<dyn TargetBatch>) -> Result<(), TargetError> {
        let Some(Pending { mut target, inner, .. }) = self.pending.pop_front() else {
            let what = "a batch was completed twice: a defect of this program".to_owned();
            return Err(TargetError { what, source: None });
        };
        target.complete(inner)?;
        let finished = target.finish()?;
        self.absorb(finished);
        Ok(())
    }

    /// Nothing is deleted in any case.
    fn spare(&mut self) {}

    fn finish(&mut self) -> Result<Finished, TargetError> {
        if std::mem::take(&mut self.left_out) {
            let what =
                "headers, metadata and tags of objects have no place in files, and are left out".to_owned();
            self.finished.problems.notice(Notice { path: Vec::new(), kind: NoticeKind::Other, what });
        }
        Ok(std::mem::take(&mut self.finished))
    }
}

/// A batch of objects, and the files that they become.
struct UnfoldedBatch {
    entries: Vec<Entry>,
    /// Where each is in the batch of files; none if it becomes no file.
    places: Vec<Option<usize>>,
    inner: Arc<dyn TargetBatch>,
}

impl UnfoldedBatch {
    fn with(
        &self,
        entry: usize,
        call: impl FnOnce(&dyn TargetBatch, usize) -> Result<(), TargetError>,
    ) -> Result<(), TargetError> {
        self.places[entry].map_or(Ok(()), |place| call(&*self.inner, place))
    }
}

impl TargetBatch for UnfoldedBatch {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn takes(&self, entry: usize) -> bool {
        self.places[entry].is_none_or(|place| self.inner.takes(place))
    }

    fn wants(&self, entry: usize) -> Want {
        self.places[entry].map_or(Want::Nothing, |place| self.inner.wants(place))
    }

    fn present(&self, entry: usize) -> io::Result<Box<dyn Present>> {
        let place = self.places[entry].ok_or(io::ErrorKind::NotFound)?;
        self.inner.present(place)
    }

    fn can_patch(&self, entry: usize) -> bool {
        self.places[entry].is_some_and(|place| self.inner.can_patch(place))
    }

    fn keep(&self, entry: usize) -> Result<(), TargetError> {
        self.with(entry, |inner, place| inner.keep(place))
    }

    fn would_write(&self, entry: usize, bytes: u64) {
        if let Some(place) = self.places[entry] {
            self.inner.would_write(place, bytes);
        }
    }

    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError> {
        self.with(entry, |inner, place| inner.put(place, content))
    }

    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        self.with(entry, |inner, place| inner.write_at(place, offset, bytes))
    }

    fn clear(&self, entry: usize, offset: u64, length: u64) -> Result<(), TargetError> {
        self.with(entry, |inner, place| inner.clear(place, offset, length))
    }

    fn close(&self, entry: usize) -> Result<(), TargetError> {
        self.with(entry, |inner, place| inner.close(place))
    }

    fn discard(&self, entry: usize) -> Result<(), TargetError> {
        self.with(entry, |inner, place| inner.discard(place))
    }
}
