//! The JSON lines of `status`, as `JSON.md` describes them.
//!
//! On purpose not here: those that only say how far some work is, which are called `status` too.

use holdfast_scheduler::status::{CopyState, GoodBy, Problem, SlotState, SourceState, State, Status};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// How a source stands.
#[derive(Debug, Serialize)]
pub(crate) struct SourceStatusLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    source: &'a str,
    state: State,
    last_good: Option<Timestamp>,
    last_good_by: Option<GoodBy>,
    snapshot_id: Option<&'a str>,
    age_seconds: Option<f64>,
    rpo_seconds: Option<f64>,
    proven: Option<Timestamp>,
    proven_share: Option<f64>,
    proven_age_seconds: Option<f64>,
    proven_max_age_seconds: Option<f64>,
    restore_seconds: Option<f64>,
    rto_seconds: Option<f64>,
    log_flushed: Option<Timestamp>,
    next_run: Option<Timestamp>,
    drill_due: Option<Timestamp>,
}

impl<'a> SourceStatusLine<'a> {
    pub(crate) fn new(source: &'a SourceState, now: Timestamp) -> Self {
        let good = source.last_good.as_ref();
        let age = |moment: Timestamp| now.duration_since(moment).as_secs_f64().max(0.0);
        Self {
            message_type: "source_status",
            policy: &source.policy,
            source: &source.source,
            state: source.state,
            last_good: good.map(|good| good.at),
            last_good_by: good.map(|good| good.by),
            snapshot_id: good.and_then(|good| good.snapshot.as_deref()),
            age_seconds: good.map(|good| age(good.at)),
            rpo_seconds: seconds(source.rpo),
            proven: source.proven,
            proven_share: source.proven_share,
            proven_age_seconds: source.proven.map(age),
            proven_max_age_seconds: seconds(source.proven_max_age),
            restore_seconds: seconds(source.took),
            rto_seconds: seconds(source.rto),
            log_flushed: source.log_flushed,
            next_run: source.next_run,
            drill_due: source.drill_due,
        }
    }
}

/// How a copy stands.
#[derive(Debug, Serialize)]
pub(crate) struct CopyStatusLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    copy: &'a str,
    state: Option<State>,
    behind_snapshots: Option<u64>,
    lag_seconds: Option<f64>,
    max_lag_seconds: Option<f64>,
}

impl<'a> CopyStatusLine<'a> {
    pub(crate) fn new(copy: &'a CopyState, now: Timestamp) -> Self {
        let lag = |oldest: Timestamp| now.duration_since(oldest).as_secs_f64().max(0.0);
        Self {
            message_type: "copy_status",
            policy: &copy.policy,
            copy: &copy.copy,
            state: copy.state,
            behind_snapshots: copy.behind,
            lag_seconds: copy.oldest.map(lag),
            max_lag_seconds: seconds(copy.max_lag),
        }
    }
}

/// What a server keeps for a slot.
#[derive(Debug, Serialize)]
pub(crate) struct SlotStatusLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    source: &'a str,
    slot: &'a str,
    host: &'a str,
    state: Option<State>,
    retained_bytes: Option<u64>,
    limit_bytes: Option<u64>,
    message: &'a str,
}

impl<'a> From<&'a SlotState> for SlotStatusLine<'a> {
    fn from(slot: &'a SlotState) -> Self {
        Self {
            message_type: "slot_status",
            policy: &slot.policy,
            source: &slot.source,
            slot: &slot.slot,
            host: &slot.host,
            state: slot.state,
            retained_bytes: slot.kept,
            limit_bytes: slot.limit,
            message: &slot.says,
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    source: Option<&'a str>,
    copy: Option<&'a str>,
    state: State,
    condition: &'static str,
    message: &'a str,
    why: &'a str,
    #[serde(rename = "do")]
    to_do: &'a str,
    do_not: &'a str,
    restore: &'a str,
}

impl<'a> From<&'a Problem> for ProblemLine<'a> {
    fn from(problem: &'a Problem) -> Self {
        Self {
            message_type: "problem",
            policy: &problem.policy,
            source: problem.source.as_deref(),
            copy: problem.copy.as_deref(),
            state: problem.state,
            condition: problem.condition,
            message: &problem.what,
            why: &problem.why,
            to_do: &problem.to_do,
            do_not: &problem.do_not,
            restore: &problem.restore,
        }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct StatusSummary {
    message_type: &'static str,
    state: State,
    sources: u64,
    copies: u64,
    problem_count: u64,
    looked: Timestamp,
}

impl From<&Status> for StatusSummary {
    fn from(status: &Status) -> Self {
        Self {
            message_type: "summary",
            state: status.state(),
            sources: status.sources.len() as u64,
            copies: status.copies.len() as u64,
            problem_count: status.problems.len() as u64,
            looked: status.now,
        }
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}
