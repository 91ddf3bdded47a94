//! The protocol of backup, prune and forget as models whose every state is visited.
//!
//! Sections 19.2 to 19.4 of `crates/core/FORMAT.md`, one operation of the store a step: any process
//! stalls for ever or crashes wherever it likes, and anybody aborts any session at any time. There
//! is no clock. `protocol.rs` has the parts of a model and the properties, `writer.rs`,
//! `maintainer.rs`, `reader.rs` and `cleaning.rs` the steps, `roots.rs` a model of its own: which root
//! is the newest. `safe.rs` has the models that must hold, `mutants.rs` those of which one rule is
//! broken: each must break a property. `cargo nextest run -p holdfast-models --no-capture` prints how.
//!
//! What is visited, as a run counted it (w writers, m maintainers; states that differ only in the
//! names of equal processes are one):
//!
//! | test | parts | roots | states |
//! |---|---|---|---|
//! | `core_1w_1m`, `core_1w_2m` | sessions looked at one by one, pins first | 6 | 2,939; 17,748 |
//! | `core_2w_1m_pins_first` | the same | 4 | 842,395 |
//! | `core_2w_1m_end_first` | ends first; rows of undecided sessions said again | 4 | 1,006,957 |
//! | `core_2w_2m` | sessions looked at at once | 4 | 900,238 |
//! | `repack_1w_2m`, `repack_2w_1m` | repack, merge | 4, 3 | 126,803; 481,638 |
//! | `fence_1w_1m` | fence, merge, forget, undo, prune, slow views, late duplicates | 4 | 1,409,536 |
//! | `fence_1w_2m`, `fence_2w_1m` | fence and merge | 5, 4 | 313,424; 2,812,336 |
//! | `parent_1w_1m` | parent, fence, merge, forget, undo, prune | 5 | 855,320 |
//! | `parent_1w_2m`, `parent_2w_1m` | parent, forget, undo, prune | 5, 3 | 802,566; 1,471,625 |
//! | `reader_1w_1m` | a reader; fence, merge, forget, undo, prune | 3 | 1,737,351 |
//! | `adoption_2w_1m` | adoption, fence | 3 | 1,800,773 |
//! | `two_chunks_1w_1m`, `two_chunks_2w_1m` | two chunks a pack; the first with repack, merge, forget | 4, 3 | 798,535; 366,915 |
//! | `sparing_1w_1m`, `sparing_2w_1m` | maintainers do less than they could | 4, 3 | 1,720,193; 419,180 |
//! | `the_newest_root_is_found` | 2 maintainers, a reader, old roots deleted | 4 | 138,668 |
//!
//! The tests `everything_…`, which have nearly all parts at once, and `fence_2w_1m_more_roots` are cut
//! off after a few hundred thousand states each. `HOLDFAST_MODEL_STATES` is how many states a model
//! may generate, known ones counted again, if that is more than what its test allows; `cargo test`
//! does not stop what takes minutes. With 600,000,000 `fence_2w_1m_more_roots` was exhausted: two
//! writers, one maintainer, five roots, 9,230,202 states.
//!
//! What the models leave out: one pack and one delta a session (more of them are as many sessions
//! more); a restart (it is another writer); two parents; members and trust; log segments. A round of
//! a maintainer is dropped as soon as it can publish no more. Unless they may spare packs,
//! maintainers condemn all that they may.
//!
//! Where these models say more than the draft they came from, they had a counterexample, kept as a
//! mutant:
//!
//! - Rows of a session count once it has committed. Before that a writer may use them only if its
//!   own delta says them again, as with adopted packs, and a maintainer does not take them for a
//!   copy that stays (`UndecidedRowsReliedOn`, `UndecidedCopyChosen`).
//! - The root that raises the fence merges the deltas of all sessions below it that committed,
//!   pruned ones too (`FenceMergesOnlyCatalogued`), and below the fence no delta counts, catalogued
//!   or not (`CataloguedDeltaCountsBelowFence`).
//! - The commit of a pruned snapshot goes only when its deltas are merged (`EndRemovedUnmerged`).
//! - The root that declares packs dead also takes forgotten snapshots from the catalogue
//!   (`PrunedStaysCatalogued`).
//! - A reader that meets a session in the root, unmerged and above the fence, that its listing had
//!   not as committed, starts over (`UnseenSessionIgnored`).
//! - If old roots are ever deleted, a root that was read is the newest only if a listing after that
//!   says so (`NewestByOneListing`).

#![allow(clippy::print_stdout, reason = "tests say what they measured")]

mod cleaning;
mod maintainer;
mod mutants;
mod protocol;
mod reader;
mod roots;
mod run;
mod safe;
mod state;
mod symmetry;
mod writer;
