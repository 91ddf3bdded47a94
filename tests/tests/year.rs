//! A year of schedules on a catalog, with both days on which clocks are set, workers that are killed in each third
//! job, and nights when nobody is there: what was due was done once, and what was missed was caught up by rule.
//!
//! `HOLDFAST_YEARS=20` lives through more years than one. On purpose not here: the program itself.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what they measured")]

use holdfast_scheduler::catalog::{Catalog, Place};
use holdfast_scheduler::policy::Schedule;
use holdfast_scheduler::schedule::Clockwork;
use holdfast_scheduler::serve::policies::{File, Policies};
use holdfast_scheduler::serve::shift::{Me, Shift, Taken};
use holdfast_scheduler::serve::told::{Happens, Told};
use holdfast_tests::postgres::{Cluster, Version};
use holdfast_tests::year::story::{Fates, Story};
use holdfast_tests::year::{live, naive};
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn years() -> u64 {
    std::env::var("HOLDFAST_YEARS").map_or(1, |text| text.parse().unwrap())
}

/// Nothing is proved by a stretch of time in which nothing happens.
fn is_eventful(story: &Story, fates: &Fates) {
    let Story { killed, taken_back, given_back, .. } = *story;
    println!("{fates:?}, killed {killed}, taken back {taken_back}, given back {given_back}");
    let Fates { done, caught_up, absorbed, too_late, coalesced, .. } = *fates;
    assert!(done > 2000 && caught_up > 9 && killed > 365 && taken_back > 365, "{fates:?}");
    assert!(given_back > 3 && absorbed > 5 && too_late > 5 && coalesced > 5, "{fates:?}");
}

#[tokio::test]
async fn a_year_of_two_workers_on_a_file() {
    for seed in 0..years() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&Place::File(dir.path().join("catalog"))).await.unwrap();
        let (story, fates) =
            live(&catalog, seed, at("2026-01-01T00:00:10Z"), at("2027-01-01T00:00:10Z")).await;
        is_eventful(&story, &fates);
    }
}

#[tokio::test]
async fn a_year_of_two_workers_on_a_server() {
    let cluster = Cluster::new(Version::V15, "");
    let place = Place::parse(&cluster.url().replace("@/?", "@/postgres?"), "").unwrap();
    // Clocks are set on March 8 and 29, April 5, October 4 and 25, and November 1.
    let [begin, end] = [at("2026-01-01T00:00:10Z"), at("2027-01-01T00:00:10Z")];
    for seed in 0..years() {
        cluster.sql("drop schema if exists holdfast cascade");
        let catalog = Catalog::open(&place).await.unwrap().by_handed_time();
        let (story, fates) = live(&catalog, 77 + seed, begin, end).await;
        is_eventful(&story, &fates);
    }
}

#[test]
fn the_times_of_a_year_are_those_that_a_clock_on_the_wall_shows() {
    let expressions = [
        "30 2 * * *",
        "*/30 * * * *",
        "0 */6 * * *",
        "45 1,2 * * *",
        "15 2 * * 0",
        "59 1 * * *",
        "0 3 1 * *",
    ];
    for zone in ["Europe/Berlin", "America/New_York", "Asia/Seoul", "Australia/Lord_Howe", "Pacific/Apia"] {
        let tz = TimeZone::get(zone).unwrap();
        for cron in expressions {
            let schedule = Schedule { cron: cron.into(), timezone: Some(zone.into()), ..Schedule::default() };
            let clock = Clockwork::of(&schedule, "x").unwrap();
            // The year in which Samoa left a day out, too.
            for year in [2011, 2026] {
                let expected = naive::times(cron, &tz, date(year, 1, 1), date(year + 1, 1, 1));
                let (first, last) = (*expected.first().unwrap(), *expected.last().unwrap());
                let mut found = vec![first];
                while let Some(next) = clock.after(*found.last().unwrap()).filter(|next| *next <= last) {
                    found.push(next);
                }
                assert!(
                    found.iter().eq(expected.iter()),
                    "{zone} {year} {cron}: {} {}",
                    found.len(),
                    expected.len()
                );
            }
        }
    }
}

/// A policy of every minute, and one worker.
struct Minutes {
    catalog: Catalog,
    policies: Policies,
    shift: Shift,
    begin: Timestamp,
    done: Vec<Timestamp>,
}

impl Minutes {
    async fn new(catalog: Catalog, begin: Timestamp) -> Self {
        let text = "name: shop\nrepository: { url: /r, password: { env: X } }\n\
                    sources: { tree: { files: { paths: [ /t ] } } }\nschedule: { cron: '* * * * *' }\n";
        let mut policies = Policies::new(None);
        policies.take(vec![File { path: "/etc/shop.yaml".into(), text: Ok(text.into()) }]);
        let me = Me { name: "w".into(), host: "host".into(), labels: Vec::new() };
        let mut shift = Shift::new(me, Duration::from_secs(120));
        shift.begin(&catalog, &policies, begin).await.unwrap();
        Self { catalog, policies, shift, begin, done: Vec::new() }
    }

    /// Looks, at a time that the clock shows and one that it ought to show; what is told.
    async fn look(&mut self, shows: Timestamp, really: Timestamp) -> Vec<Told> {
        let counted = Duration::try_from(really.duration_since(self.begin)).unwrap();
        self.shift.look(&self.catalog, &self.policies, (shows, counted)).await.unwrap().told
    }

    async fn claim(&mut self, shows: Timestamp) -> Option<holdfast_scheduler::catalog::Claim> {
        match self.shift.claim(&self.catalog, &self.policies, shows, false).await.unwrap() {
            Some(Taken::Task(task)) => Some(task.claim),
            _ => None,
        }
    }

    /// Does all that can be claimed; how many that were.
    async fn work(&mut self, shows: Timestamp) -> usize {
        let mut count = 0;
        while let Some(claim) = self.claim(shows).await {
            let end = holdfast_scheduler::catalog::JobEnd::Done { code: 0, message: String::new() };
            assert!(self.catalog.finish(&claim, &end, shows).await.unwrap());
            self.done.push(claim.due.scheduled_for);
            count += 1;
        }
        count
    }
}

/// A clock that goes ten years ahead and comes back: no storm, nothing twice, nobody is taken for dead.
#[tokio::test]
async fn a_clock_that_leaps_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&Place::File(dir.path().join("catalog"))).await.unwrap();
    let begin = at("2026-03-01T00:00:05Z");
    let mut minutes = Minutes::new(catalog.clone(), begin).await;
    let mut really = begin;
    for _ in 0..5 {
        minutes.look(really, really).await;
        assert_eq!(minutes.work(really).await, 1);
        really += SignedDuration::from_mins(1);
    }
    minutes.look(really, really).await;
    let running = minutes.claim(really).await.unwrap();
    // It goes ahead while a job runs.
    let ten_years = SignedDuration::from_hours(24 * 3653);
    let set = |told: &[Told]| {
        told.iter().any(|told| matches!(told, Told::Service(told) if told.what == Happens::ClockSet))
    };
    really += SignedDuration::from_mins(1);
    let told = minutes.look(really + ten_years, really).await;
    assert!(set(&told), "{told:?}");
    assert_eq!(minutes.work(really + ten_years).await, 0, "the job that runs is done by nobody else");
    let term = Duration::from_secs(120);
    assert!(catalog.renew(&running, really + ten_years, term).await.unwrap());
    let end = holdfast_scheduler::catalog::JobEnd::Done { code: 0, message: String::new() };
    assert!(catalog.finish(&running, &end, really + ten_years).await.unwrap());
    minutes.done.push(running.due.scheduled_for);
    for _ in 0..5 {
        really += SignedDuration::from_mins(1);
        minutes.look(really + ten_years, really).await;
        assert_eq!(minutes.work(really + ten_years).await, 1);
    }
    // It comes back, and goes an hour further back, and comes back again.
    for shift in [SignedDuration::ZERO, SignedDuration::from_hours(-1), SignedDuration::ZERO] {
        really += SignedDuration::from_mins(1);
        let told = minutes.look(really + shift, really).await;
        assert!(set(&told), "{told:?}");
        minutes.work(really + shift).await;
        for _ in 0..3 {
            really += SignedDuration::from_mins(1);
            minutes.look(really + shift, really).await;
            assert!(minutes.work(really + shift).await <= 1, "a storm");
        }
    }
    let before = minutes.done.len();
    for _ in 0..10 {
        really += SignedDuration::from_mins(1);
        minutes.look(really, really).await;
        minutes.work(really).await;
    }
    assert_eq!(minutes.done.len(), before + 10, "in the end it goes on as if nothing had been");
    let jobs = catalog.jobs("shop", 1000).await.unwrap();
    assert!(jobs.len() < 60, "{}", jobs.len());
    minutes.done.sort();
    assert!(minutes.done.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", minutes.done);
}
