//! Domains: parts of a repository with keys of their own, so that whoever destroys these keys has
//! erased the part, and nothing else.
//!
//! A domain is a repository of its own below `domains/<name>/`: own chunks, packs, index, sessions,
//! roots. Only the way in is shared. The slots of the repository above open it, because its member
//! entries seal its keys to the same members. On purpose not here: destroying one
//! ([`crate::shred`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::evidence::{self, EvidenceRecord};
use crate::maintain::shut_out_removed;
use crate::members::{TRIES_MAX, append_by, changed_at_every_attempt, removal, require_owner, seal_to};
use crate::remember::RollBack;
use crate::repository::{Repository, get_optional, no_repository, object_key, put_or_mine, put_recover_text};
use crate::rights::Right;
use crate::shred::SHRED;
use crate::standing::Standing;
use holdfast_core::crypto::hash;
use holdfast_core::id::{MemberId, ObjectId, RepositoryId};
use holdfast_core::keys::{FoundingRandom, MemberEntry, found_domain, member_header};
use holdfast_core::name;
use holdfast_core::object::{Object, ObjectType};
use holdfast_core::repository::{DOMAIN, Features, RECOVER_TEXT, Repository as Description};
use holdfast_store::{ObjectStore, Put};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What bringing the members of a domain in line did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    /// Members that open it now and did not before.
    pub admitted: u64,
    /// Members that opened it and do not any more.
    pub removed: u64,
}

/// Whether what lies in a store says that it is a domain.
///
/// # Errors
/// The store cannot be read.
pub async fn is_domain(store: &dyn ObjectStore) -> Result<bool> {
    let text = get_optional(store, name::REPOSITORY).await?;
    Ok(text.is_some_and(|text| Description::decode(&text).is_ok_and(|description| description.is_domain())))
}

/// The names of the domains, in order; also of those that were not erased to the end.
///
/// # Errors
/// The repository cannot be listed.
pub async fn domains(repository: &Repository) -> Result<Vec<String>> {
    let store = repository.store();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        // One request a domain: the listing goes on behind all that lies in it.
        let page = store.list(name::DOMAINS, after.as_ref(), 1).await?;
        let Some(meta) = page.into_iter().next() else { return Ok(found) };
        after = Some(match name::domain_of(meta.key.as_str()) {
            Some(domain) => {
                found.push(domain.to_owned());
                // The character behind `/`.
                object_key(format!("{}{domain}0", name::DOMAINS))
            }
            None => meta.key,
        });
    }
}

impl Repository {
    /// Makes a domain in an empty store below `above`: keys, an entry for each member of the
    /// repository above, `RECOVER.txt`, and last `holdfast.json`, whose creation is the commit.
    ///
    /// # Errors
    /// We are no owner, there is one already or something else lies there, or the store failed.
    pub async fn create_domain(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        above: &Self,
        proved: Vec<String>,
    ) -> Result<Self> {
        require_owner(above, "make a domain")?;
        refuse_taken(&*store).await?;
        let (id, object) = (RepositoryId(ctx.random()), ObjectId(ctx.random()));
        let description = Description {
            id,
            features: Features { incompat: vec![DOMAIN.to_owned()], compat: proved, ..Features::default() },
            key_slot: ObjectId([0; 16]),
            member: object,
            recover: hash(RECOVER_TEXT.as_bytes()),
        };
        let random = FoundingRandom {
            x25519: [ctx.random(), ctx.random(), ctx.random()],
            wal: Some(ctx.random()),
            sign: [0; 32],
            keys: [ctx.random(), ctx.random(), ctx.random(), ctx.random()],
            ephemeral: ctx.random(),
        };
        let keys = above.member_keys();
        let standing = above.standing();
        let label = standing.members.active(keys.member).map_or("", |entry| &entry.label);
        let failed = |error| Error::format("the new keys", error);
        let (_, entry) = found_domain(id, keys, label, &random, &ctx.kem).map_err(failed)?;
        let header = member_header(ObjectType::Member, id, object, keys.member, ctx.random());
        let bytes = entry.encode(&header, &keys.signer);
        if put_or_mine(&*store, &name::member(0, object), bytes).await? == Put::Exists {
            let what = "a random name was taken: the source of randomness is broken";
            return Err(Error::new(ErrorKind::Store, what));
        }
        let text = description.encode();
        let own = Self::domain_with(
            ctx,
            Arc::clone(&store),
            above,
            (description, hash(text.as_bytes())),
            RollBack::Refuse,
        )
        .await?;
        grant(ctx, above, &own).await?;
        put_recover_text(&*store).await?;
        if put_or_mine(&*store, name::REPOSITORY, text.into()).await? == Put::Exists {
            return Err(taken(&*store));
        }
        Self::open_domain(ctx, store, above).await
    }

    /// Opens a domain with the keys that opened the repository above.
    ///
    /// # Errors
    /// There is none or it was erased, its members do not count us among them, or nobody who was an
    /// owner of the repository above made it.
    pub async fn open_domain(ctx: &Ctx, store: Arc<dyn ObjectStore>, above: &Self) -> Result<Self> {
        Self::open_domain_or_accept(ctx, store, above, RollBack::Refuse).await
    }

    /// The same, and says what is to become of a state that is older than what this host has seen.
    ///
    /// # Errors
    /// As for [`Repository::open_domain`].
    pub async fn open_domain_or_accept(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        above: &Self,
        roll_back: RollBack,
    ) -> Result<Self> {
        let Some(said) = get_optional(&*store, name::SHREDDED).await? else {
            let opened = Self::open_marked(ctx, store, above, roll_back).await?;
            opened.refuse_put_back(ctx, above).await?;
            return Ok(opened);
        };
        let recorded = is_recorded(ctx, &*store, above).await?;
        // One key is enough for whoever it is of.
        if recorded && !store.list("members/", None, 1).await?.is_empty() {
            let what = format!(
                "an erasure of {} was begun and keys of it are still there: run `holdfast shred` again",
                store.location()
            );
            return Err(Error::new(ErrorKind::NoRepository, what));
        }
        let opened = match recorded {
            true => None,
            // Keys that are gone for another reason are gone.
            false => Self::open_marked(ctx, Arc::clone(&store), above, roll_back).await.ok(),
        };
        let Some(opened) = opened else {
            let said = String::from_utf8_lossy(&said).trim_end().escape_debug().to_string();
            let what = format!("the keys of {} were destroyed: {said}", store.location());
            return Err(Error::new(ErrorKind::NoRepository, what));
        };
        let what = format!(
            "{}/{} says that its keys were destroyed; they are there, and no owner recorded that: whoever can write \
             there put that file. It is passed over; delete it",
            store.location(),
            name::SHREDDED
        );
        ctx.monitor.on(&Event::Warning(&what));
        Ok(opened)
    }

    /// Refuses a domain that was erased and that somebody put back from a copy without its mark. Who sees no roots
    /// of the repository above cannot know.
    async fn refuse_put_back(&self, ctx: &Ctx, above: &Self) -> Result<()> {
        if above.require(Right::See).is_err() {
            return Ok(());
        }
        let is_noted = above.newest_root().await?.shredded.contains(&self.id());
        // Who publishes roots need not be an owner.
        if !is_noted || !is_recorded(ctx, &**self.store(), above).await? {
            return Ok(());
        }
        let what = format!(
            "{} was erased, as an owner recorded, and somebody has put it back: run `holdfast shred` again, or ask \
             who did it",
            self.store().location()
        );
        Err(Error::new(ErrorKind::NoRepository, what))
    }

    /// The same, whether it is marked as shredded or not: anybody who writes the store can put the
    /// mark, and what it says has to be held against what is there.
    pub(crate) async fn open_marked(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        above: &Self,
        roll_back: RollBack,
    ) -> Result<Self> {
        let text = get_optional(&*store, name::REPOSITORY).await?;
        let text = text.ok_or_else(|| no_repository(&*store))?;
        let description =
            Description::decode(&text).map_err(|error| Error::format(name::REPOSITORY, error))?;
        if !description.is_domain() {
            let what = format!("{} is a repository of its own and no domain", store.location());
            return Err(Error::new(ErrorKind::Usage, what));
        }
        Self::domain_with(ctx, store, above, (description, hash(&text)), roll_back).await
    }

    async fn domain_with(
        ctx: &Ctx,
        store: Arc<dyn ObjectStore>,
        above: &Self,
        (description, description_hash): (Description, [u8; 32]),
        roll_back: RollBack,
    ) -> Result<Self> {
        let object = name::member(0, description.member);
        let bytes = get_optional(&*store, &object).await?;
        let bytes = bytes.ok_or_else(|| {
            Error::new(ErrorKind::Damaged, format!("{object} is missing: nobody's rights can be told"))
        })?;
        let first = Object::parse(&bytes).and_then(|parsed| MemberEntry::decode(parsed.body));
        let first = first.map_err(|error| Error::format(&object, error))?;
        if !above.standing().members.was_owner(first.member, &first.sign) {
            let what = format!("{} was not made by an owner of the repository", store.location());
            return Err(Error::new(ErrorKind::Damaged, what));
        }
        let keys = above.member_keys().trusting(first.sign);
        let location = store.location();
        let opener = (above.slot(), keys);
        let opened = Self::with_keys(ctx, store, description, description_hash, opener, roll_back).await;
        opened.map_err(|error| match error.kind {
            ErrorKind::NotAllowed => {
                let what = format!(
                    "this key does not open {location} (yet): an owner has to run `holdfast domain grant`"
                );
                Error { what, ..error }
            }
            _ => error,
        })
    }

    /// Whether it is a domain.
    #[must_use]
    pub fn is_domain(&self) -> bool {
        self.description().is_domain()
    }
}

/// Brings the members of a domain in line with those of the repository above: who belongs there
/// opens it, with the same role; who does not, does not. A new one gets the keys of all generations.
///
/// # Errors
/// We are no owner of both, others changed the members at every attempt, or the store failed.
pub async fn grant(ctx: &Ctx, above: &Repository, domain: &Repository) -> Result<Granted> {
    require_owner(above, "change who opens a domain")?;
    let mut granted = Granted::default();
    for _ in 0..TRIES_MAX {
        let differing = differing(above, domain).await?;
        if differing.is_empty() {
            // What an earlier removal had begun is ended too.
            shut_out_removed(ctx, domain).await?;
            return Ok(granted);
        }
        for member in differing {
            align(ctx, above, domain, member, &mut granted).await?;
        }
    }
    Err(changed_at_every_attempt())
}

/// Members of whom the two chains do not say the same now. The domain's is read first: who is in it was
/// above before.
async fn differing(above: &Repository, domain: &Repository) -> Result<BTreeSet<MemberId>> {
    domain.refresh_members().await?;
    above.refresh_members().await?;
    let (there, here) = (above.standing(), domain.standing());
    let lacking = there.members.all_active().into_iter().filter(|entry| !is_in(&here, entry));
    let foreign = here.members.all_active().into_iter();
    let foreign = foreign.filter(|entry| there.members.active(entry.member).is_none());
    Ok(lacking.chain(foreign).map(|entry| entry.member).collect())
}

/// Lets a member in or shuts it out, as the newest chain above says.
async fn align(
    ctx: &Ctx,
    above: &Repository,
    domain: &Repository,
    member: MemberId,
    granted: &mut Granted,
) -> Result<()> {
    let entry = |here: &Standing| {
        let there = above.standing();
        match (there.members.active(member), here.members.active(member)) {
            (Some(entry), _) => admission(ctx, domain, here, entry),
            (None, Some(own)) => Ok(Some(removal(own))),
            (None, None) => Ok(None),
        }
    };
    if append_by(ctx, domain, Some(above), entry).await? {
        match domain.standing().members.active(member) {
            Some(_) => granted.admitted += 1,
            None => granted.removed += 1,
        }
    }
    Ok(())
}

/// Whether a member of the repository above is in, with the same role and keys.
fn is_in(here: &Standing, above: &MemberEntry) -> bool {
    let same = |own: &MemberEntry| (own.role, own.sign, &own.kem) == (above.role, above.sign, &above.kem);
    here.members.active(above.member).is_some_and(same)
}

/// The entry that lets a member of the repository above in; none if it is in already.
fn admission(
    ctx: &Ctx,
    domain: &Repository,
    here: &Standing,
    above: &MemberEntry,
) -> Result<Option<MemberEntry>> {
    if is_in(here, above) {
        return Ok(None);
    }
    let sealed = here.ring.all().map(|bundle| seal_to(ctx, domain, bundle, above.role, &above.kem));
    Ok(Some(MemberEntry { bundles: sealed.collect::<Result<_>>()?, ..above.clone() }))
}

/// Refuses a place where something lies already: what is left of an erased domain opens nothing and
/// would only be in the way.
async fn refuse_taken(store: &dyn ObjectStore) -> Result<()> {
    if get_optional(store, name::REPOSITORY).await?.is_some() {
        return Err(taken(store));
    }
    if store.list("", None, 1).await?.is_empty() {
        return Ok(());
    }
    let what = format!("something lies at {} already; choose another name", store.location());
    Err(Error::new(ErrorKind::RepositoryExists, what))
}

fn taken(store: &dyn ObjectStore) -> Error {
    Error::new(ErrorKind::RepositoryExists, format!("there is a domain already at {}", store.location()))
}

/// Whether a domain is marked as erased and an owner recorded that: there is nobody to let in or to shut
/// out any more, only the erasure to be ended.
///
/// # Errors
/// The store or the evidence of the repository above cannot be read, or what lies there is no domain.
pub async fn is_erased(ctx: &Ctx, store: &dyn ObjectStore, above: &Repository) -> Result<bool> {
    Ok(get_optional(store, name::SHREDDED).await?.is_some() && is_recorded(ctx, store, above).await?)
}

/// Whether an owner left a record in the repository above that the domain which lies there is erased. It is
/// left before anything else is done.
pub(crate) async fn is_recorded(ctx: &Ctx, store: &dyn ObjectStore, above: &Repository) -> Result<bool> {
    let Some(text) = get_optional(store, name::REPOSITORY).await? else { return Ok(true) };
    let description = Description::decode(&text).map_err(|error| Error::format(name::REPOSITORY, error))?;
    let id = description.id.to_string();
    let book = evidence::records(ctx, above).await?;
    let is_of = |record: &EvidenceRecord| {
        let told: serde_json::Value = serde_json::from_slice(&record.text).unwrap_or_default();
        record.kind == SHRED && above.is_owner(record.member) && told["repository"] == id.as_str()
    };
    Ok(book.records().into_iter().any(is_of))
}
