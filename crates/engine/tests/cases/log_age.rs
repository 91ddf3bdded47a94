//! What of databases' logs goes for its age: whatever snapshots need, and by nobody's clock but maintainers'.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, noise, pruning, run};
use holdfast_core::keys::Role;
use holdfast_core::session::LogSpan;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, GroupBy, HoldScope, KeepPolicy, LocalOffset, LogDeadline, LogOptions,
    LogReport, LogUsers, PruneOptions, RepairLogOptions, Retention, forget, hold, prune, prune_logs, release,
    repair_log,
};
use holdfast_engine::wal::{SegmentName, Stored, Timeline, WalArchive, WalName};
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupOptions, Repository, SnapshotFilter};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

const SYSTEM: u64 = 7;
const DAY: i64 = 24 * 3600;

fn timeline() -> Timeline {
    Timeline::new(SYSTEM, 1, b"")
}

fn whole(place: u64) -> WalName {
    WalName::whole(timeline(), SegmentName { timeline: 1, place }.to_string())
}

fn piece(place: u64, number: u32) -> WalName {
    WalName::piece(timeline(), SegmentName { timeline: 1, place }.to_string(), number)
}

async fn fill(world: &World, repository: &Repository, places: Range<u64>) {
    let archive = WalArchive::new(&world.ctx(), repository);
    for place in places {
        assert_eq!(archive.put(&whole(place), vec![place as u8; 1000]).await.unwrap(), Stored::New);
    }
}

async fn places(world: &World, repository: &Repository) -> Vec<u64> {
    let listed = WalArchive::new(&world.ctx(), repository).list(Some(SYSTEM)).await.unwrap();
    listed.iter().map(|listed| listed.name.kind().unwrap().segment().unwrap().place).collect()
}

/// Backs up a source that needs these segments.
async fn back_up(world: &World, repository: &Repository, label: &str, needs: Range<u64>) {
    let mut tree = Tree::default();
    tree.put("file", Node::file(noise(needs.start, 1000)));
    let log = LogSpan {
        system: SYSTEM,
        timeline: 1,
        first: needs.start,
        last: needs.end - 1,
        segment_bytes: 1 << 20,
    };
    let options = BackupOptions { label: label.into(), ..World::bare() };
    let source = ModelSource::new(&tree).recording(b"odd").needing(log);
    assert!(world.backup_with(repository, source, &options).await.unwrap().problems.problems.is_empty());
}

fn options(sources: Option<&[&str]>) -> LogOptions {
    let sources = sources.map(|sources| sources.iter().map(|source| (*source).to_owned()).collect());
    let deadline = LogDeadline { span: "100d".parse().unwrap(), sources, local_offset: LocalOffset::utc() };
    LogOptions {
        users: LogUsers { kind: "files", need: |_| None },
        keep_seconds: None,
        delete_after: Some(deadline),
        gone: BTreeSet::new(),
        dry_run: false,
    }
}

async fn logs_of(world: &World, repository: &Repository, sources: Option<&[&str]>) -> LogReport {
    let mut options = options(sources);
    let prunes = PruneOptions { abort_after_seconds: 0, ..pruning() };
    options.gone.extend(prune(&world.ctx(), repository, &prunes).await.unwrap().dropped_snapshots);
    let dry = LogOptions { dry_run: true, ..options.clone() };
    let before = world.store.objects();
    let foreseen = prune_logs(&world.ctx(), repository, &dry).await.unwrap();
    assert!(world.store.objects() == before);
    let report = prune_logs(&world.ctx(), repository, &options).await.unwrap();
    assert_eq!(foreseen, report);
    report
}

async fn logs(world: &World, repository: &Repository) -> LogReport {
    logs_of(world, repository, None).await
}

async fn forget_the_old(world: &World, repository: &Repository) -> usize {
    let retention = Retention {
        keep: KeepPolicy::default(),
        delete_after: Some("100d".parse().unwrap()),
        group_by: GroupBy::default(),
        filter: SnapshotFilter::default(),
        local_offset: LocalOffset::utc(),
    };
    let what = ForgetWhat::Policy(retention);
    let options = ForgetOptions { what, allow_last: false, dry_run: false, proven: BTreeSet::new() };
    forget(&world.ctx(), repository, &options).await.unwrap().forgotten.len()
}

#[test]
fn log_goes_when_its_time_is_over_also_where_no_snapshot_is_left() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        fill(&world, &repository, 0..4).await;
        back_up(&world, &repository, "shop/db", 2..3).await;
        // What no snapshot needs goes as ever.
        assert_eq!(logs(&world, &repository).await.freed_objects, 2);
        world.clock.advance(50 * DAY);
        fill(&world, &repository, 4..6).await;
        assert_eq!(logs(&world, &repository).await.freed_objects, 0);
        world.clock.advance(49 * DAY);
        assert_eq!(forget_the_old(&world, &repository).await, 0);
        assert_eq!(logs(&world, &repository).await.freed_objects, 0);
        world.clock.advance(2 * DAY);
        assert_eq!(forget_the_old(&world, &repository).await, 1);
        let report = logs(&world, &repository).await;
        assert_eq!((report.freed_objects, places(&world, &repository).await), (2, vec![4, 5]), "{report:?}");
        assert!(report.untouched[0].1.contains("but what is older than 100d") && report.overdue.is_empty());
        // Two weeks before nothing is left that is told, once.
        assert_eq!(report.expiring, []);
        world.clock.advance(37 * DAY);
        let report = logs(&world, &repository).await;
        let soon = &report.expiring[0];
        assert_eq!(
            (soon.system, soon.segments, soon.sources.as_slice()),
            (SYSTEM, 2, &["shop/db".to_owned()][..])
        );
        assert!((0..14 * DAY).contains(&(soon.last.seconds - world.clock_seconds())), "{soon:?}");
        world.clock.advance(13 * DAY);
        assert_eq!(logs(&world, &repository).await.freed_objects, 2);
        assert!(places(&world, &repository).await.is_empty());
        // What comes under those names later is new.
        fill(&world, &repository, 4..6).await;
        assert_eq!(logs(&world, &repository).await.freed_objects, 0);
        world.clock.advance(99 * DAY);
        assert_eq!(logs(&world, &repository).await.freed_objects, 0);
        world.clock.advance(2 * DAY);
        assert_eq!(logs(&world, &repository).await.freed_objects, 2);
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_stream_that_no_snapshot_is_of_yet_keeps_what_is_young() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&world, &repository, 0..3).await;
        archive.put(&piece(3, 0), b"a".to_vec()).await.unwrap();
        logs(&world, &repository).await;
        // The database sleeps, and then a piece comes: what is open is as young as that.
        world.clock.advance(90 * DAY);
        archive.put(&piece(3, 1), b"b".to_vec()).await.unwrap();
        assert_eq!(logs(&world, &repository).await.freed_objects, 0);
        world.clock.advance(11 * DAY);
        assert_eq!(logs(&world, &repository).await.freed_objects, 3);
        assert_eq!(places(&world, &repository).await, [3, 3]);
        // What runs on while nobody looks is dated when somebody does.
        fill(&world, &repository, 4..6).await;
        world.clock.advance(90 * DAY);
        assert_eq!(logs(&world, &repository).await.freed_objects, 2);
        assert_eq!(places(&world, &repository).await, [4, 5]);
        world.clock.advance(101 * DAY);
        assert_eq!(logs(&world, &repository).await.freed_objects, 2);
    });
}

#[test]
fn a_segment_that_a_snapshot_was_made_over_goes_with_it() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        fill(&world, &repository, 0..3).await;
        logs(&world, &repository).await;
        world.clock.advance(50 * DAY);
        back_up(&world, &repository, "shop/db", 2..3).await;
        logs(&world, &repository).await;
        world.clock.advance(51 * DAY);
        let report = logs(&world, &repository).await;
        assert_eq!((report.freed_objects, places(&world, &repository).await), (0, vec![2]));
        assert!(report.overdue[0].1.contains("was made over log that goes with it"), "{report:?}");
        world.clock.advance(50 * DAY);
        assert_eq!(forget_the_old(&world, &repository).await, 1);
        assert_eq!(logs(&world, &repository).await.freed_objects, 1);
    });
}

#[test]
fn log_of_another_source_and_what_is_held_does_not_go_for_its_age() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        fill(&world, &repository, 0..3).await;
        back_up(&world, &repository, "shop/db", 0..1).await;
        logs(&world, &repository).await;
        world.clock.advance(101 * DAY);
        forget_the_old(&world, &repository).await;
        // Who it is of is known when no snapshot is left, and those of another policy are no concern of it.
        for _ in 0..2 {
            let report = logs_of(&world, &repository, Some(&["wiki/db"])).await;
            assert_eq!((report.freed_objects, report.overdue), (0, vec![]));
        }
        assert_eq!(world.snapshots(&repository).await.len(), 0);
        let dry = LogOptions { dry_run: true, ..options(Some(&["shop/*"])) };
        assert_eq!(prune_logs(&world.ctx(), &repository, &dry).await.unwrap().freed_objects, 3);
        let scope = [HoldScope::Source("shop/db".into())];
        let held = hold(&world.ctx(), &repository, &scope, "a court", None).await.unwrap();
        let report = logs_of(&world, &repository, Some(&["shop/db"])).await;
        assert!(report.freed_objects == 0 && report.overdue[0].1.contains("a court"), "{report:?}");
        release(&world.ctx(), &repository, &[held[0].id]).await.unwrap();
        // All that are called so are only those that no snapshot is left of.
        back_up(&world, &repository, "shop/db", 1..2).await;
        assert_eq!(
            logs_of(&world, &repository, Some(&["shop/*"])).await.freed_objects,
            1,
            "below the snapshot"
        );
        // Another name for it: whose rules hold nobody can tell.
        back_up(&world, &repository, "wiki/db", 1..2).await;
        let report = logs_of(&world, &repository, Some(&["shop/db"])).await;
        assert!(report.freed_objects == 0 && report.overdue[0].1.contains("wiki/db (snapshot"), "{report:?}");
        assert_eq!(places(&world, &repository).await, [1, 2]);
        assert_eq!(logs_of(&world, &repository, Some(&["shop/db", "wiki/db"])).await.freed_objects, 1);
        assert_eq!(places(&world, &repository).await, [1], "a snapshot was made over it");
    });
}

#[test]
fn what_others_put_and_claim_makes_no_log_old() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        for key in [5, 6] {
            world.admitted(Role::Writer, key).await;
        }
        drop(owner);
        let of = async |key| world.open_as(Arc::new(world.store.clone()), key).await;
        let (victim, enemy, owner) = (of(5).await, of(6).await, world.open().await);
        fill(&world, &victim, 0..2).await;
        // The enemy is first with a name that comes later, lies far ahead, and says that it needs all of it.
        fill(&world, &enemy, 5..6).await;
        fill(&world, &enemy, 1 << 40..(1 << 40) + 1).await;
        back_up(&world, &victim, "shop/db", 0..1).await;
        back_up(&world, &enemy, "shop/db", 0..1 << 40).await;
        logs(&world, &owner).await;
        world.clock.advance(101 * DAY);
        fill(&world, &victim, 2..5).await;
        forget_the_old(&world, &owner).await;
        // Freed by an owner, and taken by whom it belongs to before anybody looks again.
        let name = world.names("wal/").into_iter().find(|name| name.as_str().ends_with("00000005")).unwrap();
        let delete = RepairLogOptions { delete: vec![name.as_str().to_owned()], dry_run: false };
        assert_eq!(repair_log(&world.ctx(), &owner, &delete).await.unwrap().deleted, 1);
        fill(&world, &victim, 5..6).await;
        assert_eq!(logs(&world, &owner).await.freed_objects, 3);
        assert_eq!(places(&world, &owner).await, [2, 3, 4, 5]);
        world.clock.advance(99 * DAY);
        assert_eq!(logs(&world, &owner).await.freed_objects, 0);
    });
}

#[test]
fn a_clock_that_is_years_ahead_takes_no_log_for_its_age() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        fill(&world, &repository, 0..3).await;
        logs(&world, &repository).await;
        world.clock.advance(3653 * DAY);
        let refused = prune_logs(&world.ctx(), &repository, &options(None)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Clock);
        world.clock.advance(-2 * 3653 * DAY);
        let refused = prune_logs(&world.ctx(), &repository, &options(None)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Clock);
        assert_eq!(places(&world, &repository).await, [0, 1, 2]);
    });
}
