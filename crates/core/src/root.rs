//! Roots, and the lists and segments that they name: what maintainers publish.
//!
//! On purpose not here: when a pack is condemned or dead. A repository without maintenance has
//! no root; that is root 0, which is empty.

use crate::crypto::{Secret, Signer};
use crate::cutoff::{CutOffs, decode_cutoffs, encode_cutoffs};
use crate::dated::{DatedLogs, decode_dated, encode_dated};
use crate::entry::Time;
use crate::error::FormatError;
use crate::hold::{Hold, WatchedSession, decode_holds, decode_watched, encode_holds, encode_watched};
use crate::id::{ChunkId, MemberId, ObjectId, RepositoryId, SessionId};
use crate::index::{MultisetSum, Partition};
use crate::name::PackId;
use crate::object::{
    Header, SNAPSHOT_SECTION_BYTES_MAX, TABLE_SECTION_BYTES_MAX, encode_object, open_section, seal_section,
};
use crate::session::{Summary, decode_time, encode_time};
use crate::wire::{Reader, Tag, Writer, take_tag};

/// What a list that a root names is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ListKind {
    /// Packs that may become dead; nothing new may rely on them.
    Condemned = 1,
    /// Packs that are given up for ever.
    Dead = 2,
    /// Chunks that no pack has any more.
    Lost = 3,
    /// Packs that are damaged.
    Quarantined = 4,
    /// Sessions whose deltas are merged.
    Absorbed = 5,
    /// Snapshots that are forgotten and not yet pruned.
    Forgotten = 6,
}

impl ListKind {
    fn from_byte(byte: u8) -> Result<Self, FormatError> {
        [Self::Condemned, Self::Dead, Self::Lost, Self::Quarantined, Self::Absorbed, Self::Forgotten]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or_else(|| FormatError::Newer(format!("list kind {byte}")))
    }

    /// Length of an item in bytes.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Condemned | Self::Dead | Self::Quarantined => PackId::SIZE,
            Self::Lost => ChunkId::SIZE,
            Self::Absorbed => MemberId::SIZE + SessionId::SIZE,
            Self::Forgotten => SessionId::SIZE,
        }
    }
}

/// A list: items of one width, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// What it is.
    pub kind: ListKind,
    /// The items, one after the other.
    pub items: Vec<u8>,
}

impl List {
    /// Makes a list of packs.
    #[must_use]
    pub fn of_packs(kind: ListKind, packs: &std::collections::BTreeSet<PackId>) -> Self {
        let mut items: Vec<_> = packs.iter().map(PackId::encode).collect();
        items.sort_unstable();
        Self { kind, items: items.concat() }
    }

    /// Reads the items as packs.
    #[must_use]
    pub fn packs(&self) -> Vec<PackId> {
        self.items
            .chunks_exact(PackId::SIZE)
            .filter_map(|item| PackId::decode(item.try_into().ok()?))
            .collect()
    }

    /// Encodes the object: one sealed section {kind 1, items, tagged list}, tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_idx: &Secret, signer: &Signer) -> Vec<u8> {
        let mut section = Writer::new();
        section.u8(self.kind as u8);
        section.bytes32(&self.items);
        section.tags(&[]);
        let mut writer = Writer::new();
        seal_section(&mut writer, k_idx, header, "list", section.as_slice());
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(signer))
    }

    /// Reads the body of a list object.
    ///
    /// # Errors
    /// It is damaged, malformed, out of order, or of a later version.
    pub fn decode(header: &Header, body: &[u8], k_idx: &Secret) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let section = open_section(&mut reader, k_idx, header, "list", TABLE_SECTION_BYTES_MAX)?;
        reader.tags("a list", &[])?;
        reader.end()?;
        let mut reader = Reader::new(&section);
        let kind = ListKind::from_byte(reader.u8()?)?;
        let items = reader.bytes32("a list", u32::MAX)?.to_vec();
        reader.tags("a list", &[])?;
        reader.end()?;
        let mut rows = items.chunks_exact(kind.width());
        let whole = rows.by_ref().remainder().is_empty();
        if whole && items.chunks_exact(kind.width()).is_sorted_by(|a, b| a < b) {
            Ok(Self { kind, items })
        } else {
            Err(FormatError::Malformed("the items of a list"))
        }
    }
}

/// A segment of the index as a root names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Which identifiers it holds.
    pub partition: Partition,
    /// How often its rows were merged.
    pub level: u8,
    /// The object.
    pub id: ObjectId,
    /// Rows in it.
    pub rows: u64,
    /// BLAKE3-256 of the whole object.
    pub hash: [u8; 32],
    /// Sum over its rows.
    pub sum: MultisetSum,
}

/// A segment of snapshots or a list as a root names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRow {
    /// For lists, what it is; 0 for segments of snapshots.
    pub kind: u8,
    /// The object.
    pub id: ObjectId,
    /// Items in it.
    pub items: u64,
    /// BLAKE3-256 of the whole object.
    pub hash: [u8; 32],
    /// For lists of packs that are condemned or dead: number of the root that said so first.
    pub floor: u64,
}

/// What an index merge took in, dropped and gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conservation {
    /// Sum over the rows of all inputs.
    pub taken: MultisetSum,
    /// Sum over the rows that were dropped.
    pub dropped: MultisetSum,
    /// Sum over the rows of all outputs.
    pub given: MultisetSum,
}

impl Conservation {
    /// Whether nothing came or went: taken = dropped + given.
    #[must_use]
    pub fn holds(&self) -> bool {
        let mut left = self.dropped;
        left += self.given;
        left == self.taken
    }
}

/// What a root keeps of one timeline of a database's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFloor {
    /// System and timeline, as in the names of segments.
    pub timeline: String,
    /// First segment that is kept.
    pub floor: String,
    /// Ranges below the floor that kept snapshots need, (first, last).
    pub ranges: Vec<(String, String)>,
}

/// One state of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Root {
    /// Its number, from 1.
    pub number: u64,
    /// BLAKE3-256 of the whole root before, zeros for the first.
    pub previous: [u8; 32],
    /// BLAKE3-256 of `holdfast.json`.
    pub repository_hash: [u8; 32],
    /// Entries of the member chain, and the hash of the last.
    pub members: (u64, [u8; 32]),
    /// Sessions below it may not begin to commit any more.
    pub fence_pending: u64,
    /// Sessions below it count only if they are catalogued.
    pub fence: u64,
    /// When, for people.
    pub time: Time,
    /// Index segments.
    pub segments: Vec<SegmentRow>,
    /// Segments of snapshots.
    pub snapshots: Vec<NamedRow>,
    /// Lists.
    pub lists: Vec<NamedRow>,
    /// Merges since the root before.
    pub conservation: Vec<Conservation>,
    /// What is kept of logs.
    pub wal: Vec<WalFloor>,
    /// Holds, those that ran out included until the next root.
    pub holds: Vec<Hold>,
    /// Open sessions that maintainers saw.
    pub watched: Vec<WatchedSession>,
    /// How far what removed members wrote counts.
    pub cutoffs: CutOffs,
    /// When logs were seen.
    pub dated: DatedLogs,
    /// Domains whose erasure was begun, ascending. It says where to look: what an owner recorded decides.
    pub shredded: Vec<RepositoryId>,
    /// Tags of later versions that are not critical: kept and passed on.
    pub unknown: Vec<Tag>,
}

/// Critical: who does not know holds must not forget or free anything.
const TAG_HOLDS: u16 = 0x8001;
const TAG_WATCHED: u16 = 0x0002;
const TAG_CUTOFFS: u16 = 0x0003;
const TAG_DATED: u16 = 0x0004;
const TAG_SHREDDED: u16 = 0x0005;

impl Root {
    /// Encodes the object: one sealed section, tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_ref: &Secret, signer: &Signer) -> Vec<u8> {
        let mut writer = Writer::new();
        seal_section(&mut writer, k_ref, header, "root", &self.encode_section());
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(signer))
    }

    fn encode_section(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.number);
        writer.raw(&self.previous);
        writer.raw(&self.repository_hash);
        writer.u64(self.members.0);
        writer.raw(&self.members.1);
        writer.u64(self.fence_pending);
        writer.u64(self.fence);
        encode_time(&mut writer, self.time);
        writer.count(self.segments.len());
        for row in &self.segments {
            writer.u8(row.partition.bits);
            writer.u16(row.partition.value);
            writer.u8(row.level);
            writer.raw(row.id.bytes());
            writer.u64(row.rows);
            writer.raw(&row.hash);
            writer.raw(&row.sum.0);
            writer.tags(&[]);
        }
        for rows in [&self.snapshots, &self.lists] {
            writer.count(rows.len());
            rows.iter().for_each(|row| row.encode(&mut writer));
        }
        writer.count(self.conservation.len());
        for sums in &self.conservation {
            [sums.taken, sums.dropped, sums.given].iter().for_each(|sum| writer.raw(&sum.0));
        }
        writer.count(self.wal.len());
        for floor in &self.wal {
            floor.encode(&mut writer);
        }
        writer.tags(&self.tags());
        writer.into_vec()
    }

    fn tags(&self) -> Vec<Tag> {
        let mut tags = self.unknown.clone();
        if !self.holds.is_empty() {
            tags.push(Tag { id: TAG_HOLDS, bytes: encode_holds(&self.holds) });
        }
        if !self.watched.is_empty() {
            tags.push(Tag { id: TAG_WATCHED, bytes: encode_watched(&self.watched) });
        }
        if self.cutoffs != CutOffs::default() {
            tags.push(Tag { id: TAG_CUTOFFS, bytes: encode_cutoffs(&self.cutoffs) });
        }
        if self.dated != DatedLogs::default() {
            tags.push(Tag { id: TAG_DATED, bytes: encode_dated(&self.dated) });
        }
        if !self.shredded.is_empty() {
            let bytes = self.shredded.iter().flat_map(|id| id.0).collect();
            tags.push(Tag { id: TAG_SHREDDED, bytes });
        }
        tags.sort_by_key(|tag| tag.id);
        tags
    }

    /// Reads the body of a root object; the caller verifies the signature.
    ///
    /// # Errors
    /// It is damaged, malformed, or of a later version.
    pub fn decode(header: &Header, body: &[u8], k_ref: &Secret) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let section = open_section(&mut reader, k_ref, header, "root", TABLE_SECTION_BYTES_MAX)?;
        reader.tags("a root", &[])?;
        reader.end()?;
        let mut reader = Reader::new(&section);
        let mut root = Self {
            number: reader.u64()?,
            previous: reader.array()?,
            repository_hash: reader.array()?,
            members: (reader.u64()?, reader.array()?),
            fence_pending: reader.u64()?,
            fence: reader.u64()?,
            time: decode_time(&mut reader)?,
            ..Self::default()
        };
        if root.number == 1 && root.previous != [0; 32] {
            return Err(FormatError::Malformed("what the first root says of the one before"));
        }
        for _ in 0..reader.count(94)? {
            root.segments.push(SegmentRow {
                partition: Partition::decode(&mut reader)?,
                level: reader.u8()?,
                id: ObjectId(reader.array()?),
                rows: reader.u64()?,
                hash: reader.array()?,
                sum: MultisetSum(reader.array()?),
            });
            reader.tags("a row of a root", &[])?;
        }
        for _ in 0..reader.count(67)? {
            let row = NamedRow::decode(&mut reader)?;
            if row.kind != 0 {
                return Err(FormatError::Malformed("a segment of snapshots"));
            }
            root.snapshots.push(row);
        }
        for _ in 0..reader.count(67)? {
            let row = NamedRow::decode(&mut reader)?;
            ListKind::from_byte(row.kind)?;
            root.lists.push(row);
        }
        for _ in 0..reader.count(96)? {
            root.conservation.push(Conservation {
                taken: MultisetSum(reader.array()?),
                dropped: MultisetSum(reader.array()?),
                given: MultisetSum(reader.array()?),
            });
        }
        for _ in 0..reader.count(10)? {
            root.wal.push(WalFloor::decode(&mut reader)?);
        }
        root.unknown = reader.tags("a root", &[TAG_HOLDS])?;
        if let Some(bytes) = take_tag(&mut root.unknown, TAG_HOLDS) {
            root.holds = decode_holds(&bytes)?;
        }
        if let Some(bytes) = take_tag(&mut root.unknown, TAG_WATCHED) {
            root.watched = decode_watched(&bytes)?;
        }
        if let Some(bytes) = take_tag(&mut root.unknown, TAG_CUTOFFS) {
            root.cutoffs = decode_cutoffs(&bytes)?;
        }
        if let Some(bytes) = take_tag(&mut root.unknown, TAG_DATED) {
            root.dated = decode_dated(&bytes)?;
        }
        if let Some(bytes) = take_tag(&mut root.unknown, TAG_SHREDDED) {
            root.shredded = decode_shredded(&bytes)?;
        }
        reader.end()?;
        Ok(root)
    }

    /// Tells whether a session that began with root `epoch` may still commit.
    #[must_use]
    pub fn admits(&self, epoch: u64) -> bool {
        epoch >= self.fence.max(self.fence_pending)
    }
}

fn decode_shredded(bytes: &[u8]) -> Result<Vec<RepositoryId>, FormatError> {
    let (ids, rest) = bytes.as_chunks::<16>();
    let ids: Vec<_> = ids.iter().map(|id| RepositoryId(*id)).collect();
    if rest.is_empty() && ids.is_sorted_by(|a, b| a < b) {
        return Ok(ids);
    }
    Err(FormatError::Malformed("domains that were erased"))
}

impl NamedRow {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.kind);
        writer.raw(self.id.bytes());
        writer.u64(self.items);
        writer.raw(&self.hash);
        writer.u64(self.floor);
        writer.tags(&[]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let row = Self {
            kind: reader.u8()?,
            id: ObjectId(reader.array()?),
            items: reader.u64()?,
            hash: reader.array()?,
            floor: reader.u64()?,
        };
        reader.tags("a row of a root", &[])?;
        Ok(row)
    }
}

impl WalFloor {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes16(self.timeline.as_bytes());
        writer.bytes16(self.floor.as_bytes());
        writer.count(self.ranges.len());
        for (first, last) in &self.ranges {
            writer.bytes16(first.as_bytes());
            writer.bytes16(last.as_bytes());
        }
        writer.tags(&[]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (timeline, floor) = (reader.text16("a timeline")?, reader.text16("a log segment")?);
        let mut ranges = Vec::new();
        for _ in 0..reader.count(4)? {
            ranges.push((reader.text16("a log segment")?, reader.text16("a log segment")?));
        }
        reader.tags("a row of a root", &[])?;
        Ok(Self { timeline, floor, ranges })
    }
}

/// A snapshot in the merged copy of summaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CataloguedSnapshot {
    /// The snapshot.
    pub session: SessionId,
    /// Who committed it.
    pub member: MemberId,
    /// Number of the root that its session began with.
    pub epoch: u64,
    /// When the maintainer first saw it; never changes.
    pub received: Time,
    /// BLAKE3-256 of its end object.
    pub end_hash: [u8; 32],
    /// Its summary.
    pub summary: Summary,
}

/// Encodes a segment of snapshots: one sealed section of rows ascending by session, tagged list; signed.
#[must_use]
pub fn encode_snapshots(
    rows: &[CataloguedSnapshot],
    header: &Header,
    k_ref: &Secret,
    signer: &Signer,
) -> Vec<u8> {
    let mut section = Writer::new();
    section.count(rows.len());
    for row in rows {
        section.raw(row.session.bytes());
        section.raw(row.member.bytes());
        section.u64(row.epoch);
        encode_time(&mut section, row.received);
        section.raw(&row.end_hash);
        section.bytes32(&row.summary.encode());
        section.tags(&[]);
    }
    section.tags(&[]);
    let mut writer = Writer::new();
    seal_section(&mut writer, k_ref, header, "snapshots", section.as_slice());
    writer.tags(&[]);
    encode_object(header, writer.as_slice(), Some(signer))
}

/// Reads the body of a segment of snapshots.
///
/// # Errors
/// It is damaged, malformed, out of order, or of a later version.
pub fn decode_snapshots(
    header: &Header,
    body: &[u8],
    k_ref: &Secret,
) -> Result<Vec<CataloguedSnapshot>, FormatError> {
    let mut reader = Reader::new(body);
    let section = open_section(&mut reader, k_ref, header, "snapshots", TABLE_SECTION_BYTES_MAX)?;
    reader.tags("a segment of snapshots", &[])?;
    reader.end()?;
    let mut reader = Reader::new(&section);
    let mut rows: Vec<CataloguedSnapshot> = Vec::new();
    for _ in 0..reader.count(90)? {
        let row = CataloguedSnapshot {
            session: SessionId(reader.array()?),
            member: MemberId(reader.array()?),
            epoch: reader.u64()?,
            received: decode_time(&mut reader)?,
            end_hash: reader.array()?,
            summary: Summary::decode(reader.bytes32("a summary", SNAPSHOT_SECTION_BYTES_MAX as u32)?)?,
        };
        reader.tags("a row of snapshots", &[])?;
        if rows.last().is_some_and(|last| last.session >= row.session) {
            return Err(FormatError::Malformed("the order of snapshots"));
        }
        rows.push(row);
    }
    reader.tags("a segment of snapshots", &[])?;
    reader.end()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::id::RepositoryId;
    use crate::keys::member_header;
    use crate::name::PackClass;
    use crate::object::{Object, ObjectType};
    use std::collections::BTreeSet;

    fn header(object_type: ObjectType) -> Header {
        member_header(object_type, RepositoryId([1; 16]), ObjectId([2; 16]), MemberId([3; 16]), [4; 16])
    }

    fn keys() -> (Secret, Signer) {
        (Secret::new([1; 32]), Signer::from_seed(Secret::new([2; 32])))
    }

    #[test]
    fn roots_come_back() {
        let (key, signer) = keys();
        let row = |kind| NamedRow { kind, id: ObjectId([kind; 16]), items: 3, hash: [4; 32], floor: 5 };
        let root = Root {
            number: 3,
            previous: [1; 32],
            repository_hash: [2; 32],
            members: (4, [5; 32]),
            fence_pending: 2,
            fence: 1,
            time: Time { seconds: 9, nanos: 0 },
            segments: vec![SegmentRow {
                partition: Partition { bits: 1, value: 1 },
                level: 2,
                id: ObjectId([6; 16]),
                rows: 7,
                hash: [8; 32],
                sum: MultisetSum([9; 32]),
            }],
            snapshots: vec![row(0)],
            lists: vec![row(1), row(2)],
            conservation: vec![Conservation {
                taken: MultisetSum([1; 32]),
                dropped: MultisetSum([2; 32]),
                given: MultisetSum([3; 32]),
            }],
            wal: vec![WalFloor {
                timeline: "t".into(),
                floor: "f".into(),
                ranges: vec![("a".into(), "b".into())],
            }],
            holds: vec![Hold {
                id: [7; 16],
                scope: crate::hold::HoldScope::All,
                reason: "why".into(),
                since: Time::default(),
                until: None,
            }],
            watched: vec![WatchedSession { session: SessionId([8; 16]), objects: 2, since: Time::default() }],
            cutoffs: CutOffs { members: Vec::new(), log: Some(Vec::new()) },
            dated: DatedLogs { databases: vec![Default::default()], timelines: Vec::new() },
            shredded: vec![RepositoryId([1; 16]), RepositoryId([2; 16])],
            unknown: vec![Tag { id: 0x0777, bytes: b"later".to_vec() }],
        };
        let bytes = root.encode(&header(ObjectType::Root), &key, &signer);
        let object = Object::parse(&bytes).unwrap();
        object.verify(&signer.public()).unwrap();
        assert_eq!(Root::decode(&object.header, object.body, &key).unwrap(), root);
        assert!(root.admits(2) && !root.admits(1));
    }

    #[test]
    fn a_partition_that_does_not_exist_is_refused() {
        let (key, signer) = keys();
        for partition in [Partition { bits: 13, value: 0 }, Partition { bits: 2, value: 4 }] {
            let (id, hash, sum) = (ObjectId([6; 16]), [8; 32], MultisetSum([9; 32]));
            let segments = vec![SegmentRow { partition, level: 2, id, rows: 7, hash, sum }];
            let bytes = Root { segments, ..Root::default() }.encode(&header(ObjectType::Root), &key, &signer);
            let object = Object::parse(&bytes).unwrap();
            let refused = Root::decode(&object.header, object.body, &key).unwrap_err();
            assert_eq!(refused, FormatError::Malformed("an index partition"));
        }
    }

    #[test]
    fn a_first_root_after_another_and_unknown_lists_are_refused() {
        let (key, signer) = keys();
        let read = |root: &Root| {
            let bytes = root.encode(&header(ObjectType::Root), &key, &signer);
            let object = Object::parse(&bytes).unwrap();
            Root::decode(&object.header, object.body, &key)
        };
        let row = |kind| NamedRow { kind, id: ObjectId([1; 16]), items: 3, hash: [4; 32], floor: 5 };
        assert!(read(&Root { number: 1, ..Root::default() }).is_ok());
        assert!(read(&Root { number: 1, previous: [1; 32], ..Root::default() }).is_err());
        assert!(read(&Root { lists: vec![row(7)], ..Root::default() }).is_err());
        assert!(read(&Root { lists: vec![row(0)], ..Root::default() }).is_err());
        assert!(read(&Root { snapshots: vec![row(1)], ..Root::default() }).is_err());
    }

    #[test]
    fn lists_come_back_sorted_or_are_refused() {
        let (key, signer) = keys();
        let pack = |ordinal| PackId {
            member: MemberId([1; 16]),
            session: SessionId([2; 16]),
            class: PackClass::Tree,
            ordinal,
        };
        let packs = BTreeSet::from([pack(300), pack(2), pack(1)]);
        let list = List::of_packs(ListKind::Dead, &packs);
        let read = |list: &List| {
            let bytes = list.encode(&header(ObjectType::List), &key, &signer);
            let object = Object::parse(&bytes).unwrap();
            List::decode(&object.header, object.body, &key)
        };
        assert_eq!(read(&list).unwrap().packs().into_iter().collect::<BTreeSet<_>>(), packs);
        let mut broken = list.clone();
        broken.items.truncate(PackId::SIZE + 1);
        assert!(read(&broken).is_err());
        broken.items = [&list.items[PackId::SIZE..], &list.items[..PackId::SIZE]].concat();
        assert!(read(&broken).is_err());
    }

    #[test]
    fn segments_of_snapshots_come_back() {
        let (key, signer) = keys();
        let row = |id| CataloguedSnapshot {
            session: SessionId([id; 16]),
            member: MemberId([2; 16]),
            epoch: 3,
            received: Time { seconds: 4, nanos: 5 },
            end_hash: [6; 32],
            summary: crate::session::tests::summary(),
        };
        let rows = vec![row(1), row(2)];
        let bytes = encode_snapshots(&rows, &header(ObjectType::SnapshotSegment), &key, &signer);
        let object = Object::parse(&bytes).unwrap();
        assert_eq!(decode_snapshots(&object.header, object.body, &key).unwrap(), rows);
        let bytes = encode_snapshots(&[row(2), row(1)], &header(ObjectType::SnapshotSegment), &key, &signer);
        let object = Object::parse(&bytes).unwrap();
        assert!(decode_snapshots(&object.header, object.body, &key).is_err());
    }
}
