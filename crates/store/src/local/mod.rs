//! Objects as files below one directory of this host.
//!
//! An object is a file that gets its name when all its bytes are on the disk, by a step that
//! never replaces another file; then the directory is made durable too. Temporary files, where
//! the file system needs names for them, lie in `tmp/`, which therefore holds no objects.
//!
//! On purpose not here: agreement between hosts. On a network file system one host at a time may
//! write; [`LocalStore::shared_file_system`] tells when to say so. Linux only.

mod failure;
mod folders;
mod list;
mod medium;
mod scratch;
#[cfg(test)]
mod tests;
mod upload;

use crate::blocking::blocking;
use crate::{ByteRange, ErrorKind, Key, ObjectMeta, ObjectStore, Put, StoreError, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use failure::{failure, is_absent};
use folders::{Folders, split, sync_folder};
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use scratch::Way;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use upload::{Draft, LocalUpload};

/// Holds files that have no place yet.
const TEMPORARY: &str = "tmp";

/// Some file systems keep this directory in their root.
const LOST_AND_FOUND: &str = "lost+found";

/// A store in a directory of this host. Clones share what they know of the directory.
#[derive(Debug, Clone)]
pub struct LocalStore {
    disk: Arc<Disk>,
}

/// The directory tree and how files get their names in it.
#[derive(Debug)]
struct Disk {
    folders: Folders,
    best: Way,
    way: OnceLock<Way>,
}

impl LocalStore {
    /// Opens the store in a directory, which is made, for its owner only, if it is missing; the
    /// directory above it has to be there, lest a disk that is not mounted goes unnoticed.
    ///
    /// # Errors
    /// The directory cannot be made or opened.
    pub async fn create(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let subject = path.clone();
        let made = blocking(move || make_root(&path)).await;
        made.map_err(|error| failure("create", &subject, error))?;
        Self::open(&subject).await
    }

    /// Opens the store in a directory.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the directory is missing, [`ErrorKind::Unusable`] if it is a
    /// file, or what else keeps it from being opened.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Way::Unnamed).await
    }

    async fn open_with(path: &Path, best: Way) -> Result<Self, StoreError> {
        let folder = path.to_owned();
        let folders = blocking(move || Folders::open(&folder)).await.map_err(|error| {
            let is_file = failure::errno_of(&error) == Some(Errno::NOTDIR);
            let error = failure("open", path, error);
            if is_file { StoreError { kind: ErrorKind::Unusable, ..error } } else { error }
        })?;
        Ok(Self { disk: Arc::new(Disk { folders, best, way: OnceLock::new() }) })
    }

    /// Names the file system if other hosts may have it mounted too. Then atomic steps and locks
    /// hold among the processes of one host, and may not among hosts.
    pub async fn shared_file_system(&self) -> Option<&'static str> {
        let disk = Arc::clone(&self.disk);
        blocking(move || Ok(medium::shared_file_system(disk.folders.root()))).await.ok().flatten()
    }

    /// Returns how many bytes may still be written, where the file system tells.
    pub async fn free_space(&self) -> Option<u64> {
        let disk = Arc::clone(&self.disk);
        blocking(move || Ok(medium::free_space(disk.folders.root()))).await.ok().flatten()
    }

    /// Runs a call on one object, and puts the object's path on what goes wrong.
    async fn on_object<T, W>(&self, operation: &'static str, key: &Key, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Disk>, Key) -> io::Result<T> + Send + 'static,
    {
        let path = self.disk.folders.path_of(key.as_str());
        if is_reserved(key) {
            let error = io::Error::new(io::ErrorKind::Unsupported, "names in `tmp` are the store's own");
            return Err(failure(operation, &path, error));
        }
        let (disk, key) = (Arc::clone(&self.disk), key.clone());
        blocking(move || work(disk, key)).await.map_err(|error| failure(operation, &path, error))
    }

    /// Runs a call on everything below a path.
    async fn on_folder<T, W>(&self, path: PathBuf, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Folders) -> io::Result<T> + Send + 'static,
    {
        let disk = Arc::clone(&self.disk);
        blocking(move || work(&disk.folders)).await.map_err(|error| failure("list", &path, error))
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    fn location(&self) -> String {
        self.disk.folders.path_of("").display().to_string()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        let put = move |disk, key| {
            let draft = Draft::new(disk, key)?;
            draft.append(&body)?;
            draft.publish()
        };
        self.on_object("write", key, put).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        let draft = self.on_object("write", key, Draft::new).await?;
        Ok(Box::new(LocalUpload::new(self.disk.folders.path_of(key.as_str()), draft)))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        self.on_object("read", key, move |disk, key| disk.get(&key, range)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        self.on_object("look up", key, |disk, key| disk.head(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let path = self.disk.folders.path_of(prefix);
        let wanted = list::Wanted { prefix: prefix.to_owned(), after: after.cloned(), limit };
        self.on_folder(path, move |folders| wanted.list(folders)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.on_object("delete", key, |disk, key| disk.delete(&key)).await
    }

    async fn foreign(&self) -> Result<Vec<String>, StoreError> {
        self.on_folder(self.disk.folders.path_of(""), list::foreign).await
    }
}

impl Disk {
    /// Tells how files get their names here. The first call finds out, and removes what killed
    /// processes left.
    fn way(&self) -> io::Result<Way> {
        if let Some(way) = self.way.get() {
            return Ok(*way);
        }
        let temporary = self.temporary()?;
        scratch::sweep(&temporary)?;
        let way = scratch::probe(self.best, &temporary)?;
        Ok(*self.way.get_or_init(|| way))
    }

    fn temporary(&self) -> io::Result<File> {
        self.folders.enter(TEMPORARY)
    }

    fn get(&self, key: &Key, range: ByteRange) -> io::Result<Bytes> {
        // Without blocking, because opening a pipe that lies in place of an object would wait for
        // its writer.
        let file = match self.folders.open_at(key.as_str(), OFlags::RDONLY | OFlags::NONBLOCK) {
            Err(error) if is_absent(&error) => return Err(Errno::NOENT.into()),
            opened => opened?,
        };
        let size = size_of(&file)?;
        let (offset, length) = match range {
            ByteRange::All => (0, size),
            ByteRange::From { offset, length } => (offset, length.min(size.saturating_sub(offset))),
        };
        read_at(&file, offset, length)
    }

    fn head(&self, key: Key) -> io::Result<Option<ObjectMeta>> {
        match self.folders.open_at(key.as_str(), OFlags::PATH) {
            Ok(file) => Ok(Some(ObjectMeta { size: size_of(&file)?, key })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, key: &Key) -> io::Result<()> {
        let (path, name) = split(key.as_str());
        let folder = match self.folders.open_folder(path) {
            Err(error) if is_absent(&error) => return Ok(()),
            opened => opened?,
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // Also when it was gone: who deleted it may not have come to this line yet.
        sync_folder(&folder)?;
        self.folders.remove_if_empty(path);
        Ok(())
    }
}

/// Whether a name is in the place that the store keeps for itself.
fn is_reserved(key: &Key) -> bool {
    key.as_str().split('/').next() == Some(TEMPORARY)
}

/// Whether an entry of a directory is none of the store's business.
fn is_skipped(folder: &str, name: &str) -> bool {
    name.starts_with('.') || folder.is_empty() && (name == TEMPORARY || name == LOST_AND_FOUND)
}

fn make_root(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    // The parent of a single relative word is the empty path, which cannot be opened.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_folder(&File::open(parent.unwrap_or(Path::new(".")))?)
}

fn size_of(file: &File) -> io::Result<u64> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("something that is no regular file lies in its place"));
    }
    Ok(found.len())
}

/// Reads up to `length` bytes, into memory that is not cleared first.
fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Bytes> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(io::Error::other)?;
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(length);
    Ok(Bytes::from(bytes))
}
