//! The plan of a recovery in words, and why there is none.
//!
//! On purpose not here: making it.

use super::recover::Prepared;
use crate::engine::Snapshot;
use crate::fault::Fault;
use crate::ink::{RecoveryLine, SeenLine, counted, escape, local, rfc3339};
use crate::wire_up::{Goal, PgTime, PlanError, RecoveryPlan, Seen, Then, Wish, WishedTarget};

/// A moment for people: in local time, and as it is everywhere.
pub(in super::super) fn moment(time: PgTime) -> String {
    let time = time.time();
    format!("{} ({})", local(time), rfc3339(time))
}

fn seen(seen: &Seen) -> String {
    format!("{} at {}, transaction {}", moment(seen.time), seen.at, seen.xid)
}

/// What is wished, as a person would say it.
pub(super) fn wished(wish: &Wish) -> String {
    let before = if wish.exclusive { "before " } else { "" };
    let what = match &wish.target {
        WishedTarget::Latest => "the end of the log".to_owned(),
        WishedTarget::Immediate => "where the files are consistent".to_owned(),
        WishedTarget::Time(time) => moment(*time),
        WishedTarget::Lsn(lsn) => format!("place {lsn}"),
        WishedTarget::Xid(xid) => format!("the end of transaction {xid}"),
        WishedTarget::Name(name) => format!("the restore point {}", escape(name.as_bytes())),
    };
    format!("{before}{what}")
}

/// The plan, line by line.
pub(super) fn plan(prepared: &Prepared) -> Vec<String> {
    let Some(plan) = &prepared.plan else {
        return vec!["recovers to where the files are consistent, with the log that came along: the archive has none of this cluster".to_owned()];
    };
    let mut lines = vec![format!("recovers to {}", wished(&prepared.wish))];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<14} {text}"));
    if plan.legs.len() > 1 || plan.timeline.is_some_and(|timeline| timeline.number > 1) {
        let legs = plan.legs.iter().map(|leg| match leg.to {
            Some(to) => format!("{} up to {to}", leg.number),
            None => leg.number.to_string(),
        });
        line("timelines", legs.collect::<Vec<_>>().join(", then "));
    }
    if let Some(timeline) = plan.timeline {
        line("timeline", timeline.to_string());
    }
    if let Some((first, last)) = plan.segments {
        let number = counted(plan.segment_count, "segment", "segments");
        line("log", format!("{number}, {first} to {last}"));
    }
    if plan.timeline.is_some() {
        let none = || "none near".to_owned();
        line("last commit", plan.before.as_ref().map_or_else(none, seen));
        match &plan.after {
            Some(after) => line("not any more", seen(after)),
            None if plan.none_after => {
                let last = plan.last.map(|last| format!(", {last}")).unwrap_or_default();
                line(
                    "not any more",
                    format!(
                        "nothing: no transaction ended after that moment; it goes to the end of the log{last}"
                    ),
                );
            }
            None => {}
        }
    }
    if let (WishedTarget::Latest, Some(last), true) =
        (&prepared.wish.target, plan.last, prepared.recovering.stops_at_record())
    {
        line("end", format!("{last}: what the archive gets after this plan is not replayed"));
    }
    line("then", then(prepared).to_owned());
    lines
}

fn then(prepared: &Prepared) -> &'static str {
    match &prepared.recovering.recovery {
        Some(recovery) if recovery.standby => "it stays a standby",
        Some(recovery) => match recovery.then {
            Then::Promote => "it opens, on a timeline of its own",
            Then::Pause => "it can be read and waits; to open it: select pg_wal_replay_resume()",
            Then::Shutdown => "it shuts down",
        },
        None => "it opens",
    }
}

/// The plan for programs.
pub(super) fn line(prepared: &Prepared) -> Option<RecoveryLine> {
    let plan = prepared.plan.as_ref()?;
    let recovery = prepared.recovering.recovery.as_ref()?;
    Some(RecoveryLine {
        message_type: "recovery",
        target: target(&prepared.wish, plan),
        exclusive: plan.exclusive,
        timeline: plan.timeline.map(|timeline| timeline.to_string()),
        first_segment: plan.segments.map(|(first, _)| first.to_string()),
        last_segment: plan.segments.map(|(_, last)| last.to_string()),
        segment_count: plan.segment_count,
        stop_lsn: plan.stop.or(plan.last).map(|stop| stop.to_string()),
        last_commit: plan.before.as_ref().map(SeenLine::of),
        next_commit: plan.after.as_ref().map(SeenLine::of),
        none_after: plan.none_after,
        then: match recovery.then {
            _ if recovery.standby => "standby",
            Then::Promote => "promote",
            Then::Pause => "pause",
            Then::Shutdown => "shutdown",
        },
        restore_command: recovery.restore_command.clone(),
    })
}

fn target(wish: &Wish, plan: &RecoveryPlan) -> String {
    match (&wish.target, &plan.goal) {
        (WishedTarget::Time(time), _) => format!("time={}", rfc3339(time.time())),
        (_, Goal::Immediate) => "immediate".to_owned(),
        (_, Goal::Latest) => "latest".to_owned(),
        (_, Goal::Time(time)) => format!("time={}", rfc3339(time.time())),
        (_, Goal::Lsn(lsn)) => format!("lsn={lsn}"),
        (_, Goal::Xid(xid)) => format!("xid={xid}"),
        (_, Goal::Name(name)) => format!("name={name}"),
    }
}

/// Why there is no plan. Nothing was changed.
pub(super) fn refused(error: PlanError, wish: &Wish, snapshots: &[Snapshot], named: bool) -> Fault {
    let what = format!("cannot recover to {}", wished(wish));
    let because = |why: String, hint: String| Fault { why: vec![why], ..Fault::failed(what.clone(), hint) };
    match error {
        PlanError::NoArchive => because(
            "the repository has no log of this cluster".to_owned(),
            "to restore with the log that came along: --to immediate; to keep the log from now on: holdfast wal --help"
                .to_owned(),
        ),
        PlanError::NoLine(timelines) => {
            let there: Vec<_> = timelines.iter().map(ToString::to_string).collect();
            Fault {
                why: vec!["there is no such timeline in the archive".to_owned()],
                ..Fault::usage(what, format!("there are {}", there.join(", ")))
            }
        }
        PlanError::NoHistory(timeline) => because(
            format!("the history file of timeline {timeline} is missing in the archive"),
            "archive it once more, from pg_wal of the server: holdfast wal push".to_owned(),
        ),
        PlanError::Choose(rivals) => {
            let lines = rivals.iter().map(|rival| {
                let from = rival.begins.map_or_else(|| "from the beginning".to_owned(), |at| format!("from {at} on"));
                let last = rival.last.as_ref().map_or_else(|| "no commit near".to_owned(), seen);
                format!("\n  {}  {from}; {last}", rival.timeline)
            });
            let why = format!("it lies on {}:{}", counted(rivals.len() as u64, "timeline", "timelines"), lines.collect::<String>());
            let hint = "the cluster was promoted, and its old timeline went on; say which one: --timeline NUMBER-HISTORY";
            Fault { why: vec![why], ..Fault::failed(what, hint) }
        }
        PlanError::TooNew(base) => {
            let ended = snapshots.get(base).map(|snapshot| local(snapshot.summary.end)).unwrap_or_default();
            if named {
                let why = format!("the snapshot that was named ended after that, {ended}");
                return Fault { why: vec![why], ..Fault::usage(what, "say `latest`: the newest snapshot that fits is taken") };
            }
            because(
                format!("all snapshots of this cluster ended after that; the oldest is of {ended}"),
                "the earliest point is the end of the oldest snapshot".to_owned(),
            )
        }
        PlanError::NoBase => because(
            "no whole snapshot lies on the way to it".to_owned(),
            "see what there is: holdfast snapshots; holdfast wal status".to_owned(),
        ),
        PlanError::Gap { first, next, last } => {
            let next = next.map(|next| format!(", and {next} is there again")).unwrap_or_default();
            let last = last.as_ref().map(|last| format!("; the last commit before it: {}", seen(last))).unwrap_or_default();
            because(
                format!("a gap is in the way: the archive lacks {first}{next}{last}"),
                "archive the segment if a server still has it (holdfast wal push), or recover to before the gap".to_owned(),
            )
        }
        PlanError::Broken(at, why) => because(
            format!("the log cannot be read behind {at}: {why}"),
            "recover to before that; see how far the damage goes: holdfast check --read-data".to_owned(),
        ),
        PlanError::NotFound(from, to) => because(
            format!("the log from {from} to {to} does not reach that or has no such thing"),
            "see what is there: holdfast wal ls --commits FROM..TO".to_owned(),
        ),
        PlanError::Unread(error) => Fault::from(error),
    }
}
