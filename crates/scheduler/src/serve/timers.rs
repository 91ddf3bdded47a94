//! What of a policy has times of its own, and what is to be entered for each of them now.
//!
//! Computed from what is handed in, so that every worker that asks at the same moment comes to the same. On
//! purpose not here: the catalog, which decides who of them was first.

use crate::catalog::Due;
use crate::policy::{Activity, LogMode, Policy, REPOSITORY};
use crate::schedule::{self, Clockwork, which};
use jiff::Timestamp;

/// A run of the policy: backup, copies, and what follows.
pub const RUN: &str = "run";
/// A drill.
pub const DRILL: &str = "drill";
/// A cleaning of its repositories.
pub const PRUNE: &str = "prune";
/// A check of its repository.
pub const CHECK: &str = "check";
/// A stream of the log of a database: it stands, and has no time.
pub const STREAM: &str = "stream";

/// Something that has times of its own.
#[derive(Debug, Clone)]
pub struct Timer {
    /// [`RUN`], [`DRILL`], [`PRUNE`] or [`CHECK`].
    pub activity: &'static str,
    /// The one source that it is about; none where it is about the policy.
    pub source: Option<String>,
    /// When.
    pub clockwork: Clockwork,
    /// No two jobs that have one of these in common run side by side.
    groups: Vec<String>,
    /// What a worker needs.
    labels: Vec<String>,
}

/// What is to be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing before this moment; none where there is nothing any more.
    Nothing(Option<Timestamp>),
    /// A job to be done.
    Job(Due),
    /// A job that is not done, and why.
    Skipped(Due, String),
}

/// The timers of a policy, runs first.
///
/// # Errors
/// A time in it is none; in words for people.
pub fn timers(policy: &Policy) -> Result<Vec<Timer>, String> {
    let mut timers = Vec::new();
    if let Some(clockwork) = which::of_policy(policy)?.filter(|_| !common(policy).is_empty()) {
        let group = policy.schedule.as_ref().and_then(|schedule| schedule.group.as_deref());
        timers.push(timer(policy, RUN, None, clockwork, group));
    }
    for (name, source) in &policy.sources.0 {
        let Some(own) = &source.schedule else { continue };
        if let Some(clockwork) = which::of_source(policy, name)? {
            timers.push(timer(policy, RUN, Some(name), clockwork, own.group.as_deref()));
        }
    }
    for (activity, clockwork) in [
        (DRILL, which::of_drill(policy)?),
        (PRUNE, which::of_prune(policy)?),
        (CHECK, which::of_check(policy)?),
    ] {
        timers.extend(clockwork.map(|clockwork| timer(policy, activity, None, clockwork, None)));
    }
    Ok(timers)
}

/// The sources that run when the policy does.
#[must_use]
pub fn common(policy: &Policy) -> Vec<&str> {
    let all = policy.sources.0.iter().filter(|(_, source)| source.schedule.is_none());
    all.map(|(name, _)| name.as_str()).collect()
}

/// The sources whose log is streamed.
#[must_use]
pub fn streams(policy: &Policy) -> Vec<&str> {
    let streams = policy.sources.0.iter().filter(|(_, source)| {
        source.postgres.as_ref().is_some_and(|postgres| postgres.wal == LogMode::Stream)
    });
    streams.map(|(name, _)| name.as_str()).collect()
}

fn timer(
    policy: &Policy,
    activity: &'static str,
    source: Option<&str>,
    clockwork: Clockwork,
    group: Option<&str>,
) -> Timer {
    // A drill reads, and may take hours: no backup waits for it.
    let own = if activity == DRILL { format!("{}/{DRILL}", policy.name) } else { policy.name.clone() };
    let groups = std::iter::once(own).chain(group.map(|group| format!("group:{group}"))).collect();
    let source = source.map(str::to_owned);
    let labels = labels(policy, activity, source.as_deref());
    Timer { activity, source, clockwork, groups, labels }
}

/// The job of a stream.
#[must_use]
pub fn stream(policy: &Policy, source: &str, now: Timestamp) -> Due {
    Due {
        policy: policy.name.clone(),
        activity: STREAM.to_owned(),
        source: Some(source.to_owned()),
        scheduled_for: now,
        labels: labels(policy, STREAM, Some(source)),
        groups: vec![format!("{}/{source}/{STREAM}", policy.name)],
        missed: 0,
    }
}

/// What a worker needs for something of a policy: to know that this is in it, and what the policy asks for. One that
/// has an older text of the policy does not know what is new in it, and leaves it alone.
fn labels(policy: &Policy, activity: &str, source: Option<&str>) -> Vec<String> {
    std::iter::once(knows(&policy.name, activity, source)).chain(policy.workers.iter().cloned()).collect()
}

/// The label of a worker that can do something of a policy.
fn knows(policy: &str, activity: &str, source: Option<&str>) -> String {
    match source {
        None => format!("{policy}/{activity}"),
        Some(source) => format!("{policy}/{activity}/{source}"),
    }
}

/// The labels of a worker for what it can do of a policy, streams or all else.
pub fn able(policy: &Policy, timers: &[Timer], host: &str, streams: bool) -> Vec<String> {
    if streams {
        let sources = streamed_here(policy).into_iter();
        return sources.map(|source| knows(&policy.name, STREAM, Some(source))).collect();
    }
    let here = timers.iter().filter(|timer| is_for(policy, timer.activity, host));
    here.map(|timer| knows(&policy.name, timer.activity, timer.source.as_deref())).collect()
}

/// Whether something of a policy can be done on a host, with the keys that its text has here. Of a run is done what
/// there are keys for.
#[must_use]
pub fn is_for(policy: &Policy, activity: &str, host: &str) -> bool {
    let drills_here = |drill: &crate::policy::Drill| {
        drill.hosts.is_empty() || drill.hosts.iter().any(|known| known == host)
    };
    let opens_any = |of| policy.places().any(|name| policy.place(name, of).is_some());
    match activity {
        DRILL => policy.drill.as_ref().is_some_and(drills_here) && opens_any(Activity::Read),
        PRUNE => opens_any(Activity::Maintain),
        CHECK => policy.place(REPOSITORY, Activity::Maintain).is_some(),
        STREAM => policy.place(REPOSITORY, Activity::Backup).is_some(),
        _ => true,
    }
}

/// The sources whose log can be streamed from here.
#[must_use]
pub fn streamed_here(policy: &Policy) -> Vec<&str> {
    if is_for(policy, STREAM, "") { streams(policy) } else { Vec::new() }
}

impl Timer {
    /// Whether a job is of it, for whatever time.
    #[must_use]
    pub fn has(&self, due: &Due) -> bool {
        self.activity == due.activity && self.source == due.source
    }

    /// What is to be entered now. `last` is the latest time that stands in the catalog, not later than now;
    /// `since` is when the policy was first seen. What comes due while the one before is done is
    /// skipped.
    #[must_use]
    pub fn entry(&self, policy: &str, past: &Past, now: Timestamp) -> Entry {
        // Before it was known here nothing was promised; but a policy that never ran is behind.
        let since = if self.activity == RUN { None } else { past.since };
        match self.clockwork.due(past.last.max(since), now) {
            schedule::Due::Nothing { next } => Entry::Nothing(next),
            schedule::Due::TooLate { scheduled_for, missed, why, .. } => {
                Entry::Skipped(self.due(policy, scheduled_for, missed), why)
            }
            schedule::Due::Run { scheduled_for, missed } => {
                let due = self.due(policy, scheduled_for, missed);
                match past.runs {
                    None => Entry::Job(due),
                    Some(runs) => Entry::Skipped(due, self.coalesced(runs)),
                }
            }
        }
    }

    fn coalesced(&self, runs: Timestamp) -> String {
        format!("the one that was due at {} is not done yet", self.shown(runs))
    }

    /// A moment in the zone of this timer.
    #[must_use]
    pub fn shown(&self, moment: Timestamp) -> String {
        moment.to_zoned(self.clockwork.zone().clone()).strftime("%Y-%m-%d %H:%M %:z").to_string()
    }

    fn due(&self, policy: &str, scheduled_for: Timestamp, missed: u32) -> Due {
        Due {
            policy: policy.to_owned(),
            activity: self.activity.to_owned(),
            source: self.source.clone(),
            scheduled_for,
            labels: self.labels.clone(),
            groups: self.groups.clone(),
            missed,
        }
    }
}

/// What is known of what a timer had done before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// The latest time that was entered, not later than now.
    pub last: Option<Timestamp>,
    /// Since when the policy is known.
    pub since: Option<Timestamp>,
    /// For when the job was that a worker is doing now.
    pub runs: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const POLICY: &str = "
name: shop
repository: { url: /backups/shop, password: { env: X } }
sources:
  tree: { files: { paths: [/srv] } }
  media: { files: { paths: [/media] }, schedule: { cron: '0 * * * *', group: disk } }
  db: { postgres: { url: 'postgres://b@db', wal: stream, slot: holdfast } }
schedule: { cron: '15 2 * * *', timezone: Asia/Seoul, not_after: '06:00', group: night }
drill: { cron: '0 4 * * 0', hosts: [ drill-1 ] }
check: { cron: '0 5 * * 0' }
workers: [ dc1 ]
";

    fn policy() -> Policy {
        serde_saphyr::from_str(POLICY).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn past(last: &str) -> Past {
        Past { last: Some(at(last)), ..Past::default() }
    }

    #[test]
    fn each_time_is_a_timer() {
        let policy = policy();
        let timers = timers(&policy).unwrap();
        let shown: Vec<_> = timers
            .iter()
            .map(|timer| (timer.activity, timer.source.as_deref(), timer.groups.join(" ")))
            .collect();
        let expected = [
            (RUN, None, "shop group:night"),
            (RUN, Some("media"), "shop group:disk"),
            (DRILL, None, "shop/drill"),
            (CHECK, None, "shop"),
        ];
        assert_eq!(shown, expected.map(|(activity, source, groups)| (activity, source, groups.to_owned())));
        assert_eq!(common(&policy), ["tree", "db"]);
        assert_eq!(streams(&policy), ["db"]);
        assert_eq!(timers[0].labels, ["shop/run", "dc1"]);
        assert_eq!(timers[1].labels, ["shop/run/media", "dc1"]);
        assert_eq!(stream(&policy, "db", Timestamp::UNIX_EPOCH).labels, ["shop/stream/db", "dc1"]);
        let bare = Policy { schedule: None, drill: None, check: None, ..policy };
        assert_eq!(super::timers(&bare).unwrap().len(), 1);
    }

    #[test]
    fn a_policy_whose_sources_all_have_times_of_their_own_has_none() {
        let mut policy = policy();
        policy.sources.0.iter_mut().for_each(|(_, source)| source.schedule.clone_from(&policy.schedule));
        let timers = timers(&policy).unwrap();
        assert!(timers.iter().all(|timer| timer.activity != RUN || timer.source.is_some()), "{timers:?}");
    }

    #[test]
    fn who_can_do_what() {
        let policy = policy();
        let able = |policy: &Policy, host: &str| {
            let timers = timers(policy).unwrap();
            let all = [false, true].map(|streams| able(policy, &timers, host, streams));
            all.concat().join(" ")
        };
        assert_eq!(able(&policy, "web"), "shop/run shop/run/media shop/check shop/stream/db");
        assert_eq!(able(&policy, "drill-1"), "shop/run shop/run/media shop/drill shop/check shop/stream/db");
        // With some of the keys only, some of it.
        let with = |keys: &str| {
            let text = POLICY.replace("password: { env: X }", &format!("keys: {{ {keys}: {{ file: /k }} }}"));
            able(&serde_saphyr::from_str(&text).unwrap(), "drill-1")
        };
        assert_eq!(with("read"), "shop/run shop/run/media shop/drill");
        assert_eq!(with("maintain"), "shop/run shop/run/media shop/check");
        assert_eq!(with("backup"), "shop/run shop/run/media shop/stream/db");
    }

    #[test]
    fn a_time_is_entered_once_and_what_is_late_says_why() {
        let run = &timers(&policy()).unwrap()[0];
        let entry = |past: Past, now: &str| run.entry("shop", &past, at(now));
        let (last, now) = ("2026-11-21T02:15:00+09:00", "2026-11-22T02:15:00+09:00");
        match entry(past(last), now) {
            Entry::Job(due) => assert_eq!((due.scheduled_for, due.missed), (at(now), 0)),
            entry => panic!("{entry:?}"),
        }
        let next = Some(at("2026-11-23T02:15:00+09:00"));
        assert_eq!(entry(past(now), "2026-11-22T02:16:00+09:00"), Entry::Nothing(next));
        match entry(past("2026-11-18T02:15:00+09:00"), "2026-11-22T07:00:00+09:00") {
            Entry::Skipped(due, why) => {
                assert_eq!((due.scheduled_for, due.missed), (at(now), 3));
                assert!(why.contains("not_after"), "{why}");
            }
            entry => panic!("{entry:?}"),
        }
    }

    #[test]
    fn what_comes_while_the_one_before_goes_on_is_skipped() {
        let media = &timers(&policy()).unwrap()[1];
        let (open, now) = (at("2026-11-22T02:00:00Z"), at("2026-11-22T03:00:00Z"));
        let past = Past { last: Some(open), runs: Some(open), since: None };
        match media.entry("shop", &past, now) {
            Entry::Skipped(due, why) => {
                assert_eq!((due.scheduled_for, due.source.as_deref()), (now, Some("media")));
                assert!(why.contains("2026-11-22 02:00 +00:00"), "{why}");
            }
            entry => panic!("{entry:?}"),
        }
    }

    #[test]
    fn a_policy_that_never_ran_is_behind_and_a_drill_of_it_is_not() {
        let policy = policy();
        let timers = timers(&policy).unwrap();
        let now = at("2026-11-25T02:16:00+09:00");
        let past = Past { since: Some(now), ..Past::default() };
        assert!(matches!(timers[0].entry("shop", &past, now), Entry::Job(_)));
        assert!(matches!(timers[2].entry("shop", &past, now), Entry::Nothing(Some(_))));
        let long = Past { since: Some(at("2026-11-01T00:00:00Z")), ..Past::default() };
        match timers[2].entry("shop", &long, now) {
            Entry::Job(due) => assert_eq!(due.missed, 2),
            entry => panic!("{entry:?}"),
        }
    }
}
