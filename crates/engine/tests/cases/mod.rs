//! What the engine promises, one file a subject.

mod blocks;
mod bucket;
mod copy;
mod crash;
mod damage;
mod dedup;
mod details;
mod domain;
mod find;
mod in_place;
mod incremental;
mod keys;
mod log_age;
mod logs;
mod look;
mod maintain;
mod maintain_crash;
mod members;
mod recover;
mod repair;
mod repair_damage;
mod roles;
mod round_trip;
mod select;
mod tag;
mod trouble;
