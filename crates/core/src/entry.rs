//! The entry: what a snapshot records of one file, folder, link, device or object.
//!
//! On purpose not here: inode number, change time, device number and access time. They differ
//! after every restore and between hosts, so they would break the sharing of pages; they live
//! in the stat cache of the host that reads the source.

use crate::id::ChunkId;
use std::sync::Arc;

/// An instant as a file system states it: seconds since 1970 and nanoseconds after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanos: u32,
}

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A regular file or an object of a bucket.
    File = 1,
    /// A folder.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A Unix socket; only its name and metadata are kept.
    Socket = 5,
    /// A character device.
    CharDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

/// Who owns an entry: by number, and by name where the capturing host knew one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// User name, empty when unknown.
    pub user: String,
    /// Group name, empty when unknown.
    pub group: String,
}

/// A slice of a file's content: where it lies in a chunk, or that it is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// `length` bytes from `offset` on of the chunk's plaintext.
    Chunk {
        /// The chunk.
        id: ChunkId,
        /// First byte within the chunk's plaintext.
        offset: u32,
        /// Length in bytes; never zero.
        length: u32,
    },
    /// `length` bytes that the file system does not store and reads as zeros.
    Hole {
        /// Length in bytes; never zero.
        length: u64,
    },
}

impl Extent {
    /// Bytes of the file that the extent stands for.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match *self {
            Self::Chunk { length, .. } => length as u64,
            Self::Hole { length } => length,
        }
    }
}

/// Where the content of a file lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Content {
    /// There is none: not a file, or an empty one.
    #[default]
    None,
    /// The bytes themselves, at most [`INLINE_BYTES_MAX`].
    Inline(Vec<u8>),
    /// Extents in order of their offset, at most [`EXTENTS_INLINE_MAX`].
    Extents(Vec<Extent>),
    /// The root page of a tree of extents keyed by offset.
    Tree(ChunkId),
}

/// Contents up to this size lie in the page itself.
pub const INLINE_BYTES_MAX: usize = 512;
/// Files with more extents than this keep them in a tree of their own.
pub const EXTENTS_INLINE_MAX: usize = 16;

/// BLAKE3-256 of a file's content, unkeyed, as `b3sum` prints it (holes: see FORMAT.md).
pub type Digest = [u8; 32];

/// Extended attributes, sorted by name; POSIX ACLs and file capabilities are among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Xattrs {
    /// There are none.
    #[default]
    None,
    /// (name, value) pairs in order of their names.
    Inline(Vec<(Vec<u8>, Vec<u8>)>),
    /// Too large for the page: a data chunk that holds the encoded pairs.
    Chunk(ChunkId),
}

/// What most entries do not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// Where a symbolic link points to.
    pub link_target: Option<Vec<u8>>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// When the entry was created, where the file system tells.
    pub birth: Option<Time>,
    /// Inode flags as `lsattr` shows them (`FS_IOC_GETFLAGS`), only those that a restore sets.
    pub inode_flags: u32,
    /// Names the group of hard links that the entry belongs to.
    pub link_group: Option<[u8; 16]>,
    /// The content grew while it was read; it is stored up to its length at open.
    pub grown: bool,
    /// The content changed in every attempt to read it; what is stored is a mix.
    pub torn: bool,
    /// Tags of later versions that are not critical: kept and passed on, (id, bytes).
    pub unknown: Vec<(u16, Vec<u8>)>,
}

/// One entry of a snapshot's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies in the tree; for paths the components with 0x00 between them, no leading one.
    pub key: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u16,
    /// Who owns it.
    pub owner: Arc<Owner>,
    /// When the content was last modified.
    pub mtime: Time,
    /// Content length in bytes; zero for what has none.
    pub size: u64,
    /// Where the content lies.
    pub content: Content,
    /// Hash of the content; present for every file, empty ones included.
    pub digest: Option<Digest>,
    /// Everything that most entries do not have.
    pub attributes: Attributes,
}

/// Turns a tree key into a path with slashes, without a leading one; bytes are kept as they are.
#[must_use]
pub fn key_to_path(key: &[u8]) -> Vec<u8> {
    key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
}

/// Turns a path (with or without a leading slash, repeated and trailing slashes ignored) into a tree key.
#[must_use]
pub fn path_to_key(path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len());
    for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        if !key.is_empty() {
            key.push(0);
        }
        key.extend_from_slice(part);
    }
    key
}
