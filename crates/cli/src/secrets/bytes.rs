//! Reads secrets: from files, from what programs print, from a person. What held one is wiped.
//!
//! On purpose not here: where they are to come from.

use crate::fault::{Code, Fault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Bytes that are wiped when they are dropped.
pub(crate) type Bytes = Zeroizing<Vec<u8>>;

/// Nobody types more than this; a larger file is the wrong one.
const SECRET_BYTES_MAX: usize = 1 << 20;
/// So long may a program take to print one: everything else waits for it.
const PRINTED_WITHIN: Duration = Duration::from_secs(60);
/// What most secrets fit in.
const USUAL_BYTES: usize = 4096;

/// Files with secrets that everybody on this host can read, and that were read.
static OPEN_TO_ALL: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Files with secrets that were read since this was asked last, and that everybody can read. It is told where a
/// person sits, who can mend it; platforms mount secrets so where nobody else is.
pub(crate) fn open_to_all() -> BTreeSet<PathBuf> {
    std::mem::take(&mut *OPEN_TO_ALL.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Reads a file with a secret, as it is. Of a pipe that says nothing nobody is waited for who is not there.
pub(crate) fn file(path: &Path, what: &str) -> Result<Bytes, Fault> {
    file_within(path, what, patience(io::stderr().is_terminal()))
}

fn file_within(path: &Path, what: &str, within: Option<Duration>) -> Result<Bytes, Fault> {
    let fault = |error: io::Error| {
        Fault::usage(
            format!("cannot read the {what} {}", path.display()),
            "check its name and its permissions",
        )
        .because(&error)
    };
    // Without a writer a pipe opens only so; it is waited for below.
    let open =
        || OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let (file, about) = open().and_then(|file| file.metadata().map(|about| (file, about))).map_err(fault)?;
    if about.is_file() && about.mode() & 0o004 != 0 {
        OPEN_TO_ALL.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    }
    let read = Patient { file, until: within.map(|within| Instant::now() + within) };
    let bytes = bounded(read).map_err(fault)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(Fault::usage(
            format!("the {what} {} is too large", path.display()),
            "is it the right file?",
        ));
    }
    Ok(bytes)
}

/// Reads what may not be there yet, until the time is over.
struct Patient {
    file: File,
    until: Option<Instant>,
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], left.as_ref())? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody wrote into it in time")),
            _ => self.file.read(buffer),
        }
    }
}

/// Reads to the end, or a bit more than a secret may have. What grows is wiped where it was.
pub(super) fn bounded(mut from: impl Read) -> io::Result<Bytes> {
    let mut bytes = Zeroizing::new(vec![0; USUAL_BYTES]);
    let mut length = 0;
    while length <= SECRET_BYTES_MAX {
        if length == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; bytes.len() * 2]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
        match from.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Where systemd put a credential.
pub(crate) fn credential(
    name: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, (String, String)> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err((format!("`{name}` is no name of a credential"), String::new()));
    }
    let Some(folder) = variable("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) else {
        return Err((
            format!("there is no credential `{name}`: CREDENTIALS_DIRECTORY is not set"),
            format!("systemd sets it for a service with LoadCredential={name}:FILE"),
        ));
    };
    let path = Path::new(&folder).join(name);
    match path.exists() {
        true => Ok(path),
        false => Err((
            format!("there is no credential `{name}` in {}", Path::new(&folder).display()),
            format!("add LoadCredential={name}:FILE to the service"),
        )),
    }
}

/// Runs a command with a shell; its standard input is the terminal or nothing, never the data of a backup.
pub(super) fn of_shell(command: &OsStr) -> Result<Bytes, Fault> {
    let stdin = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(stdin);
    // What it prints may be the secret; its text may be one too: neither is repeated.
    said_by(shell, patience(io::stdin().is_terminal() || io::stderr().is_terminal()), || {
        Fault::failed("the password command failed", "run it yourself to see what it prints")
    })
}

/// Runs a program without a shell, and takes what it prints. Neither its words nor what it prints is repeated.
/// It does not find the variables that are `hidden`.
pub(crate) fn printed<'a>(
    words: &[String],
    hidden: impl IntoIterator<Item = &'a OsString>,
) -> Result<Bytes, Fault> {
    let fault = || Fault::failed("the command for it failed", "run it yourself to see what it prints");
    let (program, arguments) = words.split_first().ok_or_else(fault)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    hidden.into_iter().for_each(|name| _ = command.env_remove(name));
    said_by(command, patience(io::stderr().is_terminal()), fault)
}

/// Where a person sits she may be asked something, takes her time, and can end it; where nobody does, what hangs
/// is ended.
const fn patience(is_attended: bool) -> Option<Duration> {
    if is_attended { None } else { Some(PRINTED_WITHIN) }
}

/// Kills a program that takes too long, with all of its group.
struct Watch {
    over: Arc<(Mutex<bool>, Condvar)>,
    killer: JoinHandle<bool>,
}

impl Watch {
    fn begin(child: &Child, within: Duration) -> Self {
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let (waits, group) = (Arc::clone(&over), Pid::from_child(child));
        let killer = std::thread::spawn(move || {
            let (is_over, rings) = &*waits;
            let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = rings.wait_timeout_while(is_over, within, |over| !*over);
            let (_is_over, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            // It is not waited for before this thread ends, so its number is still its own.
            waited.timed_out() && kill_process_group(group, Signal::KILL).is_ok()
        });
        Self { over, killer }
    }

    /// It said all; whether it was killed.
    fn end(self) -> bool {
        let (is_over, rings) = &*self.over;
        *is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        rings.notify_all();
        self.killer.join().unwrap_or(false)
    }
}

fn said_by(
    mut command: Command,
    within: Option<Duration>,
    fault: impl Fn() -> Fault,
) -> Result<Bytes, Fault> {
    super::keep_from(&mut command);
    if within.is_some() {
        // With what it starts: that would keep the pipe open.
        command.process_group(0);
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut child = child.map_err(|error| fault().because(&error))?;
    let mut was_killed = false;
    let watch = within.map(|within| Watch::begin(&child, within));
    let said = child.stdout.take().map(bounded).transpose();
    if let Some(watch) = watch {
        // Also one that has said all may go on; its number stays its own until it is waited for below.
        let gone = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&child)), gone)
            .map_err(|error| fault().because(&io::Error::from(error)))?;
        was_killed = watch.end();
    }
    if was_killed {
        child.wait().map_err(|error| fault().because(&error))?;
        return Err(Fault { why: vec!["it did not end in time, and was killed".to_owned()], ..fault() });
    }
    // Its end of the pipe is closed: a program that says too much does not wait for us.
    let status = child.wait().map_err(|error| fault().because(&error))?;
    let said = said.map_err(|error| fault().because(&error))?.unwrap_or_default();
    match (status.success(), said.len() > SECRET_BYTES_MAX) {
        (true, false) => Ok(said),
        (true, true) => Err(Fault { why: vec!["it printed too much".to_owned()], ..fault() }),
        (false, _) => Err(Fault { why: vec![status.to_string()], ..fault() }),
    }
}

/// Asks a person; nobody sees what is typed.
pub(super) fn prompt(text: &str, hint: &str) -> Result<Bytes, Fault> {
    if !io::stderr().is_terminal() || File::open("/dev/tty").is_err() {
        return Err(Fault::usage("no password given, and nobody to ask", hint));
    }
    let typed = rpassword::prompt_password(text).map_err(|error| match error.kind() {
        // Once signals are ours they do not end the program, but what waits for input.
        io::ErrorKind::Interrupted => Fault::new(Code::Interrupted, "interrupted", "nothing was changed"),
        _ => Fault::usage("cannot ask for the password", hint).because(&error),
    });
    typed.map(|typed| Zeroizing::new(typed.into_bytes()))
}

/// Asks twice.
pub(super) fn prompt_twice(text: &str, hint: &str) -> Result<Bytes, Fault> {
    let password = prompt(text, hint)?;
    match prompt("The same again: ", hint)? == password {
        true => Ok(password),
        false => Err(Fault::usage("the two passwords differ", "try again; nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_read_to_its_end_and_not_without_one() {
        for length in [0, 1, USUAL_BYTES, USUAL_BYTES + 1, 3 * USUAL_BYTES] {
            let bytes = vec![7; length];
            assert_eq!(*bounded(bytes.as_slice()).unwrap(), bytes);
        }
        let endless = bounded(io::repeat(7)).unwrap();
        assert!(endless.len() > SECRET_BYTES_MAX && endless.len() <= 2 * SECRET_BYTES_MAX);
        let words = ["sh", "-c", "yes"].map(str::to_owned);
        assert!(printed(&words, []).is_err(), "it ends of the pipe that is closed");
    }

    #[test]
    fn nobody_is_waited_for_at_a_pipe_into_which_nobody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let silent = file_within(&path, "password file", Some(Duration::from_millis(50))).unwrap_err();
        assert!(silent.to_string().contains("cannot read the password file"), "{silent}");
        let late = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(late, "a secret").unwrap());
        assert_eq!(**file_within(&path, "password file", None).unwrap(), *b"a secret");
        writer.join().unwrap();
    }

    #[test]
    fn who_else_can_read_a_file_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, "a secret").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            file(&path, "key file").unwrap();
            path
        };
        let (_own, _group, all) = (written("own", 0o600), written("group", 0o640), written("all", 0o644));
        let here = || -> Vec<_> {
            open_to_all().into_iter().filter(|path| path.starts_with(folder.path())).collect()
        };
        assert_eq!((here(), here()), (vec![all], vec![]));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_what_it_started() {
        let fault = || Fault::failed("x", "y");
        let of = |text: &str, within: u64| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            said_by(command, Some(Duration::from_millis(within)), fault)
        };
        assert_eq!(*of("echo a", 60_000).unwrap(), *b"a\n");
        let begun = Instant::now();
        let silent = of("exec >&-; sleep 600", 50).unwrap_err();
        assert!(silent.to_string().contains("in time"), "{silent}");
        let hangs = of("sleep 600 & sleep 600", 50).unwrap_err();
        assert!(
            hangs.to_string().contains("in time") && begun.elapsed() < Duration::from_secs(60),
            "{hangs}"
        );
    }

    #[test]
    fn a_credential_has_a_plain_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop"), "x").unwrap();
        let of = |name: &str| credential(name, |_| Some(folder.path().into()));
        assert_eq!(of("shop").unwrap(), folder.path().join("shop"));
        assert!(of("../shop").is_err() && of("").is_err() && of("..").is_err());
        assert!(of("other").unwrap_err().1.contains("LoadCredential=other"));
        assert!(credential("shop", |_| None).unwrap_err().0.contains("CREDENTIALS_DIRECTORY"));
    }
}
