//! The one door through which blocking system calls leave async code.
//!
//! On purpose not here: limits on how many run at once; the caller's plan sets those.

use std::io;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` where it may block.
///
/// Under a multi-thread runtime that is a thread of the blocking pool. Everywhere else it is
/// right here: a single-thread runtime is how simulations run, and a second thread would make
/// their order of events a matter of luck.
///
/// Dropping the future does not stop work that has begun; it then ends unobserved.
pub(crate) async fn blocking<T, W>(work: W) -> io::Result<T>
where
    T: Send + 'static,
    W: FnOnce() -> io::Result<T> + Send + 'static,
{
    let pool = Handle::try_current().ok().filter(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    let Some(pool) = pool else { return work() };
    match pool.spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(io::Error::other("the runtime shut down before the call began")),
        },
    }
}
