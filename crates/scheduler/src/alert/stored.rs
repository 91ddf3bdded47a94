//! An alert as it is remembered, and what keeps it quiet.
//!
//! On purpose not here: where it is remembered.

use crate::status::{Problem, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an alert says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// What is wrong, and what it costs.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub to_do: String,
    /// What not to do.
    pub do_not: String,
    /// How things can be had back now.
    pub restore: String,
}

/// What one channel was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldTo {
    /// The worst that it was told.
    pub severity: State,
    /// When it was told last.
    pub at: Timestamp,
    /// How often it was told again since it got worse.
    pub reminders: u32,
}

/// An alert: what is known of one thing that is wrong, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// What it is about, as one word.
    pub fingerprint: String,
    /// The policy.
    pub policy: String,
    /// The source, if it is about one.
    pub source: Option<String>,
    /// The copy, if it is about one.
    pub copy: Option<String>,
    /// The channel, if it is about one, by its id.
    #[serde(default)]
    pub channel: Option<String>,
    /// What kind of thing it is. Of one kind there is one at a time.
    pub family: String,
    /// What it is now.
    pub condition: String,
    /// How often it came.
    pub episode: u32,
    /// Whether it is there.
    pub open: bool,
    /// How bad it was when it was last seen.
    pub state: State,
    /// How bad it is told to be: with age it gets worse.
    pub severity: State,
    /// Since when it is there.
    pub since: Timestamp,
    /// Since when it is seen no more, while that is not believed yet.
    pub gone: Option<Timestamp>,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Whether the repository could be read when it was last seen.
    pub by_reading: bool,
    /// When it was opened, in the last day.
    pub openings: Vec<Timestamp>,
    /// How many messages there were of this episode.
    pub messages: u32,
    /// Who was told, by the ids of channels.
    pub told: BTreeMap<String, ToldTo>,
    /// What it says.
    pub text: Text,
}

/// What keeps alerts of a policy, or of a source or copy of it, from being told; never a disaster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its number.
    pub id: i64,
    /// The policy.
    pub policy: String,
    /// The source or copy in it; none for all of it.
    pub part: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Who wanted it.
    pub by: String,
}

impl Silence {
    /// Whether it is meant for an alert, at a moment.
    #[must_use]
    pub fn covers(&self, alert: &Stored, now: Timestamp) -> bool {
        let part = |part: &String| alert.source.as_ref() == Some(part) || alert.copy.as_ref() == Some(part);
        self.policy == alert.policy
            && self.since <= now
            && now < self.until
            && self.part.as_ref().is_none_or(part)
    }
}

/// What kind of thing a condition is. Things of one kind take each other's place as they get worse or
/// better: an attempt that failed becomes a backup that is too old.
#[must_use]
pub fn family(condition: &str) -> &str {
    match condition {
        "no-backup" | "rpo" | "runs-missed" | "log-gap" | "incomplete" | "emptied" | "attempt-failed" => {
            "backup"
        }
        "drill-failed" | "drill-inconclusive" | "rto" | "proof" => "proof",
        "copy-lag" | "copy-out-of-reach" => "copy",
        "slot-fills" | "slot-lost" | "slot-missing" => "slot",
        other => other,
    }
}

/// What something is about, as one word that stays the same.
#[must_use]
pub fn fingerprint(problem: &Problem) -> String {
    let (kind, name) = match (&problem.source, &problem.copy, &problem.channel) {
        (Some(source), ..) => ("source", source.as_str()),
        (None, Some(copy), _) => ("copy", copy.as_str()),
        (None, None, Some(channel)) => ("channel", channel.as_str()),
        (None, None, None) => ("policy", ""),
    };
    let text = [problem.policy.as_str(), kind, name, family(problem.condition)].join("\0");
    blake3::hash(text.as_bytes()).to_hex().as_str()[..16].to_owned()
}

impl Stored {
    /// Of something that was never seen before; it is not there yet.
    pub(super) fn new(problem: &Problem, now: Timestamp) -> Self {
        Self {
            fingerprint: fingerprint(problem),
            policy: problem.policy.clone(),
            source: problem.source.clone(),
            copy: problem.copy.clone(),
            channel: problem.channel.clone(),
            family: family(problem.condition).to_owned(),
            condition: problem.condition.to_owned(),
            episode: 0,
            open: false,
            state: problem.state,
            severity: problem.state,
            since: now,
            gone: None,
            closed: None,
            by_reading: false,
            openings: Vec::new(),
            messages: 0,
            told: BTreeMap::new(),
            text: Text::default(),
        }
    }

    /// What it is about, as people name it.
    #[must_use]
    pub fn subject(&self) -> String {
        match self.source.as_ref().or(self.copy.as_ref()) {
            Some(part) => format!("{}/{part}", self.policy),
            None => self.policy.clone(),
        }
    }
}

impl From<&Problem> for Text {
    fn from(problem: &Problem) -> Self {
        Self {
            what: problem.what.clone(),
            why: problem.why.clone(),
            to_do: problem.to_do.clone(),
            do_not: problem.do_not.clone(),
            restore: problem.restore.clone(),
        }
    }
}
