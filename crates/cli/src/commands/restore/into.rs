//! What a restore does with what is at its target: how it is opened, what may be deleted there,
//! and what stops a deletion that looks like a mistake.
//!
//! On purpose not here: deleting; the target does it.

use super::super::versions::has_all;
use super::Run;
use crate::args::{Over, When};
use crate::engine::{
    Repository, RestoreOptions, RestoreReport, Scope, Selection, Selector, Snapshot, Tally, details,
};
use crate::fault::Fault;
use crate::ink::{count, counted, escape};
use crate::settings;
use crate::wire_up::{Excludes, FileTargetOptions, LeftOut, Overwrite};
use holdfast_core::page::KeySpace;
use holdfast_core::session::RecordedProblem;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// So many things.
    Number(u64),
    /// So many of a hundred things that are there.
    Percent(u64),
}

impl Limit {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        match (digits.parse(), percent) {
            (Ok(percent @ 0..=100), true) => Ok(Self::Percent(percent)),
            (Ok(number), false) => Ok(Self::Number(number)),
            _ => Err(Fault::usage(
                format!("--max-delete {} is neither a number nor a share", escape(text.as_bytes())),
                "write a number of things, or a share of what is there: 20, 10%, 100%",
            )),
        }
    }

    const fn allows(self, tally: &Tally) -> bool {
        match self {
            Self::Number(number) => tally.deleted <= number,
            Self::Percent(percent) => {
                tally.deleted.saturating_mul(100) <= tally.existing.saturating_mul(percent)
            }
        }
    }

    /// Stops what would delete more than is allowed, before anything was changed.
    pub(super) fn guard(self, name: &str, survey: &RestoreReport) -> Result<(), Fault> {
        let tally = &survey.tally;
        if self.allows(tally) {
            return Ok(());
        }
        let (deleted, all) = (count(tally.deleted), counted(tally.existing, "thing", "things"));
        let first =
            survey.deleted.first().map(|path| format!(", {} first", escape(path))).unwrap_or_default();
        Err(Fault::usage(
            format!("--delete would delete {deleted} of the {all} in {name}{first}: nothing was changed"),
            "see them all with --dry-run -v; if that is what you want, raise --max-delete (100% for all)",
        ))
    }
}

/// What is stated of overwriting; none where the target has to be empty.
pub(super) fn overwrite(over: &Over, dry_run: bool) -> Option<Overwrite> {
    let stated = over.overwrite.map(|when| match when {
        When::Always => Overwrite::Always,
        When::IfChanged => Overwrite::IfChanged,
        When::IfNewer => Overwrite::IfNewer,
        When::Never => Overwrite::Never,
    });
    // Nothing is lost by looking.
    stated.or_else(|| (over.delete || dry_run).then_some(Overwrite::Always))
}

/// Refuses a target in which something lies, unless somebody said what is to become of it.
pub(super) fn refuse_full(target: &Path, options: &FileTargetOptions) -> Result<(), Fault> {
    let name = escape(target.as_os_str().as_encoded_bytes());
    match std::fs::read_dir(target).map(|mut entries| entries.next().is_none()) {
        Ok(empty) if empty || options.overwrite.is_some() => Ok(()),
        Ok(_) => Err(Fault::usage(
            format!("the target {name} is not empty"),
            "say what becomes of what lies there: --overwrite always (also to go on with an interrupted restore), \
             if-changed, if-newer or never; see what would happen with --dry-run",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Fault::usage(
            format!("the target {name} is not a folder"),
            "give --target a folder, or the name of a new one",
        )),
        Err(error) => Err(Fault::failed(format!("cannot look into the target {name}"), "").because(&error)),
    }
}

/// Says what may be deleted at a target: what the snapshot does not have, and would have if it
/// had been there when it was made.
pub(super) async fn prepare_delete(
    run: &Run,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    into: &mut FileTargetOptions,
) -> Result<(), Fault> {
    let recorded = details(&run.ctx, repository, snapshot).await?;
    let left_out = LeftOut::decode(&recorded.source_record).unwrap_or_else(|| {
        run.ink.warn(
            "this snapshot does not say what the backup was told to leave out: --delete takes it for missing; \
             look first with --dry-run, and keep things with --exclude",
        );
        LeftOut::default()
    });
    let unread = unread(snapshot, recorded.problems)?;
    let excludes = Excludes::new(&left_out.patterns, &left_out.ipatterns).map_err(|what| {
        Fault::failed(format!("what the backup left out cannot be understood: {what}"), "")
    })?;
    // All keys of a bucket are below the same root.
    let opaque = snapshot.summary.space != KeySpace::Paths;
    let sources = if opaque { vec![b"/".to_vec()] } else { snapshot.summary.paths.clone() };
    let select = options.select.clone();
    let prefix = match Scope::new(snapshot.summary.space, &options.path) {
        // However the path is written: what was left out or not read is named by keys.
        scope if opaque && !scope.is_everything() => [b"/", scope.key()].concat(),
        _ if opaque => Vec::new(),
        _ => options.path.clone(),
    };
    let delete = deletable(prefix.clone(), sources, select, unread);
    into.delete = Some(Arc::new(move |path: &[u8], is_folder: bool| {
        if excludes.matches(&[&prefix[..], path].concat(), is_folder) {
            Selection::Skip
        } else {
            delete(path, is_folder)
        }
    }));
    (into.keep_larger_than, into.keep_tagged) = (left_out.larger_than, left_out.tags);
    into.keep_mounted = left_out.other_file_systems;
    into.protect = protected(run)?;
    Ok(())
}

/// What is never deleted, wherever it lies.
fn protected(run: &Run) -> Result<Vec<PathBuf>, Fault> {
    let repository = run.repository_place()?.folder().map(Path::to_owned);
    Ok([repository, settings::cache_dir(&run.global)?].into_iter().flatten().collect())
}

/// What an incomplete snapshot lacks only because it could not be read: that it is not in the
/// snapshot says nothing about whether it should be at the target.
fn unread(snapshot: &Snapshot, recorded: Vec<RecordedProblem>) -> Result<Unread, Fault> {
    if !snapshot.summary.incomplete {
        return Ok(Unread::default());
    }
    // Of very many only the first are recorded.
    if recorded.is_empty() || recorded.len() as u64 != snapshot.summary.problems {
        return Err(Fault::usage(
            "--delete: this snapshot is incomplete, and does not name all that it lacks: nothing was changed",
            "restore without --delete, or choose a snapshot that is whole",
        ));
    }
    let paths = recorded.into_iter().map(|problem| problem.path);
    // Of an object of which a version was not read it cannot be told whether it was there.
    let path = |path: Vec<u8>| if has_all(snapshot) { without_version(&path).to_vec() } else { path };
    Ok(Unread(paths.map(path).collect()))
}

/// The path of an object, of that of a version of it.
fn without_version(path: &[u8]) -> &[u8] {
    const BEFORE_ID: &[u8] = b"?version-id=";
    let at = path.windows(BEFORE_ID.len()).rposition(|part| part == BEFORE_ID);
    at.map_or(path, |at| &path[..at])
}

/// Paths of what could not be read when a snapshot was made, sorted.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(BTreeSet<Vec<u8>>);

impl Unread {
    /// What becomes of a path because something at it, above it or below it was not read.
    fn bound(&self, path: &[u8]) -> Selection {
        let mut above = Some(path);
        while let Some(at) = above {
            if self.0.contains(at) {
                return Selection::Skip;
            }
            above = at.iter().rposition(|&byte| byte == b'/').map(|end| &at[..end]);
        }
        let inside = [path, b"/"].concat();
        let first = self.0.range(inside.clone()..).next();
        if self.0.contains(&b"/"[..]) {
            Selection::Skip
        } else if first.is_some_and(|first| first.starts_with(&inside)) {
            Selection::Descend
        } else {
            Selection::Take
        }
    }
}

/// Decides what may be deleted at the target: what lies in folders that were backed up as such,
/// and would be restored if the snapshot had it. Folders above a source are only the way to it.
fn deletable(prefix: Vec<u8>, sources: Vec<Vec<u8>>, select: Option<Selector>, unread: Unread) -> Selector {
    let selected = selectable(prefix.clone(), sources, select);
    Arc::new(move |path: &[u8], is_folder: bool| {
        match (unread.bound(&[&prefix[..], path].concat()), selected(path, is_folder)) {
            (Selection::Skip, _) | (_, Selection::Skip) => Selection::Skip,
            (Selection::Descend, _) | (_, Selection::Descend) => Selection::Descend,
            (Selection::Take, Selection::Take) => Selection::Take,
        }
    })
}

fn selectable(prefix: Vec<u8>, sources: Vec<Vec<u8>>, select: Option<Selector>) -> Selector {
    Arc::new(move |path: &[u8], is_folder: bool| {
        let path = [&prefix[..], path].concat();
        let below = |source: &Vec<u8>| is_below(&path, source);
        if sources.iter().any(below) {
            select.as_ref().map_or(Selection::Take, |select| select(&path, is_folder))
        } else if sources.iter().any(|source| *source == path || is_below(source, &path)) {
            Selection::Descend
        } else {
            Selection::Skip
        }
    })
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.len() > 1 && rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;

    #[test]
    fn a_limit_is_a_number_or_a_share() {
        assert_eq!(Limit::parse("20"), Ok(Limit::Number(20)));
        assert_eq!(Limit::parse("50%"), Ok(Limit::Percent(50)));
        for text in ["", "%", "101%", "-1", "x", "5 %"] {
            assert_eq!(Limit::parse(text).unwrap_err().code, Code::Usage, "{text}");
        }
        let tally = |deleted, existing| Tally { deleted, existing, ..Tally::default() };
        assert!(Limit::Percent(50).allows(&tally(5, 10)) && !Limit::Percent(50).allows(&tally(6, 10)));
        assert!(Limit::Percent(0).allows(&tally(0, 0)) && !Limit::Number(0).allows(&tally(1, 10)));
    }

    #[test]
    fn only_folders_that_were_backed_up_are_cleaned_up() {
        let whole =
            deletable(Vec::new(), vec![b"/srv/www".to_vec(), b"/etc".to_vec()], None, Unread::default());
        assert_eq!(whole(b"/home", true), Selection::Skip);
        assert_eq!(whole(b"/srv", true), Selection::Descend);
        assert_eq!(whole(b"/srv/other", true), Selection::Skip);
        assert_eq!(whole(b"/srv/www", true), Selection::Descend);
        assert_eq!(whole(b"/srv/www/extra", false), Selection::Take);
        assert_eq!(whole(b"/srv/wwwx", false), Selection::Skip);
        let part = deletable(b"/srv/www/a".to_vec(), vec![b"/srv/www".to_vec()], None, Unread::default());
        assert_eq!(part(b"/x/y", false), Selection::Take);
        let above = deletable(b"/srv".to_vec(), vec![b"/srv/www".to_vec()], None, Unread::default());
        assert_eq!((above(b"/x", false), above(b"/www/x", false)), (Selection::Skip, Selection::Take));
        let all = deletable(Vec::new(), vec![b"/".to_vec()], None, Unread::default());
        assert_eq!(all(b"/x", false), Selection::Take);
        let select: Selector =
            Arc::new(
                |path: &[u8], _| {
                    if path == b"/srv/www/kept" { Selection::Skip } else { Selection::Take }
                },
            );
        let chosen = deletable(b"/srv/www".to_vec(), vec![b"/srv".to_vec()], Some(select), Unread::default());
        assert_eq!((chosen(b"/kept", true), chosen(b"/other", true)), (Selection::Skip, Selection::Take));
    }

    #[test]
    fn what_was_not_read_is_not_deleted() {
        let unread = |paths: &[&str]| Unread(paths.iter().map(|path| path.as_bytes().to_vec()).collect());
        let sources = vec![b"/srv/www".to_vec()];
        let some = unread(&["/srv/www/file", "/srv/www/a/closed"]);
        let delete = deletable(b"/srv/www".to_vec(), sources.clone(), None, some);
        assert_eq!((delete(b"/file", false), delete(b"/file2", false)), (Selection::Skip, Selection::Take));
        assert_eq!((delete(b"/a", true), delete(b"/a/x", true)), (Selection::Descend, Selection::Take));
        assert_eq!(delete(b"/a/closed", true), Selection::Skip);
        assert_eq!(delete(b"/a/closed/deep/x", false), Selection::Skip);
        for all in ["/", "/srv", "/srv/www"] {
            let delete = deletable(b"/srv/www".to_vec(), sources.clone(), None, unread(&[all]));
            assert_eq!(delete(b"/x", false), Selection::Skip, "{all}");
        }
    }

    #[test]
    fn a_version_that_was_not_read_keeps_its_object() {
        assert_eq!(without_version(b"/a?version-id=b?version-id=3"), b"/a?version-id=b");
        assert_eq!(without_version(b"/a/b"), b"/a/b");
    }

    #[test]
    fn a_target_is_new_or_empty_or_somebody_says_how() {
        let dir = tempfile::tempdir().unwrap();
        let strict = FileTargetOptions::default();
        assert_eq!(refuse_full(dir.path(), &strict), Ok(()));
        assert_eq!(refuse_full(&dir.path().join("new/deep"), &strict), Ok(()));
        std::fs::write(dir.path().join("file"), b"x").unwrap();
        assert_eq!(refuse_full(dir.path(), &strict).unwrap_err().code, Code::Usage);
        let over = FileTargetOptions { overwrite: Some(Overwrite::Never), ..FileTargetOptions::default() };
        assert_eq!(refuse_full(dir.path(), &over), Ok(()));
        assert_eq!(refuse_full(&dir.path().join("file"), &over).unwrap_err().code, Code::Usage);
    }
}
