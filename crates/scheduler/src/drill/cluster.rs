//! Proves that a cluster of PostgreSQL comes back: it is restored into scratch with nothing but the
//! repository and what opens it, started there, brought to its point and looked through.
//!
//! On purpose not here: starting it, which the hands do, and which snapshot and point are drilled.

use super::restored::{bare, ends_badly, nothing};
use super::scratch::folder_name;
use super::{Phase, Point, Proof, Recorded, Subject, asserted, dumps};
use crate::hands::{Answer, Cluster, Hands, SqlAssertion, SqlExpect};
use crate::policy::{Assertion, Drill, Expect, Isolation, Source};
use holdfast_engine::proof::{Cause, Level, Probe};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a statement may take where nothing is stated.
const STATEMENT: Duration = Duration::from_secs(10 * 60);
/// So many things are told by name.
const TOLD_MAX: usize = 20;

/// Restores a snapshot of a cluster, and proves it up to the level that is asked for.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    let mut proof = Proof::default();
    let Some(snapshot) = subject.snapshot else {
        proof.probes.push(nothing());
        return proof;
    };
    let data = subject.scratch.join("data");
    let words = words(subject, snapshot, &data);
    if let Some(probe) = too_large(hands, subject, &words, ("a cluster is", 1)).await {
        proof.probes.push(probe);
        return proof;
    }
    let Some(answer) = restore(hands, subject, words, &mut proof).await else { return proof };
    if subject.level < Level::Boot {
        return proof;
    }
    let along = matches!(subject.point, Point::Along(..));
    let recovery = answer.line("recovery");
    let timeline = recovery.and_then(|line| line["timeline"].as_str());
    let cluster = Cluster {
        log: timeline.filter(|_| along).map(|timeline| (subject.from.clone(), timeline.to_owned())),
        facts: snapshot.facts.clone(),
        ..started(subject, data.clone())
    };
    look(hands, cluster, &mut proof).await;
    if subject.level >= Level::Full {
        proof.probes.extend(asserted::prove(hands, subject, &data).await);
    }
    proof
}

/// The words of its restore.
fn words(subject: Subject<'_>, snapshot: &Recorded, data: &Path) -> Vec<OsString> {
    let to = match subject.point {
        // Its own log makes it consistent; it does not go on from there.
        Point::Snapshot => "immediate",
        Point::Along(to, _) => to.as_str(),
    };
    let mut words: Vec<OsString> = vec!["restore".into(), snapshot.id.as_str().into()];
    words.extend(["--target".into(), data.into(), "--to".into(), to.into()]);
    words.extend(["--then", "promote", "--without-restore-command"].map(OsString::from));
    for (name, _) in snapshot.facts.iter().filter(|(name, _)| name.starts_with("tablespace ")) {
        let number = name.trim_start_matches("tablespace ");
        let mut map = OsString::from(format!("{number}="));
        map.push(subject.scratch.join(format!("space-{number}")));
        words.extend(["--tablespace-map".into(), map]);
    }
    words
}

/// A cluster is restored as a whole or not at all, and so are dumps; what it is, and how often it is
/// fetched.
pub(super) async fn too_large(
    hands: &dyn Hands,
    subject: Subject<'_>,
    words: &[OsString],
    (what_is, times): (&str, u64),
) -> Option<Probe> {
    let most = subject.policy.drill.as_ref()?.max_download?;
    let mut words = words.to_vec();
    words.push("--dry-run".into());
    let answer = hands.verb(bare(subject, words, None)).await.ok()?;
    let fetched = answer.line("summary")?["bytes_fetched"].as_u64()?.saturating_mul(times);
    if fetched <= most.0 {
        return None;
    }
    let mut probe = Probe::new("restore", Level::Read);
    let what = format!("{what_is} restored as a whole: {fetched} bytes, and max_download is {}", most.0);
    probe.finds(
        Cause::Environment,
        what,
        "raise drill.max_download, or drill this source from a nearer copy",
    );
    Some(probe)
}

/// Restores by the ordinary road, and says what follows from how that ended; nothing if there is
/// nothing to look at.
pub(super) async fn restore(
    hands: &dyn Hands,
    subject: Subject<'_>,
    mut words: Vec<OsString>,
    proof: &mut Proof,
) -> Option<Answer> {
    let mut probe = Probe::new("restore", Level::Read);
    if subject.level >= Level::Restore {
        words.push("--verify".into());
    }
    let answer = match hands.verb(bare(subject, words, None)).await {
        Ok(answer) => answer,
        Err(why) => {
            probe.finds(Cause::Environment, format!("restore: {why}"), "");
            proof.probes.push(probe);
            return None;
        }
    };
    // Who has it back compares nothing: that is a check.
    let compared = answer.line("summary").and_then(|line| line["seconds_verified"].as_f64());
    let compared = compared.unwrap_or_default().max(0.0).min(answer.seconds);
    probe.seconds = answer.seconds;
    let phase = |name: &str, seconds, counts| Phase { name: name.into(), seconds, counts };
    proof.phases.push(phase("restore", answer.seconds - compared, true));
    if compared > 0.0 {
        proof.phases.push(phase("compare", compared, false));
    }
    if let Some(summary) = answer.line("summary") {
        for (name, field) in
            [("files", "files_restored"), ("bytes", "bytes_restored"), ("files compared", "files_verified")]
        {
            if let Some(number) = summary[field].as_u64() {
                probe.counts.insert(name.to_owned(), number);
            }
        }
        proof.bytes = summary["bytes_restored"].as_u64().unwrap_or_default();
    }
    proof.share = Some(1.0);
    problems(&answer, &mut probe);
    let whole = matches!(answer.code, 0 | 3) && probe.findings.is_empty();
    if !matches!(answer.code, 0 | 3) && probe.findings.is_empty() {
        ends_badly(&mut probe, &answer, "it could not be restored");
    }
    proof.probes.push(probe);
    if whole {
        proof.reached = Some(subject.level.min(Level::Restore));
    }
    whole.then_some(answer)
}

/// What was told of single files.
fn problems(answer: &Answer, probe: &mut Probe) {
    let (mut told, mut unset) = (0, 0);
    for line in answer.problems.iter().filter(|line| line["message_type"] == "error") {
        let text = |field: &str| line[field].as_str().unwrap_or_default();
        let cause = match text("kind") {
            // The server's files need no owner but the one that the drill gives them.
            "attribute" => {
                unset += 1;
                continue;
            }
            "damaged" | "refused" => Cause::Backup,
            _ => Cause::Environment,
        };
        told += 1;
        if told <= TOLD_MAX {
            let what = format!("{}: {}", text("item"), text("message"));
            probe.finds(cause, what, "see how far it goes: holdfast check --read-data");
        }
    }
    if told > TOLD_MAX {
        probe.notes.push(format!("{told} files did not come back; the first {TOLD_MAX} are told"));
    }
    if unset > 0 {
        probe.notes.push(format!("attributes of {unset} files could not be set here, which no server needs"));
    }
}

/// A restored folder, and how it is to be looked at; without facts and a log.
pub(super) fn started(subject: Subject<'_>, folder: PathBuf) -> Cluster {
    let drill = subject.policy.drill.as_ref();
    Cluster {
        folder,
        work: subject.scratch.join("w"),
        level: subject.level,
        run_as: drill.and_then(|drill| drill.run_as.clone()),
        network: drill.map_or_else(Isolation::default, |drill| drill.network),
        bin_dirs: bin_dirs(subject.source),
        facts: std::collections::BTreeMap::new(),
        log: None,
        dumps: None,
        within: subject.within.cloned(),
        assertions: drill.map(|drill| assertions(subject, drill)).unwrap_or_default(),
        budget: drill.and_then(|drill| drill.budget).map(|span| span.0),
    }
}

fn bin_dirs(source: &Source) -> Vec<PathBuf> {
    let own = source.postgres.as_ref().map(|postgres| &postgres.bin_dirs);
    let by = source.restored_by.as_ref().map(|by| &by.bin_dirs);
    own.or(by).cloned().unwrap_or_default()
}

/// The assertions of this source that its server answers.
fn assertions(subject: Subject<'_>, drill: &Drill) -> Vec<SqlAssertion> {
    let own = drill.assertions.iter().enumerate().filter(|(_, stated)| stated.source == subject.name);
    own.filter_map(|(number, stated)| assertion(subject, number, stated)).collect()
}

fn assertion(subject: Subject<'_>, number: usize, stated: &Assertion) -> Option<SqlAssertion> {
    let (sql, expect) = match (&stated.keys_exist, &stated.sql) {
        (Some(keys), _) => {
            // What a drill restores of other sources lies beside it.
            let folder = subject.scratch.parent().unwrap_or(Path::new("/")).join(folder_name(&keys.source));
            (keys.query.clone(), SqlExpect::Keys(folder))
        }
        (None, Some(sql)) => {
            let expect = stated.expect.clone().unwrap_or(Expect::Truth(true));
            (sql.clone(), SqlExpect::Value(expect))
        }
        (None, None) => return None,
    };
    Some(SqlAssertion {
        name: stated.name.clone().unwrap_or_else(|| (number + 1).to_string()),
        database: stated.database.clone().unwrap_or_else(|| dumps::usual_database(subject)),
        sql,
        expect,
        timeout: stated.timeout.map_or(STATEMENT, |span| span.0),
    })
}

/// Has it looked at, and takes what was found.
pub(super) async fn look(hands: &dyn Hands, cluster: Cluster, proof: &mut Proof) {
    let found = hands.cluster(cluster).await;
    proof.probes.extend(found.probes);
    proof.phases.extend(found.phases.into_iter().map(|(name, seconds)| {
        // Who has databases back has a server for them.
        let counts = !matches!(name.as_str(), "checks" | "start");
        Phase { name, seconds, counts }
    }));
    proof.reached = proof.reached.max(found.reached);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::hands::{Call, ClusterProof, Ended, Opens, Place, Program, Said};
    use crate::policy::Policy;
    use crate::policy::secret::SecretRef;
    use async_trait::async_trait;
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use std::sync::Mutex;

    /// Hands that do what a test says, and remember it.
    struct Fake {
        answer: Answer,
        calls: Mutex<Vec<Call>>,
        clusters: Mutex<Vec<Cluster>>,
    }

    #[async_trait]
    impl Hands for Fake {
        async fn verb(&self, call: Call) -> Result<Answer, String> {
            self.calls.lock().unwrap().push(call);
            Ok(self.answer.clone())
        }
        async fn program(&self, _: Program) -> Result<Ended, String> {
            Err("no program in this test".into())
        }
        async fn cluster(&self, cluster: Cluster) -> ClusterProof {
            self.clusters.lock().unwrap().push(cluster);
            let phases = vec![("replay".to_owned(), 1.0), ("checks".to_owned(), 2.0)];
            ClusterProof { probes: Vec::new(), phases, reached: Some(Level::Full) }
        }
        async fn record(&self, _: &Place, _: &str, _: &str) -> Result<String, String> {
            Err("no record in this test".into())
        }
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn random(&self) -> u64 {
            7
        }
        fn host(&self) -> String {
            "host".into()
        }
        fn stopped(&self) -> bool {
            false
        }
        fn say(&self, _: Said<'_>) {}
    }

    fn fake(code: i32, lines: Vec<Value>, problems: Vec<Value>) -> Fake {
        let answer = Answer { code, lines, problems, seconds: 3.0 };
        Fake { answer, calls: Mutex::default(), clusters: Mutex::default() }
    }

    fn restored() -> Vec<Value> {
        vec![
            json!({ "message_type": "recovery", "timeline": "2-0123456789abcdef" }),
            json!({ "message_type": "summary", "files_restored": 9, "bytes_restored": 700, "bytes_fetched": 300 }),
        ]
    }

    const POLICY: &str = "name: shop\nrepository: { url: /r }\nsources:\n  db: { postgres: { url: 'postgres://b@h/', \
        bin_dirs: [/opt/pg] } }\n  dumps: { postgres: { url: 'postgres://b@h/', logical: {} } }\n  media: { files: { \
        paths: [/m] } }\ndrill:\n  run_as: driller\n  MAXassert:\n    - { source: db, sql: 'select 1', expect: 1, \
        database: shop }\n    - { source: db, keys_exist: { query: 'select k from f', in: media } }\n    - { source: \
        media, sql: 'select 2' }\n";

    async fn proved(fake: &Fake, name: &str, point: Point, level: Level, more: &str) -> Proof {
        let policy: Policy = serde_saphyr::from_str(&POLICY.replace("MAX", more)).unwrap();
        let from = Place {
            name: "offsite".into(),
            url: "/r".into(),
            opens: Opens::Password(SecretRef::Env("X".into())),
            credentials: None,
        };
        let facts = [("tablespace 16385", "/srv/fast"), ("system identifier", "7")];
        let snapshot = Recorded {
            id: "abcd".into(),
            time: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            paths: Vec::new(),
            incomplete: false,
            bytes: 700,
            files: 9,
            facts: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        let source = policy.sources.get(name).unwrap();
        let scratch = PathBuf::from("/scratch/drill-1").join(name);
        let (snapshot, point, scratch) = (Some(&snapshot), &point, &scratch);
        let (policy, from, within) = (&policy, &from, None);
        let subject = Subject { policy, name, source, from, snapshot, point, level, scratch, within };
        super::super::prove::prove(fake, subject).await
    }

    fn line(call: &Call) -> String {
        call.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn a_cluster_is_restored_to_its_point_and_started() {
        let hands = fake(0, restored(), Vec::new());
        let point = Point::Along("time=2026-01-31T02:15:00+09:00".into(), None);
        let proof = proved(&hands, "db", point, Level::Full, "").await;
        assert_eq!((proof.reached, proof.bytes, proof.share), (Some(Level::Full), 700, Some(1.0)));
        let counted: Vec<_> = proof.phases.iter().map(|phase| (phase.name.as_str(), phase.counts)).collect();
        assert_eq!(counted, [("restore", true), ("replay", true), ("checks", false)]);
        let calls = hands.calls.lock().unwrap();
        assert!(calls[0].bare && calls[0].repository.as_ref().unwrap().name == "offsite");
        assert_eq!(
            line(&calls[0]),
            "restore abcd --target /scratch/drill-1/db/data --to time=2026-01-31T02:15:00+09:00 --then promote \
             --without-restore-command --tablespace-map 16385=/scratch/drill-1/db/space-16385 --verify"
        );
        let cluster = hands.clusters.lock().unwrap()[0].clone();
        assert_eq!(cluster.log.as_ref().unwrap().1, "2-0123456789abcdef");
        assert_eq!(
            (cluster.run_as.as_deref(), &cluster.bin_dirs[..]),
            (Some("driller"), &["/opt/pg".into()][..])
        );
        assert_eq!(cluster.assertions.len(), 2);
        assert_eq!(
            (cluster.assertions[0].name.as_str(), cluster.assertions[0].database.as_str()),
            ("1", "shop")
        );
        assert_eq!(cluster.assertions[1].expect, SqlExpect::Keys("/scratch/drill-1/media".into()));
    }

    #[tokio::test]
    async fn a_snapshot_needs_no_log() {
        let hands = fake(0, restored(), Vec::new());
        proved(&hands, "db", Point::Snapshot, Level::Boot, "").await;
        assert!(line(&hands.calls.lock().unwrap()[0]).contains("--to immediate"));
        assert_eq!(hands.clusters.lock().unwrap()[0].log, None);
        let hands = fake(0, restored(), Vec::new());
        let proof = proved(&hands, "db", Point::Snapshot, Level::Restore, "").await;
        assert_eq!((proof.reached, hands.clusters.lock().unwrap().len()), (Some(Level::Restore), 0));
    }

    #[tokio::test]
    async fn what_cannot_be_restored_is_not_started() {
        let damaged =
            json!({ "message_type": "error", "kind": "damaged", "item": "/base/5/1", "message": "a chunk" });
        let failed =
            |code: i32, what: &str| json!({ "message_type": "exit_error", "code": code, "message": what });
        for (code, problems, cause) in [
            (1, vec![damaged, failed(1, "1 file is damaged")], Cause::Backup),
            (12, vec![failed(12, "no slot opens")], Cause::Backup),
            (1, vec![failed(1, "the log has a gap")], Cause::Backup),
            (2, vec![failed(2, "no such option")], Cause::Environment),
            (1, Vec::new(), Cause::Environment),
        ] {
            let hands = fake(code, Vec::new(), problems);
            let proof = proved(&hands, "db", Point::Snapshot, Level::Full, "").await;
            assert_eq!(proof.probes[0].findings[0].cause, cause, "{proof:?}");
            assert_eq!((proof.reached, hands.clusters.lock().unwrap().len()), (None, 0));
        }
    }

    #[tokio::test]
    async fn one_that_is_too_large_is_not_fetched() {
        let hands = fake(0, restored(), Vec::new());
        let proof = proved(&hands, "db", Point::Snapshot, Level::Full, "max_download: 100B\n  ").await;
        assert!(proof.probes[0].findings[0].what.contains("300 bytes"), "{proof:?}");
        assert_eq!(hands.calls.lock().unwrap().len(), 1);
        let hands = fake(0, restored(), Vec::new());
        proved(&hands, "db", Point::Snapshot, Level::Full, "max_download: 1KiB\n  ").await;
        assert_eq!(hands.calls.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn comparing_is_no_part_of_having_it_back() {
        let mut lines = restored();
        lines[1]["seconds_verified"] = json!(1.25);
        let hands = fake(0, lines, Vec::new());
        let proof = proved(&hands, "db", Point::Snapshot, Level::Restore, "").await;
        let phases: Vec<_> = proof.phases.iter().map(|phase| (phase.name.as_str(), phase.seconds)).collect();
        assert_eq!(phases, [("restore", 1.75), ("compare", 1.25)]);
        assert!(proof.phases[0].counts && !proof.phases[1].counts);
    }

    #[tokio::test]
    async fn dumps_are_loaded_and_asked() {
        let hands = fake(0, restored(), Vec::new());
        let asks = "assert:\n    - { source: dumps, sql: 'select 1', expect: 1 }\n  #";
        let proof = proved(&hands, "dumps", Point::Snapshot, Level::Full, asks).await;
        assert_eq!(proof.reached, Some(Level::Full));
        let cluster = hands.clusters.lock().unwrap()[0].clone();
        let dumps = cluster.dumps.unwrap();
        assert_eq!((dumps.snapshot.as_str(), dumps.from.name.as_str()), ("abcd", "offsite"));
        assert_eq!(dumps.files, PathBuf::from("/scratch/drill-1/dumps/dumps"));
        assert_eq!((cluster.assertions.len(), cluster.log), (1, None));
        assert_eq!(
            line(&hands.calls.lock().unwrap()[0]),
            "restore abcd --target /scratch/drill-1/dumps/dumps --verify"
        );
        let hands = fake(0, restored(), Vec::new());
        let proof = proved(&hands, "dumps", Point::Snapshot, Level::Restore, "").await;
        assert_eq!((proof.reached, hands.clusters.lock().unwrap().len()), (Some(Level::Restore), 0));
    }
}
