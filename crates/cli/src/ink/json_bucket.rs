//! The JSON lines of buckets: what was found out of one, who may do what, what was asked of a server.
//!
//! On purpose not here: buckets that are backed up; their summary is that of any backup.

use holdfast_store::Traffic;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was found out of a place for a repository, or of a server that is to be backed up.
#[derive(Debug, Serialize)]
pub(crate) struct PreflightLine {
    pub(crate) message_type: &'static str,
    pub(crate) repository: String,
    pub(crate) proved: Vec<String>,
    pub(crate) harmful: Vec<String>,
    pub(crate) notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<Vec<String>>,
}

/// A policy for a bucket.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyLine {
    pub(crate) message_type: &'static str,
    pub(crate) role: &'static str,
    pub(crate) policy: String,
}

/// What was asked of a server.
#[derive(Debug, Serialize)]
pub(crate) struct TrafficLine<'a> {
    message_type: &'static str,
    repository: &'a str,
    requests: &'a BTreeMap<&'static str, u64>,
    sent_bytes: u64,
    received_bytes: u64,
}

impl<'a> TrafficLine<'a> {
    pub(crate) fn new(repository: &'a str, traffic: &'a Traffic) -> Self {
        let Traffic { requests, sent_bytes, received_bytes } = traffic;
        let (sent_bytes, received_bytes) = (*sent_bytes, *received_bytes);
        Self { message_type: "requests", repository, requests, sent_bytes, received_bytes }
    }
}
