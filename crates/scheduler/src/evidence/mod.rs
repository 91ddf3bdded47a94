//! Evidence: what a drill did and found, as one record.
//!
//! Holds names, counts, times and reasons, never values of what was restored. On purpose not here:
//! where records are kept; the repository chains and signs them.

pub mod html;
pub mod junit;
pub mod markdown;
mod markup;
mod read;
#[cfg(test)]
mod samples;
pub mod words;

pub use read::{Unreadable, read};

use crate::drill::Phase;
use crate::drill::verdict::Verdict;
use holdfast_engine::proof::{Level, Probe};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of a record's fields.
pub const RECORD_VERSION: u32 = 1;

/// One drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`]; readers refuse later ones.
    pub version: u32,
    /// Its own id: 32 hexadecimal digits.
    pub id: String,
    /// The policy that was drilled.
    pub policy: String,
    /// BLAKE3 of the policy's file, hexadecimal.
    pub policy_hash: String,
    /// The host that it ran on.
    pub host: String,
    /// The user that it ran as.
    pub user: String,
    /// The version of the program.
    pub program: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended, scratch removed.
    pub ended: Timestamp,
    /// The name of the repository that it restored from, as in the policy.
    pub from: String,
    /// Its URL, without secrets.
    pub url: String,
    /// The label of the key that opened it.
    pub key: String,
    /// The level that was asked for.
    pub level: Level,
    /// What was proved of each source.
    pub sources: Vec<SourceRecord>,
    /// What was promised, and what was measured.
    pub objectives: Vec<Objective>,
    /// What became of scratch: who could read it, when it was removed, or until when it is kept.
    pub scratch: Vec<String>,
    /// What follows.
    pub verdict: Verdict,
    /// The exit code of the drill: 0, 20, 22, 21 or 23.
    pub code: u8,
}

/// What was proved of one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its name in the policy.
    pub source: String,
    /// `files`, `postgres`, `dumps`, `s3`, `command`, `restored_by`.
    pub kind: String,
    /// The snapshot; none for what another program restores.
    pub snapshot: Option<String>,
    /// When it was made.
    pub snapshot_time: Option<Timestamp>,
    /// To what moment it was restored, in words.
    pub point: String,
    /// The level up to which everything was looked at.
    pub reached: Option<Level>,
    /// Which part of all bytes was restored, 0 to 1.
    pub share: Option<f64>,
    /// How much was restored, in bytes.
    pub bytes: u64,
    /// What took how long.
    pub phases: Vec<Phase>,
    /// What was looked at.
    pub probes: Vec<Probe>,
    /// What follows for this source.
    pub verdict: Verdict,
}

/// One promise, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// `rpo` or `rto`.
    pub name: String,
    /// Which source.
    pub source: String,
    /// What was promised, in seconds.
    pub limit: f64,
    /// What was measured, in seconds.
    pub measured: f64,
    /// Whether it was held.
    pub met: bool,
    /// Whether breaking it counts here.
    pub enforced: bool,
    /// Whether the figure was extrapolated from a part.
    pub estimated: bool,
}
