//! How one source stands: what there is of it, how old that is, and whether it was seen to come
//! back.
//!
//! On purpose not here: copies, and drills that are due.

use super::ahead::{self, is_ahead, short};
use super::ask::{Repository, Seen, Snapshot, Trouble};
use super::problem::{Problem, drill, run};
use super::proofs::{Drilled, Proofs};
use super::words::{passed, plain, quoted, span, span_in_words};
use super::{GoodBy, Known, LastGood, SourceState, State};
use crate::catalog::{Last, Ran};
use crate::drill::verdict::Verdict;
use crate::evidence::SourceRecord;
use crate::policy::{LogMode, Policy, REPOSITORY, Rto, Source};
use crate::schedule::{Clockwork, which};
use holdfast_engine::maintain::SIZE_ACCEPTED_TAG;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// A source, and what is wrong with it.
pub(super) struct Judged {
    pub(super) state: SourceState,
    pub(super) problems: Vec<Problem>,
}

/// What a source is judged by.
struct Look<'a> {
    known: &'a Known,
    policy: &'a Policy,
    name: &'a str,
    source: &'a Source,
    /// As its snapshots are called.
    full: String,
    seen: &'a Seen,
    proofs: Proofs<'a>,
    now: Timestamp,
    zone: &'a TimeZone,
    clock: Option<Clockwork>,
}

/// Judges one source.
pub(super) fn judge(
    known: &Known,
    (name, source): (&str, &Source),
    seen: &Seen,
    (now, zone): (Timestamp, &TimeZone),
) -> Judged {
    let policy = &known.policy;
    let clock = which::of_source(policy, name).ok().flatten();
    let full = format!("{}/{name}", policy.name);
    let proofs = Proofs::of(known, (name, source), seen, now);
    let look = Look { known, policy, name, source, full, seen, proofs, now, zone, clock };
    let state = look.state();
    let mut judged = Judged { state, problems: Vec::new() };
    judged.problems.extend(look.backups(&judged.state));
    judged.problems.extend(look.proofs(&judged.state));
    judged.problems.extend(ahead::judge(known, name, seen, look.restore(), (now, zone)));
    let worst = judged.problems.iter().map(|problem| problem.state).max().unwrap_or(State::Ok);
    judged.state.state = worst.max(look.of_repository(&judged.state));
    judged
}

impl Look<'_> {
    fn state(&self) -> SourceState {
        let proven = self.proofs.proven();
        let objectives = &self.policy.objectives;
        let elsewhere = self.source.restored_by.is_some();
        SourceState {
            policy: self.policy.name.clone(),
            source: self.name.to_owned(),
            state: State::Ok,
            elsewhere,
            last_good: self.last_good(),
            rpo: self.source.rpo.or(objectives.rpo).map(|rpo| rpo.0).filter(|_| !elsewhere),
            proven: proven.map(|one| one.record.ended),
            proven_share: proven.and_then(|one| one.source.share),
            proven_max_age: objectives.verified_restore_max_age.map(|age| age.0),
            took: proven.and_then(|one| took(one.source)),
            rto: self.source.rto.as_ref().or(objectives.rto.as_ref()).map(limit_of),
            next_run: self.clock.as_ref().and_then(|clock| clock.after(self.now)),
            drill_due: self.drill_due(),
            log_flushed: self.log_flushed(),
            copied_until: None,
            max_lag: None,
        }
    }

    /// Its snapshots in the repository, without those from a time that is still to come.
    fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.all_snapshots().filter(|snapshot| !is_ahead(snapshot.ended, self.now))
    }

    fn all_snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.seen.repository().known().iter().filter(|snapshot| snapshot.source == self.full)
    }

    fn newest_whole(&self) -> Option<&Snapshot> {
        self.snapshots().filter(|snapshot| !snapshot.incomplete).max_by_key(|snapshot| snapshot.ended)
    }

    /// Of when the newest is of its log that goes on from a snapshot.
    fn log_flushed(&self) -> Option<Timestamp> {
        self.snapshots().filter_map(|snapshot| self.seen.logs.reaching.get(&snapshot.id)).max().copied()
    }

    fn last_good(&self) -> Option<LastGood> {
        if self.seen.repository().snapshots.is_err() {
            let end = self.ran_well()?.end.as_ref()?;
            return Some(LastGood { at: end.ended, by: GoodBy::Memory, snapshot: end.snapshot.clone() });
        }
        let newest = self.newest_whole()?;
        let log = self.log_flushed().filter(|flushed| *flushed > newest.ended);
        let (at, by) = log.map_or((newest.ended, GoodBy::Snapshot), |flushed| (flushed, GoodBy::Log));
        Some(LastGood { at, by, snapshot: Some(newest.id.clone()) })
    }

    fn memory(&self) -> Option<&Last> {
        self.seen.backups.get(self.name)
    }

    /// Its last backup that is remembered to have ended well.
    fn ran_well(&self) -> Option<&Ran> {
        let good = self.memory()?.good.as_ref()?;
        let ended = good.end.as_ref().map_or(good.run.started, |end| end.ended);
        Some(good).filter(|_| !is_ahead(ended, self.now))
    }

    /// When it has to be drilled: the first time behind the last drill, or behind the first backup.
    fn drill_due(&self) -> Option<Timestamp> {
        let drill = self.policy.drill.as_ref()?;
        if !drill.sources.is_empty() && !drill.sources.iter().any(|name| name == self.name) {
            return None;
        }
        let clock = which::of_drill(self.policy).ok().flatten()?;
        let last = self.proofs.newest().map(|one| one.record.started);
        // Where nobody can look, that no drill is known says nothing.
        let hidden = self.seen.repository().snapshots.is_err();
        let first = || self.snapshots().map(|snapshot| snapshot.ended).min().or(self.known.since);
        clock.after(last.or_else(|| first().filter(|_| !hidden))?)
    }

    /// How bad it is because of where it lies.
    fn of_repository(&self, state: &SourceState) -> State {
        match &self.seen.repository().snapshots {
            Ok(_) => State::Ok,
            Err(_) if state.elsewhere => State::Ok,
            Err(Trouble::Bad(..)) => State::Disaster,
            Err(Trouble::NotAsked(_)) => State::Unknown,
            Err(Trouble::NotForThisHost) if state.last_good.is_none() => State::Unknown,
            Err(Trouble::NotForThisHost) => State::Ok,
        }
    }

    /// What is wrong with its backups. Of several things the worst says the others.
    fn backups(&self, state: &SourceState) -> Vec<Problem> {
        if state.elsewhere || self.is_hidden(state) {
            return Vec::new();
        }
        let Some(good) = &state.last_good else { return vec![self.nothing(state)] };
        let age = passed(good.at, self.now);
        if state.rpo.is_some_and(|rpo| age > rpo) {
            return vec![self.too_old(good, age)];
        }
        let found = [
            self.emptied(),
            self.missed_runs(state, good),
            self.gap(good),
            self.incomplete(good),
            self.attempt(good),
        ];
        found.into_iter().flatten().take(1).collect()
    }

    /// Whether nothing can be said of its backups: the repository says what is wrong.
    fn is_hidden(&self, state: &SourceState) -> bool {
        self.seen.repository().snapshots.is_err() && state.last_good.is_none()
    }

    /// There is no whole backup at all.
    fn nothing(&self, state: &SourceState) -> Problem {
        let waited = self.known.since.map(|since| passed(since, self.now));
        let promised = [state.rpo, state.proven_max_age].into_iter().flatten();
        let severity = match (waited, state.rpo) {
            (Some(waited), Some(_)) if promised.max().is_some_and(|limit| waited > limit) => State::Disaster,
            (Some(waited), Some(rpo)) if waited <= rpo => State::Warning,
            (_, Some(_)) => State::High,
            (_, None) => State::Warning,
        };
        let what = format!(
            "{} has never been backed up whole. If {} lost now, all of it is lost.",
            self.full,
            self.noun()
        );
        self.problem(severity, "no-backup", what)
            .why(self.why_none(None))
            .then(self.retry(), self.leave_alone())
    }

    fn too_old(&self, good: &LastGood, age: Duration) -> Problem {
        let since = self.day(good.at);
        let lost = span_in_words(age);
        let are = if lost.ends_with('s') { "are" } else { "is" };
        let what = format!(
            "{} is not backed up since {since}. If {} lost now, {lost} {are} lost.",
            self.full,
            self.noun()
        );
        let problem = self.problem(State::High, "rpo", what).why(self.why_none(Some(good)));
        problem.then(self.retry(), self.leave_alone())
    }

    /// Without an objective two runs that were missed are worth a word.
    fn missed_runs(&self, state: &SourceState, good: &LastGood) -> Option<Problem> {
        if state.rpo.is_some() {
            return None;
        }
        let clock = self.clock.as_ref()?;
        let before_last = clock.before(clock.before(self.now)?)?;
        if good.at >= before_last {
            return None;
        }
        let what = format!("{} is not backed up since {}, and was due twice.", self.full, self.day(good.at));
        let problem = self.problem(State::Warning, "runs-missed", what).why(self.why_none(Some(good)));
        Some(problem.then(self.retry(), self.leave_alone()))
    }

    /// The log goes on from a snapshot and ends before its end: what lies behind that cannot be had back.
    fn gap(&self, good: &LastGood) -> Option<Problem> {
        let logs = &self.seen.logs;
        let ends = self.snapshots().filter(|snapshot| logs.ending.contains(&snapshot.id));
        let snapshot = ends.max_by_key(|snapshot| snapshot.ended).filter(|_| self.log_flushed().is_none())?;
        let short = short(snapshot);
        let what = format!("{} has a gap in its log. Moments behind it cannot be restored.", self.full);
        let why = format!(
            "the log goes on from snapshot {short}, and not to its end; nothing is lost up to {}: holdfast wal status",
            self.day(good.at)
        );
        let problem = self.problem(State::Warning, "log-gap", what).why(why);
        Some(problem.then(
            run(self.known, self.name),
            "drop the slot or empty pg_wal by hand: it may hold what is missing",
        ))
    }

    /// The newest whole snapshot has nothing in it, and one before had something.
    fn emptied(&self) -> Option<Problem> {
        let newest = self.newest_whole().filter(|newest| newest.files == Some(0))?;
        if newest.tags.iter().any(|tag| tag == SIZE_ACCEPTED_TAG) {
            return None;
        }
        let full = self.snapshots().filter(|one| one.ended < newest.ended && one.files > Some(0));
        let last = full.max_by_key(|one| (!one.incomplete, one.ended))?;
        let (is, was, url) = (short(newest), short(last), quoted(&self.seen.repository().url));
        let count = last.files.unwrap_or(0);
        let what = format!(
            "{}: its newest snapshot {is} has no file, and that of {} has {count}.",
            self.full,
            self.day(last.ended)
        );
        let why =
            "nothing was there when it was backed up: a disk that is not mounted, or all of it was removed";
        let to_do = format!(
            "{} ; if it is to be empty: holdfast -r {url} tag {is} --add {SIZE_ACCEPTED_TAG}",
            self.retry()
        );
        let problem = self.problem(State::Warning, "emptied", what).why(why).then(to_do, self.leave_alone());
        Some(problem.back(format!("holdfast -r {url} restore {was} --target DIR --dry-run")))
    }

    /// Newer snapshots lack something.
    fn incomplete(&self, good: &LastGood) -> Option<Problem> {
        let newest = self.snapshots().max_by_key(|snapshot| snapshot.ended)?;
        let newer = newest.incomplete && good.snapshot.as_ref() != Some(&newest.id);
        let short = newer.then(|| short(newest))?;
        let what = format!("{}: its newest snapshot {short} lacks something.", self.full);
        let many = if newest.errors == 1 { "thing" } else { "things" };
        let why = format!(
            "{} {many} could not be read; the last whole one is of {}",
            newest.errors,
            self.day(good.at)
        );
        let problem = self.problem(State::Warning, "incomplete", what).why(why);
        Some(problem.then(self.retry(), "take the newest snapshot for a whole one"))
    }

    /// The last attempt failed, and the one before it is not too old yet.
    fn attempt(&self, good: &LastGood) -> Option<Problem> {
        let failed = self.failed_since(Some(good))?;
        let what = format!("{}: the last attempt to back it up failed.", self.full);
        let problem = self.problem(State::Warning, "attempt-failed", what).why(self.attempted(failed));
        Some(problem.then(self.retry(), self.leave_alone()))
    }

    /// The last attempt, if it failed and nothing good came behind it.
    fn failed_since(&self, good: Option<&LastGood>) -> Option<&Ran> {
        let failed = self.memory()?.failed.as_ref()?;
        if is_ahead(failed.run.started, self.now) {
            return None;
        }
        good.is_none_or(|good| failed.run.started > good.at || self.is_behind(failed)).then_some(failed)
    }

    /// Whether it came behind the last run that ended well. A log moves on while backups fail.
    fn is_behind(&self, failed: &Ran) -> bool {
        let good = self.ran_well();
        let newest = self.newest_whole().map(|snapshot| snapshot.ended);
        good.is_none_or(|good| failed.run.started > good.run.started)
            && newest.is_none_or(|newest| failed.run.started > newest)
    }

    fn attempted(&self, ran: &Ran) -> String {
        let end = ran.end.as_ref();
        let message = end.map(|end| plain(&end.message)).filter(|message| !message.is_empty());
        let code = end.map_or(0, |end| end.code);
        let message = message.unwrap_or_else(|| format!("it ended with {code}"));
        format!("{message} (attempt of {})", self.day(ran.run.started))
    }

    /// Why there is nothing newer.
    fn why_none(&self, good: Option<&LastGood>) -> String {
        if let Some(why) = self.why_no_log().filter(|_| good.is_some()) {
            return why;
        }
        if let Some(failed) = self.failed_since(good) {
            return self.attempted(failed);
        }
        if let Some(open) = self.memory().and_then(|last| last.open.as_ref()) {
            let began = self.day(open.run.started);
            return format!("the attempt of {began} has not ended: it still runs, or was killed");
        }
        match (good, self.snapshots().next()) {
            (None, Some(_)) => "no snapshot of it is whole".to_owned(),
            (None, None) if self.all_snapshots().next().is_some() => {
                "all snapshots of it are of a time that is still to come: a clock was ahead".to_owned()
            }
            _ => "no attempt is remembered on this host: see whether its scheduler runs".to_owned(),
        }
    }

    /// Why the log of a cluster does not go on, if it is one whose log is kept: that, and not its backups,
    /// is what keeps it young.
    fn why_no_log(&self) -> Option<String> {
        let see = match self.source.postgres.as_ref()?.wal {
            LogMode::Off => return None,
            LogMode::Stream => "see whether `holdfast wal stream` runs",
            LogMode::Archive => "see what the server says of its archive_command",
        };
        Some(match self.log_flushed() {
            Some(at) => format!("the newest that is stored of its log is of {}: {see}", self.day(at)),
            None => format!("no log is there that goes on from a snapshot of it: {see}"),
        })
    }

    /// What is wrong with the proof that it comes back, one of each place. A failure says more than an age.
    fn proofs(&self, state: &SourceState) -> Vec<Problem> {
        let mut found: Vec<_> = self.proofs.open().iter().map(|one| self.of_drill(one)).collect();
        let worst = found.iter().map(|problem| problem.state).max();
        found.extend(self.proof_too_old(state).filter(|old| worst.is_none_or(|worst| old.state > worst)));
        found
    }

    fn of_drill(&self, one: &Drilled<'_>) -> Problem {
        let problem = match one.source.verdict {
            Verdict::Fail => self.failed_drill(one),
            Verdict::Inconclusive => self.inconclusive(one),
            Verdict::Pass => self.slow(one),
        };
        match self.policy.copies.iter().find(|copy| copy.name == one.record.from) {
            Some(copy) if self.source.restored_by.is_none() => problem.of_copy(&copy.name),
            _ => problem,
        }
    }

    /// Where it was restored from, as the end of a sentence; nothing where that is the program that has it.
    fn from(&self, one: &Drilled<'_>) -> String {
        match (self.source.restored_by.is_some(), one.record.from.as_str()) {
            (true, _) => String::new(),
            (false, REPOSITORY) => " from the repository".to_owned(),
            (false, from) => format!(" from {from}"),
        }
    }

    /// The command that does the same drill again: only as much from the same place takes back what it found.
    fn again(&self, one: &Drilled<'_>) -> String {
        let level = format!("{:?}", one.record.level).to_lowercase();
        let from = match self.policy.places().any(|place| place == one.record.from) {
            true if self.source.restored_by.is_none() => format!(" --from {}", quoted(&one.record.from)),
            _ => String::new(),
        };
        format!("{} --source {}{from} --level {level}", drill(self.known), quoted(self.name))
    }

    fn failed_drill(&self, one: &Drilled<'_>) -> Problem {
        let (day, from) = (self.day(one.record.ended), self.from(one));
        let what = format!("{} failed its drill of {day}{from}.", self.full);
        let problem = self.problem(State::High, "drill-failed", what).why(first_finding(one.source));
        let url = quoted(&one.record.url);
        let show = format!("holdfast -r {url} evidence show");
        let next =
            first_next(one.source).map_or(show.clone(), |next| format!("{next} ; see all of it: {show}"));
        let id = one.source.snapshot.as_deref().and_then(|id| id.get(..8));
        let snapshot = id.map(|id| format!(" --snapshot {id}")).unwrap_or_default();
        let forget = id.filter(|_| one.finds_damage()).map_or_else(String::new, |id| {
            format!(" ; if it stays broken and another one from there passed: holdfast -r {url} forget {id}")
        });
        problem.then(
            format!("{next}{forget} ; once it is mended: {}{snapshot}", self.again(one)),
            format!(
                "forget or prune {}: an older snapshot may be the only one that comes back",
                self.policy.name
            ),
        )
    }

    fn inconclusive(&self, one: &Drilled<'_>) -> Problem {
        let (day, from) = (self.day(one.record.ended), self.from(one));
        let what = format!("{}: its drill of {day}{from} proved nothing.", self.full);
        let problem = self.problem(State::Warning, "drill-inconclusive", what).why(first_finding(one.source));
        let again = self.again(one);
        let next = first_next(one.source).map_or(again.clone(), |next| format!("{next} ; then: {again}"));
        problem.then(next, "take it for a pass")
    }

    /// It came back, and not in time.
    fn slow(&self, one: &Drilled<'_>) -> Problem {
        let seconds = |number: f64| span(Duration::try_from_secs_f64(number).unwrap_or_default());
        let what = format!("{} takes longer to come back{} than was promised.", self.full, self.from(one));
        let told = one.slow().map(|missed| {
            let estimated = if missed.estimated { ", as an estimate" } else { "" };
            let (took, limit) = (seconds(missed.measured), seconds(missed.limit));
            format!("the drill of {} took {took} (limit {limit}){estimated}", self.day(one.record.ended))
        });
        self.problem(State::High, "rto", what)
            .why(told.unwrap_or_default())
            .then("give the restore a faster host or place, or promise less", "promise anybody the old time")
    }

    fn proof_too_old(&self, state: &SourceState) -> Option<Problem> {
        let limit = state.proven_max_age?;
        // Where the evidence cannot be read its lack says nothing.
        if self.seen.repository().snapshots.is_err() && state.proven.is_none() {
            return None;
        }
        let (severity, what) = match state.proven {
            Some(proven) => {
                let age = Some(passed(proven, self.now)).filter(|age| *age > limit)?;
                let what = format!("{} was last seen to come back {} ago.", self.full, span_in_words(age));
                (State::High, what)
            }
            None => {
                let first = self.snapshots().map(|snapshot| snapshot.ended).min().or(self.known.since);
                let never = first.map(|first| passed(first, self.now)).filter(|age| *age > limit)?;
                let what = format!("{} was never seen to come back, in {}.", self.full, span_in_words(never));
                (State::Disaster, what)
            }
        };
        let why = format!(
            "a proof may be {} old, and no newer drill passed at the level of the policy",
            span(limit)
        );
        let problem = self.problem(severity, "proof", what).why(why);
        Some(problem.then(drill(self.known), "count on a restore that nobody has seen"))
    }

    fn problem(&self, state: State, condition: &'static str, what: String) -> Problem {
        Problem::new(state, condition, &self.policy.name, what).of(self.name).back(self.restore())
    }

    /// How it can be had back now, from wherever it can.
    fn restore(&self) -> String {
        if self.source.restored_by.is_some() {
            return "by the program that backs it up".to_owned();
        }
        let whole = |place: &Repository| -> Vec<Snapshot> {
            let its = |snapshot: &&Snapshot| snapshot.source == self.full && !snapshot.incomplete;
            place.known().iter().filter(its).cloned().collect()
        };
        let mut places = self.seen.places.iter().map(|place| (place, whole(place)));
        let Some((place, whole)) = places.find(|(_, whole)| !whole.is_empty()) else {
            return "no whole snapshot is known here".to_owned();
        };
        let took = self.proofs.proven().and_then(|one| took(one.source));
        let about = took.map_or(String::new(), |took| format!("     about {}", span(took)));
        let (url, which) = (quoted(&place.url), self.which(&whole));
        format!("holdfast -r {url} restore {which} --target DIR --dry-run{about}")
    }

    /// Which of them is to be restored, as words of `restore`. What is of a time that is still to come may be older than
    /// others, though it is the latest.
    fn which(&self, whole: &[Snapshot]) -> String {
        let past = whole.iter().filter(|snapshot| !is_ahead(snapshot.ended, self.now));
        match past.max_by_key(|snapshot| snapshot.ended) {
            Some(newest) if whole.iter().any(|snapshot| is_ahead(snapshot.ended, self.now)) => {
                short(newest).to_owned()
            }
            _ => format!("latest --source {}", quoted(&self.full)),
        }
    }

    /// What to do when it is not backed up.
    fn retry(&self) -> String {
        let url = self.source.postgres.as_ref().map(|postgres| &postgres.url);
        let url = url.or(self.source.s3.as_ref().map(|bucket| &bucket.url));
        let run = run(self.known, self.name);
        url.map_or(run.clone(), |url| format!("holdfast preflight {} ; then: {run}", quoted(url)))
    }

    fn leave_alone(&self) -> String {
        format!("forget or prune {} until this is ok", self.policy.name)
    }

    /// What may be lost, with its verb.
    fn noun(&self) -> &'static str {
        match () {
            () if self.source.files.is_some() => "the files are",
            () if self.source.postgres.is_some() => "the database is",
            () if self.source.s3.is_some() => "the bucket is",
            () => "it is",
        }
    }

    /// A moment as a person names it.
    fn day(&self, moment: Timestamp) -> String {
        super::words::moment(moment, self.now, self.zone)
    }
}

/// How long a restore took, without what was done to check it.
fn took(source: &SourceRecord) -> Option<Duration> {
    let seconds: f64 = source.phases.iter().filter(|phase| phase.counts).map(|phase| phase.seconds).sum();
    Duration::try_from_secs_f64(seconds).ok().filter(|took| !took.is_zero())
}

fn limit_of(rto: &Rto) -> Duration {
    match rto {
        Rto::Anywhere(limit) => limit.0,
        Rto::On(on) => on.target.0,
    }
}

/// The first thing that a drill found wrong, with its cause.
fn first_finding(source: &SourceRecord) -> String {
    let finding = source.probes.iter().flat_map(|probe| &probe.findings).next();
    if let Some(finding) = finding {
        let cause = format!("{:?}", finding.cause).to_lowercase();
        return format!("{} (cause: {cause})", plain(&finding.what));
    }
    let not = source.probes.iter().flat_map(|probe| &probe.not_provable).next();
    not.map_or_else(|| "nothing could be looked at".to_owned(), |not| plain(not))
}

fn first_next(source: &SourceRecord) -> Option<String> {
    let findings = source.probes.iter().flat_map(|probe| &probe.findings);
    findings.map(|finding| plain(&finding.next)).find(|next| !next.is_empty())
}
