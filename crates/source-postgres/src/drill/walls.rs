//! Walls around what a drill starts: the words that put a program into a world in which nothing but
//! scratch can be written and no network is there. They are programs of util-linux.
//!
//! On purpose not here: whether this host lets us build them.

use super::user::User;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Kinds of file systems that hold no files of anybody's.
const HOLDS_NOTHING: [&str; 16] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "debugfs",
    "tracefs",
    "securityfs",
    "pstore",
    "bpf",
    "configfs",
    "fusectl",
    "binfmt_misc",
    "nsfs",
    "efivarfs",
];

/// Builds the walls and goes on as the program behind `--`. `rw A` leaves A writable, `over A B` puts A
/// in the place of B, `ro A` makes the mount A readable only.
const SCRIPT: &str = "set -e; while [ \"$1\" != -- ]; do case $1 in \
    rw) mount --bind \"$2\" \"$2\"; shift 2;; \
    over) mount --bind \"$2\" \"$3\"; shift 3;; \
    ro) mount -o remount,bind,ro \"$2\"; shift 2;; \
    *) exit 2;; esac; done; shift; exec \"$@\"";

/// Who builds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builder {
    /// Root, who becomes somebody else behind them.
    Root,
    /// Anybody, where the system lets users have worlds of their own. They stay who they are.
    Anybody,
}

/// What is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walls {
    /// Nothing but scratch can be written.
    pub files: bool,
    /// There is no network.
    pub network: bool,
}

/// What stands in the place of a folder of production's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cover {
    /// Below scratch.
    pub by: PathBuf,
    pub over: PathBuf,
}

/// The words before those of a program.
pub(super) fn words(
    builder: Builder,
    walls: Walls,
    user: &User,
    writable: &[PathBuf],
    covers: &[Cover],
    mounts: &[PathBuf],
) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
    if walls.files || walls.network {
        add(&["unshare"]);
        if builder == Builder::Anybody {
            add(&["--map-root-user"]);
        }
        if walls.network {
            add(&["--net"]);
        }
        add(&["--ipc"]);
        if walls.files {
            add(&["--mount", "--", "/bin/sh", "-c", SCRIPT, "sh"]);
            let one = |verb: &str, paths: &[&Path]| {
                let paths = paths.iter().map(|path| path.as_os_str().to_owned());
                std::iter::once(OsString::from(verb)).chain(paths).collect::<Vec<_>>()
            };
            writable.iter().for_each(|path| words.extend(one("rw", &[path])));
            covers.iter().for_each(|cover| words.extend(one("over", &[&cover.by, &cover.over])));
            mounts.iter().for_each(|path| words.extend(one("ro", &[path])));
        }
        words.push("--".into());
    }
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
    match builder {
        Builder::Root => {
            add(&["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--no-new-privs"]);
            add(&["--inh-caps=-all", "--bounding-set=-all", "--"]);
        }
        // A server refuses to be root, even of a world of its own.
        Builder::Anybody if walls.files || walls.network => {
            add(&["unshare", "--user", "--map-user", &uid, "--map-group", &gid, "--"]);
        }
        Builder::Anybody => {}
    }
    // Last, because who becomes another user forgets it: the program ends when we do.
    add(&["setpriv", "--no-new-privs", "--pdeathsig", "QUIT", "--"]);
    words
}

/// Mounts that can hold files, out of `/proc/self/mountinfo`; those that nothing covers.
pub(super) fn mounts(text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let Some(place) = fields.get(4) else { continue };
        let kind = fields.iter().position(|field| *field == b"-").and_then(|at| fields.get(at + 1));
        let holds = kind.is_none_or(|kind| !HOLDS_NOTHING.iter().any(|known| known.as_bytes() == *kind));
        let place = PathBuf::from(OsString::from_vec(plain(place)));
        // The last one that lies on a place is what can be seen of it.
        found.retain(|earlier| *earlier != place);
        if holds {
            found.push(place);
        }
    }
    found
}

/// Takes `\040` and the like out of a path.
fn plain(escaped: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), escaped);
    while let Some((&byte, after)) = rest.split_first() {
        let number = after.first_chunk::<3>().and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match number.filter(|_| byte == b'\\') {
            Some(number) => {
                plain.push(number);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// What is put in the place of folders that a log makes tablespaces in: the nearest folder above each
/// that is there is covered by one below `by`, in which the rest of the path is. Else which one cannot
/// be.
pub(super) fn covers(
    paths: &[PathBuf],
    by: &Path,
    needed: &[PathBuf],
    is_there: impl Fn(&Path) -> bool,
) -> Result<Vec<(Cover, Vec<PathBuf>)>, PathBuf> {
    let mut found: Vec<(Cover, Vec<PathBuf>)> = Vec::new();
    for path in paths {
        let over = path.ancestors().find(|above| is_there(above)).unwrap_or(Path::new("/"));
        let hides = needed.iter().any(|needed| needed.starts_with(over));
        if !path.is_absolute() || over == Path::new("/") || hides {
            return Err(path.clone());
        }
        let rest = path.strip_prefix(over).unwrap_or(Path::new("")).to_owned();
        match found.iter_mut().find(|(cover, _)| cover.over == over) {
            Some((_, within)) => within.push(rest),
            None => {
                let by = by.join(found.len().to_string());
                found.push((Cover { by, over: over.to_owned() }, vec![rest]));
            }
        }
    }
    // What lies deeper is put in its place later.
    found.sort_by_key(|(cover, _)| OsStr::as_bytes(cover.over.as_os_str()).len());
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn line(builder: Builder, files: bool, network: bool) -> String {
        let user = User { name: "x".into(), uid: 7, gid: 8 };
        let cover = Cover { by: "/s/c/0".into(), over: "/srv".into() };
        let (writable, mounts) = (["/s/data".into()], ["/".into()]);
        let words = words(builder, Walls { files, network }, &user, &writable, &[cover], &mounts);
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn who_is_root_becomes_somebody_else_behind_the_walls() {
        let all = line(Builder::Root, true, true);
        assert!(all.starts_with("unshare --net --ipc --mount -- /bin/sh -c "), "{all}");
        let tail = "sh rw /s/data over /s/c/0 /srv ro / -- setpriv --reuid 7 --regid 8 --clear-groups \
                    --no-new-privs --inh-caps=-all --bounding-set=-all -- setpriv --no-new-privs --pdeathsig QUIT --";
        assert!(all.ends_with(tail), "{all}");
        assert!(!line(Builder::Root, false, false).contains("unshare"));
        assert!(line(Builder::Root, false, true).starts_with("unshare --net --ipc -- setpriv --reuid 7"));
    }

    #[test]
    fn who_is_not_stays_who_they_are() {
        let all = line(Builder::Anybody, true, true);
        assert!(all.starts_with("unshare --map-root-user --net --ipc --mount -- "), "{all}");
        assert!(all.contains(" -- unshare --user --map-user 7 --map-group 8 -- setpriv"), "{all}");
        let none = line(Builder::Anybody, false, false);
        assert_eq!(none, "setpriv --no-new-privs --pdeathsig QUIT --");
    }

    #[test]
    fn mounts_are_those_that_hold_files() {
        let text = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n23 22 0:4 / /proc rw - proc proc rw\n\
                     30 22 0:5 / /mnt/a\\040b rw shared:1 - ext4 x rw\n31 22 0:6 / /dev/shm rw - tmpfs t rw\n\
                     32 22 0:7 / /dev/shm rw - tmpfs t rw\n\n";
        let found = mounts(text);
        assert_eq!(found, ["/", "/mnt/a b", "/dev/shm"].map(PathBuf::from));
        assert_eq!(plain(b"a\\134b\\04"), b"a\\b\\04");
    }

    #[test]
    fn a_folder_of_productions_is_covered_and_nothing_that_is_needed() {
        let there = |path: &Path| ["/", "/srv", "/srv/fast", "/scratch"].iter().any(|p| Path::new(p) == path);
        let paths = ["/srv/fast", "/srv/new/ts", "/srv/other"].map(PathBuf::from);
        let needed = [PathBuf::from("/scratch/data"), PathBuf::from("/usr/lib/postgresql/15/bin")];
        let found = covers(&paths, Path::new("/scratch/w/c"), &needed, there).unwrap();
        let over: Vec<_> = found.iter().map(|(cover, _)| cover.over.to_str().unwrap()).collect();
        assert_eq!(over, ["/srv", "/srv/fast"]);
        assert_eq!(found[0].1, [PathBuf::from("new/ts"), PathBuf::from("other")]);
        for wrong in ["/new/ts", "/scratch/ts", "relative"] {
            let wrong = PathBuf::from(wrong);
            assert_eq!(covers(std::slice::from_ref(&wrong), Path::new("/c"), &needed, there), Err(wrong));
        }
    }
}
