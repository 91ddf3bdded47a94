//! What a run was told to leave out, as the snapshot keeps it: its source record.
//!
//! Whoever restores over a tree and deletes what the snapshot does not have must know what was
//! never meant to be in it. Backups of buckets keep the same record. On purpose not here: matching.

use crate::Excludes;
use crate::source::FileSourceOptions;
use std::path::PathBuf;

/// First words of a record.
const MARK: &str = "files 1";
/// Longer records are not kept, in bytes.
const RECORD_BYTES_MAX: usize = 48 << 10;

/// What a backup of files was told to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Patterns, as they were stated.
    pub patterns: Vec<String>,
    /// Patterns whose case does not matter.
    pub ipatterns: Vec<String>,
    /// Files larger than so many bytes.
    pub larger_than: Option<u64>,
    /// Names of files whose folders were left out but for them.
    pub tags: Vec<String>,
    /// What lies on other file systems, but for stated paths on them.
    pub other_file_systems: bool,
}

impl LeftOut {
    /// What patterns and a length leave out.
    #[must_use]
    pub fn new(excludes: &Excludes, larger_than: Option<u64>) -> Self {
        let (patterns, ipatterns) = excludes.stated();
        let (patterns, ipatterns) = (patterns.to_vec(), ipatterns.to_vec());
        Self { patterns, ipatterns, larger_than, ..Self::default() }
    }

    pub(crate) fn of(options: &FileSourceOptions) -> Self {
        let name = |tag: &String| tag.split(':').next().unwrap_or_default().to_owned();
        let mut tags: Vec<String> = options.exclude_if_present.iter().map(name).collect();
        if options.exclude_caches {
            tags.push("CACHEDIR.TAG".to_owned());
        }
        // Where nothing of another file system was stated, its mount point is an empty folder and says so
        // by itself.
        let is_nested =
            |path: &PathBuf| options.paths.iter().any(|above| above != path && path.starts_with(above));
        let other_file_systems = options.one_file_system && options.paths.iter().any(is_nested);
        let others = Self::new(&options.excludes, options.exclude_larger_than);
        Self { tags, other_file_systems, ..others }
    }

    /// Fields as a word and a value, each ended by 0x00, after the mark; empty if that would be
    /// too long, or a value holds a 0x00.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = vec![(MARK, String::new())];
        fields.extend(self.patterns.iter().map(|text| ("exclude", text.clone())));
        fields.extend(self.ipatterns.iter().map(|text| ("iexclude", text.clone())));
        fields.extend(self.larger_than.map(|bytes| ("larger-than", bytes.to_string())));
        fields.extend(self.tags.iter().map(|text| ("tag", text.clone())));
        fields.extend(self.other_file_systems.then(|| ("other-file-systems", String::new())));
        if fields.iter().any(|(_, value)| value.contains('\0')) {
            return Vec::new();
        }
        let text: String = fields.iter().map(|(word, value)| format!("{word}\0{value}\0")).collect();
        if text.len() > RECORD_BYTES_MAX { Vec::new() } else { text.into_bytes() }
    }

    /// Reads a record; `None` if it does not say what was left out. Words of later versions are
    /// not known, so that a record with one says too little, too.
    #[must_use]
    pub fn decode(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?.strip_prefix(MARK)?.strip_prefix("\0\0")?;
        let mut left_out = Self::default();
        let mut fields = text.split_terminator('\0');
        while let Some(word) = fields.next() {
            let value = fields.next()?.to_owned();
            match word {
                "exclude" => left_out.patterns.push(value),
                "iexclude" => left_out.ipatterns.push(value),
                "larger-than" => left_out.larger_than = Some(value.parse().ok()?),
                "tag" => left_out.tags.push(value),
                "other-file-systems" => left_out.other_file_systems = true,
                _ => return None,
            }
        }
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Excludes;

    #[test]
    fn a_record_comes_back() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let excludes = Excludes::new(&texts(&["*.tmp", "/a b/\u{e9}"]), &texts(&["Thumbs.db"])).unwrap();
        let options = FileSourceOptions {
            excludes,
            exclude_caches: true,
            exclude_if_present: texts(&[".nobackup:text"]),
            exclude_larger_than: Some(5),
            one_file_system: true,
            paths: vec!["/".into(), "/srv/www".into()],
            ..FileSourceOptions::default()
        };
        let left_out = LeftOut::of(&options);
        assert_eq!(left_out.tags, [".nobackup", "CACHEDIR.TAG"]);
        assert!(left_out.other_file_systems);
        let apart = FileSourceOptions { paths: vec!["/a".into(), "/ab".into()], ..options };
        assert!(!LeftOut::of(&apart).other_file_systems);
        assert_eq!(LeftOut::decode(&left_out.encode()), Some(left_out));
        let nothing = LeftOut::default();
        assert_eq!(LeftOut::decode(&nothing.encode()), Some(nothing));
    }

    #[test]
    fn what_says_too_little_is_none() {
        for record in [&b""[..], b"files 2\0\0", b"files 1\0\0later\0x\0", b"files 1\0\0exclude", b"\xff"] {
            assert_eq!(LeftOut::decode(record), None, "{record:?}");
        }
        let long = LeftOut { patterns: vec!["x".repeat(50_000)], ..LeftOut::default() };
        assert_eq!(long.encode(), b"");
    }
}
