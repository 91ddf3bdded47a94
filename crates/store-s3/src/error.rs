//! What a server says, sorted by what the caller does about it, and what a person can do where the
//! server's own word does not tell.
//!
//! On purpose not here: trying again; the client library does that below, and a run that is
//! repeated above.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use holdfast_store::{ErrorKind, StoreError};
use std::error::Error;
use std::fmt::{self, Write};
use std::io;
use std::time::SystemTime;

/// The names under which servers say that a precondition failed.
const TAKEN: [&str; 2] = ["PreconditionFailed", "ObjectAlreadyExists"];

/// The names under which servers say that what was stated as who asks has had its time.
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];
/// What lies in an archive is refused under this name.
const ARCHIVED: &str = "InvalidObjectState";
/// Clocks that differ by more seconds may be why a request is refused.
const SKEW_SECONDS: i64 = 240;

/// What an answer is about: an operation as a verb, and the object.
pub struct About<'a> {
    /// What was tried, as a verb: "read".
    pub operation: &'static str,
    /// On what: an `s3://` URL.
    pub subject: &'a str,
}

/// An answer of a server that is no success.
#[derive(Debug)]
pub struct Answer {
    /// Status of HTTP; none if there was no answer.
    status: Option<u16>,
    code: String,
    text: String,
    /// The request was never sent, as it cannot be.
    unsendable: bool,
}

/// An error that says what a person can do about it.
#[derive(Debug)]
pub struct Told {
    text: String,
    remedy: String,
}

impl Told {
    /// What can be done about an error, if it or what it wraps says so.
    #[must_use]
    pub fn remedy<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.and_then(|inner| inner.downcast_ref::<Self>()).map(|told| told.remedy.as_str())
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Told {}

impl Answer {
    /// Reads an error of the client library.
    #[expect(clippy::needless_pass_by_value, reason = "this is what `map_err` hands over")]
    pub fn of<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let mut text = match (error.message(), code.is_empty()) {
            (Some(message), false) => format!("{code}: {message}"),
            (None, false) => code.clone(),
            // An answer without a body, as to HEAD, has nothing but its status.
            (_, true) => {
                status.map_or_else(|| chain(&error), |status| format!("the server answers {status}"))
            }
        };
        if let Some(id) = request_id(&error) {
            let _ = write!(text, " (request {id})");
        }
        let date = error.raw_response().and_then(|response| response.headers().get("date"));
        if let Some(differ) = date.filter(|_| matches!(status, Some(401 | 403))).and_then(skew) {
            let _ = write!(text, "; {differ}");
        }
        let unsendable = matches!(error, SdkError::ConstructionFailure(_));
        Self { status, code, text, unsendable }
    }

    /// The name is taken.
    pub fn is_taken(&self) -> bool {
        self.status == Some(412) || TAKEN.contains(&self.code.as_str())
    }

    /// Whoever asks may not.
    pub fn is_denied(&self) -> bool {
        matches!(self.status, Some(401 | 403))
    }

    /// Whoever asks may not, or does not ask rightly.
    pub(crate) fn is_denied_or_bad(&self) -> bool {
        self.status == Some(400) || self.is_denied()
    }

    /// What the server said, in one line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Somebody else writes the same name at this moment.
    pub fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }

    /// There is no such object.
    pub fn is_absent(&self) -> bool {
        self.status == Some(404) && self.code != "NoSuchBucket"
    }

    /// The range begins where the object has ended.
    pub fn is_beyond(&self) -> bool {
        self.status == Some(416)
    }

    /// It is there, and can be read only hours after somebody asked for it.
    pub fn is_archived(&self) -> bool {
        self.code == ARCHIVED
    }

    /// It is refused, and the answer has no place for a reason.
    pub(crate) fn is_unexplained(&self) -> bool {
        self.code.is_empty() && matches!(self.status, Some(400 | 401 | 403))
    }

    /// What the server calls it; empty if it does not say.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The server does not know the request, or something in it.
    pub fn is_unknown(&self) -> bool {
        matches!(self.status, Some(405 | 501)) || self.code == "NotImplemented"
    }

    /// Nothing came back, however often it was tried.
    pub fn is_silence(&self) -> bool {
        self.status.is_none() && !self.unsendable
    }

    fn kind(&self) -> ErrorKind {
        match (self.code.as_str(), self.status) {
            ("NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed", _) => ErrorKind::Unusable,
            ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, Some(507)) => {
                ErrorKind::Full
            }
            (ARCHIVED, _) => ErrorKind::Archived,
            (_, Some(404)) => ErrorKind::NotFound,
            (_, Some(401 | 403)) => ErrorKind::Denied,
            (_, None) if self.unsendable => ErrorKind::Io,
            (_, None | Some(408 | 409 | 429 | 500..=599)) => ErrorKind::Retry,
            _ => ErrorKind::Io,
        }
    }

    /// What a person can do, where that is known.
    fn remedy(&self, about: &About<'_>) -> Option<String> {
        let known = if is_untrusted(&self.text) {
            "the server's certificate is not trusted: --cacert FILE (or AWS_CA_BUNDLE) names the certificate of \
             who issued it"
        } else if self.text.contains(REFUSED) {
            "the server's certificate cannot be accepted: check the name in the endpoint, the dates of the \
             certificate and this clock"
        } else if self.text.contains(SKEWED) {
            "set the clock of this host right"
        } else if EXPIRED.contains(&self.code.as_str()) {
            "get new credentials; a run that outlasts them needs some that are renewed: a profile with \
             credential_process or role_arn (profile= in the URL), or those of the machine's role"
        } else if self.is_archived() {
            return Some(format!(
                "{} has to be brought back first, which takes hours: aws s3api restore-object --restore-request \
                 Days=7; then run the same command again",
                about.subject
            ));
        } else {
            return None;
        };
        Some(known.to_owned())
    }

    /// The error that an operation ends with because of it.
    pub fn into_error(self, about: &About<'_>) -> StoreError {
        let (kind, remedy) = (self.kind(), self.remedy(about));
        let text =
            if self.is_archived() { format!("it lies in an archive ({})", self.text) } else { self.text };
        match remedy {
            None => failed(about, kind, text),
            Some(remedy) => {
                let source = io::Error::new(io_kind(kind), Told { text, remedy });
                StoreError { kind, operation: about.operation, subject: about.subject.to_owned(), source }
            }
        }
    }
}

/// How the library for TLS begins what it has against a certificate.
const REFUSED: &str = "invalid peer certificate";
/// What is said of clocks that differ.
const SKEWED: &str = "your clock differs from the server's by";

/// Whether nobody vouches for a certificate, by what the library for TLS says.
pub(crate) fn is_untrusted(text: &str) -> bool {
    let issuers = ["UnknownIssuer", "CaUsedAsEndEntity"];
    text.contains(REFUSED) && issuers.iter().any(|issuer| text.contains(issuer))
}

/// How far this clock is from a server's, if that may be why it refuses.
fn skew(date: &str) -> Option<String> {
    let there = DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?;
    let here = DateTime::from(SystemTime::now());
    let differ = here.secs().saturating_sub(there.secs()).abs();
    (differ > SKEW_SECONDS).then(|| format!("{SKEWED} {} min", differ / 60))
}

/// The error that an operation ends with.
pub(crate) fn failed(about: &About<'_>, kind: ErrorKind, text: String) -> StoreError {
    let source = io::Error::new(io_kind(kind), text);
    StoreError { kind, operation: about.operation, subject: about.subject.to_owned(), source }
}

const fn io_kind(kind: ErrorKind) -> io::ErrorKind {
    match kind {
        ErrorKind::NotFound => io::ErrorKind::NotFound,
        ErrorKind::Denied => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    }
}

fn request_id<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<String> {
    let metadata = error.meta();
    let both = [metadata.request_id(), metadata.extended_request_id()];
    both.into_iter().flatten().next().map(str::to_owned)
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str, text: &str) -> Answer {
        Answer { status: Some(403), code: code.to_owned(), text: text.to_owned(), unsendable: false }
    }

    fn remedy(answer: Answer) -> Option<String> {
        let error = answer.into_error(&About { operation: "read", subject: "s3://b/packs/x" });
        Told::remedy(&error.source).map(str::to_owned)
    }

    #[test]
    fn what_can_be_done_is_told() {
        for (code, text, word) in [
            ("ExpiredToken", "ExpiredToken: gone", "credential_process"),
            ("InvalidObjectState", "InvalidObjectState: cold", "s3://b/packs/x has to be brought back"),
            ("", "invalid peer certificate: UnknownIssuer", "--cacert"),
            ("", "invalid peer certificate: Expired", "endpoint"),
            ("RequestTimeTooSkewed", "x; your clock differs from the server's by 17 min", "clock"),
        ] {
            assert!(remedy(answer(code, text)).is_some_and(|said| said.contains(word)), "{code} {text}");
        }
        assert_eq!(remedy(answer("AccessDenied", "AccessDenied: no")), None);
    }

    #[test]
    fn clocks_that_differ_are_told_of() {
        assert!(skew("Thu, 01 Jan 2015 00:00:00 GMT").is_some_and(|text| text.starts_with(SKEWED)));
        let now = DateTime::from(SystemTime::now()).fmt(DateTimeFormat::HttpDate);
        assert_eq!(skew(&now.expect("a date")), None);
        assert_eq!(skew("soon"), None);
    }
}
