//! The rules of retention against known cases, and laws that hold for any history.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::maintain::{SIZE_ACCEPTED_TAG, expiring, keep::KeepCount::Number};
use holdfast_core::id::{ChunkId, MemberId, StreamId};
use holdfast_core::page::KeySpace;
use holdfast_core::session::{Counts, Summary};
use proptest::collection::vec;
use proptest::prelude::*;

const NOW: i64 = 1_900_000_000;

/// One snapshot of a history, in words.
#[derive(Debug, Clone)]
struct Made {
    number: u8,
    stream: u8,
    seconds: i64,
    files: u64,
    incomplete: bool,
    tags: Vec<String>,
    owner: bool,
    received: Option<i64>,
    held: bool,
}

impl Made {
    fn at(seconds: i64) -> Self {
        let tags = Vec::new();
        let (files, incomplete, owner, received, held) = (100, false, true, None, false);
        Self { number: 0, stream: 0, seconds, files, incomplete, tags, owner, received, held }
    }

    fn snapshot(&self) -> Snapshot {
        let time = Time { seconds: self.seconds, nanos: 0 };
        let host = format!("host{}", self.stream);
        Snapshot {
            id: SessionId([self.number; 16]),
            member: MemberId([1; 16]),
            epoch: 0,
            summary: Summary {
                stream: StreamId([self.stream; 16]),
                label: format!("{host}:/srv"),
                host,
                kind: "files".into(),
                paths: vec![b"/srv".to_vec()],
                tags: self.tags.clone(),
                start: time,
                end: time,
                counts: Counts { files: self.files, bytes: 1000, ..Counts::default() },
                incomplete: self.incomplete,
                problems: u64::from(self.incomplete),
                root: ChunkId([0; 32]),
                space: KeySpace::Paths,
                parent: None,
                supersedes: Vec::new(),
                origin: None,
                log: None,
                said_by: None,
                unknown: Vec::new(),
            },
        }
    }
}

/// Numbers a history in its order, so that each snapshot has an id of its own.
fn numbered(history: Vec<Made>) -> Vec<Made> {
    history.into_iter().enumerate().map(|(at, made)| Made { number: at as u8, ..made }).collect()
}

fn verdicts(history: &[Made], retention: &Retention) -> Vec<Verdict> {
    verdicts_with(history, retention, &[])
}

fn verdicts_with(history: &[Made], retention: &Retention, proven: &[u8]) -> Vec<Verdict> {
    let snapshots: Vec<Snapshot> = history.iter().map(Made::snapshot).collect();
    let candidates: Vec<Candidate<'_>> = history
        .iter()
        .zip(&snapshots)
        .map(|(made, snapshot)| Candidate {
            snapshot,
            received: made.received.map(|seconds| Time { seconds, nanos: 0 }),
            signer_is_owner: made.owner,
            held: made.held.then_some("audit"),
        })
        .collect();
    let proven = proven.iter().map(|number| SessionId([*number; 16])).collect();
    decide(&candidates, retention, &proven, Time { seconds: NOW, nanos: 0 }).unwrap()
}

fn retention(rules: &[(Period, KeepLimit)]) -> Retention {
    let rules = rules.iter().map(|&(of, limit)| KeepRule { of, limit }).collect();
    Retention {
        keep: KeepPolicy { rules, tags: Vec::new() },
        delete_after: None,
        group_by: GroupBy::default(),
        filter: SnapshotFilter::default(),
        local_offset: LocalOffset::utc(),
    }
}

fn newest(number: u64) -> KeepLimit {
    KeepLimit::Newest(Number(number))
}

fn within(text: &str) -> KeepLimit {
    KeepLimit::Within(text.parse().unwrap())
}

/// `2026-01-31 02:15` in UTC.
fn time(text: &str) -> i64 {
    let parts: Vec<i64> =
        text.split(['-', ' ', ':']).map(|part| part.parse().unwrap()).chain([0, 0]).collect();
    day_of(parts[0], parts[1], parts[2]) * DAY + parts[3] * 3600 + parts[4] * 60
}

fn made(times: &[&str]) -> Vec<Made> {
    numbered(times.iter().map(|text| Made::at(time(text))).collect())
}

/// The numbers of those that are kept.
fn kept(verdicts: &[Verdict]) -> Vec<u8> {
    let mut kept: Vec<u8> =
        verdicts.iter().filter(|verdict| verdict.keep).map(|verdict| verdict.snapshot.id.0[0]).collect();
    kept.sort_unstable();
    kept
}

fn words(verdicts: &[Verdict], number: u8) -> String {
    let verdict = verdicts.iter().find(|verdict| verdict.snapshot.id.0[0] == number).unwrap();
    verdict.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_policy_without_rules_is_refused() {
    for rules in [&[][..], &[(Period::Day, newest(0)), (Period::Each, within("0d"))]] {
        let error = decide(&[], &retention(rules), &BTreeSet::new(), Time::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let history = made(&[
        "2025-12-28 12:00", // 0, Sunday of 2025-W52
        "2025-12-29 12:00", // 1, Monday of 2026-W01
        "2025-12-31 23:30", // 2
        "2026-01-01 00:30", // 3, another year, month and day, the same week
        "2026-01-01 00:45", // 4, the same hour
        "2026-01-01 01:10", // 5, the same day
        "2026-01-04 12:00", // 6, Sunday of 2026-W01
        "2026-01-05 12:00", // 7, Monday of 2026-W02
    ]);
    for (period, number, wanted) in [
        (Period::Each, 3, &[5, 6, 7][..]),
        (Period::Hour, 4, &[4, 5, 6, 7]),
        (Period::Hour, 5, &[2, 4, 5, 6, 7]),
        (Period::Day, 4, &[2, 5, 6, 7]),
        (Period::Week, 2, &[6, 7]),
        (Period::Week, 3, &[0, 6, 7]),
        (Period::Month, 1, &[7]),
        (Period::Month, 2, &[2, 7]),
        (Period::Year, 2, &[2, 7]),
        // There is room for one more, so the oldest stays.
        (Period::Year, 3, &[0, 2, 7]),
    ] {
        let verdicts = verdicts(&history, &retention(&[(period, newest(number))]));
        assert_eq!(kept(&verdicts), wanted, "{period:?} {number}");
    }
    let all = KeepLimit::Newest(KeepCount::Unlimited);
    assert_eq!(kept(&verdicts(&history, &retention(&[(Period::Month, all)]))), [0, 2, 7]);
}

#[test]
fn reasons_say_which_rules_keep_a_snapshot() {
    let history = made(&["2026-01-01 00:30", "2026-01-02 00:30", "2026-02-01 00:30"]);
    let rules = [(Period::Each, newest(1)), (Period::Day, newest(2)), (Period::Year, newest(5))];
    let verdicts = verdicts(&history, &retention(&rules));
    assert_eq!(words(&verdicts, 2), "last snapshot; daily snapshot; yearly snapshot");
    assert_eq!(words(&verdicts, 1), "daily snapshot");
    assert_eq!(words(&verdicts, 0), "oldest yearly snapshot");
}

#[test]
fn stretches_of_time_end_at_the_newest() {
    let history = made(&[
        "2026-02-28 12:00", // 0
        "2026-03-24 11:59", // 1
        "2026-03-24 12:00", // 2
        "2026-03-24 12:01", // 3
        "2026-03-30 09:00", // 4
        "2026-03-30 21:00", // 5
        "2026-03-31 12:00", // 6
    ]);
    let kept = |of, text| kept(&verdicts(&history, &retention(&[(of, within(text))])));
    assert_eq!(kept(Period::Each, "7d"), [3, 4, 5, 6]);
    assert_eq!(kept(Period::Day, "7d"), [3, 5, 6]);
    assert_eq!(kept(Period::Each, "15h"), [6]);
    assert_eq!(kept(Period::Each, "16h"), [5, 6]);
    // A month before March 31 is February 31, and that is March 3, as in restic.
    assert_eq!(kept(Period::Each, "1m"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(kept(Period::Each, "1m4d"), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(kept(Period::Month, "1y"), [0, 6]);
    // The oldest of all is kept as long as it is within.
    assert_eq!(kept(Period::Year, "1y"), [0, 6]);
    assert_eq!(kept(Period::Year, "1m"), [6]);
}

#[test]
fn what_lies_in_the_future_moves_no_stretch() {
    let history = numbered(vec![
        Made::at(NOW - 30 * DAY),
        Made::at(NOW - DAY),
        Made::at(NOW),
        Made::at(NOW + 900 * DAY),
    ]);
    assert_eq!(kept(&verdicts(&history, &retention(&[(Period::Each, within("7d"))]))), [1, 2, 3]);
    let future = numbered(vec![Made::at(NOW + DAY), Made::at(NOW + 900 * DAY)]);
    assert_eq!(kept(&verdicts(&future, &retention(&[(Period::Each, within("7d"))]))), [0, 1]);
}

#[test]
fn what_lies_in_the_future_pushes_out_nothing_of_today() {
    let history = numbered(vec![
        Made::at(NOW - DAY),
        Made::at(NOW),
        Made::at(NOW + 3650 * DAY),
        Made::at(NOW + 3651 * DAY),
    ]);
    let last = verdicts(&history, &retention(&[(Period::Each, newest(1))]));
    assert_eq!(
        (kept(&last), &*words(&last, 1), &*words(&last, 2)),
        (vec![1, 2, 3], "last snapshot", "time doubtful")
    );
    let daily = verdicts(&history, &retention(&[(Period::Day, newest(2))]));
    assert_eq!(kept(&daily), [0, 1, 2, 3]);
    // Up to a day is what zones are taken for, and passes by itself.
    let soon = verdicts(
        &numbered(vec![Made::at(NOW), Made::at(NOW + DAY)]),
        &retention(&[(Period::Each, newest(1))]),
    );
    assert_eq!(kept(&soon), [1]);
}

#[test]
fn days_begin_where_people_live() {
    let history = made(&["2026-01-01 14:30", "2026-01-01 15:30", "2026-01-01 23:00"]);
    let daily = retention(&[(Period::Day, newest(9))]);
    assert_eq!(kept(&verdicts(&history, &daily)), [0, 2]);
    let in_seoul = Retention { local_offset: LocalOffset(Arc::new(|_| 9 * 3600)), ..daily };
    let of_seoul = verdicts(&history, &in_seoul);
    assert_eq!(words(&of_seoul, 0), "daily snapshot");
    let in_utc = retention(&[(Period::Day, newest(9))]);
    assert_eq!(words(&verdicts(&history, &in_utc), 0), "oldest daily snapshot");
}

/// Berlin in 2026: summer from March 29 to October 25, each at 01:00 UTC.
fn berlin() -> LocalOffset {
    let (spring, autumn) = (time("2026-03-29 01:00"), time("2026-10-25 01:00"));
    LocalOffset(Arc::new(move |time| if (spring..autumn).contains(&time.seconds) { 7200 } else { 3600 }))
}

#[test]
fn shifted_hours_lose_nothing() {
    // 02:30 comes twice on October 25; a day has 25 hours then, and 23 on March 29.
    let history = made(&[
        "2026-10-24 21:59", // 0: 23:59
        "2026-10-24 22:00", // 1: 00:00
        "2026-10-25 00:30", // 2: 02:30, summer
        "2026-10-25 01:30", // 3: 02:30, winter
        "2026-10-25 22:59", // 4: 23:59
        "2026-10-25 23:00", // 5: 00:00
    ]);
    let of = |period| {
        let retention = retention(&[(period, newest(100))]);
        kept(&verdicts(&history, &Retention { local_offset: berlin(), ..retention }))
    };
    assert_eq!(of(Period::Day), [0, 4, 5]);
    // Two snapshots with the same hour on the clock are of one hour, as in restic.
    assert_eq!(of(Period::Hour), [0, 1, 3, 4, 5]);
    // A day before noon is noon, though that is 25 hours.
    let history = made(&["2026-10-24 09:59", "2026-10-24 10:01", "2026-10-24 10:31", "2026-10-25 11:00"]);
    let day = Retention { local_offset: berlin(), ..retention(&[(Period::Each, within("1d"))]) };
    assert_eq!(kept(&verdicts(&history, &day)), [1, 2, 3]);
    let hours = Retention { local_offset: berlin(), ..retention(&[(Period::Each, within("24h"))]) };
    assert_eq!(kept(&verdicts(&history, &hours)), [3]);
}

#[test]
fn tags_keep_and_use_nothing_up() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]);
    history[0].tags = vec!["a".into(), "b".into()];
    history[1].tags = vec!["a".into()];
    history[3].tags = vec!["b".into(), "c".into()];
    let by = |tags: &[&[&str]], rules: &[(Period, KeepLimit)]| {
        let mut retention = Retention { group_by: GroupBy::NOTHING, ..retention(rules) };
        retention.keep.tags =
            tags.iter().map(|all| all.iter().map(|&tag| tag.to_owned()).collect()).collect();
        verdicts(&history, &retention)
    };
    assert_eq!(kept(&by(&[&["a", "b"]], &[])), [0, 3]);
    assert_eq!(words(&by(&[&["a", "b"]], &[]), 3), "newest whole of its source");
    assert_eq!(kept(&by(&[&["a"], &["c"]], &[])), [0, 1, 3]);
    assert_eq!(kept(&by(&[&["c"]], &[(Period::Each, newest(2))])), [2, 3]);
    assert_eq!(words(&by(&[&["b"], &["c"]], &[]), 3), "tag b; tag c");
}

#[test]
fn what_is_not_whole_uses_nothing_up() {
    let mut history =
        made(&["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05", "2026-01-06"]);
    history[1].files = 51;
    history[3].files = 25;
    history[4].incomplete = true;
    history[5].files = 0;
    let verdicts = verdicts(&history, &retention(&[(Period::Each, newest(2))]));
    let flaws: Vec<_> = verdicts.iter().map(|verdict| verdict.flaw).collect();
    let shrunk = |than| Some(Flaw::Shrunk { than: SessionId([than; 16]) });
    // 51 files are more than half of 100; 25 are no more than half of 100, and 0 of 100.
    assert_eq!(flaws, [None, None, None, shrunk(2), Some(Flaw::Incomplete), shrunk(2)]);
    assert_eq!(kept(&verdicts), [1, 2, 3, 4, 5]);
    assert_eq!(words(&verdicts, 5), "last snapshot");
    // Of one day all that do not count are kept, and the one that does.
    let mut history = made(&["2026-01-01 1", "2026-01-02 1", "2026-01-02 2", "2026-01-02 3", "2026-01-02 4"]);
    history[3].incomplete = true;
    history[4].incomplete = true;
    let daily = retention(&[(Period::Day, newest(1))]);
    assert_eq!(kept(&self::verdicts(&history, &daily)), [2, 3, 4]);
}

#[test]
fn half_of_the_bytes_or_files_is_too_little() {
    let whole = Made::at(1).snapshot();
    let with = |files, bytes| {
        let mut snapshot = Made { number: 1, ..Made::at(2) }.snapshot();
        (snapshot.summary.counts.files, snapshot.summary.counts.bytes) = (files, bytes);
        let candidates = [&whole, &snapshot].map(|snapshot| Candidate {
            snapshot,
            received: None,
            signer_is_owner: true,
            held: None,
        });
        judge(&candidates, Time::default())[1].counts()
    };
    assert!(with(100, 1000) && with(51, 501) && with(1000, 10_000));
    assert!(!with(50, 1000) && !with(100, 500) && !with(0, 0));
}

#[test]
fn a_smaller_size_can_be_accepted() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]);
    (1..4).for_each(|at| history[at].files = 10);
    let last = retention(&[(Period::Each, newest(1))]);
    assert_eq!(kept(&verdicts(&history, &last)), [0, 1, 2, 3]);
    history[1].tags.push(SIZE_ACCEPTED_TAG.to_owned());
    assert_eq!(kept(&verdicts(&history, &last)), [3]);
}

#[test]
fn the_newest_of_a_source_stay() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"]);
    history[2].files = 10;
    history[3].incomplete = true;
    history[4].incomplete = true;
    let mut by_tag = retention(&[]);
    by_tag.keep.tags = vec![vec!["nothing has this".to_owned()]];
    let verdicts = verdicts_with(&history, &by_tag, &[0]);
    assert_eq!(words(&verdicts, 0), "newest proven of its source");
    assert_eq!(words(&verdicts, 1), "newest whole of its source");
    assert_eq!(words(&verdicts, 2), "newest complete of its source");
    assert_eq!(kept(&verdicts), [0, 1, 2]);
    // Where none is complete, the newest that there is.
    let bad: Vec<Made> = history.iter().map(|made| Made { incomplete: true, ..made.clone() }).collect();
    let verdicts = verdicts_with(&bad, &by_tag, &[]);
    assert_eq!((kept(&verdicts), &*words(&verdicts, 4)), (vec![4], "newest of its source"));
}

#[test]
fn what_a_filter_leaves_out_still_tells_what_is_whole() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03"]);
    history[1].tags.push("nightly".into());
    history[1].files = 10;
    let mut filtered = retention(&[(Period::Each, newest(1))]);
    filtered.filter.tags = vec![vec!["nightly".into()]];
    let verdicts = verdicts(&history, &filtered);
    assert_eq!(verdicts.len(), 1);
    assert_eq!(verdicts[0].flaw, Some(Flaw::Shrunk { than: SessionId([0; 16]) }));
}

#[test]
fn a_group_is_not_emptied() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03"]);
    history[0].tags.push("old".into());
    history[1].tags.push("old".into());
    let mut by_tag = retention(&[]);
    by_tag.keep.tags = vec![vec!["nothing has this".to_owned()]];
    by_tag.group_by = GroupBy { tags: true, ..GroupBy::default() };
    let verdicts = verdicts(&history, &by_tag);
    assert_eq!(kept(&verdicts), [1, 2]);
    assert_eq!(words(&verdicts, 1), "last of its group");
}

#[test]
fn whose_time_is_believed() {
    let day = 24 * 3600;
    let believed = |owner, received: Option<i64>| {
        let made = Made { owner, received, ..Made::at(NOW - 2 * day) };
        verdicts(&[made], &retention(&[(Period::Each, newest(1))]))[0].flaw.is_none()
    };
    assert!(believed(true, None) && believed(true, Some(0)));
    assert!(believed(false, Some(NOW - 3 * day)) && believed(false, Some(NOW - day)));
    assert!(!believed(false, Some(NOW - 3 * day - 1)) && !believed(false, Some(NOW - day + 1)));
    // Never seen before: seen now.
    assert!(!believed(false, None));
}

#[test]
fn a_doubtful_time_takes_part_in_nothing() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03"]);
    history.push(Made { number: 3, owner: false, received: Some(0), ..Made::at(NOW + 1000 * DAY) });
    let verdicts = verdicts(&history, &retention(&[(Period::Each, newest(1))]));
    assert_eq!((kept(&verdicts), &*words(&verdicts, 3)), (vec![2, 3], "time doubtful"));
    let snapshots: Vec<Snapshot> = history.iter().map(Made::snapshot).collect();
    let candidates: Vec<Candidate<'_>> = snapshots
        .iter()
        .zip(&history)
        .map(|(snapshot, made)| Candidate {
            snapshot,
            received: made.received.map(|_| Time::default()),
            signer_is_owner: made.owner,
            held: None,
        })
        .collect();
    let named: Vec<SessionId> = snapshots.iter().map(|snapshot| snapshot.id).collect();
    let proven = [named[0]].into();
    let guarded = guarded_among(&candidates, &named, &proven, Time { seconds: NOW, nanos: 0 });
    assert_eq!(guarded, [(named[0], Reason::NewestProven), (named[2], Reason::NewestWhole)]);
    assert!(guarded_among(&candidates, &named[1..2], &proven, Time::default()).is_empty());
}

#[test]
fn a_held_snapshot_says_why_it_stays() {
    let mut history = made(&["2026-01-01", "2026-01-02"]);
    history[0].held = true;
    let verdicts = verdicts(&history, &retention(&[(Period::Each, newest(1))]));
    assert_eq!(words(&verdicts, 0), "held: audit");
}

fn until(text: &str, rules: &[(Period, KeepLimit)]) -> Retention {
    Retention { delete_after: Some(text.parse().unwrap()), ..retention(rules) }
}

/// Now is 2030-03-17 17:46:40.
fn days_ago(days: i64) -> Made {
    Made { received: Some(NOW - days * DAY), ..Made::at(NOW - days * DAY) }
}

#[test]
fn a_deadline_beats_rules_tags_and_guards_but_no_hold() {
    let mut history = vec![days_ago(500), days_ago(401), days_ago(400), days_ago(399), days_ago(20)];
    history[1].tags = vec!["keep".into()];
    history[0].held = true;
    history[4].incomplete = true;
    let history = numbered(history);
    let mut retention = until("400d", &[(Period::Year, newest(9)), (Period::Each, newest(9))]);
    retention.keep.tags = vec![vec!["keep".into()]];
    let verdicts = verdicts_with(&history, &retention, &[1]);
    assert_eq!(kept(&verdicts), [0, 3, 4]);
    assert!(words(&verdicts, 0).contains("held") && words(&verdicts, 1).is_empty());
    let at = |number: usize| verdicts[number].delete_at.map(|time| (time.seconds - NOW) / DAY);
    assert_eq!([at(0), at(1), at(3), at(4)], [None, Some(-1), Some(1), Some(380)]);
    // The last one goes too, the newest whole and proven one.
    let alone = numbered(vec![days_ago(402), days_ago(401)]);
    assert_eq!(kept(&verdicts_with(&alone, &until("400d", &[(Period::Each, newest(9))]), &[1])), [0; 0]);
}

#[test]
fn what_guards_is_found_among_what_may_stay() {
    // The newest whole one is over; of what is left the newest is kept though no rule keeps it.
    let mut history = vec![days_ago(401), days_ago(100), days_ago(50)];
    history[1].incomplete = true;
    history[2].incomplete = true;
    let history = numbered(history);
    let verdicts = verdicts(&history, &until("400d", &[(Period::Each, within("1h"))]));
    assert!(kept(&verdicts).contains(&2) && !kept(&verdicts).contains(&0), "{:?}", kept(&verdicts));
    assert!(expiring(&verdicts, Time { seconds: NOW, nanos: 0 }).is_empty());
}

#[test]
fn a_deadline_alone_keeps_all_that_is_younger() {
    let history = numbered(vec![days_ago(31), days_ago(29), days_ago(1)]);
    let verdicts = verdicts(&history, &until("30d", &[]));
    assert_eq!((kept(&verdicts), words(&verdicts, 1)), (vec![1, 2], "younger than 30d".to_owned()));
    let months = until("1m", &[]);
    // A month before March 17 is February 17.
    assert_eq!(kept(&self::verdicts(&numbered(vec![days_ago(29), days_ago(27)]), &months)), [1]);
}

#[test]
fn no_invented_time_moves_a_deadline() {
    let mut early = days_ago(1000);
    (early.owner, early.received) = (false, Some(NOW - 10 * DAY));
    let mut late = days_ago(-3000);
    (late.owner, late.received) = (true, Some(NOW - 31 * DAY));
    let mut fresh = days_ago(1000);
    (fresh.owner, fresh.received) = (false, None);
    let history = numbered(vec![early, late, fresh]);
    assert_eq!(kept(&verdicts(&history, &until("30d", &[]))), [0, 2]);
}

#[test]
fn what_goes_soon_is_told_two_weeks_before() {
    let now = Time { seconds: NOW, nanos: 0 };
    let told = |ages: &[i64]| {
        let history = numbered(ages.iter().map(|days| days_ago(*days)).collect());
        let soon = expiring(&verdicts(&history, &until("100d", &[(Period::Each, newest(9))])), now);
        let days = |time: Time| (time.seconds - NOW) / DAY;
        soon.iter()
            .map(|one| (one.snapshots, days(one.first), days(one.last), one.leaves_nothing))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&[85, 1]), []);
    assert_eq!(told(&[99, 90, 86, 85]), [(3, 1, 14, false)]);
    assert_eq!(told(&[99, 90]), [(2, 1, 10, true)]);
    assert_eq!(told(&[]), []);
}

#[test]
fn groups_are_judged_apart() {
    let mut history = made(&["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]);
    history[0].stream = 1;
    history[1].stream = 1;
    let last = retention(&[(Period::Each, newest(1))]);
    let by_host = verdicts(&history, &last);
    assert_eq!(kept(&by_host), [1, 3]);
    let hosts: Vec<_> = by_host.iter().map(|verdict| verdict.group.host.as_deref().unwrap()).collect();
    assert_eq!(hosts, ["host0", "host0", "host1", "host1"]);
    let together = Retention { group_by: GroupBy::NOTHING, ..last };
    // One group, but two sources: the newest of each stays.
    let together = verdicts(&history, &together);
    assert_eq!((kept(&together), &*words(&together, 1)), (vec![1, 3], "newest whole of its source"));
}

fn any_made() -> impl Strategy<Value = Made> {
    let sizes = prop_oneof![4 => Just(100u64), 1 => Just(60), 1 => Just(49), 1 => Just(10)];
    let tags = prop::sample::subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2);
    let received = prop_oneof![Just(None), Just(Some(0)), Just(Some(3600)), Just(Some(-30 * 3600))];
    let whole = (0u8..3, 0i64..20_000, sizes, prop::bool::weighted(0.2));
    (whole, tags, prop::bool::weighted(0.85), received, prop::bool::weighted(0.1)).prop_map(
        |((stream, hours, files, incomplete), tags, owner, received, held)| {
            let seconds = NOW - hours * 3600 / 3;
            let received = received.map(|later| seconds + later);
            Made { stream, files, incomplete, tags, owner, received, held, ..Made::at(seconds) }
        },
    )
}

fn any_history() -> impl Strategy<Value = Vec<Made>> {
    vec(any_made(), 1..40).prop_map(numbered)
}

fn any_period() -> impl Strategy<Value = Period> {
    use Period::{Day, Each, Hour, Month, Week, Year};
    prop::sample::select(vec![Each, Hour, Day, Week, Month, Year])
}

fn any_limit() -> impl Strategy<Value = KeepLimit> {
    let span = prop::sample::select(vec!["5h", "3d", "20d", "2m", "1y", "1y2m3d4h"]).prop_map(within);
    prop_oneof![3 => (1u64..8).prop_map(newest), 1 => Just(KeepLimit::Newest(KeepCount::Unlimited)), 2 => span]
}

fn any_rules() -> impl Strategy<Value = Vec<(Period, KeepLimit)>> {
    vec((any_period(), any_limit()), 1..4)
}

fn any_retention() -> impl Strategy<Value = Retention> {
    let by = prop::sample::select(vec!["host,paths", "", "tags", "source,tags"]);
    let tags = prop_oneof![3 => Just(None), 1 => Just(Some("a"))];
    (any_rules(), by, tags, -12i32..14).prop_map(|(rules, by, tag, hours)| {
        let mut retention = Retention { group_by: by.parse().unwrap(), ..retention(&rules) };
        retention.keep.tags.extend(tag.map(|tag| vec![tag.to_owned()]));
        retention.local_offset = LocalOffset(Arc::new(move |_| hours * 3600));
        retention
    })
}

/// What the rules alone say of those that count.
fn by_rules(verdicts: &[Verdict]) -> BTreeMap<u8, Vec<Reason>> {
    let counting = verdicts.iter().filter(|verdict| verdict.flaw.is_none());
    let rules = |verdict: &Verdict| {
        let of_rules = verdict.reasons.iter().filter(|reason| matches!(reason, Reason::Rule { .. }));
        of_rules.cloned().collect::<Vec<_>>()
    };
    counting.map(|verdict| (verdict.snapshot.id.0[0], rules(verdict))).collect()
}

fn only(history: &[Made], kept: &[u8]) -> Vec<Made> {
    history.iter().filter(|made| kept.contains(&made.number)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_snapshot_has_one_verdict_with_reasons(history in any_history(), retention in any_retention()) {
        let verdicts = verdicts(&history, &retention);
        let mut numbers: Vec<u8> = verdicts.iter().map(|verdict| verdict.snapshot.id.0[0]).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..history.len() as u8).collect::<Vec<_>>());
        prop_assert!(verdicts.iter().all(|verdict| verdict.keep != verdict.reasons.is_empty()));
    }

    #[test]
    fn the_order_of_what_is_given_is_of_no_matter(
        (history, shuffled) in any_history().prop_flat_map(|made| (Just(made.clone()), Just(made).prop_shuffle())),
        retention in any_retention(),
    ) {
        let shown = |history: &[Made]| -> Vec<String> {
            verdicts(history, &retention)
                .iter()
                .map(|verdict| format!("{} {:?} {:?}", verdict.snapshot.id, verdict.reasons, verdict.flaw))
                .collect()
        };
        prop_assert_eq!(shown(&history), shown(&shuffled));
    }

    /// The rules as they are defined: the newest of each of the first periods, and the oldest of all
    /// while there is room.
    #[test]
    fn a_rule_keeps_what_it_says(hours in prop::collection::btree_set(0i64..9000, 1..40), of in any_period(), number in 1u64..9) {
        let history = numbered(hours.iter().map(|hour| Made::at(NOW - hour * 3600)).collect());
        let retention = retention(&[(of, newest(number))]);
        let mut periods: BTreeMap<i64, u8> = BTreeMap::new();
        let mut oldest_first = history.clone();
        oldest_first.sort_by_key(|made| made.seconds);
        for (at, made) in oldest_first.iter().enumerate() {
            let moment = Moment::new(at, Time { seconds: made.seconds, nanos: 0 }, &retention.local_offset);
            periods.insert(moment.period(of), made.number);
        }
        let mut wanted: BTreeSet<u8> = periods.values().rev().take(number as usize).copied().collect();
        if (periods.len() as u64) < number {
            wanted.insert(oldest_first[0].number);
        }
        prop_assert_eq!(kept(&verdicts(&history, &retention)), wanted.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn those_that_count_are_kept_as_if_the_others_were_not_there(history in any_history(), retention in any_retention()) {
        let all = verdicts(&history, &retention);
        let counting: Vec<u8> = by_rules(&all).into_keys().collect();
        let alone = verdicts(&only(&history, &counting), &retention);
        prop_assert_eq!(by_rules(&all), by_rules(&alone));
    }

    #[test]
    fn more_is_kept_by_larger_numbers_and_by_more_rules(
        history in any_history(), retention in any_retention(), more in 1u64..5, rule in (any_period(), any_limit()),
    ) {
        let before = kept(&verdicts(&history, &retention));
        let mut larger = retention.clone();
        for rule in &mut larger.keep.rules {
            if let KeepLimit::Newest(Number(number)) = &mut rule.limit {
                *number += more;
            }
        }
        let mut joined = retention;
        joined.keep.rules.push(KeepRule { of: rule.0, limit: rule.1 });
        for policy in [larger, joined] {
            let after = kept(&verdicts(&history, &policy));
            prop_assert!(before.iter().all(|number| after.contains(number)), "{before:?} {after:?}");
        }
    }

    /// What is whole is fixed here: thinned out, a history that shrinks slowly looks as if it shrank
    /// at once, and then more is kept or less.
    #[test]
    fn what_was_kept_stays(history in any_history(), retention in any_retention()) {
        let steady: Vec<Made> = history.into_iter().map(|made| Made { files: 100, ..made }).collect();
        let first = kept(&verdicts(&steady, &retention));
        prop_assert_eq!(kept(&verdicts(&only(&steady, &first), &retention)), first);
    }

    #[test]
    fn nothing_that_must_stay_is_forgotten(history in any_history(), retention in any_retention()) {
        let verdicts = verdicts_with(&history, &retention, &[0, 1, 2]);
        let kept = kept(&verdicts);
        for verdict in &verdicts {
            let made = &history[usize::from(verdict.snapshot.id.0[0])];
            let must = made.held || verdict.flaw == Some(Flaw::TimeDoubtful);
            prop_assert!(!must || verdict.keep, "{verdict:?}");
        }
        for group in verdicts.iter().map(|verdict| &verdict.group).collect::<BTreeSet<_>>() {
            prop_assert!(verdicts.iter().any(|verdict| verdict.group == *group && verdict.keep));
        }
        for stream in 0..3 {
            let of_stream = || verdicts.iter().filter(|verdict| verdict.snapshot.summary.stream == StreamId([stream; 16]));
            let newest = |fits: &dyn Fn(&&Verdict) -> bool| {
                let all = of_stream().filter(|verdict| verdict.flaw != Some(Flaw::TimeDoubtful)).filter(fits);
                all.max_by_key(|verdict| (verdict.snapshot.summary.end, verdict.snapshot.id)).map(|verdict| verdict.snapshot.id.0[0])
            };
            let must = [
                newest(&|verdict| verdict.flaw.is_none()),
                newest(&|verdict| !verdict.snapshot.summary.incomplete),
                newest(&|verdict| verdict.snapshot.id.0[0] <= 2),
            ];
            prop_assert!(must.iter().flatten().all(|number| kept.contains(number)), "{must:?} {kept:?}");
        }
    }
}
