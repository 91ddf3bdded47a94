//! Statements of the user's about what is in a cluster. What a query returns is told only where it is
//! one number or one truth.
//!
//! On purpose not here: policies, which state them.

use super::bench::{Bench, told};
use super::{Assertion, Expect};
use crate::error::PgError;
use crate::sql::Session;
use crate::wire::Message;
use holdfast_engine::proof::{Cause, Level, Probe};
use std::fs;
use std::path::{Component, Path};
use std::time::Duration;

/// The server stops a statement itself; after this it is taken for gone.
const GRACE: Duration = Duration::from_secs(30);

/// Looks whether one holds.
pub(super) async fn look(bench: &Bench<'_>, assertion: &Assertion) -> Probe {
    let mut probe = Probe::new(format!("assertion {}", assertion.name), Level::Full);
    if let Expect::Keys(folder) = &assertion.expect
        && !folder.is_dir()
    {
        let what = format!("{}: what its keys are looked for in is not part of this drill", assertion.name);
        probe.not_provable.push(what);
        return probe;
    }
    let mut session = match bench.session(&assertion.database).await {
        Ok(session) => session,
        Err(error) => {
            let what = format!("{}: the database cannot be entered: {}", assertion.name, told(&error));
            probe.finds(Cause::Assertion, what, "");
            return probe;
        }
    };
    match ask(&mut session, assertion).await {
        Ok(answer) => judge(&answer, assertion, &mut probe),
        Err(error) => {
            let why = match error.code() {
                Some("57014") => format!("took longer than {} s", assertion.timeout.as_secs()),
                // Messages of queries may repeat values; their class says enough.
                Some(code) => format!("failed (SQLSTATE {code})"),
                None => told(&error),
            };
            probe.finds(
                Cause::Assertion,
                format!("{}: the query {why}", assertion.name),
                "run it on production",
            );
        }
    }
    session.close().await;
    probe
}

/// What a query returned, as far as it is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    rows: u64,
    columns: usize,
    /// The only value.
    value: Option<String>,
    /// Keys that are not there, and those that are no keys.
    missing: u64,
    odd: u64,
}

async fn ask(session: &mut Session, assertion: &Assertion) -> Result<Answer, PgError> {
    let limit = assertion.timeout.as_millis().max(1);
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = '60s'; SET LOCAL \
         search_path = \"$user\", public"
    );
    session.run("begin", &begin).await?;
    session.connection.command(&assertion.sql).await?;
    let mut answer = Answer::default();
    let mut failed = None;
    loop {
        match session.connection.receive(assertion.timeout + GRACE).await? {
            Message::Columns(columns) => answer.columns = columns,
            Message::Row(row) => {
                let text = |at: usize| Some(String::from_utf8_lossy(row.get(at)?.as_ref()?).into_owned());
                answer.rows += 1;
                match &assertion.expect {
                    Expect::Keys(folder) => answer.key(folder, text(0).as_deref()),
                    _ => answer.value = text(0),
                }
            }
            Message::Error(error) => failed = Some(error),
            Message::Ready => break,
            Message::Complete | Message::Other(_) => {}
            other => return Err(crate::wire::unexpected("in the answer", &other)),
        }
    }
    match failed {
        Some(error) => Err(PgError::Server { what: "the query failed".to_owned(), error }),
        None => Ok(answer),
    }
}

impl Answer {
    fn key(&mut self, folder: &Path, key: Option<&str>) {
        let inside = |key: &&str| {
            let mut parts = Path::new(key).components();
            !key.is_empty() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        };
        match key.filter(inside) {
            None => self.odd += 1,
            Some(key) if fs::symlink_metadata(folder.join(key)).is_err() => self.missing += 1,
            Some(_) => {}
        }
    }
}

/// What a value is, where it may be shown.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    Truth(bool),
    Number(f64),
}

fn shown(answer: &Answer) -> Option<Shown> {
    if (answer.rows, answer.columns) != (1, 1) {
        return None;
    }
    match answer.value.as_deref()? {
        "t" => Some(Shown::Truth(true)),
        "f" => Some(Shown::Truth(false)),
        text => text.parse().ok().map(Shown::Number),
    }
}

fn judge(answer: &Answer, assertion: &Assertion, probe: &mut Probe) {
    let name = &assertion.name;
    if let Expect::Keys(_) = assertion.expect {
        probe.counts.insert("keys".to_owned(), answer.rows);
        probe.counts.insert("keys missing".to_owned(), answer.missing);
        if answer.missing > 0 {
            let what = format!("{name}: {} of {} keys are not there", answer.missing, answer.rows);
            probe.finds(
                Cause::Assertion,
                what,
                "rows point at what was not backed up, or not at that moment",
            );
        }
        if answer.odd > 0 {
            let what = format!("{name}: {} of {} rows are no keys", answer.odd, answer.rows);
            probe.finds(Cause::Assertion, what, "the query has to return one column of paths");
        }
        return;
    }
    probe.counts.insert("rows".to_owned(), answer.rows);
    let expected = match &assertion.expect {
        Expect::Truth(truth) => truth.to_string(),
        Expect::Between(Some(min), Some(max)) if min == max => min.to_string(),
        Expect::Between(min, max) => {
            let min = min.map(|min| format!("at least {min}"));
            let max = max.map(|max| format!("at most {max}"));
            [min, max].into_iter().flatten().collect::<Vec<_>>().join(" and ")
        }
        Expect::Keys(_) => String::new(),
    };
    let got = shown(answer);
    let holds = match (&assertion.expect, got) {
        (Expect::Truth(truth), Some(Shown::Truth(found))) => *truth == found,
        (Expect::Between(min, max), Some(Shown::Number(found))) => {
            min.is_none_or(|min| found >= min) && max.is_none_or(|max| found <= max)
        }
        _ => false,
    };
    if holds {
        return;
    }
    let got = match got {
        Some(Shown::Truth(truth)) => format!("got {truth}"),
        Some(Shown::Number(number)) => format!("got {number}"),
        None if answer.rows == 1 => "it returned 1 row, not shown".to_owned(),
        None => format!("it returned {} rows, not shown", answer.rows),
    };
    probe.finds(Cause::Assertion, format!("{name}: expected {expected}, {got}"), "");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn found(expect: Expect, rows: u64, value: &str) -> Option<String> {
        let assertion = Assertion {
            name: "orders".into(),
            database: "shop".into(),
            sql: String::new(),
            expect,
            timeout: Duration::from_secs(1),
        };
        let answer = Answer { rows, columns: 1, value: Some(value.to_owned()), ..Answer::default() };
        let mut probe = Probe::new("x", Level::Full);
        judge(&answer, &assertion, &mut probe);
        probe.findings.pop().map(|finding| finding.what)
    }

    #[test]
    fn a_value_is_shown_only_if_it_is_a_number_or_a_truth() {
        assert_eq!(found(Expect::Truth(true), 1, "t"), None);
        assert_eq!(found(Expect::Truth(true), 1, "f").unwrap(), "orders: expected true, got false");
        let range = Expect::Between(Some(1.0), Some(10.0));
        assert_eq!(found(range.clone(), 1, "7"), None);
        assert_eq!(
            found(range.clone(), 1, "11.5").unwrap(),
            "orders: expected at least 1 and at most 10, got 11.5"
        );
        assert_eq!(
            found(Expect::Between(Some(5.0), Some(5.0)), 1, "4").unwrap(),
            "orders: expected 5, got 4"
        );
        assert_eq!(
            found(range.clone(), 3, "7").unwrap(),
            "orders: expected at least 1 and at most 10, it returned 3 rows, not shown"
        );
        assert!(!found(range, 1, "anna@example.org").unwrap().contains("anna"));
    }

    #[test]
    fn keys_are_looked_for_below_their_folder_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), "x").unwrap();
        let mut answer = Answer::default();
        for key in [Some("a/b"), Some("a/c"), Some("../x"), Some("/etc/passwd"), Some(""), None] {
            answer.key(dir.path(), key);
        }
        assert_eq!((answer.missing, answer.odd), (1, 4));
    }
}
