//! Compares the content that a target holds already with what was recorded.
//!
//! What lies at the start of a chunk proves itself by the chunk's id, a small file by its
//! digest; so nothing is fetched to find out that nothing changed. On purpose not here: writing.

use super::verify::digest_of;
use crate::target::{Present, TargetBatch};
use holdfast_core::chunker::CHUNK_BYTES_MAX;
use holdfast_core::entry::{Content, Entry, Extent};
use holdfast_core::keys::ChunkKind;
use holdfast_core::keys::Identifier;
use std::io;

/// How the content at the target differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// These extents, by number, or only the length.
    Parts(Vec<u32>),
    /// It cannot be told, or parts cannot be rewritten: all is to be written.
    Whole,
}

/// Compares one file. The buffer only saves allocations.
pub(super) fn compare(
    files: &dyn TargetBatch,
    number: usize,
    extents: &[Extent],
    identifier: &Identifier,
    buffer: &mut Vec<u8>,
) -> Difference {
    let entry = &files.entries()[number];
    let difference = files
        .present(number)
        .and_then(|present| differing(&*present, entry, extents, identifier, buffer))
        .unwrap_or(Difference::Whole);
    // A single part is put whole, and the target sees for itself whether it can be patched.
    match difference {
        Difference::Parts(_) if !files.can_patch(number) => Difference::Whole,
        Difference::Whole if extents.len() > 1 => {
            files.can_patch(number);
            Difference::Whole
        }
        difference => difference,
    }
}

fn differing(
    present: &dyn Present,
    entry: &Entry,
    extents: &[Extent],
    identifier: &Identifier,
    buffer: &mut Vec<u8>,
) -> io::Result<Difference> {
    let same_size = present.size() == entry.size;
    let whole = |same: bool| if same { Difference::None } else { Difference::Whole };
    match (&entry.content, extents) {
        (Content::None, _) => return Ok(whole(same_size)),
        (Content::Inline(_), _) | (_, [Extent::Chunk { .. }]) => {
            return Ok(whole(same_size && Some(digest_of(present, entry, extents, buffer)?) == entry.digest));
        }
        _ => {}
    }
    // Slices from the middle of chunks cannot prove themselves; their digest together can.
    let sliced = extents.iter().any(|extent| matches!(extent, Extent::Chunk { offset: 1.., .. }));
    if sliced
        && present.size() >= entry.size
        && holes_are_there(present, extents)
        && Some(digest_of(present, entry, extents, buffer)?) == entry.digest
    {
        return Ok(if same_size { Difference::None } else { Difference::Parts(Vec::new()) });
    }
    let (mut at, mut parts) = (0, Vec::new());
    for (number, extent) in extents.iter().enumerate() {
        if !is_same(present, at, extent, identifier, buffer) {
            parts.push(number as u32);
        }
        at += extent.length();
    }
    Ok(if parts.is_empty() && same_size { Difference::None } else { Difference::Parts(parts) })
}

pub(super) fn holes_are_there(present: &dyn Present, extents: &[Extent]) -> bool {
    let mut at = 0;
    extents.iter().all(|extent| {
        let start = at;
        at += extent.length();
        matches!(extent, Extent::Chunk { .. }) || present.is_hole(start, extent.length())
    })
}

fn is_same(
    present: &dyn Present,
    at: u64,
    extent: &Extent,
    identifier: &Identifier,
    buffer: &mut Vec<u8>,
) -> bool {
    let end = at.saturating_add(extent.length());
    match *extent {
        _ if end > present.size() => false,
        Extent::Hole { length } => present.is_hole(at, length),
        Extent::Chunk { id, offset: 0, length } if length as usize <= CHUNK_BYTES_MAX => {
            buffer.resize(length as usize, 0);
            present.read_at(at, buffer).is_ok() && identifier.chunk(ChunkKind::Data, buffer) == id
        }
        Extent::Chunk { .. } => false,
    }
}
