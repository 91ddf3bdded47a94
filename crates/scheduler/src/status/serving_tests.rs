//! What is said of those who serve, as the catalog has it.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::serving::add;
use super::{Known, Problem, State, Status};
use crate::catalog::{Catalog, Due, JobEnd, Place, Worker};
use crate::serve::timers;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const POLICY: &str = "
name: shop
repository: { url: /r, password: { env: X } }
sources: { db: { postgres: { url: 'postgres://b@db', wal: stream } } }
schedule: { cron: '15 2 * * *' }
";

struct Scene {
    _dir: tempfile::TempDir,
    catalog: Catalog,
    known: Known,
    now: Timestamp,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&Place::File(dir.path().join("catalog"))).await.unwrap();
        let policy = serde_saphyr::from_str(POLICY).unwrap();
        let known = Known { policy, file: "/etc/shop.yaml".into(), since: None };
        Self { _dir: dir, catalog, known, now: "2026-11-22T03:00:00Z".parse().unwrap() }
    }

    fn worker() -> Worker {
        let labels = ["run", "stream/db"].map(|what| format!("shop/{what}")).to_vec();
        Worker { name: "w:1:2".into(), host: "w".into(), labels }
    }

    fn run(&self) -> Due {
        Due { activity: "run".into(), source: None, groups: Vec::new(), ..self.stream() }
    }

    fn stream(&self) -> Due {
        timers::stream(&self.known.policy, "db", self.now)
    }

    async fn conditions(&self) -> Vec<(&'static str, State)> {
        self.problems().await.iter().map(|problem| (problem.condition, problem.state)).collect()
    }

    async fn problems(&self) -> Vec<Problem> {
        let mut status = Status {
            now: self.now,
            sources: Vec::new(),
            copies: Vec::new(),
            slots: Vec::new(),
            holds: Vec::new(),
            next: Vec::new(),
            problems: Vec::new(),
            channels: Vec::new(),
            silences: Vec::new(),
        };
        add(&mut status, std::slice::from_ref(&self.known), &self.catalog).await;
        status.problems
    }
}

#[tokio::test]
async fn where_nobody_ever_served_nothing_is_said() {
    assert_eq!(Scene::new().await.conditions().await, []);
}

#[tokio::test]
async fn a_silent_worker_and_a_log_that_nobody_streams_are_told() {
    let mut scene = Scene::new().await;
    let (worker, begin) = (Scene::worker(), scene.now);
    scene.catalog.seen(&worker, begin).await.unwrap();
    assert_eq!(scene.conditions().await, [("log-not-streamed", State::Warning)]);
    scene.catalog.enter(&scene.stream(), begin).await.unwrap();
    let streams = Worker { labels: vec!["shop/stream/db".into()], ..worker.clone() };
    scene.catalog.claim(&streams, begin, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(scene.conditions().await, []);
    scene.now = begin + SignedDuration::from_mins(11);
    assert_eq!(scene.conditions().await, [("not-served", State::High)]);
    scene.catalog.leave(&worker.name).await.unwrap();
    assert_eq!(scene.conditions().await, []);
}

#[tokio::test]
async fn what_waits_too_long_and_what_was_given_up_are_told() {
    let mut scene = Scene::new().await;
    let worker = Scene::worker();
    let due = scene.run();
    scene.known.policy.sources.0[0].1.postgres.as_mut().unwrap().wal = crate::policy::LogMode::Off;
    scene.catalog.enter(&due, scene.now).await.unwrap();
    scene.now += SignedDuration::from_hours(3);
    scene.catalog.seen(&worker, scene.now).await.unwrap();
    assert_eq!(scene.conditions().await, [("job-waits", State::Warning)]);
    for _ in 0..crate::catalog::ATTEMPTS_MAX {
        scene.catalog.claim(&worker, scene.now, Duration::from_secs(60)).await.unwrap().unwrap();
        scene.now += SignedDuration::from_mins(5);
        scene.catalog.take_back(scene.now).await.unwrap();
    }
    scene.catalog.seen(&worker, scene.now).await.unwrap();
    assert_eq!(scene.conditions().await, [("job-lost", State::High)]);
    // Another one was done since.
    let later = Due { scheduled_for: scene.now, ..due };
    scene.catalog.enter(&later, scene.now).await.unwrap();
    let claim = scene.catalog.claim(&worker, scene.now, Duration::from_secs(60)).await.unwrap().unwrap();
    let end = JobEnd::Done { code: 0, message: String::new() };
    assert!(scene.catalog.finish(&claim, &end, scene.now).await.unwrap());
    assert_eq!(scene.conditions().await, []);
}

#[tokio::test]
async fn a_stream_is_one_however_many_jobs_were_entered_since() {
    let mut scene = Scene::new().await;
    let worker = Worker { labels: vec!["shop/stream/db".into()], ..Scene::worker() };
    scene.catalog.enter(&scene.stream(), scene.now).await.unwrap();
    scene.catalog.claim(&worker, scene.now, Duration::from_secs(60)).await.unwrap().unwrap();
    let end = JobEnd::Done { code: 0, message: String::new() };
    let run = scene.run();
    let hour = |number: i64| Due {
        scheduled_for: run.scheduled_for + SignedDuration::from_hours(number),
        ..run.clone()
    };
    let past: Vec<_> = (1..=300).map(|number| (hour(number), end.clone())).collect();
    scene.catalog.enter_ended(&past, scene.now).await.unwrap();
    scene.now += SignedDuration::from_hours(301);
    scene.catalog.seen(&Scene::worker(), scene.now).await.unwrap();
    assert_eq!(scene.conditions().await, []);
    // What waits since before them is seen too.
    let entered = scene.now - SignedDuration::from_hours(300);
    // The policy has no time for a check: nobody waits for that one.
    let check = Due { activity: "check".into(), ..run.clone() };
    scene.catalog.enter(&check, entered).await.unwrap();
    assert_eq!(scene.conditions().await, []);
    scene.catalog.enter(&run, entered).await.unwrap();
    assert_eq!(scene.conditions().await, [("job-waits", State::Warning)]);
}

#[tokio::test]
async fn a_host_that_may_not_back_up_does_not_stream() {
    let mut scene = Scene::new().await;
    let text = POLICY.replace("password: { env: X }", "keys: { read: { file: /k } }");
    scene.known.policy = serde_saphyr::from_str(&text).unwrap();
    scene.catalog.seen(&Scene::worker(), scene.now).await.unwrap();
    assert_eq!(scene.conditions().await, []);
}

/// Has a job begun and lost until it is given up.
async fn give_up(scene: &mut Scene, due: &Due) {
    scene.catalog.enter(due, scene.now).await.unwrap();
    let worker = Worker { labels: due.labels.clone(), ..Scene::worker() };
    for _ in 0..crate::catalog::ATTEMPTS_MAX {
        scene.catalog.claim(&worker, scene.now, Duration::from_secs(60)).await.unwrap().unwrap();
        scene.now += SignedDuration::from_mins(5);
        scene.catalog.take_back(scene.now).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_given_up_stays_told_until_its_own_kind_was_done() {
    let mut scene = Scene::new().await;
    let text = format!("{}drill: {{ cron: '0 4 * * 1' }}\n", POLICY.replace(", wal: stream", ", wal: off"));
    scene.known.policy = serde_saphyr::from_str(&text).unwrap();
    let day = |days: i64| scene.now + SignedDuration::from_hours(24 * days);
    let drill = Due { activity: "drill".into(), labels: vec!["shop/drill".into()], ..scene.run() };
    let (tuesday, wednesday) = (day(1), day(2));
    give_up(&mut scene, &drill).await;
    scene.now = tuesday;
    let run = Due { scheduled_for: tuesday, labels: vec!["shop/run".into()], ..scene.run() };
    give_up(&mut scene, &run).await;
    scene.catalog.seen(&Scene::worker(), scene.now).await.unwrap();
    let mut told = scene.problems().await;
    assert_eq!(told.len(), 1, "{told:?}");
    let both = told.remove(0);
    assert!(both.what.contains("The run of shop that was due at 2026-11-23"), "{both:?}");
    assert!(both.why.contains("so was the drill of shop that was due at 2026-11-22"), "{both:?}");
    assert!(
        both.to_do.ends_with("holdfast run /etc/shop.yaml ; holdfast drill /etc/shop.yaml --now"),
        "{both:?}"
    );
    // A later one that was skipped did nothing; one that was done heals its own kind only.
    scene.now = wednesday;
    scene.catalog.seen(&Scene::worker(), scene.now).await.unwrap();
    let later = |due: &Due, hours: i64| Due {
        scheduled_for: wednesday + SignedDuration::from_hours(hours),
        ..due.clone()
    };
    scene.catalog.enter_skipped(&later(&run, 0), "too late", wednesday).await.unwrap();
    assert!(scene.problems().await[0].what.contains("The run of"));
    let done = JobEnd::Done { code: 0, message: String::new() };
    scene.catalog.enter_ended(&[(later(&run, 1), done.clone())], wednesday).await.unwrap();
    let left = scene.problems().await;
    assert!(left.len() == 1 && left[0].what.contains("The drill of shop"), "{left:?}");
    scene.catalog.enter_ended(&[(later(&drill, 1), done)], wednesday).await.unwrap();
    assert_eq!(scene.conditions().await, []);
}
