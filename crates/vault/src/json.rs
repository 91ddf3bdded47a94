//! What a server answers, as a tree whose texts are wiped when it is dropped.
//!
//! On purpose not here: which of them is the secret.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// A value.
pub(crate) enum Json {
    Text(Zeroizing<String>),
    Map(BTreeMap<String, Json>),
    List(Vec<Json>),
    /// Nothing, a number, or a truth.
    Other,
}

impl Json {
    /// Reads an answer; what is none has nothing in it.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or(Self::Other)
    }

    /// What a map has under a name.
    pub(crate) fn at(&self, name: &str) -> &Self {
        match self {
            Self::Map(map) => map.get(name).unwrap_or(&Self::Other),
            _ => &Self::Other,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) const fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    /// The texts of a list.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::List(items) => items.iter().filter_map(Self::text).collect(),
            _ => Vec::new(),
        }
    }

    /// The names in a map.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::Map(map) => map.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reads)
    }
}

struct Reads;

impl<'de> Visitor<'de> for Reads {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((name, value)) = access.next_entry()? {
            map.insert(name, value);
        }
        Ok(Json::Map(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Json::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_answer_is_read() {
        let read =
            Json::read(br#"{"data":{"data":{"p":"x\n","n":7}},"errors":["a",1,null,"b"],"f":1.5,"t":true}"#);
        assert_eq!(read.at("data").at("data").at("p").text(), Some("x\n"));
        assert_eq!(read.at("data").at("data").names(), ["n", "p"]);
        assert_eq!(read.at("errors").texts(), ["a", "b"]);
        assert!(read.at("data").at("n").text().is_none() && !read.at("f").is_map());
        assert!(!Json::read(b"<html>").is_map() && !Json::read(b"").is_map());
    }
}
