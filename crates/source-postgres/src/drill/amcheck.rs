//! Tables and indexes of a database, looked through by the server's own `amcheck`: whether every row
//! of a table is in its indexes sees what no checksum and no dump does.
//!
//! Each is asked about by itself and counted, so that none is passed over in silence. On purpose not
//! here: which databases.

use super::bench::{Bench, check, told, unasked};
use crate::error::PgError;
use crate::sql::{Session, identifier, quoted};
use holdfast_engine::proof::{Cause, Level, Probe};
use std::time::Duration;

/// Relations that are asked for at a time.
const PAGE: usize = 20_000;
/// Findings that are told of one database.
const TOLD_MAX: usize = 20;
/// So long a relation may take that has no other limit.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// SQLSTATEs of what is broken: in a table, in an index, and a file that is gone.
const BROKEN: [&str; 3] = ["XX001", "XX002", "58P01"];
/// Of a statement that took too long.
const CANCELED: &str = "57014";
/// First version that looks through tables.
const TABLES_SINCE: u32 = 14;

/// Names of what is counted.
const RELATIONS: &str = "relations";
const CHECKED: &str = "relations checked";

/// The level that was reached where all of this was asked for: without one relation that was looked
/// through, the server is up, and no more.
pub(super) fn reached(level: Level, probes: &[Probe]) -> Level {
    let sum = |name: &str| probes.iter().filter_map(|probe| probe.counts.get(name)).sum::<u64>();
    if sum(RELATIONS) > 0 && sum(CHECKED) == 0 { Level::Boot } else { level }
}

/// A table or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relation {
    oid: u32,
    name: String,
    is_index: bool,
    is_known: bool,
    is_valid: bool,
    /// It sorts texts.
    sorts: bool,
}

/// What became of all of them.
#[derive(Debug, Default)]
struct Sum {
    checked: u64,
    late: u64,
    unknown: u64,
    invalid: Vec<String>,
    broken: u64,
}

/// Looks through a database. `drifted`: this host sorts otherwise than the one it comes from.
pub(super) async fn look(bench: &Bench<'_>, session: &mut Session, drifted: bool) -> Probe {
    let mut probe = check(format!("tables and indexes of {}", quoted(&session.database)));
    let schema = match install(bench, session).await {
        Ok(schema) => schema,
        Err(error) => {
            let package =
                format!("install postgresql{0}-contrib (RHEL) or postgresql-{0} (Debian)", bench.major());
            let what = format!("amcheck cannot be used in {}: {}", quoted(&session.database), told(&error));
            probe.finds(Cause::Environment, what, package);
            return probe;
        }
    };
    let relations = match list(session).await {
        Ok(relations) => relations,
        Err(error) => {
            unasked(&mut probe, "its relations cannot be listed", &error);
            return probe;
        }
    };
    let (total, mut sum) = (relations.len(), Sum::default());
    let first = if total == 0 { 0 } else { (bench.drill.turn % total as u64) as usize };
    for at in 0..total {
        let relation = &relations[(first + at) % total];
        if bench.is_over() || bench.drill.cancel.is_raised() {
            sum.late += (total - at) as u64;
            break;
        }
        if let Err(error) = one(bench, session, &schema, relation, drifted, &mut sum, &mut probe).await {
            unasked(&mut probe, &format!("{} could not be checked", relation.name), &error);
            sum.late += (total - at) as u64;
            break;
        }
    }
    sum.tell(total as u64, &mut probe);
    probe
}

impl Sum {
    fn tell(self, total: u64, probe: &mut Probe) {
        probe.counts.insert(RELATIONS.to_owned(), total);
        probe.counts.insert(CHECKED.to_owned(), self.checked);
        if self.broken > TOLD_MAX as u64 {
            probe.notes.push(format!("{} relations are broken; the first {TOLD_MAX} are told", self.broken));
        }
        if self.late > 0 {
            let share = self.checked * 100 / total.max(1);
            let drills = total.div_ceil(self.checked.max(1));
            probe.not_provable.push(format!(
                "the time for checks was over: {} of {total} relations were checked ({share} %), all of them in \
                 {drills} drills",
                self.checked
            ));
        }
        if self.unknown > 0 {
            let what = format!("{} relations are of kinds that this amcheck does not know", self.unknown);
            probe.not_provable.push(what);
        }
        if !self.invalid.is_empty() {
            let shown = self.invalid.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
            probe.notes.push(format!("{} indexes are invalid, as they were: {shown}", self.invalid.len()));
        }
    }
}

/// Makes the extension ready; the schema that it is in.
async fn install(bench: &Bench<'_>, session: &mut Session) -> Result<String, PgError> {
    const WHERE: &str = "SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = \
        e.extnamespace WHERE e.extname = 'amcheck'";
    if bench.major() < 17 {
        // Later ones are told by a setting. What users want done at such a moment is not done here.
        let text = "UPDATE pg_catalog.pg_event_trigger SET evtenabled = 'D' WHERE evtenabled <> 'D'";
        session.run("put event triggers to rest", text).await?;
    }
    match session.one("look for amcheck", WHERE).await? {
        Some(_) => session.run("update amcheck", "ALTER EXTENSION amcheck UPDATE").await?,
        None => session.run("install amcheck", "CREATE EXTENSION amcheck SCHEMA pg_catalog").await?,
    }
    limit(bench, session).await?;
    let schema = session.one("look for amcheck", WHERE).await?;
    schema.ok_or_else(|| PgError::Refused("amcheck is not there after it was installed".to_owned()))
}

async fn list(session: &mut Session) -> Result<Vec<Relation>, PgError> {
    let mut all: Vec<Relation> = Vec::new();
    loop {
        let last = all.last().map_or(0, |relation| relation.oid);
        let text = format!(
            "SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind, COALESCE(a.amname, 'heap'), \
             COALESCE(i.indisvalid AND i.indisready AND i.indislive, true), i.indexrelid IS NOT NULL AND EXISTS (SELECT 1 \
             FROM pg_catalog.unnest(i.indcollation) x WHERE x <> 0) FROM pg_catalog.pg_class c JOIN \
             pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam LEFT \
             JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid WHERE c.relkind IN ('r', 'm', 't', 'i') AND \
             c.relpersistence <> 't' AND c.oid > {last} ORDER BY c.oid LIMIT {PAGE}"
        );
        let rows = session.rows("list its relations", &text).await?;
        let number = rows.len();
        for row in rows {
            let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
            let is_index = text(2) == "i";
            let oid = text(0).parse().map_err(|_| PgError::protocol("a number of a relation is none"))?;
            all.push(Relation {
                oid,
                name: text(1),
                is_index,
                is_known: text(3) == if is_index { "btree" } else { "heap" },
                is_valid: text(4) == "t",
                sorts: text(5) == "t",
            });
        }
        if number < PAGE {
            return Ok(all);
        }
    }
}

/// Looks through one relation; an error is of the connection.
async fn one(
    bench: &Bench<'_>,
    session: &mut Session,
    schema: &str,
    relation: &Relation,
    drifted: bool,
    sum: &mut Sum,
    probe: &mut Probe,
) -> Result<(), PgError> {
    if !relation.is_valid {
        sum.invalid.push(relation.name.clone());
        return Ok(());
    }
    if !relation.is_known || !relation.is_index && bench.major() < TABLES_SINCE {
        sum.unknown += 1;
        return Ok(());
    }
    let (schema, oid) = (identifier(schema), relation.oid);
    let look = if relation.is_index {
        format!("SELECT 0, '' FROM (SELECT {schema}.bt_index_check({oid}, true)) x")
    } else {
        format!("SELECT pg_catalog.count(*), pg_catalog.min(msg) FROM {schema}.verify_heapam({oid})")
    };
    if bench.drill.budget.is_some() {
        limit(bench, session).await?;
    }
    let asked = session.rows_within("look through a relation", &look, PATIENCE).await;
    match verdict(asked, relation)? {
        Found::Well => sum.checked += 1,
        Found::Late => sum.late += 1,
        Found::Unknown(why) => {
            sum.unknown += 1;
            if sum.unknown <= TOLD_MAX as u64 {
                probe.not_provable.push(format!("{}: {why}", relation.name));
            }
        }
        Found::Broken(why) => {
            sum.checked += 1;
            sum.broken += 1;
            if sum.broken <= TOLD_MAX as u64 {
                broken(bench, relation, &quoted(&session.database), drifted, &why, probe);
            }
        }
    }
    Ok(())
}

async fn limit(bench: &Bench<'_>, session: &mut Session) -> Result<(), PgError> {
    let limit = bench.left().map_or(0, |left| left.as_millis().max(1));
    let limits = format!("SET statement_timeout = {limit}; SET lock_timeout = '60s'");
    session.run("limit the time", &limits).await
}

fn broken(
    bench: &Bench<'_>,
    relation: &Relation,
    database: &str,
    drifted: bool,
    why: &str,
    probe: &mut Probe,
) {
    if drifted && relation.sorts {
        let what = format!("the index {} is not in the order of this host: {why}", relation.name);
        probe.finds(
            Cause::Environment,
            what,
            "this host sorts otherwise: drill where production's C library is",
        );
        return;
    }
    let kind = if relation.is_index { "index" } else { "table" };
    let what = format!("the {kind} {} of {database} is damaged: {why}", relation.name);
    probe.finds(bench.blame(), what, bench.advice());
}

/// What looking gave.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Well,
    Broken(String),
    Late,
    Unknown(String),
}

fn verdict(asked: Result<Vec<Vec<Option<String>>>, PgError>, relation: &Relation) -> Result<Found, PgError> {
    let rows = match asked {
        Ok(rows) => rows,
        Err(error) => {
            return match error.code() {
                None => Err(error),
                Some(CANCELED) => Ok(Found::Late),
                Some(code) if BROKEN.contains(&code) => Ok(Found::Broken(told(&error))),
                // A table whose rows cannot be read at all says so in many ways.
                Some(code) if code.starts_with("XX") => Ok(Found::Broken(told(&error))),
                Some(_) => Ok(Found::Unknown(told(&error))),
            };
        }
    };
    let row = rows.into_iter().next().unwrap_or_default();
    let value = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    match value(0).parse::<u64>() {
        Ok(0) => Ok(Found::Well),
        Ok(number) => Ok(Found::Broken(format!("{number} faults, the first: {}", value(1)))),
        Err(_) => Err(PgError::protocol(format!("a check of {} says nothing", relation.name))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::error::ServerError;

    fn index() -> Relation {
        let name = "public.orders_email_idx".to_owned();
        Relation { oid: 7, name, is_index: true, is_known: true, is_valid: true, sorts: true }
    }

    fn failed(code: &str) -> Result<Vec<Vec<Option<String>>>, PgError> {
        let message = "heap tuple (0,5) from table \"orders\" lacks matching index tuple".to_owned();
        let error = ServerError {
            code: code.into(),
            message,
            detail: "Key (email)=(x@y)".into(),
            ..ServerError::default()
        };
        Err(PgError::Server { what: "x".into(), error: Box::new(error) })
    }

    #[test]
    fn what_is_broken_is_told_from_what_is_not_known() {
        let Found::Broken(why) = verdict(failed("XX002"), &index()).unwrap() else { panic!("broken") };
        assert!(why.contains("lacks matching") && !why.contains("x@y"), "{why}");
        assert_eq!(verdict(failed("57014"), &index()).unwrap(), Found::Late);
        assert!(matches!(verdict(failed("0A000"), &index()).unwrap(), Found::Unknown(_)));
        let row = |number: &str| Ok(vec![vec![Some(number.to_owned()), Some("xmin is wrong".to_owned())]]);
        assert_eq!(verdict(row("0"), &index()).unwrap(), Found::Well);
        assert_eq!(
            verdict(row("2"), &index()).unwrap(),
            Found::Broken("2 faults, the first: xmin is wrong".into())
        );
        assert!(verdict(Ok(Vec::new()), &index()).is_err());
    }

    #[test]
    fn the_share_that_was_proved_is_told() {
        let mut probe = check("x");
        let sum = Sum { checked: 25, late: 75, invalid: vec!["a.b".into()], ..Sum::default() };
        sum.tell(100, &mut probe);
        assert!(
            probe.not_provable[0].contains("25 of 100 relations")
                && probe.not_provable[0].contains("in 4 drills")
        );
        assert_eq!(probe.counts["relations checked"], 25);
        assert_eq!(reached(Level::Full, std::slice::from_ref(&probe)), Level::Full);
        let mut none = check("y");
        Sum { late: 100, ..Sum::default() }.tell(100, &mut none);
        assert_eq!(reached(Level::Full, std::slice::from_ref(&none)), Level::Boot);
        assert_eq!(reached(Level::Check, &[none, probe.clone()]), Level::Check);
        assert!(probe.notes[0].contains("1 indexes are invalid") && probe.findings.is_empty());
    }
}
