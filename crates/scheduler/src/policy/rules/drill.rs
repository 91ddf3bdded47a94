//! Drills: names that they use, and what has to hold.
//!
//! On purpose not here: whether a drill proves enough (`lint`).

use super::super::kind::Kind;
use super::super::nearest::known;
use super::super::{Assertion, Drill, Expect, Policy};
use super::spot::Spot;
use super::{Judge, places, sources, words};

pub(super) fn judge(policy: &Policy, drill: &Drill, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    drill.cron.iter().for_each(|cron| judge.cron(&spot.key("cron"), cron));
    judge.span(&spot.key("within"), drill.within);
    judge.span(&spot.key("budget"), drill.budget);
    judge.span(&spot.key("scratch").key("keep_on_failure"), drill.scratch.keep_on_failure);
    let copies = policy.copies.iter().map(|copy| copy.name.as_str());
    let places: Vec<&str> = std::iter::once("repository").chain(copies).collect();
    for (number, name) in drill.from.iter().enumerate() {
        named(name, &places, "repository or copy", &spot.key("from").item(number), judge);
    }
    let sources = names(policy);
    for (number, name) in drill.sources.iter().enumerate() {
        named(name, &sources, "source", &spot.key("sources").item(number), judge);
    }
    if let Some(path) = &drill.scratch.path
        && !path.is_absolute()
        && !path.starts_with("~")
    {
        let next = "write a whole path: what is removed after a drill must not depend on where it runs";
        judge.wrong(&spot.key("scratch").key("path"), "this is no absolute path", next);
    }
    if let Some(bucket) = &drill.scratch.bucket {
        let spot = spot.key("scratch").key("bucket");
        judge.word(&spot.key("url"), words::bucket(&bucket.url));
        places::credentials(bucket.credentials.as_ref(), &spot.key("credentials"), judge);
    }
    for (number, it) in drill.assertions.iter().enumerate() {
        assertion(policy, it, &spot.key("assert").item(number), judge);
    }
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.sources.0.iter().map(|(name, _)| name.as_str()).collect()
}

fn named(name: &str, there: &[&str], what: &str, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    if !judge.is_full() && !there.contains(&name) {
        judge.wrong(spot, format!("there is no {what} `{name}`"), known(name, there));
    }
}

fn assertion(policy: &Policy, assertion: &Assertion, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    named(&assertion.source, &names(policy), "source", &spot.key("source"), judge);
    let says = [assertion.sql.is_some(), assertion.keys_exist.is_some(), !assertion.command.is_empty()];
    if says.iter().filter(|is| **is).count() != 1 && spot.is_whole() {
        let next = "write one of them here, and another entry for each other";
        judge.wrong(spot, "exactly one of sql, keys_exist and command says what has to hold", next);
    }
    let asks = assertion.sql.is_some() || assertion.keys_exist.is_some();
    let source = policy.sources.get(&assertion.source);
    if asks && source.and_then(|source| source.kind()).is_some_and(|kind| !has_databases(kind)) {
        let what = format!("`{}` is no cluster: nothing there answers a query", assertion.source);
        judge.wrong(&spot.key("source"), what, "name a source with postgres, or write `command`");
    }
    if assertion.expect.is_some() && assertion.sql.is_none() {
        judge.wrong(&spot.key("expect"), "only `sql` returns something", "leave it out");
    }
    if assertion.database.is_some() && !asks {
        judge.wrong(&spot.key("database"), "no query runs", "leave it out");
    }
    if let Some(keys) = &assertion.keys_exist {
        named(&keys.source, &names(policy), "source", &spot.key("keys_exist").key("in"), judge);
    }
    sources::needs_target(&assertion.command, &spot.key("command"), "what was restored", judge);
    judge.span(&spot.key("timeout"), assertion.timeout);
    range(assertion, &spot.key("expect"), judge);
}

fn has_databases(kind: Kind<'_>) -> bool {
    kind.is_cluster() || matches!(kind, Kind::Postgres(_))
}

fn range(assertion: &Assertion, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    let Some(Expect::Range(range)) = &assertion.expect else { return };
    match (range.min, range.max) {
        (None, None) => judge.wrong(spot, "it says nothing", "write min, max or both"),
        (Some(min), Some(max)) if min > max => {
            judge.wrong(spot, "no number is that large and that small", "min is at most max");
        }
        _ => {}
    }
}
