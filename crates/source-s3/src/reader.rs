//! Reads the objects of one page of the listing: small ones whole, many at once and ahead of
//! whoever examines them; large ones as a stream.
//!
//! On purpose not here: which ones are read; the engine says that.

use crate::listing::{Listed, Page};
use crate::object::{self, BODIES, Opened, Refused};
use crate::source::Shared;
use crate::stream::{First, ObjectStream, RANGE_BYTES};
use crate::told::Told;
use bytes::Bytes;
use holdfast_engine::source::{
    ContentStream, Details, Examined, ItemError, ItemReader, ReadStatus, SMALL_FILE_BYTES_MAX, Stat,
};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot::{Receiver, channel};

/// Reads the objects of a page.
pub(crate) struct PageReader {
    shared: Arc<Shared>,
    page: Page,
    /// What is on its way, by number of the item.
    ahead: Vec<Mutex<Option<Ahead>>>,
}

enum Ahead {
    Small(Receiver<Result<Small, ItemError>>),
    Large(Receiver<Result<First, Refused>>),
    Details(Receiver<Result<Option<Details>, ItemError>>),
}

/// A small object, or one that is not small any more, then without its content.
struct Small {
    stat: Stat,
    details: Details,
    content: Bytes,
    status: ReadStatus,
}

impl PageReader {
    pub(crate) fn new(shared: Arc<Shared>, page: Page) -> Self {
        let ahead = page.iter().map(|_| Mutex::default()).collect();
        Self { shared, page, ahead }
    }

    fn take_ahead(&self, item: usize) -> Option<Ahead> {
        self.ahead[item].lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_ahead(&self, item: usize, ahead: Ahead) {
        *self.ahead[item].lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
    }

    fn object(&self, item: usize) -> &Listed {
        &self.page[item]
    }
}

impl ItemReader for PageReader {
    fn expect(&self, item: usize) {
        let (shared, key) = (Arc::clone(&self.shared), self.object(item).key.clone());
        let ahead = if self.object(item).size <= SMALL_FILE_BYTES_MAX {
            let (sender, receiver) = channel();
            self.shared.handle.spawn(async move {
                let Ok(_turn) = shared.turns.acquire().await else { return };
                // Nobody waits for it any more: the run has ended.
                if !sender.is_closed() {
                    let _ = sender.send(read_small(&shared, &key).await);
                }
            });
            Ahead::Small(receiver)
        } else {
            // What waits here is held in memory: only while there is room.
            let Some(room) = shared.room(self.object(item).size.min(RANGE_BYTES)) else { return };
            let (sender, receiver) = channel();
            self.shared.handle.spawn(async move {
                if !sender.is_closed() {
                    let first = First::read(&shared, &key).await.map(|first| first.holding(room));
                    let _ = sender.send(first);
                }
            });
            Ahead::Large(receiver)
        };
        self.put_ahead(item, ahead);
    }

    fn expect_details(&self, item: usize) {
        let (shared, object) = (Arc::clone(&self.shared), self.object(item).clone());
        let (sender, receiver) = channel();
        self.shared.handle.spawn(async move {
            let Ok(_turn) = shared.turns.acquire().await else { return };
            if !sender.is_closed() {
                let _ = sender.send(object::look(&shared, &object).await);
            }
        });
        self.put_ahead(item, Ahead::Details(receiver));
    }

    fn details(&self, item: usize) -> Result<Option<Details>, ItemError> {
        let waited = match self.take_ahead(item) {
            Some(Ahead::Details(receiver)) => receiver.blocking_recv().ok(),
            _ => None,
        };
        let look = || self.shared.handle.block_on(object::look(&self.shared, self.object(item)));
        waited.unwrap_or_else(look)
    }

    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        let waited = match self.take_ahead(item) {
            Some(Ahead::Small(receiver)) => receiver.blocking_recv().ok(),
            _ => None,
        };
        let small = match waited {
            Some(small) => small?,
            None => self.shared.handle.block_on(read_small(&self.shared, &self.object(item).key))?,
        };
        content.extend_from_slice(&small.content);
        Ok(Examined { stat: small.stat, details: small.details, status: small.status })
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        let key = &self.object(item).key;
        let waited = match self.take_ahead(item) {
            Some(Ahead::Large(receiver)) => receiver.blocking_recv().ok(),
            _ => None,
        };
        let first = waited.unwrap_or_else(|| self.shared.handle.block_on(First::read(&self.shared, key)));
        let first = first.map_err(Refused::into_item)?;
        Ok(Box::new(ObjectStream::new(Arc::clone(&self.shared), key.clone(), first)))
    }
}

/// Reads an object in one request, which gives one version whatever happens meanwhile.
async fn read_small(shared: &Shared, key: &str) -> Result<Small, ItemError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match read_once(shared, key).await {
            Ok(small) => return Ok(small),
            Err(Refused::Broken(_) | Refused::Changed) if attempt < BODIES => {}
            Err(Refused::Cold(why)) => {
                let Told { stat, details, .. } = object::cold(shared, key, &why).await?;
                return Ok(Small { stat, details, content: Bytes::new(), status: ReadStatus::Stable });
            }
            Err(refused) => return Err(refused.into_item()),
        }
    }
}

async fn read_once(shared: &Shared, key: &str) -> Result<Small, Refused> {
    let Opened { mut told, body, length } = object::get(shared, key, None, None).await?;
    let outgrown = told.stat.size > SMALL_FILE_BYTES_MAX;
    let content = if outgrown { Bytes::new() } else { object::body(body, length).await? };
    if !outgrown {
        object::complete_read(shared, key, &mut told).await;
    }
    let Told { stat, details, .. } = told;
    let status = if outgrown { ReadStatus::Torn } else { ReadStatus::Stable };
    Ok(Small { stat, details, content, status })
}
