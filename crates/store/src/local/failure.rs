//! What the operating system's errors mean to the caller of a store.
//!
//! On purpose not here: which of them a store can cure by itself; that is decided at the call.

use crate::{ErrorKind, StoreError};
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Wraps what the system said about `subject`.
pub(super) fn failure(operation: &'static str, subject: &Path, source: io::Error) -> StoreError {
    StoreError { kind: kind_of(&source), operation, subject: subject.display().to_string(), source }
}

/// Tells whether the system said that there is no such file or no such directory on the way.
pub(super) fn is_absent(error: &io::Error) -> bool {
    // A file in place of a directory on the way (`ENOTDIR`): then nothing can lie below it.
    matches!(errno_of(error), Some(Errno::NOENT | Errno::NOTDIR))
}

/// Returns the number of the system's error, if it is one.
pub(super) fn errno_of(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match errno_of(error) {
        Some(Errno::NOENT) => ErrorKind::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Denied,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorKind::Full,
        Some(Errno::INTR | Errno::AGAIN | Errno::STALE | Errno::TIMEDOUT) => ErrorKind::Retry,
        Some(_) => ErrorKind::Io,
        // No number: this crate made the error, and chose its kind to say what it means.
        None => match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::Unsupported => ErrorKind::Unusable,
            _ => ErrorKind::Io,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_the_kind_that_says_what_to_do() {
        let cases = [
            (Errno::NOENT, ErrorKind::NotFound),
            (Errno::ACCESS, ErrorKind::Denied),
            (Errno::PERM, ErrorKind::Denied),
            (Errno::ROFS, ErrorKind::Denied),
            (Errno::NOSPC, ErrorKind::Full),
            (Errno::DQUOT, ErrorKind::Full),
            (Errno::FBIG, ErrorKind::Full),
            (Errno::INTR, ErrorKind::Retry),
            (Errno::AGAIN, ErrorKind::Retry),
            (Errno::STALE, ErrorKind::Retry),
            (Errno::TIMEDOUT, ErrorKind::Retry),
            (Errno::IO, ErrorKind::Io),
            (Errno::LOOP, ErrorKind::Io),
        ];
        for (errno, kind) in cases {
            let error = failure("write", Path::new("/repository/packs/1"), errno.into());
            assert_eq!(error.kind, kind, "{errno:?}");
            assert_eq!(error.to_string(), "write /repository/packs/1");
        }
    }
}
