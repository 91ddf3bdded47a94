//! Hard links: which entries may share a file.
//!
//! A group is only what the snapshot says; two entries become one file if everything recorded
//! of them is equal, too. On purpose not here: making the link.

use super::existing::Inode;
use blake3::Hasher;
use holdfast_core::entry::{Entry, Kind};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What became of the first of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    /// It is not decided yet.
    Open = 0,
    /// It is there.
    Made = 1,
    /// It could not be written.
    Unwritable = 2,
    /// Its bytes were missing.
    Damaged = 3,
    /// It would be another file than the one that is there; only in a rehearsal.
    Another = 4,
}

/// A fate that one thread decides and another one reads.
#[derive(Debug, Default)]
pub(super) struct Outcome(AtomicU8);

impl Outcome {
    pub(super) fn set(&self, fate: Fate) {
        self.0.store(fate as u8, Ordering::Release);
    }

    pub(super) fn get(&self) -> Fate {
        match self.0.load(Ordering::Acquire) {
            0 => Fate::Open,
            1 => Fate::Made,
            2 => Fate::Unwritable,
            4 => Fate::Another,
            _ => Fate::Damaged,
        }
    }
}

/// A link to make once the first is there.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Key of the first.
    pub(super) first: Arc<[u8]>,
    /// What became of it.
    pub(super) outcome: Arc<Outcome>,
}

/// What an entry is among its links.
#[derive(Debug)]
pub(super) enum Role {
    /// A file of its own.
    Ordinary,
    /// The one that others will link to.
    First(Arc<Outcome>),
    /// Another name of the first.
    Link(Link),
}

#[derive(Debug)]
struct Group {
    link: Link,
    fingerprint: [u8; 32],
}

/// The groups met so far.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: HashMap<[u8; 16], Group>,
    /// Files with several names that were there and are kept, each by one group.
    kept: HashSet<Inode>,
}

impl Links {
    /// Tells whether a file that was there belongs to no other group yet.
    pub(super) fn keep(&mut self, there: Inode) -> bool {
        self.kept.insert(there)
    }

    pub(super) fn role(&mut self, entry: &Entry) -> Role {
        let Some(id) = entry.attributes.link_group.filter(|_| entry.kind != Kind::Directory) else {
            return Role::Ordinary;
        };
        let fingerprint = fingerprint(entry);
        match self.groups.get(&id) {
            Some(group) if matches!(group.link.outcome.get(), Fate::Unwritable | Fate::Damaged) => {}
            Some(group) if group.fingerprint == fingerprint => return Role::Link(group.link.clone()),
            Some(_) => return Role::Ordinary,
            None => {}
        }
        let outcome = Arc::new(Outcome::default());
        let link = Link { first: entry.key.as_slice().into(), outcome: Arc::clone(&outcome) };
        self.groups.insert(id, Group { link, fingerprint });
        Role::First(outcome)
    }
}

/// Everything that two names of one file have in common.
fn fingerprint(entry: &Entry) -> [u8; 32] {
    let mut print = Print(Hasher::new());
    (entry.kind, entry.mode, &entry.owner, entry.mtime, entry.size).hash(&mut print);
    (&entry.content, entry.digest, &entry.attributes).hash(&mut print);
    print.0.finalize().into()
}

/// Collects what the standard library would hash, under a hash that nobody can collide.
struct Print(Hasher);

impl std::hash::Hasher for Print {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never asked: the fingerprint is longer than that.
    fn finish(&self) -> u64 {
        0
    }
}
