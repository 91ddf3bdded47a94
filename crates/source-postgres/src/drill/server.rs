//! The server of a drill: our own child, which ends with us whatever happens.
//!
//! It is started and waited for by one thread, because the system ends it when that thread is gone. On
//! purpose not here: what it is told, and what is asked of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

/// So often it is looked whether it has ended, or shall.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So long it may take to end by itself before it is killed.
const ENDING: Duration = Duration::from_secs(300);
/// So much of its log is read: the end of it, and the beginning.
const LOG_BYTES: usize = 4 << 20;

/// What a server is asked to do.
const RUN: u8 = 0;
const STOP: u8 = 1;
const QUIT: u8 = 2;

/// A server that runs until this is dropped.
pub(super) struct Running {
    wish: Arc<AtomicU8>,
    task: Option<JoinHandle<io::Result<ExitStatus>>>,
    log: PathBuf,
}

impl Running {
    /// Starts it. What it says goes to a file.
    pub(super) fn start(mut command: Command, log: PathBuf) -> io::Result<Self> {
        let said = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let wish = Arc::new(AtomicU8::new(RUN));
        let asked = Arc::clone(&wish);
        let task = tokio::task::spawn_blocking(move || attend(command.spawn()?, &asked));
        Ok(Self { wish, task: Some(task), log })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it in order, so that its files are whole; whether they are.
    pub(super) async fn stop(&mut self) -> io::Result<bool> {
        self.end(STOP).await.map(|status| status.is_some_and(|status| status.success()))
    }

    /// Ends it at once.
    pub(super) async fn quit(&mut self) -> io::Result<()> {
        self.end(QUIT).await.map(drop)
    }

    async fn end(&mut self, wish: u8) -> io::Result<Option<ExitStatus>> {
        self.wish.store(wish, Ordering::Relaxed);
        let Some(task) = self.task.take() else { return Ok(None) };
        task.await.map_err(io::Error::other)?.map(Some)
    }

    /// What it has said.
    pub(super) fn said(&self) -> String {
        read(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wish.store(QUIT, Ordering::Relaxed);
    }
}

fn read(log: &Path) -> io::Result<String> {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    if text.len() <= 2 * LOG_BYTES {
        return Ok(text);
    }
    let at = |wanted: usize| (wanted..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    Ok([&text[..at(LOG_BYTES)], "\n", &text[at(text.len() - LOG_BYTES)..]].concat())
}

/// Waits for its end, and brings it about when that is wished.
fn attend(mut child: Child, wish: &AtomicU8) -> io::Result<ExitStatus> {
    let (mut told, mut waited) = (RUN, Duration::ZERO);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let wished = wish.load(Ordering::Relaxed);
        if wished > told {
            let signal = if wished == STOP { Signal::INT } else { Signal::QUIT };
            // It may have ended meanwhile.
            let _ = kill_process(Pid::from_child(&child), signal);
            told = wished;
        }
        if told != RUN {
            waited += LOOK_EVERY;
        }
        if waited > ENDING {
            child.kill()?;
        }
        pause(LOOK_EVERY);
    }
}

/// Lets time pass in a thread that may wait.
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn shell(text: &str, dir: &Path) -> Running {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        Running::start(command, dir.join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_server_ends_when_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let text = "trap 'exit 0' INT; trap 'exit 7' QUIT; echo ready; while :; do sleep 0.02; done";
        for (stops, ends_well) in [(true, true), (false, false)] {
            let mut running = shell(text, dir.path());
            while !running.said().contains("ready") {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            assert!(!running.has_ended());
            match stops {
                true => assert_eq!(running.stop().await.unwrap(), ends_well),
                false => running.quit().await.unwrap(),
            }
            assert!(running.has_ended());
        }
    }

    #[tokio::test]
    async fn one_that_is_dropped_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let running = shell(&format!("echo $$ > {}; exec sleep 600", pid.display()), dir.path());
        let number = || {
            fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw)
        };
        while number().is_none() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(running);
        let number = number().unwrap();
        while rustix::process::test_kill_process(number).is_ok() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
