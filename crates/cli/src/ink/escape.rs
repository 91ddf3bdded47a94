//! Names and paths as text that is safe to show: nothing in a name can steer a terminal or
//! pretend to be another line.
//!
//! On purpose not here: exactness. What has to be read back exactly goes out as JSON, with
//! `path_base64` where the bytes are not UTF-8.

use std::fmt::Write;

/// Returns the bytes as one line of text: control characters, direction marks and bytes that
/// are not UTF-8 are escaped, all else stays as it is.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_char(&mut out, c));
        chunk.invalid().iter().for_each(|&byte| push_byte(&mut out, byte));
    }
    out
}

fn push_char(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii_control() => push_byte(out, c as u8),
        c if c.is_control() || steers_text(c) => push_code_point(out, c),
        c => out.push(c),
    }
}

/// Marks that reorder or break the text around them.
fn steers_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

// Writing to a string cannot fail.
fn push_byte(out: &mut String, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

fn push_code_point(out: &mut String, c: char) {
    let _ = write!(out, "\\u{{{:x}}}", c as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay() {
        assert_eq!(escape("/srv/한글 née \\ 'a'".as_bytes()), "/srv/한글 née \\ 'a'");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(escape(b"a\x1b[2Jb\nc\t\x07\x7f"), "a\\x1b[2Jb\\nc\\t\\x07\\x7f");
        assert_eq!(escape("a\u{9b}b\u{202e}c".as_bytes()), "a\\u{9b}b\\u{202e}c");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown() {
        assert_eq!(escape(b"caf\xe9/\xff"), "caf\\xe9/\\xff");
    }
}
