//! How things stand, by the real program: what monitoring hears, what people read.

use super::evidence::{append, drill};
use super::tree::put;
use super::world::{Ran, Word, World};
use std::fs;
use std::path::PathBuf;

/// A policy of two sources over the world's repository, of which only the first was backed up.
fn policy(world: &World, sources: &str, more: &str) -> PathBuf {
    let file = world.path("shop.yaml");
    let text = format!(
        "name: shop\nrepository: {{ url: {}, password: {{ env: HOLDFAST_PASSWORD }} }}\nsources:\n{sources}\n\
         schedule: {{ cron: '15 2 * * *', timezone: Asia/Seoul }}\nobjectives: {{ rpo: 26h }}\n{more}",
        world.repo.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn tree(world: &World) -> String {
    let source = world.path("source");
    put(source.join("file"), b"content");
    format!("  tree: {{ files: {{ paths: [{}] }} }}", source.display())
}

/// A verb that names its repository by the policy, not by the environment.
fn status(world: &World, words: &[&str], code: i32) -> Ran {
    let mut command = world.command();
    command.env_remove("HOLDFAST_REPOSITORY");
    let words: Vec<Word<'_>> =
        [&"status" as Word<'_>].into_iter().chain(words.iter().map(|word| word as Word<'_>)).collect();
    world.run_as(&mut command, &words).ends(code)
}

#[test]
fn what_is_backed_up_is_well_and_what_is_not_is_told() {
    let world = World::new();
    let sources = tree(&world);
    world.run(&[&"backup", &world.path("source"), &"--label", &"shop/tree"]).ends(0);
    let file = policy(&world, &sources, "");
    let file = file.to_str().unwrap();

    let lines = status(&world, &[file, "--json"], 0).lines();
    assert_eq!((&lines[0]["message_type"], &lines[0]["state"]), (&"source_status".into(), &"ok".into()));
    assert_eq!((&lines[0]["last_good_by"], &lines[0]["rpo_seconds"]), (&"snapshot".into(), &93600.0.into()));
    assert!(lines[0]["next_run"].is_string() && lines[0]["age_seconds"].as_f64().unwrap() < 600.0);
    assert_eq!(lines.last().unwrap()["problem_count"], 0);
    let shown = status(&world, &[file], 0).out;
    assert!(shown.starts_with("holdfast status  ") && shown.contains("\nshop/tree  "), "{shown}");

    let metrics = world.path("holdfast.prom");
    status(&world, &[file, "--metrics", metrics.to_str().unwrap()], 0);
    let text = fs::read_to_string(&metrics).unwrap();
    assert!(
        text.contains("\nholdfast_last_good_timestamp_seconds{policy=\"shop\",source=\"tree\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("\nholdfast_objective_rpo_seconds{policy=\"shop\",source=\"tree\"} 93600\n"),
        "{text}"
    );
    let nowhere = world.path("missing/x.prom");
    status(&world, &[file, "--metrics", nowhere.to_str().unwrap()], 3).says(&["cannot write the metrics"]);

    // A source that was never backed up, and a hold.
    world.run(&[&"hold", &"shop/tree", &"--reason", &"audit"]).ends(0);
    let both = format!("{sources}\n  media: {{ files: {{ paths: [/media] }} }}");
    policy(&world, &both, "");
    let ran = status(&world, &[file], 2);
    for text in [
        "HIGH shop/media has never been backed up whole",
        "\n  why      ",
        "\n  do       holdfast run ",
        "\n  do not   ",
        "\n  restore  ",
    ] {
        assert!(ran.out.contains(text), "{}", ran.out);
    }
    assert!(
        ran.out.contains(" on shop/tree since ") && ran.out.contains("until it is released: audit"),
        "{}",
        ran.out
    );
    ran.says(&["1 problem: 1 HIGH"]);
    let lines = status(&world, &[file, "--json"], 2).lines();
    let problem = lines.iter().find(|line| line["message_type"] == "problem").unwrap();
    assert_eq!((&problem["condition"], &problem["source"]), (&"no-backup".into(), &"media".into()));
}

#[test]
fn whatever_keeps_it_from_telling_is_3() {
    let world = World::new();
    let file = policy(&world, &tree(&world), "");
    let name = file.to_str().unwrap();
    status(&world, &[], 3).says(&["no policy is remembered", "holdfast status POLICY"]);
    status(&world, &["--json", "--no-such-option"], 3);
    status(&world, &["missing.yaml"], 3).says(&["missing.yaml"]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(world.path("wrong.yaml"), format!("{text}retenton: {{}}\n")).unwrap();
    status(&world, &["wrong.yaml"], 3).says(&["wrong.yaml:", "retenton", "holdfast policy check"]);
    status(&world, &["--forget", "shop"], 3).says(&["no policy shop is remembered"]);
    let postgres = world
        .run_as(world.command().env("HOLDFAST_CATALOG", "postgres://me:secret@db/x"), &[&"status", &name]);
    assert!(!postgres.ends(3).says(&["password in the URL"]).err.contains("secret"));
    let mysql = world.run_as(world.command().env("HOLDFAST_CATALOG", "mysql://db/x"), &[&"status", &name]);
    mysql.ends(3).says(&["not supported", "postgres://USER@HOST/DATABASE"]);

    // No secret here: nobody can tell. A wrong one, or no repository: a disaster.
    let mut command = world.command();
    command.env_remove("HOLDFAST_PASSWORD");
    let ran = world.run_as(&mut command, &[&"status", &name]).ends(3);
    assert!(ran.out.contains("UNKNOWN"), "{}", ran.out);
    let mut command = world.command();
    command.env("HOLDFAST_PASSWORD", "wrong");
    let ran = world.run_as(&mut command, &[&"status", &name]).ends(2);
    assert!(ran.out.contains("DISASTER") && ran.out.contains("password"), "{}", ran.out);
    fs::rename(&world.repo, world.path("away")).unwrap();
    let ran = status(&world, &[name], 2);
    assert!(ran.out.contains("DISASTER") && ran.out.contains("no repository"), "{}", ran.out);
}

#[test]
fn policies_that_were_run_are_remembered() {
    let world = World::new();
    let file = policy(&world, &tree(&world), "");
    let name = file.to_str().unwrap();
    let mut command = world.command();
    command.env_remove("HOLDFAST_REPOSITORY");
    world.run_as(&mut command, &[&"run", &name]).ends(0);
    let shown = status(&world, &[], 0).out;
    assert!(shown.contains("shop/tree"), "{shown}");
    assert_eq!(status(&world, &["shop"], 0).out.lines().count(), shown.lines().count());
    fs::remove_file(&file).unwrap();
    let ran = status(&world, &[], 3);
    assert!(ran.out.contains("UNKNOWN shop cannot be looked at"), "{}", ran.out);
    assert!(ran.out.contains("holdfast status --forget shop"), "{}", ran.out);
    status(&world, &["--forget", "shop"], 0);
    status(&world, &[], 3).says(&["no policy is remembered"]);
}

#[test]
fn evidence_that_was_tampered_with_is_no_good_news() {
    let world = World::new();
    let sources = tree(&world);
    world.run(&[&"backup", &world.path("source"), &"--label", &"shop/tree"]).ends(0);
    // Long ago, whatever the clock of this machine says.
    let failed = drill(&"aa".repeat(16), "shop", "fail").replace("2026-11-2", "2020-11-2");
    let names = append(&world, &[("drill", &failed)]);
    let file = policy(&world, &sources, "");
    let problems = |code: i32| {
        let lines = status(&world, &[file.to_str().unwrap(), "--json"], code).lines();
        let problems = lines.into_iter().filter(|line| line["message_type"] == "problem");
        problems.map(|line| [&line["condition"], &line["why"]].map(ToString::to_string)).collect::<Vec<_>>()
    };
    let before = problems(2);
    assert_eq!((before.len(), before[0][0].as_str()), (1, "\"drill-failed\""), "{before:?}");
    let record = world.repo.join(&names[0]);
    let mut bytes = fs::read(&record).unwrap();
    bytes[150] ^= 1;
    fs::remove_file(&record).unwrap();
    fs::write(&record, bytes).unwrap();
    let after = problems(1);
    assert_eq!((after.len(), after[0][0].as_str()), (1, "\"partly-unreadable\""), "{after:?}");
    assert!(after[0][1].contains("not as it should be"), "{after:?}");
}
