//! A child: started in a process group of its own, heard line by line, stopped in time.
//!
//! What it says is kept up to a bound, and what it says beyond is read and dropped, so that it never
//! waits for us. On purpose not here: its environment, what it is handed, and what its lines mean.

use crate::engine::Cancel;
use crate::ink::escape;
use crate::secrets::handed::hand_over;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A longer line is cut.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// How often is looked whether it is time to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What still holds its streams when it is gone is not waited for longer than this.
const LINGER: Duration = Duration::from_secs(1);

/// From which stream a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// How a child is kept.
pub(super) struct Rules<'a> {
    /// When it is stopped.
    pub(super) timeout: Option<Duration>,
    /// Says that it is to stop.
    pub(super) cancel: &'a Cancel,
    /// Whether it sees to its own children when it is asked to stop: else all of its group are asked.
    pub(super) minds_its_own: bool,
    /// So long may it take to stop.
    pub(super) grace: Duration,
    /// What it is handed first, by its standard input.
    pub(super) hand: &'a [u8],
    /// What is all of its standard input, which ends there: it is on no leash then.
    pub(super) feed: Option<&'a [u8]>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) status: ExitStatus,
    pub(super) timed_out: bool,
    pub(super) stopped: bool,
    pub(super) seconds: f64,
}

impl End {
    /// What a shell would say of it.
    pub(super) fn code(&self) -> i32 {
        match self.status.code() {
            _ if self.stopped && !self.timed_out => 130,
            Some(code) => code,
            None => 1,
        }
    }

    /// In words, where it was killed.
    pub(super) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

/// Runs a command to its end; each line is handed on.
pub(super) fn run(
    command: &mut Command,
    rules: &Rules<'_>,
    mut hear: impl FnMut(Stream, Vec<u8>),
) -> io::Result<End> {
    let begun = Instant::now();
    let mut child = command.process_group(0).spawn()?;
    // Held until the end: whoever is on a leash notices when it is gone.
    let leash = match rules.feed {
        Some(all) => feed(&mut child, all.to_vec())?,
        None => child.stdin.take(),
    };
    let lines = listen(&mut child)?;
    leash.iter().for_each(|leash| hand_over(rules.hand, leash));
    let mut stop = Stop { rules, begun, asked: None, timed_out: false, killed: false };
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok((stream, line)) => hear(stream, line),
            Err(RecvTimeoutError::Timeout) if has_ended(&child) => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        stop.look(&child);
    }
    wait(&child, &mut stop);
    let gone = Instant::now();
    while let Ok((stream, line)) = lines.recv_timeout(LINGER.saturating_sub(gone.elapsed())) {
        hear(stream, line);
    }
    stop.sweep(&child);
    let status = child.wait()?;
    drop(leash);
    let (timed_out, stopped) = (stop.timed_out, stop.asked.is_some());
    Ok(End { status, timed_out, stopped, seconds: begun.elapsed().as_secs_f64() })
}

/// Gives it its standard input, on a thread: it need not read it, and is not waited for.
fn feed(child: &mut Child, all: Vec<u8>) -> io::Result<Option<ChildStdin>> {
    if let Some(mut to) = child.stdin.take() {
        // Whoever ends without having read all had no use for it.
        let work = move || drop(to.write_all(&all));
        std::thread::Builder::new().name("feed".into()).spawn(work)?;
    }
    Ok(None)
}

/// Waits until it has ended, and leaves it there to be waited for: its number stays its own.
fn wait(child: &Child, stop: &mut Stop<'_>) {
    let mut pause = Duration::from_micros(500);
    while !has_ended(child) {
        stop.look(child);
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK_EVERY);
    }
}

fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // What cannot be asked for is not there.
    !matches!(waitid(WaitId::Pid(Pid::from_child(child)), options), Ok(None))
}

fn listen(child: &mut Child) -> io::Result<Receiver<(Stream, Vec<u8>)>> {
    let (sender, receiver) = sync_channel(256);
    let streams: [(Stream, Option<Box<dyn Read + Send>>); 2] = [
        (Stream::Out, child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>)),
        (Stream::Err, child.stderr.take().map(|err| Box::new(err) as Box<dyn Read + Send>)),
    ];
    for (stream, from) in streams {
        let Some(from) = from else { continue };
        let sender = sender.clone();
        std::thread::Builder::new().name("ear".into()).spawn(move || read(stream, from, &sender))?;
    }
    Ok(receiver)
}

/// Reads lines until there are no more, or nobody listens.
fn read(stream: Stream, from: impl Read, to: &SyncSender<(Stream, Vec<u8>)>) {
    let mut from = BufReader::with_capacity(64 << 10, from);
    loop {
        let mut line = Vec::new();
        match from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if to.send((stream, line)).is_err() {
            return;
        }
    }
}

/// When it is stopped, and how far that is.
struct Stop<'a> {
    rules: &'a Rules<'a>,
    begun: Instant,
    asked: Option<Instant>,
    timed_out: bool,
    killed: bool,
}

impl Stop<'_> {
    /// Asks it to stop if it is time, and ends it if it does not.
    fn look(&mut self, child: &Child) {
        let late = self.rules.timeout.is_some_and(|timeout| self.begun.elapsed() >= timeout);
        match self.asked {
            None if late || self.rules.cancel.is_raised() => {
                self.timed_out = late;
                self.asked = Some(Instant::now());
                self.ask(child);
            }
            Some(asked) if !self.killed && asked.elapsed() >= self.rules.grace => {
                self.killed = true;
                // Whoever is gone cannot be killed.
                let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            }
            _ => {}
        }
    }

    fn ask(&self, child: &Child) {
        let pid = Pid::from_child(child);
        let asked = match self.rules.minds_its_own {
            true => kill_process(pid, Signal::TERM),
            false => kill_process_group(pid, Signal::TERM),
        };
        // Whoever is gone need not be asked.
        let _ = asked;
    }

    /// Leaves nobody of its group behind, if it was stopped. It has ended, but is still there to be
    /// waited for, so the group is its own.
    fn sweep(&self, child: &Child) {
        if self.asked.is_some() {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        }
    }
}

/// The first and the last things of many.
#[derive(Debug)]
pub(super) struct Kept<T> {
    first: Vec<T>,
    last: VecDeque<T>,
    first_max: usize,
    last_max: usize,
    /// How many were dropped between the two.
    pub(super) dropped: u64,
}

impl<T> Kept<T> {
    pub(super) const fn new(first_max: usize, last_max: usize) -> Self {
        Self { first: Vec::new(), last: VecDeque::new(), first_max, last_max, dropped: 0 }
    }

    pub(super) fn push(&mut self, one: T) {
        if self.first.len() < self.first_max {
            return self.first.push(one);
        }
        self.last.push_back(one);
        if self.last.len() > self.last_max {
            self.last.pop_front();
            self.dropped += 1;
        }
    }

    pub(super) fn into_vec(mut self) -> Vec<T> {
        self.first.extend(self.last);
        self.first
    }
}

/// The end of what somebody said, a few lines, safe to show.
pub(super) fn told(lines: &[Vec<u8>]) -> String {
    const LETTERS_MAX: usize = 500;
    let shown = lines.iter().map(|line| escape(line).chars().take(LETTERS_MAX).collect::<String>());
    shown.filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::process::Stdio;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn rules<'a>(cancel: &'a Cancel, timeout: Option<Duration>) -> Rules<'a> {
        Rules {
            timeout,
            cancel,
            minds_its_own: false,
            grace: Duration::from_millis(200),
            hand: &[],
            feed: None,
        }
    }

    fn heard(text: &str, timeout: Option<Duration>) -> (End, Vec<String>, Vec<String>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let end = run(&mut shell(text), &rules(&Cancel::default(), timeout), |stream, line| {
            let line = String::from_utf8(line).unwrap();
            if stream == Stream::Out { out.push(line) } else { err.push(line) }
        });
        (end.unwrap(), out, err)
    }

    #[test]
    fn both_streams_are_heard_to_their_ends() {
        let (end, out, err) = heard("seq 1 20000; seq 1 20000 >&2; printf last; exit 7", None);
        assert_eq!((end.code(), end.timed_out, out.len(), err.len()), (7, false, 20_001, 20_000));
        assert_eq!(out.last().unwrap(), "last");
    }

    #[test]
    fn what_takes_too_long_is_stopped_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pid");
        // The child of the child does not heed the signal.
        let text = format!("(trap '' TERM; echo $$ > {0}; sleep 600) & sleep 600", mark.display());
        let (end, ..) = heard(&text, Some(Duration::from_millis(300)));
        assert!(end.timed_out && end.seconds < 60.0, "{end:?}");
        let group = std::fs::read_to_string(&mark).unwrap();
        let is_alive = || {
            std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
                let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
                let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned()).unwrap_or_default();
                let mut fields = fields.split(' ');
                fields.next() != Some("Z") && fields.nth(1) == Some(group.trim())
            })
        };
        // Who was killed may take a moment to be gone.
        let begun = Instant::now();
        while is_alive() {
            assert!(begun.elapsed() < Duration::from_secs(30), "somebody of group {group} is left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_to_stop_is_asked_first() {
        let cancel = Cancel::default();
        cancel.raise();
        let mut out = Vec::new();
        let mut command = shell("trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
        let patient = Rules { grace: Duration::from_secs(30), ..rules(&cancel, None) };
        let end = run(&mut command, &patient, |_, line| out.push(line)).unwrap();
        // It may be asked before it can hear.
        assert!(end.stopped && !end.timed_out && end.code() == 130, "{end:?}");
    }

    #[test]
    fn whoever_keeps_a_stream_open_is_not_waited_for() {
        let (end, out, _) = heard("(sleep 30) & echo done", None);
        assert!(end.seconds < 20.0 && end.code() == 0 && out == ["done"], "{end:?}");
    }

    #[test]
    fn a_flood_keeps_its_ends() {
        let mut kept = Kept::new(2, 2);
        (0..10).for_each(|number| kept.push(number));
        assert_eq!((kept.dropped, kept.into_vec()), (6, vec![0, 1, 8, 9]));
        assert_eq!(told(&[b"a\x1b[2J".to_vec(), Vec::new(), b"b".to_vec()]), "a\\x1b[2J\nb");
    }
}
