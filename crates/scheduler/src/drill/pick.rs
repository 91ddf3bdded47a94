//! Which snapshot is drilled, and to what moment.
//!
//! On purpose not here: restoring it.

use super::{Point, Recorded};
use crate::hands::Answer;
use crate::policy::Pick;
use holdfast_engine::AHEAD_SECONDS_MAX;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What ends so much later than now was made by a clock that was wrong, or this one is.
const AHEAD_MAX: SignedDuration = SignedDuration::from_secs(AHEAD_SECONDS_MAX);

/// What a drill is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picked {
    pub(super) snapshot: Recorded,
    pub(super) point: Point,
}

/// From which snapshots on the log of a source goes to its end without a gap, and when that end came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Log {
    /// Ids of the snapshots to begin with.
    pub(super) bases: Vec<String>,
    /// When the newest of it was stored.
    pub(super) newest: Option<Timestamp>,
}

/// How to pick.
#[derive(Debug, Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) pick: Pick,
    /// Only what is younger.
    pub(super) within: Option<Duration>,
    pub(super) now: Timestamp,
    pub(super) random: u64,
    /// Something may be missing in a snapshot, as the policy says.
    pub(super) accepts: bool,
    /// This one and no other.
    pub(super) snapshot: Option<&'a str>,
    /// To this moment along the log: the words of `restore --to`.
    pub(super) to: Option<&'a str>,
}

/// The snapshots of a source, oldest first, from what `snapshots --json` says.
pub(super) fn recorded(answer: &Answer, label: &str) -> Vec<Recorded> {
    let of_source = answer.all("snapshot").filter(|line| line["source"] == label);
    let mut listed: Vec<_> = of_source.filter_map(one).collect();
    listed.sort_by_key(|snapshot| snapshot.time);
    listed
}

fn one(line: &Value) -> Option<Recorded> {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let summary = &line["summary"];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let began = time(&line["time"])?;
    Some(Recorded {
        id: line["id"].as_str()?.to_owned(),
        time: began,
        ended: time(&summary["backup_end"]).unwrap_or(began),
        paths: texts(&line["paths"]),
        incomplete: line["incomplete"].as_bool().unwrap_or(true),
        bytes: summary["total_bytes_processed"].as_u64().unwrap_or_default(),
        files: summary["total_files_processed"].as_u64().unwrap_or_default(),
        facts: facts(line),
    })
}

/// What was recorded beside a snapshot, where a line tells of it.
pub(super) fn facts(line: &Value) -> BTreeMap<String, String> {
    let all = line["facts"].as_object().into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// What there is of the log behind these snapshots, from what `wal status --json` says.
pub(super) fn log(answer: &Answer, snapshots: &[Recorded]) -> Log {
    let is_ours = |id: &&str| snapshots.iter().any(|snapshot| snapshot.id == *id);
    let mut log = Log::default();
    for window in answer.all("wal_window").filter(|line| line["to_newest"] == true) {
        // Each of them leads along the log, not only the one that leads farthest back.
        let within = window["snapshot_ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let bases: Vec<_> = within.filter(is_ours).map(str::to_owned).collect();
        if bases.is_empty() {
            continue;
        }
        log.bases.extend(bases);
        let alike =
            |line: &&Value| line["system"] == window["system"] && line["timeline"] == window["timeline"];
        let newest =
            answer.all("wal_timeline").find(alike).and_then(|line| line["newest"].as_str()?.parse().ok());
        log.newest = log.newest.max(newest);
    }
    log
}

/// The newest moment that can be had back: the end of the newest whole snapshot, or of the log behind it.
pub(super) fn newest(snapshots: &[Recorded], log: Option<&Log>, accepts: bool) -> Option<Timestamp> {
    let snapshot = snapshots.iter().filter(|one| accepts || !one.incomplete).map(|one| one.ended).max();
    snapshot.max(log.and_then(|log| log.newest))
}

/// Leaves out what lies in the future, as `restore latest` does, unless nothing else is whole: then this host's clock
/// may be the one that is wrong.
pub(super) fn till_now(mut snapshots: Vec<Recorded>, accepts: bool, now: Timestamp) -> Vec<Recorded> {
    let is_past = |one: &Recorded| one.ended.duration_since(now) <= AHEAD_MAX;
    if snapshots.iter().any(|one| is_past(one) && (accepts || !one.incomplete)) {
        snapshots.retain(is_past);
    }
    snapshots
}

/// Picks.
///
/// # Errors
/// There is nothing to pick from; in words for people.
pub(super) fn choose(snapshots: &[Recorded], log: Option<&Log>, how: How<'_>) -> Result<Picked, String> {
    if let Some(id) = how.snapshot {
        return by_id(snapshots, log, id, how.to);
    }
    let young = |one: &&Recorded| how.within.is_none_or(|within| one.ended >= before(how.now, within));
    let whole: Vec<_> = snapshots.iter().filter(|one| how.accepts || !one.incomplete).filter(young).collect();
    let Some((oldest, newest)) = whole.first().copied().zip(whole.last().copied()) else {
        return Err(nothing(snapshots, how));
    };
    let log = log.filter(|log| !log.bases.is_empty());
    let based: Vec<_> =
        whole.iter().copied().filter(|one| log.is_some_and(|log| log.bases.contains(&one.id))).collect();
    let picked = |snapshot: &Recorded, point| Picked { snapshot: snapshot.clone(), point };
    if let Some(to) = how.to {
        return Ok(picked(based.last().copied().unwrap_or(newest), along(to)));
    }
    let end = log.and_then(|log| log.newest);
    Ok(match how.pick {
        Pick::Latest if based.last().is_some_and(|base| base.id == newest.id) => {
            picked(newest, Point::Along("latest".into(), end))
        }
        Pick::Latest => picked(newest, Point::Snapshot),
        Pick::Oldest => picked(oldest, Point::Snapshot),
        Pick::Random => match moment(&based, end, how.random) {
            Some((base, moment)) => picked(base, Point::Along(format!("time={moment}"), Some(moment))),
            None => picked(whole[index(how.random, whole.len())], Point::Snapshot),
        },
    })
}

/// A moment between the end of the oldest base and that of the log, at a whole second; and the base for it.
fn moment<'a>(
    based: &[&'a Recorded],
    end: Option<Timestamp>,
    random: u64,
) -> Option<(&'a Recorded, Timestamp)> {
    // A second later at least, so that the base has ended whatever the fraction.
    let from = based.iter().map(|base| base.ended).min()?.as_second() + 1;
    let seconds = u64::try_from(end?.as_second() - from).ok().filter(|seconds| *seconds > 0)?;
    let moment = Timestamp::from_second(from + i64::try_from(random % (seconds + 1)).ok()?).ok()?;
    let base = based.iter().filter(|base| base.ended < moment).max_by_key(|base| base.ended)?;
    Some((base, moment))
}

fn index(random: u64, length: usize) -> usize {
    usize::try_from(random % length.max(1) as u64).unwrap_or_default()
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    now.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// The words of `restore --to`, with the moment that they name, if it is one.
fn along(words: &str) -> Point {
    let moment = words.strip_prefix("time=").and_then(|time| time.parse().ok());
    Point::Along(words.to_owned(), moment)
}

fn by_id(snapshots: &[Recorded], log: Option<&Log>, id: &str, to: Option<&str>) -> Result<Picked, String> {
    let mut meant = snapshots.iter().filter(|one| one.id.starts_with(id));
    let (first, second) = (meant.next(), meant.next());
    let snapshot = match (first, second) {
        (Some(one), None) => one.clone(),
        (Some(_), Some(_)) => return Err(format!("several snapshots have an id that begins with {id}")),
        (None, _) => return Err(format!("there is no snapshot {id} of it")),
    };
    let has_log = log.is_some_and(|log| log.bases.contains(&snapshot.id));
    let point = match to {
        Some(to) => along(to),
        None if has_log => Point::Along("immediate".into(), Some(snapshot.ended)),
        None => Point::Snapshot,
    };
    Ok(Picked { snapshot, point })
}

fn nothing(snapshots: &[Recorded], how: How<'_>) -> String {
    let incomplete = snapshots.iter().filter(|one| one.incomplete).count();
    match (snapshots.len(), how.within) {
        (0, _) => "there is no snapshot of it".to_owned(),
        (all, _) if all == incomplete && !how.accepts => {
            format!("there is no whole snapshot of it: something is missing in all {all}")
        }
        (_, Some(within)) => {
            format!("there is no whole snapshot of it from the last {}", crate::policy::units::Span(within))
        }
        (all, None) => format!("none of its {all} snapshots is whole"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn snapshot(id: &str, ended: i64, incomplete: bool) -> Recorded {
        Recorded {
            id: id.into(),
            time: at(ended - 10),
            ended: at(ended),
            paths: vec!["/srv".into()],
            incomplete,
            bytes: 1,
            files: 1,
            facts: BTreeMap::new(),
        }
    }

    fn three() -> Vec<Recorded> {
        vec![snapshot("aa", 1000, false), snapshot("ab", 2000, false), snapshot("cc", 3000, true)]
    }

    fn how(pick: Pick) -> How<'static> {
        How { pick, within: None, now: at(5000), random: 0, accepts: false, snapshot: None, to: None }
    }

    fn id(picked: Result<Picked, String>) -> String {
        picked.unwrap().snapshot.id
    }

    #[test]
    fn what_is_incomplete_is_never_picked_unless_that_is_accepted() {
        let all = three();
        assert_eq!(id(choose(&all, None, how(Pick::Latest))), "ab");
        assert_eq!(id(choose(&all, None, How { accepts: true, ..how(Pick::Latest) })), "cc");
        assert_eq!(id(choose(&all, None, how(Pick::Oldest))), "aa");
        let randoms: Vec<_> =
            (0..4).map(|random| id(choose(&all, None, How { random, ..how(Pick::Random) }))).collect();
        assert_eq!(randoms, ["aa", "ab", "aa", "ab"]);
        assert_eq!((newest(&all, None, false), newest(&all, None, true)), (Some(at(2000)), Some(at(3000))));
    }

    #[test]
    fn what_lies_in_the_future_is_picked_only_where_nothing_else_is_whole() {
        let day = 24 * 3600;
        let all = vec![
            snapshot("aa", 1000, false),
            snapshot("ab", 2000, true),
            snapshot("ac", 5000 + day, false),
            snapshot("ad", 5001 + day, false),
        ];
        let ids = |all: Vec<Recorded>, accepts| -> Vec<String> {
            till_now(all, accepts, at(5000)).into_iter().map(|one| one.id).collect()
        };
        assert_eq!(ids(all.clone(), false), ["aa", "ab", "ac"]);
        // This host's clock may be the one that is wrong.
        assert_eq!(ids(all[3..].to_vec(), false), ["ad"]);
        let broken = vec![all[1].clone(), all[3].clone()];
        assert_eq!(
            (ids(broken.clone(), false), ids(broken, true)),
            (vec!["ab".into(), "ad".into()], vec!["ab".into()])
        );
    }

    #[test]
    fn only_what_is_young_enough_is_picked() {
        let all = three();
        let within = |seconds| How { within: Some(Duration::from_secs(seconds)), ..how(Pick::Oldest) };
        assert_eq!(id(choose(&all, None, within(3500))), "ab");
        assert!(choose(&all, None, within(2000)).unwrap_err().contains("33m20s"));
        assert!(choose(&[], None, how(Pick::Latest)).unwrap_err().contains("no snapshot"));
        assert!(choose(&all[2..], None, how(Pick::Latest)).unwrap_err().contains("missing in all 1"));
    }

    #[test]
    fn a_log_goes_to_any_of_its_moments() {
        let all = three();
        let log = Log { bases: vec!["aa".into(), "ab".into()], newest: Some(at(4000)) };
        let picked = choose(&all, Some(&log), how(Pick::Latest)).unwrap();
        assert_eq!(picked.point, Point::Along("latest".into(), Some(at(4000))));
        for random in 0..3000 {
            let picked = choose(&all, Some(&log), How { random, ..how(Pick::Random) }).unwrap();
            let Point::Along(words, Some(moment)) = picked.point else { panic!("no moment") };
            assert!(moment > picked.snapshot.ended && (at(1001)..=at(4000)).contains(&moment));
            assert_eq!(words, format!("time={moment}"));
            assert_eq!(picked.snapshot.id, if moment > at(2000) { "ab" } else { "aa" });
        }
        // A log that does not reach back to the newest snapshot leads nowhere from there.
        let log = Log { bases: vec!["aa".into()], newest: Some(at(1500)) };
        assert_eq!(choose(&all, Some(&log), how(Pick::Latest)).unwrap().point, Point::Snapshot);
        assert_eq!(newest(&all, Some(&log), false), Some(at(2000)));
        let none = Log { bases: vec!["ab".into()], newest: Some(at(2001)) };
        assert_eq!(choose(&all, Some(&none), how(Pick::Random)).unwrap().point, Point::Snapshot);
    }

    #[test]
    fn one_is_named_by_the_beginning_of_its_id() {
        let all = three();
        let named = |id| How { snapshot: Some(id), ..how(Pick::Latest) };
        // Also one that is incomplete: somebody asks for it.
        assert_eq!(id(choose(&all, None, named("c"))), "cc");
        assert!(choose(&all, None, named("a")).unwrap_err().contains("several"));
        assert!(choose(&all, None, named("x")).unwrap_err().contains("no snapshot x"));
        let to = How { to: Some("time=1970-01-01T00:20:00Z"), ..how(Pick::Latest) };
        let picked = choose(&all, None, to).unwrap();
        assert_eq!(picked.point, Point::Along("time=1970-01-01T00:20:00Z".into(), Some(at(1200))));
    }

    #[test]
    fn lines_become_snapshots_and_logs() {
        let line = |id: &str, source: &str, end: &str| {
            json!({ "message_type": "snapshot", "id": id, "source": source, "time": "2026-01-31T02:15:00Z",
                    "paths": ["/srv"], "incomplete": false, "facts": { "rows": "7" },
                    "summary": { "backup_end": end, "total_bytes_processed": 5, "total_files_processed": 2 } })
        };
        let end = "2026-01-31T02:16:00.5Z";
        let lines =
            vec![line("aa", "shop/db", end), line("bb", "shop/tree", end), json!({ "message_type": "x" })];
        let listed = recorded(&Answer { lines, ..Answer::default() }, "shop/db");
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].bytes, listed[0].files, listed[0].ended.to_string().as_str()), (5, 2, end));
        assert_eq!(listed[0].facts["rows"], "7");
        let window = |id: &str, to_newest: bool| {
            json!({ "message_type": "wal_window", "system": "7", "timeline": "1-a", "snapshot_id": "zz",
                    "snapshot_ids": ["zz", id], "to_newest": to_newest })
        };
        let timeline = |timeline: &str, newest: &str| json!({ "message_type": "wal_timeline", "system": "7", "timeline": timeline, "newest": newest });
        let lines = vec![
            timeline("1-a", "2026-01-31T03:00:00Z"),
            timeline("2-b", "2026-01-31T09:00:00Z"),
            window("aa", true),
            window("bb", true),
            window("aa", false),
        ];
        let log = log(&Answer { lines, ..Answer::default() }, &listed);
        assert_eq!(log.bases, ["aa"]);
        assert_eq!(log.newest.unwrap().to_string(), "2026-01-31T03:00:00Z");
    }
}
