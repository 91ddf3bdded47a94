//! Reads a record as it was stored, and what follows from its fields.
//!
//! On purpose not here: where it was stored.

use super::{RECORD_VERSION, Record};
use holdfast_engine::proof::{Finding, Probe};
use serde::Deserialize;

/// Why a text is no record that this program can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A later version of the program wrote it.
    #[error("the record is of version {0}, and this program knows versions up to {RECORD_VERSION}")]
    Newer(u64),
    /// It is no record of a drill.
    #[error("it is no record of a drill: {0}")]
    Malformed(String),
}

/// What every version of a record has.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// Reads a record of a drill. Fields that this version does not know are passed over.
///
/// # Errors
/// It is of a later version, or no record.
pub fn read(text: &[u8]) -> Result<Record, Unreadable> {
    let malformed = |error: serde_json::Error| Unreadable::Malformed(error.to_string());
    let Versioned { version } = serde_json::from_slice(text).map_err(malformed)?;
    if version > u64::from(RECORD_VERSION) {
        return Err(Unreadable::Newer(version));
    }
    serde_json::from_slice(text).map_err(malformed)
}

impl Record {
    /// How long the drill took, in seconds.
    #[must_use]
    pub fn took(&self) -> f64 {
        ((self.ended.as_nanosecond() - self.started.as_nanosecond()).max(0) as f64) / 1e9
    }

    fn probes(&self) -> impl Iterator<Item = (&str, &Probe)> {
        self.sources
            .iter()
            .flat_map(|source| source.probes.iter().map(move |probe| (source.source.as_str(), probe)))
    }

    /// All that was found to be wrong: source, probe, finding.
    pub fn findings(&self) -> impl Iterator<Item = (&str, &Probe, &Finding)> {
        self.probes()
            .flat_map(|(source, probe)| probe.findings.iter().map(move |finding| (source, probe, finding)))
    }

    /// All that could not be proved: source, probe, what and why.
    pub fn not_provable(&self) -> impl Iterator<Item = (&str, &Probe, &str)> {
        self.probes().flat_map(|(source, probe)| {
            probe.not_provable.iter().map(move |what| (source, probe, what.as_str()))
        })
    }
}
