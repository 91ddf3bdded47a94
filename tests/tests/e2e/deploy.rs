//! What is shipped to run holdfast by: units, a container file, Kubernetes, Ansible and rules for
//! Prometheus, each looked at by the program that it is for, or by one that knows its rules.
//!
//! `tests/run.sh` installs those programs. On purpose not here: starting any of it.

use super::run::Shop;
use super::tree::put;
use super::world::{World, program, run_tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn shipped(name: &str) -> PathBuf {
    root().join("policies/deploy").join(name)
}

fn tool(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run tests/run.sh")).into()
}

/// A program of those that `tests/deploy/requirements.txt` lists.
fn listed(name: &str) -> Command {
    let tools = tool("HOLDFAST_DEPLOY");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", &tools).arg(tools.join("bin").join(name));
    command
}

/// All that a program said, both ways.
fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[track_caller]
fn is_fine(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    said(&output)
}

/// Units as they are, but for the place of the program.
fn units(world: &World) -> Vec<PathBuf> {
    let folder = world.path("units");
    for entry in fs::read_dir(shipped("systemd")).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let text = text.replace("/usr/local/bin/holdfast", program().to_str().unwrap());
        put(folder.join(entry.file_name()), text);
    }
    let mut units: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    units.sort();
    units
}

#[test]
fn units_of_systemd_are_understood_and_walled_in() {
    let world = World::bare();
    let units = units(&world);
    assert_eq!(units.len(), 4);
    for unit in &units {
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output().unwrap();
        // What it does not understand it tells, and ends well all the same.
        let about_ours = said(&output).lines().any(|line| line.contains("holdfast"));
        assert!(output.status.success() && !about_ours, "{}: {}", unit.display(), said(&output));
        if unit.extension().is_some_and(|kind| kind == "service") {
            let threshold = ["security", "--offline=yes", "--threshold=50"];
            is_fine(Command::new("systemd-analyze").args(threshold).arg(unit));
        }
    }
    // It is not blind.
    let bad = world.path("units/bad.service");
    put(&bad, "[Service]\nExecStart=/no/such/holdfast\nRestrt=always\n");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&bad).output().unwrap();
    assert!(said(&output).contains("Restrt"), "{}", said(&output));
}

#[test]
fn the_container_file_is_sound() {
    is_fine(hadolint().arg(shipped("container/Containerfile")));
    let world = World::bare();
    put(
        world.path("Containerfile"),
        "FROM debian\nRUN cd /x && sudo apt-get install y\nENTRYPOINT holdfast\n",
    );
    assert!(!hadolint().arg(world.path("Containerfile")).status().unwrap().success());
}

/// A program of its own, not one of Python.
fn hadolint() -> Command {
    Command::new(tool("HOLDFAST_DEPLOY").join("bin/hadolint"))
}

#[test]
fn kubernetes_takes_its_objects_and_we_take_the_policy_in_them() {
    let file = shipped("kubernetes/holdfast.yaml");
    let told = is_fine(listed("kubernetes-validate").arg("--strict").arg(&file));
    assert_eq!(told.matches(" passed for resource ").count(), 5, "{told}");
    let text = fs::read_to_string(&file).unwrap();
    let world = World::bare();
    put(world.path("bad.yaml"), text.replace("replicas: 1 ", "replica: 1 "));
    let bad = listed("kubernetes-validate").arg("--strict").arg(world.path("bad.yaml")).output().unwrap();
    assert!(!bad.status.success(), "{}", said(&bad));

    let policy = world.path("shop.yaml");
    put(&policy, block(&text, "shop.yaml"));
    world.run(&[&"policy", &"check", &policy]).ends(0);
}

/// A text that stands in a YAML file as a block under a name.
fn block(text: &str, name: &str) -> String {
    let (_, rest) = text.split_once(&format!("\n  {name}: |\n")).unwrap();
    let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn ansible_understands_the_playbook() {
    let world = World::bare();
    let syntax = |file: &Path| {
        let mut command = listed("ansible-playbook");
        command.args(["--syntax-check", "-i", "backup1,"]).arg(file);
        command.env("ANSIBLE_HOME", world.path("ansible")).env("LC_ALL", "C.UTF-8");
        command
    };
    let playbook = shipped("ansible/holdfast.yml");
    is_fine(&mut syntax(&playbook));
    let text = fs::read_to_string(&playbook).unwrap();
    put(world.path("bad.yml"), text.replace("ansible.builtin.user:", "ansible.builtin.usr:"));
    assert!(!syntax(&world.path("bad.yml")).output().unwrap().status.success());
    // What it copies is there.
    assert!(text.contains("holdfast.service") && shipped("systemd/holdfast.service").exists());
}

#[test]
fn prometheus_understands_the_rules_and_what_is_written() {
    let rules = root().join("policies/alerts.rules.yml");
    let promtool = || Command::new(tool("HOLDFAST_PROMTOOL"));
    is_fine(promtool().args(["check", "rules"]).arg(&rules));
    let shop = Shop::new("objectives: { rpo: 1d }\n");
    let world = &shop.world;
    put(world.path("alerts.rules.yml"), fs::read(&rules).unwrap());
    put(world.path("alerts.test.yml"), fs::read(root().join("tests/deploy/alerts.test.yml")).unwrap());
    is_fine(promtool().args(["test", "rules"]).arg(world.path("alerts.test.yml")));

    shop.json("run", &[]).ends(0);
    let file = world.path("holdfast.prom");
    shop.plain("status", &["--metrics", file.to_str().unwrap()]);
    let mut check = Command::new("sh");
    check.args(["-c", "exec \"$1\" check metrics <\"$2\"", "sh"]).arg(tool("HOLDFAST_PROMTOOL")).arg(&file);
    run_tool(&mut check);
    assert!(fs::read_to_string(&file).unwrap().contains("holdfast_last_good_timestamp_seconds{"));
}
