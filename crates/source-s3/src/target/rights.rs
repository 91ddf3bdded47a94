//! Setting access rights of objects, where that is asked for.
//!
//! Rights that the owner had are the owner's again, whoever owns the object here; those of others are
//! theirs. A bucket that does without such rights is told of once. On purpose not here: locks, which
//! could not be taken back.

use super::send::Slot;
use super::shared::Shared;
use crate::beside::acl_text;
use aws_sdk_s3::operation::get_object_acl::GetObjectAclOutput;
use aws_sdk_s3::types::{AccessControlPolicy, Grant, Grantee, Permission, Type};
use holdfast_engine::outcome::ProblemKind;
use holdfast_store_s3::Answer;
use serde::Deserialize;
use std::sync::atomic::Ordering;

/// A bucket in which all objects are their owner's, without rights of their own.
const NO_RIGHTS: &str = "AccessControlListNotSupported";
/// What an owner may.
const ALL: &str = "FULL_CONTROL";

/// Access rights as they were recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Rights {
    grants: Vec<Right>,
    owner: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Right {
    grantee: Option<Who>,
    permission: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Id(String),
    Uri(String),
    Email(String),
}

impl Rights {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Nobody but the owner has any: what an object has that nobody gave rights to.
    pub(super) fn are_plain(&self) -> bool {
        let owner = self.owner.clone().map(Who::Id);
        let mut grants = self.grants.iter();
        grants.all(|right| right.grantee == owner && right.permission.as_deref() == Some(ALL))
    }

    /// The same for an object of somebody.
    fn of(&self, owner: &str) -> Self {
        let whose = |who: &Who| match who {
            Who::Id(id) if Some(id) == self.owner.as_ref() => Who::Id(owner.to_owned()),
            other => other.clone(),
        };
        let right = |right: &Right| Right { grantee: right.grantee.as_ref().map(whose), ..right.clone() };
        let grants = self.grants.iter().map(right).collect();
        Self { grants, owner: Some(owner.to_owned()) }
    }

    /// As a request says it; none if a right is for nobody that can be stated.
    fn policy(&self) -> Option<Vec<Grant>> {
        let grant = |right: &Right| {
            let (kind, grantee) = match right.grantee.as_ref()? {
                Who::Id(id) => (Type::CanonicalUser, Grantee::builder().id(id)),
                Who::Uri(uri) => (Type::Group, Grantee::builder().uri(uri)),
                Who::Email(email) => (Type::AmazonCustomerByEmail, Grantee::builder().email_address(email)),
            };
            let permission = Permission::from(right.permission.as_deref()?);
            Some(Grant::builder().grantee(grantee.r#type(kind).build().ok()?).permission(permission).build())
        };
        self.grants.iter().map(grant).collect()
    }
}

impl Shared {
    /// Gives an object the rights that were recorded of it; whether anything had to be set, or would
    /// have to be.
    pub(super) async fn set_rights(&self, slot: &Slot) -> bool {
        let Some(rights) = slot.recorded.rights.as_ref().filter(|_| self.options.with_acl) else {
            return false;
        };
        // What is new is its owner's alone anyway.
        if self.no_rights.load(Ordering::Relaxed) || slot.there.is_none() && rights.are_plain() {
            return false;
        }
        match self.try_to_set(slot, rights).await {
            Ok(set) => set,
            Err(answer) if answer.is_unknown() || answer.code() == NO_RIGHTS => {
                if !self.no_rights.swap(true, Ordering::Relaxed) {
                    let what = "the bucket has no access rights of single objects: none are set";
                    self.notice(b"", what);
                }
                false
            }
            Err(answer) => {
                let operation = "set the access rights (s3:GetObjectAcl, s3:PutObjectAcl) of";
                self.refused(&slot.path, ProblemKind::Attribute, operation, &slot.name, answer);
                false
            }
        }
    }

    async fn try_to_set(&self, slot: &Slot, rights: &Rights) -> Result<bool, Answer> {
        let (client, bucket) = (&self.place.client, self.place.bucket());
        let there = client.get_object_acl().bucket(bucket).key(&slot.name);
        let there = self.place.ask(&slot.name, there.send()).await?;
        let wanted =
            there.owner().and_then(|owner| owner.id()).map_or_else(|| rights.clone(), |id| rights.of(id));
        let Some(grants) = wanted.policy() else {
            let what = "its access rights are not set: they are for nobody that can be stated";
            self.problem(&slot.path, ProblemKind::Attribute, what);
            return Ok(false);
        };
        let owner = there.owner().cloned();
        let made =
            GetObjectAclOutput::builder().set_owner(owner.clone()).set_grants(Some(grants.clone())).build();
        if acl_text(&made) == acl_text(&there) {
            return Ok(false);
        }
        if self.options.rehearse {
            return Ok(true);
        }
        let policy = AccessControlPolicy::builder().set_grants(Some(grants)).set_owner(owner).build();
        let put = client.put_object_acl().bucket(bucket).key(&slot.name).access_control_policy(policy);
        self.place.ask(&slot.name, put.send()).await.map(|_| true)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn the_owner_here_has_what_the_owner_had() {
        let text = r#"{"grants":[{"grantee":{"id":"me"},"permission":"FULL_CONTROL"},
            {"grantee":{"uri":"http://all"},"permission":"READ"}],"owner":"me"}"#;
        let rights = Rights::parse(text).unwrap();
        assert!(!rights.are_plain());
        let here = rights.of("you");
        assert_eq!(here, Rights::parse(&text.replace("me", "you")).unwrap());
        assert_eq!(here.policy().unwrap().len(), 2);
        let plain = r#"{"grants":[{"grantee":{"id":"me"},"permission":"FULL_CONTROL"}],"owner":"me"}"#;
        assert!(Rights::parse(plain).unwrap().are_plain());
        let nobody = r#"{"grants":[{"grantee":null,"permission":"READ"}],"owner":"me"}"#;
        assert!(Rights::parse(nobody).unwrap().policy().is_none());
        assert_eq!(Rights::parse("{"), None);
    }
}
