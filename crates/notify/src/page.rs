//! A message before it has the form of any channel.
//!
//! On purpose not here: what it says.

/// How loud it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// All is well, or well again.
    Good,
    /// Worth knowing.
    Quiet,
    /// Degraded.
    Warning,
    /// Somebody has to see to it today.
    High,
    /// Somebody has to see to it now.
    Disaster,
}

/// A line with a label: `why`, `do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub label: String,
    /// What it says.
    pub text: String,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How loud it is.
    pub tone: Tone,
    /// Its first line.
    pub title: String,
    /// What it says, before the lines with labels.
    pub text: Vec<String>,
    /// The lines with labels.
    pub lines: Vec<Line>,
    /// Where it comes from, when, and its number.
    pub foot: String,
}

/// A text of at most so many letters, with a mark where it was cut.
pub(crate) fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        None => text.to_owned(),
        Some(_) => text.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_shows_it() {
        assert_eq!(cut("häuser", 6), "häuser");
        assert_eq!(cut("häuser", 4), "häu…");
    }
}
