//! The keys of each role: whoever was stolen holds these and no more, of every generation of keys, in the repository
//! and in its domains.
//!
//! On purpose not here: what verbs refuse by the role's name; these keys are the lock behind that.

use super::*;
use crate::wal::{SegmentName, Timeline, WalArchive, WalName};
use crate::{grant, members, rotate};
use holdfast_core::keys::{KeyBundle, Keyring};

/// Which keys a role holds: of names and cuts, of the index, of summaries; what seals contents, pages, logs; what
/// opens contents, pages, logs.
const HELD: [(Role, [bool; 9]); 5] = [
    (Role::Owner, [true; 9]),
    (Role::Writer, [true, true, true, true, true, true, false, false, false]),
    (Role::Maintainer, [false, true, true, false, false, false, false, false, false]),
    (Role::Reader, [true, true, true, false, false, false, true, true, true]),
    (Role::LogReader, [false, false, false, false, false, false, false, false, true]),
];

fn held(bundle: &KeyBundle) -> [bool; 9] {
    assert_eq!(bundle.k_id.is_some(), bundle.k_cdc.is_some());
    [
        bundle.k_id.is_some(),
        bundle.k_idx.is_some(),
        bundle.k_ref.is_some(),
        bundle.pk_data.is_some(),
        bundle.pk_meta.is_some(),
        bundle.pk_wal.is_some(),
        bundle.sk_data.is_some(),
        bundle.sk_meta.is_some(),
        bundle.sk_wal.is_some(),
    ]
}

fn expected(role: Role) -> [bool; 9] {
    HELD.iter().find(|(of, _)| *of == role).unwrap().1
}

/// All that it opens of the chain of members: its own keys, of all generations, and those of nobody else.
fn assert_holds(opened: &Repository, epochs: u32) {
    let (standing, role) = (opened.standing(), opened.role());
    let bundles: Vec<&KeyBundle> = standing.ring.all().collect();
    let numbers: Vec<u32> = bundles.iter().map(|bundle| bundle.key_epoch).collect();
    assert_eq!(numbers, (0..epochs).collect::<Vec<_>>(), "{role:?}");
    for bundle in bundles {
        assert_eq!(held(bundle), expected(role), "{role:?}, generation {}", bundle.key_epoch);
    }
    for member in members(opened) {
        let entry = standing.members.known(member.id).unwrap();
        let ring = Keyring::open(entry, opened.id(), &opened.member_keys().kem, None);
        assert_eq!(ring.is_ok(), member.is_own, "a {role:?} opens what was sealed to a {:?}", member.role);
    }
}

/// What its keys open of what is stored, whatever verbs would say: sessions' secrets, and segments of the log.
async fn assert_opens(opened: &Repository, owner: &Repository, world: &World, logs: &[WalName]) {
    let [.., contents, pages, log] = expected(opened.role());
    let opener = opened.opener();
    let mut seen = BTreeSet::new();
    for snapshot in world.snapshots(owner).await {
        let End::Commit(commit) = end_of(owner, world, &snapshot) else { panic!("a commit") };
        seen.insert(commit.session.key_epoch);
        for (class, opens) in [(PackClass::Data, contents), (PackClass::Tree, pages)] {
            let secret = opener.session_secret(&commit.session, class);
            assert_eq!(secret.is_ok(), opens, "{:?} {class:?}", opened.role());
        }
        let restored = world.restore(opened, &snapshot, &crate::RestoreOptions::default()).await;
        let whole = restored.is_ok_and(|(_, outcome)| outcome.problems.problems.is_empty());
        assert_eq!(whole, contents, "{:?} restores", opened.role());
    }
    assert!(!seen.is_empty());
    for name in logs {
        let content = WalArchive::new(&world.ctx(), opened).get(name).await;
        assert_eq!(content.is_ok_and(|content| content.is_some()), log, "{:?} {name:?}", opened.role());
    }
}

fn end_of(owner: &Repository, world: &World, snapshot: &Snapshot) -> End {
    let name = snapshot.name();
    let bytes = world.store.objects()[&Key::new(name.end()).unwrap()].clone();
    owner.decode_end(&name, &bytes).unwrap().1
}

/// A member of each role, and what opens it.
fn of_each_role() -> impl Iterator<Item = (Role, Opens)> {
    Role::ALL.into_iter().map(|role| (role, key_of(role.word())))
}

async fn admit_all(world: &World) {
    for (role, secret) in of_each_role() {
        let key = NewKey { secret, label: Some(role.word().into()), cost: None };
        admit(&world.ctx(), &world.open().await, role, &key).await.unwrap();
    }
}

async fn put_log(world: &World, by: &Repository, place: u64) -> WalName {
    let file = SegmentName { timeline: 1, place }.to_string();
    let name = WalName::whole(Timeline::new(7, 1, b""), file);
    WalArchive::new(&world.ctx(), by).put(&name, noise(place, 5_000)).await.unwrap();
    name
}

#[test]
fn each_role_holds_its_keys_and_no_more() {
    run(|| async {
        let fleet = fleet().await;
        let world = &fleet.world;
        let store = Arc::new(MemoryStore::new());
        // One domain from before they came, one from after.
        Repository::create_domain(&world.ctx(), store.clone(), &world.open().await, Vec::new())
            .await
            .unwrap();
        admit_all(world).await;
        let later = Arc::new(MemoryStore::new());
        Repository::create_domain(&world.ctx(), later.clone(), &world.open().await, Vec::new())
            .await
            .unwrap();
        let mut logs = Vec::new();
        // As it was made, with new keys, and once more.
        for epochs in 1..=3 {
            let owner = world.open().await;
            let domains = [store.clone(), later.clone()];
            for domain in &domains {
                let domain = Repository::open_domain(&world.ctx(), domain.clone(), &owner).await.unwrap();
                grant(&world.ctx(), &owner, &domain).await.unwrap();
                if epochs > 1 {
                    rotate(&world.ctx(), &domain).await.unwrap();
                }
            }
            if epochs > 1 {
                rotate(&world.ctx(), &owner).await.unwrap();
            }
            let place = Arc::new(world.store.clone());
            let victim = Repository::open(&world.ctx(), place, &key_of("victim")).await.unwrap();
            fleet.keep(&victim, &tree(u64::from(epochs))).await;
            logs.push(put_log(world, &victim, u64::from(epochs)).await);
            for (role, secret) in of_each_role() {
                let place = Arc::new(world.store.clone());
                let opened = Repository::open(&world.ctx(), place, &secret).await.unwrap();
                assert_eq!(opened.role(), role);
                assert_holds(&opened, epochs);
                assert_opens(&opened, &owner, world, &logs).await;
                assert_eq!(opened.sealer().is_ok(), role.writes());
                for domain in &domains {
                    let domain =
                        Repository::open_domain(&world.ctx(), domain.clone(), &opened).await.unwrap();
                    assert_eq!(domain.role(), role);
                    assert_holds(&domain, epochs);
                }
            }
        }
    });
}
