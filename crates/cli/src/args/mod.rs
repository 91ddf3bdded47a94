//! The command line: words and options, one struct for each verb.
//!
//! On purpose not here: what the values mean. They are read as text and judged in `settings`
//! and `commands`, because a parser's own message would repeat a URL with a password in it.

mod access;
mod backup;
mod copy;
mod databases;
mod diff;
mod domain;
mod drill;
mod dump;
mod evidence;
mod find;
mod forget;
mod hold;
mod key;
mod notify;
mod policy;
mod preflight;
mod prune;
mod recover;
mod repair;
mod restore;
mod run;
mod serve;
mod shell;
mod stats;
mod status;
mod tag;
mod versions;
mod wal;
mod wal_stream;

pub(crate) use access::Because;
pub(crate) use backup::{BackupArgs, Cold, LeaveOut, Objects, WhichVersions};
pub(crate) use copy::{CopyArgs, FromArgs};
pub(crate) use databases::{Databases, LoadDumps};
pub(crate) use diff::DiffArgs;
pub(crate) use domain::{DomainArgs, DomainGrantArgs, DomainVerb, ShredArgs};
pub(crate) use drill::DrillArgs;
pub(crate) use dump::{Archive, DumpArgs};
pub(crate) use evidence::{
    EvidenceArgs, EvidenceNoteArgs, EvidenceShowArgs, EvidenceVerb, EvidenceVerifyArgs,
};
pub(crate) use find::FindArgs;
pub(crate) use forget::ForgetArgs;
pub(crate) use hold::HoldArgs;
pub(crate) use key::{KeyAddArgs, KeyArgs, KeyPasswdArgs, KeyRemoveArgs, KeyVerb, NewSecret};
pub(crate) use notify::{NotifyArgs, NotifyTestArgs, NotifyVerb, SilenceArgs};
pub(crate) use policy::{
    Ignored, PolicyArgs, PolicyCheckArgs, PolicyCoverageArgs, PolicyPlanArgs, PolicyVerb,
};
pub(crate) use preflight::{PreflightArgs, PrintedRole};
pub(crate) use prune::{PruneArgs, PruneHow};
pub(crate) use recover::{AndThen, Archiving, Recover};
pub(crate) use repair::{
    RecoverArgs, RepairArgs, RepairIndexArgs, RepairLogArgs, RepairSnapshotsArgs, RepairVerb,
};
pub(crate) use restore::{Over, RestoreArgs, Select, When};
pub(crate) use run::{Part, Remembering, RunArgs};
pub(crate) use serve::ServeArgs;
pub(crate) use shell::{CompletionsArgs, ManArgs};
pub(crate) use stats::{StatsArgs, StatsDepth};
pub(crate) use status::StatusArgs;
pub(crate) use tag::TagArgs;
pub(crate) use versions::VersionPick;
pub(crate) use wal::{WalAdoptArgs, WalArgs, WalFetchArgs, WalLsArgs, WalPushArgs, WalStatusArgs, WalVerb};
pub(crate) use wal_stream::{WalDropSlotArgs, WalSlotArgs, WalStreamArgs};

use crate::engine::maintain::GroupBy;
use clap::{Args, Parser, Subcommand};
use domain::domain_name;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const AFTER: &str = "\
Environment:
  HOLDFAST_REPOSITORY        instead of --repo
  HOLDFAST_REPOSITORY_FILE   instead of --repository-file
  HOLDFAST_PASSWORD          the password itself; better one of the next three
  HOLDFAST_PASSWORD_FILE     instead of --password-file
  HOLDFAST_PASSWORD_COMMAND  instead of --password-command
  HOLDFAST_KEY_FILE          instead of --key-file
  HOLDFAST_PASSWORD_CREDENTIAL, HOLDFAST_KEY_CREDENTIAL, HOLDFAST_PASSWORD_VAULT, HOLDFAST_KEY_VAULT,
  HOLDFAST_KEY_TRANSIT       instead of the options of those names
  VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, VAULT_CLIENT_TIMEOUT; VAULT_TOKEN_FILE or VAULT_TOKEN
                             where Vault is and what lets us in; BAO_ADDR and so on are OpenBao's
  HOLDFAST_VAULT_ROLE_ID and HOLDFAST_VAULT_SECRET_ID_FILE; HOLDFAST_VAULT_KUBERNETES_ROLE
                             let us in by another way (HOLDFAST_VAULT_MOUNT says where it is mounted)
  HOLDFAST_NEW_PASSWORD      the new password of `key add` and `key passwd`
  HOLDFAST_CACHE_DIR         instead of --cache-dir
  HOLDFAST_REASON            instead of --reason of `restore` and `dump`
  HOLDFAST_CATALOG           instead of --catalog: where runs of policies are remembered: a file, or
                             postgres://USER@HOST/DATABASE (password: PGPASSFILE, ~/.pgpass, PGPASSWORD)
  HOLDFAST_AWS_ACCESS_KEY_ID, HOLDFAST_AWS_SECRET_ACCESS_KEY
                             open the repository's bucket and no other, instead of AWS_ACCESS_KEY_ID
  HOLDFAST_SOURCE_AWS_ACCESS_KEY_ID, HOLDFAST_SOURCE_AWS_SECRET_ACCESS_KEY
                             what opens a bucket that is backed up, beside the repository's
  HOLDFAST_TARGET_AWS_ACCESS_KEY_ID, HOLDFAST_TARGET_AWS_SECRET_ACCESS_KEY
                             open the bucket that `restore` restores to
  AWS_CA_BUNDLE              instead of --cacert
  HOLDFAST_PG_BIN            folder of PostgreSQL's own programs (pg_dump, pg_restore, psql)
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
                             proxies for buckets, and what is reached without one
  OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME, TRACEPARENT
                             a collector of OpenTelemetry (http/json) that `run` and `drill` tell what they did
  NO_COLOR                   no colours

Exit codes:
  0 done; 1 failed; 2 wrong usage; 3 done, but something could not be read;
  10 no repository there; 12 wrong password or key;
  20 a drill failed; 21 it takes longer to have it back than promised; 22 more would be lost than promised;
  23 a drill proved nothing; 126 `wal fetch` has no answer; 130 interrupted

Examples:
  export HOLDFAST_REPOSITORY=/mnt/backup HOLDFAST_PASSWORD_FILE=/root/holdfast.password
  holdfast init --kit recovery-kit.txt
  holdfast backup /etc /srv
  holdfast restore latest:/etc --target /tmp/etc";

/// Backs up into a deduplicated, encrypted repository, and restores from it.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = AFTER, max_term_width = 100, propagate_version = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options that every verb takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Repository: /path, a relative path, file:///path or s3://bucket/prefix [HOLDFAST_REPOSITORY]
    #[arg(short, long = "repo", alias = "repository", value_name = "URL", global = true)]
    pub(crate) repo: Option<OsString>,
    /// Read the repository's URL from FILE [HOLDFAST_REPOSITORY_FILE]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "repo")]
    pub(crate) repository_file: Option<PathBuf>,
    /// Work in the domain NAME of the repository, which has keys of its own
    #[arg(long, value_name = "NAME", global = true, value_parser = domain_name)]
    pub(crate) domain: Option<String>,
    /// Read the password from FILE; a newline at its end does not count
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) password_file: Option<PathBuf>,
    /// Run COMMAND with sh and take what it prints as the password
    #[arg(long, value_name = "COMMAND", global = true, conflicts_with = "password_file")]
    pub(crate) password_command: Option<OsString>,
    /// Take the password from a credential that systemd gave to this service
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) password_credential: Option<OsString>,
    /// Take the password from Vault or OpenBao: secret/data/PATH#FIELD
    #[arg(long, value_name = "PATH#FIELD", global = true)]
    pub(crate) password_vault: Option<OsString>,
    /// Open the repository with the bytes of FILE instead of a password
    #[arg(long, value_name = "FILE", global = true, conflicts_with_all = ["password_file", "password_command"])]
    pub(crate) key_file: Option<PathBuf>,
    /// Open it with a key file that is a credential of this service
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) key_credential: Option<OsString>,
    /// Open it with a key file whose text is in Vault or OpenBao
    #[arg(long, value_name = "PATH#FIELD", global = true)]
    pub(crate) key_vault: Option<OsString>,
    /// Have Vault or OpenBao open the key file first, which this key of their transit engine sealed; without
    /// a file it is the one in the repository (key add --new-key-transit)
    #[arg(long, value_name = "MOUNT/KEY", global = true)]
    pub(crate) key_transit: Option<OsString>,
    /// Keep the cache in DIR [default: ~/.cache/holdfast]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Use no cache
    #[arg(long, global = true, conflicts_with = "cache_dir")]
    pub(crate) no_cache: bool,
    /// Accept once that the repository is in an older state than this host has seen
    #[arg(long, global = true, conflicts_with = "no_cache")]
    pub(crate) accept_rollback: bool,
    /// Send at most so much to the repository in a second: 500K, 2M; a number alone is KiB
    #[arg(long, value_name = "RATE", global = true, value_parser = crate::ink::parse_rate)]
    pub(crate) limit_upload: Option<u64>,
    /// Fetch at most so much from the repository in a second
    #[arg(long, value_name = "RATE", global = true, value_parser = crate::ink::parse_rate)]
    pub(crate) limit_download: Option<u64>,
    /// Work on so many files at the same time [default: as many as there are processors]
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) read_concurrency: Option<u16>,
    /// Give up when a file system or the repository does not answer for so long; 0 for never
    #[arg(long, value_name = "TIME", global = true, default_value = "10m", value_parser = crate::ink::parse_duration)]
    pub(crate) stuck_timeout: Duration,
    /// Trust the certificates in FILE (PEM) too when a bucket's server is asked [AWS_CA_BUNDLE]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) cacert: Option<PathBuf>,
    /// Write JSON lines, each with a `message_type`
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no summary, only data and what went wrong
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell all problems and notices, not only the first
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// What to do. Verbs with options are described where their options are.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(Box<InitArgs>),
    Backup(Box<BackupArgs>),
    Restore(Box<RestoreArgs>),
    Snapshots(SnapshotsArgs),
    Ls(LsArgs),
    Find(Box<FindArgs>),
    Diff(Box<DiffArgs>),
    Dump(DumpArgs),
    Stats(StatsArgs),
    Tag(TagArgs),
    Copy(Box<CopyArgs>),
    Forget(Box<ForgetArgs>),
    Hold(HoldArgs),
    Prune(PruneArgs),
    Check(CheckArgs),
    Repair(RepairArgs),
    Recover(RecoverArgs),
    Preflight(PreflightArgs),
    Policy(PolicyArgs),
    Key(KeyArgs),
    Domain(DomainArgs),
    Shred(ShredArgs),
    Wal(Box<WalArgs>),
    Run(Box<RunArgs>),
    Drill(Box<DrillArgs>),
    Serve(Box<ServeArgs>),
    Evidence(EvidenceArgs),
    Status(Box<StatusArgs>),
    Notify(NotifyArgs),
    Silence(SilenceArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// Show the version of the program and of the repository format
    Version,
    /// There is nothing to unlock: holdfast has no locks
    Unlock,
    /// Not in this version; says what to use instead
    #[command(hide = true)]
    Mount {
        /// Whatever is given to it
        #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}

/// Create a repository and write its recovery kit.
///
/// The folder is made if it is missing; the folder above it has to be there. The recovery kit
/// says what somebody needs who has nothing but the repository. It holds no secrets: keep it
/// apart from this machine, together with the password or the key file.
///
/// With --from the new repository names contents as that one does, so that `copy` between the two
/// reads and stores only what is missing. Who can read one can then tell which contents are in both.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast -r /mnt/backup init --kit /media/usb/recovery-kit.txt
  (umask 077; head -c 64 /dev/urandom > /root/holdfast.key) && holdfast -r /mnt/backup --key-file /root/holdfast.key init
  holdfast -r s3://offsite/web1 init --from /mnt/backup --from-password-file /root/holdfast.password")]
pub(crate) struct InitArgs {
    /// Write the recovery kit to FILE, which must not exist, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit: Option<PathBuf>,
    /// Memory that trying one password shall cost, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) kdf_memory: u32,
    /// Name of this first key
    #[arg(long, value_name = "TEXT", default_value = "owner")]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) from: FromArgs,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Pick {
    /// Only snapshots of this host; may be given several times
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with this tag, or with all of several: a,b; may be given several times
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) tag: Vec<String>,
    /// Only snapshots of the source with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

/// List the snapshots, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast snapshots --host web1 --tag daily
  holdfast snapshots --group-by host,paths --latest 3
  holdfast snapshots --latest 1 --json")]
pub(crate) struct SnapshotsArgs {
    /// Only these: ids, beginnings of ids, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<OsString>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Only snapshots that hold this path; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<PathBuf>,
    /// Only the newest N of each source, or of each group
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) latest: Option<u64>,
    /// Show only id, time, host and tags
    #[arg(short, long)]
    pub(crate) compact: bool,
    /// Tell what was recorded beside each: of databases versions, numbers of rows and the like
    #[arg(long)]
    pub(crate) facts: bool,
    /// List in groups of the same host, paths, tags or source; several with commas
    #[arg(short, long, value_name = "WHAT", value_parser = group_by)]
    pub(crate) group_by: Option<GroupBy>,
}

/// Reads what to group by.
fn group_by(text: &str) -> Result<GroupBy, String> {
    text.parse()
}

/// List what is in a snapshot.
///
/// Without a PATH everything is listed; with one the entry itself and what lies directly in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast ls latest
  holdfast ls -l 3f2a91bc:/etc
  holdfast ls latest:/home --recursive --json")]
pub(crate) struct LsArgs {
    /// A snapshot's id or the beginning of one, or `latest`; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: OsString,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Show permissions, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// With --long: sizes in KiB, MiB and so on
    #[arg(long, requires = "long")]
    pub(crate) human_readable: bool,
    /// List everything below PATH
    #[arg(long)]
    pub(crate) recursive: bool,
}

/// Check that the repository is whole.
///
/// Without an option the structure is checked: everything that a snapshot needs is there and is
/// what it says it is. Whether the contents can still be read is known only when they are read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast check
  holdfast check --read-data-subset 5%      every run another twentieth, at random
  holdfast check --read-data-subset 1/7     a seventh, the same one for the same number
  holdfast check --read-data")]
pub(crate) struct CheckArgs {
    /// Read and verify all contents
    #[arg(long, conflicts_with = "read_data_subset")]
    pub(crate) read_data: bool,
    /// Read and verify a part of the contents: 5%, 1/7 or 500M (always one pack)
    #[arg(long, value_name = "PART")]
    pub(crate) read_data_subset: Option<String>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("holdfast").chain(words.iter().copied()))
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_no_verb_is_refused() {
        assert_eq!(parse(&["server"]).unwrap_err().kind(), ErrorKind::InvalidSubcommand);
        assert_eq!(parse(&["server"]).unwrap_err().exit_code(), 2);
        assert!(parse(&["serve"]).is_err() && parse(&["serve", "/p", "--patience", "1s"]).is_err());
    }

    #[test]
    fn global_options_stand_anywhere() {
        let cli = parse(&["ls", "latest", "-r", "/r", "-p", "/p", "--json"]).unwrap();
        assert_eq!((cli.global.repo, cli.global.json), (Some("/r".into()), true));
        let cli = parse(&["--repository", "/r", "version"]).unwrap();
        assert_eq!(cli.global.repo, Some("/r".into()));
    }

    #[test]
    fn a_change_of_tags_says_what() {
        assert!(parse(&["tag", "latest"]).is_err());
        assert!(parse(&["tag", "latest", "--set", "a", "--add", "b"]).is_err());
        assert!(parse(&["tag", "latest", "--add", "a", "--remove", "b", "--tag", "c"]).is_ok());
        assert!(parse(&["tag", "latest", "--set", ""]).is_ok());
    }

    #[test]
    fn rules_are_not_for_what_is_named() {
        let policy = |words: &[&str]| match parse(&[&["forget"], words].concat()).unwrap().verb {
            Verb::Forget(args) => args.keep.policy(),
            verb => panic!("{verb:?}"),
        };
        assert!(policy(&["3f2a"]).is_empty() && policy(&["--keep-daily", "0"]).is_empty());
        assert_eq!(policy(&["-l", "3", "-d", "7", "--keep-within-weekly", "2m"]).rules.len(), 3);
        let tags = policy(&["--keep-tag", "b,a", "--keep-tag", "c"]).tags;
        assert_eq!(tags, [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]]);
        for wrong in [
            &["--keep-last", "-1"][..],
            &["--keep-within", "7"],
            &["--keep-tag", ""],
            &["--group-by", "size"],
            &["3f2a", "--group-by", "host"],
            &["--undo", "--prune"],
            &["--undo", "3f2a", "--unsafe-allow-remove-newest"],
            &["--unsafe-allow-remove-newest"],
            &["--repack-small"],
        ] {
            assert!(parse(&[&["forget"], wrong].concat()).is_err(), "{wrong:?}");
        }
        assert!(parse(&["hold", "x", "--until", "1d"]).is_err());
        assert!(parse(&["hold", "x", "--release", "--reason", "y"]).is_err());
    }

    #[test]
    fn one_way_to_give_the_password() {
        assert!(parse(&["--password-file", "/p", "--key-file", "/k", "snapshots"]).is_err());
    }

    #[test]
    fn each_verb_shows_an_example() {
        let bare = ["version", "unlock", "mount"];
        for verb in Cli::command().get_subcommands().filter(|verb| !bare.contains(&verb.get_name())) {
            let after = verb.get_after_help().unwrap().to_string();
            assert!(after.contains("holdfast"), "{}", verb.get_name());
        }
    }
}
