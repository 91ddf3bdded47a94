//! The real program from outside: it is started as a person starts it, fed with what is rare,
//! broken or hostile, killed, starved of space, and judged by its exit code, its words and the
//! bytes that come back.
//!
//! `HOLDFAST_BIN` names another program to test; `HOLDFAST_TEST_FULL=1` makes trees large and
//! `HOLDFAST_TEST_KILLS=200` kills more often than a quick run does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what they measured")]

mod access;
mod alerts;
mod archive;
mod bucket;
mod bucket_beside;
mod bucket_configuration;
mod bucket_copy;
mod bucket_drill;
mod bucket_hangs;
mod bucket_network;
mod bucket_promises;
mod bucket_rights;
mod bucket_roles;
mod bucket_round;
mod bucket_source;
mod bucket_target;
mod bucket_trouble;
mod bucket_versions;
mod cluster;
mod cluster_bad;
mod cluster_blocks;
mod cluster_catalog;
mod cluster_drill;
mod cluster_drill_dumps;
mod cluster_drill_policy;
mod cluster_dumps;
mod cluster_dumps_bad;
mod cluster_facts;
mod cluster_log_key;
mod cluster_over;
mod cluster_point;
mod cluster_policy_bucket;
mod cluster_proof;
mod cluster_roles;
mod cluster_stream;
mod cluster_upgrade;
mod cluster_wal;
mod compare;
mod copy;
mod damage;
mod deploy;
mod domain;
mod drill;
mod drill_bucket;
mod drill_files;
mod evidence;
mod exact;
mod forge;
mod forget;
mod full_disk;
mod hold;
mod hostile;
mod in_place;
mod incremental;
mod input;
mod keys;
mod kill;
mod letters;
mod log;
mod look;
mod members;
mod own_places;
mod policy;
mod prune;
mod reader;
mod repair;
mod roles;
mod rollback;
mod run;
mod schema;
mod secrets;
mod serve;
mod serve_soak;
mod serve_watched;
mod serve_workers;
mod shell;
mod soak;
mod status;
mod stopped;
mod stuck;
mod tag;
mod together;
mod traces;
mod tree;
mod unprivileged;
mod usage;
mod vault;
mod world;
