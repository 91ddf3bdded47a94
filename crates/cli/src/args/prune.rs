//! The options of `prune`.

use super::forget::keep_span;
use crate::engine::maintain::{KeepSpan, MaxUnused, PruneOptions};
use crate::ink::{parse_duration, parse_size};
use clap::Args;
use std::time::Duration;

/// So much of all packs may be unused, unless something else is said.
const MAX_UNUSED: MaxUnused = MaxUnused::Percent(5.0);

/// So long a session may be silent, unless something else is said.
const ABORT_AFTER: Duration = Duration::from_secs(72 * 3600);

/// Free what no snapshot needs.
///
/// Backups, restores and other prunes may run meanwhile, on any host: nothing waits. What nothing
/// needs is condemned first, looked at again, given up, and only then deleted; a backup that meets
/// it in between keeps it or stores it again. If no other session is open all of it is done in one
/// run; else the steps are a day apart, and the run says when the next one frees more. An interrupted
/// prune leaves nothing to clean up.
///
/// The log of a database (`holdfast wal`) is kept from the oldest snapshot of it on; with --wal-keep
/// only from the newest snapshot that is older than that, and what each older snapshot was made over.
/// Of a database without a snapshot, and where one is held, nothing more goes.
///
/// With --wal-delete-after what is older goes, whatever snapshots need, also of databases without any: from when a
/// prune with this option first saw it, or from when the oldest snapshot that ends behind it was first seen, where
/// all of them are of one member. What a snapshot was made over goes with that one; only a hold is stronger.
///
/// Where the newest date that a maintainer left in the repository is half a year old, or a day ahead of
/// now, nothing goes for its age until --accept-clock says once that this host's clock is right.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast prune --dry-run
  holdfast prune --max-unused 10% --max-repack-size 5G
  holdfast prune --wal-keep 14d
  holdfast prune --wal-delete-after 400d --wal-source shop/db
  holdfast prune --min-age 0 --abort-after 0     at once; backups that run start over")]
pub(crate) struct PruneArgs {
    /// Tell what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// This host's clock is right, though the repository's newest date is far from it
    #[arg(long)]
    pub(crate) accept_clock: bool,
    #[command(flatten)]
    pub(crate) how: PruneHow,
}

/// How to prune.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "How to prune")]
pub(crate) struct PruneHow {
    /// So much unused data may stay in packs that are needed too: 10%, 5G or unlimited [default: 5%]
    #[arg(long, value_name = "LIMIT", value_parser = max_unused)]
    max_unused: Option<MaxUnused>,
    /// Read and write anew at most so much of such packs in this run: 500M, 5G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_repack_size: Option<u64>,
    /// Pause between the steps: 0, 12h, 2d [default: none if no other session is open, else 1d]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    min_age: Option<Duration>,
    /// Abort sessions that were silent for so long: their backups start over; 0 for all [default: 72h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    abort_after: Option<Duration>,
    /// Of databases' logs keep what leads to any moment of so long until now: 14d [default: what leads
    /// to any moment since the oldest snapshot]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wal_keep: Option<Duration>,
    /// Delete log that is older than this, whatever snapshots need; only a hold is stronger. Told two weeks before
    /// nothing of a database is left: 400d, 1y (m are months)
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    wal_delete_after: Option<KeepSpan>,
    /// That only of databases that were never backed up but as this source, or, where no snapshot of one is left, as
    /// 'shop/*'; may be given several times [default: of all databases]
    #[arg(long, value_name = "NAME", requires = "wal_delete_after")]
    wal_source: Vec<String>,
}

impl PruneHow {
    /// Whether anything is stated.
    pub(crate) fn is_stated(&self) -> bool {
        *self != Self::default()
    }

    /// How much of logs is kept.
    pub(crate) fn wal_keep(&self) -> Option<Duration> {
        self.wal_keep
    }

    /// After which time log goes, and that of which sources; none for all.
    pub(crate) fn wal_delete_after(&self) -> Option<(KeepSpan, Option<&[String]>)> {
        let sources = (!self.wal_source.is_empty()).then_some(self.wal_source.as_slice());
        self.wal_delete_after.map(|span| (span, sources))
    }

    /// What the engine is told.
    pub(crate) fn options(&self, dry_run: bool) -> PruneOptions {
        PruneOptions {
            max_unused: self.max_unused.unwrap_or(MAX_UNUSED),
            max_repack_bytes: self.max_repack_size,
            min_age_seconds: self.min_age.map(|time| time.as_secs()),
            abort_after_seconds: self.abort_after.unwrap_or(ABORT_AFTER).as_secs(),
            dry_run,
        }
    }
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let Some(percent) = text.strip_suffix('%') else { return parse_size(text).map(MaxUnused::Bytes) };
    let percent: Option<f64> = percent.trim().parse().ok().filter(|percent| (0.0..100.0).contains(percent));
    percent.map(MaxUnused::Percent).ok_or_else(|| "write a part from 0% to less than 100%".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn limits_are_parts_sizes_or_none() {
        assert_eq!(max_unused("7.5%").unwrap(), MaxUnused::Percent(7.5));
        assert_eq!(max_unused("10G").unwrap(), MaxUnused::Bytes(10 << 30));
        assert_eq!(max_unused("0").unwrap(), MaxUnused::Bytes(0));
        assert_eq!(max_unused("unlimited").unwrap(), MaxUnused::Unlimited);
        for text in ["", "%", "-1%", "100%", "NaN%", "much"] {
            assert!(max_unused(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_stated_has_a_value() {
        let options = PruneHow::default().options(true);
        assert_eq!((options.max_unused, options.max_repack_bytes), (MaxUnused::Percent(5.0), None));
        assert_eq!((options.min_age_seconds, options.abort_after_seconds), (None, 259_200));
        assert!(options.dry_run && !PruneHow::default().is_stated());
    }
}
