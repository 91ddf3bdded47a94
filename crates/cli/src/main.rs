//! The program `holdfast`: words into calls, events into ink.
//!
//! On purpose not here: loops over data, the format, threads that compute. This crate alone
//! prints, exits, and reads the environment.

mod args;
mod commands;
mod engine;
mod fault;
mod guarded;
/// What acts for the scheduler; of it here only what looks at clusters.
mod hands {
    #[allow(dead_code, reason = "the scheduler's hands call it")]
    pub(crate) mod cluster;
}
mod ink;
mod outlet;
mod secrets;
mod settings;
mod stdin;
mod stuck;
mod wire_up;

use std::process::ExitCode;

const _: () =
    assert!(holdfast_engine::MUTANT.is_none(), "a program is never built with a mistake on purpose");

fn main() -> ExitCode {
    commands::main(std::env::args_os().collect())
}
