//! The source: a cluster, as the engine captures it.
//!
//! On purpose not here: how it is read; and when a password is wrong, what a person can do.

use crate::batch::Owed;
use crate::capture::{self, Capture};
use crate::error::{PgError, ServerError};
use crate::facts::{Record, ServerFacts};
use crate::gather::Delivery;
use crate::look::{self, KEPT_CONFIG, Kept, Seen};
use crate::passfile::Secrets;
use crate::rows::RowsOf;
use crate::sql::{Session, USUAL};
use crate::url::Server;
use crate::wal::{Plan, make_slot};
use crate::wire::{Connection, Purpose};
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::outcome::{Notice, NoticeKind, Problems};
use holdfast_engine::source::{
    Account, ConsistencyPoint, EntryBatch, Order, Source, SourceError, SourceIdentity,
};
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
    /// Tables whose rows are counted when the files are in.
    pub count: Vec<RowsOf>,
    /// Leave a mark in the log when the files are in, if the role may.
    pub mark: bool,
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
    /// Who is asked what is in the cluster, if it lets us in for that.
    ask: Option<Box<Ask>>,
    /// What was found out beside the files.
    seen: Vec<(String, String)>,
    run: Run,
}

/// An ordinary connection to be, and what is asked by it.
struct Ask {
    server: Server,
    secrets: Secrets,
    count: Vec<RowsOf>,
    /// The mark to leave.
    mark: Option<String>,
}

impl Ask {
    async fn look(&self) -> Result<Seen, PgError> {
        let mut session = Session::open_any(&self.server, &self.secrets, &USUAL).await?;
        let Self { server, secrets, count, mark } = self;
        let seen = look::look(&mut session, server, secrets, count, mark.as_deref()).await;
        session.close().await;
        seen
    }
}

/// How far it is.
enum Run {
    Ready(Box<Ready>),
    Going(Box<Taken>, JoinHandle<Option<Record>>),
    /// All came, or it failed.
    Done(Option<Box<Record>>),
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
    kept: Vec<Kept>,
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
        let PostgresOptions { server, secrets, host, count, mark, spool, clock, cancel, unique } = options;
        let mut files = Connection::open(&server, &secrets).await?;
        let facts = ServerFacts::ask(&mut files).await?;
        if files.show("idle_session_timeout").await?.is_some_and(|timeout| timeout != "0") {
            files = files.beside_for(&server, &secrets, &Purpose::PatientReplication).await?;
        }
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
        let (mut kept, mut seen, mut ask) = (Vec::new(), Vec::new(), None);
        match config(&files, &server, &secrets).await {
            Ok(config) => {
                kept = config.files;
                seen.extend(lacking(&config.lacks));
                let server = Server { hosts: vec![files.host.clone()], ..server };
                let mark = mark.then(|| format!("holdfast-{unique:016x}"));
                ask = Some(Box::new(Ask { server, secrets, count, mark }));
            }
            Err(error) => problems.notice(without_sql(&error)),
        }
        let run = Run::Ready(Box::new(Ready { files, log, plan, kept }));
        let (handle, owed) = (Handle::current(), Owed::default());
        Ok(Self { identity, facts, cancel, handle, owed, problems, ask, seen, run })
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
        let Ready { files, log, plan, kept } = *ready;
        let (out, from_files) = channel(BATCHES);
        let (log_out, from_log) = unbounded_channel();
        let capture = Capture { files, log, plan, kept, out, log_out, owed: self.owed.clone() };
        let taken = Box::new(Taken { files: from_files, log: from_log });
        self.run = Run::Going(taken, self.handle.spawn(capture::run(capture)));
    }

    /// Waits until files and log are in.
    fn settle(&mut self) {
        if let Run::Going(_, run) = &mut self.run {
            let record = self.handle.block_on(run).ok().flatten();
            self.run = Run::Done(record.map(Box::new));
        }
    }
}

/// Reads the configuration, as far as the role is let in for that.
async fn config(files: &Connection, server: &Server, secrets: &Secrets) -> Result<look::Config, PgError> {
    let mut session = look::beside(files, server, secrets).await?;
    let config = look::config(&mut session).await;
    session.close().await;
    config
}

/// What of the configuration was not for the role to see, as a fact.
fn lacking(lacks: &[String]) -> Option<(String, String)> {
    (!lacks.is_empty()).then(|| ("configuration not recorded".to_owned(), lacks.join("; ")))
}

fn without_sql(error: &PgError) -> Notice {
    let what = format!(
        "databases, extensions, rows and configuration outside of the data are not recorded: the server does not let \
         us in for SQL: {error}"
    );
    Notice { path: format!("/{KEPT_CONFIG}").into_bytes(), kind: NoticeKind::LeftOut, what }
}

fn not_recorded(what: &str) -> Notice {
    Notice { path: b"/".to_vec(), kind: NoticeKind::LeftOut, what: format!("not recorded: {what}") }
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

    /// Rows are counted when all files are in: a cluster that is restored has the log up to then.
    fn account(&mut self, _account: &Account) -> Problems {
        let mut problems = std::mem::take(&mut self.problems);
        self.settle();
        let Some(ask) = self.ask.take() else { return problems };
        if self.cancel.is_raised() || !matches!(self.run, Run::Done(Some(_))) {
            return problems;
        }
        match self.handle.block_on(ask.look()) {
            Ok(seen) => {
                self.seen.extend(seen.facts);
                seen.lacks.into_iter().for_each(|lack| problems.notice(not_recorded(&lack)));
            }
            Err(error) => problems.notice(not_recorded(&format!("databases, extensions and rows: {error}"))),
        }
        problems
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        self.settle();
        let Run::Done(record) = std::mem::replace(&mut self.run, Run::Over) else {
            return Err(failed("the cluster was not read"));
        };
        let record = record.ok_or_else(|| failed("the backup of the cluster did not come to its end"))?;
        match self.owed.count() {
            0 => {
                let mut facts = record.facts();
                facts.append(&mut self.seen);
                Ok(ConsistencyPoint { record: record.encode(), facts, log: record.log() })
            }
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
