//! Drills of a bucket, with a real server: what is gone or has a wrong tag is found, and the scratch
//! bucket is empty at the end.
//!
//! On purpose not here: what a restore into a bucket does.

use super::world::{Ran, World};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Tag, Tagging};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Whatever is done to objects while a drill looks at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Nothing,
    Gone,
    WrongTag,
    Overwritten,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn harm(client: &Client, name: &str, harm: Harm) {
    runtime().block_on(async {
        match harm {
            Harm::Nothing => {}
            Harm::Gone => drop(client.delete_object().bucket(BUCKET).key(name).send().await.unwrap()),
            Harm::WrongTag => {
                let tag = Tag::builder().key("kind").value("wrong").build().unwrap();
                let tags = Tagging::builder().tag_set(tag).build().unwrap();
                let put = client.put_object_tagging().bucket(BUCKET).key(name).tagging(tags);
                drop(put.send().await.unwrap());
            }
            Harm::Overwritten => {
                let body = ByteStream::from_static(b"other!");
                drop(client.put_object().bucket(BUCKET).key(name).body(body).send().await.unwrap());
            }
        }
    });
}

/// A bucket that was backed up.
fn media() -> (Weed, World) {
    let (weed, world) = (Weed::start(), World::new());
    let client = weed.client();
    runtime().block_on(async {
        for name in ["a", "folder/b", "folder/c"] {
            let put = client.put_object().bucket(BUCKET).key(format!("media/{name}"));
            let body = ByteStream::from(format!("{name:6}").into_bytes());
            put.body(body).tagging("kind=photo").content_type("image/png").send().await.unwrap();
        }
    });
    world.run(&[&"backup", &"--label", &"shop/media", &weed.url("media/")]).ends(0);
    (weed, world)
}

fn policy(world: &World, weed: &Weed, scratch: &str) -> PathBuf {
    let policy = world.path("shop.yaml");
    let _ = fs::create_dir(world.path("scratch"));
    let text = format!(
        "name: shop\nrepository: {{ url: {}, password: {{ env: HOLDFAST_PASSWORD }} }}\nsources:\n  media: {{ s3: {{ url: \
         \"{}\" }} }}\ndrill:\n  scratch: {{ path: {}{scratch} }}\n",
        world.repo.display(),
        weed.url("media/"),
        world.path("scratch").display(),
    );
    fs::write(&policy, text).unwrap();
    policy
}

/// What a drill says at its end.
fn line(ran: &Ran) -> Value {
    ran.lines().into_iter().find(|line| line["message_type"] == "drill").expect("the drill said so")
}

fn drill(world: &World, policy: &Path) -> Ran {
    world.run(&[&"--json", &"drill", &policy])
}

/// Drills into a scratch bucket; something happens to the first object that is compared.
fn drill_with(weed: &Weed, world: &World, what: Harm) -> Ran {
    let client = weed.client();
    let done = std::sync::atomic::AtomicBool::new(false);
    let proxy = Proxy::start(&weed.endpoint(), move |line| {
        let name = line.strip_prefix("HEAD /backups/").and_then(|rest| rest.split([' ', '?']).next());
        if let Some(name) = name.filter(|name| name.ends_with("/a"))
            && !done.swap(true, std::sync::atomic::Ordering::Relaxed)
        {
            harm(&client, name, what);
        }
        Fate::Pass
    });
    let url = weed.url("drills/").replace(&weed.endpoint(), &proxy.endpoint());
    let ran = drill(world, &policy(world, weed, &format!(", bucket: {{ url: \"{url}\" }}")));
    let left: Vec<_> = weed.names().into_iter().filter(|name| name.starts_with("drills/")).collect();
    assert!(left.is_empty(), "{left:?}");
    ran
}

#[test]
fn objects_are_proved_in_a_folder_and_in_a_bucket() {
    let (weed, world) = media();
    let ran = drill(&world, &policy(&world, &weed, "")).ends(0);
    let told = line(&ran)["record"]["sources"][0].to_string();
    assert!(told.contains("were restored into a folder"), "{told}");
    let ran = drill_with(&weed, &world, Harm::Nothing).ends(0);
    let told = line(&ran)["record"]["sources"][0].to_string();
    assert!(!told.contains("not_provable") && told.contains("3 objects and versions were deleted"), "{told}");
    for (what, words) in [
        (Harm::Gone, "are not where it was restored"),
        (Harm::WrongTag, "other headers, metadata or tags"),
        (Harm::Overwritten, "another content"),
    ] {
        let ran = drill_with(&weed, &world, what).ends(20);
        let told = line(&ran)["record"]["sources"][0].to_string();
        assert!(told.contains(words) && told.contains("\"backup\""), "{what:?}: {told}");
    }
    // What is missing in the repository is named.
    let packs = world.objects().into_iter().filter(|name| name.starts_with("packs/data/"));
    let packs: Vec<_> = packs.collect();
    packs.iter().for_each(|pack| fs::remove_file(world.repo.join(pack)).unwrap());
    let ran = drill(&world, &policy(&world, &weed, ""));
    if !packs.is_empty() {
        assert!(line(&ran.ends(20)).to_string().contains("folder/b"));
    }
}
