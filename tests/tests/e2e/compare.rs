//! Compares trees: everything that a restore has to bring back, entry by entry.
//!
//! Goes from folder handle to folder handle, so that paths may be as long as they like.

use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags, SeekFrom, Stat};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// What is known of one entry, in words; and what it takes on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    words: String,
    size: u64,
    blocks: u64,
}

/// A tree: what lies at each path below its top.
pub(crate) type Listing = BTreeMap<Vec<u8>, Facts>;

/// What is listed of each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// All that belongs to it.
    Everything,
    /// Kind and content only.
    Contents,
}

/// Lists a tree.
pub(crate) fn list(root: &Path, depth: Depth) -> Listing {
    let mut lister = Lister { found: Listing::new(), links: HashMap::new(), depth };
    let top = rustix::fs::open(root, FOLDER, Mode::empty()).unwrap();
    let stat = rustix::fs::fstat(&top).unwrap();
    let words = lister.words(&format!("/proc/self/fd/{}/.", top.as_raw_fd()).into(), &stat, b"", Some(&top));
    lister.note(b"", words, &stat);
    lister.folder(&top, &mut Vec::new());
    lister.found
}

/// Expects two trees to be the same in everything, holes included.
#[track_caller]
pub(crate) fn same(source: &Path, restored: &Path) {
    let (wanted, found) = (list(source, Depth::Everything), list(restored, Depth::Everything));
    let differences = differences(&wanted, &found);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
    for (path, facts) in &wanted {
        let restored = found[path].blocks;
        if facts.blocks * 512 < facts.size {
            let name = String::from_utf8_lossy(path);
            assert!(restored <= facts.blocks + 64, "{name}: {restored} blocks, it had {}", facts.blocks);
        }
    }
}

/// Says where two trees differ.
pub(crate) fn differences(wanted: &Listing, found: &Listing) -> Vec<String> {
    let missing =
        wanted.iter().filter(|(path, facts)| found.get(*path).is_none_or(|other| other.words != facts.words));
    let missing = missing.map(|(path, facts)| {
        let other = found.get(path).map_or("nothing", |other| &other.words);
        format!("{:?}:\n  wanted {}\n  found  {other}", String::from_utf8_lossy(path), facts.words)
    });
    let extra = found.keys().filter(|path| !wanted.contains_key(*path));
    missing.chain(extra.map(|path| format!("{:?}: not wanted", String::from_utf8_lossy(path)))).collect()
}

/// Says which entries of `found` are not those of `wanted`: what is absent is no difference.
pub(crate) fn foreign(wanted: &Listing, found: &Listing) -> Vec<String> {
    let foreign =
        found.iter().filter(|(path, facts)| wanted.get(*path).is_none_or(|other| other.words != facts.words));
    foreign.map(|(path, facts)| format!("{:?}: {}", String::from_utf8_lossy(path), facts.words)).collect()
}

/// Expects rsync to find nothing to do.
#[track_caller]
pub(crate) fn same_for_rsync(source: &Path, restored: &Path) {
    let slash = |path: &Path| format!("{}/", path.display());
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHAXSnci", "--delete", &slash(source), &slash(restored)]);
    assert_eq!(super::world::run_tool(&mut rsync), "");
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Lister {
    found: Listing,
    /// First path of each file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    depth: Depth,
}

impl Lister {
    fn folder(&mut self, folder: &OwnedFd, path: &mut Vec<u8>) {
        let mut names: Vec<_> =
            Dir::read_from(folder).unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
        names.retain(|name| ![&b"."[..], b".."].contains(&name.to_bytes()));
        names.sort();
        for name in names {
            let stat = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name.to_bytes());
            let kind = FileType::from_raw_mode(stat.st_mode);
            let flags = if kind == FileType::Directory { FOLDER } else { OFlags::RDONLY | OFlags::NOFOLLOW };
            let can_open = matches!(kind, FileType::Directory | FileType::RegularFile);
            let opened = can_open.then(|| rustix::fs::openat(folder, &name, flags, Mode::empty()).unwrap());
            let mut place = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
            place.extend_from_slice(name.to_bytes());
            let place = std::ffi::OsStr::from_bytes(&place).into();
            let words = self.words(&place, &stat, path, opened.as_ref());
            self.note(path, words, &stat);
            if let (FileType::Directory, Some(inner)) = (kind, &opened) {
                self.folder(inner, path);
            }
            path.truncate(length);
        }
    }

    fn note(&mut self, path: &[u8], words: String, stat: &Stat) {
        let (size, blocks) = (stat.st_size as u64, stat.st_blocks as u64);
        self.found.insert(path.to_owned(), Facts { words, size, blocks });
    }

    fn words(
        &mut self,
        place: &std::path::PathBuf,
        stat: &Stat,
        path: &[u8],
        opened: Option<&OwnedFd>,
    ) -> String {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut words = format!("{kind:?}");
        if kind == FileType::Symlink {
            words += &format!(" to {:?}", std::fs::read_link(place).unwrap());
        }
        if let (FileType::RegularFile, Some(file)) = (kind, opened) {
            words += &format!(" of {} bytes {}", stat.st_size, digest(file, stat.st_size as u64));
        }
        if self.depth == Depth::Contents {
            return words;
        }
        words += &format!(" {:o} {}:{}", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        words += &format!(" at {}.{:09}", stat.st_mtime, stat.st_mtime_nsec);
        if matches!(kind, FileType::BlockDevice | FileType::CharacterDevice) {
            words += &format!(" device {:x}", stat.st_rdev);
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let first = self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_owned());
            words += &format!(" same as {:?} of {}", String::from_utf8_lossy(first), stat.st_nlink);
        }
        if let Some(Ok(flags)) = opened.map(rustix::fs::ioctl_getflags) {
            let kept = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP | IFlags::NOATIME | IFlags::SYNC;
            words += &format!(" flags {:x}", (flags & kept).bits());
        }
        words + &xattrs(place)
    }
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The digest of a content that does not depend on where its holes are.
fn digest(file: &OwnedFd, size: u64) -> String {
    let reader = File::from(file.try_clone().unwrap());
    let (mut hasher, mut at, mut buffer) =
        (blake3::Hasher::new(), 0, vec![0; ZEROS.len().min(size as usize)]);
    while let Some(next) = next_data(rustix::fd::AsFd::as_fd(file), at).filter(|next| *next < size) {
        at = next - next % 65_536;
        let length = buffer.len().min((size - at) as usize);
        reader.read_exact_at(&mut buffer[..length], at).unwrap();
        if buffer[..length] != ZEROS[..length] {
            hasher.update(&at.to_le_bytes());
            hasher.update(&buffer[..length]);
        }
        at += 65_536;
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn next_data(file: BorrowedFd<'_>, at: u64) -> Option<u64> {
    rustix::fs::seek(file, SeekFrom::Data(at)).ok()
}

fn xattrs(place: &Path) -> String {
    let mut names = [0; 4096];
    let length = rustix::fs::llistxattr(place, &mut names[..]).unwrap_or(0);
    let mut names: Vec<_> =
        names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut words = String::new();
    for name in names {
        let mut value = [0; 4096];
        let length = rustix::fs::lgetxattr(place, name, &mut value[..]).unwrap();
        words += &format!(
            " {}={}",
            String::from_utf8_lossy(name),
            blake3::hash(&value[..length]).to_hex().as_str().split_at(12).0
        );
    }
    words
}
