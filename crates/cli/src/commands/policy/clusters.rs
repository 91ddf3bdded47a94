//! The clusters of PostgreSQL that run on this machine, by their sockets and their processes.
//!
//! On purpose not here: who backs them up. Nothing is asked of a server but whether it is there.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where servers have their sockets, unless they are told otherwise.
const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// A cluster that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// The port, which is in the name of its socket too.
    pub(super) port: u16,
    /// Its data directory, where that can be seen.
    pub(crate) folder: Option<PathBuf>,
    /// The folder of its socket, where that is known.
    pub(super) socket_folder: Option<PathBuf>,
}

impl Running {
    /// What it is called: its data directory, else its socket.
    pub(super) fn name(&self) -> String {
        match (&self.folder, &self.socket_folder) {
            (Some(folder), _) => folder.display().to_string(),
            (None, Some(folder)) => folder.join(format!(".s.PGSQL.{}", self.port)).display().to_string(),
            (None, None) => format!("port {}", self.port),
        }
    }
}

/// Looks for them.
pub(crate) fn running() -> Vec<Running> {
    let mut found = BTreeMap::new();
    for folder in SOCKET_FOLDERS.map(Path::new) {
        // Two of the folders are often one.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        for port in ports(&folder).into_iter().filter(|port| answers(&folder, *port)) {
            let running = Running { port, folder: None, socket_folder: Some(folder.clone()) };
            found.insert((port, Some(folder.clone())), running);
        }
    }
    for running in processes() {
        found.insert((running.port, running.socket_folder.clone()), running);
    }
    found.into_values().collect()
}

/// The ports that sockets in a folder are named after.
fn ports(folder: &Path) -> Vec<u16> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix(".s.PGSQL.")?.parse().ok()).collect()
}

/// Whether somebody listens: a socket outlives a server that was killed.
fn answers(folder: &Path, port: u16) -> bool {
    match UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
    }
}

/// Servers whose process can be looked at: each works in its data directory.
fn processes() -> Vec<Running> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let pids = pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter_map(|pid| {
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let text = fs::read_to_string(folder.join("postmaster.pid")).ok()?;
        // Its children work there too.
        let running = of_pid_file(&text, &folder)?;
        (text.lines().next() == Some(pid.as_str())).then_some(running)
    })
    .collect()
}

/// Reads `postmaster.pid`: process, folder, start, port, folder of the socket.
fn of_pid_file(text: &str, folder: &Path) -> Option<Running> {
    let mut lines = text.lines().skip(3);
    let port = lines.next()?.trim().parse().ok()?;
    let socket_folder = lines.next().map(str::trim).filter(|line| !line.is_empty()).map(PathBuf::from);
    let socket_folder = socket_folder.map(|folder| folder.canonicalize().unwrap_or(folder));
    Some(Running { port, folder: Some(folder.to_owned()), socket_folder })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_pid_file_says_port_and_socket() {
        let text = "71\n/data\n1764000000\n5433\n/no/such/folder\nlocalhost\n  1 2\nready\n";
        let running = of_pid_file(text, Path::new("/data")).unwrap();
        assert_eq!((running.port, running.name()), (5433, "/data".to_owned()));
        assert_eq!(running.socket_folder, Some("/no/such/folder".into()));
        assert_eq!(of_pid_file("71\n", Path::new("/data")), None);
        let other = Running { folder: None, ..running };
        assert_eq!(other.name(), "/no/such/folder/.s.PGSQL.5433");
    }

    #[test]
    fn only_sockets_that_somebody_listens_at_count() {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join(".s.PGSQL.5999")).unwrap();
        fs::write(dir.path().join(".s.PGSQL.5999.lock"), "").unwrap();
        assert_eq!(ports(dir.path()), [5999]);
        assert!(answers(dir.path(), 5999) && !answers(dir.path(), 5998));
        drop(listener);
        assert!(!answers(dir.path(), 5999));
    }
}
