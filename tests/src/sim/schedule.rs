//! The run of one seed: which task goes on, and what goes wrong meanwhile.
//!
//! One thread, no waiting: tasks are futures that are polled by hand, one call of the store at a
//! time. On purpose not here: what begins next ([`super::choose`]), how it all ends ([`super::calm`]), what
//! tasks do, and what must be true.

use super::actions::{Action, Report, run};
use super::faults::{Profile, Verdict, judge};
use super::look::Depth;
use super::model::{Rng, START_SECONDS};
use super::oracle::{Oracle, Stake, chain};
use super::store::{Core, Gate, TaskStore};
use super::world::{Host, all_dead, founded, set_alive, set_here};
use super::{Settings, Tally, Trace};
use futures::future::LocalBoxFuture;
use holdfast_engine::ctx::Cancel;
use holdfast_engine::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A task that needs so many calls has no end in sight.
const CALLS_MAX: u64 = 200_000;
/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;

/// One run of a command, under way.
pub(super) struct Task {
    number: usize,
    host: usize,
    process: u32,
    action: Action,
    stake: Stake,
    future: LocalBoxFuture<'static, Result<Report, Error>>,
    gate: Arc<Gate>,
    cancel: Cancel,
    /// It does not go on before this step.
    sleeps_until: u64,
    /// Its calls fail until this step.
    storm_until: u64,
    /// The store gave it reason to fail.
    faulty: bool,
    calls: u64,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A run of one seed.
pub(super) struct Run {
    pub(super) rng: Rng,
    pub(super) profile: Profile,
    pub(super) folder: tempfile::TempDir,
    truth: Arc<AtomicI64>,
    pub(super) core: Arc<Core>,
    pub(super) hosts: Vec<Host>,
    pub(super) tasks: Vec<Task>,
    pub(super) oracle: Oracle,
    pub(super) step: u64,
    tasks_begun: usize,
    actions_left: u64,
    storm_until: u64,
    full_until: u64,
    /// Which task goes on, and for how many steps.
    turn: (usize, u64),
    pub(super) calm: bool,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
}

/// What is wrong, if anything is.
pub(super) type Ended = Result<(), String>;

impl Run {
    pub(super) fn new(seed: u64, settings: &Settings) -> Self {
        all_dead();
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9).wrapping_add(0x5eed));
        let profile = Profile::of(&mut rng);
        let folder = tempfile::tempdir().expect("a folder for caches");
        let truth = Arc::new(AtomicI64::new(START_SECONDS));
        let hosts = (0..profile.hosts).map(|at| Host::new(at, &truth, folder.path(), &mut rng)).collect();
        let mut trace = Trace::new(settings.print);
        trace.line(0, &format!("{profile:?}"));
        Self {
            core: Arc::new(Core::new(founded(), profile.page, settings.breach)),
            oracle: Oracle::new(&truth),
            actions_left: profile.actions,
            rng,
            profile,
            folder,
            truth,
            hosts,
            tasks: Vec::new(),
            step: 0,
            tasks_begun: 0,
            storm_until: 0,
            full_until: 0,
            turn: (usize::MAX, 0),
            calm: false,
            trace,
            tally: Tally::default(),
        }
    }

    /// From the beginning to the end.
    pub(super) fn go(&mut self) -> Ended {
        if self.rng.one_in(2) {
            self.skew_clocks();
        }
        while self.actions_left > 0 || !self.tasks.is_empty() {
            self.step += 1;
            self.happen()?;
            self.go_on()?;
        }
        self.come_right()
    }

    pub(super) fn note(&mut self, what: &str) {
        self.trace.line(self.step, what);
    }

    /// Every machine believes another time, up to ten years off.
    fn skew_clocks(&mut self) {
        for at in 0..self.hosts.len() {
            let off = self.rng.below(20 * 365 * DAY) as i64 - 10 * 365 * DAY as i64;
            self.hosts[at].clock.offset.store(off, Ordering::Relaxed);
        }
    }

    /// What happens by itself.
    fn happen(&mut self) -> Ended {
        let profile = self.profile.clone();
        if self.rng.one_in(profile.days) {
            let hours = self.rng.spread(1, 24 * 40);
            self.truth.fetch_add(3600 * hours as i64, Ordering::Relaxed);
            self.note(&format!("{hours} hours pass"));
        }
        if self.rng.one_in(profile.jump) {
            self.skew_clocks();
            self.note("clocks jump");
        }
        if self.rng.one_in(profile.storm) {
            let until = self.step + self.rng.spread(4, 200);
            match self.rng.below(self.tasks.len() as u64 + 1) as usize {
                0 => self.storm_until = until,
                some => self.tasks[some - 1].storm_until = until,
            }
            self.tally.storms += 1;
            self.note("a storm begins");
        }
        if self.rng.one_in(profile.full) {
            self.full_until = self.step + self.rng.spread(20, 1000);
            self.note("the store is full");
        }
        if self.rng.one_in(profile.deliver) {
            self.deliver_one();
        }
        if !self.tasks.is_empty() {
            self.happen_to_a_task(&profile)?;
        }
        if self.rng.one_in(profile.inspect) {
            let depth = Depth::One(self.rng.next() >> 1);
            self.inspect(depth)?;
        }
        Ok(())
    }

    fn happen_to_a_task(&mut self, profile: &Profile) -> Ended {
        let at = self.rng.below(self.tasks.len() as u64) as usize;
        if self.rng.one_in(profile.sleep) {
            let steps = self.rng.spread(20, 5000);
            self.tasks[at].sleeps_until = self.step + steps;
            self.tally.sleeps += 1;
            let number = self.tasks[at].number;
            self.note(&format!("t{number} sleeps for {steps} steps"));
        }
        if self.rng.one_in(profile.cancel) {
            self.tasks[at].cancel.raise();
            let number = self.tasks[at].number;
            self.note(&format!("t{number} is asked to stop"));
        }
        if self.rng.one_in(profile.crash) {
            return self.crash(at);
        }
        Ok(())
    }

    pub(super) fn deliver_one(&mut self) {
        let late = self.core.late();
        if late > 0 {
            let at = self.rng.below(late as u64) as usize;
            let what = self.core.deliver(at);
            self.tally.late += 1;
            self.note(&what);
        }
    }

    /// A process dies; now and then its machine with it.
    fn crash(&mut self, at: usize) -> Ended {
        let host = self.tasks[at].host;
        let whole = self.rng.one_in(3);
        let mut dying = vec![at];
        if whole {
            dying = (0..self.tasks.len()).filter(|&other| self.tasks[other].host == host).collect();
        }
        for at in dying.into_iter().rev() {
            let task = self.tasks.remove(at);
            set_alive(task.host, task.process, false);
            self.tally.crashes += 1;
            self.note(&format!("t{} dies", task.number));
            self.oracle.end(&task.action, &task.stake, None, true)?;
        }
        self.turn.1 = 0;
        if whole {
            self.hosts[host].reboot();
            let torn = self.hosts[host].tear_cache(&mut self.rng);
            self.tally.torn += torn as u64;
            self.note(&format!("host{host} starts anew, {torn} files of its cache torn"));
        }
        Ok(())
    }

    /// A task makes a step, or the next one begins.
    fn go_on(&mut self) -> Ended {
        let step = self.step;
        let awake = |task: &Task| task.sleeps_until <= step;
        let any = self.tasks.iter().any(awake);
        let room = self.tasks.len() < self.profile.tasks && self.actions_left > 0;
        if room && (!any || self.rng.one_in(40)) {
            self.actions_left -= 1;
            return self.start_something();
        }
        if !any {
            // Nothing else can happen: who would wake first does.
            if let Some(first) = self.tasks.iter_mut().min_by_key(|task| task.sleeps_until) {
                first.sleeps_until = step;
            }
            return Ok(());
        }
        let current = self.tasks.iter().position(|task| task.number == self.turn.0 && awake(task));
        let at = match current.filter(|_| self.turn.1 > 0) {
            Some(at) => at,
            None => {
                let ready: Vec<_> = (0..self.tasks.len()).filter(|&at| awake(&self.tasks[at])).collect();
                let at = *self.rng.pick(&ready);
                self.turn = (self.tasks[at].number, 1 + self.rng.below(self.profile.burst));
                at
            }
        };
        self.turn.1 -= 1;
        self.advance(at)
    }

    /// A task makes one call.
    pub(super) fn advance(&mut self, at: usize) -> Ended {
        let task = &mut self.tasks[at];
        let waiting = task.gate.waiting();
        if !waiting.is_empty() {
            let first = waiting.len() == 1 || !self.rng.one_in(3);
            let chosen = if first { 0 } else { self.rng.below(waiting.len() as u64) as usize };
            let call = &waiting[chosen];
            let storm = self.storm_until > self.step || task.storm_until > self.step;
            let full = self.full_until > self.step;
            let verdict = match self.calm {
                true => Verdict::FINE,
                false => judge(&self.profile, &mut self.rng, call, storm, full),
            };
            task.faulty |= verdict.is_fault();
            task.calls += 1;
            if task.calls > CALLS_MAX {
                return Err(format!("t{} has no end in sight", task.number));
            }
            task.gate.grant(chosen, verdict);
            let result = self.poll(at)?;
            let task = &self.tasks[at];
            let what = call.operation.map_or("(answer)".to_owned(), |operation| format!("{operation:?}"));
            let outcomes = task.gate.take_outcomes().join(", ");
            let line = format!("t{} {what} {}: {outcomes}", task.number, call.name);
            self.note(&line);
            self.tally.calls += 1;
            return self.ended(at, result);
        }
        let result = self.poll(at)?;
        self.ended(at, result)
    }

    fn poll(&mut self, at: usize) -> Result<Option<Result<Report, Error>>, String> {
        let task = &mut self.tasks[at];
        set_here(task.host);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        // As long as it wakes itself there is nothing to wait for.
        while flag.0.swap(false, Ordering::Relaxed) {
            let mut context = Context::from_waker(&waker);
            match catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(&mut context))) {
                Err(_) => return Err(format!("t{} ({}) panics", task.number, task.action.word())),
                Ok(Poll::Ready(result)) => return Ok(Some(result)),
                Ok(Poll::Pending) if !task.gate.waiting().is_empty() => return Ok(None),
                Ok(Poll::Pending) => {}
            }
        }
        Err(format!("t{} ({}) waits for nothing", task.number, task.action.word()))
    }

    /// Takes note if a task came to its end.
    fn ended(&mut self, at: usize, result: Option<Result<Report, Error>>) -> Ended {
        let Some(result) = result else { return Ok(()) };
        let task = self.tasks.remove(at);
        self.turn.1 = 0;
        set_alive(task.host, task.process, false);
        let line = match &result {
            Ok(report) => format!("t{} ends: {}", task.number, brief(report)),
            Err(error) => format!("t{} fails: {}", task.number, chain(error)),
        };
        self.note(&line);
        if let Some(alarm) = self.hosts[task.host].alarms.first() {
            return Err(format!("t{} sounds a false alarm: {alarm}", task.number));
        }
        self.tally.count(&task.action, &result);
        self.oracle.end(&task.action, &task.stake, Some(&result), task.faulty)?;
        match self.rng.below(24) {
            0 => self.inspect(Depth::All),
            1..=4 => {
                let depth = Depth::One(self.rng.next() >> 1);
                self.inspect(depth)
            }
            5..=7 => self.inspect(Depth::List),
            _ => Ok(()),
        }
    }

    pub(super) fn inspect(&mut self, depth: Depth) -> Ended {
        let certain = !self.core.may_still_put("roots/") && !self.core.may_still_put("sessions/");
        self.note(&format!("a look: {depth:?}"));
        self.tally.looks += 1;
        self.oracle.inspect(&self.core.fork(), depth, certain)
    }

    pub(super) fn start(
        &mut self,
        host: usize,
        process: u32,
        ctx: holdfast_engine::ctx::Ctx,
        action: Action,
    ) {
        let number = self.tasks_begun;
        self.tasks_begun += 1;
        self.note(&format!("t{number} on host{host}: {}", action.word()));
        set_alive(host, process, true);
        let gate: Arc<Gate> = Arc::default();
        let store = TaskStore { core: Arc::clone(&self.core), gate: Arc::clone(&gate) };
        let stake = self.oracle.begin(&action);
        let cancel = ctx.cancel.clone();
        let future = Box::pin(run(action.clone(), ctx, Arc::new(store)));
        self.tasks.push(Task {
            number,
            host,
            process,
            action,
            stake,
            future,
            gate,
            cancel,
            sleeps_until: 0,
            storm_until: 0,
            faulty: false,
            calls: 0,
        });
    }
}

/// What a report says, for the trace.
fn brief(report: &Report) -> String {
    match report {
        Report::Restore(None) => "restore: there is no such snapshot".into(),
        Report::Restore(Some((restored, problems))) => {
            format!("restored {} things, {} problems", restored.items.len(), problems.len())
        }
        Report::Check(report) => format!("check: {} errors, {} notices", report.errors, report.notices),
        other => format!("{other:?}"),
    }
}
