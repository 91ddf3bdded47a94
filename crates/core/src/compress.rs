//! zstd with limits: what is compressed fits memory, what is decompressed has a stated size.
//!
//! On purpose not here: which level; the caller chooses. Readers need none.

use crate::error::FormatError;

/// Longest plaintext of a chunk in bytes, of any kind.
pub const PLAINTEXT_BYTES_MAX: usize = 8 << 20;
/// Most bytes that one block of a frame gives (RFC 8878, 3.1.1.2.4).
const BLOCK_BYTES_MAX: u64 = 128 << 10;
/// Fewest bytes that such a block takes in its frame: its header.
const BLOCK_FRAME_BYTES_MIN: usize = 3;
/// Default level.
pub const LEVEL_DEFAULT: i32 = 3;

/// Compresses chunks, one at a time; reusing it saves its tables.
pub struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// Prepares a level of zstd.
    ///
    /// # Panics
    /// The level does not exist or memory is exhausted: the caller checks levels.
    #[must_use]
    pub fn new(level: i32) -> Self {
        let context = zstd::bulk::Compressor::new(level).expect("a level that zstd knows");
        Self { context, buffer: Vec::new() }
    }

    /// Returns the frame, or nothing where it would save less than 3 %: such chunks are stored raw.
    pub fn compress(&mut self, plaintext: &[u8]) -> Option<&[u8]> {
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(plaintext.len()));
        let length = self.context.compress_to_buffer(plaintext, &mut self.buffer).ok()?;
        (length < plaintext.len() - plaintext.len() / 32).then_some(&self.buffer[..length])
    }
}

/// Decompresses chunks, one at a time.
pub struct Decompressor {
    context: zstd::bulk::Decompressor<'static>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// Prepares.
    ///
    /// # Panics
    /// Memory is exhausted.
    #[must_use]
    pub fn new() -> Self {
        Self { context: zstd::bulk::Decompressor::new().expect("memory for a decompressor") }
    }

    /// Replaces what is in `out` by the plaintext of a frame, which states its length.
    ///
    /// # Errors
    /// It is no frame, states no length, states more than `max` bytes, or does not decompress.
    pub fn decompress(&mut self, frame: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let stated = zstd::zstd_safe::get_frame_content_size(frame)
            .ok()
            .flatten()
            .ok_or(FormatError::Malformed("a compressed frame"))?;
        if stated > max as u64 {
            return Err(FormatError::TooLong("a compressed frame"));
        }
        // Memory is taken for what the frame can hold, not for what it says.
        if stated > (frame.len() / BLOCK_FRAME_BYTES_MIN) as u64 * BLOCK_BYTES_MAX {
            return Err(FormatError::Malformed("a compressed frame"));
        }
        out.clear();
        out.try_reserve_exact(stated as usize).map_err(|_| FormatError::TooLong("a compressed frame"))?;
        let length = self
            .context
            .decompress_to_buffer(frame, out)
            .map_err(|_| FormatError::Malformed("a compressed frame"))?;
        if length as u64 == stated { Ok(()) } else { Err(FormatError::Malformed("a compressed frame")) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn what_does_not_shrink_is_left_raw() {
        let mut noise = vec![0u8; 10_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(Compressor::new(3).compress(&noise).is_none());
        assert!(Compressor::new(3).compress(&[]).is_none());
    }

    #[test]
    fn a_frame_that_states_too_much_is_refused_before_memory_is_taken() {
        let plaintext = vec![7u8; 100_000];
        let mut compressor = Compressor::new(3);
        let frame = compressor.compress(&plaintext).unwrap().to_vec();
        let mut out = Vec::new();
        Decompressor::new().decompress(&frame, 100_000, &mut out).unwrap();
        assert_eq!(out, plaintext);
        let refused = Decompressor::new().decompress(&frame, 99_999, &mut out);
        assert_eq!(refused, Err(FormatError::TooLong("a compressed frame")));
        assert!(Decompressor::new().decompress(&frame[..20], 100_000, &mut out).is_err());
        assert!(Decompressor::new().decompress(b"not a frame", 100_000, &mut out).is_err());
        // A short frame that states 417 MiB, found by fuzzing.
        let bomb = b"\x28\xb5\x2f\xfd\xa7\x4a\x1a\x1a\x1a\x1a\x1a\x1a\x1a\xb5\x8e\x7f\x0f\xd5\xdd\xd2\x12";
        let mut out = Vec::new();
        let refused = Decompressor::new().decompress(bomb, 1 << 30, &mut out);
        assert_eq!((refused, out.capacity()), (Err(FormatError::Malformed("a compressed frame")), 0));
    }
}
