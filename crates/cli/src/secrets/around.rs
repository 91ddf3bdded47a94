//! Which variables of the environment are secrets, whose they are, and who finds them.
//!
//! Ours open repositories and buckets, and no other program finds them. Those of the person who started
//! us, by the usual names of AWS, PostgreSQL and Vault, are for us and for programs of hers, and are
//! handed to our own verbs by another way. On purpose not here: what each one opens.

use super::bytes::Bytes;
use super::handed;
use crate::fault::Fault;
use crate::hands::leash::LEASH;
use crate::settings::variable;
use crate::wire_up::{Keys, PROXIES, ServerSecrets};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use zeroize::Zeroizing;

/// Secrets of the person's, by their usual names.
const PERSONS: [&str; 6] = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "PGPASSWORD",
    "VAULT_TOKEN",
    "BAO_TOKEN",
];

/// How our own secrets end; they begin with `HOLDFAST_`.
const OUR_ENDS: [&[u8]; 4] = [b"PASSWORD", b"PASSWORD_COMMAND", b"SECRET_ACCESS_KEY", b"_KEY_ITSELF"];

/// Under this name the person's secrets are handed over that a policy took for its own, one a line.
pub(crate) const TAKEN: &str = "HOLDFAST_TAKEN";

/// What lets us in to a collector of traces.
const COLLECTOR: [&str; 2] = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];

/// Whether a variable is a secret of ours.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    if COLLECTOR.iter().any(|known| name == *known) {
        return true;
    }
    let name = name.as_bytes();
    name.starts_with(b"HOLDFAST_") && OUR_ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether a variable is a secret of the person's.
pub(crate) fn is_persons(name: &OsStr) -> bool {
    PERSONS.iter().any(|known| name == *known)
}

/// A secret by its name: as it was handed over, else as it is in the environment.
pub(crate) fn value(name: &str) -> Option<Bytes> {
    handed::get(name).or_else(|| variable(name).map(|value| Zeroizing::new(value.into_vec())))
}

/// Keeps our secrets from a program of the person's, and gives back hers.
pub(crate) fn keep_from(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    // It is on no leash of ours, and a holdfast that it starts is a person's.
    command.env_remove(LEASH);
    let taken = handed::get(TAKEN).unwrap_or_default();
    let is_taken = |name: &str| taken.split(|&byte| byte == b'\n').any(|taken| taken == name.as_bytes());
    for name in PERSONS.into_iter().filter(|name| !is_taken(name)) {
        if let Some(value) = handed::get(name) {
            command.env(name, OsStr::from_bytes(&value));
        }
    }
    for name in PROXIES {
        if let Some(value) = handed::get(name) {
            command.env(name, OsStr::from_bytes(&value));
        }
    }
}

/// Gets the keys of a bucket that has keys of its own: `whose` is SOURCE_, TARGET_, FROM_, or nothing for
/// those of the repository.
pub(crate) fn bucket_keys(whose: &str) -> Result<Option<Keys>, Fault> {
    let names = ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"].map(|what| format!("HOLDFAST_{whose}AWS_{what}"));
    match (text(&names[0])?, text(&names[1])?) {
        (Some(access), Some(secret)) => Ok(Some(Keys { access: access.to_string(), secret, token: None })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            let what = format!("of {} and {} only one is set", names[0], names[1]);
            Err(Fault::usage(what, "set both, or none and use profile= in the URL"))
        }
    }
}

fn text(name: &str) -> Result<Option<Zeroizing<String>>, Fault> {
    let fault = || Fault::usage(format!("{name} is no text"), "check how it is set");
    let Some(value) = value(name) else { return Ok(None) };
    str::from_utf8(&value).map(|text| Some(Zeroizing::new(text.to_owned()))).map_err(|_| fault())
}

/// The person's keys of buckets, if they were handed over: the client library looks for them in the
/// environment alone.
pub(crate) fn ambient_keys() -> Option<Keys> {
    let text = |value: Bytes| str::from_utf8(&value).ok().map(|text| Zeroizing::new(text.to_owned()));
    let access = variable("AWS_ACCESS_KEY_ID").map(OsString::into_string)?.ok()?;
    let secret = handed::get("AWS_SECRET_ACCESS_KEY").and_then(text)?;
    let token = ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"].into_iter().find_map(handed::get).and_then(text);
    Some(Keys { access, secret, token })
}

/// Gets what lets us in to a server of PostgreSQL, by the names that its own programs use.
pub(crate) fn of_server() -> Result<ServerSecrets, Fault> {
    let password = value("PGPASSWORD");
    let stated = variable("PGPASSFILE").map(PathBuf::from);
    let usual = || variable("HOME").map(|home| Path::new(&home).join(".pgpass")).filter(|path| path.exists());
    let passfile = match stated.or_else(usual) {
        Some(path) if password.is_none() => {
            refuse_open(&path)?;
            Some(super::file(&path, "password file")?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for ours in
            ["HOLDFAST_PASSWORD", "HOLDFAST_FROM_PASSWORD_COMMAND", "HOLDFAST_SOURCE_AWS_SECRET_ACCESS_KEY"]
        {
            assert!(is_ours(OsStr::new(ours)), "{ours}");
        }
        for other in
            ["HOLDFAST_PASSWORD_FILE", "PASSWORD", "HOLDFAST_REPOSITORY", "HOLDFAST_SOURCE_AWS_ACCESS_KEY_ID"]
        {
            assert!(!is_ours(OsStr::new(other)), "{other}");
        }
        assert!(is_persons(OsStr::new("PGPASSWORD")) && !is_persons(OsStr::new("PGUSER")));
    }
}
