//! Tests of the local store alone, beyond the contract of all stores.
//!
//! On purpose not here: power failures; whole machines are crashed elsewhere.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::contract;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Child, Command};
use tempfile::TempDir;

const WAYS: [Way; 3] = [Way::Unnamed, Way::Link, Way::Rename];

struct Scene {
    dir: TempDir,
    store: LocalStore,
}

impl Scene {
    async fn new(way: Way) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open_with(dir.path(), way).await.unwrap();
        Self { dir, store }
    }

    async fn put(&self, name: &str) -> Put {
        self.store.put_new(&key(name), Bytes::from_static(b"body")).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let found = self.store.list("", None, usize::MAX).await.unwrap();
        found.into_iter().map(|meta| meta.key.to_string()).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.path(name)).unwrap().mode() & 0o7777
    }

    /// All files and directories below the root, without that of temporary files itself.
    fn entries(&self) -> BTreeSet<PathBuf> {
        fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                found.insert(entry.path());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(self.dir.path(), &mut found);
        found.remove(&self.path(TEMPORARY));
        found
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_whatever_the_file_system_offers() {
    for way in WAYS {
        let scene = Scene::new(way).await;
        contract::check(Arc::new(scene.store.clone())).await;
        assert_eq!(scene.store.disk.way.get(), Some(&way));
        assert_eq!(scene.entries(), BTreeSet::new(), "{way:?} leaves no litter");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn keeps_the_contract_on_a_single_thread() {
    let scene = Scene::new(Way::Unnamed).await;
    contract::check(Arc::new(scene.store.clone())).await;
}

#[test]
fn needs_no_runtime_to_block() {
    let ready = std::pin::pin!(blocking(|| Ok(7)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(ready.poll(&mut context), std::task::Poll::Ready(Ok(7))));
}

#[tokio::test]
async fn opens_only_what_is_there_and_makes_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let missing = LocalStore::open(&root).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert_eq!(missing.subject, root.display().to_string());
    let deep = LocalStore::create(&root.join("deep")).await.unwrap_err();
    assert_eq!(deep.kind, ErrorKind::NotFound);

    let store = LocalStore::create(&root).await.unwrap();
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(store.location(), root.display().to_string());
    fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
    LocalStore::create(&root).await.unwrap();
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o750, "a directory found is kept as it is");

    fs::write(dir.path().join("file"), "").unwrap();
    let file = LocalStore::create(&dir.path().join("file")).await.unwrap_err();
    assert_eq!(file.kind, ErrorKind::Unusable);
}

#[tokio::test]
async fn objects_are_for_their_owner_unless_the_root_is_the_groups() {
    for way in WAYS {
        let scene = Scene::new(way).await;
        let _ = scene.put("packs/00/1").await;
        assert_eq!(scene.mode("packs/00/1"), 0o400, "{way:?}");
        assert_eq!(scene.mode("packs/00"), 0o700);
        assert_eq!(scene.mode("tmp"), 0o700);

        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let store = LocalStore::open_with(dir.path(), way).await.unwrap();
        let scene = Scene { dir, store };
        let _ = scene.put("packs/00/1").await;
        assert_eq!(scene.mode("packs/00/1"), 0o440, "{way:?}");
        assert_eq!(scene.mode("packs/00"), 0o2770);
        assert_eq!(scene.mode("tmp"), 0o2770);
    }
}

#[tokio::test]
async fn errors_name_the_path_of_the_object() {
    let scene = Scene::new(Way::Unnamed).await;
    let error = scene.store.get(&key("packs/1"), ByteRange::All).await.unwrap_err();
    assert_eq!(error.subject, scene.path("packs/1").display().to_string());
    assert_eq!(error.operation, "read");
}

#[tokio::test]
async fn only_regular_files_are_objects() {
    let scene = Scene::new(Way::Unnamed).await;
    let _ = scene.put("real").await;
    symlink("real", scene.path("link")).unwrap();
    fs::create_dir(scene.path("folder")).unwrap();
    let fifo = scene.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for name in ["link", "folder", "fifo"] {
        let read = scene.store.get(&key(name), ByteRange::All).await.unwrap_err();
        assert_eq!(read.kind, ErrorKind::Io, "{name}");
        scene.store.head(&key(name)).await.unwrap_err();
        assert_eq!(scene.put(name).await, Put::Exists, "{name}");
    }
    assert_eq!(scene.names().await, ["real"]);
    assert_eq!(scene.store.foreign().await.unwrap(), ["fifo", "link"]);
}

#[tokio::test]
async fn links_on_the_way_are_not_followed() {
    let scene = Scene::new(Way::Unnamed).await;
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("1"), "other").unwrap();
    symlink(elsewhere.path(), scene.path("packs")).unwrap();
    scene.store.get(&key("packs/1"), ByteRange::All).await.unwrap_err();
    scene.store.put_new(&key("packs/2"), Bytes::new()).await.unwrap_err();
    scene.store.list("packs/", None, 1).await.unwrap_err();
    scene.store.delete(&key("packs/1")).await.unwrap_err();
    assert!(elsewhere.path().join("1").exists());
    assert!(!elsewhere.path().join("2").exists());
    let folders = &scene.store.disk.folders;
    for (path, flags) in
        [("packs/1", OFlags::RDONLY), ("packs", OFlags::DIRECTORY), ("packs", OFlags::RDONLY)]
    {
        let stepped = folders.open_by_steps(path, flags).expect_err("nor without the newer system call");
        assert_eq!(failure::errno_of(&stepped), Some(Errno::LOOP));
    }
    let _ = scene.put("real/1").await;
    folders.open_by_steps("real/1", OFlags::RDONLY).unwrap();
}

#[tokio::test]
async fn a_file_on_the_way_means_that_nothing_lies_below() {
    let scene = Scene::new(Way::Unnamed).await;
    let _ = scene.put("a").await;
    let below = key("a/b");
    assert_eq!(scene.store.head(&below).await.unwrap(), None);
    assert_eq!(scene.store.get(&below, ByteRange::All).await.unwrap_err().kind, ErrorKind::NotFound);
    scene.store.delete(&below).await.unwrap();
    assert_eq!(scene.store.list("a/", None, 1).await.unwrap(), []);
    assert_eq!(scene.store.put_new(&below, Bytes::new()).await.unwrap_err().kind, ErrorKind::Io);
}

#[tokio::test]
async fn names_of_the_stores_own_are_refused() {
    let scene = Scene::new(Way::Link).await;
    for name in ["tmp", "tmp/1"] {
        let error = scene.store.put_new(&key(name), Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unusable);
        scene.store.get(&key(name), ByteRange::All).await.unwrap_err();
        scene.store.delete(&key(name)).await.unwrap_err();
    }
    assert_eq!(scene.put("tmp-1/tmp/tmp").await, Put::Created);
    assert_eq!(scene.names().await, ["tmp-1/tmp/tmp"]);
}

#[tokio::test]
async fn strange_files_are_told_apart_from_objects() {
    let scene = Scene::new(Way::Unnamed).await;
    let _ = scene.put("packs/1").await;
    let long = "x/".repeat(256);
    fs::create_dir_all(scene.path(&long)).unwrap();
    fs::write(scene.path(&format!("{long}1")), "").unwrap();
    fs::create_dir_all(scene.path(".hidden/deep")).unwrap();
    fs::create_dir_all(scene.path("lost+found")).unwrap();
    fs::create_dir_all(scene.path("packs/my files/deep")).unwrap();
    for name in ["read me.txt", ".hidden/deep/1", "packs/.nfs0001", "packs/copy~", "tmp/left"] {
        fs::create_dir_all(scene.path(name).parent().unwrap()).unwrap();
        fs::write(scene.path(name), "").unwrap();
    }
    fs::write(scene.dir.path().join(OsStr::from_bytes(b"not-text-\xff")), "").unwrap();
    assert_eq!(scene.names().await, ["packs/1"]);
    let expected = ["not-text-\u{fffd}", "packs/copy~", "packs/my files", "read me.txt", &format!("{long}1")];
    assert_eq!(scene.store.foreign().await.unwrap(), expected);
}

#[tokio::test]
async fn a_removed_root_is_an_error_and_not_an_empty_list() {
    let scene = Scene::new(Way::Unnamed).await;
    fs::remove_dir_all(scene.dir.path()).unwrap();
    for prefix in ["", "packs/", "packs/00"] {
        let error = scene.store.list(prefix, None, 10).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{prefix}");
    }
    assert_eq!(scene.store.foreign().await.unwrap_err().kind, ErrorKind::NotFound);
    let error = scene.store.put_new(&key("a/b"), Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_uploads_leave_no_litter() {
    for way in WAYS {
        let scene = Scene::new(way).await;
        let mut upload = scene.store.begin(&key("packs/data/00/1")).await.unwrap();
        upload.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
        drop(upload);
        let late = scene.store.begin(&key("packs/1")).await.unwrap();
        let _ = scene.put("packs/1").await;
        assert_eq!(late.commit().await.unwrap(), Put::Exists);
        let expected = BTreeSet::from([scene.path("packs"), scene.path("packs/1")]);
        assert_eq!(scene.entries(), expected, "{way:?}");
    }
}

#[tokio::test]
async fn an_upload_survives_that_its_directory_is_removed() {
    for way in WAYS {
        let scene = Scene::new(way).await;
        let mut upload = scene.store.begin(&key("a/b/1")).await.unwrap();
        upload.write(Bytes::from_static(b"1")).await.unwrap();
        let _ = scene.put("a/b/2").await;
        let other = LocalStore::open(scene.dir.path()).await.unwrap();
        other.delete(&key("a/b/2")).await.unwrap();
        assert!(!scene.path("a").exists(), "empty directories go with their last object");
        assert_eq!(upload.commit().await.unwrap(), Put::Created, "{way:?}");
        assert_eq!(scene.names().await, ["a/b/1"]);
    }
}

#[tokio::test]
async fn leftovers_of_dead_processes_are_swept_and_running_uploads_are_not() {
    let scene = Scene::new(Way::Link).await;
    let mut running = scene.store.begin(&key("running")).await.unwrap();
    fs::write(scene.path("tmp/1-1"), "left").unwrap();
    fs::set_permissions(scene.path("tmp/1-1"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::create_dir(scene.path("tmp/folder")).unwrap();
    // Killed between the link and the removal of the temporary name.
    fs::write(scene.path("linked"), "linked").unwrap();
    fs::hard_link(scene.path("linked"), scene.path("tmp/1-2")).unwrap();

    let next = LocalStore::open_with(scene.dir.path(), Way::Link).await.unwrap();
    assert_eq!(next.put_new(&key("next"), Bytes::new()).await.unwrap(), Put::Created);
    let left = fs::read_dir(scene.path("tmp")).unwrap().count();
    assert_eq!(left, 2, "the running upload and what is no file");
    running.write(Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(running.commit().await.unwrap(), Put::Created);
    assert_eq!(scene.names().await, ["linked", "next", "running"]);
    assert_eq!(next.get(&key("linked"), ByteRange::All).await.unwrap(), "linked");
}

#[test]
fn a_full_disk_is_reported_as_full() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = upload::append(&full, b"1").unwrap_err();
    assert_eq!(failure("write", Path::new("x"), error).kind, ErrorKind::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_directory_agree() {
    for way in WAYS {
        let scene = Scene::new(way).await;
        let other = LocalStore::open(scene.dir.path()).await.unwrap();
        let racers: Vec<_> = [scene.store.clone(), other]
            .map(|store| tokio::spawn(async move { churn(&store, 150).await }))
            .into();
        let mut created = 0;
        for racer in racers {
            created += racer.await.unwrap().len();
        }
        assert_eq!(created, 150, "{way:?}: each name has one creator");
        assert_eq!(scene.names().await.len(), 150);
    }
}

/// Puts names that another racer puts as well, and makes and removes directories under its feet.
/// Returns the names that were created here.
async fn churn(store: &LocalStore, count: usize) -> Vec<String> {
    let mut created = Vec::new();
    for number in 0..count {
        let own = key(&format!("churn/{}/{number}/own", number % 3));
        let shared = key(&format!("shared/{number}/1"));
        // Both racers put and delete it: all that counts is that it never fails.
        let _ = store.put_new(&own, Bytes::from_static(b"own")).await.unwrap();
        if store.put_new(&shared, Bytes::from_static(b"shared")).await.unwrap() == Put::Created {
            created.push(shared.to_string());
        }
        store.delete(&own).await.unwrap();
        store.list("churn/", None, usize::MAX).await.unwrap();
    }
    created
}

/// What tells copies of this program what to do, and where.
const ROOT: &str = "HOLDFAST_STORE_TEST_ROOT";
const REPORT: &str = "HOLDFAST_STORE_TEST_REPORT";
const WAY: &str = "HOLDFAST_STORE_TEST_WAY";

/// Runs a test of this file in a process of its own; without these settings it does nothing.
fn start(test: &str, settings: &[(&str, &OsStr)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("local::tests::{test}"), "--nocapture"])
        .envs(settings.iter().copied())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn two_processes_on_one_directory_agree() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    fs::create_dir(&root).unwrap();
    let reports = ["1", "2"].map(|name| dir.path().join(name));
    let settings = |report| [(ROOT, root.as_os_str()), (REPORT, report)];
    let racers = reports.each_ref().map(|report| start("races_when_told_to", &settings(report.as_os_str())));
    for mut racer in racers {
        assert!(racer.wait().unwrap().success());
    }
    let [first, second] = reports.map(|report| fs::read_to_string(report).unwrap());
    let created: BTreeSet<_> = first.lines().chain(second.lines()).collect();
    assert_eq!(first.lines().count() + second.lines().count(), 100, "each name has one creator");
    assert_eq!(created.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn races_when_told_to() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = LocalStore::open(Path::new(&root)).await.unwrap();
    let created = churn(&store, 100).await.join("\n");
    fs::write(std::env::var_os(REPORT).unwrap(), created).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_whole_objects_and_no_litter() {
    for way in WAYS {
        let scene = Scene::new(way).await;
        let number = (way as u8).to_string();
        let settings = [(ROOT, scene.dir.path().as_os_str()), (WAY, OsStr::new(&number))];
        let mut writer = start("writes_until_killed", &settings);
        while scene.names().await.len() < 10 {
            assert_eq!(writer.try_wait().unwrap(), None, "{way:?}: the writer goes on");
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        for name in scene.names().await {
            let body = scene.store.get(&key(&name), ByteRange::All).await.unwrap();
            assert!(body == vec![7; 4 * PART_BYTES], "{way:?}: {name} is whole");
        }
        assert_eq!(scene.put("last").await, Put::Created);
        assert_eq!(fs::read_dir(scene.path(TEMPORARY)).unwrap().count(), 0, "{way:?}");
    }
}

const PART_BYTES: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn writes_until_killed() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let way = std::env::var(WAY).unwrap().parse::<usize>().unwrap();
    let store = LocalStore::open_with(Path::new(&root), WAYS[way]).await.unwrap();
    for number in 0.. {
        let mut upload = store.begin(&key(&format!("packs/{number}"))).await.unwrap();
        for _ in 0..4 {
            upload.write(Bytes::from(vec![7; PART_BYTES])).await.unwrap();
        }
        let _ = upload.commit().await.unwrap();
    }
}

#[tokio::test]
async fn tells_about_its_disk() {
    let scene = Scene::new(Way::Unnamed).await;
    assert!(scene.store.free_space().await.unwrap() > 0);
    let known = scene.store.shared_file_system().await;
    assert_eq!(known, medium::shared_file_system(scene.store.disk.folders.root()));
}
