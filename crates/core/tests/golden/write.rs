//! Writes the golden repository with the encoders of the core and fixed keys.
//!
//! On purpose not here: the engine's pipeline. Sizes and orders are chosen to cover the format.

use crate::Objects;
use crate::fixture::{array, kem_calls, noise, stored};
use crate::model::{
    ABORTED, EMPTY, FIRST, Item, Model, OWNER, PASSWORD, Placement, READER, REPOSITORY, Run, WRITER,
    fixed_16, snapshots,
};
use holdfast_core::chunk::{PackCipher, PageCiphers, PageText, pack_payload, seal_data, seal_page};
use holdfast_core::chunker::Chunker;
use holdfast_core::compress::{Compressor, LEVEL_DEFAULT};
use holdfast_core::crypto::{KdfCost, KemSecret, Secret, Signer, hash};
use holdfast_core::entry::{
    Content, Digest, EXTENTS_INLINE_MAX, Entry, Extent, INLINE_BYTES_MAX, Kind, Time, Xattrs,
};
use holdfast_core::entry_code::{XATTRS_INLINE_BYTES_MAX, encode_xattrs};
use holdfast_core::id::{ChunkId, MemberId, ObjectId, SessionId};
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables, MultisetSum, PackRow, Partition, encode_delta};
use holdfast_core::keys::{
    ChunkKind, Credential, Founding, FoundingRandom, KeyBundle, KeySlot, MemberAction, MemberEntry, Role,
    Sealer, SessionRow, SessionSecrets, SlotKdf, SlotTerms, found, member_header, seal_bundle,
};
use holdfast_core::name::{self, PackClass, PackId, SessionName};
use holdfast_core::object::{Header, ObjectType};
use holdfast_core::pack::{PackBuilder, pack_header};
use holdfast_core::page::{Blocks, ExtentTreeBuilder, KeySpace, TreeBuilder, encode_extent_leaf};
use holdfast_core::record::{Evidence, WalSegment};
use holdfast_core::repository::{Features, RECOVER_TEXT, Repository};
use holdfast_core::root::{
    CataloguedSnapshot, Conservation, List, ListKind, NamedRow, Root, SegmentRow, WalFloor, encode_snapshots,
};
use holdfast_core::segment::IndexSegment;
use holdfast_core::session::{
    Begin, Commit, Counts, Details, End, Pins, Process, Published, RecordedProblem, Summary,
};
use std::collections::{BTreeMap, BTreeSet};

/// Files up to this size share chunks.
const BUNDLED_BYTES_MAX: u64 = 128 << 10;

fn secret(label: &str) -> Secret {
    Secret::new(random(label))
}

fn random(label: &str) -> [u8; 32] {
    hash(label.as_bytes())
}

fn time(seconds: i64) -> Time {
    Time { seconds: 1_700_001_000 + seconds, nanos: 0 }
}

struct Golden {
    objects: Objects,
    founding: Founding,
    signers: BTreeMap<MemberId, Signer>,
    repository_hash: [u8; 32],
    /// Where small contents lie, by digest.
    content_map: ContentMap,
}

type ContentMap = BTreeMap<Digest, Extent>;

/// A file that waits for its bundle to close: key, digest, offset and length.
type Waiting = (Vec<u8>, Digest, u32, u32);

/// Returns all objects of the golden repository.
pub(crate) fn repository() -> Objects {
    let mut golden = Golden::found();
    golden.admit_members();
    let [first, second] = <[Model; 2]>::try_from(snapshots()).unwrap();
    let first = golden.backup(&first, 0, OWNER, None);
    let empty = golden.backup(&Model { session: EMPTY, items: vec![], placements: vec![] }, 0, WRITER, None);
    let aborted = golden.abort();
    golden.publish_root(&[first, empty], &aborted);
    golden.backup(&second, 1, OWNER, Some(FIRST));
    golden.log_segments();
    golden.evidence();
    golden.objects
}

/// What a finished session left behind.
struct Left {
    name: SessionName,
    tables: IndexTables,
    end_hash: [u8; 32],
    summary: Option<Summary>,
}

impl Golden {
    fn found() -> Self {
        let random = FoundingRandom {
            x25519: [0, 1, 2].map(|at: usize| array(&stored()[at].x25519_secret)),
            wal: None,
            sign: random("sign owner"),
            keys: ["K_id", "K_cdc", "K_idx", "K_ref"].map(random),
            ephemeral: random("ephemeral owner"),
        };
        let founding = found(REPOSITORY, OWNER, "the owner", &random, &kem_calls()).unwrap();
        let signers = [(OWNER, "sign owner"), (WRITER, "sign writer"), (READER, "sign reader")]
            .map(|(member, label)| (member, Signer::from_seed(secret(label))));
        let mut golden = Self {
            objects: Objects::new(),
            founding,
            signers: signers.into_iter().collect(),
            repository_hash: [0; 32],
            content_map: ContentMap::new(),
        };
        let slots = golden.key_slots();
        let entry = ObjectId(fixed_16("member 0"));
        let head = member_header(ObjectType::Member, REPOSITORY, entry, OWNER, fixed_16("nonce member 0"));
        let bytes = golden.founding.entry.encode(&head, &golden.signers[&OWNER]);
        golden.put(name::member(0, entry), bytes);
        golden.put(name::RECOVER.to_owned(), RECOVER_TEXT.as_bytes().to_vec());
        let recover = hash(RECOVER_TEXT.as_bytes());
        let features = Features::default();
        let json = Repository { id: REPOSITORY, features, key_slot: slots, member: entry, recover }.encode();
        golden.repository_hash = hash(json.as_bytes());
        golden.put(name::REPOSITORY.to_owned(), json.into_bytes());
        golden
    }

    fn key_slots(&mut self) -> ObjectId {
        let cost = KdfCost { memory_kib: 256, passes: 1, lanes: 1 };
        let file = noise("golden key file", 64);
        let mut ids = Vec::new();
        for (label, kdf, credential) in [
            ("password", SlotKdf::Password(cost), Credential::Password(PASSWORD)),
            ("key file", SlotKdf::KeyFile, Credential::KeyFile(&file)),
        ] {
            let id = ObjectId(fixed_16(label));
            let salt = random(label);
            let head = member_header(
                ObjectType::KeySlot,
                REPOSITORY,
                id,
                OWNER,
                fixed_16(&format!("nonce {label}")),
            );
            let terms = SlotTerms {
                role: Role::Owner,
                label: label.to_owned(),
                kdf,
                salt,
                created: None,
                transit: None,
            };
            let slot = KeySlot::wrap(&self.founding.owner, terms, credential, &head);
            self.put(name::key_slot(id), slot.unwrap().encode(&head));
            ids.push(id);
        }
        ids[0]
    }

    /// A writer, and a reader who is removed again.
    fn admit_members(&mut self) {
        let whole = self.founding.bundle.clone();
        let writer = KeyBundle { sk_data: None, sk_meta: None, ..whole.clone() };
        for (number, member, role, action, bundle, kem) in [
            (1, WRITER, Role::Writer, MemberAction::Admit, Some(&writer), 3),
            (2, READER, Role::Reader, MemberAction::Admit, Some(&whole), 4),
            (3, READER, Role::Reader, MemberAction::Remove, None, 4),
        ] {
            let stored = &stored()[kem];
            let kem = KemSecret::new(array(&stored.x25519_secret), &stored.pair()).unwrap();
            let seal = |bundle| {
                let ephemeral = random(&format!("ephemeral member {number}"));
                (0, seal_bundle(bundle, REPOSITORY, kem.public(), &ephemeral, &kem_calls()).unwrap())
            };
            let before = self
                .objects
                .iter()
                .find(|(name, _)| name.starts_with(&format!("members/{:016x}", number - 1)));
            let previous = hash(before.unwrap().1);
            let entry = MemberEntry {
                number,
                previous,
                action,
                member,
                role,
                label: format!("a {}", role.word()),
                sign: self.signers[&member].public(),
                kem: kem.public().clone(),
                bundles: bundle.into_iter().map(seal).collect(),
            };
            let id = name::member_object(&previous, number);
            let nonce = fixed_16(&format!("nonce member {number}"));
            let head = member_header(ObjectType::Member, REPOSITORY, id, OWNER, nonce);
            let bytes = entry.encode(&head, &self.signers[&OWNER]);
            self.put(name::member(number, id), bytes);
        }
    }

    fn put(&mut self, name: String, bytes: Vec<u8>) {
        assert!(self.objects.insert(name, bytes).is_none(), "names are never used again");
    }

    fn k_idx(&self) -> Secret {
        self.founding.bundle.k_idx.clone().unwrap()
    }

    fn k_ref(&self) -> Secret {
        self.founding.bundle.k_ref.clone().unwrap()
    }

    /// Writes a session from begin to end.
    fn backup(&mut self, model: &Model, epoch: u32, member: MemberId, parent: Option<SessionId>) -> Left {
        let mut session = Session::begin(self, model.session, epoch, member);
        let pins = Pins { snapshots: parent.into_iter().collect(), packs: vec![] };
        let known = parent.map(|_| self.known_chunks()).unwrap_or_default();
        session.content_map = std::mem::take(&mut self.content_map);
        let root = session.tree(model, known);
        self.content_map = std::mem::take(&mut session.content_map);
        session.finish_packs(self);
        session.publish_delta(self);
        session.pin(self, &pins);
        session.commit(self, model, root, parent)
    }

    /// Chunks that the deltas of committed sessions hold; the golden writer remembers plaintext ids.
    fn known_chunks(&self) -> BTreeSet<ChunkKey> {
        let key = self.k_idx();
        let deltas = self.objects.iter().filter(|(name, _)| name.starts_with("index/delta/"));
        let keys = deltas.filter(|(name, _)| name.contains(&FIRST.to_string())).flat_map(|(_, bytes)| {
            let object = holdfast_core::object::Object::parse(bytes).unwrap();
            holdfast_core::index::decode_delta(&object.header, object.body, &key).unwrap().1.chunks
        });
        keys.map(|row| row.key).collect()
    }

    /// A session of the writer that the owner gives up: three packs, of which one is gone.
    fn abort(&mut self) -> PackId {
        let mut session = Session::begin(self, ABORTED, 0, WRITER);
        for number in 0..3 {
            session.data(&noise(&format!("golden aborted {number}"), 50));
            session.finish_packs(self);
        }
        session.publish_delta(self);
        session.pin(self, &Pins { snapshots: vec![FIRST], packs: vec![session.pack_id(PackClass::Data, 0)] });
        let head = self.session_header(ObjectType::End, &session.name.end(), OWNER, 0);
        let end = End::Abort { reason: "its process is gone".into() };
        let bytes = end.encode(&head, &self.k_ref(), &self.signers[&OWNER]);
        self.put(session.name.end(), bytes);
        let gone = session.pack_id(PackClass::Data, 2);
        self.objects.remove(&gone.name()).unwrap();
        gone
    }

    fn session_header(&self, object_type: ObjectType, name: &str, member: MemberId, epoch: u64) -> Header {
        let nonce = fixed_16(&format!("nonce {name}"));
        Header { epoch, ..member_header(object_type, REPOSITORY, name::named_object(name), member, nonce) }
    }

    fn fresh_header(&self, object_type: ObjectType, label: &str) -> Header {
        let id = ObjectId(fixed_16(label));
        member_header(object_type, REPOSITORY, id, OWNER, fixed_16(&format!("nonce {label}")))
    }

    fn publish_root(&mut self, merged: &[Left], dead: &PackId) {
        let mut root = Root {
            number: 1,
            repository_hash: self.repository_hash,
            members: (4, self.last_member_hash()),
            fence_pending: 1,
            fence: 1,
            time: time(300),
            ..Root::default()
        };
        self.merge_index(&mut root, merged);
        self.merge_snapshots(&mut root, merged);
        let pack = |ordinal| BTreeSet::from([PackId { ordinal, ..*dead }]);
        let session = |left: &Left| [left.name.member.0, left.name.session.0].concat();
        let mut absorbed: Vec<_> = merged.iter().map(session).collect();
        absorbed.sort_unstable();
        for list in [
            List::of_packs(ListKind::Condemned, &pack(0)),
            List::of_packs(ListKind::Dead, &pack(2)),
            List { kind: ListKind::Lost, items: random("a lost chunk").to_vec() },
            List::of_packs(ListKind::Quarantined, &pack(1)),
            List { kind: ListKind::Absorbed, items: absorbed.concat() },
            List { kind: ListKind::Forgotten, items: EMPTY.0.to_vec() },
        ] {
            let head = self.fresh_header(ObjectType::List, &format!("list {}", list.kind as u8));
            let bytes = list.encode(&head, &self.k_idx(), &self.signers[&OWNER]);
            let items = (list.items.len() / list.kind.width()) as u64;
            let floor = u64::from(list.kind == ListKind::Dead);
            root.lists.push(NamedRow {
                kind: list.kind as u8,
                id: head.object,
                items,
                hash: hash(&bytes),
                floor,
            });
            self.put(name::list(head.object), bytes);
        }
        root.wal = vec![WalFloor {
            timeline: "6f1d0c3b2a596877/00000001-0102030405060708".into(),
            floor: "000000010000000000000003".into(),
            ranges: vec![("000000010000000000000001".into(), "000000010000000000000001".into())],
        }];
        let nonce = fixed_16("nonce root 1");
        let head = member_header(ObjectType::Root, REPOSITORY, name::root_object(1), OWNER, nonce);
        let bytes = root.encode(&head, &self.k_ref(), &self.signers[&OWNER]);
        self.put(name::root(1), bytes);
    }

    fn last_member_hash(&self) -> [u8; 32] {
        let members = self.objects.range("members/".to_owned().."members0".to_owned());
        hash(members.last().unwrap().1)
    }

    fn merge_index(&mut self, root: &mut Root, merged: &[Left]) {
        let mut tables = IndexTables::default();
        for left in merged {
            let first = tables.packs.len() as u32;
            tables.sessions.extend(left.tables.sessions.iter().cloned());
            tables.packs.extend(left.tables.packs.iter().cloned());
            let moved =
                |row: &ChunkRow| ChunkRow { pack: row.pack + first, origin: row.origin + first, ..*row };
            tables.chunks.extend(left.tables.chunks.iter().map(moved));
        }
        tables.arrange();
        let sum = MultisetSum::of(&tables);
        let rows = tables.chunks.len() as u64;
        let segment = IndexSegment { partition: Partition::ALL, level: 1, sum, tables };
        let head = self.fresh_header(ObjectType::IndexSegment, "index segment");
        let bytes = segment.encode(&head, &self.k_idx(), &self.signers[&OWNER]);
        root.segments = vec![SegmentRow {
            partition: Partition::ALL,
            level: 1,
            id: head.object,
            rows,
            hash: hash(&bytes),
            sum,
        }];
        root.conservation = vec![Conservation { taken: sum, dropped: MultisetSum::default(), given: sum }];
        self.put(name::index_segment(head.object), bytes);
    }

    fn merge_snapshots(&mut self, root: &mut Root, merged: &[Left]) {
        let row = |left: &Left| CataloguedSnapshot {
            session: left.name.session,
            member: left.name.member,
            epoch: left.name.epoch.into(),
            received: time(299),
            end_hash: left.end_hash,
            summary: left.summary.clone().unwrap(),
        };
        let rows: Vec<_> = merged.iter().map(row).collect();
        let head = self.fresh_header(ObjectType::SnapshotSegment, "snapshot segment");
        let bytes = encode_snapshots(&rows, &head, &self.k_ref(), &self.signers[&OWNER]);
        let named =
            NamedRow { kind: 0, id: head.object, items: rows.len() as u64, hash: hash(&bytes), floor: 0 };
        root.snapshots = vec![named];
        self.put(name::snapshot_segment(head.object), bytes);
    }

    fn log_segments(&mut self) {
        let sealer = Sealer::new(REPOSITORY, OWNER, &self.founding.bundle).unwrap();
        let system = 0x6f1d_0c3b_2a59_6877;
        let history = [1, 2, 3, 4, 5, 6, 7, 8];
        for (segment, piece, plaintext) in [
            ("000000010000000000000003", None, b"a record of the log, ".repeat(3_000)),
            ("000000010000000000000004", Some(0), noise("golden log piece", 300)),
        ] {
            let name = name::wal(system, 1, &history, segment, piece);
            let session = SessionId(name::named_object(&name).0);
            let secrets = SessionSecrets { data: secret(&name), meta: secret(&name) };
            let row = sealer
                .begin_session(session, &secrets, &[random(&name), random("unused")], &kem_calls())
                .unwrap();
            let head = self.session_header(ObjectType::Wal, &name, OWNER, 1);
            let content = sealer.identifier.wal(&plaintext);
            let mut compressor = Compressor::new(LEVEL_DEFAULT);
            let wal = WalSegment::seal(
                &head,
                &plaintext,
                content,
                &secrets.data,
                row.data.unwrap(),
                &mut compressor,
            );
            self.put(name, wal.encode(&head, &self.signers[&OWNER]));
        }
    }

    fn evidence(&mut self) {
        let mut previous = [0; 32];
        for number in 0..2 {
            let name = name::evidence(OWNER, number);
            let text = format!("{{\"drill\":{number},\"verdict\":\"pass\"}}").into_bytes();
            let record = Evidence { number, previous, time: time(400), kind: "drill".into(), text };
            let head = self.session_header(ObjectType::Evidence, &name, OWNER, 1);
            let bytes = record.encode(&head, &self.k_ref(), &self.signers[&OWNER]);
            previous = hash(&bytes);
            self.put(name, bytes);
        }
    }
}

/// One session while it writes.
struct Session {
    name: SessionName,
    sealer: Sealer,
    secrets: SessionSecrets,
    row: SessionRow,
    open: BTreeMap<PackClass, PackBuilder>,
    next: BTreeMap<PackClass, u32>,
    tables: IndexTables,
    known: BTreeSet<ChunkKey>,
    content_map: ContentMap,
    compressor: Compressor,
}

impl Session {
    fn begin(golden: &mut Golden, session: SessionId, epoch: u32, member: MemberId) -> Self {
        let sealer = Sealer::new(REPOSITORY, member, &golden.founding.bundle).unwrap();
        let label = |what: &str| format!("{what} {session}");
        let secrets = SessionSecrets { data: secret(&label("data")), meta: secret(&label("meta")) };
        let ephemeral = [random(&label("ephemeral data")), random(&label("ephemeral meta"))];
        let row = sealer.begin_session(session, &secrets, &ephemeral, &kem_calls()).unwrap();
        let name = SessionName { epoch, member, session };
        let begin = Begin {
            stream: sealer.identifier.stream("golden", "files", "/golden"),
            process: Process { machine: [1; 16], boot: [2; 16], number: 4711, start: 99 },
            started: time(i64::from(epoch)),
        };
        let head = golden.session_header(ObjectType::Begin, &name.begin(), member, epoch.into());
        golden.put(name.begin(), begin.encode(&head, &golden.k_ref(), &golden.signers[&member]));
        Self {
            name,
            sealer,
            secrets,
            tables: IndexTables { sessions: vec![row.clone()], ..IndexTables::default() },
            row,
            open: BTreeMap::new(),
            next: BTreeMap::new(),
            known: BTreeSet::new(),
            content_map: ContentMap::new(),
            compressor: Compressor::new(LEVEL_DEFAULT),
        }
    }

    fn pack_id(&self, class: PackClass, ordinal: u32) -> PackId {
        PackId { member: self.name.member, session: self.name.session, class, ordinal }
    }

    fn current(&self, class: PackClass) -> PackId {
        self.pack_id(class, self.next.get(&class).copied().unwrap_or(0))
    }

    fn push(
        &mut self,
        class: PackClass,
        id: ChunkId,
        plain: usize,
        seal: impl FnOnce(&Self, &PackId, &mut Vec<u8>) -> holdfast_core::chunk::StoredLength,
    ) {
        if !self.known.insert(ChunkKey::from(&id)) {
            return;
        }
        let pack = self.current(class);
        let wrapped = self.row.wrapped(class).unwrap().clone();
        let nonce = fixed_16(&format!("nonce {}", pack.name()));
        let head = pack_header(REPOSITORY, &pack, 0, self.name.epoch.into(), nonce);
        let mut builder = self.open.remove(&class).unwrap_or_else(|| PackBuilder::new(head, &pack, &wrapped));
        builder.push(id, plain, |out| seal(self, &pack, out));
        self.open.insert(class, builder);
    }

    fn data(&mut self, plaintext: &[u8]) -> ChunkId {
        let id = self.sealer.identifier.chunk(ChunkKind::Data, plaintext);
        let mut compressor = std::mem::replace(&mut self.compressor, Compressor::new(LEVEL_DEFAULT));
        let packed = pack_payload(plaintext, &mut compressor);
        self.push(PackClass::Data, id, plaintext.len(), |session, pack, out| {
            let cipher = PackCipher::new(&session.secrets.data, REPOSITORY, pack);
            seal_data(&cipher, &id, packed, out)
        });
        id
    }

    fn page(&mut self, id: ChunkId, page: &PageText) {
        let plain = page.plain_bytes();
        self.push(PackClass::Tree, id, plain, |session, pack, out| {
            let ciphers = PageCiphers {
                refs: PackCipher::for_refs(&session.sealer.k_ref, REPOSITORY, pack),
                body: Some(PackCipher::new(&session.secrets.meta, REPOSITORY, pack)),
            };
            seal_page(&ciphers, &id, page, &mut Compressor::new(LEVEL_DEFAULT), out)
        });
    }

    fn pages(&mut self, pages: Vec<(ChunkId, PageText)>) {
        for (id, page) in pages {
            self.page(id, &page);
        }
    }

    /// Stores contents and pages; returns the root of the tree.
    fn tree(&mut self, model: &Model, known: BTreeSet<ChunkKey>) -> ChunkId {
        self.known = known;
        let mut slices = self.bundles(model);
        let mut pages = Vec::new();
        let mut builder = TreeBuilder::new(self.sealer.identifier.clone(), KeySpace::Paths);
        for (item, placement) in model.items.iter().zip(&model.placements) {
            let slice = slices.remove(&item.entry.key);
            let entry = self.entry(item, *placement, slice);
            builder.push(&entry, &mut |id, page| pages.push((id, page)));
        }
        let root = builder.finish(&mut |id, page| pages.push((id, page)));
        self.pages(pages);
        root.id
    }

    /// Joins small files in the order of the tree; returns the slice of each.
    fn bundles(&mut self, model: &Model) -> BTreeMap<Vec<u8>, Extent> {
        let (mut bundle, mut waiting, mut slices) = (Vec::new(), Vec::<Waiting>::new(), BTreeMap::new());
        let rule = self.sealer.identifier.bundle_rule.clone();
        for (item, placement) in model.items.iter().zip(&model.placements) {
            let [Run::Data(bytes)] = &item.runs[..] else { continue };
            let small = INLINE_BYTES_MAX as u64 + 1..=BUNDLED_BYTES_MAX;
            if *placement != Placement::BySize || !small.contains(&item.entry.size) {
                continue;
            }
            let (key, digest) = (item.entry.key.clone(), item.entry.digest.unwrap());
            if let Some(slice) = self.content_map.get(&digest) {
                slices.insert(key, *slice);
                continue;
            }
            if let Some((_, _, offset, length)) = waiting.iter().find(|(_, known, ..)| *known == digest) {
                waiting.push((key, digest, *offset, *length));
                continue;
            }
            waiting.push((key, digest, bundle.len() as u32, bytes.len() as u32));
            bundle.extend_from_slice(bytes);
            if rule.closes(bundle.len(), &digest, bytes.len()) {
                self.close_bundle(&mut bundle, &mut waiting, &mut slices);
            }
        }
        self.close_bundle(&mut bundle, &mut waiting, &mut slices);
        slices
    }

    fn close_bundle(
        &mut self,
        bundle: &mut Vec<u8>,
        waiting: &mut Vec<Waiting>,
        slices: &mut BTreeMap<Vec<u8>, Extent>,
    ) {
        if bundle.is_empty() {
            return;
        }
        let id = self.data(&std::mem::take(bundle));
        for (key, digest, offset, length) in waiting.drain(..) {
            self.content_map.insert(digest, Extent::Chunk { id, offset, length });
            slices.insert(key, Extent::Chunk { id, offset, length });
        }
    }

    fn entry(&mut self, item: &Item, placement: Placement, slice: Option<Extent>) -> Entry {
        let mut entry = item.entry.clone();
        if entry.attributes.link_group.is_some() {
            entry.attributes.link_group = Some(self.sealer.identifier.link_group(b"attributes\0hard-1"));
        }
        if let Xattrs::Inline(pairs) = &entry.attributes.xattrs {
            let text = encode_xattrs(pairs);
            if text.len() > XATTRS_INLINE_BYTES_MAX {
                entry.attributes.xattrs = Xattrs::Chunk(self.data(&text));
            }
        }
        if entry.kind == Kind::File && entry.size > 0 {
            entry.content = self.content(item, placement, slice);
        }
        entry
    }

    fn content(&mut self, item: &Item, placement: Placement, slice: Option<Extent>) -> Content {
        if let [Run::Data(bytes)] = &item.runs[..]
            && bytes.len() <= INLINE_BYTES_MAX
        {
            return Content::Inline(bytes.clone());
        }
        if let Some(slice) = slice {
            return Content::Extents(vec![slice]);
        }
        let extents: Vec<_> = match placement {
            Placement::Blocks => self.blocks(&item.runs),
            _ => item.runs.iter().flat_map(|run| self.run(run)).collect(),
        };
        let mut pages = Vec::new();
        let root = match placement {
            Placement::BySize => {
                assert!(extents.len() <= EXTENTS_INLINE_MAX);
                return Content::Extents(extents);
            }
            Placement::Tree => {
                let mut builder = ExtentTreeBuilder::new(self.sealer.identifier.clone());
                extents
                    .iter()
                    .for_each(|extent| builder.push(*extent, &mut |id, page| pages.push((id, page))));
                builder.finish(&mut |id, page| pages.push((id, page)))
            }
            Placement::Blocks => {
                let Run::Data(bytes) = &item.runs[0] else { panic!("a database file without holes") };
                let identifier = &self.sealer.identifier;
                let hashes = bytes.chunks(8192).map(|block| identifier.block(block)).collect();
                let blocks = Blocks { hashes, chunk_bytes: Vec::new() };
                let page = encode_extent_leaf(0, &extents, &blocks);
                let id = page.id(identifier);
                pages.push((id, page));
                id
            }
        };
        self.pages(pages);
        Content::Tree(root)
    }

    /// Cuts a run by content, as large files are.
    fn run(&mut self, run: &Run) -> Vec<Extent> {
        let bytes = match run {
            Run::Hole(length) => return vec![Extent::Hole { length: *length }],
            Run::Data(bytes) => bytes,
        };
        let gear = self.sealer.identifier.gear.clone();
        let mut chunker = Chunker::new(&gear);
        let (mut extents, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let (front, back) = rest.split_at(chunker.cut(rest).unwrap_or(rest.len()));
            extents.push(Extent::Chunk { id: self.data(front), offset: 0, length: front.len() as u32 });
            rest = back;
        }
        extents
    }

    /// Each page of a database file once, however often it occurs.
    fn blocks(&mut self, runs: &[Run]) -> Vec<Extent> {
        let [Run::Data(bytes)] = runs else { panic!("a database file without holes") };
        bytes
            .chunks(8192)
            .map(|block| Extent::Chunk { id: self.data(block), offset: 0, length: 8192 })
            .collect()
    }

    fn finish_packs(&mut self, golden: &mut Golden) {
        for (class, mut builder) in std::mem::take(&mut self.open) {
            let id = self.current(class);
            let mut bytes = builder.take(Vec::new());
            let (last, finished) = builder.finish(&self.sealer.k_idx);
            bytes.extend(last);
            let pack = self.tables.packs.len() as u32;
            let chunks = finished.rows.len() as u32;
            self.tables.packs.push(PackRow { id, size: finished.size, checksum: finished.checksum, chunks });
            self.tables.chunks.extend(finished.rows.iter().map(|row| ChunkRow {
                key: ChunkKey::from(&row.id),
                pack,
                offset: row.offset,
                length: row.length,
                origin: pack,
            }));
            *self.next.entry(class).or_default() += 1;
            golden.put(id.name(), bytes);
        }
    }

    fn publish_delta(&mut self, golden: &mut Golden) {
        self.tables.sort();
        let name = self.name.delta(0);
        let head =
            golden.session_header(ObjectType::IndexDelta, &name, self.name.member, self.name.epoch.into());
        let bytes =
            encode_delta(&head, 0, &self.tables, &self.sealer.k_idx, &golden.signers[&self.name.member]);
        golden.put(name, bytes);
    }

    fn pin(&self, golden: &mut Golden, pins: &Pins) {
        let name = self.name.pins(0);
        let head = golden.session_header(ObjectType::Pins, &name, self.name.member, self.name.epoch.into());
        let bytes = pins.encode(&head, &golden.k_ref(), &golden.signers[&self.name.member]);
        golden.put(name, bytes);
    }

    fn commit(self, golden: &mut Golden, model: &Model, root: ChunkId, parent: Option<SessionId>) -> Left {
        let count = |kinds: &dyn Fn(Kind) -> bool| {
            model.items.iter().filter(|item| kinds(item.entry.kind)).count() as u64
        };
        let start = time(i64::from(self.name.epoch) * 1_000 + i64::from(model.items.is_empty()) * 100);
        let summary = Summary {
            stream: self.sealer.identifier.stream("golden", "files", "/golden"),
            host: "golden".into(),
            kind: "files".into(),
            label: "shop/golden".into(),
            paths: vec![b"/golden".to_vec(), b"/not utf-8 \xff".to_vec()],
            tags: vec!["nightly".into(), "test".into()],
            start,
            end: Time { seconds: start.seconds + 60, nanos: 5 },
            counts: Counts {
                files: count(&|kind| kind == Kind::File),
                directories: count(&|kind| kind == Kind::Directory),
                others: count(&|kind| !matches!(kind, Kind::File | Kind::Directory)),
                bytes: model.items.iter().map(|item| item.entry.size).sum(),
                chunks_added: self.tables.chunks.len() as u64,
                ..Counts::default()
            },
            incomplete: parent.is_some(),
            problems: parent.iter().count() as u64,
            root,
            space: KeySpace::Paths,
            parent,
            supersedes: parent.into_iter().collect(),
            origin: None,
            log: None,
            said_by: None,
            unknown: vec![],
        };
        let problem = RecordedProblem { path: b"/golden/secret".to_vec(), what: "permission denied".into() };
        let details = Details {
            version: "0.1.0".into(),
            command: "holdfast backup /golden".into(),
            problems: parent.map(|_| problem).into_iter().collect(),
            source_record: b"opaque".to_vec(),
            facts: vec![("entries".into(), model.items.len().to_string())],
        };
        let member = self.name.member;
        let head = golden.session_header(ObjectType::End, &self.name.end(), member, self.name.epoch.into());
        let commit = Commit::new(
            summary.clone(),
            self.row,
            &details,
            &head,
            &self.secrets.meta,
            golden.repository_hash,
            Published { deltas: 1, pins: 1 },
        );
        let bytes = End::Commit(Box::new(commit)).encode(&head, &golden.k_ref(), &golden.signers[&member]);
        let end_hash = hash(&bytes);
        golden.put(self.name.end(), bytes);
        Left { name: self.name, tables: self.tables, end_hash, summary: Some(summary) }
    }
}
