//! Where rows lie in the local copy of a segment: three tables of rows of fixed width, in blocks
//! that each have a hash, so that one row is read without the others and never believed unverified.
//!
//! ```text
//! blocks of 16 KiB: sessions, packs, chunks; no row crosses a block, the rest of it is zeros
//! footer: what the first row of each block is, and a hash of each block
//! trailer: whose copy it is, how many rows there are, a hash over footer and trailer
//! ```
//! On purpose not here: reading and writing.

use holdfast_core::index::{ChunkRow, PackRow};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::PackId;

/// Length of a block in bytes: a look-up reads one.
pub(super) const BLOCK_BYTES: usize = 16 << 10;
/// Bytes of the footer for each session: its member and itself.
pub(super) const SESSION_MARK_BYTES: usize = 32;
/// Bytes of the footer for each block of packs: the front of its first row.
pub(super) const PACK_MARK_BYTES: usize = 9;
/// Bytes of the footer for each block of chunks: the front of its first key.
pub(super) const CHUNK_MARK_BYTES: usize = 8;
/// Bytes of the footer for each block: the front of its hash.
pub(super) const HASH_BYTES: usize = 8;

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Sessions,
    Packs,
    Chunks,
}

impl Table {
    /// Length of a row in bytes.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Sessions => SessionRow::SIZE_MAX,
            Self::Packs => PackRow::SIZE,
            Self::Chunks => ChunkRow::SIZE,
        }
    }

    /// Rows that fit into a block.
    pub(super) const fn rows_a_block(self) -> u64 {
        (BLOCK_BYTES / self.width()) as u64
    }
}

/// How many rows each table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub sessions: u64,
    pub packs: u64,
    pub chunks: u64,
}

impl Counts {
    pub(super) const fn of(&self, table: Table) -> u64 {
        match table {
            Table::Sessions => self.sessions,
            Table::Packs => self.packs,
            Table::Chunks => self.chunks,
        }
    }

    pub(super) const fn blocks(&self, table: Table) -> u64 {
        self.of(table).div_ceil(table.rows_a_block())
    }

    /// The first block of a table.
    pub(super) const fn first_block(&self, table: Table) -> u64 {
        match table {
            Table::Sessions => 0,
            Table::Packs => self.blocks(Table::Sessions),
            Table::Chunks => self.blocks(Table::Sessions) + self.blocks(Table::Packs),
        }
    }

    pub(super) const fn all_blocks(&self) -> u64 {
        self.first_block(Table::Chunks) + self.blocks(Table::Chunks)
    }

    pub(super) const fn footer_bytes(&self) -> u64 {
        self.sessions * SESSION_MARK_BYTES as u64
            + self.blocks(Table::Packs) * PACK_MARK_BYTES as u64
            + self.blocks(Table::Chunks) * CHUNK_MARK_BYTES as u64
            + self.all_blocks() * HASH_BYTES as u64
    }

    /// The block that holds a row, and where in it the row begins.
    pub(super) const fn place(&self, table: Table, row: u64) -> (u64, usize) {
        let block = self.first_block(table) + row / table.rows_a_block();
        (block, (row % table.rows_a_block()) as usize * table.width())
    }

    /// Rows in a block of a table, counted from the table's first.
    pub(super) fn rows_in(&self, table: Table, block: u64) -> usize {
        let before = block * table.rows_a_block();
        self.of(table).saturating_sub(before).min(table.rows_a_block()) as usize
    }
}

/// What pack rows are sorted by: row of the session, class, ordinal, so that the bytes compare as
/// encoded identifiers of packs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackMark(pub [u8; PACK_MARK_BYTES]);

impl PackMark {
    pub(super) fn new(session: u32, id: &PackId) -> Self {
        let mut bytes = [0; PACK_MARK_BYTES];
        bytes[..4].copy_from_slice(&session.to_be_bytes());
        bytes[4] = id.class as u8;
        bytes[5..].copy_from_slice(&id.ordinal.to_le_bytes());
        Self(bytes)
    }

    /// The first that packs of a session may have.
    pub(super) const fn first_of(session: u32) -> Self {
        let [a, b, c, d] = session.to_be_bytes();
        Self([a, b, c, d, 0, 0, 0, 0, 0])
    }

    /// Reads it off the front of a pack row.
    pub(super) fn of_row(row: &[u8]) -> Self {
        let mut bytes = [0; PACK_MARK_BYTES];
        bytes.copy_from_slice(&row[..PACK_MARK_BYTES]);
        bytes[..4].reverse();
        Self(bytes)
    }
}

/// The front of a chunk's key, as a number that compares as keys do.
pub(super) fn front(key: &[u8]) -> u64 {
    let mut front = [0; CHUNK_MARK_BYTES];
    front.copy_from_slice(&key[..CHUNK_MARK_BYTES]);
    u64::from_be_bytes(front)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::id::{MemberId, SessionId};
    use holdfast_core::name::PackClass;
    use holdfast_core::wire::Writer;

    #[test]
    fn rows_lie_in_blocks_one_after_the_other() {
        let counts = Counts { sessions: 7, packs: 310, chunks: 409 };
        assert_eq!([Table::Sessions, Table::Packs, Table::Chunks].map(Table::rows_a_block), [6, 309, 409]);
        assert_eq!(counts.all_blocks(), 2 + 2 + 1);
        assert_eq!(counts.place(Table::Sessions, 6), (1, 0));
        assert_eq!(counts.place(Table::Packs, 308), (2, 308 * 53));
        assert_eq!(counts.place(Table::Packs, 309), (3, 0));
        assert_eq!(counts.place(Table::Chunks, 1), (4, 40));
        assert_eq!([0, 1, 2].map(|block| counts.rows_in(Table::Packs, block)), [309, 1, 0]);
        assert_eq!(Counts::default().all_blocks(), 0);
    }

    #[test]
    fn a_hundred_million_chunks_keep_four_mib() {
        let counts = Counts { sessions: 1000, packs: 2_000_000, chunks: 100_000_000 };
        assert!(counts.footer_bytes() < (4 << 20) + (4 << 10), "{}", counts.footer_bytes());
    }

    #[test]
    fn marks_of_packs_compare_as_their_identifiers() {
        let id = |session: u8, class, ordinal| PackId {
            member: MemberId([1; 16]),
            session: SessionId([session; 16]),
            class,
            ordinal,
        };
        let mut ids: Vec<_> = [0, 1, 255, 256, 257, u32::MAX]
            .into_iter()
            .flat_map(|n| [(0, PackClass::Data, n), (0, PackClass::Tree, n), (1, PackClass::Data, n)])
            .collect();
        ids.sort_by_key(|&(session, class, ordinal)| id(session, class, ordinal).encode());
        let marks =
            ids.iter().map(|&(session, class, n)| PackMark::new(session.into(), &id(session, class, n)));
        assert!(marks.is_sorted_by(|a, b| a < b));
        let row = PackRow { id: id(1, PackClass::Tree, 77), size: 5, checksum: [6; 32], chunks: 1 };
        let mut writer = Writer::new();
        row.encode(0x0102_0304, &mut writer);
        let mark = PackMark::new(0x0102_0304, &row.id);
        assert_eq!(PackMark::of_row(writer.as_slice()), mark);
        assert!(PackMark::first_of(0x0102_0304) < mark && mark < PackMark::first_of(0x0102_0305));
    }
}
