//! Which places will do for scratch, and whether there is room.
//!
//! A drill must never be the reason of an outage. So what it takes has to fit before it begins; what
//! is large or a cluster goes to a place that somebody chose; and on the file system of a running
//! database or of the repository only little may be taken, unless that is allowed. *Little* is at
//! most 10 GiB and at most half of the room that is free: then production can go on writing, and a
//! policy of a few files works on a laptop with one disk without another word.
//! On purpose not here: making anything but the folder that is used where none is stated.

use super::environment;
use crate::policy::{self, units::Size};
use holdfast_engine::proof::Finding;
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, fstatvfs, openat};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// Restores above this go to a place that somebody chose.
const CHOSEN_ABOVE: u64 = 10 << 30;
/// Magic numbers of file systems that are memory.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// Anybody may write.
const OTHERS_WRITE: u32 = 0o002;

/// What a drill needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// So many bytes.
    pub bytes: u64,
    /// So many files and folders.
    pub files: u64,
    /// Something of it is a cluster of PostgreSQL.
    pub cluster: bool,
    /// The folder of the repository, if it is one.
    pub repository: Option<PathBuf>,
    /// Data directories on this host; those count in which a server runs.
    pub data_directories: Vec<PathBuf>,
}

/// What is known of a place.
struct Seen {
    device: u64,
    memory: bool,
    free: u64,
    free_files: Option<u64>,
}

/// Finds the folder to make scratch in; and what is worth knowing of it.
pub(super) fn fits(
    options: &policy::Scratch,
    default_below: &Path,
    needs: &Needs,
) -> Result<(PathBuf, Vec<String>), Finding> {
    let path = match &options.path {
        Some(path) => path.clone(),
        None => usual(default_below, needs)?,
    };
    let seen = look(&path)?;
    refuse_inside(&path)?;
    let mut notes = Vec::new();
    if seen.memory {
        notes.push(in_memory(&path, needs)?);
    }
    if let Some(max) = options.max.filter(|max| needs.bytes > max.0) {
        let what = format!("the drill needs {}, scratch.max is {max}", size(needs.bytes));
        return Err(environment(what, "raise scratch.max, or drill a part of it: max_download"));
    }
    room(&path, &seen, needs)?;
    notes.extend(shared(options, &path, &seen, needs)?);
    Ok((path, notes))
}

/// What a drill would say of the place, without making anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// What is free there; none where no place is stated, or it cannot be looked at.
    pub free: Option<u64>,
    /// Why it would not do.
    pub finding: Option<Finding>,
}

/// Says what [`super::Scratch::make`] would.
#[must_use]
pub fn foresee(options: &policy::Scratch, needs: &Needs) -> Foreseen {
    let free = options.path.as_deref().and_then(|path| look(path).ok()).map(|seen| seen.free);
    let finding = match &options.path {
        Some(path) => fits(options, path, needs).err(),
        None => chosen(needs).err(),
    };
    Foreseen { free, finding }
}

/// Where nothing is stated: good enough for little.
fn usual(default_below: &Path, needs: &Needs) -> Result<PathBuf, Finding> {
    chosen(needs)?;
    fs::create_dir_all(default_below).map_err(|error| {
        environment(format!("scratch {} cannot be made: {error}", default_below.display()), USUAL_NEXT)
    })?;
    Ok(default_below.to_owned())
}

const USUAL_NEXT: &str = "state scratch.path: a folder with room, on a file system of its own";

/// What is large or a cluster goes to a place that somebody chose.
fn chosen(needs: &Needs) -> Result<(), Finding> {
    let next = USUAL_NEXT;
    if needs.cluster {
        return Err(environment("a cluster is to be restored, and the policy states no scratch.path", next));
    }
    if needs.bytes > CHOSEN_ABOVE {
        let what = format!("{} are to be restored, and the policy states no scratch.path", size(needs.bytes));
        return Err(environment(what, next));
    }
    Ok(())
}

fn look(path: &Path) -> Result<Seen, Finding> {
    let shown = path.display();
    let wrong = |error: Errno| {
        let error = std::io::Error::from(error);
        environment(format!("scratch.path {shown}: {error}"), "make that folder, or mount its file system")
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = openat(CWD, path, flags, Mode::empty()).map_err(wrong)?;
    let stat = fstat(&handle).map_err(wrong)?;
    if stat.st_mode & OTHERS_WRITE != 0 {
        let what =
            format!("scratch.path {shown}: anybody may write there, so what lies there may be anybody's");
        return Err(environment(what, "state a folder of its own, as /var/lib/holdfast/scratch"));
    }
    let may_write = rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    may_write.map_err(wrong)?;
    let (kind, room) = (fstatfs(&handle).map_err(wrong)?, fstatvfs(&handle).map_err(wrong)?);
    Ok(Seen {
        device: stat.st_dev,
        memory: MEMORY.contains(&(kind.f_type as u64)),
        free: room.f_bavail.saturating_mul(room.f_frsize),
        // Some file systems make inodes as they need them, and say that there are none.
        free_files: (room.f_files > 0).then_some(room.f_favail),
    })
}

/// A repository or a data directory is nothing to write folders into.
fn refuse_inside(path: &Path) -> Result<(), Finding> {
    let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    for above in full.ancestors() {
        let there = |name: &str| above.join(name).symlink_metadata().is_ok();
        let what = match () {
            () if there("holdfast.json") => "a repository",
            () if there("PG_VERSION") && there("global/pg_control") => "a data directory of PostgreSQL",
            () => continue,
        };
        let what = format!("scratch.path {} lies in {what}: {}", path.display(), above.display());
        return Err(environment(what, "state a folder of its own"));
    }
    Ok(())
}

fn in_memory(path: &Path, needs: &Needs) -> Result<String, Finding> {
    let shown = path.display();
    if needs.cluster || needs.bytes > CHOSEN_ABOVE {
        let what =
            format!("scratch.path {shown} is memory (tmpfs), and {} would go there", size(needs.bytes));
        return Err(environment(what, "state a folder on a disk"));
    }
    Ok(format!("{shown} is memory (tmpfs): what was restored counted as memory"))
}

fn room(path: &Path, seen: &Seen, needs: &Needs) -> Result<(), Finding> {
    let shown = path.display();
    if needs.bytes > seen.free {
        let what = format!("the drill needs {}, {shown} has {} free", size(needs.bytes), size(seen.free));
        return Err(environment(what, "make room there, or state another scratch.path"));
    }
    match seen.free_files {
        Some(free) if needs.files > free => {
            let what = format!("the drill needs {} files, {shown} has room for {free}", needs.files);
            Err(environment(what, "state a scratch.path on a file system with more inodes"))
        }
        _ => Ok(()),
    }
}

/// Whether the file system has other, more important users.
fn shared(
    options: &policy::Scratch,
    path: &Path,
    seen: &Seen,
    needs: &Needs,
) -> Result<Option<String>, Finding> {
    let is_here = |place: &Path| fs::metadata(place).is_ok_and(|there| device(&there) == seen.device);
    let runs = |folder: &&PathBuf| folder.join("postmaster.pid").symlink_metadata().is_ok();
    let database = needs.data_directories.iter().filter(runs).find(|folder| is_here(folder));
    let repository = needs.repository.as_ref().filter(|folder| is_here(folder));
    let Some((other, whose)) = database
        .map(|folder| (folder, "the running database in"))
        .or_else(|| repository.map(|folder| (folder, "the repository in")))
    else {
        return Ok(None);
    };
    let shown = format!("{} is on the file system of {whose} {}", path.display(), other.display());
    let little = needs.bytes <= CHOSEN_ABOVE && needs.bytes <= seen.free / 2;
    if little || options.allow_same_filesystem {
        return Ok(Some(shown));
    }
    let what = format!("{shown}; the drill needs {}, {} are free", size(needs.bytes), size(seen.free));
    Err(environment(what, "state a scratch.path elsewhere, or scratch.allow_same_filesystem: true"))
}

fn device(there: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::dev(there)
}

/// A size for people: one digit after the point, in the unit that suits.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return Size(bytes).to_string();
    }
    let mut number = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if number < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, next);
    }
    format!("{number:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(7), "7B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(2 << 40), "2.0 TiB");
        assert_eq!(size(5000 << 40), "5000.0 TiB");
    }
}
