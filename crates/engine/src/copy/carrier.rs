//! Carries chunks: read where they are, opened, compared with their ids, and stored where they
//! are wanted, under the same id or, where keys differ, under a new one.
//!
//! On purpose not here: which chunks.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::packer::{Claim, Packer, Scratch};
use crate::reader::{Range, Reader, Wanted, coalesce, missing, slice};
use crate::workers::lock;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::compress::Decompressor;
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Ranges that are fetched at the same time, beyond one for each worker.
const RANGES_AHEAD: usize = 2;

/// Why a snapshot was not copied.
#[derive(Debug)]
pub(super) enum Failure {
    /// It cannot be read where it is: others may be whole.
    Unread(Error),
    /// The run cannot go on.
    Run(Error),
}

/// What copying gives, if nothing is in its way.
pub(super) type Tried<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

/// What could not be read where it is copied from.
pub(super) fn unread(reader: &Reader, error: Error) -> Failure {
    let kind = error.kind;
    let what = format!("{} cannot be read", reader.repository.location());
    let error = Error { kind, what, source: Some(Box::new(error)) };
    match kind {
        ErrorKind::Damaged | ErrorKind::Newer | ErrorKind::Store => Failure::Unread(error),
        _ => Failure::Run(error),
    }
}

/// What a rehearsal would store: what was counted once is not counted again.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    known: HashSet<(ChunkKind, ChunkKey)>,
    pub chunks: u64,
    /// What it takes where it is, in bytes.
    pub stored_bytes: u64,
}

/// Carries chunks from one repository to the session of another.
pub(super) struct Carrier<'a> {
    pub ctx: &'a Ctx,
    /// Of the repository that is copied from.
    pub reader: &'a Reader,
    pub packer: &'a Arc<Packer>,
    /// Nothing is read but pages, and nothing is stored.
    pub rehearsal: Option<&'a Mutex<Foreseen>>,
    /// Plaintext that was read and compared with its id, in bytes.
    pub bytes_read: AtomicU64,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(
        ctx: &'a Ctx,
        reader: &'a Reader,
        packer: &'a Arc<Packer>,
        rehearsal: Option<&'a Mutex<Foreseen>>,
    ) -> Self {
        Self { ctx, reader, packer, rehearsal, bytes_read: AtomicU64::new(0) }
    }

    /// Whether the run may go on.
    pub(super) fn check(&self) -> Result<()> {
        if self.ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        if self.packer.stopped() {
            // The cause is told by the upload.
            return Err(Error::new(ErrorKind::Store, "the repository could not be written"));
        }
        Ok(())
    }

    pub(super) fn unread(&self, error: Error) -> Failure {
        unread(self.reader, error)
    }

    pub(super) fn count(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.ctx.monitor.on(&Event::Done { files: 0, bytes });
    }

    /// Notes that a chunk or page would be stored.
    pub(super) fn foresee(&self, foreseen: &Mutex<Foreseen>, kind: ChunkKind, id: &ChunkId) -> Result<()> {
        let place = self.reader.index.place(id)?;
        let mut foreseen = lock(foreseen);
        if foreseen.known.insert((kind, ChunkKey::from(id))) {
            foreseen.chunks += 1;
            foreseen.stored_bytes += place.map_or(0, |place| u64::from(place.length.bytes()));
        }
        Ok(())
    }

    /// Carries chunks that were claimed as new, and keep their ids.
    pub(super) async fn carry_claimed(&self, ids: Vec<ChunkId>) -> Tried<()> {
        if let Some(foreseen) = self.rehearsal {
            return Ok(ids.iter().try_for_each(|id| self.foresee(foreseen, ChunkKind::Data, id))?);
        }
        self.carry(ids, Naming::Kept).await.map(drop)
    }

    /// Carries chunks, and says by which ids they are known there: old and new.
    pub(super) async fn carry_renamed(&self, ids: Vec<ChunkId>) -> Tried<Vec<(ChunkId, ChunkId)>> {
        self.carry(ids, Naming::New).await
    }

    async fn carry(&self, ids: Vec<ChunkId>, naming: Naming) -> Tried<Vec<(ChunkId, ChunkId)>> {
        let mut wanted = Vec::with_capacity(ids.len());
        for id in ids {
            match self.reader.index.place(&id)? {
                Some(place) => wanted.push(Wanted { id, place }),
                None => return Err(self.unread(missing(&id))),
            }
        }
        let (ctx, reader, packer) = (self.ctx, self.reader, self.packer);
        let mut results = stream::iter(coalesce(wanted))
            .map(|range| async move {
                let fetched = reader.fetch(range.pack, range.offset, range.length).await;
                let (reader, packer) = (reader.clone(), Arc::clone(packer));
                ctx.workers.run(move || carry_range(&reader, &packer, &range, fetched.ok(), naming)).await
            })
            .buffer_unordered(ctx.workers.threads() + RANGES_AHEAD);
        let (mut names, mut failed) = (Vec::new(), Vec::new());
        while let Some(carried) = results.next().await {
            self.count(carried.bytes);
            names.extend(carried.names);
            failed.extend(carried.failed);
            self.check()?;
        }
        drop(results);
        // It may lie in another pack too, or have been moved meanwhile.
        for id in failed {
            let plaintext = self.reader.data(&id).await.map_err(|error| self.unread(error))?;
            self.count(plaintext.len() as u64);
            let packer = Arc::clone(self.packer);
            let store = move || {
                let mut scratch = packer.scratch();
                let new = naming.store(&packer, id, &plaintext, &mut scratch);
                packer.give_back(scratch);
                new
            };
            names.push((id, self.ctx.workers.run(store).await));
            self.check()?;
        }
        Ok(names)
    }
}

/// Whether a chunk keeps its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// It does, and was claimed.
    Kept,
    /// It is named anew.
    New,
}

impl Naming {
    fn store(self, packer: &Packer, id: ChunkId, plaintext: &[u8], scratch: &mut Scratch) -> ChunkId {
        if self == Self::Kept {
            packer.store_data(&id, plaintext, scratch);
            return id;
        }
        let new = packer.sealer().identifier.chunk(ChunkKind::Data, plaintext);
        if packer.claim(ChunkKind::Data, &new) == Claim::New {
            packer.store_data(&new, plaintext, scratch);
        }
        new
    }
}

/// What became of the chunks of a range.
#[derive(Default)]
struct Carried {
    names: Vec<(ChunkId, ChunkId)>,
    failed: Vec<ChunkId>,
    bytes: u64,
}

fn carry_range(
    reader: &Reader,
    packer: &Packer,
    range: &Range,
    fetched: Option<Bytes>,
    naming: Naming,
) -> Carried {
    let mut carried = Carried::default();
    packer.show_life();
    let Some(bytes) = fetched else {
        carried.failed = range.chunks.iter().map(|chunk| chunk.id).collect();
        return carried;
    };
    let (mut decompressor, mut plaintext, mut sealed) = (Decompressor::new(), Vec::new(), Vec::new());
    let mut scratch = packer.scratch();
    for chunk in &range.chunks {
        if packer.stopped() {
            break;
        }
        sealed.clear();
        sealed.extend_from_slice(slice(&bytes, range, chunk.place.offset, chunk.place.length));
        if reader.open_data(chunk, &mut sealed, &mut decompressor, &mut plaintext).is_ok() {
            carried.bytes += plaintext.len() as u64;
            carried.names.push((chunk.id, naming.store(packer, chunk.id, &plaintext, &mut scratch)));
        } else {
            carried.failed.push(chunk.id);
        }
    }
    packer.give_back(scratch);
    carried
}
