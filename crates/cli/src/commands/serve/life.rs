//! The sign of life of a service: an address that is called while jobs can be done, whatever became of them.
//!
//! Whoever misses it knows that nobody serves. That backups are as young as was promised says another one, of
//! each policy. On purpose not here: what a worker that hangs is; the board knows.

use crate::hands::OwnPost;
use crate::ink::{Ink, escape};
use crate::wire_up::Board;
use holdfast_scheduler::alert::{Outcome, Post};
use holdfast_scheduler::policy::Heartbeat;
use holdfast_scheduler::policy::secret::SecretRef;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How often it is called.
const EVERY: Duration = Duration::from_secs(60);
/// How often is looked whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who is called.
pub(super) struct SignOfLife {
    ink: Arc<Ink>,
    post: OwnPost,
    board: Arc<Board>,
    address: Heartbeat,
    /// When it last arrived, in seconds; 0 before it did.
    arrived: AtomicI64,
    failed: AtomicBool,
}

impl SignOfLife {
    /// The address lies in a file, which is read each time: whoever knows it can be alive for us.
    pub(super) fn new(ink: &Arc<Ink>, post: OwnPost, board: &Arc<Board>, file: PathBuf) -> Self {
        let address = Heartbeat { url: SecretRef::File(file) };
        let (ink, board) = (Arc::clone(ink), Arc::clone(board));
        Self { ink, post, board, address, arrived: AtomicI64::new(0), failed: AtomicBool::new(false) }
    }

    /// When it last arrived.
    pub(super) fn arrived(&self) -> Option<Timestamp> {
        let second = self.arrived.load(Ordering::Relaxed);
        Timestamp::from_second(second).ok().filter(|_| second != 0)
    }

    /// Calls once, if jobs can be done.
    pub(super) async fn call(&self) {
        if !self.board.is_at_work() {
            return;
        }
        match self.post.beat(&self.address).await {
            Outcome::Delivered => {
                self.arrived.store(self.post.now().as_second(), Ordering::Relaxed);
                self.failed.store(false, Ordering::Relaxed);
            }
            Outcome::TryAgain { why, .. } | Outcome::Refused { why } | Outcome::Never { why } => {
                // Once is enough until it arrives again.
                if !self.failed.swap(true, Ordering::Relaxed) {
                    let why = escape(why.as_bytes());
                    self.ink.warn(&format!("the sign of life did not arrive: {why}"));
                }
            }
        }
    }
}

/// Calls as long as it is kept.
pub(super) struct Calling(AbortHandle);

impl Calling {
    pub(super) fn begin(life: &Arc<SignOfLife>) -> Self {
        let life = Arc::clone(life);
        let calls = async move {
            let mut last: Option<Instant> = None;
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                if life.board.is_at_work() && last.is_none_or(|last| last.elapsed() >= EVERY) {
                    last = Some(Instant::now());
                    life.call().await;
                }
            }
        };
        Self(tokio::spawn(calls).abort_handle())
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.abort();
    }
}
