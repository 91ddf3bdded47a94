//! How far what removed members wrote counts, of objects that no session and no root names: evidence, and
//! logs of databases.
//!
//! A root says it. On purpose not here: who was removed, and what of sessions counts.

use crate::error::FormatError;
use crate::id::MemberId;
use crate::wire::{Reader, Writer};

/// How far what removed members wrote counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CutOffs {
    /// Those whom it is about; of others that were removed everything counts.
    pub members: Vec<CutOff>,
    /// What of logs was seen to be there and to count, whoever wrote it; what they wrote beside it does not.
    /// Without it all they wrote of logs counts.
    pub log: Option<Vec<KnownLog>>,
}

/// How far the evidence of one member counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff {
    /// Who was removed.
    pub member: MemberId,
    /// Records from this number on do not count.
    pub records: u64,
    /// BLAKE3-256 of the whole record before it; zeros where there was none.
    pub last: [u8; 32],
}

/// What was seen of one timeline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownLog {
    /// System and timeline, as in the names of segments.
    pub timeline: String,
    /// Whole segments, from one to another.
    pub ranges: Vec<(String, String)>,
    /// Other files, and segments in pieces: 0 for the file itself, else how many pieces from the first on.
    pub others: Vec<(String, u32)>,
}

/// Encodes cut-offs: members (count 4, then each: member 16, records 8, hash 32), flag, and if it is set logs.
pub(crate) fn encode_cutoffs(cutoffs: &CutOffs) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.count(cutoffs.members.len());
    for cut in &cutoffs.members {
        writer.raw(cut.member.bytes());
        writer.u64(cut.records);
        writer.raw(&cut.last);
    }
    writer.u8(u8::from(cutoffs.log.is_some()));
    if let Some(log) = &cutoffs.log {
        writer.count(log.len());
        log.iter().for_each(|known| known.encode(&mut writer));
    }
    writer.into_vec()
}

/// Reads what [`encode_cutoffs`] wrote.
pub(crate) fn decode_cutoffs(bytes: &[u8]) -> Result<CutOffs, FormatError> {
    let mut reader = Reader::new(bytes);
    let mut cutoffs = CutOffs::default();
    for _ in 0..reader.count(16 + 8 + 32)? {
        cutoffs.members.push(CutOff {
            member: MemberId(reader.array()?),
            records: reader.u64()?,
            last: reader.array()?,
        });
    }
    if reader.flag("the known log")? {
        let mut log = Vec::new();
        for _ in 0..reader.count(2 + 4 + 4)? {
            log.push(KnownLog::decode(&mut reader)?);
        }
        cutoffs.log = Some(log);
    }
    reader.end()?;
    Ok(cutoffs)
}

impl KnownLog {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes16(self.timeline.as_bytes());
        writer.count(self.ranges.len());
        for (first, last) in &self.ranges {
            writer.bytes16(first.as_bytes());
            writer.bytes16(last.as_bytes());
        }
        writer.count(self.others.len());
        for (file, pieces) in &self.others {
            writer.bytes16(file.as_bytes());
            writer.u32(*pieces);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let mut known = Self { timeline: reader.text16("a timeline")?, ..Self::default() };
        for _ in 0..reader.count(4)? {
            known.ranges.push((reader.text16("a log segment")?, reader.text16("a log segment")?));
        }
        for _ in 0..reader.count(6)? {
            known.others.push((reader.text16("a file of a log")?, reader.u32()?));
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn cutoffs_come_back_and_nothing_shorter_does() {
        let known = KnownLog {
            timeline: "t".into(),
            ranges: vec![("a".into(), "c".into()), ("e".into(), "e".into())],
            others: vec![("h".into(), 0), ("p".into(), 3)],
        };
        let members = vec![CutOff { member: MemberId([1; 16]), records: 4, last: [2; 32] }];
        for log in [None, Some(vec![]), Some(vec![known])] {
            let cutoffs = CutOffs { members: members.clone(), log };
            let bytes = encode_cutoffs(&cutoffs);
            assert_eq!(decode_cutoffs(&bytes).unwrap(), cutoffs);
            assert!((0..bytes.len()).all(|length| decode_cutoffs(&bytes[..length]).is_err()));
        }
    }
}
