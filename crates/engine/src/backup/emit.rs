//! The end of the pipeline: finished entries become pages of the tree and records of the next
//! stat cache, in order of their keys.
//!
//! On purpose not here: contents. Only entries come this far.

use crate::cache::{CacheWriter, Record, decode_sortable, encode_sortable};
use crate::packer::Packer;
use holdfast_core::entry::Entry;
use holdfast_core::id::ChunkId;
use holdfast_core::page::{KeySpace, TreeBuilder, TreeRoot};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Entries that are sorted in memory at a time, in bytes of their encoding.
const SORT_BYTES_MAX: usize = 16 << 20;

/// Takes entries in ascending order of their keys.
pub(super) struct Ascending {
    packer: Arc<Packer>,
    tree: TreeBuilder,
    pub cache: Option<CacheWriter>,
    /// Why there is no cache any more.
    pub cache_trouble: Option<io::Error>,
}

impl Ascending {
    pub(super) fn new(packer: Arc<Packer>, space: KeySpace, cache: Option<CacheWriter>) -> Self {
        let tree = TreeBuilder::new(packer.sealer().identifier.clone(), space);
        Self { packer, tree, cache, cache_trouble: None }
    }

    fn push(&mut self, record: &Record) {
        let packer = &self.packer;
        self.tree.push(&record.entry, &mut |id, page| packer.store_page(id, &page));
        if let Some(cache) = &mut self.cache
            && let Err(error) = cache.push(record)
        {
            self.cache_trouble = Some(error);
            self.cache = None;
        }
    }

    /// States how long a bundle is.
    pub(super) fn bundle(&mut self, id: &ChunkId, bytes: usize) {
        if let Some(cache) = &mut self.cache {
            cache.bundle(id, bytes);
        }
    }

    fn finish(self) -> (TreeRoot, Option<CacheWriter>, Option<io::Error>) {
        let packer = self.packer;
        let root = self.tree.finish(&mut |id, page| packer.store_page(id, &page));
        (root, self.cache, self.cache_trouble)
    }
}

/// Takes entries in the order in which the source gives them.
pub(super) enum Emit {
    /// They ascend already.
    Sorted(Box<Ascending>),
    /// They are sorted here, outside memory where there are many.
    Arrival(Box<Ascending>, Sorter),
}

impl Emit {
    pub(super) fn ascending(&mut self) -> &mut Ascending {
        match self {
            Self::Sorted(ascending) | Self::Arrival(ascending, _) => ascending,
        }
    }

    pub(super) fn push(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Self::Sorted(ascending) => {
                ascending.push(record);
                Ok(())
            }
            Self::Arrival(_, sorter) => sorter.push(record),
        }
    }

    /// Ends the tree.
    pub(super) fn finish(self) -> io::Result<(TreeRoot, Option<CacheWriter>, Option<io::Error>)> {
        match self {
            Self::Sorted(ascending) => Ok(ascending.finish()),
            Self::Arrival(mut ascending, sorter) => {
                sorter.drain(|record| ascending.push(record))?;
                Ok(ascending.finish())
            }
        }
    }
}

/// Sorts records by key, in runs that are written to a file and merged.
pub(super) struct Sorter {
    folder: PathBuf,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    runs: Vec<File>,
}

impl Sorter {
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self { folder, rows: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    fn push(&mut self, record: &Record) -> io::Result<()> {
        let bytes = encode_sortable(record);
        self.bytes += record.entry.key.len() + bytes.len() + 48;
        self.rows.push((record.entry.key.clone(), bytes));
        if self.bytes > SORT_BYTES_MAX { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        crate::private_files::create_private_folder(&self.folder)?;
        let path = self.folder.join(format!("sort-{}-{}", std::process::id(), self.runs.len()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        let mut writer = BufWriter::new(file);
        for (key, bytes) in self.rows.drain(..) {
            for part in [&key, &bytes] {
                writer.write_all(&(part.len() as u32).to_le_bytes())?;
                writer.write_all(part)?;
            }
        }
        let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        io::Seek::rewind(&mut file)?;
        self.runs.push(file);
        self.bytes = 0;
        Ok(())
    }

    /// Gives all records in ascending order of their keys; of several with one key the last run's first.
    fn drain(mut self, mut visit: impl FnMut(&Record)) -> io::Result<()> {
        self.rows.sort_by(|a, b| a.0.cmp(&b.0));
        let mut last: Option<Vec<u8>> = None;
        let mut take = |key: Vec<u8>, bytes: &[u8]| -> io::Result<()> {
            if last.as_ref() != Some(&key) {
                visit(&decode_sortable(bytes)?);
                last = Some(key);
            }
            Ok(())
        };
        let mut runs: Vec<_> = self.runs.into_iter().map(BufReader::new).collect();
        let mut memory = self.rows.into_iter();
        let mut heap = BinaryHeap::new();
        let count = runs.len();
        let mut next =
            |run: usize, runs: &mut Vec<BufReader<File>>| -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
                if run == count { Ok(memory.next()) } else { read_row(&mut runs[run]) }
            };
        for run in 0..=count {
            if let Some((key, bytes)) = next(run, &mut runs)? {
                heap.push(Reverse((key, run, bytes)));
            }
        }
        while let Some(Reverse((key, run, bytes))) = heap.pop() {
            take(key, &bytes)?;
            if let Some((key, bytes)) = next(run, &mut runs)? {
                heap.push(Reverse((key, run, bytes)));
            }
        }
        Ok(())
    }
}

fn read_row(file: &mut BufReader<File>) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut part = || -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match file.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    };
    let Some(key) = part()? else { return Ok(None) };
    Ok(part()?.map(|bytes| (key, bytes)))
}

/// An entry whose content may still be on its way.
#[derive(Clone)]
pub(super) struct Draft {
    pub entry: Entry,
    pub stamp: Option<crate::cache::Stamp>,
    pub closure: Vec<(holdfast_core::keys::ChunkKind, holdfast_core::index::ChunkKey)>,
    /// Slice of a bundle that may still be open: number, offset, length.
    pub bundled: Option<(u32, u32, u32)>,
}
