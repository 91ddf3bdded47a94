//! The password for a server, handed in or looked up in a password file.
//!
//! The rules are those of libpq. On purpose not here: reading that file, and the environment.

use crate::url::Host;
use std::fmt;
use zeroize::Zeroizing;

/// What lets us in, as far as it was given.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The password for whatever server asks.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// What the password file holds.
    pub passfile: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// How libpq calls the folder of sockets in such a file.
const DEFAULT_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

impl Secrets {
    /// The password for a user of a database; that of replication is called `replication`.
    #[must_use]
    pub fn password_for(&self, host: &Host, database: &str, user: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.password.clone().or_else(|| {
            let passfile = self.passfile.as_ref()?;
            passfile.split(|&byte| byte == b'\n').find_map(|line| password_in(line, host, database, user))
        })
    }
}

/// The password of a line `host:port:database:user:password`, if the line is about this server.
fn password_in(line: &[u8], host: &Host, database: &str, user: &str) -> Option<Zeroizing<Vec<u8>>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let mut rest = line;
    let mut fields = [const { Vec::new() }; 4];
    for field in &mut fields {
        (*field, rest) = field_of(rest)?;
    }
    let is = |field: &[u8], value: &str| field == b"*" || field == value.as_bytes();
    let local = || DEFAULT_FOLDERS.contains(&host.name.as_str()) && fields[0] == b"localhost";
    let right = (is(&fields[0], &host.name) || local())
        && is(&fields[1], &host.port.to_string())
        && is(&fields[2], database)
        && is(&fields[3], user);
    right.then(|| Zeroizing::new(unescaped(rest)))
}

/// Takes a field and the colon after it.
fn field_of(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut at = 0;
    while at < line.len() && line[at] != b':' {
        at += if line[at] == b'\\' { 2 } else { 1 };
    }
    (at < line.len()).then(|| (unescaped(&line[..at]), &line[at + 1..]))
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter().peekable();
    while let Some(&byte) = bytes.next() {
        let escaped = byte == b'\\' && bytes.peek().is_some();
        out.push(if escaped { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(file: &str, name: &str, port: u16, user: &str) -> Option<String> {
        let secrets = Secrets { password: None, passfile: Some(Zeroizing::new(file.as_bytes().to_vec())) };
        let found = secrets.password_for(&Host { name: name.into(), port }, "replication", user);
        found.map(|found| String::from_utf8_lossy(&found).into_owned())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let file = "# a comment\ndb1:5432:replication:backup:first\n*:*:*:backup:any\r\n*:*:shop:other:no\n";
        assert_eq!(look_up(file, "db1", 5432, "backup").as_deref(), Some("first"));
        assert_eq!(look_up(file, "db2", 5432, "backup").as_deref(), Some("any"));
        assert_eq!(look_up(file, "db1", 5433, "backup").as_deref(), Some("any"));
        // A line for a database says nothing of replication.
        assert_eq!(look_up(file, "db1", 5432, "other"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let file = "a\\:b:1:*:us\\\\er:pa\\:ss\\\\:wo:rd\n";
        assert_eq!(look_up(file, "a:b", 1, "us\\er").as_deref(), Some("pa:ss\\:wo:rd"));
        for file in ["a:b", "a\\", "::::", "", "\n\n", "a:1:*:u"] {
            assert_eq!(look_up(file, "a", 1, "u"), None, "{file}");
        }
    }

    #[test]
    fn sockets_in_the_usual_folder_are_localhost() {
        let file = "localhost:5432:*:u:x";
        assert_eq!(look_up(file, "/var/run/postgresql", 5432, "u").as_deref(), Some("x"));
        assert_eq!(look_up(file, "/elsewhere", 5432, "u"), None);
        assert_eq!(look_up("/elsewhere:5432:*:u:x", "/elsewhere", 5432, "u").as_deref(), Some("x"));
    }

    #[test]
    fn a_password_that_was_given_goes_first() {
        let secrets = Secrets {
            password: Some(Zeroizing::new(b"given".to_vec())),
            passfile: Some(Zeroizing::new(b"*:*:*:*:file".to_vec())),
        };
        let host = Host { name: "h".into(), port: 1 };
        assert_eq!(secrets.password_for(&host, "x", "u").as_deref().map(Vec::as_slice), Some(&b"given"[..]));
        assert!(!format!("{secrets:?}").contains("given"));
    }
}
