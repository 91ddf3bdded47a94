//! What stands in the queue: how far it goes, what is not done yet, and what somebody gives back.
//!
//! On purpose not here: claiming and ending, which `jobs` has.

use super::base::{Row, ask};
use super::entering::end_waiting;
use super::jobs::{DUE, job};
use super::{Catalog, CatalogError, Claim, Job, schema};
use jiff::Timestamp;

/// So many that wait are told at once.
const FREE_MAX: u32 = 1000;

/// A job that is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Its number.
    pub job: i64,
    /// The time that it is for.
    pub scheduled_for: Timestamp,
    /// How many earlier times it makes up for.
    pub missed: u32,
    /// Whether a worker has it.
    pub runs: bool,
}

impl Catalog {
    /// The latest time of a kind that was entered and is not behind a moment. A clock that was years ahead for a
    /// while has entered times that nobody is to wait for.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn entered_until(
        &self,
        policy: &str,
        activity: &str,
        source: Option<&str>,
        until: Timestamp,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let text = "SELECT max(scheduled_for) AS newest FROM @job \
                    WHERE policy = $1 AND activity = $2 AND source = $3 AND scheduled_for <= $4";
        let ask = ask(text).with(policy).with(activity).with(source.unwrap_or_default()).with(until);
        let newest = self.all(&ask, |row| row.maybe_moment("newest")).await?;
        Ok(newest.into_iter().flatten().next())
    }

    /// The newest job of a kind that waits or runs.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn open_job(
        &self,
        policy: &str,
        activity: &str,
        source: Option<&str>,
    ) -> Result<Option<Open>, CatalogError> {
        let text = "SELECT id, scheduled_for, missed, state FROM @job \
                    WHERE policy = $1 AND activity = $2 AND source = $3 AND state IN ('free', 'running') \
                    ORDER BY scheduled_for DESC LIMIT 1";
        let ask = ask(text).with(policy).with(activity).with(source.unwrap_or_default());
        let open = |row: &Row| {
            Ok(Open {
                job: row.number("id")?,
                scheduled_for: row.moment("scheduled_for")?,
                missed: row.count("missed")?,
                runs: row.text("state")? == "running",
            })
        };
        Ok(self.all(&ask, open).await?.into_iter().next())
    }

    /// Whether a worker has a job of a kind.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn is_running(
        &self,
        policy: &str,
        activity: &str,
        source: Option<&str>,
    ) -> Result<bool, CatalogError> {
        let text = "SELECT id FROM @job WHERE policy = $1 AND activity = $2 AND source = $3 AND state = 'running' LIMIT 1";
        let ask = ask(text).with(policy).with(activity).with(source.unwrap_or_default());
        Ok(!self.all(&ask, |row| row.number("id")).await?.is_empty())
    }

    /// Ends a job that nobody began yet, because a later one stands for it too. False if somebody did.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn supersede(&self, job: i64, why: &str, now: Timestamp) -> Result<bool, CatalogError> {
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let ended = end_waiting(&mut change, job, why, now).await?;
                change.commit().await?;
                Ok(ended)
            })
            .await
    }

    /// The jobs of a policy that nobody began yet, the oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn free_jobs(&self, policy: &str) -> Result<Vec<Job>, CatalogError> {
        let text = format!(
            "SELECT {DUE}, state, worker, claimed_until, attempt, entered, ended, code, message FROM @job \
             WHERE policy = $1 AND state = 'free' ORDER BY scheduled_for, id LIMIT {FREE_MAX}"
        );
        self.all(&ask(text).with(policy), job).await
    }

    /// Gives a job back that was stopped: it is free at once, and does not count as begun. False if it is not the
    /// worker's any more.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn give_back(&self, claim: &Claim) -> Result<bool, CatalogError> {
        let text = "UPDATE @job SET state = 'free', claimed_until = NULL, attempt = attempt - 1 \
                    WHERE id = $1 AND fence = $2 AND worker = $3 AND state = 'running'";
        // Who asks again because no answer came gets the same one.
        let known = "SELECT id FROM @job WHERE id = $1 AND fence = $2 AND worker = $3 AND state = 'free'";
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                if change.execute(&ask(text).of(claim)).await? == 0 {
                    let known = change.row(&ask(known).of(claim)).await?.is_some();
                    change.undo().await?;
                    return Ok(known);
                }
                change.execute(&ask("DELETE FROM @taken WHERE job = $1").with(claim.job)).await?;
                change.commit().await?;
                Ok(true)
            })
            .await
    }

    /// Forgets workers that were not seen since a moment.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn forget_workers(&self, before: Timestamp) -> Result<u64, CatalogError> {
        self.base.execute(&ask("DELETE FROM @worker WHERE last_seen < $1").with(before)).await
    }

    /// Whether it is still one that this version knows: it may have been brought up to date, moved or emptied by
    /// others meanwhile.
    ///
    /// # Errors
    /// It is not, or cannot be read.
    pub async fn is_as_known(&self) -> Result<(), CatalogError> {
        schema::assert_known(&self.base).await
    }

    /// Forgets a worker that says that it leaves.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn leave(&self, worker: &str) -> Result<(), CatalogError> {
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                change.execute(&ask("DELETE FROM @worker WHERE name = $1").with(worker)).await?;
                change.commit().await
            })
            .await
    }
}
