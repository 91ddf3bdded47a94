//! What the program says: data on standard output, talk on standard error.
//!
//! The only place that writes to either. On purpose not here: what is worth saying.

mod escape;
mod json;
mod json_alert;
mod json_bucket;
mod json_contents;
mod json_copy;
mod json_domain;
mod json_evidence;
mod json_keys;
mod json_maintain;
mod json_policy;
mod json_recovery;
mod json_repair;
mod json_restore;
mod json_run;
mod json_serve;
mod json_status;
mod json_stream;
mod json_wal;
mod moment;
mod progress;
mod size;
mod table;
mod tell;

pub(crate) use escape::escape;
pub(crate) use json::{
    AnswerLine, Around, CheckSummary, ExitError, FindingLine, InitLine, Node, SnapshotLine, Summary,
    VersionLine, WarningLine,
};
pub(crate) use json_alert::{ChannelStatusLine, NotifyTestedLine, SilenceEndedLine, SilenceLine};
pub(crate) use json_bucket::{PolicyLine, PreflightLine, TrafficLine};
pub(crate) use json_contents::{
    ChangeLine, DiffSummary, DumpSummary, FindSummary, SnapshotStatsLine, StatsSummary,
};
pub(crate) use json_copy::{CopiedLine, CopySummary};
pub(crate) use json_domain::{DomainLine, GrantedLine, ShredSummary};
pub(crate) use json_evidence::{
    ChainLine, EvidenceLine, EvidenceProblemLine, EvidenceSummary, InheritedLine, NotedLine, ProofField,
};
pub(crate) use json_keys::{
    ChangedLine, CompletionsLine, GroupLine, KeyAddedLine, KeyChangedLine, KeyLine, KeyRemovedLine,
    KeysRotatedLine, ManLine, MemberLine, MemberRemovedLine, TagSummary,
};
pub(crate) use json_maintain::{ForgetSummary, HoldLine, NamedLine, PruneSummary, VerdictLine};
pub(crate) use json_policy::{
    CoverageLine, CoverageSummary, PolicyCheckSummary, PolicyFollowsLine, PolicyKeptLine, PolicyKeyLine,
    PolicyLintLine, PolicyMistakeLine, PolicyReplayLine, PolicyRoomLine, PolicyRunLine, PolicySchemaLine,
    PolicyToldLine, PolicyTrafficLine, PolicyUnseenLine,
};
pub(crate) use json_recovery::{CommitLine, RecoveryLine, SeenLine};
pub(crate) use json_repair::{
    DamageLine, DamagedSnapshotLine, FoundTreeLine, LostFileLine, RecoverSummary, RepairIndexSummary,
    RepairLogSummary, RepairSnapshotsSummary,
};
pub(crate) use json_restore::{
    ArchivedPackLine, ConfigurationLine, DeletedLine, PlanLine, RestoreSummary, Verified,
};
pub(crate) use json_run::{DrillDueLine, DrillLine, RunSummary, StepLine};
pub(crate) use json_serve::{JobLine, ServiceLine};
pub(crate) use json_status::{CopyStatusLine, ProblemLine, SlotStatusLine, SourceStatusLine, StatusSummary};
pub(crate) use json_stream::{SlotDroppedLine, SlotLine, WalStoredLine, WalStreamSummary, WalStreamingLine};
pub(crate) use json_wal::{
    AdoptedLine, WalFetchedLine, WalFileLine, WalPushedLine, WalStatusSummary, WalTimelineLine, WalWindowLine,
};
pub(crate) use moment::{local, local_offset, parse as parse_time, rfc3339, since};
pub(crate) use progress::Progress;
pub(crate) use size::{age, count, counted, duration, parse_duration, parse_rate, parse_size, rate, size};
pub(crate) use table::{Align, Table};
pub(crate) use tell::{tell_notices, tell_problems};

use crate::fault::{Code, Fault};
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much and in which form the program speaks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tone {
    /// JSON lines instead of text.
    pub(crate) json: bool,
    /// No progress, no summaries.
    pub(crate) quiet: bool,
    /// Everything in full length.
    pub(crate) verbose: bool,
}

/// The pen.
#[derive(Debug)]
pub(crate) struct Ink {
    pub(crate) tone: Tone,
    colour: bool,
    terminal: bool,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    to: BufWriter<Stdout>,
    failed: Option<io::Error>,
}

impl Ink {
    /// Looks where standard output and error go.
    pub(crate) fn new(tone: Tone) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let smart = variable("TERM").is_some_and(|term| term != "dumb");
        let terminal = io::stderr().is_terminal() && smart;
        let out = Mutex::new(Out { to: BufWriter::new(io::stdout()), failed: None });
        Self { tone, colour: terminal && variable("NO_COLOR").is_none(), terminal, out }
    }

    /// Whether a bar can be drawn.
    pub(crate) const fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a line of data.
    pub(crate) fn data(&self, line: &str) {
        self.write_out(line.as_bytes());
    }

    /// Writes a table, within the terminal if there is one.
    pub(crate) fn table(&self, table: &Table) {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let room = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
        table.lines(room).iter().for_each(|line| self.data(line));
    }

    /// Writes a JSON line of data.
    pub(crate) fn json(&self, line: &impl Serialize) {
        self.write_out(&json_bytes(line));
    }

    /// Writes a JSON line of data that somebody waits for.
    pub(crate) fn json_now(&self, line: &impl Serialize) {
        self.json(line);
        self.flush();
    }

    /// Lets out all data, so that what is said next stands below it.
    fn flush(&self) {
        let mut out = self.lock();
        let result = out.to.flush();
        out.keep(result);
    }

    /// Says something that one may miss.
    pub(crate) fn talk(&self, line: &str) {
        if !self.tone.quiet && !self.tone.json {
            self.flush();
            write_err(line.as_bytes());
        }
    }

    /// Says something that one should not miss; only where the tone is text.
    pub(crate) fn insist(&self, line: &str) {
        if !self.tone.json {
            write_err(line.as_bytes());
        }
    }

    /// Writes a JSON line about something that went wrong.
    pub(crate) fn json_problem(&self, line: &impl Serialize) {
        write_err(&json_bytes(line));
    }

    /// Says what is not as it should be, though the run goes on.
    pub(crate) fn warn(&self, message: &str) {
        if self.tone.json {
            self.json_problem(&WarningLine::new(message));
        } else {
            self.insist(&format!("{} {}", self.paint("33", "warning:"), escape_lines(message)));
        }
    }

    /// Says what failed, though the run goes on; only where the tone is text.
    pub(crate) fn fail(&self, message: &str) {
        self.insist(&format!("{} {}", self.paint("1;31", "failed:"), escape_lines(message)));
    }

    /// Says why the program ends as it does, and what to do now.
    pub(crate) fn fault(&self, fault: &Fault) {
        if self.tone.json {
            return self.json_problem(&ExitError::of(fault));
        }
        let head = match fault.code {
            Code::Incomplete => self.paint("33", "incomplete:"),
            Code::Absent => self.paint("33", "not there:"),
            Code::Degraded => self.paint("33", "warning:"),
            Code::Broken => self.paint("1;31", "broken promises:"),
            Code::CannotTell => self.paint("33", "cannot tell:"),
            Code::Inconclusive => self.paint("33", "inconclusive:"),
            _ => self.paint("1;31", "error:"),
        };
        self.insist(&fault_text(&head, fault));
    }

    /// Ends the data; tells whether all of it could be written. A reader that had enough (`| head`)
    /// is no failure.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        let mut out = self.lock();
        let result = out.to.flush();
        out.keep(result);
        match out.failed.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Fault::failed("cannot write to standard output", "").because(&error))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is still somebody who reads the data.
    pub(crate) fn is_heard(&self) -> bool {
        self.lock().failed.is_none()
    }

    fn write_out(&self, line: &[u8]) {
        let mut out = self.lock();
        if out.failed.is_none() {
            let result = out.to.write_all(line).and_then(|()| out.to.write_all(b"\n"));
            out.keep(result);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Out {
    fn keep(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }
}

/// Four lines at most of each: what, why, what to do.
fn fault_text(head: &str, fault: &Fault) -> String {
    let mut text = format!("{head} {}", indent(&escape_lines(&fault.what)));
    for (at, cause) in fault.why.iter().enumerate() {
        let label = if at == 0 { "why" } else { "   " };
        text.push_str(&format!("\n  {label}  {}", indent(&escape_lines(cause))));
    }
    if !fault.hint.is_empty() {
        text.push_str(&format!("\n  do   {}", indent(&fault.hint)));
    }
    text
}

/// Escapes a message whose line breaks are meant.
fn escape_lines(text: &str) -> String {
    text.lines().map(|line| escape(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

fn indent(text: &str) -> String {
    text.replace('\n', "\n       ")
}

fn json_bytes(line: &impl Serialize) -> Vec<u8> {
    // The views hold nothing that JSON cannot say; an empty line would be the harmless end of a mistake.
    serde_json::to_vec(line).unwrap_or_default()
}

/// Writes one whole line, in one call, so that lines of several programs do not mix.
fn write_err(line: &[u8]) {
    let mut line = line.to_vec();
    line.push(b'\n');
    // There is nowhere left to say that this failed.
    let _ = io::stderr().write_all(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_why_and_what_to_do() {
        let fault = Fault {
            code: Code::Failed,
            what: "no\x1b".into(),
            why: vec!["a".into(), "b".into()],
            hint: "c".into(),
        };
        assert_eq!(fault_text("error:", &fault), "error: no\\x1b\n  why  a\n       b\n  do   c");
    }
}
