//! What a server says of itself, and what a snapshot keeps of it.
//!
//! On purpose not here: whether all that is good enough, which the preflight says.

use crate::error::PgError;
use crate::lsn::{Lsn, is_segment_length, parse_bytes};
use crate::wire::{Connection, Table};
use bytes::Bytes;
use holdfast_core::session::LogSpan;
use holdfast_engine::wal::SegmentName;
use serde::{Deserialize, Serialize};

/// Servers that are known, by their first number.
pub(crate) const KNOWN: std::ops::RangeInclusive<u32> = 13..=18;

/// What was asked of a server before anything else.
#[derive(Debug, Clone)]
pub(crate) struct ServerFacts {
    /// Its version as a number: 150018.
    pub number: u32,
    /// Its version in words.
    pub version: String,
    /// Who the cluster is.
    pub system: u64,
    pub timeline: u32,
    pub segment_bytes: u64,
    /// Whether pages carry checksums.
    pub checksums: bool,
    /// Mode of the folder of data.
    pub mode: u16,
    /// Whether it follows another; `None` if it does not say.
    pub standby: Option<bool>,
}

impl ServerFacts {
    pub(crate) const fn major(&self) -> u32 {
        self.number / 10_000
    }

    /// Mode of files: the group may read them where it may enter the folder.
    pub(crate) const fn file_mode(&self) -> u16 {
        if self.mode & 0o050 == 0 { 0o600 } else { 0o640 }
    }

    /// Asks a server; refuses one that is too old or too new to be understood.
    pub(crate) async fn ask(connection: &mut Connection) -> Result<Self, PgError> {
        let number = required(connection, "server_version_num").await?;
        let number: u32 = number.parse().map_err(|_| PgError::protocol("its version is no number"))?;
        let version =
            connection.settings.get("server_version").cloned().unwrap_or_else(|| number.to_string());
        let major = number / 10_000;
        if major < *KNOWN.start() {
            let what = format!(
                "the server is PostgreSQL {version}: before 13 it makes no manifest to check files by"
            );
            return Err(PgError::Refused(what));
        }
        if major > *KNOWN.end() {
            let what = format!(
                "the server is PostgreSQL {version}, and this holdfast was proved with {} to {}: use a newer one",
                KNOWN.start(),
                KNOWN.end()
            );
            return Err(PgError::Refused(what));
        }
        let (system, timeline, _) = identify(connection).await?;
        let segment = required(connection, "wal_segment_size").await?;
        let segment_bytes = parse_bytes(&segment).filter(|bytes| is_segment_length(*bytes));
        let mode = connection.show("data_directory_mode").await?;
        let mode = mode.and_then(|text| u16::from_str_radix(&text, 8).ok()).unwrap_or(0o700);
        let standby = match connection.settings.get("in_hot_standby") {
            Some(text) => Some(text == "on"),
            None => connection.show("in_hot_standby").await?.map(|text| text == "on"),
        };
        Ok(Self {
            number,
            version,
            system,
            timeline,
            segment_bytes: segment_bytes
                .ok_or_else(|| PgError::protocol(format!("segments of the log have {segment}")))?,
            checksums: required(connection, "data_checksums").await? == "on",
            mode: mode & 0o777,
            standby,
        })
    }
}

async fn required(connection: &mut Connection, name: &str) -> Result<String, PgError> {
    let value = connection.show(name).await?;
    value.ok_or_else(|| PgError::protocol(format!("the server does not say its {name}")))
}

/// Who the cluster is, its timeline, and how far the server has its log.
pub(crate) async fn identify(connection: &mut Connection) -> Result<(u64, u32, Lsn), PgError> {
    let tables = connection.ask("IDENTIFY_SYSTEM").await?;
    let row = first_row(&tables);
    let system = value(row, 0).and_then(|text| text.parse().ok());
    let timeline = value(row, 1).and_then(|text| text.parse().ok());
    let said = system.zip(timeline).zip(value(row, 2).and_then(Lsn::parse));
    let ((system, timeline), at) =
        said.ok_or_else(|| PgError::protocol("the server does not say which cluster it is"))?;
    Ok((system, timeline, at))
}

pub(crate) fn first_row(tables: &[Table]) -> &[Option<Bytes>] {
    tables.first().and_then(|table| table.first()).map_or(&[], Vec::as_slice)
}

/// A value of a row, as text.
pub(crate) fn value(row: &[Option<Bytes>], column: usize) -> Option<&str> {
    std::str::from_utf8(row.get(column)?.as_ref()?).ok()
}

/// A place outside of the cluster's folder where some of its files lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Its number; in a snapshot its files lie in `pg_tblspc/NUMBER`.
    pub oid: u32,
    /// Where it is on the server.
    pub path: String,
}

/// What a snapshot of a cluster keeps, for whoever restores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this record.
    pub record: u32,
    /// The server's version in words.
    pub server_version: String,
    /// Its version as a number: 150018.
    pub server_version_number: u32,
    /// Who the cluster is. As text: it has more digits than some readers of JSON keep.
    pub system_identifier: String,
    /// The timeline of the backup.
    pub timeline: u32,
    /// Where the log begins that the files need.
    pub start_lsn: String,
    /// The log has to be replayed up to here.
    pub stop_lsn: String,
    /// Length of a segment of the log in bytes.
    pub segment_bytes: u64,
    /// Whether pages carry checksums.
    pub data_checksums: bool,
    /// Mode of the folder of data.
    pub data_directory_mode: u16,
    /// Whether the server followed another.
    pub standby: Option<bool>,
    /// Places outside of the cluster's folder.
    pub tablespaces: Vec<Space>,
    /// Configuration is kept beside the files, in [`KEPT_CONFIG`](crate::KEPT_CONFIG).
    #[serde(default)]
    pub keeps_config: bool,
}

/// The version of the record that is written.
const RECORD: u32 = 1;

impl Record {
    pub(crate) fn new(facts: &ServerFacts, start: Lsn, stop: Lsn, tablespaces: Vec<Space>) -> Self {
        Self {
            record: RECORD,
            server_version: facts.version.clone(),
            server_version_number: facts.number,
            system_identifier: facts.system.to_string(),
            timeline: facts.timeline,
            start_lsn: start.to_string(),
            stop_lsn: stop.to_string(),
            segment_bytes: facts.segment_bytes,
            data_checksums: facts.checksums,
            data_directory_mode: facts.mode,
            standby: facts.standby,
            tablespaces,
            keeps_config: false,
        }
    }

    /// Writes it as the bytes that a snapshot keeps.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A struct of numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Record::encode`] wrote; `None` if it is something else, or of a later version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.record == RECORD)
    }

    /// Which segments of the log the files need; `None` if the record does not say it.
    #[must_use]
    pub fn log(&self) -> Option<LogSpan> {
        let (start, stop) = (Lsn::parse(&self.start_lsn)?, Lsn::parse(&self.stop_lsn)?);
        if !is_segment_length(self.segment_bytes) || start >= stop {
            return None;
        }
        let at = |byte| SegmentName::at(self.timeline, byte, self.segment_bytes).place;
        Some(LogSpan {
            system: self.system_identifier.parse().ok()?,
            timeline: self.timeline,
            first: at(start.0),
            // The stop is the first byte that is not needed.
            last: at(stop.0 - 1),
            segment_bytes: self.segment_bytes,
        })
    }

    /// The same for people and drills, by names.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let standby = self.standby.map(|standby| ("standby", standby.to_string()));
        let facts = [
            ("server version", self.server_version.clone()),
            ("system identifier", self.system_identifier.clone()),
            ("timeline", self.timeline.to_string()),
            ("start LSN", self.start_lsn.clone()),
            ("stop LSN", self.stop_lsn.clone()),
            ("WAL segment bytes", self.segment_bytes.to_string()),
            ("data checksums", self.data_checksums.to_string()),
        ];
        let spaces =
            self.tablespaces.iter().map(|space| (format!("tablespace {}", space.oid), space.path.clone()));
        let named = facts.into_iter().chain(standby).map(|(name, value)| (name.to_owned(), value));
        named.chain(spaces).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_record_comes_back() {
        let facts = ServerFacts {
            number: 150_018,
            version: "15.18".into(),
            system: u64::MAX,
            timeline: 3,
            segment_bytes: 16 << 20,
            checksums: true,
            mode: 0o750,
            standby: Some(false),
        };
        assert_eq!((facts.major(), facts.file_mode()), (15, 0o640));
        let spaces = vec![Space { oid: 16385, path: "/srv/a b".into() }];
        let record = Record::new(&facts, Lsn(1), Lsn(2), spaces);
        assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        let later = String::from_utf8(record.encode()).unwrap().replace("\"record\":1", "\"record\":2");
        assert_eq!(Record::decode(later.as_bytes()), None);
        assert_eq!(Record::decode(b""), None);
        assert!(record.facts().contains(&("tablespace 16385".into(), "/srv/a b".into())));
    }
}
