//! The repository and the cache inside the source: they must not swallow themselves.

use super::tree::put;
use super::world::{World, count, within};

#[test]
fn the_repository_and_the_cache_are_left_out() {
    let mut world = World::bare();
    let source = world.path("source");
    put(source.join("file"), b"content");
    (world.repo, world.cache) = (source.join("deep/repo"), source.join("cache"));
    put(source.join("deep/beside"), b"beside");
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let mut added = Vec::new();
    for round in 0..4 {
        let ran = world.run(&[&"backup", &"--json", &source]).ends(0);
        let notices = ran.of_type("notice");
        let named = |name: &str| {
            let path = source.join(name);
            notices.iter().any(|line| line["kind"] == "left_out" && line["item"].as_str() == path.to_str())
        };
        assert!(named("deep/repo"), "{notices:?}");
        assert!(round == 0 || named("cache"), "{notices:?}");
        let summary = ran.summary();
        assert_eq!(count(&summary, "total_files_processed"), 2);
        added.push(count(&summary, "data_added_packed"));
    }
    assert!(added[2..].iter().all(|bytes| *bytes < 4096), "it grows by itself: {added:?}");
    let restored = world.path("restored");
    world.run(&[&"restore", &within("latest", &source), &"--target", &restored]).ends(0);
    assert!(!restored.join("deep/repo/holdfast.json").exists() && restored.join("deep/beside").exists());
}

#[test]
fn backing_up_the_repository_itself_through_a_link() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    let linked = world.path("linked");
    std::os::unix::fs::symlink(&world.repo, &linked).unwrap();
    let place = world.path("");
    let ran = world.run(&[&"-r", &linked, &"backup", &"--json", &place]).ends(0);
    assert!(ran.of_type("notice").iter().any(|line| line["item"].as_str() == world.repo.to_str()), "{ran:?}");
}
