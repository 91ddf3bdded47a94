//! How a policy stands: its sources, its copies, what is due.
//!
//! On purpose not here: how one source or one copy is judged.

use super::ask::{Seen, Trouble};
use super::problem::{Problem, drill};
use super::source::Judged;
use super::words::{quoted, span, span_in_words};
use super::{Known, Next, State, Status, copies, deadline, slots, source};
use crate::schedule::which;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A drill that is late by less may still come.
const DRILL_GRACE: SignedDuration = SignedDuration::from_hours(24);

/// Adds what is to be said of a policy.
pub(super) fn add(status: &mut Status, known: &Known, seen: &Seen, zone: &TimeZone) {
    let (policy, now) = (&known.policy, status.now);
    status.problems.extend(repository(known, seen));
    status.problems.extend(gaps(known, seen));
    status.problems.extend(unread(known, seen));
    status.problems.extend(deadline::judge(known, seen, (now, zone)));
    let at = (now, zone);
    let sources = policy.sources.0.iter();
    let mut judged: Vec<Judged> =
        sources.map(|(name, source)| source::judge(known, (name, source), seen, at)).collect();
    let copied = copies::judge(known, seen, now);
    for judged in &mut judged {
        let full = format!("{}/{}", policy.name, judged.state.source);
        judged.state.copied_until = copied.until(&full, now);
        judged.state.max_lag = policy.copies.iter().filter_map(|copy| copy.max_lag).map(|lag| lag.0).min();
    }
    for (slot, problem) in slots::judge(known, &seen.slots) {
        if let Some(judged) = judged.iter_mut().find(|judged| judged.state.source == slot.source)
            && let Some(problem) = problem
        {
            judged.state.state = judged.state.state.max(problem.state);
            judged.problems.push(problem);
        }
        status.slots.push(slot);
    }
    status.problems.extend(overdue(known, &mut judged, now));
    for judged in judged {
        status.problems.extend(judged.problems);
        status.sources.push(judged.state);
    }
    status.copies.extend(copied.copies);
    status.problems.extend(copied.problems);
    for hold in &seen.repository().holds {
        if !status.holds.iter().any(|known| known.id == hold.id) {
            status.holds.push(hold.clone());
        }
    }
    status.next.push(next(known, seen, now));
}

/// What is wrong with the repository itself.
fn repository(known: &Known, seen: &Seen) -> Option<Problem> {
    let (policy, place) = (&known.policy, seen.repository());
    let (name, url) = (&policy.name, &place.url);
    let trouble = place.snapshots.as_ref().err()?;
    let (state, what, why, next) = match trouble {
        // Nothing was asked because nothing was to be asked; the sources say what is remembered.
        Trouble::NotForThisHost => return None,
        Trouble::NotAsked(why) => {
            let what = format!("{name}: nobody can tell from here how it stands: {url} was not read.");
            (State::Unknown, what, why, String::new())
        }
        Trouble::Bad(why, next) => {
            let what = format!(
                "{name}: the repository {url} cannot be opened. Until it can, nothing can be restored from it."
            );
            (State::Disaster, what, why, next.clone())
        }
    };
    let condition = if state == State::Disaster { "repository-out-of-reach" } else { "cannot-tell" };
    let look = format!("holdfast -r {} snapshots", quoted(url));
    let to_do = if next.is_empty() { look } else { format!("{next} ; then: {look}") };
    let copy = seen.copies().iter().find(|copy| copy.snapshots.is_ok());
    let restore = match copy {
        Some(copy) => format!("from the copy {}: holdfast -r {} snapshots", copy.name, quoted(&copy.url)),
        None if policy.copies.is_empty() => "there is no copy: this repository is the only way".to_owned(),
        None => "no copy can be read from here either: see what is said of them".to_owned(),
    };
    let problem = Problem::new(state, condition, name, what).why(why);
    Some(
        problem.then(to_do, "make a new repository in its place: the old one may only be away").back(restore),
    )
}

/// What could not be found out beside the snapshots: it may hide something.
fn gaps(known: &Known, seen: &Seen) -> Option<Problem> {
    lacking(known, seen, &seen.gaps, ("not-all-seen", "not everything could be looked at"))
}

/// What is stored and could not be read: what is not there is judged by what is.
fn unread(known: &Known, seen: &Seen) -> Option<Problem> {
    lacking(known, seen, &seen.unread, ("partly-unreadable", "not all that is stored could be read"))
}

fn lacking(
    known: &Known,
    seen: &Seen,
    all: &[String],
    (condition, what): (&'static str, &str),
) -> Option<Problem> {
    let first = all.first()?;
    let name = &known.policy.name;
    let why = match all.len() - 1 {
        0 => first.clone(),
        more => format!("{first} (and {more} more)"),
    };
    let check = format!("holdfast -r {} check", quoted(&seen.repository().url));
    let problem = Problem::new(State::Warning, condition, name, format!("{name}: {what}.")).why(why);
    Some(
        problem.then(check, "take what is missing on this screen for good news").back("not affected by this"),
    )
}

/// A drill that was due and did not run. Of a policy, as it is one drill.
fn overdue(known: &Known, judged: &mut [Judged], now: Timestamp) -> Option<Problem> {
    let late = |due: Timestamp| now.duration_since(due) > DRILL_GRACE;
    let mut first: Option<Timestamp> = None;
    for judged in judged {
        let Some(due) = judged.state.drill_due.filter(|due| late(*due)) else { continue };
        judged.state.state = judged.state.state.max(State::Warning);
        first = Some(first.map_or(due, |first| first.min(due)));
    }
    let (name, late) = (&known.policy.name, super::words::passed(first?, now));
    let what =
        format!("{name} was due for a drill {} ago, and there is no evidence of one.", span_in_words(late));
    let hosts = known.policy.drill.as_ref().map(|drill| drill.hosts.as_slice()).unwrap_or_default();
    let why = match hosts {
        [] => format!("no drill left a record since it was due, {} ago", span(late)),
        hosts => format!("no drill left a record; it runs on {} only", hosts.join(", ")),
    };
    let problem = Problem::new(State::Warning, "drill-due", name, what).why(why);
    Some(problem.then(drill(known), "count on a restore that nobody has seen").back("not affected by this"))
}

/// What comes next.
fn next(known: &Known, seen: &Seen, now: Timestamp) -> Next {
    let policy = &known.policy;
    let clock = |clock: which::Maybe| clock.ok().flatten().and_then(|clock| clock.after(now));
    let runs = policy.sources.0.iter().filter_map(|(name, _)| clock(which::of_source(policy, name)));
    Next {
        policy: policy.name.clone(),
        run: runs.min(),
        drill: clock(which::of_drill(policy)),
        readable: seen.repository().snapshots.is_ok(),
    }
}
