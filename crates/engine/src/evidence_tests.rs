//! Evidence: chains grow whoever appends and whatever fails, and nothing that is done to them goes unseen.
//!
//! On purpose not here: what a record says.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::error::{ErrorKind, Result};
use crate::evidence::{Amiss, EvidenceBook, EvidenceMark, append, records};
use crate::maintain::{PruneOptions, prune};
use crate::protocol_tests::harness::{Stepped, SteppedStore, World, pruning, run, secret};
use crate::repository::Repository;
use crate::workers::Workers;
use holdfast_core::crypto::{KemSecret, Secret, Signer, hash};
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, ObjectId};
use holdfast_core::keys::{MemberAction, MemberEntry, Role, member_header};
use holdfast_core::name;
use holdfast_core::object::{Header, ObjectType};
use holdfast_core::record::Evidence;
use holdfast_store::fault::{Call, Fault, Operation};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore, Key};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A world with so many records in its chain.
async fn with_records(number: usize) -> (World, Repository) {
    let (world, repository) = World::made(Workers::inline()).await;
    for at in 0..number {
        world.clock.advance(60);
        append(&world.ctx(), &repository, "drill", format!("{{\"at\":{at}}}").as_bytes()).await.unwrap();
    }
    (world, repository)
}

async fn read(world: &World) -> EvidenceBook {
    let repository = world.open().await;
    records(&world.ctx(), &repository).await.unwrap()
}

/// Names and words of what is wrong, which `check` has to find too.
async fn problems(world: &World) -> Vec<(String, &'static str)> {
    let book = read(world).await;
    let report = world.check(&world.open().await).await;
    let found: Vec<_> = book.problems().map(|problem| (problem.name.clone(), problem.amiss.word())).collect();
    let errors = report.findings.iter().filter(|finding| finding.is_error);
    let told: Vec<_> = errors.map(|finding| finding.subject.clone()).collect();
    assert_eq!(found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), told);
    found
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

fn of(repository: &Repository, number: u64) -> String {
    name::evidence(repository.member(), number)
}

fn put(world: &World, name: &str, bytes: Vec<u8>) {
    world.store.insert_raw(key(name), bytes);
}

fn body(world: &World, name: &str) -> Vec<u8> {
    world.store.objects()[&key(name)].to_vec()
}

#[test]
fn records_come_back_in_order_each_with_the_hash_of_the_one_before() {
    run(|| async {
        let (world, repository) = with_records(3).await;
        let name = append(&world.ctx(), &repository, "note", b"{}").await.unwrap();
        assert_eq!(name, of(&repository, 3));
        let book = read(&world).await;
        assert_eq!((book.chains.len(), book.problems().count()), (1, 0));
        let chain = &book.chains[0];
        let numbers: Vec<_> = chain.records.iter().map(|record| record.number).collect();
        assert_eq!((numbers, chain.member), (vec![0, 1, 2, 3], repository.member()));
        assert_eq!((&*chain.records[1].text, &*chain.records[3].kind), (&b"{\"at\":1}"[..], "note"));
        assert!(chain.records.iter().all(|record| record.hash == hash(&body(&world, &record.name))));
        assert_eq!(chain.head(), Some(chain.records[3].mark()));
        let mark: EvidenceMark = chain.head().unwrap().to_string().parse().unwrap();
        assert_eq!((Some(mark), book.expect(&mark)), (chain.head(), None));
        assert!(["", "a:b:c", "a:1"].iter().all(|text| text.parse::<EvidenceMark>().is_err()));
        assert_eq!(world.take_warnings(), [] as [&str; 0]);
        world.assert_sound(&repository).await;
    });
}

#[test]
fn an_empty_repository_has_an_empty_book() {
    run(|| async {
        let (world, _) = with_records(0).await;
        assert_eq!(read(&world).await, EvidenceBook::default());
    });
}

#[test]
fn prune_leaves_evidence_alone() {
    run(|| async {
        let (world, repository) = with_records(3).await;
        let before = world.names("evidence/");
        let options = PruneOptions { abort_after_seconds: 0, ..pruning() };
        for _ in 0..3 {
            world.clock.advance(1_000_000);
            prune(&world.ctx(), &repository, &options).await.unwrap();
        }
        assert_eq!((world.names("evidence/"), problems(&world).await), (before, Vec::new()));
    });
}

#[test]
fn what_is_too_long_is_refused() {
    run(|| async {
        let (world, repository) = with_records(0).await;
        let long = "k".repeat(200);
        let refused = append(&world.ctx(), &repository, &long, b"").await.unwrap_err();
        assert_eq!((refused.kind, world.names("evidence/").len()), (ErrorKind::Usage, 0));
    });
}

/// Two processes with the same key, in every order of their calls.
#[test]
fn two_that_append_at_once_both_get_a_place() {
    run(|| async {
        const CALLS: usize = 8;
        let mut firsts = BTreeSet::new();
        for (one, two) in (0..CALLS).flat_map(|one| (0..CALLS).map(move |two| (one, two))) {
            let (world, _) = with_records(1).await;
            let mut runs: Vec<Stepped<Result<String>>> = Vec::new();
            for text in ["one", "two"] {
                let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
                let mut opening = Stepped::new(async move { Repository::open(&ctx, store, &secret()).await });
                opening.go(usize::MAX);
                let (ctx, repository) = (world.ctx(), opening.result.unwrap().unwrap());
                runs.push(Stepped::new(
                    async move { append(&ctx, &repository, "drill", text.as_bytes()).await },
                ));
            }
            runs[0].go(one);
            runs[1].go(two);
            runs[0].go(2);
            runs[1].go(usize::MAX);
            runs[0].go(usize::MAX);
            let book = read(&world).await;
            let texts: Vec<_> = book.chains[0].records.iter().skip(1).map(|one| one.text.clone()).collect();
            assert_eq!(book.problems().count(), 0, "{one} {two}: {book:?}");
            assert_eq!(texts.len(), 2, "{one} {two}");
            let names: BTreeSet<_> =
                runs.iter().map(|run| run.result.as_ref().unwrap().as_ref().unwrap()).collect();
            assert_eq!(names.len(), 2);
            firsts.insert(texts[0].clone());
        }
        assert_eq!(firsts.len(), 2, "one of them always won");
    });
}

#[test]
fn a_lost_answer_makes_no_second_record() {
    run(|| async {
        let (start, _) = with_records(2).await;
        let puts = |call: &Call| call.operation == Operation::PutNew;
        for fault in [Fault::FailAfter(StoreErrorKind::Retry), Fault::FailBefore(StoreErrorKind::Retry)] {
            let world = start.fork(2);
            let once = std::sync::atomic::AtomicBool::new(true);
            let plan = move |call: &Call| {
                let first = puts(call) && once.swap(false, std::sync::atomic::Ordering::SeqCst);
                if first { fault } else { Fault::None }
            };
            let store = FaultStore::new(Arc::new(world.store.clone()), plan);
            let repository = world.open_on(Arc::new(store)).await.unwrap();
            let name = append(&world.ctx(), &repository, "drill", b"x").await.unwrap();
            assert_eq!((name, world.names("evidence/").len()), (of(&repository, 2), 3), "{fault:?}");
            assert_eq!(problems(&world).await, []);
        }
    });
}

#[test]
fn cut_off_anywhere_it_is_there_whole_or_not_at_all() {
    run(|| async {
        let (start, _) = with_records(2).await;
        for at in 0..12 {
            let world = start.fork(3);
            let plan = move |call: &Call| if call.number == at { Fault::Crash } else { Fault::None };
            let store = FaultStore::new(Arc::new(world.store.clone()), plan);
            if let Ok(repository) = world.open_on(Arc::new(store)).await {
                let _ = append(&world.ctx(), &repository, "drill", b"x").await;
            }
            assert!((2..=3).contains(&world.names("evidence/").len()));
            assert_eq!(problems(&world).await, []);
            append(&world.ctx(), &world.open().await, "drill", b"y").await.unwrap();
            assert_eq!(problems(&world).await, []);
        }
    });
}

#[test]
fn a_record_that_is_deleted_is_missed() {
    run(|| async {
        for gone in 0..3 {
            let (world, repository) = with_records(4).await;
            world.store.remove_raw(&key(&of(&repository, gone)));
            assert_eq!(problems(&world).await, [(of(&repository, gone), "missing")]);
        }
        let (world, repository) = with_records(40).await;
        for number in 1..39 {
            world.store.remove_raw(&key(&of(&repository, number)));
        }
        let found = problems(&world).await;
        let names: Vec<_> = (1..=17).map(|number| (of(&repository, number), "missing")).collect();
        assert_eq!(found, names);
        let book = read(&world).await;
        assert_eq!(book.problems().last().unwrap().amiss, Amiss::Missing(21));
    });
}

#[test]
fn a_tail_that_was_cut_off_is_seen_by_who_noted_the_head() {
    run(|| async {
        let (world, repository) = with_records(3).await;
        let noted = read(&world).await.chains[0].head().unwrap();
        let last = body(&world, &of(&repository, 2));
        world.store.remove_raw(&key(&of(&repository, 2)));
        assert_eq!(problems(&world).await, []);
        let wrong = read(&world).await.expect(&noted).unwrap();
        assert_eq!((&wrong.name, &wrong.amiss), (&of(&repository, 2), &Amiss::NotAsNoted));
        // The key's owner writes another in its place: the chain is sound, and not the one that was noted.
        append(&world.ctx(), &repository, "drill", b"all is well").await.unwrap();
        assert_eq!(problems(&world).await, []);
        assert!(read(&world).await.expect(&noted).is_some());
        // And once it is back, all is.
        world.store.remove_raw(&key(&of(&repository, 2)));
        put(&world, &of(&repository, 2), last);
        assert_eq!(read(&world).await.expect(&noted), None);
    });
}

#[test]
fn a_record_that_was_changed_is_named() {
    run(|| async {
        let (start, repository) = with_records(3).await;
        let name = of(&repository, 1);
        let whole = body(&start, &name);
        for at in (0..whole.len()).step_by(7) {
            let world = start.fork(2);
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            put(&world, &name, flipped);
            let book = read(&world).await;
            let found: Vec<_> = book.problems().collect();
            assert!(found.len() == 1 && found[0].name == name, "byte {at}: {found:?}");
            assert_eq!(found[0].amiss.word(), "changed", "byte {at}");
        }
        for length in [0, 1, 50, 100, 140, 200, whole.len() - 1] {
            let world = start.fork(2);
            put(&world, &name, whole[..length].to_vec());
            assert_eq!(problems(&world).await, [(name.clone(), "changed")], "cut to {length}");
        }
        // The chain goes on behind it all the same, with a word about it.
        let world = start.fork(2);
        put(&world, &of(&repository, 2), b"rubbish".to_vec());
        let repository = world.open().await;
        append(&world.ctx(), &repository, "drill", b"x").await.unwrap();
        assert_eq!(world.take_warnings().len(), 1);
        assert_eq!(problems(&world).await, [(of(&repository, 2), "changed")]);
    });
}

#[test]
fn a_record_in_another_s_place_is_named() {
    run(|| async {
        let (world, repository) = with_records(4).await;
        let (one, two) = (of(&repository, 1), of(&repository, 2));
        // Swapped with another of the chain.
        let (first, second) = (body(&world, &one), body(&world, &two));
        put(&world, &one, second.clone());
        put(&world, &two, first.clone());
        assert_eq!(problems(&world).await, [(one.clone(), "another"), (two.clone(), "another")]);
        // An older copy of itself under a later number.
        put(&world, &one, first.clone());
        put(&world, &two, second);
        put(&world, &of(&repository, 4), first);
        assert_eq!(problems(&world).await, [(of(&repository, 4), "another")]);
        world.store.remove_raw(&key(&of(&repository, 4)));
        // One of another repository.
        let other = World::with_seed(Workers::inline(), 9);
        let elsewhere = other.create().await;
        for _ in 0..2 {
            append(&other.ctx(), &elsewhere, "drill", b"of another").await.unwrap();
        }
        put(&world, &one, body(&other, &of(&elsewhere, 1)));
        assert_eq!(problems(&world).await, [(one, "another")]);
        // A number that no record has: it neither counts nor ends the chain.
        let far = of(&repository, u64::MAX);
        put(&world, &far, b"rubbish".to_vec());
        assert_eq!(problems(&world).await.last(), Some(&(far, "number")));
        let repository = world.open().await;
        assert_eq!(append(&world.ctx(), &repository, "drill", b"x").await.unwrap(), of(&repository, 4));
    });
}

/// Another member of a world's repository.
struct Other {
    member: MemberId,
    signer: Signer,
}

impl Other {
    fn new(number: u8) -> Self {
        Self { member: MemberId([number; 16]), signer: Signer::from_seed(Secret::new([number; 32])) }
    }

    /// The owner admits or removes it.
    fn enter(&self, world: &World, repository: &Repository, action: MemberAction) {
        let (number, previous) = repository.members_head();
        let kem = KemSecret::new([3; 32], &(world.ctx().kem.generate)().unwrap()).unwrap();
        let entry = MemberEntry {
            number,
            previous,
            action,
            member: self.member,
            role: Role::Reader,
            label: "drills".into(),
            sign: self.signer.public(),
            kem: kem.public().clone(),
            bundles: Vec::new(),
        };
        let id = name::member_object(&previous, number);
        let header = member_header(ObjectType::Member, repository.id(), id, repository.member(), [0; 16]);
        put(world, &name::member(number, id), entry.encode(&header, repository.signer()));
    }

    /// A record as this member would write it, in whosesoever chain.
    fn record(&self, world: &World, repository: &Repository, into: MemberId, number: u64) -> String {
        let name = name::evidence(into, number);
        let header = self.header(world, repository, name::named_object(&name));
        self.write(world, repository, &name, &header, number, [0; 32]);
        name
    }

    fn header(&self, world: &World, repository: &Repository, object: ObjectId) -> Header {
        let header = repository.header(&world.ctx(), ObjectType::Evidence, object, 0);
        Header { member: self.member, ..header }
    }

    fn write(
        &self,
        world: &World,
        repository: &Repository,
        name: &str,
        header: &Header,
        number: u64,
        previous: [u8; 32],
    ) {
        let (kind, text) = ("drill".to_owned(), b"{}".to_vec());
        let record = Evidence { number, previous, time: Time { seconds: 1, nanos: 0 }, kind, text };
        put(world, name, record.encode(header, &repository.k_ref().unwrap(), &self.signer));
    }
}

#[test]
fn each_member_has_a_chain_of_its_own_and_only_that() {
    run(|| async {
        let (world, repository) = with_records(2).await;
        let other = Other::new(9);
        let own = other.record(&world, &repository, other.member, 0);
        assert_eq!(problems(&world).await, [(own.clone(), "stranger")]);
        other.enter(&world, &repository, MemberAction::Admit);
        assert_eq!(problems(&world).await, []);
        let book = read(&world).await;
        assert_eq!((book.chains.len(), book.records().len()), (2, 3));
        assert_eq!(book.records()[0].member, other.member);
        // In another's folder it is nothing, whichever of the two it says it is.
        let forged = other.record(&world, &repository, repository.member(), 2);
        assert_eq!(problems(&world).await, [(forged.clone(), "another")]);
        let header = other.header(&world, &repository, name::named_object(&forged));
        let header = Header { member: repository.member(), ..header };
        other.write(&world, &repository, &forged, &header, 2, [0; 32]);
        assert_eq!(problems(&world).await, [(forged.clone(), "signature")]);
        world.store.remove_raw(&key(&forged));
        // Swapped between two members.
        let (mine, theirs) = (body(&world, &of(&repository, 0)), body(&world, &own));
        put(&world, &of(&repository, 0), theirs.clone());
        put(&world, &own, mine.clone());
        let found: BTreeSet<_> = problems(&world).await.into_iter().collect();
        assert_eq!(found, [(of(&repository, 0), "another"), (own.clone(), "another")].into());
        put(&world, &of(&repository, 0), mine);
        put(&world, &own, theirs);
        // Once it is removed, its key still proves what it wrote; the chain says that it is gone.
        let repository = world.open().await;
        other.enter(&world, &repository, MemberAction::Remove);
        assert_eq!(problems(&world).await, []);
        let book = read(&world).await;
        let gone = |member| book.chains.iter().find(|chain| chain.member == member).unwrap().removed.clone();
        assert_eq!((gone(other.member).as_deref(), gone(repository.member())), (Some("drills"), None));
    });
}

#[test]
fn who_holds_a_key_cannot_replace_a_record_under_later_ones() {
    run(|| async {
        let (world, repository) = with_records(2).await;
        let other = Other::new(9);
        other.enter(&world, &repository, MemberAction::Admit);
        let first = other.record(&world, &repository, other.member, 0);
        let second = name::evidence(other.member, 1);
        let header = other.header(&world, &repository, name::named_object(&second));
        let previous = hash(&body(&world, &first));
        other.write(&world, &repository, &second, &header, 1, previous);
        assert_eq!(problems(&world).await, []);
        // The same content, sealed and signed anew.
        other.record(&world, &repository, other.member, 0);
        assert_eq!(problems(&world).await, [(second.clone(), "chain")]);
        // A number inside that is not the one of its name.
        other.write(&world, &repository, &second, &header, 7, previous);
        assert_eq!(problems(&world).await, [(second, "another")]);
    });
}

#[test]
fn a_store_that_does_not_give_a_record_is_not_taken_for_one_that_has_none() {
    run(|| async {
        let (world, repository) = with_records(3).await;
        let name = of(&repository, 1);
        let of_it = name.clone();
        let plan = move |call: &Call| {
            let hit = call.operation == Operation::Get && call.key == of_it;
            if hit { Fault::FailBefore(StoreErrorKind::Io) } else { Fault::None }
        };
        let store = FaultStore::new(Arc::new(world.store.clone()), plan);
        let repository = world.open_on(Arc::new(store)).await.unwrap();
        let book = records(&world.ctx(), &repository).await.unwrap();
        let found: Vec<_> = book.problems().map(|one| (one.name.clone(), one.amiss.word())).collect();
        assert_eq!((found, book.records().len()), (vec![(name, "unread")], 2));
    });
}
