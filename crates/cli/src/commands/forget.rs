//! `forget`: which snapshots are not shown any more, and why the others are.

use super::evidence::proven::proven;
use super::{Run, groups, held, pick, prune};
use crate::args::ForgetArgs;
use crate::engine::maintain::{
    Expiring, Flaw, ForgetOptions, ForgetReport, ForgetWhat, GroupKey, LocalOffset, LogDeadline, Retention,
    Verdict, expiring, forget, forgotten, unforget,
};
use crate::engine::{Repository, Right, Snapshot, SnapshotFilter};
use crate::fault::{Code, Fault};
use crate::ink::{
    Align, ForgetSummary, NamedLine, Table, VerdictLine, counted, escape, local, local_offset, size,
};
use crate::settings;
use holdfast_core::id::SessionId;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// Forgets what is named or what no rule keeps, or takes it back.
pub(crate) async fn run(run: &Run, args: &ForgetArgs) -> Result<(), Fault> {
    let filter = filter(args)?;
    judge_words(args)?;
    let repository = run.open_for(Right::Maintain).await?;
    if args.undo {
        return undo(run, args, &repository).await;
    }
    let what = if args.snapshots.is_empty() {
        let (keep, group_by) = (args.keep.policy(), args.group_by.unwrap_or_default());
        let local_offset = LocalOffset(Arc::new(local_offset));
        let delete_after = args.keep.delete_after();
        ForgetWhat::Policy(Retention { keep, delete_after, group_by, filter, local_offset })
    } else {
        ForgetWhat::Snapshots(named(run, args, &repository).await?)
    };
    let options = ForgetOptions {
        what,
        allow_last: args.unsafe_allow_remove_newest,
        dry_run: args.dry_run,
        proven: proven(run, &repository).await?,
    };
    let result = forget(&run.ctx, &repository, &options).await;
    let report = held::told(run, &repository, result).await.map_err(guarded)?;
    show(run, args, &report);
    if !args.prune {
        return Ok(());
    }
    if args.dry_run && !report.forgotten.is_empty() {
        run.ink.talk("of the prune, as if they were not forgotten:");
    }
    let deadline = prune::deadline(&args.how).or_else(|| log_deadline(run, args));
    prune::with(run, &repository, &args.how, args.dry_run, deadline).await
}

/// What has to go of snapshots has to go of databases' logs. Whose those are is known by the names of sources alone.
fn log_deadline(run: &Run, args: &ForgetArgs) -> Option<LogDeadline> {
    let span = args.keep.delete_after()?;
    if !(args.pick.host.is_empty() && args.pick.tag.is_empty() && args.path.is_empty()) {
        run.ink.talk(
            "logs of databases are not deleted for their age where --host, --tag or --path is given: prune \
             --wal-delete-after does that",
        );
        return None;
    }
    Some(prune::deadline_of(span, args.pick.source.iter().cloned().map(|source| [source].into()).next()))
}

/// Says how to forget one that is guarded; nothing else is wrong usage once the words are judged.
fn guarded(fault: Fault) -> Fault {
    let hint = "nothing was forgotten; if it is to go all the same: --unsafe-allow-remove-newest";
    if fault.code == Code::Usage { Fault { hint: hint.to_owned(), ..fault } } else { fault }
}

/// Refuses what cannot be meant, before anybody is asked for a password.
fn judge_words(args: &ForgetArgs) -> Result<(), Fault> {
    let rules = !args.keep.is_empty();
    if args.how.is_stated() && !args.prune {
        return Err(Fault::usage("options of prune without --prune", "add --prune, or leave them out"));
    }
    match (args.undo, args.snapshots.is_empty(), rules) {
        (true, _, true) => Err(Fault::usage("--undo takes snapshots, not rules", "leave out --keep-...")),
        (false, false, true) => {
            let hint = "name snapshots or give rules, not both";
            Err(Fault::usage("rules are not for snapshots that are named", hint))
        }
        (false, true, false) => {
            let hint = "name snapshots, or say what is to be kept: --keep-daily 14 --keep-weekly 8";
            Err(Fault::usage("nothing says what to forget: no snapshot is forgotten", hint))
        }
        _ => Ok(()),
    }
}

fn filter(args: &ForgetArgs) -> Result<SnapshotFilter, Fault> {
    let current = settings::current_dir()?;
    let path = |path: &std::path::PathBuf| settings::normalise(path, &current).into_os_string().into_vec();
    Ok(SnapshotFilter { paths: args.path.iter().map(path).collect(), ..settings::filter_of(&args.pick) })
}

async fn named(run: &Run, args: &ForgetArgs, repository: &Repository) -> Result<Vec<SessionId>, Fault> {
    let mut named = Vec::new();
    for text in words(args)? {
        let id = pick::one(run, repository, &text, b"", &args.pick).await?.snapshot.id;
        if !named.contains(&id) {
            named.push(id);
        }
    }
    Ok(named)
}

fn words(args: &ForgetArgs) -> Result<Vec<String>, Fault> {
    let word = |text: &OsString| match settings::snapshot_and_path(text)? {
        (text, path) if path.is_empty() => Ok(text),
        _ => {
            let hint = "leave out the colon and what follows";
            Err(Fault::usage("whole snapshots are forgotten, not a path in one", hint))
        }
    };
    args.snapshots.iter().map(word).collect()
}

/// Shows what a policy says of each snapshot, or which ones were forgotten.
fn show(run: &Run, args: &ForgetArgs, report: &ForgetReport) {
    let by_policy = args.snapshots.is_empty();
    let groups = by_group(&report.verdicts);
    if run.ink.tone.json {
        for (group, verdicts) in &groups {
            run.ink.json(&groups::line(group, verdicts.len()));
            verdicts.iter().for_each(|verdict| run.ink.json(&VerdictLine::from(verdict)));
        }
        if !by_policy {
            report.forgotten.iter().for_each(|snapshot| run.ink.json(&NamedLine::forgotten(snapshot)));
        }
        return run.ink.json(&ForgetSummary {
            message_type: "summary",
            dry_run: args.dry_run,
            kept_snapshots: kept(report),
            forgotten_snapshots: report.forgotten.len() as u64,
            brought_back_snapshots: 0,
        });
    }
    if !run.ink.tone.quiet {
        let verb = if args.dry_run { "would forget" } else { "forgot" };
        groups.iter().for_each(|(group, verdicts)| show_group(run, group, verdicts, verb));
        if !by_policy {
            let now = run.ctx.clock.now();
            report
                .forgotten
                .iter()
                .for_each(|snapshot| run.ink.data(&format!("{verb} {}", pick::described(snapshot, now))));
        }
    }
    groups.iter().for_each(|(group, verdicts)| advise(run, group, verdicts));
    expiring(&report.verdicts, run.ctx.clock.now()).iter().for_each(|soon| tell_expiring(run, soon));
    summary(args, report).iter().for_each(|line| run.ink.talk(line));
}

/// The verdicts of each group; those of one group follow each other.
fn by_group(verdicts: &[Verdict]) -> Vec<(&GroupKey, &[Verdict])> {
    let groups = verdicts.chunk_by(|one, other| one.group == other.group);
    groups.filter_map(|group| Some((&group.first()?.group, group))).collect()
}

fn kept(report: &ForgetReport) -> u64 {
    report.verdicts.iter().filter(|verdict| verdict.keep).count() as u64
}

fn show_group(run: &Run, group: &GroupKey, verdicts: &[Verdict], verb: &str) {
    let (keeps, goes): (Vec<_>, Vec<_>) = verdicts.iter().partition(|verdict| verdict.keep);
    let number = |verdicts: &[&Verdict]| counted(verdicts.len() as u64, "snapshot", "snapshots");
    run.ink.data(&format!("{}: {} kept", groups::heading(group), number(&keeps)));
    run.ink.table(&table(&keeps, true));
    if !goes.is_empty() {
        run.ink.data(&format!("{verb} {}", number(&goes)));
        run.ink.table(&table(&goes, false));
    }
    run.ink.data("");
}

fn table(verdicts: &[&Verdict], with_reasons: bool) -> Table {
    let mut columns =
        vec![("ID", Align::Left), ("TIME", Align::Left), ("TAGS", Align::Left), ("SIZE", Align::Right)];
    columns.extend(with_reasons.then_some(("WHY", Align::Left)));
    let mut table = Table::new(&columns);
    for verdict in verdicts {
        let summary = &verdict.snapshot.summary;
        let mut cells = vec![
            pick::short_id(&verdict.snapshot),
            local(summary.end),
            escape(summary.tags.join(",").as_bytes()),
            size(summary.counts.bytes),
        ];
        cells.extend(with_reasons.then(|| why(verdict)));
        table.row(cells);
    }
    table
}

/// The reasons of a verdict; what does not count says so.
fn why(verdict: &Verdict) -> String {
    let reasons = verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let text = match verdict.flaw {
        // It is the reason itself.
        None | Some(Flaw::TimeDoubtful) => reasons,
        Some(flaw) => format!("{reasons} (does not count: {flaw})"),
    };
    escape(text.as_bytes())
}

/// Says what to do where snapshots pile up because they do not count.
fn advise(run: &Run, group: &GroupKey, verdicts: &[Verdict]) {
    let after = verdicts.iter().rposition(|verdict| verdict.flaw.is_none()).map_or(0, |at| at + 1);
    let newer = &verdicts[after..];
    let number = |fits: fn(&Verdict) -> bool| newer.iter().filter(|verdict| fits(verdict)).count() as u64;
    let incomplete = number(|verdict| verdict.flaw == Some(Flaw::Incomplete));
    if incomplete > 1 {
        run.ink.warn(&format!(
            "{}: the newest {incomplete} incomplete snapshots do not count, so none is forgotten for \
             them; put the source right, or leave out what cannot be read",
            groups::heading(group)
        ));
    }
    let shrunk = newer.iter().find(|verdict| matches!(verdict.flaw, Some(Flaw::Shrunk { .. })));
    if let Some(first) = shrunk {
        let id = pick::short_id(&first.snapshot);
        run.ink.warn(&format!(
            "{}: since {id} snapshots are half as large as before or less and do not count; if that is \
             right, say so: holdfast tag {id} --add size-accepted",
            groups::heading(group)
        ));
    }
}

/// Says what has to go soon; that nothing will be left is a warning.
fn tell_expiring(run: &Run, soon: &Expiring) {
    let (group, number) = (groups::heading(&soon.group), counted(soon.snapshots, "snapshot", "snapshots"));
    let reach = if soon.snapshots == 1 { "reaches" } else { "reach" };
    if soon.leaves_nothing {
        run.ink.warn(&format!(
            "{group}: {number} {reach} --delete-after until {}; after that nothing of it is left: back it up, or hold what has to stay",
            local(soon.last)
        ));
    } else {
        run.ink.talk(&format!("{group}: {number} {reach} --delete-after from {} on", local(soon.first)));
    }
}

fn summary(args: &ForgetArgs, report: &ForgetReport) -> Vec<String> {
    let gone = report.forgotten.len() as u64;
    let number = |number| counted(number, "snapshot", "snapshots");
    if report.verdicts.is_empty() && gone == 0 {
        return vec!["no snapshots fit; see which there are: holdfast snapshots".to_owned()];
    }
    if gone == 0 {
        return vec![format!("nothing to forget: {} kept", number(kept(report)))];
    }
    if args.dry_run {
        return vec![format!("would forget {}; nothing was changed", number(gone))];
    }
    let mut lines = vec![format!("{} forgotten", number(gone))];
    if !args.prune {
        let (they, their) = if gone == 1 { ("it comes", "its") } else { ("they come", "their") };
        lines.push(format!("{they} back with holdfast forget --undo; holdfast prune frees {their} space"));
    }
    lines
}

async fn undo(run: &Run, args: &ForgetArgs, repository: &Repository) -> Result<(), Fault> {
    let there = forgotten(&run.ctx, repository).await?;
    if args.snapshots.is_empty() {
        list(run, &there);
        return Ok(());
    }
    let mut ids = Vec::new();
    for text in words(args)? {
        ids.push(pick_forgotten(&there, &text)?);
    }
    let back = if args.dry_run {
        there.into_iter().filter(|snapshot| ids.contains(&snapshot.id)).collect()
    } else {
        unforget(&run.ctx, repository, &ids).await?
    };
    show_back(run, args.dry_run, &back);
    Ok(())
}

fn list(run: &Run, there: &[Snapshot]) {
    if run.ink.tone.json {
        return there.iter().for_each(|snapshot| run.ink.json(&NamedLine::forgotten(snapshot)));
    }
    if there.is_empty() {
        return run.ink.talk("nothing can be brought back: a prune has passed, or nothing was forgotten");
    }
    let columns = ["ID", "TIME", "HOST", "SOURCE", "TAGS"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    for snapshot in there {
        let summary = &snapshot.summary;
        table.row(vec![
            pick::short_id(snapshot),
            local(summary.end),
            escape(summary.host.as_bytes()),
            pick::source_name(snapshot),
            escape(summary.tags.join(",").as_bytes()),
        ]);
    }
    run.ink.table(&table);
    run.ink.talk("they come back with holdfast forget --undo ID, until the next prune");
}

/// Finds the one forgotten snapshot whose id begins with a text.
fn pick_forgotten(there: &[Snapshot], text: &str) -> Result<SessionId, Fault> {
    let fits: Vec<_> = there.iter().filter(|one| one.id.to_string().starts_with(text)).collect();
    match fits[..] {
        [one] => Ok(one.id),
        [] => {
            let what = format!("no forgotten snapshot {text} can be brought back");
            let hint = "see which can be: holdfast forget --undo; after a prune none comes back";
            Err(Fault::failed(what, hint))
        }
        _ => {
            let listed: Vec<_> = fits
                .iter()
                .map(|one| format!("{}  {}  {}", one.id, local(one.summary.end), pick::source_name(one)))
                .collect();
            let what = format!("`{text}` could mean several snapshots:\n{}", listed.join("\n"));
            Err(Fault::usage(what, "write more of the id"))
        }
    }
}

fn show_back(run: &Run, dry_run: bool, back: &[Snapshot]) {
    if run.ink.tone.json {
        back.iter().for_each(|snapshot| run.ink.json(&NamedLine::brought_back(snapshot)));
        return run.ink.json(&ForgetSummary {
            message_type: "summary",
            dry_run,
            kept_snapshots: 0,
            forgotten_snapshots: 0,
            brought_back_snapshots: back.len() as u64,
        });
    }
    let (now, verb) = (run.ctx.clock.now(), if dry_run { "would bring back" } else { "brought back" });
    back.iter().for_each(|snapshot| run.ink.data(&format!("{verb} {}", pick::described(snapshot, now))));
}
