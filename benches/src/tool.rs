//! The programs that are measured: how each is told to do the same thing.
//!
//! On purpose not here: what is measured, and in which order.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Holdfast,
    Restic,
    Borg,
}

/// A program to measure.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its name and version, as it states them.
    pub name_and_version: String,
    /// What its environment holds besides ours: the password.
    pub environment: Vec<(String, OsString)>,
    kind: Kind,
    program: PathBuf,
}

/// Where one program reads and writes.
#[derive(Debug, Clone)]
pub struct Place {
    /// What is backed up.
    pub tree: PathBuf,
    /// Its repository.
    pub repository: PathBuf,
    /// Where it restores to.
    pub target: PathBuf,
    cache: PathBuf,
}

impl Place {
    /// Gives a program its places below the folders of one run.
    #[must_use]
    pub fn new(tree: &Path, stores: &Path, run: &Path, tool: &Tool) -> Self {
        Self {
            tree: tree.to_owned(),
            repository: stores.join(tool.name),
            target: run.join(format!("{}-restored", tool.name)),
            cache: run.join(format!("{}-cache", tool.name)),
        }
    }
}

impl Tool {
    /// Finds ours and, where asked, the peers that are installed.
    ///
    /// # Errors
    /// Ours is not there.
    pub fn find(holdfast: Option<&Path>, peers: bool) -> Result<Vec<Self>, Box<dyn Error>> {
        let beside = std::env::current_exe()?.with_file_name("holdfast");
        let program = holdfast.map_or(beside, Path::to_owned);
        let ours = Self::new(Kind::Holdfast, "holdfast", &program).ok_or_else(|| {
            format!(
                "{} does not run: build it with `cargo build --release --bin holdfast`",
                program.display()
            )
        })?;
        let others = [(Kind::Restic, "restic"), (Kind::Borg, "borg")];
        let others = others.into_iter().filter_map(|(kind, name)| Self::new(kind, name, Path::new(name)));
        Ok(std::iter::once(ours).chain(others.filter(|_| peers)).collect())
    }

    fn new(kind: Kind, name: &'static str, program: &Path) -> Option<Self> {
        let argument = if kind == Kind::Borg { "--version" } else { "version" };
        let output =
            Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
        let said = String::from_utf8_lossy(&output.stdout);
        let words: Vec<_> = said.split_whitespace().take(2).map(|word| word.trim_end_matches(',')).collect();
        let name_and_version = words.join(" ");
        let password = |variable: &str| (variable.to_owned(), OsString::from("only a benchmark"));
        let environment = match kind {
            Kind::Holdfast => vec![password("HOLDFAST_PASSWORD")],
            Kind::Restic => vec![password("RESTIC_PASSWORD")],
            Kind::Borg => vec![password("BORG_PASSPHRASE")],
        };
        Some(Self { name, name_and_version, environment, kind, program: program.to_owned() })
    }

    /// The command that makes a repository.
    #[must_use]
    pub fn init(&self, place: &Place) -> Vec<OsString> {
        match self.kind {
            Kind::Holdfast => self.command(place, &["init"], &[]),
            Kind::Restic => self.command(place, &["init", "--repository-version", "2"], &[]),
            Kind::Borg => {
                self.command(place, &["init", "-e", "repokey-blake2"], &[place.repository.as_os_str()])
            }
        }
    }

    /// The command that backs the tree up, under a name where backups have names.
    #[must_use]
    pub fn backup(&self, place: &Place, name: &str) -> Vec<OsString> {
        let tree = place.tree.as_os_str();
        match self.kind {
            Kind::Holdfast | Kind::Restic => self.command(place, &["backup"], &[tree]),
            Kind::Borg => {
                self.command(place, &["create", "--compression", "zstd,3"], &[&archive(place, name), tree])
            }
        }
    }

    /// The command that restores the newest backup, which has that name, into the empty target.
    #[must_use]
    pub fn restore(&self, place: &Place, name: &str) -> Vec<OsString> {
        let target = place.target.as_os_str();
        match self.kind {
            Kind::Holdfast | Kind::Restic => {
                self.command(place, &["restore", "latest", "--target"], &[target])
            }
            // borg extracts into the folder that it is started in.
            Kind::Borg => {
                let script = ["sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh"].map(OsString::from);
                let archive = archive(place, name);
                let words = [target, self.program.as_os_str(), "extract".as_ref(), &archive];
                self.in_cache(place, script.into_iter().chain(words.map(OsString::from)))
            }
        }
    }

    /// The command that reads and verifies everything.
    #[must_use]
    pub fn check(&self, place: &Place) -> Vec<OsString> {
        match self.kind {
            Kind::Holdfast | Kind::Restic => self.command(place, &["check", "--read-data"], &[]),
            Kind::Borg => self.command(place, &["check", "--verify-data"], &[place.repository.as_os_str()]),
        }
    }

    /// Finds the tree in the target: below its whole path, or directly.
    ///
    /// # Errors
    /// It is not there.
    pub fn restored(&self, place: &Place) -> Result<PathBuf, Box<dyn Error>> {
        let below = place.target.join(place.tree.strip_prefix("/").unwrap_or(&place.tree));
        let name = place.tree.file_name().ok_or("a tree with a name")?;
        [below, place.target.join(name)]
            .into_iter()
            .find(|path| path.is_dir())
            .ok_or_else(|| format!("{} did not restore the tree", self.name).into())
    }

    fn command(&self, place: &Place, words: &[&str], paths: &[&std::ffi::OsStr]) -> Vec<OsString> {
        let mut command = vec![self.program.clone().into_os_string()];
        if self.kind != Kind::Borg {
            command.extend(["-r".into(), place.repository.clone().into_os_string()]);
        }
        command.extend(words.iter().map(OsString::from));
        command.extend(paths.iter().map(OsString::from));
        self.in_cache(place, command)
    }

    /// Each program keeps its cache with the run, not with the user.
    fn in_cache(&self, place: &Place, command: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let mut setting = OsString::from(match self.kind {
            Kind::Holdfast => "HOLDFAST_CACHE_DIR=",
            Kind::Restic => "RESTIC_CACHE_DIR=",
            Kind::Borg => "BORG_BASE_DIR=",
        });
        setting.push(&place.cache);
        ["env".into(), setting].into_iter().chain(command).collect()
    }
}

/// borg's way to say which backup of which repository.
fn archive(place: &Place, name: &str) -> OsString {
    let mut archive = place.repository.clone().into_os_string();
    archive.push("::");
    archive.push(name);
    archive
}
