//! `restore`: a snapshot, or a part of it, lands in a new folder or over what is there.

mod archive;
mod bucket;
mod cluster;
mod configuration;
mod into;
mod kept_config;
mod logical;
mod over;
pub(super) mod point;
pub(super) mod recover;
mod show;
pub(super) mod told;
mod wiring;

use super::access::{self, Access};
use super::{Run, lists, pick, versions};
use crate::args::{RestoreArgs, Select};
use crate::engine::{
    Carry, Ctx, Outcome, ProblemKind, Problems, Repository, Resolved, RestoreOptions, RestoreReport, Right,
    Selection, Selector, Silent, Snapshot, Target, VersionChoice, restore, verify,
};
use crate::fault::{Code, Fault};
use crate::ink::{Around, DeletedLine, PlanLine, RestoreSummary, Verified, counted, escape, rfc3339};
use crate::settings;
use crate::wire_up::{self, Address, Excludes, FileTargetOptions, Overwrite};
use holdfast_core::entry::Time;
use holdfast_core::page::KeySpace;
use into::Limit;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Chooses, shows what was chosen, restores, and compares where that is asked for.
pub(crate) async fn run(run: &Run, args: &RestoreArgs) -> Result<(), Fault> {
    access::reason(&args.because)?;
    if let Some(server) = logical::stated(args)? {
        return logical::restore(run, args, server).await;
    }
    let (text, path) = settings::snapshot_and_path(&args.snapshot)?;
    let place = Place::of(args)?;
    configuration::refuse_alone(&place, &path)?;
    let select = selector(&args.select)?;
    let versions = choice(args, &place, &path)?;
    let limit = Limit::parse(&args.over.max_delete)?;
    let overwrite = into::overwrite(&args.over, args.dry_run);
    if args.verify && matches!(overwrite, Some(Overwrite::IfNewer | Overwrite::Never)) {
        return Err(Fault::usage(
            "--verify compares everything, and with this --overwrite things may stay that differ",
            "leave one of them out; `holdfast diff SNAPSHOT --live TARGET` shows what differs",
        ));
    }
    let mut into = FileTargetOptions {
        sparse: args.sparse,
        ownership_by_name: args.ownership_by_name,
        overwrite,
        rehearse: args.dry_run,
        ..FileTargetOptions::default()
    };
    into.owner = recover::owner(&args.recover)?;
    let is_folder = matches!(place, Place::Folder(_));
    let place = match place {
        Place::Folder(path) => {
            into::refuse_full(&path, &into)?;
            Ready::Folder(path)
        }
        Place::Bucket(address) => Ready::Bucket(bucket::ready(run, args, &address, overwrite).await?),
    };
    let mut options = RestoreOptions {
        path,
        versions,
        select,
        objects_only: matches!(place, Ready::Bucket(_)),
        cold: None,
        fail_fast: args.fail_fast,
        carry: Carry::Out,
    };
    let repository = run.open_for(Right::Read).await?;
    let mut resolved = pick::one(run, &repository, &text, &options.path, &args.pick).await?;
    let recovery = recover::prepare(run, args, &repository, &mut resolved, &options, is_folder).await?;
    let snapshot = &resolved.snapshot;
    versions::refuse_plain(snapshot, &options.versions)?;
    options.path = settings::path_in(snapshot.summary.space, &options.path);
    let opaque = snapshot.summary.space != KeySpace::Paths;
    let cluster = cluster::Cluster::of(run, args, &repository, snapshot, &place, recovery).await?;
    if args.over.delete && cluster.is_none() {
        bucket::refuse_delete(&place, opaque)?;
        into::prepare_delete(run, &repository, snapshot, &options, &mut into).await?;
        bucket::refuse_tagged(&place, &into)?;
    }
    options.cold = archive::known(run, &repository).await?;
    let kept = None;
    let mut job = Job { run, args, repository: &repository, snapshot, place, opaque, into, options, kept };
    job.announce(&resolved);
    let Job { options, place, .. } = &job;
    job.kept = configuration::compare(run, args, &repository, snapshot, options, place).await?;
    if let Some(cluster) = cluster {
        archive::refuse(&job).await?;
        job.record_access().await?;
        return cluster.restore(job).await;
    }
    if args.dry_run {
        return job.rehearse().await;
    }
    if args.over.delete {
        job.survey(limit).await?;
    }
    archive::refuse(&job).await?;
    job.record_access().await?;
    job.restore().await
}

/// Which versions are restored.
fn choice(args: &RestoreArgs, place: &Place, path: &[u8]) -> Result<VersionChoice, Fault> {
    if args.all_versions {
        return match place {
            Place::Bucket(_) => Ok(VersionChoice::All),
            Place::Folder(_) => Err(Fault::usage(
                "--all-versions needs a bucket: a folder has one file of a name",
                "restore to s3://…, or one version of each object with --at",
            )),
        };
    }
    let choice = versions::choice(&args.versions, path)?;
    if args.over.delete && matches!(choice, VersionChoice::Id(_)) {
        let what = "--delete and --version-id: one version of one object says nothing of what else may stay";
        return Err(Fault::usage(what, "leave one of them out"));
    }
    Ok(choice)
}

/// What is stated as the target.
enum Place {
    Folder(PathBuf),
    Bucket(Address),
}

impl Place {
    fn of(args: &RestoreArgs) -> Result<Self, Fault> {
        if let Some(address) = bucket::address(&args.target)? {
            bucket::refuse_options(args)?;
            return Ok(Self::Bucket(address));
        }
        for (stated, option) in [
            (args.with_events, "--with-events"),
            (args.with_acl, "--with-acl"),
            (args.bucket_config, "--bucket-config"),
        ] {
            if stated {
                return Err(Fault::usage(format!("{option} is about a bucket"), "leave it out"));
            }
        }
        Ok(Self::Folder(settings::normalise(&args.target, &settings::current_dir()?)))
    }
}

/// A target that was looked at.
enum Ready {
    Folder(PathBuf),
    Bucket(bucket::Bucket),
}

impl Ready {
    /// How people call it.
    fn name(&self) -> String {
        match self {
            Self::Folder(path) => escape(path.as_os_str().as_encoded_bytes()),
            Self::Bucket(bucket) => bucket.place.address().to_string(),
        }
    }
}

/// One restore.
struct Job<'a> {
    run: &'a Run,
    args: &'a RestoreArgs,
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    place: Ready,
    /// Keys are those of objects.
    opaque: bool,
    into: FileTargetOptions,
    options: RestoreOptions,
    /// What was kept of the configuration of a bucket, if one is restored to.
    kept: Option<configuration::Kept>,
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
                ahead: resolved.ahead.as_ref().map(|ahead| ahead.id.to_string()),
                without_path: resolved.without_path.as_ref().map(|newer| newer.id.to_string()),
                target: match &self.place {
                    Ready::Folder(path) => path.display().to_string(),
                    Ready::Bucket(bucket) => bucket.place.address().to_string(),
                },
                dry_run: self.args.dry_run,
            });
        }
        ink.talk(&pick::described(self.snapshot, self.run.ctx.clock.now()));
        pick::passed_over(resolved).iter().for_each(|text| ink.warn(text));
        if self.snapshot.summary.incomplete {
            let number = counted(self.snapshot.summary.problems, "item", "items");
            ink.warn(&format!("this snapshot is incomplete: {number} could not be read when it was made"));
        }
        let warning = versions::warning(self.snapshot, &self.options.versions);
        warning.into_iter().for_each(|text| ink.warn(text));
    }

    /// Leaves a record of what is about to be restored; a rehearsal restores nothing.
    async fn record_access(&self) -> Result<(), Fault> {
        if self.args.dry_run {
            return Ok(());
        }
        let access = Access {
            verb: "restore",
            snapshot: self.snapshot,
            path: &self.options.path,
            select: Some(&self.args.select),
            databases: &[],
            target: match &self.place {
                Ready::Folder(path) => path.display().to_string(),
                Ready::Bucket(bucket) => bucket.place.address().to_string(),
            },
            because: &self.args.because,
        };
        access::record(self.run, self.repository, &access).await
    }

    /// Carries a restore out, or only counts what it would do.
    async fn carry(&self, carry: Carry, phase: &str) -> Result<Outcome<RestoreReport>, Fault> {
        self.carry_with(&self.run.ctx, carry, phase).await
    }

    async fn carry_with(
        &self,
        ctx: &Ctx,
        carry: Carry,
        phase: &str,
    ) -> Result<Outcome<RestoreReport>, Fault> {
        let options = RestoreOptions { carry, ..self.options.clone() };
        let into = FileTargetOptions { rehearse: carry != Carry::Out, ..self.into.clone() };
        let target = match &self.place {
            Ready::Folder(path) if self.opaque => wire_up::unfolded_target(path, &into, self.made())?,
            Ready::Folder(path) => wire_up::file_target(path, &into)?,
            Ready::Bucket(bucket) => return self.carry_to_bucket(ctx, bucket, &into, &options, phase).await,
        };
        self.carry_to(ctx, target, &options, phase).await
    }

    async fn carry_to(
        &self,
        ctx: &Ctx,
        target: Box<dyn Target>,
        options: &RestoreOptions,
        phase: &str,
    ) -> Result<Outcome<RestoreReport>, Fault> {
        let silent = options.carry != Carry::Out && !self.args.dry_run;
        let work = restore(ctx, self.repository, self.snapshot, target, options);
        // What is wrong will be told once, by the restore itself.
        if silent { self.run.watch(phase, work).await } else { self.run.follow(phase, work).await }
    }

    async fn carry_to_bucket(
        &self,
        ctx: &Ctx,
        bucket: &bucket::Bucket,
        into: &FileTargetOptions,
        options: &RestoreOptions,
        phase: &str,
    ) -> Result<Outcome<RestoreReport>, Fault> {
        let into =
            bucket.options(into, options.carry, (self.opaque, self.args.all_versions), self.made(), self.run);
        let (target, remains) = wire_up::bucket_target(&bucket.place, into, bucket.empty)?;
        let result = self.carry_to(ctx, target, options, phase).await;
        if result.is_err() {
            remains.clean().await;
        }
        bucket.newer.store(remains.newer(), Ordering::Relaxed);
        result
    }

    /// When the snapshot was begun.
    const fn made(&self) -> Time {
        self.snapshot.summary.start
    }

    const fn hint(&self) -> &'static str {
        match self.place {
            Ready::Folder(_) => "owners and devices need root",
            Ready::Bucket(_) => "each is named above; what is no object cannot be one",
        }
    }

    async fn rehearse(&self) -> Result<(), Fault> {
        let begun = Instant::now();
        let outcome = self.carry(Carry::Rehearse, &format!("comparing with {}", self.place.name())).await?;
        self.show(&outcome.value, None, &outcome.problems, begun.elapsed());
        archive::refuse_needed(self, &outcome.value.archived)?;
        self.finish(&outcome.problems, self.heard_damage())
    }

    /// For what comes before the restore, which tells itself what is wrong.
    fn silent(&self) -> Ctx {
        Ctx { monitor: Arc::new(Silent), ..self.run.ctx.clone() }
    }

    /// Looks what would be deleted, and stops if that is more than is allowed.
    async fn survey(&self, limit: Limit) -> Result<(), Fault> {
        let silent = self.silent();
        let survey = self.carry_with(&silent, Carry::Survey, "looking what is to be deleted").await?.value;
        limit.guard(&self.place.name(), &survey)?;
        if survey.tally.deleted > 0 {
            let number = counted(survey.tally.deleted, "thing that is", "things that are");
            self.run.ink.talk(&format!("will delete {number} not in the snapshot"));
        }
        Ok(())
    }

    async fn restore(&self) -> Result<(), Fault> {
        let begun = Instant::now();
        let phase = format!("restoring to {}", self.place.name());
        let replay = self.args.all_versions;
        let outcome = self.carry(Carry::Out, &phase).await.map_err(|fault| how_to_go_on(fault, replay))?;
        let (report, mut problems) = (outcome.value, outcome.problems);
        // Not what the comparison will tell of: it meets again what the restore has told.
        let heard_damage = self.heard_damage();
        if let (Ready::Bucket(bucket), Some(kept), true) = (&self.place, &self.kept, self.args.bucket_config)
        {
            problems.absorb(kept.set(self.run, bucket).await);
        }
        let verified = if self.args.verify { Some(self.verify(&mut problems).await?) } else { None };
        self.show(&report, verified, &problems, begun.elapsed());
        let ended = self.finish(&problems, heard_damage);
        ended.map_err(|fault| archive::how_to_bring_back(&self.run.ink, &report.archived, fault))?;
        logical::what_now(self);
        Ok(())
    }

    async fn verify(&self, problems: &mut Problems) -> Result<Verified, Fault> {
        let begun = Instant::now();
        let open = match &self.place {
            Ready::Folder(path) => wire_up::open_restored(path.clone(), self.opaque),
            Ready::Bucket(bucket) => wire_up::open_restored_object(bucket.place.clone(), self.opaque),
        };
        let work = verify(&self.run.ctx, self.repository, self.snapshot, &self.options, open);
        let mut outcome = self.run.watch("comparing with what was backed up", work).await?;
        forget_known(&mut outcome.problems, problems, &self.options.path);
        self.run.tell(&outcome.problems);
        problems.absorb(outcome.problems);
        Ok(Verified { files: outcome.value.verified_files, seconds: begun.elapsed().as_secs_f64() })
    }

    fn show(&self, report: &RestoreReport, verified: Option<Verified>, problems: &Problems, took: Duration) {
        let ink = &self.run.ink;
        let around = Around {
            dry_run: self.args.dry_run,
            seconds: took.as_secs_f64(),
            errors: problems.problem_count,
            notices: problems.notice_count,
        };
        if ink.tone.json {
            report.deleted.iter().for_each(|path| ink.json(&DeletedLine::new(path)));
            ink.json(&RestoreSummary::new(self.snapshot, report, verified, self.newer(), around));
        } else if self.args.dry_run {
            show::deleted(report, ink.tone.verbose).iter().for_each(|line| ink.data(line));
            show::summary(&show::WOULD, report, None, None).iter().for_each(|line| ink.data(line));
            if let Some(newer) = self.newer().filter(|newer| *newer > 0) {
                ink.data(&show::newer(newer));
            }
        } else if !ink.tone.quiet {
            let verified = verified.map(|verified| verified.files);
            show::summary(&show::DID, report, verified, Some(took)).iter().for_each(|line| ink.data(line));
        }
    }

    /// Objects at the target that are newer than the snapshot; none if it is no bucket.
    fn newer(&self) -> Option<u64> {
        match &self.place {
            Ready::Folder(_) => None,
            Ready::Bucket(bucket) => Some(bucket.newer.load(Ordering::Relaxed)),
        }
    }

    /// What is damaged makes a failure; what only could not be set makes it incomplete.
    fn heard_damage(&self) -> bool {
        is_damaged(&self.run.progress.heard())
    }

    fn finish(&self, problems: &Problems, heard_damage: bool) -> Result<(), Fault> {
        let number = counted(problems.problem_count, "problem", "problems");
        if is_damaged(problems) || heard_damage {
            let there = if self.args.dry_run { "nothing was changed" } else { "what is whole is there" };
            let what = format!("not everything could be restored: {number}; {there}");
            return Err(Fault::failed(
                what,
                "see how far the damage goes: holdfast check --read-data; try an older snapshot",
            ));
        }
        match problems.problem_count {
            0 if !self.args.dry_run && versions::warning(self.snapshot, &self.options.versions).is_some() => {
                Err(Fault::incomplete(
                    "restored, and older versions may stand where the newest could not be read for this snapshot",
                    "take those objects from a snapshot that is whole, or by --version-id",
                ))
            }
            0 => Ok(()),
            _ => Err(Fault::incomplete(format!("restored with {number}"), self.hint())),
        }
    }
}

/// What was not restored cannot be compared either: that is one problem, not two.
/// Targets name things by where they are there, a comparison by where they are in the snapshot.
fn forget_known(found: &mut Problems, known: &Problems, restored: &[u8]) {
    // A file whose attributes could not be set is there, and is compared.
    let missing = known.problems.iter().filter(|problem| problem.kind != ProblemKind::Attribute);
    let missing: HashSet<&[u8]> = missing.map(|problem| problem.path.as_slice()).collect();
    let there = |path: &[u8]| {
        let below = path.strip_prefix(restored).unwrap_or(path);
        missing.contains(below.strip_prefix(b"/").unwrap_or(below))
    };
    found.retain(|problem| !missing.contains(problem.path.as_slice()) && !there(&problem.path));
}

const fn is_damaged(problems: &Problems) -> bool {
    problems.damaged_count > 0
}

/// What was restored before an interruption need not be fetched again.
fn how_to_go_on(fault: Fault, replay: bool) -> Fault {
    if replay {
        let hint = "what was restored is there, and cannot be gone on with: begin anew under an empty prefix";
        return Fault { hint: hint.to_owned(), ..fault };
    }
    if fault.code == Code::Interrupted {
        let hint = "what was restored is there; to go on, run the same command with --overwrite always";
        return Fault { hint: hint.to_owned(), ..fault };
    }
    fault
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::engine::Problem;

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
        // Where it is at the target, and where it is in the snapshot.
        known.problem(problem(b"below/refused", ProblemKind::Refused));
        found.problem(problem(b"/part/below/refused", ProblemKind::Damaged));
        forget_known(&mut found, &known, b"/part");
        assert_eq!((found.problem_count, found.problems[0].path.as_slice()), (1, b"/owner".as_slice()));
    }
}
