//! Where a plan gets segments and histories from.
//!
//! On purpose not here: what is in them.

use holdfast_engine::error::Result;
use holdfast_engine::wal::{SegmentName, Timeline, WalArchive, WalName};
use std::future::Future;

/// What a plan asks for.
pub trait Shelf: Sync {
    /// A segment of a timeline, or the front of it that is there; `None` if it is missing.
    fn segment(
        &self,
        timeline: &Timeline,
        name: SegmentName,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// The history file that lies in a snapshot for the timeline it was made on.
    fn history_of(&self, base: usize) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;
}

/// An archive as a shelf for those who need no snapshots.
#[derive(Debug, Clone)]
pub struct Archived(pub WalArchive);

impl Archived {
    /// A segment, whole or in pieces.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn read(&self, timeline: &Timeline, name: SegmentName) -> Result<Option<Vec<u8>>> {
        let file = name.to_string();
        if let Some(content) = self.0.get(&WalName::whole(*timeline, &file)).await? {
            return Ok(Some(content));
        }
        let pieces = self.0.pieces(timeline, &file).await?;
        Ok((pieces.count > 0).then_some(pieces.content))
    }
}

impl Shelf for Archived {
    async fn segment(&self, timeline: &Timeline, name: SegmentName) -> Result<Option<Vec<u8>>> {
        self.read(timeline, name).await
    }

    async fn history_of(&self, _base: usize) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
