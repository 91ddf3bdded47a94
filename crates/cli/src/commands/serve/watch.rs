//! Who watches a service: the service manager, those who ask over HTTP, and those who are told when something
//! is wrong.
//!
//! On purpose not here: how things stand, and what is told of it.

use super::life::{Calling, SignOfLife};
use crate::fault::Fault;
use crate::hands::{OwnHands, OwnPost};
use crate::ink::{Ink, escape};
use crate::wire_up::{Board, Listening, Manager, answer_at};
use holdfast_scheduler::alert::{Ticked, retry, tick};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::serve::Minute;
use holdfast_scheduler::serve::metrics::{Counted, Moved};
use holdfast_scheduler::serve::told::Told;
use holdfast_scheduler::status::{Known, look, metrics};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A loop that does not go round for so long hangs: it waits 15 seconds at most.
const ALIVE_WITHIN: Duration = Duration::from_secs(90);
/// So often is looked how things stand: each look asks the repositories. After a job that ended the next minute is
/// early enough.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// After a job that ended passes so many times as long as the last look took, so that looking is never most of the work;
/// no longer than otherwise.
const REST: u32 = 10;
/// Nobody is told anything so soon after the start: what is behind, or is to be made, is just being done.
const SETTLED_AFTER: Duration = Duration::from_secs(50);
/// While the catalog is lost nothing can be done.
const NO_CATALOG: &str = "the catalog cannot be used, so nothing is begun";

/// What they see.
pub(super) struct Watch {
    ink: Arc<Ink>,
    hands: OwnHands,
    /// Certificates that are trusted beside the system's.
    trusted: Option<PathBuf>,
    manager: Manager,
    board: Arc<Board>,
    /// Kept as long as it is to answer.
    _listening: Option<Listening>,
    /// Who hears that this serves, and what calls them meanwhile.
    life: Option<Arc<SignOfLife>>,
    _calling: Option<Calling>,
    since: Timestamp,
    begun: Instant,
    /// What is due is done once: what is told is told at the end.
    once: bool,
    is_ready: AtomicBool,
    seen: Mutex<Seen>,
}

/// Who watches, and how.
pub(super) struct Watchers<'a> {
    /// Certificates that are trusted beside the system's.
    pub(super) trusted: Option<PathBuf>,
    /// Where those who ask over HTTP are answered.
    pub(super) address: Option<&'a str>,
    /// The file with the address that is called while jobs can be done.
    pub(super) life: Option<PathBuf>,
    /// What is due is done once.
    pub(super) once: bool,
}

/// What was seen and heard.
#[derive(Default)]
struct Seen {
    counted: Counted,
    /// When the manager was last told that this lives.
    told: Option<Instant>,
    /// When it was last looked how things stand, how long that took, and what came out for Prometheus.
    looked: Option<(Instant, Duration)>,
    status: String,
    /// Whether they may stand otherwise since.
    is_stale: bool,
}

impl Watch {
    /// Lets them watch; those who ask over HTTP where an address is given.
    pub(super) async fn new(
        ink: &Arc<Ink>,
        hands: OwnHands,
        Watchers { trusted, address, life, once }: Watchers<'_>,
    ) -> Result<Self, Fault> {
        let board = Arc::new(Board::new(ALIVE_WITHIN));
        let listening = match address {
            None => None,
            Some(address) => Some(answer_at(address, Arc::clone(&board)).await.map_err(|error| {
                let what = format!("cannot listen at {}", escape(address.as_bytes()));
                Fault::failed(what, "name an address of this host that is free: --metrics 127.0.0.1:9187")
                    .because(&error)
            })?),
        };
        if let Some(listening) = &listening {
            ink.talk(&format!("answers at http://{}/metrics, /healthz and /readyz", listening.address()));
        }
        let life = life.map(|file| {
            let post = OwnPost::new(hands.clone(), trusted.clone());
            Arc::new(SignOfLife::new(ink, post, &board, file))
        });
        let calling = life.as_ref().filter(|_| !once).map(Calling::begin);
        Ok(Self {
            ink: Arc::clone(ink),
            since: hands.now(),
            begun: Instant::now(),
            once,
            hands,
            trusted,
            manager: Manager::from_env(),
            board,
            _listening: listening,
            life,
            _calling: calling,
            is_ready: AtomicBool::new(false),
            seen: Mutex::default(),
        })
    }

    /// Something was told.
    pub(super) fn hears(&self, told: &Told) {
        let mut seen = self.seen();
        seen.is_stale |= seen.counted.note(told);
        drop(seen);
        if let Told::Job(_) = told {
            self.manager.status(&told.to_string());
        }
        self.publish();
    }

    /// Whether jobs can be done.
    pub(super) fn ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
        self.board.put_ready(if is_ready { Ok(()) } else { Err(NO_CATALOG.to_owned()) });
        if is_ready {
            self.manager.ready();
            self.manager.status("serves");
        } else {
            self.manager.status(NO_CATALOG);
        }
        self.publish();
    }

    /// The loop goes round.
    pub(super) fn alive(&self) {
        self.board.moves();
        self.publish();
        let Some(every) = self.manager.watchdog() else { return };
        let mut seen = self.seen();
        if seen.told.is_none_or(|told| told.elapsed() >= every / 2) {
            seen.told = Some(Instant::now());
            drop(seen);
            self.manager.lives();
        }
    }

    /// No more jobs are taken.
    pub(super) fn stopping(&self) {
        self.board.put_ready(Err("it is stopping".to_owned()));
        self.manager.stops();
    }

    /// A minute is over: looks how things stand if it is time, and tells those who are to be told.
    pub(super) async fn minute(&self, minute: &Minute) {
        if self.is_time() {
            self.look(minute).await;
        } else if let Some(catalog) = &minute.catalog {
            let post = OwnPost::new(self.hands(minute), self.trusted.clone());
            self.tell_troubles(&retry(&post, catalog, &minute.known).await);
        }
        if let Some(life) = self.life.as_ref().filter(|_| self.once) {
            life.call().await;
        }
        self.publish();
    }

    fn is_time(&self) -> bool {
        let seen = self.seen();
        let Some((ended, took)) = seen.looked else { return true };
        let every = if seen.is_stale { (took * REST).min(LOOK_EVERY) } else { LOOK_EVERY };
        ended.elapsed() >= every
    }

    /// Hands that know where each policy has its secrets.
    fn hands(&self, minute: &Minute) -> OwnHands {
        minute.known.iter().fold(self.hands.clone(), |hands, known| hands.of(&known.policy))
    }

    fn tell_troubles(&self, ticked: &Ticked) {
        for trouble in &ticked.troubles {
            self.ink.warn(&format!("somebody was not told, and will be: {}", escape(trouble.as_bytes())));
        }
    }

    async fn look(&self, minute: &Minute) {
        let Minute { catalog, known, unreadable } = minute;
        let hands = self.hands(minute);
        let begun = Instant::now();
        self.seen().is_stale = false;
        let status = look(&hands, known, unreadable, catalog.as_ref(), &TimeZone::system()).await;
        {
            let mut seen = self.seen();
            seen.status = metrics(&status);
            seen.looked = Some((Instant::now(), begun.elapsed()));
        }
        // What was told already is only known there.
        let Some(catalog) = catalog else {
            self.seen().is_stale = true;
            return;
        };
        if !self.once && self.begun.elapsed() < SETTLED_AFTER {
            self.seen().is_stale = true;
            return;
        }
        let post = OwnPost::new(hands, self.trusted.clone());
        let is_whole = |known: &&Known| unreadable.iter().all(|wrong| wrong.file != known.file);
        let post = post.of_all(known.iter().filter(is_whole).map(|known| known.file.clone()));
        self.tell_troubles(&tick(&post, catalog, known, &status, status.now).await);
    }

    /// Puts what is known where those who ask find it.
    fn publish(&self) {
        let seen = self.seen();
        let moved = Moved {
            now: self.hands.now(),
            since: self.since,
            is_ready: self.is_ready.load(Ordering::Relaxed),
            sign_of_life: self.life.as_ref().and_then(|life| life.arrived()),
        };
        let own = seen.counted.metrics(&moved);
        self.board.put_metrics(format!("{}{own}", seen.status));
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
