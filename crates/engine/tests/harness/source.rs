//! A source in memory that counts what is read and fails on demand.

use super::tree::{Node, Rng, Run, Tree, Trouble};
use holdfast_core::entry::Kind;
use holdfast_core::page::KeySpace;
use holdfast_core::session::LogSpan;
use holdfast_engine::outcome::Problems;
use holdfast_engine::source::{
    Account, Aside, ConsistencyPoint, ContentStream, Details, EntryBatch, Examined, Item, ItemError,
    ItemReader, Lack, Order, Piece, ReadStatus, SMALL_FILE_BYTES_MAX, Source, SourceError, SourceIdentity,
    Stat, UNSETTLED_SECONDS,
};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Called with each key before it is read.
type Hook = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Keys that were read, as often as they were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads(Arc<Mutex<Vec<Vec<u8>>>>);

impl Reads {
    pub(crate) fn take(&self) -> Vec<String> {
        let mut keys = std::mem::take(&mut *self.0.lock().unwrap());
        keys.sort();
        keys.iter().map(|key| String::from_utf8_lossy(key).replace('\0', "/")).collect()
    }

    fn note(&self, key: &[u8]) {
        self.0.lock().unwrap().push(key.to_vec());
    }
}

/// A source in memory.
pub(crate) struct ModelSource {
    tree: Arc<Tree>,
    keys: Vec<Vec<u8>>,
    at: usize,
    order: Order,
    space: KeySpace,
    identity: SourceIdentity,
    batch_items: usize,
    pub(crate) reads: Reads,
    hook: Option<Hook>,
    /// Listing fails once so many items were listed.
    fails_after: Option<usize>,
    /// Whether it can be read once more, then without the hook.
    repeatable: bool,
    /// What the listing tells of the details of each item.
    aside: Aside,
    account: Arc<Mutex<Account>>,
    record: Vec<u8>,
    log: Option<LogSpan>,
    /// Whether its files are those of a database.
    blocks: bool,
    unsettled_seconds: i64,
}

impl ModelSource {
    pub(crate) fn new(tree: &Tree) -> Self {
        let identity = SourceIdentity {
            kind: "files".into(),
            host: "host".into(),
            canonical: "/model".into(),
            paths: vec![b"/model".to_vec()],
        };
        Self {
            keys: tree.0.keys().cloned().collect(),
            tree: Arc::new(tree.clone()),
            at: 0,
            order: Order::Sorted,
            space: KeySpace::Paths,
            identity,
            batch_items: 100,
            reads: Reads::default(),
            hook: None,
            fails_after: None,
            repeatable: false,
            aside: Aside::default(),
            account: Arc::default(),
            record: b"record".to_vec(),
            log: None,
            blocks: false,
            unsettled_seconds: UNSETTLED_SECONDS,
        }
    }

    /// Its files may change unseen for so long.
    pub(crate) fn settling_in(mut self, seconds: i64) -> Self {
        self.unsettled_seconds = seconds;
        self
    }

    /// Records this at its end.
    pub(crate) fn recording(mut self, record: &[u8]) -> Self {
        self.record = record.to_vec();
        self
    }

    /// Says openly what it needs of a log.
    pub(crate) const fn needing(mut self, log: LogSpan) -> Self {
        self.log = Some(log);
        self
    }

    /// Its files are those of a database.
    pub(crate) fn of_blocks(mut self) -> Self {
        self.blocks = true;
        self
    }

    /// Lists every item with this beside.
    pub(crate) fn with_aside(mut self, mark: u64, look: bool) -> Self {
        self.aside = Aside { mark, look };
        self
    }

    /// What became of everything, once it ended.
    pub(crate) fn accounted(&self) -> Arc<Mutex<Account>> {
        Arc::clone(&self.account)
    }

    /// Gives its items in an order of chance.
    pub(crate) fn arrival(mut self, seed: u64) -> Self {
        self.order = Order::Arrival;
        let mut rng = Rng(seed);
        for at in (1..self.keys.len()).rev() {
            self.keys.swap(at, rng.below(at as u64 + 1) as usize);
        }
        self
    }

    /// Its keys are those of a bucket.
    pub(crate) fn opaque(mut self) -> Self {
        self.space = KeySpace::Opaque;
        self
    }

    /// Gives its items in this order and claims that it is sorted.
    pub(crate) fn claiming(mut self, keys: Vec<Vec<u8>>) -> Self {
        self.keys = keys;
        self
    }

    pub(crate) fn of(mut self, host: &str, canonical: &str) -> Self {
        self.identity.host = host.into();
        self.identity.canonical = canonical.into();
        self.identity.paths = vec![canonical.as_bytes().to_vec()];
        self
    }

    pub(crate) fn batches_of(mut self, items: usize) -> Self {
        self.batch_items = items;
        self
    }

    pub(crate) fn counted(mut self, reads: &Reads) -> Self {
        self.reads = reads.clone();
        self
    }

    pub(crate) fn hooked(mut self, hook: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(crate) fn failing_after(mut self, items: usize) -> Self {
        self.fails_after = Some(items);
        self
    }
}

fn stat(node: &Node, size: u64) -> Stat {
    Stat {
        kind: node.kind,
        mode: node.mode,
        owner: Arc::clone(&node.owner),
        size,
        mtime: node.mtime,
        ctime: node.ctime,
        inode: node.inode,
        device_of: 1,
        links: node.links,
        device: None,
        sparse: node.is_sparse(),
    }
}

impl Source for ModelSource {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn order(&self) -> Order {
        self.order
    }

    fn key_space(&self) -> KeySpace {
        self.space
    }

    fn has_blocks(&self) -> bool {
        self.blocks
    }

    fn unsettled_seconds(&self) -> i64 {
        self.unsettled_seconds
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        if self.fails_after.is_some_and(|most| self.at >= most) {
            return Err(SourceError { what: "the listing failed, as planned".into(), source: None });
        }
        let some = &self.keys[self.at..self.keys.len().min(self.at + self.batch_items)];
        if some.is_empty() {
            return Ok(None);
        }
        self.at += some.len();
        let (mut keys, mut items) = (Vec::new(), Vec::new());
        for key in some {
            let node = &self.tree.0[key];
            let size = match node.trouble {
                Trouble::ListedAs(size) => size,
                _ => node.size(),
            };
            let start = keys.len();
            keys.extend_from_slice(key);
            items.push(Item { key: start..keys.len(), stat: stat(node, size), aside: self.aside });
        }
        let reader = ModelReader {
            tree: Arc::clone(&self.tree),
            keys: some.to_vec(),
            attempts: Mutex::default(),
            reads: self.reads.clone(),
            hook: self.hook.clone(),
            blocks: self.blocks,
        };
        Ok(Some(EntryBatch { keys, items, reader: Arc::new(reader), problems: Problems::default() }))
    }

    fn account(&mut self, account: &Account) -> Problems {
        *self.account.lock().unwrap() = *account;
        Problems::default()
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        let facts = vec![("rows".into(), "7".into())];
        Ok(ConsistencyPoint { record: self.record.clone(), facts, log: self.log })
    }

    fn again(&self) -> Option<Box<dyn Source>> {
        let identity = self.identity.clone();
        let (space, blocks) = (self.space, self.blocks);
        let again = Self { identity, space, blocks, repeatable: true, ..Self::new(&self.tree) };
        self.repeatable.then(|| Box::new(again.counted(&self.reads)) as Box<dyn Source>)
    }
}

struct ModelReader {
    tree: Arc<Tree>,
    keys: Vec<Vec<u8>>,
    attempts: Mutex<HashMap<usize, u32>>,
    reads: Reads,
    hook: Option<Hook>,
    blocks: bool,
}

impl ModelReader {
    /// Notes an attempt; returns the node and how the attempt will end.
    fn attempt(&self, item: usize) -> Result<(&Node, ReadStatus), ItemError> {
        let key = &self.keys[item];
        self.reads.note(key);
        if let Some(hook) = &self.hook {
            hook(key);
        }
        let node = &self.tree.0[key];
        let mut attempts = self.attempts.lock().unwrap();
        let attempt = attempts.entry(item).or_default();
        *attempt += 1;
        match node.trouble {
            Trouble::Vanishes => Err(ItemError::Vanished),
            Trouble::Unreadable => Err(denied()),
            Trouble::Torn(times) if *attempt <= times => Ok((node, ReadStatus::Torn)),
            Trouble::GrowsAndGoes | Trouble::TornAndGoes if *attempt > 1 => Err(ItemError::Vanished),
            Trouble::TornAndGoes => Ok((node, ReadStatus::Torn)),
            Trouble::GrowsAndMoves if *attempt > 1 => Ok((node, ReadStatus::Stable)),
            Trouble::Grows | Trouble::GrowsAnew | Trouble::GrowsAndGoes | Trouble::GrowsAndMoves => {
                Ok((node, ReadStatus::Grown))
            }
            Trouble::Stale(times) if *attempt <= times => Err(stale()),
            Trouble::Panics => {
                drop(attempts);
                panic!("the source panics, as planned");
            }
            _ => Ok((node, ReadStatus::Stable)),
        }
    }
}

/// What an attempt finds under a name, after others may have changed it.
fn now(node: &Node, attempt: u32) -> (Stat, u8) {
    let mut stat = stat(node, node.size());
    match node.trouble {
        Trouble::GrowsAnew => (stat, attempt as u8),
        Trouble::GrowsAndMoves if attempt > 1 => {
            stat.inode += 1;
            (stat, 1)
        }
        _ => (stat, 0),
    }
}

fn denied() -> ItemError {
    ItemError::Unreadable { operation: "read", source: io::ErrorKind::PermissionDenied.into() }
}

fn stale() -> ItemError {
    ItemError::Unreadable { operation: "read", source: io::ErrorKind::StaleNetworkFileHandle.into() }
}

fn details(node: &Node) -> Details {
    let lack =
        Lack { what: "it is far away".into(), accepted: false, xattrs: vec![(b"far".into(), b"".into())] };
    Details {
        link_target: node.link_target.clone(),
        xattrs: node.xattrs.clone(),
        lack: (node.trouble == Trouble::Lacks).then_some(lack),
        unreadable: match node.trouble {
            Trouble::LacksDetails => vec!["extended attribute user.a: it is not known".into()],
            _ => Vec::new(),
        },
        ..Details::default()
    }
}

impl ItemReader for ModelReader {
    fn details(&self, item: usize) -> Result<Option<Details>, ItemError> {
        let key = &self.keys[item];
        self.reads.note(&[b"details of ", &key[..]].concat());
        let node = &self.tree.0[key];
        match node.trouble {
            Trouble::Vanishes => Err(ItemError::Vanished),
            Trouble::Unreadable => Err(denied()),
            Trouble::Torn(_) => Ok(None),
            _ => Ok(Some(details(node))),
        }
    }

    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        let (node, mut status) = self.attempt(item)?;
        if node.kind == Kind::File {
            if node.trouble == Trouble::Lacks {
            } else if node.size() > SMALL_FILE_BYTES_MAX {
                status = ReadStatus::Torn;
            } else {
                let start = content.len();
                content.extend_from_slice(&node.flat());
                if node.size() > 0 {
                    content[start] ^= now(node, self.attempts.lock().unwrap()[&item]).1;
                }
            }
        }
        let stat = now(node, self.attempts.lock().unwrap()[&item]).0;
        Ok(Examined { stat, details: details(node), status })
    }

    fn has_blocks(&self, _item: usize) -> bool {
        self.blocks
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        let (node, status) = self.attempt(item)?;
        let breaks_off = node.trouble == Trouble::BreaksOff;
        let mut runs = if node.trouble == Trouble::Lacks { Vec::new() } else { node.runs.clone() };
        let (stat, flipped) = now(node, self.attempts.lock().unwrap()[&item]);
        if let Some(Run::Data(bytes)) = runs.first_mut() {
            bytes[0] ^= flipped;
        }
        Ok(Box::new(ModelStream { stat, details: details(node), runs, run: 0, at: 0, status, breaks_off }))
    }
}

struct ModelStream {
    stat: Stat,
    details: Details,
    runs: Vec<Run>,
    run: usize,
    at: usize,
    status: ReadStatus,
    breaks_off: bool,
}

impl ContentStream for ModelStream {
    fn opened(&self) -> (&Stat, &Details) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        if self.breaks_off && self.at > 0 {
            return Err(denied());
        }
        match self.runs.get(self.run) {
            None => Ok(Piece::End),
            Some(Run::Hole(length)) => {
                self.run += 1;
                Ok(Piece::Hole(*length))
            }
            Some(Run::Data(bytes)) => {
                let part = buffer.len().min(bytes.len() - self.at);
                buffer[..part].copy_from_slice(&bytes[self.at..self.at + part]);
                self.at += part;
                if self.at == bytes.len() {
                    (self.run, self.at) = (self.run + 1, 0);
                }
                Ok(Piece::Data(part))
            }
        }
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        Ok(self.status)
    }
}
