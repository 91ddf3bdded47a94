//! Threads for what computes or blocks, bounded in number; or none at all, for a simulation.
//!
//! On purpose not here: queues of data. Whoever hands in work bounds what it holds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    /// Taken first: what makes bytes smaller.
    urgent: VecDeque<Job>,
    /// Taken when nothing is urgent: what brings bytes in.
    normal: VecDeque<Job>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    idle: AtomicUsize,
}

struct Pool {
    shared: Arc<Shared>,
    threads: usize,
}

/// Runs closures on a fixed number of threads, or inline on the caller's.
#[derive(Clone)]
pub struct Workers {
    pool: Option<Arc<Pool>>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.threads())
    }
}

/// Locks a mutex whose holders never leave it broken: a panic in a job must not hide behind a second one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// No threads: every job runs at once, where it is handed in. Deterministic; queues between
    /// jobs then hold a whole batch.
    #[must_use]
    pub const fn inline() -> Self {
        Self { pool: None }
    }

    /// Starts `threads` threads.
    ///
    /// # Panics
    /// The system refuses a thread.
    #[must_use]
    pub fn pool(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            idle: AtomicUsize::new(0),
        });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            let name = format!("worker-{number}");
            std::thread::Builder::new().name(name).spawn(move || shared.work()).expect("a thread");
        }
        Self { pool: Some(Arc::new(Pool { shared, threads })) }
    }

    /// How many threads there are; 0 when inline.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(0, |pool| pool.threads)
    }

    /// Whether jobs run where they are handed in.
    #[must_use]
    pub const fn is_inline(&self) -> bool {
        self.pool.is_none()
    }

    /// Whether a thread waits for work.
    #[must_use]
    pub fn has_idle(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.shared.idle.load(Ordering::Relaxed) > 0)
    }

    /// Hands in a job that brings bytes in.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.enqueue(Box::new(job), false);
    }

    /// Hands in a job that goes before those of [`Workers::submit`].
    pub fn submit_urgent(&self, job: impl FnOnce() + Send + 'static) {
        self.enqueue(Box::new(job), true);
    }

    fn enqueue(&self, job: Job, urgent: bool) {
        let Some(pool) = &self.pool else { return job() };
        let mut queue = lock(&pool.shared.queue);
        if urgent {
            queue.urgent.push_back(job);
        } else {
            queue.normal.push_back(job);
        }
        drop(queue);
        pool.shared.wake.notify_one();
    }

    /// Runs a closure on a worker and returns what it gives.
    ///
    /// # Panics
    /// The closure panicked.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        if self.is_inline() {
            return job();
        }
        let (sender, receiver) = oneshot::channel();
        self.submit(move || drop(sender.send(job())));
        receiver.await.expect("a worker that ended its job")
    }

    /// Runs a closure that may block for long on a thread of its own.
    ///
    /// # Panics
    /// The closure panicked.
    pub async fn run_long<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        if self.is_inline() {
            return job();
        }
        tokio::task::spawn_blocking(job).await.expect("a thread that ended its job")
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.urgent.pop_front().or_else(|| queue.normal.pop_front()) {
                drop(queue);
                // A panic ends the job, whose waiter then sees that nothing came; not the thread.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                queue = lock(&self.queue);
            } else if queue.closed {
                return;
            } else {
                self.idle.fetch_add(1, Ordering::Relaxed);
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                self.idle.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.wake.notify_all();
    }
}
