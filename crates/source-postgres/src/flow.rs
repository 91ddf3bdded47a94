//! What every stream of the log has in common: how it is asked for, its messages, the answers to
//! them, and the history of a timeline.
//!
//! On purpose not here: where the log goes.

use crate::error::PgError;
use crate::facts::{first_row, value};
use crate::lsn::Lsn;
use crate::wire::{Connection, Cursor, Message, refused, unexpected};
use bytes::{BufMut, Bytes, BytesMut};
use holdfast_core::entry::Time;
use postgres_protocol::message::frontend::CopyData;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// So often the server is told how far we are, and asked whether it is still there.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// A server that leaves so many of these questions unanswered is gone.
const UNANSWERED_MAX: u32 = 12;
/// So long a server may take to begin.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// Seconds between 1970 and 2000, from where servers count.
const EPOCH_SECONDS: i64 = 946_684_800;

/// What comes in a stream of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The log from a place on, and how far the server has it.
    Log { begin: Lsn, server: Lsn, bytes: Bytes },
    /// The server is there, has the log up to here, and may want to hear of us.
    Alive { server: Lsn, asks: bool },
}

impl Flow {
    /// Takes a message apart.
    pub(crate) fn parse(bytes: Bytes) -> Result<Self, PgError> {
        let mut cursor = Cursor(bytes);
        match cursor.u8()? {
            b'w' => {
                let (begin, server) = (Lsn(cursor.u64()?), Lsn(cursor.u64()?));
                cursor.bytes(8)?;
                Ok(Self::Log { begin, server, bytes: cursor.0 })
            }
            b'k' => {
                let server = Lsn(cursor.u64()?);
                cursor.bytes(8)?;
                Ok(Self::Alive { server, asks: cursor.u8()? == 1 })
            }
            other => Err(PgError::protocol(format!("a message of kind {other} in the log"))),
        }
    }
}

/// Asks for the log of a timeline from a place on.
pub(crate) async fn begin(
    connection: &mut Connection,
    slot: Option<&str>,
    at: Lsn,
    timeline: u32,
) -> Result<(), PgError> {
    let slot = slot.map(|slot| format!("SLOT \"{slot}\" ")).unwrap_or_default();
    let command = format!("START_REPLICATION {slot}PHYSICAL {at} TIMELINE {timeline}");
    connection.command(&command).await?;
    match connection.receive(SILENCE).await? {
        Message::CopyBoth => Ok(()),
        Message::Error(error) => Err(refused(&command, error)),
        other => Err(unexpected(&command, &other)),
    }
}

/// Says how far we have written the log, and how far it is durable; asks for an answer.
pub(crate) async fn report(
    connection: &mut Connection,
    written: Lsn,
    durable: Lsn,
    now: Time,
) -> Result<(), PgError> {
    let micros = now.seconds.saturating_sub(EPOCH_SECONDS).saturating_mul(1_000_000);
    let mut status = BytesMut::with_capacity(34);
    status.put_u8(b'r');
    status.put_u64(written.0);
    status.put_u64(durable.0);
    status.put_u64(0);
    status.put_i64(micros.saturating_add(i64::from(now.nanos / 1000)));
    status.put_u8(1);
    let data = CopyData::new(status.freeze()).map_err(|error| PgError::protocol(error.to_string()))?;
    let write = |out: &mut BytesMut| {
        data.write(out);
        Ok(())
    };
    connection.say(write).await
}

/// The file that says from which timelines one comes.
pub(crate) async fn history(connection: &mut Connection, timeline: u32) -> Result<Vec<u8>, PgError> {
    let tables = connection.ask(&format!("TIMELINE_HISTORY {timeline}")).await?;
    let row = first_row(&tables);
    let content = row.get(1).cloned().flatten();
    match (value(row, 0), content) {
        (Some(found), Some(content)) if found == history_name(timeline) && !content.is_empty() => {
            Ok(content.to_vec())
        }
        _ => Err(PgError::protocol("it does not give the history of its timeline")),
    }
}

/// What that file is called.
pub(crate) fn history_name(timeline: u32) -> String {
    format!("{timeline:08X}.history")
}

/// The beat at which a server is told how far we are. One that answers nothing is given up.
#[derive(Debug)]
pub(crate) struct Pulse {
    interval: Interval,
    unanswered: u32,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        let mut interval = interval(STATUS_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, unanswered: 0 }
    }

    /// Waits for the next beat; whether the server has been silent for too long. A future that is
    /// dropped loses nothing.
    pub(crate) async fn beat(&mut self) -> bool {
        self.interval.tick().await;
        self.unanswered += 1;
        self.unanswered > UNANSWERED_MAX
    }

    /// Something came, or nobody listened.
    pub(crate) const fn heard(&mut self) {
        self.unanswered = 0;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn messages_of_the_log_are_taken_apart() {
        let log = [&b"w"[..], &5_u64.to_be_bytes(), &9_u64.to_be_bytes(), &[0; 8], b"log"].concat();
        let bytes = Bytes::from_static(b"log");
        assert_eq!(Flow::parse(log.into()).unwrap(), Flow::Log { begin: Lsn(5), server: Lsn(9), bytes });
        let alive = [&b"k"[..], &9_u64.to_be_bytes(), &[0; 8], &[1]].concat();
        assert_eq!(Flow::parse(alive.clone().into()).unwrap(), Flow::Alive { server: Lsn(9), asks: true });
        for end in 0..alive.len() {
            assert!(Flow::parse(alive[..end].to_vec().into()).is_err());
        }
        assert!(Flow::parse(Bytes::from_static(b"x")).is_err());
        assert_eq!(history_name(0x1f), "0000001F.history");
    }
}
