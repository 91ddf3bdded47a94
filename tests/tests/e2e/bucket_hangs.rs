//! A bucket that is backed up, from a server that does not answer any more, or hardly: the run ends,
//! and says at what. A stretch of many keys is listed in parts.
//!
//! On purpose not here: a repository whose server hangs, which `bucket_trouble` has.

use super::world::World;
use aws_sdk_s3::primitives::ByteStream;
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};

/// A server with a small object and a large one.
fn media() -> Weed {
    let weed = Weed::start();
    let client = weed.client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (name, length) in [("some/film", 20 << 20), ("some/note", 100)] {
        let put = client.put_object().bucket(BUCKET).key(name).body(ByteStream::from(vec![7; length]));
        runtime.block_on(put.send()).unwrap();
    }
    weed
}

/// Decides by the first line of a request whether it is never answered.
type Hangs = fn(&str) -> bool;

#[test]
fn a_source_that_hangs_ends_the_run_with_its_name() {
    let (weed, world) = (media(), World::new());
    let cases: [(&str, Hangs); 4] = [
        ("the listing of s3://backups/some/", |line| line.contains("list-type=2")),
        ("s3://backups/some/note", |line| line.contains("/some/note")),
        ("s3://backups/some/film", |line| line.contains("/some/film")),
        // The first part comes, and what follows does not.
        ("s3://backups/some/film", {
            static SEEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            |line| {
                line.contains("/some/film?x-id=GetObject")
                    && SEEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0
            }
        }),
    ];
    for (name, hangs) in cases {
        let proxy =
            Proxy::start(&weed.endpoint(), move |line| if hangs(line) { Fate::Hang } else { Fate::Pass });
        let url = format!("s3://{BUCKET}/some?endpoint={}", proxy.endpoint());
        let ran = world.run(&[&"backup", &url, &"--stuck-timeout", &"1s"]).ends(1);
        ran.says(&[name, "did not answer for 1.00 s", "--stuck-timeout"]);
    }
    assert!(world.run(&[&"snapshots", &"--json"]).ends(0).out.is_empty());
    world.run(&[&"backup", &weed.url("some")]).ends(0);
}
