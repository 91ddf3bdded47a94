//! What `run` and `drill` have in common: the policy with its paths made absolute, what is remembered
//! between runs, and what a drill has to know of this host.
//!
//! On purpose not here: carrying a policy out.

use crate::args::{Global, Remembering};
use crate::commands::policy::clusters::running;
use crate::commands::{Run, read_policy};
use crate::fault::Fault;
use crate::secrets;
use crate::settings::{current_dir, normalise, refuse_password, variable};
use crate::wire_up::Host;
use holdfast_scheduler::catalog::{Catalog, Place};
use holdfast_scheduler::drill::conduct::Surroundings;
use holdfast_scheduler::policy::Policy;
use jiff::Timestamp;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A policy that is to be carried out.
pub(crate) struct Conducting {
    pub(crate) policy: Policy,
    /// BLAKE3 of its file.
    pub(crate) hash: String,
    /// Its file.
    pub(crate) file: PathBuf,
    pub(crate) catalog: Option<Catalog>,
}

impl Conducting {
    /// Reads a policy, and opens what is remembered. Without a memory everything is done all the same.
    pub(crate) async fn new(run: &Run, file: &Path, remembering: &Remembering) -> Result<Self, Fault> {
        refuse_repository(&run.global)?;
        let (mut policy, text) = read_policy(run, file)?;
        let file = normalise(file, &current_dir()?);
        let folder = file.parent().unwrap_or(Path::new("/"));
        policy.settle(folder, variable("HOME").as_deref().map(Path::new));
        let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
        let catalog = open_catalog(run, remembering).await?;
        Ok(Self { policy, hash, file, catalog })
    }

    /// Remembers that there is this policy.
    pub(crate) async fn remember(&self, run: &Run, now: Timestamp) {
        let Some(catalog) = &self.catalog else { return };
        let file = self.file.display().to_string();
        if let Err(error) = catalog.remember_policy(&self.policy.name, &file, &self.hash, now).await {
            run.ink.warn(&format!("the catalog does not remember the policy: {error}"));
        }
    }

    /// What a drill has to know of this host.
    pub(crate) fn here(&self, run: &Run, remembering: &Remembering) -> Surroundings {
        let below = run.ctx.cache.as_ref().map(|cache| cache.join("scratch"));
        Surroundings {
            policy_hash: self.hash.clone(),
            user: user(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            scratch_below: below.unwrap_or_else(|| std::env::temp_dir().join("holdfast-scratch")),
            evidence: remembering.evidence.clone(),
            data_directories: running().into_iter().filter_map(|running| running.folder).collect(),
        }
    }
}

/// A policy names its repositories; one from elsewhere would be passed over in silence.
pub(crate) fn refuse_repository(global: &Global) -> Result<(), Fault> {
    let Global { repo, repository_file, password_file, password_command, key_file, .. } = global;
    let Global { password_credential, password_vault, key_credential, key_vault, key_transit, .. } = global;
    let stated = [
        (repo.is_some(), "--repo"),
        (repository_file.is_some(), "--repository-file"),
        (password_file.is_some(), "--password-file"),
        (password_command.is_some(), "--password-command"),
        (password_credential.is_some(), "--password-credential"),
        (password_vault.is_some(), "--password-vault"),
        (key_file.is_some(), "--key-file"),
        (key_credential.is_some(), "--key-credential"),
        (key_vault.is_some(), "--key-vault"),
        (key_transit.is_some(), "--key-transit"),
    ];
    match stated.into_iter().find(|(stated, _)| *stated) {
        Some((_, name)) => {
            let what =
                format!("{name} has no meaning here: the policy names its repository and what opens it");
            Err(Fault::usage(what, "leave it out, or change `repository` in the policy"))
        }
        None => Ok(()),
    }
}

/// Where is remembered what was done: as stated, or in this user's state folder.
pub(crate) fn catalog_place(stated: Option<&OsStr>) -> Result<Option<Place>, Fault> {
    let stated = stated.map(OsStr::to_owned).or_else(|| variable("HOLDFAST_CATALOG"));
    if let Some(text) = stated {
        return stated_place(&text).map(Some);
    }
    let xdg = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || variable("HOME").map(|home| Path::new(&home).join(".local/state"));
    Ok(xdg.or_else(home).map(|folder| Place::File(folder.join("holdfast/catalog.sqlite"))))
}

/// A file, or a server with what lets us in.
fn stated_place(text: &OsStr) -> Result<Place, Fault> {
    refuse_password(text)?;
    let user = ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.and_then(|user| user.into_string().ok()).unwrap_or_default();
    let place = match text.to_str() {
        Some(text) => Place::parse(text, &user).map_err(|error| {
            let hint = "name a file, or a database that hosts share: --catalog postgres://USER@HOST/DATABASE";
            Fault::usage("the catalog cannot be used", hint).because(&error)
        })?,
        None => Place::File(text.into()),
    };
    match &place {
        Place::File(path) => Ok(Place::File(normalise(path, &current_dir()?))),
        Place::Server(server) => {
            let host = Host { name: server.host.clone(), port: server.port };
            let found = secrets::of_server()?.password_for(&host, &server.database, &server.user);
            let password =
                found.map(|found| String::from_utf8(found.to_vec())).transpose().map_err(|_| {
                    Fault::usage(
                        "the password of the catalog's server is no text",
                        "give it one that is UTF-8",
                    )
                })?;
            Ok(place.with_password(password))
        }
    }
}

/// Opens what is remembered. One that cannot be opened is told, and stops nothing; a wrong name does.
pub(crate) async fn open_catalog(run: &Run, remembering: &Remembering) -> Result<Option<Catalog>, Fault> {
    let Some(place) = catalog_place(remembering.catalog.as_deref())? else { return Ok(None) };
    match Catalog::open(&place).await {
        Ok(catalog) => Ok(Some(catalog)),
        Err(error) => {
            run.ink.warn(&format!("it goes on without a memory of earlier runs: {error}"));
            Ok(None)
        }
    }
}

/// Who runs this, by name where one is known.
pub(crate) fn user() -> String {
    let number = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| number.to_string())
}
