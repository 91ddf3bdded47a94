//! Streams from a server made of messages into an archive made of a map.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::chain::legs;
use super::course::{Course, Ended, Way};
use super::keeper::{Archive, Keeper};
use super::segment::Seen;
use super::shelf::Shelf;
use super::slot::{Watch, Watched};
use super::*;
use holdfast_core::entry::Time;
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::error::{Error, ErrorKind};
use holdfast_engine::wal::SegmentName;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const MIB: u64 = 1 << 20;
const SYSTEM: u64 = 7;
/// Where the second timeline begins: what lies before it is durable on the first.
const BEGIN: u64 = 0x48_0000;

/// An archive that can be away for some calls.
#[derive(Clone, Default)]
struct Memory {
    objects: Arc<Mutex<BTreeMap<WalName, Bytes>>>,
    away: Arc<AtomicU32>,
}

impl Memory {
    fn listed(&self) -> Vec<(String, Option<u32>, usize)> {
        let objects = self.objects.lock().unwrap();
        objects.iter().map(|(name, bytes)| (name.file.clone(), name.piece, bytes.len())).collect()
    }

    fn get(&self, file: &str, piece: Option<u32>) -> Bytes {
        let objects = self.objects.lock().unwrap();
        objects.iter().find(|(name, _)| name.file == file && name.piece == piece).unwrap().1.clone()
    }

    fn is_away(&self) -> Result<(), Error> {
        let fewer = |left: u32| left.checked_sub(1);
        match self.away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer) {
            Ok(_) => Err(Error::new(ErrorKind::Store, "away")),
            Err(_) => Ok(()),
        }
    }
}

impl Archive for Memory {
    async fn names(&self, timeline: Timeline) -> Result<Vec<WalName>, Error> {
        let objects = self.objects.lock().unwrap();
        Ok(objects.keys().filter(|name| name.timeline == timeline).cloned().collect())
    }

    async fn timelines(&self, _system: Option<u64>) -> Result<Vec<Timeline>, Error> {
        Ok(self.objects.lock().unwrap().keys().map(|name| name.timeline).collect())
    }

    async fn put(&self, name: &WalName, content: Bytes) -> Result<Stored, Error> {
        self.is_away()?;
        let mut objects = self.objects.lock().unwrap();
        Ok(match objects.get(name) {
            Some(found) if *found == content => Stored::Same,
            Some(_) => Stored::Other,
            None => {
                objects.insert(name.clone(), content);
                Stored::New
            }
        })
    }

    async fn glance(&self, name: &WalName) -> Result<Option<Seen>, Error> {
        let objects = self.objects.lock().unwrap();
        Ok(objects
            .get(name)
            .map(|found| Seen { content: *blake3::hash(found).as_bytes(), bytes: found.len() as u64 }))
    }

    fn identify(&self, content: &[u8]) -> Result<[u8; 32], Error> {
        Ok(*blake3::hash(content).as_bytes())
    }
}

/// A log whose segments begin as those of a server do.
fn log(system: u64, timeline: u32, from: u64, to: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (from..to).map(|at| (at * 31 % 253) as u8).collect();
    for start in (from..to).filter(|at| at % MIB == 0) {
        let header = [
            &0xD110_u16.to_le_bytes()[..],
            &2_u16.to_le_bytes(),
            &timeline.to_le_bytes(),
            &start.to_le_bytes(),
            &[0; 8],
            &system.to_le_bytes(),
            &(MIB as u32).to_le_bytes(),
            &8192_u32.to_le_bytes(),
        ]
        .concat();
        let at = (start - from) as usize;
        let length = header.len().min(bytes.len() - at);
        bytes[at..at + length].copy_from_slice(&header[..length]);
    }
    bytes
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// The log between two places, in messages that keep to no boundary.
fn flow(system: u64, timeline: u32, from: u64, to: u64) -> Vec<u8> {
    let all = log(system, timeline, from - from % MIB, to);
    let mut out = Vec::new();
    let mut at = from;
    while at < to {
        let end = to.min(at + 100_000);
        let part = &all[(at - (from - from % MIB)) as usize..(end - (from - from % MIB)) as usize];
        let head = [&b"w"[..], &at.to_be_bytes(), &to.to_be_bytes(), &[0; 8]].concat();
        out.extend(message(b'd', &[&head[..], part].concat()));
        at = end;
    }
    out
}

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Time {
        Time { seconds: 1_800_000_000, nanos: 0 }
    }
}

/// What a stream is told to do, and what there is.
struct Bench {
    archive: Memory,
    legs: Vec<Leg>,
    leg: usize,
    from: u64,
    until: Option<u64>,
    cancel: Cancel,
    troubles: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new() -> Self {
        let legs = legs(SYSTEM, 2, b"1\t0/480000\tx\n", &[Vec::new()]).unwrap();
        let (archive, cancel, troubles) = (Memory::default(), Cancel::default(), Arc::default());
        Self { archive, legs, leg: 0, from: 2 * MIB, until: None, cancel, troubles }
    }

    /// Streams from what says `serve`; how it ended, and up to where all is durable.
    async fn run<F: Future<Output = ()> + Send + 'static>(
        &self,
        serve: impl FnOnce(DuplexStream) -> F,
    ) -> (Result<Ended, StreamError>, u64) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let server = tokio::spawn(serve(theirs));
        let troubles = Arc::clone(&self.troubles);
        let tell: Tell = Arc::new(move |event| {
            if let StreamEvent::Trouble(what) = event {
                troubles.lock().unwrap().push(what.clone());
            }
        });
        let keeper = Keeper { archive: self.archive.clone(), cancel: self.cancel.clone(), tell };
        let leg = &self.legs[self.leg];
        let listed = Archive::names(&keeper.archive, leg.timeline).await.unwrap();
        let mut shelf = Shelf::new(leg.timeline.number, MIB, listed);
        let mut tally = Streamed::default();
        let way = Way {
            leg,
            system: SYSTEM,
            segment_bytes: MIB,
            until: self.until.map(Lsn),
            commit_every: Duration::from_millis(20),
            limit: None,
            clock: Arc::new(StoppedClock),
        };
        let from = Lsn(self.from);
        let mut course = Course::new(way, &keeper, &mut shelf, &mut tally, from, from.max(leg.begin));
        let mut connection = Connection::over(ours);
        let server_of = crate::url::parse("postgres://me@localhost", "me").unwrap();
        let mut watch = Watch::start(Watched {
            host: server_of.hosts[0].clone(),
            server: server_of,
            secrets: Secrets::default(),
            system: SYSTEM,
            timeline: 1,
            position: false,
            every: Duration::from_secs(10),
        });
        let ended = course.run(&mut connection, &mut watch).await;
        let durable = course.durable().0;
        drop(connection);
        server.await.unwrap();
        (ended, durable)
    }
}

/// Reads messages until one comes that is wanted.
async fn hear(io: &mut DuplexStream, wanted: impl Fn(u8, &[u8]) -> bool) -> bool {
    loop {
        let mut head = [0; 5];
        if io.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let mut body = vec![0; length];
        io.read_exact(&mut body).await.unwrap();
        if wanted(head[0], &body) {
            return true;
        }
    }
}

/// Whether a message says that everything is durable up to a place.
fn flushed(to: u64) -> impl Fn(u8, &[u8]) -> bool {
    move |tag, body| {
        tag == b'd' && body[0] == b'r' && u64::from_be_bytes(body[9..17].try_into().unwrap()) >= to
    }
}

/// Sends what there is, and hears what comes until the other side goes.
async fn send(mut io: DuplexStream, bytes: Vec<u8>) {
    let (mut reads, mut writes) = tokio::io::split(&mut io);
    let writing = async {
        let _ = writes.write_all(&bytes).await;
    };
    let reading = async {
        let mut sink = vec![0; 1 << 16];
        while reads.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    };
    tokio::join!(writing, reading);
}

fn end_of_timeline(next: &str, at: &str) -> Vec<u8> {
    let value = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let row = [&2_u16.to_be_bytes()[..], &value(next), &value(at)].concat();
    [
        message(b'c', b""),
        message(b'T', &2_u16.to_be_bytes()),
        message(b'D', &row),
        message(b'C', b"START_STREAMING\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

fn file(timeline: u32, number: u64) -> String {
    SegmentName::at(timeline, number * MIB, MIB).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_is_stored_to_its_end_as_what_it_is() {
    let bench = Bench::new();
    let end = 4 * MIB + 0x8_0000;
    let sent = [flow(SYSTEM, 1, 2 * MIB, end), end_of_timeline("2", "0/480000")].concat();
    let (ended, durable) = bench.run(|io| send(io, sent)).await;
    assert_eq!((ended.unwrap(), durable), (Ended::Timeline { next: 2 }, end));
    let names = bench.archive.listed();
    let whole: Vec<_> =
        names.iter().filter(|(_, piece, _)| piece.is_none()).map(|(file, ..)| file.clone()).collect();
    assert_eq!(whole, [file(1, 2), file(1, 3)]);
    assert_eq!(bench.archive.get(&file(1, 3), None), log(SYSTEM, 1, 3 * MIB, 4 * MIB));
    let last: Vec<_> =
        names.iter().filter(|(name, piece, _)| *name == file(1, 4) && piece.is_some()).collect();
    let mut all = Vec::new();
    for (_, piece, _) in last {
        all.extend_from_slice(&bench.archive.get(&file(1, 4), *piece));
    }
    assert_eq!(all, log(SYSTEM, 1, 4 * MIB, end));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_timeline_is_where_its_history_says() {
    let bench = Bench::new();
    for (to, at, next) in
        [(0x45_0000, "0/480000", "2"), (0x48_0000, "0/470000", "2"), (0x48_0000, "0/480000", "1")]
    {
        let sent = [flow(SYSTEM, 1, 2 * MIB, to), end_of_timeline(next, at)].concat();
        let (ended, _) = bench.run(|io| send(io, sent)).await;
        assert!(matches!(ended, Err(StreamError::Server(PgError::Protocol(_)))), "{ended:?}");
    }
    let (ended, durable) = bench.run(|io| send(io, flow(SYSTEM, 1, 2 * MIB, 0x48_0001))).await;
    assert!(ended.unwrap_err().to_string().contains("behind the end of timeline 1"));
    assert!(durable <= 0x48_0000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_goes_on_elsewhere_is_an_end_and_what_came_is_stored() {
    let bench = Bench { leg: 1, from: 4 * MIB, ..Bench::new() };
    let sent = [flow(SYSTEM, 2, 4 * MIB, 5 * MIB), flow(SYSTEM, 2, 5 * MIB + 8, 6 * MIB)].concat();
    let (ended, durable) = bench.run(|io| send(io, sent)).await;
    assert!(ended.unwrap_err().to_string().contains("the log goes on at 0/500008, and 0/500000 was to come"));
    assert_eq!(durable, 5 * MIB);
    assert_eq!(bench.archive.get(&file(2, 4), None), log(SYSTEM, 2, 4 * MIB, 5 * MIB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_another_cluster_is_not_stored() {
    let bench = Bench::new();
    let (ended, _) = bench.run(|io| send(io, flow(8, 1, 2 * MIB, 3 * MIB))).await;
    assert!(ended.unwrap_err().to_string().contains("it is of cluster 8"));
    assert!(bench.archive.listed().is_empty());
    let timeline = [Timeline::new(9, 1, b"")];
    assert!(is_wanted(7, None, &[]).is_ok() && is_wanted(7, Some(7), &[]).is_ok());
    assert!(is_wanted(7, Some(8), &[]).unwrap_err().to_string().contains("8 was to be streamed"));
    assert!(is_wanted(7, None, &timeline).unwrap_err().to_string().contains("but of 9"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_hears_of_what_is_durable_and_of_nothing_else() {
    let bench = Bench { leg: 1, from: 4 * MIB, until: Some(6 * MIB + 100), ..Bench::new() };
    bench.archive.away.store(2, Ordering::Relaxed);
    let archive = bench.archive.clone();
    let serve = |mut io: DuplexStream| async move {
        let (first, rest) = (flow(SYSTEM, 2, 4 * MIB, 5 * MIB), flow(SYSTEM, 2, 5 * MIB, 6 * MIB + 50));
        io.write_all(&first).await.unwrap();
        assert!(hear(&mut io, flushed(5 * MIB)).await);
        assert!(archive.listed().contains(&(file(2, 4), None, MIB as usize)));
        io.write_all(&rest).await.unwrap();
        // Of a segment that is not full what came arrives too.
        assert!(hear(&mut io, flushed(6 * MIB + 50)).await);
        assert_eq!(archive.get(&file(2, 6), Some(0)).len(), 50);
        io.write_all(&flow(SYSTEM, 2, 6 * MIB + 50, 6 * MIB + 100)).await.unwrap();
        assert!(hear(&mut io, flushed(6 * MIB + 100)).await);
        assert!(hear(&mut io, |tag, _| tag == b'c').await);
        io.write_all(&message(b'Z', b"I")).await.unwrap();
    };
    let (ended, durable) = bench.run(serve).await;
    assert_eq!((ended.unwrap(), durable), (Ended::Reached, 6 * MIB + 100));
    assert_eq!(bench.troubles.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_compared_and_not_stored_again() {
    let all = log(SYSTEM, 2, 4 * MIB, 6 * MIB);
    let bench = Bench { leg: 1, from: 4 * MIB, until: Some(5 * MIB + 500), ..Bench::new() };
    let timeline = bench.legs[1].timeline;
    let put = |name: WalName, bytes: &[u8]| {
        bench.archive.objects.lock().unwrap().insert(name, Bytes::copy_from_slice(bytes));
    };
    put(WalName::whole(timeline, file(2, 4)), &all[..MIB as usize]);
    put(WalName::piece(timeline, file(2, 5), 0), &all[MIB as usize..MIB as usize + 300]);
    let (ended, durable) = bench.run(|io| send_and_end(io, flow(SYSTEM, 2, 4 * MIB, 5 * MIB + 500))).await;
    assert_eq!((ended.unwrap(), durable), (Ended::Reached, 5 * MIB + 500));
    assert_eq!(bench.archive.get(&file(2, 5), Some(1)).len(), 200);
    assert_eq!(bench.archive.listed().len(), 3);
    // Another piece, and another segment.
    for (name, length) in
        [(WalName::piece(timeline, file(2, 5), 0), 300), (WalName::whole(timeline, file(2, 4)), MIB)]
    {
        let right = bench.archive.get(&name.file, name.piece);
        put(name.clone(), &vec![9; length as usize]);
        let (ended, _) = bench.run(|io| send_and_end(io, flow(SYSTEM, 2, 4 * MIB, 5 * MIB + 500))).await;
        let error = ended.unwrap_err().to_string();
        assert!(error.contains(&name.file) && error.contains("nothing was overwritten"), "{error}");
        put(name, &right);
    }
}

/// Sends, and ends the stream when the other side does.
async fn send_and_end(mut io: DuplexStream, bytes: Vec<u8>) {
    if io.write_all(&bytes).await.is_ok() && hear(&mut io, |tag, _| tag == b'c').await {
        let _ = io.write_all(&message(b'Z', b"I")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_not_the_end_of_what_came() {
    let bench = Bench { leg: 1, from: 4 * MIB, ..Bench::new() };
    let serve = |mut io: DuplexStream| async move {
        io.write_all(&flow(SYSTEM, 2, 4 * MIB, BEGIN + 700)).await.unwrap();
    };
    let (ended, durable) = bench.run(serve).await;
    assert!(matches!(ended, Err(StreamError::Server(error)) if is_passing(&error)));
    assert_eq!(durable, BEGIN + 700);
    // So it takes leave when it is stopped.
    let serve = |mut io: DuplexStream| async move {
        io.write_all(&message(b'C', b"COPY 0\0")).await.unwrap();
    };
    assert!(matches!(bench.run(serve).await.0, Err(StreamError::Server(error)) if is_passing(&error)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_to_stop_stores_what_came() {
    let bench = Bench { leg: 1, from: 4 * MIB, ..Bench::new() };
    let cancel = bench.cancel.clone();
    let serve = |mut io: DuplexStream| async move {
        io.write_all(&flow(SYSTEM, 2, 4 * MIB, BEGIN + 700)).await.unwrap();
        assert!(hear(&mut io, flushed(BEGIN + 700)).await);
        cancel.raise();
        assert!(hear(&mut io, |tag, _| tag == b'c').await);
        io.write_all(&message(b'Z', b"I")).await.unwrap();
    };
    let (ended, durable) = bench.run(serve).await;
    assert_eq!((ended.unwrap(), durable), (Ended::Stopped, BEGIN + 700));
}

#[test]
fn a_run_goes_on_where_it_was_along_the_way_of_the_server() {
    let legs = legs(SYSTEM, 2, b"1\t0/480000\tx\n", &[Vec::new()]).unwrap();
    let (first, second) = (legs[0].timeline, legs[1].timeline);
    let at = |timeline, at| after(&legs, (timeline, Lsn(at)), MIB).map(|place| (place.leg, place.at.0 / MIB));
    assert_eq!(at(first, 0x31_0000), Some((0, 3)));
    assert_eq!(at(first, 0x48_0000), Some((1, 4)));
    // The old server had written more than was taken over.
    assert_eq!(at(first, 0x71_0000), Some((1, 4)));
    assert_eq!(at(second, 0x71_0000), Some((1, 7)));
    assert_eq!(at(Timeline::new(SYSTEM, 2, b"another"), 0x71_0000), None);
}
