//! What only further requests tell of an object: its tags, its access rights, and the parts that it
//! was uploaded in.
//!
//! On purpose not here: what comes with the object.

use crate::attributes::{ACL, PARTS, TAG};
use crate::source::Shared;
use crate::told::{Pin, Told};
use crate::untagged::{folder_of, is_sample};
use aws_sdk_s3::operation::get_object_acl::GetObjectAclOutput;
use aws_sdk_s3::types::Grant;
use holdfast_store::ErrorKind;
use holdfast_store_s3::{About, Answer};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// A bucket in which all objects are their owner's, without rights of their own.
const NO_RIGHTS: &str = "AccessControlListNotSupported";

/// Whether a server knows of something that objects may have.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// It says that it does not.
    unknown: AtomicBool,
    /// It told of it, now or in a run before.
    told: AtomicBool,
}

impl Known {
    /// It told of it, now or in the run before: that it knows nothing of it is not believed then.
    pub(crate) fn note_told(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }
}

/// Adds what only further requests tell.
pub(crate) async fn complete(shared: &Shared, key: &str, told: &mut Told) {
    let Told { stat, details, pin, tag_count } = &mut *told;
    if shared.keep.is_any() {
        match parts(shared, key, pin, stat.size).await {
            Ok(parts) => {
                details.xattrs.extend(parts.map(|parts| (PARTS.as_bytes().to_vec(), parts.into_bytes())));
            }
            Err(what) => details.unreadable.push(what),
        }
    }
    if shared.keep.tags {
        match tags_if_any(shared, key, pin, *tag_count).await {
            Ok(tags) => details.xattrs.extend(tags.into_iter().flatten()),
            Err(what) => details.unreadable.push(what),
        }
    }
    if shared.keep.acl {
        match acl(shared, key, pin).await {
            Ok(acl) => details.xattrs.extend(acl.map(|acl| (ACL.as_bytes().to_vec(), acl.into_bytes()))),
            Err(what) => details.unreadable.push(what),
        }
    }
    details.xattrs.sort_unstable();
    details.xattrs.dedup_by(|one, other| one.0 == other.0);
}

type Tags = Vec<(Vec<u8>, Vec<u8>)>;

/// Asks for tags, unless what came with the content says that there are none, and is believed.
async fn tags_if_any(
    shared: &Shared,
    key: &str,
    pin: &Pin,
    stated: Option<u32>,
) -> Result<Option<Tags>, String> {
    let ask = || tags(shared, key, pin, stated);
    if stated == Some(0) && shared.believes_counts() && !is_sample(key) {
        shared.untagged.first_of(&folder_of(key, !pin.may_change()), ask).await
    } else {
        ask().await
    }
}

/// Without the right a server says of an object with tags what it says of one without: only
/// asking tells. `None` if there was no answer.
async fn tags(shared: &Shared, key: &str, pin: &Pin, stated: Option<u32>) -> Result<Option<Tags>, String> {
    if shared.tags.is_unknown() {
        return Ok(None);
    }
    let request = shared.client.get_object_tagging().bucket(&shared.address.bucket).key(key);
    match request.set_version_id(pin.version.clone()).send().await.map_err(Answer::of) {
        Ok(answer) => {
            shared.tags.note_told();
            if let Some(stated) = stated {
                shared.untagged.compare(answer.tag_set.len(), stated);
            }
            let kept = |tag: aws_sdk_s3::types::Tag| {
                (format!("{TAG}{}", tag.key).into_bytes(), tag.value.into_bytes())
            };
            Ok(Some(answer.tag_set.into_iter().map(kept).collect()))
        }
        Err(answer) => {
            let right = if pin.may_change() { "s3:GetObjectTagging" } else { "s3:GetObjectVersionTagging" };
            let refused = Refused { what: "tags", right, known: &shared.tags };
            refused.judge(answer).map(|()| None)
        }
    }
}

async fn acl(shared: &Shared, key: &str, pin: &Pin) -> Result<Option<String>, String> {
    if shared.rights.is_unknown() {
        return Ok(None);
    }
    let request = shared.client.get_object_acl().bucket(&shared.address.bucket).key(key);
    match request.set_version_id(pin.version.clone()).send().await.map_err(Answer::of) {
        Ok(answer) => {
            shared.rights.note_told();
            Ok(Some(acl_text(&answer)))
        }
        Err(answer) => {
            let right = if pin.may_change() { "s3:GetObjectAcl" } else { "s3:GetObjectVersionAcl" };
            let refused = Refused { what: "access rights", right, known: &shared.rights };
            refused.judge(answer).map(|()| None)
        }
    }
}

/// Something that a server did not tell.
struct Refused<'a> {
    what: &'static str,
    right: &'static str,
    known: &'a Known,
}

impl Refused<'_> {
    /// The error is what to tell of the object.
    fn judge(&self, answer: Answer) -> Result<(), String> {
        if answer.is_unknown() || matches!(answer.code(), "MethodNotAllowed" | NO_RIGHTS) {
            if self.known.is_told() {
                let what = self.what;
                return Err(format!("the server told of {what} before, and now says that it knows none"));
            }
            self.known.unknown.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if answer.is_absent() {
            // It is gone by now: what was read of it is what there was.
            return Ok(());
        }
        let source = answer.into_error(&About { operation: "read", subject: "" }).source;
        Err(format!("cannot read its {}: {source}; the right to is {}", self.what, self.right))
    }
}

/// Access rights in one spelling, whatever order the server lists them in.
pub(crate) fn acl_text(answer: &GetObjectAclOutput) -> String {
    let mut grants: Vec<_> =
        answer.grants().iter().map(|grant| (grant_of(grant).to_string(), grant)).collect();
    grants.sort_by(|one, other| one.0.cmp(&other.0));
    grants.dedup_by(|one, other| one.0 == other.0);
    let grants: Vec<_> = grants.into_iter().map(|(_, grant)| grant_of(grant)).collect();
    let owner = answer.owner().and_then(|owner| owner.id());
    json!({ "grants": grants, "owner": owner }).to_string()
}

fn grant_of(grant: &Grant) -> Value {
    let permission = grant.permission().map(aws_sdk_s3::types::Permission::as_str);
    let grantee =
        grant.grantee().map(|grantee| match (grantee.id(), grantee.uri(), grantee.email_address()) {
            (Some(id), _, _) => json!({ "id": id }),
            (None, Some(uri), _) => json!({ "uri": uri }),
            (None, None, email) => json!({ "email": email }),
        });
    json!({ "grantee": grantee, "permission": permission })
}

/// Lengths of the parts of an upload, where all but the last are of one length, as nearly always.
/// A server that does not tell of parts has none.
async fn parts(shared: &Shared, key: &str, pin: &Pin, size: u64) -> Result<Option<String>, String> {
    let Some(count) = part_count(pin) else { return Ok(None) };
    let request = shared.client.head_object().bucket(&shared.address.bucket).key(key).part_number(1);
    let request = request.set_version_id(pin.version.clone());
    match request.send().await.map_err(Answer::of) {
        Ok(head) => {
            let first = head.content_length().and_then(|length| u64::try_from(length).ok());
            Ok(first.and_then(|first| layout(size, first, count)))
        }
        Err(answer) => {
            let error = answer.into_error(&About { operation: "read", subject: "" });
            match error.kind {
                ErrorKind::Retry => Err(format!("cannot read the lengths of its parts: {}", error.source)),
                _ => Ok(None),
            }
        }
    }
}

/// How many parts an entity tag states.
fn part_count(pin: &Pin) -> Option<u64> {
    let etag = pin.etag.as_deref()?.trim_matches('"');
    etag.rsplit_once('-')?.1.parse().ok().filter(|count| *count > 0)
}

fn layout(size: u64, first: u64, count: u64) -> Option<String> {
    let before = count.checked_sub(1)?.checked_mul(first)?;
    let last = size.checked_sub(before).filter(|last| *last <= first && (*last > 0 || size == 0))?;
    Some(match count {
        1 => format!("{last}"),
        2 => format!("{first},{last}"),
        _ => format!("{first}x{},{last}", count - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{Grantee, Owner, Permission, Type};

    #[test]
    fn parts_are_told_by_the_first() {
        assert_eq!(layout(20, 8, 3).as_deref(), Some("8x2,4"));
        assert_eq!(layout(16, 8, 2).as_deref(), Some("8,8"));
        assert_eq!(layout(5, 5, 1).as_deref(), Some("5"));
        // The server took no notice of the part, or the parts are of several lengths.
        assert_eq!(layout(20, 20, 3), None);
        assert_eq!(layout(20, 4, 3), None);
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    fn access_rights_have_one_spelling() {
        let to = |kind: Type, id: Option<&str>, uri: Option<&str>, permission: Permission| {
            let grantee = Grantee::builder().r#type(kind).set_id(id.map(str::to_owned));
            let grantee = grantee.set_uri(uri.map(str::to_owned)).build().unwrap();
            Grant::builder().grantee(grantee).permission(permission).build()
        };
        let one = to(Type::CanonicalUser, Some("me"), None, Permission::FullControl);
        let all = to(Type::Group, None, Some("http://all"), Permission::Read);
        let owner = Owner::builder().id("me").build();
        let answer = |grants: Vec<Grant>| {
            GetObjectAclOutput::builder().owner(owner.clone()).set_grants(Some(grants)).build()
        };
        let wanted = r#"{"grants":[{"grantee":{"id":"me"},"permission":"FULL_CONTROL"},{"grantee":{"uri":"http://all"},"permission":"READ"}],"owner":"me"}"#;
        assert_eq!(acl_text(&answer(vec![one.clone(), all.clone()])), wanted);
        assert_eq!(acl_text(&answer(vec![all.clone(), one, all])), wanted);
    }
}
