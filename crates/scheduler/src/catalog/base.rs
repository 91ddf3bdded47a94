//! The database below the catalog: SQLite in a file, or a server of PostgreSQL.
//!
//! Statements are written once. Where the two have different words, [`WORDS`] has them; `@` stands
//! before the name of a table of ours. Behind a pooler that hands connections out by transaction there
//! is no session to rely on: with a server each statement is part of a transaction, is prepared without
//! a name, and takes no lock that outlives it. On purpose not here: what is asked.

use super::error::Named;
use super::place::{Server, TlsMode};
use super::{CatalogError, Place};
use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, PgSslMode};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection as _, Executor as _, Postgres, Row as _, Sqlite, Transaction};
use std::io;
use std::path::Path;
use std::time::Duration;

/// So long one process waits until another has written to a file.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// So long a piece of work with a server may take, with finding a connection for it: a server that is
/// started again is waited for, one whose machine is gone is not.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How a change begins on a server. Nobody waits for another for ever, and who stands still in the middle is
/// let go of, with what it holds.
const BEGIN: &str =
    "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '30s'";
/// Connections of a process to a server, and to a file.
const CONNECTIONS_MAX: u32 = 4;
const CONNECTIONS_TO_FILE_MAX: u32 = 2;

/// What is written in our statements, what SQLite calls it, and what PostgreSQL does.
const WORDS: [(&str, &str, &str); 7] = [
    ("@", "", "holdfast."),
    ("NUMBER", "INTEGER", "BIGINT"),
    ("COUNTED", "INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    ("STRICT", "STRICT", ""),
    // Rows that change all the time have room to change where they are.
    ("CHANGING", "STRICT", "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02)"),
    // SQLite has one writer at a time anyway.
    ("THAT ARE FREE", "", "FOR UPDATE SKIP LOCKED"),
    ("THE TIME", "0", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000"),
];

/// A statement in the words of one of the two.
fn worded(text: &str, is_server: bool) -> String {
    let one = |text: String, (ours, file, server): &(&str, &str, &str)| {
        text.replace(ours, if is_server { server } else { file })
    };
    WORDS.iter().fold(text.to_owned(), one)
}

/// A value of a statement.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(Some(value))
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Number(Some(value.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Number(value)
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Number(value.map(number))
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Number(Some(number(value)))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        value.as_str().into()
    }
}

impl From<Option<&String>> for Value {
    fn from(value: Option<&String>) -> Self {
        Self::Text(value.cloned())
    }
}

/// A statement and its values, `$1` first.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    text: String,
    values: Vec<Value>,
}

/// A statement without values yet.
pub(super) fn ask(text: impl Into<String>) -> Ask {
    Ask { text: text.into(), values: Vec::new() }
}

impl Ask {
    /// Adds the next value.
    pub(super) fn with(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// What a file would do for it.
    #[cfg(test)]
    pub(super) fn explained(self) -> Self {
        Self { text: format!("EXPLAIN QUERY PLAN {}", self.text), ..self }
    }

    fn of_file<'a>(&'a self, text: &'a str) -> Query<'a, Sqlite, SqliteArguments<'a>> {
        self.values.iter().fold(sqlx::query(text), |query, value| match value {
            Value::Number(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.as_deref()),
        })
    }

    fn of_server<'a>(&'a self, text: &'a str) -> Query<'a, Postgres, PgArguments> {
        let query = sqlx::query(text).persistent(false);
        self.values.iter().fold(query, |query, value| match value {
            Value::Number(number) => query.bind(*number),
            // No text of a server may have a zero byte.
            Value::Text(text) => query.bind(text.as_ref().map(|text| text.replace('\0', "\u{fffd}"))),
        })
    }
}

/// What comes back.
pub(super) enum Row {
    File(SqliteRow),
    Server(PgRow),
}

type Read<T> = Result<T, sqlx::Error>;

/// With its type erased: the compiler cannot tell of the library's own whether other threads may go on
/// with them.
type Later<'a, T> = BoxFuture<'a, T>;

impl Row {
    pub(super) fn number(&self, name: &str) -> Read<i64> {
        match self {
            Self::File(row) => row.try_get(name),
            Self::Server(row) => row.try_get(name),
        }
    }

    pub(super) fn maybe_number(&self, name: &str) -> Read<Option<i64>> {
        match self {
            Self::File(row) => row.try_get(name),
            Self::Server(row) => row.try_get(name),
        }
    }

    pub(super) fn text(&self, name: &str) -> Read<String> {
        match self {
            Self::File(row) => row.try_get(name),
            Self::Server(row) => row.try_get(name),
        }
    }

    pub(super) fn maybe_text(&self, name: &str) -> Read<Option<String>> {
        match self {
            Self::File(row) => row.try_get(name),
            Self::Server(row) => row.try_get(name),
        }
    }

    pub(super) fn moment(&self, name: &str) -> Read<Timestamp> {
        timestamp(self.number(name)?)
    }

    pub(super) fn maybe_moment(&self, name: &str) -> Read<Option<Timestamp>> {
        self.maybe_number(name)?.map(timestamp).transpose()
    }

    /// A count that is small.
    pub(super) fn count(&self, name: &str) -> Read<u32> {
        Ok(u32::try_from(self.number(name)?).unwrap_or(u32::MAX))
    }
}

/// Moments are nanoseconds since 1970, which fit until 2262.
fn number(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)
}

fn timestamp(number: i64) -> Read<Timestamp> {
    Timestamp::from_nanosecond(i128::from(number)).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A database with its connections.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pool: Pool,
    pub(super) named: Named,
}

#[derive(Debug, Clone)]
enum Pool {
    File(SqlitePool),
    Server(PgPool),
}

/// What changes all at once, or not at all.
pub(super) enum Change {
    File(Transaction<'static, Sqlite>),
    Server(Transaction<'static, Postgres>),
}

impl Change {
    pub(super) fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    pub(super) fn rows<'a>(&'a mut self, ask: &'a Ask) -> Later<'a, Read<Vec<Row>>> {
        Box::pin(async move {
            let text = worded(&ask.text, self.is_server());
            Ok(match self {
                Self::File(change) => {
                    let rows = ask.of_file(&text).fetch_all(&mut **change).await?;
                    rows.into_iter().map(Row::File).collect()
                }
                Self::Server(change) => {
                    let rows = ask.of_server(&text).fetch_all(&mut **change).await?;
                    rows.into_iter().map(Row::Server).collect()
                }
            })
        })
    }

    pub(super) async fn row(&mut self, ask: &Ask) -> Read<Option<Row>> {
        Ok(self.rows(ask).await?.into_iter().next())
    }

    /// Tells how many rows it changed.
    pub(super) fn execute<'a>(&'a mut self, ask: &'a Ask) -> Later<'a, Read<u64>> {
        Box::pin(async move {
            let text = worded(&ask.text, self.is_server());
            Ok(match self {
                Self::File(change) => ask.of_file(&text).execute(&mut **change).await?.rows_affected(),
                Self::Server(change) => ask.of_server(&text).execute(&mut **change).await?.rows_affected(),
            })
        })
    }

    /// Runs statements without values.
    pub(super) fn run<'a>(&'a mut self, text: &'a str) -> Later<'a, Read<()>> {
        Box::pin(async move {
            let text = worded(text, self.is_server());
            match self {
                Self::File(change) => (&mut **change).execute(&*text).await.map(drop),
                Self::Server(change) => (&mut **change).execute(&*text).await.map(drop),
            }
        })
    }

    pub(super) async fn commit(self) -> Read<()> {
        match self {
            Self::File(change) => change.commit().await,
            Self::Server(change) => change.commit().await,
        }
    }

    pub(super) async fn undo(self) -> Read<()> {
        match self {
            Self::File(change) => change.rollback().await,
            Self::Server(change) => change.rollback().await,
        }
    }
}

impl Base {
    /// Connects, and leaves what is there as it is.
    pub(super) async fn connect(place: &Place) -> Result<Self, CatalogError> {
        let named = named(place);
        let pool = match place {
            Place::File(path) => {
                let pool = SqlitePoolOptions::new().max_connections(1).connect_with(of_file(path)).await;
                Pool::File(pool.map_err(|error| named.error(&error))?)
            }
            Place::Server(server) => {
                // By itself a pool asks again and again, and does not tell why.
                reach(server).await.map_err(|error| named.error(&error))?;
                let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(ANSWER_MAX);
                Pool::Server(pool.connect_lazy_with(of_server(server)))
            }
        };
        Ok(Self { pool, named })
    }

    /// The same for good, once the tables are there: a file is set up for several processes.
    pub(super) async fn settle(self, place: &Place) -> Result<Self, CatalogError> {
        let Place::File(path) = place else { return Ok(self) };
        self.close().await;
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_TO_FILE_MAX);
        let pool = pool.connect_with(of_file(path).journal_mode(SqliteJournalMode::Wal)).await;
        let pool = Pool::File(pool.map_err(|error| self.named.error(&error))?);
        Ok(Self { pool, named: self.named })
    }

    pub(super) async fn close(&self) {
        match &self.pool {
            Pool::File(pool) => pool.close().await,
            Pool::Server(pool) => pool.close().await,
        }
    }

    /// Begins a change; with a file nobody else changes anything until it ends.
    pub(super) async fn change(&self) -> Read<Change> {
        Ok(match &self.pool {
            Pool::File(pool) => Change::File(pool.begin_with("BEGIN IMMEDIATE").await?),
            Pool::Server(pool) => Change::Server(pool.begin_with(BEGIN).await?),
        })
    }

    /// Begins to read what stays as it is meanwhile.
    pub(super) async fn look(&self) -> Read<Change> {
        Ok(match &self.pool {
            Pool::File(pool) => Change::File(pool.begin().await?),
            Pool::Server(pool) => Change::Server(pool.begin_with(BEGIN).await?),
        })
    }

    /// Does a piece of work that is bounded in time, and tells in words what went wrong.
    pub(super) fn within<'a, T: Send + 'a>(
        &'a self,
        work: impl Future<Output = Read<T>> + Send + 'a,
    ) -> Later<'a, Result<T, CatalogError>> {
        Box::pin(async move {
            let done = match self.pool {
                Pool::File(_) => work.await,
                Pool::Server(_) => match tokio::time::timeout(ANSWER_MAX, work).await {
                    Ok(done) => done,
                    Err(_) => Err(no_answer(ANSWER_MAX)),
                },
            };
            done.map_err(|error| self.named.error(&error))
        })
    }

    pub(super) async fn rows(&self, ask: &Ask) -> Result<Vec<Row>, CatalogError> {
        self.within(async {
            if let Pool::File(pool) = &self.pool {
                let text = worded(&ask.text, false);
                let rows = ask.of_file(&text).fetch_all(pool).await?;
                return Ok(rows.into_iter().map(Row::File).collect());
            }
            let mut change = self.change().await?;
            let rows = change.rows(ask).await?;
            change.commit().await?;
            Ok(rows)
        })
        .await
    }

    /// Changes something, and gets a row of it.
    pub(super) async fn change_row(&self, ask: &Ask) -> Result<Option<Row>, CatalogError> {
        self.within(async {
            let mut change = self.change().await?;
            let row = change.row(ask).await?;
            change.commit().await?;
            Ok(row)
        })
        .await
    }

    /// Tells how many rows it changed.
    pub(super) async fn execute(&self, ask: &Ask) -> Result<u64, CatalogError> {
        self.within(async {
            let mut change = self.change().await?;
            let count = change.execute(ask).await?;
            change.commit().await?;
            Ok(count)
        })
        .await
    }

    /// What went wrong, in words.
    pub(super) fn read<T>(&self, read: Read<T>) -> Result<T, CatalogError> {
        read.map_err(|error| self.named.error(&error))
    }
}

/// Connects once.
fn reach(server: &Server) -> Later<'_, Read<()>> {
    Box::pin(async move {
        match tokio::time::timeout(server.connect, of_server(server).connect()).await {
            Ok(connected) => connected?.close().await,
            Err(_) => Err(no_answer(server.connect)),
        }
    })
}

fn no_answer(after: Duration) -> sqlx::Error {
    let why = format!("no answer in {} s", after.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why))
}

fn named(place: &Place) -> Named {
    Named { place: place.to_string(), is_server: place.server().is_some() }
}

fn of_file(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(BUSY_MAX)
        // With WAL nothing is ever broken by a crash; the last lines may be lost, which is no harm.
        .synchronous(SqliteSynchronous::Normal)
        .disable_statement_logging()
}

fn of_server(server: &Server) -> PgConnectOptions {
    let mode = match server.tls() {
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Prefer => PgSslMode::Prefer,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyCa => PgSslMode::VerifyCa,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.database)
        .ssl_mode(mode)
        .application_name("holdfast")
        .statement_cache_capacity(0)
        // Poolers refuse what they do not know at the start of a session.
        .extra_float_digits(None)
        .disable_statement_logging();
    let options = server.roots.iter().fold(options, |options, file| options.ssl_root_cert(file));
    let options = server
        .own
        .iter()
        .fold(options, |options, (cert, key)| options.ssl_client_cert(cert).ssl_client_key(key));
    let options = if server.is_socket() { options.socket(&server.host) } else { options };
    server.password.iter().fold(options, |options, password| options.password(&password.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_put_into_the_words_of_each() {
        let text = "SELECT a FROM @run AS r WHERE a = $1 THAT ARE FREE";
        assert_eq!(worded(text, false), "SELECT a FROM run AS r WHERE a = $1 ");
        assert_eq!(worded(text, true), "SELECT a FROM holdfast.run AS r WHERE a = $1 FOR UPDATE SKIP LOCKED");
        for (ours, ..) in WORDS {
            assert!(!worded(ours, false).contains("NUMBER") && !worded(ours, true).contains('@'), "{ours}");
        }
    }
}
