//! What a writer in wrong hands said, once an owner has passed it on: copied it elsewhere, changed its tags,
//! or repaired what it names. An owner's signature makes nothing of it an owner's word.

use super::*;
use crate::tag::{TagChange, tag};
use holdfast_core::session::SaidBy;
use std::collections::BTreeMap;

/// Another repository, with an owner of its own.
async fn elsewhere() -> (World, Repository) {
    let world = World::with_seed(Workers::inline(), 9);
    let owner = world.create().await;
    (world, owner)
}

/// Copies all that there is; the copies by what they are of.
async fn copied(fleet: &Fleet, world: &World, to: &Repository) -> BTreeMap<SessionId, SessionId> {
    let options = CopyOptions {
        dry_run: false,
        compression_level: 1,
        data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
    };
    let all = fleet.world.snapshots(&fleet.owner).await;
    let mut made = BTreeMap::new();
    let told = &mut |copied: &crate::Copied| {
        let (Fate::Made(id) | Fate::There(id)) = copied.fate else { panic!("{copied:?}") };
        made.insert(copied.from.id, id);
    };
    let outcome = copy(&world.ctx(), &fleet.owner, to, &all, &options, told).await.unwrap();
    assert!(outcome.problems.problems.is_empty());
    made
}

/// Tags all that there is; the new ones by what they took the place of.
async fn tagged(world: &World, owner: &Repository) -> BTreeMap<SessionId, SessionId> {
    let all = world.snapshots(owner).await;
    let change = TagChange { add: vec!["checked".into()], ..TagChange::default() };
    let done = tag(&world.ctx(), owner, &all, &change, &mut |_| {}).await.unwrap();
    done.into_iter().map(|tagged| (tagged.old, tagged.new.unwrap())).collect()
}

async fn prune_twice(world: &World, owner: &Repository) {
    for _ in 0..2 {
        prune(&world.ctx(), owner, &pruning()).await.unwrap();
    }
}

async fn found(world: &World, owner: &Repository, id: SessionId) -> Snapshot {
    world.snapshots(owner).await.into_iter().find(|snapshot| snapshot.id == id).unwrap()
}

impl Fleet {
    /// The enemy commits an empty tree in the name of another's snapshot.
    async fn forge(&self, of: &Snapshot, change: impl FnOnce(Summary) -> Summary) -> SessionId {
        let mut forged = self.enemy.begin(of.summary.stream).await;
        let root = self.enemy.empty_tree(&mut forged);
        self.enemy.commit(&forged, change(in_the_name_of(of, root)))
    }

    async fn keep_all(&self, numbers: std::ops::RangeInclusive<u64>) -> Vec<Snapshot> {
        let mut kept = Vec::new();
        for number in numbers {
            self.world.clock.advance(60);
            kept.push(self.keep(&self.victim, &tree(number)).await);
        }
        kept
    }
}

/// Frees what is not needed; the victim's and one more are there.
async fn assert_all_there(fleet: &Fleet, kept: &[Snapshot], world: &World, owner: &Repository) {
    prune_twice(world, owner).await;
    let shown = world.snapshots(owner).await;
    assert_eq!(shown.len(), kept.len() + 1, "{shown:#?}");
    for (one, number) in kept.iter().zip(1..) {
        let of_victim = |other: &&Snapshot| {
            owner.author_of(other) == Some(fleet.victim.member()) && other.summary.end == one.summary.end
        };
        world.assert_restores(owner, shown.iter().find(of_victim).unwrap(), &tree(number)).await;
    }
}

#[test]
fn what_one_writer_claims_hides_no_copy_of_another_s() {
    run(|| async {
        let (fleet, (there, owner)) = (fleet().await, elsewhere().await);
        let kept = fleet.keep_all(1..=3).await;
        copied(&fleet, &there, &owner).await;
        let all: Vec<_> = kept.iter().map(|snapshot| snapshot.id).collect();
        let end = at(fleet.world.clock_seconds() + 10);
        fleet.forge(&kept[2], |summary| Summary { supersedes: all, end, ..summary }).await;
        copied(&fleet, &there, &owner).await;
        assert_all_there(&fleet, &kept, &there, &owner).await;
        // Nor once an owner has tagged it, here or there.
        tagged(&there, &owner).await;
        assert_all_there(&fleet, &kept, &there, &owner).await;
        tagged(&fleet.world, &fleet.owner).await;
        assert_all_there(&fleet, &kept, &fleet.world, &fleet.owner).await;
        // What is new at home takes the place of its own copy alone.
        assert_eq!(copied(&fleet, &there, &owner).await.len(), 4);
        assert_all_there(&fleet, &kept, &there, &owner).await;
    });
}

#[test]
fn snapshots_in_another_s_name_push_out_none_of_its_own_once_they_are_passed_on() {
    run(|| async {
        for is_copied in [true, false] {
            let (fleet, (there, others)) = (fleet().await, elsewhere().await);
            let kept = fleet.keep_all(1..=4).await;
            let now = fleet.world.clock_seconds();
            for end in [now - 1, now, now + 3600, now + 900_000, now - 86_400, now - 900_000] {
                let counts = Counts { files: 1 << 40, bytes: 1 << 60, ..Counts::default() };
                fleet.forge(&kept[3], |summary| Summary { end: at(end), counts, ..summary }).await;
            }
            there.clock.advance(240);
            let (world, owner, by) = match is_copied {
                true => (&there, &others, copied(&fleet, &there, &others).await),
                false => (&fleet.world, &fleet.owner, tagged(&fleet.world, &fleet.owner).await),
            };
            let of_victim: Vec<_> = kept.iter().map(|snapshot| by[&snapshot.id]).collect();
            let three = keeping(Period::Each, KeepLimit::Newest(KeepCount::Number(3)));
            let report = forget_by(world, owner, three, false).await;
            let gone = report.forgotten.iter().map(|gone| gone.id).filter(|id| of_victim.contains(id));
            assert_eq!(gone.collect::<Vec<_>>(), [of_victim[0]]);
            prune_twice(world, owner).await;
            for (id, number) in of_victim.iter().zip(1..).skip(1) {
                let snapshot = found(world, owner, *id).await;
                world.assert_restores(owner, &snapshot, &tree(number)).await;
            }
        }
    });
}

#[test]
fn latest_does_not_choose_between_two_writers_whose_snapshots_were_passed_on() {
    run(|| async {
        for is_copied in [true, false] {
            let (fleet, (there, others)) = (fleet().await, elsewhere().await);
            let kept = fleet.keep_all(1..=1).await;
            let (world, owner) = if is_copied { (&there, &others) } else { (&fleet.world, &fleet.owner) };
            let pass_on = async || match is_copied {
                true => copied(&fleet, &there, &others).await,
                false => tagged(&fleet.world, &fleet.owner).await,
            };
            let latest =
                async || resolve(&world.ctx(), owner, "latest", b"", &SnapshotFilter::default()).await;
            if is_copied {
                let by = pass_on().await;
                assert_eq!(latest().await.unwrap().snapshot.id, by[&kept[0].id]);
            }
            let end = at(fleet.world.clock_seconds() + 10);
            let forged = fleet.forge(&kept[0], |summary| Summary { end, ..summary }).await;
            let by = pass_on().await;
            assert_eq!(latest().await.unwrap_err().kind, ErrorKind::Ambiguous);
            let passed_on = found(world, owner, by[&forged]).await;
            assert!(owner.is_owner(passed_on.member));
            assert_eq!(owner.author_of(&passed_on), Some(fleet.enemy.repository.member()));
            if !is_copied {
                crate::remove_member(&world.ctx(), owner, fleet.enemy.repository.member()).await.unwrap();
                assert_eq!(latest().await.unwrap().snapshot.id, by[&kept[0].id]);
            }
            // A copy of a copy, and tags that are changed again, leave it so.
            let again = tagged_again(world, owner, &passed_on).await;
            assert_eq!(again.summary.said_by, passed_on.summary.said_by);
        }
    });
}

async fn tagged_again(world: &World, owner: &Repository, snapshot: &Snapshot) -> Snapshot {
    let change = TagChange { set: Some(vec!["again".into()]), ..TagChange::default() };
    let done = tag(&world.ctx(), owner, std::slice::from_ref(snapshot), &change, &mut |_| {}).await.unwrap();
    found(world, owner, done[0].new.unwrap()).await
}

#[test]
fn what_another_writer_committed_is_no_parent_once_an_owner_has_tagged_it() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.owner, &tree(1)).await;
        let end = at(fleet.world.clock_seconds() + 10);
        let forged = fleet.forge(&kept, |summary| Summary { end, ..summary }).await;
        let forged = found(&fleet.world, &fleet.owner, forged).await;
        let tagged = tagged_again(&fleet.world, &fleet.owner, &forged).await;
        let source = ModelSource::new(&tree(2));
        let outcome = fleet.world.backup_with(&fleet.owner, source, &World::bare()).await.unwrap();
        assert_eq!(outcome.value.parent, Some(kept.id));
        let options = crate::BackupOptions { parent: Some(tagged.id), ..World::bare() };
        let asked = fleet.world.backup_with(&fleet.owner, ModelSource::new(&tree(2)), &options).await;
        assert_eq!(asked.unwrap_err().kind, ErrorKind::NotAllowed);
        // A writer's own stays its parent.
        let own = fleet.keep(&fleet.victim, &tree(3)).await;
        let own = tagged_again(&fleet.world, &fleet.owner, &own).await;
        let victim = fleet.victim.clone();
        assert!(victim.believes(&own) && !fleet.owner.believes(&own));
        fleet.assert_whole(&own, &tree(3)).await;
        fleet.prune_all().await;
        fleet.assert_whole(&own, &tree(3)).await;
    });
}

#[test]
fn whose_words_it_passes_on_nobody_says_but_an_owner() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep_all(1..=1).await;
        for member in [fleet.victim.member(), fleet.owner.member()] {
            let said_by = Some(SaidBy { member, received: kept[0].summary.end });
            let forged = fleet.forge(&kept[0], |summary| Summary { said_by, ..summary }).await;
            let forged = found(&fleet.world, &fleet.owner, forged).await;
            let enemy = Some(fleet.enemy.repository.member());
            assert_eq!(fleet.owner.author_of(&forged), enemy);
            let tagged = tagged_again(&fleet.world, &fleet.owner, &forged).await;
            assert_eq!(fleet.owner.author_of(&tagged), enemy);
        }
    });
}

#[test]
fn a_claim_to_be_a_repaired_one_keeps_nothing_from_being_repaired() {
    run(|| async {
        for is_tagged in [false, true] {
            let fleet = fleet().await;
            let mut files = Tree::default();
            files.put("whole", Node::file("inline"));
            files.put("lost", Node::file(noise(1, 200_000)));
            let kept = fleet.keep(&fleet.victim, &files).await;
            let repaired = vec![crate::maintain::REPAIRED_TAG.to_owned()];
            let planted = fleet
                .forge(&kept, |summary| Summary { parent: Some(kept.id), tags: repaired, ..summary })
                .await;
            if is_tagged {
                let planted = found(&fleet.world, &fleet.owner, planted).await;
                let change = TagChange { add: vec!["seen".into()], ..TagChange::default() };
                tag(&fleet.world.ctx(), &fleet.owner, &[planted], &change, &mut |_| {}).await.unwrap();
            }
            for key in fleet.world.names("packs/data/") {
                fleet.world.store.remove_raw(&key);
            }
            let (ctx, owner) = (fleet.world.ctx(), &fleet.owner);
            repair_index(&ctx, owner, RepairIndexOptions::default()).await.unwrap();
            let options = RepairSnapshotsOptions { forget: true, dry_run: false };
            let report = repair_snapshots(&ctx, owner, options).await.unwrap();
            let damaged = report.damaged.iter().find(|damaged| damaged.snapshot.id == kept.id).unwrap();
            assert!(damaged.is_new, "{damaged:?}");
            let made = found(&fleet.world, owner, damaged.repaired.unwrap()).await;
            assert_eq!(owner.author_of(&made), Some(fleet.victim.member()));
            fleet.assert_whole(&made, &files.without("lost")).await;
            // The true one is found again.
            fleet.prune_all().await;
            fleet.assert_whole(&made, &files.without("lost")).await;
        }
    });
}
