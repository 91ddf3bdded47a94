//! Versions of the objects of a bucket: the key of each, and its place among those of its object.
//!
//! A key of the bucket holds no zero byte, so one ends it; what follows is the ordinal. It begins
//! with a slash, which no key of a file's tree holds: so a version is told from everything else by
//! its key alone. All versions of an object stand together, oldest first, before the next key. On
//! purpose not here: which versions there are.

use crate::configuration::{CONFIGURATION_KEY, CONFIGURATION_SHOWN};
use crate::entry::{Time, key_to_path};
use std::fmt::Write;

/// The kind of a source that gives all versions of the objects of a bucket.
pub const VERSIONS_KIND: &str = "bucket-versions";
/// Bytes of an ordinal before the version's id.
const FIXED_BYTES: usize = 1 + 16 + 8 + 8 + 1;
/// Longest id of a version, in bytes.
pub const VERSION_ID_BYTES_MAX: usize = 1024;

/// A version, and its place among those of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version<'a> {
    /// When it was made.
    pub time: Time,
    /// Its number among those of the same time, from the oldest on.
    pub place: u32,
    /// It says that the object was deleted, and has no content.
    pub is_marker: bool,
    /// Its id.
    pub id: &'a str,
}

/// The key of a version of the object with that key.
#[must_use]
pub fn version_key(object: &[u8], version: &Version<'_>) -> Vec<u8> {
    let mut ordinal = String::with_capacity(FIXED_BYTES + version.id.len());
    let kind = if version.is_marker { 'd' } else { 'o' };
    let Time { seconds, nanos } = version.time;
    // The sign turned over, so that what is before 1970 comes first.
    let seconds = seconds.cast_unsigned() ^ (1 << 63);
    // Writing into memory does not fail.
    let _ = write!(ordinal, "/{seconds:016x}{nanos:08x}{:08x}{kind}{}", version.place, version.id);
    [object, &[0], ordinal.as_bytes()].concat()
}

/// Splits the key of a version into that of its object and its ordinal, read; none if it is the key
/// of something else.
#[must_use]
pub fn split_version(key: &[u8]) -> Option<(&[u8], Version<'_>)> {
    let end = key.windows(2).position(|pair| pair == b"\0/")?;
    let (object, ordinal) = (&key[..end], std::str::from_utf8(&key[end + 1..]).ok()?);
    let (fixed, id) = ordinal.split_at_checked(FIXED_BYTES)?;
    let number = |from: usize, to: usize| {
        let digits = fixed.get(from..to)?;
        let plain = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let is_marker = match fixed.as_bytes()[FIXED_BYTES - 1] {
        b'o' => false,
        b'd' => true,
        _ => return None,
    };
    let seconds = (number(1, 17)? ^ (1 << 63)).cast_signed();
    let nanos = u32::try_from(number(17, 25)?).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let place = u32::try_from(number(25, 33)?).ok()?;
    let plain = !object.contains(&0) && (1..=VERSION_ID_BYTES_MAX).contains(&id.len());
    plain.then_some((object, Version { time: Time { seconds, nanos }, place, is_marker, id }))
}

/// The key of the object that a version is of; any other key is its own.
#[must_use]
pub fn object_of(key: &[u8]) -> &[u8] {
    split_version(key).map_or(key, |(object, _)| object)
}

/// A key of a tree as a person knows it: with slashes, one in front, and of a version with its id.
#[must_use]
pub fn shown_key(key: &[u8]) -> Vec<u8> {
    match split_version(key) {
        Some((object, version)) => [b"/", object, b"?version-id=", version.id.as_bytes()].concat(),
        None => shown_object(key),
    }
}

/// The same, of a version without its id.
#[must_use]
pub fn shown_object(key: &[u8]) -> Vec<u8> {
    if key == CONFIGURATION_KEY {
        return CONFIGURATION_SHOWN.as_bytes().to_vec();
    }
    [b"/", &key_to_path(object_of(key))[..]].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64, nanos: u32, place: u32, id: &str) -> Version<'_> {
        Version { time: Time { seconds, nanos }, place, is_marker: false, id }
    }

    #[test]
    fn a_key_is_written_as_the_page_says() {
        let version = Version { is_marker: true, ..at(1, 2, 3, "v.x") };
        let key = version_key(b"a/b", &version);
        assert_eq!(key, b"a/b\0/80000000000000010000000200000003dv.x");
        assert_eq!(split_version(&key), Some((&b"a/b"[..], version)));
        assert_eq!(shown_key(&key), b"/a/b?version-id=v.x");
        assert_eq!((object_of(&key), object_of(b"a\0b")), (&b"a/b"[..], &b"a\0b"[..]));
        assert_eq!(shown_object(&key), b"/a/b");
        assert_eq!((split_version(CONFIGURATION_KEY), &shown_key(CONFIGURATION_KEY)[..1]), (None, &b"("[..]));
        assert_eq!(shown_key(b"a\0b"), b"/a/b");
    }

    #[test]
    fn versions_of_one_key_stand_together_oldest_first() {
        let keys = ["a", "a\u{1}", "a!b", "a.b", "a/", "a//b", "a/b", "ab", "é"];
        let times = [(-5, 0), (-5, 7), (0, 0), (1, 999_999_999), (2, 0), (1 << 40, 0)];
        let mut all = Vec::new();
        for key in keys {
            for (seconds, nanos) in times {
                // Whatever their ids are.
                all.extend(
                    [("z", 0), ("a", 1), ("m", 16)]
                        .map(|(id, place)| version_key(key.as_bytes(), &at(seconds, nanos, place, id))),
                );
            }
        }
        assert!(all.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn what_is_no_version_is_told() {
        let good = version_key(b"k", &at(5, 5, 5, "id"));
        for cut in 0..good.len() - 2 {
            assert_eq!(split_version(&good[..cut]), None, "{cut}");
        }
        let mut bad = good.clone();
        bad[4] = b'A';
        assert_eq!(split_version(&bad), None);
        let mut bad = good.clone();
        bad[35] = b'x';
        assert_eq!(split_version(&bad), None);
        let no_time =
            good.iter().enumerate().map(|(at, byte)| if (19..27).contains(&at) { b'f' } else { *byte });
        assert_eq!(split_version(&no_time.collect::<Vec<_>>()), None);
        assert_eq!(split_version(b"etc\0passwd"), None);
    }

    proptest! {
        #[test]
        fn any_version_comes_back(
            object in prop::collection::vec(1u8.., 0..20), seconds: i64, nanos in 0u32..1_000_000_000, place: u32,
            is_marker: bool, id in "[!-~]{1,40}",
        ) {
            let version = Version { is_marker, ..at(seconds, nanos, place, &id) };
            let key = version_key(&object, &version);
            prop_assert_eq!(split_version(&key), Some((&object[..], version)));
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (split_version(&bytes), shown_key(&bytes));
        }
    }
}
