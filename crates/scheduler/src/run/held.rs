//! Whether a hold keeps scheduled cleaning and checking from being done.
//!
//! Somebody put it because something is to be looked at: until it is released, nothing that no person started
//! frees what lies there. On purpose not here: what a hold protects, which the repository knows itself.

use super::{Runner, words};
use crate::hands::{Call, Place};
use serde_json::Value;

impl Runner<'_> {
    /// Why nothing is done now: a hold that stands on something of the policy. What a person runs by hand is not
    /// held up: what holds protect is safe from that too.
    pub(super) async fn is_held(&self, place: &Place) -> Option<String> {
        self.options.only?;
        if self.options.dry_run {
            return None;
        }
        // What cannot be asked now is told by the verb itself.
        let answer = self.hands.verb(Call::on(place, ["hold"])).await.ok()?;
        for hold in answer.all("hold") {
            if self.is_ours(hold, place).await {
                let text = |field: &str| hold[field].as_str().unwrap_or_default();
                return Some(format!("a hold stands since {}: {}", text("since"), text("reason")));
            }
        }
        None
    }

    /// Whether a hold is on something of this policy.
    async fn is_ours(&self, hold: &Value, place: &Place) -> bool {
        let prefix = format!("{}/", self.policy.name);
        match hold["scope"].as_str() {
            Some("all") => true,
            Some("source") => hold["source"].as_str().is_some_and(|source| source.starts_with(&prefix)),
            _ => self.has_snapshot(place, &hold["snapshot_id"]).await,
        }
    }

    async fn has_snapshot(&self, place: &Place, id: &Value) -> bool {
        let tag = format!("--tag={}", words::tag(&self.policy.name));
        let listed = self.hands.verb(Call::on(place, ["snapshots".to_owned(), tag])).await;
        listed.is_ok_and(|listed| listed.all("snapshot").any(|line| line["id"] == *id))
    }
}
