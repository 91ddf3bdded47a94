//! Policies: what is backed up, where to, when, how long it is kept, what is promised, and how the
//! promise is proved.
//!
//! Each struct is a part of the YAML file, word for word; the JSON Schema comes from the same types.
//! On purpose not here: reading a file (`read`), judging it (`lint`), and doing what it says.

mod drill;
pub mod kind;
pub mod lint;
mod named;
mod nearest;
mod order;
pub mod place;
pub mod plan;
pub mod read;
mod rules;
pub mod schema;
pub mod secret;
mod tree;
mod typed;
pub mod units;

pub use drill::{Assertion, Drill, Expect, Isolation, KeysExist, Pick, Range, Scratch, ScratchBucket};
pub use kind::Kind;
pub use order::Sources;
pub use place::{Activity, REPOSITORY};

use schemars::JsonSchema;
use secret::{Credentials, Keys, SecretRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use units::{Size, Span};

/// One policy: the whole of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What it is called; its sources are `name/source` in the repository.
    pub name: String,
    /// Where backups go.
    pub repository: Repository,
    /// Other repositories that every snapshot is copied to.
    #[serde(default)]
    pub copies: Vec<CopyTo>,
    /// What is backed up, in this order.
    pub sources: Sources,
    /// When; without one the policy runs only by hand or from another scheduler.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// What is kept; without one nothing is ever forgotten.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// When the repository is cleaned of what no snapshot needs.
    #[serde(default)]
    pub prune: Option<PruneRule>,
    /// When the repository is checked.
    #[serde(default)]
    pub check: Option<CheckRule>,
    /// What is promised; a source may promise its own.
    #[serde(default)]
    pub objectives: Objectives,
    /// How it is proved that the backups restore.
    #[serde(default)]
    pub drill: Option<Drill>,
    /// Who is told, and of what.
    #[serde(default)]
    pub notify: Vec<Notify>,
    /// What is called while all is well, so that somebody outside notices when it stops.
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// How everything stands, told regularly, also when all is well [default: Mondays at 8:00].
    #[serde(default)]
    pub digest: Option<Digest>,
    /// What runs around a backup.
    #[serde(default)]
    pub hooks: Hooks,
    /// Labels that a worker of `serve` needs to run this policy, all of them [default: any worker does].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<String>,
    /// What of this host, or of its accounts of buckets, nobody wants back for now: `policy coverage` and the digest
    /// leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Ignore>,
}

/// Something that nobody wants back, for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// A mount point, a cluster or a bucket, as `policy coverage` lists it.
    pub path: String,
    /// The last day on which it is left out: 2027-06-30.
    pub until: String,
    /// Why.
    pub reason: String,
}

/// Where backups go, and what opens it: a password for everything, or a key for each activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// `/path` or `s3://bucket/prefix?endpoint=…`. A path may begin with `~/`.
    pub url: String,
    /// Opens it for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// Open it for one activity each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// Open its bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Make it if it is not there yet. The recovery kit is written beside a local one.
    #[serde(default)]
    pub create: bool,
}

/// Another repository that every snapshot is copied to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyTo {
    /// What it is called in the policy.
    pub name: String,
    /// As that of the repository.
    pub url: String,
    /// Opens it for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// Open it for one activity each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// Open its bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Make it if it is not there yet.
    #[serde(default)]
    pub create: bool,
    /// So far it may be behind before that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<Span>,
    /// What is kept there [default: as in the repository].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// One thing that is backed up. Exactly one of the first five says what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Folders and files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// A cluster of PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// A bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<Bucket>,
    /// What a program writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSource>,
    /// Something that another program backs up: only drilled here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_by: Option<RestoredBy>,
    /// When, if not when the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What is lost at most, if not what the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Span>,
    /// How long it takes at most to have it back, if not what the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Rto>,
    /// What may be missing without the backup counting as incomplete: paths that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<Accept>,
    /// What runs around the backup of this source.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
}

/// Folders and files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// What is backed up.
    pub paths: Vec<PathBuf>,
    /// What is left out, by patterns.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Leave out folders that are marked as caches.
    #[serde(default)]
    pub exclude_caches: bool,
    /// Leave out folders that hold a file of this name.
    #[serde(default)]
    pub exclude_if_present: Vec<String>,
    /// Leave out larger files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_larger_than: Option<Size>,
    /// Stay on the file systems of the paths.
    #[serde(default)]
    pub one_file_system: bool,
}

/// What becomes of a cluster's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogMode {
    /// Only what a backup needs is kept.
    #[default]
    Off,
    /// `wal stream` fetches it as it is written.
    Stream,
    /// The server's `archive_command` calls `wal push`.
    Archive,
}

/// A cluster of PostgreSQL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user@host:port/`; the password comes from PGPASSFILE.
    pub url: String,
    /// The file with the server's passwords, in the usual format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passfile: Option<PathBuf>,
    /// What becomes of its log.
    #[serde(default)]
    pub wal: LogMode,
    /// The slot that `wal stream` uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// So much log may the slot keep on the server before it is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_limit: Option<Size>,
    /// Dump databases instead of copying the cluster; an empty list for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical: Option<Logical>,
    /// Tables whose rows are counted at backup and again by a drill: `database.schema.table`.
    #[serde(default)]
    pub count_rows: Vec<String>,
    /// Folders of server programs that a drill looks into first.
    #[serde(default)]
    pub bin_dirs: Vec<PathBuf>,
}

/// Which databases are dumped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logical {
    /// These only; all if there are none.
    #[serde(default)]
    pub databases: Vec<String>,
}

/// A bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// `s3://bucket/prefix?endpoint=…`.
    pub url: String,
    /// Open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// What is left out, by patterns.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What is kept of each object beside its content, as `backup --metadata` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// What a program writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandSource {
    /// The program and its arguments; what it writes is backed up. No shell reads them.
    pub run: Vec<String>,
    /// The file that it becomes in the snapshot.
    pub file_name: String,
    /// Proves a restored one: program and arguments; `{target}` is the restored file. Without it a
    /// drill of this source proves nothing.
    #[serde(default)]
    pub verify: Vec<String>,
    /// How long `verify` may take [default: 1h].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// What kind of thing another program restores, and so how it is probed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RestoredKind {
    /// Files; `verify` proves them.
    #[default]
    Files,
    /// The data directory of a cluster of PostgreSQL, which is started and checked.
    Postgres,
}

/// Something that another program backs up: a drill restores it by that program and probes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoredBy {
    /// The program and its arguments; `{target}` is an empty folder to restore into.
    pub command: Vec<String>,
    /// What it restores.
    #[serde(rename = "as", default)]
    pub kind: RestoredKind,
    /// Proves what was restored; `{target}` is the folder.
    #[serde(default)]
    pub verify: Vec<String>,
    /// How long either may take [default: 6h].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Folders of server programs that a drill looks into first.
    #[serde(default)]
    pub bin_dirs: Vec<PathBuf>,
}

/// What may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// Paths that are known to be unreadable. Anything else that is makes a backup incomplete.
    #[serde(default)]
    pub unreadable: Vec<String>,
}

/// What happens to runs that were missed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// Nothing.
    None,
    /// One run makes up for all of them.
    #[default]
    Once,
}

/// When something runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week, as cron has them.
    pub cron: String,
    /// An IANA zone: `Asia/Seoul` [default: UTC].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Runs begin up to so much later, each policy always by the same amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// What happens to runs that were missed.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Runs that are missed by more are not caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// No run begins after this time of day: `06:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Runs of policies in the same group do not run side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// The newest of each of so many hours that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_hourly: Option<u32>,
    /// The newest of each of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<u32>,
    /// The newest of each of so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<u32>,
    /// The newest of each of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<u32>,
    /// The newest of each of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<u32>,
    /// All that are younger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<Span>,
    /// What is older goes, whatever a rule keeps; only a hold is stronger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after: Option<Span>,
    /// `delete_after` is also for sources that were taken out of the policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_former: bool,
    /// Every moment of so long can be restored of clusters whose log is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<Span>,
}

/// When the repository is cleaned. Without one `run` cleans after it forgot something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRule {
    /// As in `schedule`; without one after each run that forgot something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// As `prune --max-unused`: `5%`, `10GiB`, `unlimited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unused: Option<String>,
}

/// When the repository is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRule {
    /// As in `schedule`; without one after each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How much of the data is read, as `check --read-data-subset`: `5%`, `1/7`, `500M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_data_subset: Option<String>,
}

/// How long a restore takes at most: a span, or a span and where it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "write a time, `1h`, or where it counts: { target: 1h, enforce_on: [drill-1] }"
)]
pub enum Rto {
    /// Counts wherever a drill runs.
    Anywhere(Span),
    /// Counts on some hosts; elsewhere it is only reported.
    On(RtoOn),
}

/// How long a restore takes at most, and where that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RtoOn {
    /// How long.
    pub target: Span,
    /// Names of hosts.
    pub enforce_on: Vec<String>,
}

/// What is promised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// So much time is lost at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Span>,
    /// So long does it take at most to have it back; detection and decision are not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<Rto>,
    /// So old is the last proven restore at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_restore_max_age: Option<Span>,
}

/// How bad something is.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Degraded, no promise broken.
    #[default]
    Warning,
    /// A promise is broken or will be, or a drill failed.
    High,
    /// There is no proven restore point, or the repository or its key is out of reach.
    Disaster,
}

/// Who is told. Exactly one of the first four says how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// A message to a Slack channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// A signed request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// A mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// A program that reads JSON from its input.
    #[serde(default)]
    pub command: Vec<String>,
    /// Nothing less severe [default: warning].
    #[serde(default)]
    pub from: Severity,
    /// The entry as the file has it, before its paths were settled: what the channel is known by, whoever runs
    /// it from wherever. None while nothing was settled.
    #[serde(skip)]
    pub written: Option<String>,
}

/// A Slack channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// The address of its incoming webhook, which is a secret.
    pub webhook: SecretRef,
}

/// A signed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to.
    pub url: SecretRef,
    /// Signs it.
    pub secret: SecretRef,
}

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `smtps://user@host:port`.
    pub server: String,
    /// The password of that user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// From whom.
    pub sender: String,
    /// To whom.
    pub to: Vec<String>,
}

/// What is called while all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Its address, which is a secret.
    pub url: SecretRef,
}

/// How everything stands, told regularly to those who hear of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// As in `schedule`, in its zone [default: 0 8 * * 1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Whether there is none.
    #[serde(default)]
    pub off: bool,
}

/// What runs around a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Before it; if one fails there is no backup.
    #[serde(default)]
    pub before: Vec<Hook>,
    /// After one that ended well.
    #[serde(default)]
    pub after: Vec<Hook>,
    /// After one that did not.
    #[serde(default)]
    pub failed: Vec<Hook>,
    /// At the end in any case.
    #[serde(default)]
    pub finally: Vec<Hook>,
}

impl Hooks {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// A program that runs around a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The program and its arguments. No shell reads them.
    pub run: Vec<String>,
    /// How long it may take [default: 10m].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// More for its environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}
