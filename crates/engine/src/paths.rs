//! What a stated path means in a tree: which keys, and what they are called there.
//!
//! Trees of files have a key for each folder, and 0x00 between the words of a path. A bucket's keys
//! are bytes as they are: `a//b`, `a/`, `.` and `..` are names like any other, and nothing demands
//! that a key has parents. Where all versions of objects are kept, a key is followed by 0x00 and what
//! tells its versions apart. On purpose not here: reading trees.

use holdfast_core::configuration::{CONFIGURATION_KEY, CONFIGURATION_SHOWN};
use holdfast_core::page::KeySpace;
use holdfast_core::version::shown_key;

/// What a person means by a path: an entry and everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    space: KeySpace,
    /// Of a bucket's keys: what they begin with, before the slash that comes next.
    stem: Vec<u8>,
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Everything,
    /// What has this very key, and what lies below it.
    ItAndBelow,
    /// Of a bucket: only what lies below, as a slash at the end says.
    Below,
}

impl Scope {
    /// Reads a path as it is meant in a tree of this kind. In a bucket one slash at the front may be
    /// left out, and all else counts.
    #[must_use]
    pub fn new(space: KeySpace, path: &[u8]) -> Self {
        if space != KeySpace::Opaque {
            let stem = plain_key(path);
            let reach = if stem.is_empty() { Reach::Everything } else { Reach::ItAndBelow };
            return Self { space, stem, reach };
        }
        if path == CONFIGURATION_SHOWN.as_bytes() {
            // An object of that very name is meant with a slash in front.
            return Self { space, stem: CONFIGURATION_KEY.to_vec(), reach: Reach::ItAndBelow };
        }
        let key = path.strip_prefix(b"/").unwrap_or(path);
        let (stem, reach) = match key.strip_suffix(b"/") {
            _ if key.is_empty() => (key, Reach::Everything),
            Some(stem) => (stem, Reach::Below),
            None => (key, Reach::ItAndBelow),
        };
        Self { space, stem: stem.to_vec(), reach }
    }

    /// Whether it is all that there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.reach == Reach::Everything
    }

    /// The key of what the path itself names; the empty one is that of everything.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.stem
    }

    /// Whether its keys are those of a bucket.
    pub(crate) fn is_opaque(&self) -> bool {
        self.space == KeySpace::Opaque
    }

    /// No key of it is smaller.
    pub(crate) fn from(&self) -> Vec<u8> {
        match self.reach {
            Reach::Below => [&self.stem[..], b"/"].concat(),
            Reach::Everything | Reach::ItAndBelow => self.stem.clone(),
        }
    }

    /// All keys of it are smaller; none if it has no end.
    pub(crate) fn to(&self) -> Option<Vec<u8>> {
        // What follows 0x00, and what follows the slash.
        let next = if self.is_opaque() { b'/' + 1 } else { 1 };
        (!self.is_everything()).then(|| [&self.stem[..], &[next]].concat())
    }

    /// Whether it holds a key.
    #[must_use]
    pub fn holds(&self, key: &[u8]) -> bool {
        let separator = if self.is_opaque() { b'/' } else { 0 };
        self.is_everything()
            || key.strip_prefix(&self.stem[..]).is_some_and(|rest| match rest.first() {
                None => self.reach == Reach::ItAndBelow,
                // Its versions are what has this very key.
                Some(0) if self.is_opaque() => self.reach == Reach::ItAndBelow,
                Some(first) => *first == separator,
            })
    }

    /// What tells a key of it from all others, in the same order.
    pub(crate) fn relative<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        let rest = &key[self.stem.len().min(key.len())..];
        // A bucket may have `a` beside `a/`: there the slash has to stay.
        if self.is_opaque() { rest } else { rest.strip_prefix(&[0]).unwrap_or(rest) }
    }

    /// The same of a key that is perhaps none of it: no greater than that of any that follows.
    pub(crate) fn floor<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        if self.holds(key) { self.relative(key) } else { &[] }
    }

    /// The path of what [`Scope::relative`] gave, as a person knows it.
    #[must_use]
    pub fn path_of(&self, relative: &[u8]) -> Vec<u8> {
        let apart = !self.is_opaque() && !self.stem.is_empty() && !relative.is_empty();
        let between: &[u8] = if apart { &[0] } else { &[] };
        shown_key(&[&self.stem[..], between, relative].concat())
    }

    /// The key that something has at a target: what lies in a folder lands in the target, and what
    /// was named itself keeps its last word.
    pub(crate) fn at_target(&self, key: &[u8], is_folder: bool) -> Vec<u8> {
        let separator = if self.is_opaque() { b'/' } else { 0 };
        if key == self.stem && !is_folder && !self.is_everything() {
            let start = key.iter().rposition(|&byte| byte == separator).map_or(0, |at| at + 1);
            return key[start..].to_vec();
        }
        let rest = self.relative(key);
        let inside = self.is_opaque() && !self.is_everything();
        if inside { rest.strip_prefix(b"/").unwrap_or(rest).to_vec() } else { rest.to_vec() }
    }
}

/// The key of a path of files: without what stands for nothing, and without steps upwards.
fn plain_key(path: &[u8]) -> Vec<u8> {
    let mut words: Vec<&[u8]> = Vec::new();
    for word in path.split(|&byte| byte == b'/') {
        match word {
            b"" | b"." => {}
            b".." => drop(words.pop()),
            word => words.push(word),
        }
    }
    words.join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(path: &str) -> Scope {
        Scope::new(KeySpace::Opaque, path.as_bytes())
    }

    #[test]
    fn a_path_of_files_is_an_entry_and_what_lies_below() {
        let scope = Scope::new(KeySpace::Paths, b"/a//./x/../b/");
        assert_eq!(scope.key(), b"a\0b");
        assert!(scope.holds(b"a\0b") && scope.holds(b"a\0b\0c"));
        assert!(!scope.holds(b"a\0bc") && !scope.holds(b"a"));
        assert_eq!(scope.relative(b"a\0b\0c"), b"c");
        assert_eq!(scope.path_of(b"c"), b"/a/b/c");
        assert_eq!(
            (scope.at_target(b"a\0b", false), scope.at_target(b"a\0b", true)),
            (b"b".to_vec(), vec![])
        );
        assert!(Scope::new(KeySpace::Paths, b"/..").is_everything());
    }

    #[test]
    fn a_path_of_a_bucket_is_taken_as_it_stands() {
        let keys: [&[u8]; 9] = [b".", b"..", b"/", b"/a", b"a", b"a/", b"a//b", b"a-b", b"a/b"];
        let held = |path: &str| -> Vec<String> {
            let scope = bucket(path);
            let held = keys.iter().filter(|key| scope.holds(key));
            held.map(|key| String::from_utf8_lossy(key).into_owned()).collect()
        };
        assert_eq!(held("").len(), keys.len());
        assert_eq!(held("/").len(), keys.len());
        assert_eq!(held("a"), ["a", "a/", "a//b", "a/b"]);
        assert_eq!(held("/a/"), ["a/", "a//b", "a/b"]);
        assert_eq!(held("/a//"), ["a//b"]);
        assert_eq!(held("//"), ["/", "/a"]);
        assert_eq!(held("//a"), ["/a"]);
        assert_eq!((held("."), held("/..")), (vec![".".to_owned()], vec!["..".to_owned()]));
    }

    #[test]
    fn the_configuration_of_a_bucket_is_named_as_it_is_shown() {
        let alone = bucket(CONFIGURATION_SHOWN);
        assert!(alone.holds(CONFIGURATION_KEY) && !alone.holds(CONFIGURATION_SHOWN.as_bytes()));
        assert_eq!(alone.path_of(alone.relative(CONFIGURATION_KEY)), CONFIGURATION_SHOWN.as_bytes());
        assert_eq!(alone.at_target(CONFIGURATION_KEY, false), CONFIGURATION_KEY);
        let object = bucket(&format!("/{CONFIGURATION_SHOWN}"));
        assert!(object.holds(CONFIGURATION_SHOWN.as_bytes()) && !object.holds(CONFIGURATION_KEY));
        assert!(bucket("").holds(CONFIGURATION_KEY) && !bucket("a").holds(CONFIGURATION_KEY));
    }

    #[test]
    fn the_range_of_a_scope_has_all_that_it_holds() {
        let keys: [&[u8]; 9] = [b".", b"..", b"/", b"/a", b"a", b"a/", b"a//b", b"a-b", b"a/b"];
        for path in ["", "a", "a/", "a//", "//", "//a", ".", "b"] {
            let scope = bucket(path);
            for key in keys {
                let inside = *key >= *scope.from() && scope.to().is_none_or(|to| *key < *to);
                assert!(inside || !scope.holds(key), "{path} {key:?}");
            }
            let held = || keys.iter().filter(|key| scope.holds(key));
            let relative: Vec<_> = held().map(|key| scope.relative(key)).collect();
            let mut sorted: Vec<_> = held().copied().collect();
            sorted.sort_unstable();
            let mut again: Vec<_> = sorted.iter().map(|key| scope.relative(key)).collect();
            again.dedup();
            assert_eq!(again.len(), relative.len(), "{path}: two keys are told apart no more");
            assert!(again.is_sorted(), "{path}");
            for key in held() {
                assert_eq!(scope.path_of(scope.relative(key)), [b"/", *key].concat());
            }
        }
    }

    #[test]
    fn what_was_named_keeps_its_last_word() {
        let at = |path: &str, key: &[u8]| bucket(path).at_target(key, false);
        assert_eq!(at("a/b", b"a/b"), b"b");
        assert_eq!(at("a/b", b"a/b/c"), b"c");
        assert_eq!(at("a/b/", b"a/b//c"), b"/c");
        assert_eq!(at("a/b", b"a/b/"), b"");
        assert_eq!(at("", b"a/b"), b"a/b");
    }
}
