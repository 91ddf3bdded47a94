//! How fast the parts of `core` are: cutting, hashing, sealing, opening, pages.
//!
//! `cargo bench -p holdfast-benches --bench core`; with `-- --quick` it takes half a minute. On
//! purpose not here: disks and whole programs, which `whole` measures.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use holdfast_benches::Noise;
use holdfast_core::chunk::{PackCipher, PageText, open_data, pack_payload, seal_data};
use holdfast_core::chunker::{BundleRule, Chunker, GearTable};
use holdfast_core::compress::{Compressor, Decompressor, LEVEL_DEFAULT};
use holdfast_core::crypto::{Secret, hash};
use holdfast_core::entry::{Attributes, Content, Entry, Extent, Kind, Owner, Time, path_to_key};
use holdfast_core::id::{ChunkId, MemberId, RepositoryId, SessionId};
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables};
use holdfast_core::keys::{ChunkKind, Identifier};
use holdfast_core::name::{PackClass, PackId};
use holdfast_core::page::{KeySpace, Page, TreeBuilder};
use std::hint::black_box;
use std::sync::Arc;

const STREAM_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const ENTRIES: usize = 20_000;

fn identifier() -> Identifier {
    Identifier::new(&Secret::new([1; 32]), &Secret::new([2; 32]))
}

fn chunk(criterion: &mut Criterion) {
    let table = GearTable::new(&Secret::new([2; 32]));
    let mut group = criterion.benchmark_group("chunk 64 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(STREAM_BYTES as u64));
    for (kind, bytes) in
        [("noise", Noise::new(1).bytes(STREAM_BYTES)), ("text", Noise::new(1).text(STREAM_BYTES))]
    {
        group.bench_function(kind, |bencher| {
            bencher.iter(|| {
                let (mut chunker, mut rest, mut cuts) = (Chunker::new(&table), &bytes[..], 0);
                while let Some(length) = chunker.cut(rest) {
                    rest = &rest[length..];
                    cuts += 1;
                }
                black_box(cuts)
            });
        });
    }
}

fn identify(criterion: &mut Criterion) {
    let identifier = identifier();
    let mut group = criterion.benchmark_group("keyed chunk id");
    for bytes in [4 << 10, 128 << 10, CHUNK_BYTES] {
        let plaintext = Noise::new(2).bytes(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{} KiB", bytes >> 10), |bencher| {
            bencher.iter(|| identifier.chunk(ChunkKind::Data, black_box(&plaintext)));
        });
    }
}

fn seal(criterion: &mut Criterion) {
    let pack =
        PackId { member: MemberId([1; 16]), session: SessionId([2; 16]), class: PackClass::Data, ordinal: 0 };
    let cipher = PackCipher::new(&Secret::new([3; 32]), RepositoryId([4; 16]), &pack);
    let identifier = identifier();
    let mut group = criterion.benchmark_group("1 MiB chunk");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    for (kind, plaintext) in
        [("noise", Noise::new(3).bytes(CHUNK_BYTES)), ("text", Noise::new(3).text(CHUNK_BYTES))]
    {
        let id = identifier.chunk(ChunkKind::Data, &plaintext);
        let (mut compressor, mut sealed) = (Compressor::new(LEVEL_DEFAULT), Vec::new());
        group.bench_function(format!("compress and seal, {kind}"), |bencher| {
            bencher.iter(|| {
                sealed.clear();
                seal_data(&cipher, &id, pack_payload(&plaintext, &mut compressor), &mut sealed)
            });
        });
        sealed.clear();
        let length = seal_data(&cipher, &id, pack_payload(&plaintext, &mut compressor), &mut sealed);
        let (mut decompressor, mut opened) = (Decompressor::new(), Vec::new());
        group.bench_function(format!("open and verify, {kind}"), |bencher| {
            bencher.iter_batched_ref(
                || sealed.clone(),
                |bytes| {
                    open_data(&cipher, &identifier, &id, length, bytes, &mut decompressor, &mut opened)
                        .expect("what was sealed opens");
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn bundle(criterion: &mut Criterion) {
    let rule = BundleRule::new(&Secret::new([2; 32]));
    let digests: Vec<_> = (0..ENTRIES as u32).map(|n| hash(&n.to_le_bytes())).collect();
    let mut group = criterion.benchmark_group("bundle rule");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("20,000 files", |bencher| {
        bencher.iter(|| digests.iter().filter(|digest| rule.closes(512 << 10, digest, 8 << 10)).count());
    });
}

fn entries() -> Vec<Entry> {
    let owner = Arc::new(Owner { uid: 1000, gid: 1000, user: "ann".into(), group: "staff".into() });
    let entry = |n: usize| Entry {
        key: path_to_key(format!("srv/www/site {:03}/page {n:06}.html", n / 100).as_bytes()),
        kind: Kind::File,
        mode: 0o644,
        owner: owner.clone(),
        mtime: Time { seconds: 1_700_000_000 + n as i64, nanos: 123_456_789 },
        size: 9_000,
        content: Content::Extents(vec![Extent::Chunk {
            id: ChunkId(hash(&(n as u32 / 80).to_le_bytes())),
            offset: (n as u32 % 80) * 9_000,
            length: 9_000,
        }]),
        digest: Some(hash(&(n as u32).to_le_bytes())),
        attributes: Attributes::default(),
    };
    (0..ENTRIES).map(entry).collect()
}

fn pages(entries: &[Entry]) -> Vec<PageText> {
    let mut pages = Vec::new();
    let mut sink = |_, text| pages.push(text);
    let mut builder = TreeBuilder::new(identifier(), KeySpace::Paths);
    entries.iter().for_each(|entry| builder.push(entry, &mut sink));
    builder.finish(&mut sink);
    pages
}

fn tree(criterion: &mut Criterion) {
    let entries = entries();
    let texts = pages(&entries);
    let mut group = criterion.benchmark_group("pages of 20,000 entries");
    group.sample_size(20).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("build", |bencher| bencher.iter(|| pages(&entries)));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            texts.iter().for_each(|text| drop(black_box(Page::decode(text).expect("a page of ours"))));
        });
    });
}

fn index(criterion: &mut Criterion) {
    let row = |n: u32| ChunkRow {
        key: ChunkKey::from(&ChunkId(hash(&n.to_le_bytes()))),
        pack: 0,
        offset: n,
        length: holdfast_core::chunk::StoredLength::new(300_000, true),
        origin: 0,
    };
    let mut tables = IndexTables { chunks: (0..ENTRIES as u32).map(row).collect(), ..IndexTables::default() };
    tables.sort();
    let mut group = criterion.benchmark_group("index of 20,000 chunks");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| tables.encode()));
    group.bench_function("sort", |bencher| {
        bencher.iter_batched_ref(
            || IndexTables { chunks: (0..ENTRIES as u32).map(row).collect(), ..IndexTables::default() },
            IndexTables::sort,
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, chunk, identify, seal, bundle, tree, index);
criterion_main!(benches);
