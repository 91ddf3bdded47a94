//! Files that list paths or patterns.
//!
//! On purpose not here: what is done with them.

use crate::fault::Fault;
use crate::settings;
use crate::wire_up::{Excludes, parse_exclude_file};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// How a list of paths is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// One a line; empty lines and those that begin with # do not count.
    Lines,
    /// One a line, each exactly as it stands there.
    Verbatim,
    /// Each ends with a zero byte, as `find -print0` writes them.
    Raw,
}

/// Reads a list of paths; `-` is standard input.
pub(crate) fn paths(file: &Path, listing: Listing) -> Result<Vec<OsString>, Fault> {
    let fault = |error: std::io::Error| {
        let what = format!("cannot read the list {}", file.display());
        Fault::usage(what, "check the name after --files-from").because(&error)
    };
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes).map_err(fault)?;
    } else {
        File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(fault)?;
    }
    split(&bytes, listing).map_err(|what| {
        Fault::usage(
            format!("the list {} {what}", file.display()),
            "write it with find -print0 or printf '%s\\0'",
        )
    })
}

fn split(bytes: &[u8], listing: Listing) -> Result<Vec<OsString>, &'static str> {
    let end = if listing == Listing::Raw { 0 } else { b'\n' };
    // What is cut off may name something else.
    if listing == Listing::Raw && !bytes.is_empty() && bytes.last() != Some(&0) {
        return Err("does not end with a zero byte: is it cut off?");
    }
    if listing != Listing::Raw && bytes.contains(&0) {
        return Err("holds zero bytes; --files-from-raw reads such lists");
    }
    let paths = bytes.split(|&byte| byte == end);
    let paths = paths.map(|path| match listing {
        Listing::Lines => path.strip_suffix(b"\r").unwrap_or(path),
        Listing::Verbatim | Listing::Raw => path,
    });
    let counts = |path: &&[u8]| !path.is_empty() && (listing != Listing::Lines || !path.starts_with(b"#"));
    Ok(paths.filter(counts).map(|path| OsString::from_vec(path.to_vec())).collect())
}

/// Joins patterns that were given with those in files; `option` names the files' option.
pub(crate) fn patterns(
    [cased, caseless]: [&[String]; 2],
    files: [&[PathBuf]; 2],
    option: &str,
) -> Result<Excludes, Fault> {
    let joined = |given: &[String], files: &[PathBuf]| -> Result<Vec<String>, Fault> {
        let mut all = given.to_vec();
        for file in files {
            all.extend(pattern_file(file, option)?);
        }
        Ok(all)
    };
    let (cased, caseless) = (joined(cased, files[0])?, joined(caseless, files[1])?);
    Excludes::new(&cased, &caseless).map_err(not_understood)
}

/// A pattern that is none.
pub(super) fn not_understood(what: impl std::fmt::Display) -> Fault {
    let hint = "put patterns in quotes, and \\ before a character meant as itself";
    Fault::usage(format!("a pattern cannot be understood: {what}"), hint)
}

fn pattern_file(file: &Path, option: &str) -> Result<Vec<String>, Fault> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        let hint = format!("check the name after {option}");
        Fault::usage(format!("cannot read the patterns in {name}"), hint).because(&error)
    })?;
    let lookup = |name: &str| settings::variable(name).and_then(|value| value.into_string().ok());
    parse_exclude_file(&text, lookup)
        .map_err(|what| Fault::usage(format!("the patterns in {name} cannot be understood: {what}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_paths_have_three_spellings() {
        let split = |bytes: &[u8], listing| split(bytes, listing).map(|paths| paths.join("|".as_ref()));
        assert_eq!(split(b"/a\r\n\n# no\n b \n", Listing::Lines), Ok("/a| b ".into()));
        assert_eq!(split(b"/a\r\n\n# yes", Listing::Verbatim), Ok("/a\r|# yes".into()));
        assert_eq!(split(b"/a\n\0#b\0", Listing::Raw), Ok("/a\n|#b".into()));
        assert_eq!(split(b"", Listing::Raw), Ok("".into()));
        assert!(split(b"/a\0/b", Listing::Raw).is_err());
        assert!(split(b"/a\0", Listing::Lines).is_err() && split(b"/a\0", Listing::Verbatim).is_err());
    }
}
