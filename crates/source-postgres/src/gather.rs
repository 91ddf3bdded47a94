//! Gathers files as they come into batches for the engine.
//!
//! A batch with a content that streams in is handed over before its first byte is waited for:
//! whoever reads it has to know of it, or both sides would wait for ever. On purpose not here:
//! what the files are.

use crate::batch::{BatchReader, Content, Owed, Slot, Spooled, stat};
use crate::error::PgError;
use bytes::Bytes;
use holdfast_core::entry::{Kind, Owner, Time, path_to_key};
use holdfast_engine::outcome::{Notice, Problem, Problems};
use holdfast_engine::source::{Aside, Details, EntryBatch, Item, SMALL_FILE_BYTES_MAX};
use std::sync::Arc;
use tokio::sync::mpsc::{Sender, UnboundedSender, channel};

/// Items of a batch.
const ITEMS_MAX: usize = 256;
/// Content of small files in a batch, in bytes.
const BYTES_MAX: usize = 1 << 20;
/// Pieces of a content that may wait to be read; each has 32 KiB or less.
const PIPE_PIECES: usize = 64;

/// What goes to the engine.
pub(crate) type Delivery = Result<EntryBatch, PgError>;

/// Where it goes.
pub(crate) enum Out {
    /// Waits until there is room.
    Waiting(Sender<Delivery>),
    /// Never waits: for who must answer a server in time, and holds its content on the disk.
    Never(UnboundedSender<Delivery>),
}

/// Gathers items.
pub(crate) struct Gather {
    out: Out,
    owed: Owed,
    keys: Vec<u8>,
    items: Vec<Item>,
    slots: Vec<Slot>,
    bytes: usize,
    problems: Problems,
}

/// What is known of a file before its content.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub path: Vec<u8>,
    pub mode: u16,
    pub owner: Arc<Owner>,
    pub mtime: Time,
}

impl Gather {
    pub(crate) fn new(out: Out, owed: Owed) -> Self {
        Self {
            out,
            owed,
            keys: Vec::new(),
            items: Vec::new(),
            slots: Vec::new(),
            bytes: 0,
            problems: Problems::default(),
        }
    }

    /// Whether a file of a length is given whole.
    pub(crate) const fn is_small(size: u64) -> bool {
        size <= SMALL_FILE_BYTES_MAX
    }

    pub(crate) async fn folder(&mut self, named: &Named) -> Result<(), PgError> {
        self.add(named, Kind::Directory, 0, Details::default(), Content::Nothing).await
    }

    pub(crate) async fn link(&mut self, named: &Named, target: Vec<u8>) -> Result<(), PgError> {
        let details = Details { link_target: Some(target), ..Details::default() };
        self.add(named, Kind::Symlink, 0, details, Content::Nothing).await
    }

    /// Gives a file whose content is here.
    pub(crate) async fn small(&mut self, named: &Named, content: Vec<u8>) -> Result<(), PgError> {
        let size = content.len() as u64;
        self.owed.announce();
        self.add(named, Kind::File, size, Details::default(), Content::Whole(content)).await
    }

    /// Gives a file whose content will go into the pipe that is returned.
    pub(crate) async fn piped(&mut self, named: &Named, size: Option<u64>) -> Result<Sender<Bytes>, PgError> {
        let (sender, receiver) = channel(PIPE_PIECES);
        self.owed.announce();
        let content = Content::Piped(receiver, size);
        self.push(named, Kind::File, size.unwrap_or_default(), Details::default(), content);
        // What does not know its length is read as a stream.
        if let (None, Some(item), Some(slot)) = (size, self.items.last_mut(), self.slots.last_mut()) {
            (item.stat.sparse, slot.stat.sparse) = (true, true);
        }
        self.flush().await?;
        Ok(sender)
    }

    /// Gives a file whose content lies in another one.
    pub(crate) async fn spooled(&mut self, named: &Named, content: Spooled) -> Result<(), PgError> {
        self.owed.announce();
        let size = content.length;
        self.push(named, Kind::File, size, Details::default(), Content::Spooled(content));
        self.flush().await
    }

    pub(crate) fn problem(&mut self, problem: Problem) {
        self.problems.problem(problem);
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.problems.notice(notice);
    }

    async fn add(
        &mut self,
        named: &Named,
        kind: Kind,
        size: u64,
        details: Details,
        content: Content,
    ) -> Result<(), PgError> {
        self.push(named, kind, size, details, content);
        self.bytes += size as usize;
        if self.items.len() >= ITEMS_MAX || self.bytes >= BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    fn push(&mut self, named: &Named, kind: Kind, size: u64, details: Details, content: Content) {
        let start = self.keys.len();
        self.keys.extend_from_slice(&path_to_key(&named.path));
        let stat = stat(kind, named.mode, &named.owner, size, named.mtime);
        self.items.push(Item { key: start..self.keys.len(), stat: stat.clone(), aside: Aside::default() });
        self.slots.push(Slot { stat, details, content });
    }

    /// Hands over what was gathered.
    pub(crate) async fn flush(&mut self) -> Result<(), PgError> {
        if self.items.is_empty() && self.problems == Problems::default() {
            return Ok(());
        }
        self.bytes = 0;
        let batch = EntryBatch {
            keys: std::mem::take(&mut self.keys),
            items: std::mem::take(&mut self.items),
            reader: Arc::new(BatchReader::new(std::mem::take(&mut self.slots), self.owed.clone())),
            problems: std::mem::take(&mut self.problems),
        };
        match &self.out {
            Out::Waiting(out) => out.send(Ok(batch)).await.map_err(|_| nobody()),
            Out::Never(out) => out.send(Ok(batch)).map_err(|_| nobody()),
        }
    }
}

/// The run has ended for another reason, which is told elsewhere.
pub(crate) fn nobody() -> PgError {
    PgError::Refused("nobody takes the backup any more".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use tokio::sync::mpsc::Receiver;

    fn named(path: &str) -> Named {
        let (path, owner) = (path.as_bytes().to_vec(), Arc::default());
        Named { path, mode: 0o600, owner, mtime: Time::default() }
    }

    fn paths(out: &mut Receiver<Delivery>) -> Vec<String> {
        let batch = out.try_recv().unwrap().unwrap();
        (0..batch.items.len())
            .map(|item| String::from_utf8_lossy(batch.key(item)).replace('\0', "/"))
            .collect()
    }

    #[tokio::test]
    async fn a_file_that_streams_in_is_handed_over_before_its_content() {
        let (out, mut taken) = channel(8);
        let mut gather = Gather::new(Out::Waiting(out), Owed::default());
        gather.folder(&named("base")).await.unwrap();
        gather.small(&named("base/1"), b"x".to_vec()).await.unwrap();
        assert!(taken.try_recv().is_err(), "small ones wait for company");
        let pipe = gather.piped(&named("base/2"), Some(1 << 20)).await.unwrap();
        assert_eq!(paths(&mut taken), ["base", "base/1", "base/2"]);
        drop(pipe);
        gather.small(&named("base/3"), vec![0; SMALL_FILE_BYTES_MAX as usize]).await.unwrap();
        gather.flush().await.unwrap();
        assert_eq!(paths(&mut taken), ["base/3"]);
        gather.flush().await.unwrap();
        assert!(taken.try_recv().is_err(), "there is nothing to hand over");
    }

    #[tokio::test]
    async fn batches_are_bounded() {
        let (out, mut taken) = channel(100);
        let mut gather = Gather::new(Out::Waiting(out), Owed::default());
        for number in 0..20 {
            gather.small(&named(&format!("{number}")), vec![0; 100_000]).await.unwrap();
        }
        for number in 0..ITEMS_MAX {
            gather.small(&named(&format!("x{number}")), Vec::new()).await.unwrap();
        }
        gather.flush().await.unwrap();
        let counts: Vec<_> =
            std::iter::from_fn(|| taken.try_recv().ok()).map(|b| b.unwrap().items.len()).collect();
        assert_eq!(counts, [11, 9 + ITEMS_MAX - 9, 9]);
        drop(taken);
        gather.small(&named("more"), Vec::new()).await.unwrap();
        assert!(gather.flush().await.is_err());
    }
}
