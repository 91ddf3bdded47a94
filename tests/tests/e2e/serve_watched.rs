//! A service that is watched: what it answers over HTTP, what it tells the service manager, and that it tells
//! people what is wrong.
//!
//! On purpose not here: what it does (`serve`), and what alerts say (`alerts`).

use super::run::Shop;
use super::serve::Going;
use super::tree::put;
use super::world::program;
use holdfast_tests::hook::Hook;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// A port that nobody listens at.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The first line and the body of an answer; none while nobody listens.
fn get(address: &str, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    Some((head.lines().next().unwrap().to_owned(), body.to_owned()))
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_answers_and_tells_its_manager() {
    let shop = Shop::new("schedule: { cron: '@yearly' }\nobjectives: { rpo: 400d }\n");
    let (address, socket) = (free(), shop.world.path("notify"));
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = Command::new("sh");
    // As systemd does it: the number is that of the program itself.
    command.args(["-c", "export WATCHDOG_PID=$$; exec \"$0\" \"$@\""]).arg(program());
    shop.world.furnish(&mut command);
    command
        .env("SHOP_PASSWORD", "correct horse")
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "2000000");
    command.args(["serve", "--json", "--metrics", &address]).arg(&shop.policy);
    let going = Going::start(&shop.world, command);

    let mut told = String::new();
    let mut hears = |word: &str| {
        let mut piece = [0; 4096];
        while !told.contains(word) {
            let length = manager.recv(&mut piece).unwrap_or_else(|_| panic!("{word} is not told: {told}"));
            told.push_str(&String::from_utf8_lossy(&piece[..length]));
            told.push('\n');
        }
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    hears("STATUS=run of shop: done");
    let is_ok = |path: &str| {
        get(&address, path).is_some_and(|(line, _)| line == "HTTP/1.1 200 OK" || line == "HTTP/1.0 200 OK")
    };
    until("it is ready", || is_ok("/readyz"));
    assert!(is_ok("/healthz"));
    // A job is told as done a moment before it is let go of.
    until("it was looked how things stand, and nothing runs", || {
        get(&address, "/metrics").is_some_and(|(_, text)| {
            text.contains("holdfast_scrape_written_timestamp_seconds ")
                && text.contains("holdfast_serve_jobs_running 0\n")
        })
    });
    let (_, text) = get(&address, "/metrics").unwrap();
    for line in [
        "holdfast_serve_ready 1",
        "holdfast_serve_jobs_running 0",
        "holdfast_serve_jobs_total{policy=\"shop\",activity=\"run\",result=\"done\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        text.contains("holdfast_objective_rpo_seconds{policy=\"shop\",source=\"tree\"} 34560000\n"),
        "{text}"
    );
    let file = shop.world.path("answered.prom");
    fs::write(&file, &text).unwrap();
    super::deploy::assert_metrics(&file);
    // Nothing of what it is told reaches a job.
    going.stop();
    hears("STOPPING=1");
}

#[test]
fn an_address_that_is_taken_is_refused_at_the_start() {
    let shop = Shop::new("schedule: { cron: '@yearly' }\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    shop.plain("serve", &["--metrics", &address]).ends(1).says(&["cannot listen at", &address, "--metrics"]);
    shop.plain("serve", &["--metrics", "nowhere"]).ends(1).says(&["cannot listen at nowhere"]);
}

#[test]
fn whoever_serves_tells_what_is_wrong_and_only_it() {
    let shop = Shop::new(
        "schedule: { cron: '@yearly' }\nobjectives: { rpo: 1d }\nnotify:\n  - { webhook: { url: { file: hook.url }, secret: { file: hook.secret } } }\n",
    );
    let hook = Hook::start();
    for (name, text) in [("hook.url", hook.url("/in")), ("hook.secret", "what-signs".to_owned())] {
        put(shop.world.path(name), text);
        fs::set_permissions(shop.world.path(name), Permissions::from_mode(0o600)).unwrap();
    }
    fs::rename(shop.world.path("tree"), shop.world.path("away")).unwrap();
    // The job itself, which is a run of the policy, tells nobody: nobody is told twice.
    let mut command = shop.command();
    command.args(["serve", "--json", "--once"]).arg(&shop.policy);
    shop.world.run_as(&mut command, &[]).ends(1);
    let events: Vec<_> = hook.requests().iter().map(|request| request.json()["event"].clone()).collect();
    assert!(!events.is_empty() && events.iter().all(|event| event == "opened"), "{events:?}");
    let mut conditions: Vec<String> =
        hook.requests().iter().map(|request| request.json()["condition"].to_string()).collect();
    let all = conditions.len();
    conditions.sort();
    conditions.dedup();
    assert_eq!(conditions.len(), all, "nothing is told twice");
}

#[test]
fn who_serves_gives_a_sign_of_life_and_none_while_nothing_can_be_done() {
    let shop = Shop::new("schedule: { cron: '@yearly' }\n");
    let (hook, address) = (Hook::start(), free());
    let (file, blocked) = (shop.world.path("life.url"), shop.world.path("blocked"));
    put(&file, hook.url("/alive?token=dont-tell"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    put(&blocked, "no folder");
    let serve = |more: &[&str]| {
        let mut command = shop.command();
        command.args(["serve", "--json"]).args(more).arg("--heartbeat-file").arg(&file);
        command.arg("--catalog").arg(blocked.join("catalog")).arg(&shop.policy);
        command
    };
    let mut going = Going::start(&shop.world, serve(&["--metrics", &address]));
    going.says("what", "catalog_lost", 1);
    until("it answers", || get(&address, "/healthz").is_some());
    assert!(hook.requests().is_empty(), "nobody is told that all is well");
    fs::remove_file(&blocked).unwrap();
    fs::create_dir(&blocked).unwrap();
    until("nobody hears of it", || !hook.requests().is_empty());
    assert_eq!(going.count("what", "ready"), 1);
    assert_eq!(hook.requests()[0].line, "GET /alive?token=dont-tell HTTP/1.1");
    until("it says so", || {
        let (_, text) = get(&address, "/metrics").unwrap();
        text.contains("\nholdfast_serve_sign_of_life_timestamp_seconds ")
    });
    going.stop();
    let before = hook.requests().len();
    shop.world.run_as(&mut serve(&["--once"]), &[]).ends(0);
    assert_eq!(hook.requests().len(), before + 1);
    // A watch that does not hear it is no reason to fail, and its address is told nobody.
    hook.answers(holdfast_tests::hook::Reply::Status(500));
    let ran = shop.world.run_as(&mut serve(&["--once"]), &[]).ends(0).says(&["sign of life did not arrive"]);
    assert!(!format!("{}{}", ran.out, ran.err).contains("dont-tell"));
}

#[test]
fn a_signal_in_the_middle_ends_what_it_answers_with_a_reason() {
    let shop = super::serve::waiting();
    let address = free();
    let mut command = shop.command();
    command.args(["serve", "--json", "--metrics", &address]).arg(&shop.policy);
    let mut going = Going::start(&shop.world, command);
    going.says("state", "begins", 1);
    until("the backup waits", || shop.world.path("began").exists());
    let (_, text) = get(&address, "/metrics").unwrap();
    assert!(text.contains("holdfast_serve_jobs_running 1\n"), "{text}");
    going.send(Signal::TERM);
    until("it says that it is stopping", || match get(&address, "/readyz") {
        None => true,
        Some((line, body)) => line.contains(" 503 ") && body == "it is stopping\n",
    });
    drop(going);
}
