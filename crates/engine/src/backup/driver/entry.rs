//! Makes entries of what was read: attributes, and the stamp under which one may be taken as
//! unchanged next time.
//!
//! On purpose not here: contents.

use super::super::large::ATTEMPTS;
use super::{Driver, Pending};
use crate::cache::Stamp;
use crate::outcome::{NoticeKind, ProblemKind};
use crate::packer::Claim;
use crate::source::{Details, ReadStatus, Stat, UNSETTLED_SECONDS};
use holdfast_core::entry::{Attributes, Content, Entry, Kind, Time, Xattrs};
use holdfast_core::entry_code::{XATTRS_INLINE_BYTES_MAX, encode_xattrs};
use holdfast_core::id::ChunkId;
use holdfast_core::keys::ChunkKind;
use std::sync::Arc;

impl Driver {
    /// Makes an entry without content.
    pub(super) fn entry(&mut self, pending: &Pending, stat: &Stat, details: Details) -> Entry {
        let key = pending.key().to_vec();
        for what in &details.unreadable {
            self.problem(&key, ProblemKind::Attribute, what.clone());
        }
        let attributes = Attributes {
            link_target: details.link_target,
            device: stat.device,
            xattrs: self.xattrs(details.xattrs),
            birth: details.birth,
            inode_flags: details.inode_flags,
            ..Attributes::default()
        };
        Entry {
            key,
            kind: stat.kind,
            mode: stat.mode,
            owner: Arc::clone(&stat.owner),
            mtime: stat.mtime,
            size: 0,
            content: Content::None,
            digest: None,
            attributes,
        }
    }

    /// Puts extended attributes where they belong: into the page, or into a chunk.
    pub(super) fn xattrs(&mut self, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Xattrs {
        let encoded = encode_xattrs(&xattrs);
        if xattrs.is_empty() {
            Xattrs::None
        } else if encoded.len() <= XATTRS_INLINE_BYTES_MAX {
            Xattrs::Inline(xattrs)
        } else {
            Xattrs::Chunk(self.store_alone(&encoded))
        }
    }

    fn store_alone(&mut self, bytes: &[u8]) -> ChunkId {
        let id = self.packer.sealer().identifier.chunk(ChunkKind::Data, bytes);
        if self.packer.claim(ChunkKind::Data, &id) == Claim::New {
            let mut scratch = self.packer.scratch();
            self.packer.store_data(&id, bytes, &mut scratch);
            self.packer.give_back(scratch);
        }
        id
    }

    /// Notes how the content ended; returns the stamp under which it may be taken as unchanged
    /// next time, if it may.
    pub(super) fn status(
        &mut self,
        pending: &Pending,
        entry: &mut Entry,
        stat: &Stat,
        status: ReadStatus,
        began: Time,
    ) -> Option<Stamp> {
        // Only the content of a file changes without a trace.
        let is_file = stat.kind == Kind::File;
        let limit = began.seconds - if is_file { self.source.unsettled_seconds() } else { UNSETTLED_SECONDS };
        let settled = stat.mtime.max(stat.ctime) < Time { seconds: limit, nanos: began.nanos };
        match status {
            // The mark is the listing's own: it is compared with that of another listing.
            ReadStatus::Stable => {
                return settled.then(|| Stamp { mark: pending.aside().mark, ..Stamp::from(stat) });
            }
            ReadStatus::Grown => {
                entry.attributes.grown = true;
                self.notice(
                    &entry.key,
                    NoticeKind::Grown,
                    "grew while it was read; stored up to its length at the start",
                );
            }
            ReadStatus::Torn => {
                entry.attributes.torn = true;
                let what =
                    format!("changed during each of {ATTEMPTS} attempts to read it; what is stored is a mix");
                self.problem(&entry.key, ProblemKind::Torn, what);
            }
        }
        None
    }
}
