//! libFuzzer's entry: `HOLDFAST_FUZZ` names the target. `tests/fuzz.sh` builds and drives it.
//!
//! On purpose not here: the targets (`tests/src/fuzz`), which run without libFuzzer too.

#![no_main]

use holdfast_tests::fuzz::{Target, run, target};
use peak_alloc::PeakAlloc;
use std::sync::OnceLock;

#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let named = || std::env::var("HOLDFAST_FUZZ").ok().and_then(|name| target(&name));
    run(TARGET.get_or_init(|| named().expect("HOLDFAST_FUZZ names a target")), bytes, &COUNTER);
});
