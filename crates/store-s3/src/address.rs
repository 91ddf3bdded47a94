//! Where a bucket is: the URL that people write.
//!
//! On purpose not here: credentials. They come from the environment, a profile or the machine, by
//! the client library's own chain, and never from a URL.

use std::fmt;

/// Classes of storage from which nothing can be read at once.
pub(crate) const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Where a repository lies on object storage:
/// `s3://bucket/prefix?endpoint=http://host:port&region=R&path-style=true&profile=P&storage-class=C`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// The bucket.
    pub bucket: String,
    /// What names of objects begin with: empty, or words that end with a slash.
    pub prefix: String,
    /// URL of the server; AWS if there is none.
    pub endpoint: Option<String>,
    /// The region; that of the environment or profile if there is none.
    pub region: Option<String>,
    /// Whether the bucket is the first word of the path and not of the host name; by default that
    /// is so where an endpoint is stated.
    pub path_style: Option<bool>,
    /// The profile that the credentials are taken from.
    pub profile: Option<String>,
    /// The class of storage of packs with contents of files; the bucket's usual one if there is none.
    pub storage_class: Option<String>,
}

/// Returned for a text that is no address of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadAddress(pub String);

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is not of the form above.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let bad = |what: &str| BadAddress(what.to_owned());
        let rest = text.strip_prefix("s3://").ok_or_else(|| bad("a bucket's URL begins with s3://"))?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if bucket.len() < 3 || !bucket.bytes().all(is_plain) {
            let what = "the name of a bucket is three letters, digits, dots or hyphens at least; \
                        the server is stated as ?endpoint=";
            return Err(bad(what));
        }
        let words: Vec<_> = prefix.split('/').filter(|word| !word.is_empty()).collect();
        if !words.iter().all(|word| !word.starts_with('.') && word.bytes().all(is_plain)) {
            return Err(bad("the path below a bucket is words of letters, digits, dots, hyphens"));
        }
        let prefix = words.iter().map(|word| format!("{word}/")).collect();
        let mut address = Self { bucket: bucket.to_owned(), prefix, ..Self::default() };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            address.take(name, value)?;
        }
        Ok(address)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), BadAddress> {
        let stated = Some(value.to_owned());
        let known = match name {
            "endpoint" if value.starts_with("http://") || value.starts_with("https://") => {
                self.endpoint = stated;
                true
            }
            "region" => {
                self.region = stated;
                !value.is_empty()
            }
            "profile" => {
                self.profile = stated;
                !value.is_empty()
            }
            "storage-class" => {
                self.storage_class = stated;
                if ARCHIVES.contains(&value) {
                    let what = format!(
                        "storage class {value} is read only after hours: checks, restores and the next \
                         backup could not; GLACIER_IR and STANDARD_IA can"
                    );
                    return Err(BadAddress(what));
                }
                !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            }
            "path-style" => {
                self.path_style = value.parse().ok();
                self.path_style.is_some()
            }
            _ => {
                let what = format!(
                    "`{name}` is no option of a bucket: there are endpoint, region, path-style, profile, \
                     storage-class"
                );
                return Err(BadAddress(what));
            }
        };
        if known { Ok(()) } else { Err(BadAddress(format!("`{name}` of a bucket cannot be `{value}`"))) }
    }
}

impl fmt::Display for Address {
    /// The URL without what does not name the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix.trim_end_matches('/'))?;
        self.endpoint.iter().try_for_each(|endpoint| write!(f, "?endpoint={endpoint}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bucket_a_prefix_and_options() {
        let plain = Address::parse("s3://bucket").unwrap();
        assert_eq!((plain.bucket.as_str(), plain.prefix.as_str()), ("bucket", ""));
        let text =
            "s3://my-bucket/one//two/?endpoint=http://127.0.0.1:8333&region=eu-1&path-style=false&profile=p";
        let full = Address::parse(text).unwrap();
        assert_eq!(full.prefix, "one/two/");
        assert_eq!(full.endpoint.as_deref(), Some("http://127.0.0.1:8333"));
        assert_eq!((full.region.as_deref(), full.path_style), (Some("eu-1"), Some(false)));
        assert_eq!(full.profile.as_deref(), Some("p"));
        assert_eq!(full.to_string(), "s3://my-bucket/one/two?endpoint=http://127.0.0.1:8333");
        assert_eq!(Address::parse(&plain.to_string()).unwrap(), plain);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "bucket",
            "s3://",
            "s3://ab",
            "s3:///prefix",
            "s3://host:9000/bucket",
            "s3://bucket/a b",
            "s3://bucket/../x",
            "s3://bucket/x?endpoint=host",
            "s3://bucket/x?region=",
            "s3://bucket/x?path-style=yes",
            "s3://bucket/x?storage-class=GLACIER",
            "s3://bucket/x?storage-class=cheap",
            "s3://bucket/x?colour=red",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
