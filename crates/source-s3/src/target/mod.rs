//! Restoring into a bucket.
//!
//! An entry becomes an object of the same name below a prefix. What is there is looked at before:
//! what has the recorded size and entity tag is kept, what only has the size is compared by the
//! engine, everything else is replaced. Listings are not used for that: servers have different ideas
//! of their order, and what is kept has to be looked at for its metadata anyway. Folders are not
//! objects and need none. On purpose not here: what servers do with versions, events and lifecycles.

mod batch;
mod configure;
mod delete;
mod empty;
mod large;
mod options;
mod place;
mod present;
mod recorded;
mod replay;
mod rights;
mod send;
mod shared;

pub use configure::configure;
pub use options::{BucketTargetOptions, Overwrite};
pub use place::{BucketPlace, Events, Waiting, Watch};

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use batch::BucketBatch;
use delete::Seen;
use futures::stream::{self, StreamExt};
use holdfast_core::entry::{Entry, Kind, Time, key_to_path};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::{Finished, Present, Target, TargetBatch, TargetError};
use present::ThereObject;
use recorded::Recorded;
use send::{Plan, Slot, There};
use shared::{Shared, lock, one_more};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

/// Longest name of an object, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Objects that are looked at at the same time.
const LOOKS: usize = 32;
/// Longest object that can be copied onto itself, in bytes.
const COPY_BYTES_MAX: u64 = 5 << 30;

/// Restores into a bucket.
pub struct BucketTarget {
    shared: Arc<Shared>,
    seen: Option<Seen>,
    spared: bool,
    last_key: Option<Vec<u8>>,
    pending: VecDeque<Arc<BucketBatch>>,
}

/// What outlives a target: it ends what a restore that failed has left on its way.
#[derive(Debug, Clone)]
pub struct Remains(Arc<Shared>);

impl Remains {
    /// Waits for what is on its way, and gives up uploads that will not be completed.
    pub async fn clean(&self) {
        self.0.stop().await;
        let left: Vec<_> = lock(&self.0.uploads).drain().collect();
        for (id, name) in left {
            self.0.abort_upload(&id, &name).await;
        }
    }

    /// How many objects that were there are newer than the snapshot.
    #[must_use]
    pub fn newer(&self) -> u64 {
        self.0.count.newer.load(Ordering::Relaxed)
    }
}

impl BucketTarget {
    /// Opens a place that was looked at: it is empty, or the options say what is done with what is
    /// there. The runtime has to have several threads.
    ///
    /// # Errors
    /// Something is there, and nothing is said of it.
    pub fn new(
        place: &BucketPlace,
        options: BucketTargetOptions,
        empty: bool,
        runtime: Handle,
    ) -> Result<(Self, Remains), TargetError> {
        if !empty && options.overwrite.is_none() {
            let what = format!("target {} is not empty: state an empty prefix", place.address());
            return Err(TargetError { what, source: None });
        }
        let seen = options.delete.is_some().then(Seen::default);
        let shared = Arc::new(Shared::new(place.clone(), options, empty, runtime));
        let remains = Remains(Arc::clone(&shared));
        let target = Self { shared, seen, spared: false, last_key: None, pending: VecDeque::new() };
        Ok((target, remains))
    }

    /// Decides what becomes of an entry, as far as it alone tells.
    fn slot(&mut self, entry: &Entry) -> Slot {
        let opaque = self.shared.options.opaque;
        let path = if opaque { entry.key.clone() } else { key_to_path(&entry.key) };
        let mut slot = Slot {
            name: String::new(),
            path,
            recorded: Recorded::default(),
            digest: entry.digest,
            plan: Plan::Nothing,
            there: None,
        };
        match self.admit(entry, &mut slot) {
            Ok(()) => {}
            Err(Some(what)) => self.shared.problem(&slot.path, ProblemKind::Refused, what),
            Err(None) => slot.plan = Plan::Nothing,
        }
        slot
    }

    /// The error says why an entry becomes no object; nothing is to be said of a folder.
    fn admit(&mut self, entry: &Entry, slot: &mut Slot) -> Result<(), Option<String>> {
        let refused = |what: &str| Err(Some(what.to_owned()));
        match entry.kind {
            Kind::File => {}
            Kind::Directory => return Err(None),
            Kind::Symlink => return refused("a symbolic link is not an object"),
            _ => return refused("a device, pipe or socket is not an object"),
        }
        if self.last_key.as_ref().is_some_and(|last| *last >= entry.key) {
            return refused("comes twice or out of order");
        }
        self.last_key = Some(entry.key.clone());
        let Ok(text) = std::str::from_utf8(&slot.path) else {
            return refused("its name is not UTF-8, which names of objects are");
        };
        slot.name = format!("{}{text}", self.shared.place.prefix());
        if text.is_empty() {
            return refused("an object has a name, this has none");
        }
        if slot.name.len() > NAME_BYTES_MAX {
            return refused(
                "its name is longer than the 1,024 bytes that an object may have: restore to a shorter prefix",
            );
        }
        let recorded = Recorded::of(entry);
        let is_gone = recorded.as_ref().is_ok_and(|recorded| recorded.is_delete_marker);
        if let (Some(seen), false) = (&mut self.seen, is_gone) {
            seen.add(&slot.name);
        }
        slot.recorded = recorded.map_err(Some)?;
        if let Some(class) = &slot.recorded.cold {
            return Err(Some(format!("its content was not kept: it lay in {class} when it was backed up")));
        }
        if slot.recorded.is_delete_marker {
            return Err(None);
        }
        if !slot.recorded.is_object {
            one_more(&self.shared.count.files);
        }
        if slot.recorded.has_unset(self.shared.options.with_acl) {
            one_more(&self.shared.count.with_rights);
        }
        slot.plan = if self.shared.options.survey { Plan::Nothing } else { Plan::Write };
        Ok(())
    }

    /// Looks at a name, and decides what becomes of what is there.
    async fn meet(shared: &Shared, mut slot: Slot, size: u64, mtime: Time) -> Slot {
        if slot.plan == Plan::Nothing || shared.empty {
            return slot;
        }
        let head = shared.place.client.head_object().bucket(shared.place.bucket()).key(&slot.name);
        let head = match shared.place.ask(&slot.name, head.send()).await {
            Ok(head) => head,
            Err(answer) if answer.is_absent() => return slot,
            Err(answer) => {
                slot.plan = Plan::Nothing;
                shared.refused(&slot.path, ProblemKind::Unwritable, "look at", &slot.name, answer);
                return slot;
            }
        };
        if shared.options.delete.is_none() {
            one_more(&shared.count.existing);
        }
        // Whole seconds is all that servers state: within one of them what is there counts as newer.
        let modified = head.last_modified().map(DateTime::secs);
        if modified.is_some_and(|modified| modified >= shared.options.made.seconds) {
            one_more(&shared.count.newer);
        }
        let may_change = match shared.overwrite {
            Overwrite::Always | Overwrite::IfChanged => true,
            Overwrite::IfNewer => modified.is_some_and(|modified| mtime.seconds > modified),
            Overwrite::Never => false,
        };
        if may_change {
            Self::compare(shared, &mut slot, size, &head).await;
        } else {
            one_more(&shared.count.left);
            slot.plan = Plan::Nothing;
        }
        slot
    }

    async fn compare(shared: &Shared, slot: &mut Slot, size: u64, head: &HeadObjectOutput) {
        let length = head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default();
        let mut there =
            There { etag: head.e_tag().map(str::to_owned), size: length, differs: false, tags_differ: false };
        let recorded = &slot.recorded;
        let etag = there.etag.as_deref().map(|etag| etag.trim_matches('"'));
        slot.plan = match (length == size, &recorded.etag) {
            (false, _) => Plan::Write,
            (true, Some(recorded)) if etag == Some(recorded.as_str()) => Plan::Keep,
            (true, _) => Plan::Compare,
        };
        if recorded.is_object && slot.plan != Plan::Write {
            there.differs = recorded.differs(head);
            // A copy would be in one part, and cannot be longer than that.
            if there.differs && (recorded.parts.is_some() || size > COPY_BYTES_MAX) {
                slot.plan = Plan::Write;
            } else if !recorded.tags.is_empty() || head.tag_count().is_some_and(|count| count > 0) {
                there.tags_differ = Self::tags_differ(shared, slot).await;
            }
        }
        slot.there = Some(there);
    }

    async fn tags_differ(shared: &Shared, slot: &Slot) -> bool {
        let tags = shared.place.client.get_object_tagging().bucket(shared.place.bucket()).key(&slot.name);
        match shared.place.ask(&slot.name, tags.send()).await {
            Ok(tags) => slot.recorded.tags_differ(tags.tag_set()),
            Err(answer) => {
                shared.refused(&slot.path, ProblemKind::Attribute, "read the tags of", &slot.name, answer);
                false
            }
        }
    }
}

impl Target for BucketTarget {
    fn prepare(&mut self, entries: Vec<Entry>) -> Result<Arc<dyn TargetBatch>, TargetError> {
        if self.shared.options.replay {
            // Each batch begins anew with versions of what was written before.
            self.last_key = None;
        }
        let slots: Vec<_> = entries.iter().map(|entry| self.slot(entry)).collect();
        let shared = &self.shared;
        let slots = slots.into_iter().zip(&entries);
        let looks = slots.map(|(slot, entry)| Self::meet(shared, slot, entry.size, entry.mtime));
        let slots = shared.wait(stream::iter(looks).buffered(LOOKS).collect());
        shared.check()?;
        let batch = Arc::new(BucketBatch::new(entries, slots, Arc::clone(shared)));
        self.pending.push_back(Arc::clone(&batch));
        Ok(batch)
    }

    fn complete(&mut self, batch: Arc<dyn TargetBatch>) -> Result<(), TargetError> {
        let next = self.pending.pop_front();
        let next = next.filter(|next| std::ptr::addr_eq(Arc::as_ptr(next), Arc::as_ptr(&batch)));
        let Some(batch) = next else {
            let what = "a batch was completed out of order: a defect of this program".to_owned();
            return Err(TargetError { what, source: None });
        };
        batch.settle()
    }

    fn spare(&mut self) {
        self.spared = true;
    }

    fn finish(&mut self) -> Result<Finished, TargetError> {
        self.shared.check()?;
        let select = self.shared.options.delete.clone();
        if let (Some(select), Some(seen), false) = (select, &mut self.seen, self.spared) {
            self.shared.wait(self.shared.delete_others(seen, &select))?;
        }
        Ok(self.shared.finished())
    }
}

/// Opens an object below a place by its name there, to read it again.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn open_object(place: &BucketPlace, runtime: &Handle, name: &[u8]) -> io::Result<Box<dyn Present>> {
    let text = std::str::from_utf8(name).map_err(|_| io::Error::other("its name is not UTF-8"))?;
    let name = format!("{}{text}", place.prefix());
    let open = ThereObject::open(place.clone(), runtime.clone(), name);
    let opened = tokio::task::block_in_place(|| runtime.block_on(open))?;
    Ok(Box::new(opened))
}
