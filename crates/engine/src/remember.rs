//! What this host has seen of a repository: the newest root, and the chain of members. It is kept
//! in the cache folder, so that a store which shows an older state, or another history, is refused.
//!
//! What is compared with is read before the store is asked, so that whoever publishes meanwhile
//! makes nothing look old. A root that is damaged or gone accuses nobody: that is for `check`. A
//! member's own key signs the file: whoever can write there can take the memory away, and not
//! give another. On purpose not here: reading roots ([`crate::roots`]). Without a cache folder
//! nothing is remembered.

use crate::error::{Error, ErrorKind, Result};
use crate::private_files::create_private_folder;
use crate::repository::{Repository, get_optional};
use crate::roots::SeenRoot;
use crate::workers::lock;
use holdfast_core::crypto::{SIGNATURE_BYTES, Signer, hash};
use holdfast_core::id::{MemberId, RepositoryId};
use holdfast_core::keys::Members;
use holdfast_core::name;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What is signed begins so.
const SIGNED: &[u8] = b"holdfast 1 seen state";
/// What the file begins with.
const MAGIC: &[u8; 8] = b"HFDseen\x01";
/// Magic, repository, hash of `holdfast.json`, two numbers and two hashes, in bytes.
const FIRST_BYTES: usize = 8 + 16 + 32 + 2 * (8 + 32);
/// And how many entries of members roots had named; earlier versions did not keep it.
const STATE_BYTES: usize = FIRST_BYTES + 8;

/// A number that only grows, and the hash of what has it.
pub(crate) type Mark = (u64, [u8; 32]);

/// The newest state that was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// The newest root; 0 before there is any.
    root: Mark,
    /// How many entries the chain of members has, and its last.
    members: Mark,
    /// How many entries of members the newest root names.
    named: u64,
}

/// What is remembered of one repository, by one member on one host.
#[derive(Debug)]
pub(crate) struct Memory {
    path: Option<PathBuf>,
    repository: RepositoryId,
    description: [u8; 32],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: Seen,
    /// The file is written anew, whatever it says.
    anew: bool,
}

/// Whether an older state is taken as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollBack {
    /// It is refused.
    Refuse,
    /// It is accepted, and remembered from here on.
    Accept,
}

impl Memory {
    /// Recalls what was seen.
    ///
    /// # Errors
    /// The repository has another `holdfast.json` than this host has seen.
    pub(crate) fn recall(
        cache: Option<&Path>,
        (repository, description): (RepositoryId, [u8; 32]),
        (member, signer): (MemberId, &Signer),
        roll_back: RollBack,
    ) -> Result<Self> {
        let path = cache.map(|folder| folder.join(format!("seen-{member}")));
        let anew = roll_back == RollBack::Accept;
        let state = Mutex::new(State { seen: Seen::default(), anew });
        let memory = Self { path, repository, description, state };
        if anew {
            return Ok(memory);
        }
        let Some((seen, known)) = memory.read(signer) else { return Ok(memory) };
        if known != description {
            return Err(rolled_back("holdfast.json is another one than this host has seen"));
        }
        lock(&memory.state).seen = seen;
        Ok(memory)
    }

    /// What the file says, if it is whole and ours.
    fn read(&self, signer: &Signer) -> Option<(Seen, [u8; 32])> {
        let bytes = std::fs::read(self.path.as_ref()?).ok()?;
        let has_all = bytes.len() == STATE_BYTES + SIGNATURE_BYTES;
        let length = if has_all { STATE_BYTES } else { FIRST_BYTES };
        let (state, signature) = bytes.split_at_checked(length)?;
        signer.public().verify(&[SIGNED, state].concat(), signature).ok()?;
        let mut rest = state;
        let mut take = |length: usize| {
            let (part, after) = rest.split_at(length);
            rest = after;
            part
        };
        if take(8) != MAGIC || take(16) != self.repository.bytes() {
            return None;
        }
        let description = take(32).try_into().ok()?;
        let mut mark = || Some((u64::from_le_bytes(take(8).try_into().ok()?), take(32).try_into().ok()?));
        let (root, members) = (mark()?, mark()?);
        let named = if has_all { u64::from_le_bytes(take(8).try_into().ok()?) } else { 0 };
        Some((Seen { root, members, named }, description))
    }

    fn write(&self, seen: &Seen, signer: &Signer) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut state = Vec::with_capacity(STATE_BYTES + SIGNATURE_BYTES);
        state.extend_from_slice(MAGIC);
        state.extend_from_slice(self.repository.bytes());
        state.extend_from_slice(&self.description);
        for (number, hash) in [seen.root, seen.members] {
            state.extend_from_slice(&number.to_le_bytes());
            state.extend_from_slice(&hash);
        }
        state.extend_from_slice(&seen.named.to_le_bytes());
        let signature = signer.sign(&[SIGNED, &state].concat());
        state.extend_from_slice(&signature);
        create_private_folder(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&fresh, state)?;
        std::fs::rename(&fresh, path)
    }

    /// The newest root that was seen.
    pub(crate) fn root(&self) -> Mark {
        lock(&self.state).seen.root
    }

    /// How many entries of members the newest root named that was seen.
    pub(crate) fn named(&self) -> u64 {
        lock(&self.state).seen.named
    }

    fn members(&self) -> Mark {
        lock(&self.state).seen.members
    }

    /// Remembers more, beside what another process has remembered meanwhile. A folder that cannot be
    /// written is told of by who needs it for more.
    fn note(&self, signer: &Signer, (root, named): (Mark, u64), members: Mark) {
        let mut state = lock(&self.state);
        let seen = state.seen;
        let grown = root.0 > seen.root.0 || members.0 > seen.members.0 || named > seen.named;
        if !grown && !state.anew {
            return;
        }
        let others = if state.anew { None } else { self.read(signer) };
        for known in [Seen { root, members, named }].into_iter().chain(others.map(|(seen, _)| seen)) {
            raise(&mut state.seen.root, known.root);
            raise(&mut state.seen.members, known.members);
            state.seen.named = state.seen.named.max(known.named);
        }
        state.anew = false;
        let seen = state.seen;
        let _ = self.write(&seen, signer);
    }
}

fn raise(mark: &mut Mark, other: Mark) {
    if other.0 > mark.0 {
        *mark = other;
    }
}

impl Repository {
    /// Compares a root with what had been seen before it was asked for, and remembers it.
    ///
    /// # Errors
    /// It is older ([`ErrorKind::RolledBack`]), or of another history.
    pub(crate) async fn compare_root(&self, (number, known): Mark, seen: SeenRoot) -> Result<SeenRoot> {
        let shown = seen.root.number;
        if shown < number {
            let what = format!(
                "root {number}, which this host has seen, is gone: root {shown} is the newest of {}",
                self.location()
            );
            return Err(rolled_back(&what));
        }
        let follows = shown == number + 1 && seen.root.previous == known;
        let same = number == 0 || follows || self.is_still(number, known, &seen).await?;
        if !same {
            let what = format!("root {number} of {} is another one than this host has seen", self.location());
            return Err(rolled_back(&what));
        }
        let named = seen.root.members.0;
        self.memory().note(self.signer(), ((shown, seen.hash), named), (0, [0; 32]));
        Ok(seen)
    }

    /// Whether a root that was seen is what it was; one that cannot be used is not another one.
    async fn is_still(&self, number: u64, known: [u8; 32], seen: &SeenRoot) -> Result<bool> {
        if seen.root.number == number {
            return Ok(seen.hash == known);
        }
        let bytes = get_optional(&**self.store(), &name::root(number)).await?;
        let is_other = |bytes: &[u8]| hash(bytes) != known && self.decode_root(number, bytes).is_ok();
        Ok(!bytes.is_some_and(|bytes| is_other(&bytes)))
    }
}

/// Compares the chain of members with what had been seen before it was read, and remembers it.
///
/// # Errors
/// It is shorter, or another one.
pub(crate) fn compare_members(memory: &Memory, signer: &Signer, members: &Members) -> Result<()> {
    let (count, known) = memory.members();
    let there = members.len() as u64;
    match members.hash_after(count) {
        _ if count == 0 => {}
        Some(hash) if hash == known => {}
        Some(_) => return Err(rolled_back("the chain of members is another one than this host has seen")),
        None => {
            let what = format!("the chain of members has {there} entries; this host has seen {count}");
            return Err(rolled_back(&what));
        }
    }
    memory.note(signer, ((0, [0; 32]), 0), (there, members.last_hash()));
    Ok(())
}

fn rolled_back(what: &str) -> Error {
    let what = format!(
        "{what}: an older state was put back, or something is withheld. It was left as it is; \
         put the newest state back (where only roots were lost: `holdfast repair index`), or accept this one \
         once with `--accept-rollback`"
    );
    Error::new(ErrorKind::RolledBack, what)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_core::crypto::Secret;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(Secret::new([seed; 32]))
    }

    fn recall(folder: &Path, seed: u8, description: u8, roll_back: RollBack) -> Result<Memory> {
        let terms = (RepositoryId([1; 16]), [description; 32]);
        Memory::recall(Some(folder), terms, (MemberId([2; 16]), &signer(seed)), roll_back)
    }

    #[test]
    fn what_was_seen_is_remembered_and_only_grows() {
        let folder = tempfile::tempdir().unwrap();
        let of = |seed| recall(folder.path(), seed, 3, RollBack::Refuse).unwrap();
        let (one, other) = (of(7), of(7));
        one.note(&signer(7), ((5, [5; 32]), 1), (1, [1; 32]));
        // Another process had seen less when it began, and more of something else since.
        other.note(&signer(7), ((4, [4; 32]), 2), (2, [2; 32]));
        assert_eq!((of(7).root(), of(7).members(), of(7).named()), ((5, [5; 32]), (2, [2; 32]), 2));
        // What another key signed, or a flipped bit, is no memory at all.
        assert_eq!(of(8).root(), (0, [0; 32]));
        let path = folder.path().join(format!("seen-{}", MemberId([2; 16])));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[60] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(of(7).root(), (0, [0; 32]));
    }

    #[test]
    fn another_description_is_refused_until_it_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        recall(folder.path(), 7, 3, RollBack::Refuse).unwrap().note(
            &signer(7),
            ((5, [5; 32]), 1),
            (1, [1; 32]),
        );
        let refused = recall(folder.path(), 7, 4, RollBack::Refuse).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::RolledBack);
        recall(folder.path(), 7, 4, RollBack::Accept).unwrap().note(
            &signer(7),
            ((2, [9; 32]), 1),
            (1, [1; 32]),
        );
        assert_eq!(recall(folder.path(), 7, 4, RollBack::Refuse).unwrap().root(), (2, [9; 32]));
    }
}
