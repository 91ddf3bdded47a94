//! The same for Prometheus, as a text that its node exporter picks up.
//!
//! Moments, not ages: when whoever writes the file dies, an age would stay as it was and look well
//! for ever, while a moment grows old. What never happened is 0, so that it looks as old as it is;
//! what nobody can tell is left out, and `policies/alerts.rules.yml` notices. On purpose not here:
//! writing the file.

use super::problem::UNREADABLE;
use super::{SourceState, Status};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// What is written: names, and what they mean.
pub const METRICS: [(&str, &str); 14] = [
    (LAST_GOOD, "Up to when nothing is lost: the end of the last whole backup, or of its log. 0 for never."),
    (PROVEN, "When a restore was last proved by a drill. 0 for never."),
    (LOG, "When something of a cluster's log was last stored."),
    (DRILL_DUE, "When a drill is due; it may lie in the past."),
    (COPIED, "Up to when every copy has everything: now, or the oldest snapshot that one lacks."),
    (SLOT, "So much log does a server keep for the slot that is streamed by."),
    (SLOT_MAX, "So much may it keep."),
    (RPO, "So much is lost at most, as promised."),
    (PROVEN_MAX, "So old may the last proven restore be, as promised."),
    (RTO, "So long may a restore take, as promised."),
    (TOOK, "How long the last proven restore took."),
    (MAX_LAG, "So far may a copy be behind, as promised."),
    (
        READABLE,
        "Whether the policy could be read: 1, or 0; then nothing else is said of it, or what it last said.",
    ),
    (WRITTEN, "When this file was written."),
];

const LAST_GOOD: &str = "holdfast_last_good_timestamp_seconds";
const PROVEN: &str = "holdfast_last_proven_restore_timestamp_seconds";
const LOG: &str = "holdfast_wal_flushed_timestamp_seconds";
const DRILL_DUE: &str = "holdfast_drill_due_timestamp_seconds";
const COPIED: &str = "holdfast_copied_timestamp_seconds";
const SLOT: &str = "holdfast_slot_retained_bytes";
const SLOT_MAX: &str = "holdfast_slot_limit_bytes";
const RPO: &str = "holdfast_objective_rpo_seconds";
const PROVEN_MAX: &str = "holdfast_objective_verified_restore_max_age_seconds";
const RTO: &str = "holdfast_objective_rto_seconds";
const TOOK: &str = "holdfast_last_proven_restore_duration_seconds";
const MAX_LAG: &str = "holdfast_objective_copy_max_lag_seconds";
const READABLE: &str = "holdfast_policy_readable";
const WRITTEN: &str = "holdfast_scrape_written_timestamp_seconds";

/// Writes the text.
#[must_use]
pub fn metrics(status: &Status) -> String {
    let mut text = String::new();
    for (name, help) in METRICS {
        let lines: Vec<String> = match name {
            WRITTEN => vec![format!("{WRITTEN} {}", seconds(status.now))],
            READABLE => policies(status),
            _ => status.sources.iter().filter_map(|source| of_source(name, source, status)).collect(),
        };
        if !lines.is_empty() {
            // A String takes all that is written to it.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{}\n", lines.join("\n"));
        }
    }
    text
}

/// A line of each policy. One that cannot be read any more may still be served as it was.
fn policies(status: &Status) -> Vec<String> {
    let unreadable = status.problems.iter().filter(|problem| problem.condition == UNREADABLE);
    let unreadable: BTreeSet<&str> = unreadable.map(|problem| problem.policy.as_str()).collect();
    let looked = status.next.iter().map(|next| next.policy.as_str());
    let all: BTreeSet<&str> = looked.chain(unreadable.iter().copied()).collect();
    let line = |policy: &str| {
        format!("{READABLE}{{policy=\"{}\"}} {}", label(policy), u8::from(!unreadable.contains(policy)))
    };
    all.into_iter().map(line).collect()
}

/// The line of one source.
fn of_source(name: &str, source: &SourceState, status: &Status) -> Option<String> {
    let readable = status.next.iter().any(|next| next.policy == source.policy && next.readable);
    // That there is none is only known where somebody could look.
    let or_never = |moment: Option<Timestamp>| match moment {
        Some(moment) => Some(seconds(moment)),
        None => readable.then(|| "0".to_owned()),
    };
    let slot = status.slots.iter().find(|slot| slot.policy == source.policy && slot.source == source.source);
    let value = match name {
        LAST_GOOD if source.elsewhere => None,
        LAST_GOOD => or_never(source.last_good.as_ref().map(|good| good.at)),
        PROVEN => or_never(source.proven),
        LOG => source.log_flushed.map(seconds),
        DRILL_DUE => source.drill_due.map(seconds),
        COPIED => source.copied_until.map(seconds),
        SLOT => slot.and_then(|slot| slot.kept).map(|bytes| bytes.to_string()),
        SLOT_MAX => slot.and_then(|slot| slot.limit).map(|bytes| bytes.to_string()),
        RPO => source.rpo.map(whole),
        PROVEN_MAX => source.proven_max_age.map(whole),
        RTO => source.rto.map(whole),
        TOOK => source.took.map(|took| took.as_secs_f64().to_string()),
        MAX_LAG => source.max_lag.map(whole),
        _ => None,
    };
    let (policy, source) = (label(&source.policy), label(&source.source));
    Some(format!("{name}{{policy=\"{policy}\",source=\"{source}\"}} {}", value?))
}

fn seconds(moment: Timestamp) -> String {
    moment.as_second().to_string()
}

fn whole(time: Duration) -> String {
    time.as_secs().to_string()
}

/// A text between quotes.
pub(crate) fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
