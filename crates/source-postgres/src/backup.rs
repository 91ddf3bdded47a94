//! `BASE_BACKUP` in both of its grammars, as one sequence of parts.
//!
//! Since 15 all archives and the manifest come in one copy whose pieces say what they are; before,
//! each comes in a copy of its own. On purpose not here: what the archives hold.

use crate::error::{PgError, ServerError};
use crate::facts::{Space, value};
use crate::lsn::Lsn;
use crate::wire::{Cursor, Message};
use bytes::Bytes;
use std::collections::VecDeque;

/// SQLSTATE of a server that found broken pages, after it had sent everything.
const DATA_CORRUPTED: &str = "XX001";
/// The label of the backup, in `backup_label`.
const LABEL: &str = "holdfast";

/// The command. The log comes by another connection; nobody has to wait until it is archived.
pub(crate) fn command(major: u32) -> String {
    if major >= 15 {
        format!(
            "BASE_BACKUP (LABEL '{LABEL}', PROGRESS, CHECKPOINT 'fast', WAIT false, TABLESPACE_MAP, MANIFEST 'yes', \
             MANIFEST_CHECKSUMS 'SHA256')"
        )
    } else {
        format!(
            "BASE_BACKUP LABEL '{LABEL}' PROGRESS FAST NOWAIT TABLESPACE_MAP MANIFEST 'yes' \
             MANIFEST_CHECKSUMS 'SHA256'"
        )
    }
}

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// It begins: from where the log is needed, on which timeline, and what else than the cluster's
    /// folder there is.
    Begin {
        start: Lsn,
        timeline: u32,
        spaces: Vec<Space>,
    },
    /// An archive begins: of the cluster's folder, or of a tablespace.
    Archive(Option<u32>),
    /// The next bytes of the archive.
    Data(Bytes),
    /// The manifest begins; what was before it is at its end.
    Manifest,
    ManifestData(Bytes),
    /// Everything came; the log is needed up to here.
    End {
        stop: Lsn,
        timeline: u32,
    },
    /// Everything came, and the server found that pages of it are broken.
    Corrupt(Box<ServerError>),
    /// The server waits for another command.
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    Archive,
    Manifest,
}

/// Takes the answer apart.
#[derive(Debug)]
pub(crate) struct Parts {
    modern: bool,
    /// Which table of the answer it is: 1 the start, 2 the tablespaces, then the stop.
    table: usize,
    start: Option<(Lsn, u32)>,
    spaces: Vec<Space>,
    /// Archives that are still to come, before 15.
    queue: VecDeque<Option<u32>>,
    begun: bool,
    inside: Inside,
    /// A copy was begun, ever; and one is going on.
    copied: bool,
    copying: bool,
    manifest_came: bool,
    stop: Option<(Lsn, u32)>,
    ready: VecDeque<Part>,
}

impl Parts {
    pub(crate) fn new(major: u32) -> Self {
        Self {
            modern: major >= 15,
            table: 0,
            start: None,
            spaces: Vec::new(),
            queue: VecDeque::new(),
            begun: false,
            inside: Inside::Nothing,
            copied: false,
            copying: false,
            manifest_came: false,
            stop: None,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next part, if one is complete.
    pub(crate) fn next(&mut self) -> Option<Part> {
        self.ready.pop_front()
    }

    /// Takes a message in.
    pub(crate) fn take(&mut self, message: Message) -> Result<(), PgError> {
        match message {
            Message::Columns(_) if !self.copying => self.table += 1,
            Message::Row(row) if !self.copying => self.row(&row)?,
            Message::CopyOut if !self.copying => self.copy_begins()?,
            Message::CopyData(bytes) if self.copying && self.modern => self.piece(bytes)?,
            Message::CopyData(bytes) if self.copying => self.data(bytes)?,
            Message::CopyDone if self.copying => (self.copying, self.inside) = (false, Inside::Nothing),
            Message::Error(error) => self.error(error)?,
            Message::Ready => {
                if self.stop.is_none() || !self.manifest_came {
                    return Err(PgError::protocol("the backup ended before it was whole"));
                }
                self.ready.push_back(Part::Ready);
            }
            Message::Complete | Message::Other(_) => {}
            other => return Err(odd(&format!("{other:?}").chars().take(20).collect::<String>())),
        }
        Ok(())
    }

    fn row(&mut self, row: &[Option<Bytes>]) -> Result<(), PgError> {
        let place = || {
            let lsn = value(row, 0).and_then(Lsn::parse);
            let place = lsn.zip(value(row, 1).and_then(|text| text.parse().ok()));
            place.ok_or_else(|| odd("a place in the log that is none"))
        };
        match self.table {
            1 => self.start = Some(place()?),
            2 => self.space(row)?,
            _ if self.copied => {
                let (stop, timeline) = place()?;
                self.stop = Some((stop, timeline));
                self.ready.push_back(Part::End { stop, timeline });
            }
            _ => return Err(odd("a table too many")),
        }
        Ok(())
    }

    fn space(&mut self, row: &[Option<Bytes>]) -> Result<(), PgError> {
        let Some(oid) = value(row, 0) else {
            self.queue.push_back(None);
            return Ok(());
        };
        let oid = oid.parse().map_err(|_| odd("a tablespace without a number"))?;
        let path = value(row, 1).ok_or_else(|| odd("a tablespace without a place that is text"))?;
        self.queue.push_back(Some(oid));
        self.spaces.push(Space { oid, path: path.to_owned() });
        Ok(())
    }

    fn copy_begins(&mut self) -> Result<(), PgError> {
        let (start, timeline) = self.start.ok_or_else(|| odd("files before the start"))?;
        if !std::mem::replace(&mut self.begun, true) {
            self.ready.push_back(Part::Begin { start, timeline, spaces: self.spaces.clone() });
        }
        self.copying = true;
        let again = std::mem::replace(&mut self.copied, true);
        if self.modern {
            return if again { Err(odd("a second copy")) } else { Ok(()) };
        }
        match self.queue.pop_front() {
            Some(space) => self.archive(space),
            None => self.manifest()?,
        }
        Ok(())
    }

    fn archive(&mut self, space: Option<u32>) {
        self.inside = Inside::Archive;
        self.ready.push_back(Part::Archive(space));
    }

    fn manifest(&mut self) -> Result<(), PgError> {
        if std::mem::replace(&mut self.manifest_came, true) {
            return Err(odd("a second manifest"));
        }
        self.inside = Inside::Manifest;
        self.ready.push_back(Part::Manifest);
        Ok(())
    }

    /// A piece of the one copy that there is since 15.
    fn piece(&mut self, bytes: Bytes) -> Result<(), PgError> {
        let mut cursor = Cursor(bytes);
        match cursor.u8()? {
            b'n' => {
                let name = cursor.text()?;
                let space = match name.strip_suffix(".tar") {
                    Some("base") => None,
                    Some(oid) => Some(oid.parse().map_err(|_| odd("an archive with another name"))?),
                    None => return Err(odd("an archive that is no tar")),
                };
                // Each has to be one that was announced, and comes once.
                let at = self.queue.iter().position(|queued| *queued == space);
                self.queue.remove(at.ok_or_else(|| odd("an archive that was not announced"))?);
                self.archive(space);
            }
            b'd' => self.data(cursor.0)?,
            b'm' => self.manifest()?,
            b'p' => {}
            other => return Err(odd(&format!("a piece of kind {other}"))),
        }
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) -> Result<(), PgError> {
        let part = match self.inside {
            Inside::Archive => Part::Data(bytes),
            Inside::Manifest => Part::ManifestData(bytes),
            Inside::Nothing => return Err(odd("bytes of nothing")),
        };
        self.ready.push_back(part);
        Ok(())
    }

    fn error(&mut self, error: Box<ServerError>) -> Result<(), PgError> {
        if error.code == DATA_CORRUPTED && self.stop.is_some() {
            self.ready.push_back(Part::Corrupt(error));
            return Ok(());
        }
        let what = "the server gave the backup up; nothing was backed up".to_owned();
        Err(PgError::Server { what, error })
    }

    /// Whether all that was announced came.
    pub(crate) fn is_whole(&self) -> bool {
        self.queue.is_empty() && self.manifest_came && self.stop.is_some()
    }
}

fn odd(what: &str) -> PgError {
    PgError::protocol(format!("BASE_BACKUP: {what}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use proptest::prelude::*;

    fn row(values: &[Option<&str>]) -> Message {
        Message::Row(values.iter().map(|v| v.map(|v| Bytes::copy_from_slice(v.as_bytes()))).collect())
    }

    fn data(bytes: &[u8]) -> Message {
        Message::CopyData(Bytes::copy_from_slice(bytes))
    }

    fn head() -> Vec<Message> {
        vec![
            Message::Columns(2),
            row(&[Some("0/2000028"), Some("1")]),
            Message::Complete,
            Message::Columns(3),
            row(&[Some("16385"), Some("/srv/x"), Some("1")]),
            row(&[None, None, Some("9")]),
            Message::Complete,
        ]
    }

    fn tail() -> Vec<Message> {
        let stop = row(&[Some("0/2000100"), Some("1")]);
        vec![Message::Columns(2), stop, Message::Complete, Message::Complete, Message::Ready]
    }

    fn modern() -> Vec<Message> {
        let mut all = head();
        all.push(Message::CopyOut);
        all.extend(
            [&b"n16385.tar\0/srv/x\0"[..], b"dspace", b"p\0\0\0\0\0\0\0\x05", b"nbase.tar\0\0", b"dbase"]
                .map(data),
        );
        all.extend([data(b"m"), data(b"d{}"), Message::CopyDone]);
        all.extend(tail());
        all
    }

    fn old() -> Vec<Message> {
        let mut all = head();
        for content in [&b"space"[..], b"base", b"{}"] {
            all.extend([Message::CopyOut, data(content), Message::CopyDone]);
        }
        all.extend(tail());
        all
    }

    fn parts(major: u32, messages: Vec<Message>) -> Result<(Vec<Part>, bool), PgError> {
        let (mut parts, mut found) = (Parts::new(major), Vec::new());
        for message in messages {
            parts.take(message)?;
            found.extend(std::iter::from_fn(|| parts.next()));
        }
        Ok((found, parts.is_whole()))
    }

    #[test]
    fn both_grammars_give_the_same_parts() {
        let bytes = Bytes::from_static;
        let spaces = vec![Space { oid: 16385, path: "/srv/x".into() }];
        let expected = vec![
            Part::Begin { start: Lsn(0x0200_0028), timeline: 1, spaces },
            Part::Archive(Some(16385)),
            Part::Data(bytes(b"space")),
            Part::Archive(None),
            Part::Data(bytes(b"base")),
            Part::Manifest,
            Part::ManifestData(bytes(b"{}")),
            Part::End { stop: Lsn(0x0200_0100), timeline: 1 },
            Part::Ready,
        ];
        assert_eq!(parts(15, modern()).unwrap(), (expected.clone(), true));
        assert_eq!(parts(18, modern()).unwrap(), (expected.clone(), true));
        assert_eq!(parts(14, old()).unwrap(), (expected, true));
        assert!(command(14).contains("FAST NOWAIT") && command(15).contains("CHECKPOINT 'fast'"));
    }

    #[test]
    fn an_error_ends_it_unless_everything_came() {
        let error = |code: &str| {
            Message::Error(Box::new(ServerError { code: code.into(), ..ServerError::default() }))
        };
        for (major, all) in [(15, modern()), (14, old())] {
            let end = all.len() - 3;
            for at in 0..end {
                let mut some = all[..at].to_vec();
                some.push(error("XX001"));
                assert!(parts(major, some).is_err(), "{at}");
            }
            let mut some = all[..end].to_vec();
            some.extend([error("XX001"), Message::Ready]);
            let (found, whole) = parts(major, some).unwrap();
            assert!(whole && matches!(found[found.len() - 2], Part::Corrupt(_)));
            let mut some = all[..end].to_vec();
            some.push(error("57P01"));
            assert!(parts(major, some).is_err());
        }
    }

    #[test]
    fn what_ends_early_is_not_whole() {
        for (major, all) in [(15, modern()), (14, old())] {
            for at in 0..all.len() - 4 {
                let mut some = all[..at].to_vec();
                some.push(Message::Ready);
                assert!(parts(major, some).is_err(), "{at}");
            }
        }
        let mut missing = modern();
        missing.retain(|message| *message != data(b"n16385.tar\0/srv/x\0") && *message != data(b"dspace"));
        assert!(!parts(15, missing).unwrap().1, "an archive that was announced never came");
    }

    fn any_message() -> impl Strategy<Value = Message> {
        prop_oneof![
            Just(Message::Columns(2)),
            Just(row(&[Some("0/1"), Some("1")])),
            Just(row(&[None, None])),
            Just(row(&[Some("9"), Some("/x"), None])),
            Just(Message::CopyOut),
            Just(Message::CopyDone),
            Just(Message::Ready),
            Just(data(b"nbase.tar\0\0")),
            Just(data(b"n9.tar\0/x\0")),
            Just(data(b"m")),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| data(&bytes)),
        ]
    }

    proptest! {
        #[test]
        fn any_messages_are_taken_or_refused(messages in prop::collection::vec(any_message(), 0..30), major in 13u32..19) {
            let _ = parts(major, messages);
        }
    }
}
