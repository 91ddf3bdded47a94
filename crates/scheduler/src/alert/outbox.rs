//! Has somebody take the messages that wait.
//!
//! Of one channel they go one after the other, in the order in which they were put: a resolution never
//! comes before what it resolves. On purpose not here: which messages there are.

use super::channel::Channel;
use super::rules::{GIVEN_UP_AFTER, try_again_after};
use super::{Outcome, Post};
use crate::catalog::{Catalog, CatalogError, Sending, Waiting};
use jiff::Timestamp;

/// So many go by one channel at a time; the next look goes on.
const AT_ONCE_MAX: usize = 20;

/// What became of what waited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) delivered: u64,
    /// Why one was not; with the name of its channel.
    pub(super) troubles: Vec<String>,
}

/// Tells what waits for a channel, until something stops it.
pub(super) async fn carry(
    post: &dyn Post,
    catalog: &Catalog,
    policy: &str,
    channel: &Channel,
    now: Timestamp,
) -> Result<Carried, CatalogError> {
    let mut carried = Carried::default();
    for _ in 0..AT_ONCE_MAX {
        let Some(waiting) = catalog.next_message(policy, &channel.id).await? else { break };
        if waiting.next_try > now {
            break;
        }
        // Somebody else has it in hand.
        let Some(fence) = catalog.take_message(&waiting, now).await? else { break };
        let end = try_once(post, channel, &waiting, now).await;
        let goes_on = !matches!(end, Sending::Again { .. });
        match &end {
            Sending::Sent => carried.delivered += 1,
            Sending::Again { why, .. } | Sending::Refused { why } => {
                carried.troubles.push(format!("{}: {why}", channel.name));
            }
        }
        catalog.end_message(&waiting.id, fence, &end, now).await?;
        if !goes_on {
            break;
        }
    }
    Ok(carried)
}

async fn try_once(post: &dyn Post, channel: &Channel, waiting: &Waiting, now: Timestamp) -> Sending {
    let Some(message) = &waiting.message else {
        return Sending::Refused {
            why: "another version of holdfast wrote it, in a form that this one cannot read".to_owned(),
        };
    };
    match post.deliver(&channel.way, message, now).await {
        Outcome::Delivered => Sending::Sent,
        Outcome::Never { why } => Sending::Refused { why },
        Outcome::TryAgain { why, .. } if now.duration_since(waiting.created) >= GIVEN_UP_AFTER => {
            Sending::Refused { why: format!("given up after a week: {why}") }
        }
        Outcome::TryAgain { why, after } => {
            let pause = try_again_after(waiting.tries + 1, after);
            Sending::Again { at: now.checked_add(pause).unwrap_or(Timestamp::MAX), why }
        }
    }
}
