//! What ran is remembered on a server that hosts share, by the real program.
//!
//! On purpose not here: what holds of such a catalog (`tests/tests/catalog`).

use super::tree::put;
use super::world::{Ran, Word, World};
use holdfast_tests::postgres::{Cluster, Version};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A policy of one tree.
fn policy(world: &World) -> PathBuf {
    let (file, source) = (world.path("shop.yaml"), world.path("source"));
    put(source.join("file"), b"content");
    let text = format!(
        "name: shop\nrepository: {{ url: {}, password: {{ env: HOLDFAST_PASSWORD }} }}\n\
         sources: {{ tree: {{ files: {{ paths: [{}] }} }} }}\nobjectives: {{ rpo: 26h }}\n",
        world.repo.display(),
        source.display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// A host: another one has another home.
fn host(world: &World, home: &str) -> Command {
    let home = world.path(home);
    fs::create_dir_all(&home).unwrap();
    let mut command = world.command();
    command.env_remove("HOLDFAST_REPOSITORY").env_remove("XDG_STATE_HOME").env("HOME", home);
    command
}

fn ran(world: &World, mut command: Command, words: &[Word<'_>]) -> Ran {
    world.run_as(&mut command, words)
}

#[test]
fn hosts_share_what_they_remember_on_a_server() {
    let world = World::new();
    let file = policy(&world);
    let mut cluster = Cluster::new(Version::V15, "");
    cluster.sql("CREATE ROLE worker LOGIN PASSWORD 'right-secret'");
    cluster.sql("CREATE SCHEMA holdfast AUTHORIZATION worker");
    let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(cluster.data.join("pg_hba.conf"), rules).unwrap();
    cluster.sql("SELECT pg_reload_conf()");
    let url = format!("postgres://worker@127.0.0.1:{}/postgres", cluster.port);
    let passfile = world.path("pgpass");
    fs::write(&passfile, "127.0.0.1:*:postgres:worker:right-secret\n").unwrap();
    fs::set_permissions(&passfile, Permissions::from_mode(0o600)).unwrap();
    let lets_in = |mut command: Command| {
        command.env("PGPASSFILE", &passfile);
        command
    };

    // Nobody ran it yet: a look makes nothing there.
    ran(&world, lets_in(host(&world, "b")), &[&"status", &"--catalog", &url])
        .ends(3)
        .says(&["no policy is remembered"]);
    assert_eq!(cluster.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'holdfast'"), "0");
    ran(&world, lets_in(host(&world, "a")), &[&"run", &file, &"--catalog", &url]).ends(0);
    assert!(!world.path("a/.local").exists());
    // Another host knows of it.
    let mut other = lets_in(host(&world, "b"));
    other.env("HOLDFAST_CATALOG", &url);
    let shown = ran(&world, other, &[&"status"]).ends(0).out;
    assert!(shown.contains("shop/tree"), "{shown}");

    // Who is not let in goes on, and is told what to do.
    let mut wrong = host(&world, "a");
    wrong.env("PGPASSWORD", "wrong-secret").env("HOLDFAST_CATALOG", &url);
    let said = ran(&world, wrong, &[&"run", &file]).ends(0).says(&["does not let us in", "PGPASSFILE"]).err;
    assert!(!said.contains("secret"), "{said}");
    fs::set_permissions(&passfile, Permissions::from_mode(0o644)).unwrap();
    ran(&world, lets_in(host(&world, "a")), &[&"run", &file, &"--catalog", &url])
        .ends(2)
        .says(&["can be read by others", "chmod 600"]);
    fs::set_permissions(&passfile, Permissions::from_mode(0o600)).unwrap();

    cluster.stop();
    ran(&world, lets_in(host(&world, "a")), &[&"run", &file, &"--catalog", &url])
        .ends(0)
        .says(&["without a memory", "see that it runs"]);
    // A wrong name is no server that is away.
    let with_password = url.replace("worker@", "worker:right-secret@");
    let said = ran(&world, host(&world, "a"), &[&"run", &file, &"--catalog", &with_password])
        .ends(2)
        .says(&["password in the URL"])
        .err;
    assert!(!said.contains("right-secret"), "{said}");
    let misspelt = format!("{url}?sslmod=require");
    ran(&world, host(&world, "a"), &[&"run", &file, &"--catalog", &misspelt]).ends(2).says(&["sslmod"]);
}
