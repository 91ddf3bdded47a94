//! `version` and `unlock`, which need no repository.

use crate::ink::{AnswerLine, Ink, VersionLine};
use holdfast_core::object::{FORMAT_DRAFT, FORMAT_MAJOR};
use std::env::consts::{ARCH, OS};

/// The program's version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shows which program this is and which repositories it reads and writes.
pub(crate) fn run(ink: &Ink) {
    let (format, format_draft) = (FORMAT_MAJOR, FORMAT_DRAFT);
    if ink.tone.json {
        ink.json(&VersionLine {
            message_type: "version",
            version: VERSION,
            format,
            format_draft,
            os: OS,
            arch: ARCH,
        });
    } else {
        ink.data(&format!("holdfast {VERSION}, repository format {}, {OS} {ARCH}", format_name()));
    }
}

/// Names the repository format, with its draft as long as it is one.
pub(crate) fn format_name() -> String {
    match FORMAT_MAJOR {
        0 => format!("0, draft {FORMAT_DRAFT}"),
        major => major.to_string(),
    }
}

/// People and scripts that come from elsewhere expect the verb.
pub(crate) fn unlock(ink: &Ink) {
    const ANSWER: &str = "nothing to unlock: holdfast has no locks";
    if ink.tone.json {
        ink.json(&AnswerLine { message_type: "unlock", message: ANSWER });
    } else {
        ink.data(ANSWER);
    }
}
