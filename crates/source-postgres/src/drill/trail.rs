//! The log that a restored cluster replays: fetched before it starts, because it can reach nothing
//! then, and read on the way, because of what a replay would do.
//!
//! On purpose not here: what replays it.

use super::settings::value;
use super::{FetchLog, Fetched};
use crate::log::History;
use crate::lsn::{Lsn, segment_name};
use crate::records::{End, Event, EventKind, LogReader, PgTime, Verdict};
use holdfast_core::entry::Time;
use holdfast_engine::ctx::Cancel;
use holdfast_engine::proof::Cause;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// So many timelines may follow one another.
const TIMELINES_MAX: u32 = 10_000;

/// Where a recovery stops, as far as it decides what has to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    End,
    /// As soon as the backup is whole, wherever its log goes on to.
    Immediate,
    Lsn(Lsn),
    Time(PgTime),
    Xid(u32),
    Name(String),
}

impl Stop {
    /// Where the settings of a restore say that it stops.
    pub(super) fn of(auto: &str) -> Self {
        let stated = |name: &str| value(auto, name).filter(|value| !value.is_empty());
        let lsn = stated("recovery_target_lsn").and_then(|text| Lsn::parse(&text)).map(Self::Lsn);
        let time = || stated("recovery_target_time").and_then(|text| moment(&text)).map(Self::Time);
        let xid = || stated("recovery_target_xid").and_then(|text| text.parse().ok()).map(Self::Xid);
        let name = || stated("recovery_target_name").map(Self::Name);
        let immediate = || stated("recovery_target").map(|_| Self::Immediate);
        lsn.or_else(time).or_else(xid).or_else(name).or_else(immediate).unwrap_or(Self::End)
    }

    /// Whether a record lies behind it, and is not replayed whatever else is said.
    fn is_before(&self, event: &Event) -> bool {
        match self {
            Self::Time(time) => event.ended().is_some_and(|ended| ended > *time),
            _ => false,
        }
    }

    /// Whether it stops at a record.
    fn is_at(&self, event: &Event) -> bool {
        match self {
            Self::Lsn(lsn) => event.at >= *lsn,
            Self::Xid(xid) => event.xid() == Some(*xid),
            Self::Name(name) => {
                matches!(&event.kind, EventKind::RestorePoint { name: found, .. } if found == name)
            }
            _ => false,
        }
    }
}

/// Reads a moment as a restore writes it; none if it is written otherwise.
fn moment(text: &str) -> Option<PgTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let micros = number(20, 26)?;
    if text.get(26..) != Some("+00") || !(1..=12).contains(&month) {
        return None;
    }
    // Days since 1970 of a day of the calendar, counted from March on.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let in_era = year.rem_euclid(400) * 365 + year.rem_euclid(400) / 4 - year.rem_euclid(400) / 100;
    let days = era * 146_097 + in_era + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(PgTime::from(Time { seconds, nanos: u32::try_from(micros * 1000).ok()? }))
}

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    pub at: Lsn,
    pub timeline: u32,
    pub segment_bytes: u64,
}

impl Begin {
    /// As the label of a backup says.
    pub(super) fn of(label: &str, segment_bytes: u64) -> Option<Self> {
        let after = |start: &str| label.lines().find_map(|line| line.strip_prefix(start));
        let at = Lsn::parse(after("START WAL LOCATION: ")?.split_whitespace().next()?)?;
        let timeline = after("START TIMELINE: ").and_then(|text| text.trim().parse().ok()).unwrap_or(1);
        Some(Self { at, timeline, segment_bytes })
    }
}

/// What the log says that is replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trail {
    /// Segments that were fetched.
    pub segments: u64,
    /// Folders that its tablespaces would be made in.
    pub spaces: Vec<PathBuf>,
    /// The last commit that is replayed.
    pub last_commit: Option<Lsn>,
    /// The last record that was read.
    pub last: Option<Lsn>,
    /// It is replayed to its end, and not to a point before.
    pub to_end: bool,
    /// Restore points, by their names.
    pub points: Vec<(String, Lsn)>,
}

/// Why the log is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    pub cause: Cause,
    pub what: String,
}

/// Fetches what is needed, and reads it.
pub(super) struct Tracker<'a> {
    /// What fetches; none if what came along is all.
    pub fetch: Option<&'a dyn FetchLog>,
    /// Where it goes.
    pub shelf: &'a Path,
    /// The cluster's own.
    pub own: &'a Path,
    pub begin: Begin,
    pub stop: Stop,
    /// Number of the timeline that it goes along; the newest if it is not stated.
    pub timeline: Option<u32>,
    pub cancel: &'a Cancel,
}

impl Tracker<'_> {
    pub(super) async fn track(&self) -> Result<Trail, Lack> {
        let way = self.way().await?;
        let mut trail = Trail { to_end: self.stop == Stop::End, ..Trail::default() };
        let length = self.begin.segment_bytes;
        let mut reader = LogReader::new(None, length);
        let mut start = self.begin.at.segment_start(length);
        loop {
            if self.cancel.is_raised() {
                return Err(lack(Cause::Environment, "it was stopped"));
            }
            let Some(bytes) = self.segment(&way, start, &mut trail).await? else { break };
            let end = reader.read(start, &bytes, |event| self.take(&mut trail, event));
            trail.last = reader.last().or(trail.last);
            match end {
                End::Enough => break,
                End::Next => {}
                End::Empty(_) | End::Broken(..) => reader = LogReader::new(None, length),
            }
            start = Lsn(start.0.saturating_add(length));
        }
        Ok(trail)
    }

    fn take(&self, trail: &mut Trail, event: &Event) -> Verdict {
        if event.at < self.begin.at {
            return Verdict::Go;
        }
        if self.stop.is_before(event) {
            return Verdict::Enough;
        }
        match &event.kind {
            EventKind::Commit { .. } => trail.last_commit = Some(event.at),
            EventKind::Tablespace { path } => trail.spaces.push(PathBuf::from(path)),
            EventKind::RestorePoint { name, .. } => trail.points.push((name.clone(), event.at)),
            _ => {}
        }
        if self.stop.is_at(event) { Verdict::Enough } else { Verdict::Go }
    }

    /// Timelines on the way, the newest first, each with the place where it begins.
    async fn way(&self) -> Result<Vec<(u32, Lsn)>, Lack> {
        let only = vec![(self.begin.timeline, Lsn(0))];
        let Some(fetch) = self.fetch else { return Ok(only) };
        let newest = match self.timeline {
            Some(timeline) => timeline,
            None => self.newest(fetch).await?,
        };
        if newest == 1 {
            return Ok(only);
        }
        // A server reads those of all that follow the one that it begins with.
        let name = format!("{newest:08X}.history");
        let text = match self.get(fetch, &name).await? {
            Some(path) => fs::read(path).map_err(|error| unread(&name, &error))?,
            None => match fs::read(self.own.join(&name)) {
                Ok(text) => text,
                Err(_) if newest == self.begin.timeline => return Ok(only),
                Err(_) => return Err(lack(Cause::Backup, format!("{name} is missing"))),
            },
        };
        let history = History::parse(&text)
            .ok_or_else(|| lack(Cause::Backup, format!("{name} is no history of timelines")))?;
        let mut way = vec![(newest, history.begin())];
        let begins = std::iter::once(Lsn(0)).chain(history.switches.iter().map(|switch| switch.at));
        let before = history.switches.iter().map(|switch| switch.timeline).zip(begins);
        way.extend(before.collect::<Vec<_>>().into_iter().rev());
        Ok(way)
    }

    /// The newest timeline that follows.
    async fn newest(&self, fetch: &dyn FetchLog) -> Result<u32, Lack> {
        let mut newest = self.begin.timeline;
        for next in newest + 1..newest.saturating_add(TIMELINES_MAX) {
            if self.get(fetch, &format!("{next:08X}.history")).await?.is_none() {
                break;
            }
            newest = next;
        }
        Ok(newest)
    }

    /// A segment, by whatever timeline has it.
    async fn segment(
        &self,
        way: &[(u32, Lsn)],
        start: Lsn,
        trail: &mut Trail,
    ) -> Result<Option<Vec<u8>>, Lack> {
        let length = self.begin.segment_bytes;
        let end = Lsn(start.0.saturating_add(length));
        let names: Vec<String> = way
            .iter()
            .filter(|(timeline, begin)| *begin < end && *timeline >= self.begin.timeline)
            .map(|(timeline, _)| segment_name(*timeline, start, length))
            .collect();
        if let Some(fetch) = self.fetch {
            for name in &names {
                if let Some(path) = self.get(fetch, name).await? {
                    trail.segments += 1;
                    return fs::read(path).map(Some).map_err(|error| unread(name, &error));
                }
            }
        }
        for name in &names {
            match fs::read(self.own.join(name)) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(unread(name, &error)),
            }
        }
        Ok(None)
    }

    /// Fetches a file; none if there is none.
    async fn get(&self, fetch: &dyn FetchLog, name: &str) -> Result<Option<PathBuf>, Lack> {
        let to = self.shelf.join(name);
        match fetch.fetch(name, &to).await {
            Fetched::There => Ok(Some(to)),
            Fetched::Absent => Ok(None),
            Fetched::Gap(why) => Err(lack(Cause::Backup, format!("{name} of the log is missing: {why}"))),
            Fetched::Failed(why) => {
                Err(lack(Cause::Environment, format!("{name} of the log could not be fetched: {why}")))
            }
        }
    }
}

fn lack(cause: Cause, what: impl Into<String>) -> Lack {
    Lack { cause, what: what.into() }
}

fn unread(name: &str, error: &io::Error) -> Lack {
    lack(Cause::Environment, format!("{name} of the log cannot be read: {error}"))
}

/// The timeline that the settings of a restore name.
pub(super) fn timeline(auto: &str, own: u32) -> Option<u32> {
    match value(auto, "recovery_target_timeline").as_deref() {
        Some("current") => Some(own),
        Some(number) => number.parse().ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn where_it_stops_is_read_from_what_the_restore_wrote() {
        assert_eq!(Stop::of("recovery_target_lsn = '1/2000028'\n"), Stop::Lsn(Lsn(0x1_0200_0028)));
        assert_eq!(Stop::of("recovery_target_xid = '7'\nrecovery_target_name = ''"), Stop::Xid(7));
        assert_eq!(Stop::of("recovery_target_name = 'it''s'\n"), Stop::Name("it's".into()));
        assert_eq!(Stop::of("recovery_target_time = 'yesterday'"), Stop::End);
        assert_eq!(Stop::of("recovery_target = 'immediate'"), Stop::Immediate, "log may lie behind it");
        let Stop::Time(time) = Stop::of("recovery_target_time = '2026-02-28 02:30:05.123456+00'") else {
            panic!("a time")
        };
        assert_eq!(time.time(), Time { seconds: 1_772_245_805, nanos: 123_456_000 });
        assert_eq!(moment("2000-01-01 00:00:00.000000+00"), Some(PgTime(0)));
        assert_eq!(moment("2000-13-01 00:00:00.000000+00"), None);
        assert_eq!(moment("2000-01-01 00:00:00.000000+09"), None);
        assert_eq!(timeline("recovery_target_timeline = '3'", 1), Some(3));
        assert_eq!(timeline("recovery_target_timeline = 'current'", 2), Some(2));
        assert_eq!(timeline("recovery_target_timeline = 'latest'", 2), None);
    }

    #[test]
    fn a_label_says_where_it_begins() {
        let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n\
                     START TIMELINE: 4\n";
        let begin = Begin::of(label, 1 << 24).unwrap();
        assert_eq!((begin.at, begin.timeline), (Lsn(0x200_0028), 4));
        assert_eq!(Begin::of("", 1 << 24), None);
    }

    #[test]
    fn what_lies_behind_the_point_does_not_count() {
        let event = |at, time| Event { at: Lsn(at), kind: EventKind::Commit { xid: 7, time: PgTime(time) } };
        assert!(Stop::Lsn(Lsn(5)).is_at(&event(6, 0)) && !Stop::Lsn(Lsn(5)).is_at(&event(4, 0)));
        assert!(
            Stop::Time(PgTime(5)).is_before(&event(1, 6)) && !Stop::Time(PgTime(5)).is_before(&event(1, 5))
        );
        assert!(Stop::Xid(7).is_at(&event(1, 1)) && !Stop::Xid(8).is_at(&event(1, 1)));
        assert!(!Stop::End.is_before(&event(u64::MAX, i64::MAX)));
    }
}
