//! `serve` for a while, with a policy of every minute over a cluster, a tree and a bucket, on a catalog in a server
//! and a repository in another: each part is killed in turn, `status` tells the truth meanwhile, and all comes back.
//!
//! `HOLDFAST_SERVE_SECONDS=3600` goes on for an hour, and then waits for a run after each thing that was killed, and
//! measures memory. On purpose not here: what is due when.

use super::bucket_source::Media;
use super::cluster::world;
use super::serve::{Going, line_of, until};
use super::tree::{ordinary, put};
use super::world::{Ran, World, number};
use holdfast_scheduler::catalog::{Catalog, Job, JobState, Place};
use holdfast_tests::postgres::{Cluster, VERSIONS};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// From so many seconds on it waits for what comes in minutes.
const LONG: usize = 300;
/// So much more memory it may have at the end than after the first round, in KiB.
const GROWTH_MAX: u64 = 24 << 10;

/// What can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Worker,
    Stream,
    Catalog,
    Repository,
    Source,
}

const PARTS: [Part; 5] = [Part::Worker, Part::Stream, Part::Catalog, Part::Repository, Part::Source];

/// Everything that there is.
struct Scene {
    world: World,
    source: Cluster,
    catalog: Cluster,
    repository: holdfast_tests::weed::Weed,
    media: Media,
    policy: PathBuf,
    place: String,
    serve: Option<Going>,
    round: usize,
}

impl Scene {
    fn new() -> Self {
        let world = world();
        fs::set_permissions(world.path(""), Permissions::from_mode(0o777)).unwrap();
        let source = Cluster::new(VERSIONS[0], "max_slot_wal_keep_size = 2GB");
        source.sql("create table rounds (id int)");
        let catalog = Cluster::new(VERSIONS[0], "");
        let place = catalog.url().replace("@/?", "@/postgres?");
        let (repository, media) = (holdfast_tests::weed::Weed::start(), Media::start());
        media.fill((0..20).map(|number| (format!("media/{number}.bin"), vec![number; 5000])));
        ordinary(&world.path("tree"), 60, 1);
        let policy = world.path("shop.yaml");
        let text = format!(
            "name: shop
repository: {{ url: \"{}\", password: {{ env: SHOP_PASSWORD }}, create: true }}
sources:
  db: {{ postgres: {{ url: \"{}\", wal: stream, slot: shop, slot_limit: 1GiB }}, rpo: 1h }}
  tree: {{ files: {{ paths: [ {} ] }} }}
  media: {{ s3: {{ url: \"{}\" }} }}
schedule: {{ cron: '* * * * *' }}
retention: {{ keep_last: 5 }}
",
            repository.url("shop"),
            source.url(),
            world.path("tree").display(),
            media.url("media"),
        );
        put(&policy, text);
        let mut scene =
            Self { world, source, catalog, repository, media, policy, place, serve: None, round: 0 };
        scene.start();
        scene
    }

    fn command(&self) -> Command {
        let mut command = self.world.command();
        command.env_remove("HOLDFAST_REPOSITORY").env_remove("HOLDFAST_PASSWORD");
        command.env("SHOP_PASSWORD", "correct horse").env("HOLDFAST_CATALOG", &self.place);
        command
    }

    fn start(&mut self) {
        let mut command = self.command();
        command.args(["serve", "--json", "--patience", "8s", "--stuck-timeout", "20s"]).arg(&self.policy);
        self.serve = Some(Going::start(&self.world, command));
    }

    fn serve(&mut self) -> &mut Going {
        self.serve.as_mut().unwrap()
    }

    /// What `status` says is wrong.
    fn conditions(&self) -> BTreeSet<String> {
        let mut command = self.command();
        command.args(["status", "--json", "--stuck-timeout", "10s"]).arg(&self.policy);
        let ran: Ran = self.world.run_as(&mut command, &[]);
        let problems = ran.lines().into_iter().filter(|line| line["message_type"] == "problem");
        problems.map(|line| line["condition"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until `status` says something, or says it no more.
    fn tells(&self, condition: &str, is: bool) {
        until(&format!("{condition}: {is}: {:?}", self.conditions()), || {
            self.conditions().contains(condition) == is
        });
    }

    /// Kills a part, looks what is said of it, and brings it back.
    fn kill(&mut self, part: Part) {
        println!("killing {part:?}");
        match part {
            Part::Worker => {
                self.serve().send(Signal::KILL);
                self.serve = None;
                self.start();
                self.serve().says("what", "ready", 1);
            }
            Part::Stream => {
                let begun = self.serve().count("what", "stream_begins");
                let ended = self.serve().count("what", "stream_ended");
                kill_process(self.stream(), Signal::KILL).unwrap();
                self.serve().says("what", "stream_ended", ended + 1);
                self.serve().says("what", "stream_begins", begun + 1);
                self.tells("log-not-streamed", false);
            }
            Part::Catalog => {
                let lost = self.serve().count("what", "catalog_back");
                self.catalog.kill();
                self.serve().says("what", "catalog_lost", 1);
                self.tells("catalog-out-of-reach", true);
                self.catalog.start();
                self.serve().says("what", "catalog_back", lost + 1);
                self.tells("catalog-out-of-reach", false);
            }
            Part::Repository => {
                self.repository.kill();
                self.tells("repository-out-of-reach", true);
                self.repository.start_again();
                self.tells("repository-out-of-reach", false);
            }
            Part::Source => {
                self.source.kill();
                self.tells("slot-unseen", true);
                self.source.start();
                self.tells("slot-unseen", false);
            }
        }
    }

    /// The process that streams the log, once there is one.
    fn stream(&mut self) -> Pid {
        let serve = self.serve().pid().as_raw_nonzero().get() as u32;
        let streams = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let is_it = words.windows(12).any(|part| part == b"\0wal\0stream\0");
            is_it && line_of(*pid).contains(&serve)
        };
        let find = || {
            let all = fs::read_dir("/proc")
                .unwrap()
                .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
            all.filter_map(|name| name.parse().ok()).find(streams)
        };
        until("nobody streams the log", || find().is_some());
        Pid::from_raw(find().unwrap() as i32).unwrap()
    }

    /// Something new everywhere.
    fn write(&mut self) {
        self.round += 1;
        self.source.sql(&format!("insert into rounds values ({})", self.round));
        put(self.world.path(format!("tree/round {}", self.round)), vec![7; 2000]);
        self.media.fill([(format!("media/round {}.bin", self.round), vec![9; 3000])]);
    }

    /// Waits for a run that begins after now and ends well.
    fn runs(&mut self) {
        let begun = |line: &&Value| line["state"] == "done" && line["activity"] == "run";
        let done = self.serve().lines().iter().filter(begun).count();
        let wait = Instant::now();
        // The one that goes on may have begun before.
        while self.serve().lines().iter().filter(begun).count() < done + 2 {
            assert!(wait.elapsed() < Duration::from_secs(400), "{}", self.serve().text());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Memory of the service, in KiB.
    fn memory(&mut self) -> u64 {
        let pid = self.serve().pid().as_raw_nonzero();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// All jobs that the catalog remembers.
    fn jobs(&self) -> Vec<Job> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let catalog = Catalog::open(&Place::parse(&self.place, "").unwrap()).await.unwrap();
            catalog.jobs("shop", 1_000_000).await.unwrap()
        })
    }
}

#[test]
fn it_goes_on_whoever_is_killed() {
    let seconds = number("HOLDFAST_SERVE_SECONDS", 1);
    let (is_long, begun) = (seconds >= LONG, Instant::now());
    let mut scene = Scene::new();
    scene.serve().says("state", "done", 1);
    scene.serve().says("what", "stream_begins", 1);
    scene.tells("log-not-streamed", false);
    until("no log comes", || {
        let mut command = scene.world.command();
        command.args(["-r", &scene.repository.url("shop"), "wal", "status", "--json"]);
        scene.world.run_as(&mut command, &[]).out.contains("wal_timeline")
    });
    let mut memory = Vec::new();
    loop {
        for part in PARTS {
            scene.write();
            scene.kill(part);
            if is_long {
                scene.runs();
            }
        }
        // Each round begins with a new process: what it has at the end of one is compared.
        memory.push(scene.memory());
        if begun.elapsed() >= Duration::from_secs(seconds as u64) {
            break;
        }
    }
    println!("memory at the end of each round, in KiB: {memory:?}");
    let (first, last) = (memory[0], memory[memory.len() - 1]);
    assert!(last <= first + GROWTH_MAX, "{memory:?}");
    scene.serve.take().unwrap().stop();
    let jobs = scene.jobs();
    let runs: Vec<_> = jobs.iter().filter(|job| job.due.activity == "run").collect();
    let times: BTreeSet<_> = runs.iter().map(|job| job.due.scheduled_for).collect();
    assert_eq!(times.len(), runs.len());
    // What was stopped just now waits for the next.
    let open = runs.iter().filter(|job| !matches!(job.state, JobState::Ended { .. })).count();
    assert!(open <= 1, "{runs:?}");
    let mut check = scene.world.command();
    check.args(["-r", &scene.repository.url("shop"), "check", "--read-data"]);
    scene.world.run_as(&mut check, &[]).ends(0);
}

/// One process for long: its memory does not grow with what it did.
#[test]
fn memory_does_not_grow_with_jobs() {
    let jobs = number("HOLDFAST_SERVE_SECONDS", 60).div_ceil(60).max(4);
    let world = World::new();
    let folder = world.path("policies");
    put(world.path("tree/file"), b"content");
    let write = |number: usize| {
        let text = format!(
            "name: p{number}\nrepository: {{ url: {}, password: {{ env: SHOP_PASSWORD }} }}\n\
             sources: {{ tree: {{ files: {{ paths: [ {} ] }} }} }}\nschedule: {{ cron: '@yearly' }}\n",
            world.repo.display(),
            world.path("tree").display()
        );
        put(folder.join("one.yaml"), text);
    };
    write(0);
    let mut command = world.command();
    command.env("SHOP_PASSWORD", "correct horse").args(["serve", "--json"]).arg(&folder);
    let mut serve = Going::start(&world, command);
    let rss = |serve: &Going| -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", serve.pid().as_raw_nonzero())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    serve.says("state", "done", 1);
    let mut memory = vec![rss(&serve)];
    for number in 1..jobs {
        write(number);
        serve.send(Signal::HUP);
        serve.says("state", "done", number + 1);
        memory.push(rss(&serve));
    }
    println!("memory after each job, in KiB: {memory:?}");
    assert!(memory[memory.len() - 1] <= memory[memory.len() / 2] + GROWTH_MAX, "{memory:?}");
    serve.stop();
}
