//! A bucket of a real server keeps the contract of a store.
//!
//! On purpose not here: the program on top of it, which `e2e` runs.

use holdfast_store::contract::{self, Order};
use holdfast_store::{ByteRange, ErrorKind, Key, ObjectStore};
use holdfast_store_s3::{Keys, Network, S3Store, probe};
use holdfast_tests::weed::Weed;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_the_contract() {
    let weed = tokio::task::spawn_blocking(Weed::start).await.expect("a server");
    let store = S3Store::new(&weed.address("below/it"), Some(Weed::keys()), &Network::default()).await;
    probe(&store, 1).await.expect("a server that keeps its word");
    assert_eq!(store.list("", None, usize::MAX).await.expect("a listing"), [], "the probe leaves nothing");
    contract::check_listing_by(Arc::new(store), Order::Folders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let weed = tokio::task::spawn_blocking(Weed::start).await.expect("a server");
    let key = Key::new("a/b").expect("a key");
    let wrong = Keys { secret: "wrong".to_owned().into(), ..Weed::keys() };
    let store = S3Store::new(&weed.address("x"), Some(wrong), &Network::default()).await;
    let error = store.get(&key, ByteRange::All).await.expect_err("a wrong key");
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    assert!(error.subject.contains("s3://backups/x/a/b"), "{error:?}");
    let store = S3Store::new(&weed.address("x"), Some(Weed::keys()), &Network::default()).await;
    let error = store.get(&key, ByteRange::All).await.expect_err("nothing is there");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    let mut nowhere = weed.address("x");
    nowhere.bucket = "nowhere".into();
    let store = S3Store::new(&nowhere, Some(Weed::keys()), &Network::default()).await;
    let error = store.list("", None, 1).await.expect_err("no bucket");
    assert_eq!(error.kind, ErrorKind::Unusable, "{error:?}");
}
