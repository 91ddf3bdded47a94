//! How we get in: a token that somebody gave, or one that the server gives for what we can show.
//!
//! What lies in a file is read each time, so that whoever rotates it needs not tell us. On purpose not
//! here: renewing a token, which whoever wrote the file does.

use crate::ask::{Request, Server, ask};
use crate::error::VaultError;
use crate::json::Json;
use crate::reference::encoded;
use holdfast_store_s3::Network;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A token or what a platform lays beside a service is not longer than this.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What lets us in.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A token that was given once and for all.
    Token(Zeroizing<String>),
    /// A file that holds a token; an agent may write a new one at any time.
    TokenFile(PathBuf),
    /// An application's role: `auth/MOUNT/login` gives a token for its two ids.
    AppRole {
        /// Where the method is mounted; usually `approle`.
        mount: String,
        /// The id of the role, which is no secret.
        role: String,
        /// A file that holds the secret id; none where the role asks for none.
        secret_file: Option<PathBuf>,
    },
    /// A service of Kubernetes: a token for what the platform says of it.
    Kubernetes {
        /// Where the method is mounted; usually `kubernetes`.
        mount: String,
        /// The role.
        role: String,
        /// The file that the platform keeps up to date.
        jwt_file: PathBuf,
    },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::TokenFile(_) => "TokenFile",
            Self::AppRole { .. } => "AppRole",
            Self::Kubernetes { .. } => "Kubernetes",
        })
    }
}

impl Login {
    /// What to do if the token is refused.
    pub(crate) const fn remedy(&self) -> &'static str {
        match self {
            Self::Token(_) => {
                "does the token's policy let it read this path? A token in a variable cannot be renewed: if it has \
                 expired, have an agent write one into a file and name that in VAULT_TOKEN_FILE"
            }
            Self::TokenFile(_) => {
                "does the token's policy let it read this path, and does whoever writes the token's file still run?"
            }
            Self::AppRole { .. } | Self::Kubernetes { .. } => {
                "do the policies of the role let it read this path?"
            }
        }
    }
}

/// A token, and whether it is ours to give back.
pub(crate) struct Token {
    pub(crate) text: Zeroizing<String>,
    pub(crate) lent: bool,
}

/// Gets a token.
pub(crate) async fn token(network: &Network, server: &Server) -> Result<Token, VaultError> {
    match &server.login {
        Login::Token(text) => Ok(Token { text: text.clone(), lent: false }),
        Login::TokenFile(path) => Ok(Token { text: line(path, "the token")?, lent: false }),
        Login::AppRole { mount, role, secret_file } => {
            let secret = secret_file.as_deref().map(|path| line(path, "the secret id")).transpose()?;
            let mut shown = vec![("role_id", role.as_str())];
            shown.extend(secret.as_ref().map(|secret| ("secret_id", secret.as_str())));
            log_in(network, server, mount, &shown).await
        }
        Login::Kubernetes { mount, role, jwt_file } => {
            let jwt = line(jwt_file, "the service account's token")?;
            log_in(network, server, mount, &[("role", role), ("jwt", &jwt)]).await
        }
    }
}

/// Shows something for a token.
async fn log_in(
    network: &Network,
    server: &Server,
    mount: &str,
    shown: &[(&str, &str)],
) -> Result<Token, VaultError> {
    let path = format!("auth/{}/login", encoded(mount));
    let body = body(shown)?;
    let request = Request { method: "POST", path: &path, token: None, body: &body };
    let refused = |error: VaultError| {
        let next = format!("is the method mounted at auth/{mount}, and do the ids belong to a role there?");
        VaultError::new(format!("cannot log in at {}: {error}", server.address), next)
    };
    let answer = ask(network, server, &request).await.map_err(refused)?;
    let text = answer.at("auth").at("client_token").text().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| refused(VaultError::new("it gave no token", "")))?;
    Ok(Token { text: Zeroizing::new(text.to_owned()), lent: true })
}

/// Gives a token back that was lent. It would expire by itself, so what goes wrong does not matter.
pub(crate) async fn give_back(network: &Network, server: &Server, token: &Token) {
    if token.lent {
        let path = "auth/token/revoke-self";
        let request = Request { method: "POST", path, token: Some(&token.text), body: b"" };
        let _: Result<Json, VaultError> = ask(network, server, &request).await;
    }
}

/// Writes an object of texts.
pub(crate) fn body(texts: &[(&str, &str)]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    // Roomy, so that nothing is left behind where it would have grown: six bytes for a letter at most.
    let room = texts.iter().map(|(name, text)| 6 * (name.len() + text.len()) + 8).sum::<usize>() + 2;
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    let texts: BTreeMap<_, _> = texts.iter().copied().collect();
    serde_json::to_writer(&mut *body, &texts).map_err(|error| VaultError::new(error.to_string(), ""))?;
    Ok(body)
}

/// Reads the only line of a small file.
fn line(path: &Path, what: &str) -> Result<Zeroizing<String>, VaultError> {
    let next = "check its name and its permissions, and whether whoever writes it runs";
    let fail = |why: &str| VaultError::new(format!("cannot read {what} in {}: {why}", path.display()), next);
    let about = std::fs::metadata(path).map_err(|error| fail(&error.to_string()))?;
    // A pipe may never end, and gives what it has only once; this is read anew each time.
    if !about.is_file() {
        return Err(fail("it is no file"));
    }
    // Roomy, so that nothing is left behind where it would have grown.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 1));
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| fail(&error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail("it is too large"));
    }
    let text = str::from_utf8(&bytes).map_err(|_| fail("it is no text"))?.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(fail("it does not hold one line"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn what_is_shown_is_json() {
        let texts = [("role_id", "a\"b\\c\n"), ("jwt", "ü\u{7f}")];
        let read = Json::read(&body(&texts).unwrap());
        assert_eq!(texts.map(|(name, _)| read.at(name).text().unwrap()), ["a\"b\\c\n", "ü\u{7f}"]);
        assert!(Json::read(&body(&[]).unwrap()).is_map());
    }

    #[test]
    fn what_lets_us_in_lies_in_a_small_file() {
        let read = |path: &str| line(Path::new(path), "the token").err().unwrap().to_string();
        assert!(read("/dev/zero").contains("no file"));
        assert!(read("/nowhere/at all").contains("cannot read the token"));
    }

    #[test]
    fn nothing_of_a_login_is_shown() {
        let login = Login::Token(Zeroizing::new("s.hunter2".to_owned()));
        assert_eq!(format!("{login:?}"), "Token");
    }
}
