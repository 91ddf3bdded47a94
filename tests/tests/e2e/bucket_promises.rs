//! Promises about buckets that a real server does not put to the test by itself: rules of the bucket,
//! whom it tells of objects, classes of storage, archives, a byte that changed.
//!
//! What a server of the tests does not know, a proxy before it says. On purpose not here: what holds
//! of any repository.

use super::tree::{noise, put};
use super::world::{Word, World, within};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

fn at(endpoint: &str, prefix: &str) -> PathBuf {
    PathBuf::from(format!("s3://{BUCKET}/{prefix}?endpoint={endpoint}"))
}

/// A repository in a bucket, and a tree.
fn repository(weed: &Weed) -> (World, PathBuf) {
    let mut world = World::bare();
    world.repo = at(&weed.endpoint(), "x");
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let tree = world.path("tree");
    put(tree.join("small"), b"small");
    put(tree.join("large"), noise(1, 20 << 20));
    (world, tree)
}

/// The value of an option in the first line of a request: `?name` or `?name=`.
fn asks_for(line: &str, name: &str) -> bool {
    let query = line.split(' ').nth(1).and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    query.split('&').any(|part| part.split('=').next() == Some(name))
}

#[test]
fn a_bucket_that_tells_others_of_objects_is_restored_to_only_on_purpose() {
    let (weed, world) = (Weed::start(), World::new());
    let tree = world.path("tree");
    put(tree.join("file"), b"x");
    world.backup(&tree);
    let proxy = Proxy::start(&weed.endpoint(), |line| match asks_for(line, "notification") {
        true => Fate::Say(
            "<NotificationConfiguration><CloudFunctionConfiguration><Id>1</Id>\
             <CloudFunction>arn:aws:lambda:eu-west-1:1:function:thumbnailer</CloudFunction>\
             <Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration></NotificationConfiguration>"
                .to_owned(),
        ),
        false => Fate::Pass,
    });
    let (what, target) = (within("latest", &tree), at(&proxy.endpoint(), "out"));
    let restore: [Word<'_>; 4] = [&"restore", &what, &"--target", &target];
    world.run(&restore).ends(2).says(&["lambda thumbnailer", "--with-events"]);
    assert_eq!(weed.names(), [""; 0], "nothing is written");
    world.run(&[&restore[..], &[&"--with-events"]].concat()).ends(0).says(&["lambda thumbnailer"]);
    assert_eq!(weed.names(), ["out/file"]);
}

#[test]
fn rules_of_a_bucket_that_harm_are_told_by_preflight() {
    let (weed, mut world) = (Weed::start(), World::bare());
    let rules = |rule: &str| format!("<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>");
    let archive = rules(
        "<ID>archive-all</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>\
         <Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>",
    );
    let expire = rules(
        "<ID>tidy</ID><Status>Enabled</Status><Filter><Prefix>x/packs/</Prefix></Filter>\
         <Expiration><Days>9</Days></Expiration>",
    );
    let elsewhere = rules(
        "<ID>logs</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>\
         <Expiration><Days>9</Days></Expiration>",
    );
    for (rules, code, words) in [
        (archive, 1, ["harmful", "archive-all", "after 30 days"]),
        (expire, 1, ["harmful", "tidy", "after 9 days"]),
        (elsewhere, 0, ["free nothing", "replicated", "locked for 7 days"]),
    ] {
        let proxy = Proxy::start(&weed.endpoint(), move |line| {
            let answers = [
                ("lifecycle", rules.as_str()),
                ("versioning", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
                (
                    "replication",
                    "<ReplicationConfiguration><Role>r</Role><Rule><Status>Enabled</Status><Destination>\
                     <Bucket>arn:aws:s3:::b</Bucket></Destination></Rule></ReplicationConfiguration>",
                ),
                (
                    "object-lock",
                    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                     <DefaultRetention><Mode>GOVERNANCE</Mode><Days>7</Days></DefaultRetention></Rule>\
                     </ObjectLockConfiguration>",
                ),
            ];
            let answer = answers.iter().find(|(name, _)| line.starts_with("GET") && asks_for(line, name));
            answer.map_or(Fate::Pass, |(_, body)| Fate::Say((*body).to_owned()))
        });
        world.repo = at(&proxy.endpoint(), "x");
        let ran = world.run(&[&"preflight"]).ends(code);
        assert!(words.iter().all(|word| ran.out.contains(word)), "{words:?}: {ran:?}");
        assert_eq!(ran.out.contains("harmful"), code == 1, "{ran:?}");
    }
}

#[test]
fn a_storage_class_is_asked_for_contents_alone_in_a_bucket() {
    let weed = Weed::start();
    let (mut world, tree) = repository(&weed);
    let writes = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&writes);
    let proxy = Proxy::start_seeing(&weed.endpoint(), move |line, head| {
        let begins = line.starts_with("PUT") && !asks_for(line, "partNumber")
            || line.starts_with("POST") && asks_for(line, "uploads");
        if begins {
            let class = head.lines().find_map(|line| line.split_once(": ").filter(is_class));
            let class = class.map(|(_, class)| class.trim().to_owned());
            noted.lock().unwrap().push((line.to_owned(), class));
        }
        Fate::Pass
    });
    world.repo = PathBuf::from(format!("{}&storage-class=STANDARD_IA", at(&proxy.endpoint(), "x").display()));
    world.backup(&tree);
    let writes = writes.lock().unwrap();
    let (contents, others): (Vec<_>, Vec<_>) =
        writes.iter().partition(|(line, _)| line.contains("/x/packs/data/"));
    assert!(contents.iter().any(|(line, _)| line.starts_with("POST")), "{writes:?}");
    assert!(contents.iter().all(|(_, class)| class.as_deref() == Some("STANDARD_IA")), "{contents:?}");
    assert!(others.len() > 3 && others.iter().all(|(_, class)| class.is_none()), "{others:?}");
}

fn is_class((name, _): &(&str, &str)) -> bool {
    name.eq_ignore_ascii_case("x-amz-storage-class")
}

#[test]
fn a_byte_that_changed_in_a_bucket_is_found_and_costs_what_it_says() {
    let weed = Weed::start();
    let (world, tree) = repository(&weed);
    world.backup(&tree);
    world.check();
    let pack = weed.names().into_iter().find(|name| name.starts_with("x/packs/data/")).unwrap();
    weed.damage(&pack);
    let pack = pack.rsplit('/').next().unwrap();
    let ran = world.run(&[&"check", &"--read-data"]);
    assert!(ran.code != 0 && (ran.out.clone() + &ran.err).contains(pack), "{pack}: {ran:?}");
    let (what, target) = (within("latest", &tree), world.path("out"));
    let ran = world.run(&[&"restore", &what, &"--target", &target]);
    assert!(ran.code != 0 && ran.err.contains("large"), "{ran:?}");
    assert!(!target.join("large").exists(), "what is not whole is not there");
}

#[test]
fn packs_in_an_archive_are_all_named_in_a_bucket() {
    let weed = Weed::start();
    let (mut world, tree) = repository(&weed);
    put(tree.join("other"), noise(2, 20 << 20));
    world.run(&[&"backup", &tree, &"--pack-size", &"16M"]).ends(0);
    let mut packs = weed.names();
    packs.retain(|name| name.starts_with("x/packs/data/"));
    assert!(packs.len() >= 2, "{packs:?}");
    let direct = world.repo.clone();
    let proxy = Proxy::start(&weed.endpoint(), |line| match line.starts_with("GET /backups/x/packs/data/") {
        true => Fate::Refuse(403, "InvalidObjectState"),
        false => Fate::Pass,
    });
    world.repo = at(&proxy.endpoint(), "x");
    let (what, target) = (within("latest", &tree), world.path("out"));
    let ran = world.run(&[&"restore", &what, &"--target", &target]).ends(1);
    let ran = ran.says(&["large: not restored", "lie in an archive", "restore-object", "--overwrite always"]);
    let listed = ran.err.lines().find(|line| line.contains("packs lie in an archive")).unwrap();
    for pack in &packs {
        assert!(listed.contains(pack.strip_prefix("x/").unwrap()), "{pack}: {listed}");
    }
    let ran = world.run(&[&"check", &"--read-data"]).ends(1);
    let said = ran.out + &ran.err;
    let named = packs.iter().all(|pack| said.contains(pack.strip_prefix("x/").unwrap()));
    assert!(named && said.contains("it lies in an archive"), "{said}");
    assert!(!said.contains("large"), "no file is lost: {said}");
    // Brought back.
    world.repo = direct;
    world.run(&[&"restore", &what, &"--target", &target, &"--overwrite", &"always"]).ends(0);
    super::compare::same(&tree, &target);
}

#[test]
fn packs_in_an_archive_of_a_bucket_are_named_before_anything_is_written() {
    let weed = Weed::start();
    let (mut world, tree) = repository(&weed);
    put(tree.join("other"), noise(2, 20 << 20));
    world.run(&[&"backup", &tree, &"--pack-size", &"16M"]).ends(0);
    let mut packs = weed.names();
    packs.retain(|name| name.starts_with("x/packs/data/"));
    // All but one are moved, by their class; the server of the tests has no archive to read from.
    let (cold, warm) = packs.split_at(packs.len() - 1);
    cold.iter().for_each(|name| weed.reclass(name, "DEEP_ARCHIVE"));
    let is_cold = cold.to_vec();
    let brought_back = Arc::new(Mutex::new(Vec::<String>::new()));
    let back = Arc::clone(&brought_back);
    let proxy = Proxy::start(&weed.endpoint(), move |line| {
        let asked = |name: &String| line.starts_with(&format!("GET /{BUCKET}/{name}?"));
        let is_back = back.lock().unwrap().iter().any(asked);
        match !is_back && is_cold.iter().any(asked) {
            true => Fate::Refuse(403, "InvalidObjectState"),
            false => Fate::Pass,
        }
    });
    world.repo = at(&proxy.endpoint(), "x");
    let (what, target) = (within("latest", &tree), world.path("out"));
    let restore: [Word<'_>; 4] = [&"restore", &what, &"--target", &target];
    let ran = world.run(&restore).ends(1);
    let ran =
        ran.says(&["lie in an archive", "DEEP_ARCHIVE", "nothing was changed", "restore-object", "Batch"]);
    assert!(!target.exists() || std::fs::read_dir(&target).unwrap().next().is_none(), "{ran:?}");
    let named = |text: &str, name: &String| text.contains(name.strip_prefix("x/").unwrap());
    assert!(cold.iter().all(|name| named(&ran.err, name)) && !named(&ran.err, &warm[0]), "{ran:?}");
    let planned = world.run(&[&restore[..], &[&"--dry-run", &"--json"]].concat()).ends(1);
    let lines = planned.lines();
    let lines: Vec<_> = lines.iter().filter(|line| line["message_type"] == "archived_pack").collect();
    assert_eq!(lines.len(), cold.len(), "{planned:?}");
    assert!(lines.iter().all(|line| line["storage_class"] == "DEEP_ARCHIVE"), "{planned:?}");
    // What is not needed is not asked for; what was brought back is read, though it is listed as before.
    let part = within("latest", &tree.join("small"));
    world.run(&[&"restore", &part, &"--target", &world.path("small")]);
    brought_back.lock().unwrap().extend(cold.iter().cloned());
    world.run(&restore).ends(0);
    super::compare::same(&tree, &target);
}

#[test]
fn a_bucket_that_is_restored_to_is_asked_as_much_as_it_bears_and_watched() {
    let (weed, world) = (Weed::start(), World::new());
    let tree = world.path("tree");
    (0..300u64).for_each(|number| put(tree.join(format!("{number}")), noise(number, 3_000)));
    world.backup(&tree);
    let at_once = Arc::new(Mutex::new((0u32, 0u32)));
    let seen = Arc::clone(&at_once);
    let proxy = Proxy::start(&weed.endpoint(), move |_| {
        {
            let mut seen = seen.lock().unwrap();
            seen.0 += 1;
            seen.1 = seen.1.max(seen.0);
        }
        std::thread::sleep(std::time::Duration::from_millis(30));
        seen.lock().unwrap().0 -= 1;
        Fate::Pass
    });
    let (what, target) = (within("latest", &tree), at(&proxy.endpoint(), "out"));
    world.run(&[&"restore", &what, &"--target", &target]).ends(0);
    let most = at_once.lock().unwrap().1;
    assert!((4..=40).contains(&most), "{most} requests at once");
    assert_eq!(weed.names().len(), 300);
    // It hangs at one object.
    let proxy = Proxy::start(&weed.endpoint(), |line| match line.starts_with("PUT /backups/else/17") {
        true => Fate::Hang,
        false => Fate::Pass,
    });
    let target = at(&proxy.endpoint(), "else");
    let ran = world.run(&[&"restore", &what, &"--target", &target, &"--stuck-timeout", &"2s"]).ends(1);
    assert!(ran.err.contains("s3://backups/else/17") && ran.err.contains("did not answer"), "{ran:?}");
}
