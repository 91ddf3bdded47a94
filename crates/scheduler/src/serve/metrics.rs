//! What `serve` counts, for Prometheus: how jobs ended, how many go on, and that it moves.
//!
//! Labels are the names of policies and a few words, so there are as many series as policies allow. On purpose
//! not here: how backups stand, which is `status`'s to say; answering.

use super::told::{JobState, Told};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What is written: names, what they mean, and what kind of number it is.
pub const SERVE_METRICS: [(&str, &str, &str); 6] = [
    (ALIVE, "gauge", "When this worker last moved."),
    (SINCE, "gauge", "When this worker began."),
    (READY, "gauge", "Whether jobs can be done: 1, or 0 while the catalog is lost."),
    (SIGN, "gauge", "When the sign of life last arrived where it is to."),
    (RUNNING, "gauge", "So many jobs go on here."),
    (JOBS, "counter", "So many jobs of a policy ended so since this worker began."),
];

const ALIVE: &str = "holdfast_serve_alive_timestamp_seconds";
const SINCE: &str = "holdfast_serve_started_timestamp_seconds";
const READY: &str = "holdfast_serve_ready";
const SIGN: &str = "holdfast_serve_sign_of_life_timestamp_seconds";
const RUNNING: &str = "holdfast_serve_jobs_running";
const JOBS: &str = "holdfast_serve_jobs_total";

/// How a worker moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What time it is.
    pub now: Timestamp,
    /// When it began.
    pub since: Timestamp,
    /// Whether jobs can be done.
    pub is_ready: bool,
    /// When its sign of life last arrived; none where nobody is to have one, or nobody had it yet.
    pub sign_of_life: Option<Timestamp>,
}

/// What was counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counted {
    /// By policy, activity and what became of it.
    ended: BTreeMap<(String, String, &'static str), u64>,
    /// The jobs that go on, by their run ids.
    running: BTreeSet<String>,
}

impl Counted {
    /// Counts what is told; whether how backups stand may be another by it.
    pub fn note(&mut self, told: &Told) -> bool {
        let Told::Job(told) = told else { return false };
        if told.state == JobState::Begins {
            self.running.insert(told.job.run.clone());
            return false;
        }
        // What did not go on here is not among them.
        self.running.remove(&told.job.run);
        let key = (told.job.policy.clone(), told.job.activity.clone(), told.state.word());
        *self.ended.entry(key).or_default() += 1;
        // What was not begun changed nothing.
        told.state != JobState::Skipped
    }

    /// The text for Prometheus.
    #[must_use]
    pub fn metrics(&self, moved: &Moved) -> String {
        let Moved { now, since, is_ready, sign_of_life } = moved;
        let mut text = String::new();
        for (name, kind, help) in SERVE_METRICS {
            let lines = match name {
                ALIVE => vec![format!("{ALIVE} {}", now.as_second())],
                SINCE => vec![format!("{SINCE} {}", since.as_second())],
                READY => vec![format!("{READY} {}", u8::from(*is_ready))],
                SIGN => sign_of_life.iter().map(|at| format!("{SIGN} {}", at.as_second())).collect(),
                RUNNING => vec![format!("{RUNNING} {}", self.running.len())],
                _ => self.ended.iter().map(line).collect(),
            };
            if !lines.is_empty() {
                // A String takes all that is written to it.
                let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{}\n", lines.join("\n"));
            }
        }
        text
    }
}

fn line(((policy, activity, result), count): (&(String, String, &'static str), &u64)) -> String {
    let policy = crate::status::label(policy);
    format!(
        "{JOBS}{{policy=\"{policy}\",activity=\"{}\",result=\"{result}\"}} {count}",
        crate::status::label(activity)
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::told::{JobName, JobTold};
    use super::*;

    fn told(policy: &str, state: JobState) -> Told {
        let job = JobName {
            run: policy.into(),
            policy: policy.into(),
            activity: "run".into(),
            source: None,
            scheduled_for: Timestamp::UNIX_EPOCH,
            attempt: 1,
            missed: 0,
        };
        Told::Job(Box::new(JobTold { state, job, code: None, seconds: None, message: String::new() }))
    }

    #[test]
    fn jobs_are_counted_by_what_became_of_them() {
        let mut counted = Counted::default();
        assert!(
            !counted.note(&told("a\"b", JobState::Begins)) && !counted.note(&told("shop", JobState::Begins))
        );
        assert!(counted.note(&told("shop", JobState::Failed)));
        for _ in 0..2 {
            assert!(!counted.note(&told("shop", JobState::Skipped)));
            // A stream that is given back was never a job.
            assert!(counted.note(&told("stream", JobState::GivenBack)));
        }
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut moved = Moved { now: at(20), since: at(10), is_ready: true, sign_of_life: None };
        let text = counted.metrics(&moved);
        assert!(!text.contains("sign_of_life"), "{text}");
        for line in [
            "holdfast_serve_alive_timestamp_seconds 20",
            "holdfast_serve_started_timestamp_seconds 10",
            "holdfast_serve_ready 1",
            "holdfast_serve_jobs_running 1",
            "holdfast_serve_jobs_total{policy=\"shop\",activity=\"run\",result=\"failed\"} 1",
            "holdfast_serve_jobs_total{policy=\"shop\",activity=\"run\",result=\"skipped\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(counted.note(&told("a\"b", JobState::Done)));
        (moved.is_ready, moved.sign_of_life) = (false, Some(at(15)));
        let text = counted.metrics(&moved);
        assert!(text.contains("policy=\"a\\\"b\"") && text.contains("holdfast_serve_ready 0\n"), "{text}");
        assert!(text.contains("holdfast_serve_sign_of_life_timestamp_seconds 15\n"), "{text}");
    }
}
