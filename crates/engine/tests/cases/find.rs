//! Finding snapshots, and what is in them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, Trouble, World, run};
use holdfast_core::entry::key_to_path;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    BackupOptions, Repository, Secret, Snapshot, SnapshotFilter, list, resolve, snapshots,
};
use std::sync::Arc;

fn any() -> SnapshotFilter {
    SnapshotFilter::default()
}

fn tree(names: &[&str]) -> Tree {
    let mut tree = Tree::default();
    names.iter().for_each(|name| tree.put(name, Node::file(name.as_bytes())));
    tree
}

#[test]
fn latest_is_the_newest_whole_snapshot_of_the_one_source_that_is_meant() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let ctx = world.ctx();
        let latest = |path: &'static str, filter: SnapshotFilter| {
            let (ctx, repository) = (ctx.clone(), repository.clone());
            async move { resolve(&ctx, &repository, "latest", path.as_bytes(), &filter).await }
        };
        assert_eq!(latest("", any()).await.unwrap_err().kind, ErrorKind::NotFound);
        world.keep(&repository, &tree(&["a/one", "both"])).await;
        let first = world.keep(&repository, &tree(&["a/one", "both", "later"])).await.snapshot.unwrap();
        assert_eq!(latest("", any()).await.unwrap().snapshot.id, first);
        let other = |names: &[&str]| ModelSource::new(&tree(names)).of("second", "/second");
        let options = BackupOptions { tags: vec!["x".into(), "y".into()], ..world.options() };
        let second = world.backup_with(&repository, other(&["b/two", "both"]), &options).await.unwrap();
        let second = second.value.snapshot.unwrap();

        let ambiguous = latest("", any()).await.unwrap_err();
        assert_eq!(ambiguous.kind, ErrorKind::Ambiguous);
        for id in [first, second] {
            assert!(ambiguous.to_string().contains(&id.to_string()[..8]), "{ambiguous}");
        }
        assert_eq!(latest("/both", any()).await.unwrap_err().kind, ErrorKind::Ambiguous);
        assert_eq!(latest("/a", any()).await.unwrap().snapshot.id, first);
        assert_eq!(latest("b/two/", any()).await.unwrap().snapshot.id, second);
        assert_eq!(latest("/neither", any()).await.unwrap_err().kind, ErrorKind::NotFound);
        for filter in [
            SnapshotFilter { hosts: vec!["second".into()], ..any() },
            SnapshotFilter { tags: vec![vec!["z".into()], vec!["x".into(), "y".into()]], ..any() },
            SnapshotFilter { paths: vec![b"/second".to_vec()], ..any() },
            SnapshotFilter { source: Some("/second".into()), ..any() },
        ] {
            assert_eq!(latest("", filter.clone()).await.unwrap().snapshot.id, second);
            assert_eq!(snapshots(&ctx, &repository, &filter).await.unwrap().value.len(), 1);
        }
        let none = SnapshotFilter { tags: vec![vec!["x".into(), "z".into()]], ..any() };
        assert_eq!(latest("", none).await.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn what_lies_in_the_future_is_not_the_latest() {
    run(|| async {
        const TEN_YEARS: i64 = 3653 * 24 * 3600;
        let (world, repository) = World::made(Workers::inline()).await;
        let latest = async || resolve(&world.ctx(), &repository, "latest", b"", &any()).await.unwrap();
        world.clock.advance(TEN_YEARS);
        let wrong = world.keep(&repository, &tree(&["a"])).await.snapshot.unwrap();
        assert!(latest().await.ahead.is_none());
        world.clock.advance(-TEN_YEARS);
        // It may be this clock that is wrong.
        let found = latest().await;
        assert_eq!((found.snapshot.id, found.ahead.map(|ahead| ahead.id)), (wrong, Some(wrong)));
        let right = world.keep(&repository, &tree(&["a", "b"])).await.snapshot.unwrap();
        assert!(world.take_warnings().iter().any(|told| told.contains("one of the two clocks was wrong")));
        let found = latest().await;
        assert_eq!((found.snapshot.id, found.ahead.map(|ahead| ahead.id)), (right, Some(wrong)));
        let named = wrong.to_string();
        let found = resolve(&world.ctx(), &repository, &named, b"", &any()).await.unwrap();
        assert_eq!((found.snapshot.id, found.ahead.is_none()), (wrong, true));
    });
}

#[test]
fn an_incomplete_snapshot_is_passed_over_openly() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let whole = world.keep(&repository, &tree(&["a", "b"])).await.snapshot.unwrap();
        let mut broken = tree(&["a", "b", "c"]);
        broken.node("c").trouble = Trouble::Unreadable;
        let partial = world.backup(&repository, ModelSource::new(&broken)).await.value.snapshot;
        let found = resolve(&world.ctx(), &repository, "latest", b"", &any()).await.unwrap();
        assert_eq!(found.snapshot.id, whole);
        assert_eq!(found.passed_over.map(|snapshot| snapshot.id), partial);
        // Where all are incomplete the newest has to do.
        let (world, repository) = World::made(Workers::inline()).await;
        let _ = world.backup(&repository, ModelSource::new(&broken)).await;
        let partial = world.backup(&repository, ModelSource::new(&broken)).await.value.snapshot;
        let found = resolve(&world.ctx(), &repository, "latest", b"", &any()).await.unwrap();
        assert_eq!((Some(found.snapshot.id), found.passed_over.is_none()), (partial, true));
    });
}

#[test]
fn an_identifier_may_be_cut_while_it_means_one() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut ids = Vec::new();
        for _ in 0..17 {
            ids.push(world.keep(&repository, &tree(&["a"])).await.snapshot.unwrap().to_string());
        }
        let ctx = world.ctx();
        for id in &ids {
            for text in [&id[..], &id[..12]] {
                let found = resolve(&ctx, &repository, text, b"", &any()).await.unwrap();
                assert_eq!(found.snapshot.id.to_string(), *id);
            }
        }
        let shared = (0..16).map(|digit| format!("{digit:x}"));
        let shared =
            shared.max_by_key(|digit| ids.iter().filter(|id| id.starts_with(digit)).count()).unwrap();
        for (text, kind) in [
            (&shared[..], ErrorKind::Ambiguous),
            ("", ErrorKind::Ambiguous),
            ("nonsense", ErrorKind::NotFound),
            ("../../x", ErrorKind::NotFound),
        ] {
            assert_eq!(resolve(&ctx, &repository, text, b"", &any()).await.unwrap_err().kind, kind, "{text}");
        }
    });
}

async fn listed(
    repository: &Repository,
    world: &World,
    at: &Snapshot,
    path: &str,
    deep: bool,
) -> Vec<String> {
    let mut paths = Vec::new();
    let mut visit = |entry: &holdfast_core::entry::Entry| {
        paths.push(String::from_utf8_lossy(&key_to_path(&entry.key)).into_owned());
    };
    list(&world.ctx(), repository, at, path.as_bytes(), deep, &mut visit).await.unwrap();
    paths
}

#[test]
fn a_listing_shows_a_path_and_what_lies_below_it() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = tree(&["a", "b/c", "b/d/e", "b/d/f", "b.txt", "z"]);
        world.keep(&repository, &tree).await;
        let at = world.newest(&repository).await;
        let show = |path, deep| listed(&repository, &world, &at, path, deep);
        assert_eq!(show("", false).await, ["a", "b", "b.txt", "z"]);
        assert_eq!(show("/", true).await.len(), tree.0.len());
        assert_eq!(show("/b", false).await, ["b", "b/c", "b/d"]);
        assert_eq!(show("b/", true).await, ["b", "b/c", "b/d", "b/d/e", "b/d/f"]);
        assert_eq!(show("/b/d/e", false).await, ["b/d/e"]);
        for path in ["/x", "/b/", "/b/d/g", "/a/b"].iter().filter(|path| **path != "/b/") {
            let missing = list(&world.ctx(), &repository, &at, path.as_bytes(), true, &mut |_| {}).await;
            assert_eq!(missing.unwrap_err().kind, ErrorKind::NotFound, "{path}");
        }
    });
}

#[test]
fn a_repository_is_opened_by_its_password_and_by_no_other() {
    run(|| async {
        let world = World::new(Workers::inline());
        let (ctx, store) = (world.ctx(), Arc::new(world.store.clone()));
        let password = |text: &str| Secret::Password(text.as_bytes().to_vec());
        let missing = Repository::open(&ctx, store.clone(), &password("right")).await;
        assert_eq!(missing.unwrap_err().kind, ErrorKind::NoRepository);
        let options = World::init_options();
        let made = Repository::create(&ctx, store.clone(), &password("right"), &options).await.unwrap();
        let again = Repository::create(&ctx, store.clone(), &password("right"), &options).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::RepositoryExists);
        let opened = Repository::open(&ctx, store.clone(), &password("right")).await.unwrap();
        assert_eq!(opened.id(), made.id());
        for wrong in
            [password("wrong"), password(""), Secret::KeyFile(b"right".to_vec()), crate::harness::secret()]
        {
            let refused = Repository::open(&ctx, store.clone(), &wrong).await;
            assert_eq!(refused.unwrap_err().kind, ErrorKind::WrongKey, "{wrong:?}");
        }
    });
}
