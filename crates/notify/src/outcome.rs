//! What came of one try.
//!
//! On purpose not here: what follows from it.

use std::time::Duration;

/// A server that asks for more patience is not waited for any longer.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Whoever was asked has it.
    Delivered,
    /// It may work later.
    TryAgain {
        /// Why it did not work; in words for people, without the address.
        why: String,
        /// Not before so long, as the server has it.
        after: Option<Duration>,
    },
    /// It is refused, and may be taken when somebody has mended why: an address, a secret.
    Refused {
        /// Why, and what would help.
        why: String,
    },
    /// It will not work as it is, whatever anybody mends.
    Never {
        /// Why, and what would help.
        why: String,
    },
}

impl Outcome {
    pub(crate) fn again(why: impl Into<String>) -> Self {
        Self::TryAgain { why: why.into(), after: None }
    }

    pub(crate) fn never(why: impl Into<String>) -> Self {
        Self::Never { why: why.into() }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    /// Sorts the answer of a server of HTTP. `who` is the server without what is secret of its address.
    pub(crate) fn of(who: &str, status: u16, retry_after: Option<&str>) -> Self {
        let again = |why: String| Self::TryAgain { why, after: retry_after.and_then(seconds) };
        match status {
            200..=299 => Self::Delivered,
            300..=399 => {
                Self::refused(format!("{who} points elsewhere ({status}): write the address that it has now"))
            }
            401 | 403 | 407 => Self::refused(format!(
                "{who} does not let us in ({status}): is the address or the secret an old one?"
            )),
            404 => Self::refused(unknown(who, status)),
            410 => Self::never(unknown(who, status)),
            408 | 425 => again(format!("{who} asks to be asked again ({status})")),
            429 => again(format!("{who} was asked too often ({status})")),
            400 | 405 | 413 | 415 | 422 => Self::never(format!("{who} refuses the message ({status})")),
            400..=499 => Self::refused(format!("{who} refuses the message ({status})")),
            _ => again(format!("{who} is in trouble ({status})")),
        }
    }
}

fn unknown(who: &str, status: u16) -> String {
    format!("{who} does not know that address ({status}): it was removed, or never was")
}

/// What `Retry-After` says, where it is a number; a date is passed over.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted() {
        let of = |status| Outcome::of("hooks.example", status, None);
        assert!([200, 201, 204].into_iter().all(|status| of(status) == Outcome::Delivered));
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(of(status), Outcome::TryAgain { after: None, .. }), "{status}");
        }
        for status in [400, 405, 410, 413, 415, 422] {
            assert!(matches!(of(status), Outcome::Never { .. }), "{status}");
        }
        // A key that is being changed, an address that moves.
        for status in [301, 302, 308, 401, 402, 403, 404, 407, 409] {
            assert!(matches!(of(status), Outcome::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn patience_that_is_asked_for_has_an_end() {
        let after = |text| match Outcome::of("x", 429, Some(text)) {
            Outcome::TryAgain { after, .. } => after,
            _ => None,
        };
        assert_eq!(after(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(after("99999999"), Some(WAIT_MAX));
        assert_eq!((after("Wed, 21 Oct 2015 07:28:00 GMT"), after("-1")), (None, None));
    }
}
