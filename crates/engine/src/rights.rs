//! What a key may do, by its role.
//!
//! A verb asks before it does anything, so that what is refused leaves nothing behind, and the refusal
//! says what the key is and which one would do. The keys that a role lacks are the lock; this is only
//! the sign on the door. On purpose not here: who has which role, and what a role may sign
//! ([`crate::standing`]).

use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use holdfast_core::id::MemberId;
use holdfast_core::keys::Role;

/// What a verb needs of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see which backups there are, of what and when, and how they are stored.
    See,
    /// To fetch the log of databases.
    FetchLog,
    /// To open what backups hold: names, metadata, contents.
    Read,
    /// To make backups.
    BackUp,
    /// To make new snapshots of what old ones hold.
    Rewrite,
    /// To forget, prune, hold and repair.
    Maintain,
}

impl Right {
    const fn of(self, role: Role) -> bool {
        match self {
            Self::See => !matches!(role, Role::LogReader),
            Self::FetchLog => matches!(role, Role::Owner | Role::Reader | Role::LogReader),
            Self::Read => matches!(role, Role::Owner | Role::Reader),
            Self::BackUp => matches!(role, Role::Owner | Role::Writer),
            Self::Rewrite => matches!(role, Role::Owner),
            Self::Maintain => matches!(role, Role::Owner | Role::Maintainer),
        }
    }

    /// Whose key has it.
    const fn whose(self) -> &'static str {
        match self {
            Self::See => "a key of another role",
            Self::FetchLog => "a reader:wal's, a reader's or an owner's key",
            Self::Read => "a reader's or an owner's key",
            Self::BackUp => "a writer's or an owner's key",
            Self::Rewrite => "an owner's key",
            Self::Maintain => "a maintainer's or an owner's key",
        }
    }
}

/// What a role is there for, for people.
const fn described(role: Role) -> &'static str {
    match role {
        Role::Owner => "this key is an owner's: it can do everything",
        Role::Writer => {
            "this key is a writer's: it can back up and see when backups were made, not read or change them"
        }
        Role::Maintainer => {
            "this key is a maintainer's: it can forget, prune, repair and check, not read what backups hold nor \
             make any"
        }
        Role::Reader => {
            "this key is a reader's: it can read and restore everything, and write nothing but evidence of drills"
        }
        Role::LogReader => {
            "this key is a reader:wal's: it can fetch and list the log of databases, not see or open any backup nor \
             write anything"
        }
    }
}

impl Repository {
    /// Whether the key allows something.
    #[must_use]
    pub fn may(&self, right: Right) -> bool {
        right.of(self.role())
    }

    /// Refuses what the key does not allow, and says which one would.
    ///
    /// # Errors
    /// The key does not allow it.
    pub fn require(&self, right: Right) -> Result<()> {
        if self.may(right) {
            return Ok(());
        }
        let what = format!("{}. Use {}", described(self.role()), right.whose());
        Err(Error::new(ErrorKind::NotAllowed, what))
    }

    /// Whether our sessions may rely on chunks that a member sealed: an owner's on those of owners, a
    /// writer's on its own and those of owners. Whoever else says that it has a chunk may lie, and
    /// then nobody would have it.
    pub(crate) fn trusts(&self, member: MemberId) -> bool {
        member == self.member() || self.is_owner(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_its_keys_are_for() {
        let may = |right: Right| Role::ALL.map(|role| right.of(role));
        assert_eq!(may(Right::See), [true, true, true, true, false]);
        assert_eq!(may(Right::FetchLog), [true, false, false, true, true]);
        assert_eq!(may(Right::Read), [true, false, false, true, false]);
        assert_eq!(may(Right::BackUp), [true, true, false, false, false]);
        assert_eq!(may(Right::Rewrite), [true, false, false, false, false]);
        assert_eq!(may(Right::Maintain), [true, false, true, false, false]);
    }
}
