//! Runs of policies with hands that only pretend.
//!
//! On purpose not here: that verbs do what they say.
