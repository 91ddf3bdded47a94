//! Whether this host's clock is believed where something goes for its age.
//!
//! No safety of the protocol hangs on a clock, but deadlines, holds with an end, and how much of a log is
//! kept do. A clock that is years ahead would take all of it at once, and one that is behind would date
//! what it sees so that a later one takes it; so a person is asked where now is far from the newest root,
//! which some maintainer dated. On purpose not here: clocks of those who back up; what they state is
//! looked at in [`super::whole`].

use crate::civil::DAY;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::snapshots::utc;
use holdfast_core::entry::Time;
use holdfast_core::root::Root;

/// So long a repository may lie without a new root before a person has to say that it is true.
const ROOT_AGE_DAYS: i64 = 180;

/// A maintainer who finds nothing to do publishes a root for its date alone, once the newest is so old.
const ROOT_RENEWED_DAYS: i64 = 90;

/// So far behind the newest root maintainers' clocks may be.
const BEHIND_DAYS: i64 = 1;

/// Whether now is near enough to the newest root, or somebody said that the clock is right.
pub(super) fn is_believed(ctx: &Ctx, newest: &Root) -> bool {
    ctx.clock_accepted || !(is_older(ctx, newest, ROOT_AGE_DAYS) || is_behind(ctx, newest))
}

/// Whether a root is due that says nothing but that somebody was here.
pub(super) fn is_due(ctx: &Ctx, newest: &Root) -> bool {
    is_believed(ctx, newest) && is_older(ctx, newest, ROOT_RENEWED_DAYS)
}

fn is_older(ctx: &Ctx, newest: &Root, days: i64) -> bool {
    // Before the first root nothing is dated.
    newest.number > 0 && ctx.clock.now().seconds > newest.time.seconds.saturating_add(days * DAY)
}

fn is_behind(ctx: &Ctx, newest: &Root) -> bool {
    newest.number > 0 && ctx.clock.now().seconds < newest.time.seconds.saturating_sub(BEHIND_DAYS * DAY)
}

/// The time by which holds end, and of roots that anybody may have published: that of the newest root, where the
/// clock is not believed.
pub(super) fn believed_now(ctx: &Ctx, newest: &Root) -> Time {
    if is_believed(ctx, newest) { ctx.clock.now() } else { newest.time }
}

/// Refuses to delete anything for its age while the clock is not believed.
pub(super) fn require_clock(ctx: &Ctx, newest: &Root) -> Result<()> {
    if is_believed(ctx, newest) {
        return Ok(());
    }
    let (now, then) = (utc(ctx.clock.now()), utc(newest.time));
    let what = if is_behind(ctx, newest) {
        format!(
            "this host's clock says {now}, but somebody maintained the repository at {then}: one of the two clocks is \
             wrong, and what goes for its age would be misjudged, so nothing was changed"
        )
    } else {
        format!(
            "this host's clock says {now}, but nobody has maintained the repository since {then}: if the clock is \
             wrong, what is not old would be deleted for its age, so nothing was changed"
        )
    };
    Err(Error::new(ErrorKind::Clock, what))
}
