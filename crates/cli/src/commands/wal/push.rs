//! `wal push`: stores a file of the log, and those that wait beside it.
//!
//! It ends well only once the repository has the bytes. On purpose not here: reading the files.

use super::lineage::{names_of, timelines_with};
use super::notes::Notes;
use super::ready::{Content, Ready};
use super::{Run, within};
use crate::args::WalPushArgs;
use crate::engine::wal::{PIECE_BYTES_MAX, ReadAt, Stored, Timeline, WalArchive, WalName, is_there};
use crate::engine::{Repository, Right, Secret, keys};
use crate::fault::Fault;
use crate::ink::WalPushedLine;
use crate::wire_up;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Files that are stored at the same time.
const AT_ONCE: usize = 4;
/// Others are taken along only up to this length: they are held in memory.
const OTHER_BYTES_MAX: u64 = 64 << 20;
/// A password that takes more memory to try is not for what runs with each segment.
const PASSWORD_KIB_MAX: u32 = 8 << 10;

/// Stores the file.
pub(super) async fn run(run: &Run, args: &WalPushArgs) -> Result<(), Fault> {
    let begun = Instant::now();
    let ready = Ready::named(&args.path)?;
    let others = within(run, args.timeout, push(run, &ready)).await?;
    if let Some(others) = others {
        // The server will name them itself: what fails now is no failure.
        let left = args.timeout.saturating_sub(begun.elapsed());
        let _ = within(run, left, others.wait()).await;
    }
    Ok(())
}

/// Stores the file; what goes up beside it may still be on its way.
async fn push(run: &Run, ready: &Ready) -> Result<Option<Others>, Fault> {
    let content = read(ready).await?;
    let notes = run.ctx.cache.as_deref();
    let notes = notes.map(|cache| Ok::<_, Fault>(Notes::new(cache, run.repository_place()?.bytes())));
    let notes = notes.transpose()?;
    if let Some(notes) = &notes
        && was_stored(run, notes, ready, &content).await?
    {
        return Ok(None);
    }
    let (repository, secret) = run.open_with_secret().await?;
    repository.require(Right::BackUp)?;
    refuse_costly(run, &repository, &secret).await?;
    let archive = WalArchive::new(&run.ctx, &repository);
    let others = Others::begin(&archive, notes.as_ref(), ready);
    let (stored, timeline) = store(&archive, ready, content).await?;
    told(run, ready, &timeline, stored == Stored::New);
    Ok(Some(others))
}

fn told(run: &Run, ready: &Ready, timeline: &Timeline, new: bool) {
    if run.ink.tone.json {
        run.ink.json(&WalPushedLine::new(timeline, &ready.name, new));
    } else {
        run.ink.talk(&format!("{} {}", ready.name, if new { "stored" } else { "was there" }));
    }
}

/// Whether an earlier run has stored this very content, and the repository has it.
async fn was_stored(run: &Run, notes: &Notes, ready: &Ready, content: &Content) -> Result<bool, Fault> {
    let (Some(timeline), Some(bytes)) = (content.timeline, &content.bytes) else { return Ok(false) };
    let name = WalName::whole(timeline, &ready.name);
    if !notes.take(&name, bytes) {
        return Ok(false);
    }
    let Some(store) = wire_up::open_store(&run.repository_place()?, &run.reach).await? else {
        return Ok(false);
    };
    let there = is_there(&*run.guard(store), &name).await?;
    if there {
        told(run, ready, &timeline, false);
    }
    Ok(there)
}

/// Others that are stored meanwhile.
struct Others(JoinSet<()>);

impl Others {
    fn begin(archive: &WalArchive, notes: Option<&Notes>, ready: &Ready) -> Self {
        let mut tasks = JoinSet::new();
        let Some(notes) = notes else { return Self(tasks) };
        notes.clean();
        let turns = Arc::new(Semaphore::new(AT_ONCE - 1));
        for other in ready.beside() {
            let (archive, notes, turns) = (archive.clone(), notes.clone(), Arc::clone(&turns));
            tasks.spawn(async move {
                let Ok(_turn) = turns.acquire().await else { return };
                let Ok(content) = read(&other).await else { return };
                let Some(bytes) = content.bytes.clone().filter(|_| content.length <= OTHER_BYTES_MAX) else {
                    return;
                };
                if let Ok((_, timeline)) = store(&archive, &other, content).await {
                    notes.write(&WalName::whole(timeline, &other.name), &bytes);
                }
            });
        }
        Self(tasks)
    }

    async fn wait(mut self) -> Result<(), Fault> {
        while self.0.join_next().await.is_some() {}
        Ok(())
    }
}

/// Reads a file where that keeps nobody else waiting.
async fn read(ready: &Ready) -> Result<Content, Fault> {
    let ready = ready.clone();
    match tokio::task::spawn_blocking(move || ready.read()).await {
        Ok(content) => content,
        Err(error) => Err(Fault::failed("cannot read the file", "").because(&error)),
    }
}

async fn store(archive: &WalArchive, ready: &Ready, content: Content) -> Result<(Stored, Timeline), Fault> {
    let timeline = timeline_of(archive, ready, &content).await?;
    let Content { length, written, .. } = content;
    let stored = match content.bytes {
        Some(bytes) => archive.put_of(&WalName::whole(timeline, &ready.name), bytes, written).await?,
        None => {
            let read = read_at(&ready.path)?;
            archive.put_file(&timeline, &ready.name, (length, written), &read).await?
        }
    };
    if stored != Stored::Other {
        return Ok((stored, timeline));
    }
    let there = archive.glance(&WalName::whole(timeline, &ready.name)).await.ok().flatten();
    Err(other_content(ready, &timeline, there.map(|there| archive.author_of(&there))))
}

/// The file of a segment that is longer than an object.
fn read_at(path: &Path) -> Result<ReadAt, Fault> {
    let file = File::open(path)
        .map_err(|error| Fault::failed(format!("cannot read {}", path.display()), "").because(&error))?;
    Ok(Arc::new(move |at, length| {
        let mut bytes = vec![0; length.min(PIECE_BYTES_MAX)];
        file.read_exact_at(&mut bytes, at).map(|()| bytes)
    }))
}

/// Two copies of one cluster write under the same names.
fn other_content(ready: &Ready, timeline: &Timeline, by: Option<String>) -> Fault {
    let by = by.map(|by| format!(", stored by {by}")).unwrap_or_default();
    let what = format!(
        "the archive has another {} of the cluster {} on timeline {timeline}{by}: nothing was overwritten",
        ready.name, timeline.system
    );
    let hint = format!(
        "two copies of this cluster archive into one repository. Find out which one is production; on the other set \
         archive_mode = off, or promote it to a timeline of its own. If this one is right, give it a new repository \
         and back it up there at once. If somebody stored a lie there, take its key away, then: holdfast repair log \
         --delete wal/{:016x}/{timeline}/{}",
        timeline.system, ready.name
    );
    Fault::failed(what, hint)
}

/// Which timeline a file is of: by the history beside it, else by the only one in the archive.
async fn timeline_of(archive: &WalArchive, ready: &Ready, content: &Content) -> Result<Timeline, Fault> {
    if let Some(timeline) = content.timeline {
        return Ok(timeline);
    }
    let number = ready.kind.timeline();
    let found = timelines_with(archive, content.system, number).await?;
    match found[..] {
        [only] => Ok(only),
        _ => {
            let history = ready.log.join(format!("{number:08X}.history"));
            let what =
                format!("nothing says which timeline {} is of: {} is missing", ready.name, history.display());
            let hint = match found.len() {
                0 => "the archive has no such timeline either; put the history file back where it was"
                    .to_owned(),
                _ => format!("the archive has several: {}; put the history file back", names_of(&found)),
            };
            Err(Fault::failed(what, hint))
        }
    }
}

/// Refuses what would take a second and much memory for each segment.
async fn refuse_costly(run: &Run, repository: &Repository, secret: &Secret) -> Result<(), Fault> {
    if !matches!(secret, Secret::Password(_)) {
        return Ok(());
    }
    let keys = keys(&run.ctx, repository).await?;
    let cost = keys.value.iter().find(|key| key.in_use).and_then(|key| key.password_cost);
    match cost.filter(|cost| cost.memory_kib > PASSWORD_KIB_MAX) {
        None => Ok(()),
        Some(cost) => {
            let what = format!(
                "use a key file; a passphrase would cost {} MiB and a second per segment",
                cost.memory_kib >> 10
            );
            let hint = "(umask 077; head -c 64 /dev/urandom > FILE); holdfast key add --new-key-file FILE; then --key-file FILE";
            Err(Fault::usage(what, hint))
        }
    }
}
