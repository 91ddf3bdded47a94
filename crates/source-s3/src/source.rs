//! The source: a bucket, or a prefix of one, as the engine captures it.
//!
//! On purpose not here: how the listing goes, and how objects are read.

use crate::beside::Known;
use crate::configuration::{Captured, capture};
use crate::keep::{Keep, KeepConfiguration, Round, Sweep};
use crate::listing::{self, Listed, ListedVersion, Listing, Page};
use crate::listing_versions;
use crate::place::host_of;
use crate::ranges::{ORDER, Plan, STRETCH_KEYS};
use crate::reader::PageReader;
use crate::told::{mark_of, proof_of, stat_of};
use crate::untagged::{STATED, Untagged};
use crate::wanted::tree_key;
use aws_sdk_s3::Client;
use holdfast_core::page::KeySpace;
use holdfast_core::version::{VERSION_ID_BYTES_MAX, VERSIONS_KIND};
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::source::{
    Account, Aside, Before, ConsistencyPoint, EntryBatch, Item, Order, Prover, Source, SourceError,
    SourceIdentity,
};
use holdfast_store_s3::{Address, Keys, Meter, Network, connect};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Parts of large objects that may wait in memory, in bytes, beside the one that each needs.
const ROOM_BYTES: usize = 64 << 20;
/// Room is given out in pieces of so many bytes.
const ROOM_UNIT: u64 = 64 << 10;
/// Facts that count what became of each listed object begin with this.
pub const COUNTED: &str = "objects ";
/// Most bytes of a key.
const KEY_BYTES_MAX: usize = 1024;

/// Decides by a key's path, with a slash in front, and its length whether an object is left out.
pub type LeftOut = Arc<dyn Fn(&[u8], u64) -> bool + Send + Sync>;

/// Which versions of objects are captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Versions {
    /// What is there now.
    #[default]
    Current,
    /// All that the bucket keeps, and the delete markers.
    All,
}

/// What to capture and what to leave out.
#[derive(Clone)]
pub struct BucketOptions {
    /// Where it is.
    pub address: Address,
    /// Which versions of it.
    pub versions: Versions,
    /// Host that it counts as being of; the server's name if none is stated.
    pub host: Option<String>,
    /// What is left out.
    pub left_out: LeftOut,
    /// What the keys of the repository begin with, if it is in the same bucket.
    pub own: Option<String>,
    /// What is kept of each object beside what comes with it.
    pub keep: Keep,
    /// Whether the configuration of the bucket itself is kept.
    pub configuration: KeepConfiguration,
    /// How often that is looked at again, where nothing in the listing says that it changed.
    pub sweep: Sweep,
    /// Objects in an archive, whose content cannot be read, are no problem.
    pub accept_cold: bool,
    /// What the snapshot keeps of all this, for whoever deletes what a snapshot does not have.
    pub record: Vec<u8>,
}

impl fmt::Debug for BucketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketOptions").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the listing and all readers share.
pub(crate) struct Shared {
    pub client: Client,
    pub address: Address,
    pub meter: Meter,
    pub handle: Handle,
    pub keep: Keep,
    pub accept_cold: bool,
    /// Room for parts of large objects.
    room: Arc<Semaphore>,
    /// Whether the server knows of tags, and its bucket of access rights of single objects.
    pub tags: Known,
    pub rights: Known,
    /// Whether objects are believed to have no tags.
    pub untagged: Untagged,
    /// What is kept is looked at again in turns.
    sweeps: bool,
}

impl Shared {
    /// Room for so many bytes, if there is any.
    pub(crate) fn room(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT)).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(units).ok()
    }

    /// Whether what the server states of the number of tags is believed for now.
    pub(crate) fn believes_counts(&self) -> bool {
        self.sweeps && (self.untagged.is_stated() || self.meter.is_amazon() && !self.untagged.is_silent())
    }

    /// The place as a person would find it.
    pub(crate) fn subject(&self) -> String {
        format!("s3://{}/{}", self.address.bucket, self.address.prefix)
    }

    /// The server does what no listing can be made of.
    pub(crate) fn failed(&self, what: &str) -> SourceError {
        let subject = self.subject();
        let what = format!("cannot list {subject}: the server {what}; nothing was backed up");
        SourceError { what, source: None }
    }
}

/// Captures a bucket.
pub struct BucketSource {
    shared: Arc<Shared>,
    options: BucketOptions,
    identity: SourceIdentity,
    plan: Plan,
    listing: Option<Listing>,
    round: Round,
    listed: u64,
    markers: u64,
    excluded: u64,
    own: u64,
    impossible: u64,
    account: Account,
    configuration: KeepConfiguration,
    /// Whether the configuration was read, once it was an item.
    configured: Option<Arc<AtomicBool>>,
}

impl fmt::Debug for BucketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketSource").field("options", &self.options).finish_non_exhaustive()
    }
}

impl BucketSource {
    /// Gets ready; nothing is asked of the server yet. Has to be called where tasks can be started.
    /// Without `keys` the client library finds them.
    pub async fn new(options: BucketOptions, keys: Option<Keys>, network: &Network) -> Self {
        let meter = Meter::default();
        let client = connect(&options.address, keys, network, &meter).await;
        Self::with(options, client, meter, Handle::current())
    }

    fn with(options: BucketOptions, client: Client, meter: Meter, handle: Handle) -> Self {
        let (identity, configuration) = (identity(&options), options.configuration);
        let shared = Arc::new(Shared {
            client,
            address: options.address.clone(),
            meter,
            handle,
            keep: options.keep,
            accept_cold: options.accept_cold,
            room: Arc::new(Semaphore::new(ROOM_BYTES / ROOM_UNIT as usize)),
            tags: Known::default(),
            rights: Known::default(),
            untagged: Untagged::default(),
            sweeps: options.sweep.0.is_some(),
        });
        Self {
            shared,
            plan: Plan::default(),
            listing: None,
            round: Round::new(options.keep, options.sweep),
            options,
            identity,
            listed: 0,
            markers: 0,
            excluded: 0,
            own: 0,
            impossible: 0,
            account: Account::default(),
            configuration,
            configured: None,
        }
    }

    /// Counts what is asked of the server.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.shared.meter.clone()
    }

    fn take_in(&mut self, page: Page) -> EntryBatch {
        self.listed += page.len() as u64;
        let mut problems = Problems::default();
        let mut kept = Page::with_capacity(page.len());
        for object in page {
            if self.is_own(&object.key) {
                if self.own == 0 {
                    problems.notice(self.own_notice());
                }
                self.own += 1;
            } else if (self.options.left_out)(&path_of(&object.key), object.size) {
                self.excluded += 1;
            } else if let Some(what) = impossible(&object) {
                self.impossible += 1;
                let kind = ProblemKind::Unreadable;
                problems.problem(Problem { path: path_of(&object.key), kind, what: what.to_owned() });
            } else {
                kept.push(object);
            }
        }
        let (mut keys, mut items) = (Vec::new(), Vec::with_capacity(kept.len()));
        for object in &kept {
            let start = keys.len();
            keys.extend(tree_key(object));
            let is_marker = object.version.as_ref().is_some_and(|version| version.is_marker);
            self.markers += u64::from(is_marker);
            // Of a delete marker there is nothing to look at.
            let aside =
                Aside { mark: mark_of(&object.class), look: !is_marker && self.round.takes(&object.key) };
            let stat = stat_of(&object.etag, object.size, object.modified);
            items.push(Item { key: start..keys.len(), stat, aside });
        }
        let reader = Arc::new(PageReader::new(Arc::clone(&self.shared), kept));
        EntryBatch { keys, items, reader, problems }
    }

    /// The configuration, once, after all objects.
    fn configuration(&mut self) -> Option<EntryBatch> {
        let keep = std::mem::take(&mut self.configuration);
        if keep == KeepConfiguration::No {
            return None;
        }
        let capture = capture(&self.shared, keep == KeepConfiguration::Demanded);
        let Captured { batch, read, is_item } = self.shared.handle.block_on(capture);
        self.configured = is_item.then_some(read);
        Some(batch)
    }

    fn is_own(&self, key: &str) -> bool {
        self.options.own.as_ref().is_some_and(|own| key.starts_with(own))
    }

    fn own_notice(&self) -> Notice {
        let own = self.options.own.as_deref().unwrap_or_default();
        let path = path_of(own.trim_end_matches('/'));
        Notice { path, kind: NoticeKind::LeftOut, what: "left out: it is the repository".to_owned() }
    }
}

impl Source for BucketSource {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    /// Some servers list folder by folder.
    fn order(&self) -> Order {
        Order::Arrival
    }

    fn key_space(&self) -> KeySpace {
        KeySpace::Opaque
    }

    fn prover(&self) -> Option<Prover> {
        Some(proof_of)
    }

    fn landmarks(&self) -> Option<u64> {
        // Versions are listed from one end to the other.
        (self.options.versions == Versions::Current).then_some(STRETCH_KEYS)
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn go_on(&mut self, before: &Before) {
        let told;
        (self.round, told) = self.round.after(before);
        if told.tags {
            self.shared.tags.note_told();
        }
        if told.acl {
            self.shared.rights.note_told();
        }
        let is_stated = |(name, value): &(String, String)| (name.as_str(), value.as_str()) == STATED;
        if before.facts.iter().flatten().any(is_stated) {
            self.shared.untagged.note_stated();
        }
        self.plan = Plan::new(before, &self.shared.address.prefix);
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        let (shared, plan) = (&self.shared, &mut self.plan);
        let listing = self.listing.get_or_insert_with(|| match self.options.versions {
            Versions::Current => listing::start(shared, std::mem::take(plan)),
            Versions::All => Listing { pages: listing_versions::start(shared), by_bytes: Arc::default() },
        });
        match listing.pages.blocking_recv() {
            None => Ok(self.configuration()),
            Some(Err(error)) => Err(error),
            Some(Ok(page)) => Ok(Some(self.take_in(page))),
        }
    }

    fn account(&mut self, account: &Account) -> Problems {
        self.account = *account;
        // It is no object.
        if let Some(read) = &self.configured {
            let Account { stored, unchanged, .. } = &mut self.account;
            let of_it = if read.load(Ordering::Acquire) { stored } else { unchanged };
            *of_it = of_it.saturating_sub(1);
        }
        let mut told = Problems::default();
        let known = [(&self.shared.tags, "tags"), (&self.shared.rights, "access rights")];
        for (_, word) in known.into_iter().filter(|(known, _)| known.is_unknown()) {
            let what = format!("the server knows no {word} of objects here: none are kept");
            told.notice(Notice { path: b"/".to_vec(), kind: NoticeKind::Other, what });
        }
        told
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        // Each object is of one moment, and all of them of the time that the run took.
        let Account { stored, unchanged, lacking, unreadable, vanished } = self.account;
        let counts = [
            ("listed", self.listed),
            ("stored", stored),
            ("unchanged", unchanged),
            ("cold", lacking),
            ("unreadable", unreadable + self.impossible),
            ("excluded", self.excluded),
            ("vanished", vanished),
            ("own", self.own),
        ];
        let counts = counts.map(|(name, count)| (format!("{COUNTED}{name}"), count.to_string()));
        let versions = (self.options.versions == Versions::All).then(|| {
            [("versions", "all".to_owned()), ("delete markers", self.markers.to_string())]
                .map(|(name, text)| (name.to_owned(), text))
        });
        let by_bytes = self.listing.as_ref().is_some_and(|seen| seen.by_bytes.load(Ordering::Acquire));
        let stated = self.shared.untagged.is_stated();
        let stated = stated.then(|| (STATED.0.to_owned(), STATED.1.to_owned()));
        let order = by_bytes.then(|| (ORDER.0.to_owned(), ORDER.1.to_owned()));
        let Shared { tags, rights, .. } = &*self.shared;
        let told = Keep { tags: tags.is_told(), acl: rights.is_told(), lock: false };
        let counts = counts.into_iter().chain(self.round.facts(told));
        let facts = counts.chain(versions.into_iter().flatten()).chain(order).chain(stated).collect();
        Ok(ConsistencyPoint { record: self.options.record.clone(), facts, log: None })
    }

    fn again(&self) -> Option<Box<dyn Source>> {
        let Shared { client, meter, handle, .. } = &*self.shared;
        Some(Box::new(Self::with(self.options.clone(), client.clone(), meter.clone(), handle.clone())))
    }
}

/// A key as a person knows it.
fn path_of(key: &str) -> Vec<u8> {
    [b"/", key.as_bytes()].concat()
}

/// Why a key can be none.
fn impossible(object: &Listed) -> Option<&'static str> {
    let key = &object.key;
    let has_odd_id = |version: &ListedVersion| version.id.len() > VERSION_ID_BYTES_MAX;
    if object.version.as_ref().is_some_and(has_odd_id) {
        Some("no id of a version has this length")
    } else if key.is_empty() || key.len() > KEY_BYTES_MAX {
        Some("no key has this length")
    } else if key.contains('\0') {
        Some("its key holds a zero byte, which nothing can ask for")
    } else {
        None
    }
}

/// The same bucket is the same source, whatever host reads it. All versions of it are another source
/// than what is there now: their trees have other keys, so neither is a parent of the other, and rules
/// that keep the newest snapshot of each source must not take the one for the other.
fn identity(options: &BucketOptions) -> SourceIdentity {
    let address = &options.address;
    let shown = format!("s3://{}/{}", address.bucket, address.prefix);
    let shown = shown.strip_suffix('/').unwrap_or(&shown);
    let server = address.endpoint.as_deref().map(|endpoint| format!("?endpoint={endpoint}"));
    let canonical = format!("{shown}{}", server.unwrap_or_default());
    let (kind, query) = match options.versions {
        Versions::Current => ("bucket", ""),
        Versions::All => (VERSIONS_KIND, "?versions=all"),
    };
    SourceIdentity {
        kind: kind.to_owned(),
        host: options.host.clone().unwrap_or_else(|| host_of(address)),
        canonical,
        paths: vec![format!("{shown}{query}").into_bytes()],
    }
}
