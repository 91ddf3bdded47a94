//! The configuration of a bucket: what a server answers when it is asked for it, part by part, as one
//! document that says the same whenever nothing changed.
//!
//! All parts are asked for and set in the same way, by a word in the query, and come and go as they
//! are: what this program does not know of a part is kept too. So one call of the client library
//! stands for all of them. On purpose not here: how the document becomes an entry, and what of it is
//! set where; what has a name of its own and may be there many times (inventories, metrics).

mod ask;
mod capture;
mod markup;

pub(crate) use ask::Asked;
pub(crate) use capture::{Captured, capture};

use markup::{Element, indented};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The form of the document.
const FORMAT: u32 = 1;

/// A part of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The word in the query; also its name in the document.
    pub name: &'static str,
    /// The outermost element of its XML; none of a part that is JSON.
    root: Option<&'static str>,
    /// The right to it, behind `s3:Get` and `s3:Put`.
    right: &'static str,
}

const fn xml(name: &'static str, root: &'static str, right: &'static str) -> Part {
    Part { name, root: Some(root), right }
}

/// All parts, in the order in which they are set: what others rest on comes first, and what acts on
/// its own last.
pub const PARTS: [Part; 15] = [
    xml("versioning", "VersioningConfiguration", "BucketVersioning"),
    xml("ownershipControls", "OwnershipControls", "BucketOwnershipControls"),
    xml("publicAccessBlock", "PublicAccessBlockConfiguration", "BucketPublicAccessBlock"),
    xml("object-lock", "ObjectLockConfiguration", "BucketObjectLockConfiguration"),
    xml("encryption", "ServerSideEncryptionConfiguration", "EncryptionConfiguration"),
    xml("tagging", "Tagging", "BucketTagging"),
    xml("cors", "CORSConfiguration", "BucketCORS"),
    xml("website", "WebsiteConfiguration", "BucketWebsite"),
    xml("logging", "BucketLoggingStatus", "BucketLogging"),
    xml("requestPayment", "RequestPaymentConfiguration", "BucketRequestPayment"),
    xml("accelerate", "AccelerateConfiguration", "AccelerateConfiguration"),
    Part { name: "policy", root: None, right: "BucketPolicy" },
    xml("lifecycle", "LifecycleConfiguration", "LifecycleConfiguration"),
    xml("notification", "NotificationConfiguration", "BucketNotification"),
    xml("replication", "ReplicationConfiguration", "ReplicationConfiguration"),
];

impl Part {
    /// The part of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PARTS.iter().find(|part| part.name == name)
    }

    /// What has to be allowed to read it.
    fn right_to_read(&self) -> String {
        format!("s3:Get{}", self.right)
    }

    /// What has to be allowed to set it.
    fn right_to_set(&self) -> String {
        format!("s3:Put{}", self.right)
    }

    /// What an answer says; none if that is nothing, or no answer to what was asked: there are servers
    /// that take what they do not know for something else.
    fn document(&self, text: &str) -> Option<Value> {
        let Some(root) = self.root else {
            let policy: Value = serde_json::from_str(text).ok()?;
            return policy.as_object().is_some_and(|object| !object.is_empty()).then_some(policy);
        };
        let element = Element::parse(text).filter(|element| element.name() == root)?;
        if element.is_empty() || element.is_only("Payer", "BucketOwner") {
            return None;
        }
        Some(Value::String(match self.name {
            // Some servers have tags in another order each time.
            "tagging" => element.with_sorted("TagSet").text(),
            _ => text.trim().to_owned(),
        }))
    }
}

/// The configuration of a bucket, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    documents: BTreeMap<String, Value>,
    /// Parts that could not be read, and why; of what was kept only which.
    unread: BTreeMap<String, String>,
}

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    documents: BTreeMap<String, Value>,
    format: u32,
    #[serde(default)]
    unread: BTreeSet<String>,
}

/// How a part of two configurations differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Both have it, and not the same.
    Other {
        /// Its lines in the snapshot.
        wanted: Vec<String>,
        /// Its lines in the bucket.
        there: Vec<String>,
    },
    /// Only the snapshot has it.
    Missing(Vec<String>),
    /// Only the bucket has it.
    Extra(Vec<String>),
    /// The bucket has it, or may; of the snapshot nothing is known, as it could not be read then.
    NotKept,
    /// What the bucket has could not be read; why.
    Unknown(String),
}

impl Configuration {
    /// Reads what was written down; none if it cannot be understood.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let written: Written =
            serde_json::from_slice(bytes).ok().filter(|it: &Written| it.format == FORMAT)?;
        let unread = written.unread.into_iter().map(|name| (name, String::new())).collect();
        Some(Self { documents: written.documents, unread })
    }

    /// Writes it down: the same of the same.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let unread = self.unread.keys().cloned().collect();
        let written = Written { documents: self.documents.clone(), format: FORMAT, unread };
        let mut text = serde_json::to_vec_pretty(&written).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// What it says of a part.
    pub(crate) fn document(&self, name: &str) -> Option<&Value> {
        self.documents.get(name)
    }

    /// Whether it says the same of a part as an answer.
    pub(crate) fn is_same(&self, name: &str, answer: Option<&Value>) -> bool {
        self.document(name).map(lines_of) == answer.map(lines_of)
    }

    /// What differs between a kept one and that of a bucket, by part.
    #[must_use]
    pub fn differences(&self, there: &Self) -> Vec<(String, Difference)> {
        let all = [&self.documents, &there.documents].into_iter().flat_map(BTreeMap::keys);
        let names: BTreeSet<_> = all.cloned().collect();
        let found = names.into_iter().filter_map(|name| self.difference(&name, there).map(|it| (name, it)));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|(name, _)| PARTS.iter().position(|part| part.name == name));
        found
    }

    fn difference(&self, name: &str, there: &Self) -> Option<Difference> {
        let lines = |of: &Self| of.documents.get(name).map(lines_of);
        match (lines(self), lines(there)) {
            (Some(_), None) if there.unread.contains_key(name) => {
                Some(Difference::Unknown(there.unread[name].clone()))
            }
            (None, Some(_)) if self.unread.contains_key(name) => Some(Difference::NotKept),
            (Some(wanted), Some(there)) if wanted != there => Some(Difference::Other { wanted, there }),
            (Some(wanted), None) => Some(Difference::Missing(wanted)),
            (None, Some(there)) => Some(Difference::Extra(there)),
            _ => None,
        }
    }
}

/// A document in lines, written in one way whatever way it came.
fn lines_of(document: &Value) -> Vec<String> {
    match document {
        Value::String(text) => match Element::parse(text) {
            Some(element) => indented(&element),
            None => text.lines().map(str::to_owned).collect(),
        },
        value => {
            let text = serde_json::to_string_pretty(value).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    fn of(documents: &[(&str, &str)], unread: &[&str]) -> Configuration {
        let document = |(name, text): &(&str, &str)| {
            Some(((*name).to_owned(), Part::named(name).unwrap().document(text)?))
        };
        Configuration {
            documents: documents.iter().filter_map(document).collect(),
            unread: unread.iter().map(|name| ((*name).to_owned(), "denied".to_owned())).collect(),
        }
    }

    const CORS: &str = "<?xml version=\"1.0\"?><CORSConfiguration xmlns=\"x\"><CORSRule>\
                        <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";

    #[test]
    fn what_was_written_is_read_and_the_same_is_written_again() {
        let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let one = of(&[("cors", CORS), ("policy", policy)], &["lifecycle"]);
        let bytes = one.encode();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains("\"format\": 1") && text.contains("\"2012-10-17\"") && text.ends_with("}\n"));
        let read = Configuration::decode(&bytes).unwrap();
        assert_eq!((read.documents.len(), read.encode()), (2, bytes));
        assert_eq!(Configuration::decode(b"{}"), None);
        assert_eq!(Configuration::decode(br#"{"documents":{},"format":2}"#), None);
    }

    #[test]
    fn what_is_not_configured_or_no_answer_is_nothing() {
        let nothing = of(
            &[
                ("versioning", "<VersioningConfiguration xmlns=\"x\"/>"),
                ("notification", "<NotificationConfiguration></NotificationConfiguration>"),
                (
                    "requestPayment",
                    "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
                ),
                ("website", "<ListBucketResult><Name>b</Name></ListBucketResult>"),
                ("policy", "<ListBucketResult/>"),
                ("cors", "not found"),
            ],
            &[],
        );
        assert_eq!(nothing, Configuration::default());
    }

    #[test]
    fn tags_have_an_order() {
        let tags = |keys: [&str; 2]| {
            let tag = |key: &str| format!("<Tag><Key>{key}</Key><Value>v</Value></Tag>");
            format!("<Tagging><TagSet>{}{}</TagSet></Tagging>", tag(keys[0]), tag(keys[1]))
        };
        let (one, other) =
            (of(&[("tagging", &tags(["a", "b"]))], &[]), of(&[("tagging", &tags(["b", "a"]))], &[]));
        assert_eq!(one.encode(), other.encode());
    }

    #[test]
    fn parts_are_compared_by_what_they_say() {
        let spaced = CORS.replace(" xmlns=\"x\"", "").replace("><", ">\n  <");
        let (one, same) = (of(&[("cors", CORS)], &[]), of(&[("cors", &spaced)], &[]));
        assert!(one.differences(&same).is_empty());
        let put = of(
            &[
                ("cors", &CORS.replace("GET", "PUT")),
                ("tagging", "<Tagging><TagSet><Tag/></TagSet></Tagging>"),
            ],
            &[],
        );
        let found = one.differences(&put);
        assert!(matches!(&found[0], (name, Difference::Extra(_)) if name == "tagging"), "{found:?}");
        let (_, Difference::Other { wanted, there }) = &found[1] else { panic!("{found:?}") };
        assert_eq!(
            (wanted[2].as_str(), there[2].as_str()),
            ("    <AllowedMethod>GET</AllowedMethod>", "    <AllowedMethod>PUT</AllowedMethod>")
        );
        let unread = of(&[], &["cors"]);
        assert!(matches!(one.differences(&unread)[..], [(_, Difference::Unknown(_))]));
        assert_eq!(unread.differences(&one), [("cors".to_owned(), Difference::NotKept)]);
        assert!(matches!(one.differences(&Configuration::default())[..], [(_, Difference::Missing(_))]));
    }
}
