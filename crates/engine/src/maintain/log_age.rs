//! How old what there is of databases' logs is, and what of it goes for its age: a duty to delete, which no
//! rule and no snapshot stands against, only a hold.
//!
//! A segment is as old as a maintainer's first sight of it, which roots keep: what its writer's clock said, and
//! what lies beside it, make nothing old. Where all snapshots of a database are of one member, log was there when
//! the first of them was seen that ends behind it. Given up is what a root says, before it is deleted; what comes
//! under the same name later is new. A segment that a snapshot was made over goes with that one. On purpose not
//! here: what snapshots need of a log ([`super::logs`]).

use super::deadline::{DEADLINE_WARNING_DAYS, after};
use super::keep::KeepSpan;
use super::logs::{User, named};
use super::mark::names;
use super::publish::{ATTEMPTS_MAX, Draft, Published, too_busy};
use super::retention::LocalOffset;
use crate::civil::DAY;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::repository::Repository;
use crate::wal::{SegmentName, Timeline, WalListed, follows};
use holdfast_core::dated::{DatedLog, DatedLogs, DatedPart, SOURCES_MAX};
use holdfast_core::entry::Time;
use holdfast_core::hold::{Hold, HoldScope};
use holdfast_core::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// With more parts of one timeline somebody has strewn names: the rest has no age.
const PARTS_MAX: usize = 10_000;

/// After which time log goes, whatever rules and snapshots say.
#[derive(Debug, Clone)]
pub struct LogDeadline {
    /// After so long.
    pub span: KeepSpan,
    /// Only that of databases that were never backed up but as these sources; `None` for that of all. `shop/*` means all
    /// that are called so, where no snapshot of the database is left.
    pub sources: Option<BTreeSet<String>>,
    /// Where days begin.
    pub local_offset: LocalOffset,
}

/// A database's log of which nothing will be left soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogExpiring {
    /// The database.
    pub system: u64,
    /// As which sources it was backed up.
    pub sources: Vec<String>,
    /// How many segments there are of it.
    pub segments: u64,
    /// When the last of them goes.
    pub last: Time,
}

/// What is known while it is decided.
pub(super) struct Sight<'a> {
    pub repository: &'a Repository,
    pub root: &'a Root,
    pub deadline: Option<&'a LogDeadline>,
    /// Who can use logs; none where it cannot be told of all.
    pub users: Option<&'a [User]>,
    pub holds: Vec<&'a Hold>,
    pub now: Time,
}

/// Places of segments.
pub(super) type Places = BTreeSet<(Timeline, u64)>;

/// How old what is listed is, and what of it goes.
#[derive(Default)]
pub(super) struct Ages {
    /// What the next root says of it.
    pub dated: DatedLogs,
    /// What goes.
    pub going: Places,
    /// Of which databases nothing will be left soon.
    pub expiring: Vec<LogExpiring>,
    /// Databases of which nothing goes though it is over its time, and why.
    pub kept: Vec<(u64, String)>,
    /// Databases whose log goes when its time is over.
    pub subject: BTreeSet<u64>,
}

impl Ages {
    /// Looks at all that is listed and stays otherwise.
    pub(super) fn of(sight: &Sight<'_>, staying: &[&WalListed]) -> Self {
        let mut timelines: BTreeMap<Timeline, BTreeMap<u64, u32>> = BTreeMap::new();
        for listed in staying {
            let Some(segment) = listed.name.kind().and_then(|kind| kind.segment()) else { continue };
            let places = timelines.entry(listed.name.timeline).or_default();
            let is_whole = listed.name.piece.is_none() && listed.name.file == segment.to_string();
            // It comes before its pieces and what is noted of it.
            match places.get_mut(&segment.place) {
                Some(0) => {}
                Some(pieces) => *pieces = pieces.saturating_add(1),
                None => drop(places.insert(segment.place, u32::from(!is_whole))),
            }
        }
        let mut ages = Self::default();
        let systems: BTreeSet<u64> = timelines.keys().map(|timeline| timeline.system).collect();
        for system in systems {
            ages.add_database(sight, system, &timelines);
        }
        ages
    }

    fn add_database(
        &mut self,
        sight: &Sight<'_>,
        system: u64,
        timelines: &BTreeMap<Timeline, BTreeMap<u64, u32>>,
    ) {
        sight.root.dated.sources(system).iter().for_each(|source| self.dated.remember(system, source));
        let users = sight.users.unwrap_or_default().iter();
        let users: Vec<&User> = users.filter(|user| user.need.system == system).collect();
        users.iter().for_each(|user| self.dated.remember(system, &user.snapshot.summary.label));
        let sources = self.dated.sources(system).to_vec();
        let may_go = sight.may_go(&sources, &users);
        if may_go.is_ok() {
            self.subject.insert(system);
        }
        let (mut left, mut last, mut why) = (0, Some(Time::default()), Kept::None);
        let own = timelines.iter().filter(|(timeline, _)| timeline.system == system);
        let numbers: Vec<u32> = own.clone().map(|(timeline, _)| timeline.number).collect();
        for (timeline, places) in own {
            let alone = numbers.iter().filter(|number| **number == timeline.number).count() == 1;
            let one = One { sight, timeline: *timeline, users: &users, alone };
            let (parts, too_many) = one.parts(places, may_go.is_ok());
            let overdue = parts.iter().find(|part| !part.is_going && sight.is_over(part.seen));
            why = why.or(too_many).or_else(|| one.kept_by(overdue?.first, &may_go));
            for (place, part) in places.keys().map(|place| (*place, part_of(&parts, *place))) {
                match part {
                    Some(part) if part.is_going => drop(self.going.insert((*timeline, place))),
                    _ => {
                        let goes = part.and_then(|part| sight.goes_at(part.seen));
                        (left, last) = (left + 1, last.and_then(|last| Some(last.max(goes?))));
                    }
                }
            }
            let timeline = format!("{system:016x}/{timeline}");
            self.dated.timelines.extend((!parts.is_empty()).then_some(DatedLog { timeline, parts }));
        }
        self.kept.extend(why.map(|why| (system, why)));
        let soon = sight.now.seconds.saturating_add(DEADLINE_WARNING_DAYS * DAY);
        let last = last.filter(|last| last.seconds <= soon && left > 0 && users.is_empty() && may_go.is_ok());
        self.expiring.extend(last.map(|last| LogExpiring { system, sources, segments: left, last }));
    }

    /// Whether a segment goes.
    pub(super) fn takes(&self, timeline: Timeline, place: u64) -> bool {
        self.going.contains(&(timeline, place))
    }
}

/// Why something stays; none where that is not worth a word.
type Kept = Option<String>;

impl Sight<'_> {
    /// When something goes that was seen then.
    fn goes_at(&self, seen: Time) -> Option<Time> {
        self.deadline.map(|deadline| after(seen, deadline.span, &deadline.local_offset))
    }

    /// Whether the time of something is over that was seen then.
    fn is_over(&self, seen: Time) -> bool {
        self.goes_at(seen).is_some_and(|time| time <= self.now)
    }

    /// Whether anything of a database may go for its age; if not, why.
    fn may_go(&self, sources: &[String], users: &[&User]) -> std::result::Result<(), Kept> {
        let Some(deadline) = self.deadline.filter(|_| self.users.is_some()) else { return Err(None) };
        if let Some(meant) = &deadline.sources {
            if sources.len() > SOURCES_MAX {
                return Err(Some("it was backed up as more sources than can be told apart".into()));
            }
            let begins = |source: &str, name: &String| {
                name.strip_suffix('*').is_some_and(|own| source.starts_with(own))
            };
            let is_meant = |source: &&String| {
                meant.contains(*source) || (users.is_empty() && meant.iter().any(|name| begins(source, name)))
            };
            if sources.is_empty() && meant.iter().all(|name| name.ends_with('*')) {
                return Err(None);
            }
            if let Some(other) = sources.iter().find(|source| !is_meant(source)) {
                let is_ours = sources.iter().any(|source| is_meant(&source));
                return Err(is_ours.then(|| self.claimed(other, users)));
            }
        }
        let holds = |hold: &&&Hold| match &hold.scope {
            HoldScope::Source(label) => sources.contains(label),
            scope => users.iter().any(|user| names(scope, &user.snapshot)),
        };
        match self.holds.iter().find(holds) {
            Some(hold) => Err(Some(format!("a hold stands on it: {}", hold.reason.escape_debug()))),
            None => Ok(()),
        }
    }

    /// That a database is backed up as another source too, and by whom.
    fn claimed(&self, source: &str, users: &[&User]) -> String {
        let by = users.iter().find(|user| user.snapshot.summary.label == source);
        let by = by.map(|user| format!(" ({})", named(self.repository, &user.snapshot))).unwrap_or_default();
        format!(
            "it was backed up as {}{by} too, of which the deadline is not said; name that source as well",
            source.escape_debug()
        )
    }
}

/// One timeline of a database.
struct One<'a> {
    sight: &'a Sight<'a>,
    timeline: Timeline,
    /// Who can use its database's log.
    users: &'a [&'a User],
    /// Whether no other timeline has its number.
    alone: bool,
}

impl One<'_> {
    /// What the next root says, place by place put together; and why not of all.
    fn parts(&self, places: &BTreeMap<u64, u32>, may_go: bool) -> (Vec<DatedPart>, Kept) {
        let name = format!("{:016x}/{}", self.timeline.system, self.timeline);
        let known = self.sight.root.dated.timelines.iter().find(|row| row.timeline == name);
        let known = known.map(|row| row.parts.as_slice()).unwrap_or_default();
        let top = places.keys().map(|place| place & 0xFFFF_FFFF).max().unwrap_or_default();
        let mut parts: Vec<DatedPart> = Vec::new();
        for (&place, &pieces) in places {
            let known = part_of(known, place).filter(|part| part.pieces == pieces);
            let Some(seen) = known.map(|part| part.seen).or_else(|| self.first_sight(place, pieces)) else {
                continue;
            };
            let is_going = self.sight.is_over(seen) && may_go && self.made_over(place).is_none();
            let part = DatedPart { first: place, last: place, pieces, is_going, seen };
            match parts.last_mut().filter(|before| self.joins(before, &part, top)) {
                Some(before) => (before.last, before.seen) = (place, before.seen.max(seen)),
                None => parts.push(part),
            }
        }
        let too_many = (parts.len() > PARTS_MAX).then(|| {
            parts.truncate(PARTS_MAX);
            format!("of timeline {} there are too many gaps to keep dates of all", self.timeline)
        });
        (parts, too_many)
    }

    /// When it was there first, if that has not been written down; none where nothing says that it is to be.
    fn first_sight(&self, place: u64, pieces: u32) -> Option<Time> {
        self.sight.deadline?;
        let now = self.sight.now;
        let one_author = self.users.windows(2).all(|two| two[0].author == two[1].author);
        if pieces > 0 || !self.alone || !one_author {
            return Some(now);
        }
        let behind =
            |user: &&&User| user.need.last.timeline == self.timeline.number && user.need.last.place > place;
        let seen = self.users.iter().filter(behind).filter_map(|user| user.received).min();
        Some(seen.map_or(now, |seen| seen.min(now)))
    }

    /// Whether two parts can be written as one. What was seen on one day that is over counts from its end.
    fn joins(&self, before: &DatedPart, part: &DatedPart, top: u64) -> bool {
        let day = |time: Time| time.seconds.div_euclid(DAY);
        let segment = |place| SegmentName { timeline: self.timeline.number, place };
        let together = before.seen == part.seen
            || (day(before.seen) == day(part.seen) && day(part.seen) < day(self.sight.now));
        before.pieces == 0
            && part.pieces == 0
            && before.is_going == part.is_going
            && together
            && follows(segment(before.last), segment(part.first), top)
    }

    /// Who was made over a segment.
    fn made_over(&self, place: u64) -> Option<&User> {
        let over = |user: &&&User| {
            let need = &user.need;
            need.first.timeline == self.timeline.number
                && (need.first.place..=need.last.place).contains(&place)
        };
        self.users.iter().find(over).copied()
    }

    /// Why a segment stays though its time is over.
    fn kept_by(&self, place: u64, may_go: &std::result::Result<(), Kept>) -> Kept {
        if let Err(why) = may_go {
            return why.clone();
        }
        let user = self.made_over(place)?;
        Some(format!("{} was made over log that goes with it", named(self.sight.repository, &user.snapshot)))
    }
}

/// The part that a place is in.
fn part_of(parts: &[DatedPart], place: u64) -> Option<&DatedPart> {
    let at = parts.partition_point(|part| part.first <= place).checked_sub(1)?;
    Some(&parts[at]).filter(|part| place <= part.last)
}

/// Takes out of the newest root what it says of places where nothing lies any more: what comes there later is new.
pub(super) async fn undate(ctx: &Ctx, repository: &Repository, gone: &Places) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS_MAX {
        let newest = repository.newest().await?;
        let dated = without(&newest.root.dated, gone);
        if dated == newest.root.dated {
            return Ok(());
        }
        let mut draft = Draft::after(ctx, repository, &newest.root, newest.hash);
        draft.root.dated = dated;
        if draft.publish().await? == Published::Yes {
            return Ok(());
        }
    }
    Err(too_busy())
}

fn without(dated: &DatedLogs, gone: &Places) -> DatedLogs {
    let one = |log: &DatedLog| {
        let (system, name) = log.timeline.split_once('/')?;
        let timeline = Timeline::parse(u64::from_str_radix(system, 16).ok()?, name)?;
        let parts = log.parts.iter().flat_map(|part| remains(*part, timeline, gone)).collect::<Vec<_>>();
        (!parts.is_empty()).then(|| DatedLog { timeline: log.timeline.clone(), parts })
    };
    DatedLogs {
        databases: dated.databases.clone(),
        timelines: dated.timelines.iter().filter_map(one).collect(),
    }
}

/// What is left of a part without some of its places.
fn remains(part: DatedPart, timeline: Timeline, gone: &Places) -> Vec<DatedPart> {
    let (mut left, mut first) = (Vec::new(), Some(part.first));
    for (_, place) in gone.range((timeline, part.first)..=(timeline, part.last)) {
        let before = first.filter(|first| first < place);
        left.extend(before.map(|first| DatedPart { first, last: place - 1, ..part }));
        first = place.checked_add(1);
    }
    left.extend(first.filter(|first| *first <= part.last).map(|first| DatedPart { first, ..part }));
    left
}
