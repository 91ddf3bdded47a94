//! `evidence verify`: whether the chains are what they were.
//!
//! On purpose not here: repairing anything. A record that is gone is gone; a copy of the repository's folder
//! may have it.

use super::super::Run;
use crate::args::EvidenceVerifyArgs;
use crate::engine::evidence::{EvidenceBook, EvidenceChain, EvidenceMark, EvidenceProblem, records};
use crate::engine::{Inherited, inherited};
use crate::fault::Fault;
use crate::ink::{ChainLine, EvidenceProblemLine, EvidenceSummary, InheritedLine, counted, escape, local};

/// Checks all of it, and what was noted elsewhere.
pub(super) async fn run(run: &Run, args: &EvidenceVerifyArgs) -> Result<(), Fault> {
    let noted = args.expect.iter().map(|text| mark(text)).collect::<Result<Vec<_>, _>>()?;
    let repository = run.open().await?;
    let book = run.watch("reading evidence", records(&run.ctx, &repository)).await?;
    let inherited: Vec<_> = inherited(&book, &repository).into_iter().map(|(_, told)| told).collect();
    let lost = noted.iter().filter(|mark| !inherited.iter().any(|told| ends_with(told, mark)));
    let unmet: Vec<_> = lost.filter_map(|mark| book.expect(mark)).collect();
    let problems: Vec<_> = book.problems().chain(&unmet).collect();
    if run.ink.tone.json {
        problems.iter().for_each(|problem| run.ink.json(&EvidenceProblemLine::from(*problem)));
        book.chains.iter().for_each(|chain| run.ink.json(&ChainLine::from(chain)));
        inherited.iter().for_each(|told| run.ink.json(&InheritedLine::from(told)));
        run.ink.json(&EvidenceSummary::new(&book, problems.len(), noted.len() - unmet.len()));
    } else {
        show(run, &book, &problems, noted.len() - unmet.len());
        if !run.ink.tone.quiet {
            inherited.iter().for_each(|told| run.ink.data(&past(told)));
        }
    }
    match problems.len() as u64 {
        0 => Ok(()),
        number => {
            let what = format!("the evidence has {}", counted(number, "problem", "problems"));
            let hint = "find out who can write to the repository's place; a copy of its folder `evidence` may have \
                        what is missing";
            Err(Fault::failed(what, hint))
        }
    }
}

/// Whether a chain of an erased domain ended, when it was looked at, with what somebody noted.
fn ends_with(told: &Inherited, noted: &EvidenceMark) -> bool {
    let mark = InheritedLine::from(told).head.and_then(|text| text.parse::<EvidenceMark>().ok());
    mark.as_ref() == Some(noted)
}

fn past(told: &Inherited) -> String {
    let accesses = counted(told.accesses.len() as u64, "access", "accesses");
    let whose = told.member.as_deref().unwrap_or("unknown");
    let unread = if told.unread.is_some() { ", NOT READ WHOLE" } else { "" };
    format!(
        "erased domain {}: member {} ({}): {accesses} of numbers {} to {}{unread}",
        escape(told.domain.as_bytes()),
        escape(whose.as_bytes()),
        escape(told.label.as_bytes()),
        told.first,
        told.next.saturating_sub(1)
    )
}

fn mark(text: &str) -> Result<EvidenceMark, Fault> {
    text.parse().map_err(|why: String| {
        let what = format!("--expect: `{}`: {why}", escape(text.as_bytes()));
        Fault::usage(what, "take it as `evidence verify` printed it")
    })
}

fn show(run: &Run, book: &EvidenceBook, problems: &[&EvidenceProblem], proved: usize) {
    for EvidenceProblem { name, amiss } in problems {
        run.ink.data(&format!(
            "wrong: {}: {}",
            escape(name.as_bytes()),
            escape(amiss.to_string().as_bytes())
        ));
    }
    if run.ink.tone.quiet {
        return;
    }
    book.chains.iter().flat_map(lines).for_each(|line| run.ink.data(&line));
    let records = book.chains.iter().map(|chain| chain.records.len() as u64).sum();
    let verdict = if problems.is_empty() { "nothing is wrong with" } else { "PROBLEMS FOUND beside" };
    run.ink.data(&format!("{verdict} {}", counted(records, "record", "records")));
    if proved > 0 {
        run.ink.data(&format!("{} there as noted", counted(proved as u64, "record is", "records are")));
    } else if records > 0 {
        run.ink.talk("note the head elsewhere: without it nobody sees that the last records were taken away");
    }
}

fn lines(chain: &EvidenceChain) -> Vec<String> {
    let Some((first, last)) = chain.records.first().zip(chain.records.last()) else { return Vec::new() };
    let number = counted(chain.records.len() as u64, "record", "records");
    let since = chain.removed.as_ref().map(|label| format!(" ({}, removed since)", escape(label.as_bytes())));
    let since = since.unwrap_or_default();
    vec![
        format!("member {}{since}: {number}, {} to {}", chain.member, local(first.time), local(last.time)),
        format!("  head {}", last.mark()),
    ]
}
