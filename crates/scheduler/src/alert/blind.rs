//! Of what nobody can tell now whether it is still wrong. That something is not seen is no news where
//! nobody could look.
//!
//! On purpose not here: what follows from it.

use super::stored::Stored;
use crate::status::{State, Status};

/// How much of a policy could be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    status: &'a Status,
    policy: &'a str,
}

impl<'a> Sight<'a> {
    /// That of a look at a policy.
    #[must_use]
    pub const fn new(status: &'a Status, policy: &'a str) -> Self {
        Self { status, policy }
    }

    /// Whether the repository could be read.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.status.next.iter().any(|next| next.policy == self.policy && next.readable)
    }

    /// Whether the policy was looked at at all.
    fn looked(&self) -> bool {
        self.status.next.iter().any(|next| next.policy == self.policy)
    }

    /// Whether nobody can tell if this is still so.
    #[must_use]
    pub fn is_blind(&self, alert: &Stored) -> bool {
        match alert.family.as_str() {
            // It can be read again as soon as it was looked at.
            "policy-unreadable" => !self.looked(),
            _ if !self.looked() => true,
            family if is_of_catalog(family) => self.lacks_catalog(),
            "repository-out-of-reach" => !self.reads(),
            "cannot-tell" if alert.copy.is_none() => !self.reads(),
            "not-all-seen" => !self.reads(),
            family => match (&alert.source, &alert.copy) {
                (Some(source), Some(copy)) => {
                    self.is_blind_of_copy(copy) || self.is_blind_of_source(alert, source, family)
                }
                (Some(source), None) => self.is_blind_of_source(alert, source, family),
                (None, Some(copy)) => self.is_blind_of_copy(copy),
                (None, None) => self.is_blind_of_repository(alert) || self.lacks_something(),
            },
        }
    }

    fn is_blind_of_source(&self, alert: &Stored, name: &str, family: &str) -> bool {
        let mut sources = self.status.sources.iter();
        let Some(source) = sources.find(|source| source.policy == self.policy && source.source == name)
        else {
            // It is not in the policy any more.
            return false;
        };
        let slot = || self.status.slots.iter().find(|slot| slot.policy == self.policy && slot.source == name);
        match family {
            "slot" => slot().is_some_and(|slot| slot.state.is_none()) || self.has(name, "slot-unseen"),
            "slot-unseen" => false,
            _ if source.state == State::Unknown => true,
            "backup" => self.is_blind_of_repository(alert),
            _ => self.is_blind_of_repository(alert) || self.lacks_something(),
        }
    }

    fn is_blind_of_copy(&self, name: &str) -> bool {
        let mut copies = self.status.copies.iter();
        match copies.find(|copy| copy.policy == self.policy && copy.copy == name) {
            Some(copy) => matches!(copy.state, None | Some(State::Unknown)),
            None => false,
        }
    }

    /// What was seen in the repository is not gone because another host goes by its memory.
    fn is_blind_of_repository(&self, alert: &Stored) -> bool {
        !self.reads() && alert.by_reading
    }

    /// Whether something beside the snapshots could not be found out.
    fn lacks_something(&self) -> bool {
        let here = |condition: &str| condition == "not-all-seen";
        self.status.problems.iter().any(|problem| problem.policy == self.policy && here(problem.condition))
    }

    /// Whether the catalog could not be asked for all that it knows.
    fn lacks_catalog(&self) -> bool {
        let here = |condition: &str| condition == "catalog-out-of-reach";
        self.status.problems.iter().any(|problem| problem.policy == self.policy && here(problem.condition))
    }

    fn has(&self, source: &str, condition: &str) -> bool {
        let mut problems = self.status.problems.iter();
        problems.any(|problem| {
            problem.policy == self.policy
                && problem.source.as_deref() == Some(source)
                && problem.condition == condition
        })
    }
}

/// Whether only the catalog knows of such things.
fn is_of_catalog(family: &str) -> bool {
    family.starts_with("channel-")
        || matches!(
            family,
            "not-served" | "job-waits" | "job-lost" | "log-not-streamed" | "catalog-out-of-reach"
        )
}
