//! Dumps of single databases: each by the server's own `pg_dump`, of a snapshot that is exported for
//! it, so that what is recorded beside a dump is of the same moment.
//!
//! One database after the other: nobody's old rows are kept longer than its dump takes. A dump that
//! fails makes all fail. On purpose not here: running programs, and what is recorded.

use crate::child::{Access, Failure};
use crate::databases::{self, About, COMMON, Cover, Listed, Managed};
use crate::dumped::{self, DUMP_MAGIC, Ended, Entry, Job, Written};
use crate::error::PgError;
use crate::logical_record::{DUMPS, Dumped, GLOBALS, LogicalRecord, file_of};
use crate::passfile::Secrets;
use crate::rows::{self, NOW, RowsOf};
use crate::sql::{Session, USUAL, is_about_database, parameter, quoted};
use crate::tools::{self, Tool, ToolPlaces};
use crate::url::Server;
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::source::{
    Account, ConsistencyPoint, EntryBatch, Order, Source, SourceError, SourceIdentity,
};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tokio::runtime::Handle;

/// What the summary of a snapshot of dumps says that it is of.
pub const KIND: &str = "postgres-logical";
/// So often it is looked whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A table that somebody keeps for himself for so long fails the dump.
const LOCK_MILLISECONDS: u32 = 600_000;

/// Said of the common template of a service.
const CLOSED_COMMON: &str = "what is in it is not known, and it is not dumped: this role is not let in";

/// From this version on dumps set what older servers do not know (`transaction_timeout`).
pub(crate) const NEW_SETTING: u32 = 17;

/// What to dump, and with what.
#[derive(Clone)]
pub struct LogicalOptions {
    /// Where the cluster is.
    pub server: Server,
    /// The databases that are meant; all of them if none is stated.
    pub databases: Vec<String>,
    /// The database to ask first.
    pub ask_in: Option<String>,
    /// Tables whose rows are counted.
    pub count: Vec<RowsOf>,
    /// What lets us in.
    pub secrets: Secrets,
    /// Host that it counts as being of; if none is stated, the cluster itself.
    pub host: Option<String>,
    /// Folder for files without names.
    pub spool: PathBuf,
    /// Where the server's programs may be.
    pub tools: ToolPlaces,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Stops the run.
    pub cancel: Cancel,
}

impl fmt::Debug for LogicalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalOptions").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Dumps databases.
pub struct LogicalSource {
    options: LogicalOptions,
    identity: SourceIdentity,
    handle: Handle,
    /// Which programs make the dumps.
    dump: Tool,
    dump_globals: Tool,
    /// The connection by which all was found out.
    main: Session,
    about: About,
    /// What is still to be dumped, and whether anything was.
    queue: VecDeque<Listed>,
    begun: bool,
    /// The dump that goes on.
    going: Option<Going>,
    record: LogicalRecord,
    facts: Vec<(String, String)>,
    /// What was met since the last batch.
    problems: Problems,
    /// Tables that were asked for, and were in no database.
    missing: Vec<RowsOf>,
}

/// A dump that goes on.
struct Going {
    ended: Receiver<Ended>,
    /// The file that it makes.
    path: String,
    /// The database, and the session that holds its snapshot; the globals have neither.
    database: Option<(Dumped, Session)>,
}

/// What became of a database that was to be dumped.
enum Opened {
    Ready(Box<Going>, Box<Job>),
    /// It is not dumped; that was told.
    Left,
}

impl fmt::Debug for LogicalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalSource").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl LogicalSource {
    /// Connects, finds the server's programs, and looks what there is to dump. Has to be called where
    /// tasks can be started.
    ///
    /// # Errors
    /// The server cannot be reached, does not let us in, or is of a version that is not known; there is
    /// no program that can dump it; or a database that was named is not there.
    pub async fn open(options: LogicalOptions) -> Result<Self, PgError> {
        let mut main = open_main(&options).await?;
        let (version, number) = main.version().await?;
        let major = number / 10_000;
        let dump = tools::find("pg_dump", major, &options.tools)?;
        let dump_globals = tools::find("pg_dumpall", major, &options.tools)?;
        let about = databases::about(&mut main).await?;
        let managed = Managed::recognised(&mut main).await?;
        let mut problems = Problems::default();
        let listed = databases::list(&mut main, major).await?;
        let mut queue = chosen(&options.databases, listed, managed, &mut problems)?;
        if options.databases.is_empty() {
            weigh_common(&options, &mut main, &mut queue, &mut problems).await?;
        }
        let mut record = LogicalRecord::new((version.clone(), number), dump.major, about.system.clone());
        // A service keeps them to itself, whatever rights it shows.
        let readable = main.known("SELECT 1 FROM pg_catalog.pg_authid LIMIT 1").await?;
        record.role_passwords = readable.is_some() && managed.is_none();
        if !record.role_passwords {
            problems.notice(without_passwords(&options.server.user));
        }
        if dump.major >= NEW_SETTING && major < NEW_SETTING {
            problems.notice(with_newer(dump.major, major));
        }
        let mut facts = vec![("server version".to_owned(), version)];
        // Grants name it: whoever loads them needs a superuser of the same name.
        let first = main.known("SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10").await?;
        let known = [
            ("system identifier", &about.system),
            ("timeline", &about.timeline),
            ("bootstrap superuser", &first),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        facts.extend(known);
        facts.push(("standby".to_owned(), about.follows.to_string()));
        facts.push(("pg_dump version".to_owned(), dump.major.to_string()));
        facts.extend(managed.map(|managed| ("service".to_owned(), managed.name().to_owned())));
        facts.extend(queue.iter().flat_map(Listed::facts));
        Ok(Self {
            identity: identity(&options, &about),
            handle: Handle::current(),
            missing: options.count.clone(),
            options,
            dump,
            dump_globals,
            main,
            about,
            queue: queue.into(),
            begun: false,
            going: None,
            record,
            facts,
            problems,
        })
    }

    /// What people call the dumps where nobody gave them a name; none if the cluster does not say
    /// which one it is.
    #[must_use]
    pub fn label(&self) -> Option<String> {
        let system = self.about.system.as_ref()?;
        let which = match &self.options.databases[..] {
            [] => "logical".to_owned(),
            chosen => chosen.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(","),
        };
        Some(format!("pg-{system}-{which}"))
    }

    fn notice(&mut self, path: &str, kind: NoticeKind, what: impl Into<String>) {
        self.problems.notice(Notice { path: path.as_bytes().to_vec(), kind, what: what.into() });
    }

    /// A database is not dumped, or not all of it.
    fn problem(&mut self, path: &str, what: impl Into<String>) {
        let (path, what) = (path.as_bytes().to_vec(), what.into());
        self.problems.problem(Problem { path, kind: ProblemKind::Unreadable, what });
    }

    /// What describes all roles and tablespaces.
    fn globals(&mut self) -> Result<(Going, Job), PgError> {
        let mut words: Vec<OsString> = vec!["--globals-only".into()];
        let ask_in = parameter("dbname", &self.main.database);
        words.extend(["--database".into(), ask_in.into()]);
        if !self.record.role_passwords {
            words.push("--no-role-passwords".into());
        }
        let tool = self.dump_globals.clone();
        let database = self.main.database.clone();
        self.job(tool, words, &database, b"", GLOBALS, None)
    }

    fn job(
        &self,
        tool: Tool,
        words: Vec<OsString>,
        database: &str,
        magic: &'static [u8],
        path: &str,
        dumped: Option<(Dumped, Session)>,
    ) -> Result<(Going, Job), PgError> {
        let (sender, ended) = channel();
        let LogicalOptions { server, secrets, spool, cancel, .. } = &self.options;
        let job = Job {
            tool,
            words,
            access: Access::new(server, &self.main.connection.host, database, secrets)?,
            server: server.clone(),
            spool: spool.clone(),
            magic,
            cancel: cancel.clone(),
            ended: sender,
        };
        Ok((Going { ended, path: path.to_owned(), database: dumped }, job))
    }

    /// Opens a database for its dump; what it cannot give is told.
    async fn open_database(&mut self, listed: Listed) -> Result<Opened, PgError> {
        let path = file_of(&listed.name);
        let LogicalOptions { server, secrets, .. } = &self.options;
        let opened = self.main.beside(server, secrets, &listed.name).await;
        let stated = self.options.databases.contains(&listed.name);
        let session = match opened {
            Ok(session) => session,
            Err(error) if error.code() == Some("3D000") && !stated => {
                self.notice(&path, NoticeKind::Vanished, "the database was dropped before it was dumped");
                return Ok(Opened::Left);
            }
            // One that lets nobody in does not keep the others from being dumped.
            Err(error @ PgError::Refused(_)) if !stated => return self.left(&path, &error),
            Err(error) if is_about_database(&error) && !stated => return self.left(&path, &error),
            Err(error) => return Err(error),
        };
        self.prepare(session, listed, path).await
    }

    fn left(&mut self, path: &str, error: &PgError) -> Result<Opened, PgError> {
        self.problem(path, format!("not dumped: {error}"));
        Ok(Opened::Left)
    }

    /// Exports a snapshot, and records what is seen in it.
    async fn prepare(
        &mut self,
        mut session: Session,
        listed: Listed,
        path: String,
    ) -> Result<Opened, PgError> {
        let name = listed.name;
        // Before the transaction: what is refused in one ends it.
        let lsn = session.known(NOW).await?;
        session.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let exported = session.one("export a snapshot", "SELECT pg_catalog.pg_export_snapshot()").await?;
        let exported = exported.ok_or_else(|| PgError::protocol("a snapshot without a name"))?;
        let cover = databases::cover(&mut session, self.record.server_version_number / 10_000).await?;
        if let Some((number, first)) = &cover.hidden_rows {
            let what = hidden(&self.options.server.user, *number, first);
            if self.options.databases.contains(&name) {
                return Err(PgError::Refused(format!("{} was not dumped: {what}", quoted(&name))));
            }
            self.facts.extend(cover.facts(&name));
            self.problem(&path, format!("not dumped: {what}"));
            return Ok(Opened::Left);
        }
        if self.about.follows {
            self.say_unlogged(&mut session, &path).await?;
        }
        self.record_facts(&mut session, &cover, lsn.as_deref()).await?;
        let large_objects = cover.closed_objects == 0;
        if !large_objects {
            let what = format!(
                "dumped without its large objects: {} of {} are not for the role {} to read; let a superuser dump it",
                cover.closed_objects, cover.large_objects, self.options.server.user
            );
            self.problem(&path, what);
        }
        let words = words(&exported, large_objects);
        let dumped = Dumped { name: name.clone(), file: path.clone(), bytes: 0, lsn, large_objects };
        let tool = self.dump.clone();
        let (going, job) = self.job(tool, words, &name, DUMP_MAGIC, &path, Some((dumped, session)))?;
        Ok(Opened::Ready(Box::new(going), Box::new(job)))
    }

    /// A server that follows has nothing of what is not in the log.
    async fn say_unlogged(&mut self, session: &mut Session, path: &str) -> Result<(), PgError> {
        let text = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE relpersistence = 'u' AND relkind = 'r'";
        let number = session.one("list unlogged tables", text).await?;
        if let Some(number) = number.filter(|number| number != "0") {
            let what =
                format!("rows of unlogged tables ({number}) are not there on a server that follows another");
            self.notice(path, NoticeKind::LeftOut, what);
        }
        Ok(())
    }

    async fn record_facts(
        &mut self,
        session: &mut Session,
        cover: &Cover,
        lsn: Option<&str>,
    ) -> Result<(), PgError> {
        let name = session.database.clone();
        let lsn = lsn.map(|lsn| (format!("database {} LSN", quoted(&name)), lsn.to_owned()));
        self.facts.extend(lsn);
        self.facts.extend(databases::extensions(session).await?);
        self.facts.extend(cover.facts(&name));
        for of in self.options.count.clone() {
            if !of.may_be_in(&name) {
                continue;
            }
            if let Some(rows) = rows::count(session, &of).await? {
                self.missing.retain(|missing| *missing != of);
                self.facts.push((of.fact(&name), rows.to_string()));
            }
        }
        Ok(())
    }

    /// Waits for the end of the dump that goes on.
    fn wait(&mut self) -> Result<(), SourceError> {
        let Some(Going { ended, path, database }) = self.going.take() else { return Ok(()) };
        let how = loop {
            if self.options.cancel.is_raised() {
                return Err(failed("interrupted"));
            }
            match ended.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(how) => break how,
                Err(RecvTimeoutError::Disconnected) => {
                    let what = "it was not read to its end".to_owned();
                    break Err(Failure { what, said: String::new() });
                }
            }
        };
        let Written { bytes, said } =
            how.map_err(|failure| failed(&format!("{path}: cannot dump: {failure}")))?;
        if !said.is_empty() {
            self.notice(&path, NoticeKind::Other, said);
        }
        if let Some((dumped, session)) = database {
            self.record.databases.push(Dumped { bytes, ..dumped });
            // With its connection the snapshot ends.
            self.handle.block_on(session.close());
        }
        Ok(())
    }

    /// What comes next; none if all is dumped.
    fn next(&mut self) -> Result<Option<Vec<Entry>>, PgError> {
        if !std::mem::replace(&mut self.begun, true) {
            let (going, job) = self.globals()?;
            self.going = Some(going);
            let globals = Entry::File(GLOBALS.to_owned(), Box::new(job));
            return Ok(Some(vec![Entry::Folder(DUMPS), globals]));
        }
        while let Some(listed) = self.queue.pop_front() {
            if self.options.cancel.is_raised() {
                return Err(PgError::Refused("interrupted".to_owned()));
            }
            let handle = self.handle.clone();
            match handle.block_on(self.open_database(listed))? {
                Opened::Left => {}
                Opened::Ready(going, job) => {
                    let path = going.path.clone();
                    self.going = Some(*going);
                    return Ok(Some(vec![Entry::File(path, job)]));
                }
            }
        }
        Ok(None)
    }
}

async fn open_main(options: &LogicalOptions) -> Result<Session, PgError> {
    let stated = options.ask_in.iter().map(String::as_str);
    let chosen = options.databases.iter().map(String::as_str);
    let candidates: Vec<_> = stated.chain(USUAL).chain(chosen).collect();
    Session::open_any(&options.server, &options.secrets, &candidates).await
}

/// Which databases are dumped; what is not is told.
fn chosen(
    stated: &[String],
    listed: Vec<Listed>,
    managed: Option<Managed>,
    problems: &mut Problems,
) -> Result<Vec<Listed>, PgError> {
    if !stated.is_empty() {
        if let Some(missing) = stated.iter().find(|name| !listed.iter().any(|one| one.name == **name)) {
            let there: Vec<_> =
                listed.iter().filter(|one| !one.is_pristine()).map(|one| quoted(&one.name)).collect();
            let what = format!("there is no database {}; there are {}", quoted(missing), there.join(", "));
            return Err(PgError::Refused(what));
        }
        return Ok(listed.into_iter().filter(|one| stated.contains(&one.name)).collect());
    }
    let mut taken = Vec::new();
    for one in listed.into_iter().filter(|one| !one.is_pristine()) {
        let path = file_of(&one.name).into_bytes();
        if let Some(managed) = managed.filter(|managed| managed.owns(&one.name)) {
            let what = format!("the database is {}'s own, and nobody else's to dump", managed.name());
            problems.notice(Notice { path, kind: NoticeKind::LeftOut, what });
        } else if !one.is_alive && one.is_template {
            let what = format!(
                "not dumped: the template takes no connections: ALTER DATABASE {} ALLOW_CONNECTIONS true",
                quoted(&one.name)
            );
            problems.notice(Notice { path, kind: NoticeKind::LeftOut, what });
        } else if !one.is_alive {
            let what = "the database takes no connections (datallowconn), and is not dumped".to_owned();
            problems.notice(Notice { path, kind: NoticeKind::LeftOut, what });
        } else if !one.is_open && one.name == COMMON {
            problems.notice(Notice { path, kind: NoticeKind::LeftOut, what: CLOSED_COMMON.to_owned() });
        } else if !one.is_open {
            let what = format!(
                "not dumped: the role may not connect to it: GRANT CONNECT ON DATABASE {} TO …",
                quoted(&one.name)
            );
            problems.problem(Problem { path, kind: ProblemKind::Unreadable, what });
        } else {
            taken.push(one);
        }
    }
    Ok(taken)
}

/// Takes the common template out of what is dumped where it is as in a new cluster.
async fn weigh_common(
    options: &LogicalOptions,
    main: &mut Session,
    queue: &mut Vec<Listed>,
    problems: &mut Problems,
) -> Result<(), PgError> {
    if !queue.iter().any(|one| one.name == COMMON) {
        return Ok(());
    }
    let is_changed = match main.beside(&options.server, &options.secrets, COMMON).await {
        Ok(mut session) => {
            let is_changed = databases::is_changed(&mut session).await?;
            session.close().await;
            is_changed
        }
        // Most have nothing in it; where roles are kept out of it, nobody wants it in a backup of theirs.
        Err(error) if is_about_database(&error) || matches!(error, PgError::Refused(_)) => {
            let (path, what) = (file_of(COMMON).into_bytes(), format!("{CLOSED_COMMON}: {error}"));
            problems.notice(Notice { path, kind: NoticeKind::LeftOut, what });
            false
        }
        // When it is its turn it is told.
        Err(_) => true,
    };
    if !is_changed {
        queue.retain(|one| one.name != COMMON);
    }
    Ok(())
}

/// The words for a program that dumps a database as it is in a snapshot.
fn words(exported: &str, large_objects: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        ["--format=custom", "--compress=0"].into_iter().map(OsString::from).collect();
    words.push(format!("--snapshot={exported}").into());
    words.push(format!("--lock-wait-timeout={LOCK_MILLISECONDS}").into());
    // By its short name, which stayed when the long one changed.
    words.extend((!large_objects).then(|| OsString::from("-B")));
    words
}

fn hidden(user: &str, number: u64, first: &str) -> String {
    format!(
        "row level security hides rows of {number} of its tables ({first} first) from the role {user}: ALTER ROLE {} \
         BYPASSRLS",
        quoted(user)
    )
}

fn without_passwords(user: &str) -> Notice {
    let what = format!(
        "the passwords of roles are not in it: {user} may not read them (pg_authid); set them again after a restore"
    );
    Notice { path: GLOBALS.as_bytes().to_vec(), kind: NoticeKind::LeftOut, what }
}

fn with_newer(tool: u32, server: u32) -> Notice {
    let what = format!(
        "dumped with pg_dump {tool}: such dumps set transaction_timeout, which a server of {server} does not know, so that \
         they come back only into 17 or newer; install the client programs of {server} (postgresql-client-{server})"
    );
    Notice { path: DUMPS.as_bytes().to_vec(), kind: NoticeKind::Other, what }
}

/// The same databases of the same cluster are the same source, whoever asks.
fn identity(options: &LogicalOptions, about: &About) -> SourceIdentity {
    let LogicalOptions { server, databases, host, .. } = options;
    let cluster = about.system.clone().unwrap_or_else(|| server.to_string());
    let names: Vec<_> = databases.iter().map(|name| quoted(name)).collect();
    let paths = match &databases[..] {
        [] => vec![server.to_string().into_bytes()],
        chosen => chosen.iter().map(|name| server.with_database(name).into_bytes()).collect(),
    };
    let first = server.hosts.first().map(|host| host.name.clone()).unwrap_or_default();
    SourceIdentity {
        kind: KIND.to_owned(),
        host: host
            .clone()
            .or_else(|| about.system.as_ref().map(|system| format!("pg-{system}")))
            .unwrap_or(first),
        canonical: format!("{cluster} {}", names.join(",")).trim_end().to_owned(),
        paths,
    }
}

fn failed(what: &str) -> SourceError {
    SourceError { what: what.to_owned(), source: None }
}

impl Source for LogicalSource {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn order(&self) -> Order {
        Order::Arrival
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        self.wait()?;
        let now = self.options.clock.now();
        let entries = self.next().map_err(SourceError::from)?;
        let problems = std::mem::take(&mut self.problems);
        if entries.is_none() && problems == Problems::default() {
            return Ok(None);
        }
        Ok(Some(dumped::batch(entries.unwrap_or_default(), now, problems)))
    }

    fn account(&mut self, _account: &Account) -> Problems {
        for of in std::mem::take(&mut self.missing) {
            let what = format!("rows of {of} were not counted: no database that was dumped has such a table");
            self.notice(DUMPS, NoticeKind::Other, what);
        }
        std::mem::take(&mut self.problems)
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        if !self.begun || self.going.is_some() || !self.queue.is_empty() {
            return Err(failed("the databases were not dumped to the end"));
        }
        if self.record.databases.is_empty() {
            return Err(failed("no database could be dumped"));
        }
        Ok(ConsistencyPoint {
            record: self.record.encode(),
            facts: std::mem::take(&mut self.facts),
            log: None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn listed(name: &str) -> Listed {
        Listed {
            name: name.into(),
            bytes: None,
            is_open: true,
            is_alive: true,
            is_template: false,
            encoding: String::new(),
            collation: String::new(),
            sorts_differently: false,
        }
    }

    #[test]
    fn all_that_can_be_dumped_are_and_the_others_are_named() {
        let all = || {
            vec![
                listed("rdsadmin"),
                listed("shop"),
                Listed { is_open: false, ..listed("closed") },
                Listed { is_alive: false, ..listed("resting") },
                Listed { is_template: true, ..listed("golden") },
                Listed { is_template: true, is_alive: false, ..listed("shut") },
                Listed { is_template: true, is_alive: false, ..listed("template0") },
                Listed { is_template: true, ..listed("template1") },
            ]
        };
        let mut problems = Problems::default();
        let taken = chosen(&[], all(), Some(Managed::Amazon), &mut problems).unwrap();
        let names: Vec<_> = taken.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["shop", "golden", "template1"]);
        assert_eq!((problems.problem_count, problems.notice_count), (1, 3));
        assert!(problems.problems[0].path == b"/databases/closed.dump");
        let mut problems = Problems::default();
        let kept_out =
            vec![listed("shop"), Listed { is_template: true, is_open: false, ..listed("template1") }];
        assert_eq!(chosen(&[], kept_out, None, &mut problems).unwrap().len(), 1);
        assert_eq!((problems.problem_count, problems.notice_count), (0, 1), "nobody is told each night");
        let stated = ["template1".to_owned(), "closed".to_owned()];
        let taken = chosen(&stated, all(), None, &mut Problems::default()).unwrap();
        assert_eq!(taken.len(), 2);
        let error = chosen(&["gone".to_owned()], all(), None, &mut Problems::default()).unwrap_err();
        assert!(error.to_string().contains("there is no database gone; there are rdsadmin, shop"));
    }

    #[test]
    fn a_dump_is_not_compressed_and_of_one_snapshot() {
        let shown = |large| {
            let words = words("3-1B-1", large);
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert!(
            shown(true).starts_with("--format=custom --compress=0 --snapshot=3-1B-1 --lock-wait-timeout=")
        );
        assert!(!shown(true).contains("-B") && shown(false).ends_with("-B"));
    }
}
