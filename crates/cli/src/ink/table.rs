//! Columns of text, as wide as what stands in them; where room is scarce, cells go on below.
//!
//! On purpose not here: cutting cells off. Who pipes a table into another program wants all of it,
//! and a line for each row.

use std::collections::BTreeSet;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// No column is made narrower than this.
const WIDTH_MIN: usize = 8;

/// What stands between columns.
const GAP: &str = "  ";

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table with its headings.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes the lines, headings first, without blanks at their ends. With a limit to their width
    /// a row may take several.
    pub(crate) fn lines(&self, room: Option<usize>) -> Vec<String> {
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut widths: Vec<usize> = (0..head.len()).map(|at| self.width(at)).collect();
        if let Some(room) = room {
            self.squeeze(&mut widths, room);
        }
        std::iter::once(&head).chain(&self.rows).flat_map(|row| self.row_lines(row, &widths)).collect()
    }

    /// Takes from the widest column of text until the lines fit, or none can be narrower.
    fn squeeze(&self, widths: &mut [usize], room: usize) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        // Most cells of a long table stand in it many times.
        let column = |at: usize| self.rows.iter().filter_map(move |row| row.get(at)).map(String::as_str);
        let cells: Vec<BTreeSet<&str>> = (0..widths.len()).map(|at| column(at).collect()).collect();
        while widths.iter().sum::<usize>() + gaps > room {
            let narrower = |at: &usize| {
                let (heading, align) = self.columns[*at];
                align == Align::Left && widths[*at] > heading.len().max(WIDTH_MIN)
            };
            let Some(at) = (0..widths.len()).filter(narrower).max_by_key(|at| widths[*at]) else { return };
            widths[at] = broken_width(&cells[at], widths[at] - 1).max(self.columns[at].0.len());
        }
    }

    fn row_lines(&self, row: &[String], widths: &[usize]) -> Vec<String> {
        let cells: Vec<Vec<&str>> =
            row.iter().zip(widths).map(|(cell, &width)| broken(cell, width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let part = |at: usize| -> Vec<&str> {
            cells.iter().map(|parts| parts.get(at).copied().unwrap_or_default()).collect()
        };
        (0..height).map(|at| self.line(&part(at), widths)).collect()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.width()).max().unwrap_or(0);
        widest.max(self.columns[column].0.len())
    }

    fn line(&self, row: &[&str], widths: &[usize]) -> String {
        let cells = row.iter().zip(&self.columns).zip(widths);
        let cells = cells.map(|((cell, (_, align)), &width)| {
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match align {
                Align::Left => format!("{cell}{space}"),
                Align::Right => format!("{space}{cell}"),
            }
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    }
}

/// How wide cells are when they are broken to fit into so much room.
fn broken_width(cells: &BTreeSet<&str>, room: usize) -> usize {
    let widths = cells.iter().flat_map(|cell| broken(cell, room)).map(UnicodeWidthStr::width);
    widths.max().unwrap_or(0).min(room)
}

/// Breaks a text into lines: behind a blank, comma or hyphen, or before a slash, where there is one.
fn broken(text: &str, room: usize) -> Vec<&str> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while rest.width() > room {
        let fits = fitting(rest, room);
        let word = rest[..fits].rfind([' ', ',', '-']).map(|at| at + 1);
        let slash = rest[..fits].rfind('/').filter(|&at| at > 0);
        let end = match word {
            _ if rest[fits..].starts_with([' ', '/']) => fits,
            Some(end) if end * 2 >= fits => end,
            _ => word.max(slash).unwrap_or(fits),
        };
        lines.push(rest[..end].trim_end());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest);
    }
    lines
}

/// How many bytes of a text fit into so much room, one character at least.
fn fitting(text: &str, room: usize) -> usize {
    let mut width = 0;
    let over = text.char_indices().find(|(at, letter)| {
        width += letter.width().unwrap_or(0);
        width > room && *at > 0
    });
    over.map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&[("ID", Align::Left), ("SIZE", Align::Right), ("TAGS", Align::Left)]);
        table.row(vec!["3f2a91bc".into(), "1.43 GiB".into(), String::new()]);
        table.row(vec!["00".into(), "7 B".into(), "née".into()]);
        assert_eq!(
            table.lines(None),
            ["ID            SIZE  TAGS", "3f2a91bc  1.43 GiB", "00             7 B  née"]
        );
        assert_eq!(table.lines(Some(24)), table.lines(None));
    }

    #[test]
    fn wide_letters_take_two_places() {
        let mut table = Table::new(&[("LABEL", Align::Left), ("IN USE", Align::Left)]);
        table.row(vec!["日本語".into(), "yes".into()]);
        assert_eq!(table.lines(None), ["LABEL   IN USE", "日本語  yes"]);
    }

    #[test]
    fn where_room_is_scarce_cells_go_on_below() {
        let columns = [("TIME", Align::Left), ("SOURCE", Align::Left), ("SIZE", Align::Right)];
        let mut table = Table::new(&columns);
        table.row(vec!["2026-01-31 02:15:00".into(), "/srv/www/example.org".into(), "1 GiB".into()]);
        let wanted = [
            "TIME        SOURCE         SIZE",
            "2026-01-31  /srv/www      1 GiB",
            "02:15:00    /example.org",
        ];
        assert_eq!(table.lines(Some(32)), wanted);
        assert_eq!(table.lines(Some(1)).len(), 4);
        assert_eq!(table.lines(None).len(), 2);
    }

    #[test]
    fn texts_are_broken_where_it_shows_least() {
        assert_eq!(broken("a,b,c", 3), ["a,", "b,c"]);
        assert_eq!(broken("/etc/ssh", 6), ["/etc", "/ssh"]);
        assert_eq!(broken("label (/etc, /srv)", 12), ["label (/etc,", "/srv)"]);
        assert_eq!(broken("x /srv/www/a", 11), ["x /srv/www", "/a"]);
        assert_eq!(broken("/abcdefgh", 4), ["/abc", "defg", "h"]);
        assert_eq!(broken("日本語", 3), ["日", "本", "語"]);
        assert_eq!(broken("日", 1), ["日"]);
        assert_eq!(broken("", 5), [""]);
    }
}
