//! The options of `restore` that are about the recovery of a cluster.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Up to where a restored cluster is recovered, and what it does then.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recovery of a cluster")]
pub(crate) struct Recover {
    /// Up to where the log is replayed: `latest` (all that the archive has), `immediate` (until the files
    /// are consistent; needs no archive), time=2026-01-31T02:15:00+09:00, lsn=16/B374D848, xid=4711 or
    /// name=TEXT [default: latest if the archive has log of this cluster]
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Option<String>,
    /// Along which timeline, where the target lies on several: its number, or NUMBER-HISTORY
    #[arg(long, value_name = "TIMELINE")]
    pub(crate) timeline: Option<String>,
    /// Stop before what the target names, not after it
    #[arg(long)]
    pub(crate) exclusive: bool,
    /// What the server does once it is there [default: pause; promote where no target is named]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) then: Option<AndThen>,
    /// Make a standby of it, which goes on fetching the log
    #[arg(long)]
    pub(crate) standby: bool,
    /// Write no restore_command, and try none: whoever starts the server fetches its log. The key of the
    /// repository then need not lie in a file
    #[arg(long, conflicts_with = "standby")]
    pub(crate) without_restore_command: bool,
    /// The server fetches its log with this key file, not with what opens the repository now: give it one of
    /// role reader:wal, which opens the log and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "without_restore_command")]
    pub(crate) server_key_file: Option<PathBuf>,
    /// Whether the copy may write into an archive: `keep` leaves archive_mode as the old server had it
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) archiving: Option<Archiving>,
    /// Give all files to this user and group, by names or numbers [default: the recorded numbers]
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) owner: Option<String>,
}

impl Recover {
    /// The first option that was stated; none of them has a meaning for anything but a whole cluster.
    pub(crate) fn stated(&self) -> Option<&'static str> {
        let stated = [
            (self.to.is_some(), "--to"),
            (self.timeline.is_some(), "--timeline"),
            (self.exclusive, "--exclusive"),
            (self.then.is_some(), "--then"),
            (self.standby, "--standby"),
            (self.without_restore_command, "--without-restore-command"),
            (self.server_key_file.is_some(), "--server-key-file"),
            (self.archiving.is_some(), "--archiving"),
            (self.owner.is_some(), "--owner"),
        ];
        stated.into_iter().find(|(stated, _)| *stated).map(|(_, option)| option)
    }
}

/// What a server does at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AndThen {
    /// Open it, on a timeline of its own
    Promote,
    /// Let it be read, and wait
    Pause,
    /// Stop the server
    Shutdown,
}

/// Whether a copy writes into the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Archiving {
    /// It does not
    Off,
    /// As the old server did
    Keep,
}
