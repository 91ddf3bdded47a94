//! Texts: names of objects, `holdfast.json`, patterns, sizes, times, what goes to a terminal.
//!
//! On purpose not here: the command line itself, whose words clap takes apart.

use super::assert_same;
use holdfast_core::crypto::hash;
use holdfast_core::id::hex;
use holdfast_core::name::{self, PackId, Place};
use holdfast_core::repository::Repository;
use holdfast_scheduler::policy;
use holdfast_source_files::{Excludes, parse_exclude_file};

#[allow(dead_code, unused_imports, unreachable_pub, reason = "only its parser is wanted here")]
#[path = "../../../crates/cli/src/ink/escape.rs"]
mod escape;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "only its parser is wanted here")]
#[path = "../../../crates/cli/src/ink/moment.rs"]
mod moment;
#[allow(dead_code, unused_imports, unreachable_pub, reason = "only its parser is wanted here")]
#[path = "../../../crates/cli/src/ink/size.rs"]
mod size;

/// Every name has one spelling.
pub(super) fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(place) = name::parse(text) else {
        assert!(PackId::parse(text).is_none());
        return;
    };
    let again = match place {
        Place::Repository => name::REPOSITORY.to_owned(),
        Place::Recover => name::RECOVER.to_owned(),
        Place::KeySlot(id) => name::key_slot(id),
        Place::Member(number, id) => name::member(number, id),
        Place::Root(number) => name::root(number),
        Place::Begin(session) => session.begin(),
        Place::Pins(session, number) => session.pins(number),
        Place::End(session) => session.end(),
        Place::Pack(pack) => pack.name(),
        Place::Delta(session, number) => session.delta(number),
        Place::IndexSegment(id) => name::index_segment(id),
        Place::SnapshotSegment(id) => name::snapshot_segment(id),
        Place::List(id) => name::list(id),
        Place::Wal(name) => name,
        Place::Evidence(member, number) => name::evidence(member, number),
    };
    assert_eq!(again, text);
}

/// `holdfast.json`, as it is and with its checksum put right.
pub(super) fn repository(bytes: &[u8]) {
    let mut text = bytes.to_vec();
    check_repository(&text);
    let mark = b"\"checksum\": \"";
    if let Some(at) = text.windows(mark.len()).position(|part| part == mark)
        && let Some(place) = text.get_mut(at + mark.len()..at + mark.len() + 64)
    {
        place.fill(b'0');
        let checksum = hex(&hash(&text));
        text[at + mark.len()..][..64].copy_from_slice(checksum.as_bytes());
        check_repository(&text);
    }
}

fn check_repository(text: &[u8]) {
    let Ok(repository) = Repository::decode(text) else { return };
    assert_eq!(repository.encode().as_bytes(), text, "it has one spelling");
    assert_same(&repository, &Repository::decode(text).expect("the same again"));
}

/// Patterns, one a line; after an empty line a path. A folder above a match may contain it.
pub(super) fn excludes(bytes: &[u8]) {
    let at = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let Ok(patterns) = std::str::from_utf8(&bytes[..at]) else { return };
    let patterns: Vec<_> = patterns.lines().map(str::to_owned).collect();
    let path = [b"/", bytes.get(at + 2..).unwrap_or_default()].concat();
    for (cased, caseless) in [(&patterns[..], &[][..]), (&[], &patterns)] {
        let Ok(excludes) = Excludes::new(cased, caseless) else { continue };
        let folder_matches = excludes.matches(&path, true);
        assert!(folder_matches || !excludes.matches(&path, false) || has_negation(&patterns));
        if folder_matches {
            for end in (1..path.len()).filter(|&end| path[end] == b'/') {
                assert!(excludes.may_contain(&path[..end]), "{patterns:?} {path:?} {end}");
            }
        }
    }
}

fn has_negation(patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| pattern.starts_with('!'))
}

pub(super) fn exclude_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lookup = |name: &str| (name.len() < 4).then(|| name.to_uppercase());
    let Ok(patterns) = parse_exclude_file(text, lookup) else { return };
    assert!(patterns.len() <= text.lines().count());
    assert!(patterns.iter().all(|pattern| !pattern.contains('\n')));
}

/// A policy. Each mistake lies in the text, and what is right can be shown.
pub(super) fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match policy::read::parse(text, "p") {
        Err(wrong) => {
            assert!(!wrong.is_empty());
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
            assert!(
                wrong.iter().all(|wrong| (1..=lines).contains(&wrong.line) && wrong.column > 0),
                "{wrong:?}"
            );
        }
        Ok(policy) => {
            assert!(policy.sources.0.iter().all(|(_, source)| source.kind().is_some()));
            assert!(!policy::plan::hands(&policy).is_empty() && !policy::plan::kept(&policy).is_empty());
            assert!(policy::plan::follows(&policy).iter().all(|line| !line.what.is_empty()));
            assert!(!policy::read::places(text).is_empty());
        }
    }
}

pub(super) fn sizes(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(number) = size::parse_size(text) else { return };
    assert_eq!(size::parse_size(&number.to_string()), Ok(number));
    let shown = size::size(number);
    if let Ok(near) = size::parse_size(&shown) {
        let off = near.abs_diff(number);
        assert!(off <= number / 100 + 1, "{number} is shown as {shown}");
    }
}

pub(super) fn times(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(time) = moment::parse(text) else { return };
    assert!(time.nanos < 1_000_000_000);
    assert_eq!(moment::parse(&moment::rfc3339(time)), Ok(time));
    assert!(!moment::local(time).is_empty());
    moment::since(time, holdfast_core::entry::Time { seconds: i64::MIN, nanos: 0 });
    moment::since(holdfast_core::entry::Time { seconds: i64::MIN, nanos: 0 }, time);
}

/// Whatever a name holds, it cannot move a terminal's cursor.
pub(super) fn escaping(bytes: &[u8]) {
    let shown = escape::escape(bytes);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}
