//! A proxy before a server on loopback, that does to some requests what a network, a busy server or
//! a policy would.
//!
//! One request goes over one connection to the server, so that each has a fate of its own. On
//! purpose not here: what is done to which request.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on to the server, and the answer comes back.
    Pass,
    /// It is answered here: a status, and the code of an error.
    Refuse(u16, &'static str),
    /// It is answered here, well, with this body.
    Say(String),
    /// It is answered here, with these very bytes.
    Raw(String),
    /// The connection ends before the request reached the server.
    Reset,
    /// The server carries it out; its answer is lost.
    LoseReply,
    /// The answer of the server breaks off after so many bytes.
    Cut(u64),
    /// The answer comes in pieces of 16 KiB with such a pause before each.
    Slow(Duration),
    /// Nothing is answered, as long as the proxy runs.
    Hang,
}

/// Decides by the first line of a request and all of its head; may take its time, and do something
/// meanwhile.
type Decide = dyn Fn(&str, &str) -> Fate + Send + Sync;

/// A proxy that runs until this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    ended: Arc<AtomicBool>,
    disturbed: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts one before a server, stated by its URL.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(server: &str, decide: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        Self::start_seeing(server, move |line, _| decide(line))
    }

    /// Starts one that decides by the whole head of a request too.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start_seeing(server: &str, decide: impl Fn(&str, &str) -> Fate + Send + Sync + 'static) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (ended, disturbed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let decide: Arc<Decide> = Arc::new(decide);
        let each = Each { server, decide, ended: Arc::clone(&ended), disturbed: Arc::clone(&disturbed) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if each.ended.load(Ordering::Relaxed) {
                    return;
                }
                let each = each.clone();
                // Whoever goes away is no concern of the others.
                std::thread::spawn(move || drop(each.serve(client)));
            }
        });
        Self { port, ended, disturbed }
    }

    /// URL of the proxy.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests did not pass.
    #[must_use]
    pub fn disturbed(&self) -> u64 {
        self.disturbed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

#[derive(Clone)]
struct Each {
    server: String,
    decide: Arc<Decide>,
    ended: Arc<AtomicBool>,
    disturbed: Arc<AtomicU64>,
}

impl Each {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let Some((head, begun)) = read_head(&mut client)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&head).into_owned();
        let fate = (self.decide)(text.lines().next().unwrap_or_default(), &text);
        if fate != Fate::Pass {
            self.disturbed.fetch_add(1, Ordering::Relaxed);
        }
        match fate {
            Fate::Reset => return client.shutdown(Shutdown::Both),
            Fate::Hang => {
                while !self.ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
            Fate::Refuse(status, code) => {
                // Whoever sends a body listens only when all of it is gone.
                discard(&mut client, length_of(&text).saturating_sub(begun.len() as u64))?;
                let body = format!(
                    "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as planned</Message></Error>"
                );
                return answer(&mut client, status, &body);
            }
            Fate::Say(ref body) => return answer(&mut client, 200, body),
            Fate::Raw(ref bytes) => {
                discard(&mut client, length_of(&text).saturating_sub(begun.len() as u64))?;
                client.write_all(bytes.as_bytes())?;
                return client.shutdown(Shutdown::Both);
            }
            Fate::Pass | Fate::LoseReply | Fate::Cut(_) | Fate::Slow(_) => {}
        }
        let mut there = TcpStream::connect(&self.server)?;
        // The server then ends the connection after its answer, and so does this.
        there.write_all(&head[..head.len() - 2])?;
        there.write_all(b"Connection: close\r\n\r\n")?;
        there.write_all(&begun)?;
        let left = length_of(&text).saturating_sub(begun.len() as u64);
        let (mut from, mut to) = (client.try_clone()?, there.try_clone()?);
        let sender = std::thread::spawn(move || io::copy(&mut (&mut from).take(left), &mut to));
        let answered = match fate {
            Fate::LoseReply => io::copy(&mut there, &mut io::sink()).map(drop),
            Fate::Cut(most) => io::copy(&mut (&mut there).take(most), &mut client).map(drop),
            Fate::Slow(pause) => slowly(&mut there, &mut client, pause),
            _ => io::copy(&mut there, &mut client).map(drop),
        };
        client.shutdown(Shutdown::Both)?;
        drop(sender.join());
        answered
    }
}

/// The head of a request, and what came with it of the body.
pub(crate) fn read_head(client: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    const END: &[u8] = b"\r\n\r\n";
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = client.read(&mut buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let from = head.len().saturating_sub(END.len());
        head.extend_from_slice(&buffer[..read]);
        if let Some(at) = head[from..].windows(END.len()).position(|window| window == END) {
            let body = head.split_off(from + at + END.len());
            return Ok(Some((head, body)));
        }
    }
}

fn length_of(head: &str) -> u64 {
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

fn answer(client: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} So\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    client.shutdown(Shutdown::Both)
}

fn discard(client: &mut TcpStream, bytes: u64) -> io::Result<()> {
    io::copy(&mut client.take(bytes), &mut io::sink()).map(drop)
}

fn slowly(from: &mut TcpStream, to: &mut TcpStream, pause: Duration) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        std::thread::sleep(pause);
        to.write_all(&buffer[..read])?;
    }
}
