//! Drills of clusters by a policy: programs of the user's look at what was restored, a cluster whose first
//! superuser has another name comes up, and a host that sorts otherwise proves nothing.
//!
//! On purpose not here: what is found inside a cluster, which is in `cluster_drill.rs`.

use super::cluster::{fill, world};
use super::world::{Ran, Word, World};
use holdfast_tests::postgres::{Cluster, Version};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A policy with one source, `db`.
pub(super) struct Setting {
    pub(super) world: World,
    version: Version,
    source: String,
}

/// What a drill left in its record.
pub(super) struct Drilled {
    pub(super) record: Value,
    pub(super) source: Value,
}

impl Setting {
    /// `BINS` in the source stands for where the server's programs are.
    pub(super) fn new(world: World, version: Version, source: &str) -> Self {
        fs::create_dir(world.path("scratch")).unwrap();
        fs::set_permissions(world.path(""), Permissions::from_mode(0o777)).unwrap();
        fs::write(world.path("key"), "key".repeat(16)).unwrap();
        Self { world, version, source: source.to_owned() }
    }

    /// Writes the policy, with these assertions.
    pub(super) fn drill(&self, asserts: &str) {
        let path = |name: &str| self.world.path(name).display().to_string();
        let key = format!("{{ file: {} }}", path("key"));
        // Where Debian has them they are found, unless somebody says where else to look.
        let bins = match self.version {
            Version::V15 => "bin_dirs: []".to_owned(),
            Version::V18 => format!("bin_dirs: [ {} ]", self.version.programs().display()),
        };
        let text = format!(
            "name: shop\nrepository: {{ url: {}, keys: {{ backup: {key}, maintain: {key}, read: {key} }}, create: true }}\n\
             sources:\n  db: {{ {} }}\nobjectives: {{ rto: 1h }}\ndrill:\n  level: full\n  from: [ repository ]\n  scratch: {{ path: {}, \
             allow_same_filesystem: true }}\n  assert:\n{}",
            path("repository"),
            self.source.replace("BINS", &bins),
            path("scratch"),
            asserts.replace("COUNTED", &path("counted")),
        );
        fs::write(self.policy(), text).unwrap();
    }

    fn policy(&self) -> PathBuf {
        self.world.path("shop.yaml")
    }

    /// What a program of an assertion writes.
    pub(super) fn counted(&self) -> PathBuf {
        self.world.path("counted")
    }

    /// The folder of a tablespace of the cluster's.
    pub(super) fn space(&self, cluster: &Cluster) -> PathBuf {
        cluster.data.with_file_name("fast")
    }

    fn run(&self, words: &[Word<'_>], env: &[(&str, &Path)]) -> Ran {
        let mut command = self.world.command();
        command.env_remove("HOLDFAST_REPOSITORY").env_remove("HOLDFAST_PASSWORD");
        command.envs(env.iter().copied());
        self.world.run_as(&mut command, words)
    }

    /// Backs up, by programs of this folder, or those of the version.
    pub(super) fn backs_up(&self, programs: Option<&Path>) -> Ran {
        let programs = programs.unwrap_or(self.version.programs());
        self.run(&[&"run", &self.policy(), &"--no-drill"], &[("HOLDFAST_PG_BIN", programs)])
    }

    /// Drills; how it ends.
    pub(super) fn drilled(&self, code: i32) -> Drilled {
        self.drilled_with(code, &[])
    }

    pub(super) fn drilled_with(&self, code: i32, env: &[(&str, &Path)]) -> Drilled {
        let ran = self.run(&[&"drill", &self.policy(), &"--json"], env);
        let drill = ran.lines().into_iter().find(|line| line["message_type"] == "drill");
        let record = drill.unwrap_or_else(|| panic!("no drill: {ran:?}"))["record"].clone();
        assert_eq!(ran.code, code, "{record:#}");
        let left = fs::read_dir(self.world.path("scratch")).unwrap().count();
        assert_eq!(left, 0, "scratch is removed");
        Drilled { source: record["sources"][0].clone(), record }
    }
}

impl Drilled {
    pub(super) fn probe(&self, name: &str) -> Value {
        let all = self.source["probes"].as_array().unwrap();
        let found = all.iter().find(|probe| probe["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#}", self.source)).clone()
    }

    fn findings(&self) -> Vec<(String, String)> {
        let all = self.source["probes"].as_array().unwrap().iter();
        let all = all.flat_map(|probe| probe["findings"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        all.map(|finding| (text(&finding["cause"]), text(&finding["what"]))).collect()
    }

    pub(super) fn finds_nothing(&self) {
        assert_eq!(self.findings(), [], "{:#}", self.source);
    }

    pub(super) fn finds(&self, cause: &str, words: &[&str]) {
        let all = self.findings();
        let fits =
            |found: &(String, String)| found.0 == cause && words.iter().all(|word| found.1.contains(word));
        assert!(all.iter().any(fits), "{cause} {words:?} is not in {all:#?}");
    }
}

#[test]
fn a_cluster_of_another_superuser_is_looked_at_and_one_that_sorts_otherwise_proves_nothing() {
    let version = Version::V15;
    let cluster = Cluster::new(version, "wal_keep_size = 64MB");
    fill(&cluster);
    cluster.sql("create role boss login superuser");
    let boss = |text: &str| {
        let mut command = cluster.program("psql");
        let output = command.env("PGUSER", "boss").args(["-X", "-v", "ON_ERROR_STOP=1", "-c", text]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    boss("alter role postgres rename to \"Shop Owner\"");
    let url = cluster.url().replace("postgres@", "boss@");
    let setting = Setting::new(world(), version, &format!("postgres: {{ url: \"{url}\", BINS }}"));
    let program = |how: &str| {
        format!("    - {{ source: db, name: looks, command: [ sh, -c, '{how}', sh, '{{target}}' ] }}\n")
    };
    let asks = "    - { source: db, name: plain, sql: 'select count(*) from plain', expect: 20000 }\n";
    let looks = program("test -f \"$1\"/PG_VERSION && echo x >> COUNTED");
    setting.drill(&[asks, &looks].concat());
    setting.backs_up(None).ends(0);
    let drilled = setting.drilled(0);
    drilled.finds_nothing();
    assert_eq!(fs::read_to_string(setting.counted()).unwrap(), "x\n");
    assert!(drilled.probe("assertion looks")["counts"]["programs"] == 1, "{:#}", drilled.source);
    let phases = drilled.source["phases"].as_array().unwrap();
    let named = |name: &str| phases.iter().find(|phase| phase["name"] == name).unwrap();
    assert_eq!((&named("restore")["counts"], &named("compare")["counts"]), (&true.into(), &false.into()));
    setting.drill(&program("exit 7"));
    setting.drilled(20).finds("assertion", &["looks: sh ended with 7"]);

    // Production sorted by another version of what sorts here.
    boss(
        "create collation drifting (provider = icu, locale = 'de'); create table sorted (word text collate drifting); \
         create index by_word on sorted (word); update pg_collation set collversion = '1.2' where collname = 'drifting'",
    );
    setting.drill(asks);
    setting.backs_up(None).ends(0);
    let drilled = setting.drilled(23);
    drilled.finds(
        "environment",
        &["the collation public.drifting of postgres is of version 1.2", "indexes sorted by it: 1"],
    );
}
