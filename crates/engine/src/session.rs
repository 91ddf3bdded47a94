//! A session of a writer, and the packs that it fills (protocol steps W1 to W7 of FORMAT.md).
//!
//! On purpose not here: what is written ([`crate::backup`]).

use crate::adopt::{find_packs, tables_of};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::packer::{Packer, Parcel};
use crate::repository::{Repository, object_key, put_or_mine};
use crate::standing::removed;
use crate::trust::Reliable;
use crate::view::View;
use bytes::Bytes;
use holdfast_core::crypto::{Secret, hash};
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, SessionId, StreamId};
use holdfast_core::index::{IndexTables, PackRow, encode_delta};
use holdfast_core::keys::{SessionRow, SessionSecrets};
use holdfast_core::name::{self, PackClass, PackId, SessionName};
use holdfast_core::object::ObjectType;
use holdfast_core::pack::FinishedPack;
use holdfast_core::root::Root;
use holdfast_core::session::{Begin, Commit, Details, End, Pins, Published, Summary};
use holdfast_store::{Put, Upload};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A delta is published after so many packs.
const PACKS_A_DELTA: usize = 64;
/// So often a new session takes over from one that was overtaken, before the run gives up.
const RESTARTS_MAX: usize = 8;

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
    /// Packs of other sessions that are relied on beside the parent's closure.
    relied: BTreeSet<PackId>,
    /// Packs that the parent's closure covers.
    covered: BTreeSet<PackId>,
    /// Packs of this session that are durable.
    written: BTreeSet<PackId>,
    /// Sessions of this run that could not commit.
    succeeds: Vec<SessionName>,
    /// The root against which the references were looked up.
    resolved: u64,
    deltas: u32,
    pins: u32,
    options: SessionOptions,
}

/// A pack of a dead session that this one takes over.
#[derive(Debug, Clone)]
pub(crate) struct AdoptedPack {
    /// The session that wrote it, if that is to be ended once the pack is ours.
    pub from: Option<SessionName>,
    /// What the index says of it.
    pub row: PackRow,
    /// Where its chunks lie, and what opens them.
    pub tables: IndexTables,
}

/// What a session is begun with.
#[derive(Debug, Clone)]
pub(crate) struct SessionOptions {
    pub stream: StreamId,
    pub parent: Option<SessionId>,
    /// Whether the tree is the parent's as it is, so that nothing else protects it.
    pub needs_parent: bool,
    pub seal_check: bool,
    pub dry_run: bool,
    pub level: i32,
    pub data_pack_bytes: u64,
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
        repository.require_known_features()?;
        let sealer = repository.sealer()?;
        let epoch = view.root.number;
        let id = fresh_id(ctx, repository.member(), epoch);
        let secrets = SessionSecrets { data: Secret::new(ctx.random()), meta: Secret::new(ctx.random()) };
        let row = sealer
            .begin_session(id, &secrets, &[ctx.random(), ctx.random()], &ctx.kem)
            .map_err(|error| Error::format("the repository's keys", error))?;
        let name = SessionName { epoch: epoch as u32, member: repository.member(), session: id };
        let reliable = Reliable::new(repository, index)?;
        let packer = Packer::new(ctx, sealer, (id, epoch), &secrets, &row, reliable, options);
        if !options.dry_run {
            let begin = Begin { stream: options.stream, process: ctx.process, started: options.started };
            let header = repository.header(ctx, ObjectType::Begin, name::named_object(&name.begin()), epoch);
            repository
                .put_own(
                    &name.begin(),
                    begin.encode(&header, &repository.k_ref_for(&header)?, repository.signer()),
                )
                .await?;
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
            relied: BTreeSet::new(),
            covered: BTreeSet::new(),
            written: BTreeSet::new(),
            succeeds: Vec::new(),
            resolved: epoch,
            deltas: 0,
            pins: 0,
            options: options.clone(),
        })
    }

    pub(crate) const fn name(&self) -> SessionName {
        self.name
    }

    pub(crate) fn packer(&self) -> &Arc<Packer> {
        &self.packer
    }

    /// Whether packs of it are durable.
    pub(crate) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// W3: uploads packs as they come and publishes deltas after them, until the packer is closed.
    pub(crate) async fn upload(&mut self) -> Result<()> {
        let result = self.upload_all().await;
        // Whoever still reads after an early end finds nobody who empties it.
        self.packer.fail_outbox();
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
        while let Some(parcel) = packer.next_parcel().await {
            match parcel {
                Parcel::Begin(id) => {
                    uploads[id.class as usize - 1] =
                        Some(self.repository.store().begin(&object_key(id.name())).await?);
                }
                Parcel::Part(class, bytes) => self.write(&mut uploads, class, bytes).await?,
                Parcel::End(id, bytes, finished) => {
                    self.write(&mut uploads, id.class, bytes).await?;
                    self.commit_pack(uploads[id.class as usize - 1].take(), &id, &finished).await?;
                    self.written.insert(id);
                    durable.push((id, finished));
                }
                Parcel::SignOfLife => self.publish_pins(&Pins::default()).await?,
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
        let written = packs.into_iter().map(|(id, finished)| {
            let (size, checksum, chunks) = (finished.size, finished.checksum, finished.rows.len() as u32);
            let row = PackRow { id, size, checksum, chunks };
            tables_of(&row, self.row.clone(), &finished.origins, &finished.rows)
        });
        let written: Vec<_> = written.collect();
        let adopted = self.adopted.iter().filter(|_| self.deltas == 0).map(|pack| &pack.tables);
        let mut tables = IndexTables { sessions: vec![self.row.clone()], ..IndexTables::default() };
        tables.append(written.iter().chain(adopted));
        tables.sort();
        let name = self.name.delta(self.deltas);
        let header =
            self.repository.header(&self.ctx, ObjectType::IndexDelta, name::named_object(&name), self.epoch);
        let key = self.repository.k_idx_for(&header)?;
        let bytes = encode_delta(&header, self.deltas, &tables, &key, self.repository.signer());
        self.repository.put_own(&name, bytes).await?;
        self.deltas += 1;
        Ok(())
    }

    /// W4 to W7: pins what the snapshot relies on, checks it against the newest root, commits,
    /// and looks whether the commit counts. Where only the session is too old or was aborted, a new
    /// one takes over its packs and does the same.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if something that the snapshot relies on is going away: whoever can
    /// read the source again does, and uploads what is missing.
    pub(crate) async fn commit(mut self, summary: Summary, details: &Details) -> Result<SessionId> {
        self.relied = self.packer.relied_on();
        self.covered = self.packer.covered();
        for _ in 0..RESTARTS_MAX {
            if self.try_commit(summary.clone(), details).await? {
                self.abort_adopted().await;
                return Ok(self.name.session);
            }
            self = self.again().await?;
        }
        Err(overtaken())
    }

    /// Commits, or tells that this session never can.
    async fn try_commit(&mut self, summary: Summary, details: &Details) -> Result<bool> {
        let mut pins = self.pins();
        if pins != Pins::default() {
            self.publish_pins(&pins).await?;
        }
        let root = self.repository.newest_root().await?;
        if !self.may_commit(&root)? {
            return Ok(false);
        }
        if root.number != self.resolved && !cfg!(feature = "mutant-no-recheck") {
            let view = self.repository.view().await?;
            if let Some(parent) = self.parent
                && !view.has_parent(parent)
            {
                if self.options.needs_parent {
                    return Err(overtaken());
                }
                // Nobody protects its closure any more: every pack is pinned, and looked at again.
                pins.packs.extend(&self.covered);
                pins.packs.sort_unstable();
                pins.packs.dedup();
                self.publish_pins(&pins).await?;
            }
            let view = self.repository.view().await?;
            if !self.may_commit(&view.root)? {
                return Ok(false);
            }
            self.check_packs(&view, &pins.packs)?;
        }
        self.check_adopted().await?;
        // Whoever removes us looks for sessions after its entry is there: it sees ours, or we see it.
        self.repository.require_belonging().await?;
        self.repository.require_known_features()?;
        if self.put_commit(summary, details).await? == Put::Exists {
            return Ok(false);
        }
        // W7.
        self.repository.require_keys().await?;
        let root = self.repository.newest_root().await?;
        let shut_out = self.repository.is_shut_out(self.name.member, &root);
        if self.epoch >= root.fence && !shut_out {
            return Ok(true);
        }
        let view = self.repository.view().await?;
        let counts = view.catalogued.iter().any(|row| row.session == self.name.session);
        if shut_out && !counts { Err(removed()) } else { Ok(counts) }
    }

    /// Whether a root lets sessions of our age commit.
    fn may_commit(&self, root: &Root) -> Result<bool> {
        if root.number < self.epoch {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the repository went back to an older root; nothing was committed",
            ));
        }
        Ok(root.admits(self.epoch))
    }

    /// W5: what was chosen from must still be there, and what we wrote or took over must not be
    /// on its way out.
    fn check_packs(&self, view: &View, pinned: &[PackId]) -> Result<()> {
        let adopted: BTreeSet<_> = self.adopted.iter().map(|pack| pack.row.id).collect();
        let mut gone = false;
        for pack in pinned.iter().filter(|pack| !adopted.contains(pack)) {
            gone |= !view.index.is_live(pack)?;
        }
        let condemned = view.lists.packs_on_their_way_out().any(|pack| {
            adopted.contains(pack) || (pack.member, pack.session) == (self.name.member, self.name.session)
        });
        if gone || condemned { Err(overtaken()) } else { Ok(()) }
    }

    /// What was adopted must be there after the root was read.
    async fn check_adopted(&self) -> Result<()> {
        for pack in &self.adopted {
            let name = pack.row.id.name();
            let found = self.repository.store().head(&object_key(&*name)).await?;
            if found.is_none_or(|meta| meta.size != pack.row.size) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{name} of an interrupted run is gone; run the same command again"),
                ));
            }
        }
        Ok(())
    }

    /// A new session in the place of this one, with its packs: none of the rules for a session
    /// depend on who sealed what it names.
    async fn again(self) -> Result<Self> {
        self.repository.require_belonging().await?;
        let view = self.repository.view().await?;
        let mut adopted = self.adopted;
        for class in [PackClass::Data, PackClass::Tree] {
            find_packs(&self.repository, self.name, class, &mut adopted).await?;
        }
        // Whoever ended this session may have freed what it had written until then.
        if self.written.iter().any(|id| adopted.iter().all(|pack| pack.row.id != *id)) {
            return Err(overtaken());
        }
        let index = Arc::default();
        let mut next = Self::begin(&self.ctx, &self.repository, &view, index, adopted, &self.options).await?;
        next.parent = self.parent;
        next.relied = self.relied;
        next.covered = self.covered;
        next.succeeds = self.succeeds;
        next.succeeds.push(self.name);
        next.resolved = self.resolved;
        if !next.adopted.is_empty() {
            next.publish_delta(Vec::new()).await?;
        }
        Ok(next)
    }

    fn pins(&self) -> Pins {
        let adopted = self.adopted.iter().map(|pack| pack.row.id);
        let packs: BTreeSet<_> = self.relied.iter().copied().chain(adopted).collect();
        Pins { snapshots: self.parent.into_iter().collect(), packs: packs.into_iter().collect() }
    }

    /// W4; empty ones are a sign of life.
    async fn publish_pins(&mut self, pins: &Pins) -> Result<()> {
        let name = self.name.pins(self.pins);
        let header =
            self.repository.header(&self.ctx, ObjectType::Pins, name::named_object(&name), self.epoch);
        let repository = &self.repository;
        let bytes = pins.encode(&header, &repository.k_ref_for(&header)?, repository.signer());
        repository.put_own(&name, bytes).await?;
        self.pins += 1;
        Ok(())
    }

    /// W6: commit and abort compete for one name.
    async fn put_commit(&self, summary: Summary, details: &Details) -> Result<Put> {
        let (repository, name) = (&self.repository, self.name.end());
        let header = repository.header(&self.ctx, ObjectType::End, name::named_object(&name), self.epoch);
        let commit = Commit::new(
            summary,
            self.row.clone(),
            details,
            &header,
            &self.secrets.meta,
            repository.description_hash(),
            Published { deltas: self.deltas, pins: self.pins },
        );
        let key = repository.k_ref_for(&header)?;
        let bytes = End::Commit(Box::new(commit)).encode(&header, &key, repository.signer());
        // Nothing is called saved that nobody could read again.
        repository.decode_end(&self.name, &bytes).map_err(|error| Error::format(&name, error))?;
        put_or_mine(&**repository.store(), &name, bytes).await
    }

    /// The packs of adopted sessions are ours now; their sessions end. Failing to is harmless:
    /// the next backup adopts what it then still needs.
    async fn abort_adopted(&self) {
        let adopted = self.adopted.iter().filter_map(|pack| pack.from);
        let sessions: BTreeSet<_> = adopted.chain(self.succeeds.iter().copied()).collect();
        for session in sessions {
            let _ =
                self.repository.put_abort(&self.ctx, &session, self.epoch, "its packs were adopted").await;
        }
    }

    /// Ends the session without a snapshot: nothing was to be stored, or the source failed.
    pub(crate) async fn abandon(self, reason: &str) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        self.repository.put_abort(&self.ctx, &self.name, self.epoch, reason).await
    }
}

/// Draws the id of a session. Machines that were cloned draw the same numbers: in one epoch they
/// meet at the name of the begin, and in two epochs they must not have one id.
pub(crate) fn fresh_id(ctx: &Ctx, member: MemberId, epoch: u64) -> SessionId {
    let mixed = hash(&[&ctx.random::<16>()[..], &epoch.to_le_bytes()].concat());
    let [random, ..] = mixed.as_chunks().0 else { unreachable!("a hash has 32 bytes") };
    SessionId::of(member, *random)
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
        let bytes = end.encode(&header, &self.k_ref_for(&header)?, self.signer());
        // Losing the race is fine: the session has its end.
        put_or_mine(&**self.store(), &object, bytes).await.map(drop)
    }
}
