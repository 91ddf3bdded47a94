//! What a verb told of single things, and how much of that goes into the evidence.
//!
//! On purpose not here: what it means.

use crate::hands::Answer;
use holdfast_engine::proof::{Cause, Probe};

/// So many findings of one kind are named; the rest is counted.
pub(crate) const NAMED_MAX: usize = 20;

/// A line about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    /// What kind of trouble it is.
    pub(crate) kind: &'a str,
    /// What it is about; without a leading slash.
    pub(crate) item: String,
    /// What happened.
    pub(crate) message: String,
}

/// What a verb could not read or restore. A verb names things by where they are in the snapshot or
/// below the target; without the leading slash both are the same.
pub(crate) fn told(answer: &Answer) -> impl Iterator<Item = Told<'_>> {
    let errors = answer.problems.iter().filter(|line| line["message_type"] == "error");
    errors.map(|line| {
        let text = |field: &str| line[field].as_str().unwrap_or_default();
        Told {
            kind: text("kind"),
            item: text("item").trim_start_matches('/').to_owned(),
            message: text("message").to_owned(),
        }
    })
}

/// Adds findings: of each cause the first ones by name, then how many more there are.
pub(crate) fn add(probe: &mut Probe, found: &[(Cause, String)], next: &str) {
    for cause in [Cause::Backup, Cause::Source, Cause::Environment, Cause::Assertion] {
        let all: Vec<_> = found.iter().filter(|(whose, _)| *whose == cause).collect();
        let next = if cause == Cause::Environment { "" } else { next };
        all.iter().take(NAMED_MAX).for_each(|(_, what)| probe.finds(cause, what.clone(), next));
        if let Some(more) = all.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            probe.finds(cause, format!("and {more} more of that"), next);
        }
    }
}
