//! Names what is lost when chunks cannot be had: the snapshots and paths that need them.
//!
//! One more walk, only where damage was found. On purpose not here: finding the damage.

use super::*;
use crate::index::{Index, Place};
use holdfast_core::entry::{Content, Entry, Extent, Xattrs};
use holdfast_core::keys::ChunkKind;

/// Files that are named; all are counted.
const FILES_MAX: u64 = 200;

/// What cannot be read.
#[derive(Debug, Default)]
pub(super) struct Broken {
    /// Packs that are not there or not readable at all, as rows of the index.
    pub packs: HashSet<u32>,
    /// Chunks that one pack, by its row, does not give.
    pub chunks: HashSet<(ChunkKey, u32)>,
}

impl Broken {
    /// Whether a chunk is in no pack that gives it.
    fn is_lost(&self, index: &Index, key: &ChunkKey) -> Result<bool> {
        Ok(index.places_of(key)?.iter().all(|place| self.lacks(key, place)))
    }

    /// Whether a place does not give a chunk.
    fn lacks(&self, key: &ChunkKey, place: &Place) -> bool {
        self.packs.contains(&place.pack) || self.chunks.contains(&(*key, place.pack))
    }

    /// Those of the broken packs that hold chunks of which no other pack has a copy that counts: one that the
    /// same member sealed, or an owner. What others say is the same nobody has compared.
    pub(super) fn packs_that_are_needed(
        &self,
        index: &Index,
        is_owner: &dyn Fn(MemberId) -> bool,
    ) -> Result<HashSet<u32>> {
        let mut needed = HashSet::new();
        if self.packs.is_empty() {
            return Ok(needed);
        }
        let mut authors = HashMap::new();
        let mut packs = index.packs();
        while let Some((row, known)) = packs.next()? {
            authors.insert(row, known.row.id.member);
        }
        let author = |place: &Place| authors.get(&place.origin).copied();
        let mut chunks = index.chunks()?;
        while let Some((key, places)) = chunks.next()? {
            let alive = places.iter().filter(|place| index.state(place.pack) != PackState::Dead);
            let (lacking, sound): (Vec<_>, Vec<_>) = alive.partition(|place| self.lacks(&key, place));
            let stands_in = |lost: &Place| {
                let by = sound.iter().filter_map(author);
                by.into_iter().any(|copier| is_owner(copier) || Some(copier) == author(lost))
            };
            needed.extend(lacking.iter().filter(|lost| !stands_in(lost)).map(|lost| lost.pack));
        }
        Ok(needed)
    }
}

/// Names the files that need lost chunks. What several snapshots share is named once, with the
/// newest of them.
pub(super) async fn name_files(
    ctx: &Ctx,
    reader: &Reader,
    snapshots: &[Snapshot],
    broken: &Broken,
    report: &mut CheckReport,
) -> Result<()> {
    if broken.packs.is_empty() && broken.chunks.is_empty() {
        return Ok(());
    }
    ctx.monitor.on(&Event::Phase("finding out what is lost"));
    let (mut visited, mut named) = (HashSet::new(), 0);
    for snapshot in snapshots.iter().rev() {
        let place = format!("snapshot {}", &snapshot.id.to_string()[..8]);
        let mut stack = vec![snapshot.summary.root];
        while let Some(id) = stack.pop() {
            interrupted(ctx)?;
            // A page that cannot be read was reported before.
            let Some(page) = fresh_page(reader, &mut visited, id).await else { continue };
            match page.body {
                PageBody::Entries(entries) => {
                    for entry in entries {
                        if lacks(reader, broken, &entry).await? {
                            named += 1;
                            if named <= FILES_MAX {
                                let path = String::from_utf8_lossy(&shown_key(&entry.key)).into_owned();
                                let what =
                                    "is lost, wholly or in part, in this snapshot and others that have it";
                                report.error(format!("{place}:{path}"), what);
                            }
                        }
                    }
                }
                PageBody::Children(_) => stack.extend(page.refs.children.into_iter().rev()),
                PageBody::Extents { .. } => {}
            }
        }
    }
    if named > FILES_MAX {
        report.error("files", format!("{} more are lost, wholly or in part", named - FILES_MAX));
    }
    Ok(())
}

async fn fresh_page(reader: &Reader, visited: &mut HashSet<ChunkId>, id: ChunkId) -> Option<Page> {
    if visited.insert(id) { reader.page(&id).await.ok() } else { None }
}

/// Whether an entry needs a lost chunk.
async fn lacks(reader: &Reader, broken: &Broken, entry: &Entry) -> Result<bool> {
    let mut keys = Vec::new();
    if let Xattrs::Chunk(id) = &entry.attributes.xattrs {
        keys.push(ChunkKey::from(id));
    }
    match &entry.content {
        Content::None | Content::Inline(_) => {}
        Content::Extents(extents) => keys.extend(extents.iter().filter_map(|extent| match extent {
            Extent::Chunk { id, .. } => Some(ChunkKey::from(id)),
            Extent::Hole { .. } => None,
        })),
        Content::Tree(root) => match reader.closure(*root).await {
            Ok(closure) => {
                keys.extend(
                    closure.into_iter().filter(|(kind, _)| *kind == ChunkKind::Data).map(|(_, key)| key),
                );
            }
            Err(_) => return Ok(true),
        },
    }
    for key in &keys {
        if broken.is_lost(&reader.index, key)? {
            return Ok(true);
        }
    }
    Ok(false)
}
