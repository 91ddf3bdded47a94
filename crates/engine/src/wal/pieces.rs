//! Segments that are longer than an object may be, or that came in parts: pieces that follow each
//! other.
//!
//! Whoever wrote the first pieces decided where they were cut; the next one goes on after them. On
//! purpose not here: whether a segment may be handed out that is not whole.

use super::{PIECE_BYTES_MAX, Stored, Timeline, WalArchive, WalName};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use holdfast_core::entry::Time;
use std::sync::Arc;

/// Reads so many bytes of a file from an offset on; all of them, or it is an error.
pub type ReadAt = Arc<dyn Fn(u64, usize) -> std::io::Result<Vec<u8>> + Send + Sync>;

/// What there is of a segment in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces {
    /// The front of the segment.
    pub content: Vec<u8>,
    /// How many pieces it comes from.
    pub count: u32,
    /// Whether pieces lie there that do not follow: one before them is missing.
    pub broken: bool,
}

impl WalArchive {
    /// Stores a file of a log of any length: in one object if it fits, else in pieces, after those
    /// that are there. `written`: when it was last written to, as [`WalArchive::put_of`] has it.
    ///
    /// # Errors
    /// The file cannot be read, or as for [`WalArchive::put`].
    pub async fn put_file(
        &self,
        timeline: &Timeline,
        file: &str,
        (length, written): (u64, Option<Time>),
        read: &ReadAt,
    ) -> Result<Stored> {
        if length <= PIECE_BYTES_MAX as u64 {
            let content = self.read(file, read, 0, length).await?;
            return self.put_of(&WalName::whole(*timeline, file), content, written).await;
        }
        let (mut at, mut outcome) = (0, Stored::Same);
        for number in 0.. {
            if at >= length {
                break;
            }
            let name = WalName::piece(*timeline, file, number);
            match self.put_piece(&name, at, (length, written), read).await? {
                (Stored::Other, _) => return Ok(Stored::Other),
                (stored, bytes) => {
                    at += bytes;
                    if stored == Stored::New {
                        outcome = stored;
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// Stores one piece unless it is there; how long it is.
    async fn put_piece(
        &self,
        name: &WalName,
        at: u64,
        (length, written): (u64, Option<Time>),
        read: &ReadAt,
    ) -> Result<(Stored, u64)> {
        let there = self.glance(name).await?;
        let bytes = match &there {
            Some(there) if there.plain_bytes == 0 || there.plain_bytes > length - at => {
                return Ok((Stored::Other, 0));
            }
            Some(there) => there.plain_bytes,
            None => (length - at).min(PIECE_BYTES_MAX as u64),
        };
        let content = self.read(&name.file, read, at, bytes).await?;
        let stored = match there {
            Some(there) if there.content == self.identify(&content)? => Stored::Same,
            Some(_) => Stored::Other,
            None => self.put_of(name, Bytes::from(content), written).await?,
        };
        Ok((stored, bytes))
    }

    async fn read(&self, file: &str, read: &ReadAt, at: u64, bytes: u64) -> Result<Vec<u8>> {
        let read = Arc::clone(read);
        let content = self.ctx.workers.run_long(move || read(at, bytes as usize)).await;
        content.map_err(|error| unread(file, error))
    }

    /// Reads what there is of a segment in pieces: those that follow each other from the first on.
    ///
    /// # Errors
    /// The store failed, the key may not read, an object is damaged, or they are longer than any
    /// segment.
    pub async fn pieces(&self, timeline: &Timeline, file: &str) -> Result<Pieces> {
        let listed = self.list_file(timeline, file).await?;
        let mut pieces = Pieces::default();
        for name in listed.into_iter().map(|listed| listed.name).filter(|name| name.piece.is_some()) {
            // One that is gone since the listing: the whole segment has come, or it was given up.
            let next = if name.piece == Some(pieces.count) { self.get(&name).await? } else { None };
            let Some(content) = next else {
                pieces.broken = true;
                break;
            };
            if (pieces.content.len() + content.len()) as u64 > SEGMENT_BYTES_MAX {
                let what = format!("the pieces of {file} are longer than any segment");
                return Err(Error::new(ErrorKind::Damaged, what));
            }
            pieces.content.extend_from_slice(&content);
            pieces.count += 1;
        }
        Ok(pieces)
    }
}

/// No segment is longer.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

fn unread(file: &str, error: std::io::Error) -> Error {
    let source: Option<Box<dyn std::error::Error + Send + Sync>> = Some(Box::new(error));
    Error { kind: ErrorKind::Source, what: format!("cannot read {file}"), source }
}
