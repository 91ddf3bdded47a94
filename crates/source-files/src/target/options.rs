//! How to restore into a folder, and opening that folder.
//!
//! On purpose not here: entries.

use super::existing::{Inode, Overwrite};
use super::remove::{self, Deletes};
use holdfast_engine::Selector;
use holdfast_engine::target::TargetError;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat, stat};
use rustix::io::Errno;
use std::fmt;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Two restores at once would make a mix of their files. Not every file system can tell.
const LOCK: FlockOperation = FlockOperation::NonBlockingLockExclusive;

/// How to restore.
#[derive(Clone, Default)]
pub struct FileTargetOptions {
    /// Runs of zeros become holes where a block of the file system fits in; recorded holes
    /// always do. What is patched keeps what it has of both.
    pub sparse: bool,
    /// Owners are those of the same name on this host, of the same number where there is none.
    pub ownership_by_name: bool,
    /// Everything belongs to this user and group, whatever was recorded.
    pub owner: Option<(u32, u32)>,
    /// What is done with what is there; none if the folder has to be empty.
    pub overwrite: Option<Overwrite>,
    /// Deletes what the snapshot does not have, where this says so of a path relative to the
    /// target (with a leading slash); only in folders that the snapshot has.
    pub delete: Option<Selector>,
    /// Folders that are never deleted.
    pub protect: Vec<PathBuf>,
    /// Files larger than so many bytes are not deleted: the backup left them out.
    pub keep_larger_than: Option<u64>,
    /// In folders that hold a file of such a name nothing is deleted: the backup left the rest out.
    pub keep_tagged: Vec<String>,
    /// On file systems that are mounted below the target nothing is deleted: the backup left them out,
    /// but for paths that were stated.
    pub keep_mounted: bool,
    /// Change nothing, only count.
    pub rehearse: bool,
    /// Another target of the same restore holds the folder.
    pub is_held: bool,
}

impl fmt::Debug for FileTargetOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileTargetOptions")
            .field("overwrite", &self.overwrite)
            .field("deletes", &self.delete.is_some())
            .field("rehearse", &self.rehearse)
            .finish_non_exhaustive()
    }
}

/// The folder that is restored into.
pub(super) struct Opened {
    /// None in a rehearsal, if it is not there.
    pub(super) top: Option<OwnedFd>,
    /// Something lies in it.
    pub(super) in_place: bool,
}

pub(super) fn deletes(options: &FileTargetOptions) -> Option<Deletes> {
    let select = options.delete.clone()?;
    let protected = options.protect.iter().filter_map(|path| stat(path).ok());
    let protected = protected.map(|stat| Inode::of(&stat)).collect();
    Some(Deletes::new(select, protected, options))
}

pub(super) fn open_top(dir: &Path, options: &FileTargetOptions) -> Result<Opened, TargetError> {
    let refused = |what: String, source| TargetError { what, source };
    let shown = dir.display();
    // For nobody else to look into while the restore goes on.
    let make = || DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let made = if options.rehearse { Ok(()) } else { make() };
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            refused(format!("target {shown} is not a folder: state another one"), None)
        }
        _ => {
            let what = format!("make target {shown}: see that the folder above may be written to");
            refused(what, Some(error))
        }
    })?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, dir, flags, Mode::empty());
    let opened = opened.and_then(|top| remove::list(top.as_fd()).map(|names| (top, names.is_empty())));
    match opened {
        Ok((_, false)) if options.overwrite.is_none() => {
            Err(refused(format!("target {shown} is not empty: state a new or an empty folder"), None))
        }
        Ok((top, _))
            if !options.rehearse && !options.is_held && flock(&top, LOCK) == Err(Errno::WOULDBLOCK) =>
        {
            Err(refused(format!("another restore is at work in target {shown}: wait for its end"), None))
        }
        Ok((top, empty)) => Ok(Opened { top: Some(top), in_place: !empty }),
        Err(Errno::NOENT) if options.rehearse => Ok(Opened { top: None, in_place: false }),
        Err(error) => {
            Err(refused(format!("open target {shown}: see that it may be read"), Some(error.into())))
        }
    }
}
