//! CRC-32C, which each record of the log carries.
//!
//! On purpose not here: anything faster than tables; a plan reads some segments, not the archive.

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// For a byte that so many others follow.
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The sum of bytes that come in parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc(u32);

impl Crc {
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    pub(super) fn add(mut self, bytes: &[u8]) -> Self {
        let mut blocks = bytes.chunks_exact(8);
        for block in &mut blocks {
            let low = self.0.to_le_bytes();
            self.0 = block.iter().enumerate().fold(0, |sum, (at, byte)| {
                let byte = if at < 4 { byte ^ low[at] } else { *byte };
                sum ^ TABLES[7 - at][usize::from(byte)]
            });
        }
        for byte in blocks.remainder() {
            self.0 = (self.0 >> 8) ^ TABLES[0][usize::from(byte ^ self.0.to_le_bytes()[0])];
        }
        self
    }

    pub(super) const fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(Crc::new().add(b"123456789").value(), 0xE306_9283);
        assert_eq!(Crc::new().add(&[0; 32]).value(), 0x8A91_36AA);
        assert_eq!(Crc::new().add(&[0xFF; 32]).value(), 0x62A8_AB43);
        let text: Vec<u8> = (0..=255).collect();
        for cut in 0..=text.len() {
            let parts = Crc::new().add(&text[..cut]).add(&text[cut..]);
            assert_eq!(parts.value(), Crc::new().add(&text).value());
        }
    }
}
