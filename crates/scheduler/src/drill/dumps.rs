//! Proves dumps of databases: every byte comes back as it was dumped.
//!
//! On purpose not here: loading them into a server.

use super::cluster::{nothing, restore};
use super::{Proof, Subject};
use crate::hands::Hands;
use holdfast_engine::proof::{Level, Probe};

/// Restores dumps as files, and says what is not proved by that.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(snapshot) = subject.snapshot else {
        proof.probes.push(nothing());
        return proof;
    };
    let target = subject.scratch.join("dumps");
    let words = vec!["restore".into(), snapshot.id.as_str().into(), "--target".into(), target.into()];
    if restore(hands, subject, words, &mut proof).await.is_some() && subject.level > Level::Restore {
        let mut probe = Probe::new("load", Level::Boot);
        let what =
            "dumps are compared byte by byte and not loaded into a server: that they load is not proved";
        probe.not_provable.push(what.to_owned());
        proof.probes.push(probe);
    }
    proof
}
