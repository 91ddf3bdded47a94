//! One request and its answer: tried again where that may help, and ended where nobody answers.
//!
//! On purpose not here: which requests there are.

use crate::error::{VaultError, told};
use crate::json::Json;
use crate::login::Login;
use holdfast_store_s3::{Answered, Network, Plain, is_here};
use std::time::Duration;
use zeroize::Zeroizing;

/// So long is waited before the second attempt; twice as long before each next one.
const PAUSE: Duration = Duration::from_millis(300);
/// No longer, though: a server that was elected anew is back in seconds.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Of the time that a server is given one attempt takes this part at most: what hangs is asked again.
const ATTEMPTS_MIN: u32 = 3;

/// A server, and how we get in.
#[derive(Debug, Clone)]
pub struct Server {
    /// `https://host:port`; `http` only to this very host.
    pub address: String,
    /// Whose part of it, where it has namespaces.
    pub namespace: Option<String>,
    /// What lets us in.
    pub login: Login,
    /// So long may it take to have a secret, with all attempts.
    pub patience: Duration,
}

impl Server {
    /// It did not answer, however often it was asked.
    pub(crate) fn silent(&self) -> VaultError {
        let what = format!("{} did not answer in {} s", self.address, self.patience.as_secs());
        let next = "look at the server's health; VAULT_CLIENT_TIMEOUT says how long is waited";
        VaultError::new(what, next)
    }

    /// Refuses an address that would send a secret in the clear, or that is none.
    pub(crate) fn check(&self) -> Result<(), VaultError> {
        let next = "write https://host:port; http:// is only for this very host, where an agent may listen";
        let refuse = |why: &str| VaultError::new(format!("the address {} {why}", shown(&self.address)), next);
        if self.address.contains('@') {
            return Err(refuse("has a user in it"));
        }
        match self.address.split_once("://") {
            Some(("https", host)) if !host.is_empty() => Ok(()),
            Some(("http", host)) if is_here(host) => Ok(()),
            Some(("http", _)) => Err(refuse("would send secrets in the clear")),
            _ => Err(refuse("is not one of a server")),
        }
    }
}

/// An address without what may be a password in it.
fn shown(address: &str) -> String {
    told(&[address.rsplit_once('@').map_or(address, |(_, host)| host)])
}

/// What is asked.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    /// Below `/v1/`.
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a Zeroizing<String>>,
    pub(crate) body: &'a [u8],
}

/// Asks, and reads the answer. What may pass is asked again as long as the server is given time: a cluster
/// elects, a pod is started anew.
pub(crate) async fn ask(
    network: &Network,
    server: &Server,
    request: &Request<'_>,
) -> Result<Json, VaultError> {
    let mut last = None;
    let asking = async {
        let mut pause = PAUSE;
        loop {
            match within(server, once(network, server, request)).await {
                Err(error) if error.passing => last = Some(error),
                ended => return ended,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    // A little earlier than who visits gives up: what was wrong last is told.
    let ended = tokio::time::timeout(server.patience * 9 / 10, asking).await;
    ended.unwrap_or_else(|_| Err(last.unwrap_or_else(|| server.silent())))
}

/// Ends an attempt that hangs.
async fn within(
    server: &Server,
    attempt: impl Future<Output = Result<Json, VaultError>>,
) -> Result<Json, VaultError> {
    let limit = server.patience / ATTEMPTS_MIN;
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(server.silent().passing()))
}

async fn once(network: &Network, server: &Server, request: &Request<'_>) -> Result<Json, VaultError> {
    let url = format!("{}/v1/{}", server.address.trim_end_matches('/'), request.path);
    let answered = send(network, server, request, &url).await?;
    let Some(elsewhere) = answered.location.filter(|_| matches!(answered.status, 301 | 302 | 307 | 308))
    else {
        return judge(server, answered.status, &answered.body);
    };
    // One that stands by names the one that is active. It gets the token too, as with the server's own
    // programs; but never by a way that is not encrypted where the first one was.
    let active = Server { address: elsewhere.clone(), ..server.clone() };
    if url.starts_with("https://") && !elsewhere.starts_with("https://") || active.check().is_err() {
        let what = format!(
            "{} sends us to {}, where a secret would go in the clear",
            server.address,
            shown(&elsewhere)
        );
        return Err(VaultError::new(what, "set the server's api_addr to an address that begins with https"));
    }
    let answered = send(network, server, request, &elsewhere).await?;
    judge(server, answered.status, &answered.body)
}

async fn send(
    network: &Network,
    server: &Server,
    request: &Request<'_>,
    url: &str,
) -> Result<Answered, VaultError> {
    let mut headers = vec![("x-vault-request", "true")];
    headers.extend(request.token.map(|token| ("x-vault-token", token.as_str())));
    headers.extend(server.namespace.as_deref().map(|space| ("x-vault-namespace", space)));
    let plain = Plain { method: request.method, url, headers: &headers, body: request.body };
    network.ask(&plain).await.map_err(|error| {
        let next = "is the address right (VAULT_ADDR), does the server run, and is its certificate trusted \
                    (VAULT_CACERT)?";
        VaultError::new(format!("{} does not answer: {}", server.address, told(&[&error.to_string()])), next)
            .passing()
    })
}

/// Says what an answer means.
fn judge(server: &Server, status: u16, body: &[u8]) -> Result<Json, VaultError> {
    let json = Json::read(body);
    let said = told(&json.at("errors").texts());
    let says = |what: &str| match said.is_empty() {
        true => format!("{} {what} ({status})", server.address),
        false => format!("{} {what} ({status}): {said}", server.address),
    };
    Err(match status {
        200 if json.is_map() => return Ok(json),
        204 => return Ok(Json::Other),
        403 => VaultError::new(says("refuses the token"), server.login.remedy()).denied(),
        404 => missing(&json, &says),
        503 if said.contains("sealed") => {
            VaultError::new(says("is sealed"), "unseal it; nothing of it can be read before").passing()
        }
        // 412: a standby that has not seen yet what the active one wrote.
        412 | 429 | 500..=599 => {
            VaultError::new(says("cannot answer now"), "look at the server's health and log").passing()
        }
        200 => {
            VaultError::new(says("answers something else than JSON"), "is VAULT_ADDR the address of its API?")
        }
        _ => VaultError::new(
            says("refuses the request"),
            "check the path, and the namespace (VAULT_NAMESPACE)",
        ),
    })
}

/// Says what is missing where nothing was found.
fn missing(json: &Json, says: &impl Fn(&str) -> String) -> VaultError {
    let metadata = json.at("data").at("metadata");
    if metadata.is_map() {
        let next = "undelete it there, or write it anew";
        return VaultError::new(says("has only a deleted version of it"), next);
    }
    if json.at("warnings").texts().iter().any(|text| text.contains("versioned")) {
        let next = "paths of this engine have data/ behind the mount: secret/data/backups/shop";
        return VaultError::new(says("knows no such path"), next);
    }
    if json.at("errors").texts().iter().any(|text| text.contains("no handler for route")) {
        return VaultError::new(
            says("has no engine there"),
            "check the mount, which is the path's first part",
        );
    }
    VaultError::new(says("has nothing there"), "check the path, and the namespace (VAULT_NAMESPACE)")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn server(address: &str) -> Server {
        let login = Login::Token(Zeroizing::new("t".to_owned()));
        Server { address: address.to_owned(), namespace: None, login, patience: PAUSE }
    }

    #[test]
    fn nothing_goes_in_the_clear_to_another_host() {
        for right in [
            "https://vault:8200",
            "http://127.0.0.1:8200",
            "http://[::1]:8200",
            "http://[::1]",
            "http://localhost/x",
        ] {
            assert!(server(right).check().is_ok(), "{right}");
        }
        let wrongs =
            ["http://vault:8200", "http://127.0.0.1.example:1", "vault:8200", "unix:///s", "https://", ""];
        for wrong in wrongs {
            assert!(server(wrong).check().is_err(), "{wrong}");
        }
        let error = server("http://me:hunter2@vault").check().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn each_refusal_has_a_way_on() {
        let judged = |status, body: &str| judge(&server("https://v"), status, body.as_bytes()).err().unwrap();
        let denied = judged(403, r#"{"errors":["permission denied"]}"#);
        assert!(denied.denied && !denied.passing && denied.to_string().contains("permission denied"));
        assert!(denied.next().contains("VAULT_TOKEN_FILE"));
        let sealed = judged(503, r#"{"errors":["Vault is sealed"]}"#);
        assert!(sealed.passing && sealed.next().contains("unseal"));
        let versioned = r#"{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine."]}"#;
        assert!(judged(404, versioned).next().contains("data/"));
        let gone = r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z"}}}"#;
        assert!(judged(404, gone).to_string().contains("deleted"));
        let route = r#"{"errors":["no handler for route \"nowhere/data/a\""]}"#;
        assert!(judged(404, route).next().contains("mount"));
        assert!(judged(200, "<html>").to_string().contains("JSON"));
        assert!(judged(502, "").passing && judged(412, "").passing && !judged(400, "").passing);
    }
}
