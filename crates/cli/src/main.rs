//! The program `holdfast`: words into calls, events into ink.
//!
//! On purpose not here: loops over data, the format, threads that compute. This crate alone
//! prints, exits, and reads the environment.

mod args;
mod commands;
mod conducting;
mod engine;
mod fault;
mod guarded;
mod hands;
mod ink;
mod opening;
mod outlet;
mod secrets;
mod settings;
mod stdin;
mod stuck;
mod traces;
mod undumped;
mod wire_up;

use std::process::ExitCode;

const _: () =
    assert!(holdfast_engine::MUTANT.is_none(), "a program is never built with a mistake on purpose");

fn main() -> ExitCode {
    undumped::keep();
    hands::leash::heed();
    commands::main(std::env::args_os().collect())
}
