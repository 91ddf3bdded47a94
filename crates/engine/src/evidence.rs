//! Evidence: records of what drills saw, each signed by its member and chained to the one before.
//!
//! A member's records are a folder of the repository. Who takes one out of the middle, changes one, or adds one in
//! another's name is found out; a tail that was cut off is seen only by who noted the head of the chain elsewhere
//! ([`EvidenceBook::expect`]). Nothing in the engine deletes evidence. On purpose not here: what a record says.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::repository::{Repository, get_optional, list_after, list_all, object_key, put_or_mine};
use crate::restore::chain;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::crypto::hash;
use holdfast_core::cutoff::CutOff;
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, hex, parse_hex};
use holdfast_core::name::{self, Place};
use holdfast_core::object::{Object, ObjectType, check_place};
use holdfast_core::record::Evidence;
use holdfast_core::root::Root;
use holdfast_store::Put;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Longest text of a record in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 20;
/// Longest name of a kind in bytes.
pub const KIND_BYTES_MAX: usize = 100;
/// So often the next number is tried when other processes of the same member take it.
const TRIES_MAX: u32 = 64;
/// No record has a higher number: what a name says beyond is not believed.
const NUMBER_BELIEVED_MAX: u64 = 1 << 31;
/// Objects that are read at the same time.
const READS_AT_ONCE: usize = 8;
/// So many numbers of a gap are asked for by name: a listing may have missed what came while it went on.
const GAP_ASKED_MAX: u64 = 16;

/// Appends a record to our own chain; returns the name of its object.
///
/// What lies at the end of the chain is what the record is chained to, damaged or not: one that cannot be read
/// must not end all evidence. It is told as a warning, and [`records`] finds it again.
///
/// # Errors
/// The text is too long, the store failed, or others took every number that was tried.
pub async fn append(ctx: &Ctx, repository: &Repository, kind: &str, text: &[u8]) -> Result<String> {
    if text.len() > TEXT_BYTES_MAX || kind.len() > KIND_BYTES_MAX {
        let what = format!("a record of {} bytes is too long; the longest has {TEXT_BYTES_MAX}", text.len());
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let mut known = None;
    for _ in 0..TRIES_MAX {
        let last = last_number(repository, repository.member(), known).await?;
        let (number, previous) = match last {
            None => (0, [0; 32]),
            Some(last) => (last + 1, hash_of_last(ctx, repository, last).await?),
        };
        let object = name::evidence(repository.member(), number);
        let record =
            Evidence { number, previous, time: ctx.clock.now(), kind: kind.to_owned(), text: text.to_vec() };
        // It looks at no root: nothing that a root says matters to it.
        let header = repository.header(ctx, ObjectType::Evidence, name::named_object(&object), 0);
        let bytes = record.encode(&header, &repository.k_ref_for(&header)?, repository.signer());
        // Bytes that are the same hold the same nonce: they are ours, and only the answer was lost.
        if put_or_mine(&**repository.store(), &object, bytes).await? == Put::Created {
            return Ok(object);
        }
        known = Some(number);
    }
    let what = format!("other processes with this key took the next {TRIES_MAX} numbers of its evidence");
    Err(Error::new(ErrorKind::Conflict, what))
}

/// The last number of a member's chain, where one of them is known to be taken.
pub(crate) async fn last_number(
    repository: &Repository,
    member: MemberId,
    known: Option<u64>,
) -> Result<Option<u64>> {
    let after = known.map(|number| object_key(name::evidence(member, number)));
    let listed = list_after(&**repository.store(), &format!("evidence/{member}/"), after).await?;
    let numbers = listed.iter().filter_map(|meta| match name::parse(meta.key.as_str()) {
        Some(Place::Evidence(owner, number)) if owner == member => Some(number),
        _ => None,
    });
    Ok(numbers.filter(|number| *number < NUMBER_BELIEVED_MAX).max().or(known))
}

/// The hash of what lies at the end of our chain.
async fn hash_of_last(ctx: &Ctx, repository: &Repository, number: u64) -> Result<[u8; 32]> {
    let (member, object) = (repository.member(), name::evidence(repository.member(), number));
    let Some(bytes) = get_optional(&**repository.store(), &object).await? else {
        let what = format!("{object} was there and is gone: somebody deletes evidence");
        return Err(Error::new(ErrorKind::Conflict, what));
    };
    repository.know_author(&bytes).await?;
    if let Err(amiss) = open(repository, member, number, &bytes)? {
        let what = format!("{object} {amiss}; the next record follows it as it is: holdfast evidence verify");
        ctx.monitor.on(&Event::Warning(&what));
    }
    Ok(hash(&bytes))
}

/// Reads one record of our own chain by its name; none if it is of another chain, is not there or is not as it
/// should be.
///
/// # Errors
/// The store failed, or the key may not read it.
pub async fn own(repository: &Repository, name: &str) -> Result<Option<EvidenceRecord>> {
    let Some(Place::Evidence(member, number)) = name::parse(name) else { return Ok(None) };
    if member != repository.member() {
        return Ok(None);
    }
    let Some(bytes) = get_optional(&**repository.store(), name).await? else { return Ok(None) };
    repository.know_author(&bytes).await?;
    let opened = open(repository, member, number, &bytes)?;
    Ok(opened.ok().map(|record| EvidenceRecord::of(member, hash(&bytes), record)))
}

/// One record that is what it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceRecord {
    /// The name of its object.
    pub name: String,
    /// Who signed it.
    pub member: MemberId,
    /// Its number in that member's chain, from 0.
    pub number: u64,
    /// BLAKE3-256 of the whole object, which the next one names.
    pub hash: [u8; 32],
    /// When it was written, by its author's clock.
    pub time: Time,
    /// What the text is: `drill`, `missed`, `note`, `access`, `shred`, `inherited`.
    pub kind: String,
    /// The record itself.
    pub text: Vec<u8>,
}

impl EvidenceRecord {
    fn of(member: MemberId, hash: [u8; 32], record: Evidence) -> Self {
        let Evidence { number, time, kind, text, .. } = record;
        Self { name: name::evidence(member, number), member, number, hash, time, kind, text }
    }

    /// What to note elsewhere to prove later that the chain still has it.
    #[must_use]
    pub const fn mark(&self) -> EvidenceMark {
        EvidenceMark { member: self.member, number: self.number, hash: self.hash }
    }
}

/// What a person notes of a record outside of the repository: `MEMBER:NUMBER:HASH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceMark {
    /// Whose chain.
    pub member: MemberId,
    /// Which record of it.
    pub number: u64,
    /// BLAKE3-256 of its object.
    pub hash: [u8; 32],
}

impl fmt::Display for EvidenceMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.member, self.number, hex(&self.hash))
    }
}

impl FromStr for EvidenceMark {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts: Vec<_> = text.trim().split(':').collect();
        let read = |[member, number, hash]: [&str; 3]| {
            Some(Self {
                member: member.parse().ok()?,
                number: number.parse().ok()?,
                hash: parse_hex(hash).ok()?,
            })
        };
        let mark = <[&str; 3]>::try_from(parts).ok().and_then(read);
        mark.ok_or_else(|| "it is not MEMBER:NUMBER:HASH, as `holdfast evidence verify` prints it".to_owned())
    }
}

/// What is not as it should be with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amiss {
    /// It is not there, though a later one is; with how many more that follow it.
    Missing(u64),
    /// Its bytes are not what was stored.
    Changed(FormatError),
    /// It was not signed by the member whose chain it is in.
    Signature,
    /// Another object lies in its place: of another name, number, author or repository.
    Another(FormatError),
    /// Its author never belonged to the repository.
    Stranger,
    /// It does not follow the record before: one of the two was replaced.
    Chain,
    /// A later version of the program wrote it.
    Newer(FormatError),
    /// The store does not give it.
    Unread(String),
    /// No chain is so long.
    Number,
    /// It came after its member had been removed.
    Late,
    /// It was noted elsewhere, and the chain does not have it any more, or has another in its place.
    NotAsNoted,
}

impl Amiss {
    /// One word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Changed(_) => "changed",
            Self::Signature => "signature",
            Self::Another(_) => "another",
            Self::Stranger => "stranger",
            Self::Chain => "chain",
            Self::Newer(_) => "newer",
            Self::Unread(_) => "unread",
            Self::Number => "number",
            Self::Late => "late",
            Self::NotAsNoted => "not_as_noted",
        }
    }

    fn of(error: FormatError) -> Self {
        match error {
            FormatError::Signature => Self::Signature,
            FormatError::Misplaced(_) => Self::Another(error),
            FormatError::Newer(_) => Self::Newer(error),
            _ => Self::Changed(error),
        }
    }
}

impl fmt::Display for Amiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(0) => f.write_str("is missing: a later record is there"),
            Self::Missing(more) => write!(f, "is missing, and {more} more after it: a later record is there"),
            Self::Changed(error) => write!(f, "was changed: {error}"),
            Self::Signature => f.write_str("was changed or forged: its signature is not that of its member"),
            Self::Another(error) => write!(f, "is not what was stored here: {error}"),
            Self::Stranger => f.write_str("cannot be trusted: its member never belonged here"),
            Self::Chain => f.write_str("does not follow the record before it: one of the two was replaced"),
            Self::Newer(error) => write!(f, "cannot be checked: {error}"),
            Self::Unread(why) => write!(f, "cannot be read: {why}"),
            Self::Late => f.write_str("was written after its member had been removed; it does not count"),
            Self::Number => f.write_str("has a number that no record has; it does not count"),
            Self::NotAsNoted => {
                f.write_str("is not as it was noted: it was replaced, or the end of the chain was cut off")
            }
        }
    }
}

/// A record that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceProblem {
    /// The name of its object.
    pub name: String,
    /// What is wrong with it.
    pub amiss: Amiss,
}

/// The records of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceChain {
    /// Whose they are.
    pub member: MemberId,
    /// What people called the member, if it was removed since: its key still proves what it wrote.
    pub removed: Option<String>,
    /// Those that are what they say they are, in their order.
    pub records: Vec<EvidenceRecord>,
    /// What is wrong, in the order of the chain.
    pub problems: Vec<EvidenceProblem>,
}

impl EvidenceChain {
    /// The last record that is sound: noted elsewhere, it proves later that nothing was cut off.
    #[must_use]
    pub fn head(&self) -> Option<EvidenceMark> {
        self.records.last().map(EvidenceRecord::mark)
    }
}

/// All evidence of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvidenceBook {
    /// The chains, by member.
    pub chains: Vec<EvidenceChain>,
}

impl EvidenceBook {
    /// All sound records, oldest first; those of one moment by their names.
    #[must_use]
    pub fn records(&self) -> Vec<&EvidenceRecord> {
        let mut all: Vec<_> = self.chains.iter().flat_map(|chain| &chain.records).collect();
        all.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
        all
    }

    /// Everything that is wrong.
    pub fn problems(&self) -> impl Iterator<Item = &EvidenceProblem> {
        self.chains.iter().flat_map(|chain| &chain.problems)
    }

    /// Whether a record that was noted is still there, the same to the last byte; else what is wrong.
    #[must_use]
    pub fn expect(&self, noted: &EvidenceMark) -> Option<EvidenceProblem> {
        let is_there = self.chains.iter().flat_map(|chain| &chain.records).any(|one| one.mark() == *noted);
        let name = name::evidence(noted.member, noted.number);
        (!is_there).then_some(EvidenceProblem { name, amiss: Amiss::NotAsNoted })
    }
}

/// Reads all evidence and checks it: checksums, places, signatures, numbers, chains. What is wrong is in the book.
///
/// # Errors
/// It cannot be listed, or the key may not read it.
pub async fn records(ctx: &Ctx, repository: &Repository) -> Result<EvidenceBook> {
    ctx.monitor.on(&Event::Phase("reading evidence"));
    let listed = list_all(&**repository.store(), "evidence/").await?;
    book(ctx, repository, listed.iter().map(|meta| meta.key.as_str())).await
}

/// Reads all evidence that a listing names. Names of nothing are for `check` to tell.
pub(crate) async fn book<'a>(
    ctx: &Ctx,
    repository: &Repository,
    names: impl Iterator<Item = &'a str>,
) -> Result<EvidenceBook> {
    let mut numbers: BTreeMap<MemberId, BTreeSet<u64>> = BTreeMap::new();
    for name in names {
        if let Some(Place::Evidence(member, number)) = name::parse(name) {
            numbers.entry(member).or_default().insert(number);
        }
    }
    let mut book = EvidenceBook::default();
    let root = match numbers.keys().any(|member| repository.is_removed(*member)) {
        true => repository.newest_root().await?,
        false => Root::default(),
    };
    for (member, numbers) in numbers {
        let cut = root.cutoffs.members.iter().find(|cut| cut.member == member);
        let cut = cut.filter(|_| repository.is_shut_out(member, &root));
        book.chains.push(read_chain(ctx, repository, member, &numbers, cut).await?);
    }
    Ok(book)
}

/// What there is to do along a chain.
enum Step {
    /// A record, or one that may be there though no listing named it.
    Read(u64),
    /// So many numbers from one on are not there.
    Gap(u64, u64),
}

/// The way along a chain: all that is listed, and what is missing in between.
fn steps(numbers: &BTreeSet<u64>) -> Vec<Step> {
    let (mut steps, mut next) = (Vec::new(), 0);
    for &number in numbers.range(..NUMBER_BELIEVED_MAX) {
        let asked = (number - next).min(GAP_ASKED_MAX);
        steps.extend((next..next + asked).map(Step::Read));
        if next + asked < number {
            steps.push(Step::Gap(next + asked, number - next - asked));
        }
        steps.push(Step::Read(number));
        next = number + 1;
    }
    steps
}

async fn read_chain(
    ctx: &Ctx,
    repository: &Repository,
    member: MemberId,
    numbers: &BTreeSet<u64>,
    cut: Option<&CutOff>,
) -> Result<EvidenceChain> {
    let end = cut.map_or(NUMBER_BELIEVED_MAX, |cut| cut.records.min(NUMBER_BELIEVED_MAX));
    let counting: BTreeSet<u64> = numbers.range(..end).copied().collect();
    let removed = repository.removed_label(member);
    let mut chain = EvidenceChain { member, removed, records: Vec::new(), problems: Vec::new() };
    let mut walk = Walk { repository, chain: &mut chain, before: Some([0; 32]) };
    let mut reads = stream::iter(steps(&counting))
        .map(|step| async move {
            let bytes = match step {
                Step::Read(number) => {
                    get_optional(&**repository.store(), &name::evidence(member, number)).await
                }
                Step::Gap(..) => Ok(None),
            };
            (step, bytes)
        })
        .buffered(READS_AT_ONCE);
    while let Some((step, bytes)) = reads.next().await {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        match (step, bytes) {
            (Step::Gap(first, missing), _) => walk.amiss(first, Amiss::Missing(missing - 1)),
            (Step::Read(number), Ok(None)) => walk.amiss(number, Amiss::Missing(0)),
            (Step::Read(number), Ok(Some(bytes))) => {
                repository.know_author(&bytes).await?;
                walk.take(number, &bytes)?;
            }
            (Step::Read(number), Err(error)) => walk.amiss(number, Amiss::Unread(self::chain(&error))),
        }
    }
    drop(reads);
    numbers.range(end..NUMBER_BELIEVED_MAX).for_each(|number| walk.amiss(*number, Amiss::Late));
    numbers.range(NUMBER_BELIEVED_MAX..).for_each(|number| walk.amiss(*number, Amiss::Number));
    if let Some(cut) = cut.filter(|cut| cut.records > 0) {
        walk.ends_as_noted(cut);
    }
    Ok(chain)
}

/// A chain while it is gone along.
struct Walk<'a> {
    repository: &'a Repository,
    chain: &'a mut EvidenceChain,
    /// Hash of the record before; `None` where that is not known.
    before: Option<[u8; 32]>,
}

impl Walk<'_> {
    fn amiss(&mut self, number: u64, amiss: Amiss) {
        self.before = None;
        self.tell(number, amiss);
    }

    fn tell(&mut self, number: u64, amiss: Amiss) {
        let name = name::evidence(self.chain.member, number);
        self.chain.problems.push(EvidenceProblem { name, amiss });
    }

    /// A root has noted the last record that counts.
    fn ends_as_noted(&mut self, cut: &CutOff) {
        let number = cut.records - 1;
        let name = name::evidence(self.chain.member, number);
        let is_there = self.chain.records.iter().any(|one| one.number == number && one.hash == cut.last);
        // What is wrong with it otherwise was told.
        if !is_there && self.chain.problems.iter().all(|problem| problem.name != name) {
            self.tell(number, Amiss::NotAsNoted);
        }
    }

    fn take(&mut self, number: u64, bytes: &[u8]) -> Result<()> {
        let member = self.chain.member;
        let record = match open(self.repository, member, number, bytes)? {
            Ok(record) => record,
            Err(amiss) => {
                self.amiss(number, amiss);
                return Ok(());
            }
        };
        if self.before.is_some_and(|before| before != record.previous) {
            self.tell(number, Amiss::Chain);
        }
        let hash = hash(bytes);
        self.before = Some(hash);
        self.chain.records.push(EvidenceRecord::of(member, hash, record));
        Ok(())
    }
}

/// Takes a record apart: checksum, place, author, signature, number. The chain is the caller's.
fn open(
    repository: &Repository,
    member: MemberId,
    number: u64,
    bytes: &[u8],
) -> Result<std::result::Result<Evidence, Amiss>> {
    let Some(author) = repository.key_of(member) else { return Ok(Err(Amiss::Stranger)) };
    let id = name::named_object(&name::evidence(member, number));
    let opened = Object::parse(bytes).and_then(|object| {
        check_place(&object.header, ObjectType::Evidence, repository.id(), id)?;
        if object.header.member != member {
            return Err(FormatError::Misplaced("its author"));
        }
        object.verify(&author)?;
        let key = repository.k_ref_of(object.header.key_epoch)?;
        let record = Evidence::decode(&object.header, object.body, &key)?;
        if record.number == number { Ok(record) } else { Err(FormatError::Misplaced("its number")) }
    });
    match opened {
        Err(error @ (FormatError::NotAllowed(_) | FormatError::KeyEpoch(_))) => {
            Err(Error::format(&name::evidence(member, number), error))
        }
        opened => Ok(opened.map_err(Amiss::of)),
    }
}
