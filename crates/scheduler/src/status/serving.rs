//! Whether policies are served: by whom, what waits, what was given up, whether logs are streamed.
//!
//! Only the catalog knows. Where no worker of `serve` was ever seen, policies are run by other means, and nothing is
//! said. On purpose not here: what the repositories have, by which promises are judged.

use super::problem::Problem;
use super::words::{passed, quoted, span_in_words};
use super::{Known, State, Status};
use crate::catalog::{Catalog, CatalogError, Job, JobState, SeenWorker};
use crate::serve::timers::{self, STREAM};
use jiff::{SignedDuration, Timestamp};

/// A worker of which nothing was heard for so long is gone.
const SILENCE: SignedDuration = SignedDuration::from_mins(10);
/// A job may wait so long for those before it.
const WAIT: SignedDuration = SignedDuration::from_hours(2);
/// So many of a policy's jobs are looked at.
const JOBS: u32 = 200;

/// Adds what is to be said of those who serve.
pub(super) async fn add(status: &mut Status, known: &[Known], memory: &Catalog) {
    match problems(known, memory, status.now).await {
        Ok(problems) => status.problems.extend(problems),
        Err(error) => status.problems.extend(lost(known, &error.to_string())),
    }
}

/// Nobody can tell whether policies are served.
pub(super) fn lost(known: &[Known], why: &str) -> Vec<Problem> {
    let one = |known: &Known| {
        let name = &known.policy.name;
        let what = format!(
            "{name}: whether it is served cannot be told: the catalog is out of reach, and nothing is begun without it."
        );
        Problem::new(State::Warning, "catalog-out-of-reach", name, what)
            .why(why)
            .then(
                "bring its server back; until then run what cannot wait by hand: holdfast run POLICY",
                "let `serve` go on with another catalog: it would do everything once more",
            )
            .back("not affected by this")
    };
    known.iter().map(one).collect()
}

async fn problems(known: &[Known], memory: &Catalog, now: Timestamp) -> Result<Vec<Problem>, CatalogError> {
    let workers = memory.workers().await?;
    let mut problems = Vec::new();
    for known in known {
        let streams = timers::streams(&known.policy);
        let times = timers::timers(&known.policy).unwrap_or_default();
        if workers.is_empty() || (streams.is_empty() && times.is_empty()) {
            continue;
        }
        let jobs = memory.jobs(&known.policy.name, JOBS).await?;
        match silent(known, &workers, now) {
            Some(problem) => problems.push(problem),
            None => {
                let lacking = |source: &&str| !is_streamed(&jobs, source);
                problems
                    .extend(streams.into_iter().filter(lacking).map(|source| not_streamed(known, source)));
                problems.extend(waits(known, &jobs, now));
            }
        }
        problems.extend(given_up(known, &jobs));
    }
    Ok(problems)
}

/// Nobody who can do something of it was heard of for long.
fn silent(known: &Known, workers: &[SeenWorker], now: Timestamp) -> Option<Problem> {
    let name = &known.policy.name;
    let prefix = format!("{name}/");
    let its = workers.iter().filter(|seen| seen.worker.labels.iter().any(|label| label.starts_with(&prefix)));
    let last = its.map(|seen| (seen.last_seen, &seen.worker.name)).max();
    let why = match last {
        Some((seen, _)) if now.duration_since(seen) <= SILENCE => return None,
        Some((seen, worker)) => {
            format!("nothing was heard of {worker} for {}", span_in_words(passed(seen, now)))
        }
        None => "no worker of `serve` knows this policy".to_owned(),
    };
    let what = format!("{name} is served by nobody: what is due is not begun.");
    let problem = Problem::new(State::High, "not-served", name, what).why(why);
    Some(
        problem
            .then(
                format!("start it: holdfast serve {}", quoted(&known.file)),
                "wait for the next time: nobody is there",
            )
            .back("not affected by this"),
    )
}

fn is_streamed(jobs: &[Job], source: &str) -> bool {
    jobs.iter().any(|job| {
        let is_its = job.due.activity == STREAM && job.due.source.as_deref() == Some(source);
        is_its && matches!(job.state, JobState::Running { .. })
    })
}

fn not_streamed(known: &Known, source: &str) -> Problem {
    let name = &known.policy.name;
    let what = format!(
        "The log of {name}/{source} is streamed by nobody: what is written now is only on its server."
    );
    Problem::new(State::Warning, "log-not-streamed", name, what)
        .of(source)
        .why("no worker of `serve` has taken it up")
        .then(
            "see what `serve` says, and the labels that the policy asks for (`workers`)",
            "drop its slot: it keeps what is missing",
        )
        .back("up to where the log goes, as the line of this source says")
}

/// The job that waits longest, if that is too long.
fn waits(known: &Known, jobs: &[Job], now: Timestamp) -> Option<Problem> {
    let free = jobs.iter().filter(|job| job.state == JobState::Free && job.due.activity != STREAM);
    let oldest = free.min_by_key(|job| job.entered)?;
    if now.duration_since(oldest.entered) <= WAIT {
        return None;
    }
    let name = &known.policy.name;
    let activity = &oldest.due.activity;
    let waited = span_in_words(passed(oldest.entered, now));
    let what =
        format!("The {activity} of {name} that was due at {} was not begun yet.", oldest.due.scheduled_for);
    let problem = Problem::new(State::Warning, "job-waits", name, what).why(format!(
        "it waits for {waited}: its workers have other work, lack a label that it asks for, or something of its group goes on"
    ));
    Some(
        problem
            .then(
                "see what `serve` says; more at once: --jobs N; labels: `workers` in the policy",
                "run it by hand beside",
            )
            .back("not affected by this"),
    )
}

/// The newest job that was given up, if none of its kind was done since.
fn given_up(known: &Known, jobs: &[Job]) -> Option<Problem> {
    let lost =
        jobs.iter().find(|job| matches!(job.state, JobState::Lost { .. }) && job.due.activity != STREAM)?;
    let same = |job: &&Job| job.due.activity == lost.due.activity && job.due.source == lost.due.source;
    let ended = |job: &&Job| matches!(job.state, JobState::Ended { .. });
    if jobs.iter().take_while(|job| job.id != lost.id).filter(same).any(|job| ended(&job)) {
        return None;
    }
    let name = &known.policy.name;
    let what = format!(
        "The {} of {name} that was due at {} was given up.",
        lost.due.activity, lost.due.scheduled_for
    );
    let problem = Problem::new(State::High, "job-lost", name, what)
        .why(format!("it was begun {} times, and each time its worker was lost", lost.attempt));
    Some(
        problem
            .then(
                format!("see why workers die (memory?), then: holdfast run {}", quoted(&known.file)),
                "only start the workers again: what kills them is still there",
            )
            .back("not affected by this"),
    )
}
