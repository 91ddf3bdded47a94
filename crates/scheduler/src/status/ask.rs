//! Asks the repositories of a policy what they have, and the catalog what happened.
//!
//! On purpose not here: what follows from it.

use super::ahead::is_ahead;
use super::deadline;
use super::slots::{self, Told};
use super::words::span;
use super::{Held, Known};
use crate::catalog::{Catalog, Last};
use crate::evidence::{RECORD_VERSION, Record};
use crate::hands::{Answer, Call, Hands, Place};
pub(super) use crate::lacking::Snapshot;
use crate::policy::{Activity, LogMode, Policy, REPOSITORY};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So long may one question to a repository take. One that hangs is noticed by what asks it only after a while that
/// suits a backup; here the next policy waits, and those who are to be told.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// So many lines that repositories said are kept for the next policy, which often has the same repository.
const LINES_KEPT_MAX: usize = 50_000;

/// Why nobody can tell what a repository has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The policy has no key with which this host could look: that is meant so.
    NotForThisHost,
    /// It could not be asked: a secret is not to be had here, or the like.
    NotAsked(String),
    /// It was asked, and the answer is bad: what, and what to do.
    Bad(String, String),
}

/// What a repository has.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// What the policy calls it.
    pub(super) name: String,
    pub(super) url: String,
    pub(super) snapshots: Result<Vec<Snapshot>, Trouble>,
    /// What holds stand there on something of the policy.
    pub(super) holds: Vec<Held>,
}

impl Repository {
    /// Its snapshots; none where they cannot be read.
    pub(super) fn known(&self) -> &[Snapshot] {
        self.snapshots.as_deref().unwrap_or_default()
    }
}

/// How far the log of clusters goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Logs {
    /// From which snapshots on it goes to its end, and when that was stored.
    pub(super) reaching: BTreeMap<String, Timestamp>,
    /// From which snapshots on it goes only up to a gap.
    pub(super) ending: BTreeSet<String>,
    /// The same as `reaching`, where that was stored at a time that is still to come.
    pub(super) ahead: BTreeMap<String, Timestamp>,
}

/// All that there is to judge by.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// This host.
    pub(super) here: String,
    /// The repository, then the copies.
    pub(super) places: Vec<Repository>,
    /// Drills, newest first.
    pub(super) drills: Vec<Record>,
    pub(super) logs: Logs,
    /// The last backups of each source, as this host remembers them.
    pub(super) backups: BTreeMap<String, Last>,
    /// What servers keep for slots.
    pub(super) slots: Vec<Told>,
    /// What could not be found out beside that, in words.
    pub(super) gaps: Vec<String>,
    /// What is stored and could not be read, in words. It may stay so, and so keeps nothing from being judged.
    pub(super) unread: Vec<String>,
}

impl Seen {
    pub(super) fn repository(&self) -> &Repository {
        // There always is one: it is the first that is asked.
        &self.places[0]
    }

    pub(super) fn copies(&self) -> &[Repository] {
        &self.places[1..]
    }
}

/// Whoever asks the same of the same repository for another policy has the answer already.
pub(super) struct Asked<'a> {
    hands: &'a dyn Hands,
    answers: Vec<(Call, Result<Answer, String>)>,
    /// How many lines of them there are.
    lines: usize,
}

impl<'a> Asked<'a> {
    pub(super) fn new(hands: &'a dyn Hands) -> Self {
        Self { hands, answers: Vec::new(), lines: 0 }
    }

    async fn verb(&mut self, call: Call) -> Result<Answer, String> {
        if let Some((_, answer)) = self.answers.iter().find(|(asked, _)| *asked == call) {
            return answer.clone();
        }
        let answer = self.hands.verb(call.clone()).await;
        let lines = answer.as_ref().map_or(0, |answer| answer.lines.len());
        // What is long is asked for again rather than kept.
        if self.lines + lines <= LINES_KEPT_MAX {
            self.lines += lines;
            self.answers.push((call, answer.clone()));
        }
        answer
    }
}

/// Asks all that there is to ask.
pub(super) async fn ask(asked: &mut Asked<'_>, known: &Known, memory: Option<&Catalog>) -> Seen {
    let policy = &known.policy;
    let mut seen = Seen {
        here: asked.hands.host(),
        places: Vec::new(),
        drills: Vec::new(),
        logs: Logs::default(),
        backups: BTreeMap::new(),
        slots: slots::ask(asked.hands, policy).await,
        gaps: Vec::new(),
        unread: Vec::new(),
    };
    remembered(policy, memory, &mut seen).await;
    for (name, url, place) in places(policy) {
        let snapshots = match &place {
            None => Err(Trouble::NotForThisHost),
            Some(place) => snapshots(asked, place, &mut seen.unread).await,
        };
        let readable = snapshots.is_ok();
        seen.places.push(Repository { name, url, snapshots, holds: Vec::new() });
        if let Some(place) = place.filter(|_| readable) {
            more(asked, policy, &place, &mut seen).await;
        }
    }
    seen.drills.sort_by(|a, b| b.ended.cmp(&a.ended).then_with(|| a.id.cmp(&b.id)));
    seen.drills.dedup_by(|a, b| a.id == b.id);
    seen
}

/// What the catalog knows. It is a help only: what it cannot say is told, and no more.
async fn remembered(policy: &Policy, memory: Option<&Catalog>, seen: &mut Seen) {
    let Some(memory) = memory else { return };
    for (name, _) in &policy.sources.0 {
        match memory.last(&policy.name, Some(name), "backup").await {
            Ok(last) => {
                seen.backups.insert(name.clone(), last);
            }
            Err(error) => return seen.gaps.push(error.to_string()),
        }
    }
    match memory.drills(&policy.name).await {
        Ok(drills) => seen.drills = drills,
        Err(error) => seen.gaps.push(error.to_string()),
    }
}

/// The repository and its copies, each with what opens it so that its snapshots can be listed, where
/// something does: the key that reads, or that maintains.
fn places(policy: &Policy) -> Vec<(String, String, Option<Place>)> {
    let one = |(name, url): (&str, &str)| {
        let place = policy.place(name, Activity::Read).or_else(|| policy.place(name, Activity::Maintain));
        (name.to_owned(), url.to_owned(), place)
    };
    let copies = policy.copies.iter().map(|copy| (&*copy.name, &*copy.url));
    std::iter::once((REPOSITORY, &*policy.repository.url)).chain(copies).map(one).collect()
}

/// Runs a verb; what it has to say, whole or with parts that could not be read.
async fn verb(asked: &mut Asked<'_>, place: &Place, words: &[&str]) -> Result<Answer, Trouble> {
    let call = Call { timeout: Some(ANSWER_MAX), ..Call::on(place, words) };
    let answer = asked.verb(call).await.map_err(Trouble::NotAsked)?;
    let (what, next) = answer.failure();
    match answer.code {
        0 | 3 => Ok(answer),
        // Whether it hangs or is slow nobody can tell from here.
        _ if answer.seconds >= ANSWER_MAX.as_secs_f64() => {
            let words = words.join(" ");
            Err(Trouble::NotAsked(format!("it did not answer `{words}` in {}", span(ANSWER_MAX))))
        }
        // It was not let to look: what it needs for that is not here, or somebody stopped it.
        2 | 130 => Err(Trouble::NotAsked(what)),
        _ => Err(Trouble::Bad(what, next)),
    }
}

async fn snapshots(
    asked: &mut Asked<'_>,
    place: &Place,
    unread: &mut Vec<String>,
) -> Result<Vec<Snapshot>, Trouble> {
    let answer = verb(asked, place, &["snapshots"]).await?;
    unread.extend(left_out(&answer).map(|why| partly(place, "its snapshots", &why)));
    let unread = || Trouble::NotAsked("a line of `snapshots --json` is not as it should be".to_owned());
    answer.all("snapshot").map(Snapshot::read).collect::<Option<_>>().ok_or_else(unread)
}

/// Why an answer lacks something, if it does: what is left out may be what matters.
fn left_out(answer: &Answer) -> Option<String> {
    (answer.code == 3).then(|| answer.failure().0).or_else(|| warning(answer))
}

/// The first thing that a verb warned of. What asks does so only of what it could not read, or does not believe.
fn warning(answer: &Answer) -> Option<String> {
    let mut warnings = answer.problems.iter().filter(|line| line["message_type"] == "warning");
    warnings.find_map(|line| line["message"].as_str()).map(str::to_owned)
}

fn partly(place: &Place, what: &str, why: &str) -> String {
    format!("{} ({}): not all of {what} could be read: {why}", place.name, place.url)
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// What is asked of a repository that can be read: evidence of each, holds where they matter, logs of the first.
async fn more(asked: &mut Asked<'_>, policy: &Policy, place: &Place, seen: &mut Seen) {
    match verb(asked, place, &["evidence", "show"]).await {
        Ok(answer) => {
            seen.drills.extend(answer.all("evidence").filter_map(|line| drill(line, &policy.name)));
            seen.unread.extend(left_out(&answer).map(|why| partly(place, "its evidence", &why)));
        }
        Err(trouble) => seen.gaps.push(gap(place, "its evidence", trouble)),
    }
    // A hold of a copy keeps what is there from its deadline; nothing else asks for it.
    if place.name == REPOSITORY || deadline::span(policy, &place.name).is_some() {
        holds(asked, policy, place, seen).await;
    }
    if place.name == REPOSITORY {
        logs_of(asked, policy, place, seen).await;
    }
}

/// The holds of the place that was looked at last.
async fn holds(asked: &mut Asked<'_>, policy: &Policy, place: &Place, seen: &mut Seen) {
    match verb(asked, place, &["hold"]).await {
        Ok(answer) => {
            let Some(there) = seen.places.last_mut() else { return };
            there.holds = answer.all("hold").filter_map(|line| held(line, policy, there.known())).collect();
            seen.unread.extend(left_out(&answer).map(|why| partly(place, "its holds", &why)));
        }
        Err(trouble) => seen.gaps.push(gap(place, "its holds", trouble)),
    }
}

async fn logs_of(asked: &mut Asked<'_>, policy: &Policy, place: &Place, seen: &mut Seen) {
    let keeps_log = |source: &crate::policy::Source| {
        source.postgres.as_ref().is_some_and(|postgres| postgres.wal != LogMode::Off)
    };
    if policy.sources.0.iter().any(|(_, source)| keeps_log(source)) {
        match verb(asked, place, &["wal", "status"]).await {
            Ok(answer) => {
                seen.logs = logs(&answer, asked.hands.now());
                // That it ends with 3 says that a log has gaps, which is judged for each source.
                seen.unread.extend(warning(&answer).map(|why| partly(place, "its logs of databases", &why)));
            }
            Err(trouble) => seen.gaps.push(gap(place, "its logs of databases", trouble)),
        }
    }
}

fn gap(place: &Place, what: &str, trouble: Trouble) -> String {
    let why = match trouble {
        Trouble::NotForThisHost => "it is not for this host".to_owned(),
        Trouble::NotAsked(why) | Trouble::Bad(why, _) => why,
    };
    format!("{} ({}): {what} cannot be read: {why}", place.name, place.url)
}

/// A drill of this policy, from a line of evidence.
fn drill(line: &Value, policy: &str) -> Option<Record> {
    let record: Record = serde_json::from_value(line["record"].clone()).ok()?;
    let ours = line["kind"] == "drill" && record.policy == policy && record.version <= RECORD_VERSION;
    Some(record).filter(|_| ours)
}

/// A hold that stands on something of this policy.
fn held(line: &Value, policy: &Policy, known: &[Snapshot]) -> Option<Held> {
    let prefix = format!("{}/", policy.name);
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let what = match line["scope"].as_str()? {
        "all" => "everything".to_owned(),
        "source" => text("source").starts_with(&prefix).then(|| text("source"))?,
        _ => {
            let mut held = known.iter().filter(|snapshot| snapshot.id == text("snapshot_id"));
            let snapshot = held.find(|snapshot| snapshot.source.starts_with(&prefix))?;
            format!("snapshot {} of {}", snapshot.id.get(..8)?, snapshot.source)
        }
    };
    Some(Held {
        id: text("short_id"),
        what,
        since: moment(&line["since"]),
        until: moment(&line["until"]),
        reason: text("reason"),
        line: line.clone(),
    })
}

fn logs(answer: &Answer, now: Timestamp) -> Logs {
    let whose = |line: &Value| (line["system"].to_string(), line["timeline"].to_string());
    let newest = answer.all("wal_timeline").filter_map(|line| Some((whose(line), moment(&line["newest"])?)));
    let newest: BTreeMap<_, _> = newest.collect();
    let mut logs = Logs::default();
    for line in answer.all("wal_window") {
        let Some(id) = line["snapshot_id"].as_str() else { continue };
        let stored = newest.get(&whose(line)).filter(|_| line["to_newest"] == true);
        match stored {
            Some(stored) => {
                let which = if is_ahead(*stored, now) { &mut logs.ahead } else { &mut logs.reaching };
                let reaches = which.entry(id.to_owned()).or_insert(*stored);
                *reaches = (*reaches).max(*stored);
            }
            None => {
                logs.ending.insert(id.to_owned());
            }
        }
    }
    // One that goes on along any timeline goes on.
    let Logs { reaching, ending, ahead } = &mut logs;
    ending.retain(|id| !reaching.contains_key(id) && !ahead.contains_key(id));
    logs
}
