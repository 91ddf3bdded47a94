//! A record as JUnit XML: a suite for the policy, a case for each probe of each source, for each objective, and one
//! for the verdict, so that a report is never greener than the drill was.
//!
//! On purpose not here: fields that only one server reads.

use super::markup::Markup;
use super::words;
use super::{Objective, Record, SourceRecord};
use crate::drill::verdict::Verdict;
use holdfast_engine::proof::{Cause, Probe};

/// How a case ended.
enum Outcome {
    Passed,
    /// Something failed: type, message, text.
    Failed(String, String, String),
    /// Nothing was proved.
    Error(String, String, String),
    /// It could not be proved here: why.
    Skipped(String),
}

/// One case.
struct Case {
    class: String,
    name: String,
    seconds: f64,
    outcome: Outcome,
    said: Vec<String>,
}

/// Renders a record.
#[must_use]
pub fn render(record: &Record) -> String {
    let cases = cases(record);
    let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.outcome)).count().to_string();
    let totals = [
        ("tests", cases.len().to_string()),
        ("failures", count(|outcome| matches!(outcome, Outcome::Failed(..)))),
        ("errors", count(|outcome| matches!(outcome, Outcome::Error(..)))),
        ("skipped", count(|outcome| matches!(outcome, Outcome::Skipped(_)))),
        ("time", words::plain(record.took())),
    ];
    let mut xml = Markup::default();
    xml.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites").attribute("name", "holdfast drill");
    for &(name, ref value) in &totals {
        xml.attribute(name, value);
    }
    xml.raw(">\n  <testsuite").attribute("name", &record.policy);
    for &(name, ref value) in &totals {
        xml.attribute(name, value);
    }
    let began = record.started.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    xml.attribute("timestamp", &began).attribute("hostname", &record.host).raw(">\n    <properties>\n");
    for (name, value) in properties(record) {
        xml.raw("      <property").attribute("name", &name).attribute("value", &value).raw("/>\n");
    }
    xml.raw("    </properties>\n");
    cases.iter().for_each(|case| write(&mut xml, case));
    xml.raw("  </testsuite>\n</testsuites>\n");
    xml.into_string()
}

fn write(xml: &mut Markup, case: &Case) {
    xml.raw("    <testcase").attribute("classname", &case.class).attribute("name", &case.name);
    xml.attribute("time", &words::plain(case.seconds));
    if matches!(case.outcome, Outcome::Passed) && case.said.is_empty() {
        xml.raw("/>\n");
        return;
    }
    xml.raw(">\n");
    match &case.outcome {
        Outcome::Passed => {}
        Outcome::Failed(kind, message, text) => {
            xml.raw("      <failure").attribute("type", kind).attribute("message", message);
            xml.raw(">").text(text).raw("</failure>\n");
        }
        Outcome::Error(kind, message, text) => {
            xml.raw("      <error").attribute("type", kind).attribute("message", message);
            xml.raw(">").text(text).raw("</error>\n");
        }
        Outcome::Skipped(why) => {
            xml.raw("      <skipped").attribute("message", why).raw("/>\n");
        }
    }
    if !case.said.is_empty() {
        xml.raw("      <system-out>").text(&case.said.join("\n")).raw("</system-out>\n");
    }
    xml.raw("    </testcase>\n");
}

fn properties(record: &Record) -> Vec<(String, String)> {
    let own = [
        ("drill", &record.id),
        ("policy hash", &record.policy_hash),
        ("user", &record.user),
        ("holdfast", &record.program),
        ("restored from", &record.from),
        ("url", &record.url),
        ("key", &record.key),
    ];
    let mut all: Vec<(String, String)> =
        own.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    all.push(("level".into(), words::level(record.level).into()));
    all.push(("verdict".into(), words::verdict(record.verdict).into()));
    all.push(("exit code".into(), record.code.to_string()));
    for source in &record.sources {
        all.extend(of_source(source));
    }
    for objective in &record.objectives {
        all.push((format!("{} {}", objective.source, objective.name), objective_text(objective)));
    }
    all.extend(record.scratch.iter().map(|said| ("scratch".to_owned(), said.clone())));
    all
}

fn of_source(source: &SourceRecord) -> Vec<(String, String)> {
    let name = |what: &str| format!("{} {what}", source.source);
    let mut all = vec![
        (name("kind"), source.kind.clone()),
        (name("point"), source.point.clone()),
        (name("level reached"), words::reached(source.reached).into()),
        (name("restored bytes"), source.bytes.to_string()),
        (name("verdict"), words::verdict(source.verdict).into()),
    ];
    all.extend(source.snapshot.iter().map(|id| (name("snapshot"), id.clone())));
    all.extend(source.share.iter().map(|share| (name("share"), words::plain(*share))));
    let phases = source.phases.iter();
    all.extend(phases.map(|phase| (name(&format!("phase {}", phase.name)), words::plain(phase.seconds))));
    all
}

fn objective_text(objective: &Objective) -> String {
    let promised = words::seconds(objective.limit);
    format!("promised {promised}, measured {}: {}", words::measured(objective), words::kept(objective))
}

fn cases(record: &Record) -> Vec<Case> {
    let mut cases = Vec::new();
    for source in &record.sources {
        let class = format!("{}.{}", record.policy, source.source);
        cases.extend(source.probes.iter().map(|probe| of_probe(&class, probe)));
        if source.probes.is_empty() {
            cases.push(of_nothing(class));
        }
    }
    cases.extend(record.objectives.iter().map(|objective| of_objective(&record.policy, objective)));
    cases.push(of_verdict(record));
    cases
}

fn of_probe(class: &str, probe: &Probe) -> Case {
    let mut said = Vec::new();
    if !probe.counts.is_empty() {
        said.push(words::counts(probe));
    }
    said.extend(probe.notes.iter().cloned());
    said.extend(probe.not_provable.iter().map(|what| format!("not provable: {what}")));
    let name = format!("{}: {}", words::level(probe.level), probe.name);
    Case { class: class.to_owned(), name, seconds: probe.seconds, outcome: outcome(probe), said }
}

/// A failure if any finding is one; the first of those gives type and message.
fn outcome(probe: &Probe) -> Outcome {
    let is_failure = |cause: Cause| cause != Cause::Environment;
    let failure = probe.findings.iter().find(|finding| is_failure(finding.cause));
    if let Some(finding) = failure.or(probe.findings.first()) {
        let (kind, message) = (words::cause(finding.cause).to_owned(), words::line(&finding.what));
        let make = if is_failure(finding.cause) { Outcome::Failed } else { Outcome::Error };
        return make(kind, message, findings_text(probe));
    }
    let proved_nothing = probe.counts.is_empty() && !probe.not_provable.is_empty();
    if proved_nothing {
        Outcome::Skipped(words::line(&probe.not_provable.join("; ")))
    } else {
        Outcome::Passed
    }
}

fn findings_text(probe: &Probe) -> String {
    let texts = probe.findings.iter().map(|finding| {
        let next = if finding.next.is_empty() { String::new() } else { format!("\ndo: {}", finding.next) };
        format!("{}: {}{next}", words::cause(finding.cause), finding.what)
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// A source of which nothing was looked at.
fn of_nothing(class: String) -> Case {
    let message = "nothing was looked at".to_owned();
    let outcome = Outcome::Error("environment".into(), message.clone(), String::new());
    Case { class, name: message, seconds: 0.0, outcome, said: Vec::new() }
}

fn of_objective(policy: &str, objective: &Objective) -> Case {
    let text = objective_text(objective);
    let broken = !objective.met && objective.enforced;
    let outcome = if broken {
        Outcome::Failed("objective".into(), format!("{} {text}", objective.name), text.clone())
    } else {
        Outcome::Passed
    };
    let class = format!("{policy}.{}", objective.source);
    Case { class, name: format!("objective: {}", objective.name), seconds: 0.0, outcome, said: vec![text] }
}

fn of_verdict(record: &Record) -> Case {
    let (word, meaning) = (words::verdict(record.verdict), words::meaning(record.verdict));
    let outcome = match record.verdict {
        Verdict::Pass if record.code == 0 => Outcome::Passed,
        Verdict::Inconclusive => Outcome::Error("inconclusive".into(), meaning.into(), String::new()),
        Verdict::Pass | Verdict::Fail => {
            let text = format!("exit code {}", record.code);
            Outcome::Failed(word.into(), words::meaning(Verdict::Fail).into(), text)
        }
    };
    let class = record.policy.clone();
    Case { class, name: "verdict".into(), seconds: record.took(), outcome, said: Vec::new() }
}
