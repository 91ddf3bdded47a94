//! The configuration of a bucket: it is kept as one entry, shown where it differs, and set only where
//! that is asked for.
//!
//! On purpose not here: objects.

use super::bucket_source::{Media, back_up_with, told};
use super::world::{Ran, Word, World, within};
use aws_sdk_s3::types::{CorsConfiguration, CorsRule};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::BUCKET;
use serde_json::Value;
use std::fs;

const SHOWN: &str = "(bucket configuration)";
const BOTH: [&str; 2] = ["--metadata", "tags,bucket"];

fn allow(media: &Media, bucket: &str, method: &str) {
    let rule = CorsRule::builder().allowed_methods(method).allowed_origins("https://a.example").build();
    let cors = CorsConfiguration::builder().cors_rules(rule.unwrap()).build().unwrap();
    let put = media.client.put_bucket_cors().bucket(bucket).cors_configuration(cors);
    media.wait(put.send()).unwrap();
}

/// The methods that a bucket allows to other sites.
fn allowed(media: &Media, bucket: &str) -> Vec<String> {
    let told = media.wait(media.client.get_bucket_cors().bucket(bucket).send());
    let rules = told.map(|told| told.cors_rules.unwrap_or_default()).unwrap_or_default();
    rules.into_iter().flat_map(|rule| rule.allowed_methods).collect()
}

fn kept(world: &World) -> Value {
    let dumped = world.run(&[&"dump", &format!("latest:{SHOWN}")]).ends(0).out;
    serde_json::from_str(&dumped).unwrap()
}

fn parts(ran: &Ran) -> Vec<(String, String)> {
    let lines = ran.lines().into_iter().filter(|line| line["message_type"] == "bucket_configuration");
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    lines.map(|line| (text(&line, "part"), text(&line, "difference"))).collect()
}

#[test]
fn the_configuration_of_a_bucket_is_kept_shown_and_set_on_purpose() {
    let (media, world) = (Media::start(), World::new());
    media.fill([("some/a".to_owned(), b"x".to_vec()), ("some/b".to_owned(), b"y".to_vec())]);
    allow(&media, BUCKET, "GET");
    Media::settle();
    let url = media.url("some");
    let (_, first) = back_up_with(&world, &url, &[], 0);
    assert_eq!(first["source_objects"]["listed"], 2, "{first}");
    assert_eq!(first["source_objects"]["stored"], 2, "{first}");
    assert!(kept(&world)["documents"]["cors"].as_str().unwrap().contains("<AllowedMethod>GET<"));
    let listed = world.run(&[&"ls", &"latest"]).ends(0).out;
    assert_eq!(listed.lines().collect::<Vec<_>>(), [SHOWN, "/some/a", "/some/b"]);
    let found = world.run(&[&"find", &"*configuration*"]).ends(0).out;
    assert!(found.contains(SHOWN), "{found}");

    // The same is the same, with the cache and without; what changed is told.
    let (_, again) = back_up_with(&world, &url, &BOTH, 0);
    assert_eq!(
        (again["unchanged"].as_bool(), &again["source_objects"]["unchanged"]),
        (Some(true), &2.into())
    );
    fs::remove_dir_all(&world.cache).unwrap();
    let (_, without) = back_up_with(&world, &url, &BOTH, 0);
    assert_eq!(without["tree"], first["tree"], "{without}");
    allow(&media, BUCKET, "PUT");
    let (_, changed) = back_up_with(&world, &url, &BOTH, 0);
    assert_eq!(changed["source_objects"]["unchanged"], 2, "{changed}");
    let diff = world.run(&[&"diff", &first["snapshot_id"].as_str().unwrap(), &"latest"]).ends(0).out;
    assert!(diff.lines().next().is_some_and(|line| line.starts_with('M') && line.ends_with(SHOWN)), "{diff}");

    // In a folder it has a name that no object can have; in an archive there is none.
    let folder = world.path("folder");
    world.run(&[&"restore", &"latest", &"--target", &folder, &"--verify"]).ends(0);
    let text = fs::read_to_string(folder.join("%00bucket-configuration.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), kept(&world));
    let archive = world.path("archive.tar");
    world.run(&[&"dump", &"latest", &"--target", &archive]).ends(0);
    assert!(!String::from_utf8_lossy(&fs::read(&archive).unwrap()).contains("configuration"));

    it_is_set_where_that_is_asked_for(&media, &world);
    world.check();
}

fn it_is_set_where_that_is_asked_for(media: &Media, world: &World) {
    media.wait(media.client.create_bucket().bucket("other").send()).unwrap();
    let other = format!("s3://other?endpoint={}", media.weed.endpoint());
    let restore = |words: &[Word<'_>], code: i32| {
        let common: [Word<'_>; 4] = [&"restore", &"latest", &"--target", &other];
        world.run(&[&common, words].concat()).ends(code)
    };
    let planned = restore(&[&"--dry-run"], 0).out;
    assert!(planned.contains("  cors is not there") && planned.contains("--bucket-config"), "{planned}");
    assert_eq!(parts(&restore(&[&"--dry-run", &"--json"], 0)), [("cors".to_owned(), "missing".to_owned())]);
    let done = restore(&[&"--json", &"--verify"], 0);
    assert_eq!(done.summary()["files_restored"], 2, "{done:?}");
    assert_eq!(allowed(media, "other"), [""; 0]);
    let over: [Word<'_>; 3] = [&"--overwrite", &"always", &"--bucket-config"];
    restore(&[&over[..], &[&"--dry-run"]].concat(), 0);
    assert_eq!(allowed(media, "other"), [""; 0]);
    allow(media, "other", "HEAD");
    let set = restore(&over, 0);
    set.says(&["cors differs", "- ", "<AllowedMethod>HEAD<", "<AllowedMethod>PUT<", "set of the bucket's"]);
    assert_eq!(allowed(media, "other"), ["PUT"]);
    assert!(parts(&restore(&[&over[..], &[&"--json"]].concat(), 0)).is_empty());

    // What cannot be set is named, and all else is done.
    allow(media, "other", "HEAD");
    let proxy = Proxy::start(&media.weed.endpoint(), |line| {
        match line.starts_with("PUT") && line.contains("?cors ") {
            true => Fate::Refuse(403, "AccessDenied"),
            false => Fate::Pass,
        }
    });
    let target = format!("s3://other?endpoint={}", proxy.endpoint());
    let common: [Word<'_>; 4] = [&"restore", &"latest", &"--target", &target];
    let ran = world.run(&[&common[..], &over].concat()).ends(3);
    ran.says(&["cors is not set", "AccessDenied", "s3:PutBucketCORS"]);

    let (alone, file) = (within("latest", SHOWN.as_ref()), world.path("tree"));
    world.run(&[&"restore", &alone, &"--target", &other]).ends(2).says(&["no object", "--bucket-config"]);
    world.run(&[&"restore", &"latest", &"--target", &file, &"--bucket-config"]).ends(2);
}

#[test]
fn what_may_not_be_read_of_a_bucket_is_a_problem_where_it_was_asked_for() {
    let (media, world) = (Media::start(), World::new());
    media.fill([("some/a".to_owned(), b"x".to_vec())]);
    allow(&media, BUCKET, "GET");
    let proxy = Proxy::start(&media.weed.endpoint(), |line| {
        let query = line.split(' ').nth(1).and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
        let is = |word: &str| line.starts_with("GET") && query == word;
        match () {
            () if is("policy") || is("lifecycle") => Fate::Refuse(403, "AccessDenied"),
            // A server that takes what it does not know for a listing.
            () if is("website") => {
                Fate::Say("<ListBucketResult><Name>x</Name></ListBucketResult>".to_owned())
            }
            () if is("replication") => Fate::Refuse(501, "NotImplemented"),
            () => Fate::Pass,
        }
    });
    let url = super::bucket_source::through(&proxy);
    let (ran, first) = back_up_with(&world, &url, &[], 0);
    assert_eq!(told(&ran, "notice"), [("other".to_owned(), SHOWN.to_owned())], "{ran:?}");
    assert!(
        ran.err.contains("lifecycle, policy") && ran.err.contains("s3:GetLifecycleConfiguration"),
        "{ran:?}"
    );
    assert_eq!(first["incomplete"], false);
    let content = kept(&world);
    assert_eq!(content["unread"], serde_json::json!(["lifecycle", "policy"]));
    assert!(content["documents"]["website"].is_null() && content["documents"]["cors"].is_string());
    let (ran, _) = back_up_with(&world, &url, &["--metadata", "bucket"], 3);
    let named = ("attribute".to_owned(), SHOWN.to_owned());
    assert_eq!(told(&ran, "error"), [named.clone(), named], "{ran:?}");
    let (ran, _) = back_up_with(&world, &url, &["--metadata", "tags,lock"], 0);
    assert!(told(&ran, "notice").is_empty(), "{ran:?}");
    assert_eq!(world.run(&[&"ls", &"latest"]).ends(0).out, "/some/a\n");
    // All versions of a bucket have it beside them too.
    let (_, versions) = back_up_with(&world, &url, &["--versions", "all"], 0);
    assert_eq!(versions["source_objects"]["stored"], 1, "{versions}");
    let id = versions["snapshot_id"].as_str().unwrap();
    assert!(world.run(&[&"ls", &id]).ends(0).out.contains(SHOWN));
    world.run(&[&"backup", &url, &"--metadata", &"buckets"]).ends(2).says(&["bucket"]);
    world.check();
}
