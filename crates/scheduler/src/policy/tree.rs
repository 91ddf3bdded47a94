//! The text of a policy as a tree in which each key and each value knows its place.
//!
//! Made from the events of the YAML parser in one pass, so that a mistake that only the whole shows
//! has a line too. On purpose not here: what keys mean. Anchors, aliases, merge keys and tags are
//! refused: a policy is read by people at night, and says what it says where it says it.

use serde_saphyr::granit_parser::{self as yaml, Event, Marker, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashMap;

/// A longer text is no policy.
const TEXT_BYTES_MAX: usize = 256 << 10;
/// More mistakes than these are not told at once.
pub(super) const MISTAKES_MAX: usize = 20;
/// Nothing in a policy lies deeper.
const DEPTH_MAX: usize = 32;

/// A place in the text; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl At {
    /// Where a text begins.
    pub(super) const START: Self = Self { line: 1, column: 1 };

    fn of(mark: &Marker) -> Self {
        Self { line: mark.line().max(1), column: mark.col() + 1 }
    }
}

/// Something that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) at: At,
    pub(super) what: String,
    pub(super) next: String,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A word without quotes, which may be a number, a truth or nothing.
    Plain(String),
    /// Text in quotes, or a block of it.
    Text(String),
    /// Values, each with its number in the text.
    List(Vec<(usize, Node)>),
    /// Keys and values in their order.
    Map(Map),
}

/// Keys and values in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
    /// Keys whose values were taken out because something is wrong with them.
    pub(super) lost: Vec<String>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) node: Node,
}

impl Node {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        let Value::Map(map) = &self.value else { return None };
        map.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether it is text, a number, a truth or nothing.
    pub(super) const fn is_scalar(&self) -> bool {
        matches!(self.value, Value::Plain(_) | Value::Text(_))
    }

    /// Takes out what steps lead to; whether there was something.
    pub(super) fn remove(&mut self, steps: &[usize]) -> bool {
        let [step, rest @ ..] = steps else { return false };
        match &mut self.value {
            Value::Map(map) if *step < map.entries.len() => {
                if rest.is_empty() {
                    let entry = map.entries.remove(*step);
                    map.lost.push(entry.key);
                    return true;
                }
                map.entries[*step].node.remove(rest)
            }
            Value::List(items) if *step < items.len() => {
                if rest.is_empty() {
                    items.remove(*step);
                    return true;
                }
                items[*step].1.remove(rest)
            }
            _ => false,
        }
    }

    /// The value that steps lead to.
    pub(super) fn along(&self, steps: &[usize]) -> Option<&Self> {
        let [step, rest @ ..] = steps else { return Some(self) };
        match &self.value {
            Value::Map(map) => map.entries.get(*step)?.node.along(rest),
            Value::List(items) => items.get(*step)?.1.along(rest),
            _ => None,
        }
    }

    /// Calls something for each text in it, with its place and the key that it belongs to.
    pub(super) fn each_text<'a>(&'a self, key: &'a str, call: &mut impl FnMut(&'a str, At, &'a str)) {
        match &self.value {
            Value::Plain(text) | Value::Text(text) => call(key, self.at, text),
            Value::List(items) => items.iter().for_each(|(_, node)| node.each_text(key, call)),
            Value::Map(map) => map.entries.iter().for_each(|entry| entry.node.each_text(&entry.key, call)),
        }
    }
}

/// The name of a key below another.
pub(super) fn below(label: &str, key: &str) -> String {
    if label.is_empty() { key.to_owned() } else { format!("{label}.{key}") }
}

/// Reads a text; no tree where the text is no YAML or nothing at all.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<Mistake>) {
    let mut builder = Builder::default();
    if text.len() > TEXT_BYTES_MAX {
        builder.wrong(At::START, "it is larger than a policy can be", "a policy has at most 256 KiB");
        return (None, builder.mistakes);
    }
    let options = yaml::options! {
        disallow_directives: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                builder.no_yaml(&error);
                return (None, builder.mistakes);
            }
        }
    }
    if builder.root.is_none() && builder.mistakes.is_empty() {
        builder.wrong(At::START, "it is empty", "a policy has at least name, repository and sources");
    }
    (builder.root, builder.mistakes)
}

/// What the next node in a map is.
#[derive(Debug)]
enum Next {
    Key,
    Value(String, At),
    /// The value of a key that cannot be.
    Nothing,
}

#[derive(Debug)]
enum Open {
    List { at: At, items: Vec<(usize, Node)> },
    Map { at: At, map: Map, next: Next, seen: HashMap<String, At> },
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    mistakes: Vec<Mistake>,
}

impl Builder {
    fn wrong(&mut self, at: At, what: impl Into<String>, next: impl Into<String>) {
        if self.mistakes.len() < MISTAKES_MAX {
            self.mistakes.push(Mistake { at, what: what.into(), next: next.into() });
        }
    }

    fn no_yaml(&mut self, error: &ScanError) {
        let at = At::of(error.marker());
        self.wrong(
            at,
            format!("this is no YAML: {}", error.info()),
            "look at the quotes and the indentation",
        );
    }

    fn take(&mut self, event: Event<'_>, span: &Span) {
        let at = At::of(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents == 2 {
                    self.wrong(at, "a second policy begins here", "give each policy a file of its own");
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.wrong(at, "aliases are not used in policies", "write out what is meant");
                self.put(Node { at, value: Value::Plain(String::new()) });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_node(at, anchor, tag.is_some());
                let text = text.into_owned();
                let value = if style == ScalarStyle::Plain { Value::Plain(text) } else { Value::Text(text) };
                self.put(Node { at, value });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.plain_node(at, anchor, tag.is_some());
                self.open.push(Open::List { at, items: Vec::new() });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.plain_node(at, anchor, tag.is_some());
                let seen = HashMap::new();
                self.open.push(Open::Map { at, map: Map::default(), next: Next::Key, seen });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => {}
        }
    }

    fn plain_node(&mut self, at: At, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.wrong(at, "anchors are not used in policies", "write out what is meant where it is meant");
        }
        if tagged {
            self.wrong(at, "tags such as `!x` are not used in policies", "leave the tag out");
        }
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::List { at, items }) => self.put(Node { at, value: Value::List(items) }),
            Some(Open::Map { at, map, .. }) => self.put(Node { at, value: Value::Map(map) }),
            None => {}
        }
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            // A second document was refused; the first is the policy.
            None => {
                self.root.get_or_insert(node);
            }
            Some(Open::List { items, .. }) => items.push((items.len(), node)),
            Some(Open::Map { map, next, .. }) => match std::mem::replace(next, Next::Key) {
                Next::Key => self.key(node),
                Next::Value(key, at) => map.entries.push(Entry { key, at, node }),
                Next::Nothing => {}
            },
        }
    }

    /// Takes a node as a key of the innermost map.
    fn key(&mut self, node: Node) {
        let at = node.at;
        let taken = match node.value {
            Value::Plain(key) | Value::Text(key) if key == "<<" => {
                self.wrong(at, "merge keys are not used in policies", "write out what is meant");
                None
            }
            Value::Plain(key) | Value::Text(key) => self.unseen(key, at),
            Value::List(_) | Value::Map(_) => {
                self.wrong(at, "a list or a section cannot be a key", "write a word and a colon");
                None
            }
        };
        if let Some(Open::Map { next, .. }) = self.open.last_mut() {
            *next = taken.map_or(Next::Nothing, |key| Next::Value(key, at));
        }
    }

    /// A key that is not in the innermost map yet.
    fn unseen(&mut self, key: String, at: At) -> Option<String> {
        let Some(Open::Map { seen, .. }) = self.open.last_mut() else { return None };
        let Some(first) = seen.get(&key).copied() else {
            seen.insert(key.clone(), at);
            return Some(key);
        };
        let label = below(&self.label(), &key);
        let what = format!("`{label}` is here twice; the first is in line {}", first.line);
        self.wrong(at, what, "take one of them out, or give it another name");
        None
    }

    /// What the innermost open map or list is called.
    fn label(&self) -> String {
        let inner = self.open.len().saturating_sub(1);
        self.open[..inner].iter().fold(String::new(), |label, open| match open {
            Open::List { items, .. } => format!("{label}[{}]", items.len()),
            Open::Map { next: Next::Value(key, _), .. } => below(&label, key),
            Open::Map { .. } => label,
        })
    }
}
