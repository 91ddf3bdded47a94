//! Where each object lies: the names of a repository.
//!
//! On purpose not here: what a store accepts as a name. These fit every store.

use crate::crypto::hash;
use crate::id::{MemberId, ObjectId, SessionId, hex, parse_hex};

/// The repository's own description, in clear; its creation is the commit of `init`.
pub const REPOSITORY: &str = "holdfast.json";
/// How to get back in, in clear.
pub const RECOVER: &str = "RECOVER.txt";

/// Below this lie the domains: repositories of their own, each under its name.
pub const DOMAINS: &str = "domains/";

/// In a domain that is being erased: says so, to whoever comes after.
pub const SHREDDED: &str = "shredded";

/// Longest name of a domain.
pub const DOMAIN_NAME_BYTES_MAX: usize = 63;

/// Whether a domain may have this name: lower-case letters, digits, `-`, `_` and `.`, the first a
/// letter or digit, so that no store and no file system takes it for something else.
#[must_use]
pub fn is_domain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=DOMAIN_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.'))
        && name.bytes().next().is_some_and(plain)
}

/// The domain that an object belongs to, by its name in the repository above.
#[must_use]
pub fn domain_of(name: &str) -> Option<&str> {
    let (domain, _) = name.strip_prefix(DOMAINS)?.split_once('/')?;
    is_domain_name(domain).then_some(domain)
}

/// Whether a pack holds data or the pages of trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// Contents of files.
    Data = 1,
    /// Pages of trees.
    Tree = 2,
}

impl PackClass {
    /// Reads the byte that stands for a class.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Tree),
            _ => None,
        }
    }

    /// Returns the folder of the class.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }
}

/// Names a pack for ever: who wrote it, in which session, and which one of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId {
    /// Who wrote it.
    pub member: MemberId,
    /// In which session.
    pub session: SessionId,
    /// What it holds.
    pub class: PackClass,
    /// Its number among the session's packs of that class, from 0.
    pub ordinal: u32,
}

impl PackId {
    /// Length of the encoding in bytes.
    pub const SIZE: usize = 37;

    /// Returns member ‖ session ‖ class ‖ ordinal.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..16].copy_from_slice(self.member.bytes());
        bytes[16..32].copy_from_slice(self.session.bytes());
        bytes[32] = self.class as u8;
        bytes[33..].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes
    }

    /// Reads what [`PackId::encode`] wrote; `None` for an unknown class.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let mut member = [0; 16];
        let mut session = [0; 16];
        let mut ordinal = [0; 4];
        member.copy_from_slice(&bytes[..16]);
        session.copy_from_slice(&bytes[16..32]);
        ordinal.copy_from_slice(&bytes[33..]);
        Some(Self {
            member: MemberId(member),
            session: SessionId(session),
            class: PackClass::from_byte(bytes[32])?,
            ordinal: u32::from_le_bytes(ordinal),
        })
    }

    /// Returns the identifier in the pack's header: the first 16 bytes of the hash of the encoding.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        let mut id = [0; 16];
        id.copy_from_slice(&hash(&self.encode())[..16]);
        ObjectId(id)
    }

    /// Returns the pack's name; the folder of two digits spreads packs over 256 prefixes.
    #[must_use]
    pub fn name(&self) -> String {
        let last = format!("{}-{}-{:08x}", self.member, self.session, self.ordinal);
        format!("packs/{}/{}/{last}", self.class.word(), hex(&hash(last.as_bytes())[..1]))
    }

    /// Reads a name that [`PackId::name`] gave; `None` for every other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut words = name.split('/');
        let class = match (words.next()?, words.next()?) {
            ("packs", "data") => PackClass::Data,
            ("packs", "tree") => PackClass::Tree,
            _ => return None,
        };
        let mut parts = words.nth(1)?.split('-');
        let id = Self {
            member: parts.next()?.parse().ok()?,
            session: parts.next()?.parse().ok()?,
            class,
            ordinal: u32::from_be_bytes(parse_hex(parts.next()?).ok()?),
        };
        (id.name() == name).then_some(id)
    }
}

/// Names the objects of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName {
    /// Number of the root that the session began with; its low 32 bits are written.
    pub epoch: u32,
    /// Whose session.
    pub member: MemberId,
    /// Which session.
    pub session: SessionId,
}

impl SessionName {
    fn folder(&self) -> String {
        format!("sessions/{:08x}/{}-{}", self.epoch, self.member, self.session)
    }

    /// Returns the name of the begin object.
    #[must_use]
    pub fn begin(&self) -> String {
        format!("{}/begin", self.folder())
    }

    /// Returns the name of a pins object.
    #[must_use]
    pub fn pins(&self, number: u32) -> String {
        format!("{}/pins-{number}", self.folder())
    }

    /// Returns the name of the end object, for which commit and abort compete.
    #[must_use]
    pub fn end(&self) -> String {
        format!("{}/end", self.folder())
    }

    /// Returns the name of an index delta.
    #[must_use]
    pub fn delta(&self, number: u32) -> String {
        format!("index/delta/{:08x}/{}-{}-{number}", self.epoch, self.member, self.session)
    }
}

/// What lies where, read from a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// [`REPOSITORY`].
    Repository,
    /// [`RECOVER`].
    Recover,
    /// `keys/<id>`.
    KeySlot(ObjectId),
    /// `members/<number, 16 digits>-<id>`; more than one of a number can only come from an `init`
    /// that lost a race or was interrupted.
    Member(u64, ObjectId),
    /// `roots/<2^64-1-number, 16 digits>`.
    Root(u64),
    /// `sessions/…/begin`.
    Begin(SessionName),
    /// `sessions/…/pins-N`.
    Pins(SessionName, u32),
    /// `sessions/…/end`.
    End(SessionName),
    /// `packs/…`.
    Pack(PackId),
    /// `index/delta/…`.
    Delta(SessionName, u32),
    /// `index/segment/<id>`.
    IndexSegment(ObjectId),
    /// `snapshots/<id>`.
    SnapshotSegment(ObjectId),
    /// `lists/<id>`.
    List(ObjectId),
    /// `wal/<system>/<timeline>/<segment>`.
    Wal(String),
    /// `evidence/<member>/<number, 16 digits>`.
    Evidence(MemberId, u64),
}

/// Returns the name of a key slot.
#[must_use]
pub fn key_slot(id: ObjectId) -> String {
    format!("keys/{id}")
}

/// Returns the name of a member entry.
#[must_use]
pub fn member(number: u64, id: ObjectId) -> String {
    format!("members/{number:016x}-{id}")
}

/// Returns the identifier of a member entry after the first: a hash of the entry before and of the
/// number, so that only one entry can follow another and put-if-absent decides which.
#[must_use]
pub fn member_object(previous: &[u8; 32], number: u64) -> ObjectId {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(&[previous.as_slice(), &number.to_le_bytes()].concat())[..16]);
    ObjectId(id)
}

/// Returns the name of a root. Numbers are written downwards, so that a listing begins with the
/// newest.
#[must_use]
pub fn root(number: u64) -> String {
    format!("roots/{:016x}", u64::MAX - number)
}

/// Returns the identifier in a root's header: zeros, then the number.
#[must_use]
pub fn root_object(number: u64) -> ObjectId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId(id)
}

/// Returns the identifier in the header of a session's begin, pins, end and deltas: a hash of the name.
#[must_use]
pub fn named_object(name: &str) -> ObjectId {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(name.as_bytes())[..16]);
    ObjectId(id)
}

/// Returns the name of a merged index segment.
#[must_use]
pub fn index_segment(id: ObjectId) -> String {
    format!("index/segment/{id}")
}

/// Returns the name of a segment of snapshots.
#[must_use]
pub fn snapshot_segment(id: ObjectId) -> String {
    format!("snapshots/{id}")
}

/// Returns the name of a list.
#[must_use]
pub fn list(id: ObjectId) -> String {
    format!("lists/{id}")
}

/// Returns the name of a log segment: the database system's number, the timeline (number and
/// hash of its history), the segment's own name, and the piece of it if it is not whole.
#[must_use]
pub fn wal(system: u64, timeline: u32, history: &[u8; 8], segment: &str, piece: Option<u32>) -> String {
    let piece = piece.map(|number| format!(".{number}")).unwrap_or_default();
    format!("wal/{system:016x}/{timeline:08x}-{}/{segment}{piece}", hex(history))
}

/// Returns the name of an evidence record.
#[must_use]
pub fn evidence(member: MemberId, number: u64) -> String {
    format!("evidence/{member}/{number:016x}")
}

/// Reads a name; `None` if no object of a repository lies there.
#[must_use]
pub fn parse(name: &str) -> Option<Place> {
    let place = match name.split_once('/') {
        None if name == REPOSITORY => Place::Repository,
        None if name == RECOVER => Place::Recover,
        None => return None,
        Some(("keys", id)) => Place::KeySlot(id.parse().ok()?),
        Some(("members", rest)) => {
            let (number, id) = rest.split_once('-')?;
            Place::Member(u64::from_be_bytes(parse_hex(number).ok()?), id.parse().ok()?)
        }
        Some(("roots", number)) => Place::Root(u64::MAX - u64::from_be_bytes(parse_hex(number).ok()?)),
        Some(("sessions", rest)) => parse_session(rest)?,
        Some(("packs", _)) => Place::Pack(PackId::parse(name)?),
        Some(("index", rest)) => parse_index(rest)?,
        Some(("snapshots", id)) => Place::SnapshotSegment(id.parse().ok()?),
        Some(("lists", id)) => Place::List(id.parse().ok()?),
        Some(("wal", rest)) => parse_wal(rest).then(|| Place::Wal(name.to_owned()))?,
        Some(("evidence", rest)) => {
            let (member, number) = rest.split_once('/')?;
            Place::Evidence(member.parse().ok()?, u64::from_be_bytes(parse_hex(number).ok()?))
        }
        Some(_) => return None,
    };
    Some(place)
}

fn parse_session_words(epoch: &str, member: &str, session: &str) -> Option<SessionName> {
    Some(SessionName {
        epoch: u32::from_be_bytes(parse_hex(epoch).ok()?),
        member: member.parse().ok()?,
        session: session.parse().ok()?,
    })
}

fn parse_session(rest: &str) -> Option<Place> {
    let mut words = rest.split('/');
    let (epoch, ids, what) = (words.next()?, words.next()?, words.next()?);
    let (member, session) = ids.split_once('-')?;
    let name = parse_session_words(epoch, member, session)?;
    if words.next().is_some() {
        return None;
    }
    match what {
        "begin" => Some(Place::Begin(name)),
        "end" => Some(Place::End(name)),
        _ => Some(Place::Pins(name, parse_number(what.strip_prefix("pins-")?)?)),
    }
}

fn parse_index(rest: &str) -> Option<Place> {
    let mut words = rest.split('/');
    match (words.next()?, words.next()?, words.next(), words.next()) {
        ("segment", id, None, None) => Some(Place::IndexSegment(id.parse().ok()?)),
        ("delta", epoch, Some(last), None) => {
            let mut parts = last.split('-');
            let name = parse_session_words(epoch, parts.next()?, parts.next()?)?;
            let number = parse_number(parts.next()?)?;
            parts.next().is_none().then_some(Place::Delta(name, number))
        }
        _ => None,
    }
}

fn parse_wal(rest: &str) -> bool {
    let words: Vec<_> = rest.split('/').collect();
    let [system, timeline, segment] = words[..] else { return false };
    let timeline_ok = timeline
        .split_once('-')
        .is_some_and(|(number, history)| parse_hex::<4>(number).is_ok() && parse_hex::<8>(history).is_ok());
    parse_hex::<8>(system).is_ok() && timeline_ok && is_segment(segment)
}

/// Names of segments are plain, so that no store and no file system takes them for something else.
fn is_segment(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// Numbers in names have one spelling: decimal, no leading zero.
fn parse_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_place() {
        let session = SessionName { epoch: 7, member: MemberId([1; 16]), session: SessionId([2; 16]) };
        let pack =
            PackId { member: session.member, session: session.session, class: PackClass::Tree, ordinal: 300 };
        let id = ObjectId([3; 16]);
        let wal = wal(9, 1, &[4; 8], "000000010000000000000001", Some(2));
        for (name, place) in [
            (REPOSITORY.to_owned(), Place::Repository),
            (RECOVER.to_owned(), Place::Recover),
            (key_slot(id), Place::KeySlot(id)),
            (member(5, id), Place::Member(5, id)),
            (root(12), Place::Root(12)),
            (session.begin(), Place::Begin(session)),
            (session.pins(3), Place::Pins(session, 3)),
            (session.end(), Place::End(session)),
            (session.delta(0), Place::Delta(session, 0)),
            (pack.name(), Place::Pack(pack)),
            (index_segment(id), Place::IndexSegment(id)),
            (snapshot_segment(id), Place::SnapshotSegment(id)),
            (list(id), Place::List(id)),
            (wal.clone(), Place::Wal(wal)),
            (evidence(session.member, 8), Place::Evidence(session.member, 8)),
        ] {
            assert_eq!(parse(&name), Some(place), "{name}");
            assert_eq!(parse(&format!("{name}/x")), None, "{name}/x");
        }
        assert_eq!(PackId::decode(&pack.encode()), Some(pack));
    }

    #[test]
    fn names_of_nothing_are_nothing() {
        for name in [
            "",
            "keys",
            "keys/",
            "notes.txt",
            "sessions/00000007/x/end",
            "packs/data/00/x",
            "index/x",
            "wal/a/b",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn domains_have_plain_names() {
        for name in ["hr", "tenant-7", "a.b_c", &"a".repeat(DOMAIN_NAME_BYTES_MAX)] {
            assert!(is_domain_name(name), "{name}");
            assert_eq!(domain_of(&format!("domains/{name}/packs/x")), Some(name));
        }
        for name in ["", ".", "..", "-a", ".a", "A", "a/b", "a b", "\u{e9}", &"a".repeat(64)] {
            assert!(!is_domain_name(name), "{name}");
        }
        assert_eq!((domain_of("domains/hr"), domain_of("packs/data/x")), (None, None));
    }

    #[test]
    fn log_segments_have_plain_names() {
        let place = |segment: &str| parse(&wal(9, 1, &[4; 8], segment, None));
        for segment in ["000000010000000000000003", "00000002.history", "a_b.partial.0", &"a".repeat(64)] {
            assert!(place(segment).is_some(), "{segment}");
        }
        for segment in ["", ".", "..", ".a", "a b", "a-b", "\u{e9}", "a\\b", &"a".repeat(65)] {
            assert!(place(segment).is_none(), "{segment}");
        }
    }

    #[test]
    fn a_listing_of_roots_begins_with_the_newest() {
        assert!(root(2) < root(1));
    }
}
