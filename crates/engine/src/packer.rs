//! Fills packs: claims chunks, compresses, seals and checks them, and hands sealed bytes on to
//! whoever uploads them.
//!
//! On purpose not here: the store, and the protocol ([`crate::session`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::restore::chain;
use crate::session::SessionOptions;
use crate::trust::Reliable;
use crate::workers::lock;
use holdfast_core::chunk::{
    PackCipher, PageCiphers, PageText, StoredLength, open_page, open_payload, pack_payload, seal_data,
    seal_page,
};
use holdfast_core::compress::{Compressor, Decompressor};
use holdfast_core::entry::Time;
use holdfast_core::id::{ChunkId, SessionId};
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::{ChunkKind, Sealer, SessionRow, SessionSecrets};
use holdfast_core::name::{PackClass, PackId};
use holdfast_core::pack::{FinishedPack, PackBuilder, pack_header};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use tokio::sync::Notify;

/// Sealed bytes are handed on in parts of this length.
const PART_BYTES: usize = 1 << 20;
/// Sealed bytes that may wait for the store; then workers wait.
const OUTBOX_BYTES_MAX: usize = 4 << 20;
/// So often a session shows that it goes on, in seconds.
const SIGN_OF_LIFE_SECONDS: i64 = 3600;

/// A piece of work for the store.
pub(crate) enum Parcel {
    Begin(PackId),
    Part(PackClass, Vec<u8>),
    End(PackId, Vec<u8>, FinishedPack),
    /// Nothing was stored for long: others must see that the session goes on.
    SignOfLife,
}

#[derive(Default)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    closed: bool,
    failed: bool,
}

/// Sealed bytes on their way to the store: filled by workers, emptied by one task.
struct Outbox {
    inner: Mutex<Waiting>,
    room: Condvar,
    filled: Notify,
    /// Without threads nobody could empty it meanwhile, so nobody waits.
    bounded: bool,
}

impl Outbox {
    fn send(&self, parcel: Parcel) {
        let length = match &parcel {
            Parcel::Begin(_) | Parcel::SignOfLife => 0,
            Parcel::Part(_, bytes) | Parcel::End(_, bytes, _) => bytes.len(),
        };
        let mut inner = lock(&self.inner);
        while self.bounded && inner.bytes > OUTBOX_BYTES_MAX && !inner.failed {
            inner = self.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.failed {
            return;
        }
        inner.bytes += length;
        inner.parcels.push_back(parcel);
        drop(inner);
        self.filled.notify_one();
    }

    fn close(&self) {
        lock(&self.inner).closed = true;
        self.filled.notify_one();
    }

    fn fail(&self) {
        lock(&self.inner).failed = true;
        self.room.notify_all();
    }

    /// Takes the next parcel; `None` once it is closed and empty.
    async fn receive(&self) -> Option<Parcel> {
        loop {
            {
                let mut inner = lock(&self.inner);
                if let Some(parcel) = inner.parcels.pop_front() {
                    if let Parcel::Part(_, bytes) | Parcel::End(_, bytes, _) = &parcel {
                        inner.bytes -= bytes.len();
                    }
                    drop(inner);
                    self.room.notify_all();
                    return Some(parcel);
                }
                if inner.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }
}

enum Cipher {
    Data(PackCipher),
    Page(PageCiphers),
}

struct OpenPack {
    id: PackId,
    builder: PackBuilder,
    cipher: Cipher,
}

#[derive(Default)]
struct Class {
    open: Option<OpenPack>,
    next_ordinal: u32,
}

/// What each thread that seals keeps to itself.
pub(crate) struct Scratch {
    compressor: Compressor,
    decompressor: Decompressor,
    /// What the check of a chunk works in.
    check: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new(level: i32) -> Self {
        Self { compressor: Compressor::new(level), decompressor: Decompressor::new(), check: Vec::new() }
    }
}

/// How a chunk was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The repository has it, or this session already takes care of it.
    Known,
    /// The caller must store it.
    New,
}

/// Totals of what was added.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub chunks: AtomicU64,
    pub plain_bytes: AtomicU64,
    pub stored_bytes: AtomicU64,
}

/// Fills packs. Shared by all threads of a backup.
pub(crate) struct Packer {
    ctx: Ctx,
    sealer: Sealer,
    session: SessionId,
    epoch: u64,
    secrets: SessionSecrets,
    row: SessionRow,
    reliable: Reliable,
    seal_check: bool,
    dry_run: bool,
    level: i32,
    data_pack_bytes: u64,
    classes: [Mutex<Class>; 2],
    outbox: Outbox,
    claimed: Mutex<HashSet<(ChunkKind, ChunkKey)>>,
    /// Packs of other sessions that new references rely on.
    relied_on: Mutex<BTreeSet<PackId>>,
    /// Packs that references rely on which the parent's closure covers.
    covered: Mutex<BTreeSet<PackId>>,
    /// When the session last showed that it goes on.
    alive: Mutex<Time>,
    scratches: Mutex<Vec<Scratch>>,
    pub added: Added,
    failure: Mutex<Option<Error>>,
    poisoned: AtomicBool,
    /// Whether it was told that chunks could not be looked up.
    blind: AtomicBool,
    /// Jobs that were handed in and have not stored their chunk yet.
    jobs: Mutex<usize>,
    jobs_done: Condvar,
}

impl Packer {
    /// Fills packs of a session that began at root `epoch`.
    pub(crate) fn new(
        ctx: &Ctx,
        sealer: Sealer,
        (session, epoch): (SessionId, u64),
        secrets: &SessionSecrets,
        row: &SessionRow,
        reliable: Reliable,
        options: &SessionOptions,
    ) -> Self {
        Self {
            ctx: ctx.clone(),
            sealer,
            session,
            epoch,
            secrets: secrets.clone(),
            row: row.clone(),
            reliable,
            seal_check: options.seal_check,
            dry_run: options.dry_run,
            level: options.level,
            data_pack_bytes: options.data_pack_bytes,
            classes: [Mutex::default(), Mutex::default()],
            outbox: Outbox {
                inner: Mutex::default(),
                room: Condvar::new(),
                filled: Notify::new(),
                bounded: !ctx.workers.is_inline(),
            },
            claimed: Mutex::default(),
            relied_on: Mutex::default(),
            covered: Mutex::default(),
            alive: Mutex::new(ctx.clock.now()),
            scratches: Mutex::default(),
            added: Added::default(),
            failure: Mutex::default(),
            poisoned: AtomicBool::new(false),
            blind: AtomicBool::new(false),
            jobs: Mutex::default(),
            jobs_done: Condvar::new(),
        }
    }

    /// The next piece of work for the store; `None` after the last.
    pub(crate) async fn next_parcel(&self) -> Option<Parcel> {
        self.outbox.receive().await
    }

    /// Nobody takes parcels any more: those who hand them in do not wait.
    pub(crate) fn fail_outbox(&self) {
        self.outbox.fail();
    }

    /// Packs of other sessions that new references rely on.
    pub(crate) fn relied_on(&self) -> BTreeSet<PackId> {
        lock(&self.relied_on).clone()
    }

    /// Packs that the parent's closure covers.
    pub(crate) fn covered(&self) -> BTreeSet<PackId> {
        lock(&self.covered).clone()
    }

    /// Shows every hour that the session goes on, whether or not there is anything to store.
    pub(crate) fn show_life(&self) {
        let now = self.ctx.clock.now();
        let mut alive = lock(&self.alive);
        if now.seconds.saturating_sub(alive.seconds) >= SIGN_OF_LIFE_SECONDS && !self.dry_run {
            *alive = now;
            drop(alive);
            self.outbox.send(Parcel::SignOfLife);
        }
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Says who takes care of a chunk; exactly one caller is told that it is new.
    pub(crate) fn claim(&self, kind: ChunkKind, id: &ChunkId) -> Claim {
        if let Some(pack) = self.pack_of(&ChunkKey::from(id)) {
            lock(&self.relied_on).insert(pack);
            return Claim::Known;
        }
        if lock(&self.claimed).insert((kind, ChunkKey::from(id))) { Claim::New } else { Claim::Known }
    }

    /// Whether an earlier session's chunk may be referred to again; it is then relied on unless
    /// the pinned parent's closure covers it.
    pub(crate) fn resolves(&self, kind: ChunkKind, key: &ChunkKey, covered: bool) -> bool {
        let Some(pack) = self.pack_of(key) else { return lock(&self.claimed).contains(&(kind, *key)) };
        if covered {
            lock(&self.covered).insert(pack);
        } else {
            lock(&self.relied_on).insert(pack);
        }
        true
    }

    /// The pack of an earlier session that has a chunk and may be relied on. Where it cannot be
    /// looked up, the chunk counts as new: to store it again is always right.
    fn pack_of(&self, key: &ChunkKey) -> Option<PackId> {
        self.reliable.pack_of(key).unwrap_or_else(|error| {
            if !self.blind.swap(true, Ordering::Relaxed) {
                let what = format!("{}; what lies there is stored again", chain(&error));
                self.ctx.monitor.on(&Event::Warning(&what));
            }
            None
        })
    }

    /// Whether the run should stop: it failed elsewhere, or was asked to.
    pub(crate) fn stopped(&self) -> bool {
        self.ctx.cancel.is_raised() || lock(&self.failure).is_some()
    }

    /// Ends the run with an error; the first one stands.
    pub(crate) fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.outbox.fail();
    }

    /// Ends the run with an error that is not the store's: what was sealed is still uploaded, so
    /// that the next run adopts it.
    pub(crate) fn stop(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }

    /// A chunk failed its check: nothing that is not in a finished pack may be used, not even later.
    fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
        self.fail(broken_machine());
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Takes what ended the run early.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    pub(crate) fn scratch(&self) -> Scratch {
        lock(&self.scratches).pop().unwrap_or_else(|| Scratch::new(self.level))
    }

    pub(crate) fn give_back(&self, scratch: Scratch) {
        lock(&self.scratches).push(scratch);
    }

    /// Compresses, seals and checks a data chunk that was claimed as new. What compression made is
    /// undone and compared before it goes into a pack, what encryption made before the pack goes on.
    pub(crate) fn store_data(&self, id: &ChunkId, plaintext: &[u8], scratch: &mut Scratch) {
        self.count(plaintext.len());
        let Scratch { compressor, decompressor, check } = scratch;
        let packed = pack_payload(plaintext, compressor);
        if self.dry_run {
            self.added.stored_bytes.fetch_add(packed.payload.len() as u64, Ordering::Relaxed);
            return;
        }
        if self.seal_check && packed.compressed {
            let undone = decompressor.decompress(packed.payload, plaintext.len(), check);
            if undone.is_err() || check != plaintext {
                return self.poison();
            }
        }
        self.push(PackClass::Data, id, plaintext.len(), |cipher, out| {
            let Cipher::Data(cipher) = cipher else { unreachable!("data packs have a data cipher") };
            let start = out.len();
            let length = seal_data(cipher, id, packed, out);
            if self.seal_check {
                check.clear();
                check.extend_from_slice(&out[start..]);
                if open_payload(cipher, id, length, check) != Ok(packed.payload) {
                    self.poison();
                }
            }
            length
        });
    }

    /// Stores a page unless it is known.
    pub(crate) fn store_page(&self, id: ChunkId, page: &PageText) {
        if self.claim(ChunkKind::Page, &id) == Claim::Known {
            return;
        }
        self.count(page.refs.len() + page.body.len());
        if self.dry_run {
            return;
        }
        let mut scratch = self.scratch();
        self.push(PackClass::Tree, &id, page.plain_bytes(), |cipher, out| {
            let Cipher::Page(ciphers) = cipher else { unreachable!("tree packs have page ciphers") };
            let start = out.len();
            let length = seal_page(ciphers, &id, page, &mut scratch.compressor, out);
            if self.seal_check {
                scratch.check.clear();
                scratch.check.extend_from_slice(&out[start..]);
                let identifier = &self.sealer.identifier;
                let opened = open_page(
                    ciphers,
                    identifier,
                    &id,
                    length,
                    &mut scratch.check,
                    &mut scratch.decompressor,
                );
                if opened.as_ref() != Ok(page) {
                    self.poison();
                }
            }
            length
        });
        self.give_back(scratch);
    }

    fn count(&self, plain_bytes: usize) {
        self.added.chunks.fetch_add(1, Ordering::Relaxed);
        self.added.plain_bytes.fetch_add(plain_bytes as u64, Ordering::Relaxed);
    }

    /// Appends a chunk to the open pack of its class, beginning one if needed.
    fn push(
        &self,
        class: PackClass,
        id: &ChunkId,
        plain_bytes: usize,
        seal: impl FnOnce(&Cipher, &mut Vec<u8>) -> StoredLength,
    ) {
        let mut state = lock(&self.classes[class as usize - 1]);
        if state.open.is_none() {
            let pack = self.begin_pack(class, state.next_ordinal);
            state.next_ordinal += 1;
            state.open = Some(pack);
        }
        let pack = state.open.as_mut().expect("a pack was begun");
        let OpenPack { builder, cipher, .. } = pack;
        let length = builder.push(*id, plain_bytes, |out| seal(cipher, out));
        self.added.stored_bytes.fetch_add(length.bytes().into(), Ordering::Relaxed);
        // A pack with a chunk that failed its check goes nowhere.
        if self.is_poisoned() {
            state.open = None;
        } else if pack.builder.is_full(self.data_pack_bytes) {
            if let Some(pack) = state.open.take() {
                self.end_pack(pack);
            }
        } else if pack.builder.pending_bytes() >= PART_BYTES {
            let part = pack.builder.take(Vec::with_capacity(PART_BYTES + (256 << 10)));
            self.outbox.send(Parcel::Part(class, part));
        }
    }

    fn begin_pack(&self, class: PackClass, ordinal: u32) -> OpenPack {
        let id = PackId { member: self.sealer.member, session: self.session, class, ordinal };
        let repository = self.sealer.repository;
        let cipher = match class {
            PackClass::Data => Cipher::Data(PackCipher::new(&self.secrets.data, repository, &id)),
            PackClass::Tree => Cipher::Page(PageCiphers {
                refs: PackCipher::for_refs(&self.sealer.k_ref, repository, &id),
                body: Some(PackCipher::new(&self.secrets.meta, repository, &id)),
            }),
        };
        let wrapped = self.row.wrapped(class).expect("a session of ours has both secrets");
        let header = pack_header(repository, &id, self.sealer.key_epoch, self.epoch, self.ctx.random());
        self.outbox.send(Parcel::Begin(id));
        OpenPack { id, builder: PackBuilder::new(header, &id, wrapped), cipher }
    }

    fn end_pack(&self, pack: OpenPack) {
        let (last, finished) = pack.builder.finish(&self.sealer.k_idx);
        self.outbox.send(Parcel::End(pack.id, last, finished));
    }

    /// Counts a job that will store a chunk; refuses while many are on their way, which bounds
    /// the plaintext they hold. Never waits: the caller may be the thread that would run the job.
    pub(crate) fn job_begins(self: &Arc<Self>) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        let room = *jobs <= self.ctx.workers.threads();
        *jobs += usize::from(room);
        room.then(|| Job(Arc::clone(self)))
    }

    /// Waits until every job has stored its chunk.
    pub(crate) fn wait_for_jobs(&self) {
        let mut jobs = lock(&self.jobs);
        while *jobs > 0 {
            jobs = self.jobs_done.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the open packs; nothing is stored after it.
    pub(crate) fn close(&self) {
        for class in &self.classes {
            if let Some(pack) = lock(class).open.take().filter(|_| !self.is_poisoned()) {
                self.end_pack(pack);
            }
        }
        self.outbox.close();
    }
}

/// A job on its way: dropped when it has stored its chunk, or died.
pub(crate) struct Job(Arc<Packer>);

impl Job {
    pub(crate) fn packer(&self) -> &Packer {
        &self.0
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Its chunk is claimed and was not stored: nothing may be committed.
        if std::thread::panicking() {
            let what = "a worker failed while it stored a chunk; this is a mistake in holdfast";
            self.0.fail(Error::new(ErrorKind::Store, what));
        }
        *lock(&self.0.jobs) -= 1;
        self.0.jobs_done.notify_all();
    }
}

fn broken_machine() -> Error {
    Error::new(
        ErrorKind::Damaged,
        "a chunk did not come back as it was sealed: memory or processor of this machine cannot be trusted. \
         Nothing was committed. Test the memory before you back up again",
    )
}
