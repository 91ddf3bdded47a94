//! Patterns that leave paths out of a backup or pick them for a restore, as restic knows them.
//!
//! A pattern with a leading slash starts at the root, any other matches wherever its components
//! stand one after the other; what lies below a match matches too. Of several patterns that
//! match, the last one decides, and `!pattern` takes a path in again. A trailing slash matches
//! folders only. On purpose not here: where patterns come from.

mod glob;
mod pattern;

use pattern::Pattern;
use std::borrow::Cow;

/// A list of patterns, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    patterns: Vec<Pattern>,
    any_caseless: bool,
    /// The texts, and those whose case does not matter.
    stated: (Vec<String>, Vec<String>),
}

impl Excludes {
    /// Takes patterns, and patterns whose case does not matter (they count as the later ones).
    ///
    /// # Errors
    /// A pattern cannot be understood; the message names it.
    pub fn new(patterns: &[String], ipatterns: &[String]) -> Result<Self, String> {
        let stated = (patterns.to_vec(), ipatterns.to_vec());
        let cased = patterns.iter().map(|text| Pattern::parse(text, false));
        let caseless = ipatterns.iter().map(|text| Pattern::parse(text, true));
        let patterns = cased.chain(caseless).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { patterns, any_caseless: !ipatterns.is_empty(), stated })
    }

    /// The texts that it was made of, and those whose case does not matter.
    pub(crate) fn stated(&self) -> (&[String], &[String]) {
        (&self.stated.0, &self.stated.1)
    }

    /// Whether there are no patterns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path, or a folder above it, matches.
    #[must_use]
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        let folded = self.fold(path);
        let last = self.patterns.iter().rev().find(|pattern| {
            let path = pattern.pick(path, &folded);
            pattern.matches_at(path, is_dir) || pattern.matches_above(path)
        });
        last.is_some_and(|pattern| !pattern.negated)
    }

    /// Whether a path itself matches; a folder above it is not asked.
    #[must_use]
    pub fn matches_itself(&self, path: &[u8], is_dir: bool) -> bool {
        let folded = self.fold(path);
        let last = self.patterns.iter().rev().find(|it| it.matches_at(it.pick(path, &folded), is_dir));
        last.is_some_and(|pattern| !pattern.negated)
    }

    /// Whether a folder can hold something that [`Self::matches`].
    #[must_use]
    pub fn may_contain(&self, dir: &[u8]) -> bool {
        let folded = self.fold(dir);
        let may = |pattern: &Pattern| !pattern.negated && pattern.may_contain(pattern.pick(dir, &folded));
        self.patterns.iter().any(may)
    }

    /// Whether a walk that entered the folders above leaves this path out. It differs from
    /// [`Self::matches`] in what it does not ask: a match further up was asked there, and where
    /// the walk began is never left out. Separators are slashes or 0x00.
    pub(crate) fn leaves_out(&self, path: &[u8], is_dir: bool) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let folded = self.fold(path);
        let last = self.patterns.iter().rev().find(|pattern| {
            let path = pattern.pick(path, &folded);
            pattern.matches_at(path, is_dir) || (pattern.negated && pattern.matches_above(path))
        });
        last.is_some_and(|pattern| !pattern.negated)
    }

    fn fold<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        if self.any_caseless { Cow::Owned(pattern::lower_case(path)) } else { Cow::Borrowed(path) }
    }
}

/// Reads a file of patterns: one a line, `#` comments, blank lines passed over, `$NAME` and
/// `${NAME}` replaced by what `lookup` knows, `$$` for a dollar sign.
///
/// # Errors
/// A line names a variable that is not set; leaving it empty would make a pattern of much wider
/// reach than was meant.
pub fn parse_exclude_file(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| expand(line, &lookup).map_err(|what| format!("line {}: {what}", at + 1))).collect()
}

fn expand(line: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, after) = variable(after);
        match name {
            "$" => expanded.push('$'),
            "" => return Err("a dollar sign without a name; write $$ for the sign itself".to_owned()),
            name => expanded.push_str(&lookup(name).ok_or_else(|| format!("${name} is not set"))?),
        }
        rest = after;
    }
    Ok(expanded + rest)
}

/// Splits what follows a dollar sign into the variable's name and the rest.
fn variable(after: &str) -> (&str, &str) {
    if let Some(rest) = after.strip_prefix('$') {
        return ("$", rest);
    }
    if let Some(inner) = after.strip_prefix('{') {
        return inner.split_once('}').unwrap_or(("", after));
    }
    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
    after.split_at(end)
}

#[cfg(test)]
mod tests;
