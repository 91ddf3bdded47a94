//! What a role has to be allowed in a bucket, and nothing more, as a policy in AWS's words.
//!
//! On purpose not here: who is allowed; that is for whoever attaches the policy.

use crate::address::Address;
use serde_json::{Value, json};

/// Roles that a policy can be printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRole {
    /// Backs up: adds, and can neither replace nor delete.
    Writer,
    /// Forgets and prunes: adds and deletes what prune deletes, can replace nothing.
    Maintainer,
    /// Restores and checks: adds nothing but evidence of it.
    Reader,
    /// Fetches logs: reads those and what opens them, adds nothing.
    LogReader,
}

/// Below these a backup adds objects.
const WRITTEN: [&str; 4] = ["index/delta/*", "packs/*", "sessions/*", "wal/*"];
/// What fetching a log reads.
const LOGS: [&str; 5] = ["holdfast.json", "keys/*", "members/*", "shredded", "wal/*"];
/// Below this whoever opens the repository adds records of what it saw; nobody deletes any.
const EVIDENCE: &str = "evidence/*";
/// Below these a maintainer adds and deletes objects. Roots stay for ever.
const MAINTAINED: [&str; 6] = ["index/*", "lists/*", "packs/*", "sessions/*", "snapshots/*", "wal/*"];

/// What one member adds below its own names, in the place of what all writers may.
fn written_by(member: &str) -> [String; 4] {
    let own = |folder: &str| format!("{folder}/*/{member}-*");
    [own("index/delta"), own("packs"), own("sessions"), "wal/*".to_owned()]
}

/// Returns the policy as JSON. With a principal it is one for the bucket, without one it is for
/// the user or role that it will be attached to. With a member, by its id in hexadecimal, a writer
/// adds below its own names only, and nobody adds evidence for others.
#[must_use]
pub fn policy(address: &Address, role: PolicyRole, member: Option<&str>, principal: Option<&str>) -> String {
    let (evidence, packs, written) = match member {
        None => (EVIDENCE.to_owned(), "packs/*".to_owned(), WRITTEN.map(str::to_owned)),
        Some(member) => (format!("evidence/{member}/*"), format!("packs/*/{member}-*"), written_by(member)),
    };
    let written = written.each_ref().map(String::as_str);
    let evidence = evidence.as_str();
    let bucket = format!("arn:aws:s3:::{}", address.bucket);
    let below = |names: &[&str]| {
        let prefix = &address.prefix;
        let domains = names.iter().filter(|name| **name != "*").map(|name| format!("domains/*/{name}"));
        let names = names.iter().map(|&name| name.to_owned()).chain(domains);
        names.map(|name| format!("{bucket}/{prefix}{name}")).collect::<Vec<_>>()
    };
    let read = below(if role == PolicyRole::LogReader { &LOGS } else { &["*"] });
    let mut statements = vec![
        statement("Look", &["s3:ListBucket"], std::slice::from_ref(&bucket), &listed(&bucket, &read)),
        statement("Read", &["s3:GetObject"], &read, &Value::Null),
    ];
    let mut add = |names: &[&str]| {
        // Whoever adds has to say that nothing may be replaced; parts of an upload cannot say so,
        // and replace nothing.
        let only_new = json!({ "Null": { "s3:if-none-match": "false" } });
        let parts = json!({ "Bool": { "s3:ObjectCreationOperation": "false" } });
        statements.push(statement("Add", &["s3:PutObject"], &below(names), &only_new));
        statements.push(statement("AddParts", &["s3:PutObject"], &below(names), &parts));
    };
    match role {
        PolicyRole::Reader => add(&[evidence]),
        PolicyRole::LogReader => {}
        PolicyRole::Writer => {
            add(&[&written[..], &[evidence]].concat());
            let packs = below(&[&packs]);
            statements.push(statement("GiveUpParts", &["s3:AbortMultipartUpload"], &packs, &Value::Null));
        }
        PolicyRole::Maintainer => {
            add(&[&MAINTAINED[..], &[evidence, "probe/*", "roots/*"]].concat());
            let deleted = below(&[&MAINTAINED[..], &["probe/*"]].concat());
            let delete = ["s3:AbortMultipartUpload", "s3:DeleteObject"];
            statements.push(statement("Delete", &delete, &deleted, &Value::Null));
            let rules = [
                "s3:GetBucketObjectLockConfiguration",
                "s3:GetBucketVersioning",
                "s3:GetLifecycleConfiguration",
                "s3:GetReplicationConfiguration",
                "s3:ListBucketMultipartUploads",
            ];
            statements.push(statement("Rules", &rules, std::slice::from_ref(&bucket), &Value::Null));
        }
    }
    if let Some(principal) = principal {
        for statement in &mut statements {
            statement["Principal"] = json!({ "AWS": principal });
        }
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    serde_json::to_string_pretty(&policy).expect("strings")
}

/// Lists what may be read, and nothing else.
fn listed(bucket: &str, read: &[String]) -> Value {
    let names = read.iter().map(|name| name[bucket.len() + 1..].to_owned()).collect::<Vec<_>>();
    match &*names {
        [all] if all == "*" => Value::Null,
        _ => json!({ "StringLike": { "s3:prefix": names } }),
    }
}

fn statement(name: &str, actions: &[&str], resources: &[String], condition: &Value) -> Value {
    let mut statement = json!({ "Sid": name, "Effect": "Allow", "Action": actions, "Resource": resources });
    if !condition.is_null() {
        statement["Condition"] = condition.clone();
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(role: PolicyRole) -> String {
        let address = Address { bucket: "backups".into(), prefix: "web1/".into(), ..Address::default() };
        policy(&address, role, None, None)
    }

    #[test]
    fn only_a_maintainer_deletes_and_nobody_replaces() {
        assert!(of(PolicyRole::Maintainer).contains("s3:DeleteObject"));
        for role in [PolicyRole::Writer, PolicyRole::Reader] {
            assert!(!of(role).contains("Delete"), "{role:?}");
        }
        for role in [PolicyRole::Writer, PolicyRole::Maintainer, PolicyRole::Reader] {
            let policy: Value = serde_json::from_str(&of(role)).expect("JSON");
            for statement in policy["Statement"].as_array().expect("statements") {
                let puts = statement["Action"].to_string().contains("PutObject");
                assert_eq!(
                    puts,
                    statement["Condition"].to_string().contains("if-none-match")
                        || statement["Condition"].to_string().contains("ObjectCreationOperation")
                );
                let resources = statement["Resource"].to_string();
                assert!(!resources.contains("backups/*") && !resources.contains("roots/*") || puts);
            }
        }
    }

    #[test]
    fn all_add_evidence_and_nobody_deletes_any() {
        for role in [PolicyRole::Writer, PolicyRole::Maintainer, PolicyRole::Reader] {
            let policy: Value = serde_json::from_str(&of(role)).expect("JSON");
            let names: Vec<_> = policy["Statement"]
                .as_array()
                .expect("statements")
                .iter()
                .filter(|statement| statement["Resource"].to_string().contains("evidence/*"))
                .map(|statement| statement["Sid"].as_str().expect("a name"))
                .collect();
            assert_eq!(names, ["Add", "AddParts"], "{role:?}");
        }
        let reader: Value = serde_json::from_str(&of(PolicyRole::Reader)).expect("JSON");
        assert_eq!(reader["Statement"][2]["Resource"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn who_fetches_logs_reads_those_and_adds_nothing() {
        let policy: Value = serde_json::from_str(&of(PolicyRole::LogReader)).expect("JSON");
        let statements = policy["Statement"].as_array().expect("statements");
        let names: Vec<_> = statements.iter().map(|statement| statement["Sid"].as_str()).collect();
        assert_eq!(names, [Some("Look"), Some("Read")]);
        let read = statements[1]["Resource"].to_string();
        assert!(
            read.contains("backups/web1/wal/*") && read.contains("backups/web1/domains/*/wal/*"),
            "{read}"
        );
        assert!(!read.contains("packs") && !read.contains("web1/*\""), "{read}");
        let listed = &statements[0]["Condition"]["StringLike"]["s3:prefix"];
        let listed: Vec<_> = listed.as_array().expect("prefixes").iter().filter_map(Value::as_str).collect();
        assert_eq!(listed.len(), 2 * LOGS.len());
        assert!(listed.contains(&"web1/wal/*") && !listed.contains(&"web1/*"), "{listed:?}");
    }

    #[test]
    fn a_member_adds_below_its_own_names_only() {
        let address = Address { bucket: "backups".into(), ..Address::default() };
        let member = "0123456789abcdef0123456789abcdef";
        let text = policy(&address, PolicyRole::Writer, Some(member), None);
        let policy: Value = serde_json::from_str(&text).expect("JSON");
        let adds = policy["Statement"].as_array().expect("statements").iter();
        let adds = adds.filter(|statement| statement["Sid"] != "Look" && statement["Sid"] != "Read");
        let resources: Vec<String> = adds
            .flat_map(|statement| statement["Resource"].as_array().cloned().unwrap_or_default())
            .filter_map(|resource| resource.as_str().map(str::to_owned))
            .collect();
        assert!(resources.len() > 8);
        for resource in resources {
            assert!(resource.contains(member) || resource.ends_with("wal/*"), "{resource}");
        }
    }

    #[test]
    fn a_principal_makes_it_a_policy_of_the_bucket() {
        let address = Address { bucket: "backups".into(), ..Address::default() };
        let text = policy(&address, PolicyRole::Reader, None, Some("arn:aws:iam::1:user/x"));
        assert_eq!(text.matches("arn:aws:iam::1:user/x").count(), 4);
        assert!(text.contains("arn:aws:s3:::backups/*") && !text.contains("s3:prefix"));
    }
}
