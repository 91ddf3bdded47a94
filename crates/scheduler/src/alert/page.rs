//! A message as people see it: a title, what it says, lines with labels, and a foot.
//!
//! On purpose not here: the form of any channel.

use super::message::{Event, Grade, Message, first_sentence};

/// How loud it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// All is well, or well again.
    Good,
    /// Worth knowing.
    Quiet,
    /// Degraded.
    Warning,
    /// Somebody has to see to it today.
    High,
    /// Somebody has to see to it now.
    Disaster,
}

/// A message, laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid {
    /// How loud it is.
    pub loudness: Loudness,
    /// Its first line.
    pub title: String,
    /// What it says before the lines with labels.
    pub text: Vec<String>,
    /// Lines with labels: `why`, `do`, `do not`, `restore`.
    pub lines: Vec<(&'static str, String)>,
    /// Where it comes from, and when.
    pub foot: String,
}

/// Lays a message out.
#[must_use]
pub fn lay(message: &Message) -> Laid {
    let is_alert = message.condition.is_some();
    let lines = [
        ("why", &message.why),
        ("do", &message.to_do),
        ("do not", &message.do_not),
        ("restore", &message.restore),
    ];
    let lines = lines.into_iter().filter(|(_, text)| !text.is_empty());
    let lines = lines.map(|(label, text)| (label, text.clone())).collect();
    let mut text: Vec<String> = rest(message).into_iter().collect();
    text.extend(message.lines.iter().cloned());
    let since = message.since.as_ref().filter(|_| is_alert);
    let since = since.map(|since| format!(" · since {since}")).unwrap_or_default();
    Laid {
        loudness: loudness(message),
        title: message.title.clone(),
        text,
        lines,
        foot: format!("holdfast · {} · {}{since} · number {}", message.policy, message.at, message.id),
    }
}

/// What the title does not say already.
fn rest(message: &Message) -> Option<String> {
    let text = &message.message;
    if message.event == Event::Resolved {
        return Some(text.clone());
    }
    let first = first_sentence(text);
    let rest = text[first.len()..].trim_start_matches(['.', ' ']);
    let rest = if message.title.contains(first) { rest } else { text };
    (!rest.is_empty()).then(|| rest.to_owned())
}

fn loudness(message: &Message) -> Loudness {
    match (message.event, message.severity) {
        (Event::Resolved, _) => Loudness::Good,
        (Event::Test, _) => Loudness::Quiet,
        (Event::Digest, Grade::Ok) => Loudness::Good,
        (_, Grade::Ok) => Loudness::Quiet,
        (_, Grade::Warning) => Loudness::Warning,
        (_, Grade::Unknown | Grade::High) => Loudness::High,
        (_, Grade::Disaster) => Loudness::Disaster,
    }
}
