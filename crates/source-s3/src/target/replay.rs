//! Replaying all versions of objects into a bucket that keeps versions.
//!
//! A batch has at most one version of an object, and the next begins when it is complete: so what was
//! written last under a name is known, and a condition makes sure that nothing else came between. On
//! purpose not here: the order, which the engine keeps; sending.

use super::send::Slot;
use super::shared::{Shared, lock, one_more};
use holdfast_engine::outcome::ProblemKind;
use std::collections::{BTreeMap, HashSet};

/// What was written last under names that more may follow under.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// The entity tag, with its quotes; none after a delete marker.
    written: BTreeMap<String, Option<String>>,
    /// The greatest name so far: the only one that goes on after a batch that does not have it.
    greatest: String,
}

impl Last {
    fn keep(&mut self, name: &str, etag: Option<String>) {
        if *name > *self.greatest {
            name.clone_into(&mut self.greatest);
        }
        self.written.insert(name.to_owned(), etag);
    }

    /// Forgets names that nothing more follows under.
    fn forget(&mut self, batch: &HashSet<&str>) {
        let Self { written, greatest } = self;
        written.retain(|name, _| batch.contains(name.as_str()) || name == greatest);
    }

    fn etag(&self, name: &str) -> Option<&String> {
        self.written.get(name)?.as_ref()
    }
}

impl Shared {
    /// It has to be new, for all that is known.
    pub(super) fn if_none_match(&self, slot: &Slot) -> Option<String> {
        let is_new = match self.options.replay {
            true => lock(&self.last).etag(&slot.name).is_none(),
            false => slot.there.is_none(),
        };
        is_new.then(|| "*".to_owned())
    }

    /// It has to be what was looked at, or written last.
    pub(super) fn if_match(&self, slot: &Slot) -> Option<String> {
        match self.options.replay {
            true => lock(&self.last).etag(&slot.name).cloned(),
            false => slot.there.as_ref()?.etag.clone(),
        }
    }

    /// Notes what lies under a name now.
    pub(super) fn wrote(&self, slot: &Slot, etag: Option<String>) {
        if self.options.replay {
            lock(&self.last).keep(&slot.name, etag);
        }
    }

    /// A batch is complete.
    pub(super) fn turn_over(&self, names: &HashSet<&str>) {
        lock(&self.last).forget(names);
    }

    /// Deletes an object as it was deleted once: its versions stay.
    pub(super) async fn put_marker(&self, slot: &Slot) {
        if self.options.rehearse {
            return one_more(&self.count.created);
        }
        let delete = self.place.client.delete_object().bucket(self.place.bucket()).key(&slot.name);
        match self.place.ask(&slot.name, delete.send()).await {
            Ok(_) => {
                one_more(&self.count.created);
                self.wrote(slot, None);
            }
            Err(answer) => {
                self.refused(
                    &slot.path,
                    ProblemKind::Unwritable,
                    "put a delete marker on",
                    &slot.name,
                    answer,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_is_known_as_long_as_it_matters() {
        let mut last = Last::default();
        last.keep("a", Some("1".into()));
        last.keep("b", Some("2".into()));
        last.keep("c", Some("3".into()));
        last.forget(&HashSet::from(["a", "b", "c"]));
        // The next batch goes on with `b` alone; `c` may go on after it.
        last.keep("b", None);
        last.forget(&HashSet::from(["b"]));
        assert_eq!(last.written.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!((last.etag("b"), last.etag("c")), (None, Some(&"3".to_owned())));
        last.keep("d", Some("4".into()));
        last.forget(&HashSet::from(["d"]));
        assert_eq!(last.written.len(), 1);
    }
}
