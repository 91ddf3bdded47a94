//! Writes the needed part of packs anew, byte by byte: no data key is needed, nothing is opened.
//!
//! A pack is read whole and its checksum compared before anything of it is copied. The new packs
//! belong to a session of their own, which never commits: while it is open it protects them, and
//! once a root names them it is ended. On purpose not here: which packs, and the root.

use super::account::Account;
use crate::adopt::{REPACKS, tables_of};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::repository::{Repository, object_key};
use crate::session::fresh_id;
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::index::{ChunkKey, IndexTables, PackRow};
use holdfast_core::keys::{SessionRow, WrappedSecret};
use holdfast_core::name::{self, PackClass, PackId, SessionName};
use holdfast_core::object::ObjectType;
use holdfast_core::pack::{
    DATA_PACK_BYTES, Footer, HEAD_BYTES, Origin, PackBuilder, PackHead, TRAILER_BYTES, decode_head,
    decode_trailer, open_footer, pack_header,
};
use holdfast_core::session::Begin;
use holdfast_store::{ByteRange, Put};
use std::collections::BTreeSet;

/// Packs up to this length are read in one call, in bytes; longer ones twice, in parts.
const WHOLE_BYTES_MAX: u64 = 40 << 20;
/// Length of a part, in bytes.
const PART_BYTES: u64 = 4 << 20;

/// What was written anew.
#[derive(Default)]
pub(super) struct Repacked {
    /// Where the chunks lie now, pack by pack.
    pub tables: Vec<IndexTables>,
    /// Packs whose needed part lies elsewhere now too.
    pub replaced: BTreeSet<PackId>,
    /// The packs that were written.
    pub written: BTreeSet<PackId>,
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// The session that protects the new packs.
    pub session: Option<SessionName>,
    /// Somebody else's root is in force: what was planned is out of date.
    pub overtaken: bool,
}

/// A pack that is read.
struct Source<'a> {
    repository: &'a Repository,
    id: PackId,
    size: u64,
    /// All of it, if it is short.
    whole: Option<Bytes>,
}

impl<'a> Source<'a> {
    /// Reads a pack and compares its checksum with what the index states.
    async fn open(repository: &'a Repository, row: &PackRow) -> Result<Self> {
        let mut source = Self { repository, id: row.id, size: row.size, whole: None };
        let mut hasher = blake3::Hasher::new();
        let mut stated = Vec::new();
        let step = if row.size <= WHOLE_BYTES_MAX { row.size } else { PART_BYTES };
        let mut at = 0;
        while at < row.size {
            let part = source.read(at, step.min(row.size - at)).await?;
            let hashed = (row.size - 32).saturating_sub(at).min(part.len() as u64) as usize;
            hasher.update(&part[..hashed]);
            stated.extend_from_slice(&part[hashed..]);
            at += part.len() as u64;
            if step == row.size {
                source.whole = Some(part);
            }
        }
        let computed = hasher.finalize();
        if *computed.as_bytes() == stated[..] && *computed.as_bytes() == row.checksum {
            return Ok(source);
        }
        Err(Error::format(&row.id.name(), FormatError::Checksum))
    }

    async fn read(&self, offset: u64, length: u64) -> Result<Bytes> {
        if let Some(whole) = &self.whole {
            let range = offset as usize..(offset + length) as usize;
            let bytes = whole.get(range).map(|range| whole.slice_ref(range));
            return bytes.ok_or_else(|| Error::format(&self.id.name(), FormatError::Truncated));
        }
        let key = object_key(self.id.name());
        let bytes = self.repository.store().get(&key, ByteRange::From { offset, length }).await?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(Error::format(&self.id.name(), FormatError::Truncated))
        }
    }

    async fn contents(&self) -> Result<(PackHead, Footer)> {
        let damaged = |error| Error::format(&self.id.name(), error);
        let head = self.read(0, HEAD_BYTES as u64).await?;
        self.repository.know_author(&head).await?;
        let head = decode_head(&head, self.repository.id(), &self.id).map_err(damaged)?;
        let tail = self.read(self.size.saturating_sub(TRAILER_BYTES as u64), TRAILER_BYTES as u64).await?;
        let trailer = decode_trailer(&tail, self.size).map_err(damaged)?;
        let footer = self.read(trailer.footer_offset, trailer.footer_bytes.into()).await?;
        let footer = open_footer(&footer, &trailer, &head.header, &self.repository.k_idx_for(&head.header)?)
            .map_err(damaged)?;
        Ok((head, footer))
    }
}

/// Writes packs.
struct Writer<'a> {
    ctx: &'a Ctx,
    repository: &'a Repository,
    session: SessionName,
    epoch: u64,
    /// Generation of the keys that the footers are sealed with.
    key_epoch: u32,
    class: PackClass,
    ordinal: u32,
    open: Option<(PackId, PackBuilder, Box<dyn holdfast_store::Upload>)>,
    repacked: &'a mut Repacked,
}

impl Writer<'_> {
    /// Copies what is needed of a pack; returns how many bytes of chunks that was.
    async fn copy(&mut self, source: &Source<'_>, index: &Index, account: &Account) -> Result<u64> {
        let (head, footer) = source.contents().await?;
        let own = Origin { pack: source.id, key_epoch: head.header.key_epoch, wrapped: head.wrapped };
        let vouches = self.repository.has_maintained(source.id.member);
        let mut copied = 0;
        for row in &footer.rows {
            let key = ChunkKey::from(&row.id);
            if !account.keeps(index, &key, &source.id)? {
                continue;
            }
            let origin = match row.origin {
                0 => &own,
                // Only who may repack holds what others sealed; anybody else's word on it counts for
                // nothing, and so the bytes stay its own.
                number
                    if !vouches
                        && footer.origins[usize::from(number) - 1].pack.member != source.id.member =>
                {
                    &own
                }
                number => &footer.origins[usize::from(number) - 1],
            };
            let sealed = source.read(row.offset.into(), row.length.bytes().into()).await?;
            self.begin().await?;
            let Some((_, builder, upload)) = &mut self.open else { unreachable!("a pack was begun") };
            builder.push_sealed(row, origin, &sealed);
            copied += u64::from(row.length.bytes());
            if builder.is_full(DATA_PACK_BYTES) {
                self.finish().await?;
            } else if builder.pending_bytes() as u64 >= PART_BYTES {
                let part = builder.take(Vec::with_capacity(PART_BYTES as usize));
                self.repacked.bytes_written += part.len() as u64;
                upload.write(Bytes::from(part)).await?;
            }
        }
        Ok(copied)
    }

    async fn begin(&mut self) -> Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let SessionName { member, session, .. } = self.session;
        let id = PackId { member, session, class: self.class, ordinal: self.ordinal };
        self.ordinal += 1;
        let (repository, random) = (self.repository.id(), self.ctx.random());
        let header = pack_header(repository, &id, self.key_epoch, self.epoch, random);
        let builder = PackBuilder::new(header, &id, &WrappedSecret::none());
        let upload = self.repository.store().begin(&object_key(id.name())).await?;
        self.open = Some((id, builder, upload));
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        let Some((id, builder, mut upload)) = self.open.take() else { return Ok(()) };
        let k_idx = self.repository.k_idx_of(self.key_epoch);
        let k_idx = k_idx.map_err(|error| Error::format("the keys of the index", error))?;
        let (last, finished) = builder.finish(&k_idx);
        self.repacked.bytes_written += last.len() as u64;
        upload.write(Bytes::from(last)).await?;
        if upload.commit().await? == Put::Exists {
            let range = ByteRange::From { offset: finished.size - 32, length: 33 };
            let stored = self.repository.store().get(&object_key(id.name()), range).await?;
            if stored != finished.checksum[..] {
                let what = format!("another process writes under the same name ({})", id.name());
                return Err(Error::new(ErrorKind::Conflict, what));
            }
        }
        let (size, checksum, chunks) = (finished.size, finished.checksum, finished.rows.len() as u32);
        let row = PackRow { id, size, checksum, chunks };
        let session = SessionRow {
            member: id.member,
            session: id.session,
            key_epoch: self.key_epoch,
            data: None,
            meta: None,
        };
        self.repacked.tables.push(tables_of(&row, session, &finished.origins, &finished.rows));
        self.repacked.written.insert(id);
        Ok(())
    }
}

/// Writes the needed part of packs anew. A pack that is damaged stays as it is, with a warning;
/// but what cannot be read under a root that is not in force any more has only moved.
pub(super) async fn repack(
    ctx: &Ctx,
    repository: &Repository,
    epoch: u64,
    packs: &[PackRow],
    index: &Index,
    account: &Account,
) -> Result<Repacked> {
    let mut repacked = Repacked::default();
    if packs.is_empty() {
        return Ok(repacked);
    }
    ctx.monitor.on(&Event::Phase("repacking"));
    let member = repository.member();
    let session = SessionName { epoch: epoch as u32, member, session: fresh_id(ctx, member, epoch) };
    let begin = Begin { stream: REPACKS, process: ctx.process, started: ctx.clock.now() };
    let header = repository.header(ctx, ObjectType::Begin, name::named_object(&session.begin()), epoch);
    let bytes = begin.encode(&header, &repository.k_ref_for(&header)?, repository.signer());
    repository.put_own(&session.begin(), bytes).await?;
    repacked.session = Some(session);
    let key_epoch = repository.key_epoch();
    for class in [PackClass::Data, PackClass::Tree] {
        let mut writer = Writer {
            ctx,
            repository,
            session,
            epoch,
            key_epoch,
            class,
            ordinal: 0,
            open: None,
            repacked: &mut repacked,
        };
        for row in packs.iter().filter(|row| row.id.class == class) {
            if ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            let copied = match Source::open(repository, row).await {
                Ok(source) => writer.copy(&source, index, account).await,
                Err(error) => Err(error),
            };
            match copied {
                // All that the index counts on, or the pack is not what the index takes it for.
                Ok(copied) if copied == account.of(&row.id).used_bytes => {
                    writer.repacked.replaced.insert(row.id);
                }
                Err(error) if error.kind != ErrorKind::Damaged => return Err(error),
                Ok(_) | Err(_) if repository.newest_root().await?.number != epoch => {
                    writer.repacked.overtaken = true;
                    return Ok(repacked);
                }
                Ok(_) | Err(_) => warn_damaged(ctx, &row.id),
            }
            writer.repacked.bytes_read += row.size;
            ctx.monitor.on(&Event::Done { files: 0, bytes: row.size });
        }
        writer.finish().await?;
    }
    Ok(repacked)
}

fn warn_damaged(ctx: &Ctx, pack: &PackId) {
    let what = format!("{} is damaged and stays as it is; run `holdfast check --read-data`", pack.name());
    ctx.monitor.on(&Event::Warning(&what));
}
