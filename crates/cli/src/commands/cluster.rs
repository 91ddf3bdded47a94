//! `backup postgres://…` and `preflight postgres://…`: what of the command line has a meaning for a
//! cluster, and who asks it.
//!
//! On purpose not here: reading it, and restoring it.

use super::{Run, logical};
use crate::args::BackupArgs;
use crate::engine::Source;
use crate::fault::Fault;
use crate::ink::PreflightLine;
use crate::secrets;
use crate::settings::{self, variable};
use crate::wire_up::{self, ClusterPreflight, PgError, PostgresOptions, PostgresSource, Server, UrlError};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads the URL of a cluster; none if the text is something else.
pub(super) fn server(text: &OsStr) -> Result<Option<Server>, Fault> {
    match server_and_database(text)? {
        Some((_, Some(database))) => Err(unusable(&UrlError::Database(database))),
        found => Ok(found.map(|(server, _)| server)),
    }
}

/// The same of a URL that may name a database.
pub(super) fn server_and_database(text: &OsStr) -> Result<Option<(Server, Option<String>)>, Fault> {
    let is_cluster =
        [&b"postgres://"[..], b"postgresql://"].iter().any(|start| text.as_bytes().starts_with(start));
    if !is_cluster {
        return Ok(None);
    }
    settings::refuse_password(text)?;
    let text = text.to_str().ok_or_else(|| Fault::usage("the URL of the cluster is no text", ""))?;
    let user = ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(variable);
    let user = user.and_then(|user| user.into_string().ok()).unwrap_or_default();
    wire_up::parse_server(text, &user).map(Some).map_err(|error| unusable(&error))
}

fn unusable(error: &UrlError) -> Fault {
    let hint = match error {
        UrlError::Password => "leave it out; set PGPASSFILE or PGPASSWORD, or write it into ~/.pgpass",
        UrlError::Database(_) => "add --logical to back up that database alone, or leave it out of the URL",
        UrlError::Malformed(_) => {
            "write postgres://USER@HOST:PORT?sslmode=verify-full, or postgres:///?host=/folder/of/the/socket"
        }
    };
    Fault::usage(format!("the cluster cannot be used: {error}"), hint)
}

/// The cluster that is to be backed up, if one is.
pub(super) fn stated(args: &BackupArgs) -> Result<Option<Server>, Fault> {
    let mut servers = args.paths.iter().map(|path| server(path));
    let Some(server) = servers.by_ref().find_map(Result::transpose).transpose()? else { return Ok(None) };
    let lists = [&args.files_from, &args.files_from_verbatim, &args.files_from_raw];
    if args.paths.len() > 1 || lists.iter().any(|files| !files.is_empty()) {
        let hint = "back up each cluster, and the paths of this host, with a command of its own";
        return Err(Fault::usage("a cluster cannot stand beside other things to back up", hint));
    }
    refuse_options_of_files(args)?;
    Ok(Some(server))
}

/// Nothing that was asked for is passed over in silence.
pub(super) fn refuse_options_of_files(args: &BackupArgs) -> Result<(), Fault> {
    let (leave_out, compare) = (&args.leave_out, &args.compare);
    let lists = [&leave_out.exclude, &leave_out.iexclude, &leave_out.exclude_if_present];
    let files = [&leave_out.exclude_file, &leave_out.iexclude_file];
    let given = [
        (lists.iter().any(|list| !list.is_empty()), "--exclude"),
        (files.iter().any(|list| !list.is_empty()), "--exclude-file"),
        (leave_out.exclude_larger_than.is_some(), "--exclude-larger-than"),
        (leave_out.exclude_caches, "--exclude-caches"),
        (leave_out.one_file_system, "--one-file-system"),
        (compare.ignore_ctime, "--ignore-ctime"),
        (compare.ignore_inode, "--ignore-inode"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            let what = format!("{option} has no meaning for a cluster, which starts only if it is whole");
            Err(Fault::usage(what, "leave it out"))
        }
        None => Ok(()),
    }
}

/// A folder for files without names.
pub(super) fn spool(run: &Run) -> Result<PathBuf, Fault> {
    let cache = settings::cache_dir(&run.global)?;
    let spool = cache.unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&spool).map_err(|error| {
        let what = format!("cannot make the folder {} for the log", spool.display());
        Fault::failed(what, "state another one with --cache-dir").because(&error)
    })?;
    Ok(spool)
}

/// Connects to a cluster, to back it up.
pub(super) async fn open(run: &Run, args: &BackupArgs, server: Server) -> Result<PostgresSource, Fault> {
    let options = PostgresOptions {
        secrets: secrets::of_server()?,
        host: args.name.host.clone(),
        count: logical::tables(args)?,
        mark: !args.dry_run,
        spool: spool(run)?,
        clock: Arc::clone(&run.ctx.clock),
        cancel: run.ctx.cancel.clone(),
        unique: u64::from_le_bytes(run.ctx.random()),
        server,
    };
    let shown = options.server.to_string();
    PostgresSource::open(options).await.map_err(|error| failed(&format!("cannot back up {shown}"), &error))
}

pub(super) fn failed(what: &str, error: &PgError) -> Fault {
    Fault::failed(what, error.advice().unwrap_or("see what `holdfast preflight URL` says of the server"))
        .because(error)
}

/// A source by the name that it has where nobody gave it one.
pub(super) fn labelled(source: PostgresSource) -> (Box<dyn Source>, String) {
    let label = source.label();
    (Box::new(source), label)
}

/// Looks at a server, and says what was found.
pub(super) async fn preflight(run: &Run, place: &OsString, server: &Server) -> Result<(), Fault> {
    let secrets = secrets::of_server()?;
    run.listen()?;
    let found = wire_up::preflight_cluster(server, &secrets).await;
    let found = found.map_err(|error| {
        let hint =
            error.advice().unwrap_or("see that the server runs, and host, port and sslmode in the URL");
        Fault::failed(format!("cannot look at {server}"), hint).because(&error)
    })?;
    show(run, server, &found);
    match found.findings.iter().find(|finding| finding.harmful) {
        None => Ok(()),
        Some(harmful) => {
            let what = format!("{} cannot be backed up as it is: {}", place.display(), harmful.what);
            Err(Fault::failed(what, "change it, and run `holdfast preflight` again"))
        }
    }
}

fn show(run: &Run, server: &Server, found: &ClusterPreflight) {
    if run.ink.tone.json {
        let texts = |harmful: bool| {
            let chosen = found.findings.iter().filter(|finding| finding.harmful == harmful);
            chosen.map(|finding| finding.what.clone()).collect()
        };
        return run.ink.json(&PreflightLine {
            message_type: "preflight",
            repository: server.to_string(),
            proved: found.proved.clone(),
            harmful: texts(true),
            notes: texts(false),
            remedy: Some(found.remedy.clone()),
        });
    }
    if run.ink.tone.quiet {
        return;
    }
    for what in &found.proved {
        run.ink.data(&format!("ok       {what}"));
    }
    for finding in &found.findings {
        run.ink.data(&format!("{}  {}", if finding.harmful { "harmful" } else { "note   " }, finding.what));
    }
    for line in &found.remedy {
        run.ink.data(&format!("         {line}"));
    }
}
