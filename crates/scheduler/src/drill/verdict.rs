//! What follows from what a drill found out.
//!
//! On purpose not here: finding it out.

use holdfast_engine::proof::{Cause, Probe};
use serde::{Deserialize, Serialize};

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It comes back.
    Pass,
    /// It does not, or not as promised.
    Fail,
    /// Nothing was proved. Not a pass.
    Inconclusive,
}

impl Verdict {
    /// What follows from probes; from none nothing.
    #[must_use]
    pub fn of<'a>(probes: impl IntoIterator<Item = &'a Probe>) -> Self {
        let (mut verdict, mut looked) = (Self::Pass, false);
        for probe in probes {
            looked |= probe.not_provable.is_empty() || !probe.counts.is_empty();
            for finding in &probe.findings {
                verdict = verdict.and(match finding.cause {
                    Cause::Environment => Self::Inconclusive,
                    Cause::Backup | Cause::Source | Cause::Assertion => Self::Fail,
                });
            }
        }
        if looked { verdict } else { verdict.and(Self::Inconclusive) }
    }

    /// What follows from two: a failure is a failure whatever else could not be proved.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fail, _) | (_, Self::Fail) => Self::Fail,
            (Self::Inconclusive, _) | (_, Self::Inconclusive) => Self::Inconclusive,
            (Self::Pass, Self::Pass) => Self::Pass,
        }
    }
}
