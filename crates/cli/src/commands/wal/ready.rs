//! Files of a log on this machine that are to be stored: one that the server names, and those that
//! wait beside it.
//!
//! On purpose not here: storing them.

use super::local::{folder_of, kind_of, read_history, system_of_server, timeline_in};
use crate::engine::wal::{PIECE_BYTES_MAX, Timeline, WalFile};
use crate::fault::Fault;
use crate::wire_up::{BadSegment, PageHeader};
use bytes::Bytes;
use holdfast_core::entry::Time;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// So many others are taken along.
const OTHERS_MAX: usize = 8;
/// Files that are no segments are short.
const NOTE_BYTES_MAX: u64 = 1 << 20;
/// A header of a page.
const FRONT_BYTES: usize = 64;

/// A file of a log on this machine.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) path: PathBuf,
    /// Folder of the log.
    pub(super) log: PathBuf,
    pub(super) name: String,
    pub(super) kind: WalFile,
}

/// What is in one, read and found to be what its name says.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) system: u64,
    pub(super) length: u64,
    /// All of it, unless it is longer than an object.
    pub(super) bytes: Option<Bytes>,
    /// The timeline, if this machine can tell.
    pub(super) timeline: Option<Timeline>,
    /// When the server last wrote to it.
    pub(super) written: Option<Time>,
}

impl Ready {
    /// The file that a server named.
    pub(super) fn named(path: &Path) -> Result<Self, Fault> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let kind = kind_of(&name)?;
        let log = folder_of(path)?;
        Ok(Self { path: log.join(&name), log, name, kind })
    }

    /// Others that the server will name soon, as it would: histories first, then by age.
    pub(super) fn beside(&self) -> Vec<Self> {
        let Ok(entries) = self.log.join("archive_status").read_dir() else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut waiting: Vec<_> = names
            .filter_map(|name| {
                let name = name.strip_suffix(".ready")?.to_owned();
                let kind = WalFile::parse(&name).filter(|_| name != self.name)?;
                Some(Self { path: self.log.join(&name), log: self.log.clone(), name, kind })
            })
            .collect();
        waiting.sort_by_key(|ready| (!matches!(ready.kind, WalFile::History(_)), ready.name.clone()));
        waiting.truncate(OTHERS_MAX);
        waiting
    }

    /// Reads it, and refuses what is not what its name says. May wait for a disk.
    pub(super) fn read(&self) -> Result<Content, Fault> {
        match self.kind {
            WalFile::Segment(_) | WalFile::Partial(_) => self.read_segment(),
            WalFile::Backup(_) | WalFile::History(_) => self.read_note(),
        }
    }

    fn read_segment(&self) -> Result<Content, Fault> {
        let file = File::open(&self.path).map_err(|error| self.unread(&error))?;
        let metadata = file.metadata().map_err(|error| self.unread(&error))?;
        let (length, written) = (metadata.len(), written(&metadata));
        let mut front = vec![0; FRONT_BYTES.min(length as usize)];
        file.read_exact_at(&mut front, 0).map_err(|error| self.unread(&error))?;
        let header = PageHeader::parse(&front).map_err(|error| self.no_segment(&error))?;
        let bytes = if length <= PIECE_BYTES_MAX as u64 && length == header.segment_bytes {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, 0).map_err(|error| self.unread(&error))?;
            Some(Bytes::from(bytes))
        } else {
            None
        };
        // Of what was read, not of what was looked at before.
        let front = bytes.as_deref().unwrap_or(&front);
        if let Some(name) = self.kind.segment() {
            PageHeader::of_segment(front, length, name).map_err(|error| self.no_segment(&error))?;
        }
        let timeline = timeline_in(&self.log, header.system, self.kind.timeline())?;
        Ok(Content { system: header.system, length, bytes, timeline, written })
    }

    fn read_note(&self) -> Result<Content, Fault> {
        let system = system_of_server(Some(&self.log))?.ok_or_else(|| {
            let what = format!("nothing says which cluster {} is of", self.path.display());
            Fault::usage(what, "call it in the folder of the cluster, as the server does")
        })?;
        let bytes = match self.kind {
            WalFile::History(_) => read_history(&self.path),
            _ => read_short(&self.path),
        };
        let bytes = bytes.map_err(|error| self.unread(&error))?;
        let timeline = match self.kind {
            WalFile::History(number) => Some(Timeline::new(system, number, &bytes)),
            _ => timeline_in(&self.log, system, self.kind.timeline())?,
        };
        Ok(Content { system, length: bytes.len() as u64, bytes: Some(bytes.into()), timeline, written: None })
    }

    fn unread(&self, error: &io::Error) -> Fault {
        let what = format!("cannot read {}", self.path.display());
        Fault::failed(what, "see that it is there, and may be read by this user").because(error)
    }

    fn no_segment(&self, error: &BadSegment) -> Fault {
        let what = format!("{} is not the segment that its name says", self.path.display());
        let hint =
            "it was not stored; see where the file comes from, and use a newer holdfast for a newer server";
        Fault::failed(what, hint).because(error)
    }
}

/// When a file was last written to. What a server has archived late is as old as that, whenever it is stored.
fn written(metadata: &Metadata) -> Option<Time> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Time { seconds: i64::try_from(since.as_secs()).ok()?, nanos: since.subsec_nanos() })
}

fn read_short(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(NOTE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > NOTE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than any such file"));
    }
    Ok(bytes)
}
