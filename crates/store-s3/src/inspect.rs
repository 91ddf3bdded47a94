//! Reads the rules of a bucket that could harm a repository in it, or keep prune from freeing
//! anything: its lifecycle, versions, locks, replication; and the server's clock.
//!
//! On purpose not here: whether the server keeps its word, which [`crate::probe()`] finds out.

use crate::bucket::S3Store;
use crate::error::Answer;
use aws_sdk_s3::types::{BucketVersioningStatus, ExpirationStatus, LifecycleRule, LifecycleRuleFilter};

/// A clock that differs by more is told of: servers refuse requests from a quarter of an hour on.
const SKEW_SECONDS: i64 = 120;

/// Something to know of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it will harm the repository.
    pub harmful: bool,
    /// What it is, what it does, and what to do.
    pub what: String,
}

impl Finding {
    fn harm(what: String) -> Self {
        Self { harmful: true, what }
    }

    fn note(what: String) -> Self {
        Self { harmful: false, what }
    }
}

/// Reads what can be read; what may not be read is a finding too. `now` is what this host takes for
/// the time, in seconds since 1970.
pub async fn inspect(store: &S3Store, now: i64) -> Vec<Finding> {
    let bucket = store.bucket();
    let (client, name) = (bucket.client(), bucket.bucket());
    let mut found = Vec::new();
    let lifecycle = client.get_bucket_lifecycle_configuration().bucket(name).send().await.map_err(Answer::of);
    let rules = match lifecycle {
        Ok(lifecycle) => lifecycle.rules.unwrap_or_default(),
        Err(answer) => {
            found.extend(unread("lifecycle", &answer));
            Vec::new()
        }
    };
    found.extend(rules.iter().filter_map(|rule| of_rule(rule, bucket.prefix())));
    match client.get_bucket_versioning().bucket(name).send().await.map_err(Answer::of) {
        Ok(versioning) => {
            let frees =
                rules.iter().any(|rule| is_enabled(rule) && rule.noncurrent_version_expiration.is_some());
            if versioning.status == Some(BucketVersioningStatus::Enabled) && !frees {
                found.push(Finding::note(
                    "the bucket keeps versions and has no rule for noncurrent ones: prune will free \
                     nothing; add a lifecycle rule that lets noncurrent versions expire"
                        .to_owned(),
                ));
            }
        }
        Err(answer) => found.extend(unread("versioning", &answer)),
    }
    match client.get_bucket_replication().bucket(name).send().await.map_err(Answer::of) {
        Ok(replication) => {
            let rules = replication.replication_configuration.map_or(0, |rules| rules.rules.len());
            if rules > 0 {
                found.push(Finding::note(
                    "the bucket is replicated, in any order: a replica is good for restores only, and only \
                     after `holdfast check`; `holdfast copy` keeps the order"
                        .to_owned(),
                ));
            }
        }
        Err(answer) => found.extend(unread("replication", &answer)),
    }
    match client.get_object_lock_configuration().bucket(name).send().await.map_err(Answer::of) {
        Ok(lock) => {
            let rule = lock.object_lock_configuration.and_then(|lock| lock.rule);
            if let Some(retention) = rule.and_then(|rule| rule.default_retention) {
                let days = retention.days.or(retention.years.map(|years| years * 365)).unwrap_or_default();
                found.push(Finding::note(format!(
                    "new objects are locked for {days} days: what prune frees is gone only after that"
                )));
            }
        }
        Err(answer) => found.extend(unread("object lock", &answer)),
    }
    found.extend(skew(bucket.meter().server_time(), now));
    found
}

/// A configuration that is not there is none; one that may not be read is told of.
fn unread(what: &str, answer: &Answer) -> Option<Finding> {
    answer.is_denied().then(|| {
        Finding::note(format!(
            "the {what} of the bucket may not be read, and was not looked at: {}",
            answer.text()
        ))
    })
}

fn is_enabled(rule: &LifecycleRule) -> bool {
    rule.status == ExpirationStatus::Enabled
}

/// What a rule does to objects below a prefix, if it does anything that harms.
fn of_rule(rule: &LifecycleRule, prefix: &str) -> Option<Finding> {
    #[expect(deprecated, reason = "old rules state their prefix in the old place")]
    let old = rule.prefix.as_deref();
    let filter = rule.filter.as_ref();
    let together = |filter: &LifecycleRuleFilter| filter.and.as_ref().and_then(|and| and.prefix.clone());
    let new = filter.and_then(|filter| filter.prefix.clone().or_else(|| together(filter)));
    let scope = new.as_deref().or(old).unwrap_or_default();
    if !is_enabled(rule) || !(scope.starts_with(prefix) || prefix.starts_with(scope)) {
        return None;
    }
    let name = rule.id.as_deref().unwrap_or("without a name");
    if let Some(days) = rule.expiration.as_ref().and_then(|expiration| expiration.days) {
        return Some(Finding::harm(format!(
            "lifecycle rule `{name}` deletes objects of the repository after {days} days: snapshots will not \
             restore; limit it to other prefixes"
        )));
    }
    let archives = |class: &str| class == "GLACIER" || class == "DEEP_ARCHIVE";
    let transition = rule
        .transitions()
        .iter()
        .find(|transition| transition.storage_class.as_ref().is_some_and(|class| archives(class.as_str())))?;
    let days = transition.days.unwrap_or_default();
    Some(Finding::harm(format!(
        "lifecycle rule `{name}` moves objects of the repository into an archive after {days} days: restores and \
         checks will fail until they are brought back; limit it to other prefixes"
    )))
}

fn skew(server: Option<i64>, here: i64) -> Option<Finding> {
    let differ = here.saturating_sub(server?);
    (differ.abs() > SKEW_SECONDS).then(|| {
        let (minutes, how) = (differ.abs() / 60, if differ > 0 { "ahead of" } else { "behind" });
        Finding::note(format!(
            "this clock is {minutes} minutes {how} the server's: from a quarter of an hour on requests are refused"
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{
        LifecycleExpiration, LifecycleRuleAndOperator, Transition, TransitionStorageClass,
    };

    fn rule(scope: &str) -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
        let filter = LifecycleRuleFilter::builder().prefix(scope).build();
        LifecycleRule::builder().id("r").status(ExpirationStatus::Enabled).filter(filter)
    }

    #[test]
    fn rules_that_touch_the_repository_are_harmful() {
        let expire = LifecycleExpiration::builder().days(30).build();
        let archive =
            Transition::builder().days(9).storage_class(TransitionStorageClass::DeepArchive).build();
        let infrequent =
            Transition::builder().days(9).storage_class(TransitionStorageClass::StandardIa).build();
        let harmful = |rule: LifecycleRule| of_rule(&rule, "hosts/").is_some_and(|found| found.harmful);
        assert!(harmful(rule("").expiration(expire.clone()).build().unwrap()));
        assert!(harmful(rule("hosts/packs/").expiration(expire.clone()).build().unwrap()));
        assert!(!harmful(rule("other/").expiration(expire.clone()).build().unwrap()));
        let and = LifecycleRuleAndOperator::builder().prefix("other/").build();
        let filter = LifecycleRuleFilter::builder().and(and).build();
        assert!(!harmful(rule("").filter(filter).expiration(expire.clone()).build().unwrap()));
        let off = rule("").status(ExpirationStatus::Disabled).expiration(expire);
        assert!(!harmful(off.build().unwrap()));
        assert!(harmful(rule("host").transitions(archive).build().unwrap()));
        assert!(!harmful(rule("host").transitions(infrequent).build().unwrap()));
    }

    #[test]
    fn a_clock_that_differs_is_told_of() {
        assert_eq!(skew(None, 1_000_000), None);
        assert_eq!(skew(Some(1_000_000), 1_000_100), None);
        assert!(skew(Some(1_000_000), 1_001_020).unwrap().what.contains("17 minutes ahead"));
        assert!(skew(Some(1_000_000), 0).unwrap().what.contains("behind"));
    }
}
