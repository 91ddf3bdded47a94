//! Proves what another program backs up: that program restores it, and it is looked at as ours is.
//!
//! Whether every byte is as it was recorded only that program knows; what comes back can be started,
//! checked and asked all the same. On purpose not here: knowing any such program.

use super::asserted::{self, Run, how, program, tool};
use super::scratch::blocking;
use super::{Phase, Proof, Subject};
use crate::hands::{Cluster, Hands, Said, SqlAssertion, SqlExpect};
use crate::policy::{Expect, Isolation, RestoredBy, RestoredKind};
use holdfast_engine::proof::{Cause, Level, Probe};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long the program may take where nothing is stated.
const TIMEOUT: Duration = Duration::from_secs(6 * 3600);
/// How long a statement may take where nothing is stated.
const STATEMENT: Duration = Duration::from_secs(10 * 60);

/// Lets the program restore into scratch, and proves what came, up to the level that is asked for.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(source) = &subject.source.restored_by else { return proof };
    let timeout = source.timeout.map_or(TIMEOUT, |span| span.0);
    let (restored, came) = restore(hands, subject, source, timeout, &mut proof).await;
    proof.probes.push(restored);
    if !came || subject.level < Level::Boot {
        return proof;
    }
    match source.kind {
        RestoredKind::Files => files(hands, subject, source, timeout, &mut proof).await,
        RestoredKind::Postgres => cluster(hands, subject, source, &mut proof).await,
    }
    proof
}

/// Where it is restored to. Beside a data directory there has to be room for what its server makes.
fn target(subject: Subject<'_>, source: &RestoredBy) -> PathBuf {
    match source.kind {
        RestoredKind::Files => subject.scratch.clone(),
        RestoredKind::Postgres => subject.scratch.join("data"),
    }
}

/// Runs the program; tells whether something came.
async fn restore(
    hands: &dyn Hands,
    subject: Subject<'_>,
    source: &RestoredBy,
    timeout: Duration,
    proof: &mut Proof,
) -> (Probe, bool) {
    let tool = tool(&source.command);
    let mut probe = Probe::new(format!("restore by {tool}"), Level::Restore);
    let folder = target(subject, source);
    if let Err(error) = std::fs::create_dir_all(&folder) {
        probe.finds(Cause::Environment, format!("{} cannot be made: {error}", folder.display()), "");
        return (probe, false);
    }
    let ended = match hands.program(program(&source.command, &folder, timeout)).await {
        Ok(ended) => ended,
        Err(why) => {
            probe.finds(Cause::Environment, format!("{tool} could not be run: {why}"), "install it here");
            return (probe, false);
        }
    };
    probe.seconds = ended.seconds;
    proof.phases.push(Phase { name: "restore".into(), seconds: ended.seconds, counts: true });
    if ended.timed_out {
        let what = format!("{}, which the policy allows it", how(&tool, &ended, timeout));
        probe.finds(Cause::Assertion, what, "allow more (timeout), or see why it takes so long");
        return (probe, false);
    }
    if ended.code != Some(0) {
        if !ended.said.is_empty() {
            hands.say(Said::Note(&format!("{tool}: {}", ended.said)));
        }
        let what = format!("it was not restored: {}", how(&tool, &ended, timeout));
        probe.finds(Cause::Backup, what, "run the same command by hand into an empty folder");
        return (probe, false);
    }
    let (files, bytes) = blocking(move || weigh(folder)).await.unwrap_or_default();
    probe.counts = [("files".to_owned(), files), ("bytes".to_owned(), bytes)].into();
    (proof.bytes, proof.share) = (bytes, Some(1.0));
    if files == 0 {
        let what = format!("{tool} says that it restored, and there is no file");
        probe.finds(Cause::Backup, what, "see that the command restores into {target}");
        return (probe, false);
    }
    probe.not_provable.push(format!("whether every byte is as it was recorded only {tool} knows"));
    proof.reached = Some(Level::Restore);
    (probe, true)
}

async fn files(
    hands: &dyn Hands,
    subject: Subject<'_>,
    source: &RestoredBy,
    timeout: Duration,
    proof: &mut Proof,
) {
    let mut probe = Probe::new("verify", Level::Check);
    if source.verify.is_empty() {
        let what =
            "the policy has no `verify` for this source: whether what was restored can be used is not proved";
        probe.not_provable.push(what.into());
    } else {
        let run = Run { words: &source.verify, target: subject.scratch, timeout };
        asserted::run(hands, &mut probe, run).await;
        proof.phases.push(Phase { name: "verify".into(), seconds: probe.seconds, counts: false });
        proof.reached = Some(subject.level);
    }
    proof.probes.push(probe);
    if subject.level >= Level::Full {
        proof.probes.extend(asserted::prove(hands, subject, subject.scratch).await);
    }
}

/// Starts what was restored, and looks at it as at a cluster of ours. Nothing was recorded beside it.
async fn cluster(hands: &dyn Hands, subject: Subject<'_>, source: &RestoredBy, proof: &mut Proof) {
    let drill = subject.policy.drill.as_ref();
    let (folder, work) = (target(subject, source), subject.scratch.join("run"));
    let cluster = Cluster {
        folder: folder.clone(),
        work,
        level: subject.level,
        run_as: drill.and_then(|drill| drill.run_as.clone()),
        network: drill.map_or_else(Isolation::default, |drill| drill.network),
        bin_dirs: source.bin_dirs.clone(),
        facts: BTreeMap::new(),
        log: None,
        assertions: statements(subject),
        budget: drill.and_then(|drill| drill.budget).map(|span| span.0),
    };
    let found = hands.cluster(cluster).await;
    proof.probes.extend(found.probes);
    let timed = found.phases.into_iter();
    proof.phases.extend(timed.map(|(name, seconds)| {
        let counts = name != "checks";
        Phase { name, seconds, counts }
    }));
    proof.reached = proof.reached.max(found.reached);
    if subject.level >= Level::Check && !source.verify.is_empty() {
        let timeout = source.timeout.map_or(TIMEOUT, |span| span.0);
        let mut probe = Probe::new("verify", Level::Check);
        asserted::run(hands, &mut probe, Run { words: &source.verify, target: &folder, timeout }).await;
        proof.probes.push(probe);
    }
    if subject.level >= Level::Full {
        proof.probes.extend(asserted::prove(hands, subject, &folder).await);
    }
}

/// The assertions of this source that its server answers.
fn statements(subject: Subject<'_>) -> Vec<SqlAssertion> {
    let all = subject.policy.drill.iter().flat_map(|drill| &drill.assertions).enumerate();
    all.filter(|(_, assertion)| assertion.source == subject.name)
        .filter_map(|(number, assertion)| {
            Some(SqlAssertion {
                name: assertion.name.clone().unwrap_or_else(|| (number + 1).to_string()),
                database: assertion.database.clone().unwrap_or_else(|| "postgres".into()),
                sql: assertion.sql.clone()?,
                expect: SqlExpect::Value(assertion.expect.clone().unwrap_or(Expect::Truth(true))),
                timeout: assertion.timeout.map_or(STATEMENT, |span| span.0),
            })
        })
        .collect()
}

/// Files in a folder and below, and their bytes; no link is followed.
fn weigh(folder: PathBuf) -> (u64, u64) {
    let (mut files, mut bytes, mut open) = (0, 0, vec![folder]);
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(there) if there.is_dir() => open.push(entry.path()),
                Ok(there) if there.is_file() => (files, bytes) = (files + 1, bytes + there.len()),
                _ => {}
            }
        }
    }
    (files, bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::fake::{Fake, Stage};
    use super::super::verdict::Verdict;
    use super::*;
    use crate::hands::{ClusterProof, Ended};

    fn source(kind: RestoredKind, verify: &[&str]) -> RestoredBy {
        RestoredBy {
            command: ["/usr/bin/restic", "restore", "latest", "--target={target}"].map(str::to_owned).into(),
            kind,
            verify: verify.iter().map(|word| (*word).to_owned()).collect(),
            ..RestoredBy::default()
        }
    }

    /// The program makes a file, unless it is to fail.
    fn restores(code: i32) -> Fake {
        Fake::default().with_program(move |program| {
            let target = program.words.iter().find_map(|word| word.to_str()?.strip_prefix("--target="));
            if let (Some(target), 0) = (target, code) {
                std::fs::write(std::path::Path::new(target).join("file"), b"12345").unwrap();
            }
            Ok(Ended { code: Some(code), seconds: 2.0, ..Ended::default() })
        })
    }

    #[tokio::test]
    async fn what_another_program_restores_is_verified_and_the_tool_named() {
        let stage = Stage::restored_by(source(RestoredKind::Files, &["check", "{target}"]));
        let fake = restores(0);
        let proof = prove(&fake, stage.subject()).await;
        assert_eq!(
            (Verdict::of(&proof.probes), proof.reached),
            (Verdict::Pass, Some(Level::Full)),
            "{proof:?}"
        );
        assert_eq!((proof.bytes, proof.probes[0].name.as_str()), (5, "restore by restic"));
        assert!(proof.phases[0].counts && proof.phases[0].seconds > 1.0 && !proof.phases[1].counts);
        assert!(!format!("{proof:?}").contains("latest"), "arguments are nobody's business");
    }

    #[tokio::test]
    async fn a_restore_that_fails_or_brings_nothing_is_a_failure() {
        let stage = Stage::restored_by(source(RestoredKind::Files, &[]));
        let proof = prove(&restores(3), stage.subject()).await;
        assert_eq!((Verdict::of(&proof.probes), proof.reached), (Verdict::Fail, None));
        let idle = Fake::default().with_program(|_| Ok(Ended { code: Some(0), ..Ended::default() }));
        let proof = prove(&idle, stage.subject()).await;
        assert_eq!(Verdict::of(&proof.probes), Verdict::Fail, "{proof:?}");
        let missing = Fake::default().with_program(|_| Err("no such program".into()));
        assert_eq!(Verdict::of(&prove(&missing, stage.subject()).await.probes), Verdict::Inconclusive);
    }

    #[tokio::test]
    async fn without_verify_its_use_is_not_proved() {
        let stage = Stage::restored_by(source(RestoredKind::Files, &[]));
        let proof = prove(&restores(0), stage.subject()).await;
        assert_eq!(proof.reached, Some(Level::Restore));
        assert!(!proof.probes[1].not_provable.is_empty());
    }

    #[tokio::test]
    async fn a_data_directory_is_started() {
        let stage = Stage::restored_by(source(RestoredKind::Postgres, &[]));
        let fake = restores(0).with_cluster(|cluster| {
            assert!(cluster.folder.join("file").exists() && cluster.log.is_none());
            let mut probe = Probe::new("start", Level::Boot);
            probe.counts.insert("databases".into(), 1);
            let phases = vec![("replay".to_owned(), 1.0), ("checks".to_owned(), 2.0)];
            ClusterProof { probes: vec![probe], phases, reached: Some(Level::Full) }
        });
        let proof = prove(&fake, stage.subject()).await;
        assert_eq!(
            (Verdict::of(&proof.probes), proof.reached),
            (Verdict::Pass, Some(Level::Full)),
            "{proof:?}"
        );
        assert_eq!(proof.phases.iter().map(|phase| phase.counts).collect::<Vec<_>>(), [true, true, false]);
    }
}
