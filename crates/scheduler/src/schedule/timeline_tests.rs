//! Days on which clocks are set, in several zones; and any schedule against a reckoning minute by
//! minute.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::{Cron, timeline, zone};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The matches within a span of time, as local times with their offsets.
fn within(cron: &str, name: &str, from: &str, to: &str) -> Vec<String> {
    let (cron, zone) = (Cron::parse(cron).unwrap(), zone(Some(name)).unwrap());
    let stamp = |text: &str| text.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let (from, to) = (stamp(from), stamp(to));
    let all = forward(&cron, &zone, from, to);
    assert_eq!(all, backward(&cron, &zone, from, to));
    all.iter().map(|time| time.to_zoned(zone.clone()).strftime("%d %H:%M%:z").to_string()).collect()
}

/// From a moment on, up to another one.
fn forward(cron: &Cron, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let first = timeline::next(cron, zone, from - SignedDuration::from_nanos(1));
    let all = std::iter::successors(first, |last| timeline::next(cron, zone, *last));
    all.take_while(|time| *time < to).collect()
}

fn backward(cron: &Cron, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let last = timeline::previous(cron, zone, to);
    let all = std::iter::successors(last, |last| timeline::previous(cron, zone, *last));
    let mut all: Vec<_> = all.take_while(|time| *time >= from).collect();
    all.reverse();
    all
}

#[test]
fn what_falls_into_the_gap_runs_once_right_after_it() {
    let berlin = |cron: &str| within(cron, "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T12:00");
    assert_eq!(berlin("30 2 * * *"), ["29 03:00+02:00", "30 02:30+02:00"]);
    assert_eq!(
        berlin("*/20 2 * * *"),
        ["29 03:00+02:00", "30 02:00+02:00", "30 02:20+02:00", "30 02:40+02:00"]
    );
    assert_eq!(berlin("0 2,3 * * *"), ["29 03:00+02:00", "30 02:00+02:00", "30 03:00+02:00"]);
    assert_eq!(berlin("59 1 * * *"), ["29 01:59+01:00", "30 01:59+02:00"]);
    let york = |cron: &str| within(cron, "America/New_York", "2026-03-07T12:00", "2026-03-09T12:00");
    assert_eq!(york("15 2 * * *"), ["08 03:00-04:00", "09 02:15-04:00"]);
    let howe = |cron: &str| within(cron, "Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-05T12:00");
    assert_eq!(howe("15 2 * * *"), ["04 02:30+11:00", "05 02:15+11:00"]);
    assert_eq!(howe("45 2 * * *"), ["04 02:45+11:00", "05 02:45+11:00"]);
}

#[test]
fn what_falls_into_the_overlap_runs_once_the_first_time() {
    let berlin = |cron: &str| within(cron, "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T02:00");
    assert_eq!(berlin("30 2 * * *"), ["25 02:30+02:00"]);
    assert_eq!(
        berlin("0,30 2,3 * * *"),
        ["25 02:00+02:00", "25 02:30+02:00", "25 03:00+01:00", "25 03:30+01:00"]
    );
    let york = |cron: &str| within(cron, "America/New_York", "2026-10-31T12:00", "2026-11-02T01:00");
    assert_eq!(york("15 1 * * *"), ["01 01:15-04:00"]);
    let howe = |cron: &str| within(cron, "Australia/Lord_Howe", "2026-04-04T12:00", "2026-04-06T01:00");
    assert_eq!(howe("45 1 * * *"), ["05 01:45+11:00"]);
    assert_eq!(howe("15 1,2 * * *"), ["05 01:15+11:00", "05 02:15+10:30"]);
}

#[test]
fn what_follows_real_time_goes_on() {
    let spring = within("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00", "2026-03-29T04:00");
    assert_eq!(spring, ["29 01:00+01:00", "29 01:30+01:00", "29 03:00+02:00", "29 03:30+02:00"]);
    let autumn = within("0 * * * *", "Europe/Berlin", "2026-10-25T01:00", "2026-10-25T05:00");
    let wanted = ["25 01:00+02:00", "25 02:00+02:00", "25 02:00+01:00", "25 03:00+01:00", "25 04:00+01:00"];
    assert_eq!(autumn, wanted);
    let howe = within("*/15 * * * *", "Australia/Lord_Howe", "2026-04-05T01:30", "2026-04-05T02:15");
    let wanted = ["05 01:30+11:00", "05 01:45+11:00", "05 01:30+10:30", "05 01:45+10:30", "05 02:00+10:30"];
    assert_eq!(howe, wanted);
}

#[test]
fn a_zone_without_summer_time_has_no_such_days() {
    let seoul = within("30 2 * * *", "Asia/Seoul", "2026-03-28T12:00", "2026-03-31T00:00");
    assert_eq!(seoul, ["29 02:30+09:00", "30 02:30+09:00"]);
    assert_eq!(within("0 0 29 2 *", "Asia/Seoul", "2026-01-01T00:00", "2040-01-01T00:00").len(), 3);
}

#[test]
fn a_day_that_a_zone_left_out_is_made_up_for_once() {
    // Samoa went from the 29th to the 31st of December 2011.
    let apia = within("0 5 * * *", "Pacific/Apia", "2011-12-29T00:00", "2012-01-01T00:00");
    assert_eq!(apia, ["29 05:00-10:00", "31 00:00+14:00", "31 05:00+14:00"]);
}

#[test]
fn schedules_that_wait_for_years_are_found_at_once() {
    let begin = std::time::Instant::now();
    for name in ["UTC", "Europe/Berlin", "Australia/Lord_Howe"] {
        let cron = Cron::parse("0 0 29 2 *").unwrap();
        let zone = zone(Some(name)).unwrap();
        let mut at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut count = 0;
        while let Some(next) = timeline::next(&cron, &zone, at) {
            (at, count) = (next, count + 1);
        }
        assert_eq!(count, 18, "{name}");
    }
    let minutely = within("* * * * *", "Europe/Berlin", "2026-10-20T00:00", "2026-10-27T00:00");
    assert_eq!(minutely.len(), (7 * 24 + 1) * 60);
    // Milliseconds, but other tests run beside it.
    assert!(begin.elapsed().as_secs() < 20);
}

/// The minutes of a span that match, each as the moments that it stands for.
fn minute_by_minute(
    matches: impl Fn(DateTime) -> bool,
    follows: bool,
    zone: &TimeZone,
    days: (DateTime, i64),
) -> Vec<Timestamp> {
    let mut all = BTreeSet::new();
    let mut at = days.0;
    for _ in 0..days.1 * 1440 {
        if matches(at) {
            match zone.to_ambiguous_timestamp(at).offset() {
                AmbiguousOffset::Unambiguous { offset } => {
                    all.insert(offset.to_timestamp(at).unwrap());
                }
                AmbiguousOffset::Gap { after, .. } => {
                    let early = after.to_timestamp(at).unwrap();
                    all.insert(zone.following(early).next().unwrap().timestamp());
                }
                AmbiguousOffset::Fold { before, after } => {
                    all.insert(before.to_timestamp(at).unwrap());
                    if follows {
                        all.insert(after.to_timestamp(at).unwrap());
                    }
                }
            }
        }
        at = at.checked_add(1.minute()).unwrap();
    }
    all.into_iter().collect()
}

/// A field: its text, and which values it means, reckoned apart from the code that reads it.
fn field(low: u32, high: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
    let value = move || low..=high;
    prop_oneof![
        3 => Just(("*".to_owned(), (low..=high).collect())),
        3 => value().prop_map(|one| (one.to_string(), vec![one])),
        2 => (value(), value()).prop_map(|(a, b)| (format!("{a},{b}"), vec![a, b])),
        2 => (value(), value()).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            (format!("{a}-{b}"), (a..=b).collect())
        }),
        2 => (1..=(high - low)).prop_map(move |step| {
            (format!("*/{step}"), (low..=high).filter(|value| (value - low).is_multiple_of(step)).collect())
        }),
    ]
}

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Seoul", "Africa/Casablanca"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_match_is_met_once(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12),
        weekday in field(0, 6), name in prop::sample::select(&ZONES[..]), start in 0i64..365,
    ) {
        let text = [&minute, &hour, &day, &month, &weekday].map(|field| field.0.as_str()).join(" ");
        let Ok(cron) = Cron::parse(&text) else {
            // Only days that no month has are refused.
            prop_assert!(day.1.iter().all(|day| *day > 28), "{}", text);
            return Ok(());
        };
        let (either, zone) = (!day.0.starts_with('*') && !weekday.0.starts_with('*'), zone(Some(name)).unwrap());
        let has = |field: &(String, Vec<u32>), value: i8| field.1.contains(&u32::try_from(value).unwrap());
        let matches = |at: DateTime| {
            let of_month = has(&day, at.day());
            let of_week = has(&weekday, at.date().weekday().to_sunday_zero_offset());
            let fits = if either { of_month || of_week } else { of_month && of_week };
            fits && has(&minute, at.minute()) && has(&hour, at.hour()) && has(&month, at.month())
        };
        let first = DateTime::constant(2026, 1, 1, 0, 0, 0, 0).checked_add(start.days()).unwrap();
        let wanted = minute_by_minute(matches, cron.follows_real_time(), &zone, (first, 40));
        let from = first.to_zoned(zone.clone()).unwrap().timestamp();
        let to = first.checked_add(40.days()).unwrap().to_zoned(zone.clone()).unwrap().timestamp();
        let wanted: Vec<_> = wanted.into_iter().filter(|time| (from..to).contains(time)).collect();
        // The crowded ones are all alike.
        let (few, end) = (wanted.iter().take(1500).copied().collect::<Vec<_>>(), wanted.get(1500).copied().unwrap_or(to));
        let found = forward(&cron, &zone, from, end);
        prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(&found, &few, "{} in {}", text, name);
        prop_assert_eq!(&backward(&cron, &zone, from, end), &few, "{} in {}", text, name);
    }
}
