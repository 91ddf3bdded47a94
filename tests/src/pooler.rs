//! A pooler before a server of PostgreSQL that hands connections out by transaction, as PgBouncer does
//! with `pool_mode = transaction`: the next transaction of a client is on another connection than the
//! one before, and nothing of a session goes with it.
//!
//! Like that, it refuses what it does not know at the start of a session. On purpose not here:
//! passwords, and statements that copy.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Connections to each database.
const CONNECTIONS: usize = 3;
/// What a client may say at the start of a session.
const KNOWN: [&str; 6] = ["user", "database", "application_name", "client_encoding", "DateStyle", "TimeZone"];
/// The first message of a client that would like to encrypt.
const ENCRYPT: u32 = 80_877_103;

/// A pooler that runs until this is dropped.
#[derive(Debug)]
pub struct Pooler {
    /// Where it listens.
    pub port: u16,
    ended: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    /// Connections that no transaction uses, by the database, the one that is next first.
    free: Mutex<BTreeMap<String, VecDeque<TcpStream>>>,
    freed: Condvar,
    transactions: AtomicU64,
}

impl Pooler {
    /// Starts one before a server on loopback that lets its superuser in without a password.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let ended = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            server,
            free: Mutex::default(),
            freed: Condvar::new(),
            transactions: AtomicU64::new(0),
        });
        let (ends, shares) = (Arc::clone(&ended), Arc::clone(&shared));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let shares = Arc::clone(&shares);
                // Whoever goes away is no concern of the others.
                std::thread::spawn(move || drop(serve(client, &shares)));
            }
        });
        Self { port, ended, shared }
    }

    /// How many transactions it has passed on.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::Relaxed)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// Waits for a connection that no transaction uses.
    fn take(&self, database: &str) -> io::Result<TcpStream> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if !free.contains_key(database) {
            let all = (0..CONNECTIONS).map(|_| connect(self.server, database)).collect::<io::Result<_>>()?;
            free.insert(database.to_owned(), all);
        }
        loop {
            if let Some(server) = free.get_mut(database).and_then(VecDeque::pop_front) {
                return Ok(server);
            }
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, database: &str, server: TcpStream) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(database.to_owned()).or_default().push_back(server);
        self.freed.notify_one();
    }
}

/// A message: its letter, and the whole of it.
fn message(from: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut whole = vec![0; 5];
    from.read_exact(&mut whole)?;
    let length = u32::from_be_bytes([whole[1], whole[2], whole[3], whole[4]]) as usize;
    whole.resize(1 + length, 0);
    from.read_exact(&mut whole[5..])?;
    Ok((whole[0], whole))
}

fn framed(letter: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[letter][..], &length.to_be_bytes(), body].concat()
}

/// A session with the server.
fn connect(port: u16, database: &str) -> io::Result<TcpStream> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    server.set_nodelay(true)?;
    let words = format!("user\0{}\0database\0{database}\0\0", crate::postgres::SUPERUSER);
    let body = [&196_608u32.to_be_bytes()[..], words.as_bytes()].concat();
    // The first message has no letter.
    server.write_all(&framed(0, &body)[1..])?;
    loop {
        match message(&mut server)? {
            (b'Z', _) => return Ok(server),
            (b'E', told) => return Err(io::Error::other(String::from_utf8_lossy(&told).into_owned())),
            _ => {}
        }
    }
}

/// What a client says of itself.
fn hello(client: &mut TcpStream) -> io::Result<BTreeMap<String, String>> {
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut body)?;
        let (code, words) = body.split_at(4);
        if code == ENCRYPT.to_be_bytes() {
            client.write_all(b"N")?;
            continue;
        }
        let text = String::from_utf8_lossy(words).into_owned();
        let words: Vec<_> = text.split('\0').filter(|word| !word.is_empty()).collect();
        return Ok(words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect());
    }
}

fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let said = hello(&mut client)?;
    if let Some(unknown) = said.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        let body = format!("SFATAL\0C08P01\0Munsupported startup parameter: {unknown}\0\0");
        return client.write_all(&framed(b'E', body.as_bytes()));
    }
    let database = said.get("database").cloned().unwrap_or_default();
    let welcome = [
        framed(b'R', &[0; 4]),
        framed(b'S', b"server_version\x0015.0\0"),
        framed(b'K', &[0; 8]),
        framed(b'Z', b"I"),
    ];
    client.write_all(&welcome.concat())?;
    let mut held: Option<TcpStream> = None;
    loop {
        let (letter, whole) = message(&mut client)?;
        if letter == b'X' {
            return Ok(());
        }
        let mut server = match held.take() {
            Some(server) => server,
            None => shared.take(&database)?,
        };
        server.write_all(&whole)?;
        let answered = [b'Q', b'S'].contains(&letter);
        let idle = answered && pass_answer(&mut server, &mut client)?;
        if idle {
            shared.transactions.fetch_add(1, Ordering::Relaxed);
            shared.give_back(&database, server);
        } else {
            held = Some(server);
        }
    }
}

/// Passes on what a server says until it waits again; whether it is in no transaction then.
fn pass_answer(server: &mut TcpStream, client: &mut TcpStream) -> io::Result<bool> {
    loop {
        let (letter, whole) = message(server)?;
        client.write_all(&whole)?;
        if letter == b'Z' {
            return Ok(whole.last() == Some(&b'I'));
        }
    }
}
