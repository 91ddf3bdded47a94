//! A restored cluster that becomes production: what turned its archiving off leaves its settings.
//!
//! On purpose not here: what a restore writes, and settings of any other kind.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

/// Settings that are read after all others.
const SETTINGS: &str = "postgresql.auto.conf";
/// Settings larger than this nobody wrote.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;
/// What a restore writes above the setting. A server that writes the file anew leaves it out.
const NOTE: &[u8] = b"# This copy was restored:";

/// Takes out of a cluster's settings what turned archiving off; whether there was anything.
///
/// # Errors
/// They cannot be read or written.
pub fn adopt(dir: &Path) -> io::Result<bool> {
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
    let is_off = |line: &&[u8]| turns_off(line);
    if !text.split_inclusive(|&byte| byte == b'\n').any(|line| is_off(&line)) {
        return Ok(false);
    }
    let stays = |line: &&[u8]| !is_off(line) && !line.starts_with(NOTE);
    let kept = text.split_inclusive(|&byte| byte == b'\n').filter(stays).collect::<Vec<_>>().concat();
    // The old file is there until the new one is whole.
    let mut new = tempfile::Builder::new().prefix(".holdfast-").tempfile_in(dir)?;
    new.write_all(&kept)?;
    let owner = new.as_file().metadata()?;
    if (owner.uid(), owner.gid()) != (meta.uid(), meta.gid()) {
        fchown(new.as_file(), Some(meta.uid()), Some(meta.gid()))?;
    }
    new.as_file().set_permissions(meta.permissions())?;
    new.as_file().sync_all()?;
    new.persist(&path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()?;
    Ok(true)
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
    use crate::restored::finish;
    use std::fs;

    #[test]
    fn what_a_restore_wrote_is_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!adopt(dir.path()).unwrap());
        fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        fs::write(dir.path().join(SETTINGS), "work_mem = '8MB'\n").unwrap();
        finish(dir.path(), 0o700, &[], &crate::recovering::Recovering::default()).unwrap();
        assert!(adopt(dir.path()).unwrap() && !adopt(dir.path()).unwrap());
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
