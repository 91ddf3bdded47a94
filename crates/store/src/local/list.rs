//! Listing a directory tree as if it were one sorted list of names.
//!
//! On purpose not here: any memory between two listings; each reads the directories anew.

use super::failure::is_absent;
use super::folders::{Folders, split, sync_folder};
use super::{is_reserved, is_skipped};
use crate::{Key, ObjectMeta};
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What a listing is to hold.
#[derive(Debug)]
pub(super) struct Wanted {
    /// How its names start.
    pub(super) prefix: String,
    /// The name after which it starts.
    pub(super) after: Option<Key>,
    /// How many names it may hold.
    pub(super) limit: usize,
}

impl Wanted {
    /// Lists the objects in byte order of their names.
    pub(super) fn list(&self, folders: &Folders) -> io::Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        // Straight to the deepest directory that holds all matches.
        let start = split(&self.prefix).0;
        let reachable = start.is_empty() && !self.prefix.starts_with('/')
            || Key::new(start).is_ok_and(|key| !is_reserved(&key));
        if reachable && self.limit > 0 {
            self.visit(folders, start, &mut found)?;
            folders.sync_above(start)?;
        }
        still_there(folders)?;
        Ok(found)
    }

    fn visit(&self, folders: &Folders, path: &str, found: &mut Vec<ObjectMeta>) -> io::Result<()> {
        let Some((folder, entries)) = read(folders, path)? else { return Ok(()) };
        for entry in entries {
            if found.len() == self.limit {
                break;
            }
            let Some(key) = entry.key(path) else { continue };
            if entry.kind == FileType::Directory {
                if self.may_lie_below(key.as_str()) {
                    self.visit(folders, key.as_str(), found)?;
                }
            } else if self.holds(&key)
                && let Some(size) = size_of(&folder, &entry)?
            {
                found.push(ObjectMeta { key, size });
            }
        }
        // Other processes may not have come so far yet with what was seen here, put or deleted;
        // the answer has to hold after a crash.
        sync_folder(&folder)
    }

    fn holds(&self, key: &Key) -> bool {
        key.as_str().starts_with(&self.prefix) && self.after.as_ref().is_none_or(|after| key > after)
    }

    /// Whether names that start with `folder` and a slash can be wanted.
    fn may_lie_below(&self, folder: &str) -> bool {
        let start = format!("{folder}/");
        let below_prefix = start.starts_with(&self.prefix) || self.prefix.starts_with(&start);
        let passed = |after: &Key| start.as_str() < after.as_str() && !after.as_str().starts_with(&start);
        below_prefix && !self.after.as_ref().is_some_and(passed)
    }
}

/// Lists what can be no object, in byte order.
pub(super) fn foreign(folders: &Folders) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut unread = vec![String::new()];
    while let Some(path) = unread.pop() {
        let Some((_, entries)) = read(folders, &path)? else { continue };
        for entry in entries {
            match (entry.key(&path), entry.kind) {
                (Some(_), FileType::RegularFile) => {}
                (Some(key), FileType::Directory) => unread.push(key.as_str().to_owned()),
                _ => found.push(join(&path, &entry.name)),
            }
        }
    }
    still_there(folders)?;
    found.sort_unstable();
    Ok(found)
}

#[derive(Debug)]
struct Entry {
    name: String,
    kind: FileType,
}

impl Entry {
    /// The key that it is, or that the names below it start with; `None` if it can be neither.
    fn key(&self, folder: &str) -> Option<Key> {
        Key::new(join(folder, &self.name)).ok()
    }

    /// Compares as the full names will: what lies in a directory goes on with a slash, and that
    /// comes after `-` and `.`, before digits and letters.
    fn sort_text(&self) -> impl Iterator<Item = u8> + '_ {
        let slash = (self.kind == FileType::Directory).then_some(b'/');
        self.name.bytes().chain(slash)
    }
}

/// Reads a directory in the order of the full names. `None` when there is no such directory.
fn read(folders: &Folders, path: &str) -> io::Result<Option<(File, Vec<Entry>)>> {
    let folder = match folders.open_folder(path) {
        Ok(folder) => folder,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if is_skipped(path, &name) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => FileType::from_raw_mode(found.st_mode),
                // Removed since, or its name is not text and was changed above.
                Err(Errno::NOENT) => FileType::Unknown,
                Err(error) => return Err(error.into()),
            },
            kind => kind,
        };
        entries.push(Entry { name: name.into_owned(), kind });
    }
    entries.sort_unstable_by(|a, b| a.sort_text().cmp(b.sort_text()));
    Ok(Some((folder, entries)))
}

/// Returns the length of an object; `None` if it is none or is gone.
fn size_of(folder: &File, entry: &Entry) -> io::Result<Option<u64>> {
    if entry.kind != FileType::RegularFile {
        return Ok(None);
    }
    match rustix::fs::statat(folder, &*entry.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(u64::try_from(found.st_size).ok()),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An empty list must mean an empty store, not one whose root directory was removed.
fn still_there(folders: &Folders) -> io::Result<()> {
    match folders.root().metadata()?.nlink() {
        0 => Err(Errno::NOENT.into()),
        _ => Ok(()),
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    fn wanted(prefix: &str, after: Option<&str>) -> Wanted {
        let after = after.map(|text| Key::new(text).unwrap());
        Wanted { prefix: prefix.to_owned(), after, limit: usize::MAX }
    }

    #[test]
    fn only_directories_that_can_hold_matches_are_read() {
        let below = |prefix, after, folder| wanted(prefix, after).may_lie_below(folder);
        assert!(below("", None, "packs"));
        assert!(below("packs/da", None, "packs/data"));
        assert!(below("packs/data/00", None, "packs"));
        assert!(!below("packs/data", None, "packs/tree"));
        assert!(!below("packs/data/", None, "pack"));
        assert!(below("", Some("packs/data"), "packs"));
        assert!(below("", Some("packs-old"), "packs"));
        assert!(!below("", Some("packs0"), "packs"));
        assert!(!below("", Some("packs/data0"), "packs/data"));
    }
}
