//! Contents that change, have holes, or come with attributes.

use super::driver::{batches, capture, drain, options, read_item};
use holdfast_core::entry::{Kind, Time};
use holdfast_engine::source::{EntryBatch, Piece, ReadStatus};
use rustix::fs::{XattrFlags, setxattr};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::tempdir;

/// The last batch of a walk and the place of its last item.
fn last_item(path: &Path) -> (EntryBatch, usize) {
    let batch = batches(options(&[path])).pop().unwrap();
    let item = batch.items.len() - 1;
    (batch, item)
}

#[test]
fn small_file_is_appended() {
    let top = tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, b"content").unwrap();
    let (batch, item) = last_item(&path);
    let mut content = b"before ".to_vec();
    let examined = batch.reader.examine(item, &mut content).unwrap();
    assert_eq!(content, b"before content");
    assert_eq!(examined.status, ReadStatus::Stable);
    assert_eq!(examined.stat, batch.items[item].stat);
    assert!(examined.details.birth.is_none_or(|birth| birth > Time { seconds: 1_600_000_000, nanos: 0 }));
}

#[test]
fn file_that_grew_past_the_limit_before_it_is_opened() {
    let top = tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, b"small").unwrap();
    let (batch, item) = last_item(&path);
    fs::write(&path, vec![1; 200_000]).unwrap();
    let mut content = Vec::new();
    let examined = batch.reader.examine(item, &mut content).unwrap();
    assert_eq!((examined.status, examined.stat.size, content.len()), (ReadStatus::Torn, 200_000, 0));
}

#[test]
fn file_that_grows_while_it_is_read() {
    let top = tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, vec![7; 300_000]).unwrap();
    let (batch, item) = last_item(&path);
    let mut stream = batch.reader.open(item).unwrap();
    File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    let (parts, status) = drain(&mut *stream);
    let length: usize = parts.iter().map(|(_, part)| part.as_ref().unwrap().len()).sum();
    assert_eq!((length, status), (300_000, ReadStatus::Grown));
}

#[test]
fn file_that_changes_while_it_is_read() {
    let top = tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, vec![7; 300_000]).unwrap();
    let (batch, item) = last_item(&path);
    let mut stream = batch.reader.open(item).unwrap();
    // The clock of the file system may tick only some hundred times a second.
    std::thread::sleep(std::time::Duration::from_millis(20));
    File::options().write(true).open(&path).unwrap().write_all_at(b"new", 100).unwrap();
    assert_eq!(drain(&mut *stream).1, ReadStatus::Torn);
}

#[test]
fn file_that_shrinks_while_it_is_read() {
    let top = tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, vec![7; 300_000]).unwrap();
    let (batch, item) = last_item(&path);
    let mut stream = batch.reader.open(item).unwrap();
    let mut buffer = vec![0; 1000];
    assert_eq!(stream.read(&mut buffer).unwrap(), Piece::Data(1000));
    File::options().write(true).open(&path).unwrap().set_len(2500).unwrap();
    let (parts, status) = drain(&mut *stream);
    let length: usize = parts.iter().map(|(_, part)| part.as_ref().unwrap().len()).sum();
    assert_eq!((length, status), (1500, ReadStatus::Torn));
}

#[test]
fn holes_are_exact() {
    let top = tempdir().unwrap();
    let path = top.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.write_all_at(&[1; 4096], 1 << 20).unwrap();
    file.write_all_at(&[2; 100_000], 3 << 20).unwrap();
    file.set_len(5 << 20).unwrap();
    let (batch, item) = last_item(&path);
    assert!(batch.items[item].stat.sparse);
    let (stat, _, parts) = read_item(&batch, item).unwrap();
    assert_eq!(stat.size, 5 << 20);
    let mut position = 0;
    let mut data = Vec::new();
    for (offset, part) in &parts {
        assert_eq!(*offset, position);
        position += part.as_ref().map_or_else(|hole| *hole, |bytes| bytes.len() as u64);
        if let Ok(bytes) = part {
            data.push((*offset, bytes.len()));
        }
    }
    assert_eq!(position, 5 << 20);
    // 100,000 bytes end inside a block, whose rest is data.
    assert_eq!(data[..2], [(1 << 20, 4096), (3 << 20, 100_000)]);
    assert_eq!(data[2..].iter().map(|(_, length)| length).sum::<usize>(), 102_400 - 100_000);
}

#[test]
fn file_of_one_hole() {
    let top = tempdir().unwrap();
    let path = top.path().join("sparse");
    File::create(&path).unwrap().set_len(1_000_003).unwrap();
    let (batch, item) = last_item(&path);
    let (_, _, parts) = read_item(&batch, item).unwrap();
    assert_eq!(parts, [(0, Err(1_000_003))]);
}

#[test]
fn attributes_are_read() {
    let top = tempdir().unwrap();
    let path = top.path().join("file");
    fs::write(&path, b"x").unwrap();
    let large = vec![b'v'; 2000];
    let set = |name: &str, value: &[u8]| setxattr(&path, name, value, XattrFlags::empty());
    if set("user.b", b"2").is_err() {
        // The file system of this machine's temporary folder has none.
        return;
    }
    set("user.a", b"").unwrap();
    set("user.large", &large).unwrap();
    let captured = capture(&path);
    let holdfast_core::entry::Xattrs::Inline(xattrs) = &captured[0].0.attributes.xattrs else { panic!() };
    let of_user: Vec<_> = xattrs.iter().filter(|(name, _)| name.starts_with(b"user.")).cloned().collect();
    let expected = [("user.a", vec![]), ("user.b", b"2".to_vec()), ("user.large", large)];
    assert_eq!(of_user, expected.map(|(name, value)| (name.as_bytes().to_vec(), value)));
}

#[test]
fn pipes_are_not_waited_for() {
    let top = tempdir().unwrap();
    let path = top.path().join("item");
    fs::write(&path, b"x").unwrap();
    let (batch, item) = last_item(&path);
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(batch.reader.examine(item, &mut Vec::new()).is_err());
    let (batch, item) = last_item(&path);
    assert_eq!(batch.items[item].stat.kind, Kind::Fifo);
    assert!(batch.reader.examine(item, &mut Vec::new()).is_ok());
}
