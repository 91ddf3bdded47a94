//! How far a run is: a bar on a terminal, a line now and then elsewhere, JSON where asked.
//!
//! Events only add to counters here; one thread looks at them now and then and does all the
//! writing, so nothing that is said slows the run down. On purpose not here: results.

use super::json::{ItemLine, StatusLine};
use super::size::{age, counted, rate, size};
use super::{Ink, escape};
use crate::engine::{Event, Monitor, Problems};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const STATUS_EVERY: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(30);
/// How far back the rate looks, about.
const RATE_SECONDS: f64 = 5.0;
/// More warnings than this are one too many.
const WARNINGS_MAX: usize = 1000;

#[derive(Debug, Default)]
struct Counters {
    files_total: AtomicU64,
    bytes_total: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    stored: AtomicU64,
}

#[derive(Debug, Default)]
struct Words {
    phase: String,
    current: Vec<u8>,
}

#[derive(Debug, Default)]
struct Heard {
    problems: Problems,
    warnings: Vec<String>,
    told_problems: usize,
    told_notices: usize,
    told_warnings: usize,
}

/// Hears a run and tells of it.
#[derive(Debug)]
pub(crate) struct Progress {
    ink: Arc<Ink>,
    counters: Counters,
    words: Mutex<Words>,
    heard: Mutex<Heard>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
struct Look {
    phase: String,
    current: String,
    files_total: u64,
    bytes_total: u64,
    files: u64,
    bytes: u64,
    stored: u64,
    errors: u64,
    elapsed: Duration,
    bytes_per_second: f64,
}

impl Monitor for Progress {
    fn on(&self, event: &Event<'_>) {
        let counters = &self.counters;
        match *event {
            Event::Phase(phase) => phase.clone_into(&mut lock(&self.words).phase),
            Event::Expected { files, bytes } => {
                counters.files_total.store(files, Ordering::Relaxed);
                counters.bytes_total.store(bytes, Ordering::Relaxed);
            }
            Event::Current(path) => self.current(path),
            Event::Done { files, bytes } => {
                counters.files.fetch_add(files, Ordering::Relaxed);
                counters.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Stored { bytes } => {
                counters.stored.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Problem(problem) => lock(&self.heard).problems.problem(problem.clone()),
            Event::Notice(notice) => lock(&self.heard).problems.notice(notice.clone()),
            Event::Warning(text) => self.warn(text),
            _ => {}
        }
    }
}

impl Progress {
    pub(crate) fn new(ink: Arc<Ink>) -> Self {
        Self { ink, counters: Counters::default(), words: Mutex::default(), heard: Mutex::default() }
    }

    /// Begins to tell; ends when what is returned is dropped.
    pub(crate) fn watch(self: &Arc<Self>, phase: &str) -> Watch {
        self.restart(phase);
        let (sender, receiver) = channel();
        let painter = Painter::new(Arc::clone(self));
        let thread =
            std::thread::Builder::new().name("progress".into()).spawn(move || painter.run(&receiver));
        // Without a thread there is no progress to see; the run itself does not need it.
        Watch { progress: Arc::clone(self), stop: Some(sender), thread: thread.ok() }
    }

    /// Says something while the run goes on.
    pub(crate) fn warn(&self, text: &str) {
        let mut heard = lock(&self.heard);
        if heard.warnings.len() < WARNINGS_MAX {
            heard.warnings.push(text.to_owned());
        }
    }

    /// What was heard so far of what went wrong.
    pub(crate) fn heard(&self) -> Problems {
        lock(&self.heard).problems.clone()
    }

    /// Counts from the start again; what was heard stays heard.
    fn restart(&self, phase: &str) {
        let Counters { files_total, bytes_total, files, bytes, stored } = &self.counters;
        for counter in [files_total, bytes_total, files, bytes, stored] {
            counter.store(0, Ordering::Relaxed);
        }
        *lock(&self.words) = Words { phase: phase.to_owned(), current: Vec::new() };
    }

    /// The reader of a file does not wait for whoever looks.
    fn current(&self, path: &[u8]) {
        if let Ok(mut words) = self.words.try_lock() {
            words.current.clear();
            words.current.extend_from_slice(path);
        }
    }

    fn look(&self) -> Look {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let errors = lock(&self.heard).problems.problem_count;
        let words = lock(&self.words);
        Look {
            phase: words.phase.clone(),
            current: escape(&words.current),
            files_total: load(&self.counters.files_total),
            bytes_total: load(&self.counters.bytes_total),
            files: load(&self.counters.files),
            bytes: load(&self.counters.bytes),
            stored: load(&self.counters.stored),
            errors,
            ..Look::default()
        }
    }

    /// Tells what was heard and not told yet.
    pub(crate) fn tell_heard(&self) {
        let (warnings, items) = self.untold();
        warnings.iter().for_each(|warning| self.ink.warn(warning));
        if self.ink.tone.json {
            items.problems.iter().for_each(|problem| self.ink.json_problem(&ItemLine::problem(problem)));
            items.notices.iter().for_each(|notice| self.ink.json_problem(&ItemLine::notice(notice)));
        }
    }

    fn untold(&self) -> (Vec<String>, Problems) {
        let mut heard = lock(&self.heard);
        let warnings = heard.warnings[heard.told_warnings..].to_vec();
        let problems = heard.problems.problems[heard.told_problems..].to_vec();
        let notices = heard.problems.notices[heard.told_notices..].to_vec();
        heard.told_warnings += warnings.len();
        heard.told_problems += problems.len();
        heard.told_notices += notices.len();
        (warnings, Problems { problems, notices, ..Problems::default() })
    }

    fn has_untold(&self) -> bool {
        let heard = lock(&self.heard);
        let problems = &heard.problems;
        let items =
            heard.told_problems + heard.told_notices < problems.problems.len() + problems.notices.len();
        heard.told_warnings < heard.warnings.len() || (items && self.ink.tone.json)
    }

    /// Tells of a result's problems those that no event told of.
    pub(crate) fn settle(&self, result: &Problems) {
        if !self.ink.tone.json {
            return;
        }
        let heard = lock(&self.heard).problems.clone();
        let problems = result.problems.iter().filter(|problem| !heard.problems.contains(problem));
        problems.for_each(|problem| self.ink.json_problem(&ItemLine::problem(problem)));
        let notices = result.notices.iter().filter(|notice| !heard.notices.contains(notice));
        notices.for_each(|notice| self.ink.json_problem(&ItemLine::notice(notice)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that is being told of.
#[derive(Debug)]
pub(crate) struct Watch {
    progress: Arc<Progress>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    /// Takes the bar away and tells what is still untold, so that what follows stands below it.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.progress.tell_heard();
    }
}

#[derive(Debug)]
enum Canvas {
    Nothing,
    Bar { bar: ProgressBar, has_length: bool },
    Lines,
    Json,
}

#[derive(Debug)]
struct Painter {
    progress: Arc<Progress>,
    canvas: Canvas,
    started: Instant,
    painted: Instant,
    looked: Instant,
    bytes: u64,
    bytes_per_second: f64,
}

impl Painter {
    fn new(progress: Arc<Progress>) -> Self {
        let ink = &progress.ink;
        let canvas = match (ink.tone.quiet, ink.tone.json) {
            (true, _) => Canvas::Nothing,
            (_, true) => Canvas::Json,
            _ if ink.has_terminal() => Canvas::Bar { bar: new_bar(), has_length: false },
            _ => Canvas::Lines,
        };
        let now = Instant::now();
        let mut painter = Self {
            progress,
            canvas,
            started: now,
            painted: now,
            looked: now,
            bytes: 0,
            bytes_per_second: 0.0,
        };
        painter.begin();
        painter
    }

    fn begin(&mut self) {
        if let Canvas::Lines = self.canvas {
            let phase = lock(&self.progress.words).phase.clone();
            self.progress.ink.talk(&phase);
        }
    }

    fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.tick();
        }
        if let Canvas::Bar { bar, .. } = &self.canvas {
            bar.finish_and_clear();
        }
    }

    fn tick(&mut self) {
        if self.progress.has_untold() {
            match &self.canvas {
                Canvas::Bar { bar, .. } => bar.suspend(|| self.progress.tell_heard()),
                _ => self.progress.tell_heard(),
            }
        }
        let look = self.look();
        let due = self.painted.elapsed();
        match &mut self.canvas {
            Canvas::Bar { bar, has_length } => draw(bar, has_length, &look),
            Canvas::Lines if due >= LINE_EVERY => self.progress.ink.talk(&status_text(&look, true)),
            Canvas::Json if due >= STATUS_EVERY => self.progress.ink.json_now(&status_line(&look)),
            _ => return,
        }
        self.painted = Instant::now();
    }

    fn look(&mut self) -> Look {
        let mut look = self.progress.look();
        let passed = self.looked.elapsed().as_secs_f64();
        self.looked = Instant::now();
        let recent = look.bytes.saturating_sub(self.bytes) as f64 / passed.max(1e-6);
        let weight = 1.0 - (-passed / RATE_SECONDS).exp();
        self.bytes_per_second += (recent - self.bytes_per_second) * weight;
        self.bytes = look.bytes;
        look.elapsed = self.started.elapsed();
        // At the start the average knows less time than it looks back.
        let known = 1.0 - (-look.elapsed.as_secs_f64() / RATE_SECONDS).exp();
        look.bytes_per_second = self.bytes_per_second / known.max(1e-6);
        look
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style("{spinner} {prefix}\n{wide_msg}"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .tick_chars("|/-\\ ")
}

fn draw(bar: &ProgressBar, has_length: &mut bool, look: &Look) {
    if look.bytes_total > 0 {
        if !*has_length {
            bar.set_style(style("[{bar:16}] {prefix}\n{wide_msg}"));
            *has_length = true;
        }
        bar.set_length(look.bytes_total);
        bar.set_position(look.bytes.min(look.bytes_total));
    }
    bar.set_prefix(status_text(look, false));
    bar.set_message(look.current.clone());
    bar.tick();
}

impl Look {
    fn share(&self) -> Option<f64> {
        let share = |done: u64, total: u64| (done as f64 / total as f64).min(1.0);
        match (self.bytes_total, self.files_total) {
            (0, 0) => None,
            (0, files) => Some(share(self.files, files)),
            (bytes, _) => Some(share(self.bytes, bytes)),
        }
    }

    /// A guess is made when there is something to base it on.
    fn left(&self) -> Option<Duration> {
        let rest = self.bytes_total.checked_sub(self.bytes).filter(|&rest| rest > 0)?;
        let seconds = rest as f64 / self.bytes_per_second;
        (self.elapsed.as_secs() >= 2 && seconds < 1e9).then(|| Duration::from_secs_f64(seconds))
    }
}

fn status_text(look: &Look, with_phase: bool) -> String {
    let mut parts = Vec::new();
    if with_phase {
        parts.push(look.phase.clone());
    }
    parts.extend(look.share().map(|share| format!("{:.0} %", share * 100.0)));
    parts.push(counted(look.files, "file", "files"));
    parts.push(match look.bytes_total {
        0 => size(look.bytes),
        total => format!("{} of {}", size(look.bytes), size(total.max(look.bytes))),
    });
    parts.extend(rate(look.bytes_per_second as u64, Duration::from_secs(1)));
    parts.extend(look.left().map(|left| format!("{} left", age(left))));
    parts.extend((look.errors > 0).then(|| counted(look.errors, "problem", "problems")));
    parts.join(", ")
}

fn status_line(look: &Look) -> StatusLine {
    StatusLine {
        message_type: "status",
        phase: look.phase.clone(),
        seconds_elapsed: look.elapsed.as_secs(),
        seconds_remaining: look.left().map(|left| left.as_secs()),
        percent_done: look.share().unwrap_or(0.0),
        total_files: look.files_total,
        files_done: look.files,
        total_bytes: look.bytes_total,
        bytes_done: look.bytes,
        bytes_stored: look.stored,
        error_count: look.errors,
        current_files: Some(look.current.clone()).filter(|path| !path.is_empty()).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Problem, ProblemKind};
    use crate::ink::Tone;

    fn look() -> Look {
        Look {
            phase: "reading".into(),
            files: 1200,
            bytes: 1 << 30,
            bytes_total: 4 << 30,
            elapsed: Duration::from_secs(10),
            bytes_per_second: f64::from(1 << 28),
            ..Look::default()
        }
    }

    #[test]
    fn a_line_says_share_rate_and_rest() {
        let text = status_text(&look(), true);
        assert_eq!(text, "reading, 25 %, 1,200 files, 1.00 GiB of 4.00 GiB, 256 MiB/s, 12 s left");
        let first = Look { bytes_total: 0, ..look() };
        assert_eq!(status_text(&first, false), "1,200 files, 1.00 GiB, 256 MiB/s");
    }

    #[test]
    fn nothing_is_guessed_from_nothing() {
        assert_eq!(Look { bytes_per_second: 0.0, ..look() }.left(), None);
        assert_eq!(Look { bytes: 5 << 30, ..look() }.left(), None);
        assert_eq!(Look { bytes: 5 << 30, ..look() }.share(), Some(1.0));
    }

    #[test]
    fn events_add_up() {
        let tone = Tone { quiet: true, ..Tone::default() };
        let progress = Progress::new(Arc::new(Ink::new(tone)));
        let problem = Problem { path: b"/a".to_vec(), kind: ProblemKind::Torn, what: "changed".into() };
        progress.on(&Event::Expected { files: 3, bytes: 30 });
        progress.on(&Event::Done { files: 1, bytes: 10 });
        progress.on(&Event::Done { files: 1, bytes: 5 });
        progress.on(&Event::Current(b"/b\n"));
        progress.on(&Event::Problem(&problem));
        let look = progress.look();
        assert_eq!((look.files, look.bytes, look.files_total, look.bytes_total), (2, 15, 3, 30));
        assert_eq!((look.current.as_str(), look.errors), ("/b\\n", 1));
        assert_eq!(progress.heard().problems, [problem]);
    }
}
