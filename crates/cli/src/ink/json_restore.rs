//! The JSON lines of restores: what is to come, what was deleted, what became of it.
//!
//! On purpose not here: what went wrong, which has the lines of any run.

use super::json::{Around, ItemPath, Path};
use crate::engine::{RestoreReport, Snapshot};
use crate::wire_up::Difference;
use serde::Serialize;

/// Which snapshot a restore takes, before it begins.
#[derive(Debug, Serialize)]
pub(crate) struct PlanLine {
    pub(crate) message_type: &'static str,
    pub(crate) snapshot_id: String,
    pub(crate) hostname: String,
    pub(crate) source: String,
    pub(crate) time: String,
    pub(crate) incomplete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) passed_over: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ahead: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) without_path: Option<String>,
    pub(crate) target: String,
    pub(crate) dry_run: bool,
}

/// A thing that a restore deleted, or would delete.
#[derive(Debug, Serialize)]
pub(crate) struct DeletedLine {
    message_type: &'static str,
    #[serde(flatten)]
    item: ItemPath,
}

impl DeletedLine {
    pub(crate) fn new(path: &[u8]) -> Self {
        let Path { path: item, path_base64: item_base64 } = Path::new(path);
        Self { message_type: "deleted", item: ItemPath { item, item_base64 } }
    }
}

/// A pack that a restore needs, and that lies in an archive.
#[derive(Debug, Serialize)]
pub(crate) struct ArchivedPackLine<'a> {
    message_type: &'static str,
    pack: &'a str,
    storage_class: &'a str,
}

impl<'a> ArchivedPackLine<'a> {
    pub(crate) const fn new(pack: &'a str, storage_class: &'a str) -> Self {
        Self { message_type: "archived_pack", pack, storage_class }
    }
}

/// A part of a bucket's configuration that is not as it was kept.
#[derive(Debug, Serialize)]
pub(crate) struct ConfigurationLine<'a> {
    message_type: &'static str,
    part: &'a str,
    difference: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    there: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl<'a> ConfigurationLine<'a> {
    pub(crate) fn new(part: &'a str, difference: &'a Difference) -> Self {
        let (word, kept, there, why) = match difference {
            Difference::Other { wanted, there } => ("other", Some(&**wanted), Some(&**there), None),
            Difference::Missing(wanted) => ("missing", Some(&**wanted), None, None),
            Difference::Extra(there) => ("extra", None, Some(&**there), None),
            Difference::NotKept => ("not_kept", None, None, None),
            Difference::Unknown(why) => ("unknown", None, None, Some(why.as_str())),
        };
        Self { message_type: "bucket_configuration", part, difference: word, kept, there, why }
    }
}

/// What was compared after a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Verified {
    /// Files whose content is right.
    pub(crate) files: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// What a restore made, or would make.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreSummary {
    message_type: &'static str,
    snapshot_id: String,
    dry_run: bool,
    files_restored: u64,
    dirs_restored: u64,
    others_restored: u64,
    bytes_restored: u64,
    items_created: u64,
    items_rewritten: u64,
    items_attributes_only: u64,
    items_unchanged: u64,
    items_left: u64,
    items_deleted: u64,
    bytes_written: u64,
    bytes_fetched: u64,
    ranges_fetched: u64,
    packs_read: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_verified: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_verified: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects_newer: Option<u64>,
    seconds_elapsed: f64,
    error_count: u64,
    notice_count: u64,
}

impl RestoreSummary {
    pub(crate) fn new(
        snapshot: &Snapshot,
        report: &RestoreReport,
        verified: Option<Verified>,
        newer: Option<u64>,
        around: Around,
    ) -> Self {
        Self {
            message_type: "summary",
            snapshot_id: snapshot.id.to_string(),
            dry_run: around.dry_run,
            files_restored: report.files,
            dirs_restored: report.directories,
            others_restored: report.others,
            bytes_restored: report.bytes,
            items_created: report.tally.created,
            items_rewritten: report.tally.rewritten,
            items_attributes_only: report.tally.attributes_only,
            items_unchanged: report.tally.unchanged,
            items_left: report.tally.left,
            items_deleted: report.tally.deleted,
            bytes_written: report.tally.bytes_written,
            bytes_fetched: report.bytes_fetched,
            ranges_fetched: report.ranges,
            packs_read: report.packs,
            files_verified: verified.map(|verified| verified.files),
            seconds_verified: verified.map(|verified| verified.seconds),
            objects_newer: newer,
            seconds_elapsed: around.seconds,
            error_count: around.errors,
            notice_count: around.notices,
        }
    }
}
