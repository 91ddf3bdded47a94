//! One connection: opening it, asking, and hearing what comes. Nothing waits for ever.
//!
//! On purpose not here: who is let in ([`super::auth`]), and what a copy holds.

use super::auth;
use super::message::{Asked, Message, take};
use super::tls;
use crate::error::{PgError, ServerError};
use crate::passfile::Secrets;
use crate::url::{Host, Server, TlsMode};
use bytes::{Bytes, BytesMut};
use postgres_protocol::message::frontend;
use rustix::net::sockopt;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Bytes that are asked of the system at a time.
const READ_BYTES: usize = 128 << 10;
/// So long an answer to a question may take.
const ANSWER: Duration = Duration::from_secs(60);
/// A connection that says nothing is asked after this whether it is still there.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(30);
/// So often it is asked, and given up after this many.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_COUNT: u32 = 6;
/// Notices that are kept; of a broken cluster there are many.
const NOTICES_MAX: usize = 1000;
/// Rows of an answer; those of replication have one for each tablespace.
const ROWS_MAX: usize = 100_000;

/// What carries bytes to a server and back.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

/// A table that was answered, as text.
pub(crate) type Table = Vec<Vec<Option<Bytes>>>;

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    Replication,
    /// The same, with a server that would end it when it says nothing for a while.
    PatientReplication,
    /// Statements in a database.
    Sql(String),
    /// The same in a copy, with settings that win over those of its roles and databases.
    Copy(String, &'static str),
}

impl Purpose {
    /// The database, by the name that a password file has for it.
    pub(super) fn database(&self) -> &str {
        match self {
            Self::Replication | Self::PatientReplication => "replication",
            Self::Sql(database) | Self::Copy(database, _) => database,
        }
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Replication => vec![("replication", "true")],
            Self::PatientReplication => {
                vec![("replication", "true"), ("options", "-c idle_session_timeout=0")]
            }
            Self::Sql(database) => vec![("database", database), ("client_encoding", "UTF8")],
            Self::Copy(database, options) => {
                vec![("database", database), ("client_encoding", "UTF8"), ("options", options)]
            }
        }
    }
}

/// A connection to a server.
pub(crate) struct Connection {
    carrier: Box<dyn Carrier>,
    input: BytesMut,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// Which server it is.
    pub(crate) host: Host,
    /// What the server said of itself.
    pub(crate) settings: BTreeMap<String, String>,
    /// What it warned of since somebody took it.
    notices: Vec<ServerError>,
}

/// A way to a server that is open and protected, and what binds a password to it.
pub(super) struct Way {
    pub carrier: Box<dyn Carrier>,
    pub encrypted: bool,
    /// Hash of the server's certificate, if it can be told.
    pub end_point: Option<Vec<u8>>,
}

impl Connection {
    /// Connects to the first server that answers, for replication.
    pub(crate) async fn open(server: &Server, secrets: &Secrets) -> Result<Self, PgError> {
        Self::open_for(server, secrets, &Purpose::Replication).await
    }

    /// Connects to the first server that answers.
    pub(crate) async fn open_for(
        server: &Server,
        secrets: &Secrets,
        purpose: &Purpose,
    ) -> Result<Self, PgError> {
        let mut last = None;
        for host in &server.hosts {
            match Self::open_one(server, host, secrets, purpose).await {
                Ok(connection) => return Ok(connection),
                // Another server may be there; one that answered is not passed over.
                Err(error @ PgError::Io { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| PgError::Refused("the URL names no server".to_owned())))
    }

    /// Connects to the server that another connection has, for the same.
    pub(crate) async fn beside(&self, server: &Server, secrets: &Secrets) -> Result<Self, PgError> {
        self.beside_for(server, secrets, &self.purpose).await
    }

    /// Connects to the server that another connection has.
    pub(crate) async fn beside_for(
        &self,
        server: &Server,
        secrets: &Secrets,
        purpose: &Purpose,
    ) -> Result<Self, PgError> {
        Self::open_one(server, &self.host, secrets, purpose).await
    }

    /// Connects to one of the servers.
    pub(crate) async fn open_one(
        server: &Server,
        host: &Host,
        secrets: &Secrets,
        purpose: &Purpose,
    ) -> Result<Self, PgError> {
        let work = async {
            let way = way_to(server, host).await?;
            let mut connection = Self {
                carrier: way.carrier,
                input: BytesMut::new(),
                purpose: purpose.clone(),
                host: host.clone(),
                settings: BTreeMap::new(),
                notices: Vec::new(),
            };
            let mut parameters = vec![("user", server.user.as_str()), ("application_name", "holdfast")];
            parameters.extend(purpose.parameters());
            connection.say(|out| frontend::startup_message(parameters, out)).await?;
            let bound = auth::Bound { encrypted: way.encrypted, end_point: way.end_point };
            auth::convince(&mut connection, server, secrets, bound).await?;
            connection.wait_until_ready().await?;
            Ok(connection)
        };
        let slow = || failed(host, "connect to", io::ErrorKind::TimedOut.into());
        timeout(server.connect, work).await.unwrap_or_else(|_| Err(slow()))
    }

    /// A connection that is open already, by whatever carries it.
    #[cfg(test)]
    pub(crate) fn over(carrier: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let host = Host { name: "test".to_owned(), port: 1 };
        let (input, settings) = (BytesMut::new(), BTreeMap::new());
        let purpose = Purpose::Replication;
        Self { carrier: Box::new(carrier), input, host, purpose, settings, notices: Vec::new() }
    }

    async fn wait_until_ready(&mut self) -> Result<(), PgError> {
        loop {
            match self.receive(ANSWER).await? {
                Message::Ready => return Ok(()),
                Message::Error(error) => return Err(refused("log in", error)),
                Message::Other(_) => {}
                other => return Err(unexpected("after the login", &other)),
            }
        }
    }

    /// Receives the next step of the login.
    pub(super) async fn asked(&mut self) -> Result<Asked, PgError> {
        loop {
            match self.receive(ANSWER).await? {
                Message::Authentication(asked) => return Ok(asked),
                Message::Error(error) => return Err(refused("log in", error)),
                // A server of another version of the protocol says so.
                Message::Other(b'v') => {}
                other => return Err(unexpected("in the login", &other)),
            }
        }
    }

    /// Sends what `write` writes.
    pub(crate) async fn say(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), PgError> {
        let mut output = BytesMut::new();
        let host = self.host.clone();
        write(&mut output).map_err(|error| failed(&host, "write to", error))?;
        let work = async {
            self.carrier.write_all(&output).await?;
            self.carrier.flush().await
        };
        let sent = timeout(ANSWER, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        sent.map_err(|error| failed(&host, "write to", error))
    }

    /// Sends a command; the answer is for the caller to receive.
    pub(crate) async fn command(&mut self, text: &str) -> Result<(), PgError> {
        self.say(|out| frontend::query(text, out)).await
    }

    /// Receives the next message that is no notice. A future that is dropped loses nothing.
    pub(crate) async fn receive(&mut self, patience: Duration) -> Result<Message, PgError> {
        loop {
            match take(&mut self.input)? {
                Some(Message::Setting(name, value)) => drop(self.settings.insert(name, value)),
                Some(Message::Notice(notice)) => {
                    if self.notices.len() < NOTICES_MAX {
                        self.notices.push(*notice);
                    }
                }
                Some(message) => return Ok(message),
                None => self.fill(patience).await?,
            }
        }
    }

    async fn fill(&mut self, patience: Duration) -> Result<(), PgError> {
        self.input.reserve(READ_BYTES);
        let reading = timeout(patience, self.carrier.read_buf(&mut self.input)).await;
        match reading.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(0) => Err(failed(&self.host, "read from", io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(&self.host, "read from", error)),
        }
    }

    /// The error of a server that does not answer any more.
    pub(crate) fn silent(&self) -> PgError {
        failed(&self.host, "read from", io::ErrorKind::TimedOut.into())
    }

    /// Takes what the server warned of.
    pub(crate) fn take_notices(&mut self) -> Vec<ServerError> {
        std::mem::take(&mut self.notices)
    }

    /// The error of a server that takes leave.
    pub(crate) fn gone(&self) -> PgError {
        failed(&self.host, "read from", io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks, and receives the tables that are the answer.
    pub(crate) async fn ask(&mut self, text: &str) -> Result<Vec<Table>, PgError> {
        self.ask_within(text, ANSWER).await
    }

    /// The same, of something that takes its time.
    pub(crate) async fn ask_within(&mut self, text: &str, patience: Duration) -> Result<Vec<Table>, PgError> {
        self.command(text).await?;
        self.answer_within(text, patience).await
    }

    /// Receives the tables that are the answer to something.
    pub(crate) async fn answer(&mut self, text: &str) -> Result<Vec<Table>, PgError> {
        self.answer_within(text, ANSWER).await
    }

    async fn answer_within(&mut self, text: &str, patience: Duration) -> Result<Vec<Table>, PgError> {
        let (mut tables, mut error, mut rows) = (Vec::new(), None, 0);
        loop {
            match self.receive(patience).await? {
                Message::Columns(_) => tables.push(Table::new()),
                Message::Row(row) if rows < ROWS_MAX => {
                    rows += 1;
                    let table = tables.last_mut();
                    table.ok_or_else(|| PgError::protocol("a row without columns"))?.push(row);
                }
                Message::Error(found) => error = Some(refused(text, found)),
                Message::Complete | Message::Other(_) => {}
                Message::Ready => return error.map_or(Ok(tables), Err),
                other => return Err(unexpected(text, &other)),
            }
        }
    }

    /// Asks for one value; none if there is none, or it is not for us to know.
    pub(crate) async fn show(&mut self, name: &str) -> Result<Option<String>, PgError> {
        match self.ask(&format!("SHOW {name}")).await {
            Ok(tables) => Ok(tables.first().and_then(|table| table.first()).and_then(|row| text_of(row, 0))),
            Err(PgError::Server { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes leave.
    pub(crate) async fn close(mut self) {
        // It is at an end either way.
        let leave = |out: &mut BytesMut| {
            frontend::terminate(out);
            Ok(())
        };
        let _ = self.say(leave).await;
    }
}

/// A value of a row.
pub(crate) fn text_of(row: &[Option<Bytes>], column: usize) -> Option<String> {
    let value = row.get(column)?.as_ref()?;
    String::from_utf8(value.to_vec()).ok()
}

/// What the server said no to.
pub(crate) fn refused(what: &str, error: Box<ServerError>) -> PgError {
    PgError::Server { what: format!("the server did not {}", asked_for(what)), error }
}

fn asked_for(text: &str) -> String {
    if text == "log in" { "let us in".to_owned() } else { format!("do {text}") }
}

pub(crate) fn unexpected(when: &str, message: &Message) -> PgError {
    let name = format!("{message:?}");
    let name = name.split(['(', ' ']).next().unwrap_or_default();
    PgError::protocol(format!("{when}: {name}"))
}

pub(super) fn failed(host: &Host, what: &str, source: io::Error) -> PgError {
    let source = match source.kind() {
        io::ErrorKind::TimedOut => io::Error::new(source.kind(), "it does not answer"),
        io::ErrorKind::UnexpectedEof => io::Error::new(source.kind(), "it closed the connection"),
        _ => source,
    };
    PgError::Io { what: format!("cannot {what} the server at {host}"), source }
}

/// Opens the way to a server.
async fn way_to(server: &Server, host: &Host) -> Result<Way, PgError> {
    let fail = |error: io::Error| failed(host, "connect to", error);
    if host.is_socket() {
        let path = Path::new(&host.name).join(format!(".s.PGSQL.{}", host.port));
        let carrier = Box::new(UnixStream::connect(path).await.map_err(fail)?);
        return Ok(Way { carrier, encrypted: false, end_point: None });
    }
    let mut stream = TcpStream::connect((host.name.as_str(), host.port)).await.map_err(fail)?;
    stay_awake(&stream).map_err(fail)?;
    let mode = server.tls_for(host);
    if mode == TlsMode::Disable {
        return Ok(Way { carrier: Box::new(stream), encrypted: false, end_point: None });
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(fail)?;
    // One byte and no more: what follows it in clear is not from the server.
    match stream.read_u8().await.map_err(fail)? {
        b'S' => tls::protect(server, host, mode, stream).await,
        b'N' if mode == TlsMode::Prefer => {
            Ok(Way { carrier: Box::new(stream), encrypted: false, end_point: None })
        }
        b'N' => Err(PgError::Refused(format!(
            "the server at {host} offers no encryption: set ssl = on there, or state sslmode=disable"
        ))),
        _ => Err(PgError::protocol(format!("{host} does not answer as a server of PostgreSQL does"))),
    }
}

fn stay_awake(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE_COUNT)?;
    Ok(())
}
