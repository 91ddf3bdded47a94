//! Measures; run by hand, in release, with a tree that is in the cache:
//! `HOLDFAST_WALK=/usr cargo test --release -p holdfast-source-files -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use holdfast_core::entry::{Attributes, Content, Entry, Kind, Owner, Time};
use holdfast_engine::source::{SMALL_FILE_BYTES_MAX, Source};
use holdfast_engine::target::Target;
use holdfast_source_files::{FileSource, FileSourceOptions, FileTarget, FileTargetOptions};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::sync::Arc;
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

#[test]
#[ignore = "a measurement"]
fn restore_small_files() {
    let top = tempfile::tempdir_in(std::env::var("HOLDFAST_RESTORE").unwrap_or("/tmp".to_owned())).unwrap();
    let owner = Arc::new(Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Owner::default()
    });
    let entry = |key: String, kind| Entry {
        key: key.into_bytes(),
        kind,
        mode: if kind == Kind::File { 0o644 } else { 0o755 },
        owner: Arc::clone(&owner),
        mtime: Time { seconds: 1_000_000_000, nanos: 1 },
        size: 2048,
        content: Content::None,
        digest: None,
        attributes: Attributes::default(),
    };
    let mut target = FileTarget::create(&top.path().join("t"), FileTargetOptions::default()).unwrap();
    let (began, busy) = (Instant::now(), cpu_seconds());
    for folder in 0..1000 {
        let files = (0..36).map(|file| entry(format!("{folder:04}\0{file:02}"), Kind::File));
        let entries = std::iter::once(entry(format!("{folder:04}"), Kind::Directory)).chain(files);
        let batch = target.prepare(entries.collect()).unwrap();
        for at in 1..37 {
            batch.put(at, &[7; 2048]).unwrap();
        }
        target.complete(batch).unwrap();
    }
    let (took, busy) = (began.elapsed().as_secs_f64(), cpu_seconds() - busy);
    assert_eq!(target.finish().unwrap().problem_count, 0);
    writeln!(std::io::stderr(), "36,000 files restored: {took:.3} s, {busy:.3} s of CPU").unwrap();
}

/// Other work on the machine must not blur the measurement.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
