//! What has to be deleted soon because the policy says so: the last of a source, told two weeks before.
//!
//! On purpose not here: what goes while later ones stay, which `forget` tells.

use super::ask::{Repository, Seen};
use super::problem::{Problem, run};
use super::words::{moment, quoted};
use super::{Known, State};
use crate::policy::REPOSITORY;
use crate::policy::units::Span;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// So long before it happens it is told.
const WARNING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Sources of which nothing will be left, in the repository or in a copy.
pub(super) fn judge(known: &Known, seen: &Seen, (now, zone): (Timestamp, &TimeZone)) -> Vec<Problem> {
    let mut problems = Vec::new();
    for place in &seen.places {
        let Some(span) = deadline(known, &place.name) else { continue };
        for (name, _) in &known.policy.sources.0 {
            let last = last(place, &format!("{}/{name}", known.policy.name), span);
            let soon = last.filter(|last| last.duration_since(now) <= WARNING);
            problems.extend(soon.filter(|_| !is_held(known, seen, name)).map(|last| {
                let when = moment(last, now, zone);
                told(known, name, place, &when, span)
            }));
        }
    }
    problems
}

/// After how long everything goes there.
fn deadline(known: &Known, place: &str) -> Option<Span> {
    let own = known.policy.retention.as_ref();
    let copy = known.policy.copies.iter().find(|copy| copy.name == place && place != REPOSITORY);
    copy.and_then(|copy| copy.retention.as_ref()).or(own)?.delete_after
}

/// When the last of a source goes.
fn last(place: &Repository, full: &str, span: Span) -> Option<Timestamp> {
    let newest =
        place.known().iter().filter(|snapshot| snapshot.source == full).map(|one| one.ended).max()?;
    newest.checked_add(SignedDuration::try_from(span.0).ok()?).ok()
}

/// A hold is stronger; which snapshot it is on is not asked.
fn is_held(known: &Known, seen: &Seen, name: &str) -> bool {
    let full = format!("{}/{name}", known.policy.name);
    seen.holds.iter().any(|hold| hold.what == "everything" || hold.what.ends_with(&full))
}

fn told(known: &Known, name: &str, place: &Repository, when: &str, span: Span) -> Problem {
    let (policy, url) = (&known.policy.name, quoted(&place.url));
    let what = format!(
        "{policy}/{name}: its last snapshot in {} reaches delete_after ({span}) {when}; after that nothing of it is left there.",
        place.name
    );
    let problem = Problem::new(State::Warning, "last-one-expires", policy, what)
        .of(name)
        .why("no newer snapshot of it was made, and delete_after beats every keep rule")
        .then(
            format!(
                "back it up: {} ; or, if it has to stay: holdfast -r {url} hold {policy}/{name} --reason WHY",
                run(known, name)
            ),
            "count on a keep rule: none is stronger than delete_after",
        )
        .back("as long as it is there, as usual");
    if place.name == REPOSITORY { problem } else { problem.of_copy(&place.name) }
}
