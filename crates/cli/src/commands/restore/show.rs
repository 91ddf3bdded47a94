//! What a restore did or would do, in words.
//!
//! On purpose not here: its JSON lines.

use crate::engine::RestoreReport;
use crate::ink::{count, counted, duration, escape, rate, size};
use std::time::Duration;

/// So many deleted things are shown unless all are asked for.
const DELETED_SHOWN_MAX: usize = 10;

/// The words for what was done, or would be.
pub(super) struct Words {
    restored: &'static str,
    fetched: &'static str,
    written: &'static str,
    deleted: &'static str,
    /// Of a file that is small it is known that it differs, not where.
    bound: &'static str,
}

pub(super) const DID: Words =
    Words { restored: "restored", fetched: "fetched", written: "wrote", deleted: "deleted", bound: "" };
pub(super) const WOULD: Words = Words {
    restored: "would restore",
    fetched: "to fetch",
    written: "to write",
    deleted: "to delete",
    bound: "at most ",
};

/// Sums a restore up.
pub(super) fn summary(
    words: &Words,
    report: &RestoreReport,
    verified: Option<u64>,
    took: Option<Duration>,
) -> Vec<String> {
    let folders = counted(report.directories, "folder", "folders");
    let others = counted(report.others, "other", "others");
    let files = counted(report.files, "file", "files");
    let mut lines = vec![format!("{} {files}, {folders}, {others}, {}", words.restored, size(report.bytes))];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<12} {text}"));
    let tally = &report.tally;
    // Into an empty folder everything is new, and nobody needs to be told.
    if tally.created != report.files + report.others {
        let numbers = [
            ("new", tally.created),
            ("rewritten", tally.rewritten),
            ("attributes", tally.attributes_only),
            ("unchanged", tally.unchanged),
            ("left alone", tally.left),
        ];
        numbers
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .for_each(|(name, number)| line(name, count(number)));
    }
    if tally.deleted > 0 {
        line(words.deleted, count(tally.deleted));
    }
    line(words.written, format!("{}{}", words.bound, size(tally.bytes_written)));
    let packs = counted(report.packs, "pack", "packs");
    line(words.fetched, format!("{} from {packs}", size(report.bytes_fetched)));
    if let Some(files) = verified {
        line("verified", counted(files, "file", "files"));
    }
    if let Some(took) = took {
        let speed = rate(report.bytes, took).map(|rate| format!(", {rate}")).unwrap_or_default();
        line("took", format!("{}{speed}", duration(took)));
    }
    lines
}

/// Tells of objects that would be replaced by what is older.
pub(super) fn newer(number: u64) -> String {
    format!("  {:<12} {}, changed after the snapshot was made", "newer there", count(number))
}

/// Lists what would be deleted: the first few, or all that were kept.
pub(super) fn deleted(report: &RestoreReport, all: bool) -> Vec<String> {
    let shown = if all { usize::MAX } else { DELETED_SHOWN_MAX };
    let mut paths: Vec<_> = report.deleted.iter().collect();
    paths.sort();
    let mut lines: Vec<_> =
        paths.iter().take(shown).map(|path| format!("would delete {}", escape(path))).collect();
    let rest = report.tally.deleted - lines.len() as u64;
    if rest > 0 {
        let how = if lines.len() < report.deleted.len() { "; see them with -v" } else { "" };
        lines.push(format!("... and {} more{how}", count(rest)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Tally;

    #[test]
    fn a_summary_says_what_and_how_fast() {
        let tally = Tally { created: 2, bytes_written: 4 << 20, ..Tally::default() };
        let report =
            RestoreReport { files: 2, directories: 1, bytes: 4 << 20, packs: 1, tally, ..Default::default() };
        let lines = summary(&DID, &report, Some(2), Some(Duration::from_secs(2)));
        assert_eq!(
            lines,
            [
                "restored 2 files, 1 folder, 0 others, 4.00 MiB",
                "  wrote        4.00 MiB",
                "  fetched      0 B from 1 pack",
                "  verified     2 files",
                "  took         2.00 s, 2.00 MiB/s"
            ]
        );
    }

    #[test]
    fn in_place_it_says_what_became_of_what_was_there() {
        let tally = Tally { created: 1, rewritten: 2, unchanged: 30, deleted: 12, ..Tally::default() };
        let deleted: Vec<Vec<u8>> = (0..12).map(|number| format!("x{number}").into_bytes()).collect();
        let report = RestoreReport { files: 33, tally, deleted, ..Default::default() };
        let lines = summary(&WOULD, &report, None, None);
        let wanted = ["  new          1", "  rewritten    2", "  unchanged    30", "  to delete    12"];
        assert_eq!(lines[1..5], wanted);
        let few = super::deleted(&report, false);
        assert_eq!((few.len(), few[10].as_str()), (11, "... and 2 more; see them with -v"));
        assert_eq!(super::deleted(&report, true).len(), 12);
    }
}
