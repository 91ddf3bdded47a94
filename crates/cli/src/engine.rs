//! What this program uses of the engine, gathered in one place.
//!
//! On purpose not here: anything of our own.

pub(crate) use holdfast_engine::ctx::{Cancel, Clock, Ctx, Entropy};
pub(crate) use holdfast_engine::error::{Error, ErrorKind};
pub(crate) use holdfast_engine::event::{Event, Monitor, Silent};
pub(crate) use holdfast_engine::outcome::{Notice, NoticeKind, Outcome, Problem, ProblemKind, Problems};
pub(crate) use holdfast_engine::source::{
    Account, Aside, Before, ConsistencyPoint, ContentStream, Details as ItemDetails, EntryBatch, Examined,
    Item, ItemError, ItemReader, Order, Piece, Prover, ReadStatus, Source, SourceError, SourceIdentity, Stat,
    examine_by_stream,
};
pub(crate) use holdfast_engine::target::{Tally, Target};
pub(crate) use holdfast_engine::workers::Workers;
pub(crate) use holdfast_engine::*;
