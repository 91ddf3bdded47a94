//! Reads a repository with the decoders of the core, from the password to every byte.
//!
//! On purpose not here: the keys that wrote it. What is read follows from the password alone.

use crate::Objects;
use crate::fixture::noise;
use crate::model::{Item, PASSWORD, REPOSITORY, Run, digest};
use holdfast_core::FormatError;
use holdfast_core::chunk::{PackCipher, PageCiphers, open_data, open_page, open_page_refs};
use holdfast_core::compress::Decompressor;
use holdfast_core::crypto::{SignPublic, hash};
use holdfast_core::entry::{Content, Entry, Extent, Xattrs, key_to_path};
use holdfast_core::entry_code::decode_xattrs;
use holdfast_core::id::{ChunkId, MemberId, ObjectId, SessionId, hex};
use holdfast_core::index::{ChunkKey, IndexTables, MultisetSum, decode_delta};
use holdfast_core::keys::{
    ChunkKind, Credential, Identifier, KeyBundle, KeySlot, Members, Opener, Role, SessionRow, open_bundle,
};
use holdfast_core::name::{self, PackClass, PackId, Place};
use holdfast_core::object::{Object, ObjectType, check_place, verify_checksum};
use holdfast_core::pack::{HEAD_BYTES, TRAILER_BYTES, decode_head, decode_trailer, open_footer};
use holdfast_core::page::{Page, PageBody};
use holdfast_core::record::{Evidence, WalSegment};
use holdfast_core::repository::Repository;
use holdfast_core::root::{CataloguedSnapshot, List, ListKind, Root, decode_snapshots};
use holdfast_core::segment::IndexSegment;
use holdfast_core::session::{Begin, Commit, Details, End, Pins, Summary};
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot, read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) session: SessionId,
    pub(crate) summary: Summary,
    pub(crate) details: Details,
    pub(crate) items: Vec<Item>,
}

/// Checks that an object is whole and lies where it belongs.
pub(crate) fn check_frame(name: &str, bytes: &[u8]) -> Result<(), FormatError> {
    let place = name::parse(name).ok_or(FormatError::Misplaced("its name"))?;
    let (object_type, id) = match place {
        Place::Repository => return Repository::decode(bytes).map(drop),
        Place::Recover => {
            let same = bytes == holdfast_core::repository::RECOVER_TEXT.as_bytes();
            return if same { Ok(()) } else { Err(FormatError::Checksum) };
        }
        Place::KeySlot(id) => (ObjectType::KeySlot, id),
        Place::Member(_, id) => (ObjectType::Member, id),
        Place::Root(number) => (ObjectType::Root, name::root_object(number)),
        Place::Begin(_) => (ObjectType::Begin, name::named_object(name)),
        Place::Pins(..) => (ObjectType::Pins, name::named_object(name)),
        Place::End(_) => (ObjectType::End, name::named_object(name)),
        Place::Pack(id) => (ObjectType::Pack, id.object()),
        Place::Delta(..) => (ObjectType::IndexDelta, name::named_object(name)),
        Place::IndexSegment(id) => (ObjectType::IndexSegment, id),
        Place::SnapshotSegment(id) => (ObjectType::SnapshotSegment, id),
        Place::List(id) => (ObjectType::List, id),
        Place::Wal(_) => (ObjectType::Wal, name::named_object(name)),
        Place::Evidence(..) => (ObjectType::Evidence, name::named_object(name)),
    };
    check_place(&Object::parse(bytes)?.header, object_type, REPOSITORY, id)
}

struct Repo<'a> {
    objects: &'a Objects,
    members: Members,
    bundle: KeyBundle,
    identifier: Identifier,
    opener: Opener,
    root: Root,
    lists: BTreeMap<u8, List>,
    rows: BTreeMap<(MemberId, SessionId), SessionRow>,
    places: BTreeMap<ChunkKey, (PackId, u32, holdfast_core::chunk::StoredLength, PackId)>,
}

/// Reads all snapshots that count and are not forgotten, and everything else on the way.
pub(crate) fn snapshots(objects: &Objects) -> Vec<Snapshot> {
    objects.iter().for_each(|(name, bytes)| check_frame(name, bytes).unwrap());
    let mut repo = Repo::open(objects);
    repo.read_root();
    let catalogue = repo.catalogue();
    let ends = repo.ends();
    repo.read_index(&ends);
    repo.read_packs();
    repo.read_records();
    let forgotten = repo.lists[&(ListKind::Forgotten as u8)].items.clone();
    let mut found = Vec::new();
    for (name, end) in &ends {
        let End::Commit(commit) = end else { continue };
        let row = catalogue.iter().find(|row| row.session == name.session);
        assert!(u64::from(name.epoch) >= repo.root.fence || row.is_some());
        if let Some(row) = row {
            assert_eq!((&row.summary, row.end_hash), (&commit.summary, hash(&objects[&name.end()])));
        }
        if !forgotten.chunks(16).any(|id| id == name.session.bytes()) {
            found.push(repo.snapshot(name, commit));
        }
    }
    found
}

/// One line for each entry: snapshot, kind, size, digest, path.
pub(crate) fn manifest(objects: &Objects) -> String {
    let mut lines = Vec::new();
    for snapshot in snapshots(objects) {
        assert_eq!(snapshot.details.problems.len() as u64, snapshot.summary.problems);
        for Item { entry, .. } in snapshot.items {
            let path = key_to_path(&entry.key).escape_ascii().to_string();
            let digest = entry.digest.map_or("-".to_owned(), |digest| hex(&digest));
            lines.push(format!("{} {:?} {} {digest} {path}\n", snapshot.session, entry.kind, entry.size));
        }
    }
    lines.sort();
    lines.concat()
}

impl<'a> Repo<'a> {
    fn open(objects: &'a Objects) -> Self {
        let json = Repository::decode(&objects[name::REPOSITORY]).unwrap();
        assert_eq!(hash(&objects[name::RECOVER]), json.recover);
        let open = |id, credential| {
            let object = Object::parse(&objects[&name::key_slot(id)]).unwrap();
            KeySlot::decode(object.body).unwrap().unwrap(&object.header, credential).unwrap()
        };
        let keys = open(json.key_slot, Credential::Password(PASSWORD));
        let key_file = noise("golden key file", 64);
        let slots = objects.keys().filter_map(|name| match name::parse(name) {
            Some(Place::KeySlot(id)) if id != json.key_slot => Some(id),
            _ => None,
        });
        for id in slots {
            let same = open(id, Credential::KeyFile(&key_file));
            assert_eq!((same.member, same.kem.expose()), (keys.member, keys.kem.expose()));
        }
        let members = read_members(objects, json.member, &keys.owner);
        let entry = members.active(keys.member).unwrap();
        let bundle = open_bundle(&entry.bundles[0].1, json.id, &keys.kem).unwrap();
        Self {
            objects,
            identifier: Identifier::new(bundle.k_id.as_ref().unwrap(), bundle.k_cdc.as_ref().unwrap()),
            opener: Opener::new(json.id, &bundle),
            members,
            bundle,
            root: Root::default(),
            lists: BTreeMap::new(),
            rows: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    fn object(&self, name: &str) -> Object<'a> {
        let object = Object::parse(&self.objects[name]).unwrap();
        if object.header.object_type.is_signed() {
            object.verify(&self.members.active(object.header.member).unwrap().sign).unwrap();
        }
        object
    }

    fn names<T>(&self, pick: impl Fn(Place) -> Option<T>) -> Vec<(&'a str, T)> {
        let names = self.objects.keys().map(String::as_str);
        names.filter_map(|name| Some((name, pick(name::parse(name)?)?))).collect()
    }

    fn read_root(&mut self) {
        let k_ref = self.bundle.k_ref.clone().unwrap();
        let roots = self.names(|place| if let Place::Root(number) = place { Some(number) } else { None });
        let (name, number) = roots[0];
        let object = self.object(name);
        self.root = Root::decode(&object.header, object.body, &k_ref).unwrap();
        assert_eq!((self.root.number, self.root.previous), (number, [0; 32]));
        assert_eq!(self.root.repository_hash, hash(&self.objects[name::REPOSITORY]));
        assert_eq!(self.root.members, (self.members.len() as u64, self.members.last_hash()));
        for row in &self.root.lists {
            let name = name::list(row.id);
            assert_eq!(hash(&self.objects[&name]), row.hash);
            let object = self.object(&name);
            let list =
                List::decode(&object.header, object.body, self.bundle.k_idx.as_ref().unwrap()).unwrap();
            assert_eq!(
                (list.kind as u8, list.items.len()),
                (row.kind, row.items as usize * list.kind.width())
            );
            self.lists.insert(row.kind, list);
        }
        assert_eq!(self.lists.len(), 6);
    }

    fn catalogue(&self) -> Vec<CataloguedSnapshot> {
        let k_ref = self.bundle.k_ref.as_ref().unwrap();
        let read = |row: &holdfast_core::root::NamedRow| {
            let name = name::snapshot_segment(row.id);
            assert_eq!(hash(&self.objects[&name]), row.hash);
            let object = self.object(&name);
            let rows = decode_snapshots(&object.header, object.body, k_ref).unwrap();
            assert_eq!(rows.len() as u64, row.items);
            rows
        };
        self.root.snapshots.iter().flat_map(read).collect()
    }

    fn ends(&self) -> Vec<(name::SessionName, End)> {
        let k_ref = self.bundle.k_ref.as_ref().unwrap();
        for (name, _) in self.names(|place| matches!(place, Place::Begin(_)).then_some(())) {
            let object = self.object(name);
            let begin = Begin::decode(&object.header, object.body, k_ref).unwrap();
            assert_eq!(begin.stream, self.identifier.stream("golden", "files", "/golden"));
        }
        for (name, _) in self.names(|place| matches!(place, Place::Pins(..)).then_some(())) {
            let object = self.object(name);
            Pins::decode(&object.header, object.body, k_ref).unwrap();
        }
        let ends = self.names(|place| if let Place::End(session) = place { Some(session) } else { None });
        let read = |(name, session): (&str, name::SessionName)| {
            let object = self.object(name);
            let end = End::decode(&object.header, object.body, k_ref).unwrap();
            if let End::Commit(commit) = &end {
                end.check_author(&object.header, &session).unwrap();
                assert_ne!(self.members.active(session.member).unwrap().role, Role::Reader);
                assert_eq!(commit.repository_hash, self.root.repository_hash);
            }
            (session, end)
        };
        ends.into_iter().map(read).collect()
    }

    /// The view of the index: segments of the root, and deltas that count.
    fn read_index(&mut self, ends: &[(name::SessionName, End)]) {
        let k_idx = self.bundle.k_idx.clone().unwrap();
        for row in self.root.segments.clone() {
            let name = name::index_segment(row.id);
            assert_eq!(hash(&self.objects[&name]), row.hash);
            let object = self.object(&name);
            let segment = IndexSegment::decode(&object.header, object.body, &k_idx).unwrap();
            assert_eq!(
                (segment.sum, segment.level, segment.tables.chunks.len() as u64),
                (row.sum, row.level, row.rows)
            );
            self.take(&segment.tables);
        }
        let absorbed = self.lists[&(ListKind::Absorbed as u8)].items.clone();
        let mut merged = MultisetSum::default();
        for (name, (session, number)) in
            self.names(
                |place| {
                    if let Place::Delta(session, number) = place { Some((session, number)) } else { None }
                },
            )
        {
            let object = self.object(name);
            let (stated, tables) = decode_delta(&object.header, object.body, &k_idx).unwrap();
            assert_eq!((stated, object.header.member), (number, session.member));
            let aborted = ends.iter().any(|(name, end)| *name == session && matches!(end, End::Abort { .. }));
            let id = [session.member.0, session.session.0].concat();
            if absorbed.chunks(32).any(|item| item == id) {
                merged += MultisetSum::of(&tables);
            } else if !aborted {
                self.take(&tables);
            }
        }
        assert_eq!(self.root.conservation[0].taken, merged);
    }

    fn take(&mut self, tables: &IndexTables) {
        for row in &tables.sessions {
            self.rows.insert((row.member, row.session), row.clone());
        }
        for pack in &tables.packs {
            let bytes = &self.objects[&pack.id.name()];
            assert_eq!((bytes.len() as u64, &bytes[bytes.len() - 32..]), (pack.size, &pack.checksum[..]));
        }
        for row in &tables.chunks {
            let pack = |row: u32| tables.packs[row as usize].id;
            self.places.insert(row.key, (pack(row.pack), row.offset, row.length, pack(row.origin)));
        }
    }

    /// Reads heads and footers, and compares them with the index.
    fn read_packs(&self) {
        let k_idx = self.bundle.k_idx.as_ref().unwrap();
        let mut seen = BTreeSet::new();
        for (name, id) in self.names(|place| if let Place::Pack(id) = place { Some(id) } else { None }) {
            let bytes = &self.objects[name];
            verify_checksum(bytes).unwrap();
            let head = decode_head(&bytes[..HEAD_BYTES], REPOSITORY, &id).unwrap();
            let secret = self
                .opener
                .unwrap_secret(head.header.key_epoch, id.member, id.session, id.class, &head.wrapped)
                .unwrap();
            assert_eq!(secret.expose().len(), 32);
            let trailer = decode_trailer(&bytes[bytes.len() - TRAILER_BYTES..], bytes.len() as u64).unwrap();
            let footer = &bytes[trailer.footer_offset as usize..][..trailer.footer_bytes as usize];
            let footer = open_footer(footer, &trailer, &head.header, k_idx).unwrap();
            for row in footer.rows {
                if let Some(place) = self.places.get(&ChunkKey::from(&row.id)) {
                    assert_eq!(*place, (id, row.offset, row.length, id));
                    seen.insert(ChunkKey::from(&row.id));
                }
            }
        }
        assert_eq!(seen.len(), self.places.len(), "every row of the index is a row of a footer");
    }

    fn read_records(&self) {
        let mut previous = [0; 32];
        for (name, (member, number)) in self.names(|place| {
            if let Place::Evidence(member, number) = place { Some((member, number)) } else { None }
        }) {
            let object = self.object(name);
            let record =
                Evidence::decode(&object.header, object.body, self.bundle.k_ref.as_ref().unwrap()).unwrap();
            assert_eq!((record.number, record.previous, object.header.member), (number, previous, member));
            previous = hash(&self.objects[name]);
        }
        for (name, _) in self.names(|place| matches!(place, Place::Wal(_)).then_some(())) {
            let object = self.object(name);
            let segment = WalSegment::decode(object.body).unwrap();
            let session = SessionId(object.header.object.0);
            let secret = self
                .opener
                .unwrap_secret(
                    object.header.key_epoch,
                    object.header.member,
                    session,
                    PackClass::Data,
                    &segment.wrapped,
                )
                .unwrap();
            let plaintext = segment.open(&object.header, &secret).unwrap();
            assert_eq!(self.identifier.wal(&plaintext), segment.content);
        }
    }

    fn sealed(
        &self,
        id: &ChunkId,
        class: PackClass,
    ) -> (Vec<u8>, holdfast_core::chunk::StoredLength, PackId) {
        let (pack, offset, length, origin) = self.places[&ChunkKey::from(id)];
        assert_eq!(pack.class, class);
        let bytes = &self.objects[&pack.name()][offset as usize..][..length.bytes() as usize];
        (bytes.to_vec(), length, origin)
    }

    fn secret(&self, pack: &PackId) -> holdfast_core::crypto::Secret {
        self.opener.session_secret(&self.rows[&(pack.member, pack.session)], pack.class).unwrap()
    }

    fn chunk(&self, id: &ChunkId) -> Vec<u8> {
        let (mut sealed, length, origin) = self.sealed(id, PackClass::Data);
        let cipher = PackCipher::new(&self.secret(&origin), REPOSITORY, &origin);
        let mut plaintext = Vec::new();
        open_data(
            &cipher,
            &self.identifier,
            id,
            length,
            &mut sealed,
            &mut Decompressor::new(),
            &mut plaintext,
        )
        .unwrap();
        assert_eq!(self.identifier.chunk(ChunkKind::Data, &plaintext), *id);
        plaintext
    }

    fn page(&self, id: &ChunkId) -> Page {
        let (mut sealed, length, origin) = self.sealed(id, PackClass::Tree);
        let ciphers = PageCiphers {
            refs: PackCipher::for_refs(self.bundle.k_ref.as_ref().unwrap(), REPOSITORY, &origin),
            body: Some(PackCipher::new(&self.secret(&origin), REPOSITORY, &origin)),
        };
        let refs = open_page_refs(&ciphers, id, length, &mut sealed.clone()).unwrap();
        let page =
            open_page(&ciphers, &self.identifier, id, length, &mut sealed, &mut Decompressor::new()).unwrap();
        assert_eq!(page.refs, refs);
        Page::decode(&page).unwrap()
    }

    fn snapshot(&self, name: &name::SessionName, commit: &Commit) -> Snapshot {
        let object = self.object(&name.end());
        let secret = self.opener.session_secret(&commit.session, PackClass::Tree).unwrap();
        let details = commit.open_details(&object.header, &secret).unwrap();
        let mut entries = Vec::new();
        self.entries(&commit.summary.root, &mut entries);
        let items = entries.into_iter().map(|entry| self.item(entry)).collect();
        Snapshot { session: name.session, summary: commit.summary.clone(), details, items }
    }

    fn entries(&self, root: &ChunkId, out: &mut Vec<Entry>) {
        match self.page(root).body {
            PageBody::Entries(entries) => out.extend(entries),
            PageBody::Children(children) => {
                for child in children {
                    let before = out.len();
                    self.entries(&child.id, out);
                    assert_eq!((out.len() - before) as u64, child.entries);
                    assert_eq!(out[before..].iter().map(|entry| entry.size).sum::<u64>(), child.bytes);
                }
            }
            PageBody::Extents { .. } => panic!("extents in a tree of entries"),
        }
    }

    fn extents(&self, root: &ChunkId, out: &mut Vec<Extent>) {
        match self.page(root).body {
            PageBody::Entries(_) => panic!("entries in a tree of extents"),
            PageBody::Children(children) => {
                children.iter().for_each(|child| self.extents(&child.id, out));
            }
            PageBody::Extents { start, extents, blocks } => {
                assert_eq!(start, out.iter().map(Extent::length).sum::<u64>());
                for (block, extent) in blocks.hashes.iter().zip(&extents) {
                    let Run::Data(bytes) = self.run(extent) else { panic!("a block") };
                    assert_eq!(self.identifier.block(&bytes), *block);
                }
                out.extend(extents);
            }
        }
    }

    fn run(&self, extent: &Extent) -> Run {
        match *extent {
            Extent::Hole { length } => Run::Hole(length),
            Extent::Chunk { id, offset, length } => {
                Run::Data(self.chunk(&id)[offset as usize..][..length as usize].to_vec())
            }
        }
    }

    /// Puts content in the place of where it lies, as the model has it.
    fn item(&self, mut entry: Entry) -> Item {
        let extents = match std::mem::take(&mut entry.content) {
            Content::None => vec![],
            Content::Inline(bytes) => return self.checked(entry, vec![Run::Data(bytes)]),
            Content::Extents(extents) => extents,
            Content::Tree(root) => {
                let mut extents = Vec::new();
                self.extents(&root, &mut extents);
                extents
            }
        };
        let mut runs: Vec<Run> = Vec::new();
        for extent in &extents {
            match (runs.last_mut(), self.run(extent)) {
                (Some(Run::Data(before)), Run::Data(bytes)) => before.extend(bytes),
                (_, run) => runs.push(run),
            }
        }
        self.checked(entry, runs)
    }

    fn checked(&self, mut entry: Entry, runs: Vec<Run>) -> Item {
        if let Some(stated) = entry.digest {
            assert_eq!(digest(&runs), stated, "{}", String::from_utf8_lossy(&entry.key));
        }
        if let Xattrs::Chunk(id) = entry.attributes.xattrs {
            entry.attributes.xattrs = Xattrs::Inline(decode_xattrs(&self.chunk(&id)).unwrap());
        }
        if let Some(group) = &mut entry.attributes.link_group {
            assert_eq!(*group, self.identifier.link_group(b"attributes\0hard-1"));
            *group = [0; 16];
        }
        Item { entry, runs }
    }
}

/// Reads the chain of members in the order of their numbers; `holdfast.json` names the first.
fn read_members(objects: &Objects, first: ObjectId, owner: &SignPublic) -> Members {
    let mut members = Members::default();
    for (name, bytes) in objects {
        if let Some(Place::Member(number, id)) = name::parse(name) {
            assert_eq!(id, members.next_object().unwrap_or(first), "entry {number}");
            members.append(bytes, REPOSITORY, owner).unwrap();
        }
    }
    members
}
