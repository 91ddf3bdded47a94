//! A folder that is being restored.
//!
//! On purpose not here: which folder an entry belongs to.

use super::attributes::{Applied, Subject};
use super::existing::Inside;
use super::shared::{Shared, one_more};
use crate::directory::{DIRECTORY, Directory};
use holdfast_core::entry::Entry;
use holdfast_engine::outcome::{NoticeKind, ProblemKind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, fchmod, mkdirat, openat};
use rustix::io::Errno;
use std::sync::Arc;

/// A folder whose subtree is not complete.
#[derive(Debug)]
pub(super) struct Folder {
    /// None in a rehearsal, if it would be made.
    pub(super) directory: Option<Arc<Directory>>,
    pub(super) entry: Entry,
    /// What is known of it if it was there before.
    pub(super) inside: Option<Inside>,
    /// Nothing may be deleted in it: what the snapshot has in it is not known in whole.
    pub(super) spared: bool,
    /// Nothing is deleted in it and below it: the backup left out what it has nothing of.
    pub(super) is_kept: bool,
    /// What to tell of that, in the outermost of them.
    pub(super) why_kept: Option<&'static str>,
    /// The snapshot has no entry of it: it has no attributes to set.
    pub(super) is_made_up: bool,
}

/// Makes a folder that only this user can enter.
pub(super) fn make(parent: &Arc<Directory>, name: &[u8]) -> Result<Arc<Directory>, Errno> {
    let above = parent.open()?;
    mkdirat(&above, name, Mode::RWXU)?;
    let handle = openat(&above, name, DIRECTORY, Mode::empty())?;
    Ok(parent.below(name, handle, DIRECTORY).0)
}

impl Folder {
    pub(super) fn new(directory: Option<Arc<Directory>>, entry: Entry, inside: Option<Inside>) -> Self {
        Self { directory, entry, inside, spared: false, is_kept: false, why_kept: None, is_made_up: false }
    }

    /// Deletes what the snapshot does not have in it, and sets the attributes; nothing more will
    /// be made in it.
    pub(super) fn finish(mut self, shared: &Shared) {
        if let Some(inside) = &mut self.inside {
            inside.end();
        }
        if let Some(why) = self.why_kept {
            shared.notice(&self.entry.key, NoticeKind::LeftOut, why.to_owned());
        }
        let Some(directory) = &self.directory else { return };
        let opened = directory.open();
        let handle = match &opened {
            Ok(handle) => handle.as_fd(),
            Err(error) => {
                let what = format!("attributes not set: open: {}", std::io::Error::from(*error));
                return shared.problem(&self.entry.key, ProblemKind::Attribute, what);
            }
        };
        let Some(inside) = &self.inside else {
            if self.is_made_up {
                return;
            }
            let applied = Applied { entry: &self.entry, mode_now: None, fresh: shared.fresh_owner(handle) };
            return shared.apply(Subject::Open(handle), applied);
        };
        finish_inside(shared, handle, &self.entry, inside, self.spared || self.is_kept);
    }
}

/// Ends a folder that was there before.
pub(super) fn finish_inside(
    shared: &Shared,
    handle: BorrowedFd<'_>,
    entry: &Entry,
    inside: &Inside,
    spared: bool,
) {
    if let (Some(names), false) = (&inside.names, spared) {
        if shared.is_broken(&entry.key) {
            let what = "nothing was deleted in it: not all of it could be restored".to_owned();
            shared.notice(&entry.key, NoticeKind::LeftOut, what);
        } else if inside.is_foreign() {
            let what =
                "nothing was deleted in it: of what is mounted here the snapshot has nothing".to_owned();
            shared.notice(&entry.key, NoticeKind::LeftOut, what);
        } else {
            shared.sweep(handle, &entry.key, names);
        }
    }
    if inside.may_change {
        shared.alter(Subject::Open(handle), entry);
        if inside.differs {
            one_more(&shared.count.attributes_only);
        }
        return;
    }
    if !inside.flags.is_empty() {
        shared.flag_late(&entry.key, inside.flags);
    }
    if let Some(mode) = inside.mode
        && let Err(error) = fchmod(handle, mode)
    {
        let what = format!("its mode could not be set back: {}", std::io::Error::from(error));
        shared.problem(&entry.key, ProblemKind::Attribute, what);
    }
}
