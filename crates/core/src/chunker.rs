//! Content-defined chunking of large files, and where bundles of small files close.
//!
//! A keyed Gear hash (Xia et al., FastCDC, USENIX ATC 2016) with normalised chunking: a cut is
//! unlikely before the normal size and likely after it. A cut depends only on the 64 bytes
//! before it and on the distance from the cut before, never on how the caller's buffers fall.
//!
//! On purpose not here: reading, and what becomes of the chunks.

use crate::crypto::{Secret, derive, keyed_hash};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// No chunk but the last of a file is shorter, in bytes.
pub const CHUNK_BYTES_MIN: usize = 256 << 10;
/// Up to here a cut is unlikely, after it likely, in bytes.
pub const CHUNK_BYTES_NORMAL: usize = 1 << 20;
/// No chunk is longer, in bytes.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// 22 high bits: one cut in 4 MiB.
const MASK_HARD: u64 = !0 << (64 - 22);
/// 18 high bits: one cut in 256 KiB.
const MASK_EASY: u64 = !0 << (64 - 18);
/// The hash forgets what lies further back.
const WINDOW_BYTES: usize = 64;

/// The secret table that decides where cuts fall; wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct GearTable(Box<[u64; 256]>);

impl std::fmt::Debug for GearTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GearTable([redacted])")
    }
}

impl GearTable {
    /// Derives the table from the chunker key: entry b is the first 8 bytes of the keyed hash of b.
    #[must_use]
    pub fn new(k_cdc: &Secret) -> Self {
        let key = derive("holdfast 1 gear table", &[k_cdc.expose()]);
        let mut table = Box::new([0; 256]);
        for (byte, entry) in table.iter_mut().enumerate() {
            *entry = first_u64(&keyed_hash(&key, &[byte as u8]));
        }
        Self(table)
    }
}

/// Finds the cuts of one file.
#[derive(Debug)]
pub struct Chunker<'a> {
    table: &'a GearTable,
    hash: u64,
    /// Bytes since the last cut.
    length: usize,
}

impl<'a> Chunker<'a> {
    /// Starts at the front of a file.
    #[must_use]
    pub const fn new(table: &'a GearTable) -> Self {
        Self { table, hash: 0, length: 0 }
    }

    /// Takes the next bytes of the file; returns how many of them end the current chunk. Then
    /// the rest is to be given again. `None` takes all of them.
    pub fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = (CHUNK_BYTES_MIN - WINDOW_BYTES).saturating_sub(self.length).min(bytes.len());
        // Below the minimum the hash only warms up.
        at += self.warm(&bytes[at..], CHUNK_BYTES_MIN.saturating_sub(self.length + at));
        let hard_end = CHUNK_BYTES_NORMAL.saturating_sub(self.length).clamp(at, bytes.len());
        let easy_end = CHUNK_BYTES_MAX.saturating_sub(self.length).clamp(hard_end, bytes.len());
        let found = self
            .scan(&bytes[at..hard_end], MASK_HARD)
            .map(|n| at + n)
            .or_else(|| self.scan(&bytes[hard_end..easy_end], MASK_EASY).map(|n| hard_end + n))
            .or_else(|| (self.length + easy_end == CHUNK_BYTES_MAX).then_some(easy_end));
        match found {
            Some(_) => (self.hash, self.length) = (0, 0),
            None => self.length += bytes.len(),
        }
        found
    }

    fn warm(&mut self, bytes: &[u8], count: usize) -> usize {
        let count = count.min(bytes.len());
        for &byte in &bytes[..count] {
            self.hash = (self.hash << 1).wrapping_add(self.table.0[usize::from(byte)]);
        }
        count
    }

    fn scan(&mut self, bytes: &[u8], mask: u64) -> Option<usize> {
        let table = &*self.table.0;
        let mut hash = self.hash;
        // Two bytes a step: both hashes are tested with one branch each, but the second does
        // not wait for the first.
        let mut pairs = bytes.chunks_exact(2);
        let mut at = 0;
        for pair in &mut pairs {
            let first = (hash << 1).wrapping_add(table[usize::from(pair[0])]);
            let shifted = table[usize::from(pair[0])] << 1;
            hash = (hash << 2).wrapping_add(shifted).wrapping_add(table[usize::from(pair[1])]);
            if first & mask == 0 {
                return Some(at + 1);
            }
            if hash & mask == 0 {
                return Some(at + 2);
            }
            at += 2;
        }
        for &byte in pairs.remainder() {
            hash = (hash << 1).wrapping_add(table[usize::from(byte)]);
            at += 1;
            if hash & mask == 0 {
                return Some(at);
            }
        }
        self.hash = hash;
        None
    }
}

/// No bundle but the last is shorter, in bytes.
pub const BUNDLE_BYTES_MIN: usize = 256 << 10;
/// A bundle of this size is closed, in bytes; one file of up to 128 KiB may lie across.
pub const BUNDLE_BYTES_MAX: usize = 2 << 20;
/// Bytes between the minimum and the close on average.
const BUNDLE_BYTES_SPREAD: u64 = 512 << 10;

/// Decides where bundles close: by the contents alone, so that the same files in the same order
/// make the same bundles on every host.
#[derive(Debug, Clone)]
pub struct BundleRule(Secret);

impl BundleRule {
    /// Derives the rule from the chunker key.
    #[must_use]
    pub fn new(k_cdc: &Secret) -> Self {
        Self(derive("holdfast 1 bundle close", &[k_cdc.expose()]))
    }

    /// Tells whether a bundle of `bundle_bytes` closes after a file with this digest and size:
    /// large files close more often, so that the chance is even over the bytes.
    #[must_use]
    pub fn closes(&self, bundle_bytes: usize, digest: &[u8; 32], file_bytes: usize) -> bool {
        if bundle_bytes < BUNDLE_BYTES_MIN {
            return false;
        }
        bundle_bytes >= BUNDLE_BYTES_MAX
            || chance(&keyed_hash(&self.0, digest), file_bytes as u64, BUNDLE_BYTES_SPREAD)
    }
}

/// Tells whether a uniform hash falls into the share `part / whole`.
#[must_use]
pub(crate) fn chance(hash: &[u8; 32], part: u64, whole: u64) -> bool {
    let share = u128::from(part) * (1 << 64) / u128::from(whole);
    u128::from(first_u64(hash)) < share
}

fn first_u64(hash: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use proptest::prelude::*;

    fn table() -> GearTable {
        GearTable::new(&Secret::new([5; 32]))
    }

    fn noise(length: usize, seed: u8) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        bytes
    }

    /// Lengths of all chunks, with the bytes given in pieces of the stated sizes.
    fn cuts(bytes: &[u8], mut piece: impl FnMut() -> usize) -> Vec<usize> {
        let table = table();
        let mut chunker = Chunker::new(&table);
        let (mut lengths, mut length, mut at) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            let end = (at + piece().max(1)).min(bytes.len());
            if let Some(cut) = chunker.cut(&bytes[at..end]) {
                lengths.push(length + cut);
                (length, at) = (0, at + cut);
            } else {
                length += end - at;
                at = end;
            }
        }
        if length > 0 {
            lengths.push(length);
        }
        lengths
    }

    /// The definition, one byte at a time.
    fn cuts_by_definition(bytes: &[u8]) -> Vec<usize> {
        let table = table();
        let (mut lengths, mut start) = (Vec::new(), 0);
        while start < bytes.len() {
            let mut hash = 0u64;
            let mut end = start;
            loop {
                if end == bytes.len() || end - start == CHUNK_BYTES_MAX {
                    break;
                }
                let length = end - start;
                if length >= CHUNK_BYTES_MIN - WINDOW_BYTES {
                    hash = (hash << 1).wrapping_add(table.0[usize::from(bytes[end])]);
                }
                end += 1;
                let mask = if length < CHUNK_BYTES_NORMAL { MASK_HARD } else { MASK_EASY };
                if length >= CHUNK_BYTES_MIN && hash & mask == 0 {
                    break;
                }
            }
            lengths.push(end - start);
            start = end;
        }
        lengths
    }

    #[test]
    fn the_fast_scan_cuts_as_the_definition_says() {
        let bytes = noise(40 << 20, 1);
        let lengths = cuts(&bytes, || 1 << 20);
        assert_eq!(lengths, cuts_by_definition(&bytes));
        let average = bytes.len() / lengths.len();
        assert!((700_000..1_800_000).contains(&average), "average {average}");
    }

    #[test]
    fn limits_hold_for_the_dullest_content() {
        for byte in [0u8, 0xff] {
            let lengths = cuts(&vec![byte; 21 << 20], || 700_001);
            let (last, rest) = lengths.split_last().unwrap();
            assert!(rest.iter().all(|length| (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(length)));
            assert!(*last <= CHUNK_BYTES_MAX);
        }
    }

    #[test]
    fn an_insertion_moves_only_nearby_cuts() {
        let before = noise(32 << 20, 2);
        let mut after = before.clone();
        after.splice(10_000_000..10_000_000, *b"inserted");
        let ends = |bytes: &[u8]| {
            let mut end = 0;
            cuts(bytes, || 1 << 20)
                .into_iter()
                .map(|length| {
                    end += length;
                    end
                })
                .collect::<Vec<_>>()
        };
        let (old, new) = (ends(&before), ends(&after));
        let kept =
            old.iter().filter(|&&end| new.contains(&if end > 10_000_000 { end + 8 } else { end })).count();
        assert!(kept + 4 >= old.len(), "{kept} of {} cuts are kept", old.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cuts_do_not_depend_on_buffer_sizes(sizes in prop::collection::vec(1usize..3_000_000, 1..20), seed in 0u8..4) {
            let bytes = noise(9 << 20, seed);
            let mut next = sizes.iter().cycle().copied();
            prop_assert_eq!(cuts(&bytes, || next.next().unwrap_or(1)), cuts(&bytes, || 9 << 20));
        }
    }

    #[test]
    fn bundles_close_by_content_near_768_kib() {
        let rule = BundleRule::new(&Secret::new([3; 32]));
        let (mut bundles, mut length, mut total) = (0u32, 0, 0);
        for file in 0u32..200_000 {
            length += 5_000;
            total += 5_000;
            if rule.closes(length, blake3::hash(&file.to_le_bytes()).as_bytes(), 5_000) {
                assert!((BUNDLE_BYTES_MIN..=BUNDLE_BYTES_MAX + 5_000).contains(&length));
                bundles += 1;
                length = 0;
            }
        }
        let average = total / bundles;
        assert!((650_000..850_000).contains(&average), "average {average}");
    }
}
