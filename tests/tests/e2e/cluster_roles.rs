//! A cluster whose host can back it up and not read it: block by block, with its log, and databases one by
//! one; a host that reads starts what comes back.
//!
//! On purpose not here: clusters by themselves (`cluster`, `cluster_blocks`, `cluster_stream`).

use super::cluster::{start, world};
use super::roles::Member;
use super::world::{Word, World, count, objects};
use holdfast_core::keys::Role;
use holdfast_tests::postgres::{Cluster, Version};
use serde_json::Value;

fn back_up(world: &World, writer: &Member, cluster: &Cluster, more: &[&str]) -> Value {
    cluster.sql("checkpoint");
    let url = cluster.url();
    let common: [Word<'_>; 3] = [&"backup", &"--json", &url];
    let words: Vec<Word<'_>> = common.into_iter().chain(more.iter().map(|word| word as _)).collect();
    writer.run(world, &words).ends(0).summary()
}

const SUMS: &str = "select (select sum(hashtext(a::text)::bigint) from pgbench_accounts a), \
                    (select count(*) from pgbench_history), (select sum(tbalance) from pgbench_tellers)";

#[test]
fn a_writer_backs_a_cluster_up_and_a_reader_restores_it() {
    let world = world();
    let [writer, reader] = [Role::Writer, Role::Reader].map(|role| Member::admitted(&world, role));
    let cluster = Cluster::new(Version::V15, "");
    cluster.tool("pgbench", &[&"-i", &"-s", &"5", &"-q", &"postgres"]);
    let first = back_up(&world, &writer, &cluster, &[]);
    cluster.tool("pgbench", &[&"-n", &"-c", &"2", &"-t", &"200", &"postgres"]);
    let second = back_up(&world, &writer, &cluster, &[]);
    assert!(count(&second, "data_added") * 3 < count(&first, "data_added"), "{first} {second}");
    // The log: what is there is compared by its hash, which takes no key to read.
    let url = cluster.url();
    let stream = |more: &[&str]| {
        let common: [Word<'_>; 7] = [&"wal", &"stream", &url, &"--slot", &"roles", &"--once", &"--json"];
        let words: Vec<Word<'_>> = common.into_iter().chain(more.iter().map(|word| word as _)).collect();
        writer.run(&world, &words).ends(0)
    };
    stream(&["--create-slot", "--slot-limit", "1G"]);
    cluster.sql("create table after as select generate_series(1, 1000) n");
    cluster.sql("select pg_switch_wal()");
    stream(&[]);
    stream(&[]);
    let segments = || objects(&world.repo).iter().filter(|name| name.starts_with("wal/")).count();
    assert!(segments() > 0);
    reader
        .run(&world, &[&"wal", &"stream", &url, &"--slot", &"roles", &"--once"])
        .ends(1)
        .says(&["this key is a reader's"]);
    let sums = cluster.sql(SUMS);
    let target = world.path("ours");
    // Whom the server runs as may not run this program where it lies.
    let alone: [Word<'_>; 3] = [&"--to", &"immediate", &"--without-restore-command"];
    let words =
        [&[&"restore" as Word<'_>, &"latest", &"--target", &target, &"--verify"][..], &alone].concat();
    reader.run(&world, &words).ends(0);
    let restored = start(Version::V15, &target);
    assert_eq!(restored.sql(SUMS), sums);
    drop(restored);
    let dumped = back_up(&world, &writer, &cluster, &["--logical"]);
    assert!(count(&dumped, "files_new") > 0, "{dumped}");
    world.check();
}
