//! What `serve` has to tell: how jobs go, and how it is itself.
//!
//! On purpose not here: where it is shown, and what follows from it.

use jiff::Timestamp;
use std::fmt;
use std::path::Path;

/// A job, by what people know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// Different for each try of each job: what a log is searched for.
    pub run: String,
    /// The policy.
    pub policy: String,
    /// What is done: `run`, `drill`, `prune`, `check`, `stream`.
    pub activity: String,
    /// The source, if it is about one.
    pub source: Option<String>,
    /// The time that it is for.
    pub scheduled_for: Timestamp,
    /// How often it was begun, with this time.
    pub attempt: u32,
    /// How many earlier ones it makes up for.
    pub missed: u32,
}

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// It begins.
    Begins,
    /// It is done.
    Done,
    /// It is done, and ended with another code than 0.
    Failed,
    /// It is not done, by a rule.
    Skipped,
    /// It was stopped, and waits for who takes it up again.
    GivenBack,
    /// Another worker has it: what was done here does not count.
    Lost,
    /// Whoever had it is gone: it waits for another.
    TakenBack,
}

impl JobState {
    /// In one word, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Begins => "begins",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::GivenBack => "given_back",
            Self::Lost => "lost",
            Self::TakenBack => "taken_back",
        }
    }
}

/// Something about a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobTold {
    /// What becomes of it.
    pub state: JobState,
    /// Which it is.
    pub job: JobName,
    /// The exit code, once it ended.
    pub code: Option<u8>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// What came out, or why.
    pub message: String,
}

/// What happens to the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happens {
    /// It serves.
    Ready,
    /// It takes no more jobs, and waits for those that run.
    Stopping,
    /// A policy was read.
    PolicyRead,
    /// A policy's file cannot be read.
    PolicyWrong,
    /// A policy is served no longer.
    PolicyGone,
    /// The catalog cannot be used.
    CatalogLost,
    /// It can be used again.
    CatalogBack,
    /// The clock was set.
    ClockSet,
    /// A stream begins.
    StreamBegins,
    /// A stream goes on, and warns.
    StreamWarns,
    /// A stream ended, and is begun again.
    StreamEnded,
    /// What kept a job broke off.
    JobBroke,
    /// What the catalog does not know of a policy was found in its repositories.
    PastFound,
    /// It could not be asked for.
    PastUnknown,
}

impl Happens {
    /// In one word, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::PolicyRead => "policy_read",
            Self::PolicyWrong => "policy_wrong",
            Self::PolicyGone => "policy_gone",
            Self::CatalogLost => "catalog_lost",
            Self::CatalogBack => "catalog_back",
            Self::ClockSet => "clock_set",
            Self::StreamBegins => "stream_begins",
            Self::StreamWarns => "stream_warns",
            Self::StreamEnded => "stream_ended",
            Self::JobBroke => "job_broke",
            Self::PastFound => "past_found",
            Self::PastUnknown => "past_unknown",
        }
    }

    /// Whether it is something to worry about.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(
            self,
            Self::PolicyWrong
                | Self::CatalogLost
                | Self::ClockSet
                | Self::StreamWarns
                | Self::StreamEnded
                | Self::JobBroke
        )
    }
}

/// Something about the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTold {
    /// What happens.
    pub what: Happens,
    /// The policy that it is about.
    pub policy: Option<String>,
    /// The source in it.
    pub source: Option<String>,
    /// In words for people.
    pub message: String,
}

/// What is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// About a job.
    Job(Box<JobTold>),
    /// About the service.
    Service(ServiceTold),
}

impl Told {
    /// Something about the service.
    #[must_use]
    pub fn service(what: Happens, message: impl Into<String>) -> Self {
        Self::Service(ServiceTold { what, policy: None, source: None, message: message.into() })
    }

    /// What a stream that goes on warns of.
    #[must_use]
    pub fn stream_warns(policy: &str, source: &str, warning: &str) -> Self {
        Self::stream(Happens::StreamWarns, policy, source, format!("stream of {policy}/{source}: {warning}"))
    }

    /// Something about a stream.
    #[must_use]
    pub(super) fn stream(what: Happens, policy: &str, source: &str, message: String) -> Self {
        let (policy, source) = (Some(policy.to_owned()), Some(source.to_owned()));
        Self::Service(ServiceTold { what, policy, source, message })
    }

    /// Something about the past of a policy.
    #[must_use]
    pub(super) fn past(what: Happens, policy: &str, message: &str) -> Self {
        Self::of_policy(what, Some(policy), format!("{policy}: {message}"))
    }

    fn of_policy(what: Happens, policy: Option<&str>, message: String) -> Self {
        Self::Service(ServiceTold { what, policy: policy.map(str::to_owned), source: None, message })
    }

    pub(super) fn policy_read(name: &str, file: &Path, again: bool) -> Self {
        let again = if again { "changed; it was read anew" } else { "is served" };
        Self::of_policy(Happens::PolicyRead, Some(name), format!("{name} ({}) {again}", file.display()))
    }

    pub(super) fn policy_gone(name: &str, file: &Path) -> Self {
        let message = format!("{name} is not in {} any more, and is served no longer", file.display());
        Self::of_policy(Happens::PolicyGone, Some(name), message)
    }

    pub(super) fn policy_wrong(name: Option<&str>, file: &Path, why: &str) -> Self {
        let then = match name {
            Some(name) => format!("{name} is served as it was before"),
            None => "nothing of it is served".to_owned(),
        };
        let message = format!("cannot use the policy {}: {why}; {then}", file.display());
        Self::of_policy(Happens::PolicyWrong, name, message)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{} of {}/{source}", self.activity, self.policy),
            None => write!(f, "{} of {}", self.activity, self.policy),
        }
    }
}

impl fmt::Display for JobTold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, job, code, seconds, message } = self;
        match state {
            JobState::Begins => {
                write!(f, "{job}: begins, for {}", job.scheduled_for)?;
                if job.missed > 0 {
                    write!(f, ", and makes up for {} that were missed", job.missed)?;
                }
                if job.attempt > 1 {
                    write!(f, "; try {}", job.attempt)?;
                }
            }
            JobState::Done => write!(f, "{job}: done")?,
            JobState::Failed => write!(f, "{job}: FAILED with {}", code.unwrap_or(1))?,
            JobState::Skipped => write!(f, "{job}: skipped, for {}", job.scheduled_for)?,
            JobState::GivenBack => write!(f, "{job}: stopped, and given back")?,
            JobState::Lost => write!(f, "{job}: stopped, because another worker has it now")?,
            JobState::TakenBack => write!(f, "{job}: its worker is gone; it is done anew")?,
        }
        if let Some(seconds) = seconds {
            write!(f, " after {seconds:.0} s")?;
        }
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        write!(f, " ({})", job.run)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(told) => told.fmt(f),
            Self::Service(told) => f.write_str(&told.message),
        }
    }
}
