//! Who is behind what is wrong: what members said who may not say it, and the names of those whose
//! objects and snapshots are damaged.
//!
//! On purpose not here: the damage itself.

use super::CheckReport;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::view::View;
use holdfast_core::id::{MemberId, StreamId};
use holdfast_core::name::{self, Place, member_object};
use holdfast_store::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

/// Tells what counts for nobody, and why it is worth looking at.
pub(super) fn check_authors(
    repository: &Repository,
    view: &View,
    objects: &[ObjectMeta],
    report: &mut CheckReport,
) {
    for suspicion in &view.suspicious {
        report.error(&suspicion.object, &suspicion.what);
    }
    check_chain(repository, objects, report);
    check_streams(repository, &view.snapshots(), report);
}

/// Entries of members that no owner wrote are passed over when the chain is read.
fn check_chain(repository: &Repository, objects: &[ObjectMeta], report: &mut CheckReport) {
    let standing = repository.standing();
    let members = &standing.members;
    for meta in objects {
        let Some(Place::Member(number, id)) = name::parse(meta.key.as_str()) else { continue };
        let before = members.hash_after(number).filter(|_| number > 0);
        let is_next = before.is_some_and(|hash| member_object(&hash, number) == id);
        if is_next && number >= members.len() as u64 {
            let what = "is no entry of the chain of members: no owner signed it. It does not count, and no \
                        member can be admitted or removed while it lies there: delete it, and find out who put it there";
            report.error(meta.key.as_str(), what);
        }
    }
}

/// A stream is a source on a host; two writers in one of them means that a host got another key, or
/// that one writes in another's name.
fn check_streams(repository: &Repository, snapshots: &[Snapshot], report: &mut CheckReport) {
    let mut streams: BTreeMap<StreamId, (BTreeSet<MemberId>, &Snapshot)> = BTreeMap::new();
    for snapshot in snapshots {
        let known = streams.entry(snapshot.summary.stream).or_insert_with(|| (BTreeSet::new(), snapshot));
        known.0.insert(repository.author_of(snapshot).unwrap_or(snapshot.member));
    }
    for (authors, snapshot) in streams.into_values() {
        if authors.len() < 2 || authors.iter().all(|author| repository.is_owner(*author)) {
            continue;
        }
        let names: Vec<_> = authors.iter().map(|author| repository.name_of(*author)).collect();
        let (host, source) = (&snapshot.summary.host, &snapshot.summary.label);
        let what = format!(
            "snapshots in its name are of {}: if it did not get a new key, one of them is false",
            names.join(" and of ")
        );
        report.notice(format!("source {source} of host {host}"), what);
    }
}

/// Adds to each error who wrote what it is about, if that is no owner: the one whose key may be in
/// wrong hands.
pub(super) fn name_authors(repository: &Repository, snapshots: &[Snapshot], report: &mut CheckReport) {
    let of_snapshot = |subject: &str| {
        let id = subject.strip_prefix("snapshot ")?;
        let named = |snapshot: &&Snapshot| id.starts_with(&snapshot.id.to_string()[..8]);
        snapshots.iter().find(named).map(|snapshot| repository.author_of(snapshot).unwrap_or(snapshot.member))
    };
    for finding in report.findings.iter_mut().filter(|finding| finding.is_error) {
        let author = author_of(&finding.subject).or_else(|| of_snapshot(&finding.subject));
        let Some(author) = author.filter(|author| !repository.is_owner(*author)) else { continue };
        let by = repository.name_of(author);
        if !finding.what.contains(&by) {
            finding.what = format!("{} (of {by})", finding.what);
        }
    }
}

/// Whose name an object bears.
fn author_of(object: &str) -> Option<MemberId> {
    match name::parse(object)? {
        Place::Begin(session) | Place::Pins(session, _) | Place::End(session) | Place::Delta(session, _) => {
            Some(session.member)
        }
        Place::Pack(pack) => Some(pack.member),
        Place::Evidence(member, _) => Some(member),
        _ => None,
    }
}
