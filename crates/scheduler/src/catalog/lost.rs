//! What was given up of a policy and not done since: found by its state, however many jobs were entered since.
//!
//! On purpose not here: giving up, which `jobs` has; what of it is worth a word.

use super::base::ask;
use super::jobs::{DUE, job};
use super::{Catalog, CatalogError, Job};
use jiff::Timestamp;

impl Catalog {
    /// The jobs of a policy that were given up, and after which none of the same kind was done, the newest first.
    /// One that is for a time behind `until` is none yet: a clock was ahead when it was entered.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn given_up(&self, policy: &str, until: Timestamp) -> Result<Vec<Job>, CatalogError> {
        let text = format!(
            "SELECT {DUE}, state, worker, claimed_until, attempt, entered, ended, code, message FROM @job AS lost \
             WHERE policy = $1 AND state = 'lost' AND scheduled_for <= $2 AND NOT EXISTS ( \
                SELECT 1 FROM @job AS later WHERE later.policy = lost.policy AND later.activity = lost.activity \
                AND later.source = lost.source AND later.state = 'done' AND later.scheduled_for > lost.scheduled_for) \
             ORDER BY scheduled_for DESC, id DESC"
        );
        self.all(&ask(text).with(policy).with(until), job).await
    }
}
