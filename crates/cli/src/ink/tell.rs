//! Problems and notices of a run, for people.
//!
//! On purpose not here: their JSON lines, which the progress writes as they come.

use super::{Ink, count, counted, escape};
use crate::engine::{NoticeKind, Problem, Problems};

/// So many are shown unless all are asked for.
const SHOWN_MAX: usize = 20;

/// Lists what could not be done: the first few, or all that were kept.
pub(crate) fn tell_problems(ink: &Ink, problems: &Problems) {
    let shown = if ink.tone.verbose { usize::MAX } else { SHOWN_MAX };
    problems.problems.iter().take(shown).for_each(|problem| ink.insist(&problem_text(problem)));
    let told = problems.problems.len().min(shown) as u64;
    if let Some(rest) = problems.problem_count.checked_sub(told).filter(|&rest| rest > 0) {
        ink.insist(&rest_text(rest, told < problems.problems.len() as u64));
    }
}

/// Sums up what is worth knowing, kind by kind; lists it where all is asked for.
pub(crate) fn tell_notices(ink: &Ink, problems: &Problems) {
    if ink.tone.verbose {
        for notice in &problems.notices {
            ink.talk(&format!("notice: {}: {}", shown(&notice.path), escape(notice.what.as_bytes())));
        }
        return;
    }
    notice_lines(problems).iter().for_each(|line| ink.talk(line));
}

fn problem_text(problem: &Problem) -> String {
    format!("problem: {}: {}", shown(&problem.path), escape(problem.what.as_bytes()))
}

/// The top itself has no name.
fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { escape(path) }
}

fn rest_text(rest: u64, kept: bool) -> String {
    let how = if kept { "; see them with -v or --json" } else { "" };
    format!("... and {} more{how}", count(rest))
}

fn notice_lines(problems: &Problems) -> Vec<String> {
    let kinds = [
        (NoticeKind::Grown, "grew while it was read", "grew while they were read"),
        (NoticeKind::Vanished, "vanished before it was read", "vanished before they were read"),
        (NoticeKind::LeftOut, "left out on purpose", "left out on purpose"),
        (NoticeKind::LiveDatabase, "looks like a live database", "look like live databases"),
        (NoticeKind::Other, "worth knowing", "worth knowing"),
    ];
    let line = |(kind, one, many): (NoticeKind, &str, &str)| {
        let mut of_kind = problems.notices.iter().filter(|notice| notice.kind == kind);
        let first = of_kind.next()?;
        let example = format!("{} ({})", shown(&first.path), escape(first.what.as_bytes()));
        match of_kind.count() as u64 + 1 {
            1 => Some(format!("notice: 1 item {one}: {example}")),
            number => {
                Some(format!("notice: {} {many}, for instance {example}", counted(number, "item", "items")))
            }
        }
    };
    let mut lines: Vec<String> = kinds.into_iter().filter_map(line).collect();
    if problems.notice_count > problems.notices.len() as u64 {
        let rest = problems.notice_count - problems.notices.len() as u64;
        lines.push(format!("notice: {} more of one kind or another", count(rest)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Notice;

    fn notice(kind: NoticeKind, path: &[u8]) -> Notice {
        Notice { path: path.to_vec(), kind, what: "so".into() }
    }

    #[test]
    fn notices_are_summed_up() {
        let mut problems = Problems::default();
        problems.notice(notice(NoticeKind::Grown, b"/a\n"));
        problems.notice(notice(NoticeKind::Vanished, b"/b"));
        problems.notice(notice(NoticeKind::Grown, b"/c"));
        let wanted = [
            "notice: 2 items grew while they were read, for instance /a\\n (so)",
            "notice: 1 item vanished before it was read: /b (so)",
        ];
        assert_eq!(notice_lines(&problems), wanted);
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        assert_eq!(rest_text(1_480, true), "... and 1,480 more; see them with -v or --json");
        assert_eq!(rest_text(3, false), "... and 3 more");
    }
}
