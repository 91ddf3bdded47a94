//! Takes over what interrupted runs of this machine had uploaded.
//!
//! No session is resumed: its secret is gone. Its packs are read, indexed anew, pinned, and used
//! as if they had been there always (FORMAT.md, adoption). On purpose not here: packs of
//! processes that may still run.

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::repository::{Repository, object_key};
use crate::session::AdoptedPack;
use crate::view::View;
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables, PackRow};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::{PackClass, PackId, SessionName};
use holdfast_core::pack::{HEAD_BYTES, TRAILER_BYTES, decode_head, decode_trailer, open_footer};
use holdfast_core::session::Process;
use holdfast_store::ByteRange;

/// So many numbers in a row without a pack end the search: uploads may overtake each other.
const ABSENT_MAX: u32 = 16;

/// Finds sessions whose process is gone, and their packs.
pub(crate) async fn adoptable(ctx: &Ctx, repository: &Repository, view: &View) -> Result<Vec<AdoptedPack>> {
    let mut packs = Vec::new();
    for seen in view.sessions.values() {
        let ours = seen.begun && !seen.ended && seen.name.member == repository.member();
        if !ours || u64::from(seen.name.epoch) < view.root.fence {
            continue;
        }
        // A begin that cannot be read says nothing about its process: left alone.
        let Ok(Some(begin)) = repository.read_begin(&seen.name).await else { continue };
        if is_dead(ctx, &begin.process) {
            for class in [PackClass::Data, PackClass::Tree] {
                find_packs(repository, seen.name, class, &mut packs).await?;
            }
        }
    }
    Ok(packs)
}

fn is_dead(ctx: &Ctx, process: &Process) -> bool {
    let own = &ctx.process;
    process.machine == own.machine && (process.boot != own.boot || !(ctx.is_alive)(process))
}

/// Finds the packs of one session and class, by their numbers.
pub(crate) async fn find_packs(
    repository: &Repository,
    from: SessionName,
    class: PackClass,
    packs: &mut Vec<AdoptedPack>,
) -> Result<()> {
    let (mut ordinal, mut absent) = (0, 0);
    while absent < ABSENT_MAX {
        let id = PackId { member: from.member, session: from.session, class, ordinal };
        match repository.store().head(&object_key(id.name())).await? {
            None => absent += 1,
            Some(meta) => {
                absent = 0;
                // A damaged pack is left for `check` to name; its chunks are stored again.
                if let Ok(pack) = read_pack(repository, from, id, meta.size).await {
                    packs.push(pack);
                }
            }
        }
        ordinal += 1;
    }
    Ok(())
}

/// Reads what a pack says of itself.
pub(crate) async fn read_pack(
    repository: &Repository,
    from: SessionName,
    id: PackId,
    size: u64,
) -> Result<AdoptedPack> {
    let name = id.name();
    let key = object_key(&*name);
    let damaged = |error| Error::format(&name, error);
    let read = |offset, length| repository.store().get(&key, ByteRange::From { offset, length });
    let head = decode_head(&read(0, HEAD_BYTES as u64).await?, repository.id(), &id).map_err(damaged)?;
    let tail = read(size.saturating_sub(TRAILER_BYTES as u64), TRAILER_BYTES as u64).await?;
    let trailer = decode_trailer(&tail, size).map_err(damaged)?;
    let footer = read(trailer.footer_offset, trailer.footer_bytes.into()).await?;
    let footer = open_footer(&footer, &trailer, &head.header, repository.k_idx()?).map_err(damaged)?;
    let chunks = footer
        .rows
        .iter()
        .filter(|row| row.origin == 0)
        .map(|row| ChunkRow {
            key: ChunkKey::from(&row.id),
            pack: 0,
            offset: row.offset,
            length: row.length,
            origin: 0,
        })
        .collect();
    let wrapped = |wanted| (wanted == id.class).then(|| head.wrapped.clone());
    let session = SessionRow {
        member: id.member,
        session: id.session,
        key_epoch: head.header.key_epoch,
        data: wrapped(PackClass::Data),
        meta: wrapped(PackClass::Tree),
    };
    let row = PackRow { id, size, checksum: trailer.checksum, chunks: trailer.chunks };
    Ok(AdoptedPack { from, row, session, chunks })
}

/// The tables of one adopted pack, for the index in memory.
pub(crate) fn tables(pack: &AdoptedPack) -> IndexTables {
    let mut tables = IndexTables {
        sessions: vec![pack.session.clone()],
        packs: vec![pack.row.clone()],
        chunks: pack.chunks.clone(),
    };
    tables.sort();
    tables
}
