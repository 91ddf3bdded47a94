//! Which variables of the environment a policy takes secrets from: no program that it starts for the user
//! is to find them.
//!
//! On purpose not here: reading them.

use super::secret::{Credentials, KeyRef, Keys, SecretRef};
use super::{Notify, Policy};
use std::collections::BTreeSet;

/// What lets us in to Vault, where a policy has secrets there.
const VAULT: [&str; 2] = ["VAULT_TOKEN", "BAO_TOKEN"];

impl Policy {
    /// The variables that hold its secrets, or what leads to them.
    #[must_use]
    pub fn secret_variables(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let own = &self.repository;
        place(&mut found, own.password.as_ref(), own.keys.as_ref(), own.credentials.as_ref());
        for copy in &self.copies {
            place(&mut found, copy.password.as_ref(), copy.keys.as_ref(), copy.credentials.as_ref());
        }
        let buckets = self.sources.0.iter().filter_map(|(_, source)| source.s3.as_ref());
        buckets.for_each(|bucket| credentials(&mut found, bucket.credentials.as_ref()));
        let scratch = self.drill.as_ref().and_then(|drill| drill.scratch.bucket.as_ref());
        credentials(&mut found, scratch.and_then(|bucket| bucket.credentials.as_ref()));
        self.notify.iter().for_each(|way| notify(&mut found, way));
        self.heartbeat.iter().for_each(|heartbeat| secret(&mut found, &heartbeat.url));
        found
    }
}

fn place(
    found: &mut BTreeSet<String>,
    password: Option<&SecretRef>,
    keys: Option<&Keys>,
    opens: Option<&Credentials>,
) {
    password.into_iter().for_each(|password| secret(found, password));
    let keys = keys.into_iter().flat_map(|keys| [&keys.backup, &keys.maintain, &keys.read]);
    if keys.flatten().any(|key| matches!(key, KeyRef::Vault(_) | KeyRef::Transit(_))) {
        found.extend(VAULT.map(str::to_owned));
    }
    credentials(found, opens);
}

fn credentials(found: &mut BTreeSet<String>, opens: Option<&Credentials>) {
    if let Some(Credentials::AccessKey(key)) = opens {
        secret(found, &key.secret);
    }
}

fn notify(found: &mut BTreeSet<String>, way: &Notify) {
    way.slack.iter().for_each(|slack| secret(found, &slack.webhook));
    way.webhook.iter().flat_map(|hook| [&hook.url, &hook.secret]).for_each(|one| secret(found, one));
    way.mail.iter().filter_map(|mail| mail.password.as_ref()).for_each(|one| secret(found, one));
}

fn secret(found: &mut BTreeSet<String>, secret: &SecretRef) {
    match secret {
        SecretRef::Env(name) => _ = found.insert(name.clone()),
        SecretRef::Vault(_) => found.extend(VAULT.map(str::to_owned)),
        SecretRef::File(_) | SecretRef::Command(_) | SecretRef::Credential(_) => {}
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use crate::policy::read::parse;

    #[test]
    fn every_variable_with_a_secret_is_known() {
        let key = |name: &str| format!("{{ access_key: {{ id: x, secret: {{ env: {name} }} }} }}");
        let text = format!(
            "name: shop
repository: {{ url: 's3://r/x', password: {{ env: A }}, credentials: {} }}
copies: [ {{ name: off, url: 's3://o/x', keys: {{ read: {{ file: /k }} }}, credentials: {} }} ]
sources: {{ media: {{ s3: {{ url: 's3://m', credentials: {} }} }} }}
notify: [ {{ slack: {{ webhook: {{ env: E }} }} }}, {{ webhook: {{ url: {{ env: F }}, secret: {{ file: /f }} }} }} ]
heartbeat: {{ url: {{ env: G }} }}
",
            key("B"),
            key("C"),
            key("D")
        );
        let names = |text: &str| {
            let policy = parse(text, "shop.yaml").unwrap();
            policy.secret_variables().into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&text), "A B C D E F G");
        let vault = text.replace("{ file: /k }", "{ vault: { path: secret/data/k, field: key } }");
        assert_eq!(names(&vault), "A B BAO_TOKEN C D E F G VAULT_TOKEN");
    }
}
