//! What the parts of a drill share once its server is up: how it is reached, and how long things take.
//!
//! On purpose not here: what is looked at.

use super::isolation::Isolation;
use super::links::Ground;
use super::programs::Programs;
use super::run::{Ran, run, run_to_nowhere};
use super::settings::SESSION;
use super::{Drill, trail::Trail};
use crate::error::PgError;
use crate::lsn::Lsn;
use crate::sql::Session;
use crate::url::{Binding, Host, Roots, Server, socket_url};
use holdfast_core::entry::Time;
use holdfast_engine::ctx::Clock;
use holdfast_engine::proof::{Cause, Level, Probe};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that the path of a socket has at most.
const SOCKET_BYTES: usize = 107;
const SOCKET: &str = ".s.PGSQL.5432";
pub(super) const PORT: u16 = 5432;

/// Where the server has its socket, by a path that is short enough for either side.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    /// Its folder.
    pub folder: PathBuf,
    /// What the server is told: it stands in the folder of its data.
    pub told: String,
    /// How we reach it.
    ours: String,
    /// Held so that the path by its number leads there.
    _open: Option<Arc<File>>,
}

impl Sockets {
    pub(super) fn below(ground: &Ground) -> io::Result<Self> {
        let fits = |path: &Path| path.as_os_str().len() + 1 + SOCKET.len() <= SOCKET_BYTES;
        // The server takes a list of them, in which some letters have a meaning.
        let plain =
            |path: &&str| path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        match ground.work.to_str().filter(|_| fits(&ground.work)).filter(plain) {
            Some(path) => {
                let (folder, told, ours) = (ground.work.clone(), path.to_owned(), path.to_owned());
                Ok(Self { folder, told, ours, _open: None })
            }
            None => {
                let open = Arc::new(File::open(&ground.folder)?);
                let ours = format!("/proc/self/fd/{}", open.as_raw_fd());
                Ok(Self { folder: ground.folder.clone(), told: ".".to_owned(), ours, _open: Some(open) })
            }
        }
    }

    /// Its folder, as another process of ours reaches it.
    pub(super) fn for_others(&self) -> String {
        match &self._open {
            Some(open) => format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd()),
            None => self.ours.clone(),
        }
    }

    /// The URL of the server, for another process of ours.
    pub(super) fn url(&self, user: &str) -> String {
        socket_url(user, &self.for_others(), PORT)
    }

    /// The server behind it.
    pub(super) fn server(&self, user: &str) -> Server {
        Server {
            hosts: vec![Host { name: self.ours.clone(), port: PORT }],
            user: user.to_owned(),
            tls: None,
            roots: Roots::System,
            binding: Binding::Prefer,
            connect: Duration::from_secs(30),
        }
    }
}

/// A stretch of time that is measured.
pub(super) struct Watch<'a> {
    clock: &'a dyn Clock,
    begun: Time,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(clock: &'a dyn Clock) -> Self {
        Self { clock, begun: clock.now() }
    }

    /// Seconds since it began.
    pub(super) fn seconds(&self) -> f64 {
        let now = self.clock.now();
        let nanos = f64::from(now.nanos) - f64::from(self.begun.nanos);
        ((now.seconds - self.begun.seconds) as f64 + nanos / 1e9).max(0.0)
    }
}

/// A cluster that runs, and all that is known of it.
pub(super) struct Bench<'a> {
    pub drill: &'a Drill<'a>,
    pub ground: Ground,
    pub programs: Programs,
    pub isolation: Isolation,
    pub sockets: Sockets,
    /// The role that may do everything.
    pub role: String,
    pub trail: Trail,
    /// How far the log was replayed.
    pub replayed: Option<Lsn>,
    /// When the checks began.
    pub watch: Watch<'a>,
}

impl Bench<'_> {
    pub(super) fn major(&self) -> u32 {
        self.programs.major
    }

    /// Connects to a database.
    pub(super) async fn session(&self, database: &str) -> Result<Session, PgError> {
        Session::open_copy(&self.sockets.server(&self.role), database, SESSION).await
    }

    /// How long there is for checks; none if as long as they take.
    pub(super) fn left(&self) -> Option<Duration> {
        let budget = self.drill.budget?;
        Some(budget.saturating_sub(Duration::from_secs_f64(self.watch.seconds())))
    }

    /// Whether the time for checks is over.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// One of the server's programs, which connects to a database.
    pub(super) fn client(&self, program: &Path, database: &str) -> Command {
        let mut command = self.isolation.command(&self.programs, program);
        // They reach the socket by their own folder, whose path may be too long for it.
        command.current_dir(&self.sockets.folder);
        command.env("PGHOST", "/proc/self/cwd").env("PGPORT", PORT.to_string());
        command.env("PGUSER", &self.role).env("PGDATABASE", database).env("PGOPTIONS", SESSION);
        command
    }

    /// Runs a program to its end where that keeps nobody else waiting.
    pub(super) async fn run(
        &self,
        command: Command,
        reads: bool,
        limit: Option<Duration>,
    ) -> io::Result<Ran> {
        let (work, cancel) = (self.ground.work.clone(), self.drill.cancel.clone());
        let job = move || match reads {
            true => run(command, &work, limit, &cancel),
            false => run_to_nowhere(command, &work, limit, &cancel),
        };
        tokio::task::spawn_blocking(job).await.map_err(io::Error::other)?
    }

    /// Whether it was made here, of dumps.
    pub(super) fn is_of_dumps(&self) -> bool {
        self.drill.dumps.is_some()
    }

    /// Whose fault it is if something is broken inside.
    pub(super) fn blame(&self) -> Cause {
        match () {
            () if self.is_of_dumps() => Cause::Environment,
            () if self.drill.verified => Cause::Source,
            () => Cause::Backup,
        }
    }

    /// What to do about something that is broken inside.
    pub(super) fn advice(&self) -> &'static str {
        if self.is_of_dumps() {
            "it was built here, of a dump that loaded without an error: check this host, and drill on another one"
        } else if self.drill.verified {
            "the bytes are as they were backed up: production is damaged too, and backups copy it faithfully. Check it \
             there; do not forget snapshots from before it was damaged"
        } else {
            "its bytes were not compared with a snapshot: check production for the same, and other backups"
        }
    }
}

/// What stands on `probe` if a statement did not go well: of the server only its code and its message.
pub(super) fn told(error: &PgError) -> String {
    match error {
        PgError::Server { error, .. } => format!("{} (SQLSTATE {})", error.message, error.code),
        PgError::Io { what, source } => format!("{what}: {source}"),
        other => other.to_string(),
    }
}

/// Something that could not be asked of the server at all.
pub(super) fn unasked(probe: &mut Probe, what: &str, error: &PgError) {
    let cause = match error.code().map(|code| &code[..2.min(code.len())]) {
        Some("53") | Some("58") | None => Cause::Environment,
        Some(_) => Cause::Backup,
    };
    probe.finds(cause, format!("{what}: {}", told(error)), "");
}

/// A probe of the level of checks.
pub(super) fn check(name: impl Into<String>) -> Probe {
    Probe::new(name, Level::Check)
}
