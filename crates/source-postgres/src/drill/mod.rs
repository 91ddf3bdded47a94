//! Drills of a restored cluster: it is started where it can reach nothing, brought to its point, and
//! looked through; dumps are loaded into a cluster that is made for them in the same place. Production is
//! never touched, whatever stands in what was restored.
//!
//! Everything that goes wrong is a finding with a cause, none an error. On purpose not here:
//! restoring it, where its log is kept, and what follows from what was found.

mod amcheck;
mod assertions;
mod bench;
mod checks;
mod clients;
mod control;
mod counts;
mod course;
mod dumps;
mod isolation;
mod links;
mod loaded;
mod manifest;
mod programs;
mod refused;
mod run;
mod said;
mod server;
mod settings;
mod spaces;
mod start;
mod trail;
mod user;
mod walls;
mod way;

pub use course::prove;
pub use user::User;

use crate::tools::ToolPlaces;
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::proof::{Cause, Level, Probe};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How fetching a file of the log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is in its place.
    There,
    /// It is proved that there is none: the log ends before it.
    Absent,
    /// It is missing, and later log is there.
    Gap(String),
    /// It could not be told.
    Failed(String),
}

/// What fetches a file of the log: its name, and where it goes.
pub trait FetchLog: Send + Sync {
    /// Fetches it.
    fn fetch<'a>(&'a self, name: &'a str, to: &'a Path)
    -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>;
}

/// How loading dumps ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// All databases are in the server; which statements about roles and tablespaces failed.
    There(Vec<String>),
    /// The server or its programs did not take it: why, in their own words.
    Refused(String),
    /// It could not be tried, or not to its end: whose fault that is, why, and what to do.
    Failed(Cause, String, String),
}

/// What loads dumps into a server, by the road that is taken on the worst day.
pub trait LoadDumps: Send + Sync {
    /// Loads all of them, and what they need of roles: the URL of the server, and the folder of the
    /// programs that are used for it.
    fn load<'a>(
        &'a self,
        server: &'a str,
        programs: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Loaded> + Send + 'a>>;
}

/// Dumps, in the place of the files of a cluster.
#[derive(Clone, Copy)]
pub struct Dumps<'a> {
    /// Where they lie as files.
    pub files: &'a Path,
    /// What loads them.
    pub load: &'a dyn LoadDumps,
}

/// Something that has to hold in a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Assertion {
    /// What it is called.
    pub name: String,
    /// Where the query runs.
    pub database: String,
    /// The query.
    pub sql: String,
    /// What it has to return.
    pub expect: Expect,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a query has to return.
#[derive(Debug, Clone, PartialEq)]
pub enum Expect {
    /// This.
    Truth(bool),
    /// A number from … to.
    Between(Option<f64>, Option<f64>),
    /// Rows of one column, each a path below this folder that is there.
    Keys(PathBuf),
}

/// A restored cluster, and how it is to be looked at.
#[derive(Clone)]
pub struct Drill<'a> {
    /// Its data directory; of dumps, where one is made.
    pub folder: PathBuf,
    /// A folder of its own for its socket, log and settings, below the same scratch.
    pub work: PathBuf,
    /// Up to which level.
    pub level: Level,
    /// Users that the server may run as, the best first; the one that was stated is alone.
    pub users: Vec<User>,
    /// Without a wall to the network nothing is started.
    pub no_network: bool,
    /// Folders of programs that are looked into first.
    pub bin_dirs: Vec<PathBuf>,
    /// Where programs may be otherwise.
    pub tools: ToolPlaces,
    /// What was recorded at backup.
    pub facts: BTreeMap<String, String>,
    /// Its bytes were compared with the snapshot as they were restored.
    pub verified: bool,
    /// It goes along a log, to another point than that of the snapshot.
    pub along: bool,
    /// What fetches its log; without it the command that its own settings have, if any.
    pub fetch: Option<&'a dyn FetchLog>,
    /// What is loaded, if it is made of dumps.
    pub dumps: Option<Dumps<'a>>,
    /// What has to hold in it.
    pub assertions: Vec<Assertion>,
    /// How long the checks may take.
    pub budget: Option<Duration>,
    /// Where the rotation of what is checked begins, if not all can be.
    pub turn: u64,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Stops it.
    pub cancel: Cancel,
}

impl fmt::Debug for Drill<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drill").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proved {
    /// What was looked at.
    pub probes: Vec<Probe>,
    /// What took how long, in seconds: `fetch log`, `replay`, `checks`; of dumps `start`, `load`, `checks`.
    pub phases: Vec<(String, f64)>,
    /// The level up to which everything was looked at.
    pub reached: Option<Level>,
}
