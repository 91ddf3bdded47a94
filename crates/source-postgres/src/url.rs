//! The URL of a cluster: where its servers are, who asks, and how the way there is protected.
//!
//! It is written as libpq has it. What is not understood is refused by name. On purpose not here:
//! passwords, which no URL may hold.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The port if none is stated.
const PORT: u16 = 5432;
/// Where Debian's servers have their socket.
const SOCKET_FOLDER: &str = "/var/run/postgresql";
/// So long a server may take to answer a connection.
const CONNECT_SECONDS: u64 = 15;

/// Why a text is no URL of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It holds a password.
    #[error("there is a password in the URL, where everybody can see it")]
    Password,
    /// It names a database, and a physical backup is of all of them.
    #[error(
        "it names the database {0}: physical backup is always the whole cluster; for one database add --logical"
    )]
    Database(String),
    /// It is not written as it should be.
    #[error("{0}")]
    Malformed(String),
}

/// How the way to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
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

/// Whether the password proves that nobody sits in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    Disable,
    Prefer,
    Require,
}

/// Whom to believe about certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Roots {
    System,
    File(PathBuf),
}

/// One server, or the folder of its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name or address, or an absolute path.
    pub name: String,
    /// Its port; a socket's name has it too.
    pub port: u16,
}

impl Host {
    /// Whether it is reached by a socket of this machine.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// A cluster, as it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its servers, tried in this order.
    pub hosts: Vec<Host>,
    /// Who asks.
    pub user: String,
    pub(crate) tls: Option<TlsMode>,
    pub(crate) roots: Roots,
    pub(crate) binding: Binding,
    pub(crate) connect: Duration,
}

impl Server {
    /// As a person would write it to name one of its databases.
    #[must_use]
    pub fn with_database(&self, name: &str) -> String {
        let shown = self.to_string();
        match shown.split_once("/?") {
            Some((before, after)) => format!("{before}/{}?{after}", encoded(name)),
            None => format!("{shown}/{}", encoded(name)),
        }
    }

    /// How the way to one of its servers is protected. Off this machine a name is not believed
    /// without a proof.
    pub(crate) fn tls_for(&self, host: &Host) -> TlsMode {
        match self.tls {
            _ if host.is_socket() => TlsMode::Disable,
            Some(mode) => mode,
            None if host.is_loopback() => TlsMode::Prefer,
            None => TlsMode::VerifyFull,
        }
    }
}

impl fmt::Display for Server {
    /// As a person would write it, without options.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hosts.first() {
            Some(host) if host.is_socket() => {
                write!(f, "postgres://{}@/?host={}&port={}", self.user, host.name, host.port)
            }
            _ => {
                let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
                write!(f, "postgres://{}@{}", self.user, hosts.join(","))
            }
        }
    }
}

fn malformed(what: impl Into<String>) -> UrlError {
    UrlError::Malformed(what.into())
}

/// Reads the URL of a cluster; the second value is who asks if it does not say.
///
/// # Errors
/// It cannot be understood, names a single database, or holds a password.
pub fn parse(text: &str, user: &str) -> Result<Server, UrlError> {
    match parse_with_database(text, user)? {
        (server, None) => Ok(server),
        (_, Some(database)) => Err(UrlError::Database(database)),
    }
}

/// The same of a URL that may name a database.
///
/// # Errors
/// It cannot be understood, or holds a password.
pub fn parse_with_database(text: &str, user: &str) -> Result<(Server, Option<String>), UrlError> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| malformed("it does not begin with postgres://"))?;
    if rest.contains('#') {
        return Err(malformed("it has a part after #"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, hosts) = authority.rsplit_once('@').map_or(("", authority), |(who, hosts)| (who, hosts));
    if who.contains(':') {
        return Err(UrlError::Password);
    }
    let mut draft = Draft { user: decoded(who)?, database: decoded(database)?, ..Draft::default() };
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        draft.host(host)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| malformed(format!("{pair} has no value")))?;
        draft.option(name, decoded(value)?)?;
    }
    let database = std::mem::take(&mut draft.database);
    if database.contains('\0') {
        return Err(malformed("no database has such a name"));
    }
    Ok((draft.finish(user)?, Some(database).filter(|database| !database.is_empty())))
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    user: String,
    /// The database that is named; empty if none is.
    database: String,
    hosts: Vec<(String, Option<u16>)>,
    ports: Vec<u16>,
    tls: Option<TlsMode>,
    roots: Option<Roots>,
    binding: Option<Binding>,
    connect: Option<u64>,
}

impl Draft {
    fn host(&mut self, text: &str) -> Result<(), UrlError> {
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, port)) => {
                let port = port.strip_prefix(':').ok_or_else(|| malformed("a port follows a colon"))?;
                (name, Some(port))
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        self.hosts.push((decoded(name)?, port.map(port_of).transpose()?));
        Ok(())
    }

    fn option(&mut self, name: &str, value: String) -> Result<(), UrlError> {
        let odd = || malformed(format!("{name} cannot be {value}"));
        match name {
            "host" => self.hosts = value.split(',').map(|host| (host.to_owned(), None)).collect(),
            "port" => self.ports = value.split(',').map(port_of).collect::<Result<_, _>>()?,
            "user" => self.user = value,
            "sslmode" => self.tls = Some(tls_mode(&value).ok_or_else(odd)?),
            "sslrootcert" if value == "system" => self.roots = Some(Roots::System),
            "sslrootcert" if !value.is_empty() => self.roots = Some(Roots::File(value.into())),
            "channel_binding" => {
                self.binding = Some(match value.as_str() {
                    "disable" => Binding::Disable,
                    "prefer" => Binding::Prefer,
                    "require" => Binding::Require,
                    _ => return Err(odd()),
                });
            }
            "connect_timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                self.connect = Some(seconds.ok_or_else(odd)?);
            }
            "password" | "sslpassword" => return Err(UrlError::Password),
            "dbname" => self.database = value,
            _ => return Err(malformed(format!("the option {name} is not known"))),
        }
        Ok(())
    }

    fn finish(self, user: &str) -> Result<Server, UrlError> {
        let hosts = if self.hosts.is_empty() { vec![(SOCKET_FOLDER.to_owned(), None)] } else { self.hosts };
        if self.ports.len() > 1 && self.ports.len() != hosts.len() {
            return Err(malformed("there are more or fewer ports than hosts"));
        }
        let default = |at: usize| self.ports.get(at).or(self.ports.first()).copied().unwrap_or(PORT);
        let hosts = hosts.into_iter().enumerate();
        let hosts: Vec<_> = hosts
            .map(|(at, (name, port))| Host { name, port: port.unwrap_or_else(|| default(at)) })
            .collect();
        if hosts.iter().any(|host| host.name.is_empty() || host.name.contains('\0')) {
            return Err(malformed("a host has no name"));
        }
        let user = if self.user.is_empty() { user.to_owned() } else { self.user };
        if user.is_empty() || user.contains('\0') {
            return Err(malformed("it does not say who asks: write postgres://USER@HOST"));
        }
        Ok(Server {
            hosts,
            user,
            tls: self.tls,
            roots: self.roots.unwrap_or(Roots::System),
            binding: self.binding.unwrap_or(Binding::Prefer),
            connect: Duration::from_secs(self.connect.unwrap_or(CONNECT_SECONDS)),
        })
    }
}

fn port_of(text: &str) -> Result<u16, UrlError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| malformed(format!("{text} is no port; in a user or host name : is written %3A")))
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

/// A name as a URL has it.
/// The URL of a server by the folder of its socket.
pub(crate) fn socket_url(user: &str, folder: &str, port: u16) -> String {
    format!("postgres://{}@/?host={}&port={port}", encoded(user), encoded(folder))
}

fn encoded(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let one = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(one).collect()
}

fn decoded(text: &str) -> Result<String, UrlError> {
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

    fn hosts(text: &str) -> Vec<String> {
        parse(text, "me").unwrap().hosts.iter().map(Host::to_string).collect()
    }

    #[test]
    fn hosts_ports_and_sockets() {
        assert_eq!(hosts("postgres://u@db1"), ["db1:5432"]);
        assert_eq!(hosts("postgresql://u@db1:6000,db2/?port=7000"), ["db1:6000", "db2:7000"]);
        assert_eq!(hosts("postgres://[::1]:1"), ["[::1]:1"]);
        assert_eq!(hosts("postgres:///?host=/tmp/x&port=6001"), ["/tmp/x:6001"]);
        assert_eq!(hosts("postgres://%2Ftmp%2Fx"), ["/tmp/x:5432"]);
        assert_eq!(hosts("postgres://"), ["/var/run/postgresql:5432"]);
        let server = parse("postgres:///?host=/tmp/x&port=6001", "me").unwrap();
        assert_eq!(server.to_string(), "postgres://me@/?host=/tmp/x&port=6001");
        assert_eq!(parse(&server.to_string(), "other").unwrap(), server);
        assert_eq!(parse("postgres://a%40b@h", "").unwrap().user, "a@b");
    }

    #[test]
    fn the_way_is_protected_unless_it_stays_on_this_machine() {
        let mode = |text: &str| {
            let server = parse(text, "u").unwrap();
            server.tls_for(&server.hosts[0])
        };
        assert_eq!(mode("postgres://db1"), TlsMode::VerifyFull);
        assert_eq!(mode("postgres://localhost"), TlsMode::Prefer);
        assert_eq!(mode("postgres://127.0.0.1"), TlsMode::Prefer);
        assert_eq!(mode("postgres:///?sslmode=require"), TlsMode::Disable);
        assert_eq!(mode("postgres://db1?sslmode=require"), TlsMode::Require);
    }

    #[test]
    fn no_password_and_no_database() {
        for text in ["postgres://u:p@h", "postgres://h?password=x", "postgres://u:@h"] {
            assert_eq!(parse(text, "u").unwrap_err(), UrlError::Password, "{text}");
        }
        assert_eq!(parse("postgres://h/shop", "u").unwrap_err(), UrlError::Database("shop".into()));
        assert_eq!(parse("postgres://h?dbname=shop", "u").unwrap_err(), UrlError::Database("shop".into()));
    }

    #[test]
    fn a_database_is_named_where_one_may_be() {
        let named = |text: &str| parse_with_database(text, "u").unwrap();
        assert_eq!(named("postgres://h").1, None);
        assert_eq!(named("postgres://h/shop").1.as_deref(), Some("shop"));
        assert_eq!(named("postgres:///?host=/tmp&dbname=a%20b").1.as_deref(), Some("a b"));
        for text in ["postgres://u@h:1", "postgres:///?host=/tmp/x&port=6001"] {
            let server = parse(text, "u").unwrap();
            let again = named(&server.with_database("a/b?c=d é"));
            assert_eq!(again, (server, Some("a/b?c=d é".to_owned())));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "mysql://h",
            "postgres://h:0",
            "postgres://h:x",
            "postgres://h?sslmode=maybe",
            "postgres://h?unknown=1",
            "postgres://h?sslmode",
            "postgres://h?connect_timeout=0",
            "postgres://a,b?port=1,2,3",
            "postgres://%zz",
            "postgres://h?host=",
            "postgres://h#x",
        ] {
            assert!(matches!(parse(text, "u"), Err(UrlError::Malformed(_))), "{text}");
        }
        assert!(parse("postgres://h", "").is_err());
    }
}
