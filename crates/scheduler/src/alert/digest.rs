//! How everything stands, once a week, also when all is well: who hears nothing else knows by it that
//! somebody looks.
//!
//! On purpose not here: deciding when (`policy` has the times), and carrying it.

use super::channel::Channel;
use super::message::{Event, MESSAGE_VERSION, Message, moment, number};
use super::stored::{Silence, Stored};
use crate::hands::{Call, Hands};
use crate::policy::place::Activity;
use crate::schedule::which;
use crate::status::{Known, SourceState, State, Status, size_of, span_of};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::ffi::OsString;

/// So many things that nobody backs up are named.
const UNPROTECTED_SHOWN: usize = 10;
/// What is told of the past.
const WEEK: SignedDuration = SignedDuration::from_hours(24 * 7);

/// What a digest says of a repository beside what `status` knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// So much is stored, in bytes.
    pub stored: Option<u64>,
    /// Drills of the last week: passed, failed, proved nothing; and such as were due and did not run.
    pub drills: Option<[u64; 4]>,
    /// The ends of the chains of evidence, as `evidence verify --expect` takes them: whoever has them
    /// elsewhere sees later whether anything before them was changed.
    pub heads: Vec<String>,
    /// What of this host no policy backs up; none where nobody can tell.
    pub unprotected: Option<Vec<String>>,
}

/// Asks for it.
pub async fn facts(hands: &dyn Hands, known: &Known) -> Facts {
    let mut facts = Facts::default();
    let Some(place) = known.policy.place("repository", Activity::Read) else { return facts };
    let ask = async |words: &[&str]| hands.verb(Call::on(&place, words.iter().copied())).await;
    if let Ok(answer) = ask(&["stats", "--mode", "restore-size"]).await {
        facts.stored = answer.line("summary").and_then(|line| line["repository_bytes"].as_u64());
    }
    if let Ok(answer) = ask(&["evidence", "show"]).await
        && answer.is_ok()
    {
        let lines: Vec<&Value> = answer.all("evidence").collect();
        facts.drills = Some(drills(&lines, &known.policy.name, hands.now()));
    }
    if let Ok(answer) = ask(&["evidence", "verify"]).await {
        let heads = answer.all("evidence_chain").filter_map(|line| line["head"].as_str());
        facts.heads = heads.map(str::to_owned).collect();
    }
    facts
}

/// Asks what of this host no policy backs up, of the files of all that it has.
pub async fn unprotected(hands: &dyn Hands, files: &[String]) -> Option<Vec<String>> {
    let words = ["policy", "coverage", "--offline", "--"].into_iter().chain(files.iter().map(String::as_str));
    let call = Call { words: words.map(OsString::from).collect(), ..Call::default() };
    let answer = hands.verb(call).await.ok()?;
    answer.line("summary")?;
    let left = answer.all("coverage").filter(|line| line["state"] == "not_protected");
    Some(
        left.filter_map(|line| Some(format!("{} ({})", line["path"].as_str()?, line["about"].as_str()?)))
            .collect(),
    )
}

fn drills(lines: &[&Value], policy: &str, now: Timestamp) -> [u64; 4] {
    let mut counts = [0; 4];
    for line in lines.iter().filter(|line| line["record"]["policy"] == policy) {
        let time = line["time"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        if time.is_none_or(|time| now.duration_since(time) > WEEK) {
            continue;
        }
        let verdict = line["record"]["verdict"].as_str();
        match (line["kind"].as_str(), verdict) {
            (Some("drill"), Some("pass")) => counts[0] += 1,
            (Some("drill"), Some("fail")) => counts[1] += 1,
            (Some("drill"), _) => counts[2] += 1,
            (Some("missed"), _) => counts[3] += line["record"]["count"].as_u64().unwrap_or(1),
            _ => {}
        }
    }
    counts
}

/// The last time that a digest was due, if the policy was known by then.
pub(super) fn due(known: &Known, now: Timestamp) -> Option<Timestamp> {
    let clock = which::of_digest(&known.policy).ok().flatten()?;
    let just_behind = now.checked_add(SignedDuration::from_nanos(1)).ok()?;
    clock.before(just_behind).filter(|due| known.since.is_some_and(|since| since < *due))
}

/// Its number, for one channel.
pub(super) fn id(policy: &str, due: Timestamp, channel: &Channel) -> String {
    number(&["digest", policy, &due.to_string(), &channel.id])
}

/// What goes into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) known: &'a Known,
    pub(super) status: &'a Status,
    pub(super) facts: &'a Facts,
    pub(super) alerts: &'a [Stored],
    pub(super) silences: &'a [Silence],
    pub(super) zone: &'a TimeZone,
}

/// Writes it.
pub(super) fn write(of: Of<'_>, id: String, now: Timestamp) -> Message {
    let policy = &of.known.policy.name;
    let problems = of.status.problems.iter().filter(|problem| problem.policy == *policy);
    let sources = || of.status.sources.iter().filter(|source| source.policy == *policy);
    let worst = problems.clone().map(|problem| problem.state).chain(sources().map(|source| source.state));
    let worst = worst.max().unwrap_or(State::Unknown);
    let count = problems.count();
    let title = match (count, worst) {
        (0, State::Ok) => format!("The week of {policy}: all is well"),
        (0, worst) => format!("The week of {policy}: {}", worst.word()),
        (1, worst) => format!("The week of {policy}: 1 problem, {}", worst.word()),
        (count, worst) => format!("The week of {policy}: {count} problems, the worst {}", worst.word()),
    };
    Message {
        version: MESSAGE_VERSION,
        id,
        event: Event::Digest,
        policy: policy.clone(),
        source: None,
        copy: None,
        condition: None,
        fingerprint: None,
        episode: None,
        severity: worst.into(),
        message: title.clone(),
        title,
        why: String::new(),
        to_do: String::new(),
        do_not: String::new(),
        restore: String::new(),
        lines: lines(of, now),
        since: None,
        at: moment(now, of.zone),
    }
}

fn lines(of: Of<'_>, now: Timestamp) -> Vec<String> {
    let policy = &of.known.policy.name;
    let sources = of.status.sources.iter().filter(|source| source.policy == *policy);
    let mut lines: Vec<String> = sources.map(|source| of_source(source, of.zone, now)).collect();
    for copy in of.status.copies.iter().filter(|copy| copy.policy == *policy) {
        lines.push(match (copy.behind, copy.oldest) {
            (Some(0), _) => format!("copy {}: has everything", copy.copy),
            (Some(behind), Some(oldest)) => {
                format!("copy {}: {behind} snapshots behind, the oldest {}", copy.copy, span_of(oldest, now))
            }
            _ => format!("copy {}: cannot be told from here", copy.copy),
        });
    }
    lines.push(match of.facts.drills {
        Some([0, 0, 0, 0]) => "drills of the week: none".to_owned(),
        Some([passed, failed, nothing, missed]) => format!(
            "drills of the week: {passed} passed, {failed} failed, {nothing} proved nothing, {missed} due and not run"
        ),
        None => "drills of the week: the evidence cannot be read from here".to_owned(),
    });
    if let Some(stored) = of.facts.stored {
        lines.push(format!("stored: {}", size_of(stored)));
    }
    lines.extend(of.facts.unprotected.as_deref().map(not_protected));
    let open = of.alerts.iter().filter(|alert| alert.open);
    let open: Vec<String> = open.map(|alert| open_alert(alert, now)).collect();
    lines.push(if open.is_empty() {
        "open alerts: none".to_owned()
    } else {
        format!("open alerts: {}", open.len())
    });
    lines.extend(open);
    for silence in of.silences.iter().filter(|silence| silence.policy == *policy) {
        let part = silence.part.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
        let until = moment(silence.until, of.zone);
        lines.push(format!("silence {} of {policy}{part} until {until}: {}", silence.id, silence.reason));
    }
    lines.extend(
        of.facts.heads.iter().map(|head| format!("evidence: holdfast evidence verify --expect {head}")),
    );
    lines
}

fn not_protected(left: &[String]) -> String {
    if left.is_empty() {
        return "not protected on this host: nothing".to_owned();
    }
    let more = match left.len().saturating_sub(UNPROTECTED_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let shown = left.iter().take(UNPROTECTED_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    format!("NOT PROTECTED on this host: {shown}{more}; see holdfast policy coverage")
}

fn of_source(source: &SourceState, zone: &TimeZone, now: Timestamp) -> String {
    let limit = |limit: Option<std::time::Duration>| {
        limit.map(|limit| format!(", limit {}", crate::status::span_in(limit))).unwrap_or_default()
    };
    let good = match &source.last_good {
        Some(good) => format!(
            "last good {} ({} ago{})",
            moment(good.at, zone),
            span_of(good.at, now),
            limit(source.rpo)
        ),
        None if source.elsewhere => "backed up elsewhere".to_owned(),
        None => format!("never backed up whole{}", limit(source.rpo)),
    };
    let proven = match source.proven {
        Some(proven) => format!("proven {} ago{}", span_of(proven, now), limit(source.proven_max_age)),
        None => format!("never proven{}", limit(source.proven_max_age)),
    };
    format!("{}/{}: {good}; {proven}; {}", source.policy, source.source, source.state.word())
}

fn open_alert(alert: &Stored, now: Timestamp) -> String {
    let what = super::message::first_sentence(&alert.text.what);
    format!("  {} for {}: {what}", alert.severity.word(), span_of(alert.since, now))
}
