//! From the tree of a text to the types of a policy, with the place of whatever does not fit.
//!
//! On purpose not here: what a policy may say beyond its types (`rules`).

use super::nearest::known;
use super::tree::{At, Entry, Mistake, Node, Value, below};
use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt::{self, Display};

/// How a reference to a secret is written.
const REFER: &str = "a secret never stands in a policy, only where it is: { env: NAME }, { file: /path }, \
                     { command: [program, argument] }, { credential: NAME } or \
                     { vault: { path: MOUNT/data/PATH, field: NAME } }";
/// How a key file is named.
const REFER_KEY: &str = "say where the key file is: { file: /path }, { credential: NAME }, \
                         { vault: { path: MOUNT/data/PATH, field: NAME } } or { transit: { key: MOUNT/KEY } }, with file: /path where the sealed key file is not in the repository";

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    at: Option<At>,
    /// The way to what does not fit, last step first.
    steps: Vec<usize>,
    /// The same in words, last first.
    names: Vec<String>,
    what: What,
    next: String,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Said(String),
    Unknown(String),
    Missing(&'static str),
}

impl Fault {
    fn said(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::of(What::Said(what.into()), next.into())
    }

    fn of(what: What, next: String) -> Self {
        Self { at: None, steps: Vec::new(), names: Vec::new(), what, next }
    }

    /// It is here, unless it is known to be further in.
    fn at(mut self, at: At) -> Self {
        self.at.get_or_insert(at);
        self
    }

    fn within(mut self, step: usize, name: String) -> Self {
        self.steps.push(step);
        self.names.push(name);
        self
    }

    /// The way to what does not fit, from the root.
    pub(super) fn steps(&self) -> Vec<usize> {
        self.steps.iter().rev().copied().collect()
    }

    /// Whether something is not there.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(self.what, What::Missing(_))
    }

    /// In words.
    pub(super) fn mistake(self) -> Mistake {
        let label = self.names.iter().rev().fold(String::new(), |label, name| match name.starts_with('[') {
            true => label + name,
            false => below(&label, name),
        });
        let what = match self.what {
            What::Said(said) if label.is_empty() => said,
            What::Said(said) => format!("`{label}`: {said}"),
            What::Unknown(word) => format!("`{}` is not known", below(&label, &word)),
            What::Missing(field) => format!("`{}` is missing", below(&label, field)),
        };
        Mistake { at: self.at.unwrap_or(At::START), what, next: self.next }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.clone().mistake().what)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(said: T) -> Self {
        Self::said(said.to_string(), "")
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match unexpected {
            de::Unexpected::Str(_) | de::Unexpected::Bytes(_) => "text",
            de::Unexpected::Bool(_) => "true or false",
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) | de::Unexpected::Float(_) => "a number",
            de::Unexpected::Seq => "a list",
            de::Unexpected::Map => "a section",
            _ => "something else",
        };
        Self::said(format!("{expected} is wanted here, and this is {found}"), "")
    }

    fn unknown_variant(word: &str, words: &'static [&'static str]) -> Self {
        Self::of(What::Said(format!("`{word}` is not known")), known(word, words))
    }

    fn unknown_field(word: &str, words: &'static [&'static str]) -> Self {
        Self::of(What::Unknown(word.to_owned()), known(word, words))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(What::Missing(field), String::new())
    }
}

/// What a plain word means, as YAML's core schema has it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meaning {
    Nothing,
    Truth(bool),
    Whole(i64),
    Large(u64),
    Number(f64),
    Text,
}

fn meaning(word: &str) -> Meaning {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Nothing,
        "true" | "True" | "TRUE" => return Meaning::Truth(true),
        "false" | "False" | "FALSE" => return Meaning::Truth(false),
        _ => {}
    }
    let digits = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if !digits(word) || !number(word) {
        return Meaning::Text;
    }
    let whole = word.parse().map(Meaning::Whole).or_else(|_| word.parse().map(Meaning::Large));
    let number = || word.parse().ok().filter(|number: &f64| number.is_finite()).map(Meaning::Number);
    whole.ok().or_else(number).unwrap_or(Meaning::Text)
}

/// Reads one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a>(pub(super) &'a Node);

impl<'a> Reading<'a> {
    fn found(self) -> &'static str {
        match &self.0.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a section",
            Value::Text(_) => "text",
            Value::Plain(word) => match meaning(word) {
                Meaning::Nothing => "nothing",
                Meaning::Truth(_) => "true or false",
                Meaning::Text => "text",
                _ => "a number",
            },
        }
    }

    /// Something else is wanted than what is here.
    fn wanted(self, wanted: &str, next: &str) -> Fault {
        if self.found() == "nothing" {
            return Fault::said("it is empty", "fill it, or leave the key out").at(self.0.at);
        }
        Fault::said(format!("{wanted} is wanted here, and this is {}", self.found()), next).at(self.0.at)
    }

    fn plain(self) -> Option<&'a str> {
        match &self.0.value {
            Value::Plain(word) => Some(word),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for Reading<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            Value::Plain(word) => match meaning(word) {
                Meaning::Nothing => visitor.visit_unit(),
                Meaning::Truth(truth) => visitor.visit_bool(truth),
                Meaning::Whole(number) if number < 0 => visitor.visit_i64(number),
                Meaning::Whole(number) => visitor.visit_u64(number.unsigned_abs()),
                Meaning::Large(number) => visitor.visit_u64(number),
                Meaning::Number(number) => visitor.visit_f64(number),
                Meaning::Text => visitor.visit_str(word),
            },
        }
        .map_err(|fault: Fault| fault.at(self.0.at))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.plain().map(meaning) {
            Some(Meaning::Truth(truth)) => visitor.visit_bool(truth),
            _ => Err(self.wanted("true or false", "")),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.plain().map(str::parse::<u32>) {
            Some(Ok(number)) => visitor.visit_u32(number),
            _ => Err(self.wanted("a whole number", "write digits only, without a sign and a unit")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.plain().map(meaning) {
            Some(Meaning::Whole(number)) => visitor.visit_i64(number),
            Some(Meaning::Large(number)) => visitor.visit_u64(number),
            Some(Meaning::Number(number)) => visitor.visit_f64(number),
            _ => Err(self.wanted("a number", "")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = match &self.0.value {
            Value::Text(text) => text,
            // A number is text as it was written: nobody quotes the name of a bucket.
            Value::Plain(word) if !matches!(meaning(word), Meaning::Nothing | Meaning::Truth(_)) => word,
            Value::Plain(_) => return Err(self.wanted("text", "put it in quotes if it is meant as text")),
            _ => return Err(self.wanted("text", "")),
        };
        visitor.visit_str(text).map_err(|fault: Fault| fault.at(self.0.at))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    /// A key without a value is a mistake, not a missing key: whoever wrote it meant something.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::List(items) => {
                visitor.visit_seq(Items { items, next: 0 }).map_err(|fault: Fault| fault.at(self.0.at))
            }
            _ => Err(self.wanted("a list", "put it in brackets: [one, another]")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Map(map) => visitor
                .visit_map(Entries { entries: &map.entries, next: 0 })
                .map_err(|fault: Fault| fault.at(self.0.at)),
            _ => Err(self.wanted("a section of keys", "")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Map(_) => self.deserialize_map(visitor),
            _ => Err(self.wanted("a section of keys", &format!("its keys: {}", fields.join(", ")))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let next = match name {
            "SecretRef" => REFER.to_owned(),
            "KeyRef" => REFER_KEY.to_owned(),
            "Credentials" => "write { profile: NAME } or { access_key: { id: ..., secret: ... } }".to_owned(),
            _ => format!("one of {}", words.join(", ")),
        };
        let by_key = matches!(name, "SecretRef" | "KeyRef" | "Credentials");
        match &self.0.value {
            Value::Map(map) if by_key => match &map.entries[..] {
                [entry] => visitor.visit_enum(Variant(entry)).map_err(|fault: Fault| fault.at(self.0.at)),
                _ => {
                    let what = format!("exactly one of {} is wanted here", words.join(", "));
                    Err(Fault::said(what, next).at(self.0.at))
                }
            },
            // What stands here may be the secret: it is not repeated.
            _ if by_key => Err(self.wanted("a reference", &next)),
            Value::Plain(word) | Value::Text(word) if !matches!(meaning(word), Meaning::Nothing) => {
                let word: StrDeserializer<'_, Fault> = word.as_str().into_deserializer();
                visitor.visit_enum(word).map_err(|fault: Fault| fault.at(self.0.at))
            }
            _ => Err(self.wanted("a word", &next)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

struct Items<'a> {
    items: &'a [(usize, Node)],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((number, node)) = self.items.get(self.next) else { return Ok(None) };
        self.next += 1;
        let value = seed.deserialize(Reading(node));
        value.map(Some).map_err(|fault: Fault| fault.at(node.at).within(self.next - 1, format!("[{number}]")))
    }
}

struct Entries<'a> {
    entries: &'a [Entry],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        self.next += 1;
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|mut fault| {
            fault.steps.push(self.next - 1);
            fault.at(entry.at)
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let step = self.next.saturating_sub(1);
        let Some(entry) = self.entries.get(step) else {
            return Err(Fault::said("a value was asked for before its key", ""));
        };
        seed.deserialize(Reading(&entry.node)).map_err(|fault: Fault| {
            // An empty value has no place of its own worth showing.
            let at = if entry.node.is_scalar() { entry.node.at } else { entry.at };
            fault.at(at).within(step, entry.key.clone())
        })
    }
}

/// A word and what belongs to it.
struct Variant<'a>(&'a Entry);

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let key: StrDeserializer<'_, Fault> = self.0.key.as_str().into_deserializer();
        let value = seed.deserialize(key).map_err(|fault: Fault| fault.at(self.0.at))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Err(Fault::said("nothing belongs here", "").at(self.0.at))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let value = seed.deserialize(Reading(&self.0.node));
        value.map_err(|fault: Fault| fault.at(self.0.node.at).within(0, self.0.key.clone()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        Reading(&self.0.node).deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        Reading(&self.0.node).deserialize_map(visitor)
    }
}
