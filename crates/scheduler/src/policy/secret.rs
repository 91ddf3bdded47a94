//! Where secrets come from: a policy names the place, and never holds one.
//!
//! On purpose not here: reading them. Only the process that needs one does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The place of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// The value of an environment variable.
    Env(String),
    /// What a file holds; a newline at its end does not count.
    File(PathBuf),
    /// What a program prints: its name and its arguments. No shell reads them.
    Command(Vec<String>),
    /// A credential that systemd hands to the service, by its name.
    Credential(String),
    /// What a server of Vault or OpenBao keeps; `VAULT_ADDR` and so on say where that is.
    Vault(VaultRef),
}

/// A field of a secret that Vault or OpenBao keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultRef {
    /// Its path as the server's interface and its policies have it: `secret/data/backups/shop`.
    pub path: String,
    /// Which field of it.
    pub field: String,
}

/// The place of a key file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyRef {
    /// The key file itself.
    File(PathBuf),
    /// A credential that systemd hands to the service, by its name.
    Credential(String),
    /// A text that a server of Vault or OpenBao keeps.
    Vault(VaultRef),
    /// A key file that is sealed, and that a server of Vault or OpenBao opens.
    Transit(TransitRef),
}

/// A sealed key file.
///
/// Without `file` it lies in the slot of the repository that it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransitRef {
    /// The key of the transit engine: `transit/holdfast`.
    pub key: String,
    /// The file with what it sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// One key for each activity, so that a host can back up and not read. A missing one means that
/// the activity is not for this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Backs up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<KeyRef>,
    /// Forgets, prunes and checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintain: Option<KeyRef>,
    /// Copies, restores and drills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<KeyRef>,
}

/// What opens buckets; without it whatever the environment has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Credentials {
    /// A profile of the usual configuration files of AWS, which may name a role.
    Profile(String),
    /// An access key.
    AccessKey(AccessKey),
}

/// An access key of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessKey {
    /// Its id, which is no secret.
    pub id: String,
    /// Its secret.
    pub secret: SecretRef,
}
