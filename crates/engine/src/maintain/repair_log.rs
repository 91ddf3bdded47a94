//! Removes from logs of databases what does not count, and what somebody names.
//!
//! A name that is taken is never written again, so whoever puts something there first keeps a database's own
//! segment out. What a header shows is enough to tell what never counted: another repository's, another name's,
//! that of somebody who never belonged here, or was removed before. What else is wrong `check` tells, and a person
//! names it. Just before an object is deleted it is compared with what was judged: its header has a nonce of its
//! own, so that what was put in its place since stays. On purpose not here: what no snapshot needs
//! ([`super::logs`]).

use super::hold::refuse_if_held;
use super::log_age::undate;
use super::publish::require_maintainer;
use super::repair::LostObject;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::repository::{Repository, object_key};
use crate::wal::{LogCut, Timeline, WalArchive, WalListed, WalName};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::name;
use holdfast_core::object::{HEADER_BYTES, Header, ObjectType, check_place};
use holdfast_core::wire::Reader;

/// Headers that are read at the same time.
const READS_AT_ONCE: usize = 16;

/// What of logs is to be removed.
#[derive(Debug, Clone, Default)]
pub struct RepairLogOptions {
    /// Objects of logs that go whatever they are, by their names.
    pub delete: Vec<String>,
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// What a repair of logs saw and did.
#[derive(Debug, Clone, Default)]
pub struct RepairLogReport {
    /// Objects that were looked at.
    pub objects: u64,
    /// Those that do not count or were named, and why.
    pub bad: Vec<LostObject>,
    /// How many of them were deleted.
    pub deleted: u64,
}

/// Deletes from logs what does not count, and what is named.
///
/// # Errors
/// The key does not allow it, a hold stands against it, there is no object of that name, or the repository cannot
/// be read or written.
pub async fn repair_log(
    ctx: &Ctx,
    repository: &Repository,
    options: &RepairLogOptions,
) -> Result<RepairLogReport> {
    require_maintainer(repository)?;
    let named = options.delete.iter().map(|object| named(object)).collect::<Result<Vec<_>>>()?;
    let root = repository.newest_root().await?;
    refuse_if_held(ctx, &root)?;
    ctx.monitor.on(&Event::Phase("looking at logs"));
    let archive = WalArchive::new(ctx, repository);
    let all = archive.all("wal/").await?;
    // Whoever wrote any of it belongs by now.
    repository.refresh_members().await?;
    let judge = Judge { repository, cut: LogCut::of(repository, &root), named: &named };
    if let Some(absent) = named.iter().find(|name| all.iter().all(|listed| listed.name != **name)) {
        return Err(Error::new(ErrorKind::NotFound, format!("there is no {}", absent.object())));
    }
    let mut report = RepairLogReport { objects: all.len() as u64, ..RepairLogReport::default() };
    let mut headers = stream::iter(all)
        .map(|listed| async { (archive.header_of(&listed.name).await, listed) })
        .buffered(READS_AT_ONCE);
    let mut doomed: Vec<(WalListed, Bytes)> = Vec::new();
    while let Some((header, listed)) = headers.next().await {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let Some(header) = header? else { continue };
        if let Some(what) = judge.fault(&listed.name, &header) {
            report.bad.push(LostObject { object: listed.name.object(), what });
            doomed.push((listed, header));
        }
    }
    drop(headers);
    if options.dry_run {
        return Ok(report);
    }
    // Whatever comes under these names next is new.
    undate(ctx, repository, &doomed.iter().filter_map(|(listed, _)| place(&listed.name)).collect()).await?;
    for (listed, header) in doomed {
        refuse_if_held(ctx, &repository.newest_root().await?)?;
        repository.require_known_features()?;
        if archive.header_of(&listed.name).await?.as_ref() == Some(&header) {
            repository.store().delete(&object_key(listed.name.object())).await?;
            report.deleted += 1;
        }
    }
    Ok(report)
}

/// Where it lies in its log.
fn place(name: &WalName) -> Option<(Timeline, u64)> {
    Some((name.timeline, name.kind()?.segment()?.place))
}

fn named(object: &str) -> Result<WalName> {
    let what = || format!("{object:?} is no object of a log; `holdfast check` names them");
    WalName::parse(object).ok_or_else(|| Error::new(ErrorKind::Usage, what()))
}

/// Who tells what does not count.
struct Judge<'a> {
    repository: &'a Repository,
    cut: LogCut,
    named: &'a [WalName],
}

impl Judge<'_> {
    /// Why an object goes, by its header; `None` if it stays.
    fn fault(&self, name: &WalName, header: &[u8]) -> Option<String> {
        if self.named.contains(name) {
            return Some("was named to be deleted".to_owned());
        }
        let repository = self.repository;
        let header = match header.get(..HEADER_BYTES).map(|front| Header::decode(&mut Reader::new(front))) {
            Some(Ok(header)) => header,
            // A later version may have written it.
            Some(Err(holdfast_core::FormatError::Newer(_))) => return None,
            Some(Err(error)) => return Some(error.to_string()),
            None => return Some("is shorter than any object".to_owned()),
        };
        let id = name::named_object(&name.object());
        if let Err(error) = check_place(&header, ObjectType::Wal, repository.id(), id) {
            return Some(format!("is not what belongs there: {error}"));
        }
        let author = header.member;
        if repository.key_of(author).is_none() {
            return Some(format!("is of {}, who never belonged here", repository.name_of(author)));
        }
        let late = || format!("was put by {} after it had been removed", repository.name_of(author));
        self.cut.is_late(author, name).then(late)
    }
}
