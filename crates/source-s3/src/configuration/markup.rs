//! As much of XML as answers about a bucket have: elements with text, some with attributes.
//!
//! It is read to be compared and shown, and where it cannot be read its text stands for itself. On
//! purpose not here: what it means; entities, which stay as they are written.

/// Elements that lie in each other, at most.
const DEPTH_MAX: usize = 64;

/// An element and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Element {
    /// Its name and attributes, without those that name spaces of names.
    head: String,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// Reads the outermost element of a text; none if it is no XML, or more than this.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut open: Vec<Self> = Vec::new();
        let mut pieces = text.trim_start_matches('\u{feff}').split('<');
        if !pieces.next()?.trim().is_empty() {
            return None;
        }
        let mut root = None;
        for piece in pieces {
            let (tag, after) = piece.split_once('>')?;
            if tag.starts_with(['?', '!']) {
                continue;
            }
            if root.is_some() || open.len() > DEPTH_MAX {
                return None;
            }
            let closed = if let Some(name) = tag.strip_prefix('/') {
                Some(open.pop().filter(|element| element.name() == name.trim())?)
            } else if let Some(head) = tag.strip_suffix('/') {
                Some(Self::begin(head)?)
            } else {
                open.push(Self::begin(tag)?);
                None
            };
            match (closed, open.last_mut()) {
                (Some(element), Some(parent)) => parent.children.push(element),
                (Some(element), None) => root = Some(element),
                (None, _) => {}
            }
            match open.last_mut() {
                Some(inside) => inside.text.push_str(after.trim()),
                None if !after.trim().is_empty() => return None,
                None => {}
            }
        }
        root.filter(|_| open.is_empty())
    }

    fn begin(tag: &str) -> Option<Self> {
        let mut words = tag.split_whitespace();
        let name = words.next()?;
        let kept = words.filter(|word| !word.starts_with("xmlns"));
        let head = std::iter::once(name).chain(kept).collect::<Vec<_>>().join(" ");
        Some(Self { head, text: String::new(), children: Vec::new() })
    }

    pub(super) fn name(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.children.is_empty()
    }

    /// Whether all that it holds is one element with this text.
    pub(super) fn is_only(&self, name: &str, text: &str) -> bool {
        matches!(&self.children[..], [only] if only.name() == name && only.text == text)
    }

    /// The same with the contents of elements of a name in order.
    pub(super) fn with_sorted(mut self, name: &str) -> Self {
        if self.name() == name {
            self.children.sort();
        }
        self.children = self.children.into_iter().map(|child| child.with_sorted(name)).collect();
        self
    }

    /// In one line.
    pub(super) fn text(&self) -> String {
        let inside: String = self.children.iter().map(Self::text).collect();
        format!("<{}>{}{inside}</{}>", self.head, self.text, self.name())
    }
}

/// In lines, each element that holds others around them.
pub(super) fn indented(element: &Element) -> Vec<String> {
    if element.children.is_empty() {
        return vec![element.text()];
    }
    let inside = element.children.iter().flat_map(indented).map(|line| format!("  {line}"));
    let begin = format!("<{}>{}", element.head, element.text);
    std::iter::once(begin).chain(inside).chain([format!("</{}>", element.name())]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_otherwise_is_the_same() {
        let one = "<?xml version='1.0'?>\n<A xmlns=\"http://x\"><B>t&amp;</B><C/></A>\n";
        let other = "<A>\n <B>t&amp;</B>\n <C></C>\n</A>";
        assert_eq!(Element::parse(one), Element::parse(other));
        let lines = indented(&Element::parse(one).unwrap());
        assert_eq!(lines, ["<A>", "  <B>t&amp;</B>", "  <C></C>", "</A>"]);
        let typed = Element::parse("<G xmlns:xsi=\"y\" xsi:type=\"User\"><ID>1</ID></G>").unwrap();
        assert_eq!((typed.name(), typed.text().as_str()), ("G", "<G xsi:type=\"User\"><ID>1</ID></G>"));
    }

    #[test]
    fn what_is_no_xml_is_none() {
        let deep = "<a>".repeat(DEPTH_MAX + 2);
        for text in ["", "x", "<a>", "</a>", "<a></b>", "<a/><b/>", "<a/>x", "<", "<a", "{}", "<>", &deep] {
            assert_eq!(Element::parse(text), None, "{text}");
        }
    }
}
