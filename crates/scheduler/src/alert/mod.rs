//! Who is told what is wrong, and when: one alert for each thing that is wrong, opened once, told again
//! with growing patience, told at once when it gets worse, resolved once.
//!
//! What is wrong says `status`; here it is compared with what was told already. Decisions (`decide`) are made
//! from what is handed in alone. What they want told lies in the catalog (`outbox`) until somebody has it.
//! On purpose not here: finding out what is wrong; carrying a message, which a `Post` does; the wall clock.

pub mod blind;
pub mod channel;
pub mod decide;
pub mod digest;
pub mod message;
mod outbox;
mod page;
pub mod rules;
pub mod stored;
mod test_message;
mod tick;

#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tick_tests;

pub use channel::{Channel, channels};
pub use digest::Facts;
pub use message::{Event, MESSAGE_VERSION, Message};
pub use page::{Laid, Loudness, lay};
pub use stored::{Silence, Stored};
pub use test_message::{Tested, test};
pub use tick::{Ticked, is_within_promise, retry, tick};

use crate::policy::{Heartbeat, Notify};
use crate::status::Known;
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// What came of one try to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Whoever was asked has it.
    Delivered,
    /// It may work later.
    TryAgain {
        /// Why it did not work; in words for people, without a secret.
        why: String,
        /// Not before so long.
        after: Option<Duration>,
    },
    /// It is refused, and may be taken when somebody has mended why: an address, a secret.
    Refused {
        /// Why, and what would help.
        why: String,
    },
    /// It will not work as it is.
    Never {
        /// Why, and what would help.
        why: String,
    },
}

/// Carries messages.
#[async_trait]
pub trait Post: Send + Sync {
    /// What time it is. Looking how things stand takes long: what is carried goes by this, and not by when a
    /// look began.
    fn now(&self) -> Timestamp;

    /// Tries once to tell a message by one way, now. It ends in a time that is much shorter than
    /// [`rules::HELD_FOR`].
    async fn deliver(&self, way: &Notify, message: &Message, now: Timestamp) -> Outcome;

    /// Calls the address that is called while all is well.
    async fn beat(&self, heartbeat: &Heartbeat) -> Outcome;

    /// What a digest says of a repository beside what `status` knows.
    async fn facts(&self, known: &Known) -> Facts;
}
