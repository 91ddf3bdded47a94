//! The next root: what it says differently from the newest one, written and put in force.
//!
//! Objects that a root names are written for that root, or were named by the one before; so
//! whatever was written for a number that is taken, and is not named by the newest root, never
//! will be. On purpose not here: what a root should say.

use super::clock::believed_now;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, put_or_mine};
use crate::rights::Right;
use holdfast_core::crypto::hash;
use holdfast_core::id::{ObjectId, SessionId};
use holdfast_core::name::{self, PackId};
use holdfast_core::object::ObjectType;
use holdfast_core::root::{CataloguedSnapshot, List, ListKind, NamedRow, Root, encode_snapshots};
use holdfast_store::Put;
use std::collections::BTreeSet;

/// So often a change is planned anew when other maintainers publish meanwhile.
pub(super) const ATTEMPTS_MAX: usize = 32;

/// Whether a root was put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is in force, whether or not somebody has published another one after it.
    Yes,
    /// Somebody else's has its number: look again.
    Overtaken,
}

/// The next root on its way.
pub(super) struct Draft<'a> {
    ctx: &'a Ctx,
    repository: &'a Repository,
    /// What it will say; lists and segments are added as they are written.
    pub root: Root,
}

/// Refuses keys that may not publish roots.
pub(super) fn require_maintainer(repository: &Repository) -> Result<()> {
    repository.require(Right::Maintain)
}

impl<'a> Draft<'a> {
    /// Begins with what the newest root says.
    pub(super) fn after(ctx: &'a Ctx, repository: &'a Repository, newest: &Root, hash: [u8; 32]) -> Self {
        let now = believed_now(ctx, newest);
        let root = Root {
            number: newest.number + 1,
            previous: hash,
            repository_hash: repository.description_hash(),
            members: repository.members_to_name(newest),
            time: now,
            conservation: Vec::new(),
            holds: newest.holds.iter().filter(|hold| hold.stands(now)).cloned().collect(),
            ..newest.clone()
        };
        Self { ctx, repository, root }
    }

    /// Number of the root that it is based on: what is written for it states this epoch.
    pub(super) const fn epoch(&self) -> u64 {
        self.root.number - 1
    }

    /// Writes a list of packs in the place of all of its kind; none if it is empty.
    pub(super) async fn set_packs(
        &mut self,
        kind: ListKind,
        packs: &BTreeSet<PackId>,
        floor: u64,
    ) -> Result<()> {
        self.root.lists.retain(|row| row.kind != kind as u8);
        self.add(&List::of_packs(kind, packs), floor).await
    }

    /// Writes the list of what is forgotten.
    pub(super) async fn set_forgotten(&mut self, sessions: &BTreeSet<SessionId>) -> Result<()> {
        self.set(ListKind::Forgotten, sessions.iter().map(|id| id.0.to_vec()).collect()).await
    }

    /// Writes a list of items that ascend in the place of all of its kind; none if it is empty.
    pub(super) async fn set(&mut self, kind: ListKind, items: Vec<Vec<u8>>) -> Result<()> {
        self.root.lists.retain(|row| row.kind != kind as u8);
        self.add(&List { kind, items: items.concat() }, 0).await
    }

    /// Writes a list beside those of its kind; none if it is empty.
    pub(super) async fn add(&mut self, list: &List, floor: u64) -> Result<()> {
        if list.items.is_empty() {
            return Ok(());
        }
        let id = ObjectId(self.ctx.random());
        let header = self.repository.header(self.ctx, ObjectType::List, id, self.epoch());
        let bytes = list.encode(&header, &self.repository.k_idx_for(&header)?, self.repository.signer());
        let items = (list.items.len() / list.kind.width()) as u64;
        let row = NamedRow { kind: list.kind as u8, id, items, hash: hash(&bytes), floor };
        self.repository.put_own(&name::list(id), bytes).await?;
        self.root.lists.push(row);
        Ok(())
    }

    /// Writes a segment of snapshots, ascending by session; none if there are none.
    pub(super) async fn add_snapshots(&mut self, rows: &[CataloguedSnapshot]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let id = ObjectId(self.ctx.random());
        let header = self.repository.header(self.ctx, ObjectType::SnapshotSegment, id, self.epoch());
        let bytes =
            encode_snapshots(rows, &header, &self.repository.k_ref_for(&header)?, self.repository.signer());
        let row = NamedRow { kind: 0, id, items: rows.len() as u64, hash: hash(&bytes), floor: 0 };
        self.repository.put_own(&name::snapshot_segment(id), bytes).await?;
        self.root.snapshots.push(row);
        Ok(())
    }

    /// Puts the root in force if its number is still free. Whoever goes on after that begins with
    /// the newest root again (rule R0).
    pub(super) async fn publish(self) -> Result<Published> {
        self.repository.require_known_features()?;
        let number = self.root.number;
        let object = name::root_object(number);
        let header = self.repository.header(self.ctx, ObjectType::Root, object, self.epoch());
        let bytes = self.root.encode(&header, &self.repository.k_ref_for(&header)?, self.repository.signer());
        match put_or_mine(&**self.repository.store(), &name::root(number), bytes).await? {
            Put::Created => Ok(Published::Yes),
            Put::Exists => Ok(Published::Overtaken),
        }
    }
}

/// The repository changed at every attempt.
pub(super) fn too_busy() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "other maintainers changed the repository at every attempt; try again when they are done",
    )
}
