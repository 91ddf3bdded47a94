//! What a server sends, taken apart.
//!
//! Nothing is believed: a length is looked at before anything is kept for it. On purpose not here:
//! what is sent to the server, which `postgres-protocol` encodes.

use crate::error::{PgError, ServerError};
use bytes::{Buf, Bytes, BytesMut};

/// Longest message that is taken; servers send pieces of some ten KiB.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Most columns of a row; those of replication have five.
const COLUMNS_MAX: usize = 1664;

/// How the server wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Cleartext,
    Md5([u8; 4]),
    /// By one of these mechanisms.
    Sasl(Vec<String>),
    SaslContinue(Bytes),
    SaslFinal(Bytes),
    Other(u32),
}

/// One message of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Authentication(Asked),
    /// A setting and its value.
    Setting(String, String),
    /// A table begins.
    Columns(usize),
    Row(Vec<Option<Bytes>>),
    /// A command has ended well.
    Complete,
    /// The server waits for the next command.
    Ready,
    Error(Box<ServerError>),
    Notice(Box<ServerError>),
    CopyOut,
    CopyBoth,
    CopyData(Bytes),
    CopyDone,
    /// Nothing that concerns us.
    Other(u8),
}

/// Takes the next message from the front of what was received; `None` if it is not all there.
pub(crate) fn take(input: &mut BytesMut) -> Result<Option<Message>, PgError> {
    let Some((&tag, rest)) = input.split_first() else { return Ok(None) };
    let Some(length) = rest.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
        return Err(PgError::protocol(format!("a message of {length} bytes")));
    }
    if rest.len() < length {
        // Room for all of it at once, now that its length is known to be sane.
        input.reserve(1 + length - input.len());
        return Ok(None);
    }
    let mut body = input.split_to(1 + length).freeze();
    body.advance(5);
    decode(tag, body).map(Some)
}

fn decode(tag: u8, body: Bytes) -> Result<Message, PgError> {
    let mut cursor = Cursor(body);
    Ok(match tag {
        b'R' => Message::Authentication(authentication(&mut cursor)?),
        b'S' => Message::Setting(cursor.text()?, cursor.text()?),
        b'T' => Message::Columns(usize::from(cursor.u16()?)),
        b'D' => Message::Row(row(&mut cursor)?),
        b'C' => Message::Complete,
        b'Z' => Message::Ready,
        b'E' => Message::Error(Box::new(server_error(&mut cursor)?)),
        b'N' => Message::Notice(Box::new(server_error(&mut cursor)?)),
        b'H' => Message::CopyOut,
        b'W' => Message::CopyBoth,
        b'd' => Message::CopyData(cursor.0),
        b'c' => Message::CopyDone,
        other => Message::Other(other),
    })
}

fn authentication(cursor: &mut Cursor) -> Result<Asked, PgError> {
    Ok(match cursor.u32()? {
        0 => Asked::Nothing,
        3 => Asked::Cleartext,
        5 => Asked::Md5(cursor.array()?),
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                let mechanism = cursor.text()?;
                if mechanism.is_empty() {
                    break Asked::Sasl(mechanisms);
                }
                mechanisms.push(mechanism);
            }
        }
        11 => Asked::SaslContinue(std::mem::take(&mut cursor.0)),
        12 => Asked::SaslFinal(std::mem::take(&mut cursor.0)),
        other => Asked::Other(other),
    })
}

fn row(cursor: &mut Cursor) -> Result<Vec<Option<Bytes>>, PgError> {
    let count = usize::from(cursor.u16()?);
    if count > COLUMNS_MAX {
        return Err(PgError::protocol(format!("a row of {count} columns")));
    }
    let mut row = Vec::with_capacity(count);
    for _ in 0..count {
        let length = cursor.u32()?;
        row.push(if length == u32::MAX { None } else { Some(cursor.bytes(length as usize)?) });
    }
    Ok(row)
}

fn server_error(cursor: &mut Cursor) -> Result<ServerError, PgError> {
    let mut error = ServerError::default();
    loop {
        let kind = cursor.u8()?;
        if kind == 0 {
            return Ok(error);
        }
        let text = cursor.text()?;
        match kind {
            // The one that is not translated comes second, and is not sent by all.
            b'S' if error.severity.is_empty() => error.severity = text,
            b'V' => error.severity = text,
            b'C' => error.code = text,
            b'M' => error.message = text,
            b'D' => error.detail = text,
            b'H' => error.hint = text,
            _ => {}
        }
    }
}

/// Reads a message from its front.
#[derive(Debug)]
pub(crate) struct Cursor(pub(crate) Bytes);

impl Cursor {
    pub(crate) fn bytes(&mut self, length: usize) -> Result<Bytes, PgError> {
        if self.0.len() < length {
            return Err(PgError::protocol("a message that is cut off"));
        }
        Ok(self.0.split_to(length))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], PgError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, PgError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, PgError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, PgError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, PgError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a text up to its zero byte.
    pub(crate) fn text(&mut self) -> Result<String, PgError> {
        let end = self.0.iter().position(|&byte| byte == 0);
        let end = end.ok_or_else(|| PgError::protocol("a text without an end"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use proptest::prelude::*;

    /// A message as a server sends it.
    fn encode(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn one(tag: u8, body: &[u8]) -> Result<Message, PgError> {
        take(&mut BytesMut::from(&encode(tag, body)[..])).map(Option::unwrap)
    }

    #[test]
    fn messages_are_taken_apart() {
        assert_eq!(one(b'R', &[0, 0, 0, 0]).unwrap(), Message::Authentication(Asked::Nothing));
        let sasl = [&[0, 0, 0, 10][..], b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"].concat();
        let mechanisms = vec!["SCRAM-SHA-256-PLUS".to_owned(), "SCRAM-SHA-256".to_owned()];
        assert_eq!(one(b'R', &sasl).unwrap(), Message::Authentication(Asked::Sasl(mechanisms)));
        let row = [&[0, 2, 0, 0, 0, 1][..], b"x", &[255; 4]].concat();
        assert_eq!(one(b'D', &row).unwrap(), Message::Row(vec![Some(Bytes::from_static(b"x")), None]));
        let error = b"SFEHLER\0VERROR\0C42501\0Mno\0Hask\0Fwalsender.c\0\0";
        let Message::Error(error) = one(b'E', error).unwrap() else { panic!("another message") };
        assert_eq!((&*error.severity, &*error.code), ("ERROR", "42501"));
        assert_eq!(error.to_string(), "no; ask (SQLSTATE 42501)");
        assert_eq!(one(b'd', b"abc").unwrap(), Message::CopyData(Bytes::from_static(b"abc")));
    }

    #[test]
    fn a_message_that_is_not_all_there_waits() {
        let whole = encode(b'S', b"name\0value\0");
        for end in 0..whole.len() {
            let mut input = BytesMut::from(&whole[..end]);
            assert_eq!(take(&mut input).unwrap(), None);
            assert_eq!(input.len(), end, "nothing is lost");
        }
        let twice = [&whole[..], &whole].concat();
        let mut input = BytesMut::from(&twice[..]);
        let expected = Message::Setting("name".into(), "value".into());
        assert_eq!(take(&mut input).unwrap(), Some(expected.clone()));
        assert_eq!(take(&mut input).unwrap(), Some(expected));
        assert!(input.is_empty());
    }

    #[test]
    fn lengths_that_no_server_states_are_refused_before_anything_is_kept() {
        for length in [0u32, 3, 9 << 20, u32::MAX] {
            let mut input = BytesMut::from(&[&b"d"[..], &length.to_be_bytes()].concat()[..]);
            assert!(take(&mut input).is_err(), "{length}");
            assert!(input.capacity() < 1 << 20);
        }
        assert!(one(b'D', &[255, 255]).is_err());
        assert!(one(b'D', &[0, 1, 0, 0, 0, 9, 1]).is_err());
        assert!(one(b'E', b"Mno").is_err() && one(b'E', b"").is_err() && one(b'S', b"a\0").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in any::<u8>()) {
            let _ = one(tag, &bytes);
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut input) {}
        }
    }
}
