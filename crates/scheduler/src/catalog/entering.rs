//! What is entered into the queue: what is due, what is not to be done any more, what was done before; and ending
//! what nobody began.
//!
//! On purpose not here: claiming and ending, which `jobs` has.

use super::base::{Ask, Change, ask};
use super::jobs::{ending, forget_needs, list};
use super::{Catalog, CatalogError, Due, JobEnd};
use jiff::Timestamp;

impl Catalog {
    /// Enters what is due; false if it stands there already, whatever became of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn enter(&self, due: &Due, now: Timestamp) -> Result<bool, CatalogError> {
        self.enter_with(&[(due, None)], now).await
    }

    /// Enters what is due, in place of a job that nobody began yet, which ends by it: both or neither. True if that
    /// one ended now.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn enter_instead(
        &self,
        due: &Due,
        waits: i64,
        why: &str,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let due = whole(due);
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let Some(row) = change.row(&entering(&due, now, None)).await? else {
                    change.undo().await?;
                    return Ok(false);
                };
                needs(&mut change, row.number("id")?, &due).await?;
                let ended = end_waiting(&mut change, waits, why, now).await?;
                change.commit().await?;
                Ok(ended)
            })
            .await
    }

    /// Enters what was due and is not to be done any more, so that nobody enters it again; false if it
    /// stands there already.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn enter_skipped(&self, due: &Due, why: &str, now: Timestamp) -> Result<bool, CatalogError> {
        let end = JobEnd::Skipped { why: why.to_owned() };
        self.enter_with(&[(due, Some(&end))], now).await
    }

    /// Enters what was done, all at once; what stands there already is left as it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn enter_ended(&self, past: &[(Due, JobEnd)], now: Timestamp) -> Result<(), CatalogError> {
        let all: Vec<_> = past.iter().map(|(due, end)| (due, Some(end))).collect();
        self.enter_with(&all, now).await.map(drop)
    }

    /// Tells whether any of it was not there.
    async fn enter_with(
        &self,
        all: &[(&Due, Option<&JobEnd>)],
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let mut entered = false;
                for (due, end) in all {
                    let due = whole(due);
                    let Some(row) = change.row(&entering(&due, now, *end)).await? else { continue };
                    entered = true;
                    if end.is_none() {
                        needs(&mut change, row.number("id")?, &due).await?;
                    }
                }
                change.commit().await?;
                Ok(entered)
            })
            .await
    }

    /// The time of the newest job of a kind, whatever became of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn last_entered(
        &self,
        policy: &str,
        activity: &str,
        source: Option<&str>,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let text = "SELECT max(scheduled_for) AS newest FROM @job WHERE policy = $1 AND activity = $2 AND source = $3";
        let ask = ask(text).with(policy).with(activity).with(source.unwrap_or_default());
        let newest = self.all(&ask, |row| row.maybe_moment("newest")).await?;
        Ok(newest.into_iter().flatten().next())
    }
}

/// The same with the policy among its groups, unless a part of it is.
fn whole(due: &Due) -> Due {
    let mut due = due.clone();
    let own = |group: &String| {
        group.strip_prefix(&due.policy).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !due.groups.iter().any(own) {
        due.groups.push(due.policy.clone());
    }
    due
}

fn entering(due: &Due, now: Timestamp, end: Option<&JobEnd>) -> Ask {
    let text = "INSERT INTO @job (policy, activity, source, scheduled_for, missed, labels, group_names, state, fence, \
                attempt, entered, ended, code, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, $9, $10, $11, $12) \
                ON CONFLICT (policy, activity, source, scheduled_for) DO NOTHING RETURNING id";
    let (state, code, message) = end.map_or(("free", None, None), ending);
    let ask = ask(text).with(&due.policy).with(&due.activity).with(due.source.as_deref().unwrap_or_default());
    let ask = ask.with(due.scheduled_for).with(due.missed).with(&list(&due.labels)).with(&list(&due.groups));
    ask.with(state).with(now).with(end.map(|_| now)).with(code).with(message)
}

/// States what a job needs until it ends.
async fn needs(change: &mut Change, job: i64, due: &Due) -> Result<(), sqlx::Error> {
    for (table, names) in [("job_label", &due.labels), ("job_group", &due.groups)] {
        let text =
            format!("INSERT INTO @{table} (job, name) VALUES ($1, $2) ON CONFLICT (job, name) DO NOTHING");
        for name in names {
            change.execute(&ask(&*text).with(job).with(name)).await?;
        }
    }
    Ok(())
}

/// Ends a job that nobody began; false if somebody did.
pub(super) async fn end_waiting(
    change: &mut Change,
    job: i64,
    why: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let text = "UPDATE @job SET state = 'skipped', ended = $1, message = $2 WHERE id = $3 AND state = 'free'";
    let ended = change.execute(&ask(text).with(now).with(why).with(job)).await? > 0;
    if ended {
        forget_needs(change, job).await?;
    }
    Ok(ended)
}
