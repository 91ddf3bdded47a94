//! Dumps of databases on their way back: into a server, each under its own name; or as files, with the
//! line that brings them back.
//!
//! What a server has is never changed unless somebody said so, and then all at once. On purpose not
//! here: the server's programs.

use super::super::access::{self, Access};
use super::super::{cluster, logical, pick};
use super::{Job, Ready, Run};
use crate::args::{RestoreArgs, When};
use crate::engine::{
    DumpOptions, Error, ErrorKind, Repository, Resolved, RestoreReport, Right, Snapshot, Tally, details, dump,
};
use crate::fault::{Code, Fault};
use crate::ink::{Around, PlanLine, RestoreSummary, counted, duration, escape, rfc3339, size};
use crate::secrets;
use crate::settings;
use crate::wire_up::{
    Dumped, Feeding, GLOBALS, LOGICAL_KIND, LoadOptions, Loader, LogicalRecord, PgError, RestoreTool, Server,
    There, without_creation,
};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// What the program says it was about when it could not make the database.
const MAKING: &str = "Command was: CREATE DATABASE";
/// So often it is looked whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The server that is stated as the target; none if the target is something else.
pub(super) fn stated(args: &RestoreArgs) -> Result<Option<Server>, Fault> {
    match cluster::server_and_database(args.target.as_os_str())? {
        None => {
            refuse_options_of_servers(args)?;
            Ok(None)
        }
        Some((_, Some(database))) => {
            let what = format!("the target names the database {}", escape(database.as_bytes()));
            Err(Fault::usage(what, "choose databases with --database; each is restored under its own name"))
        }
        Some((server, None)) => {
            refuse_options_of_files(args)?;
            Ok(Some(server))
        }
    }
}

fn refuse_options_of_servers(args: &RestoreArgs) -> Result<(), Fault> {
    let given = [(!args.dumps.database.is_empty(), "--database"), (args.dumps.globals, "--globals")];
    refuse(&given, "is about dumps that are restored into a server", "give --target postgres://USER@HOST")
}

/// Nothing that was asked for is passed over in silence.
fn refuse_options_of_files(args: &RestoreArgs) -> Result<(), Fault> {
    let select = &args.select;
    let patterns = [&select.include, &select.iinclude, &select.exclude, &select.iexclude];
    let files = [&select.include_file, &select.iinclude_file, &select.exclude_file, &select.iexclude_file];
    let given = [
        (patterns.iter().any(|list| !list.is_empty()), "--include or --exclude"),
        (files.iter().any(|list| !list.is_empty()), "--include-file or --exclude-file"),
        (args.verify, "--verify"),
        (args.sparse, "--sparse"),
        (args.ownership_by_name, "--ownership-by-name"),
        (args.with_events, "--with-events"),
        (args.with_acl, "--with-acl"),
        (!args.tablespace_map.is_empty(), "--tablespace-map"),
        (args.over.delete, "--delete"),
        (args.all_versions, "--all-versions"),
        (args.fail_fast, "--fail-fast"),
    ];
    refuse(&given, "has no meaning for a server that databases are restored into", "leave it out")?;
    match args.over.overwrite {
        None | Some(When::Always) => Ok(()),
        Some(_) => Err(Fault::usage(
            "a database is restored as a whole: it has no parts that are newer or changed",
            "say --overwrite always, or leave it out",
        )),
    }
}

fn refuse(given: &[(bool, &str)], what: &str, hint: &str) -> Result<(), Fault> {
    match given.iter().find(|(given, _)| *given) {
        Some((_, option)) => Err(Fault::usage(format!("{option} {what}"), hint)),
        None => Ok(()),
    }
}

/// Restores into a server.
pub(super) async fn restore(run: &Run, args: &RestoreArgs, server: Server) -> Result<(), Fault> {
    let (text, path) = settings::snapshot_and_path(&args.snapshot)?;
    if !path.is_empty() {
        let hint = "choose with --database NAME, or pipe it: holdfast dump SNAPSHOT:/databases/NAME.dump | pg_restore";
        return Err(Fault::usage(
            "a path has no meaning for a server that databases are restored into",
            hint,
        ));
    }
    let repository = run.open_for(Right::Read).await?;
    let resolved = pick::one(run, &repository, &text, b"", &args.pick).await?;
    let snapshot = &resolved.snapshot;
    if snapshot.summary.kind != LOGICAL_KIND {
        let hint =
            "restore it into a folder; `holdfast snapshots` shows which are of dumps (backup --logical)";
        return Err(Fault::usage("this snapshot holds no dumps of databases", hint));
    }
    let recorded = details(&run.ctx, &repository, snapshot).await?;
    let record = LogicalRecord::decode(&recorded.source_record).ok_or_else(|| {
        let hint = "use a newer holdfast; or restore its files: holdfast restore SNAPSHOT --target DIR";
        Fault::failed("what this snapshot says of its databases cannot be understood", hint)
    })?;
    let chosen = chosen(&args.dumps.database, &record)?;
    announce(run, args, &resolved, &server);
    let shown = server.to_string();
    let target = shown.clone();
    let failed = |error: PgError| cluster::failed(&format!("cannot restore to {shown}"), &error);
    let options = LoadOptions {
        server,
        secrets: secrets::of_server()?,
        spool: cluster::spool(run)?,
        tools: logical::tool_places(),
        cancel: run.ctx.cancel.clone(),
    };
    let mut loader = Loader::open(options).await.map_err(failed)?;
    refuse_older(&record, loader.major())?;
    let tool = loader.find_restore(record.tool_major).map_err(failed)?;
    let mut plan = Vec::new();
    for dumped in chosen {
        let there = loader.look(&dumped.name).await.map_err(failed)?;
        let is_asked = !args.dumps.database.is_empty() || args.over.overwrite.is_some();
        if !is_asked && Loader::is_common_template(&dumped.name) && matches!(there, There::Full(_)) {
            run.ink.warn(
                "template1 has things in it, and stays as it is; to restore it too: --database template1 --overwrite \
                 always",
            );
            continue;
        }
        plan.push((dumped, there));
    }
    if !args.dry_run && args.over.overwrite.is_none() {
        refuse_full(&plan)?;
    }
    if !args.dry_run {
        let access = Access {
            verb: "restore",
            snapshot,
            path: b"",
            select: None,
            databases: &args.dumps.database,
            target,
            because: &args.because,
        };
        access::record(run, &repository, &access).await?;
    }
    let mut job = Load { run, args, repository: &repository, snapshot, record: &record, loader, tool };
    job.all(plan).await
}

fn announce(run: &Run, args: &RestoreArgs, resolved: &Resolved, server: &Server) {
    let (ink, snapshot) = (&run.ink, &resolved.snapshot);
    let summary = &snapshot.summary;
    if ink.tone.json {
        return ink.json_now(&PlanLine {
            message_type: "plan",
            snapshot_id: snapshot.id.to_string(),
            hostname: summary.host.clone(),
            source: summary.label.clone(),
            time: rfc3339(summary.start),
            incomplete: summary.incomplete,
            passed_over: resolved.passed_over.as_ref().map(|newer| newer.id.to_string()),
            ahead: resolved.ahead.as_ref().map(|ahead| ahead.id.to_string()),
            without_path: resolved.without_path.as_ref().map(|newer| newer.id.to_string()),
            target: server.to_string(),
            dry_run: args.dry_run,
        });
    }
    ink.talk(&pick::described(snapshot, run.ctx.clock.now()));
    pick::passed_over(resolved).iter().for_each(|text| ink.warn(text));
    if summary.incomplete {
        ink.warn("this snapshot is incomplete: not all databases are in it, or not all of them");
    }
}

/// Which databases are restored.
fn chosen<'a>(stated: &[String], record: &'a LogicalRecord) -> Result<Vec<&'a Dumped>, Fault> {
    let all = record.databases.iter();
    if stated.is_empty() {
        return Ok(all.collect());
    }
    if let Some(missing) = stated.iter().find(|name| !all.clone().any(|dumped| dumped.name == **name)) {
        let what = format!("the snapshot has no database {}", escape(missing.as_bytes()));
        let names: Vec<_> = all.map(|dumped| escape(dumped.name.as_bytes())).collect();
        return Err(Fault::usage(what, format!("it has {}", names.join(", "))));
    }
    Ok(all.filter(|dumped| stated.contains(&dumped.name)).collect())
}

fn refuse_older(record: &LogicalRecord, major: u32) -> Result<(), Fault> {
    let dumped = record.server_version_number / 10_000;
    if major >= dumped {
        return Ok(());
    }
    let what = format!(
        "the server is PostgreSQL {major}, and the dumps are of {dumped}, which it does not understand"
    );
    Err(Fault::failed(what, "restore into a server of the same version or a newer one; nothing was changed"))
}

fn refuse_full(plan: &[(&Dumped, There)]) -> Result<(), Fault> {
    let full = plan.iter().filter_map(|(dumped, there)| match there {
        There::Full(things) => Some((&dumped.name, things)),
        There::Missing | There::Empty => None,
    });
    let full: Vec<_> = full.collect();
    let Some((name, things)) = full.first() else { return Ok(()) };
    let more = if full.len() > 1 { format!(", and {} more", full.len() - 1) } else { String::new() };
    let number = counted(**things, "thing", "things");
    let what = format!("the database {} is there and has {number} in it{more}", escape(name.as_bytes()));
    Err(Fault::usage(
        what,
        "nothing was changed. Rename it (ALTER DATABASE … RENAME TO …), or say --overwrite always: what the dump has \
         replaces what has the same name, all at once, and the rest stays",
    ))
}

/// Databases on their way into a server.
struct Load<'a> {
    run: &'a Run,
    args: &'a RestoreArgs,
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    record: &'a LogicalRecord,
    loader: Loader,
    tool: RestoreTool,
}

impl Load<'_> {
    async fn all(&mut self, plan: Vec<(&Dumped, There)>) -> Result<(), Fault> {
        let begun = Instant::now();
        let mut report = RestoreReport::default();
        let mut failed = Failed::default();
        if self.args.dumps.globals {
            failed.globals = self.globals().await?;
        }
        for (dumped, there) in plan {
            if !self.args.dry_run {
                let errors = self.one(dumped, there).await?;
                failed.own += errors;
                failed.file = failed.file.or_else(|| (errors > 0).then(|| dumped.file.clone()));
            }
            self.say(dumped, there);
            count(&mut report, dumped, there);
        }
        self.show(&report, failed.globals + failed.own, begun.elapsed());
        failed.end()
    }

    /// Roles and tablespaces; how many statements failed.
    async fn globals(&self) -> Result<u64, Fault> {
        if self.args.dry_run {
            self.run.ink.data(&format!("would run {GLOBALS} first: roles and tablespaces"));
            return Ok(0);
        }
        if !self.record.role_passwords {
            self.run.ink.warn("the passwords of roles are not in this snapshot: set them on the server");
        }
        let fault = |error: &PgError| {
            Fault::failed(format!("cannot run {GLOBALS}"), "no database was changed").because(error)
        };
        let feeding = self.loader.load_globals(self.record.tool_major).map_err(|error| fault(&error))?;
        let feeding = self.feed(feeding, GLOBALS).await?;
        let errors = blocking(move || feeding.finish_globals()).await?.map_err(|error| fault(&error))?;
        errors.iter().for_each(|error| self.run.ink.warn(&format!("{GLOBALS}: {error}")));
        Ok(errors.len() as u64)
    }

    /// One database; how many statements about the database itself failed.
    async fn one(&mut self, dumped: &Dumped, there: There) -> Result<u64, Fault> {
        let result = self.load(dumped, there).await;
        let Err(mut fault) = result else {
            return match there {
                There::Missing => Ok(0),
                There::Empty | There::Full(_) => self.own(dumped).await,
            };
        };
        let name = escape(dumped.name.as_bytes());
        let state = match there {
            // Somebody else may have made one meanwhile: that one is not ours to drop.
            There::Missing if fault.what.contains(MAKING) => "it was not made".to_owned(),
            There::Missing => match self.loader.drop_half(&dumped.name).await {
                Ok(()) => "nothing is left of it on the server".to_owned(),
                Err(error) => format!("it is there by HALF, and has to be dropped: {error}"),
            },
            There::Empty | There::Full(_) => "the database is as it was".to_owned(),
        };
        fault.what = format!("cannot restore the database {name}: {}", fault.what);
        fault.hint = if fault.hint.is_empty() { state } else { format!("{state}; {}", fault.hint) };
        Err(fault)
    }

    async fn load(&self, dumped: &Dumped, there: There) -> Result<(), Fault> {
        let fault = |error: &PgError| {
            let fault = Fault::failed(error.to_string(), missing_role(&error.to_string()));
            fault.or_interrupted(self.run.ctx.cancel.is_raised())
        };
        let feeding = self.loader.load(&self.tool, &dumped.name, there).map_err(|error| fault(&error))?;
        let feeding = self.feed(feeding, &dumped.file).await?;
        let said = blocking(move || feeding.finish()).await?.map_err(|error| fault(&error))?;
        if !said.is_empty() {
            self.run.ink.warn(&format!("{}: {said}", escape(dumped.name.as_bytes())));
        }
        Ok(())
    }

    /// Sets what belongs to a database itself, which was there and was not made by its dump; how many
    /// statements failed.
    async fn own(&self, dumped: &Dumped) -> Result<u64, Fault> {
        let errors = match self.set_own(dumped).await {
            Ok(errors) => errors,
            Err(fault) if self.run.ctx.cancel.is_raised() => return Err(fault),
            Err(fault) => vec![fault.what],
        };
        let file = escape(dumped.file.as_bytes());
        errors.iter().for_each(|error| self.run.ink.warn(&format!("{file}: {error}")));
        Ok(errors.len() as u64)
    }

    async fn set_own(&self, dumped: &Dumped) -> Result<Vec<String>, Fault> {
        let fault = |error: PgError| {
            Fault::failed(error.to_string(), "").or_interrupted(self.run.ctx.cancel.is_raised())
        };
        let mut feeding = self.loader.own(&self.tool).map_err(fault)?;
        match self.pour(&feeding, &dumped.file).await? {
            Ok(()) => {}
            // It has all that it needs.
            Err(error) if error.kind == ErrorKind::Target => {}
            Err(error) => {
                feeding.kill();
                return Err(Fault::from(error).or_interrupted(self.run.ctx.cancel.is_raised()));
            }
        }
        let text = blocking(move || feeding.written()).await?.map_err(fault)?;
        let text = without_creation(&text);
        let feeding = self.loader.load_globals(self.record.tool_major).map_err(fault)?;
        blocking(move || feeding.finish_with(&text)).await?.map_err(fault)
    }

    /// Gives a program a file of the snapshot.
    async fn pour(&self, feeding: &Feeding, file: &str) -> Result<Result<(), Error>, Fault> {
        let inlet =
            feeding.inlet().map_err(|error| Fault::failed("cannot feed pg_restore", "").because(&error))?;
        let options = DumpOptions { path: file.as_bytes().to_vec(), ..DumpOptions::default() };
        let run = self.run;
        let work = dump(&run.ctx, self.repository, self.snapshot, &options, inlet);
        let work = async {
            Ok(tokio::select! {
                result = work => result.map(|_| ()),
                () = stopped(run) => Err(Error::interrupted()),
            })
        };
        run.watch(&format!("restoring {}", escape(file.as_bytes())), work).await
    }

    /// Feeds a program with a file of the snapshot, to the end.
    async fn feed(&self, mut feeding: Feeding, file: &str) -> Result<Feeding, Fault> {
        let run = self.run;
        match self.pour(&feeding, file).await? {
            Ok(()) => Ok(feeding),
            Err(error) if error.kind == ErrorKind::Target => {
                let reason = blocking(move || feeding.reason()).await?;
                let hint = missing_role(&reason);
                Err(Fault::failed(reason, hint).or_interrupted(run.ctx.cancel.is_raised()))
            }
            Err(error) => {
                feeding.kill();
                Err(Fault::from(error).or_interrupted(run.ctx.cancel.is_raised()))
            }
        }
    }

    fn say(&self, dumped: &Dumped, there: There) {
        let name = escape(dumped.name.as_bytes());
        let (would, made) = match there {
            There::Missing => ("make the database", "made the database"),
            There::Empty => ("fill the database", "filled the database"),
            There::Full(_) => ("replace in the database", "replaced in the database"),
        };
        let bytes = size(dumped.bytes);
        if self.args.dry_run && !self.run.ink.tone.json {
            let needs = if matches!(there, There::Full(_)) && self.args.over.overwrite.is_none() {
                "; only with --overwrite always"
            } else {
                ""
            };
            self.run.ink.data(&format!("would {would} {name} from a dump of {bytes}{needs}"));
        } else if !self.args.dry_run {
            self.run.ink.talk(&format!("{made} {name} from a dump of {bytes}"));
        }
        if !dumped.large_objects {
            self.run.ink.warn(&format!("{name}: its large objects were not dumped, and do not come back"));
        }
    }

    fn show(&self, report: &RestoreReport, errors: u64, took: Duration) {
        let ink = &self.run.ink;
        let (dry_run, seconds) = (self.args.dry_run, took.as_secs_f64());
        if ink.tone.json {
            let around = Around { dry_run, seconds, errors, notices: 0 };
            ink.json(&RestoreSummary::new(self.snapshot, report, None, None, around));
        } else if !ink.tone.quiet && !dry_run {
            let databases = counted(report.files, "database", "databases");
            ink.data(&format!("restored {databases}, {} of dumps in {}", size(report.bytes), duration(took)));
        }
    }
}

/// Statements that failed.
#[derive(Default)]
struct Failed {
    globals: u64,
    /// Those about databases themselves, and the file of the first.
    own: u64,
    file: Option<String>,
}

impl Failed {
    fn end(&self) -> Result<(), Fault> {
        let statements = |number| counted(number, "statement", "statements");
        let globals = format!("{} of {GLOBALS}", statements(self.globals));
        let own = format!("{} about databases themselves (owner, rights, settings)", statements(self.own));
        let made = "each is named above; what it would have made is missing on the server";
        match (self.globals, &self.file) {
            (0, None) => Ok(()),
            (_, None) => Err(Fault::incomplete(format!("restored, and {globals} failed"), made)),
            (number, Some(file)) => {
                let both = if number == 0 { own } else { format!("{globals} and {own}") };
                let hint = format!("{made}; put that right, then: {}", Loader::own_by_hand(file));
                Err(Fault::incomplete(format!("restored, and {both} failed"), hint))
            }
        }
    }
}

fn count(report: &mut RestoreReport, dumped: &Dumped, there: There) {
    report.files += 1;
    report.bytes += dumped.bytes;
    let tally: &mut Tally = &mut report.tally;
    tally.bytes_written += dumped.bytes;
    match there {
        There::Missing => tally.created += 1,
        There::Empty | There::Full(_) => tally.rewritten += 1,
    }
}

/// What to do if a role is missing on the server.
fn missing_role(reason: &str) -> &'static str {
    if reason.contains("role \"") && reason.contains("does not exist") {
        "make the roles first: --globals; or leave owners out: holdfast dump SNAPSHOT:FILE | pg_restore --no-owner"
    } else {
        ""
    }
}

/// Ends when the run is to stop.
async fn stopped(run: &Run) {
    while !run.ctx.cancel.is_raised() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for a program where that keeps nobody else waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::new(Code::Failed, "a thread failed", "").because(&error))
}

/// Dumps that were restored as files: how they become databases.
pub(super) fn what_now(job: &Job<'_>) {
    let Ready::Folder(target) = &job.place else { return };
    if job.snapshot.summary.kind != LOGICAL_KIND
        || !job.options.path.is_empty()
        || job.options.select.is_some()
    {
        return;
    }
    let shown = escape(target.as_os_str().as_bytes());
    job.run.ink.talk(&format!(
        "to make databases of them: psql -d postgres -f {shown}{GLOBALS}   (roles), then for each: pg_restore --create \
         --exit-on-error -d postgres {shown}/databases/NAME.dump"
    ));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn dumped(name: &str) -> Dumped {
        let (name, file) = (name.to_owned(), format!("/databases/{name}.dump"));
        Dumped { name, file, bytes: 1, lsn: None, large_objects: true }
    }

    #[test]
    fn what_is_there_is_not_changed_unasked() {
        let (shop, crm) = (dumped("shop"), dumped("crm"));
        assert_eq!(refuse_full(&[(&shop, There::Missing), (&crm, There::Empty)]), Ok(()));
        let fault = refuse_full(&[(&shop, There::Full(1)), (&crm, There::Full(2))]).unwrap_err();
        assert_eq!(fault.code, Code::Usage);
        assert!(fault.what.contains("shop is there and has 1 thing in it, and 1 more"), "{fault}");
    }

    #[test]
    fn a_missing_role_is_recognised() {
        assert!(missing_role("ERROR:  role \"app\" does not exist").contains("--globals"));
        assert_eq!(missing_role("out of memory"), "");
    }
}
