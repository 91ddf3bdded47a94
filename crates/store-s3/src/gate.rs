//! Lets through as many requests at once as the server bears: one more for each round that goes
//! well, half as many when it says that it is too much, none more while its answers get slow.
//!
//! The rule is additive increase, multiplicative decrease, as TCP has it (Chiu and Jain, 1989). On
//! purpose not here: trying again, which the client library does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// So many are let through at first.
const FIRST: f64 = 16.0;
/// And so many at most.
const MOST: f64 = 64.0;
/// Requests that were under way together hear the same complaint: it counts once in so long.
const COMPLAINT: Duration = Duration::from_secs(1);
/// Answers are slow that take so many times as long as the quickest, and this much longer.
const SLOW_TIMES: u32 = 4;
const SLOW_MORE: Duration = Duration::from_millis(100);
/// The quickest answer is forgotten at this rate, for servers that change.
const FORGET: f64 = 1.01;

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    turn: Notify,
}

#[derive(Debug)]
struct State {
    allowed: f64,
    running: usize,
    last_complaint: Option<Instant>,
    quickest: Option<Duration>,
}

impl Default for State {
    fn default() -> Self {
        Self { allowed: FIRST, running: 0, last_complaint: None, quickest: None }
    }
}

impl State {
    fn is_open(&self) -> bool {
        (self.running as f64) < self.allowed.floor()
    }

    fn complained(&mut self, now: Instant) {
        if self.last_complaint.is_none_or(|last| now.duration_since(last) >= COMPLAINT) {
            self.allowed = (self.allowed / 2.0).max(1.0);
            self.last_complaint = Some(now);
        }
    }

    fn answered(&mut self, took: Duration) {
        let quickest = self.quickest.map_or(took, |quickest| took.min(quickest.mul_f64(FORGET)));
        self.quickest = Some(quickest);
        if took <= quickest * SLOW_TIMES + SLOW_MORE {
            self.allowed = (self.allowed + 1.0 / self.allowed).min(MOST);
        }
    }
}

/// One request that is under way, until this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    gate: &'a Gate,
    since: Instant,
}

impl Gate {
    /// Waits until one more request may go.
    pub async fn enter(&self) -> Turn<'_> {
        loop {
            let turn = self.turn.notified();
            {
                let mut state = self.state();
                if state.is_open() {
                    state.running += 1;
                    return Turn { gate: self, since: Instant::now() };
                }
            }
            turn.await;
        }
    }

    /// The server says that it is too much.
    pub(crate) fn overloaded(&self) {
        self.state().complained(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The request was a short one and went well: how long it took says how busy the server is.
    pub fn went_well(&self) {
        self.gate.state().answered(self.since.elapsed());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let more = {
            let mut state = self.gate.state();
            state.running -= 1;
            (state.allowed.floor() as usize).saturating_sub(state.running)
        };
        // As many as there is room for: it may have become more.
        (0..more).for_each(|_| self.gate.turn.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_one_by_one_and_halves_once_for_many_complaints() {
        let mut state = State::default();
        let quick = Duration::from_millis(10);
        (0..17).for_each(|_| state.answered(quick));
        assert!((17.0..18.0).contains(&state.allowed), "{state:?}");
        let now = Instant::now();
        (0..20).for_each(|_| state.complained(now));
        assert!((8.0..9.0).contains(&state.allowed), "{state:?}");
        (0..9).for_each(|round| state.complained(now + COMPLAINT * (round + 1)));
        assert!((state.allowed - 1.0).abs() < f64::EPSILON && state.is_open(), "{state:?}");
        (0..100_000).for_each(|_| state.answered(quick));
        assert!((state.allowed - MOST).abs() < f64::EPSILON, "{state:?}");
    }

    #[test]
    fn it_does_not_grow_while_answers_are_slow() {
        let mut state = State::default();
        state.answered(Duration::from_millis(10));
        let before = state.allowed;
        (0..50).for_each(|_| state.answered(Duration::from_secs(1)));
        assert!((state.allowed - before).abs() < f64::EPSILON, "{state:?}");
    }

    #[tokio::test]
    async fn nobody_is_left_waiting() {
        let gate = std::sync::Arc::new(Gate::default());
        gate.state().allowed = 2.0;
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let gate = std::sync::Arc::clone(&gate);
            all.spawn(async move {
                let turn = gate.enter().await;
                tokio::task::yield_now().await;
                assert!(gate.state().running <= 64);
                turn.went_well();
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.expect("one of many");
        }
        assert_eq!(gate.state().running, 0);
    }
}
