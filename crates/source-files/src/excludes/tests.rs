//! Tables of patterns and paths.

use super::*;

fn excludes(patterns: &[&str]) -> Excludes {
    Excludes::new(&patterns.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), &[]).unwrap()
}

#[test]
fn patterns_match_as_in_restic() {
    let table = [
        ("", "", None),
        ("foo", "/foo", Some(true)),
        ("foo", "/a/foo/b", Some(true)),
        ("foo", "/foobar", Some(false)),
        ("foo/bar", "/a/foo/bar/c", Some(true)),
        ("foo/bar", "/foo/x/bar", Some(false)),
        ("/foo", "/foo/bar", Some(true)),
        ("/foo", "/a/foo", Some(false)),
        ("*.go", "/x/test.go", Some(true)),
        ("*.go", "/x/test.go/deeper", Some(true)),
        ("*.go", "/x/test.gox", Some(false)),
        ("te?t", "/x/test", Some(true)),
        ("te?t", "/x/tet", Some(false)),
        ("t?t", "/x/t\u{e9}t", Some(true)),
        ("[a-c]x", "/bx", Some(true)),
        ("[^a-c]x", "/bx", Some(false)),
        ("[]]x", "/]x", Some(true)),
        ("[a", "/a", None),
        ("a\\*b", "/a*b", Some(true)),
        ("a\\*b", "/axb", Some(false)),
        ("a\\", "/a", None),
        ("/home/*/.cache", "/home/ann/.cache", Some(true)),
        ("/home/*/.cache", "/home/ann/x/.cache", Some(false)),
        ("/home/**/.cache", "/home/ann/x/.cache/y", Some(true)),
        ("/home/**/.cache", "/home/.cache", Some(true)),
        ("foo/**/bar", "/x/foo/bar", Some(true)),
        ("foo/**/bar", "/x/foo/1/2/3/bar", Some(true)),
        ("foo/**/bar", "/x/fo/1/2/3/bar", Some(false)),
        ("/a/**", "/a/b/c", Some(true)),
        ("/a/**", "/b/c", Some(false)),
        ("a*b*c", "/aXbXbXc", Some(true)),
        ("a*b*c", "/aXbXbX", Some(false)),
        ("*", "/a", Some(true)),
        ("/", "/a", Some(true)),
        ("foo/", "/foo/x", Some(true)),
        ("foo/", "/x/foo", Some(false)),
    ];
    for (pattern, path, expected) in table {
        let parsed = Excludes::new(&[pattern.to_owned()], &[]);
        assert_eq!(
            parsed.ok().map(|excludes| excludes.matches(path.as_bytes(), false)),
            expected,
            "pattern {pattern:?} path {path:?}"
        );
    }
}

#[test]
fn trailing_slash_wants_a_folder() {
    assert!(excludes(&["foo/"]).matches(b"/x/foo", true));
    assert!(!excludes(&["foo/"]).matches(b"/x/foo", false));
}

#[test]
fn last_match_decides() {
    let list = excludes(&["/home/ann/*", "!/home/ann/docs", "*.tmp"]);
    assert!(list.matches(b"/home/ann/music", true));
    assert!(!list.matches(b"/home/ann/docs", true));
    assert!(!list.matches(b"/home/ann/docs/a", false));
    assert!(list.matches(b"/home/ann/docs/a.tmp", false));
    assert!(!excludes(&["*.o", "!/keep"]).matches(b"/keep/x.o", false));
    assert!(excludes(&["!/keep", "*.o"]).matches(b"/keep/x.o", false));
}

#[test]
fn names_are_bytes() {
    assert!(excludes(&["*.bak"]).matches(b"/x/\xff\xfe.bak", false));
    assert!(excludes(&["a?b"]).matches(b"/a\xffb", false));
    assert!(excludes(&["foo/*.o"]).leaves_out(b"x\0foo\0\xff.o", false));
}

#[test]
fn case_is_ignored_where_asked() {
    let list = Excludes::new(&["Exact".to_owned()], &["CaChe/*.TMP".to_owned(), "\u{c9}t\u{e9}".to_owned()]);
    let list = list.unwrap();
    assert!(list.matches(b"/x/cAcHe/a.tmp", false));
    assert!(list.matches("/\u{e9}T\u{c9}".as_bytes(), false));
    assert!(list.matches(b"/Exact", false));
    assert!(!list.matches(b"/exact", false));
}

/// A walk that asks only at each item leaves out the same as the full question.
#[test]
fn walk_agrees_with_full_match() {
    let list = excludes(&["/a/*", "!/a/b", "*.o", "!x.o", "/a/b/c/", "**/z"]);
    let paths = [
        "/a",
        "/a/q",
        "/a/b",
        "/a/b/c",
        "/a/b/k.o",
        "/a/b/x.o",
        "/a/b/x.o/y.o",
        "/q/z",
        "/q/z/z",
        "/a/b/x.o/z",
    ];
    for path in paths {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        let walked = ends.into_iter().any(|end| list.leaves_out(&path.as_bytes()[..end], true));
        assert_eq!(walked, list.matches(path.as_bytes(), true), "{path}");
    }
}

#[test]
fn below_where_the_walk_began() {
    assert!(!excludes(&["tmp", "/tmp"]).leaves_out(b"tmp\0x\0file", false));
    assert!(!Excludes::default().leaves_out(b"tmp", false));
}

#[test]
fn folders_that_may_contain_a_match() {
    let table = [
        ("/a/b/c", "/a", true),
        ("/a/b/c", "/a/b", true),
        ("/a/b/c", "/a/b/c/d", true),
        ("/a/b/c", "/b", false),
        ("/a/**/c", "/a/x/y", true),
        ("/a/**/c", "/b", false),
        ("c", "/anything", true),
        ("!/a", "/a", false),
    ];
    for (pattern, dir, expected) in table {
        assert_eq!(excludes(&[pattern]).may_contain(dir.as_bytes()), expected, "{pattern} {dir}");
    }
}

#[test]
fn exclude_files() {
    let lookup = |name: &str| (name == "HOME").then(|| "/home/ann".to_owned());
    let text = "# comment\n\n  $HOME/.cache  \n${HOME}x\ncost$$\n";
    let patterns = parse_exclude_file(text, lookup).unwrap();
    assert_eq!(patterns, ["/home/ann/.cache", "/home/annx", "cost$"]);
    assert_eq!(parse_exclude_file("a\n$NO/x", lookup).unwrap_err(), "line 2: $NO is not set");
    assert!(parse_exclude_file("$/x", lookup).is_err());
    assert!(parse_exclude_file("${x", lookup).is_err());
}

/// With one point to go back to this takes thousands of steps; with all of them, more than there is
/// time for.
#[test]
fn many_runs_of_folders_in_one_pattern() {
    let pattern = "**/a/".repeat(30) + "**/c";
    let excludes = Excludes::new(&[pattern], &[]).unwrap();
    let path = "/a".repeat(300);
    assert!(!excludes.matches((path.clone() + "/b").as_bytes(), false));
    assert!(excludes.matches((path + "/c").as_bytes(), false));
}
