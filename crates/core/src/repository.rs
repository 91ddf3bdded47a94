//! `holdfast.json`: the repository's own description, in clear, and `RECOVER.txt`.
//!
//! On purpose not here: anything secret, and anything that changes after `init`.

use crate::crypto::hash;
use crate::error::FormatError;
use crate::id::{ObjectId, RepositoryId, hex, parse_hex};
use crate::object::{FORMAT_DRAFT, FORMAT_MAJOR};
use serde::{Deserialize, Serialize};

/// Sets of features by what who does not know one may still do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Nothing.
    pub incompat: Vec<String>,
    /// Read.
    pub ro_compat: Vec<String>,
    /// Everything.
    pub compat: Vec<String>,
}

/// The feature, of those that nobody may pass over, of a domain: the keys that open it lie in the
/// repository above.
pub const DOMAIN: &str = "domain";

/// The JSON as it lies there; the one place where a derive defines bytes, and they are checked
/// to be exactly those that writing gives.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    holdfast: String,
    format: u8,
    draft: u8,
    repository_id: String,
    features: Features,
    key_slot: String,
    member: String,
    recover_blake3: String,
    checksum: String,
}

#[derive(Deserialize)]
struct Version {
    format: u64,
    draft: u64,
}

/// What `holdfast.json` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Names the repository.
    pub id: RepositoryId,
    /// Features that it uses; unknown ones of `compat` are kept.
    pub features: Features,
    /// The slot that `init` made; zeros in a domain, which has none.
    pub key_slot: ObjectId,
    /// The owner's entry that `init` made.
    pub member: ObjectId,
    /// BLAKE3-256 of `RECOVER.txt`.
    pub recover: [u8; 32],
}

impl Repository {
    /// Whether it is a domain of the repository above.
    #[must_use]
    pub fn is_domain(&self) -> bool {
        self.features.incompat.iter().any(|feature| feature == DOMAIN)
    }

    /// Returns the text of the file.
    ///
    /// # Panics
    /// Never: every value has a JSON form.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = |checksum: String| {
            let json = Json {
                holdfast: "repository".into(),
                format: FORMAT_MAJOR,
                draft: FORMAT_DRAFT,
                repository_id: self.id.to_string(),
                features: self.features.clone(),
                key_slot: self.key_slot.to_string(),
                member: self.member.to_string(),
                recover_blake3: hex(&self.recover),
                checksum,
            };
            serde_json::to_string_pretty(&json).expect("strings and numbers") + "\n"
        };
        text(hex(&hash(text("0".repeat(64)).as_bytes())))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is damaged, or describes a repository of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let malformed = || FormatError::Malformed("holdfast.json");
        if let Ok(Version { format, draft }) = serde_json::from_slice(bytes)
            && (format, draft) != (u64::from(FORMAT_MAJOR), u64::from(FORMAT_DRAFT))
        {
            return Err(FormatError::Newer(format!("format {format}, draft {draft}")));
        }
        let json: Json = serde_json::from_slice(bytes).map_err(|_| malformed())?;
        let mut needed = json.features.incompat.iter().chain(&json.features.ro_compat);
        if let Some(feature) = needed.find(|feature| *feature != DOMAIN) {
            return Err(FormatError::Newer(format!("feature {feature}")));
        }
        let id = |text: &str| parse_hex::<16>(text).map_err(|_| malformed());
        let repository = Self {
            id: RepositoryId(id(&json.repository_id)?),
            features: json.features,
            key_slot: ObjectId(id(&json.key_slot)?),
            member: ObjectId(id(&json.member)?),
            recover: parse_hex(&json.recover_blake3).map_err(|_| malformed())?,
        };
        if repository.encode().as_bytes() == bytes { Ok(repository) } else { Err(FormatError::Checksum) }
    }
}

/// The text of `RECOVER.txt`: the same for every repository of this version, so that it never
/// tells anything that is not public.
pub const RECOVER_TEXT: &str = "\
This is a holdfast repository: deduplicated, encrypted backups.

To restore you need three things:
  1. these files, all of them (holdfast.json, keys, members, packs, index, sessions, ...);
  2. the password or key file of one key slot (the folder `keys` has one file for each);
  3. the program `holdfast`, of a version that reads format 0, draft 1.

The commands, with this folder (or its URL) in place of REPOSITORY:
  export HOLDFAST_REPOSITORY=REPOSITORY
  export HOLDFAST_PASSWORD_FILE=/path/to/a/file/with/the/password    (or HOLDFAST_KEY_FILE=...)
  holdfast snapshots
  holdfast ls latest
  holdfast restore latest --target /an/empty/folder
  holdfast check --read-data

Without a password or key file nobody can read the contents: there is no other way in.
Do not change, rename or remove files in this folder. Copying the whole folder is safe.
The format is described byte for byte in FORMAT.md of the program's source.
";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn repository() -> Repository {
        Repository {
            id: RepositoryId([0xa1; 16]),
            features: Features::default(),
            key_slot: ObjectId([2; 16]),
            member: ObjectId([3; 16]),
            recover: hash(RECOVER_TEXT.as_bytes()),
        }
    }

    #[test]
    fn it_reads_back_and_no_flip_passes() {
        let text = repository().encode();
        assert_eq!(Repository::decode(text.as_bytes()), Ok(repository()));
        for at in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[at] ^= 1;
            assert!(Repository::decode(&flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn unknown_features_are_kept_where_they_may_be_ignored_and_refused_elsewhere() {
        let word = || vec!["parity".to_owned()];
        let with = |features| Repository { features, ..repository() };
        let kept = with(Features { compat: word(), ..Features::default() });
        assert_eq!(Repository::decode(kept.encode().as_bytes()), Ok(kept.clone()));
        assert_ne!(kept.encode(), repository().encode());
        for features in [
            Features { incompat: word(), ..Features::default() },
            Features { ro_compat: word(), ..Features::default() },
        ] {
            let refused = Repository::decode(with(features).encode().as_bytes());
            assert_eq!(refused, Err(FormatError::Newer("feature parity".into())));
        }
    }

    #[test]
    fn a_domain_says_so() {
        let features = Features { incompat: vec![DOMAIN.to_owned()], ..Features::default() };
        let domain = Repository { features, key_slot: ObjectId([0; 16]), ..repository() };
        assert_eq!(Repository::decode(domain.encode().as_bytes()), Ok(domain.clone()));
        assert!(domain.is_domain() && !repository().is_domain());
    }

    #[test]
    fn a_later_version_is_named_whatever_else_it_holds() {
        let refused = Repository::decode(br#"{"format": 1, "draft": 0, "colour": "blue"}"#).unwrap_err();
        assert_eq!(refused.to_string(), "it needs a newer version of holdfast (format 1, draft 0)");
    }
}
