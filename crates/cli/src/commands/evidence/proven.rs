//! Which snapshots drills proved, as their records say.
//!
//! On purpose not here: what keeps such a snapshot.

use super::super::Run;
use super::pick::{DRILL, all};
use crate::engine::Repository;
use crate::engine::evidence::records;
use crate::fault::Fault;
use holdfast_core::id::SessionId;
use serde_json::Value;
use std::collections::BTreeSet;

/// Snapshots that were proved to come back.
pub(in crate::commands) async fn proven(
    run: &Run,
    repository: &Repository,
) -> Result<BTreeSet<SessionId>, Fault> {
    let book = records(&run.ctx, repository).await.map_err(Fault::from)?;
    let told = all(&book, repository);
    let drills = told.iter().filter(|told| told.record.kind == DRILL);
    let sources = drills.filter_map(|told| told.value["sources"].as_array()).flatten();
    Ok(sources.filter(|source| is_proof(source)).filter_map(snapshot).collect())
}

/// That every chunk could be opened is no proof that it comes back.
fn is_proof(source: &Value) -> bool {
    source["verdict"] == "pass" && source["reached"].as_str().is_some_and(|level| level != "read")
}

fn snapshot(source: &Value) -> Option<SessionId> {
    source["snapshot"].as_str()?.parse().ok()
}
