//! A message as programs get it: the body of a webhook, the input of a command. A promise:
//! `policies/message.schema.json` describes it, and what is added later is added beside what is there.
//!
//! It holds verdicts, names, counts, durations and moments, and no data. On purpose not here: how people
//! see it (`page`).

use super::decide::Told;
use super::stored::Stored;
use crate::status::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the form. It grows when something changes its meaning or goes away.
pub const MESSAGE_VERSION: u32 = 1;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Something is wrong, and this channel did not know of it.
    Opened,
    /// It is worse than this channel knew.
    Worsened,
    /// It is still so.
    Reminder,
    /// It is well again: this ends what began with `opened`.
    Resolved,
    /// How everything stands, once a week.
    Digest,
    /// Nothing is wrong: somebody wants to see whether this channel works.
    Test,
}

impl Event {
    /// As the catalog has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Worsened => "worsened",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// All is well.
    Ok,
    /// Degraded, no promise broken.
    Warning,
    /// Nobody can tell. Worse than a warning: it may hide anything.
    Unknown,
    /// A promise is broken or will be, or a drill failed.
    High,
    /// There is no proven restore point, or the repository or its key is out of reach.
    Disaster,
}

impl From<State> for Grade {
    fn from(state: State) -> Self {
        match state {
            State::Ok => Self::Ok,
            State::Warning => Self::Warning,
            State::Unknown => Self::Unknown,
            State::High => Self::High,
            State::Disaster => Self::Disaster,
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The version of this form: 1.
    pub version: u32,
    /// The number of the message, the same in every try: whoever has seen it need not act on it again.
    pub id: String,
    /// What it is.
    pub event: Event,
    /// The policy.
    pub policy: String,
    /// The source in it, if it is about one.
    pub source: Option<String>,
    /// The copy in it, if it is about one.
    pub copy: Option<String>,
    /// What kind of thing is wrong, as in the lines of `status`.
    pub condition: Option<String>,
    /// The same for all messages about one thing, however often it comes back.
    pub fingerprint: Option<String>,
    /// How often it came: with the fingerprint it is one from `opened` to `resolved`.
    pub episode: Option<u32>,
    /// How bad it is; of something that is well again how bad it was.
    pub severity: Grade,
    /// All of it in one line.
    pub title: String,
    /// What is wrong, and what it costs.
    pub message: String,
    /// Why.
    pub why: String,
    /// What to do.
    #[serde(rename = "do")]
    pub to_do: String,
    /// What not to do until then.
    pub do_not: String,
    /// How things can be had back now.
    pub restore: String,
    /// More, line by line: what a digest says.
    pub lines: Vec<String>,
    /// Since when it is so: RFC 3339, in the zone of the policy.
    pub since: Option<String>,
    /// When this was decided: RFC 3339, in the zone of the policy.
    pub at: String,
}

/// A moment with the offset of a zone.
#[must_use]
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The number of a message: whoever decides the same thing gives it the same one.
#[must_use]
pub fn number(parts: &[&str]) -> String {
    blake3::hash(parts.join("\0").as_bytes()).to_hex().as_str()[..32].to_owned()
}

/// What is told of an alert.
#[must_use]
pub fn of_alert(alert: &Stored, told: &Told, now: Timestamp, zone: &TimeZone) -> Message {
    let (episode, count) = (alert.episode.to_string(), told.number.to_string());
    // An alert that was forgotten counts from one again; it never begins at the same moment again.
    let since = alert.since.as_nanosecond().to_string();
    let id = number(&["alert", &alert.fingerprint, &since, &episode, &count, &told.channel]);
    let resolved = told.event == Event::Resolved;
    let text = if resolved { healed(alert, now) } else { alert.text.clone() };
    let worst = alert.told.get(&told.channel).map_or(alert.severity, |told| told.severity);
    let severity = if resolved { worst } else { alert.severity };
    let or = |text: String, usual: &str| if text.is_empty() { usual.to_owned() } else { text };
    Message {
        version: MESSAGE_VERSION,
        id,
        event: told.event,
        policy: alert.policy.clone(),
        source: alert.source.clone(),
        copy: alert.copy.clone(),
        condition: Some(alert.condition.clone()),
        fingerprint: Some(alert.fingerprint.clone()),
        episode: Some(alert.episode),
        severity: severity.into(),
        title: title(alert, told.event, severity, now),
        message: text.what,
        why: or(text.why, "it is not known"),
        to_do: or(text.to_do, "holdfast status"),
        do_not: or(text.do_not, "take it for well before this is told as resolved"),
        restore: or(text.restore, "not affected by this"),
        lines: Vec::new(),
        since: Some(moment(alert.since, zone)),
        at: moment(now, zone),
    }
}

/// What is said of something that is well again.
fn healed(alert: &Stored, now: Timestamp) -> super::stored::Text {
    let gone = alert.gone.unwrap_or(now);
    let lasted = crate::status::span_of(alert.since, gone);
    super::stored::Text {
        what: format!("{} is well again. It was: {}", alert.subject(), alert.text.what),
        why: format!("it was looked at, and this is not seen any more; it lasted {lasted}"),
        to_do: "nothing; how everything stands: holdfast status".to_owned(),
        do_not: "close anything by hand: this alert is closed".to_owned(),
        restore: alert.text.restore.clone(),
    }
}

/// The first line: how bad, since when if that is not new, and what.
fn title(alert: &Stored, event: Event, severity: State, now: Timestamp) -> String {
    let what = first_sentence(&alert.text.what);
    let word = severity.word();
    let lasts = || crate::status::span_of(alert.since, now);
    match event {
        Event::Resolved => format!("RESOLVED {}, was {word}: {what}", alert.subject()),
        Event::Reminder => format!("{word} for {}: {what}", lasts()),
        Event::Worsened => format!("WORSE, now {word}: {what}"),
        Event::Opened | Event::Digest | Event::Test => format!("{word} {what}"),
    }
}

/// `a/b is not backed up since 11-19. If the bucket …` has its first half.
pub(super) fn first_sentence(text: &str) -> &str {
    match text.split_once(". ") {
        Some((first, _)) => first,
        None => text.strip_suffix('.').unwrap_or(text),
    }
}

/// The JSON Schema of a message, as it lies beside the policies.
#[must_use]
pub fn schema() -> String {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Message>();
    schema.insert("title".to_owned(), "A message of holdfast".into());
    format!("{:#}\n", schema.to_value())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn the_schema_beside_the_policies_is_that_of_a_message() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/message.schema.json");
        if std::env::var_os("HOLDFAST_WRITE_VECTORS").is_some() {
            std::fs::write(&path, schema()).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == schema(), "a message changed its form: run this test with HOLDFAST_WRITE_VECTORS=1");
    }

    #[test]
    fn moments_have_the_offset_of_the_policy() {
        let at = "2026-11-26T03:14:00Z".parse().unwrap();
        assert_eq!(moment(at, &TimeZone::get("Asia/Seoul").unwrap()), "2026-11-26T12:14:00+09:00");
        assert_eq!(moment(at, &TimeZone::UTC), "2026-11-26T03:14:00+00:00");
        assert_eq!(first_sentence("a is old. If b"), "a is old");
        assert_eq!(first_sentence("a 1.5 is old."), "a 1.5 is old");
    }
}
