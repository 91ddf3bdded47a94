//! Clusters of PostgreSQL, block by block: a second backup adds what changed and little beside, and
//! what comes back starts and is what the server has.
//!
//! On purpose not here: what a lost map or a lost chunk costs, which `crates/engine/tests` shows.

use super::cluster::{restore, start, world};
use super::world::{World, count, objects};
use holdfast_tests::postgres::{Cluster, Version};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const BLOCK: usize = 8192;
/// Larger files are compared block by block.
const SMALL_BYTES_MAX: usize = 128 << 10;

/// What a restored cluster holds, the log left out.
type Files = BTreeMap<String, Vec<u8>>;

fn files(root: &Path) -> Files {
    let held =
        objects(root).into_iter().filter(|path| !path.starts_with("pg_wal/") && path != "backup_manifest");
    held.map(|path| (path.clone(), fs::read(root.join(path)).unwrap())).collect()
}

/// Blocks of large files that differ, and bytes of small ones that do.
fn differing(old: &Files, new: &Files) -> (u64, u64) {
    let (mut blocks, mut small) = (0, 0);
    for (path, bytes) in new {
        let before = old.get(path).map_or(&[][..], Vec::as_slice);
        if bytes.len() > SMALL_BYTES_MAX {
            let mut before = before.chunks(BLOCK);
            blocks += bytes.chunks(BLOCK).filter(|block| before.next() != Some(block)).count() as u64;
        } else if before != bytes {
            small += bytes.len() as u64;
        }
    }
    (blocks, small)
}

fn backup(world: &World, cluster: &Cluster) -> Value {
    cluster.sql("checkpoint");
    world.run(&[&"backup", &"--json", &cluster.url()]).ends(0).summary()
}

const SUMS: &str = "select (select sum(hashtext(a::text)::bigint) from pgbench_accounts a), \
                    (select count(*) from pgbench_history), (select sum(tbalance) from pgbench_tellers)";

#[test]
fn a_second_backup_adds_the_blocks_that_changed() {
    let world = world();
    let cluster = Cluster::new(Version::V18, "");
    cluster.tool("pgbench", &[&"-i", &"-s", &"5", &"-q", &"postgres"]);
    let first = backup(&world, &cluster);
    // Nothing changes: a piece of log, the manifest, small files that tell of the backup.
    let idle = count(&backup(&world, &cluster), "data_added");
    assert!(idle < 8 << 20, "{idle}");
    let before = files(&restore(&world, "before", &[]));
    cluster.tool("pgbench", &[&"-n", &"-c", &"2", &"-t", &"200", &"postgres"]);
    let second = backup(&world, &cluster);
    let sums = cluster.sql(SUMS);
    let ours = restore(&world, "second", &[]);
    let after = files(&ours);
    let (blocks, small) = differing(&before, &after);
    let added = count(&second, "data_added").saturating_sub(idle);
    eprintln!(
        "{} bytes at first, {idle} when nothing changed; then {blocks} blocks and {small} bytes of small files changed: \
         {added} bytes more, {} for each block",
        count(&first, "data_added"),
        added / blocks.max(1),
    );
    assert!(blocks > 100, "{blocks}");
    // Hashes of the blocks of all stretches that changed, names of chunks, pages of the tree.
    let hashes: usize = after.values().map(|bytes| bytes.len() / BLOCK * 8).sum();
    let most = blocks * (BLOCK as u64 + 100) + small + hashes as u64 + (1 << 20);
    assert!(added < most, "{added} of {most}: {second}");
    assert!((added + idle) * 5 < count(&first, "data_added"), "{second}");
    // One of its files, as a stream.
    let relation = after.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let dumped = world.command().args(["dump", &format!("latest:/{}", relation.0)]).output().unwrap();
    assert!(dumped.status.success() && dumped.stdout == *relation.1, "{}", relation.0);
    let restored = start(Version::V18, &ours);
    assert_eq!(restored.sql(SUMS), sums);
    restored.sql("create extension amcheck");
    restored.tool("pg_amcheck", &[&"--all", &"--heapallindexed"]);
    drop(restored);
    // Truncated and filled again, dropped, made; and the cache is lost, which costs nothing here.
    cluster.sql("truncate pgbench_history; drop table pgbench_tellers; create table more as select * from pgbench_accounts");
    cluster.sql("delete from pgbench_accounts where aid > 200000");
    cluster.sql("vacuum pgbench_accounts");
    fs::remove_dir_all(&world.cache).unwrap();
    let third = backup(&world, &cluster);
    assert!(count(&third, "data_added") < count(&first, "data_added") * 3 / 2, "{third}");
    let sums =
        "select (select sum(hashtext(a::text)::bigint) from pgbench_accounts a), (select count(*) from more)";
    let ours = restore(&world, "third", &[]);
    assert_eq!(start(Version::V18, &ours).sql(sums), cluster.sql(sums));
    world.check();
}
