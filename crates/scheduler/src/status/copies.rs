//! How far copies are behind.
//!
//! A copy is behind by the snapshots that it has not and that its rules would keep: what it forgot by them is not
//! missing. On purpose not here: what a copy is worth.

use super::ask::{Repository, Seen, Snapshot, Trouble};
use super::problem::Problem;
use super::words::{passed, quoted, span, span_in_words};
use super::{CopyState, Known, State};
use crate::lacking::lacking;
use jiff::Timestamp;

/// How the copies of a policy stand.
pub(super) struct Copied {
    pub(super) copies: Vec<CopyState>,
    pub(super) problems: Vec<Problem>,
    /// What each copy that could be read lacks.
    missing: Vec<Vec<Snapshot>>,
    /// Whether every copy could be read.
    all_read: bool,
}

impl Copied {
    /// Up to when every copy has all of a source; none where there are no copies or one cannot be read.
    pub(super) fn until(&self, source: &str, now: Timestamp) -> Option<Timestamp> {
        if !self.all_read || self.copies.is_empty() {
            return None;
        }
        let of_source = self.missing.iter().flatten().filter(|snapshot| snapshot.source == source);
        Some(of_source.map(|snapshot| snapshot.ended.min(now)).min().unwrap_or(now))
    }
}

/// Judges the copies of a policy.
pub(super) fn judge(known: &Known, seen: &Seen, now: Timestamp) -> Copied {
    let mut copied = Copied { copies: Vec::new(), problems: Vec::new(), missing: Vec::new(), all_read: true };
    for (copy, stated) in seen.copies().iter().zip(&known.policy.copies) {
        let max_lag = stated.max_lag.map(|lag| lag.0);
        let (policy, name) = (known.policy.name.clone(), copy.name.clone());
        let mut state = CopyState { policy, copy: name, state: None, behind: None, oldest: None, max_lag };
        let problem = match (&copy.snapshots, &seen.repository().snapshots) {
            (Err(trouble), _) => {
                copied.all_read = false;
                out_of_reach(known, copy, trouble)
            }
            // With nothing to compare with nobody can tell.
            (Ok(_), Err(_)) => {
                copied.all_read = false;
                None
            }
            (Ok(theirs), Ok(ours)) => {
                let rules = stated.retention.as_ref().or(known.policy.retention.as_ref());
                let missing = lacking(&known.policy, (ours, theirs), rules, now);
                let missing: Vec<Snapshot> = missing.into_iter().cloned().collect();
                state.behind = Some(missing.len() as u64);
                state.oldest = missing.iter().map(|snapshot| snapshot.ended).min();
                state.state = Some(State::Ok);
                copied.missing.push(missing);
                lag(known, copy, &state, now)
            }
        };
        if let Some(problem) = &problem {
            state.state = Some(problem.state);
        }
        copied.problems.extend(problem);
        copied.copies.push(state);
    }
    copied
}

fn out_of_reach(known: &Known, copy: &Repository, trouble: &Trouble) -> Option<Problem> {
    let (policy, name, url) = (&known.policy.name, &copy.name, &copy.url);
    let (state, condition, why) = match trouble {
        Trouble::NotForThisHost => return None,
        Trouble::NotAsked(why) => (State::Unknown, "cannot-tell", why),
        Trouble::Bad(why, _) => (State::Warning, "copy-out-of-reach", why),
    };
    let what = format!("{policy}: the copy {name} ({url}) cannot be read. Nobody can tell what it has.");
    let look = format!("holdfast -r {} snapshots", quoted(url));
    let problem = Problem::new(state, condition, policy, what).of_copy(name).why(why);
    Some(problem.then(look, "count on this copy until it can be read").back("from the repository, as ever"))
}

fn lag(known: &Known, copy: &Repository, state: &CopyState, now: Timestamp) -> Option<Problem> {
    let behind = passed(state.oldest?, now);
    let limit = state.max_lag.filter(|limit| behind > *limit)?;
    let (policy, name) = (&known.policy.name, &copy.name);
    let what = format!(
        "{policy}: the copy {name} is behind. If the repository is lost now, {} are lost.",
        span_in_words(behind)
    );
    let count = state.behind.unwrap_or(0);
    let many = if count == 1 { "" } else { "s" };
    let why =
        format!("{count} snapshot{many} not copied, the oldest {} old (limit {})", span(behind), span(limit));
    let run = format!("holdfast run {}", quoted(&known.file));
    let problem = Problem::new(State::Warning, "copy-lag", policy, what).of_copy(name).why(why);
    Some(
        problem
            .then(run, "remove anything from the repository until the copy has it")
            .back("from the repository, as ever"),
    )
}
