//! What a root says beside its tables: holds that stand, and sessions that maintainers watch.
//!
//! Both are tags of the root, so that a root of an earlier version has none. On purpose not here:
//! what a hold stops, and when a session counts as silent; that is the engine's.

use crate::entry::Time;
use crate::error::FormatError;
use crate::id::SessionId;
use crate::session::{decode_time, encode_time};
use crate::wire::{Reader, Writer};

/// What a hold names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    /// Everything: nothing is forgotten and nothing is freed.
    All,
    /// All snapshots of the sources with this name.
    Source(String),
    /// One snapshot.
    Snapshot(SessionId),
}

/// A hold: while it stands, what it names is neither forgotten nor freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Names it; people type the beginning of its hexadecimal form.
    pub id: [u8; 16],
    /// What it names.
    pub scope: HoldScope,
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub since: Time,
    /// Until when; until it is released, if `None`.
    pub until: Option<Time>,
}

impl Hold {
    /// Tells whether it still stands.
    #[must_use]
    pub fn stands(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.id);
        let (scope, name): (u8, &[u8]) = match &self.scope {
            HoldScope::All => (1, &[]),
            HoldScope::Source(name) => (2, name.as_bytes()),
            HoldScope::Snapshot(id) => (3, id.bytes()),
        };
        writer.u8(scope);
        writer.bytes32(name);
        writer.bytes32(self.reason.as_bytes());
        encode_time(writer, self.since);
        writer.u8(u8::from(self.until.is_some()));
        encode_time(writer, self.until.unwrap_or_default());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let id = reader.array()?;
        let scope = reader.u8()?;
        let name = reader.bytes32("a hold", TEXT_BYTES_MAX)?;
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| FormatError::Malformed("the text of a hold"))
        };
        let scope = match scope {
            1 if name.is_empty() => HoldScope::All,
            2 => HoldScope::Source(text(name)?),
            3 => HoldScope::Snapshot(SessionId(
                name.try_into().map_err(|_| FormatError::Malformed("the snapshot of a hold"))?,
            )),
            other => return Err(FormatError::Newer(format!("scope of a hold {other}"))),
        };
        let reason = text(reader.bytes32("a hold", TEXT_BYTES_MAX)?)?;
        let since = decode_time(reader)?;
        let has_end = reader.flag("the end of a hold")?;
        let until = decode_time(reader)?;
        Ok(Self { id, scope, reason, since, until: has_end.then_some(until) })
    }
}

/// Longest name or reason of a hold, in bytes.
const TEXT_BYTES_MAX: u32 = 64 << 10;

/// Encodes holds: count 4, then each: id 16, scope 1, name, reason, since, flag, until.
pub(crate) fn encode_holds(holds: &[Hold]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.count(holds.len());
    holds.iter().for_each(|hold| hold.encode(&mut writer));
    writer.into_vec()
}

/// Reads what [`encode_holds`] wrote.
pub(crate) fn decode_holds(bytes: &[u8]) -> Result<Vec<Hold>, FormatError> {
    let mut reader = Reader::new(bytes);
    let mut holds = Vec::new();
    for _ in 0..reader.count(16 + 1 + 4 + 4 + 12 + 1 + 12)? {
        holds.push(Hold::decode(&mut reader)?);
    }
    reader.end()?;
    Ok(holds)
}

/// An open session, as a maintainer saw it: its silence is counted by maintainers' clocks alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedSession {
    /// Which one.
    pub session: SessionId,
    /// How many objects of it there were.
    pub objects: u32,
    /// Since when there have been so many.
    pub since: Time,
}

/// Encodes watched sessions: count 4, then each: session 16, objects 4, since 12.
pub(crate) fn encode_watched(sessions: &[WatchedSession]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.count(sessions.len());
    for watched in sessions {
        writer.raw(watched.session.bytes());
        writer.u32(watched.objects);
        encode_time(&mut writer, watched.since);
    }
    writer.into_vec()
}

/// Reads what [`encode_watched`] wrote.
pub(crate) fn decode_watched(bytes: &[u8]) -> Result<Vec<WatchedSession>, FormatError> {
    let mut reader = Reader::new(bytes);
    let mut sessions = Vec::new();
    for _ in 0..reader.count(32)? {
        sessions.push(WatchedSession {
            session: SessionId(reader.array()?),
            objects: reader.u32()?,
            since: decode_time(&mut reader)?,
        });
    }
    reader.end()?;
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn holds_and_watched_sessions_come_back() {
        let time = |seconds| Time { seconds, nanos: 5 };
        let hold = |scope, until| Hold { id: [1; 16], scope, reason: "why".into(), since: time(1), until };
        let holds = vec![
            hold(HoldScope::All, None),
            hold(HoldScope::Source("shop/db".into()), Some(time(9))),
            hold(HoldScope::Snapshot(SessionId([4; 16])), None),
        ];
        assert_eq!(decode_holds(&encode_holds(&holds)).unwrap(), holds);
        assert!(holds[0].stands(time(100)) && holds[1].stands(time(8)) && !holds[1].stands(time(9)));
        let watched = vec![WatchedSession { session: SessionId([2; 16]), objects: 3, since: time(4) }];
        assert_eq!(decode_watched(&encode_watched(&watched)).unwrap(), watched);
    }

    #[test]
    fn a_hold_of_an_unknown_scope_is_refused() {
        let mut bytes = encode_holds(&[Hold {
            id: [1; 16],
            scope: HoldScope::All,
            reason: String::new(),
            since: Time::default(),
            until: None,
        }]);
        bytes[20] = 9;
        assert_eq!(decode_holds(&bytes), Err(FormatError::Newer("scope of a hold 9".into())));
    }
}
