//! Which part of which bucket is meant, and whether a repository lies in it.
//!
//! On purpose not here: asking a server. Two names of one server are not always told to be one.

use holdfast_store_s3::{Address, BadAddress};

/// The part of Amazon's own servers that all their names end with.
const AMAZON: &str = "amazonaws.com";

/// Reads a URL as that of something to back up. Other than a repository's it may name any prefix:
/// what it says is what keys begin with, up to a slash.
///
/// # Errors
/// It is no URL of a bucket.
pub fn parse_source(text: &str) -> Result<Address, BadAddress> {
    let (place, query) = text.split_once('?').map_or((text, None), |(place, query)| (place, Some(query)));
    let bucket_end = place.strip_prefix("s3://").and_then(|rest| rest.find('/')).map(|at| at + "s3://".len());
    let (bucket, prefix) = bucket_end.map_or((place, ""), |at| (&place[..at], &place[at + 1..]));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut address = Address::parse(&format!("{bucket}{query}"))?;
    if prefix.chars().any(char::is_control) {
        return Err(BadAddress("the prefix has signs that cannot be shown".to_owned()));
    }
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    address.prefix = format!("{prefix}{slash}");
    Ok(address)
}

/// The name of the server, as the host that a bucket belongs to.
pub(crate) fn host_of(address: &Address) -> String {
    address.endpoint.as_deref().map_or_else(|| format!("s3.{AMAZON}"), |endpoint| server(endpoint).0)
}

/// Host and port of a server, in one spelling.
fn server(endpoint: &str) -> (String, String) {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let authority = rest.split('/').next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host.to_owned(), port.to_owned())
        }
        _ => (authority, if scheme == "http" { "80".to_owned() } else { "443".to_owned() }),
    };
    let host = if matches!(host.as_str(), "localhost" | "[::1]") { "127.0.0.1".to_owned() } else { host };
    (host, port)
}

fn is_same_server(one: Option<&str>, other: Option<&str>) -> bool {
    // Names of buckets are unique among all of Amazon's servers.
    let amazon =
        |endpoint: Option<&str>| endpoint.is_none_or(|endpoint| server(endpoint).0.ends_with(AMAZON));
    match (one, other) {
        (Some(one), Some(other)) if server(one) == server(other) => true,
        _ => amazon(one) && amazon(other),
    }
}

/// Whether two buckets lie at one server, so that one name is one bucket.
#[must_use]
pub fn at_one_server(one: &Address, other: &Address) -> bool {
    is_same_server(one.endpoint.as_deref(), other.endpoint.as_deref())
}

/// How a source and a repository lie to each other, if they are in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// All of the source belongs to the repository.
    Inside,
    /// The repository is a part of the source.
    Around,
}

/// Tells whether a repository and a source share a part of a bucket.
#[must_use]
pub fn overlap(source: &Address, repository: &Address) -> Option<Overlap> {
    let same = source.bucket == repository.bucket
        && is_same_server(source.endpoint.as_deref(), repository.endpoint.as_deref());
    if same && source.prefix.starts_with(&repository.prefix) {
        Some(Overlap::Inside)
    } else if same && repository.prefix.starts_with(&source.prefix) {
        Some(Overlap::Around)
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn any_prefix_can_be_backed_up() {
        let prefix = |text: &str| parse_source(text).unwrap().prefix;
        assert_eq!(prefix("s3://media"), "");
        assert_eq!(prefix("s3://media/"), "");
        assert_eq!(prefix("s3://media/a b/음악"), "a b/음악/");
        assert_eq!(prefix("s3://media/a//?region=x"), "a//");
        assert_eq!(prefix("s3://media/../x"), "../x/");
        assert_eq!(parse_source("s3://media?endpoint=http://h:1/").unwrap().bucket, "media");
        for bad in ["s3://", "s3://ab/x", "/x", "s3://media/a\nb", "s3://media/x?colour=red"] {
            assert!(parse_source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_repository_in_the_way_is_seen() {
        let repository = Address::parse("s3://media/backups/web?endpoint=http://localhost:9000").unwrap();
        let look = |text: &str| overlap(&parse_source(text).unwrap(), &repository);
        let here = "?endpoint=http://127.0.0.1:9000/";
        assert_eq!(look(&format!("s3://media{here}")), Some(Overlap::Around));
        assert_eq!(look(&format!("s3://media/backups{here}")), Some(Overlap::Around));
        assert_eq!(look(&format!("s3://media/backups/web{here}")), Some(Overlap::Inside));
        assert_eq!(look(&format!("s3://media/backups/web/data{here}")), Some(Overlap::Inside));
        assert_eq!(look(&format!("s3://media/backups/web2{here}")), None);
        assert_eq!(look(&format!("s3://other{here}")), None);
        assert_eq!(look("s3://media?endpoint=http://127.0.0.1:9001"), None);
        let amazon = Address::parse("s3://media/x?endpoint=https://s3.eu-west-1.amazonaws.com").unwrap();
        assert_eq!(overlap(&parse_source("s3://media").unwrap(), &amazon), Some(Overlap::Around));
    }

    #[test]
    fn a_bucket_belongs_to_its_server() {
        let host = |text: &str| host_of(&Address::parse(text).unwrap());
        assert_eq!(host("s3://media"), "s3.amazonaws.com");
        assert_eq!(host("s3://media?endpoint=https://Store.example:9000/"), "store.example");
    }
}
