//! Files of a cluster as the engine takes them: small ones in memory, those that stream in through
//! a short pipe, and pieces of the log out of a file that nobody else sees.
//!
//! Every content can be read once, in the order of arrival, and has to be read whole. On purpose
//! not here: where they come from.

use bytes::Bytes;
use holdfast_core::entry::{Kind, Owner, Time};
use holdfast_engine::source::{
    ContentStream, Details, Examined, ItemError, ItemReader, Piece, ReadStatus, Stat,
};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::Receiver;

/// How many contents were announced and not read to their end: a backup with one is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owed(Arc<AtomicU64>);

impl Owed {
    pub(crate) fn announce(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn settle(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The content of an item.
pub(crate) enum Content {
    /// It is no file.
    Nothing,
    Whole(Vec<u8>),
    /// It streams in, and is so long; `None` where only its end tells.
    Piped(Receiver<Bytes>, Option<u64>),
    /// It lies in a file without a name.
    Spooled(Spooled),
}

/// A part of a file without a name; its room is given back when this is gone.
#[derive(Debug)]
pub(crate) struct Spooled {
    pub file: Arc<File>,
    pub offset: u64,
    pub length: u64,
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Where a file system cannot, the room is given back at the end of the run.
        let _ = fallocate(&self.file, mode, self.offset, self.length);
    }
}

/// An item of a batch.
pub(crate) struct Slot {
    pub stat: Stat,
    pub details: Details,
    pub content: Content,
}

/// Reads the items of one batch.
pub(crate) struct BatchReader {
    slots: Vec<Mutex<Option<Slot>>>,
    owed: Owed,
}

impl BatchReader {
    pub(crate) fn new(slots: Vec<Slot>, owed: Owed) -> Self {
        Self { slots: slots.into_iter().map(|slot| Mutex::new(Some(slot))).collect(), owed }
    }

    fn take(&self, item: usize) -> Result<Slot, ItemError> {
        let slot = self.slots[item].lock().unwrap_or_else(PoisonError::into_inner).take();
        slot.ok_or_else(|| unreadable("a file that streams in can be read only once"))
    }
}

fn unreadable(what: &str) -> ItemError {
    ItemError::Unreadable { operation: "read", source: io::Error::other(what.to_owned()) }
}

impl ItemReader for BatchReader {
    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        let slot = self.take(item)?;
        match slot.content {
            Content::Nothing => {}
            Content::Whole(bytes) => {
                content.extend_from_slice(&bytes);
                self.owed.settle();
            }
            Content::Piped(..) | Content::Spooled(..) => {
                return Err(unreadable("it has to be read as a stream"));
            }
        }
        Ok(Examined { stat: slot.stat, details: slot.details, status: ReadStatus::Stable })
    }

    /// What streams in with a length is of the cluster itself: neither log nor manifest.
    fn has_blocks(&self, item: usize) -> bool {
        let slot = self.slots[item].lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().is_some_and(|slot| matches!(slot.content, Content::Piped(_, Some(_))))
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        let Slot { stat, details, content } = self.take(item)?;
        Ok(Box::new(Stream {
            stat,
            details,
            content,
            rest: Bytes::new(),
            came: 0,
            read: 0,
            owed: self.owed.clone(),
        }))
    }
}

/// The content of one item.
struct Stream {
    stat: Stat,
    details: Details,
    content: Content,
    /// What came and was not asked for yet.
    rest: Bytes,
    came: u64,
    read: u64,
    owed: Owed,
}

impl Stream {
    /// Fills the buffer as far as the content goes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ItemError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.rest.is_empty() {
                match self.next()? {
                    Some(bytes) => self.rest = bytes,
                    None => break,
                }
            }
            let length = self.rest.len().min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&self.rest.split_to(length));
            filled += length;
        }
        self.read += filled as u64;
        Ok(filled)
    }

    fn next(&mut self) -> Result<Option<Bytes>, ItemError> {
        let next = self.next_piece()?;
        self.came += next.as_ref().map_or(0, Bytes::len) as u64;
        Ok(next)
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>, ItemError> {
        match &mut self.content {
            Content::Nothing => Ok(None),
            Content::Whole(bytes) => {
                Ok(Some(Bytes::from(std::mem::take(bytes))).filter(|bytes| !bytes.is_empty()))
            }
            Content::Piped(receiver, _) => Ok(receiver.blocking_recv()),
            Content::Spooled(Spooled { file, offset, length }) => {
                // Only called when all that was read before is used up.
                let mut bytes = vec![0; (*length - self.came.min(*length)).min(1 << 20) as usize];
                let read = file.read_exact_at(&mut bytes, *offset + self.came);
                read.map_err(|source| ItemError::Unreadable { operation: "read", source })?;
                Ok(Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    fn length(&self) -> Option<u64> {
        match self.content {
            Content::Piped(_, length) => length,
            _ => Some(self.stat.size),
        }
    }
}

impl ContentStream for Stream {
    fn opened(&self) -> (&Stat, &Details) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        match self.fill(buffer)? {
            0 if self.length().is_some_and(|length| length != self.read) => {
                Err(unreadable("the server stopped sending it"))
            }
            0 => Ok(Piece::End),
            bytes => Ok(Piece::Data(bytes)),
        }
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        if self.length().is_some_and(|length| length != self.read) {
            return Err(unreadable("it was not read to its end"));
        }
        self.owed.settle();
        Ok(ReadStatus::Stable)
    }
}

/// What the engine is told of an item. Nothing proves that it is unchanged: every file is read and
/// hashed, as the server sends it anyway. So it changes last thing before the end of time.
pub(crate) fn stat(kind: Kind, mode: u16, owner: &Arc<Owner>, size: u64, mtime: Time) -> Stat {
    Stat {
        kind,
        mode,
        owner: Arc::clone(owner),
        size,
        mtime,
        ctime: Time { seconds: i64::MAX, nanos: 0 },
        inode: 0,
        device_of: 0,
        links: 1,
        device: None,
        sparse: false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::io::Write;
    use tokio::sync::mpsc::channel;

    fn reader(content: Content, size: u64) -> (BatchReader, Owed) {
        let owed = Owed::default();
        owed.announce();
        let stat = stat(Kind::File, 0o600, &Arc::default(), size, Time::default());
        let slot = Slot { stat, details: Details::default(), content };
        (BatchReader::new(vec![slot], owed.clone()), owed)
    }

    fn read(reader: &BatchReader) -> Result<Vec<u8>, ItemError> {
        let (mut stream, mut all, mut buffer) = (reader.open(0)?, Vec::new(), [0; 7]);
        while let Piece::Data(length) = stream.read(&mut buffer)? {
            all.extend_from_slice(&buffer[..length]);
        }
        stream.finish()?;
        Ok(all)
    }

    #[test]
    fn each_kind_of_content_is_read_once_and_whole() {
        let (sender, receiver) = channel(8);
        for part in [&b"some "[..], b"bytes that", b" stream"] {
            sender.try_send(Bytes::from_static(part)).unwrap();
        }
        drop(sender);
        let (piped, owed) = reader(Content::Piped(receiver, Some(22)), 22);
        assert!(piped.has_blocks(0));
        assert_eq!(read(&piped).unwrap(), b"some bytes that stream");
        assert_eq!(owed.count(), 0);
        assert!(piped.open(0).is_err(), "only once");

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before a piece of the log after").unwrap();
        let content = Spooled { file: Arc::new(file), offset: 7, length: 18 };
        let (spooled, owed) = reader(Content::Spooled(content), 18);
        assert!(!spooled.has_blocks(0));
        assert_eq!(read(&spooled).unwrap(), b"a piece of the log");
        assert_eq!(owed.count(), 0);

        let (whole, owed) = reader(Content::Whole(b"small".to_vec()), 5);
        let mut content = Vec::new();
        assert_eq!(whole.examine(0, &mut content).unwrap().status, ReadStatus::Stable);
        assert_eq!((&content[..], owed.count()), (&b"small"[..], 0));
    }

    #[test]
    fn a_content_that_stops_early_is_an_error_and_stays_owed() {
        let (sender, receiver) = channel(8);
        sender.try_send(Bytes::from_static(b"half")).unwrap();
        drop(sender);
        let (piped, owed) = reader(Content::Piped(receiver, Some(8)), 8);
        assert!(read(&piped).is_err());
        assert_eq!(owed.count(), 1);
        let (never, owed) = reader(Content::Whole(b"never read".to_vec()), 10);
        drop(never);
        assert_eq!(owed.count(), 1);
    }
}
