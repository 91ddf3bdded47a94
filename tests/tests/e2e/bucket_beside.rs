//! What a backup of a bucket keeps beside content: tags and rights that change unseen are found, what
//! lies in an archive is kept without its content, and each listed object is accounted for.
//!
//! The server here has no archive: a proxy answers for it. On purpose not here: contents, which
//! `bucket_source` has.

use super::bucket_source::{Media, asked, back_up, back_up_objects, dumped, listed, through, told};
use super::tree::{noise, prose};
use super::world::{Word, World, count};
use aws_sdk_s3::primitives::DateTimeFormat;
use aws_sdk_s3::types::{ObjectCannedAcl, Tag, Tagging};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::BUCKET;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All that a snapshot says of its objects, by way of an archive.
fn attributes(world: &World) -> String {
    let archive = world.path("archive.tar");
    let _ = fs::remove_file(&archive);
    world.run(&[&"dump", &"--archive", &"tar", &"latest", &"--target", &archive]).ends(0);
    String::from_utf8_lossy(&fs::read(archive).unwrap()).into_owned()
}

fn tag(media: &Media, key: &str, value: &str) {
    let tag = Tag::builder().key("state").value(value).build().unwrap();
    let tags = Tagging::builder().tag_set(tag).build().unwrap();
    let put = media.client.put_object_tagging().bucket(BUCKET).key(key).tagging(tags);
    media.wait(put.send()).unwrap();
}

fn objects(summary: &Value, word: &str) -> u64 {
    summary["source_objects"][word].as_u64().unwrap_or_else(|| panic!("{word}: {summary}"))
}

/// What became of the listed objects adds up to all of them.
#[track_caller]
fn adds_up(summary: &Value) {
    let parts = ["stored", "unchanged", "cold", "unreadable", "excluded", "vanished", "own"];
    let sum: u64 = parts.iter().map(|word| objects(summary, word)).sum();
    assert_eq!(sum, objects(summary, "listed"), "{summary}");
}

fn kinds(summary: &Value) -> [u64; 4] {
    ["get", "head", "tagging", "other"].map(|kind| asked(summary, kind))
}

#[test]
fn objects_without_tags_are_not_asked_one_by_one() {
    let (media, world) = (Media::start(), World::new());
    let fill = |folder: &str| {
        let bodies = (0..60).map(|number| (format!("some/{folder}/{number}"), noise(number, 500)));
        media.fill(bodies);
    };
    fill("a");
    tag(&media, "some/a/0", "first");
    Media::settle();
    let url = media.url("some");
    let (_, first) = back_up_objects(&world, &url, &[], 0);
    // From here on the server is known to state how many tags there are.
    fill("b");
    tag(&media, "some/b/7", "second");
    Media::settle();
    let (_, second) = back_up_objects(&world, &url, &[], 0);
    assert_eq!((objects(&second, "stored") >= 60, asked(&first, "tagging") > 0), (true, true));
    assert!((2..=20).contains(&asked(&second, "tagging")), "{second}");
    let kept = attributes(&world);
    assert!(kept.contains("s3.tag.state=first") && kept.contains("s3.tag.state=second"));
    // Where the sweep is off each is asked, and where tags may not be read each is named.
    fill("c");
    Media::settle();
    let (_, third) = back_up_objects(&world, &url, &["--metadata-sweep", "off"], 0);
    assert!(asked(&third, "tagging") >= 60, "{third}");
    let proxy = Proxy::start(&media.weed.endpoint(), |line| {
        match line.contains("/some/c/") && line.contains("tagging") {
            true => Fate::Refuse(403, "AccessDenied"),
            false => Fate::Pass,
        }
    });
    let (ran, _) = back_up_objects(&world, &through(&proxy), &[], 3);
    let denied = told(&ran, "error");
    assert_eq!(denied.len(), 60, "{denied:?}");
    assert!(denied.iter().all(|(_, item)| item.starts_with("/some/c/")));
}

#[test]
fn tags_that_change_unseen_are_found_within_a_round() {
    let (media, world) = (Media::start(), World::new());
    let all = 40;
    let names: Vec<_> = (0..all).map(|number| format!("some/{number}")).collect();
    media.fill(names.iter().zip(0u64..).map(|(name, seed)| (name.clone(), noise(seed, 3_000))));
    media.fill([("some/large".to_owned(), noise(7, 1 << 20))]);
    media.upload("some/parts", &noise(8, 9 << 20));
    Media::settle();
    let url = media.url("some");
    let half = ["--metadata-sweep", "1/2"];
    let (_, first) = back_up_objects(&world, &url, &half, 0);
    assert_eq!(objects(&first, "stored"), all + 2, "{first}");
    let changed = ["some/0", "some/1", "some/2", "some/3", "some/large", "some/parts"];
    changed.iter().for_each(|name| tag(&media, name, "new"));

    let runs = [(); 2].map(|()| back_up_objects(&world, &url, &half, 0).1);
    let sum = |kind: &str| runs.iter().map(|run| asked(run, kind)).sum::<u64>();
    // Each is looked at once; the one in parts has a length of these to ask for.
    assert_eq!([sum("get"), sum("head"), sum("tagging")], [0, all + 3, all + 2], "{runs:?}");
    assert!(runs.iter().all(|run| asked(run, "head") > 5), "{runs:?}");
    assert_eq!(runs.iter().map(|run| count(run, "files_changed")).sum::<u64>(), 6, "{runs:?}");
    assert_eq!(runs.iter().map(|run| count(run, "bytes_read")).sum::<u64>(), 0);
    runs.iter().for_each(adds_up);
    assert_eq!(attributes(&world).matches("s3.tag.state=new").count(), 6);
    assert!(dumped(&world, "some/large") == noise(7, 1 << 20));

    // Looked at again, and all is as it was: the tree is the same, with the cache and without.
    for _ in 0..2 {
        let (_, same) = back_up_objects(&world, &url, &["--metadata-sweep", "1/1"], 0);
        assert_eq!((same["unchanged"].as_bool(), kinds(&same)[0]), (Some(true), 0), "{same}");
        fs::remove_dir_all(&world.cache).unwrap();
    }
    let (_, off) = back_up(&world, &url, 0);
    assert_eq!((kinds(&off), off["unchanged"].as_bool()), ([0; 4], Some(true)), "{off}");

    // Whoever wants more gets it of all objects at once.
    let (_, more) =
        back_up_objects(&world, &url, &["--metadata", "tags,acl,lock", "--metadata-sweep", "off"], 0);
    assert_eq!(kinds(&more), [0, all + 3, all + 2, all + 2], "{more}");
    assert_eq!(attributes(&world).matches("s3.acl={\"grants\":").count() as u64, all + 2);
    let (_, again) =
        back_up_objects(&world, &url, &["--metadata", "tags,acl,lock", "--metadata-sweep", "off"], 0);
    assert_eq!((kinds(&again), again["unchanged"].as_bool()), ([0; 4], Some(true)), "{again}");

    // And whoever wants nothing has nothing of it left.
    let none = ["--metadata", "none"];
    back_up_objects(&world, &url, &none, 0);
    media.fill([("some/0".to_owned(), noise(99, 3_000))]);
    let (_, least) = back_up_objects(&world, &url, &none, 0);
    assert_eq!(kinds(&least), [1, 0, 0, 0], "{least}");
    let text = attributes(&world);
    assert!(!text.contains("s3.tag.") && !text.contains("s3.acl=") && text.contains("s3.etag="));
    world.check();
}

/// Deletes objects, from within a proxy.
fn deleting(media: &Media) -> impl Fn(&str) + Send + Sync + use<> {
    let (handle, client) = (media.runtime.handle().clone(), media.client.clone());
    move |key| {
        handle.block_on(client.delete_object().bucket(BUCKET).key(key).send()).unwrap();
    }
}

#[test]
fn what_is_denied_in_a_round_is_named_and_stays_what_it_was() {
    let (media, world) = (Media::start(), World::new());
    media.fill(["some/a", "some/b", "some/c"].map(|name| (name.to_owned(), noise(1, 900))));
    ["some/a", "some/b"].iter().for_each(|name| tag(&media, name, "old"));
    Media::settle();
    let stage = Arc::new(AtomicUsize::new(0));
    let at = Arc::clone(&stage);
    let delete = deleting(&media);
    let proxy = Proxy::start(&media.weed.endpoint(), move |line| {
        let (is_a, is_b) = (line.contains("/some/a"), line.contains("/some/b"));
        match at.load(Ordering::Relaxed) {
            1 if is_a && line.contains("tagging") => Fate::Refuse(403, "AccessDenied"),
            1 if is_b && line.starts_with("HEAD") => Fate::Refuse(403, "AccessDenied"),
            2 if line.contains("?acl") => Fate::Refuse(403, "AccessDenied"),
            3 if line.contains("?acl") => Fate::Refuse(501, "NotImplemented"),
            4 if is_a => {
                delete("some/a");
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    });
    let (url, whole) = (through(&proxy), ["--metadata-sweep", "1/1"]);
    let names = |words: &[&str]| -> Vec<_> {
        words.iter().map(|word| ("attribute".to_owned(), format!("/some/{word}"))).collect()
    };
    back_up_objects(&world, &url, &whole, 0);
    stage.store(1, Ordering::Relaxed);
    ["some/a", "some/b"].iter().for_each(|name| tag(&media, name, "new"));
    let (ran, denied) = back_up_objects(&world, &url, &whole, 3);
    assert_eq!(told(&ran, "error"), names(&["a", "b"]), "{ran:?}");
    assert!(ran.err.contains("s3:GetObjectTagging"), "{ran:?}");
    assert_eq!((kinds(&denied)[0], denied["unchanged"].as_bool()), (0, Some(true)), "{denied}");
    adds_up(&denied);
    assert_eq!(attributes(&world).matches("s3.tag.state=old").count(), 2);
    // It is not forgotten until its turn comes again.
    let (ran, _) = back_up(&world, &url, 3);
    assert_eq!(told(&ran, "error"), names(&["a", "b"]), "{ran:?}");
    stage.store(0, Ordering::Relaxed);
    let (_, well) = back_up(&world, &url, 0);
    assert_eq!((kinds(&well), count(&well, "files_changed")), ([0, 2, 2, 0], 2), "{well}");
    assert_eq!(attributes(&world).matches("s3.tag.state=new").count(), 2);

    // A server without such rights is told of once; one that had them is not believed.
    let with_rights = ["--metadata", "tags,lock,acl"];
    stage.store(3, Ordering::Relaxed);
    let (ran, _) = back_up_objects(&world, &url, &with_rights, 0);
    assert_eq!(told(&ran, "notice"), [("other".to_owned(), "/".to_owned())], "{ran:?}");
    assert!(ran.err.contains("knows no access rights"), "{ran:?}");
    let with_rights = [&with_rights[..], &whole].concat();
    stage.store(2, Ordering::Relaxed);
    let (ran, _) = back_up_objects(&world, &url, &with_rights, 3);
    assert_eq!(told(&ran, "error"), names(&["a", "b", "c"]), "{ran:?}");
    assert!(ran.err.contains("s3:GetObjectAcl"), "{ran:?}");
    stage.store(0, Ordering::Relaxed);
    back_up_objects(&world, &url, &with_rights, 0);
    stage.store(3, Ordering::Relaxed);
    let (ran, _) = back_up_objects(&world, &url, &with_rights, 3);
    assert!(ran.err.contains("told of access rights before"), "{ran:?}");
    assert_eq!(attributes(&world).matches("s3.acl=").count(), 3);
    // Gone between the listing and the look.
    stage.store(4, Ordering::Relaxed);
    let (ran, gone) = back_up_objects(&world, &url, &whole, 0);
    assert_eq!(told(&ran, "notice"), [("vanished".to_owned(), "/some/a".to_owned())], "{ran:?}");
    assert_eq!(objects(&gone, "vanished"), 1);
    adds_up(&gone);
    world.check();
}

/// The listing as the server gives it, but that some objects lie in another class.
fn moved(media: &Media, prefix: &str, class: &str) -> String {
    let page = media.client.list_objects_v2().bucket(BUCKET).prefix(prefix);
    let page = media.wait(page.send()).unwrap();
    let objects: String = page
        .contents()
        .iter()
        .map(|object| {
            let modified = object.last_modified().unwrap().fmt(DateTimeFormat::DateTime).unwrap();
            format!(
                "<Contents><Key>{}</Key><LastModified>{modified}</LastModified><ETag>{}</ETag><Size>{}</Size>\
                 <StorageClass>{class}</StorageClass></Contents>",
                object.key().unwrap(),
                object.e_tag().unwrap().replace('"', "&quot;"),
                object.size().unwrap()
            )
        })
        .collect();
    format!("<?xml version=\"1.0\"?><ListBucketResult>{objects}</ListBucketResult>")
}

#[test]
fn what_lies_in_an_archive_is_kept_without_its_content() {
    let media = Media::start();
    let contents = [
        ("some/cold", noise(1, 900)),
        ("some/cold large", noise(2, 1 << 20)),
        ("some/denied", noise(3, 900)),
        ("some/gone", noise(4, 900)),
        ("some/left.tmp", noise(5, 900)),
        ("some/well", prose(6, 900)),
    ];
    media.fill(contents.clone().map(|(key, body)| (key.to_owned(), body)));
    tag(&media, "some/cold", "kept");
    Media::settle();
    let stage = Arc::new(AtomicUsize::new(2));
    let (at, listing) = (Arc::clone(&stage), moved(&media, "some/well", "GLACIER"));
    let delete = deleting(&media);
    let proxy = Proxy::start(&media.weed.endpoint(), move |line| {
        let (stage, is_read) =
            (at.load(Ordering::Relaxed), line.starts_with("GET") && !line.contains("tagging"));
        if stage == 3 && line.contains("list-type") && !line.contains("own") {
            return Fate::Say(listing.clone());
        }
        match stage {
            1 | 3 if is_read && line.contains("/some/cold") => Fate::Refuse(403, "InvalidObjectState"),
            3 if is_read && line.contains("/some/well") => Fate::Refuse(403, "InvalidObjectState"),
            1 if is_read && line.contains("/some/denied") => Fate::Refuse(403, "AccessDenied"),
            1 if line.contains("/some/gone") => {
                delete("some/gone");
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    });
    let (url, options) = (through(&proxy), ["--exclude", "*.tmp", "--metadata-sweep", "off"]);
    let mut world = World::bare();
    // The repository lies in the bucket, and is left out.
    world.repo = PathBuf::from(url.replace("/some?", "/some/own?"));
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    stage.store(1, Ordering::Relaxed);
    let (ran, first) = back_up_objects(&world, &url, &options, 3);
    let cold = ["cold", "cold large"].map(|name| ("unreadable".to_owned(), format!("/some/{name}")));
    let named = [&cold[..], &[("unreadable".to_owned(), "/some/denied".to_owned())]].concat();
    assert_eq!(told(&ran, "error"), named, "{ran:?}");
    assert!(ran.err.contains("its content is not kept"), "{ran:?}");
    let counts = ["cold", "stored", "unreadable", "excluded", "vanished", "unchanged"];
    assert_eq!(counts.map(|word| objects(&first, word)), [2, 1, 1, 1, 1, 0], "{first}");
    assert!(objects(&first, "own") > 0);
    adds_up(&first);
    assert_eq!(listed(&world), ["some/cold", "some/cold large", "some/well"]);

    // Accepted it is no problem; and it is asked for again each time.
    let denied = [&options[..], &["--exclude", "/some/denied", "--cold", "accept"]].concat();
    let (ran, accepted) = back_up_objects(&world, &url, &denied, 0);
    assert!(told(&ran, "notice").contains(&("left_out".to_owned(), "/some/cold".to_owned())), "{ran:?}");
    assert_eq!(["cold", "unchanged"].map(|word| objects(&accepted, word)), [2, 1], "{accepted}");
    adds_up(&accepted);

    // No empty file comes of it anywhere.
    let ran = world.run(&[&"dump", &"latest:/some/cold"]).ends(1);
    assert!(ran.err.contains("its content was not kept") && ran.out.is_empty(), "{ran:?}");
    let archive = world.path("archive.tar");
    let ran = world.run(&[&"dump", &"--archive", &"tar", &"latest", &"--target", &archive]).ends(3);
    assert!(ran.err.contains("/some/cold: its content was not kept"), "{ran:?}");
    let (folder, bucket) = (world.path("folder"), media.url("restored"));
    for target in [&folder as Word<'_>, &bucket] {
        let ran = world.run(&[&"restore", &"latest:/some/", &"--target", target, &"--verify"]).ends(3);
        assert!(ran.err.contains("its content was not kept: it lay in"), "{ran:?}");
    }
    assert_eq!(fs::read(folder.join("well")).unwrap(), contents[5].1);
    assert!(!folder.join("cold").exists() && !folder.join("cold large").exists());
    for words in [&["check", "--read-data"][..], &["stats"], &["find", "cold*"], &["ls", "latest"]] {
        let words: Vec<Word<'_>> = words.iter().map(|word| word as _).collect();
        world.run(&words).ends(0);
    }
    let copied = World::new();
    let mut command = copied.command();
    command.env("HOLDFAST_FROM_PASSWORD", "correct horse");
    copied.run_as(&mut command, &[&"copy", &"--from", &world.repo]).ends(0);
    copied.check();

    // What can be read at last is read.
    stage.store(2, Ordering::Relaxed);
    let (_, warm) = back_up_objects(&world, &url, &options, 0);
    assert_eq!(["cold", "stored"].map(|word| objects(&warm, word)), [0, 3], "{warm}");
    adds_up(&warm);
    assert!(
        dumped(&world, "some/cold large") == contents[1].1 && dumped(&world, "some/cold") == contents[0].1
    );

    // What is stored and moves to an archive is looked at, not read; its content stays, even if
    // everything is to be read.
    stage.store(3, Ordering::Relaxed);
    let (_, frozen) = back_up_objects(&world, &url, &options, 0);
    assert_eq!((kinds(&frozen), objects(&frozen, "unchanged")), ([0, 1, 1, 0], 1), "{frozen}");
    let (_, again) = back_up_objects(&world, &url, &options, 0);
    assert_eq!(kinds(&again), [0; 4], "{again}");
    let (_, forced) = back_up_objects(&world, &url, &[&options[..], &["--force"]].concat(), 0);
    assert_eq!((objects(&forced, "cold"), kinds(&forced)[0]), (0, 1), "{forced}");
    assert!(dumped(&world, "some/well") == contents[5].1);
    world.check();
}

/// Who may do what with an object, beside its owner.
fn rights(media: &Media, key: &str) -> Vec<String> {
    let acl = media.wait(media.client.get_object_acl().bucket(BUCKET).key(key).send()).unwrap();
    let grants = acl.grants().iter().filter_map(|grant| {
        let uri = grant.grantee()?.uri()?;
        Some(format!("{} {}", uri.rsplit('/').next()?, grant.permission()?.as_str()))
    });
    grants.collect()
}

#[test]
fn access_rights_come_back_where_that_is_asked_for() {
    let (media, world) = (Media::start(), World::new());
    media.fill(["some/all", "some/mine"].map(|name| (name.to_owned(), noise(1, 900))));
    media.fill([("some/large".to_owned(), noise(2, 17 << 20))]);
    for name in ["some/all", "some/large"] {
        let put = media.client.put_object_acl().bucket(BUCKET).key(name).acl(ObjectCannedAcl::PublicRead);
        media.wait(put.send()).unwrap();
    }
    let shared = ["AllUsers READ"];
    assert_eq!(rights(&media, "some/all"), shared);
    let (_, first) = back_up_objects(&world, &media.url("some"), &["--metadata", "acl"], 0);
    assert_eq!(kinds(&first)[2..], [0, 3], "{first}");

    let restore = |words: &[Word<'_>]| {
        let target = media.url("out");
        let common: [Word<'_>; 5] = [&"restore", &"--json", &"latest:/some/", &"--target", &target];
        world.run(&[&common, words].concat()).ends(0)
    };
    let ran = restore(&[]);
    assert!(ran.err.contains("2 objects: access rights"), "{ran:?}");
    assert!(rights(&media, "out/all").is_empty());
    let always: [Word<'_>; 3] = [&"--overwrite", &"if-changed", &"--with-acl"];
    let planned = restore(&[&always[..], &[&"--dry-run"]].concat()).summary();
    assert_eq!(count(&planned, "items_attributes_only"), 2, "{planned}");
    assert!(rights(&media, "out/all").is_empty());
    let set = restore(&always).summary();
    assert_eq!((count(&set, "items_attributes_only"), count(&set, "items_unchanged")), (2, 1), "{set}");
    assert_eq!(
        (rights(&media, "out/all"), rights(&media, "out/large")),
        (shared.map(str::to_owned).to_vec(), shared.map(str::to_owned).to_vec())
    );
    assert!(rights(&media, "out/mine").is_empty());
    assert_eq!(count(&restore(&always).summary(), "items_unchanged"), 3);

    // A bucket without such rights is told of once.
    let proxy = Proxy::start(&media.weed.endpoint(), |line| match line.contains("?acl") {
        true => Fate::Refuse(400, "AccessControlListNotSupported"),
        false => Fate::Pass,
    });
    let target = format!("s3://{BUCKET}/other?endpoint={}", proxy.endpoint());
    let words: [Word<'_>; 5] = [&"restore", &"latest:/some/", &"--target", &target, &"--with-acl"];
    world.run(&words).ends(0).says(&["has no access rights of single objects"]);
    world.run(&[&"restore", &"latest", &"--target", &world.path("x"), &"--with-acl"]).ends(2);
}

#[test]
fn what_is_kept_has_to_be_said_right() {
    let world = World::new();
    let url = "s3://media/x";
    for (words, says) in [
        (&["--metadata", "tag"][..], "none of tags, acl, lock"),
        (&["--metadata-sweep", "1/0"], "neither off nor a part"),
        (&["--metadata-sweep", "1/366"], "neither off nor a part"),
        (&["--metadata", "none", "--metadata-sweep", "1/30"], "nothing to look at"),
        (&["--cold", "melt"], "melt"),
    ] {
        let words: Vec<Word<'_>> = words.iter().map(|word| word as _).collect();
        world.run(&[&[&"backup" as Word<'_>, &url], &words[..]].concat()).ends(2).says(&[says]);
    }
    for option in ["--metadata=tags", "--metadata-sweep=off", "--cold=accept"] {
        world.run(&[&"backup", &"/etc", &option]).ends(2).says(&["is about a bucket"]);
    }
}
