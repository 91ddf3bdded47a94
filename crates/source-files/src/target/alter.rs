//! Setting the attributes of what was there already: only those that differ.
//!
//! What is as recorded is not touched, so that its change time tells the truth. On purpose not
//! here: things that this restore made; they get everything, in `attributes`.

use super::attributes::{FLAGS_LATE, Subject, in_words, set_mode, set_owner};
use super::existing::time_of;
use super::shared::Shared;
use crate::read::{FLAGS_KEPT, xattrs_now};
use holdfast_core::entry::{Entry, Kind, Xattrs};
use holdfast_engine::outcome::ProblemKind;
use rustix::fd::BorrowedFd;
use rustix::fs::{IFlags, Mode, OFlags, Stat, ioctl_getflags, ioctl_setflags, openat};
use rustix::io::Errno;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Labels that a security module gives to everything; without them nothing could be opened.
const LABELS: [&[u8]; 2] = [b"security.selinux", b"security.SMACK64"];

impl Shared {
    /// Sets what differs from what was recorded; tells whether anything did.
    pub(super) fn alter(&self, subject: Subject<'_>, entry: &Entry) -> bool {
        match self.differences(subject, entry) {
            Ok(differences) if differences.is_none() => false,
            Ok(_) if self.rehearse => true,
            Ok(differences) => {
                self.set(subject, entry, &differences);
                true
            }
            Err(error) => {
                let what = format!("attributes not set: {}", in_words(error));
                self.problem(&entry.key, ProblemKind::Attribute, what);
                false
            }
        }
    }

    /// Whether every attribute is as recorded.
    pub(super) fn is_as_recorded(&self, subject: Subject<'_>, entry: &Entry) -> bool {
        self.differences(subject, entry).is_ok_and(|differences| differences.is_none())
    }

    fn differences(&self, subject: Subject<'_>, entry: &Entry) -> Result<Differences, Errno> {
        let now = subject.stat()?;
        let wanted = recorded(entry);
        let xattrs = match subject {
            Subject::Open(handle) => xattrs_now(handle),
            Subject::Name(parent, name) => super::attributes::xattrs_of_name(parent, name),
        };
        // A file system without them has none that could differ, unless some were recorded.
        let xattrs = xattrs.unwrap_or_default();
        let flags = subject.flags();
        Ok(Differences {
            owner: self.numbers_of(&entry.owner) != (now.st_uid, now.st_gid),
            mode: entry.kind != Kind::Symlink && mode_of(&now) != entry.mode & 0o7777,
            time: time_of(&now) != entry.mtime,
            flags: flags.is_some_and(|flags| flags & FLAGS_KEPT != wanted_flags(entry)),
            extra: extra(&xattrs, wanted),
            missing: missing(&xattrs, wanted),
        })
    }

    fn set(&self, subject: Subject<'_>, entry: &Entry, differences: &Differences) {
        let mut failures = Vec::new();
        if let Subject::Open(handle) = subject {
            self.soften(handle);
        }
        let mut owned = true;
        if differences.owner {
            owned = set_owner(subject, self.numbers_of(&entry.owner), &mut failures);
        }
        for name in &differences.extra {
            if let Err(error) = subject.remove_xattr(name)
                && error != Errno::NODATA
            {
                let name = String::from_utf8_lossy(name);
                failures.push(format!("extended attribute {name} not removed: {}", in_words(error)));
            }
        }
        // A new owner costs a file its capabilities.
        let missing = if differences.owner { recorded(entry) } else { &differences.missing };
        super::attributes::set_xattrs(subject, missing, &mut failures);
        let mode_now = if differences.mode
            || differences.owner
            || !differences.extra.is_empty()
            || !missing.is_empty()
        {
            None
        } else {
            Some(entry.mode & 0o7777)
        };
        set_mode(subject, entry, owned, mode_now, &mut failures);
        if let Err(error) = subject.set_time(entry.mtime) {
            failures.push(format!("time: {}", in_words(error)));
        }
        if differences.flags {
            self.set_exact_flags(subject, entry, &mut failures);
        } else if wanted_flags(entry).intersects(FLAGS_LATE) {
            // They were taken away for the change.
            self.flag_late(&entry.key, wanted_flags(entry) & FLAGS_LATE);
        }
        if !failures.is_empty() {
            let what = format!("not set: {}", failures.join("; "));
            self.problem(&entry.key, ProblemKind::Attribute, what);
        }
    }

    fn set_exact_flags(&self, subject: Subject<'_>, entry: &Entry, failures: &mut Vec<String>) {
        let wanted = wanted_flags(entry);
        if wanted.intersects(FLAGS_LATE) {
            self.flag_late(&entry.key, wanted & FLAGS_LATE);
        }
        let Subject::Open(handle) = subject else { return };
        let set = ioctl_getflags(handle).and_then(|now| {
            let exact = (now - FLAGS_KEPT) | (wanted - FLAGS_LATE);
            if exact == now { Ok(()) } else { ioctl_setflags(handle, exact) }
        });
        if let Err(error) = set {
            failures.push(format!("inode flags: {}", in_words(error)));
        }
    }

    /// Takes away the flags that forbid every change; tells which.
    pub(super) fn soften(&self, handle: BorrowedFd<'_>) -> IFlags {
        if !self.rehearse
            && self.in_place
            && let Ok(now) = ioctl_getflags(handle)
            && now.intersects(FLAGS_LATE)
            // Should it fail, the change itself fails, and is named.
            && ioctl_setflags(handle, now - FLAGS_LATE).is_ok()
        {
            return now & FLAGS_LATE;
        }
        IFlags::empty()
    }

    /// The same for what is only known by its name.
    pub(super) fn soften_name(&self, parent: BorrowedFd<'_>, name: &[u8]) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(handle) = openat(parent, name, flags, Mode::empty()) {
            self.soften(rustix::fd::AsFd::as_fd(&handle));
        }
    }
}

/// What is not as recorded.
#[derive(Debug)]
struct Differences {
    owner: bool,
    mode: bool,
    time: bool,
    flags: bool,
    /// Names of extended attributes that nobody recorded.
    extra: Vec<Vec<u8>>,
    /// Extended attributes that are absent or have another value.
    missing: Pairs,
}

impl Differences {
    fn is_none(&self) -> bool {
        !(self.owner || self.mode || self.time || self.flags)
            && self.extra.is_empty()
            && self.missing.is_empty()
    }
}

fn recorded(entry: &Entry) -> &[(Vec<u8>, Vec<u8>)] {
    match &entry.attributes.xattrs {
        Xattrs::Inline(pairs) => pairs,
        Xattrs::None | Xattrs::Chunk(_) => &[],
    }
}

fn extra(now: &Pairs, wanted: &[(Vec<u8>, Vec<u8>)]) -> Vec<Vec<u8>> {
    let is_extra = |name: &Vec<u8>| {
        !LABELS.contains(&name.as_slice()) && !wanted.iter().any(|(recorded, _)| recorded == name)
    };
    now.iter().map(|(name, _)| name).filter(|name| is_extra(name)).cloned().collect()
}

fn missing(now: &Pairs, wanted: &[(Vec<u8>, Vec<u8>)]) -> Pairs {
    wanted.iter().filter(|pair| !now.contains(pair)).cloned().collect()
}

fn mode_of(stat: &Stat) -> u16 {
    (stat.st_mode & 0o7777) as u16
}

fn wanted_flags(entry: &Entry) -> IFlags {
    IFlags::from_bits_retain(entry.attributes.inode_flags) & FLAGS_KEPT
}
