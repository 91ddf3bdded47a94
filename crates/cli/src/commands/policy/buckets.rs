//! The buckets that lie beside those of policies, in the same accounts.
//!
//! Only whoever opens a bucket that is backed up is asked what else there is: accounts that hold
//! nothing but backups have nothing to be backed up. On purpose not here: what lies in a bucket.

use super::super::Run;
use super::coverage::{Covered, State};
use crate::hands::OwnHands;
use crate::wire_up::{Address, at_one_server, parse_source};
use holdfast_scheduler::policy::place::with_profile;
use holdfast_scheduler::policy::secret::Credentials;
use holdfast_scheduler::policy::{Kind, Policy};
use std::time::Duration;

/// A server has so long to say which buckets there are.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bucket that a policy names.
#[derive(Debug, Clone, PartialEq)]
struct Named {
    /// `shop/media`; of a place for backups the policy.
    by: String,
    address: Address,
    credentials: Option<Credentials>,
    /// Whether it is backed up; else backups lie in it, or drills restore to it.
    is_source: bool,
}

/// Looks at the accounts of all policies.
pub(super) async fn look(run: &Run, policies: &[&Policy]) -> Vec<Covered> {
    let named: Vec<_> = policies.iter().flat_map(|policy| named(policy)).collect();
    let hands = OwnHands::silent(run);
    let mut covered: Vec<Covered> = Vec::new();
    for account in accounts(&named) {
        let asked = hands.buckets(&account.address, account.credentials.as_ref());
        let listed = match tokio::time::timeout(PATIENCE, asked).await {
            Err(_) => Err(format!("it said nothing for {} s", PATIENCE.as_secs())),
            Ok(Err(fault)) => Err(fault.to_string()),
            Ok(Ok(names)) => Ok(names),
        };
        match listed {
            // Two accounts of one server may see the same buckets.
            Ok(names) => covered.extend(
                names
                    .iter()
                    .filter_map(|name| {
                        let one = of_bucket(name, &account.address, &named);
                        (!covered.iter().any(|known| known.path == one.path)).then_some(one)
                    })
                    .collect::<Vec<_>>(),
            ),
            Err(why) => covered.push(unknown(account, &why)),
        }
    }
    covered
}

/// The buckets that a policy names; a URL that cannot be read names none, and a run says why.
fn named(policy: &Policy) -> Vec<Named> {
    let mut named = Vec::new();
    let mut add = |by: String, url: &str, credentials: &Option<Credentials>, is_source: bool| {
        if let Ok(address) = parse_source(&with_profile(url, credentials.as_ref())) {
            named.push(Named { by, address, credentials: credentials.clone(), is_source });
        }
    };
    for (name, source) in &policy.sources.0 {
        if let Some(Kind::S3(bucket)) = source.kind() {
            add(policy.label(name), &bucket.url, &bucket.credentials, true);
        }
    }
    let own = &policy.repository;
    add(policy.name.clone(), &own.url, &own.credentials, false);
    for copy in &policy.copies {
        add(policy.name.clone(), &copy.url, &copy.credentials, false);
    }
    if let Some(bucket) = policy.drill.as_ref().and_then(|drill| drill.scratch.bucket.as_ref()) {
        add(policy.name.clone(), &bucket.url, &bucket.credentials, false);
    }
    named
}

/// One of each account: of those that one server and the same keys are for.
fn accounts(named: &[Named]) -> Vec<&Named> {
    let mut accounts: Vec<&Named> = Vec::new();
    for one in named.iter().filter(|one| one.is_source) {
        let is_it = |known: &&Named| {
            at_one_server(&known.address, &one.address)
                && (&known.credentials, &known.address.profile) == (&one.credentials, &one.address.profile)
        };
        if !accounts.iter().any(is_it) {
            accounts.push(one);
        }
    }
    accounts
}

/// What a bucket is called here: by its name, and its server where that is not Amazon.
fn path(name: &str, at: &Address) -> String {
    let server = at.endpoint.as_ref().map(|endpoint| format!("?endpoint={endpoint}")).unwrap_or_default();
    format!("s3://{name}{server}")
}

fn of_bucket(name: &str, at: &Address, named: &[Named]) -> Covered {
    let here = named.iter().filter(|one| one.address.bucket == name && at_one_server(&one.address, at));
    let (sources, others): (Vec<_>, Vec<_>) = here.partition(|one| one.is_source);
    let (whole, parts): (Vec<_>, Vec<_>) = sources.into_iter().partition(|one| one.address.prefix.is_empty());
    let part = |one: &Named| format!("{} ({})", one.by, one.address.prefix);
    let (state, by, reason) = match (whole.first(), parts.first(), others.first()) {
        (Some(_), _, _) => (State::Protected, whole.iter().map(|one| one.by.clone()).collect(), None),
        (None, Some(_), _) => (State::Partly, parts.into_iter().map(part).collect(), None),
        (None, None, Some(other)) => {
            (State::Ignored, Vec::new(), Some(format!("{} keeps backups or scratch in it", other.by)))
        }
        (None, None, None) => (State::Not, Vec::new(), None),
    };
    Covered { kind: "bucket", path: path(name, at), about: "bucket".to_owned(), state, by, reason }
}

/// An account that does not say what it has.
fn unknown(account: &Named, why: &str) -> Covered {
    Covered {
        kind: "account",
        path: path("", &account.address),
        about: format!("the account of {}", account.by),
        state: State::Unknown,
        by: Vec::new(),
        reason: Some(format!("which buckets it has cannot be told: {why}")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_scheduler::policy::read::parse;

    const POLICY: &str = "
name: shop
repository: { url: 's3://backups/shop?endpoint=http://one:1', password: { env: X } }
copies: [ { name: away, url: 's3://offsite/shop', password: { env: X } } ]
sources:
  media: { s3: { url: 's3://media?endpoint=http://one:1', credentials: { profile: m } } }
  logs: { s3: { url: 's3://logs/web?endpoint=http://ONE:1/', credentials: { profile: m } } }
  more: { s3: { url: 's3://more?endpoint=http://two:1' } }
";

    #[test]
    fn buckets_are_told_by_what_policies_name() {
        let policy = parse(POLICY, "shop.yaml").unwrap();
        let named = named(&policy);
        let asked: Vec<_> = accounts(&named).iter().map(|account| account.by.as_str()).collect();
        assert_eq!(asked, ["shop/media", "shop/more"]);
        let state = |name: &str, at: usize| of_bucket(name, &named[at].address, &named).state;
        assert_eq!(state("media", 0), State::Protected);
        assert_eq!(state("backups", 0), State::Ignored);
        assert_eq!(
            (state("other", 0), state("offsite", 0), state("media", 2)),
            (State::Not, State::Not, State::Not)
        );
        let part = of_bucket("logs", &named[0].address, &named);
        assert_eq!((part.state, part.by), (State::Partly, vec!["shop/logs (web/)".to_owned()]));
        assert_eq!(part.path, "s3://logs?endpoint=http://one:1");
    }
}
