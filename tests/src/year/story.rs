//! What happened in a year, and whether it is what had to happen.
//!
//! Each time at which something was due has one fate, which follows from the rules of the policy and from when
//! somebody was there. On purpose not here: making it happen.

use super::naive;
use holdfast_scheduler::catalog::{Job, JobEnd, JobState};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What has times of its own, in a test's own words.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Policy, activity, source.
    pub key: Key,
    /// Its expression.
    pub cron: &'static str,
    /// Its zone.
    pub zone: TimeZone,
    /// So much later.
    pub jitter: SignedDuration,
    /// Whether what was missed is caught up.
    pub catches_up: bool,
    /// If it was missed by no more than this.
    pub max_age: Option<SignedDuration>,
    /// And before this time of day.
    pub not_after: Option<(i8, i8)>,
}

/// Policy, activity, source.
pub type Key = (String, String, Option<String>);

/// Somebody worked on a job.
#[derive(Debug, Clone)]
pub struct Worked {
    /// What it was about.
    pub key: Key,
    /// For which time.
    pub scheduled_for: Timestamp,
    /// No two that have one of these in common at once.
    pub groups: Vec<String>,
    /// From when on.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Whether that counted as its end.
    pub counted: bool,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Story {
    /// From when to when each worker was there.
    pub there: Vec<(Timestamp, Timestamp)>,
    /// What was worked on.
    pub worked: Vec<Worked>,
    /// How many workers were killed.
    pub killed: u32,
    /// How many jobs were taken back from the dead.
    pub taken_back: u32,
    /// How many were given back.
    pub given_back: u32,
}

/// How many had which fate.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Fates {
    /// Done in time or after a wait.
    pub done: u32,
    /// Done for one that was missed.
    pub caught_up: u32,
    /// Missed, and another one made up for it.
    pub absorbed: u32,
    /// Skipped by a rule.
    pub too_late: u32,
    /// Skipped because the one before was not done.
    pub coalesced: u32,
    /// Given up for a later one before anybody began it.
    pub superseded: u32,
}

impl Rule {
    /// Whether what was missed is not caught up any more.
    #[must_use]
    pub fn would_refuse(&self, due: Timestamp, now: Timestamp) -> bool {
        self.refuses(due, now, true)
    }

    /// Whether one that was for a time is not done at another.
    fn refuses(&self, due: Timestamp, now: Timestamp, missed: bool) -> bool {
        let late = now.duration_since(due);
        let minute = SignedDuration::from_secs(60);
        let closes =
            self.not_after.map(|time| naive::shows(&self.zone, due - self.jitter, time) + self.jitter);
        (missed && !self.catches_up && late > minute)
            || self.max_age.is_some_and(|max| late > max)
            || closes.is_some_and(|closes| now.duration_since(closes) > minute)
    }
}

impl Story {
    /// The first moment from one on at which somebody was there.
    fn somebody(&self, from: Timestamp) -> Option<Timestamp> {
        let later = self.there.iter().filter(|(_, to)| *to > from).map(|(begin, _)| (*begin).max(from));
        later.min()
    }

    /// Nobody worked on two jobs of a group at once, and nothing counted twice.
    ///
    /// # Panics
    /// Somebody did, or something did.
    pub fn judge_work(&self) {
        let mut counted = BTreeSet::new();
        let mut groups: BTreeMap<&str, Vec<&Worked>> = BTreeMap::new();
        for worked in &self.worked {
            if worked.counted {
                let key = (&worked.key, worked.scheduled_for);
                assert!(counted.insert(key), "done twice: {worked:?}");
            }
            worked.groups.iter().for_each(|group| groups.entry(group).or_default().push(worked));
        }
        for (group, mut worked) in groups {
            worked.sort_by_key(|worked| worked.from);
            for pair in worked.windows(2) {
                assert!(pair[0].to <= pair[1].from, "{group}: at once: {:?} and {:?}", pair[0], pair[1]);
            }
        }
    }

    /// Each time of a rule had the fate that it had to have.
    ///
    /// # Panics
    /// One had another.
    pub fn judge(&self, rule: &Rule, times: &BTreeSet<Timestamp>, jobs: &[Job], fates: &mut Fates) {
        let (policy, activity, source) = &rule.key;
        let own = jobs.iter().filter(|job| {
            (&job.due.policy, &job.due.activity, &job.due.source) == (policy, activity, source)
        });
        let rows: BTreeMap<Timestamp, &Job> = own.map(|job| (job.due.scheduled_for, job)).collect();
        for at in rows.keys() {
            assert!(times.contains(at), "{:?} was entered for {at}, when nothing is due", rule.key);
        }
        let mut absorbed = 0;
        for due in times {
            let Some(seen) = self.somebody(*due) else { break };
            let missed = seen > *due;
            if missed && times.range(*due..=seen).nth(1).is_some() {
                assert!(!rows.contains_key(due), "{:?} for {due}: a later one makes up for it", rule.key);
                absorbed += 1;
                fates.absorbed += 1;
                continue;
            }
            let Some(job) = rows.get(due) else {
                panic!("{:?} for {due} is not there, seen {seen}", rule.key)
            };
            let more: u32 =
                rows.values().filter(|row| gave_way(row, seen)).map(|row| 1 + row.due.missed).sum();
            assert_eq!(job.due.missed, absorbed + more, "{:?} for {due}: missed", rule.key);
            absorbed = 0;
            self.fate(rule, job, (*due, seen, missed), fates);
        }
    }

    fn fate(
        &self,
        rule: &Rule,
        job: &Job,
        (due, seen, missed): (Timestamp, Timestamp, bool),
        fates: &mut Fates,
    ) {
        let told = || format!("{:?} for {due}, seen {seen}: {:?}", rule.key, job.state);
        if rule.refuses(due, seen, missed) {
            assert!(matches!(fate_of(Some(job)), Some(Why::Rule)), "{}", told());
            fates.too_late += 1;
            return;
        }
        let worked = || self.worked.iter().filter(|worked| worked.key == rule.key);
        match &job.state {
            JobState::Ended { end: JobEnd::Done { .. }, .. } => {
                let counts = worked().filter(|worked| worked.counted && worked.scheduled_for == due).count();
                assert_eq!(counts, 1, "{}", told());
                *(if missed { &mut fates.caught_up } else { &mut fates.done }) += 1;
            }
            JobState::Ended { at, end: JobEnd::Skipped { .. } } => match fate_of(Some(job)) {
                Some(Why::Coalesced) => {
                    // Whoever was killed is taken for alive until the claim runs out.
                    let goes_on = |worked: &&Worked| worked.from <= seen && worked.to + super::TERM >= seen;
                    assert!(worked().any(|worked| goes_on(&worked)), "{}", told());
                    fates.coalesced += 1;
                }
                Some(Why::Superseded) => {
                    assert!(
                        !worked().any(|worked| worked.counted && worked.scheduled_for == due),
                        "{}",
                        told()
                    );
                    fates.superseded += 1;
                }
                _ => {
                    // It had to wait for so long that its time was over.
                    assert!(rule.refuses(due, *at, false), "{}", told());
                    fates.too_late += 1;
                }
            },
            _ => panic!("{}", told()),
        }
    }
}

/// Why something was skipped.
enum Why {
    Rule,
    Coalesced,
    Superseded,
}

fn fate_of(job: Option<&Job>) -> Option<Why> {
    match &job?.state {
        JobState::Ended { end: JobEnd::Skipped { why }, .. } if why.contains("is not done yet") => {
            Some(Why::Coalesced)
        }
        JobState::Ended { end: JobEnd::Skipped { why }, .. } if why.contains("nobody began it") => {
            Some(Why::Superseded)
        }
        JobState::Ended { end: JobEnd::Skipped { .. }, .. } => Some(Why::Rule),
        _ => None,
    }
}

/// Whether it was given up for one that was entered at a moment.
fn gave_way(job: &Job, entered: Timestamp) -> bool {
    let JobState::Ended { at, .. } = &job.state else { return false };
    let soon = at.duration_since(entered).abs() < SignedDuration::from_secs(1);
    soon && matches!(fate_of(Some(job)), Some(Why::Superseded))
}
