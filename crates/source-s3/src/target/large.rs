//! An object that comes in parts, in any order and from several threads.
//!
//! What comes is gathered in a file without a name. A part of which all has come is sent at once, and
//! its place in the file given back, so that the file holds what is on its way and little more. On
//! purpose not here: what is sent whole.

use super::recorded::Layout;
use super::send::{Begun, Slot};
use super::shared::{Shared, lock};
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::TargetError;
use rustix::fs::{FallocateFlags, fallocate};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::task::JoinHandle;

/// Objects up to this size are sent in one request.
const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Length of a part in bytes, unless others were recorded.
const PART_BYTES: u64 = 8 << 20;

/// An object on its way.
pub(super) struct Large {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    size: u64,
    layout: Layout,
    spool: File,
    /// None inside if the server would not begin.
    begun: OnceCell<Option<Begun>>,
    failed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What has come of the parts that are not sent.
    come: BTreeMap<usize, Ranges>,
    sent: BTreeSet<usize>,
    parts: Vec<CompletedPart>,
    tasks: Vec<JoinHandle<()>>,
}

impl Large {
    pub(super) fn new(shared: &Arc<Shared>, slot: &Arc<Slot>, size: u64) -> Result<Arc<Self>, TargetError> {
        let spool = tempfile::tempfile_in(&shared.options.spool);
        let spool = spool.and_then(|spool| spool.set_len(size).map(|()| spool));
        Ok(Arc::new(Self {
            shared: Arc::clone(shared),
            slot: Arc::clone(slot),
            size,
            layout: slot.recorded.layout(size, WHOLE_BYTES_MAX, PART_BYTES),
            spool: spool.map_err(|error| shared.spool_failed(error))?,
            begun: OnceCell::new(),
            failed: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn fail(&self, what: &str) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            self.shared.problem(&self.slot.path, ProblemKind::Unwritable, what);
        }
    }

    /// Takes bytes, and sends what is complete by them.
    pub(super) fn write_at(self: &Arc<Self>, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if self.has_failed() {
            return Ok(());
        }
        let Some(end) = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size) else {
            self.fail("its content is longer than its size");
            return Ok(());
        };
        self.spool.write_all_at(bytes, offset).map_err(|error| self.shared.spool_failed(error))?;
        if !self.layout.in_parts {
            return Ok(());
        }
        for part in self.completed(offset, end) {
            let (start, end) = self.layout.range(part);
            let admitted = self.shared.wait(self.shared.admit((end - start) as usize));
            let Some(permit) = admitted else { return self.shared.check() };
            self.start_part(part, permit);
        }
        Ok(())
    }

    /// Notes what has come; gives the parts of which that was the last.
    fn completed(&self, offset: u64, end: u64) -> Vec<usize> {
        let mut state = lock(&self.state);
        let (mut completed, mut at) = (Vec::new(), offset);
        while at < end {
            let part = self.layout.part_of(at);
            let (part_start, part_end) = self.layout.range(part);
            if state.sent.contains(&part) {
                self.fail("a part of it came twice: a defect of this program");
                return Vec::new();
            }
            let ranges = state.come.entry(part).or_default();
            ranges.add(at, end.min(part_end));
            if ranges.cover(part_start, part_end) {
                state.come.remove(&part);
                state.sent.insert(part);
                completed.push(part);
            }
            at = part_end;
        }
        completed
    }

    fn start_part(self: &Arc<Self>, part: usize, permit: OwnedSemaphorePermit) {
        let large = Arc::clone(self);
        let task = self.shared.handle().spawn(async move {
            large.send_part(part).await;
            drop(permit);
        });
        lock(&self.state).tasks.push(task);
    }

    async fn send_part(&self, part: usize) {
        if self.has_failed() {
            return;
        }
        let (start, end) = self.layout.range(part);
        let Some(bytes) = self.read(start, end) else { return };
        let sent = match self.begun.get_or_init(|| self.shared.begin(&self.slot)).await {
            Some(begun) => self.shared.send_part(&self.slot, begun, part, bytes).await,
            None => None,
        };
        match sent {
            Some(sent) => {
                lock(&self.state).parts.push(sent);
                // Where the file system cannot do it, the file takes more room.
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fallocate(&self.spool, flags, start, end - start);
            }
            // What is wrong was told where it was found.
            None => self.failed.store(true, Ordering::Release),
        }
    }

    fn read(&self, start: u64, end: u64) -> Option<Bytes> {
        let mut bytes = vec![0; (end - start) as usize];
        let read: io::Result<()> = self.spool.read_exact_at(&mut bytes, start);
        match read {
            Ok(()) => Some(Bytes::from(bytes)),
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                self.shared.end(self.shared.spool_failed(error));
                None
            }
        }
    }

    /// Sends what is left, holes as zeros, and makes an object of all.
    pub(super) async fn finish(self: Arc<Self>) {
        if self.has_failed() {
            return self.abandon().await;
        }
        if !self.layout.in_parts {
            let Some(permit) = self.shared.admit(self.size as usize).await else { return };
            if let Some(bytes) = self.read(0, self.size) {
                self.shared.send_whole(&self.slot, bytes).await;
            }
            return drop(permit);
        }
        for part in 0..self.layout.count() {
            if lock(&self.state).sent.insert(part) {
                let (start, end) = self.layout.range(part);
                let Some(permit) = self.shared.admit((end - start) as usize).await else {
                    return self.abandon().await;
                };
                self.start_part(part, permit);
            }
        }
        self.settle().await;
        let mut parts = std::mem::take(&mut lock(&self.state).parts);
        parts.sort_by_key(CompletedPart::part_number);
        match self.begun.get() {
            Some(Some(begun)) if !self.has_failed() && parts.len() == self.layout.count() => {
                self.shared.finish_parts(&self.slot, begun, parts, self.size).await;
            }
            _ => self.abandon().await,
        }
    }

    /// Waits for all that was begun.
    async fn settle(&self) {
        let tasks = std::mem::take(&mut lock(&self.state).tasks);
        for task in tasks {
            if task.await.is_err() {
                self.fail("sending a part of it broke off: a defect of this program");
            }
        }
    }

    /// Gives it up: nothing of it stays.
    pub(super) async fn abandon(self: Arc<Self>) {
        self.failed.store(true, Ordering::Release);
        self.settle().await;
        if let Some(Some(begun)) = self.begun.get() {
            self.shared.abort(begun, &self.slot.name).await;
        }
    }
}

/// Ranges, sorted, with gaps in between.
#[derive(Debug, Default)]
struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    fn add(&mut self, start: u64, end: u64) {
        let first = self.0.partition_point(|range| range.1 < start);
        let last = self.0.partition_point(|range| range.0 <= end);
        let start = self.0.get(first).filter(|_| first < last).map_or(start, |range| range.0.min(start));
        let end =
            last.checked_sub(1).filter(|last| *last >= first).map_or(end, |last| self.0[last].1.max(end));
        self.0.splice(first..last.max(first), [(start, end)]);
    }

    fn cover(&self, start: u64, end: u64) -> bool {
        self.0.iter().any(|range| range.0 <= start && range.1 >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_together() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (0, 5), (50, 60)] {
            ranges.add(start, end);
        }
        assert_eq!(ranges.0, [(0, 5), (10, 20), (30, 40), (50, 60)]);
        ranges.add(20, 30);
        assert_eq!(ranges.0, [(0, 5), (10, 40), (50, 60)]);
        ranges.add(2, 55);
        assert_eq!(ranges.0, [(0, 60)]);
        assert!(ranges.cover(0, 60) && !ranges.cover(0, 61));
    }
}
