//! What is remembered between runs: runs, their ends, drills, and which policies there are.
//!
//! An SQLite database that several processes use at once. It is a help: no repository depends on
//! it, and whoever cannot write to it warns and goes on. On purpose not here: where it lies, which
//! the command line decides; anything that only it would know of a backup.

mod error;
mod schema;

#[cfg(test)]
mod catalog_tests;

pub use error::CatalogError;

use crate::evidence::{RECORD_VERSION, Record};
use jiff::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long one process waits until another has written.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// What is remembered.
#[derive(Debug, Clone)]
pub struct Catalog {
    pool: SqlitePool,
    path: PathBuf,
}

/// Something that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The policy.
    pub policy: String,
    /// The source in it; none where it is about all.
    pub source: Option<String>,
    /// `backup`, `copy`, `forget`, `prune`, `check`, `drill`.
    pub activity: String,
    /// When it began.
    pub started: Timestamp,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// When.
    pub ended: Timestamp,
    /// The exit code.
    pub code: u8,
    /// Why, if not well; empty if well.
    pub message: String,
    /// The snapshot that was made.
    pub snapshot: Option<String>,
}

/// A run as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its number.
    pub id: i64,
    /// What began.
    pub run: Run,
    /// How it ended; none while it runs, or if it was killed.
    pub end: Option<RunEnd>,
}

/// The last runs of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Last {
    /// The last one that ended with 0.
    pub good: Option<Ran>,
    /// The last one that ended otherwise.
    pub failed: Option<Ran>,
    /// The last one, if it has not ended: it runs, or was killed.
    pub open: Option<Ran>,
}

/// A policy that was run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// What it is called.
    pub name: String,
    /// The file that it was read from.
    pub file: String,
    /// BLAKE3 of that file, hexadecimal.
    pub hash: String,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
}

impl Catalog {
    /// Opens the catalog in a file; makes it, and the folder that it lies in, if they are not there.
    ///
    /// # Errors
    /// It is damaged, of a later version, something else, or out of reach.
    pub async fn open(path: &Path) -> Result<Self, CatalogError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| CatalogError::OutOfReach {
                path: path.to_owned(),
                why: error.to_string(),
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(BUSY_MAX)
            // With WAL nothing is ever broken by a crash; the last lines may be lost, which is no harm.
            .synchronous(SqliteSynchronous::Normal)
            .disable_statement_logging();
        let of = |error| CatalogError::of(path, error);
        schema::prepare(path, &options).await?;
        let pool = SqlitePoolOptions::new().max_connections(2);
        let pool = pool.connect_with(options.journal_mode(SqliteJournalMode::Wal)).await.map_err(of)?;
        Ok(Self { pool, path: path.to_owned() })
    }

    /// The place that a text means: a path, or `sqlite://path`.
    ///
    /// # Errors
    /// It is the URL of something else.
    pub fn place(text: &str) -> Result<PathBuf, CatalogError> {
        match text.split_once("://") {
            None => Ok(text.strip_prefix("sqlite:").unwrap_or(text).into()),
            Some(("sqlite", path)) if !path.is_empty() => Ok(path.into()),
            // The rest may hold a password.
            Some((scheme, _)) => Err(CatalogError::NotSupported { scheme: scheme.to_owned() }),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of it.
    pub async fn close(self) {
        self.pool.close().await;
    }

    /// Remembers that there is a policy.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn remember_policy(
        &self,
        name: &str,
        file: &str,
        hash: &str,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let text = "INSERT INTO policy (name, file, hash, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)
                    ON CONFLICT (name) DO UPDATE SET file = ?2, hash = ?3, last_seen = ?4";
        let query = sqlx::query(text).bind(name).bind(file).bind(hash).bind(number(at));
        query.execute(&self.pool).await.map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Forgets a policy: it is not asked about any more. What it did stays. Tells whether it was there.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget_policy(&self, name: &str) -> Result<bool, CatalogError> {
        let query = sqlx::query("DELETE FROM policy WHERE name = ?").bind(name);
        let done = query.execute(&self.pool).await.map_err(|error| self.error(error))?;
        Ok(done.rows_affected() > 0)
    }

    /// The policies that are remembered, by their names.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn policies(&self) -> Result<Vec<Remembered>, CatalogError> {
        let text = "SELECT name, file, hash, first_seen, last_seen FROM policy ORDER BY name";
        let rows = sqlx::query(text).fetch_all(&self.pool).await.map_err(|error| self.error(error))?;
        rows.iter().map(remembered).collect::<Result<_, _>>().map_err(|error| self.error(error))
    }

    /// Remembers that something began; its number.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn begin(&self, run: &Run) -> Result<i64, CatalogError> {
        let query = sqlx::query("INSERT INTO run (policy, source, activity, started) VALUES (?, ?, ?, ?)");
        let query = query.bind(&run.policy).bind(&run.source).bind(&run.activity).bind(number(run.started));
        let done = query.execute(&self.pool).await.map_err(|error| self.error(error))?;
        Ok(done.last_insert_rowid())
    }

    /// Remembers how it ended.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn end(&self, id: i64, end: &RunEnd) -> Result<(), CatalogError> {
        let query = sqlx::query("UPDATE run SET ended = ?, code = ?, message = ?, snapshot = ? WHERE id = ?");
        let query = query.bind(number(end.ended)).bind(i64::from(end.code));
        let query = query.bind(&end.message).bind(&end.snapshot).bind(id);
        query.execute(&self.pool).await.map_err(|error| self.error(error))?;
        Ok(())
    }

    /// The last runs of a policy, newest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn runs(&self, policy: &str, limit: u32) -> Result<Vec<Ran>, CatalogError> {
        let text = format!("SELECT {RAN} FROM run WHERE policy = ? ORDER BY started DESC, id DESC LIMIT ?");
        let rows = sqlx::query(&text).bind(policy).bind(i64::from(limit)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| self.error(error))?;
        rows.iter().map(ran).collect::<Result<_, _>>().map_err(|error| self.error(error))
    }

    /// The last runs of one kind, of a source or of what is about all of them.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn last(
        &self,
        policy: &str,
        source: Option<&str>,
        activity: &str,
    ) -> Result<Last, CatalogError> {
        let one = async |condition: &str| -> Result<Option<Ran>, CatalogError> {
            let text = format!(
                "SELECT {RAN} FROM run WHERE policy = ? AND source IS ? AND activity = ? AND {condition} \
                 ORDER BY started DESC, id DESC LIMIT 1"
            );
            let query = sqlx::query(&text).bind(policy).bind(source).bind(activity);
            let row = query.fetch_optional(&self.pool).await.map_err(|error| self.error(error))?;
            row.as_ref().map(ran).transpose().map_err(|error| self.error(error))
        };
        let newest = one("TRUE").await?;
        Ok(Last {
            good: one("code = 0").await?,
            failed: one("code <> 0").await?,
            open: newest.filter(|ran| ran.end.is_none()),
        })
    }

    /// Remembers a drill by its record, the JSON that is kept as evidence. One that is known already is
    /// left as it is.
    ///
    /// # Errors
    /// It is no record, or cannot be written.
    pub async fn remember_drill(&self, record: &str) -> Result<(), CatalogError> {
        let read: Record = serde_json::from_str(record)
            .map_err(|error| CatalogError::NoRecord { why: error.to_string() })?;
        let text = "INSERT INTO drill (id, policy, started, ended, record) VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT (id) DO NOTHING";
        let query = sqlx::query(text).bind(&read.id).bind(&read.policy);
        let query = query.bind(number(read.started)).bind(number(read.ended)).bind(record);
        query.execute(&self.pool).await.map_err(|error| self.error(error))?;
        Ok(())
    }

    /// The drills of a policy that are remembered, newest first; those of later versions of the program
    /// are passed over.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn drills(&self, policy: &str) -> Result<Vec<Record>, CatalogError> {
        let text = "SELECT record FROM drill WHERE policy = ? ORDER BY ended DESC, id";
        let rows = sqlx::query(text).bind(policy).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| self.error(error))?;
        let read = |row: &SqliteRow| -> Option<Record> {
            let record: Record = serde_json::from_str(row.try_get("record").ok()?).ok()?;
            Some(record).filter(|record| record.version <= RECORD_VERSION)
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    fn error(&self, error: sqlx::Error) -> CatalogError {
        CatalogError::of(&self.path, error)
    }
}

/// The columns of a run.
const RAN: &str = "id, policy, source, activity, started, ended, code, message, snapshot";

fn ran(row: &SqliteRow) -> Result<Ran, sqlx::Error> {
    let end = match row.try_get::<Option<i64>, _>("ended")? {
        None => None,
        Some(ended) => Some(RunEnd {
            ended: timestamp(ended)?,
            code: u8::try_from(row.try_get::<i64, _>("code")?).unwrap_or(u8::MAX),
            message: row.try_get("message")?,
            snapshot: row.try_get("snapshot")?,
        }),
    };
    let run = Run {
        policy: row.try_get("policy")?,
        source: row.try_get("source")?,
        activity: row.try_get("activity")?,
        started: timestamp(row.try_get("started")?)?,
    };
    Ok(Ran { id: row.try_get("id")?, run, end })
}

fn remembered(row: &SqliteRow) -> Result<Remembered, sqlx::Error> {
    Ok(Remembered {
        name: row.try_get("name")?,
        file: row.try_get("file")?,
        hash: row.try_get("hash")?,
        first_seen: timestamp(row.try_get("first_seen")?)?,
        last_seen: timestamp(row.try_get("last_seen")?)?,
    })
}

/// Moments are nanoseconds since 1970, which fit until 2262.
fn number(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)
}

fn timestamp(number: i64) -> Result<Timestamp, sqlx::Error> {
    Timestamp::from_nanosecond(i128::from(number)).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
