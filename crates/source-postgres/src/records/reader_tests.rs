//! What a reader makes of logs that are whole, cut off, stale or damaged.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::super::forge::{Forge, PAGE, SEGMENT, SYSTEM};
use super::*;
use crate::records::PgTime;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// All records from a segment on, and how reading ended.
fn read_from(segments: &BTreeMap<u64, Vec<u8>>, first: u64) -> (Vec<Event>, End) {
    let mut reader = LogReader::new(Some(SYSTEM), SEGMENT);
    let (mut events, mut end) = (Vec::new(), End::Next);
    for (number, bytes) in segments.range(first..) {
        end = reader.read(Lsn(number * SEGMENT), bytes, |event| {
            events.push(event.clone());
            Verdict::Go
        });
        if end != End::Next {
            break;
        }
    }
    (events, end)
}

fn places(events: &[Event]) -> Vec<Lsn> {
    events.iter().map(|event| event.at).collect()
}

#[test]
fn records_are_read_across_pages_and_segments() {
    for magic in MAGICS {
        let mut forge = Forge { magic, ..Forge::new(2) };
        let mut wrote = vec![forge.commit(1, 10)];
        // One that ends in each way at the end of a page, and one longer than a segment.
        for bytes in (0..40).map(|number| PAGE - 100 + number).chain([3 << 20, 1]) {
            wrote.push(forge.other(bytes));
        }
        wrote.push(forge.point("here", 20));
        wrote.push(forge.abort(2, 30));
        let (events, end) = read_from(&forge.segments(), 2);
        assert_eq!(places(&events), wrote);
        assert_eq!(end, End::Empty(Lsn(forge.here().0.next_multiple_of(8))));
        assert_eq!(events[0].kind, EventKind::Commit { xid: 1, time: PgTime(10) });
        assert_eq!(events[wrote.len() - 1].kind, EventKind::Abort { xid: 2, time: PgTime(30) });
        assert!(
            matches!(&events[wrote.len() - 2].kind, EventKind::RestorePoint { name, .. } if name == "here")
        );
    }
}

#[test]
fn behind_a_switch_the_log_goes_on_in_the_next_segment() {
    let mut forge = Forge::new(1);
    let mut wrote = Vec::new();
    for number in 0..4 {
        wrote.push(forge.commit(number, 10));
        wrote.push(forge.switch());
    }
    let (events, end) = read_from(&forge.segments(), 1);
    assert_eq!((places(&events), end), (wrote.clone(), End::Next));
    assert_eq!(places(&read_from(&forge.segments(), 3).0), wrote[4..]);
}

#[test]
fn what_stood_in_a_segment_before_is_no_log() {
    let mut old = Forge::new(1);
    while old.bytes.len() < SEGMENT as usize {
        old.other(500);
    }
    let old = old.segments()[&1].clone();
    let mut forge = Forge::new(9);
    let wrote = [forge.commit(1, 10), forge.other(9000)];
    let mut segment = old;
    let end = forge.bytes.len();
    segment[..end].copy_from_slice(&forge.bytes);
    let (events, end) = read_from(&BTreeMap::from([(9, segment)]), 9);
    assert_eq!(places(&events), wrote);
    assert!(matches!(end, End::Empty(_) | End::Broken(..)), "{end:?}");
}

#[test]
fn damage_ends_the_log_where_it_is() {
    let mut forge = Forge::new(1);
    let wrote: Vec<_> = (0..300).map(|number| forge.commit(number, 10)).collect();
    let mut segments = forge.segments();
    let at = wrote[200].0 as usize - SEGMENT as usize + 30;
    segments.get_mut(&1).unwrap()[at] ^= 1;
    let (events, end) = read_from(&segments, 1);
    assert_eq!(places(&events), wrote[..200]);
    assert!(matches!(end, End::Broken(place, _) if place == wrote[200]), "{end:?}");
}

#[test]
fn what_is_of_another_cluster_or_place_is_refused() {
    let mut forge = Forge::new(1);
    forge.commit(1, 10);
    let segment = forge.segments()[&1].clone();
    let read = |system, bytes, start: u64, segment: &[u8]| {
        LogReader::new(Some(system), bytes).read(Lsn(start), segment, |_| Verdict::Go)
    };
    let broken = |end: End| matches!(end, End::Broken(..));
    assert!(broken(read(8, SEGMENT, SEGMENT, &segment)));
    assert!(broken(read(SYSTEM, 2 * SEGMENT, SEGMENT, &segment)));
    assert!(broken(read(SYSTEM, SEGMENT, SEGMENT, &segment[..39])));
    assert_eq!(read(SYSTEM, SEGMENT, 2 * SEGMENT, &segment), End::Empty(Lsn(2 * SEGMENT)));
    assert_eq!(read(SYSTEM, SEGMENT, 5, &[0; 9000]), End::Empty(Lsn(5)));
    // The front of one is read as far as it goes.
    assert_eq!(
        read(SYSTEM, SEGMENT, SEGMENT, &segment[..2 * PAGE]),
        End::Empty(Lsn(forge.here().0.next_multiple_of(8)))
    );
}

#[test]
fn a_record_that_a_server_gave_up_does_not_count() {
    // Page 1 ends within a record, and page 2 says that its rest will never come.
    let mut forge = Forge::new(1);
    let first = forge.commit(1, 10);
    forge.other(3 * PAGE);
    let mut bytes = forge.bytes[..PAGE].to_vec();
    let mut next = Forge { bytes: vec![0; PAGE], ..forge.clone() };
    next.last = first.0;
    let second = next.commit(2, 20);
    bytes.extend(&next.bytes[PAGE..]);
    bytes[PAGE + 2] |= OVERWRITES as u8;
    bytes.resize(SEGMENT as usize, 0);
    let (events, _) = read_from(&BTreeMap::from([(1, bytes)]), 1);
    assert_eq!(places(&events), [first, second]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// From whichever segment reading begins, it finds the same records.
    #[test]
    fn any_segment_is_a_beginning(sizes in prop::collection::vec(0_usize..200_000, 1..20)) {
        let mut forge = Forge::new(3);
        let wrote: Vec<_> = sizes.iter().map(|size| forge.other(*size)).collect();
        let segments = forge.segments();
        for first in segments.keys() {
            let wanted: Vec<_> = wrote.iter().copied().filter(|at| at.0 >= first * SEGMENT).collect();
            prop_assert_eq!(places(&read_from(&segments, *first).0), wanted);
        }
    }

    /// A flipped byte is noticed, or was in nothing that is read; nothing panics.
    #[test]
    fn no_flipped_byte_makes_another_record(at in 0_usize..40_000, flip in 1_u8..=255) {
        let mut forge = Forge::new(1);
        let wrote: Vec<_> = (0..40).map(|number| forge.other(number * 50)).collect();
        let mut segments = forge.segments();
        segments.get_mut(&1).unwrap()[at] ^= flip;
        let (events, _) = read_from(&segments, 1);
        prop_assert!(events.len() <= wrote.len());
        prop_assert_eq!(places(&events), wrote[..events.len()].to_vec());
    }
}
