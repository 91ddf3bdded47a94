//! Checks a repository: every object, every reference, and on request every byte.
//!
//! On purpose not here: repairing anything.

mod author;
mod catalogue;
mod evidence;
mod logs;
mod lost;
mod packs;
mod refs;
mod trees;

use crate::ctx::Ctx;
use crate::domain::domains;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::{PackState, verify_segment};
use crate::reader::Reader;
use crate::repository::{Repository, WHOLE, list_all, list_own, read_slot};
use crate::restore::chain;
use crate::rights::Right;
use crate::snapshots::Snapshot;
use crate::view::View;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::crypto::hash;
use holdfast_core::id::{ChunkId, MemberId};
use holdfast_core::index::ChunkKey;
use holdfast_core::name::{self, PackId, Place, SessionName};
use holdfast_core::object::{Object, ObjectType};
use holdfast_core::page::{Page, PageBody};
use holdfast_core::repository::Repository as Description;
use holdfast_core::root::{List, Root, decode_snapshots};
use holdfast_core::session::{Begin, End};
use holdfast_core::version::shown_key;
use holdfast_store::ObjectMeta;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lost::Broken;
pub(crate) use packs::read_through;
use packs::{choose, read_packs};
use refs::check_refs;
use trees::check_trees;
pub(crate) use trees::has_folder;

/// Objects that are read at the same time.
const READS_AT_ONCE: usize = 8;
/// Findings that are kept; all are counted.
const FINDINGS_MAX: usize = 1000;

/// How much of the packs is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadData {
    /// Nothing but pages of trees.
    No,
    /// All of them.
    All,
    /// A share of them, in percent, picked at random.
    Percent(f64),
    /// One part of several that together are all; always the same part for the same numbers.
    Part {
        /// Which part, from 1.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// As many, picked at random, as fit into so many bytes; at least one.
    Bytes(u64),
}

/// Something that the check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object, or the snapshot and path.
    pub subject: String,
    /// What is wrong with it.
    pub what: String,
    /// False for what is only worth knowing.
    pub is_error: bool,
}

/// What a check saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Objects in the repository.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs among them.
    pub packs: u64,
    /// Chunks that the index knows.
    pub chunks: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Packs that were read whole.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Whether pages and contents could be opened: with a key that does not, references and checksums
    /// alone were compared.
    pub opened: bool,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// How many of all findings are errors.
    pub errors: u64,
    /// How many are only worth knowing.
    pub notices: u64,
}

impl CheckReport {
    fn add(&mut self, subject: impl Into<String>, what: impl Into<String>, is_error: bool) {
        if is_error {
            self.errors += 1;
        } else {
            self.notices += 1;
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { subject: subject.into(), what: what.into(), is_error });
        }
    }

    fn error(&mut self, subject: impl Into<String>, what: impl Into<String>) {
        self.add(subject, what, true);
    }

    fn notice(&mut self, subject: impl Into<String>, what: impl Into<String>) {
        self.add(subject, what, false);
    }
}

/// What a check with a key that opens nothing leaves unproved.
const UNOPENED: &str = "opens neither pages nor contents: that references lead to chunks and that packs have their \
                        checksums was looked at, not what is in them. A reader's or an owner's key proves that too";

/// So often a check looks when maintenance changes what it looks at.
const LOOKS_MAX: usize = 6;

/// Checks a repository. What seems wrong while it is maintained is looked at again: something that
/// moved is no damage, and an object that is amiss in two looks in a row did not move.
///
/// # Errors
/// It cannot be listed at all, or it was maintained during every look and each found something else
/// amiss ([`ErrorKind::Conflict`]). What is wrong inside is in the report.
pub async fn check(ctx: &Ctx, repository: &Repository, read_data: ReadData) -> Result<CheckReport> {
    // A maintainer compares checksums; who only backs up has no business with packs of others.
    if read_data != ReadData::No && !repository.may(Right::Maintain) {
        repository.require(Right::Read)?;
    }
    let mut earlier: Vec<Finding> = Vec::new();
    for _ in 0..LOOKS_MAX {
        let before = repository.newest_root().await?.number;
        let report = check_once(ctx, repository, read_data).await?;
        // Not what is lost with it: that may be in another pack each time.
        let is_object = |finding: &Finding| name::parse(&finding.subject).is_some();
        let mut errors = report.findings.iter().filter(|finding| finding.is_error && is_object(finding));
        let confirmed = errors.any(|finding| earlier.contains(finding));
        if report.errors == 0 || confirmed || repository.newest_root().await?.number == before {
            return Ok(report);
        }
        earlier = report.findings;
        ctx.monitor.on(&Event::Phase("the repository was maintained meanwhile; looking again"));
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("the repository was maintained during each of {LOOKS_MAX} looks: nothing can be said of it"),
    ))
}

async fn check_once(ctx: &Ctx, repository: &Repository, read_data: ReadData) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    ctx.monitor.on(&Event::Phase("reading objects"));
    // Before the listing: what a session names was stored before it was named, so all that the
    // view knows of is listed, whatever runs beside this.
    let view = repository.view().await?;
    let objects = list_own(&**repository.store()).await?;
    let below = |name: &String| name.starts_with(name::DOMAINS);
    for foreign in repository.store().foreign().await?.into_iter().filter(|name| !below(name)) {
        report.notice(foreign, "is nothing of holdfast's; it does no harm");
    }
    for domain in domains(repository).await? {
        let what = format!("has keys of its own and was not looked at: holdfast --domain {domain} check");
        report.notice(format!("{}{domain}", name::DOMAINS), what);
    }
    report.objects = objects.len() as u64;
    report.bytes = objects.iter().map(|meta| meta.size).sum();
    check_objects(ctx, repository, &view, &objects, &mut report).await?;
    logs::check_logs(ctx, repository, &view, &objects, read_data, &mut report).await?;
    evidence::check_evidence(ctx, repository, &objects, &mut report).await?;
    report.chunks = view.index.chunks()?.count()?;
    let packs: HashMap<PackId, u64> = objects
        .iter()
        .filter_map(|meta| match name::parse(meta.key.as_str()) {
            Some(Place::Pack(id)) => Some((id, meta.size)),
            _ => None,
        })
        .collect();
    report.packs = packs.len() as u64;
    let mut broken = Broken::default();
    check_packs(&view, &packs, &mut broken, &|member| repository.is_owner(member), &mut report)?;
    check_root(&view, &objects, &mut report);
    check_sessions(&view, &objects, &mut report);
    let snapshots = view.snapshots();
    report.snapshots = snapshots.len() as u64;
    check_parents(&view, &snapshots, &mut report);
    catalogue::check_catalogue(ctx, repository, &view, &mut report).await?;
    author::check_authors(repository, &view, &objects, &mut report);
    let reader = Reader::of_refs(repository, view)?;
    ctx.monitor.on(&Event::Phase("following snapshots"));
    report.opened = reader.opens();
    let needs = if report.opened {
        check_trees(ctx, &reader, &snapshots, &mut report).await?
    } else {
        check_refs(ctx, &reader, &snapshots, &mut report).await?;
        report.notice("this key", UNOPENED);
        trees::Needs::new()
    };
    let chosen = choose(ctx, read_data, packs);
    if !chosen.is_empty() {
        ctx.monitor.on(&Event::Phase("reading packs"));
        read_packs(ctx, &reader, chosen, &needs, &mut broken, &mut report).await?;
    }
    drop(needs);
    if report.opened {
        lost::name_files(ctx, &reader, &snapshots, &broken, &mut report).await?;
    }
    author::name_authors(repository, &snapshots, &mut report);
    Ok(report)
}

fn interrupted(ctx: &Ctx) -> Result<()> {
    if ctx.cancel.is_raised() { Err(Error::interrupted()) } else { Ok(()) }
}

/// What is not read whole, or is read in its own order.
fn is_read_elsewhere(name: &str) -> bool {
    let elsewhere = |place| matches!(place, Place::IndexSegment(_) | Place::Wal(_) | Place::Evidence(..));
    name.starts_with("packs/") || name::parse(name).is_some_and(elsewhere)
}

/// Reads segments of the index from end to end; local copies say nothing of them.
async fn check_segments(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    objects: &[ObjectMeta],
    report: &mut CheckReport,
) -> Result<()> {
    for meta in objects {
        let Some(Place::IndexSegment(id)) = name::parse(meta.key.as_str()) else { continue };
        interrupted(ctx)?;
        match verify_segment(repository, id).await {
            Ok(Some(Err(error))) => tell_unreadable(view, meta.key.as_str(), &error.to_string(), report),
            // It may be gone because something else merged it meanwhile.
            Ok(Some(Ok(_)) | None) => {}
            Err(error) => report.error(meta.key.as_str(), chain(&error)),
        }
    }
    Ok(())
}

/// Reads everything but packs, segments of the index, logs and evidence, whole.
async fn check_objects(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    objects: &[ObjectMeta],
    report: &mut CheckReport,
) -> Result<()> {
    let small = objects.iter().filter(|meta| !is_read_elsewhere(meta.key.as_str()));
    let mut reads = stream::iter(small)
        .map(|meta| async move { (meta, repository.store().get(&meta.key, WHOLE).await) })
        .buffer_unordered(READS_AT_ONCE);
    let (mut slots, mut member, mut recover) = (0, false, false);
    while let Some((meta, bytes)) = reads.next().await {
        interrupted(ctx)?;
        let name = meta.key.as_str();
        let bytes = match bytes {
            Ok(bytes) => bytes,
            // It may be gone because something else merged or ended it meanwhile.
            Err(error) if error.kind == holdfast_store::ErrorKind::NotFound => continue,
            Err(error) => {
                report.error(name, chain(&error));
                continue;
            }
        };
        let description = repository.description();
        match name::parse(name) {
            // Any that opens here will do: the first one may have been removed.
            Some(Place::KeySlot(id)) => slots += u64::from(read_slot(&bytes, description.id, id).is_ok()),
            Some(Place::Member(_, id)) => member |= id == description.member,
            Some(Place::Recover) => recover = true,
            _ => {}
        }
        repository.know_author(&bytes).await?;
        match check_object(repository, &view.root, name, &bytes) {
            Ok(None) if is_left_out(repository, view, name) => {
                report.notice(name, "is of a member that was removed: it does not count");
            }
            Ok(None) => {}
            Ok(Some(notice)) => report.notice(name, notice),
            Err(error) => {
                let what = match name::parse(name) {
                    Some(Place::End(session)) => repository.bad_end(&session, &bytes, &error).what,
                    _ => error.to_string(),
                };
                tell_unreadable(view, name, &what, report);
            }
        }
    }
    check_segments(ctx, repository, view, objects, report).await?;
    let description = repository.description();
    for (seen, name) in [
        (
            description.is_domain() || slots > 0 || has_slot(repository).await?,
            name::key_slot(description.key_slot),
        ),
        (member, name::member(0, description.member)),
        (recover, name::RECOVER.to_owned()),
    ] {
        if !seen {
            report.error(name, "is missing");
        }
    }
    for meta in objects.iter().filter(|meta| meta.key.as_str().starts_with("packs/")) {
        if name::parse(meta.key.as_str()).is_none() {
            report.notice(meta.key.as_str(), "has a name that no pack has; it does no harm");
        }
    }
    Ok(())
}

/// An object is damaged: an error, unless another one stands for it.
fn tell_unreadable(view: &View, object: &str, error: &str, report: &mut CheckReport) {
    if is_needless(view, object) {
        report.notice(object, format!("{error}; nothing needs it any more"));
    } else {
        report.error(object, error);
    }
}

/// Whether an object is of a session that does not count since its member is shut out.
fn is_left_out(repository: &Repository, view: &View, object: &str) -> bool {
    let Some(
        Place::Begin(session) | Place::Pins(session, _) | Place::End(session) | Place::Delta(session, _),
    ) = name::parse(object)
    else {
        return false;
    };
    u64::from(session.epoch) >= view.root.fence
        && repository.is_shut_out(session.member, &view.root)
        && !view.is_absorbed(&session)
}

/// Whether another object stands for one, so that nobody reads it any more.
fn is_needless(view: &View, object: &str) -> bool {
    let root = &view.root;
    let merged = |session: &SessionName| u64::from(session.epoch) < root.fence || view.is_absorbed(session);
    match name::parse(object) {
        Some(Place::Root(number)) => number < root.number,
        Some(Place::List(id)) => root.lists.iter().all(|row| row.id != id),
        Some(Place::SnapshotSegment(id)) => root.snapshots.iter().all(|row| row.id != id),
        Some(Place::IndexSegment(id)) => root.segments.iter().all(|row| row.id != id),
        Some(Place::Begin(session) | Place::Pins(session, _) | Place::Delta(session, _)) => merged(&session),
        Some(Place::End(session)) => view.lists.forgotten.contains(&session.session),
        _ => false,
    }
}

/// Looks for a slot once more: keys may be replaced between the listing and the reading, so the
/// listing has to stand still before all of them are called missing.
async fn has_slot(repository: &Repository) -> Result<bool> {
    let mut before = None;
    loop {
        let listed = list_all(&**repository.store(), "keys/").await?;
        for meta in &listed {
            let Some(Place::KeySlot(id)) = name::parse(meta.key.as_str()) else { continue };
            let bytes = repository.store().get(&meta.key, WHOLE).await;
            if bytes.is_ok_and(|bytes| read_slot(&bytes, repository.id(), id).is_ok()) {
                return Ok(true);
            }
        }
        if before.as_ref() == Some(&listed) {
            return Ok(false);
        }
        before = Some(listed);
    }
}

/// Checks one object; returns what is only worth knowing.
fn check_object(
    repository: &Repository,
    root: &Root,
    name: &str,
    bytes: &[u8],
) -> std::result::Result<Option<&'static str>, FormatError> {
    let parse = |object_type, id| repository.parse(bytes, object_type, id);
    let Some(place) = name::parse(name) else {
        let ours = Object::parse(bytes).is_ok_and(|object| object.header.repository == repository.id());
        return if ours {
            Err(FormatError::Misplaced("its name"))
        } else {
            Ok(Some("is nothing of holdfast's; it does no harm"))
        };
    };
    match place {
        Place::Repository => {
            let same = Description::decode(bytes)? == *repository.description();
            return if same { Ok(None) } else { Err(FormatError::Misplaced("what it says")) };
        }
        Place::Recover => {
            let same = hash(bytes) == repository.description().recover;
            return if same { Ok(None) } else { Err(FormatError::Checksum) };
        }
        Place::KeySlot(id) => {
            return check_leftover(bytes, repository, || read_slot(bytes, repository.id(), id).map(drop));
        }
        Place::Member(_, id) => {
            return check_leftover(bytes, repository, || parse(ObjectType::Member, id).map(drop));
        }
        Place::Root(number) => drop(repository.decode_root(number, bytes)?),
        Place::Begin(session) => {
            let object = repository.parse_of_session(bytes, ObjectType::Begin, &session.begin(), &session)?;
            Begin::decode(&object.header, object.body, &repository.k_ref_of(object.header.key_epoch)?)?;
        }
        Place::Pins(session, number) => {
            repository.decode_pins(&session, number, bytes)?;
        }
        Place::End(session) => {
            let end = repository.decode_end(&session, bytes)?;
            repository.refuse_late_abort(&session, end, root)?;
        }
        Place::Delta(session, number) => drop(repository.decode_delta(&session, number, bytes)?),
        Place::SnapshotSegment(id) => {
            let object = parse(ObjectType::SnapshotSegment, id)?;
            decode_snapshots(&object.header, object.body, &repository.k_ref_of(object.header.key_epoch)?)?;
        }
        Place::List(id) => {
            let object = parse(ObjectType::List, id)?;
            List::decode(&object.header, object.body, &repository.k_idx_of(object.header.key_epoch)?)?;
        }
        // Those are read elsewhere.
        Place::Pack(_) | Place::IndexSegment(_) | Place::Wal(_) | Place::Evidence(..) => {}
    }
    Ok(None)
}

/// A slot or member of another repository is what a lost race of two `init`s leaves.
fn check_leftover(
    bytes: &[u8],
    repository: &Repository,
    check: impl FnOnce() -> std::result::Result<(), FormatError>,
) -> std::result::Result<Option<&'static str>, FormatError> {
    let foreign = Object::parse(bytes)?.header.repository != repository.id();
    if foreign {
        Ok(Some("was left by an `init` that did not finish; it does no harm"))
    } else {
        check().map(|()| None)
    }
}

/// Compares the packs that the index names with those that there are.
fn check_packs(
    view: &View,
    packs: &HashMap<PackId, u64>,
    broken: &mut Broken,
    is_owner: &dyn Fn(MemberId) -> bool,
    report: &mut CheckReport,
) -> Result<()> {
    let mut unusable = Vec::new();
    let mut known_packs = view.index.packs();
    while let Some((number, known)) = known_packs.next()? {
        let wanted = known.row.size > 0 && known.state != PackState::Dead;
        if wanted && packs.get(&known.row.id) != Some(&known.row.size) {
            broken.packs.insert(number);
            unusable.push((number, known.row));
        }
    }
    let needed = broken.packs_that_are_needed(&view.index, is_owner)?;
    for (number, row) in unusable {
        match packs.get(&row.id) {
            None if view.lists.quarantined.contains(&row.id) => {
                report.notice(row.id.name(), "is missing, as a root states; files that need it are named");
            }
            None if needed.contains(&number) => {
                report.error(row.id.name(), format!("is missing, with {} chunks", row.chunks));
            }
            None => report.notice(row.id.name(), "is missing; all its chunks lie in other packs too, as its own member or an owner sealed them"),
            Some(size) => report.error(row.id.name(), format!("has {size} bytes instead of {}", row.size)),
        }
    }
    let mut listed: Vec<_> = packs.keys().collect();
    listed.sort_unstable();
    for id in listed {
        if view.index.row_of(id)?.is_none() {
            report.notice(
                id.name(),
                "is in no index: left by a run that was interrupted; the next backup uses it",
            );
        }
    }
    Ok(())
}

/// What the root names must be there; what is there is checked for itself.
fn check_root(view: &View, objects: &[ObjectMeta], report: &mut CheckReport) {
    let names: HashSet<&str> = objects.iter().map(|meta| meta.key.as_str()).collect();
    let root = &view.root;
    let segments = root.segments.iter().map(|row| name::index_segment(row.id));
    let snapshots = root.snapshots.iter().map(|row| name::snapshot_segment(row.id));
    let lists = root.lists.iter().map(|row| name::list(row.id));
    for name in segments.chain(snapshots).chain(lists).filter(|name| !names.contains(name.as_str())) {
        report.error(name, "is missing");
    }
}

fn check_sessions(view: &View, objects: &[ObjectMeta], report: &mut CheckReport) {
    let names: HashSet<&str> = objects.iter().map(|meta| meta.key.as_str()).collect();
    for seen in view.sessions.values() {
        if !seen.begun && !view.is_absorbed(&seen.name) {
            report.error(seen.name.begin(), "is missing");
        }
        if !seen.ended {
            let what = "is open: a backup that runs now, or one that was interrupted (the next backup uses what it left)";
            report.notice(format!("session {}", seen.name.session), what);
        }
        if let Some((_, End::Commit(commit))) = &seen.end {
            let deltas = (0..commit.objects.deltas).map(|number| seen.name.delta(number));
            let pins = (0..commit.objects.pins).map(|number| seen.name.pins(number));
            let merged = u64::from(seen.name.epoch) < view.root.fence;
            for name in deltas.chain(pins).filter(|name| !merged && !names.contains(name.as_str())) {
                report.error(name, "is missing");
            }
        }
    }
}

/// A parent that nobody forgot must be there.
fn check_parents(view: &View, snapshots: &[Snapshot], report: &mut CheckReport) {
    // One whose place another took is there as well.
    let known = view.committed();
    for snapshot in snapshots {
        if let Some(parent) = snapshot.summary.parent.filter(|_| view.root.number == 0)
            && !known.contains_key(&parent)
        {
            let what = format!("snapshot {parent}, which it was compared with, is missing");
            report.error(format!("snapshot {}", snapshot.id), what);
        }
    }
}
