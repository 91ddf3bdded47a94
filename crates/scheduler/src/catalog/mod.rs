//! What is remembered between runs: runs, their ends, drills, and which policies there are.
//!
//! A database that several processes use at once: SQLite in a file, or PostgreSQL where several hosts
//! share it. It is a help: no repository depends on it, and whoever cannot write to it warns and goes
//! on. On purpose not here: where it lies, which the command line decides; anything that only it would
//! know of a backup.

mod alerts;
mod base;
mod clean;
mod entering;
mod error;
mod jobs;
mod lost;
mod place;
mod rebuild;
mod schema;
mod standing;

#[cfg(test)]
mod catalog_tests;
#[cfg(test)]
mod common_tests;
#[cfg(test)]
mod jobs_tests;
#[cfg(test)]
mod rebuild_tests;

pub use alerts::{Entry, Record as ChannelRecord, Sending, Waiting, Ways};
pub use clean::Cleaned;
pub use error::CatalogError;
pub use jobs::{ATTEMPTS_MAX, CLAIM_MAX, Claim, Due, Job, JobEnd, JobState, SeenWorker, TakenBack, Worker};
pub use place::{Place, Server};
pub use rebuild::{Rebuilt, rebuild};
pub use standing::Open;

use crate::evidence::{RECORD_VERSION, Record};
use base::{Ask, Base, Row, ask};
use jiff::Timestamp;

/// What is remembered.
#[derive(Debug, Clone)]
pub struct Catalog {
    base: Base,
    place: Place,
    /// Whether claims go by the times that are handed in, also on a server.
    by_handed_time: bool,
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
    /// Opens the catalog; makes it, and the folder that a file lies in, if they are not there.
    ///
    /// # Errors
    /// It is damaged, of a later version, something else, or out of reach.
    pub async fn open(place: &Place) -> Result<Self, CatalogError> {
        if let Place::File(path) = place
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder).map_err(|error| CatalogError::OutOfReach {
                place: place.to_string(),
                why: error.to_string(),
            })?;
        }
        let base = schema::prepare(place).await?;
        Ok(Self { base, place: place.clone(), by_handed_time: false })
    }

    /// Opens the catalog if it is there, and makes none for a look.
    ///
    /// # Errors
    /// As above.
    pub async fn open_if_there(place: &Place) -> Result<Option<Self>, CatalogError> {
        let there = match place {
            Place::File(path) => path.exists(),
            Place::Server(_) => schema::is_there(place).await?,
        };
        if there { Self::open(place).await.map(Some) } else { Ok(None) }
    }

    /// The same catalog for whoever simulates: how long claims hold is judged by the times that are handed
    /// in, also where a server has a clock.
    #[must_use]
    pub fn by_handed_time(self) -> Self {
        Self { by_handed_time: true, ..self }
    }

    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Lets go of it.
    pub async fn close(self) {
        self.base.close().await;
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
        let text = "INSERT INTO @policy (name, file, hash, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4)
                    ON CONFLICT (name) DO UPDATE SET file = $2, hash = $3, last_seen = $4";
        self.base.execute(&ask(text).with(name).with(file).with(hash).with(at)).await?;
        Ok(())
    }

    /// Forgets a policy: it is not asked about any more. What it did stays. Tells whether it was there.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget_policy(&self, name: &str) -> Result<bool, CatalogError> {
        Ok(self.base.execute(&ask("DELETE FROM @policy WHERE name = $1").with(name)).await? > 0)
    }

    /// The policies that are remembered, by their names.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn policies(&self) -> Result<Vec<Remembered>, CatalogError> {
        let text = "SELECT name, file, hash, first_seen, last_seen FROM @policy";
        let mut policies = self.all(&ask(text), remembered).await?;
        // Not by the database, which may sort by the rules of a language.
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(policies)
    }

    /// Remembers that something began; its number.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn begin(&self, run: &Run) -> Result<i64, CatalogError> {
        let text =
            "INSERT INTO @run (policy, source, activity, started) VALUES ($1, $2, $3, $4) RETURNING id";
        let ask = ask(text).with(&run.policy).with(run.source.as_ref()).with(&run.activity).with(run.started);
        let id = self.base.change_row(&ask).await?;
        self.base.read(id.ok_or(sqlx::Error::RowNotFound).and_then(|row| row.number("id")))
    }

    /// Remembers how it ended.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn end(&self, id: i64, end: &RunEnd) -> Result<(), CatalogError> {
        let text = "UPDATE @run SET ended = $1, code = $2, message = $3, snapshot = $4 WHERE id = $5";
        let ask = ask(text).with(end.ended).with(u32::from(end.code)).with(&end.message);
        self.base.execute(&ask.with(end.snapshot.as_ref()).with(id)).await?;
        Ok(())
    }

    /// The last runs of a policy, newest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn runs(&self, policy: &str, limit: u32) -> Result<Vec<Ran>, CatalogError> {
        let text =
            format!("SELECT {RAN} FROM @run WHERE policy = $1 ORDER BY started DESC, id DESC LIMIT $2");
        self.all(&ask(text).with(policy).with(limit), ran).await
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
            let of = if source.is_some() { "source = $3" } else { "source IS NULL" };
            let text = format!(
                "SELECT {RAN} FROM @run WHERE policy = $1 AND activity = $2 AND {of} AND {condition} \
                 ORDER BY started DESC, id DESC LIMIT 1"
            );
            let ask = ask(text).with(policy).with(activity);
            let ask = source.into_iter().fold(ask, Ask::with);
            Ok(self.all(&ask, ran).await?.pop())
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
        let text = "INSERT INTO @drill (id, policy, started, ended, record) VALUES ($1, $2, $3, $4, $5)
                    ON CONFLICT (id) DO NOTHING";
        let ask = ask(text).with(&read.id).with(&read.policy).with(read.started).with(read.ended);
        self.base.execute(&ask.with(record)).await?;
        Ok(())
    }

    /// The drills of a policy that are remembered, newest first; those of later versions of the program
    /// are passed over.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn drills(&self, policy: &str) -> Result<Vec<Record>, CatalogError> {
        let text = "SELECT record FROM @drill WHERE policy = $1 ORDER BY ended DESC, id";
        let texts = self.all(&ask(text).with(policy), |row| row.text("record")).await?;
        let read = |text: &String| -> Option<Record> {
            let record: Record = serde_json::from_str(text).ok()?;
            Some(record).filter(|record| record.version <= RECORD_VERSION)
        };
        Ok(texts.iter().filter_map(read).collect())
    }

    /// Asks, and reads all that comes back.
    async fn all<T>(
        &self,
        ask: &Ask,
        read: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, CatalogError> {
        let rows = self.base.rows(ask).await?;
        self.base.read(rows.iter().map(read).collect())
    }
}

/// The columns of a run.
const RAN: &str = "id, policy, source, activity, started, ended, code, message, snapshot";

fn ran(row: &Row) -> Result<Ran, sqlx::Error> {
    let end = match row.maybe_moment("ended")? {
        None => None,
        Some(ended) => Some(RunEnd {
            ended,
            code: u8::try_from(row.number("code")?).unwrap_or(u8::MAX),
            message: row.text("message")?,
            snapshot: row.maybe_text("snapshot")?,
        }),
    };
    let run = Run {
        policy: row.text("policy")?,
        source: row.maybe_text("source")?,
        activity: row.text("activity")?,
        started: row.moment("started")?,
    };
    Ok(Ran { id: row.number("id")?, run, end })
}

fn remembered(row: &Row) -> Result<Remembered, sqlx::Error> {
    Ok(Remembered {
        name: row.text("name")?,
        file: row.text("file")?,
        hash: row.text("hash")?,
        first_seen: row.moment("first_seen")?,
        last_seen: row.moment("last_seen")?,
    })
}
