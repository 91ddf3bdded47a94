//! Proves that files come back: every byte, every attribute, and that production still has the same.
//!
//! On purpose not here: what else their users expect of them ([`super::asserted`]).

use super::compare::{Sides, compare, includes};
use super::parts::{self, Measure, Parts};
use super::restored::{Restored, ends_badly, is_nothing, nothing, restore, words};
use super::sample::sample;
use super::{Phase, Proof, Recorded, Subject, asserted};
use crate::hands::Hands;
use crate::policy::units::Size;
use holdfast_engine::proof::{Cause, Level, Probe};

/// Restores a snapshot of files and proves it, up to the level that is asked for.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(snapshot) = subject.snapshot else {
        proof.probes.push(nothing());
        return proof;
    };
    let parts = match choose(hands, subject, snapshot).await {
        Ok(parts) => parts,
        Err(probe) => {
            proof.probes.push(probe);
            return proof;
        }
    };
    let chosen = parts.as_ref().map_or(&[][..], |parts| parts.paths.as_slice());
    let mut words = words(&snapshot.id, subject.scratch);
    words.extend(includes(chosen));
    let mut restored = restore(hands, subject, words, None).await;
    notes(&mut restored.probe, snapshot, parts.as_ref());
    if parts.is_none() {
        count(&mut restored, snapshot);
    }
    let empty = is_nothing(&mut restored);
    proof.share = Some(share(parts.as_ref(), snapshot));
    let host = restored.host.clone();
    if look_on(&mut proof, &restored, subject.level) {
        let unset = &restored.unset;
        let sides = Sides { id: &snapshot.id, parts: chosen, target: subject.scratch, unset };
        let compared = compare(hands, subject, &sides).await;
        proof.phases.push(checks("compare", &compared));
        proof.probes.push(compared);
        let sampled = sample(hands, subject, snapshot, host.as_deref()).await;
        proof.phases.push(checks("sample of the source", &sampled));
        proof.probes.push(sampled);
        if subject.level >= Level::Full {
            proof.probes.extend(asserted::prove(hands, subject, subject.scratch).await);
        }
        // Files do not start and are not checked by anybody: there is nothing else to look at.
        proof.reached = Some(subject.level);
    }
    proof.reached = proof.reached.filter(|_| !empty);
    proof.probes.insert(0, restored.probe);
    proof
}

/// Notes what a restore took; tells whether there is something to compare, and whether that is asked.
pub(super) fn look_on(proof: &mut Proof, restored: &Restored, level: Level) -> bool {
    proof.bytes = restored.bytes;
    proof.phases.push(restored.phase.clone());
    if restored.whole {
        proof.reached = Some(Level::Read);
    }
    restored.ended && level >= Level::Restore
}

/// A phase that is not a part of having it back.
pub(super) fn checks(name: &str, probe: &Probe) -> Phase {
    Phase { name: name.into(), seconds: probe.seconds, counts: false }
}

/// Which part is restored; none if all is.
async fn choose(
    hands: &dyn Hands,
    subject: Subject<'_>,
    snapshot: &Recorded,
) -> Result<Option<Parts>, Probe> {
    let most = subject.policy.drill.as_ref().and_then(|drill| drill.max_download);
    let Some(Size(most)) = most.filter(|most| snapshot.bytes > most.0) else { return Ok(None) };
    let mut probe = Probe::new("restore", Level::Read);
    match parts::extent(hands, subject, &snapshot.id).await {
        // What is stored takes less than what it holds.
        Ok(extent) if extent.fetched <= most => return Ok(None),
        Ok(_) => {}
        Err(answer) => {
            ends_badly(&mut probe, &answer, "how large it is cannot be told");
            return Err(probe);
        }
    }
    let what = (snapshot.id.as_str(), snapshot.paths.as_slice());
    parts::pick(hands, subject, what, most, Measure::Fetched).await.map(Some).map_err(|finding| {
        probe.findings.push(finding);
        probe
    })
}

fn share(parts: Option<&Parts>, snapshot: &Recorded) -> f64 {
    match parts {
        Some(parts) if snapshot.bytes > 0 => (parts.bytes as f64 / snapshot.bytes as f64).min(1.0),
        _ => 1.0,
    }
}

fn notes(probe: &mut Probe, snapshot: &Recorded, parts: Option<&Parts>) {
    if snapshot.incomplete {
        probe.notes.push("the snapshot is incomplete: what could not be read is not in it".into());
    }
    if let Some(parts) = parts {
        let share = share(Some(parts), snapshot) * 100.0;
        let names = parts.paths.iter().take(20).map(|path| super::restored::shown(path)).collect::<Vec<_>>();
        let more = parts.paths.len().saturating_sub(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        probe.notes.push(format!(
            "max_download: {share:.1} % of the bytes were restored, picked at random: {}{more}",
            names.join(", ")
        ));
    }
}

/// All that the snapshot says it has came back.
fn count(restored: &mut Restored, snapshot: &Recorded) {
    let files = restored.probe.counts.get("files").copied().unwrap_or_default();
    if restored.whole && files != snapshot.files && restored.unset.missing.is_empty() {
        let what =
            format!("the snapshot has {} files by its own summary, and {files} came back", snapshot.files);
        restored.probe.finds(Cause::Backup, what, "check the repository: holdfast check --read-data");
        restored.whole = false;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::fake::{Fake, Stage, ok};
    use super::super::verdict::Verdict;
    use super::*;
    use crate::hands::Answer;
    use serde_json::json;

    /// A restore of 2 files and 10 bytes; the rest finds nothing.
    fn all_is_well() -> Fake {
        Fake::new(|call| match call.words[0].to_str() {
            Some("restore") => ok(vec![
                json!({ "message_type": "plan", "hostname": "web1" }),
                json!({ "message_type": "summary", "files_restored": 2, "bytes_restored": 10, "bytes_fetched": 10 }),
            ]),
            _ => ok(vec![json!({ "message_type": "statistics", "suspicious_files": 0 })]),
        })
    }

    #[tokio::test]
    async fn a_healthy_snapshot_is_proved() {
        let stage = Stage::files(&["/srv"]);
        let fake = all_is_well();
        let proof = prove(&fake, stage.subject()).await;
        assert_eq!(Verdict::of(&proof.probes), Verdict::Pass, "{proof:?}");
        assert_eq!((proof.reached, proof.bytes, proof.share), (Some(Level::Full), 10, Some(1.0)));
        assert!(proof.phases[0].counts && proof.phases[1..].iter().all(|phase| !phase.counts));
        let calls = fake.calls();
        assert!(calls.iter().all(|call| call.bare && call.repository.is_some()));
        assert_eq!(calls[0].words[0], "restore");
        assert!(calls.iter().any(|call| call.words.contains(&"--read-data".into())));
    }

    #[tokio::test]
    async fn the_least_level_only_opens_every_chunk() {
        let stage = Stage { level: Level::Read, ..Stage::files(&["/srv"]) };
        let fake = all_is_well();
        let proof = prove(&fake, stage.subject()).await;
        assert_eq!((proof.reached, fake.calls().len()), (Some(Level::Read), 1));
    }

    #[tokio::test]
    async fn fewer_files_than_were_counted_is_a_failure() {
        let mut stage = Stage::files(&["/srv"]);
        stage.snapshot.as_mut().unwrap().files = 3;
        let proof = prove(&all_is_well(), stage.subject()).await;
        assert_eq!(Verdict::of(&proof.probes), Verdict::Fail);
        assert!(proof.probes[0].findings[0].what.contains("3 files"), "{proof:?}");
    }

    #[tokio::test]
    async fn nothing_that_comes_back_proves_nothing() {
        let mut stage = Stage::files(&["/srv"]);
        stage.snapshot.as_mut().unwrap().files = 0;
        let fake = |others: u64| {
            Fake::new(move |call| match call.words[0].to_str() {
                Some("restore") => ok(vec![json!({ "message_type": "summary", "others_restored": others })]),
                _ => ok(vec![json!({ "message_type": "statistics", "suspicious_files": 0 })]),
            })
        };
        let proof = prove(&fake(0), stage.subject()).await;
        assert_eq!((Verdict::of(&proof.probes), proof.reached), (Verdict::Inconclusive, None), "{proof:?}");
        assert!(proof.probes[0].findings[0].what.contains("nothing is proved"), "{proof:?}");
        // Links are something.
        assert_eq!(Verdict::of(&prove(&fake(1), stage.subject()).await.probes), Verdict::Pass);
    }

    #[tokio::test]
    async fn without_a_snapshot_or_a_key_it_fails() {
        let stage = Stage { snapshot: None, ..Stage::files(&["/srv"]) };
        let proof = prove(&all_is_well(), stage.subject()).await;
        assert_eq!((Verdict::of(&proof.probes), proof.reached), (Verdict::Fail, None));
        let wrong = Fake::new(|_| Ok(Answer { code: 12, ..Answer::default() }));
        let stage = Stage::files(&["/srv"]);
        let proof = prove(&wrong, stage.subject()).await;
        assert_eq!((Verdict::of(&proof.probes), proof.reached), (Verdict::Fail, None));
        assert!(proof.probes[0].findings[0].what.contains("key"), "{proof:?}");
    }

    #[tokio::test]
    async fn beyond_what_may_be_fetched_a_part_is_restored() {
        let mut stage = Stage::files(&["/srv/a", "/srv/b"]);
        stage.limit(6);
        let fake = Fake::new(|call| {
            let of = call.words.get(1).unwrap().to_string_lossy().into_owned();
            let bytes = if of.contains(':') { 5 } else { 10 };
            match call.words[0].to_str() {
                Some("restore") => ok(vec![json!({ "message_type": "summary", "files_restored": 1,
                    "bytes_restored": bytes, "bytes_fetched": bytes })]),
                _ => ok(vec![json!({ "message_type": "statistics" })]),
            }
        });
        let proof = prove(&fake, stage.subject()).await;
        assert_eq!(proof.share, Some(0.5), "{proof:?}");
        assert_eq!(Verdict::of(&proof.probes), Verdict::Pass, "{proof:?}");
        assert!(proof.probes[0].notes.iter().any(|note| note.contains("50.0 %")), "{proof:?}");
        let restore = fake.calls().into_iter().find(|call| call.words.contains(&"--include".into())).unwrap();
        assert!(restore.words.iter().any(|word| word.to_string_lossy().starts_with("/srv/")));
    }
}
