//! Ends a run in which something does not answer any more, and says what.
//!
//! Whatever may hang (a call to a file system, a call to the repository) notes itself in a table
//! for as long as it lasts. A call that lasts longer than allowed ends the run with its name and
//! that of its mount. On purpose not here: waking what hangs; nothing can.

use crate::engine::{
    Account, Before, ConsistencyPoint, ContentStream, EntryBatch, Examined, ItemDetails, ItemError,
    ItemReader, Order, Piece, Problems, Prover, ReadStatus, Source, SourceError, SourceIdentity, Stat,
};
use crate::fault::Fault;
use crate::ink::{duration, escape};
use crate::wire_up::{Waiting, Watch, Whereabouts};
use holdfast_core::entry::key_to_path;
use holdfast_core::page::KeySpace;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More calls than this at once are not watched.
const CALLS_MAX: usize = 256;
/// How often the table is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The table of calls that go on.
pub(crate) struct Watchdog {
    limit: Option<Duration>,
    calls: Vec<Mutex<Call>>,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Call {
    began: Option<Instant>,
    what: What,
}

/// What a call is about.
#[derive(Debug, Default)]
enum What {
    /// A file or folder of the source or target, by its path.
    Path(Vec<u8>),
    /// Wherever the walk is.
    Walk(Arc<Whereabouts>),
    /// The repository.
    #[default]
    Repository,
    /// Another repository, by its name.
    Other(Arc<Vec<u8>>),
    /// The listing of a bucket, by its name.
    Listing(Arc<Vec<u8>>),
    /// An object, by the name of its bucket and its key.
    Object(Vec<u8>),
}

/// A call that goes on until this is dropped.
pub(crate) struct Going<'a>(Option<&'a Mutex<Call>>);

impl Drop for Going<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.0 {
            lock(call).began = None;
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Watchdog {
    /// Allows calls to last so long; none if they may last for ever.
    pub(crate) fn new(limit: Option<Duration>) -> Arc<Self> {
        let calls = (0..CALLS_MAX).map(|_| Mutex::default()).collect();
        Arc::new(Self { limit, calls, next: AtomicUsize::new(0) })
    }

    /// Notes a call to the repository.
    pub(crate) fn repository(&self) -> Going<'_> {
        self.enter(|call| call.what = What::Repository)
    }

    /// Notes a call to another repository.
    pub(crate) fn other_repository(&self, name: &Arc<Vec<u8>>) -> Going<'_> {
        self.enter(|call| call.what = What::Other(Arc::clone(name)))
    }

    /// Notes a call about a key of a tree.
    pub(crate) fn key(&self, key: &[u8]) -> Going<'_> {
        self.enter(|call| {
            // The memory of the last path is used again.
            let mut path = reused(call);
            path.push(b'/');
            path.extend_from_slice(key);
            call.what = What::Path(path);
        })
    }

    /// Notes a call about an object of a bucket.
    fn object(&self, bucket: &[u8], key: &[u8]) -> Going<'_> {
        self.enter(|call| {
            let mut name = reused(call);
            name.extend_from_slice(bucket);
            name.extend_from_slice(key);
            call.what = What::Object(name);
        })
    }

    fn list(&self, here: &Here) -> Going<'_> {
        self.enter(|call| {
            call.what = match here {
                Here::Walk(here) => What::Walk(Arc::clone(here)),
                Here::Bucket { name, .. } => What::Listing(Arc::clone(name)),
            };
        })
    }

    fn item(&self, here: &Here, key: &[u8]) -> Going<'_> {
        match here {
            Here::Walk(_) => self.key(key),
            Here::Bucket { top, .. } => self.object(top, key),
        }
    }

    fn enter(&self, note: impl FnOnce(&mut Call)) -> Going<'_> {
        Going(self.place(note).map(|at| &self.calls[at]))
    }

    /// Takes a place in the table; none if nothing is watched, or all are taken.
    fn place(&self, note: impl FnOnce(&mut Call)) -> Option<usize> {
        self.limit?;
        // Each thread mostly finds the same place free again: the numbers go round together.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for step in 0..CALLS_MAX {
            let at = (first + step) % CALLS_MAX;
            if let Ok(mut free) = self.calls[at].try_lock()
                && free.began.is_none()
            {
                note(&mut free);
                free.began = Some(Instant::now());
                return Some(at);
            }
        }
        None
    }

    /// Waits until a call lasts too long, which may be never; says which.
    pub(crate) async fn bark(&self, repository: &[u8]) -> Fault {
        let Some(limit) = self.limit else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK_EVERY.min(limit / 4)).await;
            if let Some(fault) = self.look(limit, repository) {
                return fault;
            }
        }
    }

    fn look(&self, limit: Duration, repository: &[u8]) -> Option<Fault> {
        let overdue = |call: &&Mutex<Call>| lock(call).began.is_some_and(|began| began.elapsed() > limit);
        let call = lock(self.calls.iter().find(overdue)?);
        let (what, path) = match &call.what {
            What::Repository => (format!("the repository {}", escape(repository)), repository.to_vec()),
            What::Other(name) => (format!("the repository {}", escape(name)), name.to_vec()),
            What::Path(path) => (escape(&key_to_path(path)), key_to_path(path)),
            What::Walk(here) => (escape(&here.get()), here.get()),
            What::Listing(name) => (format!("the listing of {}", escape(name)), name.to_vec()),
            What::Object(name) => (escape(name), name.clone()),
        };
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mount = mount_of(&mounts, &path).map(|mount| format!(" (on {mount})")).unwrap_or_default();
        Some(Fault::failed(
            format!("{what}{mount} did not answer for {}: the run is given up", duration(limit)),
            "see whether its disk or server is there, then run the same command again; what is slow and no \
             fault needs a longer --stuck-timeout",
        ))
    }
}

/// The memory of the last name in a place of the table, emptied.
fn reused(call: &mut Call) -> Vec<u8> {
    let mut name = match std::mem::take(&mut call.what) {
        What::Path(name) | What::Object(name) => name,
        What::Walk(_) | What::Repository | What::Other(_) | What::Listing(_) => Vec::new(),
    };
    name.clear();
    name
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mount that a path lies on, by the text of `/proc/self/mountinfo`: where, what kind, of what.
fn mount_of(mounts: &[u8], path: &[u8]) -> Option<String> {
    let mut best: Option<(usize, String)> = None;
    for line in mounts.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let Some(point) = fields.nth(4).map(unescape) else { continue };
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let (Some(kind), Some(source)) = (rest.next(), rest.next().map(unescape)) else { continue };
        let holds =
            Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(std::ffi::OsStr::from_bytes(&point));
        // Of several mounts on one place the last one is seen.
        if holds && best.as_ref().is_none_or(|(length, _)| point.len() >= *length) {
            best = Some((point.len(), format!("{}, {} {}", escape(&point), escape(kind), escape(&source))));
        }
    }
    best.map(|(_, text)| text)
}

/// Blanks and the like stand as octal numbers.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let number = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(number.unwrap_or(byte));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    plain
}

/// The objects of a bucket that is restored to.
#[derive(Debug)]
pub(crate) struct WatchedPlace {
    pub(crate) watchdog: Arc<Watchdog>,
    /// What stands before a name to make it a URL.
    pub(crate) top: Vec<u8>,
}

/// A call about one of them that goes on until this is dropped.
struct GoingThere {
    watchdog: Arc<Watchdog>,
    at: Option<usize>,
}

impl Drop for GoingThere {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            lock(&self.watchdog.calls[at]).began = None;
        }
    }
}

impl Watch for WatchedPlace {
    fn begin(&self, name: &str) -> Waiting {
        let at = self.watchdog.place(|call| {
            let mut whole = reused(call);
            whole.extend_from_slice(&self.top);
            whole.extend_from_slice(name.as_bytes());
            call.what = What::Object(whole);
        });
        Box::new(GoingThere { watchdog: Arc::clone(&self.watchdog), at })
    }
}

/// Where the items of a source lie.
#[derive(Debug, Clone)]
pub(crate) enum Here {
    /// In a file system; the walk says where it is.
    Walk(Arc<Whereabouts>),
    /// In a bucket.
    Bucket {
        /// What is listed.
        name: Arc<Vec<u8>>,
        /// What stands before a key to make it the name of an object.
        top: Arc<Vec<u8>>,
    },
}

/// A source whose calls are watched. What a source does in the background is seen as well: whoever
/// needs it waits for it in one of these calls.
pub(crate) struct WatchedSource {
    pub(crate) source: Box<dyn Source>,
    pub(crate) here: Here,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl Source for WatchedSource {
    fn identity(&self) -> &SourceIdentity {
        self.source.identity()
    }

    fn order(&self) -> Order {
        self.source.order()
    }

    fn key_space(&self) -> KeySpace {
        self.source.key_space()
    }

    fn unsettled_seconds(&self) -> i64 {
        self.source.unsettled_seconds()
    }

    fn prover(&self) -> Option<Prover> {
        self.source.prover()
    }

    fn landmarks(&self) -> Option<u64> {
        self.source.landmarks()
    }

    fn goes_on(&self) -> bool {
        self.source.goes_on()
    }

    fn go_on(&mut self, before: &Before) {
        self.source.go_on(before);
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        let batch = {
            let _going = self.watchdog.list(&self.here);
            self.source.next_batch()?
        };
        Ok(batch.map(|batch| {
            let places = batch.items.iter().map(|item| item.key.clone()).collect();
            let (keys, watchdog) = (batch.keys.clone(), Arc::clone(&self.watchdog));
            let reader =
                WatchedReader { reader: batch.reader, keys, places, here: self.here.clone(), watchdog };
            EntryBatch { reader: Arc::new(reader), ..batch }
        }))
    }

    fn account(&mut self, account: &Account) -> Problems {
        self.source.account(account)
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        self.source.finish()
    }

    fn again(&self) -> Option<Box<dyn Source>> {
        let (here, watchdog) = (self.here.clone(), Arc::clone(&self.watchdog));
        Some(Box::new(Self { source: self.source.again()?, here, watchdog }))
    }
}

struct WatchedReader {
    reader: Arc<dyn ItemReader>,
    /// Keys of all items, one after the other, and where each is.
    keys: Vec<u8>,
    places: Vec<Range<usize>>,
    here: Here,
    watchdog: Arc<Watchdog>,
}

impl WatchedReader {
    fn key(&self, item: usize) -> &[u8] {
        &self.keys[self.places[item].clone()]
    }

    fn going(&self, item: usize) -> Going<'_> {
        self.watchdog.item(&self.here, self.key(item))
    }
}

impl ItemReader for WatchedReader {
    fn expect(&self, item: usize) {
        self.reader.expect(item);
    }

    fn expect_details(&self, item: usize) {
        self.reader.expect_details(item);
    }

    fn details(&self, item: usize) -> Result<Option<ItemDetails>, ItemError> {
        let _going = self.going(item);
        self.reader.details(item)
    }

    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        let _going = self.going(item);
        self.reader.examine(item, content)
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        let _going = self.going(item);
        let stream = self.reader.open(item)?;
        let (key, here) = (self.key(item).to_vec(), self.here.clone());
        Ok(Box::new(WatchedStream { stream, key, here, watchdog: Arc::clone(&self.watchdog) }))
    }
}

struct WatchedStream {
    stream: Box<dyn ContentStream>,
    key: Vec<u8>,
    here: Here,
    watchdog: Arc<Watchdog>,
}

impl ContentStream for WatchedStream {
    fn opened(&self) -> (&Stat, &ItemDetails) {
        self.stream.opened()
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        let _going = self.watchdog.item(&self.here, &self.key);
        self.stream.read(buffer)
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        let _going = self.watchdog.item(&self.here, &self.key);
        self.stream.finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const MOUNTS: &[u8] = b"\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /mnt/nfs\\040share rw shared:2 master:3 - nfs4 server:/export rw
31 30 0:41 / /mnt/nfs\\040share/inner rw - fuse.sshfs a\\134b rw
32 21 0:42 / /mnt/twice rw - tmpfs under rw
33 32 0:43 / /mnt/twice rw - tmpfs over rw
";

    #[test]
    fn a_mount_is_found_by_its_longest_path() {
        let find = |path: &[u8]| mount_of(MOUNTS, path).unwrap();
        assert_eq!(find(b"/etc/passwd"), "/, ext4 /dev/sda1");
        assert_eq!(find(b"/mnt/nfs share/x"), "/mnt/nfs share, nfs4 server:/export");
        assert_eq!(find(b"/mnt/nfs share/inner/x"), "/mnt/nfs share/inner, fuse.sshfs a\\b");
        assert_eq!(find(b"/mnt/nfs sharex"), "/, ext4 /dev/sda1");
        assert_eq!(find(b"/mnt/twice"), "/mnt/twice, tmpfs over");
        assert_eq!(mount_of(b"garbage\n\n", b"/"), None);
    }

    #[test]
    fn what_lasts_too_long_is_named() {
        let watchdog = Watchdog::new(Some(Duration::ZERO));
        let look = || watchdog.look(Duration::ZERO, b"/repository").map(|fault| fault.what);
        assert_eq!(look(), None);
        let first = watchdog.key(b"mnt\0file");
        std::thread::sleep(Duration::from_millis(1));
        let text = look().unwrap();
        assert!(text.starts_with("/mnt/file (on "), "{text}");
        drop(first);
        assert_eq!(look(), None);
        let object = watchdog.object(b"s3://media/", b"a//b");
        std::thread::sleep(Duration::from_millis(1));
        assert!(look().unwrap().starts_with("s3://media/a//b did not answer"));
        drop(object);
        let place = WatchedPlace { watchdog: Arc::clone(&watchdog), top: b"s3://to/".to_vec() };
        let there = place.begin("x");
        std::thread::sleep(Duration::from_millis(1));
        assert!(look().unwrap().starts_with("s3://to/x did not answer"));
        drop(there);
        let _second = watchdog.repository();
        std::thread::sleep(Duration::from_millis(1));
        assert!(look().unwrap().starts_with("the repository /repository"));
    }

    #[test]
    fn more_calls_than_places_go_on_unwatched() {
        let watchdog = Watchdog::new(Some(Duration::from_secs(600)));
        let calls: Vec<_> = (0..CALLS_MAX + 10).map(|_| watchdog.repository()).collect();
        assert_eq!(calls.iter().filter(|call| call.0.is_none()).count(), 10);
        drop(calls);
        assert!(watchdog.repository().0.is_some());
        assert!(Watchdog::new(None).repository().0.is_none());
    }
}
