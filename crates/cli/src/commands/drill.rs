//! `drill`: proves that backups restore, and says what was proved.
//!
//! On purpose not here: proving it.

use super::Run;
use crate::args::DrillArgs;
use crate::conducting::Conducting;
use crate::fault::{Code, Fault};
use crate::hands::OwnHands;
use crate::ink::{Align, DrillDueLine, DrillLine, Table, duration, escape};
use crate::traces;
use holdfast_engine::proof::Level;
use holdfast_scheduler::drill::conduct::{Conducted, Order, conduct};
use holdfast_scheduler::drill::past::due_now;
use holdfast_scheduler::drill::verdict::Verdict;
use holdfast_scheduler::evidence::{Objective, Record, SourceRecord, html, junit, markdown};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::trace::of_drill;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const COLUMNS: [(&str, Align); 6] = [
    ("SOURCE", Align::Left),
    ("VERDICT", Align::Left),
    ("PROVED", Align::Left),
    ("RESTORED", Align::Right),
    ("TOOK", Align::Right),
    ("OF", Align::Left),
];

/// Drills a policy.
pub(crate) async fn run(run: &Run, args: &DrillArgs) -> Result<(), Fault> {
    let conducting = Conducting::new(run, &args.policy, &args.remembering).await?;
    run.listen()?;
    let hands = OwnHands::new(run).of(&conducting.policy);
    conducting.remember(run, hands.now()).await;
    let catalog = conducting.catalog.as_ref();
    if args.due && !args.now {
        let due = due_now(&hands, &conducting.policy, catalog).await;
        let (due, next) = due.map_err(|why| Fault::usage(why, "see: holdfast policy check"))?;
        if !due {
            let next = next.map(|next| next.to_string());
            return not_due(run, &conducting.policy.name, next);
        }
    }
    let order = Order {
        sources: args.source.clone(),
        from: args.from.clone(),
        level: args.level.map(Level::from),
        snapshot: args.snapshot.clone(),
        to: args.to.clone(),
    };
    let here = conducting.here(run, &args.remembering);
    let done = conduct(&hands, &conducting.policy, catalog, &order, &here).await;
    let done = done.map_err(|refused| Fault::usage(refused.what, refused.next))?;
    if run.ink.tone.json {
        run.ink.json(&DrillLine::from(&done));
    } else if !run.ink.tone.quiet {
        run.ink.talk("");
        show(run, &done);
    }
    traces::send(run, &hands, |origin| of_drill(&done.record, origin, || hands.random())).await;
    let written = write_all(args, &done.record);
    if hands.stopped() {
        return Err(Fault::new(Code::Interrupted, "interrupted", "run it again; nothing was proved"));
    }
    // What was found matters more than what could not be written of it.
    finish(&done.record).and(written)
}

fn not_due(run: &Run, policy: &str, next: Option<String>) -> Result<(), Fault> {
    if run.ink.tone.json {
        run.ink.json(&DrillDueLine { message_type: "not_due", policy, next });
    } else {
        let next = next.map_or_else(String::new, |next| format!("; the next one is due at {next}"));
        run.ink.talk(&format!("no drill of {policy} is due{next}"));
    }
    Ok(())
}

/// Shows what was proved.
pub(super) fn show(run: &Run, drill: &Conducted) {
    let record = &drill.record;
    let mut table = Table::new(&COLUMNS);
    record.sources.iter().for_each(|source| table.row(cells(source)));
    run.ink.table(&table);
    record.objectives.iter().for_each(|one| run.ink.data(&objective(one)));
    let verdict = match record.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE: nothing was proved",
    };
    run.ink.data(&format!("drill {} from {}: {verdict}", &record.id[..8.min(record.id.len())], record.from));
    match (&drill.stored, &drill.file) {
        (Some(name), _) => run.ink.talk(&format!("  the record is {name} in {}", record.from)),
        (None, Some(file)) => run.ink.talk(&format!("  the record is in {}", file.display())),
        // It must not be lost: nobody else has it.
        (None, None) => run.ink.data(&serde_json::to_string(record).unwrap_or_default()),
    }
}

fn cells(source: &SourceRecord) -> Vec<String> {
    let counted: f64 = source.phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds).sum();
    let share = source.share.filter(|share| *share < 1.0);
    let share = share.map_or_else(String::new, |share| format!(" of {:.0} %", share * 100.0));
    let reached = source.reached.map_or_else(|| "-".to_owned(), |level| format!("{level:?}").to_lowercase());
    vec![
        source.source.clone(),
        format!("{:?}", source.verdict).to_lowercase(),
        format!("{reached}{share}"),
        crate::ink::size(source.bytes),
        duration(Duration::try_from_secs_f64(counted).unwrap_or_default()),
        escape(source.point.as_bytes()),
    ]
}

fn objective(one: &Objective) -> String {
    let span = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let what = if one.name == "rpo" { "would be lost at most" } else { "to have it back" };
    let met = match (one.met, one.enforced) {
        (true, _) => "kept",
        (false, true) => "BROKEN",
        (false, false) => "broken, which does not count on this host",
    };
    let estimated = if one.estimated { " (estimated from a part)" } else { "" };
    let (measured, limit) = (span(one.measured), span(one.limit));
    format!("{} {}: {measured} {what}{estimated}, promised {limit}: {met}", one.source, one.name)
}

/// How a drill ends for whoever started it.
pub(super) fn finish(record: &Record) -> Result<(), Fault> {
    let found = record.sources.iter().flat_map(|source| {
        source
            .probes
            .iter()
            .flat_map(|probe| &probe.findings)
            .map(|finding| (source.source.as_str(), finding))
    });
    let broken = |name: &str| {
        let of = |one: &&Objective| one.name == name && one.enforced && !one.met;
        record.objectives.iter().find(of).map(objective).unwrap_or_default()
    };
    let code = Code::of_policy(record.code);
    let policy = &record.policy;
    let (what, next) = match code {
        _ if record.code == 0 => return Ok(()),
        Code::RpoMissed => (
            format!("the drill of {policy} broke a promise: {}", broken("rpo")),
            "back up more often, or see why not",
        ),
        Code::RtoMissed => (
            format!("the drill of {policy} broke a promise: {}", broken("rto")),
            "see the phases in the record",
        ),
        _ => {
            let is_cause = |finding: &holdfast_engine::proof::Finding| {
                (finding.cause == holdfast_engine::proof::Cause::Environment) == (code == Code::Inconclusive)
            };
            let first = found.clone().find(|(_, finding)| is_cause(finding));
            let more = found.clone().count().saturating_sub(1);
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let why = first.map_or_else(
                || "nothing was looked at".to_owned(),
                |(source, finding)| format!("{source}: {}", finding.what),
            );
            let how = if code == Code::Inconclusive { "proved nothing" } else { "failed" };
            let hint = first.map(|(_, finding)| finding.next.clone()).unwrap_or_default();
            return Err(Fault::new(code, format!("the drill of {policy} {how}: {why}{more}"), hint));
        }
    };
    Err(Fault::new(code, what, next))
}

/// Writes what was found in the forms that were asked for.
fn write_all(args: &DrillArgs, record: &Record) -> Result<(), Fault> {
    if let Some(path) = &args.junit {
        write(path, &junit::render(record), false)?;
    }
    if let Some(path) = &args.html {
        write(path, &html::render(record), false)?;
    }
    if let Some(path) = &args.markdown {
        write(path, &markdown::render(record), true)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, append: bool) -> Result<(), Fault> {
    let open = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let what = format!("cannot write {}", path.display());
        Fault::failed(what, "the record itself is kept; see: holdfast evidence show").because(&error)
    })
}
