//! Killed, interrupted, stopped: at any moment, the repository is whole and the next run goes on.

use super::compare::same;
use super::tree::{Dice, noise, put};
use super::world::{Ran, World, count, number, objects};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// 360 MB that no compression makes shorter: eleven packs and a bit.
fn large_tree(world: &World) -> PathBuf {
    let source = world.path("source");
    for number in 0..30 {
        put(source.join(format!("file {number:02}")), noise(number, 12 << 20));
    }
    source
}

/// How far a backup had come, by what the repository holds of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing of it is there.
    Opening,
    /// It has begun; no pack is there.
    Begun,
    /// Packs are there, no index of them.
    Packs,
    /// Its index is there.
    Indexed,
    /// Its snapshot is there.
    Committed,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Opening, Self::Begun, Self::Packs, Self::Indexed, Self::Committed];
}

/// What one session has in a repository. `known` are the objects that were there before it.
fn phase_of(repository: &Path, known: &[String]) -> (Phase, usize) {
    let names = objects(repository);
    let new: Vec<_> = names.iter().filter(|name| known.binary_search(name).is_err()).collect();
    let packs = new.iter().filter(|name| name.starts_with("packs/data/")).count();
    let has = |part: &str, end: &str| new.iter().any(|name| name.starts_with(part) && name.ends_with(end));
    let phase = if has("sessions/", "/end") {
        Phase::Committed
    } else if has("index/delta/", "") {
        Phase::Indexed
    } else if has("packs/", "") {
        Phase::Packs
    } else if has("sessions/", "/begin") {
        Phase::Begun
    } else {
        Phase::Opening
    };
    (phase, packs)
}

/// Waits for a moment of a run; `false` if the run ended before it.
fn wait_for(child: &mut Child, moment: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !moment() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the moment never came");
        std::thread::sleep(Duration::from_micros(300));
    }
    true
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Ends a run at once and says how far it had come.
fn kill(world: &World, mut child: Child, known: &[String]) -> Phase {
    let _ = child.kill();
    child.wait().unwrap();
    phase_of(&world.repo, known).0
}

/// Gives a killed run's repository to `check`, who reads everything.
fn is_whole(world: &World) {
    world.check();
    assert!(objects(&world.repo).iter().all(|name| !name.contains(".tmp")), "litter");
}

/// Each round has a repository of its own, in which a backup is killed four times or more; then
/// one is let through.
#[test]
fn killed_at_any_moment() {
    let (world, kills) = (World::bare(), number("HOLDFAST_TEST_KILLS", 12));
    let source = large_tree(&world);
    let calm = in_repository(&world, "calm");
    calm.backup(&source);
    let contents = |world: &World| {
        world.run(&[&"ls", &"latest", &"--recursive", &"--json"]).ends(0).lines().split_off(1)
    };
    let wanted = contents(&calm);
    let calm_bytes = calm.repository_bytes();
    assert!(objects(&calm.repo).iter().filter(|name| name.starts_with("packs/data/")).count() >= 10);
    let mut dice = Dice::new(42);
    let mut hit: BTreeMap<Phase, usize> = BTreeMap::new();
    for round in 0..kills.div_ceil(4) {
        let world = in_repository(&world, &format!("round {round}"));
        for step in 0..4 {
            let others = [Phase::Indexed, Phase::Begun, Phase::Committed, Phase::Opening];
            // Packs are many only where none are yet.
            let aim = if step == 0 { Phase::Packs } else { others[(round * 3 + step) % 4] };
            // Some phases are shorter than a look at the clock.
            for _ in 0..6 {
                let landed = kill_once(&world, &source, aim, &mut dice);
                *hit.entry(landed).or_default() += 1;
                is_whole(&world);
                if landed == aim {
                    break;
                }
            }
        }
        world.backup(&source);
        assert_eq!(contents(&world), wanted);
        let bytes = world.repository_bytes();
        assert!(bytes * 10 <= calm_bytes * 13, "{bytes} bytes, {calm_bytes} without kills");
        world.check();
        if round == 0 {
            same(&source, &world.restore(&source, "out"));
        }
        fs::remove_dir_all(&world.repo).unwrap();
    }
    println!("kills landed in {hit:?}");
    assert!(Phase::ALL.iter().all(|phase| hit.contains_key(phase)), "a phase was never hit: {hit:?}");
}

/// Another repository beside that of a world.
fn in_repository(world: &World, name: &str) -> World {
    let mut other = World::bare();
    (other.repo, other.cache) = (world.path(name), world.path(format!("{name} cache")));
    other.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    other
}

fn kill_once(world: &World, source: &Path, aim: Phase, dice: &mut Dice) -> Phase {
    let known = world.objects();
    let mut child = world.start(&[&"backup", &"--json", &source]);
    let packs = dice.below(11) as usize;
    let moment = || {
        let (phase, stored) = phase_of(&world.repo, &known);
        // Where packs are there already, from a run before, there will not be so many.
        phase >= aim && (aim != Phase::Packs || stored >= packs || phase > aim)
    };
    match aim {
        Phase::Opening => std::thread::sleep(Duration::from_micros(dice.below(4000))),
        _ => {
            wait_for(&mut child, moment);
            // Not always at the first instant of the phase.
            std::thread::sleep(Duration::from_micros(dice.below(800)));
        }
    }
    kill(world, child, &known)
}

#[test]
fn an_interrupted_backup_is_taken_over() {
    let world = World::new();
    let source = large_tree(&world);
    for signal in [Signal::INT, Signal::TERM] {
        let known = world.objects();
        let mut child = world.start(&[&"backup", &"--json", &source]);
        assert!(wait_for(&mut child, || phase_of(&world.repo, &known).1 >= 2));
        send(&child, signal);
        let ran = Ran::of(&[&"backup"], &child.wait_with_output().unwrap()).ends(130);
        assert_eq!(ran.told().last().unwrap()["code"], 130);
        is_whole(&world);
    }
    assert_eq!(world.run(&[&"snapshots", &"--json"]).ends(0).out, "");
    let summary = world.backup(&source);
    assert!(count(&summary, "adopted_packs") >= 4, "{summary}");
    same(&source, &world.restore(&source, "out"));
    is_whole(&world);
}

#[test]
fn a_stopped_backup_goes_on() {
    let world = World::new();
    let source = large_tree(&world);
    let known = world.objects();
    let mut child = world.start(&[&"backup", &"--json", &source]);
    assert!(wait_for(&mut child, || phase_of(&world.repo, &known).1 >= 1));
    send(&child, Signal::STOP);
    let stat = format!("/proc/{}/stat", child.id());
    let stopped =
        || fs::read_to_string(&stat).is_ok_and(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'));
    assert!(wait_for(&mut child, stopped));
    // Meanwhile others work; what the stopped one wrote is nobody's yet.
    world.check();
    let small = world.path("small");
    put(small.join("file"), b"small");
    world.backup(&small);
    send(&child, Signal::CONT);
    Ran::of(&[&"backup"], &child.wait_with_output().unwrap()).ends(0);
    world.check();
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn a_killed_init_can_be_repeated() {
    let mut dice = Dice::new(7);
    let mut left = BTreeMap::<usize, usize>::new();
    for round in 0..24 {
        let world = World::bare();
        let mut child = world.start(&[&"init", &"--kdf-memory", &"8"]);
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_micros(dice.below(40_000)));
        } else {
            // With so many objects there.
            wait_for(&mut child, || objects(&world.repo).len() as u64 > round / 2 % 5);
        }
        let _ = child.kill();
        child.wait().unwrap();
        *left.entry(world.objects().len()).or_default() += 1;
        let code = world.run(&[&"snapshots"]).code;
        match code {
            0 => {}
            10 => drop(world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0)),
            _ => panic!("snapshots ends with {code}: {:?}", world.objects()),
        }
        let source = world.path("source");
        put(source.join("file"), b"content");
        world.backup(&source);
        world.check();
    }
    println!("objects that killed inits left: {left:?}");
}

#[test]
fn a_killed_restore_can_be_repeated() {
    let world = World::new();
    let source = large_tree(&world);
    world.backup(&source);
    let part = super::world::within("latest", &source);
    for files in [1, 9, 20] {
        let target = world.path(format!("killed {files}"));
        let mut child = world.start(&[&"restore", &part, &"--target", &target]);
        wait_for(&mut child, || fs::read_dir(&target).is_ok_and(|entries| entries.count() >= files));
        let _ = child.kill();
        child.wait().unwrap();
        // What lies there half done is not taken for a finished restore.
        let words: [super::world::Word<'_>; 4] = [&"restore", &part, &"--target", &target];
        world.run(&words).ends(2).says(&["not empty"]);
        fs::remove_dir_all(&target).unwrap();
    }
    same(&source, &world.restore(&source, "out"));
    world.check();
}
