//! What a backup takes, and how it sums up.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::args::{Cli, Verb};
use crate::fault::Code;
use clap::Parser;
use holdfast_core::entry::Time;
use holdfast_core::id::ChunkId;
use holdfast_core::session::Counts;
use std::io::Write;

fn args(words: &[&str]) -> BackupArgs {
    match Cli::try_parse_from(["holdfast", "backup"].iter().chain(words)).unwrap().verb {
        Verb::Backup(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn report(snapshot: Option<SessionId>) -> BackupReport {
    let counts = Counts {
        files: 36_408,
        files_new: 12,
        files_changed: 3,
        files_unmodified: 36_393,
        directories: 4_012,
        bytes: 1_535_000_000,
        bytes_read: 4 << 20,
        bytes_added: 3 << 20,
        bytes_stored: 1 << 20,
        ..Counts::default()
    };
    let (start, end) = (Time::default(), Time::default());
    let (root, unchanged) = (ChunkId([0; 32]), false);
    BackupReport {
        snapshot,
        parent: None,
        root,
        counts,
        unchanged,
        adopted_sessions: 1,
        adopted_packs: 2,
        start,
        facts: Vec::new(),
        end,
    }
}

#[test]
fn paths_are_taken_once_in_order() {
    let mut list = tempfile::NamedTempFile::new().unwrap();
    list.write_all(b"# comment\n/srv/b\r\n\n/srv/a b\n").unwrap();
    let file = list.path().to_str().unwrap();
    let wanted = ["/etc", "/srv/a b", "/srv/b"].map(PathBuf::from).to_vec();
    assert_eq!(
        what(&args(&["/srv/b", "/etc/", "/srv/../etc", "--files-from", file])).unwrap(),
        What::Files(wanted)
    );
}

#[test]
fn standard_input_stands_alone() {
    assert_eq!(what(&args(&["-"])).unwrap(), What::Stdin);
    assert_eq!(what(&args(&["-", "/etc"])).unwrap_err().code, Code::Usage);
    let command = what(&args(&["--stdin-from-command", "--", "dump", "-"])).unwrap();
    assert_eq!(command, What::Command(vec!["dump".into(), "-".into()]));
}

#[test]
fn the_file_of_standard_input_has_a_name() {
    assert_eq!(stdin_key(OsStr::new("/dump//all.sql")).unwrap(), b"dump\0all.sql");
    for name in ["", "/", "..", "a/../b", "./a"] {
        assert_eq!(stdin_key(OsStr::new(name)).unwrap_err().code, Code::Usage, "{name}");
    }
}

#[test]
fn a_summary_can_be_read_by_a_person() {
    let lines = summary(&report(Some(SessionId([0xab; 16]))), false, Duration::from_millis(400));
    let wanted = [
        "snapshot abababab saved",
        "  files      12 new, 3 changed, 36,393 unchanged",
        "  in all     36,408 files, 4,012 folders, 0 others",
        "  size       1.43 GiB, 4.00 MiB read",
        "  added      3.00 MiB, 1.00 MiB in the repository",
        "  took       0.40 s, 3.57 GiB/s",
        "  taken over 2 packs of 1 interrupted backup",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(summary(&report(None), true, Duration::ZERO)[0], "dry run: nothing was stored");
}

#[test]
fn what_could_not_be_read_makes_three() {
    let mut problems = crate::engine::Problems::default();
    assert_eq!(finish(&Outcome { value: report(None), problems: problems.clone() }), Ok(()));
    problems.problem_count = 2;
    let fault = finish(&Outcome { value: report(Some(SessionId([1; 16]))), problems }).unwrap_err();
    assert_eq!(
        (fault.code, fault.what.as_str()),
        (Code::Incomplete, "2 items could not be read; the snapshot exists")
    );
}
