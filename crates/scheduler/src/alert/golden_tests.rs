//! Messages word for word: what is told is a promise to whoever reads it at three in the morning, and to
//! programs.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::decide::Told;
use super::message::{Event, of_alert};
use super::page::lay;
use super::stored::{Stored, Text, ToldTo};
use crate::status::{Problem, State};
use jiff::tz::TimeZone;
use serde_json::json;

fn alert() -> Stored {
    let at = |text: &str| text.parse().unwrap();
    let problem = Problem {
        policy: "shop".to_owned(),
        source: Some("media".to_owned()),
        copy: None,
        channel: None,
        state: State::High,
        condition: "rpo",
        what: "shop/media is not backed up since 11-19. If the bucket is lost now, 3 days are lost."
            .to_owned(),
        why: "GetObject denied for 214 keys (attempt of 02:31)".to_owned(),
        to_do: "holdfast preflight s3://media ; then: holdfast run /etc/holdfast/shop.yaml --source media"
            .to_owned(),
        do_not: "forget or prune shop until this is ok".to_owned(),
        restore: "holdfast -r /b restore latest --source shop/media --target DIR --dry-run     about 6 min"
            .to_owned(),
    };
    let mut alert = Stored::new(&problem, at("2026-11-21T18:14:00Z"));
    (alert.open, alert.episode, alert.text) = (true, 2, Text::from(&problem));
    let told = ToldTo { severity: State::High, at: at("2026-11-21T18:14:00Z"), reminders: 0 };
    alert.told.insert("slack:00".to_owned(), told);
    alert
}

fn told(event: Event) -> Told {
    Told { channel: "slack:00".to_owned(), event, number: 1 }
}

#[test]
fn the_body_of_a_webhook_is_a_promise() {
    let zone = TimeZone::get("Asia/Seoul").unwrap();
    let message = of_alert(&alert(), &told(Event::Opened), "2026-11-21T18:14:00Z".parse().unwrap(), &zone);
    let wanted = json!({
        "version": 1,
        "id": message.id,
        "event": "opened",
        "policy": "shop",
        "source": "media",
        "copy": null,
        "condition": "rpo",
        "fingerprint": alert().fingerprint,
        "episode": 2,
        "severity": "high",
        "title": "HIGH shop/media is not backed up since 11-19",
        "message": "shop/media is not backed up since 11-19. If the bucket is lost now, 3 days are lost.",
        "why": "GetObject denied for 214 keys (attempt of 02:31)",
        "do": "holdfast preflight s3://media ; then: holdfast run /etc/holdfast/shop.yaml --source media",
        "do_not": "forget or prune shop until this is ok",
        "restore": "holdfast -r /b restore latest --source shop/media --target DIR --dry-run     about 6 min",
        "lines": [],
        "since": "2026-11-22T03:14:00+09:00",
        "at": "2026-11-22T03:14:00+09:00"
    });
    assert_eq!(serde_json::to_value(&message).unwrap(), wanted);
    assert_eq!((message.id.len(), message.fingerprint.unwrap().len()), (32, 16));
    // The same decision has the same number, another one another.
    let again = of_alert(&alert(), &told(Event::Opened), "2026-11-21T18:15:00Z".parse().unwrap(), &zone);
    assert_eq!(again.id, message.id);
    let later = Stored { since: "2026-11-21T18:15:00Z".parse().unwrap(), ..alert() };
    let later = of_alert(&later, &told(Event::Opened), "2026-11-21T18:15:00Z".parse().unwrap(), &zone);
    assert_ne!(later.id, message.id, "one that was forgotten and came back");
    let next = Told { number: 2, ..told(Event::Reminder) };
    assert_ne!(of_alert(&alert(), &next, "2026-11-21T18:15:00Z".parse().unwrap(), &zone).id, message.id);
}

#[test]
fn people_read_four_lines() {
    let zone = TimeZone::get("Asia/Seoul").unwrap();
    let message = of_alert(&alert(), &told(Event::Reminder), "2026-11-21T19:14:00Z".parse().unwrap(), &zone);
    let laid = lay(&message);
    assert_eq!(laid.title, "HIGH for 1 h: shop/media is not backed up since 11-19");
    assert_eq!(laid.text, ["If the bucket is lost now, 3 days are lost."]);
    let labels: Vec<&str> = laid.lines.iter().map(|(label, _)| *label).collect();
    assert_eq!(labels, ["why", "do", "do not", "restore"]);
    assert!(laid.lines.iter().all(|(_, text)| !text.is_empty()));
    let foot = format!(
        "holdfast · shop · 2026-11-22T04:14:00+09:00 · since 2026-11-22T03:14:00+09:00 · number {}",
        message.id
    );
    assert_eq!(laid.foot, foot);
}

#[test]
fn a_resolution_says_what_is_over() {
    let mut alert = alert();
    alert.gone = Some("2026-11-21T19:14:00Z".parse().unwrap());
    let message =
        of_alert(&alert, &told(Event::Resolved), "2026-11-21T19:14:00Z".parse().unwrap(), &TimeZone::UTC);
    assert_eq!(message.title, "RESOLVED shop/media, was HIGH: shop/media is not backed up since 11-19");
    assert_eq!(message.why, "it was looked at, and this is not seen any more; it lasted 1 h");
    let laid = lay(&message);
    assert_eq!(laid.lines.len(), 4);
    assert_eq!(laid.loudness, super::Loudness::Good);
}

#[test]
fn a_problem_that_says_little_has_four_lines_all_the_same() {
    let mut alert = alert();
    alert.text = Text { what: "shop: something.".to_owned(), ..Text::default() };
    let message = of_alert(&alert, &told(Event::Opened), alert.since, &TimeZone::UTC);
    assert!(
        [&message.why, &message.to_do, &message.do_not, &message.restore].iter().all(|line| !line.is_empty())
    );
    assert_eq!(lay(&message).text, Vec::<String>::new());
}
