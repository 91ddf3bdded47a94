//! Carries a message to where people read it: a Slack channel, a webhook, a mailbox.
//!
//! One try each time, with an end: what came of it is sorted into delivered, to be tried again, and never.
//! An address may be a secret, so what is told never repeats one. On purpose not here: what is told, when
//! and how often; trying again; where secrets come from.

mod ask;
mod mail;
mod outcome;
mod page;
mod slack;
mod smtp;
mod webhook;

pub use ask::{Sender, beat};
pub use mail::{Letter, send as send_mail};
pub use outcome::Outcome;
pub use page::{Line, Page, Tone};
pub use slack::{blocks, send as send_slack};
pub use smtp::Server;
pub use webhook::{Signed, send as send_webhook, sign};
