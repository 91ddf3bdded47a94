//! What shows that a store does not tell everything: sessions that a listing leaves out, roots that
//! are gone.
//!
//! On purpose not here: what this host has seen before ([`crate::remember`]).

use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, get_optional};
use crate::view::{Damage, View};
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

/// No root has a higher number: what a name says beyond is not believed.
const ROOT_NUMBER_BELIEVED_MAX: u64 = 1 << 31;

impl Repository {
    /// Finds the newest root that sessions have seen. A name alone proves nothing, and a writer's word would let
    /// any stolen host stop everybody: only what an owner, a maintainer or this member signed is believed. Of
    /// others it is noted, and stops nothing but what frees something.
    pub(crate) async fn find_witnesses(&self, view: &mut View) -> Result<()> {
        let number = view.root.number;
        let above = view.sessions.keys().filter(|name| u64::from(name.epoch) > number);
        for name in above.copied().collect::<Vec<_>>() {
            let is_believed = self.trusts(name.member) || self.maintainer_key_of(name.member).is_some();
            if !is_believed {
                let what = format!(
                    "{} says that it began with root {}, which is not there: either the store was put back, or that \
                     host was broken into; then remove its key",
                    self.name_of(name.member),
                    name.epoch
                );
                view.suspicious.push(Damage { object: name.begin(), what });
                view.unfounded.push(name);
            } else if u64::from(name.epoch) < ROOT_NUMBER_BELIEVED_MAX && self.has_signed_begin(&name).await?
            {
                view.witnessed = view.witnessed.max(name.epoch.into());
            }
        }
        Ok(())
    }

    async fn has_signed_begin(&self, name: &SessionName) -> Result<bool> {
        match self.read_begin(name).await {
            Ok(begin) => Ok(begin.is_some()),
            Err(error) if error.kind == ErrorKind::Store => Err(error),
            Err(_) => Ok(false),
        }
    }
}

impl View {
    /// Refuses while somebody who is not believed says that there is a newer root: if it is true, what looks
    /// like garbage is what newer roots count on.
    pub(crate) fn refuse_unfounded(&self, repository: &Repository) -> Result<()> {
        let is_undone = |name: &&SessionName| {
            let end = self.sessions.get(*name).and_then(|seen| seen.end.as_ref());
            !matches!(end, Some((_, End::Abort { .. })))
        };
        let Some(name) = self.unfounded.iter().find(is_undone) else { return Ok(()) };
        let what = format!(
            "{} says that it began with root {}, and root {} is the newest. Nothing was freed. If newer roots are \
             gone, put them back; if not, it is a lie of {}: `holdfast prune --abort-after 0` ends it if it is still \
             open, and `holdfast key remove --member` shuts its member out",
            name.begin(),
            name.epoch,
            self.root.number,
            repository.name_of(name.member)
        );
        Err(Error::new(ErrorKind::Damaged, what))
    }

    /// Whoever began with a newer root has seen one that is gone now.
    pub(crate) fn refuse_roll_back(&self) -> Result<()> {
        let (number, seen) = (self.root.number, self.witnessed);
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
