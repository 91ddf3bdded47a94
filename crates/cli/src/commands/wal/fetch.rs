//! `wal fetch`: gives a server that recovers a file of the log.
//!
//! It says that there is none only where that is proved: a server takes it for the end of the log.
//! Where more of the log comes later, a missing segment is a gap and no end. On purpose not here: the
//! codes that the server hears, which `fault` has.

use super::lineage::{Lineage, history_of, names_of};
use super::local::{folder_of, kind_of, system_of_server, timeline_in};
use super::prefetch::Prefetch;
use super::{Run, within};
use crate::args::WalFetchArgs;
use crate::engine::wal::{SegmentName, Timeline, WalArchive, WalFile, WalName};
use crate::engine::{Error, ErrorKind, Right};
use crate::fault::{Code, Fault};
use crate::ink::{WalFetchedLine, size};
use crate::settings::current_dir;
use crate::wire_up::PageHeader;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A segment that is missing before a later one may be on its way: those of one run go up together.
const GAP_PATIENCE: Duration = Duration::from_secs(10);
/// A standby that misses a history goes along the wrong timeline.
const HISTORY_PATIENCE: Duration = Duration::from_secs(30);
/// The server waits while the next segments are fetched.
const AHEAD_PATIENCE: Duration = Duration::from_secs(20);
/// So soon is looked again, then after twice the time, and so on.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Fetches the file.
pub(super) async fn run(run: &Run, args: &WalFetchArgs) -> Result<(), Fault> {
    let kind = kind_of(&args.name)?;
    let begun = Instant::now();
    loop {
        let left = args.timeout.saturating_sub(begun.elapsed());
        let fault = match within(run, left, fetch(run, args, kind)).await {
            Ok(next) => {
                if let Some(next) = next {
                    next.fetch_ahead(run).await;
                }
                return Ok(());
            }
            Err(fault) => fault,
        };
        let outage = matches!(fault.code, Code::Failed | Code::NoRepository);
        let patient = args.standby && matches!(kind, WalFile::History(_)) && outage;
        if !patient || begun.elapsed() > HISTORY_PATIENCE.min(args.timeout) {
            return Err(fault);
        }
        sleep(4 * LOOK_AGAIN).await;
    }
}

/// What the server asks for next.
struct Next {
    prefetch: Prefetch,
    archive: WalArchive,
    timeline: Timeline,
    name: SegmentName,
    length: u64,
}

impl Next {
    /// The file is in its place: nothing that happens now is a failure.
    async fn fetch_ahead(self, run: &Run) {
        let work = async {
            self.prefetch.fill(&self.archive, &self.timeline, self.name, self.length).await;
            Ok(())
        };
        let _ = within(run, AHEAD_PATIENCE, work).await;
    }
}

async fn fetch(run: &Run, args: &WalFetchArgs, kind: WalFile) -> Result<Option<Next>, Fault> {
    let system = match args.system {
        Some(system) => system,
        None => system_of_server(None)?.ok_or_else(|| {
            let what = "nothing says which cluster it is for: there is no global/pg_control here";
            Fault::usage(what, "a server calls it in its folder; elsewhere state --system")
        })?,
    };
    let chosen = args.timeline.as_deref().map(|text| timeline_named(system, text)).transpose()?;
    let prefetch = Prefetch::of(run, system)?;
    let known = known_timeline(system, kind.timeline(), chosen)?;
    if let (Some(timeline), WalFile::Segment(name)) = (known, kind)
        && let Some(content) = prefetch.take(&timeline, name)
    {
        return given(run, args, &timeline, content, 0).await.map(|()| None);
    }
    let repository = run.open_for(Right::FetchLog).await?;
    let archive = WalArchive::new(&run.ctx, &repository);
    let timeline = match kind.timeline() {
        1 => Timeline::new(system, 1, b""),
        number => choose(&archive, system, number, chosen, known, &args.name).await?,
    };
    let patience = GAP_PATIENCE.min(args.timeout / 4);
    let search = Search { archive: &archive, timeline, chosen, system, name: &args.name, patience };
    match kind {
        WalFile::Segment(name) => {
            let (content, filled) = search.segment(name).await?;
            let length = content.len() as u64;
            given(run, args, &timeline, content, filled).await?;
            let next = Next { prefetch, archive: archive.clone(), timeline, name, length };
            return Ok(Some(next).filter(|_| filled == 0));
        }
        WalFile::History(1) => return Err(absent(&args.name, "the first timeline has no history")),
        WalFile::History(_) => {
            history_of(&archive, &timeline).await?;
            given(run, args, &timeline, search.whole().await?.unwrap_or_default(), 0).await?;
        }
        WalFile::Partial(_) | WalFile::Backup(_) => match search.whole().await? {
            Some(content) => given(run, args, &timeline, content, 0).await?,
            None => return Err(absent(&args.name, "the archive has no such file")),
        },
    }
    Ok(None)
}

/// Puts a file in its place; so many bytes at its end are zeros that the archive does not have.
async fn given(
    run: &Run,
    args: &WalFetchArgs,
    timeline: &Timeline,
    content: Vec<u8>,
    filled: u64,
) -> Result<(), Fault> {
    let length = content.len() as u64;
    put(&args.path, content).await?;
    if run.ink.tone.json {
        run.ink.json_now(&WalFetchedLine::new(timeline, &args.name, length, filled));
    } else if filled > 0 {
        run.ink.talk(&format!(
            "{}: the archive ends in it, after {} of {}; the rest is zeros",
            args.name,
            size(length - filled),
            size(length)
        ));
    }
    Ok(())
}

/// Reads the name of a timeline.
fn timeline_named(system: u64, text: &std::ffi::OsStr) -> Result<Timeline, Fault> {
    let timeline = text.to_str().and_then(|text| Timeline::parse(system, text));
    // The first has no history.
    let first = Timeline::new(system, 1, b"");
    timeline.filter(|timeline| timeline.number > 1 || *timeline == first).ok_or_else(|| {
        let what = format!("--timeline {} is no name of a timeline", text.display());
        Fault::usage(what, "write it as `holdfast wal status` does: 00000002-0123456789abcdef")
    })
}

/// The timeline with a number, if no archive has to be asked: it is the chosen one, or its history
/// lies in the folder of the log here.
fn known_timeline(system: u64, number: u32, chosen: Option<Timeline>) -> Result<Option<Timeline>, Fault> {
    match chosen {
        Some(chosen) if chosen.number == number => Ok(Some(chosen)),
        Some(_) if number > 1 => Ok(None),
        // A history that is no such file is for the server to tell of.
        _ => Ok(timeline_in(&current_dir()?.join("pg_wal"), system, number).unwrap_or_default()),
    }
}

/// The timeline with a number that is meant.
async fn choose(
    archive: &WalArchive,
    system: u64,
    number: u32,
    chosen: Option<Timeline>,
    known: Option<Timeline>,
    name: &str,
) -> Result<Timeline, Fault> {
    let meant = Lineage::find(archive, system, chosen).await?.meant(number).await?;
    match (&meant[..], known) {
        ([], _) => Err(absent(name, "the archive has nothing of this timeline")),
        (_, Some(known)) if meant.contains(&known) => Ok(known),
        (_, Some(known)) => {
            let what =
                format!("this server is on timeline {known}, and the archive has {}", names_of(&meant));
            let hint = "another copy of this cluster was promoted; say which one is meant: --timeline NUMBER-HISTORY";
            Err(Fault::new(Code::Unanswered, what, hint))
        }
        ([only], None) => Ok(*only),
        // A server that recovers along an earlier one asks only which numbers are taken.
        ([first, ..], None)
            if name.ends_with(".history") && chosen.is_some_and(|chosen| chosen.number < number) =>
        {
            Ok(*first)
        }
        (_, None) => {
            let what = format!("{name} could be of several timelines: {}", names_of(&meant));
            let hint = "two copies of this cluster were promoted; say which one: --timeline NUMBER-HISTORY";
            Err(Fault::new(Code::Unanswered, what, hint))
        }
    }
}

fn absent(name: &str, why: &str) -> Fault {
    Fault { why: vec![why.to_owned()], ..Fault::new(Code::Absent, name, "") }
}

/// What cannot be read is no outage, which passes.
fn unanswered(error: Error) -> Fault {
    let passes = !matches!(error.kind, ErrorKind::Damaged | ErrorKind::Newer | ErrorKind::NotAllowed);
    let fault = Fault::from(error);
    if passes { fault } else { Fault { code: Code::Unanswered, ..fault } }
}

/// A file that is looked for.
struct Search<'a> {
    archive: &'a WalArchive,
    timeline: Timeline,
    chosen: Option<Timeline>,
    system: u64,
    name: &'a str,
    /// How long a gap is looked at again.
    patience: Duration,
}

/// What was found of a segment.
enum Found {
    Whole(Vec<u8>),
    /// The front of it, of so many bytes.
    Front(Vec<u8>, u64),
    /// Pieces, and one before them is missing.
    Broken,
    Nothing,
}

impl Search<'_> {
    async fn whole(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.archive.get(&WalName::whole(self.timeline, self.name)).await.map_err(unanswered)
    }

    /// A segment, and how many bytes at its end the archive does not have. One that is missing before
    /// others is waited for a little.
    async fn segment(&self, name: SegmentName) -> Result<(Vec<u8>, u64), Fault> {
        let (begun, mut pause) = (Instant::now(), LOOK_AGAIN);
        loop {
            let fault = match self.look(name).await {
                Ok(found) => return Ok(found),
                Err(fault) => fault,
            };
            if fault.code != Code::Unanswered || begun.elapsed() > self.patience {
                return Err(fault);
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn look(&self, name: SegmentName) -> Result<(Vec<u8>, u64), Fault> {
        let (front, nothing) = match self.find(name).await? {
            Found::Whole(content) => return Ok((content, 0)),
            Found::Front(front, length) => (Some((front.len() as u64, length)), false),
            Found::Broken => (None, false),
            Found::Nothing => (None, true),
        };
        let refused = self.refuse_gap(name, front).await;
        // What was missing may have come since.
        match (self.find(name).await?, refused) {
            (Found::Whole(content), _) => Ok((content, 0)),
            (_, Err(fault)) => Err(fault),
            (Found::Front(mut content, length), Ok(())) if front.is_some() => {
                let filled = length - content.len() as u64;
                content.resize(length as usize, 0);
                Ok((content, filled))
            }
            (Found::Nothing, Ok(())) if nothing => Err(absent(self.name, "the archive ends before it")),
            _ => Err(self.gap(name, "of its pieces some are missing, or it comes in just now")),
        }
    }

    /// Looks for the whole segment, then for its pieces, and for the whole again: it takes their place.
    async fn find(&self, name: SegmentName) -> Result<Found, Fault> {
        if let Some(content) = self.whole().await? {
            return self.checked(name, content).map(Found::Whole);
        }
        let pieces = self.archive.pieces(&self.timeline, self.name).await.map_err(unanswered)?;
        if let Some(content) = self.whole().await? {
            return self.checked(name, content).map(Found::Whole);
        }
        if pieces.broken {
            return Ok(Found::Broken);
        }
        if pieces.count == 0 {
            return Ok(Found::Nothing);
        }
        let header = PageHeader::parse(&pieces.content).map_err(|error| self.damaged(&error))?;
        self.fits(name, &header)?;
        match (pieces.content.len() as u64).cmp(&header.segment_bytes) {
            std::cmp::Ordering::Less => Ok(Found::Front(pieces.content, header.segment_bytes)),
            _ => self.checked(name, pieces.content).map(Found::Whole),
        }
    }

    fn checked(&self, name: SegmentName, content: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let header = PageHeader::of_segment(&content, content.len() as u64, name);
        self.fits(name, &header.map_err(|error| self.damaged(&error))?)?;
        Ok(content)
    }

    fn fits(&self, name: SegmentName, header: &PageHeader) -> Result<(), Fault> {
        header.fits(name).map_err(|error| self.damaged(&error))?;
        if header.system == self.system {
            return Ok(());
        }
        let what = format!("what the archive has as {name} is of another cluster, {}", header.system);
        Err(Fault::new(Code::Unanswered, what, "state the right one with --system"))
    }

    fn damaged(&self, error: &dyn std::error::Error) -> Fault {
        let what = format!("what the archive has as {} is no such segment", self.name);
        Fault::new(Code::Unanswered, what, "see how far it goes: holdfast check --read-data").because(error)
    }

    /// Refuses to call it the end where the archive has later log that needs this segment. `front`
    /// says how much of it there is.
    async fn refuse_gap(&self, name: SegmentName, front: Option<(u64, u64)>) -> Result<(), Fault> {
        let lineage = Lineage::find(self.archive, self.system, self.chosen).await?;
        let later = self.archive.after(&self.timeline, name).await?;
        let forks = lineage.forks(&self.timeline).await?;
        if later.is_none() && forks.is_empty() {
            return Ok(());
        }
        let length = match front {
            Some((_, length)) => Some(length),
            None => lineage.segment_bytes().await?,
        };
        let Some(length) = length else {
            return Err(self.gap(name, "there is later log, whose segments say nothing of their length"));
        };
        let start = name.start(length).ok_or_else(|| self.gap(name, "segments have another length"))?;
        let begin = history_of(self.archive, &self.timeline).await?.begin().0;
        if begin >= start.saturating_add(length) {
            // It lies before the timeline began: a server looks for it on the one before.
            return Ok(());
        }
        if let Some(later) = later {
            return Err(self.gap(name, &format!("the archive has {} after it", later.name.file)));
        }
        for (other, at) in forks {
            // Without any of it nothing is cut off where the later timeline begins in it: that one
            // has a copy of the front.
            let needed = if front.is_some() { at > start } else { at >= start.saturating_add(length) };
            if needed {
                return Err(self.fork(name, &other, at));
            }
        }
        Ok(())
    }

    fn gap(&self, name: SegmentName, why: &str) -> Fault {
        let what = format!("a gap: the archive lacks {name} of timeline {}", self.timeline);
        let hint = "see holdfast wal status; archive the segment if a server still has it, or recover only to before it";
        Fault { why: vec![why.to_owned()], ..Fault::new(Code::Unanswered, what, hint) }
    }

    /// Who recovers along another timeline needs what is missing; who ends here does not.
    fn fork(&self, name: SegmentName, other: &Timeline, at: u64) -> Fault {
        let (high, low) = (at >> 32, at & 0xFFFF_FFFF);
        let fault = self.gap(name, &format!("timeline {other} goes on after it, from {high:X}/{low:X}"));
        let hint = format!("{}; to end on this one on purpose: --timeline {}", fault.hint, self.timeline);
        Fault { hint, ..fault }
    }
}

/// Puts a file in its place, whole and on the disk.
async fn put(path: &Path, content: Vec<u8>) -> Result<(), Fault> {
    let place = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&place, &content)).await;
    written.map_err(io::Error::other).and_then(|written| written).map_err(|error| {
        let what = format!("cannot write {}", path.display());
        Fault::failed(what, "see that there is room, and that this user may write there").because(&error)
    })
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(path).map_err(|fault| io::Error::other(fault.to_string()))?;
    let mut file = tempfile::Builder::new().prefix(".holdfast-").tempfile_in(&folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(&folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_file_appears_whole_in_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("RECOVERYXLOG");
        std::fs::write(&path, "old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("nowhere/x"), b"").is_err());
    }

    #[test]
    fn timelines_are_named_as_they_are_shown() {
        let timeline = Timeline::new(7, 2, b"1\t0/1\tx");
        assert_eq!(timeline_named(7, timeline.to_string().as_ref()).unwrap(), timeline);
        for wrong in ["2", "00000001-0123456789abcdef", "00000000-0000000000000000"] {
            assert_eq!(timeline_named(7, wrong.as_ref()).unwrap_err().code, Code::Usage, "{wrong}");
        }
    }
}
