//! What is due, and who does it: the queue that workers share.
//!
//! A job is entered once, by whoever sees first that it is due: policy, activity, source and the time
//! that it is for are its key. A worker claims it for a term, in a short transaction, and renews the
//! claim while the work goes on; no lock is held meanwhile. Each claim of a job has a higher *fence*
//! than the one before, and whoever comes with an old one changes nothing. A claim that was not renewed
//! in time is taken back, once, and the job is free again.
//!
//! Two jobs with a group in common never run at the same time, on whatever hosts: the groups of what
//! runs are the keys of a table. How long claims hold is judged by one clock: the server's where the
//! catalog lies on one, whatever hosts believe; else that of the host, which is handed in.
//!
//! On purpose not here: what is due, and doing it. A worker whose claim is gone has to stop: that is
//! told to it, not done to it.

use super::base::{Ask, Change, Row, ask};
use super::{Catalog, CatalogError};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// So often a job is begun whose workers are lost; then it has failed.
pub const ATTEMPTS_MAX: u32 = 5;

/// What ends a job that nobody ended.
const LOST_CODE: u8 = 1;
/// So often a claim is tried again because another worker was faster.
const RACES_MAX: u32 = 100;
/// No claim is for longer.
pub const CLAIM_MAX: Duration = Duration::from_secs(24 * 3600);
/// So many are taken back at once.
const TAKEN_BACK_MAX: u32 = 1000;

/// Something that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The policy.
    pub policy: String,
    /// What is to be done: `run`, `drill`, `prune`, `check`, `digest`.
    pub activity: String,
    /// The source with a time of its own; none where it is about all.
    pub source: Option<String>,
    /// The time that it is for.
    pub scheduled_for: Timestamp,
    /// What a worker must have; all of it.
    pub labels: Vec<String>,
    /// No two jobs with one of these in common run at once. The policy is one, named or not, unless a part
    /// of it is: `shop/drill`.
    pub groups: Vec<String>,
    /// How many earlier times it makes up for.
    pub missed: u32,
}

/// A process that does jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// What it is called; no other process ever has the same name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// What it has.
    pub labels: Vec<String>,
}

/// A worker, and when it was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWorker {
    /// The worker.
    pub worker: Worker,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
}

/// A job that is a worker's, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The job's number.
    pub job: i64,
    /// What is to be done.
    pub due: Due,
    /// Which claim of the job this is: later ones have more.
    pub fence: i64,
    /// How often it was begun, with this time.
    pub attempt: u32,
    /// Whose it is. Where a server lost what it last wrote, two may have the same fence.
    pub worker: String,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// It was carried out.
    Done {
        /// The exit code.
        code: u8,
        /// Why, if not well; empty if well.
        message: String,
    },
    /// It was not to be done any more.
    Skipped {
        /// Why.
        why: String,
    },
}

/// A job whose worker did not renew its claim in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    /// The job's number.
    pub job: i64,
    /// What was to be done.
    pub due: Due,
    /// Who had it.
    pub worker: String,
    /// How often it was begun.
    pub attempt: u32,
    /// Whether it is given up: its workers were lost too often.
    pub given_up: bool,
}

/// How it stands with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It waits for a worker.
    Free,
    /// A worker has it.
    Running {
        /// Until when, if the claim is not renewed.
        until: Timestamp,
    },
    /// It ended.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        end: JobEnd,
    },
    /// Its workers were lost too often.
    Lost {
        /// When it was given up.
        at: Timestamp,
    },
}

/// A job as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// What is to be done.
    pub due: Due,
    /// How it stands.
    pub state: JobState,
    /// The worker that has it, or had it last.
    pub worker: Option<String>,
    /// How often it was begun.
    pub attempt: u32,
    /// When it was entered.
    pub entered: Timestamp,
}

/// What a job is, as far as [`due`] reads it.
pub(super) const DUE: &str = "id, policy, activity, source, scheduled_for, missed, labels, group_names";

impl Catalog {
    /// Claims the oldest job that is free, whose labels the worker has, and of whose groups none is
    /// taken, for a term.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn claim(
        &self,
        worker: &Worker,
        now: Timestamp,
        term: Duration,
    ) -> Result<Option<Claim>, CatalogError> {
        for _ in 0..RACES_MAX {
            match self.base.within(self.try_to_claim(worker, now, term)).await? {
                Tried::Nothing => return Ok(None),
                Tried::Claimed(claim) => return Ok(Some(claim)),
                Tried::TooLate => {}
            }
        }
        Ok(None)
    }

    async fn try_to_claim(
        &self,
        worker: &Worker,
        now: Timestamp,
        term: Duration,
    ) -> Result<Tried, sqlx::Error> {
        let mut change = self.base.change().await?;
        let Some(row) = change.row(&fitting(worker)).await? else {
            change.undo().await?;
            return Ok(Tried::Nothing);
        };
        let (job, due) = (row.number("id")?, due(&row)?);
        if !take_groups(&mut change, job).await? {
            change.undo().await?;
            return Ok(Tried::TooLate);
        }
        let until = later(self.moment(&mut change, now).await?, term);
        let text = "UPDATE @job SET state = 'running', fence = fence + 1, attempt = attempt + 1, worker = $1, \
                    claimed_until = $2 WHERE id = $3 RETURNING fence, attempt";
        let row = change.row(&ask(text).with(&worker.name).with(until).with(job)).await?;
        let row = row.ok_or(sqlx::Error::RowNotFound)?;
        let (fence, attempt) = (row.number("fence")?, row.count("attempt")?);
        let claim = Claim { job, due, fence, attempt, worker: worker.name.clone() };
        change.commit().await?;
        Ok(Tried::Claimed(claim))
    }

    /// Renews a claim for another term from now on; false if the job is not the worker's any more: then
    /// the work has to stop. One that ran out and was not taken back yet can be renewed.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn renew(&self, claim: &Claim, now: Timestamp, term: Duration) -> Result<bool, CatalogError> {
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let until = later(self.moment(&mut change, now).await?, term);
                let text =
                    "UPDATE @job SET claimed_until = $1 WHERE id = $2 AND fence = $3 AND worker = $4 AND state = 'running'";
                let renewed = change.execute(&ask(text).with(until).of(claim)).await?;
                change.commit().await?;
                Ok(renewed > 0)
            })
            .await
    }

    /// Ends a job; false if it is not the worker's any more, and then nothing is written. Whoever does not
    /// know whether it was written may say it again.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn finish(&self, claim: &Claim, end: &JobEnd, now: Timestamp) -> Result<bool, CatalogError> {
        let (state, code, message) = ending(end);
        let text = "UPDATE @job SET state = $1, ended = $2, code = $3, message = $4 \
                    WHERE id = $5 AND fence = $6 AND worker = $7 AND state = 'running'";
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let now = self.moment(&mut change, now).await?;
                let ask = ask(text).with(state).with(now).with(code).with(message);
                if change.execute(&ask.of(claim)).await? == 0 {
                    let known = is_ended(&mut change, claim).await;
                    change.undo().await?;
                    return known;
                }
                let_go(&mut change, claim.job).await?;
                forget_needs(&mut change, claim.job).await?;
                change.commit().await?;
                Ok(true)
            })
            .await
    }

    /// Takes back what was not renewed in time, each claim once, whoever asks: those jobs are free again.
    /// What was begun too often is given up instead.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn take_back(&self, now: Timestamp) -> Result<Vec<TakenBack>, CatalogError> {
        self.take_back_but(now, &BTreeSet::new()).await
    }

    /// The same for whoever works on some jobs, and so knows better of those.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn take_back_but(
        &self,
        now: Timestamp,
        at_work: &BTreeSet<i64>,
    ) -> Result<Vec<TakenBack>, CatalogError> {
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let now = self.moment(&mut change, now).await?;
                let text = format!(
                    "SELECT {DUE}, worker, attempt FROM @job WHERE state = 'running' \
                     AND (claimed_until < $1 OR claimed_until > $2) ORDER BY id LIMIT {TAKEN_BACK_MAX} THAT ARE FREE"
                );
                // Nobody claims for so long: it was done by a clock that was far ahead.
                let ask = ask(text).with(now).with(later(now, CLAIM_MAX));
                let mut taken = Vec::new();
                for row in change.rows(&ask).await? {
                    if at_work.contains(&row.number("id")?) {
                        continue;
                    }
                    taken.push(take_one_back(&mut change, &row, now).await?);
                }
                change.commit().await?;
                Ok(taken)
            })
            .await
    }

    /// Remembers that a worker is there; what time it is where claims are judged.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn seen(&self, worker: &Worker, now: Timestamp) -> Result<Timestamp, CatalogError> {
        let text =
            "INSERT INTO @worker (name, host, labels, first_seen, last_seen) VALUES ($1, $2, $3, $4, $4)
                    ON CONFLICT (name) DO UPDATE SET host = $2, labels = $3, last_seen = $4";
        self.base
            .within(async {
                let mut change = self.base.change().await?;
                let now = self.moment(&mut change, now).await?;
                let ask = ask(text).with(&worker.name).with(&worker.host).with(&list(&worker.labels));
                change.execute(&ask.with(now)).await?;
                change.commit().await?;
                Ok(now)
            })
            .await
    }

    /// The workers that were seen, the last one first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn workers(&self) -> Result<Vec<SeenWorker>, CatalogError> {
        let text =
            "SELECT name, host, labels, first_seen, last_seen FROM @worker ORDER BY last_seen DESC, name";
        let read = |row: &Row| {
            let worker =
                Worker { name: row.text("name")?, host: row.text("host")?, labels: names(row, "labels")? };
            let (first_seen, last_seen) = (row.moment("first_seen")?, row.moment("last_seen")?);
            Ok(SeenWorker { worker, first_seen, last_seen })
        };
        self.all(&ask(text), read).await
    }

    /// The jobs of a policy, the newest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn jobs(&self, policy: &str, limit: u32) -> Result<Vec<Job>, CatalogError> {
        let text = format!(
            "SELECT {DUE}, state, worker, claimed_until, attempt, entered, ended, code, message FROM @job \
             WHERE policy = $1 ORDER BY scheduled_for DESC, id DESC LIMIT $2"
        );
        self.all(&ask(text).with(policy).with(limit), job).await
    }

    /// How many jobs wait or run.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn open_jobs(&self) -> Result<u64, CatalogError> {
        // In two, so that each is counted in an index that has no others.
        let text = "SELECT (SELECT count(*) FROM @job WHERE state = 'free') + \
                    (SELECT count(*) FROM @job WHERE state = 'running') AS open";
        let counted = self.all(&ask(text), |row| row.number("open")).await?;
        Ok(counted.into_iter().next().and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// What time it is where claims are judged.
    async fn moment(&self, change: &mut Change, now: Timestamp) -> Result<Timestamp, sqlx::Error> {
        if self.by_handed_time || !change.is_server() {
            return Ok(now);
        }
        let row = change.row(&ask("SELECT THE TIME AS now")).await?;
        row.ok_or(sqlx::Error::RowNotFound)?.moment("now")
    }
}

impl Ask {
    /// Adds what a claim is known by: the job, the fence, the worker.
    pub(super) fn of(self, claim: &Claim) -> Self {
        self.with(claim.job).with(claim.fence).with(&claim.worker)
    }
}

/// What came of a try to claim something.
enum Tried {
    /// There is nothing to claim.
    Nothing,
    Claimed(Claim),
    /// Another worker took a group at the same moment.
    TooLate,
}

fn later(now: Timestamp, term: Duration) -> Timestamp {
    SignedDuration::try_from(term).ok().and_then(|term| now.checked_add(term).ok()).unwrap_or(Timestamp::MAX)
}

pub(super) async fn forget_needs(change: &mut Change, job: i64) -> Result<(), sqlx::Error> {
    for table in ["job_label", "job_group"] {
        change.execute(&ask(format!("DELETE FROM @{table} WHERE job = $1")).with(job)).await?;
    }
    Ok(())
}

/// The job that a worker should claim.
pub(super) fn fitting(worker: &Worker) -> Ask {
    let places: String = (1..=worker.labels.len()).map(|number| format!(", ${number}")).collect();
    // Nothing needs the empty label: it makes a list where the worker has none.
    let lacking = format!(
        "SELECT 1 FROM @job_label AS needed WHERE needed.job = j.id AND needed.name NOT IN (''{places})"
    );
    let blocked =
        "SELECT 1 FROM @job_group AS own JOIN @taken AS t ON t.name = own.name WHERE own.job = j.id";
    let text = format!(
        "SELECT {DUE} FROM @job AS j WHERE j.state = 'free' AND NOT EXISTS ({lacking}) AND NOT EXISTS ({blocked}) \
         ORDER BY j.scheduled_for, j.id LIMIT 1 THAT ARE FREE"
    );
    worker.labels.iter().fold(ask(text), Ask::with)
}

/// Takes all groups of a job; false if another job has one of them, which may have been faster just now.
async fn take_groups(change: &mut Change, job: i64) -> Result<bool, sqlx::Error> {
    // In one order for all, so that nobody waits in a circle.
    let text = "INSERT INTO @taken (name, job) SELECT name, job FROM @job_group WHERE job = $1 ORDER BY name \
                ON CONFLICT (name) DO NOTHING";
    let taken = change.execute(&ask(text).with(job)).await?;
    let text = "SELECT count(*) AS needed FROM @job_group WHERE job = $1";
    let row = change.row(&ask(text).with(job)).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(i64::try_from(taken).unwrap_or(i64::MAX) == row.number("needed")?)
}

async fn let_go(change: &mut Change, job: i64) -> Result<(), sqlx::Error> {
    change.execute(&ask("DELETE FROM @taken WHERE job = $1").with(job)).await.map(drop)
}

/// Whether it ended by this very claim.
async fn is_ended(change: &mut Change, claim: &Claim) -> Result<bool, sqlx::Error> {
    let text =
        "SELECT id FROM @job WHERE id = $1 AND fence = $2 AND worker = $3 AND state IN ('done', 'skipped')";
    Ok(change.row(&ask(text).of(claim)).await?.is_some())
}

async fn take_one_back(change: &mut Change, row: &Row, now: Timestamp) -> Result<TakenBack, sqlx::Error> {
    let (job, attempt) = (row.number("id")?, row.count("attempt")?);
    let given_up = attempt >= ATTEMPTS_MAX;
    let_go(change, job).await?;
    if given_up {
        let text = "UPDATE @job SET state = 'lost', ended = $1, code = $2, message = $3 WHERE id = $4";
        let message = format!("begun {attempt} times, and each time its worker was lost");
        let ask = ask(text).with(now).with(u32::from(LOST_CODE)).with(&message).with(job);
        change.execute(&ask).await?;
        forget_needs(change, job).await?;
    } else {
        let text = "UPDATE @job SET state = 'free', claimed_until = NULL WHERE id = $1";
        change.execute(&ask(text).with(job)).await?;
    }
    let worker = row.maybe_text("worker")?.unwrap_or_default();
    Ok(TakenBack { job, due: due(row)?, worker, attempt, given_up })
}

/// State, code and message of an end.
pub(super) fn ending(end: &JobEnd) -> (&'static str, Option<i64>, Option<&String>) {
    match end {
        JobEnd::Done { code, message } => ("done", Some(i64::from(*code)), Some(message)),
        JobEnd::Skipped { why } => ("skipped", None, Some(why)),
    }
}

fn due(row: &Row) -> Result<Due, sqlx::Error> {
    Ok(Due {
        policy: row.text("policy")?,
        activity: row.text("activity")?,
        source: Some(row.text("source")?).filter(|source| !source.is_empty()),
        scheduled_for: row.moment("scheduled_for")?,
        labels: names(row, "labels")?,
        groups: names(row, "group_names")?,
        missed: row.count("missed")?,
    })
}

pub(super) fn job(row: &Row) -> Result<Job, sqlx::Error> {
    let unknown = |state: &str| sqlx::Error::Decode(format!("a job is `{state}`, which is no state").into());
    let at = || row.moment("ended");
    let message = || row.maybe_text("message").map(Option::unwrap_or_default);
    let state = match &*row.text("state")? {
        "free" => JobState::Free,
        "running" => JobState::Running { until: row.moment("claimed_until")? },
        "done" => {
            let code = u8::try_from(row.number("code")?).unwrap_or(u8::MAX);
            JobState::Ended { at: at()?, end: JobEnd::Done { code, message: message()? } }
        }
        "skipped" => JobState::Ended { at: at()?, end: JobEnd::Skipped { why: message()? } },
        "lost" => JobState::Lost { at: at()? },
        other => return Err(unknown(other)),
    };
    Ok(Job {
        id: row.number("id")?,
        due: due(row)?,
        state,
        worker: row.maybe_text("worker")?,
        attempt: row.count("attempt")?,
        entered: row.moment("entered")?,
    })
}

pub(super) fn list(names: &[String]) -> String {
    serde_json::Value::from(names.to_vec()).to_string()
}

fn names(row: &Row, column: &str) -> Result<Vec<String>, sqlx::Error> {
    serde_json::from_str(&row.text(column)?).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
