//! What is looked at in a cluster that has come up: databases, their tables and indexes, how they
//! sort, a dump of each, numbers of rows, page checksums.
//!
//! On purpose not here: bringing it up.

use super::amcheck;
use super::bench::{Bench, Watch, check, told, unasked};
use super::{counts, loaded};
use crate::databases::{self, Listed};
use crate::error::PgError;
use crate::sql::{Session, USUAL, literal, quoted};
use holdfast_engine::proof::{Cause, Probe};
use std::collections::BTreeMap;

/// Words of programs about what this host lacks.
const LACKS: [&str; 5] = [
    "could not load library",
    "could not access file",
    "no space left",
    "out of memory",
    "out of shared memory",
];

/// What to do where texts are sorted otherwise.
const ELSEWHERE: &str = "drill on a host with the C library or ICU of production; a real restore there needs REINDEX of text indexes";

/// Looks at all of it, but for checksums, which need a server that has stopped.
pub(super) async fn look(bench: &Bench<'_>, probes: &mut Vec<Probe>) {
    let listed = match all(bench).await {
        Ok(listed) => listed,
        Err(error) => {
            let mut probe = check("databases");
            unasked(&mut probe, "its databases cannot be listed", &error);
            probes.push(probe);
            return;
        }
    };
    let facts = &bench.drill.facts;
    let of_dumps = bench.is_of_dumps();
    let (present, (sorting, drifted)) = match of_dumps {
        true => (loaded::present(facts, &listed), (loaded::sorting(facts, &listed), Vec::new())),
        false => (counts::present(bench, &listed), sorting(&listed, facts)),
    };
    probes.extend([present, sorting]);
    probes.extend(loaded::uncounted(facts).filter(|_| of_dumps));
    let dumped = loaded::databases(facts);
    for one in listed.iter().filter(|one| !of_dumps || dumped.contains(&one.name)) {
        if !one.is_alive {
            let mut probe = check(format!("database {}", quoted(&one.name)));
            probe
                .not_provable
                .push("the server says that it was dropped by half: nobody can enter it".to_owned());
            probes.push(probe);
            continue;
        }
        database(bench, one, drifted.contains(&one.name), probes).await;
    }
}

/// Lists databases, after all of them were opened for connections.
async fn all(bench: &Bench<'_>) -> Result<Vec<Listed>, PgError> {
    let mut session = first(bench).await?;
    const OPEN: &str =
        "UPDATE pg_catalog.pg_database SET datallowconn = true WHERE NOT datallowconn AND datconnlimit <> -2";
    session.run("open all databases", OPEN).await?;
    let listed = databases::list(&mut session, bench.major()).await;
    session.close().await;
    listed
}

/// A session in a database that every cluster has, or had.
pub(super) async fn first(bench: &Bench<'_>) -> Result<Session, PgError> {
    match bench.session(USUAL[0]).await {
        Err(error) if error.code() == Some("3D000") => bench.session(USUAL[1]).await,
        other => other,
    }
}

async fn database(bench: &Bench<'_>, one: &Listed, drifted: bool, probes: &mut Vec<Probe>) {
    let shown = quoted(&one.name);
    let mut session = match bench.session(&one.name).await {
        Ok(session) => session,
        Err(error) => {
            let mut probe = check(format!("database {shown}"));
            unasked(&mut probe, &format!("the database {shown} cannot be entered"), &error);
            probes.push(probe);
            return;
        }
    };
    let given_up = give_up(&mut session).await;
    let drift = own_drift(&mut session, &shown).await;
    let drifted = drifted || drift.as_ref().is_some_and(|probe| !probe.findings.is_empty());
    probes.extend(drift);
    let watch = Watch::begin(&*bench.drill.clock);
    let mut looked = amcheck::look(bench, &mut session, drifted).await;
    looked.seconds = watch.seconds();
    match given_up {
        Ok(0) => {}
        Ok(number) => looked.notes.push(format!("{number} prepared transactions were given up in the copy")),
        Err(error) => looked.notes.push(format!("prepared transactions were not given up: {}", told(&error))),
    }
    probes.push(looked);
    let mut rows = check(format!("rows of {shown}"));
    counts::rows(bench, &mut session, &mut rows).await;
    if !rows.counts.is_empty() || !rows.findings.is_empty() || !rows.not_provable.is_empty() {
        probes.push(rows);
    }
    session.close().await;
    let watch = Watch::begin(&*bench.drill.clock);
    let mut dumped = dump(bench, &one.name).await;
    dumped.seconds = watch.seconds();
    probes.push(dumped);
}

/// Prepared transactions hold what a check waits for.
async fn give_up(session: &mut Session) -> Result<usize, PgError> {
    const LIST: &str =
        "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()";
    let found = session.rows("list prepared transactions", LIST).await?;
    for name in found.iter().filter_map(|row| row.first()?.as_deref()) {
        session.run("give up a transaction", &format!("ROLLBACK PREPARED {}", literal(name))).await?;
    }
    Ok(found.len())
}

/// Collations of a database's own that indexes are sorted by, and that sort otherwise here; none if there
/// are none.
async fn own_drift(session: &mut Session, shown: &str) -> Option<Probe> {
    const ALL: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.collname), c.collversion, a.version, \
        pg_catalog.count(DISTINCT i.indexrelid) FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = \
        c.collnamespace JOIN pg_catalog.pg_index i ON c.oid = ANY (i.indcollation), LATERAL (SELECT \
        pg_catalog.pg_collation_actual_version(c.oid) AS version) a WHERE c.collversion <> a.version GROUP BY 1, 2, 3 \
        ORDER BY 1";
    let mut probe = check(format!("collations of {shown}"));
    let rows = match session.rows("compare versions of collations", ALL).await {
        Ok(rows) => rows,
        Err(error) => {
            probe.not_provable.push(format!("versions of collations: {}", told(&error)));
            return Some(probe);
        }
    };
    for row in &rows {
        let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        let (name, was, is, indexes) = (text(0), text(1), text(2), text(3));
        let what = format!(
            "the collation {name} of {shown} is of version {was}, here {is}; indexes sorted by it: {indexes}"
        );
        probe.finds(Cause::Environment, what, ELSEWHERE);
    }
    (!rows.is_empty()).then_some(probe)
}

/// Which databases sort otherwise here than where they come from.
fn sorting(listed: &[Listed], facts: &BTreeMap<String, String>) -> (Probe, Vec<String>) {
    let mut probe = check("collations");
    let mut drifted = Vec::new();
    for one in listed {
        let then = |text: &str| text.split(", now ").next().unwrap_or_default().to_owned();
        let fact = facts.get(&format!("database {} collation", quoted(&one.name)));
        let differs = fact.is_some_and(|fact| then(fact) != then(&one.collation));
        if !one.sorts_differently && !differs {
            continue;
        }
        drifted.push(one.name.clone());
        let was = match (differs, fact) {
            (true, Some(fact)) => format!("{}, here {}", then(fact), one.collation),
            _ => one.collation.replace(", now ", ", here "),
        };
        let what = format!("the database {} is sorted by {was}", quoted(&one.name));
        probe.finds(Cause::Environment, what, ELSEWHERE);
    }
    probe.counts.insert("databases".to_owned(), listed.len() as u64);
    (probe, drifted)
}

/// Dumps a database to nowhere: all of its rows can be read and all of its definitions said.
async fn dump(bench: &Bench<'_>, name: &str) -> Probe {
    let shown = quoted(name);
    let mut probe = check(format!("dump of {shown}"));
    let Some(program) = bench.programs.path("pg_dump") else {
        probe.not_provable.push(format!("pg_dump of PostgreSQL {} is not installed", bench.major()));
        return probe;
    };
    if bench.is_over() {
        probe.not_provable.push("the time for checks was over".to_owned());
        return probe;
    }
    let mut command = bench.client(&program, name);
    command.args(["--no-password", "--lock-wait-timeout=60000", "--format=plain"]);
    match bench.run(command, false, bench.left()).await {
        Ok(ran) if ran.is_ok() => drop(probe.counts.insert("databases".to_owned(), 1)),
        Ok(ran) if ran.stopped => probe.not_provable.push("the time for checks was over".to_owned()),
        Ok(ran) => {
            let small = ran.err.to_lowercase();
            let environment = LACKS.iter().any(|word| small.contains(word));
            let cause = if environment { Cause::Environment } else { bench.blame() };
            let next = if environment { "install what it names" } else { bench.advice() };
            probe.finds(cause, format!("{shown} cannot be dumped: {}", without_details(&ran.err)), next);
        }
        Err(error) => probe.finds(Cause::Environment, format!("pg_dump cannot be run: {error}"), ""),
    }
    probe
}

/// Of what a program says only what went wrong: details may hold values.
pub(super) fn without_details(said: &str) -> String {
    let mut lines = Vec::new();
    for line in said.lines().map(str::trim) {
        let line = match line.split_once(": error: ") {
            Some((_, error)) => error,
            None => match line.split_once("ERROR:") {
                Some((_, error)) => error.trim(),
                None => continue,
            },
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    match lines.len() {
        0 => "it does not say why".to_owned(),
        _ => lines.into_iter().take(3).collect::<Vec<_>>().join("; "),
    }
}

/// Reads every page against its checksum, once the server has stopped.
pub(super) async fn checksums(bench: &Bench<'_>, are_there: bool) -> Probe {
    let mut probe = check("checksums");
    if !are_there {
        probe.not_provable.push("the cluster has no page checksums".to_owned());
        return probe;
    }
    let Some(program) = bench.programs.path("pg_checksums") else {
        probe.not_provable.push(format!("pg_checksums of PostgreSQL {} is not installed", bench.major()));
        return probe;
    };
    if bench.is_over() {
        probe.not_provable.push("the time for checks was over".to_owned());
        return probe;
    }
    let mut command = bench.isolation.command(&bench.programs, &program);
    command.arg("--check").arg("-D").arg(&bench.ground.folder);
    match bench.run(command, true, bench.left()).await {
        Ok(ran) => sums(&mut probe, bench, ran.is_ok(), ran.stopped, &ran.out, &ran.err),
        Err(error) => probe.finds(Cause::Environment, format!("pg_checksums cannot be run: {error}"), ""),
    }
    probe
}

fn sums(probe: &mut Probe, bench: &Bench<'_>, is_ok: bool, stopped: bool, out: &str, err: &str) {
    let number = |name: &str| -> Option<u64> {
        out.lines().find_map(|line| line.strip_prefix(name)?.trim_start_matches(':').trim().parse().ok())
    };
    for (name, counted) in [("Files scanned", "files"), ("Blocks scanned", "blocks")] {
        if let Some(number) = number(name) {
            probe.counts.insert(counted.to_owned(), number);
        }
    }
    if is_ok {
        return;
    }
    if stopped {
        probe.not_provable.push("the time for checks was over".to_owned());
        return;
    }
    let first = without_details(err);
    let what = match number("Bad checksums") {
        Some(bad) => format!("{bad} pages have a wrong checksum, the first: {first}"),
        None => format!("page checksums could not be read: {first}"),
    };
    probe.finds(bench.blame(), what, bench.advice());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_programs_say_values_are_left_out() {
        let said = "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetResult() failed.\n\
                    pg_dump: detail: Error message from server: ERROR:  invalid page in block 3 of relation base/5/16384\n\
                    pg_dump: detail: Command was: COPY public.t (email) TO stdout;\nDETAIL:  Key (email)=(x@y)\n";
        let told = without_details(said);
        assert!(told.contains("Dumping the contents") && told.contains("invalid page in block 3"), "{told}");
        assert!(!told.contains("COPY") && !told.contains("x@y"), "{told}");
        assert_eq!(without_details(""), "it does not say why");
    }

    #[test]
    fn another_order_of_texts_is_the_hosts() {
        let one = |name: &str, collation: &str, differs| Listed {
            name: name.into(),
            bytes: None,
            is_open: true,
            is_alive: true,
            is_template: false,
            encoding: "UTF8".into(),
            collation: collation.into(),
            sorts_differently: differs,
        };
        let listed = [
            one("a", "libc ko_KR.UTF-8 2.36, now 2.41", true),
            one("b", "libc C", false),
            one("c", "libc x 2.41", false),
        ];
        let facts = [("database b collation", "libc C"), ("database c collation", "libc x 2.36")];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (probe, drifted) = sorting(&listed, &facts);
        assert_eq!(drifted, ["a", "c"]);
        assert!(probe.findings.iter().all(|finding| finding.cause == Cause::Environment));
        assert!(probe.findings[0].what.contains("2.36, here 2.41"), "{probe:?}");
        assert!(probe.findings[1].what.contains("libc x 2.36, here libc x 2.41"), "{probe:?}");
    }
}
