//! Objects with all that belongs to them, put back into a bucket of a real server; and into a folder.
//!
//! On purpose not here: the program on top of it, which `e2e` runs.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use holdfast_core::entry::{Attributes, Content, Entry, INLINE_BYTES_MAX, Kind, Owner, Time, Xattrs};
use holdfast_engine::target::{Finished, Target, TargetBatch, Want};
use holdfast_source_files::{FileTarget, FileTargetOptions, Overwrite as FileOverwrite};
use holdfast_source_s3::encoding::decode;
use holdfast_source_s3::target::{
    BucketPlace, BucketTarget, BucketTargetOptions, Events, Overwrite, Remains, open_object,
};
use holdfast_source_s3::unfold::Unfolded;
use holdfast_store_s3::{Address, Network};
use holdfast_tests::weed::{BUCKET, Weed};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// An object: its key, its content, and what belongs to it.
#[derive(Clone)]
struct Object {
    key: Vec<u8>,
    content: Vec<u8>,
    pairs: Vec<(String, String)>,
}

fn object(key: &str, content: &[u8], pairs: &[(&str, &str)]) -> Object {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Object { key: key.as_bytes().to_vec(), content: content.to_vec(), pairs }
}

impl Object {
    fn entry(&self) -> Entry {
        let mut pairs: Vec<_> = self
            .pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        pairs.sort();
        let inline = self.content.len() <= INLINE_BYTES_MAX;
        Entry {
            key: self.key.clone(),
            kind: Kind::File,
            mode: 0o644,
            owner: Arc::new(Owner::default()),
            mtime: Time { seconds: 1_000_000_000, nanos: 0 },
            size: self.content.len() as u64,
            content: if inline { Content::Inline(self.content.clone()) } else { Content::None },
            digest: Some(*blake3::hash(&self.content).as_bytes()),
            attributes: Attributes { xattrs: Xattrs::Inline(pairs), ..Attributes::default() },
        }
    }
}

fn options(overwrite: Option<Overwrite>) -> BucketTargetOptions {
    BucketTargetOptions {
        overwrite,
        delete: None,
        keep_larger_than: None,
        replay: false,
        rehearse: false,
        survey: false,
        with_acl: false,
        opaque: true,
        made: Time { seconds: 1_000_000_000, nanos: 0 },
        spool: std::env::temp_dir(),
    }
}

async fn server(prefix: &str) -> (Weed, Client, BucketPlace) {
    let weed = tokio::task::spawn_blocking(Weed::start).await.unwrap();
    let place = BucketPlace::open(&weed.address(prefix), Some(Weed::keys()), &Network::default()).await;
    let client = weed.client();
    (weed, client, place)
}

/// Does with a batch what the engine does; tells what it wanted.
fn write(batch: &dyn TargetBatch, objects: &[Object]) -> Vec<Want> {
    let wants: Vec<_> = (0..objects.len()).map(|entry| batch.wants(entry)).collect();
    for (entry, (want, object)) in wants.iter().zip(objects).enumerate() {
        let differs = || {
            let present = batch.present(entry).unwrap();
            let mut there = vec![0; present.size() as usize];
            present.read_at(0, &mut there).unwrap();
            there != object.content
        };
        match want {
            Want::Nothing => {}
            Want::Keep => batch.keep(entry).unwrap(),
            Want::Compare if !differs() => batch.keep(entry).unwrap(),
            Want::Whole | Want::Compare if object.content.len() <= 1 << 20 => {
                batch.put(entry, &object.content).unwrap();
            }
            Want::Whole | Want::Compare => {
                // From the end to the start, in pieces that fit no part.
                let pieces: Vec<_> = object.content.chunks(1_234_567).enumerate().collect();
                for (number, piece) in pieces.into_iter().rev() {
                    batch.write_at(entry, number as u64 * 1_234_567, piece).unwrap();
                }
                batch.close(entry).unwrap();
            }
        }
    }
    wants
}

async fn restore(
    place: &BucketPlace,
    options: BucketTargetOptions,
    objects: &[Object],
) -> (Finished, Vec<Want>) {
    let empty = place.is_empty().await.unwrap();
    let (mut target, _) = BucketTarget::new(place, options, empty, Handle::current()).unwrap();
    let objects = objects.to_vec();
    tokio::task::spawn_blocking(move || {
        let batch = target.prepare(objects.iter().map(Object::entry).collect()).unwrap();
        let wants = write(&*batch, &objects);
        target.complete(batch).unwrap();
        (target.finish().unwrap(), wants)
    })
    .await
    .unwrap()
}

async fn head(client: &Client, name: &str) -> HeadObjectOutput {
    client.head_object().bucket(BUCKET).key(name).send().await.unwrap()
}

async fn body(client: &Client, name: &str) -> Vec<u8> {
    let got = client.get_object().bucket(BUCKET).key(name).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

async fn tags(client: &Client, name: &str) -> BTreeMap<String, String> {
    let tags = client.get_object_tagging().bucket(BUCKET).key(name).send().await.unwrap();
    tags.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
}

async fn uploads(client: &Client) -> usize {
    client.list_multipart_uploads().bucket(BUCKET).send().await.unwrap().uploads().len()
}

const ALL: [(&str, &str); 8] = [
    ("s3.cache-control", "max-age=60"),
    ("s3.content-disposition", "attachment"),
    ("s3.content-language", "ko"),
    ("s3.content-type", "text/plain; charset=utf-8"),
    ("s3.meta.author", "somebody"),
    ("s3.meta.two-words", "a b=c"),
    ("s3.tag.project", "x = y"),
    ("s3.tag.team", "blue/green"),
];

#[track_caller]
fn assert_all(head: &HeadObjectOutput, tags: &BTreeMap<String, String>) {
    assert_eq!(head.cache_control(), Some("max-age=60"));
    assert_eq!(head.content_disposition(), Some("attachment"));
    assert_eq!(head.content_language(), Some("ko"));
    assert_eq!(head.content_type(), Some("text/plain; charset=utf-8"));
    let meta = head.metadata().unwrap();
    assert_eq!((meta["author"].as_str(), meta["two-words"].as_str(), meta.len()), ("somebody", "a b=c", 2));
    assert_eq!((tags["project"].as_str(), tags["team"].as_str(), tags.len()), ("x = y", "blue/green", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_metadata_and_tags_come_back() {
    let (_weed, client, place) = server("in").await;
    let large: Vec<u8> = (0..20_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let objects = [object("large", &large, &ALL), object("small", b"content", &ALL)];
    let (finished, _) = restore(&place, options(None), &objects).await;
    assert_eq!(finished.problems.problems, []);
    assert_eq!((finished.tally.created, finished.tally.bytes_written), (2, large.len() as u64 + 7));
    assert_eq!(body(&client, "in/large").await, large);
    assert_eq!(body(&client, "in/small").await, b"content");
    assert_eq!(uploads(&client).await, 0);
    for name in ["in/large", "in/small"] {
        assert_all(&head(&client, name).await, &tags(&client, name).await);
    }
    let etag = head(&client, "in/large").await.e_tag().unwrap().trim_matches('"').to_owned();
    assert!(etag.ends_with("-3"), "{etag}: it was sent in parts");

    // What is the same by its tag is not read, what is the same otherwise is; nothing is written.
    let mut objects = objects.to_vec();
    objects[0].pairs.push(("s3.etag".into(), etag.clone()));
    objects[0].pairs.push(("s3.parts".into(), format!("8388608x2,{}", large.len() - (16 << 20))));
    let (finished, wants) = restore(&place, options(Some(Overwrite::Always)), &objects).await;
    assert_eq!(wants, [Want::Keep, Want::Compare]);
    assert_eq!((finished.tally.unchanged, finished.tally.bytes_written), (2, 0), "{finished:?}");

    // Only what belongs to it differs.
    client
        .put_object()
        .bucket(BUCKET)
        .key("in/small")
        .metadata("author", "another")
        .body(b"content".to_vec().into())
        .send()
        .await
        .unwrap();
    let (finished, _) = restore(&place, options(Some(Overwrite::IfChanged)), &objects).await;
    assert_eq!((finished.tally.attributes_only, finished.tally.bytes_written), (1, 0), "{finished:?}");
    assert_all(&head(&client, "in/small").await, &tags(&client, "in/small").await);
    client.delete_object_tagging().bucket(BUCKET).key("in/small").send().await.unwrap();
    let (finished, _) = restore(&place, options(Some(Overwrite::IfChanged)), &objects).await;
    assert_eq!(finished.tally.attributes_only, 1, "{finished:?}");
    assert_all(&head(&client, "in/small").await, &tags(&client, "in/small").await);

    // The same parts make the same tag.
    client.delete_object().bucket(BUCKET).key("in/large").send().await.unwrap();
    restore(&place, options(Some(Overwrite::Always)), &objects).await;
    let again = head(&client, "in/large").await;
    assert_eq!(again.e_tag().unwrap().trim_matches('"'), etag);
    assert_all(&again, &tags(&client, "in/large").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_never_seen() {
    let (_weed, client, place) = server("in").await;
    let content = vec![7; 20 << 20];
    let begin = |overwrite: Option<Overwrite>| {
        let empty = overwrite.is_none();
        let (mut target, remains) =
            BucketTarget::new(&place, options(overwrite), empty, Handle::current()).unwrap();
        let entry = object("x", &content, &[]).entry();
        let part = content[..9 << 20].to_vec();
        tokio::task::spawn_blocking(move || {
            let batch = target.prepare(vec![entry]).unwrap();
            batch.write_at(0, 0, &part).unwrap();
            (target, batch, remains)
        })
    };
    let begun = async || {
        while uploads(&client).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    let (mut target, batch, _) = begin(None).await.unwrap();
    begun().await;
    // As the engine calls it: from a thread that drives other futures.
    batch.discard(0).unwrap();
    let complete = move || {
        target.complete(batch).unwrap();
        target.finish().unwrap()
    };
    let finished = tokio::task::spawn_blocking(complete).await.unwrap();
    assert_eq!((finished.tally.created, finished.problems.problem_count), (0, 0));
    assert_eq!(uploads(&client).await, 0);
    assert!(client.head_object().bucket(BUCKET).key("in/x").send().await.is_err());

    let (target, batch, remains): (_, _, Remains) = begin(None).await.unwrap();
    begun().await;
    drop((target, batch));
    remains.clean().await;
    assert_eq!(uploads(&client).await, 0);
    assert!(place.is_empty().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_writes_meanwhile_is_left() {
    let (_weed, client, place) = server("in").await;
    let put = async |content: &[u8]| {
        let put = client.put_object().bucket(BUCKET).key("in/x").body(content.to_vec().into());
        put.send().await.unwrap();
    };
    for overwrite in [None, Some(Overwrite::Always)] {
        let empty = place.is_empty().await.unwrap();
        let (mut target, _) =
            BucketTarget::new(&place, options(overwrite), empty, Handle::current()).unwrap();
        let ours = object("x", b"ours", &[]);
        let entry = ours.entry();
        let prepared = tokio::task::spawn_blocking(move || (target.prepare(vec![entry]).unwrap(), target));
        let (batch, mut target) = prepared.await.unwrap();
        put(b"theirs, longer").await;
        let finished = tokio::task::spawn_blocking(move || {
            batch.put(0, &ours.content).unwrap();
            target.complete(batch).unwrap();
            target.finish().unwrap()
        });
        let finished = finished.await.unwrap();
        assert!(finished.problems.problems[0].what.contains("somebody else"), "{finished:?}");
        assert_eq!(body(&client, "in/x").await, b"theirs, longer");
        put(b"something").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_object_is_named() {
    let (_weed, client, place) = server("in").await;
    let mut strange = object("strange", b"x", &[]);
    strange.key = b"zz\xff".to_vec();
    let objects = [
        object("cold", b"", &[("s3.cold", "GLACIER")]),
        object("expires", b"x", &[("s3.expires", "never")]),
        object("gone", b"", &[("s3.delete-marker", "")]),
        object(&"long".repeat(256), b"x", &[]),
        object("newline", b"x", &[("s3.meta.x", "a\nb")]),
        object("plain", b"x", &[]),
        strange,
    ];
    let (finished, _) = restore(&place, options(None), &objects).await;
    let named: Vec<_> = finished.problems.problems.iter().map(|problem| problem.path.clone()).collect();
    let mut named: Vec<_> = named.iter().map(|path| String::from_utf8_lossy(path)).collect();
    named.sort();
    let long = "long".repeat(256);
    assert_eq!(named, ["cold", "expires", &long, "newline", "zz\u{fffd}"], "{finished:?}");
    assert_eq!(finished.tally.created, 2);
    assert_eq!(body(&client, "in/plain").await, b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_again() {
    let (_weed, _client, place) = server("in").await;
    let mut content = vec![0; 9 << 20];
    content[(8 << 20) + 5] = 1;
    restore(&place, options(None), &[object("x", &content, &[])]).await;
    assert_eq!(place.events().await, Events::None);
    assert!(place.repository_around().await.unwrap().is_none());
    tokio::task::spawn_blocking(move || {
        let runtime = Handle::current();
        let present = open_object(&place, &runtime, b"x").unwrap();
        assert_eq!(present.size(), content.len() as u64);
        let mut piece = [9; 10];
        present.read_at(8 << 20, &mut piece).unwrap();
        assert_eq!(piece, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert!(present.is_hole(0, 8 << 20) && !present.is_hole(8 << 20, 6) && !present.is_hole(9 << 20, 1));
        assert!(present.read_at(9 << 20, &mut piece).is_err());
        let missing = open_object(&place, &runtime, b"y").map(drop).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    })
    .await
    .unwrap();
}

/// A server that answers every request with the same, as often as it is asked; gives its URL.
fn parrot(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            // Who has heard enough may leave.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_bucket_tells_of_objects_is_seen() {
    let told = "<NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <CloudFunctionConfiguration><CloudFunction>arn:aws:lambda:eu-1:1:function:thumbnailer</CloudFunction>\
        <Event>s3:ObjectCreated:*</Event></CloudFunctionConfiguration>\
        <QueueConfiguration><Queue>arn:aws:sqs:eu-1:1:jobs</Queue><Event>s3:ObjectCreated:*</Event>\
        </QueueConfiguration></NotificationConfiguration>";
    let ask = async |url: String| {
        let address = Address::parse(&format!("s3://bucket/x?endpoint={url}")).unwrap();
        BucketPlace::open(&address, Some(Weed::keys()), &Network::default()).await.events().await
    };
    let Events::To(names) = ask(parrot("200 OK", told)).await else { panic!("somebody is told") };
    assert_eq!(names, ["lambda thumbnailer", "queue jobs"]);
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    let Events::Unknown(why) = ask(parrot("403 Forbidden", denied)).await else { panic!("nobody says") };
    assert!(why.contains("AccessDenied"), "{why}");
    let unknown = "<Error><Code>MethodNotAllowed</Code><Message>no</Message></Error>";
    assert!(matches!(ask(parrot("405 Method Not Allowed", unknown)).await, Events::Unknown(_)));
}

/// Restores objects into a folder, so many in each batch; batches overlap as the engine has them.
fn unfold(dir: &Path, objects: &[Object], batch: usize) -> Finished {
    let options =
        FileTargetOptions { overwrite: Some(FileOverwrite::Always), is_held: true, ..Default::default() };
    let top = dir.to_owned();
    let open = move || Ok(Box::new(FileTarget::create(&top, &options)?) as Box<dyn Target>);
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Owner::default()
    };
    let made = Time { seconds: 1_000_000_000, nanos: 0 };
    let mut target = Unfolded::new(Box::new(open), Box::new(|_: &[Vec<u8>]| None), owner, made);
    let mut before = None;
    for objects in objects.chunks(batch) {
        let prepared = target.prepare(objects.iter().map(Object::entry).collect()).unwrap();
        if let Some(before) = before.take() {
            target.complete(before).unwrap();
        }
        write(&*prepared, objects);
        before = Some(prepared);
    }
    before.into_iter().for_each(|last| target.complete(last).unwrap());
    target.finish().unwrap()
}

fn contents(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
            let components: Vec<_> = below.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect();
            found.insert(decode(&components).expect("a path that leads back"), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn objects_become_files_and_none_is_in_the_place_of_another() {
    let long = "w".repeat(900);
    let keys = [
        "",
        ".",
        "..",
        "../escape",
        "/",
        "//",
        "a",
        "a!",
        "a-b/c",
        "a.txt",
        "a/",
        "a/b",
        "a/b/c",
        "a//b",
        "b%",
        "b%d",
        "b%d/x",
        "c/\u{0}",
        "é/ü",
        &long,
    ];
    let mut objects: Vec<_> =
        keys.iter().map(|key| object(key, key.as_bytes(), &[("s3.etag", "x")])).collect();
    objects.extend((0..200).map(|number| object(&format!("many/{number:03}.x"), b"many", &[])));
    objects.sort_by(|one, other| one.key.cmp(&other.key));
    let wanted: BTreeMap<_, _> =
        objects.iter().map(|object| (object.key.clone(), object.content.clone())).collect();
    for batch in [1, 3, 1000] {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("in");
        let finished = unfold(&dir, &objects, batch);
        assert_eq!(finished.problems.problems, [], "batches of {batch}");
        assert_eq!(finished.problems.notice_count, 1);
        assert_eq!(finished.tally.created, objects.len() as u64);
        assert_eq!(contents(&dir), wanted, "batches of {batch}");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "nothing beside the target");
        assert!(dir.join("a").is_file() && dir.join("a%d/b").is_file() && dir.join("a%d/b%d/c").is_file());
        let again = unfold(&dir, &objects, batch);
        assert_eq!((again.tally.unchanged, again.tally.bytes_written), (objects.len() as u64, 0));
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.join("many")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "batches of {batch}");
    }
}
