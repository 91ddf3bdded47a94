//! What a server says, sorted by what the caller does about it.
//!
//! On purpose not here: trying again; the client library does that below, and a run that is
//! repeated above.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};
use holdfast_store::{ErrorKind, StoreError};
use std::error::Error;
use std::fmt::Write;
use std::io;

/// The names under which servers say that a precondition failed.
const TAKEN: [&str; 2] = ["PreconditionFailed", "ObjectAlreadyExists"];

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
            (_, Some(404)) => ErrorKind::NotFound,
            (_, Some(401 | 403)) => ErrorKind::Denied,
            (_, None) if self.unsendable => ErrorKind::Io,
            (_, None | Some(408 | 409 | 429 | 500..=599)) => ErrorKind::Retry,
            _ => ErrorKind::Io,
        }
    }

    /// The error that an operation ends with because of it.
    pub fn into_error(self, about: &About<'_>) -> StoreError {
        failed(about, self.kind(), self.text)
    }
}

/// The error that an operation ends with.
pub(crate) fn failed(about: &About<'_>, kind: ErrorKind, text: String) -> StoreError {
    let source = match kind {
        ErrorKind::NotFound => io::Error::new(io::ErrorKind::NotFound, text),
        ErrorKind::Denied => io::Error::new(io::ErrorKind::PermissionDenied, text),
        _ => io::Error::other(text),
    };
    StoreError { kind, operation: about.operation, subject: about.subject.to_owned(), source }
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
