//! What says that it was made in the future: some clock is wrong, and it is not the newest of anything.
//!
//! Were it taken for the newest, nothing would be too old for as long as that clock was ahead. On purpose not here:
//! leaving it out, which each does who looks for the newest.

use super::ask::{Seen, Snapshot};
use super::problem::{Problem, drill, run};
use super::words::{moment, passed, quoted, span_in_words};
use super::{Known, State};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// So far may clocks be apart. What lies further ahead is told.
const APART: SignedDuration = SignedDuration::from_mins(10);

/// Whether a moment lies so far ahead that some clock is wrong.
pub(super) fn is_ahead(moment: Timestamp, now: Timestamp) -> bool {
    moment.duration_since(now) > APART
}

/// Something of a source that lies ahead.
struct Ahead {
    at: Timestamp,
    /// What it is, as the beginning of a sentence.
    what: String,
    /// Whose clock made it.
    host: String,
    /// What to do once that clock is right.
    then: String,
}

/// What of a source lies ahead: it does not count, and somebody has to see to a clock. Of several the first of a
/// snapshot, a log, a drill and a run is named, as each says more than the next.
pub(super) fn judge(
    known: &Known,
    name: &str,
    seen: &Seen,
    restore: String,
    (now, zone): (Timestamp, &TimeZone),
) -> Option<Problem> {
    let full = known.policy.label(name);
    let candidates = [
        snapshot(known, &full, seen, now),
        log(&full, seen),
        drilled(known, name, seen, now),
        ran(known, name, seen, now),
    ];
    let mut found: Vec<Ahead> = candidates.into_iter().flatten().collect();
    let more = found.len().saturating_sub(1);
    found.truncate(1);
    let ahead = found.pop()?;
    let far = span_in_words(passed(now, ahead.at));
    let what = format!(
        "{full}: {} is of {}, {far} ahead of the clock of this host. It does not count.",
        ahead.what,
        moment(ahead.at, now, zone)
    );
    let others = if more == 0 { "" } else { "; more of this source lies ahead too" };
    let why = format!(
        "the clock of {} was ahead when it was made, or that of this host is behind now{others}",
        ahead.host
    );
    let problem = Problem::new(State::High, "clock-ahead", &known.policy.name, what).of(name).why(why);
    Some(
        problem
            .then(
                format!(
                    "date, on {} and here: set the clock that is wrong ; then: {}",
                    ahead.host, ahead.then
                ),
                "set a right clock to the wrong one, or forget anything before a newer whole backup is there",
            )
            .back(restore),
    )
}

/// The snapshot that lies furthest ahead.
fn snapshot(known: &Known, full: &str, seen: &Seen, now: Timestamp) -> Option<Ahead> {
    let place = seen.repository();
    let is_one = |snapshot: &&Snapshot| snapshot.source == full && is_ahead(snapshot.ended, now);
    let found = place.known().iter().filter(is_one).max_by_key(|snapshot| snapshot.ended)?;
    let (short, url) = (short(found), quoted(&place.url));
    let name = full.strip_prefix(&format!("{}/", known.policy.name)).unwrap_or(full);
    Some(Ahead {
        at: found.ended,
        what: format!("snapshot {short}"),
        host: host(&found.host, "the host that made it"),
        then: format!(
            "{} ; once a whole one of a right time is there: holdfast -r {url} snapshots ; \
             holdfast -r {url} forget {short} --unsafe-allow-remove-newest",
            run(known, name)
        ),
    })
}

/// What was last stored of its log.
fn log(full: &str, seen: &Seen) -> Option<Ahead> {
    let own = seen.repository().known().iter().filter(|snapshot| snapshot.source == full);
    let at = *own.filter_map(|snapshot| seen.logs.ahead.get(&snapshot.id)).max()?;
    Some(Ahead {
        at,
        what: "what was last stored of its log".to_owned(),
        host: "the host that stores its log".to_owned(),
        then: "what is stored from then on counts again: holdfast wal status".to_owned(),
    })
}

fn drilled(known: &Known, name: &str, seen: &Seen, now: Timestamp) -> Option<Ahead> {
    let own = |record: &&crate::evidence::Record| {
        is_ahead(record.ended, now) && record.sources.iter().any(|source| source.source == name)
    };
    let record = seen.drills.iter().filter(own).max_by_key(|record| record.ended)?;
    Some(Ahead {
        at: record.ended,
        what: format!("its drill {}", record.id),
        host: host(&record.host, "the host that drilled"),
        then: drill(known),
    })
}

/// The last backup that is remembered, where nothing else tells of it.
fn ran(known: &Known, name: &str, seen: &Seen, now: Timestamp) -> Option<Ahead> {
    seen.repository().snapshots.as_ref().err()?;
    let end = seen.backups.get(name)?.good.as_ref()?.end.as_ref()?;
    is_ahead(end.ended, now).then(|| Ahead {
        at: end.ended,
        what: "the last backup that is remembered".to_owned(),
        host: "the host that ran it".to_owned(),
        then: run(known, name),
    })
}

fn host(name: &str, unknown: &str) -> String {
    if name.is_empty() { unknown.to_owned() } else { name.to_owned() }
}

/// The beginning of its id, as people name it.
pub(super) fn short(snapshot: &Snapshot) -> &str {
    snapshot.id.get(..8).unwrap_or(&snapshot.id)
}
