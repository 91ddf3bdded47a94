//! What records say of transactions: when each ended, and where restore points are; and of folders
//! outside of a cluster that a replay would make.
//!
//! On purpose not here: what a transaction did.

use crate::lsn::Lsn;
use holdfast_core::entry::Time;

/// Seconds from 1970 to 2000, from where servers count.
const EPOCH_SECONDS: i64 = 946_684_800;
const MICROS: i64 = 1_000_000;
/// Kinds of records: of the log itself, and of transactions.
const RM_XLOG: u8 = 0;
const RM_XACT: u8 = 1;
const RM_TABLESPACE: u8 = 5;
/// Of the log itself.
const XLOG_SWITCH: u8 = 0x40;
const XLOG_RESTORE_POINT: u8 = 0x70;
const TABLESPACE_CREATE: u8 = 0x00;
/// Bytes that the name of a restore point has at most.
const NAME_BYTES: usize = 64;

/// A moment of a server's clock, in microseconds since 2000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgTime(pub i64);

impl PgTime {
    /// The moment as others count it.
    #[must_use]
    pub fn time(self) -> Time {
        let nanos = self.0.rem_euclid(MICROS) * 1000;
        let seconds = self.0.div_euclid(MICROS).saturating_add(EPOCH_SECONDS);
        Time { seconds, nanos: u32::try_from(nanos).unwrap_or_default() }
    }
}

impl From<Time> for PgTime {
    fn from(time: Time) -> Self {
        let seconds = time.seconds.saturating_sub(EPOCH_SECONDS);
        Self(seconds.saturating_mul(MICROS).saturating_add(i64::from(time.nanos / 1000)))
    }
}

/// What a record is, as far as a restore asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A transaction is done.
    Commit {
        /// Its number.
        xid: u32,
        /// When.
        time: PgTime,
    },
    /// A transaction was given up.
    Abort {
        /// Its number.
        xid: u32,
        /// When.
        time: PgTime,
    },
    /// Somebody gave this place a name.
    RestorePoint {
        /// The name.
        name: String,
        /// When.
        time: PgTime,
    },
    /// A tablespace was made, in a folder that a replay writes to.
    Tablespace {
        /// The folder.
        path: String,
    },
    /// The rest of the segment is empty.
    Switch,
    /// Anything else.
    Other,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it begins: by this place a restore knows it.
    pub at: Lsn,
    /// What it is.
    pub kind: EventKind,
}

impl Event {
    /// When a transaction ended here, whether well or not: what a restore to a moment looks at.
    #[must_use]
    pub const fn ended(&self) -> Option<PgTime> {
        match self.kind {
            EventKind::Commit { time, .. } | EventKind::Abort { time, .. } => Some(time),
            _ => None,
        }
    }

    /// The number of the transaction that ended here.
    #[must_use]
    pub const fn xid(&self) -> Option<u32> {
        match self.kind {
            EventKind::Commit { xid, .. } | EventKind::Abort { xid, .. } => Some(xid),
            _ => None,
        }
    }

    /// Whether a transaction was done here.
    #[must_use]
    pub const fn is_commit(&self) -> bool {
        matches!(self.kind, EventKind::Commit { .. })
    }
}

/// What a record is. `data` is all that stands behind its header.
pub(super) fn kind_of(manager: u8, info: u8, xid: u32, data: &[u8]) -> EventKind {
    match (manager, info & 0xF0) {
        (RM_XLOG, XLOG_SWITCH) => EventKind::Switch,
        (RM_XLOG, XLOG_RESTORE_POINT) => restore_point(data).unwrap_or(EventKind::Other),
        (RM_TABLESPACE, TABLESPACE_CREATE) => tablespace(data).unwrap_or(EventKind::Other),
        (RM_XACT, _) => transaction(info, xid, data).unwrap_or(EventKind::Other),
        _ => EventKind::Other,
    }
}

/// The main data of a record that has no blocks.
fn main_data(mut data: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, rest) = data.split_first()?;
        data = match id {
            255 => {
                let (length, rest) = rest.split_first()?;
                return rest.get(..usize::from(*length));
            }
            254 => {
                let (length, rest) = number(rest)?;
                return rest.get(..usize::try_from(length).ok()?);
            }
            // Where it was replicated from, and the transaction that it is a part of.
            253 => rest.get(2..)?,
            252 => rest.get(4..)?,
            _ => return None,
        };
    }
}

fn number(data: &[u8]) -> Option<(u32, &[u8])> {
    let (bytes, rest) = data.split_first_chunk()?;
    Some((u32::from_le_bytes(*bytes), rest))
}

fn moment(data: &[u8]) -> Option<(PgTime, &[u8])> {
    let (bytes, rest) = data.split_first_chunk()?;
    Some((PgTime(i64::from_le_bytes(*bytes)), rest))
}

fn restore_point(data: &[u8]) -> Option<EventKind> {
    let (time, rest) = moment(main_data(data)?)?;
    let name = rest.get(..NAME_BYTES)?.split(|&byte| byte == 0).next()?;
    Some(EventKind::RestorePoint { name: String::from_utf8_lossy(name).into_owned(), time })
}

/// Its number, and its folder with a zero at the end.
fn tablespace(data: &[u8]) -> Option<EventKind> {
    let (_, rest) = number(main_data(data)?)?;
    let path = rest.split(|&byte| byte == 0).next()?;
    Some(EventKind::Tablespace { path: String::from_utf8_lossy(path).into_owned() })
}

fn transaction(info: u8, xid: u32, data: &[u8]) -> Option<EventKind> {
    const COMMIT: u8 = 0x00;
    const ABORT: u8 = 0x20;
    const COMMIT_PREPARED: u8 = 0x30;
    const ABORT_PREPARED: u8 = 0x40;
    let kind = info & 0x70;
    if !matches!(kind, COMMIT | ABORT | COMMIT_PREPARED | ABORT_PREPARED) {
        return None;
    }
    let (time, rest) = moment(main_data(data)?)?;
    // Of one that was prepared, the record is by another: it names the one that it ends.
    let xid = match kind {
        COMMIT_PREPARED => prepared(info, rest, true).unwrap_or(xid),
        ABORT_PREPARED => prepared(info, rest, false).unwrap_or(xid),
        _ => xid,
    };
    Some(match kind {
        COMMIT | COMMIT_PREPARED => EventKind::Commit { xid, time },
        _ => EventKind::Abort { xid, time },
    })
}

/// The number of a prepared transaction that is ended; lists that stand before it are passed over.
fn prepared(info: u8, data: &[u8], has_messages: bool) -> Option<u32> {
    const DATABASE: u32 = 1;
    const PARTS: u32 = 1 << 1;
    const FILES: u32 = 1 << 2;
    const MESSAGES: u32 = 1 << 3;
    const PREPARED: u32 = 1 << 4;
    const STATISTICS: u32 = 1 << 8;
    if info & 0x80 == 0 {
        return None;
    }
    let (has, mut data) = number(data)?;
    // Their items have another length from 18 on, which the record does not tell.
    if has & PREPARED == 0 || has & STATISTICS != 0 {
        return None;
    }
    if has & DATABASE != 0 {
        data = data.get(8..)?;
    }
    for (flag, length) in [(PARTS, 4), (FILES, 12), (MESSAGES, 16)] {
        if has & flag != 0 && (flag != MESSAGES || has_messages) {
            let (items, rest) = number(data)?;
            data = rest.get(usize::try_from(items).ok()?.checked_mul(length)?..)?;
        }
    }
    number(data).map(|(xid, _)| xid)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn short(data: &[u8]) -> Vec<u8> {
        [&[255, u8::try_from(data.len()).unwrap()], data].concat()
    }

    #[test]
    fn moments_are_those_of_others() {
        let time = Time { seconds: 1_764_000_000, nanos: 123_456_000 };
        assert_eq!(PgTime::from(time).time(), time);
        assert_eq!(PgTime(0).time().seconds, EPOCH_SECONDS);
        assert_eq!(PgTime(-1).time(), Time { seconds: EPOCH_SECONDS - 1, nanos: 999_999_000 });
        let _ = (PgTime(i64::MIN).time(), PgTime(i64::MAX).time());
    }

    #[test]
    fn ends_of_transactions_are_told() {
        let time = 7_i64.to_le_bytes();
        let commit = EventKind::Commit { xid: 9, time: PgTime(7) };
        assert_eq!(kind_of(RM_XACT, 0x00, 9, &short(&time)), commit);
        assert_eq!(kind_of(RM_XACT, 0x20, 9, &short(&time)), EventKind::Abort { xid: 9, time: PgTime(7) });
        // A record that was replicated from elsewhere.
        assert_eq!(kind_of(RM_XACT, 0x80, 9, &[&[253, 1, 0][..], &short(&time)].concat()), commit);
        let long = [&[254, 8, 0, 0, 0][..], &time].concat();
        assert_eq!(kind_of(RM_XACT, 0x00, 9, &long), commit);
        for broken in [&[][..], &[255], &[255, 9, 1], &[254, 8, 0, 0], &[255, 2, 1, 1], &[0, 1, 2]] {
            assert_eq!(kind_of(RM_XACT, 0x00, 9, broken), EventKind::Other, "{broken:?}");
        }
        assert_eq!(kind_of(RM_XACT, 0x10, 9, &short(&time)), EventKind::Other);
        assert_eq!(kind_of(RM_XLOG, 0x40, 0, b""), EventKind::Switch);
    }

    #[test]
    fn a_prepared_transaction_is_ended_by_its_own_number() {
        let (time, database) = (7_i64.to_le_bytes(), [5; 8]);
        let has: u32 = 1 | 2 | 8 | 16;
        let parts = [2_u32.to_le_bytes(), [1; 4], [2; 4]].concat();
        let messages = [&1_u32.to_le_bytes()[..], &[9; 16]].concat();
        let data =
            [&time[..], &has.to_le_bytes(), &database, &parts, &messages, &77_u32.to_le_bytes()].concat();
        let found = kind_of(RM_XACT, 0x30 | 0x80, 0, &short(&data));
        assert_eq!(found, EventKind::Commit { xid: 77, time: PgTime(7) });
        // If it cannot be told which, it is still told when.
        let unknown = EventKind::Commit { xid: 0, time: PgTime(7) };
        assert_eq!(kind_of(RM_XACT, 0x30, 0, &short(&data)), unknown);
        assert_eq!(kind_of(RM_XACT, 0xB0, 0, &short(&data[..30])), unknown);
    }

    #[test]
    fn a_tablespace_has_its_folder() {
        let data = [&16_385_u32.to_le_bytes()[..], b"/srv/fast\0"].concat();
        let found = kind_of(RM_TABLESPACE, 0x00, 9, &short(&data));
        assert_eq!(found, EventKind::Tablespace { path: "/srv/fast".into() });
        assert_eq!(kind_of(RM_TABLESPACE, 0x10, 9, &short(&data)), EventKind::Other);
        assert_eq!(kind_of(RM_TABLESPACE, 0x00, 9, &short(b"ab")), EventKind::Other);
    }

    #[test]
    fn a_restore_point_has_its_name() {
        let mut data = [&7_i64.to_le_bytes()[..], b"before the drop"].concat();
        data.resize(8 + NAME_BYTES, 0);
        let found = kind_of(RM_XLOG, 0x70, 0, &short(&data));
        assert_eq!(found, EventKind::RestorePoint { name: "before the drop".into(), time: PgTime(7) });
        assert_eq!(kind_of(RM_XLOG, 0x70, 0, &short(&data[..20])), EventKind::Other);
    }
}
