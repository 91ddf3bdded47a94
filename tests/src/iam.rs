//! Policies in AWS's words, and what they say of a request to S3: so that a printed policy is enforced before a
//! server that knows no conditions.
//!
//! What a request asks for is read off its first line and its head, as AWS documents it for its operations. What is not
//! known here is never allowed: a request gets a no, a word of a policy a panic. On purpose not here: principals,
//! other services, and what the client of the store is supposed to ask for.

use serde_json::Value;
use std::collections::BTreeMap;

/// Words of a query that say how, not what.
const MANNERS: [&str; 8] = [
    "continuation-token",
    "delimiter",
    "encoding-type",
    "list-type",
    "max-keys",
    "prefix",
    "start-after",
    "x-id",
];
/// Heads of a request that ask for more than its operation: what they need is not known here.
const MORE: [&str; 5] =
    ["x-amz-acl", "x-amz-copy-source", "x-amz-grant-read", "x-amz-object-lock-mode", "x-amz-tagging"];
const PREFIX: &str = "s3:prefix";
const IF_NONE_MATCH: &str = "s3:if-none-match";
const CREATES: &str = "s3:ObjectCreationOperation";

/// What a request asks to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The action, as in `s3:GetObject`.
    pub action: &'static str,
    /// What it is about, as an ARN.
    pub resource: String,
    keys: BTreeMap<&'static str, String>,
}

impl Asked {
    /// Reads it off the first line of a request and its whole head; none where no operation is known for it.
    #[must_use]
    pub fn of(line: &str, head: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decoded(path.trim_start_matches('/'))?;
        let (bucket, name) = path.split_once('/').unwrap_or((&path, ""));
        let mut asks = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (word, value) = pair.split_once('=').unwrap_or((pair, ""));
            asks.insert(decoded(word)?, decoded(value)?);
        }
        let heads = heads(head);
        if MORE.iter().any(|more| heads.contains_key(*more)) {
            return None;
        }
        let what: Vec<&str> =
            asks.keys().map(String::as_str).filter(|word| !MANNERS.contains(word)).collect();
        let (action, creates) = operation(method, !name.is_empty(), &what)?;
        let mut keys = BTreeMap::new();
        keys.extend(creates.map(|creates| (CREATES, creates.to_string())));
        keys.extend(heads.get("if-none-match").map(|value| (IF_NONE_MATCH, value.clone())));
        if action == "s3:ListBucket" {
            keys.extend(asks.get("prefix").map(|prefix| (PREFIX, prefix.clone())));
        }
        let below = if name.is_empty() { String::new() } else { format!("/{name}") };
        Some(Self { action, resource: format!("arn:aws:s3:::{bucket}{below}"), keys })
    }

    /// What is asked besides, where an object is read that may not be there: whoever may not list its name is not told
    /// that it is missing, but refused.
    #[must_use]
    pub fn whether_it_is_there(&self) -> Option<Self> {
        let (bucket, name) = self.resource.split_once('/').filter(|_| self.action == "s3:GetObject")?;
        let keys = BTreeMap::from([(PREFIX, name.to_owned())]);
        Some(Self { action: "s3:ListBucket", resource: bucket.to_owned(), keys })
    }
}

/// The action of an operation, and for an action that makes objects whether this one does.
fn operation(method: &str, is_object: bool, what: &[&str]) -> Option<(&'static str, Option<bool>)> {
    Some(match (method, is_object, what) {
        ("GET", false, []) => ("s3:ListBucket", None),
        ("GET", false, ["lifecycle"]) => ("s3:GetLifecycleConfiguration", None),
        ("GET", false, ["object-lock"]) => ("s3:GetBucketObjectLockConfiguration", None),
        ("GET", false, ["replication"]) => ("s3:GetReplicationConfiguration", None),
        ("GET", false, ["uploads"]) => ("s3:ListBucketMultipartUploads", None),
        ("GET", false, ["versioning"]) => ("s3:GetBucketVersioning", None),
        ("GET", false, ["versions"]) => ("s3:ListBucketVersions", None),
        ("GET" | "HEAD", true, []) => ("s3:GetObject", None),
        ("GET" | "HEAD", true, ["versionId"]) => ("s3:GetObjectVersion", None),
        ("PUT", true, []) | ("POST", true, ["uploadId"]) => ("s3:PutObject", Some(true)),
        ("PUT", true, ["partNumber", "uploadId"]) | ("POST", true, ["uploads"]) => {
            ("s3:PutObject", Some(false))
        }
        ("DELETE", true, []) => ("s3:DeleteObject", None),
        ("DELETE", true, ["uploadId"]) => ("s3:AbortMultipartUpload", None),
        ("DELETE", true, ["versionId"]) => ("s3:DeleteObjectVersion", None),
        _ => return None,
    })
}

/// A policy as it is printed.
#[derive(Debug, Clone)]
pub struct Policy(Vec<Value>);

impl Policy {
    /// Reads one.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let policy: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(policy["Version"], "2012-10-17");
        Self(policy["Statement"].as_array().expect("statements").clone())
    }

    /// Whether a request goes through: some statement allows it and none denies it.
    ///
    /// # Panics
    /// A statement has a word that is not known here.
    #[must_use]
    pub fn allows(&self, asked: &Asked) -> bool {
        let says = |effect: &str| {
            self.0.iter().filter(|statement| statement["Effect"] == effect).any(|one| fits(one, asked))
        };
        says("Allow") && !says("Deny")
    }

    /// The same of what it reads, where that may be missing.
    #[must_use]
    pub fn answers(&self, asked: &Asked) -> bool {
        self.allows(asked) && asked.whether_it_is_there().is_none_or(|asked| self.allows(&asked))
    }
}

fn fits(statement: &Value, asked: &Asked) -> bool {
    for word in statement.as_object().expect("a statement").keys() {
        assert!(["Sid", "Effect", "Action", "Resource", "Condition"].contains(&&**word), "{word}?");
    }
    let any = |field: &str, value: &str| texts(&statement[field]).iter().any(|pattern| like(pattern, value));
    let operators = statement["Condition"].as_object().into_iter().flatten();
    let mut conditions = operators
        .flat_map(|(operator, keys)| keys.as_object().expect("keys").iter().map(move |key| (operator, key)));
    any("Action", asked.action)
        && any("Resource", &asked.resource)
        && conditions.all(|(operator, (key, values))| holds(operator, key, &texts(values), asked))
}

fn holds(operator: &str, key: &str, values: &[&str], asked: &Asked) -> bool {
    assert!([PREFIX, IF_NONE_MATCH, CREATES].contains(&key), "{key}?");
    let value = asked.keys.get(key);
    let is_any = |fits: &dyn Fn(&str) -> bool| values.iter().any(|wanted| fits(wanted));
    match operator {
        "Null" => is_any(&|wanted| (wanted == "true") == value.is_none()),
        "Bool" => value.is_some_and(|value| is_any(&|wanted| wanted == value)),
        "StringLike" => value.is_some_and(|value| is_any(&|wanted| like(wanted, value))),
        _ => panic!("{operator}?"),
    }
}

/// One text or several.
fn texts(value: &Value) -> Vec<&str> {
    match value.as_array() {
        Some(all) => all.iter().map(|text| text.as_str().expect("a text")).collect(),
        None => vec![value.as_str().expect("a text")],
    }
}

/// Whether a pattern fits, in which `*` stands for anything and `?` for one character.
fn like(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| like(rest, text))),
        _ => text.strip_prefix(|next| first == '?' || next == first).is_some_and(|text| like(rest, text)),
    }
}

fn heads(head: &str) -> BTreeMap<String, String> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// Undoes `%2F` and the like.
fn decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(piece.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use serde_json::json;

    fn asked(line: &str, heads: &str) -> Option<Asked> {
        Asked::of(&format!("{line} HTTP/1.1"), &format!("{line} HTTP/1.1\r\nHost: x\r\n{heads}\r\n\r\n"))
    }

    fn policy(statements: &Value) -> Policy {
        Policy::parse(&json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
    }

    #[test]
    fn requests_ask_for_what_aws_says() {
        let of = |line: &str| asked(line, "").map(|asked| (asked.action, asked.resource));
        let object = || "arn:aws:s3:::b/x/a b".to_owned();
        assert_eq!(of("GET /b/x/a%20b?x-id=GetObject"), Some(("s3:GetObject", object())));
        assert_eq!(of("HEAD /b/x/a%20b"), Some(("s3:GetObject", object())));
        assert_eq!(of("DELETE /b/x/a%20b?x-id=DeleteObject"), Some(("s3:DeleteObject", object())));
        assert_eq!(of("DELETE /b/x/a%20b?versionId=1"), Some(("s3:DeleteObjectVersion", object())));
        assert_eq!(of("DELETE /b/x/a%20b?uploadId=1"), Some(("s3:AbortMultipartUpload", object())));
        assert_eq!(of("GET /b/?list-type=2&prefix=x%2F").unwrap().0, "s3:ListBucket");
        assert_eq!(of("GET /b/?versions").unwrap().0, "s3:ListBucketVersions");
        assert_eq!((of("POST /b/?delete"), of("PUT /b/x?tagging"), of("DELETE /b")), (None, None, None));
        assert_eq!(asked("PUT /b/x", "x-amz-copy-source: /c/y"), None);
        let creates = |line: &str| asked(line, "").unwrap().keys.get(CREATES).cloned().unwrap();
        for line in ["PUT /b/x?x-id=PutObject", "POST /b/x?uploadId=1"] {
            assert_eq!(creates(line), "true", "{line}");
        }
        for line in ["PUT /b/x?partNumber=1&uploadId=1", "POST /b/x?uploads"] {
            assert_eq!(creates(line), "false", "{line}");
        }
    }

    #[test]
    fn nothing_goes_that_is_not_allowed_or_is_denied() {
        let read = json!({ "Effect": "Allow", "Action": ["s3:Get*"], "Resource": "arn:aws:s3:::b/x/*" });
        let not = json!({ "Effect": "Deny", "Action": "*", "Resource": ["arn:aws:s3:::b/x/k?ys/*"] });
        let (one, both) = (policy(&json!([read])), policy(&json!([read, not])));
        let get = |name: &str| asked(&format!("GET /b/{name}"), "").unwrap();
        assert!(one.allows(&get("x/keys/1")) && !one.allows(&get("y/keys/1")) && !one.allows(&get("x")));
        assert!(!both.allows(&get("x/keys/1")) && both.allows(&get("x/key/1")));
        assert!(!one.allows(&asked("PUT /b/x/1", "").unwrap()));
        assert!(!one.answers(&get("x/keys/1")), "whether it is there is not for who may not list");
    }

    #[test]
    fn conditions_hold_where_their_key_is_there_and_fits() {
        let with = |condition: Value| {
            policy(&json!([{ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition }]))
        };
        let new = with(json!({ "Null": { IF_NONE_MATCH: "false" } }));
        assert!(new.allows(&asked("PUT /b/x", "If-None-Match: *").unwrap()));
        assert!(!new.allows(&asked("PUT /b/x", "").unwrap()));
        let parts = with(json!({ "Bool": { CREATES: "false" } }));
        assert!(parts.allows(&asked("PUT /b/x?partNumber=1&uploadId=1", "").unwrap()));
        assert!(!parts.allows(&asked("PUT /b/x", "").unwrap()));
        assert!(!parts.allows(&asked("GET /b/x", "").unwrap()));
        let below = with(json!({ "StringLike": { PREFIX: ["x/*"] } }));
        assert!(below.allows(&asked("GET /b?list-type=2&prefix=x%2Fy", "").unwrap()));
        assert!(!below.allows(&asked("GET /b?list-type=2&prefix=y", "").unwrap()));
        assert!(!below.allows(&asked("GET /b?list-type=2", "").unwrap()));
    }
}
