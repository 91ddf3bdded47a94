//! Proves that what a program wrote comes back, and that the user's own program takes it for good.
//!
//! What is in the one file only the user knows. Without a `verify` it is proved that its bytes are
//! those that were written, and no more; the evidence says so. On purpose not here: running shells.

use super::asserted::{self, Run};
use super::compare::{Sides, below, compare};
use super::files::{checks, look_on};
use super::restored::{nothing, restore, words};
use super::{Phase, Proof, Subject};
use crate::hands::Hands;
use holdfast_engine::proof::{Level, Probe};
use std::time::Duration;

/// How long `verify` may take where nothing is stated.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Restores what a program wrote and proves it, up to the level that is asked for.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let (Some(snapshot), Some(source)) = (subject.snapshot, &subject.source.command) else {
        proof.probes.push(nothing());
        return proof;
    };
    let restored = restore(hands, subject, words(&snapshot.id, subject.scratch), None).await;
    proof.share = Some(1.0);
    if look_on(&mut proof, &restored, subject.level) {
        let sides = Sides { id: &snapshot.id, parts: &[], target: subject.scratch, unset: &restored.unset };
        let compared = compare(hands, subject, &sides).await;
        proof.phases.push(checks("compare", &compared));
        proof.probes.push(compared);
        proof.reached = Some(Level::Restore);
    }
    let file = snapshot.paths.first().map_or(source.file_name.as_str(), String::as_str);
    let file = below(subject.scratch, file);
    if proof.reached >= Some(Level::Restore) && subject.level > Level::Restore {
        let mut probe = Probe::new("verify", Level::Check);
        if source.verify.is_empty() {
            let what = "the policy has no `verify` for this source: whether what was restored can be used is not proved";
            probe.not_provable.push(what.into());
        } else if restored.whole {
            let timeout = source.timeout.map_or(TIMEOUT, |span| span.0);
            asserted::run(hands, &mut probe, Run { words: &source.verify, target: &file, timeout }).await;
            proof.phases.push(Phase { name: "verify".into(), seconds: probe.seconds, counts: false });
            proof.reached = Some(subject.level);
        } else {
            probe.not_provable.push("`verify` was not run: the file did not come back whole".into());
        }
        proof.probes.push(probe);
        if subject.level >= Level::Full {
            proof.probes.extend(asserted::prove(hands, subject, &file).await);
        }
    }
    proof.probes.insert(0, restored.probe);
    proof
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, Stage, ok};
    use super::super::verdict::Verdict;
    use super::*;
    use crate::hands::Ended;
    use crate::policy::CommandSource;
    use holdfast_engine::proof::Cause;
    use serde_json::json;

    async fn proved(verify: &[&str], code: i32) -> (Proof, Fake) {
        let source = CommandSource {
            run: vec!["dump".into()],
            file_name: "db.sql".into(),
            verify: verify.iter().map(|word| (*word).to_owned()).collect(),
            timeout: None,
        };
        let stage = Stage::command(source);
        let fake = Fake::new(|call| match call.words[0].to_str() {
            Some("restore") => ok(vec![json!({ "message_type": "summary", "files_restored": 1 })]),
            _ => ok(vec![json!({ "message_type": "statistics" })]),
        });
        let fake = fake.with_program(move |_| Ok(Ended { code: Some(code), ..Ended::default() }));
        (prove(&fake, stage.subject()).await, fake)
    }

    #[tokio::test]
    async fn the_users_program_decides() {
        let (proof, fake) = proved(&["psql-check", "{target}"], 0).await;
        assert_eq!((Verdict::of(&proof.probes), proof.reached), (Verdict::Pass, Some(Level::Full)));
        assert!(fake.programs()[0].words[1].to_string_lossy().ends_with("/db.sql"));
        let (proof, _) = proved(&["psql-check", "{target}"], 1).await;
        assert_eq!(Verdict::of(&proof.probes), Verdict::Fail);
        let finding = proof.probes.iter().flat_map(|probe| &probe.findings).next();
        assert_eq!(finding.map(|finding| finding.cause), Some(Cause::Assertion));
    }

    #[tokio::test]
    async fn without_one_nothing_is_proved_of_its_use() {
        let (proof, fake) = proved(&[], 0).await;
        assert_eq!(proof.reached, Some(Level::Restore));
        assert!(proof.probes.iter().any(|probe| !probe.not_provable.is_empty()), "{proof:?}");
        assert!(fake.programs().is_empty());
    }
}
