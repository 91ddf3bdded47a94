//! A drill has nothing but the repository: everything else is forbidden to it, on the way to the
//! server, and it proves all the same what it proves elsewhere.
//!
//! On purpose not here: what a drill finds.

use super::tree::ordinary;
use super::world::{Ran, Word, World};
use aws_sdk_s3::primitives::ByteStream;
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The bucket that is backed up.
const MEDIA: &str = "shopmedia";
/// What names of the repository's objects begin with.
const PREFIX: &str = "shop/";

/// Lines of requests.
type Lines = Arc<Mutex<Vec<String>>>;

fn taken(lines: &Lines) -> Vec<String> {
    std::mem::take(&mut lines.lock().unwrap())
}

/// Whether a request reads something of the repository, or adds to its evidence.
fn is_allowed(line: &str) -> bool {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = path.strip_prefix(&format!("/{BUCKET}/{PREFIX}"));
    match (method, name) {
        ("GET" | "HEAD", Some(name)) => !name.is_empty(),
        ("PUT", Some(name)) => name.starts_with("evidence/"),
        ("GET", None) if path.trim_end_matches('/') == format!("/{BUCKET}") => {
            let prefix = query.split('&').find_map(|option| option.strip_prefix("prefix="));
            prefix.is_some_and(|prefix| prefix.replace("%2F", "/").starts_with(PREFIX))
        }
        _ => false,
    }
}

/// A server behind a guard who lets only those pass who read the repository, and another way to it for who
/// backs up.
struct Guarded {
    weed: Weed,
    guard: Proxy,
    refused: Lines,
    way: Proxy,
    seen: Lines,
    world: World,
}

impl Guarded {
    fn new() -> Self {
        let weed = Weed::start();
        let (refused, seen) = (Lines::default(), Lines::default());
        let (to_refused, to_seen) = (Arc::clone(&refused), Arc::clone(&seen));
        let guard = Proxy::start(&weed.endpoint(), move |line| {
            if is_allowed(line) {
                return Fate::Pass;
            }
            to_refused.lock().unwrap().push(line.to_owned());
            Fate::Refuse(403, "AccessDenied")
        });
        let way = Proxy::start(&weed.endpoint(), move |line| {
            to_seen.lock().unwrap().push(line.to_owned());
            Fate::Pass
        });
        Self { weed, guard, refused, way, seen, world: World::bare() }
    }

    /// The URL of a place in a bucket, by one of the two ways.
    fn url(bucket: &str, prefix: &str, way: &Proxy) -> String {
        format!("s3://{bucket}/{prefix}?endpoint={}", way.endpoint())
    }

    fn fill(&self) {
        let client = self.weed.client();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            client.create_bucket().bucket(MEDIA).send().await.unwrap();
            for name in ["a", "folder/b", "folder/c"] {
                let body = ByteStream::from(name.repeat(2000).into_bytes());
                client.put_object().bucket(MEDIA).key(name).body(body).send().await.unwrap();
            }
        });
        ordinary(&self.world.path("tree"), 20, 1);
        fs::create_dir(self.world.path("scratch")).unwrap();
    }

    /// Runs a verb on the repository, by one of the two ways.
    fn run(&self, way: &Proxy, words: &[Word<'_>]) -> Ran {
        let mut command = self.world.command();
        command.env("HOLDFAST_REPOSITORY", Self::url(BUCKET, PREFIX, way));
        self.world.run_as(&mut command, words)
    }

    /// A policy whose repository and source are reached by one of the two ways.
    fn policy(&self, way: &Proxy) -> PathBuf {
        let policy = self.world.path("shop.yaml");
        let text = format!(
            "name: shop\nrepository: {{ url: \"{}\", password: {{ env: HOLDFAST_PASSWORD }} }}\nsources:\n  tree: {{ files: \
             {{ paths: [tree] }} }}\n  media: {{ s3: {{ url: \"{}\" }} }}\ndrill: {{ level: full, scratch: {{ path: {} }} \
             }}\n",
            Self::url(BUCKET, PREFIX, way),
            Self::url(MEDIA, "", way),
            self.world.path("scratch").display(),
        );
        fs::write(&policy, text).unwrap();
        policy
    }
}

/// The lines of one type.
fn of(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["message_type"] == kind).collect()
}

/// The record of the only drill.
fn record(ran: &Ran) -> Value {
    let lines = ran.lines();
    lines.into_iter().find(|line| line["message_type"] == "drill").expect("a drill")["record"].clone()
}

#[test]
fn a_drill_asks_for_nothing_but_the_repository() {
    let guarded = Guarded::new();
    let (world, guard, way) = (&guarded.world, &guarded.guard, &guarded.way);
    guarded.fill();
    guarded.run(way, &[&"init", &"--kdf-memory", &"1"]).ends(0);
    guarded.run(way, &[&"backup", &"--label", &"shop/tree", &world.path("tree")]).ends(0);
    let media = Guarded::url(MEDIA, "", way);
    guarded.run(way, &[&"backup", &"--label", &"shop/media", &media]).ends(0);
    assert!(!taken(&guarded.seen).is_empty() && taken(&guarded.refused).is_empty());

    let mut command = world.command();
    command.env_remove("HOLDFAST_REPOSITORY");
    let policy = guarded.policy(guard);
    let ran = world.run_as(&mut command, &[&"--json", &"drill", &policy]).ends(0);
    let record = record(&ran);
    assert_eq!(record["verdict"], "pass", "{record:#}");
    for source in record["sources"].as_array().unwrap() {
        assert_eq!((&source["verdict"], &source["reached"]), (&"pass".into(), &"full".into()), "{source:#}");
    }
    assert_eq!(taken(&guarded.refused), [""; 0], "asked for something else");
    // Nor by the way that the snapshot remembers of its source.
    assert_eq!(taken(&guarded.seen), [""; 0], "asked the source");
    assert_eq!(fs::read_dir(world.path("scratch")).unwrap().count(), 0);
    // The evidence is there, and what reads it says so.
    let shown = of(&guarded.run(guard, &[&"snapshots", &"--json"]).ends(0), "snapshot");
    for snapshot in &shown {
        let proof = &snapshot["proof"];
        assert_eq!((&proof["verdict"], &proof["level"]), (&"pass".into(), &"full".into()), "{snapshot:#}");
    }
    assert_eq!((shown.len(), taken(&guarded.refused).len()), (2, 0));

    // The guard is one: nothing is written through it, and the source cannot be read.
    assert_ne!(guarded.run(guard, &[&"backup", &world.path("tree")]).code, 0);
    assert!(taken(&guarded.refused).iter().any(|line| line.starts_with("PUT ")));
    let media = Guarded::url(MEDIA, "", guard);
    assert_ne!(guarded.run(way, &[&"backup", &"--label", &"shop/media", &media]).code, 0);
    assert!(taken(&guarded.refused).iter().all(|line| line.contains(MEDIA)));
    buckets_without_a_policy_are_told(&guarded);
}

/// What lies beside the bucket of the policy, in the same account.
fn buckets_without_a_policy_are_told(guarded: &Guarded) {
    let client = guarded.weed.client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.create_bucket().bucket("forgotten").send()).unwrap();
    let covered = |way: &Proxy, more: &[Word<'_>]| {
        let policy = guarded.policy(way);
        let words: [Word<'_>; 4] = [&"--json", &"policy", &"coverage", &policy];
        let ran = guarded.run(way, &[&words[..], more].concat());
        let of_buckets = |line: &Value| line["kind"] == "bucket" || line["kind"] == "account";
        let told: Vec<_> = of(&ran, "coverage").into_iter().filter(of_buckets).collect();
        told.iter().map(|line| (text(&line["path"]), text(&line["state"]))).collect::<Vec<_>>()
    };
    let path = |name: &str, way: &Proxy| format!("s3://{name}?endpoint={}", way.endpoint());
    let line = |name: &str, state: &str| (path(name, &guarded.way), state.to_owned());
    let mut wanted = [line(BUCKET, "ignored"), line("forgotten", "not_protected"), line(MEDIA, "protected")];
    wanted.sort();
    let sorted = |mut told: Vec<_>| {
        told.sort();
        told
    };
    assert_eq!(sorted(covered(&guarded.way, &[])), wanted);
    let ignored = format!("{}=2999-01-01: a test", path("forgotten", &guarded.way));
    let told = covered(&guarded.way, &[&"--ignore", &ignored]);
    assert!(told.contains(&line("forgotten", "ignored")), "{told:?}");
    assert_eq!(covered(&guarded.way, &[&"--offline"]), []);
    // Whoever may not list them is told, and that is no good news.
    let told = covered(&guarded.guard, &[]);
    assert_eq!(told, [(path("", &guarded.guard), "unknown".to_owned())]);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
