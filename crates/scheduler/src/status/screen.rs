//! The screen that a person reads.
//!
//! On purpose not here: colours, and where it is shown.

use super::words::{kept_of, moment, passed, plain, span};
use super::{
    ChannelState, CopyState, GoodBy, Held, LastGood, Next, Problem, SlotState, SourceState, State, Status,
};
use crate::alert::Silence;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

const HEADINGS: [&str; 9] =
    ["SOURCE", "LAST GOOD", "AGE", "LIMIT", "PROVEN RESTORE", "AGE", "LIMIT", "TOOK", "STATE"];
const TITLE: &str = "holdfast status";
const GAP: &str = "  ";

/// Writes it, in times of a zone.
#[must_use]
pub fn screen(status: &Status, zone: &TimeZone) -> String {
    let screen = Screen { status, zone };
    let rows: Vec<[String; 9]> = status.sources.iter().map(|source| screen.row(source)).collect();
    let widths = widths(&rows);
    // Where the last column begins.
    let last = widths[..8].iter().map(|width| width + GAP.len()).sum();
    let mut lines = vec![screen.head(last + widths[8])];
    if !rows.is_empty() {
        lines.push(line(&HEADINGS.map(str::to_owned), &widths));
        lines.extend(rows.iter().map(|row| line(row, &widths)));
    }
    lines.extend(status.copies.iter().map(|copy| screen.copy(copy, last)));
    lines.extend(status.slots.iter().map(|slot| self::slot(slot, last)));
    lines.extend(status.holds.iter().map(|hold| screen.hold(hold)));
    lines.extend(status.channels.iter().map(|channel| screen.channel(channel, last)));
    lines.extend(status.silences.iter().map(|silence| screen.silence(silence)));
    lines.extend(status.next.iter().filter_map(|next| screen.next(next)));
    lines.extend(status.problems.iter().flat_map(problem));
    lines.join("\n")
}

struct Screen<'a> {
    status: &'a Status,
    zone: &'a TimeZone,
}

impl Screen<'_> {
    fn head(&self, width: usize) -> String {
        let now = self.status.now.to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M %:z").to_string();
        let room = width.saturating_sub(TITLE.len() + now.len()).max(GAP.len());
        format!("{TITLE}{}{now}", " ".repeat(room))
    }

    fn row(&self, source: &SourceState) -> [String; 9] {
        let good = source.last_good.as_ref();
        let proven =
            source.proven.map(|proven| format!("{}{}", self.moment(proven), part(source.proven_share)));
        [
            plain(&format!("{}/{}", source.policy, source.source)),
            self.good(source, good),
            self.age(good.map(|good| good.at)),
            limit(source.rpo),
            proven.unwrap_or_else(|| "never".to_owned()),
            self.age(source.proven),
            limit(source.proven_max_age),
            limit(source.took),
            source.state.word().to_owned(),
        ]
    }

    fn good(&self, source: &SourceState, good: Option<&LastGood>) -> String {
        match good {
            Some(good) => {
                let how = match good.by {
                    GoodBy::Snapshot => "",
                    GoodBy::Log => " (WAL)",
                    GoodBy::Memory => " (memory)",
                };
                format!("{}{how}", self.moment(good.at))
            }
            None if source.elsewhere => "elsewhere".to_owned(),
            None if source.state == State::Unknown || self.is_hidden(source) => "?".to_owned(),
            None => "never".to_owned(),
        }
    }

    /// Whether nobody could look at what there is.
    fn is_hidden(&self, source: &SourceState) -> bool {
        self.status.next.iter().any(|next| next.policy == source.policy && !next.readable)
    }

    fn moment(&self, at: Timestamp) -> String {
        moment(at, self.status.now, self.zone)
    }

    fn age(&self, since: Option<Timestamp>) -> String {
        since.map_or_else(|| "-".to_owned(), |since| span(passed(since, self.status.now)))
    }

    fn copy(&self, copy: &CopyState, last: usize) -> String {
        let several = self.status.next.len() > 1;
        let name = if several { format!("{}/{}", copy.policy, copy.copy) } else { copy.copy.clone() };
        let told = match (copy.behind, copy.oldest) {
            (Some(0), _) => "has everything".to_owned(),
            (Some(behind), Some(oldest)) => {
                let many = if behind == 1 { "" } else { "s" };
                let limit = copy.max_lag.map(|lag| format!(" (limit {})", span(lag))).unwrap_or_default();
                let age = span(passed(oldest, self.status.now));
                format!("{behind} snapshot{many} behind, oldest {age}{limit}")
            }
            _ if copy.state.is_none() => "not looked at".to_owned(),
            _ => "cannot be read".to_owned(),
        };
        let told = plain(&format!("copy {name}: {told}"));
        let state = copy.state.map_or("-", State::word);
        let room = last.saturating_sub(told.chars().count()).max(GAP.len());
        format!("{told}{}{state}", " ".repeat(room))
    }

    fn hold(&self, hold: &Held) -> String {
        let at = |at: Option<Timestamp>| at.map(|at| self.moment(at));
        let since = at(hold.since).map(|since| format!(" since {since}")).unwrap_or_default();
        let until =
            at(hold.until).map_or(", until it is released".to_owned(), |until| format!(", until {until}"));
        plain(&format!("hold {} on {}{since}{until}: {}", hold.id, hold.what, hold.reason))
    }

    /// `told by slack: took a message 11-16 08:00, a test 11-01 09:00`.
    fn channel(&self, channel: &ChannelState, last: usize) -> String {
        let several = self.status.next.len() > 1;
        let of = if several { format!("{} is told by ", channel.policy) } else { "told by ".to_owned() };
        let sent = channel.sent.map(|at| format!("took a message {}", self.moment(at)));
        let tested =
            channel.tested.map_or("never tested".to_owned(), |at| format!("a test {}", self.moment(at)));
        let waits = match channel.waiting {
            0 => String::new(),
            1 => ", 1 message waits".to_owned(),
            many => format!(", {many} messages wait"),
        };
        let sent = sent.unwrap_or_else(|| "took no message yet".to_owned());
        let told = plain(&format!("{of}{}: {sent}, {tested}{waits}", channel.channel));
        match channel.state {
            State::Ok => told,
            state => {
                let room = last.saturating_sub(told.chars().count()).max(GAP.len());
                format!("{told}{}{}", " ".repeat(room), state.word())
            }
        }
    }

    fn silence(&self, silence: &Silence) -> String {
        let part = silence.part.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
        plain(&format!(
            "silence {} of {}{part} until {}, but for disasters: {}",
            silence.id,
            silence.policy,
            self.moment(silence.until),
            silence.reason
        ))
    }

    fn next(&self, next: &Next) -> Option<String> {
        let at = |what: &str, at: Option<Timestamp>| at.map(|at| format!("{what} {}", self.moment(at)));
        let parts: Vec<String> =
            [at("run", next.run), at("drill", next.drill)].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| plain(&format!("next {}: {}", next.policy, parts.join(", "))))
    }
}

/// `slot holdfast on db1: keeps 1.2 of 50 GiB`, and how bad that is where it is not well.
fn slot(slot: &SlotState, last: usize) -> String {
    let told = match slot.kept {
        Some(kept) => format!("keeps {}", kept_of(kept, slot.limit)),
        None => slot.says.clone(),
    };
    let told = plain(&format!("slot {} on {}: {told}", slot.slot, slot.host));
    match slot.state {
        None | Some(State::Ok) => told,
        Some(state) => {
            let room = last.saturating_sub(told.chars().count()).max(GAP.len());
            format!("{told}{}{}", " ".repeat(room), state.word())
        }
    }
}

/// Which part was restored, where it was not all: `(1 %)`.
fn part(share: Option<f64>) -> String {
    let part = share.filter(|share| *share < 1.0).map(|share| share * 100.0);
    part.map_or_else(String::new, |percent| format!(" ({} %)", (percent.floor() as u64).max(1)))
}

fn limit(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "-".to_owned(), span)
}

/// The same four lines of each.
fn problem(problem: &Problem) -> Vec<String> {
    let parts = [
        ("why", &problem.why),
        ("do", &problem.to_do),
        ("do not", &problem.do_not),
        ("restore", &problem.restore),
    ];
    let head = [String::new(), format!("{} {}", problem.state.word(), problem.what)];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    head.into_iter().chain(parts.map(|(name, text)| format!("  {name:<7}  {text}"))).collect()
}

fn widths(rows: &[[String; 9]]) -> [usize; 9] {
    let mut widths = HEADINGS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn line(row: &[String; 9], widths: &[usize; 9]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, &width)| {
        let room = width.saturating_sub(cell.chars().count());
        format!("{cell}{}", " ".repeat(room))
    });
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}
