//! A restored cluster that becomes production: what turned its archiving off leaves its settings, and
//! the histories of the timelines that it made meanwhile are marked as waiting for the archive. Of
//! segments its server does that itself, as long as it has them.
//!
//! On purpose not here: what a restore writes, and settings of any other kind.

use holdfast_engine::wal::WalFile;
use rustix::fs::OFlags;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Settings that are read after all others.
const SETTINGS: &str = "postgresql.auto.conf";
/// Settings larger than this nobody wrote.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;
/// What a restore writes above the setting. A server that writes the file anew leaves it out.
const NOTE: &[u8] = b"# This copy was restored:";

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Archiving was off.
    pub was_off: bool,
    /// Histories that wait for the archive now.
    pub histories: Vec<String>,
}

/// Lets a cluster archive again.
///
/// # Errors
/// Its files cannot be read or written.
pub fn adopt(dir: &Path) -> io::Result<Adopted> {
    // First, so that they wait when the server is started again.
    let histories = mark_histories(dir)?;
    Ok(Adopted { was_off: turn_on(dir)?, histories })
}

/// Takes out of a cluster's settings what turned archiving off; whether there was anything.
fn turn_on(dir: &Path) -> io::Result<bool> {
    let path = dir.join(SETTINGS);
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let file = match options.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if meta.len() > SETTINGS_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is too long for settings"));
    }
    let mut text = Vec::new();
    file.take(SETTINGS_BYTES_MAX).read_to_end(&mut text)?;
    let lines = || text.split_inclusive(|&byte| byte == b'\n');
    if !lines().any(turns_off) {
        return Ok(false);
    }
    let stays = |line: &&[u8]| !turns_off(line) && !line.starts_with(NOTE);
    // The old file is there until the new one is whole.
    let mut new = tempfile::Builder::new().prefix(".holdfast-").tempfile_in(dir)?;
    new.write_all(&lines().filter(stays).collect::<Vec<_>>().concat())?;
    give(new.as_file(), &meta)?;
    new.as_file().set_permissions(meta.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()?;
    Ok(true)
}

/// Marks histories of which nobody says that they are in the archive, or that they wait.
fn mark_histories(dir: &Path) -> io::Result<Vec<String>> {
    let (log, status) = (dir.join("pg_wal"), dir.join("pg_wal/archive_status"));
    let owner = std::fs::symlink_metadata(dir.join("PG_VERSION"))?;
    let mut marked = Vec::new();
    for entry in log.read_dir()? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let is_history = matches!(WalFile::parse(&name), Some(WalFile::History(_)));
        let mark = |end: &str| status.join(format!("{name}.{end}"));
        if !is_history || ["done", "ready"].iter().any(|end| mark(end).exists()) {
            continue;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(mark("ready"))?;
        give(&file, &owner)?;
        file.sync_all()?;
        marked.push(name);
    }
    marked.sort();
    File::open(&status)?.sync_all()?;
    Ok(marked)
}

/// Gives a file to the owner of another.
fn give(file: &File, like: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    fchown(file, Some(like.uid()), Some(like.gid()))
}

/// Whether a line is `archive_mode = off`, in any of its spellings.
fn turns_off(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).to_ascii_lowercase();
    let Some(rest) = text.trim().strip_prefix("archive_mode") else { return false };
    let value = rest.split('#').next().unwrap_or_default().trim();
    let value = value.strip_prefix('=').unwrap_or(value).trim().trim_matches('\'');
    ["off", "false", "no", "0"].contains(&value)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::recovering::Recovering;
    use crate::restored::finish;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_restore_wrote_is_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let status = dir.path().join("pg_wal/archive_status");
        fs::create_dir_all(&status).unwrap();
        fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        fs::write(dir.path().join(SETTINGS), "work_mem = '8MB'\n").unwrap();
        fs::set_permissions(dir.path().join(SETTINGS), Permissions::from_mode(0o600)).unwrap();
        for name in ["00000002.history", "00000003.history", "000000030000000000000007"] {
            fs::write(dir.path().join("pg_wal").join(name), "x").unwrap();
        }
        fs::write(status.join("00000002.history.done"), "").unwrap();
        finish(dir.path(), 0o700, &[], &Recovering::default()).unwrap();
        let histories = vec!["00000003.history".to_owned()];
        assert_eq!(adopt(dir.path()).unwrap(), Adopted { was_off: true, histories });
        assert_eq!(adopt(dir.path()).unwrap(), Adopted { was_off: false, histories: Vec::new() });
        assert_eq!(fs::read_dir(&status).unwrap().count(), 2);
        assert!(status.join("00000003.history.ready").exists());
        assert_eq!(fs::read_to_string(dir.path().join(SETTINGS)).unwrap(), "work_mem = '8MB'\n");
        assert_eq!(fs::metadata(dir.path().join(SETTINGS)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_setting_is_known_in_any_spelling() {
        for line in ["archive_mode = 'off'\n", " ARCHIVE_MODE=off # x", "archive_mode 'off'"] {
            assert!(turns_off(line.as_bytes()), "{line}");
        }
        for line in
            ["archive_mode = 'on'", "archive_mode_x = off", "#archive_mode = off", "archive_command = 'off'"]
        {
            assert!(!turns_off(line.as_bytes()), "{line}");
        }
    }
}
