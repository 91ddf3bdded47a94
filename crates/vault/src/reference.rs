//! Which secret: the path that the server's interface has for it, and a field.
//!
//! On purpose not here: what lies there.

use std::fmt;
use std::str::FromStr;

/// A field of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    path: String,
    field: String,
}

impl Reference {
    /// Names a field of what lies at a path: that of the interface, as policies of the server have it,
    /// with `data/` behind the mount for the second version of its key-value engine.
    ///
    /// # Errors
    /// It names none; in words.
    pub fn new(path: &str, field: &str) -> Result<Self, &'static str> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_prefix("v1/").unwrap_or(path);
        let mut parts = path.split('/');
        if parts.clone().count() < 2 || parts.any(|part| matches!(part, "" | "." | "..")) {
            return Err("the path is that of a mount and of a secret in it: secret/data/backups/shop");
        }
        if path.chars().chain(field.chars()).any(char::is_control) {
            return Err("it has letters that are none");
        }
        if field.is_empty() {
            return Err("no field is named");
        }
        Ok(Self { path: path.to_owned(), field: field.to_owned() })
    }

    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path in a URL.
    pub(crate) fn encoded(&self) -> String {
        encoded(&self.path)
    }
}

/// A path as URLs have it.
pub(crate) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

impl FromStr for Reference {
    type Err = &'static str;

    /// Reads `MOUNT/data/PATH#FIELD`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, field) = text.rsplit_once('#').ok_or("it has no #FIELD at its end")?;
        Self::new(path, field)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.path, self.field)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_reference_is_a_path_and_a_field() {
        let of = |text: &str| text.parse::<Reference>();
        let one = of("secret/data/backups/shop#password").unwrap();
        assert_eq!((one.path(), one.field()), ("secret/data/backups/shop", "password"));
        assert_eq!(of("/v1/secret/data/backups/shop#password").unwrap(), one);
        assert_eq!(one.to_string(), "secret/data/backups/shop#password");
        assert_eq!(of("kv/data/a b?#x").unwrap().encoded(), "kv/data/a%20b%3F");
        for wrong in
            ["", "#x", "secret#x", "secret/data/a", "secret/data/a#", "secret//a#x", "a/../b#x", "a/b\n#x"]
        {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
