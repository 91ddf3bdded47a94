//! The JSON lines of `repair` and `recover`, as `JSON.md` describes them.
//!
//! On purpose not here: lines of other verbs.

use super::json::Path;
use crate::engine::maintain::{
    DamagedSnapshot, FoundTree, LostFile, RecoverReport, RepairIndexReport, RepairLogReport,
    RepairSnapshotsReport,
};
use serde::Serialize;

/// An object that cannot be used.
#[derive(Debug, Serialize)]
pub(crate) struct DamageLine {
    message_type: &'static str,
    object: String,
    message: String,
}

impl DamageLine {
    pub(crate) fn new(object: &str, message: &str) -> Self {
        Self { message_type: "damage", object: object.into(), message: message.into() }
    }
}

/// A file that is lost, wholly or in part.
#[derive(Debug, Serialize)]
pub(crate) struct LostFileLine {
    message_type: &'static str,
    snapshot_id: String,
    #[serde(flatten)]
    path: Path,
}

impl From<&LostFile> for LostFileLine {
    fn from(file: &LostFile) -> Self {
        let (snapshot_id, path) = (file.snapshot.to_string(), Path::new(&file.path));
        Self { message_type: "lost_file", snapshot_id, path }
    }
}

/// What a repair of the index saw and did.
#[derive(Debug, Serialize)]
pub(crate) struct RepairIndexSummary {
    message_type: &'static str,
    dry_run: bool,
    needed: bool,
    root: Option<u64>,
    base_root: u64,
    lost_roots: u64,
    lost_objects: u64,
    unreadable_records: u64,
    packs: u64,
    packs_indexed: u64,
    packs_whole: u64,
    bad_packs: u64,
    released_packs: u64,
    merged_deltas: u64,
    snapshots_back: Vec<String>,
    snapshots_missing: u64,
    forgotten_back: u64,
    lost_chunks: u64,
    found_chunks: u64,
    unreadable_pages: u64,
    lost_files: u64,
}

impl RepairIndexSummary {
    pub(crate) fn new(report: &RepairIndexReport, dry_run: bool) -> Self {
        Self {
            message_type: "summary",
            dry_run,
            needed: report.is_needed,
            root: report.root,
            base_root: report.base,
            lost_roots: report.lost_roots.len() as u64,
            lost_objects: report.lost_objects.len() as u64,
            unreadable_records: report.unreadable_ends.len() as u64,
            packs: report.packs,
            packs_indexed: report.packs_indexed,
            packs_whole: report.packs_whole,
            bad_packs: report.bad_packs.len() as u64,
            released_packs: report.released_packs.len() as u64,
            merged_deltas: report.merged_deltas,
            snapshots_back: report.snapshots_back.iter().map(ToString::to_string).collect(),
            snapshots_missing: report.snapshots_missing,
            forgotten_back: report.forgotten_back,
            lost_chunks: report.lost_chunks,
            found_chunks: report.found_chunks,
            unreadable_pages: report.unreadable_pages,
            lost_files: report.lost_file_count,
        }
    }
}

/// A snapshot that is damaged.
#[derive(Debug, Serialize)]
pub(crate) struct DamagedSnapshotLine {
    message_type: &'static str,
    id: String,
    short_id: String,
    record: Option<String>,
    lost_files: u64,
    left_files: u64,
    left_bytes: u64,
    repaired_id: Option<String>,
    is_new: bool,
}

impl From<&DamagedSnapshot> for DamagedSnapshotLine {
    fn from(damaged: &DamagedSnapshot) -> Self {
        let id = damaged.snapshot.id.to_string();
        Self {
            message_type: "damaged_snapshot",
            short_id: id[..8].to_owned(),
            id,
            record: damaged.record.clone(),
            lost_files: damaged.lost_count,
            left_files: damaged.left.files,
            left_bytes: damaged.left.bytes,
            repaired_id: damaged.repaired.map(|id| id.to_string()),
            is_new: damaged.is_new,
        }
    }
}

/// What a repair of logs saw and did.
#[derive(Debug, Serialize)]
pub(crate) struct RepairLogSummary {
    message_type: &'static str,
    dry_run: bool,
    objects: u64,
    bad_objects: u64,
    deleted_objects: u64,
}

impl RepairLogSummary {
    pub(crate) fn new(report: &RepairLogReport, dry_run: bool) -> Self {
        Self {
            message_type: "summary",
            dry_run,
            objects: report.objects,
            bad_objects: report.bad.len() as u64,
            deleted_objects: report.deleted,
        }
    }
}

/// What a repair of snapshots saw and did.
#[derive(Debug, Serialize)]
pub(crate) struct RepairSnapshotsSummary {
    message_type: &'static str,
    dry_run: bool,
    snapshots: u64,
    damaged_snapshots: u64,
    repaired_snapshots: u64,
    forgotten_snapshots: u64,
    unreadable_records: u64,
}

impl RepairSnapshotsSummary {
    pub(crate) fn new(report: &RepairSnapshotsReport, dry_run: bool) -> Self {
        Self {
            message_type: "summary",
            dry_run,
            snapshots: report.snapshots,
            damaged_snapshots: report.damaged.len() as u64,
            repaired_snapshots: report.damaged.iter().filter(|damaged| damaged.is_new).count() as u64,
            forgotten_snapshots: report.forgotten.len() as u64,
            unreadable_records: report.unreadable_ends.len() as u64,
        }
    }
}

/// A tree that no snapshot refers to.
#[derive(Debug, Serialize)]
pub(crate) struct FoundTreeLine {
    message_type: &'static str,
    session_id: String,
    files: u64,
    bytes: u64,
    snapshot_id: Option<String>,
    trouble: Option<String>,
}

impl From<&FoundTree> for FoundTreeLine {
    fn from(tree: &FoundTree) -> Self {
        Self {
            message_type: "found_tree",
            session_id: tree.session.to_string(),
            files: tree.counts.files,
            bytes: tree.counts.bytes,
            snapshot_id: tree.snapshot.map(|id| id.to_string()),
            trouble: tree.trouble.clone(),
        }
    }
}

/// What `recover` found.
#[derive(Debug, Serialize)]
pub(crate) struct RecoverSummary {
    message_type: &'static str,
    dry_run: bool,
    packs: u64,
    found_trees: u64,
    recovered_snapshots: u64,
}

impl RecoverSummary {
    pub(crate) fn new(report: &RecoverReport, dry_run: bool) -> Self {
        Self {
            message_type: "summary",
            dry_run,
            packs: report.packs,
            found_trees: report.trees.len() as u64,
            recovered_snapshots: report.trees.iter().filter(|tree| tree.snapshot.is_some()).count() as u64,
        }
    }
}
