//! Asking a server for a part of a bucket's configuration, and setting one.
//!
//! The client library has a call for each part, and each takes it apart. A bucket's policy is the one
//! that it leaves as it is: so that call is made, and asks in its query for the part that is meant,
//! before it is signed. On purpose not here: which parts, and what differs.

use super::{Configuration, PARTS, Part};
use aws_sdk_s3::Client;
use futures::future::join_all;
use holdfast_store_s3::{About, Answer, Gate, chain};
use serde_json::Value;

/// The words under which servers say that they do not have something, beside what their status says.
const UNKNOWN: [&str; 5] =
    ["InvalidRequest", "InvalidArgument", "MethodNotAllowed", "NotSupported", "UnsupportedOperation"];

/// A bucket that is asked for its configuration.
pub(crate) struct Asked<'a> {
    pub client: &'a Client,
    pub bucket: &'a str,
    pub gate: &'a Gate,
}

impl Asked<'_> {
    /// Asks for all parts.
    pub(crate) async fn all(&self) -> Configuration {
        let answers = join_all(PARTS.iter().map(|part| self.part(part))).await;
        let mut configuration = Configuration::default();
        for (part, answer) in PARTS.iter().zip(answers) {
            match answer {
                Ok(Some(document)) => drop(configuration.documents.insert(part.name.to_owned(), document)),
                Ok(None) => {}
                Err(why) => drop(configuration.unread.insert(part.name.to_owned(), why)),
            }
        }
        configuration
    }

    /// Asks for a part; none if it is not configured, or the server does not know it. The error says
    /// in words why it could not be read.
    pub(crate) async fn part(&self, part: &Part) -> Result<Option<Value>, String> {
        let name = part.name;
        let turn = self.gate.enter().await;
        let ask = self.client.get_bucket_policy().bucket(self.bucket).customize();
        let ask = ask.mutate_request(move |request| {
            // A URI with another query is one too.
            let _ = request.set_uri(with_query(request.uri(), name));
        });
        match ask.send().await.map_err(Answer::of) {
            Ok(told) => {
                turn.went_well();
                Ok(told.policy.as_deref().and_then(|text| part.document(text)))
            }
            Err(answer) if answer.is_absent() || answer.is_unknown() || UNKNOWN.contains(&answer.code()) => {
                Ok(None)
            }
            Err(answer) => {
                let source = answer.into_error(&About { operation: "read", subject: "" }).source;
                Err(format!("{source}; the right to is {}", part.right_to_read()))
            }
        }
    }

    /// Sets a part. The error says in words why that could not be done.
    pub(crate) async fn set(&self, part: &Part, document: &Value) -> Result<(), String> {
        let (name, is_xml) = (part.name, part.root.is_some());
        let text = document.as_str().map_or_else(|| document.to_string(), str::to_owned);
        let _turn = self.gate.enter().await;
        let set = self.client.put_bucket_policy().bucket(self.bucket).policy(text).customize();
        let set = set.mutate_request(move |request| {
            let _ = request.set_uri(with_query(request.uri(), name));
            if is_xml {
                request.headers_mut().insert("content-type", "application/xml");
            }
        });
        match set.send().await.map_err(Answer::of) {
            Ok(_) => Ok(()),
            Err(answer) => {
                let why = chain(&answer.into_error(&About { operation: "set", subject: "it" }).source);
                Err(format!("{why}; the right to is {}", part.right_to_set()))
            }
        }
    }
}

/// The same URI with another query.
fn with_query(uri: &str, query: &str) -> String {
    format!("{}?{query}", uri.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_takes_the_place_of_another() {
        for uri in ["http://h:1/b?policy", "http://h:1/b?policy=&x=1", "http://h:1/b"] {
            assert_eq!(with_query(uri, "cors"), "http://h:1/b?cors");
        }
    }
}
