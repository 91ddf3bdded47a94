//! Where the catalog lies: a file, or a database of a server of PostgreSQL.
//!
//! A server is named as libpq has it, as far as one server is concerned; what is not understood is
//! refused by name. On purpose not here: passwords, which no URL may hold, and where they come from.

use super::CatalogError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The port if none is stated.
const PORT: u16 = 5432;
/// Where Debian's servers have their socket.
const SOCKET_FOLDER: &str = "/var/run/postgresql";
/// So long a server may take to answer a connection.
const CONNECT_SECONDS: u64 = 15;

/// Where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, which one host uses.
    File(PathBuf),
    /// In a database that hosts share.
    Server(Server),
}

/// How the way to a server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Not at all.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted; to whom is not asked.
    Require,
    /// Encrypted, to somebody whom a known authority vouches for.
    VerifyCa,
    /// Encrypted, to the host of this name.
    VerifyFull,
}

/// A database of a server, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name, an address, or the folder of its socket.
    pub host: String,
    /// Its port; a socket's name has it too.
    pub port: u16,
    /// Who asks.
    pub user: String,
    /// The database.
    pub database: String,
    pub(super) tls: Option<TlsMode>,
    /// Who vouches for the server, beside the authorities that everybody knows.
    pub(super) roots: Option<PathBuf>,
    /// A certificate of ours and its key.
    pub(super) own: Option<(PathBuf, PathBuf)>,
    pub(super) connect: Duration,
    pub(super) password: Option<Password>,
}

/// A password, which nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Password(pub(super) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Place {
    /// The place that a text means: a path, `sqlite://path`, or `postgres://user@host/database`. The
    /// second value is who asks if it does not say.
    ///
    /// # Errors
    /// It is the URL of something else, cannot be understood, or holds a password.
    pub fn parse(text: &str, user: &str) -> Result<Self, CatalogError> {
        match text.split_once("://") {
            None => Ok(Self::File(text.strip_prefix("sqlite:").unwrap_or(text).into())),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("postgres" | "postgresql", rest)) => Ok(Self::Server(server(rest, user)?)),
            // The rest may hold a password.
            Some((scheme, _)) => Err(CatalogError::NotSupported { scheme: scheme.to_owned() }),
        }
    }

    /// The server, if it lies on one.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        match self {
            Self::File(_) => None,
            Self::Server(server) => Some(server),
        }
    }

    /// The same place, with the password that lets us in; of a file it changes nothing.
    #[must_use]
    pub fn with_password(mut self, password: Option<String>) -> Self {
        if let Self::Server(server) = &mut self {
            server.password = password.map(Password);
        }
        self
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for Place {
    /// As a person would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(server) => server.fmt(f),
        }
    }
}

impl fmt::Display for Server {
    /// Without a password and without options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, user, database, .. } = self;
        match host {
            host if host.starts_with('/') => {
                write!(f, "postgres://{user}@/{database}?host={host}&port={port}")
            }
            host if host.contains(':') => write!(f, "postgres://{user}@[{host}]:{port}/{database}"),
            _ => write!(f, "postgres://{user}@{host}:{port}/{database}"),
        }
    }
}

impl Server {
    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// How the way to it is protected. Off this machine a name is not believed without a proof.
    pub(super) fn tls(&self) -> TlsMode {
        let is_loopback =
            self.host == "localhost" || self.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        match self.tls {
            _ if self.is_socket() => TlsMode::Disable,
            Some(mode) => mode,
            None if is_loopback => TlsMode::Prefer,
            None => TlsMode::VerifyFull,
        }
    }
}

fn malformed(why: impl Into<String>) -> CatalogError {
    CatalogError::Malformed { why: why.into() }
}

/// Reads what stands behind `postgres://`.
fn server(rest: &str, user: &str) -> Result<Server, CatalogError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    // First of all, so that nothing of it stands in another message.
    let is_password = |pair: &str| ["password=", "sslpassword="].iter().any(|name| pair.starts_with(name));
    if who.contains(':') || query.split('&').any(is_password) {
        return Err(CatalogError::Password);
    }
    let mut draft = Draft { user: decoded(who)?, database: decoded(database)?, ..Draft::default() };
    draft.host(host)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| malformed(format!("{pair} has no value")))?;
        draft.option(name, decoded(value)?)?;
    }
    draft.finish(user)
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    host: String,
    port: Option<u16>,
    user: String,
    database: String,
    tls: Option<TlsMode>,
    roots: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    connect: Option<u64>,
}

impl Draft {
    fn host(&mut self, text: &str) -> Result<(), CatalogError> {
        if text.contains(',') {
            let why = "it names several servers: name one, by a name or an address that follows the primary";
            return Err(malformed(why));
        }
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, port)) => {
                let port = port.strip_prefix(':').ok_or_else(|| malformed("a port follows a colon"))?;
                (name, Some(port))
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        self.host = decoded(name)?;
        self.port = port.map(port_of).transpose()?;
        Ok(())
    }

    fn option(&mut self, name: &str, value: String) -> Result<(), CatalogError> {
        let odd = || malformed(format!("{name} cannot be {value}"));
        match name {
            "host" if value.contains(',') => return self.host(&value),
            "host" => self.host = value,
            "port" => self.port = Some(port_of(&value)?),
            "user" => self.user = value,
            "dbname" => self.database = value,
            "sslmode" => self.tls = Some(tls_mode(&value).ok_or_else(odd)?),
            "sslrootcert" if value == "system" => {
                let why = "sslrootcert=system is not known here: public authorities are believed without it; of \
                           others name the file, as sslrootcert=/etc/ssl/certs/ca-certificates.crt";
                return Err(malformed(why));
            }
            "sslrootcert" if !value.is_empty() => self.roots = Some(value.into()),
            "sslcert" if !value.is_empty() => self.cert = Some(value.into()),
            "sslkey" if !value.is_empty() => self.key = Some(value.into()),
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                self.connect = Some(seconds.ok_or_else(odd)?);
            }
            _ => return Err(malformed(format!("the option {name} is not known"))),
        }
        Ok(())
    }

    fn finish(self, user: &str) -> Result<Server, CatalogError> {
        let host = if self.host.is_empty() { SOCKET_FOLDER.to_owned() } else { self.host };
        let user = if self.user.is_empty() { user.to_owned() } else { self.user };
        // As libpq has it.
        let database = if self.database.is_empty() { user.clone() } else { self.database };
        if user.is_empty() {
            return Err(malformed("it does not say who asks: write postgres://USER@HOST/DATABASE"));
        }
        if [&host, &user, &database].iter().any(|name| name.contains('\0')) {
            return Err(malformed("a name in it has a zero byte"));
        }
        let own = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(malformed("sslcert and sslkey are of use together only")),
        };
        Ok(Server {
            host,
            port: self.port.unwrap_or(PORT),
            user,
            database,
            tls: self.tls,
            roots: self.roots,
            own,
            connect: Duration::from_secs(self.connect.unwrap_or(CONNECT_SECONDS)),
            password: None,
        })
    }
}

fn port_of(text: &str) -> Result<u16, CatalogError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| malformed("what follows the host is no port; in a user or host name : is written %3A"))
}

fn tls_mode(text: &str) -> Option<TlsMode> {
    Some(match text {
        "disable" => TlsMode::Disable,
        "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => return None,
    })
}

fn decoded(text: &str) -> Result<String, CatalogError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        out.push(value.ok_or_else(|| malformed("two hexadecimal digits follow a %"))?);
    }
    String::from_utf8(out).map_err(|_| malformed("a part of it is no text"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn of(text: &str) -> Server {
        match Place::parse(text, "me").unwrap() {
            Place::Server(server) => server,
            Place::File(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn files() {
        let file = |text: &str| Place::parse(text, "").unwrap();
        assert_eq!(file("/var/lib/catalog.db"), Place::File("/var/lib/catalog.db".into()));
        assert_eq!(file("sqlite:///var/c.db"), Place::File("/var/c.db".into()));
        assert_eq!(file("sqlite://c.db"), Place::File("c.db".into()));
        assert_eq!(file("sqlite:c.db"), Place::File("c.db".into()));
    }

    #[test]
    fn servers() {
        for (text, shown) in [
            ("postgres://u@db1/shop", "postgres://u@db1:5432/shop"),
            ("postgresql://u@db1:6000", "postgres://u@db1:6000/u"),
            ("postgres://[::1]:1/x", "postgres://me@[::1]:1/x"),
            ("postgres:///x?host=/tmp/s&port=6001", "postgres://me@/x?host=/tmp/s&port=6001"),
            ("postgres://", "postgres://me@/me?host=/var/run/postgresql&port=5432"),
            ("postgres://h?user=a&dbname=b%20c", "postgres://a@h:5432/b c"),
        ] {
            assert_eq!(of(text).to_string(), shown);
        }
        let server = of("postgres://h?sslrootcert=/r&sslcert=/c&sslkey=/k&connect_timeout=3");
        assert_eq!((server.roots, server.own), (Some("/r".into()), Some(("/c".into(), "/k".into()))));
        assert_eq!(server.connect, Duration::from_secs(3));
    }

    #[test]
    fn the_way_is_protected_unless_it_stays_on_this_machine() {
        let mode = |text: &str| of(text).tls();
        assert_eq!(mode("postgres://db1"), TlsMode::VerifyFull);
        assert_eq!(mode("postgres://localhost"), TlsMode::Prefer);
        assert_eq!(mode("postgres://127.0.0.1"), TlsMode::Prefer);
        assert_eq!(mode("postgres:///?sslmode=require"), TlsMode::Disable);
        assert_eq!(mode("postgres://db1?sslmode=require"), TlsMode::Require);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_a_password_is_never_shown() {
        for text in
            ["postgres://u:secret@h", "postgres://h?password=secret", "postgres://a,b?x&sslpassword=secret"]
        {
            let error = Place::parse(text, "u").unwrap_err();
            assert!(matches!(error, CatalogError::Password), "{text}: {error}");
        }
        for text in [
            "mysql://me:secret@x",
            "sqlite://",
            "postgres://h:secret",
            "postgres://a,b",
            "postgres://h?host=a,b",
            "postgres://h?sslmode=allow",
            "postgres://h?unknown=1",
            "postgres://h?sslmode",
            "postgres://h?sslcert=/c",
            "postgres://h?connect_timeout=0",
            "postgres://%zz",
            "postgres://h?sslrootcert=system",
            "postgres://h:0",
        ] {
            let error = Place::parse(text, "u").unwrap_err().to_string();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        assert!(Place::parse("postgres://h", "").is_err());
        let place = Place::parse("postgres://h", "u").unwrap().with_password(Some("secret".into()));
        assert!(!format!("{place:?} {place}").contains("secret"));
    }
}
