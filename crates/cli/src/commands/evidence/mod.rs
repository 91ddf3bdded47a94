//! `evidence`: the records of drills are checked, shown, and noted on. One file a verb.
//!
//! On purpose not here: how records are kept, which is the engine's, and what a report looks like, which is the
//! scheduler's.

mod note;
mod pick;
pub(super) mod proven;
mod show;
mod told;
mod verify;

use super::Run;
use crate::args::EvidenceVerb;
use crate::fault::Fault;

/// Carries out one of the verbs.
pub(crate) async fn run(run: &Run, verb: &EvidenceVerb) -> Result<(), Fault> {
    match verb {
        EvidenceVerb::Verify(args) => verify::run(run, args).await,
        EvidenceVerb::Show(args) => show::run(run, args).await,
        EvidenceVerb::Note(args) => note::run(run, args).await,
    }
}
