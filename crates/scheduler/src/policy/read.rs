//! Reads the text of a policy, and says of each mistake where it is and what was meant.
//!
//! Whatever can be told together is: what does not fit is taken out and the rest read again. On
//! purpose not here: opening files, and what is right but unwise (`lint`).

use super::tree::{At, MISTAKES_MAX, Mistake, Node, Value, below};
use super::typed::Reading;
use super::{Policy, rules, tree};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Something that is wrong with the text of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Wrong {
    /// The file that it is in.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong, on what.
    pub what: String,
    /// What to do now; empty where there is nothing to say.
    pub next: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)
    }
}

/// Reads a policy. `file` is what the text is called.
///
/// # Errors
/// All that is wrong with it, in the order of its lines.
pub fn parse(text: &str, file: &str) -> Result<Policy, Vec<Wrong>> {
    let (root, mut mistakes) = tree::read(text);
    let policy = root.and_then(|root| judged(root, &mut mistakes));
    match policy {
        Some(policy) if mistakes.is_empty() => Ok(policy),
        _ => Err(told(mistakes, file)),
    }
}

fn judged(mut root: Node, mistakes: &mut Vec<Mistake>) -> Option<Policy> {
    rules::no_secrets(&root, mistakes);
    let policy = typed(&mut root, mistakes)?;
    rules::judge(&policy, &root, mistakes);
    Some(policy)
}

/// Reads what fits, and takes out what does not.
fn typed(root: &mut Node, mistakes: &mut Vec<Mistake>) -> Option<Policy> {
    loop {
        let fault = match Policy::deserialize(Reading(root)) {
            Ok(policy) => return Some(policy),
            Err(fault) => fault,
        };
        let steps = fault.steps();
        // What was taken out is missed now, by the name that it should have; it is told already.
        let node = root.along(&steps).map(|node| &node.value);
        let is_lost = matches!(node, Some(Value::Map(map)) if !map.lost.is_empty());
        if !(fault.is_missing() && is_lost) {
            mistakes.push(fault.mistake());
        }
        if mistakes.len() >= MISTAKES_MAX || !root.remove(&steps) {
            return None;
        }
    }
}

fn told(mut mistakes: Vec<Mistake>, file: &str) -> Vec<Wrong> {
    mistakes.sort_by_key(|mistake| mistake.at);
    mistakes.dedup();
    mistakes.truncate(MISTAKES_MAX);
    let wrong = |Mistake { at: At { line, column }, what, next }| Wrong {
        file: file.to_owned(),
        line,
        column,
        what,
        next,
    };
    mistakes.into_iter().map(wrong).collect()
}

/// Where each key of a text stands: `sources.db.postgres` by line and column. Of a text that is no
/// policy it knows what it can.
#[must_use]
pub fn places(text: &str) -> BTreeMap<String, (usize, usize)> {
    let mut places = BTreeMap::new();
    if let (Some(root), _) = tree::read(text) {
        note(&root, "", &mut places);
    }
    places
}

fn note(node: &Node, label: &str, places: &mut BTreeMap<String, (usize, usize)>) {
    match &node.value {
        Value::Map(map) => {
            for entry in &map.entries {
                let label = below(label, &entry.key);
                places.insert(label.clone(), (entry.at.line, entry.at.column));
                note(&entry.node, &label, places);
            }
        }
        Value::List(items) => {
            for (number, node) in items {
                let label = format!("{label}[{number}]");
                places.insert(label.clone(), (node.at.line, node.at.column));
                note(node, &label, places);
            }
        }
        Value::Plain(_) | Value::Text(_) => {}
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
