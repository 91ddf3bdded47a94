//! What `serve` starts: a job, which is `run` or `drill` as a person would start it, and streams of logs.
//!
//! A job finds what we find, and the policy that was read here, not what its file says by then; what is secret is
//! handed over, and so is not in its environment. On purpose not here: which job, and what follows from its end.

use super::child::{self, Kept, Rules};
use super::environment::{self, Variables};
use super::{Ear, OwnHands, VERB_GRACE, apart, leash};
use crate::engine::Cancel;
use crate::secrets::handed::{Handed, frame};
use holdfast_scheduler::hands::{Answer, Call};
use holdfast_scheduler::serve::job::Task;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Under this name a verb is handed the text of the policy that it is to carry out.
pub(crate) const POLICY_TEXT: &str = "HOLDFAST_POLICY_TEXT";

/// So long may a job take to stop: its verb has its own time, and it has something to say afterwards.
const JOB_GRACE: Duration = Duration::from_secs(VERB_GRACE.as_secs() + 15);
/// So many lines of what goes on for months are kept, at its end.
const LATEST_MAX: usize = 20;

impl OwnHands {
    /// Carries out a verb on a policy whose text was read before. Asked to stop, it has its time, but no longer than
    /// stated.
    pub(crate) async fn job(
        &self,
        words: Vec<OsString>,
        task: &Task,
        (cancel, grace): (Cancel, Duration),
    ) -> Result<Answer, String> {
        let served = &task.served;
        let (variables, mut handed) = environment::of_job(&served.policy, &task.others, &self.ours);
        handed.insert(POLICY_TEXT.to_owned(), Zeroizing::new(served.text.as_bytes().to_vec()));
        let command = self.job_command(&words, variables);
        let ear = Ear::new(Arc::clone(&self.progress));
        heard(command, handed, ear, cancel, JOB_GRACE.min(grace)).await
    }

    /// Streams a log until it ends, or is stopped; what it warns of meanwhile is told as it comes.
    pub(crate) async fn stream(
        &self,
        call: &Call,
        task: &Task,
        (cancel, grace): (Cancel, Duration),
        warns: mpsc::Sender<String>,
    ) -> Result<Answer, String> {
        let mut hands = self.clone().of(&task.served.policy);
        hands.ours = hands.ours.without(&task.others);
        let (command, hand) = tokio::task::block_in_place(|| hands.verb_command(call))?;
        let mut ear = Ear::new(Arc::clone(&self.progress));
        (ear.lines, ear.problems, ear.whole) = (Kept::new(0, LATEST_MAX), Kept::new(0, LATEST_MAX), false);
        ear.warns = Some(warns);
        apart(move || listened(command, &hand, ear, &cancel, VERB_GRACE.min(grace))).await
    }

    fn job_command(&self, words: &[OsString], mut variables: Variables) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--json").args(&self.globals);
        match &self.cache {
            Some(cache) => _ = variables.insert("HOLDFAST_CACHE_DIR".into(), cache.into()),
            None => _ = command.arg("--no-cache"),
        }
        variables.insert(leash::LEASH.into(), std::process::id().to_string().into());
        command.args(words).env_clear().envs(variables);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

async fn heard(
    command: Command,
    handed: Handed,
    ear: Ear,
    cancel: Cancel,
    grace: Duration,
) -> Result<Answer, String> {
    apart(move || listened(command, &frame(&handed), ear, &cancel, grace)).await
}

fn listened(
    mut command: Command,
    hand: &[u8],
    mut ear: Ear,
    cancel: &Cancel,
    grace: Duration,
) -> Result<Answer, String> {
    let rules = Rules { timeout: None, cancel, minds_its_own: true, grace, hand, feed: None };
    let end = child::run(&mut command, &rules, |stream, line| ear.hear(stream, &line));
    ear.answer(&end.map_err(|error| format!("cannot start this program again: {error}"))?)
}
