//! Names what is lost when chunks cannot be had: the snapshots and paths that need them.
//!
//! One more walk, only where damage was found. On purpose not here: finding the damage.

use super::*;
use crate::index::Index;
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
    fn is_lost(&self, index: &Index, key: ChunkKey) -> bool {
        let broken = |pack: u32| self.packs.contains(&pack) || self.chunks.contains(&(key, pack));
        index.places_of(key).all(|place| broken(place.pack))
    }

    /// Those of the broken packs that hold chunks which no other pack has.
    pub(super) fn packs_that_are_needed(&self, index: &Index) -> HashSet<u32> {
        if self.packs.is_empty() {
            return HashSet::new();
        }
        let lost = index.keys().filter(|key| self.is_lost(index, **key));
        lost.flat_map(|key| index.places_of(*key).map(|place| place.pack)).collect()
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
                        if lacks(reader, broken, &entry).await {
                            named += 1;
                            if named <= FILES_MAX {
                                let path = String::from_utf8_lossy(&key_to_path(&entry.key)).into_owned();
                                let what =
                                    "is lost, wholly or in part, in this snapshot and others that have it";
                                report.error(format!("{place}:/{path}"), what);
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
async fn lacks(reader: &Reader, broken: &Broken, entry: &Entry) -> bool {
    let lost = |key: ChunkKey| broken.is_lost(&reader.index, key);
    if let Xattrs::Chunk(id) = &entry.attributes.xattrs
        && lost(ChunkKey::from(id))
    {
        return true;
    }
    match &entry.content {
        Content::None | Content::Inline(_) => false,
        Content::Extents(extents) => extents.iter().any(|extent| match extent {
            Extent::Chunk { id, .. } => lost(ChunkKey::from(id)),
            Extent::Hole { .. } => false,
        }),
        Content::Tree(root) => match reader.closure(*root).await {
            Ok(closure) => closure.into_iter().any(|(kind, key)| kind == ChunkKind::Data && lost(key)),
            Err(_) => true,
        },
    }
}
