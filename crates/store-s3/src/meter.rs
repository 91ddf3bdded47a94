//! Sees every request to a server as it leaves and every answer as it comes: counts them, and tells
//! the gate how the server fares.
//!
//! On purpose not here: what a request costs; providers differ.

use crate::gate::Gate;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use holdfast_store::Traffic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Kinds of requests, by the names under which they are shown.
const KINDS: [&str; 8] = ["list", "get", "head", "put", "multipart", "delete", "tagging", "other"];

/// Counts requests of all clients that it was given to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    kinds: [AtomicU64; KINDS.len()],
    sent: AtomicU64,
    received: AtomicU64,
    /// The server's clock at its last answer, in seconds since 1970; 0 before the first.
    server_time: AtomicI64,
    /// The last request went to Amazon's own servers.
    amazon: AtomicBool,
    gate: Gate,
}

impl Meter {
    /// Counted so far: each request that left, those that were tried again too, and bytes of bodies.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let counts = self.0.kinds.iter().map(|count| count.load(Ordering::Relaxed));
        Traffic {
            requests: KINDS.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect(),
            sent_bytes: self.0.sent.load(Ordering::Relaxed),
            received_bytes: self.0.received.load(Ordering::Relaxed),
        }
    }

    /// The server's clock at its last answer, in seconds since 1970.
    #[must_use]
    pub fn server_time(&self) -> Option<i64> {
        Some(self.0.server_time.load(Ordering::Relaxed)).filter(|&seconds| seconds != 0)
    }

    /// Whether requests go to Amazon's own servers, whatever the URL or the environment said; false
    /// before the first.
    #[must_use]
    pub fn is_amazon(&self) -> bool {
        self.0.amazon.load(Ordering::Relaxed)
    }

    /// Lets so many requests go at once as the server bears.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    fn count(&self, method: &str, uri: &str) {
        let kind = kind_of(method, uri);
        if let Some(at) = KINDS.iter().position(|name| *name == kind) {
            self.0.kinds[at].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a request is, by what everybody can see of it.
fn kind_of(method: &str, uri: &str) -> &'static str {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    match method {
        "GET" if has("list-type") || has("versions") => "list",
        _ if has("tagging") => "tagging",
        _ if has("uploads") || has("uploadId") => "multipart",
        // Whatever is asked of a bucket or an object and is not its content.
        "GET" | "PUT" if is_about(query) => "other",
        "GET" => "get",
        "HEAD" => "head",
        "PUT" => "put",
        "DELETE" => "delete",
        "POST" if has("delete") => "delete",
        _ => "other",
    }
}

/// The servers of Amazon that list in the order of bytes: those of regions, in clouds of their own too.
fn is_amazon(uri: &str) -> bool {
    let authority = uri.split_once("://").map_or(uri, |(_, rest)| rest).split(['/', '?']).next();
    let host = authority.and_then(|authority| authority.split(':').next()).unwrap_or_default();
    let amazon = [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|end| host.ends_with(end));
    let other = ["s3express", "s3-outposts"].iter().any(|kind| host.contains(kind));
    amazon && !other
}

fn is_about(query: &str) -> bool {
    const ABOUT: [&str; 17] = [
        "accelerate",
        "acl",
        "cors",
        "encryption",
        "legal-hold",
        "lifecycle",
        "logging",
        "notification",
        "object-lock",
        "ownershipControls",
        "policy",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "retention",
        "versioning",
        "website",
    ];
    query.split('&').any(|part| part.split('=').next().is_some_and(|name| ABOUT.contains(&name)))
}

impl Intercept for Meter {
    fn name(&self) -> &'static str {
        "Meter"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        self.count(request.method(), request.uri());
        self.0.amazon.store(is_amazon(request.uri()), Ordering::Relaxed);
        let length = request.body().content_length().unwrap_or_default();
        self.0.sent.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let headers = response.headers();
        // Of the body, not of the header: the answer to HEAD states a length that does not follow.
        let length = response.body().content_length().unwrap_or_default();
        self.0.received.fetch_add(length, Ordering::Relaxed);
        let date =
            headers.get("date").and_then(|text| DateTime::from_str(text, DateTimeFormat::HttpDate).ok());
        if let Some(date) = date {
            self.0.server_time.store(date.secs(), Ordering::Relaxed);
        }
        if matches!(response.status().as_u16(), 429 | 503) {
            self.0.gate.overloaded();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_method_and_query() {
        for (method, uri, kind) in [
            ("GET", "http://h/b/?list-type=2&prefix=tagging", "list"),
            ("GET", "http://h/b/?versions&prefix=x", "list"),
            ("GET", "http://h/b/list-type?x-id=GetObject", "get"),
            ("GET", "http://h/b/k?tagging&versionId=3", "tagging"),
            ("PUT", "http://h/b/k?tagging=", "tagging"),
            ("GET", "http://h/b?lifecycle", "other"),
            ("PUT", "http://h/b?cors", "other"),
            ("HEAD", "http://h/b/k?partNumber=1", "head"),
            ("PUT", "http://h/b/k", "put"),
            ("PUT", "http://h/b/k?partNumber=1&uploadId=x", "multipart"),
            ("POST", "http://h/b/k?uploads", "multipart"),
            ("DELETE", "http://h/b/k?uploadId=x", "multipart"),
            ("DELETE", "http://h/b/k", "delete"),
            ("POST", "http://h/b?delete", "delete"),
        ] {
            assert_eq!(kind_of(method, uri), kind, "{method} {uri}");
        }
    }

    #[test]
    fn amazon_is_told_from_others() {
        for uri in ["https://b.s3.eu-west-1.amazonaws.com/?list-type=2", "http://s3.amazonaws.com:80/b"] {
            assert!(is_amazon(uri), "{uri}");
        }
        for uri in [
            "https://evilamazonaws.com/",
            "http://127.0.0.1/s3.amazonaws.com",
            "https://b--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/",
            "https://s3.example/?x=.amazonaws.com",
        ] {
            assert!(!is_amazon(uri), "{uri}");
        }
    }
}
