//! A bucket is backed up into a repository in a bucket, and comes back: into a bucket with all that
//! was known of each object, and into a folder.
//!
//! `HOLDFAST_TEST_FULL=1` makes it 20,000 objects. On purpose not here: sources and targets by
//! themselves, which `bucket_source` and `bucket_target` have.

use super::tree::{noise, prose};
use super::world::{Word, World, count};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::stream::{self, StreamExt};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

const AT_ONCE: usize = 16;
const PART_BYTES: usize = 8 << 20;

/// All that is to come back of an object: its content's hash, and what stands in headers and tags.
type Known = BTreeMap<String, String>;

struct Round {
    weed: Weed,
    client: Client,
    runtime: Runtime,
    world: World,
}

impl Round {
    fn new() -> Self {
        let weed = Weed::start();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = weed.client();
        let mut world = World::bare();
        world.repo = PathBuf::from(weed.url("repository"));
        world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
        Self { weed, client, runtime, world }
    }

    fn put(&self, objects: impl IntoIterator<Item = (String, Vec<u8>, u64)>) {
        let puts = stream::iter(objects).map(|(key, body, seed)| async move {
            let put = self.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(body));
            let put = match seed % 4 {
                0 => put,
                1 => put.content_type("text/plain").metadata("seed", seed.to_string()),
                2 => put.tagging(format!("seed={seed}&kind=some")),
                _ => put.cache_control("no-cache").metadata("a", "b").tagging("x=y"),
            };
            put.send().await.unwrap();
        });
        self.runtime.block_on(puts.buffer_unordered(AT_ONCE).collect::<Vec<()>>());
    }

    fn upload(&self, key: &str, body: &[u8]) {
        self.runtime.block_on(async {
            let begun = self.client.create_multipart_upload().bucket(BUCKET).key(key);
            let id = begun.content_type("video/mp4").send().await.unwrap().upload_id.unwrap();
            let mut parts = CompletedMultipartUpload::builder();
            for (number, part) in (1..).zip(body.chunks(PART_BYTES)) {
                let sent =
                    self.client.upload_part().bucket(BUCKET).key(key).upload_id(&id).part_number(number);
                let sent = sent.body(ByteStream::from(part.to_vec())).send().await.unwrap();
                parts =
                    parts.parts(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build());
            }
            let end = self.client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id);
            end.multipart_upload(parts.build()).send().await.unwrap();
        });
    }

    /// Looks at everything below a prefix.
    fn known(&self, prefix: &str) -> Known {
        self.runtime.block_on(async {
            let mut pages =
                self.client.list_objects_v2().bucket(BUCKET).prefix(prefix).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                keys.extend(page.unwrap().contents.unwrap_or_default().into_iter().map(|it| it.key.unwrap()));
            }
            let looks = stream::iter(keys).map(|key| async move {
                let object = self.client.get_object().bucket(BUCKET).key(&key).send().await.unwrap();
                let tags = self.client.get_object_tagging().bucket(BUCKET).key(&key).send().await.unwrap();
                let mut tags: Vec<_> =
                    tags.tag_set.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
                tags.sort();
                let mut metadata: Vec<_> = object.metadata.clone().unwrap_or_default().into_iter().collect();
                metadata.sort();
                let (kind, control) = (object.content_type.clone(), object.cache_control.clone());
                let body = object.body.collect().await.unwrap().into_bytes();
                let hash = blake3::hash(&body);
                let seen = format!("{} {hash} {kind:?} {control:?} {metadata:?} {tags:?}", body.len());
                (key[prefix.len()..].to_owned(), seen)
            });
            looks.buffer_unordered(AT_ONCE).collect().await
        })
    }
}

/// Waits until everything is older than the times that servers tell are exact.
fn wait_for_age() {
    let now = SystemTime::now();
    while now.elapsed().unwrap() < Duration::from_millis(3_100) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How many objects a test is about.
fn number() -> u64 {
    let full = std::env::var_os("HOLDFAST_TEST_FULL").is_some_and(|value| value == "1");
    if full { 20_000 } else { 700 }
}

/// The object that a line of a request is about.
fn seed_of(line: &str) -> Option<u64> {
    let key = line.split(' ').nth(1)?.split('?').next()?;
    key.strip_prefix(&format!("/{BUCKET}/media/"))?.split_once('/')?.1.parse().ok()
}

fn objects(number: u64) -> impl Iterator<Item = (String, Vec<u8>, u64)> {
    (0..number).map(|seed| {
        let size = [0, 1, 100, 700, 3_000, 20_000, 150_000][seed as usize % 7];
        let body = if seed % 3 == 0 { noise(seed, size) } else { prose(seed, size) };
        (format!("media/{:02}/{seed:05}", seed % 37), body, seed)
    })
}

#[test]
fn a_bucket_comes_back_as_it_was() {
    let (round, number) = (Round::new(), number());
    round.put(objects(number));
    let odd = ["media/..x", "media/%41", "media/한글", "media/a", "media/plus+ blank"];
    round.put(odd.iter().zip(1..).map(|(key, seed)| ((*key).to_owned(), prose(seed, 900), seed)));
    round.upload("media/large", &noise(1, 20 << 20));
    if number > 700 {
        round.upload("media/larger", &noise(2, 200 << 20));
    }
    // What is so fresh that it might change unnoticed is read again: not what is counted here.
    wait_for_age();
    let (world, source) = (&round.world, round.weed.url("media"));
    let first = world.run(&[&"backup", &"--json", &source, &"--metadata", &"tags,lock"]).ends(0).summary();
    let changed: Vec<_> =
        objects(number).step_by(100).map(|(key, body, seed)| (key, body, seed + 1)).collect();
    let share = changed.len() as u64;
    round.put(changed.into_iter().map(|(key, body, seed)| (key, [body, b"changed".to_vec()].concat(), seed)));
    let second = world.run(&[&"backup", &"--json", &source, &"--metadata", &"tags,lock"]).ends(0).summary();
    assert_eq!(count(&second, "files_changed"), share, "{second}");
    let gets = second["source_requests"]["get"].as_u64().unwrap();
    assert!(gets <= share + 20, "{share} objects changed: {second}");
    assert_eq!(count(&first, "total_files_processed"), count(&second, "total_files_processed"));

    let wanted = round.known("media/");
    assert_eq!(wanted.len() as u64, count(&second, "total_files_processed"));
    let target = round.weed.url("restored");
    world.run(&[&"restore", &"latest:/media/", &"--target", &target, &"--verify"]).ends(0);
    let got = round.known("restored/");
    let names = |known: &Known| known.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&got), names(&wanted));
    for (key, known) in &wanted {
        assert_eq!(got.get(key), Some(known), "{key}");
    }
    // Once more changes nothing.
    let again = world
        .run(&[&"restore", &"--json", &"latest:/media/", &"--target", &target, &"--overwrite", &"if-changed"])
        .ends(0)
        .summary();
    assert_eq!(count(&again, "items_created") + count(&again, "items_rewritten"), 0, "{again}");
    // A part of it by its path.
    let part = round.weed.url("part");
    world.run(&[&"restore", &"latest:/media/07", &"--target", &part]).ends(0);
    let below = wanted.keys().filter(|key| key.starts_with("07/")).count();
    assert_eq!(round.known("part/").len(), below);

    // Into a folder: plain keys are paths.
    let folder = world.path("folder");
    world.run(&[&"restore", &"latest:/media/", &"--target", &folder]).ends(0);
    for (key, known) in wanted.iter().filter(|(key, _)| key.contains("/0") && !key.contains("//")) {
        let body = fs::read(folder.join(key)).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert!(known.starts_with(&format!("{} {} ", body.len(), blake3::hash(&body))), "{key}");
    }
    world.check();
}

#[test]
fn one_in_a_hundred_denied_and_one_deleted_are_each_named() {
    const DENIED: u64 = 7;
    const DELETED: u64 = 13;
    let (round, number) = (Round::new(), number());
    round.put(objects(number));
    wait_for_age();
    let (client, handle) = (round.client.clone(), round.runtime.handle().clone());
    // Listed they were: each is deleted when it is asked for.
    let proxy = Proxy::start(&round.weed.endpoint(), move |line| match seed_of(line) {
        Some(seed) if seed % 100 == DENIED => Fate::Refuse(403, "AccessDenied"),
        Some(seed) if seed % 100 == DELETED => {
            let key = format!("media/{:02}/{seed:05}", seed % 37);
            handle.block_on(client.delete_object().bucket(BUCKET).key(key).send()).unwrap();
            Fate::Pass
        }
        _ => Fate::Pass,
    });
    let (world, source) = (&round.world, format!("s3://{BUCKET}/media?endpoint={}", proxy.endpoint()));
    let ran = world.run(&[&"backup", &"--json", &source, &"--metadata", &"tags,lock"]).ends(3);
    let told = |kind: &str| {
        let items = ran.of_type(kind).into_iter().map(|line| line["item"].as_str().unwrap().to_owned());
        items.collect::<std::collections::BTreeSet<_>>()
    };
    let named = |rest: u64| {
        let seeds = (0..number).filter(move |seed| seed % 100 == rest);
        seeds.map(|seed| format!("/media/{:02}/{seed:05}", seed % 37)).collect()
    };
    assert_eq!(told("error"), named(DENIED));
    assert_eq!(told("notice"), named(DELETED));
    let summary = ran.summary();
    assert_eq!(count(&summary, "error_count"), number / 100, "{summary}");
    assert_eq!(count(&summary, "total_files_processed"), number - 2 * (number / 100), "{summary}");
    // What could be read is there, and all of it comes back.
    let target = round.weed.url("restored");
    world.run(&[&"restore", &"latest:/media/", &"--target", &target, &"--verify"]).ends(0);
    let mut wanted = round.known("media/");
    wanted.retain(|key, _| key[3..].parse::<u64>().unwrap() % 100 != DENIED);
    assert_eq!(round.known("restored/"), wanted);
    world.check();
}

#[test]
fn deleting_spares_what_was_left_out_or_not_read() {
    let round = Round::new();
    let names = ["media/a/1", "media/a/denied", "media/a/old.tmp", "media/b"];
    round.put(names.iter().zip(1..).map(|(key, seed)| ((*key).to_owned(), prose(seed, 500), seed)));
    wait_for_age();
    let proxy = Proxy::start(&round.weed.endpoint(), |line| match line.contains("denied") {
        true => Fate::Refuse(403, "AccessDenied"),
        false => Fate::Pass,
    });
    let (world, target) = (&round.world, round.weed.url("media"));
    let source = format!("s3://{BUCKET}/media?endpoint={}", proxy.endpoint());
    world.run(&[&"backup", &source, &"--exclude", &"*.tmp"]).ends(3);
    for (number, part) in ["latest:/media/", "latest:media", "latest:/media"].into_iter().enumerate() {
        round.put([("media/a/extra".to_owned(), b"x".to_vec(), 0), ("media/extra".to_owned(), vec![1], 0)]);
        let common: [Word<'_>; 6] = [&"restore", &"--json", &part, &"--target", &target, &"--delete"];
        let words = [&common[..], &[&"--overwrite", &"always", &"--max-delete", &"100%"]].concat();
        let restored = world.run(&words).ends(0).summary();
        assert_eq!(count(&restored, "items_deleted"), 2, "{part}: {restored}");
        let left: Vec<_> = round.known("media/").into_keys().collect();
        assert_eq!(left, ["a/1", "a/denied", "a/old.tmp", "b"], "{number}");
    }
}
