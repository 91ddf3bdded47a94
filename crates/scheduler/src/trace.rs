//! What a run did, as a trace of OpenTelemetry: one span for the run, one for each step, one for the
//! drill at its end.
//!
//! The form is OTLP's JSON, <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>: ids in
//! hexadecimal, moments in nanoseconds as text. On purpose not here: sending it; anything that was read
//! from a source, but names and numbers.

use crate::drill::verdict::Verdict;
use crate::evidence::Record;
use crate::run::{RunReport, State, Step};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What a trace is about and belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Which trace the spans are of.
    pub trace: u128,
    /// The span that called this run; none where it began by itself.
    pub parent: Option<u64>,
    /// `service.name`.
    pub service: String,
    /// The host.
    pub host: String,
    /// The version of this program.
    pub version: String,
}

impl Origin {
    /// The trace and the span that a W3C `traceparent` names; none where it is none.
    #[must_use]
    pub fn parent(text: &str) -> Option<(u128, u64)> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_whole = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        // The first version has these four parts; later ones may have more.
        if !is_whole || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        (trace != 0 && span != 0).then_some((trace, span))
    }
}

/// How a span ended.
struct Outcome<'a> {
    is_well: bool,
    message: &'a str,
}

/// The trace of a run. `random` gives numbers that nobody has used.
#[must_use]
pub fn of_run(report: &RunReport, origin: &Origin, mut random: impl FnMut() -> u64) -> Value {
    let mut new = || random().max(1);
    let root = new();
    let code = report.code();
    let worst = report.troubles().next();
    let attributes = vec![text("holdfast.policy", &report.policy), number("holdfast.exit_code", code.into())];
    let outcome = Outcome { is_well: code == 0, message: worst.map_or("", |step| step.message.as_str()) };
    let name = format!("run {}", report.policy);
    let during = (report.started, report.ended);
    let mut spans = vec![span(origin, (root, origin.parent), &name, during, &attributes, &outcome)];
    for step in &report.steps {
        let Some(started) = step.started else { continue };
        spans.push(of_step(step, started, origin, (new(), root)));
    }
    if let Some(drill) = &report.drill {
        spans.push(drilled(&drill.record, origin, (new(), Some(root))));
    }
    wrapped(origin, &spans)
}

/// The trace of a drill.
#[must_use]
pub fn of_drill(record: &Record, origin: &Origin, mut random: impl FnMut() -> u64) -> Value {
    let spans = vec![drilled(record, origin, (random().max(1), origin.parent))];
    wrapped(origin, &spans)
}

fn of_step(step: &Step, started: Timestamp, origin: &Origin, (id, root): (u64, u64)) -> Value {
    let mut attributes = vec![text("holdfast.activity", step.activity), text("holdfast.place", &step.place)];
    attributes.push(text("holdfast.state", step.state.word()));
    attributes.extend(step.source.as_ref().map(|source| text("holdfast.source", source)));
    attributes.extend(step.snapshot.as_ref().map(|snapshot| text("holdfast.snapshot", snapshot)));
    attributes.extend(step.code.map(|code| number("holdfast.exit_code", code.into())));
    let is_well = matches!(step.state, State::Done | State::NotHere | State::Held | State::Planned);
    let ended = after(started, step.seconds);
    let outcome = Outcome { is_well, message: &step.message };
    span(origin, (id, Some(root)), &step.title(), (started, ended), &attributes, &outcome)
}

fn drilled(record: &Record, origin: &Origin, ids: (u64, Option<u64>)) -> Value {
    let mut attributes = vec![
        text("holdfast.policy", &record.policy),
        text("holdfast.place", &record.from),
        text("holdfast.drill", &record.id),
        text("holdfast.verdict", &format!("{:?}", record.verdict).to_lowercase()),
        number("holdfast.exit_code", record.code.into()),
    ];
    for source in &record.sources {
        for phase in &source.phases {
            let name = format!("holdfast.{}.{}.seconds", source.source, phase.name.replace(' ', "_"));
            attributes.push(json!({ "key": name, "value": { "doubleValue": phase.seconds } }));
        }
    }
    let outcome = Outcome { is_well: record.verdict == Verdict::Pass, message: "" };
    let name = format!("drill {}", record.policy);
    span(origin, ids, &name, (record.started, record.ended), &attributes, &outcome)
}

fn span(
    origin: &Origin,
    (id, parent): (u64, Option<u64>),
    name: &str,
    (started, ended): (Timestamp, Timestamp),
    attributes: &[Value],
    outcome: &Outcome<'_>,
) -> Value {
    let status = match outcome.is_well {
        true => json!({ "code": 1 }),
        false => json!({ "code": 2, "message": outcome.message }),
    };
    let mut span = json!({
        "traceId": format!("{:032x}", origin.trace),
        "spanId": format!("{id:016x}"),
        "name": name,
        // Nobody waits for an answer to it, and it asks nobody.
        "kind": 1,
        "startTimeUnixNano": started.as_nanosecond().to_string(),
        "endTimeUnixNano": ended.max(started).as_nanosecond().to_string(),
        "attributes": attributes,
        "status": status,
    });
    if let Some(parent) = parent {
        span["parentSpanId"] = format!("{parent:016x}").into();
    }
    span
}

fn wrapped(origin: &Origin, spans: &[Value]) -> Value {
    let resource = [
        text("service.name", &origin.service),
        text("service.version", &origin.version),
        text("host.name", &origin.host),
    ];
    let scope = json!({ "name": "holdfast", "version": origin.version });
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Whole numbers are texts there, as they may be longer than JSON's.
fn number(key: &str, value: i64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn after(started: Timestamp, seconds: f64) -> Timestamp {
    let took = jiff::SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    started.checked_add(took).unwrap_or(started)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    fn origin(parent: Option<u64>) -> Origin {
        let [service, host, version] = ["holdfast", "db1", "0.1.0"].map(str::to_owned);
        Origin { trace: 0xabc, parent, service, host, version }
    }

    fn report() -> RunReport {
        let done = Step {
            seconds: 2.5,
            started: Some(at(1)),
            code: Some(0),
            ..Step::new("backup", Some("db"), "repository")
        };
        let done = done.ends(State::Done, "3 files", "");
        let failed =
            Step { seconds: 1.0, started: Some(at(4)), code: Some(1), ..Step::new("copy", None, "offsite") };
        let failed = failed.ends(State::Failed, "no answer", "look");
        let skipped = Step::new("check", None, "repository");
        RunReport {
            policy: "shop".into(),
            started: at(0),
            ended: at(9),
            steps: vec![done, failed, skipped],
            drill: None,
            dry_run: false,
            stopped: false,
        }
    }

    #[test]
    fn a_run_is_a_tree_of_spans() {
        let mut next = 0x10;
        let trace = of_run(&report(), &origin(Some(0x77)), || {
            next += 1;
            next
        });
        let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        // What was not tried has no time.
        assert_eq!(spans.len(), 3);
        let all =
            |field: &str| spans.iter().map(|span| span[field].as_str().unwrap_or("")).collect::<Vec<_>>();
        assert_eq!(all("name"), ["run shop", "backup of db", "copy to offsite"]);
        assert_eq!(all("parentSpanId"), ["0000000000000077", "0000000000000011", "0000000000000011"]);
        assert_eq!(all("spanId"), ["0000000000000011", "0000000000000012", "0000000000000013"]);
        assert!(all("traceId").iter().all(|id| *id == "00000000000000000000000000000abc"));
        assert_eq!(spans[1]["endTimeUnixNano"], "1795000003500000000");
        assert_eq!(spans[1]["status"]["code"], 1);
        assert_eq!(spans[2]["status"], json!({ "code": 2, "message": "no answer" }));
        assert_eq!(spans[0]["status"]["code"], 2);
        let resource = trace["resourceSpans"][0]["resource"]["attributes"].to_string();
        assert!(resource.contains("service.name") && resource.contains("db1"), "{resource}");
        let alone = of_run(&report(), &origin(None), || 5);
        assert!(alone["resourceSpans"][0]["scopeSpans"][0]["spans"][0].get("parentSpanId").is_none());
    }

    #[test]
    fn a_parent_is_read_as_w3c_has_it() {
        let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = Some((0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7));
        assert_eq!(Origin::parent(whole), parent);
        assert_eq!(Origin::parent(&format!("{}-more", whole.replacen("00", "01", 1))), parent);
        let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let upper = whole.to_uppercase();
        let longer = format!("{whole}-more");
        for wrong in ["", "00", &whole[..50], zero, &upper, &longer, &whole.replacen("00", "ff", 1)] {
            assert_eq!(Origin::parent(wrong), None, "{wrong}");
        }
    }
}
