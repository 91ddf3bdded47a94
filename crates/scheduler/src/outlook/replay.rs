//! How long the log since a base backup takes to be replayed, by how fast the last drill did.
//!
//! On purpose not here: the rest of a restore, which drills measure.

use super::seen::{Log, Newest, Seen, keeps_log};
use crate::evidence::{Record, SourceRecord};
use crate::policy::lint::{Lint, Weight};
use crate::policy::units::Span;
use crate::policy::{Policy, Rto, Source};
use crate::schedule::which;
use std::time::Duration;

/// What a drill counts of the log that it replayed.
const REPLAYED: &str = "log bytes replayed";
/// The phase in which it does.
const PHASE: &str = "replay";

/// What the log of one cluster takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The source.
    pub source: String,
    /// The log since its last base backup, in bytes; none where nobody can tell.
    pub log: Option<u64>,
    /// Bytes a second, as the last drill replayed them.
    pub rate: Option<f64>,
    /// How long it would take now.
    pub now: Option<Duration>,
    /// The longest time between two base backups, and how long that much log would take.
    pub worst: Option<(Duration, Duration)>,
    /// What the figures are from, or why there are none.
    pub says: String,
}

/// Says it of each cluster whose log is kept.
pub(super) fn foresee(policy: &Policy, seen: &Seen, lints: &mut Vec<Lint>) -> Vec<Replay> {
    let clusters = policy.sources.0.iter().filter(|(_, source)| keeps_log(source));
    let mut replays = Vec::new();
    for (name, source) in clusters {
        let replay = one(policy, name, seen);
        lints.extend(too_slow(policy, name, source, &replay, seen));
        replays.push(replay);
    }
    replays
}

fn one(policy: &Policy, name: &str, seen: &Seen) -> Replay {
    let of = seen.of(name);
    let last = seen.drills.iter().find_map(|drill| rate(drill, name));
    let log = of.log.map(|log| log.bytes);
    let at = |bytes: f64| last.and_then(|rate| Duration::try_from_secs_f64(bytes / rate).ok());
    let gap = longest(policy, name);
    let a_second = of.newest.as_ref().zip(of.log).and_then(|(newest, log)| written(newest, &log));
    let worst = gap.zip(a_second).and_then(|(gap, a_second)| Some((gap, at(gap.as_secs_f64() * a_second)?)));
    let says = match (&of.newest, log, last) {
        (None, ..) => "there is no base backup of it yet".to_owned(),
        (_, None, _) => "no log goes on from its last base backup".to_owned(),
        (_, _, None) => "no drill told yet how fast its log is replayed".to_owned(),
        _ => "by how fast the last drill replayed it".to_owned(),
    };
    let now = log.and_then(|bytes| at(bytes as f64));
    Replay { source: name.to_owned(), log, rate: last, now, worst, says }
}

/// How fast a drill replayed the log of a source.
fn rate(drill: &Record, name: &str) -> Option<f64> {
    let source = drill.sources.iter().find(|source| source.source == name)?;
    let bytes = source.probes.iter().find_map(|probe| probe.counts.get(REPLAYED))?;
    let seconds = source.phases.iter().find(|phase| phase.name == PHASE)?.seconds;
    let rate = *bytes as f64 / seconds;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// How much log a cluster writes in a second.
fn written(newest: &Newest, log: &Log) -> Option<f64> {
    let seconds = log.newest?.duration_since(newest.ended).as_secs_f64();
    (seconds >= 1.0).then(|| log.bytes as f64 / seconds)
}

/// The longest time between two base backups, by the schedule.
fn longest(policy: &Policy, name: &str) -> Option<Duration> {
    let clock = which::of_source(policy, name).ok().flatten()?;
    crate::policy::lint::longest_gap(&clock)
}

/// How long it took the last drill to have all but the log back.
fn restored(seen: &Seen, name: &str) -> f64 {
    let of = |drill: &Record| drill.sources.iter().find(|source| source.source == name).map(without_replay);
    seen.drills.iter().find_map(of).unwrap_or_default()
}

fn without_replay(source: &SourceRecord) -> f64 {
    source.phases.iter().filter(|phase| phase.counts && phase.name != PHASE).map(|phase| phase.seconds).sum()
}

/// Whether the log that may lie behind the last base backup takes longer than was promised.
fn too_slow(policy: &Policy, name: &str, source: &Source, replay: &Replay, seen: &Seen) -> Option<Lint> {
    let own = source.rto.as_ref();
    let rto = match own.or(policy.objectives.rto.as_ref())? {
        Rto::Anywhere(span) => span.0,
        Rto::On(on) => on.target.0,
    };
    let (gap, takes) = replay.worst?;
    let rest = restored(seen, name);
    let left = rto.as_secs_f64() - rest;
    if takes.as_secs_f64() <= left {
        return None;
    }
    let path = if own.is_some() { format!("sources.{name}.rto") } else { "objectives.rto".to_owned() };
    let what = format!(
        "{} of log of {name} at its present rate are {} of replay, beside {} for the rest; the RTO is {}",
        Span(gap),
        rounded(takes),
        rounded(Duration::from_secs_f64(rest.max(0.0))),
        Span(rto)
    );
    let often = gap.mul_f64((left / takes.as_secs_f64()).clamp(0.0, 1.0));
    let next = match often.as_secs() / 3600 {
        0 => "promise less, or replay on a faster disk: more base backups do not help".to_owned(),
        hours => format!("back {name} up every {hours}h, or promise less"),
    };
    Some(Lint { severity: Weight::Warning, what, next, path })
}

/// A time in whole minutes, or seconds where it is short.
fn rounded(time: Duration) -> Span {
    let seconds = time.as_secs();
    Span(Duration::from_secs(if seconds >= 600 { seconds / 60 * 60 } else { seconds }))
}
