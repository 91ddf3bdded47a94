//! The protocol as models.

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

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
