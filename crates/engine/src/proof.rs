//! What a drill finds out, in words that every kind of source can say: probes and findings.
//!
//! On purpose not here: what is probed, and the verdict that follows from it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much a drill proves; each level takes in those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every chunk was opened.
    Read,
    /// Every byte and attribute is as it was recorded.
    Restore,
    /// What was restored starts, and the point that was meant is reached.
    Boot,
    /// It is sound inside: checksums, indexes, a dump of everything.
    Check,
    /// It is what its users expect: assertions and objectives hold.
    Full,
}

/// Whose fault a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The backup's: bytes are not what was recorded, or are missing.
    Backup,
    /// The source's: bytes are as recorded, and production itself is damaged.
    Source,
    /// The place's where the drill ran: a program, a library, a collation, room. Proves nothing.
    Environment,
    /// A statement of the user's about what is in it does not hold.
    Assertion,
}

/// Something that is not as it should be. Holds names, counts and reasons, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Whose fault it is.
    pub cause: Cause,
    /// What is wrong, on what, why.
    pub what: String,
    /// What to do now; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What was looked at, in a few words: `checksums`, `indexes of shop`.
    pub name: String,
    /// The level that it belongs to.
    pub level: Level,
    /// How long it took.
    pub seconds: f64,
    /// What was counted, by names of several words at most: `files`, `bytes`, `relations`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// What is worth knowing of how it was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What could not be proved here, and why; no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_provable: Vec<String>,
    /// What is wrong; none where all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Probe {
    /// A probe that found nothing wrong so far.
    #[must_use]
    pub fn new(name: impl Into<String>, level: Level) -> Self {
        Self {
            name: name.into(),
            level,
            seconds: 0.0,
            counts: BTreeMap::new(),
            notes: Vec::new(),
            not_provable: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Adds something that is wrong.
    pub fn finds(&mut self, cause: Cause, what: impl Into<String>, next: impl Into<String>) {
        self.findings.push(Finding { cause, what: what.into(), next: next.into() });
    }
}
