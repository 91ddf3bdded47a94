//! Files of the local cache: nobody else reads them, and what is not finished does not stay.
//!
//! On purpose not here: what is in them.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A file that goes away with its writer, unless it was put in force.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makes a folder that only its owner can look into.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
