//! Makes up for a catalog that was lost, from what repositories have: snapshots say when sources were
//! last backed up, evidence which drills there were.
//!
//! What cannot be read is told; then a time that was done may be done once more, and none is left out:
//! what has no past is due, as a policy that never ran. On purpose not here: when a catalog is new, and
//! what is due.

use super::{Catalog, CatalogError, Due, JobEnd, Run, RunEnd};
use crate::hands::{Answer, Call, Hands, Place};
use crate::policy::{Activity, Policy, REPOSITORY};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// What was made up for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Policies of which nothing was known and something was found.
    pub policies: Vec<String>,
    /// Drills of them.
    pub drills: u64,
    /// What could not be found out, in words.
    pub gaps: Vec<String>,
}

/// The newest snapshot of something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Newest {
    id: String,
    time: Timestamp,
    ended: Timestamp,
    incomplete: bool,
}

/// What the repositories of a policy say.
#[derive(Debug, Default)]
struct Found {
    /// By the names of sources.
    sources: BTreeMap<String, Newest>,
    /// By the names of copies.
    copies: BTreeMap<String, Newest>,
    /// Records of drills, and when each began.
    drills: Vec<(Timestamp, String)>,
}

/// Looks at the repositories of those policies of which the catalog knows no job, and remembers what
/// they say of the past. May be done as often as one likes, by several workers at once.
///
/// # Errors
/// The catalog cannot be read or written. What repositories do not tell is no error.
pub async fn rebuild(
    catalog: &Catalog,
    hands: &dyn Hands,
    policies: &[&Policy],
) -> Result<Rebuilt, CatalogError> {
    let mut rebuilt = Rebuilt::default();
    for policy in policies {
        if !catalog.jobs(&policy.name, 1).await?.is_empty() {
            continue;
        }
        let found = look(hands, policy, &mut rebuilt.gaps).await;
        for (_, record) in &found.drills {
            // One that this version cannot read is no drill to it.
            match catalog.remember_drill(record).await {
                Ok(()) => rebuilt.drills += 1,
                Err(CatalogError::NoRecord { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        runs(catalog, policy, &found).await?;
        let past = past(policy, &found);
        if !past.is_empty() {
            rebuilt.policies.push(policy.name.clone());
        }
        catalog.enter_ended(&past, hands.now()).await?;
    }
    Ok(rebuilt)
}

/// Asks each place that can be read here.
async fn look(hands: &dyn Hands, policy: &Policy, gaps: &mut Vec<String>) -> Found {
    let mut found = Found::default();
    for name in policy.places() {
        let place = policy.place(name, Activity::Read).or_else(|| policy.place(name, Activity::Maintain));
        // Without a key it is meant for another host.
        let Some(place) = place else { continue };
        for (words, what) in [(&["snapshots"][..], "snapshots"), (&["evidence", "show"], "evidence")] {
            match verb(hands, &place, words, is_made(policy, name)).await {
                Ok(answer) => found.take_in(policy, &place.name, &answer),
                Err(why) => {
                    gaps.push(format!("{}: {what} of {} cannot be read: {why}", policy.name, place.name));
                }
            }
        }
    }
    found.drills.sort();
    found.drills.dedup();
    found
}

/// Whether a policy makes a repository that is not there yet.
fn is_made(policy: &Policy, place: &str) -> bool {
    let copy = policy.copies.iter().find(|copy| copy.name == place);
    copy.map_or(policy.repository.create, |copy| copy.create)
}

/// Asks a repository. One that is to be made has no past.
async fn verb(hands: &dyn Hands, place: &Place, words: &[&str], is_made: bool) -> Result<Answer, String> {
    let answer = hands.verb(Call::on(place, words)).await?;
    match answer.code {
        0 | 3 => Ok(answer),
        10 if is_made => Ok(Answer::default()),
        _ => Err(answer.failure().0),
    }
}

impl Found {
    fn take_in(&mut self, policy: &Policy, place: &str, answer: &Answer) {
        for line in answer.all("snapshot") {
            let label = line["source"].as_str().unwrap_or_default();
            let of = policy.sources.0.iter().find(|(name, _)| policy.label(name) == label);
            let Some(((source, _), newest)) = of.zip(newest(line)) else { continue };
            keep(&mut self.sources, source, &newest);
            if place != REPOSITORY {
                keep(&mut self.copies, place, &newest);
            }
        }
        let drills = answer.all("evidence").filter(|line| line["kind"] == "drill");
        self.drills.extend(drills.map(|line| &line["record"]).filter_map(|record| {
            let started = moment(&record["started"]).filter(|_| record["policy"] == policy.name.as_str())?;
            Some((started, record.to_string()))
        }));
    }
}

fn keep(all: &mut BTreeMap<String, Newest>, name: &str, one: &Newest) {
    if all.get(name).is_none_or(|known| known.time < one.time) {
        all.insert(name.to_owned(), one.clone());
    }
}

fn newest(line: &Value) -> Option<Newest> {
    let time = moment(&line["time"])?;
    Some(Newest {
        id: line["id"].as_str()?.to_owned(),
        time,
        ended: moment(&line["summary"]["backup_end"]).unwrap_or(time),
        incomplete: line["incomplete"].as_bool().unwrap_or(false),
    })
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Remembers the last backup of each source, and the last copy: that there was a repository is known
/// then also where its disk is missing.
async fn runs(catalog: &Catalog, policy: &Policy, found: &Found) -> Result<(), CatalogError> {
    let backups = found.sources.iter().map(|(name, newest)| ("backup", name, newest));
    let copies = found.copies.iter().map(|(name, newest)| ("copy", name, newest));
    for (activity, source, newest) in backups.chain(copies) {
        let last = catalog.last(&policy.name, Some(source), activity).await?;
        let known =
            [last.good, last.failed, last.open].into_iter().flatten().map(|ran| ran.run.started).max();
        if known.is_some_and(|known| known >= newest.time) {
            continue;
        }
        let run = Run {
            policy: policy.name.clone(),
            source: Some(source.clone()),
            activity: activity.to_owned(),
            started: newest.time,
        };
        let (code, message) = match newest.incomplete {
            true => (3, "something could not be read".to_owned()),
            false => (0, String::new()),
        };
        let end = RunEnd { ended: newest.ended, code, message, snapshot: Some(newest.id.clone()) };
        let number = catalog.begin(&run).await?;
        catalog.end(number, &end).await?;
    }
    Ok(())
}

/// The jobs that must have been: of sources with times of their own, of the others together, and the
/// last drill. What was begun at a moment was for a time before it, so the moment stands for that.
fn past(policy: &Policy, found: &Found) -> Vec<(Due, JobEnd)> {
    let is_own = |name: &String| policy.sources.get(name).is_some_and(|source| source.schedule.is_some());
    let (own, common): (Vec<_>, Vec<_>) = found.sources.iter().partition(|(name, _)| is_own(name));
    let mut past = Vec::new();
    if let Some((_, newest)) = common.into_iter().max_by_key(|(_, newest)| newest.time) {
        past.push(job(policy, "run", None, newest.time, &snapshot(newest)));
    }
    for (name, newest) in own {
        past.push(job(policy, "run", Some(name), newest.time, &snapshot(newest)));
    }
    if let Some((started, _)) = found.drills.last() {
        past.push(job(policy, "drill", None, *started, "its record"));
    }
    past
}

fn snapshot(newest: &Newest) -> String {
    format!("snapshot {}", newest.id.get(..8).unwrap_or(&newest.id))
}

fn job(policy: &Policy, activity: &str, source: Option<&String>, at: Timestamp, by: &str) -> (Due, JobEnd) {
    let due = Due {
        policy: policy.name.clone(),
        activity: activity.to_owned(),
        source: source.cloned(),
        scheduled_for: at,
        labels: Vec::new(),
        groups: Vec::new(),
        missed: 0,
    };
    (due, JobEnd::Done { code: 0, message: format!("known by {by}: the catalog was made anew") })
}
