//! Sources by their names, in the order of the file: that is the order in which they are captured.
//!
//! On purpose not here: what a source is.

use super::Source;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Sources by their names, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources(pub Vec<(String, Source)>);

impl Sources {
    /// The source with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Source> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, source)| source)
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Sources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sources by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sources, A::Error> {
                let mut sources = Sources::default();
                while let Some(name) = map.next_key::<String>()? {
                    if sources.get(&name).is_some() {
                        return Err(de::Error::custom(format!("there are two sources `{name}`")));
                    }
                    sources.0.push((name, map.next_value()?));
                }
                Ok(sources)
            }
        }
        from.deserialize_map(InOrder)
    }
}

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_map(self.0.iter().map(|(name, source)| (name, source)))
    }
}

impl JsonSchema for Sources {
    fn schema_name() -> Cow<'static, str> {
        "Sources".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, Source>::json_schema(generator)
    }
}
