//! A batch while it is filled.
//!
//! On purpose not here: the decision what goes into it.

use crate::directory::Directory;
use crate::read::{Access, BatchReader, Reading, Shared};
use holdfast_core::entry::key_to_path;
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::source::{Aside, EntryBatch, Item, Stat};
use std::sync::Arc;

/// Items that a batch holds at most.
const ITEMS_MAX: usize = 256;
/// Bytes of keys after which a batch is closed: keys of deep trees are long.
const KEY_BYTES_MAX: usize = 1024 * 1024;
/// Directories that a batch holds at most, because each may hold a handle.
const DIRECTORIES_MAX: usize = 64;

/// Gathers items.
#[derive(Debug, Default)]
pub(super) struct Filling {
    keys: Vec<u8>,
    items: Vec<Item>,
    reading: Reading,
    pub(super) problems: Problems,
}

impl Filling {
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::with_capacity(16 * 1024),
            items: Vec::with_capacity(ITEMS_MAX),
            reading: Reading::with_capacity(ITEMS_MAX),
            problems: Problems::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= ITEMS_MAX
            || self.keys.len() >= KEY_BYTES_MAX
            || self.reading.directories() >= DIRECTORIES_MAX
    }

    /// Adds an item that lies in `directory`; its name is the key's last component.
    pub(super) fn add(&mut self, key: &[u8], directory: &Arc<Directory>, stat: Stat, access: Access) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.reading.add(directory, name_of(key), stat.kind, access);
        self.items.push(Item { key: start..self.keys.len(), stat, aside: Aside::default() });
    }

    pub(super) fn problem(&mut self, key: &[u8], what: String) {
        let path = path_of(key);
        self.problems.problem(Problem { path, kind: ProblemKind::Unreadable, what });
    }

    pub(super) fn notice(&mut self, key: &[u8], kind: NoticeKind, what: &str) {
        self.problems.notice(Notice { path: path_of(key), kind, what: what.to_owned() });
    }

    /// Ends the batch; `None` if there is nothing in it.
    pub(super) fn end(self, shared: &Arc<Shared>) -> Option<EntryBatch> {
        let nothing = self.items.is_empty() && self.problems == Problems::default();
        let Self { keys, items, reading, problems } = self;
        let reader = Arc::new(BatchReader::new(reading, Arc::clone(shared)));
        (!nothing).then_some(EntryBatch { keys, items, reader, problems })
    }
}

/// The absolute path of a key, for people.
pub(super) fn path_of(key: &[u8]) -> Vec<u8> {
    let mut path = vec![b'/'];
    path.extend(key_to_path(key));
    path
}

/// The last component of a key.
pub(crate) fn name_of(key: &[u8]) -> &[u8] {
    let start = key.iter().rposition(|&byte| byte == 0).map_or(0, |at| at + 1);
    &key[start..]
}
