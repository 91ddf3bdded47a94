//! The JSON Schema of a policy, from its types: `policies/policy.schema.json`, for editors.
//!
//! On purpose not here: what no schema can say (`rules`).

use super::Policy;
use schemars::generate::SchemaSettings;

/// The schema.
#[must_use]
pub fn value() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Policy>();
    schema.insert("title".to_owned(), "A policy of holdfast".into());
    schema.to_value()
}

/// Its text, as it lies beside the policies.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", value())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::path::Path;

    #[test]
    fn the_schema_beside_the_policies_is_that_of_the_types() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/policy.schema.json");
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text(),
            "the types of a policy changed; make the schema anew: \
             holdfast policy schema > policies/policy.schema.json"
        );
    }

    #[test]
    fn the_schema_refuses_what_is_not_known() {
        let schema: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["name", "repository", "sources"]));
        assert_eq!(schema["$defs"]["Span"]["pattern"], "^([0-9]+(s|m|h|d|w|y))+$");
    }
}
