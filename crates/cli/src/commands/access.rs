//! The record of an access: who takes which contents out of a repository, where to, and why.
//!
//! It is put into the evidence before any contents leave, so that nobody evades it who ends the run. Hence it says
//! what was begun, and not how that ended. Where it cannot be put, the run goes on and says so: a restore on the
//! worst day needs no right to write. It is an honest program's record: who holds a key that reads can read with
//! another program. A restore that is a part of a drill refers to the record that the drill began. On purpose not
//! here: that record, and reading names.

use super::Run;
use crate::args::{Because, Select};
use crate::engine::evidence::{EvidenceRecord, append, own};
use crate::engine::{Repository, Snapshot};
use crate::fault::Fault;
use crate::hands::drill;
use crate::ink::rfc3339;
use crate::{settings, wire_up};
use holdfast_core::id::SessionId;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// What such a record is called.
pub(super) const ACCESS: &str = "access";
/// Longest reason in bytes.
const REASON_BYTES_MAX: usize = 64 << 10;

/// What is about to be taken out.
pub(super) struct Access<'a> {
    /// `restore` or `dump`.
    pub(super) verb: &'static str,
    pub(super) snapshot: &'a Snapshot,
    /// Only what lies below.
    pub(super) path: &'a [u8],
    pub(super) select: Option<&'a Select>,
    /// Only these databases.
    pub(super) databases: &'a [String],
    /// Where to.
    pub(super) target: String,
    pub(super) because: &'a Because,
}

/// What it says.
#[derive(Serialize)]
struct Text<'a> {
    version: u32,
    verb: &'a str,
    host: String,
    user: String,
    uid: u32,
    key: String,
    program: String,
    snapshots: [String; 1],
    source: &'a str,
    snapshot_time: String,
    path: String,
    include: Vec<String>,
    exclude: Vec<String>,
    databases: &'a [String],
    target: &'a str,
    reason: Option<String>,
}

/// Judges the reason, before anybody is asked for a password.
pub(super) fn reason(because: &Because) -> Result<Option<String>, Fault> {
    let stated = because.reason.clone();
    let stated =
        stated.or_else(|| Some(settings::variable("HOLDFAST_REASON")?.to_string_lossy().into_owned()));
    let stated = stated.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if because.reason.is_some() && stated.is_none() {
        return Err(Fault::usage("--reason: there is none in it", "say why, or leave it out"));
    }
    match stated.as_ref().map(String::len).filter(|length| *length > REASON_BYTES_MAX) {
        None => Ok(stated),
        Some(length) => {
            let what = format!("--reason: it has {length} bytes, and {REASON_BYTES_MAX} are the most");
            Err(Fault::usage(what, "write less, or where more of it is"))
        }
    }
}

/// Records it.
pub(super) async fn record(run: &Run, repository: &Repository, access: &Access<'_>) -> Result<(), Fault> {
    let reason = reason(access.because)?;
    if is_told(repository, access.snapshot.id).await {
        return Ok(());
    }
    let text = serde_json::to_vec(&text(repository, access, reason)).map_err(|error| {
        Fault::failed("the record of this access cannot be written down", "").because(&error)
    })?;
    // No phase is told of it: it is one small object.
    let put = append(&run.ctx, repository, ACCESS, &text).await;
    match put.map_err(|error| Fault::from(error).or_interrupted(run.ctx.cancel.is_raised())) {
        Ok(_) => Ok(()),
        Err(fault) if run.ctx.cancel.is_raised() => Err(fault),
        Err(fault) => {
            run.ink.warn(&format!(
                "no record of this {} was left in the repository's evidence: {}",
                access.verb, fault.what
            ));
            Ok(())
        }
    }
}

/// Whether the drill that this is a part of has recorded it: the evidence has its beginning, by this very key, with
/// this snapshot and the hash of what it handed over. What cannot be found out is recorded once more.
async fn is_told(repository: &Repository, snapshot: SessionId) -> bool {
    let Some((name, token)) = drill() else { return false };
    let record = own(repository, &name).await;
    record.is_ok_and(|record| record.is_some_and(|record| tells(&record, &token, snapshot)))
}

/// Whether a record says that a drill began that has this token and restores this snapshot.
fn tells(record: &EvidenceRecord, token: &str, snapshot: SessionId) -> bool {
    let told: Value = serde_json::from_slice(&record.text).unwrap_or_default();
    let is_beginning = record.kind == ACCESS && told["verb"] == "drill" && told["step"] == "begin";
    let snapshots = told["snapshots"].as_array();
    let id = snapshot.to_string();
    let restores = snapshots.is_some_and(|all| all.iter().any(|one| one == id.as_str()));
    is_beginning && restores && told["token_hash"] == blake3::hash(token.as_bytes()).to_hex().as_str()
}

fn text<'a>(repository: &'a Repository, access: &'a Access<'_>, reason: Option<String>) -> Text<'a> {
    let summary = &access.snapshot.summary;
    Text {
        version: 1,
        verb: access.verb,
        host: wire_up::host_name(),
        user: user(),
        uid: rustix::process::getuid().as_raw(),
        key: repository.member_label(),
        program: format!("holdfast {}", env!("CARGO_PKG_VERSION")),
        snapshots: [access.snapshot.id.to_string()],
        source: &summary.label,
        snapshot_time: rfc3339(summary.start),
        path: String::from_utf8_lossy(access.path).into_owned(),
        include: access.select.map(included).unwrap_or_default(),
        exclude: access.select.map(excluded).unwrap_or_default(),
        databases: access.databases,
        target: &access.target,
        reason,
    }
}

fn included(select: &Select) -> Vec<String> {
    patterns([&select.include, &select.iinclude], [&select.include_file, &select.iinclude_file])
}

fn excluded(select: &Select) -> Vec<String> {
    patterns([&select.exclude, &select.iexclude], [&select.exclude_file, &select.iexclude_file])
}

/// Patterns as they were given; a file of patterns by its name.
fn patterns(stated: [&Vec<String>; 2], files: [&Vec<std::path::PathBuf>; 2]) -> Vec<String> {
    let stated = stated.into_iter().flatten().cloned();
    stated.chain(files.into_iter().flatten().map(|file| format!("@{}", file.display()))).collect()
}

/// Who runs this, by the name that was logged in with.
pub(super) fn user() -> String {
    let variables = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(settings::variable);
    let mut names = variables.map(|name| name.to_string_lossy().into_owned());
    names.next().unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
}

/// A file as a target; without one it is the output.
pub(super) fn file(target: Option<&Path>) -> String {
    target.map_or_else(|| "-".to_owned(), |target| target.display().to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_core::entry::Time;
    use holdfast_core::id::MemberId;
    use serde_json::json;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn began(kind: &str, change: &[(&str, Value)]) -> EvidenceRecord {
        let token_hash = blake3::hash(b"token").to_hex().to_string();
        let mut text =
            json!({ "verb": "drill", "step": "begin", "snapshots": ["x", ID], "token_hash": token_hash });
        change.iter().for_each(|(name, value)| text[*name] = value.clone());
        EvidenceRecord {
            name: "evidence/x".into(),
            member: MemberId([1; 16]),
            number: 0,
            hash: [0; 32],
            time: Time { seconds: 0, nanos: 0 },
            kind: kind.into(),
            text: text.to_string().into_bytes(),
        }
    }

    #[test]
    fn a_restore_is_told_by_the_beginning_of_its_own_drill_alone() {
        let (id, other) = (ID.parse().unwrap(), "ff".repeat(16).parse().unwrap());
        assert!(tells(&began(ACCESS, &[]), "token", id));
        assert!(!tells(&began(ACCESS, &[]), "another", id) && !tells(&began(ACCESS, &[]), "", id));
        assert!(!tells(&began(ACCESS, &[]), "token", other));
        assert!(!tells(&began("note", &[]), "token", id));
        for change in [
            ("verb", json!("restore")),
            ("step", json!("kept")),
            ("token_hash", Value::Null),
            ("snapshots", json!(ID)),
        ] {
            assert!(!tells(&began(ACCESS, &[change.clone()]), "token", id), "{change:?}");
        }
    }
}
