//! Dumps of single databases, on real servers: they come back equal, into new, empty and full databases,
//! and as files that the server's own programs read.
//!
//! On purpose not here: what goes wrong, which is in `cluster_dumps_bad.rs`.

use super::access::assert_recorded;
use super::cluster::{fill, world};
use super::world::{Ran, Word, World};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use std::fs;
use std::path::Path;

/// A name that no shell, URL or path takes as it is.
pub(super) const ODD: &str = "Sh op/é'\"1%=.";

/// How libpq is told of a database of that name.
pub(super) fn conninfo(name: &str) -> String {
    format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Runs with the programs of a version at hand.
pub(super) fn run_with(world: &World, programs: &Path, words: &[Word<'_>]) -> Ran {
    let mut command = world.command();
    command.env("HOLDFAST_PG_BIN", programs);
    world.run_as(&mut command, words)
}

/// Runs statements in a database, which have to succeed.
pub(super) fn sql(cluster: &Cluster, database: &str, text: &str) -> String {
    let output = cluster.try_sql(&conninfo(database), text);
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn with<'a>(words: &[Word<'a>], more: &[Word<'a>]) -> Vec<Word<'a>> {
    [words, more].concat()
}

/// What `pg_dump` says of the things in a database; a line of it differs each time.
fn schema(cluster: &Cluster, database: &str) -> String {
    let text = cluster.tool("pg_dump", &[&"--schema-only", &"-d", &conninfo(database)]);
    text.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
}

/// A cluster with databases, roles and large objects.
fn furnished(version: Version) -> Cluster {
    let cluster = Cluster::new(version, "");
    fill(&cluster);
    cluster.sql("create role app login password 'nobody knows'; create role readers; grant readers to app");
    cluster.sql(&format!("create database \"{}\" owner app", ODD.replace('"', "\"\"")));
    let things = "create schema deep; create type deep.mood as enum ('sad', 'glad'); \
        create table deep.\"Or ders\" (id int primary key, mood deep.mood default 'glad', made timestamptz); \
        insert into deep.\"Or ders\" select n, 'sad', now() from generate_series(1, 500) n; \
        alter table deep.\"Or ders\" owner to app; grant select on deep.\"Or ders\" to readers; \
        create view deep.few as select * from deep.\"Or ders\" where id < 7; \
        create function deep.twice(x int) returns int language sql as 'select x * 2'; \
        create sequence deep.s start 42; select nextval('deep.s')";
    sql(&cluster, ODD, things);
    cluster
}

/// What has to be the same on both sides.
fn sum(cluster: &Cluster) -> [String; 6] {
    let rows = "select count(*), md5(string_agg(t::text, ',' order by t.id)) from ";
    [
        sql(cluster, "postgres", &format!("{rows} plain t")),
        sql(cluster, "postgres", "select md5(lo_get(4242))"),
        sql(cluster, ODD, &format!("{rows} deep.\"Or ders\" t")),
        sql(cluster, ODD, "select deep.twice(21), nextval('deep.s'), (select count(*) from deep.few)"),
        schema(cluster, ODD),
        schema(cluster, "postgres"),
    ]
}

#[test]
fn databases_come_back_equal() {
    for version in VERSIONS {
        let world = world();
        let programs = version.programs();
        let cluster = furnished(version);
        let url = cluster.url();
        let words: [Word<'_>; 7] =
            [&"backup", &"--json", &url, &"--logical", &"--count-rows", &"public.plain", &"--count-rows"];
        let orders = format!("\"{}\".deep.\"Or ders\"", ODD.replace('"', "\"\""));
        let summary = run_with(&world, programs, &with(&words, &[&orders])).ends(0).summary();
        let facts = &summary["source_facts"];
        assert_eq!(facts["rows postgres.public.plain"], "20000", "{facts}");
        assert_eq!(facts[format!("rows {orders}")], "500", "{facts}");
        assert_eq!(facts["database postgres large objects"], "covered 1", "{facts}");
        for name in [
            "system identifier",
            "timeline",
            "server version",
            "database other",
            "database other extension plpgsql",
        ] {
            assert!(facts[name].is_string(), "{name}: {facts}");
        }
        let listed = world.run(&[&"ls", &"latest"]).ends(0).out;
        for name in ["/globals.sql", "/databases/other.dump", "/databases/Sh op%2Fé'\"1%25=..dump"] {
            assert!(listed.contains(name), "{name}: {listed}");
        }

        // What is there already, what is not, and roles.
        let before = sum(&cluster);
        let other = Cluster::new(version, "");
        let to = other.url();
        let restore: [Word<'_>; 4] = [&"restore", &"latest", &"--target", &to];
        let ran = run_with(&world, programs, &restore).ends(1);
        assert!(ran.err.contains("does not exist") && ran.err.contains("--globals"), "{ran:?}");
        assert_eq!(other.sql("select count(*) from pg_database where datname like 'Sh op%'"), "0", "by half");
        let dry = run_with(&world, programs, &with(&restore, &[&"--dry-run", &"--globals"])).ends(0);
        assert!(dry.out.contains("would make the database") && dry.out.contains("globals.sql"), "{dry:?}");
        other.sql("drop database if exists other");
        run_with(&world, programs, &with(&restore, &[&"--globals", &"--json"])).ends(0);
        assert_recorded(&world, "restore", "postgres://");
        assert_eq!(other.sql("select rolcanlogin from pg_roles where rolname = 'app'"), "t");
        assert_eq!(sum(&other), before);

        // Nothing that is there is changed unasked, and then all at once.
        let ran = run_with(&world, programs, &restore).ends(2);
        assert!(ran.err.contains("--overwrite always"), "{ran:?}");
        other.sql("delete from plain where id > 7; create table mine (id int)");
        run_with(&world, programs, &with(&restore, &[&"--database", &"postgres", &"--overwrite", &"always"]))
            .ends(0);
        assert_eq!(other.sql("select count(*), to_regclass('mine') from plain"), "20000|mine");
        other.sql("create view in_the_way as select * from plain");
        run_with(&world, programs, &with(&restore, &[&"--database", &"postgres", &"--overwrite", &"always"]))
            .ends(1)
            .says(&["in_the_way", "the database is as it was"]);
        assert_eq!(other.sql("select count(*) from in_the_way"), "20000");
    }
}

#[test]
fn dumps_are_files_too() {
    let world = world();
    let version = Version::V15;
    let cluster = Cluster::new(version, "");
    fill(&cluster);
    let one = cluster.url().replace("/?", "/other?");
    sql(&cluster, "other", "create table t as select generate_series(1, 10) id");
    run_with(&world, version.programs(), &[&"backup", &one, &"--logical"]).ends(0);
    let listed = world.run(&[&"ls", &"latest"]).ends(0).out;
    assert!(listed.contains("other.dump") && !listed.contains("postgres.dump"), "{listed}");
    let shown = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    assert!(shown[0]["source"].as_str().unwrap().ends_with("-other"), "{shown:?}");

    let files = world.path("files");
    world
        .run(&[&"restore", &"latest", &"--target", &files, &"--verify"])
        .ends(0)
        .says(&["pg_restore --create"]);
    let dump = world.path("again.dump");
    world.run(&[&"dump", &"latest:/databases/other.dump", &"--target", &dump]).ends(0);
    assert_eq!(fs::read(&dump).unwrap(), fs::read(files.join("databases/other.dump")).unwrap());
    fs::set_permissions(&dump, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(cluster.tool("pg_restore", &[&"--list", &dump]).contains("TABLE DATA public t"));
    assert!(fs::read_to_string(files.join("globals.sql")).unwrap().contains("CREATE ROLE backup"));

    // A backup of the cluster is no backup of dumps, and the other way round.
    world.run(&[&"backup", &cluster.url()]).ends(0);
    let url = cluster.url();
    let cluster_id = world.run(&[&"snapshots", &"--json"]).ends(0).lines()[1]["id"].clone();
    let to: [Word<'_>; 4] = [&"restore", &cluster_id.as_str().unwrap(), &"--target", &url];
    run_with(&world, version.programs(), &to).ends(2).says(&["holds no dumps"]);
    let cases: [(&[Word<'_>], &str); 7] = [
        (&[&"restore", &"latest", &"--target", &one], "names the database other"),
        (&[&"restore", &"latest", &"--target", &url, &"--verify"], "--verify has no meaning"),
        (&[&"restore", &"latest:/x", &"--target", &url], "a path has no meaning"),
        (&[&"restore", &"latest", &"--target", &files, &"--globals"], "--globals is about dumps"),
        (&[&"backup", &one], "for one database add --logical"),
        (&[&"backup", &files, &"--logical"], "--logical is about one cluster"),
        (&[&"backup", &files, &"--count-rows", &"a.b"], "--count-rows is about a cluster"),
    ];
    for (words, said) in cases {
        world.run(words).ends(2).says(&[said]);
    }
}

#[test]
fn templates_are_databases_too() {
    for version in VERSIONS {
        let (world, programs) = (world(), version.programs());
        let cluster = Cluster::new(version, "");
        cluster.sql("create role app");
        cluster.sql("create database golden");
        sql(
            &cluster,
            "golden",
            "create table seed as select generate_series(1, 70) id; alter table seed owner to app",
        );
        cluster.sql("alter database golden is_template true");
        let url = cluster.url();
        let backup = |code| run_with(&world, programs, &[&"backup", &url, &"--logical"]).ends(code);
        backup(0);
        let listed = || world.run(&[&"ls", &"latest"]).ends(0).out;
        // The common template is as in a new cluster, and nothing of anybody is in it.
        assert!(listed().contains("golden.dump") && !listed().contains("template"), "{}", listed());
        sql(&cluster, "template1", "create table everywhere (id int)");
        backup(0);
        assert!(listed().contains("template1.dump") && !listed().contains("template0"), "{}", listed());
        // What cannot be dumped is not passed over without a word.
        cluster.sql("alter database golden allow_connections false");
        backup(0).says(&["golden.dump", "ALLOW_CONNECTIONS"]);
        cluster.sql("alter database golden allow_connections true");
        backup(0);

        let other = Cluster::new(version, "");
        let to = other.url();
        let restore: [Word<'_>; 4] = [&"restore", &"latest", &"--target", &to];
        // By half there is none, though it is marked by then.
        run_with(&world, programs, &restore).ends(1).says(&["app", "nothing is left of it on the server"]);
        assert_eq!(other.sql("select count(*) from pg_database where datname = 'golden'"), "0");
        run_with(&world, programs, &with(&restore, &[&"--globals"])).ends(0);
        assert_eq!(other.sql("select datistemplate from pg_database where datname = 'golden'"), "t");
        other.sql("create database child template golden");
        assert_eq!(sql(&other, "child", "select count(*) from seed"), "70");
        assert_eq!(sql(&other, "template1", "select count(*) from everywhere"), "0");
    }
}

/// What a database is, beside what is in it.
fn own(cluster: &Cluster) -> String {
    cluster.sql(
        "select pg_get_userbyid(d.datdba), (select string_agg(a::text, ' ' order by a::text) from unnest(d.datacl) a), d.datconnlimit, shobj_description(d.oid, 'pg_database'), \
         (select string_agg(coalesce(r.rolname, '-') || s.setconfig::text, ';' order by r.rolname) from \
         pg_db_role_setting s left join pg_roles r on r.oid = s.setrole where s.setdatabase = d.oid) \
         from pg_database d where d.datname = 'Shop'",
    )
}

#[test]
fn what_belongs_to_a_database_itself_comes_back_into_one_that_is_there() {
    for version in VERSIONS {
        let (world, programs) = (world(), version.programs());
        let cluster = Cluster::new(version, "");
        cluster.sql("create role app; create role keeper");
        cluster.sql("create database \"Shop\"");
        cluster.sql(
            "alter database \"Shop\" owner to keeper; alter database \"Shop\" set work_mem = '7MB'; \
             alter role app in database \"Shop\" set search_path = 'a b', c; \
             revoke connect on database \"Shop\" from public; grant connect on database \"Shop\" to app; \
             comment on database \"Shop\" is 'it''s ours'; alter database \"Shop\" connection limit 7",
        );
        sql(&cluster, "Shop", "create table orders as select generate_series(1, 1000000) id");
        run_with(&world, programs, &[&"backup", &cluster.url(), &"--logical"]).ends(0);
        let other = Cluster::new(version, "");
        other.sql("create database \"Shop\"");
        let to = other.url();
        let restore: [Word<'_>; 6] = [&"restore", &"latest", &"--target", &to, &"--database", &"Shop"];
        // Without the roles the rows are there, and what is missing is told.
        let ran = run_with(&world, programs, &restore).ends(3);
        ran.says(&["about databases themselves", "keeper", "pg_restore --create"]);
        assert_eq!(sql(&other, "Shop", "select count(*) from orders"), "1000000");
        assert_ne!(own(&other), own(&cluster));
        run_with(&world, programs, &with(&restore, &[&"--globals", &"--overwrite", &"always"])).ends(0);
        assert_eq!(own(&other), own(&cluster));
        other.sql("drop database \"Shop\"");
        other.sql("create database \"Shop\"");
        run_with(&world, programs, &restore).ends(0);
        assert_eq!(own(&other), own(&cluster));
    }
}
