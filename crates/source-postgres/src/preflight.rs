//! What stands between a server and its backup, and the exact words that put it right.
//!
//! It asks by the protocol of replication, as a backup does: what works here works there. What an
//! ordinary connection tells is in [`crate::preflight_sql`]. On purpose not here: changing anything on
//! the server.

use crate::error::PgError;
use crate::facts::ServerFacts;
use crate::passfile::Secrets;
use crate::preflight_sql;
use crate::sql::quoted;
use crate::url::{Host, Server};
use crate::wire::Connection;

/// Connections that a backup needs.
const SENDERS: u64 = 2;

/// Something that is worth knowing of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// No backup can be made because of it.
    pub harmful: bool,
    /// What it is.
    pub what: String,
}

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preflight {
    /// What was seen to be well.
    pub proved: Vec<String>,
    /// What was not.
    pub findings: Vec<Finding>,
    /// Statements of SQL and lines of configuration that put it right, in this order.
    pub remedy: Vec<String>,
}

impl Preflight {
    pub(crate) fn harmful(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { harmful: true, what: what.into() });
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { harmful: false, what: what.into() });
    }

    pub(crate) fn proved(&mut self, what: impl Into<String>) {
        self.proved.push(what.into());
    }

    pub(crate) fn remedy(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.remedy.contains(&what) {
            self.remedy.push(what);
        }
    }
}

/// Looks.
///
/// # Errors
/// The server cannot be reached, or does not speak as one.
pub async fn preflight(server: &Server, secrets: &Secrets) -> Result<Preflight, PgError> {
    let mut found = Preflight::default();
    let mut connection = match Connection::open(server, secrets).await {
        Ok(connection) => connection,
        Err(error) => {
            let mut found = explained(server, error, found)?;
            preflight_sql::add(&mut found, server, secrets).await;
            return Ok(found);
        }
    };
    found.proved(format!("{} lets {} in for replication", connection.host, server.user));
    match ServerFacts::ask(&mut connection).await {
        Ok(facts) => versions(&mut found, &facts),
        Err(PgError::Refused(what)) => found.harmful(what),
        Err(error) => return Err(error),
    }
    let second = connection.beside(server, secrets).await;
    settings(&mut found, &mut connection, second.is_ok()).await?;
    slots(&mut found, &mut connection).await?;
    match second {
        Ok(second) => {
            found.proved("a second connection beside the first, for the log");
            second.close().await;
        }
        Err(error @ PgError::Server { .. }) => {
            found.harmful(format!(
                "a backup needs {SENDERS} connections, and the second was refused: {error}"
            ));
        }
        Err(error) => return Err(error),
    }
    connection.close().await;
    preflight_sql::add(&mut found, server, secrets).await;
    Ok(found)
}

fn versions(found: &mut Preflight, facts: &ServerFacts) {
    found.proved(format!(
        "PostgreSQL {}, cluster {}, timeline {}",
        facts.version, facts.system, facts.timeline
    ));
    if !facts.checksums {
        found.note(
            "pages carry no checksums: damage on the server's disk is backed up unseen; with the server stopped, \
             pg_checksums --enable -D DATA adds them",
        );
    }
    if facts.standby == Some(true) {
        found.note("it is a standby: what it has not replayed yet is not in its backup");
    }
}

/// What the server is set to.
async fn settings(found: &mut Preflight, connection: &mut Connection, both: bool) -> Result<(), PgError> {
    match connection.show("wal_level").await?.as_deref() {
        Some(level @ ("replica" | "logical")) => found.proved(format!("wal_level = {level}")),
        Some(level) => {
            found
                .harmful(format!("wal_level = {level}: the log says too little to make a backup consistent"));
            found.remedy("ALTER SYSTEM SET wal_level = 'replica';  -- then restart the server");
        }
        None => found.note("wal_level is not for this role to know"),
    }
    let senders = number(connection, "max_wal_senders").await?;
    match senders {
        Some(senders) if senders < SENDERS => {
            found.harmful(format!("max_wal_senders = {senders}: a backup needs {SENDERS}"));
            found.remedy("ALTER SYSTEM SET max_wal_senders = 10;  -- then restart the server");
        }
        Some(senders) if both => {
            found.proved(format!("max_wal_senders = {senders}, {SENDERS} of them were free"));
        }
        Some(senders) => {
            found.note(format!("max_wal_senders = {senders}"));
            found.remedy("ALTER SYSTEM SET max_wal_senders = 10;  -- then restart the server");
        }
        None => {}
    }
    if number(connection, "max_replication_slots").await? == Some(0) {
        found.note("max_replication_slots = 0: a backup makes do without one, if the server keeps its log long enough");
        found.remedy("ALTER SYSTEM SET max_replication_slots = 10;  -- then restart the server");
    }
    match connection.show("archive_mode").await?.as_deref() {
        Some("off") | None => {}
        Some(mode) => {
            found.note(format!("archive_mode = {mode}: a backup does not need the archive, nor wait for it"));
        }
    }
    Ok(())
}

/// What matters to a slot that keeps the log for `wal stream`.
async fn slots(found: &mut Preflight, connection: &mut Connection) -> Result<(), PgError> {
    if connection.show("max_slot_wal_keep_size").await?.as_deref() == Some("-1") {
        found.note(
            "max_slot_wal_keep_size = -1: the slot of a stream that is down would fill this server's disk; before \
             `holdfast wal stream`: ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf();",
        );
    }
    if connection.show("cluster_name").await?.is_some_and(|name| !name.is_empty()) {
        found.note(
            "cluster_name is set, as Patroni does: Patroni drops slots that it does not know at a failover, which leaves \
             a gap. Let it make the slot for `holdfast wal stream` (patronictl edit-config): \
             slots: { holdfast: { type: physical } }",
        );
    }
    Ok(())
}

async fn number(connection: &mut Connection, name: &str) -> Result<Option<u64>, PgError> {
    Ok(connection.show(name).await?.and_then(|text| text.parse().ok()))
}

/// What it means that nobody was let in.
fn explained(server: &Server, error: PgError, mut found: Preflight) -> Result<Preflight, PgError> {
    let host = server.hosts.first();
    let Some(code) = error.code() else { return Err(error) };
    match code {
        "28P01" => {
            found
                .harmful(format!("{error}: the password is wrong, or the role {} is not there", server.user));
            found.remedy(format!(
                "ALTER ROLE {} PASSWORD '…';  -- or \\password in psql",
                quoted(&server.user)
            ));
        }
        "28000" => {
            found.harmful(error.to_string());
            found.remedy(create_role(&server.user));
            found.remedy(format!(
                "{}  # in pg_hba.conf, above what refuses it; then SELECT pg_reload_conf();",
                hba(server, host)
            ));
            found.note("in pg_hba.conf the word all does not cover replication: it has to be named");
        }
        "42501" => {
            found.harmful(error.to_string());
            found.remedy(format!("ALTER ROLE {} LOGIN REPLICATION;", quoted(&server.user)));
        }
        "53300" => {
            found.harmful(error.to_string());
            found.remedy("ALTER SYSTEM SET max_wal_senders = 10;  -- then restart the server");
        }
        _ => return Err(error),
    }
    Ok(found)
}

/// Least privilege: it may replicate, and nothing else.
fn create_role(user: &str) -> String {
    format!("CREATE ROLE {} LOGIN REPLICATION PASSWORD '…';", quoted(user))
}

fn hba(server: &Server, host: Option<&Host>) -> String {
    let user = quoted(&server.user);
    match host {
        Some(host) if host.is_socket() => format!("local replication {user} scram-sha-256"),
        _ => format!("hostssl replication {user} ADDRESS_OF_THIS_HOST/32 scram-sha-256"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::error::ServerError;
    use crate::url::parse;

    fn explain(code: &str) -> Preflight {
        let server = parse("postgres://backup@db1", "").unwrap();
        let error =
            Box::new(ServerError { code: code.into(), message: "no".into(), ..ServerError::default() });
        explained(&server, PgError::Server { what: "x".into(), error }, Preflight::default()).unwrap()
    }

    #[test]
    fn what_is_missing_is_said_in_sql() {
        let found = explain("28000");
        assert_eq!(found.remedy[0], "CREATE ROLE backup LOGIN REPLICATION PASSWORD '…';");
        assert!(
            found.remedy[1].starts_with("hostssl replication backup ADDRESS_OF_THIS_HOST/32 scram-sha-256")
        );
        assert_eq!(explain("42501").remedy, ["ALTER ROLE backup LOGIN REPLICATION;"]);
        assert!(explain("28P01").findings[0].harmful && explain("53300").findings[0].harmful);
        let server = parse("postgres://db1", "u").unwrap();
        let error = Box::new(ServerError::default());
        assert!(
            explained(&server, PgError::Server { what: "x".into(), error }, Preflight::default()).is_err()
        );
    }
}
