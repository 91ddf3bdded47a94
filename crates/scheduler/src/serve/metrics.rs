//! What `serve` counts, for Prometheus: how jobs ended, how many go on, and that it moves.
//!
//! Labels are the names of policies and a few words, so there are as many series as policies allow. On purpose
//! not here: how backups stand, which is `status`'s to say; answering.

use super::told::{JobState, Told};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is written: names, what they mean, and what kind of number it is.
pub const SERVE_METRICS: [(&str, &str, &str); 5] = [
    (ALIVE, "gauge", "When this worker last moved."),
    (SINCE, "gauge", "When this worker began."),
    (READY, "gauge", "Whether jobs can be done: 1, or 0 while the catalog is lost."),
    (RUNNING, "gauge", "So many jobs go on here."),
    (JOBS, "counter", "So many jobs of a policy ended so since this worker began."),
];

const ALIVE: &str = "holdfast_serve_alive_timestamp_seconds";
const SINCE: &str = "holdfast_serve_started_timestamp_seconds";
const READY: &str = "holdfast_serve_ready";
const RUNNING: &str = "holdfast_serve_jobs_running";
const JOBS: &str = "holdfast_serve_jobs_total";

/// What was counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counted {
    /// By policy, activity and what became of it.
    ended: BTreeMap<(String, String, &'static str), u64>,
    running: u64,
}

impl Counted {
    /// Counts what is told; whether a job came to an end by it.
    pub fn note(&mut self, told: &Told) -> bool {
        let Told::Job(told) = told else { return false };
        match told.state {
            JobState::Begins => self.running += 1,
            JobState::Done | JobState::Failed | JobState::GivenBack | JobState::Lost => {
                self.running = self.running.saturating_sub(1);
            }
            // It did not go on here.
            JobState::Skipped | JobState::TakenBack => {}
        }
        if told.state == JobState::Begins {
            return false;
        }
        let key = (told.job.policy.clone(), told.job.activity.clone(), told.state.word());
        *self.ended.entry(key).or_default() += 1;
        true
    }

    /// The text for Prometheus.
    #[must_use]
    pub fn metrics(&self, now: Timestamp, since: Timestamp, is_ready: bool) -> String {
        let mut text = String::new();
        for (name, kind, help) in SERVE_METRICS {
            let lines = match name {
                ALIVE => vec![format!("{ALIVE} {}", now.as_second())],
                SINCE => vec![format!("{SINCE} {}", since.as_second())],
                READY => vec![format!("{READY} {}", u8::from(is_ready))],
                RUNNING => vec![format!("{RUNNING} {}", self.running)],
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
            run: "1.1".into(),
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
            assert!(counted.note(&told("shop", JobState::Skipped)));
        }
        let at = |second| Timestamp::from_second(second).unwrap();
        let text = counted.metrics(at(20), at(10), true);
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
        assert!(counted.metrics(at(20), at(10), false).contains("policy=\"a\\\"b\""));
    }
}
