//! The JSON lines of `notify` and `silence`, and what `status` says of both, as `JSON.md` describes them.
//!
//! On purpose not here: messages themselves, which are a promise of their own.

use holdfast_scheduler::alert::{Outcome, Silence, Tested};
use holdfast_scheduler::status::{ChannelState, State};
use jiff::Timestamp;
use serde::Serialize;

/// What came of a test of a channel.
#[derive(Debug, Serialize)]
pub(crate) struct NotifyTestedLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    channel: &'a str,
    id: &'a str,
    outcome: &'static str,
    message: &'a str,
}

impl<'a> NotifyTestedLine<'a> {
    pub(crate) fn new(policy: &'a str, tested: &'a Tested) -> Self {
        let (outcome, message) = match &tested.outcome {
            Outcome::Delivered => ("delivered", ""),
            Outcome::TryAgain { why, .. } => ("not_now", why.as_str()),
            Outcome::Refused { why } | Outcome::Never { why } => ("refused", why.as_str()),
        };
        let (channel, id) = (&tested.channel, &tested.id);
        Self { message_type: "notify_tested", policy, channel, id, outcome, message }
    }
}

/// A silence that stands.
#[derive(Debug, Serialize)]
pub(crate) struct SilenceLine<'a> {
    message_type: &'static str,
    id: i64,
    policy: &'a str,
    part: Option<&'a str>,
    since: Timestamp,
    until: Timestamp,
    reason: &'a str,
    by: &'a str,
}

impl<'a> From<&'a Silence> for SilenceLine<'a> {
    fn from(silence: &'a Silence) -> Self {
        Self {
            message_type: "silence",
            id: silence.id,
            policy: &silence.policy,
            part: silence.part.as_deref(),
            since: silence.since,
            until: silence.until,
            reason: &silence.reason,
            by: &silence.by,
        }
    }
}

/// A silence was ended.
#[derive(Debug, Serialize)]
pub(crate) struct SilenceEndedLine {
    pub(crate) message_type: &'static str,
    pub(crate) id: i64,
}

/// Who is told, and whether that works.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelStatusLine<'a> {
    message_type: &'static str,
    policy: &'a str,
    channel: &'a str,
    from: State,
    state: State,
    sent: Option<Timestamp>,
    tested: Option<Timestamp>,
    waiting: u64,
    waiting_since: Option<Timestamp>,
}

impl<'a> From<&'a ChannelState> for ChannelStatusLine<'a> {
    fn from(channel: &'a ChannelState) -> Self {
        Self {
            message_type: "channel_status",
            policy: &channel.policy,
            channel: &channel.channel,
            from: channel.from,
            state: channel.state,
            sent: channel.sent,
            tested: channel.tested,
            waiting: channel.waiting,
            waiting_since: channel.oldest,
        }
    }
}
