//! A store that lies: it shows an older state, two histories to two hosts, or leaves out what is there.
//!
//! And what looks like a lie and is none: whoever publishes, repairs or lags behind on the same host
//! accuses nobody. On purpose not here: bytes that were changed ([`crate::check`] finds those).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::error::{ErrorKind, Result};
use crate::maintain::{ForgetOptions, ForgetWhat, RepairIndexOptions, forget, prune, repair_index};
use crate::protocol_tests::harness::{
    ModelSource, Node, Stepped, SteppedStore, Tree, World, noise, pruning, run, secret,
};
use crate::repository::Repository;
use crate::workers::Workers;
use crate::{NewKey, RollBack, Secret, admit};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::id::SessionId;
use holdfast_core::keys::Role;
use holdfast_store::{ByteRange, Key, MemoryStore, ObjectMeta, ObjectStore, Put, StoreError, Upload};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn tree(number: u64) -> Tree {
    let mut tree = Tree::default();
    // Of different lengths: what looks unchanged is not read again.
    tree.put("large", Node::file(noise(number, 300_000 + number as usize)));
    tree.put("small", Node::file(noise(number + 100, 5_000 + number as usize)));
    tree
}

async fn maintain(world: &World, repository: &Repository, id: SessionId) {
    let what = ForgetWhat::Snapshots(vec![id]);
    let forgets = ForgetOptions { what, allow_last: true, dry_run: false, proven: BTreeSet::new() };
    forget(&world.ctx(), repository, &forgets).await.unwrap();
    prune(&world.ctx(), repository, &pruning()).await.unwrap();
}

/// Puts a state in the place of what is there, as far as names begin so.
fn put_back(world: &World, state: &BTreeMap<Key, Bytes>, prefix: &str) {
    for key in world.names(prefix) {
        world.store.remove_raw(&key);
    }
    for (key, body) in state.iter().filter(|(key, _)| key.as_str().starts_with(prefix)) {
        world.store.insert_raw(key.clone(), body.clone());
    }
}

async fn refused(world: &World) {
    let kind = async |work: Result<()>| assert_eq!(work.unwrap_err().kind, ErrorKind::RolledBack);
    let repository = match world.open_on(Arc::new(world.store.clone())).await {
        Ok(repository) => repository,
        Err(error) => return assert_eq!(error.kind, ErrorKind::RolledBack, "{error}"),
    };
    kind(world.backup_with(&repository, ModelSource::new(&tree(9)), &world.options()).await.map(drop)).await;
    kind(prune(&world.ctx(), &repository, &pruning()).await.map(drop)).await;
    let listed = crate::snapshots(&world.ctx(), &repository, &crate::SnapshotFilter::default()).await;
    let error = listed.unwrap_err();
    assert!(error.what.contains("--accept-rollback"), "{error}");
    kind(Err(error)).await;
}

async fn accept(world: &World) -> Repository {
    let store = Arc::new(world.store.clone());
    Repository::open_or_accept(&world.ctx(), store, &secret(), RollBack::Accept).await.unwrap()
}

/// A repository that was maintained, and its states: before the last maintenance, and after.
async fn maintained() -> (World, BTreeMap<Key, Bytes>, BTreeMap<Key, Bytes>) {
    let (world, repository) = World::made(Workers::inline()).await;
    let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
    let second = world.keep(&repository, &tree(2)).await.snapshot.unwrap();
    maintain(&world, &repository, first).await;
    let before = world.store.objects();
    world.keep(&repository, &tree(3)).await;
    maintain(&world, &repository, second).await;
    let after = world.store.objects();
    (world, before, after)
}

#[test]
fn an_older_state_is_refused_until_it_is_accepted() {
    run(|| async {
        let (world, before, _) = maintained().await;
        put_back(&world, &before, "");
        refused(&world).await;
        assert_eq!(world.store.objects(), before, "nothing was written");
        let repository = accept(&world).await;
        let newest = world.newest(&repository).await;
        world.assert_restores(&repository, &newest, &tree(2)).await;
        // It is remembered from now on, without being asked again.
        let repository = world.open().await;
        world.keep(&repository, &tree(4)).await;
        prune(&world.ctx(), &repository, &pruning()).await.unwrap();
        world.assert_sound(&world.open().await).await;
    });
}

#[test]
fn without_a_cache_nothing_is_remembered() {
    run(|| async {
        let (world, before, _) = maintained().await;
        put_back(&world, &before, "");
        let ctx = crate::ctx::Ctx { cache: None, ..world.ctx() };
        let repository = Repository::open(&ctx, Arc::new(world.store.clone()), &secret()).await.unwrap();
        world.newest(&repository).await;
    });
}

#[test]
fn roots_alone_that_were_put_back_are_refused_and_repaired() {
    run(|| async {
        let (world, before, _) = maintained().await;
        put_back(&world, &before, "roots/");
        refused(&world).await;
        // Or there are none at all.
        put_back(&world, &BTreeMap::new(), "roots/");
        refused(&world).await;
        let repository = world.open().await;
        repair_index(&world.ctx(), &repository, RepairIndexOptions::default()).await.unwrap();
        let newest = world.newest(&repository).await;
        world.assert_restores(&repository, &newest, &tree(3)).await;
        world.keep(&world.open().await, &tree(4)).await;
    });
}

#[test]
fn two_histories_are_told_apart() {
    run(|| async {
        for longer in [false, true] {
            let (world, repository) = World::made(Workers::inline()).await;
            let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
            world.keep(&repository, &tree(2)).await;
            let other = world.fork(7);
            maintain(&world, &repository, first).await;
            let there = other.open().await;
            maintain(&other, &there, first).await;
            if longer {
                let last = other.keep(&there, &tree(3)).await.snapshot.unwrap();
                maintain(&other, &there, last).await;
            }
            put_back(&world, &other.store.objects(), "");
            refused(&world).await;
            let repository = accept(&world).await;
            world.assert_restores(&repository, &world.newest(&repository).await, &tree(2)).await;
        }
    });
}

#[test]
fn members_that_are_withheld_are_missed() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let key = NewKey { secret: Secret::KeyFile(vec![9; 32]), label: None, cost: None };
        admit(&world.ctx(), &repository, Role::Writer, &key).await.unwrap();
        world.open().await;
        let entry = world.names("members/").pop().unwrap();
        let bytes = world.store.remove_raw(&entry).unwrap();
        let error = world.open_on(Arc::new(world.store.clone())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RolledBack, "{error}");
        assert!(error.what.contains("members"), "{error}");
        world.store.insert_raw(entry, bytes);
        world.open().await;
    });
}

#[test]
fn another_description_of_the_same_repository_is_refused() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let name = Key::new("holdfast.json").unwrap();
        let description = repository.description().clone();
        let features = holdfast_core::repository::Features {
            compat: vec!["another".into()],
            ..description.features.clone()
        };
        let other = holdfast_core::repository::Repository { features, ..description };
        world.open().await;
        world.store.remove_raw(&name);
        world.store.insert_raw(name, other.encode().into_bytes());
        let error = world.open_on(Arc::new(world.store.clone())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RolledBack, "{error}");
    });
}

/// A store that leaves something out of its listings, or shows them in another order.
struct Lying {
    store: MemoryStore,
    hides: Hides,
    reverses: bool,
}

/// Which names.
type Hides = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl std::fmt::Debug for Lying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lying")
    }
}

impl Lying {
    fn hiding(store: &MemoryStore, hides: impl Fn(&str) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { store: store.clone(), hides: Box::new(hides), reverses: false })
    }
}

#[async_trait]
impl ObjectStore for Lying {
    fn location(&self) -> String {
        self.store.location()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> std::result::Result<Put, StoreError> {
        self.store.put_new(key, body).await
    }

    async fn begin(&self, key: &Key) -> std::result::Result<Box<dyn Upload>, StoreError> {
        self.store.begin(key).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> std::result::Result<Bytes, StoreError> {
        self.store.get(key, range).await
    }

    async fn head(&self, key: &Key) -> std::result::Result<Option<ObjectMeta>, StoreError> {
        self.store.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> std::result::Result<Vec<ObjectMeta>, StoreError> {
        let mut all = self.store.list(prefix, after, usize::MAX).await?;
        all.retain(|meta| !(self.hides)(meta.key.as_str()));
        if self.reverses {
            all.reverse();
        }
        all.truncate(limit);
        Ok(all)
    }

    async fn delete(&self, key: &Key) -> std::result::Result<(), StoreError> {
        self.store.delete(key).await
    }
}

#[test]
fn a_listing_of_roots_that_lags_behind_is_no_older_state() {
    run(|| async {
        let (world, ..) = maintained().await;
        for hides in
            [|name: &str| name.starts_with("roots/"), |name: &str| name.starts_with("roots/fffffffffffffff9")]
        {
            let store = Lying::hiding(&world.store, hides);
            let repository = world.open_on(store).await.unwrap();
            world.assert_restores(&repository, &world.newest(&repository).await, &tree(3)).await;
        }
    });
}

#[test]
fn listings_that_leave_something_out_free_nothing() {
    run(|| async {
        for prefix in ["sessions/", "packs/", "index/segment/", "snapshots/", "lists/"] {
            let (world, ..) = maintained().await;
            let repository = world.open().await;
            world.keep(&repository, &tree(4)).await;
            let before = world.names("packs/");
            let hides: fn(&str) -> bool = match prefix {
                "sessions/" => |name| name.starts_with("sessions/"),
                "packs/" => |name| name.starts_with("packs/"),
                "snapshots/" => |name| name.starts_with("snapshots/"),
                "lists/" => |name| name.starts_with("lists/"),
                _ => |name| name.starts_with("index/segment/"),
            };
            let store = Lying::hiding(&world.store, hides);
            let lied_to = world.open_on(store).await.unwrap();
            let pruned = prune(&world.ctx(), &lied_to, &pruning()).await;
            // Packs that no listing shows are neither condemned nor deleted.
            let is_refused = matches!(prefix, "sessions/" | "packs/");
            assert!(pruned.is_err() || !is_refused, "{prefix}");
            assert_eq!(world.names("packs/"), before, "{prefix}");
            world.assert_restores(&repository, &world.newest(&repository).await, &tree(4)).await;
        }
    });
}

#[test]
fn a_listing_that_leaves_one_session_out_frees_nothing_of_it() {
    run(|| async {
        for ends in [true, false] {
            let (world, ..) = maintained().await;
            let repository = world.open().await;
            let mut many = tree(4);
            for at in 0..10 {
                many.put(&format!("large/{at}"), Node::file(noise(900 + at, 300_000)));
            }
            let mut source = ModelSource::new(&many);
            if !ends {
                source = source.failing_after(9).batches_of(1);
            }
            let ended = world.backup_with(&repository, source, &World::bare()).await;
            assert_eq!(ended.is_ok(), ends);
            let newest = world.newest(&repository).await;
            let session = repository.view().await.unwrap().sessions.into_keys().max_by_key(|name| name.epoch);
            let session = session.unwrap().session.to_string();
            let before = world.names("packs/");
            let hidden = session.clone();
            let store = Lying::hiding(&world.store, move |name| {
                name.contains(&hidden) && !name.starts_with("packs/")
            });
            let lied_to = world.open_on(store).await.unwrap();
            let error = prune(&world.ctx(), &lied_to, &pruning()).await.unwrap_err();
            assert!(error.what.contains("leaves out sessions/") && error.what.contains(&session), "{error}");
            assert_eq!(world.names("packs/"), before);
            assert_eq!(world.newest(&world.open().await).await.id, newest.id);
        }
    });
}

#[test]
fn a_listing_in_another_order_changes_nothing() {
    run(|| async {
        let (world, ..) = maintained().await;
        let store =
            Arc::new(Lying { store: world.store.clone(), hides: Box::new(|_| false), reverses: true });
        let lied_to = world.open_on(store).await.unwrap();
        world.keep(&lied_to, &tree(4)).await;
        for _ in 0..3 {
            prune(&world.ctx(), &lied_to, &pruning()).await.unwrap();
        }
        let repository = world.open().await;
        world.assert_restores(&repository, &world.newest(&repository).await, &tree(4)).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn two_hosts_that_a_store_keeps_apart_notice_it_once_either_sees_the_other_s_state() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        world.keep(&repository, &tree(2)).await;
        // From here on each has a store of its own, and its own root of the same number.
        let other = world.fork(7);
        let there = other.open().await;
        maintain(&world, &repository, first).await;
        maintain(&other, &there, first).await;
        let roots = [repository.newest().await.unwrap(), there.newest().await.unwrap()];
        assert_eq!(roots[0].root.number, roots[1].root.number);
        assert_ne!(roots[0].hash, roots[1].hash);
        // While it keeps them apart neither can know.
        world.keep(&world.open().await, &tree(3)).await;
        other.keep(&other.open().await, &tree(4)).await;
        let (ours, theirs) = (world.store.objects(), other.store.objects());
        put_back(&world, &theirs, "");
        put_back(&other, &ours, "");
        refused(&world).await;
        refused(&other).await;
    });
}

#[test]
fn whoever_works_beside_others_on_one_host_accuses_nobody() {
    run(|| async {
        let (start, repository) = World::made(Workers::inline()).await;
        let first = start.keep(&repository, &tree(1)).await.snapshot.unwrap();
        start.keep(&repository, &tree(2)).await;
        let forgets = ForgetOptions {
            what: ForgetWhat::Snapshots(vec![first]),
            allow_last: true,
            dry_run: false,
            proven: BTreeSet::new(),
        };
        forget(&start.ctx(), &repository, &forgets).await.unwrap();
        let opened = |world: &World| {
            let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
            let mut opening = Stepped::new(async move { Repository::open(&ctx, store, &secret()).await });
            opening.go(usize::MAX);
            opening.result.unwrap().unwrap()
        };
        for calls in 1..6 {
            let world = start.fork(calls);
            let backup = |number: u64| {
                let (ctx, repository, options) = (world.ctx(), opened(&world), world.options());
                let source = ModelSource::new(&tree(number)).of(&format!("host{number}"), "/model");
                Stepped::new(async move {
                    crate::backup(&ctx, &repository, Box::new(source), &options).await.map(drop)
                })
            };
            let (ctx, repository) = (world.ctx(), opened(&world));
            let pruning = Stepped::new(async move { prune(&ctx, &repository, &pruning()).await.map(drop) });
            let mut runs = [backup(3), backup(4), pruning];
            for round in 0..100_000 {
                if runs.iter().all(|run| run.result.is_some()) {
                    break;
                }
                runs[round % 3].go(if round % 3 == 2 { 1 } else { calls as usize });
            }
            for run in runs {
                // A prune may overtake a backup that cannot read its source again.
                if let Err(error) = run.result.unwrap() {
                    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
                }
            }
            world.assert_sound(&world.open().await).await;
        }
    });
}
