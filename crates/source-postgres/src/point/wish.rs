//! What somebody wants of a restore, and why it cannot be had.
//!
//! On purpose not here: words; whoever talks to people makes them.

use super::search::Seen;
use crate::lsn::Lsn;
use crate::records::PgTime;
use holdfast_engine::error::Error;
use holdfast_engine::wal::{SegmentName, Timeline};

/// Up to where the log is replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To its end.
    Latest,
    /// Until the files are consistent, and no further.
    Immediate,
    /// To a moment.
    Time(PgTime),
    /// To a place.
    Lsn(Lsn),
    /// To the end of a transaction.
    Xid(u32),
    /// To a restore point.
    Name(String),
}

/// Which timeline is meant: its number, and if that does not tell, what its history begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub number: u32,
    /// Hexadecimal digits with which the hash of its history begins.
    pub history: String,
}

impl Choice {
    /// Reads `2`, `2-c0ffee` or `00000002-00c0ffee00c0ffee`, as an archive shows them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, history) =
            text.split_once('-').map_or((text, None), |(number, rest)| (number, Some(rest)));
        let radix = if number.len() == 8 { 16 } else { 10 };
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = plain.then(|| u32::from_str_radix(number, radix).ok()).flatten()?;
        let hex =
            |text: &str| !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if number == 0 || !history.is_none_or(hex) {
            return None;
        }
        Some(Self { number, history: history.unwrap_or_default().to_ascii_lowercase() })
    }

    /// Whether a timeline may be meant.
    #[must_use]
    pub fn fits(&self, timeline: &Timeline) -> bool {
        let history = format!("{:016x}", u64::from_be_bytes(timeline.history));
        timeline.number == self.number && history.starts_with(&self.history)
    }
}

/// All that somebody states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Up to where.
    pub target: Target,
    /// Stop before what the target names, not after.
    pub exclusive: bool,
    /// Along which timeline.
    pub choice: Option<Choice>,
}

/// One of several timelines that a target could mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Which.
    pub timeline: Timeline,
    /// Where it begins.
    pub begins: Option<Lsn>,
    /// The last commit on it that was seen.
    pub last: Option<Seen>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanError {
    /// There is no log of this database in the archive.
    NoArchive,
    /// No timeline in the archive is the one that was chosen; these there are.
    NoLine(Vec<Timeline>),
    /// More than one timeline could be meant.
    Choose(Vec<Rival>),
    /// The history file of a timeline is missing, or is none.
    NoHistory(Timeline),
    /// All snapshots end behind the target; the oldest that was looked at.
    TooNew(usize),
    /// No snapshot lies on the way along the timeline that is meant.
    NoBase,
    /// Segments are missing; the log after them is there.
    Gap {
        /// The first that is missing.
        first: SegmentName,
        /// The first that is there again; none if nothing is.
        next: Option<SegmentName>,
        /// The last commit before it, as far as it was looked for.
        last: Option<Seen>,
    },
    /// The log cannot be read further than this.
    Broken(Lsn, String),
    /// The log from here to there has no such thing.
    NotFound(Lsn, Lsn),
    /// Something could not be read.
    Unread(Error),
}

impl From<Error> for PlanError {
    fn from(error: Error) -> Self {
        Self::Unread(error)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn timelines_are_chosen_by_number_and_history() {
        let timeline = Timeline { system: 7, number: 31, history: [0xC0, 0xFF, 0xEE, 0, 0, 0, 0, 1] };
        for text in
            ["31", "31-c0", "31-C0FFEE", "0000001f", "0000001f-c0ffee0000000001", &timeline.to_string()]
        {
            assert!(Choice::parse(text).unwrap().fits(&timeline), "{text}");
        }
        for text in ["1", "31-d", "0000001e"] {
            assert!(!Choice::parse(text).unwrap().fits(&timeline), "{text}");
        }
        for text in ["", "0", "-", "1-", "x", "1-x", "+1", "1-00000000000000000", "99999999999"] {
            assert_eq!(Choice::parse(text), None, "{text}");
        }
    }
}
