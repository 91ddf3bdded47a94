//! The JSON lines of `key`, `tag`, groups of snapshots, `completions` and `man`, as `JSON.md`
//! describes them.
//!
//! On purpose not here: anything secret. A key is told of by its id and its label.

use super::moment::rfc3339;
use crate::engine::{ChangedKey, KeyInfo, MemberInfo, RemovedKey, RemovedMember, RotatedKeys, Tagged};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// A key, as `key list` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct KeyLine {
    message_type: &'static str,
    #[serde(flatten)]
    key: KeyFields,
    in_use: bool,
    member_removed: bool,
}

/// What a key says of itself.
#[derive(Debug, Serialize)]
struct KeyFields {
    id: String,
    short_id: String,
    label: String,
    kind: &'static str,
    role: &'static str,
    member: String,
    created: Option<String>,
    kdf_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transit: Option<String>,
}

impl From<&KeyInfo> for KeyFields {
    fn from(key: &KeyInfo) -> Self {
        let id = key.id.to_string();
        Self {
            short_id: id[..8].to_owned(),
            id,
            label: key.label.clone(),
            kind: if key.password_cost.is_some() { "password" } else { "key_file" },
            role: key.role.word(),
            member: key.member.to_string(),
            created: key.created.map(rfc3339),
            kdf_memory: key.password_cost.map(|cost| u64::from(cost.memory_kib) << 10),
            transit: key.transit.clone(),
        }
    }
}

impl From<&KeyInfo> for KeyLine {
    fn from(key: &KeyInfo) -> Self {
        Self {
            message_type: "key",
            key: KeyFields::from(key),
            in_use: key.in_use,
            member_removed: key.is_removed,
        }
    }
}

/// A member, as `key list` tells of it.
#[derive(Debug, Serialize)]
pub(crate) struct MemberLine {
    message_type: &'static str,
    #[serde(flatten)]
    member: MemberFields,
    removed: bool,
    own: bool,
    keys: usize,
    key_epochs: Vec<u32>,
}

/// What the chain of members says of one.
#[derive(Debug, Serialize)]
struct MemberFields {
    member: String,
    label: String,
    role: &'static str,
}

impl From<&MemberInfo> for MemberFields {
    fn from(member: &MemberInfo) -> Self {
        Self { member: member.id.to_string(), label: member.label.clone(), role: member.role.word() }
    }
}

impl MemberLine {
    pub(crate) fn new(member: &MemberInfo, keys: usize) -> Self {
        Self {
            message_type: "member",
            member: MemberFields::from(member),
            removed: member.is_removed,
            own: member.is_own,
            keys,
            key_epochs: member.key_epochs.clone(),
        }
    }
}

/// A member was removed.
#[derive(Debug, Serialize)]
pub(crate) struct MemberRemovedLine {
    message_type: &'static str,
    #[serde(flatten)]
    member: MemberFields,
    keys: Vec<String>,
    aborted_sessions: Vec<String>,
    resumed: bool,
}

impl From<&RemovedMember> for MemberRemovedLine {
    fn from(removed: &RemovedMember) -> Self {
        Self {
            message_type: "member_removed",
            member: MemberFields::from(&removed.member),
            keys: removed.slots.iter().map(ToString::to_string).collect(),
            aborted_sessions: removed.aborted.iter().map(ToString::to_string).collect(),
            resumed: removed.was_begun,
        }
    }
}

/// All members have new keys.
#[derive(Debug, Serialize)]
pub(crate) struct KeysRotatedLine {
    message_type: &'static str,
    key_epoch: u32,
    members: u32,
    resumed: bool,
}

impl From<&RotatedKeys> for KeysRotatedLine {
    fn from(rotated: &RotatedKeys) -> Self {
        Self {
            message_type: "keys_rotated",
            key_epoch: rotated.key_epoch,
            members: rotated.members,
            resumed: rotated.was_begun,
        }
    }
}

/// A key was added.
#[derive(Debug, Serialize)]
pub(crate) struct KeyAddedLine {
    message_type: &'static str,
    #[serde(flatten)]
    key: KeyFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    kit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kit_file: Option<String>,
}

impl KeyAddedLine {
    pub(crate) fn new(key: &KeyInfo, kit: Option<String>, kit_file: Option<String>) -> Self {
        Self { message_type: "key_added", key: KeyFields::from(key), kit, kit_file }
    }
}

/// A key was removed.
#[derive(Debug, Serialize)]
pub(crate) struct KeyRemovedLine {
    message_type: &'static str,
    id: String,
    key_in_use: String,
    key_in_use_was: String,
}

impl From<&RemovedKey> for KeyRemovedLine {
    fn from(removed: &RemovedKey) -> Self {
        Self {
            message_type: "key_removed",
            id: removed.removed.to_string(),
            key_in_use: removed.in_use.id.to_string(),
            key_in_use_was: removed.replaced.to_string(),
        }
    }
}

/// The key in use was replaced.
#[derive(Debug, Serialize)]
pub(crate) struct KeyChangedLine {
    message_type: &'static str,
    #[serde(flatten)]
    key: KeyFields,
    removed: Vec<String>,
}

impl From<&ChangedKey> for KeyChangedLine {
    fn from(changed: &ChangedKey) -> Self {
        let removed = changed.removed.iter().map(ToString::to_string).collect();
        Self { message_type: "key_changed", key: KeyFields::from(&changed.key), removed }
    }
}

/// A snapshot's tags were changed. The words are restic's.
#[derive(Debug, Serialize)]
pub(crate) struct ChangedLine<'a> {
    message_type: &'static str,
    old_snapshot_id: String,
    new_snapshot_id: Option<String>,
    tags: &'a [String],
}

impl<'a> From<&'a Tagged> for ChangedLine<'a> {
    fn from(tagged: &'a Tagged) -> Self {
        Self {
            message_type: if tagged.new.is_some() { "changed" } else { "unchanged" },
            old_snapshot_id: tagged.old.to_string(),
            new_snapshot_id: tagged.new.map(|id| id.to_string()),
            tags: &tagged.tags,
        }
    }
}

/// What `tag` did.
#[derive(Debug, Serialize)]
pub(crate) struct TagSummary {
    message_type: &'static str,
    changed_snapshots: u64,
    unchanged_snapshots: u64,
}

impl From<&[Tagged]> for TagSummary {
    fn from(done: &[Tagged]) -> Self {
        let changed = done.iter().filter(|tagged| tagged.new.is_some()).count() as u64;
        let unchanged_snapshots = done.len() as u64 - changed;
        Self { message_type: "summary", changed_snapshots: changed, unchanged_snapshots }
    }
}

/// What the snapshots that follow have in common.
#[derive(Debug, Serialize)]
pub(crate) struct GroupLine {
    message_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_base64: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    snapshots: u64,
}

impl GroupLine {
    pub(crate) fn new(
        [hostname, source]: [&Option<String>; 2],
        paths: Option<&[Vec<u8>]>,
        tags: Option<&[String]>,
        snapshots: usize,
    ) -> Self {
        let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        let odd = paths.filter(|paths| paths.iter().any(|path| std::str::from_utf8(path).is_err()));
        Self {
            message_type: "group",
            hostname: hostname.clone(),
            source: source.clone(),
            paths: paths.map(|paths| paths.iter().map(text).collect()),
            paths_base64: odd.map(|paths| paths.iter().map(|path| STANDARD.encode(path)).collect()),
            tags: tags.map(<[String]>::to_vec),
            snapshots: snapshots as u64,
        }
    }
}

/// A script for a shell.
#[derive(Debug, Serialize)]
pub(crate) struct CompletionsLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) shell: &'a str,
    pub(crate) script: &'a str,
}

/// A page of the manual.
#[derive(Debug, Serialize)]
pub(crate) struct ManLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) name: &'a str,
    pub(crate) page: &'a str,
}
