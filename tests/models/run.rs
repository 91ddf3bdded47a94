//! Runs a model until it is exhausted, breaks a property, or has used up its budget.

use crate::protocol::{Config, SAFE, Step};
use crate::state::State;
use stateright::{Checker, HasDiscoveries, Model, Path};
use std::collections::BTreeSet;

/// How many states a model may generate, counting those that were known: `given`, or what the
/// environment says if that is more.
fn budget(given: usize) -> usize {
    let word = std::env::var("HOLDFAST_MODEL_STATES").ok();
    let more = word.map(|word| word.parse().expect("HOLDFAST_MODEL_STATES is a number"));
    given.max(more.unwrap_or(0))
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) states: usize,
    pub(crate) exhausted: bool,
    /// Properties with a state that shows them broken, or reached.
    pub(crate) found: BTreeSet<&'static str>,
    /// How the first broken one broke.
    pub(crate) trace: Option<String>,
}

/// Everything that can happen, depth first; states that differ in names alone are one.
pub(crate) fn explore(config: Config, states: usize) -> Outcome {
    let budget = budget(states);
    let checker = config
        .checker()
        .symmetry_fn(config.symmetry())
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(budget)
        .spawn_dfs()
        .join();
    outcome(&checker, budget)
}

/// Breadth first, until a property breaks: with the shortest way there.
pub(crate) fn search(config: Config, property: &'static str, states: usize) -> Outcome {
    let budget = budget(states);
    let checker = config
        .checker()
        .finish_when(HasDiscoveries::AnyOf(BTreeSet::from([property])))
        .target_state_count(budget)
        .spawn_bfs()
        .join();
    outcome(&checker, budget)
}

fn outcome(checker: &impl Checker<Config>, budget: usize) -> Outcome {
    let discoveries = checker.discoveries();
    let trace = SAFE.iter().find_map(|name| discoveries.get(name).map(|path| told(name, path)));
    Outcome {
        states: checker.unique_state_count(),
        exhausted: trace.is_none() && checker.state_count() < budget,
        found: discoveries.keys().copied().collect(),
        trace,
    }
}

/// A trace for people: each deed, and the root and sessions whenever they change.
fn told(name: &str, path: &Path<State, Step>) -> String {
    let mut lines = vec![format!("broken: {name}")];
    let mut before: Option<State> = None;
    for (state, step) in path.clone().into_vec() {
        if before.is_none_or(|before| before.root != state.root) {
            lines.push(format!("    {:?}", state.root));
        }
        if before.is_none_or(|before| before.stored != state.stored) {
            lines.push(format!("    packs {:?}", state.stored));
        }
        for (number, session) in state.sessions.iter().enumerate() {
            if before.is_some_and(|before| before.sessions[number] != *session) {
                lines.push(format!("    session {number}: {session:?}"));
            }
        }
        before = Some(state);
        lines.extend(step.map(|step| format!("{:?}", step.deed)));
    }
    lines.join("\n")
}

/// Fails unless a model is safe, was exhausted, and reached what is listed.
pub(crate) fn assert_safe(config: Config, budget: usize, reached: &[&str]) {
    let outcome = assert_unbroken(config, budget, reached);
    assert!(outcome.exhausted, "not exhausted after {} states", outcome.states);
}

/// Fails if a model breaks within its budget, or does not reach what is listed.
pub(crate) fn assert_unbroken(config: Config, budget: usize, reached: &[&str]) -> Outcome {
    let outcome = explore(config, budget);
    assert!(outcome.trace.is_none(), "{}", outcome.trace.unwrap_or_default());
    let Outcome { states, exhausted, found, .. } = &outcome;
    println!(
        "{states} states, {}, reached {found:?}",
        if *exhausted { "all of them" } else { "and there are more" }
    );
    for name in reached {
        assert!(found.contains(name), "never in {states} states: {name}");
    }
    outcome
}
