//! What a source gives: entries in batches, their contents on request.
//!
//! Everything here is called from worker threads and may block. On purpose not here: what a
//! source reads. Files, buckets and databases look the same from the engine.

use crate::outcome::Problems;
use holdfast_core::entry::{Entry, Kind, Owner, Time};
use holdfast_core::page::KeySpace;
use holdfast_core::session::LogSpan;
use std::ops::Range;
use std::sync::Arc;

/// Contents up to this size are read whole by [`ItemReader::examine`] and go into bundles.
pub const SMALL_FILE_BYTES_MAX: u64 = 128 * 1024;

/// An item that changed later than this before it was read may change again under the same times, in
/// seconds.
pub const UNSETTLED_SECONDS: i64 = 2;

/// Whether keys come in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Keys ascend over the whole capture.
    Sorted,
    /// Keys come as they come; the engine sorts entries, never contents.
    Arrival,
}

/// Which source this is; its stream of snapshots hangs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceIdentity {
    /// Kind in one word: "files".
    pub kind: String,
    /// Host that the source belongs to.
    pub host: String,
    /// Canonical name of what is captured; same text, same stream.
    pub canonical: String,
    /// Paths or URLs for people, bytes kept as they are.
    pub paths: Vec<Vec<u8>>,
}

/// What the listing tells of an item, and all that decides whether it is unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u16,
    /// Who owns it.
    pub owner: Arc<Owner>,
    /// Content length in bytes; zero for what is not a file.
    pub size: u64,
    /// When the content was modified.
    pub mtime: Time,
    /// When anything of it was changed.
    pub ctime: Time,
    /// Inode number, or a hash of what stands for it.
    pub inode: u64,
    /// Device number; only to tell hard links of different file systems apart.
    pub device_of: u64,
    /// How many names it has; above one, files with the same (`device_of`, `inode`) are one.
    pub links: u32,
    /// Major and minor number if it is a device.
    pub device: Option<(u32, u32)>,
    /// Fewer blocks than bytes: it may have holes and is read as a stream.
    pub sparse: bool,
}

/// What decides whether content is unchanged, of what a [`Stat`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Proof {
    /// Content length in bytes.
    pub size: u64,
    /// When the content was modified.
    pub mtime: Time,
    /// When anything of it was changed.
    pub ctime: Time,
    /// Inode number, or a hash of what stands for it.
    pub inode: u64,
    /// See [`Aside::mark`]; it decides of details only.
    pub mark: u64,
}

impl From<&Stat> for Proof {
    fn from(stat: &Stat) -> Self {
        Self { size: stat.size, mtime: stat.mtime, ctime: stat.ctime, inode: stat.inode, mark: 0 }
    }
}

impl Proof {
    /// Whether both are of the same content.
    #[must_use]
    pub fn is_of_content(&self, other: &Self) -> bool {
        Self { mark: 0, ..*self } == Self { mark: 0, ..*other }
    }
}

/// Tells from an entry and its extended attributes what the listing says of it while it is
/// unchanged; `None` if the entry does not prove it.
pub type Prover = fn(&Entry, &[(Vec<u8>, Vec<u8>)]) -> Option<Proof>;

/// One listed thing.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where its key lies in [`EntryBatch::keys`].
    pub key: Range<usize>,
    /// What the listing told.
    pub stat: Stat,
    /// What it told of details that may change while the content does not.
    pub aside: Aside,
}

/// What a listing tells of details that change without a trace in a [`Stat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aside {
    /// Stands for what the listing shows of them. Where it alone differs from last time, details
    /// are read again and content is not.
    pub mark: u64,
    /// They are to be read again, even if nothing that is listed differs.
    pub look: bool,
}

/// Why an item is kept without its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lack {
    /// What to tell, in words, without the path.
    pub what: String,
    /// Somebody said that this is no problem.
    pub accepted: bool,
    /// Attributes that say so of the entry, beside those of its details.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What reading told beyond the listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Where a symbolic link points to.
    pub link_target: Option<Vec<u8>>,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Creation time.
    pub birth: Option<Time>,
    /// Inode flags that a restore can set.
    pub inode_flags: u32,
    /// Parts of the details that could not be read, in words; the entry is kept without them.
    pub unreadable: Vec<String>,
    /// The content cannot be had, and the item is kept without it, to be examined again next time.
    pub lack: Option<Lack>,
}

/// How a content ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// It did not change while it was read.
    Stable,
    /// It is longer now; what was given ends at its length at open, and is to be compared with what is
    /// there by then.
    Grown,
    /// It changed otherwise; it is worth another attempt.
    Torn,
}

/// What examining an item told.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The item as it was when its content was opened; for what has no content, as listed.
    pub stat: Stat,
    /// What the listing does not tell.
    pub details: Details,
    /// Whether the content held still.
    pub status: ReadStatus,
}

/// Why an item could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// Nothing has its name any more; nothing is lost that was there.
    #[error("vanished while the source was read")]
    Vanished,
    /// It is there and cannot be read.
    #[error("{operation}")]
    Unreadable {
        /// What was tried: "open", "read", "list".
        operation: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl ItemError {
    /// Whether the handle lost its file while there may be another one of the name: it is worth another
    /// attempt.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let kind = match self {
            Self::Unreadable { source, .. } => source.kind(),
            Self::Vanished => return false,
        };
        kind == std::io::ErrorKind::StaleNetworkFileHandle
    }
}

/// Why a source failed as a whole: nothing is committed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SourceError {
    /// What failed, on what, and what to do.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: Option<std::io::Error>,
}

/// A run of listed items with the means to read them.
pub struct EntryBatch {
    /// Keys of all items, one after the other.
    pub keys: Vec<u8>,
    /// The items, in the source's order.
    pub items: Vec<Item>,
    /// Reads them, from any thread, also after the next batch was asked for.
    pub reader: Arc<dyn ItemReader>,
    /// What the listing itself met.
    pub problems: Problems,
}

impl EntryBatch {
    /// Returns the key of an item.
    #[must_use]
    pub fn key(&self, item: usize) -> &[u8] {
        &self.keys[self.items[item].key.clone()]
    }
}

/// Reads the items of one batch.
pub trait ItemReader: Send + Sync {
    /// Says that an item will be read soon, in the order in which it is: whatever answers slowly
    /// may be asked now. Must not block.
    fn expect(&self, _item: usize) {}

    /// Reads an item's details and appends its whole content to `content`, if it is a file.
    /// Called for files up to [`SMALL_FILE_BYTES_MAX`] that are not sparse, and for everything
    /// that is no file. When the file grew past the size listed, what is appended still ends
    /// at its length at open; when it is now larger than the limit, `Torn` is answered.
    ///
    /// # Errors
    /// The item vanished or cannot be read.
    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError>;

    /// The same as [`ItemReader::expect`], of an item whose details alone will be read.
    fn expect_details(&self, _item: usize) {}

    /// Reads the details of an item, and nothing of its content. `None` if it is not what was
    /// listed any more, or if details cannot be read alone: then it is examined.
    ///
    /// # Errors
    /// The item vanished or cannot be looked at.
    fn details(&self, _item: usize) -> Result<Option<Details>, ItemError> {
        Ok(None)
    }

    /// Whether a file is one of a database: of blocks that are written in place, whose length is a
    /// multiple or a divisor of 8 KiB. Then those that changed are stored, and no others, if it is
    /// larger than [`SMALL_FILE_BYTES_MAX`] and not sparse. Asked before it is opened.
    fn has_blocks(&self, _item: usize) -> bool {
        false
    }

    /// Opens a file's content as a stream.
    ///
    /// # Errors
    /// The item vanished or cannot be read.
    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError>;
}

/// A piece of a content stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes were put at the front of the buffer; never zero.
    Data(usize),
    /// So many bytes are a hole; never zero.
    Hole(u64),
    /// The content ended.
    End,
}

/// The content of one file, read from its start.
pub trait ContentStream: Send {
    /// The item as it was at open, and its details.
    fn opened(&self) -> (&Stat, &Details);

    /// Reads the next piece into `buffer`; fills it as far as the content allows.
    ///
    /// # Errors
    /// The system failed to read.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError>;

    /// Tells whether the content held still; called once, after `End`.
    ///
    /// # Errors
    /// The system failed to tell.
    fn finish(&mut self) -> Result<ReadStatus, ItemError>;
}

/// Reads a file's content for [`ItemReader::examine`] from its stream, where there is no other way to it.
///
/// # Errors
/// It cannot be opened or read.
pub fn examine_by_stream(
    reader: &dyn ItemReader,
    item: usize,
    mut stat: Stat,
    content: &mut Vec<u8>,
) -> Result<Examined, ItemError> {
    if stat.kind == Kind::File {
        let mut stream = reader.open(item)?;
        let mut buffer = vec![0; 64 * 1024];
        while let Piece::Data(bytes) = stream.read(&mut buffer)? {
            content.extend_from_slice(&buffer[..bytes]);
        }
        stream.finish()?;
        stat.size = content.len() as u64;
    }
    Ok(Examined { stat, details: Details::default(), status: ReadStatus::Stable })
}

/// What a source states when everything was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsistencyPoint {
    /// Opaque bytes of the adapter, kept in the snapshot.
    pub record: Vec<u8>,
    /// Facts that a drill can check later, (name, value).
    pub facts: Vec<(String, String)>,
    /// What it needs of a database's log, where that is archived: every member may see it.
    pub log: Option<LogSpan>,
}

/// What the run before left for the next one of the same stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// Facts of its snapshot; `None` if there is a snapshot that this key cannot read. Empty if
    /// there is none.
    pub facts: Option<Vec<(String, String)>>,
    /// When this run began.
    pub start: Time,
    /// This run leaves no snapshot, and so no facts, if nothing changed.
    pub may_leave_none: bool,
    /// Keys of it, ascending, about evenly apart, if the source asked for them; what is there now may
    /// have none of them.
    pub landmarks: Vec<Vec<u8>>,
}

/// What became of the files that a source listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Read, or with new details.
    pub stored: u64,
    /// As they were last time.
    pub unchanged: u64,
    /// Kept without their content.
    pub lacking: u64,
    /// Not read, for a reason that was told.
    pub unreadable: u64,
    /// Gone before they were read.
    pub vanished: u64,
}

/// One thing that can be captured.
pub trait Source: Send {
    /// Says which source this is.
    fn identity(&self) -> &SourceIdentity;

    /// Says in which order keys come.
    fn order(&self) -> Order;

    /// Says what its keys are.
    fn key_space(&self) -> KeySpace {
        KeySpace::Paths
    }

    /// A file that changed later than so many seconds before it was read may change again without a
    /// trace in what is listed: next time it is read again.
    fn unsettled_seconds(&self) -> i64 {
        UNSETTLED_SECONDS
    }

    /// Tells from entries what the listing has to say of unchanged items, for when the stat cache
    /// is lost. `None` if entries prove nothing, as with files, whose change times and inodes are
    /// not recorded.
    fn prover(&self) -> Option<Prover> {
        None
    }

    /// Whether some of its files are those of a database ([`ItemReader::has_blocks`]): then the block
    /// map of the last snapshot is looked for before it begins.
    fn has_blocks(&self) -> bool {
        false
    }

    /// Whether it goes on from where the run before it was: then [`Source::go_on`] is called first.
    fn goes_on(&self) -> bool {
        false
    }

    /// How many entries apart the source wants to know keys of the snapshot before, so that it can list
    /// several stretches at once. `None` if it has no use for them.
    fn landmarks(&self) -> Option<u64> {
        None
    }

    /// Takes what the run before it left.
    fn go_on(&mut self, _before: &Before) {}

    /// Lists the next items; `None` when there are no more. Batches hold some hundred items.
    ///
    /// # Errors
    /// The source failed as a whole.
    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError>;

    /// Hears what became of everything that it listed, before it ends; returns what it still has
    /// to tell.
    fn account(&mut self, _account: &Account) -> Problems {
        Problems::default()
    }

    /// Ends the capture.
    ///
    /// # Errors
    /// The source cannot vouch for what it gave; nothing is committed.
    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError>;

    /// The same source once more from its beginning, for when what was stored of it has to be
    /// stored again; `None` for what can be read only once.
    fn again(&self) -> Option<Box<dyn Source>> {
        None
    }
}
