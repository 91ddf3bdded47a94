//! Tests whether a store keeps the contract of [`ObjectStore`], line by line.
//!
//! It works only on names that start with `contract/`, and leaves none of them, so it can also
//! probe a store that is in use. Broken promises end it by a panic that names the promise.
//!
//! On purpose not here: crashes of the machine; those take a machine to crash.

use crate::{ByteRange, ErrorKind, Key, ObjectMeta, ObjectStore, Put};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All names of the suite start with this.
const PREFIX: &str = "contract/";

/// How many puts race for one name.
const RACERS: usize = 24;

/// Length of the largest object of the suite.
const LARGE_BYTES: usize = 20 << 20;

/// Length of the parts in which uploads are written.
const PART_BYTES: usize = 3 << 20;

/// Names that sort differently by directory than by byte, and their like.
const TRICKY: [&str; 14] =
    ["A", "Z/z", "_", "a--/z", "a-b", "a.x", "a/b", "a/b-c", "a/b.d/e", "a/c/d/e", "a0", "aa/x", "a_/1", "b"];

/// Starts of names, likely and unlikely, below [`PREFIX`].
const PREFIXES: [&str; 13] =
    ["", "a", "a/", "a/b", "a-", "a--/", "a/c/d/", "Z", "zz", "a//", "../", ".", "a/b/nothing"];

/// In which order a store lists names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By their bytes, as the contract says.
    Bytes,
    /// Folder by folder, as some servers do: the same order wherever no word continues another
    /// one with `-` or `.`, which sort before `/`. No name in a repository does.
    Folders,
}

/// Names that a store which lists folder by folder has elsewhere.
const CONTINUED: [&str; 3] = ["a--/z", "a-b", "a.x"];

/// Tests a store.
///
/// # Panics
/// The store does not keep the contract, or reports an error.
pub async fn check(store: Arc<dyn ObjectStore>) {
    check_listing_by(store, Order::Bytes).await;
}

/// The same, of a store that lists in this order.
///
/// # Panics
/// The store does not keep the contract, or reports an error.
pub async fn check_listing_by(store: Arc<dyn ObjectStore>, order: Order) {
    clear(&*store).await;
    puts_create_once(&*store).await;
    one_of_many_puts_wins(&store).await;
    uploads_appear_at_commit(&*store).await;
    abandoned_uploads_leave_nothing(&*store).await;
    uploads_lose_to_earlier_puts(&*store).await;
    cancelled_puts_leave_nothing_or_all(&*store).await;
    ranges_are_cut_at_the_end(&*store).await;
    large_objects_come_back(&*store).await;
    absent_objects_are_absent(&*store).await;
    clear(&*store).await;
    listings_are_sorted_and_complete(&*store, order).await;
    listings_follow_puts_and_deletes(&*store).await;
    clear(&*store).await;
    foreign_names_are_no_objects(&*store).await;
}

async fn puts_create_once(store: &dyn ObjectStore) {
    for (name, body) in [("put", "first"), ("deep/er/put", "x"), ("empty", "")] {
        let key = key(name);
        assert_eq!(put(store, &key, body).await, Put::Created, "a free name is taken by a put");
        assert_eq!(put(store, &key, "second").await, Put::Exists, "a taken name stays taken");
        assert_eq!(read(store, &key).await, body, "a second put changes nothing");
        let found = store.head(&key).await.expect("head of an object");
        let meta = ObjectMeta { key, size: body.len() as u64 };
        assert_eq!(found, Some(meta), "head tells name and length");
    }
}

async fn one_of_many_puts_wins(store: &Arc<dyn ObjectStore>) {
    for round in 0..4 {
        let key = key(&format!("race/{round}"));
        let racers: Vec<_> = (0..RACERS)
            .map(|number| {
                let (store, key) = (Arc::clone(store), key.clone());
                tokio::spawn(async move { race(&*store, &key, number).await })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            winners.extend(racer.await.expect("a racing put ends"));
        }
        assert_eq!(winners.len(), 1, "of several puts to one name exactly one is `Created`");
        assert_eq!(read(&**store, &key).await, winners[0], "the object holds the winner's bytes");
    }
}

/// Puts by either kind of put; returns the bytes if it won.
async fn race(store: &dyn ObjectStore, key: &Key, number: usize) -> Option<Bytes> {
    let body = Bytes::from(format!("racer {number} ").repeat(100 * (number + 1)));
    let put = if number.is_multiple_of(2) {
        store.put_new(key, body.clone()).await
    } else {
        let mut upload = store.begin(key).await.expect("begin of a racing upload");
        upload.write(body.clone()).await.expect("write of a racing upload");
        upload.commit().await
    };
    let put = put.expect("a put that races ends without error");
    let held = read(store, key).await;
    assert!(held.ends_with(b" ") && held.starts_with(b"racer "), "an object is visible only whole");
    (put == Put::Created).then_some(body)
}

async fn uploads_appear_at_commit(store: &dyn ObjectStore) {
    let key = key("upload/parts");
    let mut upload = store.begin(&key).await.expect("begin");
    for part in ["one ", "", "two ", "three"] {
        upload.write(Bytes::from_static(part.as_bytes())).await.expect("write");
        assert_absent(store, &key, "an upload is invisible before its commit").await;
    }
    assert_eq!(upload.commit().await.expect("commit"), Put::Created);
    assert_eq!(read(store, &key).await, "one two three");

    let empty = self::key("upload/empty");
    let upload = store.begin(&empty).await.expect("begin");
    assert_eq!(upload.commit().await.expect("commit of nothing"), Put::Created);
    assert_eq!(read(store, &empty).await, "");
}

async fn abandoned_uploads_leave_nothing(store: &dyn ObjectStore) {
    let key = key("upload/abandoned");
    let unwritten = store.begin(&key).await.expect("begin");
    drop(unwritten);
    let mut upload = store.begin(&key).await.expect("begin");
    upload.write(pattern(PART_BYTES)).await.expect("write");
    drop(upload);
    assert_absent(store, &key, "a dropped upload leaves nothing").await;
    assert_eq!(put(store, &key, "other").await, Put::Created, "a dropped upload frees its name");
}

async fn uploads_lose_to_earlier_puts(store: &dyn ObjectStore) {
    let key = key("upload/late");
    let mut upload = store.begin(&key).await.expect("begin");
    upload.write(Bytes::from_static(b"late")).await.expect("write");
    assert_eq!(put(store, &key, "early").await, Put::Created, "an upload holds no name");
    assert_eq!(upload.commit().await.expect("commit"), Put::Exists, "the earlier put wins");
    assert_eq!(read(store, &key).await, "early");
}

async fn cancelled_puts_leave_nothing_or_all(store: &dyn ObjectStore) {
    for round in 0..8 {
        let key = key(&format!("cancelled/{round}"));
        let body = pattern(100_000);
        poll_once(store.put_new(&key, body.clone())).await;
        // The cancelled put may still end at any time, but only as a whole.
        let put = put(store, &key, "other").await;
        let held = read(store, &key).await;
        match put {
            Put::Created => assert_eq!(held, "other", "an object never changes"),
            Put::Exists => assert_eq!(held, body, "a cancelled put leaves nothing or all"),
        }
    }
    let key = key("cancelled/upload");
    let mut upload = store.begin(&key).await.expect("begin");
    upload.write(Bytes::from_static(b"one")).await.expect("write");
    let ended = poll_once(upload.write(pattern(PART_BYTES))).await;
    match upload.commit().await {
        Ok(_) => assert!(ended, "an upload with a cancelled write must not be stored"),
        Err(_) => assert_absent(store, &key, "a failed commit stores nothing").await,
    }
}

async fn ranges_are_cut_at_the_end(store: &dyn ObjectStore) {
    let key = key("range");
    assert_eq!(put(store, &key, "0123456789").await, Put::Created);
    let cases = [
        (0, 10, "0123456789"),
        (0, 1, "0"),
        (3, 4, "3456"),
        (9, 1, "9"),
        (8, 100, "89"),
        (0, u64::MAX, "0123456789"),
        (5, u64::MAX, "56789"),
        (4, 0, ""),
        (10, 5, ""),
        (11, 5, ""),
        (u64::MAX, 5, ""),
    ];
    for (offset, length, expected) in cases {
        let range = ByteRange::From { offset, length };
        let found = store.get(&key, range).await.expect("get of a range");
        assert_eq!(found, expected, "{length} bytes from {offset} on");
    }
}

async fn large_objects_come_back(store: &dyn ObjectStore) {
    let body = pattern(LARGE_BYTES);
    let (whole, parts) = (key("large/whole"), key("large/parts"));
    assert_eq!(store.put_new(&whole, body.clone()).await.expect("put"), Put::Created);
    let mut upload = store.begin(&parts).await.expect("begin");
    for start in (0..LARGE_BYTES).step_by(PART_BYTES) {
        let part = body.slice(start..LARGE_BYTES.min(start + PART_BYTES));
        upload.write(part).await.expect("write");
    }
    assert_eq!(upload.commit().await.expect("commit"), Put::Created);
    for key in [whole, parts] {
        // Not `assert_eq`: it would print all the bytes.
        assert!(read(store, &key).await == body, "{key} comes back as it was put");
        let offset = LARGE_BYTES as u64 - 7;
        let tail = store.get(&key, ByteRange::From { offset, length: 100 }).await.expect("get");
        assert!(tail == body[LARGE_BYTES - 7..], "the end of {key} comes back");
    }
}

async fn absent_objects_are_absent(store: &dyn ObjectStore) {
    for name in ["absent", "absent/deep/er"] {
        let key = key(name);
        assert_absent(store, &key, "what was never put is not there").await;
        store.delete(&key).await.expect("deleting what is not there is no error");
    }
    let key = key("deleted/twice");
    assert_eq!(put(store, &key, "1").await, Put::Created);
    store.delete(&key).await.expect("delete");
    assert_absent(store, &key, "a deleted object is gone").await;
    store.delete(&key).await.expect("deleting again is no error");
    assert_eq!(put(store, &key, "2").await, Put::Created, "a delete frees the name");
}

async fn listings_are_sorted_and_complete(store: &dyn ObjectStore, order: Order) {
    let mut model = BTreeMap::new();
    let tricky = TRICKY.iter().filter(|name| order == Order::Bytes || !CONTINUED.contains(name));
    for (length, name) in tricky.collect::<Vec<_>>().into_iter().enumerate().rev() {
        assert_eq!(put(store, &key(name), &"x".repeat(length)).await, Put::Created);
        model.insert(key(name), length as u64);
    }
    // Also names that are not there and such as sort before and after all others.
    let others = ["0", "a", "a-", "a/c", "a/zz", "zzz"].into_iter();
    // A name that continues a folder's name has another place where folders are listed.
    let others = others.filter(|name| order == Order::Bytes || *name != "a-").map(key);
    let afters: Vec<_> = model.keys().cloned().chain(others).map(Some).chain([None]).collect();
    for prefix in PREFIXES {
        let prefix = format!("{PREFIX}{prefix}");
        for after in &afters {
            let matches: Vec<_> = model
                .iter()
                .filter(|(key, _)| key.as_str().starts_with(&prefix))
                .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
                .map(|(key, size)| ObjectMeta { key: key.clone(), size: *size })
                .collect();
            for limit in [0, 1, 3, usize::MAX] {
                let found = store.list(&prefix, after.as_ref(), limit).await.expect("list");
                let expected = &matches[..limit.min(matches.len())];
                assert_eq!(found, expected, "list `{prefix}` after {after:?}, limit {limit}");
            }
        }
    }
    let found = store.list("", None, usize::MAX).await.expect("list of all");
    assert!(found.is_sorted_by(|a, b| a.key < b.key), "a listing of all is sorted");
    let ours = found.iter().filter(|meta| model.contains_key(&meta.key)).count();
    assert_eq!(ours, model.len(), "a listing of all is complete");
    for size in [1, 2, 5] {
        let mut pages = Vec::new();
        let last = |pages: &Vec<ObjectMeta>| pages.last().map(|meta| meta.key.clone());
        loop {
            let page = store.list(PREFIX, last(&pages).as_ref(), size).await.expect("a page");
            let complete = page.len() < size;
            pages.extend(page);
            if complete {
                break;
            }
        }
        let keys: Vec<_> = pages.iter().map(|meta| &meta.key).collect();
        assert_eq!(keys, Vec::from_iter(model.keys()), "pages of {size} make the whole list");
    }
}

async fn listings_follow_puts_and_deletes(store: &dyn ObjectStore) {
    let prefix = format!("{PREFIX}follow/");
    for round in 0..3 {
        for number in 0..5 {
            let key = key(&format!("follow/{number}/{number}"));
            assert_eq!(put(store, &key, "1").await, Put::Created, "round {round}");
            let found = store.list(&prefix, None, usize::MAX).await.expect("list");
            assert_eq!(found.len(), number + 1, "a listing holds what was put before it");
        }
        for number in 0..5 {
            let key = key(&format!("follow/{number}/{number}"));
            store.delete(&key).await.expect("delete");
            let found = store.list(&prefix, None, usize::MAX).await.expect("list");
            assert_eq!(found.len(), 4 - number, "a listing holds nothing deleted before it");
        }
    }
}

async fn foreign_names_are_no_objects(store: &dyn ObjectStore) {
    for name in store.foreign().await.expect("foreign") {
        assert!(!name.starts_with(PREFIX), "the suite put no foreign `{name}`");
    }
}

async fn clear(store: &dyn ObjectStore) {
    for meta in store.list(PREFIX, None, usize::MAX).await.expect("list") {
        store.delete(&meta.key).await.expect("delete");
    }
    let left = store.list(PREFIX, None, usize::MAX).await.expect("list");
    assert_eq!(left, [], "nothing is left after all was deleted");
}

fn key(name: &str) -> Key {
    Key::new(format!("{PREFIX}{name}")).expect("the suite's names are valid")
}

async fn put(store: &dyn ObjectStore, key: &Key, body: &str) -> Put {
    store.put_new(key, Bytes::copy_from_slice(body.as_bytes())).await.expect("put")
}

async fn read(store: &dyn ObjectStore, key: &Key) -> Bytes {
    store.get(key, ByteRange::All).await.expect("get")
}

async fn assert_absent(store: &dyn ObjectStore, key: &Key, promise: &str) {
    assert_eq!(store.head(key).await.expect("head"), None, "{promise}");
    let error = store.get(key, ByteRange::All).await.expect_err(promise);
    assert_eq!(error.kind, ErrorKind::NotFound, "{promise}: {error}");
    let listed = store.list(key.as_str(), None, 1).await.expect("list");
    assert!(listed.iter().all(|meta| meta.key != *key), "{promise}");
}

/// Begins a call and gives it up; tells whether it ended at once.
async fn poll_once<T>(call: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = call => true,
        () = std::future::ready(()) => false,
    }
}

/// Bytes in which every place differs from its neighbourhood.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect::<Vec<_>>().into()
}
