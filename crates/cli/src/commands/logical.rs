//! `backup postgres://… --logical`: what of the command line has a meaning for dumps of databases, and
//! what the server's own programs are given.
//!
//! On purpose not here: making dumps, and bringing them back.

use super::{Run, cluster};
use crate::args::BackupArgs;
use crate::fault::Fault;
use crate::ink::escape;
use crate::secrets;
use crate::settings::variable;
use crate::wire_up::{LogicalOptions, LogicalSource, PROXIES, RowsOf, Server, ToolPlaces};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What variables begin with that are not for the server's programs: they open the repository, or say
/// something else than the URL does.
const OURS: [&[u8]; 3] = [b"HOLDFAST_", b"AWS_", b"PG"];

/// Databases that are dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    server: Server,
    /// The one in the URL.
    named: Option<String>,
    /// Those that are dumped; all if none is stated.
    databases: Vec<String>,
}

/// The databases that are to be dumped, if any are.
pub(super) fn stated(args: &BackupArgs) -> Result<Option<Place>, Fault> {
    if !args.databases.logical {
        return Ok(None);
    }
    let alone = || {
        let hint = "write: holdfast backup postgres://USER@HOST/[DATABASE] --logical";
        Fault::usage("--logical is about one cluster of PostgreSQL, and nothing beside it", hint)
    };
    let lists = [&args.files_from, &args.files_from_verbatim, &args.files_from_raw];
    let [path] = &args.paths[..] else { return Err(alone()) };
    if lists.iter().any(|files| !files.is_empty()) {
        return Err(alone());
    }
    let (server, named) = cluster::server_and_database(path)?.ok_or_else(alone)?;
    cluster::refuse_options_of_files(args)?;
    tables(args)?;
    let mut databases = args.databases.database.clone();
    if databases.is_empty() {
        databases.extend(named.clone());
    }
    databases.sort();
    databases.dedup();
    if databases.iter().any(String::is_empty) {
        return Err(Fault::usage("--database has no name", "write the name of a database"));
    }
    Ok(Some(Place { server, named, databases }))
}

/// Refuses what only a server of PostgreSQL has.
pub(super) fn refuse_options(args: &BackupArgs) -> Result<(), Fault> {
    let options = &args.databases;
    let given = [(options.logical, "--logical"), (!options.count_rows.is_empty(), "--count-rows")];
    match given.iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            let what = format!("{option} is about a cluster of PostgreSQL");
            Err(Fault::usage(what, "leave it out, or give a URL: postgres://USER@HOST"))
        }
        None => Ok(()),
    }
}

/// The tables whose rows are counted.
pub(super) fn tables(args: &BackupArgs) -> Result<Vec<RowsOf>, Fault> {
    let parse = |text: &String| {
        RowsOf::parse(text).ok_or_else(|| {
            let what = format!("--count-rows {} is no table", escape(text.as_bytes()));
            Fault::usage(
                what,
                "write SCHEMA.TABLE or DATABASE.SCHEMA.TABLE, with \"quotes\" where SQL has them",
            )
        })
    };
    args.databases.count_rows.iter().map(parse).collect()
}

/// Connects, to dump databases.
pub(super) async fn open(run: &Run, args: &BackupArgs, place: &Place) -> Result<LogicalSource, Fault> {
    let options = LogicalOptions {
        server: place.server.clone(),
        databases: place.databases.clone(),
        ask_in: place.named.clone(),
        count: tables(args)?,
        secrets: secrets::of_server()?,
        host: args.name.host.clone(),
        spool: cluster::spool(run)?,
        tools: tool_places(),
        clock: Arc::clone(&run.ctx.clock),
        cancel: run.ctx.cancel.clone(),
    };
    let shown = options.server.to_string();
    let opened = LogicalSource::open(options).await;
    opened.map_err(|error| {
        let hint =
            error.advice().unwrap_or("no snapshot was made; put that right and run the same command again");
        Fault::failed(format!("cannot dump databases of {shown}"), hint).because(&error)
    })
}

/// Where the server's programs may be, and what they find around them.
pub(crate) fn tool_places() -> ToolPlaces {
    ToolPlaces {
        stated: variable("HOLDFAST_PG_BIN").map(PathBuf::from),
        path: variable("PATH"),
        environment: std::env::vars_os().filter(|(name, _)| is_for_tools(name)).collect(),
    }
}

/// Whether the server's programs find a variable: no secret, and no proxy, for those may have a password.
fn is_for_tools(name: &OsStr) -> bool {
    let begins = OURS.iter().any(|start| name.as_bytes().starts_with(start));
    let is_secret = secrets::is_ours(name) || secrets::is_persons(name);
    !begins && !is_secret && !PROXIES.iter().any(|known| name == *known)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::args::{Cli, Verb};
    use crate::fault::Code;
    use clap::Parser;

    fn place(words: &[&str]) -> Result<Option<Place>, Fault> {
        match Cli::try_parse_from(["holdfast", "backup"].iter().chain(words)).unwrap().verb {
            Verb::Backup(args) => stated(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_server_s_programs_find_no_secret() {
        for secret in [
            "VAULT_TOKEN",
            "BAO_TOKEN",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "HTTPS_PROXY",
            "all_proxy",
            "PGPASSWORD",
            "HOLDFAST_PASSWORD",
            "AWS_SESSION_TOKEN",
        ] {
            assert!(!is_for_tools(OsStr::new(secret)), "{secret}");
        }
        for other in ["PATH", "LANG", "HOME", "LD_LIBRARY_PATH"] {
            assert!(is_for_tools(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn the_databases_are_those_that_were_named() {
        let names = |words: &[&str]| place(words).unwrap().unwrap().databases;
        assert!(names(&["postgres://u@h/", "--logical"]).is_empty());
        assert_eq!(names(&["postgres://u@h/shop", "--logical"]), ["shop"]);
        assert_eq!(
            names(&["postgres://u@h/x", "--logical", "--database", "b", "--database", "a"]),
            ["a", "b"]
        );
        assert_eq!(place(&["postgres://u@h/"]), Ok(None));
    }

    #[test]
    fn dumps_stand_alone() {
        for words in [
            &["/etc", "--logical"][..],
            &["postgres://u@h", "/etc", "--logical"],
            &["postgres://u@h", "--logical", "--exclude", "x"],
            &["postgres://u@h", "--logical", "--count-rows", "orders"],
            &["postgres://u@h", "--logical", "--database", ""],
        ] {
            assert_eq!(place(words).unwrap_err().code, Code::Usage, "{words:?}");
        }
    }
}
