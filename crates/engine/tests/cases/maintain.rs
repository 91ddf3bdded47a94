//! Forget, undo, hold and prune in one process, one after the other.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{Node, START_SECONDS, Tree, World, noise, pruning, run};
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use holdfast_engine::ctx::Ctx;
use holdfast_engine::error::{Error, ErrorKind};
use holdfast_engine::maintain::{
    ForgetOptions, ForgetReport, ForgetWhat, GroupBy, HoldScope, KeepPolicy, LocalOffset, PruneOptions,
    PruneReport, Retention, forget, forgotten, hold, holds, prune, release, unforget,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{Repository, SnapshotFilter};
use std::collections::BTreeSet;

fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..10 {
        tree.put(&format!("small/{number}"), Node::file(noise(salt * 100 + number, 9_000)));
    }
    tree.put("large", Node::file(noise(salt * 100 + 50, 600_000)));
    tree.put("same", Node::file(noise(7, 300_000)));
    // Every tree is another one for the stat cache too.
    for node in tree.0.values_mut() {
        node.mtime.seconds = START_SECONDS - 10_000 + salt as i64;
        node.ctime = node.mtime;
    }
    tree
}

async fn forget_now(
    world: &World,
    repository: &Repository,
    ids: &[SessionId],
) -> Result<ForgetReport, Error> {
    let what = ForgetWhat::Snapshots(ids.to_vec());
    let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
    forget(&world.ctx(), repository, &options).await
}

async fn prune_now(world: &World, repository: &Repository) -> PruneReport {
    prune(&world.ctx(), repository, &pruning()).await.unwrap()
}

fn pack_bytes(world: &World) -> u64 {
    let objects = world.store.objects();
    objects
        .iter()
        .filter(|(key, _)| key.as_str().starts_with("packs/"))
        .map(|(_, body)| body.len() as u64)
        .sum()
}

#[test]
fn what_was_forgotten_is_freed_and_the_rest_restores() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut ids = Vec::new();
        for salt in 1..=3 {
            ids.push(world.keep(&repository, &tree(salt)).await.snapshot.unwrap());
        }
        let before = pack_bytes(&world);
        forget_now(&world, &repository, &ids[..2]).await.unwrap();
        assert_eq!(world.snapshots(&repository).await.len(), 1);
        let report = prune_now(&world, &repository).await;
        assert!(report.freed_bytes > 1_000_000, "{report:?}");
        assert_eq!(report.dropped_snapshots.len(), 2);
        assert!(pack_bytes(&world) * 2 < before, "{} of {before}", pack_bytes(&world));
        let left = world.newest(&repository).await;
        assert_eq!(left.id, ids[2]);
        world.assert_restores(&repository, &left, &tree(3)).await;
        world.assert_sound(&repository).await;
        // Against a repository that holds nothing else.
        let (alone, fresh) = World::made(Workers::inline()).await;
        alone.keep(&fresh, &tree(3)).await;
        assert!(pack_bytes(&world) < pack_bytes(&alone) + 20_000);
        // Nothing is left to do, and the next backups go on.
        let (root, objects) = (report.root, world.store.objects().len());
        let again = prune_now(&world, &repository).await;
        assert_eq!((again.freed_packs, again.repacked_packs), (0, 0));
        assert!(again.root <= root + 1 && world.store.objects().len() <= objects + 1);
        let unchanged = world.keep(&repository, &tree(3)).await;
        assert_eq!(unchanged.counts.chunks_added, 0);
        let back = world.keep(&repository, &tree(1)).await;
        assert!(back.counts.bytes_added > 600_000);
        world.assert_restores(&repository, &world.newest(&repository).await, &tree(1)).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_forgotten_snapshot_comes_back_until_a_prune_has_passed() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        let second = world.keep(&repository, &tree(2)).await.snapshot.unwrap();
        forget_now(&world, &repository, &[first]).await.unwrap();
        assert_eq!(forgotten(&world.ctx(), &repository).await.unwrap()[0].id, first);
        assert_eq!(world.snapshots(&repository).await.len(), 1);
        let back = unforget(&world.ctx(), &repository, &[first]).await.unwrap();
        assert_eq!(back[0].id, first);
        assert_eq!(world.snapshots(&repository).await.len(), 2);
        let kept = prune_now(&world, &repository).await;
        assert_eq!(kept.freed_packs, 0, "{kept:?}");
        forget_now(&world, &repository, &[first]).await.unwrap();
        prune_now(&world, &repository).await;
        let error = unforget(&world.ctx(), &repository, &[first]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert!(forgotten(&world.ctx(), &repository).await.unwrap().is_empty());
        let left = world.newest(&repository).await;
        assert_eq!(left.id, second);
        world.assert_restores(&repository, &left, &tree(2)).await;
    });
}

#[test]
fn with_a_pause_each_prune_makes_one_step_and_an_undo_in_between_saves_all() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        world.keep(&repository, &tree(2)).await;
        let paused = PruneOptions { min_age_seconds: Some(1000), ..pruning() };
        forget_now(&world, &repository, &[first]).await.unwrap();
        let condemned = prune(&world.ctx(), &repository, &paused).await.unwrap();
        assert!(condemned.condemned_bytes > 600_000 && condemned.freed_packs == 0, "{condemned:?}");
        let now = Time { seconds: world.clock_seconds(), nanos: 0 };
        assert_eq!(condemned.next_step, Some(Time { seconds: now.seconds + 1000, ..now }));
        let waits = prune(&world.ctx(), &repository, &paused).await.unwrap();
        assert_eq!(waits.root, condemned.root);
        unforget(&world.ctx(), &repository, &[first]).await.unwrap();
        world.clock.advance(1001);
        let saved = prune(&world.ctx(), &repository, &paused).await.unwrap();
        assert_eq!((saved.dead_packs, saved.freed_packs), (0, 0), "{saved:?}");
        for (snapshot, salt) in world.snapshots(&repository).await.iter().zip(1..) {
            world.assert_restores(&repository, snapshot, &tree(salt)).await;
        }
        // Without an undo it goes, step by step.
        forget_now(&world, &repository, &[first]).await.unwrap();
        let mut freed = 0;
        for _ in 0..5 {
            freed += prune(&world.ctx(), &repository, &paused).await.unwrap().freed_bytes;
            world.clock.advance(1001);
        }
        assert!(freed > 600_000);
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_hold_stops_forget_and_prune_at_once() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        world.keep(&repository, &tree(2)).await;
        forget_now(&world, &repository, &[first]).await.unwrap();
        let all = hold(&world.ctx(), &repository, &[HoldScope::All], "ransomware", None).await.unwrap();
        assert_eq!(holds(&world.ctx(), &repository).await.unwrap(), all);
        let refused = prune(&world.ctx(), &repository, &pruning()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Held);
        assert!(refused.to_string().contains("ransomware"), "{refused}");
        assert_eq!(forget_now(&world, &repository, &[first]).await.unwrap_err().kind, ErrorKind::Held);
        release(&world.ctx(), &repository, &[all[0].id]).await.unwrap();
        // One of a snapshot that was forgotten keeps its bytes.
        hold(&world.ctx(), &repository, &[HoldScope::Snapshot(first)], "evidence", None).await.unwrap();
        let report = prune_now(&world, &repository).await;
        assert_eq!(report.freed_packs, 0, "{report:?}");
        let back = unforget(&world.ctx(), &repository, &[first]).await.unwrap();
        world.assert_restores(&repository, &back[0], &tree(1)).await;
        let named = forget_now(&world, &repository, &[first]).await.unwrap_err();
        assert_eq!(named.kind, ErrorKind::Held);
    });
}

/// What was not kept for a hundred days goes.
fn after_a_hundred_days() -> ForgetOptions {
    let retention = Retention {
        keep: KeepPolicy::default(),
        delete_after: Some("100d".parse().unwrap()),
        group_by: GroupBy::default(),
        filter: SnapshotFilter::default(),
        local_offset: LocalOffset::utc(),
    };
    let what = ForgetWhat::Policy(retention);
    ForgetOptions { what, allow_last: false, dry_run: false, proven: BTreeSet::new() }
}

const DAY: i64 = 24 * 3600;

#[test]
fn a_clock_that_is_years_ahead_deletes_nothing_for_its_age() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        let second = world.keep(&repository, &tree(2)).await.snapshot.unwrap();
        let until = Time { seconds: START_SECONDS + 30 * DAY, nanos: 0 };
        let scopes = [HoldScope::Snapshot(first)];
        hold(&world.ctx(), &repository, &scopes, "evidence", Some(until)).await.unwrap();
        let before = world.store.objects();
        world.clock.advance(3653 * DAY);
        let deadline = forget(&world.ctx(), &repository, &after_a_hundred_days()).await.unwrap_err();
        let pruned = prune(&world.ctx(), &repository, &pruning()).await.unwrap_err();
        let dry = PruneOptions { dry_run: true, ..pruning() };
        let foreseen = prune(&world.ctx(), &repository, &dry).await.unwrap_err();
        for refused in [deadline, pruned, foreseen] {
            assert_eq!(refused.kind, ErrorKind::Clock, "{refused}");
            assert!(refused.to_string().contains("nobody has maintained"), "{refused}");
        }
        // The hold's end has not come either, whoever asks; and a new one can be made at any time.
        assert_eq!(forget_now(&world, &repository, &[first]).await.unwrap_err().kind, ErrorKind::Held);
        assert_eq!(world.store.objects().len(), before.len());
        hold(&world.ctx(), &repository, &[HoldScope::Snapshot(second)], "too", Some(until)).await.unwrap();
        assert_eq!(holds(&world.ctx(), &repository).await.unwrap().len(), 2);
        // What else is published by this clock does not date the repository.
        assert_eq!(prune(&world.ctx(), &repository, &pruning()).await.unwrap_err().kind, ErrorKind::Clock);
    });
}

#[test]
fn a_clock_that_is_years_behind_dates_nothing() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree(1)).await;
        let dated = prune_now(&world, &repository).await.root;
        world.clock.advance(-3653 * DAY);
        // More than a backup leaves unmerged.
        for salt in 0..20 {
            world.keep(&repository, &tree(salt)).await;
        }
        assert_eq!(prune(&world.ctx(), &repository, &pruning()).await.unwrap_err().kind, ErrorKind::Clock);
        let deadline = forget(&world.ctx(), &repository, &after_a_hundred_days()).await.unwrap_err();
        assert!(deadline.to_string().contains("one of the two clocks is wrong"), "{deadline}");
        assert_eq!(
            world.names("roots/").len() as u64,
            dated,
            "a root was published by a clock that is wrong"
        );
        world.clock.advance(3653 * DAY);
        prune_now(&world, &repository).await;
    });
}

#[test]
fn a_clock_is_believed_again_once_somebody_says_so() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree(1)).await;
        prune_now(&world, &repository).await;
        world.clock.advance(181 * DAY);
        prune(&world.ctx(), &repository, &pruning()).await.unwrap_err();
        let accepting = Ctx { clock_accepted: true, ..world.ctx() };
        prune(&accepting, &repository, &pruning()).await.unwrap();
        let root = prune_now(&world, &repository).await.root;
        assert_eq!(
            forget(&world.ctx(), &repository, &after_a_hundred_days()).await.unwrap().forgotten.len(),
            1
        );
        // Nothing is to be done from now on, and it is not asked again all the same.
        for _ in 0..10 {
            world.clock.advance(91 * DAY);
            forget(&world.ctx(), &repository, &after_a_hundred_days()).await.unwrap();
        }
        for _ in 0..10 {
            world.clock.advance(91 * DAY);
            prune_now(&world, &repository).await;
        }
        let roots = prune_now(&world, &repository).await.root - root;
        assert!((20..30).contains(&roots), "{roots} roots");
    });
}

#[test]
fn packs_of_runs_that_died_are_freed() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree(1)).await;
        let source = crate::harness::ModelSource::new(&tree(2)).failing_after(12).batches_of(1);
        world.backup_with(&repository, source, &World::bare()).await.unwrap_err();
        let report = prune_now(&world, &repository).await;
        assert_eq!(report.aborted_sessions.len(), 1);
        assert!(report.freed_packs > 0, "{report:?}");
        world.assert_restores(&repository, &world.newest(&repository).await, &tree(1)).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn many_small_packs_become_few_and_much_of_little_is_merged() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut changing = tree(1);
        for round in 0..40u64 {
            changing.rewrite("small/3", noise(1000 + round, 9_000), START_SECONDS - 5_000 + round as i64);
            world.keep(&repository, &changing).await;
        }
        let packs = world.names("packs/").len();
        assert!(world.names("roots/").len() >= 2, "no backup merged deltas");
        prune_now(&world, &repository).await;
        prune_now(&world, &repository).await;
        assert!(world.names("packs/").len() * 4 < packs, "{} of {packs}", world.names("packs/").len());
        assert!(world.names("sessions/").len() <= 41);
        assert!(world.names("index/").len() < 5 && world.names("snapshots/").len() < 9);
        assert_eq!(world.snapshots(&repository).await.len(), 40);
        world.assert_restores(&repository, &world.newest(&repository).await, &changing).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn what_is_forgotten_again_while_its_packs_are_condemned_does_not_come_back_in_ruins() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        world.keep(&repository, &tree(2)).await;
        let paused = PruneOptions { min_age_seconds: Some(1000), ..pruning() };
        forget_now(&world, &repository, &[first]).await.unwrap();
        prune(&world.ctx(), &repository, &paused).await.unwrap();
        unforget(&world.ctx(), &repository, &[first]).await.unwrap();
        forget_now(&world, &repository, &[first]).await.unwrap();
        world.clock.advance(1001);
        let report = prune(&world.ctx(), &repository, &paused).await.unwrap();
        assert!(report.dead_packs > 0, "{report:?}");
        let error = unforget(&world.ctx(), &repository, &[first]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        world.assert_sound(&repository).await;
    });
}
