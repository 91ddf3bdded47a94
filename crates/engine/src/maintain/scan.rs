//! G1: what lies in the repository under one root: packs, then sessions, then their ends and pins.
//!
//! A scan counts only if the root did not change from its first read to its last; whatever it then
//! saw undecided is protected by what it pinned and by its name. On purpose not here: deciding what
//! goes.

use super::hidden::refuse_hidden;
use super::publish::{ATTEMPTS_MAX, too_busy};
use crate::adopt::is_dead;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::index::PackState;
use crate::repository::{Repository, get_optional, list_all, object_key};
use crate::view::{Damage, SeenSession, View};
use holdfast_core::hold::WatchedSession;
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::name::{self, PackId, Place, SessionName};
use holdfast_core::session::{End, Pins};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Sessions that one member may have open; of more the later ones are aborted: each would be watched
/// and named in every root. Nobody honest has so many.
const OPEN_SESSIONS_MAX: usize = 256;

/// Packs that are asked for whether a listing shows them now.
const HIDDEN_LOOKED_AT: usize = 16;

/// A session that may still commit.
pub(super) struct OpenSession {
    pub name: SessionName,
    /// Objects of it that there were.
    pub objects: u32,
    /// Whether its process is known to be gone.
    pub is_left: bool,
    /// Whether its member was removed.
    pub is_removed: bool,
    /// What is wrong with its pins, if they cannot be used: they may protect anything.
    pub odd_pins: Option<Damage>,
}

/// What was seen under one root.
pub(super) struct Scan {
    /// The root, and what follows from it.
    pub view: View,
    /// Packs that lie in the store, with their lengths.
    pub packs: BTreeMap<PackId, u64>,
    /// Packs that the index names and the listing came too early for; they are no candidates.
    young: BTreeMap<PackId, u64>,
    /// Sessions without an end.
    pub open: Vec<OpenSession>,
    /// What they pinned.
    pub pinned_packs: HashSet<PackId>,
    /// Snapshots that they pinned.
    pub pinned_snapshots: BTreeSet<SessionId>,
    /// The members that there were before anything was looked at.
    pub members: (u64, [u8; 32]),
}

impl Scan {
    /// What repairs go by: nothing is given up, so nobody's pins are read.
    pub(super) fn bare(view: View, packs: BTreeMap<PackId, u64>, members: (u64, [u8; 32])) -> Self {
        let undecided = view.sessions.values().filter(|seen| !seen.ended);
        let open = undecided.map(|seen| OpenSession {
            name: seen.name,
            objects: 1 + seen.pins + seen.objects,
            is_left: false,
            is_removed: false,
            odd_pins: None,
        });
        let open = open.collect();
        let (young, pinned_packs) = (BTreeMap::new(), HashSet::new());
        Self { view, packs, young, open, pinned_packs, pinned_snapshots: BTreeSet::new(), members }
    }

    /// Whether an undecided session protects a pack: by its name, or because it pinned it.
    pub(super) fn protects(&self, pack: &PackId) -> bool {
        let owned = |open: &OpenSession| (open.name.member, open.name.session) == (pack.member, pack.session);
        self.pinned_packs.contains(pack) || self.open.iter().any(owned)
    }

    /// Whether a pack lies in the store, whole.
    pub(super) fn has(&self, pack: &PackId, size: u64) -> bool {
        self.packs.get(pack).or_else(|| self.young.get(pack)) == Some(&size)
    }

    /// Looks for packs that were committed after the listing and are in the view all the same.
    pub(super) async fn look_for_young_packs(&mut self, repository: &Repository) -> Result<()> {
        let (mut packs, mut unseen) = (self.view.index.packs(), Vec::new());
        while let Some((_, known)) = packs.next()? {
            let counted = known.state != PackState::Dead && known.row.size > 0;
            if counted && !self.packs.contains_key(&known.row.id) {
                unseen.push(known.row.id);
            }
        }
        for (number, id) in unseen.into_iter().enumerate() {
            let key = object_key(id.name());
            let Some(meta) = repository.store().head(&key).await? else { continue };
            if number < HIDDEN_LOOKED_AT {
                refuse_hidden(repository, &key).await?;
            }
            self.young.insert(id, meta.size);
        }
        Ok(())
    }

    /// Whether all that removed members had begun is decided.
    pub(super) fn has_decided_removed(&self, repository: &Repository) -> bool {
        self.open.iter().all(|open| !repository.is_removed(open.name.member))
    }

    /// Who committed, at or above the fence, and is not merged yet.
    pub(super) fn unmerged(&self) -> impl Iterator<Item = &SeenSession> {
        let committed = |seen: &&SeenSession| matches!(seen.end, Some((_, End::Commit(_))));
        let view = &self.view;
        let all = view.sessions.values().filter(committed);
        all.filter(|seen| u64::from(seen.name.epoch) >= view.root.fence && !view.is_absorbed(&seen.name))
    }
}

/// Scans, as often as it takes to see everything under one root.
pub(super) async fn scan(ctx: &Ctx, repository: &Repository) -> Result<Scan> {
    for _ in 0..ATTEMPTS_MAX {
        repository.refresh_members().await?;
        // Whoever is removed later may have committed what this does not see.
        let members = repository.members_head();
        let before = repository.newest_root().await?.number;
        let packs = list_packs(repository).await?;
        let view = repository.view().await?;
        if view.root.number == before {
            let scan = look_at_sessions(ctx, repository, view, packs).await?;
            return Ok(Scan { members, ..scan });
        }
    }
    Err(too_busy())
}

/// Lists the packs in the store.
pub(super) async fn list_packs(repository: &Repository) -> Result<BTreeMap<PackId, u64>> {
    let mut packs = BTreeMap::new();
    for prefix in ["packs/data/", "packs/tree/"] {
        for meta in list_all(&**repository.store(), prefix).await? {
            if let Some(id) = PackId::parse(meta.key.as_str()) {
                packs.insert(id, meta.size);
            }
        }
    }
    Ok(packs)
}

async fn look_at_sessions(
    ctx: &Ctx,
    repository: &Repository,
    view: View,
    packs: BTreeMap<PackId, u64>,
) -> Result<Scan> {
    if let Some(damage) = view.damage.first() {
        return Err(unusable(damage));
    }
    refuse_lost_ends(&view)?;
    view.warn(ctx);
    let mut scan = Scan {
        view,
        packs,
        young: BTreeMap::new(),
        open: Vec::new(),
        pinned_packs: HashSet::new(),
        pinned_snapshots: BTreeSet::new(),
        members: (0, [0; 32]),
    };
    let committed = scan.view.committed();
    let undecided: Vec<_> = scan
        .view
        .sessions
        .values()
        .filter(|seen| !seen.ended)
        .map(|seen| (seen.name, seen.pins, 1 + seen.pins + seen.objects))
        .collect();
    for (name, pins, objects) in undecided {
        let mut odd_pins = None;
        for number in 0..pins {
            match read_pins(repository, &name, number).await? {
                Some(Ok(pins)) => {
                    // What is not there needs no protection, and takes no memory.
                    let there = pins.packs.into_iter().filter(|pack| scan.packs.contains_key(pack));
                    scan.pinned_packs.extend(there);
                    let known = pins.snapshots.iter().filter(|id| committed.contains_key(*id));
                    scan.pinned_snapshots.extend(known);
                }
                Some(Err(damage)) => odd_pins = Some(damage),
                None => {}
            }
        }
        let begin = repository.read_begin(&name).await;
        let is_left = matches!(&begin, Ok(Some(begin)) if is_dead(ctx, &begin.process));
        let is_removed = repository.is_removed(name.member);
        scan.open.push(OpenSession { name, objects, is_left, is_removed, odd_pins });
    }
    Ok(scan)
}

/// What cannot be used stops everything: nobody can tell what it needs.
fn unusable(damage: &Damage) -> Error {
    let Damage { object, what } = damage;
    let then = match name::parse(object) {
        Some(Place::End(_)) => ", then `holdfast repair snapshots`",
        _ => "",
    };
    let text = format!(
        "{object} cannot be used: {what}. Nothing was condemned; put it back, or run `holdfast repair index`{then}"
    );
    Error::new(ErrorKind::Damaged, text)
}

/// What a later snapshot was compared with, or took the place of, had been committed: if it looks
/// open, its end was lost, and it is not to be aborted.
fn refuse_lost_ends(view: &View) -> Result<()> {
    match lost_ends(view).first() {
        Some(name) => Err(unusable(&Damage { object: name.end(), what: "it is missing".into() })),
        None => Ok(()),
    }
}

/// Sessions that had been committed and have no end any more.
pub(super) fn lost_ends(view: &View) -> Vec<SessionName> {
    let open: Vec<_> = view.sessions.values().filter(|seen| !seen.ended).map(|seen| seen.name).collect();
    if open.is_empty() {
        return open;
    }
    let committed = view.committed();
    let told = committed.values().flat_map(|by| {
        let told = by.summary.parent.iter().chain(&by.summary.supersedes);
        told.map(move |id| (*id, by.member))
    });
    let told: HashSet<(SessionId, MemberId)> = told.collect();
    // Anybody can name anybody's open session: only its own member's word and an owner's count.
    let tellers = |of: MemberId| view.owners.iter().copied().chain([of]);
    let is_lost = |name: &SessionName| {
        let (id, lists) = (&name.session, &view.lists);
        tellers(name.member).any(|by| told.contains(&(*id, by)))
            && !lists.forgotten.contains(id)
            && !committed.contains_key(id)
    };
    open.into_iter().filter(is_lost).collect()
}

/// Reads what an open session pinned. What is gone was deleted because the session is decided.
async fn read_pins(
    repository: &Repository,
    name: &SessionName,
    number: u32,
) -> Result<Option<std::result::Result<Pins, Damage>>> {
    let object = name.pins(number);
    let Some(bytes) = get_optional(&**repository.store(), &object).await? else { return Ok(None) };
    repository.know_author(&bytes).await?;
    let pins = repository.decode_pins(name, number, &bytes);
    Ok(Some(pins.map_err(|error| Damage { object, what: error.to_string() })))
}

/// Refuses to free anything while somebody may protect it in a way that cannot be read, or says that there is a
/// newer root. Whoever is to be aborted has to be aborted first.
pub(super) fn refuse_what_cannot_be_judged(repository: &Repository, scan: &Scan) -> Result<()> {
    scan.view.refuse_unfounded(repository)?;
    let Some((open, Damage { object, what })) =
        scan.open.iter().find_map(|open| Some((open, open.odd_pins.as_ref()?)))
    else {
        return Ok(());
    };
    let text = format!(
        "{object} of {} cannot be used: {what}. It may protect anything, so nothing was condemned; \
         `holdfast prune --abort-after 0` aborts what is open, and backups that run then start over",
        repository.name_of(open.name.member)
    );
    Err(Error::new(ErrorKind::Damaged, text))
}

/// Aborts open sessions that gave no sign of life for long, by maintainers' clocks; tells which.
pub(super) async fn abort_silent(
    ctx: &Ctx,
    repository: &Repository,
    scan: &Scan,
    after_seconds: u64,
) -> Result<Vec<SessionId>> {
    let mut aborted = Vec::new();
    for (open, reason) in silent(ctx, scan, after_seconds) {
        repository.put_abort(ctx, &open.name, scan.view.root.number, reason).await?;
        aborted.push(open.name.session);
    }
    Ok(aborted)
}

/// Finds the open sessions that are to be aborted, with the reason.
pub(super) fn silent<'a>(
    ctx: &'a Ctx,
    scan: &'a Scan,
    after_seconds: u64,
) -> impl Iterator<Item = (&'a OpenSession, &'static str)> {
    let mut of_member: HashMap<MemberId, usize> = HashMap::new();
    scan.open.iter().filter_map(move |open| {
        if open.is_removed {
            return Some((open, "its member was removed"));
        }
        let number = of_member.entry(open.name.member).or_default();
        *number += 1;
        if *number > OPEN_SESSIONS_MAX {
            return Some((open, "its member has too many open sessions"));
        }
        if open.is_left {
            return Some((open, "its process is gone"));
        }
        let is_silent = silent_seconds(ctx, &scan.view, open) >= after_seconds;
        is_silent.then_some((open, "it gave no sign of life"))
    })
}

/// For how long a session has had as many objects as now, as far as roots tell.
fn silent_seconds(ctx: &Ctx, view: &View, open: &OpenSession) -> u64 {
    let watched = view.root.watched.iter().find(|watched| watched.session == open.name.session);
    let since = watched.filter(|watched| watched.objects == open.objects).map(|watched| watched.since);
    since.map_or(0, |since| ctx.clock.now().seconds.saturating_sub(since.seconds).max(0).unsigned_abs())
}

/// What the next root says of open sessions.
pub(super) fn watch(ctx: &Ctx, scan: &Scan) -> Vec<WatchedSession> {
    let now = ctx.clock.now();
    let watched = scan.open.iter().map(|open| {
        let before = scan.view.root.watched.iter().find(|watched| watched.session == open.name.session);
        let since = before.filter(|before| before.objects == open.objects).map_or(now, |before| before.since);
        WatchedSession { session: open.name.session, objects: open.objects, since }
    });
    watched.collect()
}

/// The oldest epoch of an open session.
pub(super) fn oldest_open(scan: &Scan, ours: Option<(MemberId, SessionId)>) -> Option<u64> {
    let others = scan.open.iter().filter(|open| Some((open.name.member, open.name.session)) != ours);
    others.map(|open| u64::from(open.name.epoch)).min()
}
