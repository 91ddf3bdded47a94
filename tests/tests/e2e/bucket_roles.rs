//! A bucket that is backed up by a host which cannot read: what did not change is not asked for again,
//! whatever of it was kept beside, and a host that reads has all of it.
//!
//! On purpose not here: buckets by themselves (`bucket_source`).

use super::bucket_source::{Contents, Media, asked};
use super::roles::Member;
use super::tree::{noise, prose};
use super::world::{Ran, Word, World, count};
use holdfast_core::keys::Role;
use std::fs;

#[test]
fn a_writer_backs_a_bucket_up_and_asks_for_nothing_twice() {
    let (media, world) = (Media::start(), World::new());
    let [writer, reader] = [Role::Writer, Role::Reader].map(|role| Member::admitted(&world, role));
    let small = (0..120u64).map(|number| (format!("small/{number:03}"), prose(number, 300)));
    let large =
        [(200 << 10, 1), (3 << 20, 2)].map(|(size, seed)| (format!("large/{size}"), noise(seed, size)));
    let mut contents: Contents = media.fill(small.chain(large));
    Media::settle();
    let url = media.url("");
    let back_up = |more: &[&str]| -> Ran {
        let common: [Word<'_>; 5] = [&"backup", &"--json", &url, &"--metadata", &"tags,lock"];
        let words: Vec<Word<'_>> = common.into_iter().chain(more.iter().map(|word| word as _)).collect();
        writer.run(&world, &words).ends(0)
    };
    let first = back_up(&[]).summary();
    assert!(asked(&first, "get") >= contents.len() as u64, "{first}");
    // Nothing changed: objects are listed, and none is asked for; a part of them is looked at.
    let second = back_up(&[]).summary();
    assert_eq!((asked(&second, "get"), count(&second, "data_added")), (0, 0), "{second}");
    contents.extend(media.fill([("small/new".to_owned(), noise(9, 5_000))]));
    Media::settle();
    let third = back_up(&["--metadata-sweep", "off"]).summary();
    assert_eq!(asked(&third, "get"), 1, "{third}");
    // The cache is lost: all is read once more and nothing stored, and then it is there again.
    writer.forget_all();
    let ran = back_up(&["--metadata-sweep", "off"]).says(&["this key cannot read it"]);
    let fourth = ran.summary();
    assert!(asked(&fourth, "get") >= contents.len() as u64, "{fourth}");
    assert!(count(&fourth, "data_added") < 100_000, "{fourth}");
    assert_eq!(asked(&back_up(&["--metadata-sweep", "off"]).summary(), "get"), 0);
    let target = world.path("out");
    reader.run(&world, &[&"restore", &"latest", &"--target", &target]).ends(0);
    for (key, body) in &contents {
        assert!(fs::read(target.join(key)).unwrap() == *body, "{key} came back other than it was");
    }
    world.check();
}
