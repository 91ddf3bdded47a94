//! Who finds a secret: nobody who need not know it. Not in the environment or on the command line of a
//! program that is started, not in what is printed or written down, and not in a core dump.
//!
//! On purpose not here: each place that a secret may come from, but for credentials (`keys`, `vault`).

use super::tree::put;
use super::world::{Ran, Word, World, is_root};
use holdfast_tests::postgres::{Cluster, Version};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What stands in every secret of these tests.
const CANARY: &str = "c4nary";

/// What the environment of a run has: secrets that a policy takes, some of ours, and some of the person's own.
const GIVEN: [(&str, &str); 4] = [
    ("SHOP_PASSWORD", "c4nary of the policy"),
    ("HOLDFAST_PASSWORD", "c4nary of ours"),
    ("HOLDFAST_SOURCE_AWS_SECRET_ACCESS_KEY", "c4nary of our bucket"),
    ("HOLDFAST_NEW_PASSWORD", "c4nary of a new key"),
];
const PERSONS: [(&str, &str); 4] = [
    ("PGPASSWORD", "c4nary, hers: a cluster"),
    ("AWS_SECRET_ACCESS_KEY", "c4nary, hers: a bucket"),
    ("VAULT_TOKEN", "c4nary, hers: a token"),
    ("HTTPS_PROXY", "http://hers:c4nary@127.0.0.1:9"),
];

/// Writes down what it finds around itself, and what whoever started it has around it.
const SPY: &str = "\
cat /proc/self/environ > seen/$name.own.$$
cat /proc/$PPID/environ > seen/$name.parent.$$ 2>/dev/null
cat /proc/$PPID/cmdline > seen/$name.words.$$
echo spied
";

/// A world with a policy, all of whose programs are spies.
fn with_spies() -> World {
    let world = World::bare();
    put(world.path("tree/file"), b"content");
    put(world.path("spy"), SPY);
    put(
        world.path("offsite"),
        format!("#!/bin/sh\nname=offsite; . ./spy > /dev/null\ncat {}\n", world.path("word").display()),
    );
    put(world.path("word"), "c4nary of the copy\n");
    fs::create_dir(world.path("seen")).unwrap();
    assert!(Command::new("chmod").arg("755").arg(world.path("offsite")).status().unwrap().success());
    let folder = world.path("").display().to_string();
    put(
        world.path("shop.yaml"),
        format!(
            "name: shop
repository: {{ url: repo, password: {{ env: SHOP_PASSWORD }}, create: true }}
copies: [ {{ name: off, url: off, password: {{ command: [ ./offsite ] }}, create: true }} ]
sources:
  tree: {{ files: {{ paths: [ tree ] }} }}
  list: {{ command: {{ run: [ sh, -c, 'cd {folder}; name=source; . ./spy' ], file_name: list.txt, verify: [ test, -s, '{{target}}' ] }} }}
hooks: {{ before: [ {{ run: [ sh, -c, 'cd {folder}; name=hook; . ./spy' ] }} ], after: [ {{ run: [ sh, -c, 'cd {folder}; name=hook; . ./spy' ] }} ] }}
retention: {{ keep_last: 2 }}
check: {{}}
objectives: {{ rpo: 1d, rto: 1h }}
drill:
  from: [ repository ]
  assert: [ {{ source: tree, name: there, command: [ sh, -c, 'test -d $1 && cd {folder} && name=assertion && . ./spy', x, '{{target}}' ] }} ]
"
        ),
    );
    world
}

fn command(world: &World) -> Command {
    let mut command = world.command();
    command.env_remove("HOLDFAST_REPOSITORY").envs(GIVEN).envs(PERSONS);
    command
}

/// What every process of a world has around it, for as long as a run goes on: those who found a secret.
fn watched(world: &World, child: &mut Child) -> (BTreeSet<String>, usize) {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let home = format!("HOME={}", world.path("home").display());
    let until = Instant::now() + Duration::from_secs(240);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the run does not end");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let environ = read("environ");
            if pid == child.id() || !contains(&environ, &home) {
                continue;
            }
            let words = read("cmdline");
            // Between fork and exec a child is still a copy of who started it.
            if contains(&words, "shop.yaml") {
                continue;
            }
            seen.insert(pid);
            let is_ours = contains(&environ, "HOLDFAST_LEASH=");
            let told = |what: &str| format!("{what}: {}", String::from_utf8_lossy(&words).replace('\0', " "));
            if contains(&words, CANARY) {
                found.insert(told("a word"));
            }
            if GIVEN.iter().any(|(_, secret)| contains(&environ, secret)) || contains(&environ, "of the copy")
            {
                found.insert(told("a secret of ours"));
            }
            if is_ours && contains(&environ, CANARY) {
                found.insert(told("a secret in the environment of a verb"));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (found, seen.len())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What all that a run starts has around it, its children's children too, for as long as it goes on: who has a
/// secret, and the names of all programs that were seen.
fn descendants(child: &mut Child) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    // Servers leave whoever started them: once known, a process stays known.
    let mut known = BTreeSet::from([child.id()]);
    let until = Instant::now() + Duration::from_secs(240);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "the run does not end");
        let all = fs::read_dir("/proc").unwrap().flatten();
        let mut pids: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.sort_unstable();
        for pid in pids {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            if !parent.is_some_and(|parent| known.contains(&parent)) {
                continue;
            }
            known.insert(pid);
            let (words, environ) = (read("cmdline"), read("environ"));
            // Between fork and exec a child is still a copy of who started it.
            if contains(&words, "shop.yaml") {
                continue;
            }
            let name = String::from_utf8_lossy(&words).split('\0').next().unwrap_or_default().to_owned();
            seen.insert(name.rsplit('/').next().unwrap_or_default().to_owned());
            if contains(&environ, CANARY) || contains(&words, CANARY) {
                found.insert(String::from_utf8_lossy(&words).replace('\0', " "));
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (found, seen)
}

/// Searches all files below a folder.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&path, text));
        } else if contains(&fs::read(&path).unwrap_or_default(), text) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_program_that_is_started_finds_a_secret() {
    let world = with_spies();
    let mut command = command(&world);
    command.args(["run", "--drill", "--json", "-v"]).arg(world.path("shop.yaml"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (out, err) = (world.path("out"), world.path("err"));
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let (found, seen) = watched(&world, &mut child);
    let said = fs::read_to_string(&out).unwrap() + &fs::read_to_string(&err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(found.is_empty(), "{found:#?}");
    assert!(seen > 10 || !is_root(), "only {seen} processes were seen");
    assert!(!said.contains(CANARY), "{said}");
    // What the spies saw: each was started, and its own environment has the person's secrets alone.
    let names = |part: &str| {
        let all = fs::read_dir(world.path("seen")).unwrap().flatten();
        all.filter(|entry| entry.file_name().to_string_lossy().starts_with(part))
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    for spy in ["hook.own", "source.own", "offsite.own", "assertion.own"] {
        assert!(!names(spy).is_empty(), "{spy}");
        for path in names(spy) {
            let environ = fs::read(&path).unwrap();
            for (name, secret) in GIVEN {
                assert!(!contains(&environ, secret), "{spy} has {name}");
            }
        }
    }
    for path in names("source.own") {
        let environ = fs::read(path).unwrap();
        assert!(
            PERSONS.iter().all(|(_, secret)| contains(&environ, secret)),
            "a source's program has what is hers"
        );
    }
    // Whoever runs a source is a verb of ours: nothing secret is around it.
    for path in names("source.parent").into_iter().chain(names("source.words")) {
        let bytes = fs::read(&path).unwrap();
        assert!(!contains(&bytes, CANARY), "{}: {}", path.display(), String::from_utf8_lossy(&bytes));
    }
    let verb = names("source.words").iter().any(|path| contains(&fs::read(path).unwrap(), "backup"));
    assert!(verb, "a verb was seen");
    // Nothing of it is written down: not in the catalog, nor in the evidence, the cache or the repositories.
    fs::remove_dir_all(world.path("seen")).unwrap();
    fs::remove_file(world.path("word")).unwrap();
    let left = files_with(&world.path(""), CANARY);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nothing_that_backs_up_a_cluster_or_drills_it_finds_a_secret() {
    let world = super::cluster::world();
    let cluster = Cluster::new(Version::V15, "");
    let url = cluster.url();
    fs::create_dir(world.path("scratch")).unwrap();
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    put(
        world.path("shop.yaml"),
        format!(
            "name: shop
repository: {{ url: {}, password: {{ env: SHOP_PASSWORD }}, create: true }}
sources:
  db: {{ postgres: {{ url: \"{url}\" }} }}
  dumps: {{ postgres: {{ url: \"{url}\", logical: {{}} }} }}
objectives: {{ rto: 1h }}
drill:
  from: [ repository ]
  scratch: {{ path: {}, allow_same_filesystem: true }}
",
            world.path("of the shop").display(),
            world.path("scratch").display(),
        ),
    );
    let mut command = command(&world);
    command.args(["run", "--drill", "-v"]).arg(world.path("shop.yaml"));
    let (out, err) = (world.path("out"), world.path("err"));
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
    let mut child = command.spawn().unwrap();
    let (found, seen) = descendants(&mut child);
    let said = fs::read_to_string(&out).unwrap() + &fs::read_to_string(&err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(found.is_empty(), "{found:#?}");
    assert!(!said.contains(CANARY), "{said}");
    for program in ["pg_dump", "postgres", "initdb"] {
        assert!(seen.iter().any(|name| name.contains(program)), "{program} was not seen: {seen:?}");
    }
}

#[test]
fn what_a_policy_takes_does_not_reach_programs_of_the_person() {
    let world = with_spies();
    let text = fs::read_to_string(world.path("shop.yaml")).unwrap();
    let text = text.replace("env: SHOP_PASSWORD", "env: PGPASSWORD");
    let text = text.replace("copies:", "# copies:");
    put(world.path("shop.yaml"), text);
    let mut command = command(&world);
    command.args(["run", "--no-drill"]).arg(world.path("shop.yaml"));
    world.run_as(&mut command, &[]).ends(0);
    for entry in fs::read_dir(world.path("seen")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Who runs hooks is the run itself, which was given everything.
        let is_run = name.starts_with("hook.parent");
        assert!(is_run || !contains(&fs::read(entry.path()).unwrap(), "hers: a cluster"), "{name}");
    }
}

/// A worker that serves two policies: programs of one find nothing that the other has for itself.
#[test]
fn a_policy_s_programs_find_nothing_of_another_s_that_is_served_beside_it() {
    let world = World::bare();
    put(world.path("tree/file"), b"content");
    put(world.path("spy"), SPY);
    fs::create_dir(world.path("seen")).unwrap();
    let folder = world.path("").display().to_string();
    for (name, secret) in [("one", "SHOP_PASSWORD"), ("two", "OTHER_PASSWORD")] {
        put(
            world.path(format!("policies/{name}.yaml")),
            format!(
                "name: {name}
repository: {{ url: {folder}/repo-{name}, password: {{ env: {secret} }}, create: true }}
sources: {{ list: {{ command: {{ run: [ sh, -c, 'cd {folder}; name={name}-source; . ./spy' ], file_name: list.txt }} }} }}
hooks: {{ before: [ {{ run: [ sh, -c, 'cd {folder}; name={name}-hook; . ./spy' ] }} ] }}
schedule: {{ cron: '@yearly' }}
"
            ),
        );
    }
    let mut command = command(&world);
    command
        .env("OTHER_PASSWORD", "c4nary of the other")
        .args(["serve", "--once"])
        .arg(world.path("policies"));
    world.run_as(&mut command, &[]).ends(0);
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(world.path("seen")).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let bytes = fs::read(entry.path()).unwrap();
        for secret in ["c4nary of the policy", "c4nary of the other"] {
            assert!(!contains(&bytes, secret), "{name} has {secret}");
        }
        seen.insert(name.rsplit_once('.').unwrap().0.to_owned());
    }
    for spy in ["one-hook.own", "two-hook.own", "one-source.own", "two-source.own", "one-hook.parent"] {
        assert!(seen.contains(spy), "{spy} is not in {seen:?}");
    }
}

/// Runs in words and in JSON; a secret is in neither.
fn tells_nothing(world: &World, prepare: &dyn Fn(&mut Command), words: &[Word<'_>]) -> Ran {
    let run = |more: &[Word<'_>]| {
        let mut command = world.command();
        prepare(&mut command);
        let ran = world.run_as(&mut command, &[more, words].concat());
        assert!(!ran.out.contains(CANARY) && !ran.err.contains(CANARY), "{ran:?}");
        assert!(ran.code != 0, "{ran:?}");
        ran
    };
    run(&[&"--json"]);
    run(&[&"-v"])
}

#[test]
fn what_fails_repeats_no_secret() {
    let world = World::new();
    put(world.path("tree/file"), b"content");
    let tree = world.path("tree");
    put(world.path("secret"), "c4nary in a file\n");
    put(world.path("loud"), "#!/bin/sh\necho c4nary printed\nexit 3\n");
    assert!(Command::new("chmod").arg("755").arg(world.path("loud")).status().unwrap().success());
    let (secret, loud) = (world.path("secret"), world.path("loud"));
    let wrong: &dyn Fn(&mut Command) = &|command| {
        command.env("HOLDFAST_PASSWORD", "c4nary wrong").envs(PERSONS);
    };
    let verbs: [&[Word<'_>]; 9] = [
        &[&"snapshots"],
        &[&"backup", &tree],
        &[&"restore", &"latest", &"--target", &world.path("out")],
        &[&"check"],
        &[&"prune"],
        &[&"key", &"add", &"--new-password-file", &secret],
        &[&"key", &"passwd", &"--new-password-command", &"echo c4nary"],
        &[&"forget", &"--keep-last", &"1"],
        &[&"wal", &"fetch", &"000000010000000000000001", &world.path("segment")],
    ];
    for verb in verbs {
        tells_nothing(&world, wrong, verb);
    }
    let bare: &dyn Fn(&mut Command) = &|command| {
        command.env_remove("HOLDFAST_PASSWORD");
    };
    let file =
        |option: &'static str, path: &Path| tells_nothing(&world, bare, &[&option, &path, &"snapshots"]);
    file("--password-file", &secret).says(&["password"]);
    file("--key-file", &secret).says(&["too few"]);
    tells_nothing(&world, bare, &[&"--password-command", &loud, &"snapshots"]).says(&["exit status: 3"]);
    let few: &dyn Fn(&mut Command) = &|command| {
        command.env("HOLDFAST_AWS_SECRET_ACCESS_KEY", "c4nary alone");
    };
    tells_nothing(&world, few, &[&"-r", &"s3://bucket/x", &"snapshots"])
        .says(&["HOLDFAST_AWS_ACCESS_KEY_ID"]);
    let postgres: &dyn Fn(&mut Command) = &|command| {
        command.env("PGPASSWORD", "c4nary");
    };
    tells_nothing(&world, postgres, &[&"backup", &"postgres://me@127.0.0.1:1/"]);
    tells_nothing(&world, postgres, &[&"backup", &"postgres://me:c4nary@127.0.0.1:1/"]);
    tells_nothing(&world, bare, &[&"-r", &"s3://me:c4nary@bucket/x", &"snapshots"]);
    // A policy whose secrets are wrong, and its memory.
    for secret in ["env: WRONG", "command: [ ./loud ]", "file: secret", "env: NOT_SET"] {
        put(
            world.path("shop.yaml"),
            format!(
                "name: shop\nrepository: {{ url: repo, password: {{ {secret} }} }}\n\
                 sources: {{ tree: {{ files: {{ paths: [ tree ] }} }} }}\ncheck: {{}}\ndrill: {{ from: [ repository ] }}\n"
            ),
        );
        let wrong: &dyn Fn(&mut Command) = &|command| {
            command.env_remove("HOLDFAST_REPOSITORY").env("WRONG", "c4nary of a policy");
        };
        for verb in ["run", "drill"] {
            tells_nothing(&world, wrong, &[&verb, &world.path("shop.yaml")]);
        }
    }
    for name in ["secret", "loud"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    let left = files_with(&world.path(""), CANARY);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_credential_of_the_service_opens() {
    let world = World::bare();
    let folder = world.path("credentials");
    put(folder.join("shop"), "correct horse\n");
    put(folder.join("key"), [7; 40]);
    put(folder.join("other"), "c4nary\n");
    let with = |words: &[Word<'_>]| {
        let mut command = world.command();
        command.env_remove("HOLDFAST_PASSWORD").env("CREDENTIALS_DIRECTORY", &folder);
        world.run_as(&mut command, words)
    };
    with(&[&"--password-credential", &"shop", &"init", &"--kdf-memory", &"1"]).ends(0);
    with(&[&"--password-credential", &"shop", &"key", &"add", &"--new-key-credential", &"key"]).ends(0);
    with(&[&"--key-credential", &"key", &"snapshots"]).ends(0);
    with(&[&"--password-credential", &"other", &"snapshots"]).ends(12);
    with(&[&"--password-credential", &"../shop", &"snapshots"]).ends(2).says(&["no name of a credential"]);
    with(&[&"--password-credential", &"none", &"snapshots"]).ends(2).says(&["LoadCredential=none"]);
    with(&[&"--password-credential", &"shop", &"--key-credential", &"key", &"snapshots"])
        .ends(2)
        .says(&["--password-credential", "--key-credential"]);
    let mut command = world.command();
    command.env_remove("HOLDFAST_PASSWORD");
    world
        .run_as(&mut command, &[&"--password-credential", &"shop", &"snapshots"])
        .ends(2)
        .says(&["CREDENTIALS_DIRECTORY"]);
}

/// Ended by a signal that dumps a core, with all that it would take for one.
fn dumps(world: &World, mut command: Command, signal: Signal) {
    let ready = world.path(format!("ready-{}", signal.as_raw()));
    let wait = format!("echo > {}; exec sleep 300", ready.display());
    command.args(["backup", "--stdin-from-command", "--stdin-filename", "x", "--", "sh", "-c", &wait]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !ready.exists() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The system gives to root what belongs to a process that is not to be dumped.
    if is_root() {
        let owner = fs::metadata(format!("/proc/{}/mem", child.id())).unwrap().uid();
        assert_eq!(owner, 0, "its memory is not for others of its user");
    }
    kill_process(Pid::from_child(&child), signal).unwrap();
    let status = child.wait().unwrap();
    let _ = kill_process_group(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::KILL);
    assert_eq!((status.signal(), status.core_dumped()), (Some(signal.as_raw()), false));
}

#[test]
fn nothing_in_memory_is_dumped() {
    let world = World::new();
    let shell = |program: &mut Command| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c unlimited 2> /dev/null; exec \"$@\"", "sh"]);
        command.arg(program.get_program()).args(program.get_args());
        command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(world.path(""));
        command
    };
    for signal in [Signal::QUIT, Signal::ABORT, Signal::ILL] {
        dumps(&world, shell(&mut world.command()), signal);
    }
    // Somebody without rights runs it, starts verbs, and is asked nothing more than before.
    let mut nobody = world.as_nobody();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    fs::create_dir(world.path("state")).unwrap();
    world.give_to_nobody(&[&world.path("state")]);
    let policy = world.path("shop.yaml");
    put(world.path("tree/file"), b"content");
    put(
        &policy,
        "name: shop\nrepository: { url: repo, password: { env: SHOP_PASSWORD } }\n\
         sources: { tree: { files: { paths: [ tree ] } } }\n",
    );
    nobody.env_remove("HOLDFAST_REPOSITORY").env("SHOP_PASSWORD", "correct horse");
    nobody.env("HOLDFAST_CATALOG", world.path("state/catalog"));
    world.run_as(&mut nobody, &[&"run", &policy]).ends(0);
    let cores: Vec<_> =
        fs::read_dir(world.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!cores.iter().any(|name| name.to_string_lossy().contains("core")), "{cores:?}");
    if is_root() {
        let mut nobody = world.as_nobody();
        fs::create_dir(world.path("free")).unwrap();
        world.give_to_nobody(&[&world.path("free")]);
        nobody.env("HOLDFAST_CACHE_DIR", world.path("free/cache"));
        let freed = World::path(&world, "free/ready");
        let wait = format!("echo > {}; exec sleep 300", freed.display());
        nobody.args(["backup", "--stdin-from-command", "--stdin-filename", "x", "--", "sh", "-c", &wait]);
        nobody.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = nobody.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while !freed.exists() {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < until, "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        let owner = fs::metadata(format!("/proc/{}/mem", child.id())).unwrap().uid();
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
        assert_eq!(owner, 0, "its memory is not for others of its user");
    }
}
