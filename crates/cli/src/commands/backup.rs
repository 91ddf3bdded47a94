//! `backup`: paths, standard input, a command, a bucket, a cluster or its databases become one snapshot.

use super::bucket;
use super::cluster;
use super::lists::{self, Listing};
use super::logical;
use super::spelling::recorded_command;
use super::version::VERSION;
use super::{Run, pick};
use crate::args::{BackupArgs, LeaveOut, Pick};
use crate::engine::{BackupOptions, BackupReport, Outcome, Repository, Right, Source, backup};
use crate::fault::Fault;
use crate::ink::{Around, Summary, count, counted, duration, escape, parse_time, rate, size};
use crate::secrets;
use crate::settings;
use crate::stdin::{Input, Label, StdinSource};
use crate::wire_up::{self, Address, FileSourceOptions, Meter, Server};
use holdfast_core::entry::path_to_key;
use holdfast_core::id::SessionId;
use holdfast_store::Traffic;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is backed up.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Files(Vec<PathBuf>),
    Stdin,
    Command(Vec<OsString>),
    Bucket(Box<Address>),
    Cluster(Box<Server>),
    Logical(Box<logical::Place>),
}

impl What {
    /// It is of a server of PostgreSQL.
    const fn is_of_postgres(&self) -> bool {
        matches!(self, Self::Cluster(_) | Self::Logical(_))
    }
}

/// Backs up, and sums up.
pub(crate) async fn run(run: &Run, args: &BackupArgs) -> Result<(), Fault> {
    let what = what(args)?;
    if !matches!(what, What::Bucket(_)) {
        bucket::refuse_options_of_buckets(args)?;
    }
    if !what.is_of_postgres() {
        logical::refuse_options(args)?;
    }
    let place = Place::new(run, args.name.host.as_deref())?;
    let files = match &what {
        What::Files(paths) => Some(file_options(&args.leave_out, paths, &place)?),
        What::Stdin | What::Command(_) | What::Bucket(_) | What::Cluster(_) | What::Logical(_) => None,
    };
    let from_bucket = match &what {
        What::Bucket(address) => Some(bucket::Plan::new(run, args, address)?),
        _ => None,
    };
    let mut options = options(run, args, &place)?;
    let repository = run.open_for(Right::BackUp).await?;
    options.parent = parent(run, args, &repository).await?;
    // A command starts when all else is known to be right.
    let mut meter = None;
    let mut label = None;
    let source: Box<dyn Source> = match (files, from_bucket, &what) {
        (_, _, What::Cluster(server)) => {
            let (source, named) = cluster::labelled(cluster::open(run, args, (**server).clone()).await?);
            label = Some(named);
            source
        }
        (_, _, What::Logical(place)) => {
            let source = logical::open(run, args, place).await?;
            label = source.label();
            Box::new(source)
        }
        (Some(files), ..) => wire_up::file_source(files, &run.watchdog).await?,
        (None, Some(plan), _) => {
            let (source, counted) = plan.open(run).await?;
            meter = Some(counted);
            source
        }
        (None, None, _) => Box::new(stdin_source(run, args, &what, &place)?),
    };
    let identity = source.identity();
    if options.label.is_empty() {
        options.label = label.unwrap_or_else(|| pick::default_label(&identity.host, &identity.paths));
    }
    let phase = format!("backing up {}", escape(options.label.as_bytes()));
    let begun = Instant::now();
    let outcome = run.follow(&phase, backup(&run.ctx, &repository, source, &options)).await?;
    let told = Told { traffic: meter.as_ref().map(Meter::traffic), is_of_postgres: what.is_of_postgres() };
    show(run, args, &outcome, begun.elapsed(), &told);
    finish(&outcome)
}

/// Where we are.
pub(super) struct Place {
    pub(super) host: String,
    pub(super) current: PathBuf,
    /// The repository, if it is a folder.
    repository: Option<PathBuf>,
    cache: Option<PathBuf>,
}

impl Place {
    pub(super) fn new(run: &Run, host: Option<&str>) -> Result<Self, Fault> {
        Ok(Self {
            host: host.map_or_else(wire_up::host_name, str::to_owned),
            current: settings::current_dir()?,
            repository: run.repository_place()?.folder().map(Path::to_owned),
            cache: settings::cache_dir(&run.global)?,
        })
    }

    /// What a backup must not swallow, by the names under which a walk meets it.
    fn own_paths(&self) -> Vec<PathBuf> {
        let own = self.repository.iter().chain(&self.cache);
        own.map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect()
    }
}

fn what(args: &BackupArgs) -> Result<What, Fault> {
    if args.stdin_from_command {
        return Ok(What::Command(args.paths.clone()));
    }
    if args.stdin {
        return Ok(What::Stdin);
    }
    if args.paths.iter().any(|path| path == "-") {
        let lists = [&args.files_from, &args.files_from_verbatim, &args.files_from_raw];
        let alone = args.paths.len() == 1 && lists.iter().all(|files| files.is_empty());
        let hint = "back up standard input with a command of its own";
        return if alone { Ok(What::Stdin) } else { Err(Fault::usage("- cannot stand beside paths", hint)) };
    }
    if let Some(address) = bucket::stated(args)? {
        return Ok(What::Bucket(Box::new(address)));
    }
    if let Some(place) = logical::stated(args)? {
        return Ok(What::Logical(Box::new(place)));
    }
    if let Some(server) = cluster::stated(args)? {
        return Ok(What::Cluster(Box::new(server)));
    }
    let current = settings::current_dir()?;
    let listed = [
        (&args.files_from, Listing::Lines),
        (&args.files_from_verbatim, Listing::Verbatim),
        (&args.files_from_raw, Listing::Raw),
    ];
    let listed =
        listed.into_iter().flat_map(|(files, how)| files.iter().map(move |file| lists::paths(file, how)));
    let listed = listed.collect::<Result<Vec<_>, _>>()?;
    let words = args.paths.iter().chain(listed.iter().flatten());
    let mut paths = words.map(|path| settings::source_path(path, &current)).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.dedup();
    if paths.is_empty() {
        return Err(Fault::usage("there are no paths to back up", "the files of --files-from list none"));
    }
    Ok(What::Files(paths))
}

pub(super) fn file_options(
    leave_out: &LeaveOut,
    paths: &[PathBuf],
    place: &Place,
) -> Result<FileSourceOptions, Fault> {
    let excludes = lists::patterns(
        [&leave_out.exclude, &leave_out.iexclude],
        [&leave_out.exclude_file, &leave_out.iexclude_file],
        "--exclude-file",
    )?;
    Ok(FileSourceOptions {
        paths: paths.to_vec(),
        host: place.host.clone(),
        excludes,
        one_file_system: leave_out.one_file_system,
        exclude_caches: leave_out.exclude_caches,
        exclude_if_present: leave_out.exclude_if_present.clone(),
        exclude_larger_than: leave_out.exclude_larger_than,
        skip_paths: place.own_paths(),
        here: None,
    })
}

fn options(run: &Run, args: &BackupArgs, place: &Place) -> Result<BackupOptions, Fault> {
    let time = args.name.time.as_deref().map(parse_time).transpose();
    let time = time.map_err(|what| Fault::usage(format!("--time: {what}"), ""))?;
    Ok(BackupOptions {
        label: args.name.label.clone().unwrap_or_default(),
        tags: settings::split_tags(&args.name.tag),
        parent: None,
        force: args.compare.force,
        ignore_ctime: args.compare.ignore_ctime,
        ignore_inode: args.compare.ignore_inode,
        skip_if_unchanged: args.compare.skip_if_unchanged,
        dry_run: args.dry_run,
        time,
        compression_level: args.compression,
        data_pack_bytes: args.pack_size,
        seal_check: !args.no_extra_verify,
        cache_dir: place.cache.clone(),
        version: VERSION.to_owned(),
        command: recorded_command(&run.words),
    })
}

async fn parent(run: &Run, args: &BackupArgs, repository: &Repository) -> Result<Option<SessionId>, Fault> {
    let Some(text) = &args.compare.parent else { return Ok(None) };
    let resolved = pick::one(run, repository, text, b"", &Pick::default()).await?;
    Ok(Some(resolved.snapshot.id))
}

fn stdin_source(run: &Run, args: &BackupArgs, what: &What, place: &Place) -> Result<StdinSource, Fault> {
    let key = stdin_key(&args.stdin_filename)?;
    let input = match what {
        What::Command(words) => command_input(words, &place.current)?,
        What::Stdin | What::Files(_) | What::Bucket(_) | What::Cluster(_) | What::Logical(_) => {
            stdin_input()?
        }
    };
    let unique = u64::from_le_bytes(run.ctx.random());
    let label = Label { key, host: place.host.clone(), now: run.ctx.clock.now(), unique };
    Ok(StdinSource::new(input, &label, run.ctx.cancel.clone()))
}

/// The tree key of the file that standard input becomes.
fn stdin_key(name: &OsStr) -> Result<Vec<u8>, Fault> {
    let parts = name.as_bytes().split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    let odd = parts.clone().any(|part| part == b"." || part == b"..");
    if odd || parts.count() == 0 {
        return Err(Fault::usage(
            "--stdin-filename is no name of a file",
            "write a name, or a path without . and ..",
        ));
    }
    Ok(path_to_key(name.as_bytes()))
}

fn stdin_input() -> Result<Input, Fault> {
    let from = std::io::stdin().as_fd().try_clone_to_owned();
    let from = from.map_err(|error| Fault::failed("cannot read standard input", "").because(&error))?;
    Ok(Input { from, child: None })
}

fn command_input(words: &[OsString], current: &Path) -> Result<Input, Fault> {
    let fault =
        |what: &str| Fault::failed(what.to_owned(), "no snapshot was made; check the command after --");
    let (program, arguments) = words.split_first().ok_or_else(|| fault("there is no command"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(current).stdin(Stdio::null()).stdout(Stdio::piped());
    // It does not need what opens the repository.
    secrets::keep_from(&mut command);
    let what = format!("cannot run {}", escape(program.as_bytes()));
    let mut child = command.spawn().map_err(|error| fault(&what).because(&error))?;
    let from = child.stdout.take().map(OwnedFd::from).ok_or_else(|| fault(&what))?;
    Ok(Input { from, child: Some(child) })
}

fn finish(outcome: &Outcome<BackupReport>) -> Result<(), Fault> {
    if outcome.problems.problem_count == 0 {
        return Ok(());
    }
    let number = counted(outcome.problems.problem_count, "item", "items");
    let (what, hint) = match outcome.value.snapshot {
        Some(_) => {
            ("the snapshot exists", "put that right and back up again; the snapshot says what it lacks")
        }
        None => ("no snapshot was made", "put that right and back up again"),
    };
    Err(Fault::incomplete(format!("{number} could not be read; {what}"), hint))
}

/// What a source told beside its items.
struct Told {
    /// What was asked of a bucket's server.
    traffic: Option<Traffic>,
    is_of_postgres: bool,
}

fn show(run: &Run, args: &BackupArgs, outcome: &Outcome<BackupReport>, took: Duration, told: &Told) {
    let around = Around {
        dry_run: args.dry_run,
        seconds: took.as_secs_f64(),
        errors: outcome.problems.problem_count,
        notices: outcome.problems.notice_count,
    };
    let objects = bucket::counted(&outcome.value.facts);
    let traffic = told.traffic.clone();
    if run.ink.tone.json {
        let facts = told.is_of_postgres.then(|| outcome.value.facts.iter().cloned().collect());
        let summary = Summary::new(&outcome.value, around).with_traffic(traffic).with_objects(objects);
        run.ink.json(&summary.with_facts(facts));
    } else if !run.ink.tone.quiet {
        let lines = summary(&outcome.value, args.dry_run, took);
        let objects = objects.as_ref().map(bucket::shown_counts);
        let asked = traffic.as_ref().map(bucket::shown);
        lines.iter().chain(&objects).chain(&asked).for_each(|line| run.ink.data(line));
    }
}

fn summary(report: &BackupReport, dry_run: bool, took: Duration) -> Vec<String> {
    let counts = &report.counts;
    let head = match report.snapshot {
        Some(id) => format!("snapshot {} saved", &id.to_string()[..8]),
        None if dry_run => "dry run: nothing was stored".to_owned(),
        None => "nothing changed, no snapshot was made".to_owned(),
    };
    let compared =
        report.parent.map(|id| format!(", compared with {}", &id.to_string()[..8])).unwrap_or_default();
    let (new, changed, same) = (counts.files_new, counts.files_changed, counts.files_unmodified);
    let others = counted(counts.others, "other", "others");
    let added = if dry_run { "would add" } else { "added" };
    let stored =
        if dry_run { String::new() } else { format!(", {} in the repository", size(counts.bytes_stored)) };
    let speed = rate(counts.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
    let mut lines = vec![
        format!("{head}{compared}"),
        format!("  files      {} new, {} changed, {} unchanged", count(new), count(changed), count(same)),
        format!(
            "  in all     {}, {}, {others}",
            counted(counts.files, "file", "files"),
            counted(counts.directories, "folder", "folders")
        ),
        format!("  size       {}, {} read", size(counts.bytes), size(counts.bytes_read)),
        format!("  {added:<9}  {}{stored}", size(counts.bytes_added)),
        format!("  took       {}{speed}", duration(took)),
    ];
    if report.adopted_packs > 0 {
        let packs = counted(report.adopted_packs, "pack", "packs");
        let runs = counted(report.adopted_sessions, "interrupted backup", "interrupted backups");
        lines.push(format!("  taken over {packs} of {runs}"));
    }
    lines
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
