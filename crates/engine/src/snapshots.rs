//! Finds snapshots: lists, resolves what a person types, shows what is in one.
//!
//! On purpose not here: how they are shown.

use crate::civil::{DAY, date_of};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::paths::Scope;
use crate::reader::Reader;
use crate::repository::{Repository, get_optional};
use crate::restore::chain;
use crate::rights::Right;
use crate::tree::{Held, Pending, Step, TreeWalk};
use crate::view::View;
use holdfast_core::entry::{Entry, Time};
use holdfast_core::id::{ChunkId, MemberId, SessionId, StreamId};
use holdfast_core::name::{PackClass, SessionName};
use holdfast_core::session::{Details, End, SaidBy, Summary};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A snapshot that ends so much later than now was made by a clock that was wrong, or this one is.
pub const AHEAD_SECONDS_MAX: i64 = DAY;

/// Whether a time lies so far in the future that some clock is wrong.
pub(crate) const fn is_ahead(time: Time, now: Time) -> bool {
    time.seconds > now.seconds.saturating_add(AHEAD_SECONDS_MAX)
}

/// A committed snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Names it.
    pub id: SessionId,
    /// Who committed it.
    pub member: MemberId,
    /// Number of the root that its session began with.
    pub epoch: u64,
    /// What every member may see of it.
    pub summary: Summary,
}

impl Snapshot {
    /// Whether it lies more than a day in the future: then it is not the newest of anything. Less
    /// than that is what time zones are taken for, and passes by itself.
    #[must_use]
    pub const fn is_ahead(&self, now: Time) -> bool {
        is_ahead(self.summary.end, now)
    }

    /// Whose words it is; none if an owner's. Who takes another's snapshot over, in a copy or with other
    /// tags, signs what that one said; that it was said by somebody else is believed of owners alone.
    pub(crate) fn author(&self, signer_is_owner: bool) -> Option<MemberId> {
        if signer_is_owner { self.summary.said_by.map(|said| said.member) } else { Some(self.member) }
    }

    pub(crate) fn name(&self) -> SessionName {
        SessionName { epoch: self.epoch as u32, member: self.member, session: self.id }
    }
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Of one of these hosts; empty for any.
    pub hosts: Vec<String>,
    /// With all tags of one of these lists; empty for any.
    pub tags: Vec<Vec<String>>,
    /// Of sources that include all of these paths.
    pub paths: Vec<Vec<u8>>,
    /// Of the source with this name.
    pub source: Option<String>,
}

impl SnapshotFilter {
    pub(crate) fn matches(&self, summary: &Summary) -> bool {
        let host = self.hosts.is_empty() || self.hosts.contains(&summary.host);
        let tags = self.tags.is_empty()
            || self.tags.iter().any(|all| all.iter().all(|tag| summary.tags.contains(tag)));
        let paths = self.paths.iter().all(|path| summary.paths.contains(path));
        host && tags && paths && self.source.as_ref().is_none_or(|source| *source == summary.label)
    }
}

/// What a person meant.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// A newer one of the same source that is incomplete and was passed over for it.
    pub passed_over: Option<Snapshot>,
    /// The last of the same source by its own time, if that lies in the future: it was passed over.
    pub ahead: Option<Snapshot>,
    /// The newest whole one of the same source, if it is newer and does not hold the path.
    pub without_path: Option<Snapshot>,
    /// The one that was named, if this one took its place.
    pub instead_of: Option<SessionId>,
}

impl View {
    /// All that were committed and not forgotten, those that others took the place of included.
    pub(crate) fn committed(&self) -> BTreeMap<SessionId, Snapshot> {
        let mut found: BTreeMap<SessionId, Snapshot> = self
            .catalogued
            .iter()
            .map(|row| {
                let summary = row.summary.clone();
                (row.session, Snapshot { id: row.session, member: row.member, epoch: row.epoch, summary })
            })
            .collect();
        for seen in self.sessions.values() {
            if let Some((header, End::Commit(commit))) = &seen.end
                && u64::from(seen.name.epoch) >= self.root.fence
            {
                let (id, member) = (seen.name.session, seen.name.member);
                let snapshot = Snapshot { id, member, epoch: header.epoch, summary: commit.summary.clone() };
                found.entry(id).or_insert(snapshot);
            }
        }
        found
    }

    /// All snapshots that count, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let found = self.committed();
        let superseded: HashSet<_> = found
            .values()
            .flat_map(|by| by.summary.supersedes.iter().map(move |id| (by, *id)))
            .filter(|(by, id)| found.get(id).is_some_and(|old| self.may_supersede(by, old)))
            .map(|(_, id)| id)
            .collect();
        let hidden = |id: &SessionId| superseded.contains(id) || self.lists.forgotten.contains(id);
        let mut snapshots: Vec<_> = found.into_values().filter(|snapshot| !hidden(&snapshot.id)).collect();
        snapshots.sort_by_key(|snapshot| (snapshot.summary.end, snapshot.id));
        snapshots
    }

    /// A snapshot takes the place of one of its own stream, by its own member; by any, if it is an owner's.
    fn may_supersede(&self, by: &Snapshot, old: &Snapshot) -> bool {
        self.may_tell(by.member, old.member) && by.id != old.id && by.summary.stream == old.summary.stream
    }

    /// What a snapshot took the place of and may; of what is gone only an owner's word counts.
    pub(crate) fn replaced_by(
        &self,
        by: &Snapshot,
        committed: &BTreeMap<SessionId, Snapshot>,
    ) -> Vec<SessionId> {
        let may = |id: &&SessionId| match committed.get(id) {
            Some(old) => self.may_supersede(by, old),
            None => self.owners.contains(&by.member),
        };
        by.summary.supersedes.iter().filter(may).copied().collect()
    }

    /// Whose words somebody passes on who takes a snapshot over; none if an owner's.
    pub(crate) fn said_by(&self, snapshot: &Snapshot, is_owners: bool, now: Time) -> Option<SaidBy> {
        if is_owners {
            return snapshot.summary.said_by;
        }
        let row = self.catalogued.iter().find(|row| row.session == snapshot.id);
        Some(SaidBy { member: snapshot.member, received: row.map_or(now, |row| row.received) })
    }

    /// What counts in the place of a snapshot: itself, or what took its place; several, if that was
    /// done at once.
    pub(crate) fn current<'a>(&self, shown: &'a [Snapshot], id: SessionId) -> Vec<&'a Snapshot> {
        if let Some(itself) = shown.iter().find(|snapshot| snapshot.id == id) {
            return vec![itself];
        }
        let committed = self.committed();
        let Some(old) = committed.get(&id).filter(|old| !self.lists.forgotten.contains(&old.id)) else {
            return Vec::new();
        };
        let took_its_place =
            |by: &&Snapshot| by.summary.supersedes.contains(&id) && self.may_supersede(by, old);
        shown.iter().filter(took_its_place).collect()
    }
}

/// Lists snapshots, oldest first. What cannot be read is a problem.
///
/// # Errors
/// The repository cannot be read.
pub async fn snapshots(
    _ctx: &Ctx,
    repository: &Repository,
    filter: &SnapshotFilter,
) -> Result<Outcome<Vec<Snapshot>>> {
    let view = repository.view().await?;
    let mut problems = Problems::default();
    for damage in view.damage.iter().filter(|damage| damage.object.starts_with('s')) {
        let what = damage.what.clone();
        problems.problem(Problem {
            path: damage.object.clone().into_bytes(),
            kind: ProblemKind::Damaged,
            what,
        });
    }
    let mut found = view.snapshots();
    found.retain(|snapshot| filter.matches(&snapshot.summary));
    Ok(Outcome { value: found, problems })
}

/// Finds the snapshot that `text` means: an id, the beginning of one, or `latest`, which means
/// the newest whole snapshot of the one source that matches the filter and contains `path`.
///
/// # Errors
/// There is none, or there are several; then the message lists them.
pub async fn resolve(
    ctx: &Ctx,
    repository: &Repository,
    text: &str,
    path: &[u8],
    filter: &SnapshotFilter,
) -> Result<Resolved> {
    let view = repository.view().await?;
    let mut found = view.snapshots();
    if text != "latest" {
        return resolve_id(&view, &found, text);
    }
    for damage in view.damage.iter().filter(|damage| damage.object.starts_with('s')) {
        let what = format!(
            "a snapshot's record is damaged ({}): `latest` may be older than you think",
            damage.object
        );
        ctx.monitor.on(&Event::Warning(&what));
    }
    found.retain(|snapshot| filter.matches(&snapshot.summary));
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("no snapshot in {} matches", repository.location()),
        ));
    }
    // Without a path no tree is looked into.
    let reader =
        if path.is_empty() { Reader::of_refs(repository, view) } else { Reader::new(repository, view) }?;
    let (of_removed, found): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|snapshot| repository.is_of_removed(snapshot));
    let (mut lookup, mut damage) = (Lookup::new(&reader, path), None);
    let mut candidates = newest_of_streams(ctx, repository, &mut lookup, found, &mut damage).await?;
    // Whoever was removed may have been false: what it left is for where nobody else has any.
    if candidates.is_empty() && !of_removed.is_empty() {
        candidates = newest_of_streams(ctx, repository, &mut lookup, of_removed, &mut damage).await?;
        for found in &candidates {
            let what = format!(
                "only {}, which was removed, has backed this up: see that it was not removed for what it stored",
                repository.name_of(repository.author_of(&found.snapshot).unwrap_or(found.snapshot.member))
            );
            ctx.monitor.on(&Event::Warning(&what));
        }
    }
    match (candidates.len(), damage) {
        (0, Some(error)) => Err(error),
        (0, None) => Err(Error::new(
            ErrorKind::NotFound,
            format!("no snapshot that matches contains {}", String::from_utf8_lossy(path)),
        )),
        (1, _) => Ok(candidates.remove(0)),
        _ => Err(ambiguous("latest", candidates.iter().map(|candidate| &candidate.snapshot))),
    }
}

/// Finds what `latest` means in each stream of some snapshots, and for each who may mean it.
async fn newest_of_streams(
    ctx: &Ctx,
    repository: &Repository,
    lookup: &mut Lookup<'_>,
    snapshots: Vec<Snapshot>,
    damage: &mut Option<Error>,
) -> Result<Vec<Resolved>> {
    let mut streams: BTreeMap<StreamId, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        streams.entry(snapshot.summary.stream).or_default().push(snapshot);
    }
    let mut candidates: Vec<Resolved> = Vec::new();
    for snapshots in streams.into_values() {
        for of_side in sides(ctx, repository, snapshots) {
            let found = newest_with(ctx, lookup, of_side, damage).await?;
            let is_new =
                |found: &Resolved| candidates.iter().all(|known| known.snapshot.id != found.snapshot.id);
            candidates.extend(found.filter(is_new));
        }
    }
    Ok(candidates)
}

/// Parts the snapshots of a stream by who may mean them: every writer can write in any host's name. One
/// writer beside owners is what a fleet looks like; of several each has its own newest, and nobody
/// but a person can tell which is meant.
fn sides(ctx: &Ctx, repository: &Repository, snapshots: Vec<Snapshot>) -> Vec<Vec<Snapshot>> {
    let author = |snapshot: &Snapshot| repository.author_of(snapshot);
    let is_owner = |snapshot: &Snapshot| author(snapshot).is_none();
    let writers: BTreeSet<MemberId> = snapshots.iter().filter_map(author).collect();
    if writers.len() < 2 {
        let newest = snapshots.last().filter(|newest| !is_owner(newest) && snapshots.iter().any(is_owner));
        if let Some(newest) = newest {
            let what = format!(
                "the newest snapshot of {} on {} is of {}, and earlier ones are an owner's: if that host \
                 did not get a key of its own, it is false",
                newest.summary.label,
                newest.summary.host,
                repository.name_of(author(newest).unwrap_or(newest.member))
            );
            ctx.monitor.on(&Event::Warning(&what));
        }
        return vec![snapshots];
    }
    let of = |writer: &MemberId| {
        let is_of = |snapshot: &&Snapshot| author(snapshot).is_none_or(|author| author == *writer);
        snapshots.iter().filter(is_of).cloned().collect()
    };
    writers.iter().map(of).collect()
}

/// Finds what `latest` means in one stream, whose snapshots come oldest first: the newest whole
/// one that contains the path; if there is none, the newest incomplete one that does. One that
/// cannot be looked into is passed over aloud; one that lies in the future is taken if no other is
/// whole, as it may be this clock that is wrong.
async fn newest_with(
    ctx: &Ctx,
    lookup: &mut Lookup<'_>,
    snapshots: Vec<Snapshot>,
    damage: &mut Option<Error>,
) -> Result<Option<Resolved>> {
    let (mut incomplete, mut passed_over, mut without_path) = (None, None, None);
    let now = ctx.clock.now();
    let (in_future, till_now): (Vec<_>, Vec<_>) =
        snapshots.into_iter().partition(|snapshot| snapshot.is_ahead(now));
    let ahead = in_future.last().cloned();
    for snapshot in in_future.into_iter().chain(till_now).rev() {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        if snapshot.summary.incomplete {
            passed_over.get_or_insert_with(|| snapshot.clone());
            // Only worth a look while no better one is known.
            if incomplete.is_none() && lookup.contains(ctx, &snapshot, damage).await {
                incomplete = Some(snapshot);
            }
        } else if lookup.contains(ctx, &snapshot, damage).await {
            return Ok(Some(Resolved { snapshot, passed_over, ahead, without_path, instead_of: None }));
        } else {
            without_path.get_or_insert(snapshot);
        }
    }
    let newer = |other: &Snapshot, chosen: &Snapshot| other.summary.end > chosen.summary.end;
    Ok(incomplete.map(|snapshot| Resolved {
        passed_over: passed_over.filter(|other| other.id != snapshot.id && newer(other, &snapshot)),
        ahead,
        without_path: without_path.filter(|other| newer(other, &snapshot)),
        instead_of: None,
        snapshot,
    }))
}

fn resolve_id(view: &View, shown: &[Snapshot], text: &str) -> Result<Resolved> {
    let named: Vec<SessionId> =
        view.committed().into_keys().filter(|id| id.to_string().starts_with(text)).collect();
    let meant: BTreeMap<SessionId, (&Snapshot, SessionId)> = named
        .iter()
        .flat_map(|id| view.current(shown, *id).into_iter().map(|snapshot| (snapshot.id, (snapshot, *id))))
        .collect();
    let mut meant = meant.into_values();
    match (meant.next(), meant.next()) {
        (None, _) => Err(Error::new(ErrorKind::NotFound, format!("there is no snapshot {text}"))),
        (Some((snapshot, named)), None) if !text.is_empty() => {
            // Both may begin with the text; then the one that counts was named.
            let itself = named == snapshot.id || snapshot.id.to_string().starts_with(text);
            let instead_of = (!itself).then_some(named);
            let snapshot = snapshot.clone();
            Ok(Resolved { snapshot, passed_over: None, ahead: None, without_path: None, instead_of })
        }
        (first, second) => {
            let all = first.into_iter().chain(second).chain(meant);
            Err(ambiguous(text, all.map(|(snapshot, _)| snapshot)))
        }
    }
}

fn ambiguous<'a>(text: &str, candidates: impl Iterator<Item = &'a Snapshot>) -> Error {
    let mut what = format!("`{text}` could mean several snapshots:");
    for snapshot in candidates {
        let summary = &snapshot.summary;
        let id = &snapshot.id.to_string()[..8];
        what += &format!("\n  {id}  {}  host {}  {}", utc(summary.end), summary.host, summary.label);
    }
    Error::new(ErrorKind::Ambiguous, what)
}

/// An instant as `2026-11-22T02:41:07Z`. (Days to date: Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms", `civil_from_days`.)
pub(crate) fn utc(time: Time) -> String {
    let second = time.seconds.rem_euclid(DAY);
    let (year, month, day) = date_of(time.seconds.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Tells which snapshots contain a path. Pages that were found not to lead there are not read
/// again, so that a long row of snapshots costs little.
pub(crate) struct Lookup<'a> {
    reader: &'a Reader,
    path: Vec<u8>,
    absent: HashSet<ChunkId>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(reader: &'a Reader, path: &[u8]) -> Self {
        Self { reader, path: path.to_vec(), absent: HashSet::new() }
    }

    /// Damage is told, kept, and counts as not containing the path.
    async fn contains(&mut self, ctx: &Ctx, snapshot: &Snapshot, damage: &mut Option<Error>) -> bool {
        match self.look(&snapshot.summary).await {
            Ok(found) => found,
            Err(error) => {
                let id = &snapshot.id.to_string()[..8];
                let what = format!(
                    "snapshot {id} of {} is damaged where {} would be ({}): it is passed over for `latest`",
                    utc(snapshot.summary.end),
                    String::from_utf8_lossy(&self.path),
                    chain(&error)
                );
                ctx.monitor.on(&Event::Warning(&what));
                damage.get_or_insert(error);
                false
            }
        }
    }

    pub(crate) async fn look(&mut self, summary: &Summary) -> Result<bool> {
        let scope = Scope::new(summary.space, &self.path);
        if scope.is_everything() {
            return Ok(true);
        }
        if scope.is_opaque() {
            return self.look_for_any(summary.root, &scope).await;
        }
        self.look_for(summary.root, scope.key()).await
    }

    /// Looks for the very key: in trees of files each path has its entry.
    async fn look_for(&mut self, root: ChunkId, key: &[u8]) -> Result<bool> {
        let (mut pending, mut way) = (Pending::root(root), Vec::new());
        let found = loop {
            if self.absent.contains(&pending.id) {
                break false;
            }
            way.push(pending.id);
            match pending.open(self.reader.page(&pending.id).await?)? {
                Held::Entries(entries) => {
                    break entries.binary_search_by(|entry| entry.key.as_slice().cmp(key)).is_ok();
                }
                Held::Pages(below) => match below.into_iter().rfind(|page| page.from.as_slice() <= key) {
                    Some(next) => pending = next,
                    None => break false,
                },
            }
        };
        if !found {
            self.absent.extend(way);
        }
        Ok(found)
    }

    /// Looks for a key that a path of a bucket holds: the first that is not smaller tells, of those
    /// that begin with it, and of those below it.
    async fn look_for_any(&self, root: ChunkId, scope: &Scope) -> Result<bool> {
        for from in [scope.from(), [scope.key(), b"/"].concat()] {
            let first = self.first_from(root, &from).await?;
            if first.is_some_and(|key| scope.holds(&key)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn first_from(&self, root: ChunkId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut pending = Pending::root(root);
        loop {
            match pending.open(self.reader.page(&pending.id).await?)? {
                Held::Entries(entries) => {
                    let first =
                        entries.into_iter().map(|entry| entry.key).find(|found| found.as_slice() >= key);
                    // The end of a page is the first key of the next.
                    return Ok(first.or(pending.to));
                }
                Held::Pages(below) => {
                    let at = below.iter().rposition(|page| page.from.as_slice() <= key).unwrap_or_default();
                    match below.into_iter().nth(at) {
                        Some(next) => pending = next,
                        None => return Ok(pending.to),
                    }
                }
            }
        }
    }
}

/// Reads what only readers may see of a snapshot.
///
/// # Errors
/// It is damaged, or the key does not allow reading.
pub async fn details(_ctx: &Ctx, repository: &Repository, snapshot: &Snapshot) -> Result<Details> {
    repository.require(Right::Read)?;
    let name = snapshot.name();
    let missing = || Error::new(ErrorKind::Damaged, format!("{} is missing", name.end()));
    let bytes = get_optional(&**repository.store(), &name.end()).await?.ok_or_else(missing)?;
    let (header, end) =
        repository.decode_end(&name, &bytes).map_err(|error| Error::format(&name.end(), error))?;
    let End::Commit(commit) = end else { return Err(missing()) };
    repository
        .opener()
        .session_secret(&commit.session, PackClass::Tree)
        .and_then(|secret| commit.open_details(&header, &secret))
        .map_err(|error| Error::format(&name.end(), error))
}

/// Calls `visit` for the entry at `path` and what lies below it, in key order: everything if
/// `recursive`, else only direct children. A bucket has no folders: there it is always everything.
///
/// # Errors
/// The path does not exist in the snapshot, or a part of the tree is damaged; what could be read
/// was visited.
pub async fn list(
    _ctx: &Ctx,
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    recursive: bool,
    visit: &mut (dyn FnMut(&Entry) + Send),
) -> Result<()> {
    let reader = Reader::new(repository, repository.view().await?)?;
    repository.require_signed(snapshot).await?;
    let scope = Scope::new(snapshot.summary.space, path);
    let mut walk = TreeWalk::below(&reader, snapshot.summary.root, &scope);
    let (mut seen, mut damage) = (scope.is_everything(), None);
    let recursive = recursive || scope.is_opaque();
    let depth_max = if scope.is_everything() { 0 } else { depth(scope.key()) + 1 };
    while let Some(step) = walk.next().await {
        match step {
            Step::Entries(entries) => {
                seen |= entries.first().is_some_and(|entry| scope.is_opaque() || entry.key == scope.key());
                entries
                    .iter()
                    .filter(|entry| recursive || depth(&entry.key) <= depth_max)
                    .for_each(&mut *visit);
            }
            Step::Damaged { error, .. } => damage = Some(error),
        }
    }
    match damage {
        Some(error) => Err(error),
        None if seen => Ok(()),
        None => Err(not_in_snapshot(snapshot, path)),
    }
}

pub(crate) fn not_in_snapshot(snapshot: &Snapshot, path: &[u8]) -> Error {
    let (path, id) = (String::from_utf8_lossy(path), &snapshot.id.to_string()[..8]);
    Error::new(ErrorKind::NotFound, format!("snapshot {id} does not contain {path}"))
}

fn depth(key: &[u8]) -> usize {
    key.iter().filter(|&&byte| byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_people_know_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc(Time { seconds, nanos: 0 }), text);
        }
    }
}
