//! What a walk begins with: sorted paths, none below another, and those that are.
//!
//! On purpose not here: making paths absolute; the caller knows its working directory.

use holdfast_core::entry::path_to_key;
use rustix::fs::{AtFlags, CWD, statat};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, CString};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The paths of a source, as keys.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Where walks begin, in key order.
    pending: VecDeque<Vec<u8>>,
    /// Paths that lie below another one: a walk that keeps to one file system goes on there.
    nested: BTreeSet<Vec<u8>>,
}

impl Roots {
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        let keys: BTreeSet<_> = paths.iter().map(|path| path_to_key(path.as_os_str().as_bytes())).collect();
        let mut roots = Self::default();
        for key in keys {
            match roots.pending.back() {
                Some(above) if is_below(&key, above) => drop(roots.nested.insert(key)),
                _ => roots.pending.push_back(key),
            }
        }
        roots
    }

    /// Takes the next path where a walk begins.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.pending.pop_front()
    }

    /// All stated paths.
    pub(super) fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.pending.iter().chain(&self.nested)
    }

    /// Whether the key was stated and lies below another one that was.
    pub(super) fn is_nested(&self, key: &[u8]) -> bool {
        !self.nested.is_empty() && self.nested.contains(key)
    }

    /// Whether the key was stated below another one, or is on the way to one that was.
    pub(super) fn leads_on(&self, key: &[u8]) -> bool {
        if self.nested.is_empty() {
            return false;
        }
        let from = (Bound::Included(key), Bound::Unbounded);
        let next = self.nested.range::<[u8], _>(from).next();
        next.is_some_and(|nested| nested == key || is_below(nested, key))
    }

    /// The next components on the way from a folder to the stated paths below it.
    pub(super) fn on_the_way(&self, key: &[u8]) -> Vec<CString> {
        let from = (Bound::Excluded(key), Bound::Unbounded);
        let below = self.nested.range::<[u8], _>(from).take_while(|nested| is_below(nested, key));
        let skip = if key.is_empty() { 0 } else { key.len() + 1 };
        let mut names: Vec<_> = below.filter_map(|nested| first_component(&nested[skip..])).collect();
        names.dedup();
        names
    }
}

fn first_component(key: &[u8]) -> Option<CString> {
    let mut ended = key.to_vec();
    ended.push(0);
    CStr::from_bytes_until_nul(&ended).ok().map(CStr::to_owned)
}

/// Whether a key lies below another; the empty key is above all others.
pub(crate) fn is_below(key: &[u8], above: &[u8]) -> bool {
    if above.is_empty() {
        return !key.is_empty();
    }
    key.len() > above.len() && key.starts_with(above) && key[above.len()] == 0
}

/// Paths that are never captured: the repository and the cache.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    keys: BTreeSet<Vec<u8>>,
    inodes: BTreeSet<(u64, u64)>,
}

impl Skipped {
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        let keys = paths.iter().map(|path| path_to_key(path.as_os_str().as_bytes())).collect();
        Self { keys, inodes: paths.iter().filter_map(|path| inode_of(path)).collect() }
    }

    /// Whether an item is one of them, by its path or by what it is.
    pub(super) fn contains(&self, key: &[u8], device: u64, inode: u64) -> bool {
        !self.keys.is_empty() && (self.inodes.contains(&(device, inode)) || self.keys.contains(key))
    }
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    let stat = statat(CWD, path, AtFlags::empty()).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(paths: &[&str]) -> Roots {
        Roots::new(&paths.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn nested_paths_merge() {
        let roots = roots(&["/a/b", "/a", "/a!", "/a/b/c/d", "/z", "/a"]);
        assert_eq!(roots.pending, [b"a".to_vec(), b"a!".to_vec(), b"z".to_vec()]);
        assert!(roots.is_nested(b"a\0b") && !roots.is_nested(b"a") && !roots.is_nested(b"a\0b\0c"));
        assert_eq!(roots.on_the_way(b"a"), [c"b".to_owned()]);
        assert_eq!(roots.on_the_way(b"a\0b"), [c"c".to_owned()]);
        assert!(roots.on_the_way(b"z").is_empty());
        assert!([&b"a"[..], b"a\0b", b"a\0b\0c", b"a\0b\0c\0d"].iter().all(|key| roots.leads_on(key)));
        assert!(
            ![&b"a!"[..], b"a\0b\0c\0d\0e", b"a\0a", b"a\0b\0b", b"z"].iter().any(|key| roots.leads_on(key))
        );
    }

    #[test]
    fn root_takes_in_everything() {
        let roots = roots(&["/", "/a"]);
        assert_eq!(roots.pending, [b"".to_vec()]);
        assert_eq!(roots.on_the_way(b""), [c"a".to_owned()]);
    }
}
