//! The simulated store: each call of a task waits for its turn, and what becomes of it was decided
//! by whoever gave the turn.
//!
//! The store keeps its contract and nothing beyond it: listings come in small pages and are no
//! snapshot in time; a request may be carried out and reported as failed; what was sent once may
//! arrive a second time, much later. On purpose not here: chance, which is in [`super::faults`].

use super::faults::{Answer, Breach, Verdict};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use holdfast_store::fault::Operation;
use holdfast_store::{
    ByteRange, ErrorKind, Key, MemoryStore, ObjectMeta, ObjectStore, Put, StoreError, Upload,
};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

/// A call that waits for its turn.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// What it will do; `None` if it is done and only its answer is on the way.
    pub operation: Option<Operation>,
    /// The object; for a listing the prefix.
    pub name: String,
}

impl Call {
    /// Whether it stores something.
    pub(super) fn writes(&self) -> bool {
        use Operation::{Begin, Commit, PutNew, Write};
        matches!(self.operation, Some(Begin | Commit | PutNew | Write))
    }

    /// Whether it may arrive a second time.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self.operation, Some(Operation::Commit | Operation::PutNew | Operation::Delete))
    }
}

struct Waiting {
    ticket: u64,
    call: Call,
    waker: Option<Waker>,
    verdict: Option<Verdict>,
}

#[derive(Default)]
struct Doors {
    next_ticket: u64,
    waiting: Vec<Waiting>,
    /// What became of calls, for the trace.
    outcomes: Vec<String>,
}

/// Where the calls of one task wait.
#[derive(Default)]
pub(super) struct Gate(Mutex<Doors>);

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Doors> {
        self.0.lock().expect("nothing panics in here")
    }

    /// The calls that wait, in the order in which they came.
    pub(super) fn waiting(&self) -> Vec<Call> {
        self.lock().waiting.iter().map(|waiting| waiting.call.clone()).collect()
    }

    /// Gives one of them its turn.
    pub(super) fn grant(&self, at: usize, verdict: Verdict) {
        let mut doors = self.lock();
        let waiting = &mut doors.waiting[at];
        waiting.verdict = Some(verdict);
        if let Some(waker) = waiting.waker.take() {
            drop(doors);
            waker.wake();
        }
    }

    /// What became of calls since it was asked last.
    pub(super) fn take_outcomes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().outcomes)
    }

    fn note(&self, outcome: impl Into<String>) {
        self.lock().outcomes.push(outcome.into());
    }

    async fn turn(&self, call: Call) -> Verdict {
        let ticket = {
            let mut doors = self.lock();
            let ticket = doors.next_ticket;
            doors.next_ticket += 1;
            doors.waiting.push(Waiting { ticket, call, waker: None, verdict: None });
            ticket
        };
        let place = Place { gate: self, ticket };
        poll_fn(|context| {
            let mut doors = place.gate.lock();
            let mine = doors.waiting.iter_mut().find(|waiting| waiting.ticket == place.ticket);
            let mine = mine.expect("a call that waits is at the gate");
            match mine.verdict {
                Some(verdict) => Poll::Ready(verdict),
                None => {
                    mine.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A place at the gate; who leaves gives it up, with a turn or without.
struct Place<'a> {
    gate: &'a Gate,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.lock().waiting.retain(|waiting| waiting.ticket != self.ticket);
    }
}

/// A request that is on its way still, or once more.
#[derive(Debug, Clone)]
pub(super) struct Late {
    /// The object.
    pub key: Key,
    /// What is to be put there; `None` for a removal.
    pub body: Option<Bytes>,
}

/// What all tasks share.
pub(super) struct Core {
    memory: MemoryStore,
    late: Mutex<Vec<Late>>,
    /// Names in one page of a listing.
    page: usize,
    breach: Breach,
}

impl Core {
    /// A store that holds these objects, and breaks its contract as told.
    pub(super) fn new(objects: BTreeMap<Key, Bytes>, page: usize, breach: Breach) -> Self {
        Self { memory: MemoryStore::with_objects(objects), late: Mutex::default(), page, breach }
    }

    /// A copy of what it holds now.
    pub(super) fn fork(&self) -> MemoryStore {
        MemoryStore::with_objects(self.memory.objects())
    }

    fn lock_late(&self) -> MutexGuard<'_, Vec<Late>> {
        self.late.lock().expect("nothing panics in here")
    }

    /// How many requests may still arrive.
    pub(super) fn late(&self) -> usize {
        self.lock_late().len()
    }

    /// Whether something may still be put below a prefix.
    pub(super) fn may_still_put(&self, prefix: &str) -> bool {
        self.lock_late().iter().any(|late| late.body.is_some() && late.key.as_str().starts_with(prefix))
    }

    /// Lets one of the late requests arrive; tells what it did.
    pub(super) fn deliver(&self, at: usize) -> String {
        let Late { key, body } = self.lock_late().swap_remove(at);
        match body {
            Some(body) => {
                let put = now(self.memory.put_new(&key, body)).expect("memory never fails");
                format!("late put {key}: {put:?}")
            }
            None => {
                now(self.memory.delete(&key)).expect("memory never fails");
                format!("late delete {key}")
            }
        }
    }

    fn put(&self, key: &Key, body: Bytes) -> Put {
        let put = now(self.memory.put_new(key, body.clone())).expect("memory never fails");
        if put == Put::Exists && self.breach == Breach::Overwrites {
            self.memory.insert_raw(key.clone(), body);
            return Put::Created;
        }
        put
    }

    /// One page of a listing.
    fn page(&self, prefix: &str, after: Option<&Key>, most: usize) -> Vec<ObjectMeta> {
        let mut page = now(self.memory.list(prefix, after, most)).expect("memory never fails");
        if self.breach == Breach::ForgetsNames && page.len() == most {
            // What a store does that answers "no more" with a page that was cut off.
            page.pop();
        }
        page
    }
}

/// What a future of the store in memory gives; it never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory never waits")
}

/// The store as one task sees it.
#[derive(Clone)]
pub(super) struct TaskStore {
    pub core: Arc<Core>,
    pub gate: Arc<Gate>,
}

impl std::fmt::Debug for TaskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskStore")
    }
}

fn failure(operation: Operation, name: &str, kind: ErrorKind) -> StoreError {
    let operation = match operation {
        Operation::Get => "read",
        Operation::Head => "look up",
        Operation::List | Operation::Foreign => "list",
        Operation::Delete => "delete",
        Operation::PutNew | Operation::Begin | Operation::Write | Operation::Commit => "write",
    };
    StoreError { kind, operation, subject: name.to_owned(), source: io::Error::other("as planned") }
}

impl TaskStore {
    /// Waits for a turn, does what it says, and waits once more if the answer is slow. `late` is
    /// the request, if it may arrive later or once more.
    async fn call<T>(
        &self,
        operation: Operation,
        name: &str,
        late: Option<Late>,
        act: impl FnOnce() -> Result<(T, String), StoreError>,
    ) -> Result<T, StoreError> {
        let verdict = self.gate.turn(Call { operation: Some(operation), name: name.to_owned() }).await;
        if verdict.again {
            self.core.lock_late().extend(late);
        }
        let result = match (verdict.carried_out.then(act), verdict.answer) {
            (Some(Ok((value, outcome))), Answer::Given) => {
                self.gate.note(outcome);
                Ok(value)
            }
            (Some(Ok((_, outcome))), Answer::Error(kind)) => {
                self.gate.note(format!("{outcome}, but {kind:?}"));
                Err(failure(operation, name, kind))
            }
            (Some(Err(error)), _) => {
                self.gate.note(format!("{:?}", error.kind));
                Err(error)
            }
            (None, Answer::Error(kind)) => {
                self.gate.note(format!("{kind:?}"));
                Err(failure(operation, name, kind))
            }
            (None, Answer::Given) => unreachable!("what was not carried out has no answer"),
        };
        if verdict.slow {
            self.gate.turn(Call { operation: None, name: name.to_owned() }).await;
            self.gate.note("answer");
        }
        result
    }

    async fn put(&self, operation: Operation, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        let late = Late { key: key.clone(), body: Some(body.clone()) };
        let act = || {
            let size = body.len();
            let put = self.core.put(key, body);
            Ok((put, format!("{put:?} {size}")))
        };
        self.call(operation, key.as_str(), Some(late), act).await
    }
}

#[async_trait]
impl ObjectStore for TaskStore {
    fn location(&self) -> String {
        "simulation".to_owned()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        self.put(Operation::PutNew, key, body).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        self.call(Operation::Begin, key.as_str(), None, || Ok(((), "begun".to_owned()))).await?;
        Ok(Box::new(TaskUpload { store: self.clone(), key: key.clone(), body: BytesMut::new() }))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        let act = || {
            let bytes = now(self.core.memory.get(key, range))?;
            let outcome = format!("{} bytes", bytes.len());
            Ok((bytes, outcome))
        };
        self.call(Operation::Get, key.as_str(), None, act).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let act = || {
            let meta = now(self.core.memory.head(key))?;
            let outcome = meta.as_ref().map_or_else(|| "absent".to_owned(), |meta| meta.size.to_string());
            Ok((meta, outcome))
        };
        self.call(Operation::Head, key.as_str(), None, act).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut all: Vec<ObjectMeta> = Vec::new();
        loop {
            let most = self.core.page.min(limit - all.len());
            let from = all.last().map(|meta| &meta.key).or(after).cloned();
            let act = || {
                let page = self.core.page(prefix, from.as_ref(), most);
                let outcome = format!("{} names", page.len());
                Ok((page, outcome))
            };
            let page = self.call(Operation::List, prefix, None, act).await?;
            let done = page.len() < most;
            all.extend(page);
            if done || all.len() == limit {
                return Ok(all);
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let late = Late { key: key.clone(), body: None };
        let act = || {
            now(self.core.memory.delete(key))?;
            Ok(((), "deleted".to_owned()))
        };
        self.call(Operation::Delete, key.as_str(), Some(late), act).await
    }
}

struct TaskUpload {
    store: TaskStore,
    key: Key,
    body: BytesMut,
}

#[async_trait]
impl Upload for TaskUpload {
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        let body = &mut self.body;
        let act = || {
            body.extend_from_slice(&part);
            Ok(((), format!("{} bytes", part.len())))
        };
        self.store.call(Operation::Write, self.key.as_str(), None, act).await
    }

    async fn commit(self: Box<Self>) -> Result<Put, StoreError> {
        let Self { store, key, body } = *self;
        store.put(Operation::Commit, &key, body.freeze()).await
    }
}
