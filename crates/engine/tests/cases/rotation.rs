//! New keys for all members, beside whoever writes: old data stays readable, nothing is lost, and a rotation that was
//! cut off harms nobody and can be ended.
//!
//! On purpose not here: members that come and go (`members`).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::members::{
    admitted, assert_all_restore, back_up, calls_of, dies_at, ids, member_of, open, open_stepped,
    stepped_backup, tree,
};
use crate::harness::{Node, Stepped, World, key_file, noise, pruning, run, secret};
use holdfast_core::keys::Role;
use holdfast_engine::error::Result;
use holdfast_engine::evidence::{append, records};
use holdfast_engine::maintain::{ForgetOptions, ForgetWhat, forget, prune};
use holdfast_engine::workers::Workers;
use holdfast_engine::{Repository, members, remove_member, rotate};
use std::collections::BTreeSet;

/// A snapshot of an owner's, beside whom are a writer, a reader and another owner.
async fn of_two_owners() -> World {
    let (world, owner) = World::made(Workers::inline()).await;
    back_up(&world, &owner, 1).await.unwrap();
    for (role, byte) in [(Role::Writer, 8), (Role::Reader, 9), (Role::Owner, 10)] {
        admitted(&world, &owner, role, byte).await;
    }
    world
}

#[test]
fn what_was_sealed_before_a_rotation_stays_readable_and_what_comes_after_is_too() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        back_up(&world, &owner, 1).await.unwrap();
        let (writer, reader) = (
            admitted(&world, &owner, Role::Writer, 8).await,
            admitted(&world, &owner, Role::Reader, 9).await,
        );
        append(&world.ctx(), &reader, "drill", b"{}").await.unwrap();
        let rotated = rotate(&world.ctx(), &owner).await.unwrap();
        assert_eq!((rotated.key_epoch, rotated.members, rotated.was_begun), (1, 3, false));
        let packs = world.names("packs/").len();
        // Who was open all the time sees what came later, and is seen.
        back_up(&world, &owner, 2).await.unwrap();
        back_up(&world, &writer, 3).await.unwrap();
        assert!(world.names("packs/").len() > packs);
        assert_all_restore(&world, &reader).await;
        // So does who comes after it, also the next generation.
        for (byte, epoch) in [(20, 1), (21, 2)] {
            let late = admitted(&world, &owner, Role::Reader, byte).await;
            assert_all_restore(&world, &late).await;
            assert_eq!(members(&owner).last().unwrap().key_epochs.len(), epoch as usize + 1);
            rotate(&world.ctx(), &owner).await.unwrap();
        }
        let writer = open(&world, 8).await.unwrap();
        back_up(&world, &writer, 4).await.unwrap();
        append(&world.ctx(), &reader, "drill", b"{}").await.unwrap();
        assert_eq!(records(&world.ctx(), &owner).await.unwrap().problems().count(), 0);
        assert_eq!(ids(&world, &reader).await.len(), 4);
        assert_all_restore(&world, &reader).await;
        world.assert_sound(&owner).await;
        // All epochs in one index and in packs that are written anew.
        let first = world.snapshots(&owner).await[0].id;
        let what = ForgetWhat::Snapshots(vec![first]);
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        forget(&world.ctx(), &owner, &options).await.unwrap();
        for _ in 0..3 {
            prune(&world.ctx(), &owner, &pruning()).await.unwrap();
        }
        let reader = open(&world, 9).await.unwrap();
        assert_eq!(ids(&world, &reader).await.len(), 3);
        assert_all_restore(&world, &reader).await;
        world.assert_sound(&owner).await;
    });
}

#[test]
fn packs_of_an_old_generation_are_repacked_and_still_open() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        let mut both = tree(1);
        both.put("other", Node::file(noise(70, 300_000)));
        world.keep(&owner, &both).await;
        rotate(&world.ctx(), &owner).await.unwrap();
        world.keep(&owner, &tree(1)).await;
        let first = world.snapshots(&owner).await[0].id;
        let what = ForgetWhat::Snapshots(vec![first]);
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        forget(&world.ctx(), &owner, &options).await.unwrap();
        let mut repacked = 0;
        for _ in 0..3 {
            repacked += prune(&world.ctx(), &owner, &pruning()).await.unwrap().repacked_packs;
        }
        assert!(repacked > 0);
        let owner = world.open().await;
        world.assert_sound(&owner).await;
        let left = world.newest(&owner).await;
        world.assert_restores(&owner, &left, &tree(1)).await;
    });
}

/// Epochs that the objects below a name are sealed under.
fn epochs(world: &World, prefix: &str) -> BTreeSet<u32> {
    let objects = world.store.objects();
    let of = objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
    of.map(|(_, body)| u32::from_le_bytes(body[24..28].try_into().unwrap())).collect()
}

#[test]
fn a_rotation_that_is_cut_off_hinders_nobody_and_can_be_ended() {
    run(|| async {
        let start = of_two_owners().await;
        let calls = calls_of(&start, rotate).await;
        let (mut begun, mut done) = (0, 0);
        for at in 0..calls {
            let world = start.fork(2);
            dies_at(&world, at, rotate).await;
            let (writer, reader) = (open(&world, 8).await.unwrap(), open(&world, 9).await.unwrap());
            back_up(&world, &writer, 2).await.unwrap();
            let owner = world.open().await;
            back_up(&world, &owner, 3).await.unwrap();
            let whole = members(&owner).iter().all(|member| member.key_epochs.contains(&1));
            let expected: BTreeSet<u32> = if whole { [0, 1].into() } else { [0].into() };
            assert_eq!(epochs(&world, "sessions/"), expected, "cut off at {at}");
            assert_all_restore(&world, &reader).await;
            // Any owner ends it; who does not hold the keys that were begun begins new ones.
            let other = open(&world, 10).await.unwrap();
            let by = if at % 2 == 0 { &other } else { &owner };
            let rotated = rotate(&world.ctx(), by).await.unwrap();
            begun += u32::from(rotated.was_begun);
            done += u32::from(!rotated.was_begun);
            back_up(&world, &open(&world, 8).await.unwrap(), 4).await.unwrap();
            assert!(epochs(&world, "sessions/").contains(&rotated.key_epoch), "cut off at {at}");
            assert_all_restore(&world, &reader).await;
            assert_eq!(ids(&world, &reader).await.len(), 4);
            world.assert_sound(&open(&world, 10).await.unwrap()).await;
        }
        assert!(begun > 2 && done > 2, "{begun} {done}");
    });
}

fn stepped_rotation(world: &World, owner: &Repository) -> Stepped<Result<u32>> {
    let (ctx, owner) = (world.ctx(), owner.clone());
    Stepped::new(async move { rotate(&ctx, &owner).await.map(|rotated| rotated.key_epoch) })
}

#[test]
fn two_rotations_at_once_give_no_two_sets_of_keys_one_number() {
    run(|| async {
        let start = of_two_owners().await;
        // Two owners, and one of them on two machines.
        for other in [key_file(10), secret()] {
            for (one, two) in (0..9).flat_map(|one| (0..9).map(move |two| (one, two))) {
                let (world, what) = (start.fork(2), format!("{one} {two}"));
                let opened = [secret(), other.clone()].map(|secret| open_stepped(&world, secret));
                let mut runs = opened.each_ref().map(|owner| stepped_rotation(&world, owner));
                runs[0].go(one);
                runs[1].go(two);
                runs[0].go(usize::MAX);
                runs[1].go(usize::MAX);
                let told = runs.map(|run| run.result.unwrap().unwrap());
                let (first, second) = (world.open().await, open(&world, 10).await.unwrap());
                let (writer, reader) = (open(&world, 8).await.unwrap(), open(&world, 9).await.unwrap());
                for (repository, salt) in [(&first, 2), (&second, 3), (&writer, 4)] {
                    back_up(&world, repository, salt).await.unwrap();
                }
                let newest = told.into_iter().max();
                assert_eq!(epochs(&world, "sessions/").last().copied(), newest, "{what}");
                for repository in [&first, &second, &reader] {
                    assert_eq!(ids(&world, repository).await.len(), 4, "{what}");
                    assert_all_restore(&world, repository).await;
                }
                world.assert_sound(&second).await;
            }
        }
    });
}

#[test]
fn keys_that_a_removed_member_was_given_are_not_rotated_to() {
    run(|| async {
        let start = of_two_owners().await;
        let calls = calls_of(&start, rotate).await;
        let (mut held, mut ended) = (0, 0);
        for (at, other) in (0..calls).flat_map(|at| [(at, false), (at, true)]) {
            let (world, what) = (start.fork(2), format!("cut off at {at}"));
            dies_at(&world, at, rotate).await;
            let by = if other { open(&world, 10).await.unwrap() } else { world.open().await };
            let reader = member_of(&world, &by, Role::Reader);
            let gone = remove_member(&world.ctx(), &by, reader).await.unwrap().member;
            let rotated = rotate(&world.ctx(), &by).await.unwrap();
            assert!(!gone.key_epochs.contains(&rotated.key_epoch), "{what}: {gone:?} {rotated:?}");
            let before = epochs(&world, "sessions/");
            back_up(&world, &open(&world, 8).await.unwrap(), 2).await.unwrap();
            let sealed: BTreeSet<_> = epochs(&world, "sessions/").difference(&before).copied().collect();
            assert_eq!(sealed, [rotated.key_epoch].into(), "{what}");
            held += u32::from(gone.key_epochs.contains(&1));
            ended += u32::from(rotated.was_begun);
        }
        assert!(held > 2 && ended > 2, "{held} {ended}");
    });
}

#[test]
fn rotation_while_four_writers_run_loses_nothing() {
    run(|| async {
        let (start, owner) = World::made(Workers::inline()).await;
        for byte in [8, 9, 10] {
            admitted(&start, &owner, Role::Writer, byte).await;
        }
        admitted(&start, &owner, Role::Reader, 20).await;
        for calls in [0, 1, 2, 3, 5, 8, 11, 14, 20] {
            let world = start.fork(calls as u64 + 3);
            let by = [secret(), key_file(8), key_file(9), key_file(10)];
            let opened = by.map(|secret| open_stepped(&world, secret));
            let mut runs: Vec<_> =
                opened.iter().zip(1..).map(|(by, salt)| stepped_backup(&world, by, salt)).collect();
            for (run, at) in runs.iter_mut().zip(0..) {
                run.go(calls + at);
            }
            let (ctx, by) = (world.ctx(), opened[0].clone());
            let mut rotation = Stepped::new(async move { rotate(&ctx, &by).await });
            for _ in 0..60 {
                rotation.go(1);
                runs.iter_mut().for_each(|run| run.go(1));
            }
            rotation.go(usize::MAX);
            assert_eq!(rotation.result.unwrap().unwrap().members, 5);
            let mut kept = BTreeSet::new();
            for mut run in runs {
                run.go(usize::MAX);
                kept.insert(run.result.unwrap().unwrap().snapshot.unwrap());
            }
            let reader = open(&world, 20).await.unwrap();
            assert_eq!(ids(&world, &reader).await, kept, "after {calls} calls");
            assert_all_restore(&world, &reader).await;
            world.assert_sound(&world.open().await).await;
        }
    });
}
