//! What was recorded of a cluster at backup, held against what came back: databases, their sizes, and
//! numbers of rows.
//!
//! A number is held against another exactly only where both are of the same moment of the log. Where a
//! backup ends soon after its count, half of a table does not go missing meanwhile; along a log all may
//! have become otherwise, and what differs is not provable. On purpose not here: recording it.

use super::bench::{Bench, check, told};
use super::trail::Trail;
use crate::databases::Listed;
use crate::error::PgError;
use crate::lsn::Lsn;
use crate::rows::RowsOf;
use crate::sql::{Session, identifier, literal, quoted};
use holdfast_engine::proof::{Cause, Probe};
use std::collections::BTreeMap;
use std::time::Duration;

/// A table that had so many rows and has none now is a finding, whatever happened in between; and one
/// that has less than half of them, if only the backup was in between.
const MANY: u64 = 100;
/// A database that was larger than this, and is less than half of it now, is told.
const LARGE: u64 = 32 << 20;
/// So long one table may take.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// A recorded number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    pub of: RowsOf,
    pub rows: u64,
    /// Between these places of the log it was so.
    pub between: Option<(Lsn, Lsn)>,
}

/// Takes the exact ones out of what was recorded.
pub(super) fn recorded(facts: &BTreeMap<String, String>) -> Vec<Recorded> {
    let of = |(name, value): (&String, &String)| {
        let of = RowsOf::parse(name.strip_prefix("rows ")?)?;
        of.database.as_ref()?;
        let place = facts.get(&format!("{name} LSN")).and_then(|text| {
            let (before, after) = text.split_once(' ')?;
            Lsn::parse(before).zip(Lsn::parse(after))
        });
        Some(Recorded { of, rows: value.parse().ok()?, between: place })
    };
    facts.iter().filter_map(of).collect()
}

/// Names of databases that were recorded.
pub(super) fn databases(facts: &BTreeMap<String, String>) -> Vec<(String, Option<u64>)> {
    let of = |(name, value): (&String, &String)| {
        let name = name.strip_prefix("database ")?;
        // Other facts of it have more words behind its name.
        let plain = match name.strip_prefix('"') {
            Some(inside) => inside.strip_suffix('"')?.replace("\"\"", "\""),
            None => name.to_owned(),
        };
        (quoted(&plain) == name).then(|| (plain, value.parse().ok()))
    };
    facts.iter().filter_map(of).collect()
}

/// Whether nothing was committed between the count and the point of a drill.
pub(super) fn is_same_moment(between: Option<(Lsn, Lsn)>, replayed: Option<Lsn>, trail: &Trail) -> bool {
    let (Some((before, after)), Some(replayed)) = (between, replayed) else { return false };
    let known = trail.last.is_some();
    known && replayed >= after && trail.last_commit.is_none_or(|commit| commit < before)
}

/// What lies between a count and the point of a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    /// No commit.
    Nothing,
    /// The rest of the backup.
    Backup,
    /// A way along the log.
    Log,
}

/// Holds two numbers against each other.
pub(super) fn compare(name: &str, recorded: u64, restored: u64, between: Between, probe: &mut Probe) {
    let exact = between == Between::Nothing;
    let both = format!("{name}: recorded {recorded}, restored {restored}");
    if exact && recorded != restored {
        let what = format!("{both}; both are of one moment");
        probe.finds(Cause::Backup, what, "look into other snapshots, and what production has");
    } else if recorded >= MANY && restored == 0 {
        probe.finds(
            Cause::Backup,
            both,
            "rows are missing: look into other snapshots, and what production has",
        );
    } else if !exact && recorded == restored {
        probe.notes.push(format!("{both} (not of the same moment)"));
    } else if !exact {
        let way = if between == Between::Log { "along the log" } else { "while the backup went on" };
        let what = format!("{both}: whether they became so {way} cannot be told");
        probe.not_provable.push(what);
    }
}

/// Databases that were recorded, against those that are there.
pub(super) fn present(bench: &Bench<'_>, listed: &[Listed]) -> Probe {
    let mut probe = check("databases");
    let recorded = databases(&bench.drill.facts);
    probe.counts.insert("databases".to_owned(), listed.len() as u64);
    if recorded.is_empty() {
        probe.not_provable.push("no databases were recorded at backup to compare with".to_owned());
    }
    for (name, bytes) in recorded {
        let shown = quoted(&name);
        let lost = match listed.iter().find(|one| one.name == name) {
            None => format!("the database {shown} was recorded and is missing"),
            Some(one) => match (bytes, one.bytes) {
                (Some(was), Some(is)) if was > LARGE && is < was / 2 => {
                    format!("the database {shown} had {was} bytes and has {is}")
                }
                _ => continue,
            },
        };
        if bench.drill.along {
            probe.notes.push(format!("{lost}; it may have become so along the log"));
        } else {
            probe.finds(Cause::Backup, lost, "look into other snapshots");
        }
    }
    probe
}

/// Counts rows of the tables of one database that were counted at backup.
pub(super) async fn rows(bench: &Bench<'_>, session: &mut Session, probe: &mut Probe) {
    let database = session.database.clone();
    let all = recorded(&bench.drill.facts);
    for one in all.iter().filter(|one| one.of.database.as_deref() == Some(&database)) {
        let name = one.of.to_string();
        if bench.is_over() {
            probe.not_provable.push(format!("{name}: the time for checks was over"));
            continue;
        }
        match count(bench, session, &one.of).await {
            Ok(Counted::Rows(restored)) => {
                *probe.counts.entry("tables counted".to_owned()).or_default() += 1;
                // A dump has what was counted in its own snapshot.
                let exact = bench.is_of_dumps() || is_same_moment(one.between, bench.replayed, &bench.trail);
                let between = match (exact, bench.drill.along) {
                    (true, _) => Between::Nothing,
                    (false, false) => Between::Backup,
                    (false, true) => Between::Log,
                };
                compare(&name, one.rows, restored, between, probe);
            }
            Ok(Counted::MadeAnew(restored)) => {
                let what = format!("{name}: recorded {}, made anew here: {restored}", one.rows);
                probe.notes.push(what);
            }
            Ok(Counted::Elsewhere) => {
                probe.not_provable.push(format!("{name}: its rows lie on another server"));
            }
            Ok(Counted::Missing) => {
                let what = format!("{name}: recorded {} rows, and there is no such table", one.rows);
                match bench.drill.along {
                    true => probe.notes.push(format!("{what}; it may have been dropped along the log")),
                    false => probe.finds(Cause::Backup, what, "look into other snapshots"),
                }
            }
            Err(error) => match error.code() {
                Some("57014") => probe.not_provable.push(format!("{name}: counting took too long")),
                _ => probe.finds(
                    bench.blame(),
                    format!("{name} cannot be counted: {}", told(&error)),
                    bench.advice(),
                ),
            },
        }
    }
}

/// What counting gave.
enum Counted {
    Rows(u64),
    /// Of what a load fills from elsewhere than the dump: a view that is computed, a table of an extension.
    MadeAnew(u64),
    /// It is not here.
    Elsewhere,
    Missing,
}

async fn count(bench: &Bench<'_>, session: &mut Session, of: &RowsOf) -> Result<Counted, PgError> {
    let text = format!(
        "SELECT c.relkind, EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = \
         'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e') FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN \
         ('r', 'p', 'm', 'f')",
        literal(&of.schema),
        literal(&of.table)
    );
    let Some(row) = session.rows("look for a table", &text).await?.into_iter().next() else {
        return Ok(Counted::Missing);
    };
    let is = |at: usize, text: &str| row.get(at).and_then(Option::as_deref) == Some(text);
    // What lies on other servers is not asked for.
    if is(0, "f") {
        return Ok(Counted::Elsewhere);
    }
    let made_anew = bench.is_of_dumps() && (is(0, "m") || is(1, "t"));
    let limit = bench.left().map_or(0, |left| left.as_millis().max(1));
    // An index may say less than the table has.
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = '60s'; SET LOCAL \
         enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off"
    );
    session.run("begin", &begin).await?;
    let text =
        format!("SELECT pg_catalog.count(*) FROM {}.{}", identifier(&of.schema), identifier(&of.table));
    let counted = session.rows_within("count", &text, PATIENCE).await;
    session.run("end the count", "ROLLBACK").await?;
    let number = counted?.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    let number = number.and_then(|text| text.parse().ok());
    let counted = if made_anew { Counted::MadeAnew } else { Counted::Rows };
    number.map(counted).ok_or_else(|| PgError::protocol("a count that is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn facts_are_taken_apart() {
        let facts = facts(&[
            ("rows shop.public.orders", "1200000"),
            ("rows shop.public.orders LSN", "0/5000000 0/5000060"),
            ("rows shop.public.big", "estimated 7"),
            ("database shop", "7000000"),
            ("database shop collation", "libc C"),
            ("database \"My Shop\"", "unknown"),
            ("database \"My Shop\" encoding", "UTF8"),
            ("timeline", "1"),
        ]);
        let all = recorded(&facts);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].rows, all[0].between), (1_200_000, Some((Lsn(0x500_0000), Lsn(0x500_0060)))));
        assert_eq!(databases(&facts), [("My Shop".to_owned(), None), ("shop".to_owned(), Some(7_000_000))]);
    }

    #[test]
    fn numbers_of_one_moment_have_to_agree() {
        let trail =
            |commit: u64| Trail { last_commit: Some(Lsn(commit)), last: Some(Lsn(9)), ..Trail::default() };
        let between = Some((Lsn(5), Lsn(6)));
        assert!(is_same_moment(between, Some(Lsn(7)), &trail(4)));
        assert!(!is_same_moment(between, Some(Lsn(7)), &trail(6)));
        assert!(!is_same_moment(between, Some(Lsn(5)), &trail(4)));
        assert!(!is_same_moment(None, Some(Lsn(7)), &trail(4)));
        assert!(!is_same_moment(between, Some(Lsn(7)), &Trail::default()));
    }

    #[test]
    fn a_table_that_lost_its_rows_is_found() {
        let found = |recorded, restored, between| {
            let mut probe = check("x");
            compare("a.b.c", recorded, restored, between, &mut probe);
            (probe.findings.len(), probe.notes.len(), probe.not_provable.len())
        };
        let (nothing, backup, log) = (Between::Nothing, Between::Backup, Between::Log);
        for between in [backup, log] {
            assert_eq!(found(1_200_000, 0, between), (1, 0, 0));
            assert_eq!(found(3, 0, between), (0, 0, 1));
            assert_eq!(found(7, 7, between), (0, 1, 0));
            assert_eq!(found(7, 8, between), (0, 0, 1));
        }
        // Queues empty and fill while others are counted.
        assert_eq!((found(1_000_000, 5, backup), found(1_000_000, 5, log)), ((0, 0, 1), (0, 0, 1)));
        assert_eq!((found(3, 0, nothing), found(7, 7, nothing)), ((1, 0, 0), (0, 0, 0)));
    }
}
