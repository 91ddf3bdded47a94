//! What was recorded of databases when they were dumped, held against a server that the dumps were
//! loaded into.
//!
//! Sizes say nothing: what is loaded has no room between its rows. On purpose not here: numbers of rows,
//! which are of the dump's own snapshot and have to be the same ([`super::counts`]).

use super::bench::check;
use super::counts;
use crate::databases::{COMMON, Listed};
use crate::sql::quoted;
use holdfast_engine::proof::{Cause, Probe};
use std::collections::BTreeMap;

/// What a fact says that begins so is left out of a dump.
const NOT_COVERED: &str = "not covered";

/// Databases that were dumped; others were listed, and could not be.
pub(super) fn databases(facts: &BTreeMap<String, String>) -> Vec<String> {
    let fact = |name: &str, what: &str| facts.get(&format!("database {} {what}", quoted(name)));
    let is_hidden =
        |name: &str| fact(name, "row level security").is_some_and(|rules| rules.starts_with(NOT_COVERED));
    let all = counts::databases(facts).into_iter().map(|(name, _)| name);
    all.filter(|name| fact(name, "large objects").is_some() && !is_hidden(name)).collect()
}

/// Whether all that were dumped are there.
pub(super) fn present(facts: &BTreeMap<String, String>, listed: &[Listed]) -> Probe {
    let mut probe = check("databases");
    let dumped = databases(facts);
    probe.counts.insert("databases".to_owned(), dumped.len() as u64);
    if dumped.is_empty() {
        probe.not_provable.push("no databases were recorded at backup to compare with".to_owned());
    }
    for name in dumped.iter().filter(|name| !listed.iter().any(|one| one.name == **name)) {
        let what = format!("the database {} was dumped, and is not there after loading", quoted(name));
        probe.finds(Cause::Backup, what, "look into other snapshots");
    }
    for name in dumped {
        let objects = facts.get(&format!("database {} large objects", quoted(&name)));
        if let Some(objects) = objects.filter(|objects| objects.starts_with(NOT_COVERED)) {
            probe.not_provable.push(format!("large objects of {}: {objects}", quoted(&name)));
        }
    }
    for (name, _) in counts::databases(facts) {
        if !databases(facts).contains(&name) {
            probe.not_provable.push(format!("the database {} is not in the snapshot", quoted(&name)));
        }
    }
    probe
}

/// Whether databases have the encoding and the order of texts that they had. Another version of the same
/// order breaks nothing: all indexes were built here. The common template is the new cluster's own, and
/// sorts as that does.
pub(super) fn sorting(facts: &BTreeMap<String, String>, listed: &[Listed]) -> Probe {
    let mut probe = check("collations");
    let dumped = databases(facts);
    for one in listed.iter().filter(|one| one.name != COMMON && dumped.contains(&one.name)) {
        let shown = quoted(&one.name);
        let fact = |what: &str| facts.get(&format!("database {shown} {what}"));
        *probe.counts.entry("databases".to_owned()).or_default() += 1;
        if let Some(then) = fact("encoding").filter(|then| **then != one.encoding) {
            let what = format!("the database {shown} had the encoding {then}, and has {}", one.encoding);
            probe.finds(Cause::Environment, what, "drill where a server can have that encoding");
        }
        let Some(then) = fact("collation") else { continue };
        let (then, now) = (parts(then), parts(&one.collation));
        let both = format!("the database {shown} was sorted by {}, here by {}", then.shown, now.shown);
        if (then.provider, then.locale) != (now.provider, now.locale) {
            let next = "install that locale (locale-gen, glibc-langpack), or drill where it is";
            probe.finds(Cause::Environment, both, next);
        } else if then.version != now.version {
            probe.notes.push(format!("{both}: its indexes were built here"));
        }
    }
    probe
}

/// How a database sorts, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Sorting<'a> {
    provider: &'a str,
    locale: &'a str,
    version: &'a str,
    shown: &'a str,
}

fn parts(fact: &str) -> Sorting<'_> {
    let shown = fact.split(", now ").next().unwrap_or_default();
    let (provider, rest) = shown.split_once(' ').unwrap_or((shown, ""));
    let (locale, version) = rest.split_once(' ').unwrap_or((rest, ""));
    Sorting { provider, locale, version, shown }
}

/// Says what of the rows cannot be compared; none if all that was asked for was counted exactly.
pub(super) fn uncounted(facts: &BTreeMap<String, String>) -> Option<Probe> {
    let mut probe = check("rows");
    let rows = |name: &&String| name.starts_with("rows ");
    if !facts.keys().any(|name| rows(&name)) {
        let what = "no rows were counted when it was dumped: name tables in count_rows";
        probe.not_provable.push(what.to_owned());
    }
    for (name, value) in facts.iter().filter(|(name, _)| rows(name)) {
        if value.parse::<u64>().is_err() {
            probe.not_provable.push(format!("{name}: recorded was {value}"));
        }
    }
    (!probe.not_provable.is_empty()).then_some(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn listed(name: &str, encoding: &str, collation: &str) -> Listed {
        Listed {
            name: name.into(),
            bytes: None,
            is_open: true,
            is_alive: true,
            is_template: false,
            encoding: encoding.into(),
            collation: collation.into(),
            sorts_differently: false,
        }
    }

    #[test]
    fn only_what_was_dumped_is_expected() {
        let facts = facts(&[
            ("database \"My Shop\"", "7"),
            ("database \"My Shop\" large objects", "not covered: 1 of 2 are not for this role to read"),
            ("database ruled", "7"),
            ("database ruled large objects", "covered 0"),
            ("database ruled row level security", "not covered 3"),
            ("database closed", "unknown"),
            ("database lost", "7"),
            ("database lost large objects", "covered 0"),
        ]);
        assert_eq!(databases(&facts), ["My Shop", "lost"]);
        let probe = present(&facts, &[listed("My Shop", "", "")]);
        assert_eq!(probe.findings.len(), 1, "{probe:?}");
        assert!(probe.findings[0].what.contains("the database lost") && probe.not_provable.len() == 3);
    }

    #[test]
    fn another_version_of_the_same_order_breaks_nothing() {
        let facts = facts(&[
            ("database a", "7"),
            ("database a large objects", "covered 0"),
            ("database a encoding", "UTF8"),
            ("database a collation", "libc ko_KR.UTF-8 2.31, now 2.36"),
        ]);
        let of = |encoding: &str, collation: &str| sorting(&facts, &[listed("a", encoding, collation)]);
        let same = of("UTF8", "libc ko_KR.UTF-8 2.41");
        assert!(same.findings.is_empty() && same.notes.len() == 1, "{same:?}");
        assert!(of("UTF8", "libc ko_KR.UTF-8 2.31").notes.is_empty());
        for (encoding, collation) in [("LATIN1", "libc ko_KR.UTF-8 2.31"), ("UTF8", "libc C")] {
            let other = of(encoding, collation);
            assert_eq!(other.findings[0].cause, Cause::Environment, "{other:?}");
        }
    }

    #[test]
    fn what_was_not_counted_is_told() {
        assert!(uncounted(&facts(&[("database a", "7")])).is_some());
        assert_eq!(uncounted(&facts(&[("rows a.b.c", "7")])), None);
        let some = uncounted(&facts(&[("rows a.b.c", "7"), ("rows a.b.d", "estimated 7")]));
        assert!(some.is_some_and(|probe| probe.not_provable[0].contains("a.b.d")));
    }
}
