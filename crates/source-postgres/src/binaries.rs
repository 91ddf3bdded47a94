//! Whether this machine has a server that a restored cluster can start with.
//!
//! The major version has to be the same; a minor one that is older than the server that was backed up
//! lacks what was mended since. On purpose not here: starting it.

use crate::tools::{ToolPlaces, folders, full_version_of};
use std::path::PathBuf;

/// The server that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binaries {
    /// It can start the cluster.
    Fit(PathBuf),
    /// It is of the right major version, but older than the one that was backed up.
    Older {
        /// The program.
        path: PathBuf,
        /// What it says of itself: `15.4`.
        version: String,
    },
    /// There is none.
    Missing,
}

/// Looks for a server for a cluster whose server stated a version: 150018 is 15.18.
#[must_use]
pub fn binaries(number: u32, places: &ToolPlaces) -> Binaries {
    let (major, minor) = (number / 10_000, number % 10_000);
    let servers = folders(major, places).into_iter().map(|folder| folder.join("postgres"));
    let mut older = None;
    for path in servers {
        match full_version_of(&path, places) {
            Some((found, least)) if found == major && least >= minor => return Binaries::Fit(path),
            Some((found, least)) if found == major => {
                older.get_or_insert(Binaries::Older { path, version: format!("{found}.{least}") });
            }
            _ => {}
        }
    }
    older.unwrap_or(Binaries::Missing)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::process::Command;

    #[test]
    fn a_server_has_to_be_of_the_major_version_and_not_older() {
        let dir = tempfile::tempdir().unwrap();
        let words =
            "printf '#!/bin/sh\\necho \"postgres (PostgreSQL) 71.4\"\\n' > \"$1\" && chmod 755 \"$1\"";
        let server = dir.path().join("postgres");
        assert!(Command::new("sh").args(["-c", words, "sh"]).arg(&server).status().unwrap().success());
        let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
        let places = ToolPlaces { stated: Some(dir.path().to_owned()), path: None, environment };
        assert_eq!(binaries(710_004, &places), Binaries::Fit(server.clone()));
        assert_eq!(binaries(710_001, &places), Binaries::Fit(server.clone()));
        let version = "71.4".to_owned();
        assert_eq!(binaries(710_005, &places), Binaries::Older { path: server, version });
        assert_eq!(binaries(720_000, &places), Binaries::Missing);
    }
}
