//! What shows that a store does not tell everything: sessions that a listing leaves out, roots that
//! are gone.
//!
//! On purpose not here: what this host has seen before ([`crate::remember`]).

use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, get_optional};
use crate::view::View;
use holdfast_core::name::{self, Place, SessionName};
use holdfast_core::session::End;
use holdfast_store::Key;

/// Sessions that are looked for because only a delta of theirs was listed.
const GAPS_LOOKED_AT: usize = 16;

impl Repository {
    /// A session whose delta is listed was listed too, or began since. One that has committed and is
    /// in no listing however often one looks shows that listings are not complete: what they leave
    /// out would be taken for garbage.
    pub(crate) async fn refuse_gaps(&self, view: &View, deltas: &[Key]) -> Result<()> {
        let unlisted = deltas.iter().filter_map(|key| match name::parse(key.as_str()) {
            Some(Place::Delta(session, 0)) => Some(session),
            _ => None,
        });
        let above = |name: &SessionName| u64::from(name.epoch) >= view.root.fence && !view.is_absorbed(name);
        let unlisted = unlisted.filter(|name| !view.sessions.contains_key(name) && above(name));
        for name in unlisted.take(GAPS_LOOKED_AT) {
            let Some(bytes) = get_optional(&**self.store(), &name.end()).await? else { continue };
            if matches!(self.decode_end(&name, &bytes), Ok((_, End::Commit(_)))) {
                let what = format!(
                    "the listing of {} leaves out {}, which is there: a store whose listings are not complete \
                     cannot keep a repository. Nothing was changed",
                    self.location(),
                    name.end()
                );
                return Err(Error::new(ErrorKind::Conflict, what));
            }
        }
        Ok(())
    }
}

impl View {
    /// Whoever began with a newer root has seen one that is gone now.
    pub(crate) fn refuse_roll_back(&self) -> Result<()> {
        let (number, seen) = (self.root.number, self.newest_epoch());
        if seen <= number {
            return Ok(());
        }
        let what = format!(
            "root {seen} of the repository is gone: a session began with it, and root {number} is the newest. \
             Put it back, or run `holdfast repair index`"
        );
        Err(Error::new(ErrorKind::Damaged, what))
    }
}
