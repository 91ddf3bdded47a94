//! The content of a large object, in ranges of one version, a few ahead.
//!
//! On purpose not here: small objects.

use crate::object::{self, BODIES, Opened, Refused};
use crate::source::Shared;
use crate::told::{Pin, Told};
use crate::wanted::Wanted;
use bytes::Bytes;
use holdfast_engine::source::{ContentStream, Details, ItemError, Piece, ReadStatus, Stat};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::oneshot::{Receiver, channel};

/// Bytes of one range.
pub(crate) const RANGE_BYTES: u64 = 8 << 20;
/// Ranges of one object that are asked for at once.
const RANGES_AHEAD: usize = 4;

/// The beginning of an object, which says which version it is.
pub(crate) struct First {
    told: Told,
    bytes: Bytes,
    /// Room that the bytes take while they wait.
    room: Option<OwnedSemaphorePermit>,
}

impl First {
    /// Reads the first range, and what else is kept.
    pub(crate) async fn read(shared: &Shared, mut wanted: Wanted) -> Result<Self, Refused> {
        let mut range = Some((0, RANGE_BYTES - 1));
        let mut attempt = 0;
        loop {
            attempt += 1;
            match Self::read_once(shared, &wanted, range).await {
                Err(Refused::Changed) if attempt < BODIES => {
                    if !wanted.let_go() {
                        return Err(Refused::Item(ItemError::Vanished));
                    }
                }
                // An empty object has no first byte.
                Err(Refused::Beyond) if range.is_some() => range = None,
                Err(Refused::Broken(_)) if attempt < BODIES => {}
                Err(Refused::Cold(why)) => {
                    let told = object::cold(shared, &wanted, &why).await.map_err(Refused::Item)?;
                    return Ok(Self { told, bytes: Bytes::new(), room: None });
                }
                result => return result,
            }
        }
    }

    async fn read_once(shared: &Shared, wanted: &Wanted, range: Option<(u64, u64)>) -> Result<Self, Refused> {
        let turn = shared.meter.gate().enter().await;
        let opened = object::get(shared, &wanted.key, wanted.pin.as_ref(), range).await?;
        turn.went_well();
        let Opened { mut told, body, length: offered } = opened;
        // Whoever does not know ranges sends everything.
        let length = offered.min(RANGE_BYTES).min(told.stat.size);
        if offered != length {
            let text = "the server does not give parts of objects";
            return Err(Refused::Item(object::unreadable("read", std::io::Error::other(text))));
        }
        let bytes = object::body(body, length).await?;
        object::complete_read(shared, &wanted.key, &mut told).await;
        Ok(Self { told, bytes, room: None })
    }

    pub(crate) fn holding(self, room: OwnedSemaphorePermit) -> Self {
        Self { room: Some(room), ..self }
    }
}

/// A range on its way, and the room that it takes.
struct Range {
    bytes: Receiver<Result<Bytes, Refused>>,
    room: Option<OwnedSemaphorePermit>,
}

/// The content of an object.
pub(crate) struct ObjectStream {
    shared: Arc<Shared>,
    key: Arc<str>,
    stat: Stat,
    details: Details,
    pin: Arc<Pin>,
    /// What came and was not taken.
    bytes: Bytes,
    room: Option<OwnedSemaphorePermit>,
    ahead: VecDeque<Range>,
    /// Where the next range begins that is not asked for.
    next: u64,
    status: ReadStatus,
}

impl ObjectStream {
    pub(crate) fn new(shared: Arc<Shared>, key: String, first: First) -> Self {
        let First { told: Told { stat, details, pin, .. }, bytes, room } = first;
        // Without its content nothing more is asked for.
        let next = if details.lack.is_some() { stat.size } else { bytes.len() as u64 };
        let (ahead, status) = (VecDeque::new(), ReadStatus::Stable);
        let mut stream = Self {
            shared,
            key: key.into(),
            stat,
            details,
            pin: Arc::new(pin),
            bytes,
            room,
            ahead,
            next,
            status,
        };
        stream.look_ahead();
        stream
    }

    /// Asks for ranges to come, as far as there is room.
    fn look_ahead(&mut self) {
        while self.next < self.stat.size && self.ahead.len() < RANGES_AHEAD {
            let length = RANGE_BYTES.min(self.stat.size - self.next);
            let Some(room) = self.shared.room(length) else { return };
            self.ask(length, Some(room));
        }
    }

    fn ask(&mut self, length: u64, room: Option<OwnedSemaphorePermit>) {
        let (sender, receiver) = channel();
        let (shared, key, pin) = (Arc::clone(&self.shared), Arc::clone(&self.key), Arc::clone(&self.pin));
        let first = self.next;
        self.next += length;
        self.shared.handle.spawn(async move {
            if !sender.is_closed() {
                let _ = sender.send(read_range(&shared, &key, &pin, first, length).await);
            }
        });
        self.ahead.push_back(Range { bytes: receiver, room });
    }

    /// Waits for the next range; false at the end.
    fn fill(&mut self) -> Result<bool, ItemError> {
        self.room = None;
        if self.ahead.is_empty() && self.next < self.stat.size {
            // Without room for more than one there is still this one.
            self.ask(RANGE_BYTES.min(self.stat.size - self.next), None);
        }
        let Some(range) = self.ahead.pop_front() else { return Ok(false) };
        let came = range.bytes.blocking_recv();
        match came {
            Ok(Ok(bytes)) => {
                (self.bytes, self.room) = (bytes, range.room);
                self.look_ahead();
                Ok(true)
            }
            Ok(Err(Refused::Changed | Refused::Beyond)) => {
                self.ahead.clear();
                (self.next, self.status) = (self.stat.size, ReadStatus::Torn);
                Ok(false)
            }
            Ok(Err(refused)) => Err(refused.into_item()),
            Err(_) => Err(object::unreadable("read", std::io::Error::other("the run ends"))),
        }
    }
}

async fn read_range(
    shared: &Shared,
    key: &str,
    pin: &Pin,
    first: u64,
    length: u64,
) -> Result<Bytes, Refused> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match read_range_once(shared, key, pin, first, length).await {
            Err(Refused::Broken(_)) if attempt < BODIES => {}
            result => return result,
        }
    }
}

async fn read_range_once(
    shared: &Shared,
    key: &str,
    pin: &Pin,
    first: u64,
    length: u64,
) -> Result<Bytes, Refused> {
    let turn = shared.meter.gate().enter().await;
    let opened = object::get(shared, key, Some(pin), Some((first, first + length - 1))).await?;
    turn.went_well();
    if opened.length != length {
        let text = format!("{} bytes were offered where {length} were asked for", opened.length);
        return Err(Refused::Broken(std::io::Error::other(text)));
    }
    object::body(opened.body, length).await
}

impl ContentStream for ObjectStream {
    fn opened(&self) -> (&Stat, &Details) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.bytes.is_empty() && !self.fill()? {
                break;
            }
            let part = self.bytes.len().min(buffer.len() - filled);
            buffer[filled..filled + part].copy_from_slice(&self.bytes.split_to(part));
            filled += part;
        }
        Ok(if filled == 0 { Piece::End } else { Piece::Data(filled) })
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        Ok(self.status)
    }
}
