//! Standard input, or what a command prints, as a source of one file.
//!
//! The source fails as a whole when the input cannot be read to its end or the command fails:
//! half a dump must not look like a dump. On purpose not here: which command, and its words.

use crate::engine::{
    Aside, Cancel, ConsistencyPoint, ContentStream, EntryBatch, Examined, Item, ItemDetails, ItemError,
    ItemReader, Order, Piece, Problems, ReadStatus, Source, SourceError, SourceIdentity, Stat,
    examine_by_stream,
};
use holdfast_core::entry::{Kind, Owner, Time};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a read waits before it looks whether the run is to stop.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// What is read and what becomes of it.
#[derive(Debug)]
pub(crate) struct Input {
    /// The bytes.
    pub(crate) from: OwnedFd,
    /// The command that writes them, if it is one.
    pub(crate) child: Option<Child>,
}

/// What is said of the file.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    /// Tree key of the file.
    pub(crate) key: Vec<u8>,
    pub(crate) host: String,
    pub(crate) now: Time,
    /// Stands for an inode number; never the same twice, so that no parent's content is taken.
    pub(crate) unique: u64,
}

/// Gives one file, and the folders above it, once.
#[derive(Debug)]
pub(crate) struct StdinSource {
    identity: SourceIdentity,
    shared: Arc<Shared>,
    stats: Vec<(Vec<u8>, Stat)>,
    listed: bool,
}

#[derive(Debug)]
struct Shared {
    input: Mutex<Option<OwnedFd>>,
    child: Mutex<Option<Child>>,
    end: Mutex<End>,
    cancel: Cancel,
}

/// How the input ended.
#[derive(Debug)]
enum End {
    NotYet,
    Well,
    Failed(String, Option<io::Error>),
}

impl StdinSource {
    pub(crate) fn new(input: Input, label: &Label, cancel: Cancel) -> Self {
        let path = [b"/".as_slice(), &holdfast_core::entry::key_to_path(&label.key)].concat();
        let identity = SourceIdentity {
            kind: "stdin".into(),
            host: label.host.clone(),
            canonical: String::from_utf8_lossy(&path).into_owned(),
            paths: vec![path],
        };
        let shared = Shared {
            input: Mutex::new(Some(input.from)),
            child: Mutex::new(input.child),
            end: Mutex::new(End::NotYet),
            cancel,
        };
        Self { identity, shared: Arc::new(shared), stats: stats(label), listed: false }
    }
}

/// The folders above the file, then the file.
fn stats(label: &Label) -> Vec<(Vec<u8>, Stat)> {
    let owner = Arc::new(Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Owner::default()
    });
    let stat = |kind, mode| Stat {
        kind,
        mode,
        owner: Arc::clone(&owner),
        size: 0,
        mtime: label.now,
        ctime: label.now,
        inode: label.unique,
        device_of: 0,
        links: 1,
        device: None,
        // Read as a stream: how long it is shows at its end.
        sparse: kind == Kind::File,
    };
    let breaks = label.key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let folders = breaks.map(|at| (label.key[..at].to_vec(), stat(Kind::Directory, 0o700)));
    folders.chain([(label.key.clone(), stat(Kind::File, 0o600))]).collect()
}

impl Source for StdinSource {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn order(&self) -> Order {
        Order::Sorted
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        if std::mem::replace(&mut self.listed, true) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        let mut items = Vec::new();
        for (key, stat) in &self.stats {
            let start = keys.len();
            keys.extend_from_slice(key);
            items.push(Item { key: start..keys.len(), stat: stat.clone(), aside: Aside::default() });
        }
        let stats = self.stats.iter().map(|(_, stat)| stat.clone()).collect();
        let reader = Arc::new(Reader { shared: Arc::clone(&self.shared), stats });
        Ok(Some(EntryBatch { keys, items, reader, problems: Problems::default() }))
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        match std::mem::replace(&mut *lock(&self.shared.end), End::NotYet) {
            End::Well => Ok(ConsistencyPoint::default()),
            End::Failed(what, source) => Err(SourceError { what, source }),
            End::NotYet => {
                Err(SourceError { what: "the input was not read to its end".into(), source: None })
            }
        }
    }
}

impl Drop for StdinSource {
    /// A command whose output nobody wants any more is stopped.
    fn drop(&mut self) {
        self.shared.kill();
    }
}

impl Shared {
    fn kill(&self) {
        if let Some(mut child) = lock(&self.child).take() {
            // It may have ended by itself meanwhile; then there is nothing to stop.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn fail(&self, what: &str, error: io::Error) -> ItemError {
        let kind = error.kind();
        *lock(&self.end) = End::Failed(what.to_owned(), Some(error));
        ItemError::Unreadable { operation: "read", source: kind.into() }
    }

    /// Waits until there is something to read, or the run is to stop.
    fn wait_for(&self, input: &File) -> io::Result<()> {
        loop {
            if self.cancel.is_raised() {
                self.kill();
                return Err(io::Error::new(io::ErrorKind::Interrupted, "asked to stop"));
            }
            let mut polled = [PollFd::new(input, PollFlags::IN)];
            match poll(&mut polled, Some(&WAIT)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Fills the buffer as far as the input goes.
    fn fill(&self, input: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.wait_for(input)?;
            match input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Waits for the command, and says how it ended. It may still work after it closed its output.
    fn end_of_command(&self) -> io::Result<End> {
        let mut pause = Duration::from_millis(1);
        loop {
            let mut child = lock(&self.child);
            let Some(running) = child.as_mut() else { return Ok(End::Well) };
            if let Some(status) = running.try_wait()? {
                *child = None;
                let failed =
                    || End::Failed(format!("the command failed ({status}); no snapshot was made"), None);
                return Ok(if status.success() { End::Well } else { failed() });
            }
            drop(child);
            if self.cancel.is_raised() {
                self.kill();
                return Ok(End::Failed("interrupted".into(), None));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reader {
    shared: Arc<Shared>,
    stats: Vec<Stat>,
}

impl ItemReader for Reader {
    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        // Not the usual road for a stream, but the contract allows it.
        examine_by_stream(self, item, self.stats[item].clone(), content)
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        let once = || io::Error::other("the input can be read only once");
        let input = lock(&self.shared.input).take();
        let input = input.ok_or_else(|| ItemError::Unreadable { operation: "open", source: once() })?;
        Ok(Box::new(Stream {
            shared: Arc::clone(&self.shared),
            input: File::from(input),
            stat: self.stats[item].clone(),
            details: ItemDetails::default(),
        }))
    }
}

struct Stream {
    shared: Arc<Shared>,
    input: File,
    stat: Stat,
    details: ItemDetails,
}

impl ContentStream for Stream {
    fn opened(&self) -> (&Stat, &ItemDetails) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        match self.shared.fill(&mut self.input, buffer) {
            Ok(0) => Ok(Piece::End),
            Ok(bytes) => Ok(Piece::Data(bytes)),
            Err(error) => Err(self.shared.fail("the input cannot be read; no snapshot was made", error)),
        }
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        let end = self.shared.end_of_command();
        let end = end.map_err(|error| self.shared.fail("cannot tell how the command ended", error))?;
        let failed = matches!(end, End::Failed(..));
        *lock(&self.shared.end) = end;
        let source = || io::Error::other("the command failed");
        if failed {
            Err(ItemError::Unreadable { operation: "read", source: source() })
        } else {
            Ok(ReadStatus::Stable)
        }
    }
}

#[cfg(test)]
#[path = "stdin_tests.rs"]
mod tests;
