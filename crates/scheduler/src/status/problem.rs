//! What is wrong, each with the same four lines: why, what to do, what not to do, and the way to
//! have things back all the same.
//!
//! On purpose not here: finding it out.

use super::words::{plain, quoted};
use super::{Known, State, Unreadable};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The policy.
    pub policy: String,
    /// The source, if it is about one.
    pub source: Option<String>,
    /// The copy, if it is about one.
    pub copy: Option<String>,
    /// The channel, if it is about one, by its id.
    pub channel: Option<String>,
    /// How bad it is.
    pub state: State,
    /// What kind of thing it is, in a word that stays the same: of each policy, source, copy or channel there
    /// is one of a kind at most.
    pub condition: &'static str,
    /// What is wrong, and what it costs.
    pub what: String,
    /// Why, as far as it is known.
    pub why: String,
    /// What to do.
    pub to_do: String,
    /// What not to do until then.
    pub do_not: String,
    /// How things can be had back now.
    pub restore: String,
}

impl Problem {
    /// One about a policy.
    pub(super) fn new(state: State, condition: &'static str, policy: &str, what: impl AsRef<str>) -> Self {
        Self {
            policy: policy.to_owned(),
            source: None,
            copy: None,
            channel: None,
            state,
            condition,
            what: plain(what.as_ref()),
            why: String::new(),
            to_do: String::new(),
            do_not: String::new(),
            restore: String::new(),
        }
    }

    /// It is about a source.
    pub(super) fn of(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// It is about a copy.
    pub(super) fn of_copy(mut self, copy: &str) -> Self {
        self.copy = Some(copy.to_owned());
        self
    }

    /// Says why.
    pub(super) fn why(mut self, why: impl AsRef<str>) -> Self {
        self.why = plain(why.as_ref());
        self
    }

    /// Says what to do, and what not to do.
    pub(super) fn then(mut self, to_do: impl Into<String>, do_not: impl Into<String>) -> Self {
        (self.to_do, self.do_not) = (to_do.into(), do_not.into());
        self
    }

    /// Says how things can be had back.
    pub(super) fn back(mut self, restore: impl Into<String>) -> Self {
        self.restore = restore.into();
        self
    }
}

/// What it is called that a policy cannot be looked at.
pub(super) const UNREADABLE: &str = "policy-unreadable";

/// A policy that cannot be looked at.
pub(super) fn unreadable(policy: &Unreadable) -> Problem {
    let (name, file) = (quoted(&policy.name), quoted(&policy.file));
    let what = format!("{} cannot be looked at: its policy {} cannot be read.", policy.name, policy.file);
    Problem::new(State::Unknown, UNREADABLE, &policy.name, what)
        .why(&policy.why)
        .then(
            format!("holdfast policy check {file} ; if it is gone for good: holdfast status --forget {name}"),
            "take the silence of this policy for good news",
        )
        .back("with the URL and the key of its repository: holdfast -r URL snapshots")
}

/// The command that backs a source up.
pub(super) fn run(known: &Known, source: &str) -> String {
    format!("holdfast run {} --source {}", quoted(&known.file), quoted(source))
}

/// The command that drills a policy.
pub(super) fn drill(known: &Known) -> String {
    format!("holdfast drill {} --now", quoted(&known.file))
}
