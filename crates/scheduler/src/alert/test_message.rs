//! A message that says nothing but that it came: by hand, and once a month by itself.
//!
//! On purpose not here: what else is told.

use super::channel::{Channel, channels};
use super::message::{Event, Grade, MESSAGE_VERSION, Message, moment, number};
use super::{Outcome, Post};
use crate::catalog::{Catalog, CatalogError, Entry, Sending};
use crate::policy::{Policy, Schedule};
use crate::schedule::{Clockwork, zone};
use crate::status::Known;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// When one goes by itself, in the zone of the policy.
const MONTHLY: &str = "0 9 1 * *";

/// What came of a test of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The channel, as people call it.
    pub channel: String,
    /// Its number.
    pub id: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// Tells a test by every channel of a policy, now, and remembers what came of it.
///
/// # Errors
/// What came of it cannot be remembered.
pub async fn test(
    post: &dyn Post,
    catalog: Option<&Catalog>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Vec<Tested>, CatalogError> {
    let zone = zone_of(policy);
    let mut all = Vec::new();
    for channel in channels(&policy.notify) {
        let id = number(&["test", &policy.name, &now.as_nanosecond().to_string(), &channel.id]);
        let message = message(&policy.name, id.clone(), &channel, now, &zone);
        // The one before may have taken its time.
        let outcome = post.deliver(&channel.way, &message, post.now()).await;
        if let Some(catalog) = catalog {
            remember(catalog, &channel, message, &outcome, post.now()).await?;
        }
        all.push(Tested { channel: channel.name, id, outcome });
    }
    Ok(all)
}

/// It is put where it was told already: nobody else is to tell it. One that failed is not tried again, as
/// whoever asked for it knows.
async fn remember(
    catalog: &Catalog,
    channel: &Channel,
    message: Message,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), CatalogError> {
    // A place of its own, so that it does not stand behind what waits there.
    let end = match outcome {
        Outcome::Delivered => Sending::Sent,
        Outcome::TryAgain { why, .. } | Outcome::Refused { why } | Outcome::Never { why } => {
            Sending::Refused { why: why.clone() }
        }
    };
    catalog.note_message(&Entry { channel: channel.id.clone(), message }, &end, now).await
}

/// The last time that one was due by itself, if the policy was known by then.
pub(super) fn due(known: &Known, now: Timestamp) -> Option<Timestamp> {
    let timezone = known.policy.schedule.as_ref().and_then(|schedule| schedule.timezone.clone());
    let schedule = Schedule { cron: MONTHLY.to_owned(), timezone, ..Schedule::default() };
    let clock = Clockwork::of(&schedule, &format!("{}/test", known.policy.name)).ok()?;
    let just_behind = now.checked_add(SignedDuration::from_nanos(1)).ok()?;
    clock.before(just_behind).filter(|due| known.since.is_some_and(|since| since < *due))
}

/// The number of one that goes by itself.
pub(super) fn id(policy: &str, due: Timestamp, channel: &Channel) -> String {
    number(&["monthly test", policy, &due.to_string(), &channel.id])
}

/// The zone of a policy.
pub(super) fn zone_of(policy: &Policy) -> TimeZone {
    let name = policy.schedule.as_ref().and_then(|schedule| schedule.timezone.as_deref());
    zone(name).unwrap_or(TimeZone::UTC)
}

pub(super) fn message(
    policy: &str,
    id: String,
    channel: &Channel,
    now: Timestamp,
    zone: &TimeZone,
) -> Message {
    let title = format!("TEST of {policy}: nothing is wrong");
    Message {
        version: MESSAGE_VERSION,
        id,
        event: Event::Test,
        policy: policy.to_owned(),
        source: None,
        copy: None,
        condition: None,
        fingerprint: None,
        episode: None,
        severity: Grade::Ok,
        message: format!("{title}. Whoever reads this would hear of alerts by {}.", channel.name),
        title,
        why: "somebody asked for it, or it is the first of the month".to_owned(),
        to_do: "nothing; holdfast status shows that it came".to_owned(),
        do_not: "take it for an alert".to_owned(),
        restore: "not affected by this".to_owned(),
        lines: Vec::new(),
        since: None,
        at: moment(now, zone),
    }
}
