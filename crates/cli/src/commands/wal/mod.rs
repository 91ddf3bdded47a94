//! `wal`: the log of databases. One file a verb.
//!
//! On purpose not here: how a log is stored, which is the engine's, and what it says, which is the
//! source's.

mod adopt;
mod commits;
mod fetch;
mod lineage;
mod local;
mod ls;
pub(super) mod need;
mod notes;
mod prefetch;
mod push;
mod ready;
mod slot;
mod status;
mod stream;
mod window;

pub(super) use local::system_in;

use super::Run;
use crate::args::{Verb, WalVerb};
use crate::fault::{Code, Fault};
use crate::ink::duration;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// So often a run looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Carries out one of the verbs.
pub(crate) async fn run(run: &Run, verb: &WalVerb) -> Result<(), Fault> {
    match verb {
        WalVerb::Push(args) => push::run(run, args).await,
        WalVerb::Fetch(args) => fetch::run(run, args).await,
        WalVerb::Status(args) => status::run(run, args).await,
        WalVerb::Ls(args) => ls::run(run, args).await,
        WalVerb::Adopt(args) => adopt::run(run, args),
        WalVerb::Stream(args) => stream::run(run, args).await,
        WalVerb::Slot(args) => slot::run(run, args).await,
        WalVerb::DropSlot(args) => stream::drop_slot(run, args).await,
    }
}

/// A server that recovers asks: it hears codes of its own.
pub(crate) struct Recovery {
    /// It stays a standby, and asks again.
    pub(crate) standby: bool,
}

/// Whether a server that recovers asks.
pub(crate) fn recovery(verb: &Verb) -> Option<Recovery> {
    match verb {
        Verb::Wal(args) => match &args.verb {
            WalVerb::Fetch(args) => Some(Recovery { standby: args.standby }),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a command line that cannot be understood may be that of a server that recovers. What has
/// the words of another verb of `wal` is not; a misspelt verb is.
pub(crate) fn may_be_recovery(words: &[OsString]) -> bool {
    const OTHERS: [&str; 7] = ["push", "stream", "status", "ls", "adopt", "slot", "drop-slot"];
    let has = |text: &str| words.iter().skip(1).any(|word| word == text);
    has("fetch") || has("wal") && !OTHERS.into_iter().any(has)
}

/// Carries something out; if it panics that is a failure with a code of ours.
pub(crate) fn unbroken(work: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let hint = "please report this, with what stands above it";
        Err(Fault::new(Code::Unanswered, "there is a mistake in this program", hint))
    })
}

/// Waits for some work; not for ever, and not once the run is to stop.
async fn within<T>(
    run: &Run,
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = || {
        let what = format!("it was not done after {}", duration(limit));
        Fault::failed(what, "see whether the repository can be reached; --timeout allows more")
    };
    tokio::select! {
        done = work => done,
        () = tokio::time::sleep(limit) => Err(late()),
        () = stopped(run) => Err(Fault::new(Code::Interrupted, "interrupted", "")),
    }
}

async fn stopped(run: &Run) {
    while !run.ctx.cancel.is_raised() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_command_of_a_server_that_recovers_is_known() {
        let may = |text: &str| may_be_recovery(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        for text in [
            "holdfast wal fetch --timeout x f p",
            "holdfast -r /repo wal fecth f p",
            "holdfast wla fetch f p",
            "holdfast wal",
            "holdfast wal --json -r fetch",
        ] {
            assert!(may(text), "{text}");
        }
        for text in ["holdfast wal push --x p", "holdfast wal status --x", "fetch", "holdfast restore x"] {
            assert!(!may(text), "{text}");
        }
    }

    #[test]
    fn a_panic_is_no_end_of_the_log() {
        let ended = unbroken(|| panic!("as a test"));
        assert_eq!(ended.map_err(|fault| fault.for_recovery(true).code.number()), Err(126));
    }
}
