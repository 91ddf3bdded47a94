//! Members come and go beside whoever writes: what was reported stays, who was removed commits nothing more, and
//! what was cut off harms nobody and can be ended.
//!
//! On purpose not here: new keys for those who stay (`rotation`).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{
    COST, ModelSource, Node, Stepped, SteppedStore, Tree, World, chain, key_file, noise, pruning, run, secret,
};
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::keys::Role;
use holdfast_engine::ctx::Ctx;
use holdfast_engine::error::{Error, ErrorKind, Result};
use holdfast_engine::evidence::{append, records};
use holdfast_engine::maintain::{ForgetOptions, ForgetWhat, RepairIndexOptions, forget, prune, repair_index};
use holdfast_engine::wal::{SegmentName, Timeline, WalArchive, WalListed, WalName};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    BackupReport, NewKey, Repository, RestoreOptions, Secret, Snapshot, SnapshotFilter, add_key, admit,
    backup, keys, last_slot_of, members, remove_key, remove_member, rotate, snapshots,
};
use holdfast_store::fault::{Call, Fault};
use holdfast_store::{FaultStore, Key, ObjectStore, Put};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn new(byte: u8) -> NewKey {
    NewKey { secret: key_file(byte), label: Some(format!("key {byte}")), cost: Some(COST) }
}

pub(super) fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    tree.put("file", Node::file(noise(salt, 9_000)));
    tree.put("large", Node::file(noise(salt + 50, 300_000)));
    tree
}

pub(super) async fn open(world: &World, byte: u8) -> Result<Repository> {
    open_on(world, Arc::new(world.store.clone()), byte).await
}

async fn open_on(world: &World, store: Arc<dyn ObjectStore>, byte: u8) -> Result<Repository> {
    Repository::open(&world.ctx(), store, &key_file(byte)).await
}

/// A new member, that opened the repository.
pub(super) async fn admitted(world: &World, owner: &Repository, role: Role, byte: u8) -> Repository {
    let key = admit(&world.ctx(), owner, role, &new(byte)).await.unwrap();
    assert_eq!((key.role, key.is_removed), (role, false));
    open(world, byte).await.unwrap()
}

/// Backs up a source of a host of its own, without a cache.
pub(super) async fn back_up(world: &World, repository: &Repository, salt: u64) -> Result<BackupReport> {
    let (source, options) = source(salt);
    world.backup_with(repository, source, &options).await.map(|outcome| outcome.value)
}

fn source(salt: u64) -> (ModelSource, holdfast_engine::BackupOptions) {
    (ModelSource::new(&tree(salt)).of(&format!("host {salt}"), "/srv"), World::bare())
}

/// A backup that goes on call by call.
pub(super) fn stepped_backup(
    world: &World,
    repository: &Repository,
    salt: u64,
) -> Stepped<Result<BackupReport>> {
    let (ctx, repository, (source, options)) = (world.ctx(), repository.clone(), source(salt));
    Stepped::new(async move {
        backup(&ctx, &repository, Box::new(source), &options).await.map(|outcome| outcome.value)
    })
}

pub(super) async fn ids(world: &World, repository: &Repository) -> BTreeSet<SessionId> {
    world.snapshots(repository).await.iter().map(|snapshot| snapshot.id).collect()
}

/// Every snapshot comes back as the tree of its host.
pub(super) async fn assert_all_restore(world: &World, repository: &Repository) {
    for snapshot in world.snapshots(repository).await {
        let salt = snapshot.summary.host.trim_start_matches("host ").parse().unwrap();
        world.assert_restores(repository, &snapshot, &tree(salt)).await;
    }
}

fn faulty(world: &World, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> FaultStore {
    FaultStore::new(Arc::new(world.store.clone()), plan)
}

pub(super) fn member_of(world: &World, owner: &Repository, role: Role) -> MemberId {
    let _ = world;
    members(owner).into_iter().find(|member| member.role == role && !member.is_own).unwrap().id
}

#[test]
fn each_role_does_what_it_may_and_nothing_else() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        back_up(&world, &owner, 1).await.unwrap();
        let writer = admitted(&world, &owner, Role::Writer, 8).await;
        let reader = admitted(&world, &owner, Role::Reader, 9).await;
        let maintainer = admitted(&world, &owner, Role::Maintainer, 10).await;
        let refused = |error: Error| {
            assert_eq!(error.kind, ErrorKind::NotAllowed, "{}", chain(&error));
        };
        let own = back_up(&world, &writer, 2).await.unwrap().snapshot.unwrap();
        for repository in [&owner, &writer, &reader, &maintainer] {
            assert_eq!(ids(&world, repository).await.len(), 2);
        }
        assert_all_restore(&world, &reader).await;
        let (all, options) = (world.snapshots(&writer).await, RestoreOptions::default());
        assert!(all.iter().any(|snapshot| snapshot.id == own));
        for repository in [&writer, &maintainer] {
            for snapshot in &all {
                let restored = world.restore(repository, snapshot, &options).await;
                let nothing = restored.map_or(true, |(restored, _)| restored.items.is_empty());
                assert!(nothing, "a key without data keys restores");
            }
        }
        for repository in [&reader, &maintainer] {
            refused(back_up(&world, repository, 3).await.unwrap_err());
        }
        for repository in [&reader, &writer, &maintainer] {
            refused(admit(&world.ctx(), repository, Role::Owner, &new(11)).await.unwrap_err());
            refused(rotate(&world.ctx(), repository).await.unwrap_err());
            let other = member_of(&world, repository, Role::Owner);
            refused(remove_member(&world.ctx(), repository, other).await.unwrap_err());
        }
        for repository in [&reader, &writer] {
            refused(prune(&world.ctx(), repository, &pruning()).await.unwrap_err());
        }
        append(&world.ctx(), &reader, "drill", b"{}").await.unwrap();
        world.assert_sound(&owner).await;
        assert_eq!(members(&owner).len(), 4);
    });
}

#[test]
fn who_fetches_logs_opens_those_and_nothing_else() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        back_up(&world, &owner, 1).await.unwrap();
        let name = |place| {
            let segment = SegmentName { timeline: 1, place };
            WalName::whole(Timeline::new(7, 1, b""), segment.to_string())
        };
        let archive = |repository: &Repository| WalArchive::new(&world.ctx(), repository);
        let writer = admitted(&world, &owner, Role::Writer, 8).await;
        archive(&writer).put(&name(1), noise(1, 5_000)).await.unwrap();
        let standby = admitted(&world, &owner, Role::LogReader, 9).await;
        let reader = admitted(&world, &owner, Role::Reader, 10).await;
        rotate(&world.ctx(), &owner).await.unwrap();
        let writer_again = open(&world, 8).await.unwrap();
        archive(&writer_again).put(&name(2), noise(2, 5_000)).await.unwrap();
        for repository in [&standby, &reader, &owner] {
            for place in [1, 2] {
                let content = archive(repository).get(&name(place)).await.unwrap().unwrap();
                assert_eq!(content, noise(place, 5_000));
            }
            assert_eq!(archive(repository).list(None).await.unwrap().len(), 2);
        }
        let all = world.snapshots(&owner).await;
        let before = world.names("");
        let refused = |error: Error| {
            assert_eq!(error.kind, ErrorKind::NotAllowed, "{}", chain(&error));
            assert!(chain(&error).contains("reader:wal"), "{}", chain(&error));
        };
        refused(archive(&standby).put(&name(3), noise(3, 10)).await.unwrap_err());
        refused(back_up(&world, &standby, 3).await.unwrap_err());
        refused(world.restore(&standby, &all[0], &RestoreOptions::default()).await.map(drop).unwrap_err());
        refused(snapshots(&world.ctx(), &standby, &SnapshotFilter::default()).await.map(drop).unwrap_err());
        refused(prune(&world.ctx(), &standby, &pruning()).await.map(drop).unwrap_err());
        assert_eq!(
            append(&world.ctx(), &standby, "drill", b"{}").await.unwrap_err().kind,
            ErrorKind::NotAllowed
        );
        assert_eq!(world.names(""), before, "something was written");
        // Who opens no root cannot tell when a removed member put its log: it counts, and is fetched.
        remove_member(&world.ctx(), &owner, member_of(&world, &owner, Role::Writer)).await.unwrap();
        let standby = open(&world, 9).await.unwrap();
        assert_eq!(archive(&standby).list(None).await.unwrap().len(), 2);
        assert_eq!(archive(&standby).get(&name(2)).await.unwrap().unwrap(), noise(2, 5_000));
        // Once it is shut out and the keys are rotated, what comes later is closed to it.
        remove_member(&world.ctx(), &owner, member_of(&world, &owner, Role::LogReader)).await.unwrap();
        assert_eq!(open(&world, 9).await.unwrap_err().kind, ErrorKind::WrongKey);
        rotate(&world.ctx(), &owner).await.unwrap();
        archive(&owner).put(&name(4), noise(4, 10)).await.unwrap();
        let closed = archive(&standby).get(&name(4)).await.unwrap_err();
        assert!(chain(&closed).contains("key epoch 2"), "{}", chain(&closed));
        world.assert_sound(&owner).await;
    });
}

/// What earlier versions made has no key for logs alone: one is made by rotating, for what comes from
/// then on.
#[test]
fn an_older_repository_has_to_rotate_its_keys_before_it_admits_who_fetches_logs() {
    run(|| async {
        let world = World::new(Workers::inline());
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/draft-1");
        put_all(&world, &golden, "").await;
        let (ctx, store) = (world.ctx(), Arc::new(world.store.clone()));
        let owner = Repository::open(&ctx, store, &Secret::Password(b"golden".to_vec())).await.unwrap();
        let refused = admit(&ctx, &owner, Role::LogReader, &new(9)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Usage);
        assert!(refused.what.contains("holdfast key rotate"), "{}", refused.what);
        rotate(&ctx, &owner).await.unwrap();
        let standby = admitted(&world, &owner, Role::LogReader, 9).await;
        let archive = |repository: &Repository| WalArchive::new(&ctx, repository);
        let old = archive(&owner).list(None).await.unwrap();
        assert!(!old.is_empty());
        for WalListed { name, .. } in &old {
            assert!(archive(&owner).get(name).await.unwrap().is_some());
            let closed = archive(&standby).get(name).await.unwrap_err();
            assert!(
                chain(&closed).contains("it holds no key for this part of the log"),
                "{}",
                chain(&closed)
            );
        }
        let name = WalName::whole(old[0].name.timeline, "000000010000000000000009");
        archive(&owner).put(&name, noise(1, 100)).await.unwrap();
        assert_eq!(archive(&standby).get(&name).await.unwrap(), Some(noise(1, 100)));
    });
}

/// Stores all files below a folder under their names.
async fn put_all(world: &World, folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, name) =
            entry.map(|entry| (entry.path(), entry.file_name().into_string().unwrap())).unwrap();
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            Box::pin(put_all(world, &path, &format!("{name}/"))).await;
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let stored = world.store.put_new(&Key::new(name).unwrap(), bytes.into()).await.unwrap();
            assert_eq!(stored, Put::Created);
        }
    }
}

/// Opens a world's store so that each call takes a turn.
pub(super) fn open_stepped(world: &World, secret: Secret) -> Repository {
    let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
    let mut opening = Stepped::new(async move { Repository::open(&ctx, store, &secret).await });
    opening.go(usize::MAX);
    opening.result.unwrap().unwrap()
}

/// An owner and a writer, each with a snapshot; the writer opened it through a store that takes
/// turns.
async fn owner_and_writer(seed: u64) -> (World, Repository, MemberId, Repository) {
    let (start, owner) = World::made(Workers::inline()).await;
    let writer = admitted(&start, &owner, Role::Writer, 8).await;
    back_up(&start, &owner, 1).await.unwrap();
    back_up(&start, &writer, 2).await.unwrap();
    let world = start.fork(seed);
    let [owner, writer] = [secret(), key_file(8)].map(|secret| open_stepped(&world, secret));
    let member = member_of(&world, &owner, Role::Writer);
    (world, owner, member, writer)
}

/// How many calls of the store an owner's verb makes.
pub(super) async fn calls_of<T>(
    start: &World,
    verb: impl AsyncFnOnce(&Ctx, &Repository) -> Result<T>,
) -> u64 {
    let store = faulty(&start.fork(2), |_| Fault::None);
    let owner = Repository::open(&start.ctx(), Arc::new(store.clone()), &secret()).await.unwrap();
    verb(&start.ctx(), &owner).await.unwrap();
    store.calls()
}

/// The verb, by an owner that dies at this call.
pub(super) async fn dies_at<T>(
    world: &World,
    at: u64,
    verb: impl AsyncFnOnce(&Ctx, &Repository) -> Result<T>,
) {
    let plan = move |call: &Call| if call.number == at { Fault::Crash } else { Fault::None };
    let store = Arc::new(faulty(world, plan));
    if let Ok(owner) = Repository::open(&world.ctx(), store, &secret()).await {
        assert!(verb(&world.ctx(), &owner).await.is_err(), "call {at}");
    }
}

/// What the writer was told is what everybody sees, and it is out.
async fn assert_told(world: &World, told: &Result<BackupReport>, thorough: bool, what: &str) {
    let owner = world.open().await;
    let all = world.snapshots(&owner).await;
    let hosts: Vec<_> = all.iter().map(|snapshot| &*snapshot.summary.host).collect();
    let expected = if told.is_ok() { 3 } else { 2 };
    assert_eq!(hosts.len(), expected, "{what}: {hosts:?}, {told:?}");
    assert!(hosts.contains(&"host 2"), "{what}: what it had committed before is lost");
    if let Err(error) = told {
        assert_eq!(error.kind, ErrorKind::NotAllowed, "{what}: {}", chain(error));
        assert!(error.to_string().contains("removed"), "{what}: {error}");
    }
    assert_eq!(open(world, 8).await.unwrap_err().kind, ErrorKind::WrongKey, "{what}: its slot is gone");
    assert_all_restore(world, &owner).await;
    if !thorough {
        return;
    }
    world.assert_sound(&owner).await;
    for _ in 0..2 {
        prune(&world.ctx(), &owner, &pruning()).await.unwrap();
    }
    assert_eq!(world.snapshots(&owner).await.len(), expected, "{what}");
    assert_all_restore(world, &owner).await;
    world.assert_sound(&owner).await;
}

fn stepped_removal(world: &World, owner: &Repository, member: MemberId) -> Stepped<Result<()>> {
    let (ctx, owner) = (world.ctx(), owner.clone());
    Stepped::new(async move { remove_member(&ctx, &owner, member).await.map(drop) })
}

#[test]
fn a_member_that_is_removed_while_it_backs_up_is_told_what_counts() {
    run(|| async {
        let (mut kept, mut refused) = (0, 0);
        for calls in 0..60 {
            let (world, owner, member, writer) = owner_and_writer(calls as u64 + 2).await;
            let mut run = stepped_backup(&world, &writer, 3);
            run.go(calls);
            let mut removal = stepped_removal(&world, &owner, member);
            removal.go(usize::MAX);
            removal.result.unwrap().unwrap();
            run.go(usize::MAX);
            let told = run.result.unwrap();
            kept += u32::from(told.is_ok());
            refused += u32::from(told.is_err());
            assert_told(&world, &told, calls % 3 == 0, &format!("removed after {calls} calls")).await;
        }
        assert!(kept > 2 && refused > 10, "{kept} {refused}");
    });
}

#[test]
fn a_member_that_backs_up_while_it_is_removed_is_told_what_counts() {
    run(|| async {
        let (mut kept, mut refused) = (0, 0);
        for (calls, ahead) in (0..40).flat_map(|calls| [0, 4, 9, 13].map(|ahead| (calls, ahead))) {
            let (world, owner, member, writer) = owner_and_writer(calls as u64 + 2).await;
            let mut run = stepped_backup(&world, &writer, 3);
            run.go(ahead);
            let mut removal = stepped_removal(&world, &owner, member);
            removal.go(calls);
            run.go(usize::MAX);
            removal.go(usize::MAX);
            removal.result.unwrap().unwrap();
            let told = run.result.unwrap();
            kept += u32::from(told.is_ok());
            refused += u32::from(told.is_err());
            let what = format!("{ahead} calls, then {calls} of the removal");
            assert_told(&world, &told, calls % 5 == 0, &what).await;
        }
        assert!(kept > 2 && refused > 10, "{kept} {refused}");
    });
}

#[test]
fn a_removal_that_dies_at_any_call_is_ended_by_the_next_one_or_by_a_prune() {
    run(|| async {
        let (start, owner) = World::made(Workers::inline()).await;
        let writer = admitted(&start, &owner, Role::Writer, 8).await;
        back_up(&start, &owner, 1).await.unwrap();
        back_up(&start, &writer, 2).await.unwrap();
        let member = member_of(&start, &owner, Role::Writer);
        let removal = async |ctx: &Ctx, owner: &Repository| remove_member(ctx, owner, member).await;
        let (mut in_between, mut slots_left) = (0, 0);
        for (at, by_prune) in (0..calls_of(&start, removal).await).flat_map(|at| [(at, false), (at, true)]) {
            let (world, what) = (start.fork(2), format!("cut off at {at}"));
            dies_at(&world, at, removal).await;
            let owner = world.open().await;
            assert_eq!(ids(&world, &owner).await.len(), 2, "{what}");
            world.assert_sound(&owner).await;
            let is_removed = members(&owner).iter().any(|member| member.is_removed);
            in_between += u32::from(is_removed);
            if by_prune {
                prune(&world.ctx(), &owner, &pruning()).await.unwrap();
                assert_eq!(ids(&world, &owner).await.len(), 2, "{what}");
                if is_removed {
                    let refused = open(&world, 8).await.unwrap_err();
                    assert!(matches!(refused.kind, ErrorKind::NotAllowed | ErrorKind::WrongKey), "{what}");
                }
            }
            slots_left +=
                u32::from(open(&world, 8).await.is_err_and(|error| error.kind == ErrorKind::NotAllowed));
            let removed = remove_member(&world.ctx(), &owner, member).await.unwrap();
            assert_eq!((removed.was_begun, removed.member.is_removed), (is_removed, true), "{what}");
            assert_eq!(open(&world, 8).await.unwrap_err().kind, ErrorKind::WrongKey, "{what}");
            assert_all_restore(&world, &owner).await;
            assert_eq!(ids(&world, &owner).await.len(), 2, "{what}");
            world.assert_sound(&owner).await;
        }
        assert!(in_between > 6 && slots_left > 4, "{in_between} {slots_left}");
    });
}

#[test]
fn a_removal_that_was_begun_by_a_key_s_id_goes_on_by_it() {
    run(|| async {
        let (start, owner) = World::made(Workers::inline()).await;
        let writer = admitted(&start, &owner, Role::Writer, 8).await;
        back_up(&start, &writer, 2).await.unwrap();
        let member = member_of(&start, &owner, Role::Writer);
        let key = writer_key(&start, &owner, member).await.unwrap();
        // One more than a single key: a removed member has no key that stays.
        add_key(&start.ctx(), &writer, &new(9)).await.unwrap();
        let removal = async |ctx: &Ctx, owner: &Repository| remove_member(ctx, owner, member).await;
        let mut begun = 0;
        for at in 0..calls_of(&start, removal).await {
            let (world, what) = (start.fork(2), format!("cut off at {at}"));
            dies_at(&world, at, removal).await;
            let owner = world.open().await;
            let is_removed = members(&owner).iter().any(|member| member.is_removed);
            let Some(left) = writer_key(&world, &owner, member).await.filter(|_| is_removed) else {
                continue;
            };
            assert_eq!(last_slot_of(&owner, &left).await.unwrap(), Some(member), "{what}");
            begun += 1;
            assert!(remove_member(&world.ctx(), &owner, member).await.unwrap().was_begun, "{what}");
            assert_eq!(writer_key(&world, &owner, member).await, None, "{what}");
            world.assert_sound(&owner).await;
        }
        assert!(begun > 6, "{begun}");
        assert_eq!(last_slot_of(&owner, &key).await.unwrap(), None, "it belongs and has another");
    });
}

/// The id of a key that a member has.
async fn writer_key(world: &World, owner: &Repository, member: MemberId) -> Option<String> {
    let all = keys(&world.ctx(), owner).await.unwrap().value;
    all.into_iter().find(|key| key.member == member).map(|key| key.id.to_string())
}

#[test]
fn what_a_removed_member_writes_all_the_same_does_not_count_and_hinders_nobody() {
    run(|| async {
        let (start, owner) = World::made(Workers::inline()).await;
        admitted(&start, &owner, Role::Writer, 8).await;
        let maintainer = admitted(&start, &owner, Role::Maintainer, 9).await;
        back_up(&start, &owner, 1).await.unwrap();
        back_up(&start, &open(&start, 8).await.unwrap(), 2).await.unwrap();
        let what = ForgetWhat::Snapshots(vec![world_first(&start, &owner).await.id]);
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        // Another place, where they were never removed.
        let elsewhere = start.fork(2);
        back_up(&elsewhere, &open(&elsewhere, 8).await.unwrap(), 3).await.unwrap();
        let after_backup = elsewhere.store.objects();
        for role in [Role::Writer, Role::Maintainer] {
            let member = member_of(&start, &owner, role);
            remove_member(&start.ctx(), &owner, member).await.unwrap();
        }
        assert_eq!(ids(&start, &owner).await.len(), 2);
        for (key, body) in &after_backup {
            if !start.store.objects().contains_key(key) {
                start.store.insert_raw(key.clone(), body.clone());
            }
        }
        assert_eq!(ids(&start, &owner).await.len(), 2, "a snapshot of a removed member");
        let _ = maintainer;
        world_is_well(&start).await;
        // A root in the name of a maintainer that was removed: nobody goes by it.
        let newest = start.names("roots/").len();
        let forged = open_on(&elsewhere, Arc::new(elsewhere.store.clone()), 9).await.unwrap();
        while elsewhere.names("roots/").len() <= newest {
            forget_again(&elsewhere, &forged, &options).await;
        }
        let root = elsewhere.names("roots/")[0].clone();
        start.store.insert_raw(root.clone(), elsewhere.store.objects()[&root].clone());
        let error = back_up(&start, &owner, 4).await.unwrap_err();
        assert!(chain(&error).contains("after it had been removed"), "{}", chain(&error));
        let owner = start.open().await;
        repair_index(&start.ctx(), &owner, RepairIndexOptions::default()).await.unwrap();
        back_up(&start, &owner, 4).await.unwrap();
        assert_eq!(ids(&start, &owner).await.len(), 3);
        world_is_well(&start).await;
    });
}

async fn world_first(world: &World, repository: &Repository) -> Snapshot {
    world.snapshots(repository).await.remove(0)
}

/// Publishes a root, whatever it says.
async fn forget_again(world: &World, repository: &Repository, options: &ForgetOptions) {
    forget(&world.ctx(), repository, options).await.unwrap();
    let ids = match &options.what {
        ForgetWhat::Snapshots(ids) => ids.clone(),
        _ => Vec::new(),
    };
    holdfast_engine::maintain::unforget(&world.ctx(), repository, &ids).await.unwrap();
}

async fn world_is_well(world: &World) {
    let owner = world.open().await;
    world.assert_sound(&owner).await;
    assert_all_restore(world, &owner).await;
    for _ in 0..3 {
        prune(&world.ctx(), &owner, &pruning()).await.unwrap();
    }
    world.assert_sound(&owner).await;
    assert_all_restore(world, &owner).await;
}

#[test]
fn two_owners_that_remove_each_other_leave_one() {
    run(|| async {
        let (start, owner) = World::made(Workers::inline()).await;
        admitted(&start, &owner, Role::Owner, 8).await;
        for (one, two) in (0..14).flat_map(|one| (0..14).map(move |two| (one, two))) {
            let world = start.fork(2);
            let opened = [secret(), key_file(8)].map(|secret| open_stepped(&world, secret));
            let other = |own: &Repository| members(own).into_iter().find(|member| !member.is_own).unwrap().id;
            let mut runs: Vec<_> =
                opened.iter().map(|own| stepped_removal(&world, own, other(own))).collect();
            runs[0].go(one);
            runs[1].go(two);
            runs[0].go(usize::MAX);
            runs[1].go(usize::MAX);
            let told: Vec<_> = runs.into_iter().map(|run| run.result.unwrap()).collect();
            assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 1, "{one} {two}: {told:?}");
            let usable = if told[0].is_ok() { secret() } else { key_file(8) };
            let store = Arc::new(world.store.clone());
            let left = Repository::open(&world.ctx(), store, &usable).await.unwrap();
            assert_eq!(members(&left).iter().filter(|member| !member.is_removed).count(), 1);
            world.assert_sound(&left).await;
        }
    });
}

#[test]
fn the_last_key_of_another_member_goes_with_the_member() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        let reader = admitted(&world, &owner, Role::Reader, 8).await;
        add_key(&world.ctx(), &reader, &new(9)).await.unwrap();
        append(&world.ctx(), &reader, "drill", b"{}").await.unwrap();
        let member = member_of(&world, &owner, Role::Reader);
        let slots = async |owner: &Repository| {
            let all = keys(&world.ctx(), owner).await.unwrap().value;
            all.into_iter()
                .filter(|key| key.member == member)
                .map(|key| key.id.to_string())
                .collect::<Vec<_>>()
        };
        let both = slots(&owner).await;
        assert_eq!((both.len(), last_slot_of(&owner, &both[0]).await.unwrap()), (2, None));
        remove_key(&world.ctx(), &owner, &secret(), &both[0]).await.unwrap();
        let owner = world.open().await;
        assert_eq!(last_slot_of(&owner, &both[1]).await.unwrap(), Some(member));
        let refused = remove_key(&world.ctx(), &owner, &secret(), &both[1]).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Usage);
        let removed = remove_member(&world.ctx(), &owner, member).await.unwrap();
        assert_eq!((removed.slots.len(), removed.was_begun), (1, false));
        assert!(slots(&owner).await.is_empty());
        // What it had seen is proved by its key for ever.
        let book = records(&world.ctx(), &world.open().await).await.unwrap();
        assert_eq!((book.problems().count(), book.records().len()), (0, 1));
        assert_eq!(book.chains[0].removed.as_deref(), Some("key 8"));
        let own = members(&owner).into_iter().find(|member| member.is_own).unwrap().id;
        let itself = remove_member(&world.ctx(), &owner, own).await.unwrap_err();
        assert_eq!(itself.kind, ErrorKind::Usage);
        let nobody = remove_member(&world.ctx(), &owner, MemberId([1; 16])).await.unwrap_err();
        assert_eq!(nobody.kind, ErrorKind::NotFound);
        world.assert_sound(&owner).await;
    });
}

#[test]
fn a_log_that_streams_for_long_ends_when_its_member_is_removed() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        let writer = admitted(&world, &owner, Role::Writer, 8).await;
        let reader = admitted(&world, &owner, Role::Reader, 9).await;
        let archive = WalArchive::new(&world.ctx(), &writer);
        let segment = |place: u64| {
            let file = SegmentName { timeline: 1, place }.to_string();
            (WalName::whole(Timeline::new(7, 1, b""), file), vec![place as u8; 1000])
        };
        for place in [1, 2] {
            let (name, content) = segment(place);
            archive.put(&name, content).await.unwrap();
            rotate(&world.ctx(), &owner).await.unwrap();
            world.clock.advance(61);
        }
        remove_member(&world.ctx(), &owner, member_of(&world, &owner, Role::Writer)).await.unwrap();
        world.clock.advance(61);
        let (name, content) = segment(3);
        let refused = archive.put(&name, content).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotAllowed, "{}", chain(&refused));
        let read = WalArchive::new(&world.ctx(), &reader);
        for place in [1, 2] {
            let (name, content) = segment(place);
            assert_eq!(read.get(&name).await.unwrap().unwrap(), content);
        }
        assert_eq!(read.get(&segment(3).0).await.unwrap(), None);
        world.assert_sound(&owner).await;
    });
}
