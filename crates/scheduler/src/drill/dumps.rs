//! Proves dumps of databases: every byte comes back as it was dumped.
//!
//! On purpose not here: loading them into a server.

use super::cluster::{nothing, restore};
use super::{Proof, Subject, asserted};
use crate::hands::Hands;
use holdfast_engine::proof::{Cause, Level, Probe};

/// Restores dumps as files, and says what is not proved by that.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(snapshot) = subject.snapshot else {
        proof.probes.push(nothing());
        return proof;
    };
    let target = subject.scratch.join("dumps");
    let words = vec!["restore".into(), snapshot.id.as_str().into(), "--target".into(), target.clone().into()];
    if restore(hands, subject, words, &mut proof).await.is_some() && subject.level > Level::Restore {
        let mut probe = Probe::new("load", Level::Boot);
        let what =
            "dumps are compared byte by byte and not loaded into a server: that they load is not proved";
        probe.not_provable.push(what.to_owned());
        proof.probes.push(probe);
        if subject.level >= Level::Full {
            proof.probes.extend(unanswered(subject));
            proof.probes.extend(asserted::prove(hands, subject, &target).await);
        }
    }
    proof
}

/// What is stated about the databases and nobody answers: that it holds is not proved, and no pass.
fn unanswered(subject: Subject<'_>) -> Option<Probe> {
    let stated = subject.policy.drill.iter().flat_map(|drill| &drill.assertions);
    let number = stated.filter(|one| one.source == subject.name && one.command.is_empty()).count();
    let mut probe = Probe::new("assertions", Level::Full);
    let what = format!("{number} assertions ask a server, and dumps are not loaded into one");
    probe.finds(Cause::Environment, what, "assert by a command, or back up the cluster itself");
    (number > 0).then_some(probe)
}
