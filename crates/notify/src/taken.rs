//! Who took a mail that is still to be taken by others, so that they do not get it again with the next try.
//!
//! As long as this process lives, and no longer: what is tried again by another one may reach a mailbox twice, with the
//! same `Message-ID`. On purpose not here: whether it is tried again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many are remembered, the last ones: more wait nowhere.
const MOST: usize = 4096;

/// A message, and a mailbox that took it.
type Pair = (String, String);

static TAKEN: Mutex<VecDeque<Pair>> = Mutex::new(VecDeque::new());

/// Nothing can be half written here, whoever panicked.
fn taken() -> MutexGuard<'static, VecDeque<Pair>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a mailbox has a message already.
pub(crate) fn has(id: &str, mailbox: &str) -> bool {
    taken().iter().any(|(message, taker)| message == id && taker == mailbox)
}

/// A mailbox took a message that others are still to take.
pub(crate) fn note(id: &str, mailbox: &str) {
    let mut taken = taken();
    if taken.len() >= MOST {
        taken.pop_front();
    }
    taken.push_back((id.to_owned(), mailbox.to_owned()));
}

/// A message is not tried again.
pub(crate) fn forget(id: &str) {
    taken().retain(|(message, _)| message != id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_is_forgotten() {
        note("taken-1", "a@b.example");
        assert!(has("taken-1", "a@b.example"));
        assert!(!has("taken-1", "c@b.example") && !has("taken-2", "a@b.example"));
        forget("taken-1");
        assert!(!has("taken-1", "a@b.example"));
        assert!(taken().len() <= MOST);
    }
}
