//! Carries out what was claimed, as long as the claim holds.
//!
//! The claim is renewed while the work goes on. Where it cannot be, the work is stopped while it still holds, so
//! that nobody else begins the same beside it. On purpose not here: which job is claimed when.

use super::Station;
use super::halt::Halt;
use super::job::{self, Ended, Task};
use super::told::{Happens, JobState, JobTold, Told};
use crate::catalog::{Catalog, Claim, JobEnd};
use crate::hands::Call;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// A claim is renewed so often in the time that it holds, and each try may take as long.
const RENEWALS: u32 = 12;
/// After so many that failed one after the other the work is stopped: half of the time is over then, and in the other
/// half it has ended.
const FAILURES_MAX: u32 = 3;
/// So long is waited before something is tried again, at most.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Once it is to stop, an end is entered so often; what is not entered then is done anew.
const LAST_TRIES: u32 = 5;
/// Each of them may take so long.
const LAST_TRY_MAX: Duration = Duration::from_secs(3);
/// A stream that went on for so long is begun again at once.
const STEADY_SECS: f64 = 60.0;
/// How long is waited before one that failed again and again is begun anew, at most.
const STREAM_PAUSE_MAX: Duration = Duration::from_secs(300);

/// What carrying something out came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The job, and which claim of it.
    pub key: (i64, i64),
    /// Its exit code, 0 where it was not to be done; none where it did not end here.
    pub code: Option<u8>,
}

/// What became of a claim while the work went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// It holds.
    Held,
    /// Nobody can tell: the catalog did not answer for long.
    Unheard,
    /// Another has it now.
    Lost,
}

fn key(claim: &Claim) -> (i64, i64) {
    (claim.job, claim.fence)
}

/// How long is waited after so many tries that failed.
pub(super) fn pause(failures: u32, most: Duration) -> Duration {
    Duration::from_secs(1u64 << failures.min(16)).min(most)
}

/// Carries a job out to its end, and enters that.
pub(super) async fn carry(
    station: Arc<dyn Station>,
    catalog: Catalog,
    task: Task,
    term: Duration,
    halt: Halt,
) -> Outcome {
    let name = task.name();
    station.say(&job::told(&task.claim, JobState::Begins, ""));
    let begun = station.counted();
    let (answer, hold) = {
        let work = station.carry(&task, &halt);
        while_held(&*station, &catalog, &task.claim, term, &halt, work).await
    };
    let seconds = Some(station.counted().saturating_sub(begun).as_secs_f64());
    let tell = |state, code: Option<u8>, message: String| {
        let shown = code.filter(|_| state != JobState::Skipped);
        let told = JobTold { state, job: name.clone(), code: shown, seconds, message };
        station.say(&Told::Job(Box::new(told)));
        Outcome { key: key(&task.claim), code }
    };
    if hold == Hold::Lost {
        return tell(JobState::Lost, None, String::new());
    }
    match job::ended(answer, halt.is_raised()) {
        Ended::Stopped => {
            let back = insist(&halt, || catalog.give_back(&task.claim)).await;
            match back {
                Ok(true) => tell(JobState::GivenBack, None, String::new()),
                Ok(false) => tell(JobState::Lost, None, String::new()),
                Err(why) => tell(JobState::GivenBack, None, not_entered(&why)),
            }
        }
        Ended::End(end) => {
            let entered = insist(&halt, || catalog.finish(&task.claim, &end, station.now())).await;
            let (state, code, message) = match end {
                JobEnd::Done { code: 0, message } => (JobState::Done, Some(0), message),
                JobEnd::Done { code, message } => (JobState::Failed, Some(code), message),
                JobEnd::Skipped { why } => (JobState::Skipped, Some(0), why),
            };
            match entered {
                Ok(true) => tell(state, code, message),
                Ok(false) => tell(JobState::Lost, None, message),
                Err(why) => tell(state, code, [message, not_entered(&why)].join("; ")),
            }
        }
    }
}

fn not_entered(why: &str) -> String {
    format!("that could not be entered, so it is done anew: {why}")
}

/// Does something with the catalog until it is done; once everything stops, only some times more.
async fn insist<F, E>(halt: &Halt, mut act: impl FnMut() -> F) -> Result<bool, String>
where
    F: Future<Output = Result<bool, E>>,
    E: std::fmt::Display,
{
    let (mut failures, mut last) = (0, 0);
    loop {
        let patience = if halt.is_raised() { LAST_TRY_MAX } else { Duration::MAX };
        let why = match tokio::time::timeout(patience, act()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "the catalog does not answer".to_owned(),
        };
        if halt.is_raised() {
            last += 1;
            if last >= LAST_TRIES {
                return Err(why);
            }
        }
        let most = if halt.is_raised() { Duration::from_secs(1) } else { PAUSE_MAX };
        tokio::time::sleep(pause(failures, most)).await;
        failures += 1;
    }
}

/// Lets work go on while the claim holds; then it is asked to stop. What it came to, and what became of the claim.
async fn while_held<T>(
    station: &dyn Station,
    catalog: &Catalog,
    claim: &Claim,
    term: Duration,
    halt: &Halt,
    work: impl Future<Output = T>,
) -> (T, Hold) {
    let mut work = pin!(work);
    let every = term / RENEWALS;
    let (mut failures, mut hold) = (0, Hold::Held);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return (done, hold),
            () = tokio::time::sleep(every), if hold != Hold::Lost => {}
        }
        let renewal = catalog.renew(claim, station.now(), term);
        match tokio::time::timeout(every, renewal).await {
            Ok(Ok(true)) => (failures, hold) = (0, Hold::Held),
            Ok(Ok(false)) => hold = Hold::Lost,
            Ok(Err(_)) | Err(_) => failures += 1,
        }
        if hold != Hold::Lost && failures >= FAILURES_MAX {
            hold = Hold::Unheard;
        }
        if hold != Hold::Held {
            halt.raise();
        }
    }
}

/// Streams a log until it is stopped; what ends is begun again.
pub(super) async fn stream(
    station: Arc<dyn Station>,
    catalog: Catalog,
    task: Task,
    call: Call,
    term: Duration,
    halt: Halt,
) -> Outcome {
    let work = again_and_again(&*station, &task, &call, &halt);
    let ((), hold) = while_held(&*station, &catalog, &task.claim, term, &halt, work).await;
    let is_lost = match hold {
        Hold::Lost => true,
        // Whoever serves next takes it up; if this is not entered, when the claim has run out.
        Hold::Held | Hold::Unheard => {
            insist(&halt, || catalog.give_back(&task.claim)).await.is_ok_and(|back| !back)
        }
    };
    let state = if is_lost { JobState::Lost } else { JobState::GivenBack };
    station.say(&job::told(&task.claim, state, ""));
    Outcome { key: key(&task.claim), code: None }
}

async fn again_and_again(station: &dyn Station, task: &Task, call: &Call, halt: &Halt) {
    let due = &task.claim.due;
    let source = due.source.as_deref().unwrap_or_default();
    let mut failures = 0;
    while !halt.is_raised() {
        let begins = format!("stream of {}/{source}: begins", due.policy);
        station.say(&Told::stream(Happens::StreamBegins, &due.policy, source, begins));
        let (why, seconds) = match station.stream(task, call, halt).await {
            Ok(answer) => {
                let (what, next) = answer.failure();
                (if next.is_empty() { what } else { format!("{what}; {next}") }, answer.seconds)
            }
            Err(why) => (why, 0.0),
        };
        if halt.is_raised() {
            return;
        }
        failures = if seconds >= STEADY_SECS { 0 } else { failures + 1 };
        let pause = pause(failures, STREAM_PAUSE_MAX);
        let told = format!("stream of {}/{source}: ended ({why}); it begins again in {pause:?}", due.policy);
        station.say(&Told::stream(Happens::StreamEnded, &due.policy, source, told));
        tokio::select! {
            () = halt.raised() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
