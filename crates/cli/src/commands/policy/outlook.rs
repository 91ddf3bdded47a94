//! What a policy comes down to in numbers, as `policy plan` shows it.
//!
//! On purpose not here: foreseeing it, which the scheduler does.

use super::super::Run;
use super::clusters::running;
use crate::hands::OwnHands;
use crate::ink::{
    Align, Ink, PolicyReplayLine, PolicyRoomLine, PolicyTrafficLine, PolicyUnseenLine, Table, duration,
    escape, size,
};
use holdfast_core::pack::DATA_PACK_BYTES;
use holdfast_scheduler::outlook::{Outlook, Replay, Room, Surroundings, Traffic, look as foresee};
use holdfast_scheduler::policy::Policy;

/// Looks into the repositories, as far as this host has keys for them.
pub(super) async fn look(run: &Run, policy: &Policy) -> Outlook {
    let here = Surroundings {
        data_directories: running().into_iter().filter_map(|running| running.folder).collect(),
        nowhere: std::env::temp_dir().join(format!("holdfast-plan-{}", std::process::id())),
        pack_bytes: DATA_PACK_BYTES,
    };
    foresee(&OwnHands::silent(run), policy, &here).await
}

/// Shows what was found.
pub(super) fn show(ink: &Ink, outlook: &Outlook) {
    let Outlook { room, traffic, replays, unseen, .. } = outlook;
    if ink.tone.json {
        traffic.iter().for_each(|line| ink.json(&PolicyTrafficLine::from(line)));
        room.iter().for_each(|line| ink.json(&PolicyRoomLine::from(line)));
        replays.iter().for_each(|line| ink.json(&PolicyReplayLine::from(line)));
        for message in unseen {
            ink.json(&PolicyUnseenLine { message_type: "policy_unseen", message, hint: "" });
        }
        return;
    }
    ink.data("");
    ink.table(&in_a_month(traffic));
    room.iter().for_each(|room| ink.data(&in_words(room)));
    replays.iter().for_each(|replay| ink.data(&escape(replayed(replay).as_bytes())));
    unseen.iter().for_each(|what| ink.data(&escape(format!("not known: {what}").as_bytes())));
}

fn in_a_month(traffic: &[Traffic]) -> Table {
    let columns = [
        ("IN 30 DAYS", Align::Left),
        ("WHAT", Align::Left),
        ("TIMES", Align::Right),
        ("BYTES", Align::Right),
        ("REQUESTS", Align::Right),
        ("FROM", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for line in traffic {
        let unknown = || "?".to_owned();
        table.row(vec![
            escape(line.place.as_bytes()),
            line.what.to_owned(),
            line.times.map_or_else(unknown, |times| times.to_string()),
            line.bytes.map_or_else(unknown, |bytes| format!("about {}", size(bytes))),
            line.requests.map_or_else(unknown, |requests| format!("at least {requests}")),
            escape(line.says.as_bytes()),
        ]);
    }
    table
}

/// `drill needs 1.9 TiB (1.8 TiB of snapshots, 96 GiB of log), /scratch has 2.4 TiB`.
fn in_words(room: &Room) -> String {
    let needed = format!(
        "a drill needs {} ({} of snapshots, {} of log)",
        size(room.needed()),
        size(room.snapshots),
        size(room.log)
    );
    let place = match (&room.path, room.free) {
        (Some(path), Some(free)) => format!("{} has {}", path.display(), size(free)),
        (Some(path), None) => format!("{} cannot be looked at", path.display()),
        (None, _) => "no scratch.path is stated: it goes below the cache folder".to_owned(),
    };
    escape(format!("{needed}; {place}").as_bytes())
}

/// `the log of db since its last base backup, 1.2 GiB, is about 3 min of replay; 26h of it are 3h40m`.
fn replayed(replay: &Replay) -> String {
    let Replay { source, log, rate, now, worst, says } = replay;
    let Some(log) = log else { return format!("the log of {source}: {says}") };
    let head = format!("the log of {source} since its last base backup, {}", size(*log));
    let (Some(rate), Some(now)) = (rate, now) else { return format!("{head}: {says}") };
    let worst = worst.map(|(between, takes)| {
        format!("; up to {} lie between two, which are about {}", duration(between), duration(takes))
    });
    // More digits than that nobody has measured.
    let a_second = size(*rate as u64);
    format!(
        "{head}, is about {} of replay at {a_second}/s, {says}{}",
        duration(*now),
        worst.unwrap_or_default()
    )
}
