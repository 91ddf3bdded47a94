//! How servers are reached: whose certificates are trusted beside those that the system trusts, and
//! the proxies of the environment, which the client library goes through.
//!
//! Both hold for everything that is asked: of buckets, and of whoever gives out credentials. On
//! purpose not here: looking for the file or the variables; the command line does that.

use crate::client::Keys;
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder, HttpClientError};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The variables that name a proxy.
pub const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that name hosts which no proxy is for.
pub const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Why servers cannot be reached as it was stated. What a variable holds is never told: a proxy may
/// have a password.
#[derive(Debug, thiserror::Error)]
pub enum BadNetwork {
    /// The file of certificates is not to be read.
    #[error("cannot read the certificates in {}", .0.display())]
    Unread(PathBuf, #[source] io::Error),
    /// It holds none, or broken ones.
    #[error("{} {}", .0.display(), .1)]
    NoCertificates(PathBuf, &'static str),
    /// A variable names no proxy.
    #[error("{0} is not the URL of a proxy")]
    NoProxy(String),
    /// The client library cannot use it.
    #[error("the certificates cannot be used")]
    Unusable(#[source] HttpClientError),
}

/// How servers are reached. Cheap to clone; connections are shared by all clients of one network.
#[derive(Debug, Clone)]
pub struct Network {
    client: SharedHttpClient,
    context: TlsContext,
    proxies: Proxies,
    ambient: Option<Keys>,
}

/// Which proxies. One may have a password: it does not print.
#[derive(Clone)]
struct Proxies(ProxyConfig);

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

impl Default for Network {
    /// As the system and the environment have it.
    fn default() -> Self {
        Self::with(TlsContext::default(), ProxyConfig::from_env())
    }
}

impl Network {
    /// Trusts the certificates in a file too, in PEM; and looks whether the variables of the
    /// environment, as name and value, name proxies that can be used.
    ///
    /// # Errors
    /// They do not, or the file has no certificates.
    pub fn new(
        certificates: Option<&Path>,
        variables: impl IntoIterator<Item = (String, OsString)>,
    ) -> Result<Self, BadNetwork> {
        let variables: BTreeMap<String, OsString> = variables.into_iter().collect();
        for (name, value) in variables.iter().filter(|(name, _)| PROXIES.contains(&name.as_str())) {
            check_proxy(value).ok_or_else(|| BadNetwork::NoProxy(name.clone()))?;
        }
        let proxies = stated(&variables).unwrap_or_else(ProxyConfig::from_env);
        let Some(path) = certificates else { return Ok(Self::with(TlsContext::default(), proxies)) };
        let trusted = TrustStore::default().with_pem_certificate(read(path)?);
        let context = TlsContext::builder().with_trust_store(trusted).build();
        Ok(Self::with(context.map_err(BadNetwork::Unusable)?, proxies))
    }

    /// As the client library's own client, but for what it trusts.
    fn with(context: TlsContext, proxies: ProxyConfig) -> Self {
        let (trusted, kept) = (context.clone(), Proxies(proxies.clone()));
        let client = Builder::new().build_with_connector_fn(move |settings, components| {
            let mut builder = ConnectorBuilder::default()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .proxy_config(proxies.clone());
            builder.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                builder.set_sleep_impl(components.sleep_impl());
            }
            builder.build()
        });
        Self { client, context: trusted, proxies: kept, ambient: None }
    }

    /// Opens buckets that state no keys and no profile with these, as with those of the environment:
    /// whoever started this program handed them over by another way.
    #[must_use]
    pub fn with_ambient(self, ambient: Option<Keys>) -> Self {
        Self { ambient, ..self }
    }

    pub(crate) fn context(&self) -> TlsContext {
        self.context.clone()
    }

    /// The proxies on the way to a URL. In the clear to this very host there are none: a proxy would see all of it.
    pub(crate) fn proxies_to(&self, url: &str) -> ProxyConfig {
        match url.strip_prefix("http://").is_some_and(is_here) {
            true => ProxyConfig::disabled(),
            false => self.proxies.0.clone(),
        }
    }

    pub(crate) const fn ambient(&self) -> Option<&Keys> {
        self.ambient.as_ref()
    }

    pub(crate) fn client(&self) -> SharedHttpClient {
        self.client.clone()
    }
}

/// Whether what stands behind `://` in a URL, a host and what follows it, is this very host.
#[must_use]
pub fn is_here(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let name = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name = match name.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => name.split(':').next().unwrap_or_default(),
    };
    let numbers = || name.parse::<IpAddr>();
    name == "localhost" || numbers().is_ok_and(|number| number.is_loopback())
}

/// The proxies that variables name, as the environment's would be taken; none if only the environment can say
/// it: one proxy for encrypted traffic and another one for the rest.
fn stated(variables: &BTreeMap<String, OsString>) -> Option<ProxyConfig> {
    let config = match proxies_of(variables)? {
        (None, None) => return None,
        (Some(https), Some(_)) => ProxyConfig::all(https),
        (Some(https), None) => ProxyConfig::https(https),
        (None, Some(http)) => ProxyConfig::http(http),
    };
    let config = config.ok()?;
    let spared =
        NO_PROXY.iter().find_map(|name| variables.get(*name)?.to_str().filter(|text| !text.is_empty()));
    Some(match spared {
        Some(hosts) => config.no_proxy(hosts),
        None => config,
    })
}

/// The proxy for encrypted traffic and that for the rest; nothing if both are set and differ.
fn proxies_of(variables: &BTreeMap<String, OsString>) -> Option<(Option<String>, Option<String>)> {
    let first = |names: [&str; 4]| {
        let texts = names.into_iter().filter_map(|name| variables.get(name)?.to_str());
        texts.filter(|text| !text.is_empty()).map(url_of).next()
    };
    let https = first(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    let http = first(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]);
    let differ = https.is_some() && http.is_some() && https != http;
    (!differ).then_some((https, http))
}

/// Whether proxies can be handed over by another way than the environment: one of them has a password, and
/// [`Network::new`] can be told all that the environment says.
#[must_use]
pub fn are_secret_proxies(variables: &BTreeMap<String, OsString>) -> bool {
    let has_password = |text: &OsString| text.to_string_lossy().contains('@');
    let named = PROXIES.iter().filter_map(|name| variables.get(*name));
    named.into_iter().any(has_password) && proxies_of(variables).is_some()
}

fn url_of(text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

/// What is no URL of a proxy would be passed over by the client library, and everything would go
/// past the proxy.
fn check_proxy(value: &OsStr) -> Option<()> {
    let text = value.to_str()?;
    if text.is_empty() {
        return Some(());
    }
    ProxyConfig::all(url_of(text).as_str()).ok().map(drop)
}

/// Reads certificates, and looks at each: the client library takes none that is broken, and ends the
/// program over it.
fn read(path: &Path) -> Result<Vec<u8>, BadNetwork> {
    let pem = std::fs::read(path).map_err(|error| BadNetwork::Unread(path.to_owned(), error))?;
    let mut found = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let taken = certificate.ok().and_then(|certificate| found.add(certificate).ok());
        taken.ok_or(BadNetwork::NoCertificates(path.to_owned(), "holds a certificate that is broken"))?;
    }
    if found.is_empty() {
        return Err(BadNetwork::NoCertificates(path.to_owned(), "holds no certificate in PEM"));
    }
    Ok(pem)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_here_in_the_clear_goes_past_all_proxies() {
        let proxy = ("ALL_PROXY".to_owned(), OsString::from("http://me:hunter2@proxy:1"));
        let network = Network::new(None, [proxy]).unwrap();
        for url in [
            "http://127.0.0.1:8200/v1",
            "http://[::1]",
            "http://[::1]:1/",
            "http://localhost?x",
            "http://u@localhost",
        ] {
            assert!(network.proxies_to(url).is_disabled(), "{url}");
        }
        for url in [
            "http://127.0.0.1@elsewhere/",
            "http://127.0.0.1.example",
            "https://vault/localhost",
            "https://localhost",
            "localhost",
        ] {
            assert!(!network.proxies_to(url).is_disabled(), "{url}");
        }
        assert!(!format!("{network:?}").contains("hunter2"));
    }

    fn proxy(value: &str) -> Result<Network, BadNetwork> {
        Network::new(None, [("HTTPS_PROXY".to_owned(), OsString::from(value))])
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_not_passed_over() {
        for value in ["", "proxy.example:3128", "http://proxy.example:3128", "https://user:word@proxy/"] {
            assert!(proxy(value).is_ok(), "{value}");
        }
        for value in ["socks5://user:word@proxy:1080", "http://", "http://user:wo rd@proxy"] {
            let text = proxy(value).unwrap_err().to_string();
            assert!(text.contains("HTTPS_PROXY") && !text.contains("wo"), "{text}");
        }
    }

    #[test]
    fn proxies_are_stated_where_the_environment_says_nothing_that_cannot_be() {
        let set = |all: &[(&str, &str)]| {
            all.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
        };
        let both: BTreeMap<_, _> =
            set(&[("HTTPS_PROXY", ""), ("https_proxy", "a:b@proxy:1"), ("ALL_PROXY", "http://a:b@proxy:1")]);
        let url = || Some("http://a:b@proxy:1".to_owned());
        assert_eq!(proxies_of(&both), Some((url(), url())));
        assert!(are_secret_proxies(&both) && stated(&both).is_some_and(|config| !config.is_from_env()));
        let two = set(&[("HTTPS_PROXY", "http://a:b@proxy:1"), ("http_proxy", "http://other:1")]);
        assert!(!are_secret_proxies(&two) && stated(&two).is_none());
        let open = set(&[("HTTPS_PROXY", "http://proxy:1"), ("NO_PROXY", "@")]);
        assert!(!are_secret_proxies(&open) && stated(&open).is_some());
        assert!(stated(&set(&[])).is_none());
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = || Network::new(Some(&path), []).unwrap_err().to_string();
        assert!(refused().contains("cannot read"), "{}", refused());
        std::fs::write(&path, "nothing").unwrap();
        assert!(refused().contains("no certificate"), "{}", refused());
        for broken in ["AAAA", "&&&&"] {
            let text = format!("-----BEGIN CERTIFICATE-----\n{broken}\n-----END CERTIFICATE-----\n");
            std::fs::write(&path, text).unwrap();
            assert!(refused().contains("broken"), "{}", refused());
        }
    }
}
