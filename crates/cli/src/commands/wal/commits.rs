//! `wal ls --commits`: when transactions were committed, and where restore points are.
//!
//! On purpose not here: what a transaction did.

use super::super::restore::{point, recover, told};
use super::Run;
use super::lineage::Lineage;
use crate::engine::Right;
use crate::engine::wal::{Timeline, WalArchive};
use crate::fault::Fault;
use crate::ink::{CommitLine, escape, rfc3339};
use crate::wire_up::{Archived, Edge, LogEvent, LogEventKind, LogTree, Lsn, PlanError, log_commits};

/// Shows them, for one database.
pub(super) async fn run(run: &Run, system: Option<u64>, text: &str) -> Result<(), Fault> {
    let span = span(text)?;
    let repository = run.open_for(Right::FetchLog).await?;
    let archive = WalArchive::new(&run.ctx, &repository);
    let listed = archive.list(system).await?;
    let mut systems: Vec<u64> = listed.iter().map(|listed| listed.name.timeline.system).collect();
    systems.dedup();
    let [system] = systems[..] else {
        let known: Vec<_> = systems.iter().map(ToString::to_string).collect();
        return Err(match known.len() {
            0 => Fault::failed("there is no log of this database", "see what there is: holdfast wal status"),
            _ => {
                Fault::usage("there is log of several databases", format!("say which: {}", known.join(", ")))
            }
        });
    };
    let segment_bytes = Lineage::find(&archive, system, None).await?.segment_bytes().await?;
    let Some(segment_bytes) = segment_bytes else {
        return Err(Fault::failed(
            "there is no segment of this log",
            "see what there is: holdfast wal status",
        ));
    };
    let histories = recover::histories(&archive, &listed).await?;
    let (tree, shelf) = (LogTree::new(segment_bytes, &listed, &histories), Archived(archive));
    for (line, known) in tree.lines.iter().enumerate() {
        let timeline = known.timeline;
        let told = log_commits(&shelf, system, &tree, line, span, |event| show(run, &timeline, event)).await;
        told.map_err(|error| unread(&timeline, error))?;
    }
    Ok(())
}

fn unread(timeline: &Timeline, error: PlanError) -> Fault {
    match error {
        PlanError::Unread(error) => error.into(),
        _ => {
            let what = format!("the history file of timeline {timeline} is missing in the archive");
            Fault::failed(what, "archive it once more, from pg_wal of the server: holdfast wal push")
        }
    }
}

fn show(run: &Run, timeline: &Timeline, event: &LogEvent) {
    let (time, xid, name) = match &event.kind {
        LogEventKind::Commit { xid, time } => (*time, Some(*xid), None),
        LogEventKind::RestorePoint { name, time } => (*time, None, Some(name.clone())),
        _ => return,
    };
    if run.ink.tone.json {
        return run.ink.json(&CommitLine {
            message_type: "wal_commit",
            system: timeline.system.to_string(),
            timeline: timeline.to_string(),
            time: rfc3339(time.time()),
            lsn: event.at.to_string(),
            xid,
            name,
        });
    }
    let what = match (xid, name) {
        (_, Some(name)) => format!("restore point {}", escape(name.as_bytes())),
        (xid, None) => format!("transaction {}", xid.unwrap_or_default()),
    };
    run.ink.data(&format!(
        "{}  {:>12}  timeline {}  {what}",
        told::moment(time),
        event.at.to_string(),
        timeline.number
    ));
}

/// Reads both ends.
fn span(text: &str) -> Result<(Edge, Edge), Fault> {
    let ends = text.split_once("..").filter(|(from, to)| !from.is_empty() && !to.is_empty());
    let (from, to) = ends.ok_or_else(|| {
        let what = format!("--commits {} is not FROM..TO", escape(text.as_bytes()));
        Fault::usage(
            what,
            "write two times with their offset, or two places: 2026-01-31T02:50Z..2026-01-31T03:10Z",
        )
    })?;
    Ok((edge(from)?, edge(to)?))
}

fn edge(text: &str) -> Result<Edge, Fault> {
    match Lsn::parse(text) {
        Some(lsn) => Ok(Edge::Lsn(lsn)),
        None => point::moment(text).map(Edge::Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;

    #[test]
    fn both_ends_are_times_or_places() {
        assert_eq!(span("0/10..0/20"), Ok((Edge::Lsn(Lsn(16)), Edge::Lsn(Lsn(32)))));
        let times = span("2026-01-31T02:50+09:00..2026-01-31T03:10+09:00");
        assert!(matches!(times, Ok((Edge::Time(from), Edge::Time(to))) if to.0 - from.0 == 1_200_000_000));
        for odd in ["", "..", "0/10", "0/10..", "2026-01-31T02:50..2026-01-31T03:10", "a..b"] {
            assert_eq!(span(odd).err().map(|fault| fault.code), Some(Code::Usage), "{odd}");
        }
    }
}
