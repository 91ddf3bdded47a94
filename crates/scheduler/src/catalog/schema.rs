//! The tables of the catalog, and how an older one is brought up to date.
//!
//! On purpose not here: what stands in them.

use super::CatalogError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection, Executor};
use std::path::Path;
use std::time::Duration;

/// What leads from each version to the next, from none on. What was released is never changed.
const STEPS: [&str; 1] = ["
    CREATE TABLE policy (
        name TEXT PRIMARY KEY,
        file TEXT NOT NULL,
        hash TEXT NOT NULL,
        first_seen INTEGER NOT NULL,
        last_seen INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        policy TEXT NOT NULL,
        source TEXT,
        activity TEXT NOT NULL,
        started INTEGER NOT NULL,
        ended INTEGER,
        code INTEGER,
        message TEXT,
        snapshot TEXT
    ) STRICT;
    CREATE INDEX run_by_kind ON run (policy, activity, source, started);
    CREATE INDEX run_by_time ON run (policy, started);
    CREATE TABLE drill (
        id TEXT PRIMARY KEY,
        policy TEXT NOT NULL,
        started INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX drill_by_time ON drill (policy, ended);
"];

/// The latest version.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Several processes that make it at the same moment wait for each other so often.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the tables, or brings them up to date, in a connection of its own.
pub(super) async fn prepare(path: &Path, options: &SqliteConnectOptions) -> Result<(), CatalogError> {
    let mut tries = 0;
    loop {
        match try_to_prepare(path, options).await {
            // The change to WAL does not wait by itself.
            Err(error) if error.is_busy() && tries < TRIES => tries += 1,
            result => return result,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn try_to_prepare(path: &Path, options: &SqliteConnectOptions) -> Result<(), CatalogError> {
    let of = |error| CatalogError::of(path, error);
    let mut connection = options.connect().await.map_err(of)?;
    let found = version(path, &mut connection).await;
    let result = match found {
        Ok(VERSION) => Ok(()),
        Ok(_) => bring_up(path, &mut connection).await,
        Err(error) => Err(error),
    };
    connection.close().await.map_err(of)?;
    if result.is_ok() {
        // Only once it is ours.
        let wal = options.clone().journal_mode(SqliteJournalMode::Wal);
        wal.connect().await.map_err(of)?.close().await.map_err(of)?;
    }
    result
}

/// Its version; 0 for an empty file.
async fn version(path: &Path, connection: &mut SqliteConnection) -> Result<i64, CatalogError> {
    let of = |error| CatalogError::of(path, error);
    // In one look: another process may make the tables between two.
    let tables =
        "SELECT count(*), coalesce(sum(type = 'table' AND name = 'holdfast_catalog'), 0) FROM sqlite_schema";
    let (all, ours): (i64, i64) = sqlx::query_as(tables).fetch_one(&mut *connection).await.map_err(of)?;
    if ours == 0 {
        return if all == 0 { Ok(0) } else { Err(CatalogError::NotOurs { path: path.to_owned() }) };
    }
    let newest = "SELECT coalesce(max(version), 0) FROM holdfast_catalog";
    let version: i64 = sqlx::query_scalar(newest).fetch_one(&mut *connection).await.map_err(of)?;
    if version > VERSION {
        return Err(CatalogError::Later { path: path.to_owned(), version, known: VERSION });
    }
    Ok(version)
}

/// Takes the steps that are missing, all or none.
async fn bring_up(path: &Path, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
    let of = |error| CatalogError::of(path, error);
    // Nobody else changes it from here on, and it may have been changed since.
    let mut changes = connection.begin_with("BEGIN IMMEDIATE").await.map_err(of)?;
    let from = version(path, &mut changes).await?;
    let table = "CREATE TABLE IF NOT EXISTS holdfast_catalog (version INTEGER NOT NULL) STRICT";
    changes.execute(table).await.map_err(of)?;
    for (number, step) in (1i64..).zip(STEPS).skip(usize::try_from(from).unwrap_or(0)) {
        changes.execute(step).await.map_err(of)?;
        let note = sqlx::query("INSERT INTO holdfast_catalog (version) VALUES (?)").bind(number);
        note.execute(&mut *changes).await.map_err(of)?;
    }
    changes.commit().await.map_err(of)
}
