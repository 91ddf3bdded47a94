//! Which entries are restored, in order, with keys relative to the target.
//!
//! On purpose not here: contents.

use crate::error::Error;
use crate::outcome::{Problem, ProblemKind, Problems};
use crate::reader::Reader;
use crate::snapshots::Snapshot;
use crate::tree::{Step, TreeWalk};
use holdfast_core::entry::{Entry, Kind, key_to_path, path_to_key};
use std::collections::VecDeque;

use super::{RestoreOptions, Selection};

/// Gives the entries to restore, in order, with keys relative to the target.
pub(super) struct Selected<'a> {
    walk: TreeWalk<'a>,
    ready: VecDeque<Entry>,
    prefix: Vec<u8>,
    pub(super) options: &'a RestoreOptions,
    /// Folders that are only made if something below them is taken.
    parents: Vec<Entry>,
    skipped: Option<Vec<u8>>,
    pub(super) found: bool,
    pub(super) damage: Problems,
}

impl<'a> Selected<'a> {
    pub(super) fn new(reader: &'a Reader, snapshot: &Snapshot, options: &'a RestoreOptions) -> Self {
        let key = path_to_key(&options.path);
        Self {
            walk: TreeWalk::below(reader, snapshot.summary.root, &key),
            ready: VecDeque::new(),
            found: key.is_empty(),
            prefix: key,
            options,
            parents: Vec::new(),
            skipped: None,
            damage: Problems::default(),
        }
    }

    /// The next entry, with its key in the snapshot.
    pub(super) async fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Some(entry);
            }
            match self.walk.next().await? {
                Step::Entries(entries) => entries.into_iter().for_each(|entry| self.consider(entry)),
                Step::Damaged { from, to, error } => {
                    self.damage.problem(lost_part(&from, to.as_deref(), &error));
                }
            }
        }
    }

    fn consider(&mut self, entry: Entry) {
        self.found |= entry.key == self.prefix;
        if self.skipped.as_ref().is_some_and(|skipped| is_below(&entry.key, skipped)) {
            return;
        }
        self.parents.retain(|parent| is_below(&entry.key, &parent.key));
        let directory = entry.kind == Kind::Directory;
        let selection = self.options.select.as_ref().map_or(Selection::Take, |select| {
            select(&[b"/", key_to_path(&entry.key).as_slice()].concat(), directory)
        });
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

    /// The key relative to the target: a folder's contents land in it, a single file keeps its name.
    pub(super) fn relative(&self, entry: &Entry) -> Vec<u8> {
        if entry.key == self.prefix && entry.kind != Kind::Directory {
            let start = entry.key.iter().rposition(|&byte| byte == 0).map_or(0, |at| at + 1);
            return entry.key[start..].to_vec();
        }
        let rest = &entry.key[self.prefix.len().min(entry.key.len())..];
        rest.strip_prefix(&[0]).unwrap_or(rest).to_vec()
    }
}

fn is_below(key: &[u8], parent: &[u8]) -> bool {
    // The empty key is the folder that holds everything.
    parent.is_empty() && !key.is_empty()
        || key.strip_prefix(parent).is_some_and(|rest| rest.first() == Some(&0))
}

/// A key as a person knows the path.
pub(super) fn path_text(key: &[u8]) -> Vec<u8> {
    [b"/", key_to_path(key).as_slice()].concat()
}

fn lost_part(from: &[u8], to: Option<&[u8]>, error: &Error) -> Problem {
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
