//! What a policy comes down to in numbers: the room that a drill takes, what goes to and from each
//! repository in a month, how long a log takes to be replayed.
//!
//! All of it is foreseen from what repositories say of the past, and what nothing is known of is said
//! to be unknown: a number that somebody invented is worse than none. On purpose not here: changing
//! anything; times and keys, which need no look (`policy::plan`).

mod replay;
mod room;
mod seen;
mod traffic;

pub use replay::Replay;
pub use room::Room;
pub use traffic::Traffic;

use crate::hands::Hands;
use crate::policy::Policy;
use crate::policy::lint::Lint;
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

/// So long is a month here.
const MONTH: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What has to be known of this host.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Folders in which servers of clusters run.
    pub data_directories: Vec<PathBuf>,
    /// A path that is not there: a rehearsed restore names a target.
    pub nowhere: PathBuf,
    /// How long an object is that contents are stored in.
    pub pack_bytes: u64,
}

/// What a policy comes down to in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outlook {
    /// The room for drills; none where there are no drills, or nobody can tell.
    pub room: Option<Room>,
    /// What goes to and from each repository in a month.
    pub traffic: Vec<Traffic>,
    /// How long logs take to be replayed.
    pub replays: Vec<Replay>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
    /// What can never come out, or had better not, by these numbers.
    pub lints: Vec<Lint>,
}

/// Looks into the repositories of a policy, as far as this host has keys for them.
pub async fn look(hands: &dyn Hands, policy: &Policy, here: &Surroundings) -> Outlook {
    let mut outlook = Outlook::default();
    let seen = seen::look(hands, policy, here, &mut outlook.unseen).await;
    let now = hands.now();
    room::foresee(hands, policy, here, &seen, &mut outlook);
    outlook.traffic = traffic::foresee(policy, here, &seen, now);
    outlook.replays = replay::foresee(policy, &seen, &mut outlook.lints);
    outlook
}

/// How often something is due in a month.
fn times(clock: Option<crate::schedule::Clockwork>, now: Timestamp) -> Option<u64> {
    let (clock, until) = (clock?, now.checked_add(MONTH).ok()?);
    let moments = std::iter::successors(clock.after(now), |last| clock.after(*last));
    Some(moments.take_while(|moment| *moment <= until).count() as u64)
}

#[cfg(test)]
mod tests;
