//! `restore`: a snapshot, or a part of it, lands in a new folder.

use super::{Run, lists, pick};
use crate::args::{RestoreArgs, Select};
use crate::engine::{
    OpenRestored, ProblemKind, Problems, Repository, Resolved, RestoreOptions, RestoreReport, Selection,
    Selector, Snapshot, plan, restore, verify,
};
use crate::fault::Fault;
use crate::ink::{Around, PlanLine, RestoreSummary, counted, duration, escape, rate, rfc3339, size};
use crate::settings;
use crate::wire_up::{self, Excludes, FileTargetOptions, open_beneath};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Plans, shows the plan, restores, and compares where that is asked for.
pub(crate) async fn run(run: &Run, args: &RestoreArgs) -> Result<(), Fault> {
    let (text, path) = settings::snapshot_and_path(&args.snapshot)?;
    let target = settings::normalise(&args.target, &settings::current_dir()?);
    refuse_full(&target)?;
    let options = RestoreOptions { path, select: selector(&args.select)?, fail_fast: args.fail_fast };
    let repository = run.open().await?;
    let resolved = pick::one(run, &repository, &text, &options.path, &args.pick).await?;
    let job =
        Job { run, args, repository: &repository, snapshot: &resolved.snapshot, target, options: &options };
    job.announce(&resolved);
    if args.dry_run { job.rehearse().await } else { job.restore().await }
}

/// One restore.
struct Job<'a> {
    run: &'a Run,
    args: &'a RestoreArgs,
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    target: PathBuf,
    options: &'a RestoreOptions,
}

impl Job<'_> {
    /// The first line says which snapshot was chosen.
    fn announce(&self, resolved: &Resolved) {
        let ink = &self.run.ink;
        if ink.tone.json {
            let summary = &self.snapshot.summary;
            return ink.json_now(&PlanLine {
                message_type: "plan",
                snapshot_id: self.snapshot.id.to_string(),
                hostname: summary.host.clone(),
                source: summary.label.clone(),
                time: rfc3339(summary.start),
                incomplete: summary.incomplete,
                passed_over: resolved.passed_over.as_ref().map(|newer| newer.id.to_string()),
                target: self.target.display().to_string(),
                dry_run: self.args.dry_run,
            });
        }
        ink.talk(&pick::described(self.snapshot, self.run.ctx.clock.now()));
        pick::passed_over(resolved).iter().for_each(|text| ink.warn(text));
        if self.snapshot.summary.incomplete {
            let number = counted(self.snapshot.summary.problems, "item", "items");
            ink.warn(&format!("this snapshot is incomplete: {number} could not be read when it was made"));
        }
    }

    async fn rehearse(&self) -> Result<(), Fault> {
        let work = plan(&self.run.ctx, self.repository, self.snapshot, self.options);
        let begun = Instant::now();
        let report = work.await?;
        self.show(&report, None, &Problems::default(), begun.elapsed());
        Ok(())
    }

    async fn restore(&self) -> Result<(), Fault> {
        let (ctx, begun) = (&self.run.ctx, Instant::now());
        let options =
            FileTargetOptions { sparse: self.args.sparse, ownership_by_name: self.args.ownership_by_name };
        let target = wire_up::file_target(&self.target, options)?;
        let phase = format!("restoring to {}", escape(self.target.as_os_str().as_encoded_bytes()));
        let work = restore(ctx, self.repository, self.snapshot, target, self.options);
        let outcome = self.run.follow(&phase, work).await?;
        let (report, mut problems) = (outcome.value, outcome.problems);
        let verified = if self.args.verify { Some(self.verify(&mut problems).await?) } else { None };
        self.show(&report, verified, &problems, begun.elapsed());
        self.finish(&problems)
    }

    async fn verify(&self, problems: &mut Problems) -> Result<u64, Fault> {
        let target = self.target.clone();
        let open: OpenRestored = Arc::new(move |key: &[u8]| open_beneath(&target, key));
        let work = verify(&self.run.ctx, self.repository, self.snapshot, self.options, open);
        let mut outcome = self.run.watch("comparing with what was backed up", work).await?;
        forget_known(&mut outcome.problems, problems);
        self.run.tell(&outcome.problems);
        problems.absorb(outcome.problems);
        Ok(outcome.value.verified_files)
    }

    fn show(&self, report: &RestoreReport, verified: Option<u64>, problems: &Problems, took: Duration) {
        let ink = &self.run.ink;
        let around = Around {
            dry_run: self.args.dry_run,
            seconds: took.as_secs_f64(),
            errors: problems.problem_count,
            notices: problems.notice_count,
        };
        if ink.tone.json {
            ink.json(&RestoreSummary::new(self.snapshot, report, verified, around));
        } else if self.args.dry_run {
            summary(["would restore", "to fetch"], report, None, None).iter().for_each(|line| ink.data(line));
        } else if !ink.tone.quiet {
            summary(["restored", "fetched"], report, verified, Some(took))
                .iter()
                .for_each(|line| ink.data(line));
        }
    }

    /// What is damaged makes a failure; what only could not be set makes it incomplete.
    fn finish(&self, problems: &Problems) -> Result<(), Fault> {
        let number = counted(problems.problem_count, "problem", "problems");
        let heard = self.run.progress.heard();
        if is_damaged(problems) || is_damaged(&heard) {
            let what = format!("not everything could be restored: {number}; what is whole is there");
            return Err(Fault::failed(
                what,
                "see how far the damage goes: holdfast check --read-data; try an older snapshot",
            ));
        }
        match problems.problem_count {
            0 => Ok(()),
            _ => Err(Fault::incomplete(format!("restored with {number}"), "owners and devices need root")),
        }
    }
}

/// What was not restored cannot be compared either: that is one problem, not two.
fn forget_known(found: &mut Problems, known: &Problems) {
    // A file whose attributes could not be set is there, and is compared.
    let missing = known.problems.iter().filter(|problem| problem.kind != ProblemKind::Attribute);
    let missing: HashSet<&[u8]> = missing.map(|problem| problem.path.as_slice()).collect();
    let before = (found.problems.len(), damaged(found));
    found.problems.retain(|problem| !missing.contains(problem.path.as_slice()));
    found.problem_count -= (before.0 - found.problems.len()) as u64;
    found.damaged_count -= before.1 - damaged(found);
}

fn damaged(found: &Problems) -> u64 {
    found.problems.iter().filter(|problem| problem.kind == ProblemKind::Damaged).count() as u64
}

const fn is_damaged(problems: &Problems) -> bool {
    problems.damaged_count > 0
}

/// In place is not in this version: what lies in the target could be lost.
fn refuse_full(target: &Path) -> Result<(), Fault> {
    let name = escape(target.as_os_str().as_encoded_bytes());
    let usage =
        |what: &str| Fault::usage(format!("the target {name} {what}"), "give --target a new or empty folder");
    match std::fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(usage("is not empty")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(usage("is not a folder")),
        Err(error) => Err(Fault::failed(format!("cannot look into the target {name}"), "").because(&error)),
    }
}

fn selector(select: &Select) -> Result<Option<Selector>, Fault> {
    let include = lists::patterns(
        [&select.include, &select.iinclude],
        [&select.include_file, &select.iinclude_file],
        "--include-file",
    )?;
    let exclude = lists::patterns(
        [&select.exclude, &select.iexclude],
        [&select.exclude_file, &select.iexclude_file],
        "--exclude-file",
    )?;
    // An empty list asks for nothing, not for everything.
    let listed = !(select.include_file.is_empty() && select.iinclude_file.is_empty());
    if include.is_empty() && listed {
        return Err(Fault::usage(
            "the files of --include-file list nothing to restore",
            "write a pattern a line",
        ));
    }
    if include.is_empty() && exclude.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(move |path: &[u8], is_dir: bool| choose(&include, &exclude, path, is_dir))))
}

/// What is left out stays out; of the rest what is named, or all where nothing is.
fn choose(include: &Excludes, exclude: &Excludes, path: &[u8], is_dir: bool) -> Selection {
    if exclude.matches(path, is_dir) {
        Selection::Skip
    } else if include.is_empty() || include.matches(path, is_dir) {
        Selection::Take
    } else if is_dir && include.may_contain(path) {
        Selection::Descend
    } else {
        Selection::Skip
    }
}

fn summary(
    [restored, fetched]: [&str; 2],
    report: &RestoreReport,
    verified: Option<u64>,
    took: Option<Duration>,
) -> Vec<String> {
    let folders = counted(report.directories, "folder", "folders");
    let others = counted(report.others, "other", "others");
    let packs = counted(report.packs, "pack", "packs");
    let mut lines = vec![
        format!(
            "{restored} {}, {folders}, {others}, {}",
            counted(report.files, "file", "files"),
            size(report.bytes)
        ),
        format!("  {fetched:<9}  {} from {packs}", size(report.bytes_fetched)),
    ];
    lines.extend(verified.map(|files| format!("  verified   {}", counted(files, "file", "files"))));
    if let Some(took) = took {
        let speed = rate(report.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
        lines.push(format!("  took       {}{speed}", duration(took)));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::engine::Problem;
    use crate::fault::Code;

    fn excludes(patterns: &[&str]) -> Excludes {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Excludes::new(&patterns, &[]).unwrap()
    }

    #[test]
    fn what_is_named_is_taken_and_what_is_left_out_is_not() {
        let (include, exclude) = (excludes(&["/srv/www"]), excludes(&["/srv/www/cache"]));
        let choose = |path: &str, is_dir| choose(&include, &exclude, path.as_bytes(), is_dir);
        assert_eq!(choose("/srv", true), Selection::Descend);
        assert_eq!(choose("/srv/www", true), Selection::Take);
        assert_eq!(choose("/srv/www/a/b", false), Selection::Take);
        assert_eq!(choose("/srv/www/cache", true), Selection::Skip);
        assert_eq!(choose("/etc", true), Selection::Skip);
        assert_eq!(choose("/srv/note", false), Selection::Skip);
    }

    #[test]
    fn nothing_stated_takes_all() {
        assert!(selector(&Select::default()).unwrap().is_none());
        let none = Excludes::default();
        assert_eq!(choose(&none, &excludes(&["/a"]), b"/b", false), Selection::Take);
    }

    #[test]
    fn what_is_missing_is_one_problem() {
        let problem = |path: &[u8], kind| Problem { path: path.to_vec(), kind, what: "x".into() };
        let (mut known, mut found) = (Problems::default(), Problems::default());
        known.problem(problem(b"/gone", ProblemKind::Damaged));
        known.problem(problem(b"/owner", ProblemKind::Attribute));
        found.problem(problem(b"/gone", ProblemKind::Damaged));
        found.problem(problem(b"/owner", ProblemKind::Damaged));
        forget_known(&mut found, &known);
        assert_eq!((found.problem_count, found.problems[0].path.as_slice()), (1, b"/owner".as_slice()));
    }

    #[test]
    fn a_target_is_new_or_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(refuse_full(dir.path()), Ok(()));
        assert_eq!(refuse_full(&dir.path().join("new/deep")), Ok(()));
        std::fs::write(dir.path().join("file"), b"x").unwrap();
        assert_eq!(refuse_full(dir.path()).unwrap_err().code, Code::Usage);
        assert_eq!(refuse_full(&dir.path().join("file")).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn a_summary_says_what_and_how_fast() {
        let report =
            RestoreReport { files: 2, directories: 1, bytes: 4 << 20, packs: 1, ..RestoreReport::default() };
        let lines = summary(["restored", "fetched"], &report, Some(2), Some(Duration::from_secs(2)));
        assert_eq!(lines[0], "restored 2 files, 1 folder, 0 others, 4.00 MiB");
        assert_eq!(lines[2..], ["  verified   2 files", "  took       2.00 s, 2.00 MiB/s"]);
    }
}
