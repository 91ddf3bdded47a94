//! As whom a restored server runs: somebody who can write nothing of production's, even where
//! everything else fails.
//!
//! On purpose not here: names of users, and walls around the server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// By this every server that a drill starts can be told from others.
pub(super) const MARK: &str = "holdfast-drill";

/// A user and a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What they are called.
    pub name: String,
    /// The number of the user.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

/// Who owns what of production's on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owners {
    /// Recorded places of tablespaces that are there, and whose they are.
    pub spaces: Vec<(String, u32)>,
    /// Servers that run, and as whom.
    pub servers: Vec<(u32, u32)>,
}

impl Owners {
    /// Looks around on this host.
    pub(super) fn of_host(facts: &BTreeMap<String, String>) -> Self {
        let recorded = facts.iter().filter(|(name, _)| name.starts_with("tablespace "));
        let spaces = recorded.filter_map(|(_, path)| Some((path.clone(), fs::metadata(path).ok()?.uid())));
        Self { spaces: spaces.collect(), servers: servers() }
    }

    /// Why a user may not run a restored server.
    pub(super) fn refuse(&self, uid: u32) -> Option<String> {
        if uid == 0 {
            return Some("a server does not run as root".to_owned());
        }
        if let Some((path, _)) = self.spaces.iter().find(|(_, owner)| *owner == uid) {
            return Some(format!("owns {path}, a tablespace of the cluster that was backed up"));
        }
        let server = self.servers.iter().find(|(_, owner)| *owner == uid);
        server.map(|(process, _)| format!("runs a server of PostgreSQL here (process {process})"))
    }

    /// The first of some users who may.
    pub(super) fn choose(&self, users: &[User]) -> Result<User, String> {
        let mut refused = Vec::new();
        for user in users {
            match self.refuse(user.uid) {
                None => return Ok(user.clone()),
                Some(why) => refused.push(format!("{} {why}", user.name)),
            }
        }
        Err(refused.join("; "))
    }
}

/// How far above a server is looked for who started it.
const ABOVE: usize = 3;

/// Whether it only makes a cluster, as another drill may do: it is started by `initdb`, or by its shell.
fn makes(process: u32) -> bool {
    let mut at = process;
    for _ in 0..ABOVE {
        let Ok(stat) = fs::read_to_string(format!("/proc/{at}/stat")) else { return false };
        let above = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        let Some(above) = above else { return false };
        let name = fs::read_to_string(format!("/proc/{above}/comm")).unwrap_or_default();
        if name.trim() == "initdb" {
            return true;
        }
        at = above;
    }
    false
}

/// Servers that run here, but for those of drills, and those of clusters that are being made.
fn servers() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let server = |process: u32| {
        let folder = format!("/proc/{process}");
        let name = fs::read_to_string(format!("{folder}/comm")).ok()?;
        if !matches!(name.trim(), "postgres" | "postmaster") {
            return None;
        }
        let words = fs::read(format!("{folder}/cmdline")).ok()?;
        let ours = words.windows(MARK.len()).any(|part| part == MARK.as_bytes());
        let owner = fs::metadata(&folder).ok()?.uid();
        (!ours && !words.is_empty() && !makes(process)).then_some((process, owner))
    };
    entries.flatten().filter_map(|entry| server(entry.file_name().to_str()?.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn user(name: &str, uid: u32) -> User {
        User { name: name.to_owned(), uid, gid: uid }
    }

    #[test]
    fn nobody_runs_it_who_owns_something_of_productions() {
        let owners = Owners { spaces: vec![("/srv/fast".into(), 26)], servers: vec![(4711, 65534)] };
        let users = [user("root", 0), user("postgres", 26), user("nobody", 65534), user("61999", 61999)];
        assert_eq!(owners.choose(&users).unwrap().name, "61999");
        let why = owners.choose(&users[..3]).unwrap_err();
        for word in ["root a server does not", "postgres owns /srv/fast", "nobody runs a server"] {
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn recorded_places_are_looked_up() {
        let facts = [("tablespace 16385", "/"), ("tablespace 16386", "/nonexistent"), ("timeline", "1")];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(Owners::of_host(&facts).spaces, [("/".to_owned(), fs::metadata("/").unwrap().uid())]);
    }
}
