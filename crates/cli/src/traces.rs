//! Where traces of runs go: to a collector of OpenTelemetry, if the usual variables name one.
//!
//! A collector that does not answer is told, and changes nothing of how a run ends. On purpose not
//! here: what stands in a trace.

use crate::commands::Run;
use crate::fault::Fault;
use crate::secrets;
use crate::wire_up::{Plain, is_here};
use holdfast_scheduler::hands::Hands;
use holdfast_scheduler::trace::Origin;
use serde_json::Value;
use std::time::Duration;

/// So long may a collector take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A collector, and what it is told with each trace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Collector {
    url: String,
    headers: Vec<(String, String)>,
    service: String,
    parent: Option<(u128, u64)>,
}

impl Collector {
    /// The one that the environment names; none if it names none.
    ///
    /// # Errors
    /// It asks for what is not spoken here.
    pub(crate) fn from_env() -> Result<Option<Self>, String> {
        // Headers may hold what lets us in, and come by the leash where `serve` started this.
        Self::named(|name| secrets::value(name).and_then(|value| String::from_utf8(value.to_vec()).ok()))
    }

    fn named(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let traces = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT")
            .map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let Some(url) = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or(base).filter(|_| !is_off) else {
            return Ok(None);
        };
        if let Some(other) = traces("PROTOCOL").filter(|protocol| protocol != "http/json") {
            return Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is `{other}`, and only http/json is spoken: collectors take it at port 4318"
            ));
        }
        let headers = traces("HEADERS").map_or_else(Vec::new, |text| headers(&text));
        let in_the_clear = url
            .split_once("://")
            .is_none_or(|(scheme, rest)| !scheme.eq_ignore_ascii_case("https") && !is_here(rest));
        if in_the_clear && !headers.is_empty() {
            return Err(
                "the headers of OTEL_EXPORTER_OTLP_HEADERS would go in the clear: write https:// in \
                 OTEL_EXPORTER_OTLP_ENDPOINT; http:// with them is for this very host only"
                    .to_owned(),
            );
        }
        Ok(Some(Self {
            url,
            headers,
            service: variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "holdfast".to_owned()),
            parent: variable("TRACEPARENT").and_then(|text| Origin::parent(&text)),
        }))
    }

    /// What the spans of a run belong to.
    fn origin(&self, hands: &dyn Hands) -> Origin {
        let new = || u128::from(hands.random()) << 64 | u128::from(hands.random()) | 1;
        Origin {
            trace: self.parent.map_or_else(new, |(trace, _)| trace),
            parent: self.parent.map(|(_, span)| span),
            service: self.service.clone(),
            host: hands.host(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn send(&self, run: &Run, trace: &Value) -> Result<(), String> {
        let network = run.reach.as_ref().map_err(Fault::to_string)?;
        let body = trace.to_string();
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let plain = Plain { method: "POST", url: &self.url, headers: &headers, body: body.as_bytes() };
        let asked = tokio::time::timeout(ANSWER_MAX, network.ask(&plain)).await;
        let answered = asked.map_err(|_| format!("no answer in {} s", ANSWER_MAX.as_secs()))?;
        match answered.map_err(|error| error.to_string())?.status {
            200..=299 => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }
}

/// Sends the trace that is made, if there is a collector.
pub(crate) async fn send(run: &Run, hands: &dyn Hands, make: impl FnOnce(&Origin) -> Value) {
    let collector = match Collector::from_env() {
        Ok(None) => return,
        Ok(Some(collector)) => collector,
        Err(why) => return run.ink.warn(&format!("no trace is sent: {why}")),
    };
    let trace = make(&collector.origin(hands));
    if let Err(why) = collector.send(run, &trace).await {
        run.ink.warn(&format!("the trace of this run is lost: {why} (OTEL_EXPORTER_OTLP_ENDPOINT)"));
    }
}

/// `name=value,name=value`, with values as in a URL.
fn headers(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), decoded(value.trim())?))
    };
    text.split(',').filter_map(pair).filter(|(name, _)| !name.is_empty()).collect()
}

/// A text with `%20` for a space; none if it is not whole.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (hex, after) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(hex[at]).to_digit(16);
        bytes.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn named(pairs: &[(&str, &str)]) -> Result<Option<Collector>, String> {
        Collector::named(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_usual_variables_name_it() {
        assert_eq!(named(&[]).unwrap(), None);
        let one = named(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x, x-team = ops,broken"),
            ("OTEL_SERVICE_NAME", "backup"),
            ("TRACEPARENT", "00-0000000000000000000000000000000a-000000000000000b-01"),
        ]);
        let one = one.unwrap().unwrap();
        assert_eq!(one.url, "http://127.0.0.1:4318/v1/traces");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(one.headers, [pair("authorization", "Bearer x"), pair("x-team", "ops")]);
        assert_eq!((&*one.service, one.parent), ("backup", Some((10, 11))));
        let whole = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/own"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://d"),
        ];
        assert_eq!(named(&whole).unwrap().unwrap().url, "https://c/own");
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(named(&[whole[0], off]).unwrap(), None);
        }
        let why = named(&[whole[0], ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(why.contains("grpc") && why.contains("http/json"), "{why}");
    }

    #[test]
    fn what_lets_us_in_to_a_collector_does_not_go_in_the_clear() {
        let of = |url: &str, more: &[(&str, &str)]| {
            named(&[&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)], more].concat())
        };
        let headers = [("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20c4nary")];
        for url in ["http://collector:4318", "HTTP://collector", "http://127.0.0.1@collector", "collector"] {
            let why = of(url, &headers).unwrap_err();
            assert!(why.contains("in the clear") && !why.contains("c4nary"), "{why}");
            assert!(of(url, &[]).is_ok(), "without headers nothing is given away");
        }
        for url in ["https://collector", "http://localhost:4318", "http://[::1]"] {
            assert!(of(url, &headers).is_ok(), "{url}");
        }
    }

    #[test]
    fn values_are_read_as_in_a_url() {
        assert_eq!(decoded("a%2Cb%3d").unwrap(), "a,b=");
        for broken in ["%", "%1", "%zz", "%ff", "%+f"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }
}
