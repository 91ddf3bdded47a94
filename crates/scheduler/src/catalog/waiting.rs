//! What of a policy is left undone: what waits for a worker, and what was given up. Found by its state, however many
//! jobs were entered since.
//!
//! On purpose not here: what of it is worth a word.

use super::base::{Row, ask};
use super::{Catalog, CatalogError};
use jiff::Timestamp;

/// A job that nobody does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// What was to be done.
    pub activity: String,
    /// The source with a time of its own; none where it is about all.
    pub source: Option<String>,
    /// The time that it is for.
    pub scheduled_for: Timestamp,
    /// When it was entered.
    pub entered: Timestamp,
    /// How often it was begun.
    pub attempt: u32,
}

const COLUMNS: &str = "activity, source, scheduled_for, entered, attempt";

impl Catalog {
    /// The job of a policy that waits longest for a worker, but for those of an activity.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn waits_longest(&self, policy: &str, but: &str) -> Result<Option<Undone>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} FROM @job WHERE policy = $1 AND activity <> $2 AND state = 'free' \
             ORDER BY entered, id LIMIT 1"
        );
        Ok(self.all(&ask(text).with(policy).with(but), undone).await?.pop())
    }

    /// The jobs of a policy that were given up, and after which none of the same kind was done, the newest first.
    /// One that is for a time behind `until` is none yet: a clock was ahead when it was entered.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn given_up(&self, policy: &str, until: Timestamp) -> Result<Vec<Undone>, CatalogError> {
        let text = format!(
            "SELECT {COLUMNS} FROM @job AS lost \
             WHERE policy = $1 AND state = 'lost' AND scheduled_for <= $2 AND NOT EXISTS ( \
                SELECT 1 FROM @job AS later WHERE later.policy = lost.policy AND later.activity = lost.activity \
                AND later.source = lost.source AND later.state = 'done' AND later.scheduled_for > lost.scheduled_for) \
             ORDER BY scheduled_for DESC, id DESC"
        );
        self.all(&ask(text).with(policy).with(until), undone).await
    }
}

fn undone(row: &Row) -> Result<Undone, sqlx::Error> {
    Ok(Undone {
        activity: row.text("activity")?,
        source: Some(row.text("source")?).filter(|source| !source.is_empty()),
        scheduled_for: row.moment("scheduled_for")?,
        entered: row.moment("entered")?,
        attempt: row.count("attempt")?,
    })
}
