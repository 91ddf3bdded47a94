//! The shapes of the JSON lines, as programs rely on them.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use holdfast_core::entry::{Attributes, Content, Owner, Time};
use holdfast_core::id::{ChunkId, MemberId, SessionId, StreamId};
use holdfast_core::page::KeySpace;
use holdfast_core::session;
use serde_json::{Value, json};
use std::sync::Arc;

fn value(line: &impl Serialize) -> Value {
    serde_json::to_value(line).unwrap()
}

fn snapshot() -> Snapshot {
    let summary = session::Summary {
        stream: StreamId([1; 16]),
        host: "web1".into(),
        kind: "files".into(),
        label: "web1:/srv".into(),
        paths: vec![b"/srv".to_vec(), b"/caf\xe9".to_vec()],
        tags: vec!["daily".into()],
        start: Time { seconds: 0, nanos: 0 },
        end: Time { seconds: 60, nanos: 0 },
        counts: session::Counts { files: 3, bytes: 300, ..session::Counts::default() },
        incomplete: true,
        problems: 2,
        root: ChunkId([2; 32]),
        space: KeySpace::Paths,
        parent: None,
        supersedes: Vec::new(),
        origin: None,
        log: None,
        said_by: None,
        unknown: Vec::new(),
    };
    Snapshot { id: SessionId([0xab; 16]), member: MemberId([3; 16]), epoch: 0, summary }
}

#[test]
fn a_failure_ends_with_its_code() {
    let fault = Fault::failed("cannot go on", "");
    let line = value(&ExitError::of(&fault));
    assert_eq!(line, json!({"message_type": "exit_error", "code": 1, "message": "cannot go on"}));
}

#[test]
fn a_path_that_is_not_text_is_there_twice() {
    let problem =
        Problem { path: b"/\xff".to_vec(), kind: ProblemKind::Unreadable, what: "open: denied".into() };
    let line = value(&ItemLine::problem(&problem));
    let wanted = json!({
        "message_type": "error", "kind": "unreadable", "item": "/\u{fffd}", "item_base64": "L/8=",
        "message": "open: denied",
    });
    assert_eq!(line, wanted);
    assert_eq!(value(&Path::new("/né".as_bytes())), json!({"path": "/né"}));
}

#[test]
fn a_snapshot_has_restics_names() {
    let line = value(&SnapshotLine::from(&snapshot()));
    assert_eq!(line["message_type"], "snapshot");
    assert_eq!(line["id"], "ab".repeat(16));
    assert_eq!(line["short_id"], "abababab");
    assert_eq!(line["time"], "1970-01-01T00:00:00Z");
    assert_eq!(line["hostname"], "web1");
    assert_eq!(line["paths"], json!(["/srv", "/caf\u{fffd}"]));
    assert_eq!(line["paths_base64"], json!(["L3Nydg==", "L2NhZuk="]));
    assert_eq!(line["tags"], json!(["daily"]));
    assert_eq!(line["incomplete"], true);
    assert_eq!(line["summary"]["backup_end"], "1970-01-01T00:01:00Z");
    assert_eq!(line["summary"]["total_bytes_processed"], 300);
}

#[test]
fn a_backup_sums_up() {
    let counts = session::Counts {
        files: 10,
        files_new: 1,
        files_changed: 2,
        files_unmodified: 7,
        bytes_added: 100,
        bytes_stored: 40,
        ..session::Counts::default()
    };
    let report = BackupReport {
        snapshot: Some(SessionId([0xcd; 16])),
        parent: None,
        root: ChunkId([2; 32]),
        counts,
        unchanged: false,
        adopted_sessions: 0,
        adopted_packs: 0,
        start: Time::default(),
        end: Time::default(),
        facts: Vec::new(),
    };
    let line = value(&Summary::new(&report, Around { dry_run: false, seconds: 1.5, errors: 1, notices: 0 }));
    assert_eq!(line["message_type"], "summary");
    assert_eq!(line["snapshot_id"], "cd".repeat(16));
    assert_eq!((&line["files_new"], &line["files_changed"]), (&json!(1), &json!(2)));
    assert_eq!((&line["data_added"], &line["data_added_packed"]), (&json!(100), &json!(40)));
    assert_eq!((&line["total_duration"], &line["incomplete"]), (&json!(1.5), &json!(true)));
}

#[test]
fn a_node_tells_of_one_entry() {
    let entry = Entry {
        key: b"srv\0link".to_vec(),
        kind: Kind::Symlink,
        mode: 0o777,
        owner: Arc::new(Owner { uid: 7, gid: 8, user: "u".into(), group: String::new() }),
        mtime: Time { seconds: 1, nanos: 5 },
        size: 0,
        content: Content::None,
        digest: None,
        attributes: Attributes { link_target: Some(b"../x".to_vec()), ..Attributes::default() },
    };
    let wanted = json!({
        "message_type": "node", "name": "link", "type": "symlink", "path": "/srv/link", "uid": 7, "gid": 8,
        "user": "u", "group": "", "mode": "0777", "mtime": "1970-01-01T00:00:01.000000005Z",
        "linktarget": "../x", "torn": false, "grown": false,
    });
    assert_eq!(value(&Node::from(&entry)), wanted);
}
