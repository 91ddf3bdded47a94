//! A drill that begins is recorded before anything is restored: one that is killed leaves restored contents in its
//! scratch, and its own record is not written.
//!
//! On purpose not here: how it ended, which its own record says; the two have the drill's id.

use super::super::scratch::Scratch;
use super::{Case, Chosen};
use crate::hands::{Begun, Said};
use serde_json::{Value, json};
use std::path::Path;

/// The kind of record that says that contents are taken out.
pub(super) const ACCESS: &str = "access";

impl Case<'_> {
    /// Records that it begins: who, where, what, and where to. Its restores refer to that. Where none can be left
    /// they are as anybody's: each tries to leave its own, and goes on.
    pub(super) async fn begin(&self, scratch: &Scratch, chosen: &[Chosen<'_>]) -> Option<Begun> {
        let token: String = (0..4).map(|_| format!("{:016x}", self.hands.random())).collect();
        let bucket = self.drill.scratch.bucket.as_ref().map(|bucket| &bucket.url);
        let more = [
            ("step", json!("begin")),
            ("bucket", json!(bucket)),
            ("token_hash", json!(blake3::hash(token.as_bytes()).to_hex().as_str())),
            ("reason", json!("a drill begins; what it finds is in a record of its own")),
        ];
        let text = self.access(scratch.path(), chosen, more);
        match self.hands.record(&self.from, ACCESS, &text).await {
            Ok(record) => Some(Begun { record, token }),
            Err(why) => {
                let said =
                    format!("{} does not take the record that the drill begins: {why}", self.from.name);
                self.hands.say(Said::Lacking(&said));
                None
            }
        }
    }

    /// A record of what this drill takes out.
    pub(super) fn access<const N: usize>(
        &self,
        target: &Path,
        chosen: &[Chosen<'_>],
        more: [(&str, Value); N],
    ) -> String {
        let picked = chosen.iter().filter_map(|one| one.picked.as_ref().ok()?.as_ref());
        let snapshots: Vec<_> = picked.map(|picked| picked.snapshot.id.clone()).collect();
        let sources: Vec<_> = chosen.iter().map(|one| self.policy.label(one.name)).collect();
        let mut text = json!({
            "version": 1, "verb": "drill", "host": self.hands.host(), "user": self.here.user,
            "program": format!("holdfast {}", self.here.program), "policy": self.policy.name, "drill": self.id,
            "snapshots": snapshots, "source": sources.join(" "), "target": target.display().to_string(),
        });
        more.into_iter().for_each(|(name, value)| text[name] = value);
        text.to_string()
    }
}
