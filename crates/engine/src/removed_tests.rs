//! A member that was removed, and that the store still lets in: of what no session and no root names, logs and
//! evidence, only that counts which was there before.
//!
//! On purpose not here: its sessions and roots, which count or not by the chain of members.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::error::ErrorKind;
use crate::evidence::{EvidenceBook, append, records};
use crate::maintain::{LogOptions, LogUsers, RepairLogOptions, prune_logs, repair_log};
use crate::members::remove_member;
use crate::protocol_tests::harness::{World, run};
use crate::repository::Repository;
use crate::wal::{SegmentName, Stored, Timeline, WalArchive, WalName};
use crate::workers::Workers;
use holdfast_core::crypto::hash;
use holdfast_core::cutoff::CutOffs;
use holdfast_core::keys::Role;
use holdfast_core::name;
use holdfast_core::object::ObjectType;
use holdfast_core::root::Root;
use holdfast_store::Key;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys of the victim and of the enemy.
const VICTIM: u8 = 5;
const ENEMY: u8 = 6;

struct Scene {
    world: World,
    owner: Repository,
    victim: Repository,
    enemy: Repository,
}

impl Scene {
    async fn new(role: Role) -> Self {
        let (world, _) = World::made(Workers::inline()).await;
        world.admitted(Role::Writer, VICTIM).await;
        world.admitted(role, ENEMY).await;
        let of = async |key| world.open_as(Arc::new(world.store.clone()), key).await;
        let (victim, enemy) = (of(VICTIM).await, of(ENEMY).await);
        Self { owner: world.open().await, world, victim, enemy }
    }

    fn archive(&self, repository: &Repository) -> WalArchive {
        WalArchive::new(&self.world.ctx(), repository)
    }

    async fn remove_enemy(&self) {
        remove_member(&self.world.ctx(), &self.owner, self.enemy.member()).await.unwrap();
        self.world.take_warnings();
    }

    /// Publishes the newest root anew without cut-offs, as an earlier version of the program shuts out.
    async fn lose_cutoffs(&self) {
        let newest = self.owner.newest().await.unwrap();
        assert!(newest.root.cutoffs != CutOffs::default());
        let number = newest.root.number + 1;
        let root = Root { number, previous: newest.hash, cutoffs: CutOffs::default(), ..newest.root };
        let object = name::root_object(number);
        let header = self.owner.header(&self.world.ctx(), ObjectType::Root, object, number - 1);
        let bytes = root.encode(&header, &self.owner.k_ref().unwrap(), self.owner.signer());
        self.world.store.insert_raw(Key::new(name::root(number)).unwrap(), bytes);
    }

    async fn prune(&self) {
        let users = LogUsers { kind: "postgres", need: |_| None };
        let options = LogOptions {
            users,
            keep_seconds: None,
            delete_after: None,
            gone: BTreeSet::new(),
            dry_run: false,
        };
        assert_eq!(prune_logs(&self.world.ctx(), &self.owner, &options).await.unwrap().freed_objects, 0);
    }

    async fn repair(&self, delete: &[String], dry_run: bool) -> Vec<String> {
        let options = RepairLogOptions { delete: delete.to_vec(), dry_run };
        let report = repair_log(&self.world.ctx(), &self.owner, &options).await.unwrap();
        assert_eq!(report.deleted, if dry_run { 0 } else { report.bad.len() as u64 });
        report.bad.into_iter().map(|bad| bad.object).collect()
    }

    /// What `check` calls an error.
    async fn errors(&self) -> Vec<String> {
        let report = self.world.check(&self.world.open().await).await;
        let errors = report.findings.into_iter().filter(|finding| finding.is_error);
        errors.map(|finding| format!("{} {}", finding.subject, finding.what)).collect()
    }

    async fn evidence(&self) -> EvidenceBook {
        records(&self.world.ctx(), &self.world.open().await).await.unwrap()
    }
}

fn timeline() -> Timeline {
    Timeline::new(7, 1, b"")
}

fn whole(place: u64) -> WalName {
    WalName::whole(timeline(), SegmentName { timeline: 1, place }.to_string())
}

async fn put(archive: &WalArchive, names: &[WalName], content: &[u8]) {
    for name in names {
        assert_eq!(archive.put(name, content.to_vec()).await.unwrap(), Stored::New, "{name:?}");
    }
}

async fn places(archive: &WalArchive) -> Vec<WalName> {
    archive.list(None).await.unwrap().into_iter().map(|listed| listed.name).collect()
}

#[test]
fn log_that_a_removed_member_adds_is_as_if_it_were_not_there() {
    run(|| async {
        let scene = Scene::new(Role::Writer).await;
        let (of_enemy, of_victim) = (scene.archive(&scene.enemy), scene.archive(&scene.victim));
        put(&of_enemy, &[whole(0), whole(1)], b"before").await;
        put(&of_victim, &[whole(2), whole(3), whole(5)], b"right").await;
        scene.remove_enemy().await;
        // It goes on with what it knows: a hole, the next one, a piece, a note, a line of history.
        let piece = WalName::piece(timeline(), whole(7).file, 0);
        let other = Timeline::new(7, 2, b"1\t0/100000\tx\n");
        let history = WalName::whole(other, "00000002.history");
        let lies = [whole(4), whole(6), piece.clone(), history.clone()];
        put(&of_enemy, &lies, b"a lie").await;
        let archive = scene.archive(&scene.owner);
        assert_eq!(places(&archive).await, [0, 1, 2, 3, 5].map(whole));
        assert_eq!(archive.get(&whole(1)).await.unwrap().unwrap(), b"before");
        for lie in &lies {
            assert_eq!(archive.get(lie).await.unwrap(), None);
            assert!(archive.glance(lie).await.unwrap().is_none());
        }
        let after = async |place| {
            let after = archive.after(&timeline(), SegmentName { timeline: 1, place }).await.unwrap();
            after.map(|listed| listed.name)
        };
        assert_eq!((after(3).await, after(5).await), (Some(whole(5)), None));
        assert_eq!(archive.timelines(None).await.unwrap(), [timeline()]);
        assert_eq!(archive.pieces(&timeline(), &piece.file).await.unwrap().count, 0);
        let told = scene.world.take_warnings();
        assert!(told.len() == 1 && told[0].contains("repair log"), "{told:?}");
        // `check` names each, and whose it is.
        let errors = scene.errors().await;
        let by = scene.owner.name_of(scene.enemy.member());
        assert!(errors.len() == 4 && errors.iter().all(|error| error.contains(&by)), "{errors:?}");
    });
}

#[test]
fn a_name_that_a_removed_member_took_is_freed_by_a_repair() {
    run(|| async {
        let scene = Scene::new(Role::Writer).await;
        let (of_enemy, of_victim) = (scene.archive(&scene.enemy), scene.archive(&scene.victim));
        put(&of_victim, &[whole(1)], b"right").await;
        scene.remove_enemy().await;
        put(&of_enemy, &[whole(2), whole(3)], b"a lie").await;
        scene.world.clock.advance(100);
        for content in [b"right", b"a lie"] {
            let refused = of_victim.put(&whole(2), content.to_vec()).await.unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Store, "{refused}");
            assert!(refused.what.contains("repair log"), "{refused}");
        }
        // Pruning makes nothing of it known, and a repair takes it away.
        scene.prune().await;
        let objects = [whole(2).object(), whole(3).object()];
        assert_eq!(scene.repair(&[], true).await, objects);
        assert_eq!(scene.repair(&[], false).await, objects);
        put(&of_victim, &[whole(2)], b"right").await;
        assert_eq!(places(&scene.archive(&scene.owner)).await, [1, 2].map(whole));
        assert_eq!(scene.repair(&[], false).await, [""; 0]);
        // What a prune has seen to be another's is known from then on, and asked for no more.
        scene.prune().await;
        let root = scene.owner.newest_root().await.unwrap();
        let known = root.cutoffs.log.unwrap();
        assert_eq!(known[0].ranges, [(whole(1).file, whole(2).file)]);
        // It passes over that it does not belong any more.
        put(&scene.archive(&scene.enemy), &[whole(3)], b"a lie").await;
        assert_eq!(places(&scene.archive(&scene.owner)).await, [1, 2].map(whole));
        scene.repair(&[], false).await;
        scene.world.assert_sound(&scene.world.open().await).await;
    });
}

#[test]
fn what_an_earlier_version_shut_out_is_cut_off_by_the_next_prune() {
    run(|| async {
        let scene = Scene::new(Role::Writer).await;
        let of_enemy = scene.archive(&scene.enemy);
        scene.remove_enemy().await;
        scene.lose_cutoffs().await;
        put(&of_enemy, &[whole(1)], b"who knows").await;
        scene.prune().await;
        put(&of_enemy, &[whole(2)], b"a lie").await;
        append(&scene.world.ctx(), &scene.enemy, "drill", b"{}").await.unwrap();
        assert_eq!(places(&scene.archive(&scene.world.open().await)).await, [whole(1)]);
        let words: Vec<_> = scene.evidence().await.problems().map(|problem| problem.amiss.word()).collect();
        assert_eq!(words, ["late"]);
    });
}

#[test]
fn a_name_that_is_taken_by_nothing_that_could_be_there_is_freed_by_name() {
    run(|| async {
        let scene = Scene::new(Role::Writer).await;
        let insert = |name: &WalName, bytes: Vec<u8>| {
            scene.world.store.insert_raw(Key::new(name.object()).unwrap(), bytes);
        };
        let of_victim = scene.archive(&scene.victim);
        put(&of_victim, &[whole(1)], b"right").await;
        let mut bytes = scene.world.store.objects()[&Key::new(whole(1).object()).unwrap()].to_vec();
        // Its own bytes under another name, rubbish, and a segment that is damaged.
        insert(&whole(2), bytes.clone());
        insert(&whole(3), b"rubbish".to_vec());
        *bytes.last_mut().unwrap() ^= 1;
        insert(&whole(4), bytes);
        for place in 2..5 {
            let refused = of_victim.put(&whole(place), b"right".to_vec()).await.unwrap_err();
            let command = format!("repair log --delete {}", whole(place).object());
            assert!(refused.kind == ErrorKind::Damaged && refused.what.contains(&command), "{refused}");
        }
        assert_eq!(scene.errors().await.len(), 3);
        let objects = [2, 3, 4].map(|place| whole(place).object());
        assert_eq!(scene.repair(&objects[2..], false).await, objects);
        put(&of_victim, &[2, 3, 4].map(whole), b"right").await;
        let absent = RepairLogOptions { delete: vec![whole(9).object()], dry_run: false };
        let refused = repair_log(&scene.world.ctx(), &scene.owner, &absent).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotFound);
        let other = RepairLogOptions { delete: vec!["holdfast.json".into()], dry_run: false };
        let refused = repair_log(&scene.world.ctx(), &scene.owner, &other).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Usage);
        scene.world.assert_sound(&scene.world.open().await).await;
    });
}

#[test]
fn evidence_that_a_removed_member_adds_or_takes_away_is_told() {
    run(|| async {
        let scene = Scene::new(Role::Reader).await;
        let record = async || append(&scene.world.ctx(), &scene.enemy, "drill", b"{}").await.unwrap();
        let names = [record().await, record().await];
        scene.remove_enemy().await;
        let late = record().await;
        let book = scene.evidence().await;
        let counting: Vec<_> = book.records().iter().map(|record| record.name.clone()).collect();
        assert_eq!(counting, names);
        let told: Vec<_> = book.problems().map(|it| (it.name.clone(), it.amiss.word())).collect();
        assert_eq!(told, [(late.clone(), "late")]);
        let errors = scene.errors().await;
        assert!(errors.len() == 1 && errors[0].starts_with(&late), "{errors:?}");
        // The root has noted where it ended: a tail that is cut off is missed, and another one is no end.
        let root = scene.owner.newest_root().await.unwrap();
        let last = Key::new(names[1].clone()).unwrap();
        let objects = scene.world.store.objects();
        assert_eq!(root.cutoffs.members[0].last, hash(&objects[&last]));
        let mut without = objects.clone();
        without.remove(&last);
        without.remove(&Key::new(late).unwrap());
        let mut world = scene.world.fork(3);
        world.store = holdfast_store::MemoryStore::with_objects(without);
        let book = records(&world.ctx(), &world.open().await).await.unwrap();
        let told: Vec<_> = book.problems().map(|it| (it.name.clone(), it.amiss.word())).collect();
        assert_eq!(told, [(names[1].clone(), "not_as_noted")]);
    });
}

#[test]
fn a_name_that_another_writer_took_first_is_told_and_freed_by_name() {
    run(|| async {
        let scene = Scene::new(Role::Writer).await;
        let (of_enemy, of_victim) = (scene.archive(&scene.enemy), scene.archive(&scene.victim));
        put(&of_victim, &[whole(1)], b"right").await;
        put(&of_enemy, &[whole(2)], b"a lie").await;
        // Nothing is taken for what it is not: the victim's server keeps its segment.
        assert_eq!(of_victim.put(&whole(2), b"right".to_vec()).await.unwrap(), Stored::Other);
        let glance = of_victim.glance(&whole(2)).await.unwrap().unwrap();
        assert_eq!(glance.member, scene.enemy.member());
        // A person decides whose it is; nothing goes by itself.
        assert_eq!(scene.repair(&[], false).await, [""; 0]);
        scene.repair(&[whole(2).object()], false).await;
        put(&of_victim, &[whole(2)], b"right").await;
        let archive = scene.archive(&scene.owner);
        assert_eq!(archive.get(&whole(2)).await.unwrap().unwrap(), b"right");
    });
}

#[test]
fn nobody_but_who_reads_is_believed_that_something_came_back() {
    run(|| async {
        let scene = Scene::new(Role::Writer).await;
        append(&scene.world.ctx(), &scene.enemy, "drill", b"{\"verdict\":\"pass\"}").await.unwrap();
        let book = scene.evidence().await;
        assert_eq!((book.records().len(), book.problems().count()), (1, 0));
        // It may say what it likes in its own name; whoever asks what is proven asks this first.
        assert!(!scene.owner.may_restore(scene.enemy.member()));
        assert!(scene.owner.may_restore(scene.owner.member()));
    });
}
