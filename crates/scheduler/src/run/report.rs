//! What a run of a policy did, step by step, and the one exit code that follows.
//!
//! On purpose not here: how it is shown.

use crate::drill::conduct::Conducted;
use jiff::Timestamp;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Well.
    Done,
    /// It is done, and something is missing in it.
    Incomplete,
    /// It failed.
    Failed,
    /// It was not tried, because something before it failed.
    Skipped,
    /// There is no key for it on this host.
    NotHere,
    /// It would be done: nothing is, in a rehearsal.
    Planned,
}

impl State {
    /// In one word, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::NotHere => "not_here",
            Self::Planned => "planned",
        }
    }
}

/// One thing that was done, or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `open`, `init`, `hook`, `backup`, `log`, `copy`, `forget`, `prune`, `check`.
    pub activity: &'static str,
    /// The source; none where it is about all of them.
    pub source: Option<String>,
    /// The repository or the copy, by its name.
    pub place: String,
    /// How it ended.
    pub state: State,
    /// What came out, or why it failed.
    pub message: String,
    /// What to do now; empty where there is nothing to say.
    pub next: String,
    /// The exit code of the verb, if there was one.
    pub code: Option<i32>,
    /// The snapshot that was made.
    pub snapshot: Option<String>,
    /// The system identifier of the cluster that was backed up.
    pub system: Option<String>,
    /// What could not be read and may be missing, as the policy says.
    pub accepted: Vec<String>,
    /// When it began; none where it was not tried.
    pub started: Option<Timestamp>,
    /// How long it took.
    pub seconds: f64,
}

impl Step {
    /// A step that has not been taken yet.
    #[must_use]
    pub fn new(activity: &'static str, source: Option<&str>, place: &str) -> Self {
        Self {
            activity,
            source: source.map(str::to_owned),
            place: place.to_owned(),
            state: State::Skipped,
            message: String::new(),
            next: String::new(),
            code: None,
            snapshot: None,
            system: None,
            accepted: Vec::new(),
            started: None,
            seconds: 0.0,
        }
    }

    /// How it ended, and what there is to say.
    #[must_use]
    pub fn ends(self, state: State, message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state, message: message.into(), next: next.into(), ..self }
    }

    /// What it is called: `backup of tree`, `copy to offsite`.
    #[must_use]
    pub fn title(&self) -> String {
        let Self { activity, place, source, .. } = self;
        match (*activity, source) {
            ("copy", _) => format!("copy to {place}"),
            ("hook", Some(source)) => format!("hook of {source}"),
            ("backup" | "hook", None) => (*activity).to_owned(),
            ("backup" | "log", Some(source)) => format!("{activity} of {source}"),
            (_, Some(source)) => format!("{activity} of {source} in {place}"),
            (_, None) => format!("{activity} of {place}"),
        }
    }
}

/// What a run of a policy did.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// The policy.
    pub policy: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// The drill at its end.
    pub drill: Option<Conducted>,
    /// Nothing was done: it says what would be.
    pub dry_run: bool,
    /// Somebody stopped it.
    pub stopped: bool,
}

impl RunReport {
    /// The one exit code: the first that applies.
    ///
    /// A repository that is not there or does not open keeps everything else from being done, so its own code says
    /// more than a failure.
    #[must_use]
    pub fn code(&self) -> u8 {
        let drill = self.drill.as_ref().map_or(0, |drill| drill.record.code);
        let opened = self.steps.iter().find(|step| step.activity == "open" && step.state == State::Failed);
        if self.stopped {
            return 130;
        }
        if let Some(code) = opened.and_then(|step| step.code).filter(|code| [2, 10, 12].contains(code)) {
            return u8::try_from(code).unwrap_or(1);
        }
        let failed = |state: State| self.steps.iter().any(|step| step.state == state);
        match (failed(State::Failed), drill, failed(State::Incomplete)) {
            (true, ..) => 1,
            (false, 0, true) => 3,
            (false, code, _) => code,
        }
    }

    /// The steps that did not end well.
    pub fn troubles(&self) -> impl Iterator<Item = &Step> {
        self.steps
            .iter()
            .filter(|step| matches!(step.state, State::Failed | State::Incomplete | State::Skipped))
    }
}
