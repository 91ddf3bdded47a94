//! A proxy as companies have one: it takes requests for any server, and tunnels where it may not look.
//!
//! On purpose not here: disturbing anything, which `proxy` does.

use crate::proxy::read_head;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A proxy that runs until this is dropped.
#[derive(Debug)]
pub struct Forward {
    port: u16,
    ended: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Forward {
    /// Starts one.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (ended, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (ends, sees) = (Arc::clone(&ended), Arc::clone(&seen));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let sees = Arc::clone(&sees);
                // Whoever goes away is no concern of the others.
                std::thread::spawn(move || drop(serve(client, &sees)));
            }
        });
        Self { port, ended, seen }
    }

    /// Where it listens.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The heads of requests since this was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.seen))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock(seen: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut client: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let Some((head, begun)) = read_head(&mut client)? else { return Ok(()) };
    let head = String::from_utf8_lossy(&head).into_owned();
    lock(seen).push(head.clone());
    let no = || io::Error::other("no request for a proxy");
    let (line, headers) = head.split_once("\r\n").ok_or_else(no)?;
    let (method, rest) = line.split_once(' ').ok_or_else(no)?;
    if method == "CONNECT" {
        let mut there = TcpStream::connect(rest.split(' ').next().unwrap_or_default())?;
        client.write_all(b"HTTP/1.1 200 Established\r\n\r\n")?;
        there.write_all(&begun)?;
        return relay(&client, &there);
    }
    let (authority, path) =
        rest.strip_prefix("http://").and_then(|url| url.split_once('/')).ok_or_else(no)?;
    let mut there = TcpStream::connect(authority)?;
    // The server then ends the connection after its answer: one request, one connection.
    write!(there, "{method} /{path}\r\nConnection: close\r\n{headers}")?;
    there.write_all(&begun)?;
    relay(&client, &there)
}

fn relay(client: &TcpStream, there: &TcpStream) -> io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, there.try_clone()?);
    let sender = std::thread::spawn(move || io::copy(&mut from, &mut to));
    let (mut from, mut to) = (there, client);
    let answered = io::copy(&mut from, &mut to).map(drop);
    client.shutdown(Shutdown::Both)?;
    drop(sender.join());
    answered
}
