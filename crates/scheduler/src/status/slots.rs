//! What servers keep for the slots of streams: a slot that nobody reads fills production's disk.
//!
//! A server that does not answer is no reason to wait, and none to say that all is well. On purpose
//! not here: dropping a slot.

use super::problem::{Problem, run};
use super::words::{kept_of, quoted};
use super::{Known, SlotState, State};
use crate::hands::{Answer, Call, Hands};
use crate::policy::{Activity, LogMode, Policy, Postgres, REPOSITORY};
use crate::run::words::passfile;
use futures::future::join_all;
use std::ffi::OsString;
use std::time::Duration;

/// A server has so long to answer; then it is asked no more.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long may the asking take in all, were the verb itself to hang.
const PATIENCE_WITH_VERB: Duration = Duration::from_secs(15);

/// What a server says of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// So many bytes, and how many it lets a slot keep at most.
    Bytes(u64, Option<u64>),
    /// It let go of what the slot kept, or nobody used it yet.
    Nothing,
    /// There is no such slot.
    Missing,
    /// Nobody can tell: why.
    Unseen(String),
}

/// The slot of a source, and what was said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    source: String,
    slot: String,
    url: String,
    host: String,
    stated: Option<u64>,
    kept: Kept,
}

/// Asks each server of a policy whose log is streamed by a slot, all at once.
pub(super) async fn ask(hands: &dyn Hands, policy: &Policy) -> Vec<Told> {
    let slots = policy.sources.0.iter().filter_map(|(name, source)| {
        let postgres = source.postgres.as_ref().filter(|postgres| postgres.wal == LogMode::Stream)?;
        Some((name.as_str(), postgres, postgres.slot.as_deref()?))
    });
    join_all(slots.map(|(name, postgres, slot)| one(hands, name, postgres, slot))).await
}

async fn one(hands: &dyn Hands, name: &str, postgres: &Postgres, slot: &str) -> Told {
    let patience = format!("--timeout={}s", PATIENCE.as_secs());
    let mut words: Vec<OsString> = ["wal", "slot"].map(OsString::from).to_vec();
    words.extend([format!("--slot={slot}"), patience, "--".into(), postgres.url.clone()].map(OsString::from));
    let env = passfile(postgres).into_iter().collect();
    let call = Call { words, env, timeout: Some(PATIENCE_WITH_VERB), ..Call::default() };
    let (host, kept) = match hands.verb(call).await {
        Err(why) => (None, Kept::Unseen(why)),
        Ok(answer) => read(&answer),
    };
    Told {
        source: name.to_owned(),
        slot: slot.to_owned(),
        url: postgres.url.clone(),
        host: host.unwrap_or_else(|| host_of(&postgres.url)),
        stated: postgres.slot_limit.map(|limit| limit.0),
        kept,
    }
}

fn read(answer: &Answer) -> (Option<String>, Kept) {
    let Some(line) = answer.line("slot").filter(|_| answer.is_ok()) else {
        return (None, Kept::Unseen(answer.failure().0));
    };
    let host = line["host"].as_str().map(|host| host.trim_end_matches(":5432").to_owned());
    let kept = match (line["state"].as_str(), line["retained_bytes"].as_u64()) {
        (Some("keeps"), Some(bytes)) => Kept::Bytes(bytes, line["limit_bytes"].as_u64()),
        (Some("nothing"), _) => Kept::Nothing,
        (Some("missing"), _) => Kept::Missing,
        _ => Kept::Unseen("a server before 15 does not say what a slot keeps".to_owned()),
    };
    (host, kept)
}

/// The servers that a URL names, without who asks them and how.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let servers = rest[..end].rsplit('@').next().unwrap_or_default();
    if servers.is_empty() { "this host".to_owned() } else { servers.to_owned() }
}

/// How the slots of a policy stand, and what is wrong with each.
pub(super) fn judge(known: &Known, told: &[Told]) -> Vec<(SlotState, Option<Problem>)> {
    told.iter().map(|told| one_judged(known, told)).collect()
}

fn one_judged(known: &Known, told: &Told) -> (SlotState, Option<Problem>) {
    let Told { source, slot, host, stated, kept, .. } = told;
    let mut state = SlotState {
        policy: known.policy.name.clone(),
        source: source.clone(),
        slot: slot.clone(),
        host: host.clone(),
        state: Some(State::Ok),
        kept: None,
        limit: *stated,
        says: String::new(),
    };
    let problem = match kept {
        Kept::Bytes(bytes, most) => {
            state.kept = Some(*bytes);
            state.limit = [*stated, *most].into_iter().flatten().min();
            filling(known, told, *bytes, state.limit)
        }
        Kept::Nothing => {
            state.says = "keeps nothing".to_owned();
            Some(lost(known, told))
        }
        Kept::Missing => {
            state.says = "is not there".to_owned();
            Some(missing(known, told))
        }
        Kept::Unseen(why) => {
            state.says = format!("cannot tell: {why}");
            unseen(known, told, why)
        }
    };
    let seen = !matches!(kept, Kept::Unseen(_));
    state.state = problem.as_ref().map(|problem| problem.state).or(seen.then_some(State::Ok));
    (state, problem)
}

fn stream(told: &Told) -> String {
    format!("holdfast wal stream {} --slot {}", quoted(&told.url), told.slot)
}

fn look(told: &Told) -> String {
    format!("holdfast wal slot {} --slot {}", quoted(&told.url), told.slot)
}

/// Half of what it may be is a warning; at four fifths somebody has to get up.
fn filling(known: &Known, told: &Told, bytes: u64, most: Option<u64>) -> Option<Problem> {
    let most = most.filter(|most| *most > 0)?;
    let percent = u128::from(bytes) * 100 / u128::from(most);
    let state = match percent {
        0..50 => return None,
        50..80 => State::Warning,
        _ => State::High,
    };
    let (name, Told { source, slot, host, .. }) = (&known.policy.name, told);
    let kept = kept_of(bytes, Some(most));
    let what = format!(
        "{name}/{source}: the slot {slot} on {host} keeps {kept}. Beyond that the server lets go of it, and log is lost."
    );
    let problem = Problem::new(state, "slot-fills", name, what).of(source);
    Some(
        problem
            .why("what is kept for a slot was not fetched: the stream does not run, or cannot keep pace")
            .then(
                format!("see to what runs `{}` ; then: {}", stream(told), look(told)),
                "drop the slot before its log is stored: that leaves a gap",
            )
            .back("not affected by this, up to the last log that was stored"),
    )
}

fn lost(known: &Known, told: &Told) -> Problem {
    let (name, Told { source, slot, host, .. }) = (&known.policy.name, told);
    let what = format!(
        "{name}/{source}: the slot {slot} on {host} keeps nothing. The log since its last use may be lost."
    );
    Problem::new(State::High, "slot-lost", name, what)
        .of(source)
        .why("the server let go of what it kept (max_slot_wal_keep_size), or nobody streams by it yet")
        .then(
            format!("holdfast wal status ; then: {}", run(known, source)),
            "count on moments behind the last log that was stored",
        )
        .back("to any moment before the gap that `holdfast wal status` shows")
}

fn missing(known: &Known, told: &Told) -> Problem {
    let (name, Told { source, slot, host, .. }) = (&known.policy.name, told);
    let what = format!("{name}/{source}: there is no slot {slot} on {host}: log can go before it is stored.");
    Problem::new(State::Warning, "slot-missing", name, what)
        .of(source)
        .why("nobody made it yet, somebody dropped it, or this server took the place of another")
        .then(
            format!("{} --create-slot", stream(told)),
            "trust the log before `holdfast wal status` shows no gap",
        )
        .back("not affected by this, up to the last log that was stored")
}

/// A host that backs up is meant to reach the server; of another one it says nothing.
fn unseen(known: &Known, told: &Told, why: &str) -> Option<Problem> {
    known.policy.place(REPOSITORY, Activity::Backup)?;
    let (name, Told { source, slot, host, .. }) = (&known.policy.name, told);
    let what = format!("{name}/{source}: nobody can tell what the slot {slot} on {host} keeps.");
    let problem = Problem::new(State::Warning, "slot-unseen", name, what).of(source).why(why);
    Some(
        problem
            .then(look(told), "take it for granted that the server's disk has room")
            .back("not affected by this"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_servers() {
        for (url, host) in [
            ("postgres://backup@db1/", "db1"),
            ("postgres://backup@db1:5433,db2?sslmode=x", "db1:5433,db2"),
            ("postgres:///?host=/run/postgresql", "this host"),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
