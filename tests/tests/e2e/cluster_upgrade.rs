//! The night of an upgrade: behind one name there is another cluster, of a later version.
//!
//! It is a source of its own from its first backup on; nobody has to be told. On purpose not here: what
//! becomes of its log, which lies by the cluster's own number in the archive.

use super::cluster::{start, world};
use holdfast_tests::postgres::{Cluster, VERSIONS};
use serde_json::Value;

#[test]
fn what_comes_after_an_upgrade_is_kept_beside_what_was_before() {
    let world = world();
    let clusters = VERSIONS.map(|version| Cluster::new(version, ""));
    for cluster in &clusters {
        for round in 0..3 {
            cluster.sql(&format!("create table round_{round} (id int)"));
            world.run(&[&"backup", &cluster.url(), &"--label", &"shop/db"]).ends(0);
        }
    }
    // Each keeps its own newest ones, and the first of the new one was compared with nothing.
    world.run(&[&"forget", &"--source", &"shop/db", &"--keep-last", &"2"]).ends(0);
    let listed = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    let hosts: Vec<&Value> = listed.iter().map(|line| &line["hostname"]).collect();
    assert_eq!(hosts.len(), 4, "{listed:#?}");
    assert!(hosts[0] == hosts[1] && hosts[2] == hosts[3] && hosts[1] != hosts[2], "{hosts:?}");
    // Which one is meant has to be said: they are two clusters.
    let target = world.path("target");
    let words = [&"restore" as &dyn AsRef<std::ffi::OsStr>, &"latest", &"--source", &"shop/db", &"--target"];
    let host = hosts[3].as_str().unwrap();
    let which = world.run(&[&words[..], &[&target]].concat()).ends(2);
    assert!(which.err.contains(&host[..8]), "{}", which.err);
    world.run(&[&words[..], &[&target, &"--host", &host]].concat()).ends(0);
    holdfast_tests::postgres::give_away(&target);
    let restored = start(VERSIONS[1], &target);
    assert_eq!(restored.sql("select count(*) from pg_tables where tablename like 'round%'"), "3");
}
