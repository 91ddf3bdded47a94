//! Fixed-width little-endian encoding, with every length checked before it is used.
//!
//! On purpose not here: derived encodings. What is written is what FORMAT.md shows, byte for byte.

use crate::error::FormatError;

/// The high bit of a tag id: who does not know the tag must refuse the record.
pub const TAG_CRITICAL: u16 = 0x8000;
/// Longest value of one tag in bytes.
pub const TAG_BYTES_MAX: u32 = 16 << 20;

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Starts empty, with room for so many bytes: what stays below is never copied elsewhere while it grows.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Continues a buffer.
    #[must_use]
    pub const fn from_vec(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Returns the buffer.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns what was written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many bytes were written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Writes 2 bytes.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// Writes 4 bytes.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Writes 8 bytes.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Writes 8 bytes, two's complement.
    pub fn i64(&mut self, value: i64) {
        self.raw(&value.to_le_bytes());
    }

    /// Writes a count of items as 4 bytes.
    ///
    /// # Panics
    /// More than 2^32 items: the callers' own limits are far below.
    pub fn count(&mut self, items: usize) {
        self.u32(u32::try_from(items).expect("a count below 2^32"));
    }

    /// Writes a length of 4 bytes and the bytes.
    pub fn bytes32(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    /// Writes a length of 2 bytes and the bytes.
    ///
    /// # Panics
    /// More than 65,535 bytes: the callers' own limits are below.
    pub fn bytes16(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).expect("a length below 2^16"));
        self.raw(bytes);
    }

    /// Writes a tagged list: a count of 2 bytes, then {id 2, length 4, bytes} in ascending order of id.
    ///
    /// # Panics
    /// The ids do not ascend: a mistake of the caller.
    pub fn tags(&mut self, tags: &[Tag]) {
        self.tags_of(tags.iter().map(|tag| (tag.id, tag.bytes.as_slice())));
    }

    /// Writes a tagged list of values that lie elsewhere, as [`Writer::tags`] does.
    ///
    /// # Panics
    /// As [`Writer::tags`].
    pub fn tags_of<'a>(&mut self, tags: impl ExactSizeIterator<Item = (u16, &'a [u8])>) {
        self.u16(u16::try_from(tags.len()).expect("few tags"));
        let mut last = None;
        for (id, bytes) in tags {
            assert!(last < Some(id), "tags are written in ascending order");
            last = Some(id);
            self.u16(id);
            self.bytes32(bytes);
        }
    }
}

/// One element of a tagged list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag {
    /// What it is; the high bit says that it must be understood.
    pub id: u16,
    /// Its value.
    pub bytes: Vec<u8>,
}

/// Takes fields off a buffer.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns how many bytes are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (front, rest) = self.bytes.split_at_checked(count).ok_or(FormatError::Truncated)?;
        self.bytes = rest;
        Ok(front)
    }

    /// Takes `N` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (front, rest) = self.bytes.split_first_chunk::<N>().ok_or(FormatError::Truncated)?;
        self.bytes = rest;
        Ok(*front)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// None is left.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes 2 bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Takes 4 bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Takes 8 bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Takes 8 bytes, two's complement.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Takes a flag: 0 or 1.
    ///
    /// # Errors
    /// Nothing left, or another value.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, FormatError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FormatError::Malformed(what)),
        }
    }

    /// Takes a count of items that take at least `item_bytes_min` bytes each, so that a forged
    /// count cannot make the caller reserve more than the record's own length.
    ///
    /// # Errors
    /// The record cannot hold so many.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        if count > self.left() / item_bytes_min.max(1) {
            return Err(FormatError::Truncated);
        }
        Ok(count)
    }

    /// Takes a length of 4 bytes and so many bytes, `max` at most.
    ///
    /// # Errors
    /// Fewer are left, or the length is over the limit.
    pub fn bytes32(&mut self, what: &'static str, max: u32) -> Result<&'a [u8], FormatError> {
        let length = self.u32()?;
        if length > max {
            return Err(FormatError::TooLong(what));
        }
        self.raw(length as usize)
    }

    /// Takes a length of 2 bytes and so many bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn bytes16(&mut self) -> Result<&'a [u8], FormatError> {
        let length = self.u16()?;
        self.raw(usize::from(length))
    }

    /// Takes a text of a length of 2 bytes.
    ///
    /// # Errors
    /// Fewer bytes are left, or they are not UTF-8.
    pub fn text16(&mut self, what: &'static str) -> Result<String, FormatError> {
        let bytes = self.bytes16()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FormatError::Malformed(what))
    }

    /// Takes a tagged list; `known` lists the critical ids that the caller understands.
    ///
    /// # Errors
    /// The ids do not ascend, a value is too long, or an unknown tag is critical.
    pub fn tags(&mut self, record: &'static str, known: &[u16]) -> Result<Vec<Tag>, FormatError> {
        let tags = self.tags_in_place(record, known)?;
        Ok(tags.into_iter().map(|(id, bytes)| Tag { id, bytes: bytes.to_vec() }).collect())
    }

    /// Takes a tagged list whose values stay where they are, as [`Reader::tags`] does.
    ///
    /// # Errors
    /// As [`Reader::tags`].
    pub fn tags_in_place(
        &mut self,
        record: &'static str,
        known: &[u16],
    ) -> Result<Vec<(u16, &'a [u8])>, FormatError> {
        let count = usize::from(self.u16()?);
        let mut tags = Vec::new();
        let mut last = None;
        for _ in 0..count {
            let id = self.u16()?;
            if last >= Some(id) {
                return Err(FormatError::Malformed("the order of tags"));
            }
            last = Some(id);
            let bytes = self.bytes32("a tag", TAG_BYTES_MAX)?;
            if id & TAG_CRITICAL != 0 && !known.contains(&id) {
                return Err(FormatError::Newer(format!("{record} has the critical tag {id:#06x}")));
            }
            tags.push((id, bytes));
        }
        Ok(tags)
    }

    /// Ends the record.
    ///
    /// # Errors
    /// Bytes are left.
    pub const fn end(self) -> Result<(), FormatError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(FormatError::Trailing) }
    }
}

/// Removes and returns the value of a tag.
#[must_use]
pub fn take_tag(tags: &mut Vec<Tag>, id: u16) -> Option<Vec<u8>> {
    let at = tags.iter().position(|tag| tag.id == id)?;
    Some(tags.remove(at).bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn unknown_tags_are_kept_and_unknown_critical_ones_refused() {
        let mut writer = Writer::new();
        writer.tags(&[Tag { id: 3, bytes: vec![1] }, Tag { id: 0x8004, bytes: vec![] }]);
        let bytes = writer.into_vec();
        let tags = Reader::new(&bytes).tags("a record", &[0x8004]).unwrap();
        assert_eq!(tags.len(), 2);
        let refused = Reader::new(&bytes).tags("a record", &[]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "it needs a newer version of holdfast (a record has the critical tag 0x8004)"
        );
    }

    #[test]
    fn a_forged_count_or_length_reserves_nothing() {
        let bytes = [0xff; 8];
        assert_eq!(Reader::new(&bytes).count(1), Err(FormatError::Truncated));
        assert_eq!(Reader::new(&bytes).bytes32("x", 10), Err(FormatError::TooLong("x")));
        assert_eq!(Reader::new(&bytes).tags("x", &[]), Err(FormatError::TooLong("a tag")));
    }

    #[test]
    fn tags_out_of_order_or_twice_are_malformed() {
        for ids in [[2u16, 2], [3, 2]] {
            let mut writer = Writer::new();
            writer.u16(2);
            for id in ids {
                writer.u16(id);
                writer.bytes32(&[]);
            }
            let bytes = writer.into_vec();
            assert_eq!(Reader::new(&bytes).tags("x", &[]), Err(FormatError::Malformed("the order of tags")));
        }
    }
}
