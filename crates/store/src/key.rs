//! Names of objects.
//!
//! On purpose not here: which names exist and what they stand for; that is the repository's.

use std::fmt;

/// Returned for a text that cannot name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name an object")]
pub struct InvalidKey(pub String);

/// The name of an object: words of `A-Z a-z 0-9 . _ -` with `/` between them, 1 to 512 bytes;
/// no word is empty or starts with a dot. So a key is a safe relative path everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Longest key in bytes.
    pub const BYTES_MAX: usize = 512;

    /// Checks a text and makes it a key.
    ///
    /// # Errors
    /// The text breaks one of the rules above.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        let word_ok = |word: &str| {
            !word.is_empty()
                && !word.starts_with('.')
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if text.len() <= Self::BYTES_MAX && text.split('/').all(word_ok) {
            Ok(Self(text))
        } else {
            Err(InvalidKey(text))
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
