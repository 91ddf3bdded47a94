//! Which version of an object is meant, of a snapshot that has them all.
//!
//! Versions of an object come one after the other, oldest first, so one entry at a time is held,
//! however many there are. What is chosen goes on under the key of its object, as if the snapshot had
//! nothing else. On purpose not here: trees without versions; their entries pass as they are.

use crate::snapshots::{Snapshot, utc};
use holdfast_core::entry::{Entry, Time};
use holdfast_core::version::{Version, split_version};
use std::collections::VecDeque;

/// Which versions of objects are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum VersionChoice {
    /// Of each object the newest; nothing where that is a delete marker.
    #[default]
    Newest,
    /// The same as of a moment: later versions do not count.
    At(Time),
    /// The version with this id of the one object that the path names.
    Id(String),
    /// All of them, delete markers too, oldest first: an object comes as often as it has versions.
    All,
}

/// Lets through what is meant.
pub(crate) struct Choosing {
    choice: VersionChoice,
    /// The key that the path names.
    named: Vec<u8>,
    run: Option<Run>,
    /// Objects of which nothing is meant.
    hidden: u64,
    /// Why nothing is meant of the object that the path names.
    why: Option<String>,
}

/// The versions of one object, as far as they have come.
struct Run {
    object: Vec<u8>,
    /// What is meant so far.
    chosen: Option<Entry>,
    /// The newest version with content: its id and time.
    content: Option<(String, Time)>,
    /// Something that would be newer than what is chosen may be lost.
    lost: bool,
}

/// When a version was made. One that has no id of its own may have been overwritten after it was
/// listed: then its entry is newer than its key.
fn made(version: &Version<'_>, entry: &Entry) -> Time {
    version.time.max(entry.mtime)
}

impl Choosing {
    pub(crate) fn new(choice: VersionChoice, named: &[u8]) -> Self {
        Self { choice, named: named.to_vec(), run: None, hidden: 0, why: None }
    }

    /// Takes the next entry; what is meant is added to `out`.
    pub(crate) fn take(&mut self, mut entry: Entry, out: &mut Vec<Entry>) {
        let Some((object, version)) = split_version(&entry.key) else {
            self.finish(out);
            return out.push(entry);
        };
        let (object, made, is_marker) = (object.to_vec(), made(&version, &entry), version.is_marker);
        let id = version.id.to_owned();
        if self.choice == VersionChoice::All {
            entry.key = object;
            return out.push(entry);
        }
        if self.run.as_ref().is_none_or(|run| run.object != object) {
            self.finish(out);
            self.run = Some(Run { object: object.clone(), chosen: None, content: None, lost: false });
        }
        let meant = match &self.choice {
            VersionChoice::Newest | VersionChoice::All => true,
            VersionChoice::At(time) => made <= *time,
            VersionChoice::Id(wanted) => *wanted == id && object == self.named,
        };
        let Some(run) = &mut self.run else { return };
        if !is_marker {
            run.content = Some((id, made));
        }
        if meant {
            entry.key = object;
            (run.chosen, run.lost) = ((!is_marker).then_some(entry), false);
        }
    }

    /// What begins with a key is lost: if that is a version of the object at hand, a newer one than
    /// what is chosen may be among it.
    pub(crate) fn lose(&mut self, from: &[u8]) {
        let Some(run) = &mut self.run else { return };
        let of_it = split_version(from).is_none_or(|(object, _)| object == run.object);
        if of_it && !matches!(self.choice, VersionChoice::Id(_)) {
            (run.chosen, run.lost) = (None, true);
        }
    }

    /// No more versions of the object at hand will come.
    pub(crate) fn finish(&mut self, out: &mut Vec<Entry>) {
        let Some(run) = self.run.take() else { return };
        match run.chosen {
            Some(entry) => out.push(entry),
            None => {
                self.hidden += u64::from(!run.lost);
                if run.object == self.named {
                    self.why = Some(self.reason(&run.content, run.lost));
                }
            }
        }
    }

    fn reason(&self, content: &Option<(String, Time)>, lost: bool) -> String {
        let newest = match content {
            Some((id, time)) => {
                format!("the newest version with content is {id} of {}: --version-id {id}", utc(*time))
            }
            None => "no version of it has content".to_owned(),
        };
        match &self.choice {
            _ if lost => "the part of the snapshot that tells its versions is damaged".to_owned(),
            VersionChoice::Id(id) => format!("has no content in a version {id}; {newest}"),
            VersionChoice::At(time) => format!("was not there at {}; {newest}", utc(*time)),
            VersionChoice::Newest | VersionChoice::All => format!("is deleted; {newest}"),
        }
    }

    /// Why nothing of a snapshot was meant, if versions are why.
    pub(crate) fn absent(&self, snapshot: &Snapshot) -> Option<String> {
        let id = &snapshot.id.to_string()[..8];
        let named = String::from_utf8_lossy(&self.named);
        match (&self.why, self.hidden) {
            (Some(why), _) => Some(format!("in snapshot {id} /{named} {why}")),
            (None, 0) => None,
            (None, number) => Some(format!(
                "in snapshot {id} nothing lies below /{named} at that time: of {number} objects there are only \
                 delete markers, or other versions; `holdfast ls` shows them"
            )),
        }
    }
}

/// Puts entries, of which those with one key follow each other, into rounds: the first of each key, then
/// the second, and so on.
pub(crate) fn in_rounds(entries: Vec<Entry>) -> VecDeque<Entry> {
    let (mut rounds, mut last, mut round): (Vec<Vec<Entry>>, Option<Vec<u8>>, usize) = (Vec::new(), None, 0);
    for entry in entries {
        let follows = last.as_ref() == Some(&entry.key);
        round = if follows { round + 1 } else { 0 };
        last = Some(entry.key.clone());
        if round == rounds.len() {
            rounds.push(Vec::new());
        }
        rounds[round].push(entry);
    }
    rounds.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::entry::{Attributes, Content, Kind};
    use holdfast_core::version::version_key;

    fn entry(key: &str, seconds: i64, id: &str, is_marker: bool) -> Entry {
        let time = Time { seconds, nanos: 0 };
        let key = version_key(key.as_bytes(), &Version { time, place: 0, is_marker, id });
        Entry {
            key,
            kind: Kind::File,
            mode: 0o644,
            owner: std::sync::Arc::default(),
            mtime: time,
            size: 0,
            content: Content::None,
            digest: None,
            attributes: Attributes::default(),
        }
    }

    fn all() -> Vec<Entry> {
        vec![
            entry("a", 1, "a1", false),
            entry("a", 3, "a3", false),
            entry("a", 5, "a5", true),
            entry("a/", 2, "s2", false),
            entry("b", 1, "b1", true),
            entry("b", 4, "b4", false),
        ]
    }

    fn chosen(choosing: &mut Choosing, entries: Vec<Entry>) -> Vec<(String, i64)> {
        let mut out = Vec::new();
        entries.into_iter().for_each(|entry| choosing.take(entry, &mut out));
        choosing.finish(&mut out);
        let shown = |entry: &Entry| (String::from_utf8_lossy(&entry.key).into_owned(), entry.mtime.seconds);
        out.iter().map(shown).collect()
    }

    fn choose(choice: VersionChoice, named: &str) -> Vec<(String, i64)> {
        chosen(&mut Choosing::new(choice, named.as_bytes()), all())
    }

    fn pairs(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
        pairs.iter().map(|(key, time)| ((*key).to_owned(), *time)).collect()
    }

    #[test]
    fn of_each_object_one_version_is_meant() {
        let at = |seconds| choose(VersionChoice::At(Time { seconds, nanos: 0 }), "");
        assert_eq!(choose(VersionChoice::Newest, ""), pairs(&[("a/", 2), ("b", 4)]));
        assert_eq!(at(0), []);
        assert_eq!(at(1), pairs(&[("a", 1)]));
        assert_eq!(at(2), pairs(&[("a", 1), ("a/", 2)]));
        assert_eq!(at(4), pairs(&[("a", 3), ("a/", 2), ("b", 4)]));
        assert_eq!(at(5), pairs(&[("a/", 2), ("b", 4)]));
        assert_eq!(choose(VersionChoice::Id("a1".into()), "a"), pairs(&[("a", 1)]));
        assert_eq!(choose(VersionChoice::Id("a1".into()), "b"), []);
        let every = pairs(&[("a", 1), ("a", 3), ("a", 5), ("a/", 2), ("b", 1), ("b", 4)]);
        assert_eq!(choose(VersionChoice::All, ""), every);
    }

    #[test]
    fn rounds_have_each_object_once() {
        let named = |key: &str, seconds| Entry { key: key.into(), ..entry(key, seconds, "v", false) };
        let all = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("c", 2)];
        let rounds = in_rounds(all.iter().map(|(key, seconds)| named(key, *seconds)).collect());
        let shown: Vec<_> = rounds
            .iter()
            .map(|entry| (String::from_utf8_lossy(&entry.key).into_owned(), entry.mtime.seconds))
            .collect();
        assert_eq!(shown, pairs(&[("a", 1), ("b", 1), ("c", 1), ("a", 2), ("c", 2), ("a", 3)]));
    }

    #[test]
    fn what_is_deleted_says_what_there_was() {
        let mut newest = Choosing::new(VersionChoice::Newest, b"a");
        chosen(&mut newest, all());
        let why = newest.why.unwrap_or_default();
        assert!(why.contains("is deleted") && why.contains("--version-id a3"), "{why}");
        let mut one = Choosing::new(VersionChoice::Id("a5".into()), b"a");
        chosen(&mut one, all());
        assert!(one.why.unwrap_or_default().contains("has no content in a version a5"));
    }

    #[test]
    fn an_older_version_does_not_stand_for_one_that_is_lost() {
        let after = |lost_from: &Entry, choice: VersionChoice| {
            let (mut choosing, mut out) = (Choosing::new(choice, b""), Vec::new());
            choosing.take(entry("a", 1, "a1", false), &mut out);
            choosing.lose(&lost_from.key);
            choosing.take(entry("b", 4, "b4", false), &mut out);
            choosing.finish(&mut out);
            out.len()
        };
        assert_eq!(after(&entry("a", 2, "a2", false), VersionChoice::Newest), 1);
        assert_eq!(after(&entry("aa", 2, "a2", false), VersionChoice::Newest), 2);
        // What comes after the loss is newer than what is lost.
        let (mut choosing, mut out) = (Choosing::new(VersionChoice::Newest, b""), Vec::new());
        choosing.take(entry("a", 1, "a1", false), &mut out);
        choosing.lose(&entry("a", 2, "a2", false).key);
        choosing.take(entry("a", 3, "a3", false), &mut out);
        choosing.finish(&mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn what_was_overwritten_after_it_was_listed_is_not_of_before() {
        let mut late = entry("a", 1, "null", false);
        late.mtime.seconds = 9;
        let at = VersionChoice::At(Time { seconds: 5, nanos: 0 });
        assert_eq!(chosen(&mut Choosing::new(at, b""), vec![late]), []);
    }

    #[test]
    fn what_has_no_versions_passes() {
        let plain = Entry { key: b"x\0y".to_vec(), ..entry("x", 1, "x", false) };
        assert_eq!(
            chosen(&mut Choosing::new(VersionChoice::Newest, b""), vec![plain]),
            pairs(&[("x\0y", 1)])
        );
    }
}
