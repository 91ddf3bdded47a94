//! A folder that is being restored.
//!
//! On purpose not here: which folder an entry belongs to.

use super::attributes::{Applied, Subject};
use super::shared::Shared;
use crate::directory::{DIRECTORY, Directory};
use holdfast_core::entry::Entry;
use holdfast_engine::outcome::ProblemKind;
use rustix::fd::AsFd;
use rustix::fs::{Mode, mkdirat, openat};
use rustix::io::Errno;
use std::sync::Arc;

/// A folder whose subtree is not complete.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) directory: Arc<Directory>,
    pub(super) entry: Entry,
}

/// Makes a folder that only this user can enter.
pub(super) fn make(parent: &Arc<Directory>, name: &[u8]) -> Result<Arc<Directory>, Errno> {
    let above = parent.open()?;
    mkdirat(&above, name, Mode::RWXU)?;
    let handle = openat(&above, name, DIRECTORY, Mode::empty())?;
    Ok(parent.below(name, handle, DIRECTORY).0)
}

impl Folder {
    /// Sets the attributes; nothing more will be made in it.
    pub(super) fn finish(self, shared: &Shared) {
        match self.directory.open() {
            Ok(handle) => {
                let fresh = shared.fresh_owner(handle.as_fd());
                let applied = Applied { entry: &self.entry, mode_now: None, fresh };
                shared.apply(Subject::Open(handle.as_fd()), applied);
            }
            Err(error) => {
                let what = format!("attributes not set: open: {}", std::io::Error::from(error));
                shared.problem(&self.entry.key, ProblemKind::Attribute, what);
            }
        }
    }
}
