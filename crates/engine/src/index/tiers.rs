//! Which segments to merge together: those of about one size, once there are many of them.
//!
//! So a look-up asks few segments, and a row is written anew once for each time that the index
//! has grown eightfold. On purpose not here: merging, and dropping rows of dead packs, which is a
//! reason of its own to write a segment anew.

use holdfast_core::index::ROWS_MAX;

/// A tier holds segments of up to so many times the rows of the one below, and fewer than so many.
const RATIO: u64 = 8;
/// Rows below which a segment is in the lowest tier, divided by the ratio.
const SMALL_ROWS: u64 = 1 << 10;
/// Rows that an ordinary backup may merge: 64 MiB of them.
pub(crate) const BOUNDED_ROWS: u64 = (64 << 20) / 40;

fn tier(rows: u64) -> u32 {
    (rows / SMALL_ROWS).max(1).ilog(RATIO)
}

/// Chooses what to merge together with `fresh` new rows, which become a segment in any case if
/// there are any: numbers of segments, given by their rows. Empty if it is not time yet.
pub(crate) fn tiers(segments: &[u64], fresh: u64) -> Vec<usize> {
    tiers_within(segments, fresh, u64::MAX)
}

/// The same, with at most so many rows in the new segment.
pub(crate) fn tiers_within(segments: &[u64], fresh: u64, rows_max: u64) -> Vec<usize> {
    let rows_max = rows_max.min(ROWS_MAX as u64);
    let top = segments.iter().map(|rows| tier(*rows)).max().unwrap_or_default().max(tier(fresh));
    for lowest in 0..=top {
        let new = u64::from(fresh > 0 && tier(fresh) == lowest);
        let mut choice = Choice { rows: fresh, ..Choice::default() };
        choice.add_tier(segments, lowest, new, rows_max);
        // What comes out may be one too many where it belongs.
        for next in lowest + 1..=top {
            if !choice.chosen.is_empty() && tier(choice.rows) >= next {
                choice.add_tier(segments, next, 1, rows_max);
            }
        }
        if choice.chosen.len() + usize::from(fresh > 0) > 1 && !choice.chosen.is_empty() {
            choice.chosen.sort_unstable();
            return choice.chosen;
        }
    }
    Vec::new()
}

/// Puts all segments into groups that each fit into one segment, for writing the whole index anew;
/// the first group takes `fresh` new rows in.
pub(crate) fn groups(segments: &[u64], fresh: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(segments[number]));
    let mut groups = vec![(fresh, Vec::new())];
    for number in order {
        let rows = segments[number];
        match groups.iter_mut().find(|(sum, _)| sum.saturating_add(rows) <= ROWS_MAX as u64) {
            Some((sum, group)) => {
                *sum += rows;
                group.push(number);
            }
            None => groups.push((rows, vec![number])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[derive(Default)]
struct Choice {
    chosen: Vec<usize>,
    rows: u64,
}

impl Choice {
    /// Takes a whole tier, the smallest first, if with `new` more it would be full.
    fn add_tier(&mut self, segments: &[u64], wanted: u32, new: u64, rows_max: u64) {
        let members = segments.iter().enumerate().filter(|(_, rows)| tier(**rows) == wanted);
        let mut members: Vec<(u64, usize)> = members.map(|(number, rows)| (*rows, number)).collect();
        if (members.len() as u64) + new < RATIO {
            return;
        }
        members.sort_unstable();
        for (rows, number) in members {
            if self.rows.saturating_add(rows) <= rows_max {
                self.rows += rows;
                self.chosen.push(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Adds rows as maintenance does; returns how many rows were written for it.
    fn add(segments: &mut Vec<u64>, fresh: u64, rows_max: u64) -> u64 {
        let chosen = tiers_within(segments, fresh, rows_max);
        let merged = fresh + chosen.iter().map(|&number| segments[number]).sum::<u64>();
        assert!(chosen.is_empty() || merged <= rows_max.min(ROWS_MAX as u64));
        assert!(chosen.is_sorted_by(|a, b| a < b));
        for number in chosen.into_iter().rev() {
            segments.remove(number);
        }
        segments.push(merged);
        merged
    }

    proptest! {
        #[test]
        fn tiers_stay_small_and_rows_are_seldom_written_anew(
            sizes in prop::collection::vec(1u64..30_000, 1..600),
        ) {
            let (mut segments, mut written, mut total) = (Vec::new(), 0, 0);
            for fresh in sizes {
                total += fresh;
                written += add(&mut segments, fresh, u64::MAX);
                prop_assert_eq!(segments.iter().sum::<u64>(), total);
                for wanted in 0..8 {
                    let count = segments.iter().filter(|rows| tier(**rows) == wanted).count();
                    prop_assert!(count < RATIO as usize, "{wanted}: {segments:?}");
                }
            }
            prop_assert!(written <= total * (2 + u64::from(tier(total))), "{written} for {total}");
        }

        #[test]
        fn a_bounded_merge_keeps_its_bound(sizes in prop::collection::vec(1u64..600_000, 1..60)) {
            let mut segments = Vec::new();
            for fresh in sizes {
                add(&mut segments, fresh, BOUNDED_ROWS);
            }
        }

        #[test]
        fn groups_hold_each_segment_once_and_fit(
            segments in prop::collection::vec(0u64..=ROWS_MAX as u64, 0..40),
            fresh in 0u64..1 << 20,
        ) {
            let groups = groups(&segments, fresh);
            for (at, group) in groups.iter().enumerate() {
                let rows: u64 = group.iter().map(|&number| segments[number]).sum();
                let new = if at == 0 { fresh } else { 0 };
                prop_assert!(rows + new <= ROWS_MAX as u64);
                prop_assert!(at == 0 || !group.is_empty());
            }
            let mut all = groups.concat();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..segments.len()));
        }

        #[test]
        fn what_is_chosen_is_worth_a_merge(
            segments in prop::collection::vec(0u64..1 << 27, 0..40),
            fresh in prop_oneof![Just(0), 1u64..100_000],
        ) {
            let chosen = tiers(&segments, fresh);
            prop_assert!(chosen.is_empty() || chosen.len() + usize::from(fresh > 0) > 1);
            prop_assert!(chosen.iter().all(|number| *number < segments.len()));
        }
    }

    #[test]
    fn nothing_is_merged_with_nothing() {
        assert_eq!(tiers(&[], 0), Vec::<usize>::new());
        assert_eq!(tiers(&[], 5), Vec::<usize>::new());
        assert_eq!(tiers(&[1; 7], 0), Vec::<usize>::new());
        assert_eq!(tiers(&[1; 7], 5), (0..7).collect::<Vec<_>>());
        assert_eq!(tiers(&[1; 8], 0), (0..8).collect::<Vec<_>>());
        // A tier that is full in its turn is taken along.
        let two = [[9 << 10; 7].as_slice(), &[2 << 10; 7]].concat();
        assert_eq!(tiers(&two, 1 << 10), (0..14).collect::<Vec<_>>());
        // Two of the largest fit into one segment.
        assert_eq!(tiers(&[32 << 20; 8], 0), [0, 1]);
    }
}
