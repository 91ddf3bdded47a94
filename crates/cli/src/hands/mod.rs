//! What acts for the scheduler: verbs of this very program and programs of the user's, each in a
//! process of its own; the clock; and what is said of it all.
//!
//! On purpose not here: what is done, in which order, and what follows from it.

mod bucket;
mod child;
mod cluster;
mod dumps;
mod environment;
mod job;
pub(crate) mod leash;
mod post;
mod record;

pub(crate) use job::POLICY_TEXT;
pub(crate) use leash::drill;
pub(crate) use post::OwnPost;

use crate::args::Global;
use crate::commands::Run;
use crate::engine::{Cancel, Ctx, Event, Monitor};
use crate::fault::Fault;
use crate::ink::{Ink, Progress, StepLine, Tone, escape};
use crate::secrets::Bytes;
use crate::secrets::handed::frame;
use crate::wire_up::{self, Reach};
use async_trait::async_trait;
use child::{Kept, Rules, Stream};
use environment::Ours;
use holdfast_scheduler::hands::{Answer, Call, Cluster, ClusterProof, Ended, Hands, Place, Program, Said};
use holdfast_scheduler::policy::Policy;
use holdfast_scheduler::policy::place::with_profile;
use holdfast_scheduler::policy::secret::Credentials;
use jiff::Timestamp;
use leash::WITHIN_DRILL;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// So many lines of a verb's output are kept; one that says more has failed.
const LINES_MAX: usize = 1_000_000;
/// So many lines of its error stream, of those first and of those last.
const PROBLEMS_MAX: (usize, usize) = (5_000, 50);
/// So many lines of what a program says, at its end.
const SAID_MAX: usize = 5;
/// So long may a verb take to stop at a safe place.
const VERB_GRACE: Duration = Duration::from_secs(40);
/// So long may a program of the user's.
const PROGRAM_GRACE: Duration = Duration::from_secs(10);

/// Acts for the scheduler.
#[derive(Clone)]
pub(crate) struct OwnHands {
    ink: Arc<Ink>,
    progress: Arc<Progress>,
    ctx: Ctx,
    reach: Reach,
    /// This program.
    program: PathBuf,
    /// What every verb is told beside its words.
    globals: Vec<OsString>,
    cache: Option<PathBuf>,
    /// What is around us.
    ours: Ours,
}

impl OwnHands {
    /// Acts as this run was asked to.
    pub(crate) fn new(run: &Run) -> Self {
        Self {
            ink: Arc::clone(&run.ink),
            progress: Arc::clone(&run.progress),
            ctx: run.ctx.clone(),
            reach: run.reach.clone(),
            // Also if another version took its place meanwhile: it is this one that was started.
            program: PathBuf::from("/proc/self/exe"),
            globals: globals(&run.global),
            cache: run.ctx.cache.clone(),
            ours: Ours { variables: environment::around(), taken: BTreeSet::new(), reach: run.reach.clone() },
        }
    }

    /// The same for a policy: no program of the person's finds what it takes its secrets from.
    pub(crate) fn of(mut self, policy: &Policy) -> Self {
        self.ours.taken.extend(policy.secret_variables().into_iter().map(OsString::from));
        self
    }

    /// The same, stopped by another word than ours.
    pub(crate) fn stopped_by(mut self, cancel: Cancel) -> Self {
        self.ctx.cancel = cancel;
        self
    }

    /// The same, but nobody is told how far a verb is: what is asked for is short.
    pub(crate) fn silent(run: &Run) -> Self {
        let ink = Arc::new(Ink::new(Tone { quiet: true, ..run.ink.tone }));
        Self { progress: Arc::new(Progress::new(Arc::clone(&ink))), ink, ..Self::new(run) }
    }

    /// The names of the buckets that an account has.
    pub(crate) async fn buckets(
        &self,
        address: &wire_up::Address,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>, Fault> {
        bucket::names(self, address, credentials).await
    }

    /// A verb, ready to be started, and what it is handed then.
    fn verb_command(&self, call: &Call) -> Result<(Command, Bytes), String> {
        let (mut variables, mut handed) = environment::of_verb(call, &self.ours)?;
        let mut command = Command::new(&self.program);
        command.arg("--json").args(&self.globals);
        // A restore that has nothing but the repository has no cache either.
        match self.cache.as_ref().filter(|_| !call.bare) {
            Some(cache) => _ = variables.insert("HOLDFAST_CACHE_DIR".into(), cache.into()),
            None => _ = command.arg("--no-cache"),
        }
        if let Some(begun) = &call.within {
            handed.insert(WITHIN_DRILL.to_owned(), leash::within(&begun.record, &begun.token));
        }
        variables.insert(leash::LEASH.into(), std::process::id().to_string().into());
        command.args(words(call)).env_clear().envs(variables);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok((command, frame(&handed)))
    }
}

/// The words of a call; the URL of a bucket with the profile that opens it.
fn words(call: &Call) -> Vec<OsString> {
    let credentials = call.source.as_ref().or(call.target.as_ref());
    let word = |word: &OsString| match word.to_str() {
        Some(text) => with_profile(text, credentials).into(),
        None => word.clone(),
    };
    call.words.iter().map(word).collect()
}

/// The options that were given to us and are for every verb.
fn globals(global: &Global) -> Vec<OsString> {
    let Global { limit_upload, limit_download, read_concurrency, stuck_timeout, cacert, quiet, .. } = global;
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |name: &str, value: OsString| words.extend([OsString::from(name), value]);
    if let Some(rate) = limit_upload {
        add("--limit-upload", format!("{rate}B").into());
    }
    if let Some(rate) = limit_download {
        add("--limit-download", format!("{rate}B").into());
    }
    if let Some(number) = read_concurrency {
        add("--read-concurrency", number.to_string().into());
    }
    if let Some(path) = cacert {
        add("--cacert", path.into());
    }
    add("--stuck-timeout", format!("{}s", stuck_timeout.as_secs()).into());
    if *quiet {
        words.push("--quiet".into());
    }
    words
}

/// What a verb says, as it says it.
struct Ear {
    lines: Kept<Value>,
    problems: Kept<Value>,
    progress: Arc<Progress>,
    seen: Seen,
    /// Whether all that is said has to be kept.
    whole: bool,
    /// Who hears of warnings as they come.
    warns: Option<mpsc::Sender<String>>,
}

/// What was told of how far a verb is, to be told on.
#[derive(Default)]
struct Seen {
    files: u64,
    bytes: u64,
    stored: u64,
    phase: String,
}

impl Ear {
    fn new(progress: Arc<Progress>) -> Self {
        let problems = Kept::new(PROBLEMS_MAX.0, PROBLEMS_MAX.1);
        Self {
            lines: Kept::new(LINES_MAX, 0),
            problems,
            progress,
            seen: Seen::default(),
            whole: true,
            warns: None,
        }
    }

    fn hear(&mut self, stream: Stream, line: &[u8]) {
        let parsed = serde_json::from_slice::<Value>(line).ok().filter(Value::is_object);
        match (stream, parsed) {
            (Stream::Out, Some(line)) if line["message_type"] == "status" => self.status(&line),
            (Stream::Out, Some(line)) => self.lines.push(line),
            (Stream::Err, Some(line)) => {
                self.warn(&line);
                self.problems.push(line);
            }
            (_, None) if line.trim_ascii().is_empty() => {}
            // What a verb does not say as JSON it did not mean to say.
            (_, None) => self.problems.push(json!({ "message_type": "text", "message": escape(line) })),
        }
    }

    /// Tells a warning on. Whoever was to hear it may have gone.
    fn warn(&self, line: &Value) {
        if let (Some(warns), "warning", Some(text)) =
            (&self.warns, line["message_type"].as_str().unwrap_or_default(), line["message"].as_str())
        {
            let _ = warns.blocking_send(text.to_owned());
        }
    }

    /// Tells on how far a verb is.
    fn status(&mut self, line: &Value) {
        let number = |name: &str| line[name].as_u64().unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
        let phase = text(&line["phase"]);
        if phase != self.seen.phase {
            self.progress.on(&Event::Phase(&phase));
            self.seen.phase = phase;
        }
        self.progress.on(&Event::Expected { files: number("total_files"), bytes: number("total_bytes") });
        self.progress.on(&Event::Current(text(&line["current_files"][0]).as_bytes()));
        let (files, bytes, stored) = (number("files_done"), number("bytes_done"), number("bytes_stored"));
        let more = |now: u64, before: &mut u64| now.saturating_sub(std::mem::replace(before, now));
        let done = Event::Done {
            files: more(files, &mut self.seen.files),
            bytes: more(bytes, &mut self.seen.bytes),
        };
        self.progress.on(&done);
        self.progress.on(&Event::Stored { bytes: more(stored, &mut self.seen.stored) });
    }

    fn answer(self, end: &child::End) -> Result<Answer, String> {
        if self.whole && self.lines.dropped > 0 {
            return Err(format!("it said more than {LINES_MAX} lines"));
        }
        let mut problems = self.problems.into_vec();
        let said = problems.iter().any(|line| line["message_type"] == "exit_error");
        if let Some(message) = ending(end).filter(|_| !said) {
            problems.push(json!({ "message_type": "exit_error", "code": end.code(), "message": message }));
        }
        Ok(Answer { code: end.code(), lines: self.lines.into_vec(), problems, seconds: end.seconds })
    }
}

/// How a verb ended, where it could not say so itself.
fn ending(end: &child::End) -> Option<String> {
    match end.signal() {
        _ if end.timed_out => Some(format!("it was stopped after {:.0} s: it took too long", end.seconds)),
        _ if end.stopped => Some("it was stopped".to_owned()),
        Some(signal) => Some(format!("it was killed by signal {signal}; was there not enough memory?")),
        None => None,
    }
}

/// Carries out on a thread that may wait.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(error.to_string()),
    }
}

fn run_verb(
    (mut command, hand): (Command, Bytes),
    call: &Call,
    progress: Arc<Progress>,
    cancel: &Cancel,
) -> Result<Answer, String> {
    let mut ear = Ear::new(progress);
    let rules = Rules {
        timeout: call.timeout,
        cancel,
        minds_its_own: true,
        grace: VERB_GRACE,
        hand: &hand,
        feed: None,
    };
    let end = child::run(&mut command, &rules, |stream, line| ear.hear(stream, &line));
    ear.answer(&end.map_err(|error| format!("cannot start this program again: {error}"))?)
}

fn run_program(
    program: &Program,
    variables: environment::Variables,
    cancel: &Cancel,
) -> Result<Ended, String> {
    let (name, arguments) = program.words.split_first().ok_or("there is no program to run")?;
    let mut command = Command::new(name);
    command.args(arguments).env_clear().envs(variables);
    let stdin = if program.input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    let mut said = Kept::new(0, SAID_MAX);
    let rules = Rules {
        timeout: program.timeout,
        cancel,
        minds_its_own: false,
        grace: PROGRAM_GRACE,
        hand: &[],
        feed: program.input.as_deref(),
    };
    let end = child::run(&mut command, &rules, |_, line| said.push(line));
    let end = end.map_err(|error| format!("cannot run {}: {error}", escape(name.as_bytes())))?;
    Ok(Ended {
        code: end.status.code(),
        timed_out: end.timed_out,
        said: child::told(&said.into_vec()),
        seconds: end.seconds,
    })
}

#[async_trait]
impl Hands for OwnHands {
    async fn verb(&self, call: Call) -> Result<Answer, String> {
        let (progress, cancel) = (Arc::clone(&self.progress), self.ctx.cancel.clone());
        let phase = call.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        // Where there is no terminal the steps themselves are told, and that is enough.
        let is_seen = self.ink.has_terminal() || self.ink.tone.json;
        let watch = is_seen.then(|| self.progress.watch(&phase));
        // What a secret's command prints may be long in coming.
        let command = tokio::task::block_in_place(|| self.verb_command(&call))?;
        let answer = apart(move || run_verb(command, &call, progress, &cancel)).await;
        drop(watch);
        answer
    }

    async fn program(&self, program: Program) -> Result<Ended, String> {
        let variables = environment::of_program(&program, &self.ours);
        let cancel = self.ctx.cancel.clone();
        apart(move || run_program(&program, variables, &cancel)).await
    }

    async fn cluster(&self, cluster: Cluster) -> ClusterProof {
        cluster::prove(self, &self.ctx, cluster).await
    }

    async fn empty(&self, url: &str, credentials: Option<&Credentials>) -> Result<String, String> {
        bucket::empty(self, url, credentials).await.map_err(|fault| one_line(&fault))
    }

    async fn record(&self, place: &Place, kind: &str, text: &str) -> Result<String, String> {
        record::append(self, place, kind, text).await.map_err(|fault| one_line(&fault))
    }

    fn now(&self) -> Timestamp {
        let now = self.ctx.clock.now();
        Timestamp::new(now.seconds, now.nanos.try_into().unwrap_or_default()).unwrap_or(Timestamp::MIN)
    }

    fn random(&self) -> u64 {
        u64::from_le_bytes(self.ctx.random())
    }

    fn host(&self) -> String {
        wire_up::host_name()
    }

    fn stopped(&self) -> bool {
        self.ctx.cancel.is_raised()
    }

    fn say(&self, said: Said<'_>) {
        if self.ink.tone.json {
            return self.ink.json_now(&StepLine::from(said));
        }
        match said {
            Said::Begins(text) => self.ink.talk(text),
            Said::Well(text) => self.ink.talk(&format!("  {text}")),
            Said::Note(text) => self.ink.talk(&format!("  note: {text}")),
            Said::Lacking(text) => self.ink.warn(text),
            Said::Failed(text) => self.ink.fail(text),
        }
    }
}

/// What went wrong and what to do, in one line.
fn one_line(fault: &Fault) -> String {
    match fault.hint.as_str() {
        "" => fault.to_string(),
        hint => format!("{fault}; {hint}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::ink::Tone;

    fn ear() -> Ear {
        Ear::new(Arc::new(Progress::new(Arc::new(Ink::new(Tone { quiet: true, ..Tone::default() })))))
    }

    fn end(status: &str, stopped: bool) -> child::End {
        let status = Command::new("/bin/sh").args(["-c", status]).status().unwrap();
        child::End { status, timed_out: false, stopped, seconds: 1.0 }
    }

    #[test]
    fn what_a_verb_says_is_sorted() {
        let mut ear = ear();
        ear.hear(
            Stream::Out,
            br#"{"message_type":"status","phase":"x","bytes_done":7,"current_files":["/a"]}"#,
        );
        ear.hear(Stream::Out, br#"{"message_type":"summary","snapshot_id":"1"}"#);
        ear.hear(Stream::Err, br#"{"message_type":"exit_error","code":3,"message":"some"}"#);
        ear.hear(Stream::Err, b"thread panicked\x1b");
        ear.hear(Stream::Out, b"");
        let answer = ear.answer(&end("exit 3", false)).unwrap();
        assert_eq!((answer.code, answer.lines.len(), answer.problems.len()), (3, 1, 2));
        assert_eq!(answer.failure().0, "some");
        assert_eq!(answer.problems[1]["message"], "thread panicked\\x1b");
    }

    #[test]
    fn what_was_killed_did_not_say_so() {
        let answer = ear().answer(&end("kill -9 $$", false)).unwrap();
        assert_eq!((answer.code, answer.failure().0.contains("signal 9")), (1, true), "{answer:?}");
        let answer = ear().answer(&end("exit 0", true)).unwrap();
        assert_eq!((answer.code, answer.failure().0), (130, "it was stopped".to_owned()));
    }

    #[test]
    fn options_for_every_verb_are_handed_on() {
        let global = Global {
            limit_upload: Some(2048),
            cacert: Some("/ca".into()),
            stuck_timeout: Duration::from_secs(60),
            quiet: true,
            ..Global::default()
        };
        let wanted = ["--limit-upload", "2048B", "--cacert", "/ca", "--stuck-timeout", "60s", "--quiet"];
        assert_eq!(globals(&global), wanted);
    }

    #[test]
    fn a_program_ends_as_it_ends() {
        let run = |words: &[&str], timeout| {
            let words = words.iter().map(OsString::from).collect();
            let program = Program { words, timeout, ..Program::default() };
            run_program(&program, std::env::vars_os().collect(), &Cancel::default())
        };
        let ended =
            run(&["/bin/sh", "-c", "echo out; for n in 1 2 3 4 5 6 7; do echo $n >&2; done; exit 4"], None);
        let ended = ended.unwrap();
        assert_eq!((ended.code, ended.timed_out, ended.said.as_str()), (Some(4), false, "3\n4\n5\n6\n7"));
        let ended = run(&["/bin/sh", "-c", "sleep 600"], Some(Duration::from_millis(100))).unwrap();
        assert!(ended.timed_out && ended.code.is_none());
        let read = |input: &[u8]| {
            let words = ["/bin/sh", "-c", "wc -c >&2"].iter().map(OsString::from).collect();
            let program = Program { words, input: Some(input.to_vec()), ..Program::default() };
            run_program(&program, std::env::vars_os().collect(), &Cancel::default()).unwrap().said
        };
        // Its input ends; and what does not fit into a pipe comes too.
        assert_eq!((read(b"abc").trim(), read(&[b'x'; 300_000]).trim()), ("3", "300000"));
        assert!(run(&["/nowhere/program"], None).unwrap_err().contains("/nowhere/program"));
        assert!(run(&[], None).is_err());
    }
}
