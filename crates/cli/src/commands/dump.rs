//! `dump`: a file as it is, a folder as an archive, on standard output or in a file.

use super::access::{self, Access};
use super::{Run, pick, versions};
use crate::args::{Archive, DumpArgs};
use crate::engine::{
    ArchiveFormat, DumpOptions, DumpReport, Error, ErrorKind, Outcome, Outlet, Repository, Right, Snapshot,
    dump,
};
use crate::fault::{Code, Fault};
use crate::ink::{DumpSummary, counted, duration, escape, rate, size};
use crate::outlet::{Fate, StandardOutput, TargetFile};
use crate::settings;
use crate::wire_up::lacking;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long a stopped dump waits for whoever reads its output.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes what was asked for, and nothing else, to where it was asked for.
pub(crate) async fn run(run: &Run, args: &DumpArgs) -> Result<(), Fault> {
    access::reason(&args.because)?;
    let (text, path) = settings::snapshot_and_path(&args.snapshot)?;
    let versions = versions::choice(&args.versions, &path)?;
    let archive = args.archive.map(format_of);
    let mut options = DumpOptions { path, versions, archive, lacking: Some(lacking) };
    let current = settings::current_dir()?;
    let target = args.target.as_ref().map(|target| settings::normalise(target, &current));
    // What cannot be written is better known before a password is asked for.
    let target = target.map(TargetFile::create).transpose()?;
    let repository = run.open_for(Right::Read).await?;
    let resolved = pick::one(run, &repository, &text, &options.path, &args.pick).await?;
    let snapshot = &resolved.snapshot;
    versions::refuse_plain(snapshot, &options.versions)?;
    options.path = settings::path_in(snapshot.summary.space, &options.path);
    run.ink.talk(&pick::described(snapshot, run.ctx.clock.now()));
    pick::passed_over(&resolved).iter().for_each(|text| run.ink.warn(text));
    versions::warning(snapshot, &options.versions).into_iter().for_each(|text| run.ink.warn(text));
    let access = Access {
        verb: "dump",
        snapshot,
        path: &options.path,
        select: None,
        databases: &[],
        target: access::file(args.target.as_deref()),
        because: &args.because,
    };
    access::record(run, &repository, &access).await?;
    let job = Job { run, repository: &repository, snapshot, options: &options };
    match target {
        Some((target, file)) => job.to_file(target, file).await,
        None => job.to_standard_output().await,
    }
}

const fn format_of(archive: Archive) -> ArchiveFormat {
    match archive {
        Archive::Tar => ArchiveFormat::Tar,
        Archive::Zip => ArchiveFormat::Zip,
    }
}

/// An archive may do without what was not kept; and what is the newest version of an object may not
/// have been read when the snapshot was made.
fn finish(outcome: &Outcome<DumpReport>, unsure: bool) -> Result<(), Fault> {
    match outcome.problems.problem_count {
        0 if unsure => Err(Fault::incomplete(
            "written, and older versions may stand where the newest could not be read for this snapshot",
            "take those objects from a snapshot that is whole, or by --version-id",
        )),
        0 => Ok(()),
        number => {
            let what = format!("{} could not be written", counted(number, "item", "items"));
            Err(Fault::incomplete(what, "everything else is whole"))
        }
    }
}

struct Job<'a> {
    run: &'a Run,
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    options: &'a DumpOptions,
}

impl Job<'_> {
    fn work(&self, outlet: Outlet) -> impl Future<Output = Result<Outcome<DumpReport>, Error>> {
        dump(&self.run.ctx, self.repository, self.snapshot, self.options, outlet)
    }

    /// Whether something newer than what is written may have been there.
    fn is_unsure(&self) -> bool {
        versions::warning(self.snapshot, &self.options.versions).is_some()
    }

    async fn to_file(&self, target: TargetFile, file: std::fs::File) -> Result<(), Fault> {
        let begun = Instant::now();
        let phase = format!("writing {}", escape(&self.options.path));
        let watch = self.run.progress.watch(&phase);
        let result = self.work(Box::new(file)).await;
        drop(watch);
        let outcome = result.map_err(|error| self.explained(error, "nothing was left at the target"))?;
        target.finish()?;
        self.run.tell(&outcome.problems);
        self.show(&outcome, begun.elapsed());
        finish(&outcome, self.is_unsure())
    }

    async fn to_standard_output(&self) -> Result<(), Fault> {
        let fate = Fate::default();
        let output = StandardOutput::new(fate.clone());
        // Beside text on a terminal there is no room for a bar, and standard output is not for lines.
        let alone = output.is_terminal() || self.run.ink.tone.json;
        let phase = format!("writing {}", escape(&self.options.path));
        let watch = (!alone).then(|| self.run.progress.watch(&phase));
        let work = self.work(Box::new(output));
        let result = tokio::select! {
            result = work => result,
            () = self.stopped() => Err(Error::interrupted()),
        };
        drop(watch);
        self.run.progress.tell_heard();
        match result {
            Ok(outcome) => {
                self.run.tell(&outcome.problems);
                finish(&outcome, self.is_unsure())
            }
            Err(_) if fate.is_unheard() => Ok(()),
            Err(_) if fate.is_refused() => {
                let hint = "write it to a file with --target FILE, or into another program";
                Err(Fault::usage("this is binary data, which a terminal cannot show", hint))
            }
            Err(error) if fate.is_begun() => {
                Err(self.explained(error, "what was written is not whole: do not use it"))
            }
            Err(error) => Err(self.explained(error, "nothing was written")),
        }
    }

    /// Says what a dump that failed is good for.
    fn explained(&self, error: Error, what: &str) -> Fault {
        let kind = error.kind;
        let mut fault = Fault::from(error).or_interrupted(self.run.ctx.cancel.is_raised());
        fault.hint = match (kind, fault.code) {
            (ErrorKind::Damaged, Code::Failed) => format!("{what}; {}", fault.hint),
            (ErrorKind::Usage | ErrorKind::NotFound, Code::Failed | Code::Usage) => return fault,
            _ => what.to_owned(),
        };
        fault
    }

    /// Ends when the run was asked to stop and did not, because nobody reads what it writes.
    async fn stopped(&self) {
        const LOOK_EVERY: Duration = Duration::from_millis(100);
        while !self.run.ctx.cancel.is_raised() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::time::sleep(PATIENCE).await;
    }

    fn show(&self, outcome: &Outcome<DumpReport>, took: Duration) {
        let (ink, report) = (&self.run.ink, &outcome.value);
        if ink.tone.json {
            let seconds = took.as_secs_f64();
            return ink.json(&DumpSummary::new(
                self.snapshot,
                report,
                outcome.problems.notice_count,
                seconds,
            ));
        }
        let files = counted(report.files, "file", "files");
        let speed = rate(report.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
        let (bytes, took) = (size(report.bytes_written), duration(took));
        ink.talk(&format!("wrote {files}, {bytes} in {took}{speed}"));
    }
}
