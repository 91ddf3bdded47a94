//! What a worker has to do with the catalog: it is seen, takes back what the dead had, enters what is due, and
//! claims what it can do.
//!
//! Time is handed in, so that a year of nights passes in seconds in a test. On purpose not here: waiting, and
//! carrying anything out.

use super::job::{Task, told};
use super::leap::Leaps;
use super::policies::{Policies, Served};
use super::timers::{self, Entry, Past, STREAM, Timer, able};
use super::told::{Happens, JobName, JobState, JobTold, Told};
use crate::catalog::{Catalog, CatalogError, Claim, Due, Job, JobEnd, Open, TakenBack, Worker};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What nobody here has a time for may be new at another worker, which has a newer text of its policy; not for so long.
const ORPHANED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Who a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its name, of this process alone.
    pub name: String,
    /// Its host, as drills name it.
    pub host: String,
    /// What policies may ask for.
    pub labels: Vec<String>,
}

/// A worker's dealings with the catalog.
#[derive(Debug)]
pub struct Shift {
    me: Me,
    term: Duration,
    leaps: Leaps,
    /// Of the clock by which claims are judged: a server's, where another takes its place, may be another.
    judged: Leaps,
    /// When each timer is to be looked at again: policy, activity, source.
    asleep: BTreeMap<(String, &'static str, Option<String>), Timestamp>,
    /// Since when policies are known.
    since: BTreeMap<String, Timestamp>,
    /// The time of the last look.
    looked: Option<Timestamp>,
    /// Jobs that this process still works on, whatever the catalog says.
    at_work: BTreeSet<i64>,
}

/// What a look came to.
#[derive(Debug, Default)]
pub struct Looked {
    /// What there is to tell.
    pub told: Vec<Told>,
    /// When the next thing is due.
    pub next: Option<Timestamp>,
}

/// What was claimed.
#[derive(Debug)]
pub enum Taken {
    /// A job, to be carried out.
    Task(Task),
    /// One that is not done any more; it is entered as that.
    Not(Told),
}

impl Shift {
    /// A worker that begins.
    #[must_use]
    pub fn new(me: Me, term: Duration) -> Self {
        Self {
            me,
            term,
            leaps: Leaps::default(),
            judged: Leaps::default(),
            asleep: BTreeMap::new(),
            since: BTreeMap::new(),
            looked: None,
            at_work: BTreeSet::new(),
        }
    }

    /// How long a claim holds without being renewed.
    #[must_use]
    pub const fn term(&self) -> Duration {
        self.term
    }

    /// States which jobs this process works on: it lives, so it neither takes them back nor begins them again beside
    /// themselves.
    pub fn works_on(&mut self, jobs: impl IntoIterator<Item = i64>) {
        self.at_work = jobs.into_iter().collect();
    }

    /// Since when a policy is known.
    #[must_use]
    pub fn since(&self, policy: &str) -> Option<Timestamp> {
        self.since.get(policy).copied()
    }

    /// Remembers the policies, and since when they are known; what they have times for is looked at anew.
    ///
    /// # Errors
    /// The catalog cannot be used.
    pub async fn begin(
        &mut self,
        catalog: &Catalog,
        policies: &Policies,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        for served in policies.all() {
            let file = served.file.display().to_string();
            catalog.remember_policy(&served.policy.name, &file, &served.hash(), now).await?;
        }
        let known = catalog.policies().await?;
        self.since = known.into_iter().map(|known| (known.name, known.first_seen)).collect();
        self.asleep.clear();
        Ok(())
    }

    /// Is seen, takes back what the dead had, and enters what is due. `counted` is a clock that nobody sets.
    ///
    /// # Errors
    /// The catalog cannot be used; what was not entered then is at the next look.
    pub async fn look(
        &mut self,
        catalog: &Catalog,
        policies: &Policies,
        (now, counted): (Timestamp, Duration),
    ) -> Result<Looked, CatalogError> {
        let mut looked = Looked::default();
        self.clock(now, counted, &mut looked);
        let judged = catalog.seen(&self.worker(policies, None), now).await?;
        self.judged.look(judged, counted, self.term);
        if self.leaps.trusts(counted) && self.judged.trusts(counted) {
            for back in catalog.take_back_but(now, &self.at_work).await? {
                looked.told.push(lost_by_another(back));
            }
        }
        for served in policies.all() {
            let here = |timer: &&Timer| timers::is_for(&served.policy, timer.activity, &self.me.host);
            let timers: Vec<&Timer> = served.timers.iter().filter(here).collect();
            for timer in timers {
                let next = self.time(catalog, served, timer, now, &mut looked.told).await?;
                looked.next = earlier(looked.next, next);
            }
            self.stand(catalog, served, now).await?;
        }
        Ok(looked)
    }

    fn clock(&mut self, now: Timestamp, counted: Duration, looked: &mut Looked) {
        if let Some(leap) = self.leaps.look(now, counted, self.term) {
            let message =
                format!("the clock was set by {leap:#}: nobody is taken for dead until they can be heard");
            looked.told.push(Told::service(Happens::ClockSet, message));
        }
        if self.looked.replace(now).is_some_and(|before| now < before) {
            self.asleep.clear();
        }
    }

    /// Enters what is due of a timer; when there is something next.
    async fn time(
        &mut self,
        catalog: &Catalog,
        served: &Served,
        timer: &Timer,
        now: Timestamp,
        told: &mut Vec<Told>,
    ) -> Result<Option<Timestamp>, CatalogError> {
        let policy = &served.policy.name;
        let key = (policy.clone(), timer.activity, timer.source.clone());
        if let Some(next) = self.asleep.get(&key).filter(|next| now < **next) {
            return Ok(Some(*next));
        }
        let source = timer.source.as_deref();
        let open = catalog.open_job(policy, timer.activity, source).await?;
        let past = Past {
            last: catalog.entered_until(policy, timer.activity, source, now).await?,
            since: self.since(policy),
            runs: open.filter(|open| open.runs).map(|open| open.scheduled_for),
        };
        match timer.entry(policy, &past, now) {
            Entry::Nothing(_) => {}
            Entry::Job(due) => enter(catalog, timer, due, open, now, told).await?,
            Entry::Skipped(due, why) => {
                if catalog.enter_skipped(&due, &why, now).await? {
                    told.push(skipped(due, why));
                }
            }
        }
        let next = timer.clockwork.after(now);
        match next {
            Some(next) => _ = self.asleep.insert(key, next),
            None => _ = self.asleep.insert(key, Timestamp::MAX),
        }
        Ok(next)
    }

    /// Sees that there is a job for each stream: it stands until somebody ends it.
    async fn stand(&self, catalog: &Catalog, served: &Served, now: Timestamp) -> Result<(), CatalogError> {
        let policy = &served.policy;
        for source in timers::streamed_here(policy) {
            if catalog.open_job(&policy.name, STREAM, Some(source)).await?.is_none() {
                catalog.enter(&timers::stream(policy, source, now), now).await?;
            }
        }
        Ok(())
    }

    /// Claims something that this worker can do: a stream, or anything else.
    ///
    /// # Errors
    /// The catalog cannot be used.
    pub async fn claim(
        &self,
        catalog: &Catalog,
        policies: &Policies,
        now: Timestamp,
        streams: bool,
    ) -> Result<Option<Taken>, CatalogError> {
        let worker = self.worker(policies, Some(streams));
        let Some(claim) = catalog.claim(&worker, now, self.term).await? else { return Ok(None) };
        if self.at_work.contains(&claim.job) {
            // Another took it for ours that were dead. It is begun anew when what still stops here has stopped.
            catalog.give_back(&claim).await?;
            return Ok(None);
        }
        let Some(served) = policies.get(&claim.due.policy) else {
            let why = "nobody here serves this policy any more".to_owned();
            return Ok(Some(Taken::Not(self.skip(catalog, &claim, why, now).await?)));
        };
        match Self::too_late(served, &claim, now) {
            Some(why) => Ok(Some(Taken::Not(self.skip(catalog, &claim, why, now).await?))),
            None => {
                let others = policies.secrets_of_others(served);
                Ok(Some(Taken::Task(Task { claim, served: Arc::clone(served), others })))
            }
        }
    }

    /// Why a job that was claimed is not done any more.
    fn too_late(served: &Served, claim: &Claim, now: Timestamp) -> Option<String> {
        let due = &claim.due;
        no_time(served, due).or_else(|| timer(served, due)?.clockwork.waited_too_long(due.scheduled_for, now))
    }

    /// Ends what waits for somebody who has a time for it, and that nobody has here, nor had for a day.
    ///
    /// # Errors
    /// The catalog cannot be used.
    pub async fn sweep(
        &self,
        catalog: &Catalog,
        policies: &Policies,
        now: Timestamp,
    ) -> Result<Vec<Told>, CatalogError> {
        let mut told = Vec::new();
        for served in policies.all() {
            for job in catalog.free_jobs(&served.policy.name).await? {
                let Job { id, due, entered, .. } = job;
                let is_old = now.duration_since(entered) > ORPHANED_AFTER;
                let Some(why) = no_time(served, &due).filter(|_| is_old) else { continue };
                if catalog.supersede(id, &why, now).await? {
                    told.push(skipped(due, why));
                }
            }
        }
        Ok(told)
    }

    async fn skip(
        &self,
        catalog: &Catalog,
        claim: &Claim,
        why: String,
        now: Timestamp,
    ) -> Result<Told, CatalogError> {
        catalog.finish(claim, &JobEnd::Skipped { why: why.clone() }, now).await?;
        Ok(told(claim, JobState::Skipped, why))
    }

    /// This worker, with the labels for all that it can do, or for a part of it.
    fn worker(&self, policies: &Policies, streams: Option<bool>) -> Worker {
        let mut labels = self.me.labels.clone();
        for served in policies.all() {
            for kind in [false, true].into_iter().filter(|kind| streams.is_none_or(|only| only == *kind)) {
                labels.extend(able(&served.policy, &served.timers, &self.me.host, kind));
            }
        }
        Worker { name: self.me.name.clone(), host: self.me.host.clone(), labels }
    }
}

/// The timer that a job is of.
fn timer<'a>(served: &'a Served, due: &Due) -> Option<&'a Timer> {
    served.timers.iter().find(|timer| timer.has(due))
}

/// Why a policy as it is here would not have a job.
fn no_time(served: &Served, due: &Due) -> Option<String> {
    if due.activity == STREAM {
        let source = due.source.as_deref().unwrap_or_default();
        let gone = !timers::streamed_here(&served.policy).contains(&source);
        return gone.then(|| "the policy streams no log of it any more".to_owned());
    }
    timer(served, due).is_none().then(|| "the policy has no time for it any more".to_owned())
}

/// Enters a job. One that nobody began yet gives way to it: one run makes up for both.
async fn enter(
    catalog: &Catalog,
    timer: &Timer,
    mut due: Due,
    waits: Option<Open>,
    now: Timestamp,
    told: &mut Vec<Told>,
) -> Result<(), CatalogError> {
    let waits = waits.filter(|waits| waits.scheduled_for < due.scheduled_for);
    due.missed = due.missed.saturating_add(waits.map_or(0, |waits| waits.missed.saturating_add(1)));
    let Some(waits) = waits else { return catalog.enter(&due, now).await.map(drop) };
    let why = format!("nobody began it before the next was due at {}", timer.shown(due.scheduled_for));
    if catalog.enter_instead(&due, waits.job, &why, now).await? {
        told.push(skipped(Due { scheduled_for: waits.scheduled_for, missed: waits.missed, ..due }, why));
    }
    Ok(())
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// What was skipped before it was claimed.
fn skipped(due: Due, why: String) -> Told {
    let job = named("-".to_owned(), due, 0);
    Told::Job(Box::new(JobTold { state: JobState::Skipped, job, code: None, seconds: None, message: why }))
}

/// What was taken back from a worker that is gone.
fn lost_by_another(back: TakenBack) -> Told {
    let TakenBack { job, due, worker, attempt, given_up } = back;
    let (state, code, then) = match given_up {
        true => (JobState::Failed, Some(1), ", and that was once too often: it is given up"),
        false => (JobState::TakenBack, None, ""),
    };
    let message = format!("nothing was heard of {worker}{then}");
    let job = named(job.to_string(), due, attempt);
    Told::Job(Box::new(JobTold { state, job, code, seconds: None, message }))
}

fn named(run: String, due: Due, attempt: u32) -> JobName {
    let Due { policy, activity, source, scheduled_for, missed, .. } = due;
    JobName { run, policy, activity, source, scheduled_for, attempt, missed }
}
