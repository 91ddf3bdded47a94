//! What the repositories of a policy say of the past.
//!
//! On purpose not here: what follows from it.

use super::Surroundings;
use crate::evidence::{RECORD_VERSION, Record};
use crate::hands::{Answer, Call, Hands, Place};
use crate::policy::{Activity, LogMode, Policy, Source};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

/// A plan does not wait longer for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many of the last backups tell what one stores.
const BACKUPS_MAX: usize = 10;

/// A snapshot that a drill would take: the newest whole one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Newest {
    pub(super) id: String,
    pub(super) ended: Timestamp,
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// The log behind a snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Log {
    /// From the end of the snapshot to the newest, in bytes as the server wrote them.
    pub(super) bytes: u64,
    /// When the newest was stored.
    pub(super) newest: Option<Timestamp>,
    /// The same as it is stored, by the share that all of that log takes.
    pub(super) stored: u64,
    /// How many objects that are, at least.
    pub(super) objects: u64,
}

/// What a restore of a snapshot fetches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fetched {
    pub(super) bytes: u64,
    pub(super) requests: u64,
}

/// What is known of a source.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct OfSource {
    pub(super) newest: Option<Newest>,
    /// What its last backups stored each, in bytes, newest first.
    pub(super) stored: Vec<u64>,
    /// Those are of first backups, which store all of it.
    pub(super) is_first: bool,
    pub(super) log: Option<Log>,
    pub(super) fetched: Option<Fetched>,
}

/// What is known at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// By the names of sources.
    pub(super) sources: BTreeMap<String, OfSource>,
    /// The name of the repository that it is known from; none if none could be read.
    pub(super) from: Option<String>,
    /// Drills, newest first.
    pub(super) drills: Vec<Record>,
}

impl Seen {
    pub(super) fn of(&self, name: &str) -> OfSource {
        self.sources.get(name).cloned().unwrap_or_default()
    }
}

/// Asks the first of its repositories that can be read here; and all of them for drills.
pub(super) async fn look(
    hands: &dyn Hands,
    policy: &Policy,
    here: &Surroundings,
    unseen: &mut Vec<String>,
) -> Seen {
    let mut seen = Seen::default();
    for name in policy.places() {
        let place = policy.place(name, Activity::Read).or_else(|| policy.place(name, Activity::Maintain));
        let Some(place) = place else {
            unseen.push(format!("{name}: no key on this host reads it"));
            continue;
        };
        if seen.from.is_none() {
            match verb(hands, &place, &["snapshots"]).await {
                Err(why) => {
                    unseen.push(format!("{name} ({}): {why}", place.url));
                    continue;
                }
                Ok(answer) => {
                    seen.from = Some(name.to_owned());
                    of_sources(hands, policy, here, &place, &answer, &mut seen, unseen).await;
                }
            }
        }
        match verb(hands, &place, &["evidence", "show"]).await {
            Err(why) => unseen.push(format!("{name}: its drills: {why}")),
            Ok(answer) => seen.drills.extend(answer.all("evidence").filter_map(|line| drill(line, policy))),
        }
    }
    seen.drills.sort_by_key(|drill| std::cmp::Reverse(drill.ended));
    seen
}

async fn verb(hands: &dyn Hands, place: &Place, words: &[&str]) -> Result<Answer, String> {
    asked(hands, place, words.iter().map(OsString::from).collect()).await
}

async fn asked(hands: &dyn Hands, place: &Place, words: Vec<OsString>) -> Result<Answer, String> {
    let call = Call { timeout: Some(PATIENCE), ..Call::on(place, words) };
    let answer = hands.verb(call).await?;
    match answer.code {
        0 | 3 => Ok(answer),
        _ => Err(answer.failure().0),
    }
}

async fn of_sources(
    hands: &dyn Hands,
    policy: &Policy,
    here: &Surroundings,
    place: &Place,
    listed: &Answer,
    seen: &mut Seen,
    unseen: &mut Vec<String>,
) {
    let has_log = policy.sources.0.iter().any(|(_, source)| keeps_log(source));
    let logs = match has_log {
        false => None,
        true => match verb(hands, place, &["wal", "status"]).await {
            Ok(answer) => Some(answer),
            Err(why) => {
                unseen.push(format!("{}: its logs of databases: {why}", place.name));
                None
            }
        },
    };
    let drilled = policy.drill.as_ref().map(|drill| &drill.sources);
    for (name, source) in &policy.sources.0 {
        let mut of = of_source(listed, &policy.label(name));
        if let Some(newest) = &of.newest {
            let facts = facts(hands, place, source, &newest.id).await.unwrap_or_else(|why| {
                unseen.push(format!("what was recorded beside the newest snapshot of {name}: {why}"));
                BTreeMap::new()
            });
            of.log = logs.as_ref().filter(|_| keeps_log(source)).and_then(|logs| log_behind(logs, &facts));
            if drilled.is_some_and(|drilled| drilled.is_empty() || drilled.contains(name)) {
                match fetched(hands, place, source, (&newest.id, &facts), here).await {
                    Ok(fetched) => of.fetched = Some(fetched),
                    Err(why) => unseen.push(format!("what a restore of {name} fetches: {why}")),
                }
            }
        }
        seen.sources.insert(name.clone(), of);
    }
}

pub(super) fn keeps_log(source: &Source) -> bool {
    let cluster = source.postgres.as_ref();
    cluster.is_some_and(|postgres| postgres.wal != LogMode::Off && postgres.logical.is_none())
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn of_source(listed: &Answer, label: &str) -> OfSource {
    let mut lines: Vec<_> = listed.all("snapshot").filter(|line| line["source"] == label).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(moment(&line["time"])));
    let number = |line: &Value, field: &str| line["summary"][field].as_u64().unwrap_or_default();
    let newest = lines.iter().find(|line| line["incomplete"] == false).and_then(|line| {
        Some(Newest {
            id: line["id"].as_str()?.to_owned(),
            ended: moment(&line["summary"]["backup_end"]).or_else(|| moment(&line["time"]))?,
            bytes: number(line, "total_bytes_processed"),
            files: number(line, "total_files_processed"),
        })
    });
    // The first backup of all stores everything; as soon as there are others it says nothing of the next.
    let later: Vec<_> = lines.iter().filter(|line| line["parent"].is_string()).collect();
    let is_first = later.is_empty();
    let telling = if is_first { lines.iter().collect() } else { later };
    let stored = telling.iter().take(BACKUPS_MAX).map(|line| number(line, "data_added_packed")).collect();
    OfSource { newest, stored, is_first, ..OfSource::default() }
}

/// A place in a log, as servers write it: two numbers with 32 bits each.
fn place_in_log(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

/// What was recorded beside a snapshot of a cluster; nothing of anything else.
async fn facts(
    hands: &dyn Hands,
    place: &Place,
    source: &Source,
    id: &str,
) -> Result<BTreeMap<String, String>, String> {
    if source.postgres.as_ref().is_none_or(|postgres| postgres.logical.is_some()) {
        return Ok(BTreeMap::new());
    }
    let answer = verb(hands, place, &["snapshots", "--facts", id]).await?;
    let told = answer.line("snapshot").and_then(|line| line["facts"].as_object());
    let told = told.into_iter().flatten();
    Ok(told.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
}

/// The log that leads from the end of a snapshot to the newest; of several timelines the one that goes
/// furthest. A window begins with the oldest snapshot that leads into it; later ones lie within.
fn log_behind(logs: &Answer, facts: &BTreeMap<String, String>) -> Option<Log> {
    let (system, stop) = (facts.get("system identifier")?, place_in_log(facts.get("stop LSN")?)?);
    let at = |line: &Value, field: &str| line[field].as_str().and_then(place_in_log);
    let is_within = |line: &&Value| {
        line["system"] == system.as_str()
            && line["to_newest"] == true
            && at(line, "from_lsn").is_some_and(|from| from <= stop)
            && at(line, "to_lsn").is_some_and(|to| stop <= to)
    };
    let windows = logs.all("wal_window").filter(is_within);
    let log = |window: &Value| {
        let bytes = at(window, "to_lsn")?.saturating_sub(stop);
        let is_its =
            |line: &&Value| line["system"] == window["system"] && line["timeline"] == window["timeline"];
        let line = logs.all("wal_timeline").find(is_its)?;
        let (segments, all) = (line["segments"].as_u64()?.max(1), line["stored_bytes"].as_u64()?);
        // Segments are 16 MiB but for few clusters; where they are not, these figures are off by as much.
        let objects = bytes.div_ceil(SEGMENT_BYTES);
        Some(Log { bytes, newest: moment(&line["newest"]), stored: all / segments * objects, objects })
    };
    windows.filter_map(log).max_by_key(|log| log.bytes)
}

/// The usual length of a segment.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Rehearses a restore: nothing is fetched and nothing written.
async fn fetched(
    hands: &dyn Hands,
    place: &Place,
    source: &Source,
    (id, facts): (&str, &BTreeMap<String, String>),
    here: &Surroundings,
) -> Result<Fetched, String> {
    let target = &here.nowhere;
    let mut words: Vec<OsString> = vec!["restore".into(), id.into(), "--target".into(), target.into()];
    words.push("--dry-run".into());
    if source.postgres.as_ref().is_some_and(|postgres| postgres.logical.is_none()) {
        words.extend(["--to", "immediate", "--then", "promote", "--without-restore-command"].map(Into::into));
        for name in facts.keys().filter_map(|name| name.strip_prefix("tablespace ")) {
            let mut map = OsString::from(format!("{name}="));
            map.push(target.with_extension(format!("space-{name}")));
            words.extend(["--tablespace-map".into(), map]);
        }
    }
    let answer = asked(hands, place, words).await?;
    let line = answer.line("summary").ok_or("it did not say so")?;
    let number = |field: &str| line[field].as_u64().unwrap_or_default();
    Ok(Fetched { bytes: number("bytes_fetched"), requests: number("ranges_fetched") })
}

/// A drill of this policy, from a line of evidence.
fn drill(line: &Value, policy: &Policy) -> Option<Record> {
    let record: Record = serde_json::from_value(line["record"].clone()).ok()?;
    Some(record).filter(|record| record.policy == policy.name && record.version <= RECORD_VERSION)
}
