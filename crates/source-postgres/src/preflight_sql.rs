//! What an ordinary connection tells before a backup: that it is a service's server, how much there is
//! to read, and what of the configuration the role may see. None of it stops a backup but the first.
//!
//! On purpose not here: what replication needs.

use crate::error::PgError;
use crate::look::{self, Before};
use crate::passfile::Secrets;
use crate::preflight::{Finding, Preflight};
use crate::sql::{Session, USUAL, quoted};
use crate::url::Server;

/// Adds it to what was found out.
pub(crate) async fn add(found: &mut Preflight, server: &Server, secrets: &Secrets) {
    match ask(server, secrets).await {
        Ok(before) => tell(found, server, &before),
        Err(error) => without(found, server, &error),
    }
}

async fn ask(server: &Server, secrets: &Secrets) -> Result<Before, PgError> {
    let mut session = Session::open_any(server, secrets, &USUAL).await?;
    let before = look::before(&mut session).await;
    session.close().await;
    before
}

fn tell(found: &mut Preflight, server: &Server, before: &Before) {
    found.proved(format!(
        "it lets {} in for SQL: databases, extensions and rows can be recorded",
        server.user
    ));
    // A service's own roles may have come with a dump; who replicates is no service's guest.
    if let Some(managed) = before.managed.filter(|_| found.findings.iter().any(|one| one.harmful)) {
        let what = format!(
            "this is {}: physical backup and PITR are not possible from outside. Use --logical; RPO is the time between \
             dumps",
            managed.name()
        );
        found.findings.insert(0, Finding { harmful: true, what });
        found.remedy.clear();
        return;
    }
    let size = size(before.bytes);
    found.note(format!(
        "what will be read: {} databases; all {size} and the log cross the network at each backup",
        before.databases
    ));
    for lack in &before.config.lacks {
        found.note(format!("of the configuration this is not for the role to see, and not recorded: {lack}"));
    }
    if !before.config.lacks.is_empty() {
        found.remedy(format!(
            "GRANT pg_read_all_settings TO {};  -- if the configuration is to be recorded too",
            quoted(&server.user)
        ));
    }
}

fn without(found: &mut Preflight, server: &Server, error: &PgError) {
    found.note(format!(
        "no SQL: databases, extensions, rows and configuration outside of the data are not recorded: {error}"
    ));
    let user = quoted(&server.user);
    let line = match server.hosts.first() {
        Some(host) if host.is_socket() => format!("local postgres {user} scram-sha-256"),
        _ => format!("hostssl postgres {user} ADDRESS_OF_THIS_HOST/32 scram-sha-256"),
    };
    found.remedy(format!("{line}  # in pg_hba.conf, if they are to be recorded"));
}

/// A length for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64 / f64::from(1u32 << 20), UNITS[0]);
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, *next);
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::databases::Managed;
    use crate::url::parse;

    #[test]
    fn a_service_is_told_by_name_and_what_to_do_instead() {
        let server = parse("postgres://backup@db1", "").unwrap();
        let (mut found, managed) = (Preflight::default(), Some(Managed::Amazon));
        found.harmful("no replication");
        found.remedy("ALTER ROLE");
        tell(&mut found, &server, &Before { managed, ..Before::default() });
        assert!(found.findings[0].harmful && found.remedy.is_empty());
        assert!(
            found.findings[0]
                .what
                .starts_with("this is Amazon RDS: physical backup and PITR are not possible")
        );
        let mut found = Preflight::default();
        tell(&mut found, &server, &Before { bytes: 3 << 40, databases: 2, ..Before::default() });
        assert!(found.findings[0].what.contains("all 3.0 TiB") && !found.findings[0].harmful);
        assert_eq!(size(512 << 10), "0.5 MiB");
    }
}
