//! What is remembered between runs: runs, their ends, and which policies there are.
//!
//! On purpose not here: doing it.
