//! A value that a job will give: set once, waited for once, and never waited for in vain.
//!
//! On purpose not here: anything async; the waiter is a thread that has nothing else to do.

use crate::workers::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

enum State<T> {
    Pending,
    Ready(T),
    /// The job ended without giving anything: it panicked.
    Lost,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    set: Condvar,
}

/// The waiting side.
pub(super) struct Promise<T>(Arc<Shared<T>>);

/// The giving side; dropped without a value, it tells the waiter so.
pub(super) struct Giver<T>(Arc<Shared<T>>);

/// Makes both sides.
pub(super) fn promise<T>() -> (Giver<T>, Promise<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Pending), set: Condvar::new() });
    (Giver(Arc::clone(&shared)), Promise(shared))
}

impl<T> Giver<T> {
    pub(super) fn give(self, value: T) {
        *lock(&self.0.state) = State::Ready(value);
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        if matches!(*state, State::Pending) {
            *state = State::Lost;
        }
        drop(state);
        self.0.set.notify_all();
    }
}

impl<T> Promise<T> {
    /// Whether waiting would take no time.
    pub(super) fn is_ready(&self) -> bool {
        !matches!(*lock(&self.0.state), State::Pending)
    }

    /// Waits for the value; `None` if the job was lost.
    pub(super) fn wait(self) -> Option<T> {
        let mut state = lock(&self.0.state);
        while matches!(*state, State::Pending) {
            state = self.0.set.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut *state, State::Lost) {
            State::Ready(value) => Some(value),
            State::Pending | State::Lost => None,
        }
    }
}
