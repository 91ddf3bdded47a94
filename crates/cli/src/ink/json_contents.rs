//! The JSON lines of the verbs that look into snapshots: `find`, `diff`, `dump`, `stats`.
//!
//! On purpose not here: `node`, which `ls` writes too ([`super::json`]).

use super::json::{Path, VersionFields, kind_word};
use super::moment::rfc3339;
use crate::engine::{
    ArchiveFormat, DiffCounts, DiffReport, DiffStored, DumpReport, FindReport, Snapshot, SnapshotStats,
    StatsReport, StoredStats,
};
use holdfast_core::entry::Entry;
use serde::Serialize;

/// How a search went.
#[derive(Debug, Serialize)]
pub(crate) struct FindSummary {
    message_type: &'static str,
    matches: u64,
    snapshots_searched: u64,
    snapshots_matching: u64,
    error_count: u64,
}

impl FindSummary {
    pub(crate) const fn new(report: &FindReport, errors: u64) -> Self {
        Self {
            message_type: "summary",
            matches: report.matches,
            snapshots_searched: report.snapshots,
            snapshots_matching: report.snapshots_matching,
            error_count: errors,
        }
    }
}

/// One difference.
#[derive(Debug, Serialize)]
pub(crate) struct ChangeLine<'a> {
    message_type: &'static str,
    modifier: &'a str,
    r#type: &'static str,
    #[serde(flatten)]
    path: Path,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<&'static str>,
    #[serde(flatten)]
    version: Option<VersionFields<'a>>,
}

impl<'a> ChangeLine<'a> {
    /// The path is that of the key, a version's id not with it. Which metadata differ is none where
    /// they were not compared, or are the same.
    pub(crate) fn new(path: &[u8], modifier: &'a str, entry: &'a Entry, metadata: Vec<&'static str>) -> Self {
        let (path, version) = (Path::new(path), VersionFields::of(entry));
        Self { message_type: "change", modifier, r#type: kind_word(entry.kind), path, metadata, version }
    }
}

/// All differences together.
#[derive(Debug, Serialize)]
pub(crate) struct DiffSummary {
    message_type: &'static str,
    source_snapshot: String,
    target_snapshot: Option<String>,
    changed_files: u64,
    changed_others: u64,
    changed_bytes_before: u64,
    changed_bytes_after: u64,
    changed_metadata: u64,
    suspicious_files: u64,
    added: DiffSide,
    removed: DiffSide,
    error_count: u64,
}

/// What only one side has.
#[derive(Debug, Serialize)]
struct DiffSide {
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
    #[serde(flatten)]
    stored: Option<DiffSideStored>,
}

/// What differing entries refer to in the repository.
#[derive(Debug, Serialize)]
struct DiffSideStored {
    data_chunks: u64,
    data_chunk_bytes: u64,
    pages: u64,
    page_bytes: u64,
}

impl DiffSide {
    fn new(counts: &DiffCounts, stored: &DiffStored, is_stored: bool) -> Self {
        let stored = is_stored.then_some(DiffSideStored {
            data_chunks: stored.chunks,
            data_chunk_bytes: stored.chunk_bytes,
            pages: stored.pages,
            page_bytes: stored.page_bytes,
        });
        Self {
            files: counts.files,
            dirs: counts.directories,
            others: counts.others,
            bytes: counts.bytes,
            stored,
        }
    }
}

impl DiffSummary {
    pub(crate) fn new(report: &DiffReport, before: &Snapshot, after: Option<&Snapshot>, errors: u64) -> Self {
        let stored = after.is_some();
        Self {
            message_type: "statistics",
            source_snapshot: before.id.to_string(),
            target_snapshot: after.map(|after| after.id.to_string()),
            changed_files: report.files_changed,
            changed_others: report.others_changed,
            changed_bytes_before: report.bytes_changed_before,
            changed_bytes_after: report.bytes_changed_after,
            changed_metadata: report.metadata_changed,
            suspicious_files: report.suspicious,
            added: DiffSide::new(&report.added, &report.stored_added, stored),
            removed: DiffSide::new(&report.removed, &report.stored_removed, stored),
            error_count: errors,
        }
    }
}

/// What a dump into a file wrote.
#[derive(Debug, Serialize)]
pub(crate) struct DumpSummary {
    message_type: &'static str,
    snapshot_id: String,
    archive: Option<&'static str>,
    files: u64,
    dirs: u64,
    others: u64,
    bytes: u64,
    bytes_written: u64,
    seconds_elapsed: f64,
    notice_count: u64,
}

impl DumpSummary {
    pub(crate) fn new(snapshot: &Snapshot, report: &DumpReport, notices: u64, seconds: f64) -> Self {
        let archive = report.archive.map(|archive| match archive {
            ArchiveFormat::Tar => "tar",
            ArchiveFormat::Zip => "zip",
        });
        Self {
            message_type: "summary",
            snapshot_id: snapshot.id.to_string(),
            archive,
            files: report.files,
            dirs: report.directories,
            others: report.others,
            bytes: report.bytes,
            bytes_written: report.bytes_written,
            seconds_elapsed: seconds,
            notice_count: notices,
        }
    }
}

/// What one snapshot takes.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotStatsLine {
    message_type: &'static str,
    id: String,
    short_id: String,
    time: String,
    hostname: String,
    source: String,
    files: u64,
    restore_bytes: u64,
    data_added_packed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_bytes: Option<u64>,
}

impl From<&SnapshotStats> for SnapshotStatsLine {
    fn from(row: &SnapshotStats) -> Self {
        let (id, summary) = (row.snapshot.id.to_string(), &row.snapshot.summary);
        Self {
            message_type: "snapshot_stats",
            short_id: id[..8].to_owned(),
            id,
            time: rfc3339(summary.start),
            hostname: summary.host.clone(),
            source: summary.label.clone(),
            files: summary.counts.files,
            restore_bytes: summary.counts.bytes,
            data_added_packed: summary.counts.bytes_stored,
            unique_bytes: row.unique_bytes,
        }
    }
}

/// What snapshots take together.
#[derive(Debug, Serialize)]
pub(crate) struct StatsSummary {
    message_type: &'static str,
    snapshots: u64,
    snapshots_all: u64,
    files: u64,
    restore_bytes: u64,
    #[serde(flatten)]
    stored: Option<Stored>,
    repository_bytes: u64,
    pack_bytes: u64,
    wal_bytes: u64,
    error_count: u64,
}

/// What is stored for them.
#[derive(Debug, Serialize)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_bytes: Option<u64>,
    data_chunks: u64,
    data_chunk_bytes: u64,
    pages: u64,
    page_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slack_bytes: Option<u64>,
    unreferenced_bytes: u64,
}

impl From<&StoredStats> for Stored {
    fn from(stored: &StoredStats) -> Self {
        let known = |bytes: u64| stored.opened.then_some(bytes);
        Self {
            content_bytes: known(stored.content_bytes),
            inline_bytes: known(stored.inline_bytes),
            data_chunks: stored.chunks,
            data_chunk_bytes: stored.chunk_bytes,
            pages: stored.pages,
            page_bytes: stored.page_bytes,
            slack_bytes: known(stored.slack_bytes),
            unreferenced_bytes: stored.unreferenced_bytes,
        }
    }
}

impl StatsSummary {
    pub(crate) fn new(report: &StatsReport, errors: u64) -> Self {
        Self {
            message_type: "summary",
            snapshots: report.snapshots.len() as u64,
            snapshots_all: report.snapshots_all,
            files: report.files,
            restore_bytes: report.bytes,
            stored: report.stored.as_ref().map(Stored::from),
            repository_bytes: report.repository_bytes,
            pack_bytes: report.pack_bytes,
            wal_bytes: report.log_bytes,
            error_count: errors,
        }
    }
}
