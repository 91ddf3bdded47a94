//! Roots: which is the newest, and what it says.
//!
//! On purpose not here: what follows from it ([`crate::view`]), and writing one
//! ([`crate::maintain`]).

use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, get_optional};
use crate::rights::Right;
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::crypto::hash;
use holdfast_core::name::{self, Place};
use holdfast_core::object::{Object, ObjectType};
use holdfast_core::root::Root;

/// A root, with the hash of its object.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenRoot {
    pub root: Root,
    pub hash: [u8; 32],
}

/// The newest root cannot be read, so nobody knows what counts.
fn unusable_root(number: u64, error: FormatError) -> Error {
    let name = name::root(number);
    match error {
        FormatError::Newer(_) | FormatError::NotAllowed(_) | FormatError::KeyEpoch(_) => {
            Error::format(&name, error)
        }
        _ => Error {
            kind: ErrorKind::Damaged,
            what: format!("cannot use {name}, the newest root; run `holdfast repair index`"),
            source: Some(Box::new(error)),
        },
    }
}

impl Repository {
    /// Finds the newest root.
    pub(crate) async fn newest_root(&self) -> Result<Root> {
        Ok(self.newest().await?.root)
    }

    /// Finds the newest root, and its hash.
    pub(crate) async fn newest(&self) -> Result<SeenRoot> {
        self.require(Right::See)?;
        // Before the listing: what is published meanwhile must not make it look old.
        let known = self.memory().root();
        let listed = self.store().list("roots/", None, 1).await?.pop();
        let mut number = match &listed {
            None => 0,
            Some(newest) => match name::parse(newest.key.as_str()) {
                Some(Place::Root(number)) => number,
                _ => {
                    let what = format!("{} is not the name of a root", newest.key);
                    return Err(Error::new(ErrorKind::Damaged, what));
                }
            },
        };
        let mut bytes = None;
        if number < known.0 {
            // A listing that lags behind what this host has seen is not yet an older state.
            bytes = get_optional(&**self.store(), &name::root(known.0)).await?;
        }
        if bytes.is_some() {
            number = known.0;
        } else if number > 0 {
            bytes = get_optional(&**self.store(), &name::root(number)).await?;
        }
        let seen = match number {
            0 => SeenRoot { root: Root::default(), hash: [0; 32] },
            _ => self.follow(number, bytes).await?,
        };
        self.compare_root(known, seen).await
    }

    /// Goes on to the newest root from one that was listed: a listing may lag behind a put that
    /// another process saw end.
    async fn follow(&self, mut number: u64, mut bytes: Option<Bytes>) -> Result<SeenRoot> {
        while let Some(next) = get_optional(&**self.store(), &name::root(number + 1)).await? {
            (number, bytes) = (number + 1, Some(next));
        }
        let gone = || {
            let what = format!("{} is missing; run `holdfast repair index`", name::root(number));
            Error::new(ErrorKind::Damaged, what)
        };
        let bytes = bytes.ok_or_else(gone)?;
        self.know_author(&bytes).await?;
        if self.meets_newer_root(number) {
            // Its author may have been removed since we looked.
            self.refresh_members().await?;
        }
        let root = self.decode_root(number, &bytes).map_err(|error| unusable_root(number, error))?;
        self.know_members(&root).await?;
        if self.is_late(&root, &bytes).await? {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "{} was published by a member after it had been removed: it does not count; run \
                     `holdfast repair index`, and take its right to write to the repository's place away",
                    name::root(number)
                ),
            ));
        }
        if self.names_fewer(&root).await? {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "{} names fewer entries of members than were named before, as if somebody who was removed \
                     belonged again: it does not count; run `holdfast repair index`, and find out whose key published it",
                    name::root(number)
                ),
            ));
        }
        self.note_needed(Object::parse(&bytes).map_or(0, |object| object.header.ro_compat));
        Ok(SeenRoot { root, hash: hash(&bytes) })
    }

    /// Whether a root names fewer entries of members than this host has seen named, or than the root before.
    pub(crate) async fn names_fewer(&self, root: &Root) -> Result<bool> {
        let (known, named) = (self.memory().root().0, self.memory().named());
        if root.number <= known {
            return Ok(false);
        }
        if root.members.0 < named {
            return Ok(true);
        }
        let number = root.number - 1;
        let Some(bytes) = get_optional(&**self.store(), &name::root(number)).await? else { return Ok(false) };
        // One that cannot be read says nothing, and neither does one that does not count.
        let Ok(before) = self.decode_root(number, &bytes) else { return Ok(false) };
        Ok(root.members.0 < before.members.0 && !self.is_late(&before, &bytes).await?)
    }

    /// Whether a root was published by a member that earlier roots had shut out. What a removed
    /// member had published before counts.
    pub(crate) async fn is_late(&self, root: &Root, bytes: &[u8]) -> Result<bool> {
        let author_of = |bytes: &[u8]| Object::parse(bytes).map(|object| object.header.member);
        let Ok(author) = author_of(bytes) else { return Ok(false) };
        let standing = self.standing();
        let Some(removal) = standing.members.removed(author) else { return Ok(false) };
        let mut named = root.members.0;
        for number in (1..root.number).rev() {
            if named > removal {
                break;
            }
            let Some(bytes) = get_optional(&**self.store(), &name::root(number)).await? else { continue };
            // One that cannot be read says nothing; those before it do.
            let Ok(earlier) = self.decode_root(number, &bytes) else { continue };
            named = earlier.members.0;
            // Whoever belongs names no fewer than were named before.
            if author_of(&bytes).is_ok_and(|author| standing.members.removed(author).is_none()) {
                break;
            }
        }
        Ok(named > removal)
    }

    /// The newest root, read again; only what came after the one that is known is fetched.
    pub(crate) async fn newer(&self, known: SeenRoot) -> Result<SeenRoot> {
        let (number, remembered) = (known.root.number, self.memory().root());
        match get_optional(&**self.store(), &name::root(number + 1)).await? {
            None => Ok(known),
            next => self.compare_root(remembered, self.follow(number + 1, next).await?).await,
        }
    }

    pub(crate) fn decode_root(&self, number: u64, bytes: &[u8]) -> std::result::Result<Root, FormatError> {
        let object = self.parse(bytes, ObjectType::Root, name::root_object(number))?;
        let key = self.k_ref_of(object.header.key_epoch)?;
        let root = Root::decode(&object.header, object.body, &key)?;
        if root.number != number || root.repository_hash != self.description_hash() {
            return Err(FormatError::Misplaced("what it says of the repository"));
        }
        Ok(root)
    }
}
