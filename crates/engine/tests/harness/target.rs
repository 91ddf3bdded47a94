//! A target in memory that remembers what it was given and in which order.

use super::tree::{Node, Tree};
use holdfast_core::entry::{Entry, Kind, Xattrs};
use holdfast_engine::target::{Finished, Present, Tally, Target, TargetBatch, TargetError, Want};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A restored item.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) entry: Entry,
    /// What was there before.
    pub(crate) before: Option<Vec<u8>>,
    /// What was written, holes as zeros; `None` until the first write.
    pub(crate) content: Option<Vec<u8>>,
    /// Bytes that were written, not holes.
    pub(crate) written: u64,
    pub(crate) closed: bool,
    pub(crate) discarded: bool,
}

/// What a restore made, by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restored {
    pub(crate) items: BTreeMap<Vec<u8>, Item>,
    pub(crate) finished: bool,
    /// The restore said that nothing may be deleted.
    pub(crate) spared: bool,
    pub(crate) tally: Tally,
    /// Calls that a target need not bear.
    pub(crate) offences: Vec<String>,
}

impl Restored {
    /// Whether a file is there, whole.
    pub(crate) fn content(&self, path: &str) -> Option<&[u8]> {
        let item = self.items.get(&holdfast_core::entry::path_to_key(path.as_bytes()))?;
        (item.closed && !item.discarded).then(|| item.content.as_deref().unwrap_or_default())
    }

    /// The restored tree is that of the source: names, attributes, every byte.
    pub(crate) fn assert_is(&self, tree: &Tree) {
        assert_eq!(self.offences, [] as [String; 0]);
        assert!(self.finished, "the target was not finished");
        let keys: Vec<_> = self.items.keys().map(|key| String::from_utf8_lossy(key)).collect();
        let wanted: Vec<_> = tree.0.keys().map(|key| String::from_utf8_lossy(key)).collect();
        assert_eq!(keys, wanted);
        for (key, node) in &tree.0 {
            self.items[key].assert_is(&String::from_utf8_lossy(key), node, false);
        }
    }

    /// Every file that is there is bit-exact; returns the keys of those that are not there.
    pub(crate) fn assert_no_wrong_bytes(&self, tree: &Tree) -> Vec<Vec<u8>> {
        assert_eq!(self.offences, [] as [String; 0]);
        let mut absent = Vec::new();
        for (key, node) in &tree.0 {
            match self.items.get(key) {
                // It stands where the snapshot has lost a folder's own entry.
                Some(item) if node.kind == Kind::Directory && item.entry.mode == 0o700 => {
                    absent.push(key.clone());
                }
                Some(item) if node.kind != Kind::File || item.closed && !item.discarded => {
                    item.assert_is(&String::from_utf8_lossy(key), node, true);
                }
                _ => absent.push(key.clone()),
            }
        }
        absent
    }
}

impl Item {
    fn assert_is(&self, name: &str, node: &Node, without_xattrs: bool) {
        let entry = &self.entry;
        assert_eq!((entry.kind, entry.mode), (node.kind, node.mode), "{name}");
        assert_eq!((&entry.owner, entry.mtime), (&node.owner, node.mtime), "{name}");
        assert_eq!(entry.attributes.link_target, node.link_target, "{name}");
        let xattrs = match &entry.attributes.xattrs {
            Xattrs::None => Vec::new(),
            Xattrs::Inline(pairs) => pairs.clone(),
            Xattrs::Chunk(_) => panic!("{name}: extended attributes are always given inline"),
        };
        assert!(
            xattrs == node.xattrs || without_xattrs && xattrs.is_empty(),
            "{name}: extended attributes differ"
        );
        if node.kind != Kind::File {
            return;
        }
        assert!(self.closed && !self.discarded, "{name} is not whole");
        assert!(entry.attributes.torn || entry.size == node.size(), "{name}: size");
        assert!(self.content.as_deref() == Some(&node.flat()[..]), "{name}: content differs");
        let data: u64 = node.runs.iter().map(super::tree::data_bytes).sum();
        assert!(!node.is_sparse() || self.written == data, "{name}: holes were written");
    }
}

/// A target in memory.
#[derive(Debug, Default)]
pub(crate) struct ModelTarget {
    restored: Arc<Mutex<Restored>>,
    before: BTreeMap<Vec<u8>, Vec<u8>>,
    rehearses: bool,
}

impl ModelTarget {
    /// A target that holds what an earlier restore made, some of it changed since then.
    pub(crate) fn over(before: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self { before, ..Self::default() }
    }

    /// A target to which nothing may be written.
    pub(crate) fn rehearsing(before: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        Self { before, rehearses: true, ..Self::default() }
    }

    pub(crate) fn restored(&self) -> Arc<Mutex<Restored>> {
        Arc::clone(&self.restored)
    }
}

/// What lies at the target before a restore. Where it is zero, it is a hole.
struct There(Vec<u8>);

impl Present for There {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let part = self.0.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn is_hole(&self, offset: u64, length: u64) -> bool {
        let range = self.0.get(offset as usize..(offset + length) as usize);
        range.is_some_and(|range| range.iter().all(|byte| *byte == 0))
    }
}

struct ModelBatch {
    entries: Vec<Entry>,
    restored: Arc<Mutex<Restored>>,
}

impl ModelBatch {
    fn change(&self, entry: usize, what: &str, change: impl FnOnce(&mut Item)) {
        let mut restored = self.restored.lock().unwrap();
        let key = &self.entries[entry].key;
        let item = restored.items.get_mut(key).expect("an entry that was prepared");
        let ended = item.closed || item.discarded && what != "discard";
        change(item);
        if ended {
            let name = String::from_utf8_lossy(key).into_owned();
            restored.offences.push(format!("{what} after the end of {name}"));
        }
    }
}

impl TargetBatch for ModelBatch {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn wants(&self, entry: usize) -> Want {
        let restored = self.restored.lock().unwrap();
        let item = &restored.items[&self.entries[entry].key];
        match (item.entry.kind, &item.before) {
            (Kind::File, None) => Want::Whole,
            (Kind::File, Some(_)) => Want::Compare,
            _ => Want::Nothing,
        }
    }

    fn present(&self, entry: usize) -> std::io::Result<Box<dyn Present>> {
        let restored = self.restored.lock().unwrap();
        let before = restored.items[&self.entries[entry].key].before.clone();
        Ok(Box::new(There(before.expect("an entry that was there"))))
    }

    fn can_patch(&self, entry: usize) -> bool {
        let mut restored = self.restored.lock().unwrap();
        let item = restored.items.get_mut(&self.entries[entry].key).expect("an entry that was prepared");
        item.content.clone_from(&item.before);
        true
    }

    fn keep(&self, entry: usize) -> Result<(), TargetError> {
        self.change(entry, "keep", |item| {
            item.content.clone_from(&item.before);
            item.closed = true;
        });
        Ok(())
    }

    fn would_write(&self, entry: usize, bytes: u64) {
        self.restored.lock().unwrap().tally.bytes_written += bytes;
        self.change(entry, "would write", |_| {});
    }

    fn clear(&self, entry: usize, offset: u64, length: u64) -> Result<(), TargetError> {
        self.change(entry, "clear", |item| {
            let content = item.content.get_or_insert_default();
            let end = ((offset + length) as usize).min(content.len());
            content.get_mut(offset as usize..end).into_iter().for_each(|range| range.fill(0));
        });
        Ok(())
    }

    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError> {
        self.change(entry, "put", |item| {
            item.content = Some(content.to_vec());
            item.written += content.len() as u64;
            item.closed = true;
        });
        Ok(())
    }

    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        self.change(entry, "write", |item| {
            let end = offset as usize + bytes.len();
            let content = item.content.get_or_insert_default();
            content.resize(content.len().max(end), 0);
            content[offset as usize..end].copy_from_slice(bytes);
            item.written += bytes.len() as u64;
        });
        Ok(())
    }

    fn close(&self, entry: usize) -> Result<(), TargetError> {
        self.change(entry, "close", |item| {
            let size = item.entry.size as usize;
            item.content.get_or_insert_default().resize(size, 0);
            item.closed = true;
        });
        Ok(())
    }

    fn discard(&self, entry: usize) -> Result<(), TargetError> {
        self.change(entry, "discard", |item| {
            item.discarded = true;
            item.content = None;
        });
        Ok(())
    }
}

impl Target for ModelTarget {
    fn prepare(&mut self, entries: Vec<Entry>) -> Result<Arc<dyn TargetBatch>, TargetError> {
        let mut restored = self.restored.lock().unwrap();
        for entry in &entries {
            let last = restored.items.last_key_value().map(|(key, _)| key.clone());
            if last.is_some_and(|last| last >= entry.key) {
                restored.offences.push("keys do not ascend".into());
            }
            let before = self.before.get(&entry.key).cloned();
            let entry_there = entry.clone();
            let item = Item {
                entry: entry_there,
                before,
                content: None,
                written: 0,
                closed: false,
                discarded: false,
            };
            restored.items.insert(entry.key.clone(), item);
        }
        drop(restored);
        Ok(Arc::new(ModelBatch { entries, restored: Arc::clone(&self.restored) }))
    }

    fn complete(&mut self, batch: Arc<dyn TargetBatch>) -> Result<(), TargetError> {
        let mut restored = self.restored.lock().unwrap();
        for entry in batch.entries() {
            let item = &restored.items[&entry.key];
            let wanted = entry.kind == Kind::File && !self.rehearses;
            if wanted && !item.closed && !item.discarded {
                let name = String::from_utf8_lossy(&entry.key).into_owned();
                restored.offences.push(format!("{name} was left open"));
            }
        }
        Ok(())
    }

    fn spare(&mut self) {
        self.restored.lock().unwrap().spared = true;
    }

    fn finish(&mut self) -> Result<Finished, TargetError> {
        let mut restored = self.restored.lock().unwrap();
        restored.finished = true;
        Ok(Finished { tally: restored.tally, ..Finished::default() })
    }
}
