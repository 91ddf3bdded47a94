//! One pattern: components, whether it is anchored, what a match means.
//!
//! Matching goes from the last component backwards, so that a path that does not match costs
//! one comparison of its name. On purpose not here: what happens inside a component.

use super::glob::Glob;

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// It takes a path in again.
    pub(super) negated: bool,
    caseless: bool,
    anchored: bool,
    folders_only: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// Exactly one component.
    One(Glob),
    /// Any number of components, none included.
    Any,
}

impl Pattern {
    pub(super) fn parse(text: &str, caseless: bool) -> Result<Self, String> {
        let (negated, body) = text.strip_prefix('!').map_or((false, text), |body| (true, body));
        let lowered = if caseless { lower_case(body.as_bytes()) } else { body.as_bytes().to_vec() };
        let components = lowered.split(|&byte| byte == b'/');
        let components = components.filter(|component| !component.is_empty() && *component != b".");
        let parts = components.map(parse_part).collect::<Option<Vec<_>>>();
        let parts = parts.ok_or_else(|| format!("pattern '{text}': '[' without ']' or '\\' at the end"))?;
        let folders_only = body.ends_with('/') && !parts.is_empty();
        if parts.is_empty() && !body.starts_with('/') {
            return Err(format!("pattern '{text}' is empty"));
        }
        Ok(Self { negated, caseless, anchored: body.starts_with('/'), folders_only, parts })
    }

    /// Picks the spelling of a path that the pattern is compared with.
    pub(super) fn pick<'a>(&self, path: &'a [u8], folded: &'a [u8]) -> &'a [u8] {
        if self.caseless { folded } else { path }
    }

    /// Whether the pattern's last component falls on the path's last.
    pub(super) fn matches_at(&self, path: &[u8], is_dir: bool) -> bool {
        (is_dir || !self.folders_only) && ends_with(&self.parts, path, self.anchored)
    }

    /// Whether it matches a folder above the path.
    pub(super) fn matches_above(&self, path: &[u8]) -> bool {
        let mut rest = path;
        while let Some((above, _)) = split_last(rest) {
            if ends_with(&self.parts, above, self.anchored) {
                return true;
            }
            rest = above;
        }
        false
    }

    /// Whether it can match something below the folder.
    pub(super) fn may_contain(&self, dir: &[u8]) -> bool {
        if !self.anchored {
            return true;
        }
        let mut parts = self.parts.iter();
        for component in components(dir) {
            match parts.next() {
                Some(Part::One(glob)) if !glob.matches(component) => return false,
                Some(Part::One(_)) => {}
                // Below a match, or anywhere: both can go on.
                Some(Part::Any) | None => return true,
            }
        }
        true
    }
}

fn parse_part(component: &[u8]) -> Option<Part> {
    if component == b"**" { Some(Part::Any) } else { Glob::parse(component).map(Part::One) }
}

/// Whether the last components of a path match all parts; all of them must be used up if anchored.
/// Where a component does not match, the `**` passed last takes one more; those before it need
/// never be asked again, so the work is bounded by parts times components.
fn ends_with(parts: &[Part], path: &[u8], anchored: bool) -> bool {
    let (mut left, mut rest) = (parts, path);
    let mut again: Option<(&[Part], &[u8])> = None;
    loop {
        let matched = match left.split_last() {
            Some((Part::Any, before)) => {
                again = Some((before, rest));
                Some((before, rest))
            }
            Some((Part::One(glob), before)) => {
                split_last(rest).filter(|(_, name)| glob.matches(name)).map(|(above, _)| (before, above))
            }
            None if !anchored || split_last(rest).is_none() => return true,
            None => None,
        };
        (left, rest) = match matched {
            Some(next) => next,
            None => {
                let Some((parts, tried)) = again else { return false };
                let Some((above, _)) = split_last(tried) else { return false };
                again = Some((parts, above));
                (parts, above)
            }
        };
    }
}

fn is_separator(byte: u8) -> bool {
    byte == b'/' || byte == 0
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| is_separator(byte)).filter(|component| !component.is_empty())
}

/// Splits off the last component.
fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|&byte| !is_separator(byte))? + 1;
    let start = path[..end].iter().rposition(|&byte| is_separator(byte)).map_or(0, |at| at + 1);
    Some((&path[..start], &path[start..end]))
}

/// Lower case: of Unicode where the bytes are UTF-8, of ASCII where they are not.
pub(super) fn lower_case(bytes: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_ascii() => text.to_lowercase().into_bytes(),
        _ => bytes.to_ascii_lowercase(),
    }
}
