//! Makes the plan of a restore: the newest snapshot that fits, the timeline that the target lies on,
//! the segments from the one to the other. Refuses what a server could not reach.
//!
//! On purpose not here: the words in which it is told.

use super::search::{Answer, Mark, Seen, Walk};
use super::shelf::Shelf;
use super::tree::{Leg, Tree};
use super::wish::{PlanError, Rival, Target, Wish};
use crate::log::History;
use crate::lsn::Lsn;
use crate::records::PgTime;
use holdfast_engine::wal::{SegmentName, Timeline};

/// A snapshot that a restore may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The timeline that it was made on.
    pub timeline: u32,
    /// Where the log begins that it needs.
    pub start: Lsn,
    /// From here on it is consistent.
    pub stop: Lsn,
    /// When it ended, by the clock of whoever made it.
    pub ended: PgTime,
}

/// Up to where the server is told to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Until the files are consistent.
    Immediate,
    /// As far as the log goes, also if there is more of it then.
    Latest,
    /// To a moment.
    Time(PgTime),
    /// To a record.
    Lsn(Lsn),
    /// To the end of a transaction.
    Xid(u32),
    /// To a restore point.
    Name(String),
}

/// What a restore will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Number of the snapshot among those that were given.
    pub base: usize,
    /// The timeline that the target lies on; none if no archive is needed.
    pub timeline: Option<Timeline>,
    /// The way from the snapshot on.
    pub legs: Vec<Leg>,
    /// The first and the last segment that the server will ask for; of the last there may be more.
    pub segments: Option<(SegmentName, SegmentName)>,
    /// How many they are.
    pub segment_count: u64,
    /// What the server is told.
    pub goal: Goal,
    /// Whether it stops before that.
    pub exclusive: bool,
    /// The record at which it stops; none if that is the end of the log.
    pub stop: Option<Lsn>,
    /// The last record that is there, if the files are consistent by then.
    pub last: Option<Lsn>,
    /// The last commit that will be there, as far as it was looked for.
    pub before: Option<Seen>,
    /// The first that will not.
    pub after: Option<Seen>,
    /// No transaction ended after the moment: all of the log is replayed.
    pub none_after: bool,
}

/// Makes a plan. `bases` are whole snapshots of the cluster `system` with a tree that was made for it.
///
/// # Errors
/// The target cannot be reached, or cannot be told from others; nothing was changed.
pub async fn plan<S: Shelf>(
    shelf: &S,
    system: u64,
    tree: &Tree,
    bases: &[Base],
    wish: &Wish,
) -> Result<Plan, PlanError> {
    if wish.target == Target::Immediate {
        return immediate(bases);
    }
    if tree.lines.iter().all(|line| line.segments.is_empty()) {
        return Err(PlanError::NoArchive);
    }
    let planner = Planner { shelf, system, tree, bases, wish };
    let mut found = planner.all().await?;
    if found.len() == 1 {
        return Ok(found.remove(0).plan);
    }
    let rivals = found.into_iter().map(|found| Rival {
        timeline: tree.lines[found.line].timeline,
        begins: tree.lines[found.line]
            .history
            .as_ref()
            .and_then(|history| history.switches.last())
            .map(|at| at.at),
        last: found.plan.after.or(found.plan.before),
    });
    Err(PlanError::Choose(rivals.collect()))
}

/// Without an archive: the files, and the log that came with them.
fn immediate(bases: &[Base]) -> Result<Plan, PlanError> {
    let newest = (0..bases.len()).max_by_key(|&base| (bases[base].ended, bases[base].stop));
    let base = newest.ok_or(PlanError::NoBase)?;
    Ok(Plan {
        base,
        timeline: None,
        legs: Vec::new(),
        segments: None,
        segment_count: 0,
        goal: Goal::Immediate,
        exclusive: false,
        stop: Some(bases[base].stop),
        last: None,
        before: None,
        after: None,
        none_after: false,
    })
}

struct Planner<'a, S> {
    shelf: &'a S,
    system: u64,
    tree: &'a Tree,
    bases: &'a [Base],
    wish: &'a Wish,
}

/// A plan along one timeline.
struct Found {
    line: usize,
    plan: Plan,
    /// The target lies on it, and is not only behind all that there is.
    certain: bool,
}

impl<S: Shelf> Planner<'_, S> {
    /// Plans along each timeline that could be meant; there is at least one.
    async fn all(&self) -> Result<Vec<Found>, PlanError> {
        let lines: Vec<usize> = (0..self.tree.lines.len()).filter(|&line| self.is_meant(line)).collect();
        if lines.is_empty() {
            return Err(PlanError::NoLine(self.tree.lines.iter().map(|line| line.timeline).collect()));
        }
        let (mut found, mut why): (Vec<Found>, Option<PlanError>) = (Vec::new(), None);
        for line in lines {
            match self.along(line).await {
                Ok(Some(plan)) => found.push(plan),
                Ok(None) => {}
                Err(PlanError::Unread(error)) => return Err(PlanError::Unread(error)),
                Err(error) => why = Some(worse(why, error)),
            }
        }
        if found.iter().any(|found| found.certain) {
            found.retain(|found| found.certain);
        }
        match why {
            // Where one comes from is not known, it might be the one that is meant in any case.
            Some(why @ PlanError::NoHistory(_)) => Err(why),
            // A timeline that cannot be followed might be the one that is meant.
            Some(why @ (PlanError::Gap { .. } | PlanError::Broken(..)))
                if !found.iter().any(|one| one.certain) =>
            {
                Err(why)
            }
            Some(why) if found.is_empty() => Err(why),
            None if found.is_empty() => Err(PlanError::NoBase),
            _ => Ok(found),
        }
    }

    fn is_meant(&self, line: usize) -> bool {
        self.wish.choice.as_ref().is_none_or(|choice| choice.fits(&self.tree.lines[line].timeline))
    }

    /// Plans along a timeline; none if the target does not lie on what is its own.
    async fn along(&self, line: usize) -> Result<Option<Found>, PlanError> {
        let timeline = self.tree.lines[line].timeline;
        let path = self.tree.path(line).ok_or(PlanError::NoHistory(timeline))?;
        let walk = Walk { shelf: self.shelf, tree: self.tree, path: &path, system: self.system };
        let begins = path.last().map_or(Lsn(0), |leg| leg.from);
        let mark = Mark { target: &self.wish.target, exclusive: self.wish.exclusive };
        let mut why = None;
        let mut limit = None;
        for base in self.on(&path) {
            if !self.is_of(base, &path).await? {
                continue;
            }
            let from = self.bases[base].stop;
            if !self.ends_before(&walk, mark, base).await? {
                why = Some(PlanError::TooNew(base));
                continue;
            }
            let coverage = self.tree.coverage(&path, self.tree.number(self.bases[base].start));
            // What a newer snapshot begins with was searched from there.
            let end = limit.map_or(coverage.end, |limit: u64| coverage.end.min(limit));
            let mut answer = walk.find(mark, from, end).await?;
            if let Some(stop) = answer.stop {
                let own = self.wish.choice.is_some() || stop >= begins;
                return Ok(own.then(|| self.found(line, &path, base, &answer, coverage.end)));
            }
            let in_the_way = match (answer.broken.take(), coverage.beyond.filter(|_| coverage.end <= end)) {
                (Some((at, what)), _) => Some(PlanError::Broken(at, what)),
                (None, Some(next)) => Some(self.gap(&path, coverage.end, Some(next), answer.before)),
                (None, None) => None,
            };
            match (&self.wish.target, in_the_way) {
                // It may lie before the newest snapshot.
                (Target::Xid(_) | Target::Name(_), in_the_way) => {
                    let until = match why {
                        Some(PlanError::NotFound(_, until)) => until,
                        _ => answer.last.unwrap_or(from),
                    };
                    why = Some(worse(why, in_the_way.unwrap_or(PlanError::NotFound(from, until))));
                    if let Some(PlanError::NotFound(since, _)) = &mut why {
                        *since = from;
                    }
                    limit = Some(self.tree.number(from) + 1);
                }
                // An older snapshot would lead along the same log.
                (_, Some(in_the_way)) => return Err(in_the_way),
                (Target::Lsn(_), None) => return Err(PlanError::NotFound(from, answer.last.unwrap_or(from))),
                (_, None) => {
                    let claims = self.wish.choice.is_some() || self.has_own_end(&walk, line, &answer).await?;
                    return Ok(claims.then(|| self.found(line, &path, base, &answer, coverage.end)));
                }
            }
        }
        Err(why.unwrap_or(PlanError::NoBase))
    }

    /// The snapshots that lie on a way, the newest first.
    fn on(&self, path: &[Leg]) -> Vec<usize> {
        let lies = |base: &Base| {
            let leg = path.iter().find(|leg| leg.number == base.timeline);
            leg.is_some_and(|leg| leg.to.is_none_or(|to| base.stop <= to))
        };
        let mut bases: Vec<usize> = (0..self.bases.len()).filter(|&base| lies(&self.bases[base])).collect();
        bases.sort_by_key(|&base| std::cmp::Reverse((self.bases[base].stop, self.bases[base].ended)));
        bases
    }

    /// Whether a snapshot is of the timeline that lies on the way, and not of another one that has the
    /// same number.
    async fn is_of(&self, base: usize, path: &[Leg]) -> Result<bool, PlanError> {
        let number = self.bases[base].timeline;
        if number == 1 {
            return Ok(true);
        }
        let text = self.shelf.history_of(base).await?;
        let Some(own) = text.as_deref().and_then(History::parse) else { return Ok(false) };
        let forks = path.iter().take_while(|leg| leg.number != number);
        Ok(forks
            .map(|leg| (leg.number, leg.to))
            .eq(own.switches.iter().map(|switch| (switch.timeline, Some(switch.at)))))
    }

    /// Whether all that a snapshot has lies before the target.
    async fn ends_before(&self, walk: &Walk<'_, S>, mark: Mark<'_>, base: usize) -> Result<bool, PlanError> {
        let Base { stop, ended, .. } = self.bases[base];
        Ok(match &self.wish.target {
            Target::Lsn(lsn) => stop <= *lsn,
            Target::Time(_) => match walk.ended_before(stop, false).await? {
                Some(last) => !mark.is_past(last.time),
                // Nothing ended for long, or the archive begins here: then its maker's clock tells.
                None => !mark.is_past(ended),
            },
            _ => true,
        })
    }

    /// Whether the end of a timeline is the end of something of its own: it goes on behind the last
    /// fork at which another one left it.
    async fn has_own_end(&self, walk: &Walk<'_, S>, line: usize, answer: &Answer) -> Result<bool, PlanError> {
        let Some(left) = self.tree.forks_of(line).max() else { return Ok(true) };
        let last = match answer.before {
            Some(before) => Some(before),
            None => walk.ended_before(answer.last.unwrap_or(left), true).await?,
        };
        Ok(last.is_some_and(|last| last.at >= left))
    }

    fn gap(&self, path: &[Leg], first: u64, next: Option<u64>, last: Option<Seen>) -> PlanError {
        let number = |segment: u64| {
            let at = self.tree.start(segment);
            let leg = path.iter().find(|leg| leg.to.is_none_or(|to| at < to));
            leg.map_or(0, |leg| leg.number)
        };
        let name = |segment| self.tree.name(number(segment), segment);
        PlanError::Gap { first: name(first), next: next.map(name), last }
    }

    fn found(&self, line: usize, path: &[Leg], base: usize, answer: &Answer, end: u64) -> Found {
        let first = self.tree.number(self.bases[base].start);
        let last = answer.stop.map_or(end.saturating_sub(1), |stop| self.tree.number(stop)).max(first);
        let name = |segment| {
            let leg = self.tree.holder(path, segment);
            self.tree.name(leg.map_or(self.bases[base].timeline, |leg| leg.number), segment)
        };
        // A snapshot may have newer log than the archive.
        let known = answer.last.filter(|last| *last >= self.bases[base].stop);
        let none_after = answer.stop.is_none() && matches!(self.wish.target, Target::Time(_));
        let goal = match &self.wish.target {
            Target::Latest => Goal::Latest,
            // The end of the log is known by its last record: a server that never meets the moment fails.
            Target::Time(_) if none_after => known.map_or(Goal::Latest, Goal::Lsn),
            Target::Time(time) => Goal::Time(*time),
            Target::Lsn(lsn) => Goal::Lsn(*lsn),
            Target::Xid(xid) => Goal::Xid(*xid),
            Target::Name(name) => Goal::Name(name.clone()),
            Target::Immediate => Goal::Immediate,
        };
        let number = self.bases[base].timeline;
        let legs = path.iter().skip_while(|leg| leg.number != number).cloned().collect();
        let plan = Plan {
            base,
            timeline: Some(self.tree.lines[line].timeline),
            legs,
            // What is not archived yet came along with the snapshot.
            segments: (first < end).then(|| (name(first), name(last))),
            segment_count: if first < end { last - first + 1 } else { 0 },
            goal,
            exclusive: self.wish.exclusive && !none_after,
            stop: answer.stop,
            last: known,
            before: answer.before,
            after: answer.after,
            none_after,
        };
        Found { line, plan, certain: answer.stop.is_some() }
    }
}

/// Of two reasons the one that says more.
fn worse(one: Option<PlanError>, other: PlanError) -> PlanError {
    let weight = |error: &PlanError| match error {
        PlanError::NoHistory(_) => 4,
        PlanError::Gap { .. } | PlanError::Broken(..) => 3,
        PlanError::NotFound(..) => 2,
        PlanError::TooNew(_) => 1,
        _ => 0,
    };
    match one {
        Some(one) if weight(&one) >= weight(&other) => one,
        _ => other,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
