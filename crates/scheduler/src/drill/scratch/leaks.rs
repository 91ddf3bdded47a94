//! What drills left behind: killed ones, and those that were kept for somebody to look into.
//!
//! Only a folder with a drill's name and a drill's marker counts, and only if its process is seen to
//! be gone. What cannot be seen from here (another host, another container) counts after a week.
//! On purpose not here: removing, which is [`super::remove`]'s.

use super::{Owner, PREFIX, blocking, remove};
use holdfast_engine::proof::Finding;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The file in scratch that says whose it is.
pub(super) const MARKER: &str = "holdfast-drill.json";
/// No marker is longer, in bytes.
const MARKER_BYTES_MAX: u64 = 64 << 10;
/// What cannot be asked after is gone after so many hours.
const UNSEEN_HOURS: i64 = 7 * 24;

/// Whose scratch a folder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) policy: String,
    pub(super) id: String,
    pub(super) host: String,
    pub(super) made: Timestamp,
    /// Until when it is kept for somebody to look into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keep_until: Option<Timestamp>,
    process: Process,
}

/// What tells a process from all others: its number is used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    number: u32,
    /// When it was started, in the kernel's ticks since the boot.
    started: Option<u64>,
    boot: Option<String>,
    /// Numbers mean something in their own space only.
    space: Option<String>,
}

impl Process {
    fn own() -> Self {
        let number = std::process::id();
        Self { number, started: started(number), boot: boot(), space: space() }
    }

    /// Whether it runs; none if that cannot be seen from here.
    fn runs(&self) -> Option<bool> {
        let (boot, own_space) = (boot(), space());
        boot.as_ref()?;
        if self.boot != boot {
            return Some(false);
        }
        if self.space.is_none() || self.space != own_space {
            return None;
        }
        Some(self.started.is_some() && started(self.number) == self.started)
    }
}

fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

fn space() -> Option<String> {
    fs::read_link("/proc/self/ns/pid").ok().map(|space| space.to_string_lossy().into_owned())
}

/// The 22nd field; the second one, the name, may hold anything, and ends with the last bracket.
fn started(number: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Marker {
    pub(super) fn new(owner: Owner<'_>) -> Self {
        Self {
            policy: owner.policy.to_owned(),
            id: owner.id.to_owned(),
            host: owner.host.to_owned(),
            made: owner.now,
            keep_until: None,
            process: Process::own(),
        }
    }

    /// Writes it beside, then puts it in place: a half-written one would be no marker.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let beside = folder.join(format!("{MARKER}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        fs::rename(&beside, folder.join(MARKER))
    }

    /// Reads the marker of a folder, if it is one of ours: written by this user or by root.
    fn read(folder: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(CWD, folder.join(MARKER), flags, Mode::empty()).ok()?;
        let own = rustix::process::geteuid().as_raw();
        let stat = fstat(&file).ok()?;
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile;
        if !is_file || stat.st_uid != own && stat.st_uid != 0 {
            return None;
        }
        let mut text = Vec::new();
        File::from(file).take(MARKER_BYTES_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Why nobody needs it any more; none if somebody may.
    fn over(&self, host: &str, now: Timestamp) -> Option<String> {
        if let Some(until) = self.keep_until {
            return (until <= now).then(|| format!("it was kept until {until}"));
        }
        let runs = if self.host == host { self.process.runs() } else { None };
        let old = now.duration_since(self.made) > SignedDuration::from_hours(UNSEEN_HOURS);
        match runs {
            Some(true) => None,
            Some(false) => Some("the drill that made it was killed".into()),
            None => old.then(|| format!("it was made on {} at {}", self.host, self.made)),
        }
    }
}

/// A folder that a drill left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// Where it is.
    pub path: PathBuf,
    /// The policy that was drilled.
    pub policy: String,
    /// The drill's id.
    pub id: String,
    /// Whether it was kept on purpose, and its time is over: then nothing went wrong.
    pub kept: bool,
    /// Why nobody needs it any more.
    pub why: String,
}

impl Leak {
    /// Removes it; what became of it, in words for the record, and what is wrong if it stays.
    pub async fn remove(self) -> (Vec<String>, Option<Finding>) {
        let shown = self.path.display().to_string();
        let found = format!("{shown}: left behind by drill {} of {}: {}", self.id, self.policy, self.why);
        let path = self.path;
        match blocking(move || remove::tree(&path)).await {
            Ok(removed) => (vec![found, removed.in_words(&shown)], removed.finding(&shown)),
            Err(finding) => (vec![found], Some(finding)),
        }
    }
}

/// What drills left behind below a folder, and nobody needs any more.
#[must_use]
pub fn leaks(below: &Path, host: &str, now: Timestamp) -> Vec<Leak> {
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let named = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
    // A link is no folder here.
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut leaks: Vec<_> = entries
        .flatten()
        .filter(|entry| named(entry) && is_folder(entry))
        .filter_map(|entry| {
            let marker = Marker::read(&entry.path())?;
            let why = marker.over(host, now)?;
            let kept = marker.keep_until.is_some();
            Some(Leak { path: entry.path(), policy: marker.policy, id: marker.id, kept, why })
        })
        .collect();
    leaks.sort_by(|one, other| one.path.cmp(&other.path));
    leaks
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    /// As if the process that made it had been killed.
    pub(in super::super) fn orphan(folder: &Path) {
        let mut marker = Marker::read(folder).unwrap();
        marker.process.started = Some(1);
        marker.write(folder).unwrap();
    }

    #[test]
    fn a_process_is_told_from_others() {
        let own = Process::own();
        assert_eq!(own.runs(), Some(true));
        assert_eq!(Process { started: Some(1), ..own.clone() }.runs(), Some(false));
        assert_eq!(Process { boot: Some("other".into()), ..own.clone() }.runs(), Some(false));
        assert_eq!(Process { space: Some("pid:[1]".into()), ..own }.runs(), None);
    }
}
