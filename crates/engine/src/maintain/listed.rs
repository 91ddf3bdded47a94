//! What rules keep of snapshots of which no more is known than a listing tells.
//!
//! For who has to know it of snapshots that are not in one repository: which of those that a copy lacks it would keep.
//! On purpose not here: what stands in no listing. No hold, no proof and no other member's word is known.

use super::keep::{GroupBy, KeepPolicy, KeepSpan};
use super::retention::{Candidate, LocalOffset, Retention, decide};
use crate::error::Result;
use crate::snapshots::{Snapshot, SnapshotFilter};
use holdfast_core::entry::Time;
use holdfast_core::id::{ChunkId, MemberId, SessionId, StreamId};
use holdfast_core::page::KeySpace;
use holdfast_core::session::{Counts, Summary};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A snapshot, as a listing tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Name of the source: each is judged by itself.
    pub source: &'a str,
    /// Its host.
    pub host: &'a str,
    /// When its capture ended, in nanoseconds since 1970.
    pub end: i128,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Whether something could not be read.
    pub incomplete: bool,
    /// Its tags.
    pub tags: &'a [String],
}

/// Finds which of them rules keep, each as if all were in one repository. `local_offset` tells how many seconds local
/// time is ahead of UTC at a second.
///
/// # Errors
/// The rules keep nothing at all.
pub fn kept_of_listed(
    listed: &[Listed<'_>],
    (keep, delete_after): (KeepPolicy, Option<KeepSpan>),
    local_offset: fn(i64) -> i32,
    now: i128,
) -> Result<Vec<bool>> {
    let snapshots: Vec<Snapshot> =
        listed.iter().enumerate().map(|(number, one)| snapshot(number, one)).collect();
    let candidate = |snapshot| Candidate { snapshot, received: None, signer_is_owner: true, held: None };
    let candidates: Vec<_> = snapshots.iter().map(candidate).collect();
    let retention = Retention {
        keep,
        delete_after,
        group_by: GroupBy { source: true, ..GroupBy::NOTHING },
        filter: SnapshotFilter::default(),
        local_offset: LocalOffset(Arc::new(move |time| local_offset(time.seconds))),
    };
    let verdicts = decide(&candidates, &retention, &BTreeSet::new(), time(now))?;
    let kept: BTreeSet<SessionId> =
        verdicts.iter().filter(|verdict| verdict.keep).map(|verdict| verdict.snapshot.id).collect();
    Ok(snapshots.iter().map(|snapshot| kept.contains(&snapshot.id)).collect())
}

const SECOND: i128 = 1_000_000_000;

fn time(nanoseconds: i128) -> Time {
    let seconds = i64::try_from(nanoseconds.div_euclid(SECOND)).unwrap_or(i64::MAX);
    Time { seconds, nanos: u32::try_from(nanoseconds.rem_euclid(SECOND)).unwrap_or(0) }
}

/// What rules look at is as the listing says; all else is empty.
fn snapshot(number: usize, listed: &Listed<'_>) -> Snapshot {
    let stream = blake3::hash(format!("{}\0{}", listed.host, listed.source).as_bytes());
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(number as u64).to_be_bytes());
    let mut of_stream = [0; 16];
    of_stream.copy_from_slice(&stream.as_bytes()[..16]);
    Snapshot {
        id: SessionId(id),
        member: MemberId([0; 16]),
        epoch: 0,
        summary: Summary {
            stream: StreamId(of_stream),
            host: listed.host.to_owned(),
            kind: String::new(),
            label: listed.source.to_owned(),
            paths: Vec::new(),
            tags: listed.tags.to_vec(),
            start: time(listed.end),
            end: time(listed.end),
            counts: Counts { files: listed.files, bytes: listed.bytes, ..Counts::default() },
            incomplete: listed.incomplete,
            problems: u64::from(listed.incomplete),
            root: ChunkId([0; 32]),
            space: KeySpace::Paths,
            parent: None,
            supersedes: Vec::new(),
            origin: None,
            log: None,
            said_by: None,
            unknown: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::maintain::{KeepCount, KeepLimit, KeepRule, Period};

    const DAY: i128 = 24 * 3600 * SECOND;

    fn of(source: &str, day: i128) -> Listed<'_> {
        Listed { source, host: "web", end: day * DAY, files: 9, bytes: 9, incomplete: false, tags: &[] }
    }

    fn last(number: u64) -> (KeepPolicy, Option<KeepSpan>) {
        let limit = KeepLimit::Newest(KeepCount::Number(number));
        (KeepPolicy { rules: vec![KeepRule { of: Period::Each, limit }], tags: Vec::new() }, None)
    }

    #[test]
    fn each_source_is_judged_by_itself_in_any_order() {
        let listed = [of("a", 3), of("b", 1), of("a", 1), of("a", 2)];
        let kept = kept_of_listed(&listed, last(2), |_| 0, 4 * DAY).unwrap();
        assert_eq!(kept, [true, true, false, true]);
        let soon = Listed { end: 3 * DAY + 1, ..of("a", 3) };
        assert_eq!(kept_of_listed(&[soon, of("a", 3)], last(1), |_| 0, 4 * DAY).unwrap(), [true, false]);
    }

    #[test]
    fn what_does_not_count_uses_no_rule_up() {
        let bad = Listed { incomplete: true, ..of("a", 3) };
        let small = Listed { files: 1, ..of("a", 4) };
        let listed = [of("a", 1), of("a", 2), bad, small];
        let kept = kept_of_listed(&listed, last(1), |_| 0, 5 * DAY).unwrap();
        assert_eq!(kept, [false, true, true, true]);
    }

    #[test]
    fn what_has_to_go_is_not_kept() {
        let old = Some("5d".parse().unwrap());
        let kept = kept_of_listed(&[of("a", 1), of("a", 9)], (last(5).0, old), |_| 0, 10 * DAY).unwrap();
        assert_eq!(kept, [false, true]);
        assert!(kept_of_listed(&[of("a", 1)], (KeepPolicy::default(), None), |_| 0, 0).is_err());
    }
}
