//! Holds: while one stands, what it names is neither forgotten nor freed.
//!
//! A hold is part of the root, so that it counts from the moment its root is published, and a
//! prune that runs meets it before its next step. On purpose not here: forgetting and freeing.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;

/// What a hold names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    /// Everything: forget and prune do nothing at all.
    All,
    /// All snapshots of the sources with this name.
    Source(String),
    /// One snapshot.
    Snapshot(SessionId),
}

/// A hold that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Names it; people type the beginning of its hexadecimal form.
    pub id: [u8; 16],
    /// What it names.
    pub scope: HoldScope,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// Until when; until it is released, if `None`.
    pub until: Option<Time>,
}

/// Lists the holds that stand, oldest first.
///
/// # Errors
/// The repository cannot be read.
pub async fn holds(_ctx: &Ctx, _repository: &Repository) -> Result<Vec<Hold>> {
    Err(Error::new(ErrorKind::NotAllowed, "holds"))
}

/// Holds what the scopes name, at once.
///
/// # Errors
/// The key does not allow it, or the repository cannot be written.
pub async fn hold(
    _ctx: &Ctx,
    _repository: &Repository,
    _scopes: &[HoldScope],
    _reason: &str,
    _until: Option<Time>,
) -> Result<Vec<Hold>> {
    Err(Error::new(ErrorKind::NotAllowed, "hold"))
}

/// Releases holds; returns those that stood.
///
/// # Errors
/// The key does not allow it, there is no such hold, or the repository cannot be written.
pub async fn release(_ctx: &Ctx, _repository: &Repository, _ids: &[[u8; 16]]) -> Result<Vec<Hold>> {
    Err(Error::new(ErrorKind::NotAllowed, "release"))
}
