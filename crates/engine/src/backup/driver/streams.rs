//! Files that are read as a stream, and what is known of those of databases: their blocks in the last
//! snapshot, and where the pages of their new trees go.
//!
//! On purpose not here: reading them ([`super::super::large`], [`super::super::blocks`]).

use super::super::blocks::BlockFile;
use super::super::emit::Draft;
use super::super::large::{LargeFile, read_large};
use super::super::links::linked;
use super::super::promise::promise;
use super::{Driver, Pending, Unit};
use crate::block_map::{BlockMap, BlockMapWriter};
use crate::event::Event;
use crate::restore::path_text as path_of;
use crate::source::ItemError;
use holdfast_core::entry::{Content, Entry, Kind, Time};
use std::sync::Arc;

/// The block maps of a run.
#[derive(Default)]
pub(in super::super) struct Maps {
    /// That of the last snapshot.
    pub past: Option<Arc<BlockMap>>,
    /// That of this one.
    pub next: Option<Arc<BlockMapWriter>>,
    /// Whether it was told that pages of the old one are lost.
    pub is_loss_told: bool,
}

impl Maps {
    /// Sees to it that the next map has what it needs of a file, whether or not that was read.
    pub(super) fn carry(&self, entry: &Entry) {
        if let (Content::Tree(root), Some(past), Some(next)) = (&entry.content, &self.past, &self.next) {
            past.carry(*root, next);
        }
    }
}

impl Driver {
    pub(in super::super) fn with_maps(self, maps: Maps) -> Self {
        Self { maps, ..self }
    }

    pub(super) fn start_large(&mut self, pending: Pending) {
        let (giver, promise) = promise();
        let began = self.ctx.clock.now();
        let (batch, item) = (Arc::clone(&pending.batch), pending.item);
        batch.reader.expect(item);
        let blocks = self.block_file(&pending);
        let (packer, workers, monitor) =
            (Arc::clone(&self.packer), self.ctx.workers.clone(), Arc::clone(&self.ctx.monitor));
        self.underway_bytes += pending.held_bytes();
        let job = move || {
            monitor.on(&Event::Current(&path_of(batch.key(item))));
            let progress = |bytes| monitor.on(&Event::Done { files: 0, bytes });
            giver.give(read_large(&*batch.reader, item, &packer, &workers, &progress, blocks.as_ref()));
        };
        // Groups that were listed before go first, or the queue would stall on them.
        self.submit_group();
        self.ctx.workers.submit(job);
        self.units.push_back(Unit::Large(pending, began, promise));
    }

    pub(super) fn settle_large(
        &mut self,
        pending: &Pending,
        began: Time,
        file: Result<LargeFile, ItemError>,
    ) {
        let mut file = match file {
            Ok(file) => file,
            Err(error) => return self.unread(pending, &error),
        };
        if let Some(lack) = file.details.lack.take() {
            return self.settle_lacking(pending, &file.stat, file.details, lack);
        }
        self.ctx.monitor.on(&Event::Done { files: 1, bytes: 0 });
        if file.map_lost {
            self.tell_map_lost();
        }
        self.counts.bytes_read += file.bytes_read;
        let is_whole = file.details.unreadable.is_empty();
        let mut entry = self.entry(pending, &file.stat, file.details);
        (entry.size, entry.content, entry.digest) = (file.size, file.content, Some(file.digest));
        let stamp = self.status(pending, &mut entry, &file.stat, file.status, began);
        let stamp = stamp.filter(|_| is_whole);
        self.keep(linked(pending.stat()), Draft { entry, stamp, closure: file.closure, bundled: None });
    }

    /// What is known of a file if it is one of a database. A sparse one keeps its holes instead.
    pub(super) fn block_file(&self, pending: &Pending) -> Option<BlockFile> {
        if pending.stat().sparse || !pending.batch.reader.has_blocks(pending.item) {
            return None;
        }
        let entry = pending.before.as_ref().map(|record| &record.entry);
        let past = match (entry.map(|entry| (entry.kind, &entry.content, entry.size)), &self.maps.past) {
            (Some((Kind::File, Content::Tree(root), size)), Some(map)) => {
                Some((Arc::clone(map), *root, size))
            }
            _ => None,
        };
        let (covered, map) = (self.covered, self.maps.next.clone());
        Some(BlockFile { key: pending.key().to_vec(), past, covered, map })
    }

    /// Tells once that what the map lacks is stored again.
    fn tell_map_lost(&mut self) {
        if !std::mem::replace(&mut self.maps.is_loss_told, true) {
            let what = "parts of the block map cannot be read: what lies there is stored again";
            self.ctx.monitor.on(&Event::Warning(what));
        }
    }
}
