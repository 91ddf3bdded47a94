//! `serve`: policies at their times, for months.
//!
//! What is done when is the scheduler's; here are the files, the processes, the signals and what is said. On purpose
//! not here: who watches it (`watch`).

mod life;
mod watch;

use super::Run;
use crate::args::ServeArgs;
use crate::conducting::{catalog_place, refuse_repository};
use crate::engine::Cancel;
use crate::fault::{Code, Fault};
use crate::hands::OwnHands;
use crate::ink::{Ink, JobLine, ServiceLine, escape};
use crate::settings::{certificates, current_dir, normalise, variable};
use crate::wire_up;
use async_trait::async_trait;
use holdfast_scheduler::catalog::{Catalog, CatalogError, Place, Rebuilt, rebuild};
use holdfast_scheduler::hands::{Answer, Call, Hands};
use holdfast_scheduler::serve::job::Task;
use holdfast_scheduler::serve::policies::{File, Served};
use holdfast_scheduler::serve::shift::Me;
use holdfast_scheduler::serve::told::{JobState, Told};
use holdfast_scheduler::serve::{Halt, Minute, Options, Recalled, Requests, ServeError, Station, serve};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch as signal};
use watch::{Watch, Watchers};

/// The codes of jobs, the one that says most first.
const WORST: [u8; 6] = [1, 20, 22, 21, 23, 3];

/// So long before a claim runs out everything of its job is gone.
const GRACE_MARGIN: Duration = Duration::from_secs(1);
/// So many warnings of a stream wait at most until they are told; meanwhile it waits.
const WARNINGS_WAITING_MAX: usize = 16;
/// So long may repositories take to say what a lost catalog knew.
const RECALL_MAX: Duration = Duration::from_secs(60);

/// Serves policies.
pub(crate) async fn run(run: &Run, args: &ServeArgs) -> Result<(), Fault> {
    refuse_repository(&run.global)?;
    let station = Arc::new(Post::new(run, args).await?);
    let (stop, stopped) = signal::channel(false);
    let look = Arc::new(Notify::new());
    wire_up::listen_for(&run.progress, stop, Arc::clone(&look))?;
    let options = Options {
        me: me(run, args),
        jobs: usize::from(args.jobs),
        term: args.patience,
        once: args.once,
        home: variable("HOME").map(PathBuf::from),
    };
    let requests = Requests { stop: stopped.clone(), look };
    let codes = serve(station, options, requests).await.map_err(refused)?;
    match (args.once, *stopped.borrow()) {
        (true, true) => {
            Err(Fault::new(Code::Interrupted, "interrupted", "run it again: it goes on where it was"))
        }
        (true, false) => finish(&codes),
        (false, _) => Ok(()),
    }
}

fn refused(error: ServeError) -> Fault {
    match error {
        ServeError::NoPolicy { file, why } => {
            let hint =
                format!("see what is wrong with it: holdfast policy check {}", escape(file.as_bytes()));
            Fault::usage(format!("no policy can be read: {why}"), hint)
        }
        ServeError::NoCatalog(_) => {
            Fault::failed(error.to_string(), "see that the catalog can be used, and run it again")
        }
    }
}

/// How what was done once ends for whoever started it.
fn finish(codes: &[u8]) -> Result<(), Fault> {
    let known = WORST.into_iter().find(|code| codes.contains(code));
    let Some(code) = codes.iter().find(|code| !WORST.contains(code)).copied().or(known) else {
        return Ok(());
    };
    let what = format!("{} did not end well", crate::ink::counted(codes.len() as u64, "job", "jobs"));
    Err(Fault::new(Code::of_policy(code), what, "see what is said of each; holdfast status"))
}

/// Who this worker is: no other process ever has the same name.
fn me(run: &Run, args: &ServeArgs) -> Me {
    let host = wire_up::host_name();
    let called = args.worker.clone().unwrap_or_else(|| host.clone());
    let random = u32::from_le_bytes(run.ctx.random());
    let name = format!("{called}:{}:{random:08x}", std::process::id());
    Me { name, host, labels: args.labels.clone() }
}

/// Where a worker stands: what it sees and what it acts through.
struct Post {
    ink: Arc<Ink>,
    begun: Instant,
    hands: OwnHands,
    /// What was named: files and folders.
    named: Vec<PathBuf>,
    /// What was in a folder when it was last seen.
    listed: Mutex<BTreeMap<PathBuf, Vec<PathBuf>>>,
    place: Place,
    /// What every job is told beside its words.
    words: Vec<OsString>,
    /// So long may a job take to stop: it has to be gone before somebody else begins it.
    grace: Duration,
    watch: Watch,
}

impl Post {
    async fn new(run: &Run, args: &ServeArgs) -> Result<Self, Fault> {
        let here = current_dir()?;
        let named: Vec<PathBuf> = args.policies.iter().map(|path| normalise(path, &here)).collect();
        if let Some(missing) = named.iter().find(|path| !path.exists()) {
            let what = format!("there is no policy {}", missing.display());
            return Err(Fault::usage(what, "name a YAML file, or a folder of them"));
        }
        let catalog = args.remembering.catalog.as_deref();
        let place = catalog_place(catalog)?.ok_or_else(|| {
            Fault::usage("nobody says where the catalog is, and there is no HOME", "say it: --catalog PLACE")
        })?;
        let mut words = Vec::new();
        if let Some(catalog) = catalog {
            words.extend([OsString::from("--catalog"), catalog.to_owned()]);
        }
        if let Some(evidence) = &args.remembering.evidence {
            words.extend([OsString::from("--evidence"), evidence.clone().into()]);
        }
        Ok(Self {
            ink: Arc::clone(&run.ink),
            begun: Instant::now(),
            watch: Watch::new(
                &run.ink,
                OwnHands::silent(run),
                Watchers {
                    trusted: certificates(&run.global),
                    address: args.metrics.as_deref(),
                    life: args.heartbeat_file.clone(),
                    once: args.once,
                },
            )
            .await?,
            hands: OwnHands::silent(run),
            named,
            listed: Mutex::default(),
            place,
            words,
            grace: (args.patience / 2).saturating_sub(GRACE_MARGIN.min(args.patience / 8)),
        })
    }

    /// The policies' files of one name: itself, or what is in the folder.
    fn expand(&self, path: &Path) -> Vec<File> {
        let is_known = self.listed.lock().unwrap_or_else(PoisonError::into_inner).contains_key(path);
        // What was a folder is one, also while it cannot be looked at.
        if !is_known && !path.is_dir() {
            return read(path).into_iter().collect();
        }
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        match list(path) {
            Ok(files) => {
                listed.insert(path.to_owned(), files.clone());
                files.iter().filter_map(|file| read(file)).collect()
            }
            // What was there is served as it was.
            Err(error) => {
                let known = listed.get(path).cloned().unwrap_or_default();
                known.into_iter().map(|path| File { path, text: Err(error.to_string()) }).collect()
            }
        }
    }
}

fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_policy = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        // What an editor or a deployment leaves beside them begins with a dot.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_policy && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file as it is now; none if it is not there.
fn read(path: &Path) -> Option<File> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        text => text.map_err(|error| error.to_string()),
    };
    Some(File { path: path.to_owned(), text })
}

/// Lets work go on, and hands on the word to stop.
async fn heeding<T>(work: impl Future<Output = T>, cancel: &Cancel, halt: &Halt) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = halt.raised(), if !cancel.is_raised() => cancel.raise(),
        }
    }
}

#[async_trait]
impl Station for Post {
    fn now(&self) -> Timestamp {
        self.hands.now()
    }

    fn counted(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn files(&self) -> Vec<File> {
        tokio::task::block_in_place(|| {
            let mut files: Vec<File> = self.named.iter().flat_map(|path| self.expand(path)).collect();
            let mut seen = std::collections::BTreeSet::new();
            files.retain(|file| seen.insert(file.path.clone()));
            files
        })
    }

    async fn catalog(&self) -> Result<Catalog, String> {
        Catalog::open(&self.place).await.map_err(|error| error.to_string())
    }

    async fn recall(&self, catalog: &Catalog, served: &Served) -> Result<Recalled, CatalogError> {
        let cancel = Cancel::default();
        let hands = self.hands.clone().of(&served.policy).stopped_by(cancel.clone());
        match tokio::time::timeout(RECALL_MAX, rebuild(catalog, &hands, &[&served.policy])).await {
            Ok(rebuilt) => {
                rebuilt.map(|Rebuilt { policies, gaps, .. }| Recalled { found: !policies.is_empty(), gaps })
            }
            Err(_) => {
                cancel.raise();
                let gap = format!("its repositories did not answer in {} s", RECALL_MAX.as_secs());
                Ok(Recalled { found: false, gaps: vec![gap] })
            }
        }
    }

    async fn carry(&self, task: &Task, halt: &Halt) -> Result<Answer, String> {
        let unknown = || {
            format!("nothing here knows what `{}` is: another version entered it", task.claim.due.activity)
        };
        let mut words = task.words().ok_or_else(unknown)?;
        words.extend(self.words.iter().cloned());
        let cancel = Cancel::default();
        let work = self.hands.job(words, task, (cancel.clone(), self.grace));
        heeding(work, &cancel, halt).await
    }

    async fn stream(&self, task: &Task, call: &Call, halt: &Halt) -> Result<Answer, String> {
        let (cancel, due) = (Cancel::default(), &task.claim.due);
        let (warns, mut warned) = mpsc::channel::<String>(WARNINGS_WAITING_MAX);
        let source = due.source.as_deref().unwrap_or_default();
        let tells = async {
            while let Some(warning) = warned.recv().await {
                self.say(&Told::stream_warns(&due.policy, source, &warning));
            }
        };
        let streams = self.hands.stream(call, task, (cancel.clone(), self.grace), warns);
        let (answer, ()) = tokio::join!(heeding(streams, &cancel, halt), tells);
        answer
    }

    fn say(&self, told: &Told) {
        self.watch.hears(told);
        if self.ink.tone.json {
            return match told {
                Told::Job(told) => self.ink.json_now(&JobLine::from(&**told)),
                Told::Service(told) => self.ink.json_now(&ServiceLine::from(told)),
            };
        }
        let bad = match told {
            Told::Job(told) => matches!(told.state, JobState::Failed | JobState::Lost | JobState::TakenBack),
            Told::Service(told) => told.what.is_bad(),
        };
        let text = escape(told.to_string().as_bytes());
        if bad { self.ink.warn(&text) } else { self.ink.talk(&text) }
    }

    fn ready(&self, is_ready: bool) {
        self.watch.ready(is_ready);
    }

    fn alive(&self) {
        self.watch.alive();
    }

    fn stopping(&self) {
        self.watch.stopping();
    }

    async fn minute(&self, minute: Minute) {
        self.watch.minute(&minute).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn the_code_that_says_most_is_the_one() {
        let code = |codes: &[u8]| finish(codes).err().map(|fault| fault.code.number());
        assert_eq!(code(&[]), None);
        assert_eq!(code(&[3]), Some(3));
        assert_eq!(code(&[3, 23, 20]), Some(20));
        assert_eq!(code(&[20, 1]), Some(1));
        assert_eq!(code(&[20, 12]), Some(12));
    }

    #[test]
    fn policies_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".c.yaml", "d.txt", "e.yaml~"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(dir.path().join("f.yaml")).unwrap();
        let names: Vec<_> =
            list(dir.path()).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.yml", "b.yaml"]);
        assert!(read(&dir.path().join("gone.yaml")).is_none());
    }
}
