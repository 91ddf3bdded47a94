//! How things stand: what a person reads at three in the morning, and what monitoring reads.
//!
//! On purpose not here: doing it.
