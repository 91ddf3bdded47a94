//! What whoever reads the store sees: no content, no name of a file, no host, no source; and what is in clear.
//!
//! On purpose not here: how it is sealed.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, pruning, run};
use holdfast_core::keys::Role;
use holdfast_engine::evidence::append;
use holdfast_engine::maintain::{HoldScope, hold, prune, release};
use holdfast_engine::wal::{SegmentName, Timeline, WalArchive, WalName};
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupOptions, rotate};

/// A word that nothing else has, once for each place where it goes.
fn word(place: &str) -> String {
    format!("unmistakable-{place}-")
}

/// Which of the words lie readable in the store.
fn readable(world: &World, words: &[String]) -> Vec<String> {
    let objects = world.store.objects();
    let shows = |word: &&String| {
        objects.iter().any(|(key, body)| {
            key.as_str().contains(&***word) || body.windows(word.len()).any(|part| part == word.as_bytes())
        })
    };
    words.iter().filter(shows).cloned().collect()
}

#[test]
fn nothing_that_is_stored_shows_contents_names_hosts_or_sources() {
    run(|| async {
        let (world, owner) = World::made(Workers::inline()).await;
        world.admitted(Role::Writer, 8).await;
        let places = ["file", "inline", "large", "host", "path", "tag", "log", "record", "reason", "link"];
        let words = places.map(word);
        let of = |place: &str| words.iter().find(|word| word.contains(place)).unwrap().clone();
        let mut tree = Tree::default();
        tree.put(&of("file"), Node::file(of("inline")));
        tree.put("large", Node::file(of("large").repeat(20_000)));
        tree.put("link", Node::symlink(of("link").as_bytes()));
        for round in 0..2 {
            let options = BackupOptions { tags: vec![of("tag")], label: of("path"), ..World::bare() };
            let source = ModelSource::new(&tree).of(&of("host"), &format!("/{}", of("path")));
            let _ = world.backup_with(&owner, source, &options).await.unwrap();
            append(&world.ctx(), &owner, "drill", of("record").as_bytes()).await.unwrap();
            let file = SegmentName { timeline: 1, place: round }.to_string();
            let name = WalName::whole(Timeline::new(7, 1, b""), file);
            let content = of("log").repeat(100).into_bytes();
            WalArchive::new(&world.ctx(), &owner).put(&name, content).await.unwrap();
            hold(&world.ctx(), &owner, &[HoldScope::Source(of("host"))], &of("reason"), None).await.unwrap();
            let held = holdfast_engine::maintain::holds(&world.ctx(), &owner).await.unwrap();
            assert_eq!(held.len(), 1);
            assert_eq!(readable(&world, &words), [] as [String; 0]);
            let ids: Vec<_> = held.iter().map(|hold| hold.id).collect();
            release(&world.ctx(), &owner, &ids).await.unwrap();
            prune(&world.ctx(), &owner, &pruning()).await.unwrap();
            rotate(&world.ctx(), &owner).await.unwrap();
            tree.put("new", Node::file(of("inline").repeat(2)));
        }
        assert_eq!(readable(&world, &words), [] as [String; 0]);
        // What members are called is in clear, as the page says: to find it shows that this test can see.
        assert_eq!(readable(&world, &["writer".to_owned()]).len(), 1);
    });
}
