//! Hands that do what a test says, and remember what was asked of them; and what a test drills.
//!
//! On purpose not here: any process.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::{Point, Recorded, Subject};
use crate::hands::{Answer, Call, Cluster, ClusterProof, Ended, Hands, Opens, Place, Program, Said};
use crate::policy::secret::{Credentials, SecretRef};
use crate::policy::units::Size;
use crate::policy::{
    Assertion, Bucket, CommandSource, Drill, Files, Policy, RestoredBy, ScratchBucket, Source, Sources,
};
use async_trait::async_trait;
use holdfast_engine::proof::Level;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use tempfile::TempDir;

type Verb = Box<dyn Fn(&Call) -> Result<Answer, String> + Send + Sync>;
type RunProgram = Box<dyn Fn(&Program) -> Result<Ended, String> + Send + Sync>;
type RunCluster = Box<dyn Fn(&Cluster) -> ClusterProof + Send + Sync>;

/// Does what it is told to.
pub(crate) struct Fake {
    verb: Verb,
    program: RunProgram,
    cluster: RunCluster,
    random: u64,
    calls: Mutex<Vec<Call>>,
    programs: Mutex<Vec<Program>>,
    emptied: Mutex<Vec<String>>,
    said: Mutex<Vec<String>>,
    /// What is recorded; a test keeps no records without.
    records: Option<Mutex<Vec<(String, Value)>>>,
}

/// A verb that ended well, with these lines.
#[expect(clippy::unnecessary_wraps, reason = "what a verb answers")]
pub(crate) fn ok(lines: Vec<Value>) -> Result<Answer, String> {
    Ok(Answer { code: 0, lines, problems: Vec::new(), seconds: 1.5 })
}

impl Default for Fake {
    fn default() -> Self {
        Self::new(|call| Err(format!("no such verb in this test: {:?}", call.words)))
    }
}

impl Fake {
    /// Answers verbs.
    pub(crate) fn new(verb: impl Fn(&Call) -> Result<Answer, String> + Send + Sync + 'static) -> Self {
        Self {
            verb: Box::new(verb),
            program: Box::new(|program| Err(format!("no such program in this test: {:?}", program.words))),
            cluster: Box::new(|_| ClusterProof::default()),
            random: 7,
            calls: Mutex::default(),
            programs: Mutex::default(),
            emptied: Mutex::default(),
            said: Mutex::default(),
            records: None,
        }
    }

    /// Keeps records.
    pub(crate) fn with_records(self) -> Self {
        Self { records: Some(Mutex::default()), ..self }
    }

    /// Records by their kinds, in order.
    pub(crate) fn records(&self) -> Vec<(String, Value)> {
        self.records.as_ref().unwrap().lock().unwrap().clone()
    }

    /// Runs programs.
    pub(crate) fn with_program(
        self,
        program: impl Fn(&Program) -> Result<Ended, String> + Send + Sync + 'static,
    ) -> Self {
        Self { program: Box::new(program), ..self }
    }

    /// Looks at clusters.
    pub(crate) fn with_cluster(
        self,
        cluster: impl Fn(&Cluster) -> ClusterProof + Send + Sync + 'static,
    ) -> Self {
        Self { cluster: Box::new(cluster), ..self }
    }

    /// Has this number as its random one.
    pub(crate) fn with_random(self, random: u64) -> Self {
        Self { random, ..self }
    }

    /// Verbs that were run.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Programs that were run.
    pub(crate) fn programs(&self) -> Vec<Program> {
        self.programs.lock().unwrap().clone()
    }

    /// Prefixes of buckets that were emptied.
    pub(crate) fn emptied(&self) -> Vec<String> {
        self.emptied.lock().unwrap().clone()
    }

    /// What people were told.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

#[async_trait]
impl Hands for Fake {
    async fn verb(&self, call: Call) -> Result<Answer, String> {
        self.calls.lock().unwrap().push(call.clone());
        (self.verb)(&call)
    }

    async fn program(&self, program: Program) -> Result<Ended, String> {
        self.programs.lock().unwrap().push(program.clone());
        (self.program)(&program)
    }

    async fn cluster(&self, cluster: Cluster) -> ClusterProof {
        (self.cluster)(&cluster)
    }

    async fn empty(&self, url: &str, _: Option<&Credentials>) -> Result<String, String> {
        self.emptied.lock().unwrap().push(url.to_owned());
        Ok(format!("{url}: emptied"))
    }

    async fn record(&self, _: &Place, kind: &str, text: &str) -> Result<String, String> {
        let Some(records) = &self.records else { return Err("a test keeps no records".into()) };
        let mut records = records.lock().unwrap();
        records.push((kind.to_owned(), serde_json::from_str(text).unwrap()));
        Ok(format!("record {}", records.len() - 1))
    }

    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn random(&self) -> u64 {
        self.random
    }

    fn host(&self) -> String {
        "web1".into()
    }

    fn stopped(&self) -> bool {
        false
    }

    fn say(&self, said: Said<'_>) {
        self.said.lock().unwrap().push(format!("{said:?}"));
    }
}

/// One source of a policy, and where it is drilled.
pub(crate) struct Stage {
    pub(crate) policy: Policy,
    pub(crate) source: Source,
    pub(crate) place: Place,
    pub(crate) snapshot: Option<Recorded>,
    pub(crate) point: Point,
    pub(crate) level: Level,
    pub(crate) scratch: PathBuf,
    pub(crate) _dir: TempDir,
}

impl Stage {
    fn new(source: Source, paths: &[&str]) -> Self {
        let opens = SecretRef::Env("PASSWORD".into());
        let dir = tempfile::tempdir().unwrap();
        let scratch = dir.path().join("drill-shop-1/tree");
        std::fs::create_dir_all(&scratch).unwrap();
        let mut policy: Policy = serde_json::from_value(serde_json::json!({
            "name": "shop", "repository": { "url": "/backups/shop" }, "sources": {},
            "drill": {},
        }))
        .unwrap();
        policy.sources = Sources(vec![("tree".into(), source.clone())]);
        Self {
            policy,
            source,
            place: Place {
                name: "repository".into(),
                url: "/backups/shop".into(),
                opens: Opens::Password(opens),
                credentials: None,
            },
            snapshot: Some(Recorded {
                id: "3f2a91bc".into(),
                time: Timestamp::UNIX_EPOCH,
                ended: Timestamp::UNIX_EPOCH,
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
                incomplete: false,
                bytes: 10,
                files: 2,
                facts: BTreeMap::new(),
            }),
            point: Point::Snapshot,
            level: Level::Full,
            scratch,
            _dir: dir,
        }
    }

    /// Files: 2 of them, with 10 bytes.
    pub(crate) fn files(paths: &[&str]) -> Self {
        let files = Files { paths: paths.iter().map(PathBuf::from).collect(), ..Files::default() };
        Self::new(Source { files: Some(files), ..Source::default() }, paths)
    }

    /// A bucket of 2 objects.
    pub(crate) fn bucket(url: &str) -> Self {
        let bucket = Bucket { url: url.into(), ..Bucket::default() };
        Self::new(Source { s3: Some(bucket), ..Source::default() }, &[url])
    }

    /// What a program wrote.
    pub(crate) fn command(command: CommandSource) -> Self {
        let path = format!("/{}", command.file_name);
        Self::new(Source { command: Some(command), ..Source::default() }, &[&path])
    }

    /// What another program restores.
    pub(crate) fn restored_by(by: RestoredBy) -> Self {
        let stage = Self::new(Source { restored_by: Some(by), ..Source::default() }, &[]);
        Self { snapshot: None, ..stage }
    }

    fn drill(&mut self) -> &mut Drill {
        self.policy.drill.as_mut().unwrap()
    }

    /// So many bytes are fetched at most.
    pub(crate) fn limit(&mut self, bytes: u64) {
        self.drill().max_download = Some(Size(bytes));
    }

    /// Buckets are restored to this one.
    pub(crate) fn scratch_bucket(&mut self, url: &str) {
        self.drill().scratch.bucket = Some(ScratchBucket { url: url.into(), credentials: None });
    }

    /// What has to hold.
    pub(crate) fn assert(&mut self, assertions: Vec<Assertion>) {
        self.drill().assertions = assertions;
    }

    /// The source, as a drill gets it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            policy: &self.policy,
            name: "tree",
            source: &self.source,
            from: &self.place,
            snapshot: self.snapshot.as_ref(),
            point: &self.point,
            level: self.level,
            scratch: &self.scratch,
            within: None,
        }
    }
}
