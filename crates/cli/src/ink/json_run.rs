//! The JSON lines of `run` and `drill`, as `JSON.md` describes them.
//!
//! On purpose not here: the record of a drill, which has fields of its own.

use holdfast_scheduler::drill::conduct::Conducted;
use holdfast_scheduler::drill::verdict::Verdict;
use holdfast_scheduler::evidence::Record;
use holdfast_scheduler::hands::Said;
use holdfast_scheduler::run::{RunReport, Step};
use serde::Serialize;

/// How things go, while they go.
#[derive(Debug, Serialize)]
pub(crate) struct StepLine<'a> {
    message_type: &'static str,
    state: &'static str,
    message: &'a str,
}

impl<'a> From<Said<'a>> for StepLine<'a> {
    fn from(said: Said<'a>) -> Self {
        let (state, message) = match said {
            Said::Begins(text) => ("begins", text),
            Said::Well(text) => ("done", text),
            Said::Lacking(text) => ("incomplete", text),
            Said::Failed(text) => ("failed", text),
            Said::Note(text) => ("note", text),
        };
        Self { message_type: "step", state, message }
    }
}

/// A drill that was done.
#[derive(Debug, Serialize)]
pub(crate) struct DrillLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    id: &'a str,
    from: &'a str,
    verdict: Verdict,
    code: u8,
    stored: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_stored: Option<&'a str>,
    record: &'a Record,
}

impl<'a> From<&'a Conducted> for DrillLine<'a> {
    fn from(drill: &'a Conducted) -> Self {
        let record = &drill.record;
        Self {
            message_type: "drill",
            policy: &record.policy,
            id: &record.id,
            from: &record.from,
            verdict: record.verdict,
            code: record.code,
            stored: drill.stored.as_deref(),
            file: drill.file.as_ref().map(|path| path.display().to_string()),
            not_stored: drill.not_stored.as_deref(),
            record,
        }
    }
}

/// What a run of a policy did.
#[derive(Debug, Serialize)]
pub(crate) struct RunSummary<'a> {
    message_type: &'static str,
    policy: &'a str,
    run_start: String,
    run_end: String,
    dry_run: bool,
    code: u8,
    verdict: Option<Verdict>,
    steps: Vec<StepSummary<'a>>,
}

/// One step of it.
#[derive(Debug, Serialize)]
struct StepSummary<'a> {
    activity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    place: &'a str,
    state: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    accepted: &'a [String],
    total_duration: f64,
}

impl<'a> From<&'a RunReport> for RunSummary<'a> {
    fn from(report: &'a RunReport) -> Self {
        Self {
            message_type: "summary",
            policy: &report.policy,
            run_start: report.started.to_string(),
            run_end: report.ended.to_string(),
            dry_run: report.dry_run,
            code: report.code(),
            verdict: report.drill.as_ref().map(|drill| drill.record.verdict),
            steps: report.steps.iter().map(StepSummary::from).collect(),
        }
    }
}

impl<'a> From<&'a Step> for StepSummary<'a> {
    fn from(step: &'a Step) -> Self {
        Self {
            activity: step.activity,
            source: step.source.as_deref(),
            place: &step.place,
            state: step.state.word(),
            message: &step.message,
            hint: &step.next,
            snapshot_id: step.snapshot.as_deref(),
            accepted: &step.accepted,
            total_duration: step.seconds,
        }
    }
}

/// A drill that is not due.
#[derive(Debug, Serialize)]
pub(crate) struct DrillDueLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) policy: &'a str,
    pub(crate) next: Option<String>,
}
