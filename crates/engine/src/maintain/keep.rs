//! The words of retention: which rules there are, what snapshots are grouped by, and the reasons
//! why one is kept. The rules are those of restic.
//!
//! On purpose not here: applying them ([`super::retention`]).

use holdfast_core::id::SessionId;
use holdfast_core::session::Summary;
use std::fmt;
use std::str::FromStr;

/// Of which stretch of time one snapshot is kept, the newest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// None: each snapshot stands for itself.
    Each,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week, which begins with Monday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    const fn word(self) -> &'static str {
        match self {
            Self::Each => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// How many snapshots a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepCount {
    /// So many; none if 0.
    Number(u64),
    /// Any number.
    Unlimited,
}

impl FromStr for KeepCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Number).map_err(|_| "it is a number or `unlimited`".to_owned()),
        }
    }
}

/// A stretch of time before the newest snapshot of a group. Years, months and days are those of
/// the calendar in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct KeepSpan {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl KeepSpan {
    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for KeepSpan {
    type Err = String;

    /// Reads `1y5m7d2h`: years, months, days and hours, those that are meant.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no stretch of time: write 7d, 12h or 1y5m7d2h (m are months)");
        let (mut span, mut number, mut seen) = (Self::default(), String::new(), Vec::new());
        for letter in text.trim().chars() {
            if letter.is_ascii_digit() {
                number.push(letter);
                continue;
            }
            let part = match letter {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return Err(wrong()),
            };
            if seen.contains(&letter) {
                return Err(wrong());
            }
            *part = number.parse().map_err(|_| wrong())?;
            seen.push(letter);
            number.clear();
        }
        if number.is_empty() && !seen.is_empty() { Ok(span) } else { Err(wrong()) }
    }
}

impl fmt::Display for KeepSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        let mut shown = parts.iter().filter(|(number, _)| *number > 0);
        if self.is_empty() {
            return f.write_str("0h");
        }
        shown.try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

/// How far a rule reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepLimit {
    /// To so many snapshots, newest first.
    Newest(KeepCount),
    /// To those within a stretch of time before the newest.
    Within(KeepSpan),
}

/// One rule: the newest snapshot of each period is kept, as far as the limit reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepRule {
    /// The period.
    pub of: Period,
    /// The limit.
    pub limit: KeepLimit,
}

impl KeepRule {
    /// Whether it keeps nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.limit {
            KeepLimit::Newest(count) => count == KeepCount::Number(0),
            KeepLimit::Within(span) => span.is_empty(),
        }
    }
}

/// What is to be kept: whatever any of these keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeepPolicy {
    /// Rules of time.
    pub rules: Vec<KeepRule>,
    /// Lists of tags; a snapshot that has all tags of one is kept.
    pub tags: Vec<Vec<String>>,
}

impl KeepPolicy {
    /// Whether it keeps nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.rules.iter().all(KeepRule::is_empty)
    }
}

/// What the snapshots of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The paths, all of them.
    pub paths: bool,
    /// The tags, all of them.
    pub tags: bool,
    /// The name of the source.
    pub source: bool,
}

impl GroupBy {
    /// Nothing: all snapshots are one group.
    pub const NOTHING: Self = Self { host: false, paths: false, tags: false, source: false };
}

impl Default for GroupBy {
    /// Host and paths, as in restic.
    fn default() -> Self {
        Self { host: true, paths: true, ..Self::NOTHING }
    }
}

impl FromStr for GroupBy {
    type Err = String;

    /// Reads `host,paths,tags,source`, in both numbers as restic does; nothing is no groups.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut by = Self::NOTHING;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "host" | "hosts" => by.host = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                "source" | "sources" => by.source = true,
                _ => return Err("it is host, paths, tags or source".to_owned()),
            }
        }
        Ok(by)
    }
}

/// A group, by what its snapshots have in common; what is not grouped by is absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupKey {
    /// The host.
    pub host: Option<String>,
    /// The name of the source.
    pub source: Option<String>,
    /// The paths.
    pub paths: Option<Vec<Vec<u8>>>,
    /// The tags.
    pub tags: Option<Vec<String>>,
}

impl GroupKey {
    /// The group of a snapshot.
    #[must_use]
    pub fn of(summary: &Summary, by: GroupBy) -> Self {
        Self {
            host: by.host.then(|| summary.host.clone()),
            source: by.source.then(|| summary.label.clone()),
            paths: by.paths.then(|| summary.paths.clone()),
            tags: by.tags.then(|| summary.tags.clone()),
        }
    }
}

/// Why a snapshot does not count: the rules keep it like any other, and another one besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Something could not be read.
    Incomplete,
    /// It has half the files or bytes of this one, or less: the last whole one before it.
    Shrunk {
        /// That one.
        than: SessionId,
    },
    /// Its time cannot be believed; it is forgotten by its id only.
    TimeDoubtful,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("incomplete"),
            Self::Shrunk { than } => write!(f, "half of {} or less", &than.to_string()[..8]),
            Self::TimeDoubtful => f.write_str("time doubtful"),
        }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has all these tags.
    Tags(Vec<String>),
    /// A rule keeps it.
    Rule {
        /// The rule.
        rule: KeepRule,
        /// Not as the newest of its period, but as the oldest of all, for which the rule has room.
        oldest: bool,
    },
    /// It is the newest whole one of its source: nothing is wrong with it, and its time is believed.
    NewestWhole,
    /// It is the newest of its source that is complete, though much smaller than the one before.
    NewestComplete,
    /// It is the newest of its source, none of which is complete.
    NewestOfSource,
    /// It is the newest of its source that was restored to prove it.
    NewestProven,
    /// Nothing else would be left of its group.
    LastOfGroup,
    /// A hold stands on it, for the reason given there.
    Held(String),
    /// Its time cannot be believed, so no rule can tell.
    TimeDoubtful,
    /// It is younger than this, after which everything goes; no other rule is stated.
    Younger(KeepSpan),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tags(tags) => write!(f, "tag {}", tags.join(",")),
            Self::Rule { rule, oldest } => {
                let (old, word) = (if *oldest { "oldest " } else { "" }, rule.of.word());
                match rule.limit {
                    KeepLimit::Newest(_) => write!(f, "{old}{word} snapshot"),
                    KeepLimit::Within(span) if rule.of == Period::Each => write!(f, "within {span}"),
                    KeepLimit::Within(span) => write!(f, "{old}{word} within {span}"),
                }
            }
            Self::NewestWhole => f.write_str("newest whole of its source"),
            Self::NewestComplete => f.write_str("newest complete of its source"),
            Self::NewestOfSource => f.write_str("newest of its source"),
            Self::NewestProven => f.write_str("newest proven of its source"),
            Self::LastOfGroup => f.write_str("last of its group"),
            Self::Held(reason) => write!(f, "held: {reason}"),
            Self::TimeDoubtful => f.write_str("time doubtful"),
            Self::Younger(span) => write!(f, "younger than {span}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_in_restic() {
        let span = |years, months, days, hours| KeepSpan { years, months, days, hours };
        for (text, wanted) in [
            ("1y5m7d2h", span(1, 5, 7, 2)),
            ("7d", span(0, 0, 7, 0)),
            ("2h1y", span(1, 0, 0, 2)),
            ("37h", span(0, 0, 0, 37)),
            ("0d", span(0, 0, 0, 0)),
        ] {
            assert_eq!(text.parse::<KeepSpan>().unwrap(), wanted, "{text}");
        }
        for text in ["", "7", "d", "7w", "1y1y", "-7d", "7 d", "1.5h", "99999999999d", "7d3"] {
            assert!(text.parse::<KeepSpan>().is_err(), "{text}");
        }
        assert_eq!(span(1, 5, 7, 2).to_string(), "1y5m7d2h");
        assert_eq!(span(0, 0, 0, 0).to_string(), "0h");
        assert_eq!(span(0, 2, 0, 0).to_string(), "2m");
    }

    #[test]
    fn counts_may_be_without_end() {
        assert_eq!("unlimited".parse(), Ok(KeepCount::Unlimited));
        assert_eq!("7".parse(), Ok(KeepCount::Number(7)));
        assert!("-1".parse::<KeepCount>().is_err() && "all".parse::<KeepCount>().is_err());
    }

    #[test]
    fn groups_are_named_in_both_numbers() {
        assert_eq!("hosts,path".parse(), Ok(GroupBy::default()));
        assert_eq!("".parse(), Ok(GroupBy::NOTHING));
        let by = GroupBy { tags: true, source: true, ..GroupBy::NOTHING };
        assert_eq!("tags, source".parse(), Ok(by));
        assert!("size".parse::<GroupBy>().is_err());
    }

    #[test]
    fn reasons_are_words() {
        let span = KeepSpan { days: 7, ..KeepSpan::default() };
        let rule = |of, limit, oldest| Reason::Rule { rule: KeepRule { of, limit }, oldest }.to_string();
        let newest = KeepLimit::Newest(KeepCount::Number(3));
        assert_eq!(rule(Period::Each, newest, false), "last snapshot");
        assert_eq!(rule(Period::Week, newest, true), "oldest weekly snapshot");
        assert_eq!(rule(Period::Each, KeepLimit::Within(span), false), "within 7d");
        assert_eq!(rule(Period::Hour, KeepLimit::Within(span), false), "hourly within 7d");
        assert_eq!(Reason::Tags(vec!["a".into(), "b".into()]).to_string(), "tag a,b");
        assert_eq!(Reason::Held("audit".into()).to_string(), "held: audit");
    }

    #[test]
    fn a_policy_of_nothing_is_empty() {
        let nothing = KeepRule { of: Period::Day, limit: KeepLimit::Newest(KeepCount::Number(0)) };
        let empty = KeepRule { of: Period::Each, limit: KeepLimit::Within(KeepSpan::default()) };
        let mut policy = KeepPolicy { rules: vec![nothing, empty], tags: Vec::new() };
        assert!(policy.is_empty());
        policy.tags.push(vec!["keep".into()]);
        assert!(!policy.is_empty());
    }
}
