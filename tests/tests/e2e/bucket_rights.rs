//! The rights at the store that `preflight --print-policy` prints are enough for what each role does, and for nothing
//! else: real verbs of each member go through a proxy that enforces them, and then what a thief would try.
//!
//! On purpose not here: what a role's keys open (`roles`).

use super::compare::same;
use super::log::{cluster, segment};
use super::members::{admit, by, member_of};
use super::tree::{noise, ordinary, put};
use super::world::{Ran, Word, World, within};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use holdfast_tests::iam::{Asked, Policy};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{ACCESS, BUCKET, SECRET, Weed};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A repository in a bucket, below `x/`.
struct Scene {
    weed: Weed,
    world: World,
    runtime: tokio::runtime::Runtime,
}

/// A member, and the way to the bucket that its rights leave.
struct Host {
    name: &'static str,
    member: String,
    proxy: Proxy,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn start() -> Self {
        let (weed, mut world) = (Weed::start(), World::bare());
        world.repo = PathBuf::from(weed.url("x"));
        world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { weed, world, runtime }
    }

    /// Admits a member, whose requests go through the policy that is printed for it.
    fn host(&self, role: &str, name: &'static str) -> Host {
        let member = member_of(&admit(&self.world, role, name));
        let words: [Word<'_>; 5] = [&"preflight", &"--print-policy", &role, &"--member", &member];
        let policy = Policy::parse(&self.world.run(&words).ends(0).out);
        let refused = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&refused);
        let proxy = Proxy::start_seeing(&self.weed.endpoint(), move |line, head| {
            if Asked::of(line, head).is_some_and(|asked| policy.answers(&asked)) {
                return Fate::Pass;
            }
            list.lock().unwrap().push(line.to_owned());
            Fate::Refuse(403, "AccessDenied")
        });
        Host { name, member, proxy, refused }
    }

    /// The first object below a name, in the repository.
    fn first(&self, below: &str) -> String {
        let listed = self.weed.client();
        let listed = listed.list_objects_v2().bucket(BUCKET).prefix(format!("x/{below}")).max_keys(1).send();
        let listed = self.runtime.block_on(listed).unwrap().contents.unwrap_or_default();
        let name = listed.first().and_then(|object| object.key()).unwrap_or_else(|| panic!("no {below}"));
        name["x/".len()..].to_owned()
    }

    /// A thief with a host's rights is refused all of these, or none.
    #[track_caller]
    fn assert_tries(&self, host: &Host, expected: bool, tries: &[(Try, String)]) {
        let client = host.client();
        for (how, name) in tries {
            let went = self.runtime.block_on(tried(&client, *how, &format!("x/{name}")));
            assert_eq!(went, expected, "{} may {how:?} {name}", host.name);
        }
    }
}

/// What can be tried with an object.
#[derive(Debug, Clone, Copy)]
enum Try {
    Read,
    Add,
    Replace,
    AddInParts,
    ReplaceInParts,
    Delete,
    DeleteVersion,
    /// Lists what lies below the name.
    List,
}

/// Whether it is not refused; whatever else becomes of it.
async fn tried(client: &Client, how: Try, name: &str) -> bool {
    let put = client.put_object().bucket(BUCKET).key(name).body(vec![7; 9].into());
    let delete = client.delete_object().bucket(BUCKET).key(name);
    let status = match how {
        Try::Read => failed(client.get_object().bucket(BUCKET).key(name).send().await),
        Try::Add => failed(put.if_none_match("*").send().await),
        Try::Replace => failed(put.send().await),
        Try::AddInParts => in_parts(client, name, true).await,
        Try::ReplaceInParts => in_parts(client, name, false).await,
        Try::Delete => failed(delete.send().await),
        Try::DeleteVersion => failed(delete.version_id("null").send().await),
        Try::List => failed(client.list_objects_v2().bucket(BUCKET).prefix(name).send().await),
    };
    status != Some(403)
}

/// The status of an answer that is none of success.
fn failed<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> Option<u16> {
    let error = answer.err()?;
    Some(error.raw_response().expect("an answer").status().as_u16())
}

/// An upload in one part: the status of what failed of it.
async fn in_parts(client: &Client, name: &str, is_new: bool) -> Option<u16> {
    let begun = match client.create_multipart_upload().bucket(BUCKET).key(name).send().await {
        Ok(begun) => begun.upload_id,
        refused => return failed(refused),
    };
    let part = client.upload_part().bucket(BUCKET).key(name).set_upload_id(begun.clone()).part_number(1);
    let sent = match part.body(vec![7; 9].into()).send().await {
        Ok(sent) => sent.e_tag,
        refused => return failed(refused),
    };
    let part = CompletedPart::builder().part_number(1).set_e_tag(sent).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key(name).set_upload_id(begun);
    let complete = complete.multipart_upload(parts).set_if_none_match(is_new.then(|| "*".to_owned()));
    failed(complete.send().await)
}

impl Host {
    /// Runs the program with its key, cache and rights.
    fn run(&self, scene: &Scene, words: &[Word<'_>]) -> Ran {
        self.run_in(scene, &scene.world.path(""), words)
    }

    fn run_in(&self, scene: &Scene, folder: &Path, words: &[Word<'_>]) -> Ran {
        let mut command = by(&scene.world, self.name);
        let place = format!("s3://{BUCKET}/x?endpoint={}", self.proxy.endpoint());
        command.env("HOLDFAST_REPOSITORY", place).current_dir(folder);
        scene.world.run_as(&mut command, words)
    }

    /// Nothing was asked for that it may not.
    #[track_caller]
    fn assert_enough(&self) {
        assert_eq!(*self.refused.lock().unwrap(), Vec::<String>::new(), "asked for by {}", self.name);
    }

    /// A client with its rights alone.
    fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.proxy.endpoint())
            .force_path_style(true)
            .credentials_provider(Credentials::new(ACCESS, SECRET, None, None, "tests"))
            .build();
        Client::from_conf(config)
    }
}

fn all(how: &[Try], names: &[String]) -> Vec<(Try, String)> {
    names.iter().flat_map(|name| how.iter().map(|how| (*how, name.clone()))).collect()
}

const CHANGES: [Try; 6] =
    [Try::Add, Try::Replace, Try::AddInParts, Try::ReplaceInParts, Try::Delete, Try::DeleteVersion];
const REMOVES: [Try; 4] = [Try::Replace, Try::ReplaceInParts, Try::Delete, Try::DeleteVersion];

/// Names that no host has objects below, and one each that is there.
fn of_nobody(scene: &Scene) -> Vec<String> {
    let id = "0".repeat(32);
    let invented =
        ["roots/9", "lists/x", "members/9", "keys/x", "index/segment/x", "snapshots/x", "shredded", "y"];
    let there = ["keys/", "members/"].map(|below| scene.first(below));
    let mut names: Vec<String> = invented.iter().map(|&name| name.to_owned()).collect();
    names.extend(there);
    names.extend(["holdfast.json".to_owned(), format!("evidence/{id}/1"), format!("packs/data/00/{id}-1")]);
    names
}

#[test]
fn a_writer_needs_no_right_to_delete_or_replace() {
    let scene = Scene::start();
    let world = &scene.world;
    world.run(&[&"init", &"--domain", &"tenant"]).ends(0);
    let [writer, other] = ["web1", "web2"].map(|name| scene.host("writer", name));
    let (tree, data) = (world.path("tree"), cluster(world, "data", 7));
    ordinary(&tree, 60, 1);
    put(tree.join("large"), noise(2, 10 << 20));
    let first = writer.run(&scene, &[&"backup", &"--json", &tree]).ends(0).summary();
    put(tree.join("large"), noise(3, 1 << 20));
    let second = writer.run(&scene, &[&"backup", &"--json", &tree]).ends(0).summary();
    assert_eq!(second["parent"], first["snapshot_id"]);
    writer.run(&scene, &[&"--domain", &"tenant", &"backup", &tree]).ends(0);
    let file = segment(&data, 1, 3, 7);
    let words: [Word<'_>; 3] = [&"wal", &"push", &Path::new("pg_wal").join(file.file_name().unwrap())];
    writer.run_in(&scene, &data, &words).ends(0);
    for verb in ["snapshots", "check", "stats"] {
        writer.run(&scene, &[&verb]).ends(0);
    }
    writer.assert_enough();
    other.run(&scene, &[&"backup", &world.path("data")]).ends(0);
    other.assert_enough();
    let target = world.path("out");
    let latest = within(second["snapshot_id"].as_str().unwrap(), &tree);
    world.run(&[&"restore", &latest, &"--target", &target]).ends(0);
    same(&tree, &target);

    let (own, others) = (&writer.member, &other.member);
    let below = |member: &str| {
        ["packs/data/00/", "packs/tree/00/", "sessions/00000009/", "index/delta/00000009/"]
            .iter()
            .flat_map(|&folder| [folder.to_owned(), format!("domains/tenant/{folder}")])
            .map(|folder| format!("{folder}{member}-1"))
            .collect::<Vec<_>>()
    };
    scene.assert_tries(&writer, true, &all(&[Try::Add, Try::Read], &below(own)));
    scene.assert_tries(&writer, true, &all(&[Try::AddInParts], &[format!("packs/data/01/{own}-1")]));
    scene.assert_tries(&writer, true, &all(&[Try::Add], &[format!("evidence/{own}/1"), "wal/x/y".into()]));
    scene.assert_tries(&writer, false, &all(&REMOVES, &below(own)));
    scene.assert_tries(&writer, false, &all(&CHANGES, &below(others)));
    scene.assert_tries(&writer, false, &all(&CHANGES, &[format!("evidence/{others}/1")]));
    scene.assert_tries(&writer, false, &all(&CHANGES, &of_nobody(&scene)));
    scene.assert_tries(&writer, false, &all(&REMOVES, &[scene.first("wal/"), format!("evidence/{own}/1")]));
    // Beside the repository nothing is there for it either.
    let beside = [(Try::List, String::new()), (Try::Read, "y".into())];
    scene.assert_tries(&writer, true, &beside);
    let elsewhere = scene.runtime.block_on(tried(&writer.client(), Try::List, "y/"));
    assert!(!elsewhere, "a writer lists what lies beside the repository");
    world.run(&[&"restore", &latest, &"--target", &world.path("again")]).ends(0);
    same(&tree, &world.path("again"));
}

#[test]
fn a_maintainer_needs_no_right_to_replace_and_a_reader_none_but_to_add_evidence() {
    let scene = Scene::start();
    let world = &scene.world;
    let (ops, drills) = (scene.host("maintainer", "ops"), scene.host("reader", "drills"));
    let tree = world.path("tree");
    ordinary(&tree, 60, 1);
    for round in 0..3 {
        put(tree.join("large"), noise(round, 1 << 20));
        world.backup(&tree);
    }
    ops.run(&scene, &[&"preflight"]).ends(0);
    ops.run(&scene, &[&"hold", &"--all", &"--reason", &"a case"]).ends(0);
    ops.run(&scene, &[&"hold", &"--all", &"--release"]).ends(0);
    ops.run(&scene, &[&"forget", &"--keep-last", &"1"]).ends(0);
    let pruned =
        [&"prune" as Word<'_>, &"--json", &"--min-age", &"0", &"--max-unused", &"0", &"--abort-after", &"0"];
    let pruned = ops.run(&scene, &pruned).ends(0).summary();
    assert!(super::world::count(&pruned, "packs") > 0, "{pruned}");
    ops.run(&scene, &[&"check", &"--read-data"]).ends(0);
    ops.run(&scene, &[&"repair", &"index"]).ends(0);
    ops.assert_enough();

    let out = world.path("out");
    let words: [Word<'_>; 6] =
        [&"restore", &within("latest", &tree), &"--target", &out, &"--reason", &"an audit"];
    drills.run(&scene, &words).ends(0);
    same(&tree, &out);
    drills.run(&scene, &[&"check", &"--read-data"]).ends(0);
    drills.run(&scene, &[&"evidence", &"verify"]).ends(0);
    drills.assert_enough();
    let evidence = scene.first(&format!("evidence/{}/", drills.member));

    let there = ["packs/data/", "sessions/", "index/", "roots/"].map(|below| scene.first(below));
    let nobodys = of_nobody(&scene);
    scene.assert_tries(&drills, true, &all(&[Try::Read], &there));
    scene.assert_tries(&drills, false, &all(&CHANGES, &there));
    scene.assert_tries(&drills, false, &all(&CHANGES, &nobodys));
    scene.assert_tries(&drills, false, &all(&REMOVES, std::slice::from_ref(&evidence)));
    scene.assert_tries(&drills, false, &all(&CHANGES, &[format!("evidence/{}/1", ops.member)]));
    scene.assert_tries(&ops, false, &all(&[Try::Replace, Try::ReplaceInParts, Try::DeleteVersion], &there));
    scene.assert_tries(&ops, false, &all(&CHANGES, &[evidence, format!("evidence/{}/1", drills.member)]));
    let kept = ["keys/", "members/", "roots/"].map(|below| scene.first(below));
    let kept = [&kept[..], &["holdfast.json".to_owned(), format!("evidence/{}/1", ops.member)]].concat();
    scene.assert_tries(&ops, false, &all(&REMOVES, &kept));
    scene.assert_tries(
        &ops,
        false,
        &all(&[Try::Add, Try::AddInParts], &["keys/x".into(), "members/9".into()]),
    );
    scene.assert_tries(&ops, true, &[(Try::Delete, there[0].clone())]);
}

#[test]
fn a_standby_needs_no_right_but_to_read_the_log() {
    let scene = Scene::start();
    let world = &scene.world;
    world.run(&[&"init", &"--domain", &"tenant"]).ends(0);
    let standby = scene.host("reader:wal", "db2");
    let data = cluster(world, "data", 7);
    let file = segment(&data, 1, 3, 7);
    let name = file.file_name().unwrap();
    let push: [Word<'_>; 3] = [&"wal", &"push", &Path::new("pg_wal").join(name)];
    for domain in [None, Some("tenant")] {
        let of: Vec<Word<'_>> = domain.iter().flat_map(|name| [&"--domain" as Word<'_>, name]).collect();
        let words = [&of[..], &push].concat();
        world.run_as(world.command().current_dir(&data), &words).ends(0);
        let [out, none] = ["out", "none"].map(|name| world.path(name));
        let fetch = |file: Word<'_>, out: &PathBuf| {
            let words: [Word<'_>; 6] = [&"wal", &"fetch", file, out, &"--system", &"7"];
            standby.run(&scene, &[&of[..], &words].concat())
        };
        fetch(&name, &out).ends(0);
        assert!(fs::read(&out).unwrap() == fs::read(&file).unwrap());
        // The end of the log is an answer and not a refusal.
        fetch(&"000000010000000000000004", &none).ends(1);
        let listed = standby.run(&scene, &[&of[..], &[&"wal" as Word<'_>, &"ls"]].concat()).ends(0);
        assert!(listed.out.contains("000000010000000000000003"), "{listed:?}");
    }
    standby.assert_enough();
    world.backup(&data);
    world.run(&[&"prune"]).ends(0);
    let secret =
        ["packs/data/", "packs/tree/", "sessions/", "index/", "roots/"].map(|below| scene.first(below));
    scene.assert_tries(&standby, false, &all(&[Try::Read], &secret));
    scene.assert_tries(&standby, false, &all(&CHANGES, &secret));
    scene.assert_tries(&standby, false, &all(&CHANGES, &of_nobody(&scene)));
    scene.assert_tries(
        &standby,
        false,
        &all(&CHANGES, &[scene.first("wal/"), format!("evidence/{}/1", standby.member)]),
    );
    let lists = |names: &[&str]| names.iter().map(|&name| (Try::List, name.to_owned())).collect::<Vec<_>>();
    scene.assert_tries(
        &standby,
        false,
        &lists(&["", "packs/", "sessions/", "evidence/", "domains/tenant/roots/"]),
    );
    scene.assert_tries(&standby, true, &all(&[Try::Read], &[scene.first("wal/")]));
}
