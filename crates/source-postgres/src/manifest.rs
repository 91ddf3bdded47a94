//! The server's own list of the files of a backup, held against what came in.
//!
//! It is read line by line while it streams in, as its own checksum is defined by lines: memory
//! depends on the number of files, and then little. On purpose not here: files of the log, which
//! no manifest lists.

use crate::lsn::Lsn;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Longest line: a path and some fields.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Versions of the manifest that are known; 2 came with 17.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// Ranges of the log that are kept; a backup has one for each timeline that it saw.
const RANGES_MAX: usize = 1000;

/// Why the manifest and the files do not agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the backup's manifest cannot be understood: {0}")]
    Malformed(String),
    #[error("{0}: what came is not what the server read, by its own manifest; nothing was backed up")]
    Differs(String),
    #[error("{0} is in the server's manifest and never came; nothing was backed up")]
    Missing(String),
    #[error("{0} more files came than the server's manifest lists; nothing was backed up")]
    MoreFiles(usize),
    #[error("{0} came twice; nothing was backed up")]
    Twice(String),
}

fn malformed(what: impl Into<String>) -> ManifestError {
    ManifestError::Malformed(what.into())
}

/// The files that came, each in 32 bytes: hashes of its path, and of its length and content.
#[derive(Debug, Default)]
pub(crate) struct Files(HashMap<u128, u128>);

fn front(hash: blake3::Hash) -> u128 {
    let mut front = [0; 16];
    front.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(front)
}

fn seal(size: u64, sha256: &[u8; 32]) -> u128 {
    front(blake3::hash(&[&size.to_le_bytes()[..], sha256].concat()))
}

impl Files {
    /// Notes a file that came whole.
    pub(crate) fn note(&mut self, path: &[u8], size: u64, sha256: &[u8; 32]) -> Result<(), ManifestError> {
        match self.0.insert(front(blake3::hash(path)), seal(size, sha256)) {
            None => Ok(()),
            Some(_) => Err(ManifestError::Twice(shown(path))),
        }
    }

    /// Crosses a file off that the manifest lists.
    fn cross_off(&mut self, path: &[u8], size: u64, sha256: &[u8; 32]) -> Result<(), ManifestError> {
        match self.0.remove(&front(blake3::hash(path))) {
            Some(found) if found == seal(size, sha256) => Ok(()),
            Some(_) => Err(ManifestError::Differs(shown(path))),
            None => Err(ManifestError::Missing(shown(path))),
        }
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A part of the log that makes the files consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub timeline: u32,
    pub start: Lsn,
    pub end: Lsn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLine {
    #[serde(rename = "Path")]
    path: Option<String>,
    /// A path that is no UTF-8, in hexadecimal digits.
    #[serde(rename = "Encoded-Path")]
    encoded: Option<String>,
    #[serde(rename = "Size")]
    size: u64,
    #[serde(rename = "Last-Modified")]
    _modified: String,
    #[serde(rename = "Checksum-Algorithm")]
    algorithm: Option<String>,
    #[serde(rename = "Checksum")]
    checksum: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeLine {
    #[serde(rename = "Timeline")]
    timeline: u32,
    #[serde(rename = "Start-LSN")]
    start: String,
    #[serde(rename = "End-LSN")]
    end: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Version,
    /// After the version: who the cluster is, or its files.
    Before,
    Files,
    /// After the files.
    Between,
    Ranges,
    Checksum,
    Done,
}

/// Reads a manifest, and crosses off what it lists.
#[derive(Debug)]
pub(crate) struct Manifest {
    files: Files,
    line: Vec<u8>,
    hash: Sha256,
    stage: Stage,
    system: Option<u64>,
    ranges: Vec<Range>,
}

/// What a manifest states when all agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated {
    /// Who the cluster is; since 17.
    pub system: Option<u64>,
    pub ranges: Vec<Range>,
}

impl Manifest {
    pub(crate) fn new(files: Files) -> Self {
        let (line, ranges) = (Vec::new(), Vec::new());
        Self { files, line, hash: Sha256::new(), stage: Stage::Version, system: None, ranges }
    }

    /// Takes the next bytes of it.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Result<(), ManifestError> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            self.keep(line)?;
            let line = std::mem::take(&mut self.line);
            self.read(&line)?;
        }
        self.keep(bytes)
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), ManifestError> {
        if self.line.len() + part.len() > LINE_BYTES_MAX {
            return Err(malformed("a line of it is too long"));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn read(&mut self, line: &[u8]) -> Result<(), ManifestError> {
        let text = std::str::from_utf8(line).map_err(|_| malformed("it is no text"))?;
        let content = text.trim();
        if self.stage == Stage::Checksum {
            return self.read_checksum(content);
        }
        self.hash.update(line);
        let next = match self.stage {
            Stage::Version => {
                let version = field(content.strip_prefix('{'), "PostgreSQL-Backup-Manifest-Version", ",")?;
                if !version.parse().is_ok_and(|version| VERSIONS.contains(&version)) {
                    return Err(malformed(format!("its version is {version}: a newer holdfast may know it")));
                }
                Stage::Before
            }
            Stage::Before if content == "\"Files\": [" => Stage::Files,
            Stage::Before => {
                let system = field(Some(content), "System-Identifier", ",")?;
                self.system = Some(system.parse().map_err(|_| malformed("who the cluster is"))?);
                Stage::Before
            }
            Stage::Files if content == "]," => Stage::Between,
            Stage::Files => {
                self.read_file(content)?;
                Stage::Files
            }
            Stage::Between if content == "\"WAL-Ranges\": [" => Stage::Ranges,
            Stage::Ranges if content == "]," => Stage::Checksum,
            Stage::Ranges if self.ranges.len() < RANGES_MAX => {
                self.read_range(content)?;
                Stage::Ranges
            }
            Stage::Between | Stage::Ranges | Stage::Checksum | Stage::Done => {
                return Err(malformed("it has lines that do not belong there"));
            }
        };
        self.stage = next;
        Ok(())
    }

    fn read_file(&mut self, content: &str) -> Result<(), ManifestError> {
        let content = content.strip_suffix(',').unwrap_or(content);
        let line: FileLine =
            serde_json::from_str(content).map_err(|error| malformed(format!("a file: {error}")))?;
        let path = match (line.path, line.encoded) {
            (Some(path), None) => path.into_bytes(),
            (None, Some(encoded)) => unhex(&encoded).ok_or_else(|| malformed("an encoded path"))?,
            _ => return Err(malformed("a file without one path")),
        };
        let checksum = line.checksum.filter(|_| line.algorithm.as_deref() == Some("SHA256"));
        let checksum = checksum.and_then(|text| unhex(&text)).and_then(|bytes| bytes.try_into().ok());
        let checksum: [u8; 32] =
            checksum.ok_or_else(|| malformed(format!("{} has no SHA-256", shown(&path))))?;
        self.files.cross_off(&path, line.size, &checksum)
    }

    fn read_range(&mut self, content: &str) -> Result<(), ManifestError> {
        let content = content.strip_suffix(',').unwrap_or(content);
        let line: RangeLine = serde_json::from_str(content)
            .map_err(|error| malformed(format!("a range of the log: {error}")))?;
        let (start, end) = Lsn::parse(&line.start)
            .zip(Lsn::parse(&line.end))
            .ok_or_else(|| malformed("a range of the log"))?;
        self.ranges.push(Range { timeline: line.timeline, start, end });
        Ok(())
    }

    fn read_checksum(&mut self, content: &str) -> Result<(), ManifestError> {
        let stated = field(Some(content), "Manifest-Checksum", "}")?;
        let stated = stated.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(unhex);
        let found = std::mem::take(&mut self.hash).finalize();
        if stated.as_deref() != Some(&found[..]) {
            return Err(ManifestError::Differs("the manifest itself".to_owned()));
        }
        self.stage = Stage::Done;
        Ok(())
    }

    /// It has ended: everything that came was in it, and everything that is in it came.
    pub(crate) fn finish(mut self) -> Result<Stated, ManifestError> {
        // Its last line has a newline or none.
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.read(&line)?;
        }
        if self.stage != Stage::Done {
            return Err(malformed("it is cut off"));
        }
        match self.files.0.len() {
            0 => Ok(Stated { system: self.system, ranges: self.ranges }),
            more => Err(ManifestError::MoreFiles(more)),
        }
    }
}

/// The value of the one field that a line has.
fn field<'a>(content: Option<&'a str>, name: &str, end: &str) -> Result<&'a str, ManifestError> {
    let value = content.and_then(|content| {
        let rest = content.trim_start().strip_prefix('"')?.strip_prefix(name)?.strip_prefix("\":")?;
        rest.trim().strip_suffix(end)
    });
    value.map(str::trim).ok_or_else(|| malformed(format!("it has no {name} where one belongs")))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sha(content: &[u8]) -> [u8; 32] {
        Sha256::digest(content).into()
    }

    /// A manifest as servers write it.
    fn written(version: u32, files: &[(&str, &[u8])]) -> String {
        let line = |(path, content): &(&str, &[u8])| {
            let (size, sum) = (content.len(), hex(&sha(content)));
            format!(
                "{{ \"Path\": \"{path}\", \"Size\": {size}, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\", \
                 \"Checksum-Algorithm\": \"SHA256\", \"Checksum\": \"{sum}\" }}"
            )
        };
        let files: Vec<_> = files.iter().map(line).collect();
        let system = if version > 1 { "\"System-Identifier\": 77,\n" } else { "" };
        let text = format!(
            "{{ \"PostgreSQL-Backup-Manifest-Version\": {version},\n{system}\"Files\": [\n{}\n],\n\
             \"WAL-Ranges\": [\n{{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }}\n],\n",
            files.join(",\n")
        );
        let sum = hex(&sha(text.as_bytes()));
        format!("{text}\"Manifest-Checksum\": \"{sum}\"}}\n")
    }

    const TWO: [(&str, &[u8]); 2] = [("base/1/2", b"content"), ("global/pg_control", b"")];

    fn files(of: &[(&str, &[u8])]) -> Files {
        let mut files = Files::default();
        for (path, content) in of {
            files.note(path.as_bytes(), content.len() as u64, &sha(content)).unwrap();
        }
        files
    }

    fn check(came: &[(&str, &[u8])], text: &str, piece: usize) -> Result<Stated, ManifestError> {
        let mut manifest = Manifest::new(files(came));
        for piece in text.as_bytes().chunks(piece) {
            manifest.take(piece)?;
        }
        manifest.finish()
    }

    #[test]
    fn what_agrees_is_taken() {
        for (version, system) in [(1, None), (2, Some(77))] {
            let text = written(version, &TWO);
            for piece in [1, 13, 1 << 16] {
                let stated = check(&TWO, &text, piece).unwrap();
                assert_eq!(stated.system, system);
                let range = Range { timeline: 1, start: Lsn(0x0200_0028), end: Lsn(0x0200_0100) };
                assert_eq!(stated.ranges, [range]);
            }
            assert!(check(&TWO, text.trim_end(), 9).is_ok(), "without the last newline");
        }
    }

    #[test]
    fn each_difference_has_a_name() {
        let text = written(1, &TWO);
        let differs = |came: &[(&str, &[u8])]| check(came, &text, 100).unwrap_err();
        assert_eq!(differs(&TWO[..1]), ManifestError::Missing("global/pg_control".into()));
        assert_eq!(differs(&[("base/1/2", b"Content"), TWO[1]]), ManifestError::Differs("base/1/2".into()));
        assert_eq!(
            differs(&[TWO[0], ("global/pg_control", b"x")]),
            ManifestError::Differs("global/pg_control".into())
        );
        assert_eq!(differs(&[TWO[0], TWO[1], ("more", b"")]), ManifestError::MoreFiles(1));
        let mut twice = files(&TWO);
        assert!(matches!(twice.note(b"base/1/2", 0, &[0; 32]), Err(ManifestError::Twice(_))));
    }

    #[test]
    fn a_changed_or_cut_off_manifest_is_refused() {
        let text = written(2, &TWO);
        for at in 0..text.len() {
            assert!(check(&TWO, &text[..at], 64).is_err() || text[at..].trim().is_empty(), "cut off at {at}");
        }
        let changed = text.replace("0/2000100", "0/2000101");
        assert_eq!(check(&TWO, &changed, 64), Err(ManifestError::Differs("the manifest itself".into())));
        assert!(matches!(check(&TWO, &written(3, &TWO), 64), Err(ManifestError::Malformed(_))));
        assert!(check(&TWO, &format!("{text}x\n"), 64).is_err());
        assert!(check(&TWO, &text.replace("SHA256", "CRC32C"), 64).is_err());
        assert!(check(&[], &"x".repeat(LINE_BYTES_MAX + 1), 1000).is_err());
    }

    #[test]
    fn paths_that_are_no_text_are_encoded() {
        let odd = b"base/\xff";
        let text = written(1, &[("@", b"content")]);
        let text = text.replace("\"Path\": \"@\"", &format!("\"Encoded-Path\": \"{}\"", hex(odd)));
        let (body, _) = text.split_once("\"Manifest-Checksum\"").unwrap();
        let text = format!("{body}\"Manifest-Checksum\": \"{}\"}}\n", hex(&sha(body.as_bytes())));
        let mut came = Files::default();
        came.note(odd, 7, &sha(b"content")).unwrap();
        let mut manifest = Manifest::new(came);
        manifest.take(text.as_bytes()).unwrap();
        assert!(manifest.finish().is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0usize..400, byte in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut manifest = Manifest::new(files(&TWO));
            prop_assert!(manifest.take(&bytes).and_then(|()| manifest.finish()).is_err());
            let mut text = written(1, &TWO).into_bytes();
            let same = text[at] == byte;
            text[at] = byte;
            let mut manifest = Manifest::new(files(&TWO));
            prop_assert!(manifest.take(&text).and_then(|()| manifest.finish()).is_err() || same);
        }
    }
}
