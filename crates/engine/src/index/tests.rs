//! The index against a model of plain maps, whatever lies in segments and whatever in memory; and
//! local copies that somebody damaged.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::copy::CopyWriter;
use super::segment::CopyTerms;
use super::*;
use holdfast_core::crypto::{KEM_CIPHERTEXT_BYTES, Secret};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId, SessionId};
use holdfast_core::index::{MultisetSum, Partition};
use holdfast_core::keys::WrappedSecret;
use holdfast_core::name::PackClass;
use holdfast_core::root::SegmentRow;
use holdfast_core::segment::TableRow;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A row as a strategy gives it: front of the key, pack, origin, offset.
pub(super) type Seed = (u8, u8, u8, u8);

pub(super) fn pack_id(number: u8) -> PackId {
    let class = if number.is_multiple_of(2) { PackClass::Data } else { PackClass::Tree };
    let session = SessionId([number / 3; 16]);
    PackId { member: MemberId([7; 16]), session, class, ordinal: u32::from(number) * 100 }
}

pub(super) fn key(front: u8) -> ChunkKey {
    let mut key = [0; 24];
    // Some keys share the bytes that blocks are found by.
    key[0] = front / 4;
    key[20] = front;
    ChunkKey(key)
}

fn wrapped(byte: u8) -> WrappedSecret {
    WrappedSecret {
        commitment: [byte; 32],
        recipient: [2; 8],
        ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
        sealed: [4; 48],
    }
}

/// Tables of some rows, in no order of packs. `half`: which of their two secrets sessions have.
pub(super) fn tables(seeds: &[Seed], half: bool) -> IndexTables {
    let mut tables = IndexTables::default();
    let mut row_of = |number: u8, holds: bool| {
        let id = pack_id(number);
        if !tables.sessions.iter().any(|row| row.session == id.session) {
            let (data, meta) = (half.then(|| wrapped(1)), (!half).then(|| wrapped(2)));
            let (member, session) = (id.member, id.session);
            tables.sessions.push(SessionRow { member, session, key_epoch: 0, data, meta });
        }
        let at = tables.packs.iter().position(|row| row.id == id).unwrap_or_else(|| {
            tables.packs.push(PackRow { id, size: 0, checksum: [0; 32], chunks: 0 });
            tables.packs.len() - 1
        });
        if holds {
            tables.packs[at] = PackRow { id, size: 1 << 20, checksum: [number; 32], chunks: 5 };
        }
        at as u32
    };
    let chunk = |&(front, pack, origin, offset): &Seed| ChunkRow {
        key: key(front),
        pack: row_of(pack % 12, true),
        offset: u32::from(offset % 4) * 100,
        length: StoredLength::new(100, false),
        origin: row_of(if origin % 3 == 0 { origin % 12 } else { pack % 12 }, false),
    };
    let chunks: Vec<_> = seeds.iter().map(chunk).collect();
    tables.chunks = chunks;
    tables.sort();
    tables.chunks.dedup();
    tables
}

pub(super) fn terms() -> CopyTerms {
    CopyTerms::new(RepositoryId([1; 16]), &Secret::new([5; 32]), &Arc::default())
}

fn segment_row(tables: &IndexTables, id: u8) -> SegmentRow {
    SegmentRow {
        partition: Partition::ALL,
        level: 1,
        id: ObjectId([id; 16]),
        rows: tables.chunks.len() as u64,
        hash: [id; 32],
        sum: MultisetSum::of(tables),
    }
}

/// The copy of a segment of some tables; in a folder it is a file, else in memory.
pub(super) fn segment(
    terms: &CopyTerms,
    tables: &IndexTables,
    id: u8,
    folder: Option<&Path>,
) -> Arc<SegmentIndex> {
    let mut tables = tables.clone();
    tables.arrange();
    let mut copy = CopyWriter::new(&terms.key, folder, "test");
    let session = |pack: &PackRow| tables.session_of(&pack.id).unwrap() as u32;
    tables.sessions.iter().cloned().for_each(|row| copy.push(&TableRow::Session(row)));
    tables.packs.iter().for_each(|row| copy.push(&TableRow::Pack(session(row), row.clone())));
    tables.chunks.iter().for_each(|row| copy.push(&TableRow::Chunk(*row)));
    let row = segment_row(&tables, id);
    let mut segment = SegmentIndex::new(terms, copy.finish().unwrap(), row.clone());
    if let Some(folder) = folder {
        let path = folder.join(id.to_string());
        segment.persist(&path).unwrap();
        segment = SegmentIndex::open(terms, &path, &row).unwrap();
    }
    Arc::new(segment)
}

/// A place without numbers of rows.
type Named = (PackId, u32, u32, PackId);

#[derive(Default)]
struct Model {
    chunks: BTreeMap<ChunkKey, BTreeSet<Named>>,
    packs: BTreeMap<PackId, PackRow>,
    states: BTreeMap<PackId, PackState>,
    halves: BTreeMap<SessionId, BTreeSet<bool>>,
}

impl Model {
    fn add(&mut self, tables: &IndexTables) {
        for row in &tables.packs {
            let known = self.packs.entry(row.id).or_insert_with(|| row.clone());
            if known.size == 0 {
                *known = row.clone();
            }
        }
        for row in &tables.sessions {
            self.halves.entry(row.session).or_default().insert(row.data.is_some());
        }
        for row in &tables.chunks {
            let id = |row: u32| tables.packs[row as usize].id;
            let place = (id(row.pack), row.offset, row.length.raw(), id(row.origin));
            self.chunks.entry(row.key).or_default().insert(place);
        }
    }

    fn state(&self, id: &PackId) -> PackState {
        self.states.get(id).copied().unwrap_or(PackState::Live)
    }

    fn compare(&self, index: &Index) {
        self.compare_packs(index);
        let named = |place: &Place| {
            let id = |row: u32| index.pack(row).unwrap().row.id;
            (id(place.pack), place.offset, place.length.raw(), id(place.origin))
        };
        let set = |places: &[Place]| {
            let set: BTreeSet<_> = places.iter().map(named).collect();
            assert_eq!(set.len(), places.len(), "a place is told twice");
            set
        };
        let (all, none) = ((0..=255).map(key), BTreeSet::new());
        let mut ordinals = BTreeSet::new();
        for key in all.clone() {
            let places = self.chunks.get(&key).unwrap_or(&none);
            let readable = |place: &&Named| self.state(&place.0) != PackState::Dead;
            let expected: BTreeSet<_> = places.iter().filter(readable).copied().collect();
            assert_eq!(set(&index.places_of(&key).unwrap()), expected);
            let live = |place: &Named| self.state(&place.0) == PackState::Live;
            match index.live(&key).unwrap() {
                Some(place) => assert!(places.contains(&named(&place)) && live(&named(&place))),
                None => assert!(!places.iter().any(live)),
            }
            let ordinal = index.ordinal(&key).unwrap();
            assert_eq!(ordinal.is_some(), !places.is_empty());
            assert!(ordinal.is_none_or(|ordinal| ordinal < index.ordinals_len() && ordinals.insert(ordinal)));
        }
        let mut keys: Vec<_> = all.collect();
        keys.sort();
        let one_by_one: Vec<_> = keys.iter().map(|key| index.ordinal(key).unwrap()).collect();
        assert_eq!(index.ordinals_sorted(&keys).unwrap(), one_by_one);
        let (mut walk, mut expected) = (index.chunks().unwrap(), self.chunks.iter());
        while let Some((key, places)) = walk.next().unwrap() {
            let (expected, all) = expected.next().unwrap();
            assert_eq!((&key, &set(places)), (expected, all));
        }
        assert_eq!(expected.next(), None);
        assert_eq!(index.chunks().unwrap().count().unwrap(), self.chunks.len() as u64);
    }

    fn compare_packs(&self, index: &Index) {
        let (mut walk, mut seen) = (index.packs(), BTreeMap::new());
        while let Some((row, pack)) = walk.next().unwrap() {
            assert!(row < index.pack_rows());
            assert_eq!(index.row_of(&pack.row.id).unwrap(), Some(row));
            assert_eq!(index.pack(row).unwrap(), pack);
            assert_eq!(index.pack_of(&pack.row.id).unwrap().as_ref(), Some(&pack));
            assert_eq!(pack.state, self.state(&pack.row.id));
            assert_eq!(index.is_live(&pack.row.id).unwrap(), pack.state == PackState::Live);
            let session = index.session(pack.session).unwrap();
            assert_eq!(session.session, pack.row.id.session);
            let halves = &self.halves[&session.session];
            let expected = (halves.contains(&true), halves.contains(&false));
            assert_eq!((session.data.is_some(), session.meta.is_some()), expected);
            assert_eq!(seen.insert(pack.row.id, pack.row), None, "a pack is told twice");
        }
        assert_eq!(seen, self.packs);
        let unknown = PackId { ordinal: 1, ..pack_id(0) };
        assert_eq!(index.row_of(&unknown).unwrap(), None);
        let foreign = PackId { member: MemberId([9; 16]), ..pack_id(0) };
        assert!(!index.is_live(&foreign).unwrap());
    }
}

fn state_of(byte: u8) -> PackState {
    if byte.is_multiple_of(2) { PackState::ReadOnly } else { PackState::Dead }
}

proptest! {
    #[test]
    fn it_says_what_the_tables_say_wherever_they_lie(
        groups in prop::collection::vec(prop::collection::vec(any::<Seed>(), 0..60), 1..6),
        in_segments in 0usize..6,
        files in any::<bool>(),
        states in prop::collection::vec((0u8..12, any::<u8>()), 0..6),
    ) {
        let (folder, terms, mut model) = (tempfile::tempdir().unwrap(), terms(), Model::default());
        let groups: Vec<_> = groups.iter().zip(0..).map(|(seeds, at)| tables(seeds, at % 2 == 0)).collect();
        let (merged, deltas) = groups.split_at(in_segments.min(groups.len()));
        let folder = files.then_some(folder.path());
        let segments = merged.iter().zip(0..).map(|(tables, id)| segment(&terms, tables, id, folder)).collect();
        groups.iter().for_each(|tables| model.add(tables));
        let mut index = Index::with_segments(segments).unwrap();
        let (early, late) = states.split_at(states.len() / 2);
        let mut state = |index: &mut Index, (pack, byte): &(u8, u8)| {
            index.set_state(&pack_id(*pack), state_of(*byte)).unwrap();
            let worst = model.states.entry(pack_id(*pack)).or_insert(PackState::Live);
            *worst = state_of(*byte).max(*worst);
        };
        early.iter().for_each(|stated| state(&mut index, stated));
        deltas.iter().for_each(|tables| index.absorb(tables).unwrap());
        index.settle();
        late.iter().for_each(|stated| state(&mut index, stated));
        model.compare(&index);
        // What is absorbed later counts as well.
        let more = tables(&[(1, 2, 3, 0), (200, 11, 0, 3)], true);
        index.absorb(&more).unwrap();
        index.settle();
        model.add(&more);
        model.compare(&index);
    }

    #[test]
    fn a_damaged_copy_is_an_error_and_never_a_wrong_answer(
        seeds in prop::collection::vec(any::<Seed>(), 1..60),
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
        late in any::<bool>(),
    ) {
        let (folder, terms, tables) = (tempfile::tempdir().unwrap(), terms(), tables(&seeds, true));
        let right = Index::with_segments(vec![segment(&terms, &tables, 1, None)]).unwrap();
        drop(segment(&terms, &tables, 1, Some(folder.path())));
        let path = folder.path().join("1");
        let mut bytes = std::fs::read(&path).unwrap();
        let row = { let mut tables = tables; tables.arrange(); segment_row(&tables, 1) };
        let open = || SegmentIndex::open(&terms, &path, &row);
        bytes[place.index(row_bytes(&path))] ^= 1 << bit;
        let opened = if late {
            // The file is damaged under us.
            let opened = open();
            std::fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes)).unwrap();
            opened
        } else {
            std::fs::write(&path, &bytes).unwrap();
            open()
        };
        let Ok(segment) = opened else {
            prop_assert!(!path.exists(), "it would be refused again and again");
            return Ok(());
        };
        let mut failed = false;
        let mut same = |one: Result<String>, other: Result<String>| match one {
            Ok(one) => assert_eq!(one, other.unwrap()),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Conflict);
                failed = true;
            }
        };
        fn text<T: std::fmt::Debug>(result: Result<T>) -> Result<String> {
            result.map(|value| format!("{value:?}"))
        }
        let index = Index::with_segments(vec![Arc::new(segment)]).unwrap();
        for key in (0..=255).map(key) {
            same(text(index.places_of(&key)), text(right.places_of(&key)));
            same(text(index.ordinal(&key)), text(right.ordinal(&key)));
        }
        for number in 0..12 {
            same(text(index.pack_of(&pack_id(number))), text(right.pack_of(&pack_id(number))));
        }
        for row in 0..right.pack_rows() {
            let session = right.pack(row).unwrap().session;
            same(text(index.session(session)), text(right.session(session)));
        }
        let count = |index: &Index| index.chunks().and_then(Chunks::count);
        same(text(count(&index)), text(count(&right)));
        prop_assert_eq!(failed, !path.exists());
    }
}

fn row_bytes(path: &Path) -> usize {
    std::fs::metadata(path).unwrap().len() as usize
}

#[test]
fn only_the_whole_copy_of_the_very_segment_is_opened() {
    let (folder, terms) = (tempfile::tempdir().unwrap(), terms());
    let seeds: Vec<Seed> = (0..200).map(|n| (n, n, n, n)).collect();
    let (mut one, mut two) = (tables(&seeds, true), tables(&seeds[..199], true));
    [&mut one, &mut two].into_iter().for_each(IndexTables::arrange);
    let (path, other) = (folder.path().join("1"), folder.path().join("2"));
    let row = segment_row(&one, 1);
    let make = || drop(segment(&terms, &one, 1, Some(folder.path())));
    let refused = |what: &str, terms: &CopyTerms, row: &SegmentRow| {
        assert!(SegmentIndex::open(terms, &path, row).is_err(), "{what}");
        assert!(!path.exists(), "{what}");
    };
    make();
    let whole = std::fs::read(&path).unwrap();
    assert!(SegmentIndex::open(&terms, &path, &row).is_ok());
    for cut in [0, 1, 100, 160, 161, 16384, whole.len() - 161, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        refused("cut off", &terms, &row);
    }
    std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    refused("longer", &terms, &row);
    std::fs::write(&path, [&whole[16384..], &whole[..16384]].concat()).unwrap();
    refused("shuffled", &terms, &row);
    std::fs::write(&path, vec![0xa5; whole.len()]).unwrap();
    refused("garbage", &terms, &row);
    drop(segment(&terms, &two, 2, Some(folder.path())));
    std::fs::rename(&other, &path).unwrap();
    refused("another segment", &terms, &row);
    for change in [
        |row: &mut SegmentRow| row.hash[31] ^= 1,
        |row: &mut SegmentRow| row.sum.0[0] ^= 1,
        |row: &mut SegmentRow| row.level += 1,
        |row: &mut SegmentRow| row.rows += 1,
        |row: &mut SegmentRow| row.id.0[3] ^= 1,
    ] {
        make();
        let mut changed = row.clone();
        change(&mut changed);
        refused("another object", &terms, &changed);
    }
    let foreign = CopyTerms::new(RepositoryId([2; 16]), &Secret::new([5; 32]), &Arc::default());
    make();
    refused("another repository", &foreign, &row);
    let other_key = CopyTerms::new(RepositoryId([1; 16]), &Secret::new([6; 32]), &Arc::default());
    make();
    refused("another key", &other_key, &row);
    assert!(SegmentIndex::open(&terms, &path, &row).is_err());
}

#[test]
fn two_blocks_that_change_places_are_noticed() {
    let (folder, terms) = (tempfile::tempdir().unwrap(), terms());
    let mut tables = tables(&[(1, 0, 0, 0)], true);
    let row = tables.chunks[0];
    tables.chunks = (0..2000u32).map(|n| with_front(row, n)).collect();
    let segment = segment(&terms, &tables, 1, Some(folder.path()));
    let path = folder.path().join("1");
    let mut bytes = std::fs::read(&path).unwrap();
    let (front, back) = bytes[2 * 16384..].split_at_mut(16384);
    front.swap_with_slice(&mut back[..16384]);
    std::fs::write(&path, &bytes).unwrap();
    drop(segment);
    tables.arrange();
    let segment = Arc::new(SegmentIndex::open(&terms, &path, &segment_row(&tables, 1)).unwrap());
    let index = Index::with_segments(vec![segment]).unwrap();
    assert_eq!(index.places_of(&with_front(row, 5).key).unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(index.ordinals_sorted(&[with_front(row, 5).key]).unwrap_err().kind, ErrorKind::Conflict);
    assert!(index.live(&with_front(row, 1999).key).unwrap().is_some());
}

fn with_front(row: ChunkRow, n: u32) -> ChunkRow {
    let mut key = [0; 24];
    key[..4].copy_from_slice(&(n * 60_011).to_be_bytes());
    ChunkRow { key: ChunkKey(key), ..row }
}

#[test]
fn a_large_segment_is_in_a_file_and_takes_little_memory() {
    let terms = terms();
    let mut tables = tables(&[(1, 0, 0, 0)], true);
    let row = tables.chunks[0];
    tables.chunks = (0..60_000u32).map(|n| with_front(row, n)).collect();
    tables.sort();
    // Without a folder the file has no name.
    let segment = segment(&terms, &tables, 1, None);
    assert!(matches!(segment.body(), copy::Body::File(_)));
    assert!(segment.pinned_bytes() < 16 << 10, "{}", segment.pinned_bytes());
    let index = Index::with_segments(vec![segment]).unwrap();
    let keys: Vec<_> = tables.chunks.iter().map(|row| row.key).collect();
    let ordinals = index.ordinals_sorted(&keys).unwrap();
    assert!(ordinals.iter().zip(0..).all(|(ordinal, n)| *ordinal == Some(n)));
    for row in tables.chunks.iter().step_by(97) {
        assert_eq!(index.places_of(&row.key).unwrap().len(), 1);
        let mut absent = row.key;
        absent.0[23] = 1;
        assert_eq!(index.live(&absent).unwrap(), None);
    }
}

#[test]
fn many_places_of_one_chunk_cross_blocks() {
    let terms = terms();
    let mut tables = tables(&[(1, 0, 0, 0), (255, 0, 0, 0)], true);
    let row = tables.chunks[0];
    tables.chunks.extend((1..2000u32).map(|n| ChunkRow { offset: n, ..row }));
    tables.sort();
    let index = Index::with_segments(vec![segment(&terms, &tables, 1, None)]).unwrap();
    assert_eq!(index.places_of(&row.key).unwrap().len(), 2000);
    assert_eq!(index.ordinal(&key(255)).unwrap(), Some(2000));
    assert_eq!(index.ordinals_sorted(&[key(0), row.key, key(255)]).unwrap(), [None, Some(0), Some(2000)]);
}
