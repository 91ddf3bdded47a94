//! The log of databases: each object is taken apart, on request opened and compared with its hash, and
//! what is missing between the first and the last segment of a timeline is named.
//!
//! On purpose not here: what is in a log. Whether a server can replay it only a recovery tells.

use super::{CheckReport, ReadData, interrupted};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::repository::{Repository, WHOLE};
use crate::restore::chain;
use crate::rights::Right;
use crate::view::View;
use crate::wal::{
    Coverage, LogCut, SegmentName, WalArchive, WalFile, WalListed, WalName, author_of, is_segment_length,
};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::crypto::hash;
use holdfast_core::name::{self, Place};
use holdfast_core::object::ObjectType;
use holdfast_core::record::WalSegment;
use holdfast_store::ObjectMeta;
use std::collections::BTreeMap;

/// Objects that are read at the same time: each may have some hundred MiB.
const READS_AT_ONCE: usize = 2;

/// Checks all of it.
pub(super) async fn check_logs(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    objects: &[ObjectMeta],
    read_data: ReadData,
    report: &mut CheckReport,
) -> Result<()> {
    let archive = WalArchive::new(ctx, repository);
    let may_open = repository.may(Right::Read);
    let cut = LogCut::of(repository, &view.root);
    let of_log = objects.iter().filter(|meta| matches!(name::parse(meta.key.as_str()), Some(Place::Wal(_))));
    let mut reads = stream::iter(of_log)
        .map(|meta| async move { (meta, repository.store().get(&meta.key, WHOLE).await) })
        .buffered(READS_AT_ONCE);
    let (mut listed, mut lengths) = (Vec::new(), BTreeMap::new());
    while let Some((meta, bytes)) = reads.next().await {
        interrupted(ctx)?;
        let object = meta.key.as_str();
        let Some(name) = WalName::parse(object) else {
            report.notice(object, "has a name that no file of a log has; it does no harm");
            continue;
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            // It was given up meanwhile.
            Err(error) if error.kind == holdfast_store::ErrorKind::NotFound => continue,
            Err(error) => {
                report.error(object, chain(&error));
                continue;
            }
        };
        let opens = may_open && is_chosen(ctx, read_data, object);
        repository.know_author(&bytes).await?;
        if let Some(author) = author_of(&bytes).filter(|author| cut.is_late(*author, &name)) {
            let what = format!(
                "was put there by {} after it had been removed: it does not count; take its right to write to the \
                 repository's place away, then run `holdfast repair log`",
                repository.name_of(author)
            );
            report.error(object, what);
            continue;
        }
        match check_one(ctx, &archive, repository, object, bytes, opens).await {
            Ok(length) => {
                if let (Some(WalFile::Segment(_)), None) = (name.kind(), name.piece) {
                    lengths.insert(name.timeline.system, length);
                }
            }
            Err(error) => report.error(object, error.to_string()),
        }
        listed.push(WalListed { name, stored_bytes: meta.size });
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    tell_gaps(view, &listed, &lengths, report);
    Ok(())
}

/// Whether an object belongs to the part that is opened.
fn is_chosen(ctx: &Ctx, read_data: ReadData, object: &str) -> bool {
    let number = |bytes: [u8; 4]| u32::from_le_bytes(bytes);
    match read_data {
        ReadData::No | ReadData::Bytes(_) => false,
        ReadData::All => true,
        ReadData::Percent(share) => f64::from(number(ctx.random())) < share / 100.0 * f64::from(u32::MAX),
        ReadData::Part { part, of } => {
            let hash = hash(object.as_bytes());
            number([hash[0], hash[1], hash[2], hash[3]]) % of.max(1) == part.saturating_sub(1)
        }
    }
}

/// Checks an object; how long its content is.
async fn check_one(
    ctx: &Ctx,
    archive: &WalArchive,
    repository: &Repository,
    object: &str,
    bytes: Bytes,
    opens: bool,
) -> std::result::Result<u64, FormatError> {
    let parsed = repository.parse(&bytes, ObjectType::Wal, name::named_object(object))?;
    let length = WalSegment::decode(parsed.body)?.plain_bytes;
    if opens {
        let (archive, object) = (archive.clone(), object.to_owned());
        ctx.workers.run(move || archive.open(&object, &bytes)).await?;
    }
    Ok(length)
}

/// Names what is missing above the floors.
fn tell_gaps(view: &View, listed: &[WalListed], lengths: &BTreeMap<u64, u64>, report: &mut CheckReport) {
    for coverage in Coverage::of(listed) {
        let timeline = coverage.timeline;
        let name = format!("{:016x}/{timeline}", timeline.system);
        let subject = format!("wal/{name}");
        let floor = view.root.wal.iter().find(|row| row.timeline == name);
        let floor = floor.and_then(|row| SegmentName::parse(&row.floor)).map_or(0, |floor| floor.place);
        let length = lengths.get(&timeline.system).copied().filter(|length| is_segment_length(*length));
        let torn = length.map_or_else(|| coverage.torn.clone(), |length| coverage.in_part(floor, length));
        for torn in torn {
            report.notice(&subject, format!("of segment {torn} a piece is missing"));
        }
        let Some(length) = length else { continue };
        for gap in coverage.gaps(floor, length) {
            let what = format!("a gap: {} missing between {} and {}", gap.missing, gap.after, gap.before);
            report.notice(&subject, what);
        }
    }
}
