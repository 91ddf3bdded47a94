//! Folders that the snapshot has no entry of, though it has things in them.
//!
//! A folder whose name was taken from it while it was backed up may be missing: what lies in it is worth
//! more than its attributes. On purpose not here: anything below what is no folder.

use super::existing::{self, Inside};
use super::folder::{self, Folder};
use super::remove::LEFT_OUT;
use super::{FileTarget, split_key};
use crate::directory::Directory;
use crate::walk::is_below;
use holdfast_core::entry::{Attributes, Content, Entry, Kind, Owner, Time};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::TargetError;
use rustix::fd::AsFd;
use std::sync::Arc;

impl FileTarget {
    /// Goes into a folder that was not in the snapshot, by way of those above it; false if there can be
    /// none.
    pub(super) fn make_way(&mut self, key: &[u8]) -> Result<bool, TargetError> {
        if self.barred.as_ref().is_some_and(|barred| barred == key || is_below(key, barred)) {
            return Ok(false);
        }
        let mut start = self.folders.last().map_or(0, |folder| folder.entry.key.len() + 1);
        while start < key.len() {
            let end = key[start..].iter().position(|&byte| byte == 0).map_or(key.len(), |at| start + at);
            if !self.make_missing(&key[..end])? {
                self.bar(&key[..end]);
                return Ok(false);
            }
            start = end + 1;
        }
        Ok(true)
    }

    /// Sees to it that nothing is deleted where the backup left something out by what is there, nor
    /// below: the snapshot may have a part of that, which was asked for by name.
    pub(super) fn keep_what_was_left_out(&self, mut folder: Folder) -> Folder {
        let (Some(deletes), Some(inside)) = (&self.shared.deletes, &folder.inside) else { return folder };
        let tagged = |directory: &Option<Arc<Directory>>| {
            let opened = directory.as_ref().and_then(|directory| directory.open().ok());
            opened.is_some_and(|opened| deletes.keeps_all_in(opened.as_fd()))
        };
        let above = self.folders.last().map_or_else(|| tagged(&self.top), |above| above.is_kept);
        folder.why_kept = if above {
            None
        } else if tagged(&folder.directory) {
            Some(LEFT_OUT)
        } else if deletes.keep_mounted && inside.is_mounted() {
            Some("nothing was deleted in it: the backup kept to one file system, and this is another one")
        } else {
            None
        };
        folder.is_kept = above || folder.why_kept.is_some();
        folder
    }

    fn make_missing(&mut self, key: &[u8]) -> Result<bool, TargetError> {
        let (shared, name) = (Arc::clone(&self.shared), split_key(key).1);
        let (parent, inside) = self.innermost();
        let there = match &parent {
            Some(parent) => parent.open().and_then(|opened| existing::look(opened.as_fd(), name)),
            None => Ok(None),
        };
        if let Some(inside) = inside {
            if let (Some(names), Some(deletes)) = (&mut inside.names, &shared.deletes) {
                names.push(deletes.hash(name));
            }
            if matches!(&there, Ok(Some(there)) if !inside.meet(there)) {
                return Ok(false);
            }
        }
        let entry = missing(key);
        let made = match (there, parent) {
            (Ok(Some(there)), Some(parent)) if existing::kind(&there) == Some(Kind::Directory) => {
                let mut inside = Inside::new(shared.deletes.as_ref(), false);
                existing::enter(&shared, &parent, name, &entry, &mut inside)
                    .map(|directory| (Some(directory), Some(inside)))
            }
            (Ok(Some(_)), _) => return Ok(false),
            (Ok(None), Some(parent)) if !shared.rehearse => {
                folder::make(&parent, name).map(|directory| (Some(directory), None))
            }
            (Ok(None), _) => Ok((None, None)),
            (Err(error), _) => Err(error),
        };
        match made {
            Ok((directory, inside)) => {
                let what = "the snapshot has things in it and not the folder itself: its attributes are lost";
                shared.problem(key, ProblemKind::Attribute, what.to_owned());
                // What else belongs in it is not known either.
                let folder =
                    Folder { spared: true, is_made_up: true, ..Folder::new(directory, entry, inside) };
                self.folders.push(self.keep_what_was_left_out(folder));
                Ok(true)
            }
            Err(error) => shared.unmade(key, "make folder", error).map(|()| false),
        }
    }
}

/// Stands for the entry that is missing.
fn missing(key: &[u8]) -> Entry {
    Entry {
        key: key.to_vec(),
        kind: Kind::Directory,
        mode: 0o700,
        owner: Arc::new(Owner::default()),
        mtime: Time::default(),
        size: 0,
        content: Content::None,
        digest: None,
        attributes: Attributes::default(),
    }
}
