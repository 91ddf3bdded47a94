//! Keeps what is in memory out of core dumps, and other processes of the same user out of memory.
//!
//! The system is told that this process is not to be dumped: it then writes no core, whatever ends us and
//! whoever would take it (a file or a program of `core_pattern`), and lets nobody but root read our memory.
//! A program that we start is a new one to the system: hooks and servers dump as they always did. The
//! limit on the size of cores would do less, and would be theirs too. On purpose not here: wiping secrets,
//! which each of them does itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Tells the system, before anything secret is read.
pub(crate) fn keep() {
    if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        // Next best: no core file, also of what we start.
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    }
}
