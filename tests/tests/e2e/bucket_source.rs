//! A bucket as something to back up, from a real server: all of it comes back byte for byte, what
//! did not change is not asked for again, and nothing that is missing is passed over.
//!
//! Where a server has to misbehave there is a proxy before it. On purpose not here: restoring to
//! buckets.

use super::tree::{noise, prose};
use super::world::{Ran, Word, World, count};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::stream::{self, StreamExt};
use holdfast_store_s3::{Meter, Network, connect};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Objects that are written at once.
const AT_ONCE: usize = 16;
const PART_BYTES: usize = 8 << 20;

/// What is in the bucket, as far as the test wrote it.
pub(super) type Contents = BTreeMap<String, Vec<u8>>;

/// A server with a bucket, seen by whoever fills it.
pub(super) struct Media {
    pub(super) weed: Weed,
    pub(super) runtime: Runtime,
    pub(super) client: Client,
}

impl Media {
    pub(super) fn start() -> Self {
        let weed = Weed::start();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (address, network, meter) = (weed.address(""), Network::default(), Meter::default());
        let client = runtime.block_on(connect(&address, Some(Weed::keys()), &network, &meter));
        Self { weed, runtime, client }
    }

    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Writes objects; those that the server does not take under this very name are left out.
    pub(super) fn fill(&self, objects: impl IntoIterator<Item = (String, Vec<u8>)>) -> Contents {
        let put = |(key, body): (String, Vec<u8>)| async move {
            let request = self.client.put_object().bucket(BUCKET).key(&key);
            let put = request.body(ByteStream::from(body.clone())).send().await;
            put.is_ok().then_some((key, body))
        };
        let written = stream::iter(objects).map(put).buffer_unordered(AT_ONCE);
        self.wait(written.filter_map(|written| async move { written }).collect())
    }

    fn delete(&self, key: &str) {
        self.wait(self.client.delete_object().bucket(BUCKET).key(key).send()).unwrap();
    }

    /// An upload in parts, with metadata.
    pub(super) fn upload(&self, key: &str, body: &[u8]) {
        self.wait(async {
            let begun = self.client.create_multipart_upload().bucket(BUCKET).key(key);
            let begun = begun.content_type("video/mp4").metadata("camera", "7").send().await.unwrap();
            let id = begun.upload_id.unwrap();
            let mut parts = CompletedMultipartUpload::builder();
            for (number, part) in (1..).zip(body.chunks(PART_BYTES)) {
                let sent =
                    self.client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(number);
                let sent = sent.body(ByteStream::from(part.to_vec())).send().await.unwrap();
                let done = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
                parts = parts.parts(done.build());
            }
            let end = self.client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id);
            end.multipart_upload(parts.build()).send().await.unwrap();
        });
    }

    /// The keys that the server lists.
    fn keys(&self) -> Vec<String> {
        self.wait(async {
            let mut pages = self.client.list_objects_v2().bucket(BUCKET).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                keys.extend(page.unwrap().contents.unwrap_or_default().into_iter().map(|it| it.key.unwrap()));
            }
            keys
        })
    }

    /// Waits until nothing of what is there is so fresh that it might change unnoticed.
    pub(super) fn settle() {
        let now = SystemTime::now();
        while now.elapsed().unwrap() < Duration::from_millis(3_100) {
            std::thread::yield_now();
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn url(&self, prefix: &str) -> String {
        self.weed.url(prefix)
    }
}

/// What objects have beside them, and not the bucket's own configuration: `bucket_configuration` has
/// that.
pub(super) const OBJECTS: [&str; 2] = ["--metadata", "tags,lock"];

/// What changed unseen is not looked for: `bucket_beside` has that.
pub(super) fn back_up(world: &World, url: &str, code: i32) -> (Ran, Value) {
    back_up_with(world, url, &[&OBJECTS[..], &["--metadata-sweep", "off"]].concat(), code)
}

/// The same with options, which may say otherwise what is kept.
pub(super) fn back_up_objects(world: &World, url: &str, options: &[&str], code: i32) -> (Ran, Value) {
    let usual: &[&str] = if options.contains(&"--metadata") { &[] } else { &OBJECTS };
    back_up_with(world, url, &[usual, options].concat(), code)
}

pub(super) fn back_up_with(world: &World, url: &str, options: &[&str], code: i32) -> (Ran, Value) {
    let common: [Word<'_>; 3] = [&"backup", &"--json", &url];
    let words: Vec<Word<'_>> = common.into_iter().chain(options.iter().map(|option| option as _)).collect();
    let ran = world.run(&words).ends(code);
    let summary = ran.summary();
    (ran, summary)
}

pub(super) fn asked(summary: &Value, kind: &str) -> u64 {
    summary["source_requests"][kind].as_u64().unwrap_or(0)
}

/// The keys of the newest snapshot.
pub(super) fn listed(world: &World) -> Vec<String> {
    let ran = world.run(&[&"ls", &"--json", &"latest"]).ends(0);
    let nodes = ran.lines().into_iter().filter(|line| line["message_type"] == "node");
    nodes.map(|node| node["path"].as_str().unwrap()[1..].to_owned()).collect()
}

pub(super) fn dumped(world: &World, key: &str) -> Vec<u8> {
    let target = world.path("dumped");
    let _ = fs::remove_file(&target);
    world.run(&[&"dump", &format!("latest:/{key}"), &"--target", &target]).ends(0);
    fs::read(target).unwrap()
}

#[track_caller]
fn same(world: &World, contents: &Contents) {
    let mut keys: Vec<_> = contents.keys().cloned().collect();
    keys.sort();
    assert_eq!(listed(world), keys);
    // Each dump opens the repository anew: some of the small ones, and all that are special.
    for (number, (key, body)) in contents.iter().enumerate() {
        if !key.starts_with("many/") || number.is_multiple_of(97) {
            assert!(dumped(world, key) == *body, "{key} came back other than it was");
        }
    }
}

#[test]
fn a_bucket_is_backed_up_and_only_what_changed_is_read_again() {
    let (media, world) = (Media::start(), World::new());
    let many =
        (0..1_040u64).map(|number| (format!("many/{number:04}"), prose(number, number as usize % 700)));
    let some = [0usize, 1, 63, 64, 65, 5_000, 128 << 10, (128 << 10) + 1, 3 << 20, 12 << 20];
    let some =
        some.into_iter().zip(5_000u64..).map(|(size, seed)| (format!("some/{size}"), noise(seed, size)));
    let odd = [
        "a",
        "a-b",
        "a/b",
        "a!b",
        "dir/",
        "한글/파일 이름",
        "plus+plus",
        "per%cent%2F",
        "q?x=1&y=2#z",
        "quote'\"<>&",
        "cafe\u{301}",
        "caf\u{e9}",
        "...",
        "tab\tkey",
        " blank ",
        "~tilde",
        "new\nline",
    ];
    let long = (0..4).map(|word| format!("{word}").repeat(240)).collect::<Vec<_>>().join("/");
    let odd = odd.into_iter().map(str::to_owned).chain([long]);
    let odd = odd.zip(9_000u64..).map(|(key, seed)| {
        let body = if key.ends_with('/') { Vec::new() } else { prose(seed, 100) };
        (key, body)
    });
    let mut contents = media.fill(many.chain(some).chain(odd));
    let large = noise(77, 20 << 20);
    media.upload("large/in parts", &large);
    contents.insert("large/in parts".into(), large);
    let mut keys = media.keys();
    keys.sort();
    assert_eq!(keys, contents.keys().cloned().collect::<Vec<_>>(), "the server takes names for others");
    Media::settle();

    let url = media.url("");
    let (_, first) = back_up(&world, &url, 0);
    assert_eq!(count(&first, "total_files_processed"), contents.len() as u64);
    assert_eq!(asked(&first, "list"), 2, "{first}");
    assert!(
        asked(&first, "get") >= contents.len() as u64 && asked(&first, "tagging") >= contents.len() as u64
    );
    same(&world, &contents);

    let (_, again) = back_up(&world, &url, 0);
    let none = |summary: &Value| ["get", "head", "tagging", "other"].map(|kind| asked(summary, kind));
    assert_eq!((asked(&again, "list"), none(&again)), (2, [0; 4]), "{again}");
    assert_eq!((count(&again, "files_new"), count(&again, "data_added")), (0, 0), "{again}");
    assert_eq!(again["unchanged"], true);

    fs::remove_dir_all(&world.cache).unwrap();
    let (_, without) = back_up(&world, &url, 0);
    assert_eq!((asked(&without, "list"), none(&without)), (2, [0; 4]), "{without}");
    assert_eq!(without["tree"], first["tree"]);

    let changed = (0..10u64).map(|number| (format!("many/{:04}", number * 100), prose(70_000 + number, 800)));
    contents.extend(media.fill(changed));
    media.delete("many/0001");
    contents.remove("many/0001");
    contents.extend(media.fill([("new".to_owned(), prose(1, 10))]));
    Media::settle();
    let (_, third) = back_up(&world, &url, 0);
    assert_eq!(
        (asked(&third, "list"), asked(&third, "get"), asked(&third, "tagging")),
        (2, 11, 11),
        "{third}"
    );
    assert_eq!((count(&third, "files_new"), count(&third, "files_changed")), (1, 10), "{third}");
    same(&world, &contents);
    let (_, whole) = back_up(&world, &url, 0);
    assert_eq!(none(&whole), [0; 4]);
    world.check();
}

#[test]
fn headers_metadata_and_tags_are_kept() {
    let (media, world) = (Media::start(), World::new());
    media.wait(async {
        let put = media.client.put_object().bucket(BUCKET).key("page").body(ByteStream::from_static(b"<p>"));
        let put = put.content_type("text/html").cache_control("no-store").content_language("ko");
        let put = put.content_disposition("attachment").content_encoding("identity");
        put.metadata("author", "me").tagging("project=a%20b&x=y").send().await.unwrap();
    });
    media.upload("film", &noise(1, 20 << 20));
    media.fill([("plain".to_owned(), b"x".to_vec())]);
    back_up(&world, &media.url(""), 0);
    let archive = world.path("archive.tar");
    world.run(&[&"dump", &"--archive", &"tar", &"latest", &"--target", &archive]).ends(0);
    let text = String::from_utf8_lossy(&fs::read(archive).unwrap()).into_owned();
    for kept in [
        "s3.content-type=text/html",
        "s3.cache-control=no-store",
        "s3.content-language=ko",
        "s3.content-disposition=attachment",
        "s3.meta.author=me",
        "s3.tag.project=a b",
        "s3.tag.x=y",
        "s3.content-type=video/mp4",
        "s3.meta.camera=7",
        "s3.parts=8388608x2,4194304",
        "s3.etag=",
    ] {
        assert!(text.contains(kept), "{kept}");
    }
}

/// Lines of a type, as kind and item.
pub(super) fn told(ran: &Ran, kind: &str) -> Vec<(String, String)> {
    let lines = ran.of_type(kind).into_iter();
    let mut told: Vec<_> = lines
        .map(|line| (line["kind"].as_str().unwrap().to_owned(), line["item"].as_str().unwrap().to_owned()))
        .collect();
    told.sort();
    told
}

pub(super) fn through(proxy: &Proxy) -> String {
    format!("s3://{BUCKET}/some?endpoint={}", proxy.endpoint())
}

#[test]
fn what_is_denied_or_gone_is_named() {
    let (media, world) = (Media::start(), World::new());
    let objects =
        ["denied", "gone", "large denied", "untagged", "well"].into_iter().zip(1u64..).map(|(name, seed)| {
            (format!("some/{name}"), noise(seed, if name.starts_with("large") { 9 << 20 } else { 900 }))
        });
    let contents = media.fill(objects);
    media.wait(async {
        let tag = aws_sdk_s3::types::Tag::builder().key("kept").value("yes").build().unwrap();
        let tags = aws_sdk_s3::types::Tagging::builder().tag_set(tag).build().unwrap();
        let put = media.client.put_object_tagging().bucket(BUCKET).key("some/untagged").tagging(tags);
        put.send().await.unwrap();
    });
    media.fill([("some/leaves".to_owned(), noise(9, 900))]);
    Media::settle();
    let refusing = Arc::new(AtomicUsize::new(1));
    let refuses = Arc::clone(&refusing);
    let (handle, client) = (media.runtime.handle().clone(), media.client.clone());
    let proxy = Proxy::start(&media.weed.endpoint(), move |line| {
        let key = |name: &str| line.contains(&format!("/{BUCKET}/some/{name}?"));
        if key("leaves") {
            handle.block_on(client.delete_object().bucket(BUCKET).key("some/leaves").send()).unwrap();
        }
        match refuses.load(Ordering::Relaxed) {
            1 if key("denied") || key("large%20denied") => Fate::Refuse(403, "AccessDenied"),
            1 if key("untagged") && line.contains("tagging") => Fate::Refuse(403, "AccessDenied"),
            1 if key("gone") => Fate::Refuse(404, "NoSuchKey"),
            _ => Fate::Pass,
        }
    });
    let url = through(&proxy);
    let (ran, summary) = back_up(&world, &url, 3);
    let wanted = [
        ("attribute", "/some/untagged"),
        ("unreadable", "/some/denied"),
        // It is listed to the end: that is no object that somebody deleted meanwhile.
        ("unreadable", "/some/gone"),
        ("unreadable", "/some/large denied"),
    ];
    assert_eq!(told(&ran, "error"), wanted.map(|(kind, item)| (kind.to_owned(), item.to_owned())), "{ran:?}");
    assert_eq!(told(&ran, "notice"), [("vanished".to_owned(), "/some/leaves".to_owned())]);
    for word in ["s3:GetObjectTagging", "AccessDenied", "the server lists it"] {
        assert!(ran.err.contains(word), "{word}: {}", ran.err);
    }
    assert_eq!((count(&summary, "error_count"), summary["incomplete"].as_bool()), (4, Some(true)));
    assert_eq!(listed(&world), ["some/untagged", "some/well"]);
    // What was missing is missed again, and told of again, with the cache and without.
    for _ in 0..2 {
        let (ran, _) = back_up(&world, &url, 3);
        assert_eq!(told(&ran, "error").len(), 4, "{ran:?}");
        fs::remove_dir_all(&world.cache).unwrap();
    }
    refusing.store(0, Ordering::Relaxed);
    let (_, summary) = back_up(&world, &url, 0);
    assert_eq!(count(&summary, "total_files_processed"), 5, "{summary}");
    same(&world, &contents);
    let archive = world.path("archive.tar");
    world.run(&[&"dump", &"--archive", &"tar", &"latest:some/untagged", &"--target", &archive]).ends(0);
    assert!(String::from_utf8_lossy(&fs::read(archive).unwrap()).contains("s3.tag.kept=yes"));
    let (_, again) = back_up(&world, &url, 0);
    assert_eq!((asked(&again, "get"), asked(&again, "tagging")), (0, 0), "{again}");
    // A listing that is denied is no empty bucket.
    let denied = Proxy::start(&media.weed.endpoint(), |_| Fate::Refuse(403, "AccessDenied"));
    world.run(&[&"backup", &through(&denied)]).ends(1).says(&["s3:ListBucket"]);
    world.check();
}

#[test]
fn an_object_that_is_overwritten_while_it_is_read_is_of_one_version() {
    let (media, world) = (Media::start(), World::new());
    let (old, new) = (noise(1, 40 << 20), noise(2, 33 << 20));
    media.fill([("some/film".to_owned(), old)]);
    let (ranges, handle, client) =
        (AtomicUsize::new(0), media.runtime.handle().clone(), media.client.clone());
    let body = new.clone();
    let proxy = Proxy::start(&media.weed.endpoint(), move |line| {
        let is_range = line.contains("/some/film?") && !line.contains("tagging");
        if is_range && ranges.fetch_add(1, Ordering::SeqCst) == 2 {
            let put = client.put_object().bucket(BUCKET).key("some/film");
            handle.block_on(put.body(ByteStream::from(body.clone())).send()).unwrap();
        }
        Fate::Pass
    });
    let (_, summary) = back_up(&world, &through(&proxy), 0);
    assert_eq!(count(&summary, "total_bytes_processed"), 33 << 20, "{summary}");
    assert!(dumped(&world, "some/film") == new);
}

#[test]
fn answers_that_break_off_are_asked_for_again() {
    let (media, world) = (Media::start(), World::new());
    let sizes = [10, 3_000, 100_000, 1 << 20, 20 << 20];
    let contents =
        media.fill(sizes.into_iter().map(|size| (format!("some/{size}"), noise(size as u64, size))));
    let seen = Mutex::new(BTreeMap::<String, u64>::new());
    let proxy = Proxy::start(&media.weed.endpoint(), move |line| {
        let mut seen = seen.lock().unwrap();
        let times = seen.entry(line.to_owned()).or_default();
        *times += 1;
        match *times {
            1 => Fate::Cut(400),
            2 => Fate::Refuse(503, "SlowDown"),
            _ => Fate::Pass,
        }
    });
    let (_, summary) = back_up(&world, &through(&proxy), 0);
    assert!(asked(&summary, "list") >= 3 && asked(&summary, "get") >= 15, "{summary}");
    same(&world, &contents);
    world.check();
}

#[test]
fn its_own_repository_is_left_out() {
    let media = Media::start();
    let mut world = World::bare();
    world.repo = PathBuf::from(media.url("hosts/web1"));
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let contents =
        media.fill([("hosts/web2".to_owned(), noise(1, 10)), ("film".to_owned(), noise(2, 9 << 20))]);
    for round in 0..2 {
        let (ran, _) = back_up(&world, &media.url(""), 0);
        assert_eq!(told(&ran, "notice"), [("left_out".to_owned(), "/hosts/web1".to_owned())], "{round}");
        same(&world, &contents);
    }
    for inside in ["hosts/web1", "hosts/web1/data"] {
        world.run(&[&"backup", &media.url(inside)]).ends(2).says(&["which cannot hold itself"]);
    }
    world.check();
}

#[test]
fn what_has_no_meaning_for_a_bucket_is_refused() {
    let world = World::new();
    let url = "s3://media/x";
    for option in ["--one-file-system", "--exclude-caches", "--exclude-if-present=x", "--ignore-inode"] {
        world.run(&[&"backup", &url, &option]).ends(2).says(&["has no meaning for a bucket"]);
    }
    world.run(&[&"backup", &url, &"/etc"]).ends(2).says(&["cannot stand beside"]);
    world.run(&[&"backup", &url, &"s3://media/y"]).ends(2).says(&["cannot stand beside"]);
    world.run(&[&"backup", &"s3://media/x?colour=red"]).ends(2).says(&["colour"]);
    let mut command = world.command();
    command.env("HOLDFAST_SOURCE_AWS_ACCESS_KEY_ID", "x");
    world.run_as(&mut command, &[&"backup", &url]).ends(2).says(&["HOLDFAST_SOURCE_AWS_SECRET_ACCESS_KEY"]);
}

#[test]
fn its_snapshots_are_looked_at_like_others() {
    let (media, world) = (Media::start(), World::new());
    let names = ["a/1", "a/2.tmp", "a-b", "b/x/1", "b/x/2", "b/y"];
    let contents =
        media.fill(names.into_iter().zip(0u64..).map(|(key, seed)| (key.to_owned(), prose(seed, 99))));
    let url = media.url("");
    let mut command = world.command();
    command
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("HOLDFAST_SOURCE_AWS_ACCESS_KEY_ID", holdfast_tests::weed::ACCESS);
    command.env("HOLDFAST_SOURCE_AWS_SECRET_ACCESS_KEY", holdfast_tests::weed::SECRET);
    let ran = world
        .run_as(
            &mut command,
            &[
                &"backup",
                &"--json",
                &"--exclude",
                &"*.tmp",
                &url,
                &"--tag",
                &"x",
                &"--metadata",
                &"tags,lock",
            ],
        )
        .ends(0);
    assert_eq!(ran.summary()["source_requests"]["list"], 1);
    let lines = |words: &[&str]| -> Vec<String> {
        let words: Vec<&dyn AsRef<std::ffi::OsStr>> = words.iter().map(|word| word as _).collect();
        world.run(&words).ends(0).out.lines().map(str::to_owned).collect()
    };
    assert_eq!(lines(&["ls", "latest"]), ["/a-b", "/a/1", "/b/x/1", "/b/x/2", "/b/y"]);
    assert_eq!(lines(&["ls", "latest:b/x"]), ["/b/x/1", "/b/x/2"]);
    assert_eq!(lines(&["ls", "latest:/b/"]), ["/b/x/1", "/b/x/2", "/b/y"]);
    assert_eq!(lines(&["ls", "latest:/a"]), ["/a/1"]);
    world.run(&[&"ls", &"latest:/a/2.tmp"]).ends(1);
    world.run(&[&"ls", &"latest:/b/x/"]).ends(0);
    let found = lines(&["find", "/b/**/1"]);
    assert!(found.last().is_some_and(|line| line.ends_with(":/b/x/1")), "{found:?}");
    let first =
        world.run(&[&"snapshots", &"--json"]).ends(0).lines().remove(0)["id"].as_str().unwrap().to_owned();
    media.fill([("b/x/2".to_owned(), prose(50, 70)), ("b/z".to_owned(), prose(51, 70))]);
    media.delete("b/y");
    let (_, last) = back_up(&world, &url, 0);
    let shown = |from: &str, to: &str| -> Vec<String> {
        let lines = lines(&["diff", from, to]).into_iter().take_while(|line| !line.is_empty());
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(shown(&first, "latest"), ["+ /a/2.tmp", "M /b/x/2", "- /b/y", "+ /b/z"]);
    assert_eq!(shown(&format!("{first}:/b/x"), "latest:b/x"), ["M /b/x/2"]);
    let last = last["snapshot_id"].as_str().unwrap();
    world.run(&[&"diff", &first, &format!("{last}:/b/y")]).ends(1);
    // The newest that has it.
    assert_eq!(lines(&["ls", "latest:/b/y"]), ["/b/y"]);
    world.run(&[&"diff", &"latest", &"--live", &world.path("")]).ends(2);
    assert_eq!(dumped(&world, "a/1"), contents["a/1"]);
    let target = world.path("out");
    world.run(&[&"restore", &format!("{last}:b/y"), &"--target", &target]).ends(1);
    let dry = world.run(&[&"backup", &"--json", &"--dry-run", &url]).ends(0).summary();
    assert_eq!((asked(&dry, "list"), dry["snapshot_id"].is_null()), (1, true));
}

#[test]
fn a_listing_without_an_end_or_with_gaps_is_none() {
    let world = World::new();
    let object = |key: &str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;e&quot;</ETag><Size>1</Size></Contents>"
        )
    };
    let page = |keys: &[&str], more: &str| {
        let objects: String = keys.iter().map(|key| object(key)).collect();
        format!("<?xml version=\"1.0\"?><ListBucketResult>{objects}{more}</ListBucketResult>")
    };
    let (more, next) =
        ("<IsTruncated>true</IsTruncated>", "<NextContinuationToken>t</NextContinuationToken>");
    for (answer, word) in [
        (page(&["some/a"], more), "not how to get it"),
        (page(&["some/a"], &format!("{more}{next}")), "goes back"),
        (page(&[], &format!("{more}{next}")), "the same page"),
        (page(&["some/b", "some/a"], ""), "goes back"),
        (page(&["other"], ""), "not asked for"),
    ] {
        let proxy = Proxy::start("http://127.0.0.1:9", move |line| match line.contains("list-type") {
            true => Fate::Say(answer.clone()),
            false => Fate::Refuse(404, "NoSuchKey"),
        });
        world.run(&[&"backup", &through(&proxy)]).ends(1).says(&[word]);
    }
    assert!(world.run(&[&"snapshots", &"--json"]).ends(0).out.is_empty());
}
