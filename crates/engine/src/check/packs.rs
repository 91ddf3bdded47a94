//! Reads packs whole: checksum, footer, and each chunk.
//!
//! On purpose not here: the objects around them.

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::index::PackState;
use crate::reader::{RANGE_BYTES_MAX, Reader};
use crate::repository::{Repository, object_key};
use crate::restore::chain;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::chunk::{PackCipher, PageCiphers, open_data, open_page};
use holdfast_core::compress::Decompressor;
use holdfast_core::id::ObjectId;
use holdfast_core::keys::{Identifier, WrappedSecret};
use holdfast_core::name::{PackClass, PackId};
use holdfast_core::pack::{
    FooterRow, HEAD_BYTES, Origin, TRAILER_BYTES, Trailer, decode_head, decode_trailer, open_footer,
};
use holdfast_core::page::Page;
use holdfast_store::ByteRange;
use std::collections::HashMap;
use std::sync::Arc;

use super::trees::Needs;
use super::*;
/// Chooses the packs to read.
pub(super) fn choose(ctx: &Ctx, read_data: ReadData, packs: HashMap<PackId, u64>) -> Vec<(PackId, u64)> {
    let mut packs: Vec<_> = packs.into_iter().collect();
    packs.sort_unstable();
    let shuffle = |packs: &mut Vec<(PackId, u64)>| {
        packs.sort_by_cached_key(|_| u64::from_le_bytes(ctx.random()));
    };
    match read_data {
        ReadData::No => packs.clear(),
        ReadData::All => {}
        ReadData::Percent(percent) => {
            shuffle(&mut packs);
            let count = (packs.len() as f64 * percent / 100.0).ceil() as usize;
            packs.truncate(count);
        }
        ReadData::Part { part, of } => packs.retain(|(id, _)| {
            let object: ObjectId = id.object();
            let front = u32::from_le_bytes([object.0[0], object.0[1], object.0[2], object.0[3]]);
            front % of.max(1) == part.saturating_sub(1)
        }),
        ReadData::Bytes(most) => {
            shuffle(&mut packs);
            let mut left = most;
            // One that does not fit leaves room for others; nothing at all would prove nothing.
            let first = packs.first().copied();
            packs.retain(|(_, size)| {
                let fits = *size <= left;
                left -= if fits { *size } else { 0 };
                fits
            });
            if packs.is_empty() {
                packs.extend(first);
            }
        }
    }
    packs
}

/// Reads the chosen packs.
pub(super) async fn read_packs(
    ctx: &Ctx,
    reader: &Reader,
    packs: Vec<(PackId, u64)>,
    needs: &Needs,
    broken: &mut Broken,
    report: &mut CheckReport,
) -> Result<()> {
    let bytes = packs.iter().map(|(_, size)| size).sum();
    ctx.monitor.on(&Event::Expected { files: packs.len() as u64, bytes });
    let mut reads = stream::iter(packs)
        .map(|(id, size)| async move { (id, size, read_pack(ctx, reader, id, size, needs).await) })
        .buffer_unordered(ctx.workers.threads() + 1);
    let mut moved = 0_u64;
    while let Some((id, size, result)) = reads.next().await {
        interrupted(ctx)?;
        report.packs_read += 1;
        report.bytes_read += size;
        ctx.monitor.on(&Event::Done { files: 1, bytes: size });
        let row = reader.index.row_of(&id)?;
        match result {
            Ok(found) => {
                broken.chunks.extend(found.chunks.into_iter().filter_map(|key| Some((key, row?))));
                found.what.into_iter().for_each(|what| report.error(id.name(), what));
            }
            Err(error) if matches!(error.kind, ErrorKind::Interrupted | ErrorKind::Conflict) => {
                return Err(error);
            }
            Err(_) if is_gone(reader, &id).await? && !is_counted_on(reader, &id).await? => {
                moved += u64::from(counts_on(reader, &id)?);
            }
            // Nothing is lost that can be brought back.
            Err(error) if error.is_archived() => report.error(id.name(), chain(&error)),
            Err(error) => {
                broken.packs.extend(row);
                report.error(id.name(), chain(&error));
            }
        }
    }
    if moved > 0 {
        let what = "were deleted by a prune meanwhile; what is needed of them it had verified and copied";
        report.notice(format!("{moved} packs"), what);
    }
    Ok(())
}

/// Whether a snapshot may need a pack.
fn counts_on(reader: &Reader, id: &PackId) -> Result<bool> {
    Ok(reader.index.pack_of(id)?.is_some_and(|known| known.state != PackState::Dead))
}

/// Whether a snapshot may need a pack, by the newest root: what is given up, or in no index, may be
/// deleted while it is read, and what was needed may have been copied and given up since.
async fn is_counted_on(reader: &Reader, id: &PackId) -> Result<bool> {
    match reader.newer().await? {
        Some(newer) => counts_on(&newer, id),
        None => counts_on(reader, id),
    }
}

async fn is_gone(reader: &Reader, id: &PackId) -> Result<bool> {
    Ok(reader.repository.store().head(&object_key(id.name())).await?.is_none())
}

/// The ciphers of one pack's rows: its own, which a pack of a repack lacks, then its origins'.
enum Ciphers {
    Data(Vec<Option<PackCipher>>),
    Page(Vec<Option<PageCiphers>>),
    /// The key does not allow reading: only checksums are compared.
    None,
}

/// What is wrong in a pack, and which chunks it costs.
#[derive(Default)]
struct Found {
    what: Vec<String>,
    chunks: Vec<ChunkKey>,
    /// All chunks in it.
    all: Vec<ChunkKey>,
    /// Whether they could be opened with this key.
    opened: bool,
}

/// Reads a pack whole, for a repair; returns what is wrong with it, if anything is, and which of its
/// chunks cannot be had: all, where this key opens none.
pub(crate) async fn read_through(
    ctx: &Ctx,
    reader: &Reader,
    id: PackId,
    size: u64,
) -> Result<Option<(String, Vec<ChunkKey>)>> {
    let found = read_pack(ctx, reader, id, size, &Needs::new()).await?;
    let chunks = if found.opened { found.chunks } else { found.all };
    Ok(found.what.into_iter().next().map(|what| (what, chunks)))
}

/// Reads one pack whole: its checksum, its footer, and each chunk.
async fn read_pack(ctx: &Ctx, reader: &Reader, id: PackId, size: u64, needs: &Needs) -> Result<Found> {
    let repository = &reader.repository;
    let key = object_key(id.name());
    let get = |offset: u64, length: u64| {
        let key = &key;
        async move {
            let bytes = repository.store().get(key, ByteRange::From { offset, length }).await?;
            if bytes.len() as u64 == length {
                Ok(bytes)
            } else {
                Err(Error::new(ErrorKind::Damaged, "is cut off"))
            }
        }
    };
    let damaged = |error| Error::format("the pack", error);
    let tail = get(size.saturating_sub(TRAILER_BYTES as u64), (TRAILER_BYTES as u64).min(size)).await?;
    let trailer = decode_trailer(&tail, size).map_err(damaged)?;
    let head_bytes = get(0, HEAD_BYTES as u64).await?;
    repository.know_author(&head_bytes).await?;
    let head = decode_head(&head_bytes, repository.id(), &id).map_err(damaged)?;
    let footer_bytes = get(trailer.footer_offset, trailer.footer_bytes.into()).await?;
    let key = repository.k_idx_for(&head.header)?;
    let footer = open_footer(&footer_bytes, &trailer, &head.header, &key).map_err(damaged)?;
    let own = Origin { pack: id, key_epoch: head.header.key_epoch, wrapped: head.wrapped };
    let origins = std::iter::once(own).chain(footer.origins).collect();
    let ciphers = Arc::new(ciphers(repository, id.class, origins).map_err(damaged)?);
    let mut findings = Found {
        what: check_rows(reader, id, &footer.rows)?,
        chunks: Vec::new(),
        all: footer.rows.iter().map(|row| ChunkKey::from(&row.id)).collect(),
        opened: !matches!(*ciphers, Ciphers::None),
    };
    if id.class == PackClass::Data {
        findings.what.extend(too_short(&footer.rows, needs));
    }
    let mut hasher = blake3::Hasher::new();
    for (offset, length, rows) in pieces(&footer.rows, &trailer, size) {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let bytes = get(offset, length).await?;
        let (identifier, ciphers) = (reader.identifier().ok().cloned(), Arc::clone(&ciphers));
        let (next, found) = ctx
            .workers
            .run(move || {
                hasher.update(&bytes);
                let found = open_rows(identifier.as_ref(), &ciphers, &bytes, offset, &rows);
                (hasher, found)
            })
            .await;
        hasher = next;
        for (chunk, what) in found {
            findings.chunks.push(ChunkKey::from(&chunk));
            findings.what.push(format!("chunk {chunk}{what}"));
        }
    }
    if *hasher.finalize().as_bytes() != trailer.checksum {
        findings.what.push(FormatError::Checksum.to_string());
    }
    Ok(findings)
}

fn ciphers(
    repository: &Repository,
    class: PackClass,
    origins: Vec<Origin>,
) -> std::result::Result<Ciphers, FormatError> {
    let (opener, id) = (repository.opener(), repository.id());
    let (mut data, mut page) = (Vec::new(), Vec::new());
    for Origin { pack, key_epoch, wrapped } in origins {
        if wrapped == WrappedSecret::none() {
            data.push(None);
            page.push(None);
            continue;
        }
        let secret = match opener.unwrap_secret(key_epoch, pack.member, pack.session, class, &wrapped) {
            Err(FormatError::NotAllowed(_)) => return Ok(Ciphers::None),
            other => other?,
        };
        let cipher = PackCipher::new(&secret, id, &pack);
        match class {
            PackClass::Data => data.push(Some(cipher)),
            PackClass::Tree => {
                let refs = PackCipher::for_refs(&repository.k_ref_of(key_epoch)?, id, &pack);
                page.push(Some(PageCiphers { refs, body: Some(cipher) }));
            }
        }
    }
    Ok(if class == PackClass::Data { Ciphers::Data(data) } else { Ciphers::Page(page) })
}

/// What the footer says must be what the index says.
fn check_rows(reader: &Reader, id: PackId, rows: &[FooterRow]) -> Result<Vec<String>> {
    let Some(row) = reader.index.row_of(&id)? else { return Ok(Vec::new()) };
    let known = reader.index.pack(row)?;
    if known.state == PackState::Dead {
        // Nobody looks for anything in it any more.
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    if known.row.chunks as usize != rows.len() {
        findings.push(format!("holds {} chunks instead of {}", rows.len(), known.row.chunks));
    }
    for chunk in rows {
        let there = (row, chunk.offset, chunk.length);
        let places = reader.index.places(&chunk.id)?;
        if !places.iter().any(|place| (place.pack, place.offset, place.length) == there) {
            findings.push(format!("chunk {} is not where the index says", chunk.id));
        }
    }
    Ok(findings)
}

/// Chunks that files take more from than they hold.
fn too_short(rows: &[FooterRow], needs: &Needs) -> Vec<String> {
    let short =
        |row: &&FooterRow| needs.get(&ChunkKey::from(&row.id)).is_some_and(|end| *end > row.plain_bytes);
    let text = |row: &FooterRow| {
        format!("a file takes more from chunk {} than its {} bytes", row.id, row.plain_bytes)
    };
    rows.iter().filter(short).map(text).collect()
}

/// A stretch of a pack and the rows that lie in it.
type Stretch = (u64, u64, Vec<FooterRow>);

/// Splits a pack, up to the checksum at its end, into stretches of at most some MiB that cut no chunk.
fn pieces(rows: &[FooterRow], trailer: &Trailer, size: u64) -> Vec<Stretch> {
    let mut pieces: Vec<Stretch> = vec![(0, HEAD_BYTES as u64, Vec::new())];
    for row in rows {
        let end = u64::from(row.offset) + u64::from(row.length.bytes());
        let (start, length, inside) = pieces.last_mut().expect("there is a first piece");
        if end - *start <= RANGE_BYTES_MAX {
            *length = end - *start;
            inside.push(*row);
        } else {
            let start = *start + *length;
            pieces.push((start, end - start, vec![*row]));
        }
    }
    let (start, length, _) = pieces.last().expect("there is a first piece");
    let from = start + length;
    debug_assert!(from <= trailer.footer_offset);
    pieces.push((from, size - 32 - from, Vec::new()));
    pieces
}

fn of_origin<T>(ciphers: &[Option<T>], origin: usize) -> std::result::Result<&T, FormatError> {
    ciphers[origin].as_ref().ok_or(FormatError::Malformed("the origin of a chunk"))
}

fn open_rows(
    identifier: Option<&Identifier>,
    ciphers: &Ciphers,
    bytes: &Bytes,
    offset: u64,
    rows: &[FooterRow],
) -> Vec<(ChunkId, String)> {
    let (mut decompressor, mut plaintext, mut sealed) = (Decompressor::new(), Vec::new(), Vec::new());
    let mut findings = Vec::new();
    // Whoever names no chunks opens none either.
    let Some(identifier) = identifier else { return findings };
    for row in rows {
        let start = (u64::from(row.offset) - offset) as usize;
        sealed.clear();
        sealed.extend_from_slice(&bytes[start..start + row.length.bytes() as usize]);
        let origin = usize::from(row.origin);
        let opened = match ciphers {
            Ciphers::Data(ciphers) => of_origin(ciphers, origin).and_then(|cipher| {
                let (length, plain) = (row.length, &mut plaintext);
                open_data(cipher, identifier, &row.id, length, &mut sealed, &mut decompressor, plain)?;
                Ok(plaintext.len())
            }),
            Ciphers::Page(ciphers) => of_origin(ciphers, origin).and_then(|ciphers| {
                let text =
                    open_page(ciphers, identifier, &row.id, row.length, &mut sealed, &mut decompressor)?;
                Page::decode(&text).map(|_| text.plain_bytes())
            }),
            Ciphers::None => continue,
        };
        match opened {
            Ok(length) if length == row.plain_bytes as usize => {}
            Ok(_) => findings.push((row.id, " has another length than its footer says".to_owned())),
            Err(error) => findings.push((row.id, format!(": {error}"))),
        }
    }
    findings
}
