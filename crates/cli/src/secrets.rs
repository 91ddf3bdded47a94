//! What opens a repository: from a file, a command, the environment or a person.
//!
//! Secrets are never arguments and never shown. On purpose not here: what is done with them.

use crate::args::{FromArgs, Global, NewSecret};
use crate::engine::Secret;
use crate::fault::{Code, Fault};
use crate::settings::variable;
use crate::wire_up::{Keys, ServerSecrets};
use holdfast_core::keys::KEY_FILE_BYTES_MIN;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Nobody types more than this; a larger file is the wrong one.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Where the secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    PasswordFile(PathBuf),
    PasswordCommand(OsString),
    KeyFile(PathBuf),
    Environment,
    Person,
}

/// What a command line says of the secret of a repository, and how its variables begin.
#[derive(Debug, Clone, Copy)]
struct Stated<'a> {
    key_file: Option<&'a PathBuf>,
    password_file: Option<&'a PathBuf>,
    password_command: Option<&'a OsString>,
    prefix: &'static str,
}

impl<'a> From<&'a Global> for Stated<'a> {
    fn from(global: &'a Global) -> Self {
        Self {
            key_file: global.key_file.as_ref(),
            password_file: global.password_file.as_ref(),
            password_command: global.password_command.as_ref(),
            prefix: "HOLDFAST_",
        }
    }
}

impl<'a> From<&'a FromArgs> for Stated<'a> {
    fn from(from: &'a FromArgs) -> Self {
        Self {
            key_file: from.from_key_file.as_ref(),
            password_file: from.from_password_file.as_ref(),
            password_command: from.from_password_command.as_ref(),
            prefix: "HOLDFAST_FROM_",
        }
    }
}

/// Gets what opens the repository. `confirm` asks a person twice.
pub(crate) fn get(global: &Global, confirm: bool) -> Result<Secret, Fault> {
    stated(
        global.into(),
        || if confirm { ask_new("New password for the repository: ", USUAL) } else { ask() },
    )
}

/// Gets what opens the repository that is copied from.
pub(crate) fn get_from(from: &FromArgs) -> Result<Secret, Fault> {
    const HINT: &str = "use --from-password-file, --from-password-command or --from-key-file, or set \
                        HOLDFAST_FROM_PASSWORD_FILE";
    let text = "Password of the repository to copy from: ";
    stated(from.into(), || password_of(prompt(text, HINT)?.into_bytes(), "the password"))
}

/// What opens the repository also for another program, later and without anybody.
pub(crate) enum Lasting {
    KeyFile(PathBuf),
    PasswordFile(PathBuf),
    PasswordCommand(OsString),
    /// Nothing does: so it was given.
    Passing(&'static str),
}

/// Tells what would open the repository for a program that is started from somewhere else.
pub(crate) fn lasting(global: &Global) -> Result<Lasting, Fault> {
    Ok(match origin(global.into(), variable)? {
        Origin::KeyFile(path) => Lasting::KeyFile(path),
        Origin::PasswordFile(path) => Lasting::PasswordFile(path),
        // What stands in the environment may be a secret itself; an argument is none.
        Origin::PasswordCommand(command) if global.password_command.is_some() => {
            Lasting::PasswordCommand(command)
        }
        Origin::PasswordCommand(_) => Lasting::Passing("HOLDFAST_PASSWORD_COMMAND"),
        Origin::Environment => Lasting::Passing("HOLDFAST_PASSWORD"),
        Origin::Person => Lasting::Passing("a person"),
    })
}

fn stated(stated: Stated<'_>, ask: impl FnOnce() -> Result<Secret, Fault>) -> Result<Secret, Fault> {
    match origin(stated, variable)? {
        Origin::KeyFile(path) => key_file(&path),
        Origin::PasswordFile(path) => password_file(&path),
        Origin::PasswordCommand(command) => password_command(&command),
        Origin::Environment => {
            let name = format!("{}PASSWORD", stated.prefix);
            password_of(variable(&name).unwrap_or_default().into_vec(), &name)
        }
        Origin::Person => ask(),
    }
}

/// Gets the keys of a bucket that has keys of its own: `whose` is SOURCE, TARGET or FROM.
pub(crate) fn bucket_keys(whose: &str) -> Result<Option<Keys>, Fault> {
    let names = ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"].map(|what| format!("HOLDFAST_{whose}_AWS_{what}"));
    let text = |name: &str| {
        let text = variable(name).map(OsString::into_string).transpose();
        text.map_err(|_| Fault::usage(format!("{name} is no text"), "check how it is set"))
    };
    match (text(&names[0])?, text(&names[1])?) {
        (Some(access), Some(secret)) => Ok(Some(Keys { access, secret })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            let what = format!("of {} and {} only one is set", names[0], names[1]);
            Err(Fault::usage(what, "set both, or none and use profile= in the URL"))
        }
    }
}

/// Gets what lets us in to a server of PostgreSQL, by the names that its own programs use.
pub(crate) fn of_server() -> Result<ServerSecrets, Fault> {
    let password = variable("PGPASSWORD").map(|password| Zeroizing::new(password.into_vec()));
    let stated = variable("PGPASSFILE").map(PathBuf::from);
    let usual = || variable("HOME").map(|home| Path::new(&home).join(".pgpass")).filter(|path| path.exists());
    let passfile = match stated.or_else(usual) {
        Some(path) if password.is_none() => {
            refuse_open(&path)?;
            Some(Zeroizing::new(read_file(&path, "password file")?))
        }
        _ => None,
    };
    Ok(ServerSecrets { password, passfile })
}

/// A file of passwords that others can read is not used, as the server's own programs do not.
fn refuse_open(path: &Path) -> Result<(), Fault> {
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() && file.mode() & 0o077 != 0 => Err(Fault::usage(
            format!("the password file {} can be read by others", path.display()),
            "make it your own: chmod 600",
        )),
        // What is missing is told of when it is read.
        _ => Ok(()),
    }
}

/// Gets what shall open the repository from now on.
pub(crate) fn get_new(new: &NewSecret) -> Result<Secret, Fault> {
    if let Some(path) = &new.new_key_file {
        return key_file(path);
    }
    if let Some(path) = &new.new_password_file {
        return password_file(path);
    }
    if let Some(command) = &new.new_password_command {
        return password_command(command);
    }
    match variable("HOLDFAST_NEW_PASSWORD") {
        Some(password) => password_of(password.into_vec(), "HOLDFAST_NEW_PASSWORD"),
        None => ask_new(
            "New password: ",
            "use --new-password-file, --new-password-command or --new-key-file, or set HOLDFAST_NEW_PASSWORD",
        ),
    }
}

/// Options go before the environment; two of the same rank are one too many.
fn origin(stated: Stated<'_>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Origin, Fault> {
    let options = [
        stated.key_file.cloned().map(Origin::KeyFile),
        stated.password_file.cloned().map(Origin::PasswordFile),
        stated.password_command.cloned().map(Origin::PasswordCommand),
    ];
    if let Some(origin) = options.into_iter().flatten().next() {
        return Ok(origin);
    }
    let name = |what| format!("{}{what}", stated.prefix);
    let path = |what| variable(&name(what)).map(PathBuf::from);
    let named = [
        ("KEY_FILE", path("KEY_FILE").map(Origin::KeyFile)),
        ("PASSWORD_FILE", path("PASSWORD_FILE").map(Origin::PasswordFile)),
        ("PASSWORD_COMMAND", variable(&name("PASSWORD_COMMAND")).map(Origin::PasswordCommand)),
        ("PASSWORD", variable(&name("PASSWORD")).map(|_| Origin::Environment)),
    ];
    let mut set = named.into_iter().filter_map(|(what, origin)| Some((name(what), origin?)));
    match (set.next(), set.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(Fault::usage(format!("{first} and {second} are both set"), "unset the one that is not meant"))
        }
        (Some((_, origin)), None) => Ok(origin),
        (None, _) => Ok(Origin::Person),
    }
}

/// Reads a key file.
pub(crate) fn key_file(path: &Path) -> Result<Secret, Fault> {
    let bytes = read_file(path, "key file")?;
    if bytes.len() < KEY_FILE_BYTES_MIN {
        let what = format!("the key file {} has {} bytes, too few", path.display(), bytes.len());
        return Err(Fault::usage(
            what,
            format!("it needs {KEY_FILE_BYTES_MIN}; make one: head -c 64 /dev/urandom > FILE"),
        ));
    }
    Ok(Secret::KeyFile(bytes))
}

fn password_file(path: &Path) -> Result<Secret, Fault> {
    password_of(read_file(path, "password file")?, &format!("the password file {}", path.display()))
}

/// Reads a file with a secret, as it is.
pub(crate) fn file(path: &Path, what: &str) -> Result<Vec<u8>, Fault> {
    read_file(path, what)
}

fn read_file(path: &Path, what: &str) -> Result<Vec<u8>, Fault> {
    let fault = |error: io::Error| {
        Fault::usage(
            format!("cannot read the {what} {}", path.display()),
            "check its name and its permissions",
        )
        .because(&error)
    };
    let bytes = File::open(path).and_then(read_bounded).map_err(fault)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(Fault::usage(
            format!("the {what} {} is too large", path.display()),
            "is it the right file?",
        ));
    }
    Ok(bytes)
}

fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Runs a command; its standard input is the terminal or nothing, never the data of a backup.
fn password_command(command: &OsString) -> Result<Secret, Fault> {
    let stdin = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(stdin).stderr(Stdio::inherit());
    // What it prints may be the secret; its text may be one too: neither is repeated.
    let fault = || Fault::failed("the password command failed", "run it yourself to see what it prints");
    let output = shell.output().map_err(|error| fault().because(&error))?;
    if !output.status.success() {
        return Err(Fault { why: vec![output.status.to_string()], ..fault() });
    }
    password_of(output.stdout, "what the password command printed")
}

/// Runs a program without a shell, and takes what it prints. Neither its words nor what it prints is repeated.
pub(crate) fn printed(words: &[String]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let fault = || Fault::failed("the command for it failed", "run it yourself to see what it prints");
    let (program, arguments) = words.split_first().ok_or_else(fault)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| fault().because(&error))?;
    match output.status.success() {
        true => Ok(Zeroizing::new(output.stdout)),
        false => Err(Fault { why: vec![output.status.to_string()], ..fault() }),
    }
}

/// What else gives a password.
const USUAL: &str = "use --password-file, --password-command or --key-file, or set HOLDFAST_PASSWORD_FILE";

fn ask() -> Result<Secret, Fault> {
    password_of(prompt("Password of the repository: ", USUAL)?.into_bytes(), "the password")
}

/// Asks twice: nobody sees what is typed.
fn ask_new(text: &str, hint: &str) -> Result<Secret, Fault> {
    let password = Zeroizing::new(prompt(text, hint)?);
    if *Zeroizing::new(prompt("The same again: ", hint)?) != *password {
        return Err(Fault::usage("the two passwords differ", "try again; nothing was changed"));
    }
    password_of(password.as_bytes().to_vec(), "the new password")
}

fn prompt(text: &str, hint: &str) -> Result<String, Fault> {
    if !io::stderr().is_terminal() || File::open("/dev/tty").is_err() {
        return Err(Fault::usage("no password given, and nobody to ask", hint));
    }
    rpassword::prompt_password(text).map_err(|error| match error.kind() {
        // Once signals are ours they do not end the program, but what waits for input.
        io::ErrorKind::Interrupted => Fault::new(Code::Interrupted, "interrupted", "nothing was changed"),
        _ => Fault::usage("cannot ask for the password", hint).because(&error),
    })
}

/// Takes the newline from a password's end.
fn password_of(mut bytes: Vec<u8>, origin: &str) -> Result<Secret, Fault> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(Fault::usage(
            format!("{origin} is empty"),
            "a repository without a password is not made or opened",
        ));
    }
    Ok(Secret::Password(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::io::Write;

    fn password(bytes: &[u8]) -> Option<Vec<u8>> {
        match password_of(bytes.to_vec(), "it") {
            Ok(Secret::Password(ref bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }

    fn origin_of<'a>(stated: impl Into<Stated<'a>>, set: &[(&str, &str)]) -> Result<Origin, Fault> {
        origin(stated.into(), |name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn one_newline_does_not_count() {
        assert_eq!(password(b"pass word\n").unwrap(), b"pass word");
        assert_eq!(password(b"a\r\n").unwrap(), b"a");
        assert_eq!(password(b" a\n\n").unwrap(), b" a\n");
        assert_eq!((password(b""), password(b"\n")), (None, None));
    }

    #[test]
    fn options_go_before_the_environment() {
        let global = Global { password_file: Some("/p".into()), ..Global::default() };
        let set = [("HOLDFAST_KEY_FILE", "/k"), ("HOLDFAST_PASSWORD", "x")];
        assert_eq!(origin_of(&global, &set).unwrap(), Origin::PasswordFile("/p".into()));
        assert_eq!(origin_of(&Global::default(), &set).unwrap_err().code, Code::Usage);
        assert_eq!(origin_of(&Global::default(), &set[1..]).unwrap(), Origin::Environment);
        assert_eq!(origin_of(&Global::default(), &[]).unwrap(), Origin::Person);
    }

    #[test]
    fn two_repositories_have_variables_of_their_own() {
        let set = [("HOLDFAST_KEY_FILE", "/k"), ("HOLDFAST_FROM_PASSWORD", "x")];
        assert_eq!(origin_of(&FromArgs::default(), &set).unwrap(), Origin::Environment);
        assert_eq!(origin_of(&FromArgs::default(), &set[..1]).unwrap(), Origin::Person);
        assert_eq!(origin_of(&Global::default(), &set).unwrap(), Origin::KeyFile("/k".into()));
        let from = FromArgs { from_key_file: Some("/f".into()), ..FromArgs::default() };
        assert_eq!(origin_of(&from, &set).unwrap(), Origin::KeyFile("/f".into()));
    }

    #[test]
    fn a_command_prints_the_password() {
        let printed = password_command(&"printf 'se cret\\n'".into());
        assert!(matches!(&printed, Ok(Secret::Password(bytes)) if bytes == b"se cret"));
        assert_eq!(password_command(&"echo hunter2; exit 3".into()).err().unwrap().code, Code::Failed);
    }

    #[test]
    fn a_key_file_has_enough_bytes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[b'\n'; KEY_FILE_BYTES_MIN - 1]).unwrap();
        assert_eq!(key_file(file.path()).err().unwrap().code, Code::Usage);
        file.write_all(b"\n").unwrap();
        assert!(
            matches!(&key_file(file.path()), Ok(Secret::KeyFile(bytes)) if bytes.len() == KEY_FILE_BYTES_MIN)
        );
        assert_eq!(key_file(Path::new("/nowhere/at all")).err().unwrap().code, Code::Usage);
    }
}
