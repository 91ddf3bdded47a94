//! Has somebody take the messages that wait.
//!
//! Of one thing they go one after the other, in the order in which they were put: a resolution never comes
//! before what it resolves. One that is not taken keeps those of other things no longer than it takes to find
//! that out. What time it is says the post: a look may have begun long before. On purpose not here: which
//! messages there are.

use super::channel::Channel;
use super::rules::{GIVEN_UP_AFTER, REFUSED_FOR, TRIES_MAX, TRIES_MIN, try_again_after};
use super::{Outcome, Post};
use crate::catalog::{Catalog, CatalogError, Sending, Waiting};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// So many go by one channel at a time; the next look goes on.
const AT_ONCE_MAX: usize = 20;
/// A channel that did not take so many is left alone until the next look: it may be down altogether.
const FAILED_MAX: usize = 3;

/// What became of what waited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) delivered: u64,
    /// Why some were not; with the name of their channel.
    pub(super) troubles: Vec<String>,
}

/// Tells what waits for a channel, until it does not take it.
pub(super) async fn carry(
    post: &dyn Post,
    catalog: &Catalog,
    policy: &str,
    channel: &Channel,
) -> Result<Carried, CatalogError> {
    let mut carried = Carried::default();
    let mut failed = 0;
    for _ in 0..AT_ONCE_MAX {
        let next = catalog.next_message(policy, &channel.id, post.now()).await?;
        let Some(waiting) = next.filter(|_| failed < FAILED_MAX) else { break };
        // Somebody else was faster.
        let Some(fence) = catalog.take_message(&waiting, post.now()).await? else { continue };
        let end = try_once(post, channel, &waiting).await;
        match &end {
            Sending::Sent => carried.delivered += 1,
            Sending::Again { why, .. } | Sending::RefusedNow { why, .. } | Sending::Refused { why } => {
                let why = format!("{}: {why}", channel.name);
                if !carried.troubles.contains(&why) {
                    carried.troubles.push(why);
                }
            }
        }
        failed += usize::from(matches!(end, Sending::Again { .. } | Sending::RefusedNow { .. }));
        catalog.end_message(&waiting.id, fence, &end, post.now()).await?;
    }
    Ok(carried)
}

async fn try_once(post: &dyn Post, channel: &Channel, waiting: &Waiting) -> Sending {
    let Some(message) = &waiting.message else {
        return Sending::Refused {
            why: "another version of holdfast wrote it, in a form that this one cannot read".to_owned(),
        };
    };
    let outcome = post.deliver(&channel.way, message, post.now()).await;
    let now = post.now();
    let again = |after: Option<Duration>| {
        now.checked_add(try_again_after(waiting.tries + 1, after)).unwrap_or(Timestamp::MAX)
    };
    match outcome {
        Outcome::Delivered => Sending::Sent,
        Outcome::Never { why } => Sending::Refused { why },
        Outcome::Refused { why } if is_over(waiting, REFUSED_FOR, now) => {
            Sending::Refused { why: format!("given up after {} h: {why}", REFUSED_FOR.as_hours()) }
        }
        Outcome::Refused { why } => Sending::RefusedNow { at: again(None), why },
        Outcome::TryAgain { why, .. } if is_over(waiting, GIVEN_UP_AFTER, now) => {
            Sending::Refused { why: format!("given up after a week: {why}") }
        }
        Outcome::TryAgain { why, after } => Sending::Again { at: again(after), why },
    }
}

/// Whether a message is not tried again that waits so long.
fn is_over(waiting: &Waiting, patience: SignedDuration, now: Timestamp) -> bool {
    let tries = waiting.tries + 1;
    (tries >= TRIES_MIN && now.duration_since(waiting.created) >= patience) || tries >= TRIES_MAX
}
