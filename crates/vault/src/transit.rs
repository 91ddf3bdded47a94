//! Opens what the transit engine sealed, a key file that lies wrapped on the disk or in a repository and that
//! nobody reads whom the server does not let; and has one sealed.
//!
//! On purpose not here: keys of the engine, which whoever runs the server makes.

use crate::ask::{Request, Server, ask};
use crate::error::VaultError;
use crate::inside::inside;
use crate::login::{Token, body};
use crate::reference::encoded;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_store_s3::Network;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// How what the engine sealed begins.
const SEALED: &str = "vault:";

/// A key of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitKey {
    mount: String,
    name: String,
}

impl FromStr for TransitKey {
    type Err = &'static str;

    /// Reads `MOUNT/KEY`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mount, name) = text.trim_start_matches('/').rsplit_once('/').ok_or("it is not MOUNT/KEY")?;
        let is_wrong = |part: &str| matches!(part, "" | "." | "..");
        if is_wrong(name) || mount.split('/').any(is_wrong) || text.chars().any(char::is_control) {
            return Err("it is not MOUNT/KEY");
        }
        Ok(Self { mount: mount.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for TransitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.name)
    }
}

/// Has the server open what it sealed, as a file holds it.
///
/// # Errors
/// It cannot, or this is nothing that it sealed; the error says what to do.
pub async fn open_sealed(
    network: &Network,
    server: &Server,
    key: &TransitKey,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let text = str::from_utf8(sealed).map(str::trim).unwrap_or_default();
    if !text.starts_with(SEALED) {
        let next =
            "write into it what `vault write -field=ciphertext MOUNT/encrypt/KEY plaintext=...` prints";
        return Err(VaultError::new(format!("the file holds nothing that {key} sealed"), next));
    }
    inside(network, server, async |token| decrypt(network, server, key, text, token).await).await
}

/// Has the server seal a key file; what comes back is for [`open_sealed`].
///
/// # Errors
/// It cannot; the error says what to do.
pub async fn seal(
    network: &Network,
    server: &Server,
    key: &TransitKey,
    plain: &[u8],
) -> Result<String, VaultError> {
    let text = Zeroizing::new(STANDARD.encode(plain));
    let path = format!("{}/encrypt/{}", encoded(&key.mount), encoded(&key.name));
    let body = body(&[("plaintext", &text)])?;
    let asks = async |token: &Token| {
        let request = Request { method: "POST", path: &path, token: Some(&token.text), body: &body };
        let answer = ask(network, server, &request).await?;
        let sealed = answer.at("data").at("ciphertext").text().filter(|text| text.starts_with(SEALED));
        let nothing = || VaultError::new(format!("{key} sealed nothing"), "look at the server's log");
        sealed.map(str::to_owned).ok_or_else(nothing)
    };
    inside(network, server, asks).await
}

async fn decrypt(
    network: &Network,
    server: &Server,
    key: &TransitKey,
    text: &str,
    token: &Token,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let path = format!("{}/decrypt/{}", encoded(&key.mount), encoded(&key.name));
    let body = body(&[("ciphertext", text)])?;
    let request = Request { method: "POST", path: &path, token: Some(&token.text), body: &body };
    let answer = ask(network, server, &request).await?;
    let bytes =
        answer.at("data").at("plaintext").text().map(|text| STANDARD.decode(text).map(Zeroizing::new));
    let bytes = bytes.and_then(Result::ok);
    bytes.ok_or_else(|| VaultError::new(format!("{key} gave nothing back"), "look at the server's log"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_key_has_a_mount() {
        let of = |text: &str| text.parse::<TransitKey>();
        assert_eq!(of("transit/holdfast").unwrap().to_string(), "transit/holdfast");
        assert_eq!(of("/team/transit/a").unwrap().mount, "team/transit");
        for wrong in ["", "transit", "transit/", "/a", "a/../b", "a/b\n"] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
