//! One request over HTTP, with an end, told without its address.
//!
//! On purpose not here: what is sent.

use crate::outcome::Outcome;
use holdfast_store_s3::{Answered, Network, Plain, is_here};
use std::time::Duration;

/// So long is an answer waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What reaches servers, and how long it waits for them.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Whose certificates are trusted, and through which proxies it goes.
    pub network: Network,
    /// So long is an answer waited for.
    pub patience: Duration,
}

impl Sender {
    /// One that is as patient as it should be.
    #[must_use]
    pub const fn new(network: Network) -> Self {
        Self { network, patience: PATIENCE }
    }
}

/// Calls an address, so that whoever listens knows that all is well.
pub async fn beat(sender: &Sender, url: &str) -> Outcome {
    match ask(sender, "GET", url, &[], &[]).await {
        Ok(answer) => Outcome::of(&host(url), answer.status, answer.retry_after.as_deref()),
        Err(outcome) => outcome,
    }
}

/// Asks once.
pub(crate) async fn ask(
    sender: &Sender,
    method: &str,
    url: &str,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> Result<Answered, Outcome> {
    check(url)?;
    let plain = Plain { method, url, headers, body };
    match tokio::time::timeout(sender.patience, sender.network.ask(&plain)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let why = without(&error.to_string(), url);
            Err(Outcome::again(format!("{} does not answer: {why}", host(url))))
        }
        Err(_) => {
            Err(Outcome::again(format!("{} did not answer in {} s", host(url), sender.patience.as_secs())))
        }
    }
}

/// Refuses what is no address, and one that would send a secret in the clear.
fn check(url: &str) -> Result<(), Outcome> {
    match url.split_once("://") {
        Some(("https", rest)) if !rest.is_empty() => Ok(()),
        Some(("http", rest)) if is_here(rest) => Ok(()),
        Some(("http", _)) => Err(Outcome::refused(format!(
            "{} would be told in the clear: write https://; http:// is for this very host only",
            host(url)
        ))),
        // It may be the secret of something else: it is not repeated.
        _ => Err(Outcome::refused("the address is none: write https://host/path")),
    }
}

/// The server that an address names: neither the user, nor the path, nor what comes behind it.
pub(crate) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let name = authority(rest);
    let name = name.rsplit_once('@').map_or(name, |(_, host)| host);
    let harmless = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]_".contains(letter);
    match !name.is_empty() && name.chars().all(harmless) {
        true => name.to_owned(),
        false => "the server".to_owned(),
    }
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// What somebody else said, without an address or the secret part of one.
fn without(text: &str, url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = &rest[authority(rest).len()..];
    let user = authority(rest).rsplit_once('@').map_or("", |(user, _)| user);
    let secrets = [url, path, path.trim_start_matches('/'), user];
    let told = secrets.iter().filter(|secret| secret.len() > 1);
    told.fold(text.to_owned(), |text, secret| text.replace(secret, "…")).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn an_address_is_told_by_its_server_alone() {
        for (url, name) in [
            ("https://hooks.slack.com/services/T0/B0/secret", "hooks.slack.com"),
            ("https://user:word@host.example:8443/x?y=z", "host.example:8443"),
            ("http://[::1]:80/x", "[::1]:80"),
            ("nonsense", "the server"),
            ("https://ho st/", "the server"),
        ] {
            assert_eq!(host(url), name);
        }
        let url = "https://user:word@h.example/services/T0/secret";
        let told =
            without("no route to https://user:word@h.example/services/T0/secret (services/T0/secret)", url);
        assert!(!told.contains("secret") && !told.contains("word"), "{told}");
    }

    #[test]
    fn nothing_is_sent_in_the_clear_but_to_this_host() {
        for url in ["http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]:9/", "https://a.example/"] {
            assert!(check(url).is_ok(), "{url}");
        }
        for url in [
            "http://a.example/secret",
            "http://127.0.0.1.example/secret",
            "ftp://a/secret",
            "secret",
            "https://",
        ] {
            let Outcome::Refused { why } = check(url).unwrap_err() else { panic!("{url}") };
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
