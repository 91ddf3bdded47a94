//! What a snapshot of dumps keeps for whoever restores it, and how its files are called.
//!
//! On purpose not here: making dumps.

use serde::{Deserialize, Serialize};

/// The version of the record that is written.
const RECORD: u32 = 1;
/// The folder of dumps.
pub(crate) const DUMPS: &str = "/databases";
/// The file of roles and tablespaces.
pub const GLOBALS: &str = "/globals.sql";

/// A database that was dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumped {
    /// Its name.
    pub name: String,
    /// Path of its dump in the snapshot.
    pub file: String,
    /// Length of the dump in bytes.
    pub bytes: u64,
    /// Where the log was just before its snapshot was taken.
    pub lsn: Option<String>,
    /// Large objects are in the dump; false if they are not for the role to read.
    pub large_objects: bool,
}

/// What a snapshot of dumps keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalRecord {
    /// Version of this record.
    pub record: u32,
    /// The server's version in words.
    pub server_version: String,
    /// Its version as a number: 150018.
    pub server_version_number: u32,
    /// First number of the program that made the dumps.
    pub tool_major: u32,
    /// Who the cluster is; none if it does not say.
    pub system_identifier: Option<String>,
    /// `globals.sql` has the passwords of roles, as the server keeps them.
    pub role_passwords: bool,
    /// The dumps.
    pub databases: Vec<Dumped>,
}

impl LogicalRecord {
    pub(crate) fn new(version: (String, u32), tool_major: u32, system: Option<String>) -> Self {
        Self {
            record: RECORD,
            server_version: version.0,
            server_version_number: version.1,
            tool_major,
            system_identifier: system,
            role_passwords: true,
            databases: Vec::new(),
        }
    }

    /// Writes it as the bytes that a snapshot keeps.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // A struct of numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`LogicalRecord::encode`] wrote; `None` if it is something else, or of a later
    /// version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|record| record.record == RECORD)
    }
}

/// Path of a database's dump: what cannot stand in a file's name is written as in a URL.
pub(crate) fn file_of(database: &str) -> String {
    let mut file = format!("{DUMPS}/");
    for (at, letter) in database.char_indices() {
        let odd = letter.is_control() || matches!(letter, '/' | '%') || at == 0 && letter == '.';
        if odd {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| file.push_str(&format!("%{byte:02X}")));
        } else {
            file.push(letter);
        }
    }
    file.push_str(".dump");
    file
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn each_database_has_a_file_of_its_own() {
        assert_eq!(file_of("shop"), "/databases/shop.dump");
        assert_eq!(file_of("été 1"), "/databases/été 1.dump");
        assert_eq!(file_of("../a%\n"), "/databases/%2E.%2Fa%25%0A.dump");
        assert_ne!(file_of("a%2F"), file_of("a/"));
    }

    #[test]
    fn a_record_comes_back() {
        let mut record = LogicalRecord::new(("15.18".into(), 150_018), 15, None);
        let (name, file) = ("a/b".to_owned(), file_of("a/b"));
        record.databases.push(Dumped { name, file, bytes: 7, lsn: None, large_objects: true });
        assert_eq!(LogicalRecord::decode(&record.encode()).unwrap(), record);
        let later = String::from_utf8(record.encode()).unwrap().replace("\"record\":1", "\"record\":2");
        assert_eq!(LogicalRecord::decode(later.as_bytes()), None);
    }
}
