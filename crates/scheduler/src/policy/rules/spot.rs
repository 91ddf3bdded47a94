//! A place in a policy: its name, its line, and whether what stands there was read whole.
//!
//! On purpose not here: what is judged.

use super::super::tree::{At, Mistake, Node, Value, below};

/// A place in a policy.
#[derive(Debug, Clone)]
pub(super) struct Spot<'a> {
    node: Option<&'a Node>,
    at: At,
    label: String,
}

impl<'a> Spot<'a> {
    pub(super) const fn root(node: &'a Node) -> Self {
        Self { node: Some(node), at: node.at, label: String::new() }
    }

    /// The place of a key; where it is not there, that of what it would belong to.
    pub(super) fn key(&self, key: &str) -> Self {
        let label = below(&self.label, key);
        match self.node.and_then(|node| node.get(key)) {
            Some(entry) => {
                let at = if entry.node.is_scalar() { entry.node.at } else { entry.at };
                Self { node: Some(&entry.node), at, label }
            }
            None => Self { node: None, at: self.at, label },
        }
    }

    /// The place of a value in a list.
    pub(super) fn item(&self, number: usize) -> Self {
        let items = match self.node.map(|node| &node.value) {
            Some(Value::List(items)) => &items[..],
            _ => &[],
        };
        match items.get(number) {
            // The number in the text: others may have been taken out before it.
            Some((number, node)) => {
                Self { node: Some(node), at: node.at, label: format!("{}[{number}]", self.label) }
            }
            None => Self { node: None, at: self.at, label: format!("{}[{number}]", self.label) },
        }
    }

    /// Whether nothing below it was taken out as wrong: what is missing then is missing.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.node.map(|node| &node.value), Some(Value::Map(map)) if !map.lost.is_empty())
    }

    /// What it is called.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Something is wrong here.
    pub(super) fn wrong(&self, what: impl AsRef<str>, next: impl Into<String>) -> Mistake {
        Mistake { at: self.at, what: format!("`{}`: {}", self.label, what.as_ref()), next: next.into() }
    }
}
