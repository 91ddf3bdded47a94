//! The one binary of the engine's integration tests: one file a subject below `cases`.

#![allow(missing_docs, reason = "tests say in their names what they show")]

mod cases;
mod harness;
