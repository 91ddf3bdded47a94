//! How a restored server fetches its log: the line that it is told, and whether that line works.
//!
//! The server's user runs it, with the server's environment: what opens the repository has to lie in a
//! file that is named in it. Secrets are never in it. On purpose not here: fetching.

use super::Run;
use crate::fault::Fault;
use crate::ink::escape;
use crate::secrets::{self, Lasting};
use crate::settings::{self, variable};
use crate::wire_up::{Timeline, shell_line};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the trial puts what it fetches; servers call theirs RECOVERYXLOG.
const TRIAL: &str = "pg_wal/RECOVERYTRIAL";
/// Lines of what a failed trial says.
const LINES_SHOWN: usize = 6;

/// What the line asks for.
pub(super) struct Fetching<'a> {
    /// Which cluster.
    pub(super) system: u64,
    /// The server's own key, if it has one.
    pub(super) key_file: Option<&'a Path>,
    /// The timeline that a recovery goes along; none for a standby that follows the newest.
    pub(super) timeline: Option<Timeline>,
    /// For a standby.
    pub(super) standby: bool,
}

/// Makes the line. Refuses where the server could not open the repository by it.
pub(super) fn restore_command(run: &Run, fetching: &Fetching<'_>) -> Result<String, Fault> {
    let place = run.repository_place()?;
    let mut words: Vec<OsString> = vec![program()?.into(), "-r".into(), place.to_string().into()];
    match fetching.key_file {
        Some(path) => words.extend(["--key-file".into(), absolute(path)?.into()]),
        None => words.extend(secret_words(run)?),
    }
    if let Some(path) = &run.global.cacert {
        words.extend(["--cacert".into(), absolute(path)?.into()]);
    } else if let Some(path) = variable("AWS_CA_BUNDLE") {
        words.extend(["--cacert".into(), absolute(Path::new(&path))?.into()]);
    }
    if run.global.no_cache {
        words.push("--no-cache".into());
    }
    words.extend(["wal", "fetch"].map(OsString::from));
    words.extend(["--system".into(), OsString::from(fetching.system.to_string())]);
    if let Some(timeline) = fetching.timeline {
        words.extend(["--timeline".into(), OsString::from(timeline.to_string())]);
    }
    if fetching.standby {
        words.push("--standby".into());
    }
    let words = words.into_iter().map(|word| {
        word.into_string().map_err(|word| {
            let what = format!("{} cannot be written into the settings of a server", word.display());
            Fault::failed(what, "use paths of letters that are UTF-8")
        })
    });
    Ok(format!("{} \"%f\" \"%p\"", shell_line(&words.collect::<Result<Vec<_>, _>>()?)))
}

/// This program, as the server has to call it.
fn program() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|error| {
        Fault::failed("cannot tell where this program lies", "call it by its absolute path").because(&error)
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    Ok(settings::normalise(path, &settings::current_dir()?))
}

fn secret_words(run: &Run) -> Result<Vec<OsString>, Fault> {
    let (option, value) = match secrets::lasting(&run.global, &run.reach)? {
        Lasting::KeyFile(path) => ("--key-file", absolute(&path)?.into_os_string()),
        Lasting::PasswordFile(path) => ("--password-file", absolute(&path)?.into_os_string()),
        Lasting::PasswordCommand(command) => ("--password-command", command),
        Lasting::Passing(from) => {
            let what = format!(
                "the restored server has to fetch its log by itself, and could not open the repository: the password \
                 was given by {from}"
            );
            let hint = "give the server a key file that fetches the log alone (holdfast key add --role reader:wal) with \
                        --server-key-file; or name a file for all of it that its user may read: --key-file or \
                        --password-file (HOLDFAST_KEY_FILE, HOLDFAST_PASSWORD_FILE); or restore without the archive: \
                        --to immediate";
            return Err(Fault::usage(what, hint));
        }
    };
    Ok(vec![option.into(), value])
}

/// What a server that fetches with the key of the restore could do without.
pub(super) const WHOLE_KEY: &str = "the server fetches its log with the key of this restore, which opens every backup; \
                                    one that opens the log alone: holdfast key add --role reader:wal \
                                    --new-key-file FILE, then restore with --server-key-file FILE";

/// What the server needs beside the line, and may lack.
pub(super) fn needed(run: &Run) -> Result<Option<String>, Fault> {
    let place = run.repository_place()?.to_string();
    if !place.starts_with("s3://") || place.contains("profile=") || variable("AWS_ACCESS_KEY_ID").is_none() {
        return Ok(None);
    }
    Ok(Some(
        "the bucket is opened by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of this environment: the server needs them \
         in its own, or a profile that its user has (profile= in the URL)"
            .to_owned(),
    ))
}

/// Runs the line once as the server will: in its folder, as its user, with an empty environment (but
/// for keys of a bucket, where it was said to need them). It fetches a segment that the recovery asks for.
pub(super) fn tried(dir: &Path, line: &str, segment: &str, needs_keys: bool) -> Result<(), Fault> {
    let fault = |what: String| {
        let hint = "put that right, empty the target and restore again; global/pg_control is missing on purpose: the \
                    server does not start";
        Fault::failed(what, hint)
    };
    let line = line.replace("\"%f\"", segment).replace("\"%p\"", TRIAL).replace("%%", "%");
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(&line).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).env_clear();
    for name in KEPT.into_iter().filter(|name| needs_keys || !secrets::is_persons(OsStr::new(name))) {
        // What was handed over is in no environment, but in the server's it will be.
        if let Some(value) = secrets::value(name) {
            shell.env(name, OsStr::from_bytes(&value));
        }
    }
    if rustix::process::geteuid().is_root() {
        let owner = std::fs::metadata(dir)
            .map_err(|error| fault("cannot try the archive".to_owned()).because(&error))?;
        shell.uid(owner.uid()).gid(owner.gid());
    }
    let output =
        shell.output().map_err(|error| fault("cannot try the archive".to_owned()).because(&error))?;
    let removed = std::fs::remove_file(dir.join(TRIAL));
    if output.status.success() && removed.is_ok() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().take(LINES_SHOWN).map(|line| escape(line.as_bytes())).collect();
    let what = format!(
        "the server could not fetch its log: {} from {segment} ended with {}",
        program()?.display(),
        output.status
    );
    Err(Fault { why: said, ..fault(what) })
}

/// What a program needs to run at all, and what opens a bucket.
const KEPT: [&str; 8] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_EC2_METADATA_DISABLED",
    "HTTPS_PROXY",
    "NO_PROXY",
];
