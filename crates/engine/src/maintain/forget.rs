//! Forgets snapshots: they are not shown any more, and the next prune frees what only they need.
//!
//! On purpose not here: the rules of retention ([`super::retention`]), and freeing anything.

use super::retention::{Retention, Verdict};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use holdfast_core::id::SessionId;

/// What is to be forgotten.
#[derive(Debug, Clone)]
pub enum ForgetWhat {
    /// These snapshots.
    Snapshots(Vec<SessionId>),
    /// What a policy does not keep.
    Policy(Retention),
}

/// How snapshots are forgotten.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Which ones.
    pub what: ForgetWhat,
    /// Forget the newest whole and the newest proven snapshot of a source too, if they are named.
    pub allow_last: bool,
    /// Tell what would be forgotten, change nothing.
    pub dry_run: bool,
}

/// What was forgotten.
#[derive(Debug, Clone)]
pub struct ForgetReport {
    /// The snapshots that were forgotten now.
    pub forgotten: Vec<Snapshot>,
    /// What the policy says of each snapshot that it was asked about; empty without a policy.
    pub verdicts: Vec<Verdict>,
    /// The root that says so; `None` if nothing was changed.
    pub root: Option<u64>,
}

/// Forgets snapshots.
///
/// # Errors
/// The key does not allow it, a hold stands against it, or the repository cannot be written.
pub async fn forget(_ctx: &Ctx, _repository: &Repository, _options: &ForgetOptions) -> Result<ForgetReport> {
    Err(Error::new(ErrorKind::NotAllowed, "forget"))
}

/// Lists snapshots that are forgotten and that no prune has passed yet, oldest first.
///
/// # Errors
/// The repository cannot be read.
pub async fn forgotten(_ctx: &Ctx, _repository: &Repository) -> Result<Vec<Snapshot>> {
    Err(Error::new(ErrorKind::NotAllowed, "forgotten"))
}

/// Takes back that snapshots were forgotten; returns those that count again.
///
/// # Errors
/// A prune has passed over one of them, then none comes back; or the repository cannot be written.
pub async fn unforget(_ctx: &Ctx, _repository: &Repository, _ids: &[SessionId]) -> Result<Vec<Snapshot>> {
    Err(Error::new(ErrorKind::NotAllowed, "unforget"))
}
