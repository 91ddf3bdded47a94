//! Everybody at once on one repository, for a while: writers, pruners without a pause between their
//! steps, one who forgets and one who checks, killed and stopped at random.
//!
//! The oracle is what each tree was when its backup began. `HOLDFAST_SOAK_SECONDS=600` goes on for
//! ten minutes, and `HOLDFAST_SOAK_SEED` repeats the dice of a run, though not how its processes
//! raced. The same is done in a bucket of a real server. On purpose not here: time, and stores that
//! misbehave; the simulator has those.

use super::compare::{Depth, Listing, differences, list};
use super::tree::{Dice, noise, prose, put};
use super::world::{Leashed, Ran, Word, World, count, number, objects, within};
use holdfast_tests::weed::Weed;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const WRITERS: usize = 4;
const FILES: u64 = 9;

/// So many backups end well at least, however busy the machine is.
const BACKUPS_MIN: usize = 12;

/// After so many backups somebody forgets.
const FORGET_EACH: usize = 8;

/// Who runs next to each other.
const ACTORS: [Actor; WRITERS + 4] = [
    Actor::Writer(0),
    Actor::Writer(1),
    Actor::Writer(2),
    Actor::Writer(3),
    Actor::Pruner,
    Actor::Pruner,
    Actor::Checker,
    Actor::Forgetter,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Writer(usize),
    Pruner,
    Checker,
    Forgetter,
}

impl Actor {
    /// What it does, as the program calls it.
    fn verb(self) -> &'static str {
        match self {
            Self::Writer(_) => "backup",
            Self::Pruner => "prune",
            Self::Checker => "check",
            Self::Forgetter => "forget",
        }
    }
}

/// What happens to a process besides what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Undisturbed,
    /// Killed at a moment.
    Killed(Instant),
    /// Stopped at a moment, until so many prunes have ended.
    Stopped(Instant),
    Standing {
        until: usize,
    },
}

/// A process that runs.
struct Run {
    leashed: Leashed,
    words: Vec<OsString>,
    begun: Instant,
    fate: Fate,
    was_killed: bool,
    /// The number of the backup.
    backup: usize,
}

/// A backup that was started: one of a writer's, in the order of time.
struct Backup {
    writer: usize,
    tree: Listing,
    /// The snapshot that it said it made.
    reported: Option<String>,
    /// It may have made one: it ended well, or was killed before it could say so.
    perhaps: bool,
}

struct Soak {
    // Dropped before the folder that they work in, and before the server.
    running: Vec<Option<Run>>,
    world: World,
    _server: Option<Weed>,
    dice: Dice,
    seed: u64,
    backups: Vec<Backup>,
    /// Snapshots that somebody said are forgotten.
    forgotten: BTreeSet<String>,
    /// Backups that had begun when the last forget was killed, which may have forgotten some.
    forgotten_perhaps: usize,
    backups_until_forget: usize,
    /// How long a run takes, by verb.
    lengths: BTreeMap<&'static str, Duration>,
    ended: BTreeMap<&'static str, usize>,
    killed: BTreeMap<&'static str, usize>,
    conflicts: BTreeMap<&'static str, usize>,
    stops: usize,
    freed_packs: u64,
}

impl Soak {
    fn new(seed: u64, server: Option<Weed>) -> Self {
        let mut world = World::bare();
        if let Some(server) = &server {
            world.repo = server.url("soak").into();
        }
        world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
        let soak = Self {
            running: ACTORS.map(|_| None).into(),
            world,
            _server: server,
            dice: Dice::new(seed),
            seed,
            backups: Vec::new(),
            forgotten: BTreeSet::new(),
            forgotten_perhaps: 0,
            backups_until_forget: FORGET_EACH,
            lengths: BTreeMap::new(),
            ended: BTreeMap::new(),
            killed: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            stops: 0,
            freed_packs: 0,
        };
        (0..WRITERS).for_each(|writer| {
            for number in 0..FILES {
                put(soak.tree(writer).join(format!("file {number}")), noise(number, 150_000));
            }
        });
        soak
    }

    fn tree(&self, writer: usize) -> PathBuf {
        self.world.path(format!("tree {writer}"))
    }

    fn ended(&self, verb: &str) -> usize {
        self.ended.get(verb).copied().unwrap_or(0)
    }

    /// Changes a tree. Files are so large that none shares a bundle with another, which would stay
    /// as long as any of them. Contents come from a small stock that all writers share, so that what one
    /// gave up another stores again, in the middle of its removal.
    fn evolve(&mut self, writer: usize) {
        for _ in 0..1 + self.dice.below(4) {
            let name = self.tree(writer).join(format!("file {}", self.dice.below(FILES)));
            let stock = self.dice.below(24);
            let content = match self.dice.below(4) {
                0 => prose(stock, 150_000 + stock as usize * 5000),
                1 => [prose(stock, 50_000), noise(self.dice.below(1 << 30), 100_000)].concat(),
                _ => noise(stock, 140_000 + stock as usize * 10_000),
            };
            put(name, content);
        }
    }

    fn words(&mut self, actor: Actor) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![actor.verb().into(), "--json".into()];
        match actor {
            Actor::Writer(writer) => {
                let cache = self.world.path(format!("cache {writer}"));
                let tag = format!("run-{}", self.backups.len());
                words.extend(["--host".into(), format!("host{writer}").into(), "--tag".into(), tag.into()]);
                words.extend(["--cache-dir".into(), cache.into(), self.tree(writer).into()]);
                words.extend((self.dice.below(6) == 0).then(|| "--force".into()));
            }
            Actor::Pruner => {
                words.extend(["--min-age".into(), "0".into()]);
                let thorough = self.dice.below(3) == 0;
                words.extend(thorough.then_some(["--max-unused".into(), "0".into()]).into_iter().flatten());
            }
            Actor::Checker => words.extend((self.dice.below(3) == 0).then(|| "--read-data".into())),
            Actor::Forgetter => words.extend(["--keep-last".into(), "3".into()]),
        }
        words
    }

    fn fate(&mut self, actor: Actor) -> Fate {
        let length = self.lengths.get(actor.verb()).map_or(200_000, |length| length.as_micros() as u64);
        let moment = Instant::now() + Duration::from_micros(self.dice.below(length * 5 / 4));
        match (self.dice.below(8), actor) {
            (0 | 1, _) => Fate::Killed(moment),
            (2, Actor::Writer(_)) => Fate::Stopped(moment),
            _ => Fate::Undisturbed,
        }
    }

    fn start(&mut self, actor: Actor) -> Run {
        let (backup, words) = (self.backups.len(), self.words(actor));
        if let Actor::Writer(writer) = actor {
            self.evolve(writer);
            let tree = list(&self.tree(writer), Depth::Everything);
            self.backups.push(Backup { writer, tree, reported: None, perhaps: true });
        }
        let plain: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
        let leashed = self.world.leash(&plain);
        let (begun, fate) = (Instant::now(), self.fate(actor));
        Run { leashed, words, begun, fate, was_killed: false, backup }
    }

    /// Lets everybody work until time is up and enough is done; then sees all of them end.
    fn go_on(&mut self, time: Duration) {
        let begun = Instant::now();
        let mut is_over = false;
        while !is_over || self.running.iter().any(Option::is_some) {
            is_over = is_over || begun.elapsed() >= time && self.ended("backup") >= BACKUPS_MIN;
            for (place, actor) in ACTORS.into_iter().enumerate() {
                let idle = actor == Actor::Forgetter && self.ended("backup") < self.backups_until_forget;
                match self.running[place].take() {
                    Some(run) => self.running[place] = self.look_at(actor, run, is_over),
                    None if is_over || idle => {}
                    None => self.running[place] = Some(self.start(actor)),
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Does to a process what its fate is; returns it if it goes on.
    fn look_at(&mut self, actor: Actor, mut run: Run, is_over: bool) -> Option<Run> {
        if run.leashed.status().is_some() {
            self.judge(actor, run);
            return None;
        }
        let (now, prunes) = (Instant::now(), self.ended("prune"));
        match run.fate {
            Fate::Killed(moment) if now >= moment => {
                run.leashed.send(Signal::KILL);
                (run.fate, run.was_killed) = (Fate::Undisturbed, true);
            }
            Fate::Stopped(moment) if now >= moment => {
                run.leashed.send(Signal::STOP);
                run.fate = Fate::Standing { until: prunes + 2 };
                self.stops += 1;
            }
            Fate::Standing { until } if prunes >= until || is_over => {
                run.leashed.send(Signal::CONT);
                run.fate = Fate::Undisturbed;
            }
            _ => {}
        }
        Some(run)
    }

    /// Takes note of how a process ended; it may not end in any way but those that are known.
    fn judge(&mut self, actor: Actor, mut run: Run) {
        let verb = actor.verb();
        let mut output = run.leashed.output();
        // What was killed may have stopped in the middle of a line.
        if run.was_killed {
            output
                .stdout
                .truncate(output.stdout.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
            output
                .stderr
                .truncate(output.stderr.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        }
        let words: Vec<Word<'_>> = run.words.iter().map(|word| word as Word<'_>).collect();
        let ran = Ran::of(&words, &output);
        for sign in ["damaged", "cannot be used", "lost"] {
            assert!(!ran.err.contains(sign), "seed {}: {sign}: {ran:?}", self.seed);
        }
        self.note(actor, run.backup, &ran);
        let is_conflict = ran.code == 1 && CONFLICTS.iter().any(|sign| ran.err.contains(sign));
        match ran.code {
            -9 if run.was_killed => *self.killed.entry(verb).or_default() += 1,
            0 => {
                *self.ended.entry(verb).or_default() += 1;
                let length = self.lengths.entry(verb).or_insert_with(|| run.begun.elapsed());
                *length = (*length * 3 + run.begun.elapsed()) / 4;
            }
            _ if is_conflict => *self.conflicts.entry(verb).or_default() += 1,
            _ => panic!("seed {}: nothing should end like this: {ran:?}", self.seed),
        }
    }

    /// Takes note of what a run said that it did.
    fn note(&mut self, actor: Actor, backup: usize, ran: &Ran) {
        let lines = ran.lines();
        match actor {
            Actor::Writer(_) => {
                let reported = lines.iter().find_map(|line| line["snapshot_id"].as_str()).map(str::to_owned);
                assert!(ran.code != 0 || reported.is_some(), "seed {}: {ran:?}", self.seed);
                let backup = &mut self.backups[backup];
                backup.perhaps = reported.is_some() || ran.code < 0;
                backup.reported = reported;
            }
            Actor::Pruner if ran.code == 0 => self.freed_packs += count(&ran.summary(), "freed_packs"),
            Actor::Forgetter => {
                if ran.code == 0 {
                    let gone = lines.iter().filter(|line| line["keep"] == false);
                    self.forgotten.extend(gone.map(|line| line["id"].as_str().unwrap().to_owned()));
                } else {
                    self.forgotten_perhaps = self.backups.len();
                }
                self.backups_until_forget = self.ended("backup") + FORGET_EACH;
            }
            Actor::Pruner | Actor::Checker => {}
        }
    }

    /// Expects all snapshots that should be there, and none that should not; returns them with the
    /// numbers of their backups.
    fn survivors(&self) -> Vec<(String, usize)> {
        let lines = self.world.run(&[&"snapshots", &"--json"]).ends(0).lines();
        let found: BTreeMap<String, usize> = lines.iter().map(id_and_backup).collect();
        for (number, backup) in self.backups.iter().enumerate() {
            let Some(id) = &backup.reported else { continue };
            let what = format!("seed {}: backup {number}, snapshot {id}", self.seed);
            let newer = self.backups[number + 1..].iter();
            let newer = newer.filter(|other| other.writer == backup.writer && other.perhaps).count();
            let is_named = self.forgotten.contains(id);
            match found.get(id) {
                Some(of) => assert!(*of == number && !is_named, "{what} was forgotten, and is there"),
                None => assert!(
                    newer >= 3 && (is_named || number < self.forgotten_perhaps),
                    "{what} is gone; named as forgotten: {is_named}, {newer} newer ones"
                ),
            }
        }
        found.into_iter().collect()
    }

    /// Restores a snapshot and compares it with what its tree was.
    fn restore(&self, id: &str, number: usize) -> PathBuf {
        let Backup { writer, tree, .. } = &self.backups[number];
        let target = self.world.path(format!("out {number}"));
        let part = within(id, &self.tree(*writer));
        self.world.run(&[&"restore", &part, &"--target", &target, &"--verify"]).ends(0);
        let differences = differences(tree, &list(&target, Depth::Everything));
        assert!(differences.is_empty(), "seed {}: backup {number}: {differences:#?}", self.seed);
        target
    }

    /// Prunes all that can be pruned; returns what the last prune says.
    fn prune_all(&self) -> Value {
        let words: [Word<'_>; 8] =
            [&"prune", &"--json", &"--min-age", &"0", &"--abort-after", &"0", &"--max-unused", &"0"];
        self.world.run(&words).ends(0);
        self.world.run(&words).ends(0).summary()
    }
}

/// What a run says that others were in the way of.
const CONFLICTS: [&str; 3] = [
    "the repository was maintained",
    "the repository changed at every attempt",
    "of an interrupted run is gone",
];

fn id_and_backup(line: &Value) -> (String, usize) {
    let tag = line["tags"][0].as_str().unwrap().strip_prefix("run-").unwrap();
    (line["id"].as_str().unwrap().to_owned(), tag.parse().unwrap())
}

fn pack_bytes(repository: &Path) -> u64 {
    let packs = repository.join("packs");
    objects(&packs).iter().map(|name| fs::metadata(packs.join(name)).unwrap().len()).sum()
}

#[test]
fn everybody_at_once_loses_nothing() {
    soak(None);
}

#[test]
fn everybody_at_once_in_a_bucket() {
    soak(Some(Weed::start()));
}

fn soak(server: Option<Weed>) {
    let drawn = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = number("HOLDFAST_SOAK_SEED", drawn as usize % 1_000_000) as u64;
    let seconds = number("HOLDFAST_SOAK_SECONDS", 15);
    println!("HOLDFAST_SOAK_SEED={seed} HOLDFAST_SOAK_SECONDS={seconds}");
    let in_bucket = server.is_some();
    let mut soak = Soak::new(seed, server);
    soak.go_on(Duration::from_secs(seconds as u64));
    println!("ended well: {:?}; killed: {:?}; stopped: {}", soak.ended, soak.killed, soak.stops);
    println!("in the way of each other: {:?}; {} packs freed", soak.conflicts, soak.freed_packs);
    soak.world.check();
    let survivors = soak.survivors();
    println!("{} of {} backups are there", survivors.len(), soak.backups.len());
    for (id, number) in &survivors {
        fs::remove_dir_all(soak.restore(id, *number)).unwrap();
    }
    soak.world.run(&[&"forget", &"--keep-last", &"1"]).ends(0);
    let pruned = soak.prune_all();
    soak.world.check();
    // What is left is about what a repository takes that never held anything else.
    let mut fresh = World::bare();
    (fresh.repo, fresh.cache) = (soak.world.path("fresh"), soak.world.path("fresh cache"));
    fresh.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let lines = soak.world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    assert!(!lines.is_empty());
    for (id, number) in lines.iter().map(id_and_backup) {
        fresh.backup(&soak.restore(&id, number));
    }
    let needed = pack_bytes(&fresh.repo);
    let left = if in_bucket { count(&pruned, "pack_bytes") } else { pack_bytes(&soak.world.repo) };
    println!("{left} bytes of packs are left, {needed} are needed");
    assert!(
        left <= needed + needed / 20 + (64 << 10),
        "seed {seed}: {left} bytes, {needed} needed: {pruned}"
    );
    let sum = |counts: &BTreeMap<&str, usize>| counts.values().sum::<usize>();
    let (ended, conflicts) = (sum(&soak.ended), sum(&soak.conflicts));
    assert!(conflicts * 10 < ended, "seed {seed}: {:?} of {:?}", soak.conflicts, soak.ended);
    let verbs = ["backup", "prune", "check", "forget"];
    assert!(verbs.iter().all(|verb| soak.ended(verb) > 0), "seed {seed}: somebody never came to an end");
    assert!(sum(&soak.killed) > 0 && soak.freed_packs > 0, "seed {seed}: nothing happened");
}
