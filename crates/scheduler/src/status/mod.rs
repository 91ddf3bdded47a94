//! How things stand: what a person reads at three in the morning, and what monitoring reads.
//!
//! What counts is what the repositories say now: their snapshots, their evidence, their logs. The
//! catalog adds why the last attempt failed, and stands in where this host may not read. On purpose
//! not here: doing anything about it; where the text goes.

mod ahead;
mod ask;
mod copies;
mod deadline;
mod judge;
mod metrics;
mod problem;
mod proofs;
mod screen;
mod serving;
mod slots;
mod source;
mod told;
mod words;

#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod proofs_tests;
#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod status_tests;

pub(crate) use metrics::label;
pub use metrics::{METRICS, metrics};
pub use problem::Problem;
pub use screen::screen;
pub use told::ChannelState;
pub(crate) use words::{size as size_of, span as span_in, span_between as span_of};

use crate::alert::Silence;
use crate::catalog::Catalog;
use crate::hands::Hands;
use crate::policy::Policy;
use ask::Asked;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::time::Duration;

/// A policy to be looked at.
#[derive(Debug, Clone)]
pub struct Known {
    /// The policy.
    pub policy: Policy,
    /// The file that it was read from, as the words of a command have it.
    pub file: String,
    /// Since when it is known here.
    pub since: Option<Timestamp>,
}

/// A policy that cannot be looked at.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// What it is called.
    pub name: String,
    /// The file.
    pub file: String,
    /// Why not.
    pub why: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Ok,
    /// Degraded, no promise broken.
    Warning,
    /// Nobody can tell. Worse than a warning: it may hide anything.
    Unknown,
    /// A promise is broken or will be, or a drill failed.
    High,
    /// There is no proven restore point, or the repository or its key is out of reach.
    Disaster,
}

impl State {
    /// What monitoring takes it for: 0 ok, 1 warning, 2 critical, 3 unknown.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::High | Self::Disaster => 2,
            Self::Unknown => 3,
        }
    }

    /// As people see it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "WARNING",
            Self::Unknown => "UNKNOWN",
            Self::High => "HIGH",
            Self::Disaster => "DISASTER",
        }
    }
}

/// How it is known up to when nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GoodBy {
    /// A whole snapshot in the repository.
    Snapshot,
    /// The log of a cluster that goes on from one.
    Log,
    /// Only this host's memory of a run that ended well.
    Memory,
}

/// Up to when nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The moment.
    pub at: Timestamp,
    /// How that is known.
    pub by: GoodBy,
    /// The snapshot that it begins with.
    pub snapshot: Option<String>,
}

/// How one source stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceState {
    /// The policy.
    pub policy: String,
    /// The source in it.
    pub source: String,
    /// How bad it is.
    pub state: State,
    /// Whether another program backs it up, and it is only drilled here.
    pub elsewhere: bool,
    /// Up to when nothing is lost.
    pub last_good: Option<LastGood>,
    /// So much is lost at most.
    pub rpo: Option<Duration>,
    /// When a restore was last proved, as far as the policy asks for.
    pub proven: Option<Timestamp>,
    /// Which part of all bytes was restored then, 0 to 1; none where it is not known.
    pub proven_share: Option<f64>,
    /// So old may that be.
    pub proven_max_age: Option<Duration>,
    /// How long that restore took.
    pub took: Option<Duration>,
    /// So long may it take.
    pub rto: Option<Duration>,
    /// When it runs next.
    pub next_run: Option<Timestamp>,
    /// When a drill is due: it may lie behind us.
    pub drill_due: Option<Timestamp>,
    /// Of when the newest is that is stored of its log.
    pub log_flushed: Option<Timestamp>,
    /// Up to when every copy has everything: now, or when the oldest snapshot was made that one lacks.
    pub copied_until: Option<Timestamp>,
    /// So far may a copy be behind: the shortest.
    pub max_lag: Option<Duration>,
}

/// How one copy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// The policy.
    pub policy: String,
    /// The copy in it.
    pub copy: String,
    /// How bad it is; none where this host is not meant to look.
    pub state: Option<State>,
    /// How many snapshots it lacks.
    pub behind: Option<u64>,
    /// When the oldest of them was made.
    pub oldest: Option<Timestamp>,
    /// So far may it be behind.
    pub max_lag: Option<Duration>,
}

/// What a server keeps for the slot of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotState {
    /// The policy.
    pub policy: String,
    /// The source in it that streams by the slot.
    pub source: String,
    /// The slot.
    pub slot: String,
    /// Its server.
    pub host: String,
    /// How bad it is; none where nobody can tell and this host is not meant to.
    pub state: Option<State>,
    /// So much log is kept, in bytes; none where nobody can tell, or nothing is.
    pub kept: Option<u64>,
    /// So much may be kept.
    pub limit: Option<u64>,
    /// What there is to say where no number is.
    pub says: String,
}

/// A hold that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The beginning of its id.
    pub id: String,
    /// What is held, in words.
    pub what: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Until when; none until it is released.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The line that told of it.
    pub line: serde_json::Value,
}

/// What a policy does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The policy.
    pub policy: String,
    /// When it, or one of its sources, runs.
    pub run: Option<Timestamp>,
    /// When it is drilled.
    pub drill: Option<Timestamp>,
    /// Whether its repository could be read.
    pub readable: bool,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When it was looked at.
    pub now: Timestamp,
    /// Sources, in the order of their policies.
    pub sources: Vec<SourceState>,
    /// Copies.
    pub copies: Vec<CopyState>,
    /// Slots.
    pub slots: Vec<SlotState>,
    /// Holds that stand.
    pub holds: Vec<Held>,
    /// What comes next.
    pub next: Vec<Next>,
    /// Who is told, and whether that works.
    pub channels: Vec<ChannelState>,
    /// What is to be quiet.
    pub silences: Vec<Silence>,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
}

impl Status {
    /// How bad the worst of it is; where nothing was looked at nobody can tell.
    #[must_use]
    pub fn state(&self) -> State {
        let sources = self.sources.iter().map(|source| source.state);
        let all = sources.chain(self.problems.iter().map(|problem| problem.state));
        all.max().unwrap_or(State::Unknown)
    }
}

impl Status {
    /// Adds that the catalog that workers share is out of reach, and why.
    pub fn lacks_catalog(&mut self, known: &[Known], why: &str) {
        self.problems.extend(serving::lost(known, why));
        self.problems.sort_by_key(|problem| Reverse(problem.state));
    }
}

/// Files that cannot be read, by the names that their policies had when they last could be: who is told of them is
/// remembered by those.
async fn called(unreadable: &[Unreadable], known: &[Known], memory: Option<&Catalog>) -> Vec<Unreadable> {
    let mut all = unreadable.to_vec();
    let Some(memory) = memory.filter(|_| !all.is_empty()) else { return all };
    let Ok(remembered) = memory.policies().await else { return all };
    for one in &mut all {
        let elsewhere = |name: &str| known.iter().any(|known| known.policy.name == name);
        // It is served as it was, under its own name.
        if elsewhere(&one.name) {
            continue;
        }
        let same = remembered.iter().filter(|policy| policy.file == one.file && !elsewhere(&policy.name));
        if let Some(last) = same.max_by_key(|policy| policy.last_seen) {
            one.name.clone_from(&last.name);
        }
    }
    all
}

/// Looks at policies, one after the other. Moments are told in times of a zone, as on the screen.
pub async fn look(
    hands: &dyn Hands,
    known: &[Known],
    unreadable: &[Unreadable],
    memory: Option<&Catalog>,
    zone: &TimeZone,
) -> Status {
    let now = hands.now();
    let mut status = Status {
        now,
        sources: Vec::new(),
        copies: Vec::new(),
        slots: Vec::new(),
        holds: Vec::new(),
        next: Vec::new(),
        channels: Vec::new(),
        silences: Vec::new(),
        problems: called(unreadable, known, memory).await.iter().map(problem::unreadable).collect(),
    };
    let mut asked = Asked::new(hands);
    for known in known {
        let seen = ask::ask(&mut asked, known, memory).await;
        judge::add(&mut status, known, &seen, zone);
    }
    if let Some(memory) = memory {
        serving::add(&mut status, known, memory).await;
    }
    told::add(&mut status, known, memory, zone).await;
    status.problems.sort_by_key(|problem| Reverse(problem.state));
    status
}
