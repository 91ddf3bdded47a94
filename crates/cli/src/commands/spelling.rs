//! A command line as text: for the snapshot's record and for commands that people copy.
//!
//! On purpose not here: secrets. Values that could be one are left out.

use std::ffi::{OsStr, OsString};

/// Writes the command of a backup for its record. What stands after `--` is another program's
/// command line, which may hold a password: only its first word is kept.
pub(crate) fn recorded_command(words: &[OsString]) -> String {
    let mut out = vec!["holdfast".to_owned()];
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.to_str() {
            Some("--") => {
                out.push("--".into());
                let from_command = words.iter().any(|word| word == "--stdin-from-command");
                out.extend(
                    rest.by_ref().take(if from_command { 1 } else { usize::MAX }).map(|word| quoted(word)),
                );
                out.extend((from_command && rest.next().is_some()).then(|| "...".to_owned()));
                break;
            }
            Some("--password-command") => {
                rest.next();
                out.push("--password-command ...".into());
            }
            Some(text) if text.starts_with("--password-command=") => {
                out.push("--password-command ...".into());
            }
            _ => out.push(quoted(word)),
        }
    }
    out.join(" ")
}

/// Writes a word as a shell reads it.
pub(crate) fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./:,=@+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        recorded_command(&words)
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let text = record(&["/usr/bin/holdfast", "backup", "/a b", "-e", "it's*", ""]);
        assert_eq!(text, "holdfast backup '/a b' -e 'it'\\''s*' ''");
        assert_eq!(record(&["h", "backup", "--", "-x", "y"]), "holdfast backup -- -x y");
    }

    #[test]
    fn what_may_be_secret_is_left_out() {
        let text =
            record(&["h", "--password-command", "echo hunter2", "--password-command=echo hunter2", "backup"]);
        assert_eq!(text, "holdfast --password-command ... --password-command ... backup");
        let text = record(&["h", "backup", "--stdin-from-command", "--", "dump", "-phunter2"]);
        assert_eq!(text, "holdfast backup --stdin-from-command -- dump ...");
    }
}
