//! What a policy may say and had better not: promises that its own schedule breaks, proofs that
//! prove nothing, hosts that can do too much.
//!
//! An error can never come out as it is written; a warning may be meant. On purpose not here:
//! mistakes, which `read` tells.

mod drills;
mod hold;

use super::kind::Kind;
use super::secret::KeyRef;
use super::units::Span;
use super::{LogMode, Policy, RestoredKind, Retention, Severity};
use crate::schedule::{Clockwork, which};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Gaps are looked for from here on, so that a policy is judged the same on every day.
const FROM: &str = "2026-01-01T00:00:00Z";
/// So many runs are looked at: more than a year of hours.
const RUNS_MAX: usize = 10_000;
/// And so far: a leap year, and a day for a clock that is set forward.
const FAR: SignedDuration = SignedDuration::from_hours(24 * 367);

/// How much it weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It can never come out as it is written.
    Error,
    /// It may be meant.
    Warning,
}

/// Something unwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// How much it weighs.
    pub severity: Weight,
    /// What follows from what is written.
    pub what: String,
    /// What to do about it.
    pub next: String,
    /// Where it is: `sources.db.postgres`.
    pub path: String,
}

/// Finds what is unwise, errors first.
#[must_use]
pub fn lint(policy: &Policy) -> Vec<Lint> {
    let mut lints = Lints::default();
    gaps(policy, &mut lints);
    sources(policy, &mut lints);
    retention(policy, &mut lints);
    hold::lint(policy, &mut lints);
    drills::lint(policy, &mut lints);
    told(policy, &mut lints);
    lints.0.sort_by_key(|lint| lint.severity);
    lints.0
}

#[derive(Debug, Default)]
struct Lints(Vec<Lint>);

impl Lints {
    fn error(&mut self, path: impl Into<String>, what: impl Into<String>, next: impl Into<String>) {
        self.add(Weight::Error, path.into(), what.into(), next.into());
    }

    fn warning(&mut self, path: impl Into<String>, what: impl Into<String>, next: impl Into<String>) {
        self.add(Weight::Warning, path.into(), what.into(), next.into());
    }

    fn add(&mut self, severity: Weight, path: String, what: String, next: String) {
        self.0.push(Lint { severity, what, next, path });
    }
}

/// The longest and the shortest time between two of some moments.
fn extremes(moments: impl Iterator<Item = Timestamp>) -> Option<(Duration, Duration)> {
    let mut last = None;
    let mut found: Option<(Duration, Duration)> = None;
    for moment in moments {
        if let Some(last) = last.replace(moment) {
            let gap = moment.duration_since(last).unsigned_abs();
            let (longest, shortest) = found.unwrap_or((gap, gap));
            found = Some((longest.max(gap), shortest.min(gap)));
        }
    }
    found
}

/// The same of a clockwork, over a year.
fn gaps_of(clock: &Clockwork) -> Option<(Duration, Duration)> {
    let from: Timestamp = FROM.parse().ok()?;
    let moments = std::iter::successors(clock.after(from), |last| clock.after(*last));
    let until = from.checked_add(FAR).ok()?;
    // What runs less than twice a year is seen when it runs.
    let few = moments.clone().take(2);
    let year = moments.take_while(move |moment| *moment <= until).take(RUNS_MAX);
    extremes(year).or_else(|| extremes(few))
}

/// The longest time between two runs of a clockwork, over a year.
pub(crate) fn longest_gap(clock: &Clockwork) -> Option<Duration> {
    gaps_of(clock).map(|gaps| gaps.0)
}

/// A time in the words of a policy.
fn span(time: Duration) -> String {
    Span(time).to_string()
}

/// Promises against schedules.
fn gaps(policy: &Policy, lints: &mut Lints) {
    // Sources by their promise, and by what their schedule leaves between two backups.
    let mut promised: BTreeMap<(String, Span, Option<Duration>), Vec<&str>> = BTreeMap::new();
    for (name, source) in &policy.sources.0 {
        // A log that is kept is as young as the server's last write.
        let by_runs = source.kind().is_some_and(|kind| kind.is_backed_up() && !kind.keeps_log());
        let Some(rpo) = source.rpo.or(policy.objectives.rpo).filter(|_| by_runs) else { continue };
        let own = source.rpo.is_some();
        let path = if own { format!("sources.{name}.rpo") } else { "objectives.rpo".to_owned() };
        let clock = which::of_source(policy, name).ok().flatten();
        let longest = clock.map(|clock| gaps_of(&clock).map_or(Duration::MAX, |gaps| gaps.0));
        promised.entry((path, rpo, longest)).or_default().push(name);
    }
    for ((path, rpo, longest), names) in promised {
        let names = names.join(", ");
        match longest {
            Some(longest) if longest >= rpo.0 => {
                let what = format!(
                    "at most {rpo} of {names} shall be lost, and {} lie between two backups",
                    span(longest)
                );
                lints.error(path, what, "back up more often, or promise less");
            }
            Some(_) => {}
            None => {
                let what = format!(
                    "at most {rpo} of {names} shall be lost, and no schedule says when a backup is made"
                );
                lints.warning(
                    path,
                    what,
                    "add a schedule, or see to it that another scheduler runs it in time",
                );
            }
        }
    }
    jitter(policy, lints);
    let objectives = &policy.objectives;
    let stated = |of: fn(&super::Source) -> bool| policy.sources.0.iter().all(|(_, source)| of(source));
    if objectives.rpo.is_none() && !stated(|source| source.rpo.is_some() || source.restored_by.is_some()) {
        let next = "add objectives: { rpo: 26h }, or an rpo to each source";
        lints.warning(
            "objectives",
            "nothing says how much may be lost: nobody is told when backups stop",
            next,
        );
    }
    if objectives.rto.is_none() && !stated(|source| source.rto.is_some()) {
        let next = "add objectives: { rto: 1h }, or an rto to each source";
        lints.warning(
            "objectives",
            "nothing says how long a restore may take: no drill can find it too slow",
            next,
        );
    }
}

fn jitter(policy: &Policy, lints: &mut Lints) {
    let Some(jitter) = policy.schedule.as_ref().and_then(|schedule| schedule.jitter) else { return };
    let shortest =
        which::of_policy(policy).ok().flatten().and_then(|clock| gaps_of(&clock)).map(|gaps| gaps.1);
    if let Some(shortest) = shortest.filter(|shortest| *shortest <= jitter.0) {
        let what = format!("runs begin up to {jitter} late, and only {} lie between two", span(shortest));
        lints.warning("schedule.jitter", what, "make it much shorter than the time between two runs");
    }
}

/// What single sources leave open, and their order.
fn sources(policy: &Policy, lints: &mut Lints) {
    let mut bucket: Option<&str> = None;
    for (name, source) in &policy.sources.0 {
        let path = format!("sources.{name}");
        match source.kind() {
            Some(Kind::S3(_)) => bucket = bucket.or(Some(name)),
            Some(Kind::Postgres(postgres)) => {
                if let Some(bucket) = bucket {
                    let what = format!(
                        "`{name}` is captured after `{bucket}`: its rows can point to objects that were not there yet"
                    );
                    lints.warning(path.clone(), what, format!("put `{name}` before `{bucket}`"));
                }
                slots(name, postgres, lints);
            }
            Some(Kind::Command(command)) if command.verify.is_empty() => {
                let what = format!("nothing proves what `{name}` restores: a drill says *not provable*");
                lints.warning(path, what, "add verify: [program, \"{target}\"]");
            }
            Some(Kind::RestoredBy(restored))
                if restored.verify.is_empty() && restored.kind == RestoredKind::Files =>
            {
                let what = format!("nothing proves what `{name}` restores: a drill says *not provable*");
                lints.warning(path, what, "add verify: [program, \"{target}\"]");
            }
            _ => {}
        }
    }
}

fn slots(name: &str, postgres: &super::Postgres, lints: &mut Lints) {
    let path = format!("sources.{name}.postgres");
    if postgres.wal == LogMode::Stream && postgres.slot.is_none() {
        let what =
            format!("the log of `{name}` is streamed without a slot: the server may throw it away first");
        lints.warning(path.clone(), what, "add slot: holdfast and slot_limit: 50GiB");
    }
    if postgres.slot.is_some() && postgres.slot_limit.is_none() {
        let what =
            format!("the slot of `{name}` has no limit: if nobody reads it, it fills the server's disk");
        lints.warning(path, what, "add slot_limit: 50GiB");
    }
}

/// How far back snapshots reach by keep rules, if runs are so far apart at least.
fn reach(retention: &Retention, apart: Option<Duration>) -> Duration {
    const DAY: u64 = 86_400;
    let rules = [
        (retention.keep_last, apart.map_or(0, |apart| apart.as_secs())),
        (retention.keep_hourly, 3600),
        (retention.keep_daily, DAY),
        (retention.keep_weekly, 7 * DAY),
        (retention.keep_monthly, 30 * DAY),
        (retention.keep_yearly, 365 * DAY),
    ];
    let counted = rules.into_iter().map(|(count, each)| u64::from(count.unwrap_or(0)).saturating_mul(each));
    let within = retention.keep_within.map_or(0, |within| within.0.as_secs());
    Duration::from_secs(counted.max().unwrap_or(0).max(within))
}

fn retention(policy: &Policy, lints: &mut Lints) {
    let logs: Vec<&str> = policy
        .sources
        .0
        .iter()
        .filter(|(_, source)| source.kind().is_some_and(Kind::keeps_log))
        .map(|(name, _)| name.as_str())
        .collect();
    let Some(retention) = &policy.retention else {
        let next = "add retention: { keep_last: 3, keep_daily: 14, keep_weekly: 8, keep_monthly: 12 }";
        return lints.warning("retention", "nothing is ever forgotten: the repository only grows", next);
    };
    window(policy, retention, "retention", &logs, lints);
    deadline(retention, "retention", lints);
    for (number, copy) in policy.copies.iter().enumerate() {
        if let Some(retention) = &copy.retention {
            window(policy, retention, &format!("copies[{number}].retention"), &logs, lints);
            deadline(retention, &format!("copies[{number}].retention"), lints);
        }
    }
}

/// A rule that reaches beyond what has to be deleted promises what is not kept.
fn deadline(retention: &Retention, path: &str, lints: &mut Lints) {
    let Some(after) = retention.delete_after else { return };
    let reach = reach(retention, None);
    if reach > after.0 {
        let what = format!(
            "the keep rules reach back {}, and delete_after takes everything after {after}",
            span(reach)
        );
        lints.warning(
            format!("{path}.delete_after"),
            what,
            "make the keep rules shorter, or delete_after longer",
        );
    }
}

/// Every moment of a window can be restored only from a snapshot that is older than it.
fn window(policy: &Policy, retention: &Retention, path: &str, logs: &[&str], lints: &mut Lints) {
    let Some(wal) = retention.wal else { return };
    let Some(first) = logs.first() else {
        let next = "leave it out, or write `wal: stream` at a source with postgres";
        return lints.warning(
            format!("{path}.wal"),
            "it keeps the log of clusters, and no source has one",
            next,
        );
    };
    let apart = which::of_source(policy, first).ok().flatten().and_then(|clock| gaps_of(&clock));
    let reach = reach(retention, apart.map(|gaps| gaps.1));
    if reach < wal.0 {
        let what = format!(
            "every moment of {wal} shall be restorable, and the keep rules reach back {}: no snapshot to begin with is kept",
            span(reach)
        );
        lints.warning(
            format!("{path}.wal"),
            what,
            "keep snapshots for longer than the log, or the log for shorter",
        );
    }
}

/// Whether anybody hears of it.
fn told(policy: &Policy, lints: &mut Lints) {
    if policy.heartbeat.is_none() {
        let what = "nobody outside notices when all of this stops: a host that is dead sends no alert";
        lints.warning("heartbeat", what, "add heartbeat: { url: { file: /etc/holdfast/heartbeat } }");
    }
    if policy.notify.is_empty() {
        lints.warning(
            "notify",
            "nobody is told when something is wrong",
            "add a slack, webhook, mail or command",
        );
    } else if policy.notify.iter().all(|notify| notify.from > Severity::High) {
        let what = "a broken promise or a failed drill is told to nobody: all entries are from `disaster` on";
        lints.warning("notify", what, "write `from: high` at one of them");
    }
    if policy.check.is_none() {
        let what = "the repository is never checked: bits that rot are seen when they are needed";
        lints.warning("check", what, "add check: { cron: \"30 5 * * 6\", read_data_subset: 5% }");
    }
}

/// Whether two keys are one.
fn same(keys: [Option<&KeyRef>; 3]) -> bool {
    keys.iter().all(|key| key.is_some() && *key == keys[0])
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
