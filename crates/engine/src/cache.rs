//! The stat cache: what the last snapshot of a source recorded, beside what the source said of
//! each item then, in one sorted file of the local cache folder.
//!
//! It saves reading; it is never believed over the repository. The file is authenticated as a
//! whole by a keyed hash, so that a flipped bit costs a full read and nothing else; each chunk
//! it names is looked up in the index again. On purpose not here: deciding what is unchanged
//! ([`crate::backup`]).

use crate::private_files::{Temporary, create_private_folder};
use holdfast_core::FormatError;
use holdfast_core::crypto::Secret;
use holdfast_core::entry::{Content, Entry, Extent, Time};
use holdfast_core::entry_code::{decode_alone, encode_alone};
use holdfast_core::id::{ChunkId, RepositoryId, SessionId, StreamId};
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::wire::{Reader, Writer};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"HFDstat1";
const HEAD_BYTES: u64 = 8 + 16 + 16 + 16;
const FOOT_BYTES: u64 = 6 * 8 + 32;
/// Longest record; a longer one is not kept.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// Every so many records have their place noted, for lookups out of order.
const RECORDS_A_STEP: u64 = 64;
/// So many keys that divide a snapshot evenly at most.
const LANDMARKS_MAX: u64 = 4096;
/// Digests are sorted in runs of at most so many, which bounds memory.
const RUN_DIGESTS_MAX: usize = 1 << 20;

/// A record whose stamp has a mark; one without a stamp has 0 there, any other 1.
const MARKED: u8 = 2;

/// What the source said of an item; together with the options it decides what is unchanged.
pub(crate) use crate::source::Proof as Stamp;

/// A record of the cache.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// What the source said; `None` if the entry must be read again whatever the source says.
    pub stamp: Option<Stamp>,
    /// What the snapshot recorded.
    pub entry: Entry,
    /// For a content with a tree of extents: all pages and chunks of that tree.
    pub closure: Vec<(ChunkKind, ChunkKey)>,
}

fn encode_record(record: &Record, writer: &mut Writer) {
    writer.bytes16(&record.entry.key);
    let stamp = record.stamp.unwrap_or_default();
    writer.u8(u8::from(record.stamp.is_some()) * (1 + u8::from(stamp.mark != 0)));
    writer.u64(stamp.size);
    for time in [stamp.mtime, stamp.ctime] {
        writer.i64(time.seconds);
        writer.u32(time.nanos);
    }
    writer.u64(stamp.inode);
    if stamp.mark != 0 {
        writer.u64(stamp.mark);
    }
    writer.count(record.closure.len());
    for (kind, key) in &record.closure {
        writer.u8(u8::from(*kind == ChunkKind::Data));
        writer.raw(&key.0);
    }
    writer.raw(&encode_alone(&record.entry));
}

/// Encodes a record for sorting outside memory.
pub(crate) fn encode_sortable(record: &Record) -> Vec<u8> {
    let mut writer = Writer::new();
    encode_record(record, &mut writer);
    writer.into_vec()
}

/// Reads what [`encode_sortable`] wrote.
pub(crate) fn decode_sortable(bytes: &[u8]) -> io::Result<Record> {
    decode_record(bytes)
}

/// For fuzzing, which cannot get past the hash over the whole file: decodes a record, and tells
/// whether it was one.
///
/// # Panics
/// A record is not the same after it was encoded and decoded again.
#[doc(hidden)]
#[must_use]
pub fn cached_record_comes_back(bytes: &[u8]) -> bool {
    let Ok(record) = decode_record(bytes) else { return false };
    let again = decode_record(&encode_sortable(&record)).expect("what was encoded decodes");
    let all = |record: Record| (record.stamp, record.entry, record.closure);
    assert!(all(record) == all(again), "a record of the stat cache is not the same after a round");
    true
}

fn record_key(bytes: &[u8]) -> io::Result<&[u8]> {
    Reader::new(bytes).bytes16().map_err(broken)
}

fn decode_record(bytes: &[u8]) -> io::Result<Record> {
    let mut reader = Reader::new(bytes);
    let mut decode = || {
        reader.bytes16()?;
        let stamped = reader.u8()?;
        if stamped > MARKED {
            return Err(FormatError::Malformed("a cached entry"));
        }
        let size = reader.u64()?;
        let mtime = Time { seconds: reader.i64()?, nanos: reader.u32()? };
        let ctime = Time { seconds: reader.i64()?, nanos: reader.u32()? };
        let inode = reader.u64()?;
        let mark = if stamped == MARKED { reader.u64()? } else { 0 };
        let stamp = Stamp { size, mtime, ctime, inode, mark };
        let mut closure = Vec::new();
        for _ in 0..reader.count(25)? {
            let kind = if reader.flag("a kind of chunk")? { ChunkKind::Data } else { ChunkKind::Page };
            closure.push((kind, ChunkKey(reader.array()?)));
        }
        let entry = decode_alone(reader.raw(reader.left())?)?;
        Ok(Record { stamp: (stamped > 0).then_some(stamp), entry, closure })
    };
    decode().map_err(|error: FormatError| broken(error))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Where the cache of a stream lies.
pub(crate) fn path_of(folder: &Path, repository: RepositoryId, stream: StreamId) -> PathBuf {
    folder.join(repository.to_string()).join("stat").join(stream.to_string())
}

/// Small contents lie in a slice of a bundle.
pub(crate) fn slice_of(entry: &Entry) -> Option<(ChunkId, u32, u32)> {
    match &entry.content {
        Content::Extents(extents) => match extents[..] {
            [Extent::Chunk { id, offset, length }] if entry.size <= crate::source::SMALL_FILE_BYTES_MAX => {
                Some((id, offset, length))
            }
            _ => None,
        },
        _ => None,
    }
}

/// How much of a bundle the last snapshot used.
#[derive(Debug, Clone, Copy, Default)]
struct BundleUse {
    /// Its length in bytes; 0 when unknown.
    total: u32,
    used: u64,
}

/// Writes the next cache; nothing is visible before [`CacheWriter::commit`], and nothing is left
/// without it.
pub(crate) struct CacheWriter {
    path: PathBuf,
    temporary: Temporary,
    file: BufWriter<Hashing>,
    offset: u64,
    records: u64,
    steps: Vec<u64>,
    digests: Vec<(u64, u64)>,
    runs: Vec<(u64, u64)>,
    spilled: Option<BufWriter<File>>,
    bundles: HashMap<ChunkKey, BundleUse>,
    buffer: Writer,
}

/// A file that hashes what is written to it.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CacheWriter {
    /// Starts a cache beside the one in force. The snapshot's id is written at the end.
    pub(crate) fn create(path: &Path, key: &Secret) -> io::Result<Self> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        create_private_folder(folder)?;
        let temporary = Temporary::at(path.with_extension(format!("{}.tmp", std::process::id())));
        let file =
            File::options().create(true).truncate(true).write(true).read(true).open(temporary.path())?;
        let hashing = Hashing { file, hasher: blake3::Hasher::new_keyed(key.expose()) };
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file: BufWriter::with_capacity(256 << 10, hashing),
            offset: 0,
            records: 0,
            steps: Vec::new(),
            digests: Vec::new(),
            runs: Vec::new(),
            spilled: None,
            bundles: HashMap::new(),
            buffer: Writer::new(),
        })
    }

    /// States how long a bundle is that was closed in this run.
    pub(crate) fn bundle(&mut self, id: &ChunkId, bytes: usize) {
        self.bundles.entry(ChunkKey::from(id)).or_default().total = bytes as u32;
    }

    /// Appends a record; keys ascend.
    pub(crate) fn push(&mut self, record: &Record) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.buffer).into_vec();
        bytes.clear();
        let mut writer = Writer::from_vec(bytes);
        encode_record(record, &mut writer);
        if writer.len() <= RECORD_BYTES_MAX {
            if self.records.is_multiple_of(RECORDS_A_STEP) {
                self.steps.push(self.offset);
            }
            if let (Some((chunk, _, length)), Some(digest)) = (slice_of(&record.entry), &record.entry.digest)
            {
                self.digests.push((digest_front(digest), self.offset));
                self.bundles.entry(ChunkKey::from(&chunk)).or_default().used += u64::from(length);
            }
            self.file.write_all(&(writer.len() as u32).to_le_bytes())?;
            self.file.write_all(writer.as_slice())?;
            self.offset += 4 + writer.len() as u64;
            self.records += 1;
            if self.digests.len() >= RUN_DIGESTS_MAX {
                self.end_run()?;
            }
        }
        self.buffer = writer;
        Ok(())
    }

    /// Sorts the digests gathered so far and sets them aside.
    fn end_run(&mut self) -> io::Result<()> {
        if self.digests.is_empty() {
            return Ok(());
        }
        self.digests.sort_unstable();
        if self.spilled.is_none() {
            let path = self.temporary.path().with_extension("runs");
            let file = File::options().create(true).truncate(true).write(true).read(true).open(&path)?;
            // Nobody else needs its name.
            std::fs::remove_file(&path)?;
            self.spilled = Some(BufWriter::new(file));
        }
        let spilled = self.spilled.as_mut().ok_or(io::ErrorKind::Other)?;
        for (front, offset) in &self.digests {
            spilled.write_all(&front.to_le_bytes())?;
            spilled.write_all(&offset.to_le_bytes())?;
        }
        let start = self.runs.last().map_or(0, |(start, count)| start + count);
        self.runs.push((start, self.digests.len() as u64));
        self.digests.clear();
        Ok(())
    }

    /// Ends the cache as that of a committed snapshot and puts it in force. `before` is the one
    /// that was in force while this one was written: lengths of bundles are carried over.
    pub(crate) fn commit(
        mut self,
        repository: RepositoryId,
        stream: StreamId,
        snapshot: SessionId,
        before: Option<&Cache>,
    ) -> io::Result<()> {
        self.end_run()?;
        if let Some(spilled) = self.spilled.take() {
            let mut file = spilled.into_inner().map_err(io::IntoInnerError::into_error)?;
            io::Seek::rewind(&mut file)?;
            io::copy(&mut file, &mut self.file)?;
        }
        let mut tail = Writer::new();
        for (start, count) in &self.runs {
            tail.u64(*start);
            tail.u64(*count);
        }
        self.steps.iter().for_each(|step| tail.u64(*step));
        let mut bundles = 0u64;
        for (key, usage) in &self.bundles {
            let total = if usage.total > 0 {
                usage.total
            } else {
                before.map_or(0, |before| before.bundle_bytes(key))
            };
            if total > 0 {
                tail.raw(&key.0);
                tail.u32(total);
                tail.u64(usage.used);
                bundles += 1;
            }
        }
        let digests = self.runs.last().map_or(0, |(start, count)| start + count);
        for value in
            [self.records, self.offset, digests, self.runs.len() as u64, self.steps.len() as u64, bundles]
        {
            tail.u64(value);
        }
        self.file.write_all(tail.as_slice())?;
        let mut head = Writer::new();
        head.raw(&MAGIC);
        head.raw(repository.bytes());
        head.raw(stream.bytes());
        head.raw(snapshot.bytes());
        // Last, since only now is the snapshot known; the hash covers it last too.
        self.file.write_all(head.as_slice())?;
        let Hashing { mut file, hasher } = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all(hasher.finalize().as_bytes())?;
        self.temporary.put_in_force(&self.path)
    }
}

fn digest_front(digest: &[u8; 32]) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(front)
}

/// A cache in force, verified.
pub(crate) struct Cache {
    file: File,
    /// The snapshot that it describes.
    pub snapshot: SessionId,
    digests_at: u64,
    records_end: u64,
    runs: Vec<(u64, u64)>,
    steps: Vec<u64>,
    bundles: HashMap<ChunkKey, u32>,
    wasteful: HashSet<ChunkKey>,
}

impl Cache {
    /// Opens and verifies a cache; `None` if there is none.
    ///
    /// # Errors
    /// It is broken, or of another repository or stream.
    pub(crate) fn open(
        path: &Path,
        key: &Secret,
        repository: RepositoryId,
        stream: StreamId,
    ) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        let end =
            size.checked_sub(FOOT_BYTES + HEAD_BYTES).ok_or_else(|| broken("the stat cache is cut off"))?;
        verify(&file, size - 32, key)?;
        let foot = read_at(&file, end, (FOOT_BYTES + HEAD_BYTES - 32) as usize)?;
        let mut reader = Reader::new(&foot);
        let mut fields = [0u64; 6];
        for field in &mut fields {
            *field = reader.u64().map_err(broken)?;
        }
        let mut head = || -> Result<_, FormatError> {
            Ok((reader.array::<8>()?, reader.array()?, reader.array()?, reader.array()?))
        };
        let (magic, in_repository, in_stream, snapshot) = head().map_err(broken)?;
        if (magic, RepositoryId(in_repository), StreamId(in_stream)) != (MAGIC, repository, stream) {
            return Err(broken("the stat cache is of another source"));
        }
        let [_records, records_end, digests, runs, steps, bundles] = fields;
        let tail_at = records_end + digests * 16;
        let tail = read_at(&file, tail_at, end.saturating_sub(tail_at) as usize)?;
        let mut cache = Self {
            file,
            snapshot: SessionId(snapshot),
            digests_at: records_end,
            records_end,
            runs: Vec::new(),
            steps: Vec::new(),
            bundles: HashMap::new(),
            wasteful: HashSet::new(),
        };
        cache.read_tail(&tail, runs, steps, bundles).map_err(broken)?;
        Ok(Some(cache))
    }

    fn read_tail(&mut self, tail: &[u8], runs: u64, steps: u64, bundles: u64) -> Result<(), FormatError> {
        let mut reader = Reader::new(tail);
        for _ in 0..runs {
            self.runs.push((reader.u64()?, reader.u64()?));
        }
        for _ in 0..steps {
            self.steps.push(reader.u64()?);
        }
        for _ in 0..bundles {
            let (key, total, used) = (ChunkKey(reader.array()?), reader.u32()?, reader.u64()?);
            if used * 2 < u64::from(total) {
                self.wasteful.insert(key);
            }
            self.bundles.insert(key, total);
        }
        reader.end()
    }

    fn bundle_bytes(&self, key: &ChunkKey) -> u32 {
        self.bundles.get(key).copied().unwrap_or(0)
    }

    /// Whether less than half of a bundle was in use: its files are read and bundled anew.
    pub(crate) fn is_wasteful(&self, bundle: &ChunkId) -> bool {
        !self.wasteful.is_empty() && self.wasteful.contains(&ChunkKey::from(bundle))
    }

    /// Keys that lie about so many records apart; none where there are not enough records, or they
    /// cannot be read.
    pub(crate) fn landmarks(&self, apart: u64) -> Vec<Vec<u8>> {
        let steps = self.steps.len() as u64;
        let stride = apart.div_ceil(RECORDS_A_STEP).max(steps.div_ceil(LANDMARKS_MAX)).max(1);
        let places = (stride..).step_by(stride as usize).take_while(|at| at + stride <= steps);
        let key = |at: u64| record_key(&self.record_at(self.steps[at as usize])?).map(<[u8]>::to_vec);
        places.map(key).collect::<io::Result<_>>().unwrap_or_default()
    }

    /// Reads records in order of their keys.
    pub(crate) fn scan(&self) -> io::Result<Scan> {
        let mut file = BufReader::with_capacity(256 << 10, self.file.try_clone()?);
        io::Seek::rewind(&mut file)?;
        Ok(Scan { file: file.take(self.records_end), next: Vec::new(), has_next: false, last: Vec::new() })
    }

    /// Finds a small content by its digest.
    pub(crate) fn by_digest(&self, digest: &[u8; 32]) -> io::Result<Option<Entry>> {
        let front = digest_front(digest);
        for (start, count) in &self.runs {
            let mut at = self.first_at_least(*start, *count, front)?;
            while at < start + count {
                let (found, offset) = self.digest_row(at)?;
                if found != front {
                    break;
                }
                let record = decode_record(&self.record_at(offset)?)?;
                if record.entry.digest.as_ref() == Some(digest) {
                    return Ok(Some(record.entry));
                }
                at += 1;
            }
        }
        Ok(None)
    }

    fn digest_row(&self, row: u64) -> io::Result<(u64, u64)> {
        let bytes = read_at(&self.file, self.digests_at + row * 16, 16)?;
        let mut reader = Reader::new(&bytes);
        let mut pair = || Ok((reader.u64()?, reader.u64()?));
        pair().map_err(|error: FormatError| broken(error))
    }

    fn first_at_least(&self, start: u64, count: u64, front: u64) -> io::Result<u64> {
        let (mut low, mut high) = (start, start + count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.digest_row(middle)?.0 < front {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn record_at(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.file.read_exact_at(&mut length, offset)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(broken("a record of the stat cache is too long"));
        }
        read_at(&self.file, offset + 4, length)
    }

    /// Finds a record by its key, in any order.
    pub(crate) fn by_key(&self, key: &[u8]) -> io::Result<Option<Record>> {
        let (mut low, mut high) = (0, self.steps.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if record_key(&self.record_at(self.steps[middle])?)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(step) = low.checked_sub(1) else { return Ok(None) };
        let mut offset = self.steps[step];
        for _ in 0..RECORDS_A_STEP {
            if offset >= self.records_end {
                break;
            }
            let bytes = self.record_at(offset)?;
            match record_key(&bytes)?.cmp(key) {
                std::cmp::Ordering::Less => offset += 4 + bytes.len() as u64,
                std::cmp::Ordering::Equal => return decode_record(&bytes).map(Some),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }
}

fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn verify(file: &File, length: u64, key: &Secret) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    while at < length {
        let part = buffer.len().min((length - at) as usize);
        file.read_exact_at(&mut buffer[..part], at)?;
        hasher.update(&buffer[..part]);
        at += part as u64;
    }
    let expected = read_at(file, length, 32)?;
    if hasher.finalize().as_bytes()[..] == expected[..] {
        Ok(())
    } else {
        Err(broken("the stat cache is damaged"))
    }
}

/// Reads records one after the other.
pub(crate) struct Scan {
    file: io::Take<BufReader<File>>,
    next: Vec<u8>,
    has_next: bool,
    last: Vec<u8>,
}

impl Scan {
    fn fill(&mut self) -> io::Result<bool> {
        if self.has_next {
            return Ok(true);
        }
        if self.file.limit() == 0 {
            return Ok(false);
        }
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > RECORD_BYTES_MAX {
            return Err(broken("a record of the stat cache is too long"));
        }
        self.next.resize(length, 0);
        self.file.read_exact(&mut self.next)?;
        self.has_next = true;
        Ok(true)
    }

    /// Finds a record of the cache that this scans, in any order; keys that ascend cost least.
    pub(crate) fn find(&mut self, cache: &Cache, key: &[u8]) -> io::Result<Option<Record>> {
        if self.last.as_slice() >= key {
            return cache.by_key(key);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.seek(key)
    }

    /// Skips records below `key`; returns that of `key` if there is one.
    fn seek(&mut self, key: &[u8]) -> io::Result<Option<Record>> {
        while self.fill()? {
            match record_key(&self.next)?.cmp(key) {
                std::cmp::Ordering::Less => self.has_next = false,
                std::cmp::Ordering::Equal => {
                    self.has_next = false;
                    return decode_record(&self.next).map(Some);
                }
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}
