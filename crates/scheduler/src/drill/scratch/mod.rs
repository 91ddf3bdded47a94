//! Scratch: the folder that a drill restores into, and that is gone when it ends.
//!
//! What is restored is production's data: nobody else can enter the folder, a marker in it says whose
//! it is, and only what has such a marker is ever removed. On purpose not here: which places will do
//! ([`place`]), how trees are removed that resist it ([`remove`]), what was left behind ([`leaks`]).

mod leaks;
mod place;
mod remove;

pub use leaks::{Leak, leaks};
pub use place::{Foreseen, Needs, foresee};

use crate::policy;
use holdfast_engine::proof::{Cause, Finding};
use jiff::Timestamp;
use leaks::Marker;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Nobody but the user that drills may look in.
const MODE: u32 = 0o700;
/// The same, and the group of a server that was started may pass through.
const MODE_WITH_SERVER: u32 = 0o710;
/// Names of policies and sources are cut to so many bytes: the socket of a server needs a short path.
const NAME_BYTES_MAX: usize = 24;
/// So many digits of the drill's id are in the name of its folder.
const ID_DIGITS: usize = 12;
/// So many digits tell names apart that begin alike.
const HASH_DIGITS: usize = 6;
/// Before the name of each folder that a drill makes.
pub const PREFIX: &str = "drill-";

/// Whose scratch it is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The policy.
    pub policy: &'a str,
    /// The drill's id.
    pub id: &'a str,
    /// The host.
    pub host: &'a str,
    /// When it is made.
    pub now: Timestamp,
}

/// The folder of one drill.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    marker: Marker,
    folders: Vec<(String, PathBuf)>,
    notes: Vec<String>,
}

impl Scratch {
    /// Makes a folder of its own below `scratch.path`, or below `default_below` where none is stated.
    ///
    /// # Errors
    /// The place will not do, or there is too little room: a finding that says both numbers. It is
    /// always the environment's fault, never the backup's.
    pub async fn make(
        options: &policy::Scratch,
        default_below: &Path,
        owner: Owner<'_>,
        needs: Needs,
    ) -> Result<Self, Finding> {
        let (options, below) = (options.clone(), default_below.to_owned());
        let marker = Marker::new(owner);
        blocking(move || Self::make_now(&options, &below, marker, &needs)).await?
    }

    fn make_now(
        options: &policy::Scratch,
        default_below: &Path,
        marker: Marker,
        needs: &Needs,
    ) -> Result<Self, Finding> {
        let (below, notes) = place::fits(options, default_below, needs)?;
        let id: String = marker.id.chars().take(ID_DIGITS).collect();
        let path = below.join(format!("{PREFIX}{}-{id}", safe(&marker.policy)));
        let failed = |error: &io::Error| {
            let what = format!("scratch {} cannot be made: {error}", path.display());
            environment(what, "state another scratch.path, or let the user that drills write there")
        };
        private(&path).map_err(|error| failed(&error))?;
        let made = Self { path: path.clone(), marker, folders: Vec::new(), notes };
        if let Err(error) = made.marker.write(&path) {
            let _ = fs::remove_dir_all(&path);
            return Err(failed(&error));
        }
        Ok(made)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is worth knowing of the place, for the record.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// An empty folder for a source; the same one when it is asked for again.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&mut self, source: &str) -> Result<PathBuf, Finding> {
        if let Some((_, path)) = self.folders.iter().find(|(name, _)| name == source) {
            return Ok(path.clone());
        }
        let path = self.path.join(folder_name(source));
        private(&path).map_err(|error| {
            environment(format!("scratch {} cannot be made: {error}", path.display()), "see to that folder")
        })?;
        self.folders.push((source.to_owned(), path.clone()));
        Ok(path)
    }

    /// Removes everything and sees that it is gone; what became of it, in words for the record, and
    /// what is wrong if something is left.
    pub async fn remove(self) -> (Vec<String>, Option<Finding>) {
        let shown = self.path.display().to_string();
        let mut lines = vec![format!("{shown}: {}", guarded(&self.path, "could"))];
        lines.extend(self.notes);
        let path = self.path;
        let removed = match blocking(move || remove::tree(&path)).await {
            Ok(removed) => removed,
            Err(finding) => return (lines, Some(finding)),
        };
        lines.push(removed.in_words(&shown));
        let finding = removed.finding(&shown);
        (lines, finding)
    }

    /// Keeps it until a moment, for somebody to look into; says where and how, for the record.
    ///
    /// # Errors
    /// The marker cannot be written: then it would be taken for a leak.
    pub fn keep(mut self, until: Timestamp) -> Result<Vec<String>, Finding> {
        self.marker.keep_until = Some(until);
        let path = self.path.display();
        self.marker.write(&self.path).map_err(|error| {
            environment(
                format!("{path}: its marker cannot be written: {error}"),
                "remove that folder by hand",
            )
        })?;
        let mut lines = vec![
            format!(
                "{path}: kept until {until} because the drill failed; what was restored is in it, in one folder a source"
            ),
            format!("{path}: {}; the next drill after that time removes it", guarded(&self.path, "can")),
        ];
        lines.extend(self.notes);
        Ok(lines)
    }
}

/// Who could look in, by what the folder says now: where a server was started its group may pass through.
fn guarded(path: &Path, could: &str) -> String {
    let only = format!("only the user that drilled {could} look in");
    match fs::metadata(path).map(|found| (found.mode() & 0o777, found.gid())) {
        Ok((MODE, _)) => format!("{only} (mode 0700)"),
        Ok((mode, group)) if mode == MODE_WITH_SERVER => format!(
            "{only}, and the server that it started: the cluster was given to that user, and group {group} {could} \
             pass through this folder to it, not list it (mode 0710)"
        ),
        Ok((mode, group)) => {
            format!("it has the mode {mode:04o} and the group {group}: others may have looked in")
        }
        Err(error) => format!("nobody can tell who {could} look in: {error}"),
    }
}

/// A folder that nobody else can enter, whatever the process's mask.
fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(MODE).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

/// What the folder of a source is called: its own name, or the beginning of that and a hash where it is
/// too long or no name of a file. Whoever looks for what came of another source finds it so.
#[must_use]
pub fn folder_name(source: &str) -> String {
    let short = safe(source);
    if short == source {
        return short;
    }
    format!("{short}-{}", &blake3::hash(source.as_bytes()).to_hex()[..HASH_DIGITS])
}

/// A name that is one component of a path, and short.
fn safe(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let letters = name.chars().map(|letter| if plain(letter) { letter } else { '-' });
    letters.take(NAME_BYTES_MAX).collect()
}

/// A finding about the place where the drill runs.
pub(crate) fn environment(what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding { cause: Cause::Environment, what: what.into(), next: next.into() }
}

/// Does what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Finding> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| environment(format!("work on files was broken off: {error}"), "run it again"))
}

#[cfg(test)]
mod tests;
