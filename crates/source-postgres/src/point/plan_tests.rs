//! Plans over forged logs: forks, gaps, snapshots that fit and do not.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::point::tree::tests::MIB;
use crate::point::wish::Choice;
use crate::point::{Edge, commits};
use crate::records::forge::{Forge, SEGMENT, SYSTEM};
use holdfast_engine::error::Result;
use holdfast_engine::wal::{WalListed, WalName};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const _: () = assert!(MIB == SEGMENT);

/// An archive in memory.
#[derive(Default)]
struct World {
    segments: BTreeMap<(Timeline, SegmentName), Vec<u8>>,
    histories: BTreeMap<Timeline, Vec<u8>>,
    bases: Vec<Base>,
    /// What the snapshots say of their timelines.
    own: Vec<Option<Vec<u8>>>,
}

impl Shelf for World {
    async fn segment(&self, timeline: &Timeline, name: SegmentName) -> Result<Option<Vec<u8>>> {
        Ok(self.segments.get(&(*timeline, name)).cloned())
    }

    async fn history_of(&self, base: usize) -> Result<Option<Vec<u8>>> {
        Ok(self.own[base].clone())
    }
}

/// Nothing here waits for anything.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

impl World {
    /// Archives all of a timeline from a segment on.
    fn archive(&mut self, number: u32, history: &str, forge: &Forge, from: u64) -> Timeline {
        let timeline = Timeline::new(SYSTEM, number, history.as_bytes());
        if number > 1 {
            self.histories.insert(timeline, history.as_bytes().to_vec());
        }
        for (segment, bytes) in forge.segments().into_iter().filter(|(segment, _)| *segment >= from) {
            self.segments.insert((timeline, SegmentName::at(number, segment * SEGMENT, SEGMENT)), bytes);
        }
        timeline
    }

    fn lose(&mut self, number: u32, segment: u64) {
        let lost = SegmentName::at(number, segment * SEGMENT, SEGMENT);
        self.segments.retain(|(_, name), _| *name != lost);
    }

    fn base(&mut self, timeline: u32, history: Option<&str>, start: Lsn, stop: Lsn, ended: i64) {
        self.bases.push(Base { timeline, start, stop, ended: PgTime(ended) });
        self.own.push(history.map(|history| history.as_bytes().to_vec()));
    }

    fn tree(&self) -> Tree {
        let named = |timeline: &Timeline, file: String| WalListed {
            name: WalName::whole(*timeline, file),
            stored_bytes: 1,
        };
        let segments = self.segments.keys().map(|(timeline, name)| named(timeline, name.to_string()));
        let histories =
            self.histories.keys().map(|timeline| named(timeline, format!("{:08X}.history", timeline.number)));
        let listed: Vec<_> = segments.chain(histories).collect();
        Tree::new(SEGMENT, &listed, &self.histories)
    }

    fn plan(&self, wish: &Wish) -> std::result::Result<Plan, PlanError> {
        at_once(plan(self, SYSTEM, &self.tree(), &self.bases, wish))
    }

    fn to(&self, target: Target) -> std::result::Result<Plan, PlanError> {
        self.plan(&Wish { target, exclusive: false, choice: None })
    }

    fn along(&self, target: Target, timeline: &Timeline) -> std::result::Result<Plan, PlanError> {
        let choice = Choice::parse(&timeline.to_string());
        self.plan(&Wish { target, exclusive: false, choice })
    }
}

/// Ten segments with four commits each: transaction N at time 10 N, with much between them.
fn ten() -> (Forge, Vec<Lsn>) {
    let mut forge = Forge::new(1);
    let mut commits = vec![Lsn(0)];
    for number in 1..=40 {
        forge.other(200_000);
        commits.push(forge.commit(number, i64::from(number) * 10));
        if number % 4 == 0 {
            forge.switch();
        }
    }
    (forge, commits)
}

/// That log archived, with snapshots after the transactions 4 and 20.
fn plain() -> (World, Vec<Lsn>) {
    let (forge, commits) = ten();
    let mut world = World::default();
    world.archive(1, "", &forge, 1);
    for number in [4, 20] {
        let stop = Lsn(commits[number].0 + 40);
        world.base(1, None, commits[number], stop, number as i64 * 10 + 1);
    }
    (world, commits)
}

fn xids(plan: &Plan) -> (Option<u32>, Option<u32>) {
    (plan.before.map(|seen| seen.xid), plan.after.map(|seen| seen.xid))
}

#[test]
fn a_moment_lies_between_the_last_commit_that_is_there_and_the_first_that_is_not() {
    let (world, commits) = plain();
    for (time, base) in [(45, 0), (50, 0), (199, 0), (200, 1), (201, 1), (205, 1), (333, 1), (399, 1)] {
        let plan = world.to(Target::Time(PgTime(time))).unwrap();
        let before = (time / 10) as u32;
        assert_eq!(xids(&plan), (Some(before), Some(before + 1)), "{time}");
        assert_eq!((plan.base, plan.stop), (base, Some(commits[before as usize + 1])), "{time}");
        assert_eq!(plan.goal, Goal::Time(PgTime(time)));
        assert!(!plan.none_after && plan.timeline.unwrap().number == 1);
    }
    let exclusive = Wish { target: Target::Time(PgTime(330)), exclusive: true, choice: None };
    assert_eq!(xids(&world.plan(&exclusive).unwrap()), (Some(32), Some(33)));
}

#[test]
fn behind_the_last_commit_the_end_of_the_log_is_meant() {
    let (world, commits) = plain();
    let plan = world.to(Target::Time(PgTime(5000))).unwrap();
    assert!(plan.none_after && plan.stop.is_none());
    assert_eq!(xids(&plan), (Some(40), None));
    assert!(
        matches!(plan.goal, Goal::Lsn(last) if last > commits[40] && Some(last) == plan.last),
        "{plan:?}"
    );
    let plan = world.to(Target::Latest).unwrap();
    assert_eq!((plan.base, plan.goal.clone(), xids(&plan)), (1, Goal::Latest, (Some(40), None)));
}

#[test]
fn a_target_before_all_snapshots_is_refused() {
    let (mut world, commits) = plain();
    assert!(matches!(world.to(Target::Time(PgTime(39))), Err(PlanError::TooNew(0))));
    assert!(matches!(world.to(Target::Lsn(commits[4])), Err(PlanError::TooNew(0))));
    // One that was named is all that there is.
    world.bases.remove(0);
    world.own.remove(0);
    assert!(matches!(world.to(Target::Time(PgTime(199))), Err(PlanError::TooNew(0))));
    world.bases.clear();
    assert!(matches!(world.to(Target::Latest), Err(PlanError::NoBase)));
}

#[test]
fn places_transactions_and_names_are_found() {
    let mut world = World::default();
    let mut forge = Forge::new(1);
    let first = forge.commit(1, 10);
    let stop = forge.other(10);
    forge.abort(2, 20);
    let point = forge.point("the drop", 25);
    let third = forge.commit(3, 30);
    forge.commit(4, 40);
    world.archive(1, "", &forge, 1);
    world.base(1, None, first, stop, 15);
    let plan = world.to(Target::Name("the drop".into())).unwrap();
    assert_eq!((plan.stop, xids(&plan)), (Some(point), (Some(1), Some(3))));
    let plan = world.to(Target::Xid(3)).unwrap();
    assert_eq!((plan.stop, xids(&plan)), (Some(third), (Some(3), Some(4))));
    let plan = world.plan(&Wish { target: Target::Xid(3), exclusive: true, choice: None }).unwrap();
    assert_eq!((plan.stop, xids(&plan)), (Some(third), (Some(1), Some(3))));
    let plan = world.to(Target::Lsn(third)).unwrap();
    assert_eq!((plan.stop, xids(&plan)), (Some(third), (Some(3), Some(4))));
    let plan = world.plan(&Wish { target: Target::Lsn(third), exclusive: true, choice: None }).unwrap();
    assert_eq!(xids(&plan), (Some(1), Some(3)));
    for none in [Target::Name("other".into()), Target::Xid(9), Target::Lsn(Lsn(third.0 + 5000))] {
        assert!(matches!(world.to(none.clone()), Err(PlanError::NotFound(..))), "{none:?}");
    }
}

#[test]
fn an_older_snapshot_is_taken_for_what_lies_before_the_newest() {
    let (world, commits) = plain();
    for (target, base) in [
        (Target::Xid(10), 0),
        (Target::Xid(30), 1),
        (Target::Lsn(commits[10]), 0),
        (Target::Lsn(commits[30]), 1),
    ] {
        let plan = world.to(target.clone()).unwrap();
        assert_eq!(plan.base, base, "{target:?}");
    }
}

#[test]
fn a_gap_in_the_way_is_refused_and_one_behind_the_target_is_not() {
    for lost in [6, 9] {
        let (mut world, commits) = plain();
        world.lose(1, lost + 1);
        // Segment N has the transactions up to 4 N.
        for xid in [21, 23, 24, 27, 35, 39] {
            let target = Target::Time(PgTime(i64::from(xid) * 10 + 5));
            let segment = u64::from(xid / 4) + 1;
            let found = world.to(target);
            if lost + 1 == 10 && segment >= 10 {
                // The last segment is no gap: nothing follows.
                assert!(found.unwrap().none_after || xid < 36);
            } else if segment < lost + 1 {
                assert_eq!(xids(&found.unwrap()), (Some(xid), Some(xid + 1)));
            } else {
                let Err(PlanError::Gap { first, next, .. }) = found else { panic!("{lost} {xid} {found:?}") };
                assert_eq!(first, SegmentName::at(1, (lost + 1) * SEGMENT, SEGMENT));
                assert_eq!(next, (lost + 2 <= 10).then(|| SegmentName::at(1, (lost + 2) * SEGMENT, SEGMENT)));
            }
        }
        if lost + 1 < 10 {
            assert!(matches!(world.to(Target::Latest), Err(PlanError::Gap { .. })));
            assert!(matches!(world.to(Target::Xid(40)), Err(PlanError::Gap { .. })));
            assert!(matches!(world.to(Target::Lsn(commits[39])), Err(PlanError::Gap { .. })));
        }
    }
}

#[test]
fn damage_in_the_way_is_refused() {
    let (mut world, commits) = plain();
    let name = SegmentName::at(1, 8 * SEGMENT, SEGMENT);
    let bytes = world.segments.get_mut(&(Timeline::new(SYSTEM, 1, b""), name)).unwrap();
    bytes[(commits[31].0 % SEGMENT) as usize + 30] ^= 1;
    assert!(matches!(world.to(Target::Xid(33)), Err(PlanError::Broken(at, _)) if at == commits[31]));
    assert_eq!(xids(&world.to(Target::Xid(29)).unwrap()), (Some(29), Some(30)));
}

/// The plain log left at transaction 30 by a second timeline that has the transactions 131 to 135.
fn forked(goes_on: bool) -> (World, Timeline, Timeline) {
    let (mut forge, mut world) = (Forge::new(1), World::default());
    let mut base = Lsn(0);
    for number in 1..=30 {
        forge.other(100_000);
        forge.commit(number, i64::from(number) * 10);
        if number == 5 {
            base = forge.other(10);
        }
    }
    let at = Lsn(forge.here().0.next_multiple_of(8));
    let history = format!("1\t{at}\tno recovery target specified\n");
    let mut second = forge.clone();
    for number in 131..=135 {
        second.other(300_000);
        second.commit(number, 300 + (i64::from(number) - 130) * 20);
    }
    second.switch();
    if goes_on {
        for number in 31..=35 {
            forge.other(300_000);
            forge.commit(number, i64::from(number) * 10);
        }
        forge.switch();
    }
    let one = world.archive(1, "", &forge, 1);
    let two = world.archive(2, &history, &second, at.0 / SEGMENT);
    world.base(1, None, base, base, 51);
    (world, one, two)
}

#[test]
fn after_a_failover_the_new_timeline_is_meant() {
    let (world, one, two) = forked(false);
    let plan = world.to(Target::Latest).unwrap();
    assert_eq!((plan.timeline, xids(&plan)), (Some(two), (Some(135), None)));
    assert_eq!(plan.legs.iter().map(|leg| leg.number).collect::<Vec<_>>(), [1, 2]);
    // What lies before the fork is on the old one, and on the new one all the same.
    let plan = world.to(Target::Time(PgTime(255))).unwrap();
    assert_eq!((plan.timeline, xids(&plan)), (Some(one), (Some(25), Some(26))));
    let plan = world.along(Target::Time(PgTime(255)), &two).unwrap();
    assert_eq!((plan.timeline, xids(&plan)), (Some(two), (Some(25), Some(26))));
    let plan = world.to(Target::Time(PgTime(335))).unwrap();
    assert_eq!((plan.timeline, xids(&plan)), (Some(two), (Some(131), Some(132))));
    assert_eq!(world.to(Target::Time(PgTime(999))).unwrap().timeline, Some(two));
    assert_eq!(xids(&world.along(Target::Latest, &one).unwrap()), (Some(30), None));
}

#[test]
fn where_both_timelines_go_on_somebody_has_to_choose() {
    let (world, one, two) = forked(true);
    for target in [Target::Latest, Target::Time(PgTime(325)), Target::Time(PgTime(999))] {
        let Err(PlanError::Choose(rivals)) = world.to(target.clone()) else { panic!("{target:?}") };
        assert_eq!(rivals.iter().map(|rival| rival.timeline).collect::<Vec<_>>(), [one, two]);
        assert_eq!(rivals[0].begins, None);
        assert!(rivals[1].begins.is_some() && rivals[1].last.is_some());
    }
    let at = |timeline, time| xids(&world.along(Target::Time(PgTime(time)), timeline).unwrap());
    assert_eq!((at(&one, 325), at(&two, 325)), ((Some(32), Some(33)), (Some(131), Some(132))));
    // Only one of them has it.
    assert_eq!(world.to(Target::Xid(33)).unwrap().timeline, Some(one));
    assert_eq!(world.to(Target::Xid(133)).unwrap().timeline, Some(two));
    assert_eq!(world.to(Target::Time(PgTime(375))).unwrap().timeline, Some(two));
    let none = Choice { number: 3, history: String::new() };
    let wish = Wish { target: Target::Latest, exclusive: false, choice: Some(none) };
    assert!(matches!(world.plan(&wish), Err(PlanError::NoLine(there)) if there == [one, two]));
}

#[test]
fn a_snapshot_of_another_timeline_with_that_number_is_not_taken() {
    let (mut world, _, two) = forked(false);
    let history = String::from_utf8(world.histories[&two].clone()).unwrap();
    let end = world.to(Target::Latest).unwrap().before.unwrap().at;
    world.base(2, Some("1\t0/100100\tanother clone\n"), Lsn(end.0 - 10), end, 900);
    assert_eq!(world.to(Target::Latest).unwrap().base, 0);
    world.base(2, Some(&history), Lsn(end.0 - 10), end, 900);
    assert_eq!(world.to(Target::Latest).unwrap().base, 2);
    // A timeline without its history leads nowhere.
    world.histories.clear();
    assert!(matches!(world.to(Target::Time(PgTime(335))), Err(PlanError::NoHistory(_))));
    assert!(world.to(Target::Time(PgTime(255))).is_err());
}

#[test]
fn without_an_archive_only_the_snapshot_itself_is_there() {
    let mut world = World::default();
    world.base(1, None, Lsn(10), Lsn(20), 5);
    world.base(1, None, Lsn(30), Lsn(40), 6);
    assert!(matches!(world.to(Target::Latest), Err(PlanError::NoArchive)));
    let plan = world.to(Target::Immediate).unwrap();
    assert_eq!((plan.base, plan.goal, plan.timeline), (1, Goal::Immediate, None));
}

#[test]
fn commits_of_a_part_of_the_log_are_told() {
    let (mut world, commits_at) = plain();
    let told = |world: &World, span| {
        let mut found = Vec::new();
        at_once(commits(world, SYSTEM, &world.tree(), 0, span, |event| found.extend(event.xid()))).unwrap();
        found
    };
    let times = |from, to| (Edge::Time(PgTime(from)), Edge::Time(PgTime(to)));
    assert_eq!(told(&world, times(95, 140)), [10, 11, 12, 13, 14]);
    assert_eq!(told(&world, times(0, 20)), [1, 2]);
    assert_eq!(told(&world, times(395, 9999)), [40]);
    assert_eq!(told(&world, (Edge::Lsn(commits_at[7]), Edge::Lsn(commits_at[9]))), [7, 8, 9]);
    world.lose(1, 5);
    assert_eq!(told(&world, times(155, 225)), [16, 21, 22]);
    let (world, _, _) = forked(true);
    let on = |line| {
        let mut found = Vec::new();
        at_once(commits(&world, SYSTEM, &world.tree(), line, times(295, 345), |event| {
            found.extend(event.xid());
        }))
        .unwrap();
        found
    };
    assert_eq!((on(0), on(1)), (vec![30, 31, 32, 33, 34], vec![131, 132]));
}
