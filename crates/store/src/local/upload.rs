//! Objects on their way into a local store.
//!
//! On purpose not here: reading, and the choice of how files get their names.

use super::Disk;
use super::failure::failure;
use super::folders::{split, sync_folder};
use super::scratch::{Scratch, Way};
use crate::blocking::blocking;
use crate::{Key, Put, StoreError, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// An object that is written and not yet visible. Dropped before it is published it leaves
/// nothing, not even directories.
#[derive(Debug)]
pub(super) struct Draft {
    disk: Arc<Disk>,
    key: Key,
    scratch: Scratch,
    created: bool,
}

impl Draft {
    /// Makes a file for the object.
    pub(super) fn new(disk: Arc<Disk>, key: Key) -> io::Result<Self> {
        let way = disk.way()?;
        let mode = disk.folders.modes().draft;
        let scratch = match way {
            Way::Unnamed => {
                let folder = split(key.as_str()).0;
                let make = || Scratch::unnamed(&disk.folders.enter(folder)?, mode);
                disk.folders.while_vanished(folder, make)?
            }
            Way::Link | Way::Rename => Scratch::temporary(way, &disk.temporary()?, mode)?,
        };
        Ok(Self { disk, key, scratch, created: false })
    }

    /// Appends bytes.
    pub(super) fn append(&self, part: &[u8]) -> io::Result<()> {
        append(self.scratch.file(), part)
    }

    /// Makes the object durable and visible if its name is free.
    pub(super) fn publish(mut self) -> io::Result<Put> {
        let modes = self.disk.folders.modes();
        modes.hand_over(self.scratch.file(), modes.object)?;
        // Before the name: a crash must not show an object whose bytes are missing.
        self.scratch.file().sync_data()?;
        let (path, name) = split(self.key.as_str());
        let (folder, put) = self.disk.folders.while_vanished(path, || {
            let folder = self.disk.folders.enter(path)?;
            match self.scratch.name(&folder, name) {
                Ok(()) => Ok((folder, Put::Created)),
                Err(Errno::EXIST) => Ok((folder, Put::Exists)),
                Err(error) => Err(error.into()),
            }
        })?;
        self.created = put == Put::Created;
        // Also when the name was taken: its owner may not have come to this line yet, and the
        // answer has to hold after a crash.
        sync_folder(&folder)?;
        Ok(put)
    }
}

// Removing on the thread that drops, even an async one: a task handed to the pool instead is lost
// when the runtime shuts down, which is when uploads are dropped.
impl Drop for Draft {
    fn drop(&mut self) {
        if !self.created {
            self.disk.folders.remove_if_empty(split(self.key.as_str()).0);
        }
    }
}

/// Writes the whole part at the end of the file.
pub(super) fn append(mut file: &File, part: &[u8]) -> io::Result<()> {
    file.write_all(part)
}

/// The streamed kind of put.
#[derive(Debug)]
pub(super) struct LocalUpload {
    path: PathBuf,
    // Shared with the running call: that one goes on when its future is dropped.
    draft: Arc<Draft>,
    /// False while a write runs, and for ever if it failed or its future was dropped: then
    /// nobody knows what the file holds.
    intact: bool,
}

impl LocalUpload {
    pub(super) fn new(path: PathBuf, draft: Draft) -> Self {
        Self { path, draft: Arc::new(draft), intact: true }
    }
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        let draft = Arc::clone(&self.draft);
        let intact = std::mem::replace(&mut self.intact, false);
        let write = move || if intact { draft.append(&part) } else { Err(torn()) };
        blocking(write).await.map_err(|error| failure("write", &self.path, error))?;
        self.intact = true;
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Put, StoreError> {
        let Self { path, draft, intact } = *self;
        let publish = move || match Arc::into_inner(draft) {
            Some(draft) if intact => draft.publish(),
            _ => Err(torn()),
        };
        blocking(publish).await.map_err(|error| failure("write", &path, error))
    }
}

fn torn() -> io::Error {
    io::Error::other("an earlier write of this object failed or was cancelled")
}
