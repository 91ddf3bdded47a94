//! Traces of runs and drills: what a collector of OpenTelemetry gets, and that a run does not mind one
//! that is away.

use super::run::Shop;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// A collector that answers one request after the other; what it was told: the head and the body.
fn collector(status: &'static str) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let request = take(stream.unwrap(), status);
            if told.send(request).is_err() {
                return;
            }
        }
    });
    (url, heard)
}

fn take(mut stream: TcpStream, status: &str) -> (String, Value) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let (head, length) = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(|length| length.parse::<usize>().unwrap())
            });
            break (head.to_owned(), length.expect("a length"));
        }
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "it ends before its head");
        bytes.extend_from_slice(&piece[..read]);
    };
    let mut body = bytes.split_off(head.len() + 4);
    let rest = length - body.len();
    (&mut stream).take(rest as u64).read_to_end(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}").unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

fn names(trace: &Value) -> Vec<String> {
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    spans.iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_collector_gets_what_a_run_and_a_drill_did() {
    let shop = Shop::new(
        "check: {}\ndrill: { level: restore }\nhooks: { before: [ { run: [ sh, -c, 'env > seen' ] } ] }\n",
    );
    let (url, heard) = collector("200 OK");
    let run = |verb: &str| {
        let mut command = shop.command();
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=se%2Ccret");
        command.env("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        command.args([verb, "--json"]).arg(&shop.policy);
        shop.world.run_as(&mut command, &[]).ends(0);
        heard.recv_timeout(PATIENCE).unwrap()
    };
    let (head, trace) = run("run");
    let seen = std::fs::read_to_string(shop.world.path("seen")).unwrap();
    assert!(seen.contains("HOLDFAST_POLICY=shop") && !seen.contains("se%2Ccret"), "{seen}");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("x-key: se,cret") && head.contains("content-type: application/json"), "{head}");
    let found = names(&trace);
    assert_eq!((&*found[0], &*found[found.len() - 1]), ("run shop", "drill shop"), "{found:?}");
    assert!(
        found.iter().any(|name| name == "backup of tree")
            && found.iter().any(|name| name == "check of repository")
    );
    let first = &trace["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(first["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(first["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(names(&run("drill").1), ["drill shop"]);
}

#[test]
fn a_collector_that_is_away_or_refuses_is_told_and_changes_nothing() {
    let shop = Shop::new("");
    let run = |pairs: &[(&str, &str)]| {
        let mut command = shop.command();
        command.envs(pairs.iter().copied()).arg("run").arg(&shop.policy);
        shop.world.run_as(&mut command, &[]).ends(0)
    };
    let (url, _heard) = collector("403 Forbidden");
    run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).says(&["the trace of this run is lost", "403"]);
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("http://{away}");
    run(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &away)]).says(&["the trace of this run is lost"]);
    let grpc = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*away), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    run(&grpc).says(&["no trace is sent", "http/json"]);
}
