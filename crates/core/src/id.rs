//! Identifiers: fixed-size byte strings with a hexadecimal form.
//!
//! On purpose not here: how an identifier is made. Random ones come from the caller, keyed
//! ones from [`crate::crypto`].

use std::fmt;
use std::str::FromStr;

/// Returned when a text is not the hexadecimal form of an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hexadecimal identifier of the right length")]
pub struct ParseIdError;

/// Appends the lower-case hexadecimal form of `bytes` to `out`.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Returns the lower-case hexadecimal form of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    out
}

/// Reads exactly `N` bytes of lower-case hexadecimal.
///
/// # Errors
/// Anything else, upper case included: every name has one spelling.
pub fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(ParseIdError);
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseIdError),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// Length in bytes.
            pub const SIZE: usize = $size;

            /// Returns the bytes.
            #[must_use]
            pub const fn bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

id_type!(
    /// Names one repository; random.
    RepositoryId,
    16
);
id_type!(
    /// Names one object of a repository; random, but for packs, whose name says it all.
    ObjectId,
    16
);
id_type!(
    /// Names a member: one holder of keys. Random.
    MemberId,
    16
);
id_type!(
    /// Names a session of a writer, and the snapshot that it commits: random, and then its member, so
    /// that nobody else's can have it.
    SessionId,
    16
);
/// So many bytes of a session's id are random; the others are the first of its member's id.
const SESSION_RANDOM_BYTES: usize = 8;

impl SessionId {
    /// Makes the id of a session of a member.
    #[must_use]
    pub fn of(member: MemberId, random: [u8; SESSION_RANDOM_BYTES]) -> Self {
        let mut id = member.0;
        id.rotate_right(SESSION_RANDOM_BYTES);
        id[..SESSION_RANDOM_BYTES].copy_from_slice(&random);
        Self(id)
    }

    /// Whether it says that it is one of this member's.
    #[must_use]
    pub fn says_it_is_of(&self, member: MemberId) -> bool {
        self.0[SESSION_RANDOM_BYTES..] == member.0[..SESSION_RANDOM_BYTES]
    }
}

id_type!(
    /// Names the stream of snapshots of one source on one host: a keyed hash of both.
    StreamId,
    16
);
id_type!(
    /// Identifies a chunk: a keyed BLAKE3-256 of its plaintext, one key per kind.
    ChunkId,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_one_spelling() {
        let id = SessionId([0xab; 16]);
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<SessionId>(), Err(ParseIdError));
        assert_eq!("ab".parse::<SessionId>(), Err(ParseIdError));
    }
}
