//! Timelines of a database in the archive: which there are, from which each comes, and which one a
//! recovery means.
//!
//! On purpose not here: segments.

use crate::engine::wal::{SegmentName, Timeline, WalArchive, WalName};
use crate::fault::{Code, Fault};
use crate::wire_up::{History, PageHeader};

/// The timelines of a database that have this number.
pub(super) async fn timelines_with(
    archive: &WalArchive,
    system: u64,
    number: u32,
) -> Result<Vec<Timeline>, Fault> {
    let mut found = archive.timelines(Some(system)).await?;
    found.retain(|timeline| timeline.number == number);
    Ok(found)
}

/// Timelines by the names that options take.
pub(super) fn names_of(timelines: &[Timeline]) -> String {
    timelines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The name of a timeline's history file.
pub(super) fn history_name(number: u32) -> String {
    format!("{number:08X}.history")
}

/// Reads the history of a timeline; that of the first is empty.
pub(super) async fn history_of(archive: &WalArchive, timeline: &Timeline) -> Result<History, Fault> {
    if timeline.number == 1 {
        return Ok(History::default());
    }
    let file = history_name(timeline.number);
    let text = archive.get(&WalName::whole(*timeline, &file)).await?;
    text.and_then(|text| History::parse(&text)).ok_or_else(|| {
        let what = format!("the archive has log of timeline {timeline} and no {file} of it");
        let hint = "archive the file once more, from pg_wal of the server: holdfast wal push";
        Fault::new(Code::Unanswered, what, hint)
    })
}

/// The timelines of one database, and the one that a recovery goes along, if somebody said so.
pub(super) struct Lineage<'a> {
    archive: &'a WalArchive,
    all: Vec<Timeline>,
    chosen: Option<(Timeline, History)>,
}

impl<'a> Lineage<'a> {
    /// Looks what there is.
    pub(super) async fn find(
        archive: &'a WalArchive,
        system: u64,
        chosen: Option<Timeline>,
    ) -> Result<Self, Fault> {
        let all = archive.timelines(Some(system)).await?;
        let chosen = match chosen {
            None => None,
            Some(timeline) if all.contains(&timeline) => {
                Some((timeline, history_of(archive, &timeline).await?))
            }
            Some(timeline) => {
                let what = format!("the archive has no timeline {timeline} of the cluster {system}");
                let hint = if all.is_empty() { String::new() } else { format!("it has {}", names_of(&all)) };
                return Err(Fault::usage(what, hint));
            }
        };
        Ok(Self { archive, all, chosen })
    }

    /// The timelines with a number that may be meant: of those that do not lie on one line with the
    /// chosen one, none is.
    pub(super) async fn meant(&self, number: u32) -> Result<Vec<Timeline>, Fault> {
        let mut meant = Vec::new();
        for timeline in self.all.iter().filter(|timeline| timeline.number == number) {
            if self.is_on_line(timeline).await? {
                meant.push(*timeline);
            }
        }
        Ok(meant)
    }

    async fn is_on_line(&self, timeline: &Timeline) -> Result<bool, Fault> {
        let Some((chosen, history)) = &self.chosen else { return Ok(true) };
        if timeline == chosen {
            return Ok(true);
        }
        if timeline.number == chosen.number {
            return Ok(false);
        }
        let other = history_of(self.archive, timeline).await?;
        Ok(match timeline.number < chosen.number {
            true => history.comes_from(timeline.number, &other),
            false => other.comes_from(chosen.number, history),
        })
    }

    /// Where later timelines that a recovery may go along leave this one.
    pub(super) async fn forks(&self, timeline: &Timeline) -> Result<Vec<(Timeline, u64)>, Fault> {
        let own = history_of(self.archive, timeline).await?;
        let mut forks = Vec::new();
        for later in self.all.iter().filter(|later| later.number > timeline.number) {
            // Who recovers along this very one does not leave it.
            if self.chosen.as_ref().is_some_and(|(chosen, _)| chosen == timeline)
                || !self.is_on_line(later).await?
            {
                continue;
            }
            let history = history_of(self.archive, later).await?;
            if history.comes_from(timeline.number, &own) {
                forks.extend(history.left(timeline.number).map(|at| (*later, at.0)));
            }
        }
        Ok(forks)
    }

    /// Length of a segment of this database: as the first whole one says that is found.
    pub(super) async fn segment_bytes(&self) -> Result<Option<u64>, Fault> {
        for timeline in &self.all {
            let before = SegmentName { timeline: timeline.number, place: 0 };
            let Some(first) = self.archive.after(timeline, before).await? else { continue };
            let Some(segment) = first.name.kind().and_then(|kind| kind.segment()) else { continue };
            for name in [
                WalName::whole(*timeline, segment.to_string()),
                WalName::piece(*timeline, segment.to_string(), 0),
            ] {
                let Some(content) = self.archive.get(&name).await? else { continue };
                if let Ok(header) = PageHeader::parse(&content) {
                    return Ok(Some(header.segment_bytes));
                }
            }
        }
        Ok(None)
    }
}
