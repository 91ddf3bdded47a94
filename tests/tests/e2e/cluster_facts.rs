//! What a snapshot of a cluster records beside its files: databases, extensions, rows, and the
//! configuration that lies elsewhere.
//!
//! On purpose not here: the files, which are in `cluster.rs`.

use super::cluster::{fill, restore, start, world};
use super::world::Word;
use holdfast_tests::postgres::{Cluster, VERSIONS, give_away};
use std::fs;

#[test]
fn rows_and_configuration_are_recorded_beside_the_files() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "");
        fill(&cluster);
        cluster.sql("alter role backup set work_mem = '7MB'");
        // As some systems have it: not in the folder of the data.
        let elsewhere = cluster.folder("etc").join("hba.conf");
        cluster.stop();
        fs::rename(cluster.data.join("pg_hba.conf"), &elsewhere).unwrap();
        give_away(elsewhere.parent().unwrap());
        cluster.set(&format!("hba_file = '{}'", elsewhere.display()));
        cluster.set("idle_session_timeout = '1min'");
        cluster.start();

        let found = world.run(&[&"preflight", &cluster.url()]).ends(0);
        assert!(found.out.contains("cross the network at each backup"), "{found:?}");
        let url = cluster.url();
        let words: [Word<'_>; 7] =
            [&"backup", &"--json", &url, &"--count-rows", &"postgres.public.plain", &"--count-rows", &"x.y"];
        let ran = world.run(&words).ends(0);
        assert!(ran.err.contains("rows of x.y"), "{ran:?}");
        let facts = ran.summary()["source_facts"].clone();
        assert_eq!(facts["rows postgres.public.plain"], "20000", "{facts}");
        let between = facts["rows postgres.public.plain LSN"].as_str().unwrap().split(' ').count();
        assert_eq!(between, 2, "{facts}");
        for name in [
            "database other",
            "database other collation",
            "database other extension plpgsql",
            "restore point",
        ] {
            assert!(facts[name].is_string(), "{name}: {facts}");
        }

        // It is put beside the folder of the data, never into it.
        let ours = restore(&world, "ours", &[]);
        assert!(!ours.join("restored-config").exists());
        let beside = world.path("ours.restored-config");
        let kept = fs::read(beside.join("files").join(elsewhere.strip_prefix("/").unwrap())).unwrap();
        assert_eq!(kept, fs::read(&elsewhere).unwrap());
        let read = |name: &str| fs::read_to_string(beside.join(name)).unwrap();
        assert!(
            read("role_settings.tsv").contains("\tbackup\t{work_mem=7MB}"),
            "{}",
            read("role_settings.tsv")
        );
        assert!(read("settings.tsv").contains("hba_file\t"), "{}", read("settings.tsv"));
        assert!(read("hba_rules.tsv").lines().count() > 2);
        let restored = {
            // The old server's own place is not this one's.
            let conf = ours.join("postgresql.conf");
            let text = fs::read_to_string(&conf).unwrap().replace("hba_file = ", "#");
            fs::write(&conf, text).unwrap();
            fs::write(ours.join("pg_hba.conf"), "local all all trust\n").unwrap();
            start(version, &ours)
        };
        assert_eq!(restored.sql("select count(*) from plain"), "20000");

        // A role that may replicate and nothing else: the backup is whole, and says what it lacks.
        cluster.stop();
        fs::write(&elsewhere, "local all postgres trust\nlocal replication backup trust\n").unwrap();
        cluster.start();
        let url = cluster.url().replace("postgres@", "backup@");
        world.run(&[&"backup", &url]).ends(0).says(&["does not let us in for SQL"]);
        let found = world.run(&[&"preflight", &url]).ends(0);
        assert!(found.out.contains("local postgres backup scram-sha-256"), "{found:?}");
    }
}
