//! What held a key is wiped: after keys were made, wrapped, sealed and opened, and repositories made, read and
//! written, this process looks through its memory and finds none of them.
//!
//! Each test is alone in its process (`cargo nextest`), so nothing of another's lies there.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../../crates/engine/tests/harness/mod.rs"]
mod harness;

use harness::{COST, ModelSource, ModelTarget, Node, Tree, World};
use holdfast_core::crypto::{KemCalls, Secret};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId, SessionId};
use holdfast_core::keys::{
    Credential, FoundingRandom, Identifier, KeyBundle, KeySlot, Keyring, MemberKeys, Opener, Role, Sealer,
    SessionSecrets, SlotKdf, SlotTerms, found, member_header, open_bundle, seal_bundle,
};
use holdfast_core::name::PackClass;
use holdfast_core::object::{Object, ObjectType};
use holdfast_engine::ctx::{Ctx, Entropy};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    NewKey, ReadData, Repository, RestoreOptions, Secret as Opens, SnapshotFilter, admit, backup, check,
    restore, rotate, snapshots,
};
use holdfast_tests::memory::{Wanted, left};
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::sync::{Arc, Mutex};

const REPOSITORY: RepositoryId = RepositoryId([7; 16]);

/// What is random in a run of this test: no constant that lies in its memory anyway.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Does all that is done with keys, and says what they were.
#[inline(never)]
fn with_keys() -> Vec<Wanted> {
    let calls = KemCalls::system();
    let (k_id, k_cdc, k_idx, k_ref) = (random(), random(), random(), random());
    let (sign, data, meta) = (random::<32>(), random::<32>(), random::<32>());
    let random_bytes = FoundingRandom {
        x25519: [random(), data, meta],
        wal: Some(random()),
        sign,
        keys: [k_id, k_cdc, k_idx, k_ref],
        ephemeral: random(),
    };
    let member = MemberId([8; 16]);
    let founding = found(REPOSITORY, member, "owner", &random_bytes, &calls).unwrap();
    let exposed = founding.bundle.sk_data.as_ref().unwrap().expose();
    let mut wanted = vec![
        Wanted::new("K_id", &k_id),
        Wanted::new("K_cdc", &k_cdc),
        Wanted::new("K_idx", &k_idx),
        Wanted::new("K_ref", &k_ref),
        Wanted::new("the seed of signatures", &sign),
        Wanted::new("ML-KEM's key of contents", &exposed),
        Wanted::new("X25519's key of contents", &data),
        Wanted::new("X25519's key of pages", &meta),
    ];
    wanted.push(slot(&founding.owner, &random()));
    let kem = &founding.owner.kem;
    let sealed = seal_bundle(&founding.bundle, REPOSITORY, kem.public(), &random(), &calls).unwrap();
    let bundle = open_bundle(&sealed, REPOSITORY, kem).unwrap();
    let ring = Keyring::open(&founding.entry, REPOSITORY, kem, None).unwrap();
    for role in Role::ALL {
        let part = KeyBundle::decode(&bundle.of_role(role).encode()).unwrap();
        black_box(Opener::new(REPOSITORY, &part));
    }
    black_box(Identifier::new(bundle.k_id.as_ref().unwrap(), bundle.k_cdc.as_ref().unwrap()));
    let (of_data, of_meta) = (random(), random());
    wanted.push(Wanted::new("a session's secret of contents", &of_data));
    wanted.push(Wanted::new("a session's secret of pages", &of_meta));
    let secrets = SessionSecrets { data: Secret::new(of_data), meta: Secret::new(of_meta) };
    let sealer = Sealer::new(REPOSITORY, member, &bundle).unwrap();
    let row = sealer.begin_session(SessionId([3; 16]), &secrets, &[random(), random()], &calls).unwrap();
    let opened = Opener::of_ring(REPOSITORY, &ring);
    for class in [PackClass::Data, PackClass::Tree] {
        assert_eq!(opened.session_secret(&row, class).unwrap(), *secrets.of(class));
    }
    wanted
}

/// Wraps the keys of a member, and unwraps them.
fn slot(keys: &MemberKeys, password: &[u8; 32]) -> Wanted {
    let header = member_header(ObjectType::KeySlot, REPOSITORY, ObjectId([1; 16]), keys.member, [2; 16]);
    let kdf = SlotKdf::Password(COST);
    let terms = SlotTerms {
        role: Role::Owner,
        label: "me".to_owned(),
        kdf,
        salt: random(),
        created: None,
        transit: None,
    };
    let credential = Credential::Password(password);
    let slot = KeySlot::wrap(keys, terms, credential, &header).unwrap().encode(&header);
    let again = KeySlot::decode(Object::parse(&slot).unwrap().body).unwrap();
    assert_eq!(again.unwrap(&header, credential).unwrap().member, keys.member);
    Wanted::new("the password", password)
}

#[test]
fn no_key_is_left_in_memory() {
    let wanted = with_keys();
    assert_eq!(left(&wanted), [""; 0]);
    let kept = wanted[0].unveiled();
    assert_eq!(left(&wanted), ["K_id"], "it finds what is there");
    drop(black_box(kept));
}

/// Gives randomness, and notes what of it were 32 bytes, as keys are.
#[derive(Default)]
struct Noting(Mutex<Vec<Wanted>>);

impl Entropy for Noting {
    fn fill(&self, bytes: &mut [u8]) {
        File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
        let mut noted = self.0.lock().unwrap();
        let name = format!("random {}", noted.len());
        noted.extend((bytes.len() == 32).then(|| Wanted::new(name, bytes)));
    }
}

/// What opens a repository. Of an array a copy would lie in what is kept of a function that waits.
fn key_file(name: &str) -> (Opens, Wanted) {
    let file = random::<32>();
    (Opens::KeyFile(file.to_vec()), Wanted::new(name, &file))
}

/// Makes a repository, lets a writer in, backs up, renews the keys, reads it all; says what opened it, and the
/// keys that were drawn: four that are shared, those of contents, pages, logs and the owner, and its signature's.
#[inline(never)]
async fn with_a_repository() -> Vec<Wanted> {
    let (world, noting) = (World::new(Workers::inline()), Arc::new(Noting::default()));
    let ctx = || Ctx { entropy: Arc::clone(&noting) as Arc<dyn Entropy>, ..world.ctx() };
    let store = || Arc::new(world.store.clone());
    let ((file, first_file), (second, second_file)) = (key_file("the key file"), key_file("the writer's"));
    let owner = Repository::create(&ctx(), store(), &file, &World::init_options()).await.unwrap();
    let mut wanted = noting.0.lock().unwrap()[..9].to_vec();
    wanted.extend([first_file, second_file]);
    let new = NewKey { secret: second.clone(), label: None, cost: Some(COST) };
    admit(&ctx(), &owner, Role::Writer, &new).await.unwrap();
    drop((owner, new));
    let mut tree = Tree::default();
    tree.put("file", Node::file("content"));
    for key in [&second, &file] {
        let writes = Repository::open(&ctx(), store(), key).await.unwrap();
        let outcome =
            backup(&ctx(), &writes, Box::new(ModelSource::new(&tree)), &world.options()).await.unwrap();
        assert_eq!(outcome.problems.problems, []);
    }
    let owner = Repository::open(&ctx(), store(), &file).await.unwrap();
    rotate(&ctx(), &owner).await.unwrap();
    let owner = Repository::open(&ctx(), store(), &file).await.unwrap();
    for snapshot in snapshots(&ctx(), &owner, &SnapshotFilter::default()).await.unwrap().value {
        let target = Box::new(ModelTarget::default());
        let restored = restore(&ctx(), &owner, &snapshot, target, &RestoreOptions::default()).await.unwrap();
        assert_eq!(restored.problems.problems, []);
    }
    let findings = check(&ctx(), &owner, ReadData::All).await.unwrap().findings;
    assert!(findings.iter().all(|finding| !finding.is_error), "{findings:?}");
    wanted
}

#[test]
fn nothing_that_opens_a_repository_is_left_in_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let wanted = runtime.block_on(with_a_repository());
    drop(runtime);
    assert_eq!(left(&wanted), [""; 0]);
}
