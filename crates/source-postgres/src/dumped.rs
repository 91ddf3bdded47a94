//! What a program of the server's writes, as a file that the engine reads once.
//!
//! The program starts when its file is read, and what became of it is told to whoever waits: a dump
//! that ends half-way is none. On purpose not here: which programs, and in which order.

use crate::batch::stat;
use crate::child::{Access, Failure, Running};
use crate::tools::Tool;
use crate::url::Server;
use holdfast_core::entry::{Kind, Owner, Time, path_to_key};
use holdfast_engine::ctx::Cancel;
use holdfast_engine::outcome::Problems;
use holdfast_engine::source::{
    Aside, ContentStream, Details, EntryBatch, Examined, Item, ItemError, ItemReader, Piece, ReadStatus,
    Stat, examine_by_stream,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// How long a read waits before it looks whether the run is to stop.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// What dumps begin with that `pg_restore` reads.
pub(crate) const DUMP_MAGIC: &[u8] = b"PGDMP";

/// A program that is to write a file.
pub(crate) struct Job {
    pub tool: Tool,
    pub words: Vec<OsString>,
    pub access: Access,
    pub server: Server,
    /// Folder of files without names.
    pub spool: PathBuf,
    /// What its output begins with, if that is known.
    pub magic: &'static [u8],
    pub cancel: Cancel,
    /// Hears how it ended.
    pub ended: Sender<Ended>,
}

/// How it ended: its bytes and what it warned of, or why it failed.
pub(crate) type Ended = Result<Written, Failure>;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub bytes: u64,
    pub said: String,
}

/// A folder, or a file that a program writes.
pub(crate) enum Entry {
    Folder(&'static str),
    File(String, Box<Job>),
}

/// Makes a batch of them.
pub(crate) fn batch(entries: Vec<Entry>, now: Time, problems: Problems) -> EntryBatch {
    let owner = Arc::new(Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Owner::default()
    });
    let (mut keys, mut items, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let (path, kind, mode, job) = match entry {
            Entry::Folder(path) => (path.to_owned(), Kind::Directory, 0o700, None),
            Entry::File(path, job) => (path, Kind::File, 0o600, Some(job)),
        };
        let start = keys.len();
        keys.extend_from_slice(&path_to_key(path.as_bytes()));
        // How long a file is shows at its end: it is read as a stream.
        let stat = Stat { sparse: kind == Kind::File, ..stat(kind, mode, &owner, 0, now) };
        items.push(Item { key: start..keys.len(), stat: stat.clone(), aside: Aside::default() });
        slots.push((stat, Mutex::new(job)));
    }
    EntryBatch { keys, items, reader: Arc::new(Reader { slots }), problems }
}

struct Reader {
    slots: Vec<(Stat, Mutex<Option<Box<Job>>>)>,
}

fn unreadable(source: io::Error) -> ItemError {
    ItemError::Unreadable { operation: "dump", source }
}

impl ItemReader for Reader {
    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        // Not the usual road for a stream, but the contract allows it.
        examine_by_stream(self, item, self.slots[item].0.clone(), content)
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        let (stat, job) = &self.slots[item];
        let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
        let job = job.ok_or_else(|| unreadable(io::Error::other("a dump can be read only once")))?;
        Stream::start(stat.clone(), *job).map(|stream| Box::new(stream) as Box<dyn ContentStream>)
    }
}

/// The output of a program that runs.
struct Stream {
    stat: Stat,
    details: Details,
    running: Running,
    from: ChildStdout,
    cancel: Cancel,
    ended: Option<Sender<Ended>>,
    magic: &'static [u8],
    /// The first bytes.
    head: Vec<u8>,
    bytes: u64,
    /// All of it was read.
    whole: bool,
}

impl Stream {
    fn start(stat: Stat, job: Job) -> Result<Self, ItemError> {
        let Job { tool, words, access, server, spool, magic, cancel, ended } = job;
        let mut command = access.command(&tool, &server);
        command.args(words);
        let started = access.spawn(&tool, command, &spool, (Stdio::null(), Stdio::piped()));
        let mut running = started.map_err(|error| {
            tell(&ended, Err(Failure { what: error.to_string(), said: String::new() }));
            unreadable(io::Error::other(error.to_string()))
        })?;
        let from = running.child.stdout.take();
        let from = from.ok_or_else(|| unreadable(io::Error::other("its output is not for us")))?;
        let (details, head) = (Details::default(), Vec::new());
        let ended = Some(ended);
        Ok(Self { stat, details, running, from, cancel, ended, magic, head, bytes: 0, whole: false })
    }

    /// Waits until there is something to read, or the run is to stop.
    fn wait(&self) -> io::Result<()> {
        loop {
            if self.cancel.is_raised() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "asked to stop"));
            }
            match poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&WAIT)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fills the buffer as far as the output goes.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.wait()?;
            match self.from.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let missing = self.magic.len() - self.head.len();
        self.head.extend_from_slice(&buffer[..filled.min(missing)]);
        self.bytes += filled as u64;
        Ok(filled)
    }

    fn fail(&mut self, failure: Failure) -> ItemError {
        let error = unreadable(io::Error::other(failure.what.clone()));
        if let Some(ended) = self.ended.take() {
            tell(&ended, Err(failure));
        }
        error
    }
}

/// If nobody listens the run has ended for another reason.
fn tell(ended: &Sender<Ended>, how: Ended) {
    let _ = ended.send(how);
}

impl ContentStream for Stream {
    fn opened(&self) -> (&Stat, &Details) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        match self.fill(buffer) {
            Ok(0) => {
                self.whole = true;
                Ok(Piece::End)
            }
            Ok(bytes) => Ok(Piece::Data(bytes)),
            Err(error) => {
                self.running.kill();
                Err(self.fail(Failure { what: error.to_string(), said: String::new() }))
            }
        }
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        if !self.whole {
            // It would wait for ever for somebody to read the rest.
            self.running.kill();
        }
        match self.running.wait(&self.cancel) {
            Ok(_) if self.head != self.magic => {
                let what = "what it wrote is no dump".to_owned();
                Err(self.fail(Failure { what, said: String::new() }))
            }
            Ok(said) => {
                if let Some(ended) = self.ended.take() {
                    tell(&ended, Ok(Written { bytes: self.bytes, said }));
                }
                Ok(ReadStatus::Stable)
            }
            Err(failure) => Err(self.fail(failure)),
        }
    }
}

impl Drop for Stream {
    /// Whoever gives the file up half-way gives the dump up; the program is ended.
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            let what = "it was not read to its end".to_owned();
            tell(&ended, Err(Failure { what, said: String::new() }));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::passfile::Secrets;
    use crate::tools::{ToolPlaces, find};
    use crate::url::parse;
    use std::process::Command;
    use std::sync::mpsc::{Receiver, channel};

    /// A program that does some words of a shell.
    fn job(folder: &std::path::Path, words: &str) -> (Job, Receiver<Ended>) {
        let text = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 71.1' && exit\n{words}\n"
        );
        // Written by another process: what is open for writing in this one cannot be run.
        let write = "printf '%s' \"$1\" > \"$2/pg_dump\" && chmod 755 \"$2/pg_dump\"";
        assert!(Command::new("sh").args(["-c", write, "sh", &text]).arg(folder).status().unwrap().success());
        let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
        let places = ToolPlaces { stated: Some(folder.to_owned()), path: None, environment };
        let server = parse("postgres://u@h", "u").unwrap();
        let access = Access::new(&server, &server.hosts[0], "d", &Secrets::default()).unwrap();
        let (sender, ended) = channel();
        let job = Job {
            tool: find("pg_dump", 71, &places).unwrap(),
            words: Vec::new(),
            access,
            server,
            spool: folder.to_owned(),
            magic: DUMP_MAGIC,
            cancel: Cancel::default(),
            ended: sender,
        };
        (job, ended)
    }

    fn read(job: Job) -> Result<Vec<u8>, ItemError> {
        let batch = batch(
            vec![Entry::Folder("/databases"), Entry::File("/databases/d.dump".into(), Box::new(job))],
            Time::default(),
            Problems::default(),
        );
        assert_eq!(batch.key(1), b"databases\0d.dump");
        let mut content = Vec::new();
        batch.reader.examine(1, &mut content).map(|_| content)
    }

    #[test]
    fn a_dump_is_one_if_its_program_ends_well() {
        let dir = tempfile::tempdir().unwrap();
        let (well, ended) = job(dir.path(), "printf PGDMPxyz; echo 'pg_dump: warning: a circle' >&2");
        assert_eq!(read(well).unwrap(), b"PGDMPxyz");
        assert_eq!(ended.recv().unwrap(), Ok(Written { bytes: 8, said: "warning: a circle".into() }));
        for (words, why) in [
            ("printf PGDMPxyz; exit 7", "pg_dump failed (exit status: 7)"),
            ("printf PGDMPxyz; kill -9 $$", "pg_dump failed (signal: 9 (SIGKILL))"),
            ("printf hello", "what it wrote is no dump"),
            ("exit 0", "what it wrote is no dump"),
        ] {
            let (bad, ended) = job(dir.path(), words);
            assert!(read(bad).is_err(), "{words}");
            assert_eq!(ended.recv().unwrap().unwrap_err().what, why, "{words}");
        }
    }

    #[test]
    fn whoever_gives_a_dump_up_ends_its_program() {
        let dir = tempfile::tempdir().unwrap();
        let words = "printf PGDMP; exec yes";
        let (endless, ended) = job(dir.path(), words);
        let items =
            batch(vec![Entry::File("/d".into(), Box::new(endless))], Time::default(), Problems::default());
        let mut stream = items.reader.open(0).unwrap();
        assert!(matches!(stream.read(&mut [0; 100]).unwrap(), Piece::Data(100)));
        assert!(stream.finish().is_err(), "it is not at its end");
        assert!(ended.recv().unwrap().is_err());
        let (endless, ended) = job(dir.path(), words);
        let cancel = endless.cancel.clone();
        let items =
            batch(vec![Entry::File("/d".into(), Box::new(endless))], Time::default(), Problems::default());
        let mut stream = items.reader.open(0).unwrap();
        cancel.raise();
        assert!(stream.read(&mut [0; 100]).is_err() && ended.recv().unwrap().is_err());
        // One that nobody reads tells that too.
        let (never, ended) = job(dir.path(), words);
        drop(batch(vec![Entry::File("/d".into(), Box::new(never))], Time::default(), Problems::default()));
        assert!(ended.recv().is_err());
    }
}
