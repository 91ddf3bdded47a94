//! Names of users and groups, as `/etc/passwd` and `/etc/group` tell them.
//!
//! On purpose not here: directory services. Asking them can hang, needs the C library, and a
//! name they know still has its number in every entry.

use holdfast_core::entry::Owner;
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, PoisonError, RwLock};

/// Users and groups of this host, each pair of them kept once.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    known: RwLock<HashMap<(u32, u32), Arc<Owner>>>,
}

impl Owners {
    /// Reads the files of this host; what cannot be read is empty.
    pub(crate) fn of_host() -> Self {
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    fn parse(passwd: &[u8], group: &[u8]) -> Self {
        // The first line of a number names it, as in the C library.
        let by_number = |lines: &[u8]| parse(lines).into_iter().rev().map(|(name, id)| (id, name)).collect();
        Self { users: by_number(passwd), groups: by_number(group), known: RwLock::default() }
    }

    /// The owner of these numbers.
    pub(crate) fn get(&self, uid: u32, gid: u32) -> Arc<Owner> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = known.get(&(uid, gid)) {
            return Arc::clone(owner);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry((uid, gid)).or_insert_with(|| Arc::new(self.name(uid, gid))))
    }

    fn name(&self, uid: u32, gid: u32) -> Owner {
        let user = self.users.get(&uid).cloned().unwrap_or_default();
        let group = self.groups.get(&gid).cloned().unwrap_or_default();
        Owner { uid, gid, user, group }
    }
}

/// The numbers of `USER` or `USER:GROUP` on this host, each by name or number; without a group that of
/// the user. `None` if there is no such user or group.
#[must_use]
pub fn numbers_of(text: &str) -> Option<(u32, u32)> {
    numbers_in(text, &read("/etc/passwd"), &read("/etc/group"))
}

fn numbers_in(text: &str, passwd: &[u8], group: &[u8]) -> Option<(u32, u32)> {
    let (user, wanted) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let find = |lines: &[u8], name: &str| {
        let found = parse(lines).into_iter().find(|(known, _)| known == name).map(|(_, number)| number);
        found.or_else(|| name.parse().ok())
    };
    let uid = find(passwd, user)?;
    let gid = match wanted {
        Some(name) => find(group, name)?,
        None => primary_group(passwd, uid)?,
    };
    Some((uid, gid))
}

fn primary_group(passwd: &[u8], uid: u32) -> Option<u32> {
    String::from_utf8_lossy(passwd).lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let number: u32 = fields.next()?.parse().ok()?;
        (number == uid).then(|| fields.next()?.parse().ok())?
    })
}

/// Whether this host knows a user of this number.
#[must_use]
pub fn is_known(uid: u32) -> bool {
    parse(&read("/etc/passwd")).iter().any(|(_, number)| *number == uid)
}

/// Numbers that users and groups have on this host.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    users: HashMap<String, u32>,
    groups: HashMap<String, u32>,
}

impl Numbers {
    /// Reads the files of this host; what cannot be read is empty.
    pub(crate) fn of_host() -> Self {
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let by_name = |lines: &[u8]| parse(lines).into_iter().rev().collect();
        Self { users: by_name(passwd), groups: by_name(group) }
    }

    /// The numbers that the owner's names have here; its own where a name is unknown.
    pub(crate) fn of(&self, owner: &Owner) -> (u32, u32) {
        let uid = self.users.get(&owner.user).copied().unwrap_or(owner.uid);
        let gid = self.groups.get(&owner.group).copied().unwrap_or(owner.gid);
        (uid, gid)
    }
}

fn read(path: &str) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

/// Lines of `name:password:number:…`; others (comments, NIS markers) are passed over.
fn parse(lines: &[u8]) -> Vec<(String, u32)> {
    String::from_utf8_lossy(lines).lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
    Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n# no:x:1:1\n+nis\nann:x:1000:100\nbad:x:y:1\n";
    const GROUP: &[u8] = b"root:x:0:\nusers:x:100:ann\n";

    #[test]
    fn first_name_of_a_number_counts() {
        let owners = Owners::parse(PASSWD, GROUP);
        let owner = owners.get(0, 100);
        assert_eq!((owner.user.as_str(), owner.group.as_str()), ("root", "users"));
        assert!(Arc::ptr_eq(&owner, &owners.get(0, 100)));
        assert_eq!(owners.get(7, 8).user, "");
    }

    #[test]
    fn an_owner_is_stated_by_names_or_numbers() {
        let of = |text| numbers_in(text, PASSWD, GROUP);
        assert_eq!(
            (of("ann"), of("ann:root"), of("1000")),
            (Some((1000, 100)), Some((1000, 0)), Some((1000, 100)))
        );
        assert_eq!((of("7:8"), of("root:users")), (Some((7, 8)), Some((0, 100))));
        for text in ["", "7", "nobody here", "ann:nobody", "ann:", ":users"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn names_map_to_numbers_and_fall_back() {
        let numbers = Numbers::parse(PASSWD, GROUP);
        let owner =
            |user: &str, group: &str| Owner { uid: 5, gid: 6, user: user.into(), group: group.into() };
        assert_eq!(numbers.of(&owner("ann", "users")), (1000, 100));
        assert_eq!(numbers.of(&owner("unknown", "")), (5, 6));
        assert_eq!(numbers.of(&owner("toor", "root")), (0, 0));
    }
}
