//! A listing by stretches is that of one stretch, whatever keys and ends there are; a server that
//! lies is refused, and never makes a listing short in silence.

use super::*;
use crate::listing::{self, Listed, by_words};
use holdfast_core::entry::Time;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::time::Duration;
use tokio::time::Instant;

/// What a server does that it should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// It lists folder by folder.
    Folders,
    /// It begins at the first key, wherever it is told to.
    Begins,
    /// It says after so many pages, each time, that there is nothing more.
    Ends(usize),
}

/// A server of keys in its order.
#[derive(Debug)]
struct Fake {
    keys: Vec<String>,
    page: usize,
    lie: Lie,
    asked: AtomicUsize,
    /// How long it takes to answer, by a clock that stands while nobody waits.
    takes: Duration,
}

impl Fake {
    fn new(mut keys: Vec<String>, page: usize, lie: Lie) -> Arc<Self> {
        keys.sort_by(|one, other| Self::order(lie, one, other));
        keys.dedup();
        Arc::new(Self { keys, page, lie, asked: AtomicUsize::new(0), takes: Duration::from_millis(50) })
    }

    fn order(lie: Lie, one: &str, other: &str) -> Ordering {
        // Signs that both orders see as one do not count.
        if lie == Lie::Folders { by_words(one, other).then(one.cmp(other)) } else { one.cmp(other) }
    }

    fn at(&self, place: &Place) -> usize {
        match place {
            Place::Start => 0,
            Place::After(_) if self.lie == Lie::Begins => 0,
            Place::After(key) => {
                self.keys.partition_point(|other| Self::order(self.lie, other, key) != Ordering::Greater)
            }
            Place::Token(token) => token.parse().unwrap(),
        }
    }
}

impl Lister for Fake {
    async fn page(&self, place: &Place) -> Result<Sheet, SourceError> {
        let asked = self.asked.fetch_add(1, Atomic::Relaxed) + 1;
        tokio::time::sleep(self.takes).await;
        let from = self.at(place);
        let to = (from + self.page).min(self.keys.len());
        let ends = matches!(self.lie, Lie::Ends(pages) if asked.is_multiple_of(pages + 1));
        let object = |key: &String| Listed {
            key: key.clone(),
            size: 1,
            modified: Time::default(),
            etag: String::new(),
            class: String::new(),
            version: None,
        };
        let next = (to < self.keys.len() && !ends).then(|| to.to_string());
        Ok(Sheet { objects: self.keys[from..to].iter().map(object).collect(), next })
    }

    async fn is_there(&self, key: &str) -> Result<bool, SourceError> {
        Ok(self.keys.iter().any(|other| other == key))
    }

    fn prefix(&self) -> &str {
        ""
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn failed(&self, what: &str) -> SourceError {
        SourceError { what: what.to_owned(), source: None }
    }
}

fn plan(ends: &[String]) -> Plan {
    let landmarks = ends.iter().map(|key| key.clone().into_bytes()).collect();
    Plan::new(&Before { landmarks, ..Before::default() }, "")
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

/// All that is listed, or the error.
fn listed(fake: &Arc<Fake>, ends: &[String]) -> Result<Vec<String>, String> {
    Ok(listed_in(fake, ends)?.0)
}

/// The same, and how long it took.
fn listed_in(fake: &Arc<Fake>, ends: &[String]) -> Result<(Vec<String>, Duration), String> {
    run(async {
        let begun = Instant::now();
        let (sender, mut pages) = channel(4);
        let (lister, plan) = (Arc::clone(fake), plan(ends));
        let task = tokio::spawn(async move { listing::list(&lister, plan, &sender).await });
        let mut keys = Vec::new();
        while let Some(page) = pages.recv().await {
            keys.extend(page.map_err(|error| error.what)?.into_iter().map(|object| object.key));
        }
        task.await.unwrap().map_err(|error| error.what)?;
        Ok((keys, begun.elapsed()))
    })
}

fn any_keys() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab/.\\-!]{0,6}".prop_map(|key| format!("k{key}")), 0..120)
}

fn some_lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        4 => Just(Lie::Folders),
        1 => Just(Lie::Begins),
        2 => (1usize..9).prop_map(Lie::Ends),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stretches_are_the_whole(keys in any_keys(), ends in any_keys(), page in 1usize..9) {
        let fake = Fake::new(keys, page, Lie::None);
        prop_assert_eq!(listed(&fake, &ends), Ok(fake.keys.clone()));
        let (stretches, pages) = (plan(&ends).stretches().count(), fake.keys.len().div_ceil(page));
        let asked = fake.asked.load(Atomic::Relaxed);
        prop_assert!(asked <= pages.max(1) + 2 * stretches, "{} pages, {} stretches: {}", pages, stretches, asked);
    }

    #[test]
    fn a_lie_is_refused_or_harmless(
        keys in any_keys(), ends in any_keys(), page in 1usize..9, lie in some_lie()
    ) {
        let fake = Fake::new(keys, page, lie);
        if let Ok(mut found) = listed(&fake, &ends) {
            let mut wanted = fake.keys.clone();
            // That nothing comes any more is the server's word alone; but there are no gaps.
            if matches!(lie, Lie::Ends(_)) {
                wanted.truncate(found.len());
            }
            found.sort();
            wanted.sort();
            prop_assert_eq!(found, wanted);
        }
    }
}

#[test]
fn a_stretch_that_ends_too_soon_is_refused() {
    let keys: Vec<_> = (0..90).map(|number| format!("{number:02}")).collect();
    let ends = ["29".to_owned(), "39".to_owned(), "59".to_owned()];
    // The first page is asked for alone, then four stretches at once: the second page of the first
    // stretch is told to be the last.
    let fake = Fake::new(keys, 10, Lie::Ends(1));
    assert!(listed(&fake, &ends).is_err_and(|what| what.contains("ends its listing before")));
}

#[test]
fn folders_show_at_the_seams() {
    let keys = ["k-a", "k/a", "k/b", "k/c", "ka"].map(str::to_owned);
    let fake = Fake::new(keys.to_vec(), 1, Lie::Folders);
    for end in ["k-a", "k/a", "k/b", "k/c", "k-z", "k/"] {
        assert!(listed(&fake, &[end.to_owned()]).is_err(), "{end}");
    }
}

#[test]
fn what_is_deleted_meanwhile_is_no_lie() {
    // Seen beyond the first stretch, and gone when the second is listed: as if by a deletion.
    let mut seam = Seam::default();
    let fake = Fake::new(vec!["a".to_owned(), "c".to_owned()], 10, Lie::None);
    let walked = |beyond: &[&str]| Walked {
        beyond: beyond.iter().map(|key| (*key).to_owned()).collect(),
        ..Walked::default()
    };
    let upto = |key: &str| Stretch { after: None, upto: Some(key.to_owned()) };
    run(async {
        seam.close(&*fake, &upto("a"), walked(&["b", "c"])).await.unwrap();
        seam.close(&*fake, &upto("b"), walked(&["c"])).await.unwrap();
        assert!(seam.close(&*fake, &Stretch::default(), walked(&[])).await.is_err(), "c is there");
    });
}

#[test]
fn what_waits_is_bounded() {
    let keys: Vec<_> = (0..2_000).map(|number| format!("{number:04}")).collect();
    let ends: Vec<_> = (1..20).map(|number| format!("{:04}", number * 100)).collect();
    let fake = Fake::new(keys, 1, Lie::None);
    run(async {
        let (sender, pages) = channel(4);
        let (lister, plan) = (Arc::clone(&fake), plan(&ends));
        let task = tokio::spawn(async move { listing::list(&lister, plan, &sender).await.map(drop) });
        tokio::time::sleep(Duration::from_secs(100)).await;
        // Nobody takes any: each stretch holds what may wait and the one that finds no room.
        let asked = fake.asked.load(Atomic::Relaxed);
        assert!((STRETCHES..=STRETCHES * (PAGES + 1) + 4 + 2).contains(&asked), "{asked}");
        drop(pages);
        task.await.unwrap().unwrap();
    });
}

#[test]
fn stretches_save_time_and_cost_a_request_each() {
    let keys: Vec<_> = (0..1_600).map(|number| format!("{number:04}")).collect();
    let ends: Vec<_> = (1..20).map(|number| format!("{:04}", number * 80)).collect();
    let (serial, divided) = (Fake::new(keys.clone(), 10, Lie::None), Fake::new(keys, 10, Lie::None));
    let (_, slow) = listed_in(&serial, &[]).unwrap();
    let (_, quick) = listed_in(&divided, &ends).unwrap();
    let asked = [&serial, &divided].map(|fake| fake.asked.load(Atomic::Relaxed));
    assert_eq!((asked[0], slow), (160, Duration::from_secs(8)));
    assert!(asked[1] <= 160 + ends.len() + 1, "{asked:?}");
    assert!(quick * 5 < slow, "{quick:?}, and {slow:?} without stretches");
}

#[test]
fn a_plan_has_only_ends_that_can_be_told() {
    let landmarks = ["b", "a", "x/1", "b\u{1}", "b\u{fffd}", "ba"].map(|key| key.as_bytes().to_vec());
    let mut landmarks = landmarks.to_vec();
    landmarks.push(vec![b'b', 0xff]);
    let facts = vec![(ORDER.0.to_owned(), ORDER.1.to_owned())];
    let plan = Plan::new(&Before { landmarks, facts: Some(facts), ..Before::default() }, "b");
    assert_eq!((plan.ends.as_slice(), plan.by_bytes), (&["b".to_owned(), "ba".to_owned()][..], true));
    let stretches: Vec<_> = plan.stretches().map(|it| (it.after, it.upto)).collect();
    let (one, two) = (Some("b".to_owned()), Some("ba".to_owned()));
    assert_eq!(stretches, [(None, one.clone()), (one, two.clone()), (two, None)]);
    assert!(!Plan::new(&Before::default(), "").is_divided());
}
