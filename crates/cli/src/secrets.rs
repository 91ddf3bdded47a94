//! What opens a repository: from a file, a command, a credential, Vault, the environment or a person.
//!
//! Secrets are never arguments and never shown. On purpose not here: what is done with them, and how each
//! is read, which has files of its own.

mod around;
mod bytes;
pub(crate) mod handed;
pub(crate) mod vault;

pub(crate) use around::{TAKEN, ambient_keys, bucket_keys, is_ours, is_persons, keep_from, of_server, value};
pub(crate) use bytes::{Bytes, credential, file, open_to_all, printed};

use crate::args::{FromArgs, Global, NewSecret};
use crate::engine::Secret;
use crate::fault::Fault;
use crate::settings::variable;
use crate::wire_up::{Reach, TransitKey};
use holdfast_core::keys::{KEY_FILE_BYTES_MIN, Transit};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where the secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    PasswordFile(PathBuf),
    PasswordCommand(OsString),
    PasswordCredential(OsString),
    PasswordVault(OsString),
    KeyFile(PathBuf),
    KeyCredential(OsString),
    KeyVault(OsString),
    /// It stands in the environment, or was handed over.
    Password,
    /// A key file that was handed over.
    Key,
    Person,
}

/// What a command line says of a secret, and how its options and variables begin.
#[derive(Debug, Clone)]
struct Stated<'a> {
    options: [(&'static str, Option<Origin>); 7],
    /// What opens the key file before it opens anything.
    transit: Option<&'a OsString>,
    /// Of variables; empty where the environment is not asked for all of them.
    prefix: &'static str,
    /// Whether only the password itself may come from the environment.
    bare: bool,
    reach: &'a Reach,
}

impl<'a> Stated<'a> {
    fn of(global: &'a Global, reach: &'a Reach) -> Self {
        let Global { key_file, key_credential, key_vault, .. } = global;
        let Global { password_file, password_command, password_credential, password_vault, .. } = global;
        let options = [
            ("--key-file", key_file.clone().map(Origin::KeyFile)),
            ("--key-credential", key_credential.clone().map(Origin::KeyCredential)),
            ("--key-vault", key_vault.clone().map(Origin::KeyVault)),
            ("--password-file", password_file.clone().map(Origin::PasswordFile)),
            ("--password-command", password_command.clone().map(Origin::PasswordCommand)),
            ("--password-credential", password_credential.clone().map(Origin::PasswordCredential)),
            ("--password-vault", password_vault.clone().map(Origin::PasswordVault)),
        ];
        let transit = global.key_transit.as_ref();
        Self { options, transit, prefix: "HOLDFAST_", bare: false, reach }
    }

    fn of_from(from: &'a FromArgs, reach: &'a Reach) -> Self {
        let options = [
            ("--from-key-file", from.from_key_file.clone().map(Origin::KeyFile)),
            ("--from-key-credential", from.from_key_credential.clone().map(Origin::KeyCredential)),
            ("--from-key-vault", from.from_key_vault.clone().map(Origin::KeyVault)),
            ("--from-password-file", from.from_password_file.clone().map(Origin::PasswordFile)),
            ("--from-password-command", from.from_password_command.clone().map(Origin::PasswordCommand)),
            (
                "--from-password-credential",
                from.from_password_credential.clone().map(Origin::PasswordCredential),
            ),
            ("--from-password-vault", from.from_password_vault.clone().map(Origin::PasswordVault)),
        ];
        let transit = from.from_key_transit.as_ref();
        Self { options, transit, prefix: "HOLDFAST_FROM_", bare: false, reach }
    }

    fn of_new(new: &'a NewSecret, reach: &'a Reach) -> Self {
        let options = [
            ("--new-key-file", new.new_key_file.clone().map(Origin::KeyFile)),
            ("--new-key-credential", new.new_key_credential.clone().map(Origin::KeyCredential)),
            ("--new-key-vault", new.new_key_vault.clone().map(Origin::KeyVault)),
            ("--new-password-file", new.new_password_file.clone().map(Origin::PasswordFile)),
            ("--new-password-command", new.new_password_command.clone().map(Origin::PasswordCommand)),
            (
                "--new-password-credential",
                new.new_password_credential.clone().map(Origin::PasswordCredential),
            ),
            ("--new-password-vault", new.new_password_vault.clone().map(Origin::PasswordVault)),
        ];
        let transit = new.new_key_transit.as_ref();
        Self { options, transit, prefix: "HOLDFAST_NEW_", bare: true, reach }
    }
}

/// Gets what opens the repository. `confirm` asks a person twice.
pub(crate) fn get(global: &Global, reach: &Reach, confirm: bool) -> Result<Secret, Fault> {
    stated(&Stated::of(global, reach), || match confirm {
        true => bytes::prompt_twice("New password for the repository: ", USUAL),
        false => bytes::prompt("Password of the repository: ", USUAL),
    })
}

/// The key of a transit engine that opens a slot of the repository by itself: it is given, and nothing
/// else. The key file then lies sealed in the slot.
pub(crate) fn in_slot(global: &Global, reach: &Reach) -> Result<Option<TransitKey>, Fault> {
    transit_alone(&Stated::of(global, reach))
}

/// The same of the repository that is copied from.
pub(crate) fn in_slot_from(from: &FromArgs, reach: &Reach) -> Result<Option<TransitKey>, Fault> {
    transit_alone(&Stated::of_from(from, reach))
}

fn transit_alone(stated: &Stated<'_>) -> Result<Option<TransitKey>, Fault> {
    let Some(key) = transit(stated, variable) else { return Ok(None) };
    match origin(stated, variable)? {
        Origin::Person => vault::parse_key(&key).map(Some),
        _ => Ok(None),
    }
}

/// Gets what opens the repository that is copied from.
pub(crate) fn get_from(from: &FromArgs, reach: &Reach) -> Result<Secret, Fault> {
    const HINT: &str = "use --from-password-file, --from-password-command or --from-key-file, or set \
                        HOLDFAST_FROM_PASSWORD_FILE";
    let text = "Password of the repository to copy from: ";
    stated(&Stated::of_from(from, reach), || bytes::prompt(text, HINT))
}

/// Gets what shall open the repository from now on. With a key of a transit engine alone a key file is
/// made of `random` that goes into its slot as that seals it, and is nowhere else.
pub(crate) fn get_new(
    new: &NewSecret,
    reach: &Reach,
    random: impl FnOnce() -> [[u8; 32]; 2],
) -> Result<Secret, Fault> {
    if let Some(key) = transit_alone(&Stated::of_new(new, reach))? {
        let file = Bytes::new(random().concat());
        let sealed = vault::seal(&key, &file, reach, variable)?;
        opens_again(&key, &sealed, &file, reach)?;
        return Ok(Secret::Sealed(file.to_vec(), Transit { key: key.to_string(), sealed }));
    }
    const HINT: &str =
        "use --new-password-file, --new-password-command or --new-key-file, or set HOLDFAST_NEW_PASSWORD";
    stated(&Stated::of_new(new, reach), || bytes::prompt_twice("New password: ", HINT))
}

/// Refuses what was sealed and cannot be opened: a token may seal and not open, and a slot that holds it would
/// be the last one.
fn opens_again(key: &TransitKey, sealed: &str, file: &Bytes, reach: &Reach) -> Result<(), Fault> {
    let hint = "nothing was changed; a key that nobody is seen to open is not used: let the token use decrypt of it \
                too, and check its name";
    let opened = vault::open(key, sealed.as_bytes(), "what was just sealed", reach, variable);
    let opened = opened.map_err(|fault| Fault { hint: hint.to_owned(), ..fault })?;
    match opened == *file {
        true => Ok(()),
        false => Err(Fault::failed(format!("{key} opens what it sealed to something else"), hint)),
    }
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
pub(crate) fn lasting(global: &Global, reach: &Reach) -> Result<Lasting, Fault> {
    let stated = Stated::of(global, reach);
    Ok(match origin(&stated, variable)? {
        Origin::KeyFile(_) if transit(&stated, variable).is_some() => Lasting::Passing("Vault"),
        Origin::KeyFile(path) => Lasting::KeyFile(path),
        Origin::PasswordFile(path) => Lasting::PasswordFile(path),
        // What stands in the environment may be a secret itself; an argument is none.
        Origin::PasswordCommand(command) if global.password_command.is_some() => {
            Lasting::PasswordCommand(command)
        }
        Origin::PasswordCommand(_) => Lasting::Passing("HOLDFAST_PASSWORD_COMMAND"),
        Origin::PasswordCredential(_) | Origin::KeyCredential(_) => {
            Lasting::Passing("a credential of this service")
        }
        Origin::PasswordVault(_) | Origin::KeyVault(_) => Lasting::Passing("Vault"),
        Origin::Password | Origin::Key => Lasting::Passing("HOLDFAST_PASSWORD"),
        Origin::Person if transit(&stated, variable).is_some() => Lasting::Passing("Vault"),
        Origin::Person => Lasting::Passing("a person"),
    })
}

fn stated(stated: &Stated<'_>, ask: impl FnOnce() -> Result<Bytes, Fault>) -> Result<Secret, Fault> {
    let credential = |name: &OsStr| {
        let found = credential(&name.to_string_lossy(), variable);
        found.map_err(|(what, next)| Fault::usage(what, next))
    };
    let vault = |text: &OsStr, what: &str| vault::read(&vault::parse(text)?, what, stated.reach, variable);
    let origin = origin(stated, variable)?;
    let transit = transit(stated, variable);
    if transit.is_some() && !matches!(origin, Origin::KeyFile(_) | Origin::KeyCredential(_)) {
        let what = "a key of Vault's transit engine is given, and no key file that it could open";
        return Err(Fault::usage(
            what,
            "name the file too: --key-file, --key-credential or HOLDFAST_KEY_FILE; a key file that lies in a slot \
             of its own is made with `holdfast key add --new-key-transit MOUNT/KEY`",
        ));
    }
    let key_file = |path: &Path| match &transit {
        None => key_file(path),
        Some(key) => {
            let sealed = file(path, "key file")?;
            let what = format!("the key file {}", path.display());
            key_of(vault::open(&vault::parse_key(key)?, &sealed, &what, stated.reach, variable)?, &what)
        }
    };
    match origin {
        Origin::KeyFile(path) => key_file(&path),
        Origin::KeyCredential(name) => key_file(&credential(&name)?),
        Origin::KeyVault(text) => key_of(vault(&text, "the key")?, "the key in Vault"),
        Origin::Key => {
            let name = format!("{}KEY_ITSELF", stated.prefix);
            key_of(handed::get(&name).unwrap_or_default(), "the key that was handed over")
        }
        Origin::PasswordFile(path) => password_file(&path),
        Origin::PasswordCredential(name) => password_file(&credential(&name)?),
        Origin::PasswordCommand(command) => {
            password_of(bytes::of_shell(&command)?, "what the password command printed")
        }
        Origin::PasswordVault(text) => password_of(vault(&text, "the password")?, "the password in Vault"),
        Origin::Password => {
            let name = format!("{}PASSWORD", stated.prefix);
            password_of(value(&name).unwrap_or_default(), &name)
        }
        Origin::Person => password_of(ask()?, "the password"),
    }
}

/// The key that opens the key file, if it is sealed.
fn transit(stated: &Stated<'_>, variable: impl Fn(&str) -> Option<OsString>) -> Option<OsString> {
    // Options go before the environment: what is no file is opened by no key of the environment.
    let file = |origin: &Origin| matches!(origin, Origin::KeyFile(_) | Origin::KeyCredential(_));
    let is_other =
        stated.options.iter().any(|(_, origin)| origin.as_ref().is_some_and(|origin| !file(origin)));
    let named = || variable(&format!("{}KEY_TRANSIT", stated.prefix)).filter(|_| !stated.bare && !is_other);
    stated.transit.cloned().or_else(named)
}

/// Options go before the environment; two of the same rank are one too many.
fn origin(stated: &Stated<'_>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Origin, Fault> {
    let options =
        stated.options.iter().filter_map(|(name, origin)| Some(((*name).to_owned(), origin.clone()?)));
    if let Some(origin) = only(options, "given", "leave out the one that is not meant")? {
        return Ok(origin);
    }
    let name = |what: &str| format!("{}{what}", stated.prefix);
    let get = |what: &str| variable(&name(what)).filter(|_| !stated.bare);
    let itself = variable(&name("PASSWORD")).is_some() || handed::get(&name("PASSWORD")).is_some();
    let named = [
        ("KEY_FILE", get("KEY_FILE").map(PathBuf::from).map(Origin::KeyFile)),
        ("KEY_CREDENTIAL", get("KEY_CREDENTIAL").map(Origin::KeyCredential)),
        ("KEY_VAULT", get("KEY_VAULT").map(Origin::KeyVault)),
        ("PASSWORD_FILE", get("PASSWORD_FILE").map(PathBuf::from).map(Origin::PasswordFile)),
        ("PASSWORD_COMMAND", get("PASSWORD_COMMAND").map(Origin::PasswordCommand)),
        ("PASSWORD_CREDENTIAL", get("PASSWORD_CREDENTIAL").map(Origin::PasswordCredential)),
        ("PASSWORD_VAULT", get("PASSWORD_VAULT").map(Origin::PasswordVault)),
        ("PASSWORD", itself.then_some(Origin::Password)),
        ("KEY_ITSELF", handed::get(&name("KEY_ITSELF")).map(|_| Origin::Key)),
    ];
    let named = named.into_iter().filter_map(|(what, origin)| Some((name(what), origin?)));
    Ok(only(named, "set", "unset the one that is not meant")?.unwrap_or(Origin::Person))
}

/// The only one of them, if there is one.
fn only(
    all: impl IntoIterator<Item = (String, Origin)>,
    how: &str,
    next: &str,
) -> Result<Option<Origin>, Fault> {
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(Fault::usage(format!("{first} and {second} are both {how}"), next))
        }
        (first, _) => Ok(first.map(|(_, origin)| origin)),
    }
}

/// Reads a key file.
pub(crate) fn key_file(path: &Path) -> Result<Secret, Fault> {
    key_of(file(path, "key file")?, &format!("the key file {}", path.display()))
}

/// Takes bytes for those of a key file.
pub(crate) fn key_of(mut bytes: Bytes, origin: &str) -> Result<Secret, Fault> {
    if bytes.len() < KEY_FILE_BYTES_MIN {
        let what = format!("{origin} has {} bytes, too few", bytes.len());
        return Err(Fault::usage(
            what,
            format!("it needs {KEY_FILE_BYTES_MIN}; make one: (umask 077; head -c 64 /dev/urandom > FILE)"),
        ));
    }
    Ok(Secret::KeyFile(std::mem::take(&mut *bytes)))
}

fn password_file(path: &Path) -> Result<Secret, Fault> {
    password_of(file(path, "password file")?, &format!("the password file {}", path.display()))
}

/// What else gives a password.
const USUAL: &str = "use --password-file, --password-command or --key-file, or set HOLDFAST_PASSWORD_FILE";

/// Takes the newline from a password's end.
fn password_of(bytes: Bytes, origin: &str) -> Result<Secret, Fault> {
    let mut bytes = trimmed(bytes);
    if bytes.is_empty() {
        return Err(Fault::usage(
            format!("{origin} is empty"),
            "a repository without a password is not made or opened",
        ));
    }
    Ok(Secret::Password(std::mem::take(&mut *bytes)))
}

/// A newline at the end of a secret does not count.
pub(crate) fn trimmed(mut bytes: Bytes) -> Bytes {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
