//! What snapshots of clusters need of a log, from what was recorded of each.
//!
//! On purpose not here: what is kept for it, which the engine decides.

use crate::commands::Run;
use crate::engine::maintain::{LogNeed, LogUsers};
use crate::engine::{Repository, Snapshot, SnapshotFilter, details, snapshots};
use crate::fault::Fault;
use crate::wire_up::{Lsn, Record};
use holdfast_core::session::LogSpan;

/// What the summary of such a snapshot says that it is of.
const KIND: &str = "postgres";

/// The snapshots that need a log.
pub(crate) const USERS: LogUsers = LogUsers { kind: KIND, need };

fn need(record: &[u8]) -> Option<LogNeed> {
    Record::decode(record)?.log().map(LogNeed::from)
}

/// What a recovery begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    pub(crate) stop: Lsn,
    pub(crate) segment_bytes: u64,
}

impl Base {
    /// Reads what was recorded; `None` if it cannot be understood.
    fn read(record: &[u8]) -> Option<Self> {
        let record = Record::decode(record)?;
        let LogSpan { system, timeline, segment_bytes, .. } = record.log()?;
        Some(Self { system, timeline, stop: Lsn::parse(&record.stop_lsn)?, segment_bytes })
    }
}

/// All snapshots of clusters that a recovery can begin with, oldest first.
pub(crate) async fn bases(run: &Run, repository: &Repository) -> Result<Vec<(Snapshot, Base)>, Fault> {
    let listed = snapshots(&run.ctx, repository, &SnapshotFilter::default()).await?;
    run.tell(&listed.problems);
    let mut found = Vec::new();
    for snapshot in listed.value.into_iter().filter(|snapshot| snapshot.summary.kind == KIND) {
        let recorded = details(&run.ctx, repository, &snapshot).await?;
        match Base::read(&recorded.source_record) {
            Some(base) => found.push((snapshot, base)),
            None => {
                let id = &snapshot.id.to_string()[..8];
                run.ink.warn(&format!("what snapshot {id} says of its cluster cannot be understood"));
            }
        }
    }
    Ok(found)
}
