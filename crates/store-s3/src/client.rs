//! The client for a bucket: where, with which keys, how long to wait, how often to try again.
//!
//! On purpose not here: what is asked of the server.

use crate::address::Address;
use crate::error::{chain, is_untrusted};
use crate::meter::Meter;
use crate::network::Network;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// So often a request is tried.
pub(crate) const ATTEMPTS: u32 = 6;
/// A server that does not take a connection for so long is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Nor is one that says nothing for so long; a part of an upload has to fit in.
const READ: Duration = Duration::from_secs(120);
/// The region of servers that know none.
const NO_REGION: &str = "us-east-1";

/// What opens a bucket, if it is stated and not to be found by the client library.
#[derive(Clone)]
pub struct Keys {
    /// The id of the key.
    pub access: String,
    /// The key.
    pub secret: Zeroizing<String>,
    /// What belongs to it where it is lent for a time.
    pub token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access", &self.access).finish_non_exhaustive()
    }
}

/// Gets a client ready; nothing is asked of the server yet. The meter counts what is asked. Every
/// request has an end: it is tried again where that may help, and given up then. Without `keys` the
/// client library finds them: in the environment, a profile, or what the machine is given; those
/// that expire are asked for again before they do.
pub async fn connect(address: &Address, keys: Option<Keys>, network: &Network, meter: &Meter) -> Client {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ).build();
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts)
        .http_client(network.client());
    if let Some(region) = &address.region {
        config = config.region(Region::new(region.clone()));
    } else if address.endpoint.is_some() {
        config = config.region(Region::new(NO_REGION));
    }
    if let Some(endpoint) = &address.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if let Some(profile) = &address.profile {
        // What is stated in the URL goes before the environment, which is another bucket's perhaps.
        let found = ProviderConfig::default().with_http_client(network.client());
        let region = region_of(address, profile, &found).await;
        let found = found.with_region(region);
        let credentials =
            ProfileFileCredentialsProvider::builder().configure(&found).profile_name(profile).build();
        config = config.profile_name(profile).credentials_provider(credentials);
    }
    let ambient = || network.ambient().filter(|_| address.profile.is_none()).cloned();
    if let Some(Keys { access, secret, token }) = keys.or_else(ambient) {
        // The client library wipes what it is given.
        let token = token.map(|token| token.to_string());
        let keys = Credentials::new(access, secret.to_string(), token, None, "stated");
        config = config.credentials_provider(keys);
    }
    let config = config.load().await;
    let path_style = address.path_style.unwrap_or(address.endpoint.is_some());
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style);
    Client::from_conf(config.interceptor(meter.clone()).retry_classifier(Untrusted).build())
}

/// The region in which a role of a profile is asked for: whoever gives it out needs one, also where the
/// server of the bucket knows none.
async fn region_of(address: &Address, profile: &str, found: &ProviderConfig) -> Option<Region> {
    let of_profile = ProfileFileRegionProvider::builder().configure(found).profile_name(profile).build();
    RegionProviderChain::first_try(address.region.clone().map(Region::new))
        .or_else(of_profile)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(Region::new(NO_REGION))
        .region()
        .await
}

/// A certificate that is not trusted will not be at the next attempt.
#[derive(Debug)]
struct Untrusted;

impl ClassifyRetry for Untrusted {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = context.output_or_error().and_then(Result::err);
        match failed.and_then(|error| error.as_connector_error()) {
            Some(error) if is_untrusted(&chain(error)) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Untrusted"
    }
}
