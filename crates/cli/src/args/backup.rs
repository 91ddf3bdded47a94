//! The options of `backup`.

use super::Databases;
use clap::{Args, ValueEnum};
use holdfast_core::pack::DATA_PACK_BYTES_CHOICE;
use std::ffi::OsString;
use std::path::PathBuf;

/// Back up files and folders, a bucket, a cluster of PostgreSQL, or standard input, as one snapshot.
///
/// All paths of one command make one snapshot. What did not change since the last snapshot of
/// the same paths on the same host is not read again, and what the repository has already is not
/// stored again. An interrupted backup leaves nothing to clean up: run the command again.
///
/// A bucket is stated as `s3://bucket/prefix`, and `?endpoint=https://host:port` for a server that is
/// not AWS; there are region, path-style and profile too. Patterns are matched with `/key`.
///
/// A cluster is stated as `postgres://USER@HOST:PORT`, or `postgres:///?host=/folder/of/the/socket`. All
/// of it is backed up while it runs, by the protocol of replication, with the log that makes it
/// consistent. The password comes from PGPASSFILE, ~/.pgpass or PGPASSWORD; sslmode is verify-full if
/// the server is not on this machine. `holdfast preflight URL` says what a server lacks.
///
/// With --logical its databases are dumped one by one with the server's own pg_dump, which has to be of the
/// server's version or newer (HOLDFAST_PG_BIN, the usual folders, PATH). If one dump fails there is no
/// snapshot.
///
/// Patterns are those of restic: `*.tmp` matches a name anywhere, `/srv/cache` a path from the
/// root, `**` any number of folders, and `!pattern` takes a path in again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast backup /etc /srv --exclude '*.tmp' --exclude-caches
  holdfast backup /home --tag nightly --one-file-system --json
  holdfast backup 's3://media/films?region=eu-central-1'
  holdfast backup s3://media --versions all
  holdfast backup 'postgres://backup@db1?sslrootcert=/etc/ssl/db-ca.pem'
  holdfast backup postgres://backup@db1/shop --logical --count-rows public.orders
  mysqldump --all-databases | holdfast backup - --stdin-filename all.sql
  holdfast backup --stdin-filename all.sql --stdin-from-command -- mysqldump --all-databases

The last form is the safer one: if the command fails, no snapshot is made.")]
pub(crate) struct BackupArgs {
    /// Files and folders, or s3://bucket/prefix, or postgres://user@host, or - for standard input, or the command after --
    #[arg(value_name = "PATH", required_unless_present_any = ["files_from", "files_from_verbatim", "files_from_raw", "stdin"])]
    pub(crate) paths: Vec<OsString>,
    /// Also back up the paths in FILE, one a line; # begins a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Vec<PathBuf>,
    /// The same, but every line is a path exactly as it stands there
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from_verbatim: Vec<PathBuf>,
    /// The same, but each path ends with a zero byte, as find -print0 writes them
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from_raw: Vec<PathBuf>,
    /// Back up standard input; the same as - for a path
    #[arg(long, conflicts_with_all = ["paths", "files_from", "files_from_verbatim", "files_from_raw", "stdin_from_command"])]
    pub(crate) stdin: bool,
    /// Name of the file that standard input becomes
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(crate) stdin_filename: OsString,
    /// Back up what the command after -- prints
    #[arg(long, conflicts_with_all = ["files_from", "files_from_verbatim", "files_from_raw"])]
    pub(crate) stdin_from_command: bool,
    /// Read and count, store nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How hard to compress: fastest, auto, better, max or a zstd level from 1 to 22
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = compression_level)]
    pub(crate) compression: i32,
    /// Store contents in packs of about this size: from 4M to 1G. Larger ones are fewer files,
    /// smaller ones cost less to rewrite when parts of them are not needed any more
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = pack_size)]
    pub(crate) pack_size: u64,
    /// Do not open each piece again before it is stored
    #[arg(long)]
    pub(crate) no_extra_verify: bool,
    /// Of a bucket: what is there now, or all versions that it keeps and its delete markers
    /// [default: current]
    #[arg(long, value_name = "WHICH", value_enum)]
    pub(crate) versions: Option<WhichVersions>,
    #[command(flatten)]
    pub(crate) leave_out: LeaveOut,
    #[command(flatten)]
    pub(crate) name: Naming,
    #[command(flatten)]
    pub(crate) compare: Compare,
    #[command(flatten)]
    pub(crate) objects: Objects,
    #[command(flatten)]
    pub(crate) databases: Databases,
}

/// Which versions of the objects of a bucket are backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhichVersions {
    /// What is there now
    Current,
    /// All that the bucket keeps, and its delete markers
    All,
}

/// What a backup leaves out.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is left out")]
pub(crate) struct LeaveOut {
    /// Leave out what matches PATTERN; may be given several times
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iexclude: Vec<String>,
    /// Leave out what the patterns in FILE match, one a line; # begins a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "FILE")]
    pub(crate) iexclude_file: Vec<PathBuf>,
    /// Leave out the contents of folders with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Leave out the contents of folders that hold a file NAME, which begins with TEXT
    #[arg(long, value_name = "NAME[:TEXT]")]
    pub(crate) exclude_if_present: Vec<String>,
    /// Leave out files larger than SIZE: 500M, 1.5GiB
    #[arg(long, value_name = "SIZE", value_parser = crate::ink::parse_size)]
    pub(crate) exclude_larger_than: Option<u64>,
    /// Do not go into other file systems, but for paths on them that are stated, too
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
}

/// What the snapshot is called.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What the snapshot says")]
pub(crate) struct Naming {
    /// Tag the snapshot; several with commas or by repeating
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) tag: Vec<String>,
    /// Host that the files belong to [default: this one]
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Name of the source [default: host and paths]
    #[arg(long, value_name = "NAME")]
    pub(crate) label: Option<String>,
    /// Time of the snapshot [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<String>,
}

/// What a backup is compared with.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is read again")]
pub(crate) struct Compare {
    /// Compare with this snapshot [default: the newest of the same paths and host]
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    pub(crate) parent: Option<String>,
    /// Read every file, changed or not
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
    /// A changed ctime alone does not mean a changed file
    #[arg(long)]
    pub(crate) ignore_ctime: bool,
    /// A changed inode number does not mean a changed file
    #[arg(long)]
    pub(crate) ignore_inode: bool,
    /// Make no snapshot if nothing changed
    #[arg(long)]
    pub(crate) skip_if_unchanged: bool,
}

/// What is kept of the objects of a bucket.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is kept of a bucket")]
pub(crate) struct Objects {
    /// What is kept beside headers and user metadata: tags, acl, lock, and bucket for the bucket's own
    /// configuration, with commas between; all or none. Tags and acl take a request each for each
    /// object that is read. What may not be read of the configuration counts as a problem if bucket
    /// or all is stated [default: tags,lock, and bucket as far as it may be read]
    #[arg(long, value_name = "LIST")]
    pub(crate) metadata: Option<String>,
    /// Look again at one N-th of the unchanged objects in each run: that their tags, rights or locks
    /// changed, a listing does not show. Contents are not read for it [default: 1/30]
    #[arg(long, value_name = "1/N|off")]
    pub(crate) metadata_sweep: Option<String>,
    /// What is done with objects in an archive, whose content cannot be read; they are kept without
    /// it: `report` counts each as a problem, `accept` does not [default: report]
    #[arg(long, value_name = "HOW", value_enum)]
    pub(crate) cold: Option<Cold>,
}

/// Whether an object in an archive is a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cold {
    Report,
    Accept,
}

/// Reads the length of packs; a number alone is MiB, as in restic.
pub(super) fn pack_size(text: &str) -> Result<u64, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let size = crate::ink::parse_size(&if plain { format!("{text}M") } else { text.to_owned() })?;
    if DATA_PACK_BYTES_CHOICE.contains(&size) { Ok(size) } else { Err("packs have from 4M to 1G".to_owned()) }
}

/// Reads a compression mode as its zstd level.
pub(super) fn compression_level(text: &str) -> Result<i32, String> {
    match text {
        "fastest" => Ok(1),
        "auto" => Ok(3),
        "better" => Ok(9),
        "max" => Ok(19),
        number => number
            .parse()
            .ok()
            .filter(|level| (1..=22).contains(level))
            .ok_or_else(|| "it is fastest, auto, better, max or a number from 1 to 22".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn parse(words: &[&str]) -> Option<BackupArgs> {
        let words = ["holdfast", "backup"].iter().chain(words);
        match Cli::try_parse_from(words).ok()?.verb {
            Verb::Backup(args) => Some(*args),
            _ => None,
        }
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let args = parse(&["--stdin-from-command", "--", "dump", "--all", "-x"]).unwrap();
        assert_eq!(args.paths, ["dump", "--all", "-x"]);
        assert!(args.stdin_from_command && !args.leave_out.one_file_system);
    }

    #[test]
    fn something_has_to_be_backed_up() {
        assert!(parse(&[]).is_none());
        assert!(parse(&["--stdin-from-command"]).is_none());
        assert!(parse(&["--files-from", "list"]).is_some());
        assert!(parse(&["--files-from-raw", "list"]).is_some());
        assert!(parse(&["--stdin"]).is_some_and(|args| args.stdin));
        assert!(parse(&["--stdin", "/a"]).is_none());
        assert_eq!(parse(&["-"]).unwrap().paths, ["-"]);
    }

    #[test]
    fn compression_is_a_word_or_a_level() {
        let level = |word: &str| parse(&["/a", "--compression", word]).map(|args| args.compression);
        assert_eq!(["fastest", "auto", "better", "max", "7"].map(level), [1, 3, 9, 19, 7].map(Some));
        assert_eq!(["off", "0", "23", ""].map(level), [None; 4]);
    }
}
