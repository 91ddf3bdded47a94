//! What is decided, in stories and at random.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::blind::Sight;
use super::channel::{Channel, channels};
use super::decide::{Input, decide};
use super::message::Event;
use super::stored::{Silence, Stored, fingerprint};
use crate::policy::{Notify, Severity};
use crate::status::{CopyState, GoodBy, LastGood, Next, Problem, SourceState, State, Status};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn start() -> Timestamp {
    "2026-11-26T00:00:00Z".parse().unwrap()
}

pub(super) fn problem(state: State, condition: &'static str) -> Problem {
    Problem {
        policy: "shop".to_owned(),
        source: Some("db".to_owned()),
        copy: None,
        channel: None,
        state,
        condition,
        what: format!("shop/db: {condition}. It costs something."),
        why: "because".to_owned(),
        to_do: "holdfast run".to_owned(),
        do_not: "forget".to_owned(),
        restore: "holdfast restore".to_owned(),
    }
}

/// How a policy with one source and one copy stands.
pub(super) fn status(now: Timestamp, readable: bool, problems: Vec<Problem>) -> Status {
    let state = problems.iter().map(|problem| problem.state).max().unwrap_or(State::Ok);
    let source = SourceState {
        policy: "shop".to_owned(),
        source: "db".to_owned(),
        state,
        elsewhere: false,
        last_good: Some(LastGood { at: now, by: GoodBy::Snapshot, snapshot: None }),
        rpo: Some(std::time::Duration::from_secs(3600)),
        proven: None,
        proven_share: None,
        proven_max_age: None,
        took: None,
        rto: None,
        next_run: None,
        drill_due: None,
        log_flushed: None,
        copied_until: None,
        max_lag: None,
    };
    let copy = CopyState {
        policy: "shop".to_owned(),
        copy: "offsite".to_owned(),
        state: Some(State::Ok),
        behind: Some(0),
        oldest: None,
        max_lag: None,
    };
    Status {
        now,
        sources: vec![source],
        copies: vec![copy],
        slots: Vec::new(),
        holds: Vec::new(),
        next: vec![Next { policy: "shop".to_owned(), run: None, drill: None, readable }],
        channels: Vec::new(),
        silences: Vec::new(),
        problems,
    }
}

fn command(word: &str, from: Severity) -> Notify {
    Notify { command: vec![word.to_owned()], from, ..Notify::default() }
}

/// Everything that was told, minute by minute.
struct Story {
    now: Timestamp,
    stored: Vec<Stored>,
    silences: Vec<Silence>,
    channels: Vec<Channel>,
    told: Vec<(Timestamp, String, Event)>,
}

impl Story {
    fn new() -> Self {
        let ways = [command("all", Severity::Warning), command("pager", Severity::High)];
        Self { now: start(), stored: vec![], silences: vec![], channels: channels(&ways), told: vec![] }
    }

    /// Looks, and returns what is told: `all opened`.
    fn see(&mut self, status: &Status) -> Vec<String> {
        let problems: Vec<&Problem> = status.problems.iter().collect();
        let input = Input {
            now: self.now,
            problems: &problems,
            sight: Sight::new(status, "shop"),
            stored: &self.stored,
            silences: &self.silences,
            channels: &self.channels,
        };
        let mut lines = Vec::new();
        for step in decide(&input) {
            for told in &step.told {
                let channel = self.channels.iter().find(|channel| channel.id == told.channel).unwrap();
                lines.push(format!("{} {}", channel.way.command[0], told.event.word()));
                self.told.push((self.now, format!("{}{}", step.alert.fingerprint, told.channel), told.event));
            }
            self.stored.retain(|stored| stored.fingerprint != step.alert.fingerprint);
            self.stored.push(step.alert);
        }
        lines.sort();
        lines
    }

    fn after(&mut self, minutes: i64, problems: &[Problem]) -> Vec<String> {
        self.now = self.now.checked_add(SignedDuration::from_mins(minutes)).unwrap();
        let status = status(self.now, true, problems.to_vec());
        self.see(&status)
    }

    fn silence(&mut self, part: Option<&str>, minutes: i64) {
        self.silences.push(Silence {
            id: 1,
            policy: "shop".to_owned(),
            part: part.map(str::to_owned),
            since: self.now,
            until: self.now.checked_add(SignedDuration::from_mins(minutes)).unwrap(),
            reason: "work".to_owned(),
            by: "me".to_owned(),
        });
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_thing_is_opened_told_again_with_patience_and_resolved_once() {
    let mut story = Story::new();
    let high = [problem(State::High, "rpo")];
    assert_eq!(story.after(0, &high), ["all opened", "pager opened"]);
    assert_eq!(story.after(59, &high), NOTHING);
    assert_eq!(story.after(1, &high), ["all reminder", "pager reminder"]);
    assert_eq!(story.after(239, &high), NOTHING);
    assert_eq!(story.after(1, &high).len(), 2);
    assert_eq!(story.after(24 * 60 - 1, &high), NOTHING);
    assert_eq!(story.after(1, &high).len(), 2);
    assert_eq!(story.after(1, &[]), ["all resolved", "pager resolved"]);
    assert_eq!(story.after(600, &[]), NOTHING);
}

#[test]
fn each_channel_hears_from_its_severity_on() {
    let mut story = Story::new();
    assert_eq!(story.after(0, &[problem(State::Warning, "attempt-failed")]), ["all opened"]);
    // It became a backup that is too old: the same thing, and worse.
    assert_eq!(story.after(1, &[problem(State::High, "rpo")]), ["all worsened", "pager opened"]);
    // To and fro is told once.
    assert_eq!(story.after(1, &[problem(State::Warning, "attempt-failed")]), NOTHING);
    assert_eq!(story.after(1, &[problem(State::High, "rpo")]), NOTHING);
    assert_eq!(story.after(1, &[problem(State::Disaster, "no-backup")]), ["all worsened", "pager worsened"]);
    assert_eq!(story.after(60, &[problem(State::Disaster, "no-backup")]), ["all reminder", "pager reminder"]);
    assert_eq!(story.after(1, &[]), ["all resolved", "pager resolved"]);
    assert_eq!(story.stored.len(), 1);
}

#[test]
fn with_age_a_warning_becomes_high() {
    let mut story = Story::new();
    let warning = [problem(State::Warning, "attempt-failed")];
    assert_eq!(story.after(0, &warning), ["all opened"]);
    assert_eq!(story.after(24 * 60, &warning), ["all reminder"]);
    assert_eq!(story.after(24 * 60, &warning), ["all reminder"]);
    assert_eq!(story.after(24 * 60 - 1, &warning), NOTHING);
    assert_eq!(story.after(1, &warning), ["all worsened", "pager opened"]);
    // What nobody can tell does so sooner.
    let mut story = Story::new();
    let unknown = [problem(State::Unknown, "cannot-tell")];
    assert_eq!(story.after(0, &unknown), ["all opened"]);
    assert_eq!(story.after(60, &unknown), ["all worsened", "pager opened"]);
    // What names its own day does not.
    let mut story = Story::new();
    let expires = [problem(State::Warning, "last-one-expires")];
    assert_eq!(story.after(0, &expires), ["all opened"]);
    assert_eq!(story.after(24 * 60 * 13, &expires), ["all reminder"]);
}

#[test]
fn what_comes_and_goes_stays_open_until_it_stayed_away() {
    let mut story = Story::new();
    let high = [problem(State::High, "rpo")];
    let mut messages = 0;
    for minute in 0..24 * 60 {
        messages += story.after(1, if minute % 2 == 0 { &high } else { &[] }).len();
    }
    // Opened twice, resolved once, and told again as ever: to each of two.
    assert!(messages <= 2 * 8, "{messages}");
    assert_eq!(story.after(40, &[]), ["all resolved", "pager resolved"]);
}

#[test]
fn a_silence_keeps_all_quiet_but_a_disaster() {
    let mut story = Story::new();
    story.silence(Some("db"), 120);
    let high = [problem(State::High, "rpo")];
    assert_eq!(story.after(0, &high), NOTHING);
    let other = Problem { source: Some("tree".to_owned()), ..problem(State::High, "rpo") };
    assert_eq!(story.after(1, &[high[0].clone(), other.clone()]).len(), 2, "the other source is not meant");
    // It is told when the silence ends.
    assert_eq!(story.after(120, &[high[0].clone(), other.clone()]).len(), 4);
    let mut story = Story::new();
    story.silence(None, 120);
    assert_eq!(story.after(0, &high), NOTHING);
    assert_eq!(story.after(1, &[problem(State::Disaster, "no-backup")]), ["all opened", "pager opened"]);
    assert_eq!(story.after(1, &[]), ["all resolved", "pager resolved"]);
    // What came and went in it is nobody's business.
    assert_eq!(story.after(1, &high), NOTHING);
    assert_eq!(story.after(1, &[]), NOTHING);
}

#[test]
fn what_cannot_be_looked_at_is_not_healed() {
    let mut story = Story::new();
    let drill = [problem(State::High, "drill-failed")];
    assert_eq!(story.after(0, &drill).len(), 2);
    // Another host looks, which goes by its memory.
    story.now = story.now.checked_add(SignedDuration::from_mins(1)).unwrap();
    let blind = status(story.now, false, vec![]);
    assert_eq!(story.see(&blind), NOTHING);
    // The repository is out of reach.
    let gone = Problem { source: None, ..problem(State::Disaster, "repository-out-of-reach") };
    let blind = status(story.now, false, vec![gone]);
    assert_eq!(story.see(&blind), ["all opened", "pager opened"]);
    // Its evidence cannot be read.
    let gap = Problem { source: None, ..problem(State::Warning, "not-all-seen") };
    assert_eq!(
        story.after(1, std::slice::from_ref(&gap)).len(),
        3,
        "the repository is back, and one thing is new"
    );
    // The policy was not looked at at all.
    let nothing = Status { next: vec![], ..status(story.now, true, vec![]) };
    assert_eq!(story.see(&nothing), NOTHING);
    assert!(story.stored.iter().any(|stored| stored.open && stored.family == "proof"));
    assert_eq!(story.after(1, &[]), ["all resolved", "all resolved", "pager resolved"]);
}

#[test]
fn what_this_host_knows_by_memory_heals_by_memory() {
    let mut story = Story::new();
    let high = status(story.now, false, vec![problem(State::High, "rpo")]);
    assert_eq!(story.see(&high).len(), 2);
    let well = status(story.now, false, vec![]);
    assert_eq!(story.see(&well), ["all resolved", "pager resolved"]);
}

#[test]
fn nobody_is_told_by_a_channel_that_it_does_not_work() {
    let mut story = Story::new();
    let broken = |story: &Story, which: usize| {
        let channel = Some(story.channels[which].id.clone());
        Problem { source: None, channel, ..problem(State::High, "channel-command") }
    };
    // The other one is of the same kind, and hears of it.
    let first = broken(&story, 0);
    assert_eq!(story.after(0, std::slice::from_ref(&first)), ["pager opened"]);
    // It is another thing when that one does not work either.
    let second = broken(&story, 1);
    assert_eq!(story.after(1, &[first, second.clone()]), ["all opened"]);
    assert_eq!(story.after(1, &[second]), ["pager resolved"]);
    assert_eq!(story.after(1, &[]), ["all resolved"]);
}

#[test]
fn a_look_that_began_before_another_changes_nothing_of_what_that_one_told() {
    let mut story = Story::new();
    let (well, high) = (status(start(), true, vec![]), [problem(State::High, "rpo")]);
    assert_eq!(story.after(2, &high).len(), 2);
    // It began two minutes ago, before that was so.
    story.now = start();
    assert_eq!(story.see(&well), NOTHING);
    assert!(story.stored[0].open);
    assert_eq!(story.after(3, &high), NOTHING);
    assert_eq!(story.after(1, &[]).len(), 2);
    // And one that saw it before it was over.
    story.now = story.now.checked_sub(SignedDuration::from_mins(1)).unwrap();
    let before = status(story.now, true, high.to_vec());
    assert_eq!(story.see(&before), NOTHING);
    assert!(!story.stored[0].open);
}

#[test]
fn a_clock_that_leapt_ahead_keeps_nobody_from_being_told() {
    let mut story = Story::new();
    let high = [problem(State::High, "rpo")];
    assert_eq!(story.after(60 * 24 * 365 * 4, &high).len(), 2);
    story.now = start();
    assert_eq!(story.after(1, &high), NOTHING);
    assert_eq!(story.after(60, &high), ["all reminder", "pager reminder"]);
    assert_eq!(story.after(1, &[]), ["all resolved", "pager resolved"]);
}

#[test]
fn what_only_the_catalog_knows_is_not_healed_while_it_is_out_of_reach() {
    let mut story = Story::new();
    let channel = Some("slack:00".to_owned());
    let of = |condition| Problem { source: None, ..problem(State::High, condition) };
    let broken = Problem { channel, ..of("channel-slack") };
    let log = problem(State::High, "log-not-streamed");
    let all = [broken, of("not-served"), of("job-lost"), log];
    assert_eq!(story.after(0, &all).len(), 8);
    let lost = Problem { source: None, ..problem(State::Warning, "catalog-out-of-reach") };
    assert_eq!(story.after(1, &[lost]), ["all opened"]);
    // Nor while the policy cannot be read.
    story.now = story.now.checked_add(SignedDuration::from_mins(1)).unwrap();
    let unread = Problem { source: None, ..problem(State::Unknown, "policy-unreadable") };
    let unread = Status { next: vec![], sources: vec![], ..status(story.now, true, vec![unread]) };
    assert_eq!(story.see(&unread), ["all opened"]);
    assert_eq!(story.after(1, &[]).len(), 10);
}

#[test]
fn what_a_copy_has_is_not_healed_while_the_copy_is_out_of_reach() {
    let mut story = Story::new();
    let copy = Some("offsite".to_owned());
    let expires = Problem { copy, ..problem(State::Warning, "last-one-expires") };
    assert_eq!(story.after(0, &[expires]), ["all opened"]);
    story.now = story.now.checked_add(SignedDuration::from_mins(1)).unwrap();
    let mut unseen = status(story.now, true, vec![]);
    unseen.copies[0].state = None;
    assert_eq!(story.see(&unseen), NOTHING);
    assert_eq!(story.after(1, &[]), ["all resolved"]);
}

#[test]
fn a_thing_keeps_its_fingerprint() {
    let one = fingerprint(&problem(State::Warning, "attempt-failed"));
    assert_eq!(one, fingerprint(&problem(State::High, "rpo")));
    assert_ne!(one, fingerprint(&problem(State::High, "drill-failed")));
    assert_ne!(
        one,
        fingerprint(&Problem { source: None, copy: Some("db".to_owned()), ..problem(State::High, "rpo") })
    );
    // A promise to whoever joins messages by it.
    assert_eq!(one, "6a4ece12783b5d6f");
}

/// What happens in a minute.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Well,
    Blind,
    Bad(State),
}

fn weather() -> impl Strategy<Value = (i64, Weather, bool)> {
    let states = prop::sample::select(vec![State::Warning, State::Unknown, State::High, State::Disaster]);
    let weather = prop_oneof![
        3 => Just(Weather::Well),
        1 => Just(Weather::Blind),
        4 => states.prop_map(Weather::Bad),
    ];
    (prop_oneof![4 => 1..5_i64, 1 => 1..300_i64], weather, prop::bool::weighted(0.05))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_messages_come_in_order_and_not_too_many(
        days in prop::collection::vec(weather(), 1..400)
    ) {
        let mut story = Story::new();
        let mut told_by_disaster = true;
        for (minutes, weather, silence) in days {
            if silence {
                story.silence(None, 90);
            }
            story.now = story.now.checked_add(SignedDuration::from_mins(minutes)).unwrap();
            let before = story.told.len();
            let seen = match weather {
                Weather::Well => status(story.now, true, vec![]),
                Weather::Blind => Status { next: vec![], ..status(story.now, true, vec![]) },
                Weather::Bad(state) => status(story.now, true, vec![problem(state, "rpo")]),
            };
            let was_open = story.stored.first().is_some_and(|stored| stored.open);
            story.see(&seen);
            let new = &story.told[before..];
            // Nothing heals while nobody looks, or while it is there.
            if !matches!(weather, Weather::Well) {
                prop_assert!(new.iter().all(|(.., event)| *event != Event::Resolved));
            }
            // A disaster is told to everybody, silence or not.
            if matches!(weather, Weather::Bad(State::Disaster)) {
                let known = story.stored[0].told.values().filter(|told| told.severity == State::Disaster);
                told_by_disaster &= known.count() == story.channels.len();
            }
            if matches!(weather, Weather::Well) && !was_open {
                prop_assert!(new.is_empty());
            }
        }
        prop_assert!(told_by_disaster);
        let mut lines: BTreeMap<&String, Vec<(Timestamp, Event)>> = BTreeMap::new();
        for (at, line, event) in &story.told {
            lines.entry(line).or_default().push((*at, *event));
        }
        for events in lines.values() {
            let mut open = false;
            for (_, event) in events {
                match event {
                    Event::Opened => prop_assert!(!std::mem::replace(&mut open, true), "opened twice"),
                    Event::Resolved => prop_assert!(std::mem::replace(&mut open, false), "resolved twice"),
                    _ => prop_assert!(open, "told of what was not opened"),
                }
            }
            let day = SignedDuration::from_hours(24);
            for (at, _) in events {
                let in_a_day = events.iter().filter(|(other, _)| {
                    let apart = other.duration_since(*at);
                    !apart.is_negative() && apart < day
                });
                prop_assert!(in_a_day.count() <= 60, "a storm");
            }
        }
    }
}
