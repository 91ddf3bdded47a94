//! A proxy before a server, that does to some requests what a network or a policy would.
//!
//! It takes one request a connection, without a body: enough for whoever only reads. On purpose not
//! here: what is done to which request.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It goes on to the server.
    Pass,
    /// It is answered here: a status, and the code of an error.
    Refuse(u16, &'static str),
    /// It is answered here, well, with this body.
    Say(String),
    /// The answer of the server breaks off after so many bytes.
    Cut(u64),
}

/// Decides by the first line of a request; may take its time, and do something meanwhile.
type Decide = dyn Fn(&str) -> Fate + Send + Sync;

/// A proxy that runs until this is dropped.
pub(crate) struct Proxy {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one before a server, stated by its URL.
    pub(crate) fn start(server: &str, decide: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, ended) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let (decide, is_over): (Arc<Decide>, _) = (Arc::new(decide), Arc::clone(&ended));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (decide, server) = (Arc::clone(&decide), server.clone());
                // Whoever goes away is no concern of the others.
                std::thread::spawn(move || drop(serve(client, &server, &*decide)));
            }
        });
        Self { port, ended }
    }

    /// URL of the proxy.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut client: TcpStream, server: &str, decide: &Decide) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let most = match decide(first) {
        Fate::Refuse(status, code) => {
            let error = format!("<Error><Code>{code}</Code><Message>as planned</Message></Error>");
            return answer(&mut client, status, &format!("<?xml version=\"1.0\"?>{error}"));
        }
        Fate::Say(body) => return answer(&mut client, 200, &body),
        Fate::Pass => u64::MAX,
        Fate::Cut(most) => most,
    };
    let mut there = TcpStream::connect(server)?;
    // The server then ends the connection after its answer, and so does this.
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    there.write_all(&head)?;
    io::copy(&mut there.take(most), &mut client)?;
    client.shutdown(Shutdown::Both)
}

fn answer(client: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} As planned\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}
