//! Counts what is asked of a server: each request as it leaves, also those that are tried again.
//!
//! On purpose not here: what a request costs; providers differ.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of requests, by the names under which they are shown.
const KINDS: [&str; 5] = ["list", "get", "head", "tagging", "other"];

/// How many requests there were, shared by all who make them.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    kinds: [AtomicU64; KINDS.len()],
    bytes: AtomicU64,
}

impl Requests {
    /// How many of each kind there were; kinds without any too.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.kinds.iter().map(|count| count.load(Ordering::Relaxed));
        KINDS.into_iter().zip(counts).collect()
    }

    /// Bytes of contents that came.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn add(&self, method: &str, uri: &str) {
        let kind = kind_of(method, uri);
        if let Some(count) = KINDS.iter().position(|name| *name == kind).map(|at| &self.0.kinds[at]) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a request is, by what everybody can see of it.
fn kind_of(method: &str, uri: &str) -> &'static str {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    match method {
        "GET" if has("list-type") => "list",
        "GET" if has("tagging") => "tagging",
        "GET" => "get",
        "HEAD" => "head",
        _ => "other",
    }
}

impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "Requests"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        self.add(request.method(), request.uri());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_method_and_query() {
        let requests = Requests::default();
        for (method, uri) in [
            ("GET", "http://h/b/?list-type=2&prefix=tagging"),
            ("GET", "http://h/b/list-type?x-id=GetObject"),
            ("GET", "http://h/b/k?tagging&versionId=3"),
            ("GET", "http://h/b/k?tagging="),
            ("HEAD", "http://h/b/k?partNumber=1"),
            ("PUT", "http://h/b/k"),
        ] {
            requests.add(method, uri);
        }
        let counts: Vec<_> = requests.snapshot().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 1, 2, 1]);
    }
}
