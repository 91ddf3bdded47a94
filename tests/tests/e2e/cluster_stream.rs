//! The log of clusters, streamed into the archive beside writes, over kills of either side: what the
//! server's own archiver copied is the measure, byte for byte.
//!
//! `HOLDFAST_WAL_SECONDS=300` kills for five minutes. On purpose not here: the archive's other verbs.

use super::cluster::{fill, restore_alone, start, world};
use super::world::{Leashed, Word, World, number, objects};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SEGMENT: u64 = 16 << 20;

/// Starts to stream, by a slot of its own.
fn stream(world: &World, cluster: &Cluster, slot: &str, more: &[&str]) -> Leashed {
    let url = cluster.url();
    let mut words: Vec<Word<'_>> =
        vec![&"wal", &"stream", &url, &"--slot", &slot, &"--commit-interval", &"1s"];
    words.extend(more.iter().map(|word| word as Word<'_>));
    world.leash(&words)
}

const MAKE: &[&str] = &["--create-slot", "--slot-limit", "100G", "--json"];

fn lsn(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap();
    let half = |text| u64::from_str_radix(text, 16).unwrap();
    half(high) << 32 | half(low)
}

/// How far the slot says that everything is durable; 0 if it does not.
fn durable(cluster: &Cluster, slot: &str) -> u64 {
    let text =
        cluster.sql(&format!("select restart_lsn from pg_replication_slots where slot_name = '{slot}'"));
    if text.is_empty() { 0 } else { lsn(&text) }
}

fn written(cluster: &Cluster) -> u64 {
    lsn(&cluster.sql("select pg_current_wal_flush_lsn()"))
}

/// Waits until all that was written is durable.
fn arrives(cluster: &Cluster, slot: &str, streamer: &mut Leashed) {
    let wanted = written(cluster);
    let came = streamer.wait_for(|| {
        std::thread::sleep(Duration::from_millis(20));
        durable(cluster, slot) >= wanted
    });
    assert!(came, "{:?}", streamer.output());
}

/// Ends a stream as a system does; what came is stored.
fn ends(mut streamer: Leashed) {
    streamer.send(Signal::TERM);
    streamer.ends_alone(&[&"wal", &"stream"]).ends(0);
}

/// A row, and some log around it.
fn write(cluster: &Cluster, round: usize) {
    cluster.sql(&format!(
        "insert into rounds values ({round}); \
         create table if not exists bulk (words text); \
         insert into bulk select repeat(md5(n::text), 20) from generate_series(1, 9000) n"
    ));
}

fn fetched(world: &World, system: &str, name: &str) -> Vec<u8> {
    let path = world.path("fetched");
    let _ = fs::remove_file(&path);
    world.run(&[&"wal", &"fetch", &name, &path, &"--system", &system]).ends(0);
    fs::read(path).unwrap()
}

/// The names of segments that are whole in the archive, of a timeline.
fn whole(world: &World, timeline: u32) -> Vec<String> {
    let head = format!("{timeline:08X}");
    let names = world.objects().into_iter().filter(|name| name.starts_with("wal/"));
    let names = names.map(|name| name.rsplit('/').next().unwrap().to_owned());
    names.filter(|name| name.len() == 24 && name.starts_with(&head)).collect()
}

fn segment(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}{:08X}{:08X}", number / 256, number % 256)
}

/// Everything from the first segment up to a place is there, and is what the server has or had.
fn assert_all_there(world: &World, cluster: &Cluster, copies: &Path, to: u64) {
    let system = cluster.sql("select system_identifier from pg_control_system()");
    let found = whole(world, 1);
    let first = u64::from_str_radix(&found[0][16..], 16).unwrap();
    let wanted: Vec<_> = (first..to / SEGMENT).map(|number| segment(1, number)).collect();
    assert_eq!(found[..wanted.len()], wanted[..]);
    let of_server = |name: &str| {
        let places = [copies.join(name), cluster.data.join("pg_wal").join(name)];
        places.iter().find_map(|path| fs::read(path).ok())
    };
    let mut compared = 0;
    for name in &wanted {
        if let Some(theirs) = of_server(name) {
            assert!(fetched(world, &system, name) == theirs, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 2, "{compared} of {wanted:?}");
    let (last, length) = (segment(1, to / SEGMENT), (to % SEGMENT) as usize);
    if length > 0 {
        assert_eq!(fetched(world, &system, &last)[..length], of_server(&last).unwrap()[..length], "{last}");
    }
}

/// Lets a restored cluster recover from the archive, to its end.
fn recover_from_archive(world: &World, data: &Path) {
    // Called as the server's user.
    let _ = world.as_nobody();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    let command = format!(
        "HOLDFAST_PASSWORD=\"correct horse\" {} -r {} --no-cache wal fetch %f %p",
        world.path("holdfast").display(),
        world.repo.display()
    );
    let settings = data.join("postgresql.auto.conf");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}restore_command = '{command}'\n")).unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
    holdfast_tests::postgres::give_away(data);
}

#[test]
fn a_log_has_no_gap_whoever_is_killed() {
    let seconds = number("HOLDFAST_WAL_SECONDS", 16) as u64 / VERSIONS.len() as u64;
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "archive_mode = on");
        let copies = cluster.folder("copies");
        cluster.stop();
        cluster.set(&format!("archive_command = 'cp %p {}/%f'", copies.display()));
        cluster.start();
        cluster.sql("create table rounds (round int)");
        world.run(&[&"backup", &cluster.url()]).ends(0);
        let mut streamer = stream(&world, &cluster, "kept", MAKE);
        assert!(streamer.wait_for(|| durable(&cluster, "kept") > 0));
        let (begun, mut rounds) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(seconds) || rounds < 4 {
            write(&cluster, rounds);
            match rounds % 4 {
                1 => {
                    streamer.send(Signal::KILL);
                    streamer = stream(&world, &cluster, "kept", &["--json"]);
                }
                3 => {
                    cluster.kill();
                    cluster.start();
                }
                _ => {}
            }
            rounds += 1;
        }
        // The server has nothing to do from here on: the last of it arrives.
        arrives(&cluster, "kept", &mut streamer);
        let to = durable(&cluster, "kept");
        ends(streamer);
        println!("{version:?}: {rounds} rounds, {} segments", to / SEGMENT);
        assert_all_there(&world, &cluster, &copies, to);
        let ours = restore_alone(&world, "ours");
        recover_from_archive(&world, &ours);
        let restored = start(version, &ours);
        assert_eq!(
            restored.sql("select count(*), max(round) from rounds"),
            format!("{rounds}|{}", rounds - 1)
        );
        world.check();
        // What lies there in pieces alone is no segment where later log is there.
        let (objects, all) = (world.objects(), whole(&world, 1));
        let pieces = |name: &&String| {
            objects.iter().any(|object| object.starts_with("wal/") && object.contains(&format!("/{name}.")))
        };
        let torn = all[..all.len() - 1].iter().find(pieces).unwrap();
        world.run(&[&"wal", &"status"]).ends(0);
        let object = objects.iter().find(|object| object.ends_with(torn.as_str())).unwrap();
        fs::remove_file(world.repo.join(object)).unwrap();
        world.run(&[&"wal", &"status"]).ends(3).says(&["pieces are missing of", torn]);
    }
}

#[test]
fn a_standby_that_is_promoted_is_followed_along_its_timelines() {
    for version in VERSIONS {
        let world = world();
        let cluster = Cluster::new(version, "");
        fill(&cluster);
        cluster.sql("create table rounds (round int)");
        let data = cluster.folder("standby");
        cluster.tool("pg_basebackup", &[&"-D", &data, &"-R", &"-c", &"fast"]);
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let standby = start(version, &data);
        let mut streamer = stream(&world, &standby, "kept", MAKE);
        assert!(streamer.wait_for(|| durable(&standby, "kept") > 0));
        write(&cluster, 1);
        write(&cluster, 2);
        let before = written(&cluster);
        while lsn(&standby.sql("select pg_last_wal_replay_lsn()")) < before {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(standby.sql("select pg_promote()"), "t");
        write(&standby, 3);
        arrives(&standby, "kept", &mut streamer);
        write(&standby, 4);
        standby.sql("select pg_switch_wal()");
        standby.sql("insert into rounds values (5)");
        arrives(&standby, "kept", &mut streamer);
        let to = durable(&standby, "kept");
        ends(streamer);
        let names = world.objects();
        let has = |end: &str| names.iter().any(|name| name.ends_with(end));
        assert!(has("/00000002.history"), "{names:?}");
        let history = fs::read_to_string(data.join("pg_wal/00000002.history")).unwrap();
        let left = lsn(history.split_ascii_whitespace().nth(1).unwrap());
        // The segment in which the first ended is stored as what there is of it, and the next has all of it.
        let (old, new) = (segment(1, left / SEGMENT), segment(2, left / SEGMENT));
        assert!(has(&format!("/{old}.0")) && !has(&format!("/{old}")), "{names:?}");
        let system = standby.sql("select system_identifier from pg_control_system()");
        for number in left / SEGMENT..to / SEGMENT {
            let name = segment(2, number);
            assert!(
                fetched(&world, &system, &name) == fs::read(data.join("pg_wal").join(&name)).unwrap(),
                "{name}"
            );
        }
        assert!(has(&format!("/{new}")), "{names:?}");
        // A run that begins anew finds its way along both.
        let words: [Word<'_>; 6] = [&"wal", &"stream", &standby.url(), &"--slot", &"kept", &"--once"];
        world.run(&words).ends(0);
        // So does one whose slot was made on the old timeline: another archive of the same.
        let other = world.path("other");
        world.run(&[&"-r", &other, &"init", &"--kdf-memory", &"1", &"--quiet"]).ends(0);
        let url = standby.url();
        let words: [Word<'_>; 10] =
            [&"-r", &other, &"wal", &"stream", &url, &"--slot", &"kept", &"--once", &"--system", &system];
        world.run(&words).ends(0);
        assert!(objects(&other).iter().any(|name| name.contains("/0000000200")));
    }
}

#[test]
fn a_slot_is_made_watched_and_given_up_in_so_many_words() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "");
        cluster.sql("create table rounds (round int)");
        let url = cluster.url();
        let run = |more: &[Word<'_>]| {
            let words: [Word<'_>; 4] = [&"wal", &"stream", &url, &"--once"];
            world.run(&[&words[..], more].concat())
        };
        run(&[&"--slot", &"Kept"]).ends(2).says(&["a slot cannot be called Kept"]);
        run(&[&"--slot", &"kept"]).ends(1).says(&["no replication slot kept", "--create-slot"]);
        run(&[&"--slot", &"kept", &"--create-slot"]).ends(1).says(&["could fill", "--slot-limit"]);
        assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "0");
        let make: [Word<'_>; 5] = [&"--slot", &"kept", &"--create-slot", &"--slot-limit", &"1G"];
        run(&make).ends(0).says(&["durable up to"]);
        write(&cluster, 1);
        let to = written(&cluster);
        run(&[&"--slot", &"kept", &"--json"]).ends(0);
        assert!(durable(&cluster, "kept") >= to);
        // What is there is not stored again, by another slot neither.
        let before = world.objects();
        run(&[&"--slot", &"kept", &"--until", &"0/1"]).ends(2).says(&["cannot be used with"]);
        let words: [Word<'_>; 7] = [&"wal", &"stream", &url, &"--slot", &"kept", &"--until", &"0/1000000"];
        world.run(&words).ends(0);
        assert_eq!(world.objects().len(), before.len());
        // One stream a slot; two slots at once store the same.
        let mut first = stream(&world, &cluster, "kept", &["--json"]);
        let mut second = stream(&world, &cluster, "twin", MAKE);
        assert!(
            first.wait_for(|| {
                cluster.sql("select count(*) from pg_replication_slots where active") == "2"
            })
        );
        run(&[&"--slot", &"kept"]).ends(1).says(&["each one of its own"]);
        let dropped: [Word<'_>; 5] = [&"wal", &"drop-slot", &url, &"--slot", &"twin"];
        world.run(&dropped).ends(1).says(&["end the stream"]);
        for round in 2..4 {
            write(&cluster, round);
            arrives(&cluster, "kept", &mut first);
            arrives(&cluster, "twin", &mut second);
        }
        ends(second);
        world.run(&[&dropped[..], &[&"--json"]].concat()).ends(0);
        world.run(&dropped).ends(1).says(&["was not dropped"]);
        // The repository takes nothing any more: the server hears of us, and its slot does not fill its disk.
        ends(first);
        let mut limited = stream(&world, &cluster, "kept", &["--slot-limit", "40M"]);
        assert!(
            limited.wait_for(|| cluster.sql("select count(*) from pg_replication_slots where active") == "1")
        );
        let folder = world.objects().into_iter().find(|name| name.starts_with("wal/")).unwrap();
        let folder = world.repo.join(folder).parent().unwrap().to_owned();
        fs::rename(&folder, folder.with_extension("away")).unwrap();
        fs::write(&folder, "").unwrap();
        for round in 4..12 {
            write(&cluster, round);
        }
        let patience = Instant::now() + Duration::from_secs(60);
        while limited.status().is_none() {
            cluster.sql("insert into rounds values (0)");
            assert!(Instant::now() < patience, "the slot is never given up");
            std::thread::sleep(Duration::from_millis(100));
        }
        let ended = limited.ends_alone(&[&"wal", &"stream"]).ends(1);
        ended.says(&["does not take the log", "it was dropped", "--accept-gap"]);
        assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "0");
        fs::remove_file(&folder).unwrap();
        fs::rename(folder.with_extension("away"), &folder).unwrap();
        // What it kept is gone: nobody is told that all is well.
        cluster.sql("select pg_switch_wal(); checkpoint; select pg_switch_wal(); checkpoint");
        cluster.set("min_wal_size = 32MB\nmax_wal_size = 32MB");
        cluster.stop();
        cluster.start();
        for _ in 0..4 {
            cluster.sql("insert into rounds values (0); select pg_switch_wal(); checkpoint");
        }
        run(&[&"--slot", &"kept"]).ends(1).says(&["no replication slot kept", "is lost"]);
        run(&make).ends(1).says(&["is not on the server any more", "base backup"]);
        run(&[&make[..], &[&"--accept-gap"]].concat()).ends(0).says(&["nothing can be recovered across it"]);
        run(&[&"--slot", &"kept"]).ends(0);
        // Another cluster does not get into this one's archive.
        let other = Cluster::new(version, "max_slot_wal_keep_size = 1GB\ncluster_name = 'shop'");
        let told = world.run(&[&"preflight", &other.url()]).ends(0).out;
        assert!(told.contains("type: physical") && !told.contains("max_slot_wal_keep_size = -1"), "{told}");
        let told = world.run(&[&"preflight", &url]).ends(0).out;
        assert!(!told.contains("type: physical") && told.contains("max_slot_wal_keep_size = -1"), "{told}");
        let words = |system: Option<String>| {
            let mut words: Vec<String> =
                ["wal", "stream", &other.url(), "--once", "--slot", "kept", "--create-slot"]
                    .map(str::to_owned)
                    .to_vec();
            words.extend(system.into_iter().flat_map(|system| ["--system".to_owned(), system]));
            words
        };
        let run = |system: Option<String>| {
            let words = words(system);
            world.run(&words.iter().map(|word| word as Word<'_>).collect::<Vec<_>>())
        };
        let system = other.sql("select system_identifier from pg_control_system()");
        run(None).ends(1).says(&["of which the repository has no log", &system]);
        run(Some("7".to_owned())).ends(1).says(&["7 was to be streamed"]);
        run(Some(system)).ends(0);
    }
}

#[test]
fn a_server_that_is_away_is_waited_for_unless_somebody_wants_to_be_done() {
    let world = world();
    let mut cluster = Cluster::new(Version::V15, "");
    let mut streamer = stream(&world, &cluster, "kept", &["--create-slot", "--slot-limit", "1G"]);
    assert!(streamer.wait_for(|| durable(&cluster, "kept") > 0));
    cluster.stop();
    let url = cluster.url();
    let words: [Word<'_>; 6] = [&"wal", &"stream", &url, &"--slot", &"kept", &"--once"];
    world.run(&words).ends(1).says(&["cannot connect"]);
    cluster.start();
    cluster.sql("create table rounds (round int)");
    arrives(&cluster, "kept", &mut streamer);
    streamer.send(Signal::TERM);
    let ended = streamer.ends_alone(&[&"wal", &"stream"]).ends(0);
    assert_eq!(ended.err.matches("it is tried again").count(), 1, "{}", ended.err);
    assert_eq!(ended.err.matches("streaming the log").count(), 2, "{}", ended.err);
}
