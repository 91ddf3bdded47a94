//! `check`: whether the repository is whole.

use super::Run;
use crate::args::CheckArgs;
use crate::engine::{CheckReport, Finding, ReadData, check};
use crate::fault::Fault;
use crate::ink::{CheckSummary, FindingLine, Ink, count, counted, duration, escape, parse_size, rate, size};
use holdfast_core::name::DOMAINS;
use std::time::{Duration, Instant};

/// Checks, and shows what was found.
pub(crate) async fn run(run: &Run, args: &CheckArgs) -> Result<(), Fault> {
    let read_data = read_data(args)?;
    let repository = run.open().await?;
    let begun = Instant::now();
    let report = run.watch("checking the repository", check(&run.ctx, &repository, read_data)).await?;
    let took = begun.elapsed();
    if run.ink.tone.json {
        report.findings.iter().for_each(|finding| run.ink.json(&FindingLine::from(finding)));
        run.ink.json(&CheckSummary::new(&report, took.as_secs_f64()));
    } else {
        show(&run.ink, &report, took, read_data);
    }
    match report.errors {
        0 => Ok(()),
        number => {
            let what = format!("the repository has {}", counted(number, "error", "errors"));
            Err(Fault::failed(what, "do not remove anything; back up again, and restore what is whole"))
        }
    }
}

fn read_data(args: &CheckArgs) -> Result<ReadData, Fault> {
    match (&args.read_data_subset, args.read_data) {
        (Some(text), _) => subset(text).ok_or_else(|| {
            Fault::usage(
                format!("`{}` is no part of the data", escape(text.as_bytes())),
                "write 5%, 1/7 or 500M",
            )
        }),
        (None, true) => Ok(ReadData::All),
        (None, false) => Ok(ReadData::No),
    }
}

fn subset(text: &str) -> Option<ReadData> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().ok()?;
        return (percent > 0.0 && percent <= 100.0).then_some(ReadData::Percent(percent));
    }
    if let Some((part, of)) = text.split_once('/') {
        let (part, of) = (part.trim().parse().ok()?, of.trim().parse().ok()?);
        return (1 <= part && part <= of).then_some(ReadData::Part { part, of });
    }
    parse_size(text).ok().filter(|&bytes| bytes > 0).map(ReadData::Bytes)
}

/// Errors stand first; what is only worth knowing is summed up unless all is asked for.
fn show(ink: &Ink, report: &CheckReport, took: Duration, read_data: ReadData) {
    let line = |finding: &Finding| {
        let word = if finding.is_error { "error" } else { "notice" };
        format!("{word}: {}: {}", escape(finding.subject.as_bytes()), escape(finding.what.as_bytes()))
    };
    report.findings.iter().filter(|finding| finding.is_error).for_each(|finding| ink.data(&line(finding)));
    if ink.tone.verbose {
        report
            .findings
            .iter()
            .filter(|finding| !finding.is_error)
            .for_each(|finding| ink.data(&line(finding)));
    } else if report.notices > 0 {
        // What was not looked at has to be known to whoever reads "no errors found".
        let unseen = report.findings.iter().filter(|finding| finding.subject.starts_with(DOMAINS));
        unseen.for_each(|finding| ink.talk(&line(finding)));
        ink.talk(&format!(
            "{}, nothing is lost; see them with -v",
            counted(report.notices, "notice", "notices")
        ));
    }
    if !ink.tone.quiet {
        summary(report, took, read_data).iter().for_each(|line| ink.data(line));
    }
}

fn summary(report: &CheckReport, took: Duration, read_data: ReadData) -> Vec<String> {
    let verdict = if report.errors == 0 { "no errors found" } else { "ERRORS FOUND" };
    let mut lines = vec![
        format!("{verdict} in {}", counted(report.snapshots, "snapshot", "snapshots")),
        format!("  checked    {}, {}", counted(report.objects, "object", "objects"), size(report.bytes)),
        format!("  packs      {} with {}", count(report.packs), counted(report.chunks, "chunk", "chunks")),
    ];
    if read_data == ReadData::No {
        lines.push("  contents   not read; use --read-data or --read-data-subset".into());
    } else {
        let speed = rate(report.bytes_read, took).map(|rate| format!(", {rate}")).unwrap_or_default();
        let packs = format!("{} of {} packs", count(report.packs_read), count(report.packs));
        lines.push(format!("  contents   {packs} read, {}{speed}", size(report.bytes_read)));
    }
    if !report.opened {
        lines.push(
            "  not proved what pages and packs hold: this key opens neither, only checksums were compared"
                .into(),
        );
    }
    lines.push(format!("  took       {}", duration(took)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_data_has_three_spellings() {
        assert_eq!(subset("5%"), Some(ReadData::Percent(5.0)));
        assert_eq!(subset("0.5%"), Some(ReadData::Percent(0.5)));
        assert_eq!(subset("1/7"), Some(ReadData::Part { part: 1, of: 7 }));
        assert_eq!(subset("500M"), Some(ReadData::Bytes(500 << 20)));
        for text in ["", "0%", "101%", "nan%", "0/7", "8/7", "1/0", "0", "x", "-1/3"] {
            assert_eq!(subset(text), None, "{text}");
        }
    }

    #[test]
    fn a_summary_says_whether_contents_were_read() {
        let (packs, packs_read, bytes_read) = (10, 2, 1 << 20);
        let report = CheckReport { packs, packs_read, bytes_read, opened: true, ..CheckReport::default() };
        let lines = summary(&report, Duration::from_secs(1), ReadData::Percent(20.0));
        assert!(lines[3].contains("2 of 10 packs read, 1.00 MiB, 1.00 MiB/s"), "{lines:?}");
        assert!(summary(&report, Duration::ZERO, ReadData::No)[3].contains("not read"));
    }
}
