//! What is forgotten, so that the catalog does not grow for ever.
//!
//! Of each kind the last of each outcome stays, however old it is: when it was last done, when that
//! last went well, and why it last did not. Drills are evidence, and stay. On purpose not here: how old
//! is old.

use super::base::ask;
use super::{Catalog, CatalogError};
use jiff::Timestamp;

/// So many rows are deleted at once, so that nobody waits for long.
const BATCH: u64 = 1000;

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Jobs that ended.
    pub jobs: u64,
    /// Runs.
    pub runs: u64,
    /// Workers that were not seen since.
    pub workers: u64,
}

/// Jobs that ended, with a newer one that ended alike.
const JOBS: &str = "
    DELETE FROM @job WHERE id IN (
        SELECT old.id FROM @job AS old
        WHERE old.state IN ('done', 'skipped', 'lost') AND old.ended < $1 AND EXISTS (
            SELECT 1 FROM @job AS newer
            WHERE newer.policy = old.policy AND newer.activity = old.activity AND newer.source = old.source
                AND newer.scheduled_for > old.scheduled_for AND newer.state = old.state
                AND (coalesce(newer.code, 0) = 0) = (coalesce(old.code, 0) = 0)
        )
        ORDER BY old.id LIMIT $2
    )";

/// Runs with a newer one that ended alike, or did not end either.
const RUNS: &str = "
    DELETE FROM @run WHERE id IN (
        SELECT old.id FROM @run AS old
        WHERE old.started < $1 AND EXISTS (
            SELECT 1 FROM @run AS newer
            WHERE newer.policy = old.policy AND newer.activity = old.activity
                AND (newer.source = old.source OR (newer.source IS NULL AND old.source IS NULL))
                AND newer.started > old.started
                AND (newer.code IS NULL) = (old.code IS NULL)
                AND (coalesce(newer.code, 0) = 0) = (coalesce(old.code, 0) = 0)
        )
        ORDER BY old.id LIMIT $2
    )";

impl Catalog {
    /// Forgets jobs and runs that ended or began before a moment, but for the last of each kind and
    /// outcome, and workers that were not seen since.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn clean(&self, before: Timestamp) -> Result<Cleaned, CatalogError> {
        let workers = ask("DELETE FROM @worker WHERE last_seen < $1").with(before);
        Ok(Cleaned {
            jobs: self.delete_all(JOBS, before).await?,
            runs: self.delete_all(RUNS, before).await?,
            workers: self.base.execute(&workers).await?,
        })
    }

    async fn delete_all(&self, text: &str, before: Timestamp) -> Result<u64, CatalogError> {
        let ask = ask(text).with(before).with(i64::try_from(BATCH).unwrap_or(i64::MAX));
        let mut all = 0;
        loop {
            let count = self.base.execute(&ask).await?;
            all += count;
            if count < BATCH {
                return Ok(all);
            }
        }
    }
}
