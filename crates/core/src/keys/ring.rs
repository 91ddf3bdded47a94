//! The bundles that a member holds, one for each generation of keys.
//!
//! What is read says which generation it was sealed under; what is written takes the newest one
//! that all members hold. On purpose not here: which that is; the chain of members tells.

use super::{KeyBundle, MemberEntry, open_bundle};
use crate::crypto::KemSecret;
use crate::error::FormatError;
use crate::id::RepositoryId;
use std::collections::BTreeMap;

/// The bundles of a member.
#[derive(Debug, Clone)]
pub struct Keyring {
    bundles: BTreeMap<u32, KeyBundle>,
    sealing: u32,
}

impl Keyring {
    /// Opens all bundles of a member's entry. `agreed` is the generation that all members hold; who
    /// does not hold it itself seals under the newest that it has.
    ///
    /// # Errors
    /// A bundle was sealed to another, is damaged, or says another generation than the entry; or
    /// there is none.
    pub fn open(
        entry: &MemberEntry,
        repository: RepositoryId,
        kem: &KemSecret,
        agreed: Option<u32>,
    ) -> Result<Self, FormatError> {
        let mut bundles = BTreeMap::new();
        for (epoch, sealed) in &entry.bundles {
            let bundle = open_bundle(sealed, repository, kem)?;
            if bundle.key_epoch != *epoch {
                return Err(FormatError::Malformed("the key epoch of a bundle"));
            }
            bundles.insert(*epoch, bundle);
        }
        let newest = bundles.keys().next_back().ok_or(FormatError::NotAllowed("it has no rights"))?;
        let sealing = agreed.filter(|epoch| bundles.contains_key(epoch)).unwrap_or(*newest);
        Ok(Self { bundles, sealing })
    }

    /// What is written is sealed with it.
    ///
    /// # Panics
    /// Never: it is one of them since the beginning.
    #[must_use]
    pub fn sealing(&self) -> &KeyBundle {
        self.bundles.get(&self.sealing).expect("it was chosen among them")
    }

    /// What was sealed under a generation opens with it.
    ///
    /// # Errors
    /// We hold none of that generation.
    pub fn of(&self, epoch: u32) -> Result<&KeyBundle, FormatError> {
        self.bundles.get(&epoch).ok_or(FormatError::KeyEpoch(epoch))
    }

    /// All bundles, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &KeyBundle> {
        self.bundles.values()
    }

    /// Whether there is a bundle of a generation.
    #[must_use]
    pub fn has(&self, epoch: u32) -> bool {
        self.bundles.contains_key(&epoch)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::tests::founding;
    use super::*;
    use crate::crypto::{KemCalls, Secret};
    use crate::keys::seal_bundle;

    const REPOSITORY: RepositoryId = RepositoryId([7; 16]);

    #[test]
    fn what_is_read_says_which_bundle_opens_it_and_what_all_hold_seals() {
        let founding = founding();
        let kem = &founding.owner.kem;
        let next = KeyBundle { key_epoch: 3, k_ref: Some(Secret::new([9; 32])), ..founding.bundle.clone() };
        let seal = |bundle: &KeyBundle| {
            seal_bundle(bundle, REPOSITORY, kem.public(), &[1; 32], &KemCalls::system()).unwrap()
        };
        let mut entry = founding.entry.clone();
        entry.bundles.push((3, seal(&next)));
        let ring = |agreed| Keyring::open(&entry, REPOSITORY, kem, agreed).unwrap();
        assert_eq!((ring(Some(0)).sealing().key_epoch, ring(Some(3)).sealing().key_epoch), (0, 3));
        assert_eq!((ring(None).sealing().key_epoch, ring(Some(8)).sealing().key_epoch), (3, 3));
        assert_eq!(ring(Some(0)).of(3).unwrap().k_ref, next.k_ref);
        assert_eq!(ring(None).of(1).unwrap_err(), FormatError::KeyEpoch(1));
        // A bundle under the number of another.
        let swapped = MemberEntry { bundles: vec![(1, seal(&next))], ..entry.clone() };
        assert!(Keyring::open(&swapped, REPOSITORY, kem, None).is_err());
        let none = MemberEntry { bundles: Vec::new(), ..entry };
        assert_eq!(
            Keyring::open(&none, REPOSITORY, kem, None).unwrap_err(),
            FormatError::NotAllowed("it has no rights")
        );
    }
}
