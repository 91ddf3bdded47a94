//! Takes over what interrupted runs of this machine had uploaded.
//!
//! No session is resumed: its secret is gone. Its packs are read, indexed anew, pinned, and used
//! as if they had been there always (FORMAT.md, adoption). On purpose not here: packs of
//! processes that may still run.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, object_key};
use crate::session::AdoptedPack;
use crate::view::{SeenSession, View};
use holdfast_core::id::StreamId;
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables, PackRow};
use holdfast_core::keys::{SessionRow, WrappedSecret};
use holdfast_core::name::{PackClass, PackId, SessionName};
use holdfast_core::pack::{
    Footer, FooterRow, HEAD_BYTES, Origin, PackHead, TRAILER_BYTES, Trailer, decode_head, decode_trailer,
    open_footer,
};
use holdfast_core::session::Process;
use holdfast_store::ByteRange;
use std::collections::HashMap;
use std::iter;

/// So many numbers in a row without a pack end the search: uploads may overtake each other.
const ABSENT_MAX: u32 = 16;

/// The stream of sessions that repack: no source has it.
pub(crate) const REPACKS: StreamId = StreamId([0; 16]);

/// Finds sessions whose process is gone, and their packs; also those of our own that were
/// overtaken.
pub(crate) async fn adoptable(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    overtaken: &[SessionName],
) -> Result<Vec<AdoptedPack>> {
    let mut packs = Vec::new();
    for seen in view.sessions.values() {
        let left = overtaken.contains(&seen.name) || is_left(ctx, repository, seen).await;
        if left && u64::from(seen.name.epoch) >= view.root.fence {
            for class in [PackClass::Data, PackClass::Tree] {
                find_packs(repository, seen.name, class, &mut packs).await?;
            }
        }
    }
    Ok(packs)
}

/// Whether a session of ours was left open by a process that is gone.
async fn is_left(ctx: &Ctx, repository: &Repository, seen: &SeenSession) -> bool {
    if !seen.begun || seen.ended || seen.name.member != repository.member() {
        return false;
    }
    match repository.read_begin(&seen.name).await {
        // What a maintainer was about to move lies elsewhere too.
        Ok(Some(begin)) => begin.stream != REPACKS && is_dead(ctx, &begin.process),
        // A begin that cannot be read says nothing about its process: left alone.
        Ok(None) | Err(_) => false,
    }
}

/// Whether a process of this machine is known to be gone.
pub(crate) fn is_dead(ctx: &Ctx, process: &Process) -> bool {
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
                match read_pack(repository, from, id, meta.size).await {
                    Ok(pack) => packs.push(pack),
                    // That it cannot be had now says nothing of it.
                    Err(error) if error.kind == ErrorKind::Store => return Err(error),
                    // A damaged pack is left for `check` to name; its chunks are stored again.
                    Err(_) => {}
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
    let PackContents { head, trailer, footer } = read_contents(repository, id, size).await?;
    let row = PackRow { id, size, checksum: trailer.checksum, chunks: trailer.chunks };
    let session = session_of(&id, head.header.key_epoch, &head.wrapped);
    let tables = tables_of(&row, session, &footer.origins, &footer.rows);
    Ok(AdoptedPack { from: Some(from), row, tables })
}

/// What a pack says of itself.
pub(crate) struct PackContents {
    pub head: PackHead,
    pub trailer: Trailer,
    pub footer: Footer,
}

/// Reads the head and the footer of a pack.
pub(crate) async fn read_contents(repository: &Repository, id: PackId, size: u64) -> Result<PackContents> {
    let name = id.name();
    let key = object_key(&*name);
    let damaged = |error| Error::format(&name, error);
    let read = |offset, length| repository.store().get(&key, ByteRange::From { offset, length });
    let head = read(0, HEAD_BYTES as u64).await?;
    repository.know_author(&head).await?;
    let head = decode_head(&head, repository.id(), &id).map_err(damaged)?;
    let tail = read(size.saturating_sub(TRAILER_BYTES as u64), TRAILER_BYTES as u64).await?;
    let trailer = decode_trailer(&tail, size).map_err(damaged)?;
    let footer = read(trailer.footer_offset, trailer.footer_bytes.into()).await?;
    let key = repository.k_idx_for(&head.header)?;
    let footer = open_footer(&footer, &trailer, &head.header, &key).map_err(damaged)?;
    Ok(PackContents { head, trailer, footer })
}

/// The session's row as far as a pack tells: the secret of its own class.
fn session_of(pack: &PackId, key_epoch: u32, wrapped: &WrappedSecret) -> SessionRow {
    // A pack of a repack holds nothing of its own session, which has no secret then.
    let has = *wrapped != WrappedSecret::none();
    let of = |class| (has && class == pack.class).then(|| wrapped.clone());
    SessionRow {
        member: pack.member,
        session: pack.session,
        key_epoch,
        data: of(PackClass::Data),
        meta: of(PackClass::Tree),
    }
}

/// What an index says of one pack: where its chunks lie, and what opens them.
pub(crate) fn tables_of(
    row: &PackRow,
    session: SessionRow,
    origins: &[Origin],
    rows: &[FooterRow],
) -> IndexTables {
    let mut tables = IndexTables { sessions: vec![session], packs: vec![row.clone()], chunks: Vec::new() };
    let bare = origins.iter().map(|origin| IndexTables {
        sessions: vec![session_of(&origin.pack, origin.key_epoch, &origin.wrapped)],
        packs: vec![PackRow { id: origin.pack, size: 0, checksum: [0; 32], chunks: 0 }],
        chunks: Vec::new(),
    });
    tables.append(&bare.collect::<Vec<_>>());
    let places: HashMap<PackId, u32> = tables.packs.iter().map(|pack| pack.id).zip(0..).collect();
    // Rows of the pack table, by the numbers that a footer gives origins.
    let numbers: Vec<u32> = iter::once(0).chain(origins.iter().map(|origin| places[&origin.pack])).collect();
    tables.chunks = rows
        .iter()
        .map(|row| ChunkRow {
            key: ChunkKey::from(&row.id),
            pack: 0,
            offset: row.offset,
            length: row.length,
            origin: numbers[usize::from(row.origin)],
        })
        .collect();
    tables.sort();
    tables
}
