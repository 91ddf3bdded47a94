//! Every decoder of the project as a function of bytes, with what must hold of it.
//!
//! `tests/fuzz.sh` drives these with libFuzzer, `tests/tests/fuzz.rs` with seeds and a fixed
//! random sequence, so that each is run wherever the tests run. What a seal would hide from a
//! fuzzer is sealed here with real keys, so that the decoder beneath it is reached. On purpose
//! not here: decoders that only read what the same process wrote.

mod logs;
mod objects;
mod packs;
mod seeds;
mod text;
mod tree;

use holdfast_source_postgres::fuzzed;
use peak_alloc::PeakAlloc;
use std::fmt::Debug;

/// Memory that a decoder may take whatever its input, in bytes: pages and chunks have 8 MiB.
const MEMORY_BYTES_MAX: usize = 32 << 20;
/// What it may take for each byte of its input beyond that.
const MEMORY_PER_BYTE_MAX: usize = 100;

/// A decoder with its properties.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name for the command line.
    pub name: &'static str,
    /// Decodes; panics where a property does not hold.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:literal => $run:path,)*) => {
        /// All decoders.
        pub const TARGETS: &[Target] = &[$(Target { name: $name, run: $run },)*];
    };
}

targets! {
    "abort" => objects::abort,
    "begin" => objects::begin,
    "bundle" => objects::bundle,
    "cache" => tree::cached_record,
    "chunk" => packs::chunk,
    "delta" => objects::delta,
    "details" => objects::details,
    "end" => objects::end,
    "entry" => tree::entry,
    "escape" => text::escaping,
    "evidence" => objects::evidence,
    "exclude-file" => text::exclude_file,
    "excludes" => text::excludes,
    "footer" => packs::footer,
    "frame" => packs::frame,
    "index-copy" => tree::index_copy,
    "list" => objects::list,
    "log" => objects::log,
    "log-content" => objects::log_content,
    "log-history" => logs::history,
    "log-records" => logs::segment,
    "member" => objects::member,
    "name" => text::name,
    "object" => objects::object,
    "pack" => packs::ends_of_pack,
    "page" => tree::page,
    "page-sealed" => packs::sealed_page,
    "pg-answer" => fuzzed::answer,
    "pg-archive" => fuzzed::archive,
    "pg-manifest" => fuzzed::manifest,
    "pg-record" => fuzzed::record,
    "pg-url" => fuzzed::location,
    "pins" => objects::pins,
    "policy" => text::policy,
    "repository" => text::repository,
    "root" => objects::root,
    "section" => objects::section,
    "segment" => objects::segment,
    "segment-object" => objects::segment_object,
    "session-row" => objects::session_row,
    "size" => text::sizes,
    "slot" => objects::slot,
    "slot-keys" => objects::slot_keys,
    "snapshots" => objects::snapshots,
    "summary" => objects::summary,
    "tables" => objects::tables,
    "time" => text::times,
    "xattrs" => tree::xattrs,
}

pub use seeds::{mutated, seeds};

/// Finds a target.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs a target on bytes and bounds the memory that it takes, which the process counts with
/// `counter` as its allocator.
///
/// # Panics
/// A property does not hold, or more memory was taken than the bytes allow.
pub fn run(target: &Target, bytes: &[u8], counter: &PeakAlloc) {
    let before = counter.current_usage();
    counter.reset_peak_usage();
    (target.run)(bytes);
    let taken = counter.peak_usage().saturating_sub(before);
    let most = MEMORY_BYTES_MAX + MEMORY_PER_BYTE_MAX * bytes.len();
    assert!(taken <= most, "{}: {taken} bytes of memory for {} bytes of input", target.name, bytes.len());
}

/// Two decoders agree, or what was encoded again is what was decoded.
fn assert_same<T: PartialEq + Debug>(before: &T, after: &T) {
    assert!(before == after, "it is not the same after a round:\n{before:#?}\n{after:#?}");
}
