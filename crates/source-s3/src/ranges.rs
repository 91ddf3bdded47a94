//! Lists several stretches of a bucket at once, in order, each buffered as far as a bound.
//!
//! The ends of stretches are keys of the snapshot before; they need not be there any more. A stretch
//! holds what comes after one end, up to and with the next. That works only where keys are listed in
//! the order of their bytes: a server that lists folder by folder would leave keys out and nobody
//! would see. So it is done only where the order is known, and is watched nonetheless: no key may
//! ascend otherwise, and what the server lists beyond the end of a stretch it has to list again
//! where the next one begins. What is missing there and exists fails the run. On purpose not here:
//! where the ends come from.

use crate::listing::{Lister, Page, Place, Sheet, Stretch, Walked, walk};
use holdfast_engine::source::{Before, SourceError};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// Keys in a stretch, about, by the snapshot before. One more request for each is what it costs.
pub(crate) const STRETCH_KEYS: u64 = 8_000;
/// Stretches that are listed at once.
const STRETCHES: usize = 8;
/// Pages of each that may wait; a page has a thousand keys.
const PAGES: usize = 8;
/// The fact of a snapshot that its listing was in the order of bytes, and what it says.
pub(crate) const ORDER: (&str, &str) = ("listing order", "bytes");

/// How to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Where stretches end, ascending.
    ends: Vec<String>,
    /// The listing before was seen to be in the order of bytes.
    pub by_bytes: bool,
}

impl Plan {
    /// Makes a plan of what the snapshot before says.
    pub(crate) fn new(before: &Before, prefix: &str) -> Self {
        let by_bytes =
            before.facts.iter().flatten().any(|(name, value)| (name.as_str(), value.as_str()) == ORDER);
        let ends = before.landmarks.iter().filter_map(|key| String::from_utf8(key.clone()).ok());
        // A sign that a listing could not tell stands for another, which sorts elsewhere.
        let is_plain = |key: &String| !key.contains(|sign: char| sign.is_control() || sign == '\u{fffd}');
        let ends: BTreeSet<_> = ends.filter(|key| key.starts_with(prefix)).filter(is_plain).collect();
        Self { ends: ends.into_iter().collect(), by_bytes }
    }

    pub(crate) fn is_divided(&self) -> bool {
        !self.ends.is_empty()
    }

    fn stretches(self) -> impl Iterator<Item = Stretch> + Send {
        let ends = self.ends.clone().into_iter().map(Some).chain([None]);
        let begins = [None].into_iter().chain(self.ends.into_iter().map(Some));
        begins.zip(ends).map(|(after, upto)| Stretch { after, upto })
    }
}

/// A stretch that is being listed.
struct Running {
    stretch: Stretch,
    pages: Receiver<Result<Page, SourceError>>,
    task: JoinHandle<Result<Walked, SourceError>>,
}

impl Drop for Running {
    /// Nobody takes what it lists any more.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lists all stretches; tells whether keys were seen to ascend by bytes only.
pub(crate) async fn list<L: Lister>(
    lister: &Arc<L>,
    plan: Plan,
    first: Sheet,
    sender: &Sender<Result<Page, SourceError>>,
) -> Result<bool, SourceError> {
    let (mut left, mut first) = (plan.stretches(), Some(first));
    let mut running = VecDeque::with_capacity(STRETCHES);
    let (mut seam, mut by_bytes) = (Seam::default(), false);
    loop {
        let free = STRETCHES - running.len();
        running.extend(left.by_ref().take(free).map(|stretch| begin(lister, stretch, first.take())));
        let Some(mut front) = running.pop_front() else { return Ok(by_bytes) };
        while let Some(page) = front.pages.recv().await {
            let page = page?;
            seam.pass(&**lister, &page).await?;
            if sender.send(Ok(page)).await.is_err() {
                return Ok(false);
            }
        }
        let walked = (&mut front.task).await;
        let walked = walked.map_err(|_| lister.failed("was not listed to its end"))??;
        by_bytes |= walked.by_bytes;
        seam.close(&**lister, &front.stretch, walked).await?;
    }
}

fn begin<L: Lister>(lister: &Arc<L>, stretch: Stretch, first: Option<Sheet>) -> Running {
    let (sender, pages) = channel(PAGES);
    let (lister, part) = (Arc::clone(lister), stretch.clone());
    let task = tokio::spawn(async move { walk(&*lister, &part, first, &sender).await });
    Running { stretch, pages, task }
}

/// Where one stretch ends and the next begins, as both saw it.
#[derive(Debug, Default)]
struct Seam {
    /// Keys that were listed beyond the stretches so far, and have to come.
    to_come: BTreeSet<String>,
    /// The server said that nothing comes any more: after what, and up to where nothing came.
    ended: Option<(Place, String)>,
}

impl Seam {
    /// Takes in what a stretch lists.
    async fn pass<L: Lister>(&mut self, lister: &L, page: &Page) -> Result<(), SourceError> {
        if let Some((place, upto)) = self.ended.take().filter(|_| !page.is_empty()) {
            Self::look_again(lister, &place, &upto).await?;
        }
        for object in page {
            self.to_come.remove(&object.key);
        }
        Ok(())
    }

    /// Looks what of a stretch is missing now that it is over.
    async fn close<L: Lister>(
        &mut self,
        lister: &L,
        stretch: &Stretch,
        walked: Walked,
    ) -> Result<(), SourceError> {
        let later = match &stretch.upto {
            Some(upto) => {
                let mut later = self.to_come.split_off(upto.as_str());
                if later.remove(upto) {
                    self.to_come.insert(upto.clone());
                }
                later
            }
            None => BTreeSet::new(),
        };
        for key in std::mem::replace(&mut self.to_come, later) {
            // Who deletes it in between is no liar.
            if lister.is_there(&key).await? {
                return Err(lister.failed(&format!(
                    "lists {key} from one place, and leaves it out from another: it does not list keys in \
                     the order of their bytes"
                )));
            }
        }
        if let (true, true, Some(upto)) = (walked.is_end, walked.beyond.is_empty(), &stretch.upto) {
            // Of several without keys the first is where something may have been left out.
            let place = walked.last.map_or_else(|| stretch.place(), Place::After);
            let place = self.ended.take().map_or(place, |(earlier, _)| earlier);
            self.ended = Some((place, upto.clone()));
        }
        self.to_come.extend(walked.beyond);
        Ok(())
    }

    /// The server said that it has nothing more, and has: what did it leave out?
    async fn look_again<L: Lister>(lister: &L, place: &Place, upto: &str) -> Result<(), SourceError> {
        let sheet = lister.page(place).await?;
        match sheet.objects.iter().find(|object| object.key.as_str() <= upto) {
            None => Ok(()),
            Some(object) => {
                Err(lister.failed(&format!("ends its listing before {}, and goes on after it", object.key)))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#[path = "ranges_tests.rs"]
mod tests;
