//! Drills of trees and commands by the real program: what passes, what fails and why, what is promised,
//! and that nothing is left behind.
//!
//! On purpose not here: clusters and buckets, which need servers.

use super::run::Shop;
use super::tree::{noise, put};
use super::world::{Ran, objects};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

fn drilled(ran: &Ran) -> Value {
    let lines = ran.lines();
    lines
        .into_iter()
        .find(|line| line["message_type"] == "drill")
        .unwrap_or_else(|| panic!("no drill: {ran:?}"))
}

/// What drills have in their scratch folders.
fn left(shop: &Shop) -> Vec<String> {
    objects(&shop.world.cache.join("scratch"))
}

/// The healthy one passes, again and again; nothing is left; each leaves its record; a CI server can read it.
#[test]
fn the_healthy_drill_passes_twenty_times_in_a_row() {
    let shop = Shop::new("drill: {}\nobjectives: { rpo: 1d, rto: 1h }\n");
    shop.json("run", &["--no-drill"]).ends(0);
    for number in 0..20 {
        let ran = shop.json("drill", &["--now"]).ends(0);
        let drill = drilled(&ran);
        assert_eq!(drill["verdict"], "pass", "{number}: {drill}");
        assert!(drill["stored"].is_string(), "{drill}");
    }
    assert_eq!(left(&shop), Vec::<String>::new());
    let [junit, markdown, html] = ["junit.xml", "summary.md", "page.html"].map(|name| shop.world.path(name));
    put(&markdown, b"# before\n");
    let words = ["--junit", junit.to_str().unwrap(), "--markdown", markdown.to_str().unwrap()];
    let ran = shop.plain("drill", &[&words[..], &["--html", html.to_str().unwrap()]].concat()).ends(0);
    assert!(ran.out.contains("tree") && ran.out.contains("pass"), "{}", ran.out);
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    assert!(read(&junit).contains("<testsuite") && read(&junit).contains("failures=\"0\""));
    assert!(read(&markdown).starts_with("# before\n") && read(&markdown).contains("shop"));
    assert!(read(&html).contains("</html>"));
    let records = shop.world.run(&[&"evidence", &"show", &"--json"]).ends(0).lines();
    assert_eq!(records.iter().filter(|line| line["kind"] == "drill").count(), 21);
    shop.world.run(&[&"evidence", &"verify"]).ends(0);
}

/// A drill fails of what it is for, and says which it was.
#[test]
fn what_does_not_come_back_is_named() {
    let shop = Shop::new("drill: {}\n");
    put(shop.world.path("tree/large"), noise(1, 200_000));
    // There is no backup yet.
    let ran = shop.json("drill", &[]).ends(20);
    assert!(drilled(&ran)["record"].to_string().contains("no snapshot"), "{ran:?}");
    shop.json("run", &["--no-drill"]).ends(0);
    let mut packs = shop.world.objects().into_iter().filter(|name| name.starts_with("packs/data/"));
    let pack = shop.world.repo.join(packs.next_back().unwrap());
    let bytes = fs::read(&pack).unwrap();
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::remove_file(&pack).unwrap();
    put(&pack, damaged);
    let ran = shop.json("drill", &[]).ends(20);
    let record = drilled(&ran)["record"].clone();
    assert!(record["sources"][0]["probes"].to_string().contains("\"backup\""), "{record}");
    shop.plain("drill", &[]).ends(20).says(&["tree"]);
    fs::remove_file(&pack).unwrap();
    put(&pack, bytes);
    shop.json("drill", &[]).ends(0);
    // A key that does not open it any more.
    let mut command = shop.command();
    command.env("SHOP_PASSWORD", "another").args(["drill", "--json"]).arg(&shop.policy);
    command.arg("--evidence").arg(shop.world.path("evidence"));
    let ran = shop.world.run_as(&mut command, &[]).ends(20);
    let drill = drilled(&ran);
    assert!(drill["stored"].is_null() && drill["not_stored"].is_string(), "{drill}");
    // Where the repository does not take the record it is not lost.
    let file = fs::read_to_string(drill["file"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&file).unwrap()["id"], drill["id"]);
    // A secret that is not on this host proves nothing.
    let mut command = shop.command();
    command.env_remove("SHOP_PASSWORD").args(["drill", "--json"]).arg(&shop.policy);
    shop.world.run_as(&mut command, &[]).ends(23);
    assert_eq!(left(&shop), Vec::<String>::new());
}

/// Promises that are broken have codes of their own.
#[test]
fn promises_are_held_against_what_was_measured() {
    let shop = Shop::new("drill: { level: restore }\nobjectives: { rto: 1s }\n");
    put(shop.world.path("tree/large"), noise(1, 300_000));
    shop.json("run", &["--no-drill"]).ends(0);
    // So slow a way takes three seconds for it.
    let slow = ["--limit-download", "100K"];
    let ran = shop.json("drill", &slow).ends(21);
    assert_eq!(drilled(&ran)["verdict"], "pass");
    shop.plain("drill", &slow).ends(21).says(&["promise", "rto"]);
    let text = fs::read_to_string(&shop.policy).unwrap();
    put(&shop.policy, text.replace("{ rto: 1s }", "{ rto: { target: 1s, enforce_on: [ another-host ] } }"));
    shop.json("drill", &slow).ends(0);
    put(&shop.policy, text.replace("{ rto: 1s }", "{ rto: 1s, rpo: 1s }"));
    // The drills before took longer than that.
    let ran = shop.json("drill", &slow).ends(22);
    assert!(drilled(&ran)["record"]["objectives"].to_string().contains("rpo"));
}

/// A command without a way to verify what it wrote proves nothing; with one it passes or fails by that.
#[test]
fn what_a_program_writes_is_verified_by_another() {
    let source = |verify: &str| {
        format!(
            "
repository: {{ url: repo, password: {{ env: SHOP_PASSWORD }} }}
sources: {{ list: {{ command: {{ run: [ echo, one ], file_name: list.txt{verify} }} }} }}
drill: {{}}
"
        )
    };
    let shop = Shop::new("");
    shop.write(&source(""));
    shop.json("run", &["--no-drill"]).ends(0);
    let verified = |verify: &str, code: i32| {
        shop.write(&source(verify));
        drilled(&shop.json("drill", &[]).ends(code))
    };
    verified(", verify: [ grep, -q, one, '{target}' ]", 0);
    verified(", verify: [ grep, -q, two, '{target}' ]", 20);
}

/// Where, what and how is stated, and what cannot be is refused before anything is done.
#[test]
fn what_is_asked_for_is_done_or_refused() {
    let shop = Shop::bare(
        "
repository: { url: repo, password: { env: SHOP_PASSWORD }, create: true }
copies: [ { name: offsite, url: offsite, password: { env: SHOP_PASSWORD }, create: true } ]
sources: { tree: { files: { paths: [ tree ] } } }
drill: { cron: '0 4 1 1 *', from: [ repository, offsite ] }
",
    );
    // The drill has a time of its own: a run does not drill.
    let ran = shop.json("run", &[]).ends(0);
    assert!(ran.lines().iter().all(|line| line["message_type"] != "drill"));
    // Nothing was ever drilled: it is due. Then not until next year.
    let from = |ran: &Ran| drilled(ran)["from"].as_str().unwrap().to_owned();
    let first = from(&shop.json("drill", &["--due"]).ends(0));
    let ran = shop.json("drill", &["--due"]).ends(0);
    assert_eq!(ran.lines().last().unwrap()["message_type"], "not_due");
    shop.plain("drill", &["--due"]).ends(0).says(&["the next one is due at"]);
    // They take turns.
    let second = from(&shop.json("drill", &["--due", "--now"]).ends(0));
    assert_ne!(first, second);
    assert_eq!(from(&shop.json("drill", &["--from", "offsite", "--level", "restore"]).ends(0)), "offsite");
    let id = shop.snapshots("repo")[0]["id"].as_str().unwrap().to_owned();
    let ran = shop.json("drill", &["--from", "repository", "--snapshot", &id[..8]]).ends(0);
    assert_eq!(drilled(&ran)["record"]["sources"][0]["snapshot"], id.as_str());
    shop.plain("drill", &["--from", "nowhere"]).ends(2).says(&["nowhere", "offsite"]);
    shop.plain("drill", &["--source", "nothing"]).ends(2).says(&["nothing"]);
    shop.plain("drill", &["--to", "latest"]).ends(2).says(&["--to"]);
    let text = fs::read_to_string(&shop.policy).unwrap();
    put(&shop.policy, text.replace("from: [", "hosts: [ drill-host.invalid ], from: ["));
    shop.plain("drill", &[]).ends(2).says(&["drill-host.invalid"]);
    let ran = shop.json("run", &["--drill"]).ends(0);
    assert!(ran.lines().iter().all(|line| line["message_type"] != "drill"));
}
