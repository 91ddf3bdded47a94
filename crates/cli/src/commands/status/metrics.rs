//! The file for Prometheus: it appears whole, under its name at once.
//!
//! On purpose not here: what stands in it.

use crate::fault::Fault;
use crate::ink::escape;
use crate::settings::{current_dir, normalise};
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes it. Whoever collects it is another user, who has to be able to read it.
pub(super) fn write(file: &Path, text: &str) -> Result<(), Fault> {
    let file = normalise(file, &current_dir()?);
    put(&file, text).map_err(|error| {
        let what = format!("cannot write the metrics to {}", escape(file.as_os_str().as_bytes()));
        Fault::failed(what, "the folder has to be there and to let this user write").because(&error)
    })
}

fn put(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let mut builder = tempfile::Builder::new();
    // Its name does not end as those do that are collected.
    builder.prefix(".holdfast-").suffix(".tmp").permissions(Permissions::from_mode(0o644));
    let mut made = builder.tempfile_in(folder)?;
    made.write_all(text.as_bytes())?;
    made.persist(file).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn the_file_is_replaced_whole_and_readable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("holdfast.prom");
        for text in ["a 1\n", "b 2\n"] {
            write(&file, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o444, 0o444);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("missing/x.prom"), "").is_err());
    }
}
