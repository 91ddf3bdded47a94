//! The timelines that lead to the one that a server is on: each counts up to where the next begins.
//!
//! On purpose not here: what an archive has of them.

use crate::error::PgError;
use crate::flow;
use crate::log::History;
use crate::lsn::Lsn;
use crate::wire::Connection;
use holdfast_engine::wal::Timeline;

/// A timeline, as far as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    pub timeline: Timeline,
    /// Where it was begun, and where it was left; the server's own goes on.
    pub begin: Lsn,
    pub end: Option<Lsn>,
    /// Its history file; the first timeline has none.
    pub history: Vec<u8>,
}

impl Leg {
    /// First byte of the segment in which it begins: it has that segment from there on.
    pub(crate) const fn first(&self, segment_bytes: u64) -> Lsn {
        self.begin.segment_start(segment_bytes)
    }

    /// Whether a place counts on it.
    pub(crate) fn has(&self, at: Lsn) -> bool {
        self.end.is_none_or(|end| at < end)
    }
}

/// Asks a server for the timelines that lead to the one that it is on, the oldest first.
pub(crate) async fn ask(connection: &mut Connection, system: u64, current: u32) -> Result<Vec<Leg>, PgError> {
    if current <= 1 {
        return legs(system, current, b"", &[]);
    }
    let text = flow::history(connection, current).await?;
    let mut histories = Vec::new();
    for switch in &parse(current, &text)?.switches {
        histories.push(match switch.timeline {
            0 | 1 => Vec::new(),
            number => match flow::history(connection, number).await {
                Ok(text) => text,
                // It need not have that file any more; its own begins with the same text.
                Err(PgError::Server { .. }) => front(&text, number),
                Err(error) => return Err(error),
            },
        });
    }
    legs(system, current, &text, &histories)
}

fn parse(number: u32, text: &[u8]) -> Result<History, PgError> {
    let history = History::parse(text).filter(|history| {
        history.switches.iter().all(|switch| switch.timeline > 0 && switch.timeline < number)
    });
    history.ok_or_else(|| PgError::protocol(format!("{} says nothing", flow::history_name(number))))
}

/// Puts them together: the history of the current timeline, and those of the ones before it.
pub(crate) fn legs(
    system: u64,
    current: u32,
    text: &[u8],
    histories: &[Vec<u8>],
) -> Result<Vec<Leg>, PgError> {
    let switches = if text.is_empty() { Vec::new() } else { parse(current, text)?.switches };
    let mut begin = Lsn(0);
    let mut legs = Vec::with_capacity(switches.len() + 1);
    for (switch, history) in switches.iter().zip(histories) {
        let timeline = Timeline::new(system, switch.timeline, history);
        legs.push(Leg { timeline, begin, end: Some(switch.at), history: history.clone() });
        begin = switch.at;
    }
    let timeline = Timeline::new(system, current, text);
    legs.push(Leg { timeline, begin, end: None, history: text.to_vec() });
    Ok(legs)
}

/// The history of an earlier timeline: a server copies it, adds an empty line and then its own.
fn front(text: &[u8], number: u32) -> Vec<u8> {
    let own = format!("{number}\t");
    let mut at = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(own.as_bytes()) {
            let front = &text[..at];
            return front.strip_suffix(b"\n").unwrap_or(front).to_vec();
        }
        at += line.len();
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const SECOND: &[u8] = b"1\t0/3000060\tno recovery target specified\n";
    const THIRD: &[u8] =
        b"1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n";

    #[test]
    fn timelines_follow_each_other() {
        assert_eq!(front(THIRD, 2), SECOND);
        assert_eq!((front(THIRD, 1), front(THIRD, 3)), (Vec::new(), Vec::new()));
        let legs = legs(7, 3, THIRD, &[Vec::new(), SECOND.to_vec()]).unwrap();
        let seen: Vec<_> = legs.iter().map(|leg| (leg.timeline.number, leg.begin, leg.end)).collect();
        let (first, second) = (Lsn(0x300_0060), Lsn(0x500_0000));
        assert_eq!(seen, [(1, Lsn(0), Some(first)), (2, first, Some(second)), (3, second, None)]);
        assert_eq!(legs[1].timeline, Timeline::new(7, 2, SECOND));
        assert_eq!(legs[1].first(1 << 20), Lsn(0x300_0000));
        assert!(legs[1].has(Lsn(0x4ff_ffff)) && !legs[1].has(second) && legs[2].has(Lsn(u64::MAX)));
    }

    #[test]
    fn a_history_that_cannot_be_is_refused() {
        assert!(legs(7, 2, THIRD, &[]).is_err());
        assert!(legs(7, 3, b"nonsense", &[]).is_err());
        assert_eq!(legs(7, 1, b"", &[]).unwrap().len(), 1);
    }
}
