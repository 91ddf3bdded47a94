//! The JSON lines of `serve`, as `JSON.md` describes them.
//!
//! On purpose not here: what jobs themselves say, which stays with them.

use holdfast_scheduler::serve::told::{JobTold, ServiceTold};
use serde::Serialize;

/// How it goes with a job.
#[derive(Debug, Serialize)]
pub(crate) struct JobLine<'a> {
    message_type: &'static str,
    state: &'static str,
    run_id: &'a str,
    policy: &'a str,
    activity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    scheduled_for: String,
    attempt: u32,
    missed: u32,
    code: Option<u8>,
    total_duration: Option<f64>,
    message: &'a str,
}

impl<'a> From<&'a JobTold> for JobLine<'a> {
    fn from(told: &'a JobTold) -> Self {
        let job = &told.job;
        Self {
            message_type: "job",
            state: told.state.word(),
            run_id: &job.run,
            policy: &job.policy,
            activity: &job.activity,
            source: job.source.as_deref(),
            scheduled_for: job.scheduled_for.to_string(),
            attempt: job.attempt,
            missed: job.missed,
            code: told.code,
            total_duration: told.seconds,
            message: &told.message,
        }
    }
}

/// How it goes with the service itself.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceLine<'a> {
    message_type: &'static str,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    message: &'a str,
}

impl<'a> From<&'a ServiceTold> for ServiceLine<'a> {
    fn from(told: &'a ServiceTold) -> Self {
        Self {
            message_type: "service",
            what: told.what.word(),
            policy: told.policy.as_deref(),
            source: told.source.as_deref(),
            message: &told.message,
        }
    }
}
