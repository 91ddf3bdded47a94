//! What `pg_control` says of a cluster, as the server's own `pg_controldata` reads it.
//!
//! The layout of the file changes with every version, what the program says hardly. On purpose not
//! here: running it.

use crate::lsn::Lsn;
use std::collections::BTreeMap;

/// What is asked of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// Which cluster it is.
    pub system: String,
    /// Whether pages carry checksums.
    pub checksums: bool,
    pub segment_bytes: u64,
    /// Where a replay begins that nothing else says of.
    pub redo: Option<Lsn>,
    pub timeline: u32,
    /// Settings that a replay needs as large as they were.
    pub max_connections: u64,
    pub max_prepared: u64,
    pub max_locks: u64,
}

impl Control {
    /// Reads it; what is wrong with it otherwise, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let number = |name: &str| lines.get(name).and_then(|value| value.parse().ok());
        let control = Self {
            system: lines.get("Database system identifier").map(|&text| text.to_owned()).unwrap_or_default(),
            checksums: number("Data page checksum version").is_some_and(|version: u64| version > 0),
            segment_bytes: number("Bytes per WAL segment").unwrap_or_default(),
            redo: lines.get("Latest checkpoint's REDO location").and_then(|text| Lsn::parse(text)),
            timeline: number("Latest checkpoint's TimeLineID").and_then(|n| n.try_into().ok()).unwrap_or(1),
            max_connections: number("max_connections setting").unwrap_or(100),
            max_prepared: number("max_prepared_xacts setting").unwrap_or_default(),
            max_locks: number("max_locks_per_xact setting").unwrap_or(64),
        };
        if control.system.is_empty() || !crate::lsn::is_segment_length(control.segment_bytes) {
            return Err("pg_controldata does not say which cluster it is".to_owned());
        }
        Ok(control)
    }

    /// What the program warned of: a file that is damaged, or of another machine.
    pub(super) fn warned(text: &str) -> Option<&str> {
        text.lines().find_map(|line| line.trim().strip_prefix("WARNING:")).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_cluster_says_what_it_is() {
        let text = "Database system identifier:           7383249871234567890\n\
                    Latest checkpoint's REDO location:    0/2000028\nLatest checkpoint's TimeLineID:       3\n\
                    max_connections setting:              500\nmax_prepared_xacts setting:           7\n\
                    max_locks_per_xact setting:           128\nBytes per WAL segment:                16777216\n\
                    Data page checksum version:           1\n";
        let control = Control::parse(text).unwrap();
        assert_eq!(control.system, "7383249871234567890");
        assert_eq!((control.max_connections, control.max_prepared, control.max_locks), (500, 7, 128));
        assert_eq!((control.redo, control.timeline, control.checksums), (Some(Lsn(0x200_0028)), 3, true));
        assert_eq!(Control::warned(text), None);
        assert!(Control::parse("").is_err());
        let warned = "WARNING: Calculated CRC checksum does not match value stored in file.\n";
        assert!(Control::warned(warned).unwrap().starts_with("Calculated CRC"));
    }
}
