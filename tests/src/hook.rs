//! A server on loopback that takes messages over HTTP, and answers each as it is told to.
//!
//! On purpose not here: what is in the messages.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// With a status.
    Status(u16),
    /// With 429, and so many seconds to wait.
    Wait(u64),
    /// Not at all, as long as the server runs.
    Hang,
    /// The connection ends when the request was read.
    Close,
    /// The answer breaks off in the middle of its head.
    Cut,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST /path HTTP/1.1`.
    pub line: String,
    /// Headers by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// What was sent.
    pub body: String,
    /// How it was answered.
    pub reply: Reply,
}

impl Request {
    /// Its body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    reply: Mutex<Option<Reply>>,
    ended: AtomicBool,
    /// Whoever hangs waits for the end.
    end: (Mutex<()>, Condvar),
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Hook {
    port: u16,
    shared: Arc<Shared>,
}

impl Hook {
    /// Starts one that answers with 200.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let each = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if each.ended.load(Ordering::Relaxed) {
                    return;
                }
                let each = Arc::clone(&each);
                // Whoever goes away is no concern of the others.
                std::thread::spawn(move || drop(serve(client, &each)));
            }
        });
        Self { port, shared }
    }

    /// Its URL, with a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers so from now on.
    pub fn answers(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
    }

    /// What came so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.end.1.notify_all();
        // It notices at the next connection.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let reply = *shared.reply.lock().unwrap_or_else(PoisonError::into_inner);
    let reply = reply.unwrap_or(Reply::Status(200));
    let body = String::from_utf8_lossy(&body).into_owned();
    let request = Request { line: line.trim_end().to_owned(), headers, body, reply };
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    answer(client, reply, shared)
}

fn answer(mut client: TcpStream, reply: Reply, shared: &Shared) -> io::Result<()> {
    let end = "content-length: 2\r\nconnection: close\r\n\r\nok";
    match reply {
        Reply::Status(status) => write!(client, "HTTP/1.1 {status} So\r\n{end}"),
        Reply::Wait(seconds) => write!(client, "HTTP/1.1 429 Wait\r\nretry-after: {seconds}\r\n{end}"),
        Reply::Cut => write!(client, "HTTP/1.1 200 O"),
        Reply::Close => Ok(()),
        Reply::Hang => {
            let guard = shared.end.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_on = |(): &mut ()| !shared.ended.load(Ordering::Relaxed);
            // In case nobody ever ends it.
            drop(shared.end.1.wait_timeout_while(guard, Duration::from_secs(600), is_on));
            Ok(())
        }
    }
}
