//! The configuration of a bucket as something to back up: one item, with nothing more to be asked.
//!
//! On purpose not here: asking for it.

use super::ask::Asked;
use super::{Configuration, PARTS};
use crate::source::Shared;
use crate::told::stat_of;
use holdfast_core::configuration::{CONFIGURATION_KEY, CONFIGURATION_SHOWN};
use holdfast_core::entry::Time;
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::source::{
    Aside, ContentStream, Details, EntryBatch, Examined, Item, ItemError, ItemReader, Piece, ReadStatus, Stat,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// It has no time of its own. One that were always another would make it another each time.
const NO_TIME: Time = Time { seconds: 0, nanos: 0 };

/// What was captured.
pub(crate) struct Captured {
    pub batch: EntryBatch,
    /// Its content was read: it is new, or not what it was.
    pub read: Arc<AtomicBool>,
    /// Nothing of it may be read: it is no item.
    pub is_item: bool,
}

/// Asks for the configuration. What cannot be read is a problem if it was asked for, and else worth
/// knowing.
pub(crate) async fn capture(shared: &Shared, demanded: bool) -> Captured {
    let (client, bucket) = (&shared.client, shared.address.bucket.as_str());
    let configuration = Asked { client, bucket, gate: shared.meter.gate() }.all().await;
    let is_item = configuration.unread.len() < PARTS.len();
    let content = configuration.encode();
    let etag = blake3::hash(&content).to_hex();
    let stat = stat_of(&etag, content.len() as u64, NO_TIME);
    let read = Arc::new(AtomicBool::new(false));
    let item = Item { key: 0..CONFIGURATION_KEY.len(), stat: stat.clone(), aside: Aside::default() };
    let reader = Reader { stat, content: content.into(), read: Arc::clone(&read) };
    let batch = EntryBatch {
        keys: CONFIGURATION_KEY.to_vec(),
        items: if is_item { vec![item] } else { Vec::new() },
        reader: Arc::new(reader),
        problems: unread(&configuration, demanded),
    };
    Captured { batch, read, is_item }
}

fn unread(configuration: &Configuration, demanded: bool) -> Problems {
    let (mut told, path) = (Problems::default(), || CONFIGURATION_SHOWN.as_bytes().to_vec());
    if demanded {
        for (name, why) in &configuration.unread {
            let what = format!("cannot read its {name}: {why}");
            told.problem(Problem { path: path(), kind: ProblemKind::Attribute, what });
        }
    } else if let Some((name, why)) = configuration.unread.iter().next() {
        let names: Vec<_> = configuration.unread.keys().map(String::as_str).collect();
        let what = format!(
            "not kept of it, as it cannot be read: {}; {name}: {why}; leave it out with --metadata tags,lock",
            names.join(", ")
        );
        told.notice(Notice { path: path(), kind: NoticeKind::Other, what });
    }
    told
}

struct Reader {
    stat: Stat,
    content: Arc<[u8]>,
    read: Arc<AtomicBool>,
}

impl ItemReader for Reader {
    fn examine(&self, _item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        self.read.store(true, Ordering::Release);
        content.extend_from_slice(&self.content);
        Ok(Examined { stat: self.stat.clone(), details: Details::default(), status: ReadStatus::Stable })
    }

    fn open(&self, _item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        self.read.store(true, Ordering::Release);
        let (stat, content) = (self.stat.clone(), Arc::clone(&self.content));
        Ok(Box::new(Stream { stat, details: Details::default(), content, at: 0 }))
    }
}

/// A long one.
struct Stream {
    stat: Stat,
    details: Details,
    content: Arc<[u8]>,
    at: usize,
}

impl ContentStream for Stream {
    fn opened(&self) -> (&Stat, &Details) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        let length = buffer.len().min(self.content.len() - self.at);
        buffer[..length].copy_from_slice(&self.content[self.at..self.at + length]);
        self.at += length;
        Ok(if length == 0 { Piece::End } else { Piece::Data(length) })
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        Ok(ReadStatus::Stable)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn a_long_one_comes_in_pieces() {
        let content: Arc<[u8]> = vec![7; 10].into();
        let stat = stat_of("", 10, NO_TIME);
        let reader = Reader { stat, content, read: Arc::default() };
        let mut stream = reader.open(0).unwrap();
        let mut lengths = Vec::new();
        while let Piece::Data(length) = stream.read(&mut [0; 4]).unwrap() {
            lengths.push(length);
        }
        assert_eq!(lengths, [4, 4, 2]);
        assert!(reader.read.load(Ordering::Acquire));
    }

    #[test]
    fn what_cannot_be_read_is_told_as_it_was_asked_for() {
        let mut one = Configuration::default();
        one.unread.insert("cors".to_owned(), "no".to_owned());
        one.unread.insert("policy".to_owned(), "no".to_owned());
        let (noticed, demanded) = (unread(&one, false), unread(&one, true));
        assert_eq!((noticed.problem_count, noticed.notice_count), (0, 1));
        assert!(noticed.notices[0].what.contains("cors, policy"));
        assert_eq!((demanded.problem_count, demanded.notice_count), (2, 0));
    }
}
