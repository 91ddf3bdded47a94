//! The log of a cluster, streamed into an archive for as long as both run: from where the archive
//! ends, without a gap, over restarts of either side and from one timeline to the next.
//!
//! A slot keeps on the server what is not durable in the archive yet; it is told of nothing else.
//! On purpose not here: how the archive stores, and a base backup's own log (`crate::wal`).

mod chain;
mod course;
mod keeper;
mod kept;
mod options;
mod segment;
mod shelf;
mod slot;
#[cfg(test)]
mod tests;

pub use kept::{Kept, SlotTold, slot_told};
pub use options::{StreamError, StreamEvent, StreamOptions, Streamed, Tell, Until};
pub use slot::is_slot_name;

use self::chain::Leg;
use self::course::{Course, Ended, Way};
use self::keeper::{Archive, Keeper, Waits};
use self::options::refused;
use self::shelf::{Place, Resume, Shelf, resume};
use self::slot::{Slot, Watch, Watched};
use crate::error::PgError;
use crate::facts::{ServerFacts, identify};
use crate::flow;
use crate::lsn::Lsn;
use crate::passfile::Secrets;
use crate::url::Server;
use crate::wire::{Connection, Purpose};
use bytes::Bytes;
use holdfast_engine::wal::{Stored, Timeline, WalArchive, WalName};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// So often a slot with a limit is looked at, at least.
const WATCH_EVERY: Duration = Duration::from_secs(10);
/// A slot that another connection uses may be our own of a moment ago: it is tried again so often.
const IN_USE_TRIES: u32 = 5;

/// SQLSTATEs of servers: the log is gone; the slot is not there, lost its log, is used by another.
const REMOVED: &str = "58P01";
const NO_SLOT: &str = "42704";
const LOST: &str = "55000";
const IN_USE: &str = "55006";

/// Streams until it is to end. Has to be called where tasks can be started.
///
/// # Errors
/// The server or the repository failed for good, or going on would leave a gap that nobody accepted.
pub async fn stream(options: StreamOptions, archive: &WalArchive) -> Result<Streamed, StreamError> {
    let keeper =
        Keeper { archive: archive.clone(), cancel: options.cancel.clone(), tell: Arc::clone(&options.tell) };
    let until = match options.until {
        Until::Place(place) => Some(place),
        Until::Stopped | Until::Now => None,
    };
    let (shelves, tally) = (HashMap::new(), Streamed::default());
    Stream { options, keeper, shelves, tally, done: None, until, begun: false, waits: Waits::default() }
        .run()
        .await
}

/// Drops a slot.
///
/// # Errors
/// The server cannot be reached, has no such slot, or somebody streams by it.
pub async fn drop_slot(server: &Server, secrets: &Secrets, slot: &str) -> Result<(), PgError> {
    let mut connection = Connection::open(server, secrets).await?;
    slot::remove(&mut connection, slot, false).await?;
    connection.close().await;
    Ok(())
}

/// A run.
struct Stream<A> {
    options: StreamOptions,
    keeper: Keeper<A>,
    /// What there is of each timeline.
    shelves: HashMap<Timeline, Shelf>,
    tally: Streamed,
    /// Up to where this run has stored or compared everything.
    done: Option<(Timeline, Lsn)>,
    until: Option<Lsn>,
    /// Whether the log has streamed already.
    begun: bool,
    /// For a server that is lost.
    waits: Waits,
}

/// A server, and what it said.
struct Found {
    connection: Connection,
    facts: ServerFacts,
}

impl<A: Archive> Stream<A> {
    async fn run(mut self) -> Result<Streamed, StreamError> {
        loop {
            let error = match self.connected().await {
                Ok(()) => return Ok(self.tally),
                Err(StreamError::Server(error)) if self.passes(&error) => error,
                Err(error) => return Err(error),
            };
            if self.options.cancel.is_raised() {
                return Ok(self.tally);
            }
            if self.waits.is_first() {
                let what = format!("{}; it is tried again until it goes on", keeper::chain(&error));
                (self.options.tell)(&StreamEvent::Trouble(what));
            }
            self.waits.next(&self.options.cancel).await;
            if self.options.cancel.is_raised() {
                return Ok(self.tally);
            }
        }
    }

    /// The timeline that streamed last.
    fn number(&self) -> u32 {
        self.tally.timeline.map_or(0, |timeline| timeline.number)
    }

    /// Whether something may go well later.
    fn passes(&self, error: &PgError) -> bool {
        if error.code() == Some(IN_USE) {
            return self.begun || self.waits.count() < IN_USE_TRIES;
        }
        // Who wants to be done with it wants to know at once.
        let patient = self.begun || self.options.until == Until::Stopped;
        patient && is_passing(error)
    }

    /// Streams from one server, for as long as it is there.
    async fn connected(&mut self) -> Result<(), StreamError> {
        let mut found = self.connect().await?;
        self.is_the_cluster(&found.facts).await?;
        loop {
            match self.timeline(&mut found).await? {
                Ended::Reached | Ended::Stopped => {
                    found.connection.close().await;
                    return Ok(());
                }
                Ended::Timeline { next } => {
                    let what = format!("timeline {} has ended; {next} is next", self.number());
                    (self.options.tell)(&StreamEvent::Better(what));
                }
                Ended::Later(host, timeline) => {
                    let what = format!("{host} is on timeline {timeline} already: it is asked from now on");
                    (self.options.tell)(&StreamEvent::Better(what));
                    found.connection.close().await;
                    found = self.connect().await?;
                    self.is_the_cluster(&found.facts).await?;
                }
                Ended::TooMuch(kept) => return Err(self.give_slot_up(found.connection, kept).await),
            }
        }
    }

    /// Connects to the server that is on the latest timeline; of several to one that is no standby, and
    /// of those to the first.
    async fn connect(&mut self) -> Result<Found, PgError> {
        let (mut best, mut failed): (Option<Found>, _) = (None, None);
        for host in &self.options.server.hosts {
            match found(&self.options, host).await {
                Ok(found) if best.as_ref().is_none_or(|best| found.is_better(best)) => best = Some(found),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        best.ok_or_else(|| failed.unwrap_or_else(|| PgError::Refused("the URL names no server".to_owned())))
    }

    /// Refuses the log of another cluster than is wanted.
    async fn is_the_cluster(&mut self, facts: &ServerFacts) -> Result<(), StreamError> {
        let wanted = self.options.system.or(Some(self.tally.system).filter(|system| *system != 0));
        let others = match wanted {
            Some(_) => Vec::new(),
            None => {
                let (archive, system) = (&self.keeper.archive, facts.system);
                let own = self.keeper.patiently(|| archive.timelines(Some(system))).await?;
                if own.is_empty() {
                    self.keeper.patiently(|| archive.timelines(None)).await?
                } else {
                    Vec::new()
                }
            }
        };
        is_wanted(facts.system, wanted, &others)?;
        self.tally.system = facts.system;
        Ok(())
    }

    /// Streams along the timeline on which the log goes on, to its end or until something else ends it.
    async fn timeline(&mut self, found: &mut Found) -> Result<Ended, StreamError> {
        let segment_bytes = found.facts.segment_bytes;
        let legs = self.legs(found).await?;
        let shelves: Vec<Shelf> =
            legs.iter().map(|leg| self.shelves.get(&leg.timeline).cloned().unwrap_or_default()).collect();
        // Asked after the listing: what is there now the server had before.
        let (_, _, now) = identify(&mut found.connection).await?;
        if self.options.until == Until::Now {
            self.until.get_or_insert(now);
        }
        let archived = resume(&legs, &shelves, None, now, segment_bytes).archived;
        let kept = self.slot(found, archived, &legs).await?;
        let resume = match self.done.and_then(|done| after(&legs, done, segment_bytes)) {
            Some(from) => Resume { from, archived: None, otherwise: None },
            None => resume(&legs, &shelves, kept, now, segment_bytes),
        };
        self.is_not_behind(found, &legs, resume, now)?;
        match self.from(found, &legs, resume.from, now).await {
            Err(StreamError::Server(error)) if is_lost(&error) => {
                let (number, begin) = (legs[resume.from.leg].timeline.number, resume.from.at);
                match resume.otherwise.filter(|_| self.options.accept_gap && error.code() == Some(REMOVED)) {
                    Some(other) => self.over_the_gap(found, &legs, resume.from, other, now).await,
                    None => Err(self.gap(&error, number, begin)),
                }
            }
            other => other,
        }
    }

    /// The timelines that lead to that of the server, with what there is of them.
    async fn legs(&mut self, found: &mut Found) -> Result<Vec<Leg>, StreamError> {
        let (system, timeline, _) = identify(&mut found.connection).await?;
        let legs = chain::ask(&mut found.connection, system, timeline).await?;
        for leg in &legs {
            if self.shelves.contains_key(&leg.timeline) {
                continue;
            }
            let archive = &self.keeper.archive;
            let names = self.keeper.patiently(|| archive.names(leg.timeline)).await?;
            let shelf = Shelf::new(leg.timeline.number, found.facts.segment_bytes, names);
            self.shelves.insert(leg.timeline, shelf);
        }
        Ok(legs)
    }

    /// What the slot keeps; it is made if that was asked for.
    async fn slot(
        &self,
        found: &mut Found,
        archived: Option<Place>,
        legs: &[Leg],
    ) -> Result<Option<Lsn>, StreamError> {
        let (name, major) = (&self.options.slot, found.facts.major());
        match (slot::read(&mut found.connection, major, name).await?, self.options.create_slot) {
            (Slot::Keeps(lsn), _) => return Ok(lsn),
            (Slot::Untold, false) => return Ok(None),
            (Slot::Missing, false) => return Err(self.no_slot(archived.map(|place| (place, legs)))),
            (Slot::Missing | Slot::Untold, true) => {}
        }
        if self.options.slot_limit.is_none() && slot::is_unlimited(&mut found.connection).await? {
            return Err(refused(
                "the slot was not made: it could fill the server's disk, since max_slot_wal_keep_size = -1",
                "set max_slot_wal_keep_size on the server, or pass --slot-limit 50G: then holdfast drops the slot when \
                 it keeps more than that while holdfast runs, and says that there is a gap",
            ));
        }
        slot::create(&mut found.connection, name).await?;
        Ok(slot::read(&mut found.connection, major, name).await?.keeps())
    }

    fn no_slot(&self, archived: Option<(Place, &[Leg])>) -> StreamError {
        let name = &self.options.slot;
        let Some((place, legs)) = archived else {
            let what =
                format!("the server has no replication slot {name}, and the repository has no log of it yet");
            return refused(
                what,
                "make the slot with --create-slot, and then a base backup: holdfast backup URL",
            );
        };
        let what = format!(
            "the server has no replication slot {name} (any more), so nothing keeps the log on it: the repository has \
             it up to {} on timeline {}, and what the server has removed since then is lost",
            place.at, legs[place.leg].timeline.number
        );
        let hint = "after a failover: make the slot on the new server too, or let Patroni keep it (slots: in its \
                    configuration). Run with --create-slot; if that finds a gap, add --accept-gap and make a new base \
                    backup: holdfast backup URL";
        refused(what, hint)
    }

    /// A server that has less of the log than the archive was set back, or has to catch up.
    fn is_not_behind(
        &self,
        found: &Found,
        legs: &[Leg],
        resume: Resume,
        now: Lsn,
    ) -> Result<(), StreamError> {
        let current = |place: &Place| place.leg + 1 == legs.len();
        let ahead = resume.archived.filter(current).filter(|place| place.at > now);
        let Some(place) = ahead.or_else(|| Some(resume.from).filter(current).filter(|from| from.at > now))
        else {
            return Ok(());
        };
        let what = format!(
            "the server at {} has the log up to {now}, and the repository up to {} of the same timeline {}",
            found.connection.host, place.at, legs[place.leg].timeline.number
        );
        if found.facts.standby == Some(false) {
            let hint = "it was set back to an earlier state without a new timeline: what it writes from now on is \
                        another log under the same names. Keep that in a repository of its own";
            return Err(refused(what, hint));
        }
        if resume.from.at <= now {
            return Ok(());
        }
        // A standby catches up.
        let source = std::io::Error::new(std::io::ErrorKind::WouldBlock, "it has to catch up");
        Err(PgError::Io { what, source }.into())
    }

    /// Streams from a place on.
    async fn from(
        &mut self,
        found: &mut Found,
        legs: &[Leg],
        from: Place,
        now: Lsn,
    ) -> Result<Ended, StreamError> {
        let leg = &legs[from.leg];
        self.histories(&legs[from.leg..]).await?;
        let number = leg.timeline.number;
        flow::begin(&mut found.connection, Some(&self.options.slot), from.at, number).await?;
        (self.options.tell)(&StreamEvent::Streaming {
            host: found.connection.host.to_string(),
            system: found.facts.system,
            timeline: leg.timeline,
            from: from.at,
            server: now,
        });
        if self.begun && !self.waits.is_first() {
            self.tally.reconnects += 1;
        }
        (self.begun, self.waits, self.tally.timeline) = (true, Waits::default(), Some(leg.timeline));
        let mut watch = Watch::start(self.watched(found, number));
        let way = Way {
            leg,
            system: found.facts.system,
            segment_bytes: found.facts.segment_bytes,
            until: self.until,
            commit_every: self.options.commit_every,
            limit: self.options.slot_limit,
            clock: Arc::clone(&self.options.clock),
        };
        let shelf = self.shelves.entry(leg.timeline).or_default();
        // What lies before the beginning of a timeline is durable on the one before.
        let durable = from.at.max(leg.begin);
        let mut course = Course::new(way, &self.keeper, shelf, &mut self.tally, from.at, durable);
        let ended = course.run(&mut found.connection, &mut watch).await;
        self.done = Some((leg.timeline, course.durable()));
        ended
    }

    fn watched(&self, found: &Found, timeline: u32) -> Watched {
        Watched {
            server: self.options.server.clone(),
            secrets: self.options.secrets.clone(),
            host: found.connection.host.clone(),
            system: found.facts.system,
            timeline,
            position: self.options.slot_limit.is_some(),
            every: self.options.commit_every.min(WATCH_EVERY),
        }
    }

    /// Stores the histories of timelines; before anything of a timeline itself.
    async fn histories(&mut self, legs: &[Leg]) -> Result<(), StreamError> {
        for leg in legs.iter().filter(|leg| !leg.history.is_empty()) {
            let name = WalName::whole(leg.timeline, flow::history_name(leg.timeline.number));
            let (archive, content) = (&self.keeper.archive, Bytes::from(leg.history.clone()));
            match self.keeper.patiently(|| archive.put(&name, content.clone())).await? {
                Stored::New => self.tally.histories += 1,
                Stored::Same => {}
                Stored::Other => {
                    let what = format!("the repository has another {} than the server", name.file);
                    return Err(refused(
                        what,
                        "see what it says: holdfast wal fetch; nothing was overwritten",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Goes on where the server still has the log, with a gap before.
    async fn over_the_gap(
        &mut self,
        found: &mut Found,
        legs: &[Leg],
        lost: Place,
        other: Place,
        now: Lsn,
    ) -> Result<Ended, StreamError> {
        (self.options.tell)(&StreamEvent::Trouble(format!(
            "the log between {} and {} is lost: nothing can be recovered across it. Make a new base backup now: \
             holdfast backup URL",
            lost.at, other.at
        )));
        // A stream that failed leaves its connection in a state of which little is known.
        let fresh = found_again(&self.options, found).await?;
        *found = fresh;
        self.from(found, legs, other, now).await
    }

    fn gap(&self, error: &PgError, timeline: u32, from: Lsn) -> StreamError {
        let name = &self.options.slot;
        if error.code() == Some(NO_SLOT) {
            return self.no_slot(None);
        }
        let what = format!(
            "the log from {from} on (timeline {timeline}) is not on the server any more, and the repository does not have \
             it: {error}"
        );
        let hint = format!(
            "what lies between is lost, and nothing can be recovered across it. If the slot was invalidated: holdfast \
             wal drop-slot URL --slot {name}. Then make a new base backup (holdfast backup URL) and run this with \
             --create-slot --accept-gap; raise max_slot_wal_keep_size, so that it does not happen again"
        );
        refused(what, hint)
    }

    /// Drops the slot before it fills the server's disk.
    async fn give_slot_up(&self, connection: Connection, kept: u64) -> StreamError {
        connection.close().await;
        let name = &self.options.slot;
        let (kept, limit) = (kept >> 20, self.options.slot_limit.unwrap_or_default() >> 20);
        let head = format!(
            "the slot {name} kept {kept} MiB of the log on the server, more than {limit} MiB (--slot-limit)"
        );
        let dropped = async {
            let mut connection = Connection::open(&self.options.server, &self.options.secrets).await?;
            slot::remove(&mut connection, name, true).await?;
            connection.close().await;
            Ok::<(), PgError>(())
        };
        match dropped.await {
            Ok(()) => refused(
                format!(
                    "{head}: it was dropped. The repository has the log up to {} on timeline {}; what the server removes \
                     from there on is lost",
                    self.tally.flushed,
                    self.number()
                ),
                "see why the repository took so little, then make a new base backup (holdfast backup URL) and run this \
                 with --create-slot --accept-gap",
            ),
            Err(error) => refused(
                format!("{head}, and cannot be dropped: {error}"),
                format!("drop it before the disk is full: holdfast wal drop-slot URL --slot {name}"),
            ),
        }
    }
}

impl Found {
    /// Whether the log of the cluster goes on here rather than there.
    fn is_better(&self, other: &Self) -> bool {
        let rank = |found: &Self| (found.facts.timeline, found.facts.standby == Some(false));
        rank(self) > rank(other)
    }
}

async fn found(options: &StreamOptions, host: &crate::url::Host) -> Result<Found, PgError> {
    let mut connection =
        Connection::open_one(&options.server, host, &options.secrets, &Purpose::Replication).await?;
    let facts = ServerFacts::ask(&mut connection).await?;
    Ok(Found { connection, facts })
}

async fn found_again(options: &StreamOptions, before: &Found) -> Result<Found, PgError> {
    found(options, &before.connection.host.clone()).await
}

/// Whether a cluster is the one that is wanted. `others`: timelines of other clusters that there are.
fn is_wanted(system: u64, wanted: Option<u64>, others: &[Timeline]) -> Result<(), StreamError> {
    match (wanted, others.first()) {
        (Some(wanted), _) if wanted != system => Err(refused(
            format!(
                "the server is the cluster {system}, and {wanted} was to be streamed; nothing was stored"
            ),
            "see where the URL leads to. After pg_upgrade or a new initdb a cluster is another one: leave its log \
             where it is, make a base backup, and state --system",
        )),
        (None, Some(other)) => Err(refused(
            format!(
                "the server is the cluster {system}, of which the repository has no log, but of {}; nothing was stored",
                other.system
            ),
            format!("if it is another cluster that belongs here too, or was upgraded: --system {system}"),
        )),
        _ => Ok(()),
    }
}

/// Where a run goes on that has everything up to a place; `None` if the server's log left its way.
fn after(legs: &[Leg], (timeline, at): (Timeline, Lsn), segment_bytes: u64) -> Option<Place> {
    let leg = legs.iter().position(|leg| leg.timeline == timeline)?;
    if legs[leg].has(at) {
        return Some(Place { leg, at: at.segment_start(segment_bytes) });
    }
    let next = legs.get(leg + 1)?;
    Some(Place { leg: leg + 1, at: next.first(segment_bytes) })
}

/// Whether a server cannot give what it was asked for, and never will.
fn is_lost(error: &PgError) -> bool {
    matches!(error.code(), Some(REMOVED | NO_SLOT | LOST))
}

/// Whether a server may be well later: it cannot be reached, starts or stops, or has too much to do.
fn is_passing(error: &PgError) -> bool {
    match error {
        // Such is what is said of a certificate.
        PgError::Io { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
        PgError::Server { error, .. } => {
            ["57P", "53", "08"].iter().any(|class| error.code.starts_with(class))
        }
        PgError::Protocol(_) | PgError::Refused(_) => false,
    }
}
