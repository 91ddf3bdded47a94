//! A program of the server's that runs for us: how it gets in, what it says, and its end.
//!
//! A password goes to it in memory that only it inherits, never in a word of its command line or on
//! the disk. Whoever drops it ends it. On purpose not here: which program, and what it gives or takes.

use crate::error::PgError;
use crate::passfile::Secrets;
use crate::tools::Tool;
use crate::url::{Binding, Host, Roots, Server, TlsMode};
use holdfast_engine::ctx::Cancel;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use zeroize::Zeroizing;

/// So much of what a program says is told; the last of it, where the reason stands.
const SAID_BYTES: u64 = 4096;
/// Files in which systems keep the authorities that they believe.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// First version whose programs can be told to believe whom the system believes.
const KNOWS_SYSTEM: u32 = 16;

/// How a program reaches a database of a server, and gets in.
pub(crate) struct Access {
    variables: Vec<(&'static str, String)>,
    /// The password file, in memory.
    passfile: Option<File>,
    password: Option<Zeroizing<Vec<u8>>>,
}

impl Access {
    pub(crate) fn new(
        server: &Server,
        host: &Host,
        database: &str,
        secrets: &Secrets,
    ) -> Result<Self, PgError> {
        let password = secrets.password_for(host, database, &server.user);
        let passfile = password.as_ref().map(|password| in_memory(password)).transpose();
        let passfile = passfile.map_err(|source| PgError::Io {
            what: "cannot hand the password to the server's programs".to_owned(),
            source,
        })?;
        let mut variables = vec![
            ("PGHOST", host.name.clone()),
            ("PGPORT", host.port.to_string()),
            ("PGUSER", server.user.clone()),
            ("PGDATABASE", database.to_owned()),
            ("PGSSLMODE", mode_of(server.tls_for(host)).to_owned()),
            ("PGGSSENCMODE", "disable".to_owned()),
            ("PGCONNECT_TIMEOUT", server.connect.as_secs().to_string()),
            ("PGAPPNAME", "holdfast".to_owned()),
        ];
        match server.binding {
            Binding::Prefer => {}
            Binding::Disable => variables.push(("PGCHANNELBINDING", "disable".to_owned())),
            Binding::Require => variables.push(("PGCHANNELBINDING", "require".to_owned())),
        }
        // No other file of passwords is asked.
        let path = passfile.as_ref().map_or_else(
            || "/nonexistent/pgpass".to_owned(),
            |file| format!("/proc/self/fd/{}", file.as_raw_fd()),
        );
        variables.push(("PGPASSFILE", path));
        Ok(Self { variables, passfile, password })
    }

    /// Says whom to believe about the server, in words that a version understands.
    fn roots(&self, server: &Server, major: u32) -> Option<String> {
        let mode = self.variables.iter().find(|(name, _)| *name == "PGSSLMODE");
        if !mode.is_some_and(|(_, mode)| mode.starts_with("verify")) {
            return None;
        }
        match &server.roots {
            Roots::File(path) => Some(path.display().to_string()),
            Roots::System => {
                let bundle = BUNDLES.iter().find(|path| Path::new(path).is_file());
                let known = (major >= KNOWS_SYSTEM).then(|| "system".to_owned());
                bundle.map(|&path| path.to_owned()).or(known)
            }
        }
    }

    /// A program that reaches the database.
    pub(crate) fn command(&self, tool: &Tool, server: &Server) -> Command {
        let mut command = tool.command();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(roots) = self.roots(server, tool.major) {
            command.env("PGSSLROOTCERT", roots);
        }
        command.arg("--no-password");
        command
    }

    /// Starts it. What it says of itself goes to a file without a name in a folder.
    pub(crate) fn spawn(
        self,
        tool: &Tool,
        mut command: Command,
        spool: &Path,
        streams: (Stdio, Stdio),
    ) -> Result<Running, PgError> {
        let fail = |source| PgError::Io { what: format!("cannot run {}", tool.path.display()), source };
        let said = tempfile::tempfile_in(spool).map_err(fail)?;
        command.stdin(streams.0).stdout(streams.1).stderr(said.try_clone().map_err(fail)?);
        let child = command.spawn().map_err(fail)?;
        let Self { passfile, password, .. } = self;
        Ok(Running { child, name: tool.name, said, password, _passfile: passfile })
    }
}

const fn mode_of(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    }
}

/// A password file for any server, which whoever we start inherits and nobody else sees.
fn in_memory(password: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("holdfast", MemfdFlags::CLOEXEC)?);
    // Others would make libpq pass it over.
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    let mut line = Zeroizing::new(b"*:*:*:*:".to_vec());
    for &byte in password {
        if matches!(byte, b':' | b'\\') {
            line.push(b'\\');
        }
        line.push(byte);
    }
    line.push(b'\n');
    file.write_all(&line)?;
    fcntl_setfd(&file, FdFlags::empty())?;
    Ok(file)
}

/// A program that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    name: &'static str,
    said: File,
    password: Option<Zeroizing<Vec<u8>>>,
    /// As long as it runs it may connect once more.
    _passfile: Option<File>,
}

/// How a program ended that was not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Which one, and its status: `pg_dump failed (exit status: 1)`.
    pub what: String,
    /// What it said.
    pub said: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.said.as_str() {
            "" => f.write_str(&self.what),
            said => write!(f, "{}: {said}", self.what),
        }
    }
}

impl Running {
    /// Waits for its end; ends it if the run is to stop. What it said if it ended well.
    pub(crate) fn wait(&mut self, cancel: &Cancel) -> Result<String, Failure> {
        let status = self.status(cancel).map_err(|error| Failure {
            what: format!("cannot tell how {} ended: {error}", self.name),
            said: String::new(),
        })?;
        let said = self.said();
        if status.success() {
            return Ok(said);
        }
        Err(Failure { what: format!("{} failed ({status})", self.name), said })
    }

    fn status(&mut self, cancel: &Cancel) -> io::Result<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if cancel.is_raised() {
                self.kill();
                return self.child.wait();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Ends it.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself meanwhile; then there is nothing to stop.
        let _ = self.child.kill();
    }

    /// The last of what it said, in one line and without the password.
    pub(crate) fn said(&mut self) -> String {
        let read = |file: &mut File| {
            let length = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(SAID_BYTES).read_to_end(&mut bytes).map(|_| bytes)
        };
        let text = String::from_utf8_lossy(&read(&mut self.said).unwrap_or_default()).into_owned();
        let password = self.password.as_ref().map(|password| String::from_utf8_lossy(password));
        let text = match password.filter(|password| !password.is_empty()) {
            Some(password) => text.replace(&*password, "…"),
            None => text,
        };
        in_one_line(self.name, &text)
    }

    /// All of what it said, line by line.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        let mut text = String::new();
        let read = self.said.seek(SeekFrom::Start(0));
        // What cannot be read back was only words.
        let _ = read.and_then(|_| (&self.said).take(1 << 20).read_to_string(&mut text));
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Joins lines; each program names itself at the beginning of its lines.
fn in_one_line(name: &str, text: &str) -> String {
    let named = format!("{name}: ");
    let lines = text.lines().map(|line| line.strip_prefix(&named).unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::url::parse;

    fn access(url: &str, password: Option<&[u8]>) -> Access {
        let server = parse(url, "u").unwrap();
        let password = password.map(|password| Zeroizing::new(password.to_vec()));
        Access::new(&server, &server.hosts[0], "a=b", &Secrets { password, passfile: None }).unwrap()
    }

    fn variable<'a>(access: &'a Access, name: &str) -> &'a str {
        access.variables.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    #[test]
    fn the_way_is_as_well_protected_as_ours() {
        let url = "postgres://u@db1?channel_binding=require&sslrootcert=/ca.pem";
        let server = parse(url, "u").unwrap();
        let far = access(url, None);
        assert_eq!(
            ["PGSSLMODE", "PGCHANNELBINDING"].map(|name| variable(&far, name)),
            ["verify-full", "require"]
        );
        assert_eq!(far.roots(&server, 13).as_deref(), Some("/ca.pem"));
        let near = access("postgres://u@localhost", None);
        assert_eq!((variable(&near, "PGSSLMODE"), variable(&near, "PGDATABASE")), ("prefer", "a=b"));
        assert_eq!(near.roots(&server, 18), None);
    }

    #[test]
    fn a_password_is_in_memory_alone() {
        let access = access("postgres://u@h", Some(b"a:b\\c"));
        let path = variable(&access, "PGPASSFILE").to_owned();
        assert_eq!(std::fs::read(&path).unwrap(), b"*:*:*:*:a\\:b\\\\c\n");
        assert_eq!(rustix::fs::stat(&path).unwrap().st_mode & 0o777, 0o600);
        assert!(access.variables.iter().all(|(_, value)| !value.contains("a:b")));
        drop(access);
        assert!(std::fs::read(&path).is_err());
    }

    #[test]
    fn what_a_program_says_is_one_line() {
        let said = "pg_dump: error: query failed\npg_dump: detail: Query was: LOCK\n\n";
        assert_eq!(in_one_line("pg_dump", said), "error: query failed; detail: Query was: LOCK");
    }
}
