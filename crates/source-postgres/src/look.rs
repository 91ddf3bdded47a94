//! What is recorded of a cluster beside its files: over an ordinary connection, as far as the role is
//! let in and may see it. A backup does without it, and says what it lacks.
//!
//! On purpose not here: files and log, which come by replication.

use crate::databases::{self, Listed, Managed};
use crate::error::PgError;
use crate::passfile::Secrets;
use crate::rows::{self, NOW, Rows, RowsOf};
use crate::sql::{Row, Session, USUAL, is_about_database, literal, quoted};
use crate::url::Server;
use crate::wire::Connection;

/// The folder in a snapshot for configuration that does not lie in the cluster's own folder.
pub const KEPT_CONFIG: &str = "restored-config";
/// Databases that are looked into.
const DATABASES_MAX: usize = 200;
/// So much of a file of configuration is read.
const FILE_BYTES: u64 = 4 << 20;

/// A file that is kept beside those of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Path in the snapshot, without a slash at its front.
    pub path: Vec<u8>,
    pub content: Vec<u8>,
}

/// Configuration, and what of it was not to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub files: Vec<Kept>,
    pub lacks: Vec<String>,
}

/// An ordinary connection to the server that replicates.
pub(crate) async fn beside(
    connection: &Connection,
    server: &Server,
    secrets: &Secrets,
) -> Result<Session, PgError> {
    let mut last = None;
    for database in USUAL {
        match Session::beside_connection(connection, server, secrets, database).await {
            Err(error) if is_about_database(&error) => {
                last.get_or_insert(error);
            }
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| PgError::Refused("no database to ask in".to_owned())))
}

/// A table of the server's, and the file that it becomes.
struct Listing {
    file: &'static str,
    columns: &'static str,
    from: &'static str,
    grant: &'static str,
}

const LISTINGS: [Listing; 3] = [
    Listing {
        file: "settings.tsv",
        columns: "name\tsetting\tunit\tsource\tfile\tline\tpending_restart",
        from: "name, setting, unit, source, sourcefile, sourceline, pending_restart FROM pg_catalog.pg_settings \
               WHERE source <> 'default' ORDER BY name",
        grant: "GRANT pg_read_all_settings",
    },
    Listing {
        file: "hba_rules.tsv",
        columns: "line\ttype\tdatabase\tuser_name\taddress\tnetmask\tauth_method\toptions\terror",
        from: "line_number, type, database, user_name, address, netmask, auth_method, options, error FROM \
               pg_catalog.pg_hba_file_rules ORDER BY line_number",
        grant: "GRANT SELECT ON pg_hba_file_rules and EXECUTE ON FUNCTION pg_hba_file_rules()",
    },
    Listing {
        file: "role_settings.tsv",
        columns: "database\trole\tsettings",
        from: "d.datname, r.rolname, s.setconfig FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d \
               ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole ORDER BY 1, 2",
        grant: "SELECT ON pg_db_role_setting",
    },
];

/// Reads the configuration, as far as the role may.
pub(crate) async fn config(session: &mut Session) -> Result<Config, PgError> {
    let mut config = Config::default();
    for listing in &LISTINGS {
        match session.rows("show its configuration", &format!("SELECT {}", listing.from)).await {
            Ok(rows) => config.keep(listing.file, table(listing.columns, &rows)),
            Err(PgError::Server { .. }) => config.lacks.push(format!("{} ({})", listing.file, listing.grant)),
            Err(error) => return Err(error),
        }
    }
    files(session, &mut config).await?;
    Ok(config)
}

impl Config {
    fn keep(&mut self, name: &str, content: Vec<u8>) {
        self.files.push(Kept { path: format!("{KEPT_CONFIG}/{name}").into_bytes(), content });
    }
}

/// Files of configuration that lie elsewhere than the cluster's own folder.
async fn files(session: &mut Session, config: &mut Config) -> Result<(), PgError> {
    const FILES: &str = "SELECT DISTINCT f.path FROM (SELECT setting AS path FROM pg_catalog.pg_settings WHERE name IN \
        ('config_file', 'hba_file', 'ident_file') UNION ALL SELECT sourcefile FROM pg_catalog.pg_settings) f WHERE \
        f.path LIKE '/%' AND NOT pg_catalog.starts_with(f.path, pg_catalog.current_setting('data_directory') || '/') \
        ORDER BY 1";
    let paths = match session.rows("say where its configuration lies", FILES).await {
        Ok(paths) => paths,
        Err(PgError::Server { .. }) => {
            config.lacks.push("files outside of the data (GRANT pg_read_all_settings)".to_owned());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for path in paths.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
        let text = format!("SELECT pg_catalog.pg_read_file({}, 0, {FILE_BYTES}, true)", literal(&path));
        match session.one("read a file", &text).await {
            Ok(Some(content)) => config.keep(&format!("files{path}"), content.into_bytes()),
            Ok(None) => {}
            Err(PgError::Server { .. }) => config.lacks.push(format!(
                "{path} (GRANT pg_read_server_files, and EXECUTE ON FUNCTION pg_read_file(text, bigint, bigint, boolean))"
            )),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Rows as lines, columns with tabs between them.
fn table(columns: &str, rows: &[Row]) -> Vec<u8> {
    let mut text = format!("{columns}\n");
    for row in rows {
        let values = row.iter().map(|value| value.as_deref().map_or_else(|| "\\N".to_owned(), escaped));
        text.push_str(&values.collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    text.into_bytes()
}

/// A value as `COPY` writes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

/// What was found out of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub facts: Vec<(String, String)>,
    /// What could not be found out, in words.
    pub lacks: Vec<String>,
}

/// Writes a mark into the log, which proves of a copy which cluster it is of, and how far it was brought.
/// That is for roles that may; a server that follows another cannot.
async fn mark(session: &mut Session, name: &str) -> Result<Option<(String, String)>, PgError> {
    const MAY: &str = "SELECT NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.has_function_privilege(\
        'pg_catalog.pg_create_restore_point(text)', 'EXECUTE')";
    if session.known(MAY).await?.as_deref() != Some("t") {
        return Ok(None);
    }
    let text = format!("SELECT pg_catalog.pg_create_restore_point({})", literal(name));
    let lsn = session.known(&text).await?;
    Ok(lsn.map(|lsn| ("restore point".to_owned(), format!("{name} {lsn}"))))
}

/// Looks at databases, extensions and rows; leaves a mark if one is named.
pub(crate) async fn look(
    session: &mut Session,
    server: &Server,
    secrets: &Secrets,
    count: &[RowsOf],
    marked: Option<&str>,
) -> Result<Seen, PgError> {
    let (_, number) = session.version().await?;
    let mut seen = Seen::default();
    let listed = databases::list(session, number / 10_000).await?;
    seen.facts.extend(listed.iter().flat_map(Listed::facts));
    let mut missing: Vec<_> = count.to_vec();
    let open = listed.into_iter().filter(|one| one.is_open && one.is_alive && !one.is_template);
    for one in open.take(DATABASES_MAX) {
        match session.beside(server, secrets, &one.name).await {
            Ok(mut inside) => {
                seen.facts.extend(databases::extensions(&mut inside).await?);
                rows_in(&mut inside, count, &mut seen, &mut missing).await?;
                inside.close().await;
            }
            Err(error) => seen.lacks.push(format!("of the database {}: {error}", quoted(&one.name))),
        }
    }
    let missing =
        missing.iter().map(|of| format!("rows of {of}: no database that lets us in has such a table"));
    seen.lacks.extend(missing);
    if let Some(name) = marked {
        seen.facts.extend(mark(session, name).await?);
    }
    Ok(seen)
}

/// Counts rows, each with the places in the log between which they were so.
async fn rows_in(
    session: &mut Session,
    count: &[RowsOf],
    seen: &mut Seen,
    missing: &mut Vec<RowsOf>,
) -> Result<(), PgError> {
    let database = session.database.clone();
    for of in count.iter().filter(|of| of.may_be_in(&database)) {
        let before = session.known(NOW).await?;
        session.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let counted = rows::count(session, of).await?;
        session.run("end the count", "COMMIT").await?;
        let after = session.known(NOW).await?;
        let Some(rows) = counted else { continue };
        missing.retain(|missing| missing != of);
        let name = of.fact(&database);
        if let (Rows::Exact(_), Some((before, after))) = (&rows, before.zip(after)) {
            seen.facts.push((format!("{name} LSN"), format!("{before} {after}")));
        }
        seen.facts.push((name, rows.to_string()));
    }
    Ok(())
}

/// What an ordinary connection tells before a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Before {
    pub managed: Option<Managed>,
    /// All databases together, as far as they say.
    pub bytes: u64,
    pub databases: usize,
    pub config: Config,
}

/// Looks what a backup will meet.
pub(crate) async fn before(session: &mut Session) -> Result<Before, PgError> {
    let (_, number) = session.version().await?;
    let managed = Managed::recognised(session).await?;
    let listed = databases::list(session, number / 10_000).await?;
    let bytes = listed.iter().filter_map(|one| one.bytes).sum();
    let databases = listed.iter().filter(|one| !one.is_template && one.is_alive).count();
    Ok(Before { managed, bytes, databases, config: config(session).await? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_lines() {
        let rows = [vec![Some("a\tb".to_owned()), None], vec![Some("c\\\n".to_owned()), Some(String::new())]];
        assert_eq!(table("x\ty", &rows), b"x\ty\na\\tb\t\\N\nc\\\\\\n\t\n");
    }
}
