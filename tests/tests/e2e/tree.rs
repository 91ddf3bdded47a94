//! Makes trees: contents from a seed, and everything that a file system can hold.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

/// Bytes that no compression makes shorter, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compression makes shorter, the same for the same seed: words of a small language.
pub(crate) fn prose(seed: u64, length: usize) -> Vec<u8> {
    static WORDS: LazyLock<Vec<[u8; 5]>> = LazyLock::new(|| {
        let letters = noise(7, 4 * 4096);
        letters
            .chunks_exact(4)
            .map(|four| [0, 1, 2, 3, 4].map(|at| four.get(at).map_or(b' ', |byte| b'a' + byte % 26)))
            .collect()
    });
    let mut text = Vec::with_capacity(length + 8);
    for pair in noise(seed, length / 2 + 64).chunks_exact(2).take(length / 5 + 1) {
        text.extend_from_slice(&WORDS[usize::from(u16::from_le_bytes([pair[0], pair[1]]) % 4096)]);
    }
    text.truncate(length);
    text
}

/// A sequence of numbers from a seed.
pub(crate) struct Dice(u64, u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed, 0)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.1 += 1;
        let bytes = noise(self.0 << 32 | self.1, 8);
        u64::from_le_bytes(bytes.try_into().unwrap()) % bound
    }
}

/// Writes a file and makes the folders above it.
pub(crate) fn put(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Writes a file of which only these parts are not hole.
pub(crate) fn put_sparse(path: &Path, length: u64, parts: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(length).unwrap();
    for (at, bytes) in parts {
        file.write_all_at(bytes, *at).unwrap();
    }
}

/// A tree of small files in folders, and a large one; about `files` times 6 KiB and 4 MiB.
pub(crate) fn ordinary(root: &Path, files: usize, seed: u64) {
    for number in 0..files {
        let length = 200 + (number * 7919) % 12_000;
        let name = format!("folder {}/file {number}", number / 100);
        put(root.join(name), prose(seed + number as u64, length));
    }
    put(root.join("large"), noise(seed, 4 << 20));
}

/// Sets the time of modification of what lies at a path, not following it.
pub(crate) fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Makes a fifo or a device.
pub(crate) fn make_node(path: &Path, kind: FileType, major: u32, minor: u32) {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// Makes folders one in the other, with a file in the last; no call gets the whole path.
pub(crate) fn put_deep(root: &Path, name: &str, depth: usize, content: &[u8]) {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)).unwrap();
        folder = rustix::fs::openat(&folder, name, flags, Mode::empty()).unwrap();
    }
    let create = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&folder, "last", create, Mode::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(content).unwrap();
}
