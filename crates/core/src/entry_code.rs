//! How an entry is encoded, inside a page or on its own.
//!
//! Chunks and pages that an entry names are listed once, in a table of references; the entry
//! holds rows of that table. On purpose not here: pages ([`crate::page`]).

use crate::entry::{
    Attributes, Content, EXTENTS_INLINE_MAX, Entry, Extent, INLINE_BYTES_MAX, Kind, Owner, Time, Xattrs,
};
use crate::error::FormatError;
use crate::id::ChunkId;
use crate::wire::{Reader, Tag, Writer};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Longest key of an entry in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Extended attributes up to this size lie in the page; longer ones become a chunk.
pub const XATTRS_INLINE_BYTES_MAX: usize = 1024;
/// Longest encoding of all extended attributes of one entry, in bytes.
pub const XATTRS_BYTES_MAX: usize = 4 << 20;

const TAG_BIRTH: u16 = 0x0001;
const TAG_INODE_FLAGS: u16 = 0x0002;
const TAG_LINK_GROUP: u16 = 0x0003;
const TAG_LINK_TARGET: u16 = 0x8010;
const TAG_DEVICE: u16 = 0x8011;
const TAG_XATTRS: u16 = 0x8012;
const TAG_XATTRS_CHUNK: u16 = 0x8013;
const CRITICAL: [u16; 4] = [TAG_LINK_TARGET, TAG_DEVICE, TAG_XATTRS, TAG_XATTRS_CHUNK];

/// The pages and chunks that a page names, each once, in order of first use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// Pages.
    pub children: Vec<ChunkId>,
    /// Data chunks.
    pub chunks: Vec<ChunkId>,
}

impl Refs {
    /// Encodes: count and ids of pages, count and ids of chunks.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for ids in [&self.children, &self.chunks] {
            writer.count(ids.len());
            ids.iter().for_each(|id| writer.raw(id.bytes()));
        }
        writer.tags(&[]);
        writer.into_vec()
    }

    /// Reads what [`Refs::encode`] wrote.
    ///
    /// # Errors
    /// It is malformed, names an id twice, or is of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let mut refs = Self::default();
        for ids in [&mut refs.children, &mut refs.chunks] {
            for _ in 0..reader.count(32)? {
                ids.push(ChunkId(reader.array()?));
            }
            if ids.iter().collect::<HashSet<_>>().len() != ids.len() {
                return Err(FormatError::Malformed("the references of a page"));
            }
        }
        reader.tags("references of a page", &[])?;
        reader.end()?;
        Ok(refs)
    }
}

/// Looks references up while a body is decoded, and sees to it that the body uses all of them,
/// the first time in the order of the table: then the table is the one that encoding gives.
#[derive(Debug)]
pub struct RefUse<'a> {
    refs: &'a Refs,
    children: usize,
    chunks: usize,
}

impl<'a> RefUse<'a> {
    /// Starts with nothing used.
    #[must_use]
    pub const fn new(refs: &'a Refs) -> Self {
        Self { refs, children: 0, chunks: 0 }
    }

    /// Returns the page of a row.
    ///
    /// # Errors
    /// There is no such row, or an earlier one was not used before it.
    pub fn child(&mut self, row: u32) -> Result<ChunkId, FormatError> {
        Self::look_up(&self.refs.children, &mut self.children, row)
    }

    /// Returns the chunk of a row.
    ///
    /// # Errors
    /// There is no such row, or an earlier one was not used before it.
    pub fn chunk(&mut self, row: u32) -> Result<ChunkId, FormatError> {
        Self::look_up(&self.refs.chunks, &mut self.chunks, row)
    }

    fn look_up(ids: &[ChunkId], used: &mut usize, row: u32) -> Result<ChunkId, FormatError> {
        let row = row as usize;
        let id = ids.get(row).ok_or(FormatError::Malformed("a reference"))?;
        if row > *used {
            return Err(FormatError::Malformed("the references of a page"));
        }
        *used = (*used).max(row + 1);
        Ok(*id)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// A row was not used.
    pub const fn end(&self) -> Result<(), FormatError> {
        if self.children == self.refs.children.len() && self.chunks == self.refs.chunks.len() {
            Ok(())
        } else {
            Err(FormatError::Malformed("the references of a page"))
        }
    }
}

/// Collects references while entries are encoded.
#[derive(Debug, Default)]
pub struct RefTable {
    refs: Refs,
    children: HashMap<ChunkId, u32>,
    chunks: HashMap<ChunkId, u32>,
}

impl RefTable {
    /// Returns the row of a page; the same page has one row.
    pub fn child(&mut self, id: ChunkId) -> u32 {
        let children = &mut self.refs.children;
        *self.children.entry(id).or_insert_with(|| {
            children.push(id);
            (children.len() - 1) as u32
        })
    }

    /// Returns the row of a chunk; the same chunk has one row.
    pub fn chunk(&mut self, id: ChunkId) -> u32 {
        let chunks = &mut self.refs.chunks;
        *self.chunks.entry(id).or_insert_with(|| {
            chunks.push(id);
            (chunks.len() - 1) as u32
        })
    }

    /// Returns the table and starts a new one.
    pub fn take(&mut self) -> Refs {
        self.children.clear();
        self.chunks.clear();
        std::mem::take(&mut self.refs)
    }
}

/// Owners of a page, each once.
#[derive(Debug, Default)]
pub struct OwnerTable {
    owners: Vec<Arc<Owner>>,
}

impl OwnerTable {
    /// Returns the row of an owner.
    ///
    /// # Panics
    /// More than 65,536 owners in one page: a page has fewer entries.
    pub fn row(&mut self, owner: &Arc<Owner>) -> u16 {
        let found = self.owners.iter().position(|known| Arc::ptr_eq(known, owner) || known == owner);
        let row = found.unwrap_or_else(|| {
            self.owners.push(Arc::clone(owner));
            self.owners.len() - 1
        });
        u16::try_from(row).expect("a page has fewer entries")
    }

    /// Encodes and starts a new table: count 2, then {uid 4, gid 4, user, group, tagged list}.
    pub fn encode(&mut self, writer: &mut Writer) {
        writer.u16(self.owners.len() as u16);
        for owner in self.owners.drain(..) {
            writer.u32(owner.uid);
            writer.u32(owner.gid);
            writer.bytes16(owner.user.as_bytes());
            writer.bytes16(owner.group.as_bytes());
            writer.tags(&[]);
        }
    }

    /// Reads what [`OwnerTable::encode`] wrote.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Vec<Arc<Owner>>, FormatError> {
        let count = reader.u16()?;
        let mut owners = Vec::new();
        for _ in 0..count {
            owners.push(Arc::new(Owner {
                uid: reader.u32()?,
                gid: reader.u32()?,
                user: reader.text16("a user name")?,
                group: reader.text16("a group name")?,
            }));
            reader.tags("an owner", &[])?;
        }
        Ok(owners)
    }
}

/// Encodes a key as what it shares with the one before, and the rest.
///
/// # Panics
/// The key is longer than [`KEY_BYTES_MAX`]: a mistake of the caller.
pub fn encode_key(writer: &mut Writer, before: &[u8], key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "keys have a limit");
    let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
    writer.u16(shared as u16);
    writer.bytes16(&key[shared..]);
}

/// Reads what [`encode_key`] wrote; keys ascend strictly.
///
/// # Errors
/// It is malformed or does not ascend.
pub fn decode_key(reader: &mut Reader<'_>, before: Option<&[u8]>) -> Result<Vec<u8>, FormatError> {
    let shared = usize::from(reader.u16()?);
    let suffix = reader.bytes16()?;
    let front = before.unwrap_or_default().get(..shared).ok_or(FormatError::Malformed("a key"))?;
    let key = [front, suffix].concat();
    if key.len() > KEY_BYTES_MAX || before.is_some_and(|before| before >= key.as_slice()) {
        return Err(FormatError::Malformed("the order of keys"));
    }
    Ok(key)
}

/// Encodes all of an entry but its key.
///
/// # Panics
/// The entry breaks a limit of the format (inline content, extents): a mistake of the caller.
pub fn encode_entry(writer: &mut Writer, entry: &Entry, owners: &mut OwnerTable, refs: &mut RefTable) {
    let attributes = &entry.attributes;
    writer.u8(entry.kind as u8);
    writer.u16(entry.mode);
    writer.u16(owners.row(&entry.owner));
    encode_time(writer, entry.mtime);
    writer.u64(entry.size);
    writer.u8(u8::from(attributes.grown)
        | u8::from(attributes.torn) << 1
        | u8::from(entry.digest.is_some()) << 2);
    if let Some(digest) = &entry.digest {
        writer.raw(digest);
    }
    encode_content(writer, &entry.content, refs);
    let tags = attribute_tags(attributes, refs);
    writer.tags(&tags);
}

fn encode_time(writer: &mut Writer, time: Time) {
    writer.i64(time.seconds);
    writer.u32(time.nanos);
}

fn encode_content(writer: &mut Writer, content: &Content, refs: &mut RefTable) {
    match content {
        Content::None => writer.u8(0),
        Content::Inline(bytes) => {
            assert!(bytes.len() <= INLINE_BYTES_MAX, "inline contents are small");
            writer.u8(1);
            writer.bytes16(bytes);
        }
        Content::Extents(extents) => {
            assert!(extents.len() <= EXTENTS_INLINE_MAX, "many extents have a tree");
            writer.u8(2);
            writer.u8(extents.len() as u8);
            extents.iter().for_each(|extent| encode_extent(writer, extent, refs));
        }
        Content::Tree(root) => {
            writer.u8(3);
            writer.u32(refs.child(*root));
        }
    }
}

/// Encodes an extent: kind 1, then {row 4, offset 4, length 4} or {length 8}.
pub fn encode_extent(writer: &mut Writer, extent: &Extent, refs: &mut RefTable) {
    match *extent {
        Extent::Chunk { id, offset, length } => {
            writer.u8(0);
            writer.u32(refs.chunk(id));
            writer.u32(offset);
            writer.u32(length);
        }
        Extent::Hole { length } => {
            writer.u8(1);
            writer.u64(length);
        }
    }
}

/// Reads what [`encode_extent`] wrote.
///
/// # Errors
/// It is malformed or empty.
pub fn decode_extent(reader: &mut Reader<'_>, refs: &mut RefUse<'_>) -> Result<Extent, FormatError> {
    let extent = match reader.u8()? {
        0 => Extent::Chunk { id: refs.chunk(reader.u32()?)?, offset: reader.u32()?, length: reader.u32()? },
        1 => Extent::Hole { length: reader.u64()? },
        _ => return Err(FormatError::Malformed("an extent")),
    };
    if extent.length() == 0 { Err(FormatError::Malformed("an extent")) } else { Ok(extent) }
}

fn attribute_tags(attributes: &Attributes, refs: &mut RefTable) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut add = |id, bytes| tags.push(Tag { id, bytes });
    if let Some(birth) = attributes.birth {
        let mut writer = Writer::new();
        encode_time(&mut writer, birth);
        add(TAG_BIRTH, writer.into_vec());
    }
    if attributes.inode_flags != 0 {
        add(TAG_INODE_FLAGS, attributes.inode_flags.to_le_bytes().to_vec());
    }
    if let Some(group) = attributes.link_group {
        add(TAG_LINK_GROUP, group.to_vec());
    }
    if let Some(target) = &attributes.link_target {
        add(TAG_LINK_TARGET, target.clone());
    }
    if let Some((major, minor)) = attributes.device {
        add(TAG_DEVICE, [major.to_le_bytes(), minor.to_le_bytes()].concat());
    }
    match &attributes.xattrs {
        Xattrs::None => {}
        Xattrs::Inline(pairs) => add(TAG_XATTRS, encode_xattrs(pairs)),
        Xattrs::Chunk(id) => add(TAG_XATTRS_CHUNK, refs.chunk(*id).to_le_bytes().to_vec()),
    }
    tags.extend(attributes.unknown.iter().map(|(id, bytes)| Tag { id: *id, bytes: bytes.clone() }));
    tags.sort_by_key(|tag| tag.id);
    tags
}

/// Name and value of an extended attribute.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Encodes extended attributes: count 4, then {name, value}.
#[must_use]
pub fn encode_xattrs(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.count(pairs.len());
    for (name, value) in pairs {
        writer.bytes16(name);
        writer.bytes32(value);
    }
    writer.into_vec()
}

/// Reads what [`encode_xattrs`] wrote.
///
/// # Errors
/// It is malformed or too long, or names do not ascend.
pub fn decode_xattrs(bytes: &[u8]) -> Result<Vec<Pair>, FormatError> {
    if bytes.len() > XATTRS_BYTES_MAX {
        return Err(FormatError::TooLong("an extended attribute"));
    }
    let mut reader = Reader::new(bytes);
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..reader.count(6)? {
        let name = reader.bytes16()?.to_vec();
        let value = reader.bytes32("an extended attribute", XATTRS_BYTES_MAX as u32)?.to_vec();
        if pairs.last().is_some_and(|(last, _)| *last >= name) {
            return Err(FormatError::Malformed("the order of extended attributes"));
        }
        pairs.push((name, value));
    }
    reader.end()?;
    Ok(pairs)
}

/// Reads what [`encode_entry`] wrote.
///
/// # Errors
/// It is malformed or of a later version.
pub fn decode_entry(
    reader: &mut Reader<'_>,
    key: Vec<u8>,
    owners: &[Arc<Owner>],
    refs: &mut RefUse<'_>,
) -> Result<Entry, FormatError> {
    let kind = decode_kind(reader.u8()?)?;
    let mode = reader.u16()?;
    let owner = owners.get(usize::from(reader.u16()?)).ok_or(FormatError::Malformed("an owner"))?;
    let mtime = decode_time(reader)?;
    let size = reader.u64()?;
    let flags = reader.u8()?;
    if flags & !7 != 0 || mode > 0o7777 {
        return Err(FormatError::Malformed("the flags of an entry"));
    }
    let digest = if flags & 4 != 0 { Some(reader.array()?) } else { None };
    let content = decode_content(reader, refs)?;
    let tags = reader.tags("an entry", &CRITICAL)?;
    let mut attributes = Attributes { grown: flags & 1 != 0, torn: flags & 2 != 0, ..Attributes::default() };
    for tag in tags {
        decode_attribute(&mut attributes, tag, refs)?;
    }
    let entry = Entry { key, kind, mode, owner: Arc::clone(owner), mtime, size, content, digest, attributes };
    check_entry(&entry)?;
    Ok(entry)
}

fn check_entry(entry: &Entry) -> Result<(), FormatError> {
    let covered = match &entry.content {
        Content::None => entry.size == 0,
        Content::Inline(bytes) => bytes.len() as u64 == entry.size,
        Content::Extents(extents) => {
            extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.length())) == Some(entry.size)
        }
        Content::Tree(_) => true,
    };
    let attributes = &entry.attributes;
    let points = attributes.link_target.as_ref().is_some_and(|target| !target.is_empty());
    let device = matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice);
    if points != (entry.kind == Kind::Symlink)
        || attributes.link_target.is_some() != points
        || attributes.device.is_some() != device
    {
        return Err(FormatError::Malformed("the attributes of an entry"));
    }
    let file = entry.kind == Kind::File;
    if covered && (file || entry.content == Content::None) && entry.digest.is_some() == file {
        Ok(())
    } else {
        Err(FormatError::Malformed("the content of an entry"))
    }
}

fn decode_kind(byte: u8) -> Result<Kind, FormatError> {
    [
        Kind::File,
        Kind::Directory,
        Kind::Symlink,
        Kind::Fifo,
        Kind::Socket,
        Kind::CharDevice,
        Kind::BlockDevice,
    ]
    .into_iter()
    .find(|kind| *kind as u8 == byte)
    .ok_or_else(|| FormatError::Newer(format!("entry kind {byte}")))
}

fn decode_time(reader: &mut Reader<'_>) -> Result<Time, FormatError> {
    let time = Time { seconds: reader.i64()?, nanos: reader.u32()? };
    if time.nanos < 1_000_000_000 { Ok(time) } else { Err(FormatError::Malformed("a time")) }
}

fn decode_content(reader: &mut Reader<'_>, refs: &mut RefUse<'_>) -> Result<Content, FormatError> {
    match reader.u8()? {
        0 => Ok(Content::None),
        1 => {
            let bytes = reader.bytes16()?;
            if bytes.is_empty() || bytes.len() > INLINE_BYTES_MAX {
                return Err(FormatError::Malformed("an inline content"));
            }
            Ok(Content::Inline(bytes.to_vec()))
        }
        2 => {
            let count = usize::from(reader.u8()?);
            if count == 0 || count > EXTENTS_INLINE_MAX {
                return Err(FormatError::Malformed("the extents of an entry"));
            }
            (0..count).map(|_| decode_extent(reader, refs)).collect::<Result<_, _>>().map(Content::Extents)
        }
        3 => Ok(Content::Tree(refs.child(reader.u32()?)?)),
        other => Err(FormatError::Newer(format!("content kind {other}"))),
    }
}

fn decode_attribute(attributes: &mut Attributes, tag: Tag, refs: &mut RefUse<'_>) -> Result<(), FormatError> {
    let is_xattrs = matches!(tag.id, TAG_XATTRS | TAG_XATTRS_CHUNK);
    if is_xattrs && attributes.xattrs != Xattrs::None {
        return Err(FormatError::Malformed("the extended attributes of an entry"));
    }
    let mut reader = Reader::new(&tag.bytes);
    match tag.id {
        TAG_BIRTH => attributes.birth = Some(decode_time(&mut reader)?),
        TAG_INODE_FLAGS => attributes.inode_flags = reader.u32()?,
        TAG_LINK_GROUP => attributes.link_group = Some(reader.array()?),
        TAG_DEVICE => attributes.device = Some((reader.u32()?, reader.u32()?)),
        TAG_XATTRS_CHUNK => attributes.xattrs = Xattrs::Chunk(refs.chunk(reader.u32()?)?),
        TAG_XATTRS => {
            if tag.bytes.len() > XATTRS_INLINE_BYTES_MAX {
                return Err(FormatError::TooLong("an extended attribute"));
            }
            attributes.xattrs = Xattrs::Inline(decode_xattrs(&tag.bytes)?);
            return Ok(());
        }
        TAG_LINK_TARGET => {
            attributes.link_target = Some(tag.bytes);
            return Ok(());
        }
        id => {
            attributes.unknown.push((id, tag.bytes));
            return Ok(());
        }
    }
    reader.end()
}

/// Encodes an entry with its own tables, for a place outside a page: references, owners, key, entry.
#[must_use]
pub fn encode_alone(entry: &Entry) -> Vec<u8> {
    let (mut owners, mut refs) = (OwnerTable::default(), RefTable::default());
    let mut body = Writer::new();
    encode_entry(&mut body, entry, &mut owners, &mut refs);
    let mut writer = Writer::new();
    writer.bytes32(&refs.take().encode());
    owners.encode(&mut writer);
    writer.bytes16(&entry.key);
    writer.raw(body.as_slice());
    writer.into_vec()
}

/// Reads what [`encode_alone`] wrote.
///
/// # Errors
/// It is malformed or of a later version.
pub fn decode_alone(bytes: &[u8]) -> Result<Entry, FormatError> {
    let mut reader = Reader::new(bytes);
    let refs = Refs::decode(reader.bytes32("references", 1 << 20)?)?;
    let owners = OwnerTable::decode(&mut reader)?;
    let key = reader.bytes16()?.to_vec();
    let mut used = RefUse::new(&refs);
    let entry = decode_entry(&mut reader, key, &owners, &mut used)?;
    used.end()?;
    reader.end()?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn special(kind: Kind, attributes: Attributes) -> Entry {
        Entry {
            key: b"a".to_vec(),
            kind,
            mode: 0o600,
            owner: Arc::default(),
            mtime: Time::default(),
            size: 0,
            content: Content::None,
            digest: (kind == Kind::File).then_some([7; 32]),
            attributes,
        }
    }

    fn target(target: &[u8]) -> Attributes {
        Attributes { link_target: Some(target.to_vec()), ..Attributes::default() }
    }

    fn device() -> Attributes {
        Attributes { device: Some((1, 3)), ..Attributes::default() }
    }

    #[test]
    fn links_have_targets_devices_have_numbers_and_nothing_else_has() {
        let bare = Attributes::default;
        for (kind, attributes) in [
            (Kind::File, bare()),
            (Kind::Symlink, target(b"x")),
            (Kind::CharDevice, device()),
            (Kind::BlockDevice, device()),
            (Kind::Fifo, bare()),
        ] {
            let entry = special(kind, attributes);
            assert_eq!(decode_alone(&encode_alone(&entry)).unwrap(), entry);
        }
        for (kind, attributes) in [
            (Kind::Symlink, bare()),
            (Kind::Symlink, target(b"")),
            (Kind::Symlink, Attributes { device: Some((1, 3)), ..target(b"x") }),
            (Kind::File, target(b"x")),
            (Kind::File, target(b"")),
            (Kind::Directory, device()),
            (Kind::CharDevice, bare()),
            (Kind::BlockDevice, bare()),
        ] {
            let refused = decode_alone(&encode_alone(&special(kind, attributes)));
            assert_eq!(refused, Err(FormatError::Malformed("the attributes of an entry")), "{kind:?}");
        }
    }

    #[test]
    fn extended_attributes_lie_in_one_place_and_have_limits() {
        let pairs = |bytes| vec![(b"user.a".to_vec(), vec![7; bytes])];
        let with = |bytes| Attributes { xattrs: Xattrs::Inline(pairs(bytes)), ..Attributes::default() };
        let read = |attributes| decode_alone(&encode_alone(&special(Kind::File, attributes)));
        let around = encode_xattrs(&pairs(0)).len();
        assert!(read(with(XATTRS_INLINE_BYTES_MAX - around)).is_ok());
        assert!(read(with(XATTRS_INLINE_BYTES_MAX - around + 1)).is_err());
        assert!(decode_xattrs(&encode_xattrs(&pairs(XATTRS_BYTES_MAX - around))).is_ok());
        assert!(decode_xattrs(&encode_xattrs(&pairs(XATTRS_BYTES_MAX - around + 1))).is_err());
        let mut both = with(1);
        both.unknown = vec![(TAG_XATTRS_CHUNK, vec![0; 4])];
        assert_eq!(read(both), Err(FormatError::Malformed("the extended attributes of an entry")));
    }

    #[test]
    fn references_are_each_there_once_and_used_in_order() {
        let mut table = RefTable::default();
        let (one, two) = (ChunkId([1; 32]), ChunkId([2; 32]));
        assert_eq!([table.child(one), table.child(two), table.child(one)], [0, 1, 0]);
        assert_eq!([table.chunk(one), table.chunk(one)], [0, 0]);
        let refs = table.take();
        assert_eq!(Refs::decode(&refs.encode()).unwrap(), refs);
        let twice = Refs { children: vec![one, one], chunks: vec![] };
        assert!(Refs::decode(&twice.encode()).is_err());
        let mut used = RefUse::new(&refs);
        assert!(used.child(1).is_err(), "row 0 comes first");
        assert_eq!(used.child(0), Ok(one));
        assert_eq!(used.child(0), Ok(one));
        assert_eq!(used.child(1), Ok(two));
        assert!(used.child(2).is_err());
        assert!(used.end().is_err(), "the chunk is not used");
        assert_eq!(used.chunk(0), Ok(one));
        assert_eq!(used.end(), Ok(()));
    }

    #[test]
    #[should_panic(expected = "keys have a limit")]
    fn keys_over_the_limit_are_not_written() {
        encode_key(&mut Writer::new(), &[7; KEY_BYTES_MAX], &[7; KEY_BYTES_MAX + 1]);
    }
}
