//! What a child finds in its environment: where its repositories lie and what opens them, and
//! nothing of another's.
//!
//! A secret that lies in a file stays there: the child is told its name. Others are handed over in the
//! child's environment, which only its own user can read. On purpose not here: starting it.

use crate::fault::Fault;
use crate::secrets;
use crate::wire_up::PROXIES;
use holdfast_scheduler::hands::{Call, Opens, Place, Program};
use holdfast_scheduler::policy::secret::{AccessKey, Credentials, KeyRef, SecretRef};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Variables by their names.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// What also a restore that has nothing finds: where programs and folders are, how servers are reached.
const BARE: [&str; 8] =
    ["PATH", "HOME", "TMPDIR", "NO_PROXY", "no_proxy", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is ours and no secret of a repository.
const SHARED: [&str; 1] = ["HOLDFAST_PG_BIN"];

/// What says which keys of a bucket are used, in the usual words.
const AMBIENT_KEYS: [&str; 5] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE"];

/// Makes what a verb finds, from what we find.
pub(super) fn of_verb(call: &Call, ours: &Variables) -> Result<Variables, String> {
    let mut set = if call.bare { bare(call, ours) } else { without_ours(ours) };
    if let Some(place) = &call.repository {
        set.insert("HOLDFAST_REPOSITORY".into(), place.address().into());
        opener(&mut set, "HOLDFAST_", place, ours)?;
    }
    if let Some(from) = &call.from {
        set.insert("HOLDFAST_FROM_REPOSITORY".into(), from.address().into());
        opener(&mut set, "HOLDFAST_FROM_", from, ours)?;
    }
    buckets(&mut set, call, ours)?;
    set.extend(call.env.iter().map(|(name, value)| (OsString::from(name), value.clone())));
    Ok(set)
}

/// Makes what a program of the user's finds: nothing of what opens repositories.
pub(super) fn of_program(program: &Program, ours: &Variables) -> Variables {
    let mut set = without_ours(ours);
    set.extend(program.env.iter().map(|(name, value)| (OsString::from(name), value.clone())));
    set
}

fn without_ours(ours: &Variables) -> Variables {
    let kept = |name: &OsStr| {
        !name.as_bytes().starts_with(b"HOLDFAST_") || SHARED.iter().any(|shared| name == *shared)
    };
    ours.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn bare(call: &Call, ours: &Variables) -> Variables {
    let places = [&call.repository, &call.from];
    // What the policy does not say opens the bucket is whatever the environment has.
    let ambient =
        places.into_iter().flatten().any(|place| is_bucket(&place.url) && place.credentials.is_none())
            || (has_bucket(call) && call.source.is_none() && call.target.is_none());
    let of_places = places.into_iter().flatten().filter_map(|place| place.credentials.as_ref());
    let mut credentials = of_places.chain([&call.source, &call.target].into_iter().flatten());
    let profile = credentials.any(|one| matches!(one, Credentials::Profile(_)));
    let kept = |name: &OsStr| {
        BARE.iter().chain(&PROXIES).any(|known| name == *known)
            || (ambient && name.as_bytes().starts_with(b"AWS_"))
            // Where the files of profiles are.
            || (profile && (name == "AWS_CONFIG_FILE" || name == "AWS_SHARED_CREDENTIALS_FILE"))
    };
    ours.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_bucket(url: &str) -> bool {
    url.starts_with("s3://")
}

/// Names what opens a repository.
fn opener(set: &mut Variables, prefix: &str, place: &Place, ours: &Variables) -> Result<(), String> {
    let (name, value) = match &place.opens {
        Opens::Key(KeyRef::File(path)) => ("KEY_FILE", path.clone().into_os_string()),
        Opens::Key(KeyRef::Credential(name)) => ("KEY_FILE", credential(name, ours)?.into_os_string()),
        Opens::Password(SecretRef::File(path)) => ("PASSWORD_FILE", path.clone().into_os_string()),
        Opens::Password(SecretRef::Credential(name)) => {
            ("PASSWORD_FILE", credential(name, ours)?.into_os_string())
        }
        Opens::Password(secret @ (SecretRef::Env(_) | SecretRef::Command(_))) => {
            let what = format!("the password of {}", place.name);
            ("PASSWORD", OsString::from_vec(read(secret, &what, ours)?.to_vec()))
        }
    };
    set.insert(format!("{prefix}{name}").into(), value);
    Ok(())
}

/// Where systemd put a credential.
pub(super) fn credential(name: &str, ours: &Variables) -> Result<PathBuf, String> {
    let folder = ours.get(OsStr::new("CREDENTIALS_DIRECTORY")).filter(|folder| !folder.is_empty());
    let Some(folder) = folder else {
        return Err(format!(
            "there is no credential `{name}`: CREDENTIALS_DIRECTORY is not set, as systemd does for a service with \
             LoadCredential="
        ));
    };
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(format!("`{name}` is no name of a credential"));
    }
    let path = Path::new(folder).join(name);
    match path.exists() {
        true => Ok(path),
        false => Err(format!(
            "there is no credential `{name}` in {}: add LoadCredential={name}:FILE to the service",
            Path::new(folder).display()
        )),
    }
}

/// Reads a secret; a newline at its end does not count. What goes wrong never repeats what was read.
pub(super) fn read(secret: &SecretRef, what: &str, ours: &Variables) -> Result<Zeroizing<Vec<u8>>, String> {
    let (bytes, origin) = match secret {
        SecretRef::Env(name) => {
            let value = ours.get(OsStr::new(name)).filter(|value| !value.is_empty());
            let value = value
                .ok_or_else(|| format!("{what} is to come from the variable {name}, which is not set"))?;
            (Zeroizing::new(value.clone().into_vec()), format!("the variable {name}"))
        }
        SecretRef::File(path) => (file(path, what)?, path.display().to_string()),
        SecretRef::Credential(name) => {
            (file(&credential(name, ours)?, what)?, format!("the credential {name}"))
        }
        SecretRef::Command(words) => {
            let printed = secrets::printed(words).map_err(|fault| told(what, &fault))?;
            (printed, format!("what {} prints", words.first().map_or("the command", String::as_str)))
        }
    };
    let bytes = trimmed(bytes);
    match bytes.is_empty() || bytes.contains(&0) {
        true => Err(format!("{what} is to come from {origin}, which is empty or no text")),
        false => Ok(bytes),
    }
}

fn file(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    secrets::file(path, "file").map(Zeroizing::new).map_err(|fault| told(what, &fault))
}

fn told(what: &str, fault: &Fault) -> String {
    format!("{what} cannot be had: {fault}")
}

fn trimmed(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// Names what opens buckets: each has its own, and none finds another's.
fn buckets(set: &mut Variables, call: &Call, ours: &Variables) -> Result<(), String> {
    let repository = call.repository.as_ref().and_then(|place| place.credentials.as_ref());
    let from = call.from.as_ref().and_then(|place| place.credentials.as_ref());
    let others = [
        ("HOLDFAST_FROM_AWS_", from, call.from.as_ref().is_some_and(|place| is_bucket(&place.url))),
        ("HOLDFAST_SOURCE_AWS_", call.source.as_ref(), has_bucket(call)),
        ("HOLDFAST_TARGET_AWS_", call.target.as_ref(), has_bucket(call)),
    ];
    let own = matches!(repository, Some(Credentials::AccessKey(_)));
    for (prefix, credentials, is_used) in others {
        match credentials {
            Some(Credentials::AccessKey(key)) => keys(set, prefix, key, ours)?,
            // The repository's keys take the usual names below; who is to use what was there gets it by its own.
            None if own && is_used => inherit(set, prefix, ours),
            Some(Credentials::Profile(_)) | None => {}
        }
    }
    if let Some(Credentials::AccessKey(key)) = repository {
        AMBIENT_KEYS.iter().for_each(|name| drop(set.remove(OsStr::new(name))));
        keys(set, "AWS_", key, ours)?;
    }
    Ok(())
}

/// Whether a word of the call names a bucket.
fn has_bucket(call: &Call) -> bool {
    call.words.iter().any(|word| word.as_bytes().starts_with(b"s3://"))
}

fn keys(set: &mut Variables, prefix: &str, key: &AccessKey, ours: &Variables) -> Result<(), String> {
    let secret = read(&key.secret, &format!("the secret of the access key {}", key.id), ours)?;
    set.insert(format!("{prefix}ACCESS_KEY_ID").into(), OsString::from(&key.id));
    set.insert(format!("{prefix}SECRET_ACCESS_KEY").into(), OsString::from_vec(secret.to_vec()));
    Ok(())
}

fn inherit(set: &mut Variables, prefix: &str, ours: &Variables) {
    for name in ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"] {
        if let Some(value) = ours.get(OsStr::new(&format!("AWS_{name}"))) {
            set.insert(format!("{prefix}{name}").into(), value.clone());
        }
    }
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
