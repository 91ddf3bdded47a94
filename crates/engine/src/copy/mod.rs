//! Copies snapshots from one repository into another, every byte verified on the way.
//!
//! Each snapshot is a session of its own in the destination and goes through W1 to W7 as a backup
//! does: what is there is not stored again, what an interrupted run left is taken over, and nothing
//! counts before the commit. A copy says where it comes from; that is how the next run knows it.
//! Where both repositories name things alike (`init --from`), pages are copied as they are and
//! nothing is read that the destination has ([`pages`]); else the tree is built anew ([`rebuild`]).
//!
//! On purpose not here: which snapshots, and how either repository was opened.

mod carrier;
mod pages;
mod rebuild;

use crate::adopt::adoptable;
use crate::backup::{Unattended, distrust_missing};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::maintain;
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::packer::Packer;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::chain;
use crate::rights::Right;
use crate::session::{AdoptedPack, Session, SessionOptions};
use crate::snapshots::{Snapshot, details};
use crate::view::View;
use carrier::{Carrier, Failure, Foreseen, Tried, unread};
use holdfast_core::id::{ChunkId, SessionId, StreamId};
use holdfast_core::keys::Role;
use holdfast_core::name::SessionName;
use holdfast_core::session::{Counts, Origin, SaidBy, Summary};
use rebuild::Names;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// So often a snapshot is begun again when maintenance overtakes it.
const ATTEMPTS_MAX: usize = 4;

/// How snapshots are copied.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Say what would be done, and store nothing.
    pub dry_run: bool,
    /// Level of zstd.
    pub compression_level: i32,
    /// Length from which a data pack is closed, in bytes; see [`holdfast_core::pack::DATA_PACK_BYTES`].
    pub data_pack_bytes: u64,
}

/// What became of a snapshot that was to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was copied; this is the copy.
    Made(SessionId),
    /// A dry run would copy it.
    Foreseen,
    /// This is it, or a copy of it: nothing was to be done.
    There(SessionId),
    /// It was not copied, and why: it cannot be read.
    Unread(String),
}

/// A snapshot that was to be copied.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The snapshot where it is copied from.
    pub from: Snapshot,
    /// What became of it.
    pub fate: Fate,
    /// Contents and pages that were read and verified, in bytes.
    pub bytes_read: u64,
    /// Chunks and pages that were not there.
    pub chunks_added: u64,
    /// Their plaintext in bytes; 0 of a dry run.
    pub bytes_added: u64,
    /// What they take in the repository, in bytes. Of a dry run what they take where they are;
    /// nobody can tell if the two repositories name things differently.
    pub bytes_stored: Option<u64>,
}

/// What a run of `copy` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyReport {
    /// Snapshots that were copied, or of a dry run would be.
    pub copied: u64,
    /// Snapshots that are there already.
    pub there: u64,
    /// Snapshots that could not be copied.
    pub failed: u64,
    /// Contents and pages that were read and verified, in bytes.
    pub bytes_read: u64,
    /// Chunks and pages that were not there.
    pub chunks_added: u64,
    /// Their plaintext in bytes.
    pub bytes_added: u64,
    /// What they take in the repository, in bytes, as far as it can be told.
    pub bytes_stored: Option<u64>,
    /// Packs of interrupted runs that were taken over.
    pub adopted_packs: u64,
    /// Whether both repositories name things alike, so that nothing is read that is there.
    pub alike: bool,
}

/// Copies snapshots, oldest first, and tells of each as it is done. One that cannot be read is a
/// problem, nothing of it counts, and the others go on.
///
/// # Errors
/// Both are one repository, a key does not allow it, the destination cannot be written, or the run
/// was interrupted. What was told of is done; the next run uses what was uploaded.
pub async fn copy(
    ctx: &Ctx,
    from: &Repository,
    to: &Repository,
    snapshots: &[Snapshot],
    options: &CopyOptions,
    told: &mut (dyn FnMut(&Copied) + Send),
) -> Result<Outcome<CopyReport>> {
    if from.id() == to.id() {
        let what = format!("{} and {} are one repository", from.location(), to.location());
        return Err(Error::new(ErrorKind::Usage, what));
    }
    to.require(Right::BackUp)?;
    let alike = from.names_alike(to);
    let view = from.view().await?;
    let home = Home::of(ctx, from, &view, snapshots);
    let reader = Reader::new(from, view)?;
    let mut run = Run {
        ctx,
        from,
        to,
        options,
        reader,
        home,
        alike,
        foreseen: Mutex::default(),
        names: Names::default(),
        left: Vec::new(),
        suspicious: true,
        adopted_packs: 0,
    };
    let mut report = CopyReport {
        copied: 0,
        there: 0,
        failed: 0,
        bytes_read: 0,
        chunks_added: 0,
        bytes_added: 0,
        bytes_stored: (alike || !options.dry_run).then_some(0),
        adopted_packs: 0,
        alike,
    };
    let mut problems = Problems::default();
    let snapshots = in_order(snapshots);
    let bytes = snapshots.iter().fold(0_u64, |sum, one| sum.saturating_add(one.summary.counts.bytes));
    ctx.monitor.on(&Event::Expected { files: snapshots.len() as u64, bytes });
    for snapshot in snapshots {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let copied = run.copy(snapshot).await?;
        match &copied.fate {
            Fate::Made(_) | Fate::Foreseen => report.copied += 1,
            Fate::There(_) => report.there += 1,
            Fate::Unread(what) => {
                report.failed += 1;
                let problem = Problem {
                    path: snapshot.id.to_string().into_bytes(),
                    kind: ProblemKind::Damaged,
                    what: format!("not copied: {what}"),
                };
                ctx.monitor.on(&Event::Problem(&problem));
                problems.problem(problem);
            }
        }
        let rest = snapshot.summary.counts.bytes.saturating_sub(copied.bytes_read);
        ctx.monitor.on(&Event::Done { files: 1, bytes: rest });
        report.bytes_read += copied.bytes_read;
        report.chunks_added += copied.chunks_added;
        report.bytes_added += copied.bytes_added;
        report.bytes_stored = report.bytes_stored.zip(copied.bytes_stored).map(|(all, one)| all + one);
        told(&copied);
    }
    report.adopted_packs = run.adopted_packs;
    Ok(Outcome { value: report, problems })
}

/// Oldest first, each once.
fn in_order(snapshots: &[Snapshot]) -> Vec<&Snapshot> {
    let mut ordered: Vec<_> = snapshots.iter().collect();
    ordered.sort_by_key(|snapshot| (snapshot.summary.end, snapshot.id));
    ordered.dedup_by_key(|snapshot| snapshot.id);
    ordered
}

struct Run<'a> {
    ctx: &'a Ctx,
    from: &'a Repository,
    to: &'a Repository,
    options: &'a CopyOptions,
    reader: Reader,
    home: Home,
    alike: bool,
    /// What a dry run would store.
    foreseen: Mutex<Foreseen>,
    /// Which chunk became which.
    names: Names,
    /// Sessions of this run that have packs and no snapshot: the next one takes them over.
    left: Vec<SessionName>,
    /// Whether packs of the destination may be missing.
    suspicious: bool,
    adopted_packs: u64,
}

/// What the place that snapshots are copied from says of them, so that no claim is passed on as our own word.
struct Home {
    /// What each took the place of there.
    replaced: HashMap<SessionId, Vec<SessionId>>,
    /// Whose words each is, if not an owner's.
    said_by: HashMap<SessionId, Option<SaidBy>>,
}

impl Home {
    fn of(ctx: &Ctx, from: &Repository, view: &View, snapshots: &[Snapshot]) -> Self {
        let (committed, now) = (view.committed(), ctx.clock.now());
        let said_by = |snapshot: &Snapshot| view.said_by(snapshot, from.is_owner(snapshot.member), now);
        Self {
            replaced: snapshots.iter().map(|one| (one.id, view.replaced_by(one, &committed))).collect(),
            said_by: snapshots.iter().map(|one| (one.id, said_by(one))).collect(),
        }
    }
}

/// The destination as a session finds it.
struct Ground {
    view: View,
    index: Arc<Index>,
    adopted: Vec<AdoptedPack>,
    /// Whether nothing is known to be missing or damaged, so that what a snapshot names is there.
    whole: bool,
}

impl Run<'_> {
    async fn copy(&mut self, snapshot: &Snapshot) -> Result<Copied> {
        let mut attempts = 0;
        loop {
            let left = self.left.len();
            match self.attempt(snapshot).await {
                Ok(copied) => return Ok(copied),
                Err(Failure::Unread(error)) => {
                    // A place that cannot be reached at all has no other snapshots to go on with.
                    if error.kind == ErrorKind::Store {
                        self.from.newest_root().await?;
                    }
                    return Ok(untouched(snapshot, Fate::Unread(chain(&error))));
                }
                Err(Failure::Run(error))
                    if error.kind == ErrorKind::Conflict
                        && self.left.len() > left
                        && attempts < ATTEMPTS_MAX =>
                {
                    attempts += 1;
                    self.ctx.monitor.on(&Event::Warning(
                        "the repository was maintained meanwhile; what it does not keep is looked for again",
                    ));
                }
                Err(Failure::Run(error)) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self, snapshot: &Snapshot) -> Tried<Copied> {
        let view = self.to.view().await?;
        let shown = view.snapshots();
        let origin = self.origin(snapshot);
        if let Some(there) = self.find(&view, &shown, origin) {
            return Ok(untouched(snapshot, Fate::There(there)));
        }
        let details = details(self.ctx, self.from, snapshot).await;
        let details = details.map_err(|error| unread(&self.reader, error))?;
        let stream = self.stream(snapshot)?;
        let parent = view.newest_of(stream, |there| self.to.trusts_tree(there));
        let ground = self.ground(view).await?;
        // Below a page that the parent has nothing is looked at, so that the parent has to stay.
        let read = |old: &&Snapshot| self.to.may(Right::Read) && self.to.trusts_tree(old);
        let leans = self.alike && ground.whole && parent.as_ref().is_some_and(|old| read(&old));
        let session_options = SessionOptions {
            stream,
            parent: parent.as_ref().map(|parent| parent.id),
            needs_parent: leans,
            seal_check: true,
            dry_run: self.options.dry_run,
            level: self.options.compression_level,
            data_pack_bytes: self.options.data_pack_bytes,
            started: self.ctx.clock.now(),
        };
        let Ground { view, index, adopted, .. } = ground;
        let adopted_packs = adopted.len() as u64;
        let mut session =
            Session::begin(self.ctx, self.to, &view, Arc::clone(&index), adopted, &session_options).await?;
        let packer = Arc::clone(session.packer());
        let past = Reader::with_index(self.to, index)?;
        let past = parent
            .as_ref()
            .filter(|_| leans || !self.alike)
            .filter(read)
            .map(|old| (&past, old.summary.root));
        let carrier =
            Carrier::new(self.ctx, &self.reader, &packer, self.options.dry_run.then_some(&self.foreseen));
        let (chunks, bytes) = self.foreseen_so_far();
        let mut names = std::mem::take(&mut self.names);
        let carried = self.carry(&mut session, &carrier, snapshot, past, &mut names).await;
        self.names = names;
        let root = match carried {
            Ok(root) => root,
            Err(failure) => {
                if let Failure::Unread(_) = failure {
                    if session.has_written() {
                        self.left.push(session.name());
                    } else {
                        session.abandon("what it was to copy cannot be read").await?;
                    }
                }
                return Err(failure);
            }
        };
        let bytes_read = carrier.bytes_read.load(Ordering::Relaxed);
        if self.options.dry_run {
            let (chunks_then, bytes_then) = self.foreseen_so_far();
            return Ok(Copied {
                bytes_read,
                chunks_added: chunks_then - chunks,
                bytes_stored: self.alike.then_some(bytes_then - bytes),
                ..untouched(snapshot, Fate::Foreseen)
            });
        }
        let counts = counts(snapshot, &packer);
        let summary = Summary {
            stream,
            counts,
            root,
            parent: self.parent_there(snapshot, &shown),
            supersedes: self.superseded(snapshot, stream, &view),
            origin: Some(origin),
            said_by: self.home.said_by.get(&snapshot.id).copied().flatten(),
            ..snapshot.summary.clone()
        };
        let name = session.name();
        let committed = session.commit(summary, &details).await;
        if committed.as_ref().is_err_and(|error| error.kind == ErrorKind::Conflict) {
            self.left.push(name);
        }
        let id = committed?;
        self.adopted_packs += adopted_packs;
        maintain::absorb_many(self.ctx, self.to, view.deltas).await;
        Ok(Copied {
            bytes_read,
            chunks_added: counts.chunks_added,
            bytes_added: counts.bytes_added,
            bytes_stored: Some(counts.bytes_stored),
            ..untouched(snapshot, Fate::Made(id))
        })
    }

    /// Carries the tree over, and uploads it meanwhile.
    async fn carry(
        &self,
        session: &mut Session,
        carrier: &Carrier<'_>,
        snapshot: &Snapshot,
        past: Option<(&Reader, ChunkId)>,
        names: &mut Names,
    ) -> Tried<ChunkId> {
        let (ctx, packer) = (self.ctx, carrier.packer);
        let work = async {
            let Summary { root, space, .. } = snapshot.summary;
            let result = if self.alike {
                pages::copy_pages(carrier, root, past).await.map(|()| root)
            } else if self.options.dry_run {
                // Which of it is there is known only once it was read.
                Ok(root)
            } else {
                rebuild::rebuild(carrier, root, space, past, names).await
            };
            if let Err(Failure::Unread(error) | Failure::Run(error)) = &result {
                packer.stop(Error::new(error.kind, "the run ended early"));
            }
            let closing = Arc::clone(packer);
            ctx.workers.run(move || closing.close()).await;
            result
        };
        let unattended = Unattended(Arc::clone(packer));
        let (worked, uploaded) = futures::join!(work, session.upload());
        drop(unattended);
        match (worked, uploaded) {
            // What stopped the work is told by the upload when that failed first.
            (Err(Failure::Run(work)), Err(upload)) if work.kind == ErrorKind::Store => Err(upload.into()),
            (Err(failure), _) => Err(failure),
            (Ok(_), Err(upload)) => Err(upload.into()),
            (Ok(root), Ok(())) => Ok(root),
        }
    }

    /// Looks at what is there: packs of dead runs are taken over, packs that are gone not relied on.
    async fn ground(&mut self, mut view: View) -> Result<Ground> {
        let dry_run = self.options.dry_run;
        let mut adopted = Vec::new();
        if !dry_run {
            adopted = adoptable(self.ctx, self.to, &view, &self.left).await?;
        }
        for pack in &adopted {
            view.index.absorb(&pack.tables)?;
        }
        view.index.settle();
        let mut missing = 0;
        if self.suspicious {
            for damage in &view.damage {
                let what = format!("{} cannot be used: {}; run `holdfast check`", damage.object, damage.what);
                self.ctx.monitor.on(&Event::Warning(&what));
            }
            missing = distrust_missing(self.ctx, self.to, &mut view.index).await?;
            // What was there a moment ago is not looked for again before each snapshot.
            self.suspicious = missing > 0;
        }
        let mut live = Vec::with_capacity(adopted.len());
        for pack in adopted {
            if view.index.is_live(&pack.row.id)? {
                live.push(pack);
            }
        }
        let lists = &view.lists;
        let whole =
            missing == 0 && view.damage.is_empty() && lists.lost.is_empty() && lists.quarantined.is_empty();
        let index = Arc::new(std::mem::take(&mut view.index));
        Ok(Ground { view, index, adopted: live, whole })
    }

    /// Where a snapshot was made first.
    fn origin(&self, snapshot: &Snapshot) -> Origin {
        let own = Origin { repository: self.from.id(), snapshot: snapshot.id };
        snapshot.summary.origin.unwrap_or(own)
    }

    /// The copy that is there already, or the snapshot itself if it was made there.
    fn find(&self, view: &View, shown: &[Snapshot], origin: Origin) -> Option<SessionId> {
        let copy = self.copy_of(shown, origin);
        let at_home = || view.current(shown, origin.snapshot).first().map(|there| there.id);
        copy.or_else(|| at_home().filter(|_| origin.repository == self.to.id()))
    }

    /// The stream that a copy extends: the same where streams are named alike, so that a machine
    /// may also back up there; else one of its own for each stream that is copied.
    fn stream(&self, snapshot: &Snapshot) -> Result<StreamId> {
        let stream = snapshot.summary.stream;
        if self.alike {
            return Ok(stream);
        }
        let name = format!("{}/{stream}", self.from.id());
        Ok(self.to.identifier()?.stream("", "copy", &name))
    }

    /// The copy of what a snapshot was compared with.
    fn parent_there(&self, snapshot: &Snapshot, shown: &[Snapshot]) -> Option<SessionId> {
        let parent = snapshot.summary.parent?;
        self.copy_of(shown, Origin { repository: self.from.id(), snapshot: parent })
    }

    /// The newest copy of a snapshot. Only whose word counts for us may say what it is a copy of:
    /// else somebody's claim would keep the true copy from being made.
    fn copy_of(&self, shown: &[Snapshot], origin: Origin) -> Option<SessionId> {
        // Tags that an owner changed leave a claim what it was.
        let is_told = |there: &Snapshot| match origin.repository == self.to.id() {
            true => self.to.trusts(there.member),
            false => self.to.trusts_tree(there),
        };
        let is_copy = |there: &&Snapshot| there.summary.origin == Some(origin) && is_told(there);
        shown.iter().rfind(is_copy).map(|there| there.id)
    }

    /// Copies of what a snapshot took the place of at home (its tags were changed, say): its own copy takes
    /// theirs.
    fn superseded(&self, snapshot: &Snapshot, stream: StreamId, view: &View) -> Vec<SessionId> {
        let replaced = self.home.replaced.get(&snapshot.id).map_or(&[][..], Vec::as_slice);
        let before = |there: &&Snapshot| {
            let origin = there.summary.origin.filter(|origin| origin.repository == self.from.id());
            let may = there.member == self.to.member() || self.to.role() == Role::Owner;
            let old = origin.is_some_and(|origin| replaced.contains(&origin.snapshot));
            may && old && there.summary.stream == stream
        };
        let committed = view.committed();
        let old = committed.values().filter(before);
        let all = old.flat_map(|old| view.replaced_by(old, &committed).into_iter().chain([old.id]));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn foreseen_so_far(&self) -> (u64, u64) {
        let foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        (foreseen.chunks, foreseen.stored_bytes)
    }
}

/// What the snapshot counted, and what its copy took.
fn counts(snapshot: &Snapshot, packer: &Packer) -> Counts {
    Counts {
        chunks_added: packer.added.chunks.load(Ordering::Relaxed),
        bytes_added: packer.added.plain_bytes.load(Ordering::Relaxed),
        bytes_stored: packer.added.stored_bytes.load(Ordering::Relaxed),
        ..snapshot.summary.counts
    }
}

fn untouched(snapshot: &Snapshot, fate: Fate) -> Copied {
    let from = snapshot.clone();
    Copied { from, fate, bytes_read: 0, chunks_added: 0, bytes_added: 0, bytes_stored: Some(0) }
}
