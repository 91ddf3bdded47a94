//! The JSON lines of `copy`, as `JSON.md` describes them.
//!
//! On purpose not here: snapshots that could not be copied; each is an error.

use super::moment::rfc3339;
use crate::engine::{Copied, CopyReport, Fate};
use serde::Serialize;

/// A snapshot that was copied, would be, or is there.
#[derive(Debug, Serialize)]
pub(crate) struct CopiedLine {
    message_type: &'static str,
    from_snapshot_id: String,
    snapshot_id: Option<String>,
    time: String,
    hostname: String,
    source: String,
    tags: Vec<String>,
    bytes_read: u64,
    chunks_added: u64,
    data_added: u64,
    data_added_packed: Option<u64>,
}

impl CopiedLine {
    /// None of a snapshot that could not be read.
    pub(crate) fn of(copied: &Copied) -> Option<Self> {
        let (message_type, id) = match &copied.fate {
            Fate::Made(id) => ("copied", Some(id)),
            Fate::Foreseen => ("copied", None),
            Fate::There(id) => ("already_there", Some(id)),
            Fate::Unread(_) => return None,
        };
        let summary = &copied.from.summary;
        Some(Self {
            message_type,
            from_snapshot_id: copied.from.id.to_string(),
            snapshot_id: id.map(ToString::to_string),
            time: rfc3339(summary.start),
            hostname: summary.host.clone(),
            source: summary.label.clone(),
            tags: summary.tags.clone(),
            bytes_read: copied.bytes_read,
            chunks_added: copied.chunks_added,
            data_added: copied.bytes_added,
            data_added_packed: copied.bytes_stored,
        })
    }
}

/// What a run of `copy` did.
#[derive(Debug, Serialize)]
pub(crate) struct CopySummary {
    message_type: &'static str,
    dry_run: bool,
    shared_keys: bool,
    copied_snapshots: u64,
    already_there_snapshots: u64,
    failed_snapshots: u64,
    bytes_read: u64,
    chunks_added: u64,
    data_added: u64,
    data_added_packed: Option<u64>,
    adopted_packs: u64,
}

impl CopySummary {
    pub(crate) const fn new(report: &CopyReport, dry_run: bool) -> Self {
        Self {
            message_type: "summary",
            dry_run,
            shared_keys: report.alike,
            copied_snapshots: report.copied,
            already_there_snapshots: report.there,
            failed_snapshots: report.failed,
            bytes_read: report.bytes_read,
            chunks_added: report.chunks_added,
            data_added: report.bytes_added,
            data_added_packed: report.bytes_stored,
            adopted_packs: report.adopted_packs,
        }
    }
}
