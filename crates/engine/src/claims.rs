//! Whose word counts for what: a writer's for what it wrote itself, an owner's for everything.
//!
//! Every member can sign, and every writer holds the keys that seal the index, summaries and
//! references. So a signature says who said something, and here is decided whether that member may.
//! Who wrote a chunk is told by the pack that it was sealed for: a repack moves bytes into packs of
//! its own and vouches for none of them. On purpose not here: which packs new data may rely on.

use crate::ctx::Ctx;
use crate::event::Event;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::view::{Damage, View};
use holdfast_core::id::{MemberId, StreamId};
use holdfast_core::index::{ChunkRow, IndexTables};
use std::collections::HashMap;

/// So many suspicions are told in a run; `check` tells all.
const SUSPICIONS_TOLD: usize = 10;

/// Takes out what a member says of sessions and packs that are not its own; true if there was any.
pub(crate) fn keep_own(tables: &mut IndexTables, member: MemberId) -> bool {
    let packs = &tables.packs;
    let is_own = |row: u32| packs.get(row as usize).is_some_and(|pack| pack.id.member == member);
    let before = (tables.sessions.len(), tables.packs.len());
    tables.chunks.retain(|row| is_own(row.pack) && is_own(row.origin));
    if packs.iter().all(|pack| pack.id.member == member)
        && tables.sessions.iter().all(|session| session.member == member)
    {
        return false;
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    for (row, pack) in (0..).zip(packs) {
        if pack.id.member == member {
            numbers.insert(row, numbers.len() as u32);
        }
    }
    let renumbered = |row: &ChunkRow| {
        Some(ChunkRow { pack: *numbers.get(&row.pack)?, origin: *numbers.get(&row.origin)?, ..*row })
    };
    tables.chunks = tables.chunks.iter().filter_map(renumbered).collect();
    tables.packs.retain(|pack| pack.id.member == member);
    tables.sessions.retain(|session| session.member == member);
    before != (tables.sessions.len(), tables.packs.len())
}

impl Repository {
    /// What people call a member.
    pub(crate) fn name_of(&self, member: MemberId) -> String {
        match self.label_of(member) {
            Some(label) if !label.is_empty() => format!("member {label} ({})", &member.to_string()[..8]),
            _ => format!("member {}", &member.to_string()[..8]),
        }
    }

    /// Whose words a snapshot is; none if an owner's.
    pub(crate) fn author_of(&self, snapshot: &Snapshot) -> Option<MemberId> {
        snapshot.author(self.is_owner(snapshot.member))
    }

    /// Whether who signed a snapshot, or whose words it is, was removed.
    pub(crate) fn is_of_removed(&self, snapshot: &Snapshot) -> bool {
        self.is_removed(snapshot.member)
            || self.author_of(snapshot).is_some_and(|author| self.is_removed(author))
    }

    /// Whether what a snapshot says of files is as good as our own word.
    pub(crate) fn believes(&self, snapshot: &Snapshot) -> bool {
        self.author_of(snapshot).is_none_or(|author| self.trusts(author))
    }

    /// Which member here, no owner, made the tree of a snapshot. An owner who copied it from elsewhere made it
    /// anew; one who changed its tags vouches for nothing in it.
    pub(crate) fn maker_of(&self, snapshot: &Snapshot) -> Option<MemberId> {
        self.author_of(snapshot).filter(|author| self.standing().members.known(*author).is_some())
    }

    /// Whether somebody whom we trust made the tree of a snapshot: then it is here as it names it.
    pub(crate) fn trusts_tree(&self, snapshot: &Snapshot) -> bool {
        self.trusts(snapshot.member) && self.maker_of(snapshot).is_none_or(|maker| self.trusts(maker))
    }

    /// A delta that speaks of what is not its author's.
    pub(crate) fn presumption(&self, delta: &str, member: MemberId) -> Damage {
        let what = format!(
            "{} speaks in it of packs that others wrote: those rows do not count. If that host was \
             broken into, remove its key",
            self.name_of(member)
        );
        Damage { object: delta.to_owned(), what }
    }
}

impl View {
    /// The newest snapshot of a stream that a new one may be compared with: contents that it names
    /// are taken as known, so it has to be of somebody whose word counts for us.
    pub(crate) fn parent_of(&self, stream: StreamId, repository: &Repository) -> Option<Snapshot> {
        self.newest_of(stream, |snapshot| repository.believes(snapshot))
    }

    /// The newest snapshot of a stream that fits.
    pub(crate) fn newest_of(&self, stream: StreamId, fits: impl Fn(&Snapshot) -> bool) -> Option<Snapshot> {
        self.snapshots().into_iter().rfind(|snapshot| snapshot.summary.stream == stream && fits(snapshot))
    }

    /// Leaves out sessions whose id says that it is another member's: two with one id would stand in for each other.
    pub(crate) fn leave_out_false_ids(&mut self, repository: &Repository) {
        let suspicious = &mut self.suspicious;
        self.sessions.retain(|name, _| {
            let is_false = repository.has_anothers_id(name);
            if is_false {
                let what = format!(
                    "{} uses an id that is another member's: it does not count. If that host was broken into, remove \
                     its key",
                    repository.name_of(name.member)
                );
                suspicious.push(Damage { object: name.begin(), what });
            }
            !is_false
        });
    }

    /// Tells what somebody said who may not say it.
    pub(crate) fn warn(&self, ctx: &Ctx) {
        for Damage { object, what } in self.suspicious.iter().take(SUSPICIONS_TOLD) {
            ctx.monitor.on(&Event::Warning(&format!("{object}: {what}")));
        }
    }

    /// Whether what one member says of another's session is believed.
    pub(crate) fn may_tell(&self, member: MemberId, of: MemberId) -> bool {
        member == of || self.owners.contains(&member)
    }
}
