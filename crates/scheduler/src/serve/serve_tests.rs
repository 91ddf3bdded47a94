//! The loop of `serve`, with a station that only pretends.
//!
//! On purpose not here: processes, and a year of time.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::told::JobState;
use super::*;
use crate::catalog::{JobEnd, JobState as Stands, Place, Worker};
use serde_json::json;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// It ends with a code.
    Ends(u8),
    /// It goes on until it is stopped.
    Waits,
}

struct Fake {
    dir: TempDir,
    files: Mutex<Vec<File>>,
    does: Mutex<Does>,
    carried: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most: AtomicUsize,
    streams: AtomicUsize,
    said: Mutex<Vec<Told>>,
    broken: AtomicBool,
    minutes: AtomicUsize,
    begun: Instant,
}

impl Fake {
    fn new(policies: &[(&str, &str)]) -> Arc<Self> {
        let fake = Self {
            dir: tempfile::tempdir().unwrap(),
            files: Mutex::default(),
            does: Mutex::new(Does::Ends(0)),
            carried: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            said: Mutex::default(),
            broken: AtomicBool::new(false),
            minutes: AtomicUsize::new(0),
            begun: Instant::now(),
        };
        fake.write(policies);
        Arc::new(fake)
    }

    fn write(&self, policies: &[(&str, &str)]) {
        let common = "repository: { url: /r, password: { env: X } }\n";
        let files = policies.iter().map(|(name, text)| File {
            path: format!("/etc/{name}.yaml").into(),
            text: Ok(format!("name: {name}\n{common}{text}\n")),
        });
        *self.files.lock().unwrap() = files.collect();
    }

    async fn open(&self) -> Catalog {
        Catalog::open(&Place::File(self.dir.path().join("catalog"))).await.unwrap()
    }

    fn carried(&self) -> Vec<String> {
        let mut carried = self.carried.lock().unwrap().clone();
        carried.sort();
        carried
    }

    fn heard(&self, state: JobState) -> usize {
        let said = self.said.lock().unwrap();
        said.iter().filter(|told| matches!(told, Told::Job(told) if told.state == state)).count()
    }

    fn happened(&self, what: Happens) -> usize {
        let said = self.said.lock().unwrap();
        said.iter().filter(|told| matches!(told, Told::Service(told) if told.what == what)).count()
    }

    /// Waits until something is so.
    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {:?}", self.said.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl Station for Fake {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn counted(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn files(&self) -> Vec<File> {
        self.files.lock().unwrap().clone()
    }

    async fn catalog(&self) -> Result<Catalog, String> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err("the disk is gone".to_owned()),
            false => Ok(self.open().await),
        }
    }

    async fn recall(&self, _: &Catalog, _: &Served) -> Result<Recalled, CatalogError> {
        Ok(Recalled::default())
    }

    async fn carry(&self, task: &Task, halt: &Halt) -> Result<Answer, String> {
        self.carried.lock().unwrap().push(format!("{} {}", task.claim.due.activity, task.claim.due.policy));
        let running = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let does = *self.does.lock().unwrap();
        let code = match does {
            Does::Ends(code) => {
                tokio::time::sleep(Duration::from_millis(30)).await;
                code
            }
            Does::Waits => {
                halt.raised().await;
                130
            }
        };
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let line = json!({ "message_type": "summary", "code": code, "steps": [] });
        Ok(Answer { code: code.into(), lines: vec![line], ..Answer::default() })
    }

    async fn stream(&self, _: &Task, _: &Call, halt: &Halt) -> Result<Answer, String> {
        // It ends at once the first time.
        if self.streams.fetch_add(1, Ordering::SeqCst) > 0 {
            halt.raised().await;
        }
        Ok(Answer { code: 1, ..Answer::default() })
    }

    fn say(&self, told: &Told) {
        self.said.lock().unwrap().push(told.clone());
    }

    fn ready(&self, _: bool) {}

    fn alive(&self) {}

    fn stopping(&self) {}

    async fn minute(&self, _: Minute) {
        self.minutes.fetch_add(1, Ordering::SeqCst);
    }
}

const HOURLY: &str = "sources: { tree: { files: { paths: [ /t ] } } }\nschedule: { cron: '0 * * * *' }";
const STREAM: &str = "sources: { db: { postgres: { url: 'postgres://b@db', wal: stream } } }";

fn me(name: &str) -> Me {
    Me { name: name.to_owned(), host: "host".to_owned(), labels: Vec::new() }
}

fn options(once: bool) -> Options {
    Options { me: me("w"), jobs: 2, term: Duration::from_millis(1600), once, home: None }
}

/// Policies of one text.
fn policies(text: &str) -> Policies {
    let mut policies = Policies::new(None);
    policies.take(vec![File { path: "/etc/one.yaml".into(), text: Ok(text.to_owned()) }]);
    policies
}

async fn shift(catalog: &Catalog, policies: &Policies, name: &str, now: Timestamp) -> Shift {
    let mut shift = Shift::new(me(name), Duration::from_secs(60));
    shift.begin(catalog, policies, now).await.unwrap();
    shift.look(catalog, policies, (now, Duration::ZERO)).await.unwrap();
    shift
}

const OPENED: &str = "name: one\nrepository: { url: /r, password: { env: X } }\n";
const TREE: &str = "sources:\n  tree: { files: { paths: [ /t ] } }\n";
const MEDIA: &str = "  media: { files: { paths: [ /m ] }, schedule: { cron: '0 * * * *' } }\n";

/// Twenty minutes into this hour: nothing more is due for minutes, whenever the test runs.
fn early_in_an_hour() -> Timestamp {
    let now = Timestamp::now().as_second();
    Timestamp::from_second(now - now % 3600 + 1200).unwrap()
}

#[tokio::test]
async fn who_still_works_on_a_job_neither_takes_it_back_nor_begins_it_again() {
    let (fake, now) = (Fake::new(&[]), early_in_an_hour());
    let (catalog, policies) = (fake.open().await, policies(&format!("{OPENED}{HOURLY}")));
    let mut shift = shift(&catalog, &policies, "w", now).await;
    let Some(Taken::Task(task)) = shift.claim(&catalog, &policies, now, false).await.unwrap() else {
        panic!("nothing is due")
    };
    shift.works_on([task.claim.job]);
    // The catalog was away for longer than the claim holds.
    let later = now + SignedDuration::from_secs(90);
    let looked = shift.look(&catalog, &policies, (later, Duration::from_secs(90))).await.unwrap();
    assert!(looked.told.is_empty(), "{looked:?}");
    assert!(catalog.renew(&task.claim, later, Duration::from_secs(60)).await.unwrap());
    // Another took it for dead: it is not begun beside itself.
    let much_later = later + SignedDuration::from_secs(90);
    assert_eq!(catalog.take_back(much_later).await.unwrap().len(), 1);
    assert!(shift.claim(&catalog, &policies, much_later, false).await.unwrap().is_none());
    assert!(!catalog.renew(&task.claim, much_later, Duration::from_secs(60)).await.unwrap());
    shift.works_on([]);
    assert!(matches!(
        shift.claim(&catalog, &policies, much_later, false).await.unwrap(),
        Some(Taken::Task(again)) if again.claim.job == task.claim.job && again.claim.attempt == 2
    ));
}

#[tokio::test]
async fn who_is_silent_is_not_taken_for_dead_when_the_clock_that_judges_leapt() {
    let (fake, now) = (Fake::new(&[]), early_in_an_hour());
    let (catalog, policies) = (fake.open().await, policies(&format!("{OPENED}{HOURLY}")));
    let mut watches = shift(&catalog, &policies, "watches", now).await;
    let works = shift(&catalog, &policies, "works", now).await;
    assert!(works.claim(&catalog, &policies, now, false).await.unwrap().is_some());
    let mut told = async |counted: u64| {
        let then = now + SignedDuration::from_secs(3600 + counted.cast_signed());
        let looked = watches.look(&catalog, &policies, (then, Duration::from_secs(counted))).await.unwrap();
        let back = |told: &&Told| matches!(told, Told::Job(told) if told.state == JobState::TakenBack);
        looked.told.iter().filter(back).count()
    };
    // An hour ahead in a second; then everybody had the time to be heard.
    assert_eq!((told(1).await, told(30).await, told(62).await), (0, 0, 1));
}

#[tokio::test]
async fn who_has_an_older_text_leaves_alone_what_is_new_and_what_nobody_has_any_more_ends() {
    let (fake, now) = (Fake::new(&[]), Timestamp::now());
    let catalog = fake.open().await;
    let (newer, older) = (policies(&format!("{OPENED}{TREE}{MEDIA}")), policies(&format!("{OPENED}{TREE}")));
    shift(&catalog, &newer, "newer", now).await;
    let behind = shift(&catalog, &older, "older", now).await;
    assert!(behind.claim(&catalog, &older, now, false).await.unwrap().is_none());
    assert!(behind.sweep(&catalog, &older, now).await.unwrap().is_empty());
    let waits = catalog.free_jobs("one").await.unwrap();
    assert_eq!(waits[0].due.source.as_deref(), Some("media"));
    // A day later it is not new anywhere.
    let later = now + SignedDuration::from_hours(25);
    assert_eq!(behind.sweep(&catalog, &older, later).await.unwrap().len(), 1);
    assert!(catalog.free_jobs("one").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_there_is_no_key_for_here_is_not_entered_here() {
    let (fake, now) = (Fake::new(&[]), Timestamp::now());
    let catalog = fake.open().await;
    let reads = "name: one\nrepository: { url: /r, keys: { read: { file: /k } } }\n";
    let policies = policies(&format!(
        "{reads}{STREAM}\ncheck: {{ cron: '* * * * *' }}\nprune: {{ cron: '* * * * *' }}\n"
    ));
    let mut shift = shift(&catalog, &policies, "w", now).await;
    let later = now + SignedDuration::from_hours(1);
    shift.look(&catalog, &policies, (later, Duration::from_secs(3600))).await.unwrap();
    assert_eq!(catalog.jobs("one", 9).await.unwrap(), []);
    assert!(shift.claim(&catalog, &policies, later, true).await.unwrap().is_none());
}

/// A service that goes on.
struct Going {
    stop: watch::Sender<bool>,
    look: Arc<Notify>,
    task: JoinHandle<Result<Vec<u8>, ServeError>>,
}

fn go(fake: &Arc<Fake>) -> Going {
    let (stop, stopped) = watch::channel(false);
    let look = Arc::new(Notify::new());
    let requests = Requests { stop: stopped, look: Arc::clone(&look) };
    let task = tokio::spawn(serve(Arc::clone(fake) as Arc<dyn Station>, options(false), requests));
    Going { stop, look, task }
}

impl Going {
    async fn stop(self) {
        self.stop.send_replace(true);
        assert_eq!(self.task.await.unwrap().unwrap(), Vec::<u8>::new());
    }
}

async fn once(fake: &Arc<Fake>) -> Result<Vec<u8>, ServeError> {
    let (_stop, stopped) = watch::channel(false);
    let requests = Requests { stop: stopped, look: Arc::default() };
    serve(Arc::clone(fake) as Arc<dyn Station>, options(true), requests).await
}

#[tokio::test]
async fn once_does_what_is_due_and_ends() {
    let fake =
        Fake::new(&[("one", HOURLY), ("two", HOURLY), ("three", HOURLY), ("four", HOURLY), ("db", STREAM)]);
    assert_eq!(once(&fake).await.unwrap(), Vec::<u8>::new());
    assert_eq!(fake.carried(), ["run four", "run one", "run three", "run two"]);
    assert_eq!((fake.most.load(Ordering::SeqCst), fake.streams.load(Ordering::SeqCst)), (2, 0));
    assert_eq!((fake.heard(JobState::Done), fake.minutes.load(Ordering::SeqCst)), (4, 1));
    // Unless an hour began meanwhile, nothing is due any more.
    let before = fake.carried().len();
    let hour = |catalog: Vec<crate::catalog::Job>| catalog[0].due.scheduled_for;
    let last = hour(fake.open().await.jobs("one", 1).await.unwrap());
    once(&fake).await.unwrap();
    let newest = hour(fake.open().await.jobs("one", 1).await.unwrap());
    assert_eq!(fake.carried().len() == before, newest == last);
}

#[tokio::test]
async fn what_fails_is_entered_and_the_others_go_on() {
    let fake = Fake::new(&[("one", HOURLY), ("two", HOURLY)]);
    *fake.does.lock().unwrap() = Does::Ends(3);
    assert_eq!(once(&fake).await.unwrap(), [3, 3]);
    let jobs = fake.open().await.jobs("one", 10).await.unwrap();
    assert!(matches!(&jobs[0].state, Stands::Ended { end: JobEnd::Done { code: 3, .. }, .. }), "{jobs:?}");
}

#[tokio::test]
async fn a_policy_that_is_wrong_keeps_no_other_from_being_served_and_alone_ends_it() {
    let fake = Fake::new(&[("one", HOURLY), ("two", "sorces: {}")]);
    once(&fake).await.unwrap();
    assert_eq!((fake.carried().len(), fake.happened(Happens::PolicyWrong)), (1, 1));
    let fake = Fake::new(&[("two", "sorces: {}")]);
    assert!(matches!(once(&fake).await.unwrap_err(), ServeError::NoPolicy { .. }));
}

#[tokio::test]
async fn what_is_stopped_is_given_back_and_done_by_the_next() {
    let fake = Fake::new(&[("one", HOURLY)]);
    *fake.does.lock().unwrap() = Does::Waits;
    let going = go(&fake);
    fake.until("a job begins", |fake| fake.heard(JobState::Begins) == 1).await;
    going.stop().await;
    assert_eq!(fake.heard(JobState::GivenBack), 1);
    let catalog = fake.open().await;
    let jobs = catalog.jobs("one", 10).await.unwrap();
    assert_eq!((jobs.len(), &jobs[0].state, jobs[0].attempt), (1, &Stands::Free, 0));
    assert_eq!(catalog.workers().await.unwrap(), []);
    *fake.does.lock().unwrap() = Does::Ends(0);
    once(&fake).await.unwrap();
    assert_eq!(fake.heard(JobState::Done), 1);
}

#[tokio::test]
async fn a_claim_that_is_lost_stops_the_work() {
    let fake = Fake::new(&[("one", HOURLY)]);
    *fake.does.lock().unwrap() = Does::Waits;
    let going = go(&fake);
    fake.until("a job begins", |fake| fake.heard(JobState::Begins) == 1).await;
    // Somebody whose clock is ahead takes it back, and begins it.
    let (catalog, later) = (fake.open().await, Timestamp::now() + SignedDuration::from_hours(1));
    assert_eq!(catalog.take_back(later).await.unwrap().len(), 1);
    let labels = vec!["one/run".to_owned()];
    let other = Worker { name: "other".to_owned(), host: "other".to_owned(), labels };
    catalog.claim(&other, later, Duration::from_secs(600)).await.unwrap().unwrap();
    fake.until("it is lost", |fake| fake.heard(JobState::Lost) == 1).await;
    going.stop().await;
    assert_eq!((fake.carried().len(), fake.heard(JobState::GivenBack)), (1, 0));
}

#[tokio::test]
async fn without_a_catalog_nothing_is_begun_and_once_it_is_back_all_is() {
    let fake = Fake::new(&[("one", HOURLY)]);
    fake.broken.store(true, Ordering::SeqCst);
    assert!(matches!(once(&fake).await.unwrap_err(), ServeError::NoCatalog(_)));
    let going = go(&fake);
    fake.until("it is told", |fake| fake.happened(Happens::CatalogLost) > 1).await;
    assert_eq!((fake.carried().len(), fake.happened(Happens::Ready)), (0, 0));
    fake.broken.store(false, Ordering::SeqCst);
    going.look.notify_one();
    fake.until("it is done", |fake| fake.heard(JobState::Done) == 1).await;
    assert_eq!((fake.happened(Happens::CatalogBack), fake.happened(Happens::Ready)), (1, 1));
    going.stop().await;
}

#[tokio::test]
async fn policies_come_change_and_go_while_it_serves() {
    let fake = Fake::new(&[("one", HOURLY)]);
    let going = go(&fake);
    fake.until("the first is done", |fake| fake.heard(JobState::Done) == 1).await;
    fake.write(&[("one", HOURLY), ("two", HOURLY)]);
    going.look.notify_one();
    fake.until("the second is done", |fake| fake.heard(JobState::Done) == 2).await;
    fake.write(&[("one", "sorces: {}"), ("two", HOURLY)]);
    going.look.notify_one();
    fake.until("a mistake is told", |fake| fake.happened(Happens::PolicyWrong) == 1).await;
    fake.write(&[("two", HOURLY)]);
    going.look.notify_one();
    fake.until("it is gone", |fake| fake.happened(Happens::PolicyGone) == 1).await;
    going.stop().await;
}

#[tokio::test]
async fn a_stream_stands_is_begun_again_and_ends_with_its_policy() {
    let fake = Fake::new(&[("db", STREAM), ("one", HOURLY)]);
    let going = go(&fake);
    fake.until("it begins again", |fake| fake.streams.load(Ordering::SeqCst) == 2).await;
    fake.until("the job is done beside it", |fake| fake.heard(JobState::Done) == 1).await;
    assert_eq!((fake.happened(Happens::StreamBegins), fake.happened(Happens::StreamEnded)), (2, 1));
    // The other worker has no share in it.
    let labels = vec!["db/stream/db".to_owned()];
    let other = Worker { name: "other".to_owned(), host: "other".to_owned(), labels };
    let catalog = fake.open().await;
    assert_eq!(catalog.claim(&other, Timestamp::now(), Duration::from_secs(9)).await.unwrap(), None);
    fake.write(&[("one", HOURLY)]);
    going.look.notify_one();
    fake.until("it is given back", |fake| fake.heard(JobState::GivenBack) == 1).await;
    assert_eq!(fake.streams.load(Ordering::SeqCst), 2);
    going.stop().await;
}
