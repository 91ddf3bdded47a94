//! Gaps between the pages of a listing of versions.
//!
//! SeaweedFS gathers a page folder by folder, sorts it by key, and goes on after its last key. What
//! lies behind it in the order of folders and before it in that of keys is in no page: `logs` and
//! `logs-old/x`, where a page ends at `logs/x`. An answer that is not cut off has everything, so where
//! a page ends such names are asked for, without what lies in folders; what is not in the page is
//! refused by name, for it would be missing from the snapshot. On purpose not here: other servers,
//! whose pages are believed as far as they go forward.

use crate::listing_versions::{Asked, Row, Run, answer};
use crate::source::Shared;
use holdfast_engine::source::SourceError;
use std::collections::HashSet;

/// What a server calls itself whose pages have gaps.
pub(crate) const WITH_GAPS: &str = "SeaweedFS";

/// Makes sure that a page that ends at a key lacks nothing after the end of the page before.
pub(crate) async fn refuse_gaps(
    shared: &Shared,
    rows: &[Row],
    (run, before): (&Run, Option<&str>),
    end: &str,
) -> Result<(), SourceError> {
    let listed: HashSet<_> = rows.iter().map(|row| (row.key.as_str(), row.id.as_str())).collect();
    let before = before.unwrap_or_default();
    for stem in stems(&shared.address.prefix, end) {
        let (found, folders, cut_off) = answer(shared, &Asked::near(stem)).await?.near(shared)?;
        if cut_off {
            return Err(gap(shared, stem, "there is too much that begins like it to tell"));
        }
        let is_due = |key: &str| key.starts_with(stem) && key >= before && key < end;
        let is_listed = |row: &Row| listed.contains(&(row.key.as_str(), row.id.as_str())) || run.has(row);
        let lost = found.iter().find(|row| is_due(&row.key) && !is_listed(row));
        if let Some(row) = lost {
            return Err(gap(shared, &row.key, "it is in no page"));
        }
        // A folder that the page's end lies in is not behind it, and one before the last page's end was
        // looked at then.
        let lost = folders.iter().find(|folder| {
            is_due(folder) && !end.starts_with(folder.as_str()) && !before.starts_with(folder.as_str())
        });
        if let Some(folder) = lost {
            return Err(gap(shared, folder, "it is in no page, or not wholly"));
        }
    }
    Ok(())
}

/// The beginnings of a key after which something may come out of order.
fn stems<'a>(prefix: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let ends = end.char_indices().filter(|(at, sign)| *sign <= '/' && *at > prefix.len());
    ends.map(|(at, _)| &end[..at])
}

fn gap(shared: &Shared, key: &str, what: &str) -> SourceError {
    let subject = shared.subject();
    let what = format!(
        "cannot list all versions of {subject}: {WITH_GAPS} leaves out some of those whose names begin alike when \
         a listing has more than one page, and of {key} {what}. Back up prefixes with less than a thousand \
         versions one by one, or with --versions current; nothing was backed up"
    );
    SourceError { what, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_alike_are_looked_for() {
        let all = |prefix: &'static str, end: &'static str| stems(prefix, end).collect::<Vec<_>>();
        assert_eq!(all("", "logs/a-b/x"), ["logs", "logs/a", "logs/a-b"]);
        assert_eq!(all("logs/", "logs/a-b/x"), ["logs/a", "logs/a-b"]);
        assert_eq!(all("", "plain"), Vec::<&str>::new());
        assert_eq!(all("", "한/글"), ["한"]);
    }
}
