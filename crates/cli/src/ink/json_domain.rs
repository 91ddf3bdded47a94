//! The JSON lines of `domain`, `init --domain` and `shred`, as `JSON.md` describes them.
//!
//! On purpose not here: anything secret.

use holdfast_engine::{Granted, ShredReport};
use serde::Serialize;

/// A domain that is there, or was made.
#[derive(Debug, Serialize)]
pub(crate) struct DomainLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) repository: &'a str,
}

/// Who opens a domain was brought in line with the repository.
#[derive(Debug, Serialize)]
pub(crate) struct GrantedLine<'a> {
    message_type: &'static str,
    name: &'a str,
    admitted: u64,
    removed: u64,
}

impl<'a> GrantedLine<'a> {
    pub(crate) const fn new(name: &'a str, granted: &Granted) -> Self {
        let Granted { admitted, removed } = *granted;
        Self { message_type: "domain_granted", name, admitted, removed }
    }
}

/// A domain was destroyed.
#[derive(Debug, Serialize)]
pub(crate) struct ShredSummary<'a> {
    message_type: &'static str,
    name: &'a str,
    id: Option<String>,
    snapshots: Option<u64>,
    accesses_kept: u64,
    objects_deleted: u64,
    objects_left: u64,
    key_versions_left: u64,
    evidence: &'a str,
}

impl<'a> ShredSummary<'a> {
    pub(crate) fn new(name: &'a str, report: &'a ShredReport, key_versions_left: u64) -> Self {
        Self {
            message_type: "shredded",
            name,
            id: report.id.map(|id| id.to_string()),
            snapshots: report.snapshots,
            accesses_kept: report.accesses,
            objects_deleted: report.deleted,
            objects_left: report.left,
            key_versions_left,
            evidence: &report.evidence,
        }
    }
}
