//! The program `holdfast`: words into calls, events into ink.
//!
//! On purpose not here: loops over data, the format, threads that compute. This crate alone
//! prints, exits, and reads the environment.

mod args;
mod commands;
mod engine;
mod fault;
mod guarded;
mod ink;
mod secrets;
mod settings;
mod stdin;
mod stuck;
mod wire_up;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main(std::env::args_os().collect())
}
