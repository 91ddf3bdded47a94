//! What goes wrong in a run, chosen from its seed: how often each kind of fault comes, and what
//! becomes of each call.
//!
//! On purpose not here: carrying it out ([`super::store`], [`super::schedule`]).

use super::model::Rng;
use super::store::Call;
use holdfast_store::ErrorKind;

/// What a task hears of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// What came of it.
    Given,
    /// An error, whatever became of it.
    Error(ErrorKind),
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It is done.
    pub carried_out: bool,
    /// What the task hears.
    pub answer: Answer,
    /// The request arrives later: a second time, or for the first.
    pub again: bool,
    /// Others go on before the task hears of it.
    pub slow: bool,
}

impl Verdict {
    /// Nothing goes wrong.
    pub(super) const FINE: Self =
        Self { carried_out: true, answer: Answer::Given, again: false, slow: false };

    /// Whether the task may notice anything.
    pub(super) fn is_fault(&self) -> bool {
        self.answer != Answer::Given
    }
}

/// How a store breaks its contract, so that it can be shown that somebody notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Breach {
    /// Not at all.
    #[default]
    None,
    /// A put replaces what has the name.
    Overwrites,
    /// A listing leaves a name out and says nothing.
    ForgetsNames,
}

/// How often things go wrong: once in so many calls or steps; 0 is never.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    /// A call fails and was not carried out.
    pub refused: u64,
    /// A call was carried out and fails.
    pub lost: u64,
    /// A request arrives later or once more.
    pub again: u64,
    /// An answer is slow.
    pub slow: u64,
    /// Calls fail for a while, of one task or of all.
    pub storm: u64,
    /// A process dies.
    pub crash: u64,
    /// A process is asked to stop.
    pub cancel: u64,
    /// A process sleeps for long.
    pub sleep: u64,
    /// The store is full for a while.
    pub full: u64,
    /// A late request arrives.
    pub deliver: u64,
    /// A clock jumps.
    pub jump: u64,
    /// Hours or days pass.
    pub days: u64,
    /// Most steps of one task in a row.
    pub burst: u64,
    /// Names in one page of a listing.
    pub page: usize,
    /// What is there is looked at, in the middle of things.
    pub inspect: u64,
    /// Processes that run at once.
    pub tasks: usize,
    /// Machines.
    pub hosts: usize,
    /// Things that are done.
    pub actions: u64,
}

impl Profile {
    /// Chooses.
    pub(super) fn of(rng: &mut Rng) -> Self {
        // Some runs are calm, so that what they do gets far; some have one kind of fault only.
        let calm = rng.one_in(5);
        let mut rate = |often: &[u64]| if calm { 0 } else { *rng.pick(often) };
        let refused = rate(&[0, 0, 2000, 400, 100]);
        let lost = rate(&[0, 0, 1000, 300, 80]);
        let again = rate(&[0, 0, 100, 20]);
        let storm = rate(&[0, 0, 0, 4000, 1500]);
        let crash = rate(&[0, 0, 2000, 600, 250]);
        let cancel = rate(&[0, 0, 3000]);
        let full = rate(&[0, 0, 0, 0, 3000]);
        Self {
            refused,
            lost,
            again,
            slow: *rng.pick(&[0, 0, 50, 10]),
            storm,
            crash,
            cancel,
            sleep: *rng.pick(&[0, 300, 120, 60]),
            full,
            deliver: *rng.pick(&[100, 400, 1500]),
            jump: *rng.pick(&[0, 0, 500]),
            days: *rng.pick(&[0, 300, 100]),
            burst: *rng.pick(&[1, 3, 30, 300]),
            page: *rng.pick(&[2, 5, 20, 1000, 1000]),
            inspect: *rng.pick(&[0, 800, 200]),
            tasks: *rng.pick(&[1, 2, 3, 4, 6]),
            hosts: *rng.pick(&[1, 2, 2, 3]),
            actions: if rng.one_in(12) { 30 } else { 6 } + rng.below(14),
        }
    }
}

/// What becomes of a call.
pub(super) fn judge(profile: &Profile, rng: &mut Rng, call: &Call, storm: bool, full: bool) -> Verdict {
    let fine = Verdict::FINE;
    if call.operation.is_none() {
        return fine;
    }
    if full && call.writes() {
        return Verdict { carried_out: false, answer: Answer::Error(ErrorKind::Full), ..fine };
    }
    let passing = *rng.pick(&[ErrorKind::Retry, ErrorKind::Retry, ErrorKind::Io]);
    let again = call.is_lasting() && rng.one_in(profile.again);
    if storm && !rng.one_in(4) {
        return Verdict { carried_out: false, answer: Answer::Error(ErrorKind::Retry), again, ..fine };
    }
    if rng.one_in(profile.refused) {
        return Verdict { carried_out: false, answer: Answer::Error(passing), again, ..fine };
    }
    if rng.one_in(profile.lost) {
        return Verdict { answer: Answer::Error(passing), again, ..fine };
    }
    Verdict { again, slow: rng.one_in(profile.slow), ..fine }
}
