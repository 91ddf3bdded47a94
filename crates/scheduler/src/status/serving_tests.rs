//! What is said of those who serve, as the catalog has it.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::serving::add;
use super::{Known, State, Status};
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
        status.problems.iter().map(|problem| (problem.condition, problem.state)).collect()
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
