//! What is in the repository, as one process sees it: sessions, deltas, the newest root.
//!
//! They are read in exactly this order (FORMAT.md, rule of V(r)): what a maintainer merges while
//! we read has then either been seen before it was merged, or is in the root.
//!
//! On purpose not here: changing anything.

use crate::adopt::{find_packs, read_pack, tables};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index, PackState, clean_copies, local_segment};
use crate::repository::{Repository, WHOLE, get_optional, list_all, object_key};
use crate::session::AdoptedPack;
use futures::stream::{self, StreamExt};
use holdfast_core::FormatError;
use holdfast_core::crypto::hash;
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::index::decode_delta;
use holdfast_core::name::{self, PackClass, Place, SessionName};
use holdfast_core::object::{Header, Object, ObjectType};
use holdfast_core::root::{CataloguedSnapshot, List, ListKind, Root, decode_snapshots};
use holdfast_core::session::{Begin, End, Pins};
use holdfast_store::Key;
use std::collections::{BTreeMap, HashSet};

/// Objects that are read at the same time.
const READS_AT_ONCE: usize = 16;
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
    /// Its end, with the header that opens the details; `None` while it is open or if the end is damaged.
    pub end: Option<(Header, End)>,
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
    /// Sessions that lie outside merged segments.
    pub sessions: BTreeMap<SessionId, SeenSession>,
    /// Merged snapshots.
    pub catalogued: Vec<CataloguedSnapshot>,
    /// Snapshots that are forgotten.
    pub forgotten: HashSet<SessionId>,
    /// Owners among those who committed them.
    pub owners: HashSet<MemberId>,
    /// Where chunks lie.
    pub index: Index,
    /// What could not be used.
    pub damage: Vec<Damage>,
}

impl Repository {
    /// Finds the newest root.
    pub(crate) async fn newest_root(&self) -> Result<Root> {
        let Some(newest) = self.store().list("roots/", None, 1).await?.pop() else {
            return Ok(Root::default());
        };
        let Some(Place::Root(mut number)) = name::parse(newest.key.as_str()) else {
            return Err(Error::new(ErrorKind::Damaged, format!("{} is not the name of a root", newest.key)));
        };
        let mut bytes = self.store().get(&newest.key, WHOLE).await?;
        // A listing may lag behind a put that another process saw end.
        while let Some(next) = get_optional(&**self.store(), &name::root(number + 1)).await? {
            (number, bytes) = (number + 1, next);
        }
        self.decode_root(number, &bytes).map_err(|error| Error::format(&name::root(number), error))
    }

    pub(crate) fn decode_root(&self, number: u64, bytes: &[u8]) -> std::result::Result<Root, FormatError> {
        let object = self.parse(bytes, ObjectType::Root, name::root_object(number))?;
        let key = self.k_ref().map_err(|_| FormatError::NotAllowed("it cannot see roots"))?;
        let root = Root::decode(&object.header, object.body, key)?;
        if root.number != number || root.repository_hash != self.description_hash() {
            return Err(FormatError::Misplaced("what it says of the repository"));
        }
        Ok(root)
    }

    /// Reads V(r): sessions, then deltas, then the newest root. An object that a maintainer
    /// merged away meanwhile makes it begin again.
    pub(crate) async fn view(&self) -> Result<View> {
        let what = "the repository changed at every attempt to read it; try again";
        let mut last = Error::new(ErrorKind::Conflict, what);
        for _ in 0..8 {
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

    async fn try_view(&self) -> Result<Option<View>> {
        let hint = self.newest_root().await?;
        let sessions = list_all(&**self.store(), "sessions/").await?;
        let deltas = list_all(&**self.store(), "index/delta/").await?;
        let root = if hint.number == 0 && deltas.is_empty() && sessions.is_empty() {
            hint
        } else {
            self.newest_root().await?
        };
        let mut view = View { root, ..View::default() };
        view.note_sessions(sessions.iter().map(|meta| meta.key.as_str()));
        self.read_root_parts(&mut view).await?;
        self.read_ends(&mut view).await?;
        view.owners = view.members().filter(|member| self.is_owner(*member)).collect();
        let whole = self.read_deltas(&mut view, deltas.into_iter().map(|meta| meta.key)).await?;
        self.read_lost_deltas(&mut view).await?;
        view.index.settle();
        self.apply_lists(&mut view).await?;
        Ok(whole.then_some(view))
    }

    /// Reads the end of every session that has one.
    async fn read_ends(&self, view: &mut View) -> Result<()> {
        let names: Vec<_> =
            view.sessions.values().filter(|session| session.ended).map(|session| session.name).collect();
        let mut ends = stream::iter(names)
            .map(|name| async move { (name, get_optional(&**self.store(), &name.end()).await) })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((name, bytes)) = ends.next().await {
            let Some(bytes) = bytes? else { continue };
            let decoded = self.decode_end(&name, &bytes);
            match (decoded, view.sessions.get_mut(&name.session)) {
                (Ok(end), Some(session)) => session.end = Some(end),
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
        let key = self.k_ref().map_err(|_| FormatError::NotAllowed("it cannot see snapshots"))?;
        let end = End::decode(&object.header, object.body, key)?;
        end.check_author(&object.header, name)?;
        Ok((object.header, end))
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
        let key = self.k_ref()?;
        let begin = self
            .parse_of_session(&bytes, ObjectType::Begin, &name.begin(), name)
            .and_then(|object| Begin::decode(&object.header, object.body, key));
        begin.map(Some).map_err(|error| Error::format(&name.begin(), error))
    }

    /// Reads the deltas that count; false if one went away meanwhile.
    async fn read_deltas(&self, view: &mut View, keys: impl Iterator<Item = Key>) -> Result<bool> {
        let counted: Vec<_> = keys
            .filter_map(|key| match name::parse(key.as_str()) {
                Some(Place::Delta(session, number)) => view.counts(&session).then_some((session, number)),
                _ => None,
            })
            .collect();
        let mut reads = stream::iter(counted)
            .map(|(session, number)| async move {
                let name = session.delta(number);
                (session, number, get_optional(&**self.store(), &name).await)
            })
            .buffer_unordered(READS_AT_ONCE);
        let key = self.k_idx()?;
        while let Some((session, number, bytes)) = reads.next().await {
            let Some(bytes) = bytes? else { return Ok(false) };
            let name = session.delta(number);
            let decoded =
                self.parse(&bytes, ObjectType::IndexDelta, name::named_object(&name)).and_then(|object| {
                    let (stated, tables) = decode_delta(&object.header, object.body, key)?;
                    let own = stated == number && object.header.member == session.member;
                    if own { Ok(tables) } else { Err(FormatError::Misplaced("its author")) }
                });
            match decoded {
                Ok(tables) => {
                    view.index.absorb(&tables)?;
                    if let Some(seen) = view.sessions.get_mut(&session.session) {
                        seen.deltas += 1;
                    }
                }
                Err(error) => view.damage.push(Damage { object: name, what: error.to_string() }),
            }
        }
        Ok(true)
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
            .filter(|(name, _)| u64::from(name.epoch) >= view.root.fence)
            .collect();
        for (name, pins) in lacking {
            let mut packs = Vec::new();
            for class in [PackClass::Data, PackClass::Tree] {
                find_packs(self, name, class, &mut packs).await?;
            }
            for number in 0..pins {
                packs.extend(self.read_pinned(&name, number, &view.index).await?);
            }
            for pack in &packs {
                view.index.absorb(&tables(pack))?;
            }
        }
        Ok(())
    }

    /// Packs that a session took over from another are named by its delta and its pins alone.
    async fn read_pinned(&self, name: &SessionName, number: u32, index: &Index) -> Result<Vec<AdoptedPack>> {
        let object_name = name.pins(number);
        let Some(bytes) = get_optional(&**self.store(), &object_name).await? else { return Ok(Vec::new()) };
        let key = self.k_ref()?;
        let pins = self
            .parse_of_session(&bytes, ObjectType::Pins, &object_name, name)
            .and_then(|object| Pins::decode(&object.header, object.body, key));
        // Damaged pins are for `check` to name.
        let Ok(pins) = pins else { return Ok(Vec::new()) };
        let mut packs = Vec::new();
        for id in pins.packs {
            if index.row_of(&id)?.is_some() {
                continue;
            }
            let from = SessionName { session: id.session, member: id.member, ..*name };
            if let Some(meta) = self.store().head(&object_key(id.name())).await?
                && let Ok(pack) = read_pack(self, from, id, meta.size).await
            {
                packs.push(pack);
            }
        }
        Ok(packs)
    }

    /// Reads what the root names: segments of the index and of snapshots.
    async fn read_root_parts(&self, view: &mut View) -> Result<()> {
        let k_ref = self.k_ref()?;
        self.read_segments(view).await?;
        for row in view.root.snapshots.clone() {
            let name = name::snapshot_segment(row.id);
            let rows = self.read_named(&name, ObjectType::SnapshotSegment, row.id, &row.hash, |object| {
                decode_snapshots(&object.header, object.body, k_ref)
            });
            match rows.await? {
                Ok(rows) => view.catalogued.extend(rows),
                Err(what) => view.damage.push(Damage { object: name, what }),
            }
        }
        Ok(())
    }

    /// Gets the segments of the index; look-ups ask those that were added last first.
    async fn read_segments(&self, view: &mut View) -> Result<()> {
        let rows: Vec<_> = view.root.segments.iter().rev().cloned().collect();
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
        Ok(self
            .parse(&bytes, object_type, id)
            .and_then(|object| decode(&object))
            .map_err(|error| error.to_string()))
    }

    /// Reads the root's lists and marks packs by them.
    async fn apply_lists(&self, view: &mut View) -> Result<()> {
        let key = self.k_idx()?;
        for row in view.root.lists.clone() {
            let name = name::list(row.id);
            let list = self.read_named(&name, ObjectType::List, row.id, &row.hash, |object| {
                List::decode(&object.header, object.body, key)
            });
            match list.await? {
                Ok(list) => view.apply(&list)?,
                // Without a list nobody knows what may be relied on.
                Err(what) => {
                    return Err(Error::new(ErrorKind::Damaged, format!("cannot use {name}: {what}")));
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
            let fresh =
                SeenSession { name: session, begun: false, pins: 0, deltas: 0, end: None, ended: false };
            apply(self.sessions.entry(session.session).or_insert(fresh));
        }
    }

    /// All members who began a session or committed a snapshot.
    fn members(&self) -> impl Iterator<Item = MemberId> {
        let seen = self.sessions.values().map(|seen| seen.name.member);
        seen.chain(self.catalogued.iter().map(|row| row.member))
    }

    /// Whether the deltas of a session count: it is not aborted, and it began at or above the
    /// fence or is catalogued.
    fn counts(&self, session: &SessionName) -> bool {
        let aborted = self
            .sessions
            .get(&session.session)
            .is_some_and(|seen| matches!(seen.end, Some((_, End::Abort { .. }))));
        let recent = u64::from(session.epoch) >= self.root.fence;
        !aborted && (recent || self.is_catalogued(session.session, session.member))
    }

    fn is_catalogued(&self, session: SessionId, member: MemberId) -> bool {
        self.catalogued.iter().any(|row| (row.session, row.member) == (session, member))
    }

    fn apply(&mut self, list: &List) -> Result<()> {
        let state = match list.kind {
            ListKind::Dead => PackState::Dead,
            ListKind::Condemned | ListKind::Quarantined => PackState::ReadOnly,
            ListKind::Forgotten => {
                let ids =
                    list.items.chunks_exact(16).filter_map(|item| Some(SessionId(item.try_into().ok()?)));
                self.forgotten.extend(ids);
                return Ok(());
            }
            ListKind::Lost | ListKind::Absorbed => return Ok(()),
        };
        list.packs().iter().try_for_each(|pack| self.index.set_state(pack, state))
    }
}
