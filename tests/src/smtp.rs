//! A mail server on loopback that speaks as much of SMTP as mails need: `EHLO`, `STARTTLS`, `AUTH PLAIN`,
//! `MAIL`, `RCPT`, `DATA`.
//!
//! On purpose not here: delivering anything; TLS from the first byte on, which `tls` puts before it.

use crate::tls::{acceptor, listen};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// How a server behaves.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Whether it offers `STARTTLS`.
    pub upgrades: bool,
    /// Who may log in: user and password. Without one nobody has to.
    pub login: Option<(String, String)>,
    /// What it says to `RCPT` instead of 250.
    pub refuses: Option<u16>,
}

/// A mail that came.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// From whom, as the envelope has it.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// Headers and text.
    pub text: String,
    /// Whether it came encrypted by `STARTTLS`.
    pub upgraded: bool,
    /// Whether whoever sent it had logged in.
    pub logged_in: bool,
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Smtp {
    port: u16,
    authority: String,
    mails: Arc<Mutex<Vec<Received>>>,
    refused: Arc<Mutex<BTreeMap<String, u16>>>,
    runtime: Option<Runtime>,
}

impl Smtp {
    /// Starts one.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(manners: Manners) -> Self {
        let (acceptor, authority) = acceptor();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (listener, port) = listen();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let refused = Arc::default();
        let server = Server { manners, acceptor, mails: Arc::clone(&mails), refused: Arc::clone(&refused) };
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a socket");
            while let Ok((client, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.greet(client).await });
            }
        });
        Self { port, authority, mails, refused, runtime: Some(runtime) }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority behind its `STARTTLS`, in PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What it says to `RCPT` of these mailboxes from now on; it takes mail for all others.
    pub fn refuses(&self, mailboxes: &[(&str, u16)]) {
        let refused = mailboxes.iter().map(|(mailbox, code)| ((*mailbox).to_owned(), *code)).collect();
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// What came so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Received> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Server {
    manners: Manners,
    acceptor: TlsAcceptor,
    mails: Arc<Mutex<Vec<Received>>>,
    refused: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Server {
    async fn greet(&self, client: TcpStream) -> Option<()> {
        let mut client = BufReader::new(client);
        client.write_all(b"220 here\r\n").await.ok()?;
        if self.talk(&mut client, false).await? {
            let client = self.acceptor.accept(client.into_inner()).await.ok()?;
            self.talk(&mut BufReader::new(client), true).await?;
        }
        Some(())
    }

    /// Talks until the end; whether the way is to be encrypted from here on.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut BufReader<S>,
        upgraded: bool,
    ) -> Option<bool> {
        let mut mail = Received { upgraded, ..Received::default() };
        loop {
            let mut line = String::new();
            if client.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let answer = match word.as_str() {
                "EHLO" => self.offers(upgraded),
                "STARTTLS" if self.manners.upgrades && !upgraded => {
                    client.write_all(b"220 go on\r\n").await.ok()?;
                    return Some(true);
                }
                "AUTH" => {
                    mail.logged_in = self.may_enter(line);
                    if mail.logged_in { "235 welcome\r\n" } else { "535 no\r\n" }.to_owned()
                }
                "MAIL" if self.manners.login.is_some() && !mail.logged_in => {
                    "530 log in first\r\n".to_owned()
                }
                "MAIL" => {
                    mail.from = address(line);
                    "250 well\r\n".to_owned()
                }
                "RCPT" => match self.manners.refuses.or_else(|| self.refusal(&address(line))) {
                    Some(code) => format!("{code} no\r\n"),
                    None => {
                        mail.to.push(address(line));
                        "250 well\r\n".to_owned()
                    }
                },
                "DATA" => {
                    client.write_all(b"354 go on\r\n").await.ok()?;
                    mail.text = read_text(client).await?;
                    let done = std::mem::take(&mut mail);
                    (mail.upgraded, mail.logged_in) = (done.upgraded, done.logged_in);
                    self.mails.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                    "250 taken\r\n".to_owned()
                }
                "QUIT" => {
                    client.write_all(b"221 bye\r\n").await.ok()?;
                    return Some(false);
                }
                _ => "250 well\r\n".to_owned(),
            };
            client.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn refusal(&self, mailbox: &str) -> Option<u16> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(mailbox).copied()
    }

    fn offers(&self, upgraded: bool) -> String {
        let mut offers = vec!["here", "8BITMIME"];
        if self.manners.upgrades && !upgraded {
            offers.push("STARTTLS");
        }
        if self.manners.login.is_some() {
            offers.push("AUTH PLAIN");
        }
        let last = offers.pop().unwrap_or_default();
        offers.iter().map(|one| format!("250-{one}\r\n")).collect::<String>() + &format!("250 {last}\r\n")
    }

    fn may_enter(&self, line: &str) -> bool {
        let given = line.rsplit(' ').next().unwrap_or_default();
        let wanted = self.manners.login.as_ref().map(|(user, password)| plain(user, password));
        wanted.as_deref() == Some(given)
    }
}

/// `AUTH PLAIN` of a user and a password, in Base64.
fn plain(user: &str, password: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = format!("\0{user}\0{password}").into_bytes();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place)) as usize & 63];
            text.push(if place > three.len() { '=' } else { letter.into() });
        }
    }
    text
}

fn address(line: &str) -> String {
    let inside = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or("", |(address, _)| address).to_owned()
}

async fn read_text<S: AsyncRead + AsyncWrite + Unpin>(client: &mut BufReader<S>) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == ".\r\n" {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}
