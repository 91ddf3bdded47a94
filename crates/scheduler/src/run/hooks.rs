//! Programs of the user's around a backup.
//!
//! On purpose not here: when they run.

use super::report::{State, Step};
use crate::hands::{Ended, Hands, Program};
use crate::policy::Hook;
use std::ffi::OsString;
use std::time::Duration;

/// So long may a hook take if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What hooks are told, in their environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Around<'a> {
    pub(super) policy: &'a str,
    /// Empty where it is about all sources.
    pub(super) source: &'a str,
    pub(super) snapshot: &'a str,
    /// `begin`, `ok`, `incomplete` or `failed`.
    pub(super) status: &'a str,
}

impl Around<'_> {
    fn variables(&self, hook: &Hook) -> Vec<(String, OsString)> {
        let own = [
            ("HOLDFAST_POLICY", self.policy),
            ("HOLDFAST_SOURCE", self.source),
            ("HOLDFAST_SNAPSHOT", self.snapshot),
            ("HOLDFAST_STATUS", self.status),
        ];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        hook.env.iter().map(|(name, value)| (name.clone(), value.into())).chain(own).collect()
    }
}

/// Runs hooks in their order; the first that fails ends it, unless all have to run.
pub(super) async fn run(hands: &dyn Hands, hooks: &[Hook], around: Around<'_>, all: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for hook in hooks {
        let step = one(hands, hook, around).await;
        let failed = step.state == State::Failed;
        steps.push(step);
        if failed && !all {
            break;
        }
    }
    steps
}

async fn one(hands: &dyn Hands, hook: &Hook, around: Around<'_>) -> Step {
    let timeout = hook.timeout.map_or(TIMEOUT, |span| span.0);
    let program = Program {
        words: hook.run.iter().map(OsString::from).collect(),
        env: around.variables(hook),
        folder: None,
        timeout: Some(timeout),
    };
    let source = Some(around.source).filter(|source| !source.is_empty());
    let step = Step::new("hook", source, crate::policy::REPOSITORY);
    let step = Step { started: Some(hands.now()), ..step };
    let name = hook.run.first().map_or("", String::as_str);
    match hands.program(program).await {
        Err(why) => step.ends(State::Failed, why, "check `run` of the hook; no shell reads it"),
        Ok(ended) => {
            let step = Step { seconds: ended.seconds, code: ended.code, ..step };
            match why(&ended, timeout) {
                None => step.ends(State::Done, name, ""),
                Some(why) => step.ends(State::Failed, format!("{name} {why}"), "run it by hand to see why"),
            }
        }
    }
}

/// Why a program did not end well.
fn why(ended: &Ended, timeout: Duration) -> Option<String> {
    let said = if ended.said.is_empty() { String::new() } else { format!(": {}", ended.said) };
    match ended.code {
        _ if ended.timed_out => Some(format!("was stopped: it took more than {} s{said}", timeout.as_secs())),
        Some(0) => None,
        Some(code) => Some(format!("ended with {code}{said}")),
        None => Some(format!("was killed{said}")),
    }
}
