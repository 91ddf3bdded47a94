//! The entries of one batch, on their way to be objects.
//!
//! Small objects are many, and each takes a while: they are sent in the background, as many at once
//! as may be, and a batch is complete when the last has come to its end. On purpose not here: what
//! becomes of each entry, which was decided when the batch was prepared.

use super::large::Large;
use super::present::ThereObject;
use super::send::{Plan, Slot};
use super::shared::{Shared, lock, one_more};
use bytes::Bytes;
use holdfast_core::entry::Entry;
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::{Present, TargetBatch, TargetError, Want};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

pub(super) struct BucketBatch {
    entries: Vec<Entry>,
    slots: Vec<Arc<Slot>>,
    shared: Arc<Shared>,
    large: Mutex<HashMap<usize, Arc<Large>>>,
    tasks: Mutex<Vec<(usize, JoinHandle<()>)>>,
}

impl BucketBatch {
    pub(super) fn new(entries: Vec<Entry>, slots: Vec<Slot>, shared: Arc<Shared>) -> Self {
        let slots = slots.into_iter().map(Arc::new).collect();
        Self { entries, slots, shared, large: Mutex::default(), tasks: Mutex::default() }
    }

    fn start(&self, entry: usize, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.shared.handle().spawn(work);
        lock(&self.tasks).push((entry, task));
    }

    /// Waits for the end of all that was begun.
    pub(super) fn settle(&self) -> Result<(), TargetError> {
        let left: Vec<_> = lock(&self.large).drain().collect();
        left.into_iter().for_each(|(entry, large)| self.start(entry, large.abandon()));
        self.put_markers();
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        self.shared.wait(async {
            for (entry, task) in tasks {
                if task.await.is_err() {
                    let what = "sending it broke off: a defect of this program";
                    self.shared.problem(&self.slots[entry].path, ProblemKind::Unwritable, what);
                }
            }
        });
        self.shared.turn_over(&self.slots.iter().map(|slot| slot.name.as_str()).collect());
        self.shared.check()
    }

    /// Delete markers have no content that would be handed over.
    fn put_markers(&self) {
        let options = &self.shared.options;
        if !options.replay || options.survey {
            return;
        }
        for (entry, slot) in self.slots.iter().enumerate().filter(|(_, slot)| slot.recorded.is_delete_marker)
        {
            let (slot, shared) = (Arc::clone(slot), Arc::clone(&self.shared));
            let Some(permit) = shared.wait(shared.admit(0)) else { return };
            self.start(entry, async move {
                shared.put_marker(&slot).await;
                drop(permit);
            });
        }
    }
}

impl TargetBatch for BucketBatch {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn wants(&self, entry: usize) -> Want {
        match self.slots[entry].plan {
            Plan::Nothing => Want::Nothing,
            Plan::Write => Want::Whole,
            Plan::Compare => Want::Compare,
            Plan::Keep => Want::Keep,
        }
    }

    fn present(&self, entry: usize) -> io::Result<Box<dyn Present>> {
        let slot = &self.slots[entry];
        let there = slot.there.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let (place, handle) = (self.shared.place.clone(), self.shared.handle().clone());
        Ok(Box::new(ThereObject::new(place, handle, slot.name.clone(), there.etag.clone(), there.size)))
    }

    /// Objects are replaced, never changed.
    fn can_patch(&self, _entry: usize) -> bool {
        false
    }

    fn keep(&self, entry: usize) -> Result<(), TargetError> {
        let (slot, shared) = (&self.slots[entry], &self.shared);
        let differing = slot.there.as_ref().filter(|there| there.differs || there.tags_differ);
        match differing {
            None => one_more(&shared.count.unchanged),
            Some(_) if shared.options.rehearse => one_more(&shared.count.attributes_only),
            Some(there) => {
                let Some(permit) = shared.wait(shared.admit(0)) else { return shared.check() };
                let (slot, shared, there) = (Arc::clone(slot), Arc::clone(shared), there.clone());
                self.start(entry, async move {
                    shared.set_attributes(&slot, &there).await;
                    drop(permit);
                });
            }
        }
        Ok(())
    }

    fn would_write(&self, entry: usize, bytes: u64) {
        let count = &self.shared.count;
        one_more(if self.slots[entry].there.is_some() { &count.rewritten } else { &count.created });
        count.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError> {
        let (slot, shared) = (Arc::clone(&self.slots[entry]), Arc::clone(&self.shared));
        let Some(permit) = shared.wait(shared.admit(content.len())) else { return shared.check() };
        let bytes = Bytes::copy_from_slice(content);
        // What was recorded of its parts is about content of the recorded size.
        let in_parts = slot.recorded.parts.is_some() && bytes.len() as u64 == self.entries[entry].size;
        self.start(entry, async move {
            if in_parts {
                shared.send_in_parts(&slot, bytes).await
            } else {
                shared.send_whole(&slot, bytes).await
            };
            drop(permit);
        });
        Ok(())
    }

    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        let large = match lock(&self.large).entry(entry) {
            std::collections::hash_map::Entry::Occupied(large) => Arc::clone(large.get()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let size = self.entries[entry].size;
                Arc::clone(vacant.insert(Large::new(&self.shared, &self.slots[entry], size)?))
            }
        };
        large.write_at(offset, bytes)
    }

    /// Holes are zeros, and what is never written is zeros.
    fn clear(&self, _entry: usize, _offset: u64, _length: u64) -> Result<(), TargetError> {
        Ok(())
    }

    fn close(&self, entry: usize) -> Result<(), TargetError> {
        // One of which nothing was written is a hole from end to end.
        self.write_at(entry, 0, &[])?;
        if let Some(large) = lock(&self.large).remove(&entry) {
            self.start(entry, large.finish());
        }
        self.shared.check()
    }

    fn discard(&self, entry: usize) -> Result<(), TargetError> {
        if let Some(large) = lock(&self.large).remove(&entry) {
            self.start(entry, large.abandon());
        }
        Ok(())
    }
}
