//! People are told, by the real program: once when something breaks, once when it is well again.
//!
//! On purpose not here: the ways themselves (`letters`), and what months do (`holdfast-scheduler`).

use super::schema::assert_all_conform;
use super::tree::put;
use super::world::{Ran, Word, World};
use holdfast_scheduler::catalog::{Catalog, Place};
use holdfast_tests::forward::Forward;
use holdfast_tests::hook::{Hook, Reply};
use holdfast_tests::smtp::{Manners, Smtp};
use holdfast_tests::tls::Tls;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const HIDDEN: &str = "hidden-part-of-the-address";
const SECRET: &str = "what-signs-the-requests";
const PASSWORD: &str = "password-of-the-mailbox";

/// A place with a policy that tells somebody.
struct Told {
    world: World,
    file: PathBuf,
    source: PathBuf,
}

impl Told {
    fn new(notify: &str) -> Self {
        let world = World::new();
        let (source, file) = (world.path("source"), world.path("shop.yaml"));
        put(source.join("file"), b"content");
        let text = format!(
            "name: shop\nrepository: {{ url: {}, password: {{ env: HOLDFAST_PASSWORD }} }}\n\
             sources:\n  tree: {{ files: {{ paths: [{}] }} }}\nobjectives: {{ rpo: 26h }}\n\
             schedule: {{ cron: '15 2 * * *', timezone: Asia/Seoul }}\nnotify:\n{notify}\n",
            world.repo.display(),
            source.display()
        );
        fs::write(&file, text).unwrap();
        Self { world, file, source }
    }

    /// Puts what is secret into a file, for the policy.
    fn secret(world: &World, name: &str, text: &str) {
        let path = world.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    fn verb(&self, words: &[Word<'_>]) -> Ran {
        let mut command = self.world.command();
        command.env_remove("HOLDFAST_REPOSITORY");
        self.world.run_as(&mut command, words)
    }

    fn run(&self, code: i32) -> Ran {
        self.verb(&[&"run", &self.file]).ends(code)
    }

    fn breaks(&self) {
        fs::rename(&self.source, self.world.path("away")).unwrap();
    }

    fn heals(&self) {
        fs::rename(self.world.path("away"), &self.source).unwrap();
    }
}

/// A policy with a webhook, and the server behind it.
fn hooked() -> (Told, Hook) {
    let hook = Hook::start();
    let told = Told::new("  - { webhook: { url: { file: hook.url }, secret: { file: hook.secret } } }");
    Told::secret(&told.world, "hook.url", &format!("{}\n", hook.url(&format!("/in/{HIDDEN}"))));
    Told::secret(&told.world, "hook.secret", SECRET);
    (told, hook)
}

fn events(hook: &Hook) -> Vec<String> {
    hook.requests().iter().map(|request| request.json()["event"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_source_that_vanished_is_told_once_and_once_more_when_it_is_back() {
    let (told, hook) = hooked();
    told.run(0);
    assert!(hook.requests().is_empty());
    told.breaks();
    told.run(1);
    assert_eq!(events(&hook), ["opened"]);
    let request = hook.requests()[0].clone();
    let message = request.json();
    for line in ["why", "do", "do_not", "restore"] {
        assert!(!message[line].as_str().unwrap().is_empty(), "{line} of {message}");
    }
    assert_eq!((&message["source"], &message["severity"]), (&"tree".into(), &"warning".into()));
    assert!(message["at"].as_str().unwrap().ends_with("+09:00"), "{message}");
    assert!(message["restore"].as_str().unwrap().contains("restore latest --source shop/tree"), "{message}");
    assert_message(&message);
    // The signature is one that any library of Standard Webhooks checks.
    let signed = holdfast_notify::Signed {
        id: &request.headers["webhook-id"],
        timestamp: request.headers["webhook-timestamp"].parse().unwrap(),
        body: &request.body,
    };
    assert_eq!(request.headers["webhook-signature"], holdfast_notify::sign(SECRET, &signed).unwrap());

    told.run(1);
    told.run(1);
    assert_eq!(events(&hook), ["opened"]);
    told.heals();
    told.run(0);
    told.run(0);
    assert_eq!(events(&hook), ["opened", "resolved"]);
    assert_eq!(hook.requests()[1].json()["fingerprint"], message["fingerprint"]);
    assert!(hook.requests().iter().all(|request| request.line == format!("POST /in/{HIDDEN} HTTP/1.1")));
}

/// Holds a message against the schema that lies beside the policies.
fn assert_message(message: &Value) {
    let text = include_str!("../../../policies/message.schema.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    let known = schema["properties"].as_object().unwrap();
    for name in schema["required"].as_array().unwrap() {
        assert!(message.get(name.as_str().unwrap()).is_some(), "{name} is not in {message}");
    }
    for name in message.as_object().unwrap().keys() {
        assert!(known.contains_key(name), "{name} is not in the schema");
    }
}

#[test]
fn a_server_that_is_down_changes_no_exit_code_and_hears_it_later() {
    let (told, hook) = hooked();
    told.run(0);
    told.breaks();
    hook.answers(Reply::Status(500));
    let ran = told.run(1).says(&["somebody was not told", "in trouble (500)"]);
    assert!(!ran.err.contains(HIDDEN) && !ran.err.contains(SECRET), "{}", ran.err);
    let status = told.verb(&[&"status", &told.file]);
    assert!(
        status.out.contains("told by webhook: took no message yet, never tested, 1 message waits"),
        "{}",
        status.out
    );
    hook.answers(Reply::Status(200));
    // It is tried again half a minute later; whoever looks sooner leaves it.
    told.run(1);
    assert_eq!(hook.requests().len(), 1);
}

#[test]
fn a_silence_keeps_quiet_and_ends() {
    let (told, hook) = hooked();
    told.run(0);
    told.breaks();
    let silence = |words: &[Word<'_>], code: i32| {
        let mut all: Vec<Word<'_>> = vec![&"silence"];
        all.extend(words);
        told.verb(&all).ends(code)
    };
    silence(&[&"shop/nothing", &"--for", &"2h", &"--reason", &"x"], 2)
        .says(&["no source or copy nothing", "tree"]);
    silence(&[&"other", &"--for", &"2h", &"--reason", &"x"], 2).says(&["no policy other", "shop"]);
    silence(&[&"shop", &"--for", &"0", &"--reason", &"x"], 2).says(&["14 days at most"]);
    silence(&[&"shop"], 2);
    let said = silence(&[&"shop/tree", &"--for", &"2h", &"--reason", &"work on the disks"], 0);
    assert!(
        said.out.contains("silence 1 of shop/tree until ")
            && said.err.contains("a disaster is told all the same")
    );
    told.run(1);
    assert!(hook.requests().is_empty());
    let status = told.verb(&[&"status", &told.file]);
    assert!(status.out.contains("silence 1 of shop/tree until "), "{}", status.out);
    assert!(status.out.contains("but for disasters: work on the disks"), "{}", status.out);
    let listed = silence(&[&"--list", &"--json"], 0);
    assert_all_conform(&listed.out);
    assert_eq!(listed.lines()[0]["part"], "tree");
    assert_all_conform(&silence(&[&"--end", &"1", &"--json"], 0).out);
    silence(&[&"--end", &"1"], 2).says(&["no silence 1 stands"]);
    silence(&[&"--list"], 0).says(&["nothing is silenced"]);
    told.run(1);
    assert_eq!(events(&hook), ["opened"]);
}

#[test]
fn a_test_goes_by_every_channel_and_status_shows_its_receipt() {
    let (hook, smtp) = (Hook::start(), Smtp::start(Manners::default()));
    let (https, smtps) =
        (Tls::start(&hook.url("")), Tls::start(&format!("http://127.0.0.1:{}", smtp.port())));
    let told = Told::new(&format!(
        "  - {{ slack: {{ webhook: {{ file: slack.url }} }}, from: high }}\n\
         \x20 - {{ mail: {{ server: '{}', sender: holdfast@a.example, to: [night@b.example] }} }}",
        smtps.endpoint().replace("https://", "smtps://")
    ));
    Told::secret(&told.world, "slack.url", &format!("{}/services/{HIDDEN}", https.endpoint()));
    let trusted = told.world.path("ca.pem");
    fs::write(&trusted, format!("{}{}", https.authority(), smtps.authority())).unwrap();
    let test: [Word<'_>; 5] = [&"--cacert", &trusted, &"notify", &"test", &told.file];
    let ran = told.verb(&test).ends(0);
    assert_eq!(ran.out, "slack: took it\nmail: took it\n");
    let slack = hook.requests()[0].json();
    assert_eq!(slack["text"], "TEST of shop: nothing is wrong");
    assert!(smtp.mails()[0].text.contains("Subject: TEST of shop: nothing is wrong"));
    let status = told.verb(&[&"status", &told.file]);
    assert!(
        status.out.contains("told by slack: took a message ")
            && status.out.contains("told by mail: took a message ")
    );
    assert!(!status.out.contains("never tested"), "{}", status.out);

    // Nobody vouches for them.
    let ran = told.verb(&[&"notify", &"test", &told.file, &"--json"]).ends(1);
    assert_all_conform(&ran.out);
    assert_all_conform(&ran.err);
    assert!(ran.lines().iter().all(|line| line["outcome"] == "not_now"), "{}", ran.out);
    assert!(!ran.out.contains(HIDDEN) && !ran.err.contains(HIDDEN));
    let status = told.verb(&[&"status", &told.file]);
    for text in [
        "HIGH shop: nobody could be told through slack since ",
        "shop: nobody could be told through mail since ",
    ] {
        assert!(status.out.contains(text), "{}", status.out);
    }
    assert_all_conform(&told.verb(&[&"status", &told.file, &"--json"]).out);
    told.verb(&test).ends(0);
    let status = told.verb(&[&"status", &told.file]);
    assert!(!status.out.contains("nobody could be told"), "{}", status.out);
    // A policy that tells nobody cannot be tried.
    let quiet = told.world.path("quiet.yaml");
    let text = fs::read_to_string(&told.file).unwrap();
    fs::write(&quiet, text.split("notify:").next().unwrap()).unwrap();
    told.verb(&[&"notify", &"test", &quiet]).ends(2).says(&["tells nobody"]);
}

#[test]
fn a_program_reads_the_message_and_finds_no_secret_of_another() {
    let hook = Hook::start();
    let told = Told::new(
        "  - { command: [/bin/sh, page.sh] }\n\
         \x20 - { webhook: { url: { env: HOOK_URL }, secret: { env: HOOK_SECRET } } }\n\
         \x20 - { mail: { server: 'smtps://me@127.0.0.1:1', password: { env: MAIL_PASSWORD }, sender: a@a.example, to: [b@b.example] } }",
    );
    let script = told.world.path("page.sh");
    let (seen, around) = (told.world.path("seen.json"), told.world.path("around"));
    let text = format!(
        "cat > {0}.part && mv {0}.part {0}\ntr '\\0' '\\n' < /proc/self/environ > {1}\n\
         for line in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $line >> {1} 2>/dev/null; done\nexit 0\n",
        seen.display(),
        around.display()
    );
    fs::write(&script, text).unwrap();
    let text = fs::read_to_string(&told.file).unwrap().replace("page.sh", script.to_str().unwrap());
    fs::write(&told.file, text).unwrap();
    let run = |code: i32| {
        let mut command = told.world.command();
        command.env_remove("HOLDFAST_REPOSITORY").env("HOOK_URL", hook.url(&format!("/in/{HIDDEN}")));
        command.env("HOOK_SECRET", SECRET).env("MAIL_PASSWORD", PASSWORD);
        told.world.run_as(&mut command, &[&"run", &told.file]).ends(code)
    };
    run(0);
    told.breaks();
    let ran = run(1);
    let message: Value = serde_json::from_slice(&fs::read(&seen).unwrap()).unwrap();
    assert_eq!((&message["event"], &message["policy"]), (&"opened".into(), &"shop".into()));
    // Each channel is told with a number of its own.
    assert_ne!(message["id"], hook.requests()[0].json()["id"]);
    let around = fs::read_to_string(&around).unwrap();
    for hidden in [HIDDEN, SECRET, PASSWORD] {
        assert!(!around.contains(hidden), "{hidden} is seen by a program");
        assert!(!ran.err.contains(hidden) && !ran.out.contains(hidden), "{hidden} is told");
    }
    // The mail server is not there: the others were told all the same.
    assert!(ran.err.contains("somebody was not told: shop: mail: "), "{}", ran.err);
}

#[test]
fn the_heart_beats_while_backups_are_young() {
    let hook = Hook::start();
    let told = Told::new("  - { command: [/bin/true] }\nheartbeat: { url: { file: beat.url } }");
    Told::secret(&told.world, "beat.url", &hook.url(&format!("/ping/{HIDDEN}")));
    told.run(0);
    assert_eq!(hook.requests().len(), 1);
    assert_eq!(hook.requests()[0].line, format!("GET /ping/{HIDDEN} HTTP/1.1"));
    // A failed run keeps the promise while the last good one is young.
    told.breaks();
    told.run(1);
    assert_eq!(hook.requests().len(), 2);
    // Where there is no backup at all there is no beat.
    told.heals();
    let text = fs::read_to_string(&told.file).unwrap();
    let nowhere = told.world.path("nowhere");
    let never = format!("\n  media: {{ files: {{ paths: [{}] }} }}\nobjectives", nowhere.display());
    fs::write(&told.file, text.replacen("\nobjectives", &never, 1)).unwrap();
    told.run(1);
    assert_eq!(hook.requests().len(), 2);
}

#[test]
fn the_digest_tells_what_the_repository_says() {
    let (told, hook) = hooked();
    let text = fs::read_to_string(&told.file).unwrap();
    let more = "drill: { level: restore }\ndigest: { cron: '* * * * *' }\nnotify:";
    fs::write(&told.file, text.replacen("notify:", more, 1)).unwrap();
    // It is known since yesterday, so that a digest is due.
    let place = Place::File(told.world.path("home/.local/state/holdfast/catalog.sqlite"));
    let yesterday = Timestamp::now().checked_sub(SignedDuration::from_hours(24)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let catalog = Catalog::open(&place).await.unwrap();
        let file = told.file.to_str().unwrap();
        catalog.remember_policy("shop", file, "00", yesterday).await.unwrap();
        catalog.close().await;
    });
    told.run(0);
    let digests: Vec<Value> = hook
        .requests()
        .iter()
        .map(|request| request.json())
        .filter(|json| json["event"] == "digest")
        .collect();
    assert_eq!(digests.len(), 1);
    assert_message(&digests[0]);
    assert_eq!(digests[0]["title"], "The week of shop: all is well");
    let lines: Vec<&str> =
        digests[0]["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let text = lines.join("\n");
    for part in [
        "shop/tree: last good ",
        "; proven ",
        "drills of the week: 1 passed, 0 failed, 0 proved nothing, 0 due and not run",
        "stored: ",
        "open alerts: none",
        "evidence: holdfast evidence verify --expect ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // What it says of the evidence is what a later look is held against.
    let mark = text.split("--expect ").nth(1).unwrap().lines().next().unwrap();
    told.world.run(&[&"evidence", &"verify", &"--expect", &mark]).ends(0);
}

#[test]
fn a_proxy_is_gone_through_but_for_those_that_need_none() {
    let (hook, forward) = (Hook::start(), Forward::start());
    let tls = Tls::start(&hook.url(""));
    let told = Told::new(
        "  - { webhook: { url: { file: hook.url }, secret: { file: hook.secret } } }\n\
         heartbeat: { url: { file: hook.url } }",
    );
    Told::secret(&told.world, "hook.url", &format!("{}/in/{HIDDEN}", tls.endpoint()));
    Told::secret(&told.world, "hook.secret", SECRET);
    let trusted = told.world.path("ca.pem");
    fs::write(&trusted, tls.authority()).unwrap();
    let run = |words: &[Word<'_>], around: &[(&str, &str)]| {
        let mut command = told.world.command();
        command.env_remove("HOLDFAST_REPOSITORY").env("AWS_CA_BUNDLE", &trusted).envs(around.iter().copied());
        told.world.run_as(&mut command, words).ends(0)
    };
    let proxy = format!("http://somebody:geheim@{}", forward.authority());
    let test: [Word<'_>; 3] = [&"notify", &"test", &told.file];
    let ran = run(&test, &[("HTTPS_PROXY", &proxy)]);
    let tunnel = format!("CONNECT {} ", tls.endpoint().replace("https://", ""));
    let seen = forward.take();
    assert!(seen.len() == 1 && seen[0].starts_with(&tunnel), "{seen:?}");
    assert!(!ran.out.contains("geheim") && !ran.err.contains("geheim"));
    // The heartbeat likewise.
    run(&[&"run", &told.file], &[("HTTPS_PROXY", &proxy)]);
    assert_eq!(forward.take().len(), 1);
    run(&test, &[("HTTPS_PROXY", &proxy), ("NO_PROXY", "127.0.0.1")]);
    assert_eq!(forward.take(), [""; 0]);
    assert_eq!(hook.requests().len(), 3);
}
