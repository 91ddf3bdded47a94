//! Exact numbers of rows of chosen tables, for whoever compares a restored copy with them.
//!
//! A count that takes too long gives way to the server's estimate, and says so. On purpose not here:
//! which snapshot of the rows is looked at.

use crate::error::PgError;
use crate::sql::{Session, identifier, literal, quoted};
use std::fmt;
use std::time::Duration;

/// So long one table may take.
const COUNT_SECONDS: u64 = 60;
/// So long the server may take to notice that.
const PATIENCE: Duration = Duration::from_secs(COUNT_SECONDS + 30);
/// SQLSTATE of a statement that took too long.
const CANCELED: &str = "57014";
/// SQLSTATE of what cannot be done on a server that follows another.
const IN_RECOVERY: &str = "0A000";
/// Where the log is now: where it is written, or on a server that follows how far it is replayed.
pub(crate) const NOW: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
    ELSE pg_catalog.pg_current_wal_insert_lsn() END";

/// A table whose rows are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsOf {
    /// Its database; in each that has such a table if none is stated.
    pub database: Option<String>,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
}

impl RowsOf {
    /// Reads `[DATABASE.]SCHEMA.TABLE`, as SQL has names; none if it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = parts(text)?;
        let table = parts.pop()?;
        let schema = parts.pop()?;
        let database = parts.pop();
        parts.is_empty().then_some(Self { database, schema, table })
    }

    /// Whether it can be in a database.
    pub(crate) fn may_be_in(&self, database: &str) -> bool {
        self.database.as_ref().is_none_or(|stated| stated == database)
    }

    /// What a fact about it in a database is called.
    pub(crate) fn fact(&self, database: &str) -> String {
        format!("rows {}.{}.{}", quoted(database), quoted(&self.schema), quoted(&self.table))
    }
}

impl fmt::Display for RowsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{}.", quoted(database))?;
        }
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

/// Takes names apart at their dots; what is not quoted is in small letters.
fn parts(text: &str) -> Option<Vec<String>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted_part(inside)?,
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_lowercase(), &rest[end..])
            }
        };
        if name.is_empty() || name.contains(['\0', '"']) && !rest.starts_with('"') {
            return None;
        }
        parts.push(name);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None => return after.is_empty().then_some(parts),
        }
    }
}

fn quoted_part(inside: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), inside);
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// What counting gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rows {
    Exact(u64),
    /// It took too long; this is what the server thinks, if it does.
    Estimated(Option<u64>),
    /// It cannot be told, and why.
    Unknown(String),
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(rows) => write!(f, "{rows}"),
            Self::Estimated(Some(rows)) => write!(f, "estimated {rows}"),
            Self::Estimated(None) => f.write_str("estimated unknown"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// Counts the rows of a table in the transaction that the session is in; none if there is no such
/// table. The transaction goes on whatever happens.
pub(crate) async fn count(session: &mut Session, of: &RowsOf) -> Result<Option<Rows>, PgError> {
    let text = format!(
        "SELECT c.reltuples::pg_catalog.int8 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = \
         c.relnamespace WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p', 'm', 'f')",
        literal(&of.schema),
        literal(&of.table)
    );
    let Some(estimate) = session.one("look for a table", &text).await? else { return Ok(None) };
    let begin = format!(
        "SAVEPOINT holdfast; SET LOCAL statement_timeout = '{COUNT_SECONDS}s'; SET LOCAL row_security = off"
    );
    session.run("prepare to count", &begin).await?;
    let text =
        format!("SELECT pg_catalog.count(*) FROM {}.{}", identifier(&of.schema), identifier(&of.table));
    let counted = session.rows_within("count", &text, PATIENCE).await;
    session.run("end the count", "ROLLBACK TO SAVEPOINT holdfast; RELEASE SAVEPOINT holdfast").await?;
    match counted {
        Ok(rows) => {
            let number = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
            let number = number.and_then(|text| text.parse().ok());
            number.map(Rows::Exact).map(Some).ok_or_else(|| PgError::protocol("a count that is no number"))
        }
        Err(error) => match error.code() {
            Some(CANCELED) => Ok(Some(Rows::Estimated(estimate.parse().ok()))),
            Some(IN_RECOVERY) => Ok(Some(Rows::Unknown("not on a server that follows another".into()))),
            Some(_) => Ok(Some(Rows::Unknown(error.to_string()))),
            None => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn tables_are_named_as_in_sql() {
        let parse = |text: &str| RowsOf::parse(text).map(|of| of.to_string());
        assert_eq!(parse("public.Orders").unwrap(), "public.orders");
        assert_eq!(parse("shop.\"My Schema\".\"a.\"\"b\"").unwrap(), "shop.\"My Schema\".\"a.\"\"b\"");
        for wrong in ["orders", "a.b.c.d", "", ".", "a.", ".a", "a.\"b", "a.\"b\"c", "a.b\"c"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let of = RowsOf::parse("public.orders").unwrap();
        assert!(of.may_be_in("any") && of.fact("Shop") == "rows \"Shop\".public.orders");
        assert!(!RowsOf::parse("shop.public.orders").unwrap().may_be_in("other"));
    }

    #[test]
    fn a_number_says_how_sure_it_is() {
        assert_eq!(Rows::Exact(7).to_string(), "7");
        assert_eq!(Rows::Estimated(Some(7)).to_string(), "estimated 7");
        assert_eq!(Rows::Unknown("no".into()).to_string(), "unknown: no");
    }
}
