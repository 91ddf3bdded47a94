//! Which mail server, and whether the way to it is encrypted.
//!
//! On purpose not here: sending.

use holdfast_store_s3::is_here;

/// How the way is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the first byte on.
    Encrypted,
    /// After `STARTTLS`, or not at all.
    Upgraded,
    /// Not: it is this very host, and nobody has to log in.
    Clear,
}

/// A mail server: `smtps://user@host:port`, `smtp://host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) way: Way,
}

impl Server {
    /// Reads one.
    ///
    /// # Errors
    /// It is none; in words for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (encrypted, rest) =
            match text.split_once("://") {
                Some(("smtps", rest)) => (true, rest),
                Some(("smtp", rest)) => (false, rest),
                _ => return Err(
                    "a mail server is smtps://user@host:port, or smtp:// for one that goes on with STARTTLS"
                        .to_owned(),
                ),
            };
        let (user, place) = match rest.trim_end_matches('/').rsplit_once('@') {
            // A user may be an address.
            Some((user, place)) => (Some(user.replace("%40", "@")), place),
            None => (None, rest.trim_end_matches('/')),
        };
        // A password here would be in the file.
        if user.as_ref().is_some_and(|user| user.is_empty() || user.contains(':')) {
            return Err(
                "of a mail server only the user stands before the host: the password is a secret of its own"
                    .to_owned(),
            );
        }
        let (host, port) =
            parted(place).ok_or("a mail server has a host, and a port between 1 and 65535 if any")?;
        let way = match () {
            () if encrypted => Way::Encrypted,
            () if user.is_none() && is_here(place) => Way::Clear,
            () => Way::Upgraded,
        };
        let usual = match way {
            Way::Encrypted => 465,
            Way::Upgraded => 587,
            Way::Clear => 25,
        };
        Ok(Self { user, host: host.to_owned(), port: port.unwrap_or(usual), way })
    }
}

fn parted(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || ".-_:".contains(letter);
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(()));
    (!host.is_empty() && host.chars().all(harmless)).then_some(())?;
    Some((host, port.transpose().ok()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn the_way_is_encrypted_wherever_it_leads() {
        let read = |text: &str| {
            let server = Server::parse(text).unwrap();
            (server.user, server.host, server.port, server.way)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("smtps://me@mail.example"), (some("me"), "mail.example".into(), 465, Way::Encrypted));
        assert_eq!(
            read("smtps://me%40a.example@m.example:4650/"),
            (some("me@a.example"), "m.example".into(), 4650, Way::Encrypted)
        );
        assert_eq!(read("smtp://mail.example"), (None, "mail.example".into(), 587, Way::Upgraded));
        assert_eq!(read("smtp://localhost"), (None, "localhost".into(), 25, Way::Clear));
        assert_eq!(read("smtp://[::1]:2525"), (None, "::1".into(), 2525, Way::Clear));
        // Whoever logs in does so behind encryption, also here.
        assert_eq!(read("smtp://me@127.0.0.1:2525").3, Way::Upgraded);
    }

    #[test]
    fn what_is_no_server_is_refused_without_its_secret() {
        for text in [
            "",
            "smtp://",
            "mail.example",
            "smtps://me:secret@m.example",
            "smtps://@m",
            "smtp://m:0",
            "smtp://m:99999",
            "smtp://a b",
        ] {
            let why = Server::parse(text).unwrap_err();
            assert!(!why.contains("secret@") && !why.is_empty(), "{why}");
        }
    }
}
