//! What has to be deleted soon because the policy says so: the last of a source, told two weeks before.
//!
//! Also what it is not said of any more, and stays for ever: sources that were taken out. On purpose not here: what
//! goes while later ones stay, which `forget` tells, and log of which no snapshot is left, which `prune` tells.

use super::ahead::is_ahead;
use super::ask::{Repository, Seen, Snapshot};
use super::problem::{Problem, run};
use super::words::{moment, quoted};
use super::{Known, State};
use crate::former::{Former, Told, former};
use crate::policy::units::Span;
use crate::policy::{Activity, LogMode, Policy, REPOSITORY};
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
            let its_log = log_until(seen, place, &full, span).map(|until| moment(until, now, zone));
            problems.extend(soon.map(|due| {
                let left = but_its_log(known, name, place, its_log.as_deref());
                told(known, name, place, &moment(due, now, zone), (span, &left))
            }));
        }
        problems.extend(of_former(known, place, (&seen.here, now, zone), span));
    }
    problems
}

/// What was backed up as sources that are none any more, and is too old.
fn of_former(
    known: &Known,
    place: &Repository,
    (here, now, zone): (&str, Timestamp, &TimeZone),
    span: Span,
) -> Option<Problem> {
    let policy = &known.policy;
    let own = policy.copies.iter().find(|copy| copy.name == place.name && place.name != REPOSITORY);
    let retention = own.and_then(|copy| copy.retention.as_ref()).or(policy.retention.as_ref())?;
    if retention.delete_former {
        return None;
    }
    let one = |one: &Snapshot| Told {
        source: one.source.clone(),
        host: one.host.clone(),
        tags: one.tags.clone(),
        ended: one.ended,
    };
    let all: Vec<_> = place.known().iter().map(one).collect();
    let found = former(policy, &all, here, span, now);
    let oldest = found.iter().map(|one| one.oldest).min()?;
    let names: Vec<_> = found.iter().map(Former::name).collect();
    let number: usize = found.iter().map(|one| one.old).sum();
    let of = policy
        .place(&place.name, Activity::Maintain)
        .or_else(|| policy.place(&place.name, Activity::Read))?;
    let commands: Vec<_> = found.iter().map(|one| one.typed(span, &of)).collect();
    let what = format!(
        "{}: of {} {} in {} {} older than delete_after ({span}), and nothing deletes {}.",
        policy.name,
        names.join(", "),
        if number == 1 { "1 snapshot".to_owned() } else { format!("{number} snapshots") },
        place.name,
        if number == 1 { "is" } else { "are" },
        if number == 1 { "it" } else { "them" },
    );
    let oldest = moment(oldest, now, zone);
    let problem = Problem::new(State::Warning, "former-source", &policy.name, what)
        .why(format!("no source of the policy is called so any more; the oldest was made {oldest}"))
        .then(
            format!(
                "{} ; or, for all of them at each run, beside delete_after: delete_former: true",
                commands.join(" ; ")
            ),
            "count on delete_after for what the policy does not name",
        )
        .back("as long as it is there, as usual");
    Some(if place.name == REPOSITORY { problem } else { problem.of_copy(&place.name) })
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

/// Until when there is log that leads on from a source's snapshots.
fn log_until(seen: &Seen, place: &Repository, full: &str, span: Span) -> Option<Timestamp> {
    let own = place.known().iter().filter(|snapshot| snapshot.source == full && place.name == REPOSITORY);
    let newest = own.filter_map(|snapshot| seen.logs.reaching.get(&snapshot.id)).max()?;
    newest.checked_add(SignedDuration::try_from(span.0).ok()?).ok()
}

/// Log goes as it reaches the same age. Copies have none.
fn but_its_log(known: &Known, name: &str, place: &Repository, until: Option<&str>) -> String {
    let source = known.policy.sources.0.iter().find(|(own, _)| own == name);
    let postgres = source.and_then(|(_, source)| source.postgres.as_ref());
    match place.name == REPOSITORY && postgres.is_some_and(|postgres| postgres.wal != LogMode::Off) {
        true => match until {
            Some(until) => format!(" but its log, the last of it until {until}"),
            None => " but its log, until that is as old".to_owned(),
        },
        false => String::new(),
    }
}

fn told(known: &Known, name: &str, place: &Repository, when: &str, (span, left): (Span, &str)) -> Problem {
    let (policy, url) = (&known.policy.name, quoted(&place.url));
    let what = format!(
        "{policy}/{name}: its last snapshot in {} reaches delete_after ({span}) {when}; after that nothing of it is left there{left}.",
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
