//! Logs of databases: histories and segments, whose bytes come from a repository that may lie.
//!
//! On purpose not here: how they are sealed.

use holdfast_source_postgres::Lsn;
use holdfast_source_postgres::log::{History, PageHeader};
use holdfast_source_postgres::records::{End, LogReader, Verdict};

/// Segments that are read here, in bytes.
const SEGMENT_BYTES: u64 = 1 << 20;

/// A history goes up.
pub(super) fn history(bytes: &[u8]) {
    if let Some(history) = History::parse(bytes) {
        assert!(!history.switches.is_empty());
        assert!(history.switches.is_sorted_by(|a, b| a.timeline < b.timeline && a.at <= b.at));
    }
}

/// Segments as they are, and with the sums of their first records put right.
pub(super) fn segment(bytes: &[u8]) {
    let _ = PageHeader::parse(bytes);
    read(bytes);
    read(&summed(bytes));
}

/// Records go up, lie in the segment, and reading ends within it.
fn read(bytes: &[u8]) {
    let mut reader = LogReader::new(None, SEGMENT_BYTES);
    let mut last = None;
    for (number, part) in bytes.chunks(SEGMENT_BYTES as usize).enumerate().take(3) {
        let start = Lsn((number as u64 + 1) * SEGMENT_BYTES);
        let end = reader.read(start, part, |event| {
            assert!(last.is_none_or(|last| last < event.at) && event.at.0 < start.0 + SEGMENT_BYTES);
            last = Some(event.at);
            Verdict::Go
        });
        match end {
            End::Next => {}
            End::Empty(at) | End::Broken(at, _) => {
                assert!(at.0 <= start.0 + SEGMENT_BYTES);
                return;
            }
            End::Enough => panic!("nobody had enough"),
        }
    }
}

/// Length of the header of a segment's first page, and of a record.
const PAGE_HEADER_BYTES: usize = 40;
const HEADER_BYTES: usize = 24;
const SUM_AT: usize = 20;
const PAGE_BYTES: usize = 8192;

/// Puts the sums of the records on the first page right, as far as they are within it.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (mut at, mut last) = (PAGE_HEADER_BYTES, None::<usize>);
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if !(HEADER_BYTES..=PAGE_BYTES).contains(&length) || at + length > bytes.len().min(PAGE_BYTES) {
            break;
        }
        let before = last.map_or(0, |last| SEGMENT_BYTES + last as u64);
        bytes[at + 8..at + 16].copy_from_slice(&before.to_le_bytes());
        let sum = [&bytes[at + HEADER_BYTES..at + length], &bytes[at..at + SUM_AT]].concat();
        bytes[at + SUM_AT..at + HEADER_BYTES].copy_from_slice(&crc(&sum).to_le_bytes());
        last = Some(at);
        at = (at + length).next_multiple_of(8);
    }
    bytes
}

/// CRC-32C, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
    let all =
        bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)));
    !all
}

/// A segment with a record of each kind that is understood.
pub(super) fn seed() -> Vec<u8> {
    let mut bytes = [&0xD110_u16.to_le_bytes()[..], &2_u16.to_le_bytes(), &1_u32.to_le_bytes()].concat();
    bytes.extend(SEGMENT_BYTES.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(7_u64.to_le_bytes());
    bytes.extend((SEGMENT_BYTES as u32).to_le_bytes());
    bytes.extend((PAGE_BYTES as u32).to_le_bytes());
    let moment = 700_000_000_000_000_i64.to_le_bytes();
    let commit = [&[255, 8][..], &moment].concat();
    let prepared = [&[255, 16][..], &moment, &16_u32.to_le_bytes(), &9_u32.to_le_bytes()].concat();
    let mut point = [&[254, 72, 0, 0, 0][..], &moment, b"here"].concat();
    point.resize(5 + 72, 0);
    let records =
        [(1, 0, &commit), (1, 0x20, &commit), (1, 0xB0, &prepared), (0, 0x70, &point), (10, 0, &commit)];
    for (manager, info, data) in records {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(((HEADER_BYTES + data.len()) as u32).to_le_bytes());
        bytes.extend([9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, info, manager, 0, 0, 0, 0, 0, 0]);
        bytes.extend(data);
    }
    bytes.resize(2 * PAGE_BYTES, 0);
    summed(&bytes)
}
