//! Snapshots made to do harm by somebody with the keys, or by a writer with a defect: every verb
//! meets them, with bounded memory, and nothing outside the target changes.
//!
//! On purpose not here: what a target refuses by itself (`source-files/src/tests/hostile.rs`).

use crate::forge::{Below, Forge, leaf};
use crate::world::{Ran, Word, World, is_root, within};
use holdfast_core::chunk::{Packed, PageText};
use holdfast_core::compress::Compressor;
use holdfast_core::entry::{Attributes, Content, Entry, Extent, Kind, Owner, Time, Xattrs};
use holdfast_core::entry_code::encode_xattrs;
use holdfast_core::id::ChunkId;
use holdfast_core::page::{Blocks, encode_extent_leaf};
use holdfast_core::session::Summary;
use holdfast_core::wire::Writer;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Most memory that a run may take, in KiB.
const MEMORY_KIB_MAX: &str = "655360";
/// A run that takes longer hangs, in seconds.
const HANGS_SECONDS: &str = "300";

/// How a run has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Must {
    /// With 0.
    Do,
    /// With another code: something was refused, and saying ok would be a lie.
    Refuse,
    /// Either is right.
    End,
}
use Must::{Do, End, Refuse};

/// A tree that is not as it should be.
struct Case {
    name: &'static str,
    make: fn(&mut Forge, &mut Summary) -> ChunkId,
    restore: Must,
    verify: Must,
    check: Must,
    read_data: Must,
}

const fn case(name: &'static str, make: fn(&mut Forge, &mut Summary) -> ChunkId, musts: [Must; 4]) -> Case {
    let [restore, verify, check, read_data] = musts;
    Case { name, make, restore, verify, check, read_data }
}

fn own() -> Arc<Owner> {
    let own = fs::metadata("/proc/self").unwrap();
    Arc::new(Owner { uid: own.uid(), gid: own.gid(), ..Owner::default() })
}

fn entry(key: &[u8], kind: Kind) -> Entry {
    let file = kind == Kind::File;
    Entry {
        key: key.to_vec(),
        kind,
        mode: if kind == Kind::Directory { 0o755 } else { 0o644 },
        owner: own(),
        mtime: Time { seconds: 1_700_000_000, nanos: 0 },
        size: u64::from(file),
        content: if file { Content::Inline(b"x".to_vec()) } else { Content::None },
        digest: file.then(|| *blake3::hash(b"x").as_bytes()),
        attributes: Attributes::default(),
    }
}

fn file(key: &str) -> Entry {
    entry(key.as_bytes(), Kind::File)
}

fn link(key: &str, target: &[u8]) -> Entry {
    let mut link = entry(key.as_bytes(), Kind::Symlink);
    link.attributes.link_target = Some(target.to_vec());
    link
}

fn with_extents(key: &str, extents: Vec<Extent>) -> Entry {
    let size = extents.iter().fold(0u64, |sum, extent| sum.wrapping_add(extent.length()));
    Entry { size, content: Content::Extents(extents), digest: Some([7; 32]), ..file(key) }
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

/// Counts as a writer states them.
fn count(summary: &mut Summary, entries: &[Entry]) {
    let counts = &mut summary.counts;
    counts.files = entries.iter().filter(|entry| entry.kind == Kind::File).count() as u64;
    counts.directories = entries.iter().filter(|entry| entry.kind == Kind::Directory).count() as u64;
    counts.others = entries.len() as u64 - counts.files - counts.directories;
    counts.bytes = entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size));
}

/// A tree of one leaf.
fn one(forge: &mut Forge, summary: &mut Summary, entries: &[Entry]) -> ChunkId {
    count(summary, entries);
    forge.leaf(entries)
}

fn named(forge: &mut Forge, summary: &mut Summary, key: &[u8]) -> ChunkId {
    one(forge, summary, &[file("a"), entry(key, Kind::File)])
}

/// An inner page over leaves, with keys as they are stated.
fn over(forge: &mut Forge, summary: &mut Summary, leaves: &[(&str, &[Entry])]) -> ChunkId {
    let all: Vec<_> = leaves.iter().flat_map(|(_, entries)| entries.iter().cloned()).collect();
    count(summary, &all);
    let below: Vec<_> = leaves
        .iter()
        .map(|(key, entries)| Below {
            key: key.as_bytes().to_vec(),
            id: forge.leaf(entries),
            entries: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.size).sum(),
        })
        .collect();
    forge.inner(1, 0, &below)
}

/// A body of a leaf with one entry, some bytes of it replaced by others of the same length.
fn patched(forge: &mut Forge, entry: Entry, from: &[u8], to: &[u8]) -> ChunkId {
    let mut text = leaf(&[entry]);
    let at = text.body.windows(from.len()).position(|part| part == from).expect("what is replaced");
    text.body[at..at + from.len()].copy_from_slice(to);
    forge.page(&text)
}

/// A leaf of extents that differs from others by a number only.
fn empty_leaf(forge: &mut Forge, number: u8) -> ChunkId {
    let mut body = Writer::from_vec(vec![0, 2]);
    body.u64(0);
    body.count(0);
    body.u16(1);
    body.u16(0x0777);
    body.bytes32(&[number]);
    forge.page(&PageText { refs: vec![0; 10], body: body.into_vec() })
}

/// Pages that would be visited ten to the power of their height, if they were.
fn laughs(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let mut below: Vec<_> = (0..10).map(|number| empty_leaf(forge, number)).collect();
    for level in 1..=12u8 {
        below = (0..10u64)
            .map(|number| {
                let rows: Vec<_> = (0u64..)
                    .zip(&below)
                    .map(|(at, id)| Below {
                        key: at.to_be_bytes().to_vec(),
                        id: *id,
                        entries: number,
                        bytes: 0,
                    })
                    .collect();
                forge.inner(level, 2, &rows)
            })
            .collect();
    }
    let bomb = Entry { size: 5, content: Content::Tree(below[0]), digest: Some([7; 32]), ..file("bomb") };
    one(forge, summary, &[file("a"), bomb])
}

/// Many files with the same extended attributes of nearly 4 MiB.
fn attributes(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let id = forge.chunk(&encode_xattrs(&[(b"user.a".to_vec(), vec![7; (4 << 20) - 100])]));
    let named = |number: u32| {
        let mut entry = file(&format!("file {number:04}"));
        entry.attributes.xattrs = Xattrs::Chunk(id);
        entry
    };
    let entries: Vec<_> = (0..200).map(named).collect();
    one(forge, summary, &entries)
}

/// Many files with the same extents, nearly a million of them.
fn extents(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let extents = vec![Extent::Hole { length: 1 }; 900_000];
    let root = forge.page(&encode_extent_leaf(0, &extents, &Blocks::default()));
    let named = |number: u32| {
        let content = Content::Tree(root);
        Entry { size: 900_000, content, digest: Some([7; 32]), ..file(&format!("file {number:04}")) }
    };
    let entries: Vec<_> = (0..18).map(named).collect();
    one(forge, summary, &entries)
}

/// Many entries, each with a tag of 7 MiB that nobody knows.
fn tags(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let named = |number: u32| {
        let mut entry = file(&format!("file {number:04}"));
        entry.attributes.unknown = vec![(0x0777, vec![7; 7 << 20])];
        entry
    };
    let mut below = Vec::new();
    for number in 0..80 {
        let entry = named(number);
        let (key, id) = (entry.key.clone(), forge.leaf(&[entry]));
        below.push(Below { key, id, entries: 1, bytes: 1 });
    }
    (summary.counts.files, summary.counts.bytes) = (80, 80);
    (summary.counts.directories, summary.counts.others) = (0, 0);
    forge.inner(1, 0, &below)
}

/// A chunk whose frame gives more than any chunk has, under an identifier of our choice.
fn frame(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let zeros = vec![0; 64 << 20];
    let payload = Compressor::new(1).compress(&zeros).unwrap().to_vec();
    let id = ChunkId([9; 32]);
    forge.chunk_as(id, 100, Packed { payload: &payload, compressed: true });
    one(
        forge,
        summary,
        &[file("a"), with_extents("bomb", vec![Extent::Chunk { id, offset: 0, length: 100 }])],
    )
}

/// A frame that states a few bytes and gives many.
fn lying_frame(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let mut payload = Compressor::new(1).compress(&vec![0; 1 << 20]).unwrap().to_vec();
    let at = payload.windows(4).position(|part| part == (1u32 << 20).to_le_bytes()).expect("the stated size");
    payload[at..at + 4].copy_from_slice(&1000u32.to_le_bytes());
    let id = ChunkId([9; 32]);
    forge.chunk_as(id, 1000, Packed { payload: &payload, compressed: true });
    one(
        forge,
        summary,
        &[file("a"), with_extents("bomb", vec![Extent::Chunk { id, offset: 0, length: 100 }])],
    )
}

fn past_the_end(forge: &mut Forge, summary: &mut Summary, plaintext: &[u8]) -> ChunkId {
    let id = forge.chunk(plaintext);
    let extent = |offset, length| vec![Extent::Chunk { id, offset, length }];
    let entries = [
        with_extents("a", extent(plaintext.len() as u32 - 10, 100)),
        with_extents("b", extent(u32::MAX - 1, u32::MAX)),
    ];
    one(forge, summary, &entries)
}

fn forged_groups(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let linked = |key: &str, content: &[u8], mode| {
        let mut entry = file(key);
        entry.attributes.link_group = Some([5; 16]);
        entry.content = Content::Inline(content.to_vec());
        (entry.size, entry.mode) = (content.len() as u64, mode);
        entry.digest = Some(*blake3::hash(content).as_bytes());
        entry
    };
    let entries = [linked("a", b"one", 0o644), linked("b", b"two", 0o644), linked("c", b"one", 0o4755)];
    one(forge, summary, &entries)
}

fn strange_texts(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let mut named = entry(b"a\x1b[2J\n\xff\xe2\x80\xae", Kind::File);
    named.owner = Arc::new(Owner { user: "\x1b]0;x\x07".into(), group: "g\r\n".into(), ..(*own()).clone() });
    summary.host = "\x1b[31mhost\n".into();
    summary.label = "label\x1b[0m\r".into();
    summary.tags = vec!["\x1b[7m".into()];
    one(forge, summary, &[named, link("b", b"\x1b[31m\xff\n")])
}

fn times(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let at = |key: &str, seconds, nanos| Entry { mtime: Time { seconds, nanos }, ..file(key) };
    summary.start = Time { seconds: i64::MIN, nanos: 0 };
    one(forge, summary, &[at("a", i64::MIN, 0), at("b", i64::MAX, 999_999_999), at("c", -1, 1)])
}

fn key_bomb(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let folder = [b'k'; 250];
    let mut key: Vec<u8> = Vec::new();
    while key.len() < 65_000 {
        key.extend_from_slice(&folder);
        key.push(0);
    }
    let entries: Vec<_> = (0..20_000)
        .map(|number| entry(&[&key[..], format!("{number:06}").as_bytes()].concat(), Kind::File))
        .collect();
    one(forge, summary, &entries)
}

fn devices(forge: &mut Forge, summary: &mut Summary) -> ChunkId {
    let mut null = entry(b"null", Kind::CharDevice);
    null.attributes.device = Some((1, 3));
    let mut root = file("root");
    (root.mode, root.owner) = (0o6755, Arc::new(Owner::default()));
    one(forge, summary, &[null, root])
}

const CASES: &[Case] = &[
    case(
        "control",
        |forge, summary| one(forge, summary, &[file("a"), link("b", b"../outside/precious")]),
        [Do; 4],
    ),
    case("same name twice", |forge, summary| one(forge, summary, &[file("a"), file("a")]), [Refuse; 4]),
    case("out of order", |forge, summary| one(forge, summary, &[file("b"), file("a")]), [Refuse; 4]),
    case(
        "out of order across leaves",
        |forge, summary| over(forge, summary, &[("c", &[file("c"), file("z")]), ("d", &[file("d")])]),
        [Refuse; 4],
    ),
    case(
        "same name in two leaves",
        |forge, summary| over(forge, summary, &[("a", &[file("a"), file("b")]), ("b", &[file("b")])]),
        [Refuse; 4],
    ),
    case(
        "first key that is another",
        |forge, summary| over(forge, summary, &[("a", &[file("a")]), ("b", &[file("c")])]),
        [Refuse; 4],
    ),
    case(
        "leaves without entries",
        |forge, summary| over(forge, summary, &[("a", &[file("a")]), ("b", &[]), ("c", &[])]),
        [Refuse; 4],
    ),
    case("..", |forge, summary| named(forge, summary, b"b\0..\0..\0outside\0new"), [Refuse; 4]),
    case("dots alone", |forge, summary| named(forge, summary, b".."), [Refuse; 4]),
    case("a dot", |forge, summary| named(forge, summary, b"b\0."), [Refuse; 4]),
    case("an empty name", |forge, summary| named(forge, summary, b"b\0\0c"), [Refuse; 4]),
    case("a slash", |forge, summary| named(forge, summary, b"b/../../outside/new"), [Refuse; 4]),
    case("an absolute name", |forge, summary| named(forge, summary, b"/tmp/new"), [Refuse; 4]),
    case("a zero at the end", |forge, summary| named(forge, summary, b"b\0"), [Refuse; 4]),
    case(
        "a very long name",
        |forge, summary| named(forge, summary, &[b'n'; 65_535]),
        [Refuse, Refuse, Do, Do],
    ),
    case("a long name", |forge, summary| named(forge, summary, &[b'n'; 256]), [Refuse, Refuse, Do, Do]),
    case("keys that are mostly shared", key_bomb, [Refuse; 4]),
    case(
        "below a link",
        |forge, summary| one(forge, summary, &[link("way", b"../outside"), file("way\0precious")]),
        [Refuse, Refuse, End, End],
    ),
    case(
        "below a file",
        |forge, summary| one(forge, summary, &[file("way"), file("way\0file")]),
        [Refuse, Refuse, End, End],
    ),
    case("groups of different files", forged_groups, [Do; 4]),
    case("devices and rights", devices, [End, End, Do, Do]),
    case(
        "a hole of all there is",
        |forge, summary| one(forge, summary, &[with_extents("a", vec![Extent::Hole { length: u64::MAX }])]),
        [Refuse, Refuse, Do, Do],
    ),
    case(
        "a hole of half of it",
        |forge, summary| one(forge, summary, &[with_extents("a", vec![Extent::Hole { length: 1 << 63 }])]),
        [Refuse, Refuse, Do, Do],
    ),
    case(
        "lengths that overflow",
        |forge, summary| {
            let holes = vec![Extent::Hole { length: u64::MAX }, Extent::Hole { length: 2 }];
            one(forge, summary, &[with_extents("a", holes)])
        },
        [Refuse; 4],
    ),
    case("past the end of a chunk", |f, summary| past_the_end(f, summary, &noise(2000)), [Refuse; 4]),
    case(
        "past the end of a packed one",
        |f, s| past_the_end(f, s, &[7; 2000]),
        [Refuse, Refuse, End, Refuse],
    ),
    case(
        "a chunk that is not there",
        |forge, summary| {
            let extent = Extent::Chunk { id: ChunkId([3; 32]), offset: 0, length: 5 };
            one(forge, summary, &[with_extents("a", vec![extent])])
        },
        [Refuse; 4],
    ),
    case("pages that multiply", laughs, [Refuse; 4]),
    case(
        "levels that lie",
        |forge, summary| {
            let id = forge.leaf(&[file("a")]);
            count(summary, &[file("a")]);
            forge.inner(2, 0, &[Below { key: b"a".to_vec(), id, entries: 1, bytes: 1 }])
        },
        [Refuse; 4],
    ),
    case(
        "counts that lie",
        |forge, summary| {
            let id = forge.leaf(&[file("a")]);
            count(summary, &[file("a")]);
            forge.inner(1, 0, &[Below { key: b"a".to_vec(), id, entries: u64::MAX, bytes: u64::MAX }])
        },
        [Do, Do, Refuse, Refuse],
    ),
    case(
        "a summary that lies",
        |forge, summary| {
            let root = one(forge, summary, &[file("a")]);
            (summary.counts.files, summary.counts.bytes) = (u64::MAX, u64::MAX);
            root
        },
        [Do, Do, Refuse, Refuse],
    ),
    case("attributes that fill memory", attributes, [End; 4]),
    case("tags that fill memory", tags, [Do; 4]),
    case("extents that fill memory", extents, [End, End, Do, Do]),
    case("a frame that gives too much", frame, [Refuse, Refuse, End, Refuse]),
    case("a frame that lies", lying_frame, [Refuse, Refuse, End, Refuse]),
    case(
        "inline content of another size",
        |forge, summary| one(forge, summary, &[Entry { size: 5, ..file("a") }]),
        [Refuse; 4],
    ),
    case(
        "a digest that does not fit",
        |forge, summary| one(forge, summary, &[Entry { digest: Some([0; 32]), ..file("a") }]),
        [End, Refuse, End, End],
    ),
    case("times at the ends", times, [End, End, Do, Do]),
    case(
        "an unknown critical tag",
        |forge, summary| {
            count(summary, &[file("a")]);
            let mut entry = file("a");
            entry.attributes.unknown = vec![(0x0777, b"mark".to_vec())];
            patched(forge, entry, &[0x77, 0x07, 4, 0, 0, 0], &[0x77, 0x87, 4, 0, 0, 0])
        },
        [Refuse; 4],
    ),
    case("texts that steer a terminal", strange_texts, [End, End, Do, Do]),
];

/// A file outside the target that has a second name in it.
const LINKED: &str = "linked";

/// A target where every name that a case uses is a way out of it.
fn plant(target: &Path) {
    fs::create_dir_all(target.join("b")).unwrap();
    for name in ["a", "c", "z", "bomb", "null", "file 0000", "b/x"] {
        symlink("../outside/precious", target.join(name)).unwrap();
    }
    for name in ["d", "way", "link", "b/..."] {
        symlink("../outside", target.join(name)).unwrap();
    }
    for name in ["root", "file 0001"] {
        fs::hard_link(target.with_file_name("outside").join(LINKED), target.join(name)).unwrap();
    }
}

/// What lies around the target: kind, inode, mode, time, size and content of everything.
fn listing(top: &Path) -> BTreeMap<String, String> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = match meta.file_type() {
            kind if kind.is_dir() => {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                String::new()
            }
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
            _ => blake3::hash(&fs::read(&path).unwrap()).to_string(),
        };
        // A second name of it may be taken away from it, nothing else.
        let whole = path.file_name().is_some_and(|name| name != LINKED);
        let changed = whole.then(|| (meta.ctime(), meta.ctime_nsec(), meta.nlink()));
        let times = (meta.mtime(), meta.mtime_nsec(), changed);
        let said = format!("{} {:o} {} {times:?} {content}", meta.ino(), meta.mode(), meta.size());
        found.insert(path.to_string_lossy().into_owned(), said);
    }
    found
}

/// A world with one snapshot by the program and a place around the target.
struct Stage {
    world: World,
    end: String,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        fs::create_dir_all(world.path("source/folder")).unwrap();
        fs::write(world.path("source/folder/file"), noise(5_000)).unwrap();
        fs::create_dir_all(world.path("around/outside")).unwrap();
        fs::write(world.path("around/outside/precious"), "precious").unwrap();
        fs::write(world.path("around/outside").join(LINKED), "linked").unwrap();
        symlink("outside", world.path("around/way")).unwrap();
        world.backup(&world.path("source"));
        let end = world.objects().into_iter().find(|name| name.ends_with("/end")).unwrap();
        Self { world, end }
    }

    /// The program with little memory; one that hangs is ended.
    fn run(&self, words: &[Word<'_>]) -> Ran {
        let mut command = Command::new("timeout");
        let limited = format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$0\" \"$@\"");
        command.args([HANGS_SECONDS, "sh", "-c", &limited]).arg(crate::world::program());
        self.world.furnish(&mut command);
        // The limit is one of addresses, of which an allocator may reserve far more than it uses.
        command.env("MALLOC_ARENA_MAX", "2");
        self.world.run_as(&mut command, words)
    }

    /// Puts a forged snapshot beside the program's.
    fn forge(&self, case: &Case) {
        let mut forge = Forge::open(&self.world.repo, "correct horse", 0xfe);
        let mut summary = forge.summary(&self.end);
        summary.end.seconds += 10;
        summary.root = (case.make)(&mut forge, &mut summary);
        summary.parent = None;
        forge.commit(summary);
    }

    fn judge(&self, case: &Case, words: &[Word<'_>], must: Must) -> Ran {
        let ran = self.run(words);
        let code = ran.code;
        let told = || format!("{}: {:?} ended with {code}\n{}\n{}", case.name, ran.words, ran.out, ran.err);
        // Neither a panic, nor the guard against hanging, nor a signal.
        assert!([0, 1, 3].contains(&code), "{}", told());
        assert!(must == End || (code == 0) == (must == Do), "{must:?}: {}", told());
        assert!(!ran.out.contains('\x1b') && !ran.err.contains('\x1b'), "{}", told());
        ran
    }

    /// Every verb meets the snapshot.
    fn play(&self, case: &Case) {
        self.forge(case);
        let before = listing(&self.world.path("around"));
        let snapshot = "fefefefe";
        let target = |name: &str| self.world.path(format!("around/{name}"));
        self.judge(case, &[&"snapshots"], Do);
        self.judge(case, &[&"ls", &"-l", &snapshot], End);
        self.judge(case, &[&"restore", &snapshot, &"--target", &target("dry"), &"--dry-run"], End);
        self.judge(case, &[&"restore", &snapshot, &"--target", &target("target")], case.restore);
        self.judge(
            case,
            &[&"restore", &snapshot, &"--verify", &"--target", &target("verified")],
            case.verify,
        );
        self.judge(case, &[&"check"], case.check);
        self.judge(case, &[&"check", &"--read-data"], case.read_data);
        let over = if case.restore == Refuse { Refuse } else { End };
        for words in [&[] as &[Word<'_>], &[&"--delete", &"--max-delete", &"100%"]] {
            plant(&target("planted"));
            let planted = target("planted");
            let all: &[Word<'_>] = &[&"restore", &snapshot, &"--target", &planted, &"--overwrite", &"always"];
            self.judge(case, &[all, &[&"--dry-run"], words].concat(), End);
            self.judge(case, &[all, words].concat(), over);
            remove(&planted);
        }
        for name in ["target", "verified"] {
            remove(&target(name));
        }
        let after = listing(&self.world.path("around"));
        let outside = |listing: &BTreeMap<String, String>| {
            // The folder itself had targets made and removed in it.
            listing.iter().skip(1).map(|(path, said)| (path.clone(), said.clone())).collect::<Vec<_>>()
        };
        assert_eq!(outside(&before), outside(&after), "{}", case.name);
        // As the parent of the next snapshot, which is whole.
        let fresh = self.world.path("fresh cache");
        let source = self.world.path("source");
        let words: &[Word<'_>] = &[&"backup", &"--cache-dir", &fresh, &"--parent", &snapshot, &source];
        self.judge(case, words, Do);
        let restored = self.world.path("restored");
        let newest = self.world.objects().into_iter().filter(|name| name.ends_with("/end"));
        assert_eq!(newest.count(), 3, "{}", case.name);
        let newest = self.newest();
        self.judge(case, &[&"restore", &within(&newest, &source), &"--target", &restored], Do);
        let file = fs::read(restored.join("folder/file")).unwrap();
        assert!(file == noise(5_000), "{}", case.name);
    }

    /// The snapshot that is neither the first nor forged.
    fn newest(&self) -> String {
        let sessions =
            self.world.objects().into_iter().filter(|name| name.ends_with("/end") && *name != self.end);
        let ids =
            sessions.map(|name| name.rsplit('/').nth(1).unwrap().rsplit('-').next().unwrap().to_owned());
        ids.into_iter().find(|id| !id.starts_with("fefe")).unwrap()
    }
}

fn remove(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).unwrap();
    }
}

/// Plays a share of the cases; each test has one, so that they run side by side.
fn play_share(part: usize) {
    for case in CASES.iter().skip(part).step_by(8) {
        Stage::new().play(case);
    }
}

macro_rules! shares {
    ($($name:ident $part:literal)*) => {
        $(
            #[test]
            fn $name() {
                play_share($part);
            }
        )*
    };
}

shares! {
    forged_snapshots_0 0
    forged_snapshots_1 1
    forged_snapshots_2 2
    forged_snapshots_3 3
    forged_snapshots_4 4
    forged_snapshots_5 5
    forged_snapshots_6 6
    forged_snapshots_7 7
}

/// A restore without rights gives no rights and makes no devices, and says so.
#[test]
fn somebody_without_rights_gets_none() {
    if !is_root() {
        return;
    }
    let stage = Stage::new();
    let case = CASES.iter().find(|case| case.name == "devices and rights").unwrap();
    stage.forge(case);
    let world = &stage.world;
    world.give_to_nobody(&[&world.repo.clone(), &world.cache.clone()]);
    let place = world.path("nobodys");
    fs::create_dir(&place).unwrap();
    world.give_to_nobody(&[&place]);
    let target = place.join("target");
    let ran = world.run_as(&mut world.as_nobody(), &[&"restore", &"fefefefe", &"--target", &target]);
    assert!([1, 3].contains(&ran.code), "{ran:?}");
    assert!(!target.join("null").exists(), "{ran:?}");
    let made = fs::metadata(target.join("root")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o6000), (crate::world::NOBODY, 0), "{ran:?}");
}

/// What was written from the format's page, and not by this program, is right in its eyes.
#[test]
fn the_golden_repository_is_sound() {
    let world = World::bare();
    let golden = holdfast_tests::root().join("tests/golden/draft-1");
    crate::world::run_tool(Command::new("cp").arg("-r").arg(golden).arg(&world.repo));
    let mut command = world.command();
    command.env("HOLDFAST_PASSWORD", "golden");
    world.run_as(&mut command, &[&"check", &"--read-data", &"-v"]).ends(0);
}
