//! Several workers on one catalog in a server and one repository in a bucket: each thing is done once, by whoever
//! may do it; one that is killed is made up for by another, and two of one group never go on at once.
//!
//! On purpose not here: one worker (`serve`), and months of it (`tests/year.rs`).

use super::cluster::world;
use super::serve::{Going, until};
use super::tree::{ordinary, put};
use super::world::World;
use holdfast_tests::postgres::{Cluster, VERSIONS};
use holdfast_tests::weed::Weed;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Says that it began, and waits until it may go on.
const WAITS: &str = "echo $$ > began; while [ ! -e go ]; do sleep 0.05; done; echo done";

/// All of them share a group, so that no two go on at once.
const NAMES: [&str; 4] = ["archive", "docs", "media", "tape"];

struct Scene {
    world: World,
    place: String,
    _catalog: Cluster,
    repository: Weed,
}

impl Scene {
    fn new() -> Self {
        let world = world();
        fs::set_permissions(world.path(""), Permissions::from_mode(0o777)).unwrap();
        let (catalog, repository) = (Cluster::new(VERSIONS[0], ""), Weed::start());
        let place = catalog.url().replace("@/?", "@/postgres?");
        ordinary(&world.path("tree"), 40, 1);
        for name in NAMES {
            let source = match name {
                "archive" => {
                    format!("list: {{ command: {{ run: [ sh, -c, '{WAITS}' ], file_name: list.txt }} }}")
                }
                _ => format!("tree: {{ files: {{ paths: [ {} ] }} }}", world.path("tree").display()),
            };
            let more = if name == "tape" { "workers: [ robot ]\n" } else { "" };
            put(
                world.path(format!("policies/{name}.yaml")),
                format!(
                    "name: {name}\nrepository: {{ url: \"{}\", password: {{ env: SHOP_PASSWORD }} }}\nsources:\n  {source}\n\
                     schedule: {{ cron: '@yearly', group: line }}\n{more}",
                    repository.url("shared")
                ),
            );
        }
        let scene = Self { world, place, _catalog: catalog, repository };
        let mut init = scene.command();
        init.env("HOLDFAST_PASSWORD", "correct horse");
        let url = scene.repository.url("shared");
        scene.world.run_as(&mut init, &[&"-r", &url, &"init", &"--kdf-memory", &"1", &"--quiet"]).ends(0);
        scene
    }

    fn command(&self) -> Command {
        let mut command = self.world.command();
        command.env_remove("HOLDFAST_REPOSITORY").env_remove("HOLDFAST_PASSWORD");
        command.env("SHOP_PASSWORD", "correct horse").env("HOLDFAST_CATALOG", &self.place);
        command
    }

    fn serve(&self, name: &str, labels: &str) -> Going {
        let mut command = self.command();
        command.args(["serve", "--json", "--patience", "3s", "--worker", name]);
        if !labels.is_empty() {
            command.args(["--labels", labels]);
        }
        command.arg(self.world.path("policies"));
        Going::start(&self.world, command)
    }

    /// How many snapshots each policy has.
    fn snapshots(&self) -> Vec<(String, usize)> {
        let mut command = self.command();
        command.env("HOLDFAST_PASSWORD", "correct horse");
        command.args(["-r", &self.repository.url("shared"), "snapshots", "--json"]);
        let lines = self.world.run_as(&mut command, &[]).ends(0).lines();
        let labels: Vec<_> =
            lines.iter().filter_map(|line| line["source"].as_str().map(str::to_owned)).collect();
        let of = |name: &str| labels.iter().filter(|label| label.starts_with(&format!("{name}/"))).count();
        NAMES.iter().map(|name| ((*name).to_owned(), of(name))).collect()
    }
}

/// The jobs that a worker told of, as `state policy`, in order.
fn told(going: &Going) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = going.lines().into_iter().filter(|line| line["message_type"] == "job");
    lines.map(|line| format!("{} {}", text(&line["state"]), text(&line["policy"]))).collect()
}

fn has(going: &Going, what: &str) -> bool {
    told(going).iter().any(|told| told == what)
}

/// That no job begins before the last one ended, as one worker tells it.
fn one_at_a_time(told: &[String]) {
    let mut running = 0_i32;
    for line in told {
        match line.split(' ').next().unwrap() {
            "begins" => running += 1,
            "done" | "failed" | "given_back" | "lost" => running -= 1,
            _ => {}
        }
        assert!((0..=1).contains(&running), "{told:?}");
    }
}

#[test]
fn workers_share_the_work_and_make_up_for_one_that_is_killed_on_a_server() {
    let scene = Scene::new();
    let first = scene.serve("first", "");
    // It is alone, so it has the one that waits, first or after others of the group.
    until("the backup waits", || scene.world.path("began").exists());
    assert!(has(&first, "begins archive"), "{:?}", told(&first));
    let second = scene.serve("second", "robot");
    let mut first = first;
    first.send(Signal::KILL);
    drop(first);
    fs::remove_file(scene.world.path("began")).unwrap();
    until("another has it", || has(&second, "taken_back archive") && scene.world.path("began").exists());
    put(scene.world.path("go"), b"");
    until("all is done", || {
        let all = scene.snapshots();
        all.iter().all(|(_, count)| *count > 0)
    });
    until("the last one is told", || has(&second, "done archive") && has(&second, "done tape"));
    let said = told(&second);
    one_at_a_time(&said);
    second.stop();
    assert!(scene.snapshots().iter().all(|(_, count)| *count == 1), "{:?} {said:?}", scene.snapshots());
    let third = scene.serve("third", "robot");
    let mut third = third;
    third.says("what", "ready", 1);
    assert!(third.stop().is_empty(), "everything was done already");
}
