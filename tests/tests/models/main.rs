//! The protocol as models.

#![allow(clippy::print_stdout, reason = "tests say what they measured")]

mod cleaning;
mod maintainer;
mod mutants;
mod protocol;
mod reader;
mod roots;
mod run;
mod safe;
mod state;
mod symmetry;
mod writer;
