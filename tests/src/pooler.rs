//! PgBouncer before a server of PostgreSQL, which hands connections out by transaction: the next transaction of a
//! client is on another connection than the one before, and nothing of a session goes with it.
//!
//! `tests/run.sh` fetches it; `HOLDFAST_PGBOUNCER` says where it is. On purpose not here: passwords.

use crate::postgres::{Cluster, SUPERUSER, free_port, give_away, nobody, tools};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// So long may it take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pooler that runs until this is dropped.
#[derive(Debug)]
pub struct Pooler {
    /// Where it listens.
    pub port: u16,
    child: Child,
    // Last: it is removed when nobody uses it any more.
    _folder: TempDir,
}

impl Pooler {
    /// Starts one before a server that lets its superuser in without a password: three connections to each database,
    /// and otherwise as it comes.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(server: &Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("holdfast-pool-").tempdir().expect("a folder");
        let port = free_port();
        let programs = settle(folder.path(), server.port, port);
        let mut command = nobody(programs.join("pgbouncer"));
        command.env("LD_LIBRARY_PATH", &programs).arg(folder.path().join("ini"));
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("a pooler");
        let mut pooler = Self { port, child, _folder: folder };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = pooler.child.try_wait().expect("a status");
            let log = fs::read_to_string(pooler._folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "the pooler does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// How many transactions it has passed on to all databases.
    ///
    /// # Panics
    /// It does not say.
    #[must_use]
    pub fn transactions(&self, server: &Cluster) -> u64 {
        let mut psql = server.program("psql");
        psql.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGDATABASE", "pgbouncer");
        let output = psql.args(["-X", "-A", "-t", "-c", "SHOW STATS_TOTALS"]).output().expect("psql");
        let text = String::from_utf8(output.stdout).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with("pgbouncer|"));
        let counts = lines.filter_map(|line| line.split('|').nth(1)?.parse::<u64>().ok());
        counts.sum()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // One that has ended by itself is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts the program where the user without rights may run it, and writes what it is to do; where the program is.
fn settle(folder: &Path, server: u16, port: u16) -> PathBuf {
    let from = std::env::var_os("HOLDFAST_PGBOUNCER")
        .map_or_else(|| tools().join("pgbouncer/pgbouncer"), PathBuf::from);
    let from = from.parent().expect("a folder").to_owned();
    let programs = folder.join("programs");
    let copied = std::process::Command::new("cp").arg("-rP").arg(&from).arg(&programs).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "no pooler in {}: tests/run.sh fetches it",
        from.display()
    );
    let (users, ini) = (folder.join("users"), folder.join("ini"));
    fs::write(&users, format!("\"{SUPERUSER}\" \"\"\n")).expect("a file");
    let text = format!(
        "[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {}
admin_users = {SUPERUSER}
pool_mode = transaction
default_pool_size = 3
max_client_conn = 300
",
        users.display()
    );
    fs::write(&ini, text).expect("a file");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("a mode");
    give_away(folder);
    programs
}
