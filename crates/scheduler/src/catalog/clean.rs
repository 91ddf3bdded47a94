//! What is forgotten, so that the catalog does not grow for ever.
//!
//! Of each kind the last of each outcome stays, however old it is: when it was last done, when that
//! last went well, and why it last did not. Drills are evidence, and stay. On purpose not here: how old
//! is old.

use super::base::ask;
use super::{Catalog, CatalogError};
use jiff::Timestamp;

/// So many rows are deleted at once: each time the table is gone through, and others wait meanwhile.
const BATCH: u64 = 10_000;

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Jobs that ended.
    pub jobs: u64,
    /// Runs.
    pub runs: u64,
}

/// Jobs that ended, with a newer one that ended alike. The newest of each kind are found first: to look for
/// a newer one of each would take its time where there are many of a kind.
const JOBS: &str = "
    DELETE FROM @job WHERE id IN (
        SELECT old.id FROM @job AS old JOIN (
            SELECT policy, activity, source, state, coalesce(code, 0) = 0 AS well, max(scheduled_for) AS newest
            FROM @job GROUP BY policy, activity, source, state, coalesce(code, 0) = 0
        ) AS last ON last.policy = old.policy AND last.activity = old.activity AND last.source = old.source
            AND last.state = old.state AND last.well = (coalesce(old.code, 0) = 0)
        WHERE old.state IN ('done', 'skipped', 'lost') AND old.ended < $1 AND old.scheduled_for < last.newest
        ORDER BY old.id LIMIT $2
    )";

/// Runs with a newer one that ended alike, or did not end either.
const RUNS: &str = "
    DELETE FROM @run WHERE id IN (
        SELECT old.id FROM @run AS old JOIN (
            SELECT policy, activity, coalesce(source, '') AS about, code IS NULL AS open, coalesce(code, 0) = 0 AS well,
                max(started) AS newest
            FROM @run GROUP BY policy, activity, coalesce(source, ''), code IS NULL, coalesce(code, 0) = 0
        ) AS last ON last.policy = old.policy AND last.activity = old.activity
            AND last.about = coalesce(old.source, '')
            AND last.open = (old.code IS NULL) AND last.well = (coalesce(old.code, 0) = 0)
        WHERE old.started < $1 AND old.started < last.newest
        ORDER BY old.id LIMIT $2
    )";

impl Catalog {
    /// Forgets jobs and runs that ended or began before a moment, but for the last of each kind and outcome.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn clean(&self, before: Timestamp) -> Result<Cleaned, CatalogError> {
        Ok(Cleaned { jobs: self.delete_all(JOBS, before).await?, runs: self.delete_all(RUNS, before).await? })
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
