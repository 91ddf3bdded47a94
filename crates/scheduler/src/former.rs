//! Sources that were taken out of a policy: what was backed up as them lies in the repository, and no rule of the
//! policy is said of it any more.
//!
//! A policy knows its own by the name that it gave them and by its tag; where hosts share a repository, and one of
//! them has another policy of the same name, also by the host: what lives on elsewhere is not accused. On purpose not
//! here: who is asked, and what is done about it.

use crate::hands::{Call, Place};
use crate::policy::Policy;
use crate::policy::units::Span;
use crate::run::words;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A snapshot, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub source: String,
    pub host: String,
    pub tags: Vec<String>,
    pub ended: Timestamp,
}

/// What a line of `snapshots --json` says.
pub(crate) fn told(line: &Value) -> Option<Told> {
    let ended = line["summary"]["backup_end"].as_str().or_else(|| line["time"].as_str())?;
    let tags = line["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    Some(Told {
        source: line["source"].as_str()?.to_owned(),
        host: line["hostname"].as_str().unwrap_or_default().to_owned(),
        tags: tags.iter().filter_map(|tag| tag.as_str()).map(str::to_owned).collect(),
        ended: ended.parse().ok()?,
    })
}

/// A source that was taken out, of which something is older than the policy lets it be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Former {
    /// Its full name.
    pub source: String,
    /// The host that it was on; none where that is clear.
    pub host: Option<String>,
    /// So many snapshots are too old.
    pub old: usize,
    /// When the oldest was made.
    pub oldest: Timestamp,
}

/// Finds them. `here` is this host.
pub(crate) fn former(policy: &Policy, all: &[Told], here: &str, after: Span, now: Timestamp) -> Vec<Former> {
    let Ok(span) = SignedDuration::try_from(after.0) else { return Vec::new() };
    let is_over = |told: &&Told| told.ended.checked_add(span).is_ok_and(|due| due <= now);
    let current: BTreeSet<String> = policy.sources.0.iter().map(|(name, _)| policy.label(name)).collect();
    let (prefix, tag) = (format!("{}/", policy.name), words::tag(&policy.name));
    let mut streams: BTreeMap<(&str, &str), Vec<&Told>> = BTreeMap::new();
    for told in all.iter().filter(|told| told.source.starts_with(&prefix) && told.tags.contains(&tag)) {
        streams.entry((&told.source, &told.host)).or_default().push(told);
    }
    let newest =
        |source: &String| all.iter().filter(|told| told.source == *source).max_by_key(|told| told.ended);
    let ours: BTreeSet<&str> =
        current.iter().filter_map(newest).map(|told| &*told.host).chain([here]).collect();
    let hosts = |source: &str| streams.keys().filter(|(of, _)| *of == source).count();
    let mut found = Vec::new();
    for ((source, host), told) in &streams {
        let over: Vec<_> = told.iter().copied().filter(|told| is_over(told)).collect();
        let Some(oldest) = over.iter().map(|told| told.ended).min() else { continue };
        let is_ours = ours.contains(host) || over.len() == told.len();
        if is_ours && !current.contains(*source) {
            found.push(Former {
                source: (*source).to_owned(),
                host: (hosts(source) > 1).then(|| (*host).to_owned()),
                old: over.len(),
                oldest,
            });
        }
    }
    found
}

impl Former {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("{} of host {host}", self.source),
            None => self.source.clone(),
        }
    }

    /// Forgets what of it is too old.
    pub(crate) fn forget(&self, after: Span, place: &Place) -> Call {
        let mut words = vec!["forget".to_owned(), format!("--source={}", self.source)];
        words.extend(self.host.iter().map(|host| format!("--host={host}")));
        words.push("--group-by=source".to_owned());
        words.push(format!("--delete-after={}h", words::hours(after)));
        Call::on(place, words)
    }

    /// The same as a person types it.
    pub(crate) fn typed(&self, after: Span, place: &Place) -> String {
        format!("{} --prune", words::shown(&self.forget(after, place)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::policy::{Activity, REPOSITORY};

    const TEXT: &str = "
name: shop
repository: { url: /r, password: { env: X } }
sources: { tree: { files: { paths: [ /srv ] } } }
retention: { delete_after: 10d }
";

    fn at(day: u32) -> Timestamp {
        format!("2026-11-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn one(source: &str, host: &str, day: u32) -> Told {
        let tags = vec!["policy=shop".to_owned()];
        Told { source: source.into(), host: host.into(), tags, ended: at(day) }
    }

    fn found(all: &[Told]) -> Vec<(String, usize)> {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let span = policy.retention.as_ref().unwrap().delete_after.unwrap();
        let found = former(&policy, all, "web1", span, at(20));
        found.iter().map(|former| (former.name(), former.old)).collect()
    }

    #[test]
    fn what_a_policy_names_no_more_is_found_and_nobody_else_s() {
        let old = [one("shop/old", "web1", 1), one("shop/old", "web1", 5), one("shop/old", "web1", 19)];
        assert_eq!(found(&old), [("shop/old".to_owned(), 2)]);
        // What the rule reaches, what is young, what another policy has, what a person called so.
        let by_hand = Told { tags: Vec::new(), ..one("shop/mine", "web1", 1) };
        let others = [
            one("shop/tree", "web1", 1),
            one("shop/old", "web1", 19),
            Told { tags: vec!["policy=shop2".into()], ..one("shop2/old", "web1", 1) },
            by_hand,
        ];
        assert!(found(&others).is_empty());
        // Another host's policy of the same name is alive, until nothing new comes of it.
        let lives = [one("shop/media", "web2", 1), one("shop/media", "web2", 19)];
        assert!(found(&lives).is_empty());
        assert_eq!(found(&lives[..1]), [("shop/media".to_owned(), 1)]);
        // Unless it is who backs this policy's sources up.
        let moved = [&lives[..], &[one("shop/tree", "web2", 19)]].concat();
        assert_eq!(found(&moved), [("shop/media".to_owned(), 1)]);
        let two = [one("shop/old", "web1", 1), one("shop/old", "web2", 19)];
        assert_eq!(found(&two), [("shop/old of host web1".to_owned(), 1)]);
    }

    #[test]
    fn what_to_do_is_a_command() {
        let policy: Policy = serde_saphyr::from_str(TEXT).unwrap();
        let place = policy.place(REPOSITORY, Activity::Maintain).unwrap();
        let former = Former { source: "shop/old".into(), host: None, old: 1, oldest: at(1) };
        let span = "10d".parse().unwrap();
        let wanted = "holdfast -r /r forget --source=shop/old --group-by=source --delete-after=240h --prune";
        assert_eq!(former.typed(span, &place), wanted);
        let former = Former { host: Some("web1".into()), ..former };
        assert!(former.typed(span, &place).contains("--source=shop/old --host=web1 --group-by"));
    }
}
