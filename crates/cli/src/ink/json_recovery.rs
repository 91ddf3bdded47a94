//! The JSON lines of recoveries: where one goes, and which commits there are in a log.
//!
//! On purpose not here: the restore of files, which has lines of its own.

use super::rfc3339;
use crate::wire_up::Seen;
use serde::Serialize;

/// The plan of a recovery, before anything is written.
#[derive(Debug, Serialize)]
pub(crate) struct RecoveryLine {
    pub(crate) message_type: &'static str,
    pub(crate) target: String,
    pub(crate) exclusive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_segment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_segment: Option<String>,
    pub(crate) segment_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_lsn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_commit: Option<SeenLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_commit: Option<SeenLine>,
    pub(crate) none_after: bool,
    pub(crate) then: &'static str,
    pub(crate) restore_command: String,
}

/// A commit in a log.
#[derive(Debug, Serialize)]
pub(crate) struct SeenLine {
    pub(crate) time: String,
    pub(crate) lsn: String,
    pub(crate) xid: u32,
}

impl SeenLine {
    pub(crate) fn of(seen: &Seen) -> Self {
        Self { time: rfc3339(seen.time.time()), lsn: seen.at.to_string(), xid: seen.xid }
    }
}

/// A commit or a restore point in a log.
#[derive(Debug, Serialize)]
pub(crate) struct CommitLine {
    pub(crate) message_type: &'static str,
    pub(crate) system: String,
    pub(crate) timeline: String,
    pub(crate) time: String,
    pub(crate) lsn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) xid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}
