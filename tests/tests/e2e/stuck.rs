//! What does not answer: the run ends and names it, and nothing is lost.

use super::compare::same;
use super::tree::put;
use super::world::World;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Keeps everybody else from opening a file, by what the manual of fcntl calls F_SETLEASE: whoever opens the file waits, as for a
/// server that is gone. The system ends the wait after some time (45 seconds by default).
fn hold(path: &Path) -> Child {
    const SCRIPT: &str = r#"
        $SIG{IO} = "IGNORE";
        open(my $file, "+<", $ARGV[0]) or die "open: $!";
        fcntl($file, 1024, 1) or die "fcntl: $!";
        $| = 1;
        print "held\n";
        sleep 1 while 1;
    "#;
    let mut perl = Command::new("perl");
    let mut child = perl.args(["-e", SCRIPT]).arg(path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

#[test]
fn a_file_that_does_not_answer_ends_the_run_with_its_name() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("before"), b"before");
    put(source.join("hangs"), b"hangs");
    put(source.join("later/after"), b"after");
    let mut holder = hold(&source.join("hangs"));
    let ran = world.run(&[&"backup", &source, &"--stuck-timeout", &"1s"]);
    let _ = holder.kill();
    holder.wait().unwrap();
    ran.ends(1).says(&["source/hangs", "did not answer for 1.00 s", "on /", "--stuck-timeout"]);
    assert!(world.objects().iter().all(|name| !name.ends_with("/end")), "a snapshot was made");
    world.check();
    world.backup(&source);
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn a_time_is_checked_before_anything_is_done() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"x");
    world.run(&[&"backup", &source, &"--stuck-timeout", &"soon"]).ends(2).says(&["30s"]);
    world.run(&[&"backup", &source, &"--limit-upload", &"0"]).ends(2);
    world.run(&[&"backup", &source, &"--read-concurrency", &"0"]).ends(2);
    world
        .run(&[
            &"backup",
            &source,
            &"--stuck-timeout",
            &"0",
            &"--limit-upload",
            &"100M",
            &"--read-concurrency",
            &"5",
        ])
        .ends(0);
}
