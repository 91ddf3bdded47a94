//! What a writer in wrong hands can do with the names of its own objects: the id of a session, the root that it
//! says it began with, and names under which nothing lies that could.

use super::*;
use crate::remove_member;

const OTHER: StreamId = StreamId([5; 16]);

#[test]
fn nobody_commits_under_the_id_of_another_s_session() {
    run(|| async {
        let fleet = fleet().await;
        fleet.keep(&fleet.victim, &tree(1)).await;
        fleet.prune().await.unwrap();
        let kept = fleet.keep(&fleet.victim, &tree(2)).await;
        assert!(kept.epoch > 0 && kept.id.says_it_is_of(fleet.victim.member()));
        // Its name sorts before the victim's.
        let mut forged = fleet.enemy.begin_as(kept.summary.stream, 0, kept.id);
        let root = fleet.enemy.empty_tree(&mut forged);
        fleet.enemy.commit(&forged, in_the_name_of(&kept, root));
        let shown = fleet.snapshot(kept.id).await;
        assert_eq!((shown.member, shown.summary.root), (fleet.victim.member(), kept.summary.root));
        let said = fleet.said_of_enemy().await;
        assert!(said.iter().any(|line| line.contains("another member's")), "{said:#?}");
        fleet.prune_all().await;
        fleet.assert_whole(&fleet.snapshot(kept.id).await, &tree(2)).await;
        assert!(fleet.world.take_warnings().iter().any(|told| told.contains(NAME)));
        // What is in the catalogue by then is the victim's alone.
        let catalogued = fleet.owner.view().await.unwrap().catalogued;
        let of_id: Vec<_> =
            catalogued.iter().filter(|row| row.session == kept.id).map(|row| row.member).collect();
        assert_eq!(of_id, [fleet.victim.member()]);
    });
}

#[test]
fn a_root_that_was_invented_stops_nobody_but_a_prune_that_says_whose_it_is() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        fleet.prune().await.unwrap();
        let member = fleet.enemy.repository.member();
        let far = SessionName { epoch: 0x7fff_fffe, member, session: SessionId([3; 16]) };
        fleet.enemy.insert(far.begin(), b"x".to_vec());
        // Also one that is as it should be.
        let next = fleet.owner.newest_root().await.unwrap().number + 1;
        fleet.enemy.begin_as(OTHER, next, SessionId([4; 16]));
        let newer = fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.assert_whole(&kept, &tree(1)).await;
        assert!(fleet.said_of_enemy().await.iter().any(|line| line.contains("remove its key")));
        let error = fleet.prune().await.unwrap_err();
        assert!(error.what.contains(NAME) && error.what.contains("--abort-after 0"), "{error}");
        let options = PruneOptions { abort_after_seconds: 0, ..pruning() };
        let report = prune(&fleet.world.ctx(), &fleet.owner, &options).await.unwrap();
        assert_eq!(report.aborted_sessions.len(), 2);
        // One that has committed is left out with its member.
        let next = report.root + 1;
        let mut forged = fleet.enemy.begin_as(OTHER, next, SessionId([6; 16]));
        let root = fleet.enemy.empty_tree(&mut forged);
        fleet.enemy.commit(&forged, in_the_name_of(&kept, root));
        let error = prune(&fleet.world.ctx(), &fleet.owner, &options).await.unwrap_err();
        assert!(error.what.contains("key remove --member"), "{error}");
        let newest = fleet.keep(&fleet.victim, &tree(3)).await;
        remove_member(&fleet.world.ctx(), &fleet.owner, member).await.unwrap();
        fleet.prune_all().await;
        for (snapshot, number) in [(&kept, 1), (&newer, 2), (&newest, 3)] {
            fleet.assert_whole(snapshot, &tree(number)).await;
        }
    });
}

#[test]
fn pins_that_are_none_stop_a_prune_until_their_session_is_aborted() {
    run(|| async {
        let fleet = fleet().await;
        let gone = fleet.keep(&fleet.victim, &tree(1)).await;
        let kept = fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.forget(gone.id).await;
        let member = fleet.enemy.repository.member();
        let odd = |session| SessionName { epoch: 0, member, session: SessionId([session; 16]) }.pins(0);
        fleet.enemy.insert(odd(3), b"no pins".to_vec());
        let error = fleet.prune().await.unwrap_err();
        assert!(error.what.contains(NAME) && error.what.contains("--abort-after 0"), "{error}");
        let newer = fleet.keep(&fleet.victim, &tree(3)).await;
        let options = PruneOptions { abort_after_seconds: 0, ..pruning() };
        let report = prune(&fleet.world.ctx(), &fleet.owner, &options).await.unwrap();
        assert!(report.freed_packs > 0 && report.aborted_sessions.len() == 1, "{report:?}");
        // Nor do they keep their member from being shut out.
        fleet.enemy.insert(odd(4), b"no pins".to_vec());
        remove_member(&fleet.world.ctx(), &fleet.owner, member).await.unwrap();
        fleet.prune_all().await;
        for (snapshot, number) in [(&kept, 2), (&newer, 3)] {
            fleet.assert_whole(snapshot, &tree(number)).await;
        }
    });
}

#[test]
fn what_a_removed_writer_left_is_the_latest_only_where_nobody_else_has_any() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let mut forged = fleet.enemy.begin(kept.summary.stream).await;
        let root = fleet.enemy.empty_tree(&mut forged);
        let end = at(fleet.world.clock_seconds() + 10);
        let false_one = fleet.enemy.commit(&forged, Summary { end, ..in_the_name_of(&kept, root) });
        let latest = async || {
            let filter = SnapshotFilter::default();
            resolve(&fleet.world.ctx(), &fleet.owner, "latest", b"", &filter).await
        };
        assert_eq!(latest().await.unwrap_err().kind, ErrorKind::Ambiguous);
        remove_member(&fleet.world.ctx(), &fleet.owner, fleet.enemy.repository.member()).await.unwrap();
        assert_eq!(latest().await.unwrap().snapshot.id, kept.id);
        fleet.world.take_warnings();
        fleet.forget(kept.id).await;
        assert_eq!(latest().await.unwrap().snapshot.id, false_one);
        assert!(fleet.world.take_warnings().iter().any(|told| told.contains("which was removed")));
    });
}

#[test]
fn false_copies_hide_no_pack_that_is_gone() {
    run(|| async {
        let fleet = fleet().await;
        let gone = fleet.keep(&fleet.victim, &tree(9)).await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        let mut forged = enemy.begin(OTHER).await;
        for (class, id) in enemy.contents_of(&fleet.victim).await {
            match class {
                PackClass::Data => enemy.chunk(&mut forged, id, b"not what it was"),
                PackClass::Tree => enemy.page(&mut forged, id, &Refs::default(), b"x"),
            }
        }
        let root = enemy.empty_tree(&mut forged);
        enemy.commit(&forged, in_the_name_of(&kept, root));
        fleet.forget(gone.id).await;
        let of_victim = fleet.victim.member().to_string();
        let mut packs = fleet.world.names("packs/data/").into_iter();
        let lost = packs.find(|name| name.as_str().contains(&of_victim)).unwrap();
        let whole = fleet.world.store.objects()[&lost].clone();
        fleet.world.store.remove_raw(&lost);
        let report = fleet.world.check(&fleet.owner).await;
        let named = report.findings.iter().find(|finding| finding.subject == lost.as_str()).unwrap();
        assert!(named.what.starts_with("is missing, with") && report.errors > 0, "{named:?}");
        // Once it is back all is well.
        fleet.world.store.insert_raw(lost, whole.to_vec());
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}
