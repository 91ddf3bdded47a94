//! A writer whose host was broken into: it has all keys of a writer and knows this source. It puts
//! what it likes under its own name, and where the store is set up badly under others' too.
//!
//! After each attack the victim's snapshots come back bit for bit, also when an honest owner has
//! pruned; what it costs is bounded; and somebody is told by name. On purpose not here: a store
//! that lies ([`crate::rollback_tests`]), and what new data may be deduplicated against.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::adopt::{read_contents, tables_of};
use crate::ctx::Ctx;
use crate::error::ErrorKind;
use crate::maintain::{
    ForgetOptions, ForgetReport, ForgetWhat, GroupBy, KeepCount, KeepLimit, KeepPolicy, KeepRule,
    LocalOffset, Period, PruneOptions, PruneReport, RepairIndexOptions, RepairSnapshotsOptions, Retention,
    forget, prune, repair_index, repair_snapshots,
};
use crate::protocol_tests::harness::{ModelSource, Node, Tree, World, noise, pruning, run};
use crate::repository::{Repository, Secret as Opens};
use crate::snapshots::Snapshot;
use crate::workers::Workers;
use crate::{CopyOptions, Fate, NewKey, SnapshotFilter, admit, copy, resolve};
use holdfast_core::chunk::{PackCipher, PageCiphers, PageText, pack_payload, seal_data, seal_page};
use holdfast_core::compress::Compressor;
use holdfast_core::crypto::Secret;
use holdfast_core::entry::{Attributes, Content, Entry, Extent, Kind, Owner, Time};
use holdfast_core::entry_code::Refs;
use holdfast_core::id::{ChunkId, SessionId, StreamId};
use holdfast_core::index::{IndexTables, PackRow, encode_delta};
use holdfast_core::keys::{
    ChunkKind, MemberAction, MemberEntry, Role, SessionRow, SessionSecrets, member_header,
};
use holdfast_core::name::{self, PackClass, PackId, Place, SessionName};
use holdfast_core::object::{Object, ObjectType, encode_object, seal_section};
use holdfast_core::pack::{FinishedPack, PackBuilder, pack_header};
use holdfast_core::page::{KeySpace, TreeBuilder};
use holdfast_core::root::Root;
use holdfast_core::session::{Begin, Commit, Counts, Details, End, Origin, Pins, Published, Summary};
use holdfast_core::wire::Writer;
use holdfast_store::{Key, MemoryStore};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the enemy is called.
const NAME: &str = "web-3";

fn key_of(name: &str) -> Opens {
    Opens::KeyFile(name.as_bytes().repeat(32))
}

/// A repository with an owner and two writers, one of which is in wrong hands.
struct Fleet {
    world: World,
    owner: Repository,
    victim: Repository,
    enemy: Enemy,
}

async fn fleet() -> Fleet {
    let (world, founder) = World::made(Workers::inline()).await;
    for name in ["victim", NAME] {
        let owner = world.open().await;
        let key = NewKey { secret: key_of(name), label: Some(name.into()), cost: None };
        admit(&world.ctx(), &owner, Role::Writer, &key).await.unwrap();
    }
    drop(founder);
    let open = async |name: &str| {
        let store = Arc::new(world.store.clone());
        Repository::open(&world.ctx(), store, &key_of(name)).await.unwrap()
    };
    let (owner, victim, repository) = (world.open().await, open("victim").await, open(NAME).await);
    // Nobody here can tell whether its processes live.
    let mut ctx = world.ctx();
    ctx.process.machine = [9; 16];
    let enemy = Enemy { ctx, repository, store: world.store.clone() };
    Fleet { world, owner, victim, enemy }
}

fn tree(number: u64) -> Tree {
    let mut tree = Tree::default();
    for at in 0..10 {
        tree.put(&format!("small/{at}"), Node::file(noise(number * 100 + at, 9_000)));
    }
    tree.put("large", Node::file(noise(number * 100 + 50, 600_000)));
    tree.put("shared", Node::file(noise(7, 300_000)));
    tree
}

impl Fleet {
    /// Somebody backs up, as a host that has no cache left.
    async fn keep(&self, repository: &Repository, tree: &Tree) -> Snapshot {
        let source = ModelSource::new(tree);
        let outcome = self.world.backup_with(repository, source, &World::bare()).await.unwrap();
        self.snapshot(outcome.value.snapshot.unwrap()).await
    }

    async fn snapshot(&self, id: SessionId) -> Snapshot {
        let all = self.world.snapshots(&self.owner).await;
        all.into_iter().find(|snapshot| snapshot.id == id).unwrap()
    }

    async fn prune(&self) -> crate::error::Result<PruneReport> {
        let options = pruning();
        prune(&self.world.ctx(), &self.owner, &options).await
    }

    async fn forget(&self, id: SessionId) {
        let options = ForgetOptions {
            what: ForgetWhat::Snapshots(vec![id]),
            allow_last: true,
            dry_run: false,
            proven: BTreeSet::new(),
        };
        forget(&self.world.ctx(), &self.owner, &options).await.unwrap();
    }

    /// Prunes until nothing changes any more.
    async fn prune_all(&self) {
        for _ in 0..2 {
            self.prune().await.unwrap();
        }
    }

    async fn assert_whole(&self, snapshot: &Snapshot, tree: &Tree) {
        self.world.assert_restores(&self.owner, snapshot, tree).await;
    }

    /// What `check` says of the enemy by its name.
    async fn said_of_enemy(&self) -> Vec<String> {
        let report = self.world.check(&self.owner).await;
        let lines = report.findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.what));
        lines.filter(|line| line.contains(NAME)).collect()
    }
}

/// All that a writer can do.
struct Enemy {
    ctx: Ctx,
    repository: Repository,
    store: MemoryStore,
}

/// A session of the enemy's.
struct Forged {
    name: SessionName,
    row: SessionRow,
    secrets: SessionSecrets,
    tables: IndexTables,
    ordinal: u32,
}

impl Enemy {
    fn insert(&self, name: String, bytes: Vec<u8>) {
        self.store.insert_raw(Key::new(name).unwrap(), bytes);
    }

    async fn begin(&self, stream: StreamId) -> Forged {
        let epoch = self.repository.newest_root().await.unwrap().number;
        self.begin_as(stream, epoch, SessionId(self.ctx.random()))
    }

    /// Begins with any root, under any id.
    fn begin_as(&self, stream: StreamId, epoch: u64, session: SessionId) -> Forged {
        let secrets =
            SessionSecrets { data: Secret::new(self.ctx.random()), meta: Secret::new(self.ctx.random()) };
        let sealer = self.repository.sealer().unwrap();
        let ephemeral = [self.ctx.random(), self.ctx.random()];
        let row = sealer.begin_session(session, &secrets, &ephemeral, &self.ctx.kem).unwrap();
        let name = SessionName { epoch: epoch as u32, member: self.repository.member(), session };
        let begin = Begin { stream, process: self.ctx.process, started: Time::default() };
        let header = self.header(ObjectType::Begin, &name.begin(), epoch);
        let bytes = begin.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer());
        self.insert(name.begin(), bytes);
        let tables = IndexTables { sessions: vec![row.clone()], ..IndexTables::default() };
        Forged { name, row, secrets, tables, ordinal: 0 }
    }

    fn header(&self, object_type: ObjectType, name: &str, epoch: u64) -> holdfast_core::object::Header {
        self.repository.header(&self.ctx, object_type, name::named_object(name), epoch)
    }

    /// Writes a pack; what is to be in it is sealed by `fill`.
    fn pack(&self, forged: &mut Forged, class: PackClass, fill: impl FnOnce(&PackId, &mut PackBuilder)) {
        let (member, session) = (forged.name.member, forged.name.session);
        let id = PackId { member, session, class, ordinal: forged.ordinal };
        forged.ordinal += 1;
        let header = pack_header(self.repository.id(), &id, 0, 0, self.ctx.random());
        let mut builder = PackBuilder::new(header, &id, forged.row.wrapped(class).unwrap());
        fill(&id, &mut builder);
        let (bytes, finished) = builder.finish(&self.repository.k_idx().unwrap());
        self.insert(id.name(), bytes);
        let FinishedPack { size, checksum, origins, rows } = finished;
        let row = PackRow { id, size, checksum, chunks: rows.len() as u32 };
        forged.tables.append(&[tables_of(&row, forged.row.clone(), &origins, &rows)]);
        forged.tables.sort();
    }

    /// Stores a page under any id, with any references.
    fn page(&self, forged: &mut Forged, id: ChunkId, refs: &Refs, body: &[u8]) {
        let secret = forged.secrets.meta.clone();
        self.pack(forged, PackClass::Tree, |pack, builder| {
            let repository = self.repository.id();
            let refs_cipher = PackCipher::for_refs(&self.repository.k_ref().unwrap(), repository, pack);
            let body_cipher = PackCipher::new(&secret, repository, pack);
            let ciphers = PageCiphers { refs: refs_cipher, body: Some(body_cipher) };
            let text = PageText { refs: refs.encode(), body: body.to_vec() };
            builder.push(id, text.plain_bytes(), |out| {
                seal_page(&ciphers, &id, &text, &mut Compressor::new(1), out)
            });
        });
    }

    /// Stores a data chunk under any id.
    fn chunk(&self, forged: &mut Forged, id: ChunkId, bytes: &[u8]) {
        let secret = forged.secrets.data.clone();
        self.pack(forged, PackClass::Data, |pack, builder| {
            let cipher = PackCipher::new(&secret, self.repository.id(), pack);
            builder.push(id, bytes.len(), |out| {
                seal_data(&cipher, &id, pack_payload(bytes, &mut Compressor::new(1)), out)
            });
        });
    }

    fn delta(&self, forged: &Forged, tables: &IndexTables) {
        let name = forged.name.delta(0);
        let header = self.header(ObjectType::IndexDelta, &name, forged.name.epoch.into());
        let (k_idx, signer) = (&self.repository.k_idx().unwrap(), self.repository.signer());
        self.insert(name, encode_delta(&header, 0, tables, k_idx, signer));
    }

    fn pins(&self, forged: &Forged, number: u32, pins: &Pins) {
        let name = forged.name.pins(number);
        let header = self.header(ObjectType::Pins, &name, forged.name.epoch.into());
        let bytes = pins.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer());
        self.insert(name, bytes);
    }

    /// Commits with its tables in a delta.
    fn commit(&self, forged: &Forged, summary: Summary) -> SessionId {
        self.delta(forged, &forged.tables);
        let name = forged.name.end();
        let header = self.header(ObjectType::End, &name, forged.name.epoch.into());
        let commit = Commit::new(
            summary,
            forged.row.clone(),
            &Details::default(),
            &header,
            &forged.secrets.meta,
            self.repository.description_hash(),
            Published { deltas: 1, pins: 0 },
        );
        let end = End::Commit(Box::new(commit));
        self.insert(name, end.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer()));
        forged.name.session
    }

    /// Puts another summary into a commit, compressed as no honest program would.
    fn shrink_summary(&self, forged: &Forged, summary: &Summary) {
        /// Outcome, hash of the description, counts of deltas and pins.
        const BEFORE: usize = 1 + 32 + 4 + 4;
        let bytes = self.store.objects()[&Key::new(forged.name.end()).unwrap()].clone();
        let object = Object::parse(&bytes).unwrap();
        let (before, rest) = object.body.split_at(BEFORE);
        let length = u32::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
        let mut body = Writer::from_vec(before.to_vec());
        let k_ref = self.repository.k_ref().unwrap();
        seal_section(&mut body, &k_ref, &object.header, "summary", &summary.encode());
        body.raw(&rest[4 + length..]);
        let bytes = encode_object(&object.header, body.as_slice(), Some(self.repository.signer()));
        assert!(bytes.len() < 100_000, "{} bytes", bytes.len());
        self.insert(forged.name.end(), bytes);
    }

    /// An empty tree in the session.
    fn empty_tree(&self, forged: &mut Forged) -> ChunkId {
        self.tree(forged, &[])
    }

    fn tree(&self, forged: &mut Forged, entries: &[Entry]) -> ChunkId {
        let identifier = self.repository.identifier().unwrap().clone();
        let mut builder = TreeBuilder::new(identifier, KeySpace::Paths);
        let mut pages = Vec::new();
        let mut sink = |id, page: PageText| pages.push((id, page));
        entries.iter().for_each(|entry| builder.push(entry, &mut sink));
        let root = builder.finish(&mut sink).id;
        for (id, page) in pages {
            self.page(forged, id, &Refs::decode(&page.refs).unwrap(), &page.body);
        }
        root
    }

    /// All chunks and pages of a member's packs, by their full ids: a footer needs no more than the key
    /// of the index.
    async fn contents_of(&self, member: &Repository) -> Vec<(PackClass, ChunkId)> {
        let mut found = Vec::new();
        for (key, body) in self.store.objects() {
            let Some(Place::Pack(id)) = name::parse(key.as_str()) else { continue };
            if id.member == member.member() {
                let contents = read_contents(&self.repository, id, body.len() as u64).await.unwrap();
                found.extend(contents.footer.rows.iter().map(|row| (id.class, row.id)));
            }
        }
        found
    }
}

#[path = "adversary_keep_tests.rs"]
mod keeping;
#[path = "adversary_maintainer_tests.rs"]
mod maintainers;
#[path = "adversary_name_tests.rs"]
mod names;
#[path = "adversary_copy_tests.rs"]
mod passed_on;
#[path = "adversary_role_tests.rs"]
mod roles;

fn at(seconds: i64) -> Time {
    Time { seconds, nanos: 0 }
}

/// A policy of one rule, for each host and its paths.
fn keeping(of: Period, limit: KeepLimit) -> Retention {
    Retention {
        keep: KeepPolicy { rules: vec![KeepRule { of, limit }], tags: Vec::new() },
        group_by: GroupBy::default(),
        filter: SnapshotFilter::default(),
        local_offset: LocalOffset::utc(),
        delete_after: None,
    }
}

async fn forget_by(world: &World, owner: &Repository, retention: Retention, dry_run: bool) -> ForgetReport {
    let what = ForgetWhat::Policy(retention);
    let options = ForgetOptions { what, allow_last: false, dry_run, proven: BTreeSet::new() };
    forget(&world.ctx(), owner, &options).await.unwrap()
}

/// What a snapshot says that bears another's name.
fn in_the_name_of(snapshot: &Snapshot, root: ChunkId) -> Summary {
    let summary = snapshot.summary.clone();
    Summary { root, parent: None, supersedes: Vec::new(), origin: None, ..summary }
}

#[test]
fn a_delta_speaks_of_its_own_member_s_packs_only() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        let mut forged = enemy.begin(StreamId([5; 16])).await;
        let root = enemy.empty_tree(&mut forged);
        // Where the victim's chunks lie, in its packs and none, with secrets that open nothing.
        let delta = fleet.world.names("index/delta/").remove(0);
        let Some(Place::Delta(session, number)) = name::parse(delta.as_str()) else { panic!("a delta") };
        let bytes = fleet.world.store.objects()[&delta].clone();
        let mut false_rows = enemy.repository.decode_delta(&session, number, &bytes).unwrap();
        for row in &mut false_rows.sessions {
            row.data = forged.row.data.clone();
            row.meta = forged.row.meta.clone();
        }
        for pack in &mut false_rows.packs {
            pack.size += 1000;
        }
        for chunk in &mut false_rows.chunks {
            chunk.offset += 1;
        }
        let mut nowhere = false_rows.clone();
        for pack in &mut nowhere.packs {
            pack.id = PackId { ordinal: pack.id.ordinal + 900, ..pack.id };
        }
        forged.tables.append(&[false_rows, nowhere]);
        forged.tables.sort();
        enemy.commit(&forged, in_the_name_of(&kept, root));

        fleet.assert_whole(&kept, &tree(1)).await;
        let said = fleet.said_of_enemy().await;
        assert!(said.iter().any(|line| line.contains("packs that others wrote")), "{said:#?}");
        fleet.prune_all().await;
        assert!(fleet.world.take_warnings().iter().any(|told| told.contains(NAME)));
        fleet.assert_whole(&kept, &tree(1)).await;
        // Once more, as another run that finds only segments.
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}

#[test]
fn false_copies_take_nothing_away_from_the_true_ones() {
    run(|| async {
        for victim_is_owner in [false, true] {
            let fleet = fleet().await;
            let victim = if victim_is_owner { fleet.owner.clone() } else { fleet.victim.clone() };
            let gone = fleet.keep(&victim, &tree(1)).await;
            let kept = fleet.keep(&victim, &tree(2)).await;
            // Every chunk once more: contents that are none, and pages that refer to nothing.
            let enemy = &fleet.enemy;
            let mut forged = enemy.begin(StreamId([5; 16])).await;
            for (class, id) in enemy.contents_of(&victim).await {
                match class {
                    PackClass::Data => enemy.chunk(&mut forged, id, b"nothing of the kind"),
                    PackClass::Tree => enemy.page(&mut forged, id, &Refs::default(), b"nothing"),
                }
            }
            enemy.commit(&forged, in_the_name_of(&kept, kept.summary.root));
            fleet.assert_whole(&kept, &tree(2)).await;
            // Packs are repacked, the enemy's too, and joined.
            fleet.prune_all().await;
            fleet.forget(gone.id).await;
            for _ in 0..2 {
                fleet.prune_all().await;
                fleet.assert_whole(&kept, &tree(2)).await;
            }
        }
    });
}

#[test]
fn a_repack_vouches_for_nobody() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        // Half of the enemy's packs is not needed, so that they are repacked into the owner's.
        let mut forged = enemy.begin(StreamId([5; 16])).await;
        let ids = enemy.contents_of(&fleet.victim).await;
        let (secret, repository) = (forged.secrets.data.clone(), enemy.repository.id());
        enemy.pack(&mut forged, PackClass::Data, |pack, builder| {
            let cipher = PackCipher::new(&secret, repository, pack);
            let waste = noise(1, 500_000);
            let chunks = ids.iter().filter(|(class, _)| *class == PackClass::Data).map(|(_, id)| *id);
            for id in chunks.chain([ChunkId([9; 32])]) {
                builder.push(id, waste.len(), |out| {
                    seal_data(&cipher, &id, pack_payload(&waste, &mut Compressor::new(1)), out)
                });
            }
        });
        let root = enemy.empty_tree(&mut forged);
        enemy.commit(&forged, in_the_name_of(&kept, root));
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
        // The owner's repacked packs must not push out the victim's, which are to be repacked now.
        let changed = fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.forget(kept.id).await;
        fleet.prune_all().await;
        fleet.assert_whole(&changed, &tree(2)).await;
    });
}

#[test]
fn a_dangling_commit_stops_a_prune_that_says_whose_it_is_until_it_is_forgotten() {
    run(|| async {
        let fleet = fleet().await;
        let gone = fleet.keep(&fleet.victim, &tree(1)).await;
        let kept = fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.forget(gone.id).await;
        let enemy = &fleet.enemy;
        let mut forged = enemy.begin(StreamId([5; 16])).await;
        enemy.empty_tree(&mut forged);
        let dangling = enemy.commit(&forged, in_the_name_of(&kept, ChunkId([8; 32])));
        let error = fleet.prune().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged);
        assert!(error.what.contains(NAME) && error.what.contains("forget"), "{error}");
        let said = fleet.said_of_enemy().await;
        assert!(said.iter().any(|line| line.contains(&dangling.to_string()[..8])), "{said:#?}");
        // Backups of others go on meanwhile.
        let newer = fleet.keep(&fleet.victim, &tree(3)).await;
        fleet.forget(dangling).await;
        fleet.prune_all().await;
        for (snapshot, number) in [(&kept, 2), (&newer, 3)] {
            fleet.assert_whole(snapshot, &tree(number)).await;
        }
        assert!(fleet.world.snapshots(&fleet.owner).await.iter().all(|left| left.id != gone.id));
    });
}

#[test]
fn pages_that_refer_to_each_other_in_a_circle_end() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        let mut forged = enemy.begin(StreamId([5; 16])).await;
        let (one, other) = (ChunkId([1; 32]), ChunkId([2; 32]));
        let to = |child| Refs { children: vec![child], chunks: Vec::new() };
        enemy.page(&mut forged, one, &to(other), b"x");
        enemy.page(&mut forged, other, &to(one), b"x");
        enemy.commit(&forged, in_the_name_of(&kept, one));
        fleet.prune_all().await;
        assert!(!fleet.said_of_enemy().await.is_empty());
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}

#[test]
fn pins_on_everything_hold_up_what_they_name_until_the_session_is_aborted() {
    run(|| async {
        let fleet = fleet().await;
        let gone = fleet.keep(&fleet.victim, &tree(1)).await;
        let kept = fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.forget(gone.id).await;
        let enemy = &fleet.enemy;
        let forged = enemy.begin(StreamId([5; 16])).await;
        let names = fleet.world.names("packs/");
        let there = names.iter().filter_map(|key| PackId::parse(key.as_str()));
        let mut packs: Vec<PackId> = there.collect();
        let known = packs.len();
        // And on as many as fit that do not exist: they take no memory.
        let first = packs[0];
        packs.extend((1000..300_000).map(|ordinal| PackId { ordinal, ..first }));
        packs.sort_unstable();
        let snapshots = BTreeSet::from([gone.id, SessionId([3; 16])]).into_iter().collect();
        enemy.pins(&forged, 0, &Pins { snapshots, packs });
        let held_up = fleet.prune().await.unwrap();
        assert_eq!((held_up.freed_packs, held_up.open_sessions), (0, 1));
        let scan = crate::maintain::pins_kept(&fleet.world.ctx(), &fleet.owner).await.unwrap();
        assert!(scan <= known, "{scan} pins are kept in memory");
        let options = PruneOptions { abort_after_seconds: 0, ..pruning() };
        let freed = prune(&fleet.world.ctx(), &fleet.owner, &options).await.unwrap();
        assert!(freed.freed_packs > 0 && freed.aborted_sessions.len() == 1, "{freed:?}");
        fleet.assert_whole(&kept, &tree(2)).await;
    });
}

#[test]
fn begins_without_end_are_bounded() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        for _ in 0..300 {
            fleet.enemy.begin(StreamId([5; 16])).await;
        }
        let report = fleet.prune().await.unwrap();
        assert_eq!((report.open_sessions, report.aborted_sessions.len()), (256, 44));
        let root = fleet.owner.newest_root().await.unwrap();
        assert!(root.watched.len() <= 256);
        // A backup does not look at them one by one.
        fleet.keep(&fleet.victim, &tree(2)).await;
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}

#[test]
fn what_another_writer_committed_is_no_parent() {
    run(|| async {
        for victim_is_owner in [false, true] {
            let fleet = fleet().await;
            let victim = if victim_is_owner { &fleet.owner } else { &fleet.victim };
            let kept = fleet.keep(victim, &tree(1)).await;
            // The tree of the next backup, with digests of true contents and bytes of others.
            let enemy = &fleet.enemy;
            let mut forged = enemy.begin(kept.summary.stream).await;
            let wrong = noise(99, 600_000);
            let id = enemy.repository.identifier().unwrap().chunk(ChunkKind::Data, &wrong);
            enemy.chunk(&mut forged, id, &wrong);
            let mut entries = Vec::new();
            for number in 0..10 {
                let content = noise(200 + number, 9_000);
                entries.push(entry(&format!("small\0{number}"), &content, id));
            }
            let root = enemy.tree(&mut forged, &entries);
            let end = at(fleet.world.clock_seconds() + 10);
            enemy.commit(&forged, Summary { end, ..in_the_name_of(&kept, root) });
            let source = ModelSource::new(&tree(2));
            let outcome = fleet.world.backup(victim, source).await;
            assert_eq!(outcome.value.parent, Some(kept.id));
            let next = fleet.snapshot(outcome.value.snapshot.unwrap()).await;
            fleet.assert_whole(&next, &tree(2)).await;
            // Not even if somebody asks for it.
            let options = crate::BackupOptions { parent: Some(forged.name.session), ..World::bare() };
            let asked = fleet.world.backup_with(victim, ModelSource::new(&tree(2)), &options).await;
            assert_eq!(asked.unwrap_err().kind, ErrorKind::NotAllowed);
        }
    });
}

fn entry(key: &str, content: &[u8], id: ChunkId) -> Entry {
    Entry {
        key: key.as_bytes().to_vec(),
        kind: Kind::File,
        mode: 0o644,
        owner: Arc::new(Owner::default()),
        mtime: Time::default(),
        size: content.len() as u64,
        content: Content::Extents(vec![Extent::Chunk { id, offset: 0, length: content.len() as u32 }]),
        digest: Some(holdfast_core::crypto::hash(content)),
        attributes: Attributes::default(),
    }
}

#[test]
fn latest_does_not_choose_between_two_writers_of_one_source() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let latest = async || {
            let filter = SnapshotFilter::default();
            resolve(&fleet.world.ctx(), &fleet.owner, "latest", b"", &filter).await
        };
        assert_eq!(latest().await.unwrap().snapshot.id, kept.id);
        let mut forged = fleet.enemy.begin(kept.summary.stream).await;
        let root = fleet.enemy.empty_tree(&mut forged);
        let end = at(fleet.world.clock_seconds() + 10);
        fleet.enemy.commit(&forged, Summary { end, ..in_the_name_of(&kept, root) });
        let error = latest().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Ambiguous, "{error}");
        // Beside an owner's it counts, aloud.
        fleet.forget(kept.id).await;
        fleet.keep(&fleet.owner, &tree(2)).await;
        let mut forged = fleet.enemy.begin(kept.summary.stream).await;
        let root = fleet.enemy.empty_tree(&mut forged);
        let end = at(fleet.world.clock_seconds() + 20);
        fleet.enemy.commit(&forged, Summary { end, ..in_the_name_of(&kept, root) });
        latest().await.unwrap();
        assert!(fleet.world.take_warnings().iter().any(|told| told.contains(NAME)));
    });
}

#[test]
fn nobody_calls_another_s_open_session_lost() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let source = ModelSource::new(&tree(2)).failing_after(12).batches_of(1);
        fleet.world.backup_with(&fleet.victim, source, &World::bare()).await.unwrap_err();
        let open = fleet.victim.view().await.unwrap();
        let open = open.sessions.values().find(|seen| !seen.ended).unwrap().name.session;
        let mut forged = fleet.enemy.begin(StreamId([5; 16])).await;
        let root = fleet.enemy.empty_tree(&mut forged);
        let summary = in_the_name_of(&kept, root);
        fleet.enemy.commit(&forged, Summary { parent: Some(open), supersedes: vec![open], ..summary });
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}

#[test]
fn an_end_that_is_none_stops_a_prune_until_it_is_repaired() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let forged = fleet.enemy.begin(StreamId([5; 16])).await;
        fleet.enemy.insert(forged.name.end(), b"junk".to_vec());
        let error = fleet.prune().await.unwrap_err();
        assert!(error.what.contains("repair snapshots"), "{error}");
        assert!(!fleet.said_of_enemy().await.is_empty());
        fleet.keep(&fleet.victim, &tree(2)).await;
        let options = RepairSnapshotsOptions::default();
        repair_snapshots(&fleet.world.ctx(), &fleet.owner, options).await.unwrap();
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}

#[test]
fn a_delta_that_is_none_costs_others_nothing_and_is_named() {
    run(|| async {
        // Junk, nothing at all, one that is cut off, one that was true of another session, none.
        for kind in 0..5 {
            let fleet = fleet().await;
            let gone = fleet.keep(&fleet.victim, &tree(1)).await;
            let kept = fleet.keep(&fleet.victim, &tree(2)).await;
            fleet.forget(gone.id).await;
            let mut own = Vec::new();
            for stream in [5, 6] {
                let mut forged = fleet.enemy.begin(StreamId([stream; 16])).await;
                let root = fleet.enemy.empty_tree(&mut forged);
                own.push((fleet.enemy.commit(&forged, in_the_name_of(&kept, root)), forged.name));
            }
            let [(own, name), (_, other)] = own.try_into().unwrap();
            let key = |name: &SessionName| Key::new(name.delta(0)).unwrap();
            let bytes = fleet.world.store.remove_raw(&key(&name)).unwrap();
            match kind {
                0 => fleet.enemy.insert(name.delta(0), b"junk".to_vec()),
                1 => fleet.enemy.insert(name.delta(0), Vec::new()),
                2 => fleet.enemy.insert(name.delta(0), bytes[..bytes.len() - 1].to_vec()),
                3 => fleet.enemy.insert(name.delta(0), fleet.world.store.objects()[&key(&other)].to_vec()),
                _ => {}
            }
            // Others go on.
            let later = fleet.keep(&fleet.victim, &tree(3)).await;
            let about = async || {
                let said = fleet.said_of_enemy().await;
                said.into_iter().filter(|line| line.contains(&name.delta(0))).collect::<Vec<_>>()
            };
            assert!(!about().await.is_empty(), "{kind}: {:#?}", fleet.said_of_enemy().await);
            // A prune that needs it frees nothing, and says of what and what to do; then it goes on.
            let packs = fleet.world.names("packs/");
            let mut stopped = false;
            if let Err(error) = fleet.prune().await {
                stopped = true;
                assert_eq!(error.kind, ErrorKind::Damaged, "{kind}: {error}");
                assert!(error.what.contains(&name.delta(0)), "{kind}: {error}");
                assert!(error.what.contains("`holdfast repair index`"), "{kind}: {error}");
                assert_eq!(fleet.world.names("packs/"), packs);
                let options = RepairIndexOptions::default();
                repair_index(&fleet.world.ctx(), &fleet.owner, options).await.unwrap();
                assert_eq!(about().await, [] as [String; 0], "{kind}");
            }
            assert!(stopped || kind > 2, "{kind} is pruned over");
            fleet.prune_all().await;
            assert!(fleet.world.snapshots(&fleet.owner).await.iter().all(|left| left.id != gone.id));
            fleet.forget(own).await;
            fleet.prune_all().await;
            fleet.assert_whole(&kept, &tree(2)).await;
            fleet.assert_whole(&later, &tree(3)).await;
        }
    });
}

#[test]
fn what_the_enemy_deletes_of_its_own_costs_its_own() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let own = fleet.keep(&fleet.enemy.repository, &tree(2)).await;
        let later = fleet.keep(&fleet.victim, &tree(3)).await;
        let member = fleet.enemy.repository.member();
        for key in fleet.world.names("packs/") {
            if PackId::parse(key.as_str()).is_some_and(|pack| pack.member == member) {
                fleet.world.store.remove_raw(&key);
            }
        }
        assert!(fleet.prune().await.is_err());
        assert!(!fleet.said_of_enemy().await.is_empty());
        fleet.forget(own.id).await;
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
        fleet.assert_whole(&later, &tree(3)).await;
    });
}

#[test]
fn a_claim_to_be_a_copy_keeps_no_copy_from_being_made() {
    run(|| async {
        let from = World::with_seed(Workers::inline(), 9);
        let made = from.create().await;
        from.keep(&made, &tree(1)).await;
        let snapshot = from.newest(&made).await;
        let fleet = fleet().await;
        let mut forged = fleet.enemy.begin(StreamId([5; 16])).await;
        let root = fleet.enemy.empty_tree(&mut forged);
        let origin = Some(Origin { repository: made.id(), snapshot: snapshot.id });
        fleet.enemy.commit(&forged, Summary { origin, ..in_the_name_of(&snapshot, root) });
        let options = CopyOptions {
            dry_run: false,
            compression_level: 1,
            data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
        };
        let mut fates = Vec::new();
        let told = &mut |copied: &crate::Copied| fates.push(copied.fate.clone());
        let copied = copy(&fleet.world.ctx(), &made, &fleet.owner, &[snapshot], &options, told).await;
        assert_eq!(copied.unwrap().value.copied, 1);
        let Fate::Made(id) = fates[0] else { panic!("{fates:?}") };
        fleet.assert_whole(&fleet.snapshot(id).await, &tree(1)).await;
    });
}

#[test]
fn an_entry_of_members_that_no_owner_signed_does_not_count() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        let (number, previous) = enemy.repository.members_head();
        let own = enemy.repository.standing().members.active(enemy.repository.member()).unwrap().clone();
        let entry = MemberEntry { number, previous, action: MemberAction::Admit, role: Role::Owner, ..own };
        let id = name::member_object(&previous, number);
        let (repository, member) = (enemy.repository.id(), enemy.repository.member());
        let header = member_header(ObjectType::Member, repository, id, member, enemy.ctx.random());
        enemy.insert(name::member(number, id), entry.encode(&header, enemy.repository.signer()));
        let reopened = fleet.world.open().await;
        assert!(!reopened.is_owner(member));
        fleet.world.assert_restores(&reopened, &kept, &tree(1)).await;
        let report = fleet.world.check(&reopened).await;
        let named = report.findings.iter().any(|finding| finding.what.contains("no owner signed it"));
        assert!(named && report.errors > 0, "{report:?}");
    });
}

#[test]
fn a_root_of_a_writer_s_is_refused_and_repaired() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        fleet.prune_all().await;
        let enemy = &fleet.enemy;
        let newest = enemy.repository.newest().await.unwrap();
        let number = newest.root.number + 1;
        let root = Root { number, previous: newest.hash, lists: Vec::new(), ..newest.root };
        let header =
            enemy.repository.header(&enemy.ctx, ObjectType::Root, name::root_object(number), number - 1);
        let bytes = root.encode(&header, &enemy.repository.k_ref().unwrap(), enemy.repository.signer());
        enemy.insert(name::root(number), bytes);
        let error = fleet.prune().await.unwrap_err();
        assert!(error.what.contains("repair index"), "{error}");
        repair_index(&fleet.world.ctx(), &fleet.owner, RepairIndexOptions::default()).await.unwrap();
        fleet.prune_all().await;
        fleet.assert_whole(&kept, &tree(1)).await;
    });
}

#[test]
fn few_bytes_do_not_unpack_to_many() {
    run(|| async {
        let fleet = fleet().await;
        let kept = fleet.keep(&fleet.victim, &tree(1)).await;
        let enemy = &fleet.enemy;
        let mut forged = enemy.begin(StreamId([5; 16])).await;
        let root = enemy.empty_tree(&mut forged);
        let session = enemy.commit(&forged, in_the_name_of(&kept, root));
        let paths = vec![vec![b'x'; 15 << 20]; 4];
        enemy.shrink_summary(&forged, &Summary { paths, ..in_the_name_of(&kept, root) });
        assert_eq!(session, forged.name.session);
        let view = fleet.owner.view().await.unwrap();
        assert_eq!(view.committed().len(), 1);
        assert_eq!(view.damage.len(), 1);
        fleet.assert_whole(&kept, &tree(1)).await;
        assert!(!fleet.said_of_enemy().await.is_empty());
    });
}
