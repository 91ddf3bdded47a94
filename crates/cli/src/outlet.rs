//! Where `dump` writes: standard output, or a file that appears when it is whole.
//!
//! On purpose not here: what is written.

use crate::fault::Fault;
use crate::ink::escape;
use std::fs::Permissions;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::{NamedTempFile, TempPath};

/// What became of the output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fate {
    /// Whoever read it had enough.
    unheard: Arc<AtomicBool>,
    /// It would have gone to a terminal, and is not for one.
    refused: Arc<AtomicBool>,
    /// Some of it went out.
    begun: Arc<AtomicBool>,
}

impl Fate {
    pub(crate) fn is_unheard(&self) -> bool {
        self.unheard.load(Ordering::Relaxed)
    }

    pub(crate) fn is_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Standard output, byte by byte as it comes.
#[derive(Debug)]
pub(crate) struct StandardOutput {
    terminal: bool,
    fate: Fate,
}

impl StandardOutput {
    pub(crate) fn new(fate: Fate) -> Self {
        Self { terminal: io::stdout().is_terminal(), fate }
    }

    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.terminal && !is_text(bytes) {
            self.fate.refused.store(true, Ordering::Relaxed);
            return Err(io::Error::other("it is a terminal"));
        }
        let written = rustix::io::write(rustix::stdio::stdout(), bytes).map_err(io::Error::from);
        if matches!(&written, Err(error) if error.kind() == ErrorKind::BrokenPipe) {
            self.fate.unheard.store(true, Ordering::Relaxed);
        }
        if written.is_ok() {
            self.fate.begun.store(true, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a terminal shows it and does nothing else. Text that is cut within a character counts.
fn is_text(bytes: &[u8]) -> bool {
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !whole.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// A file that is being written beside the place where it is to appear.
#[derive(Debug)]
pub(crate) struct TargetFile {
    path: PathBuf,
    temporary: TempPath,
}

impl TargetFile {
    /// Makes the file; nothing must lie at the path.
    pub(crate) fn create(path: PathBuf) -> Result<(Self, std::fs::File), Fault> {
        let name = escape(path.as_os_str().as_bytes());
        if path.symlink_metadata().is_ok() {
            let what = format!("{name} exists already");
            return Err(Fault::usage(what, "give --target another name, or remove it first"));
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut builder = tempfile::Builder::new();
        // Who may read it is for the user's mask to say, as with any new file.
        builder.prefix(".holdfast-dump-").permissions(Permissions::from_mode(0o666));
        let made = builder.tempfile_in(folder).map_err(|error| {
            let hint = "the folder has to be there and to let this user write";
            Fault::failed(format!("cannot make {name}"), hint).because(&error)
        })?;
        let (file, temporary) = NamedTempFile::into_parts(made);
        Ok((Self { path, temporary }, file))
    }

    /// Gives the file its name. It is on the disk before that.
    pub(crate) fn finish(self) -> Result<(), Fault> {
        let name = escape(self.path.as_os_str().as_bytes());
        let fault = |error: &io::Error| Fault::failed(format!("cannot make {name}"), "").because(error);
        let synced = std::fs::File::open(&self.temporary).and_then(|file| file.sync_all());
        synced.map_err(|error| fault(&error))?;
        self.temporary.persist_noclobber(&self.path).map_err(|error| fault(&error.error))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_terminal_gets_text_only() {
        assert!(is_text(b"a\tb\r\n") && is_text("née".as_bytes()) && is_text(&"née".as_bytes()[..2]));
        for binary in [&b"\x1b[31m"[..], b"a\0", b"\xff\xfe", b"\x7fELF", "\u{9b}31m".as_bytes()] {
            assert!(!is_text(binary), "{binary:?}");
        }
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let (target, mut file) = TargetFile::create(path.clone()).unwrap();
        file.write_all(b"content").unwrap();
        assert!(!path.exists());
        target.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert!(TargetFile::create(path).is_err());
        drop(TargetFile::create(dir.path().join("other")).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
