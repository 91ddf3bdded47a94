//! A stream along one timeline: messages in, segments and pieces out, and the server told what is
//! durable.
//!
//! One thing is stored at a time while the next comes in: memory is two segments, and what sealing
//! one takes. If storing is slower than the server, nothing is read from it any more, but it hears
//! of us as ever. On purpose not here: where a stream begins, and what follows its end.

use super::chain::Leg;
use super::keeper::{Archive, Did, Job, Keeper, LOOK_EVERY, Likely};
use super::segment::{Segment, Step};
use super::shelf::Shelf;
use super::slot::{Sight, Watch};
use super::{StreamError, StreamEvent, Streamed};
use crate::error::PgError;
use crate::facts::{first_row, value};
use crate::flow::{self, Flow, Pulse, SILENCE};
use crate::log::PageHeader;
use crate::lsn::Lsn;
use crate::url::Host;
use crate::wire::{Connection, Message, refused, unexpected};
use bytes::{Bytes, BytesMut};
use holdfast_engine::ctx::Clock;
use holdfast_engine::error::Error;
use holdfast_engine::wal::{SegmentName, Stored, WalName};
use postgres_protocol::message::frontend;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// So long a server may take to end a stream that we ended.
const LEAVE: Duration = Duration::from_secs(5);
/// Front of a segment that says what it is.
const HEADER_BYTES: usize = 40;

/// What does not change along the way.
pub(crate) struct Way<'a> {
    pub leg: &'a Leg,
    pub system: u64,
    pub segment_bytes: u64,
    /// Everything is there once this has come.
    pub until: Option<Lsn>,
    /// What comes of a segment that is not full is stored so often.
    pub commit_every: Duration,
    /// Most that the slot may keep.
    pub limit: Option<u64>,
    pub clock: Arc<dyn Clock>,
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All that was wanted is stored.
    Reached,
    /// The run was asked to stop; what came is stored.
    Stopped,
    /// The timeline ended; all of it is stored.
    Timeline { next: u32 },
    /// The slot keeps so many bytes, which are too many.
    TooMuch(u64),
    /// Another server is on a later timeline.
    Later(Host, u32),
}

/// What goes on while the next thing comes in.
struct Doing {
    about: About,
    task: JoinHandle<Result<Did, Error>>,
}

enum About {
    Look(u32),
    Compare(u64),
    Piece { number: u32, bytes: u64 },
    Whole { start: Lsn },
}

/// A stream along one timeline.
pub(crate) struct Course<'a, A> {
    way: Way<'a>,
    keeper: &'a Keeper<A>,
    shelf: &'a mut Shelf,
    tally: &'a mut Streamed,
    segment: Segment,
    /// What came after it.
    spill: Bytes,
    doing: Option<Doing>,
    /// Up to here everything is durable.
    durable: Lsn,
    /// What came is to be stored though the segment is not full.
    due: bool,
    /// What the slot kept when somebody last looked.
    kept: u64,
}

impl<'a, A: Archive> Course<'a, A> {
    /// Begins with the segment at a place. `durable`: so far everything is stored already.
    pub(crate) fn new(
        way: Way<'a>,
        keeper: &'a Keeper<A>,
        shelf: &'a mut Shelf,
        tally: &'a mut Streamed,
        at: Lsn,
        durable: Lsn,
    ) -> Self {
        let segment = Segment::new(at, way.segment_bytes, shelf.held(at));
        let spill = Bytes::new();
        Self { way, keeper, shelf, tally, segment, spill, doing: None, durable, due: false, kept: u64::MAX }
    }

    /// Up to here everything is durable.
    pub(crate) const fn durable(&self) -> Lsn {
        self.durable
    }

    /// Streams, once the server was asked to. Whatever ends it: what came is stored then.
    pub(crate) async fn run(
        &mut self,
        connection: &mut Connection,
        watch: &mut Watch,
    ) -> Result<Ended, StreamError> {
        let ended = self.stream(connection, watch).await;
        match &ended {
            // Whoever does not get rid of what came cannot wait for it.
            Ok(Ended::TooMuch(_)) => self.abandon(),
            Ok(_) | Err(StreamError::Server(_)) => self.drain().await?,
            Err(_) => {}
        }
        if let Ok(Ended::Timeline { .. }) = &ended
            && self.durable < self.segment.at()
        {
            self.ends().await?;
        }
        if matches!(ended, Ok(Ended::Reached | Ended::Stopped | Ended::Later(..))) {
            self.leave(connection).await;
        }
        ended
    }

    async fn stream(&mut self, connection: &mut Connection, watch: &mut Watch) -> Result<Ended, StreamError> {
        let mut pulse = Pulse::new();
        let mut commit = interval(self.way.commit_every);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        commit.reset();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.advance()?;
            if self.way.until.is_some_and(|until| self.came() >= until) {
                return Ok(Ended::Reached);
            }
            let reads = self.has_room();
            tokio::select! {
                message = connection.receive(SILENCE), if reads => {
                    pulse.heard();
                    if let Some(ended) = self.hear(connection, message?).await? {
                        return Ok(ended);
                    }
                }
                did = done(&mut self.doing) => {
                    self.has_done(did?)?;
                    self.report(connection).await?;
                }
                silent = pulse.beat() => {
                    if silent && reads {
                        return Err(connection.silent().into());
                    }
                    self.report(connection).await?;
                }
                _ = commit.tick() => self.due = true,
                _ = look.tick() => if self.keeper.cancel.is_raised() {
                    return Ok(Ended::Stopped);
                },
                sight = watch.next() => if let Some(ended) = self.sees(sight) {
                    return Ok(ended);
                },
            }
        }
    }

    /// Up to here it came.
    fn came(&self) -> Lsn {
        Lsn(self.segment.at().0 + self.spill.len() as u64)
    }

    fn has_room(&self) -> bool {
        self.spill.is_empty() && self.segment.has_room()
    }

    /// Takes a message; what it ends, if it ends something.
    async fn hear(
        &mut self,
        connection: &mut Connection,
        message: Message,
    ) -> Result<Option<Ended>, PgError> {
        match message {
            Message::CopyData(bytes) => match Flow::parse(bytes)? {
                Flow::Log { begin, bytes, .. } => self.take(begin, bytes)?,
                Flow::Alive { asks: true, .. } => self.report(connection).await?,
                Flow::Alive { .. } => {}
            },
            Message::CopyDone => return self.timeline_ends(connection).await.map(Some),
            // So it ends a stream when it is stopped.
            Message::Complete => return Err(connection.gone()),
            Message::Error(error) => return Err(refused("send the log", error)),
            other => return Err(unexpected("in the log", &other)),
        }
        Ok(None)
    }

    fn take(&mut self, begin: Lsn, bytes: Bytes) -> Result<(), PgError> {
        let came = self.came();
        if begin != came {
            return Err(PgError::protocol(format!("the log goes on at {begin}, and {came} was to come")));
        }
        let end = begin.0.checked_add(bytes.len() as u64);
        if end.is_none_or(|to| self.way.leg.end.is_some_and(|end| to > end.0)) {
            let what = format!("the log goes on behind the end of timeline {}", self.number());
            return Err(PgError::protocol(what));
        }
        self.spill = bytes;
        self.segment.take(&mut self.spill);
        Ok(())
    }

    const fn number(&self) -> u32 {
        self.way.leg.timeline.number
    }

    /// The server says that there is no more of this timeline, and which is the next.
    async fn timeline_ends(&mut self, connection: &mut Connection) -> Result<Ended, PgError> {
        connection
            .say(|out| {
                frontend::copy_done(out);
                Ok(())
            })
            .await?;
        let tables = connection.answer("send the log").await?;
        let row = first_row(&tables);
        let next: Option<u32> = value(row, 0).and_then(|text| text.parse().ok());
        let Some((next, at)) = next.zip(value(row, 1).and_then(Lsn::parse)) else {
            // It ends like this too when it is stopped.
            return Err(connection.gone());
        };
        let stated = self.way.leg.end.is_none_or(|end| end == at);
        if next <= self.number() || !stated || at != self.came() {
            let what = format!(
                "it ends timeline {} at {at} and goes on with {next}, and the log came up to {}",
                self.number(),
                self.came()
            );
            return Err(PgError::protocol(what));
        }
        Ok(Ended::Timeline { next })
    }

    /// Judges what was seen beside the stream. A slot that keeps less and less is left alone.
    fn sees(&mut self, sight: Sight) -> Option<Ended> {
        match sight {
            Sight::Later(host, timeline) => Some(Ended::Later(host, timeline)),
            Sight::Written(at) => {
                let kept = at.0.saturating_sub(self.durable.segment_start(self.way.segment_bytes).0);
                let grows = kept >= std::mem::replace(&mut self.kept, kept);
                (grows && self.way.limit.is_some_and(|limit| kept > limit)).then_some(Ended::TooMuch(kept))
            }
        }
    }

    async fn report(&self, connection: &mut Connection) -> Result<(), PgError> {
        // What is stored of another stream may be ahead of what came of this one.
        let written = self.came().max(self.durable);
        flow::report(connection, written, self.durable, self.way.clock.now()).await
    }

    /// Begins what is to be done next, if nothing is being done.
    fn advance(&mut self) -> Result<(), StreamError> {
        while self.doing.is_none() {
            let number = self.segment.next_piece();
            match self.segment.next(self.due).map_err(|long| self.differs(&self.piece(long.piece)))? {
                Step::Wait => {
                    self.due &= self.segment.stored() < self.segment.at();
                    return Ok(());
                }
                Step::Done => self.next_segment(),
                Step::Look(from, to) => {
                    let names = (from..to).map(|number| self.piece(number)).collect();
                    self.begin(About::Look(to - from), Job::Look(names));
                }
                Step::Compare(content, seen) => {
                    self.begin(About::Compare(seen.bytes), Job::Compare(content, seen));
                }
                Step::Piece(content) => {
                    if number == 0 {
                        self.vouch(&content)?;
                    }
                    self.due = false;
                    let about = About::Piece { number, bytes: content.len() as u64 };
                    let job = Job::Put(self.piece(number), content, Likely::Absent);
                    self.begin(about, job);
                }
                Step::Whole(content, there) => {
                    if content.len() as u64 != self.way.segment_bytes {
                        return Err(PgError::protocol("a segment that is taken twice").into());
                    }
                    self.vouch(&content)?;
                    let likely = if there { Likely::There } else { Likely::Absent };
                    let job = Job::Put(self.whole(), content, likely);
                    self.begin(About::Whole { start: self.segment.start }, job);
                    self.next_segment();
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, about: About, job: Job) {
        let task = tokio::spawn(self.keeper.clone().work(job));
        self.doing = Some(Doing { about, task });
    }

    fn next_segment(&mut self) {
        let start = self.segment.end();
        self.segment = Segment::new(start, self.way.segment_bytes, self.shelf.held(start));
        self.segment.take(&mut self.spill);
    }

    fn file(&self) -> String {
        SegmentName::at(self.number(), self.segment.start.0, self.way.segment_bytes).to_string()
    }

    fn whole(&self) -> WalName {
        WalName::whole(self.way.leg.timeline, self.file())
    }

    fn piece(&self, number: u32) -> WalName {
        WalName::piece(self.way.leg.timeline, self.file(), number)
    }

    /// Looks at the front of a segment: a server that sends the log of another cluster, or from
    /// another place, is not believed, and nothing of it is stored.
    fn vouch(&self, content: &[u8]) -> Result<(), StreamError> {
        if content.len() < HEADER_BYTES {
            return Ok(());
        }
        let odd = |what: String| StreamError::Refused {
            what: format!("what the server sends as {} is not that: {what}; it was not stored", self.file()),
            hint: "see where the URL leads to, and what the server says of itself in its log".to_owned(),
        };
        let header = PageHeader::parse(content).map_err(|error| odd(error.to_string()))?;
        if header.system != self.way.system || header.segment_bytes != self.way.segment_bytes {
            return Err(odd(format!("it is of cluster {}", header.system)));
        }
        let name = SegmentName::at(self.number(), self.segment.start.0, self.way.segment_bytes);
        header.fits(name).map_err(|error| odd(error.to_string()))
    }

    fn differs(&self, name: &WalName) -> StreamError {
        let piece = name.piece.map(|piece| format!(" (piece {piece})")).unwrap_or_default();
        StreamError::Refused {
            what: format!(
                "the repository has another {}{piece} of timeline {} than the server sends; nothing was overwritten",
                name.file, name.timeline
            ),
            hint: "the server was set back to an earlier state without a new timeline, or it is another copy of this \
                   cluster: find out which one is right; the log of the other belongs into a repository of its own"
                .to_owned(),
        }
    }

    /// Takes in what was done.
    fn has_done(&mut self, (about, did): (About, Did)) -> Result<(), StreamError> {
        match (about, did) {
            (About::Look(asked), Did::Saw(seen)) => self.segment.has_seen(seen, asked),
            (About::Compare(bytes), Did::Stored(_)) => {
                self.segment.has_piece(bytes);
                self.note(self.segment.stored());
            }
            (About::Compare(_), _) => return Err(self.differs(&self.piece(self.segment.next_piece()))),
            (About::Piece { number, bytes }, Did::Stored(stored)) => {
                self.segment.has_piece(bytes);
                self.shelf.note(self.segment.start, |held| held.pieces = held.pieces.max(number + 1));
                self.note(self.segment.stored());
                if stored == Stored::New {
                    self.tally.pieces += 1;
                    self.tells(&self.piece(number), bytes);
                }
            }
            (About::Piece { .. }, Did::Met(seen)) => self.segment.has_met(seen),
            (About::Whole { start }, Did::Stored(stored)) => {
                self.shelf.note(start, |held| held.whole = true);
                self.note(Lsn(start.0 + self.way.segment_bytes));
                if stored == Stored::New {
                    self.tally.segments += 1;
                    self.tells(&self.whole_at(start), self.way.segment_bytes);
                }
            }
            (About::Whole { start }, _) => return Err(self.differs(&self.whole_at(start))),
            (About::Look(_) | About::Piece { .. }, _) => {
                return Err(StreamError::Server(PgError::protocol("an answer to no question")));
            }
        }
        Ok(())
    }

    fn whole_at(&self, start: Lsn) -> WalName {
        let file = SegmentName::at(self.number(), start.0, self.way.segment_bytes).to_string();
        WalName::whole(self.way.leg.timeline, file)
    }

    fn note(&mut self, durable: Lsn) {
        self.durable = self.durable.max(durable);
        self.tally.flushed = self.durable;
    }

    fn tells(&mut self, name: &WalName, bytes: u64) {
        self.tally.bytes += bytes;
        (self.keeper.tell)(&StreamEvent::Stored {
            timeline: name.timeline,
            file: &name.file,
            piece: name.piece,
            bytes,
            flushed: self.durable,
        });
    }

    /// Stores what came.
    async fn drain(&mut self) -> Result<(), StreamError> {
        loop {
            self.due = true;
            self.advance()?;
            if self.doing.is_none() {
                return Ok(());
            }
            let did = done(&mut self.doing).await?;
            self.has_done(did)?;
        }
    }

    /// The timeline has ended: what there is of it after its end does not count.
    async fn ends(&mut self) -> Result<(), StreamError> {
        self.segment.ends();
        self.drain().await?;
        self.note(self.segment.stored());
        Ok(())
    }

    fn abandon(&mut self) {
        if let Some(doing) = self.doing.take() {
            doing.task.abort();
        }
    }

    /// Says what is durable, and takes leave. It is stored either way: what fails here does not matter.
    async fn leave(&self, connection: &mut Connection) {
        if self.report(connection).await.is_err() {
            return;
        }
        let done = |out: &mut BytesMut| {
            frontend::copy_done(out);
            Ok(())
        };
        if connection.say(done).await.is_ok() {
            // A connection that is closed while something lies in it takes what was said last with it.
            while let Ok(message) = connection.receive(LEAVE).await
                && message != Message::Ready
            {}
        }
    }
}

/// Waits for what is being done; for ever if nothing is.
async fn done(doing: &mut Option<Doing>) -> Result<(About, Did), StreamError> {
    let Some(going) = doing else { return pending().await };
    let did = (&mut going.task).await;
    // It was polled to its end: nothing is lost by taking it.
    let about = doing.take().map(|doing| doing.about);
    let did =
        did.map_err(|error| Error::new(holdfast_engine::error::ErrorKind::Store, error.to_string()))??;
    about.map(|about| (about, did)).ok_or_else(|| PgError::protocol("nothing was being done").into())
}
