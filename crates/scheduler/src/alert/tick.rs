//! One look at what is to be told, and telling it: what `serve` does each minute, and `run` and `drill` at
//! their ends.
//!
//! Whatever goes wrong with one policy or channel keeps no other from being told. On purpose not here:
//! looking at how things stand, which is handed in.

use super::blind::Sight;
use super::channel::{Channel, channels, widest};
use super::decide::{Input, decide};
use super::digest::Of;
use super::message::of_alert;
use super::stored::{Silence, Stored};
use super::{Outcome, Post, digest, outbox, test_message};
use crate::catalog::{Catalog, CatalogError, Entry, Ways};
use crate::policy::Notify;
use crate::schedule::zone;
use crate::status::{Known, Problem, State, Status};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ticked {
    /// How many messages were put to be told.
    pub put: u64,
    /// How many somebody took.
    pub delivered: u64,
    /// What did not work, in words for people.
    pub troubles: Vec<String>,
}

/// A policy, as much of it as is known.
struct About<'a> {
    name: &'a str,
    /// Itself; none where it cannot be read.
    known: Option<&'a Known>,
    channels: Vec<Channel>,
    zone: TimeZone,
}

/// Looks at what is to be told, and tells it.
pub async fn tick(
    post: &dyn Post,
    catalog: &Catalog,
    known: &[Known],
    status: &Status,
    now: Timestamp,
) -> Ticked {
    let mut ticked = Ticked::default();
    for known in known {
        let mut about = about(known);
        if let Err(error) = remember(catalog, &about).await {
            ticked.troubles.push(format!("{}: {error}", known.policy.name));
        }
        of_policy(post, catalog, status, &mut about, now, &mut ticked).await;
        beat(post, catalog, known, status, &mut ticked).await;
    }
    let unreadable = status.problems.iter().filter(|problem| problem.condition == "policy-unreadable");
    for problem in unreadable.filter(|problem| known.iter().all(|known| known.policy.name != problem.policy))
    {
        match remembered(catalog, &problem.policy).await {
            Ok(mut about) => of_policy(post, catalog, status, &mut about, now, &mut ticked).await,
            Err(error) => ticked.troubles.push(format!("{}: {error}", problem.policy)),
        }
    }
    // There is no more to forget than there was to remember.
    if ticked.put + ticked.delivered > 0
        && let Err(error) = catalog.sweep_alerts(post.now()).await
    {
        ticked.troubles.push(error.to_string());
    }
    ticked
}

fn about(known: &Known) -> About<'_> {
    let policy = &known.policy;
    let (channels, zone) = (channels(&policy.notify), test_message::zone_of(policy));
    About { name: &policy.name, known: Some(known), channels, zone }
}

/// Remembers how a policy tells, for the day on which it cannot be read.
async fn remember(catalog: &Catalog, about: &About<'_>) -> Result<(), CatalogError> {
    let ways: Vec<Kept> = about.channels.iter().map(|channel| Kept::from(&channel.way)).collect();
    let ways = serde_json::to_string(&ways).unwrap_or_default();
    let zone = about.zone.iana_name().unwrap_or("UTC").to_owned();
    let ways = Ways { ways, zone };
    match catalog.ways(about.name).await?.as_ref() == Some(&ways) {
        true => Ok(()),
        false => catalog.remember_ways(about.name, &ways).await,
    }
}

/// A policy that cannot be read, as far as it is remembered.
async fn remembered<'a>(catalog: &Catalog, name: &'a str) -> Result<About<'a>, CatalogError> {
    let ways = catalog.ways(name).await?;
    let read = ways.as_ref().and_then(|ways| serde_json::from_str::<Vec<Kept>>(&ways.ways).ok());
    let read: Vec<Notify> = read.unwrap_or_default().into_iter().map(Notify::from).collect();
    let zone = ways.and_then(|ways| zone(Some(&ways.zone)).ok()).unwrap_or(TimeZone::UTC);
    Ok(About { name, known: None, channels: channels(&read), zone })
}

/// An entry as it is remembered: settled, as nobody can settle it later, and with what it is known by.
#[derive(Serialize, Deserialize)]
struct Kept {
    written: String,
    way: Notify,
}

impl From<&Notify> for Kept {
    fn from(way: &Notify) -> Self {
        Self { written: way.as_written(), way: way.clone() }
    }
}

impl From<Kept> for Notify {
    fn from(Kept { written, way }: Kept) -> Self {
        Self { written: Some(written), ..way }
    }
}

async fn of_policy(
    post: &dyn Post,
    catalog: &Catalog,
    status: &Status,
    about: &mut About<'_>,
    now: Timestamp,
    ticked: &mut Ticked,
) {
    match put(post, catalog, status, about, now).await {
        Ok(put) => ticked.put += put,
        Err(error) => ticked.troubles.push(format!("{}: {error}", about.name)),
    }
    carry(post, catalog, about, ticked).await;
}

/// Tells what waits since an earlier look and is to be tried again by now.
pub async fn retry(post: &dyn Post, catalog: &Catalog, known: &[Known]) -> Ticked {
    let mut ticked = Ticked::default();
    for known in known {
        carry(post, catalog, &about(known), &mut ticked).await;
    }
    ticked
}

async fn carry(post: &dyn Post, catalog: &Catalog, about: &About<'_>, ticked: &mut Ticked) {
    let mut carried = Vec::new();
    for channel in &about.channels {
        carried.push(outbox::carry(post, catalog, about.name, channel));
    }
    // A channel that does not answer keeps no other waiting.
    for carried in futures::future::join_all(carried).await {
        match carried {
            Ok(carried) => {
                ticked.delivered += carried.delivered;
                ticked.troubles.extend(carried.troubles.iter().map(|why| format!("{}: {why}", about.name)));
            }
            Err(error) => ticked.troubles.push(format!("{}: {error}", about.name)),
        }
    }
}

/// Decides what is to be told, and puts it where it waits.
async fn put(
    post: &dyn Post,
    catalog: &Catalog,
    status: &Status,
    about: &About<'_>,
    now: Timestamp,
) -> Result<u64, CatalogError> {
    let silences = catalog.silences(now).await?;
    let seen = catalog.alerts(about.name).await?;
    let stored: Vec<Stored> = seen.iter().map(|(alert, _)| alert.clone()).collect();
    let problems: Vec<&Problem> = status.problems.iter().filter(|one| one.policy == about.name).collect();
    let input = Input {
        now,
        problems: &problems,
        sight: Sight::new(status, about.name),
        stored: &stored,
        silences: &silences,
        channels: &about.channels,
    };
    let mut put = 0;
    for step in decide(&input) {
        let version = seen.iter().find(|(one, _)| one.fingerprint == step.alert.fingerprint);
        let entries: Vec<Entry> = step
            .told
            .iter()
            .map(|told| Entry {
                channel: told.channel.clone(),
                message: of_alert(&step.alert, told, now, &about.zone),
            })
            .collect();
        // Where somebody else was faster, they tell it.
        let version = version.map(|(_, version)| *version);
        if catalog.keep_alert(&step.alert, version, &entries, post.now()).await? {
            put += entries.len() as u64;
        }
    }
    let kept: Vec<&str> = about.channels.iter().map(|channel| channel.id.as_str()).collect();
    catalog.withdraw(about.name, &kept, post.now()).await?;
    Ok(put + by_itself(post, catalog, status, about, &silences, now).await?)
}

/// What goes by itself: the digest of the week, the test of the month.
async fn by_itself(
    post: &dyn Post,
    catalog: &Catalog,
    status: &Status,
    about: &About<'_>,
    silences: &[Silence],
    now: Timestamp,
) -> Result<u64, CatalogError> {
    let Some(known) = about.known.filter(|_| !about.channels.is_empty()) else { return Ok(0) };
    let mut entries = Vec::new();
    if let Some(due) = test_message::due(known, now) {
        for channel in &about.channels {
            let id = test_message::id(about.name, due, channel);
            if !catalog.has_message(&id).await? {
                let message = test_message::message(about.name, id, channel, now, &about.zone);
                entries.push(Entry { channel: channel.id.clone(), message });
            }
        }
    }
    let mut facts = None;
    if let Some(due) = digest::due(known, now) {
        for channel in widest(&about.channels) {
            let id = digest::id(about.name, due, channel);
            if catalog.has_message(&id).await? {
                continue;
            }
            if facts.is_none() {
                facts = Some(post.facts(known).await);
            }
            let alerts: Vec<Stored> =
                catalog.alerts(about.name).await?.into_iter().map(|(one, _)| one).collect();
            let facts = facts.clone().unwrap_or_default();
            let of = Of { known, status, facts: &facts, alerts: &alerts, silences, zone: &about.zone };
            entries.push(Entry { channel: channel.id.clone(), message: digest::write(of, id, now) });
        }
    }
    if entries.is_empty() { Ok(0) } else { catalog.enqueue(&entries, post.now()).await }
}

/// Calls the address that is called while all is well.
async fn beat(post: &dyn Post, catalog: &Catalog, known: &Known, status: &Status, ticked: &mut Ticked) {
    let name = &known.policy.name;
    let Some(heartbeat) = known.policy.heartbeat.as_ref().filter(|_| is_within_promise(known, status)) else {
        return;
    };
    match is_told_otherwise(catalog, name).await {
        Ok(false) => {}
        Ok(true) => return,
        Err(error) => {
            return ticked.troubles.push(format!("{name}: there was no heartbeat: {error}"));
        }
    }
    match post.beat(heartbeat).await {
        Outcome::Delivered => {}
        Outcome::TryAgain { why, .. } | Outcome::Refused { why } | Outcome::Never { why } => {
            ticked.troubles.push(format!("{name}: the heartbeat did not arrive: {why}"));
        }
    }
}

/// Whether an alert stands that backups are not as young as was promised, or cannot be looked at: another
/// worker may see what this one, that goes by its memory, does not.
async fn is_told_otherwise(catalog: &Catalog, policy: &str) -> Result<bool, CatalogError> {
    let alerts = catalog.alerts(policy).await?;
    let stands = |alert: &Stored| alert.open && alert.gone.is_none();
    let says_so = |alert: &Stored| is_late(&alert.condition) || alert.condition == "repository-out-of-reach";
    Ok(alerts.iter().any(|(alert, _)| stands(alert) && says_so(alert)))
}

/// Whether a condition says that a backup is older than was promised.
fn is_late(condition: &str) -> bool {
    ["rpo", "no-backup", "runs-missed"].contains(&condition)
}

/// Whether every source of a policy is backed up as young as was promised, as far as anybody can tell.
#[must_use]
pub fn is_within_promise(known: &Known, status: &Status) -> bool {
    let policy = &known.policy;
    policy.sources.0.iter().all(|(name, source)| {
        let of = |one: &Problem| one.policy == policy.name && one.source.as_deref() == Some(name);
        let mut sources = status.sources.iter();
        let state = sources.find(|state| state.policy == policy.name && state.source == *name);
        state.is_some_and(|state| {
            let is_told = !matches!(state.state, State::Unknown | State::Disaster);
            is_told && (source.restored_by.is_some() || state.last_good.is_some())
        }) && !status.problems.iter().any(|one| of(one) && is_late(one.condition))
    })
}
