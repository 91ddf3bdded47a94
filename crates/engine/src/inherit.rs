//! What the repository above keeps of the evidence of a domain that is erased: who read its contents before.
//!
//! The chains of a domain lie in it, sealed with its keys, and go with them. Before that, how long each of
//! them is and how it ends goes into the evidence above, and of each access and drill who, where, when, which
//! snapshot and why. Paths, patterns, names of sources and databases, and targets are what is to be erased:
//! only how many there were is kept. What is kept already is not kept twice, so that a run that was cut off
//! goes on. What cannot be read stops no erasure: that is told, and recorded. On purpose not here: destroying
//! keys ([`crate::shred`]).

use crate::civil::{DAY, date_of};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::evidence::{self, Amiss, EvidenceBook, EvidenceChain, EvidenceRecord};
use crate::repository::{Repository, get_optional, list_all};
use crate::restore::chain;
use holdfast_core::crypto::hash;
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, RepositoryId, SessionId, hex};
use holdfast_core::name::{self, Place};
use holdfast_store::ObjectStore;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The kind of record that says what another chain held that is gone.
const INHERITED: &str = "inherited";
/// What this program writes and understands.
const VERSION: u32 = 1;
/// So many accesses are told in one record.
const ACCESSES_A_RECORD: usize = 500;
/// So many accesses of one chain are told, the latest ones; how many are left out is said.
const ACCESSES_MAX: usize = 20_000;
/// A chain of more bytes is not read.
const CHAIN_BYTES_MAX: u64 = 256 << 20;
/// No chain has more records.
const NUMBER_BELIEVED_MAX: u64 = 1 << 31;
/// Longest name that is kept, in characters.
const NAME_CHARS_MAX: usize = 200;
/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 1_000;
/// So many snapshots of one record are named.
const SNAPSHOTS_MAX: usize = 64;

/// What is kept of a stretch of a chain that was destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Of these fields.
    pub version: u32,
    /// The domain that it was in.
    pub domain: String,
    /// The id of the repository that the domain was; empty where its `holdfast.json` was lost.
    pub repository: String,
    /// Whose chain it was; none where the chains could not be listed.
    pub member: Option<String>,
    /// What an owner called the member.
    pub label: String,
    /// The number of the first record that this tells of.
    pub first: u64,
    /// The number behind the last one: so long the chain was, if no other record tells of more.
    pub next: u64,
    /// BLAKE3-256 of the object before `next`, 64 digits; none where it could not be read.
    pub head: Option<String>,
    /// So many of the chain's records were missing or not as they should be.
    pub problems: u64,
    /// So many accesses before these are not told, because there were too many.
    pub omitted: u64,
    /// Why it could not be read, or not all of it.
    pub unread: Option<String>,
    /// Accesses and drills, in the order of the chain.
    pub accesses: Vec<PastAccess>,
}

/// What is kept of the record of an access or a drill.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAccess {
    /// Its number in the chain.
    pub number: u64,
    /// When it was written, RFC 3339.
    pub time: String,
    /// `access` or `drill`.
    pub kind: String,
    /// `restore`, `dump`, `drill`.
    pub verb: String,
    /// On which host.
    pub host: String,
    /// By which user.
    pub user: String,
    /// The label of the key.
    pub key: String,
    /// By which program.
    pub program: String,
    /// The id of the drill, if it was one.
    pub drill: String,
    /// Ids of snapshots.
    pub snapshots: Vec<String>,
    /// How many paths, patterns and databases it named; of a drill how many sources.
    pub paths: u64,
    /// Why.
    pub reason: Option<String>,
    /// Whether any of these was too long and is cut short.
    pub cut: bool,
}

/// A domain that is about to be erased.
#[derive(Clone, Copy)]
pub(crate) struct Doomed<'a> {
    pub(crate) name: &'a str,
    /// None where what says it was lost.
    pub(crate) id: Option<RepositoryId>,
    pub(crate) store: &'a dyn ObjectStore,
    /// None where its keys are gone already.
    pub(crate) opened: Option<&'a Repository>,
}

/// What is kept of chains that were destroyed, by the records of owners; oldest first.
#[must_use]
pub fn inherited<'a>(book: &'a EvidenceBook, above: &Repository) -> Vec<(&'a EvidenceRecord, Inherited)> {
    let read = |record: &'a EvidenceRecord| {
        let counts = record.kind == INHERITED && above.is_owner(record.member);
        let told: Inherited = serde_json::from_slice(counts.then_some(&record.text)?).ok()?;
        (told.version == VERSION).then_some((record, told))
    };
    book.records().into_iter().filter_map(read).collect()
}

/// Tells in the evidence above what that of a domain says of who read there, as far as it is not told yet.
/// Returns how many accesses were told.
///
/// # Errors
/// The evidence above cannot be read or takes no record, or the run is to stop.
pub(crate) async fn inherit(ctx: &Ctx, above: &Repository, doomed: Doomed<'_>) -> Result<u64> {
    let book = evidence::records(ctx, above).await?;
    let id = doomed.id();
    let mut kept = inherited(&book, above);
    kept.retain(|(_, told)| told.repository == id && (doomed.id.is_some() || told.domain == doomed.name));
    let listed = match list_all(doomed.store, "evidence/").await {
        Ok(listed) => listed,
        Err(error) => {
            let why = format!("its evidence cannot be listed: {}", chain(&error));
            return keep_unread(ctx, above, doomed.of(None, String::new()), &kept, why).await;
        }
    };
    let mut chains: BTreeMap<MemberId, Listed> = BTreeMap::new();
    for meta in &listed {
        if let Some(Place::Evidence(member, number)) = name::parse(meta.key.as_str())
            && number < NUMBER_BELIEVED_MAX
        {
            let chain = chains.entry(member).or_default();
            chain.numbers.insert(number);
            chain.bytes += meta.size;
        }
    }
    let mut told = 0;
    for (member, chain) in chains {
        // What lies there of somebody who never belonged was nobody's to write.
        let Some(label) = doomed.label(above, member) else { continue };
        let frame = doomed.of(Some(member), label);
        told += keep_chain(ctx, above, doomed, (member, &chain), frame, &kept).await?;
    }
    Ok(told)
}

/// What a listing says of a chain.
#[derive(Default)]
struct Listed {
    numbers: BTreeSet<u64>,
    bytes: u64,
}

impl Doomed<'_> {
    /// Its id; nothing where that is not known.
    fn id(&self) -> String {
        self.id.map(|id| id.to_string()).unwrap_or_default()
    }

    /// What is to be filled in of a chain.
    fn of(&self, member: Option<MemberId>, label: String) -> Inherited {
        Inherited {
            version: VERSION,
            domain: self.name.to_owned(),
            repository: self.id(),
            member: member.map(|member| member.to_string()),
            label,
            ..Inherited::default()
        }
    }

    fn label(&self, above: &Repository, member: MemberId) -> Option<String> {
        self.opened.and_then(|domain| domain.label_of(member)).or_else(|| above.label_of(member))
    }
}

/// Keeps what is not kept yet of one chain.
async fn keep_chain(
    ctx: &Ctx,
    above: &Repository,
    doomed: Doomed<'_>,
    (member, listed): (MemberId, &Listed),
    frame: Inherited,
    kept: &[(&EvidenceRecord, Inherited)],
) -> Result<u64> {
    let own = kept.iter().map(|(_, told)| told).filter(|told| told.member == frame.member);
    let first = own.filter(|told| told.unread.is_none()).map(|told| told.next).max().unwrap_or(0);
    let next = listed.numbers.last().map_or(0, |last| last + 1);
    if next <= first {
        return Ok(0);
    }
    let frame = Inherited { first, next, ..frame };
    match read(ctx, doomed.opened, member, listed).await? {
        Ok(read) => match lacking(&read) {
            None => keep_read(ctx, above, frame, &read).await,
            Some(why) => {
                warn(ctx, &frame, &why);
                let frame = Inherited { head: head(&read, next), unread: Some(why), ..frame };
                if is_kept(kept, &frame) { Ok(0) } else { keep_read(ctx, above, frame, &read).await }
            }
        },
        Err(why) => {
            let lost = "what said which domain it was is lost, so that nobody opens it";
            let why = if doomed.id.is_none() { lost.to_owned() } else { why };
            // Where its end cannot be read either, nothing is known of it.
            let end = get_optional(doomed.store, &name::evidence(member, next - 1)).await.ok().flatten();
            let head = end.map(|bytes| hex(&hash(&bytes)));
            keep_unread(ctx, above, Inherited { head, ..frame }, kept, why).await
        }
    }
}

/// What the store did not give of a chain: the next run may find it.
fn lacking(read: &EvidenceChain) -> Option<String> {
    read.problems.iter().find_map(|problem| match &problem.amiss {
        Amiss::Unread(why) => Some(cut(&format!("{}: {why}", problem.name), REASON_CHARS_MAX).0),
        _ => None,
    })
}

/// The hash of the record before a number, if that is sound.
fn head(read: &EvidenceChain, next: u64) -> Option<String> {
    let before = read.records.iter().rev().find(|record| record.number + 1 == next);
    before.map(|record| hex(&record.hash))
}

/// Reads a chain; or says why it cannot be read.
async fn read(
    ctx: &Ctx,
    domain: Option<&Repository>,
    member: MemberId,
    listed: &Listed,
) -> Result<std::result::Result<EvidenceChain, String>> {
    let Some(domain) = domain else {
        return Ok(Err("its keys were destroyed before it was read".to_owned()));
    };
    if listed.bytes > CHAIN_BYTES_MAX {
        let what = format!("it has {} bytes, and {CHAIN_BYTES_MAX} are read at most", listed.bytes);
        return Ok(Err(what));
    }
    let names: Vec<_> = listed.numbers.iter().map(|number| name::evidence(member, *number)).collect();
    match evidence::book(ctx, domain, names.iter().map(String::as_str)).await {
        Err(error) if error.kind == ErrorKind::Interrupted => Err(error),
        Err(error) => Ok(Err(chain(&error))),
        Ok(mut book) => Ok(book.chains.pop().ok_or_else(|| "there is nothing of it".to_owned())),
    }
}

/// Keeps what a chain says from `frame.first` on: a record for each few hundred accesses, in order, so that a run
/// that is cut off goes on behind the last.
async fn keep_read(ctx: &Ctx, above: &Repository, frame: Inherited, read: &EvidenceChain) -> Result<u64> {
    let records: Vec<_> = read.records.iter().filter(|record| record.number >= frame.first).collect();
    if !read.problems.is_empty() {
        warn(ctx, &frame, &format!("{} of its records are not as they should be", read.problems.len()));
    }
    let mut accesses: Vec<_> = records.iter().filter_map(|record| PastAccess::of(record)).collect();
    let omitted = accesses.len().saturating_sub(ACCESSES_MAX);
    accesses.drain(..omitted);
    if omitted > 0 {
        warn(ctx, &frame, &format!("its first {omitted} accesses are not kept, for there are too many"));
    }
    let (told, end) = (accesses.len() as u64, frame.next);
    let mut first = frame.first;
    let mut parts = accesses.chunks(ACCESSES_A_RECORD).peekable();
    loop {
        let part = parts.next().unwrap_or_default();
        let is_last = parts.peek().is_none();
        let next = part.last().filter(|_| !is_last).map_or(end, |last| last.number + 1);
        let told = Inherited {
            first,
            next,
            head: head(read, next),
            problems: read.problems.len() as u64,
            omitted: omitted as u64,
            accesses: part.to_vec(),
            ..frame.clone()
        };
        append(ctx, above, &told).await?;
        if is_last {
            break;
        }
        first = next;
    }
    Ok(told)
}

/// Records that nothing of a chain could be read, unless that is recorded of it as it is.
async fn keep_unread(
    ctx: &Ctx,
    above: &Repository,
    frame: Inherited,
    kept: &[(&EvidenceRecord, Inherited)],
    why: String,
) -> Result<u64> {
    warn(ctx, &frame, &why);
    if !is_kept(kept, &frame) {
        append(ctx, above, &Inherited { unread: Some(cut(&why, REASON_CHARS_MAX).0), ..frame }).await?;
    }
    Ok(0)
}

/// Whether it is recorded of a chain as it is now that it could not be read.
fn is_kept(kept: &[(&EvidenceRecord, Inherited)], frame: &Inherited) -> bool {
    let state = |told: &Inherited| (told.member.clone(), told.next, told.head.clone());
    kept.iter().any(|(_, told)| told.unread.is_some() && state(told) == state(frame))
}

fn warn(ctx: &Ctx, frame: &Inherited, why: &str) {
    let whose = match &frame.member {
        Some(member) => format!("the evidence of member {member} ({})", frame.label.escape_debug()),
        None => "its evidence".to_owned(),
    };
    let what = format!("who read domain {} before is not kept whole: {whose}: {why}", frame.domain);
    ctx.monitor.on(&Event::Warning(&what));
}

async fn append(ctx: &Ctx, above: &Repository, told: &Inherited) -> Result<()> {
    let text = serde_json::to_vec(told).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("what is kept of its evidence cannot be written: {error}"))
    })?;
    evidence::append(ctx, above, INHERITED, &text).await?;
    Ok(())
}

impl PastAccess {
    /// What is kept of a record; nothing of one that tells of no contents.
    fn of(record: &EvidenceRecord) -> Option<Self> {
        let told: Value = serde_json::from_slice(&record.text).unwrap_or_default();
        let mut past = Self {
            number: record.number,
            time: rfc3339(record.time),
            kind: record.kind.clone(),
            ..Self::default()
        };
        let is_drill = match &*record.kind {
            "access" => false,
            "drill" => true,
            _ => return None,
        };
        past.verb = if is_drill { "drill".to_owned() } else { past.text(&told["verb"], NAME_CHARS_MAX) };
        past.host = past.text(&told["host"], NAME_CHARS_MAX);
        past.user = past.text(&told["user"], NAME_CHARS_MAX);
        past.key = past.text(&told["key"], NAME_CHARS_MAX);
        past.program = past.text(&told["program"], NAME_CHARS_MAX);
        past.drill = past.text(&told[if is_drill { "id" } else { "drill" }], NAME_CHARS_MAX);
        let reason = past.text(&told["reason"], REASON_CHARS_MAX);
        past.reason = (!reason.is_empty()).then_some(reason);
        past.paths = paths(&told, is_drill);
        past.take_snapshots(&told, is_drill);
        Some(past)
    }

    fn text(&mut self, told: &Value, most: usize) -> String {
        let (text, is_cut) = cut(told.as_str().unwrap_or_default(), most);
        self.cut |= is_cut;
        text
    }

    /// What is no id of a snapshot could be anything.
    fn take_snapshots(&mut self, told: &Value, is_drill: bool) {
        let ids: Vec<_> = match is_drill {
            true => items(&told["sources"]).filter_map(|source| source["snapshot"].as_str()).collect(),
            false => items(&told["snapshots"]).filter_map(Value::as_str).collect(),
        };
        let ids = ids.into_iter().filter_map(|id| id.parse::<SessionId>().ok());
        self.snapshots = ids.map(|id| id.to_string()).collect();
        self.cut |= self.snapshots.len() > SNAPSHOTS_MAX;
        self.snapshots.truncate(SNAPSHOTS_MAX);
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// How many paths, patterns and databases an access names; of a drill how many sources.
fn paths(told: &Value, is_drill: bool) -> u64 {
    let number = |field: &str| items(&told[field]).count() as u64;
    if is_drill {
        return number("sources");
    }
    let path = told["path"].as_str().is_some_and(|path| !path.is_empty());
    u64::from(path) + number("include") + number("exclude") + number("databases")
}

/// The beginning of a text, and whether that is not all of it.
fn cut(text: &str, most: usize) -> (String, bool) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text.to_owned(), false),
    }
}

fn rfc3339(time: Time) -> String {
    let (year, month, day) = date_of(time.seconds.div_euclid(DAY));
    let second = time.seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
