//! Medians as a Markdown table, and how far the first row is from the best of the others.
//!
//! On purpose not here: measuring.

use crate::measure::Measured;

/// All that was measured of one program; what it cannot do stays empty.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Name and version.
    pub name: String,
    /// Backups into an empty repository.
    pub first: Vec<Measured>,
    /// Backups after which nothing had changed.
    pub unchanged: Vec<Measured>,
    /// Backups after 1 % of the files had been rewritten.
    pub changed: Vec<Measured>,
    /// Restores into an empty folder.
    pub restore: Vec<Measured>,
    /// Checks that read all data.
    pub check: Vec<Measured>,
    /// Sizes of the repository at the end, in bytes.
    pub repository: Vec<u64>,
}

const HEADINGS: [&str; 9] = [
    "",
    "first backup, s",
    "its processor s",
    "nothing changed, s",
    "1 % changed, s",
    "restore, s",
    "check all data, s",
    "repository, MB",
    "memory, MiB",
];

impl Row {
    /// Starts without figures.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The figures of all columns, in their order; `None` where nothing was measured.
    fn figures(&self) -> [Option<f64>; 8] {
        let seconds = |of: &[Measured]| median(of.iter().map(|measured| measured.seconds));
        let steps = [&self.first, &self.unchanged, &self.changed, &self.restore, &self.check];
        let memory = steps.into_iter().flatten().map(|measured| measured.memory_kib as f64 / 1024.0);
        [
            seconds(&self.first),
            median(self.first.iter().map(|measured| measured.processor_seconds)),
            seconds(&self.unchanged),
            seconds(&self.changed),
            seconds(&self.restore),
            seconds(&self.check),
            median(self.repository.iter().map(|&bytes| bytes as f64 / 1e6)),
            memory.reduce(f64::max),
        ]
    }
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.get(figures.len().checked_sub(1)? / 2)?, figures[figures.len() / 2]);
    Some(f64::midpoint(*low, high))
}

/// Prints the table. The first row is ours; a last line divides it by the best of its peers,
/// among which `cp` is not: it keeps nothing apart.
#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
pub fn print_table(rows: &[Row]) {
    table(rows).iter().for_each(|line| println!("{line}"));
}

fn table(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![line(HEADINGS.map(str::to_owned)), line(["---"; 9].map(str::to_owned))];
    for row in rows {
        let mut cells = row.figures().map(cell).to_vec();
        cells.insert(0, row.name.clone());
        lines.push(line(cells));
    }
    let peers: Vec<_> = rows.iter().skip(1).filter(|row| !row.check.is_empty()).map(Row::figures).collect();
    if let (Some(ours), false) = (rows.first().map(Row::figures), peers.is_empty()) {
        let best = |column: usize| peers.iter().filter_map(|peer| peer[column]).reduce(f64::min);
        let ratio = |column: usize| Some(format!("{:.2}", ours[column]? / best(column)?));
        let cells = (0..ours.len()).map(|column| ratio(column).unwrap_or_default());
        lines.push(line(std::iter::once("ours ÷ best peer".to_owned()).chain(cells)));
    }
    lines
}

fn cell(figure: Option<f64>) -> String {
    figure.map_or_else(String::new, |figure| {
        if figure < 30.0 { format!("{figure:.2}") } else { format!("{figure:.0}") }
    })
}

fn line(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(seconds: f64) -> Measured {
        Measured { seconds, processor_seconds: 2.0 * seconds, memory_kib: 2048 }
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn the_last_line_compares_with_the_best_peer_and_not_with_cp() {
        let row = |name: &str, seconds| Row {
            first: vec![took(seconds)],
            check: vec![took(1.0)],
            ..Row::new(name)
        };
        let copy = Row { first: vec![took(0.1)], ..Row::new("`cp -a`") };
        let lines = table(&[row("holdfast", 1.0), row("restic", 4.0), row("borg", 2.0), copy]);
        assert_eq!(lines[2], "| holdfast | 1.00 | 2.00 |  |  |  | 1.00 |  | 2.00 |");
        assert_eq!(lines[6], "| ours ÷ best peer | 0.50 | 0.50 |  |  |  | 1.00 |  | 1.00 |");
    }
}
