//! Runs programs of the user's over what was restored: verifications and assertions.
//!
//! What they write stays out of the evidence: it may hold values. The person who runs the drill is
//! shown it. On purpose not here: statements in SQL, which a running cluster answers.

use super::Subject;
use crate::hands::{Ended, Hands, Program, Said};
use crate::policy::Assertion;
use holdfast_engine::proof::{Cause, Level, Probe};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// How long an assertion may take where nothing is stated.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Stands for what was restored.
const TARGET: &str = "{target}";

/// Runs the assertions that are programs of one source.
pub async fn prove(hands: &dyn Hands, subject: Subject<'_>, target: &Path) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (name, assertion) in of(subject) {
        let mut probe = Probe::new(format!("assertion {name}"), Level::Full);
        let timeout = assertion.timeout.map_or(TIMEOUT, |span| span.0);
        run(hands, &mut probe, Run { words: &assertion.command, target, timeout }).await;
        probes.push(probe);
    }
    probes
}

/// The assertions that are programs, where there is nothing that they could look at.
pub(super) fn unreachable(subject: Subject<'_>, why: &str) -> Vec<Probe> {
    let of = of(subject).into_iter();
    of.map(|(name, _)| {
        let mut probe = Probe::new(format!("assertion {name}"), Level::Full);
        let what = format!("it was not run: {why}, and it looks at a folder");
        probe.finds(Cause::Environment, what, "leave scratch.bucket out, or assert it of another source");
        probe
    })
    .collect()
}

/// Those of this source, with what they are called.
fn of(subject: Subject<'_>) -> Vec<(String, &Assertion)> {
    let all = subject.policy.drill.iter().flat_map(|drill| &drill.assertions).enumerate();
    all.filter(|(_, assertion)| assertion.source == subject.name && !assertion.command.is_empty())
        .map(|(number, assertion)| {
            (assertion.name.clone().unwrap_or_else(|| (number + 1).to_string()), assertion)
        })
        .collect()
}

/// A program that looks at what was restored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) words: &'a [String],
    pub(super) target: &'a Path,
    pub(super) timeout: Duration,
}

/// Runs a program; what it does not confirm is a finding. Tells whether it confirmed.
pub(super) async fn run(hands: &dyn Hands, probe: &mut Probe, run: Run<'_>) -> bool {
    let program = program(run.words, run.target, run.timeout);
    let tool = tool(run.words);
    match hands.program(program).await {
        Err(why) => {
            probe.finds(
                Cause::Environment,
                format!("{tool} could not be run: {why}"),
                "install it, or check its name",
            );
            false
        }
        Ok(ended) => {
            probe.seconds += ended.seconds;
            judge(hands, probe, &tool, &ended, run.timeout)
        }
    }
}

fn judge(hands: &dyn Hands, probe: &mut Probe, tool: &str, ended: &Ended, limit: Duration) -> bool {
    if ended.code == Some(0) && !ended.timed_out {
        probe.counts.insert("programs".into(), 1);
        return true;
    }
    if !ended.said.is_empty() {
        hands.say(Said::Note(&format!("{tool}: {}", ended.said)));
    }
    let what = how(tool, ended, limit);
    probe.finds(
        Cause::Assertion,
        what,
        "run it by hand over a restored copy; its own words are not in the evidence",
    );
    false
}

/// How a program ended, in words.
pub(super) fn how(tool: &str, ended: &Ended, limit: Duration) -> String {
    let limit = crate::policy::units::Span(limit);
    match ended {
        Ended { timed_out: true, .. } => format!("{tool} took longer than {limit} and was stopped"),
        Ended { code: Some(code), .. } => format!("{tool} ended with {code}"),
        Ended { code: None, .. } => format!("{tool} was killed"),
    }
}

/// A program, told where to look.
pub(super) fn program(words: &[String], target: &Path, timeout: Duration) -> Program {
    Program {
        words: words.iter().map(|word| told(word, target)).collect(),
        folder: Some(target.parent().unwrap_or(target).to_owned())
            .filter(|folder| !folder.as_os_str().is_empty()),
        timeout: Some(timeout),
        ..Program::default()
    }
}

/// A word in which the path stands for `{target}`, whatever its bytes.
fn told(word: &str, target: &Path) -> OsString {
    let mut told = OsString::new();
    for (number, piece) in word.split(TARGET).enumerate() {
        if number > 0 {
            told.push(target);
        }
        told.push(piece);
    }
    told
}

/// The name of a program without its folder: arguments may hold what is nobody's business.
pub(super) fn tool(words: &[String]) -> String {
    let first = words.first().map(String::as_str).unwrap_or_default();
    first.rsplit('/').next().unwrap_or(first).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, Stage};
    use super::super::verdict::Verdict;
    use super::*;
    use crate::policy::units::Span;

    fn assertion(source: &str, words: &[&str]) -> Assertion {
        Assertion {
            source: source.into(),
            name: None,
            database: None,
            sql: None,
            expect: None,
            keys_exist: None,
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            timeout: Some(Span(Duration::from_secs(5))),
        }
    }

    async fn asserted(ended: Result<Ended, String>) -> (Vec<Probe>, Fake) {
        let mut stage = Stage::files(&["/srv"]);
        let words = ["/opt/check", "--in={target}/srv", "secret=x"];
        stage.assert(vec![assertion("other", &["no"]), assertion("tree", &words)]);
        let fake = Fake::default().with_program(move |_| ended.clone());
        let probes = prove(&fake, stage.subject(), Path::new("/scratch/tree")).await;
        (probes, fake)
    }

    #[tokio::test]
    async fn a_program_is_told_where_to_look() {
        let (probes, fake) = asserted(Ok(Ended { code: Some(0), ..Ended::default() })).await;
        assert_eq!(Verdict::of(&probes), Verdict::Pass);
        let [program] = &fake.programs()[..] else { panic!() };
        assert_eq!(program.words, ["/opt/check", "--in=/scratch/tree/srv", "secret=x"]);
        assert_eq!(program.timeout, Some(Duration::from_secs(5)));
        assert_eq!(probes[0].name, "assertion 2");
    }

    #[tokio::test]
    async fn what_it_does_not_confirm_is_found_and_its_words_are_not_kept() {
        let said = "customer 4711 is missing".to_owned();
        let (probes, fake) = asserted(Ok(Ended { code: Some(3), said, ..Ended::default() })).await;
        let finding = &probes[0].findings[0];
        assert_eq!((finding.cause, finding.what.as_str()), (Cause::Assertion, "check ended with 3"));
        assert!(!format!("{probes:?}").contains("4711") && fake.said()[0].contains("4711"));
        let (probes, _) = asserted(Ok(Ended { timed_out: true, ..Ended::default() })).await;
        assert!(probes[0].findings[0].what.contains("longer than 5s"), "{probes:?}");
        let (probes, _) = asserted(Err("no such program".into())).await;
        assert_eq!(Verdict::of(&probes), Verdict::Inconclusive);
    }
}
