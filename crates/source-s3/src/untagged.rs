//! Whether an object is believed to have no tags because the answer with its content states none.
//!
//! With an object servers state how many tags it has (`x-amz-tagging-count`), to those who may read
//! tags; to others they state nothing, as of an object without. Rights go by prefixes, mostly: so of
//! each folder one object is asked about before the others are believed, and one in 64 wherever it
//! is. What is left the sweep asks about in turn, and nothing is believed without a sweep, nor of a
//! server that was never seen to state a number, unless it is Amazon's, whose manual says it. On
//! purpose not here: asking.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// The fact of a snapshot that the server stated how many tags objects have, and what it says.
pub(crate) const STATED: (&str, &str) = ("tag counts", "stated");
/// Folders that are remembered. Keys come folder by folder: one that comes again is asked again.
const FOLDERS_MAX: usize = 4096;
/// Of so many objects one is asked about, whatever its folder.
const SAMPLE: u64 = 64;

/// See the top of the file.
#[derive(Debug, Default)]
pub(crate) struct Untagged {
    /// It stated a number of an object that has tags.
    stated: AtomicBool,
    /// It stated none of an object that has.
    silent: AtomicBool,
    /// Whether tags could be read of an object of each.
    folders: Mutex<HashMap<String, Arc<OnceCell<bool>>>>,
}

impl Untagged {
    /// The server was asked for tags: how many there are, and how many it had stated.
    pub(crate) fn compare(&self, found: usize, stated: u32) {
        match (found, stated) {
            (0, _) => {}
            (_, 0) => self.silent.store(true, Ordering::Relaxed),
            _ => self.note_stated(),
        }
    }

    /// It stated numbers, now or in the run before.
    pub(crate) fn note_stated(&self) {
        self.stated.store(true, Ordering::Relaxed);
    }

    /// Whether its numbers are to be believed.
    pub(crate) fn is_stated(&self) -> bool {
        self.stated.load(Ordering::Relaxed) && !self.silent.load(Ordering::Relaxed)
    }

    /// Whether nothing speaks against what is documented of the server.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Asks about the first object of a folder; the others wait for that. `None` for one of them, once
    /// the first was answered. An answer of `None` is none.
    pub(crate) async fn first_of<T, E, A>(&self, folder: &str, ask: impl Fn() -> A) -> Result<Option<T>, E>
    where
        A: Future<Output = Result<Option<T>, E>>,
    {
        let (cell, mut first) = (self.folder(folder), None);
        let told = cell
            .get_or_init(|| async {
                let answer = ask().await;
                let told = matches!(answer, Ok(Some(_)));
                first = Some(answer);
                told
            })
            .await;
        match first {
            Some(answer) => answer,
            None if *told => Ok(None),
            None => ask().await,
        }
    }

    fn folder(&self, folder: &str) -> Arc<OnceCell<bool>> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if folders.len() >= FOLDERS_MAX && !folders.contains_key(folder) {
            folders.clear();
        }
        Arc::clone(folders.entry(folder.to_owned()).or_default())
    }
}

/// The folder of an object; of a version there is another right.
pub(crate) fn folder_of(key: &str, is_version: bool) -> String {
    let folder = key.rfind('/').map_or("", |end| &key[..=end]);
    format!("{}{folder}", if is_version { "v" } else { "o" })
}

/// Whether an object is asked about whatever its folder.
pub(crate) fn is_sample(key: &str) -> bool {
    blake3::hash(key.as_bytes()).as_bytes()[0].is_multiple_of(SAMPLE as u8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// How many of ten objects of one folder are asked about, where the answer is always this.
    fn asked(answer: Result<Option<()>, ()>) -> usize {
        let (untagged, count) = (Arc::new(Untagged::default()), Arc::new(AtomicUsize::new(0)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let (untagged, count) = (Arc::clone(&untagged), Arc::clone(&count));
                all.spawn(async move {
                    let ask = || async {
                        count.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        answer
                    };
                    let got = untagged.first_of("some/", ask).await;
                    assert!(got == answer || got == Ok(None));
                });
            }
            while let Some(ended) = all.join_next().await {
                ended.unwrap();
            }
        });
        count.load(Ordering::Relaxed)
    }

    #[test]
    fn one_answer_is_enough_for_a_folder_and_none_is_not() {
        assert_eq!(asked(Ok(Some(()))), 1);
        assert_eq!(asked(Err(())), 10);
        assert_eq!(asked(Ok(None)), 10);
    }

    #[test]
    fn a_server_is_believed_after_it_was_right_and_never_after_it_was_wrong() {
        let server = Untagged::default();
        server.compare(0, 0);
        assert!(!server.is_stated() && !server.is_silent());
        server.compare(2, 2);
        assert!(server.is_stated());
        server.compare(1, 0);
        server.compare(2, 2);
        assert!(!server.is_stated() && server.is_silent());
    }

    #[test]
    fn a_folder_is_what_a_right_is_given_for() {
        assert_eq!(folder_of("a/b/c", false), "oa/b/");
        assert_eq!((folder_of("c", false), folder_of("c", true)), ("o".to_owned(), "v".to_owned()));
        let samples = (0..6_400).filter(|number| is_sample(&format!("key {number}"))).count();
        assert!((50..200).contains(&samples), "{samples}");
    }

    #[test]
    fn folders_are_bounded() {
        let untagged = Untagged::default();
        (0..3 * FOLDERS_MAX).for_each(|number| drop(untagged.folder(&number.to_string())));
        assert!(untagged.folders.lock().unwrap().len() <= FOLDERS_MAX);
    }
}
