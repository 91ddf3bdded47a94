//! Texts that people write, and what they mean.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::fault::Code;

fn repository(text: &str) -> Result<RepositoryPlace, Fault> {
    parse_repository(OsStr::new(text), Path::new("/home/me"))
}

#[test]
fn a_repository_is_a_path() {
    let path = |text| repository(text).unwrap().folder().unwrap().to_owned();
    assert_eq!(path("/srv/backup/"), Path::new("/srv/backup"));
    assert_eq!(path("backup/../store"), Path::new("/home/me/store"));
    assert_eq!(path("file:///srv/my%20backup"), Path::new("/srv/my backup"));
    assert_eq!(path("file://localhost/srv"), Path::new("/srv"));
    assert_eq!(path("./s3:odd"), Path::new("/home/me/s3:odd"));
    assert_eq!(path("with:colon"), Path::new("/home/me/with:colon"));
}

#[test]
fn other_urls_are_of_later_versions() {
    for text in ["s3:host/bucket", "sftp://host/x", "https://host/", "rest:http://host"] {
        let fault = repository(text).unwrap_err();
        assert_eq!(fault.code, Code::Usage, "{text}");
        assert!(fault.what.contains("not in this version"), "{text}");
    }
    assert_eq!(repository("file://host/srv").unwrap_err().code, Code::Usage);
    assert_eq!(repository("file:///srv/%zz").unwrap_err().code, Code::Usage);
}

#[test]
fn a_repository_is_a_bucket() {
    let place = repository("s3://bucket/one/?endpoint=http://host:9000&region=x").unwrap();
    assert_eq!(place.folder(), None);
    assert_eq!(place.to_string(), "s3://bucket/one?endpoint=http://host:9000");
    for text in ["s3://", "s3://bucket/x?endpont=http://host", "s3://host:9000/bucket"] {
        assert_eq!(repository(text).unwrap_err().code, Code::Usage, "{text}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    for text in [
        "s3://key:hunter2@host/bucket",
        "postgres://me:hunter2@db/",
        "postgres://me:hun/ter2@db/",
        "file://me:hunter2@host/srv",
        "postgres://me@db/?sslpassword=hunter2",
        "s3://bucket/x?secret_key=hunter2",
        "s3://bucket/x?endpoint=http://me:hunter2@host",
    ] {
        let fault = repository(text).unwrap_err();
        assert_eq!(fault.code, Code::Usage, "{text}");
        assert!(fault.what.contains("password") && !format!("{fault:?}").contains("hunter2"), "{text}");
    }
    assert!(refuse_password(OsStr::new("postgres://me@db:5432/shop")).is_ok());
    assert!(refuse_password(OsStr::new("s3://bucket/prefix?endpoint=http://host:9000&region=x")).is_ok());
    assert!(refuse_password(OsStr::new("s3://host:9000/a@b")).is_ok());
    assert!(refuse_password(OsStr::new("/srv/a:b@c")).is_ok());
}

#[test]
fn sources_at_urls_are_refused() {
    assert_eq!(source_path(OsStr::new("postgres://me@db/"), Path::new("/")).unwrap_err().code, Code::Usage);
    assert_eq!(source_path(OsStr::new(""), Path::new("/")).unwrap_err().code, Code::Usage);
    assert_eq!(source_path(OsStr::new("s3:notes"), Path::new("/a")).unwrap(), Path::new("/a/s3:notes"));
}

#[test]
fn paths_become_absolute_without_looking() {
    let path = |text: &str| normalise(Path::new(text), Path::new("/a/b"));
    assert_eq!(path("c/./d//e/"), Path::new("/a/b/c/d/e"));
    assert_eq!(path("../../../.."), Path::new("/"));
    assert_eq!(path("/x/../y"), Path::new("/y"));
}

#[test]
fn a_slash_after_a_link_means_what_it_points_to() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::fs::create_dir(dir.join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
    assert_eq!(source_path(OsStr::new("link"), &dir).unwrap(), dir.join("link"));
    assert_eq!(source_path(OsStr::new("link/"), &dir).unwrap(), dir.join("real"));
    std::os::unix::fs::symlink("nowhere", dir.join("broken")).unwrap();
    assert_eq!(source_path(OsStr::new("broken/"), &dir).unwrap_err().code, Code::Failed);
}

#[test]
fn a_snapshot_may_have_a_path() {
    let split = |text: &str| snapshot_and_path(OsStr::new(text)).unwrap();
    assert_eq!(split("latest"), ("latest".into(), Vec::new()));
    assert_eq!(split("3f2a:/etc/"), ("3f2a".into(), b"/etc/".to_vec()));
    assert_eq!(split("3f2a:etc/./a:b"), ("3f2a".into(), b"etc/./a:b".to_vec()));
    assert_eq!(split("latest:/"), ("latest".into(), Vec::new()));
    let of_files = |text: &str| path_in(KeySpace::Paths, text.as_bytes());
    assert_eq!((of_files("etc/./a:b"), of_files("/etc/")), (b"/etc/a:b".to_vec(), b"/etc".to_vec()));
    assert_eq!((of_files("/x/.."), of_files("")), (Vec::new(), Vec::new()));
    // There all is name.
    assert_eq!(path_in(KeySpace::Opaque, b"a//../b/"), b"a//../b/");
    assert_eq!(snapshot_and_path(OsStr::new(":/etc")).unwrap_err().code, Code::Usage);
}

#[test]
fn tags_are_a_set() {
    assert_eq!(split_tags(&["b,a".into(), "a".into(), ", c,".into()]), ["a", "b", "c"]);
    let pick = Pick { tag: vec!["b,a".into(), "c".into()], ..Pick::default() };
    assert_eq!(filter_of(&pick).tags, [vec!["a".to_owned(), "b".into()], vec!["c".into()]]);
}

/// Whatever bytes a person or a script gives: an answer, and a path that is absolute and plain.
#[test]
fn no_text_breaks_the_parsers() {
    let seeds: [&[u8]; 8] = [
        b"latest:/srv/../a//b",
        b"file:///srv/my%20backup",
        b"s3://key:secret@host/bucket?endpoint=http://user:pass@h:1&region=x",
        b"file://localhost/%2e%2e/%00",
        b"3f2a91bc:",
        b":/x",
        b"\xff\xfe://\x80:%ff@",
        b"./a:b/../..",
    ];
    let mut state = 1u64;
    let mut random = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end.max(1)
    };
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes.insert(at, b":/%@?.&=#\0\xff a"[random(12)]),
                1 => drop((!bytes.is_empty()).then(|| bytes.remove(at))),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.extend_from_within(at..),
            }
        }
        let text = OsStr::from_bytes(&bytes);
        let plain =
            |path: &Path| path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
        if let Ok(path) = parse_repository(text, Path::new("/home/me")) {
            assert!(path.folder().is_none_or(plain), "{text:?}");
        }
        if let Ok((snapshot, path)) = snapshot_and_path(text) {
            assert!(!snapshot.is_empty() && !snapshot.contains(':'), "{text:?}");
            let path = path_in(KeySpace::Paths, &path);
            assert!(path.is_empty() || plain(Path::new(OsStr::from_bytes(&path))), "{text:?}");
        }
        if let Err(fault) = refuse_password(text) {
            assert!(!format!("{fault:?}").contains("secret"), "{text:?}");
        }
        let tags = split_tags(&[String::from_utf8_lossy(&bytes).into_owned()]);
        assert!(tags.is_sorted_by(|a, b| a < b) && tags.iter().all(|tag| !tag.contains(',')));
    }
}
