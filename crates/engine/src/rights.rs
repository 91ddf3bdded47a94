//! What a key may do, by its role; and what a role may sign.
//!
//! A verb asks before it does anything, so that what is refused leaves nothing behind, and the refusal
//! says what the key is and which one would do. The keys that a role lacks are the lock; this is only
//! the sign on the door. On purpose not here: who has which role ([`crate::members`]).

use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use holdfast_core::crypto::SignPublic;
use holdfast_core::id::MemberId;
use holdfast_core::keys::Role;
use holdfast_core::object::ObjectType;

/// What a verb needs of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
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
            Self::Read => matches!(role, Role::Owner | Role::Reader),
            Self::BackUp => matches!(role, Role::Owner | Role::Writer),
            Self::Rewrite => matches!(role, Role::Owner),
            Self::Maintain => matches!(role, Role::Owner | Role::Maintainer),
        }
    }

    /// Whose key has it.
    const fn whose(self) -> &'static str {
        match self {
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
    }
}

/// Whether a role may sign such an object. Whose session it is of, and whether an end commits or
/// aborts, is looked at where that is known.
pub(crate) const fn may_sign(role: Role, object: ObjectType) -> bool {
    match object {
        ObjectType::Root | ObjectType::IndexSegment | ObjectType::SnapshotSegment | ObjectType::List => {
            matches!(role, Role::Owner | Role::Maintainer)
        }
        ObjectType::IndexDelta | ObjectType::Pins | ObjectType::Wal => {
            matches!(role, Role::Owner | Role::Writer)
        }
        ObjectType::Begin | ObjectType::End => !matches!(role, Role::Reader),
        // Any member has evidence of its own; the chain of members looks at its authors itself; the
        // rest is not signed.
        ObjectType::Evidence | ObjectType::Member | ObjectType::Pack | ObjectType::KeySlot => true,
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

    /// What a member may do now; `None` of one that was removed, or never was.
    pub(crate) fn role_of(&self, member: MemberId) -> Option<Role> {
        self.active(member).map(|entry| entry.role)
    }

    /// Whether a member is an owner now.
    pub(crate) fn is_owner(&self, member: MemberId) -> bool {
        self.role_of(member) == Some(Role::Owner)
    }

    /// Whether our sessions may rely on chunks that a member sealed: an owner's on those of owners, a
    /// writer's on its own and those of owners. Whoever else says that it has a chunk may lie, and
    /// then nobody would have it.
    pub(crate) fn trusts(&self, member: MemberId) -> bool {
        member == self.member() || self.is_owner(member)
    }

    /// The key that verifies what an active member signed that may maintain.
    pub(crate) fn key_of_maintainer(&self, member: MemberId) -> Option<SignPublic> {
        let entry = self.active(member)?;
        may_sign(entry.role, ObjectType::IndexSegment).then_some(entry.sign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_its_keys_are_for() {
        let roles = [Role::Owner, Role::Writer, Role::Maintainer, Role::Reader];
        let may = |right: Right| roles.map(|role| right.of(role));
        assert_eq!(may(Right::Read), [true, false, false, true]);
        assert_eq!(may(Right::BackUp), [true, true, false, false]);
        assert_eq!(may(Right::Rewrite), [true, false, false, false]);
        assert_eq!(may(Right::Maintain), [true, false, true, false]);
        let signs = |object| roles.map(|role| may_sign(role, object));
        assert_eq!(signs(ObjectType::Root), [true, false, true, false]);
        assert_eq!(signs(ObjectType::List), [true, false, true, false]);
        assert_eq!(signs(ObjectType::IndexDelta), [true, true, false, false]);
        assert_eq!(signs(ObjectType::Pins), [true, true, false, false]);
        assert_eq!(signs(ObjectType::Begin), [true, true, true, false]);
        assert_eq!(signs(ObjectType::Wal), [true, true, false, false]);
        assert_eq!(signs(ObjectType::Evidence), [true, true, true, true]);
    }
}
