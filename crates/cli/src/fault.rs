//! Why a command did not end well: the exit code, what failed, why, and what to do now.
//!
//! On purpose not here: how it is shown (`ink`). Only this file maps kinds of errors to codes
//! and hints.

use crate::engine::{Error, ErrorKind};
use crate::wire_up::Told;
use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

/// How a command ends, for whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It failed.
    Failed,
    /// It was asked for in a way that cannot be.
    Usage,
    /// It is done, but something could not be read.
    Incomplete,
    /// There is no repository at that place.
    NoRepository,
    /// The password or key file is wrong.
    WrongKey,
    /// A drill failed: something does not come back.
    DrillFailed,
    /// What a drill restored took longer than was promised.
    RtoMissed,
    /// More would be lost than was promised.
    RpoMissed,
    /// A drill proved nothing: what it needed was not there.
    Inconclusive,
    /// `status`: degraded, and no promise broken.
    Degraded,
    /// `status`: a promise is broken.
    Broken,
    /// `status`: nobody can tell how things stand.
    CannotTell,
    /// It was interrupted.
    Interrupted,
    /// A server that recovers asked for a file of the log, and it is proved that there is none.
    Absent,
    /// It asked, and gets no answer: a server must take neither this nor what lies below it for the
    /// end of the log.
    Unanswered,
}

impl Code {
    /// The number that the program ends with.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Failed | Self::Absent | Self::Degraded => 1,
            Self::Usage | Self::Broken => 2,
            Self::Incomplete | Self::CannotTell => 3,
            Self::NoRepository => 10,
            Self::WrongKey => 12,
            Self::DrillFailed => 20,
            Self::RtoMissed => 21,
            Self::RpoMissed => 22,
            Self::Inconclusive => 23,
            Self::Unanswered => 126,
            Self::Interrupted => 130,
        }
    }
}

impl Code {
    /// The code with a number that a policy's run or drill ended with; what is not one of theirs is a failure.
    pub(crate) const fn of_policy(number: u8) -> Self {
        match number {
            2 => Self::Usage,
            3 => Self::Incomplete,
            10 => Self::NoRepository,
            12 => Self::WrongKey,
            20 => Self::DrillFailed,
            21 => Self::RtoMissed,
            22 => Self::RpoMissed,
            23 => Self::Inconclusive,
            130 => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// A command did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// How the program ends.
    pub(crate) code: Code,
    /// What failed, on what.
    pub(crate) what: String,
    /// Why, from the nearest cause to the farthest.
    pub(crate) why: Vec<String>,
    /// What to do now; empty where there is nothing to say.
    pub(crate) hint: String,
}

impl Fault {
    /// A command failed.
    pub(crate) fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Code::Failed, what, hint)
    }

    /// A command cannot be carried out as it was written.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Code::Usage, what, hint)
    }

    /// A command is done, and left something out.
    pub(crate) fn incomplete(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Code::Incomplete, what, hint)
    }

    /// Any other end.
    pub(crate) fn new(code: Code, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, what: what.into(), why: Vec::new(), hint: hint.into() }
    }

    /// Adds the causes of an error, nearest first.
    pub(crate) fn because(mut self, error: &dyn StdError) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if self.why.last() != Some(&text) {
                self.why.push(text);
            }
            cause = error.source();
        }
        self
    }

    /// Makes of it what a server that recovers has to hear: it takes every code up to 125 for the end
    /// of the log. One that stands by and asks again may be told so of an outage.
    pub(crate) fn for_recovery(self, standby: bool) -> Self {
        match self.code {
            Code::Absent | Code::Interrupted => self,
            Code::Failed | Code::NoRepository if standby => {
                let what = format!("the standby is told to wait: {}", self.what);
                Self { code: Code::Absent, what, ..self }
            }
            _ => Self { code: Code::Unanswered, ..self },
        }
    }

    /// Makes of it what monitoring has to hear: whatever kept `status` from telling how things stand is
    /// neither a warning nor a promise that is broken.
    pub(crate) fn for_monitoring(self) -> Self {
        match self.code {
            Code::Degraded | Code::Broken | Code::CannotTell | Code::Interrupted => self,
            _ => Self { code: Code::CannotTell, ..self },
        }
    }

    /// Makes an interruption of it if the run was asked to stop: what failed then failed of that.
    pub(crate) fn or_interrupted(self, interrupted: bool) -> Self {
        if interrupted && self.code != Code::Interrupted { interrupted_fault() } else { self }
    }
}

impl fmt::Display for Fault {
    /// One line, for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.why.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let remedy = remedy_of(&error).unwrap_or_else(|| hint_of(error.kind).to_owned());
        let fault = Self::new(code_of(error.kind), error.what.clone(), remedy);
        match error.source.as_deref() {
            _ if error.kind == ErrorKind::Interrupted => interrupted_fault(),
            Some(cause) => fault.because(cause),
            None => fault,
        }
    }
}

/// What one of the causes says that can be done.
fn remedy_of(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(remedy) = Told::remedy(error) {
            return Some(remedy.to_owned());
        }
        cause = error.source();
    }
    None
}

fn interrupted_fault() -> Fault {
    let hint = "run the same command again; what was uploaded already is not uploaded twice";
    Fault::new(Code::Interrupted, "interrupted", hint)
}

fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NoRepository => Code::NoRepository,
        ErrorKind::WrongKey => Code::WrongKey,
        ErrorKind::Usage | ErrorKind::Ambiguous => Code::Usage,
        ErrorKind::Interrupted => Code::Interrupted,
        ErrorKind::RepositoryExists
        | ErrorKind::Newer
        | ErrorKind::NotAllowed
        | ErrorKind::NotFound
        | ErrorKind::Full
        | ErrorKind::Damaged
        | ErrorKind::Conflict
        | ErrorKind::Held
        | ErrorKind::Clock
        | ErrorKind::RolledBack
        | ErrorKind::Source
        | ErrorKind::Target
        | ErrorKind::Store => Code::Failed,
    }
}

fn hint_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NoRepository => {
            "check -r or HOLDFAST_REPOSITORY, and that its disk is mounted; to make one: holdfast init"
        }
        ErrorKind::RepositoryExists => "use it as it is, or give init another place; nothing was changed",
        ErrorKind::WrongKey => {
            "check which password or key file is used (HOLDFAST_PASSWORD_FILE, HOLDFAST_KEY_FILE, ...)"
        }
        ErrorKind::Newer => "use a newer version of holdfast; nothing was changed",
        ErrorKind::NotAllowed => "see which keys there are: holdfast key list",
        ErrorKind::NotFound => {
            "see what there is: holdfast snapshots; holdfast ls SNAPSHOT; holdfast find NAME"
        }
        ErrorKind::Ambiguous => "say which: an id of `holdfast snapshots`, or --host, --tag or --source",
        ErrorKind::Full => "make room where the repository lies, then run the same command again",
        ErrorKind::Damaged => "see how far it goes: holdfast check --read-data; then restore what is whole",
        ErrorKind::Conflict => "run the same command again",
        ErrorKind::Held => "see what is held and why: holdfast hold; then: holdfast hold --release ID",
        ErrorKind::Clock => {
            "see `date`; if it is right: holdfast prune --accept-clock, once; then the same command"
        }
        ErrorKind::RolledBack => {
            "ask who put it back; if that was meant: holdfast -r REPOSITORY --accept-rollback snapshots"
        }
        ErrorKind::Source => "no snapshot was made; put the source right and run the same command again",
        ErrorKind::Target => {
            "what was restored so far is there; put the target right, then go on with --overwrite always"
        }
        ErrorKind::Store => "check that the repository's place can be reached and written",
        ErrorKind::Interrupted | ErrorKind::Usage => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn each_kind_has_its_code() {
        let codes = [
            (ErrorKind::NoRepository, 10),
            (ErrorKind::WrongKey, 12),
            (ErrorKind::Interrupted, 130),
            (ErrorKind::Usage, 2),
            (ErrorKind::Ambiguous, 2),
            (ErrorKind::RepositoryExists, 1),
            (ErrorKind::NotFound, 1),
            (ErrorKind::Full, 1),
            (ErrorKind::Damaged, 1),
            (ErrorKind::Conflict, 1),
            (ErrorKind::Held, 1),
            (ErrorKind::Clock, 1),
            (ErrorKind::RolledBack, 1),
            (ErrorKind::Store, 1),
        ];
        for (kind, code) in codes {
            assert_eq!(Fault::from(Error::new(kind, "x")).code.number(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_server_that_recovers_hears_no_code_that_is_an_end_by_mistake() {
        let all = [
            Code::Failed,
            Code::Usage,
            Code::Incomplete,
            Code::NoRepository,
            Code::WrongKey,
            Code::Interrupted,
            Code::DrillFailed,
            Code::RtoMissed,
            Code::RpoMissed,
            Code::Inconclusive,
            Code::Unanswered,
        ];
        let told = |code, standby| Fault::new(code, "x", "").for_recovery(standby).code.number();
        assert!(all.iter().all(|code| told(*code, false) >= 126), "{all:?}");
        assert_eq!(told(Code::Absent, false), 1);
        for (code, number) in
            [(Code::Failed, 1), (Code::NoRepository, 1), (Code::WrongKey, 126), (Code::Usage, 126)]
        {
            assert_eq!(told(code, true), number, "{code:?}");
        }
    }

    #[test]
    fn codes_of_policies_keep_their_numbers() {
        for number in [1, 2, 3, 10, 12, 20, 21, 22, 23, 130] {
            assert_eq!(Code::of_policy(number).number(), number);
        }
        assert_eq!(Code::of_policy(77), Code::Failed);
    }

    #[test]
    fn monitoring_hears_of_mistakes_that_nobody_can_tell() {
        let told = |code| Fault::new(code, "x", "").for_monitoring().code.number();
        for code in [Code::Failed, Code::Usage, Code::NoRepository, Code::WrongKey, Code::CannotTell] {
            assert_eq!(told(code), 3, "{code:?}");
        }
        assert_eq!((told(Code::Degraded), told(Code::Broken), told(Code::Interrupted)), (1, 2, 130));
    }

    #[test]
    fn the_chain_is_told_once() {
        let cause = io::Error::other("disk on fire");
        let error =
            Error { kind: ErrorKind::Store, what: "cannot list packs".into(), source: Some(Box::new(cause)) };
        let fault = Fault::from(error);
        assert_eq!(fault.to_string(), "cannot list packs: disk on fire");
        assert!(!fault.hint.is_empty());
    }

    #[test]
    fn what_fails_after_a_stop_is_an_interruption() {
        let fault = Fault::failed("cannot read", "").or_interrupted(true);
        assert_eq!(fault.code, Code::Interrupted);
        assert_eq!(Fault::failed("cannot read", "").or_interrupted(false).code, Code::Failed);
    }
}
