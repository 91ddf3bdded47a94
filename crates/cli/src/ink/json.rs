//! The JSON lines, as `JSON.md` describes them: one type for each `message_type`.
//!
//! Names are those of restic where the meaning is the same. On purpose not here: types of the
//! engine with serde on them; what programs read must not change with our insides.

use super::json_evidence::ProofField;
use super::moment::rfc3339;
use crate::engine::{BackupReport, CheckReport, Finding, Notice, NoticeKind, Problem, ProblemKind, Snapshot};
use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::entry::{Entry, Kind};
use holdfast_core::id::hex;
use holdfast_core::version::{shown_object, split_version};
use holdfast_store::Traffic;
use serde::Serialize;
use std::collections::BTreeMap;

/// A path as text, and exactly where the text is not exact.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Path {
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_base64: Option<String>,
}

impl Path {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let exact = std::str::from_utf8(bytes).is_ok();
        let path_base64 = (!exact).then(|| STANDARD.encode(bytes));
        Self { path: String::from_utf8_lossy(bytes).into_owned(), path_base64 }
    }
}

/// The last line of whatever did not end with 0.
#[derive(Debug, Serialize)]
pub(crate) struct ExitError {
    message_type: &'static str,
    code: u8,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    hint: String,
}

impl ExitError {
    pub(crate) fn of(fault: &Fault) -> Self {
        Self {
            message_type: "exit_error",
            code: fault.code.number(),
            message: fault.to_string(),
            hint: fault.hint.clone(),
        }
    }
}

/// Something outside the source or target is not as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct WarningLine<'a> {
    message_type: &'static str,
    message: &'a str,
}

impl<'a> WarningLine<'a> {
    pub(crate) const fn new(message: &'a str) -> Self {
        Self { message_type: "warning", message }
    }
}

/// A problem or a notice about one path.
#[derive(Debug, Serialize)]
pub(crate) struct ItemLine<'a> {
    message_type: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    item: ItemPath,
    message: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct ItemPath {
    pub(super) item: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_base64: Option<String>,
}

impl<'a> ItemLine<'a> {
    pub(crate) fn problem(problem: &'a Problem) -> Self {
        Self::new("error", problem_word(problem.kind), &problem.path, &problem.what)
    }

    pub(crate) fn notice(notice: &'a Notice) -> Self {
        Self::new("notice", notice_word(notice.kind), &notice.path, &notice.what)
    }

    fn new(message_type: &'static str, kind: &'static str, path: &[u8], message: &'a str) -> Self {
        let Path { path: item, path_base64: item_base64 } = Path::new(path);
        Self { message_type, kind, item: ItemPath { item, item_base64 }, message }
    }
}

const fn problem_word(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Unreadable => "unreadable",
        ProblemKind::Torn => "torn",
        ProblemKind::Unwritable => "unwritable",
        ProblemKind::Attribute => "attribute",
        ProblemKind::Damaged => "damaged",
        ProblemKind::Refused => "refused",
    }
}

const fn notice_word(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Grown => "grown",
        NoticeKind::Vanished => "vanished",
        NoticeKind::LeftOut => "left_out",
        NoticeKind::LiveDatabase => "live_database",
        NoticeKind::Other => "other",
    }
}

/// How far a run is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StatusLine {
    pub(crate) message_type: &'static str,
    pub(crate) phase: String,
    pub(crate) seconds_elapsed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds_remaining: Option<u64>,
    pub(crate) percent_done: f64,
    pub(crate) total_files: u64,
    pub(crate) files_done: u64,
    pub(crate) total_bytes: u64,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) error_count: u64,
    pub(crate) current_files: Vec<String>,
}

/// What a backup made. `backup_start` and the like are restic's words.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    message_type: &'static str,
    snapshot_id: Option<String>,
    parent: Option<String>,
    dry_run: bool,
    unchanged: bool,
    incomplete: bool,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    dirs: u64,
    others: u64,
    chunks_added: u64,
    data_added: u64,
    data_added_packed: u64,
    bytes_read: u64,
    total_files_processed: u64,
    total_bytes_processed: u64,
    total_duration: f64,
    backup_start: String,
    backup_end: String,
    tree: String,
    adopted_sessions: u64,
    adopted_packs: u64,
    error_count: u64,
    notice_count: u64,
    /// What was asked of the server, where the source is on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_requests: Option<BTreeMap<&'static str, u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_bytes: Option<u64>,
    /// What became of each listed object, where the source is a bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_objects: Option<BTreeMap<String, u64>>,
    /// What was recorded of a server of PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_facts: Option<BTreeMap<String, String>>,
}

/// What the report of a backup does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) dry_run: bool,
    pub(crate) seconds: f64,
    pub(crate) errors: u64,
    pub(crate) notices: u64,
}

impl Summary {
    pub(crate) fn new(report: &BackupReport, around: Around) -> Self {
        let counts = &report.counts;
        Self {
            message_type: "summary",
            snapshot_id: report.snapshot.map(|id| id.to_string()),
            parent: report.parent.map(|id| id.to_string()),
            dry_run: around.dry_run,
            unchanged: report.unchanged,
            incomplete: around.errors > 0,
            files_new: counts.files_new,
            files_changed: counts.files_changed,
            files_unmodified: counts.files_unmodified,
            dirs: counts.directories,
            others: counts.others,
            chunks_added: counts.chunks_added,
            data_added: counts.bytes_added,
            data_added_packed: counts.bytes_stored,
            bytes_read: counts.bytes_read,
            total_files_processed: counts.files,
            total_bytes_processed: counts.bytes,
            total_duration: around.seconds,
            backup_start: rfc3339(report.start),
            backup_end: rfc3339(report.end),
            tree: report.root.to_string(),
            adopted_sessions: report.adopted_sessions,
            adopted_packs: report.adopted_packs,
            error_count: around.errors,
            notice_count: around.notices,
            source_requests: None,
            source_bytes: None,
            source_objects: None,
            source_facts: None,
        }
    }

    /// Says too what became of each object of a bucket.
    /// Adds what was recorded of a server.
    pub(crate) fn with_facts(self, source_facts: Option<BTreeMap<String, String>>) -> Self {
        Self { source_facts, ..self }
    }

    pub(crate) fn with_objects(self, source_objects: Option<BTreeMap<String, u64>>) -> Self {
        Self { source_objects, ..self }
    }

    /// Says too what was asked of a source on a server.
    pub(crate) fn with_traffic(self, traffic: Option<Traffic>) -> Self {
        let source_bytes = traffic.as_ref().map(|traffic| traffic.received_bytes);
        Self { source_requests: traffic.map(|traffic| traffic.requests), source_bytes, ..self }
    }
}

/// A snapshot, as `snapshots` lists it.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotLine {
    message_type: &'static str,
    id: String,
    short_id: String,
    time: String,
    hostname: String,
    source: String,
    kind: String,
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_base64: Option<Vec<String>>,
    tags: Vec<String>,
    parent: Option<String>,
    tree: String,
    incomplete: bool,
    error_count: u64,
    /// Whether a hold stands on it, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<bool>,
    /// What was recorded beside it, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<BTreeMap<String, String>>,
    /// What drills found of it, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<ProofField>,
    summary: SnapshotSummary,
}

/// What a snapshot's run counted.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotSummary {
    backup_start: String,
    backup_end: String,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    dirs: u64,
    others: u64,
    data_added: u64,
    data_added_packed: u64,
    total_files_processed: u64,
    total_bytes_processed: u64,
}

impl From<&Snapshot> for SnapshotLine {
    fn from(snapshot: &Snapshot) -> Self {
        let summary = &snapshot.summary;
        let id = snapshot.id.to_string();
        let exact = summary.paths.iter().all(|path| std::str::from_utf8(path).is_ok());
        Self {
            message_type: "snapshot",
            short_id: id[..8].to_owned(),
            id,
            time: rfc3339(summary.start),
            hostname: summary.host.clone(),
            source: summary.label.clone(),
            kind: summary.kind.clone(),
            paths: summary.paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect(),
            paths_base64: (!exact).then(|| summary.paths.iter().map(|path| STANDARD.encode(path)).collect()),
            tags: summary.tags.clone(),
            parent: summary.parent.map(|id| id.to_string()),
            tree: summary.root.to_string(),
            incomplete: summary.incomplete,
            error_count: summary.problems,
            held: None,
            facts: None,
            proof: None,
            summary: SnapshotSummary::from(snapshot),
        }
    }
}

impl SnapshotLine {
    /// Says too whether a hold stands on it.
    pub(crate) fn with_held(snapshot: &Snapshot, held: bool) -> Self {
        Self { held: Some(held), ..Self::from(snapshot) }
    }

    /// Says too what was recorded beside it.
    pub(crate) fn with_facts(self, facts: Option<BTreeMap<String, String>>) -> Self {
        Self { facts, ..self }
    }

    /// Says too what drills found of it.
    pub(crate) fn with_proof(self, proof: ProofField) -> Self {
        Self { proof: Some(proof), ..self }
    }
}

impl From<&Snapshot> for SnapshotSummary {
    fn from(snapshot: &Snapshot) -> Self {
        let (summary, counts) = (&snapshot.summary, &snapshot.summary.counts);
        Self {
            backup_start: rfc3339(summary.start),
            backup_end: rfc3339(summary.end),
            files_new: counts.files_new,
            files_changed: counts.files_changed,
            files_unmodified: counts.files_unmodified,
            dirs: counts.directories,
            others: counts.others,
            data_added: counts.bytes_added,
            data_added_packed: counts.bytes_stored,
            total_files_processed: counts.files,
            total_bytes_processed: counts.bytes,
        }
    }
}

/// One entry of a snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct Node<'a> {
    message_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<String>,
    name: String,
    r#type: &'static str,
    #[serde(flatten)]
    path: Path,
    uid: u32,
    gid: u32,
    user: &'a str,
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mode: String,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<[u32; 2]>,
    torn: bool,
    grown: bool,
    #[serde(flatten)]
    version: Option<VersionFields<'a>>,
}

/// What is known of a version of an object.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct VersionFields<'a> {
    version_id: &'a str,
    delete_marker: bool,
    /// Whether it is the newest of its object, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<bool>,
}

impl<'a> VersionFields<'a> {
    /// Of an entry that is one.
    pub(super) fn of(entry: &'a Entry) -> Option<Self> {
        let (_, version) = split_version(&entry.key)?;
        Some(Self { version_id: version.id, delete_marker: version.is_marker, current: None })
    }
}

impl<'a> Node<'a> {
    /// An entry of a listing, and of a version whether it is the newest.
    pub(crate) fn listed(entry: &'a Entry, is_newest: Option<bool>) -> Self {
        let node = Self::from(entry);
        let version = node.version.map(|version| VersionFields { current: is_newest, ..version });
        Self { version, ..node }
    }

    /// An entry that was searched for, and where it was found.
    pub(crate) fn found(entry: &'a Entry, snapshot: &Snapshot) -> Self {
        Self { message_type: "match", snapshot_id: Some(snapshot.id.to_string()), ..Self::from(entry) }
    }
}

impl<'a> From<&'a Entry> for Node<'a> {
    fn from(entry: &'a Entry) -> Self {
        let path = shown_object(&entry.key);
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let target = entry.attributes.link_target.as_deref().map(Path::new);
        Self {
            message_type: "node",
            snapshot_id: None,
            name: String::from_utf8_lossy(name).into_owned(),
            r#type: kind_word(entry.kind),
            path: Path::new(&path),
            uid: entry.owner.uid,
            gid: entry.owner.gid,
            user: &entry.owner.user,
            group: &entry.owner.group,
            size: (entry.kind == Kind::File).then_some(entry.size),
            mode: format!("{:04o}", entry.mode),
            mtime: rfc3339(entry.mtime),
            digest: entry.digest.as_ref().map(|digest| hex(digest)),
            linktarget: target.as_ref().map(|target| target.path.clone()),
            linktarget_base64: target.and_then(|target| target.path_base64),
            device: entry.attributes.device.map(|(major, minor)| [major, minor]),
            torn: entry.attributes.torn,
            grown: entry.attributes.grown,
            version: VersionFields::of(entry),
        }
    }
}

pub(super) const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "dir",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "chardev",
        Kind::BlockDevice => "dev",
    }
}

/// Something that a check found.
#[derive(Debug, Serialize)]
pub(crate) struct FindingLine<'a> {
    message_type: &'static str,
    severity: &'static str,
    subject: &'a str,
    message: &'a str,
}

impl<'a> From<&'a Finding> for FindingLine<'a> {
    fn from(finding: &'a Finding) -> Self {
        let severity = if finding.is_error { "error" } else { "notice" };
        Self { message_type: "finding", severity, subject: &finding.subject, message: &finding.what }
    }
}

/// What a check looked at.
#[derive(Debug, Serialize)]
pub(crate) struct CheckSummary {
    message_type: &'static str,
    num_errors: u64,
    num_notices: u64,
    objects: u64,
    bytes: u64,
    packs: u64,
    chunks: u64,
    snapshots: u64,
    packs_read: u64,
    bytes_read: u64,
    opened: bool,
    seconds_elapsed: f64,
}

impl CheckSummary {
    pub(crate) const fn new(report: &CheckReport, seconds: f64) -> Self {
        Self {
            message_type: "summary",
            num_errors: report.errors,
            num_notices: report.notices,
            objects: report.objects,
            bytes: report.bytes,
            packs: report.packs,
            chunks: report.chunks,
            snapshots: report.snapshots,
            packs_read: report.packs_read,
            bytes_read: report.bytes_read,
            opened: report.opened,
            seconds_elapsed: seconds,
        }
    }
}

/// A repository was created.
#[derive(Debug, Serialize)]
pub(crate) struct InitLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) id: String,
    pub(crate) repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kit_file: Option<String>,
}

/// A plain answer.
#[derive(Debug, Serialize)]
pub(crate) struct AnswerLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) message: &'a str,
}

/// Which program this is.
#[derive(Debug, Serialize)]
pub(crate) struct VersionLine {
    pub(crate) message_type: &'static str,
    pub(crate) version: &'static str,
    pub(crate) format: u8,
    pub(crate) format_draft: u8,
    pub(crate) os: &'static str,
    pub(crate) arch: &'static str,
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
