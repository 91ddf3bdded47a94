//! The log's archive without a server: segments that the test makes, and what a server would hear.
//!
//! On purpose not here: real servers, which are in `cluster_wal.rs`.

use super::tree::noise;
use super::world::{Ran, Word, World};
use holdfast_core::crypto::KemCalls;
use holdfast_core::entry::Time;
use holdfast_core::session::Process;
use holdfast_engine::ctx::{Cancel, Clock, Ctx, Entropy};
use holdfast_engine::event::Silent;
use holdfast_engine::wal::{SegmentName, Timeline, WalArchive, WalName};
use holdfast_engine::workers::Workers;
use holdfast_engine::{Repository, Secret};
use holdfast_store::LocalStore;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Length of the segments here.
const LENGTH: usize = 1 << 20;
const SYSTEM: u64 = 7;

/// A folder that looks like that of a cluster.
pub(crate) fn cluster(world: &World, name: &str, system: u64) -> PathBuf {
    let dir = world.path(name);
    fs::create_dir_all(dir.join("global")).unwrap();
    fs::create_dir_all(dir.join("pg_wal/archive_status")).unwrap();
    let control = [&system.to_le_bytes()[..], &1300_u32.to_le_bytes(), &[0; 100]].concat();
    fs::write(dir.join("global/pg_control"), control).unwrap();
    fs::write(dir.join("PG_VERSION"), "15\n").unwrap();
    dir
}

/// A segment of PostgreSQL 15.
fn content(timeline: u32, place: u64, system: u64) -> Vec<u8> {
    let start = ((place >> 32) << 32) | ((place & 0xFFFF_FFFF) * LENGTH as u64);
    let header = [
        &0x0002_D110_u32.to_le_bytes()[..],
        &timeline.to_le_bytes(),
        &start.to_le_bytes(),
        &[0; 8],
        &system.to_le_bytes(),
        &(LENGTH as u32).to_le_bytes(),
        &8192_u32.to_le_bytes(),
    ]
    .concat();
    let mut bytes = noise(place * 100 + u64::from(timeline), LENGTH);
    bytes[..header.len()].copy_from_slice(&header);
    bytes
}

fn name(timeline: u32, place: u64) -> String {
    SegmentName { timeline, place }.to_string()
}

/// Puts a segment into a cluster's folder.
pub(crate) fn segment(cluster: &Path, timeline: u32, place: u64, system: u64) -> PathBuf {
    let path = cluster.join("pg_wal").join(name(timeline, place));
    fs::write(&path, content(timeline, place, system)).unwrap();
    path
}

/// Runs in a cluster's folder, as a server does.
fn run_in(world: &World, cluster: &Path, words: &[Word<'_>]) -> Ran {
    world.run_as(world.command().current_dir(cluster), words)
}

fn push(world: &World, cluster: &Path, file: &str) -> Ran {
    run_in(world, cluster, &[&"wal", &"push", &format!("pg_wal/{file}")])
}

/// Fetches without waiting for long; where it is put.
fn fetch(world: &World, cluster: &Path, file: &str, words: &[&str]) -> Ran {
    let mut all: Vec<Word<'_>> = vec![&"wal", &"fetch", &"--timeout", &"2s"];
    all.extend(words.iter().map(|word| word as Word<'_>));
    all.extend([&file as Word<'_>, &"pg_wal/RECOVERYXLOG"]);
    run_in(world, cluster, &all)
}

fn fetched(cluster: &Path) -> Vec<u8> {
    fs::read(cluster.join("pg_wal/RECOVERYXLOG")).unwrap()
}

struct Now;

impl Clock for Now {
    fn now(&self) -> Time {
        Time { seconds: 1_800_000_000, nanos: 0 }
    }
}

struct Counted(std::sync::atomic::AtomicU8);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
}

/// Stores something as only a program that streams does.
fn put(world: &World, name: &WalName, content: &[u8]) {
    let ctx = Ctx {
        clock: Arc::new(Now),
        entropy: Arc::new(Counted(1.into())),
        kem: KemCalls::system(),
        workers: Workers::inline(),
        monitor: Arc::new(Silent),
        cancel: Cancel::default(),
        process: Process { machine: [1; 16], boot: [2; 16], number: 1, start: 0 },
        is_alive: |_| true,
        cache: None,
        clock_accepted: false,
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let store = Arc::new(LocalStore::open(&world.repo).await.unwrap());
        let secret = Secret::Password(b"correct horse".to_vec());
        let repository = Repository::open(&ctx, store, &secret).await.unwrap();
        WalArchive::new(&ctx, &repository).put(name, content.to_vec()).await.unwrap();
    });
}

#[test]
fn an_archive_that_is_behind_is_as_old_as_what_it_has() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    for place in 1..=50 {
        let path = segment(&data, 1, place, SYSTEM);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(hours_ago(53 - place)).unwrap();
        fs::write(data.join("pg_wal/archive_status").join(format!("{}.ready", name(1, place))), "").unwrap();
    }
    for place in 1..=3 {
        push(&world, &data, &name(1, place)).ends(0);
    }
    let lines = run_in(&world, &data, &[&"wal", &"status", &"--json"]).ends(0).lines();
    let timeline = lines.iter().find(|line| line["message_type"] == "wal_timeline").unwrap();
    let newest: jiff::Timestamp = timeline["newest"].as_str().unwrap().parse().unwrap();
    let stored = timeline["segments"].as_u64().unwrap();
    // What waits beside is taken along, some at a time.
    assert!((3..=40).contains(&stored), "{timeline}");
    let age = jiff::Timestamp::now().duration_since(newest).as_hours();
    let wanted = i64::try_from(53 - stored).unwrap();
    assert!((wanted..=wanted + 1).contains(&age), "{age} h of {stored} segments: {timeline}");
}

#[test]
fn a_segment_is_stored_once_and_comes_back() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    for place in [3, 4, 6] {
        segment(&data, 1, place, SYSTEM);
    }
    push(&world, &data, &name(1, 3)).ends(0);
    push(&world, &data, &name(1, 3)).ends(0);
    fetch(&world, &data, &name(1, 3), &[]).ends(0);
    assert_eq!(fetched(&data), content(1, 3, SYSTEM));
    // The end, which is proved; then a gap, once more comes later.
    fetch(&world, &data, &name(1, 4), &[]).ends(1).says(&["not there", "ends before it"]);
    push(&world, &data, &name(1, 6)).ends(0);
    fetch(&world, &data, &name(1, 4), &[]).ends(126).says(&["gap", &name(1, 6)]);
    fetch(&world, &data, &name(1, 7), &[]).ends(1);
    let ran = run_in(&world, &data, &[&"wal", &"status"]).ends(3);
    assert!(ran.out.contains("2 segments between") && ran.out.contains(&name(1, 6)), "{}", ran.out);
    world.run(&[&"check", &"--read-data"]).ends(0);
    push(&world, &data, &name(1, 4)).ends(0);
    fetch(&world, &data, &name(1, 4), &[]).ends(0);
    // Another content under a name that is taken.
    fs::write(data.join("pg_wal").join(name(1, 3)), {
        let mut other = content(1, 3, SYSTEM);
        other[LENGTH - 1] ^= 1;
        other
    })
    .unwrap();
    push(&world, &data, &name(1, 3)).ends(1).says(&["two copies", "archive_mode = off"]);
    fetch(&world, &data, &name(1, 3), &[]).ends(0);
    assert_eq!(fetched(&data), content(1, 3, SYSTEM));
    let listed = world.run(&[&"wal", &"ls", &"--json"]).ends(0).lines();
    assert_eq!(listed.len(), 3);
    let stats = world.run(&[&"stats", &"--json"]).ends(0).lines();
    assert!(stats.last().unwrap()["wal_bytes"].as_u64().unwrap() > 3 * LENGTH as u64 / 2);
}

#[test]
fn what_is_no_segment_is_not_stored() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    let path = segment(&data, 1, 3, SYSTEM);
    let whole = fs::read(&path).unwrap();
    let before = world.objects();
    let odd: [(Vec<u8>, &str); 4] = [
        (whole[..LENGTH / 2].to_vec(), "bytes"),
        (vec![0; LENGTH], "0000"),
        (content(1, 4, SYSTEM), &name(1, 4)),
        (Vec::new(), "shorter"),
    ];
    for (bytes, says) in odd {
        fs::write(&path, bytes).unwrap();
        push(&world, &data, &name(1, 3)).ends(1).says(&["not the segment", says]);
    }
    fs::remove_file(&path).unwrap();
    push(&world, &data, &name(1, 3)).ends(1).says(&["cannot read"]);
    push(&world, &data, "postgresql.conf").ends(2).says(&["no name of a file of a log"]);
    assert_eq!(world.objects(), before);
    // Nothing says whose history it is.
    let bare = world.path("bare");
    fs::create_dir(&bare).unwrap();
    fs::write(bare.join("00000002.history"), "1\t0/300000\tx\n").unwrap();
    world.run(&[&"wal", &"push", &bare.join("00000002.history")]).ends(2).says(&["which cluster"]);
}

#[test]
fn what_waits_is_stored_in_the_same_run() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    for place in 1..=6 {
        segment(&data, 1, place, SYSTEM);
        fs::write(data.join(format!("pg_wal/archive_status/{}.ready", name(1, place))), "").unwrap();
    }
    push(&world, &data, &name(1, 1)).ends(0);
    let stored = world.run(&[&"wal", &"ls", &"--json"]).ends(0).lines();
    assert_eq!(stored.len(), 6);
    // Its turn comes: no key is needed to see that it is there.
    let mut command = world.command();
    command.current_dir(&data).env("HOLDFAST_PASSWORD", "wrong");
    let path = format!("pg_wal/{}", name(1, 2));
    world.run_as(&mut command, &[&"wal", &"push", &path, &"--json"]).ends(0);
    // Once only, and not for another content.
    let mut command = world.command();
    command.current_dir(&data).env("HOLDFAST_PASSWORD", "wrong");
    world.run_as(&mut command, &[&"wal", &"push", &path]).ends(12);
    let mut other = content(1, 3, SYSTEM);
    other[LENGTH / 2] ^= 1;
    fs::write(data.join("pg_wal").join(name(1, 3)), other).unwrap();
    push(&world, &data, &name(1, 3)).ends(1).says(&["two copies"]);
    // A note does not stand for an object that is gone.
    let gone = world.objects().into_iter().find(|object| object.ends_with(&name(1, 4))).unwrap();
    fs::remove_file(world.repo.join(&gone)).unwrap();
    push(&world, &data, &name(1, 4)).ends(0);
    assert!(world.objects().contains(&gone));
}

#[test]
fn a_server_that_recovers_hears_one_or_an_error() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    segment(&data, 1, 3, SYSTEM);
    push(&world, &data, &name(1, 3)).ends(0);
    let file = name(1, 3);
    let to = "pg_wal/RECOVERYXLOG";
    let words: [&[&str]; 12] = [
        &["wal", "fetch", &file],
        &["wal", "fetch", "--no-such-flag", &file, to],
        &["wal", "fetch", "--timeout", "soon", &file, to],
        &["wal", "fetch", "--timeline", "1", &file, to],
        &["wal", "fetch", "--timeline", "00000001-0123456789abcdef", &file, to],
        &["wal", "fetch", "nonsense", to],
        &["wal", "fetch", &file, "no/such/folder/x"],
        &["wal", "fecth", &file, to],
        &["wla", "fetch", &file, to],
        &["wal", "fetch", "-r", "nowhere", &file, to],
        &["wal", "fetch", "-r", "sftp://host/x", &file, to],
        &["wal", "fetch", "--key-file", "no-such-file", &file, to],
    ];
    for words in words {
        let words: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
        run_in(&world, &data, &words).ends(126);
        let json: Vec<Word<'_>> = [&[&"--json" as Word<'_>], &words[..]].concat();
        let told = run_in(&world, &data, &json).ends(126).told();
        assert_eq!(told.last().unwrap()["code"], 126);
    }
    let with = |variable: &str, value: &str, words: &[&str]| {
        let mut command = world.command();
        command.current_dir(&data).env(variable, value);
        let words: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
        world.run_as(&mut command, &words)
    };
    with("HOLDFAST_PASSWORD", "wrong", &["wal", "fetch", &file, to]).ends(126).says(&["password"]);
    with("HOLDFAST_KEY_FILE", "/nowhere", &["wal", "fetch", &file, to]).ends(126);
    // Elsewhere nothing says which cluster it is for.
    world.run(&[&"wal", &"fetch", &file, &"x"]).ends(126).says(&["--system"]);
    let other = cluster(&world, "other", 8);
    fetch(&world, &other, &file, &[]).ends(1);
    // One that stands by waits while nothing can be reached, and hears what is wrong with it.
    with("HOLDFAST_REPOSITORY", "/nowhere", &["wal", "fetch", "--standby", &file, to]).ends(1);
    with("HOLDFAST_REPOSITORY", "/nowhere", &["wal", "fetch", &file, to]).ends(126);
    with("HOLDFAST_PASSWORD", "wrong", &["wal", "fetch", "--standby", &file, to]).ends(126);
    with("HOLDFAST_REPOSITORY", "/nowhere", &["wal", "fetch", "--standby", "--x", &file, to]).ends(126);
    // An object that is damaged is no end.
    let object = world.objects().into_iter().find(|object| object.ends_with(&file)).unwrap();
    let mut bytes = fs::read(world.repo.join(&object)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(world.repo.join(&object), bytes).unwrap();
    fetch(&world, &data, &file, &[]).ends(126).says(&[&file]);
}

#[test]
fn timelines_of_one_number_are_told_apart() {
    let world = World::new();
    let (left, right) = (cluster(&world, "left", SYSTEM), cluster(&world, "right", SYSTEM));
    segment(&left, 1, 3, SYSTEM);
    push(&world, &left, &name(1, 3)).ends(0);
    let histories = ["1\t0/380000\tleft\n", "1\t0/390000\tright\n"];
    for (data, history) in [(&left, histories[0]), (&right, histories[1])] {
        fs::write(data.join("pg_wal/00000002.history"), history).unwrap();
        segment(data, 2, 3, SYSTEM);
        push(&world, data, "00000002.history").ends(0);
        push(&world, data, &name(2, 3)).ends(0);
    }
    let third = format!("{}2\t0/400000\tx\n", histories[1]);
    fs::write(right.join("pg_wal/00000003.history"), &third).unwrap();
    push(&world, &right, "00000003.history").ends(0);
    let names = histories.map(|history| Timeline::new(SYSTEM, 2, history.as_bytes()).to_string());
    let line = Timeline::new(SYSTEM, 3, third.as_bytes()).to_string();
    let fresh = cluster(&world, "fresh", SYSTEM);
    for file in ["00000002.history".to_owned(), name(2, 3)] {
        fetch(&world, &fresh, &file, &[]).ends(126).says(&[&names[0], &names[1], "--timeline"]);
    }
    for (name, history) in names.iter().zip(histories) {
        fetch(&world, &fresh, "00000002.history", &["--timeline", name]).ends(0);
        assert_eq!(fetched(&fresh), history.as_bytes());
    }
    // Along the third only one of them lies.
    fetch(&world, &fresh, "00000002.history", &["--timeline", &line]).ends(0);
    assert_eq!(fetched(&fresh), histories[1].as_bytes());
    fetch(&world, &fresh, "00000003.history", &["--timeline", &names[0]]).ends(1);
    fetch(&world, &fresh, "00000003.history", &["--timeline", &names[1]]).ends(0);
    fetch(&world, &fresh, "00000004.history", &[]).ends(1);
    // A server on one of them knows which.
    fetch(&world, &left, &name(2, 3), &[]).ends(0);
    fs::write(fresh.join("pg_wal/00000002.history"), "1\t0/3A0000\tthird\n").unwrap();
    fetch(&world, &fresh, &name(2, 3), &[]).ends(126).says(&["another copy"]);
    // Without the history beside it nobody knows which one a segment is of.
    segment(&fresh, 2, 4, SYSTEM);
    fs::remove_file(fresh.join("pg_wal/00000002.history")).unwrap();
    push(&world, &fresh, &name(2, 4)).ends(1).says(&["which timeline", &names[0]]);
    let ran = run_in(&world, &fresh, &[&"wal", &"status"]).ends(0);
    assert!(ran.out.contains("copies were promoted"), "{}", ran.out);
}

#[test]
fn the_front_of_a_segment_is_given_only_where_the_log_ends() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    let first = Timeline::new(SYSTEM, 1, b"");
    let piece = |place, number, content: &[u8]| {
        put(&world, &WalName::piece(first, name(1, place), number), content);
    };
    let (two, three) = (content(1, 2, SYSTEM), content(1, 3, SYSTEM));
    // Two pieces that are all of it.
    piece(2, 0, &two[..1000]);
    piece(2, 1, &two[1000..]);
    fetch(&world, &data, &name(1, 2), &[]).ends(0);
    assert_eq!(fetched(&data), two);
    piece(3, 0, &three[..300_000]);
    let ran = fetch(&world, &data, &name(1, 3), &["--json"]).ends(0).lines();
    assert_eq!(ran[0]["filled_bytes"], LENGTH as u64 - 300_000);
    let padded = [&three[..300_000], &vec![0; LENGTH - 300_000]].concat();
    assert_eq!(fetched(&data), padded);
    // A later timeline begins within it, or behind it: its end is not the end.
    for (at, code) in [("0/2F0000", 0), ("0/310000", 126), ("0/500000", 126)] {
        let history = format!("1\t{at}\tx\n");
        let second = Timeline::new(SYSTEM, 2, history.as_bytes());
        put(&world, &WalName::whole(second, "00000002.history"), history.as_bytes());
        fetch(&world, &data, &name(1, 3), &[]).ends(code);
        fetch(&world, &data, &name(1, 3), &["--timeline", &first.to_string()]).ends(0);
        let object = world.objects().into_iter().find(|object| object.ends_with(".history")).unwrap();
        fs::remove_file(world.repo.join(object)).unwrap();
    }
    // A piece is missing; then log that is behind it.
    piece(3, 2, &three[400_000..]);
    fetch(&world, &data, &name(1, 3), &[]).ends(126).says(&["gap"]);
    piece(3, 1, &three[300_000..400_000]);
    fetch(&world, &data, &name(1, 3), &[]).ends(0);
    assert_eq!(fetched(&data), three);
    let four = content(1, 4, SYSTEM);
    piece(4, 0, &four[..9000]);
    piece(5, 0, &content(1, 5, SYSTEM)[..9000]);
    fetch(&world, &data, &name(1, 4), &[]).ends(126).says(&["gap", &name(1, 5)]);
}

#[test]
fn a_password_that_costs_much_is_refused() {
    let world = World::bare();
    world.run(&[&"init"]).ends(0);
    let data = cluster(&world, "data", SYSTEM);
    segment(&data, 1, 3, SYSTEM);
    let says = "use a key file; a passphrase would cost 64 MiB and a second per segment";
    push(&world, &data, &name(1, 3)).ends(2).says(&[says, "key add"]);
    let key = world.path("key");
    fs::write(&key, [7; 64]).unwrap();
    world.run(&[&"key", &"add", &"--new-key-file", &key]).ends(0);
    run_in(&world, &data, &[&"--key-file", &key, &"wal", &"push", &format!("pg_wal/{}", name(1, 3))]).ends(0);
}

#[test]
fn segments_are_fetched_ahead_and_held_against_their_hash() {
    let world = World::new();
    let data = cluster(&world, "data", SYSTEM);
    for place in 1..=5 {
        segment(&data, 1, place, SYSTEM);
        push(&world, &data, &name(1, place)).ends(0);
    }
    fetch(&world, &data, &name(1, 1), &[]).ends(0);
    let ahead = || -> Vec<PathBuf> {
        let dirs = fs::read_dir(world.cache.join("wal-fetched")).unwrap();
        let files = dirs.flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap());
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    };
    assert_eq!(ahead().len(), 3);
    // One is damaged: it is fetched anew. One is used without the repository.
    let damaged = &ahead()[0];
    let mut bytes = fs::read(damaged).unwrap();
    bytes[LENGTH / 2] ^= 1;
    fs::write(damaged, bytes).unwrap();
    fetch(&world, &data, &name(1, 2), &[]).ends(0);
    assert_eq!(fetched(&data), content(1, 2, SYSTEM));
    let hidden = world.path("hidden");
    fs::rename(&world.repo, &hidden).unwrap();
    fetch(&world, &data, &name(1, 3), &[]).ends(0);
    assert_eq!(fetched(&data), content(1, 3, SYSTEM));
    fetch(&world, &data, &name(1, 3), &[]).ends(126);
    fs::rename(&hidden, &world.repo).unwrap();
    for place in [3, 4, 5] {
        fetch(&world, &data, &name(1, place), &["--no-cache"]).ends(0);
        assert_eq!(fetched(&data), content(1, place, SYSTEM));
    }
    fetch(&world, &data, &name(1, 6), &[]).ends(1);
}

#[test]
fn log_that_is_over_its_time_goes_by_a_prune_that_says_so() {
    let world = World::new();
    let cluster = cluster(&world, "cluster", SYSTEM);
    for place in [1, 2] {
        segment(&cluster, 1, place, SYSTEM);
        push(&world, &cluster, &name(1, place)).ends(0);
    }
    let freed = |words: &[Word<'_>]| {
        let all = [words, &[&"--json" as Word<'_>]].concat();
        let line = world.run(&all).ends(0).lines().pop().unwrap();
        line["wal_freed_files"].as_u64().unwrap()
    };
    // Nothing goes without a word, and nothing that is young.
    assert_eq!(freed(&[&"prune"]), 0);
    assert_eq!(freed(&[&"prune", &"--wal-delete-after", &"400d", &"--wal-source", &"shop/db"]), 0);
    let soon = world.run(&[&"prune", &"--wal-delete-after", &"13d"]).ends(0);
    soon.says(&["log of 7", "2 segments reach their deadline", "after that no log"]);
    assert_eq!(freed(&[&"prune", &"--dry-run", &"--wal-delete-after", &"0h"]), 2);
    world.run(&[&"prune", &"--wal-source", &"shop/db"]).ends(2);
    // Whose it is is known by names of sources alone.
    assert_eq!(freed(&[&"forget", &"--delete-after", &"0h", &"--prune", &"--host", &"web1"]), 0);
    assert_eq!(freed(&[&"forget", &"--delete-after", &"0h", &"--prune"]), 2);
    assert_ne!(fetch(&world, &cluster, &name(1, 1), &[]).code, 0);
    world.check();
}
