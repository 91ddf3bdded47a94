//! The options of `find`.

use super::Pick;
use crate::ink::parse_size;
use clap::Args;
use holdfast_core::entry::Kind;

/// Find files in all snapshots, newest first.
///
/// A PATTERN without a slash is compared with names: `*.conf` finds every name that ends so. One
/// with a slash is compared with paths: `etc/*.conf` finds what lies directly in any folder `etc`,
/// `/etc/**/*.conf` everything below /etc. Put patterns in quotes, or the shell takes them.
///
/// Each line is SNAPSHOT:PATH, as `restore` and `dump` take it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast find 'invoice*.pdf'
  holdfast find -l --host web1 /etc/nginx/nginx.conf
  holdfast find '*.jpg' --larger-than 10M --newest 2026-01-31 --type f
  holdfast find -i 'readme*' --snapshot 3f2a91bc --snapshot latest --json")]
pub(crate) struct FindArgs {
    /// What to find: a name or a path, with *, ?, [...] and **
    #[arg(value_name = "PATTERN", required = true)]
    pub(crate) patterns: Vec<String>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Only in this snapshot: an id, the beginning of one, or `latest`; may be given several times
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Vec<String>,
    /// Whatever the case of letters
    #[arg(short, long)]
    pub(crate) ignore_case: bool,
    /// Only what was modified at TIME or before
    #[arg(short = 'N', long, value_name = "TIME")]
    pub(crate) newest: Option<String>,
    /// Only what was modified at TIME or later
    #[arg(short = 'O', long, value_name = "TIME")]
    pub(crate) oldest: Option<String>,
    /// Only files of more than SIZE: 500M, 1.5GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) larger_than: Option<u64>,
    /// Only files of less than SIZE
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) smaller_than: Option<u64>,
    /// Only these types: f file, d folder, l link, p pipe, s socket, c and b devices
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = kind_of)]
    pub(crate) kinds: Vec<Kind>,
    /// Show permissions, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
}

fn kind_of(word: &str) -> Result<Kind, String> {
    Ok(match word {
        "f" | "file" => Kind::File,
        "d" | "dir" => Kind::Directory,
        "l" | "symlink" => Kind::Symlink,
        "p" | "fifo" => Kind::Fifo,
        "s" | "socket" => Kind::Socket,
        "c" | "chardev" => Kind::CharDevice,
        "b" | "dev" => Kind::BlockDevice,
        _ => return Err("it is f, d, l, p, s, c or b".to_owned()),
    })
}
