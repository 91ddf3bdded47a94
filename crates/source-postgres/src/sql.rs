//! Plain statements in a database: an ordinary connection, and names and texts as SQL has them.
//!
//! Nothing here changes anything on a server. On purpose not here: what is asked.

use crate::error::PgError;
use crate::facts::{KNOWN, value};
use crate::passfile::Secrets;
use crate::url::Server;
use crate::wire::{Connection, Purpose, Table};
use std::time::Duration;

/// So long an answer may take that the server has to look for.
const ANSWER: Duration = Duration::from_secs(120);
/// Databases that a cluster has from its beginning.
pub(crate) const USUAL: [&str; 2] = ["postgres", "template1"];
/// SQLSTATEs of a server that lets nobody into this one database, and may well let into another.
const NOT_THIS_ONE: [&str; 4] = ["3D000", "42501", "28000", "55000"];
/// A session may wait as long as it has to, and finds nothing by names that somebody else chose.
const SETTINGS: &str = "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN \
    ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', \
    'transaction_timeout'); SELECT pg_catalog.set_config('search_path', '', false)";

/// A row of an answer; what is no text is none.
pub(crate) type Row = Vec<Option<String>>;

/// An ordinary connection to one database.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// The database.
    pub(crate) database: String,
}

impl Session {
    /// Connects to the first server that answers.
    pub(crate) async fn open(server: &Server, secrets: &Secrets, database: &str) -> Result<Self, PgError> {
        let purpose = Purpose::Sql(database.to_owned());
        Self::ready(Connection::open_for(server, secrets, &purpose).await?, database).await
    }

    /// Connects to a database of a copy, with settings that win over those of its roles and databases.
    pub(crate) async fn open_copy(
        server: &Server,
        database: &str,
        settings: &'static str,
    ) -> Result<Self, PgError> {
        let purpose = Purpose::Copy(database.to_owned(), settings);
        Self::ready(Connection::open_for(server, &Secrets::default(), &purpose).await?, database).await
    }

    /// Connects to another database of the same server.
    pub(crate) async fn beside(
        &self,
        server: &Server,
        secrets: &Secrets,
        database: &str,
    ) -> Result<Self, PgError> {
        Self::beside_connection(&self.connection, server, secrets, database).await
    }

    /// Connects to a database of the server that another connection has.
    pub(crate) async fn beside_connection(
        connection: &Connection,
        server: &Server,
        secrets: &Secrets,
        database: &str,
    ) -> Result<Self, PgError> {
        let purpose = Purpose::Sql(database.to_owned());
        Self::ready(connection.beside_for(server, secrets, &purpose).await?, database).await
    }

    async fn ready(connection: Connection, database: &str) -> Result<Self, PgError> {
        let mut session = Self { connection, database: database.to_owned() };
        session.tables("set up the session", SETTINGS, ANSWER).await?;
        Ok(session)
    }

    /// Connects to the first of some databases that lets us in.
    pub(crate) async fn open_any(
        server: &Server,
        secrets: &Secrets,
        databases: &[&str],
    ) -> Result<Self, PgError> {
        let mut first = None;
        for database in databases {
            match Self::open(server, secrets, database).await {
                Err(error) if is_about_database(&error) => {
                    first.get_or_insert(error);
                }
                other => return other,
            }
        }
        Err(first.unwrap_or_else(|| PgError::Refused("no database was named".to_owned())))
    }

    /// Asks, and receives the rows; `what` says it in words: "the server did not …".
    pub(crate) async fn rows(&mut self, what: &str, text: &str) -> Result<Vec<Row>, PgError> {
        self.rows_within(what, text, ANSWER).await
    }

    /// The same, of something that takes its time.
    pub(crate) async fn rows_within(
        &mut self,
        what: &str,
        text: &str,
        patience: Duration,
    ) -> Result<Vec<Row>, PgError> {
        let tables = self.tables(what, text, patience).await?;
        let table = tables.into_iter().next().unwrap_or_default();
        let row = |row: Vec<_>| (0..row.len()).map(|at| value(&row, at).map(str::to_owned)).collect();
        Ok(table.into_iter().map(row).collect())
    }

    async fn tables(&mut self, what: &str, text: &str, patience: Duration) -> Result<Vec<Table>, PgError> {
        self.connection.ask_within(text, patience).await.map_err(|error| match error {
            PgError::Server { error, .. } => {
                PgError::Server { what: format!("the server did not {what}"), error }
            }
            other => other,
        })
    }

    /// Asks for one value; none if there is none.
    pub(crate) async fn one(&mut self, what: &str, text: &str) -> Result<Option<String>, PgError> {
        let rows = self.rows(what, text).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// Asks for one value; none also if it is not for us to know.
    pub(crate) async fn known(&mut self, text: &str) -> Result<Option<String>, PgError> {
        match self.one("answer", text).await {
            Err(PgError::Server { .. }) => Ok(None),
            other => other,
        }
    }

    /// Does something that has no answer.
    pub(crate) async fn run(&mut self, what: &str, text: &str) -> Result<(), PgError> {
        self.tables(what, text, ANSWER).await.map(drop)
    }

    /// The version of the server: in words, and as a number.
    pub(crate) async fn version(&mut self) -> Result<(String, u32), PgError> {
        let number = self.one("say its version", "SHOW server_version_num").await?;
        let number: Option<u32> = number.and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| PgError::protocol("its version is no number"))?;
        let words = self.connection.settings.get("server_version").cloned();
        let words = words.unwrap_or_else(|| number.to_string());
        if !KNOWN.contains(&(number / 10_000)) {
            let (first, last) = (KNOWN.start(), KNOWN.end());
            let what = format!(
                "the server is PostgreSQL {words}, and this holdfast was proved with {first} to {last}"
            );
            return Err(PgError::Refused(what));
        }
        Ok((words, number))
    }

    /// Takes leave.
    pub(crate) async fn close(self) {
        self.connection.close().await;
    }
}

/// Whether an error is about the database that was asked for, not about the server.
pub(crate) fn is_about_database(error: &PgError) -> bool {
    error.code().is_some_and(|code| NOT_THIS_ONE.contains(&code))
}

/// A text as SQL has it.
pub(crate) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// A name as SQL has it.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as a person would write it in SQL.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit())
    {
        name.to_owned()
    } else {
        identifier(name)
    }
}

/// A name in a string of parameters, as libpq reads it.
pub(crate) fn parameter(name: &str, value: &str) -> String {
    format!("{name}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_break_out() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(parameter("dbname", "a'b\\c=d"), "dbname='a\\'b\\\\c=d'");
    }

    #[test]
    fn names_are_quoted_where_they_have_to_be() {
        assert_eq!(quoted("backup_1"), "backup_1");
        assert_eq!(quoted("Back\"up"), "\"Back\"\"up\"");
        assert_eq!((quoted("1x"), quoted("")), ("\"1x\"".into(), "\"\"".into()));
    }
}
