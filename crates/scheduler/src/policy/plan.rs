//! What a policy comes down to: when what runs, which key does it here, and what is kept.
//!
//! Words and times only. On purpose not here: doing it, and looking into the repository.

use super::kind::Kind;
use super::secret::{KeyRef, Keys, SecretRef, TransitRef, VaultRef};
use super::{Notify, Policy, Retention, Severity};
use crate::schedule::{Clockwork, which};
use jiff::{Timestamp, Zoned};
use serde::Serialize;

/// Something that will run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coming {
    /// `back up shop/db`, `check`, `drill`.
    pub what: String,
    /// When, in the zone of its schedule.
    pub at: Zoned,
}

/// Something that has no time of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Follows {
    /// What.
    pub what: String,
    /// After what it runs.
    pub after: String,
}

/// What one key does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hand {
    /// `repository`, or the name of a copy.
    pub place: String,
    /// Where that is.
    pub url: String,
    /// `back up`, `forget, prune, check`, `restore, copy, drill`.
    pub activity: &'static str,
    /// Where what opens it comes from; none where the activity is not for this host.
    pub opened_by: Option<String>,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hears {
    /// `slack`, `mail to night@shop.example`, `heartbeat`.
    pub who: String,
    /// What of.
    pub what: String,
    /// Where its address comes from, which is a secret; none where there is none.
    pub address: Option<String>,
}

/// What a keep rule means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// `repository`, or the name of a copy.
    pub place: String,
    /// `keep_daily: 14`.
    pub rule: String,
    /// What that keeps, and why.
    pub keeps: String,
}

/// The next runs after a moment, so many of each, in order.
///
/// # Errors
/// A schedule is none; in words for people.
pub fn coming(policy: &Policy, after: Timestamp, each: usize) -> Result<Vec<Coming>, String> {
    let mut coming = Vec::new();
    let mut add = |what: String, clock: Option<Clockwork>| {
        let Some(clock) = clock else { return };
        let times = std::iter::successors(clock.after(after), |last| clock.after(*last)).take(each);
        coming
            .extend(times.map(|time| Coming { what: what.clone(), at: time.to_zoned(clock.zone().clone()) }));
    };
    let together = with_policy(policy);
    if !together.is_empty() {
        add(format!("back up {}", together.join(", ")), which::of_policy(policy)?);
    }
    for (name, source) in &policy.sources.0 {
        if source.schedule.is_some() {
            add(format!("back up {}/{name}", policy.name), which::of_source(policy, name)?);
        }
    }
    add("prune".to_owned(), which::of_prune(policy)?);
    add("check".to_owned(), which::of_check(policy)?);
    add("drill".to_owned(), which::of_drill(policy)?);
    coming.sort_by_key(|coming| coming.at.timestamp());
    Ok(coming)
}

/// The sources that are backed up when the policy says, by their full names.
fn with_policy(policy: &Policy) -> Vec<String> {
    let runs =
        |source: &super::Source| source.schedule.is_none() && source.kind().is_some_and(Kind::is_backed_up);
    let names = policy.sources.0.iter().filter(|(_, source)| runs(source));
    names.map(|(name, _)| format!("{}/{name}", policy.name)).collect()
}

/// What runs after something else.
#[must_use]
pub fn follows(policy: &Policy) -> Vec<Follows> {
    let mut follows = Vec::new();
    let mut add = |what: String, after: &str| follows.push(Follows { what, after: after.to_owned() });
    if policy.schedule.is_none() && !with_policy(policy).is_empty() {
        add(
            format!("back up {}", with_policy(policy).join(", ")),
            "`holdfast run` by hand, or another scheduler",
        );
    }
    for copy in &policy.copies {
        add(format!("copy to {}", copy.name), "each backup");
    }
    if policy.retention.is_some() {
        add("forget".to_owned(), "each run");
        if policy.prune.as_ref().is_none_or(|prune| prune.cron.is_none()) {
            add("prune".to_owned(), "each run that forgot something");
        }
    }
    if policy.check.as_ref().is_some_and(|check| check.cron.is_none()) {
        add("check".to_owned(), "each run");
    }
    if policy.drill.as_ref().is_some_and(|drill| drill.cron.is_none()) {
        add("drill".to_owned(), "each run");
    }
    follows
}

/// Which key does what on this host.
#[must_use]
pub fn hands(policy: &Policy) -> Vec<Hand> {
    let it = &policy.repository;
    let mut hands = hands_of("repository", &it.url, it.password.as_ref(), it.keys.as_ref(), true);
    for it in &policy.copies {
        hands.extend(hands_of(&it.name, &it.url, it.password.as_ref(), it.keys.as_ref(), false));
    }
    hands
}

/// Who is told of what.
#[must_use]
pub fn told(policy: &Policy) -> Vec<Hears> {
    let mut all: Vec<Hears> = policy.notify.iter().map(hears).collect();
    let digest = policy.digest.clone().unwrap_or_default();
    if !all.is_empty() && !digest.off {
        let cron = digest.cron.unwrap_or_else(|| which::DIGEST.to_owned());
        all.push(Hears {
            who: "those of them who hear most".to_owned(),
            what: format!("how everything stands, at {cron}"),
            address: None,
        });
    }
    all.extend(policy.heartbeat.as_ref().map(|heartbeat| Hears {
        who: "heartbeat".to_owned(),
        what: "that every source is as young as was promised".to_owned(),
        address: Some(secret_from(&heartbeat.url)),
    }));
    all
}

fn hears(notify: &Notify) -> Hears {
    let what = match notify.from {
        Severity::Warning => "all that is wrong",
        Severity::High => "what is high, and disasters",
        Severity::Disaster => "disasters",
    };
    let (who, address) = match notify {
        Notify { slack: Some(slack), .. } => ("slack".to_owned(), Some(secret_from(&slack.webhook))),
        Notify { webhook: Some(webhook), .. } => ("webhook".to_owned(), Some(secret_from(&webhook.url))),
        Notify { mail: Some(mail), .. } => (format!("mail to {}", mail.to.join(", ")), None),
        Notify { command, .. } => (format!("command {}", command.first().map_or("", String::as_str)), None),
    };
    Hears { who, what: what.to_owned(), address }
}

fn hands_of(
    place: &str,
    url: &str,
    password: Option<&SecretRef>,
    keys: Option<&Keys>,
    is_first: bool,
) -> Vec<Hand> {
    let key = |of: fn(&Keys) -> Option<&KeyRef>| match password {
        Some(password) => Some(format!("password from {}", secret_from(password))),
        None => keys.and_then(of).map(|key| format!("key from {}", key_from(key))),
    };
    let write = if is_first { "back up" } else { "copy to it" };
    let read = if is_first { "copy from it, restore, drill" } else { "restore, drill" };
    let all = [
        (write, key(|keys| keys.backup.as_ref())),
        ("forget, prune, check", key(|keys| keys.maintain.as_ref())),
        (read, key(|keys| keys.read.as_ref())),
    ];
    let hand =
        |(activity, opened_by)| Hand { place: place.to_owned(), url: url.to_owned(), activity, opened_by };
    all.into_iter().map(hand).collect()
}

/// Where a secret comes from, in words.
fn secret_from(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Env(name) => format!("${name}"),
        SecretRef::File(path) => path.display().to_string(),
        SecretRef::Command(words) => format!("what {} prints", words.first().map_or("", String::as_str)),
        SecretRef::Credential(name) => format!("the credential {name}"),
        SecretRef::Vault(stored) => stored_at(stored),
    }
}

fn key_from(key: &KeyRef) -> String {
    match key {
        KeyRef::File(path) => path.display().to_string(),
        KeyRef::Credential(name) => format!("the credential {name}"),
        KeyRef::Vault(stored) => stored_at(stored),
        KeyRef::Transit(TransitRef { key, file: Some(file) }) => {
            format!("{}, opened by {key} of Vault", file.display())
        }
        KeyRef::Transit(TransitRef { key, file: None }) => format!("its slot, opened by {key} of Vault"),
    }
}

fn stored_at(stored: &VaultRef) -> String {
    format!("{}#{} of Vault", stored.path, stored.field)
}

/// What is kept, rule by rule.
#[must_use]
pub fn kept(policy: &Policy) -> Vec<Kept> {
    let mut kept = kept_by("repository", policy.retention.as_ref());
    for copy in &policy.copies {
        kept.extend(kept_by(&copy.name, copy.retention.as_ref().or(policy.retention.as_ref())));
    }
    kept
}

fn kept_by(place: &str, retention: Option<&Retention>) -> Vec<Kept> {
    let line = |rule: String, keeps: String| Kept { place: place.to_owned(), rule, keeps };
    let Some(retention) = retention else {
        return vec![line("no retention".to_owned(), "everything, for ever".to_owned())];
    };
    let counted = [
        ("keep_hourly", retention.keep_hourly, "hours"),
        ("keep_daily", retention.keep_daily, "days"),
        ("keep_weekly", retention.keep_weekly, "weeks"),
        ("keep_monthly", retention.keep_monthly, "months"),
        ("keep_yearly", retention.keep_yearly, "years"),
    ];
    let mut kept = Vec::new();
    if let Some(count) = retention.keep_last {
        kept.push(line(format!("keep_last: {count}"), format!("the newest {count} of each source")));
    }
    for (key, count, unit) in counted {
        let Some(count) = count else { continue };
        let keeps = format!("of each source the newest of each of the last {count} {unit} that have one");
        kept.push(line(format!("{key}: {count}"), keeps));
    }
    if let Some(within) = retention.keep_within {
        kept.push(line(format!("keep_within: {within}"), format!("all that are less than {within} old")));
    }
    if let Some(wal) = retention.wal {
        let keeps =
            format!("the log that leads to every moment of the last {wal}, and the snapshot before it");
        kept.push(line(format!("wal: {wal}"), keeps));
    }
    if let Some(after) = retention.delete_after {
        let keeps = format!(
            "nothing that is older than {after}, whatever the other rules say, the last one neither, nor its log; told two weeks before"
        );
        kept.push(line(format!("delete_after: {after}"), keeps));
        let bare = Retention { wal: None, delete_after: None, delete_former: false, ..retention.clone() };
        let (former, alone) = (retention.delete_former, bare == Retention::default());
        if former {
            let keeps =
                format!("nothing that is older than {after} of sources that were taken out of the policy");
            kept.push(line("delete_former: true".to_owned(), keeps));
        }
        if alone {
            kept.push(line("no keep rule".to_owned(), format!("all that is younger than {after}")));
        }
        let held = "what is on hold; of what is younger also the newest whole snapshot of each source, and the newest that a drill proved there";
        kept.push(line("always".to_owned(), held.to_owned()));
        return kept;
    }
    let always = "the newest whole snapshot of each source, the newest that a drill proved there, and what is on hold; a snapshot that lacks something \
                  counts for no rule";
    kept.push(line("always".to_owned(), always.to_owned()));
    kept
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
