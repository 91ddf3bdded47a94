//! Sessions: begin, pins and end; a committed end is a snapshot.
//!
//! On purpose not here: the protocol that orders them (FORMAT.md, and the engine).

use crate::crypto::{Secret, Signer};
use crate::entry::Time;
use crate::error::FormatError;
use crate::id::{ChunkId, MemberId, RepositoryId, SessionId, StreamId};
use crate::keys::SessionRow;
use crate::name::{PackId, SessionName};
use crate::object::{
    Header, SMALL_SECTION_BYTES_MAX, SNAPSHOT_SECTION_BYTES_MAX, encode_object, open_section, seal_section,
    seal_section_paid, unpacked_times,
};
use crate::page::KeySpace;
use crate::wire::{Reader, Tag, Writer, take_tag};

/// Longest text in a session's records, in bytes.
const TEXT_BYTES_MAX: u32 = 16 << 20;

/// Which process writes; a session whose process is gone can be told on the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// Hash of the machine's identity.
    pub machine: [u8; 16],
    /// Identity of the boot.
    pub boot: [u8; 16],
    /// Process number.
    pub number: u32,
    /// When it started, in the system's own ticks since boot.
    pub start: u64,
}

/// What a session states when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The stream that it will extend.
    pub stream: StreamId,
    /// Who writes.
    pub process: Process,
    /// When, for people.
    pub started: Time,
}

impl Begin {
    /// Encodes the object: one sealed section, tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_ref: &Secret, signer: &Signer) -> Vec<u8> {
        let mut section = Writer::new();
        section.raw(self.stream.bytes());
        section.raw(&self.process.machine);
        section.raw(&self.process.boot);
        section.u32(self.process.number);
        section.u64(self.process.start);
        encode_time(&mut section, self.started);
        section.tags(&[]);
        let mut writer = Writer::new();
        seal_section(&mut writer, k_ref, header, "begin", section.as_slice());
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(signer))
    }

    /// Reads the body of a begin object; the caller verifies the signature.
    ///
    /// # Errors
    /// It is damaged, malformed, or of a later version.
    pub fn decode(header: &Header, body: &[u8], k_ref: &Secret) -> Result<Self, FormatError> {
        let section = whole_section(header, body, k_ref, "begin")?;
        let mut reader = Reader::new(&section);
        let begin = Self {
            stream: StreamId(reader.array()?),
            process: Process {
                machine: reader.array()?,
                boot: reader.array()?,
                number: reader.u32()?,
                start: reader.u64()?,
            },
            started: decode_time(&mut reader)?,
        };
        reader.tags("a begin", &[])?;
        reader.end()?;
        Ok(begin)
    }
}

/// What a session relies on and no collector may take away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins {
    /// Snapshots whose whole closure is relied on, ascending.
    pub snapshots: Vec<SessionId>,
    /// Packs of other sessions, ascending.
    pub packs: Vec<PackId>,
}

impl Pins {
    /// Encodes the object: one sealed section, tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_ref: &Secret, signer: &Signer) -> Vec<u8> {
        let mut section = Writer::new();
        section.count(self.snapshots.len());
        self.snapshots.iter().for_each(|id| section.raw(id.bytes()));
        section.count(self.packs.len());
        self.packs.iter().for_each(|pack| section.raw(&pack.encode()));
        section.tags(&[]);
        let mut writer = Writer::new();
        seal_section(&mut writer, k_ref, header, "pins", section.as_slice());
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(signer))
    }

    /// Reads the body of a pins object; the caller verifies the signature.
    ///
    /// # Errors
    /// It is damaged, malformed, or of a later version.
    pub fn decode(header: &Header, body: &[u8], k_ref: &Secret) -> Result<Self, FormatError> {
        let section = whole_section(header, body, k_ref, "pins")?;
        let mut reader = Reader::new(&section);
        let mut pins = Self::default();
        for _ in 0..reader.count(16)? {
            pins.snapshots.push(SessionId(reader.array()?));
        }
        for _ in 0..reader.count(PackId::SIZE)? {
            pins.packs.push(PackId::decode(&reader.array()?).ok_or(FormatError::Malformed("a pinned pack"))?);
        }
        reader.tags("pins", &[])?;
        reader.end()?;
        let ascending = pins.snapshots.is_sorted() && pins.packs.is_sorted();
        if ascending { Ok(pins) } else { Err(FormatError::Malformed("the order of pins")) }
    }
}

/// What a snapshot counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Regular files or objects.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Everything else.
    pub others: u64,
    /// Content of all files in bytes, holes included.
    pub bytes: u64,
    /// Files that the parent does not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files that were taken from the parent without reading them.
    pub files_unmodified: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Chunks and pages that the repository did not have.
    pub chunks_added: u64,
    /// Their plaintext in bytes.
    pub bytes_added: u64,
    /// What they take in the repository, in bytes.
    pub bytes_stored: u64,
}

/// Where a copied snapshot was made. A copy of a copy names the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The repository.
    pub repository: RepositoryId,
    /// The snapshot there.
    pub snapshot: SessionId,
}

/// What a snapshot needs of a database's log: from one segment to another, by the places in their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSpan {
    /// Which database.
    pub system: u64,
    /// Number of the timeline.
    pub timeline: u32,
    /// The segment that it begins in: the two numbers that follow the timeline in its name, as one.
    pub first: u64,
    /// The segment that it ends in.
    pub last: u64,
    /// Length of a segment in bytes.
    pub segment_bytes: u64,
}

/// Whose words a summary is that an owner passed on, in a copy or with other tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaidBy {
    /// The member, no owner, who said it first, in the repository where that was.
    pub member: MemberId,
    /// When a maintainer first saw it; where none had, when it was first passed on.
    pub received: Time,
}

/// What every member may see of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The stream that it extends.
    pub stream: StreamId,
    /// Host that the source belongs to.
    pub host: String,
    /// Kind of source: "files".
    pub kind: String,
    /// Name of the source.
    pub label: String,
    /// Paths or URLs, bytes kept as they are.
    pub paths: Vec<Vec<u8>>,
    /// Tags, ascending.
    pub tags: Vec<String>,
    /// When the capture began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// What it counted.
    pub counts: Counts,
    /// Whether something could not be read; the details say what.
    pub incomplete: bool,
    /// How many problems there were.
    pub problems: u64,
    /// Topmost page of the tree.
    pub root: ChunkId,
    /// What the keys of the tree are.
    pub space: KeySpace,
    /// The snapshot that it was compared with.
    pub parent: Option<SessionId>,
    /// Snapshots that this one takes the place of.
    pub supersedes: Vec<SessionId>,
    /// The snapshot that it is a copy of, if it was made in another repository.
    pub origin: Option<Origin>,
    /// What it needs of a log that is archived.
    pub log: Option<LogSpan>,
    /// Whose words it is, if not its author's. It counts where an owner signed it.
    pub said_by: Option<SaidBy>,
    /// Tags of later versions that are not critical: kept and passed on.
    pub unknown: Vec<Tag>,
}

const TAG_PARENT: u16 = 0x0001;
const TAG_ORIGIN: u16 = 0x0002;
const TAG_LOG: u16 = 0x0003;
const TAG_SAID_BY: u16 = 0x0004;

impl Summary {
    /// Encodes the section.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.stream.bytes());
        for text in [&self.host, &self.kind, &self.label] {
            writer.bytes32(text.as_bytes());
        }
        writer.count(self.paths.len());
        self.paths.iter().for_each(|path| writer.bytes32(path));
        writer.count(self.tags.len());
        self.tags.iter().for_each(|tag| writer.bytes32(tag.as_bytes()));
        encode_time(&mut writer, self.start);
        encode_time(&mut writer, self.end);
        self.counts.fields().into_iter().for_each(|value| writer.u64(value));
        writer.u8(u8::from(self.incomplete));
        writer.u64(self.problems);
        writer.raw(self.root.bytes());
        writer.u8(self.space as u8);
        writer.count(self.supersedes.len());
        self.supersedes.iter().for_each(|id| writer.raw(id.bytes()));
        let parent = self.parent.map(|id| Tag { id: TAG_PARENT, bytes: id.0.to_vec() });
        let origin = self.origin.map(|origin| {
            let bytes = [*origin.repository.bytes(), *origin.snapshot.bytes()].concat();
            Tag { id: TAG_ORIGIN, bytes }
        });
        let log = self.log.map(|log| Tag { id: TAG_LOG, bytes: log.encode() });
        let said_by = self.said_by.map(|said| Tag { id: TAG_SAID_BY, bytes: said.encode() });
        let known = parent.into_iter().chain(origin).chain(log).chain(said_by);
        let mut tags: Vec<_> = known.chain(self.unknown.iter().cloned()).collect();
        tags.sort_by_key(|tag| tag.id);
        writer.tags(&tags);
        writer.into_vec()
    }

    /// Reads what [`Summary::encode`] wrote.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let stream = StreamId(reader.array()?);
        let (host, kind, label) = (text(&mut reader)?, text(&mut reader)?, text(&mut reader)?);
        let mut paths = Vec::new();
        for _ in 0..reader.count(4)? {
            paths.push(reader.bytes32("a path", TEXT_BYTES_MAX)?.to_vec());
        }
        let mut tags = Vec::new();
        for _ in 0..reader.count(4)? {
            tags.push(text(&mut reader)?);
        }
        let (start, end) = (decode_time(&mut reader)?, decode_time(&mut reader)?);
        let counts = Counts::decode(&mut reader)?;
        let incomplete = reader.flag("the status of a snapshot")?;
        let problems = reader.u64()?;
        let root = ChunkId(reader.array()?);
        let space = KeySpace::from_byte(reader.u8()?)?;
        let mut supersedes = Vec::new();
        for _ in 0..reader.count(16)? {
            supersedes.push(SessionId(reader.array()?));
        }
        let mut unknown = reader.tags("a snapshot", &[])?;
        let parent = take_tag(&mut unknown, TAG_PARENT)
            .map(|bytes| bytes.try_into().map(SessionId).map_err(|_| FormatError::Malformed("a parent")))
            .transpose()?;
        let origin = take_tag(&mut unknown, TAG_ORIGIN).map(|bytes| Origin::decode(&bytes)).transpose()?;
        let log = take_tag(&mut unknown, TAG_LOG).map(|bytes| LogSpan::decode(&bytes)).transpose()?;
        let said_by = take_tag(&mut unknown, TAG_SAID_BY).map(|bytes| SaidBy::decode(&bytes)).transpose()?;
        reader.end()?;
        Ok(Self {
            stream,
            host,
            kind,
            label,
            paths,
            tags,
            start,
            end,
            counts,
            incomplete,
            problems,
            root,
            space,
            parent,
            supersedes,
            origin,
            log,
            said_by,
            unknown,
        })
    }
}

impl Origin {
    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let origin = Self { repository: RepositoryId(reader.array()?), snapshot: SessionId(reader.array()?) };
        reader.end()?;
        Ok(origin)
    }
}

impl SaidBy {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.member.bytes());
        encode_time(&mut writer, self.received);
        writer.into_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let said = Self { member: MemberId(reader.array()?), received: decode_time(&mut reader)? };
        reader.end()?;
        Ok(said)
    }
}

impl LogSpan {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.system);
        writer.u32(self.timeline);
        [self.first, self.last, self.segment_bytes].into_iter().for_each(|value| writer.u64(value));
        writer.into_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let span = Self {
            system: reader.u64()?,
            timeline: reader.u32()?,
            first: reader.u64()?,
            last: reader.u64()?,
            segment_bytes: reader.u64()?,
        };
        reader.end()?;
        Ok(span)
    }
}

impl Counts {
    const fn fields(&self) -> [u64; 11] {
        [
            self.files,
            self.directories,
            self.others,
            self.bytes,
            self.files_new,
            self.files_changed,
            self.files_unmodified,
            self.bytes_read,
            self.chunks_added,
            self.bytes_added,
            self.bytes_stored,
        ]
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            files: reader.u64()?,
            directories: reader.u64()?,
            others: reader.u64()?,
            bytes: reader.u64()?,
            files_new: reader.u64()?,
            files_changed: reader.u64()?,
            files_unmodified: reader.u64()?,
            bytes_read: reader.u64()?,
            chunks_added: reader.u64()?,
            bytes_added: reader.u64()?,
            bytes_stored: reader.u64()?,
        })
    }
}

/// One thing that a snapshot lacks or has only in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedProblem {
    /// Path with slashes, bytes kept as they are.
    pub path: Vec<u8>,
    /// What happened.
    pub what: String,
}

/// What only readers may see of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The program's version.
    pub version: String,
    /// The command, without secrets.
    pub command: String,
    /// The first problems.
    pub problems: Vec<RecordedProblem>,
    /// Opaque record of the source's adapter.
    pub source_record: Vec<u8>,
    /// Facts that a drill checks, (name, value).
    pub facts: Vec<(String, String)>,
}

impl Details {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.bytes32(self.version.as_bytes());
        writer.bytes32(self.command.as_bytes());
        writer.count(self.problems.len());
        for problem in &self.problems {
            writer.bytes32(&problem.path);
            writer.bytes32(problem.what.as_bytes());
        }
        writer.bytes32(&self.source_record);
        writer.count(self.facts.len());
        for (name, value) in &self.facts {
            writer.bytes32(name.as_bytes());
            writer.bytes32(value.as_bytes());
        }
        writer.tags(&[]);
        writer.into_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let (version, command) = (text(&mut reader)?, text(&mut reader)?);
        let mut problems = Vec::new();
        for _ in 0..reader.count(8)? {
            let path = reader.bytes32("a path", TEXT_BYTES_MAX)?.to_vec();
            problems.push(RecordedProblem { path, what: text(&mut reader)? });
        }
        let source_record = reader.bytes32("a source record", TEXT_BYTES_MAX)?.to_vec();
        let mut facts = Vec::new();
        for _ in 0..reader.count(8)? {
            facts.push((text(&mut reader)?, text(&mut reader)?));
        }
        reader.tags("the details of a snapshot", &[])?;
        reader.end()?;
        Ok(Self { version, command, problems, source_record, facts })
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// As a snapshot.
    Commit(Box<Commit>),
    /// Given up, by itself or by someone who found it dead.
    Abort {
        /// Why, for people.
        reason: String,
    },
}

/// A committed session: a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// What every member may see.
    pub summary: Summary,
    /// Opens the details.
    pub session: SessionRow,
    /// The details, still sealed; [`Commit::open_details`] opens them.
    sealed_details: Vec<u8>,
    /// BLAKE3-256 of `holdfast.json` as the author saw it.
    pub repository_hash: [u8; 32],
    /// How many index deltas and pins objects the session published, so that a missing one is noticed.
    pub objects: Published,
}

/// How many objects of each kind a session published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// Index deltas.
    pub deltas: u32,
    /// Pins.
    pub pins: u32,
}

impl Commit {
    /// Seals the details under the session's secret and joins all parts.
    #[must_use]
    pub fn new(
        summary: Summary,
        session: SessionRow,
        details: &Details,
        header: &Header,
        meta_secret: &Secret,
        repository_hash: [u8; 32],
        objects: Published,
    ) -> Self {
        let mut writer = Writer::new();
        seal_section(&mut writer, meta_secret, header, "details", &details.encode());
        Self { summary, session, sealed_details: writer.into_vec(), repository_hash, objects }
    }

    /// Opens the details.
    ///
    /// # Errors
    /// They are damaged, or the secret is another.
    pub fn open_details(&self, header: &Header, meta_secret: &Secret) -> Result<Details, FormatError> {
        let mut reader = Reader::new(&self.sealed_details);
        let details = Details::decode(&open_section(
            &mut reader,
            meta_secret,
            header,
            "details",
            SNAPSHOT_SECTION_BYTES_MAX,
        )?)?;
        reader.end()?;
        Ok(details)
    }
}

/// What a summary may unpack to, as many times as its body: many paths of one folder shrink by that.
const SUMMARY_TIMES_MAX: usize = 64;

impl End {
    /// Encodes the object: outcome 1, then for a commit the hash of `holdfast.json` 32, counts of
    /// its deltas 4 and pins 4, sealed summary, session row, sealed details; for an abort a sealed
    /// reason; tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_ref: &Secret, signer: &Signer) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Commit(commit) => {
                writer.u8(1);
                writer.raw(&commit.repository_hash);
                writer.u32(commit.objects.deltas);
                writer.u32(commit.objects.pins);
                let summary = commit.summary.encode();
                seal_section_paid(&mut writer, k_ref, header, "summary", &summary, SUMMARY_TIMES_MAX);
                commit.session.encode(&mut writer);
                writer.raw(&commit.sealed_details);
            }
            Self::Abort { reason } => {
                writer.u8(2);
                seal_section(&mut writer, k_ref, header, "abort", reason.as_bytes());
            }
        }
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(signer))
    }

    /// Reads the body of an end object; the caller verifies the signature.
    ///
    /// # Errors
    /// It is damaged, malformed, or of a later version.
    pub fn decode(header: &Header, body: &[u8], k_ref: &Secret) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let end = match reader.u8()? {
            1 => {
                let repository_hash = reader.array()?;
                let objects = Published { deltas: reader.u32()?, pins: reader.u32()? };
                let max = SNAPSHOT_SECTION_BYTES_MAX;
                let paid = unpacked_times(body.len(), SUMMARY_TIMES_MAX, max);
                let summary = Summary::decode(&open_section(&mut reader, k_ref, header, "summary", paid)?)?;
                let (session, sealed) =
                    (SessionRow::decode(&mut reader)?, reader.bytes32("details", max as u32 + 29)?);
                let sealed_details = [&(sealed.len() as u32).to_le_bytes()[..], sealed].concat();
                Self::Commit(Box::new(Commit { summary, session, sealed_details, repository_hash, objects }))
            }
            2 => {
                let reason = open_section(&mut reader, k_ref, header, "abort", SMALL_SECTION_BYTES_MAX)?;
                Self::Abort { reason: String::from_utf8_lossy(&reason).into_owned() }
            }
            other => return Err(FormatError::Newer(format!("session outcome {other}"))),
        };
        reader.tags("an end", &[])?;
        reader.end()?;
        Ok(end)
    }

    /// Checks that a commit is by the member of its name, and opens the session of its name; an
    /// abort may be another's.
    ///
    /// # Errors
    /// It belongs elsewhere.
    pub fn check_author(&self, header: &Header, name: &SessionName) -> Result<(), FormatError> {
        let Self::Commit(commit) = self else { return Ok(()) };
        let stated = (header.member, commit.session.member, commit.session.session);
        if stated == (name.member, name.member, name.session) {
            Ok(())
        } else {
            Err(FormatError::Misplaced("its author"))
        }
    }
}

fn whole_section(
    header: &Header,
    body: &[u8],
    key: &Secret,
    label: &'static str,
) -> Result<Vec<u8>, FormatError> {
    let mut reader = Reader::new(body);
    let section = open_section(&mut reader, key, header, label, SMALL_SECTION_BYTES_MAX)?;
    reader.tags(label, &[])?;
    reader.end()?;
    Ok(section)
}

pub(crate) fn encode_time(writer: &mut Writer, time: Time) {
    writer.i64(time.seconds);
    writer.u32(time.nanos);
}

pub(crate) fn decode_time(reader: &mut Reader<'_>) -> Result<Time, FormatError> {
    let time = Time { seconds: reader.i64()?, nanos: reader.u32()? };
    if time.nanos < 1_000_000_000 { Ok(time) } else { Err(FormatError::Malformed("a time")) }
}

pub(crate) fn text(reader: &mut Reader<'_>) -> Result<String, FormatError> {
    let bytes = reader.bytes32("a text", TEXT_BYTES_MAX)?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FormatError::Malformed("a text"))
}

#[cfg(test)]
pub(crate) mod tests;
