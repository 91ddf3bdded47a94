//! The JSON lines of `wal`, as `JSON.md` describes them.
//!
//! On purpose not here: what `prune` says of logs, which is in its summary.

use super::moment::rfc3339;
use crate::engine::wal::{Coverage, Gap, SegmentName, Timeline, WalListed};
use holdfast_core::entry::Time;
use serde::Serialize;

/// Whose log a line is about. A system identifier is text: it has more digits than some readers keep.
#[derive(Debug, Serialize)]
struct Whose {
    system: String,
    timeline: String,
}

impl From<&Timeline> for Whose {
    fn from(timeline: &Timeline) -> Self {
        Self { system: timeline.system.to_string(), timeline: timeline.to_string() }
    }
}

/// A file that the archive has now.
#[derive(Debug, Serialize)]
pub(crate) struct WalPushedLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    whose: Whose,
    file: &'a str,
    new: bool,
}

impl<'a> WalPushedLine<'a> {
    pub(crate) fn new(timeline: &Timeline, file: &'a str, new: bool) -> Self {
        Self { message_type: "wal_pushed", whose: timeline.into(), file, new }
    }
}

/// A file that was fetched.
#[derive(Debug, Serialize)]
pub(crate) struct WalFetchedLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    whose: Whose,
    file: &'a str,
    bytes: u64,
    filled_bytes: u64,
}

impl<'a> WalFetchedLine<'a> {
    /// `filled` bytes at its end are zeros, for there is no more of it.
    pub(crate) fn new(timeline: &Timeline, file: &'a str, bytes: u64, filled: u64) -> Self {
        Self { message_type: "wal_fetched", whose: timeline.into(), file, bytes, filled_bytes: filled }
    }
}

/// An object of the archive.
#[derive(Debug, Serialize)]
pub(crate) struct WalFileLine<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    whose: Whose,
    file: &'a str,
    piece: Option<u32>,
    stored_bytes: u64,
}

impl<'a> From<&'a WalListed> for WalFileLine<'a> {
    fn from(listed: &'a WalListed) -> Self {
        Self {
            message_type: "wal_file",
            whose: (&listed.name.timeline).into(),
            file: &listed.name.file,
            piece: listed.name.piece,
            stored_bytes: listed.stored_bytes,
        }
    }
}

/// What is missing of a timeline.
#[derive(Debug, Serialize)]
struct GapLine {
    after: String,
    before: String,
    missing_segments: u64,
}

impl From<&Gap> for GapLine {
    fn from(gap: &Gap) -> Self {
        Self { after: gap.after.to_string(), before: gap.before.to_string(), missing_segments: gap.missing }
    }
}

/// What there is of a timeline.
#[derive(Debug, Serialize)]
pub(crate) struct WalTimelineLine {
    message_type: &'static str,
    #[serde(flatten)]
    whose: Whose,
    first: Option<String>,
    last: Option<String>,
    segments: u64,
    in_pieces: u64,
    torn: Vec<String>,
    stored_bytes: u64,
    newest: Option<String>,
    gaps: Vec<GapLine>,
}

impl WalTimelineLine {
    pub(crate) fn new(coverage: &Coverage, gaps: &[Gap], torn: &[SegmentName], newest: Option<Time>) -> Self {
        let ends = coverage.ends();
        Self {
            message_type: "wal_timeline",
            whose: (&coverage.timeline).into(),
            first: ends.map(|(first, _)| first.to_string()),
            last: ends.map(|(_, last)| last.to_string()),
            segments: coverage.segments.len() as u64,
            in_pieces: coverage.in_pieces(),
            torn: torn.iter().map(ToString::to_string).collect(),
            stored_bytes: coverage.stored_bytes,
            newest: newest.map(rfc3339),
            gaps: gaps.iter().map(GapLine::from).collect(),
        }
    }
}

/// Moments that can be recovered.
#[derive(Debug, Serialize)]
pub(crate) struct WalWindowLine {
    message_type: &'static str,
    #[serde(flatten)]
    whose: Whose,
    snapshot_id: String,
    snapshot_ids: Vec<String>,
    from: String,
    from_lsn: String,
    to_lsn: String,
    to_newest: bool,
}

impl WalWindowLine {
    /// From the end of a snapshot on, to a place in the log, which may be its end.
    pub(crate) fn new(
        timeline: &Timeline,
        (snapshot, from): (String, Time),
        snapshot_ids: Vec<String>,
        lsn: (String, String),
        to_newest: bool,
    ) -> Self {
        Self {
            message_type: "wal_window",
            whose: timeline.into(),
            snapshot_id: snapshot,
            snapshot_ids,
            from: rfc3339(from),
            from_lsn: lsn.0,
            to_lsn: lsn.1,
            to_newest,
        }
    }
}

/// What `wal status` found.
#[derive(Debug, Serialize)]
pub(crate) struct WalStatusSummary {
    pub(crate) message_type: &'static str,
    pub(crate) databases: u64,
    pub(crate) timelines: u64,
    pub(crate) gap_count: u64,
    pub(crate) wal_bytes: u64,
}

/// A cluster that archives again.
#[derive(Debug, Serialize)]
pub(crate) struct AdoptedLine {
    pub(crate) message_type: &'static str,
    pub(crate) system: String,
    pub(crate) was_off: bool,
}
