//! Drills of dumps by a policy, on real servers: a server of the drill's own takes them and is asked; what
//! it does not take, and what is not in it, is found with its cause.
//!
//! On purpose not here: drills of clusters, and dumps that fail.

use super::cluster::world;
use super::cluster_drill_policy::{Drilled, Setting};
use super::cluster_dumps::sql;
use super::cluster_dumps_bad::broken;
use super::world::objects;
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use std::fs;

/// A cluster with a database of some use, tables, a role, and a tablespace.
fn furnished(version: Version) -> Cluster {
    let cluster = Cluster::new(version, "");
    cluster.sql("create role app login password 'nobody knows'; create role readers; grant readers to app");
    let space = cluster.folder("fast");
    cluster.sql(&format!("create tablespace \"Fast \"\"One\" location '{}'", space.display()));
    cluster.sql("create database \"My Shop\" owner app");
    let things = "create table orders (id int primary key, email text); create index by_email on orders (email); \
        insert into orders select n, n || '@x' from generate_series(1, 500) n; alter table orders owner to app; \
        create table items (id int) tablespace \"Fast \"\"One\"; insert into items select generate_series(1, 70); \
        create materialized view many as select * from orders; delete from orders where id = 500; \
        select lo_from_bytea(4242, 'c0ffee')";
    sql(&cluster, "My Shop", things);
    cluster
}

fn setting(version: Version, cluster: &Cluster) -> Setting {
    let counted =
        "count_rows: ['\"My Shop\".public.orders', '\"My Shop\".public.items', '\"My Shop\".public.many']";
    let source = format!("postgres: {{ url: \"{}\", logical: {{}}, {counted}, BINS }}", cluster.url());
    Setting::new(world(), version, &source)
}

const ASKS: &str = "    - { source: db, name: orders, database: My Shop, sql: 'select count(*) from orders', expect: 499 }\n";

#[test]
fn a_server_takes_them_and_answers() {
    for version in VERSIONS {
        let cluster = furnished(version);
        let setting = setting(version, &cluster);
        setting.drill(&format!(
            "{ASKS}    - {{ source: db, name: readers, sql: \"select pg_has_role('app', 'readers', 'member')\" }}\n\
             \x20   - {{ source: db, name: files, command: [ sh, -c, 'test -s \"$1\"/globals.sql && echo x >> COUNTED', sh, '{{target}}' ] }}\n"
        ));
        setting.backs_up(None).ends(0);
        let live = objects(&setting.space(&cluster));
        let drilled = setting.drilled(0);
        assert_eq!(drilled.source["kind"], "dumps");
        assert_eq!(
            (&drilled.source["reached"], &drilled.record["verdict"]),
            (&"full".into(), &"pass".into())
        );
        drilled.finds_nothing();
        // The command looked at what was restored.
        assert_eq!(fs::read_to_string(setting.counted()).unwrap(), "x\n");
        let counted = |probe: &str, what: &str| drilled.probe(probe)["counts"][what].as_u64().unwrap();
        assert_eq!(counted("load", "databases"), 2);
        assert_eq!(counted("rows of \"My Shop\"", "tables counted"), 2);
        assert_eq!(counted("dump of \"My Shop\"", "databases"), 1);
        let relations = drilled.probe("tables and indexes of \"My Shop\"");
        assert_eq!(relations["counts"]["relations"], relations["counts"]["relations checked"], "{relations}");
        let load = drilled.probe("load").to_string();
        assert!(load.contains("tablespaces went to scratch"), "{load}");
        assert!(drilled.probe("isolation").to_string().contains("network: none"));
        let phases = drilled.source["phases"].as_array().unwrap();
        let phases: Vec<_> =
            phases.iter().map(|phase| (phase["name"].as_str().unwrap(), phase["counts"] == true)).collect();
        let all =
            [("restore", false), ("compare", false), ("start", false), ("load", true), ("checks", false)];
        assert_eq!(phases, all);
        assert_eq!(objects(&setting.space(&cluster)), live, "the live tablespace was touched");
        assert!(!drilled.record.to_string().contains("@x"), "{:#}", drilled.record);
    }
}

#[test]
fn what_does_not_come_back_is_found_with_its_cause() {
    let version = Version::V15;
    let cluster = furnished(version);
    let setting = setting(version, &cluster);
    setting.drill(ASKS);
    let real = version.programs();

    // A table that was full when it was counted.
    let emptied =
        broken(&setting.world, "emptied", real, "exec $REAL --exclude-table-data=public.orders \"$@\"");
    setting.backs_up(Some(&emptied)).ends(0);
    let drilled = setting.drilled(20);
    drilled.finds("backup", &["orders: recorded 499, restored 0", "of one moment"]);
    drilled.finds("assertion", &["orders: expected 499, got 0"]);

    // A dump that ends too early, by a program that says that all is well.
    let half = broken(&setting.world, "half", real, "$REAL \"$@\" | head -c 6000");
    setting.backs_up(Some(&half)).ends(0);
    let drilled = setting.drilled(20);
    drilled.finds("backup", &["cannot restore the database", "pg_restore failed"]);
    assert_eq!(drilled.source["reached"], "restore");

    // What this host lacks proves nothing: an extension, and the server.
    setting.backs_up(None).ends(0);
    setting.drilled(0).finds_nothing();
    let extension = "insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) values \
        (60000, 'not_there', 10, 2200, true, '1.0')";
    sql(&cluster, "My Shop", extension);
    setting.backs_up(None).ends(0);
    let drilled: Drilled = setting.drilled(23);
    drilled.finds("environment", &["not_there"]);
    let nowhere = setting.world.path("nowhere");
    let drilled = setting.drilled_with(23, &[("HOLDFAST_PG_BIN", &nowhere)]);
    drilled.finds("environment", &["no server programs of PostgreSQL 15"]);
    assert_eq!(drilled.source["reached"], "restore");
}
