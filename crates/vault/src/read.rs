//! Reads a field of a secret.
//!
//! On purpose not here: versions before the newest.

use crate::ask::{Request, Server, ask};
use crate::error::VaultError;
use crate::inside::inside;
use crate::json::Json;
use crate::login::Token;
use crate::reference::Reference;
use holdfast_store_s3::Network;
use zeroize::Zeroizing;

/// Reads it.
///
/// # Errors
/// It cannot be had; the error says what to do.
pub async fn read(
    network: &Network,
    server: &Server,
    reference: &Reference,
) -> Result<Zeroizing<String>, VaultError> {
    inside(network, server, async |token| get(network, server, reference, token).await).await
}

async fn get(
    network: &Network,
    server: &Server,
    reference: &Reference,
    token: &Token,
) -> Result<Zeroizing<String>, VaultError> {
    let path = reference.encoded();
    let request = Request { method: "GET", path: &path, token: Some(&token.text), body: b"" };
    field(&ask(network, server, &request).await?, reference)
}

/// Takes the field: the second version of the engine has what it knows of the secret beside it.
fn field(answer: &Json, reference: &Reference) -> Result<Zeroizing<String>, VaultError> {
    let data = answer.at("data");
    let is_versioned = data.at("data").is_map() && data.at("metadata").is_map();
    let fields = if is_versioned { data.at("data") } else { data };
    match fields.at(reference.field()).text() {
        Some("") => Err(VaultError::new(format!("{reference} is empty"), "write the secret into it")),
        Some(text) => Ok(Zeroizing::new(text.to_owned())),
        None if fields.names().contains(&reference.field()) => {
            Err(VaultError::new(format!("{reference} is no text"), "write it as a text"))
        }
        None => {
            let what = format!("{} has no field {}", reference.path(), reference.field());
            let names = fields.names().join(", ");
            Err(VaultError::new(what, format!("its fields: {names}")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_field_is_found_in_either_engine() {
        let take = |answer: &str, field_of: &str| {
            field(&Json::read(answer.as_bytes()), &format!("secret/data/a#{field_of}").parse().unwrap())
        };
        let second = r#"{"data":{"data":{"p":"x","n":7,"e":""},"metadata":{"version":1}}}"#;
        assert_eq!(take(second, "p").unwrap().as_str(), "x");
        assert_eq!(take(r#"{"data":{"p":"x"}}"#, "p").unwrap().as_str(), "x");
        assert!(take(second, "n").unwrap_err().to_string().contains("no text"));
        assert!(take(second, "e").unwrap_err().to_string().contains("empty"));
        let lacking = take(second, "q").unwrap_err();
        assert!(lacking.next().contains("e, n, p") && !lacking.next().contains('x'), "{lacking:?}");
        assert!(take("{}", "p").is_err());
    }
}
