//! What tests share: walking all of a source, copying it to a target, comparing two trees.
//!
//! The copy does what the engine does, without a repository in between.

use crate::{FileSource, FileSourceOptions, FileTarget};
use holdfast_core::entry::{Attributes, Content, Entry, Extent, Kind, Xattrs, path_to_key};
use holdfast_engine::outcome::{NoticeKind, Problems};
use holdfast_engine::source::{
    ContentStream, Details, EntryBatch, Examined, ItemError, Piece, ReadStatus, SMALL_FILE_BYTES_MAX, Source,
    Stat,
};
use holdfast_engine::target::{Finished, Target, TargetBatch, Want};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A part of a content: where it begins, and its bytes or the length of a hole.
pub(super) type Parts = Vec<(u64, Result<Vec<u8>, u64>)>;

pub(super) fn options(paths: &[&Path]) -> FileSourceOptions {
    FileSourceOptions {
        paths: paths.iter().map(PathBuf::from).collect(),
        host: "host".to_owned(),
        ..FileSourceOptions::default()
    }
}

pub(super) fn batches(options: FileSourceOptions) -> Vec<EntryBatch> {
    let mut source = FileSource::new(options).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = source.next_batch().unwrap() {
        batches.push(batch);
    }
    source.finish().unwrap();
    batches
}

/// All keys below a path, without its own prefix; and what the walk met.
pub(super) fn walk(options: FileSourceOptions) -> (Vec<Vec<u8>>, Problems) {
    let prefix = path_to_key(options.paths[0].as_os_str().as_bytes());
    let (keys, problems) = walk_whole(options);
    let below = keys.iter().filter_map(|key| key.strip_prefix(&prefix[..])?.strip_prefix(b"\0"));
    (below.map(<[u8]>::to_vec).collect(), problems)
}

/// All keys; they ascend, or the test fails.
pub(super) fn walk_whole(options: FileSourceOptions) -> (Vec<Vec<u8>>, Problems) {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut problems = Problems::default();
    for batch in batches(options) {
        keys.extend((0..batch.items.len()).map(|item| batch.key(item).to_vec()));
        problems.absorb(batch.problems);
    }
    assert!(keys.is_sorted_by(|a, b| a < b), "keys do not ascend");
    (keys, problems)
}

pub(super) fn notices(problems: &Problems, kind: NoticeKind) -> Vec<String> {
    let of_kind = problems.notices.iter().filter(|notice| notice.kind == kind);
    of_kind.map(|notice| String::from_utf8_lossy(&notice.path).into_owned()).collect()
}

/// Reads a stream to its end.
pub(super) fn drain(stream: &mut dyn ContentStream) -> (Parts, ReadStatus) {
    let mut parts = Parts::new();
    let mut buffer = vec![0; 100_000];
    let mut at = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            Piece::Data(length) => {
                parts.push((at, Ok(buffer[..length].to_vec())));
                at += length as u64;
            }
            Piece::Hole(length) => {
                parts.push((at, Err(length)));
                at += length;
            }
            Piece::End => return (parts, stream.finish().unwrap()),
        }
    }
}

/// One item, read as the engine reads it.
pub(super) fn read_item(batch: &EntryBatch, item: usize) -> Result<(Stat, Details, Parts), ItemError> {
    let listed = &batch.items[item].stat;
    if listed.kind == Kind::File && (listed.sparse || listed.size > SMALL_FILE_BYTES_MAX) {
        let mut stream = batch.reader.open(item)?;
        let (stat, details) = (stream.opened().0.clone(), stream.opened().1.clone());
        let (parts, status) = drain(&mut *stream);
        assert_eq!(status, ReadStatus::Stable);
        return Ok((stat, details, parts));
    }
    let mut content = b"before".to_vec();
    let Examined { stat, details, status } = batch.reader.examine(item, &mut content)?;
    assert_eq!(status, ReadStatus::Stable);
    Ok((stat, details, vec![(0, Ok(content.split_off(6)))]))
}

/// Everything under a path as (entry, content), the path's prefix taken off its keys.
pub(super) fn capture(path: &Path) -> Vec<(Entry, Parts)> {
    let prefix = path_to_key(path.as_os_str().as_bytes());
    let mut captured = Vec::new();
    for batch in batches(options(&[path])) {
        assert_eq!(batch.problems.problems, []);
        for item in 0..batch.items.len() {
            let key = batch.key(item);
            let Some(rest) = key.strip_prefix(&prefix[..]) else { continue };
            let (stat, details, parts) = read_item(&batch, item).unwrap();
            assert_eq!(details.unreadable, Vec::<String>::new());
            let key = rest.strip_prefix(b"\0").unwrap_or(rest).to_vec();
            captured.push((entry_of(key, stat, details, &parts), parts));
        }
    }
    captured
}

fn entry_of(key: Vec<u8>, stat: Stat, details: Details, parts: &Parts) -> Entry {
    let group = |hash: blake3::Hash| <[u8; 16]>::try_from(&hash.as_bytes()[..16]).unwrap();
    let inode = [stat.device_of.to_le_bytes(), stat.inode.to_le_bytes()].concat();
    let linked = stat.kind != Kind::Directory && stat.links > 1;
    let xattrs = if details.xattrs.is_empty() { Xattrs::None } else { Xattrs::Inline(details.xattrs) };
    let holes = parts.iter().filter_map(|(_, part)| part.as_ref().err());
    Entry {
        key,
        kind: stat.kind,
        mode: stat.mode,
        owner: stat.owner,
        mtime: stat.mtime,
        size: stat.size,
        content: Content::Extents(holes.map(|&length| Extent::Hole { length }).collect()),
        digest: (stat.kind == Kind::File).then(|| digest(parts)),
        attributes: Attributes {
            link_target: details.link_target,
            device: stat.device,
            xattrs,
            birth: None,
            inode_flags: details.inode_flags,
            link_group: linked.then(|| group(blake3::hash(&inode))),
            ..Attributes::default()
        },
    }
}

fn digest(parts: &Parts) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (_, part) in parts {
        match part {
            Ok(bytes) => hasher.update(bytes),
            Err(hole) => hasher.update(&hole.to_le_bytes()),
        };
    }
    hasher.finalize().into()
}

/// Restores what was captured, in batches of a few, each completed only after the next was
/// prepared.
pub(super) fn restore(target: &mut FileTarget, captured: &[(Entry, Parts)], batch_items: usize) -> Problems {
    restore_finished(target, captured, batch_items, false).problems
}

/// The same, with everything that the target says of it.
pub(super) fn restore_finished(
    target: &mut FileTarget,
    captured: &[(Entry, Parts)],
    batch_items: usize,
    rehearse: bool,
) -> Finished {
    let mut waiting = None;
    for chunk in captured.chunks(batch_items) {
        let batch = target.prepare(chunk.iter().map(|(entry, _)| entry.clone()).collect()).unwrap();
        for (at, (_, parts)) in chunk.iter().enumerate() {
            write(&*batch, at, parts, rehearse);
        }
        if let Some(before) = waiting.replace(batch) {
            target.complete(before).unwrap();
        }
    }
    if let Some(last) = waiting {
        target.complete(last).unwrap();
    }
    target.finish().unwrap()
}

fn write(batch: &dyn TargetBatch, at: usize, parts: &Parts, rehearse: bool) {
    match batch.wants(at) {
        Want::Nothing => return,
        Want::Keep => return batch.keep(at).unwrap(),
        Want::Whole if rehearse => return batch.would_write(at, 0),
        Want::Whole => {}
        Want::Compare => {
            if !differs(batch, at, parts) {
                return batch.keep(at).unwrap();
            }
            if rehearse {
                return batch.would_write(at, 0);
            }
            // Whoever patches clears the holes, too.
            if batch.can_patch(at) {
                for (offset, part) in parts {
                    if let Err(length) = part {
                        batch.clear(at, *offset, *length).unwrap();
                    }
                }
            }
        }
    }
    if let [(0, Ok(content))] = &parts[..] {
        return batch.put(at, content).unwrap();
    }
    // The last part first: parts come in any order.
    for (offset, part) in parts.iter().rev() {
        if let Ok(bytes) = part {
            batch.write_at(at, *offset, bytes).unwrap();
        }
    }
    batch.close(at).unwrap();
}

/// Compares what is there with what was recorded, as the engine does.
fn differs(batch: &dyn TargetBatch, at: usize, parts: &Parts) -> bool {
    let Ok(present) = batch.present(at) else { return true };
    let mut end = 0;
    let same = parts.iter().all(|(offset, part)| match part {
        Ok(bytes) => {
            let mut there = vec![0; bytes.len()];
            end = offset + bytes.len() as u64;
            present.read_at(*offset, &mut there).is_ok() && there == *bytes
        }
        Err(length) => {
            end = offset + length;
            present.is_hole(*offset, *length)
        }
    });
    !same || end != present.size()
}

/// Compares two trees by everything that is recorded of them, but for the folders themselves.
pub(super) fn assert_same(source: &Path, target: &Path) {
    let (one, other) = (capture(source), capture(target));
    let keys = |tree: &[(Entry, Parts)]| tree.iter().map(|(entry, _)| entry.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&one), keys(&other));
    for ((one, one_parts), (other, other_parts)) in one.into_iter().zip(other) {
        let name = String::from_utf8_lossy(&one.key).into_owned();
        // Groups are named after inodes here, which differ.
        let linked = |entry: &Entry| entry.attributes.link_group.is_some();
        assert_eq!(linked(&one), linked(&other), "{name}");
        let plain = |mut entry: Entry| {
            entry.attributes.link_group = None;
            entry
        };
        assert_eq!(plain(one), plain(other), "{name}");
        assert!(one_parts == other_parts, "content of {name}");
    }
}
