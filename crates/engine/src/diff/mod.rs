//! Compares two trees, entry by entry; equal pages are passed over without reading them.
//!
//! On purpose not here: where the other side comes from ([`trees`], [`live`]), and renamed files:
//! one that moved is removed here and added there.

mod live;
mod trees;

pub use live::{LeftOut, Live, LiveOptions, diff_live};
pub use trees::diff;

use holdfast_core::configuration::CONFIGURATION_KEY;
use holdfast_core::entry::{Entry, Kind};

/// What a comparison looks at, beyond contents and kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// Modes, owners, times, extended attributes and inode flags too.
    pub metadata: bool,
}

/// How an entry differs that both sides have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modified {
    /// It is another kind of thing.
    pub kind: bool,
    /// Its content, or what a link or device points to.
    pub content: bool,
    /// Its mode, owner, time, extended attributes or flags.
    pub metadata: bool,
    /// Its content differs although size and time are the same: nobody wrote it in the usual way.
    pub suspicious: bool,
}

impl Modified {
    fn is_any(self) -> bool {
        self.kind || self.content || self.metadata
    }
}

/// One difference.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Only the later side has it.
    Added(&'a Entry),
    /// Only the earlier side has it.
    Removed(&'a Entry),
    /// Both have it, and it differs.
    Modified {
        /// As the earlier side has it.
        before: &'a Entry,
        /// As the later side has it.
        after: &'a Entry,
        /// How it differs.
        how: Modified,
    },
}

/// Takes a difference with the key relative to what is compared.
pub type TakeChange<'a> = &'a mut (dyn FnMut(&[u8], &Change<'_>) + Send);

/// How many there are of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffCounts {
    /// Files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, devices, pipes, sockets.
    pub others: u64,
    /// Content of the files in bytes, holes included.
    pub bytes: u64,
}

impl DiffCounts {
    fn add(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.size);
            }
            Kind::Directory => self.directories += 1,
            _ => self.others += 1,
        }
    }
}

/// What differing entries refer to in the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffStored {
    /// Data chunks.
    pub chunks: u64,
    /// What they take, in bytes.
    pub chunk_bytes: u64,
    /// Pages.
    pub pages: u64,
    /// What they take, in bytes.
    pub page_bytes: u64,
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffReport {
    /// What only the later side has.
    pub added: DiffCounts,
    /// What only the earlier side has.
    pub removed: DiffCounts,
    /// Files whose content changed.
    pub files_changed: u64,
    /// Other things that are not what they were.
    pub others_changed: u64,
    /// Size of the files that changed, on the earlier side, in bytes.
    pub bytes_changed_before: u64,
    /// The same on the later side.
    pub bytes_changed_after: u64,
    /// Entries of which only the metadata changed.
    pub metadata_changed: u64,
    /// Files with other content under the same size and time.
    pub suspicious: u64,
    /// What only the later of two snapshots refers to, as far as was looked.
    pub stored_added: DiffStored,
    /// What only the earlier one refers to.
    pub stored_removed: DiffStored,
    /// Pages that were read.
    pub pages_read: u64,
}

impl DiffReport {
    fn note(&mut self, change: &Change<'_>) {
        match change {
            Change::Added(entry) => self.added.add(entry),
            Change::Removed(entry) => self.removed.add(entry),
            Change::Modified { before, after, how } => self.note_modified(before, after, *how),
        }
    }

    fn note_modified(&mut self, before: &Entry, after: &Entry, how: Modified) {
        self.suspicious += u64::from(how.suspicious);
        if !how.kind && !how.content {
            self.metadata_changed += 1;
            return;
        }
        let both_files = before.kind == Kind::File && after.kind == Kind::File;
        *(if both_files { &mut self.files_changed } else { &mut self.others_changed }) += 1;
        let sides = [(before, &mut self.bytes_changed_before), (after, &mut self.bytes_changed_after)];
        for (entry, bytes) in sides.into_iter().filter(|(entry, _)| entry.kind == Kind::File) {
            *bytes = bytes.saturating_add(entry.size);
        }
    }

    /// Whether the two sides are the same, as far as was looked.
    #[must_use]
    pub fn is_same(&self) -> bool {
        let nothing = DiffCounts::default();
        self.added == nothing
            && self.removed == nothing
            && self.files_changed + self.others_changed + self.metadata_changed == 0
    }
}

/// Compares all that does not need the content itself; `content` says what is known of that.
fn compare(before: &Entry, after: &Entry, content: bool, options: DiffOptions) -> Modified {
    let kind = before.kind != after.kind;
    let content = !kind && (content || points_elsewhere(before, after));
    let metadata = options.metadata && !same_metadata(before, after);
    let suspicious = content
        && before.kind == Kind::File
        // It has no time that could change with it.
        && before.key != CONFIGURATION_KEY
        && (before.size, before.mtime) == (after.size, after.mtime)
        && !before.attributes.torn
        && !after.attributes.torn;
    Modified { kind, content, metadata, suspicious }
}

fn points_elsewhere(before: &Entry, after: &Entry) -> bool {
    let (one, other) = (&before.attributes, &after.attributes);
    (&one.link_target, one.device) != (&other.link_target, other.device)
}

/// Hard links and creation times are left out: a restored tree has others.
fn same_metadata(before: &Entry, after: &Entry) -> bool {
    (before.mode, &before.owner, before.mtime) == (after.mode, &after.owner, after.mtime)
        && before.attributes.xattrs == after.attributes.xattrs
        && before.attributes.inode_flags == after.attributes.inode_flags
}

/// The part of a key below what is compared.
fn relative<'a>(key: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    let rest = &key[prefix.len().min(key.len())..];
    rest.strip_prefix(&[0]).unwrap_or(rest)
}
