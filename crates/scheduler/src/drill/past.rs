//! What drills of a policy were before: how many, and which times passed without one.
//!
//! The evidence in repositories says so, and where that cannot be read, the catalog of this host. On
//! purpose not here: writing evidence.

use crate::catalog::Catalog;
use crate::hands::{Call, Hands, Place};
use crate::policy::{Activity, Policy};
use crate::schedule::{Clockwork, which};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the fields of [`Missed`].
const MISSED_VERSION: u32 = 1;
/// So many times of one gap are named; older ones are counted.
const NAMED_MAX: usize = 50;
/// A drill that is late by less may still come.
const LATE: SignedDuration = SignedDuration::from_hours(24);

/// A record that drills were due and did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// [`MISSED_VERSION`].
    pub version: u32,
    /// The policy.
    pub policy: String,
    /// The host that noticed.
    pub host: String,
    /// When it noticed.
    pub noticed: Timestamp,
    /// The last drill before; none if there was none.
    pub last: Option<Timestamp>,
    /// The times that passed, oldest first; the first ones at most.
    pub due: Vec<Timestamp>,
    /// The last of them.
    pub until: Timestamp,
    /// How many they were.
    pub count: u64,
    /// Why, as far as that is known.
    pub because: String,
}

/// What is known of earlier drills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// When they began, ascending.
    pub drills: Vec<Timestamp>,
    /// The last time of which it is recorded that it was missed.
    pub missed: Option<Timestamp>,
}

/// Looks into the evidence of all places that can be read here, and into the catalog.
pub(crate) async fn past(hands: &dyn Hands, policy: &Policy, catalog: Option<&Catalog>) -> Past {
    let mut past = Past::default();
    let names: Vec<String> = policy.places().map(str::to_owned).collect();
    for name in names {
        let Some(place) = policy.place(&name, Activity::Read) else { continue };
        in_place(hands, &place, &policy.name, &mut past).await;
    }
    if let Some(catalog) = catalog {
        let known = catalog.drills(&policy.name).await.unwrap_or_default();
        past.drills.extend(known.iter().map(|record| record.started));
    }
    past.drills.sort();
    past.drills.dedup();
    past
}

async fn in_place(hands: &dyn Hands, place: &Place, policy: &str, past: &mut Past) {
    let call = Call { bare: true, ..Call::on(place, ["evidence", "show"]) };
    // What is not to be read there says nothing; the drill itself will say why.
    let Ok(answer) = hands.verb(call).await else { return };
    for line in answer.all("evidence").filter(|line| line["record"]["policy"] == policy) {
        let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        match line["kind"].as_str() {
            Some("drill") => past.drills.extend(time(&line["record"]["started"])),
            Some("missed") => past.missed = past.missed.max(time(&line["record"]["until"])),
            _ => {}
        }
    }
}

/// Whether a drill is due, and when the next one is.
///
/// # Errors
/// The policy's time for it is none; in words for people.
pub async fn due_now(
    hands: &dyn Hands,
    policy: &Policy,
    catalog: Option<&Catalog>,
) -> Result<(bool, Option<Timestamp>), String> {
    let past = past(hands, policy, catalog).await;
    due(policy, &past, hands.now())
}

fn due(policy: &Policy, past: &Past, now: Timestamp) -> Result<(bool, Option<Timestamp>), String> {
    let Some(clockwork) = which::of_drill(policy)? else { return Ok((true, None)) };
    let Some(last) = past.drills.last() else { return Ok((true, clockwork.after(now))) };
    let next = clockwork.after(*last);
    match next.is_some_and(|next| next <= now) {
        true => Ok((true, next)),
        false => Ok((false, next)),
    }
}

/// Times that passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// The first ones.
    due: Vec<Timestamp>,
    until: Option<Timestamp>,
    count: u64,
}

/// The times at which a drill was due and none ran, and of which there is no record yet. `drilling`: one
/// begins now, which is the one for the last of them.
pub(super) fn missed(clockwork: &Clockwork, past: &Past, now: Timestamp, drilling: bool) -> Passed {
    let mut passed = Passed::default();
    // Before the first drill nothing was promised.
    let Some(mut at) = past.drills.last().copied().max(past.missed.filter(|_| !past.drills.is_empty()))
    else {
        return passed;
    };
    while let Some(next) = clockwork.after(at).filter(|next| *next <= now) {
        let following = clockwork.after(next).filter(|following| *following <= now);
        let late = now.duration_since(next) > LATE;
        if following.is_none() && (drilling || !late) {
            break;
        }
        passed.count += 1;
        passed.until = Some(next);
        if passed.due.len() < NAMED_MAX {
            passed.due.push(next);
        }
        at = next;
    }
    passed
}

/// Leaves a record of drills that were due and did not run, in the repository or the first copy that takes it.
pub(crate) async fn record_missed(
    hands: &dyn Hands,
    policy: &Policy,
    past: &Past,
    drilling: bool,
) -> Option<Missed> {
    let clockwork = which::of_drill(policy).ok()??;
    let now = hands.now();
    let Passed { due, until, count } = missed(&clockwork, past, now, drilling);
    let until = until?;
    let missed = Missed {
        version: MISSED_VERSION,
        policy: policy.name.clone(),
        host: hands.host(),
        noticed: now,
        last: past.drills.last().copied(),
        due,
        until,
        count,
        because: "no drill was started at that time; nothing more is known".to_owned(),
    };
    let text = serde_json::to_string(&missed).ok()?;
    let names: Vec<String> = policy.places().map(str::to_owned).collect();
    for place in names.iter().filter_map(|name| policy.place(name, Activity::Read)) {
        if hands.record(&place, "missed", &text).await.is_ok() {
            return Some(missed);
        }
    }
    Some(missed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::policy::Schedule;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn weekly() -> Clockwork {
        let schedule = Schedule { cron: "0 4 * * 0".into(), ..Schedule::default() };
        Clockwork::of(&schedule, "shop/drill").unwrap()
    }

    fn past(last: &str) -> Past {
        Past { drills: vec![at(last)], missed: None }
    }

    #[test]
    fn a_time_that_passed_without_a_drill_is_missed() {
        // 2026-11-01, 08, 15 and 22 are Sundays.
        let (last, now) = (past("2026-11-01T04:00:05Z"), at("2026-11-22T04:00:05Z"));
        let sundays = [at("2026-11-08T04:00:00Z"), at("2026-11-15T04:00:00Z")];
        let passed = missed(&weekly(), &last, now, true);
        assert_eq!((&passed.due[..], passed.until, passed.count), (&sundays[..], Some(sundays[1]), 2));
        // Nobody drills, but it is not late yet.
        assert_eq!(missed(&weekly(), &last, now, false).count, 2);
        assert_eq!(missed(&weekly(), &last, at("2026-11-23T09:00:00Z"), false).count, 3);
        assert_eq!(missed(&weekly(), &last, at("2026-11-23T09:00:00Z"), true).count, 2);
    }

    #[test]
    fn what_is_on_time_or_recorded_is_not_missed() {
        let week = past("2026-11-15T04:00:05Z");
        assert_eq!(missed(&weekly(), &week, at("2026-11-22T04:00:05Z"), true).count, 0);
        assert_eq!(missed(&weekly(), &week, at("2026-11-20T04:00:05Z"), false).count, 0);
        let noticed = Past { missed: Some(at("2026-11-15T04:00:00Z")), ..past("2026-11-01T04:00:05Z") };
        assert_eq!(missed(&weekly(), &noticed, at("2026-11-22T04:00:05Z"), true).count, 0);
        assert_eq!(missed(&weekly(), &Past::default(), at("2026-11-22T04:00:05Z"), true).count, 0);
    }

    #[test]
    fn many_are_counted_and_some_named() {
        let passed = missed(&weekly(), &past("2020-01-01T00:00:00Z"), at("2026-11-22T05:00:00Z"), true);
        assert!(passed.due.len() == NAMED_MAX && passed.count > 300, "{passed:?}");
    }
}
