//! Runs a policy: back up, copy, forget, prune, check, drill.
//!
//! What fails keeps nothing else from being done but what would build on it. On purpose not here:
//! what a verb does, and how it is shown.

mod create;
mod hooks;
mod maintain;
mod report;
mod source;
pub mod words;

#[cfg(test)]
mod tests;

pub use report::{RunReport, State, Step};

use crate::catalog::{Catalog, Run, RunEnd};
use crate::drill::conduct::{self, Conducted, Surroundings};
use crate::drill::past::{past, record_missed};
use crate::hands::{Answer, Call, Hands, Said};
use crate::policy::{Activity, Policy, REPOSITORY};
use std::collections::BTreeSet;

/// Whether a drill follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drilling {
    /// If the policy has one without a time of its own.
    #[default]
    AsStated,
    /// If the policy has one.
    Always,
    /// None.
    Never,
}

/// How a policy is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these sources; all if there are none.
    pub sources: Vec<String>,
    /// Whether a drill follows.
    pub drill: Drilling,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// What a drill has to know of this host.
    pub here: Surroundings,
}

/// Runs a policy.
///
/// # Errors
/// It cannot be run as it was asked for; in words for people, first what is wrong, then what to do.
pub async fn run(
    hands: &dyn Hands,
    policy: &Policy,
    catalog: Option<&Catalog>,
    options: &Options,
) -> Result<RunReport, (String, String)> {
    known(policy, &options.sources)?;
    let started = hands.now();
    let mut runner = Runner { hands, policy, catalog, options, steps: Vec::new() };
    let drill = runner.everything().await;
    Ok(RunReport {
        policy: policy.name.clone(),
        started,
        ended: hands.now(),
        steps: runner.steps,
        drill,
        dry_run: options.dry_run,
        stopped: hands.stopped(),
    })
}

/// Refuses names of sources that the policy does not have.
///
/// # Errors
/// There is one; what is wrong, and what to do.
pub fn known(policy: &Policy, names: &[String]) -> Result<(), (String, String)> {
    let Some(unknown) = names.iter().find(|name| policy.sources.get(name).is_none()) else { return Ok(()) };
    let all: Vec<_> = policy.sources.0.iter().map(|(name, _)| name.as_str()).collect();
    let what = format!("{} has no source `{unknown}`", policy.name);
    Err((what, format!("its sources are {}", all.join(", "))))
}

/// One run.
struct Runner<'a> {
    hands: &'a dyn Hands,
    policy: &'a Policy,
    catalog: Option<&'a Catalog>,
    options: &'a Options,
    steps: Vec<Step>,
}

impl<'a> Runner<'a> {
    async fn everything(&mut self) -> Option<Conducted> {
        if !self.opens().await {
            return None;
        }
        let good = self.backups().await;
        let copied = self.copies(&good).await;
        self.forget_and_prune(&good, &copied).await;
        self.check().await;
        self.drill().await
    }

    /// Opens the repository, or makes it: nothing can be done without it.
    async fn opens(&mut self) -> bool {
        let activities = [Activity::Backup, Activity::Maintain, Activity::Read];
        let Some(place) = activities.into_iter().find_map(|of| self.policy.place(REPOSITORY, of)) else {
            self.done(Step::new("open", None, REPOSITORY).ends(
                State::Failed,
                "the policy names no password and no key for its repository",
                "add `password` or `keys` to `repository`",
            ))
            .await;
            return false;
        };
        if self.options.dry_run {
            return true;
        }
        if !self.there(&place, self.policy.repository.create, None).await {
            return false;
        }
        for copy in self.policy.copies.iter().filter(|copy| copy.create) {
            if let Some(place) = self.policy.place(&copy.name, Activity::Backup) {
                let from = self.policy.place(REPOSITORY, Activity::Read);
                self.there(&place, true, from.as_ref()).await;
            }
        }
        true
    }

    /// The sources that are meant, in their order.
    fn sources(&self) -> Vec<(&'a str, &'a crate::policy::Source)> {
        let meant = |name: &str| {
            self.options.sources.is_empty() || self.options.sources.iter().any(|one| one == name)
        };
        let all = self.policy.sources.0.iter().map(|(name, source)| (name.as_str(), source));
        all.filter(|(name, _)| meant(name)).collect()
    }

    /// Runs a verb for a step, tells how it ended, and remembers it. A rehearsal only shows it.
    async fn verb(&mut self, step: Step, call: Call, judge: impl FnOnce(Step, &Answer) -> Step) -> State {
        let step = if self.options.dry_run {
            let message = words::shown(&call);
            step.ends(State::Planned, message, "")
        } else if self.hands.stopped() {
            step.ends(State::Skipped, "stopped before", "run it again")
        } else {
            self.hands.say(Said::Begins(&step.title()));
            let number = self.begins(&step).await;
            let step = Step { started: Some(self.hands.now()), ..step };
            let step = match self.hands.verb(call).await {
                Err(why) => step.ends(State::Failed, why, ""),
                Ok(answer) => {
                    let step = Step { code: Some(answer.code), seconds: answer.seconds, ..step };
                    judge(step, &answer)
                }
            };
            self.ends(number, &step).await;
            step
        };
        let state = step.state;
        self.done(step).await;
        state
    }

    /// Tells how a step ended.
    async fn done(&mut self, step: Step) {
        let title = step.title();
        let said = if step.message.is_empty() { title.clone() } else { format!("{title}: {}", step.message) };
        let advised = if step.next.is_empty() { said.clone() } else { format!("{said}\n{}", step.next) };
        self.hands.say(match step.state {
            State::Done => Said::Well(if step.message.is_empty() { "done" } else { &step.message }),
            State::Planned => Said::Note(&step.message),
            State::NotHere => Said::Note(&said),
            State::Incomplete => Said::Lacking(&advised),
            State::Failed | State::Skipped => Said::Failed(&advised),
        });
        self.steps.push(step);
    }

    /// Remembers that a step began. What cannot be remembered is told, and keeps nothing from being done.
    async fn begins(&self, step: &Step) -> Option<i64> {
        let catalog = self.catalog?;
        let run = Run {
            policy: self.policy.name.clone(),
            source: remembered(step),
            activity: step.activity.to_owned(),
            started: self.hands.now(),
        };
        match catalog.begin(&run).await {
            Ok(number) => Some(number),
            Err(error) => {
                self.hands.say(Said::Note(&format!("the catalog does not remember it: {error}")));
                None
            }
        }
    }

    async fn ends(&self, number: Option<i64>, step: &Step) {
        let (Some(catalog), Some(number)) = (self.catalog, number) else { return };
        let code = match step.state {
            State::Done => 0,
            State::Incomplete => 3,
            _ => step.code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1),
        };
        let message = if step.state == State::Done { String::new() } else { step.message.clone() };
        let end = RunEnd { ended: self.hands.now(), code, message, snapshot: step.snapshot.clone() };
        if let Err(error) = catalog.end(number, &end).await {
            self.hands.say(Said::Note(&format!("the catalog does not remember it: {error}")));
        }
    }

    /// A drill at the end, if there is to be one.
    async fn drill(&mut self) -> Option<Conducted> {
        let stated = self.policy.drill.as_ref()?;
        let wanted = match self.options.drill {
            Drilling::AsStated => stated.cron.is_none(),
            Drilling::Always => true,
            Drilling::Never => false,
        };
        if self.hands.stopped() {
            return None;
        }
        if !wanted {
            self.missed_drills().await;
            return None;
        }
        let order = conduct::Order { sources: self.options.sources.clone(), ..conduct::Order::default() };
        if self.options.dry_run {
            self.hands.say(Said::Note("holdfast drill: a drill would follow"));
            return None;
        }
        match conduct::conduct(self.hands, self.policy, self.catalog, &order, &self.options.here).await {
            Ok(conducted) => Some(conducted),
            // On this host it is not to be, which is no failure of the run.
            Err(refused) if refused.elsewhere => {
                self.hands.say(Said::Note(&refused.what));
                None
            }
            Err(refused) => {
                let step = Step::new("drill", None, REPOSITORY);
                self.done(step.ends(State::Failed, refused.what, refused.next)).await;
                None
            }
        }
    }
}

impl Runner<'_> {
    /// Leaves a record of drills that were due and did not run: nobody else may ever come by.
    async fn missed_drills(&self) {
        let has_time = self.policy.drill.as_ref().is_some_and(|drill| drill.cron.is_some());
        if !has_time || self.options.dry_run {
            return;
        }
        let past = past(self.hands, self.policy, self.catalog).await;
        if let Some(missed) = record_missed(self.hands, self.policy, &past, false).await {
            let said = format!("{} drills were due and did not run; that is recorded", missed.count);
            self.hands.say(Said::Lacking(&said));
        }
    }
}

/// What a step is about, for the catalog: a source, or a place that is not the repository.
fn remembered(step: &Step) -> Option<String> {
    match (&step.source, step.place.as_str()) {
        (Some(source), _) => Some(source.clone()),
        (None, REPOSITORY) => None,
        (None, copy) => Some(copy.to_owned()),
    }
}

/// What did not end well, with what to do.
fn failed(step: Step, answer: &Answer) -> Step {
    let (what, next) = answer.failure();
    step.ends(State::Failed, what, next)
}

/// Names of sources.
type Names = BTreeSet<String>;
