//! Dumps on their way back into a server: by its own `pg_restore`, which is fed a stream.
//!
//! A database that is not there is made, and dropped again if it does not become whole; one that is
//! there changes all at once or not at all. On purpose not here: reading dumps out of a repository.

use crate::child::{Access, Failure, Running};
use crate::databases::{COMMON, MADE};
use crate::error::PgError;
use crate::passfile::Secrets;
use crate::sql::{Session, USUAL, identifier, literal, parameter};
use crate::tools::{self, Tool, ToolPlaces};
use crate::url::Server;
use holdfast_engine::ctx::Cancel;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// SQLSTATEs of what is there already: roles and tablespaces of a server that has some.
const THERE_ALREADY: [&str; 2] = ["42710", "42P04"];

/// Classes of SQLSTATEs that are no errors.
const HARMLESS: [&str; 3] = ["00", "01", "02"];
/// No user can make a schema of such a name, and no server has it: of a dump, nothing is left but what
/// belongs to the database itself.
const NO_SCHEMA: &str = "--schema=pg_no_schema";
/// So long what belongs to a database itself may be.
const OWN_BYTES_MAX: u64 = 16 << 20;
/// How often, and how far apart, it is looked whether a program that takes nothing more has ended.
const ENDING_LOOKS: u32 = 200;
const ENDING_PAUSE: Duration = Duration::from_millis(20);

/// Where dumps go, and with what.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The server.
    pub server: Server,
    /// What lets us in.
    pub secrets: Secrets,
    /// Folder for files without names.
    pub spool: PathBuf,
    /// Where the server's programs may be.
    pub tools: ToolPlaces,
    /// Stops the run.
    pub cancel: Cancel,
}

/// What a server has under the name of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Missing,
    /// A database with nothing in it that somebody made.
    Empty,
    /// A database with so many things in it.
    Full(u64),
}

/// A server that dumps are loaded into.
pub struct Loader {
    options: LoadOptions,
    main: Session,
    /// First number of its version.
    major: u32,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Loader {
    /// Connects.
    ///
    /// # Errors
    /// The server cannot be reached, or does not let us in.
    pub async fn open(options: LoadOptions) -> Result<Self, PgError> {
        let mut main = Session::open_any(&options.server, &options.secrets, &USUAL).await?;
        let major = main.version().await?.1 / 10_000;
        Ok(Self { options, main, major })
    }

    /// First number of the server's version.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// Looks what a database of a name has in it.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn look(&mut self, database: &str) -> Result<There, PgError> {
        let text = format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", literal(database));
        if self.main.one("look for a database", &text).await?.is_none() {
            return Ok(There::Missing);
        }
        let LoadOptions { server, secrets, .. } = &self.options;
        let mut session = self.main.beside(server, secrets, database).await?;
        let made = session.one("say what is in a database", MADE).await?;
        session.close().await;
        let made = made.and_then(|made| made.parse().ok());
        match made.ok_or_else(|| PgError::protocol("a count that is no number"))? {
            0 => Ok(There::Empty),
            made => Ok(There::Full(made)),
        }
    }

    /// Finds `pg_restore` that reads dumps of a version.
    ///
    /// # Errors
    /// There is none.
    pub fn find_restore(&self, dump_major: u32) -> Result<RestoreTool, PgError> {
        tools::find("pg_restore", dump_major, &self.options.tools).map(RestoreTool)
    }

    /// Starts to load a dump into a database.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn load(&self, tool: &RestoreTool, database: &str, there: There) -> Result<Feeding, PgError> {
        let (connect_to, more): (&str, &[&str]) = match there {
            There::Missing => (&self.main.database, &["--create"]),
            There::Empty => (database, &["--single-transaction"]),
            There::Full(_) => (database, &["--single-transaction", "--clean", "--if-exists"]),
        };
        let to = parameter("dbname", connect_to);
        let words = ["--format=custom", "--exit-on-error", "--dbname", &to];
        self.feed(&tool.0, connect_to, &[&words[..], more].concat(), None)
    }

    /// Starts to take out of a dump what belongs to the database itself: its owner, rights, settings, mark
    /// as a template and comment. Only who makes the database gets it from [`Loader::load`].
    /// [`Feeding::written`] has it, for [`Feeding::finish_with`] of a [`Loader::load_globals`].
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn own(&self, tool: &RestoreTool) -> Result<Feeding, PgError> {
        let fail = |source| PgError::Io { what: "cannot keep what pg_restore writes".to_owned(), source };
        let written = tempfile::tempfile_in(&self.options.spool).map_err(fail)?;
        let words = ["--format=custom", "--create", NO_SCHEMA, "--file=-"];
        self.feed(&tool.0, &self.main.database, &words, Some(written))
    }

    /// Whether a database is the one that servers make others from: each has it, and many put the same things in it.
    #[must_use]
    pub fn is_common_template(name: &str) -> bool {
        name == COMMON
    }

    /// What does by hand what [`Loader::own`] does, of a file of a snapshot.
    #[must_use]
    pub fn own_by_hand(file: &str) -> String {
        format!("holdfast dump SNAPSHOT:{file} | pg_restore --create {NO_SCHEMA} --file=- | psql -d postgres")
    }

    /// Starts to make the roles and tablespaces that a file describes.
    ///
    /// # Errors
    /// There is no program for it, or it cannot be run.
    pub fn load_globals(&self, dump_major: u32) -> Result<Feeding, PgError> {
        let psql = tools::find("psql", dump_major, &self.options.tools)?;
        let to = parameter("dbname", &self.main.database);
        let words = ["--no-psqlrc", "--quiet", "--set", "VERBOSITY=verbose", "--file", "-", "--dbname", &to];
        self.feed(&psql, &self.main.database, &words, None)
    }

    fn feed(
        &self,
        tool: &Tool,
        database: &str,
        words: &[&str],
        written: Option<File>,
    ) -> Result<Feeding, PgError> {
        let LoadOptions { server, secrets, spool, cancel, .. } = &self.options;
        let access = Access::new(server, &self.main.connection.host, database, secrets)?;
        let mut command = access.command(tool, server);
        command.args(words);
        let fail = |source| PgError::Io { what: format!("cannot run {}", tool.path.display()), source };
        let out = written.as_ref().map(File::try_clone).transpose().map_err(fail)?;
        let streams = (Stdio::piped(), out.map_or_else(Stdio::null, Stdio::from));
        let mut running = access.spawn(tool, command, spool, streams)?;
        let inlet = running.child.stdin.take().map(|inlet| File::from(OwnedFd::from(inlet)));
        let inlet = inlet.ok_or_else(|| PgError::protocol("a program that takes nothing"))?;
        Ok(Feeding { running, inlet: Some(inlet), written, cancel: cancel.clone() })
    }

    /// Drops a database that was made and did not become whole.
    ///
    /// # Errors
    /// It cannot be dropped.
    pub async fn drop_half(&mut self, database: &str) -> Result<(), PgError> {
        let text = format!(
            "SELECT 1 FROM pg_catalog.pg_database WHERE datistemplate AND datname = {}",
            literal(database)
        );
        let database = identifier(database);
        if self.main.one("look for a database", &text).await?.is_some() {
            // A server drops none that is marked.
            let text = format!("ALTER DATABASE {database} IS_TEMPLATE false");
            self.main.run("make the database no template", &text).await?;
        }
        let text = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
        self.main.run("drop the database that is not whole", &text).await
    }
}

/// A `pg_restore`.
#[derive(Debug, Clone)]
pub struct RestoreTool(Tool);

/// A program that takes a stream. Whoever drops it ends it.
pub struct Feeding {
    running: Running,
    /// Kept open until all is known to have come: what ends early must not look like an end.
    inlet: Option<File>,
    /// Where it writes to.
    written: Option<File>,
    cancel: Cancel,
}

impl std::fmt::Debug for Feeding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeding").finish_non_exhaustive()
    }
}

impl Feeding {
    /// Where its stream goes in.
    ///
    /// # Errors
    /// The system gives no second way in.
    pub fn inlet(&self) -> io::Result<Box<dyn Write + Send>> {
        let inlet = self.inlet.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Box::new(inlet.try_clone()?))
    }

    /// Ends it before its time.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// All came: waits for the end, and returns what it said. It blocks.
    ///
    /// # Errors
    /// It failed; why, in its own words.
    pub fn finish(mut self) -> Result<String, PgError> {
        self.inlet = None;
        self.running.wait(&self.cancel).map_err(|failure| refused(&failure))
    }

    /// Waits for the end of what takes only as much as it needs, and returns what it wrote. It blocks.
    ///
    /// # Errors
    /// It failed; why, in its own words.
    pub fn written(mut self) -> Result<Vec<u8>, PgError> {
        self.inlet = None;
        self.running.wait(&self.cancel).map_err(|failure| refused(&failure))?;
        let mut bytes = Vec::new();
        let read = self.written.take().map_or(Ok(0), |mut file| {
            file.seek(SeekFrom::Start(0))?;
            file.take(OWN_BYTES_MAX + 1).read_to_end(&mut bytes)
        });
        match read {
            Ok(length) if length as u64 <= OWN_BYTES_MAX => Ok(bytes),
            Ok(_) => Err(PgError::protocol("more belongs to a database itself than can be")),
            Err(source) => Err(PgError::Io { what: "cannot read what pg_restore wrote".to_owned(), source }),
        }
    }

    /// Feeds it with a text and waits: as [`Feeding::finish_globals`]. It blocks.
    ///
    /// # Errors
    /// It failed as a whole.
    pub fn finish_with(self, text: &[u8]) -> Result<Vec<String>, PgError> {
        // One that takes nothing has failed, and says why.
        let _ = self.inlet.as_ref().map(|mut inlet| inlet.write_all(text));
        self.finish_globals()
    }

    /// It takes nothing any more: why, in its own words. It blocks.
    #[must_use]
    pub fn reason(mut self) -> String {
        let begun = self.running.said();
        // It is about to end; one that did not would wait for more.
        for _ in 0..ENDING_LOOKS {
            if !matches!(self.running.child.try_wait(), Ok(None)) {
                let ended = self.running.wait(&self.cancel).err();
                return ended.map_or_else(|| "it ended too early".to_owned(), |failure| failure.to_string());
            }
            std::thread::sleep(ENDING_PAUSE);
        }
        begun
    }

    /// The same as [`Feeding::finish`] for statements that go on after an error: what is there already
    /// is no error.
    ///
    /// # Errors
    /// It failed as a whole.
    pub fn finish_globals(mut self) -> Result<Vec<String>, PgError> {
        self.inlet = None;
        self.running.wait(&self.cancel).map_err(|failure| refused(&failure))?;
        Ok(errors_in(&self.running.lines()))
    }
}

/// The statements without the one that makes the database: it is there, and who made it may have had to, for want of
/// a right, a collation or a tablespace.
#[must_use]
pub fn without_creation(text: &[u8]) -> Vec<u8> {
    const BEGINS: &[u8] = b"\nCREATE DATABASE ";
    let Some(begin) = text.windows(BEGINS.len()).position(|window| window == BEGINS) else {
        return text.to_vec();
    };
    let end = text[begin..]
        .windows(2)
        .position(|window| window == b";\n")
        .map_or(text.len(), |end| begin + end + 1);
    [&text[..begin], &text[end..]].concat()
}

fn refused(failure: &Failure) -> PgError {
    PgError::Refused(failure.to_string())
}

/// Errors among the lines of `psql`, with their SQLSTATEs: `psql:<stdin>:3: ERROR:  42710: role …`. The
/// first word is in the server's language.
fn errors_in(lines: &[String]) -> Vec<String> {
    let error = |line: &String| {
        let (_, rest) = line.strip_prefix("psql:<stdin>:")?.split_once(": ")?;
        if let Some(own) = rest.strip_prefix("error: ") {
            return Some(own.to_owned());
        }
        let (_, rest) = rest.split_once(":  ")?;
        let (code, _) = rest.split_once(": ")?;
        let is_code =
            code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        let is_error = is_code && !HARMLESS.iter().any(|class| code.starts_with(class));
        (is_error && !THERE_ALREADY.contains(&code)).then(|| rest.to_owned())
    };
    lines.iter().filter_map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_itself_is_not_made_again() {
        let text = b"SET a = 1;\n--\n\nCREATE DATABASE shop WITH TEMPLATE = template0 LOCALE = 'x';\n\n\nALTER DATABASE shop OWNER TO app;\n";
        let left = String::from_utf8(without_creation(text)).unwrap_or_default();
        assert_eq!(left, "SET a = 1;\n--\n\n\n\nALTER DATABASE shop OWNER TO app;\n");
        assert_eq!(without_creation(b"SET a = 1;\n"), b"SET a = 1;\n");
    }

    #[test]
    fn what_is_there_already_is_no_error() {
        let lines = [
            "psql:<stdin>:14: ERROR:  42710: role \"postgres\" already exists",
            "LOCATION:  CreateRole, user.c:353",
            "psql:<stdin>:20: FEHLER:  58P01: directory \"/x\" does not exist",
            "psql:<stdin>:21: NOTICE:  00000: all is well",
            "psql:<stdin>:3: error: invalid command \\restrict",
        ];
        let found = errors_in(&lines.map(str::to_owned));
        assert_eq!(found, ["58P01: directory \"/x\" does not exist", "invalid command \\restrict"]);
    }
}
