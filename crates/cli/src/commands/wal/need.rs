//! What snapshots of clusters need of a log, from what was recorded of each.
//!
//! On purpose not here: what is kept for it, which the engine decides.

use crate::commands::Run;
use crate::engine::maintain::{LogNeed, LogUsers};
use crate::engine::wal::{SegmentName, is_segment_length};
use crate::engine::{Repository, Snapshot, SnapshotFilter, details, snapshots};
use crate::fault::Fault;
use crate::wire_up::{Lsn, Record};

/// What the summary of such a snapshot says that it is of.
const KIND: &str = "postgres";

/// The snapshots that need a log.
pub(crate) const USERS: LogUsers = LogUsers { kind: KIND, need };

fn need(record: &[u8]) -> Option<LogNeed> {
    Base::read(record).map(|base| base.need())
}

/// What a recovery begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    pub(crate) start: Lsn,
    pub(crate) stop: Lsn,
    pub(crate) segment_bytes: u64,
}

impl Base {
    /// Reads what was recorded; `None` if it cannot be understood.
    fn read(record: &[u8]) -> Option<Self> {
        let record = Record::decode(record)?;
        let (start, stop) = (Lsn::parse(&record.start_lsn)?, Lsn::parse(&record.stop_lsn)?);
        let sound = is_segment_length(record.segment_bytes) && start < stop;
        sound.then_some(Self {
            system: record.system_identifier.parse().ok()?,
            timeline: record.timeline,
            start,
            stop,
            segment_bytes: record.segment_bytes,
        })
    }

    fn need(&self) -> LogNeed {
        let at = |byte| SegmentName::at(self.timeline, byte, self.segment_bytes);
        LogNeed {
            system: self.system,
            first: at(self.start.0),
            // The stop is the first byte that is not needed.
            last: at(self.stop.0 - 1),
            segment_bytes: self.segment_bytes,
        }
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
