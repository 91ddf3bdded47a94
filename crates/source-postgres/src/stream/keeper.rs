//! Storing and comparing, one thing at a time, so that what is durable has no gap; and patience with
//! a repository that is away for a while.
//!
//! On purpose not here: what is to be stored.

use super::segment::Seen;
use super::{StreamEvent, Tell};
use bytes::Bytes;
use holdfast_engine::ctx::Cancel;
use holdfast_engine::error::{Error, ErrorKind};
use holdfast_engine::wal::{Stored, Timeline, WalArchive, WalName};
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinSet;

/// A repository that did not take something is asked again after this, and then ever later.
const AGAIN: Duration = Duration::from_millis(250);
/// But not later than this.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// So often it is looked whether the run is to stop.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a stream needs of an archive.
pub(crate) trait Archive: Clone + Send + Sync + 'static {
    /// The names of all that there is of a timeline.
    fn names(&self, timeline: Timeline) -> impl Future<Output = Result<Vec<WalName>, Error>> + Send;
    /// Which timelines there are, of one database or of all.
    fn timelines(&self, system: Option<u64>) -> impl Future<Output = Result<Vec<Timeline>, Error>> + Send;
    /// Stores something unless something is there.
    fn put(&self, name: &WalName, content: Bytes) -> impl Future<Output = Result<Stored, Error>> + Send;
    /// What is there.
    fn glance(&self, name: &WalName) -> impl Future<Output = Result<Option<Seen>, Error>> + Send;
    /// What tells a content from others.
    fn identify(&self, content: &[u8]) -> Result<[u8; 32], Error>;
}

impl Archive for WalArchive {
    async fn names(&self, timeline: Timeline) -> Result<Vec<WalName>, Error> {
        Ok(self.list_timeline(&timeline).await?.into_iter().map(|listed| listed.name).collect())
    }

    async fn timelines(&self, system: Option<u64>) -> Result<Vec<Timeline>, Error> {
        Self::timelines(self, system).await
    }

    async fn put(&self, name: &WalName, content: Bytes) -> Result<Stored, Error> {
        Self::put(self, name, content).await
    }

    async fn glance(&self, name: &WalName) -> Result<Option<Seen>, Error> {
        let glance = Self::glance(self, name).await?;
        Ok(glance.map(|glance| Seen { content: glance.content, bytes: glance.plain_bytes }))
    }

    fn identify(&self, content: &[u8]) -> Result<[u8; 32], Error> {
        Self::identify(self, content)
    }
}

/// Something to do.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// See what these are.
    Look(Vec<WalName>),
    /// See whether this is what is there.
    Compare(Bytes, Seen),
    /// Store this; it may be there already.
    Put(WalName, Bytes, Likely),
}

/// Whether something is there as far as one knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likely {
    There,
    Absent,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    /// What these are, up to the first that is not there.
    Saw(Vec<Seen>),
    /// It is stored, by us or by somebody else.
    Stored(Stored),
    /// Another content is there.
    Met(Seen),
}

/// Stores and compares.
#[derive(Clone)]
pub(crate) struct Keeper<A> {
    pub archive: A,
    pub cancel: Cancel,
    pub tell: Tell,
}

impl<A: Archive> Keeper<A> {
    /// Does it, however long it takes.
    pub(crate) async fn work(self, job: Job) -> Result<Did, Error> {
        match job {
            Job::Look(names) => self.patiently(|| self.look(&names)).await,
            Job::Compare(content, seen) => {
                let same = self.is_the_same(&content, &seen)?;
                Ok(if same { Did::Stored(Stored::Same) } else { Did::Met(seen) })
            }
            Job::Put(name, content, likely) => self.patiently(|| self.store(&name, &content, likely)).await,
        }
    }

    async fn look(&self, names: &[WalName]) -> Result<Did, Error> {
        let mut looks = JoinSet::new();
        for (at, name) in names.iter().cloned().enumerate() {
            let archive = self.archive.clone();
            looks.spawn(async move { (at, archive.glance(&name).await) });
        }
        let mut seen = vec![None; names.len()];
        while let Some(looked) = looks.join_next().await {
            let (at, found) = looked.map_err(|error| Error::new(ErrorKind::Store, error.to_string()))?;
            seen[at] = found?;
        }
        Ok(Did::Saw(seen.into_iter().map_while(|seen| seen).collect()))
    }

    async fn store(&self, name: &WalName, content: &Bytes, likely: Likely) -> Result<Did, Error> {
        // Whoever knows that something is there need not send it.
        if likely == Likely::There
            && let Some(seen) = self.archive.glance(name).await?
        {
            let same = self.is_the_same(content, &seen)?;
            return Ok(if same { Did::Stored(Stored::Same) } else { Did::Met(seen) });
        }
        match self.archive.put(name, content.clone()).await? {
            Stored::Other => {
                let seen = self.archive.glance(name).await?;
                let gone = || Error::new(ErrorKind::Store, format!("{} was there and is gone", name.file));
                seen.map(Did::Met).ok_or_else(gone)
            }
            stored => Ok(Did::Stored(stored)),
        }
    }

    fn is_the_same(&self, content: &[u8], seen: &Seen) -> Result<bool, Error> {
        Ok(content.len() as u64 == seen.bytes && self.archive.identify(content)? == seen.content)
    }

    /// Tries until it is done, unless trying again is of no use or the run is to stop.
    pub(crate) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        work: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut wait = Waits::default();
        loop {
            match work().await {
                Err(error) if is_passing(error.kind) && !self.cancel.is_raised() => {
                    if wait.is_first() {
                        (self.tell)(&StreamEvent::Trouble(format!(
                            "the repository does not take the log, it is tried again until it does: {}",
                            chain(&error)
                        )));
                    }
                    wait.next(&self.cancel).await;
                }
                done => {
                    if done.is_ok() && !wait.is_first() {
                        (self.tell)(&StreamEvent::Better("the repository takes the log again".to_owned()));
                    }
                    return done;
                }
            }
        }
    }
}

/// Whether something may go well later.
const fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Store | ErrorKind::Full)
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Waits that grow.
#[derive(Debug, Default)]
pub(crate) struct Waits(u32);

impl Waits {
    /// Whether nobody waited yet.
    pub(crate) const fn is_first(&self) -> bool {
        self.0 == 0
    }

    /// How often somebody waited.
    pub(crate) const fn count(&self) -> u32 {
        self.0
    }

    /// Waits longer than the last time, but not once the run is to stop.
    pub(crate) async fn next(&mut self, cancel: &Cancel) {
        let mut left = AGAIN.saturating_mul(1 << self.0.min(10)).min(AGAIN_MAX);
        self.0 += 1;
        while !left.is_zero() && !cancel.is_raised() {
            let part = left.min(LOOK_EVERY);
            tokio::time::sleep(part).await;
            left -= part;
        }
    }
}
