//! What has to be deleted soon because the policy says so: the last of a source, told two weeks before.
//!
//! On purpose not here: what goes while later ones stay, which `forget` tells.

use super::ahead::is_ahead;
use super::ask::{Repository, Seen};
use super::problem::{Problem, run};
use super::words::{moment, quoted};
use super::{Known, State};
use crate::policy::units::Span;
use crate::policy::{LogMode, Policy, REPOSITORY};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// So long before it happens it is told.
const WARNING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Sources of which nothing will be left, in the repository or in a copy.
pub(super) fn judge(known: &Known, seen: &Seen, (now, zone): (Timestamp, &TimeZone)) -> Vec<Problem> {
    let mut problems = Vec::new();
    for place in &seen.places {
        let Some(span) = span(&known.policy, &place.name) else { continue };
        for (name, _) in &known.policy.sources.0 {
            let full = format!("{}/{name}", known.policy.name);
            let due = last(place, &full, span, now).and_then(|last| after_holds(place, &full, last));
            let soon = due.filter(|due| due.duration_since(now) <= WARNING);
            problems.extend(soon.map(|due| told(known, name, place, &moment(due, now, zone), span)));
        }
    }
    problems
}

/// After how long everything goes there.
pub(super) fn span(policy: &Policy, place: &str) -> Option<Span> {
    let own = policy.retention.as_ref();
    let copy = policy.copies.iter().find(|copy| copy.name == place && place != REPOSITORY);
    copy.and_then(|copy| copy.retention.as_ref()).or(own)?.delete_after
}

/// When the last of a source goes. What says that it was made in the future goes by when it was seen, which is not
/// known here: it pushes nothing out.
fn last(place: &Repository, full: &str, span: Span, now: Timestamp) -> Option<Timestamp> {
    let own = place.known().iter().filter(|snapshot| snapshot.source == full);
    let newest = own.map(|one| one.ended).filter(|ended| !is_ahead(*ended, now)).max()?;
    newest.checked_add(SignedDuration::try_from(span.0).ok()?).ok()
}

/// A hold is stronger while it stands; which snapshot it is on is not asked. None if one stands until it is released.
fn after_holds(place: &Repository, full: &str, last: Timestamp) -> Option<Timestamp> {
    let mut on_it = place.holds.iter().filter(|hold| hold.what == "everything" || hold.what.ends_with(full));
    on_it.try_fold(last, |due, hold| Some(due.max(hold.until?)))
}

/// Of a log nothing goes for its age alone.
fn but_its_log(known: &Known, name: &str) -> &'static str {
    let source = known.policy.sources.0.iter().find(|(own, _)| own == name);
    let postgres = source.and_then(|(_, source)| source.postgres.as_ref());
    match postgres.is_some_and(|postgres| postgres.wal != LogMode::Off) {
        true => " but its log: that stays until it was backed up again and pruned",
        false => "",
    }
}

fn told(known: &Known, name: &str, place: &Repository, when: &str, span: Span) -> Problem {
    let (policy, url) = (&known.policy.name, quoted(&place.url));
    let what = format!(
        "{policy}/{name}: its last snapshot in {} reaches delete_after ({span}) {when}; after that nothing of it is left there{}.",
        place.name,
        but_its_log(known, name)
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
