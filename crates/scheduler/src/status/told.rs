//! Who is told when something is wrong, and whether that works. What nobody could be told is wrong itself.
//!
//! On purpose not here: telling.

use super::problem::Problem;
use super::words::{moment, plain, quoted, span_between};
use super::{Known, State, Status};
use crate::alert::rules::WAITS_TOO_LONG;
use crate::alert::{Channel, channels};
use crate::catalog::{Catalog, ChannelRecord};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One way by which a policy tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelState {
    /// The policy.
    pub policy: String,
    /// What people call it: `slack`.
    pub channel: String,
    /// Nothing less severe is told by it.
    pub from: State,
    /// How bad it is.
    pub state: State,
    /// When it last took a message.
    pub sent: Option<Timestamp>,
    /// When it last took one that was to test it.
    pub tested: Option<Timestamp>,
    /// How many messages wait.
    pub waiting: u64,
    /// Since when the first of them waits.
    pub oldest: Option<Timestamp>,
}

/// Adds who is told, as far as this host remembers.
pub(super) async fn add(status: &mut Status, known: &[Known], memory: Option<&Catalog>, zone: &TimeZone) {
    let Some(catalog) = memory else { return };
    let named = |policy: &str| known.iter().any(|known| known.policy.name == policy);
    let silences = catalog.silences(status.now).await.unwrap_or_default();
    status.silences = silences.into_iter().filter(|silence| named(&silence.policy)).collect();
    for known in known {
        // What cannot be read is told where the runs are read.
        let Ok(records) = catalog.records(&known.policy.name).await else { continue };
        let all = channels(&known.policy.notify);
        let judged: Vec<Judged<'_>> =
            all.iter().map(|channel| judge(known, channel, &records, status.now)).collect();
        let is_last = judged.iter().all(|judged| judged.trouble.is_some());
        status.problems.extend(problems(known, &judged, is_last, (status.now, zone)));
        status.channels.extend(judged.into_iter().map(|judged| judged.state));
    }
}

struct Judged<'a> {
    channel: &'a Channel,
    state: ChannelState,
    /// Since when nobody could be told, and why.
    trouble: Option<(Timestamp, String)>,
}

fn judge<'a>(known: &Known, channel: &'a Channel, records: &[ChannelRecord], now: Timestamp) -> Judged<'a> {
    let record = records.iter().find(|record| record.channel == channel.id).cloned().unwrap_or_default();
    let late = record.oldest.filter(|oldest| now.duration_since(*oldest) > WAITS_TOO_LONG);
    let refused = record.refused.map(|at| (at, record.refused_why.clone()));
    let trouble = late.map(|at| (at, record.why.clone())).or(refused);
    let trouble = trouble.map(|(at, why)| (at, why.unwrap_or_else(|| "nobody tried yet".to_owned())));
    let state = ChannelState {
        policy: known.policy.name.clone(),
        channel: channel.name.clone(),
        from: channel.from,
        state: if trouble.is_some() { State::Warning } else { State::Ok },
        sent: record.sent,
        tested: record.tested,
        waiting: record.waiting,
        oldest: record.oldest,
    };
    Judged { channel, state, trouble }
}

/// What is wrong with them, one of a kind.
fn problems(
    known: &Known,
    judged: &[Judged<'_>],
    is_last: bool,
    (now, zone): (Timestamp, &TimeZone),
) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for judged in judged {
        let Some((since, why)) = &judged.trouble else { continue };
        let condition = condition(judged.channel.kind);
        if problems.iter().any(|problem| problem.condition == condition) {
            continue;
        }
        let (policy, name) = (&known.policy.name, &judged.channel.name);
        let what = format!(
            "{policy}: nobody could be told through {name} since {}. Whoever relies on it hears nothing.",
            moment(*since, now, zone)
        );
        let state = if is_last { State::High } else { State::Warning };
        let waits = match judged.state.waiting {
            0 => String::new(),
            many => format!("; {many} waiting for {}", span_between(*since, now)),
        };
        let problem = Problem::new(state, condition, policy, what).why(plain(&format!("{why}{waits}")));
        let test = format!("holdfast notify test {}", quoted(&known.file));
        problems.push(problem.then(test, "take silence for good news").back("not affected by this"));
    }
    problems
}

fn condition(kind: &str) -> &'static str {
    match kind {
        "slack" => "channel-slack",
        "webhook" => "channel-webhook",
        "mail" => "channel-mail",
        _ => "channel-command",
    }
}
