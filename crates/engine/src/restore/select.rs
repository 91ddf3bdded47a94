//! Which entries are restored, in order, with keys relative to the target.
//!
//! On purpose not here: contents.

use crate::error::{Error, ErrorKind};
use crate::outcome::{Problem, ProblemKind, Problems};
use crate::paths::Scope;
use crate::reader::Reader;
use crate::snapshots::{Snapshot, not_in_snapshot};
use crate::tree::{Step, TreeWalk};
use holdfast_core::configuration::{CONFIGURATION_KEY, CONFIGURATION_SHOWN};
use holdfast_core::entry::{Entry, Kind, key_to_path};
use holdfast_core::version::shown_key;
use std::collections::VecDeque;

use super::versions::{Choosing, VersionChoice, in_rounds};
use super::{BATCH_ENTRIES_MAX, BATCH_HELD_BYTES_MAX, RestoreOptions, Selection, weight};

/// Gives the entries to restore, in order, with keys relative to the target.
pub(crate) struct Selected<'a> {
    walk: TreeWalk<'a>,
    ready: VecDeque<Entry>,
    /// Of all versions: those to come, in rounds.
    rounds: VecDeque<Entry>,
    pub(crate) scope: Scope,
    pub(crate) options: &'a RestoreOptions,
    /// Folders that are only made if something below them is taken.
    parents: Vec<Entry>,
    skipped: Option<Vec<u8>>,
    pub(crate) found: bool,
    /// The one object of a bucket that was named is taken, and nothing else.
    is_alone: bool,
    ended: bool,
    choosing: Choosing,
    pub(crate) damage: Problems,
}

impl<'a> Selected<'a> {
    pub(crate) fn new(reader: &'a Reader, snapshot: &Snapshot, options: &'a RestoreOptions) -> Self {
        let scope = Scope::new(snapshot.summary.space, &options.path);
        Self {
            walk: TreeWalk::below(reader, snapshot.summary.root, &scope),
            ready: VecDeque::new(),
            rounds: VecDeque::new(),
            found: scope.is_everything(),
            is_alone: false,
            ended: false,
            choosing: Choosing::new(options.versions.clone(), scope.key()),
            scope,
            options,
            parents: Vec::new(),
            skipped: None,
            damage: Problems::default(),
        }
    }

    /// The next entry, with its key in the snapshot. Where all versions are meant they come in rounds:
    /// the first of some objects, then the second of those that have one, and so on. In a round keys
    /// ascend; of each object the oldest comes first.
    pub(crate) async fn next(&mut self) -> Option<Entry> {
        if self.options.versions != VersionChoice::All {
            return self.next_in_order().await;
        }
        if self.rounds.is_empty() {
            let (mut some, mut held) = (Vec::new(), 0);
            while some.len() < BATCH_ENTRIES_MAX && held < BATCH_HELD_BYTES_MAX {
                let Some(entry) = self.next_in_order().await else { break };
                held += weight(&entry);
                some.push(entry);
            }
            self.rounds = in_rounds(some);
        }
        self.rounds.pop_front()
    }

    async fn next_in_order(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(entry);
            }
            if self.ended {
                return None;
            }
            let mut chosen = Vec::new();
            match self.walk.next().await {
                Some(Step::Entries(entries)) => {
                    entries.into_iter().for_each(|entry| self.choosing.take(entry, &mut chosen));
                }
                Some(Step::Damaged { from, to, error }) => {
                    self.choosing.lose(&from);
                    self.damage.problem(lost_part(&from, to.as_deref(), &error));
                }
                None => {
                    self.choosing.finish(&mut chosen);
                    self.ended = true;
                }
            }
            chosen.into_iter().for_each(|entry| self.consider(entry));
        }
    }

    /// Entries that come next, as far as they are at hand.
    pub(crate) fn to_come(&self) -> impl Iterator<Item = &Entry> {
        self.ready.iter()
    }

    /// Gives an entry back, to be the next once more.
    pub(crate) fn give_back(&mut self, entry: Entry) {
        if self.options.versions == VersionChoice::All {
            self.rounds.push_front(entry);
        } else {
            self.ready.push_front(entry);
        }
    }

    fn consider(&mut self, entry: Entry) {
        if self.options.objects_only && entry.key == CONFIGURATION_KEY {
            return;
        }
        let is_named = entry.key == self.scope.key();
        if self.is_alone && !is_named {
            self.ended = true;
            return;
        }
        // A bucket has no entries for what lies above others, and may have `a` beside `a/b`.
        self.found |= self.scope.is_opaque() || is_named;
        self.is_alone = self.scope.is_opaque() && is_named;
        // Of several versions of it more may follow.
        self.ended |= self.is_alone && self.options.versions != VersionChoice::All;
        if self.skipped.as_ref().is_some_and(|skipped| is_below(&entry.key, skipped)) {
            return;
        }
        self.parents.retain(|parent| is_below(&entry.key, &parent.key));
        let directory = entry.kind == Kind::Directory;
        let selection = self
            .options
            .select
            .as_ref()
            .map_or(Selection::Take, |select| select(&selectable(&entry.key), directory));
        match selection {
            Selection::Take => {
                self.ready.extend(self.parents.drain(..));
                self.ready.push_back(entry);
            }
            Selection::Descend if directory => self.parents.push(entry),
            Selection::Descend => {}
            Selection::Skip => self.skipped = Some(entry.key),
        }
    }

    /// Says why nothing lies at the path.
    pub(crate) fn absent(&self, snapshot: &Snapshot) -> Error {
        match self.choosing.absent(snapshot) {
            Some(what) => Error::new(ErrorKind::NotFound, what),
            None => not_in_snapshot(snapshot, &self.options.path),
        }
    }

    /// The key relative to the target: a folder's contents land in it, a single file keeps its name.
    pub(crate) fn relative(&self, entry: &Entry) -> Vec<u8> {
        self.scope.at_target(&entry.key, entry.kind == Kind::Directory)
    }
}

/// The path by which an entry is selected.
fn selectable(key: &[u8]) -> Vec<u8> {
    let configuration = (key == CONFIGURATION_KEY).then(|| CONFIGURATION_SHOWN.as_bytes().to_vec());
    [b"/", configuration.unwrap_or_else(|| key_to_path(key)).as_slice()].concat()
}

pub(crate) fn is_below(key: &[u8], parent: &[u8]) -> bool {
    // The empty key is the folder that holds everything.
    parent.is_empty() && !key.is_empty()
        || key.strip_prefix(parent).is_some_and(|rest| rest.first() == Some(&0))
}

/// A key as a person knows the path.
pub(crate) fn path_text(key: &[u8]) -> Vec<u8> {
    shown_key(key)
}

pub(crate) fn lost_part(from: &[u8], to: Option<&[u8]>, error: &Error) -> Problem {
    let until =
        to.map_or_else(String::new, |to| format!(" up to {}", String::from_utf8_lossy(&path_text(to))));
    let what = format!("everything from here{until} is lost: {}", chain(error));
    Problem { path: path_text(from), kind: ProblemKind::Damaged, what }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
