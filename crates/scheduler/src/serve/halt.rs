//! A word to stop, for one job.
//!
//! On purpose not here: who says it, and how long it may take to be heeded.

use std::sync::Arc;
use tokio::sync::watch;

/// Says that a job is to stop; clones are the same word.
#[derive(Debug, Clone)]
pub struct Halt(Arc<watch::Sender<bool>>);

impl Default for Halt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Halt {
    /// Says it.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said.
    pub async fn raised(&self) {
        // Its sender is held here, so there is an end of waiting only when it is said.
        let _ = self.0.subscribe().wait_for(|raised| *raised).await;
    }
}
