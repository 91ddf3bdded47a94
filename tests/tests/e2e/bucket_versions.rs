//! All versions of a bucket, from a real server: each comes back, whichever is asked for, and a bucket
//! that keeps versions gets the same history again.
//!
//! On purpose not here: what is the same of a bucket without versions, which `bucket_source` has.

use super::roles::Member;
use super::tree::{noise, prose, put};
use super::world::{Ran, Word, World, count};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use futures::stream::{self, StreamExt};
use holdfast_core::keys::Role;
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Contents by key.
type State = BTreeMap<String, Vec<u8>>;

/// Contents of all versions, oldest first; none is a delete marker.
type History = BTreeMap<String, Vec<Option<Vec<u8>>>>;

struct Case {
    weed: Weed,
    world: World,
    client: Client,
    runtime: Runtime,
}

impl Case {
    fn start() -> Self {
        let (weed, world) = (Weed::start(), World::new());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = weed.client();
        Self { weed, world, client, runtime }
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn make(&self, bucket: &str, status: BucketVersioningStatus) {
        self.wait(async {
            let _ = self.client.create_bucket().bucket(bucket).send().await;
            let versioning = VersioningConfiguration::builder().status(status).build();
            let put = self.client.put_bucket_versioning().bucket(bucket);
            put.versioning_configuration(versioning).send().await.unwrap();
        });
    }

    fn put(&self, history: &mut History, bucket: &str, key: &str, body: Vec<u8>) {
        let put = self.client.put_object().bucket(bucket).key(key).body(ByteStream::from(body.clone()));
        self.wait(put.send()).unwrap();
        history.entry(key.to_owned()).or_default().push(Some(body));
    }

    fn delete(&self, history: &mut History, bucket: &str, key: &str) {
        self.wait(self.client.delete_object().bucket(bucket).key(key).send()).unwrap();
        history.entry(key.to_owned()).or_default().push(None);
    }

    fn url(&self, place: &str) -> String {
        format!("s3://{place}?endpoint={}", self.weed.endpoint())
    }

    /// What is there now below a prefix.
    fn state(&self, bucket: &str, prefix: &str) -> State {
        self.wait(async {
            let list = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
            let listed = list.send().await.unwrap().contents.unwrap_or_default();
            let mut state = State::new();
            for key in listed.into_iter().filter_map(|object| object.key) {
                let got = self.client.get_object().bucket(bucket).key(&key).send().await.unwrap();
                let body = got.body.collect().await.unwrap().to_vec();
                state.insert(key.strip_prefix(prefix).unwrap().to_owned(), body);
            }
            state
        })
    }

    /// Of each key its contents, oldest first, how many delete markers it has, and whether it is there.
    fn told(&self, bucket: &str, prefix: &str) -> BTreeMap<String, (Vec<Vec<u8>>, usize, bool)> {
        self.wait(async {
            let list = self.client.list_object_versions().bucket(bucket).prefix(prefix);
            let listed = list.send().await.unwrap();
            assert_ne!(listed.is_truncated, Some(true));
            let mut told: BTreeMap<String, (Vec<Vec<u8>>, usize, bool)> = BTreeMap::new();
            for version in listed.versions() {
                let (key, id) = (version.key().unwrap(), version.version_id().unwrap());
                let got =
                    self.client.get_object().bucket(bucket).key(key).version_id(id).send().await.unwrap();
                let body = got.body.collect().await.unwrap().to_vec();
                let one = told.entry(key.strip_prefix(prefix).unwrap().to_owned()).or_default();
                one.0.insert(0, body);
                one.2 |= version.is_latest().unwrap();
            }
            for marker in listed.delete_markers() {
                told.entry(marker.key().unwrap().strip_prefix(prefix).unwrap().to_owned()).or_default().1 +=
                    1;
            }
            told
        })
    }

    fn back_up(&self, place: &str, code: i32) -> (Ran, Value) {
        // Requests are counted: nothing is to be looked at again in turns.
        let options: [Word<'_>; 6] =
            [&"--versions", &"all", &"--metadata-sweep", &"off", &"--metadata", &"tags,lock"];
        let words: [Word<'_>; 3] = [&"backup", &"--json", &self.url(place)];
        let ran = self.world.run(&[&words[..], &options].concat()).ends(code);
        let summary = ran.summary();
        (ran, summary)
    }

    fn restore(&self, what: &str, place: &str, words: &[Word<'_>], code: i32) -> Ran {
        let target = self.url(place);
        let common: [Word<'_>; 5] = [&"restore", &"--json", &what, &"--target", &target];
        self.world.run(&[&common, words].concat()).ends(code)
    }

    /// The versions in a snapshot.
    fn listed(&self, what: &str) -> Vec<Value> {
        of(&self.world.run(&[&"ls", &"--json", &what]).ends(0), "node")
    }

    fn dumped(&self, what: &str, words: &[Word<'_>]) -> Vec<u8> {
        let target = self.world.path("dumped");
        let _ = fs::remove_file(&target);
        let common: [Word<'_>; 4] = [&"dump", &what, &"--target", &target];
        self.world.run(&[&common, words].concat()).ends(0);
        fs::read(target).unwrap()
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}")).to_owned()
}

/// What is there at the end of a history.
fn state(history: &History) -> State {
    let last = history.iter().map(|(key, versions)| (key.clone(), versions.last().cloned().flatten()));
    last.filter_map(|(key, body)| Some((key, body?))).collect()
}

/// The lines of a type.
fn of(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["message_type"] == kind).collect()
}

fn asked(summary: &Value, kind: &str) -> u64 {
    summary["source_requests"][kind].as_u64().unwrap_or(0)
}

/// Waits until a second of the clock is over, and some more.
fn pass(seconds: u64) {
    let now = SystemTime::now();
    while now.elapsed().unwrap() < Duration::from_millis(seconds * 1_000 + 100) {
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn this_second() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Overwritten and deleted in two times, and the state in between.
fn fill(case: &Case) -> (History, State, String) {
    let mut history = History::new();
    let put = |history: &mut History, key: &str, seed: u64, size: usize| {
        // Longer than a range, and than what goes in one part.
        let body = if key == "large" { noise(seed, size << 20) } else { prose(seed, size) };
        case.put(history, "films", key, body);
    };
    for (key, seed) in [("a", 1), ("a", 2)] {
        put(&mut history, key, seed, 100);
    }
    case.delete(&mut history, "films", "a");
    let some = ["a", "a!", "a-b", "a.b", "a/b", "back", "gone", "x/y", "한글/이름", "large", "empty"];
    for (key, seed) in some.into_iter().zip(10..) {
        let size = match key {
            "large" => 17,
            "empty" => 0,
            _ => 200,
        };
        put(&mut history, key, seed, size);
    }
    case.delete(&mut history, "films", "a!");
    case.delete(&mut history, "films", "back");
    case.wait(async {
        let put =
            case.client.put_object().bucket("films").key("tagged").body(ByteStream::from_static(b"old"));
        put.tagging("project=a%20b").metadata("camera", "7").send().await.unwrap();
    });
    history.entry("tagged".to_owned()).or_default().push(Some(b"old".to_vec()));
    let (then, second) = (state(&history), this_second());
    pass(1);
    for (key, seed) in [("a", 51), ("a.b", 52), ("back", 53), ("large", 54), ("new", 55), ("tagged", 56)] {
        put(&mut history, key, seed, if key == "large" { 9 } else { 300 });
    }
    case.delete(&mut history, "films", "gone");
    case.delete(&mut history, "films", "한글/이름");
    (history, then, format!("@{second}"))
}

#[test]
fn every_version_comes_back() {
    let case = Case::start();
    case.make("films", BucketVersioningStatus::Enabled);
    let (mut history, then, moment) = fill(&case);
    pass(3);
    let (_, first) = case.back_up("films", 0);
    let number = |history: &History| history.values().map(Vec::len).sum::<usize>() as u64;
    let contents = |history: &History| history.values().flatten().flatten().count() as u64;
    assert_eq!(count(&first, "total_files_processed"), number(&history), "{first}");
    let requests = |summary: &Value| ["list", "get", "tagging", "head"].map(|kind| asked(summary, kind));
    // The large ones come in three ranges and in two.
    assert_eq!(requests(&first), [1, contents(&history) + 3, contents(&history), 0], "{first}");

    // Nothing is read twice, with the cache and without.
    let (_, again) = case.back_up("films", 0);
    assert_eq!((requests(&again), again["unchanged"].as_bool()), ([1, 0, 0, 0], Some(true)), "{again}");
    fs::remove_dir_all(&case.world.cache).unwrap();
    let (_, without) = case.back_up("films", 0);
    assert_eq!((requests(&without), &without["tree"]), ([1, 0, 0, 0], &first["tree"]), "{without}");
    case.put(&mut history, "films", "a", prose(99, 10));
    case.delete(&mut history, "films", "new");
    let (_, third) = case.back_up("films", 0);
    assert_eq!((requests(&third), count(&third, "files_new")), ([1, 1, 1, 0], 2), "{third}");

    // Each is shown, and one is told from the other.
    let nodes = case.listed("latest");
    let shown: Vec<_> = nodes
        .iter()
        .map(|node| (text(node, "path"), node["delete_marker"] == true, node["current"] == true))
        .collect();
    let wanted = history.iter().flat_map(|(key, versions)| {
        let last = versions.len() - 1;
        versions.iter().enumerate().map(move |(at, body)| (format!("/{key}"), body.is_none(), at == last))
    });
    assert_eq!(shown, wanted.collect::<Vec<_>>());
    let lines = case.world.run(&[&"ls", &"latest:/gone"]).ends(0).out;
    let line =
        |word: &str| lines.lines().any(|line| line.contains(word) && line.contains("/gone?version-id="));
    assert!(line(" older ") && line(" deleted "), "{lines}");
    let diff = case.world.run(&[&"diff", &"--json", &text(&first, "snapshot_id"), &"latest"]).ends(0);
    let added: Vec<_> = of(&diff, "change").iter().map(|line| text(line, "path")).collect();
    assert_eq!(added, ["/a", "/new"]);
    let found = case.world.run(&[&"find", &"--json", &"gone", &"--snapshot", &"latest"]).ends(0);
    assert_eq!(of(&found, "match").len(), 2);

    one_version_is_taken(&case, &history, &nodes);
    states_are_restored(&case, &history, &then, &moment);
    the_history_is_replayed(&case, &history);
    case.world.check();
}

fn one_version_is_taken(case: &Case, history: &History, nodes: &[Value]) {
    let ids: Vec<_> =
        nodes.iter().filter(|node| node["path"] == "/a").map(|node| text(node, "version_id")).collect();
    assert_eq!(ids.len(), history["a"].len());
    assert!(case.dumped("latest:/a", &[]) == *history["a"].last().unwrap().as_ref().unwrap());
    for (id, body) in ids.iter().zip(&history["a"]) {
        let Some(body) = body else {
            let ran = case.world.run(&[&"dump", &"latest:/a", &"--version-id", id]).ends(1);
            ran.says(&["has no content", &format!("--version-id {}", ids.last().unwrap())]);
            continue;
        };
        assert!(case.dumped("latest:/a", &[&"--version-id", id]) == *body);
    }
    let target = case.world.path("one");
    case.world.run(&[&"restore", &"latest:/a", &"--target", &target, &"--version-id", &ids[0]]).ends(0);
    assert!(fs::read(target.join("a")).unwrap() == *history["a"][0].as_ref().unwrap());
    let gone = case.world.run(&[&"dump", &"latest:/gone"]).ends(1);
    gone.says(&["is deleted", "--version-id "]);
    case.world.run(&[&"restore", &"latest", &"--target", &target, &"--version-id", &ids[0]]).ends(2);
    case.world.run(&[&"dump", &"latest:/a", &"--at", &"@1"]).ends(1).says(&["was not there"]);
}

fn states_are_restored(case: &Case, history: &History, then: &State, moment: &str) {
    let now = state(history);
    let verified = case.restore("latest", &format!("{BUCKET}/now"), &[&"--verify"], 0).summary();
    assert_eq!(count(&verified, "files_verified"), now.len() as u64);
    assert!(case.state(BUCKET, "now/") == now);
    case.restore("latest", &format!("{BUCKET}/then"), &[&"--at", &moment], 0);
    assert!(case.state(BUCKET, "then/") == *then);
    // What is there becomes what was there.
    let words: [Word<'_>; 6] = [&"--at", &moment, &"--overwrite", &"always", &"--delete", &"--verify"];
    let dry: [Word<'_>; 4] = [&"--at", &moment, &"--delete", &"--dry-run"];
    let would = case.restore("latest", &format!("{BUCKET}/now"), &dry, 0).summary();
    assert!(case.state(BUCKET, "now/") == now);
    let did = case.restore("latest", &format!("{BUCKET}/now"), &words, 0).summary();
    assert!(case.state(BUCKET, "now/") == *then);
    assert_eq!(count(&would, "items_deleted"), count(&did, "items_deleted"));
    let folder = case.world.path("folder");
    case.world.run(&[&"restore", &"latest", &"--target", &folder, &"--at", &moment, &"--verify"]).ends(0);
    assert!(fs::read(folder.join("gone")).unwrap() == then["gone"]);
    assert!(!folder.join("back").exists() && !folder.join("new").exists());
    let below = case.world.path("below");
    case.world.run(&[&"restore", &"latest:/한글", &"--target", &below]).ends(1).says(&["delete markers"]);
    case.world.run(&[&"restore", &"latest:/한글", &"--target", &below, &"--at", &moment]).ends(0);
    assert!(fs::read(below.join("이름")).unwrap() == then["한글/이름"]);
}

fn the_history_is_replayed(case: &Case, history: &History) {
    let place = "copies/here";
    let plain = case.restore("latest", BUCKET, &[&"--all-versions"], 2);
    assert!(plain.err.contains("not empty"), "{plain:?}");
    case.restore("latest", &format!("{BUCKET}/fresh"), &[&"--all-versions"], 2)
        .says(&["does not keep versions", "put-bucket-versioning"]);
    assert!(case.state(BUCKET, "fresh/").is_empty());
    case.make("copies", BucketVersioningStatus::Enabled);
    case.restore("latest", place, &[&"--all-versions", &"--dry-run"], 0);
    assert!(case.told("copies", "here/").is_empty());
    case.restore("latest", place, &[&"--all-versions"], 0);
    let (there, here) = (case.told("films", ""), case.told("copies", "here/"));
    assert!(there == here, "{:?} {:?}", there.keys(), here.keys());
    assert_eq!(there.len(), history.len());
    let tags = case.wait(async {
        let list = case.client.list_object_versions().bucket("copies").prefix("here/tagged").send().await;
        let id = list.unwrap().versions().last().unwrap().version_id().unwrap().to_owned();
        let tags = case.client.get_object_tagging().bucket("copies").key("here/tagged").version_id(id);
        tags.send().await.unwrap().tag_set
    });
    assert_eq!(tags.iter().map(|tag| (tag.key(), tag.value())).collect::<Vec<_>>(), [("project", "a b")]);
    case.restore("latest", place, &[&"--all-versions"], 2).says(&["begun anew"]);
    // One that breaks off says so too, and nothing of going on.
    let full = Proxy::start(&case.weed.endpoint(), |line| match line.starts_with("PUT") {
        true => Fate::Refuse(507, "InsufficientStorage"),
        false => Fate::Pass,
    });
    let target = format!("s3://copies/full?endpoint={}", full.endpoint());
    let broken = case.world.run(&[&"restore", &"latest", &"--target", &target, &"--all-versions"]).ends(1);
    assert!(
        broken.err.contains("cannot be gone on with") && !broken.err.contains("--overwrite"),
        "{broken:?}"
    );
    // In which order versions and markers come, no client tells; a backup does.
    let order = |nodes: Vec<Value>, prefix: &str| -> Vec<(String, bool, String)> {
        let path = |node: &Value| text(node, "path").strip_prefix(prefix).unwrap().to_owned();
        nodes.iter().map(|node| (path(node), node["delete_marker"] == true, text(node, "digest"))).collect()
    };
    let before = order(case.listed("latest"), "/");
    let (_, copy) = case.back_up(place, 0);
    assert_eq!(order(case.listed(&text(&copy, "snapshot_id")), "/here/"), before);
}

#[test]
fn long_listings_are_followed_or_refused() {
    let case = Case::start();
    case.make("many", BucketVersioningStatus::Enabled);
    let keys =
        (0..1_040).map(|number| format!("many/{number:04}")).chain((0..1_010).map(|_| "busy".to_owned()));
    let put = |(number, key): (usize, String)| {
        let put = case.client.put_object().bucket("many").key(key);
        async move { put.body(ByteStream::from(prose(number as u64, 20))).send().await.unwrap() }
    };
    case.wait(stream::iter(keys.enumerate()).map(put).buffer_unordered(16).for_each(|_| async {}));
    let (_, summary) = case.back_up("many", 0);
    assert_eq!(count(&summary, "total_files_processed"), 2_050, "{summary}");
    // Three pages, and one more question where the second ends.
    assert_eq!((asked(&summary, "list"), asked(&summary, "get")), (4, 2_050), "{summary}");
    let busy = case.listed("latest:/busy");
    assert_eq!(busy.iter().filter(|node| node["current"] == true).count(), 1);
    let now = case.state("many", "busy");
    assert!(case.dumped("latest:/busy", &[]) == now[""]);
    // This server leaves `many` out, once `many/…` has more than a page.
    case.put(&mut History::new(), "many", "many", b"lost".to_vec());
    let ran = case.world.run(&[&"backup", &case.url("many"), &"--versions", &"all"]).ends(1);
    ran.says(&["leaves out", "of many it is in no page", "--versions current"]);
    // What is there now is another source.
    let current = case.world.run(&[&"backup", &"--json", &case.url("many")]).ends(0).summary();
    assert!(current["parent"].is_null() && count(&current, "files_new") >= 1_041, "{current}");
    case.world.run(&[&"ls", &"latest"]).ends(2).says(&["could mean several"]);
    let current = text(&current, "snapshot_id");
    case.world.run(&[&"diff", &text(&summary, "snapshot_id"), &current]).ends(2).says(&["all versions"]);
    case.world.run(&[&"dump", &format!("{current}:/many"), &"--at", &"@5"]).ends(2).says(&["--at"]);

    // Without versions there is one of each, and it can be overwritten.
    let mut history = History::new();
    case.put(&mut history, BUCKET, "x", b"one".to_vec());
    case.put(&mut history, BUCKET, "x/y", b"two".to_vec());
    let (_, plain) = case.back_up(BUCKET, 0);
    case.put(&mut history, BUCKET, "x", b"other".to_vec());
    let (_, later) = case.back_up(BUCKET, 0);
    // What is this fresh may be read once more.
    let read = count(&later, "files_new") + count(&later, "files_changed");
    assert!(count(&plain, "files_new") == 2 && (1..=2).contains(&read), "{later}");
    let id = text(&later, "snapshot_id");
    assert_eq!(case.listed(&id).len(), 2);
    assert_eq!(case.dumped(&format!("{id}:/x"), &[]), b"other");
    // What was written before, while and after versions were kept.
    case.make(BUCKET, BucketVersioningStatus::Enabled);
    case.put(&mut history, BUCKET, "x", b"kept".to_vec());
    case.make(BUCKET, BucketVersioningStatus::Suspended);
    case.put(&mut history, BUCKET, "x/y", b"again".to_vec());
    let (_, mixed) = case.back_up(BUCKET, 0);
    let id = text(&mixed, "snapshot_id");
    assert_eq!(case.listed(&id).len(), 3);
    assert_eq!(case.dumped(&format!("{id}:/x"), &[]), b"kept");
    assert_eq!(case.dumped(&format!("{id}:/x"), &[&"--version-id", &"null"]), b"other");
    assert_eq!(case.dumped(&format!("{id}:/x/y"), &[]), b"again");
    case.world.check();
}

#[test]
fn a_server_of_a_bucket_that_will_not_tell_is_named() {
    let world = World::new();
    let versions = |proxy: &Proxy| {
        let url = format!("s3://{BUCKET}/some?endpoint={}", proxy.endpoint());
        world.run(&[&"backup", &url, &"--versions", &"all"])
    };
    for (status, code, word) in [
        (403, "AccessDenied", "s3:ListBucketVersions"),
        (501, "NotImplemented", "--versions current"),
        (404, "NoSuchBucket", "check the bucket"),
    ] {
        let proxy = Proxy::start("http://127.0.0.1:9", move |_| Fate::Refuse(status, code));
        versions(&proxy).ends(1).says(&[word]);
    }
    let version = |key: &str, id: &str, second: u32| {
        format!(
            "<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>false</IsLatest><LastModified>\
             2026-01-01T00:00:{second:02}.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size></Version>"
        )
    };
    let page = |rows: &[String], more: &str| {
        format!("<?xml version=\"1.0\"?><ListVersionsResult>{}{more}</ListVersionsResult>", rows.concat())
    };
    let (more, next) = ("<IsTruncated>true</IsTruncated>", "<NextKeyMarker>some/a</NextKeyMarker>");
    let one = version("some/a", "1", 1);
    for (answer, word) in [
        (page(std::slice::from_ref(&one), more), "not how to get it"),
        (page(std::slice::from_ref(&one), &format!("{more}{next}")), "the same page"),
        (page(&[one.clone(), version("some/b", "2", 1), version("some/a", "3", 0)], ""), "goes back"),
        (page(&[one.clone(), version("some/a", "1", 0)], ""), "twice"),
        (page(&[version("other", "1", 1)], ""), "not asked for"),
        ("<?xml version=\"1.0\"?><ListBucketResult></ListBucketResult>".to_owned(), "knows versions"),
    ] {
        let proxy = Proxy::start("http://127.0.0.1:9", move |_| Fate::Say(answer.clone()));
        versions(&proxy).ends(1).says(&[word]);
    }
    let listing = page(&[one], "");
    let proxy = Proxy::start("http://127.0.0.1:9", move |line| match line.contains("versions") {
        true => Fate::Say(listing.clone()),
        false => Fate::Refuse(403, "AccessDenied"),
    });
    versions(&proxy).ends(3).says(&["/some/a?version-id=1", "s3:GetObjectVersion"]);
    // Of what it lacks an older version may take the place: that is no restore that went well.
    let listed = world.run(&[&"snapshots", &"--json"]).ends(0);
    let listed: Value = serde_json::from_str(listed.out.lines().next().unwrap()).unwrap();
    let id = text(&listed, "id");
    let restored = world.run(&[&"restore", &id, &"--target", &world.path("restored")]).ends(3);
    restored.says(&["older versions may stand"]);
    let archive = world.path("archive");
    let dumped = world.run(&[&"dump", &id, &"--target", &archive]).ends(3);
    dumped.says(&["older versions may stand"]);
}

#[test]
fn what_cannot_be_combined_with_versions_of_a_bucket_is_refused() {
    let world = World::new();
    world.run(&[&"backup", &"/etc/hostname", &"--versions", &"all"]).ends(2).says(&["--versions"]);
    let larger: [Word<'_>; 6] =
        [&"backup", &"s3://media", &"--versions", &"all", &"--exclude-larger-than", &"1M"];
    world.run(&larger).ends(2).says(&["--exclude-larger-than"]);
    let restore = |words: &[Word<'_>]| {
        let common: [Word<'_>; 4] = [&"restore", &"latest:/a", &"--target", &"/nowhere/x"];
        world.run(&[&common, words].concat()).ends(2)
    };
    restore(&[&"--all-versions"]).says(&["--all-versions needs a bucket"]);
    for other in ["--verify", "--delete"] {
        restore(&[&"--all-versions", &other]).says(&[other]);
    }
    restore(&[&"--all-versions", &"--at", &"@1"]).says(&["--at"]);
    restore(&[&"--at", &"@1", &"--version-id", &"x"]).says(&["--version-id"]);
    restore(&[&"--version-id", &"x", &"--delete"]).says(&["--delete and --version-id"]);
    restore(&[&"--at", &"once upon a time"]).says(&["--at"]);
}

#[test]
fn a_writer_keeps_every_version_and_reads_none() {
    let case = Case::start();
    case.make("films", BucketVersioningStatus::Enabled);
    let (mut history, ..) = fill(&case);
    pass(3);
    let [writer, reader] = [Role::Writer, Role::Reader].map(|role| Member::admitted(&case.world, role));
    let url = case.url("films");
    let back_up = || {
        let words: [Word<'_>; 9] = [
            &"backup",
            &"--json",
            &url,
            &"--versions",
            &"all",
            &"--metadata-sweep",
            &"off",
            &"--metadata",
            &"tags,lock",
        ];
        writer.run(&case.world, &words).ends(0).summary()
    };
    let first = back_up();
    let number = |history: &History| history.values().map(Vec::len).sum::<usize>();
    assert_eq!(count(&first, "total_files_processed"), number(&history) as u64, "{first}");
    let again = back_up();
    assert_eq!((asked(&again, "get"), count(&again, "data_added")), (0, 0), "{again}");
    case.put(&mut history, "films", "a", prose(98, 10));
    assert_eq!(asked(&back_up(), "get"), 1);
    writer.run(&case.world, &[&"ls", &"latest"]).ends(1).says(&["this key is a writer's"]);
    let listed = reader.run(&case.world, &[&"ls", &"--json", &"latest"]).ends(0);
    assert_eq!(of(&listed, "node").len(), number(&history));
    case.world.check();
}

#[test]
fn of_the_keys_of_a_domain_that_was_erased_no_version_is_left() {
    let case = Case::start();
    case.make("store", BucketVersioningStatus::Enabled);
    let tree = case.world.path("tree");
    put(tree.join("file"), prose(1, 5_000));
    let place = case.url("store/repo");
    let run = |words: &[Word<'_>]| {
        let mut command = case.world.command();
        command.env("HOLDFAST_REPOSITORY", &place);
        case.world.run_as(&mut command, words)
    };
    let kit = case.world.path("kit of the bucket");
    run(&[&"init", &"--kit", &kit]).ends(0);
    run(&[&"init", &"--domain", &"hr"]).ends(0);
    run(&[&"--domain", &"hr", &"backup", &tree]).ends(0);
    let below = |folder: &str| case.told("store", &format!("repo/domains/hr/{folder}"));
    assert!(!below("members/").is_empty());
    run(&[&"shred", &"hr", &"--confirm", &"hr", &"--reason", &"contract ended"]).ends(0);
    // The bucket keeps a version of whatever else was deleted, and a mark of its deletion.
    assert_eq!(below("members/"), BTreeMap::new());
    assert_eq!(below("keys/"), BTreeMap::new());
    assert!(!below("packs/").is_empty());
    run(&[&"--domain", &"hr", &"snapshots"]).ends(10);
}
