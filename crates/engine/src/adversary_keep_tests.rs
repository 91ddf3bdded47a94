//! What an enemy commits in another's name while days go by, dated as it likes: by no rule of a policy does any
//! snapshot of the other's go that would have stayed without it.
//!
//! On purpose not here: what an owner has passed on, and clocks of honest hosts that are wrong.

use super::*;
use crate::civil::DAY;
use crate::maintain::KeepSpan;

/// So many days go by.
const DAYS: u64 = 10;

/// A small tree that is another each time.
fn leaf(number: u64) -> Tree {
    let mut tree = Tree::default();
    tree.put("file", Node::file(noise(number, 20_000)));
    tree
}

/// Days on each of which the victim backs up twice and an owner prunes, and so sees what came: with an enemy
/// that lies meanwhile, or without.
async fn days(is_lied: bool) -> (Fleet, Vec<Snapshot>) {
    let fleet = fleet().await;
    let mut kept: Vec<Snapshot> = Vec::new();
    for day in 0..DAYS {
        for half in 0..2 {
            fleet.world.clock.advance(DAY / 2 - 200);
            kept.push(fleet.keep(&fleet.victim, &leaf(2 * day + half)).await);
            fleet.world.clock.advance(100);
            // Seen on the day that it is made, and a day later.
            if is_lied && half == day % 2 {
                lie(&fleet, &kept).await;
            }
        }
        fleet.prune().await.unwrap();
    }
    (fleet, kept)
}

/// Snapshots in the victim's name, larger than any, that claim to take the place of all that it has.
async fn lie(fleet: &Fleet, kept: &[Snapshot]) {
    let now = fleet.world.clock_seconds();
    let near = [now - 80_000, now - 1, now, now, now + 3600, now + 80_000];
    let far = [0, now - 30 * DAY, now - 3 * DAY, now + 3 * DAY, now + 30 * DAY, i64::MAX / 2];
    for end in near.into_iter().chain(far) {
        let last = kept.last().unwrap();
        let mut forged = fleet.enemy.begin(last.summary.stream).await;
        let root = fleet.enemy.empty_tree(&mut forged);
        let counts = Counts { files: 1 << 40, bytes: 1 << 60, ..Counts::default() };
        let supersedes = kept.iter().map(|snapshot| snapshot.id).collect();
        let summary = Summary { end: at(end), counts, supersedes, ..in_the_name_of(last, root) };
        fleet.enemy.commit(&forged, summary);
    }
}

fn rules() -> Vec<Retention> {
    let newest = |number| KeepLimit::Newest(KeepCount::Number(number));
    let within = |days| KeepLimit::Within(KeepSpan { days, ..KeepSpan::default() });
    let all = KeepLimit::Newest(KeepCount::Unlimited);
    let of_rules = [
        (Period::Each, newest(3)),
        (Period::Hour, newest(5)),
        (Period::Day, newest(4)),
        (Period::Day, all),
        (Period::Week, newest(2)),
        (Period::Month, newest(2)),
        (Period::Year, newest(1)),
        (Period::Each, within(4)),
        (Period::Hour, within(3)),
        (Period::Day, within(6)),
        (Period::Week, within(9)),
    ];
    let due = |mut retention: Retention| {
        retention.delete_after = Some(KeepSpan { days: 6, ..KeepSpan::default() });
        retention
    };
    let mut nothing_but_due = due(keeping(Period::Each, all));
    nothing_but_due.keep.rules.clear();
    let mut rules: Vec<_> = of_rules.into_iter().map(|(of, limit)| keeping(of, limit)).collect();
    rules.extend([due(keeping(Period::Each, all)), due(keeping(Period::Day, newest(4))), nothing_but_due]);
    rules
}

/// Which of the victim's stay, by their order.
async fn staying(fleet: &Fleet, kept: &[Snapshot], retention: &Retention) -> Vec<usize> {
    let report = forget_by(&fleet.world, &fleet.owner, retention.clone(), true).await;
    let goes = |one: &Snapshot| report.forgotten.iter().any(|gone| gone.id == one.id);
    (0..kept.len()).filter(|at| !goes(&kept[*at])).collect()
}

#[test]
fn snapshots_in_another_s_name_push_out_none_of_its_own() {
    run(|| async {
        let ((alone, of_alone), (fleet, kept)) = (days(false).await, days(true).await);
        let ends = |all: &[Snapshot]| all.iter().map(|one| one.summary.end).collect::<Vec<_>>();
        assert_eq!(ends(&kept), ends(&of_alone));
        let rules = rules();
        for retention in &rules {
            let expected = staying(&alone, &of_alone, retention).await;
            assert!(expected.len() < kept.len(), "it forgets nothing: {retention:?}");
            assert_eq!(staying(&fleet, &kept, retention).await, expected, "{retention:?}");
        }
        // And for good.
        let stays = staying(&fleet, &kept, &rules[2]).await;
        forget_by(&fleet.world, &fleet.owner, rules[2].clone(), false).await;
        fleet.prune_all().await;
        for at in stays {
            fleet.assert_whole(&kept[at], &leaf(at as u64)).await;
        }
        let said = fleet.said_of_enemy().await;
        assert!(said.iter().any(|line| line.contains("one of them is false")), "{said:#?}");
    });
}
