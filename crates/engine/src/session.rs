//! A session of a writer, and the packs that it fills (protocol steps W1 to W7 of FORMAT.md).
//!
//! On purpose not here: what is written ([`crate::backup`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::repository::{Repository, object_key, put_or_mine};
use crate::view::View;
use crate::workers::lock;
use bytes::Bytes;
use holdfast_core::chunk::{
    PackCipher, PageCiphers, PageText, StoredLength, open_page, open_payload, pack_payload, seal_data,
    seal_page,
};
use holdfast_core::compress::{Compressor, Decompressor};
use holdfast_core::crypto::Secret;
use holdfast_core::entry::Time;
use holdfast_core::id::{ChunkId, SessionId, StreamId};
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables, PackRow, encode_delta};
use holdfast_core::keys::{ChunkKind, Sealer, SessionRow, SessionSecrets};
use holdfast_core::name::{self, PackClass, PackId, SessionName};
use holdfast_core::object::ObjectType;
use holdfast_core::pack::{FinishedPack, PackBuilder, pack_header};
use holdfast_core::session::{Begin, Commit, Details, End, Pins, Published, Summary};
use holdfast_store::{Put, Upload};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use tokio::sync::Notify;

/// Sealed bytes are handed on in parts of this length.
const PART_BYTES: usize = 1 << 20;
/// Sealed bytes that may wait for the store; then workers wait.
const OUTBOX_BYTES_MAX: usize = 4 << 20;
/// A delta is published after so many packs.
const PACKS_A_DELTA: usize = 64;

/// A piece of work for the store.
enum Parcel {
    Begin(PackId),
    Part(PackClass, Vec<u8>),
    End(PackId, Vec<u8>, FinishedPack),
}

#[derive(Default)]
struct Box_ {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    closed: bool,
    failed: bool,
}

/// Sealed bytes on their way to the store: filled by workers, emptied by one task.
struct Outbox {
    inner: Mutex<Box_>,
    room: Condvar,
    filled: Notify,
    /// Without threads nobody could empty it meanwhile, so nobody waits.
    bounded: bool,
}

impl Outbox {
    fn send(&self, parcel: Parcel) {
        let length = match &parcel {
            Parcel::Begin(_) => 0,
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
    index: Arc<Index>,
    seal_check: bool,
    dry_run: bool,
    level: i32,
    classes: [Mutex<Class>; 2],
    outbox: Outbox,
    claimed: Mutex<HashSet<(ChunkKind, ChunkKey)>>,
    /// Packs of other sessions that new references rely on.
    relied_on: Mutex<BTreeSet<PackId>>,
    scratches: Mutex<Vec<Scratch>>,
    pub added: Added,
    failure: Mutex<Option<Error>>,
    poisoned: AtomicBool,
    /// Jobs that were handed in and have not stored their chunk yet.
    jobs: Mutex<usize>,
    jobs_done: Condvar,
}

impl Packer {
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Says who takes care of a chunk; exactly one caller is told that it is new.
    pub(crate) fn claim(&self, kind: ChunkKind, id: &ChunkId) -> Claim {
        if let Some(place) = self.index.live(&ChunkKey::from(id)) {
            lock(&self.relied_on).insert(self.index.pack(place.pack).row.id);
            return Claim::Known;
        }
        if lock(&self.claimed).insert((kind, ChunkKey::from(id))) { Claim::New } else { Claim::Known }
    }

    /// Whether an earlier session's chunk may be referred to again; it is then relied on unless
    /// the pinned parent's closure covers it.
    pub(crate) fn resolves(&self, kind: ChunkKind, key: &ChunkKey, covered: bool) -> bool {
        let Some(place) = self.index.live(key) else { return lock(&self.claimed).contains(&(kind, *key)) };
        if !covered {
            lock(&self.relied_on).insert(self.index.pack(place.pack).row.id);
        }
        true
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

    fn take_failure(&self) -> Option<Error> {
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
        self.push(PackClass::Tree, &id, page.refs.len() + page.body.len(), |cipher, out| {
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
        } else if pack.builder.is_full() {
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

/// A session: from its begin to its end.
pub(crate) struct Session {
    ctx: Ctx,
    repository: Repository,
    name: SessionName,
    epoch: u64,
    row: SessionRow,
    secrets: SessionSecrets,
    packer: Arc<Packer>,
    parent: Option<SessionId>,
    adopted: Vec<AdoptedPack>,
    deltas: u32,
    dry_run: bool,
}

/// A pack of a dead session that this one takes over.
#[derive(Debug, Clone)]
pub(crate) struct AdoptedPack {
    /// The session that wrote it.
    pub from: SessionName,
    pub row: PackRow,
    pub session: SessionRow,
    pub chunks: Vec<ChunkRow>,
}

/// What a session is begun with.
pub(crate) struct SessionOptions {
    pub stream: StreamId,
    pub parent: Option<SessionId>,
    pub seal_check: bool,
    pub dry_run: bool,
    pub level: i32,
    pub started: Time,
}

impl Session {
    /// W2: begins a session against a view of the repository.
    pub(crate) async fn begin(
        ctx: &Ctx,
        repository: &Repository,
        view: &View,
        index: Arc<Index>,
        adopted: Vec<AdoptedPack>,
        options: &SessionOptions,
    ) -> Result<Self> {
        let sealer = repository.sealer()?;
        let id = SessionId(ctx.random());
        let secrets = SessionSecrets { data: Secret::new(ctx.random()), meta: Secret::new(ctx.random()) };
        let row = sealer
            .begin_session(id, &secrets, &[ctx.random(), ctx.random()], &ctx.kem)
            .map_err(|error| Error::format("the repository's keys", error))?;
        let epoch = view.root.number;
        let name = SessionName { epoch: epoch as u32, member: repository.member(), session: id };
        let packer = Packer {
            ctx: ctx.clone(),
            sealer,
            session: id,
            epoch,
            secrets: secrets.clone(),
            row: row.clone(),
            index,
            seal_check: options.seal_check,
            dry_run: options.dry_run,
            level: options.level,
            classes: [Mutex::default(), Mutex::default()],
            outbox: Outbox {
                inner: Mutex::default(),
                room: Condvar::new(),
                filled: Notify::new(),
                bounded: !ctx.workers.is_inline(),
            },
            claimed: Mutex::default(),
            relied_on: Mutex::default(),
            scratches: Mutex::default(),
            added: Added::default(),
            failure: Mutex::default(),
            poisoned: AtomicBool::new(false),
            jobs: Mutex::default(),
            jobs_done: Condvar::new(),
        };
        if !options.dry_run {
            let begin = Begin { stream: options.stream, process: ctx.process, started: options.started };
            let header = repository.header(ctx, ObjectType::Begin, name::named_object(&name.begin()), epoch);
            repository.put_own(&name.begin(), begin.encode(&header, repository.k_ref()?)).await?;
        }
        Ok(Self {
            ctx: ctx.clone(),
            repository: repository.clone(),
            name,
            epoch,
            row,
            secrets,
            packer: Arc::new(packer),
            parent: options.parent,
            adopted,
            deltas: 0,
            dry_run: options.dry_run,
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.name.session
    }

    pub(crate) fn packer(&self) -> &Arc<Packer> {
        &self.packer
    }

    /// W3: uploads packs as they come and publishes deltas after them, until the packer is closed.
    pub(crate) async fn upload(&mut self) -> Result<()> {
        let result = self.upload_all().await;
        // Whoever still reads after an early end finds nobody who empties it.
        self.packer.outbox.fail();
        if let Err(error) = &result {
            // The driver stops at the next item; the cause is told here.
            self.packer.fail(Error::new(error.kind, "the repository could not be written"));
        }
        result
    }

    async fn upload_all(&mut self) -> Result<()> {
        let packer = Arc::clone(&self.packer);
        let mut uploads: [Option<Box<dyn Upload>>; 2] = [None, None];
        let mut durable: Vec<(PackId, FinishedPack)> = Vec::new();
        while let Some(parcel) = packer.outbox.receive().await {
            match parcel {
                Parcel::Begin(id) => {
                    uploads[id.class as usize - 1] =
                        Some(self.repository.store().begin(&object_key(id.name())).await?);
                }
                Parcel::Part(class, bytes) => self.write(&mut uploads, class, bytes).await?,
                Parcel::End(id, bytes, finished) => {
                    self.write(&mut uploads, id.class, bytes).await?;
                    self.commit_pack(uploads[id.class as usize - 1].take(), &id, &finished).await?;
                    durable.push((id, finished));
                }
            }
            if durable.len() >= PACKS_A_DELTA {
                self.publish_delta(std::mem::take(&mut durable)).await?;
            }
        }
        if let Some(error) = packer.take_failure() {
            return Err(error);
        }
        if self.ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        if !durable.is_empty() || (self.deltas == 0 && !self.adopted.is_empty()) {
            self.publish_delta(durable).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        uploads: &mut [Option<Box<dyn Upload>>; 2],
        class: PackClass,
        bytes: Vec<u8>,
    ) -> Result<()> {
        let upload = uploads[class as usize - 1].as_mut().expect("a pack is begun before its parts");
        Ok(upload.write(Bytes::from(bytes)).await?)
    }

    async fn commit_pack(
        &self,
        upload: Option<Box<dyn Upload>>,
        id: &PackId,
        finished: &FinishedPack,
    ) -> Result<()> {
        let upload = upload.expect("a pack is begun before its end");
        let name = id.name();
        let put = upload.commit().await?;
        if put == Put::Exists && !self.is_mine(&name, finished).await? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "another process writes under the same name ({name}); was this machine cloned while it ran?"
                ),
            ));
        }
        self.ctx.monitor.on(&Event::Stored { bytes: finished.size });
        Ok(())
    }

    /// After a lost acknowledgement our own pack lies there: its checksum tells.
    async fn is_mine(&self, name: &str, finished: &FinishedPack) -> Result<bool> {
        let range = holdfast_store::ByteRange::From { offset: finished.size - 32, length: 33 };
        Ok(self.repository.store().get(&object_key(name), range).await? == finished.checksum[..])
    }

    /// W3: publishes where the chunks of durable packs lie; the first delta takes the adopted ones in.
    async fn publish_delta(&mut self, packs: Vec<(PackId, FinishedPack)>) -> Result<()> {
        let mut tables = IndexTables { sessions: vec![self.row.clone()], ..IndexTables::default() };
        for (id, finished) in packs {
            let row = tables.packs.len() as u32;
            tables.chunks.extend(finished.rows.iter().map(|chunk| ChunkRow {
                key: ChunkKey::from(&chunk.id),
                pack: row,
                offset: chunk.offset,
                length: chunk.length,
                origin: row,
            }));
            let (size, checksum, chunks) = (finished.size, finished.checksum, finished.rows.len() as u32);
            tables.packs.push(PackRow { id, size, checksum, chunks });
        }
        if self.deltas == 0 {
            for pack in &self.adopted {
                let row = tables.packs.len() as u32;
                match tables.session_of(&pack.row.id) {
                    Some(known) => tables.sessions[known].complete(&pack.session),
                    None => tables.sessions.push(pack.session.clone()),
                }
                tables.packs.push(pack.row.clone());
                tables.chunks.extend(pack.chunks.iter().map(|chunk| ChunkRow {
                    pack: row,
                    origin: row,
                    ..*chunk
                }));
            }
        }
        tables.sort();
        let name = self.name.delta(self.deltas);
        let header =
            self.repository.header(&self.ctx, ObjectType::IndexDelta, name::named_object(&name), self.epoch);
        let bytes =
            encode_delta(&header, self.deltas, &tables, self.repository.k_idx()?, self.repository.signer());
        self.repository.put_own(&name, bytes).await?;
        self.deltas += 1;
        Ok(())
    }

    /// W4 to W7: pins what the snapshot relies on, checks it against the newest root, commits,
    /// and looks whether the commit counts.
    pub(crate) async fn commit(self, summary: Summary, details: &Details) -> Result<()> {
        let pins = self.pins();
        if pins != Pins::default() {
            self.publish_pins(&pins).await?;
        }
        self.check_pins(&pins).await?;
        for pack in &self.adopted {
            let name = pack.row.id.name();
            if self
                .repository
                .store()
                .head(&object_key(&*name))
                .await?
                .is_none_or(|meta| meta.size != pack.row.size)
            {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{name} of an interrupted run is gone; run the same command again"),
                ));
            }
        }
        self.put_commit(summary, details, u32::from(pins != Pins::default())).await?;
        let root = self.repository.newest_root().await?;
        if self.epoch < root.fence {
            let view = self.repository.view().await?;
            if !view.catalogued.iter().any(|row| row.session == self.name.session) {
                return Err(overtaken());
            }
        }
        self.abort_adopted().await;
        Ok(())
    }

    fn pins(&self) -> Pins {
        let mut packs = lock(&self.packer.relied_on).clone();
        packs.extend(self.adopted.iter().map(|pack| pack.row.id));
        Pins { snapshots: self.parent.into_iter().collect(), packs: packs.into_iter().collect() }
    }

    /// W4.
    async fn publish_pins(&self, pins: &Pins) -> Result<()> {
        let name = self.name.pins(0);
        let header =
            self.repository.header(&self.ctx, ObjectType::Pins, name::named_object(&name), self.epoch);
        self.repository.put_own(&name, pins.encode(&header, self.repository.k_ref()?)).await
    }

    /// W5: what was chosen from must still be there. Without a new root nothing can have changed.
    async fn check_pins(&self, pins: &Pins) -> Result<()> {
        let root = self.repository.newest_root().await?;
        if root.number == self.epoch {
            return Ok(());
        }
        if root.number < self.epoch {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the repository went back to an older root; nothing was committed",
            ));
        }
        if !root.admits(self.epoch) {
            return Err(overtaken());
        }
        let view = self.repository.view().await?;
        let parent_there =
            self.parent.is_none_or(|parent| view.snapshots().iter().any(|snapshot| snapshot.id == parent));
        // Adopted packs too: our delta names them, so what condemns them shows here.
        if parent_there && pins.packs.iter().all(|pack| view.index.is_live(pack)) {
            Ok(())
        } else {
            Err(overtaken())
        }
    }

    /// W6: commit and abort compete for one name.
    async fn put_commit(&self, summary: Summary, details: &Details, pins: u32) -> Result<()> {
        let (repository, name) = (&self.repository, self.name.end());
        let header = repository.header(&self.ctx, ObjectType::End, name::named_object(&name), self.epoch);
        let commit = Commit::new(
            summary,
            self.row.clone(),
            details,
            &header,
            &self.secrets.meta,
            repository.description_hash(),
            Published { deltas: self.deltas, pins },
        );
        let bytes = End::Commit(Box::new(commit)).encode(&header, repository.k_ref()?, repository.signer());
        match put_or_mine(&**repository.store(), &name, bytes).await? {
            Put::Created => Ok(()),
            Put::Exists => Err(overtaken()),
        }
    }

    /// The packs of adopted sessions are ours now; their sessions end. Failing to is harmless:
    /// the next backup adopts what it then still needs.
    async fn abort_adopted(&self) {
        let sessions: BTreeSet<_> = self.adopted.iter().map(|pack| pack.from).collect();
        for session in sessions {
            let _ =
                self.repository.put_abort(&self.ctx, &session, self.epoch, "its packs were adopted").await;
        }
    }

    /// Ends the session without a snapshot: nothing was to be stored, or the source failed.
    pub(crate) async fn abandon(self, reason: &str) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        self.repository.put_abort(&self.ctx, &self.name, self.epoch, reason).await
    }
}

fn overtaken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the repository was maintained while this run went on and does not take its snapshot any more; \
         run the same command again: what was uploaded is used",
    )
}

impl Repository {
    pub(crate) async fn put_abort(
        &self,
        ctx: &Ctx,
        name: &SessionName,
        epoch: u64,
        reason: &str,
    ) -> Result<()> {
        let object = name.end();
        let header = self.header(ctx, ObjectType::End, name::named_object(&object), epoch);
        let end = End::Abort { reason: reason.to_owned() };
        let bytes = end.encode(&header, self.k_ref()?, self.signer());
        // Losing the race is fine: the session has its end.
        put_or_mine(&**self.store(), &object, bytes).await.map(drop)
    }
}
