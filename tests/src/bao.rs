//! OpenBao, a real server of secrets, on loopback: one for each test that wants one, open and empty.
//!
//! `tests/run.sh` installs the program; `HOLDFAST_BAO` says where it is. A server that cannot be started is
//! a failure, not a skip. Its interface is that of HashiCorp Vault. On purpose not here: what is asked of it.

use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The token that may do everything.
pub const ROOT: &str = "root-of-tests";
/// So long it may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// So often it is started if somebody takes its port.
const STARTS: usize = 5;

/// A server that runs until this is dropped. It keeps everything in memory.
#[derive(Debug)]
pub struct Bao {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Bao {
    /// Starts one.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start() -> Self {
        for _ in 0..STARTS {
            let folder = tempfile::Builder::new().prefix("holdfast-bao-").tempdir().expect("a folder");
            let port =
                TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            let log = File::create(folder.path().join("log")).expect("a file");
            let program = std::env::var_os("HOLDFAST_BAO").unwrap_or_else(|| "bao".into());
            let mut command = Command::new(program);
            command.args(["server", "-dev", "-dev-no-store-token"]);
            command.arg(format!("-dev-root-token-id={ROOT}"));
            command.arg(format!("-dev-listen-address=127.0.0.1:{port}"));
            command.env_clear().env("HOME", folder.path()).current_dir(folder.path());
            command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
            let child = command.spawn();
            let child =
                child.expect("the program bao: tests/run.sh installs it, HOLDFAST_BAO says where it is");
            let mut bao = Self { child, port, folder };
            if bao.is_ready() {
                return bao;
            }
        }
        panic!("the server does not start");
    }

    fn is_ready(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < READY && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let answered = try_call(self.port, "GET", "sys/health", ROOT, &Value::Null);
            if answered.is_some_and(|(status, _)| status == 200) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        false
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it said, for a test that fails.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Asks it with a token, and expects it to agree; what it answers.
    ///
    /// # Panics
    /// It does not.
    pub fn call_as(&self, token: &str, method: &str, path: &str, body: &Value) -> Value {
        call(self.port, token, method, path, body)
    }

    /// Asks it with the token that may do everything.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call_as(ROOT, method, path, body)
    }

    /// Whether a token is alive.
    #[must_use]
    pub fn knows(&self, token: &str) -> bool {
        let answered = try_call(self.port, "GET", "auth/token/lookup-self", token, &Value::Null);
        answered.is_some_and(|(status, _)| status == 200)
    }

    /// Asks it later, from wherever: the port is all it takes.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a server on a port, and expects it to agree.
///
/// # Panics
/// It does not.
pub fn call(port: u16, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = try_call(port, method, path, token, body).expect("an answer");
    assert!(matches!(status, 200 | 204), "{method} {path}: {status} {answer}");
    answer
}

fn try_call(port: u16, method: &str, path: &str, token: &str, body: &Value) -> Option<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(
        server,
        "{method} /v1/{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}
