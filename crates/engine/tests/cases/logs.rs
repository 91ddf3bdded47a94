//! The archive of logs: what is put comes back, what is there stays, what is kept and what goes.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, noise, pruning, run};
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use holdfast_core::keys::Role;
use holdfast_core::session::LogSpan;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, HoldScope, LogNeed, LogOptions, LogReport, LogUsers, PruneOptions, forget,
    hold, prune, prune_logs,
};
use holdfast_engine::wal::{
    PIECE_BYTES_MAX, ReadAt, SegmentName, Stored, Timeline, WalArchive, WalName, is_there,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{Repository, Right};
use std::collections::BTreeSet;
use std::sync::Arc;

const SYSTEM: u64 = 7;
const LENGTH: u64 = 1 << 20;

fn timeline() -> Timeline {
    Timeline::new(SYSTEM, 1, b"")
}

fn file(place: u64) -> String {
    SegmentName { timeline: 1, place }.to_string()
}

fn whole(place: u64) -> WalName {
    WalName::whole(timeline(), file(place))
}

async fn fill(archive: &WalArchive, places: std::ops::Range<u64>) {
    for place in places {
        assert_eq!(archive.put(&whole(place), vec![place as u8; 1000]).await.unwrap(), Stored::New);
    }
}

async fn places(archive: &WalArchive) -> Vec<u64> {
    let listed = archive.list(Some(SYSTEM)).await.unwrap();
    listed.iter().map(|listed| listed.name.kind().unwrap().segment().unwrap().place).collect()
}

#[test]
fn what_is_stored_late_is_as_old_as_it_is() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        let now = world.ctx().clock.now();
        let three_hours = |seconds| Time { seconds: now.seconds + seconds, nanos: 0 };
        let written = async |place: u64, at: Option<Time>| {
            archive.put_of(&whole(place), vec![place as u8], at).await.unwrap();
            archive.glance(&whole(place)).await.unwrap().unwrap().written.unwrap()
        };
        assert_eq!(written(1, Some(three_hours(-10_800))).await, three_hours(-10_800));
        assert!(written(2, None).await >= now);
        // A file of the future was written to now at the latest.
        assert!(written(3, Some(three_hours(10_800))).await < three_hours(10_800));
        let read: ReadAt = Arc::new(|_, length| Ok(vec![1; length]));
        let late = (1000, Some(three_hours(-10_800)));
        archive.put_file(&timeline(), &file(4), late, &read).await.unwrap();
        let glance = archive.glance(&whole(4)).await.unwrap().unwrap();
        assert_eq!(glance.written, Some(three_hours(-10_800)));
    });
}

#[test]
fn what_is_put_comes_back_and_stays() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        let content = noise(1, 100_000);
        assert_eq!(archive.get(&whole(3)).await.unwrap(), None);
        assert_eq!(archive.put(&whole(3), content.clone()).await.unwrap(), Stored::New);
        assert_eq!(archive.put(&whole(3), content.clone()).await.unwrap(), Stored::Same);
        assert_eq!(archive.put(&whole(3), noise(2, 100_000)).await.unwrap(), Stored::Other);
        assert_eq!(archive.get(&whole(3)).await.unwrap().unwrap(), content);
        let glance = archive.glance(&whole(3)).await.unwrap().unwrap();
        assert_eq!((glance.plain_bytes, glance.content), (100_000, archive.identify(&content).unwrap()));
        assert!(glance.written.is_some() && glance.content != archive.identify(b"other").unwrap());
        assert!(is_there(&world.store, &whole(3)).await.unwrap());
        assert!(!is_there(&world.store, &whole(4)).await.unwrap());
        // Empty ones too, and names of all kinds.
        for name in [
            "00000002.history",
            "000000010000000000000003.00000028.backup",
            "000000010000000000000009.partial",
        ] {
            let name = WalName::whole(timeline(), name);
            archive.put(&name, Vec::new()).await.unwrap();
            assert_eq!(archive.get(&name).await.unwrap().unwrap(), b"");
        }
        for wrong in ["", "a/b", "../x", ".x", "000000010000000000000003.7"] {
            let put = archive.put(&WalName::whole(timeline(), wrong), b"x".to_vec()).await;
            assert_eq!(put.unwrap_err().kind, ErrorKind::Usage, "{wrong}");
        }
        world.assert_sound(&repository).await;
    });
}

#[test]
fn listings_know_timelines_and_what_comes_after() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        assert_eq!(archive.timelines(None).await.unwrap(), []);
        let history = b"1\t0/300000\tx\n";
        let (second, other) = (Timeline::new(SYSTEM, 2, history), Timeline::new(9, 1, b""));
        fill(&archive, 2..5).await;
        archive.put(&WalName::whole(second, "00000002.history"), history.to_vec()).await.unwrap();
        archive.put(&WalName::piece(second, "000000020000000000000003", 0), b"a".to_vec()).await.unwrap();
        archive.put(&WalName::piece(second, "000000020000000000000003", 10), b"c".to_vec()).await.unwrap();
        archive.put(&WalName::piece(second, "000000020000000000000003", 2), b"b".to_vec()).await.unwrap();
        archive.put(&WalName::whole(other, file(7)), b"x".to_vec()).await.unwrap();
        assert_eq!(archive.timelines(None).await.unwrap(), [timeline(), second, other]);
        assert_eq!(archive.timelines(Some(SYSTEM)).await.unwrap(), [timeline(), second]);
        assert_eq!(archive.timelines(Some(1)).await.unwrap(), []);
        let after = |timeline: Timeline, place| {
            let archive = archive.clone();
            let segment = SegmentName { timeline: timeline.number, place };
            async move { archive.after(&timeline, segment).await.unwrap().map(|listed| listed.name.file) }
        };
        assert_eq!(after(timeline(), 2).await, Some(file(3)));
        assert_eq!(after(timeline(), 0).await, Some(file(2)));
        assert_eq!(after(timeline(), 4).await, None);
        // Neither a history nor pieces of the segment itself come after it.
        assert_eq!(after(second, 3).await, None);
        assert_eq!(after(second, 1).await.as_deref(), Some("000000020000000000000003"));
        let pieces = archive.list_file(&second, "000000020000000000000003").await.unwrap();
        let numbers: Vec<_> = pieces.iter().map(|listed| listed.name.piece).collect();
        assert_eq!(numbers, [Some(0), Some(2), Some(10)]);
        let found = archive.pieces(&second, "000000020000000000000003").await.unwrap();
        assert_eq!((found.content.as_slice(), found.count, found.broken), (&b"a"[..], 1, true));
        archive.put(&WalName::piece(second, "000000020000000000000003", 1), b"-".to_vec()).await.unwrap();
        let found = archive.pieces(&second, "000000020000000000000003").await.unwrap();
        assert_eq!((found.content.as_slice(), found.count, found.broken), (&b"a-b"[..], 3, true));
    });
}

#[test]
fn a_segment_longer_than_an_object_goes_on_after_the_pieces_that_are_there() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        let length = PIECE_BYTES_MAX as u64 + 5000;
        let read: ReadAt =
            Arc::new(|at, bytes| Ok((0..bytes as u64).map(|n| ((at + n) >> 12) as u8).collect()));
        // Somebody who streams has cut the first pieces.
        for (number, at, bytes) in [(0, 0, 10_000), (1, 10_000, 7)] {
            let content = read(at, bytes).unwrap();
            archive.put(&WalName::piece(timeline(), file(1), number), content).await.unwrap();
        }
        assert_eq!(
            archive.put_file(&timeline(), &file(1), (length, None), &read).await.unwrap(),
            Stored::New
        );
        assert_eq!(
            archive.put_file(&timeline(), &file(1), (length, None), &read).await.unwrap(),
            Stored::Same
        );
        let lengths: Vec<_> = archive.list_file(&timeline(), &file(1)).await.unwrap();
        assert_eq!(lengths.len(), 3);
        let pieces = archive.pieces(&timeline(), &file(1)).await.unwrap();
        assert_eq!((pieces.content.len() as u64, pieces.broken), (length, false));
        assert!(pieces.content == read(0, length as usize).unwrap());
        let other: ReadAt = Arc::new(|_, bytes| Ok(vec![1; bytes]));
        assert_eq!(
            archive.put_file(&timeline(), &file(1), (length, None), &other).await.unwrap(),
            Stored::Other
        );
    });
}

#[test]
fn damage_and_gaps_are_named_by_a_check() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        for place in [1, 2, 5] {
            archive.put(&whole(place), noise(place, LENGTH as usize)).await.unwrap();
        }
        let report = world.check(&repository).await;
        assert_eq!(report.errors, 0, "{:?}", report.findings);
        let gap = report.findings.iter().find(|finding| finding.what.contains("gap")).unwrap();
        assert!(gap.what.contains("2 missing between") && gap.subject.starts_with("wal/"), "{gap:?}");
        let key = world.names("wal/").remove(1);
        let mut objects = world.store.objects();
        let mut bytes = objects[&key].to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        objects.insert(key.clone(), bytes.into());
        let mut damaged = world.fork(5);
        damaged.store = holdfast_store::MemoryStore::with_objects(objects);
        let repository = damaged.open().await;
        let report = damaged.check(&repository).await;
        assert!(report.findings.iter().any(|finding| finding.is_error && finding.subject == key.as_str()));
        let archive = WalArchive::new(&damaged.ctx(), &repository);
        assert_eq!(archive.get(&whole(2)).await.unwrap_err().kind, ErrorKind::Damaged);
    });
}

/// What a model of a database records of a backup: its number and the segments.
fn record(system: u64, first: u64, last: u64) -> Vec<u8> {
    [system, first, last].map(u64::to_le_bytes).concat()
}

fn need(record: &[u8]) -> Option<LogNeed> {
    let number = |at: usize| Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let timeline = number(24).unwrap_or(1) as u32;
    let segment = |place| SegmentName { timeline, place };
    let (system, first, last) = (number(0)?, segment(number(8)?), segment(number(16)?));
    Some(LogNeed { system, first, last, segment_bytes: LENGTH })
}

fn options(keep_seconds: Option<u64>) -> LogOptions {
    let users = LogUsers { kind: "files", need };
    LogOptions { users, keep_seconds, delete_after: None, gone: BTreeSet::new(), dry_run: false }
}

async fn back_up(world: &World, repository: &Repository, record: &[u8]) {
    let mut tree = Tree::default();
    tree.put("file", Node::file(record.repeat(100)));
    let backup = world.backup(repository, ModelSource::new(&tree).recording(record)).await;
    assert!(backup.value.snapshot.is_some());
}

async fn logs(world: &World, repository: &Repository, keep_seconds: Option<u64>) -> LogReport {
    let options = options(keep_seconds);
    let dry = LogOptions { dry_run: true, ..options.clone() };
    let before = world.store.objects();
    let foreseen = prune_logs(&world.ctx(), repository, &dry).await.unwrap();
    assert!(world.store.objects() == before);
    let report = prune_logs(&world.ctx(), repository, &options).await.unwrap();
    assert_eq!(foreseen, report);
    report
}

async fn prune_all(world: &World, repository: &Repository) -> Vec<SessionId> {
    let options = PruneOptions { abort_after_seconds: 0, ..pruning() };
    prune(&world.ctx(), repository, &options).await.unwrap().dropped_snapshots
}

#[test]
fn log_is_kept_from_the_oldest_snapshot_on() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&archive, 0..10).await;
        let note = WalName::whole(timeline(), format!("{}.00000028.backup", file(1)));
        archive.put(&note, b"note".to_vec()).await.unwrap();
        let other = WalName::whole(Timeline::new(9, 1, b""), file(0));
        archive.put(&other, b"x".to_vec()).await.unwrap();
        // Without a snapshot all of it stays.
        let report = logs(&world, &repository, None).await;
        assert_eq!((report.freed_objects, report.untouched.len()), (0, 2));
        assert_eq!(report.kept_objects, 12);
        back_up(&world, &repository, &record(SYSTEM, 3, 4)).await;
        back_up(&world, &repository, &record(SYSTEM, 6, 6)).await;
        let report = logs(&world, &repository, None).await;
        assert_eq!((report.freed_objects, report.freed_bytes > 0), (4, true));
        assert_eq!(places(&archive).await, (3..10).collect::<Vec<_>>());
        // Of a database that nothing is known of all of it stays.
        assert!(archive.get(&other).await.unwrap().is_some());
        assert_eq!(report.untouched.iter().map(|(system, _)| *system).collect::<Vec<_>>(), [9]);
        // What is forgotten keeps its log until it is gone.
        let oldest = world.snapshots(&repository).await[0].id;
        let what = ForgetWhat::Snapshots(vec![oldest]);
        forget(
            &world.ctx(),
            &repository,
            &ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() },
        )
        .await
        .unwrap();
        assert_eq!(logs(&world, &repository, None).await.freed_objects, 0);
        // The first takes it into the catalogue, where nothing else is to be freed; the second out of it.
        let mut gone: BTreeSet<SessionId> = prune_all(&world, &repository).await.into_iter().collect();
        gone.extend(prune_all(&world, &repository).await);
        let dropped = LogOptions { gone, ..options(None) };
        assert_eq!(prune_logs(&world.ctx(), &repository, &dropped).await.unwrap().freed_objects, 3);
        assert_eq!(places(&archive).await, (6..10).collect::<Vec<_>>());
        // What comes late below the floor goes again, and nothing else.
        archive.put(&whole(2), b"late".to_vec()).await.unwrap();
        assert_eq!(logs(&world, &repository, None).await.freed_objects, 1);
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_clock_that_is_years_ahead_takes_no_log() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&archive, 0..10).await;
        back_up(&world, &repository, &record(SYSTEM, 3, 4)).await;
        back_up(&world, &repository, &record(SYSTEM, 6, 6)).await;
        prune_all(&world, &repository).await;
        world.clock.advance(3653 * 24 * 3600);
        let refused = prune_logs(&world.ctx(), &repository, &options(Some(60))).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Clock);
        assert_eq!(places(&archive).await, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_span_of_time_is_kept_and_what_older_snapshots_were_made_over() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&archive, 0..20).await;
        for (first, last) in [(2, 3), (8, 8), (14, 15)] {
            back_up(&world, &repository, &record(SYSTEM, first, last)).await;
            // A maintainer sees it at this time.
            prune_all(&world, &repository).await;
            world.clock.advance(86_400);
        }
        // Two days back lie between the first and the second: the first is where a recovery begins.
        assert_eq!(logs(&world, &repository, Some(2 * 86_400 + 3600)).await.freed_objects, 2);
        assert_eq!(places(&archive).await, (2..20).collect::<Vec<_>>());
        let held = HoldScope::Snapshot(world.snapshots(&repository).await[1].id);
        let held = hold(&world.ctx(), &repository, &[held], "audit", None).await.unwrap();
        assert_eq!(logs(&world, &repository, Some(3600)).await.freed_objects, 0);
        holdfast_engine::maintain::release(&world.ctx(), &repository, &[held[0].id]).await.unwrap();
        assert_eq!(logs(&world, &repository, Some(3600)).await.freed_objects, 9);
        let kept = [2, 3, 8, 14, 15, 16, 17, 18, 19];
        assert_eq!(places(&archive).await, kept);
        // More is wanted than there is: nothing comes back, and nothing more goes.
        assert_eq!(logs(&world, &repository, None).await.freed_objects, 0);
        assert_eq!(places(&archive).await, kept);
    });
}

#[test]
fn a_copy_that_was_set_back_keeps_its_log_until_it_has_a_snapshot() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&archive, 0..10).await;
        back_up(&world, &repository, &record(SYSTEM, 8, 8)).await;
        for place in [5, 6] {
            let file = SegmentName { timeline: 2, place }.to_string();
            let name = WalName::whole(Timeline::new(SYSTEM, 2, b"1"), file);
            archive.put(&name, b"x".to_vec()).await.unwrap();
        }
        assert_eq!(logs(&world, &repository, None).await.freed_objects, 8);
        assert_eq!(places(&archive).await, [8, 9, 5, 6]);
        back_up(&world, &repository, &[record(SYSTEM, 6, 6), 2_u64.to_le_bytes().to_vec()].concat()).await;
        assert_eq!(logs(&world, &repository, None).await.freed_objects, 1);
        assert_eq!(places(&archive).await, [8, 9, 6]);
    });
}

#[test]
fn a_copy_that_is_ahead_takes_nothing_from_the_original() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&archive, 0..10).await;
        let history = |text: &str| Timeline::new(SYSTEM, 2, text.as_bytes());
        let first = "000000020000000000000005";
        archive.put(&WalName::whole(history("1"), first), b"x".to_vec()).await.unwrap();
        back_up(&world, &repository, &record(SYSTEM, 2, 2)).await;
        back_up(&world, &repository, &record(SYSTEM, 4, 4)).await;
        back_up(&world, &repository, &[record(SYSTEM, 9, 9), 2_u64.to_le_bytes().to_vec()].concat()).await;
        prune_all(&world, &repository).await;
        world.clock.advance(86_400);
        // Another timeline of that number: nobody can tell which one the snapshot is of.
        let other = WalName::whole(history("2"), first);
        archive.put(&other, b"y".to_vec()).await.unwrap();
        assert_eq!(logs(&world, &repository, Some(3600)).await.freed_objects, 2);
        let object = world.names("wal/").into_iter().rfind(|name| name.as_str().ends_with(first)).unwrap();
        let mut objects = world.store.objects();
        objects.remove(&object).unwrap();
        let mut world = world.fork(3);
        world.store = holdfast_store::MemoryStore::with_objects(objects);
        let repository = world.open().await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        // The original goes on from its own snapshot, and what the older one was made over stays.
        assert_eq!(logs(&world, &repository, Some(3600)).await.freed_objects, 1);
        assert_eq!(places(&archive).await, [2, 4, 5, 6, 7, 8, 9, 5]);
    });
}

#[test]
fn who_cannot_be_understood_and_holds_stop_it() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        fill(&archive, 0..5).await;
        back_up(&world, &repository, &record(SYSTEM, 3, 4)).await;
        back_up(&world, &repository, b"odd").await;
        let report = logs(&world, &repository, None).await;
        assert_eq!((report.freed_objects, report.untouched.len()), (0, 1));
        hold(&world.ctx(), &repository, &[HoldScope::All], "why", None).await.unwrap();
        let held = prune_logs(&world.ctx(), &repository, &options(None)).await;
        assert_eq!(held.unwrap_err().kind, ErrorKind::Held);
    });
}

#[test]
fn who_keeps_a_log_that_nobody_can_judge_is_told_by_name() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &owner);
        fill(&archive, 0..5).await;
        back_up_needing(&world, &owner, span(SYSTEM, 3, 4)).await;
        let writer = world.admitted(Role::Writer, 5).await;
        let owner = world.open().await;
        let named = async || {
            let one = world.newest(&owner).await;
            (one.id, format!("snapshot {} of member writer (", &one.id.to_string()[..8]))
        };
        // It says another length of segments.
        world.clock.advance(60);
        back_up_needing(&world, &writer, LogSpan { segment_bytes: 2 * LENGTH, ..span(SYSTEM, 3, 4) }).await;
        let report = logs(&world, &owner, None).await;
        let (id, name) = named().await;
        assert!(report.freed_objects == 0 && report.untouched[0].1.contains(&name), "{report:?}");
        let forgets = ForgetOptions {
            what: ForgetWhat::Snapshots(vec![id]),
            allow_last: true,
            dry_run: false,
            proven: BTreeSet::new(),
        };
        forget(&world.ctx(), &owner, &forgets).await.unwrap();
        prune_all(&world, &owner).await;
        // It says nothing that can be understood.
        world.clock.advance(60);
        back_up(&world, &writer, b"odd").await;
        let report = logs(&world, &owner, None).await;
        let (_, name) = named().await;
        assert!(report.freed_objects == 0 && report.untouched[0].1.contains(&name), "{report:?}");
    });
}

#[test]
fn pieces_go_once_the_segment_is_whole() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let archive = WalArchive::new(&world.ctx(), &repository);
        for number in 0..3 {
            archive.put(&WalName::piece(timeline(), file(1), number), vec![number as u8; 10]).await.unwrap();
            archive.put(&WalName::piece(timeline(), file(2), number), vec![number as u8; 10]).await.unwrap();
        }
        archive.put(&whole(1), b"all of it".to_vec()).await.unwrap();
        let report = logs(&world, &repository, None).await;
        assert_eq!((report.freed_objects, report.kept_objects), (3, 4));
        assert_eq!(places(&archive).await, [1, 2, 2, 2]);
    });
}

fn span(system: u64, first: u64, last: u64) -> LogSpan {
    LogSpan { system, timeline: 1, first, last, segment_bytes: LENGTH }
}

/// Backs up with a record that says nothing, and a summary that says what is needed.
async fn back_up_needing(world: &World, repository: &Repository, log: LogSpan) {
    let mut tree = Tree::default();
    tree.put("file", Node::file(noise(log.first, 1000)));
    let outcome = world.backup(repository, ModelSource::new(&tree).recording(b"odd").needing(log)).await;
    assert!(outcome.problems.problems.is_empty());
}

#[test]
fn a_maintainer_learns_from_summaries_what_is_needed() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        world.admitted(Role::Maintainer, 5).await;
        let archive = WalArchive::new(&world.ctx(), &owner);
        fill(&archive, 0..12).await;
        for (first, last) in [(2, 3), (6, 6)] {
            back_up_needing(&world, &owner, span(SYSTEM, first, last)).await;
        }
        let maintainer = world.open_as(Arc::new(world.store.clone()), 5).await;
        assert!(!maintainer.may(Right::Read));
        let report = logs(&world, &maintainer, None).await;
        assert_eq!((report.freed_objects, report.untouched.len()), (2, 0));
        prune_all(&world, &maintainer).await;
        world.clock.advance(86_400);
        // What the older one was made over stays, and from the newer one on all.
        assert_eq!(logs(&world, &maintainer, Some(3600)).await.freed_objects, 2);
        assert_eq!(places(&archive).await, [2, 3, 6, 7, 8, 9, 10, 11]);
        // Of a snapshot that an earlier version made it cannot tell, and then all of it stays.
        back_up(&world, &owner, &record(SYSTEM, 9, 9)).await;
        let report = logs(&world, &maintainer, Some(3600)).await;
        assert_eq!((report.freed_objects, report.untouched.len()), (0, 1));
        assert!(report.untouched[0].1.contains("owner's key"), "{report:?}");
        world.assert_sound(&owner).await;
    });
}

#[test]
fn what_one_writer_claims_of_a_database_takes_no_log_from_another() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        for key in [5, 6] {
            world.admitted(Role::Writer, key).await;
        }
        let of = async |key| world.open_as(Arc::new(world.store.clone()), key).await;
        let (victim, enemy) = (of(5).await, of(6).await);
        let owner = {
            drop(owner);
            world.open().await
        };
        fill(&WalArchive::new(&world.ctx(), &victim), 0..10).await;
        let archive = WalArchive::new(&world.ctx(), &owner);
        // A claim alone frees nothing: no log begins there.
        back_up_needing(&world, &enemy, span(SYSTEM, 1 << 40, 1 << 40)).await;
        let report = logs(&world, &owner, None).await;
        assert_eq!((report.freed_objects, report.untouched.len()), (0, 1));
        back_up_needing(&world, &victim, span(SYSTEM, 2, 2)).await;
        back_up_needing(&world, &enemy, span(SYSTEM, 9, 9)).await;
        prune_all(&world, &owner).await;
        world.clock.advance(86_400);
        assert_eq!(logs(&world, &owner, Some(3600)).await.freed_objects, 2);
        assert_eq!(places(&archive).await, (2..10).collect::<Vec<_>>());
        // Its own newer one moves it.
        back_up_needing(&world, &victim, span(SYSTEM, 5, 5)).await;
        prune_all(&world, &owner).await;
        world.clock.advance(86_400);
        assert_eq!(logs(&world, &owner, Some(3600)).await.freed_objects, 2);
        assert_eq!(places(&archive).await, [2, 5, 6, 7, 8, 9]);
    });
}
