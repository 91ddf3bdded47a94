//! What the keep rules of a policy say of the snapshots that there are: `forget --dry-run`, asked of
//! each source.
//!
//! On purpose not here: forgetting anything.

use super::super::Run;
use crate::hands::OwnHands;
use crate::ink::{Align, Ink, PolicyUnseenLine, Table, escape};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::policy::{Activity, Policy, REPOSITORY};
use holdfast_scheduler::run::words;
use serde_json::Value;
use std::time::Duration;

/// A plan does not wait longer for a repository.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Lines of `verdict`, in the order of the sources.
    verdicts: Vec<Value>,
    /// Why no more was seen, and what to do.
    unseen: Option<(String, String)>,
}

/// Asks for the verdicts of each source. The first that fails ends it: the others would fail alike.
pub(super) async fn look(run: &Run, policy: &Policy) -> Seen {
    let mut seen = Seen::default();
    let Some(retention) = &policy.retention else { return seen };
    let Some(place) = policy.place(REPOSITORY, Activity::Maintain) else {
        let what = "no key on this host forgets: what the rules keep of what is there is seen elsewhere";
        seen.unseen = Some((what.to_owned(), String::new()));
        return seen;
    };
    let hands = OwnHands::new(run).of(policy);
    for (name, source) in &policy.sources.0 {
        let is_backed_up = source.kind().is_some_and(|kind| kind.is_backed_up());
        let Some(mut call) = words::forget(policy, name, retention, &place).filter(|_| is_backed_up) else {
            continue;
        };
        call.words.push("--dry-run".into());
        call.timeout = Some(PATIENCE);
        match hands.verb(call).await {
            Ok(answer) if answer.is_ok() => seen.verdicts.extend(answer.all("verdict").cloned()),
            Ok(answer) => {
                seen.unseen = Some(answer.failure());
                break;
            }
            Err(why) => {
                seen.unseen = Some((why, String::new()));
                break;
            }
        }
    }
    seen
}

/// Shows what was found.
pub(super) fn show(ink: &Ink, seen: &Seen) {
    if ink.tone.json {
        seen.verdicts.iter().for_each(|verdict| ink.json(verdict));
        if let Some((message, hint)) = &seen.unseen {
            ink.json(&PolicyUnseenLine { message_type: "policy_unseen", message, hint });
        }
        return;
    }
    if !seen.verdicts.is_empty() {
        ink.data("");
        ink.table(&table(&seen.verdicts));
    }
    if let Some((what, next)) = &seen.unseen {
        ink.data("");
        ink.data(&escape(format!("What is there was not looked at: {what}").as_bytes()));
        super::tell_next(ink, next);
    }
}

fn table(verdicts: &[Value]) -> Table {
    let mut table =
        Table::new(&["SNAPSHOT", "SOURCE", "TIME", "KEPT", "WHY"].map(|name| (name, Align::Left)));
    for verdict in verdicts {
        let text = |field: &str| escape(verdict[field].as_str().unwrap_or_default().as_bytes());
        let reasons = verdict["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let reasons = escape(reasons.collect::<Vec<_>>().join(", ").as_bytes());
        let kept = if verdict["keep"] == true { "kept" } else { "forgotten" };
        table.row(vec![text("short_id"), text("source"), text("time"), kept.to_owned(), reasons]);
    }
    table
}
