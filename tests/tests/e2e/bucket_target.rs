//! Restoring into a bucket of a real server: files become objects, over what is there too.
//!
//! On purpose not here: what only objects have, as metadata and tags, which `tests/s3_target.rs` has.

use super::access::assert_recorded;
use super::tree::{noise, ordinary, put, put_sparse};
use super::world::{Ran, Word, World, count, objects, within};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use holdfast_tests::weed::{BUCKET, SECRET, Weed};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

/// A server, a place with a repository on disk, and a tree that was backed up.
struct Case {
    weed: Weed,
    world: World,
    tree: PathBuf,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Case {
    fn new(files: usize) -> Self {
        let (weed, world) = (Weed::start(), World::new());
        let tree = world.path("tree");
        fs::create_dir(&tree).unwrap();
        if files > 0 {
            ordinary(&tree, files, 1);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = weed.client();
        Self { weed, world, tree, client, runtime }
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn restore(&self, prefix: &str, words: &[Word<'_>]) -> Ran {
        let (what, url) = (within("latest", &self.tree), self.weed.url(prefix));
        let common: [Word<'_>; 5] = [&"restore", &"--json", &what, &"--target", &url];
        self.world.run(&[&common, words].concat())
    }

    fn summary(&self, prefix: &str, words: &[Word<'_>]) -> Value {
        self.restore(prefix, words).ends(0).summary()
    }

    /// Names below a prefix, and contents.
    fn objects(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let (mut found, mut token) = (BTreeMap::new(), None);
        loop {
            let list =
                self.client.list_objects_v2().bucket(BUCKET).prefix(prefix).set_continuation_token(token);
            let page = self.wait(list.send()).unwrap();
            for name in page.contents().iter().filter_map(|object| object.key()) {
                let body = self.wait(async {
                    let got = self.client.get_object().bucket(BUCKET).key(name).send().await.unwrap();
                    got.body.collect().await.unwrap().to_vec()
                });
                found.insert(name.strip_prefix(prefix).unwrap().to_owned(), body);
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return found;
            }
        }
    }

    fn put(&self, name: &str, content: &[u8]) {
        let body = ByteStream::from(content.to_vec());
        self.wait(self.client.put_object().bucket(BUCKET).key(name).body(body).send()).unwrap();
    }

    #[track_caller]
    fn same(&self, prefix: &str) {
        let wanted = files(&self.tree);
        let found = self.objects(prefix);
        assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        let differing: Vec<_> = wanted.iter().filter(|(name, bytes)| found[*name] != **bytes).collect();
        assert!(differing.is_empty(), "{:?}", differing.iter().map(|(name, _)| name).collect::<Vec<_>>());
    }

    fn uploads(&self) -> usize {
        let list = self.client.list_multipart_uploads().bucket(BUCKET);
        self.wait(list.send()).unwrap().uploads().len()
    }
}

fn files(tree: &Path) -> BTreeMap<String, Vec<u8>> {
    let regular = |name: &String| fs::symlink_metadata(tree.join(name)).unwrap().is_file();
    let read = |name: String| (name.clone(), fs::read(tree.join(name)).unwrap());
    objects(tree).into_iter().filter(regular).map(read).collect()
}

#[test]
fn a_tree_becomes_objects_and_only_what_differs_is_written_again() {
    let case = Case::new(300);
    // Longer than a part; a sparse one that ends in a hole; one that is nothing but a hole.
    put(case.tree.join("large"), noise(2, (20 << 20) + 5));
    put_sparse(&case.tree.join("sparse"), 40 << 20, &[(9 << 20, &noise(3, 100_000))]);
    put_sparse(&case.tree.join("hole"), 3 << 20, &[]);
    put(case.tree.join("deep/er/a.txt"), b"x");
    put(case.tree.join("deep/er/a/b"), b"y");
    case.world.backup(&case.tree);
    let first = case.summary("out/here", &[&"--verify"]);
    assert_recorded(&case.world, "restore", "s3://backups/out/here");
    case.same("out/here/");
    let number = files(&case.tree).len() as u64;
    assert_eq!((count(&first, "items_created"), count(&first, "files_verified")), (number, number));
    assert_eq!(count(&first, "objects_newer"), 0);
    assert_eq!(case.uploads(), 0);

    // Nobody said what becomes of what is there.
    let refused = case.restore("out/here", &[]).ends(2);
    assert!(
        refused.err.contains("not empty") && refused.err.contains("s3://backups/out/here"),
        "{refused:?}"
    );

    for overwrite in ["if-changed", "always"] {
        let again = case.summary("out/here", &[&"--overwrite", &overwrite]);
        assert_eq!(
            (count(&again, "items_unchanged"), count(&again, "bytes_written")),
            (number, 0),
            "{again}"
        );
        assert_eq!(count(&again, "objects_newer"), number);
    }

    // One changed and kept its length, one is gone, one is longer.
    let mut changed = fs::read(case.tree.join("large")).unwrap();
    changed[15 << 20] ^= 1;
    case.put("out/here/large", &changed);
    case.put("out/here/hole", b"no hole");
    let gone = case.client.delete_object().bucket(BUCKET).key("out/here/deep/er/a/b");
    case.wait(gone.send()).unwrap();
    let words: [Word<'_>; 2] = [&"--overwrite", &"if-changed"];
    let planned = case.summary("out/here", &[&words[..], &[&"--dry-run"]].concat());
    let numbers = |summary: &Value| {
        ["items_created", "items_rewritten", "items_unchanged"].map(|name| count(summary, name))
    };
    assert_eq!(numbers(&planned), [1, 2, number - 3]);
    assert_eq!(case.objects("out/here/")["hole"], b"no hole");
    let done = case.summary("out/here", &[&words[..], &[&"--verify"]].concat());
    assert_eq!(numbers(&done), [1, 2, number - 3]);
    case.same("out/here/");

    let left = case.summary("out/here", &[&"--overwrite", &"never"]);
    assert_eq!((count(&left, "items_left"), count(&left, "bytes_written")), (number, 0));
    let older = case.summary("out/here", &[&"--overwrite", &"if-newer"]);
    assert_eq!(count(&older, "items_left"), number);
}

#[test]
fn what_the_snapshot_does_not_have_is_deleted_within_a_limit() {
    let case = Case::new(0);
    for number in 0..10 {
        put(case.tree.join(format!("kept/{number}")), number.to_string());
    }
    case.world.backup(&case.tree);
    case.summary("out", &[]);
    for number in 0..20 {
        case.put(&format!("out/extra/{number}"), b"x");
    }
    case.put("outside", b"x");
    let ran = case.restore("out", &[&"--delete"]).ends(2);
    assert!(ran.err.contains("would delete 20 of the 30 things"), "{ran:?}");
    assert_eq!(case.objects("out/").len(), 30);
    let planned = case.summary("out", &[&"--delete", &"--dry-run"]);
    assert_eq!(count(&planned, "items_deleted"), 20);
    assert_eq!(case.objects("out/").len(), 30);
    let done = case.summary("out", &[&"--delete", &"--max-delete", &"20", &"--exclude", &"**/extra/1"]);
    assert_eq!(count(&done, "items_deleted"), 19);
    case.summary("out", &[&"--delete"]);
    case.same("out/");
    assert_eq!(case.objects("outside")[""], b"x");
}

#[test]
fn what_is_no_object_is_named() {
    let case = Case::new(0);
    put(case.tree.join("file"), b"x");
    put(case.tree.join("folder/empty"), b"");
    std::os::unix::fs::symlink("file", case.tree.join("link")).unwrap();
    case.world.backup(&case.tree);
    let ran = case.restore("out", &[]).ends(3);
    let errors = ran.of_type("error");
    assert_eq!((errors.len(), errors[0]["item"].as_str()), (1, Some("link")), "{ran:?}");
    assert!(ran.err.contains("not an object"), "{ran:?}");
    case.same("out/");
    for option in ["--sparse", "--ownership-by-name"] {
        case.restore("other", &[&option]).ends(2).says(&[option]);
    }
}

#[test]
fn a_repository_is_not_restored_over() {
    let mut case = Case::new(0);
    case.world.repo = PathBuf::from(case.weed.url("repos/one"));
    case.world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    put(case.tree.join("file"), b"x");
    case.world.backup(&case.tree);
    for prefix in ["", "repos", "repos/one", "repos/one/below"] {
        let ran = case.restore(prefix, &[&"--overwrite", &"always", &"--delete"]).ends(2);
        assert!(ran.err.contains("overlaps with the repository"), "{prefix}: {ran:?}");
    }
    // The same server by another name.
    let what = within("latest", &case.tree);
    let url = case.weed.url("repos").replace("127.0.0.1", "localhost");
    let words: [Word<'_>; 6] = [&"restore", &what, &"--target", &url, &"--overwrite", &"always"];
    case.world.run(&words).ends(2).says(&["overlaps with the repository"]);
    case.summary("repos/one-else", &[&"--verify"]);
    case.same("repos/one-else/");
    case.world.check();
}

#[test]
fn the_target_has_keys_of_its_own() {
    let case = Case::new(0);
    put(case.tree.join("file"), b"x");
    case.world.backup(&case.tree);
    let (what, url) = (within("latest", &case.tree), case.weed.url("out"));
    let words: [Word<'_>; 4] = [&"restore", &what, &"--target", &url];
    let mut command = case.world.command();
    command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let ran = case.world.run_as(&mut command, &words).ends(1);
    assert!(ran.err.contains("HOLDFAST_TARGET_AWS_SECRET_ACCESS_KEY"), "{ran:?}");
    let mut command = case.world.command();
    command.env("HOLDFAST_TARGET_AWS_ACCESS_KEY_ID", "holdfast");
    case.world.run_as(&mut command, &words).ends(2).says(&["only one is set"]);
    let mut command = case.world.command();
    command.env("AWS_SECRET_ACCESS_KEY", "wrong").env("HOLDFAST_TARGET_AWS_ACCESS_KEY_ID", "holdfast");
    command.env("HOLDFAST_TARGET_AWS_SECRET_ACCESS_KEY", SECRET);
    case.world.run_as(&mut command, &words).ends(0);
    case.same("out/");
    let nowhere = case.weed.url("out").replace(BUCKET, "nowhere");
    let words: [Word<'_>; 4] = [&"restore", &what, &"--target", &nowhere];
    case.world.run(&words).ends(1).says(&["nowhere", "make it"]);
}

#[test]
fn a_restore_that_is_stopped_leaves_no_half_objects() {
    let case = Case::new(0);
    put(case.tree.join("large"), noise(4, 200 << 20));
    case.world.backup(&case.tree);
    let (what, url) = (within("latest", &case.tree), case.weed.url("out"));
    let mut run = case.world.leash(&[&"restore", &what, &"--target", &url]);
    let begun = run.wait_for(|| case.uploads() > 0);
    run.send(rustix::process::Signal::INT);
    let ran = run.ends_alone(&[&"restore"]);
    assert!(begun, "it was over before it was stopped: {ran:?}");
    let found = case.objects("out/");
    match ran.code {
        130 => assert!(found.is_empty(), "{:?}", found.keys()),
        _ => assert_eq!(found, files(&case.tree)),
    }
    assert_eq!(case.uploads(), 0);
    case.summary("out", &[&"--overwrite", &"always"]);
    case.same("out/");
}
