//! What acts for the scheduler: verbs of the program, other programs, probes, the clock.
//!
//! Each verb runs in a process of its own, with its own key and credentials and nothing of
//! another's; what it says with `--json` is what it did. On purpose not here: how processes are
//! started.

use crate::policy::secret::{Credentials, KeyRef, SecretRef};
use crate::policy::{Expect, Isolation};
use async_trait::async_trait;
use holdfast_engine::proof::{Level, Probe};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What opens a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opens {
    /// A password.
    Password(SecretRef),
    /// A key file.
    Key(KeyRef),
}

/// A repository, with what opens it for one activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the policy calls it: `repository`, or the name of a copy.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What opens it.
    pub opens: Opens,
    /// What opens its bucket.
    pub credentials: Option<Credentials>,
}

/// A drill whose beginning is in the evidence: a restore that refers to it leaves no record of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// The name of the record that says that it began.
    pub record: String,
    /// What this drill and its verbs alone know; the record has its hash.
    pub token: String,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Begun").field(&self.record).finish()
    }
}

/// A verb, to be run in a process of its own with `--json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The verb, its options and arguments; without a repository and what opens it.
    pub words: Vec<OsString>,
    /// The repository that it works on.
    pub repository: Option<Place>,
    /// The one that `copy` and `init` take from.
    pub from: Option<Place>,
    /// What opens a bucket that is backed up.
    pub source: Option<Credentials>,
    /// What opens a bucket that is restored to.
    pub target: Option<Credentials>,
    /// More for its environment.
    pub env: Vec<(String, OsString)>,
    /// Whether it has nothing but the repository and what opens it: no other variable than PATH, HOME,
    /// proxies and certificates. Drills restore so.
    pub bare: bool,
    /// The drill that it is a part of.
    pub within: Option<Begun>,
    /// When it is stopped.
    pub timeout: Option<Duration>,
}

impl Call {
    /// A verb on a repository.
    #[must_use]
    pub fn on(repository: &Place, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let words = words.into_iter().map(Into::into).collect();
        Self { words, repository: Some(repository.clone()), ..Self::default() }
    }
}

/// What a verb said, and how it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Its exit code; 130 where it was stopped, 1 where it was killed.
    pub code: i32,
    /// The lines of its output, without those that only say how far it is.
    pub lines: Vec<Value>,
    /// The lines of its error stream.
    pub problems: Vec<Value>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Answer {
    /// Whether it ended with 0.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// The last line of a type.
    #[must_use]
    pub fn line(&self, message_type: &str) -> Option<&Value> {
        self.lines.iter().rev().find(|line| line["message_type"] == message_type)
    }

    /// All lines of a type.
    pub fn all<'a>(&'a self, message_type: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["message_type"] == message_type)
    }

    /// Why it did not end well, and what to do, in its own words.
    #[must_use]
    pub fn failure(&self) -> (String, String) {
        let last = self.problems.iter().rev().find(|line| line["message_type"] == "exit_error");
        let text = |field: &str| last.and_then(|line| line[field].as_str()).unwrap_or_default().to_owned();
        match text("message") {
            said if said.is_empty() => {
                (format!("it ended with {} and said nothing", self.code), String::new())
            }
            said => (said, text("hint")),
        }
    }
}

/// A program of the user's: a hook, a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    /// Its name and its arguments.
    pub words: Vec<OsString>,
    /// More for its environment.
    pub env: Vec<(String, OsString)>,
    /// What it reads: all of its standard input. Without it there is none.
    pub input: Option<Vec<u8>>,
    /// Where it runs.
    pub folder: Option<PathBuf>,
    /// When it is stopped.
    pub timeout: Option<Duration>,
}

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ended {
    /// Its exit code; none where it was killed.
    pub code: Option<i32>,
    /// Whether it was stopped because it took too long.
    pub timed_out: bool,
    /// The end of what it wrote to its error stream, a few lines.
    pub said: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// A statement about what is in a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlAssertion {
    /// What it is called.
    pub name: String,
    /// Where the query runs.
    pub database: String,
    /// The query.
    pub sql: String,
    /// What it is compared with.
    pub expect: SqlExpect,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a query is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlExpect {
    /// One value.
    Value(Expect),
    /// Each row is a path below this folder that has to be there.
    Keys(PathBuf),
}

/// Dumps that are loaded into a cluster that is made for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumps {
    /// Where they lie as files.
    pub files: PathBuf,
    /// Where they are loaded from.
    pub from: Place,
    /// The snapshot that they are in.
    pub snapshot: String,
}

/// A restored cluster, to be started and looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its data directory, as `restore` left it, or another program; of dumps, where one is made.
    pub folder: PathBuf,
    /// A folder of its own for its socket, logs and the log that it replays; below scratch, as short as
    /// may be.
    pub work: PathBuf,
    /// Up to which level.
    pub level: Level,
    /// The user that the server runs as.
    pub run_as: Option<String>,
    /// Whether it can reach the network.
    pub network: Isolation,
    /// Where its programs are looked for first.
    pub bin_dirs: Vec<PathBuf>,
    /// What was recorded at backup; empty where nothing was.
    pub facts: BTreeMap<String, String>,
    /// Where the log that it replays comes from, if it goes along one: the repository, and the timeline
    /// as `wal fetch --timeline` has it; empty if there is no choice.
    pub log: Option<(Place, String)>,
    /// What is loaded into it, if it is to be made.
    pub dumps: Option<Dumps>,
    /// The drill that it is a part of.
    pub within: Option<Begun>,
    /// What has to hold in it.
    pub assertions: Vec<SqlAssertion>,
    /// How long the checks may take.
    pub budget: Option<Duration>,
}

/// What was found out about a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterProof {
    /// What was looked at.
    pub probes: Vec<Probe>,
    /// What took how long: `fetch log`, `replay`, `checks`; of dumps `start`, `load`, `checks`.
    pub phases: Vec<(String, f64)>,
    /// The level up to which everything was looked at.
    pub reached: Option<Level>,
}

/// Acts for the scheduler.
#[async_trait]
pub trait Hands: Send + Sync {
    /// Runs a verb to its end.
    ///
    /// # Errors
    /// It could not be started, or a secret could not be had; in words for people.
    async fn verb(&self, call: Call) -> Result<Answer, String>;

    /// Runs a program to its end.
    ///
    /// # Errors
    /// It could not be started; in words for people.
    async fn program(&self, program: Program) -> Result<Ended, String>;

    /// Starts a restored cluster, looks at it, and stops it. Whatever goes wrong is a finding.
    async fn cluster(&self, cluster: Cluster) -> ClusterProof;

    /// Deletes everything below a prefix of a bucket that a drill restored to: one of its folders has a
    /// drill's name (`drill-…`), else nothing is done. What became of it, in words for the record.
    ///
    /// # Errors
    /// Something stays; in words for people.
    async fn empty(&self, url: &str, credentials: Option<&Credentials>) -> Result<String, String> {
        let _ = credentials;
        Err(format!("{url}: nothing here can empty a bucket"))
    }

    /// Appends a record of a kind (`drill`, `missed`, `access`) to the evidence in a repository; its
    /// name there.
    ///
    /// # Errors
    /// It is not there, cannot be opened, or refuses; in words for people.
    async fn record(&self, place: &Place, kind: &str, text: &str) -> Result<String, String>;

    /// What time it is.
    fn now(&self) -> Timestamp;

    /// A number that nobody can foresee.
    fn random(&self) -> u64;

    /// What this host is called.
    fn host(&self) -> String;

    /// Whether it was asked to stop.
    fn stopped(&self) -> bool;

    /// Tells a person how things go.
    fn say(&self, said: Said<'_>);
}

/// What a person is told while a policy runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// Something begins: `backup shop/db`.
    Begins(&'a str),
    /// It ended well, with what came out.
    Well(&'a str),
    /// It ended, and something is missing.
    Lacking(&'a str),
    /// It failed.
    Failed(&'a str),
    /// Worth knowing.
    Note(&'a str),
}
