//! Proves that the objects of a bucket come back: contents, headers, metadata, tags, numbers.
//!
//! Into a folder they become files, which have no place for headers and tags; into a scratch bucket
//! they become objects again, and those are compared too. The bucket that was backed up is not
//! touched: what follows from it changing is the next backup's affair. On purpose not here: whether
//! its configuration would come back.

use super::files::{checks, look_on};
use super::restored::{Restored, Unset, bare, ends_badly, is_nothing, nothing, number, restore, words};
use super::{Proof, Recorded, Subject, asserted};
use crate::hands::Hands;
use crate::policy::ScratchBucket;
use crate::policy::secret::Credentials;
use holdfast_engine::proof::{Cause, Level, Probe};
use std::ffi::OsString;
use std::path::Path;

const NEXT: &str = "do not rely on this snapshot; check the repository: holdfast check --read-data";

/// Restores a snapshot of a bucket and proves it, up to the level that is asked for.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(snapshot) = subject.snapshot else {
        proof.probes.push(nothing());
        return proof;
    };
    let scratch = subject.policy.drill.as_ref().and_then(|drill| drill.scratch.bucket.as_ref());
    let target = match scratch {
        Some(scratch) => Target::in_bucket(scratch, subject.scratch),
        None => Target { place: subject.scratch.into(), credentials: None, is_bucket: false },
    };
    prove_in(hands, subject, snapshot, &target, &mut proof).await;
    if target.is_bucket {
        proof.probes.push(emptied(hands, &target).await);
    }
    proof
}

/// Where objects are restored to.
struct Target<'a> {
    place: OsString,
    credentials: Option<&'a Credentials>,
    is_bucket: bool,
}

impl<'a> Target<'a> {
    /// A prefix that is this drill's and this source's alone, named as its scratch is.
    fn in_bucket(scratch: &'a ScratchBucket, folder: &Path) -> Self {
        let name = |path: Option<&Path>| {
            let name = path.and_then(Path::file_name);
            name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let own = format!("{}/{}", name(folder.parent()), name(Some(folder)));
        let place = below(&scratch.url, &own).into();
        Self { place, credentials: scratch.credentials.as_ref(), is_bucket: true }
    }
}

/// The URL of a prefix below another one.
fn below(url: &str, prefix: &str) -> String {
    let (place, options) = url.split_once('?').map_or((url, None), |(place, options)| (place, Some(options)));
    let place = format!("{}/{prefix}/", place.trim_end_matches('/'));
    options.map_or(place.clone(), |options| format!("{place}?{options}"))
}

async fn prove_in(
    hands: &dyn Hands,
    subject: Subject<'_>,
    snapshot: &Recorded,
    target: &Target<'_>,
    proof: &mut Proof,
) {
    let words = words(&snapshot.id, &target.place);
    let mut restored = restore(hands, subject, words.clone(), target.credentials).await;
    proof.share = Some(1.0);
    if !target.is_bucket && restored.ended {
        let count = restored.probe.counts.get("files").copied().unwrap_or_default();
        let what = "restored into a folder: their headers, metadata and tags have no place there and were not \
                    compared; a scratch.bucket would have it";
        restored.probe.not_provable.push(format!("{count} objects and the like were {what}"));
    }
    count(&mut restored, snapshot, target.is_bucket);
    let empty = is_nothing(&mut restored);
    if look_on(proof, &restored, subject.level) {
        let compared = compare(hands, subject, (words, target), &restored.unset).await;
        proof.phases.push(checks("compare", &compared));
        proof.probes.push(compared);
        if subject.level >= Level::Full && !target.is_bucket {
            proof.probes.extend(asserted::prove(hands, subject, subject.scratch).await);
        } else if subject.level >= Level::Full {
            proof.probes.extend(asserted::unreachable(subject, "what was restored is in a bucket"));
        }
        proof.reached = Some(subject.level);
    }
    proof.reached = proof.reached.filter(|_| !empty);
    proof.probes.insert(0, restored.probe);
}

/// All objects that the snapshot says it has came back. Of an object whose content was not kept
/// nothing does, and the configuration of a bucket, one entry, is no object.
fn count(restored: &mut Restored, snapshot: &Recorded, is_bucket: bool) {
    let files = restored.probe.counts.get("files").copied().unwrap_or_default();
    let known = restored.unset.missing.len() as u64 + restored.unset.untold + u64::from(is_bucket);
    if restored.whole && files + known < snapshot.files {
        let what =
            format!("the snapshot has {} objects by its own summary, and {files} came back", snapshot.files);
        restored.probe.finds(Cause::Backup, what, NEXT);
        restored.whole = false;
    }
}

/// Rehearses the restore over what was restored: whatever it would do again is not as recorded.
async fn compare(
    hands: &dyn Hands,
    subject: Subject<'_>,
    (mut words, target): (Vec<OsString>, &Target<'_>),
    unset: &Unset,
) -> Probe {
    let name = if target.is_bucket { "contents, headers, metadata and tags" } else { "contents" };
    let mut probe = Probe::new(name, Level::Restore);
    words.extend(["--overwrite", "always", "--dry-run"].map(Into::into));
    let answer = match hands.verb(bare(subject, words, target.credentials)).await {
        Ok(answer) => answer,
        Err(why) => {
            probe.finds(Cause::Environment, format!("it could not be compared: {why}"), "");
            return probe;
        }
    };
    probe.seconds = answer.seconds;
    if answer.line("summary").is_none() {
        ends_badly(&mut probe, &answer, "what was restored could not be compared with the snapshot");
        return probe;
    }
    let items = |field: &str| number(&answer, "summary", field);
    probe.counts.insert("compared".into(), items("items_unchanged"));
    // What was not restored because it is damaged or denied was told before.
    let told = (unset.missing.len() as u64).saturating_sub(unset.without_content) + unset.untold;
    let absent = items("items_created").saturating_sub(told);
    for (count, what) in [
        (absent, "objects are in the snapshot, and are not where it was restored"),
        (items("items_rewritten"), "objects have another content than was recorded"),
        (items("items_attributes_only"), "objects have other headers, metadata or tags than were recorded"),
    ] {
        if count > 0 {
            probe.finds(Cause::Backup, format!("{count} {what}"), NEXT);
        }
    }
    probe
}

/// Nothing stays in the scratch bucket.
async fn emptied(hands: &dyn Hands, target: &Target<'_>) -> Probe {
    let mut probe = Probe::new("scratch bucket emptied", Level::Restore);
    let shown = target.place.to_string_lossy();
    match hands.empty(&shown, target.credentials).await {
        Ok(said) => probe.notes.push(said),
        Err(why) => {
            let what = format!("the scratch bucket was not emptied: {shown}: {why}");
            probe.finds(
                Cause::Environment,
                what,
                "it holds production's data: delete what is below that prefix",
            );
        }
    }
    probe
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::fake::{Fake, Stage, ok};
    use super::super::verdict::Verdict;
    use super::*;
    use crate::hands::Call;
    use serde_json::{Value, json};

    fn is_rehearsal(call: &Call) -> bool {
        call.words.contains(&"--dry-run".into())
    }

    /// A bucket of 2 objects; what a rehearsal over the restored says is handed in.
    fn bucket(rehearsal: Value) -> Fake {
        Fake::new(move |call| {
            let mut summary = json!({ "message_type": "summary", "files_restored": 2, "bytes_restored": 10 });
            if is_rehearsal(call) {
                summary = rehearsal.clone();
                summary["message_type"] = "summary".into();
            }
            ok(vec![summary])
        })
    }

    #[tokio::test]
    async fn objects_in_a_folder_are_proved_without_their_tags() {
        let stage = Stage::bucket("s3://media/x?endpoint=http://s");
        let proof = prove(&bucket(json!({ "items_unchanged": 2 })), stage.subject()).await;
        assert_eq!(Verdict::of(&proof.probes), Verdict::Pass, "{proof:?}");
        assert_eq!(proof.reached, Some(Level::Full));
        assert!(proof.probes[0].not_provable[0].starts_with("2 objects"), "{proof:?}");
    }

    #[tokio::test]
    async fn a_wrong_tag_another_content_and_a_gone_object_are_found() {
        for (field, what) in [
            ("items_attributes_only", "tags"),
            ("items_rewritten", "content"),
            ("items_created", "are not where it was restored"),
        ] {
            let mut stage = Stage::bucket("s3://media/x");
            stage.scratch_bucket("s3://scratch/drills?endpoint=http://s");
            let fake = bucket(json!({ "items_unchanged": 1, field: 1 }));
            let proof = prove(&fake, stage.subject()).await;
            assert_eq!(Verdict::of(&proof.probes), Verdict::Fail, "{proof:?}");
            assert!(proof.probes[1].findings[0].what.contains(what), "{proof:?}");
            let calls = fake.calls();
            let target = calls[0].words[3].to_string_lossy().into_owned();
            assert!(
                target.starts_with("s3://scratch/drills/") && target.ends_with("/?endpoint=http://s"),
                "{target}"
            );
            assert_eq!(fake.emptied(), [target]);
        }
    }

    #[tokio::test]
    async fn what_lay_in_an_archive_stands_for_no_object_that_is_gone() {
        let proof = |created: u64, message: &'static str| async move {
            let fake = Fake::new(move |call| {
                let summary = json!({ "message_type": "summary", "files_restored": 1, "error_count": 1,
                    "items_created": if is_rehearsal(call) { created } else { 1 }, "items_unchanged": 1 });
                let problem =
                    json!({ "message_type": "error", "kind": "refused", "item": "cold", "message": message });
                let problems = if is_rehearsal(call) { Vec::new() } else { vec![problem] };
                Ok(crate::hands::Answer { code: 3, problems, ..ok(vec![summary]).unwrap() })
            });
            let mut stage = Stage::bucket("s3://media/x");
            stage.scratch_bucket("s3://scratch/drills?endpoint=http://s");
            let proof = prove(&fake, stage.subject()).await;
            proof.probes[1].findings.iter().map(|finding| finding.what.clone()).collect::<Vec<_>>()
        };
        let cold = "its content was not kept: it lay in GLACIER when it was backed up";
        assert_eq!(proof(0, cold).await, Vec::<String>::new());
        let found = proof(1, cold).await;
        assert!(found.len() == 1 && found[0].contains("1 objects are in the snapshot"), "{found:?}");
        // One that was refused is met again by the rehearsal, and was told.
        assert_eq!(proof(1, "no object can have that name").await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn fewer_objects_than_were_counted_is_a_failure() {
        let mut stage = Stage::bucket("s3://media/x");
        stage.snapshot.as_mut().unwrap().files = 5;
        let proof = prove(&bucket(json!({ "items_unchanged": 2 })), stage.subject()).await;
        assert_eq!(Verdict::of(&proof.probes), Verdict::Fail, "{proof:?}");
        assert!(proof.probes[0].findings[0].what.contains("5 objects"), "{proof:?}");
    }

    #[tokio::test]
    async fn an_empty_prefix_proves_nothing() {
        for into_bucket in [false, true] {
            let mut stage = Stage::bucket("s3://media/x");
            stage.snapshot.as_mut().unwrap().files = 0;
            if into_bucket {
                stage.scratch_bucket("s3://scratch/drills?endpoint=http://s");
            }
            let fake = Fake::new(|_| ok(vec![json!({ "message_type": "summary", "files_restored": 0 })]));
            let proof = prove(&fake, stage.subject()).await;
            assert_eq!(
                (Verdict::of(&proof.probes), proof.reached),
                (Verdict::Inconclusive, None),
                "{proof:?}"
            );
        }
    }

    #[test]
    fn a_prefix_goes_before_the_options() {
        assert_eq!(below("s3://b/p/?endpoint=x", "drill-1/media"), "s3://b/p/drill-1/media/?endpoint=x");
        assert_eq!(below("s3://b", "drill-1/media"), "s3://b/drill-1/media/");
    }
}
