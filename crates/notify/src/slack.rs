//! A message in a Slack channel, by an incoming webhook.
//!
//! Slack's limits are kept: 150 letters in a header, 3000 in a section, 50 blocks. `&`, `<` and `>` are
//! written as Slack wants them, so that no text becomes a link or calls a channel. On purpose not here:
//! the other ways that Slack has, which need a token.

use crate::ask::{Sender, ask, host};
use crate::outcome::Outcome;
use crate::page::{Page, Tone};
use serde_json::{Value, json};

const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 2900;
const BLOCKS_MAX: usize = 50;
/// What a telephone shows of it.
const SUMMARY_MAX: usize = 300;

/// Sends a message.
pub async fn send(sender: &Sender, url: &str, page: &Page) -> Outcome {
    let body = blocks(page).to_string();
    let headers = [("content-type", "application/json; charset=utf-8")];
    match ask(sender, "POST", url, &headers, body.as_bytes()).await {
        Ok(answer) => {
            let outcome = Outcome::of(&host(url), answer.status, answer.retry_after.as_deref());
            explained(outcome, &answer.body)
        }
        Err(outcome) => outcome,
    }
}

/// Adds the word that Slack says of what it refuses: `no_service`, `channel_is_archived`.
fn explained(outcome: Outcome, body: &[u8]) -> Outcome {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    let word = std::str::from_utf8(body).ok().filter(|word| (3..=40).contains(&word.len()));
    match (outcome, word.filter(|word| word.as_bytes().iter().all(is_word))) {
        (Outcome::Never { why }, Some(word)) => Outcome::Never { why: format!("{why}: {word}") },
        (Outcome::Refused { why }, Some(word)) => Outcome::Refused { why: format!("{why}: {word}") },
        (outcome, _) => outcome,
    }
}

/// The message as Slack takes it.
#[must_use]
pub fn blocks(page: &Page) -> Value {
    let title = escaped(&format!("{} {}", mark(page.tone), page.title), HEADER_MAX);
    let mut blocks =
        vec![json!({ "type": "header", "text": { "type": "plain_text", "text": title, "emoji": true } })];
    blocks.extend(sections(&page.text).iter().map(|text| section(text)));
    blocks.extend(page.lines.iter().map(|line| {
        section(&format!("*{}*  {}", escaped(&line.label, 40), escaped(&line.text, SECTION_MAX - 50)))
    }));
    blocks.truncate(BLOCKS_MAX - 1);
    let foot = json!({ "type": "mrkdwn", "text": escaped(&page.foot, SUMMARY_MAX), "verbatim": true });
    blocks.push(json!({ "type": "context", "elements": [foot] }));
    json!({ "text": escaped(&page.title, SUMMARY_MAX), "blocks": blocks, "unfurl_links": false, "unfurl_media": false })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

/// Lines, as many to a section as it takes.
fn sections(lines: &[String]) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in lines.iter().map(|line| escaped(line, SECTION_MAX)) {
        match sections.last_mut() {
            Some(last) if last.chars().count() + 1 + line.chars().count() <= SECTION_MAX => {
                last.push('\n');
                last.push_str(&line);
            }
            _ => sections.push(line),
        }
    }
    sections
}

/// A text as Slack wants it, of at most so many letters.
fn escaped(text: &str, letters: usize) -> String {
    let one = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        letter => letter.to_string(),
    };
    let all: String = text.chars().map(one).collect();
    if all.chars().count() <= letters {
        return all;
    }
    // Cut before, so that nothing is cut in the middle of one that was written out.
    let mut room = letters.saturating_sub(1);
    let fitting = text.chars().map(one).take_while(|one| {
        let length = one.chars().count();
        let fits = length <= room;
        room = room.saturating_sub(length);
        fits
    });
    fitting.chain(["…".to_owned()]).collect()
}

const fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => ":white_check_mark:",
        Tone::Quiet => ":information_source:",
        Tone::Warning => ":warning:",
        Tone::High => ":red_circle:",
        Tone::Disaster => ":rotating_light:",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::page::Line;

    fn page() -> Page {
        Page {
            tone: Tone::High,
            title: "HIGH shop/media <!channel> & more".to_owned(),
            text: vec!["If it is lost now, 3 days are lost.".to_owned()],
            lines: vec![Line { label: "do".to_owned(), text: "holdfast run 'a<b>&c'".to_owned() }],
            foot: "shop · 2026-11-26T03:14:00+09:00".to_owned(),
        }
    }

    #[test]
    fn a_message_has_blocks() {
        let wanted = json!({
            "text": "HIGH shop/media &lt;!channel&gt; &amp; more",
            "unfurl_links": false,
            "unfurl_media": false,
            "blocks": [
                { "type": "header", "text": { "type": "plain_text", "emoji": true,
                    "text": ":red_circle: HIGH shop/media &lt;!channel&gt; &amp; more" } },
                { "type": "section", "text": { "type": "mrkdwn", "verbatim": true,
                    "text": "If it is lost now, 3 days are lost." } },
                { "type": "section", "text": { "type": "mrkdwn", "verbatim": true,
                    "text": "*do*  holdfast run 'a&lt;b&gt;&amp;c'" } },
                { "type": "context", "elements": [
                    { "type": "mrkdwn", "verbatim": true, "text": "shop · 2026-11-26T03:14:00+09:00" }] }
            ]
        });
        assert_eq!(blocks(&page()), wanted);
    }

    #[test]
    fn the_limits_of_slack_are_kept() {
        let long = "<&>é".repeat(3000);
        let lines = (0..100).map(|_| Line { label: long.clone(), text: long.clone() }).collect();
        let page = Page { title: long.clone(), text: vec![long.clone(); 100], lines, foot: long, ..page() };
        let blocks = blocks(&page);
        let count = |value: &Value| value.as_str().unwrap().chars().count();
        assert!(count(&blocks["text"]) <= 3000);
        let blocks = blocks["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 50);
        assert!(count(&blocks[0]["text"]["text"]) <= 150);
        assert!(blocks[1..49].iter().all(|block| count(&block["text"]["text"]) <= 3000));
        for block in blocks {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            let pieces = text.split('&').skip(1);
            assert!(
                pieces
                    .into_iter()
                    .all(|piece| ["amp;", "lt;", "gt;"].iter().any(|end| piece.starts_with(end)))
            );
        }
    }

    #[test]
    fn a_word_of_slack_is_told_and_nothing_else_it_says() {
        let told = |body: &str| match explained(Outcome::never("no"), body.as_bytes()) {
            Outcome::Never { why } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(explained(Outcome::refused("no"), b"no_team"), Outcome::refused("no: no_team"));
        assert_eq!(told("no_service"), "no: no_service");
        assert_eq!(told("<html>https://hooks/secret"), "no");
    }
}
