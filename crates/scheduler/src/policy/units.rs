//! Spans of time and sizes as a policy writes them: `26h`, `8d`, `500GiB`.
//!
//! On purpose not here: what they mean where they stand.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time: a whole number with `s`, `m`, `h`, `d`, `w` or `y`, several in one word: `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^([0-9]+(s|m|h|d|w|y))+$"))]
pub struct Span(pub Duration);

/// A size in bytes: a whole number with `B`, `KiB`, `MiB`, `GiB`, `TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(B|KiB|MiB|GiB|TiB)$"))]
pub struct Size(pub u64);

const SPANS: [(&str, u64); 6] =
    [("y", 365 * 86_400), ("w", 7 * 86_400), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Cuts `12h` into its number, its unit and what comes behind.
fn cut(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number = text[..digits].parse().ok()?;
    let rest = &text[digits..];
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    Some((number, &rest[..end], &rest[end..]))
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no span of time: write a number with s, m, h, d, w or y: 90m, 26h, 8d");
        let (mut rest, mut seconds) = (text, 0u64);
        loop {
            let (number, unit, behind) = cut(rest).ok_or_else(wrong)?;
            let (_, each) = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            seconds =
                number.checked_mul(*each).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
            if behind.is_empty() {
                return Ok(Self(Duration::from_secs(seconds)));
            }
            rest = behind;
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size: write a number with B, KiB, MiB, GiB or TiB: 500GiB");
        let (number, unit, behind) = cut(text).ok_or_else(wrong)?;
        let each = SIZES.iter().find(|(name, _)| *name == unit).filter(|_| behind.is_empty());
        each.and_then(|(_, each)| number.checked_mul(*each)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        if left == 0 {
            return f.write_str("0s");
        }
        // Years and weeks are for writing; nobody reads an age of 1y3w well.
        for (unit, each) in &SPANS[2..] {
            if left >= *each {
                write!(f, "{}{unit}", left / each)?;
                left %= each;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = SIZES.iter().find(|(_, each)| self.0 >= *each && self.0.is_multiple_of(*each));
        let (unit, each) = fits.unwrap_or(&SIZES[4]);
        write!(f, "{}{unit}", self.0 / each)
    }
}

/// Both are read from and written as text.
macro_rules! as_text {
    ($kind:ty) => {
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
                into.collect_str(self)
            }
        }
    };
}

as_text!(Span);
as_text!(Size);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_numbers_with_units() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs());
        assert_eq!(span("90m"), Ok(5400));
        assert_eq!(span("1h30m"), Ok(5400));
        assert_eq!((span("2w"), span("1y"), span("0s")), (Ok(1_209_600), Ok(31_536_000), Ok(0)));
        for wrong in ["", "5", "m", "5 m", "-5m", "5min", "1.5h", "5M", "9999999999999y", "1h30", "né"] {
            assert!(span(wrong).is_err_and(|told| told.contains("26h")), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_numbers_with_one_unit() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0);
        assert_eq!((size("500GiB"), size("1B")), (Ok(500 << 30), Ok(1)));
        for wrong in ["", "5", "GiB", "5GB", "5 GiB", "1GiB5MiB", "99999999TiB", "-1B"] {
            assert!(size(wrong).is_err_and(|told| told.contains("500GiB")), "{wrong}");
        }
    }

    #[test]
    fn they_are_shown_as_one_would_write_them() {
        let shown = |seconds: u64| Span(Duration::from_secs(seconds)).to_string();
        assert_eq!((shown(0), shown(5400), shown(691_200)), ("0s".into(), "1h30m".into(), "8d".into()));
        assert_eq!(Size(500 << 30).to_string(), "500GiB");
        assert_eq!((Size(1536).to_string(), Size(0).to_string()), ("1536B".into(), "0B".into()));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(seconds in any::<u32>(), bytes in any::<u64>()) {
            let span = Span(Duration::from_secs(seconds.into()));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
        }

        #[test]
        fn no_text_breaks_them(text in "[0-9a-zA-Z. ]{0,24}") {
            let _ = text.parse::<Span>();
            let _ = text.parse::<Size>();
        }
    }
}
