//! The JSON lines of `forget`, `hold` and `prune`, as `JSON.md` describes them.
//!
//! On purpose not here: the groups that verdicts stand in; their line is that of `snapshots`.

use super::moment::rfc3339;
use crate::engine::Snapshot;
use crate::engine::maintain::{Flaw, Hold, HoldScope, LogReport, PruneReport, Verdict};
use holdfast_core::id::{SessionId, hex};
use serde::Serialize;

/// Which snapshot a line is about.
#[derive(Debug, Serialize)]
struct Named {
    id: String,
    short_id: String,
    time: String,
    hostname: String,
    source: String,
    tags: Vec<String>,
}

impl From<&Snapshot> for Named {
    fn from(snapshot: &Snapshot) -> Self {
        let (id, summary) = (snapshot.id.to_string(), &snapshot.summary);
        Self {
            short_id: id[..8].to_owned(),
            id,
            time: rfc3339(summary.start),
            hostname: summary.host.clone(),
            source: summary.label.clone(),
            tags: summary.tags.clone(),
        }
    }
}

/// What the rules say of a snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct VerdictLine {
    message_type: &'static str,
    #[serde(flatten)]
    snapshot: Named,
    keep: bool,
    reasons: Vec<String>,
    flaw: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_at: Option<String>,
}

impl From<&Verdict> for VerdictLine {
    fn from(verdict: &Verdict) -> Self {
        let flaw = |flaw: Flaw| match flaw {
            Flaw::Incomplete => "incomplete",
            Flaw::Shrunk { .. } => "shrunk",
            Flaw::TimeDoubtful => "time_doubtful",
        };
        Self {
            message_type: "verdict",
            snapshot: Named::from(&verdict.snapshot),
            keep: verdict.keep,
            reasons: verdict.reasons.iter().map(ToString::to_string).collect(),
            flaw: verdict.flaw.map(flaw),
            delete_at: verdict.delete_at.map(rfc3339),
        }
    }
}

/// A snapshot that was forgotten or came back.
#[derive(Debug, Serialize)]
pub(crate) struct NamedLine {
    message_type: &'static str,
    #[serde(flatten)]
    snapshot: Named,
}

impl NamedLine {
    pub(crate) fn forgotten(snapshot: &Snapshot) -> Self {
        Self { message_type: "forgotten", snapshot: Named::from(snapshot) }
    }

    pub(crate) fn brought_back(snapshot: &Snapshot) -> Self {
        Self { message_type: "brought_back", snapshot: Named::from(snapshot) }
    }
}

/// What `forget` did.
#[derive(Debug, Serialize)]
pub(crate) struct ForgetSummary {
    pub(crate) message_type: &'static str,
    pub(crate) dry_run: bool,
    pub(crate) kept_snapshots: u64,
    pub(crate) forgotten_snapshots: u64,
    pub(crate) brought_back_snapshots: u64,
}

/// A hold that stands, was put or was released.
#[derive(Debug, Serialize)]
pub(crate) struct HoldLine {
    message_type: &'static str,
    id: String,
    short_id: String,
    scope: &'static str,
    source: Option<String>,
    snapshot_id: Option<String>,
    reason: String,
    since: String,
    until: Option<String>,
}

impl HoldLine {
    /// `what` is the line's type: `hold`, `hold_put` or `hold_released`.
    pub(crate) fn new(what: &'static str, hold: &Hold) -> Self {
        let (scope, source, snapshot_id) = match &hold.scope {
            HoldScope::All => ("all", None, None),
            HoldScope::Source(name) => ("source", Some(name.clone()), None),
            HoldScope::Snapshot(id) => ("snapshot", None, Some(id.to_string())),
        };
        let id = hex(&hold.id);
        Self {
            message_type: what,
            short_id: id[..8].to_owned(),
            id,
            scope,
            source,
            snapshot_id,
            reason: hold.reason.clone(),
            since: rfc3339(hold.since),
            until: hold.until.map(rfc3339),
        }
    }
}

/// What a prune saw and did.
#[derive(Debug, Serialize)]
pub(crate) struct PruneSummary {
    message_type: &'static str,
    dry_run: bool,
    packs: u64,
    pack_bytes: u64,
    used_bytes: u64,
    unused_bytes_left: u64,
    repacked_packs: u64,
    repack_bytes_read: u64,
    repack_bytes_written: u64,
    freed_packs: u64,
    freed_bytes: u64,
    condemned_packs: u64,
    condemned_bytes: u64,
    dead_packs: u64,
    dead_bytes: u64,
    next_step: Option<String>,
    open_sessions: u64,
    aborted_sessions: Vec<String>,
    dropped_snapshots: Vec<String>,
    merged_deltas: u64,
    deleted_objects: u64,
    unfinished_uploads: u64,
    wal_kept_files: u64,
    wal_kept_bytes: u64,
    wal_freed_files: u64,
    wal_freed_bytes: u64,
}

impl PruneSummary {
    pub(crate) fn new(report: &PruneReport, logs: &LogReport, dry_run: bool) -> Self {
        let ids = |ids: &[SessionId]| ids.iter().map(ToString::to_string).collect();
        Self {
            message_type: "summary",
            dry_run,
            packs: report.packs,
            pack_bytes: report.pack_bytes,
            used_bytes: report.used_bytes,
            unused_bytes_left: report.unused_bytes_left,
            repacked_packs: report.repacked_packs,
            repack_bytes_read: report.repack_bytes_read,
            repack_bytes_written: report.repack_bytes_written,
            freed_packs: report.freed_packs,
            freed_bytes: report.freed_bytes,
            condemned_packs: report.condemned_packs,
            condemned_bytes: report.condemned_bytes,
            dead_packs: report.dead_packs,
            dead_bytes: report.dead_bytes,
            next_step: report.next_step.map(rfc3339),
            open_sessions: report.open_sessions,
            aborted_sessions: ids(&report.aborted_sessions),
            dropped_snapshots: ids(&report.dropped_snapshots),
            merged_deltas: report.merged_deltas,
            deleted_objects: report.deleted_objects,
            unfinished_uploads: report.unfinished_uploads,
            wal_kept_files: logs.kept_objects,
            wal_kept_bytes: logs.kept_bytes,
            wal_freed_files: logs.freed_objects,
            wal_freed_bytes: logs.freed_bytes,
        }
    }
}
