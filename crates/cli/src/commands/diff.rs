//! `diff`: what differs between two snapshots, or between a snapshot and what is there now.

use super::backup::{Place, file_options};
use super::{Run, pick};
use crate::args::DiffArgs;
use crate::engine::{
    Change, DiffOptions, DiffReport, Error, ErrorKind, Live, LiveOptions, Modified, Outcome, Problems,
    Repository, Right, Scope, Snapshot, diff, diff_live,
};
use crate::fault::Fault;
use crate::ink::{ChangeLine, DiffSummary, counted, escape, size};
use crate::settings;
use crate::wire_up::{self, Excludes};
use holdfast_core::entry::{Entry, Kind};
use holdfast_core::page::KeySpace;
use holdfast_core::version::object_of;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Compares, shows each difference, and sums up.
pub(crate) async fn run(run: &Run, args: &DiffArgs) -> Result<(), Fault> {
    let (text, path) = settings::snapshot_and_path(&args.before)?;
    let after = args.after.as_ref().map(|after| settings::snapshot_and_path(after)).transpose()?;
    if after.is_some() && args.expects_live() {
        let hint = "two snapshots are compared whole; leave these options out, or compare with --live";
        return Err(Fault::usage("--read-data and what is left out are for a live tree", hint));
    }
    let repository = run.open_for(Right::Read).await?;
    let before = pick::one(run, &repository, &text, &path, &args.pick).await?.snapshot;
    let path = settings::path_in(before.summary.space, &path);
    let job = Job { run, args, repository: &repository, before: &before, path: &path };
    let result = match after {
        Some((text, after_path)) => {
            let after = pick::one(run, &repository, &text, &after_path, &args.pick).await?.snapshot;
            job.snapshots(&after, &settings::path_in(after.summary.space, &after_path)).await
        }
        None => job.live().await,
    };
    // Whoever reads us had enough: that is no failure.
    if run.ink.is_heard() { result } else { Ok(()) }
}

struct Job<'a> {
    run: &'a Run,
    args: &'a DiffArgs,
    repository: &'a Repository,
    before: &'a Snapshot,
    path: &'a [u8],
}

impl Job<'_> {
    fn options(&self) -> DiffOptions {
        DiffOptions { metadata: self.args.metadata }
    }

    fn announce(&self, later: &str) {
        self.run.ink.talk(&format!("from {}", pick::described(self.before, self.run.ctx.clock.now())));
        self.run.ink.talk(&format!("to   {later}"));
    }

    async fn snapshots(&self, after: &Snapshot, after_path: &[u8]) -> Result<(), Fault> {
        self.announce(&pick::described(after, self.run.ctx.clock.now()));
        let scope = Scope::new(self.before.summary.space, self.path);
        let mut take = |key: &[u8], change: &Change<'_>| self.show(&scope, key, change);
        let sides = ((self.before, self.path), (after, after_path));
        let work = diff(&self.run.ctx, self.repository, sides.0, sides.1, self.options(), &mut take);
        let result = work.await;
        self.run.progress.tell_heard();
        self.sum_up(&result?, Some(after), &Problems::default());
        Ok(())
    }

    async fn live(&self) -> Result<(), Fault> {
        let place = Place::new(self.run, None)?;
        let dir = self.args.live.clone().flatten();
        let dir = dir.map(|dir| settings::normalise(&dir, &place.current));
        let paths = self.live_paths(dir.as_ref(), &place)?;
        let options = file_options(&self.args.leave_out, &paths, &place)?;
        let left_out = options.excludes.clone();
        self.announce(&shown(&paths, dir.as_ref()));
        if let Some(dir) = &dir {
            self.warn_of_another_top(dir);
        }
        let there: Vec<_> = paths.into_iter().filter(|path| self.is_there(path)).collect();
        let source = match there.is_empty() {
            true => None,
            false => {
                let options = wire_up::FileSourceOptions { paths: there, ..options };
                Some(wire_up::file_source(options, &self.run.watchdog).await?)
            }
        };
        let live_path = dir.map_or_else(|| self.path.to_vec(), |dir| dir.into_os_string().into_vec());
        let is_left_out = |path: &[u8], is_dir: bool| is_left_out(&left_out, path, is_dir);
        let options =
            LiveOptions { diff: self.options(), read_data: self.args.read_data, left_out: &is_left_out };
        let scope = Scope::new(KeySpace::Paths, &live_path);
        let mut take = |key: &[u8], change: &Change<'_>| self.show(&scope, key, change);
        let side = (self.before, self.path);
        let live = Live { source, path: live_path };
        let result = diff_live(&self.run.ctx, self.repository, side, live, options, &mut take).await;
        self.run.progress.tell_heard();
        let outcome = result.map_err(explained)?;
        self.run.tell(&outcome.problems);
        self.sum_up(&outcome.value, None, &outcome.problems);
        finish(&outcome)
    }

    /// What is walked: the folder that was named, else what the snapshot was made of.
    fn live_paths(&self, dir: Option<&PathBuf>, place: &Place) -> Result<Vec<PathBuf>, Fault> {
        if let Some(dir) = dir {
            return Ok(vec![dir.clone()]);
        }
        let summary = &self.before.summary;
        if summary.kind != "files" {
            let what = format!("the snapshot is of {}, not of files", escape(summary.kind.as_bytes()));
            return Err(Fault::usage(what, "say what to compare it with: --live DIR"));
        }
        if summary.host != place.host {
            let host = escape(summary.host.as_bytes());
            self.run.ink.warn(&format!("the snapshot is of host {host}, this is {}", place.host));
        }
        let recorded = summary.paths.iter().map(|path| path_of(path));
        let wanted = path_of(if self.path.is_empty() { b"/" } else { self.path });
        // Of the recorded paths those below the one that was asked for, or that itself.
        let below: Vec<_> = recorded.filter(|path| path.starts_with(&wanted)).collect();
        Ok(if below.is_empty() { vec![wanted] } else { below })
    }

    /// A whole snapshot begins at `/`; who means one folder of it has to say so.
    fn warn_of_another_top(&self, dir: &Path) {
        let paths = &self.before.summary.paths;
        let is_below = |path: &Vec<u8>| {
            let path = path_of(path);
            dir.join(path.strip_prefix("/").unwrap_or(&path)).symlink_metadata().is_ok()
        };
        let Some(first) = paths.first().filter(|_| self.path.is_empty() && dir.is_dir()) else { return };
        if !paths.iter().any(is_below) {
            let (dir, first, id) =
                (escape(dir.as_os_str().as_bytes()), escape(first), pick::short_id(self.before));
            self.run.ink.warn(&format!(
                "the snapshot begins at /, and nothing of it is in {dir}; if that is a copy of {first}, compare \
                 {id}:{first} with it"
            ));
        }
    }

    fn is_there(&self, path: &PathBuf) -> bool {
        let gone = matches!(
            std::fs::symlink_metadata(path),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
        );
        if gone {
            let name = escape(path.as_os_str().as_bytes());
            self.run.ink.warn(&format!("{name} is not there: everything in it counts as removed"));
        }
        !gone
    }

    fn show(&self, scope: &Scope, key: &[u8], change: &Change<'_>) {
        let path = scope.path_of(key);
        let ink = &self.run.ink;
        if ink.tone.json {
            let path = scope.path_of(object_of(key));
            ink.json(&ChangeLine::new(&path, &modifier(change), shown_entry(change), metadata(change)));
        } else {
            let folder = if shown_entry(change).kind == Kind::Directory && path != b"/" { "/" } else { "" };
            ink.data(&format!("{:<5}{}{folder}", modifier(change), escape(&path)));
        }
        if !ink.is_heard() {
            self.run.ctx.cancel.raise();
        }
    }

    fn sum_up(&self, report: &DiffReport, after: Option<&Snapshot>, problems: &Problems) {
        let ink = &self.run.ink;
        if ink.tone.json {
            ink.json(&DiffSummary::new(report, self.before, after, problems.problem_count));
        } else if !ink.tone.quiet {
            summary(report, after.is_some()).iter().for_each(|line| ink.data(line));
        }
    }
}

/// A source that fails was to be read, not backed up.
fn explained(error: Error) -> Fault {
    let of_source = error.kind == ErrorKind::Source;
    let mut fault = Fault::from(error);
    if of_source {
        fault.hint = "put that right, and compare again".into();
    }
    fault
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

fn shown(paths: &[PathBuf], dir: Option<&PathBuf>) -> String {
    let paths: Vec<_> = paths.iter().map(|path| escape(path.as_os_str().as_bytes())).collect();
    let now = if dir.is_some() { "what is in" } else { "what is now in" };
    format!("{now} {}", paths.join(", "))
}

/// What the walk leaves out is passed over in the snapshot too.
fn is_left_out(patterns: &Excludes, path: &[u8], is_dir: bool) -> bool {
    !patterns.is_empty() && patterns.matches(path, is_dir)
}

fn shown_entry<'a>(change: &Change<'a>) -> &'a Entry {
    match *change {
        Change::Added(entry) | Change::Removed(entry) | Change::Modified { after: entry, .. } => entry,
    }
}

/// The marks of restic.
fn modifier(change: &Change<'_>) -> String {
    match change {
        Change::Added(_) => "+".into(),
        Change::Removed(_) => "-".into(),
        Change::Modified { how, .. } => {
            let Modified { kind, content, metadata, suspicious } = *how;
            let marks = [(kind, 'T'), (content, 'M'), (metadata, 'U'), (suspicious, '?')];
            marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect()
        }
    }
}

/// Which metadata differ, in words.
fn metadata(change: &Change<'_>) -> Vec<&'static str> {
    let Change::Modified { before, after, how: Modified { metadata: true, .. } } = change else {
        return Vec::new();
    };
    let (one, other) = (&before.attributes, &after.attributes);
    let numbers = |entry: &Entry| (entry.owner.uid, entry.owner.gid);
    let same_numbers = numbers(before) == numbers(after);
    let differ = [
        (before.mode != after.mode, "mode"),
        (!same_numbers, "owner"),
        // Another host has other names for the same numbers.
        (same_numbers && before.owner != after.owner, "owner_name"),
        (before.mtime != after.mtime, "time"),
        (one.xattrs != other.xattrs, "xattrs"),
        (one.inode_flags != other.inode_flags, "flags"),
    ];
    differ.into_iter().filter(|(differs, _)| *differs).map(|(_, word)| word).collect()
}

fn summary(report: &DiffReport, stored: bool) -> Vec<String> {
    if report.is_same() {
        return vec!["no differences".into()];
    }
    let line = |word: &str, counts: &crate::engine::DiffCounts| {
        let files = counted(counts.files, "file", "files");
        let folders = counted(counts.directories, "folder", "folders");
        let others = counted(counts.others, "other", "others");
        format!("  {word:<9}  {files}, {folders}, {others}, {}", size(counts.bytes))
    };
    let files = counted(report.files_changed, "file", "files");
    let others = counted(report.others_changed, "other", "others");
    let metadata = counted(report.metadata_changed, "item", "items");
    let metadata =
        if report.metadata_changed > 0 { format!(", metadata of {metadata}") } else { String::new() };
    let grown = match (report.bytes_changed_before, report.bytes_changed_after) {
        (0, 0) => String::new(),
        (before, after) => format!(", {} before, {} after", size(before), size(after)),
    };
    let mut lines = vec![
        String::new(),
        line("added", &report.added),
        line("removed", &report.removed),
        format!("  changed    {files}, {others}{grown}{metadata}"),
    ];
    if stored {
        let stored = &report.stored_added;
        let bytes = size(stored.chunk_bytes + stored.page_bytes);
        let (chunks, pages) =
            (counted(stored.chunks, "chunk", "chunks"), counted(stored.pages, "page", "pages"));
        lines.push(format!("  new data   {bytes} in the repository, {chunks}, {pages}, at most"));
    }
    if report.suspicious > 0 {
        let files = counted(report.suspicious, "file differs", "files differ");
        lines.push(format!("  {files} under the same size and time (?): look at them, it may be bit rot"));
    }
    lines
}

fn finish(outcome: &Outcome<DiffReport>) -> Result<(), Fault> {
    match outcome.problems.problem_count {
        0 => Ok(()),
        number => {
            let items = counted(number, "item", "items");
            let what = format!("{items} could not be read, and what is below was not compared");
            Err(Fault::incomplete(what, "run it as a user who may read them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_those_of_restic() {
        let entry = Entry {
            key: Vec::new(),
            kind: Kind::File,
            mode: 0,
            owner: std::sync::Arc::default(),
            mtime: holdfast_core::entry::Time::default(),
            size: 0,
            content: holdfast_core::entry::Content::None,
            digest: None,
            attributes: holdfast_core::entry::Attributes::default(),
        };
        let changed = |kind, content, metadata, suspicious| {
            let how = Modified { kind, content, metadata, suspicious };
            modifier(&Change::Modified { before: &entry, after: &entry, how })
        };
        assert_eq!(modifier(&Change::Added(&entry)), "+");
        assert_eq!(modifier(&Change::Removed(&entry)), "-");
        assert_eq!(changed(true, false, true, false), "TU");
        assert_eq!(changed(false, true, false, true), "M?");
        assert_eq!(changed(false, false, true, false), "U");
    }

    #[test]
    fn equal_trees_say_so() {
        assert_eq!(summary(&DiffReport::default(), true), ["no differences"]);
        let report = DiffReport { suspicious: 1, files_changed: 1, ..DiffReport::default() };
        let lines = summary(&report, false);
        assert!(lines[lines.len() - 1].contains("bit rot"), "{lines:?}");
    }
}
