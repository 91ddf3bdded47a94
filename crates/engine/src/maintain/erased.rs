//! Notes in the root of a repository that the erasure of a domain was begun: a copy of the domain that somebody puts
//! back has no mark, and asking all evidence at each opening would cost too much.
//!
//! The note says where to look and nothing else: maintainers publish roots, and erasing is an owner's. On purpose not
//! here: the record that decides ([`crate::domain`]).

use super::publish::{ATTEMPTS_MAX, Draft, Published, too_busy};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::repository::Repository;
use holdfast_core::id::RepositoryId;

/// Notes that the erasure of a domain is begun.
pub(crate) async fn note_shredded(ctx: &Ctx, above: &Repository, id: RepositoryId) -> Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let newest = above.newest().await?;
        let Err(place) = newest.root.shredded.binary_search(&id) else { return Ok(()) };
        let mut draft = Draft::after(ctx, above, &newest.root, newest.hash);
        draft.root.shredded.insert(place, id);
        if draft.publish().await? == Published::Yes {
            return Ok(());
        }
    }
    Err(too_busy())
}
