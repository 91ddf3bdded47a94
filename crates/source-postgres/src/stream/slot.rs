//! The slot: what the server keeps for us, and that it does not keep too much.
//!
//! On purpose not here: what it means for a stream that a slot is not there.

use crate::error::PgError;
use crate::facts::{first_row, identify, value};
use crate::lsn::Lsn;
use crate::passfile::Secrets;
use crate::url::{Host, Server};
use crate::wire::{Connection, Purpose};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// Servers tell of a slot in the protocol of replication from this version on.
const TELLS: u32 = 15;
/// SQLSTATE of a slot that is there already.
const EXISTS: &str = "42710";
/// Longest name of a slot in bytes.
const NAME_BYTES_MAX: usize = 63;

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Missing,
    /// It keeps the log from here on, if it keeps any.
    Keeps(Option<Lsn>),
    /// The server does not say.
    Untold,
}

impl Slot {
    pub(crate) const fn keeps(self) -> Option<Lsn> {
        match self {
            Self::Keeps(lsn) => lsn,
            Self::Missing | Self::Untold => None,
        }
    }
}

/// Whether a slot can have this name: then it needs no quoting either.
#[must_use]
pub fn is_slot_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Asks a server of this major version for a slot.
pub(crate) async fn read(connection: &mut Connection, major: u32, name: &str) -> Result<Slot, PgError> {
    if major < TELLS {
        return Ok(Slot::Untold);
    }
    let tables = connection.ask(&format!("READ_REPLICATION_SLOT {name}")).await?;
    let row = first_row(&tables);
    Ok(match value(row, 0) {
        None => Slot::Missing,
        Some(_) => Slot::Keeps(value(row, 1).and_then(Lsn::parse)),
    })
}

/// Makes a slot that keeps the log from now on; one that is there is left as it is.
pub(crate) async fn create(connection: &mut Connection, name: &str) -> Result<(), PgError> {
    let command = format!("CREATE_REPLICATION_SLOT {name} PHYSICAL RESERVE_WAL");
    match connection.ask(&command).await {
        Err(error) if error.code() == Some(EXISTS) => Ok(()),
        other => other.map(drop),
    }
}

/// Drops a slot; if somebody streams by it, waits for the end of that or fails.
pub(crate) async fn remove(connection: &mut Connection, name: &str, wait: bool) -> Result<(), PgError> {
    let wait = if wait { " WAIT" } else { "" };
    connection.ask(&format!("DROP_REPLICATION_SLOT {name}{wait}")).await.map(drop)
}

/// Whether a server lets a slot keep as much as there is room for, and more.
pub(crate) async fn is_unlimited(connection: &mut Connection) -> Result<bool, PgError> {
    Ok(connection.show("max_slot_wal_keep_size").await?.is_none_or(|limit| limit.starts_with('-')))
}

/// What was seen beside a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The server has the log up to here.
    Written(Lsn),
    /// Another server of the cluster is on a later timeline.
    Later(Host, u32),
}

/// Looks at the servers beside a stream, by connections of its own: a stream that is not read, since
/// the repository is slow, does not tell how far its server is.
pub(crate) struct Watch {
    sights: Receiver<Sight>,
    task: Option<JoinHandle<()>>,
}

/// What to look at.
#[derive(Clone)]
pub(crate) struct Watched {
    pub server: Server,
    pub secrets: Secrets,
    /// The server that streams.
    pub host: Host,
    pub system: u64,
    pub timeline: u32,
    /// Whether it matters how far it is.
    pub position: bool,
    pub every: Duration,
}

impl Watch {
    pub(crate) fn start(watched: Watched) -> Self {
        let (out, sights) = channel(1);
        let wanted = watched.position || watched.server.hosts.len() > 1;
        let task = wanted.then(|| tokio::spawn(look(watched, out)));
        Self { sights, task }
    }

    /// Waits for what is seen next.
    pub(crate) async fn next(&mut self) -> Sight {
        match self.sights.recv().await {
            Some(sight) => sight,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn look(watched: Watched, out: Sender<Sight>) {
    loop {
        tokio::time::sleep(watched.every).await;
        for host in &watched.server.hosts {
            // One that cannot be asked now is asked the next time.
            let Ok(Some(sight)) = sight(&watched, host).await else { continue };
            if out.send(sight).await.is_err() {
                return;
            }
        }
    }
}

async fn sight(watched: &Watched, host: &Host) -> Result<Option<Sight>, PgError> {
    let own = *host == watched.host;
    if own && !watched.position {
        return Ok(None);
    }
    let mut connection =
        Connection::open_one(&watched.server, host, &watched.secrets, &Purpose::Replication).await?;
    let (system, timeline, at) = identify(&mut connection).await?;
    connection.close().await;
    Ok(match () {
        () if own => Some(Sight::Written(at)),
        () if system == watched.system && timeline > watched.timeline => {
            Some(Sight::Later(host.clone(), timeline))
        }
        () => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_slots_are_plain() {
        assert!(is_slot_name("holdfast_1") && is_slot_name(&"a".repeat(63)));
        for wrong in ["", "Holdfast", "a b", "a\"", "é", &"a".repeat(64)] {
            assert!(!is_slot_name(wrong), "{wrong}");
        }
    }
}
