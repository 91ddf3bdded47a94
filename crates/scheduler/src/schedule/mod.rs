//! When something is due: cron expressions, zones, jitter, runs that were missed.
//!
//! On purpose not here: doing it.
