//! What the catalogue says of snapshots, held against what their authors signed.
//!
//! Whoever maintains writes the catalogue, and may write no snapshot. For lists its word will do; wherever a tree is
//! opened for somebody, or stands in for what a source holds, the signed end of the session decides. On purpose not
//! here: what an end says beside ([`crate::snapshots::details`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Problem, ProblemKind};
use crate::repository::{Repository, get_optional};
use crate::snapshots::{Snapshot, utc};
use crate::view::View;
use holdfast_core::crypto::hash;
use holdfast_core::root::CataloguedSnapshot;
use holdfast_core::session::End;

/// What becomes of a snapshot's entry in the catalogue.
pub(crate) enum Signed {
    /// Its author signed the same.
    Same,
    /// Its author signed this.
    Other(Box<Snapshot>),
    /// What its author signed is gone, or cannot be read: nobody can tell.
    Unknown(Error),
}

impl Repository {
    /// What the author of a snapshot signed of it.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn signed(&self, said: &Snapshot) -> Result<Signed> {
        Ok(self.signed_end(said).await?.0)
    }

    /// The same of an entry of the catalogue, whose hash has to be that of the end too.
    pub(crate) async fn signed_row(&self, row: &CataloguedSnapshot) -> Result<Signed> {
        let (id, member, epoch, summary) = (row.session, row.member, row.epoch, row.summary.clone());
        let said = Snapshot { id, member, epoch, summary };
        match self.signed_end(&said).await? {
            (Signed::Same, there) if there != row.end_hash => Ok(Signed::Other(Box::new(said))),
            (signed, _) => Ok(signed),
        }
    }

    async fn signed_end(&self, said: &Snapshot) -> Result<(Signed, [u8; 32])> {
        let name = said.name();
        let Some(bytes) = get_optional(&**self.store(), &name.end()).await? else {
            return Ok((Signed::Unknown(unknown(said, "it is missing")), [0; 32]));
        };
        self.know_author(&bytes).await?;
        let signed = match self.decode_end(&name, &bytes) {
            Ok((header, End::Commit(commit))) => {
                let (id, member) = (name.session, name.member);
                let signed = Snapshot { id, member, epoch: header.epoch, summary: commit.summary };
                let same = signed.epoch == said.epoch && signed.summary == said.summary;
                if same { Signed::Same } else { Signed::Other(Box::new(signed)) }
            }
            Ok((_, End::Abort { .. })) => Signed::Unknown(unknown(said, "the session was aborted")),
            Err(error) => Signed::Unknown(unknown(said, &error.to_string())),
        };
        Ok((signed, hash(&bytes)))
    }

    /// Refuses a snapshot that its author did not sign as it is told.
    ///
    /// # Errors
    /// The catalogue says something else of it ([`ErrorKind::Damaged`]), or the store failed.
    pub(crate) async fn require_signed(&self, said: &Snapshot) -> Result<()> {
        match self.signed(said).await? {
            Signed::Same => Ok(()),
            Signed::Other(_) => Err(Error::new(ErrorKind::Damaged, differs(said))),
            Signed::Unknown(error) => Err(error),
        }
    }

    /// The same for one of many: the problem that stands for it.
    pub(crate) async fn problem_of(&self, said: &Snapshot) -> Result<Option<Problem>> {
        match self.require_signed(said).await {
            Ok(()) => Ok(None),
            Err(error) if error.kind == ErrorKind::Damaged => {
                let path = said.id.to_string().into_bytes();
                Ok(Some(Problem { path, kind: ProblemKind::Damaged, what: error.what }))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the tree of a snapshot may stand in for what a source holds; if not, that is told.
    pub(crate) async fn is_signed_parent(&self, ctx: &Ctx, view: &View, parent: &Snapshot) -> Result<bool> {
        // Of all others the view has what was signed.
        if view.catalogued.iter().all(|row| row.session != parent.id) {
            return Ok(true);
        }
        let Some(problem) = self.problem_of(parent).await? else { return Ok(true) };
        ctx.monitor.on(&Event::Warning(&format!("{}; everything is read again", problem.what)));
        Ok(false)
    }
}

/// What the catalogue and the author of a snapshot say of it differs.
pub(crate) fn differs(said: &Snapshot) -> String {
    format!(
        "what the catalogue says of snapshot {} of {} on {} and what its author signed differ: whoever maintains \
         may have been broken into; see `holdfast check`, and make the true one anew with `holdfast repair snapshots`",
        &said.id.to_string()[..8],
        utc(said.summary.end),
        said.summary.host
    )
}

fn unknown(said: &Snapshot, why: &str) -> Error {
    let what = format!(
        "what the author of snapshot {} of {} on {} signed cannot be used ({}: {why}), so that nobody knows whether the \
         catalogue is right; what is left of it `holdfast repair snapshots` makes a snapshot of",
        &said.id.to_string()[..8],
        utc(said.summary.end),
        said.summary.host,
        said.name().end()
    );
    Error::new(ErrorKind::Damaged, what)
}
