//! A writer that is stopped by a signal while others forget and prune to their end: it commits right
//! when it goes on, or fails cleanly, and nobody waited for it.
//!
//! It is stopped each time that it has stored one object more, from its begin to its end. On
//! purpose not here: calls that only read, between which nothing can be seen from outside; the
//! engine's own tests stop there too.

use super::compare::same;
use super::tree::{noise, prose, put};
use super::world::{Leashed, Word, World, count, objects, within};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How the maintainers treat sessions that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    /// They leave them be: what the writer relies on stays.
    Patient,
    /// They abort all: what the writer relies on goes.
    Rough,
}

/// How a writer ended that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Committed,
    /// After it began again.
    CommittedLater,
    FailedCleanly,
}

struct Stage {
    world: World,
    source: PathBuf,
    round: u64,
}

impl Stage {
    /// A repository with a snapshot, in a state in which maintenance has work to do.
    fn new() -> Self {
        let world = World::new();
        let source = world.path("source");
        for number in 0..4 {
            put(source.join(format!("stays {number}")), noise(number, 500_000));
        }
        let mut stage = Self { world, source, round: 0 };
        stage.change();
        stage.world.backup(&stage.source);
        stage
    }

    /// Changes so much of the source that several packs are written.
    fn change(&mut self) {
        self.round += 1;
        for number in 0..3 {
            put(self.source.join(format!("new {number}")), noise(self.round * 10 + number, 3 << 20));
        }
        put(self.source.join("text"), prose(self.round, 50_000));
    }

    /// What was stored since.
    fn stored(&self, known: &[String]) -> usize {
        let is_new = |name: &&String| known.binary_search(name).is_err() && !name.starts_with("tmp/");
        objects(&self.world.repo).iter().filter(is_new).count()
    }

    fn writer(&self) -> Leashed {
        self.world.leash(&[&"backup", &"--json", &"--pack-size", &"4M", &self.source])
    }

    /// Runs a maintainer, who has to end well by itself, whatever stands still.
    fn maintain(&self, words: &[Word<'_>]) -> Value {
        let child = self.world.leash(&[words, &[&"--json"]].concat());
        child.ends_alone(words).ends(0).summary()
    }

    /// Forgets and prunes until nothing more happens; returns how many packs were freed.
    fn forget_and_prune(&self, parent: &str, manner: Manner) -> u64 {
        self.maintain(&[&"forget", &parent, &"--unsafe-allow-remove-newest"]);
        let first: &[Word<'_>] = match manner {
            Manner::Patient => &[&"prune", &"--min-age", &"0"],
            Manner::Rough => &[&"prune", &"--min-age", &"0", &"--abort-after", &"0"],
        };
        let runs = [self.maintain(first), self.maintain(&[&"prune", &"--min-age", &"0"])];
        runs.iter().map(|run| count(run, "freed_packs")).sum()
    }
}

fn newest(world: &World) -> String {
    let lines = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    lines.last().unwrap()["id"].as_str().unwrap().to_owned()
}

/// Goes on with a writer and sees how it ends.
fn conclude(stage: &Stage, mut writer: Leashed) -> End {
    let Stage { world, source, .. } = stage;
    writer.send(Signal::CONT);
    let ran = writer.ends_alone(&[&"backup"]);
    let end = match ran.code {
        0 if ran.err.contains("maintained meanwhile") => End::CommittedLater,
        0 => End::Committed,
        _ => End::FailedCleanly,
    };
    let id = if end == End::FailedCleanly {
        // It says that it was overtaken, and the same command run again succeeds.
        let ran = ran.ends(1).says(&["run the same command again"]);
        assert!(!ran.out.contains("snapshot_id"), "{ran:?}");
        world.run(&[&"check"]).ends(0);
        world.backup(source)["snapshot_id"].clone()
    } else {
        ran.summary()["snapshot_id"].clone()
    };
    restores(world, id.as_str().unwrap(), source);
    end
}

fn restores(world: &World, id: &str, source: &Path) {
    let target = world.path("out");
    world.run(&[&"restore", &within(id, source), &"--target", &target, &"--verify"]).ends(0);
    same(source, &target);
    fs::remove_dir_all(target).unwrap();
}

/// Stops a writer each time that it has stored one object more.
fn stopped_at_each_object(manner: Manner) {
    let mut stage = Stage::new();
    let known = stage.world.objects();
    stage.change();
    stage.writer().ends_alone(&[&"backup"]).ends(0);
    let all = stage.stored(&known);
    assert!(all >= 7, "too few objects to stop at: {:?}", stage.world.objects());
    let (mut ends, mut stops) = (BTreeMap::<End, usize>::new(), Vec::new());
    let mut freed = 0;
    for wanted in 1..all {
        stage.change();
        let (parent, known) = (newest(&stage.world), stage.world.objects());
        let mut writer = stage.writer();
        if writer.wait_for(|| stage.stored(&known) >= wanted) {
            writer.stop();
        }
        stops.push(stage.stored(&known));
        freed += stage.forget_and_prune(&parent, manner);
        assert!(writer.is_stopped() || stops.last() >= Some(&all), "it goes on by itself");
        *ends.entry(conclude(&stage, writer)).or_default() += 1;
    }
    println!("{manner:?}: of {all} objects stopped after {stops:?}: {ends:?}, {freed} packs freed");
    let early = stops.iter().filter(|stop| **stop < all).count();
    assert!(early * 2 >= stops.len(), "most stops came too late: {stops:?} of {all}");
    match manner {
        Manner::Patient => assert!(!ends.contains_key(&End::FailedCleanly), "nothing was in its way"),
        Manner::Rough => assert!(freed > 0, "the writer was in the way"),
    }
    stage.world.check();
}

#[test]
fn a_stopped_writer_commits_what_others_left_it() {
    stopped_at_each_object(Manner::Patient);
}

#[test]
fn a_stopped_writer_that_was_aborted_starts_over_or_fails_cleanly() {
    stopped_at_each_object(Manner::Rough);
}
