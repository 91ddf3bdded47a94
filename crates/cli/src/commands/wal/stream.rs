//! `wal stream` and `wal drop-slot`: the log of a cluster as it comes, and the slot that keeps it.
//!
//! On purpose not here: how it streams, which the source knows.

use super::super::cluster;
use super::Run;
use crate::args::{WalDropSlotArgs, WalStreamArgs};
use crate::engine::Right;
use crate::engine::wal::WalArchive;
use crate::fault::Fault;
use crate::ink::{
    Ink, SlotDroppedLine, WalStoredLine, WalStreamSummary, WalStreamingLine, counted, escape, size,
};
use crate::secrets;
use crate::wire_up::{
    self, Lsn, PgError, Server, StreamError, StreamEvent, StreamOptions, Streamed, Until, is_slot_name,
};
use std::ffi::OsStr;
use std::sync::Arc;

/// Streams until it is stopped.
pub(super) async fn run(run: &Run, args: &WalStreamArgs) -> Result<(), Fault> {
    let server = server(&args.server)?;
    let until = match &args.until {
        None if args.once => Until::Now,
        None => Until::Stopped,
        Some(text) => Until::Place(Lsn::parse(text).ok_or_else(|| {
            let hint = "write it as the server does: 0/3000060";
            Fault::usage(format!("{} is no place in the log", escape(text.as_bytes())), hint)
        })?),
    };
    let slot = slot(&args.slot)?;
    let secrets = secrets::of_server()?;
    let repository = run.open_for(Right::BackUp).await?;
    let ink = Arc::clone(&run.ink);
    let options = StreamOptions {
        server,
        secrets,
        slot,
        create_slot: args.create_slot,
        slot_limit: args.slot_limit,
        accept_gap: args.accept_gap,
        system: args.system,
        commit_every: args.commit_interval,
        until,
        clock: Arc::clone(&run.ctx.clock),
        cancel: run.ctx.cancel.clone(),
        tell: Arc::new(move |event| tell(&ink, event)),
    };
    let streamed = wire_up::stream_log(options, &WalArchive::new(&run.ctx, &repository)).await;
    let streamed = streamed.map_err(|error| failed(run, error))?;
    sum_up(run, &streamed);
    Ok(())
}

/// Drops a slot.
pub(super) async fn drop_slot(run: &Run, args: &WalDropSlotArgs) -> Result<(), Fault> {
    let (server, slot) = (server(&args.server)?, slot(&args.slot)?);
    let secrets = secrets::of_server()?;
    run.listen()?;
    wire_up::drop_slot(&server, &secrets, &slot).await.map_err(|error| {
        let hint = match error.code() {
            Some("42704") => "see which there are: select slot_name from pg_replication_slots",
            Some("55006") => "end the stream that uses it first",
            _ => error.advice().unwrap_or("see what `holdfast preflight URL` says of the server"),
        };
        Fault::failed(format!("the slot {slot} was not dropped"), hint).because(&error)
    })?;
    if run.ink.tone.json {
        run.ink.json(&SlotDroppedLine { message_type: "slot_dropped", slot: &slot });
    } else {
        run.ink.talk(&format!("dropped the slot {slot}; the server keeps nothing for it any more"));
    }
    Ok(())
}

pub(super) fn server(text: &OsStr) -> Result<Server, Fault> {
    cluster::server(text)?.ok_or_else(|| {
        let what = format!("{} is no URL of a cluster", text.display());
        Fault::usage(what, "write postgres://USER@HOST:PORT")
    })
}

pub(super) fn slot(name: &str) -> Result<String, Fault> {
    if is_slot_name(name) {
        return Ok(name.to_owned());
    }
    let what = format!("a slot cannot be called {}", escape(name.as_bytes()));
    Err(Fault::usage(what, "its name has small letters, digits and _, 63 at most"))
}

fn failed(run: &Run, error: StreamError) -> Fault {
    let fault = match error {
        StreamError::Repository(error) => Fault::from(error),
        StreamError::Refused { what, hint } => Fault::failed(what, hint),
        StreamError::Server(error) => {
            Fault::failed("the log cannot be streamed", hint(&error)).because(&error)
        }
    };
    fault.or_interrupted(run.ctx.cancel.is_raised())
}

fn hint(error: &PgError) -> &'static str {
    match error.code() {
        Some("55006") => "another streamer uses this slot: give each one of its own, with --create-slot",
        Some("53400") => "all slots are taken: raise max_replication_slots, or drop those that nobody uses",
        _ => error.advice().unwrap_or("see what `holdfast preflight URL` says of the server"),
    }
}

/// Tells what happens while it streams.
fn tell(ink: &Ink, event: &StreamEvent<'_>) {
    match event {
        StreamEvent::Streaming { host, system, timeline, from, server } if ink.tone.json => {
            ink.json_now(&WalStreamingLine {
                message_type: "wal_streaming",
                host,
                system: system.to_string(),
                timeline: timeline.to_string(),
                from_lsn: from.to_string(),
                server_lsn: server.to_string(),
            });
        }
        StreamEvent::Streaming { host, system, timeline, from, server } => ink.talk(&format!(
            "streaming the log of cluster {system} from {host}: timeline {}, from {from} on (it has {server})",
            timeline.number
        )),
        StreamEvent::Stored { timeline, file, piece, bytes, flushed } if ink.tone.json => {
            ink.json_now(&WalStoredLine {
                message_type: "wal_stored",
                timeline: timeline.to_string(),
                file,
                piece: *piece,
                bytes: *bytes,
                flushed_lsn: flushed.to_string(),
            });
        }
        StreamEvent::Stored { file, piece, bytes, flushed, .. } if ink.tone.verbose => {
            let piece = piece.map(|piece| format!(" piece {piece}")).unwrap_or_default();
            ink.talk(&format!("stored {file}{piece}, {}; durable up to {flushed}", size(*bytes)));
        }
        StreamEvent::Stored { .. } => {}
        StreamEvent::Trouble(what) => ink.warn(what),
        StreamEvent::Better(what) => ink.talk(what),
    }
}

fn sum_up(run: &Run, streamed: &Streamed) {
    let Streamed { system, timeline, flushed, segments, pieces, histories, bytes, reconnects } = streamed;
    if run.ink.tone.json {
        return run.ink.json(&WalStreamSummary {
            message_type: "summary",
            system: system.to_string(),
            timeline: timeline.map(|timeline| timeline.to_string()),
            flushed_lsn: flushed.to_string(),
            segments_stored: *segments,
            pieces_stored: *pieces,
            histories_stored: *histories,
            bytes_stored: *bytes,
            reconnects: *reconnects,
        });
    }
    run.ink.talk(&format!(
        "stored {} and {} of the log, {}; durable up to {flushed}",
        counted(*segments, "segment", "segments"),
        counted(*pieces, "piece", "pieces"),
        size(*bytes)
    ));
}
