//! A repository that is open: where it lies, who we are in it, and what we may do.
//!
//! On purpose not here: what is in it ([`crate::view`]) and how things are written.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::index::Blocks;
use crate::remember::{Memory, RollBack, compare_members};
use crate::standing::{Standing, read_members};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::crypto::{KdfCost, Secret as Key, Signer, hash};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId};
use holdfast_core::keys::{
    Credential, FoundingRandom, Identifier, KeyBundle, KeySlot, MemberKeys, Role, SlotKdf, SlotTerms,
    Transit, found, member_header,
};
use holdfast_core::name::{self, Place};
use holdfast_core::object::{Header, OBJECT_BYTES_MAX, Object, ObjectType, check_place};
use holdfast_core::repository::{Features, RECOVER_TEXT, Repository as Description};
use holdfast_store::{
    ByteRange, ErrorKind as StoreErrorKind, Key as ObjectKey, ObjectMeta, ObjectStore, Put, StoreError,
};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// Key slots that are read at the same time.
const SLOTS_AT_ONCE: usize = 16;

/// What a person holds.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub enum Secret {
    /// A password.
    Password(Vec<u8>),
    /// The content of a key file.
    KeyFile(Vec<u8>),
    /// The content of a key file that goes into its slot too, as a server sealed it.
    Sealed(Vec<u8>, #[zeroize(skip)] Transit),
}

impl Secret {
    pub(crate) fn credential(&self) -> Credential<'_> {
        match self {
            Self::Password(bytes) => Credential::Password(bytes),
            Self::KeyFile(bytes) | Self::Sealed(bytes, _) => Credential::KeyFile(bytes),
        }
    }

    /// How a slot's key is made of it; a key file costs nothing.
    pub(crate) const fn kdf(&self, cost: KdfCost) -> SlotKdf {
        match self {
            Self::Password(_) => SlotKdf::Password(cost),
            Self::KeyFile(_) | Self::Sealed(..) => SlotKdf::KeyFile,
        }
    }

    /// What its slot says beside.
    pub(crate) fn transit(&self) -> Option<Transit> {
        match self {
            Self::Sealed(_, transit) => Some(transit.clone()),
            Self::Password(_) | Self::KeyFile(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// How a repository is made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// What people call the first key slot.
    pub label: String,
    /// Cost of the password hash.
    pub kdf: KdfCost,
    /// What was found out of the store, recorded as features that nobody has to know, ascending.
    pub proved: Vec<String>,
    /// The keys that name chunks and say where they are cut, if they are another repository's:
    /// what is copied between the two keeps its ids then. Everything else is the new one's own.
    pub identifying: Option<Identifying>,
}

/// The keys that a repository shares with those made from it: who holds them can tell which
/// content is in which.
#[derive(Debug, Clone)]
pub struct Identifying {
    k_id: Key,
    k_cdc: Key,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    description: Description,
    description_hash: [u8; 32],
    keys: MemberKeys,
    slot: ObjectId,
    /// Who belongs, and what we hold, as far as we know.
    standing: RwLock<Arc<Standing>>,
    /// The highest root that was met; 0 before any.
    met_root: AtomicU64,
    /// Features of the newest root that whoever writes has to know.
    needed: AtomicU32,
    identifier: Option<Identifier>,
    cache: Option<PathBuf>,
    memory: Memory,
    blocks: Arc<Blocks>,
}

/// A repository that is open. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({} at {})", self.id(), self.location())
    }
}

/// Makes a key of a name that this crate made.
pub(crate) fn object_key(name: impl Into<String>) -> ObjectKey {
    ObjectKey::new(name).expect("names of objects are keys of every store")
}

/// Lists everything under a prefix.
pub(crate) async fn list_all(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<ObjectMeta>> {
    list_after(store, prefix, None).await
}

/// Lists everything of a repository; its domains are repositories of their own.
pub(crate) async fn list_own(store: &dyn ObjectStore) -> Result<Vec<ObjectMeta>> {
    const PAGE: usize = 10_000;
    let (mut all, mut after): (Vec<ObjectMeta>, Option<ObjectKey>) = (Vec::new(), None);
    loop {
        let page = store.list("", after.as_ref(), PAGE).await?;
        let done = page.len() < PAGE;
        let Some(last) = page.last().map(|meta| meta.key.clone()) else { return Ok(all) };
        let is_below = last.as_str().starts_with(name::DOMAINS);
        all.extend(page.into_iter().filter(|meta| !meta.key.as_str().starts_with(name::DOMAINS)));
        if done {
            return Ok(all);
        }
        // Behind all domains: `0` is the character that follows `/`.
        after = Some(if is_below { object_key("domains0") } else { last });
    }
}

/// Lists everything under a prefix whose name is greater than a text.
pub(crate) async fn list_after(
    store: &dyn ObjectStore,
    prefix: &str,
    after: Option<ObjectKey>,
) -> Result<Vec<ObjectMeta>> {
    const PAGE: usize = 10_000;
    let mut all: Vec<ObjectMeta> = Vec::new();
    loop {
        let last = all.last().map(|last| &last.key).or(after.as_ref());
        let page = store.list(prefix, last, PAGE).await?;
        let done = page.len() < PAGE;
        all.extend(page);
        if done {
            return Ok(all);
        }
    }
}

/// An object that is read whole. One that is longer than any may be ends early and so fails its
/// checksum, instead of filling memory.
pub(crate) const WHOLE: ByteRange = ByteRange::From { offset: 0, length: OBJECT_BYTES_MAX + 1 };

/// Reads an object; `None` if there is none.
pub(crate) async fn get_optional(store: &dyn ObjectStore, name: &str) -> Result<Option<Bytes>> {
    match store.get(&object_key(name), WHOLE).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Repository {
    /// Makes a repository: keys, the owner's entry, `RECOVER.txt`, and last `holdfast.json`,
    /// whose creation is the commit.
    ///
    /// # Errors
    /// There is one already, or the store failed; then nothing that counts was left.
    pub async fn create(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        secret: &Secret,
        options: &InitOptions,
    ) -> Result<Self> {
        let exists = || {
            Error::new(ErrorKind::RepositoryExists, format!("{} is a repository already", store.location()))
        };
        if get_optional(&*store, name::REPOSITORY).await?.is_some() {
            return Err(exists());
        }
        let (id, member) = (RepositoryId(ctx.random()), MemberId(ctx.random()));
        let description = Description {
            id,
            features: Features { compat: options.proved.clone(), ..Features::default() },
            key_slot: ObjectId(ctx.random()),
            member: ObjectId(ctx.random()),
            recover: hash(RECOVER_TEXT.as_bytes()),
        };
        let mut keys = zeroize::Zeroizing::new([ctx.random(), ctx.random(), ctx.random(), ctx.random()]);
        if let Some(Identifying { k_id, k_cdc }) = &options.identifying {
            (keys[0], keys[1]) = (*k_id.expose(), *k_cdc.expose());
        }
        let random = FoundingRandom {
            x25519: [ctx.random(), ctx.random(), ctx.random()],
            wal: Some(ctx.random()),
            sign: ctx.random(),
            keys: *keys,
            ephemeral: ctx.random(),
        };
        let failed = |error| Error::format("the new keys", error);
        let founding = found(id, member, &options.label, &random, &ctx.kem).map_err(failed)?;
        let kdf = secret.kdf(options.kdf);
        let header = |object_type, object| member_header(object_type, id, object, member, ctx.random());
        let slot_header = header(ObjectType::KeySlot, description.key_slot);
        let terms = SlotTerms {
            role: Role::Owner,
            label: options.label.clone(),
            kdf,
            salt: ctx.random(),
            created: Some(ctx.clock.now()),
            transit: secret.transit(),
        };
        let slot =
            KeySlot::wrap(&founding.owner, terms, secret.credential(), &slot_header).map_err(failed)?;
        let slot = slot.encode(&slot_header);
        let entry =
            founding.entry.encode(&header(ObjectType::Member, description.member), &founding.owner.signer);
        for (name, bytes) in
            [(name::key_slot(description.key_slot), slot), (name::member(0, description.member), entry)]
        {
            if put_or_mine(&*store, &name, bytes).await? == Put::Exists {
                return Err(Error::new(
                    ErrorKind::Store,
                    "a random name was taken: the source of randomness is broken",
                ));
            }
        }
        put_recover_text(&*store).await?;
        if put_or_mine(&*store, name::REPOSITORY, description.encode().into()).await? == Put::Exists {
            return Err(exists());
        }
        Self::open(ctx, store, secret).await
    }

    /// Opens a repository with what a person holds.
    ///
    /// # Errors
    /// There is none, the secret opens no slot, or it is of another version.
    pub async fn open(ctx: &Ctx, store: Arc<dyn ObjectStore>, secret: &Secret) -> Result<Self> {
        Self::open_or_accept(ctx, store, secret, RollBack::Refuse).await
    }

    /// The same, and says what becomes of a state that is older than this host has seen.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub async fn open_or_accept(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        secret: &Secret,
        roll_back: RollBack,
    ) -> Result<Self> {
        let text = get_optional(&*store, name::REPOSITORY).await?;
        let text = text.ok_or_else(|| no_repository(&*store))?;
        let description =
            Description::decode(&text).map_err(|error| Error::format(name::REPOSITORY, error))?;
        if description.is_domain() {
            let what = format!("{} is a domain: the repository above it opens it", store.location());
            return Err(Error::new(ErrorKind::Usage, what));
        }
        let opened = open_slot(&*store, &description, secret).await?;
        Self::with_keys(ctx, store, description, hash(&text), opened, roll_back).await
    }

    pub(crate) async fn with_keys(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        description: Description,
        description_hash: [u8; 32],
        (slot, keys): (ObjectId, MemberKeys),
        roll_back: RollBack,
    ) -> Result<Self> {
        let cache = ctx.cache.as_ref().map(|folder| folder.join(description.id.to_string()));
        let (terms, own) = ((description.id, description_hash), (keys.member, &keys.signer));
        let memory = Memory::recall(cache.as_deref(), terms, own, roll_back)?;
        let members = read_members(&*store, &description, &keys.owner).await?;
        compare_members(&memory, &keys.signer, &members)?;
        let standing = Standing::new(members, &keys, description.id)?;
        // What names and cuts stays the same whatever is rotated.
        let bundle = standing.ring.sealing();
        let identifier = match (&bundle.k_id, &bundle.k_cdc) {
            (Some(k_id), Some(k_cdc)) => Some(Identifier::new(k_id, k_cdc)),
            _ => None,
        };
        let inner = Inner {
            store,
            description,
            description_hash,
            keys,
            slot,
            standing: RwLock::new(Arc::new(standing)),
            met_root: AtomicU64::new(0),
            needed: AtomicU32::new(0),
            identifier,
            cache,
            memory,
            blocks: Arc::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Names the repository.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.inner.description.id
    }

    /// Folder of local copies of this repository's objects.
    pub(crate) fn cache(&self) -> Option<&Path> {
        self.inner.cache.as_deref()
    }

    /// What this host has seen of it before.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// Blocks of the index that were read lately.
    pub(crate) fn blocks(&self) -> &Arc<Blocks> {
        &self.inner.blocks
    }

    /// Where it lies, for people.
    #[must_use]
    pub fn location(&self) -> String {
        self.inner.store.location()
    }

    /// Who we are.
    pub(crate) fn member(&self) -> MemberId {
        self.inner.keys.member
    }

    /// The slot that opened it.
    pub(crate) fn slot(&self) -> ObjectId {
        self.inner.slot
    }

    /// Notes that a root was met; whether it is newer than one that was met before.
    pub(crate) fn meets_newer_root(&self, number: u64) -> bool {
        let before = self.inner.met_root.fetch_max(number, Ordering::Relaxed);
        before > 0 && number > before
    }

    /// Notes what the newest root says that whoever writes has to know.
    pub(crate) fn note_needed(&self, ro_compat: u32) {
        self.inner.needed.store(ro_compat, Ordering::Relaxed);
    }

    /// Refuses to write where the newest root says that one has to know more for that.
    pub(crate) fn require_known_features(&self) -> Result<()> {
        match self.inner.needed.load(Ordering::Relaxed) {
            0 => Ok(()),
            bits => {
                let what = format!(
                    "{} uses features ({bits:#x}) that this version does not know and that whoever writes has to: it \
                     can be read; a newer version of holdfast writes to it",
                    self.location()
                );
                Err(Error::new(ErrorKind::Newer, what))
            }
        }
    }

    pub(crate) fn held_standing(&self) -> &RwLock<Arc<Standing>> {
        &self.inner.standing
    }

    pub(crate) fn member_keys(&self) -> &MemberKeys {
        &self.inner.keys
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    pub(crate) fn description(&self) -> &Description {
        &self.inner.description
    }

    pub(crate) fn description_hash(&self) -> [u8; 32] {
        self.inner.description_hash
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.inner.keys.signer
    }

    /// Names chunks.
    pub(crate) fn identifier(&self) -> Result<&Identifier> {
        self.inner.identifier.as_ref().ok_or_else(|| not_allowed("name chunks"))
    }

    /// What a new repository shares with this one, so that copies keep their ids.
    ///
    /// # Errors
    /// The key does not hold it.
    pub fn identifying(&self) -> Result<Identifying> {
        match self.bundle() {
            KeyBundle { k_id: Some(k_id), k_cdc: Some(k_cdc), .. } => Ok(Identifying { k_id, k_cdc }),
            _ => Err(not_allowed("name chunks")),
        }
    }

    /// Whether chunks and pages have the same ids in both.
    pub(crate) fn names_alike(&self, other: &Self) -> bool {
        let (own, other) = (self.bundle(), other.bundle());
        own.k_id.is_some() && own.k_cdc.is_some() && own.k_id == other.k_id && own.k_cdc == other.k_cdc
    }

    /// Header of an object that we write.
    pub(crate) fn header(&self, ctx: &Ctx, object_type: ObjectType, object: ObjectId, epoch: u64) -> Header {
        Header {
            object_type,
            incompat: 0,
            ro_compat: 0,
            key_epoch: self.key_epoch(),
            repository: self.id(),
            object,
            epoch,
            member: self.member(),
            nonce: ctx.random(),
        }
    }

    /// Stores an object under a name that only its author uses. Meeting its own bytes there after
    /// a lost acknowledgement is success.
    ///
    /// # Errors
    /// The store failed, or another object lies there.
    pub(crate) async fn put_own(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        match put_or_mine(&**self.store(), name, bytes).await? {
            Put::Created => Ok(()),
            Put::Exists => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "another process writes under the same name ({name}); was this machine cloned while it ran?"
                ),
            )),
        }
    }
}

/// Puts an object if its name is free; an ambiguous failure or a lost race is told from a lost
/// acknowledgement by reading what lies there.
pub(crate) async fn put_or_mine(store: &dyn ObjectStore, name: &str, bytes: Vec<u8>) -> Result<Put> {
    let (key, body) = (object_key(name), Bytes::from(bytes));
    let outcome = match store.put_new(&key, body.clone()).await {
        Err(StoreError { kind: StoreErrorKind::Retry, .. }) => store.put_new(&key, body.clone()).await?,
        other => other?,
    };
    // What is gone already was somebody else's to delete: it does not count, whoever wrote it.
    if outcome == Put::Exists && get_optional(store, name).await?.is_some_and(|found| found == body) {
        return Ok(Put::Created);
    }
    Ok(outcome)
}

fn not_allowed(what: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, format!("this key does not allow to {what}"))
}

pub(crate) fn no_repository(store: &dyn ObjectStore) -> Error {
    Error::new(ErrorKind::NoRepository, format!("there is no repository at {}", store.location()))
}

pub(crate) async fn put_recover_text(store: &dyn ObjectStore) -> Result<()> {
    match put_or_mine(store, name::RECOVER, RECOVER_TEXT.into()).await? {
        Put::Created => Ok(()),
        Put::Exists => Err(Error::new(
            ErrorKind::RepositoryExists,
            format!(
                "{} holds a {} of another version; choose an empty place",
                store.location(),
                name::RECOVER
            ),
        )),
    }
}

/// Tries the secret on the slots, those first that cost least: anybody who may write can put one that costs much.
/// A slot may be replaced between the listing and its reading, so that the listing has to stand still before a key is
/// called wrong.
async fn open_slot(
    store: &dyn ObjectStore,
    description: &Description,
    secret: &Secret,
) -> Result<(ObjectId, MemberKeys)> {
    let (mut tried, mut damaged, mut is_wrong) = (BTreeSet::new(), Vec::new(), false);
    for round in 0.. {
        let slots = list_all(store, "keys/").await?;
        let names: Vec<_> =
            slots.into_iter().map(|meta| meta.key).filter(|key| !tried.contains(key)).collect();
        if round > 0 && names.is_empty() {
            break;
        }
        let mut found = Vec::new();
        let ids = names.iter().filter_map(|key| match name::parse(key.as_str()) {
            Some(Place::KeySlot(id)) => Some(id),
            _ => None,
        });
        let mut reads = stream::iter(ids.collect::<Vec<_>>())
            .map(|id| async move { (id, get_optional(store, &name::key_slot(id)).await) })
            .buffered(SLOTS_AT_ONCE);
        while let Some((id, bytes)) = reads.next().await {
            let Some(bytes) = bytes? else { continue };
            match read_slot(&bytes, description.id, id) {
                Ok((header, slot)) => found.push((id, header, slot)),
                Err(FormatError::Misplaced(_)) => {}
                Err(error) => damaged.push((id, error)),
            }
        }
        drop(reads);
        found.sort_by_key(|(id, _, slot)| (cost_of(slot), *id != description.key_slot));
        for (id, header, slot) in found {
            match slot.unwrap(&header, secret.credential()) {
                Ok(keys) => return Ok((id, keys)),
                Err(FormatError::WrongKey) => is_wrong = true,
                Err(error) => damaged.push((id, error)),
            }
        }
        tried.extend(names);
    }
    match damaged.first() {
        // There was none that it could be wrong for.
        Some((id, _)) if !is_wrong => {
            let object = name::key_slot(*id);
            Err(Error::format(&object, damaged.swap_remove(0).1))
        }
        _ => Err(wrong_key(store, &damaged)),
    }
}

/// What it takes to try a secret on a slot.
const fn cost_of(slot: &KeySlot) -> u64 {
    match slot.kdf {
        SlotKdf::Password(cost) => cost.memory_kib as u64 * cost.passes as u64,
        SlotKdf::KeyFile => 0,
    }
}

/// No slot was opened. Which cannot be used is told beside: the secret may have been for one of those.
fn wrong_key(store: &dyn ObjectStore, damaged: &[(ObjectId, FormatError)]) -> Error {
    let mut what = format!("the password or key file opens no key slot of {}", store.location());
    for (number, (id, error)) in damaged.iter().enumerate() {
        let before = if number == 0 { "; it may be right for one that cannot be used: " } else { ", " };
        what += &format!("{before}{} ({error})", name::key_slot(*id));
    }
    Error::new(ErrorKind::WrongKey, what)
}

pub(crate) fn read_slot(
    bytes: &[u8],
    repository: RepositoryId,
    id: ObjectId,
) -> std::result::Result<(Header, KeySlot), FormatError> {
    let object = Object::parse(bytes)?;
    check_place(&object.header, ObjectType::KeySlot, repository, id)?;
    Ok((object.header.clone(), KeySlot::decode(object.body)?))
}
