//! Scratch on a real disk: what is refused, what is removed, what is left behind.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::leaks::MARKER;
use super::*;
use crate::policy::units::{Size, Span};
use jiff::SignedDuration;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn owner() -> Owner<'static> {
    Owner { policy: "shop/.. x", id: "0123456789abcdef0123456789abcdef", host: "web1", now: NOW }
}

fn place() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("scratch")).unwrap();
    dir
}

fn below(dir: &TempDir) -> policy::Scratch {
    policy::Scratch { path: Some(dir.path().join("scratch")), ..policy::Scratch::default() }
}

async fn make(options: &policy::Scratch, needs: Needs) -> Result<Scratch, Finding> {
    Scratch::make(options, Path::new("/nowhere/at/all"), owner(), needs).await
}

async fn refused(options: &policy::Scratch, needs: Needs) -> String {
    let finding = make(options, needs).await.unwrap_err();
    assert_eq!(finding.cause, Cause::Environment);
    assert!(!finding.next.is_empty(), "{finding:?}");
    finding.what
}

fn listed(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[tokio::test]
async fn scratch_is_made_private_and_is_gone_at_the_end() {
    let dir = place();
    let mut scratch = make(&below(&dir), Needs::default()).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(scratch.path().file_name().unwrap(), "drill-shop----x-0123456789ab");
    assert_eq!(mode(scratch.path()), 0o700);
    let (one, other) = (scratch.folder("a b").unwrap(), scratch.folder("a/b").unwrap());
    assert!(one != other && mode(&one) == 0o700 && listed(&one) == 0);
    assert_eq!(scratch.folder("a b").unwrap(), one);
    assert_eq!(folder_name("media-2"), "media-2");
    let long = folder_name("production-media-uploads-of-europe");
    assert!(long.len() < 32 && long.starts_with("production-media-uploads"), "{long}");
    // The same drill twice is a mistake, not a place to share.
    assert!(make(&below(&dir), Needs::default()).await.is_err());
    fs::write(one.join("file"), b"data").unwrap();
    let (lines, finding) = scratch.remove().await;
    assert!(finding.is_none() && lines.iter().any(|line| line.contains("it is gone")), "{lines:?}");
    assert_eq!(listed(&dir.path().join("scratch")), 0);
}

#[tokio::test]
async fn places_that_will_not_do_are_refused() {
    let dir = place();
    let at = |path: PathBuf| policy::Scratch { path: Some(path), ..policy::Scratch::default() };
    let what = refused(&at(dir.path().join("missing")), Needs::default()).await;
    assert!(what.contains("missing") && what.contains("No such file"), "{what}");
    fs::write(dir.path().join("file"), b"").unwrap();
    assert!(refused(&at(dir.path().join("file")), Needs::default()).await.contains("Not a directory"));
    assert!(refused(&at("/tmp".into()), Needs::default()).await.contains("anybody may write"));
    let options = at(dir.path().join("scratch"));
    let needs = Needs { bytes: u64::MAX, ..Needs::default() };
    let what = refused(&options, needs).await;
    assert!(what.contains("needs") && what.contains("free"), "{what}");
    let max = policy::Scratch { max: Some(Size(1 << 20)), ..options.clone() };
    let what = refused(&max, Needs { bytes: 3 << 20, ..Needs::default() }).await;
    assert!(what.contains("3.0 MiB") && what.contains("1MiB"), "{what}");
    fs::write(dir.path().join("holdfast.json"), b"{}").unwrap();
    assert!(refused(&options, Needs::default()).await.contains("a repository"));
    assert_eq!(listed(&dir.path().join("scratch")), 0);
}

#[tokio::test]
async fn what_is_large_goes_where_somebody_chose() {
    let dir = place();
    let (unstated, usual) = (policy::Scratch::default(), dir.path().join("cache/drills"));
    let make = |needs| Scratch::make(&unstated, &usual, owner(), needs);
    let cluster = make(Needs { cluster: true, ..Needs::default() }).await.unwrap_err();
    assert!(cluster.what.contains("scratch.path"), "{cluster:?}");
    let large = make(Needs { bytes: 11 << 30, ..Needs::default() }).await.unwrap_err();
    assert!(large.what.contains("11.0 GiB") && large.what.contains("scratch.path"), "{large:?}");
    let scratch = make(Needs { bytes: 1 << 20, ..Needs::default() }).await.unwrap();
    assert!(scratch.path().starts_with(&usual));
}

#[tokio::test]
async fn little_may_lie_beside_a_database_and_much_may_not() {
    let dir = place();
    if rustix::fs::statfs(dir.path()).unwrap().f_type == 0x0102_1994 {
        // In memory other rules apply first.
        return;
    }
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let repository = Some(dir.path().to_owned());
    let needs = |bytes, repository| Needs {
        bytes,
        repository,
        data_directories: vec![data.clone()],
        ..Needs::default()
    };
    let seen = fs::metadata(&data).map(|_| rustix::fs::statvfs(&data).unwrap()).unwrap();
    let most = seen.f_bavail * seen.f_frsize / 10 * 9;
    // Nobody runs there.
    assert!(make(&below(&dir), needs(most, None)).await.unwrap().notes().is_empty());
    fs::remove_dir_all(dir.path().join("scratch")).unwrap();
    fs::create_dir(dir.path().join("scratch")).unwrap();
    fs::write(data.join("postmaster.pid"), b"1").unwrap();
    let what = refused(&below(&dir), needs(most, None)).await;
    assert!(what.contains("running database"), "{what}");
    fs::remove_file(data.join("postmaster.pid")).unwrap();
    assert!(refused(&below(&dir), needs(most, repository.clone())).await.contains("the repository"));
    let allowed = policy::Scratch { allow_same_filesystem: true, ..below(&dir) };
    let scratch = make(&allowed, needs(most, repository.clone())).await.unwrap();
    assert!(scratch.notes()[0].contains("the repository"));
    scratch.remove().await;
    assert_eq!(make(&below(&dir), needs(1, repository)).await.unwrap().notes().len(), 1);
}

/// A tree that does not want to go; what lies outside has to stay.
fn resist(folder: &Path, outside: &Path) {
    symlink(outside, folder.join("link")).unwrap();
    symlink("/", folder.join("root")).unwrap();
    fs::create_dir_all(folder.join("closed/inside")).unwrap();
    fs::write(folder.join("closed/inside/file"), b"x").unwrap();
    symlink(outside, folder.join("closed/link")).unwrap();
    fs::write(folder.join("plain"), b"x").unwrap();
    fs::set_permissions(folder.join("plain"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.join("closed/inside"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.join("closed"), Permissions::from_mode(0o500)).unwrap();
    let mut deep = folder.to_owned();
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), b"x").unwrap();
    // Not everybody may set it.
    let fixed = folder.join("fixed");
    fs::write(&fixed, b"x").unwrap();
    let _ = std::process::Command::new("chattr").arg("+i").arg(&fixed).output();
}

#[tokio::test]
async fn a_tree_that_resists_is_removed_and_links_are_not_followed() {
    let (dir, outside) = (place(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("stays"), b"x").unwrap();
    let mut scratch = make(&below(&dir), Needs::default()).await.unwrap();
    let folder = scratch.folder("tree").unwrap();
    resist(&folder, outside.path());
    let (lines, finding) = scratch.remove().await;
    assert!(finding.is_none(), "{finding:?}");
    assert!(lines.iter().any(|line| line.contains("flags or permissions")), "{lines:?}");
    assert_eq!(listed(&dir.path().join("scratch")), 0);
    assert!(outside.path().join("stays").exists());
}

#[tokio::test]
async fn only_what_a_dead_drill_left_is_a_leak() {
    let dir = place();
    let options = below(&dir);
    let at = options.path.clone().unwrap();
    let found = |now| leaks(&at, "web1", now);
    let scratch = make(&options, Needs::default()).await.unwrap();
    let path = scratch.path().to_owned();
    assert_eq!(found(NOW), []);
    // Without a marker, with another name, a link: never touched.
    fs::create_dir(at.join("drill-without")).unwrap();
    fs::create_dir(at.join("other")).unwrap();
    fs::copy(path.join(MARKER), at.join("other").join(MARKER)).unwrap();
    leaks::tests::orphan(&at.join("other"));
    symlink(at.join("other"), at.join("drill-link")).unwrap();
    assert_eq!(found(NOW), []);
    leaks::tests::orphan(&path);
    let week = NOW + SignedDuration::from_hours(8 * 24);
    // From another host nobody sees whether it runs.
    assert_eq!(leaks(&at, "web2", NOW), []);
    assert_eq!(leaks(&at, "web2", week).len(), 1);
    let [leak] = found(NOW).try_into().unwrap();
    assert!(leak.why.contains("killed") && !leak.kept, "{leak:?}");
    let (lines, finding) = leak.remove().await;
    assert!(finding.is_none() && lines[0].contains("left behind"), "{lines:?}");
    assert!(!path.exists() && at.join("other").join(MARKER).exists() && at.join("drill-without").exists());
}

#[tokio::test]
async fn what_is_kept_is_kept_so_long_and_no_longer() {
    let dir = place();
    let options =
        policy::Scratch { keep_on_failure: Some(Span(std::time::Duration::from_secs(3600))), ..below(&dir) };
    let at = options.path.clone().unwrap();
    let scratch = make(&options, Needs::default()).await.unwrap();
    let path = scratch.path().to_owned();
    let until = NOW + SignedDuration::from_hours(1);
    let lines = scratch.keep(until).unwrap();
    assert!(lines[0].contains(&path.display().to_string()) && lines[0].contains("kept until"), "{lines:?}");
    leaks::tests::orphan(&path);
    assert_eq!(leaks(&at, "web1", until - SignedDuration::from_secs(1)), []);
    let [leak] = leaks(&at, "web1", until).try_into().unwrap();
    assert!(leak.kept);
    leak.remove().await;
    assert!(!path.exists());
}
