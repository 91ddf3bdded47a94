//! What is in the repository, as one process sees it: sessions, deltas, the newest root.
//!
//! They are read in exactly this order (FORMAT.md, rule of V(r)): what a maintainer merges while
//! we read has then either been seen before it was merged, or is in the root.
//!
//! On purpose not here: changing anything.

use crate::adopt::{find_packs, read_pack};
use crate::claims::keep_own;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index, PackState, clean_copies, local_segment, verify_segment};
use crate::lists::Lists;
use crate::repository::{Repository, get_optional, list_after, object_key};
use crate::roots::SeenRoot;
use crate::session::AdoptedPack;
use crate::trust::are_of;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::crypto::hash;
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::index::{IndexTables, decode_delta};
use holdfast_core::name::{self, PackClass, Place, SessionName};
use holdfast_core::object::{Header, Object, ObjectType};
use holdfast_core::root::{CataloguedSnapshot, List, ListKind, Root, SegmentRow, decode_snapshots};
use holdfast_core::session::{Begin, End, Pins};
use holdfast_store::Key;
use std::collections::{BTreeMap, HashSet};

/// Objects that are read at the same time.
const READS_AT_ONCE: usize = 16;
/// So often reading begins again when maintainers change what is read.
const VIEWS_MAX: usize = 16;
/// Segments of the index that are read at the same time, each in some MiB.
const SEGMENTS_AT_ONCE: usize = 4;

/// A session that was met.
#[derive(Debug)]
pub(crate) struct SeenSession {
    /// Its name.
    pub name: SessionName,
    /// Whether it has a begin object.
    pub begun: bool,
    /// Its pins objects.
    pub pins: u32,
    /// Its deltas that could be read.
    pub deltas: u32,
    /// Its deltas that were listed.
    pub objects: u32,
    /// Its end, with the header that opens the details; `None` while it is open or if the end is damaged.
    pub end: Option<(Header, End)>,
    /// Hash of the end; zeros while there is none that can be read.
    pub end_hash: [u8; 32],
    /// Whether there is an end, readable or not.
    pub ended: bool,
}

/// Something in the repository that cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What is in the repository.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The newest root; root 0 is empty.
    pub root: Root,
    /// Hash of the whole root; zeros for root 0.
    pub root_hash: [u8; 32],
    /// What its lists say.
    pub lists: Lists,
    /// Sessions at or above the fence.
    pub sessions: BTreeMap<SessionName, SeenSession>,
    /// Merged snapshots.
    pub catalogued: Vec<CataloguedSnapshot>,
    /// Owners among those who committed them.
    pub owners: HashSet<MemberId>,
    /// Where chunks lie.
    pub index: Index,
    /// Index deltas that were read.
    pub deltas: u64,
    /// What could not be used.
    pub damage: Vec<Damage>,
    /// What somebody said who may not say it. It does not count, and stops nobody.
    pub suspicious: Vec<Damage>,
    /// The newest root that a session began with whose member is believed.
    pub witnessed: u64,
    /// Sessions that began with a root that is not there, of members who are not believed.
    pub unfounded: Vec<SessionName>,
}

/// What becomes of lists that cannot be used, and which ends are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// Damage of a list ends the reading; ends of merged sessions are not needed.
    Strict,
    /// All that can be read is.
    Lenient,
}

/// What is worth looking for under names that have epochs: from the fence on.
fn from_fence(prefix: &str, root: &Root) -> Option<Key> {
    (root.fence > 0).then(|| object_key(format!("{prefix}{:08x}", root.fence as u32)))
}

impl Repository {
    /// Reads V(r): sessions, then deltas, then the newest root. An object that a maintainer
    /// merged away meanwhile makes it begin again.
    pub(crate) async fn view(&self) -> Result<View> {
        let what = "the repository changed at every attempt to read it; try again";
        let mut last = Error::new(ErrorKind::Conflict, what);
        for _ in 0..VIEWS_MAX {
            match self.try_view().await {
                Ok(Some(view)) => return Ok(view),
                Ok(None) => {}
                // A local copy turned out damaged; it is gone, and will be made anew.
                Err(error) if error.kind == ErrorKind::Conflict => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// One attempt. Whatever cannot be used counts only if the root did not change meanwhile.
    async fn try_view(&self) -> Result<Option<View>> {
        let hint = self.newest().await?;
        let store = &**self.store();
        let sessions = list_after(store, "sessions/", from_fence("sessions/", &hint.root)).await?;
        let deltas = list_after(store, "index/delta/", from_fence("index/delta/", &hint.root)).await?;
        // Nothing at all: there is no root to look for either.
        let bare = hint.root.number == 0 && deltas.is_empty() && sessions.is_empty();
        let SeenRoot { root, hash } = if bare { hint } else { self.newer(hint).await? };
        let number = root.number;
        let mut view = View { root, root_hash: hash, ..View::default() };
        view.note_sessions(sessions.iter().map(|meta| meta.key.as_str()));
        view.note_deltas(deltas.iter().map(|meta| meta.key.as_str()));
        let deltas: Vec<Key> = deltas.into_iter().map(|meta| meta.key).collect();
        let read = self.fill_view(&mut view, deltas.iter().cloned(), Care::Strict).await;
        let disturbed = match &read {
            Ok(whole) => !whole || !view.damage.is_empty(),
            Err(error) => error.kind == ErrorKind::Damaged,
        };
        let moved = disturbed && get_optional(&**self.store(), &name::root(number + 1)).await?.is_some();
        match read {
            _ if moved => Ok(None),
            Err(error) => Err(error),
            Ok(_) => self.refuse_gaps(&view, &deltas).await.map(|()| Some(view)),
        }
    }

    /// Reads V(r) of a root that is given, as far as it goes: lists that cannot be used are damage
    /// too, and count as empty, and all sessions are looked at, those below the fence included.
    /// `None` if a delta went away meanwhile. For repairs; whether the root is still the newest is
    /// for the caller to see.
    pub(crate) async fn view_under(&self, seen: SeenRoot) -> Result<Option<View>> {
        let sessions = list_after(&**self.store(), "sessions/", None).await?;
        let deltas = list_after(&**self.store(), "index/delta/", None).await?;
        let mut view = View { root: seen.root, root_hash: seen.hash, ..View::default() };
        view.note_sessions(sessions.iter().map(|meta| meta.key.as_str()));
        view.note_deltas(deltas.iter().map(|meta| meta.key.as_str()));
        let deltas = deltas.into_iter().map(|meta| meta.key);
        let whole = self.fill_view(&mut view, deltas, Care::Lenient).await?;
        Ok(whole.then_some(view))
    }

    /// Reads all that the root and the listings name; false if a delta went away meanwhile.
    async fn fill_view(
        &self,
        view: &mut View,
        deltas: impl Iterator<Item = Key>,
        care: Care,
    ) -> Result<bool> {
        self.know_members(&view.root).await?;
        self.read_lists(view, care).await?;
        view.leave_out_removed(self);
        view.leave_out_false_ids(self);
        self.find_witnesses(view).await?;
        if care == Care::Strict {
            view.refuse_roll_back()?;
        }
        self.read_root_parts(view, care).await?;
        self.read_ends(view, care).await?;
        view.owners = view.members().filter(|member| self.is_owner(*member)).collect();
        let whole = self.read_deltas(view, deltas).await?;
        self.read_lost_deltas(view).await?;
        view.index.settle();
        view.state_packs()?;
        Ok(whole)
    }

    /// Reads the end of every session that has one, but of those that are merged. That of one that
    /// is forgotten may be damaged.
    async fn read_ends(&self, view: &mut View, care: Care) -> Result<()> {
        let all = view.sessions.values().filter(|session| session.ended);
        let wanted = |name: &SessionName| care == Care::Lenient || !view.is_absorbed(name);
        let names: Vec<_> = all.map(|session| session.name).filter(wanted).collect();
        let mut ends = stream::iter(names)
            .map(|name| async move { (name, get_optional(&**self.store(), &name.end()).await) })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((name, bytes)) = ends.next().await {
            let Some(bytes) = bytes? else { continue };
            self.know_author(&bytes).await?;
            let decoded = self.decode_end(&name, &bytes);
            match (decoded, view.sessions.get_mut(&name)) {
                (Ok(end), Some(session)) => {
                    session.end = Some(end);
                    session.end_hash = hash(&bytes);
                }
                (Err(_), _) if view.lists.forgotten.contains(&name.session) => {}
                (Err(error), _) => view.damage.push(Damage { object: name.end(), what: error.to_string() }),
                (Ok(_), None) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn decode_end(
        &self,
        name: &SessionName,
        bytes: &[u8],
    ) -> std::result::Result<(Header, End), FormatError> {
        let object = self.parse(bytes, ObjectType::End, name::named_object(&name.end()))?;
        let key = self.k_ref_of(object.header.key_epoch)?;
        let end = End::decode(&object.header, object.body, &key)?;
        end.check_author(&object.header, name)?;
        if self.has_anothers_id(name) {
            return Err(FormatError::Misplaced("its session"));
        }
        let author = object.header.member;
        let may = match end {
            End::Commit(_) => self.may_write(author),
            End::Abort { .. } => author == name.member || self.maintainer_key_of(author).is_some(),
        };
        if may { Ok((object.header, end)) } else { Err(FormatError::Misplaced("its author")) }
    }

    /// Takes apart an object of a session, which only the session's own member may have written.
    pub(crate) fn parse_of_session<'a>(
        &self,
        bytes: &'a [u8],
        object_type: ObjectType,
        name: &str,
        session: &SessionName,
    ) -> std::result::Result<Object<'a>, FormatError> {
        let object = self.parse(bytes, object_type, name::named_object(name))?;
        if object.header.member == session.member {
            Ok(object)
        } else {
            Err(FormatError::Misplaced("its author"))
        }
    }

    /// Reads the begin of a session.
    pub(crate) async fn read_begin(&self, name: &SessionName) -> Result<Option<Begin>> {
        let Some(bytes) = get_optional(&**self.store(), &name.begin()).await? else { return Ok(None) };
        self.know_author(&bytes).await?;
        let begin =
            self.parse_of_session(&bytes, ObjectType::Begin, &name.begin(), name).and_then(|object| {
                Begin::decode(&object.header, object.body, &self.k_ref_of(object.header.key_epoch)?)
            });
        begin.map(Some).map_err(|error| Error::format(&name.begin(), error))
    }

    /// Reads the deltas that count; false if one went away meanwhile.
    async fn read_deltas(&self, view: &mut View, keys: impl Iterator<Item = Key>) -> Result<bool> {
        let counted: Vec<_> = keys
            .filter_map(|key| match name::parse(key.as_str()) {
                Some(Place::Delta(session, number)) => {
                    view.counts(&session, number).then_some((session, number))
                }
                _ => None,
            })
            .collect();
        let mut reads = stream::iter(counted)
            .map(|(session, number)| async move {
                let name = session.delta(number);
                (session, number, get_optional(&**self.store(), &name).await)
            })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((session, number, bytes)) = reads.next().await {
            let Some(bytes) = bytes? else { return Ok(false) };
            self.know_author(&bytes).await?;
            let name = session.delta(number);
            match self.decode_delta(&session, number, &bytes) {
                Ok(mut tables) => {
                    if keep_own(&mut tables, session.member) {
                        view.suspicious.push(self.presumption(&name, session.member));
                    }
                    view.index.absorb(&tables)?;
                    view.deltas += 1;
                    if let Some(seen) = view.sessions.get_mut(&session) {
                        seen.deltas += 1;
                    }
                }
                Err(error) => view.damage.push(Damage { object: name, what: error.to_string() }),
            }
        }
        Ok(true)
    }

    pub(crate) fn decode_delta(
        &self,
        session: &SessionName,
        number: u32,
        bytes: &[u8],
    ) -> std::result::Result<IndexTables, FormatError> {
        let name = session.delta(number);
        let object = self.parse_of_session(bytes, ObjectType::IndexDelta, &name, session)?;
        let key = self.k_idx_of(object.header.key_epoch)?;
        let (stated, tables) = decode_delta(&object.header, object.body, &key)?;
        if stated != number {
            return Err(FormatError::Misplaced("its number"));
        }
        Ok(tables)
    }

    /// Where a delta of a snapshot is missing or damaged, the footers of the packs say the same.
    async fn read_lost_deltas(&self, view: &mut View) -> Result<()> {
        let lacking: Vec<_> = view
            .sessions
            .values()
            .filter_map(|seen| match &seen.end {
                Some((_, End::Commit(commit))) if commit.objects.deltas > seen.deltas => {
                    Some((seen.name, seen.pins))
                }
                _ => None,
            })
            .filter(|(name, _)| u64::from(name.epoch) >= view.root.fence && !view.is_absorbed(name))
            .collect();
        for (name, pins) in lacking {
            for mut pack in self.packs_of_session(&name, pins, &view.index).await? {
                keep_own(&mut pack.tables, name.member);
                view.index.absorb(&pack.tables)?;
            }
        }
        Ok(())
    }

    /// What packs say of themselves: those of a session, and those that it pinned and `index`
    /// does not know.
    pub(crate) async fn packs_of_session(
        &self,
        name: &SessionName,
        pins: u32,
        index: &Index,
    ) -> Result<Vec<AdoptedPack>> {
        let mut packs = Vec::new();
        for class in [PackClass::Data, PackClass::Tree] {
            find_packs(self, *name, class, &mut packs).await?;
        }
        for number in 0..pins {
            packs.extend(self.read_pinned(name, number, index).await?);
        }
        // What was repacked is in the index already: a pack that names another's is not what it says.
        packs.retain(|pack| {
            let member = pack.row.id.member;
            are_of(&pack.tables, member) && (member == name.member || self.is_owner(name.member))
        });
        Ok(packs)
    }

    pub(crate) fn decode_pins(
        &self,
        session: &SessionName,
        number: u32,
        bytes: &[u8],
    ) -> std::result::Result<Pins, FormatError> {
        let object = self.parse_of_session(bytes, ObjectType::Pins, &session.pins(number), session)?;
        Pins::decode(&object.header, object.body, &self.k_ref_of(object.header.key_epoch)?)
    }

    /// Packs that a session took over from another are named by its delta and its pins alone.
    async fn read_pinned(&self, name: &SessionName, number: u32, index: &Index) -> Result<Vec<AdoptedPack>> {
        let object_name = name.pins(number);
        let Some(bytes) = get_optional(&**self.store(), &object_name).await? else { return Ok(Vec::new()) };
        // Damaged pins are for `check` to name.
        let Ok(pins) = self.decode_pins(name, number, &bytes) else { return Ok(Vec::new()) };
        let mut packs = Vec::new();
        for id in pins.packs {
            // What others wrote their own deltas name.
            if id.member != name.member || index.row_of(&id)?.is_some() {
                continue;
            }
            let from = SessionName { session: id.session, member: id.member, ..*name };
            let Some(meta) = self.store().head(&object_key(id.name())).await? else { continue };
            match read_pack(self, from, id, meta.size).await {
                Ok(pack) => packs.push(pack),
                Err(error) if error.kind == ErrorKind::Store => return Err(error),
                Err(_) => {}
            }
        }
        Ok(packs)
    }

    /// Reads what the root names: segments of the index and of snapshots.
    async fn read_root_parts(&self, view: &mut View, care: Care) -> Result<()> {
        self.read_segments(view, care).await?;
        for row in view.root.snapshots.clone() {
            let name = name::snapshot_segment(row.id);
            let rows = self.read_named(&name, ObjectType::SnapshotSegment, row.id, &row.hash, |object| {
                decode_snapshots(&object.header, object.body, &self.k_ref_of(object.header.key_epoch)?)
            });
            match rows.await? {
                Ok(rows) => view.catalogued.extend(rows),
                Err(what) => view.damage.push(Damage { object: name, what }),
            }
        }
        Ok(())
    }

    /// Gets the segments of the index; look-ups ask those that were added last first.
    async fn read_segments(&self, view: &mut View, care: Care) -> Result<()> {
        let mut rows = Vec::new();
        for row in view.root.segments.iter().rev() {
            // A local copy hides what became of the segment itself.
            let verified = match care {
                Care::Strict => Ok(()),
                Care::Lenient => self.verify(row).await?,
            };
            match verified {
                Ok(()) => rows.push(row.clone()),
                Err(what) => view.damage.push(Damage { object: name::index_segment(row.id), what }),
            }
        }
        let mut reads = stream::iter(rows)
            .map(|row| async move { (row.id, local_segment(self, &row).await) })
            .buffered(SEGMENTS_AT_ONCE);
        let (mut segments, mut any_made) = (Vec::new(), false);
        while let Some((id, got)) = reads.next().await {
            let (segment, made) = got?;
            any_made |= made;
            match segment {
                Ok(segment) => segments.push(segment),
                Err(what) => view.damage.push(Damage { object: name::index_segment(id), what }),
            }
        }
        drop(reads);
        if any_made {
            clean_copies(self, &view.root.segments);
        }
        view.index = Index::with_segments(segments)?;
        Ok(())
    }

    /// Whether a segment lies in the repository as a root names it.
    async fn verify(&self, row: &SegmentRow) -> Result<std::result::Result<(), String>> {
        Ok(match verify_segment(self, row.id).await? {
            None => Err("it is missing".into()),
            Some(Err(error @ FormatError::Newer(_))) => {
                return Err(Error::format(&name::index_segment(row.id), error));
            }
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(read)) if read.hash != row.hash => Err("it is not the object that the root names".into()),
            Some(Ok(_)) => Ok(()),
        })
    }

    async fn read_named<T>(
        &self,
        name: &str,
        object_type: ObjectType,
        id: holdfast_core::id::ObjectId,
        expected: &[u8; 32],
        decode: impl FnOnce(&Object<'_>) -> std::result::Result<T, FormatError>,
    ) -> Result<std::result::Result<T, String>> {
        let Some(bytes) = get_optional(&**self.store(), name).await? else {
            return Ok(Err("it is missing".into()));
        };
        if hash(&bytes) != *expected {
            return Ok(Err("it is not the object that the root names".into()));
        }
        self.know_author(&bytes).await?;
        match self.parse(&bytes, object_type, id).and_then(|object| decode(&object)) {
            Ok(read) => Ok(Ok(read)),
            Err(error @ (FormatError::Newer(_) | FormatError::KeyEpoch(_))) => {
                Err(Error::format(name, error))
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Reads the root's lists.
    async fn read_lists(&self, view: &mut View, care: Care) -> Result<()> {
        for row in view.root.lists.clone() {
            let name = name::list(row.id);
            let list = self.read_named(&name, ObjectType::List, row.id, &row.hash, |object| {
                List::decode(&object.header, object.body, &self.k_idx_of(object.header.key_epoch)?)
            });
            match list.await? {
                Ok(list) => view.lists.take(row, &list),
                Err(what) if care == Care::Lenient => view.damage.push(Damage { object: name, what }),
                // Without a list nobody knows what may be relied on.
                Err(what) => {
                    let what = format!("cannot use {name}: {what}; run `holdfast repair index`");
                    return Err(Error::new(ErrorKind::Damaged, what));
                }
            }
        }
        Ok(())
    }
}

impl View {
    fn note_sessions<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let (session, apply): (_, fn(&mut SeenSession)) = match name::parse(name) {
                Some(Place::Begin(session)) => (session, |seen| seen.begun = true),
                Some(Place::Pins(session, _)) => (session, |seen| seen.pins += 1),
                Some(Place::End(session)) => (session, |seen| seen.ended = true),
                _ => continue,
            };
            let fresh = SeenSession {
                name: session,
                begun: false,
                pins: 0,
                deltas: 0,
                objects: 0,
                end: None,
                end_hash: [0; 32],
                ended: false,
            };
            apply(self.sessions.entry(session).or_insert(fresh));
        }
    }

    /// Leaves out sessions of members that are shut out, but for what roots have taken in. Where
    /// nobody can tell any more what that was, all that there is stays.
    fn leave_out_removed(&mut self, repository: &Repository) {
        let rows = self.root.lists.iter().filter(|row| row.kind == ListKind::Absorbed as u8);
        let names: Vec<_> = rows.map(|row| name::list(row.id)).collect();
        if self.damage.iter().any(|damage| names.contains(&damage.object)) {
            return;
        }
        let (root, absorbed) = (&self.root, &self.lists.absorbed);
        self.sessions.retain(|name, _| {
            u64::from(name.epoch) < root.fence
                || absorbed.contains(&(name.member, name.session))
                || !repository.is_shut_out(name.member, root)
        });
    }

    fn note_deltas<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if let Some(Place::Delta(session, _)) = name::parse(name)
                && let Some(seen) = self.sessions.get_mut(&session)
            {
                seen.objects += 1;
            }
        }
    }

    /// All members who began a session or committed a snapshot.
    fn members(&self) -> impl Iterator<Item = MemberId> {
        let seen = self.sessions.values().map(|seen| seen.name.member);
        seen.chain(self.catalogued.iter().map(|row| row.member))
    }

    /// Whether a delta counts: its session has committed with so many, began at or above the fence,
    /// and is not merged. Whose session is still open may be aborted, and then nobody could rely on
    /// it; one that the commit does not know of is a clone's, and nobody would ever merge it.
    fn counts(&self, session: &SessionName, number: u32) -> bool {
        let seen = self.sessions.get(session);
        let committed = seen.is_some_and(|seen| match &seen.end {
            Some((_, End::Commit(commit))) => number < commit.objects.deltas,
            _ => false,
        });
        committed && u64::from(session.epoch) >= self.root.fence && !self.is_absorbed(session)
    }

    /// Whether the root says that a session's deltas are merged.
    pub(crate) fn is_absorbed(&self, session: &SessionName) -> bool {
        self.lists.absorbed.contains(&(session.member, session.session))
    }

    /// Whether a snapshot still protects what it refers to, as somebody's parent.
    pub(crate) fn has_parent(&self, id: SessionId) -> bool {
        !self.lists.forgotten.contains(&id) && self.committed().contains_key(&id)
    }

    /// Marks packs by what the lists say of them.
    fn state_packs(&mut self) -> Result<()> {
        let condemned = self.lists.condemned.iter().flat_map(|(_, packs)| packs);
        for pack in condemned.chain(&self.lists.quarantined) {
            self.index.set_state(pack, PackState::ReadOnly)?;
        }
        for pack in self.lists.dead.iter().flat_map(|(_, packs)| packs) {
            self.index.set_state(pack, PackState::Dead)?;
        }
        Ok(())
    }
}
