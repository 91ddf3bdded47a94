//! Writes a file of a snapshot, or a folder as an archive, into one stream.
//!
//! One side lists entries and fetches their chunks ahead, each once as long as it is near; the
//! other encodes and writes. Each chunk is verified when it is opened, each file when it ends. A
//! stream cannot be taken back, so it ends at the first damage, and an archive then ends in a way
//! that no reader takes for a whole one. On purpose not here: where the stream goes.

mod contents;
mod tar;
mod zip;

use crate::backup::ContentHasher;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Notice, NoticeKind, Outcome, Problem, ProblemKind, Problems};
use crate::paths::Scope;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::{RestoreOptions, Selected, VersionChoice};
use crate::snapshots::Snapshot;
use contents::{Manner, Op, produce};
use holdfast_core::configuration::{CONFIGURATION_KEY, CONFIGURATION_SHOWN};
use holdfast_core::entry::{Entry, Kind};
use std::io::Write;
use std::ops::ControlFlow;
use tokio::sync::mpsc::{Receiver, channel};
use zip::Zip;

/// Messages between the two sides; each holds about 1 MiB of content.
const MESSAGES_AHEAD: usize = 2;
/// Encoded bytes are handed on in such pieces.
const WRITE_BYTES: usize = 256 << 10;

/// Takes the stream; it may block.
pub type Outlet = Box<dyn Write + Send>;

/// Form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// POSIX.1-2001 (pax).
    Tar,
    /// PKZIP, with zip64 where it is needed.
    Zip,
}

/// Tells from its extended attributes why a file's content was not kept, if it was not.
pub type Lacking = fn(&[(Vec<u8>, Vec<u8>)]) -> Option<String>;

/// What is written, and how.
#[derive(Debug, Clone, Default)]
pub struct DumpOptions {
    /// Path in the snapshot; empty for everything.
    pub path: Vec<u8>,
    /// Which versions, where a snapshot has all of them.
    pub versions: VersionChoice,
    /// An archive also of a single file. Without it a file is written as it is, and a folder as tar.
    pub archive: Option<ArchiveFormat>,
    /// What was kept without its content is no empty file: an archive does without it.
    pub lacking: Option<Lacking>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, devices, pipes.
    pub others: u64,
    /// Content in bytes, holes included.
    pub bytes: u64,
    /// Bytes of the stream.
    pub bytes_written: u64,
    /// The form, if it is an archive.
    pub archive: Option<ArchiveFormat>,
}

/// Writes what lies at a path. What the form cannot hold is left out and named in a notice.
///
/// # Errors
/// The path does not exist, something is damaged, the outlet failed, or the run was asked to
/// stop. What was written until then is not whole.
pub async fn dump(
    ctx: &Ctx,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &DumpOptions,
    outlet: Outlet,
) -> Result<Outcome<DumpReport>> {
    let reader = Reader::new(repository, repository.view().await?)?;
    repository.require_signed(snapshot).await?;
    let selection = RestoreOptions {
        path: options.path.clone(),
        versions: options.versions.clone(),
        // Beside objects, whose names may be any, it can have none in an archive.
        objects_only: options.path != CONFIGURATION_SHOWN.as_bytes(),
        ..RestoreOptions::default()
    };
    let mut selected = Selected::new(&reader, snapshot, &selection);
    let first = selected.next().await;
    contents::refuse_damage(&selected)?;
    let mut alone = first.as_ref().is_some_and(|entry| is_at(entry, &selected.scope));
    if first.as_ref().is_some_and(|entry| stands_for_a_folder(entry, &selected.scope)) {
        // Of a bucket: an object with the very name, slash included, and perhaps more below it.
        let next = selected.next().await;
        contents::refuse_damage(&selected)?;
        alone = next.is_none();
        next.into_iter().for_each(|next| selected.give_back(next));
    }
    let single = first.as_ref().filter(|_| alone);
    let form = form_of(single, options)?;
    if first.is_none() && !selected.found {
        return Err(selected.absent(snapshot));
    }
    let mut scribe = Scribe::new(form, outlet);
    let (sender, receiver) = channel(MESSAGES_AHEAD);
    let as_links = matches!(scribe.form, Form::Tar);
    let manner = Manner { as_links, lacking: options.lacking };
    let (produced, written) = futures::join!(
        produce(ctx, &reader, &mut selected, first, &manner, sender),
        write(ctx, &mut scribe, receiver)
    );
    match written.and(produced) {
        Ok(()) => {}
        Err(error) if error.kind == ErrorKind::Target => return Err(error),
        Err(error) => {
            // Why it ends is told; that nothing more can be said to the reader is nothing new.
            let _ = on_thread(ctx, &mut scribe, Scribe::spoil).await;
            return Err(error);
        }
    }
    on_thread(ctx, &mut scribe, Scribe::finish).await?;
    Ok(Outcome { value: scribe.report, problems: scribe.problems })
}

/// Whether an entry is itself what was asked for, and no folder.
fn is_at(entry: &Entry, scope: &Scope) -> bool {
    entry.kind != Kind::Directory && entry.key == scope.key()
}

/// Whether an object of a bucket has the path's name, which ends with a slash.
fn stands_for_a_folder(entry: &Entry, scope: &Scope) -> bool {
    scope.is_opaque() && !scope.is_everything() && entry.key.ends_with(b"/") && entry.key == scope.from()
}

fn form_of(single: Option<&Entry>, options: &DumpOptions) -> Result<Form> {
    match (options.archive, single.map(|entry| entry.kind)) {
        (Some(ArchiveFormat::Zip), _) => Ok(Form::Zip(Box::default())),
        (Some(ArchiveFormat::Tar), _) | (None, None) => Ok(Form::Tar),
        (None, Some(Kind::File)) => Ok(Form::Plain),
        (None, Some(_)) => {
            let path = String::from_utf8_lossy(&options.path).into_owned();
            let what = format!("{path} is neither a file nor a folder; an archive can hold it");
            Err(Error::new(ErrorKind::Usage, what))
        }
    }
}

/// Takes what the other side gives until it ends.
async fn write(ctx: &Ctx, scribe: &mut Scribe, mut receiver: Receiver<Vec<Op>>) -> Result<()> {
    while let Some(ops) = receiver.recv().await {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let (files, bytes) = (scribe.report.files, scribe.report.bytes);
        on_thread(ctx, scribe, move |scribe| scribe.carry_out(ops)).await?;
        let (files, bytes) = (scribe.report.files - files, scribe.report.bytes - bytes);
        ctx.monitor.on(&Event::Done { files, bytes });
    }
    Ok(())
}

/// Lends the scribe to a thread that may block.
async fn on_thread(
    ctx: &Ctx,
    scribe: &mut Scribe,
    job: impl FnOnce(&mut Scribe) -> Result<()> + Send + 'static,
) -> Result<()> {
    let mut lent = std::mem::replace(scribe, Scribe::new(Form::Plain, Box::new(std::io::sink())));
    let (back, result) = ctx
        .workers
        .run_long(move || {
            let result = job(&mut lent);
            (lent, result)
        })
        .await;
    *scribe = back;
    result
}

/// In an archive of its own the configuration of a bucket has a plain name.
fn named(mut entry: Box<Entry>) -> Box<Entry> {
    if entry.key == CONFIGURATION_KEY {
        entry.key.remove(0);
    }
    entry
}

enum Form {
    Plain,
    Tar,
    Zip(Box<Zip>),
}

/// Encodes, verifies and writes.
struct Scribe {
    form: Form,
    outlet: Outlet,
    buffer: Vec<u8>,
    /// The file that is being written.
    current: Option<Current>,
    report: DumpReport,
    problems: Problems,
}

struct Current {
    entry: Box<Entry>,
    /// Its path in the snapshot.
    path: Vec<u8>,
    hasher: ContentHasher,
    bytes: u64,
}

impl Scribe {
    fn new(form: Form, outlet: Outlet) -> Self {
        let archive = match form {
            Form::Plain => None,
            Form::Tar => Some(ArchiveFormat::Tar),
            Form::Zip(_) => Some(ArchiveFormat::Zip),
        };
        let report = DumpReport { archive, ..DumpReport::default() };
        Self { form, outlet, buffer: Vec::new(), current: None, report, problems: Problems::default() }
    }

    fn carry_out(&mut self, ops: Vec<Op>) -> Result<()> {
        for op in ops {
            match op {
                Op::Begin(entry, path) => self.begin(entry, path),
                Op::Link(entry, target) => self.link(&entry, &target),
                Op::Data(bytes, range) => self.data(&bytes[range])?,
                Op::Hole(length) => self.hole(length)?,
                Op::End => self.end()?,
                Op::Lacking(path, what) => self.lacking(path, what)?,
            }
            self.flush(WRITE_BYTES)?;
        }
        self.flush(1)
    }

    fn begin(&mut self, entry: Box<Entry>, path: Vec<u8>) {
        let nameless = entry.kind == Kind::File && entry.key.is_empty();
        let entry = named(entry);
        let begun = match &mut self.form {
            Form::Tar | Form::Zip(_) if nameless => {
                ControlFlow::Break("it stands for the folder that was asked for, which has no name there")
            }
            Form::Plain => ControlFlow::Continue(()),
            Form::Tar => tar::begin(&entry, None, &mut self.buffer),
            Form::Zip(zip) => zip.begin(&entry, &mut self.buffer),
        };
        match begun {
            ControlFlow::Continue(()) => {
                self.count(&entry);
                self.current = Some(Current { entry, path, hasher: ContentHasher::default(), bytes: 0 });
            }
            ControlFlow::Break(what) => {
                let what = what.to_owned();
                self.problems.notice(Notice { path, kind: NoticeKind::LeftOut, what });
            }
        }
    }

    fn link(&mut self, entry: &Entry, target: &[u8]) {
        if let Form::Tar = &self.form {
            // A hard link is of a kind that the form had room for.
            let _ = tar::begin(entry, Some(target), &mut self.buffer);
        }
        self.count(entry);
    }

    fn lacking(&mut self, path: Vec<u8>, what: String) -> Result<()> {
        if let Form::Plain = &self.form {
            let path = String::from_utf8_lossy(&path).into_owned();
            return Err(Error::new(ErrorKind::NotFound, format!("{path}: {what}")));
        }
        self.problems.problem(Problem { path, kind: ProblemKind::Refused, what });
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File => self.report.files += 1,
            Kind::Directory => self.report.directories += 1,
            _ => self.report.others += 1,
        }
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.hasher.data(bytes);
        self.put(bytes)
    }

    fn hole(&mut self, mut length: u64) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let Some(current) = &mut self.current else { return Ok(()) };
        current.hasher.hole(length);
        while length > 0 {
            let part = length.min(ZEROS.len() as u64);
            self.put(&ZEROS[..part as usize])?;
            self.flush(WRITE_BYTES)?;
            length -= part;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(current) = &mut self.current {
            current.bytes += bytes.len() as u64;
            self.report.bytes += bytes.len() as u64;
        }
        match &mut self.form {
            Form::Plain | Form::Tar => self.buffer.extend_from_slice(bytes),
            Form::Zip(zip) => zip.data(bytes, &mut self.buffer).map_err(|error| failed(error.into()))?,
        }
        Ok(())
    }

    /// Ends an entry: what was written has to be what was recorded.
    fn end(&mut self) -> Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let entry = &current.entry;
        if entry.kind == Kind::File
            && (current.bytes != entry.size || Some(current.hasher.finish()) != entry.digest)
        {
            let path = String::from_utf8_lossy(&current.path).into_owned();
            let what = format!("what came out of the repository is not what was recorded of {path}");
            return Err(Error::new(ErrorKind::Damaged, what));
        }
        match &mut self.form {
            Form::Plain => Ok(()),
            Form::Tar => {
                tar::pad(current.bytes, &mut self.buffer);
                Ok(())
            }
            Form::Zip(zip) => zip.end(current.bytes, &mut self.buffer).map_err(|error| failed(error.into())),
        }
    }

    fn finish(&mut self) -> Result<()> {
        match &mut self.form {
            Form::Plain => {}
            Form::Tar => tar::finish(self.report.bytes_written, &mut self.buffer),
            Form::Zip(zip) => zip.finish(&mut self.buffer),
        }
        self.flush(1)?;
        self.outlet.flush().map_err(|error| failed(error.into()))
    }

    /// Makes an archive that ends early unreadable from here on.
    fn spoil(&mut self) -> Result<()> {
        if let Form::Tar = self.form {
            let missing = self.current.as_ref().map_or(0, |current| current.entry.size - current.bytes);
            tar::spoil(self.report.bytes_written, missing, &mut self.buffer);
        }
        self.flush(1)?;
        self.outlet.flush().map_err(|error| failed(error.into()))
    }

    /// Writes what is encoded, if it is enough.
    fn flush(&mut self, least: usize) -> Result<()> {
        if self.buffer.len() < least {
            return Ok(());
        }
        self.outlet.write_all(&self.buffer).map_err(|error| failed(error.into()))?;
        self.report.bytes_written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn failed(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error { kind: ErrorKind::Target, what: "the output could not be written".into(), source: Some(source) }
}
