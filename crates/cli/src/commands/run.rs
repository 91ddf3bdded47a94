//! `run`: carries a policy out, and says what came of it.
//!
//! On purpose not here: what is done in which order.

use super::{Run, drill};
use crate::args::RunArgs;
use crate::conducting::Conducting;
use crate::fault::{Code, Fault};
use crate::hands::OwnHands;
use crate::ink::{Align, DrillLine, RunSummary, Table, duration, escape};
use crate::traces;
use holdfast_scheduler::drill::verdict::Verdict;
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::run::{Drilling, Options, RunReport, State, Step, run as carry_out};
use holdfast_scheduler::trace::of_run;
use std::time::Duration;

const COLUMNS: [(&str, Align); 4] =
    [("STEP", Align::Left), ("STATE", Align::Left), ("TOOK", Align::Right), ("RESULT", Align::Left)];

/// Carries a policy out.
pub(crate) async fn run(run: &Run, args: &RunArgs) -> Result<(), Fault> {
    let conducting = Conducting::new(run, &args.policy, &args.remembering).await?;
    run.listen()?;
    let hands = OwnHands::new(run).of(&conducting.policy);
    if !args.dry_run {
        conducting.remember(run, hands.now()).await;
    }
    let options = Options {
        sources: args.source.clone(),
        drill: match (args.drill, args.no_drill) {
            (true, _) => Drilling::Always,
            (_, true) => Drilling::Never,
            (false, false) => Drilling::AsStated,
        },
        dry_run: args.dry_run,
        here: conducting.here(run, &args.remembering),
    };
    let report = carry_out(&hands, &conducting.policy, conducting.catalog.as_ref(), &options).await;
    let report = report.map_err(|(what, next)| Fault::usage(what, next))?;
    show(run, &report);
    if !report.dry_run {
        traces::send(run, &hands, |origin| of_run(&report, origin, || hands.random())).await;
    }
    finish(&report)
}

fn show(run: &Run, report: &RunReport) {
    let ink = &run.ink;
    if ink.tone.json {
        report.drill.iter().for_each(|drill| ink.json(&DrillLine::from(drill)));
        return ink.json(&RunSummary::from(report));
    }
    if ink.tone.quiet && !report.dry_run {
        return;
    }
    if report.dry_run {
        return report.steps.iter().for_each(|step| ink.data(&planned(step)));
    }
    let mut table = Table::new(&COLUMNS);
    for step in &report.steps {
        table.row(cells(step));
    }
    ink.talk("");
    ink.table(&table);
    report.drill.iter().for_each(|drill| drill::show(run, drill));
}

/// A step as it would be done.
fn planned(step: &Step) -> String {
    match step.state {
        State::Planned => escape(step.message.as_bytes()),
        _ => escape(format!("# {}: {}", step.title(), step.message).as_bytes()),
    }
}

fn cells(step: &Step) -> Vec<String> {
    let took = Duration::try_from_secs_f64(step.seconds).unwrap_or_default();
    let state = match step.state {
        State::Done | State::Planned => "ok",
        State::Incomplete => "INCOMPLETE",
        State::Failed => "FAILED",
        State::Skipped => "skipped",
        State::NotHere => "not here",
    };
    let took = if step.seconds > 0.0 { duration(took) } else { String::new() };
    vec![step.title(), state.to_owned(), took, escape(step.message.as_bytes())]
}

fn finish(report: &RunReport) -> Result<(), Fault> {
    let code = report.code();
    let drilled =
        report.drill.as_ref().filter(|drill| drill.record.code == code && (20..100).contains(&code));
    match (code, drilled) {
        (0, _) => Ok(()),
        (_, Some(drill)) => drill::finish(&drill.record),
        (130, _) => {
            Err(Fault::new(Code::Interrupted, "interrupted", "run it again: it goes on where it was"))
        }
        _ => {
            let worst = report.troubles().find(|step| step.state == State::Failed);
            let worst = worst.or_else(|| report.troubles().next());
            let (what, next) = worst.map_or_else(Default::default, |step| {
                (format!("{}: {}", step.title(), step.message), step.next.clone())
            });
            let more = report.troubles().count().saturating_sub(1);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            // That a drill proved it all the same, or not, is worth knowing beside.
            let drill = match report.drill.as_ref().map(|drill| drill.record.verdict) {
                Some(Verdict::Fail) => "; and the drill failed",
                Some(Verdict::Inconclusive) => "; and the drill proved nothing",
                _ => "",
            };
            let what = format!("the run of {} is not whole: {what}{more}{drill}", report.policy);
            Err(Fault::new(Code::of_policy(code), what, next))
        }
    }
}
