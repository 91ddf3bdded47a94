//! What a backup keeps of objects beside what comes with them, and how often it looks at that again.
//!
//! Headers, user metadata and the class of storage come with each object and are always kept. Tags,
//! access rights and locks change without a trace in a listing, so a part of all objects is looked at
//! again in each run; which part goes round. The facts of a snapshot say what was kept and which
//! part it was. On purpose not here: asking.

use holdfast_engine::source::Before;
use std::fmt;

/// Names of facts: what was kept, what of that the server was seen to know, how often all is looked
/// at again, which part it was.
const KEPT: &str = "metadata kept";
const TOLD: &str = "metadata told";
const SWEEP: &str = "metadata sweep";
const PART: &str = "metadata sweep part";
/// Most runs in which all is looked at again.
const PARTS_MAX: u16 = 365;
/// Before this was a choice.
const ONCE: Keep = Keep { tags: true, acl: false, lock: true };
const DAY_SECONDS: i64 = 86_400;

/// What is kept of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Tags, which take a request for each object that is read.
    pub tags: bool,
    /// Access rights, which take another.
    pub acl: bool,
    /// Locks, which come with the object.
    pub lock: bool,
}

/// Whether the configuration of the bucket itself is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepConfiguration {
    /// It is not asked for.
    #[default]
    No,
    /// As far as it may be read.
    IfAllowed,
    /// What may not be read of it is a problem.
    Demanded,
}

/// Reads what is kept, of objects and of the bucket itself, as a list: `tags,bucket`, `all` or `none`.
///
/// # Errors
/// A word is none of those; in words.
pub fn parse_metadata(text: &str) -> Result<(Keep, KeepConfiguration), String> {
    let words: Vec<_> = text.split(',').map(str::trim).collect();
    let is_bucket = |word: &&str| *word == "bucket";
    let demanded = text == "all" || words.iter().any(is_bucket);
    let others: Vec<_> = words.into_iter().filter(|word| !is_bucket(word)).collect();
    let keep = if others.is_empty() { Keep::default() } else { Keep::parse(&others.join(","))? };
    if demanded && text != "all" && matches!(others[..], ["all" | "none"]) {
        return Err(format!("{} stands alone", others[0]));
    }
    Ok((keep, if demanded { KeepConfiguration::Demanded } else { KeepConfiguration::No }))
}

impl Keep {
    /// Reads a list: `tags,lock`, `all` or `none`.
    ///
    /// # Errors
    /// A word is none of these; in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keep = Self::default();
        match text {
            "all" => return Ok(Self { tags: true, acl: true, lock: true }),
            "none" => return Ok(keep),
            _ => {}
        }
        for word in text.split(',') {
            let kept = match word.trim() {
                "tags" => &mut keep.tags,
                "acl" => &mut keep.acl,
                "lock" => &mut keep.lock,
                other => return Err(format!("{other} is none of tags, acl, lock, bucket, all and none")),
            };
            *kept = true;
        }
        Ok(keep)
    }

    /// Whether any of it can change unseen.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.tags || self.acl || self.lock
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.tags, "tags"), (self.acl, "acl"), (self.lock, "lock")];
        let words: Vec<_> = words.into_iter().filter(|(kept, _)| *kept).map(|(_, word)| word).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(","))
    }
}

/// In how many runs all that is kept is looked at again; none if never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep(pub Option<u16>);

impl Sweep {
    /// Reads `1/30` or `off`.
    ///
    /// # Errors
    /// It is something else; in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.strip_prefix("1/").and_then(|parts| parts.parse().ok());
        match (text, parts) {
            ("off", _) => Ok(Self(None)),
            (_, Some(parts @ 1..=PARTS_MAX)) => Ok(Self(Some(parts))),
            _ => Err(format!("{text} is neither off nor a part from 1/1 to 1/{PARTS_MAX}")),
        }
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(parts) => write!(f, "1/{parts}"),
        }
    }
}

/// Which objects are looked at again in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Round {
    keep: Keep,
    sweep: Sweep,
    /// The part of this run; it counts on from run to run, also where nothing is looked at.
    part: u64,
    /// Something else was kept before: all objects.
    all: bool,
}

impl Round {
    pub(crate) fn new(keep: Keep, sweep: Sweep) -> Self {
        Self { keep, sweep, ..Self::default() }
    }

    /// Goes on from where the last run was; says too what the server told of then.
    pub(crate) fn after(self, before: &Before) -> (Self, Keep) {
        let day = before.start.seconds.div_euclid(DAY_SECONDS).to_le_bytes();
        let Some(facts) = &before.facts else {
            // Which part the last run had cannot be read by whoever may only write.
            return (Self { part: hashed(&day), ..self }, Keep::default());
        };
        let find = |wanted: &str| facts.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let list = |wanted: &str| find(wanted).and_then(|value| Keep::parse(value).ok());
        let (kept, told) = (list(KEPT).unwrap_or(ONCE), list(TOLD).unwrap_or_default());
        let last: Option<u64> = find(PART).and_then(|value| value.parse().ok());
        let part = match (before.may_leave_none, self.sweep.0, last) {
            // A run that leaves nothing leaves no part either, and would look at the same for ever.
            (true, Some(_), _) => hashed(&day),
            (_, Some(_), Some(last)) => last.wrapping_add(1),
            (_, None, Some(last)) => last,
            (_, _, None) => 0,
        };
        let told = Keep { tags: told.tags && self.keep.tags, acl: told.acl && self.keep.acl, lock: false };
        (Self { part, all: !facts.is_empty() && kept != self.keep, ..self }, told)
    }

    /// Whether an object is looked at again.
    pub(crate) fn takes(&self, key: &str) -> bool {
        let in_part = |parts: u16| hashed(key.as_bytes()) % u64::from(parts) == self.part % u64::from(parts);
        self.all || self.keep.is_any() && self.sweep.0.is_some_and(in_part)
    }

    /// What the next run goes on from.
    pub(crate) fn facts(&self, told: Keep) -> [(String, String); 4] {
        let (kept, told) = (self.keep.to_string(), told.to_string());
        let facts =
            [(KEPT, kept), (TOLD, told), (SWEEP, self.sweep.to_string()), (PART, self.part.to_string())];
        facts.map(|(name, value)| (name.to_owned(), value))
    }
}

fn hashed(bytes: &[u8]) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(front)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use holdfast_core::entry::Time;

    const ALL: Keep = Keep { tags: true, acl: true, lock: true };

    #[test]
    fn what_is_kept_is_a_list() {
        for (text, shown) in
            [("all", "tags,acl,lock"), ("none", "none"), ("lock, tags", "tags,lock"), ("acl", "acl")]
        {
            let keep = Keep::parse(text).unwrap();
            assert_eq!(keep.to_string(), shown);
            assert_eq!(Keep::parse(shown), Ok(keep));
        }
        for text in ["", "tag", "tags,", "all,tags", "none,acl"] {
            assert!(Keep::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_bucket_itself_is_one_of_the_words() {
        use KeepConfiguration::{Demanded, No};
        let tags = Keep { tags: true, ..Keep::default() };
        for (text, wanted) in [
            ("all", (ALL, Demanded)),
            ("none", (Keep::default(), No)),
            ("bucket", (Keep::default(), Demanded)),
            ("bucket, tags", (tags, Demanded)),
            ("tags", (tags, No)),
        ] {
            assert_eq!(parse_metadata(text), Ok(wanted), "{text}");
        }
        for text in ["", "bucket,", "bucket,all", "none,bucket", "buckets"] {
            assert!(parse_metadata(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sweep_is_a_part_or_off() {
        for text in ["off", "1/1", "1/30", "1/365"] {
            assert_eq!(Sweep::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "1/0", "1/366", "2/30", "30", "on", "1/x"] {
            assert!(Sweep::parse(text).is_err(), "{text}");
        }
    }

    /// The next run, from what this one leaves.
    fn next(round: Round, again: Round) -> Round {
        let facts = Some(round.facts(Keep::default()).to_vec());
        again.after(&Before { facts, ..Before::default() }).0
    }

    #[test]
    fn each_object_is_looked_at_once_in_a_round() {
        let fresh = Round::new(ALL, Sweep(Some(7)));
        let mut round = fresh.after(&Before { facts: Some(Vec::new()), ..Before::default() }).0;
        assert_eq!((round.part, round.all), (0, false));
        let mut times = [0; 200];
        for _ in 0..7 {
            round = next(round, fresh);
            for (number, times) in times.iter_mut().enumerate() {
                *times += u32::from(round.takes(&format!("key {number}")));
            }
        }
        assert_eq!(times, [1; 200]);
        // Off, it goes on later from where it was.
        let off = next(round, Round::new(ALL, Sweep(None)));
        assert!(!(0..200).any(|number| off.takes(&format!("key {number}"))));
        assert_eq!(next(off, fresh).part, round.part + 1);
    }

    #[test]
    fn whoever_keeps_something_else_looks_at_all() {
        let none = Round::new(Keep::default(), Sweep(None));
        let tags = Round::new(Keep { tags: true, ..Keep::default() }, Sweep(Some(365)));
        assert!(next(none, tags).takes("x") && next(tags, none).takes("x"));
        assert!(!next(none, none).takes("x"));
        // Snapshots that do not say kept tags and locks.
        let old =
            Before { facts: Some(vec![("objects listed".to_owned(), "1".to_owned())]), ..Before::default() };
        assert!(!Round::new(ONCE, Sweep(None)).after(&old).0.all && none.after(&old).0.all);
    }

    #[test]
    fn what_was_told_once_is_remembered_while_it_is_kept() {
        let tags = Keep { tags: true, ..Keep::default() };
        let facts = Some(Round::new(ALL, Sweep(None)).facts(tags).to_vec());
        let before = Before { facts, ..Before::default() };
        assert_eq!(Round::new(ALL, Sweep(None)).after(&before).1, tags);
        assert_eq!(Round::new(Keep::default(), Sweep(None)).after(&before).1, Keep::default());
    }

    #[test]
    fn runs_that_know_nothing_of_the_last_go_by_the_day() {
        let fresh = Round::new(ALL, Sweep(Some(30)));
        let on = |days: i64, facts: Option<Vec<(String, String)>>, may_leave_none| {
            let start = Time { seconds: days * DAY_SECONDS + 7, nanos: 0 };
            fresh.after(&Before { facts, start, may_leave_none, landmarks: Vec::new() }).0
        };
        assert_eq!(on(9, None, false), on(9, None, false));
        assert_ne!(on(9, None, false).part, on(10, None, false).part);
        assert_eq!(on(9, Some(fresh.facts(ALL).to_vec()), true).part, on(9, None, false).part);
    }
}
