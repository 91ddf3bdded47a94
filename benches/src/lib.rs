//! What the benchmarks share: bytes that look like what people back up, the same in every run;
//! and how whole programs are run, measured and compared.
//!
//! On purpose not here: anything of the engine, which only the benchmark of the index uses, and real
//! randomness.

pub mod measure;
pub mod report;
pub mod tool;
pub mod tree;

use std::io::Write;

/// A generator of bytes whose whole state is its seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// Starts from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns the next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    /// Returns bytes that do not compress.
    #[must_use]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Returns bytes that compress about four to one, as source code does.
    #[must_use]
    pub fn text(&mut self, count: usize) -> Vec<u8> {
        const WORDS: [&str; 24] = [
            "fn", "let", "mut", "self", "return", "match", "if", "else", "for", "in", "struct", "impl",
            "pub", "chunk", "offset", "length", "snapshot", "->", "=", "{", "}", "(", ")", ";",
        ];
        let mut text = Vec::with_capacity(count + 64);
        while text.len() < count {
            let number = self.next_u64();
            let word = WORDS[(number % WORDS.len() as u64) as usize];
            match number >> 32 & 15 {
                0 => writeln!(text, "{word}"),
                1 => write!(text, "{word}_{:x} ", number >> 48),
                _ => write!(text, "{word} "),
            }
            .expect("a vector takes every write");
        }
        text.truncate(count);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_of_the_length_asked_for() {
        assert_eq!(Noise::new(7).bytes(1001), Noise::new(7).bytes(1001));
        assert_ne!(Noise::new(7).bytes(1001), Noise::new(8).bytes(1001));
        assert_eq!(Noise::new(7).text(1001).len(), 1001);
        assert!(Noise::new(7).text(1001).is_ascii());
    }
}
