//! What holds of a catalog wherever it lies: in a file, as the unit tests have it, and on a server, as
//! `tests/tests/catalog` has it, which takes in this very file.
//!
//! The last one is against a model: many workers that come in any order, by a clock that the test
//! moves. On purpose not here: what only a file, or only a server does.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::{
    ATTEMPTS_MAX, Catalog, CatalogError, Claim, Cleaned, Due, Entry, JobEnd, JobState, Last, Run, RunEnd,
    Sending, Ways, Worker,
};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TERM: Duration = Duration::from_secs(60);

/// Makes catalogs that are new, and go by the times that are handed in.
pub(crate) trait Fresh: Sync {
    /// One more.
    fn catalog(&self) -> BoxFuture<'_, Catalog>;
}

/// A case, with its name.
pub(crate) type Case = (&'static str, fn(&dyn Fresh) -> BoxFuture<'_, ()>);

macro_rules! cases {
    ($($name:ident)*) => {
        /// All but the one against the model.
        pub(crate) const CASES: &[Case] = &[$((stringify!($name), |on| Box::pin($name(on)))),*];
    };
}

cases! {
    what_is_remembered_comes_back
    drills_are_remembered_once_and_newest_first
    a_job_is_entered_once_claimed_by_one_and_ended_once
    what_is_too_late_is_entered_and_never_claimed
    the_oldest_comes_first_and_labels_have_to_fit
    no_two_jobs_of_a_group_run_at_once
    a_dead_workers_job_is_taken_over_and_it_changes_nothing_any_more
    what_loses_its_workers_too_often_is_given_up_and_told
    what_nobody_began_gives_way_to_the_next_at_once
    a_claim_is_its_workers_and_none_is_for_years
    workers_are_seen
    what_is_old_is_forgotten_but_for_the_last_of_each_outcome
    what_several_enter_at_once_stands_there_once
    however_many_claim_at_once_no_group_is_taken_twice
    what_ran_out_is_taken_back_once_whoever_comes
    messages_wait_in_order_and_one_has_each_in_hand
    a_refusal_is_known_while_it_is_tried_again
    an_alert_is_changed_by_who_saw_it_as_it_was
    silences_and_ways_are_remembered
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_795_000_000 + second, 0).unwrap()
}

fn due(policy: &str, second: i64) -> Due {
    Due {
        policy: policy.into(),
        activity: "run".into(),
        source: None,
        scheduled_for: at(second),
        labels: vec![],
        groups: vec![policy.into()],
        missed: 0,
    }
}

fn worker(name: &str, labels: &[&str]) -> Worker {
    Worker {
        name: name.into(),
        host: "h".into(),
        labels: labels.iter().map(|label| (*label).into()).collect(),
    }
}

fn done() -> JobEnd {
    JobEnd::Done { code: 0, message: String::new() }
}

async fn claim(catalog: &Catalog, name: &str, second: i64) -> Option<Claim> {
    catalog.claim(&worker(name, &[]), at(second), TERM).await.unwrap()
}

async fn state(catalog: &Catalog, policy: &str) -> JobState {
    catalog.jobs(policy, 1).await.unwrap().remove(0).state
}

async fn a_job_is_entered_once_claimed_by_one_and_ended_once(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let whole = Due { source: Some("db".into()), missed: 3, groups: vec!["host-a".into()], ..due("shop", 5) };
    assert!(catalog.enter(&whole, at(6)).await.unwrap());
    assert!(!catalog.enter(&whole, at(7)).await.unwrap());
    assert_eq!(catalog.last_entered("shop", "run", Some("db")).await.unwrap(), Some(at(5)));
    assert_eq!(catalog.last_entered("shop", "run", None).await.unwrap(), None);
    let first = claim(&catalog, "a", 10).await.unwrap();
    let with_policy = Due { groups: vec!["host-a".into(), "shop".into()], ..whole };
    assert_eq!((&first.due, first.fence, first.attempt), (&with_policy, 1, 1));
    assert_eq!(claim(&catalog, "b", 10).await, None);
    assert_eq!(state(&catalog, "shop").await, JobState::Running { until: at(70) });
    assert!(catalog.renew(&first, at(60), TERM).await.unwrap());
    assert!(catalog.take_back(at(119)).await.unwrap().is_empty());
    let end = JobEnd::Done { code: 3, message: "one file".into() };
    assert!(catalog.finish(&first, &end, at(90)).await.unwrap());
    // Whoever did not hear the answer says it again.
    assert!(catalog.finish(&first, &end, at(91)).await.unwrap());
    assert!(!catalog.renew(&first, at(91), TERM).await.unwrap());
    let job = catalog.jobs("shop", 9).await.unwrap().remove(0);
    assert_eq!((job.state, job.worker.as_deref()), (JobState::Ended { at: at(90), end }, Some("a")));
    assert_eq!((claim(&catalog, "a", 99).await, job.entered), (None, at(6)));
    assert!(!catalog.enter(&with_policy, at(99)).await.unwrap());
}

async fn what_is_too_late_is_entered_and_never_claimed(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    assert!(catalog.enter_skipped(&due("shop", 1), "max_age", at(9)).await.unwrap());
    assert!(!catalog.enter_skipped(&due("shop", 1), "max_age", at(9)).await.unwrap());
    assert_eq!(claim(&catalog, "a", 10).await, None);
    assert_eq!(catalog.last_entered("shop", "run", None).await.unwrap(), Some(at(1)));
    let end = JobEnd::Skipped { why: "max_age".into() };
    assert_eq!(state(&catalog, "shop").await, JobState::Ended { at: at(9), end });
}

async fn the_oldest_comes_first_and_labels_have_to_fit(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    for (policy, second, labels) in
        [("late", 9, vec![]), ("bucket", 1, vec!["s3", "fast"]), ("soon", 2, vec![])]
    {
        let labels = labels.into_iter().map(String::from).collect();
        catalog.enter(&Due { labels, ..due(policy, second) }, at(10)).await.unwrap();
    }
    let mut order = Vec::new();
    for labels in [&["s3"][..], &["fast"], &["x", "fast", "s3"], &[]] {
        let claim = catalog.claim(&worker("w", labels), at(11), TERM).await.unwrap();
        order.push(claim.map(|claim| claim.due.policy).unwrap_or_default());
    }
    assert_eq!(order, ["soon", "late", "bucket", ""]);
}

async fn no_two_jobs_of_a_group_run_at_once(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let grouped = |policy: &str, second, groups: &[&str]| Due {
        groups: groups.iter().map(|group| (*group).into()).collect(),
        ..due(policy, second)
    };
    for due in [
        grouped("a", 1, &["disk", "net"]),
        grouped("b", 2, &["net"]),
        grouped("c", 3, &["disk"]),
        grouped("d", 4, &[]),
        grouped("d", 5, &[]),
    ] {
        catalog.enter(&due, at(9)).await.unwrap();
    }
    let first = claim(&catalog, "w", 10).await.unwrap();
    let other = claim(&catalog, "w", 10).await.unwrap();
    assert_eq!((&*first.due.policy, &*other.due.policy, other.due.scheduled_for), ("a", "d", at(4)));
    assert_eq!(claim(&catalog, "w", 10).await, None);
    catalog.finish(&first, &done(), at(11)).await.unwrap();
    let next = [claim(&catalog, "w", 12).await.unwrap(), claim(&catalog, "w", 12).await.unwrap()];
    assert_eq!(next.map(|claim| claim.due.policy), ["b", "c"]);
    assert_eq!(claim(&catalog, "w", 12).await, None);
}

async fn a_dead_workers_job_is_taken_over_and_it_changes_nothing_any_more(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.enter(&due("shop", 1), at(1)).await.unwrap();
    let dead = claim(&catalog, "dead", 2).await.unwrap();
    assert!(catalog.take_back(at(62)).await.unwrap().is_empty());
    // It ran out, and is still its own until somebody takes it back.
    assert!(catalog.renew(&dead, at(63), TERM).await.unwrap());
    let back = catalog.take_back(at(124)).await.unwrap();
    assert_eq!(
        (back[0].job, &*back[0].worker, back[0].attempt, back[0].given_up),
        (dead.job, "dead", 1, false)
    );
    assert!(catalog.take_back(at(124)).await.unwrap().is_empty());
    // It is free: the old claim is nothing.
    assert!(!catalog.renew(&dead, at(125), TERM).await.unwrap());
    assert!(!catalog.finish(&dead, &done(), at(125)).await.unwrap());
    let heir = claim(&catalog, "heir", 126).await.unwrap();
    assert_eq!((heir.job, heir.fence, heir.attempt), (dead.job, 2, 2));
    assert!(!catalog.renew(&dead, at(127), TERM).await.unwrap());
    assert!(!catalog.finish(&dead, &done(), at(127)).await.unwrap());
    let end = JobEnd::Done { code: 1, message: "no".into() };
    assert!(catalog.finish(&heir, &end, at(128)).await.unwrap());
    assert!(!catalog.finish(&dead, &done(), at(129)).await.unwrap());
    assert_eq!(state(&catalog, "shop").await, JobState::Ended { at: at(128), end });
}

async fn what_loses_its_workers_too_often_is_given_up_and_told(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.enter(&due("shop", 1), at(1)).await.unwrap();
    for attempt in 1..=ATTEMPTS_MAX {
        let second = i64::from(attempt) * 100;
        let claim = claim(&catalog, "w", second).await.unwrap();
        assert_eq!((claim.attempt, claim.fence), (attempt, i64::from(attempt)));
        let back = catalog.take_back(at(second + 61)).await.unwrap();
        assert_eq!((back.len(), back[0].given_up), (1, attempt == ATTEMPTS_MAX));
    }
    assert_eq!(claim(&catalog, "w", 999).await, None);
    assert_eq!(state(&catalog, "shop").await, JobState::Lost { at: at(i64::from(ATTEMPTS_MAX) * 100 + 61) });
    // Its group is free again.
    catalog.enter(&due("shop", 2), at(1000)).await.unwrap();
    assert!(claim(&catalog, "w", 1000).await.is_some());
}

async fn what_nobody_began_gives_way_to_the_next_at_once(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.enter(&due("shop", 1), at(1)).await.unwrap();
    let waits = catalog.free_jobs("shop").await.unwrap()[0].id;
    assert!(catalog.enter_instead(&due("shop", 2), waits, "a later one", at(2)).await.unwrap());
    // Whoever does not know whether it was written says it again.
    assert!(!catalog.enter_instead(&due("shop", 2), waits, "a later one", at(2)).await.unwrap());
    let jobs = catalog.jobs("shop", 9).await.unwrap();
    let skipped = JobEnd::Skipped { why: "a later one".into() };
    assert_eq!((jobs.len(), &jobs[0].state), (2, &JobState::Free));
    assert_eq!(jobs[1].state, JobState::Ended { at: at(2), end: skipped });
    // One that somebody began goes on.
    let begun = claim(&catalog, "w", 3).await.unwrap();
    assert!(!catalog.enter_instead(&due("shop", 4), begun.job, "a later one", at(4)).await.unwrap());
    assert!(catalog.finish(&begun, &done(), at(5)).await.unwrap());
    assert_eq!(catalog.free_jobs("shop").await.unwrap().len(), 1);
    assert_eq!(claim(&catalog, "w", 6).await.unwrap().due.scheduled_for, at(4));
}

async fn a_claim_is_its_workers_and_none_is_for_years(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.enter(&due("shop", 1), at(1)).await.unwrap();
    let own = claim(&catalog, "own", 2).await.unwrap();
    // A server that lost what it last wrote gave the same fence twice.
    let other = Claim { worker: "other".into(), ..own.clone() };
    assert!(!catalog.renew(&other, at(3), TERM).await.unwrap());
    assert!(!catalog.finish(&other, &done(), at(3)).await.unwrap());
    assert!(!catalog.give_back(&other).await.unwrap());
    assert!(catalog.renew(&own, at(3), TERM).await.unwrap());
    // Who works on it knows better than a clock; who does not, takes it back.
    let busy = BTreeSet::from([own.job]);
    assert!(catalog.take_back_but(at(999), &busy).await.unwrap().is_empty());
    // It was claimed by a clock that was years ahead, and the power went.
    assert!(catalog.renew(&own, at(300_000_000), TERM).await.unwrap());
    assert_eq!(catalog.take_back(at(4)).await.unwrap().len(), 1);
}

async fn workers_are_seen(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.seen(&worker("a", &["x"]), at(1)).await.unwrap();
    catalog.seen(&worker("b", &[]), at(2)).await.unwrap();
    catalog.seen(&worker("a", &["x", "y"]), at(3)).await.unwrap();
    let seen = catalog.workers().await.unwrap();
    assert_eq!(seen.iter().map(|seen| &*seen.worker.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(seen[0].worker.labels, ["x", "y"]);
    assert_eq!((seen[0].first_seen, seen[0].last_seen), (at(1), at(3)));
}

async fn what_is_old_is_forgotten_but_for_the_last_of_each_outcome(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    // Bad, good, bad, good, good; then one that was skipped, and one that waits.
    for (second, code) in [(1, 1), (2, 0), (3, 2), (4, 0), (5, 0)] {
        catalog.enter(&due("shop", second), at(second)).await.unwrap();
        let claim = claim(&catalog, "w", second).await.unwrap();
        let end = JobEnd::Done { code, message: String::new() };
        catalog.finish(&claim, &end, at(second)).await.unwrap();
        let of = Run { policy: "shop".into(), source: None, activity: "backup".into(), started: at(second) };
        let id = catalog.begin(&of).await.unwrap();
        let end = RunEnd { ended: at(second), code, message: String::new(), snapshot: None };
        catalog.end(id, &end).await.unwrap();
        catalog.begin(&Run { source: Some("db".into()), ..of }).await.unwrap();
    }
    catalog.enter_skipped(&due("shop", 6), "late", at(6)).await.unwrap();
    catalog.enter(&due("shop", 7), at(7)).await.unwrap();
    catalog.seen(&worker("old", &[]), at(4)).await.unwrap();
    catalog.seen(&worker("new", &[]), at(100)).await.unwrap();

    // What ended at that moment or later stays.
    let cleaned = catalog.clean(at(2)).await.unwrap();
    assert_eq!(cleaned, Cleaned { jobs: 1, runs: 2 });
    let cleaned = catalog.clean(at(50)).await.unwrap();
    assert_eq!(cleaned, Cleaned { jobs: 2, runs: 5 });
    assert_eq!(catalog.clean(at(50)).await.unwrap(), Cleaned::default());
    assert_eq!(catalog.forget_workers(at(2)).await.unwrap(), 0);
    assert_eq!(catalog.forget_workers(at(50)).await.unwrap(), 1);
    let jobs = catalog.jobs("shop", 99).await.unwrap();
    let left: Vec<_> = jobs.iter().map(|job| job.due.scheduled_for.as_second() - at(0).as_second()).collect();
    assert_eq!(left, [7, 6, 5, 3]);
    let last = catalog.last("shop", None, "backup").await.unwrap();
    assert_eq!((last.good.unwrap().run.started, last.failed.unwrap().run.started), (at(5), at(3)));
    assert_eq!(catalog.last("shop", Some("db"), "backup").await.unwrap().open.unwrap().run.started, at(5));
    // What was forgotten can be entered again by nobody who looks at the newest first.
    assert_eq!(catalog.last_entered("shop", "run", None).await.unwrap(), Some(at(7)));
}

fn run(source: Option<&str>, second: i64) -> Run {
    Run {
        policy: "shop".into(),
        source: source.map(Into::into),
        activity: "backup".into(),
        started: at(second),
    }
}

fn end(second: i64, code: u8) -> RunEnd {
    let message = if code == 0 { String::new() } else { format!("failed with {code}") };
    RunEnd { ended: at(second), code, message, snapshot: (code == 0).then(|| "3f2a".to_owned()) }
}

async fn what_is_remembered_comes_back(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.remember_policy("shop", "/etc/a.yaml", "aa", at(0)).await.unwrap();
    catalog.remember_policy("shop", "/etc/b.yaml", "bb", at(9)).await.unwrap();
    let first = catalog.begin(&run(Some("db"), 1)).await.unwrap();
    catalog.end(first, &end(2, 0)).await.unwrap();
    let second = catalog.begin(&run(Some("db"), 3)).await.unwrap();
    catalog.end(second, &end(4, 3)).await.unwrap();
    let third = catalog.begin(&run(Some("db"), 5)).await.unwrap();
    catalog.begin(&run(None, 6)).await.unwrap();
    let place = catalog.place().clone();
    catalog.close().await;

    let catalog = Catalog::open(&place).await.unwrap();
    let policies = catalog.policies().await.unwrap();
    assert_eq!(policies.len(), 1);
    assert_eq!((&*policies[0].file, &*policies[0].hash), ("/etc/b.yaml", "bb"));
    assert_eq!((policies[0].first_seen, policies[0].last_seen), (at(0), at(9)));
    let runs = catalog.runs("shop", 2).await.unwrap();
    assert_eq!(runs.iter().map(|ran| &ran.run).collect::<Vec<_>>(), [&run(None, 6), &run(Some("db"), 5)]);
    let last = catalog.last("shop", Some("db"), "backup").await.unwrap();
    assert_eq!(last.good.unwrap().end, Some(end(2, 0)));
    assert_eq!(last.failed.unwrap().end, Some(end(4, 3)));
    assert_eq!(last.open.unwrap().id, third);
    assert_eq!(catalog.last("shop", Some("db"), "drill").await.unwrap(), Last::default());
    assert!(catalog.last("shop", None, "backup").await.unwrap().open.is_some());
    assert!(catalog.forget_policy("shop").await.unwrap() && !catalog.forget_policy("shop").await.unwrap());
    assert_eq!(catalog.runs("shop", 9).await.unwrap().len(), 4);
}

async fn drills_are_remembered_once_and_newest_first(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let record = |id: &str, second: i64, version: u32| {
        serde_json::json!({
            "version": version, "id": id, "policy": "shop", "policy_hash": "aa", "host": "h", "user": "u",
            "program": "0.1.0", "started": at(second), "ended": at(second + 1), "from": "repository",
            "url": "/r", "key": "owner", "level": "full", "sources": [], "objectives": [], "scratch": [],
            "verdict": "pass", "code": 0,
        })
        .to_string()
    };
    for text in [record("a", 1, 1), record("b", 2, 1), record("a", 3, 1), record("c", 4, 99)] {
        catalog.remember_drill(&text).await.unwrap();
    }
    let drills = catalog.drills("shop").await.unwrap();
    assert_eq!(drills.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(drills[1].started, at(1));
    let error = catalog.remember_drill("{}").await.unwrap_err();
    assert!(matches!(error, CatalogError::NoRecord { .. }), "{error}");
}

/// The same catalog, opened once more by each of several.
async fn together<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    catalog: &Catalog,
    count: u32,
    work: impl Fn(u32, Catalog) -> F,
) -> Vec<T> {
    let mut all = Vec::new();
    for number in 0..count {
        let one = Catalog::open(catalog.place()).await.unwrap().by_handed_time();
        all.push(tokio::spawn(work(number, one)));
    }
    let mut done = Vec::new();
    for one in all {
        done.push(one.await.unwrap());
    }
    done
}

async fn what_several_enter_at_once_stands_there_once(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let entered = together(&catalog, 6, async |_, catalog: Catalog| {
        let mut entered = 0;
        for second in 0..30 {
            entered += u32::from(catalog.enter(&due("shop", second), at(100)).await.unwrap());
        }
        entered
    });
    assert_eq!(entered.await.iter().sum::<u32>(), 30);
    assert_eq!(catalog.jobs("shop", 99).await.unwrap().len(), 30);
}

async fn however_many_claim_at_once_no_group_is_taken_twice(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    // Each has a group with two of its neighbours', in both orders.
    for number in 0..60i64 {
        let (one, other) = (number % 5, (number + 1) % 5);
        let groups = vec![format!("g{one}"), format!("g{other}"), format!("p{number}")];
        let due = Due { groups, ..due(&format!("p{number}"), number) };
        catalog.enter(&due, at(100)).await.unwrap();
    }
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let done = together(&catalog, 8, |number, catalog| {
        let taken = Arc::clone(&taken);
        async move {
            let (me, mut done) = (worker(&format!("w{number}"), &[]), Vec::new());
            loop {
                let Some(claim) = catalog.claim(&me, at(100), TERM).await.unwrap() else {
                    if catalog.open_jobs().await.unwrap() == 0 {
                        return done;
                    }
                    tokio::task::yield_now().await;
                    continue;
                };
                for group in &claim.due.groups {
                    assert!(taken.lock().unwrap().insert(group.clone()), "{group} is taken twice");
                }
                tokio::task::yield_now().await;
                taken.lock().unwrap().retain(|group| !claim.due.groups.contains(group));
                assert!(catalog.finish(&claim, &self::done(), at(100)).await.unwrap());
                done.push(claim.job);
            }
        }
    });
    let mut done: Vec<i64> = done.await.into_iter().flatten().collect();
    assert_eq!(done.len(), 60);
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), 60, "one was done twice");
}

async fn what_ran_out_is_taken_back_once_whoever_comes(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    for number in 0..30 {
        catalog.enter(&due(&format!("p{number}"), number), at(100)).await.unwrap();
        claim(&catalog, "dead", 100).await.unwrap();
    }
    let taken = together(&catalog, 6, async |_, catalog: Catalog| catalog.take_back(at(999)).await.unwrap());
    let taken: Vec<i64> = taken.await.into_iter().flatten().map(|back| back.job).collect();
    assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (30, 30));
    // Each is taken over by one.
    let heirs = together(&catalog, 6, async |number, catalog: Catalog| {
        let (me, mut claims) = (worker(&format!("w{number}"), &[]), Vec::new());
        while let Some(claim) = catalog.claim(&me, at(1000), TERM).await.unwrap() {
            assert_eq!((claim.fence, claim.attempt), (2, 2));
            claims.push(claim.job);
        }
        claims
    });
    let heirs: Vec<i64> = heirs.await.into_iter().flatten().collect();
    assert_eq!((heirs.len(), heirs.iter().collect::<BTreeSet<_>>().len()), (30, 30));
}

/// Numbers that look random, and are the same for a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

/// What a job is in the model.
#[derive(Debug, Clone)]
struct Modelled {
    due: Due,
    fence: i64,
    attempt: u32,
    stands: Stands,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Free,
    Running { until: Timestamp },
    Done { fence: i64 },
    Lost,
}

/// All jobs, by what they are.
#[derive(Debug, Default)]
struct Model {
    jobs: BTreeMap<(Timestamp, usize), Modelled>,
    entered: usize,
}

impl Model {
    fn enter(&mut self, due: &Due) -> bool {
        let same =
            |job: &Modelled| (&job.due.policy, job.due.scheduled_for) == (&due.policy, due.scheduled_for);
        if self.jobs.values().any(same) {
            return false;
        }
        self.entered += 1;
        let job = Modelled { due: due.clone(), fence: 0, attempt: 0, stands: Stands::Free };
        self.jobs.insert((due.scheduled_for, self.entered), job);
        true
    }

    fn claim(&mut self, worker: &Worker, until: Timestamp) -> Option<(Due, i64, u32)> {
        let taken: Vec<String> = self
            .jobs
            .values()
            .filter(|job| matches!(job.stands, Stands::Running { .. }))
            .flat_map(|job| job.due.groups.clone())
            .collect();
        let job = self.jobs.values_mut().find(|job| {
            job.stands == Stands::Free
                && job.due.labels.iter().all(|label| worker.labels.contains(label))
                && !job.due.groups.iter().any(|group| taken.contains(group))
        })?;
        (job.fence, job.attempt, job.stands) = (job.fence + 1, job.attempt + 1, Stands::Running { until });
        Some((job.due.clone(), job.fence, job.attempt))
    }

    /// The job of a claim, if that is the one that holds.
    fn held(&mut self, claim: &Claim) -> Option<&mut Modelled> {
        self.jobs.values_mut().find(|job| {
            job.due == claim.due && job.fence == claim.fence && matches!(job.stands, Stands::Running { .. })
        })
    }

    fn renew(&mut self, claim: &Claim, until: Timestamp) -> bool {
        self.held(claim).map(|job| job.stands = Stands::Running { until }).is_some()
    }

    fn finish(&mut self, claim: &Claim) -> bool {
        let fence = claim.fence;
        let again =
            self.jobs.values().any(|job| job.due == claim.due && job.stands == Stands::Done { fence });
        again || self.held(claim).map(|job| job.stands = Stands::Done { fence }).is_some()
    }

    fn take_back(&mut self, now: Timestamp) -> Vec<(Due, bool)> {
        let mut taken = Vec::new();
        for job in self.jobs.values_mut() {
            if matches!(job.stands, Stands::Running { until } if until < now) {
                let given_up = job.attempt >= ATTEMPTS_MAX;
                job.stands = if given_up { Stands::Lost } else { Stands::Free };
                taken.push((job.due.clone(), given_up));
            }
        }
        taken
    }
}

/// Does the same to a catalog and to the model, whatever comes in whatever order, and compares what each says.
pub(crate) async fn it_is_as_in_the_model(on: &dyn Fresh, seed: u64) {
    let mut both = Both {
        catalog: on.catalog().await,
        model: Model::default(),
        claims: Vec::new(),
        now: at(1000),
        numbers: Numbers(seed),
    };
    for step in 0..20 + both.numbers.below(100) {
        let what = format!("seed {seed}, step {step}");
        match both.numbers.below(14) {
            0..3 => both.enter(&what).await,
            3..7 => both.claim(&what).await,
            7..9 => both.renew(&what).await,
            9..11 => both.finish(&what).await,
            11 => both.take_back(&what).await,
            _ => both.now += SignedDuration::from_secs(1 + i64::try_from(both.numbers.below(50)).unwrap()),
        }
    }
    both.compare(seed).await;
    both.catalog.close().await;
}

/// A catalog, the model, and what workers hold.
struct Both {
    catalog: Catalog,
    model: Model,
    /// All that were ever made, whether they hold or not.
    claims: Vec<Claim>,
    now: Timestamp,
    numbers: Numbers,
}

impl Both {
    async fn enter(&mut self, what: &str) {
        let policy = format!("p{}", self.numbers.below(3));
        let second = i64::try_from(self.numbers.below(8)).unwrap();
        let labels = if self.numbers.below(2) == 0 { vec!["s3".to_owned()] } else { vec![] };
        let groups = vec![format!("g{}", self.numbers.below(3)), policy.clone()];
        let due = Due { labels, groups, ..due(&policy, second) };
        assert_eq!(self.catalog.enter(&due, self.now).await.unwrap(), self.model.enter(&due), "{what}");
    }

    async fn claim(&mut self, what: &str) {
        let number = self.numbers.below(4);
        let worker = worker(&format!("w{number}"), if number < 2 { &["s3"] } else { &[] });
        let claim = self.catalog.claim(&worker, self.now, TERM).await.unwrap();
        let said = claim.clone().map(|claim| (claim.due, claim.fence, claim.attempt));
        assert_eq!(said, self.model.claim(&worker, self.until()), "{what}");
        self.claims.extend(claim);
    }

    async fn renew(&mut self, what: &str) {
        let Some(claim) = self.any_claim() else { return };
        let renewed = self.catalog.renew(&claim, self.now, TERM).await.unwrap();
        assert_eq!(renewed, self.model.renew(&claim, self.until()), "{what}");
    }

    async fn finish(&mut self, what: &str) {
        let Some(claim) = self.any_claim() else { return };
        let finished = self.catalog.finish(&claim, &done(), self.now).await.unwrap();
        assert_eq!(finished, self.model.finish(&claim), "{what}");
    }

    async fn take_back(&mut self, what: &str) {
        let said = self.catalog.take_back(self.now).await.unwrap();
        let mut said: Vec<_> = said.into_iter().map(|back| (back.due, back.given_up)).collect();
        let mut modelled = self.model.take_back(self.now);
        let key = |one: &(Due, bool)| (one.0.scheduled_for, one.0.policy.clone());
        said.sort_by_key(key);
        modelled.sort_by_key(key);
        assert_eq!(said, modelled, "{what}");
    }

    fn until(&self) -> Timestamp {
        self.now + SignedDuration::try_from(TERM).unwrap()
    }

    fn any_claim(&mut self) -> Option<Claim> {
        let count = self.claims.len();
        (count > 0).then(|| self.claims[self.numbers.index(count)].clone())
    }

    async fn compare(&self, seed: u64) {
        for job in self.model.jobs.values() {
            let jobs = self.catalog.jobs(&job.due.policy, 99).await.unwrap();
            let same = jobs.iter().find(|one| one.due == job.due).unwrap();
            let right = match (&same.state, job.stands) {
                (JobState::Free, Stands::Free)
                | (JobState::Ended { .. }, Stands::Done { .. })
                | (JobState::Lost { .. }, Stands::Lost) => true,
                (JobState::Running { until }, Stands::Running { until: modelled }) => *until == modelled,
                _ => false,
            };
            assert!(right && same.attempt == job.attempt, "seed {seed}: {same:?} {job:?}");
        }
    }
}

fn message(id: &str, event: &str) -> Entry {
    let text = serde_json::json!({
        "version": 1, "id": id, "event": event, "policy": "shop", "severity": "high", "fingerprint": "ff",
        "title": "t", "message": "m", "why": "", "do": "", "do_not": "", "restore": "", "lines": [], "at": "x",
    });
    Entry { channel: "a".into(), message: serde_json::from_value(text).unwrap() }
}

/// An alert that came so often.
fn alert(episode: u32, closed: Option<Timestamp>) -> serde_json::Value {
    serde_json::json!({
        "fingerprint": "ff", "policy": "shop", "source": null, "copy": null, "family": "backup",
        "condition": "rpo", "episode": episode, "open": closed.is_none(), "state": "high", "severity": "high",
        "since": at(0), "gone": null, "closed": closed, "by_reading": true, "openings": [], "messages": 1,
        "told": {}, "text": { "what": "", "why": "", "to_do": "", "do_not": "", "restore": "" },
    })
}

async fn an_alert_is_changed_by_who_saw_it_as_it_was(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let of = |episode, closed| serde_json::from_value(alert(episode, closed)).unwrap();
    assert!(catalog.keep_alert(&of(1, None), None, &[message("1", "opened")], at(0)).await.unwrap());
    // Who comes second changes nothing, and tells nothing.
    assert!(!catalog.keep_alert(&of(9, None), None, &[message("x", "opened")], at(0)).await.unwrap());
    let seen = catalog.alerts("shop").await.unwrap();
    let version = seen[0].1;
    assert_eq!((seen.len(), seen[0].0.episode), (1, 1));
    let told = [message("2", "reminder"), message("3", "resolved")];
    assert!(catalog.keep_alert(&of(2, Some(at(1))), Some(version), &told, at(1)).await.unwrap());
    assert!(
        !catalog.keep_alert(&of(9, None), Some(version), &[message("y", "opened")], at(1)).await.unwrap()
    );
    assert_eq!(catalog.alerts("shop").await.unwrap()[0].0.episode, 2);
    let mut there = Vec::new();
    for id in ["1", "x", "2", "3", "y"] {
        there.push(catalog.has_message(id).await.unwrap());
    }
    // Nobody is reminded of what they are still to be told.
    assert_eq!(there, [true, false, false, true, false]);
    assert!(catalog.alerts("other").await.unwrap().is_empty());
    // A clock that leapt for years makes nothing old.
    catalog.sweep_alerts(at(4000 * 86_400)).await.unwrap();
    assert_eq!(catalog.alerts("shop").await.unwrap().len(), 1);
    catalog.sweep_alerts(at(40 * 86_400)).await.unwrap();
    assert!(catalog.alerts("shop").await.unwrap().is_empty());
    catalog.forget_alerts("shop", at(2)).await.unwrap();
    assert!(catalog.next_message("shop", "a", at(2)).await.unwrap().is_none());
}

async fn messages_wait_in_order_and_one_has_each_in_hand(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let all = [message("b", "opened"), message("a", "resolved")];
    assert_eq!(catalog.enqueue(&all, at(0)).await.unwrap(), 2);
    assert_eq!(catalog.enqueue(&all, at(5)).await.unwrap(), 0);
    let first = catalog.next_message("shop", "a", at(1)).await.unwrap().unwrap();
    assert_eq!((first.id.as_str(), first.created, first.tries), ("b", at(0), 0));
    let fence = catalog.take_message(&first, at(1)).await.unwrap().unwrap();
    assert_eq!(catalog.take_message(&first, at(1)).await.unwrap(), None);
    let again = Sending::Again { at: at(60), why: "busy".into() };
    assert!(!catalog.end_message("b", fence + 1, &again, at(2)).await.unwrap());
    assert!(catalog.end_message("b", fence, &again, at(2)).await.unwrap());
    // What comes behind it of the same thing waits for it.
    assert_eq!(catalog.next_message("shop", "a", at(59)).await.unwrap(), None);
    let first = catalog.next_message("shop", "a", at(60)).await.unwrap().unwrap();
    assert_eq!((first.next_try, first.tries), (at(60), 1));
    // Whoever died with it in hand keeps it for a while only.
    let lost = catalog.take_message(&first, at(60)).await.unwrap().unwrap();
    assert_eq!(catalog.next_message("shop", "a", at(61)).await.unwrap(), None);
    let first = catalog.next_message("shop", "a", at(900)).await.unwrap().unwrap();
    assert_eq!(catalog.take_message(&first, at(61)).await.unwrap(), None);
    let fence = catalog.take_message(&first, at(900)).await.unwrap().unwrap();
    assert!(!catalog.end_message("b", lost, &Sending::Sent, at(901)).await.unwrap());
    assert!(catalog.end_message("b", fence, &Sending::Sent, at(901)).await.unwrap());
    let second = catalog.next_message("shop", "a", at(902)).await.unwrap().unwrap();
    let fence = catalog.take_message(&second, at(902)).await.unwrap().unwrap();
    let refused = Sending::Refused { why: "gone".into() };
    assert!(catalog.end_message("a", fence, &refused, at(903)).await.unwrap());
    let record = catalog.records("shop", at(903)).await.unwrap().remove(0);
    assert_eq!((record.sent, record.tested, record.waiting), (Some(at(901)), None, 0));
    assert_eq!((record.refused, record.refused_why.as_deref()), (Some(at(903)), Some("gone")));
    catalog.note_message(&message("t", "test"), &Sending::Sent, at(904)).await.unwrap();
    let record = catalog.records("shop", at(904)).await.unwrap().remove(0);
    assert_eq!((record.tested, record.refused), (Some(at(904)), None));
    catalog.enqueue(&[message("c", "opened")], at(905)).await.unwrap();
    let record = catalog.records("shop", at(905)).await.unwrap().remove(0);
    assert_eq!((record.waiting, record.oldest, record.why), (1, Some(at(905)), None));
    catalog.withdraw("shop", &["a"], at(906)).await.unwrap();
    assert!(catalog.next_message("shop", "a", at(906)).await.unwrap().is_some());
    catalog.withdraw("shop", &["b"], at(906)).await.unwrap();
    assert!(catalog.next_message("shop", "a", at(906)).await.unwrap().is_none());
}

async fn a_refusal_is_known_while_it_is_tried_again(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    catalog.enqueue(&[message("a", "opened")], at(0)).await.unwrap();
    let refused = async |now: i64| {
        let next = catalog.next_message("shop", "a", at(now)).await.unwrap().unwrap();
        let fence = catalog.take_message(&next, at(now)).await.unwrap().unwrap();
        let end = Sending::RefusedNow { at: at(now + 60), why: format!("an old key {now}") };
        assert!(catalog.end_message("a", fence, &end, at(now)).await.unwrap());
        catalog.records("shop", at(now)).await.unwrap().remove(0)
    };
    let record = refused(1).await;
    assert_eq!((record.waiting, record.refused), (1, Some(at(1))));
    assert_eq!(record.refused_why.as_deref(), Some("an old key 1"));
    catalog.note_message(&message("t", "test"), &Sending::Sent, at(2)).await.unwrap();
    assert_eq!(catalog.records("shop", at(2)).await.unwrap()[0].refused, None);
    assert_eq!(refused(100).await.refused, Some(at(100)));
    // What a clock wrote that had leapt hides nothing.
    let years = 4 * 365 * 86_400;
    catalog.note_message(&message("u", "test"), &Sending::Sent, at(years)).await.unwrap();
    let record = catalog.records("shop", at(200)).await.unwrap().remove(0);
    assert_eq!((record.sent, record.refused), (Some(at(2)), Some(at(100))));
    let next = catalog.next_message("shop", "a", at(200)).await.unwrap().unwrap();
    catalog.take_message(&next, at(years)).await.unwrap().unwrap();
    let next = catalog.next_message("shop", "a", at(201)).await.unwrap().unwrap();
    assert!(catalog.take_message(&next, at(201)).await.unwrap().is_some());
}

async fn silences_and_ways_are_remembered(on: &dyn Fresh) {
    let catalog = on.catalog().await;
    let silence = |part: Option<&str>| {
        let text = serde_json::json!({
            "id": 0, "policy": "shop", "part": part, "since": at(0), "until": at(100), "reason": "r", "by": "me",
        });
        serde_json::from_value(text).unwrap()
    };
    let first = catalog.silence(&silence(None)).await.unwrap();
    let second = catalog.silence(&silence(Some("db"))).await.unwrap();
    let parts = async |now: i64| -> Vec<Option<String>> {
        catalog.silences(at(now)).await.unwrap().into_iter().map(|silence| silence.part).collect()
    };
    assert_eq!(parts(1).await, [None, Some("db".to_owned())]);
    assert!(catalog.end_silence(first, at(2)).await.unwrap() && first != second);
    assert!(!catalog.end_silence(first, at(2)).await.unwrap());
    assert_eq!((parts(3).await.len(), parts(100).await.len()), (1, 0));
    assert_eq!(catalog.ways("shop").await.unwrap(), None);
    for ways in ["[]", "[1]"] {
        let ways = Ways { ways: ways.into(), zone: "Asia/Seoul".into() };
        catalog.remember_ways("shop", &ways).await.unwrap();
        assert_eq!(catalog.ways("shop").await.unwrap(), Some(ways));
    }
}
