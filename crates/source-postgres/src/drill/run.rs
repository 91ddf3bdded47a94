//! A program that runs for a drill: its end, and what it said. It is stopped with the drill, or when
//! it takes too long.
//!
//! On purpose not here: which programs, and where they run.

use super::server::pause;
use holdfast_engine::ctx::Cancel;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// So much of what a program says is read.
const SAID_BYTES: u64 = 1 << 20;
/// So often it is looked whether one has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ran {
    /// Its exit code; none where it was killed.
    pub code: Option<i32>,
    /// It took too long, or the drill was stopped.
    pub stopped: bool,
    /// What it wrote to its output, where that was asked for.
    pub out: String,
    /// What it wrote to its error stream.
    pub err: String,
}

impl Ran {
    pub(super) fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Why it failed, in one line: what its last lines say.
    pub(super) fn why(&self) -> String {
        let said: Vec<&str> = self.err.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match (said.last_chunk::<3>(), said.is_empty()) {
            _ if self.stopped => "it took too long".to_owned(),
            (Some(last), _) => last.join("; "),
            (None, false) => said.join("; "),
            (None, true) => match self.code {
                Some(code) => format!("it ended with {code} and said nothing"),
                None => "it was killed".to_owned(),
            },
        }
    }
}

/// Runs a program to its end; what it says goes through files without a name in `work`.
pub(super) fn run(
    mut command: Command,
    work: &Path,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<Ran> {
    let (out, err) = (tempfile::tempfile_in(work)?, tempfile::tempfile_in(work)?);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    wait(command, limit, cancel, out, err)
}

/// The same, with something to read.
pub(super) fn run_with(
    mut command: Command,
    input: &str,
    work: &Path,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<Ran> {
    let (mut given, out) = (tempfile::tempfile_in(work)?, tempfile::tempfile_in(work)?);
    let err = tempfile::tempfile_in(work)?;
    given.write_all(input.as_bytes())?;
    given.seek(SeekFrom::Start(0))?;
    command.stdin(given).stdout(out.try_clone()?).stderr(err.try_clone()?);
    wait(command, limit, cancel, out, err)
}

/// The same, without reading its output.
pub(super) fn run_to_nowhere(
    mut command: Command,
    work: &Path,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<Ran> {
    let err = tempfile::tempfile_in(work)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(err.try_clone()?);
    wait(command, limit, cancel, tempfile::tempfile_in(work)?, err)
}

fn wait(
    mut command: Command,
    limit: Option<Duration>,
    cancel: &Cancel,
    out: File,
    err: File,
) -> io::Result<Ran> {
    let mut child = command.spawn()?;
    let mut waited = Duration::ZERO;
    let mut ran = Ran::default();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if cancel.is_raised() || limit.is_some_and(|limit| waited > limit) {
            ran.stopped = true;
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            break child.wait()?;
        }
        pause(LOOK_EVERY);
        waited += LOOK_EVERY;
    };
    ran.code = status.code();
    (ran.out, ran.err) = (read(out)?, read(err)?);
    Ok(ran)
}

fn read(mut file: File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(SAID_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn shell(text: &str, limit: Option<Duration>) -> Ran {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        run(command, &std::env::temp_dir(), limit, &Cancel::default()).unwrap()
    }

    #[test]
    fn a_program_is_heard_to_its_end() {
        let ran = shell("echo out; echo one >&2; echo two >&2; exit 3", None);
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), "out\n"));
        assert_eq!(ran.why(), "one; two");
        assert_eq!(shell("exit 4", None).why(), "it ended with 4 and said nothing");
        assert!(shell("true", None).is_ok());
    }

    #[test]
    fn one_that_takes_too_long_is_stopped() {
        let ran = shell("exec sleep 60", Some(Duration::from_millis(40)));
        assert!(ran.stopped && !ran.is_ok() && ran.why() == "it took too long");
    }
}
