//! Vault or OpenBao, as its usual variables name it, is asked for a secret.
//!
//! It is asked each time, on a thread of its own: whoever needs a secret need not be async. On purpose not
//! here: its interface, which has a crate of its own.

use super::bytes::Bytes;
use crate::fault::Fault;
use crate::settings;
use crate::wire_up::{
    Login, Network, Reach, Reference, TransitKey, VaultError, VaultServer, open_sealed, read_from_vault,
    seal_in_vault,
};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// So long is an answer waited for where nobody sits, as its own programs do: a cluster elects, a pod starts anew.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long where a person waits, who may have mistyped an address.
const PATIENCE_ATTENDED: Duration = Duration::from_secs(15);
/// Where a service of Kubernetes finds what it can show.
const JWT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Reads `MOUNT/data/PATH#FIELD`.
pub(crate) fn parse(text: &OsStr) -> Result<Reference, Fault> {
    let fault = |why: &str| {
        let what = format!("{} names no secret of Vault: {why}", text.display());
        Fault::usage(what, "write MOUNT/data/PATH#FIELD: secret/data/backups/shop#password")
    };
    text.to_str().ok_or_else(|| fault("it is no text"))?.parse().map_err(fault)
}

/// Reads `MOUNT/KEY`.
pub(crate) fn parse_key(text: &OsStr) -> Result<TransitKey, Fault> {
    let fault = |why: &str| {
        let what = format!("{} names no key of Vault's transit engine: {why}", text.display());
        Fault::usage(what, "write MOUNT/KEY: transit/holdfast")
    };
    text.to_str().ok_or_else(|| fault("it is no text"))?.parse().map_err(fault)
}

/// Reads a secret; `what` is what it is for.
pub(crate) fn read(
    reference: &Reference,
    what: &str,
    reach: &Reach,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Bytes, Fault> {
    let what = format!("{what} cannot be read from {reference}");
    ask(&what, reach, variable, async |network, server| {
        let mut read = read_from_vault(network, server, reference).await?;
        Ok(Zeroizing::new(std::mem::take(&mut *read).into_bytes()))
    })
}

/// Has a key file opened that is sealed by a key of the transit engine.
pub(crate) fn open(
    key: &TransitKey,
    sealed: &[u8],
    what: &str,
    reach: &Reach,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Bytes, Fault> {
    let what = format!("{what} cannot be opened with {key}");
    ask(&what, reach, variable, async |network, server| open_sealed(network, server, key, sealed).await)
}

/// Has a key file sealed by a key of the transit engine.
pub(crate) fn seal(
    key: &TransitKey,
    plain: &[u8],
    reach: &Reach,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<String, Fault> {
    let what = format!("no key file can be sealed with {key}");
    let sealed = ask(&what, reach, variable, async |network, server| {
        Ok(Zeroizing::new(seal_in_vault(network, server, key, plain).await?.into_bytes()))
    })?;
    String::from_utf8(sealed.to_vec()).map_err(|_| Fault::failed(what, "look at the server's log"))
}

/// Asks, on a thread of its own; `what` is what cannot be done where that fails.
fn ask(
    what: &str,
    reach: &Reach,
    variable: impl Fn(&str) -> Option<OsString>,
    asks: impl AsyncFn(&Network, &VaultServer) -> Result<Bytes, VaultError> + Send + Sync,
) -> Result<Bytes, Fault> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let server = server(&variable)?;
    let network = match either(&variable, "CACERT") {
        Some(path) => settings::network(Some(Path::new(&path)), "VAULT_CACERT")?,
        None => reach.as_ref().map_err(Fault::clone)?.clone(),
    };
    let work = || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(asks(&network, &server)),
        Err(error) => Err(VaultError::new(format!("nobody can be asked: {error}"), "")),
    };
    let asked = std::thread::scope(|scope| scope.spawn(work).join());
    let asked = asked.unwrap_or_else(|_| Err(VaultError::new("asking ended unexpectedly", "")));
    asked
        .map_err(|error| Fault::failed(format!("{what} of {}", server.address), error.next()).because(&error))
}

/// A variable by its name with Vault, or with OpenBao, which knows both.
fn either(variable: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<OsString> {
    ["BAO", "VAULT"].into_iter().find_map(|prefix| variable(&format!("{prefix}_{name}")))
}

fn server(variable: &impl Fn(&str) -> Option<OsString>) -> Result<VaultServer, Fault> {
    let text = |name: &str| text(either(variable, name), name);
    let Some(address) = text("ADDR")? else {
        let hint = "set VAULT_ADDR (or BAO_ADDR): https://vault.example:8200";
        return Err(Fault::usage("nothing says where Vault is", hint));
    };
    let patience = match text("CLIENT_TIMEOUT")? {
        Some(stated) => patience(&stated)?,
        None if std::io::stderr().is_terminal() => PATIENCE_ATTENDED,
        None => PATIENCE,
    };
    Ok(VaultServer { address, namespace: text("NAMESPACE")?, login: login(variable)?, patience })
}

fn text(value: Option<OsString>, name: &str) -> Result<Option<String>, Fault> {
    let fault = |_| Fault::usage(format!("VAULT_{name} is no text"), "check how it is set");
    value.map(OsString::into_string).transpose().map_err(fault)
}

/// A number of seconds, or a time with a unit.
fn patience(stated: &str) -> Result<Duration, Fault> {
    let seconds = stated.parse().map(Duration::from_secs);
    seconds.or_else(|_| crate::ink::parse_duration(stated)).map_err(|why| {
        Fault::usage(format!("VAULT_CLIENT_TIMEOUT is no time: {why}"), "write a number of seconds, or 1m")
    })
}

/// How we get in: one way must be stated, or the file must be there that a login at a terminal leaves.
fn login(variable: &impl Fn(&str) -> Option<OsString>) -> Result<Login, Fault> {
    let own = |name: &str| text(variable(&format!("HOLDFAST_VAULT_{name}")), name);
    let mount = |usual: &str| own("MOUNT").map(|mount| mount.unwrap_or_else(|| usual.to_owned()));
    let mut ways: Vec<(&str, Login)> = Vec::new();
    if let Some(role) = own("ROLE_ID")? {
        let secret_file = variable("HOLDFAST_VAULT_SECRET_ID_FILE").map(PathBuf::from);
        ways.push(("HOLDFAST_VAULT_ROLE_ID", Login::AppRole { mount: mount("approle")?, role, secret_file }));
    }
    if let Some(role) = own("KUBERNETES_ROLE")? {
        let jwt_file = variable("HOLDFAST_VAULT_JWT_FILE").unwrap_or_else(|| JWT_FILE.into()).into();
        let way = Login::Kubernetes { mount: mount("kubernetes")?, role, jwt_file };
        ways.push(("HOLDFAST_VAULT_KUBERNETES_ROLE", way));
    }
    if let Some(path) = either(variable, "TOKEN_FILE") {
        ways.push(("VAULT_TOKEN_FILE", Login::TokenFile(path.into())));
    }
    if let Some(token) = either(variable, "TOKEN") {
        let token = String::from_utf8(token.into_vec());
        let token = token.map_err(|_| Fault::usage("VAULT_TOKEN is no text", "check how it is set"))?;
        ways.push(("VAULT_TOKEN", Login::Token(Zeroizing::new(token))));
    }
    let names = ways.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
    let mut ways = ways.into_iter();
    match (ways.next(), ways.next()) {
        (Some((_, login)), None) => Ok(login),
        (Some(_), Some(_)) => Err(Fault::usage(
            format!("{names} are set"),
            "unset those that are not meant: one way in is enough",
        )),
        (None, _) => usual_token(variable),
    }
}

fn usual_token(variable: &impl Fn(&str) -> Option<OsString>) -> Result<Login, Fault> {
    let path = variable("HOME").map(|home| Path::new(&home).join(".vault-token"));
    path.filter(|path| path.exists()).map(Login::TokenFile).ok_or_else(|| {
        let hint = "set VAULT_TOKEN_FILE, HOLDFAST_VAULT_ROLE_ID with HOLDFAST_VAULT_SECRET_ID_FILE, or \
                    HOLDFAST_VAULT_KUBERNETES_ROLE";
        Fault::usage("nothing lets us in to Vault", hint)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn server_of(set: &[(&str, &str)]) -> Result<VaultServer, Fault> {
        server(&|name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn a_server_is_named_by_its_usual_variables() {
        let set = [("VAULT_ADDR", "https://v"), ("BAO_ADDR", "https://b"), ("VAULT_TOKEN_FILE", "/t")];
        let found = server_of(&set).unwrap();
        assert_eq!((found.address.as_str(), found.login), ("https://b", Login::TokenFile("/t".into())));
        assert!(found.namespace.is_none() && found.patience >= PATIENCE_ATTENDED);
        let set = [("VAULT_ADDR", "https://v"), ("VAULT_TOKEN", "t"), ("VAULT_CLIENT_TIMEOUT", "5")];
        assert_eq!(server_of(&set).unwrap().patience, Duration::from_secs(5));
        assert_eq!(patience("1m").unwrap(), PATIENCE);
        assert!(patience("soon").is_err());
        assert!(server_of(&set[1..]).is_err(), "no address");
        assert!(server_of(&set[..1]).is_err(), "no way in");
    }

    #[test]
    fn there_is_one_way_in() {
        let role = [("VAULT_ADDR", "https://v"), ("HOLDFAST_VAULT_ROLE_ID", "r"), ("VAULT_TOKEN", "t")];
        let both = server_of(&role).unwrap_err().to_string();
        assert!(both.contains("HOLDFAST_VAULT_ROLE_ID") && both.contains("VAULT_TOKEN"), "{both}");
        let mount = "approle".to_owned();
        let wanted = Login::AppRole { mount, role: "r".to_owned(), secret_file: None };
        assert_eq!(server_of(&role[..2]).unwrap().login, wanted);
        let set = [("VAULT_ADDR", "https://v"), ("HOLDFAST_VAULT_KUBERNETES_ROLE", "k")];
        assert!(
            matches!(server_of(&set).unwrap().login, Login::Kubernetes { jwt_file, .. } if jwt_file.ends_with("token"))
        );
    }

    #[test]
    fn a_key_of_transit_is_named_by_its_mount() {
        assert!(parse_key("transit/holdfast".as_ref()).is_ok());
        assert!(parse_key("holdfast".as_ref()).unwrap_err().hint.contains("MOUNT/KEY"));
    }

    #[test]
    fn a_secret_of_vault_is_named_by_path_and_field() {
        assert!(parse("secret/data/a#b".as_ref()).is_ok());
        assert!(parse("secret/data/a".as_ref()).unwrap_err().hint.contains("#FIELD"));
    }
}
