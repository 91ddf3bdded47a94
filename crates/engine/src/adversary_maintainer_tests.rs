//! A stolen maintainer, and stores that show one thing and then another. A maintainer signs roots and the
//! catalogue, and may forget; what its author did not sign it can make nobody believe.

use super::*;
use crate::key_slots::{add_key, change_key, remove_key};
use crate::repository::read_slot;
use crate::{ReadData, check, list, remove_member};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::crypto::{KdfCost, hash};
use holdfast_core::id::ObjectId;
use holdfast_core::keys::SlotKdf;
use holdfast_core::object::Header;
use holdfast_core::root::{NamedRow, encode_snapshots};
use holdfast_store::{ByteRange, ObjectMeta, ObjectStore, Put, StoreError, Upload};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the maintainer is called.
const KEEPER: &str = "keeper";

/// A fleet with a maintainer whose key was stolen.
async fn with_keeper() -> (Fleet, Enemy) {
    let fleet = fleet().await;
    let key = NewKey { secret: key_of(KEEPER), label: Some(KEEPER.into()), cost: None };
    admit(&fleet.world.ctx(), &fleet.world.open().await, Role::Maintainer, &key).await.unwrap();
    let store = Arc::new(fleet.world.store.clone());
    let repository = Repository::open(&fleet.world.ctx(), store, &key_of(KEEPER)).await.unwrap();
    let keeper = Enemy { ctx: fleet.enemy.ctx.clone(), repository, store: fleet.world.store.clone() };
    (fleet, keeper)
}

impl Enemy {
    fn sealed_root(&self, root: &Root, with: impl FnOnce(&mut Header)) {
        let object = name::root_object(root.number);
        let mut header = self.repository.header(&self.ctx, ObjectType::Root, object, root.number - 1);
        with(&mut header);
        let bytes = root.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer());
        self.insert(name::root(root.number), bytes);
    }

    /// Publishes the next root, changed.
    async fn next_root(&self, change: impl FnOnce(&mut Root), with: impl FnOnce(&mut Header)) {
        let newest = self.repository.newest().await.unwrap();
        let mut root = Root { number: newest.root.number + 1, previous: newest.hash, ..newest.root };
        change(&mut root);
        self.sealed_root(&root, with);
    }

    /// Publishes a catalogue that says something else of a snapshot.
    async fn recatalogue(&self, id: SessionId, change: impl FnOnce(&mut Summary)) {
        let mut rows = self.repository.view().await.unwrap().catalogued;
        change(&mut rows.iter_mut().find(|row| row.session == id).unwrap().summary);
        rows.sort_by_key(|row| row.session);
        let segment = ObjectId(self.ctx.random());
        let header = self.repository.header(&self.ctx, ObjectType::SnapshotSegment, segment, 1);
        let k_ref = self.repository.k_ref().unwrap();
        let bytes = encode_snapshots(&rows, &header, &k_ref, self.repository.signer());
        let row = NamedRow { kind: 0, id: segment, items: rows.len() as u64, hash: hash(&bytes), floor: 0 };
        self.insert(name::snapshot_segment(segment), bytes);
        self.next_root(|root| root.snapshots = vec![row], |_| {}).await;
    }

    /// Puts an abort under the name of a session's end, whatever lies there.
    fn abort(&self, session: &SessionName) {
        let header = self.header(ObjectType::End, &session.end(), u64::from(session.epoch));
        let end = End::Abort { reason: "because".into() };
        let bytes = end.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer());
        self.store.remove_raw(&Key::new(session.end()).unwrap());
        self.insert(session.end(), bytes);
    }
}

#[test]
fn what_a_maintainer_says_of_a_snapshot_is_not_what_its_author_signed() {
    run(|| async {
        let (fleet, keeper) = with_keeper().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let other = fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.prune_all().await;
        fleet.world.assert_sound(&fleet.owner).await;
        fleet.assert_whole(&kept, &tree(1)).await;
        keeper.recatalogue(other.id, |summary| summary.root = kept.summary.root).await;
        let owner = fleet.world.open().await;
        let forged = fleet.snapshot(other.id).await;
        assert_eq!(forged.summary.root, kept.summary.root);
        let restored = fleet.world.restore(&owner, &forged, &crate::RestoreOptions::default()).await;
        let error = restored.map(drop).unwrap_err();
        assert!(error.kind == ErrorKind::Damaged && error.what.contains("signed differ"), "{error}");
        let mut nothing = |_: &Entry| panic!("a forged tree was listed");
        let listed = list(&fleet.world.ctx(), &owner, &forged, b"", true, &mut nothing).await;
        assert_eq!(listed.unwrap_err().kind, ErrorKind::Damaged);
        let report = fleet.world.check(&owner).await;
        let named = |finding: &&crate::Finding| finding.what.contains("signed differ");
        let named: Vec<_> = report.findings.iter().filter(named).collect();
        assert!(named.len() == 1 && named[0].is_error, "{report:?}");
        assert!(named[0].subject.contains(&other.id.to_string()), "{named:?}");
        // The others are what they were, and a backup takes nothing over from it.
        fleet.assert_whole(&kept, &tree(1)).await;
        fleet.world.take_warnings();
        let next = fleet.world.backup(&fleet.victim, ModelSource::new(&tree(1))).await.value;
        assert_eq!(next.parent, None);
        assert!(fleet.world.take_warnings().iter().any(|told| told.contains("signed differ")));
        fleet.assert_whole(&fleet.snapshot(next.snapshot.unwrap()).await, &tree(1)).await;
        // What the author signed comes back.
        let report = repair_snapshots(&fleet.world.ctx(), &owner, RepairSnapshotsOptions::default()).await;
        let damaged = report.unwrap().damaged;
        assert_eq!(damaged.iter().map(|one| one.snapshot.id).collect::<Vec<_>>(), [other.id]);
        fleet.assert_whole(&fleet.snapshot(damaged[0].repaired.unwrap()).await, &tree(2)).await;
    });
}

#[test]
fn a_snapshot_that_nobody_signed_is_opened_for_nobody() {
    run(|| async {
        let (fleet, keeper) = with_keeper().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        fleet.prune_all().await;
        let key = Key::new(kept.name().end()).unwrap();
        let end = fleet.world.store.remove_raw(&key).unwrap();
        keeper.recatalogue(kept.id, |summary| summary.incomplete = true).await;
        let owner = fleet.world.open().await;
        let forged = fleet.snapshot(kept.id).await;
        let restored = fleet.world.restore(&owner, &forged, &crate::RestoreOptions::default()).await;
        let error = restored.map(drop).unwrap_err();
        assert!(error.kind == ErrorKind::Damaged && error.what.contains("is missing"), "{error}");
        assert!(fleet.world.check(&owner).await.errors > 0);
        // With the end back it is the catalogue that is wrong.
        fleet.world.store.insert_raw(key, end);
        let restored = fleet.world.restore(&owner, &forged, &crate::RestoreOptions::default()).await;
        assert!(restored.map(drop).unwrap_err().what.contains("signed differ"));
    });
}

#[test]
fn a_root_with_features_that_writers_have_to_know_is_read_and_not_written_after() {
    run(|| async {
        let (fleet, keeper) = with_keeper().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        fleet.prune_all().await;
        keeper.next_root(|_| {}, |header| header.ro_compat = 1).await;
        let (owner, ctx) = (fleet.world.open().await, fleet.world.ctx());
        fleet.world.assert_restores(&owner, &kept, &tree(1)).await;
        let names = fleet.world.names("");
        let source = ModelSource::new(&tree(2));
        let backup = fleet.world.backup_with(&fleet.victim, source, &World::bare()).await;
        assert_eq!(backup.map(drop).unwrap_err().kind, ErrorKind::Newer);
        assert_eq!(prune(&ctx, &owner, &pruning()).await.map(drop).unwrap_err().kind, ErrorKind::Newer);
        let what = ForgetWhat::Snapshots(vec![kept.id]);
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: BTreeSet::new() };
        assert_eq!(forget(&ctx, &owner, &options).await.map(drop).unwrap_err().kind, ErrorKind::Newer);
        // Lists that no root names may lie there; no session, no pack, no root.
        let fresh: Vec<_> = fleet.world.names("").into_iter().filter(|name| !names.contains(name)).collect();
        assert!(fresh.iter().all(|name| name.as_str().starts_with("lists/")), "{fresh:?}");
    });
}

#[test]
fn what_a_removed_maintainer_aborts_is_named_and_what_it_had_aborted_stays_so() {
    run(|| async {
        let (fleet, keeper) = with_keeper().await;
        fleet.keep(&fleet.victim, &tree(1)).await;
        // While it belongs it ends what hangs.
        let hangs = fleet.enemy.begin(StreamId([5; 16])).await.name;
        keeper.abort(&hangs);
        let owner = fleet.world.open().await;
        remove_member(&fleet.world.ctx(), &owner, keeper.repository.member()).await.unwrap();
        fleet.prune().await.unwrap();
        let late = fleet.keep(&fleet.victim, &tree(2)).await;
        assert_eq!(fleet.world.check(&owner).await.errors, 0);
        keeper.abort(&late.name());
        let report = fleet.world.check(&owner).await;
        let named = |finding: &crate::Finding| finding.is_error && finding.subject == late.name().end();
        assert!(report.findings.iter().any(named), "{report:?}");
        let filter = SnapshotFilter::default();
        let told = crate::snapshots(&fleet.world.ctx(), &owner, &filter).await.unwrap().problems.problems;
        assert!(told.iter().any(|problem| problem.what.contains(KEEPER)), "{told:?}");
        // Nothing is freed over it until a person has decided.
        assert!(fleet.prune().await.unwrap_err().what.contains("repair snapshots"));
        repair_snapshots(&fleet.world.ctx(), &owner, RepairSnapshotsOptions::default()).await.unwrap();
        fleet.prune().await.unwrap();
    });
}

#[test]
fn a_root_that_names_fewer_members_than_before_is_refused_and_repaired() {
    run(|| async {
        for roots in [1, 2] {
            let (fleet, keeper) = with_keeper().await;
            let kept = fleet.keep(&fleet.victim, &tree(1)).await;
            remove_member(&fleet.world.ctx(), &fleet.world.open().await, fleet.enemy.repository.member())
                .await
                .unwrap();
            fleet.prune_all().await;
            let owner = fleet.world.open().await;
            let good = owner.newest_root().await.unwrap();
            assert!(owner.is_shut_out(fleet.enemy.repository.member(), &good));
            for more in 1..=roots {
                let number = good.number + more;
                let root = Root { number, members: (0, [0; 32]), ..good.clone() };
                keeper.sealed_root(&root, |_| {});
            }
            // Who has seen the one before knows; who sees the first of them beside it too.
            let error = owner.view().await.map(drop).unwrap_err();
            assert!(error.what.contains("fewer entries of members"), "{error}");
            let fresh = fleet.world.open().await;
            if roots == 1 {
                assert!(fresh.view().await.is_err());
            }
            repair_index(&fleet.world.ctx(), &owner, RepairIndexOptions::default()).await.unwrap();
            let root = owner.newest_root().await.unwrap();
            assert!(owner.is_shut_out(fleet.enemy.repository.member(), &root));
            fleet.world.assert_restores(&fleet.world.open().await, &kept, &tree(1)).await;
        }
    });
}

/// A store that shows another object under a name once it was read.
#[derive(Debug)]
struct Swapping {
    store: MemoryStore,
    name: String,
    other: Bytes,
    gets: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Swapping {
    fn location(&self) -> String {
        self.store.location()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        self.store.put_new(key, body).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        self.store.begin(key).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        if key.as_str() == self.name && self.gets.fetch_add(1, Ordering::Relaxed) > 0 {
            return Ok(self.other.clone());
        }
        self.store.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        self.store.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.store.delete(key).await
    }
}

fn password(text: &str) -> Opens {
    Opens::Password(text.as_bytes().to_vec())
}

/// A slot that says that trying a password costs so much.
fn with_cost(store: &MemoryStore, repository: &Repository, id: ObjectId, cost: KdfCost) -> Bytes {
    let bytes = store.objects()[&Key::new(name::key_slot(id)).unwrap()].clone();
    let (header, mut slot) = read_slot(&bytes, repository.id(), id).unwrap();
    slot.kdf = SlotKdf::Password(cost);
    slot.encode(&header).into()
}

#[test]
fn a_store_does_not_talk_the_cost_of_a_password_down() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        let ctx = world.ctx();
        let cost = Some(KdfCost { memory_kib: 64, passes: 2, lanes: 1 });
        let own = NewKey { secret: password("right"), label: Some("one".into()), cost };
        let slot = add_key(&ctx, &owner, &own).await.unwrap().id;
        let more = NewKey { secret: password("more"), label: Some("more".into()), cost };
        let target = add_key(&ctx, &owner, &more).await.unwrap().id;
        let cheap = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
        let other = with_cost(&world.store, &owner, slot, cheap);
        let before = world.names("keys/");
        let opened = async || {
            let store = Swapping {
                store: world.store.clone(),
                name: name::key_slot(slot),
                other: other.clone(),
                gets: AtomicUsize::new(0),
            };
            Repository::open(&ctx, Arc::new(store), &password("right")).await.unwrap()
        };
        let removed = remove_key(&ctx, &opened().await, &own.secret, &target.to_string()).await;
        assert_eq!(removed.map(drop).unwrap_err().kind, ErrorKind::Damaged);
        let new = NewKey { secret: password("new"), label: None, cost: None };
        let changed = change_key(&ctx, &opened().await, &own.secret, &new).await;
        assert_eq!(changed.map(drop).unwrap_err().kind, ErrorKind::Damaged);
        assert_eq!(world.names("keys/"), before);
    });
}

#[test]
fn damaged_and_costly_slots_of_others_keep_nobody_out() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        let ctx = world.ctx();
        let cost = Some(KdfCost { memory_kib: 64, passes: 1, lanes: 1 });
        let key = NewKey { secret: password("right"), label: Some("one".into()), cost };
        let slot = add_key(&ctx, &owner, &key).await.unwrap().id;
        let insert = |id: ObjectId, bytes: Bytes| {
            world.store.insert_raw(Key::new(name::key_slot(id)).unwrap(), bytes.to_vec());
        };
        insert(ObjectId([0; 16]), Bytes::from_static(b"no slot at all"));
        // One that costs more than there is: under a name that comes first.
        let (header, mut forged) =
            read_slot(&with_cost(&world.store, &owner, slot, KdfCost::DEFAULT), owner.id(), slot).unwrap();
        let dear = KdfCost { memory_kib: KdfCost::MEMORY_KIB_MAX, passes: 64, lanes: 1 };
        forged.kdf = SlotKdf::Password(dear);
        let id = ObjectId([1; 16]);
        insert(id, forged.encode(&Header { object: id, ..header }).into());
        let store = || Arc::new(world.store.clone());
        Repository::open(&ctx, store(), &key.secret).await.unwrap();
        world.store.remove_raw(&Key::new(name::key_slot(id)).unwrap());
        let error = Repository::open(&ctx, store(), &password("wrong")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::WrongKey);
        assert!(error.what.contains(&name::key_slot(ObjectId([0; 16]))), "{error}");
    });
}

#[test]
fn whatever_lies_where_the_next_member_would_locks_nobody_out() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        let (number, previous) = enemy.repository.members_head();
        let id = name::member_object(&previous, number);
        let (repository, member) = (enemy.repository.id(), enemy.repository.member());
        let own = enemy.repository.standing().members.active(member).unwrap().clone();
        let entry = MemberEntry { number, previous, action: MemberAction::Admit, ..own };
        let header = |of, author| member_header(ObjectType::Member, of, id, author, enemy.ctx.random());
        let signer = enemy.repository.signer();
        let mut unknown_role = entry.clone().encode(&header(repository, member), signer);
        let at = holdfast_core::object::HEADER_BYTES + 8 + 32 + 1 + 16;
        unknown_role[at] = 99;
        let end = unknown_role.len() - 32;
        let checksum = hash(&unknown_role[..end]);
        unknown_role[end..].copy_from_slice(&checksum);
        let wrong_number = MemberEntry { number: number + 7, ..entry.clone() };
        let mut newer = entry.encode(&header(repository, member), signer);
        newer[10] = 200;
        // An owner's own object that is none of these: its root.
        fleet.prune_all().await;
        let root = fleet.owner.newest_root().await.unwrap().number;
        let root = fleet.world.store.objects()[&Key::new(name::root(root)).unwrap()].to_vec();
        for bytes in [
            noise(5, 700),
            Vec::new(),
            unknown_role,
            newer,
            wrong_number.encode(&header(repository, member), signer),
            entry.encode(&header(holdfast_core::id::RepositoryId([9; 16]), member), signer),
            entry.encode(&header(repository, fleet.owner.member()), signer),
            root,
        ] {
            let key = Key::new(name::member(number, id)).unwrap();
            fleet.world.store.insert_raw(key.clone(), bytes);
            let reopened = fleet.world.open().await;
            assert_eq!(reopened.members_head().0, number);
            fleet.world.assert_restores(&reopened, &kept, &tree(1)).await;
            let report = check(&fleet.world.ctx(), &reopened, ReadData::No).await.unwrap();
            let named = report.findings.iter().any(|finding| finding.what.contains("no owner signed it"));
            assert!(named && report.errors > 0, "{report:?}");
            // Who is open already is not stopped either.
            fleet.owner.refresh_members().await.unwrap();
            fleet.world.store.remove_raw(&key);
        }
    });
}
