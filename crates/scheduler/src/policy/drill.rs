//! How it is proved that the backups restore, as a policy says it.
//!
//! On purpose not here: doing it, and what follows from what was found.

use super::secret::Credentials;
use super::units::{Size, Span};
use holdfast_engine::proof::Level;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// To what moment a drill restores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// The newest whole snapshot, and the end of its log.
    #[default]
    Latest,
    /// Any snapshot; of a cluster whose log is kept any moment that can be restored.
    Random,
    /// The oldest that is kept.
    Oldest,
}

/// Whether what a drill starts can reach the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// It cannot; where that cannot be had the drill is inconclusive.
    #[default]
    None,
    /// Not prevented; the evidence says so.
    Host,
}

/// How it is proved that the backups restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// When, as in `schedule` and in its zone; without one `run` drills at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How much is proved.
    #[serde(default = "full")]
    #[schemars(with = "LevelWord")]
    pub level: Level,
    /// To what moment.
    #[serde(default)]
    pub pick: Pick,
    /// Only what is younger is picked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// Names of copies, or `repository`; several take turns [default: all that there are].
    #[serde(default)]
    pub from: Vec<String>,
    /// Only these sources [default: all].
    #[serde(default)]
    pub sources: Vec<String>,
    /// Where it is restored to.
    #[serde(default)]
    pub scratch: Scratch,
    /// Drills run on these hosts only.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The user that a restored server runs as; never root [default: holdfast-drill, else nobody].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// Whether what it starts can reach the network.
    #[serde(default)]
    pub network: Isolation,
    /// What else has to hold.
    #[serde(default, rename = "assert")]
    pub assertions: Vec<Assertion>,
    /// How long checks may take; relations that they did not come to are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Span>,
    /// So much is fetched at most; beyond that only a part of the files is restored, and the share told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_download: Option<Size>,
}

fn full() -> Level {
    Level::Full
}

/// The words of a level, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "named by the schema only")]
enum LevelWord {
    Read,
    Restore,
    Boot,
    Check,
    Full,
}

/// Where a drill restores to. Everything that it makes there is removed again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// A folder of its own. Needed for clusters and for anything above 10 GiB
    /// [default: below the cache folder].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// So much room may be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Size>,
    /// A bucket to restore buckets to, below a prefix of its own [default: they become files].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<ScratchBucket>,
    /// Keep what a failed drill restored for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_on_failure: Option<Span>,
    /// Allow the file system of a running data directory or of the repository.
    #[serde(default)]
    pub allow_same_filesystem: bool,
}

/// A bucket that a drill restores buckets to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScratchBucket {
    /// `s3://bucket/prefix?endpoint=…`.
    pub url: String,
    /// Open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Something that has to hold in what was restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Which source.
    pub source: String,
    /// What it is called in the evidence [default: its number].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In which database the query runs [default: postgres].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Returns one boolean or one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// What it has to return: `true`, a number, or `{ min: 1, max: 10 }` [default: true].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// Every key that a query returns is an object of another source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_exist: Option<KeysExist>,
    /// A program that ends with 0 if all is well; `{target}` is what was restored.
    #[serde(default)]
    pub command: Vec<String>,
    /// How long it may take [default: 10m].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// What an assertion has to return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "write `true`, `false`, a number, or { min: 1, max: 10 }")]
pub enum Expect {
    /// This.
    Truth(bool),
    /// This number.
    Number(f64),
    /// A number from … to.
    Range(Range),
}

/// From … to, both taken in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// At least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Keys that have to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeysExist {
    /// Returns one column: keys as the bucket has them, or paths of files. They are never shown, only counted.
    pub query: String,
    /// The source that has them as objects or files.
    #[serde(rename = "in")]
    pub source: String,
}
