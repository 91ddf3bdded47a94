//! A job that was claimed: which words carry it out, and what its end means.
//!
//! On purpose not here: starting processes.

use super::policies::Served;
use super::timers::{self, CHECK, DRILL, PRUNE, RUN};
use super::told::{JobName, JobState, JobTold, Told};
use crate::catalog::{Claim, JobEnd};
use crate::hands::{Answer, Call};
use crate::policy::{Activity, Postgres, REPOSITORY};
use crate::run::words;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;

/// The slot that a stream uses where the policy names none.
const SLOT: &str = "holdfast";

/// A job, to be carried out.
#[derive(Debug, Clone)]
pub struct Task {
    /// The claim on it.
    pub claim: Claim,
    /// The policy as it was when the job was claimed: that is carried out, whatever becomes of the file.
    pub served: Arc<Served>,
    /// Variables that other policies which are served take secrets from, and this one does not.
    pub others: BTreeSet<String>,
}

/// How a job ended here.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// As the catalog is to have it.
    End(JobEnd),
    /// It was stopped: it is to be done anew.
    Stopped,
}

impl Task {
    /// What people know it by.
    #[must_use]
    pub fn name(&self) -> JobName {
        name(&self.claim)
    }

    /// The words of the verb that carries it out; none for what nothing here knows.
    #[must_use]
    pub fn words(&self) -> Option<Vec<OsString>> {
        let due = &self.claim.due;
        let mut words: Vec<OsString> = match due.activity.as_str() {
            RUN => vec!["run".into(), "--only=backup".into()],
            DRILL => vec!["drill".into()],
            PRUNE => vec!["run".into(), "--only=prune".into()],
            CHECK => vec!["run".into(), "--only=check".into()],
            _ => return None,
        };
        if due.activity == RUN {
            words.extend(self.sources().iter().map(|name| OsString::from(format!("--source={name}"))));
        }
        words.push(self.served.file.clone().into());
        Some(words)
    }

    /// The sources of a run; none where all are meant.
    fn sources(&self) -> Vec<&str> {
        if let Some(source) = &self.claim.due.source {
            return vec![source];
        }
        let common = timers::common(&self.served.policy);
        if common.len() == self.served.policy.sources.0.len() { Vec::new() } else { common }
    }
}

/// What people know a claimed job by.
#[must_use]
pub fn name(claim: &Claim) -> JobName {
    let due = &claim.due;
    JobName {
        run: format!("{}-{}", claim.job, claim.fence),
        policy: due.policy.clone(),
        activity: due.activity.clone(),
        source: due.source.clone(),
        scheduled_for: due.scheduled_for,
        attempt: claim.attempt,
        missed: due.missed,
    }
}

/// What is told of a claimed job.
#[must_use]
pub fn told(claim: &Claim, state: JobState, message: impl Into<String>) -> Told {
    Told::Job(Box::new(JobTold {
        state,
        job: name(claim),
        code: None,
        seconds: None,
        message: message.into(),
    }))
}

/// The verb that streams the log of a source; none where it has none, or no key for that is here.
#[must_use]
pub fn stream(served: &Served, source: &str) -> Option<Call> {
    let policy = &served.policy;
    let postgres = policy.sources.get(source)?.postgres.as_ref()?;
    let place = policy.place(REPOSITORY, Activity::Backup)?;
    let mut call = Call::on(&place, stream_words(postgres));
    call.env.extend(words::passfile(postgres));
    Some(call)
}

fn stream_words(postgres: &Postgres) -> Vec<OsString> {
    let slot = postgres.slot.as_deref().unwrap_or(SLOT);
    let mut words: Vec<OsString> =
        vec!["wal".into(), "stream".into(), format!("--slot={slot}").into(), "--create-slot".into()];
    words.extend(postgres.slot_limit.map(|limit| format!("--slot-limit={}B", limit.0).into()));
    words.extend(["--".into(), OsString::from(&postgres.url)]);
    words
}

/// What the end of a job means. One that was asked to stop may have been done before it heard.
#[must_use]
pub fn ended(answer: Result<Answer, String>, halted: bool) -> Ended {
    let answer = match answer {
        Ok(answer) => answer,
        Err(message) => return Ended::End(JobEnd::Done { code: 1, message }),
    };
    let summary = answer.line("summary").or_else(|| answer.line("drill"));
    let stated = summary.and_then(|line| line["code"].as_u64()).and_then(|code| u8::try_from(code).ok());
    // One that was stopped in the middle may have said before what it came to so far: that is no end, but for 0.
    let is_broken_off = answer.code == 130 && stated != Some(0);
    if halted && (is_broken_off || stated.is_none_or(|code| code == 130)) {
        return Ended::Stopped;
    }
    if let Some(why) = summary.and_then(left_undone) {
        return Ended::End(JobEnd::Skipped { why });
    }
    let code = stated.or_else(|| u8::try_from(answer.code).ok()).unwrap_or(1);
    let message = if code == 0 { String::new() } else { one_line(answer.failure()) };
    Ended::End(JobEnd::Done { code, message })
}

fn one_line((what, next): (String, String)) -> String {
    if next.is_empty() { what } else { format!("{what}; {next}") }
}

/// Why nothing was done, where a hold, or the lack of a key, kept everything from being done.
fn left_undone(summary: &serde_json::Value) -> Option<String> {
    let steps = summary["steps"].as_array()?;
    let of = |state: &'static str| steps.iter().filter(move |step| step["state"] == state);
    if of("held").count() + of("not_here").count() < steps.len() {
        return None;
    }
    let first = of("held").chain(of("not_here")).next()?;
    first["message"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::policies::{File, Policies};
    use super::*;
    use serde_json::json;

    const TEXT: &str = "
name: shop
repository: { url: /r, keys: { backup: { file: /key } } }
sources:
  tree: { files: { paths: [/srv] } }
  media: { files: { paths: [/media] }, schedule: { cron: '0 * * * *' } }
  db: { postgres: { url: 'postgres://b@db', wal: stream, slot: mine, slot_limit: 1KiB, passfile: /pass } }
schedule: { cron: '15 2 * * *' }
";

    fn served() -> Arc<Served> {
        let mut policies = Policies::new(None);
        policies.take(vec![File { path: "/etc/shop.yaml".into(), text: Ok(TEXT.into()) }]);
        Arc::clone(policies.get("shop").unwrap())
    }

    fn words(activity: &str, source: Option<&str>) -> String {
        let served = served();
        let mut due = timers::stream(&served.policy, "db", jiff::Timestamp::UNIX_EPOCH);
        (due.activity, due.source) = (activity.to_owned(), source.map(str::to_owned));
        let claim = Claim { job: 7, due, fence: 3, attempt: 1, worker: "w".into() };
        let task = Task { claim, served, others: BTreeSet::new() };
        assert_eq!(task.name().run, "7-3");
        let words = task.words().unwrap_or_default();
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_words_of_jobs() {
        assert_eq!(words(RUN, None), "run --only=backup --source=tree --source=db /etc/shop.yaml");
        assert_eq!(words(RUN, Some("media")), "run --only=backup --source=media /etc/shop.yaml");
        assert_eq!(words(PRUNE, None), "run --only=prune /etc/shop.yaml");
        assert_eq!(words(CHECK, None), "run --only=check /etc/shop.yaml");
        assert_eq!(words(DRILL, None), "drill /etc/shop.yaml");
        assert_eq!(words("other", None), "");
    }

    #[test]
    fn the_words_of_a_stream() {
        let call = stream(&served(), "db").unwrap();
        let words: Vec<_> = call.words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(
            words.join(" "),
            "wal stream --slot=mine --create-slot --slot-limit=1024B -- postgres://b@db"
        );
        assert_eq!(call.env, [("PGPASSFILE".to_owned(), OsString::from("/pass"))]);
        assert!(stream(&served(), "tree").is_none());
    }

    fn answer(code: i32, line: serde_json::Value) -> Result<Answer, String> {
        Ok(Answer { code, lines: vec![line], ..Answer::default() })
    }

    #[test]
    fn what_was_stopped_is_done_anew_unless_it_was_done() {
        let done = |code| Ended::End(JobEnd::Done { code, message: String::new() });
        let summary = |code: u8| json!({ "message_type": "summary", "code": code, "steps": [] });
        assert_eq!(ended(answer(130, summary(130)), true), Ended::Stopped);
        assert_eq!(ended(answer(130, json!({})), true), Ended::Stopped);
        assert_eq!(ended(answer(130, summary(0)), true), done(0));
        assert_eq!(ended(answer(0, summary(0)), false), done(0));
        let drill = json!({ "message_type": "drill", "code": 20 });
        // It said so far that it proved nothing.
        let nothing = json!({ "message_type": "drill", "code": 23 });
        assert_eq!(ended(answer(130, nothing.clone()), true), Ended::Stopped);
        assert!(matches!(ended(answer(23, nothing), true), Ended::End(JobEnd::Done { code: 23, .. })));
        assert!(matches!(ended(answer(20, drill), false), Ended::End(JobEnd::Done { code: 20, .. })));
        match ended(Err("cannot start".into()), false) {
            Ended::End(JobEnd::Done { code: 1, message }) => assert_eq!(message, "cannot start"),
            ended => panic!("{ended:?}"),
        }
    }

    #[test]
    fn what_a_hold_keeps_from_being_done_was_skipped() {
        let steps = |states: &[&str]| {
            let steps: Vec<_> =
                states.iter().map(|state| json!({ "state": state, "message": "held" })).collect();
            answer(0, json!({ "message_type": "summary", "code": 0, "steps": steps }))
        };
        let skipped = Ended::End(JobEnd::Skipped { why: "held".into() });
        assert_eq!(ended(steps(&["held", "not_here"]), false), skipped);
        assert_eq!(ended(steps(&["not_here", "not_here"]), false), skipped);
        assert_ne!(ended(steps(&["not_here", "done"]), false), skipped);
        assert_ne!(ended(steps(&[]), false), skipped);
        assert_ne!(ended(steps(&["held", "done"]), false), skipped);
        assert_ne!(ended(steps(&["done"]), false), skipped);
    }
}
