//! Versions of the objects of a bucket: which one is meant, and what is refused where there are none.
//!
//! On purpose not here: finding them.

use super::pick::short_id;
use crate::args::VersionPick;
use crate::engine::{Snapshot, VersionChoice};
use crate::fault::Fault;
use crate::ink::parse_time;
use holdfast_core::entry::Entry;
use holdfast_core::version::{VERSIONS_KIND, Version, split_version};

/// Whether a snapshot has all versions of its objects.
pub(super) fn has_all(snapshot: &Snapshot) -> bool {
    snapshot.summary.kind == VERSIONS_KIND
}

/// Reads what is stated of versions.
pub(super) fn choice(pick: &VersionPick, path: &[u8]) -> Result<VersionChoice, Fault> {
    if let Some(text) = &pick.at {
        let time = parse_time(text).map_err(|what| Fault::usage(format!("--at: {what}"), ""))?;
        return Ok(VersionChoice::At(time));
    }
    let Some(id) = &pick.version_id else { return Ok(VersionChoice::Newest) };
    if path.is_empty() || path.ends_with(b"/") {
        let hint = "name the object too, as in latest:/KEY; `holdfast ls` shows keys and versions";
        return Err(Fault::usage("--version-id is about one object, and none is named", hint));
    }
    Ok(VersionChoice::Id(id.clone()))
}

/// Refuses to choose where there is nothing to choose from.
pub(super) fn refuse_plain(snapshot: &Snapshot, choice: &VersionChoice) -> Result<(), Fault> {
    let option = match choice {
        VersionChoice::Newest => return Ok(()),
        VersionChoice::At(_) => "--at",
        VersionChoice::Id(_) => "--version-id",
        VersionChoice::All => "--all-versions",
    };
    if has_all(snapshot) {
        return Ok(());
    }
    Err(Fault::usage(
        format!("{option}: snapshot {} does not have versions of objects", short_id(snapshot)),
        "leave it out; `holdfast backup s3://… --versions all` makes snapshots that have them",
    ))
}

/// What there is to warn of before versions are chosen.
pub(super) fn warning(snapshot: &Snapshot, choice: &VersionChoice) -> Option<&'static str> {
    let by_age = matches!(choice, VersionChoice::Newest | VersionChoice::At(_));
    (snapshot.summary.incomplete && has_all(snapshot) && by_age).then_some(
        "versions that could not be read are missing: where that was the newest of an object, an older one takes \
         its place; those of `holdfast ls` with --version-id are exact",
    )
}

/// What a version is among those of its object, in a word.
pub(super) const fn state(version: &Version<'_>, is_newest: bool) -> &'static str {
    match (version.is_marker, is_newest) {
        (false, true) => "current",
        (false, false) => "older",
        (true, true) => "deleted",
        (true, false) => "marker",
    }
}

/// Holds each entry until it is known whether another version of its object follows.
#[derive(Default)]
pub(super) struct Newest(Option<Entry>);

impl Newest {
    /// Takes the next entry, and shows the one before: of a version, whether it is the newest.
    pub(super) fn take(&mut self, entry: Entry, show: &mut dyn FnMut(&Entry, Option<bool>)) {
        let object = split_version(&entry.key).map(|(object, _)| object.to_vec());
        self.release(object.as_deref(), show);
        self.0 = Some(entry);
    }

    /// Shows the last one; whether it is the newest is known if nothing is lost.
    pub(super) fn end(&mut self, is_whole: bool, show: &mut dyn FnMut(&Entry, Option<bool>)) {
        self.release(None, &mut |entry, is_newest| show(entry, is_newest.filter(|_| is_whole)));
    }

    fn release(&mut self, next: Option<&[u8]>, show: &mut dyn FnMut(&Entry, Option<bool>)) {
        let Some(entry) = self.0.take() else { return };
        let is_newest = split_version(&entry.key).map(|(object, _)| next != Some(object));
        show(&entry, is_newest);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;
    use holdfast_core::entry::{Attributes, Content, Kind, Time};
    use holdfast_core::version::version_key;

    #[test]
    fn one_version_needs_one_object() {
        let pick = VersionPick { version_id: Some("v".into()), at: None };
        assert_eq!(choice(&pick, b"/a"), Ok(VersionChoice::Id("v".into())));
        assert_eq!(choice(&pick, b"").unwrap_err().code, Code::Usage);
        assert_eq!(choice(&pick, b"/a/").unwrap_err().code, Code::Usage);
        let pick = VersionPick { at: Some("1970-01-01T00:00:07Z".into()), version_id: None };
        assert_eq!(choice(&pick, b""), Ok(VersionChoice::At(Time { seconds: 7, nanos: 0 })));
        let pick = VersionPick { at: Some("then".into()), version_id: None };
        assert_eq!(choice(&pick, b"").unwrap_err().code, Code::Usage);
        assert_eq!(choice(&VersionPick::default(), b""), Ok(VersionChoice::Newest));
    }

    #[test]
    fn the_last_version_of_an_object_is_its_newest() {
        let entry = |key: &str, id: &str, is_marker: bool| {
            let version = Version { time: Time::default(), place: 0, is_marker, id };
            let key = if id.is_empty() { key.into() } else { version_key(key.as_bytes(), &version) };
            Entry {
                key,
                kind: Kind::File,
                mode: 0o644,
                owner: std::sync::Arc::default(),
                mtime: Time::default(),
                size: 0,
                content: Content::None,
                digest: None,
                attributes: Attributes::default(),
            }
        };
        let (mut newest, mut shown) = (Newest::default(), Vec::new());
        let mut show = |entry: &Entry, is_newest: Option<bool>| {
            let version = split_version(&entry.key).map(|(_, version)| version);
            shown.push(version.map(|version| state(&version, is_newest.unwrap())));
            assert_eq!(is_newest.is_none(), version.is_none());
        };
        for (key, id, is_marker) in
            [("a", "1", false), ("a", "2", true), ("a", "3", false), ("b", "1", true), ("plain", "", false)]
        {
            newest.take(entry(key, id, is_marker), &mut show);
        }
        newest.end(true, &mut show);
        assert_eq!(shown, [Some("older"), Some("marker"), Some("current"), Some("deleted"), None]);
    }
}
