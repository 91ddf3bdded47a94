//! The ways by which a policy tells, each with a name that stays while the policy says the same of it.
//!
//! On purpose not here: telling.

use crate::policy::{Notify, Severity};
use crate::status::State;

/// One way to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// What it is in the catalog: the same for the same entry of a policy, wherever it stands and whoever
    /// reads it.
    pub id: String,
    /// What people call it: `slack`, or `slack 2`.
    pub name: String,
    /// `slack`, `webhook`, `mail`, `command`.
    pub kind: &'static str,
    /// Nothing less severe is told.
    pub from: State,
    /// The entry.
    pub way: Notify,
}

impl Channel {
    /// Whether something so bad is told by it.
    #[must_use]
    pub fn hears(&self, severity: State) -> bool {
        severity >= self.from
    }
}

/// The ways of a policy. What is stated twice is one.
#[must_use]
pub fn channels(ways: &[Notify]) -> Vec<Channel> {
    let mut all: Vec<Channel> = Vec::new();
    for way in ways {
        let (kind, id) = (kind(way), id(way));
        if all.iter().any(|channel| channel.id == id) {
            continue;
        }
        let number = 1 + all.iter().filter(|channel| channel.kind == kind).count();
        let name = if number == 1 { kind.to_owned() } else { format!("{kind} {number}") };
        all.push(Channel { id, name, kind, from: from(way.from), way: way.clone() });
    }
    all
}

/// Which of them hear of everything, so far as any does: those that a digest is for.
#[must_use]
pub fn widest(all: &[Channel]) -> Vec<&Channel> {
    let from = all.iter().map(|channel| channel.from).min();
    all.iter().filter(|channel| Some(channel.from) == from).collect()
}

const fn kind(way: &Notify) -> &'static str {
    match () {
        () if way.slack.is_some() => "slack",
        () if way.webhook.is_some() => "webhook",
        () if way.mail.is_some() => "mail",
        () => "command",
    }
}

/// Of the entry as it is written: whoever has another home sees the same channel.
fn id(way: &Notify) -> String {
    let hash = blake3::hash(way.as_written().as_bytes()).to_hex();
    format!("{}:{}", kind(way), &hash.as_str()[..12])
}

const fn from(severity: Severity) -> State {
    match severity {
        Severity::Warning => State::Warning,
        Severity::High => State::High,
        Severity::Disaster => State::Disaster,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::policy::read::parse;
    use std::path::Path;

    fn command(word: &str, from: Severity) -> Notify {
        Notify { command: vec![word.to_owned()], from, ..Notify::default() }
    }

    #[test]
    fn a_channel_is_what_the_policy_says_of_it() {
        let ways =
            [command("a", Severity::Warning), command("b", Severity::High), command("a", Severity::High)];
        let all = channels(&ways);
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["command", "command 2"]);
        // In another place, and from another severity on.
        let moved = channels(&[command("b", Severity::Warning), command("a", Severity::Disaster)]);
        assert_eq!((&moved[0].id, &moved[1].id), (&all[1].id, &all[0].id));
        assert_eq!(widest(&all).len(), 1);
        assert!(all[0].hears(State::Warning) && !all[1].hears(State::Unknown) && all[1].hears(State::High));
    }

    #[test]
    fn whoever_reads_a_policy_from_wherever_sees_the_same_channels() {
        let text = "name: shop\nrepository: { url: /b, password: { env: X } }\n\
                    sources:\n  db: { files: { paths: [/srv] } }\n\
                    notify: [ { slack: { webhook: { file: ~/slack } } }, \
                    { webhook: { url: { file: hook }, secret: { env: S } }, from: high } ]\n";
        let read = |folder: &str, home: &str| {
            let mut policy = parse(text, "shop.yaml").unwrap();
            policy.settle(Path::new(folder), Some(Path::new(home)));
            channels(&policy.notify)
        };
        let (service, person) = (read("/etc/holdfast", "/var/lib/holdfast"), read("/srv/etc", "/root"));
        assert_ne!(service[0].way, person[0].way);
        let ids = |all: &[Channel]| all.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&service), ids(&person));
        assert_eq!(ids(&service), ids(&channels(&parse(text, "shop.yaml").unwrap().notify)));
    }
}
