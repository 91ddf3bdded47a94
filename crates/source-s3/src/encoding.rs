//! Keys of objects as paths below a folder, and back.
//!
//! A key is any text; a path is not. Plain keys stay as they are: `a/b.txt` is `b.txt` in `a`. The
//! rest is escaped, so that what comes out is always a safe relative path and always leads back:
//!
//! | key | path |
//! |---|---|
//! | `%`, and a byte of zero | `%25`, `%00` |
//! | a word that is empty (`a//b`, `a/`) | `%` (`a/%/b`, `a/%`) |
//! | the words `.` and `..` | `%2E`, `%2E%2E` |
//! | a word that is too long for a name | pieces, all but the last with `%+` at the end, each a folder of the next |
//! | a folder, if its name is the key of an object too | the same with `%d` at the end |
//!
//! The last depends on more than the key: of `a` and `a/b` the object `a` gets the plain name, and
//! `a/b` becomes `a%d/b`. The path still leads back by itself, as `%d` counts for nothing. Keys come
//! in order, and `a` before everything that begins with `a/`; so [`Above`] tells in time. On purpose
//! not here: folders and files.

/// Longest name in bytes; file systems take 255.
const NAME_BYTES_MAX: usize = 255;
/// Length of a piece of a longer one; an escape and a mark have to fit behind it.
const PIECE_BYTES: usize = 240;
/// Marks a piece that goes on in the next.
const GOES_ON: &[u8] = b"%+";
/// Marks a folder that would have the name of an object.
const FOLDER: &[u8] = b"%d";

/// Turns a key into the components of a path. `is_object` is asked of everything in the key that a
/// folder is to be made for, without its slash.
#[must_use]
pub fn encode(key: &[u8], is_object: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut components = Vec::new();
    let mut start = 0;
    for word in key.split(|&byte| byte == b'/') {
        let end = start + word.len();
        let mut pieces = pieces_of(word);
        if end < key.len() && is_object(&key[..end]) {
            pieces.last_mut().into_iter().for_each(|last| last.extend_from_slice(FOLDER));
        }
        components.append(&mut pieces);
        start = end + 1;
    }
    components
}

/// Finds the path of a key among what was restored: a folder has its mark if there is no folder
/// without it. `is_folder` looks at a path by its components.
#[must_use]
pub fn find(key: &[u8], is_folder: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
    let mut components = Vec::new();
    let mut words = key.split(|&byte| byte == b'/').peekable();
    while let Some(word) = words.next() {
        components.append(&mut pieces_of(word));
        if words.peek().is_some() && !is_folder(&components) {
            components.last_mut().into_iter().for_each(|last: &mut Vec<u8>| last.extend_from_slice(FOLDER));
        }
    }
    components
}

/// Escapes a word, in pieces that are names.
fn pieces_of(word: &[u8]) -> Vec<Vec<u8>> {
    let escaped: Vec<Vec<u8>> = match word {
        b"" => return vec![b"%".to_vec()],
        b"." | b".." => word.iter().map(|_| b"%2E".to_vec()).collect(),
        _ => word.iter().map(|&byte| escape(byte)).collect(),
    };
    let length: usize = escaped.iter().map(Vec::len).sum();
    if length + FOLDER.len() <= NAME_BYTES_MAX {
        return vec![escaped.concat()];
    }
    let mut pieces = vec![Vec::new()];
    for unit in escaped {
        if let Some(last) = pieces.last_mut() {
            if last.len() < PIECE_BYTES {
                last.extend(unit);
                continue;
            }
            last.extend_from_slice(GOES_ON);
        }
        pieces.push(unit);
    }
    pieces
}

fn escape(byte: u8) -> Vec<u8> {
    match byte {
        b'%' => b"%25".to_vec(),
        0 => b"%00".to_vec(),
        other => vec![other],
    }
}

/// Turns the components of a path back into a key; none if [`encode`] does not make such a path.
#[must_use]
pub fn decode(components: &[Vec<u8>]) -> Option<Vec<u8>> {
    let (mut key, mut word, mut is_object) = (Vec::new(), Vec::new(), Vec::new());
    for (number, component) in components.iter().enumerate() {
        let is_last = number + 1 == components.len();
        let (rest, goes_on) = marked(component, GOES_ON);
        let (rest, folder) = marked(rest, FOLDER);
        word.extend(unescaped(rest)?);
        match (goes_on, is_last) {
            (true, true) => return None,
            (true, false) if folder => return None,
            (true, false) => continue,
            (false, _) => {}
        }
        key.append(&mut word);
        if folder {
            is_object.push(key.len());
        }
        if !is_last {
            key.push(b'/');
        }
    }
    // Everything has one way to be written, but for the marks.
    let again = encode(&key, |above| is_object.contains(&above.len()));
    (!components.is_empty() && again == components).then_some(key)
}

fn marked<'a>(component: &'a [u8], mark: &[u8]) -> (&'a [u8], bool) {
    component.strip_suffix(mark).map_or((component, false), |rest| (rest, true))
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    if text == b"%" {
        return Some(Vec::new());
    }
    let (mut bytes, mut rest) = (Vec::new(), text.iter());
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        bytes.push(u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?);
    }
    Some(bytes)
}

/// The keys that a later key can lie below: those that the last one begins with.
#[derive(Debug, Default)]
pub struct Above {
    last: Vec<u8>,
    /// Their lengths, ascending.
    lengths: Vec<usize>,
}

impl Above {
    /// Takes the next key, in order of their bytes.
    pub fn note(&mut self, key: &[u8]) {
        let shared = self.last.iter().zip(key).take_while(|(one, other)| one == other).count();
        self.lengths.retain(|length| *length <= shared);
        self.lengths.push(key.len());
        key.clone_into(&mut self.last);
    }

    /// Whether a beginning of the last key is a key itself.
    #[must_use]
    pub fn is_object(&self, beginning: &[u8]) -> bool {
        self.lengths.binary_search(&beginning.len()).is_ok() && self.last.starts_with(beginning)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn path(key: &str) -> String {
        let components = encode(key.as_bytes(), |_| false);
        String::from_utf8(components.join(&b'/')).unwrap()
    }

    #[test]
    fn plain_keys_stay_as_they_are() {
        for key in ["a", "a/b.txt", ".hidden/x", "ä ö/…", "a.b/..c", "...", "+", "d"] {
            assert_eq!(path(key), key);
        }
    }

    #[test]
    fn the_rest_is_escaped() {
        let cases = [
            ("", "%"),
            ("/", "%/%"),
            ("a//b", "a/%/b"),
            ("a/", "a/%"),
            ("../x", "%2E%2E/x"),
            ("./.", "%2E/%2E"),
            ("100%", "100%25"),
            ("a%d", "a%25d"),
            ("x\0", "x%00"),
        ];
        for (key, wanted) in cases {
            assert_eq!(path(key), wanted, "{key:?}");
        }
        let long = "x".repeat(600);
        assert_eq!(path(&long), format!("{0}%+/{0}%+/{1}", "x".repeat(240), "x".repeat(120)));
    }

    #[test]
    fn what_is_no_such_path_leads_nowhere() {
        for text in ["", ".", "..", "a/..", "%2e", "%41", "%zz", "a%", "%2", "a%+", "a%d", "x%+/y", "%d%d/x"]
        {
            let components: Vec<_> = text.split('/').map(|word| word.as_bytes().to_vec()).collect();
            assert_eq!(decode(&components), None, "{text}");
        }
        assert_eq!(decode(&[]), None);
    }

    fn is_safe(components: &[Vec<u8>]) -> bool {
        let is_name = |name: &Vec<u8>| {
            let special = matches!(name.as_slice(), b"" | b"." | b"..");
            !special && name.len() <= NAME_BYTES_MAX && !name.contains(&0) && !name.contains(&b'/')
        };
        !components.is_empty() && components.iter().all(is_name)
    }

    /// Keys of few letters meet each other; the rest is anything.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let few =
            vec(prop_oneof![Just(b'a'), Just(b'/'), Just(b'.'), Just(b'%'), Just(b'd'), Just(b'+')], 0..8);
        let long = (vec(any::<u8>(), 0..4), 0..1024_usize).prop_map(|(start, length)| {
            start.iter().copied().cycle().take(if start.is_empty() { 0 } else { length }).collect()
        });
        prop_oneof![few, long, vec(any::<u8>(), 0..1024)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_path_is_safe_and_leads_back(key in key(), objects in any::<u64>()) {
            let components = encode(&key, |above| objects >> (above.len() % 64) & 1 == 1);
            prop_assert!(is_safe(&components), "{components:?}");
            prop_assert_eq!(decode(&components), Some(key));
        }

        #[test]
        fn many_keys_fit_into_one_folder(keys in btree_set(key(), 0..40)) {
            let (mut above, mut files, mut folders) = (Above::default(), BTreeSet::new(), BTreeSet::new());
            for key in &keys {
                above.note(key);
                let components = encode(key, |beginning| {
                    assert_eq!(above.is_object(beginning), keys.contains(beginning));
                    above.is_object(beginning)
                });
                prop_assert_eq!(decode(&components), Some(key.clone()));
                (1..components.len()).for_each(|end| { folders.insert(components[..end].to_vec()); });
                prop_assert!(files.insert(components), "two keys with one path");
            }
            prop_assert!(files.is_disjoint(&folders), "a file in a folder's place");
            for key in &keys {
                prop_assert!(files.contains(&find(key, |path| folders.contains(path))));
            }
        }
    }
}
