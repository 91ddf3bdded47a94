//! Measures the walk; run it by hand, in release, with a tree that is in the cache:
//! `HOLDFAST_WALK=/usr cargo test --release -p holdfast-source-files -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use holdfast_core::entry::Kind;
use holdfast_engine::source::{SMALL_FILE_BYTES_MAX, Source};
use holdfast_source_files::{FileSource, FileSourceOptions};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::time::Instant;

#[test]
#[ignore = "a measurement"]
fn walk_and_read() {
    let path = std::env::var("HOLDFAST_WALK").unwrap_or_else(|_| "/usr".to_owned());
    for read in [false, false, false, true, true] {
        let options = FileSourceOptions { paths: vec![path.clone().into()], ..FileSourceOptions::default() };
        let (began, busy) = (Instant::now(), cpu_seconds());
        let mut source = FileSource::new(options).unwrap();
        let (mut items, mut bytes) = (0, 0);
        let mut content = Vec::new();
        while let Some(batch) = source.next_batch().unwrap() {
            items += batch.items.len();
            let readable = |item: &usize| {
                let stat = &batch.items[*item].stat;
                read && (stat.kind != Kind::File || (stat.size <= SMALL_FILE_BYTES_MAX && !stat.sparse))
            };
            for item in (0..batch.items.len()).filter(readable) {
                content.clear();
                let _ = batch.reader.examine(item, &mut content);
                bytes += content.len();
            }
        }
        let (took, busy) = (began.elapsed().as_secs_f64(), cpu_seconds() - busy);
        let rate = items as f64 / busy;
        writeln!(
            std::io::stderr(),
            "read {read}: {items} items, {bytes} bytes, {took:.3} s, {busy:.3} s of CPU, {rate:.0} items a CPU second"
        )
        .unwrap();
    }
}

/// Other work on the machine must not blur the measurement.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
