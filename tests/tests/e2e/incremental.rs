//! The second backup: reads little, stores little, misses nothing, and trusts the cache for nothing.

use super::compare::same;
use super::tree::{noise, ordinary, prose, put, set_time};
use super::world::{Ran, World, count, objects};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// Waits until all that lies there is old enough: what changed in the last minute is rightly read again.
fn let_it_settle() {
    let begun = SystemTime::now();
    while begun.elapsed().is_ok_and(|passed| passed < Duration::from_millis(60_200)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn sizes(root: &Path) -> u64 {
    objects(root).iter().map(|name| fs::metadata(root.join(name)).unwrap().len()).sum()
}

#[test]
fn what_did_not_change_is_not_read() {
    let world = World::new();
    let source = world.path("source");
    ordinary(&source, 300, 1);
    let_it_settle();
    let first = world.backup(&source);
    let second = world.backup(&source);
    assert_eq!((count(&second, "bytes_read"), count(&second, "files_unmodified")), (0, 301), "{second}");
    assert_eq!((&second["tree"], &second["unchanged"]), (&first["tree"], &true.into()));
    assert_eq!(second["parent"], first["snapshot_id"]);
    assert!(count(&second, "data_added") == 0, "{second}");
    // One file, of the same size and with its old time.
    let changed = source.join("folder 1/file 150");
    let time =
        fs::metadata(&changed).unwrap().modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let length = fs::metadata(&changed).unwrap().len();
    put(&changed, prose(99, length as usize));
    set_time(&changed, time.as_secs() as i64, i64::from(time.subsec_nanos()));
    let third = world.backup(&source);
    assert_eq!((count(&third, "files_changed"), count(&third, "bytes_read")), (1, length), "{third}");
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn a_file_rewritten_all_the_time_is_never_stale() {
    let world = World::new();
    let source = world.path("source");
    let (fast, sly, large) = (source.join("fast"), source.join("sly"), source.join("large"));
    for file in [&fast, &sly, &large] {
        put(file, noise(0, 3000));
    }
    put(source.join("quiet"), b"quiet");
    let (stop, backups) = (AtomicBool::new(false), 12);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let content = noise(round, 3000);
                fs::write(&fast, &content).unwrap();
                fs::write(&sly, &content).unwrap();
                set_time(&sly, 1_000_000_000, 0);
                if round % 16 == 0 {
                    fs::write(&large, noise(round, 700_000)).unwrap();
                }
            }
            round
        });
        let mut stored = 0;
        for _ in 0..backups {
            let ran = world.run(&[&"backup", &"--json", &source]);
            assert!([0, 3].contains(&ran.code), "{ran:?}");
            let complaints: Vec<_> = ran.of_type("error");
            assert!(complaints.iter().all(|line| line["kind"] == "torn"), "{complaints:?}");
            stored += u64::from(ran.summary()["snapshot_id"].is_string());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > backups && stored == backups);
    });
    world.backup(&source);
    same(&source, &world.restore(&source, "out"));
    world.check();
}

#[test]
fn a_change_of_one_in_a_hundred_adds_little() {
    let world = World::new();
    let source = world.path("source");
    ordinary(&source, 3000, 1);
    put(source.join("big"), prose(5, 12 << 20));
    let_it_settle();
    world.backup(&source);
    // Thirty files of three thousand; they lie side by side, as what people work on does.
    let mut changed = Vec::new();
    for number in 1210..1240 {
        let content = prose(1_000_000 + number, 200 + (number as usize * 7919) % 12_000);
        put(source.join(format!("folder 12/file {number}")), &content);
        changed.extend(content);
    }
    // And a piece of a large one: the chunk around it, of one MiB more or less, is new.
    let mut big = fs::read(source.join("big")).unwrap();
    big[7 << 20..(7 << 20) + 1000].copy_from_slice(&noise(3, 1000));
    fs::write(source.join("big"), &big).unwrap();
    let chunk = zstd::bulk::compress(&big[7 << 20..8 << 20], 3).unwrap().len() as u64;
    let small = zstd::bulk::compress(&changed, 3).unwrap().len() as u64;
    let before = world.repository_bytes();
    let summary = world.backup(&source);
    let grown = world.repository_bytes() - before;
    println!("small files {small}, one chunk {chunk}, grown by {grown}: {summary}");
    assert_eq!(count(&summary, "files_changed"), 31);
    // Of the large file one or two chunks are touched, each about as large as the piece measured.
    assert!(grown * 2 < (small + 2 * chunk) * 3, "{grown} bytes for {small} and a chunk like {chunk}");
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn renaming_every_file_adds_little() {
    let world = World::new();
    let source = world.path("source");
    ordinary(&source, 2500, 1);
    world.backup(&source);
    for folder in fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.is_dir() {
            for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                fs::rename(
                    &file,
                    folder.join(format!("new {}", file.file_name().unwrap().to_str().unwrap())),
                )
                .unwrap();
            }
            fs::rename(
                &folder,
                source.join(format!("new {}", folder.file_name().unwrap().to_str().unwrap())),
            )
            .unwrap();
        } else {
            fs::rename(&folder, source.join("new large")).unwrap();
        }
    }
    let (before, bytes) = (world.repository_bytes(), sizes(&source));
    let summary = world.backup(&source);
    let grown = world.repository_bytes() - before;
    println!("{bytes} bytes, {before} stored, grown by {grown}: {summary}");
    assert_eq!(count(&summary, "files_new"), 2501);
    assert!(grown * 100 < bytes * 3, "{grown} of {bytes} bytes: {summary}");
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn without_its_cache_it_only_reads_more() {
    let world = World::new();
    let source = world.path("source");
    ordinary(&source, 1500, 1);
    put(source.join("sparse"), noise(8, 100_000));
    let first = world.backup(&source);
    let before = world.repository_bytes();
    let grown = |summary: &Value, before: u64| {
        let grown = world.repository_bytes() - before;
        assert_eq!(summary["tree"], first["tree"]);
        assert!(grown * 100 < before * 3, "{grown} of {before}: {summary}");
    };
    fs::remove_dir_all(&world.cache).unwrap();
    grown(&world.backup(&source), before);
    let before = world.repository_bytes();
    grown(&world.run(&[&"backup", &"--json", &"--no-cache", &source]).ends(0).summary(), before);
    let before = world.repository_bytes();
    grown(&world.run(&[&"backup", &"--json", &"--force", &source]).ends(0).summary(), before);
    same(&source, &world.restore(&source, "out"));
    world.check();
}

#[test]
fn a_broken_cache_is_a_warning() {
    let world = World::new();
    let source = world.path("source");
    ordinary(&source, 50, 1);
    let first = world.backup(&source);
    let expects_warning = |ran: Ran| {
        let ran = ran.ends(0);
        assert!(!ran.of_type("warning").is_empty(), "{ran:?}");
        assert_eq!(ran.summary()["tree"], first["tree"]);
    };
    let broken: [&dyn Fn(Vec<u8>) -> Vec<u8>; 4] = [
        &|_| Vec::new(),
        &|_| b"nonsense".to_vec(),
        &|bytes| bytes[..bytes.len() / 2].to_vec(),
        &|mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        },
    ];
    for (number, damage) in broken.iter().enumerate() {
        for name in objects(&world.cache) {
            let path = world.cache.join(name);
            fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
        }
        expects_warning(world.run(&[&"backup", &"--json", &source]));
        assert!(
            world.run(&[&"backup", &"--json", &source]).ends(0).of_type("warning").is_empty(),
            "{number}"
        );
    }
    // A folder that cannot be made: something else is there.
    put(world.path("taken"), b"");
    let taken = world.path("taken/cache");
    expects_warning(world.run(&[&"--cache-dir", &taken, &"backup", &"--json", &source]));
    world.check();
    same(&source, &world.restore(&source, "out"));
}
