//! What in a restored cluster leads out of its scratch, and whose everything in it becomes.
//!
//! Nothing here follows a link. On purpose not here: restoring.

use super::user::User;
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a cluster lies, with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    pub folder: PathBuf,
    pub work: PathBuf,
    /// Folders of its tablespaces.
    pub spaces: Vec<PathBuf>,
}

/// Looks where its links lead. What leads elsewhere than below the folder that holds the cluster and
/// `work` is told.
pub(super) fn survey(folder: &Path, work: &Path) -> io::Result<(Ground, Vec<String>)> {
    let (folder, work) = (fs::canonicalize(folder)?, fs::canonicalize(work)?);
    let scratch = folder.parent().filter(|parent| work.starts_with(parent) && *parent != Path::new("/"));
    let inside =
        |path: &Path| path.starts_with(&folder) || scratch.is_some_and(|scratch| path.starts_with(scratch));
    let (mut spaces, mut outside) = (Vec::new(), Vec::new());
    let links = folder.join("pg_tblspc");
    for dir in [&folder, &links] {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_symlink() {
                continue;
            }
            let name = entry.path();
            let shown = name.strip_prefix(&folder).unwrap_or(&name).display().to_string();
            // A link to a file is only read, and one that leads nowhere to nothing.
            match fs::canonicalize(&name) {
                Ok(to) if !to.is_dir() => {}
                Ok(to) if inside(&to) => spaces.extend((dir == &links).then_some(to)),
                Ok(to) => outside.push(format!("{shown} leads to {}", to.display())),
                Err(_) if dir == &links => outside.push(format!("{shown} leads to nothing")),
                Err(_) => {}
            }
        }
    }
    outside.sort();
    Ok((Ground { folder, work, spaces }, outside))
}

impl Ground {
    /// All that the server may write.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = vec![self.folder.clone(), self.work.clone()];
        all.extend(self.spaces.iter().filter(|space| !space.starts_with(&self.folder)).cloned());
        all
    }

    /// Gives all of it to a user, and lets them enter the folder that holds it, where that is not
    /// anybody's.
    pub(super) fn give(&self, user: &User) -> io::Result<()> {
        let writable = self.writable();
        for path in &writable {
            give_all(path, user)?;
            let parent = path.parent().map(fs::metadata).transpose()?;
            let above = self.folder.parent();
            let shut = parent.is_some_and(|dir| dir.uid() != user.uid && dir.mode() & 0o001 == 0);
            if shut && path.parent() == above {
                above.map_or(Ok(()), |above| give(above, user))?;
            }
        }
        fs::set_permissions(&self.work, Permissions::from_mode(0o700))?;
        // A server refuses a folder that others may enter.
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
    }
}

fn give_all(path: &Path, user: &User) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_all(&entry?.path(), user)?;
        }
    }
    give(path, user)
}

fn give(path: &Path, user: &User) -> io::Result<()> {
    let now = fs::symlink_metadata(path)?;
    if (now.uid(), now.gid()) == (user.uid, user.gid) {
        return Ok(());
    }
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    Ok(chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_leads_out_of_scratch_is_told() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = top.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::canonicalize(path).unwrap()
        };
        let (folder, work, space) = (path("s/data"), path("s/w"), path("s/space"));
        let (links, live) = (path("s/data/pg_tblspc"), path("live"));
        symlink(&space, links.join("1")).unwrap();
        symlink("/etc/passwd", folder.join("server.crt")).unwrap();
        let (ground, outside) = survey(&folder, &work).unwrap();
        assert_eq!((outside, ground.spaces.clone()), (vec![], vec![space.clone()]));
        assert_eq!(ground.writable(), [folder.clone(), work.clone(), space]);
        symlink(&live, links.join("2")).unwrap();
        symlink(&live, folder.join("pg_wal")).unwrap();
        symlink("/nonexistent/x", links.join("3")).unwrap();
        let (_, outside) = survey(&folder, &work).unwrap();
        assert_eq!(outside.len(), 3, "{outside:?}");
        assert!(outside[0].starts_with("pg_tblspc/2 leads to") && outside[2].starts_with("pg_wal leads"));
    }

    #[test]
    fn what_is_given_is_closed_to_others() {
        let top = tempfile::tempdir().unwrap();
        let (folder, work) = (top.path().join("d"), top.path().join("w"));
        fs::create_dir_all(folder.join("pg_tblspc")).unwrap();
        fs::create_dir(&work).unwrap();
        let own = fs::metadata(&work).unwrap();
        let user = User { name: "x".into(), uid: own.uid(), gid: own.gid() };
        survey(&folder, &work).unwrap().0.give(&user).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    }
}
