//! The log beside a backup: streamed by a connection of its own from the backup's start to its
//! stop, and given as whole segments, the last one filled up with zeros.
//!
//! Segments wait in a file without a name until they are read. So whoever reads files of the backup
//! never waits for a log that comes only at its end, and a server whose log has to be taken in time
//! never waits for a repository that is slow. On purpose not here: keeping the log between backups.

use crate::batch::Spooled;
use crate::error::PgError;
use crate::facts::ServerFacts;
use crate::flow::{self, Flow, Pulse, SILENCE};
use crate::gather::{Gather, Named};
use crate::lsn::{Lsn, segment_name};
use crate::wire::{Connection, Message, refused, unexpected};
use bytes::{Bytes, BytesMut};
use holdfast_core::entry::Owner;
use holdfast_engine::ctx::Clock;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Bytes that are written to a file at a time.
const WRITE_BYTES: usize = 1 << 20;

/// Where the log begins that is needed, and what the files of the backup look like.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub lsn: Lsn,
    pub timeline: u32,
    pub owner: Arc<Owner>,
}

/// What does not change while the log streams in.
pub(crate) struct Plan {
    pub facts: ServerFacts,
    /// The slot that keeps the log on the server, if there is one.
    pub slot: Option<String>,
    /// Folder of the file without a name.
    pub spool: PathBuf,
    pub clock: Arc<dyn Clock>,
}

/// Makes a slot that lasts as long as the connection, so that the server keeps the log from here on.
pub(crate) async fn make_slot(connection: &mut Connection, name: &str) -> Result<(), PgError> {
    let command = format!("CREATE_REPLICATION_SLOT \"{name}\" TEMPORARY PHYSICAL RESERVE_WAL");
    connection.ask(&command).await.map(drop)
}

/// Streams the log; ends when the stop is in.
pub(crate) async fn receive(
    connection: &mut Connection,
    plan: &Plan,
    start: &Start,
    stop: oneshot::Receiver<Lsn>,
    gather: &mut Gather,
) -> Result<(), PgError> {
    if start.timeline > 1 {
        history(connection, plan, start, gather).await?;
    }
    let at = start.lsn.segment_start(plan.facts.segment_bytes);
    flow::begin(connection, plan.slot.as_deref(), at, start.timeline).await?;
    let spool = plan.spool.clone();
    let file = Arc::new(on_disk(&plan.spool, move || tempfile::tempfile_in(spool)).await?);
    let (offset, written, waiting) = (0, 0, BytesMut::new());
    let writer = Writer { plan, start, gather, at, file, offset, written, waiting };
    stream(connection, writer, stop).await
}

async fn stream(
    connection: &mut Connection,
    mut writer: Writer<'_>,
    mut stop: oneshot::Receiver<Lsn>,
) -> Result<(), PgError> {
    let mut target = None;
    let mut pulse = Pulse::new();
    while target.is_none_or(|target| writer.at < target) {
        tokio::select! {
            message = connection.receive(SILENCE) => match message? {
                Message::CopyData(bytes) => {
                    pulse.heard();
                    if writer.take(bytes).await? {
                        writer.report(connection).await?;
                    }
                }
                Message::Error(error) => return Err(refused("send the log", error)),
                Message::CopyDone => {
                    let what = "the timeline of the server ended during the backup: it was promoted or set back; \
                                nothing was backed up, run it again";
                    return Err(PgError::Refused(what.to_owned()));
                }
                other => return Err(unexpected("in the log", &other)),
            },
            stated = &mut stop, if target.is_none() => {
                // Whoever would have told us has failed, and tells why.
                target = Some(stated.map_err(|_| PgError::Refused("the backup ended early".to_owned()))?);
            }
            silent = pulse.beat() => {
                if silent {
                    return Err(connection.silent());
                }
                writer.report(connection).await?;
            }
        }
    }
    writer.end().await
}

/// The file that says from which timelines this one comes.
async fn history(
    connection: &mut Connection,
    plan: &Plan,
    start: &Start,
    gather: &mut Gather,
) -> Result<(), PgError> {
    let (name, content) =
        (flow::history_name(start.timeline), flow::history(connection, start.timeline).await?);
    gather.small(&plan.named(start, &name), content).await?;
    gather.small(&plan.named(start, &format!("archive_status/{name}.done")), Vec::new()).await
}

impl Plan {
    fn named(&self, start: &Start, name: &str) -> Named {
        Named {
            path: format!("pg_wal/{name}").into_bytes(),
            mode: self.facts.file_mode(),
            owner: Arc::clone(&start.owner),
            mtime: self.clock.now(),
        }
    }
}

/// Cuts the log into segments.
struct Writer<'a> {
    plan: &'a Plan,
    start: &'a Start,
    gather: &'a mut Gather,
    /// Up to here all is in.
    at: Lsn,
    file: Arc<File>,
    /// Where in the file the segment lies that comes in.
    offset: u64,
    /// So much of it is written, and this is not yet.
    written: u64,
    waiting: BytesMut,
}

impl Writer<'_> {
    /// Takes what came; whether the server wants to hear of us.
    async fn take(&mut self, bytes: Bytes) -> Result<bool, PgError> {
        match Flow::parse(bytes)? {
            Flow::Log { begin, .. } if begin != self.at => {
                let what = format!("the log goes on at {begin}, and {} was to come", self.at);
                Err(PgError::protocol(what))
            }
            Flow::Log { bytes, .. } => self.write(bytes).await.map(|()| false),
            Flow::Alive { asks, .. } => Ok(asks),
        }
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), PgError> {
        let length = self.plan.facts.segment_bytes;
        while !bytes.is_empty() {
            let left = (length - self.at.0 % length) as usize;
            let part = bytes.split_to(bytes.len().min(left));
            self.waiting.extend_from_slice(&part);
            if self.waiting.len() >= WRITE_BYTES {
                self.write_out(false).await?;
            }
            self.at = Lsn(self.at.0.saturating_add(part.len() as u64));
            if part.len() == left {
                self.give().await?;
            }
        }
        Ok(())
    }

    /// Writes what waits; at the end of a segment the file is as long as the segments: what is not
    /// written of the last one reads as zeros.
    async fn write_out(&mut self, ends: bool) -> Result<(), PgError> {
        let (bytes, file) = (self.waiting.split().freeze(), Arc::clone(&self.file));
        let (at, end) = (self.offset + self.written, self.offset + self.plan.facts.segment_bytes);
        self.written += bytes.len() as u64;
        let work = move || {
            file.write_all_at(&bytes, at)?;
            if ends { file.set_len(end) } else { Ok(()) }
        };
        on_disk(&self.plan.spool, work).await
    }

    /// Gives the segment that comes in, filled up if it is not full.
    async fn give(&mut self) -> Result<(), PgError> {
        self.write_out(true).await?;
        let length = self.plan.facts.segment_bytes;
        let begin = Lsn(self.at.0 - 1).segment_start(length);
        let name = segment_name(self.start.timeline, begin, length);
        let content = Spooled { file: Arc::clone(&self.file), offset: self.offset, length };
        (self.offset, self.written) = (self.offset + length, 0);
        self.gather.spooled(&self.plan.named(self.start, &name), content).await?;
        // A server that is started from this shall not archive what was archived.
        let done = self.plan.named(self.start, &format!("archive_status/{name}.done"));
        self.gather.small(&done, Vec::new()).await
    }

    /// The stop is in.
    async fn end(mut self) -> Result<(), PgError> {
        if self.written > 0 || !self.waiting.is_empty() {
            self.give().await?;
        }
        self.gather.flush().await
    }

    /// Says how far we are, and asks whether the server is still there.
    async fn report(&self, connection: &mut Connection) -> Result<(), PgError> {
        // What waits in a file is as durable as this run: if it dies there is no backup.
        flow::report(connection, self.at, self.at, self.plan.clock.now()).await
    }
}

/// Runs what may wait for a disk where that keeps nobody else waiting.
async fn on_disk<T: Send + 'static>(
    spool: &Path,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, PgError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other);
    done.and_then(|done| done).map_err(|source| PgError::Io {
        what: format!("cannot keep the log in {} until it is stored", spool.display()),
        source,
    })
}
