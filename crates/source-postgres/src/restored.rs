//! The last touches to a restored cluster, before what lets a server start: where its tablespaces
//! are, and settings of the old one that would make the new one do harm.
//!
//! Nothing here follows a link that came out of a snapshot. On purpose not here: restoring files.

use crate::recovering::Recovering;
use rustix::fs::{AtFlags, CWD, Gid, OFlags, Uid, chownat};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Settings that `ALTER SYSTEM` wrote; read after all others.
const SETTINGS: &str = "postgresql.auto.conf";
/// Settings larger than this nobody wrote.
const SETTINGS_BYTES_MAX: u64 = 16 << 20;
/// What belongs to the recovery or the replication of the old server.
const OLD: [&str; 9] = [
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_min_apply_delay",
    "promote_trigger_file",
    "archive_mode",
    "synchronous_standby_names",
];
/// What is written below the settings that stay, unless the copy shall archive.
const OFF: &str = "# This copy was restored: it must not write into the archive of the cluster that it was made of.\n\
                   archive_mode = 'off'\n";

/// Who owns the files of a cluster.
#[derive(Clone, Copy)]
struct Owner(u32, u32);

/// Does them. Each tablespace has its number and the folder that its files were restored to;
/// `recovering` says up to where the server goes, if not only as far as the log that came along.
///
/// # Errors
/// A file cannot be written, or is not what a cluster has in its place.
pub fn finish(dir: &Path, mode: u16, spaces: &[(u32, PathBuf)], recovering: &Recovering) -> io::Result<()> {
    let version = fs::symlink_metadata(dir.join("PG_VERSION"))?;
    let owner = Owner(version.uid(), version.gid());
    let settings = dir.join(SETTINGS);
    let off = if recovering.archives { "" } else { OFF };
    let text = [&kept(&read(&settings)?, recovering.archives), off.as_bytes(), &recovering.text()].concat();
    write(&settings, &text, owner)?;
    if let Some(signal) = recovering.signal() {
        write(&dir.join(signal), b"", owner)?;
    }
    for (name, text) in [("postgresql.conf", CONF), ("pg_hba.conf", HBA)] {
        // Some systems keep them elsewhere: then the cluster's folder has none.
        match fs::symlink_metadata(dir.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                write(&dir.join(name), text.as_bytes(), owner)?;
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    if !spaces.is_empty() {
        write(&dir.join("tablespace_map"), &map(spaces), owner)?;
        let links = dir.join("pg_tblspc");
        if !fs::symlink_metadata(&links)?.is_dir() {
            return Err(io::Error::new(ErrorKind::InvalidData, "pg_tblspc is no folder"));
        }
        for (oid, to) in spaces {
            let link = links.join(oid.to_string());
            match symlink(to, &link) {
                // That of the cluster that was there.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && link.is_symlink() => {
                    fs::remove_file(&link)?;
                    symlink(to, &link)?;
                }
                made => made?,
            }
            give(&link, owner)?;
        }
        File::open(links)?.sync_all()?;
    }
    // A server refuses a folder that others may enter.
    fs::set_permissions(dir, Permissions::from_mode(u32::from(mode)))?;
    give(dir, owner)?;
    File::open(dir)?.sync_all()
}

const CONF: &str = "# The backup had no postgresql.conf: its server kept it outside of this folder.\n";
const HBA: &str = "# The backup had no pg_hba.conf: its server kept it outside of this folder. Only users of this\n\
                   # machine get in, as the role that has their name.\n\
                   local all all peer\n";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let mut text = Vec::new();
    match options.open(path) {
        Ok(file) => file.take(SETTINGS_BYTES_MAX).read_to_end(&mut text).map(|_| text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(text),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &[u8], owner: Owner) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()?;
    give(path, owner)
}

/// Gives a file to the cluster's owner, where it is not theirs already.
fn give(path: &Path, Owner(uid, gid): Owner) -> io::Result<()> {
    let now = fs::symlink_metadata(path)?;
    if (now.uid(), now.gid()) == (uid, gid) {
        return Ok(());
    }
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The settings without those of the old server's recovery. Whether it archives stays only if that
/// was asked for.
fn kept(text: &[u8], archives: bool) -> Vec<u8> {
    let lines = text.split_inclusive(|&byte| byte == b'\n').filter(|line| !is_old(line, archives));
    let mut kept = lines.collect::<Vec<_>>().concat();
    if kept.last().is_some_and(|&byte| byte != b'\n') {
        kept.push(b'\n');
    }
    kept
}

fn is_old(line: &[u8], archives: bool) -> bool {
    let line = line.trim_ascii_start();
    let end = line.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    let name = String::from_utf8_lossy(&line[..end.unwrap_or(line.len())]).to_ascii_lowercase();
    let stays = archives && name == "archive_mode";
    name.starts_with("recovery_target") || OLD.contains(&name.as_str()) && !stays
}

/// Where tablespaces are, as a server reads it when it starts from a backup.
fn map(spaces: &[(u32, PathBuf)]) -> Vec<u8> {
    let mut map = Vec::new();
    for (oid, to) in spaces {
        map.extend_from_slice(format!("{oid} ").as_bytes());
        for &byte in to.as_os_str().as_encoded_bytes() {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                map.push(b'\\');
            }
            map.push(byte);
        }
        map.push(b'\n');
    }
    map
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn settings_of_the_old_server_do_not_come_back() {
        let text = b"# Do not edit\nwork_mem = '8MB'\nprimary_conninfo = 'host=db1 password=x'\n RECOVERY_TARGET_TIME='x'\n\
                     recovery_target_timeline = 'latest'\narchive_mode = 'on'\nrecovery_prefetch = 'on'\nlast='1'";
        assert_eq!(
            String::from_utf8(kept(text, false)).unwrap(),
            "# Do not edit\nwork_mem = '8MB'\nrecovery_prefetch = 'on'\nlast='1'\n"
        );
        assert_eq!(kept(b"", false), b"");
    }

    #[test]
    fn a_cluster_is_finished_once_its_files_are_there() {
        let top = tempfile::tempdir().unwrap();
        let (dir, space) = (top.path().join("data"), top.path().join("space\\1"));
        fs::create_dir_all(dir.join("pg_tblspc")).unwrap();
        assert!(finish(&dir, 0o700, &[], &Recovering::default()).is_err(), "no cluster");
        fs::write(dir.join("PG_VERSION"), "15\n").unwrap();
        fs::write(dir.join("pg_hba.conf"), "own").unwrap();
        finish(&dir, 0o750, &[(16385, space.clone())], &Recovering::default()).unwrap();
        assert_eq!(fs::read_link(dir.join("pg_tblspc/16385")).unwrap(), space);
        let map = fs::read_to_string(dir.join("tablespace_map")).unwrap();
        assert_eq!(map, format!("16385 {}/space\\\\1\n", top.path().display()));
        assert!(fs::read_to_string(dir.join(SETTINGS)).unwrap().ends_with("archive_mode = 'off'\n"));
        assert_eq!(fs::read(dir.join("pg_hba.conf")).unwrap(), b"own");
        assert_eq!(fs::read_to_string(dir.join("postgresql.conf")).unwrap(), CONF);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o750);
    }

    #[test]
    fn no_link_of_a_snapshot_is_followed() {
        let top = tempfile::tempdir().unwrap();
        let (dir, outside) = (top.path().join("data"), top.path().join("outside"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("PG_VERSION"), "15\n").unwrap();
        fs::write(&outside, "safe").unwrap();
        symlink(&outside, dir.join(SETTINGS)).unwrap();
        assert!(finish(&dir, 0o700, &[], &Recovering::default()).is_err());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "safe");
    }
}
