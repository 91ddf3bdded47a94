//! Whether policies are served: by whom, what waits, what was given up, whether logs are streamed.
//!
//! Only the catalog knows. Where no worker of `serve` was ever seen, policies are run by other means, and nothing is
//! said. On purpose not here: what the repositories have, by which promises are judged.

use super::ahead::is_ahead;
use super::problem::{Problem, drill, run};
use super::words::{passed, quoted, span_in_words};
use super::{Known, State, Status};
use crate::catalog::{Catalog, CatalogError, Job, SeenWorker};
use crate::serve::timers::{self, CHECK, DRILL, PRUNE, STREAM, Timer};
use jiff::{SignedDuration, Timestamp};

/// A worker of which nothing was heard for so long is gone.
const SILENCE: SignedDuration = SignedDuration::from_mins(10);
/// A job may wait so long for those before it.
const WAIT: SignedDuration = SignedDuration::from_hours(2);

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
        match silent(known, &workers, now) {
            Some(problem) => problems.push(problem),
            None => {
                // A host that only reads may have a catalog of its own, and does not know who streams.
                for source in timers::streamed_here(&known.policy) {
                    let is_streamed = memory.is_running(&known.policy.name, STREAM, Some(source)).await?;
                    problems.extend((!is_streamed).then(|| not_streamed(known, source)));
                }
                let mut free = memory.free_jobs(&known.policy.name).await?;
                // What the policy has no time for any more waits for nobody.
                free.retain(|job| times.iter().any(|timer| timer.has(&job.due)));
                problems.extend(waits(known, &free, now));
            }
        }
        let lost = memory.given_up(&known.policy.name, now).await?;
        problems.extend(given_up(known, &times, &lost));
    }
    Ok(problems)
}

/// Nobody who can do something of it was heard of for long.
fn silent(known: &Known, workers: &[SeenWorker], now: Timestamp) -> Option<Problem> {
    let name = &known.policy.name;
    let prefix = format!("{name}/");
    let its = workers.iter().filter(|seen| seen.worker.labels.iter().any(|label| label.starts_with(&prefix)));
    let past = its.filter(|seen| !is_ahead(seen.last_seen, now));
    let last = past.map(|seen| (seen.last_seen, &seen.worker.name)).max();
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
fn waits(known: &Known, free: &[Job], now: Timestamp) -> Option<Problem> {
    let oldest = free.iter().min_by_key(|job| job.entered)?;
    if now.duration_since(oldest.entered) <= WAIT {
        return None;
    }
    let name = &known.policy.name;
    let waited = span_in_words(passed(oldest.entered, now));
    let what = format!("The {} was not begun yet.", called(known, oldest));
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

/// What a job is, as people name it: `drill of shop that was due at …`.
fn called(known: &Known, job: &Job) -> String {
    let name = &known.policy.name;
    let source = job.due.source.as_ref().map(|source| format!("/{source}")).unwrap_or_default();
    format!("{} of {name}{source} that was due at {}", job.due.activity, job.due.scheduled_for)
}

/// What was given up, and was not done since. The newest of a kind says the older ones; what the policy has no times for
/// any more is not waited for.
fn given_up(known: &Known, times: &[Timer], lost: &[Job]) -> Option<Problem> {
    let newest = times.iter().filter_map(|timer| lost.iter().find(|job| timer.has(&job.due)));
    let mut kinds: Vec<&Job> = newest.collect();
    kinds.sort_by_key(|job| std::cmp::Reverse(job.due.scheduled_for));
    let (first, others) = kinds.split_first()?;
    let name = &known.policy.name;
    let what = format!("The {} was given up.", called(known, first));
    let more: String = others.iter().map(|job| format!("; so was the {}", called(known, job))).collect();
    let why = format!("it was begun {} times, and each time its worker was lost{more}", first.attempt);
    let by_hand: Vec<String> = kinds.iter().map(|job| by_hand(known, job)).collect();
    let problem = Problem::new(State::High, "job-lost", name, what).why(why);
    Some(
        problem
            .then(
                format!("see why workers die (memory?), then: {}", by_hand.join(" ; ")),
                "only start the workers again: what kills them is still there",
            )
            .back("not affected by this"),
    )
}

/// The command that does it.
fn by_hand(known: &Known, job: &Job) -> String {
    let whole = format!("holdfast run {}", quoted(&known.file));
    match (job.due.activity.as_str(), &job.due.source) {
        (DRILL, _) => drill(known),
        (PRUNE | CHECK, _) => format!("{whole} --only {}", job.due.activity),
        (_, Some(source)) => run(known, source),
        (_, None) => whole,
    }
}
