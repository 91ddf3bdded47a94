//! What the golden repository holds: two trees, entry by entry.
//!
//! On purpose not here: how it is stored.

use crate::fixture::noise;
use holdfast_core::crypto::hash;
use holdfast_core::entry::{Attributes, Content, Digest, Entry, Kind, Owner, Time, Xattrs};
use holdfast_core::id::{MemberId, RepositoryId, SessionId};
use std::sync::Arc;

pub(crate) const REPOSITORY: RepositoryId = RepositoryId(*b"golden, draft 1.");
pub(crate) const OWNER: MemberId = MemberId(*b"golden owner ...");
pub(crate) const WRITER: MemberId = MemberId(*b"golden writer ..");
pub(crate) const READER: MemberId = MemberId(*b"golden reader ..");
pub(crate) const FIRST: SessionId = SessionId(*b"golden session 1");
pub(crate) const EMPTY: SessionId = SessionId(*b"golden session 2");
pub(crate) const ABORTED: SessionId = SessionId(*b"golden session 3");
pub(crate) const SECOND: SessionId = SessionId(*b"golden session 4");
pub(crate) const PASSWORD: &[u8] = b"golden";

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Run {
    /// These bytes.
    Data(Vec<u8>),
    /// So many bytes that are not stored.
    Hole(u64),
}

/// How content is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// By its size alone, as a backup of files does.
    BySize,
    /// As a tree of extents.
    Tree,
    /// As a tree of extents with the hashes of its blocks.
    Blocks,
}

/// An entry, without where its content lies, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) entry: Entry,
    pub(crate) runs: Vec<Run>,
}

/// A snapshot.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) session: SessionId,
    pub(crate) items: Vec<Item>,
    pub(crate) placements: Vec<Placement>,
}

/// Hash of a content: plain, or over its runs where it has holes.
pub(crate) fn digest(runs: &[Run]) -> Digest {
    let mut data = blake3::Hasher::new();
    let mut shape: Vec<(u8, u64)> = Vec::new();
    for run in runs {
        let (kind, length) = match run {
            Run::Data(bytes) => {
                data.update(bytes);
                (0, bytes.len() as u64)
            }
            Run::Hole(length) => (1, *length),
        };
        match shape.last_mut() {
            Some(last) if last.0 == kind => last.1 += length,
            _ => shape.push((kind, length)),
        }
    }
    if !shape.iter().any(|(kind, _)| *kind == 1) {
        return *data.finalize().as_bytes();
    }
    let mut outer = blake3::Hasher::new();
    outer.update(b"holdfast 1 holes").update(data.finalize().as_bytes());
    for (kind, length) in shape {
        outer.update(&[kind]).update(&length.to_le_bytes());
    }
    *outer.finalize().as_bytes()
}

/// The snapshots that are kept, oldest first.
pub(crate) fn snapshots() -> Vec<Model> {
    vec![first(), second()]
}

fn owner(root: bool) -> Arc<Owner> {
    let (uid, user, group) = if root { (0, "root", "root") } else { (1000, "ann", "") };
    Arc::new(Owner { uid, gid: uid, user: user.into(), group: group.into() })
}

impl Model {
    fn new(session: SessionId) -> Self {
        Self { session, items: Vec::new(), placements: Vec::new() }
    }

    fn add(&mut self, path: &[u8], kind: Kind, mode: u16, attributes: Attributes) -> &mut Item {
        let key = path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect();
        let time = Time { seconds: 1_700_000_000 + self.items.len() as i64, nanos: 987_654_321 };
        let digest = (kind == Kind::File).then(|| digest(&[]));
        self.items.push(Item {
            entry: Entry {
                key,
                kind,
                mode,
                owner: owner(kind != Kind::File),
                mtime: time,
                size: 0,
                content: Content::None,
                digest,
                attributes,
            },
            runs: Vec::new(),
        });
        self.placements.push(Placement::BySize);
        self.items.last_mut().unwrap()
    }

    fn plain(&mut self, path: &[u8], kind: Kind, mode: u16) -> &mut Item {
        self.add(path, kind, mode, Attributes::default())
    }

    fn file(&mut self, path: &[u8], runs: Vec<Run>) -> &mut Item {
        let item = self.plain(path, Kind::File, 0o644);
        item.entry.size = runs
            .iter()
            .map(|run| match run {
                Run::Data(bytes) => bytes.len() as u64,
                Run::Hole(length) => *length,
            })
            .sum();
        item.entry.digest = Some(digest(&runs));
        item.runs = runs;
        item
    }

    fn bytes(&mut self, path: &[u8], bytes: Vec<u8>) -> &mut Item {
        self.file(path, vec![Run::Data(bytes)])
    }

    fn placed(&mut self, placement: Placement) {
        *self.placements.last_mut().unwrap() = placement;
    }

    fn finish(mut self) -> Self {
        let mut both: Vec<_> = self.items.into_iter().zip(self.placements).collect();
        both.sort_by(|(a, _), (b, _)| a.entry.key.cmp(&b.entry.key));
        (self.items, self.placements) = both.into_iter().unzip();
        self
    }
}

fn text(name: &str, lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("{name}, line {line}\n").into_bytes()).collect()
}

/// 6 MiB that compress to little: the same noise again and again, each time numbered.
fn large() -> Vec<u8> {
    let block = noise("golden block", 8_180);
    (0..768).flat_map(|number| [format!("block {number:06}").into_bytes(), block.clone()].concat()).collect()
}

fn first() -> Model {
    let mut model = Model::new(FIRST);
    model.plain(b"docs", Kind::Directory, 0o755);
    model.bytes(b"docs/first", text("first", 40));
    model.bytes(b"docs/small-1", text("small-1", 100));
    model.bytes(b"docs/small-2", text("small-2", 100));
    model.finish()
}

fn second() -> Model {
    let mut model = Model::new(SECOND);
    model.plain(b"docs", Kind::Directory, 0o755);
    model.file(b"docs/empty", Vec::new());
    model.bytes(b"docs/inline", b"less than 512 bytes".to_vec());
    model.bytes(b"docs/small-1", text("small-1", 100));
    model.bytes(b"docs/small-2", text("small-2", 100));
    model.bytes(b"docs/small-3", text("small-3", 200)).entry.mode = 0o6755;
    model.bytes(b"docs/old", text("old", 50)).entry.mtime = Time { seconds: -1_234_567_890, nanos: 1 };
    model.bytes(b"docs/future", text("future", 50)).entry.mtime =
        Time { seconds: 5_000_000_000, nanos: 999_999_999 };
    model.bytes(b"docs/not utf-8: \xff\xfe", b"named in Latin-1".to_vec());
    model.bytes(b"large", large());
    special_kinds(&mut model);
    with_attributes(&mut model);
    with_holes(&mut model);
    model.plain(b"many", Kind::Directory, 0o1777);
    for number in 0..300 {
        model.bytes(format!("many/file-{number:03}").as_bytes(), format!("file {number}").into_bytes());
    }
    model.finish()
}

fn special_kinds(model: &mut Model) {
    let device = |numbers| Attributes { device: Some(numbers), ..Attributes::default() };
    let link = |target: &[u8]| Attributes { link_target: Some(target.to_vec()), ..Attributes::default() };
    model.plain(b"special", Kind::Directory, 0o700);
    model.add(b"special/null", Kind::CharDevice, 0o666, device((1, 3)));
    model.add(b"special/disk", Kind::BlockDevice, 0o660, device((259, 70_000)));
    model.plain(b"special/pipe", Kind::Fifo, 0o600);
    model.plain(b"special/socket", Kind::Socket, 0o755);
    model.add(b"special/link", Kind::Symlink, 0o777, link(b"../docs/inline"));
    model.add(b"special/dangling", Kind::Symlink, 0o777, link(b"nowhere/\xff"));
}

fn with_attributes(model: &mut Model) {
    model.plain(b"attributes", Kind::Directory, 0o755);
    let set = |item: &mut Item, attributes| item.entry.attributes = attributes;
    set(
        model.bytes(b"attributes/inline", b"extended attributes in the page".to_vec()),
        Attributes {
            xattrs: Xattrs::Inline(vec![
                (
                    b"security.capability".to_vec(),
                    vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                ),
                (b"user.comment".to_vec(), b"golden".to_vec()),
            ]),
            birth: Some(Time { seconds: 1_600_000_000, nanos: 7 }),
            inode_flags: 0x10,
            ..Attributes::default()
        },
    );
    let large =
        vec![(b"user.large".to_vec(), noise("golden attribute", 1500)), (b"user.small".to_vec(), vec![])];
    set(
        model.bytes(b"attributes/chunk", b"extended attributes in a chunk".to_vec()),
        Attributes { xattrs: Xattrs::Inline(large), ..Attributes::default() },
    );
    set(
        model.bytes(b"attributes/grown", text("grown", 30)),
        Attributes { grown: true, ..Attributes::default() },
    );
    set(
        model.bytes(b"attributes/torn", text("torn", 30)),
        Attributes {
            torn: true,
            unknown: vec![(0x0777, b"of a later version".to_vec())],
            ..Attributes::default()
        },
    );
    for name in [b"attributes/hard-1", b"attributes/hard-2"] {
        let item = model.bytes(name, text("hard link", 60));
        item.entry.mtime = Time { seconds: 1_650_000_000, nanos: 0 };
        // The group is a keyed hash; the writer fills it in.
        item.entry.attributes.link_group = Some([0; 16]);
    }
}

fn with_holes(model: &mut Model) {
    model.plain(b"holes", Kind::Directory, 0o755);
    let data = |name: &str| Run::Data(noise(name, 4096));
    model.file(b"holes/few", vec![data("few 1"), Run::Hole(1 << 30), data("few 2"), Run::Hole(4096)]);
    model.file(b"holes/only", vec![Run::Hole(1 << 40)]);
    let many = (0..20u64).flat_map(|n| [Run::Data(text("many", 40 + n as usize)), Run::Hole(10 << 20)]);
    model.file(b"holes/many", many.collect());
    model.placed(Placement::Tree);
    let pages = (0..3).flat_map(|_| noise("golden page", 8192)).collect();
    model.bytes(b"holes/database", pages);
    model.placed(Placement::Blocks);
}

/// 16 bytes that look random and are always the same.
pub(crate) fn fixed_16(label: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(label.as_bytes())[..16]);
    id
}
