//! The cases of a catalog, in files.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::common_tests::{CASES, Fresh, it_is_as_in_the_model};
use super::{Catalog, Place};
use futures::future::BoxFuture;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// So many seeds; a server takes fewer.
const SEEDS: u64 = 120;

/// Files in a folder.
struct Files(TempDir, AtomicU32);

fn files() -> Files {
    Files(tempfile::tempdir().unwrap(), AtomicU32::new(0))
}

impl Fresh for Files {
    fn catalog(&self) -> BoxFuture<'_, Catalog> {
        let name = format!("{}.db", self.1.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move { Catalog::open(&Place::File(self.0.path().join(name))).await.unwrap() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cases_hold_in_a_file() {
    let files = files();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&files).await;
    }
}

#[tokio::test]
async fn whoever_comes_in_whatever_order_it_is_as_in_the_model() {
    let files = files();
    for seed in 0..SEEDS {
        it_is_as_in_the_model(&files, seed).await;
    }
}
