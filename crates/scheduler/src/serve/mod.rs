//! Serves policies for months: what is due is entered, claimed and carried out, by as many workers as share a
//! catalog.
//!
//! The loop is here: it looks, begins what was claimed, and waits until something is due, ends, or is asked of it.
//! It goes on whatever fails, except that nothing is begun without a catalog: only that knows what runs elsewhere.
//! On purpose not here: processes, files, signals and the clock, which come in by [`Station`]; what is due
//! (`timers`), what is entered and claimed (`shift`), and keeping a claim (`carry`).

mod carry;
mod halt;
pub mod job;
pub mod leap;
pub mod metrics;
pub mod policies;
pub mod shift;
pub mod timers;
pub mod told;

#[cfg(test)]
mod serve_tests;

pub use carry::Outcome;
pub use halt::Halt;

use crate::catalog::{Catalog, CatalogError, Claim};
use crate::hands::{Answer, Call};
use crate::status::{Known, Unreadable};
use async_trait::async_trait;
use carry::pause;
use futures::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use job::Task;
use policies::{File, Policies, Served};
use shift::{Me, Shift, Taken};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use told::{Happens, JobState, Told};

/// So long is waited at most until the next look: other workers end what holds ours up.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(15);
/// And no shorter than this, whatever is due.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);
/// A look that goes on when it is to stop may take so long: a server that is gone is not waited for.
const LOOK_GRACE: Duration = Duration::from_secs(3);
/// How often who wants to is called.
const MINUTE: Duration = Duration::from_secs(60);
/// A catalog that cannot be used is tried again after so long, at most.
const CATALOG_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The past of so many policies is asked for at the same time.
const RECALLED_AT_ONCE: usize = 4;
/// A look may take so long until it counts as one that hangs.
const LOOK_MAX: Duration = Duration::from_secs(600);
/// Workers of which nothing was heard for so long are forgotten.
const WORKERS_REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 7);
/// What ended so long ago is forgotten, but for the last of each kind.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How often that is done.
const CLEAN_EVERY: Duration = Duration::from_secs(86_400);
/// How often who watches hears that this lives, while it waits for what it asked to stop.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// The world of a worker.
#[async_trait]
pub trait Station: Send + Sync {
    /// What time it is.
    fn now(&self) -> Timestamp;

    /// How long this has been going on, by a clock that nobody sets.
    fn counted(&self) -> Duration;

    /// The files of policies, as they are now.
    async fn files(&self) -> Vec<File>;

    /// Opens the catalog.
    ///
    /// # Errors
    /// It cannot be used now; in words for people.
    async fn catalog(&self) -> Result<Catalog, String>;

    /// Makes up, from what its repositories say, for a past of a policy that the catalog does not know: of one that
    /// was lost, or is new. Whether something was found, and what could not be asked; without waiting for ever.
    ///
    /// # Errors
    /// The catalog cannot be used.
    async fn recall(&self, catalog: &Catalog, served: &Served) -> Result<Recalled, CatalogError>;

    /// Carries a job out in a process of its own, to its end; asks it to stop when that is said, and waits for that.
    ///
    /// # Errors
    /// It could not be started; in words for people.
    async fn carry(&self, task: &Task, halt: &Halt) -> Result<Answer, String>;

    /// Streams a log in a process of its own, in the same way.
    ///
    /// # Errors
    /// It could not be started; in words for people.
    async fn stream(&self, task: &Task, call: &Call, halt: &Halt) -> Result<Answer, String>;

    /// Tells what happens.
    fn say(&self, told: &Told);

    /// Whether jobs can be done now: not before the catalog was seen, nor while it is lost.
    fn ready(&self, is_ready: bool);

    /// The loop goes round.
    fn alive(&self);

    /// No more jobs are taken.
    fn stopping(&self);

    /// Is called once a minute, beside all else, and not while the last call goes on.
    async fn minute(&self, minute: Minute);
}

/// What was made up for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Whether anything was found.
    pub found: bool,
    /// What could not be asked, in words.
    pub gaps: Vec<String>,
}

/// What is handed to who is called once a minute.
#[derive(Debug, Clone)]
pub struct Minute {
    /// The catalog, if it can be used.
    pub catalog: Option<Catalog>,
    /// The policies that are served.
    pub known: Vec<Known>,
    /// Files that cannot be read as they are now.
    pub unreadable: Vec<Unreadable>,
}

/// How it is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this is.
    pub me: Me,
    /// So many jobs at once; streams do not count.
    pub jobs: usize,
    /// How long a claim holds without being renewed: so late is it noticed that a worker is dead.
    pub term: Duration,
    /// Do what is due now, and end.
    pub once: bool,
    /// What `~/` in policies means.
    pub home: Option<PathBuf>,
}

/// Why nothing is served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// No policy could be read at the start.
    #[error("no policy can be read; {file}: {why}")]
    NoPolicy {
        /// The first that could not.
        file: String,
        /// Why.
        why: String,
    },
    /// What is due was to be done once, and the catalog cannot be used.
    #[error("nothing was begun, because nobody knows what runs elsewhere: {0}")]
    NoCatalog(String),
}

/// What is asked from outside.
#[derive(Debug)]
pub struct Requests {
    /// Whether it is to stop.
    pub stop: watch::Receiver<bool>,
    /// Says that there is reason to look now.
    pub look: Arc<Notify>,
}

/// Serves until it is asked to stop, or, once, until what was due is done. The exit codes of jobs that did not end
/// with 0, if it is once.
///
/// # Errors
/// There is nothing to serve, or nothing to serve with.
pub async fn serve(
    station: Arc<dyn Station>,
    options: Options,
    mut requests: Requests,
) -> Result<Vec<u8>, ServeError> {
    let mut service = Service::new(station, options);
    service.read_policies().await;
    service.refuse_nothing()?;
    loop {
        service.read_policies().await;
        let mut stop = requests.stop.clone();
        let looking = Looking::begin(&service.station);
        let look = tokio::select! {
            biased;
            look = service.look() => look,
            // What was claimed and is not begun waits until the claim has run out.
            () = waited(&mut stop, LOOK_GRACE) => break,
        };
        drop(looking);
        service.station.alive();
        if service.options.once && service.is_over(&look)? {
            break;
        }
        let stop = &mut requests.stop;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = service.at_work.join_next() => service.ended(ended),
            () = requests.look.notified() => service.begun = false,
            () = tokio::time::sleep(look.pause) => {}
        }
    }
    service.stop().await;
    Ok(service.codes)
}

/// Says that this lives while a look goes on: a catalog that is far away, or the past of many policies, takes time.
struct Looking(JoinHandle<()>);

impl Looking {
    fn begin(station: &Arc<dyn Station>) -> Self {
        let station = Arc::clone(station);
        Self(tokio::spawn(async move {
            for _ in 0..LOOK_MAX.as_secs() / ALIVE_EVERY.as_secs() {
                tokio::time::sleep(ALIVE_EVERY).await;
                station.alive();
            }
        }))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until it is to stop, and some time longer.
async fn waited(stop: &mut watch::Receiver<bool>, grace: Duration) {
    // Nobody who could say it is left: that is as good as said.
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(grace).await;
}

/// What is at work for a claim.
#[derive(Debug)]
struct AtWork {
    /// The task of ours that it is.
    task: tokio::task::Id,
    halt: Halt,
    claim: Claim,
    /// The verb, if it is a stream.
    stream: Option<Call>,
}

/// How a look went.
struct Look {
    /// When to look again.
    pause: Duration,
    /// Whether something was begun.
    busy: bool,
    /// Why the catalog cannot be used.
    failed: Option<String>,
}

struct Service {
    station: Arc<dyn Station>,
    options: Options,
    policies: Policies,
    shift: Shift,
    catalog: Option<Catalog>,
    /// Whether the catalog knows the policies as they are.
    begun: bool,
    /// How often in a row the catalog could not be used.
    failures: u32,
    is_ready: bool,
    at_work: JoinSet<Outcome>,
    /// By job and claim: one that was lost may still be stopping.
    works: BTreeMap<(i64, i64), AtWork>,
    minute: Option<JoinHandle<()>>,
    last_minute: Option<Duration>,
    /// When this began, by both clocks.
    began: (Timestamp, Duration),
    last_clean: Option<Duration>,
    looked: bool,
    codes: Vec<u8>,
}

impl Service {
    fn new(station: Arc<dyn Station>, options: Options) -> Self {
        let began = (station.now(), station.counted());
        Self {
            policies: Policies::new(options.home.clone()),
            shift: Shift::new(options.me.clone(), options.term),
            station,
            options,
            catalog: None,
            begun: false,
            failures: 0,
            is_ready: false,
            at_work: JoinSet::new(),
            works: BTreeMap::new(),
            minute: None,
            last_minute: None,
            began,
            last_clean: None,
            looked: false,
            codes: Vec::new(),
        }
    }

    async fn read_policies(&mut self) {
        let told = self.policies.take(self.station.files().await);
        self.begun &= told.is_empty();
        told.iter().for_each(|told| self.station.say(told));
        self.end_streams();
    }

    /// Where nothing can be read from the start somebody made a mistake.
    fn refuse_nothing(&self) -> Result<(), ServeError> {
        let mut wrong = self.policies.unreadable().into_iter();
        match wrong.next().filter(|_| self.policies.all().next().is_none()) {
            Some(Unreadable { file, why, .. }) => Err(ServeError::NoPolicy { file, why }),
            None => Ok(()),
        }
    }

    /// Ends streams that the policies do not have as they are, or not any more.
    fn end_streams(&self) {
        for work in self.works.values() {
            let Some(call) = &work.stream else { continue };
            let claim = &work.claim;
            let source = claim.due.source.as_deref().unwrap_or_default();
            let served = self.policies.get(&claim.due.policy);
            let streams = served.filter(|served| timers::streamed_here(&served.policy).contains(&source));
            if streams.and_then(|served| job::stream(served, source)).as_ref() != Some(call) {
                work.halt.raise();
            }
        }
    }

    /// Looks at what is due, and begins what can be begun.
    async fn look(&mut self) -> Look {
        match self.try_to_look().await {
            Ok((next, busy)) => {
                self.found();
                self.each_minute();
                Look { pause: self.until(next), busy, failed: None }
            }
            Err(why) => {
                // What is there next time may be another one: moved, emptied, brought up to date.
                (self.catalog, self.begun) = (None, false);
                self.lost(&why);
                self.each_minute();
                let pause = pause(self.failures, CATALOG_PAUSE_MAX);
                self.failures += 1;
                Look { pause, busy: false, failed: Some(why) }
            }
        }
    }

    async fn try_to_look(&mut self) -> Result<(Option<Timestamp>, bool), String> {
        let catalog = match &self.catalog {
            Some(catalog) => {
                catalog.is_as_known().await.map_err(|error| error.to_string())?;
                catalog.clone()
            }
            None => self.catalog.insert(self.station.catalog().await?).clone(),
        };
        if !self.begun {
            self.recall(&catalog).await.map_err(|error| error.to_string())?;
            let now = self.station.now();
            self.shift.begin(&catalog, &self.policies, now).await.map_err(|error| error.to_string())?;
            self.begun = true;
        }
        let now = self.station.now();
        self.shift.works_on(self.works.keys().map(|(job, _)| *job));
        let mut next = None;
        // What becomes due while it is carried out once is for the next time.
        if !(self.options.once && self.looked) {
            let looked = self.shift.look(&catalog, &self.policies, (now, self.station.counted())).await;
            let looked = looked.map_err(|error| error.to_string())?;
            looked.told.iter().for_each(|told| self.station.say(told));
            next = looked.next;
            self.looked = true;
        }
        let busy = self.claim(&catalog).await.map_err(|error| error.to_string())?;
        self.clean(&catalog, now).await.map_err(|error| error.to_string())?;
        Ok((next, busy))
    }

    /// Makes up for what the catalog does not know of the past of policies.
    async fn recall(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        let ask = |served: Arc<Served>| async move {
            let recalled = self.station.recall(catalog, &served).await;
            recalled.map(|recalled| (served, recalled))
        };
        let all: Vec<_> = self.policies.all().map(Arc::clone).collect();
        let mut asked = stream::iter(all).map(ask).buffer_unordered(RECALLED_AT_ONCE);
        while let Some(recalled) = asked.next().await {
            self.station.alive();
            let (served, Recalled { found, gaps }) = recalled?;
            let name = &served.policy.name;
            if found {
                self.station.say(&Told::past(
                    Happens::PastFound,
                    name,
                    "its past comes from its repositories",
                ));
            }
            let own = format!("{name}: ");
            for gap in gaps {
                let gap = gap.strip_prefix(&own).unwrap_or(&gap);
                self.station.say(&Told::past(
                    Happens::PastUnknown,
                    name,
                    &format!("{gap}; it may be done once more"),
                ));
            }
        }
        Ok(())
    }

    /// Forgets what is long over. A clock that leapt ahead makes nothing old.
    async fn clean(&mut self, catalog: &Catalog, now: Timestamp) -> Result<(), CatalogError> {
        let counted = self.station.counted();
        if self.last_clean.is_some_and(|last| counted.saturating_sub(last) < CLEAN_EVERY) {
            return Ok(());
        }
        let (began, counted_then) = self.began;
        let passed = SignedDuration::try_from(counted.saturating_sub(counted_then)).unwrap_or_default();
        let present = began.checked_add(passed).map_or(now, |present| present.min(now));
        if let Ok(before) = present.checked_sub(REMEMBERED) {
            catalog.clean(before).await?;
        }
        if let Ok(before) = present.checked_sub(WORKERS_REMEMBERED) {
            catalog.forget_workers(before).await?;
        }
        self.shift
            .sweep(catalog, &self.policies, present)
            .await?
            .iter()
            .for_each(|told| self.station.say(told));
        self.last_clean = Some(counted);
        Ok(())
    }

    /// Claims what there is room for, and begins it; whether there was something.
    async fn claim(&mut self, catalog: &Catalog) -> Result<bool, CatalogError> {
        let mut busy = false;
        for streams in [false, true] {
            // A stream has no end, so whoever does things once begins none.
            while self.has_room(streams) && !(streams && self.options.once) {
                let now = self.station.now();
                match self.shift.claim(catalog, &self.policies, now, streams).await? {
                    None => break,
                    Some(Taken::Not(told)) => self.station.say(&told),
                    Some(Taken::Task(task)) => self.begin(catalog, task),
                }
                busy = true;
            }
        }
        Ok(busy)
    }

    fn has_room(&self, streams: bool) -> bool {
        let jobs = self.works.values().filter(|work| work.stream.is_none()).count();
        streams || jobs < self.options.jobs
    }

    fn begin(&mut self, catalog: &Catalog, task: Task) {
        let (station, catalog, term) = (Arc::clone(&self.station), catalog.clone(), self.options.term);
        let halt = Halt::default();
        let claim = task.claim.clone();
        let key = (claim.job, claim.fence);
        let source = task.claim.due.source.as_deref().unwrap_or_default();
        let is_stream = task.claim.due.activity == timers::STREAM;
        let call = job::stream(&task.served, source).filter(|_| is_stream);
        let stream = call.clone();
        let work = match call {
            Some(call) => self.at_work.spawn(carry::stream(station, catalog, task, call, term, halt.clone())),
            None => self.at_work.spawn(carry::carry(station, catalog, task, term, halt.clone())),
        };
        self.works.insert(key, AtWork { task: work.id(), halt, claim, stream });
        self.shift.works_on(self.works.keys().map(|(job, _)| *job));
    }

    fn ended(&mut self, ended: Result<Outcome, tokio::task::JoinError>) {
        match ended {
            Ok(Outcome { key, code }) => {
                self.works.remove(&key);
                // What did not end here was not done.
                let code = code.unwrap_or(1);
                self.codes.extend(Some(code).filter(|code| *code != 0 && self.options.once));
            }
            // Its claim runs out, and it is done anew.
            Err(error) => {
                let broken = self.works.iter().find(|(_, work)| work.task == error.id());
                if let Some((key, claim)) = broken.map(|(key, work)| (*key, work.claim.clone())) {
                    self.works.remove(&key);
                    self.station.say(&job::told(&claim, JobState::Lost, "what kept it broke off"));
                }
                let message = format!("a job broke off by a mistake of holdfast, and is done anew: {error}");
                self.station.say(&Told::service(Happens::JobBroke, message));
                self.codes.push(1);
            }
        }
    }

    fn is_over(&self, look: &Look) -> Result<bool, ServeError> {
        if let Some(why) = look.failed.as_ref().filter(|_| self.at_work.is_empty()) {
            return Err(ServeError::NoCatalog(why.clone()));
        }
        Ok(!look.busy && self.at_work.is_empty())
    }

    fn found(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            self.station.say(&Told::service(Happens::CatalogBack, "the catalog can be used again"));
        }
        if !std::mem::replace(&mut self.is_ready, true) {
            let count = self.policies.all().count();
            self.station.say(&Told::service(Happens::Ready, format!("ready: policies served: {count}")));
            self.station.ready(true);
        }
    }

    fn lost(&mut self, why: &str) {
        if self.failures == 0 {
            let then = "nothing is begun without it, since nobody would know what runs elsewhere";
            self.station.say(&Told::service(Happens::CatalogLost, format!("{why}; {then}")));
        }
        if std::mem::take(&mut self.is_ready) {
            self.station.ready(false);
        }
    }

    /// How long until the next look.
    fn until(&self, next: Option<Timestamp>) -> Duration {
        let most = (self.options.term / 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        let due = next.map_or(SignedDuration::MAX, |next| next.duration_since(self.station.now()));
        Duration::try_from(due).unwrap_or(Duration::ZERO).clamp(LOOK_EVERY_MIN, most)
    }

    /// Calls who is to be called once a minute, if it is time and the last call is over.
    fn each_minute(&mut self) {
        let counted = self.station.counted();
        // Once is told at the end, when there is something to tell.
        let is_time =
            !self.options.once && self.last_minute.is_none_or(|last| counted.saturating_sub(last) >= MINUTE);
        if !is_time || self.minute.as_ref().is_some_and(|minute| !minute.is_finished()) {
            return;
        }
        self.last_minute = Some(counted);
        let (station, minute) = (Arc::clone(&self.station), self.handed());
        self.minute = Some(tokio::spawn(async move { station.minute(minute).await }));
    }

    fn handed(&self) -> Minute {
        Minute {
            catalog: self.catalog.clone().filter(|_| self.failures == 0),
            known: self.policies.known(|name| self.shift.since(name)),
            unreadable: self.policies.unreadable(),
        }
    }

    /// Asks everything to stop, and waits for it.
    async fn stop(&mut self) {
        if self.options.once && self.at_work.is_empty() {
            self.station.minute(self.handed()).await;
            return self.leave().await;
        }
        self.station.stopping();
        let message = format!("stopping: jobs and streams that are asked to stop: {}", self.works.len());
        self.station.say(&Told::service(Happens::Stopping, message));
        self.works.values().for_each(|work| work.halt.raise());
        while !self.at_work.is_empty() {
            tokio::select! {
                Some(ended) = self.at_work.join_next() => self.ended(ended),
                () = tokio::time::sleep(ALIVE_EVERY) => self.station.alive(),
            }
        }
        self.minute.take().iter().for_each(JoinHandle::abort);
        self.leave().await;
    }

    async fn leave(&self) {
        if let Some(catalog) = &self.catalog {
            // Whoever is not there is not missed; if this is not heard, its silence says the same.
            let _ = catalog.leave(&self.options.me.name).await;
        }
    }
}
