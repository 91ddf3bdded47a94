//! `repair` and `recover`: what is damaged, what was made anew, and what is lost.
//!
//! On purpose not here: finding damage for its own sake; that is `check`.

use super::{Run, held};
use crate::args::{RecoverArgs, RepairIndexArgs, RepairLogArgs, RepairSnapshotsArgs, RepairVerb};
use crate::engine::Right;
use crate::engine::maintain::{
    DamagedSnapshot, FoundTree, LostFile, RecoverOptions, RecoverReport, RepairIndexOptions,
    RepairIndexReport, RepairLogOptions, RepairLogReport, RepairSnapshotsOptions, RepairSnapshotsReport,
    recover as recover_trees, repair_index, repair_log, repair_snapshots,
};
use crate::fault::Fault;
use crate::ink::{
    DamageLine, DamagedSnapshotLine, FoundTreeLine, LostFileLine, RecoverSummary, RepairIndexSummary,
    RepairLogSummary, RepairSnapshotsSummary, counted, escape, size,
};
use holdfast_core::id::SessionId;

/// Repairs.
pub(crate) async fn run(run: &Run, verb: &RepairVerb) -> Result<(), Fault> {
    match verb {
        RepairVerb::Index(args) => index(run, args).await,
        RepairVerb::Log(args) => log(run, args).await,
        RepairVerb::Snapshots(args) => snapshots(run, args).await,
    }
}

async fn index(run: &Run, args: &RepairIndexArgs) -> Result<(), Fault> {
    let repository = run.open_for(Right::Maintain).await?;
    let options = RepairIndexOptions { read_packs: args.read_packs, dry_run: args.dry_run };
    let work = repair_index(&run.ctx, &repository, options);
    let report = run.watch("looking at the index", work).await?;
    damage(run, &report);
    report.lost_files.iter().for_each(|file| lost_file(run, file));
    if run.ink.tone.json {
        run.ink.json(&RepairIndexSummary::new(&report, args.dry_run));
    } else if !run.ink.tone.quiet {
        index_lines(&report, args).iter().for_each(|line| run.ink.data(line));
    }
    if report.lost_chunks == 0 && report.unreadable_ends.is_empty() {
        return Ok(());
    }
    if report.lost_chunks == 0 {
        let what = format!("{} cannot be read", records(report.unreadable_ends.len()));
        return Err(Fault::incomplete(what, "put them back, or go on with holdfast repair snapshots"));
    }
    let what = format!(
        "{} that snapshots need {} lost",
        counted(report.lost_chunks, "chunk", "chunks"),
        if report.lost_chunks == 1 { "is" } else { "are" }
    );
    let hint = "back up the same data again, which heals it; then holdfast repair snapshots for the rest";
    Err(Fault::incomplete(what, hint))
}

/// Tells of every object that cannot be used.
fn damage(run: &Run, report: &RepairIndexReport) {
    for root in &report.lost_roots {
        told(run, &format!("root {}", root.number), &root.what);
    }
    for lost in report.lost_objects.iter().chain(&report.unreadable_ends) {
        told(run, &lost.object, &lost.what);
    }
    report.bad_packs.iter().for_each(|pack| told(run, &pack.pack, &pack.what));
}

fn told(run: &Run, object: &str, what: &str) {
    if run.ink.tone.json {
        run.ink.json(&DamageLine::new(object, what));
    } else {
        run.ink.data(&format!("damaged: {}: {}", escape(object.as_bytes()), escape(what.as_bytes())));
    }
}

fn lost_file(run: &Run, file: &LostFile) {
    if run.ink.tone.json {
        run.ink.json(&LostFileLine::from(file));
    } else {
        run.ink.data(&format!("lost: {} {}", short(&file.snapshot), escape(&file.path)));
    }
}

fn short(id: &SessionId) -> String {
    id.to_string()[..8].to_owned()
}

fn records(number: usize) -> String {
    counted(number as u64, "record of a session", "records of sessions")
}

fn index_lines(report: &RepairIndexReport, args: &RepairIndexArgs) -> Vec<String> {
    let head = match (report.is_needed, report.root) {
        (false, _) => "nothing is lost of the index".to_owned(),
        (true, Some(root)) => format!("the index was made anew in root {root}"),
        (true, None) => "the index would be made anew".to_owned(),
    };
    let packs = |number| counted(number, "pack", "packs");
    let mut lines = vec![head, format!("  packs       {}", packs(report.packs))];
    let mut line = |told: bool, text: String| lines.extend(told.then_some(text));
    line(args.read_packs, format!("  read        {} are whole", packs(report.packs_whole)));
    line(
        report.packs_indexed > 0,
        format!("  indexed     {} by their own word", packs(report.packs_indexed)),
    );
    let bad = packs(report.bad_packs.len() as u64);
    line(!report.bad_packs.is_empty(), format!("  set apart   {bad}: nothing new relies on them"));
    let released = packs(report.released_packs.len() as u64);
    line(!report.released_packs.is_empty(), format!("  whole again {released}"));
    let back = counted(report.snapshots_back.len() as u64, "snapshot", "snapshots");
    line(!report.snapshots_back.is_empty(), format!("  back        {back}, first seen today"));
    let missing = counted(report.snapshots_missing, "snapshot", "snapshots");
    line(
        report.snapshots_missing > 0,
        format!("  missing     {missing}: look for them with holdfast recover"),
    );
    let forgotten = counted(report.forgotten_back, "snapshot", "snapshots");
    line(
        report.forgotten_back > 0,
        format!("  forgotten   {forgotten} count again: nobody knows any more which they were"),
    );
    line(
        !report.lost_roots.is_empty(),
        format!("  base        root {}: what was forgotten or held later is lost", report.base),
    );
    let found = counted(report.found_chunks, "chunk", "chunks");
    line(report.found_chunks > 0, format!("  healed      {found}"));
    let (lost, files) =
        (counted(report.lost_chunks, "chunk", "chunks"), counted(report.lost_file_count, "file", "files"));
    line(report.lost_chunks > 0, format!("  lost        {lost}, {files}"));
    let pages = counted(report.unreadable_pages, "page", "pages");
    line(report.unreadable_pages > 0, format!("  unreadable  {pages} of trees: what they name is not known"));
    lines
}

async fn log(run: &Run, args: &RepairLogArgs) -> Result<(), Fault> {
    let repository = run.open_for(Right::Maintain).await?;
    let options = RepairLogOptions { delete: args.delete.clone(), dry_run: args.dry_run };
    let watch = run.progress.watch("looking at logs");
    let result = repair_log(&run.ctx, &repository, &options).await;
    drop(watch);
    let report = held::told(run, &repository, result).await?;
    report.bad.iter().for_each(|bad| told(run, &bad.object, &bad.what));
    if run.ink.tone.json {
        run.ink.json(&RepairLogSummary::new(&report, args.dry_run));
    } else if !run.ink.tone.quiet {
        run.ink.data(&log_line(&report, args.dry_run));
    }
    Ok(())
}

fn log_line(report: &RepairLogReport, dry_run: bool) -> String {
    let objects = |number| counted(number, "object", "objects");
    let all = objects(report.objects);
    match (report.bad.len() as u64, dry_run) {
        (0, _) => format!("of {all} of logs none has to go"),
        (bad, true) => format!("of {all} of logs {bad} would be deleted"),
        (_, false) => format!("of {all} of logs {} deleted", report.deleted),
    }
}

async fn snapshots(run: &Run, args: &RepairSnapshotsArgs) -> Result<(), Fault> {
    let repository = run.open_for(Right::Rewrite).await?;
    let options = RepairSnapshotsOptions { forget: args.forget, dry_run: args.dry_run };
    let watch = run.progress.watch("looking at snapshots");
    let result = repair_snapshots(&run.ctx, &repository, options).await;
    drop(watch);
    let report = held::told(run, &repository, result).await?;
    report.unreadable_ends.iter().for_each(|lost| told(run, &lost.object, &lost.what));
    for damaged in &report.damaged {
        damaged.lost.iter().for_each(|file| lost_file(run, file));
        if run.ink.tone.json {
            run.ink.json(&DamagedSnapshotLine::from(damaged));
        } else {
            run.ink.data(&damaged_line(damaged, args.dry_run));
        }
    }
    if run.ink.tone.json {
        run.ink.json(&RepairSnapshotsSummary::new(&report, args.dry_run));
    } else if !run.ink.tone.quiet {
        snapshot_lines(&report, args).iter().for_each(|line| run.ink.data(line));
    }
    Ok(())
}

fn damaged_line(damaged: &DamagedSnapshot, dry_run: bool) -> String {
    let lost = match (&damaged.record, damaged.lost_count) {
        (Some(_), 0) => "its record cannot be read".to_owned(),
        (_, number) => format!("{} lost", counted(number, "file or part", "files or parts")),
    };
    let left = format!("{}, {}", counted(damaged.left.files, "file", "files"), size(damaged.left.bytes));
    let now = match (&damaged.repaired, damaged.is_new) {
        (Some(id), true) => format!("{left} left in {}", short(id)),
        (Some(id), false) => format!("{left} left in {}, made before", short(id)),
        (None, _) if dry_run => format!("{left} left"),
        (None, _) => "nothing is left".to_owned(),
    };
    format!("{}: {lost}; {now}", short(&damaged.snapshot.id))
}

fn snapshot_lines(report: &RepairSnapshotsReport, args: &RepairSnapshotsArgs) -> Vec<String> {
    let (all, damaged) = (
        counted(report.snapshots, "snapshot", "snapshots"),
        counted(report.damaged.len() as u64, "is damaged", "are damaged"),
    );
    let mut lines = vec![format!("{all}; {damaged}")];
    let mut line = |told: bool, text: String| lines.extend(told.then_some(text));
    let would = if args.dry_run { "would be forgotten" } else { "forgotten" };
    let ends = records(report.unreadable_ends.len());
    line(!report.unreadable_ends.is_empty(), format!("  records     {ends} {would}"));
    let gone = counted(report.forgotten.len() as u64, "snapshot", "snapshots");
    line(!report.forgotten.is_empty(), format!("  forgotten   {gone} {would}"));
    lines
}

/// Makes snapshots of trees that nothing refers to.
pub(crate) async fn recover(run: &Run, args: &RecoverArgs) -> Result<(), Fault> {
    let repository = run.open_for(Right::Rewrite).await?;
    let options = RecoverOptions { dry_run: args.dry_run };
    let report = run.watch("looking for trees", recover_trees(&run.ctx, &repository, options)).await?;
    for tree in &report.trees {
        if run.ink.tone.json {
            run.ink.json(&FoundTreeLine::from(tree));
        } else {
            run.ink.data(&tree_line(tree));
        }
    }
    if run.ink.tone.json {
        run.ink.json(&RecoverSummary::new(&report, args.dry_run));
    } else if !run.ink.tone.quiet {
        run.ink.data(&recovered(&report));
    }
    Ok(())
}

fn tree_line(tree: &FoundTree) -> String {
    let held = format!("{}, {}", counted(tree.counts.files, "file", "files"), size(tree.counts.bytes));
    match (&tree.snapshot, &tree.trouble) {
        (Some(id), _) => format!("{}  {held}", short(id)),
        (None, Some(trouble)) => {
            format!("session {}: {}", short(&tree.session), escape(trouble.as_bytes()))
        }
        (None, None) => format!("session {}: {held}", short(&tree.session)),
    }
}

fn recovered(report: &RecoverReport) -> String {
    let made = report.trees.iter().filter(|tree| tree.snapshot.is_some()).count() as u64;
    let trees = counted(report.trees.len() as u64, "tree", "trees");
    format!("found {trees} that no snapshot refers to; {} made", counted(made, "snapshot", "snapshots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: RepairIndexArgs = RepairIndexArgs { read_packs: false, dry_run: false };

    #[test]
    fn a_whole_index_is_two_lines() {
        let report = RepairIndexReport { packs: 3, ..RepairIndexReport::default() };
        assert_eq!(index_lines(&report, &ARGS), ["nothing is lost of the index", "  packs       3 packs"]);
    }

    #[test]
    fn what_was_made_anew_and_what_is_lost_is_told() {
        let report = RepairIndexReport {
            is_needed: true,
            root: Some(7),
            lost_chunks: 1,
            lost_file_count: 2,
            forgotten_back: 1,
            ..RepairIndexReport::default()
        };
        let told = index_lines(&report, &ARGS).join("\n");
        assert!(told.starts_with("the index was made anew in root 7"), "{told}");
        assert!(told.contains("lost        1 chunk, 2 files"), "{told}");
        assert!(told.contains("1 snapshot count again") || told.contains("count again"), "{told}");
        let planned = RepairIndexReport { root: None, ..report };
        assert!(index_lines(&planned, &ARGS)[0].contains("would"));
    }

    #[test]
    fn a_tree_that_is_not_whole_says_why() {
        let tree = FoundTree {
            session: SessionId([7; 16]),
            counts: Default::default(),
            snapshot: None,
            trouble: Some("it is a part\u{1b}".into()),
        };
        assert_eq!(tree_line(&tree), "session 07070707: it is a part\\x1b");
        let made = FoundTree { snapshot: Some(SessionId([8; 16])), trouble: None, ..tree };
        assert!(tree_line(&made).starts_with("08080808  0 files"));
    }
}
