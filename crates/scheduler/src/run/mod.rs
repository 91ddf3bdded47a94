//! Runs a policy: back up, copy, forget, prune, check, drill.
//!
//! On purpose not here: doing it.
