//! The tables of the catalog, and how an older one is brought up to date.
//!
//! On purpose not here: what stands in them.

use super::base::{Base, Change, ask};
use super::{CatalogError, Place};
use std::time::Duration;

/// What leads from each version to the next, from none on, in the words of `base.rs`. What was released
/// is never changed.
const STEPS: [&str; 3] = [
    "
    CREATE TABLE @policy (
        name TEXT PRIMARY KEY,
        file TEXT NOT NULL,
        hash TEXT NOT NULL,
        first_seen NUMBER NOT NULL,
        last_seen NUMBER NOT NULL
    ) STRICT;
    CREATE TABLE @run (
        id COUNTED,
        policy TEXT NOT NULL,
        source TEXT,
        activity TEXT NOT NULL,
        started NUMBER NOT NULL,
        ended NUMBER,
        code NUMBER,
        message TEXT,
        snapshot TEXT
    ) STRICT;
    CREATE INDEX run_by_kind ON @run (policy, activity, source, started);
    CREATE INDEX run_by_time ON @run (policy, started);
    CREATE TABLE @drill (
        id TEXT PRIMARY KEY,
        policy TEXT NOT NULL,
        started NUMBER NOT NULL,
        ended NUMBER NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX drill_by_time ON @drill (policy, ended);
",
    // `source` is empty where a job is about all. Labels and groups stand in rows of their own only until a
    // job ends; `taken` has the groups of jobs that run, and its key is what keeps two of them apart.
    "
    CREATE TABLE @job (
        id COUNTED,
        policy TEXT NOT NULL,
        activity TEXT NOT NULL,
        source TEXT NOT NULL,
        scheduled_for NUMBER NOT NULL,
        missed NUMBER NOT NULL,
        labels TEXT NOT NULL,
        group_names TEXT NOT NULL,
        state TEXT NOT NULL,
        fence NUMBER NOT NULL,
        attempt NUMBER NOT NULL,
        worker TEXT,
        claimed_until NUMBER,
        entered NUMBER NOT NULL,
        ended NUMBER,
        code NUMBER,
        message TEXT,
        UNIQUE (policy, activity, source, scheduled_for)
    ) CHANGING;
    CREATE INDEX job_free ON @job (scheduled_for, id) WHERE state = 'free';
    CREATE INDEX job_running ON @job (id) WHERE state = 'running';
    CREATE INDEX job_by_policy ON @job (policy, scheduled_for);
    CREATE TABLE @job_label (
        job NUMBER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (job, name)
    ) STRICT;
    CREATE TABLE @job_group (
        job NUMBER NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (job, name)
    ) STRICT;
    CREATE TABLE @taken (
        name TEXT PRIMARY KEY,
        job NUMBER NOT NULL
    ) STRICT;
    CREATE TABLE @worker (
        name TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        labels TEXT NOT NULL,
        first_seen NUMBER NOT NULL,
        last_seen NUMBER NOT NULL
    ) CHANGING;
",
    super::alerts::TABLES,
];

/// The latest version.
pub(super) const VERSION: i64 = STEPS.len() as i64;

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS @holdfast_catalog (version NUMBER NOT NULL) STRICT";
const NEWEST: &str = "SELECT coalesce(max(version), 0) AS version FROM @holdfast_catalog";
const NOTE: &str = "INSERT INTO @holdfast_catalog (version) VALUES ($1)";

/// Several processes that make it at the same moment wait for each other so often.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// How many tables there are where ours belong, and whether ours is among them; in one look, as another
/// process may make them between two.
const TABLES: &str =
    "SELECT count(*) AS tables, count(*) FILTER (WHERE name = 'holdfast_catalog') AS ours FROM ";
const OF_FILE: &str = "sqlite_schema";
const OF_SERVER: &str = "(SELECT c.relname AS name FROM pg_catalog.pg_class AS c \
     JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'holdfast') AS found";
const SCHEMA: &str = "SELECT count(*) AS schemas FROM pg_catalog.pg_namespace WHERE nspname = 'holdfast'";
/// Held until the tables are made; the number is one that nobody else may be expected to use.
const ALONE: &str = "SELECT pg_advisory_xact_lock(7526474312886314597)";

/// How it stands with our tables.
enum Found {
    /// There are none, and nothing else.
    Nothing,
    /// There is something else.
    Theirs,
    /// They are there.
    Ours,
}

/// Opens a database: makes the tables, or brings them up to date.
pub(super) async fn prepare(place: &Place) -> Result<Base, CatalogError> {
    let mut tries = 0;
    loop {
        match try_to_prepare(place).await {
            // The change to WAL does not wait by itself.
            Err(error) if error.is_busy() && tries < TRIES => tries += 1,
            result => return result,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn try_to_prepare(place: &Place) -> Result<Base, CatalogError> {
    let base = Base::connect(place).await?;
    let done = match version(&base).await {
        Ok(VERSION) => Ok(()),
        Ok(_) => bring_up(&base).await,
        Err(error) => Err(error),
    };
    match done {
        // Only once it is ours.
        Ok(()) => base.settle(place).await,
        Err(error) => {
            base.close().await;
            Err(error)
        }
    }
}

/// Whether there is a catalog on a server.
pub(super) async fn is_there(place: &Place) -> Result<bool, CatalogError> {
    let base = Base::connect(place).await?;
    let there = base.within(async {
        let mut change = base.change().await?;
        let there = matches!(found(&mut change).await?, Found::Ours);
        change.undo().await?;
        Ok(there)
    });
    let there = there.await;
    base.close().await;
    there
}

/// Its version; 0 where there is nothing.
async fn version(base: &Base) -> Result<i64, CatalogError> {
    let seen = base.within(async {
        let mut change = base.look().await?;
        let seen = look(&mut change).await?;
        change.undo().await?;
        Ok(seen)
    });
    judge(base, seen.await?)
}

/// Refuses one that is of another version by now, or gone.
pub(super) async fn assert_known(base: &Base) -> Result<(), CatalogError> {
    match version(base).await? {
        VERSION => Ok(()),
        _ => Err(base.named.damaged("its tables are gone".to_owned())),
    }
}

/// What there is, and of which version.
async fn look(change: &mut Change) -> Result<(Found, i64), sqlx::Error> {
    let found = found(change).await?;
    let version = match found {
        Found::Ours => change.row(&ask(NEWEST)).await?.map_or(Ok(0), |row| row.number("version"))?,
        Found::Nothing | Found::Theirs => 0,
    };
    Ok((found, version))
}

async fn found(change: &mut Change) -> Result<Found, sqlx::Error> {
    let of = if change.is_server() { OF_SERVER } else { OF_FILE };
    let row = change.row(&ask(format!("{TABLES}{of}"))).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(match (row.number("tables")?, row.number("ours")?) {
        (0, _) => Found::Nothing,
        (_, 0) => Found::Theirs,
        _ => Found::Ours,
    })
}

fn judge(base: &Base, (found, version): (Found, i64)) -> Result<i64, CatalogError> {
    match found {
        Found::Theirs => Err(base.named.not_ours()),
        _ if version > VERSION => {
            Err(CatalogError::Later { place: base.named.place.clone(), version, known: VERSION })
        }
        _ => Ok(version),
    }
}

/// Takes the steps that are missing, all or none.
async fn bring_up(base: &Base) -> Result<(), CatalogError> {
    let mut change = base.within(base.change()).await?;
    // Nobody else changes it from here on, and it may have been changed since.
    let seen = base.within(async {
        if change.is_server() {
            change.run(ALONE).await?;
        }
        look(&mut change).await
    });
    let from = judge(base, seen.await?)?;
    base.within(async {
        if change.is_server() {
            make_schema(&mut change).await?;
        }
        change.run(VERSIONS).await?;
        for (number, step) in (1i64..).zip(STEPS).skip(usize::try_from(from).unwrap_or(0)) {
            change.run(step).await?;
            change.execute(&ask(NOTE).with(number)).await?;
        }
        change.commit().await
    })
    .await
}

/// Whoever may not make schemas may be given one.
async fn make_schema(change: &mut Change) -> Result<(), sqlx::Error> {
    let row = change.row(&ask(SCHEMA)).await?.ok_or(sqlx::Error::RowNotFound)?;
    match row.number("schemas")? {
        0 => change.run("CREATE SCHEMA holdfast").await,
        _ => Ok(()),
    }
}
