//! The run itself: files by one connection, the log by another, at once; whole only if both are.
//!
//! One task does both, so that the end of one is the end of the other. On purpose not here: what
//! the engine does with the files.

use crate::backup::{Part, Parts, command};
use crate::batch::Owed;
use crate::error::{PgError, ServerError};
use crate::facts::{Record, ServerFacts, Space};
use crate::gather::{Delivery, Gather, Named, Out, nobody};
use crate::look::{KEPT_CONFIG, Kept};
use crate::lsn::Lsn;
use crate::manifest::{Files, Manifest, ManifestError, Stated};
use crate::tar::{Found, Member, MemberKind, Tar, TarError};
use crate::wal::{self, Start};
use crate::wire::Connection;
use bytes::Bytes;
use holdfast_core::entry::{Owner, Time};
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::sync::oneshot;

/// A server that sends nothing for so long is gone. It may be at a checkpoint before it begins.
const SILENCE: Duration = Duration::from_secs(1800);
/// What is kept beside the files goes through a pipe in such pieces.
const PIECE_BYTES: usize = 32 << 10;

impl From<TarError> for PgError {
    fn from(error: TarError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<ManifestError> for PgError {
    fn from(error: ManifestError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// All that a run needs.
pub(crate) struct Capture {
    pub files: Connection,
    pub log: Connection,
    pub plan: wal::Plan,
    /// What is kept beside the files of the cluster.
    pub kept: Vec<Kept>,
    pub out: Sender<Delivery>,
    /// For the log, whose server must be answered in time, however long the rest takes.
    pub log_out: UnboundedSender<Delivery>,
    pub owed: Owed,
}

/// Runs it, and tells of its failure.
pub(crate) async fn run(capture: Capture) -> Option<Record> {
    let out = capture.out.clone();
    match both(capture).await {
        Ok(record) => Some(record),
        Err(error) => {
            // If nobody listens the run has ended for another reason.
            let _ = out.send(Err(error)).await;
            None
        }
    }
}

async fn both(capture: Capture) -> Result<Record, PgError> {
    let Capture { mut files, mut log, plan, kept, out, log_out, owed } = capture;
    let (start_is, start) = oneshot::channel();
    let (stop_is, stop) = oneshot::channel();
    let mut base = Base {
        facts: &plan.facts,
        gather: Gather::new(Out::Waiting(out), owed.clone()),
        seen: Files::default(),
        kept,
        start_is: Some(start_is),
        stop_is: Some(stop_is),
        begun: None,
        owner: None,
        stop: None,
        now: plan.clock.now(),
    };
    let mut gather = Gather::new(Out::Never(log_out), owed);
    let log_side = async {
        // Whoever would have told us has failed, and tells why.
        let Ok(start) = start.await else { return std::future::pending().await };
        wal::receive(&mut log, &plan, &start, stop, &mut gather).await
    };
    let record = tokio::try_join!(base.run(&mut files), log_side).map(|(record, ())| record)?;
    files.close().await;
    log.close().await;
    Ok(record)
}

/// The files of the cluster.
struct Base<'a> {
    facts: &'a ServerFacts,
    gather: Gather,
    seen: Files,
    kept: Vec<Kept>,
    /// Who waits for the start, and for the stop.
    start_is: Option<oneshot::Sender<Start>>,
    stop_is: Option<oneshot::Sender<Lsn>>,
    begun: Option<(Lsn, u32, Vec<Space>)>,
    /// Whose the first file was.
    owner: Option<Arc<Owner>>,
    stop: Option<Lsn>,
    now: Time,
}

/// An archive that comes in.
struct Archive {
    tar: Tar,
    /// What goes before the paths of its members.
    prefix: Vec<u8>,
    /// That is a folder, which is still to be given.
    has_folder: bool,
    file: Option<Incoming>,
}

/// A file that comes in.
struct Incoming {
    path: Vec<u8>,
    size: u64,
    hash: Sha256,
    body: Body,
}

enum Body {
    /// All of it is kept until it is whole.
    Small(Named, Vec<u8>),
    Piped(Sender<Bytes>),
}

/// The manifest that comes in, and the pipe that it goes into.
struct Listing {
    manifest: Manifest,
    pipe: Sender<Bytes>,
}

impl Base<'_> {
    async fn run(&mut self, connection: &mut Connection) -> Result<Record, PgError> {
        connection.command(&command(self.facts.major())).await?;
        let mut parts = Parts::new(self.facts.major());
        let (mut archive, mut listing, mut stated): (Option<Archive>, Option<Listing>, _) =
            (None, None, None);
        let mut corrupt = None;
        loop {
            let Some(part) = parts.next() else {
                parts.take(connection.receive(SILENCE).await?)?;
                continue;
            };
            match part {
                Part::Begin { start, timeline, spaces } => self.begun = Some((start, timeline, spaces)),
                Part::Archive(space) => {
                    finish_archive(archive.take())?;
                    archive = Some(Self::archive(space));
                }
                Part::Data(bytes) => match &mut archive {
                    Some(archive) => self.data(archive, bytes).await?,
                    None => return Err(PgError::protocol("bytes of no archive")),
                },
                Part::Manifest => {
                    finish_archive(archive.take())?;
                    listing = Some(self.listing().await?);
                }
                Part::ManifestData(bytes) => match &mut listing {
                    Some(Listing { manifest, pipe }) => {
                        manifest.take(&bytes)?;
                        pipe.send(bytes).await.map_err(|_| nobody())?;
                    }
                    None => return Err(PgError::protocol("bytes of no manifest")),
                },
                Part::End { stop, timeline } => {
                    if let Some(listing) = listing.take() {
                        stated = Some(listing.manifest.finish()?);
                    }
                    self.stop(stop, timeline, stated.as_ref())?;
                }
                Part::Corrupt(error) => corrupt = Some(error),
                Part::Ready => break,
            }
        }
        if !parts.is_whole() {
            return Err(PgError::protocol("not all that the server announced came; nothing was backed up"));
        }
        self.warnings(connection.take_notices(), corrupt);
        let keeps_config = self.keep().await?;
        self.gather.flush().await?;
        self.record(keeps_config)
    }

    fn archive(space: Option<u32>) -> Archive {
        let prefix = space.map(|oid| format!("pg_tblspc/{oid}").into_bytes()).unwrap_or_default();
        Archive { tar: Tar::new(), prefix, has_folder: space.is_some(), file: None }
    }

    async fn data(&mut self, archive: &mut Archive, mut bytes: Bytes) -> Result<(), PgError> {
        while let Some(found) = archive.tar.next(&mut bytes)? {
            match found {
                Found::Member(member) => archive.file = self.member(archive, member).await?,
                Found::Content(bytes) => match &mut archive.file {
                    Some(file) => file.take(bytes).await?,
                    None => return Err(PgError::protocol("content of no file")),
                },
                Found::End => {
                    if let Some(file) = archive.file.take() {
                        self.file_ends(file).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A member begins; what it needs if it is a file.
    async fn member(&mut self, archive: &mut Archive, member: Member) -> Result<Option<Incoming>, PgError> {
        let owner = Arc::new(Owner { uid: member.uid, gid: member.gid, ..Owner::default() });
        self.owner.get_or_insert_with(|| Arc::clone(&owner));
        self.tell_start(&owner);
        if std::mem::take(&mut archive.has_folder) {
            let path = archive.prefix.clone();
            let (mode, owner) = (self.facts.mode, Arc::clone(&owner));
            self.gather.folder(&Named { path, mode, owner, mtime: self.now }).await?;
        }
        let mtime = Time { seconds: member.mtime, nanos: 0 };
        if archive.prefix.is_empty() && is_kept_config(&member.path) {
            // What somebody put there goes before what we would put there.
            self.kept.clear();
        }
        let path = match &archive.prefix[..] {
            b"" => member.path,
            prefix => [prefix, b"/", &member.path].concat(),
        };
        let named = Named { path: path.clone(), mode: member.mode, owner, mtime };
        let size = member.size;
        let body = match member.kind {
            MemberKind::Directory => return self.gather.folder(&named).await.map(|()| None),
            MemberKind::Link(target) => return self.gather.link(&named, target).await.map(|()| None),
            MemberKind::File if Gather::is_small(size) => {
                Body::Small(named, Vec::with_capacity(size as usize))
            }
            MemberKind::File => Body::Piped(self.gather.piped(&named, Some(size)).await?),
        };
        Ok(Some(Incoming { path, size, hash: Sha256::new(), body }))
    }

    /// The log may begin now: its files look like the first one that came.
    fn tell_start(&mut self, owner: &Arc<Owner>) {
        if let Some((lsn, timeline, _)) = self.begun
            && let Some(start_is) = self.start_is.take()
        {
            // If nobody hears it, the log has failed, and tells why.
            let _ = start_is.send(Start { lsn, timeline, owner: Arc::clone(owner) });
        }
    }

    async fn file_ends(&mut self, file: Incoming) -> Result<(), PgError> {
        let sum = file.hash.finalize().into();
        self.seen.note(&file.path, file.size, &sum)?;
        match file.body {
            Body::Small(named, content) => self.gather.small(&named, content).await,
            // Its pipe ends with this.
            Body::Piped(_) => Ok(()),
        }
    }

    /// The manifest is kept as a file too, for whoever checks a restored cluster by it.
    async fn listing(&mut self) -> Result<Listing, PgError> {
        let owner = self.owner.clone().ok_or_else(|| PgError::protocol("a backup without files"))?;
        let mode = self.facts.file_mode();
        let named = Named { path: b"backup_manifest".to_vec(), mode, owner, mtime: self.now };
        let pipe = self.gather.piped(&named, None).await?;
        Ok(Listing { manifest: Manifest::new(std::mem::take(&mut self.seen)), pipe })
    }

    fn stop(&mut self, stop: Lsn, timeline: u32, stated: Option<&Stated>) -> Result<(), PgError> {
        let stated = stated.ok_or_else(|| PgError::protocol("a backup without a manifest"))?;
        let begun = self.begun.as_ref().map(|(start, timeline, _)| (*start, *timeline));
        let (start, first) = begun.ok_or_else(|| PgError::protocol("a backup without a beginning"))?;
        if timeline != first || first != self.facts.timeline {
            let what = "the timeline changed during the backup; nothing was backed up, run it again";
            return Err(PgError::Refused(what.to_owned()));
        }
        let agrees = |range: &crate::manifest::Range| {
            range.timeline == timeline && range.start == start && range.end == stop
        };
        if stop < start || !stated.ranges.iter().any(agrees) {
            return Err(PgError::protocol("the manifest needs another range of the log than was stated"));
        }
        if stated.system.is_some_and(|system| system != self.facts.system) {
            return Err(PgError::protocol("the manifest is of another cluster"));
        }
        self.stop = Some(stop);
        if let Some(stop_is) = self.stop_is.take() {
            // As above.
            let _ = stop_is.send(stop);
        }
        Ok(())
    }

    /// What the server warned of is told; broken pages make the snapshot incomplete.
    fn warnings(&mut self, notices: Vec<ServerError>, corrupt: Option<Box<ServerError>>) {
        let warnings = notices.into_iter().filter(|notice| notice.severity == "WARNING");
        for warning in warnings {
            let path = broken_file(&warning.message);
            let what = warning.message;
            if corrupt.is_some() {
                let what = format!("stored as it is, and the server says: {what}");
                self.gather.problem(Problem { path, kind: ProblemKind::Unreadable, what });
            } else {
                self.gather.notice(Notice { path, kind: NoticeKind::Other, what });
            }
        }
        if let Some(error) = corrupt {
            let what = format!("the cluster has broken pages, and the backup has them too: {error}");
            self.gather.problem(Problem { path: b"/".to_vec(), kind: ProblemKind::Unreadable, what });
        }
    }

    /// Gives what is kept beside the files; whether there is any.
    async fn keep(&mut self) -> Result<bool, PgError> {
        let (Some(owner), mode) = (self.owner.clone(), self.facts.file_mode()) else { return Ok(false) };
        let (folder_mode, mtime) = (self.facts.mode, self.now);
        let named = |path: &[u8], mode| {
            let (path, owner) = (path.to_vec(), Arc::clone(&owner));
            Named { path, mode, owner, mtime }
        };
        let mut folders = BTreeSet::new();
        let kept = std::mem::take(&mut self.kept);
        for Kept { path, .. } in &kept {
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            folders.extend(ends.map(|at| path[..at].to_vec()));
        }
        for folder in &folders {
            self.gather.folder(&named(folder, folder_mode)).await?;
        }
        for Kept { path, content } in &kept {
            let named = named(path, mode);
            if Gather::is_small(content.len() as u64) {
                self.gather.small(&named, content.clone()).await?;
                continue;
            }
            let pipe = self.gather.piped(&named, Some(content.len() as u64)).await?;
            for piece in content.chunks(PIECE_BYTES) {
                pipe.send(Bytes::copy_from_slice(piece)).await.map_err(|_| nobody())?;
            }
        }
        Ok(!kept.is_empty())
    }

    fn record(&mut self, keeps_config: bool) -> Result<Record, PgError> {
        match (self.begun.take(), self.stop) {
            (Some((start, _, spaces)), Some(stop)) => {
                Ok(Record { keeps_config, ..Record::new(self.facts, start, stop, spaces) })
            }
            _ => Err(PgError::protocol("the backup never ended")),
        }
    }
}

/// Whether a member lies where configuration is kept.
fn is_kept_config(path: &[u8]) -> bool {
    let rest = path.strip_prefix(KEPT_CONFIG.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The file that a warning is about, as a path; servers name it `"./base/5/1234"`.
fn broken_file(message: &str) -> Vec<u8> {
    let named = message.split('"').nth(1).and_then(|name| name.strip_prefix('.'));
    named.filter(|name| name.starts_with('/')).unwrap_or("/").as_bytes().to_vec()
}

fn finish_archive(archive: Option<Archive>) -> Result<(), PgError> {
    match archive {
        Some(archive) if archive.file.is_some() => Err(PgError::protocol("an archive that ends in a file")),
        Some(archive) => Ok(archive.tar.finish()?),
        None => Ok(()),
    }
}

impl Incoming {
    async fn take(&mut self, bytes: Bytes) -> Result<(), PgError> {
        self.hash.update(&bytes);
        match &mut self.body {
            Body::Small(_, content) => content.extend_from_slice(&bytes),
            Body::Piped(pipe) => pipe.send(bytes).await.map_err(|_| nobody())?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_its_file() {
        let warning =
            "checksum verification failed in file \"./base/5/1234\", block 3: calculated 1 but expected 2";
        assert_eq!(broken_file(warning), b"/base/5/1234");
        for other in ["aborting backup", "a \"quoted\" word", "\""] {
            assert_eq!(broken_file(other), b"/", "{other}");
        }
    }
}
