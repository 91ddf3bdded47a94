//! Which way a source is proved, by its kind.
//!
//! On purpose not here: the ways.

use super::{Proof, Subject, bucket, command, files, restored_by};
use crate::hands::Hands;
use crate::policy::Kind;
use holdfast_engine::proof::{Cause, Level, Probe};

/// Proves a source.
pub(super) async fn prove(hands: &dyn Hands, subject: Subject<'_>) -> Proof {
    match subject.source.kind() {
        Some(Kind::Files(_)) => files::prove(hands, subject).await,
        Some(Kind::S3(_)) => bucket::prove(hands, subject).await,
        Some(Kind::Command(_)) => command::prove(hands, subject).await,
        Some(Kind::RestoredBy(_)) => restored_by::prove(hands, subject).await,
        Some(Kind::Postgres(_)) => cannot(format!("{} is of PostgreSQL", subject.name)),
        None => cannot(format!("{} is of no kind", subject.name)),
    }
}

/// What there is to say where nothing can be proved.
fn cannot(what: String) -> Proof {
    let mut probe = Probe::new("restore", Level::Read);
    probe.finds(Cause::Environment, what, "check the policy: holdfast policy check");
    Proof { probes: vec![probe], ..Proof::default() }
}
