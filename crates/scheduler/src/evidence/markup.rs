//! Writes XML, and HTML that is XML too: what is ours goes in as it is, everything else escaped.
//!
//! The types see to it: markup has to be a text of the program's own. On purpose not here: what is written.

use super::words::shown;

/// A document that grows.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Adds markup of our own.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds a text, whatever is in it.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.escaped(text, false)
    }

    /// Adds ` name="value"`.
    pub(super) fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").escaped(value, true).raw("\"")
    }

    /// Adds an element with nothing but a text in it.
    pub(super) fn element(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">")
    }

    /// The document.
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// In attributes line breaks are written out: a parser would make blanks of them.
    fn escaped(&mut self, text: &str, attribute: bool) -> &mut Self {
        for c in shown(text).chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' if attribute => self.0.push_str("&#10;"),
                c => self.0.push(c),
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let mut page = Markup::default();
        page.raw("<a").attribute("b", "\"'>\n").raw(">").text("]]></a>&\n\u{0}\u{202e}").raw("</a>");
        let wanted = "<a b=\"&quot;&#39;&gt;&#10;\">]]&gt;&lt;/a&gt;&amp;\n\\u{0}\\u{202e}</a>";
        assert_eq!(page.into_string(), wanted);
    }
}
