//! Why a secret could not be had, and what to do about it.
//!
//! Nothing that was read is ever repeated here, nor a token; what the server says of an error is, a line
//! of it. On purpose not here: exit codes.

/// So much of what a server says is repeated.
const SAID_CHARS: usize = 300;

/// The secret could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct VaultError {
    what: String,
    next: String,
    /// The token was refused: another one may not be.
    pub(crate) denied: bool,
    /// The same request may go well in a moment.
    pub(crate) passing: bool,
}

impl VaultError {
    /// Says what went wrong and what to do now.
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into(), denied: false, passing: false }
    }

    pub(crate) fn passing(self) -> Self {
        Self { passing: true, ..self }
    }

    pub(crate) fn denied(self) -> Self {
        Self { denied: true, ..self }
    }

    /// What to do now.
    #[must_use]
    pub fn next(&self) -> &str {
        &self.next
    }
}

/// What a server says, safe to show.
pub(crate) fn told(said: &[&str]) -> String {
    let text = said.join("; ");
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).take(SAID_CHARS).collect()
}
