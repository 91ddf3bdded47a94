//! Files of the local cache: nobody else reads them, and what is not finished does not stay.
//!
//! On purpose not here: what is in them.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A file that goes away with its writer, unless it was put in force.
pub(crate) struct Temporary {
    path: PathBuf,
    in_force: bool,
}

impl Temporary {
    /// A file that is yet to be made.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, in_force: false }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its lasting name. From then on its former name may be another's, who is not
    /// to lose a file when this one's writer goes away.
    pub(crate) fn put_in_force(&mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.in_force = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.in_force {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder that only its owner can look into.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
