//! Telling, with a real catalog and a post that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::decide_tests::{problem, status};
use super::{Event, Facts, Message, Outcome, Post, Silence, Ticked, is_within_promise, retry, test, tick};
use crate::catalog::{Catalog, Place};
use crate::policy::read::parse;
use crate::policy::{Heartbeat, Notify};
use crate::status::{Known, Problem, State, Status};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes messages, or does not.
#[derive(Default)]
struct FakePost {
    clock: Mutex<Timestamp>,
    /// By which clock messages were told.
    told: Mutex<Vec<Timestamp>>,
    /// What is answered by a channel, by the first word of its command, to all or one kind of messages; delivered
    /// where nothing is said.
    answers: Mutex<BTreeMap<String, Outcome>>,
    taken: Mutex<Vec<(String, Message)>>,
    tries: AtomicU64,
    beats: AtomicU64,
}

impl FakePost {
    fn answers(&self, channel: &str, outcome: Outcome) {
        self.answers.lock().unwrap().insert(channel.to_owned(), outcome);
    }

    fn works(&self, channel: &str) {
        self.answers.lock().unwrap().remove(channel);
    }

    fn sets(&self, now: Timestamp) {
        *self.clock.lock().unwrap() = now;
    }

    fn taken(&self, event: Event) -> usize {
        self.taken.lock().unwrap().iter().filter(|(_, message)| message.event == event).count()
    }

    fn events(&self) -> Vec<Event> {
        self.taken.lock().unwrap().iter().map(|(_, message)| message.event).collect()
    }
}

#[async_trait]
impl Post for FakePost {
    fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    async fn deliver(&self, way: &Notify, message: &Message, now: Timestamp) -> Outcome {
        self.tries.fetch_add(1, Ordering::Relaxed);
        self.told.lock().unwrap().push(now);
        let name = way.command.first().cloned().unwrap_or_else(|| "no program".to_owned());
        let one = format!("{name} {}", message.event.word());
        let answers = self.answers.lock().unwrap();
        let answer = answers.get(&one).or_else(|| answers.get(&name)).cloned();
        drop(answers);
        let answer = answer.unwrap_or(Outcome::Delivered);
        if answer == Outcome::Delivered {
            self.taken.lock().unwrap().push((name, message.clone()));
        }
        answer
    }

    async fn beat(&self, _heartbeat: &Heartbeat) -> Outcome {
        self.beats.fetch_add(1, Ordering::Relaxed);
        Outcome::Delivered
    }

    async fn facts(&self, _known: &Known) -> Facts {
        Facts {
            stored: Some(3 << 30),
            drills: Some([1, 0, 0, 2]),
            heads: vec!["3f2a:17:abcd".to_owned()],
            unprotected: Some(vec!["/mnt/data (ext4 of /dev/sdb1)".to_owned()]),
        }
    }
}

fn known(ways: &str) -> Known {
    let text = format!(
        "name: shop\nrepository: {{ url: /b, password: {{ env: X }} }}\nsources:\n  db: {{ files: {{ paths: [/srv] }} }}\n\
         schedule: {{ cron: '15 2 * * *', timezone: Asia/Seoul }}\nnotify: [ {ways} ]\n\
         heartbeat: {{ url: {{ file: /beat }} }}\n"
    );
    Known {
        policy: parse(&text, "shop.yaml").unwrap(),
        file: "/etc/shop.yaml".to_owned(),
        since: Some(at("2026-11-25T00:00:00Z")),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn later(moment: Timestamp, minutes: i64) -> Timestamp {
    moment.checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

struct World {
    _folder: tempfile::TempDir,
    catalog: Catalog,
    place: Place,
    post: FakePost,
    known: [Known; 1],
    now: Timestamp,
}

async fn world(ways: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("catalog.sqlite"));
    let catalog = Catalog::open(&place).await.unwrap();
    let known = [known(ways)];
    World {
        _folder: folder,
        catalog,
        place,
        post: FakePost::default(),
        known,
        now: at("2026-11-26T00:00:00Z"),
    }
}

impl World {
    async fn after(&mut self, minutes: i64, problems: &[Problem]) -> Ticked {
        self.now = later(self.now, minutes);
        let status = status(self.now, true, problems.to_vec());
        self.tick(&status).await
    }

    async fn tick(&self, status: &Status) -> Ticked {
        // Whoever looks each minute does so beside other work.
        fn beside<T: Send>(work: T) -> T {
            work
        }
        self.post.sets(self.now);
        beside(tick(&self.post, &self.catalog, &self.known, status, self.now)).await
    }
}

#[tokio::test]
async fn ten_thousand_failing_runs_make_a_handful_of_messages_and_one_resolution() {
    let mut world = world("{ command: [a] }").await;
    // They begin a minute apart, and take almost seven days.
    for run in 0..10_000 {
        let ticked = world.after(1, &[problem(State::High, "rpo")]).await;
        assert!(ticked.troubles.is_empty(), "{run}: {ticked:?}");
    }
    let alerts =
        |events: &[Event]| events.iter().filter(|one| !matches!(one, Event::Digest | Event::Test)).count();
    let told = alerts(&world.post.events());
    assert!((5..=10).contains(&told), "{told}");
    world.after(1, &[]).await;
    world.after(1, &[]).await;
    assert_eq!((world.post.taken(Event::Opened), world.post.taken(Event::Resolved)), (1, 1));
    // And the week had its digest.
    assert_eq!(world.post.taken(Event::Digest), 1);
}

#[tokio::test]
async fn a_channel_that_is_down_loses_nothing_and_gets_nothing_twice() {
    let mut world = world("{ command: [a] }, { command: [b] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    let high = [problem(State::High, "rpo")];
    for _ in 0..50 {
        world.after(1, &high).await;
    }
    for _ in 0..10 {
        world.after(1, &[]).await;
    }
    // The other one heard it all, and at once.
    assert_eq!(world.post.events(), [Event::Opened, Event::Resolved]);
    assert!(world.post.tries.load(Ordering::Relaxed) < 20, "its patience does not grow");
    let records = world.catalog.records("shop", world.now).await.unwrap();
    let waiting = records.iter().find(|record| record.waiting > 0).unwrap();
    assert_eq!((waiting.waiting, waiting.why.as_deref()), (2, Some("busy")));
    world.post.works("a");
    for _ in 0..20 {
        world.after(1, &[]).await;
    }
    let taken: Vec<Event> = {
        let taken = world.post.taken.lock().unwrap();
        taken.iter().filter(|(channel, _)| channel == "a").map(|(_, message)| message.event).collect()
    };
    assert_eq!(taken, [Event::Opened, Event::Resolved]);
}

#[tokio::test]
async fn what_waits_is_tried_again_in_its_time_without_a_look() {
    let mut world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    world.after(1, &[problem(State::High, "rpo")]).await;
    world.post.works("a");
    // It is not its time yet.
    let at_once = retry(&world.post, &world.catalog, &world.known).await;
    assert_eq!((at_once.delivered, world.post.events().len()), (0, 0));
    world.now += SignedDuration::from_mins(1);
    world.post.sets(world.now);
    let later = retry(&world.post, &world.catalog, &world.known).await;
    assert_eq!((later.delivered, world.post.events()), (1, vec![Event::Opened]));
}

#[tokio::test]
async fn several_that_look_at_once_tell_once() {
    let world = world("{ command: [a] }, { command: [b] }").await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Catalog::open(&world.place).await.unwrap());
    }
    let mut now = world.now;
    for minute in 0..40 {
        now = later(now, 1);
        let problems = if minute % 20 < 10 { vec![problem(State::High, "rpo")] } else { vec![] };
        let status = status(now, true, problems);
        world.post.sets(now);
        let all = others.iter().map(|catalog| tick(&world.post, catalog, &world.known, &status, now));
        let all = futures::future::join_all(all).await;
        assert!(all.iter().all(|ticked| ticked.troubles.is_empty()), "{all:?}");
    }
    // Whoever was late finds it in hand; one more look has the rest.
    world.tick(&status(now, true, vec![])).await;
    let taken = world.post.taken.lock().unwrap();
    let mut ids: Vec<&str> = taken.iter().map(|(_, message)| message.id.as_str()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "a message was taken twice");
    let opened = taken.iter().filter(|(_, message)| message.event == Event::Opened).count();
    // Twice to each; the second time it has to stay away for longer before it is resolved.
    assert_eq!(opened, 4);
}

#[tokio::test]
async fn who_died_with_a_message_in_hand_keeps_it_for_a_while_only() {
    let mut world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    world.after(0, &[problem(State::High, "rpo")]).await;
    let channel = world.catalog.records("shop", world.now).await.unwrap()[0].channel.clone();
    world.now = later(world.now, 2);
    let waiting = world.catalog.next_message("shop", &channel, world.now).await.unwrap().unwrap();
    let fence = world.catalog.take_message(&waiting, world.now).await.unwrap().unwrap();
    // Whoever saw it before is too late.
    assert_eq!(world.catalog.take_message(&waiting, world.now).await.unwrap(), None);
    world.post.works("a");
    world.after(1, &[problem(State::High, "rpo")]).await;
    assert_eq!(world.post.events(), [], "it is in other hands");
    world.after(5, &[problem(State::High, "rpo")]).await;
    assert_eq!(world.post.events(), [Event::Opened]);
    let end = crate::catalog::Sending::Refused { why: "late".to_owned() };
    assert!(!world.catalog.end_message(&waiting.id, fence, &end, world.now).await.unwrap());
}

#[tokio::test]
async fn a_digest_and_a_test_go_once_however_many_look() {
    let mut world = world("{ command: [a] }, { command: [b], from: high }").await;
    let other = Catalog::open(&world.place).await.unwrap();
    // Monday at eight in Seoul is Sunday at eleven in the evening.
    world.now = at("2026-11-29T22:58:00Z");
    world.after(1, &[]).await;
    assert_eq!(world.post.events(), []);
    for _ in 0..3 {
        world.after(1, &[]).await;
        let seen = status(world.now, true, vec![]);
        tick(&world.post, &other, &world.known, &seen, world.now).await;
    }
    assert_eq!(world.post.events(), [Event::Digest]);
    let digest = world.post.taken.lock().unwrap()[0].1.clone();
    assert_eq!(digest.title, "The week of shop: all is well");
    let text = digest.lines.join("\n");
    for part in [
        "shop/db: last good 2026-11-30T08:00:00+09:00 (0 s ago, limit 1 h); never proven; ok",
        "copy offsite: has everything",
        "drills of the week: 1 passed, 0 failed, 0 proved nothing, 2 due and not run",
        "NOT PROTECTED on this host: /mnt/data (ext4 of /dev/sdb1); see holdfast policy coverage",
        "stored: 3 GiB",
        "open alerts: none",
        "evidence: holdfast evidence verify --expect 3f2a:17:abcd",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // The first of the month at nine in Seoul.
    world.now = at("2026-11-30T23:59:00Z");
    for _ in 0..3 {
        world.after(1, &[]).await;
    }
    assert_eq!(world.post.events()[1..], [Event::Test, Event::Test]);
    assert!(
        world.catalog.records("shop", world.now).await.unwrap().iter().all(|record| record.tested.is_some())
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_told_by_the_channels_that_it_had() {
    let mut world = world("{ command: [a] }").await;
    world.after(0, &[]).await;
    let broken = Problem { source: None, ..problem(State::Unknown, "policy-unreadable") };
    let blind = Status { next: vec![], sources: vec![], ..status(world.now, true, vec![broken]) };
    tick(&world.post, &world.catalog, &[], &blind, world.now).await;
    assert_eq!(world.post.events(), [Event::Opened]);
    world.after(1, &[]).await;
    assert_eq!(world.post.events(), [Event::Opened, Event::Resolved]);
}

#[tokio::test]
async fn the_heart_beats_while_all_sources_keep_their_promise() {
    let mut world = world("{ command: [a] }").await;
    let beats = |world: &World| world.post.beats.load(Ordering::Relaxed);
    world.after(0, &[]).await;
    assert_eq!(beats(&world), 1);
    // A drill that failed is another promise.
    world.after(1, &[problem(State::High, "drill-failed")]).await;
    assert_eq!(beats(&world), 2);
    for (state, condition) in [
        (State::High, "rpo"),
        (State::Warning, "no-backup"),
        (State::Warning, "runs-missed"),
        (State::Unknown, "cannot-tell"),
        (State::Disaster, "proof"),
    ] {
        world.after(1, &[problem(state, condition)]).await;
    }
    assert_eq!(beats(&world), 2);
    let unseen = Status { sources: vec![], ..status(world.now, true, vec![]) };
    assert!(!is_within_promise(&world.known[0], &unseen));
    world.after(1, &[]).await;
    assert_eq!(beats(&world), 3);
}

#[tokio::test]
async fn what_is_refused_does_not_stop_the_rest_and_is_remembered() {
    let mut world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::Never { why: "no such address (404)".to_owned() });
    world.after(0, &[problem(State::High, "rpo")]).await;
    let record = world.catalog.records("shop", world.now).await.unwrap()[0].clone();
    assert_eq!((record.waiting, record.refused), (0, Some(world.now)));
    assert_eq!(record.refused_why.as_deref(), Some("no such address (404)"));
    world.post.works("a");
    world.after(60, &[problem(State::High, "rpo")]).await;
    assert_eq!(world.post.events(), [Event::Reminder]);
    assert_eq!(world.catalog.records("shop", world.now).await.unwrap()[0].refused, None);
}

#[tokio::test]
async fn what_nobody_takes_for_a_week_is_given_up_and_shown() {
    let mut world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    let high = [problem(State::High, "rpo")];
    // A clock that leapt makes nothing old that was tried a few times only.
    world.after(0, &high).await;
    world.after(60 * 24 * 365, &high).await;
    world.now = at("2026-11-26T00:00:00Z");
    for _ in 0..25 {
        world.after(20, &high).await;
    }
    let record = world.catalog.records("shop", world.now).await.unwrap()[0].clone();
    assert_eq!((record.waiting > 0, record.refused), (true, None));
    world.after(60 * 24 * 7, &high).await;
    let record = world.catalog.records("shop", world.now).await.unwrap()[0].clone();
    assert!(record.refused_why.unwrap().contains("given up"));
}

#[tokio::test]
async fn what_is_refused_as_things_are_is_told_once_somebody_mended_that() {
    let mut world = world("{ command: [a] }").await;
    let old = Outcome::Refused { why: "an old key (401)".to_owned() };
    world.post.answers("a", old.clone());
    let warning = [problem(State::Warning, "attempt-failed")];
    world.after(0, &warning).await;
    // It is seen at once, and not given up.
    let record = world.catalog.records("shop", world.now).await.unwrap()[0].clone();
    assert_eq!((record.waiting, record.refused), (1, Some(world.now)));
    assert_eq!(record.refused_why.as_deref(), Some("an old key (401)"));
    for _ in 0..12 {
        world.after(20, &warning).await;
    }
    world.after(1, &[]).await;
    world.post.works("a");
    world.after(20, &[]).await;
    assert_eq!(world.post.events(), [Event::Opened, Event::Resolved]);
    assert_eq!(world.catalog.records("shop", world.now).await.unwrap()[0].refused, None);
    // Nobody mends it.
    world.post.answers("a", old);
    for _ in 0..40 {
        world.after(20, &warning).await;
    }
    let record = world.catalog.records("shop", world.now).await.unwrap()[0].clone();
    assert_eq!(
        (record.waiting, record.refused_why.as_deref()),
        (0, Some("given up after 12 h: an old key (401)"))
    );
}

#[tokio::test]
async fn an_alert_that_was_forgotten_is_told_when_it_comes_back() {
    let mut world = world("{ command: [a] }").await;
    world.after(0, &[problem(State::High, "rpo")]).await;
    world.after(1, &[]).await;
    world.catalog.forget_alerts("shop", world.now).await.unwrap();
    world.after(1, &[problem(State::High, "rpo")]).await;
    assert_eq!(world.post.events(), [Event::Opened, Event::Resolved, Event::Opened]);
}

#[tokio::test]
async fn what_is_carried_goes_by_the_clock_and_not_by_when_the_look_began() {
    let world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    // It took ten minutes.
    let now = later(world.now, 10);
    world.post.sets(now);
    let seen = status(world.now, true, vec![problem(State::High, "rpo")]);
    tick(&world.post, &world.catalog, &world.known, &seen, world.now).await;
    assert_eq!(*world.post.told.lock().unwrap(), [now]);
    let channel = world.catalog.records("shop", now).await.unwrap()[0].channel.clone();
    let next = async |seconds: i64| {
        let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        world.catalog.next_message("shop", &channel, at).await.unwrap()
    };
    assert_eq!(next(29).await, None);
    assert_eq!(next(30).await.unwrap().tries, 1);
}

#[tokio::test]
async fn a_clock_that_leapt_ahead_blocks_no_channel() {
    let mut world = world("{ command: [a] }").await;
    let (high, begun) = ([problem(State::High, "rpo")], world.now);
    world.post.answers("a opened", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    world.after(60 * 24 * 365 * 4, &high).await;
    world.now = begun;
    world.post.works("a opened");
    world.after(1, &high).await;
    assert_eq!(world.post.taken(Event::Opened), 1);
    world.after(61, &high).await;
    assert_eq!(world.post.taken(Event::Reminder), 1);
}

#[tokio::test]
async fn a_message_that_nobody_takes_keeps_no_other() {
    let mut world = world("{ command: [a] }").await;
    world.now = at("2026-11-30T23:59:00Z");
    let busy = Outcome::TryAgain { why: "it ended with 1".to_owned(), after: None };
    world.post.answers("a test", busy.clone());
    world.post.answers("a digest", busy.clone());
    world.after(2, &[]).await;
    assert_eq!((world.post.tries.load(Ordering::Relaxed) > 0, world.post.events()), (true, vec![]));
    let disaster = [problem(State::Disaster, "no-backup")];
    world.after(1, &disaster).await;
    assert_eq!(world.post.events(), [Event::Opened]);
    // Of one thing nothing is told before what came before it.
    world.post.answers("a opened", busy);
    let other = Problem { source: Some("tree".to_owned()), ..problem(State::High, "rpo") };
    world.after(1, &[disaster[0].clone(), other]).await;
    world.after(30, &disaster).await;
    world.after(1, &[]).await;
    assert_eq!(world.post.events(), [Event::Opened, Event::Resolved]);
    world.post.works("a opened");
    world.after(30, &[]).await;
    assert_eq!(world.post.events()[2..], [Event::Opened, Event::Resolved]);
}

#[tokio::test]
async fn a_channel_that_is_down_is_not_asked_once_for_each_of_many() {
    let mut world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    let one = |number: i32| Problem { source: Some(format!("s{number}")), ..problem(State::High, "rpo") };
    let many: Vec<Problem> = (0..200).map(one).collect();
    let ticked = world.after(0, &many).await;
    assert_eq!((ticked.put, world.post.tries.load(Ordering::Relaxed)), (200, 3));
    assert_eq!(ticked.troubles, ["shop: command: busy"]);
    world.post.works("a");
    for _ in 0..12 {
        world.after(1, &many).await;
    }
    assert_eq!(world.post.taken(Event::Opened), 200);
}

#[tokio::test]
async fn who_cannot_read_the_policy_knows_its_channels_by_what_is_written() {
    let mut world = world("{ slack: { webhook: { file: ~/slack } } }").await;
    let settled = |home: &str| {
        let mut known = known("{ slack: { webhook: { file: ~/slack } } }");
        known.policy.settle(std::path::Path::new("/etc"), Some(std::path::Path::new(home)));
        [known]
    };
    world.known = settled("/var/lib/holdfast");
    world.after(0, &[]).await;
    let broken = Problem { source: None, ..problem(State::Unknown, "policy-unreadable") };
    let blind = Status { next: vec![], sources: vec![], ..status(world.now, true, vec![broken]) };
    tick(&world.post, &world.catalog, &[], &blind, world.now).await;
    // Somebody else reads it, from another home.
    world.known = settled("/root");
    world.after(1, &[]).await;
    assert_eq!(world.post.events(), [Event::Opened, Event::Resolved]);
}

#[tokio::test]
async fn the_heart_of_who_cannot_look_is_still_while_another_one_sees_what_is_wrong() {
    let mut world = world("{ command: [a] }").await;
    let beats = |world: &World| world.post.beats.load(Ordering::Relaxed);
    world.now = later(world.now, 1);
    world.tick(&status(world.now, false, vec![])).await;
    assert_eq!(beats(&world), 1, "by memory alone");
    world.after(1, &[problem(State::Warning, "no-backup")]).await;
    for _ in 0..3 {
        world.now = later(world.now, 1);
        world.tick(&status(world.now, false, vec![])).await;
    }
    assert_eq!(beats(&world), 1);
    world.after(1, &[]).await;
    world.now = later(world.now, 1);
    world.tick(&status(world.now, false, vec![])).await;
    assert_eq!(beats(&world), 3);
}

#[tokio::test]
async fn a_test_by_hand_is_remembered_and_not_told_again() {
    let mut world = world("{ command: [a] }, { command: [b] }").await;
    world.post.answers("b", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    let tested = test(&world.post, Some(&world.catalog), &world.known[0].policy, world.now).await.unwrap();
    let outcomes: Vec<bool> = tested.iter().map(|one| one.outcome == Outcome::Delivered).collect();
    assert_eq!(outcomes, [true, false]);
    world.post.works("b");
    world.after(30, &[]).await;
    assert_eq!(world.post.events(), [Event::Test]);
    let tested = world.catalog.records("shop", world.now).await.unwrap();
    assert_eq!(tested.iter().filter(|record| record.tested.is_some()).count(), 1);
    assert_eq!(tested.iter().filter(|record| record.refused.is_some()).count(), 1);
}

#[tokio::test]
async fn silences_come_and_end() {
    let world = world("{ command: [a] }").await;
    let silence = Silence {
        id: 0,
        policy: "shop".to_owned(),
        part: Some("db".to_owned()),
        since: world.now,
        until: later(world.now, 120),
        reason: "work".to_owned(),
        by: "me@here".to_owned(),
    };
    let id = world.catalog.silence(&silence).await.unwrap();
    let all = world.catalog.silences(later(world.now, 1)).await.unwrap();
    assert_eq!(all, [Silence { id, ..silence }]);
    assert!(world.catalog.silences(later(world.now, 120)).await.unwrap().is_empty());
    assert!(world.catalog.end_silence(id, later(world.now, 2)).await.unwrap());
    assert!(!world.catalog.end_silence(id, later(world.now, 3)).await.unwrap());
    assert!(world.catalog.silences(later(world.now, 3)).await.unwrap().is_empty());
    world.catalog.sweep_alerts(later(world.now, 60 * 24 * 200)).await.unwrap();
}

#[tokio::test]
async fn what_waits_for_a_channel_that_is_no_more_is_withdrawn() {
    let mut world = world("{ command: [a] }").await;
    world.post.answers("a", Outcome::TryAgain { why: "busy".to_owned(), after: None });
    world.after(0, &[problem(State::High, "rpo")]).await;
    world.known = [known("{ command: [b] }")];
    world.after(1, &[problem(State::High, "rpo")]).await;
    assert_eq!(world.post.events(), [Event::Opened]);
    let records = world.catalog.records("shop", world.now).await.unwrap();
    assert!(records.iter().all(|record| record.waiting == 0), "{records:?}");
}
