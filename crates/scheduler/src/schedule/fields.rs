//! The five fields of a cron expression, in Vixie's meaning.
//!
//! On purpose not here: when they match.

use std::collections::BTreeSet;

/// One of the five.
#[derive(Debug)]
pub(super) struct Kind {
    /// What it is called.
    name: &'static str,
    low: u32,
    high: u32,
    /// Names of its values, from the lowest on.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
pub(super) const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

pub(super) const KINDS: [Kind; 5] = [
    Kind { name: "minute", low: 0, high: 59, names: &[] },
    Kind { name: "hour", low: 0, high: 23, names: &[] },
    Kind { name: "day of month", low: 1, high: 31, names: &[] },
    Kind { name: "month", low: 1, high: 12, names: &MONTHS },
    // 7 is Sunday too.
    Kind { name: "day of week", low: 0, high: 7, names: &WEEKDAYS },
];

/// What a field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// The values that match.
    pub(super) values: BTreeSet<u32>,
    /// It begins with `*`: then it restricts nothing in the sense of the days, even if it has steps.
    pub(super) star: bool,
}

impl Field {
    /// Whether everything matches.
    pub(super) fn is_all(&self, kind: &Kind) -> bool {
        self.values.len() as u32 == kind.count()
    }
}

impl Kind {
    fn is_weekday(&self) -> bool {
        self.high == 7
    }

    /// How many values there are.
    fn count(&self) -> u32 {
        if self.is_weekday() { 7 } else { self.high - self.low + 1 }
    }

    /// Reads a field.
    pub(super) fn read(&self, text: &str) -> Result<Field, String> {
        let mut values = BTreeSet::new();
        for part in text.split(',') {
            values.extend(self.part(part).map_err(|what| format!("{}: {what}", self.name))?);
        }
        if self.is_weekday() && values.remove(&7) {
            values.insert(0);
        }
        Ok(Field { values, star: text.starts_with('*') })
    }

    /// Reads what stands between commas.
    fn part(&self, text: &str) -> Result<Vec<u32>, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step, text)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high - u32::from(self.is_weekday())),
            Some((from, to)) => self.range(from, to, range)?,
            None if step.is_some() => {
                let (from, high) = (self.value(range)?, self.high);
                return Err(format!("`{text}` has a step and no range: write {from}-{high}/… or */…"));
            }
            None => (self.value(range)?, self.value(range)?),
        };
        Ok((from..=to).step_by(step.unwrap_or(1)).collect())
    }

    fn range(&self, from: &str, to: &str, text: &str) -> Result<(u32, u32), String> {
        let (low, mut high) = (self.value(from)?, self.value(to)?);
        // Weeks may end with Sunday, which has two numbers and one name.
        if self.is_weekday() && high == 0 && low > 0 && to.parse::<u32>().is_err() {
            high = 7;
        }
        if low > high {
            return Err(format!("`{text}` goes backwards: write two ranges with a comma between them"));
        }
        Ok((low, high))
    }

    fn step(&self, step: &str, text: &str) -> Result<usize, String> {
        let count = self.count();
        let right = || format!("`{text}` has no step from 1 to {}: write */N with such a number", count - 1);
        // A larger step means "once", and reads as if it meant "every so many".
        let number: u32 = plain_number(step).ok_or_else(right)?;
        (1..count).contains(&number).then_some(number as usize).ok_or_else(right)
    }

    /// Reads a number or a name.
    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(number) = plain_number(text) {
            let fits = (self.low..=self.high).contains(&number).then_some(number);
            return fits.ok_or_else(|| format!("`{text}` is not there: {}", self.right()));
        }
        let word = text.to_lowercase();
        let known = self.names.iter().position(|name| *name == word || name[..3] == word);
        known.map(|at| at as u32 + self.low).ok_or_else(|| match self.nearest(&word) {
            Some(name) => format!("`{text}` is none: did you mean {}?", &name[..3]),
            None => format!("`{text}` is none: {}", self.right()),
        })
    }

    fn nearest(&self, word: &str) -> Option<&'static str> {
        let likeness =
            |name: &str| strsim::jaro_winkler(name, word).max(strsim::jaro_winkler(&name[..3], word));
        let scored = self.names.iter().map(|name| (likeness(name), *name)).filter(|(score, _)| *score > 0.75);
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
    }

    /// What is right in this field.
    fn right(&self) -> String {
        let names = match self.names {
            [first, .., last] => format!(" or a name, {} to {}", &first[..3], &last[..3]),
            _ => String::new(),
        };
        format!("write {} to {}{names}, or * for all", self.low, self.high)
    }
}

/// A number of digits alone.
fn plain_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
