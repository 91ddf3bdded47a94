//! The tree that a model source holds, and generated contents for it.

use holdfast_core::entry::{Kind, Owner, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Small numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng(seed.wrapping_mul(0x1_0001).wrapping_add(77));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes that compress, and differ from one seed to the next.
pub(crate) fn compressible(seed: u64, length: usize) -> Vec<u8> {
    noise(seed, length.div_ceil(16)).iter().flat_map(|byte| [*byte; 16]).take(length).collect()
}

/// A stretch of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Run {
    /// Bytes.
    Data(Vec<u8>),
    /// So many zeros that are not stored.
    Hole(u64),
}

/// What goes wrong when an item is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    Vanishes,
    Unreadable,
    /// A stream fails after its first piece.
    BreaksOff,
    /// The first so many attempts are torn.
    Torn(u32),
    Grows,
    /// It grows, and is another one each time.
    GrowsAnew,
    /// It grows, and has no name any more once it was read.
    GrowsAndGoes,
    /// It grows, and once it was read another one has its name.
    GrowsAndMoves,
    /// It is torn, and has no name any more then.
    TornAndGoes,
    /// The handles of the first so many attempts lose their file.
    Stale(u32),
    /// A part of its details cannot be read.
    LacksDetails,
    Panics,
    /// The listing said that it was this small.
    ListedAs(u64),
    /// Its content cannot be had.
    Lacks,
}

/// An item of a model source.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    pub(crate) owner: Arc<Owner>,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    pub(crate) inode: u64,
    pub(crate) links: u32,
    pub(crate) runs: Vec<Run>,
    pub(crate) link_target: Option<Vec<u8>>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) trouble: Trouble,
}

impl Node {
    fn new(kind: Kind) -> Self {
        let time = Time { seconds: super::START_SECONDS - 10_000, nanos: 5 };
        Self {
            kind,
            mode: 0o644,
            owner: Arc::new(Owner { uid: 1, gid: 2, user: "u".into(), group: "g".into() }),
            mtime: time,
            ctime: time,
            inode: 0,
            links: 1,
            runs: Vec::new(),
            link_target: None,
            xattrs: Vec::new(),
            trouble: Trouble::None,
        }
    }

    pub(crate) fn file(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let runs = if content.is_empty() { Vec::new() } else { vec![Run::Data(content)] };
        Self { runs, ..Self::new(Kind::File) }
    }

    pub(crate) fn sparse(runs: Vec<Run>) -> Self {
        Self { runs, ..Self::new(Kind::File) }
    }

    pub(crate) fn directory() -> Self {
        Self { mode: 0o755, ..Self::new(Kind::Directory) }
    }

    pub(crate) fn symlink(target: &[u8]) -> Self {
        Self { link_target: Some(target.to_vec()), mode: 0o777, ..Self::new(Kind::Symlink) }
    }

    pub(crate) fn with(self, trouble: Trouble) -> Self {
        Self { trouble, ..self }
    }

    pub(crate) fn is_sparse(&self) -> bool {
        self.runs.iter().any(|run| matches!(run, Run::Hole(_)))
    }

    pub(crate) fn size(&self) -> u64 {
        let lengths = self.runs.iter().map(|run| match run {
            Run::Data(bytes) => bytes.len() as u64,
            Run::Hole(length) => *length,
        });
        lengths.sum()
    }

    /// The content as it reads, holes as zeros.
    pub(crate) fn flat(&self) -> Vec<u8> {
        let mut flat = Vec::with_capacity(self.size() as usize);
        for run in &self.runs {
            match run {
                Run::Data(bytes) => flat.extend_from_slice(bytes),
                Run::Hole(length) => flat.resize(flat.len() + *length as usize, 0),
            }
        }
        flat
    }
}

/// Items by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(pub(crate) BTreeMap<Vec<u8>, Node>);

impl Tree {
    /// Puts an item at a path with slashes and makes the folders above it; each new item gets
    /// an inode of its own, unless it states one.
    pub(crate) fn put(&mut self, path: &str, mut node: Node) {
        let key = holdfast_core::entry::path_to_key(path.as_bytes());
        for at in key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at) {
            let inode = self.fresh_inode();
            self.0.entry(key[..at].to_vec()).or_insert(Node { inode, ..Node::directory() });
        }
        if node.inode == 0 {
            node.inode = self.fresh_inode();
        }
        self.0.insert(key, node);
    }

    fn fresh_inode(&self) -> u64 {
        1 + self.0.values().map(|node| node.inode).max().unwrap_or(0)
    }

    pub(crate) fn node(&mut self, path: &str) -> &mut Node {
        let key = holdfast_core::entry::path_to_key(path.as_bytes());
        self.0.get_mut(&key).expect("an item at the path")
    }

    /// Writes a file anew: other bytes, other times.
    pub(crate) fn rewrite(&mut self, path: &str, content: Vec<u8>, seconds: i64) {
        let node = self.node(path);
        node.runs = vec![Run::Data(content)];
        node.mtime.seconds = seconds;
        node.ctime.seconds = seconds;
    }

    pub(crate) fn without(&self, path: &str) -> Self {
        let mut tree = self.clone();
        tree.0.remove(&holdfast_core::entry::path_to_key(path.as_bytes()));
        tree
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(Node::size).sum()
    }

    pub(crate) fn files(&self) -> u64 {
        self.0.values().filter(|node| node.kind == Kind::File).count() as u64
    }

    /// A tree with contents of every kind.
    pub(crate) fn mixed() -> Self {
        let mut tree = Self::default();
        tree.put("empty", Node::file(""));
        tree.put("small/inline", Node::file(noise(1, 512)));
        for number in 0..40 {
            tree.put(&format!("small/bundled {number}"), Node::file(noise(100 + number, 20_000)));
        }
        tree.put("edge/below", Node::file(noise(2, 128 * 1024 - 1)));
        tree.put("edge/at", Node::file(noise(3, 128 * 1024)));
        tree.put("edge/above", Node::file(noise(4, 128 * 1024 + 1)));
        tree.put("large/noise", Node::file(noise(5, 2_500_000)));
        tree.put("large/compressible", Node::file(compressible(6, 1_500_000)));
        let runs = (0..20).flat_map(|n| [Run::Data(noise(50 + n, 30_000)), Run::Hole(64 << 10)]);
        tree.put("large/sparse", Node::sparse(runs.collect()));
        tree.put("large/hole", Node::sparse(vec![Run::Hole(1 << 20)]));
        tree.put("large/hole first", Node::sparse(vec![Run::Hole(4096), Run::Data(noise(7, 10_000))]));
        tree.put("link", Node::symlink(b"small/inline"));
        let inode = 1_000_000;
        for name in ["hard/one", "hard/two"] {
            tree.put(name, Node { inode, links: 2, ..Node::file(noise(8, 30_000)) });
        }
        let mut labelled = Node::file("labelled");
        labelled.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), noise(9, 20_000))];
        tree.put("labelled", labelled);
        tree.put("device", Node { kind: Kind::Fifo, ..Node::file("") });
        tree
    }
}

/// Bytes of a stretch that are stored.
pub(super) fn data_bytes(run: &Run) -> u64 {
    match run {
        Run::Data(bytes) => bytes.len() as u64,
        Run::Hole(_) => 0,
    }
}
