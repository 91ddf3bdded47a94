//! What a child finds in its environment, and what it is handed: where its repositories lie and what
//! opens them, and nothing of another's.
//!
//! A secret that lies in a file stays there: the child is told its name. Others are handed over by a
//! pipe, and are in no environment and on no command line. On purpose not here: starting it.

use super::leash::WITHIN_DRILL;
use super::record::keys_of;
use super::{POLICY_TEXT, one_line};
use crate::engine::Secret;
use crate::fault::Fault;
use crate::opening;
use crate::secrets::handed::{self, Handed};
use crate::secrets::{self, Bytes, TAKEN, is_ours, is_persons};
use crate::settings;
use crate::wire_up::{PROXIES, Reach, Reference, TransitKey, are_secret_proxies};
use holdfast_scheduler::hands::{Call, Opens, Place, Program};
use holdfast_scheduler::policy::Policy;
use holdfast_scheduler::policy::secret::{AccessKey, Credentials, KeyRef, SecretRef, TransitRef, VaultRef};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Variables by their names.
pub(super) type Variables = BTreeMap<OsString, OsString>;

/// What we find: our environment, and what we were handed.
pub(super) fn around() -> Variables {
    let is_ours_alone = |name: &str| [TAKEN, POLICY_TEXT, WITHIN_DRILL].contains(&name);
    let handed = handed::all().into_iter().filter(|(name, _)| !is_ours_alone(name));
    let handed = handed.map(|(name, value)| (OsString::from(name), whole(value)));
    std::env::vars_os().chain(handed).collect()
}

/// Makes what a job finds, and what it is handed: all that we find but what is `others`' alone, what is secret by
/// the other way.
pub(super) fn of_job(policy: &Policy, others: &BTreeSet<String>, ours: &Ours) -> (Variables, Handed) {
    let secret = policy.secret_variables();
    let are_secret = are_secret_proxies(&proxies(&ours.variables));
    let (mut open, mut handed) = (Variables::new(), Handed::new());
    for (name, value) in ours.variables.iter().filter(|(name, _)| !is_anothers(name, others)) {
        let is_secret = |text: &&str| {
            is_ours(name) || is_persons(name) || secret.contains(*text) || are_secret && is_proxy(name)
        };
        let text = name.to_str().filter(is_secret);
        match text {
            Some(text) => {
                _ = handed.insert(text.to_owned(), Zeroizing::new(value.as_bytes().to_vec()));
            }
            None => _ = open.insert(name.clone(), value.clone()),
        }
    }
    (open, handed)
}

/// Whether a variable is a secret that other policies have for themselves. What is the person's own, by its usual
/// name, is for all.
fn is_anothers(name: &OsStr, others: &BTreeSet<String>) -> bool {
    !is_persons(name) && name.to_str().is_some_and(|name| others.contains(name))
}

fn is_proxy(name: &OsStr) -> bool {
    PROXIES.iter().any(|known| name == *known)
}

/// The variables that name proxies.
fn proxies(set: &Variables) -> BTreeMap<String, OsString> {
    let named = PROXIES.iter().filter_map(|name| Some((*name, set.get(OsStr::new(name))?)));
    named.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

/// What is around us.
#[derive(Clone)]
pub(super) struct Ours {
    /// Our environment.
    pub(super) variables: Variables,
    /// Variables that policies take secrets from.
    pub(super) taken: BTreeSet<OsString>,
    /// How servers are reached.
    pub(super) reach: Reach,
}

impl Ours {
    /// The same without what other policies have for themselves.
    pub(super) fn without(mut self, others: &BTreeSet<String>) -> Self {
        self.variables.retain(|name, _| !is_anothers(name, others));
        self
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty()).cloned()
    }

    /// Where systemd put a credential.
    pub(super) fn credential(&self, name: &str) -> Result<PathBuf, String> {
        secrets::credential(name, |name| self.variable(name)).map_err(|(what, next)| match next.as_str() {
            "" => what,
            next => format!("{what}: {next}"),
        })
    }

    /// Reads what Vault keeps.
    pub(super) fn stored(&self, stored: &VaultRef, what: &str) -> Result<Bytes, String> {
        let reference = Reference::new(&stored.path, &stored.field);
        let reference = reference.map_err(|why| format!("{what} is to come from Vault: {why}"))?;
        let read = secrets::vault::read(&reference, what, &self.reach, |name| self.variable(name));
        read.map_err(|fault| one_line(&fault))
    }

    /// Has Vault open a sealed key file.
    pub(super) fn unsealed(&self, sealed: &TransitRef, place: &Place) -> Result<Bytes, String> {
        let opened = || {
            let key = secrets::vault::parse_key(sealed.key.as_ref())?;
            let Some(file) = &sealed.file else { return self.in_slot(&key, place) };
            let (bytes, what) = (secrets::file(file, "key file")?, format!("the key of {}", place.name));
            secrets::vault::open(&key, &bytes, &what, &self.reach, |name| self.variable(name))
        };
        opened().map_err(|fault| one_line(&fault))
    }

    /// Has Vault open the key file that lies sealed in a slot of the repository.
    fn in_slot(&self, key: &TransitKey, place: &Place) -> Result<Bytes, Fault> {
        let address = settings::parse_repository(OsStr::new(&place.address()), &settings::current_dir()?)?;
        let keys = keys_of(self, place.credentials.as_ref())?;
        let around = (&self.reach, |name: &str| self.variable(name));
        match opening::sealed_apart(&address, keys.as_ref(), key, around)? {
            Secret::KeyFile(ref mut bytes) => Ok(Bytes::new(std::mem::take(bytes))),
            _ => Err(Fault::failed("a slot holds something else than a key file", "")),
        }
    }
}

/// What also a restore that has nothing finds: where programs and folders are, how servers are reached.
const BARE: [&str; 8] =
    ["PATH", "HOME", "TMPDIR", "NO_PROXY", "no_proxy", "AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is ours and no secret of a repository.
const SHARED: [&str; 1] = ["HOLDFAST_PG_BIN"];

/// Makes what a verb finds, and what it is handed, from what we find.
pub(super) fn of_verb(call: &Call, ours: &Ours) -> Result<(Variables, Handed), String> {
    let mut set = if call.bare { bare(call, &ours.variables) } else { without_ours(&ours.variables) };
    // A person's own secrets are handed on; programs of hers do not find what a policy took.
    set.retain(|name, _| is_persons(name) || !ours.taken.contains(name));
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
    Ok(parted(set, &ours.taken))
}

/// Parts what is secret from what is not.
fn parted(set: Variables, taken: &BTreeSet<OsString>) -> (Variables, Handed) {
    let (mut open, mut handed) = (Variables::new(), Handed::new());
    let are_secret = are_secret_proxies(&proxies(&set));
    for (name, value) in set {
        match name.to_str().filter(|_| is_ours(&name) || is_persons(&name) || are_secret && is_proxy(&name)) {
            Some(text) => _ = handed.insert(text.to_owned(), Zeroizing::new(value.into_vec())),
            None => _ = open.insert(name, value),
        }
    }
    let taken: Vec<_> =
        taken.iter().filter(|name| is_persons(name)).filter_map(|name| name.to_str()).collect();
    if !taken.is_empty() {
        handed.insert(TAKEN.to_owned(), Zeroizing::new(taken.join("\n").into_bytes()));
    }
    (open, handed)
}

/// Makes what a program of the user's finds: nothing of what opens repositories.
pub(super) fn of_program(program: &Program, ours: &Ours) -> Variables {
    let mut set = without_ours(&ours.variables);
    set.retain(|name, _| !ours.taken.contains(name));
    set.extend(program.env.iter().map(|(name, value)| (OsString::from(name), value.clone())));
    set
}

fn without_ours(ours: &Variables) -> Variables {
    let kept = |name: &OsStr| {
        let is_named_so = name.as_bytes().starts_with(b"HOLDFAST_");
        !(is_named_so || is_ours(name)) || SHARED.iter().any(|shared| name == *shared)
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
fn opener(set: &mut Variables, prefix: &str, place: &Place, ours: &Ours) -> Result<(), String> {
    let (name, value) = match &place.opens {
        Opens::Key(KeyRef::File(path)) => ("KEY_FILE", path.clone().into_os_string()),
        Opens::Key(KeyRef::Credential(name)) => ("KEY_FILE", ours.credential(name)?.into_os_string()),
        Opens::Key(KeyRef::Vault(stored)) => {
            ("KEY_ITSELF", whole(ours.stored(stored, &format!("the key of {}", place.name))?))
        }
        Opens::Key(KeyRef::Transit(sealed)) => ("KEY_ITSELF", whole(ours.unsealed(sealed, place)?)),
        Opens::Password(SecretRef::File(path)) => ("PASSWORD_FILE", path.clone().into_os_string()),
        Opens::Password(SecretRef::Credential(name)) => {
            ("PASSWORD_FILE", ours.credential(name)?.into_os_string())
        }
        Opens::Password(secret @ (SecretRef::Env(_) | SecretRef::Command(_) | SecretRef::Vault(_))) => {
            ("PASSWORD", whole(read(secret, &format!("the password of {}", place.name), ours)?))
        }
    };
    set.insert(format!("{prefix}{name}").into(), value);
    Ok(())
}

/// Takes a secret as it is, without a copy.
fn whole(mut bytes: Bytes) -> OsString {
    OsString::from_vec(std::mem::take(&mut *bytes))
}

/// Reads a secret; a newline at its end does not count. What goes wrong never repeats what was read.
pub(super) fn read(secret: &SecretRef, what: &str, ours: &Ours) -> Result<Bytes, String> {
    let (bytes, origin) = match secret {
        SecretRef::Env(name) => {
            let value = ours.variable(name);
            let value = value
                .ok_or_else(|| format!("{what} is to come from the variable {name}, which is not set"))?;
            (Zeroizing::new(value.into_vec()), format!("the variable {name}"))
        }
        SecretRef::File(path) => (file(path, what)?, path.display().to_string()),
        SecretRef::Credential(name) => {
            (file(&ours.credential(name)?, what)?, format!("the credential {name}"))
        }
        SecretRef::Command(words) => {
            // Who is asked for one secret finds no other, but may need what the person has: a token.
            let hidden = ours.taken.iter().filter(|name| !is_persons(name));
            let printed = secrets::printed(words, hidden).map_err(|fault| told(what, &fault))?;
            (printed, format!("what {} prints", words.first().map_or("the command", String::as_str)))
        }
        SecretRef::Vault(stored) => (ours.stored(stored, what)?, format!("{} of Vault", stored.path)),
    };
    let bytes = secrets::trimmed(bytes);
    match bytes.is_empty() || bytes.contains(&0) {
        true => Err(format!("{what} is to come from {origin}, which is empty or no text")),
        false => Ok(bytes),
    }
}

fn file(path: &Path, what: &str) -> Result<Bytes, String> {
    secrets::file(path, "file").map_err(|fault| told(what, &fault))
}

fn told(what: &str, fault: &Fault) -> String {
    format!("{what} cannot be had: {fault}")
}

/// Names what opens buckets: each has its own, and none finds another's. One of which nothing is said is
/// opened by what the environment has, under the usual names.
fn buckets(set: &mut Variables, call: &Call, ours: &Ours) -> Result<(), String> {
    let of = |place: &Option<Place>| place.as_ref().and_then(|place| place.credentials.clone());
    let all = [
        ("HOLDFAST_AWS_", of(&call.repository)),
        ("HOLDFAST_FROM_AWS_", of(&call.from)),
        ("HOLDFAST_SOURCE_AWS_", call.source.clone()),
        ("HOLDFAST_TARGET_AWS_", call.target.clone()),
    ];
    for (prefix, credentials) in all {
        if let Some(Credentials::AccessKey(key)) = credentials {
            keys(set, prefix, &key, ours)?;
        }
    }
    Ok(())
}

/// Whether a word of the call names a bucket.
fn has_bucket(call: &Call) -> bool {
    call.words.iter().any(|word| word.as_bytes().starts_with(b"s3://"))
}

fn keys(set: &mut Variables, prefix: &str, key: &AccessKey, ours: &Ours) -> Result<(), String> {
    let secret = read(&key.secret, &format!("the secret of the access key {}", key.id), ours)?;
    set.insert(format!("{prefix}ACCESS_KEY_ID").into(), OsString::from(&key.id));
    set.insert(format!("{prefix}SECRET_ACCESS_KEY").into(), whole(secret));
    Ok(())
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
