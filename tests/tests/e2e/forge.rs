//! Snapshots that no writer would make, stored with the real keys of a repository: packs, index,
//! begin and end are as they should be, pages and chunks are whatever the test says.
//!
//! On purpose not here: objects that are damaged, which anyone could make without keys.

use holdfast_core::chunk::{PackCipher, Packed, PageCiphers, PageText, pack_payload, seal_data, seal_page};
use holdfast_core::compress::Compressor;
use holdfast_core::crypto::{KemCalls, Secret};
use holdfast_core::entry::Entry;
use holdfast_core::entry_code::{OwnerTable, RefTable, encode_entry, encode_key};
use holdfast_core::id::{ChunkId, ObjectId, SessionId};
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables, PackRow, encode_delta};
use holdfast_core::keys::{
    ChunkKind, Credential, KeySlot, MemberKeys, Members, Sealer, SessionRow, SessionSecrets, open_bundle,
};
use holdfast_core::name::{self, PackClass, PackId, Place, SessionName};
use holdfast_core::object::{Header, Object, ObjectType};
use holdfast_core::pack::{PackBuilder, pack_header};
use holdfast_core::repository::Repository;
use holdfast_core::session::{Begin, Commit, Details, End, Process, Published, Summary};
use holdfast_core::wire::Writer;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes one session into a repository on the disk.
pub(crate) struct Forge {
    repo: PathBuf,
    keys: MemberKeys,
    sealer: Sealer,
    secrets: SessionSecrets,
    row: SessionRow,
    name: SessionName,
    data: Option<PackBuilder>,
    tree: Option<PackBuilder>,
    repository_hash: [u8; 32],
}

/// A row of an inner page.
pub(crate) struct Below {
    pub(crate) key: Vec<u8>,
    pub(crate) id: ChunkId,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Forge {
    /// Opens a repository with its password and begins a session.
    pub(crate) fn open(repo: &Path, password: &str, number: u8) -> Self {
        let read = |name: &str| fs::read(repo.join(name)).unwrap();
        let text = read(name::REPOSITORY);
        let repository = Repository::decode(&text).unwrap();
        let slot = read(&name::key_slot(repository.key_slot));
        let object = Object::parse(&slot).unwrap();
        let credential = Credential::Password(password.as_bytes());
        let keys = KeySlot::decode(object.body).unwrap().unwrap(&object.header, credential).unwrap();
        let mut members = Members::default();
        let entry = read(&name::member(0, repository.member));
        members.append(&entry, repository.id, &keys.owner).unwrap();
        let (_, sealed) = &members.active(keys.member).unwrap().bundles[0];
        let bundle = open_bundle(sealed, repository.id, &keys.kem).unwrap();
        let sealer = Sealer::new(repository.id, keys.member, &bundle).unwrap();
        let session = SessionId([number; 16]);
        let secrets = SessionSecrets { data: Secret::new([1; 32]), meta: Secret::new([2; 32]) };
        let row = sealer.begin_session(session, &secrets, &[[3; 32], [4; 32]], &KemCalls::system()).unwrap();
        let pack = |class| {
            let id = PackId { member: keys.member, session, class, ordinal: 0 };
            let header = pack_header(repository.id, &id, sealer.key_epoch, 0, [5; 16]);
            PackBuilder::new(header, &id, row.wrapped(class).unwrap())
        };
        let (data, tree) = (Some(pack(PackClass::Data)), Some(pack(PackClass::Tree)));
        let name = SessionName { epoch: 0, member: keys.member, session };
        let repository_hash = *blake3::hash(&text).as_bytes();
        Self { repo: repo.to_owned(), keys, sealer, secrets, row, name, data, tree, repository_hash }
    }

    fn pack_id(&self, class: PackClass) -> PackId {
        PackId { member: self.keys.member, session: self.name.session, class, ordinal: 0 }
    }

    /// Stores a data chunk.
    pub(crate) fn chunk(&mut self, plaintext: &[u8]) -> ChunkId {
        let mut compressor = Compressor::new(1);
        let packed = pack_payload(plaintext, &mut compressor);
        let id = self.sealer.identifier.chunk(ChunkKind::Data, plaintext);
        self.chunk_as(id, plaintext.len(), packed)
    }

    /// Stores whatever payload as a data chunk.
    pub(crate) fn chunk_as(&mut self, id: ChunkId, plain_bytes: usize, packed: Packed<'_>) -> ChunkId {
        let pack = self.pack_id(PackClass::Data);
        let cipher = PackCipher::new(&self.secrets.data, self.sealer.repository, &pack);
        self.data.as_mut().unwrap().push(id, plain_bytes, |out| seal_data(&cipher, &id, packed, out));
        id
    }

    /// Stores a page.
    pub(crate) fn page(&mut self, text: &PageText) -> ChunkId {
        let (pack, id) = (self.pack_id(PackClass::Tree), text.id(&self.sealer.identifier));
        let repository = self.sealer.repository;
        let ciphers = PageCiphers {
            refs: PackCipher::for_refs(&self.sealer.k_ref, repository, &pack),
            body: Some(PackCipher::new(&self.secrets.meta, repository, &pack)),
        };
        let plain = text.plain_bytes();
        self.tree
            .as_mut()
            .unwrap()
            .push(id, plain, |out| seal_page(&ciphers, &id, text, &mut Compressor::new(1), out));
        id
    }

    /// Stores a leaf of these entries as they come.
    pub(crate) fn leaf(&mut self, entries: &[Entry]) -> ChunkId {
        self.page(&leaf(entries))
    }

    /// Stores an inner page.
    pub(crate) fn inner(&mut self, level: u8, space: u8, below: &[Below]) -> ChunkId {
        let (mut refs, mut body) = (RefTable::default(), Writer::from_vec(vec![level, space]));
        body.count(below.len());
        let mut before: &[u8] = &[];
        for child in below {
            encode_key(&mut body, before, &child.key);
            body.u32(refs.child(child.id));
            body.u64(child.entries);
            body.u64(child.bytes);
            before = &child.key;
        }
        body.tags(&[]);
        self.page(&PageText { refs: refs.take().encode(), body: body.into_vec() })
    }

    fn header(&self, object_type: ObjectType, object: ObjectId) -> Header {
        Header {
            object_type,
            incompat: 0,
            ro_compat: 0,
            key_epoch: self.sealer.key_epoch,
            repository: self.sealer.repository,
            object,
            epoch: 0,
            member: self.keys.member,
            nonce: [6; 16],
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.repo.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The summary of the only snapshot there is.
    pub(crate) fn summary(&self, end_name: &str) -> Summary {
        let bytes = fs::read(self.repo.join(end_name)).unwrap();
        let object = Object::parse(&bytes).unwrap();
        let Some(Place::End(_)) = name::parse(end_name) else { panic!("{end_name} is no end") };
        match End::decode(&object.header, object.body, &self.sealer.k_ref).unwrap() {
            End::Commit(commit) => commit.summary,
            End::Abort { .. } => panic!("no snapshot"),
        }
    }

    /// Ends the session with a snapshot.
    pub(crate) fn commit(mut self, summary: Summary) {
        let mut tables = IndexTables { sessions: vec![self.row.clone()], ..IndexTables::default() };
        let k_idx = self.sealer.k_idx.clone();
        let packs = [(PackClass::Data, self.data.take()), (PackClass::Tree, self.tree.take())]
            .map(|(class, pack)| (class, pack.unwrap()));
        for (class, builder) in packs {
            if builder.is_empty() {
                continue;
            }
            let (bytes, finished) = builder.finish(&k_idx);
            let (id, pack) = (self.pack_id(class), tables.packs.len() as u32);
            self.put(&id.name(), &bytes);
            let chunks = finished.rows.len() as u32;
            tables.packs.push(PackRow { id, size: finished.size, checksum: finished.checksum, chunks });
            tables.chunks.extend(finished.rows.iter().map(|row| ChunkRow {
                key: ChunkKey::from(&row.id),
                pack,
                offset: row.offset,
                length: row.length,
                origin: pack,
            }));
        }
        tables.sort();
        let (name, signer, k_ref) = (&self.name, &self.keys.signer, &self.sealer.k_ref);
        let head = |object_type, name: &str| self.header(object_type, name::named_object(name));
        let process = Process::default();
        let begin = Begin { stream: summary.stream, process, started: summary.start };
        self.put(&name.begin(), &begin.encode(&head(ObjectType::Begin, &name.begin()), k_ref, signer));
        let delta = head(ObjectType::IndexDelta, &name.delta(0));
        self.put(&name.delta(0), &encode_delta(&delta, 0, &tables, &k_idx, signer));
        let head = head(ObjectType::End, &name.end());
        let (row, meta) = (self.row.clone(), &self.secrets.meta);
        let objects = Published { deltas: 1, pins: 0 };
        let commit =
            Commit::new(summary, row, &Details::default(), &head, meta, self.repository_hash, objects);
        self.put(&name.end(), &End::Commit(Box::new(commit)).encode(&head, k_ref, signer));
    }
}

/// A leaf of these entries as they come, in whatever order.
pub(crate) fn leaf(entries: &[Entry]) -> PageText {
    let (mut owners, mut refs, mut rows) = (OwnerTable::default(), RefTable::default(), Writer::new());
    let mut before: &[u8] = &[];
    for entry in entries {
        encode_key(&mut rows, before, &entry.key);
        encode_entry(&mut rows, entry, &mut owners, &mut refs);
        before = &entry.key;
    }
    let mut body = Writer::from_vec(vec![0, 0]);
    owners.encode(&mut body);
    body.count(entries.len());
    body.raw(rows.as_slice());
    body.tags(&[]);
    PageText { refs: refs.take().encode(), body: body.into_vec() }
}
