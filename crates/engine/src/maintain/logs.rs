//! How much of databases' logs is kept, and the end of the rest.
//!
//! A log is kept from the start of the oldest snapshot on that can use it, or, if only a span of
//! time is wanted, of the newest that lies before that span; ranges that older snapshots were made
//! over stay too. The floor of each timeline is in a root before anything below it is deleted, and
//! never goes down. Time is when a maintainer first saw a snapshot: clocks of writers say nothing. Of
//! a database that no snapshot is of, all stays but what goes for its age ([`super::log_age`]). On purpose not
//! here: what a snapshot needs, which the source of it says.

use super::clock::{believed_now, require_clock};
use super::hold::refuse_if_held;
use super::log_age::{Ages, LogDeadline, LogExpiring, Sight, undate};
use super::mark::names;
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer, too_busy};
use super::sweep::delete;
use crate::ctx::Ctx;
use crate::cutoffs::next_cutoffs;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::repository::{Repository, object_key};
use crate::rights::Right;
use crate::snapshots::{Snapshot, details};
use crate::view::View;
use crate::wal::{LogCut, SegmentName, WalArchive, WalListed};
use holdfast_core::dated::DatedLogs;
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::root::{Root, WalFloor};
use holdfast_core::session::LogSpan;
use std::collections::{BTreeMap, BTreeSet};

/// What a snapshot needs of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogNeed {
    /// Of which database.
    pub system: u64,
    /// The segment that it begins in.
    pub first: SegmentName,
    /// The segment that it ends in.
    pub last: SegmentName,
    /// Length of a segment.
    pub segment_bytes: u64,
}

impl From<LogSpan> for LogNeed {
    fn from(span: LogSpan) -> Self {
        let LogSpan { system, timeline, first, last, segment_bytes } = span;
        let segment = |place| SegmentName { timeline, place };
        Self { system, first: segment(first), last: segment(last), segment_bytes }
    }
}

/// Which snapshots need a log, and what.
#[derive(Debug, Clone, Copy)]
pub struct LogUsers {
    /// Kind of their source.
    pub kind: &'static str,
    /// Reads what the source recorded, of snapshots whose summary does not say it; `None` if it cannot be
    /// understood.
    pub need: fn(&[u8]) -> Option<LogNeed>,
}

/// How much of logs to keep.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Who needs them.
    pub users: LogUsers,
    /// Keep what leads to any moment of so many seconds until now; `None` for what any snapshot leads
    /// to.
    pub keep_seconds: Option<u64>,
    /// What goes for its age, whatever snapshots need; `None` if nothing does.
    pub delete_after: Option<LogDeadline>,
    /// Snapshots that are gone: a prune has dropped them, or one that was only tried would have.
    pub gone: BTreeSet<SessionId>,
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// What became of logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Objects of logs that stay.
    pub kept_objects: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Objects that were deleted.
    pub freed_objects: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Databases whose log stays whole, and why.
    pub untouched: Vec<(u64, String)>,
    /// Databases that no snapshot is left of, and of whose log nothing will be left soon.
    pub expiring: Vec<LogExpiring>,
    /// Databases of whose log something stays though it is over its time, and why.
    pub overdue: Vec<(u64, String)>,
}

/// Deletes what is not kept of logs.
///
/// # Errors
/// The key does not allow it, a hold stands against it, or the repository cannot be read or written.
pub async fn prune_logs(ctx: &Ctx, repository: &Repository, options: &LogOptions) -> Result<LogReport> {
    require_maintainer(repository)?;
    let archive = WalArchive::new(ctx, repository);
    // Before the snapshots: log that comes later is not judged.
    let all = archive.all("wal/").await?;
    if all.is_empty() && is_idle(repository).await? {
        return Ok(LogReport::default());
    }
    ctx.monitor.on(&Event::Phase("looking which log is needed"));
    let Decided { floors, ages, listed, late } = decided(ctx, repository, options, &archive, all).await?;
    let mut doomed = doomed(&archive, &floors, &ages, &listed).await?;
    let bytes = |listed: &[&WalListed]| listed.iter().map(|listed| listed.stored_bytes).sum::<u64>();
    let mut report = LogReport {
        kept_objects: (listed.len() - doomed.len()) as u64,
        kept_bytes: bytes(&listed.iter().collect::<Vec<_>>()) - bytes(&doomed),
        untouched: floors.untouched.clone(),
        expiring: ages.expiring.clone(),
        overdue: ages.kept.clone(),
        ..LogReport::default()
    };
    // What does not count for another reason goes with what lies below the floor.
    doomed.extend(late.iter().filter(|late| {
        let segment = late.name.kind().and_then(|kind| kind.segment());
        segment.is_some_and(|segment| is_given_up(&floors.rows, late, segment))
    }));
    report.freed_objects = doomed.len() as u64;
    report.freed_bytes = bytes(&doomed);
    if !options.dry_run {
        let keys = doomed.iter().map(|listed| object_key(listed.name.object())).collect();
        delete(ctx, repository, keys).await?;
        undate(ctx, repository, &ages.going).await?;
    }
    Ok(report)
}

/// Whether nothing is to be said of logs where there are none.
async fn is_idle(repository: &Repository) -> Result<bool> {
    let nobody = repository.standing().members.all_removed().is_empty();
    Ok(nobody && repository.newest_root().await?.dated == DatedLogs::default())
}

/// What is in force.
struct Decided {
    floors: Floors,
    ages: Ages,
    /// What is there and counts.
    listed: Vec<WalListed>,
    /// What does not count.
    late: Vec<WalListed>,
}

/// Puts in force what is kept of all that there is; what counts of it, and what does not.
async fn decided(
    ctx: &Ctx,
    repository: &Repository,
    options: &LogOptions,
    archive: &WalArchive,
    all: Vec<WalListed>,
) -> Result<Decided> {
    for _ in 0..ATTEMPTS_MAX {
        let view = repository.view().await?;
        let root = &view.root;
        require_clock(ctx, root)?;
        refuse_if_held(ctx, root)?;
        repository.require_known_features()?;
        let (listed, late) = archive.sort_out(&LogCut::of(repository, root), all.clone()).await?;
        let users = users(ctx, repository, &view, options, &listed).await?;
        let mut floors = Floors::of(ctx, repository, &view, options, (users.as_deref(), &listed));
        let ages = ages(ctx, repository, root, options, (users.as_deref().ok(), &floors, &listed));
        floors.say_what_goes(&ages, options);
        let cutoffs = next_cutoffs(repository, root, root.members.0, &listed).await?;
        let is_said = floors.rows == root.wal && cutoffs == root.cutoffs && ages.dated == root.dated;
        if options.dry_run || is_said {
            return Ok(Decided { floors, ages, listed, late });
        }
        let mut draft = Draft::after(ctx, repository, root, view.root_hash);
        draft.root.wal.clone_from(&floors.rows);
        draft.root.cutoffs = cutoffs;
        draft.root.dated.clone_from(&ages.dated);
        if draft.publish().await? == Published::Yes {
            return Ok(Decided { floors, ages, listed, late });
        }
    }
    Err(too_busy())
}

/// How old what stays by the rules of snapshots is.
fn ages(
    ctx: &Ctx,
    repository: &Repository,
    root: &Root,
    options: &LogOptions,
    (users, floors, listed): (Option<&[User]>, &Floors, &[WalListed]),
) -> Ages {
    let now = ctx.clock.now();
    let sight = Sight {
        repository,
        root,
        deadline: options.delete_after.as_ref(),
        users,
        holds: root.holds.iter().filter(|hold| hold.stands(now)).collect(),
        now,
    };
    let stays = |listed: &&WalListed| {
        let segment = listed.name.kind().and_then(|kind| kind.segment());
        segment.is_some_and(|segment| !is_given_up(&floors.rows, listed, segment))
    };
    Ages::of(&sight, &listed.iter().filter(stays).collect::<Vec<_>>())
}

/// A snapshot that can use a log.
pub(super) struct User {
    pub(super) snapshot: Snapshot,
    pub(super) need: LogNeed,
    /// When a maintainer first saw it; `None` if none did yet.
    pub(super) received: Option<Time>,
    /// Whether a recovery may begin with it: it is shown, and whole.
    is_base: bool,
    /// Whether the segment lies there that it begins in.
    has_log: bool,
    /// Whose words it is; none if an owner's.
    pub(super) author: Option<MemberId>,
}

/// The floors of all timelines.
#[derive(Default)]
struct Floors {
    rows: Vec<WalFloor>,
    untouched: Vec<(u64, String)>,
}

impl Floors {
    fn of(
        ctx: &Ctx,
        repository: &Repository,
        view: &View,
        options: &LogOptions,
        (users, listed): (std::result::Result<&[User], &String>, &[WalListed]),
    ) -> Self {
        let mut floors = Self::default();
        let systems: BTreeSet<u64> = listed.iter().map(|listed| listed.name.timeline.system).collect();
        for system in systems {
            let timelines: BTreeSet<_> = listed
                .iter()
                .map(|listed| listed.name.timeline)
                .filter(|found| found.system == system)
                .collect();
            let decided = match users {
                Err(why) => Err(why.clone()),
                Ok(users) => {
                    let own: Vec<_> = users.iter().filter(|user| user.need.system == system).collect();
                    let numbers: BTreeSet<u32> = timelines.iter().map(|timeline| timeline.number).collect();
                    decide(ctx, repository, view, options, &own, numbers.len() < timelines.len())
                }
            };
            if let Err(why) = &decided {
                floors.untouched.push((system, why.clone()));
            }
            for timeline in timelines {
                let name = format!("{system:016x}/{timeline}");
                let old = view.root.wal.iter().find(|row| row.timeline == name).cloned();
                // A floor never goes down: what lay below it may be gone.
                let least =
                    old.as_ref().and_then(|row| SegmentName::parse(&row.floor)).map_or(0, |name| name.place);
                let new = decided.as_ref().ok().filter(|_| !is_new(timeline.number, users.ok(), system));
                let new = new.map(|(floor, ranges)| row(&name, timeline.number, least.max(*floor), ranges));
                floors.rows.extend(new.or(old));
            }
        }
        floors
    }

    /// Where all stays by the rules of snapshots, what is over its time goes all the same.
    fn say_what_goes(&mut self, ages: &Ages, options: &LogOptions) {
        let Some(deadline) = &options.delete_after else { return };
        for (_, why) in self.untouched.iter_mut().filter(|(system, _)| ages.subject.contains(system)) {
            *why = format!("{why} (but what is older than {})", deadline.span);
        }
    }
}

/// All snapshots that can use a log, those included that were forgotten and may be brought back;
/// or why of one it cannot be told.
async fn users(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    options: &LogOptions,
    listed: &[WalListed],
) -> Result<std::result::Result<Vec<User>, String>> {
    let users = &options.users;
    let segment = |listed: &WalListed| {
        Some((listed.name.timeline.system, listed.name.kind().and_then(|kind| kind.segment())?))
    };
    let segments: BTreeSet<_> = listed.iter().filter_map(segment).collect();
    if let Some(damage) = view.damage.iter().find(|damage| damage.object.starts_with('s')) {
        return Ok(Err(format!("what {} needs nobody can tell: {}", damage.object, damage.what)));
    }
    let shown: BTreeSet<SessionId> = view.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
    let received: BTreeMap<SessionId, Time> =
        view.catalogued.iter().map(|row| (row.session, row.received)).collect();
    let mut found = Vec::new();
    let counts =
        |snapshot: &&Snapshot| snapshot.summary.kind == users.kind && !options.gone.contains(&snapshot.id);
    for snapshot in view.committed().values().filter(counts) {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let need = match snapshot.summary.log {
            Some(span) => Some(span.into()),
            None if !repository.may(Right::Read) => None,
            None => details(ctx, repository, snapshot)
                .await
                .ok()
                .and_then(|told| (users.need)(&told.source_record)),
        };
        let Some(need) = need else { return Ok(Err(untold(repository, snapshot))) };
        found.push(User {
            has_log: segments.contains(&(need.system, need.first)),
            author: repository.author_of(snapshot),
            need,
            received: received.get(&snapshot.id).copied(),
            is_base: shown.contains(&snapshot.id) && !snapshot.summary.incomplete,
            snapshot: snapshot.clone(),
        });
    }
    Ok(Ok(found))
}

/// A snapshot, and whose it is: it may keep logs of others for as long as it is there.
pub(super) fn named(repository: &Repository, snapshot: &Snapshot) -> String {
    let member = repository.author_of(snapshot).unwrap_or(snapshot.member);
    format!("snapshot {} of {}", &snapshot.id.to_string()[..8], repository.name_of(member))
}

/// Why it is not known what a snapshot needs, and what to do. It may be any database's.
fn untold(repository: &Repository, snapshot: &Snapshot) -> String {
    let named = named(repository, snapshot);
    if repository.may(Right::Read) {
        return format!(
            "what {named} needs of it nobody can tell; forget it, and if that host was broken into, remove its key"
        );
    }
    format!(
        "what {named} needs of it only a key that can read may tell, as of snapshots of earlier versions: prune \
         with an owner's key, or forget it"
    )
}

/// Ranges of places.
type Ranges = Vec<(u64, u64)>;

/// The first place that is kept of a database's log, and the ranges that snapshots were made over; or
/// why all of it stays. Where `several` timelines have one number a snapshot does not say which one is
/// meant: then a span of time is not cut.
fn decide(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    options: &LogOptions,
    users: &[&User],
    several: bool,
) -> std::result::Result<(u64, Ranges), String> {
    let Some(oldest) = users.iter().map(|user| user.need.first.place).min() else {
        return Err("no snapshot is of this database".into());
    };
    if let Some(other) = users.iter().find(|user| user.need.segment_bytes != users[0].need.segment_bytes) {
        let [one, other] = [users[0], other].map(|user| {
            format!("{} says {} bytes", named(repository, &user.snapshot), user.need.segment_bytes)
        });
        return Err(format!("its segments had several lengths: {one}, {other}"));
    }
    // Whoever names a segment that never was must not have a say alone.
    if !users.iter().any(|user| user.has_log) {
        return Err("no snapshot begins in what there is of it".into());
    }
    let now = believed_now(ctx, &view.root);
    let stands: Vec<_> = view.root.holds.iter().filter(|hold| hold.stands(now)).collect();
    let held = |user: &&&User| stands.iter().any(|hold| names(&hold.scope, &user.snapshot));
    let floor = match options.keep_seconds {
        Some(seconds) if !several && !users.iter().any(|user| held(&user)) => {
            least_of_members(users, now.seconds.saturating_sub_unsigned(seconds)).unwrap_or(oldest)
        }
        _ => oldest,
    };
    let mut ranges: Ranges = users.iter().map(|user| (user.need.first.place, user.need.last.place)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    Ok((floor, ranges))
}

/// Where the log begins that each member's own snapshots need, with those of owners: everybody can name any
/// database and any place, and what one claims takes nothing from another.
fn least_of_members(users: &[&User], since: i64) -> Option<u64> {
    let authors: BTreeSet<_> = users.iter().map(|user| user.author).collect();
    let of = |author| {
        let counts = |user: &&&User| user.author.is_none() || user.author == author;
        newest_before(&users.iter().copied().filter(|user| counts(&user)).collect::<Vec<_>>(), since)
    };
    authors.into_iter().filter_map(of).min()
}

/// Where the newest snapshot begins that was there by then. Of each timeline there has to be one: a copy
/// that was promoted may be far ahead, and the snapshots of one lead nowhere on the other.
fn newest_before(users: &[&User], since: i64) -> Option<u64> {
    let timelines: BTreeSet<u32> = users.iter().map(|user| user.need.first.timeline).collect();
    let newest = |timeline: u32| {
        let own = || users.iter().filter(move |user| user.need.first.timeline == timeline);
        let before = |user: &&&User| {
            user.is_base && user.has_log && user.received.is_some_and(|at| at.seconds <= since)
        };
        let places = |user: &&User| user.need.first.place;
        own().filter(before).map(places).max().or_else(|| own().map(places).min())
    };
    timelines.into_iter().filter_map(newest).min()
}

/// Whether a timeline is later than those of all snapshots. A copy that was set back and goes on by
/// itself begins below floors of the others, and its first snapshot will: it has no floor until then.
fn is_new(number: u32, users: Option<&[User]>, system: u64) -> bool {
    let own = users.unwrap_or_default().iter().filter(|user| user.need.system == system);
    own.map(|user| user.need.first.timeline).max().is_none_or(|latest| number > latest)
}

/// Of the ranges only those count that begin below the floor.
fn row(name: &str, timeline: u32, floor: u64, ranges: &Ranges) -> WalFloor {
    let text = |place| SegmentName { timeline, place }.to_string();
    let below = ranges.iter().filter(|(first, _)| *first < floor);
    WalFloor {
        timeline: name.to_owned(),
        floor: text(floor),
        ranges: below.map(|(first, last)| (text(*first), text(*last))).collect(),
    }
}

/// What a root gives up of what is listed, and pieces of segments that are whole.
async fn doomed<'a>(
    archive: &WalArchive,
    floors: &Floors,
    ages: &Ages,
    listed: &'a [WalListed],
) -> Result<Vec<&'a WalListed>> {
    let mut doomed = Vec::new();
    // Of one segment the whole object comes before its pieces.
    let mut whole: Option<(&WalListed, bool)> = None;
    for object in listed {
        let name = &object.name;
        let Some(segment) = name.kind().and_then(|kind| kind.segment()) else { continue };
        if is_given_up(&floors.rows, object, segment) || ages.takes(name.timeline, segment.place) {
            doomed.push(object);
            continue;
        }
        if name.piece.is_none() {
            whole = Some((object, false));
            continue;
        }
        let Some((found, proved)) =
            whole.filter(|(whole, _)| whole.name.file == name.file && whole.name.timeline == name.timeline)
        else {
            continue;
        };
        // Only what can be read takes their place.
        if proved || archive.glance(&found.name).await.is_ok_and(|found| found.is_some()) {
            whole = Some((found, true));
            doomed.push(object);
        }
    }
    Ok(doomed)
}

fn is_given_up(rows: &[WalFloor], object: &WalListed, segment: SegmentName) -> bool {
    let timeline = object.name.timeline;
    let name = format!("{:016x}/{timeline}", timeline.system);
    let Some(row) = rows.iter().find(|row| row.timeline == name) else { return false };
    let file = segment.to_string();
    let in_range = |(first, last): &(String, String)| *first <= file && file <= *last;
    file < row.floor && !row.ranges.iter().any(in_range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{Timeline, WalName};

    #[test]
    fn what_lies_below_the_floor_goes_but_for_ranges() {
        let timeline = Timeline::new(7, 1, b"");
        let rows = [row(&format!("{:016x}/{timeline}", 7), 1, 10, &vec![(3, 4)])];
        let goes = |timeline: Timeline, place| {
            let segment = SegmentName { timeline: 1, place };
            let name = WalName::whole(timeline, segment.to_string());
            is_given_up(&rows, &WalListed { name, stored_bytes: 1 }, segment)
        };
        let gone: Vec<u64> = (0..12).filter(|place| goes(timeline, *place)).collect();
        assert_eq!(gone, [0, 1, 2, 5, 6, 7, 8, 9]);
        assert!(!goes(Timeline::new(8, 1, b""), 0));
    }
}
