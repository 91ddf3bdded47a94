//! The JSON lines of `policy`, as `JSON.md` describes them.
//!
//! On purpose not here: what is judged.

use holdfast_scheduler::outlook::{Replay, Room, Traffic};
use holdfast_scheduler::policy::lint::Lint;
use holdfast_scheduler::policy::plan::{Coming, Follows, Hand, Hears, Kept};
use holdfast_scheduler::policy::read::Wrong;
use serde::Serialize;

/// Something that is wrong in a policy.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyMistakeLine<'a> {
    message_type: &'static str,
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    hint: &'a str,
}

impl<'a> From<&'a Wrong> for PolicyMistakeLine<'a> {
    fn from(wrong: &'a Wrong) -> Self {
        let Wrong { file, line, column, what, next } = wrong;
        Self { message_type: "policy_mistake", file, line: *line, column: *column, message: what, hint: next }
    }
}

/// Something that is unwise in a policy.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyLintLine<'a> {
    message_type: &'static str,
    file: &'a str,
    line: Option<usize>,
    path: &'a str,
    severity: &'static str,
    message: &'a str,
    hint: &'a str,
}

impl<'a> PolicyLintLine<'a> {
    pub(crate) fn new(file: &'a str, line: Option<usize>, severity: &'static str, lint: &'a Lint) -> Self {
        let Lint { what, next, path, .. } = lint;
        Self { message_type: "policy_lint", file, line, path, severity, message: what, hint: next }
    }
}

/// Policies were looked at.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyCheckSummary {
    pub(crate) message_type: &'static str,
    pub(crate) files: usize,
    pub(crate) mistakes: usize,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
}

/// Something that will run.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyRunLine<'a> {
    message_type: &'static str,
    what: &'a str,
    time: String,
    local_time: String,
    timezone: &'a str,
}

impl<'a> From<&'a Coming> for PolicyRunLine<'a> {
    fn from(coming: &'a Coming) -> Self {
        Self {
            message_type: "policy_run",
            what: &coming.what,
            time: coming.at.timestamp().to_string(),
            local_time: coming.at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            timezone: coming.at.time_zone().iana_name().unwrap_or("UTC"),
        }
    }
}

/// Something that runs after something else.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyFollowsLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    follows: &'a Follows,
}

impl<'a> From<&'a Follows> for PolicyFollowsLine<'a> {
    fn from(follows: &'a Follows) -> Self {
        Self { message_type: "policy_follows", follows }
    }
}

/// Which key does what.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyKeyLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    hand: &'a Hand,
}

impl<'a> From<&'a Hand> for PolicyKeyLine<'a> {
    fn from(hand: &'a Hand) -> Self {
        Self { message_type: "policy_key", hand }
    }
}

/// Who is told of what.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyToldLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    hears: &'a Hears,
}

impl<'a> From<&'a Hears> for PolicyToldLine<'a> {
    fn from(hears: &'a Hears) -> Self {
        Self { message_type: "policy_told", hears }
    }
}

/// What a rule keeps.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyKeptLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    kept: &'a Kept,
}

impl<'a> From<&'a Kept> for PolicyKeptLine<'a> {
    fn from(kept: &'a Kept) -> Self {
        Self { message_type: "policy_kept", kept }
    }
}

/// Why it was not looked at what the rules say of the snapshots that there are.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyUnseenLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) message: &'a str,
    pub(crate) hint: &'a str,
}

/// What goes to or from a repository in a month.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyTrafficLine<'a> {
    message_type: &'static str,
    place: &'a str,
    what: &'static str,
    times: Option<u64>,
    bytes: Option<u64>,
    requests: Option<u64>,
    message: &'a str,
}

impl<'a> From<&'a Traffic> for PolicyTrafficLine<'a> {
    fn from(traffic: &'a Traffic) -> Self {
        let Traffic { place, what, times, bytes, requests, says } = traffic;
        Self {
            message_type: "policy_traffic",
            place,
            what,
            times: *times,
            bytes: *bytes,
            requests: *requests,
            message: says,
        }
    }
}

/// The room that a drill takes, and that there is.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyRoomLine<'a> {
    message_type: &'static str,
    path: Option<String>,
    needed_bytes: u64,
    snapshot_bytes: u64,
    log_bytes: u64,
    free_bytes: Option<u64>,
    message: &'a str,
}

impl<'a> From<&'a Room> for PolicyRoomLine<'a> {
    fn from(room: &'a Room) -> Self {
        Self {
            message_type: "policy_room",
            path: room.path.as_ref().map(|path| path.to_string_lossy().into_owned()),
            needed_bytes: room.needed(),
            snapshot_bytes: room.snapshots,
            log_bytes: room.log,
            free_bytes: room.free,
            message: &room.lacks,
        }
    }
}

/// How long the log of a cluster takes to be replayed.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyReplayLine<'a> {
    message_type: &'static str,
    source: &'a str,
    log_bytes: Option<u64>,
    bytes_per_second: Option<f64>,
    replay_seconds: Option<f64>,
    between_seconds: Option<f64>,
    worst_seconds: Option<f64>,
    message: &'a str,
}

impl<'a> From<&'a Replay> for PolicyReplayLine<'a> {
    fn from(replay: &'a Replay) -> Self {
        Self {
            message_type: "policy_replay",
            source: &replay.source,
            log_bytes: replay.log,
            bytes_per_second: replay.rate,
            replay_seconds: replay.now.map(|time| time.as_secs_f64()),
            between_seconds: replay.worst.map(|(between, _)| between.as_secs_f64()),
            worst_seconds: replay.worst.map(|(_, takes)| takes.as_secs_f64()),
            message: &replay.says,
        }
    }
}

/// The schema of a policy.
#[derive(Debug, Serialize)]
pub(crate) struct PolicySchemaLine {
    pub(crate) message_type: &'static str,
    pub(crate) schema: serde_json::Value,
}

/// Something on this machine, and who backs it up.
#[derive(Debug, Serialize)]
pub(crate) struct CoverageLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) path: &'a str,
    pub(crate) about: &'a str,
    pub(crate) state: &'static str,
    pub(crate) by: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct CoverageSummary {
    pub(crate) message_type: &'static str,
    pub(crate) protected: usize,
    pub(crate) partly: usize,
    pub(crate) not_protected: usize,
    pub(crate) ignored: usize,
    pub(crate) unknown: usize,
}
