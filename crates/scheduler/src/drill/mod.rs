//! Drills: a snapshot is restored by the ordinary road, and it is proved that it came back.
//!
//! On purpose not here: what is looked at inside a cluster; how evidence is written down.

pub mod asserted;
pub mod bucket;
pub mod cluster;
pub mod command;
mod compare;
pub mod conduct;
pub mod dumps;
#[cfg(test)]
pub(crate) mod fake;
pub mod files;
mod objectives;
mod parts;
pub mod past;
mod pick;
mod prove;
pub(crate) mod restored;
pub mod restored_by;
mod sample;
pub mod scratch;
pub(crate) mod told;
pub mod verdict;

use crate::hands::{Begun, Place};
use crate::policy::{Policy, Source};
use holdfast_engine::proof::{Level, Probe};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A snapshot as `snapshots --json` tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Its id.
    pub id: String,
    /// When its capture began.
    pub time: Timestamp,
    /// When it ended: up to there it proves that nothing is lost.
    pub ended: Timestamp,
    /// Paths that were backed up.
    pub paths: Vec<String>,
    /// Whether something in it is missing.
    pub incomplete: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its number of files.
    pub files: u64,
    /// What was recorded beside it.
    pub facts: BTreeMap<String, String>,
}

/// To what moment a source is restored.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    /// As the snapshot is.
    Snapshot,
    /// Along the log: the words of `restore --to`, and the moment that is meant.
    Along(String, Option<Timestamp>),
}

/// One source of a drill.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The name of the source in it.
    pub name: &'a str,
    /// The source.
    pub source: &'a Source,
    /// Where it is restored from; opened by the key that reads.
    pub from: &'a Place,
    /// What is restored; none for what another program restores.
    pub snapshot: Option<&'a Recorded>,
    /// To what moment.
    pub point: &'a Point,
    /// Up to which level.
    pub level: Level,
    /// An empty folder of its own.
    pub scratch: &'a PathBuf,
    /// The drill, if its beginning is in the evidence.
    pub within: Option<&'a Begun>,
}

/// A part of a restore that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// `restore`, `fetch log`, `replay`, `checks`.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether it is a part of the time to have it back: checks are not.
    pub counts: bool,
}

/// What was found out about one source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proof {
    /// What was looked at.
    pub probes: Vec<Probe>,
    /// What took how long, in order.
    pub phases: Vec<Phase>,
    /// The level up to which everything was looked at.
    pub reached: Option<Level>,
    /// How much was restored, in bytes.
    pub bytes: u64,
    /// Which part of all bytes was restored, 0 to 1; 1 where all were.
    pub share: Option<f64>,
}
