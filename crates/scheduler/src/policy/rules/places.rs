//! The repository and its copies: where they are, what opens them, what they are called.
//!
//! On purpose not here: what is in them.

use super::super::Policy;
use super::spot::Spot;
use super::{Judge, words};
use crate::policy::secret::{Credentials, KeyRef, Keys, SecretRef};
use std::collections::BTreeMap;

/// What the repository and a copy have in common.
#[derive(Debug)]
struct Place<'a> {
    url: &'a str,
    password: Option<&'a SecretRef>,
    keys: Option<&'a Keys>,
    credentials: Option<&'a Credentials>,
}

pub(super) fn judge(policy: &Policy, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    let it = &policy.repository;
    let repository = Place {
        url: &it.url,
        password: it.password.as_ref(),
        keys: it.keys.as_ref(),
        credentials: it.credentials.as_ref(),
    };
    let at = spot.key("repository");
    place(&repository, &at, judge);
    let mut names = BTreeMap::from([("repository", at.label().to_owned())]);
    let mut urls = BTreeMap::from([(it.url.as_str(), at.label().to_owned())]);
    for (number, it) in policy.copies.iter().enumerate() {
        let at = spot.key("copies").item(number);
        let copy = Place {
            url: &it.url,
            password: it.password.as_ref(),
            keys: it.keys.as_ref(),
            credentials: it.credentials.as_ref(),
        };
        place(&copy, &at, judge);
        judge.word(&at.key("name"), words::name(&it.name));
        if let Some(other) = names.insert(&it.name, at.label().to_owned()) {
            judge.wrong(&at.key("name"), format!("it is taken by `{other}`"), "give it another name");
        }
        if let Some(other) = urls.insert(&it.url, at.label().to_owned()) {
            let what = format!("`{other}` is at the same place, and what is there once is no copy");
            judge.wrong(&at.key("url"), what, "give it a place of its own");
        }
        judge.span(&at.key("max_lag"), it.max_lag);
        if let Some(retention) = &it.retention {
            judge.retention(&at.key("retention"), retention);
        }
    }
}

fn place(place: &Place<'_>, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    judge.word(&spot.key("url"), words::repository(place.url));
    match (place.password, place.keys) {
        (Some(_), Some(_)) => {
            let what = "exactly one of password and keys opens it";
            judge.wrong(spot, what, "take one of them out");
        }
        (None, None) if spot.is_whole() => {
            let next = "write password: { file: /path }, or keys: { backup: ..., maintain: ..., read: ... }";
            judge.wrong(spot, "nothing says what opens it", next);
        }
        _ => {}
    }
    place.password.iter().for_each(|secret| judge.secret(&spot.key("password"), secret));
    if let Some(keys) = place.keys {
        self::keys(keys, &spot.key("keys"), judge);
    }
    if place.credentials.is_some() && !place.url.starts_with("s3://") {
        judge.wrong(&spot.key("credentials"), "only buckets have credentials", "leave them out");
    }
    credentials(place.credentials, &spot.key("credentials"), judge);
}

fn keys(keys: &Keys, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    let all = [("backup", &keys.backup), ("maintain", &keys.maintain), ("read", &keys.read)];
    if all.iter().all(|(_, key)| key.is_none()) && spot.is_whole() {
        let next = "name at least one of backup, maintain and read";
        judge.wrong(spot, "there is no key in it", next);
    }
    for (name, key) in all {
        match key {
            Some(KeyRef::File(path)) if path.as_os_str().is_empty() => {
                judge.wrong(&spot.key(name).key("file"), "no file is named", "write its path");
            }
            Some(KeyRef::Credential(name_of)) if name_of.is_empty() || name_of.contains('/') => {
                let next = "write the name that LoadCredential= gives it";
                judge.wrong(&spot.key(name).key("credential"), "this is no name of a credential", next);
            }
            Some(KeyRef::Transit(sealed)) => {
                let spot = spot.key(name).key("transit");
                if sealed.key.split('/').count() < 2 || sealed.key.split('/').any(str::is_empty) {
                    judge.wrong(
                        &spot.key("key"),
                        "this is no key of a mount",
                        "write MOUNT/KEY: transit/holdfast",
                    );
                }
                if sealed.file.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
                    judge.wrong(&spot.key("file"), "no file is named", "write its path");
                }
            }
            Some(KeyRef::Vault(stored)) => judge.stored(&spot.key(name).key("vault"), stored),
            _ => {}
        }
    }
}

/// What opens a bucket.
pub(super) fn credentials(credentials: Option<&Credentials>, spot: &Spot<'_>, judge: &mut Judge<'_>) {
    match credentials {
        Some(Credentials::Profile(name)) if name.trim().is_empty() => {
            judge.wrong(&spot.key("profile"), "no profile is named", "write its name in ~/.aws/config");
        }
        Some(Credentials::AccessKey(key)) => {
            if key.id.trim().is_empty() {
                judge.wrong(&spot.key("access_key").key("id"), "no key is named", "write its id");
            }
            judge.secret(&spot.key("access_key").key("secret"), &key.secret);
        }
        _ => {}
    }
}
