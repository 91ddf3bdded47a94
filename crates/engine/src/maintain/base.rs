//! What a repair starts from: the newest root that can be read, and the number that the next one
//! must have.
//!
//! Roots are never deleted, so that where the newest one is lost the one before is there. Whoever
//! has seen a root refuses a lower one; so no number is given twice, whatever became of the root
//! that had it. On purpose not here: what the next root says.

use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, WHOLE, get_optional, list_all};
use crate::roots::SeenRoot;
use crate::view::View;
use holdfast_core::crypto::hash;
use holdfast_core::id::ObjectId;
use holdfast_core::name::{self, Place};
use holdfast_core::object::{Object, ObjectType};
use holdfast_store::ErrorKind as StoreErrorKind;

/// A root that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRoot {
    /// Its number.
    pub number: u64,
    /// What is wrong with it.
    pub what: String,
}

/// What a repair starts from.
#[derive(Debug)]
pub(super) struct Base {
    /// The newest root that can be read; root 0 if there is none.
    pub seen: SeenRoot,
    /// The highest number under which a root lies.
    pub highest: u64,
    /// Hash of what lies there.
    highest_hash: [u8; 32],
    /// Those above the base, newest first.
    pub lost: Vec<LostRoot>,
}

impl Base {
    /// Looks for it. Only damage is passed over: what a newer version wrote stops a repair.
    pub(super) async fn find(repository: &Repository) -> Result<Self> {
        let store = &**repository.store();
        let names = list_all(store, "roots/").await?;
        let numbers = names.iter().filter_map(|meta| match name::parse(meta.key.as_str()) {
            Some(Place::Root(number)) => Some(number),
            _ => None,
        });
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        // A listing may lag behind a put that somebody saw end.
        let mut next = numbers.last().map_or(1, |last| last + 1);
        while get_optional(store, &name::root(next)).await?.is_some() {
            numbers.push(next);
            next += 1;
        }
        let highest = numbers.last().copied().unwrap_or(0);
        let mut base = Self { seen: SeenRoot::default(), highest, highest_hash: [0; 32], lost: Vec::new() };
        while let Some(number) = numbers.pop() {
            let Some(bytes) = get_optional(store, &name::root(number)).await? else { continue };
            let seen_hash = hash(&bytes);
            if number == highest {
                base.highest_hash = seen_hash;
            }
            repository.know_author(&bytes).await?;
            match repository.decode_root(number, &bytes) {
                Ok(root) if repository.is_late(&root, &bytes).await? => {
                    let what = "it was published by a member that had been removed".to_owned();
                    base.lost.push(LostRoot { number, what });
                }
                Ok(root) if repository.names_fewer(&root).await? => {
                    let what = "it names fewer entries of members than were named before".to_owned();
                    base.lost.push(LostRoot { number, what });
                }
                Ok(root) => {
                    let header = Object::parse(&bytes).map(|object| object.header);
                    repository.note_needed(header.map_or(0, |header| header.ro_compat));
                    base.seen = SeenRoot { root, hash: seen_hash };
                    break;
                }
                Err(error) => {
                    let what = error.to_string();
                    let error = Error::format(&name::root(number), error);
                    if error.kind != ErrorKind::Damaged {
                        return Err(error);
                    }
                    base.lost.push(LostRoot { number, what });
                }
            }
        }
        Ok(base)
    }

    /// Whether two looks saw the same.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        (self.highest, self.highest_hash) == (other.highest, other.highest_hash)
            && self.seen.hash == other.seen.hash
    }

    /// Notes a root that nothing lies under any more and that sessions have seen, or this host.
    /// `remembered` is the newest that this host has seen.
    pub(super) fn note_vanished(&mut self, view: &View, remembered: u64) {
        let begun = view.witnessed;
        let why = if begun >= remembered { "a session began with it" } else { "this host has seen it" };
        let number = begun.max(remembered);
        if number > self.highest {
            self.lost.insert(0, LostRoot { number, what: format!("it is missing: {why}") });
        }
    }

    /// Whether the newest root is lost.
    pub(super) fn is_old(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Number of the next root, and the hash of what lies under the number before it. After the
    /// newest root it is the next number, so that of all who publish after it one wins. Where that
    /// one is lost it is above all that anything tells of.
    pub(super) async fn next(&self, repository: &Repository) -> Result<(u64, [u8; 32])> {
        let mut newest = self.highest;
        if self.is_old() {
            newest = self.lost.iter().map(|lost| lost.number).max().unwrap_or(0).max(newest);
            newest = newest.max(newest_witness(repository).await?);
        }
        let previous = if newest == self.highest { self.highest_hash } else { [0; 32] };
        Ok((newest + 1, previous))
    }
}

/// The newest root that lists and segments of snapshots were written for, as their authors signed.
async fn newest_witness(repository: &Repository) -> Result<u64> {
    let mut newest = 0;
    for (prefix, object_type) in [("lists/", ObjectType::List), ("snapshots/", ObjectType::SnapshotSegment)] {
        for meta in list_all(&**repository.store(), prefix).await? {
            let Some(id) = object_of(meta.key.as_str()) else { continue };
            let bytes = match repository.store().get(&meta.key, WHOLE).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == StoreErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if let Ok(object) = repository.parse(&bytes, object_type, id) {
                // It states the root before the one that it was written for.
                newest = newest.max(object.header.epoch + 1);
            }
        }
    }
    Ok(newest)
}

fn object_of(object: &str) -> Option<ObjectId> {
    match name::parse(object) {
        Some(Place::List(id) | Place::SnapshotSegment(id)) => Some(id),
        _ => None,
    }
}
