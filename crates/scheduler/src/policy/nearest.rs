//! The word that was meant.
//!
//! On purpose not here: which words there are.

use strsim::damerau_levenshtein;

/// More words than these are not shown.
const SHOWN_MAX: usize = 30;

/// The nearest of some words, if one is near.
pub(super) fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', ' '], "_");
    let meant = plain(&word.chars().take(64).collect::<String>());
    let far = |known: &str| damerau_levenshtein(&meant, &plain(known));
    let (distance, known) = words.into_iter().map(|known| (far(known), known)).min()?;
    (distance <= (known.chars().count() / 3).max(1)).then_some(known)
}

/// What to do about a word that is not known.
pub(super) fn known(word: &str, words: &[&str]) -> String {
    let shown = words.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    let all = if words.len() > SHOWN_MAX { format!("{shown}, ...") } else { shown };
    match nearest(word, words.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? Known here: {all}"),
        None => format!("known here: {all}"),
    }
}
