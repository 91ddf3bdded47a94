//! The source of one file, as the engine uses it.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use std::process::{Command, Stdio};
use std::time::Instant;

fn source(script: &str, cancel: Cancel) -> StdinSource {
    let mut child = Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let from = OwnedFd::from(child.stdout.take().unwrap());
    let label = Label {
        key: b"dump\0all.sql".to_vec(),
        host: "db1".into(),
        now: Time { seconds: 7, nanos: 0 },
        unique: 9,
    };
    StdinSource::new(Input { from, child: Some(child) }, &label, cancel)
}

fn drain(stream: &mut dyn ContentStream) -> Result<Vec<u8>, ItemError> {
    let (mut content, mut buffer) = (Vec::new(), [0; 7]);
    while let Piece::Data(bytes) = stream.read(&mut buffer)? {
        content.extend_from_slice(&buffer[..bytes]);
    }
    Ok(content)
}

#[test]
fn what_a_command_prints_is_one_file() {
    let mut source = source("printf 0123456789; printf abc", Cancel::default());
    assert_eq!(source.identity().paths, [b"/dump/all.sql".to_vec()]);
    let batch = source.next_batch().unwrap().unwrap();
    let keys: Vec<&[u8]> = (0..batch.items.len()).map(|item| batch.key(item)).collect();
    assert_eq!(keys, [b"dump".as_slice(), b"dump\0all.sql"]);
    assert!(batch.items[1].stat.sparse && source.next_batch().unwrap().is_none());
    let mut stream = batch.reader.open(1).unwrap();
    assert_eq!(drain(&mut *stream).unwrap(), b"0123456789abc");
    assert_eq!(stream.finish().unwrap(), ReadStatus::Stable);
    assert!(batch.reader.open(1).is_err());
    assert!(source.finish().is_ok());
}

#[test]
fn a_command_that_fails_fails_the_source() {
    let mut source = source("echo half; exit 7", Cancel::default());
    let batch = source.next_batch().unwrap().unwrap();
    let mut stream = batch.reader.open(1).unwrap();
    assert_eq!(drain(&mut *stream).unwrap(), b"half\n");
    assert!(stream.finish().is_err());
    assert!(source.finish().unwrap_err().what.contains("7"));
}

#[test]
fn what_was_not_read_to_its_end_is_no_success() {
    let mut source = source("echo whole", Cancel::default());
    drop(source.next_batch().unwrap());
    assert!(source.finish().is_err());
}

#[test]
fn a_stop_ends_a_command_that_says_nothing() {
    let cancel = Cancel::default();
    let mut source = source("exec sleep 60", cancel.clone());
    let batch = source.next_batch().unwrap().unwrap();
    let mut stream = batch.reader.open(1).unwrap();
    let begun = Instant::now();
    cancel.raise();
    assert!(drain(&mut *stream).is_err());
    assert!(source.finish().is_err());
    drop(source);
    assert!(begun.elapsed() < Duration::from_secs(10));
}
