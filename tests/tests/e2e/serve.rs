//! `serve`: what is due is done once, whoever is killed, stopped, or runs beside it; policies that come, change and
//! are wrong.
//!
//! A policy of every year is due at once when it is first served, and then not again in a test. On purpose not
//! here: a year of nights (`tests/year.rs`), and hours of real time (`serve_soak`).

use super::run::Shop;
use super::tree::put;
use super::world::{Ran, World};
use holdfast_tests::postgres::{Cluster, VERSIONS};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// So long may something take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

const YEARLY: &str = "schedule: { cron: '@yearly' }\n";

/// A source that waits in the middle until it may go on, and says who it is.
const WAITS: &str = "echo $$ > began; cat tree/file; while [ ! -e go ]; do sleep 0.05; done; cat tree/file";

/// A policy whose only source waits.
pub(super) fn waiting() -> Shop {
    let shop = Shop::bare(&format!(
        "repository: {{ url: repo, password: {{ env: SHOP_PASSWORD }} }}\nsources:\n  dump: {{ command: {{ run: [ sh, -c, \
         '{WAITS}' ], file_name: dump.txt }} }}\n{YEARLY}"
    ));
    shop.world.run(&[&"init", &"--kdf-memory", &"1", &"--quiet"]).ends(0);
    shop
}

fn command(shop: &Shop, more: &[&str]) -> Command {
    let mut command = shop.command();
    command.args(["serve", "--json", "--patience", "2s"]).arg(&shop.policy).args(more);
    command
}

/// A service that goes on, and does not outlive whoever holds it.
pub(super) struct Going {
    child: Child,
    said: PathBuf,
}

impl Going {
    pub(super) fn start(world: &World, mut command: Command) -> Self {
        let number = (0..).find(|number| !world.path(format!("said {number}")).exists()).unwrap();
        let said = world.path(format!("said {number}"));
        let err = fs::File::create(world.path(format!("complained {number}"))).unwrap();
        command.stdout(fs::File::create(&said).unwrap()).stderr(err);
        Self { child: command.spawn().unwrap(), said }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(super) fn send(&mut self, signal: Signal) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.text());
        kill_process(self.pid(), signal).unwrap();
    }

    pub(super) fn text(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// What it said so far, in whole lines.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = self.text();
        super::schema::assert_all_conform(&text[..text.rfind('\n').map_or(0, |end| end + 1)]);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many lines have a field with a value.
    pub(super) fn count(&self, field: &str, value: &str) -> usize {
        self.lines().iter().filter(|line| line[field] == value).count()
    }

    /// Waits until so many lines have a field with a value.
    #[track_caller]
    pub(super) fn says(&mut self, field: &str, value: &str, at_least: usize) {
        let begun = Instant::now();
        while self.count(field, value) < at_least {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.text());
            assert!(begun.elapsed() < PATIENCE, "{field} {value}: {}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to stop, and expects that it ends well; what it said of jobs.
    #[track_caller]
    pub(super) fn stop(mut self) -> Vec<String> {
        self.send(Signal::TERM);
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not stop: {}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.text());
        jobs(&self.lines())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(shop: &Shop) -> Going {
    Going::start(&shop.world, command(shop, &[]))
}

fn once(shop: &Shop) -> Ran {
    shop.world.run_as(&mut command(shop, &["--once"]), &[])
}

/// The states of jobs that were told, with what they were about.
fn jobs(lines: &[Value]) -> Vec<String> {
    let jobs = lines.iter().filter(|line| line["message_type"] == "job");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    jobs.map(|job| format!("{} {} {}", text(&job["state"]), text(&job["activity"]), text(&job["policy"])))
        .collect()
}

fn whole(shop: &Shop) -> usize {
    shop.snapshots("repo")
        .iter()
        .filter(|line| line["message_type"] == "snapshot" && line["incomplete"] == false)
        .count()
}

/// The process that waits in the middle of a backup, once it does.
fn began(shop: &Shop) -> u32 {
    let mark = shop.world.path("began");
    until("no backup begins", || fs::read_to_string(&mark).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(&mark).unwrap().trim().parse().unwrap()
}

/// A process and those that it descends from, up to us.
pub(super) fn line_of(mut pid: u32) -> Vec<u32> {
    let mut line = Vec::new();
    while pid > 1 && pid != std::process::id() {
        line.push(pid);
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { break };
        pid = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    }
    line
}

fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

#[track_caller]
pub(super) fn until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_due_is_done_once_and_the_next_time_there_is_nothing() {
    let shop = Shop::new(YEARLY);
    assert_eq!(jobs(&once(&shop).ends(0).lines()), ["begins run shop", "done run shop"]);
    assert_eq!(jobs(&once(&shop).ends(0).lines()), [""; 0]);
    assert_eq!(whole(&shop), 1);
    let status = shop.plain("status", &[]);
    assert!(status.out.contains("shop/tree"), "{}", status.out);
}

#[test]
fn a_job_that_fails_is_told_and_once_ends_with_its_code() {
    let shop = Shop::new(YEARLY);
    fs::remove_dir_all(shop.world.path("tree")).unwrap();
    let ran = once(&shop);
    assert_eq!(
        (ran.code, jobs(&ran.lines())),
        (1, vec!["begins run shop".to_owned(), "failed run shop".to_owned()])
    );
    let line = ran.lines().pop().unwrap();
    assert!(line["code"] == 1 && line["message"].as_str().unwrap().contains("tree"), "{line}");
}

/// Several processes on one catalog and one repository: each policy runs once, and never twice at a time.
#[test]
fn three_that_serve_the_same_do_each_thing_once() {
    let shop = Shop::new(YEARLY);
    let folder = shop.world.path("policies");
    for number in 0..5 {
        let repository = shop.world.path("repo");
        put(
            folder.join(format!("p{number}.yaml")),
            format!(
                "name: p{number}\nrepository: {{ url: {}, password: {{ env: SHOP_PASSWORD }} }}\n\
                 sources: {{ tree: {{ files: {{ paths: [ {} ] }} }} }}\n{YEARLY}",
                repository.display(),
                shop.world.path("tree").display()
            ),
        );
    }
    let start = || {
        let mut command = shop.command();
        command.args(["serve", "--json", "--patience", "60s", "--once"]).arg(&folder);
        shop.world.leash_as(command, &[])
    };
    let all = [start(), start(), start()].map(|serve| serve.ends_alone(&[]).ends(0));
    let mut done: Vec<_> =
        all.iter().flat_map(|ran| jobs(&ran.lines())).filter(|job| job.starts_with("done")).collect();
    done.sort();
    assert_eq!(done, [0, 1, 2, 3, 4].map(|number| format!("done run p{number}")));
    assert_eq!(whole(&shop), 5);
    shop.world.check();
}

/// Killed in the middle of a backup: nothing of it goes on, and whoever serves next does it once more.
#[test]
fn who_is_killed_leaves_nobody_and_the_job_is_done_anew() {
    let shop = waiting();
    let mut serve = start(&shop);
    let line = line_of(began(&shop));
    // The shell, the backup, the run, the service.
    assert!(line.len() >= 4, "{line:?}");
    for pid in &line[..line.len() - 1] {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&environment).into_owned();
        assert!(!text.contains("correct horse"), "{pid} has the password in its environment");
    }
    serve.send(Signal::KILL);
    until("somebody goes on", || line.iter().all(|pid| is_gone(*pid)));
    drop(serve);
    assert_eq!(whole(&shop), 0);
    put(shop.world.path("go"), b"");
    let mut serve = start(&shop);
    serve.says("state", "done", 1);
    assert_eq!(serve.stop(), ["taken_back run shop", "begins run shop", "done run shop"]);
    assert_eq!(whole(&shop), 1);
    shop.world.check();
}

/// Another may begin the job when the claim has run out: by then nothing of it goes on here.
#[test]
fn who_hears_nothing_of_the_catalog_stops_and_does_it_anew_on_a_server() {
    let shop = waiting();
    let mut catalog = Cluster::new(VERSIONS[0], "");
    let place = catalog.url().replace("@/?", "@/postgres?");
    let mut command = shop.command();
    command.args(["serve", "--json", "--patience", "4s", "--catalog", &place]).arg(&shop.policy);
    let mut serve = Going::start(&shop.world, command);
    let line = line_of(began(&shop));
    catalog.kill();
    until("it goes on", || line[..line.len() - 1].iter().all(|pid| is_gone(*pid)));
    serve.says("what", "catalog_lost", 1);
    put(shop.world.path("go"), b"");
    catalog.start();
    serve.says("state", "done", 1);
    let told = serve.stop();
    let count = |what: &str| told.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("begins"), count("done"), count("lost")), (2, 1, 0), "{told:?}");
    assert_eq!(whole(&shop), 1);
    shop.world.check();
}

/// Asked to stop in the middle of a backup: it ends with 0, and the job waits for the next.
#[test]
fn who_is_asked_to_stop_gives_the_job_back() {
    let shop = waiting();
    let serve = start(&shop);
    let line = line_of(began(&shop));
    assert_eq!(serve.stop(), ["begins run shop", "given_back run shop"]);
    assert!(line.iter().all(|pid| is_gone(*pid)), "somebody goes on");
    put(shop.world.path("go"), b"");
    let again = once(&shop).ends(0);
    assert_eq!(jobs(&again.lines()), ["begins run shop", "done run shop"]);
    let begins = again.lines().into_iter().find(|line| line["state"] == "begins").unwrap();
    assert_eq!((&begins["attempt"], whole(&shop)), (&1.into(), 1));
    shop.world.check();
}

#[test]
fn policies_are_read_again_and_a_wrong_one_is_served_as_it_was() {
    let shop = Shop::new(YEARLY);
    let folder = shop.world.path("policies");
    let (repository, tree) = (shop.world.path("repo"), shop.world.path("tree"));
    let write = |name: &str, more: &str| {
        let text = format!(
            "name: {name}\nrepository: {{ url: {}, password: {{ env: SHOP_PASSWORD }} }}\n\
             sources: {{ tree: {{ files: {{ paths: [ {} ] }} }} }}\n{more}",
            repository.display(),
            tree.display()
        );
        put(folder.join(format!("{name}.yaml")), text);
    };
    write("one", "");
    let mut command = shop.command();
    command.args(["serve", "--json", "--patience", "60s"]).arg(&folder);
    let mut serve = Going::start(&shop.world, command);
    serve.says("what", "ready", 1);
    // One that is wrong keeps nobody from anything, and is told once.
    put(folder.join("two.yaml"), "name: two\nsorces: {}\n");
    serve.send(Signal::HUP);
    serve.says("what", "policy_wrong", 1);
    write("two", YEARLY);
    serve.send(Signal::HUP);
    serve.says("state", "done", 1);
    // Its file is broken: it is still served, as it was.
    put(folder.join("two.yaml"), "name: two\nsorces: {}\n");
    serve.send(Signal::HUP);
    serve.says("what", "policy_wrong", 2);
    write("one", YEARLY);
    serve.send(Signal::HUP);
    serve.says("state", "done", 2);
    fs::remove_file(folder.join("two.yaml")).unwrap();
    serve.send(Signal::HUP);
    serve.says("what", "policy_gone", 1);
    assert_eq!(serve.count("what", "policy_wrong"), 2);
    // A folder that is not there for a while, as on a network, ends nothing.
    fs::rename(&folder, shop.world.path("away")).unwrap();
    serve.send(Signal::HUP);
    serve.says("what", "policy_wrong", 3);
    fs::rename(shop.world.path("away"), &folder).unwrap();
    assert_eq!(serve.count("what", "policy_gone"), 1);
    serve.stop();
    assert_eq!(whole(&shop), 2);
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let shop = Shop::new(YEARLY);
    let ran = shop.world.run(&[&"serve", &"nowhere.yaml"]).ends(2);
    ran.says(&["nowhere.yaml"]);
    shop.write("sorces: {}\n");
    once(&shop).ends(2);
    let mut command = shop.command();
    command.args(["serve", "--once"]).arg(&shop.policy);
    shop.world.run_as(&mut command, &[]).ends(2).says(&["policy check", "sorces"]);
    shop.write("repository: { url: repo, password: { env: X } }\nsources: { tree: { files: { paths: [ tree ] } } }\n");
    let mut command = shop.command();
    command.args(["serve", "--once", "--catalog", "/proc/nowhere/catalog"]).arg(&shop.policy);
    shop.world.run_as(&mut command, &[]).ends(1).says(&["nobody knows what runs elsewhere"]);
}

#[test]
fn a_policy_is_run_by_a_worker_that_has_its_labels() {
    let shop = Shop::new(&format!("{YEARLY}workers: [ tape, dc1 ]\n"));
    let with = |labels: &str| {
        let ran = shop.world.run_as(&mut command(&shop, &["--once", "--labels", labels]), &[]);
        jobs(&ran.ends(0).lines())
    };
    assert_eq!(jobs(&once(&shop).ends(0).lines()), [""; 0]);
    assert_eq!(with("dc1"), [""; 0]);
    assert_eq!(with("dc1,tape"), ["begins run shop", "done run shop"]);
}

/// What is remembered nowhere else is in the repository: nothing is done once more.
#[test]
fn a_catalog_that_was_lost_is_made_up_for_from_the_repositories() {
    let shop = Shop::new(YEARLY);
    once(&shop).ends(0);
    fs::remove_dir_all(shop.world.path("home/.local")).unwrap();
    let ran = once(&shop).ends(0);
    assert_eq!(jobs(&ran.lines()), [""; 0]);
    assert!(ran.lines().iter().any(|line| line["what"] == "past_found"), "{}", ran.out);
    assert_eq!(whole(&shop), 1);
}

/// A part of a policy at a time, as `serve` runs it, and what a hold keeps from being done.
#[test]
fn parts_of_a_policy_and_what_a_hold_stops() {
    let shop = Shop::new(
        "retention: { keep_last: 1 }\nprune: { cron: '0 5 * * 0' }\ncheck: { cron: '0 6 * * 0' }\n",
    );
    let steps = |ran: &Ran| -> Vec<String> {
        let summary = ran.summary();
        let steps = summary["steps"].as_array().unwrap().iter();
        steps
            .map(|step| format!("{} {}", step["activity"].as_str().unwrap(), step["state"].as_str().unwrap()))
            .collect()
    };
    for _ in 0..2 {
        let ran = shop.json("run", &["--only", "backup"]).ends(0);
        assert_eq!(steps(&ran), ["backup done", "forget done"]);
    }
    assert_eq!(steps(&shop.json("run", &["--only", "prune"]).ends(0)), ["prune done"]);
    assert_eq!(steps(&shop.json("run", &["--only", "check"]).ends(0)), ["check done"]);
    shop.json("run", &["--only", "check", "--source", "tree"]).ends(2);
    shop.world.run(&[&"backup", &"--label", &"other/tree", &shop.world.path("tree")]).ends(0);
    shop.world.run(&[&"hold", &"--source", &"other/tree", &"--reason", &"not ours"]).ends(0);
    assert_eq!(steps(&shop.json("run", &["--only", "prune"]).ends(0)), ["prune done"]);
    shop.world.run(&[&"hold", &"--source", &"shop/tree", &"--reason", &"a case"]).ends(0);
    for part in ["prune", "check"] {
        let ran = shop.json("run", &["--only", part]).ends(0);
        assert_eq!(steps(&ran), [format!("{part} held")]);
        assert!(ran.out.contains("a case"), "{}", ran.out);
    }
    // Whoever does it by hand has looked.
    assert!(steps(&shop.json("run", &[]).ends(0)).contains(&"backup done".to_owned()));
}
