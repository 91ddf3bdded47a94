//! The source: a cluster, as the engine captures it.
//!
//! On purpose not here: how it is read; and when a password is wrong, what a person can do.

use crate::batch::Owed;
use crate::capture::{self, Capture};
use crate::error::{PgError, ServerError};
use crate::facts::{Record, ServerFacts};
use crate::gather::Delivery;
use crate::passfile::Secrets;
use crate::url::Server;
use crate::wal::{Plan, make_slot};
use crate::wire::Connection;
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::outcome::{Notice, NoticeKind, Problems};
use holdfast_engine::source::{ConsistencyPoint, EntryBatch, Order, Source, SourceError, SourceIdentity};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Batches that may wait for the engine.
const BATCHES: usize = 2;
/// So often it is looked whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// SQLSTATEs of a server that has no slot to give.
const NO_SLOT: [&str; 3] = ["53400", "55000", "42501"];

/// What to capture, and with what.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Where the cluster is.
    pub server: Server,
    /// What lets us in.
    pub secrets: Secrets,
    /// Host that it counts as being of; if none is stated, the cluster itself, wherever it runs.
    pub host: Option<String>,
    /// Folder for files without names, in which the log waits until it is stored.
    pub spool: PathBuf,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Stops the run.
    pub cancel: Cancel,
    /// A number that no other run has at the same time; names the slot.
    pub unique: u64,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Captures a cluster.
pub struct PostgresSource {
    identity: SourceIdentity,
    facts: ServerFacts,
    cancel: Cancel,
    handle: Handle,
    owed: Owed,
    /// What was met before it began.
    problems: Problems,
    run: Run,
}

/// How far it is.
enum Run {
    Ready(Box<Ready>),
    Going(Box<Taken>, JoinHandle<Option<Record>>),
    /// It failed, or nobody wanted it.
    Over,
}

/// What comes: files, and the log.
struct Taken {
    files: Receiver<Delivery>,
    log: UnboundedReceiver<Delivery>,
}

impl Taken {
    /// The next of either; `None` when both have ended.
    async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            Some(files) = self.files.recv() => Some(files),
            Some(log) = self.log.recv() => Some(log),
            else => None,
        }
    }
}

/// Both connections, before anything was asked.
struct Ready {
    files: Connection,
    log: Connection,
    plan: Plan,
}

impl fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSource").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl PostgresSource {
    /// Connects twice, and asks which cluster it is. Has to be called where tasks can be started.
    ///
    /// # Errors
    /// The server cannot be reached, does not let us in, or is of a version that is not known.
    pub async fn open(options: PostgresOptions) -> Result<Self, PgError> {
        let PostgresOptions { server, secrets, host, spool, clock, cancel, unique } = options;
        let mut files = Connection::open(&server, &secrets).await?;
        let facts = ServerFacts::ask(&mut files).await?;
        let mut log = files.beside(&server, &secrets).await?;
        let mut problems = Problems::default();
        let name = format!("holdfast_{unique:016x}");
        let slot = match make_slot(&mut log, &name).await {
            Ok(()) => Some(name),
            Err(PgError::Server { error, .. }) if NO_SLOT.contains(&error.code.as_str()) => {
                problems.notice(without_slot(&error));
                None
            }
            Err(error) => return Err(error),
        };
        let identity = identity(&server, &facts, host);
        let plan = Plan { facts: facts.clone(), slot, spool, clock };
        let run = Run::Ready(Box::new(Ready { files, log, plan }));
        let (handle, owed) = (Handle::current(), Owed::default());
        Ok(Self { identity, facts, cancel, handle, owed, problems, run })
    }

    /// What people call the cluster where nobody gave it a name.
    #[must_use]
    pub fn label(&self) -> String {
        name_of(&self.facts)
    }

    fn begin(&mut self) {
        if !matches!(self.run, Run::Ready(_)) {
            return;
        }
        let Run::Ready(ready) = std::mem::replace(&mut self.run, Run::Over) else { return };
        let Ready { files, log, plan } = *ready;
        let (out, from_files) = channel(BATCHES);
        let (log_out, from_log) = unbounded_channel();
        let capture = Capture { files, log, plan, out, log_out, owed: self.owed.clone() };
        let taken = Box::new(Taken { files: from_files, log: from_log });
        self.run = Run::Going(taken, self.handle.spawn(capture::run(capture)));
    }
}

fn without_slot(error: &ServerError) -> Notice {
    let what = format!(
        "no slot keeps the log on the server meanwhile ({}): if it removes log too early the backup fails; raise \
         max_replication_slots or wal_keep_size",
        error.message
    );
    Notice { path: b"/pg_wal".to_vec(), kind: NoticeKind::Other, what }
}

fn name_of(facts: &ServerFacts) -> String {
    format!("pg-{}", facts.system)
}

/// The same cluster is the same source, whatever server it runs on and whoever asks.
fn identity(server: &Server, facts: &ServerFacts, host: Option<String>) -> SourceIdentity {
    SourceIdentity {
        kind: "postgres".to_owned(),
        host: host.unwrap_or_else(|| name_of(facts)),
        canonical: facts.system.to_string(),
        paths: vec![server.to_string().into_bytes()],
    }
}

fn failed(what: &str) -> SourceError {
    SourceError { what: what.to_owned(), source: None }
}

impl Source for PostgresSource {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn order(&self) -> Order {
        Order::Arrival
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        self.begin();
        let Run::Going(taken, _) = &mut self.run else { return Err(failed("the cluster was read already")) };
        loop {
            if self.cancel.is_raised() {
                return Err(failed("interrupted"));
            }
            match self.handle.block_on(timeout(LOOK_EVERY, taken.next())) {
                Err(_) => {}
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(Some(Ok(mut batch))) => {
                    batch.problems.absorb(std::mem::take(&mut self.problems));
                    return Ok(Some(batch));
                }
            }
        }
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        let Run::Going(_, run) = std::mem::replace(&mut self.run, Run::Over) else {
            return Err(failed("the cluster was not read"));
        };
        let record = self.handle.block_on(run).ok().flatten();
        let record = record.ok_or_else(|| failed("the backup of the cluster did not come to its end"))?;
        match self.owed.count() {
            0 => Ok(ConsistencyPoint { record: record.encode(), facts: record.facts() }),
            more => Err(failed(&format!("{more} files of the cluster were not read to their end"))),
        }
    }
}

impl Drop for PostgresSource {
    /// The server need not go on for nobody.
    fn drop(&mut self) {
        if let Run::Going(_, run) = &self.run {
            run.abort();
        }
    }
}
