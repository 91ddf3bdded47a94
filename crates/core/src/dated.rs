//! When maintainers first saw what there is of databases' logs, and of which sources those are: by nothing
//! else it is decided what of a log goes for its age.
//!
//! A root says it. What writers' clocks say has no part in it. On purpose not here: after which time it goes.

use crate::entry::Time;
use crate::error::FormatError;
use crate::session::{decode_time, encode_time};
use crate::wire::{Reader, Writer};

/// So many sources of one database are remembered. With more nobody can tell whose it is.
pub const SOURCES_MAX: usize = 64;
/// Longest name of a source that is remembered, in bytes.
pub const SOURCE_BYTES_MAX: usize = 4096;

/// What is known of logs' ages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatedLogs {
    /// Of which sources databases are, ascending.
    pub databases: Vec<LogSources>,
    /// When their logs were seen.
    pub timelines: Vec<DatedLog>,
}

/// Of which sources one database was ever backed up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSources {
    /// The database.
    pub system: u64,
    /// Names of sources, ascending.
    pub sources: Vec<String>,
}

/// When the log of one timeline was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatedLog {
    /// System and timeline, as in the names of segments.
    pub timeline: String,
    /// Segments that follow each other and were seen at the same time, ascending.
    pub parts: Vec<DatedPart>,
}

/// Segments that follow each other and were seen at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatedPart {
    /// Place of the first.
    pub first: u64,
    /// Place of the last.
    pub last: u64,
    /// 0 if they are whole; else there is one, and so many pieces of it were seen.
    pub pieces: u32,
    /// Whether they are given up, and being deleted.
    pub is_going: bool,
    /// When a maintainer first saw all of it.
    pub seen: Time,
}

impl DatedLogs {
    /// The sources of a database.
    #[must_use]
    pub fn sources(&self, system: u64) -> &[String] {
        self.databases.iter().find(|row| row.system == system).map_or(&[], |row| &row.sources)
    }

    /// Remembers that a database is backed up as a source.
    pub fn remember(&mut self, system: u64, source: &str) {
        let at = match self.databases.binary_search_by_key(&system, |row| row.system) {
            Ok(at) => at,
            Err(at) => {
                self.databases.insert(at, LogSources { system, sources: Vec::new() });
                at
            }
        };
        let sources = &mut self.databases[at].sources;
        // One more than can be told apart says that there are too many.
        if source.len() > SOURCE_BYTES_MAX || sources.len() > SOURCES_MAX {
            return;
        }
        if let Err(place) = sources.binary_search_by(|known| known.as_str().cmp(source)) {
            sources.insert(place, source.to_owned());
        }
    }
}

/// Encodes what is known of logs' ages: databases (count 4, then each: system 8, count 4, names), timelines
/// (count 4, then each: name, count 4, then parts: first 8, last 8, pieces 4, flag, seen).
pub(crate) fn encode_dated(dated: &DatedLogs) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.count(dated.databases.len());
    for row in &dated.databases {
        writer.u64(row.system);
        writer.count(row.sources.len());
        row.sources.iter().for_each(|source| writer.bytes16(source.as_bytes()));
    }
    writer.count(dated.timelines.len());
    for timeline in &dated.timelines {
        writer.bytes16(timeline.timeline.as_bytes());
        writer.count(timeline.parts.len());
        for part in &timeline.parts {
            writer.u64(part.first);
            writer.u64(part.last);
            writer.u32(part.pieces);
            writer.u8(u8::from(part.is_going));
            encode_time(&mut writer, part.seen);
        }
    }
    writer.into_vec()
}

/// Reads what [`encode_dated`] wrote.
pub(crate) fn decode_dated(bytes: &[u8]) -> Result<DatedLogs, FormatError> {
    let mut reader = Reader::new(bytes);
    let mut dated = DatedLogs::default();
    for _ in 0..reader.count(8 + 4)? {
        let mut row = LogSources { system: reader.u64()?, sources: Vec::new() };
        for _ in 0..reader.count(2)? {
            row.sources.push(reader.text16("the name of a source")?);
        }
        dated.databases.push(row);
    }
    for _ in 0..reader.count(2 + 4)? {
        let mut timeline = DatedLog { timeline: reader.text16("a timeline")?, parts: Vec::new() };
        for _ in 0..reader.count(8 + 8 + 4 + 1 + 12)? {
            timeline.parts.push(DatedPart {
                first: reader.u64()?,
                last: reader.u64()?,
                pieces: reader.u32()?,
                is_going: reader.flag("whether log is given up")?,
                seen: decode_time(&mut reader)?,
            });
        }
        dated.timelines.push(timeline);
    }
    reader.end()?;
    Ok(dated)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn dated_logs_come_back_and_nothing_shorter_does() {
        let mut dated = DatedLogs::default();
        dated.remember(9, "shop/db");
        dated.remember(7, "b");
        dated.remember(7, "a");
        dated.remember(7, "b");
        assert_eq!(dated.sources(7), ["a", "b"]);
        let seen = Time { seconds: 5, nanos: 6 };
        let part = DatedPart { first: 1, last: 4, pieces: 0, is_going: true, seen };
        let open = DatedPart { first: 5, last: 5, pieces: 3, is_going: false, seen };
        dated.timelines = vec![DatedLog { timeline: "t".into(), parts: vec![part, open] }];
        let bytes = encode_dated(&dated);
        assert_eq!(decode_dated(&bytes).unwrap(), dated);
        assert!((0..bytes.len()).all(|length| decode_dated(&bytes[..length]).is_err()));
    }

    #[test]
    fn sources_without_end_are_not_remembered() {
        let mut dated = DatedLogs::default();
        (0..1000).for_each(|number| dated.remember(7, &format!("source {number}")));
        dated.remember(7, &"x".repeat(SOURCE_BYTES_MAX + 1));
        assert_eq!(dated.sources(7).len(), SOURCES_MAX + 1);
    }
}
