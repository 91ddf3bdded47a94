//! Why bytes are not what the format says.
//!
//! On purpose not here: which object they came from, which the caller knows, and advice.

/// Bytes do not follow the format, or do not carry what they claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They end too early.
    #[error("it is cut off")]
    Truncated,
    /// A field has a value that the format does not allow.
    #[error("{0} is not as the format says")]
    Malformed(&'static str),
    /// A length is over the limit stated in the format.
    #[error("{0} is longer than the format allows")]
    TooLong(&'static str),
    /// Bytes are left over.
    #[error("it has bytes after its end")]
    Trailing,
    /// The checksum at the end does not match the bytes before it.
    #[error("its checksum does not match: it was damaged")]
    Checksum,
    /// Authenticated decryption failed.
    #[error("it does not decrypt: it was damaged or sealed with another key")]
    Sealed,
    /// The signature does not match.
    #[error("its signature does not match: it was not written by the member it names")]
    Signature,
    /// The plaintext does not have the identifier that it was asked for by.
    #[error("its content is not what was stored")]
    Identity,
    /// The object belongs elsewhere: other repository, other name, other type.
    #[error("it is another object: {0} differs")]
    Misplaced(&'static str),
    /// The bytes need a newer version of holdfast.
    #[error("it needs a newer version of holdfast ({0})")]
    Newer(String),
    /// The password or key file does not open the slot.
    #[error("the password or key does not open it")]
    WrongKey,
    /// The keys at hand do not include the one needed.
    #[error("the key does not allow it: {0}")]
    NotAllowed(&'static str),
    /// It is sealed under a generation of keys of which we hold nothing.
    #[error(
        "it is sealed under key epoch {0}, and this key holds nothing of that epoch: ask an owner for a new one"
    )]
    KeyEpoch(u32),
}
